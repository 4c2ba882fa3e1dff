"""Exercises of lesson 11: contrastive alignment, zero-shot."""

import torch

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


# 11.1 -------------------------------------------------------------------------------------------------------
@exercise("11.1", "InfoNCE both ways, and its gradient", minutes=15, points=3, difficulty=3,
          names=("the loss", "the gradient"))
def contrast_and_gradient(cosines, temperature):
    logits = cosines / temperature  # (batch, batch)
    batch = len(logits)
    own = logits.diagonal()
    find_text = (logits.logsumexp(dim=1) - own).mean()
    find_photo = (logits.logsumexp(dim=0) - own).mean()
    loss = (find_text + find_photo) / 2
    partner = torch.eye(batch, dtype=logits.dtype)
    error = (logits.softmax(dim=1) - partner) + (logits.softmax(dim=0) - partner)
    gradient = error / (2 * batch * temperature)
    return loss, gradient


@contrast_and_gradient.cases
def _(draw):
    def cosines(batch):
        return draw.uniform(batch, batch, low=-1, high=1)

    # 1/batch, 1/temperature, 2 and their products all differ: each forgotten factor has its own sentence
    for batch, temperature in ((4, 0.6), (3, 1.7)):
        about = f"{batch} pairs at a temperature of {temperature}"
        yield telling(
            contrast_and_gradient,
            lambda batch=batch, temperature=temperature, about=about: case(
                cosines(batch), temperature, about=about),
            hides=("clamped", "bounds its logarithm"),
        )
    yield case(cosines(6), 0.001, about="a temperature of 0.001, at which exp overflows unless the largest "
                                        "logit is taken away first")
    yield case(torch.zeros(5, 5, dtype=torch.float64), 0.1, about="5 pairs that are all equally similar")


def _two_ways(cosines, temperature, ways=(1, 2), share=2, partner=1.0, loss_by=None, by=None, sign=1.0,
              power=-1, turned=False):
    """Loss and gradient with every part that a learner may get wrong as an argument."""
    logits, batch = cosines * temperature**power, len(cosines)
    own = torch.eye(batch, dtype=logits.dtype)
    losses = {1: logits.logsumexp(1) - logits.diagonal(), 2: logits.logsumexp(0) - logits.diagonal()}
    second = logits.softmax(0) - partner * own
    errors = {1: logits.softmax(1) - partner * own, 2: second.T if turned else second}
    loss = sum(losses[way].sum() for way in ways) / share / (loss_by or batch)
    gradient = sum(errors[way] for way in ways) / share / (by or batch * temperature)
    return loss, sign * gradient


for _sentence, _slip in {
    "Only the photos look for their texts: add the way back, a softmax over each column, and halve the "
    "sum.": {"ways": (1,), "share": 1},
    "Only the texts look for their photos: add the other way, a softmax over each row, and halve the "
    "sum.": {"ways": (2,), "share": 1},
    "Both ways are added up; the loss is their mean, so loss and gradient are halved.": {"share": 1},
    "The temperature is left out: the logits are cosines / temperature.": {"power": 0},
    "You multiply the cosines by the temperature; divide by it.": {"power": 1},
    "The loss is a sum over the rows; take the mean.": {"loss_by": 1},
}.items():
    contrast_and_gradient.mistake(_sentence)(lambda cosines, temperature, slip=_slip: _two_ways(
        cosines, temperature, **slip))


for _sentence, _slip in {
    "The gradient lacks 1/temperature: it is that by the logits, and the one by the cosines is wanted.":
        lambda batch, temperature: {"by": batch},
    "The gradient lacks 1/temperature and the 1/batch of the mean.": lambda batch, temperature: {"by": 1},
    "The gradient is divided by the temperature twice; the chain rule divides once.":
        lambda batch, temperature: {"by": batch * temperature**2},
    "The gradient is halved twice: the mean of both ways has one ½.":
        lambda batch, temperature: {"by": 2 * batch * temperature},
    "The gradient is multiplied by the temperature; the chain rule divides by it.":
        lambda batch, temperature: {"by": batch / temperature},
    "The gradient lacks the 1/batch of the mean over rows.": lambda batch, temperature: {"by": temperature},
    "The gradient is divided by batch²: each way is a mean over its batch questions, not over all pairs.":
        lambda batch, temperature: {"by": batch**2 * temperature},
    "The gradient lacks the ½ of the mean of both ways.": lambda batch, temperature: {
        "by": batch * temperature / 2},
    "The gradient is softmax alone: the own pair's 1 has to be taken away, softmax − I.":
        lambda batch, temperature: {"partner": 0.0},
    "The own pair's 1 is taken away once, and both ways have it: softmax − I for the rows and again for the "
    "columns.": lambda batch, temperature: {"partner": 0.5},
    "The gradient has the wrong sign: it is softmax − I, so a step against it makes partners more similar.":
        lambda batch, temperature: {"sign": -1.0},
    "The second half of the gradient belongs to the transposed table: turn it back before adding.":
        lambda batch, temperature: {"turned": True},
}.items():
    contrast_and_gradient.mistake(_sentence)(
        lambda cosines, temperature, slip=_slip: _two_ways(
            cosines, temperature, **slip(len(cosines), temperature))
    )


@contrast_and_gradient.mistake("The gradient is of the way from photo to text alone; the texts ask as "
    "well.")
def _(cosines, temperature):
    return _two_ways(cosines, temperature)[0], _two_ways(cosines, temperature, ways=(1,), share=1)[1]


