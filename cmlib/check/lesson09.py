"""Exercises of lesson 09: joint optimisation and modality imbalance."""

import math

import torch
from torch.nn.functional import cross_entropy

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


# 09.1 -------------------------------------------------------------------------------------------------------
def _margin(total, time):
    """The root of m + e^m = 1 + total · time, by Newton from above."""
    m = math.log1p(total * time)
    for _ in range(60):
        m = m - (m + math.exp(m) - 1 - total * time) / (1 + math.exp(m))
    return m


@exercise("09.1", "Two weights, one residual", minutes=18, points=3, difficulty=4, rtol=1e-9)
def weights_at(strengths, time):
    total = (strengths * strengths).sum()
    m = torch.log(1 + total * time)
    for _ in range(60):
        m = m - (m + torch.exp(m) - 1 - total * time) / (1 + torch.exp(m))
    return strengths * m / total


@weights_at.cases
def _(draw):
    def random(n, about):
        return case(draw.uniform(n, low=0.3, high=2.0), float(draw.uniform(1, low=0.5, high=20.0)),
                    about=about)

    yield telling(weights_at, lambda: random(2, "two modalities"))
    yield telling(weights_at, lambda: random(3, "three modalities"))
    yield telling(weights_at, lambda: case(draw.uniform(2, low=0.5, high=3.0), 2000.0, about="a long time"),
                  hides=("after two steps",))  # so late ln(1 + S t) is nearly the root itself
    yield case(draw.uniform(2, low=0.5, high=1.5), 0.0, about="time 0, where nothing has moved")


def _shared(strengths, m):
    return strengths * m / strengths.square().sum()


@weights_at.mistake(
    "You let each modality train alone: its margin solves the equation with its own s². Here one residual "
    "feeds all, so S is the sum of all s²."
)
def _(strengths, time):
    alone = [_margin(float(s) ** 2, time) / float(s) for s in strengths]
    return torch.tensor(alone, dtype=strengths.dtype)


@weights_at.mistake(
    "S is the sum of the squared strengths: a strength counts once in the gradient and once in the logit."
)
def _(strengths, time):
    total = float(strengths.sum())
    return strengths * _margin(total, time) / total


@weights_at.mistake("These are the margins s·w of the modalities; divide by s once more to get the weights.")
def _(strengths, time):
    total = float(strengths.square().sum())
    return strengths.square() * _margin(total, time) / total


@weights_at.mistake("You leave the residual at ½, as it is in the first step: it shrinks as the logit grows.")
def _(strengths, time):
    return strengths * time / 2


@weights_at.mistake("All weights are equal in yours: w_k = s_k m / S, so that the stronger one has more.")
def _(strengths, time):
    total = float(strengths.square().sum())
    return torch.full_like(strengths, _margin(total, time) / total)


@weights_at.mistake("You leave the residual out: it is ½ in the first step and shrinks as the logit grows.")
def _(strengths, time):
    return strengths * time


@weights_at.mistake("S is the sum of the squared strengths itself, not its root.")
def _(strengths, time):
    total = float(strengths.norm())
    return strengths * _margin(total, time) / total


@weights_at.mistake("You divide by the strengths alone: branch k holds m s_k² / S of the logit, so that w_k "
                    "is m s_k / S.")
def _(strengths, time):
    return _margin(float(strengths.square().sum()), time) / strengths


@weights_at.mistake(
    "The e^m alone is kept: the equation is m + e^m = 1 + S t, and the m in front of it counts."
)
def _(strengths, time):
    return _shared(strengths, math.log1p(float(strengths.square().sum()) * time))


@weights_at.mistake("The constant is wrong: at time 0 the margin is 0, and 0 + e⁰ = 1, so the right side is "
                    "1 + S t.")
def _(strengths, time):
    total = float(strengths.square().sum())
    return _shared(strengths, _margin(total, time - 1 / total))


@weights_at.mistake(
    "You share the margin out evenly: each modality's part of the logit is s² / S, since both the gradient "
    "and the logit carry its s."
)
def _(strengths, time):
    m = _margin(float(strengths.square().sum()), time)
    return m / len(strengths) / strengths


@weights_at.mistake(
    "You share the margin out by the strengths themselves: w = m s / S, so that w·s is s² / S of it."
)
def _(strengths, time):
    m = _margin(float(strengths.square().sum()), time)
    return (m / strengths.sum()).expand(len(strengths))


@weights_at.mistake("The margin is not divided by S: m is the sum of all s·w, and w = s m / S.")
def _(strengths, time):
    return strengths * _margin(float(strengths.square().sum()), time)