@contrast_and_gradient.mistake("The gradient is of the way from text to photo alone; the photos ask as "
    "well.")
def _(cosines, temperature):
    return _two_ways(cosines, temperature)[0], _two_ways(cosines, temperature, ways=(2,), share=1)[1]


@contrast_and_gradient.mistake(
    "The loss is the mean over all entries of the table: only its diagonal holds the right pairs."
)
def _(cosines, temperature):
    logits = cosines / temperature
    every = -(logits.log_softmax(1) + logits.log_softmax(0)).mean() / 2
    return every, _two_ways(cosines, temperature)[1]


@contrast_and_gradient.mistake(
    "The loss is the mean of −p itself: the logarithm is missing, −ln p."
)
def _(cosines, temperature):
    logits = cosines / temperature
    found = (logits.softmax(1) + logits.softmax(0)).diagonal()
    return -found.mean() / 2, _two_ways(cosines, temperature)[1]


def _without_own(cosines, temperature):
    logits, batch = cosines / temperature, len(cosines)
    others = logits.masked_fill(torch.eye(batch, dtype=torch.bool), -torch.inf)
    loss = ((others.logsumexp(1) + others.logsumexp(0)) / 2 - logits.diagonal()).mean()
    error = others.softmax(1) + others.softmax(0) - 2 * torch.eye(batch, dtype=logits.dtype)
    return loss, error / (2 * batch * temperature)


def _softmax_twice(cosines, temperature):
    with torch.enable_grad():
        leaf = cosines.detach().clone().requires_grad_()
        logits = leaf / temperature
        rows, columns = (logits.softmax(dim).log_softmax(dim).diagonal() for dim in (1, 0))
        loss = -(rows + columns).mean() / 2
        return loss.detach(), torch.autograd.grad(loss, leaf)[0]


for _sentence, _slip in {
    "The own pair is left out of the sums below the fraction: the softmax runs over all texts, the right one "
    "among them.": _without_own,
    "A softmax is taken of a softmax: cross_entropy and log_softmax want logits, not probabilities.":
        _softmax_twice,
}.items():
    contrast_and_gradient.mistake(_sentence)(_slip)
    contrast_and_gradient.mistake(_sentence)(lambda cosines, temperature, slip=_slip: (
        slip(cosines, temperature)[0], _two_ways(cosines, temperature)[1]))


for _least in (1e-8, 1e-9, 1e-10, 1e-12):
    @contrast_and_gradient.mistake(
        "A small number beside a probability bounds its logarithm, and the loss goes flat where the model is "
        "most wrong: log_softmax needs none."
    )
    def _(cosines, temperature, least=_least):
        logits = cosines / temperature
        own = torch.stack([logits.softmax(1).diagonal(), logits.softmax(0).diagonal()])
        return -(own + least).log().mean(), _two_ways(cosines, temperature)[1]


@contrast_and_gradient.mistake(
    "The sums over the rows lack `keepdim=True`: as they stand, entry (i, j) is divided by the sum of row j."
)
def _(cosines, temperature):
    logits = cosines / temperature
    loss, gradient = _two_ways(cosines, temperature)
    slipped = (logits - logits.logsumexp(1)).exp() - logits.softmax(1)
    return loss, gradient + slipped / (2 * len(logits) * temperature)


for _most in (20, 30, 50, 80, 88, 100, 500, 700):
    @contrast_and_gradient.mistake(
        "Logits that are clamped give another loss: softmax never overflows when the largest logit of a row "
        "is taken away first, and log_softmax does that."
    )
    def _(cosines, temperature, most=_most):
        return _two_ways((cosines / temperature).clamp(-most, most) * temperature, temperature)


@contrast_and_gradient.mistake(
    "One softmax runs over all pairs of the batch: each photo chooses among the texts of its row, and each "
    "text among the photos of its column."
)
def _(cosines, temperature):
    logits, batch = cosines / temperature, len(cosines)
    loss = logits.flatten().logsumexp(0) - logits.diagonal().mean()
    whole = logits.flatten().softmax(0).reshape(batch, batch)
    return loss, (whole - torch.eye(batch, dtype=logits.dtype) / batch) / temperature


# 11.2 -------------------------------------------------------------------------------------------------------
@exercise("11.2", "The sigmoid loss", minutes=10, points=2, difficulty=2, grad=(0,))
def sigmoid_loss(cosines, scale, bias):
    logits = scale * cosines + bias
    batch = len(logits)
    sign = 2 * torch.eye(batch, dtype=logits.dtype) - 1  # +1 on the diagonal, −1 elsewhere
    margin = sign * logits
    cost = torch.relu(-margin) + torch.log1p(torch.exp(-margin.abs()))  # −log σ(margin), never overflowing
    return cost.sum() / batch


@sigmoid_loss.cases
def _(draw):
    def cosines(batch):
        return draw.uniform(batch, batch, low=-1, high=1)

    for batch, scale, bias in ((4, 3.0, -1.5), (3, 0.7, 0.4)):
        yield telling(
            sigmoid_loss,
            lambda batch=batch, scale=scale, bias=bias: case(
                cosines(batch), scale, bias, about=f"{batch} pairs, scale {scale}, bias {bias}"),
            hides=("overflows", "clamped", "held at 100"),
        )
    yield case(cosines(5), 4000.0, -10.0, about="a scale of 4,000, at which a sigmoid rounds to 0")