@weights_at.mistake("The residual is upside down: it is 1 − p, which shrinks as the margin grows, not p.")
def _(strengths, time):
    total = float(strengths.square().sum())
    low, high = 0.0, total * time + 1
    for _ in range(100):  # the root of m − e^(−m) = S t − 1
        m = (low + high) / 2
        low, high = (m, high) if m - math.exp(-m) < total * time - 1 else (low, m)
    return _shared(strengths, m)


def _steps(steps):
    """The flow by Euler's method."""
    def weights(strengths, time):
        total, m = float(strengths.square().sum()), 0.0
        for _ in range(steps):
            m += time / steps * total / (1 + math.exp(m))
        return _shared(strengths, m)
    return weights


def _halved(steps, end):
    """An interval halved so many times; end : which part of the last one is taken."""
    def weights(strengths, time):
        total = float(strengths.square().sum())
        low, high = 0.0, math.log1p(total * time)
        for _ in range(steps):
            m = (low + high) / 2
            low, high = (m, high) if m + math.exp(m) < 1 + total * time else (low, m)
        return _shared(strengths, {"low": low, "last": m, "middle": (low + high) / 2}[end])
    return weights


def _broken_off(steps):
    """Newton from log(1 + S t), not to the end."""
    def weights(strengths, time):
        total = float(strengths.square().sum())
        m = math.log1p(total * time)
        for _ in range(steps):
            m -= (m + math.exp(m) - 1 - total * time) / (1 + math.exp(m))
        return _shared(strengths, m)
    return weights


for _about, _wrong in (("small steps are", _steps(100)), ("small steps are", _steps(1000)),
                       ("Newton broken off after one step is", _broken_off(1)),
                       ("Newton broken off after two steps is", _broken_off(2)),
                       *(("20 halvings are", _halved(20, end)) for end in ("low", "last", "middle"))):
    weights_at.mistake(
        f"This is nearly right: {_about} not nine digits. Solve m + e^m = 1 + S t to the end."
    )(_wrong)


@weights_at.mistake("This is the whole margin m; return the weights, one for each modality.")
def _(strengths, time):
    return torch.tensor(_margin(float(strengths.square().sum()), time), dtype=strengths.dtype)


# 09.2 -------------------------------------------------------------------------------------------------------
def _nll(logits, labels):
    return cross_entropy(logits, labels)


def _capped(logits, labels, small=1e-8):
    return -(logits.softmax(1).gather(1, labels[:, None]) + small).log().mean()


@exercise("09.2", "A loss of one's own for each branch", minutes=10, points=2, difficulty=2, grad=(0, 1))
def with_own_losses(image, text, labels, weight):
    rows = torch.arange(len(labels))
    total = 0
    for share, logits in ((1, image + text), (weight, image), (weight, text)):
        log_p = logits - torch.logsumexp(logits, dim=1, keepdim=True)
        total = total + share * -log_p[rows, labels].mean()
    return total


@with_own_losses.cases
def _(draw):
    for batch, classes, about in ((5, 3, "three classes"), (4, 2, "two classes"), (1, 4, "a batch of one")):
        yield telling(with_own_losses, lambda b=batch, c=classes, a=about: case(
            draw.normal(b, c), draw.normal(b, c), draw.integers(c, b),
            float(draw.uniform(1, low=0.3, high=0.8)), about=a),
            hides=("small number", *(("add the rows up",) if batch == 1 else ())))
    # row and column of equal size; far apart, so that a wrong class may be all but sure
    yield telling(with_own_losses, lambda: case(
        800 + 40 * draw.normal(3, 3), -800 + 40 * draw.normal(3, 3), draw.integers(3, 3), 2.5,
        about="logits of 800"))