def _yes_or_no(cosines, scale, bias, sign=None, logits=None, share=None, pick=lambda cost: cost):
    """The loss with every part that a learner may get wrong as an argument."""
    batch = len(cosines)
    if sign is None:
        sign = 2 * torch.eye(batch, dtype=cosines.dtype) - 1
    logits = scale * cosines + bias if logits is None else logits
    cost = torch.nn.functional.softplus(-sign * logits)
    return pick(cost).sum() / (share or batch)


for _sentence, _slip in {
    "You take the mean over all pairs; the sum over the pairs is divided by the number of rows only.":
        lambda c, s, b: {"share": len(c) ** 2},
    "The sum is not divided by the number of rows.": lambda c, s, b: {"share": 1},
    "The sign is turned round: own pairs are pushed apart and wrong ones together.":
        lambda c, s, b: {"sign": 1 - 2 * torch.eye(len(c), dtype=c.dtype)},
    "Every pair counts as a right one: only the diagonal has the sign +1, all others −1.":
        lambda c, s, b: {"sign": torch.ones_like(c)},
    "The wrong pairs have the sign 0, so that each costs ln 2 whatever it says: their sign is −1.":
        lambda c, s, b: {"sign": torch.eye(len(c), dtype=c.dtype)},
    "Only the right pairs are counted, and one vector for everything would be perfect: the wrong ones cost "
    "too.": lambda c, s, b: {"pick": lambda cost: cost.diagonal()},
    "Only the wrong pairs are counted: the own pairs on the diagonal cost too.":
        lambda c, s, b: {"pick": lambda cost: cost - torch.diag(cost.diagonal())},
    "The bias is missing: the logits are scale · cosines + bias.": lambda c, s, b: {"logits": s * c},
    "The bias has the wrong sign: it is added to the logits.": lambda c, s, b: {"logits": s * c - b},
    "The bias is multiplied by the scale: it is added afterwards.": lambda c, s, b: {"logits": s * (c + b)},
    "You divide by the scale; it is 1/temperature, so it multiplies the cosines.":
        lambda c, s, b: {"logits": c / s + b},
    "The scale is missing: the logits are scale · cosines + bias.": lambda c, s, b: {"logits": c + b},
    "The scale is taken for a logarithm: here it multiplies the cosines as it is.": lambda c, s, b: {
        "logits": torch.tensor(s, dtype=c.dtype).exp() * c + b},
    "The scale is held at 100: here it is used as it comes.": lambda c, s, b: {"logits": min(s, 100) * c + b},
    "The bias is added to the wrong pairs alone; it belongs to every logit.": lambda c, s, b: {
        "logits": s * c + b * (1 - torch.eye(len(c), dtype=c.dtype))},
    "The bias is added to the right pairs alone; it belongs to every logit.": lambda c, s, b: {
        "logits": s * c + b * torch.eye(len(c), dtype=c.dtype)},
}.items():
    sigmoid_loss.mistake(_sentence)(lambda cosines, scale, bias, slip=_slip: _yes_or_no(
        cosines, scale, bias, **slip(cosines, scale, bias)))


@sigmoid_loss.mistake(
    "`binary_cross_entropy_with_logits` wants targets of 0 and 1: with a target of −1 a wrong pair pays its "
    "logit once more."
)
def _(cosines, scale, bias):
    logits = scale * cosines + bias
    sign = 2 * torch.eye(len(logits), dtype=logits.dtype) - 1
    cost = torch.nn.functional.binary_cross_entropy_with_logits(logits, sign, reduction="sum")
    return cost / len(logits)


for _ways in (1, 2):
    @sigmoid_loss.mistake(
        "Right and wrong pairs are averaged apart, so that a right pair weighs more than a wrong one: one "
        "sum over all pairs is wanted, divided by the number of rows."
    )
    def _(cosines, scale, bias, ways=_ways):
        batch = len(cosines)
        right = _yes_or_no(cosines, scale, bias, pick=lambda cost: cost.diagonal())
        wrong = _yes_or_no(cosines, scale, bias, share=batch * (batch - 1),
                           pick=lambda cost: cost - torch.diag(cost.diagonal()))
        return (right + wrong) / ways


def _margins(cosines, scale, bias):
    return (2 * torch.eye(len(cosines), dtype=cosines.dtype) - 1) * (scale * cosines + bias)


@sigmoid_loss.mistake("The logarithm is missing: a pair costs −ln σ, and not 1 − σ.")
def _(cosines, scale, bias):
    return (1 - _margins(cosines, scale, bias).sigmoid()).sum() / len(cosines)


@sigmoid_loss.mistake("This is a hinge, max(0, 1 − margin); here a pair costs −ln σ of its margin.")
def _(cosines, scale, bias):
    return (1 - _margins(cosines, scale, bias)).clamp(min=0).sum() / len(cosines)


for _most in (10, 15, 20, 30, 50, 80, 88, 100, 500, 700):
    @sigmoid_loss.mistake(
        "Logits that are clamped make the loss flat where the model is most wrong: logsigmoid and softplus "
        "never overflow."
    )
    def _(cosines, scale, bias, most=_most):
        cost = torch.nn.functional.softplus(-_margins(cosines, scale, bias).clamp(-most, most))
        return cost.sum() / len(cosines)


for _least in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 1e-16, 1e-20, 1e-30):
    @sigmoid_loss.mistake(
        "A probability that is clamped makes the loss flat where the model is most wrong: take the logarithm"
        " of the sigmoid in one, logsigmoid."
    )
    def _(cosines, scale, bias, least=_least):
        sign = 2 * torch.eye(len(cosines), dtype=cosines.dtype) - 1
        return -(sign * (scale * cosines + bias)).sigmoid().clamp_min(least).log().sum() / len(cosines)