for _sentence, _wrong in {
    "The two losses of the branches alone are missing: the joint loss is only the first of three terms.":
        lambda i, t, y, w: _nll(i + t, y) + 0 * (i.sum() + t.sum()),
    "The joint loss is missing: ℓ(z_i + z_t) comes first, the two others are added to it.":
        lambda i, t, y, w: w * (_nll(i, y) + _nll(t, y)),
    "Your joint loss takes the mean of the logits; the branches' logits are added.":
        lambda i, t, y, w: _nll((i + t) / 2, y) + w * (_nll(i, y) + _nll(t, y)),
    "The text branch has no loss of its own in your sum.":
        lambda i, t, y, w: _nll(i + t, y) + w * _nll(i, y) + 0 * t.sum(),
    "The image branch has no loss of its own in your sum.":
        lambda i, t, y, w: _nll(i + t, y) + w * _nll(t, y) + 0 * i.sum(),
    "The weight stands before the joint loss; it belongs to the two others.":
        lambda i, t, y, w: w * _nll(i + t, y) + _nll(i, y) + _nll(t, y),
    "You weight the joint loss as well; λ stands before the two others only.":
        lambda i, t, y, w: w * (_nll(i + t, y) + _nll(i, y) + _nll(t, y)),
    "The weight is missing before the losses of the branches.":
        lambda i, t, y, w: _nll(i + t, y) + _nll(i, y) + _nll(t, y),
    "You split the weight, λ and 1 − λ: here both branches get the same λ.":
        lambda i, t, y, w: _nll(i + t, y) + w * _nll(t, y) + (1 - w) * _nll(i, y),
    "You split the weight, 1 − λ and λ: here both branches get the same λ.":
        lambda i, t, y, w: _nll(i + t, y) + w * _nll(i, y) + (1 - w) * _nll(t, y),
    "You give the joint loss the weight 1 − λ: its weight is 1.":
        lambda i, t, y, w: (1 - w) * _nll(i + t, y) + w * (_nll(i, y) + _nll(t, y)),
    "You average the two losses of the branches; they are added.":
        lambda i, t, y, w: _nll(i + t, y) + w * (_nll(i, y) + _nll(t, y)) / 2,
    "The weight stands before the image's loss only; it belongs to both: parentheses are missing.":
        lambda i, t, y, w: _nll(i + t, y) + w * _nll(i, y) + _nll(t, y),
    "The weight stands before the text's loss only; it belongs to both.":
        lambda i, t, y, w: _nll(i + t, y) + _nll(i, y) + w * _nll(t, y),
    "You count the joint loss 1 + λ times: λ stands before the two others only.":
        lambda i, t, y, w: (1 + w) * _nll(i + t, y) + w * (_nll(i, y) + _nll(t, y)),
    "You take the larger of the branches' two losses; they are added.":
        lambda i, t, y, w: _nll(i + t, y) + w * torch.maximum(_nll(i, y), _nll(t, y)),
    "You divide by the sum of the weights, 1 + 2 λ: the three losses are only added.":
        lambda i, t, y, w: (_nll(i + t, y) + w * (_nll(i, y) + _nll(t, y))) / (1 + 2 * w),
    "You add the rows up in the branches' own losses; all three are means.":
        lambda i, t, y, w: _nll(i + t, y) + w * len(y) * (_nll(i, y) + _nll(t, y)),
    "A small number is added inside the logarithm: it caps the loss where the right class is unlikely. Take "
    "the logarithm of the softmax as a whole (logsumexp).":
        lambda i, t, y, w: _capped(i + t, y) + w * (_capped(i, y) + _capped(t, y)),
    "You add the rows up; the loss is their mean.":
        lambda i, t, y, w: len(y) * (_nll(i + t, y) + w * (_nll(i, y) + _nll(t, y))),
    "You add the two probabilities instead of the logits.":
        lambda i, t, y, w: -((i.softmax(1) + t.softmax(1)) / 2).gather(1, y[:, None]).log().mean()
        + w * (_nll(i, y) + _nll(t, y)),
    "The logits pass a softmax before the cross-entropy, which has its own.":
        lambda i, t, y, w: _nll((i + t).softmax(1), y) + w * (_nll(i.softmax(1), y) + _nll(t.softmax(1), y)),
    "The sign is wrong: this rises as the right class becomes likelier.":
        lambda i, t, y, w: -_nll(i + t, y) - w * (_nll(i, y) + _nll(t, y)),
}.items():
    with_own_losses.mistake(_sentence)(_wrong)


# 09.3 -------------------------------------------------------------------------------------------------------
@exercise("09.3", "A brake for the branch that is ahead", minutes=12, points=3, difficulty=3)
def brake(image, text, labels, alpha):
    rows = torch.arange(len(labels))
    sure_image = torch.softmax(image, dim=1)[rows, labels].sum()
    sure_text = torch.softmax(text, dim=1)[rows, labels].sum()
    ratio = torch.stack([sure_image / sure_text, sure_text / sure_image])
    return torch.where(ratio > 1, 1 - torch.tanh(alpha * ratio), torch.ones_like(ratio))