@sigmoid_loss.mistake("The sign stands before the cosine alone; it turns the whole logit round, the bias "
    "too.")
def _(cosines, scale, bias):
    sign = 2 * torch.eye(len(cosines), dtype=cosines.dtype) - 1
    return torch.nn.functional.softplus(-(sign * scale * cosines + bias)).sum() / len(cosines)


@sigmoid_loss.mistake("This is the softmax loss of exercise 11.1: here every pair is a question of its "
    "own, with a "
                      "sigmoid.")
def _(cosines, scale, bias):
    return contrast_and_gradient.reference(cosines, 1 / scale)[0]


@sigmoid_loss.mistake(
    "The logarithm of a sigmoid overflows for large logits: use logsigmoid, or softplus of the negative."
)
def _(cosines, scale, bias):
    sign = 2 * torch.eye(len(cosines), dtype=cosines.dtype) - 1
    return -(sign * (scale * cosines + bias)).sigmoid().log().sum() / len(cosines)


# 11.3 -------------------------------------------------------------------------------------------------------
@exercise("11.3", "Classes from prompts", minutes=12, points=2, difficulty=2)
def zero_shot(image, prompts, scale):
    prompts = prompts / prompts.norm(dim=2, keepdim=True)
    classes = prompts.mean(dim=1)  # (classes, size): over the templates
    classes = classes / classes.norm(dim=1, keepdim=True)
    image = image / image.norm(dim=1, keepdim=True)
    logits = scale * image @ classes.T  # (batch, classes)
    return logits.softmax(dim=1)


@zero_shot.cases
def _(draw):
    for batch, classes, templates, size in ((4, 3, 5, 6), (3, 3, 2, 4), (5, 2, 3, 3)):
        yield telling(
            zero_shot,
            lambda shape=(classes, templates, size), batch=batch: case(
                draw.normal(batch, shape[2]), draw.normal(*shape), 2.5,
                about=f"{batch} photos, {shape[0]} classes and {shape[1]} templates"),
        )
    yield case(draw.normal(2, 4), draw.normal(3, 1, 4), 10.0, about="a single template")


def _unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def _by_prompts(image, prompts, scale, look=_unit, read=_unit, join=lambda p: p.mean(1), again=_unit,
                answer=lambda logits: logits.softmax(1)):
    """Zero-shot with every part that a learner may get wrong as an argument."""
    return answer(scale * look(image) @ again(join(read(prompts))).T)


for _sentence, _slip in {
    "The mean of the templates is not brought back to length 1: a class whose prompts differ more gets "
    "shorter "
    "and loses.": {"again": lambda p: p},
    "The prompts are averaged before they are normalised: the longest one then decides; bring each to "
    "length 1 "
    "first.": {"read": lambda p: p},
    "The prompts are never normalised: each to length 1, their mean again.": {"read": lambda p: p,
                                                                               "again": lambda p: p},
    "The photos are not normalised: a cosine needs both vectors of length 1.": {"look": lambda x: x},
    "The photos are standardised over the batch, so that the answer for one hangs on the others: a cosine "
    "needs each divided by its own length.": {"look": lambda x: _unit((x - x.mean(0)) / x.std(0))},
    "The mean over its numbers is taken away from each photo: a cosine needs it divided by its length, and "
    "nothing else.": {"look": lambda x: _unit(x - x.mean(1, keepdim=True))},
    "Nothing is normalised: this is no cosine.": {
        "look": lambda x: x, "read": lambda p: p, "again": lambda p: p},
    "Only the first template is used; average them all.": {"join": lambda p: p[:, 0]},
    "Only the last template is used; average them all.": {"join": lambda p: p[:, -1]},
    "These are logits; the softmax over the classes is missing.": {"answer": lambda logits: logits},
    "The softmax runs over the photos; each photo chooses among the classes (dim 1).": {
        "answer": lambda logits: logits.softmax(0)},
    "These are the logarithms of the probabilities.": {"answer": lambda logits: logits.log_softmax(1)},
    "The vectors are divided by their squared length; divide by the length.": {
        "look": lambda x: x / x.square().sum(-1, keepdim=True),
        "read": lambda p: p / p.square().sum(-1, keepdim=True),
        "again": lambda p: p / p.square().sum(-1, keepdim=True)},
}.items():
    zero_shot.mistake(_sentence)(
        lambda image, prompts, scale, slip=_slip: _by_prompts(image, prompts, scale, **slip))


for _sentence, _slip in {
    "The templates are added up, and their sum is not brought back to length 1.": {
        "join": lambda p: p.sum(1), "again": lambda p: p},
    "You divide by the sum of absolute values; the length is the root of the summed squares.": dict.fromkeys(
        ("look", "read", "again"), lambda x: x / x.abs().sum(-1, keepdim=True)),
    "You ask of each class by itself, with a sigmoid; the classes share one softmax.": {
        "answer": lambda logits: logits.sigmoid()},
    "This is the choice alone, 1 for the best class: the probabilities are wanted, softmax.": {
        "answer": lambda logits: torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).double()},
    "The logits are divided by their sum: a softmax takes their exponentials first.": {
        "answer": lambda logits: logits / logits.sum(1, keepdim=True)},
    "Classes and templates are mixed up: prompts are (classes, templates, size), and the mean runs over "
    "dim 1.": {"join": lambda p: p.reshape(p.shape[1], p.shape[0], -1).mean(0)},
}.items():
    zero_shot.mistake(_sentence)(
        lambda image, prompts, scale, slip=_slip: _by_prompts(image, prompts, scale, **slip))


@zero_shot.mistake("The scale is taken for a logarithm: here it multiplies the cosines as it is.")
def _(image, prompts, scale):
    return _by_prompts(image, prompts, torch.tensor(scale, dtype=image.dtype).exp())


@zero_shot.mistake("You take minus the distance; the logits are scale times the cosine.")
def _(image, prompts, scale):
    classes = _unit(_unit(prompts).mean(1))
    return (-scale * torch.cdist(_unit(image), classes)).softmax(1)


@zero_shot.mistake(
    "One softmax runs over all sentences, and each class adds up its own: average the templates' vectors "
    "first, so that a class has one logit."
)
def _(image, prompts, scale):
    logits = scale * torch.einsum("nd,ktd->nkt", _unit(image), _unit(prompts))
    return logits.flatten(1).softmax(1).reshape(logits.shape).sum(2)


@zero_shot.mistake("The scale is left out: the softmax is over scale · cosine.")
def _(image, prompts, scale):
    return _by_prompts(image, prompts, 1.0)


@zero_shot.mistake("You divide by the scale; it is 1/temperature, so it multiplies the cosines.")
def _(image, prompts, scale):
    return _by_prompts(image, prompts, 1 / scale)


@zero_shot.mistake("You take each class's best template; the templates are averaged.")
def _(image, prompts, scale):
    logits = scale * torch.einsum("nd,ktd->nkt", _unit(image), _unit(prompts))
    return logits.amax(2).softmax(1)


@zero_shot.mistake("You average the probabilities of the templates; average their vectors, before any "
    "softmax.")
def _(image, prompts, scale):
    logits = scale * torch.einsum("nd,ktd->nkt", _unit(image), _unit(prompts))
    return logits.softmax(1).mean(2)


# 11.4 -------------------------------------------------------------------------------------------------------
@exercise("11.4", "A large batch in parts", minutes=18, points=3, difficulty=4,
          names=("the gradient of W_image", "the gradient of W_text"))
def gradients_in_parts(image_parts, text_parts, W_image, W_text, scale):
    image = torch.cat([part @ W_image.T for part in image_parts])  # (batch, size)
    text = torch.cat([part @ W_text.T for part in text_parts])
    logits = scale * image @ text.T  # (batch, batch): all with all
    batch = len(logits)
    partner = torch.eye(batch, dtype=logits.dtype)
    error = (logits.softmax(dim=1) - partner) + (logits.softmax(dim=0) - partner)
    error = error * scale / (2 * batch)
    send_image = error @ text  # (batch, size): the gradient by what came out
    send_text = error.T @ image
    grad_image, grad_text = torch.zeros_like(W_image), torch.zeros_like(W_text)
    start = 0
    for x, y in zip(image_parts, text_parts, strict=True):
        stop = start + len(x)
        grad_image = grad_image + send_image[start:stop].T @ x
        grad_text = grad_text + send_text[start:stop].T @ y
        start = stop
    return grad_image, grad_text


@gradients_in_parts.cases
def _(draw):
    def parts(sizes, width):
        return [draw.normal(size, width) for size in sizes]

    def one(sizes, image, text, size):
        about = f"{len(sizes)} parts of {', '.join(map(str, sizes))} rows"
        weights = draw.normal(size, image), draw.normal(size, text)
        return case(parts(sizes, image), parts(sizes, text), *weights, 0.3, about=about)

    yield telling(gradients_in_parts, lambda: one((3, 2), 4, 3, 2), hides=("rows of the first part",))
    yield telling(gradients_in_parts, lambda: one((2, 4, 3), 3, 3, 3))
    weights = draw.normal(2, 3), draw.normal(2, 2)
    yield case(parts((4,), 3), parts((4,), 2), *weights, 1.5, about="one part alone")


def _in_parts(image_parts, text_parts, W_image, W_text, scale, ways=(1, 2), share=2, rows=None, turn=True,
              chain=None, rows_of=slice, seen=None, keep=slice(None), times=None):
    """The gradients with every part that a learner may get wrong as an argument."""
    image = torch.cat([part @ W_image.T for part in image_parts])
    text = torch.cat([part @ W_text.T for part in text_parts])
    logits, batch = scale * image @ text.T, len(image)
    own = torch.eye(batch, dtype=logits.dtype)
    errors = {1: logits.softmax(1) - own, 2: logits.softmax(0) - own}
    error = sum(errors[way] for way in ways) / share / (rows or batch) * (scale if chain is None else chain)
    if seen is not None:  # what one part does not see of the others
        error = error * seen([len(part) for part in image_parts]).to(error.dtype)
    send_image, send_text = error @ text, (error.T if turn else error) @ image
    found_image, found_text, start = [], [], 0
    for part, (x, y) in enumerate(zip(image_parts, text_parts, strict=True)):
        mine = rows_of(start, start + len(x))
        share = 1 if times is None else times[part]
        found_image.append(share * send_image[mine].T @ x)
        found_text.append(share * send_text[mine].T @ y)
        start += len(x)
    return sum(found_image[keep]), sum(found_text[keep])


def _own_part(sizes):
    part = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return part[:, None] == part


def _naive(image_parts, text_parts, W_image, W_text, scale, weigh):
    """Ordinary accumulation: every part is compared with itself alone."""
    total = sum(len(part) for part in image_parts)
    found = [
        (weigh(len(x), total, len(image_parts)), _in_parts([x], [y], W_image, W_text, scale))
        for x, y in zip(image_parts, text_parts, strict=True)
    ]
    return tuple(sum(share * pair[k] for share, pair in found) for k in (0, 1))