@brake.cases
def _(draw):
    def random(batch, classes, about, lead=None):
        labels = draw.integers(classes, batch)
        image, text = draw.normal(batch, classes), draw.normal(batch, classes)
        ahead = torch.nn.functional.one_hot(labels, classes).double()
        if lead == "image":
            image = image + 2 * ahead
        else:
            text = text + 2 * ahead
        return case(image, text, labels, float(draw.uniform(1, low=0.2, high=0.7)), about=about)

    for batch, classes, about, lead in ((6, 3, "the image branch ahead", "image"),
                                        (5, 2, "the text branch ahead", "text"),
                                        (4, 4, "as many rows as classes", "image")):
        yield telling(brake, lambda b=batch, c=classes, a=about, lead=lead: random(b, c, a, lead),
                      hides=("nobody is ahead", *(("ever braked",) if lead == "image" else ())))
    one = random(3, 2, "alpha 0, where nobody is braked", "image")
    yield case(*one.args[:3], 0.0, about=one.about)
    even = torch.zeros(4, 2, dtype=torch.float64)  # ½ each, without rounding: ρ is 1, however it is computed
    yield case(even, even.clone(), draw.integers(2, 4), 0.5, about="two branches equally sure")


def _sure(logits, labels, mean=False):
    found = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    return found if mean else found.sum()


def _brake(ratio, alpha, formula=lambda alpha, ratio: 1 - torch.tanh(alpha * ratio)):
    return torch.where(ratio > 1, formula(alpha, ratio), 1.0)


def _ratio(image, text, labels, sure=_sure):
    both = torch.stack([sure(image, labels), sure(text, labels)])
    return both / both.flip(0)


def _share(image, text, labels):
    both = torch.stack([_sure(image, labels), _sure(text, labels)])
    return both / both.sum()


def _lead(image, text, labels):
    lead = (_sure(image, labels) - _sure(text, labels)) / len(labels)
    return torch.stack([lead, -lead])


def _of_each_row(image, text, labels):
    ratio = _sure(image, labels, True) / _sure(text, labels, True)
    return ratio, 1 / ratio


def _mean_of_ratios(image, text, labels):
    ratio = _sure(image, labels, True) / _sure(text, labels, True)
    return torch.stack([ratio.mean(), (1 / ratio).mean()])