for _sentence, _weigh in {
    "Every part is compared with itself alone, and the parts are weighed by their rows: a row must be "
    "compared with "
    "those of all parts, so encode them all first.": lambda n, total, parts: n / total,
    "Every part is compared with itself alone, and the parts are averaged: a row must be compared with "
    "those of all "
    "parts, so encode them all first.": lambda n, total, parts: 1 / parts,
    "Every part is compared with itself alone, and the parts are added up: a row must be compared with "
    "those of all "
    "parts, so encode them all first.": lambda n, total, parts: 1,
}.items():
    gradients_in_parts.mistake(_sentence)(lambda *args, weigh=_weigh: _naive(*args, weigh))

for _sentence, _slip in {
    "Only the photos look for their texts: add the way back, a softmax over each column.": {
        "ways": (1,), "share": 1},
    "Only the texts look for their photos: add the other way, a softmax over each row.": {
        "ways": (2,), "share": 1},
    "Both ways are added up; the loss is their mean, so halve.": {"share": 1},
    "The 1/batch is missing: the loss is a mean over all rows.": {"rows": 1},
    "The factor `scale` of the chain rule is missing: the logits are scale times the products.": {
        "chain": 1.0},
    "For the texts the table of errors has to be transposed: its rows are photos.": {"turn": False},
    "Every part gets the gradients of the first rows: move on by the rows of each part.": {
        "rows_of": lambda start, stop: slice(0, stop - start)},
    "In the second pass a part sees the errors with its own rows only: the gradient of a row is a sum over "
    "the rows "
    "of all parts.": {"seen": _own_part},
    "Only the photos look for their texts, and the half of two ways stands before it: add the way back, a "
    "softmax over each column.": {"ways": (1,)},
    "Only the texts look for their photos, and the half of two ways stands before it: add the other way, a "
    "softmax over each row.": {"ways": (2,)},
    "Only the last part is kept: add the parts up.": {"keep": slice(-1, None)},
    "Only the first part is kept: add the parts up.": {"keep": slice(0, 1)},
}.items():
    gradients_in_parts.mistake(_sentence)(lambda *args, slip=_slip: _in_parts(*args, **slip))


def _whole(image_parts, text_parts, W_image, W_text, scale, normal=lambda x: x, by=len, partner=2.0,
           errors=lambda p, q: (p + q, p + q), swap=False):
    """The gradients from one table of the whole batch; errors : what stands for P + Q, for photo and text."""
    photos, texts = torch.cat(image_parts), torch.cat(text_parts)
    image, text = normal(photos @ W_image.T), normal(texts @ W_text.T)
    logits = scale * image @ text.T
    own = partner / 2 * torch.eye(len(logits), dtype=logits.dtype)
    for_image, for_text = (error * scale / (2 * by(logits)) for error in errors(
        logits.softmax(1) - own, logits.softmax(0) - own))
    send = for_image @ text, for_text.T @ image
    send_image, send_text = send[::-1] if swap else send
    return send_image.T @ photos, send_text.T @ texts


for _sentence, _slip in {
    "The own pair's 1 is taken away once, and both ways have it: softmax − I for the rows and again for the "
    "columns.": {"partner": 1.0},
    "The own pair's 1 is missing: the error is softmax − I, for the rows and for the columns.": {
        "partner": 0.0},
    "The vectors are brought to length 1: here they are not normalised, and the logits are scale times plain "
    "dot products.": {"normal": _unit},
    "The gradients of photos and texts are exchanged: the photos' vectors get the errors times the texts, "
    "the texts' the transposed errors times the photos.": {"swap": True},
    "Each tower gets the gradient of its own question alone: both ways, P − I and Q − I, pull at both "
    "towers.": {"errors": lambda p, q: (p, q)},
    "Each tower gets the gradient of its own question alone, doubled: both ways, P − I and Q − I, pull at "
    "both towers.": {"errors": lambda p, q: (2 * p, 2 * q)},
}.items():
    gradients_in_parts.mistake(_sentence)(lambda *args, slip=_slip: _whole(*args, **slip))


@gradients_in_parts.mistake(
    "The vectors are brought to length 1: here they are not normalised, and the logits are scale times plain"
    " dot products."
)
def _(image_parts, text_parts, W_image, W_text, scale):
    with torch.enable_grad():
        weights = [weight.detach().clone().requires_grad_() for weight in (W_image, W_text)]
        image, text = (_unit(torch.cat(parts) @ weight.T) for parts, weight in zip(
            (image_parts, text_parts), weights, strict=True))
        loss = contrast_and_gradient.reference(scale * image @ text.T, 1.0)[0]
        return torch.autograd.grad(loss, weights)


@gradients_in_parts.mistake(
    "The mean is over the number of parts: divide by the number of rows of all parts."
)
def _(image_parts, text_parts, W_image, W_text, scale):
    return _in_parts(image_parts, text_parts, W_image, W_text, scale, rows=len(image_parts))


@gradients_in_parts.mistake(
    "A part begins at its number times its own rows: parts differ in size, so count the rows of those before"
    " it."
)
def _(image_parts, text_parts, W_image, W_text, scale):
    return _from_rows(image_parts, text_parts, W_image, W_text, scale, lambda part, sizes: part * sizes[part])