for _sentence, _wrong in {
    "The two factors are exchanged: the image's comes first, and the branch that is ahead, ρ > 1, is braked.":
        lambda i, t, y, a: _brake(_ratio(i, t, y), a).flip(0),
    "Both branches get a brake; the one that is behind, ρ ≤ 1, keeps the factor 1.":
        lambda i, t, y, a: 1 - torch.tanh(a * _ratio(i, t, y)),
    "This is tanh(α ρ) itself; the factor is 1 minus it.":
        lambda i, t, y, a: _brake(_ratio(i, t, y), a, lambda a, r: torch.tanh(a * r)),
    "You brake by how far ρ lies above 1; the published factor is 1 − tanh(α ρ), which jumps at ρ = 1.":
        lambda i, t, y, a: _brake(_ratio(i, t, y), a, lambda a, r: 1 - torch.tanh(a * (r - 1))),
    "The α is missing, or stands outside: the factor is 1 − tanh(α ρ).":
        lambda i, t, y, a: _brake(_ratio(i, t, y), a, lambda a, r: 1 - torch.tanh(r)),
    "The α stands before the tanh; it belongs inside: 1 − tanh(α ρ).":
        lambda i, t, y, a: _brake(_ratio(i, t, y), a, lambda a, r: 1 - a * torch.tanh(r)),
    "You compare the largest probability of each branch; the one of the right class, labels, counts.":
        lambda i, t, y, a: _brake(_ratio(i, t, y, lambda z, y: z.softmax(1).amax(1).sum()), a),
    "You compare raw logits; a softmax makes them probabilities first.":
        lambda i, t, y, a: _brake(_ratio(i, t, y, lambda z, y: z.gather(1, y[:, None]).sum()), a),
    "You average the ratios of the rows; the ratio is that of the two sums.":
        lambda i, t, y, a: _brake(_mean_of_ratios(i, t, y), a),
    "Your softmax runs over the rows; it runs over the classes, dim 1.":
        lambda i, t, y, a: _brake(_ratio(i, t, y, lambda z, y: z.softmax(0).gather(1, y[:, None]).sum()), a),
    "You sum log-probabilities; the ratio is one of probabilities.":
        lambda i, t, y, a: _brake(_ratio(i, t, y, lambda z, y: -cross_entropy(z, y)), a),
    "The branch that is behind gets 0 from you; it keeps the factor 1.":
        lambda i, t, y, a: torch.where(_ratio(i, t, y) > 1, 1 - torch.tanh(a * _ratio(i, t, y)), 0.0),
    "At ρ = 1 nobody is ahead: both factors are 1, and only ρ > 1 is braked.":
        lambda i, t, y, a: torch.where(_ratio(i, t, y) >= 1, 1 - torch.tanh(a * _ratio(i, t, y)), 1.0),
    "You count right answers; ρ compares the probabilities of the right class.":
        lambda i, t, y, a: _brake(_ratio(i, t, y, lambda z, y: (z.argmax(1) == y).double().sum()), a),
    "You compare the losses; ρ compares the probabilities of the right class.":
        lambda i, t, y, a: _brake(_ratio(t, i, y, cross_entropy), a),
    "You take a sigmoid of each logit; a softmax makes a branch's logits probabilities.":
        lambda i, t, y, a: _brake(_ratio(i, t, y, lambda z, y: z.sigmoid().gather(1, y[:, None]).sum()), a),
    "You compare what the branches give to the wrong classes; the probability of the right class counts.":
        lambda i, t, y, a: _brake(_ratio(t, i, y, lambda z, y: len(y) - _sure(z, y)), a),
    "This is e^(−α ρ); the factor is 1 − tanh(α ρ).":
        lambda i, t, y, a: _brake(_ratio(i, t, y), a, lambda a, r: torch.exp(-a * r)),
    "You compare e to the logits; a softmax divides them by their sum over the classes.":
        lambda i, t, y, a: _brake(_ratio(i, t, y, lambda z, y: z.exp().gather(1, y[:, None]).sum()), a),
    "ρ stands outside the tanh; it belongs inside, with α: 1 − tanh(α ρ).":
        lambda i, t, y, a: _brake(_ratio(i, t, y), a, lambda a, r: 1 - math.tanh(a) * r),
    "Your ρ is a share, one branch over the sum of both; it is one branch over the other.":
        lambda i, t, y, a: torch.where(_ratio(i, t, y) > 1, 1 - torch.tanh(a * _share(i, t, y)), 1.0),
    "Your ρ is the difference of the mean probabilities; it is a ratio.":
        lambda i, t, y, a: torch.where(_ratio(i, t, y) > 1, 1 - torch.tanh(a * _lead(i, t, y)), 1.0),
    "Your ρ is the difference of the summed probabilities; it is a ratio.":
        lambda i, t, y, a: torch.where(_ratio(i, t, y) > 1, 1 - torch.tanh(a * len(y) * _lead(i, t, y)), 1.0),
    "You make a factor for each row and average them; there is one ρ for the batch, of the two sums.":
        lambda i, t, y, a: torch.stack([_brake(r, a).mean() for r in _of_each_row(i, t, y)]),
    "You average logarithms of the probabilities; the ratio is that of the two sums of probabilities.":
        lambda i, t, y, a: _brake(_ratio(i, t, y, lambda z, y: (-cross_entropy(z, y)).exp()), a),
    "Only the image branch is ever braked by you; the text branch may be ahead as well.":
        lambda i, t, y, a: torch.cat([_brake(_ratio(i, t, y), a)[:1], torch.ones(1, dtype=i.dtype)]),
    "These are the two ratios ρ; the factors are wanted.": lambda i, t, y, a: _ratio(i, t, y),
}.items():
    brake.mistake(_sentence)(_wrong)


# 09.4 -------------------------------------------------------------------------------------------------------
@exercise("09.4", "Opposed, or only starved?", minutes=10, points=2, difficulty=2)
def angle(joint, alone):
    dot, square_joint, square_alone = 0, 0, 0
    for one, other in zip(joint, alone, strict=True):
        if one is not None and other is not None:
            dot = dot + (one * other).sum()
        if one is not None:
            square_joint = square_joint + (one * one).sum()
        if other is not None:
            square_alone = square_alone + (other * other).sum()
    return torch.stack([dot / (square_joint.sqrt() * square_alone.sqrt()),
                        square_joint.sqrt() / square_alone.sqrt()])


@angle.cases
def _(draw):
    def random(shapes, about, missing=(), sign=1):
        joint = [draw.normal(*shape) * 3 ** k for k, shape in enumerate(shapes)]
        alone = [sign * one + draw.normal(*shape) * 2 for one, shape in zip(joint, shapes, strict=True)]
        for side, place in missing:
            (joint, alone)[side][place] = None
        return case(joint, alone, about=about)

    yield telling(angle, lambda: random([(3, 4), (3,), (2, 3)], "gradients that pull against each other",
                                        sign=-1), hides=("None",))
    yield telling(angle, lambda: random([(2, 5), (2,), (4,)], "a parameter that one loss does not reach",
                                        [(1, 1)]), hides=("absolute", "joint gradient is None"))
    yield telling(angle, lambda: random([(2, 2), (2, 2), (3,)], "one that the other does not reach",
                                        [(0, 2)]), hides=("absolute", "other gradient is None"))
    yield case([draw.normal(4)], [draw.normal(4)], about="a single parameter")


def _long(joint, alone):
    """Both sides as one vector each, 0 where a parameter is not reached."""
    sides = [], []
    for one, other in zip(joint, alone, strict=True):
        for side, mine, theirs in ((sides[0], one, other), (sides[1], other, one)):
            side.append((torch.zeros_like(theirs) if mine is None else mine).flatten())
    return tuple(torch.cat(side) for side in sides)


def _angle(joint, alone):
    a, b = _long(joint, alone)
    return torch.stack([(a @ b) / (a.norm() * b.norm()), a.norm() / b.norm()])


def _reached(joint, alone):
    """The parameters that both losses reach."""
    pairs = [(a, b) for a, b in zip(joint, alone, strict=True) if a is not None and b is not None]
    return [a for a, _ in pairs], [b for _, b in pairs]


@angle.mistake(
    "You average the cosines of the parameters: all gradients together are one long vector with one length."
)
def _(joint, alone):
    cosines = [_angle([a], [b])[0] for a, b in zip(*_reached(joint, alone), strict=True)]
    return torch.stack([torch.stack(cosines).mean(), _angle(joint, alone)[1]])


@angle.mistake(
    "You leave out the parameters that only one of the losses reaches: None means 0 there, and the other's "
    "gradient still counts in its length."
)
def _(joint, alone):
    return _angle(*_reached(joint, alone))


@angle.mistake("You add the lengths of the parameters; the length of the whole is the root of the sum of "
               "squares.")
def _(joint, alone):
    a, b = _long(joint, alone)
    n, m = (sum(x.norm() for x in side if x is not None) for side in (joint, alone))
    return torch.stack([a @ b / (n * m), n / m])


@angle.mistake("This is the dot product; divide by both lengths.")
def _(joint, alone):
    a, b = _long(joint, alone)
    return torch.stack([a @ b, a.norm() / b.norm()])


@angle.mistake("The roots are missing: a length is the root of the sum of squares.")
def _(joint, alone):
    a, b = _long(joint, alone)
    return torch.stack([a @ b / (a.square().sum() * b.square().sum()), a.square().sum() / b.square().sum()])


@angle.mistake("The second number is upside down: the joint gradient's length over that of the single one.")
def _(joint, alone):
    cosine, ratio = _angle(joint, alone)
    return torch.stack([cosine, 1 / ratio])


@angle.mistake("The two numbers are exchanged: the cosine comes first, then the ratio of the lengths.")
def _(joint, alone):
    return _angle(joint, alone).flip(0)


@angle.mistake("You took the absolute value: a negative cosine says that the losses pull against each other.")
def _(joint, alone):
    return _angle(joint, alone).abs()


@angle.mistake("Your lengths add up |g|; a length is the root of the sum of squares.")
def _(joint, alone):
    a, b = _long(joint, alone)
    n, m = a.abs().sum(), b.abs().sum()
    return torch.stack([a @ b / (n * m), n / m])


@angle.mistake("The second number is a ratio of squared lengths: its root is missing.")
def _(joint, alone):
    cosine, ratio = _angle(joint, alone)
    return torch.stack([cosine, ratio.square()])


@angle.mistake("You average the parameters' ratios: the second number is one ratio, of two whole lengths.")
def _(joint, alone):
    ratios = [_angle([a], [b])[1] for a, b in zip(*_reached(joint, alone), strict=True)]
    return torch.stack([_angle(joint, alone)[0], torch.stack(ratios).mean()])


@angle.mistake("You divide the dot product by the squared length of `alone`; a cosine divides by both.")
def _(joint, alone):
    a, b = _long(joint, alone)
    return torch.stack([a @ b / b.square().sum(), a.norm() / b.norm()])


@angle.mistake("You look at the first parameter only; all of them together are the gradient.")
def _(joint, alone):
    return _angle(joint[:1], alone[:1])


@angle.mistake("This is the angle itself; its cosine is wanted.")
def _(joint, alone):
    cosine, ratio = _angle(joint, alone)
    return torch.stack([cosine.clamp(-1, 1).arccos(), ratio])