def _from_rows(image_parts, text_parts, W_image, W_text, scale, start, most=None):
    """The sums over the parts, where each part begins at the row that ``start`` says; as many rows as fit."""
    image, text = (torch.cat([part @ weight.T for part in parts]) for parts, weight in (
        (image_parts, W_image), (text_parts, W_text)))
    error = contrast_and_gradient.reference(scale * image @ text.T, 1.0)[1] * scale
    found, sizes = [torch.zeros_like(W_image), torch.zeros_like(W_text)], [len(part) for part in image_parts]
    for k, (send, parts) in enumerate(((error @ text, image_parts), (error.T @ image, text_parts))):
        for part, rows in enumerate(parts):
            mine = send[start(part, sizes):][:most or len(rows)][:len(rows)]
            found[k] = found[k] + mine.T @ rows[:len(mine)]
    return tuple(found)


for _whole_part in (True, False):
    @gradients_in_parts.mistake(
        "Every part is taken to have the rows of the first part: parts differ in size, so count the rows of "
        "those before it."
    )
    def _(image_parts, text_parts, W_image, W_text, scale, whole=_whole_part):
        first = len(image_parts[0])
        return _from_rows(image_parts, text_parts, W_image, W_text, scale, lambda part, sizes: part * first,
                          None if whole else first)


@gradients_in_parts.mistake("The sum over the parts is divided by their number: the 1/batch is already "
    "that of all "
                            "rows.")
def _(image_parts, text_parts, W_image, W_text, scale):
    found = gradients_in_parts.reference(image_parts, text_parts, W_image, W_text, scale)
    return found[0] / len(image_parts), found[1] / len(image_parts)


@gradients_in_parts.mistake("The 1/batch is that of the first part: the mean is over the rows of all parts.")
def _(image_parts, text_parts, W_image, W_text, scale):
    return _in_parts(image_parts, text_parts, W_image, W_text, scale, rows=len(image_parts[0]))


@gradients_in_parts.mistake(
    "Each part is weighed by its share of the rows: the 1/batch is already that of all rows, so add them up."
)
def _(image_parts, text_parts, W_image, W_text, scale):
    sizes = torch.tensor([len(part) for part in image_parts])
    return _in_parts(image_parts, text_parts, W_image, W_text, scale, times=sizes / sizes.sum().double())


@gradients_in_parts.mistake(
    "These are the gradients by the vectors: send those of each part on to the weights, G.T @ rows."
)
def _(image_parts, text_parts, W_image, W_text, scale):
    image, text = (torch.cat([part @ weight.T for part in parts]) for parts, weight in (
        (image_parts, W_image), (text_parts, W_text)))
    error = contrast_and_gradient.reference(scale * image @ text.T, 1.0)[1] * scale
    return error @ text, error.T @ image


def _errors_by_parts(image_parts, text_parts, W_image, W_text, scale, errors):
    """The gradients from what ``errors(logits, own pairs, rows of each part)`` gives for photo and text."""
    photos, texts = torch.cat(image_parts), torch.cat(text_parts)
    image, text = photos @ W_image.T, texts @ W_text.T
    logits = scale * image @ text.T
    eye, sizes = torch.eye(len(logits), dtype=logits.dtype), [len(part) for part in image_parts]
    for_image, for_text = (error * scale / (2 * len(logits)) for error in errors(logits, eye, sizes))
    return (for_image @ text).T @ photos, (for_text.T @ image).T @ texts


def _columns_within(logits, eye, sizes):
    error = logits.softmax(1) + torch.cat([rows.softmax(0) for rows in logits.split(sizes)]) - 2 * eye
    return error, error


def _own_questions(logits, eye, sizes):
    by_rows, by_columns, own = logits.softmax(1) - eye, logits.softmax(0) - eye, _own_part(sizes)
    return by_rows + by_columns * own, by_columns + by_rows * own


for _sentence, _slip in {
    "The softmax of a column runs over the photos of one part: a text chooses among those of all parts.":
        _columns_within,
    "Each part asks its own questions alone: those that the rows of other parts ask pull at its vectors too.":
        _own_questions,
}.items():
    gradients_in_parts.mistake(_sentence)(lambda *args, slip=_slip: _errors_by_parts(*args, slip))


@gradients_in_parts.mistake("The 1/batch is that of each part: the loss is one mean over the rows of all "
                            "parts.")
def _(image_parts, text_parts, W_image, W_text, scale):
    sizes = torch.tensor([len(part) for part in image_parts])
    own = (sizes.sum() / sizes).to(W_image.dtype)
    return _in_parts(image_parts, text_parts, W_image, W_text, scale, times=own)


# 11.5 -------------------------------------------------------------------------------------------------------
@exercise("11.5", "What equal captions cost", minutes=25, points=4, difficulty=4,
          names=("the lowest loss", "the highest recall@1"))
def limits(text):
    equal = text[:, None] == text[None, :]  # (batch, batch)
    mates = equal.sum(dim=1).double()  # how many rows say the same, itself included
    lowest = mates.log().mean()
    highest = (1 / mates).mean()
    return lowest, highest


@limits.cases
def _(draw):
    # so many rows that another draw hardly ever has the same counts, and with them the printed result
    yield telling(limits, lambda: case(draw.integers(7, 20), about="20 rows with at most 7 captions"))
    yield telling(limits, lambda: case(draw.integers(11, 31), about="31 rows with at most 11 captions"))
    yield case(torch.tensor([7, 7, 7, 7]), about="four rows that all say the same")
    yield case(torch.arange(6).flip(0), about="six captions that all differ")