@angle.mistake("This is 1 − cosine, a distance; the cosine itself is wanted.")
def _(joint, alone):
    cosine, ratio = _angle(joint, alone)
    return torch.stack([1 - cosine, ratio])


@angle.mistake("This is the logarithm of the ratio; the ratio itself is wanted.")
def _(joint, alone):
    cosine, ratio = _angle(joint, alone)
    return torch.stack([cosine, ratio.log()])


@angle.mistake("In the cosine's lengths you leave out what the other does not reach: None means 0 there, and "
               "a gradient still counts in its own length.")
def _(joint, alone):
    return torch.stack([_angle(*_reached(joint, alone))[0], _angle(joint, alone)[1]])


@angle.mistake("In the ratio of lengths you leave out what the other does not reach: None means 0 there, and "
               "a gradient still counts in its own length.")
def _(joint, alone):
    return torch.stack([_angle(joint, alone)[0], _angle(*_reached(joint, alone))[1]])


@angle.mistake("This is the sine; the cosine is wanted.")
def _(joint, alone):
    cosine, ratio = _angle(joint, alone)
    return torch.stack([(1 - cosine.square()).clamp(min=0).sqrt(), ratio])


@angle.mistake("Your lengths are the largest entries; a length is the root of the sum of squares.")
def _(joint, alone):
    a, b = _long(joint, alone)
    return torch.stack([_angle(joint, alone)[0], a.abs().max() / b.abs().max()])


@angle.mistake("You weigh the parameters' cosines by their sizes: all gradients together are one long "
               "vector, with one cosine.")
def _(joint, alone):
    pairs = list(zip(*_reached(joint, alone), strict=True))
    cosine = sum(_angle([a], [b])[0] * a.numel() for a, b in pairs) / sum(a.numel() for a, _ in pairs)
    return torch.stack([cosine, _angle(joint, alone)[1]])


@angle.mistake("The second number is the joint length over the sum of both; it is over the other's length.")
def _(joint, alone):
    cosine, ratio = _angle(joint, alone)
    return torch.stack([cosine, ratio / (1 + ratio)])


@angle.mistake("The second number is the length of the difference over that of the single one: take the "
               "joint gradient's own.")
def _(joint, alone):
    a, b = _long(joint, alone)
    return torch.stack([_angle(joint, alone)[0], (a - b).norm() / b.norm()])


@angle.mistake("You stop at the first None; the parameters after it count as well.")
def _(joint, alone):
    reached = [a is not None and b is not None for a, b in zip(joint, alone, strict=True)]
    until = [*reached, False].index(False)
    return _angle(joint[:until], alone[:until])


@angle.mistake("Where the joint gradient is None you leave the other's out too: None means 0 there, and the "
               "other's gradient still counts in its length.")
def _(joint, alone):
    kept = [(a, b) for a, b in zip(joint, alone, strict=True) if a is not None]
    return _angle([a for a, _ in kept], [b for _, b in kept])


@angle.mistake("Where the other gradient is None you leave the joint one out too: None means 0 there, and "
               "the joint gradient still counts in its length.")
def _(joint, alone):
    kept = [(a, b) for a, b in zip(joint, alone, strict=True) if b is not None]
    return _angle([a for a, _ in kept], [b for _, b in kept])


@angle.mistake("You average the squares of what is not None; a length is the root of their sum.")
def _(joint, alone):
    n, m = (torch.cat([g.flatten() for g in side if g is not None]).square().mean().sqrt()
            for side in (joint, alone))
    return torch.stack([_angle(joint, alone)[0], n / m])


@angle.mistake("You subtract the mean first: that is a correlation, not a cosine.")
def _(joint, alone):
    a, b = (x - x.mean() for x in _long(joint, alone))
    return torch.stack([_angle([a], [b])[0], _angle(joint, alone)[1]])


# 09.5 -------------------------------------------------------------------------------------------------------
@exercise("09.5", "How depth starves", minutes=25, points=4, difficulty=5)
def starved(gain, start, ratio, depth):
    if depth == 2:
        return start * (gain / start) ** ratio
    power = 2 - depth
    return (start**power + ratio * (gain**power - start**power)) ** (1 / power)


@starved.cases
def _(draw):
    def random(depth, about, hides=()):
        return telling(starved, lambda: case(
            draw.uniform(4, low=1.1, high=2.5), float(draw.uniform(1, low=0.2, high=0.6)),
            float(draw.uniform(1, low=0.2, high=0.8)), depth, about=about), hides=hides)

    only_two = "two layers the start divides"
    yield random(2, "two layers", hides=("used for every depth", "outer root", "outer exponent",
                                         "is not added", "turned round"))
    yield random(3, "three layers", hides=(only_two,))
    yield random(1, "one layer", hides=("for one layer", "not L: ", "outer root", "the logit, u^L",
                                        "outer exponent", "root of the ratio", "factor L", only_two))
    yield random(5, "five layers", hides=(only_two,))
    yield case(draw.uniform(2, low=1.1, high=2.5), 0.4, 1.0, 3, about="two branches of equal strength")


def _law(gain, start, ratio, depth):
    power = 2 - depth
    if not power:
        return start * (gain / start) ** ratio
    return (start**power + ratio * (gain**power - start**power)) ** (1 / power)


for _sentence, _wrong in {
    "This is the law of two layers, used for every depth: with two, du/dt is proportional to u; with L, to "
    "u^(L−1).": lambda g, s, r, d: s * (g / s) ** r,
    "This is the law for one layer, where the gains grow in proportion: with L layers du/dt carries the "
    "other L − 1 gains.": lambda g, s, r, d: s + r * (g - s),
    "The ratio is upside down: it is s_i / s_t, below 1 for the branch that starves.":
        lambda g, s, r, d: _law(g, s, 1 / r, d),
    "You start from 0, where a branch of two layers or more never moves: keep the start u_0.":
        lambda g, s, r, d: _law(g, s, r, d) - s,
    "This is the logit, u^L; the gain u of one layer is wanted.": lambda g, s, r, d: _law(g, s, r, d) ** d,
    "You are one layer off: du/dt is proportional to u^(L−1), so that u^(2−L) grows evenly.":
        lambda g, s, r, d: _law(g, s, r, d + 1),
    "You are one layer off in the other direction: du/dt is proportional to u^(L−1), not u^(L−2).":
        lambda g, s, r, d: _law(g, s, r, d - 1),
    "The outer root is missing: u^(2−L) is known, and u is wanted.":
        lambda g, s, r, d: _law(g, s, r, d) if d == 2 else _law(g, s, r, d) ** (2 - d),
    "The start is missing in the difference: u_t^(2−L) − u_0^(2−L) is what the stronger branch has gained.":
        lambda g, s, r, d: s * g**r if d == 2 else (s ** (2 - d) + r * g ** (2 - d)) ** (1 / (2 - d)),
    "For two layers the start divides the gain first: u_i = u_0 (u_t / u_0)^ρ.":
        lambda g, s, r, d: _law(g, s, r, d) if d != 2 else g**r,
    "You multiply the stronger gain by the ratio: what stands in that ratio is the growth of φ_L, not u.":
        lambda g, s, r, d: r * g,
    "The start is not added: u_i^(2−L) is u_0^(2−L) and ρ times what the stronger branch has gained.":
        lambda g, s, r, d: _law(g, s, r, d) if d == 2 else
        (r * (g ** (2 - d) - s ** (2 - d))) ** (1 / (2 - d)),
    "The power is turned round: it is 2 − L, not L − 2.":
        lambda g, s, r, d: _law(g, s, r, d) if d == 2 else
        (s ** (d - 2) + r * (g ** (d - 2) - s ** (d - 2))) ** (1 / (d - 2)),
    "The outer exponent is 1/(2 − L), not 1/L.":
        lambda g, s, r, d: _law(g, s, r, d) if d == 2 else _law(g, s, r, d) ** ((2 - d) / d),
    "This is the growth u_i / u_0; the gain u_i itself is wanted.":
        lambda g, s, r, d: _law(g, s, r, d) / s,
    "The power is 2 − L, not L: u^(2−L) grows evenly, u^L is the logit.":
        lambda g, s, r, d: (s**d + r * (g**d - s**d)) ** (1 / d),
    "You take a root of the ratio: ρ itself stands before the stronger branch's growth.":
        lambda g, s, r, d: _law(g, s, r ** (1 / d), d),
    "This is the weak branch's share of the logit, ρ u^L; the gain u of one layer is wanted.":
        lambda g, s, r, d: r * _law(g, s, r, d) ** d,
    "A factor L too many: each layer's gain grows by its own gradient, s u^(L−1) r, in both branches.":
        lambda g, s, r, d: _law(g, s, r / d, d),
    "This is the stronger branch's own gain: the law turns it into the other's.":
        lambda g, s, r, d: g.clone(),
}.items():
    starved.mistake(_sentence)(_wrong)