def _mates(text):
    return (text[:, None] == text).sum(1).double()


def _equal(loss=lambda m, g: m.log().mean(), recall=lambda m, g: (1 / m).mean()):
    """The limits with both parts that a learner may get wrong; m : the equal rows of each row, g : of each
    different caption.
    """
    def limits(text):
        mates, groups = _mates(text), text.unique(return_counts=True)[1].double()
        return loss(mates, groups), recall(mates, groups)
    return limits


for _sentence, _slip in {
    "The loss is averaged over the different captions; average over the rows, so that a caption with many "
    "rows counts often.": {"loss": lambda m, g: g.log().mean()},
    "The recall is averaged over the different captions; average over the rows.": {
        "recall": lambda m, g: (1 / g).mean()},
    "Loss and recall are averaged over the different captions; average over the rows.": {
        "loss": lambda m, g: g.log().mean(), "recall": lambda m, g: (1 / g).mean()},
    "You take the logarithm of the mean; the loss is the mean of logarithms.": {
        "loss": lambda m, g: m.mean().log()},
    "The recall is 1 over the mean number of equal rows; it is the mean of 1 over that number.": {
        "recall": lambda m, g: 1 / m.mean()},
    "Rows whose caption is not unique count as lost; one of m equal rows is still found 1 time in m.": {
        "recall": lambda m, g: (m == 1).double().mean()},
    "The loss is in bits: nats are wanted, the natural logarithm.": {"loss": lambda m, g: m.log2().mean()},
    "The loss is ln batch less what equal captions cost: this is what the batch can show, and what is left "
    "as loss is wanted.": {"loss": lambda m, g: (len(m) / m).log().mean()},
    "The logarithm of each row is divided by its m besides: every row counts alike in the mean.": {
        "loss": lambda m, g: (m.log() / m).mean()},
    "One of the two ways counts as perfect: the photos of equal captions share a first place, so both ways "
    "are held at the mean of 1/m.": {"recall": lambda m, g: (1 + (1 / m).mean()) / 2},
    "This is the chance that two rows, drawn with replacement, say the same; the mean of 1/m over the rows "
    "is wanted.": {"recall": lambda m, g: (g / len(m)).square().sum()},
    "You take the logarithm of the mean of 1/m; the loss is the mean of logarithms.": {
        "loss": lambda m, g: -(1 / m).mean().log()},
    "The recall is the mean of 1/m; e to the minus loss is another mean of it, the geometric one.": {
        "recall": lambda m, g: (-m.log().mean()).exp()},
    "Equal captions count as found all the same: of m that tie, one place is the first.": {
        "recall": lambda m, g: m.mean() * 0 + 1},
    "The loss has the wrong sign.": {"loss": lambda m, g: -m.log().mean()},
    "The sum over the rows is wanted as a mean.": {
        "loss": lambda m, g: m.log().sum(), "recall": lambda m, g: (1 / m).sum()},
    "The loss of both ways is their mean, not their sum.": {"loss": lambda m, g: 2 * m.log().mean()},
    "The loss counts the other equal rows only; the row itself is one of the m that share the "
    "probability.": {"loss": lambda m, g: (m - 1).clamp(min=1).log().mean()},
    "The recall is the share of wrong answers; the share of right ones is wanted.": {
        "recall": lambda m, g: 1 - (1 / m).mean()},
    "Equal rows are left out of the account: the loss cannot fall to 0 while they share the probability.": {
        "loss": lambda m, g: 0 * m.mean()},
    "The number counts the other equal rows only; itself included, it is one more, and never 0.": {
        "loss": lambda m, g: (m - 1).clamp(min=1).log().mean(),
        "recall": lambda m, g: (1 / (m - 1).clamp(min=1)).mean()},
    "The columns have the same limits as the rows, so the mean of both ways is no smaller than one.": {
        "loss": lambda m, g: m.log().mean() / 2, "recall": lambda m, g: (1 + (1 / m).mean()) / 2},
    "The loss of the columns is left out, and the half of both ways kept: the columns have the same limit as "
    "the rows.": {"loss": lambda m, g: m.log().mean() / 2},
    "The sum over the rows is divided by the number of different captions: divide by that of the rows.": {
        "loss": lambda m, g: (g * g.log()).mean(), "recall": lambda m, g: (1 / g).mean()},
    "The sum over the rows is divided by the number of different captions, in the loss: divide by that of "
    "the rows.": {"loss": lambda m, g: (g * g.log()).mean()},
}.items():
    limits.mistake(_sentence)(_equal(**_slip))


limits.mistake("The number counts the other equal rows only; itself included, it is one more, and never 0.")(
    _equal(lambda m, g: (m - 1).log().mean(), lambda m, g: (1 / (m - 1)).mean()))


@limits.mistake("Each pair of equal rows is counted once: row i has its equals before it and after it.")
def _(text):
    mates = (text[:, None] == text).triu().sum(1).double()
    return mates.log().mean(), (1 / mates).mean()


@limits.mistake("Each pair of equal rows is counted once: row i has its equals before it and after it.")
def _(text):
    mates = (text[:, None] == text).tril().sum(1).double()
    return mates.log().mean(), (1 / mates).mean()


@limits.mistake(
    "Only equal captions that stand side by side are counted: equal rows may stand anywhere in the batch."
)
def _(text):
    runs = text.unique_consecutive(return_counts=True)[1]
    mates = runs.repeat_interleave(runs).double()
    return mates.log().mean(), (1 / mates).mean()
