"""Exercises of lesson 01: binary cross-entropy from logits, p - y, entropy and divergence, one AdamW step,
the curvature of a softmax loss.
"""

import torch
from torch.nn.functional import cross_entropy, logsigmoid, one_hot, softplus

from cmlib.check.engine import case, exercise
from cmlib.losses import classification as losses


@exercise("01.1", "A binary loss that cannot break", minutes=8, points=2, difficulty=2, grad=(0,))
def binary_cross_entropy(logits, labels):
    zero = torch.zeros_like(logits)
    large = torch.maximum(logits, zero) - labels * logits
    return (large + torch.log1p(torch.exp(-logits.abs()))).mean()


@binary_cross_entropy.worked
def _(logits, labels):
    right, wrong = logsigmoid(logits), logsigmoid(-logits)
    return -(labels * right + (1 - labels) * wrong).mean()


@binary_cross_entropy.cases
def _(draw):
    both = (torch.arange(7) % 2)[draw.uniform(7).argsort()].double()  # labels of both kinds, in any order
    yield case(3 * draw.normal(7), both, about="seven random logits")
    yield case(draw.normal(3, 2), draw.uniform(3, 2), about="logits of shape (3, 2) with labels between 0 "
                                                            "and 1")
    yield case(draw.normal(1) + 5, torch.zeros(1).double(), about="one row")
    far = torch.tensor([1000.0, -1000.0, 1000.0, -1000.0]).double()
    yield case(far, torch.tensor([1.0, 0.0, 1.0, 1.0]).double(), about="logits of 1000 and -1000")


@binary_cross_entropy.mistake(
    "The sign is flipped: a loss is minus the log likelihood, and it falls as the label becomes more likely."
)
def _(logits, labels):
    return -losses.binary_cross_entropy(logits, labels)


@binary_cross_entropy.mistake("You return the sum over the batch, and the mean is wanted.")
def _(logits, labels):
    return losses.binary_cross_entropy(logits, labels) * logits.numel()


@binary_cross_entropy.mistake("You return one loss per row, and the mean over all of them is wanted.")
def _(logits, labels):
    return torch.logaddexp(logits, torch.zeros_like(logits)) - labels * logits


@binary_cross_entropy.mistake(
    "The labels are swapped: with y = 1 the surprise is about p, with y = 0 about 1 - p."
)
def _(logits, labels):
    return losses.binary_cross_entropy(logits, 1 - labels)


@binary_cross_entropy.mistake("Half of the loss is missing: rows with y = 0 have a surprise too.")
def _(logits, labels):
    return -(labels * logsigmoid(logits)).mean()


@binary_cross_entropy.mistake(
    "A logit of 1000 breaks it: the probability rounds to exactly 0 or 1 before the logarithm is taken."
)
def _(logits, labels):
    p = torch.sigmoid(logits)
    return -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()


@binary_cross_entropy.mistake(
    "A logit of 1000 breaks it: exp(1000) is infinite, even inside log(1 + exp(z))."
)
def _(logits, labels):
    return (torch.log(1 + torch.exp(logits)) - labels * logits).mean()


def _from_probability(logits, labels, low=0.0, added=0.0):
    """The textbook form of every row; its probabilities clipped at ``low``, or something added to them."""
    p = torch.sigmoid(logits).clamp(low, 1 - low)
    return -(labels * (p + added).log() + (1 - labels) * (1 - p + added).log())


def _clipped(**how):
    return lambda logits, labels: _from_probability(logits, labels, **how).mean()


for _small in (10.0**-k for k in range(5, 17)):
    for _how in ({"low": _small}, {"added": _small}):
        binary_cross_entropy.mistake(
            "The probability is clipped, so a confident wrong answer stops costing more and stops learning: "
            "work with the logit instead."
        )(_clipped(**_how))


def _mended(*, rows):
    def wrong(logits, labels):
        each = _from_probability(logits, labels)
        return each.nan_to_num().mean() if rows else each.mean().nan_to_num()
    return wrong


for _rows in (True, False):
    binary_cross_entropy.mistake(
        "nan and inf are replaced afterwards, so a logit of 1000 costs nothing or 10^308: write a form in "
        "which they never appear."
    )(_mended(rows=_rows))


@binary_cross_entropy.mistake(
    "log(1 + exp(-z)) is the surprise of a row with y = 1; with it goes + (1 - y) z, not - y z."
)
def _(logits, labels):
    return (softplus(-logits) - labels * logits).mean()


@binary_cross_entropy.mistake(
    "z itself is taken out of the logarithm where it is negative too; the larger exponent of 0 and z is "
    "max(z, 0)."
)
def _(logits, labels):
    return (logits - labels * logits + torch.log1p(torch.exp(-logits.abs()))).mean()


@binary_cross_entropy.mistake(
    "One maximum is taken out for the whole batch, and entries far below it lose everything: each needs its "
    "own."
)
def _(logits, labels):
    m = logits.max().clamp(min=0)
    return (m + torch.log(torch.exp(-m) + torch.exp(logits - m)) - labels * logits).mean()


def _bounded(bound):
    def wrong(logits, labels):
        return losses.binary_cross_entropy(logits.clamp(-bound, bound), labels)
    return wrong


for _bound in (10.0, 15.0, 20.0, 30.0, 50.0, 80.0, 88.0, 100.0, 500.0, 700.0, 709.0):
    binary_cross_entropy.mistake(
        "The logit is clipped, so a confident wrong answer stops costing more and stops learning: write a "
        "form that is finite by itself."
    )(_bounded(_bound))


@binary_cross_entropy.mistake("A label between 0 and 1 is a probability: it must not be rounded.")
def _(logits, labels):
    return losses.binary_cross_entropy(logits, labels.round())


@binary_cross_entropy.mistake(
    "log(1 + exp(-s)) with s = ±z holds for labels of 0 and 1 alone; one in between weighs both surprises."
)
def _(logits, labels):
    return softplus(-(2 * labels - 1) * logits).mean()


@binary_cross_entropy.mistake(
    "The maximum that was taken out of the logarithm is not added again: max(z, 0) is missing."
)
def _(logits, labels):
    return (torch.log1p(torch.exp(-logits.abs())) - labels * logits).mean()


def _as_probability(low):
    def wrong(logits, labels):
        p = logits.clamp(low, 1 - low)
        return -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    return wrong


for _small in (10.0**-k for k in range(4, 16)):
    binary_cross_entropy.mistake(
        "The logits are used as if they were probabilities: the sigmoid is missing."
    )(
        _as_probability(_small))



@binary_cross_entropy.mistake(
    "The labels here are 0 and 1: log(1 + exp(-y z)) is the form for labels of -1 and +1."
)
def _(logits, labels):
    return softplus(-labels * logits).mean()


@binary_cross_entropy.mistake("The term y z is missing: this is the surprise of rows with y = 0 only.")
def _(logits, labels):
    return -logsigmoid(-logits).mean()


@binary_cross_entropy.mistake(
    "This is the squared error between probability and label; the surprise is -log of the probability of "
    "what happened."
)
def _(logits, labels):
    return (logits.sigmoid() - labels).square().mean()


@binary_cross_entropy.mistake(
    "You divide by the number of rows; the mean is over all entries, whatever the shape."
)
def _(logits, labels):
    return losses.binary_cross_entropy(logits, labels) * logits.numel() / len(logits)


@binary_cross_entropy.mistake(
    "The logarithm has the wrong base: surprise is measured with the natural logarithm."
)
def _(logits, labels):
    return losses.binary_cross_entropy(logits, labels) / torch.tensor(2.0).log()


@binary_cross_entropy.mistake("This is the hinge loss, max(0, 1 - s); the surprise is log(1 + e^-s).")
def _(logits, labels):
    return torch.relu(1 - (2 * labels - 1) * logits).mean()


@exercise("01.2", "The gradient by hand", minutes=8, points=2, difficulty=2)
def softmax_gradient(logits, labels):
    return (logits.softmax(1) - one_hot(labels, logits.shape[1])) / len(logits)


@softmax_gradient.cases
def _(draw):
    yield case(2 * draw.normal(5, 3), draw.integers(3, 5), about="5 rows of 3 classes")
    yield case(draw.normal(1, 7), draw.integers(7, 1), about="one row of 7 classes")
    yield case(draw.normal(4, 4), draw.integers(4, 4), about="as many rows as classes")
    yield case(
        torch.tensor([[1000.0, 0.0], [-1000.0, -1001.0]]).double(),
        torch.tensor([1, 1]),
        about="logits of 1000",
    )


@softmax_gradient.mistake("The division by the number of rows is missing: the loss is a mean.")
def _(logits, labels):
    return logits.softmax(1) - one_hot(labels, logits.shape[1])


@softmax_gradient.mistake("You divide by the number of entries; the mean is over rows only.")
def _(logits, labels):
    return (logits.softmax(1) - one_hot(labels, logits.shape[1])) / logits.numel()


@softmax_gradient.mistake("The sign is flipped: this is the step downhill, and the gradient points uphill.")
def _(logits, labels):
    return (one_hot(labels, logits.shape[1]) - logits.softmax(1)) / len(logits)


@softmax_gradient.mistake("The softmax runs down the columns: probabilities of one row must add up to 1.")
def _(logits, labels):
    return (logits.softmax(0) - one_hot(labels, logits.shape[1])) / len(logits)


@softmax_gradient.mistake(
    "Only the right class gets a gradient: the other classes are in the denominator of softmax, so theirs is"
    " not zero."
)
def _(logits, labels):
    y = one_hot(labels, logits.shape[1])
    return (logits.softmax(1) - y) * y / len(logits)


@softmax_gradient.mistake("The target is missing: these are the probabilities alone.")
def _(logits, labels):
    return logits.softmax(1) / len(logits)


@softmax_gradient.mistake("You divide by the number of classes; the mean is over the rows.")
def _(logits, labels):
    return (logits.softmax(1) - one_hot(labels, logits.shape[1])) / logits.shape[1]


@softmax_gradient.mistake(
    "This is the gradient of the squared error: the factor p(1 - p) does not belong to cross-entropy, which "
    "cancels it."
)
def _(logits, labels):
    p = logits.softmax(1)
    return (p - one_hot(labels, logits.shape[1])) * p * (1 - p) / len(logits)


@softmax_gradient.mistake(
    "p(1 - p) is the derivative of a probability in its own logit; behind it stands the logarithm, whose 1/p "
    "cancels: p - y is left."
)
def _(logits, labels):
    p = logits.softmax(1)
    return p * (1 - p) / len(logits)


@softmax_gradient.mistake("p - y has a factor p too many: 1/p from the logarithm has cancelled it.")
def _(logits, labels):
    p = logits.softmax(1)
    return p * (p - one_hot(labels, logits.shape[1])) / len(logits)


@softmax_gradient.mistake(
    "The class number itself is subtracted from every column; y is a row of zeros with a 1 at the label."
)
def _(logits, labels):
    return (logits.softmax(1) - labels[:, None]) / len(logits)


@softmax_gradient.mistake("Each logit has a sigmoid of its own here; the classes of a softmax share one sum.")
def _(logits, labels):
    return (logits.sigmoid() - one_hot(labels, logits.shape[1])) / len(logits)


@softmax_gradient.mistake("The softmax runs over the whole batch: every row has a sum of its own.")
def _(logits, labels):
    p = logits.flatten().softmax(0).reshape(logits.shape)
    return (p - one_hot(labels, logits.shape[1])) / len(logits)


@softmax_gradient.mistake(
    "These are logarithms of probabilities minus the target; the gradient has p, not log p."
)
def _(logits, labels):
    return (logits.log_softmax(1) - one_hot(labels, logits.shape[1])) / len(logits)


@softmax_gradient.mistake("The probabilities are missing: this is the target alone.")
def _(logits, labels):
    return -one_hot(labels, logits.shape[1]).to(logits) / len(logits)


@softmax_gradient.mistake(
    "p[:, labels] takes whole columns; row i has its 1 at labels[i] alone: p[arange(n), labels]."
)
def _(logits, labels):
    p = logits.softmax(1)
    p[:, labels] -= 1
    return p / len(logits)


@softmax_gradient.mistake("p - y is squared; it is the gradient as it stands.")
def _(logits, labels):
    return (logits.softmax(1) - one_hot(labels, logits.shape[1])) ** 2 / len(logits)


@softmax_gradient.mistake(
    "One maximum is taken out of the whole batch; rows far below it become 0/0. Every row needs its own."
)
def _(logits, labels):
    e = (logits - logits.max()).exp()
    return (e / e.sum(1, keepdim=True) - one_hot(labels, logits.shape[1])) / len(logits)



@softmax_gradient.mistake("The softmax is missing: this is logits minus target.")
def _(logits, labels):
    return (logits - one_hot(labels, logits.shape[1])) / len(logits)


@softmax_gradient.mistake(
    "This is the derivative in the probabilities, -y / p; the logits lie one step before, behind the "
    "softmax."
)
def _(logits, labels):
    return -one_hot(labels, logits.shape[1]) / logits.softmax(1) / len(logits)


@softmax_gradient.mistake("A logit of 1000 breaks it: shift every row by its largest logit before exp.")
def _(logits, labels):
    e = logits.exp()
    return (e / e.sum(1, keepdim=True) - one_hot(labels, logits.shape[1])) / len(logits)


@softmax_gradient.mistake("The label is off by one: class c is column c, counted from 0.")
def _(logits, labels):
    shifted = one_hot((labels + 1) % logits.shape[1], logits.shape[1])
    return (logits.softmax(1) - shifted) / len(logits)


@softmax_gradient.mistake(
    "You take the largest class as if it were certain; the gradient has its probability, and that of all "
    "others."
)
def _(logits, labels):
    classes = logits.shape[1]
    return (one_hot(logits.argmax(1), classes) - one_hot(labels, classes)).to(logits) / len(logits)


@exercise("01.6", "Entropy and divergence", minutes=12, points=3, difficulty=3,
          names=("the entropy", "the divergence"))
def entropy_and_divergence(targets, logits):
    log_p = logits - logits.logsumexp(1, keepdim=True)
    q_log_q = torch.xlogy(targets, targets)
    return -q_log_q.sum(1).mean(), (q_log_q - targets * log_p).sum(1).mean()


def _rows(targets, logits, dim=1):
    """H(q) and cross-entropy of every row, (n,)."""
    return (-torch.xlogy(targets, targets).sum(1), -(targets * logits.log_softmax(dim)).sum(1))


@entropy_and_divergence.cases
def _(draw):
    def soft(n, classes):
        return draw.normal(n, classes).softmax(1)
    yield case(soft(5, 3), 2 * draw.normal(5, 3), about="five rows of three classes")
    yield case(soft(1, 6), draw.normal(1, 6), about="one row of six classes")
    yield case(soft(4, 4), draw.normal(4, 4), about="as many rows as classes")
    hard = 0.9 * one_hot(draw.integers(3, 4), 4) + 0.1 * one_hot(torch.full((4,), 3), 4)
    yield case(hard.double(), draw.normal(4, 4), about="targets that hold zeros")
    # close together: nothing underflows here, and only exp of the logits themselves overflows
    yield case(soft(2, 3), 1000 + draw.normal(2, 3), about="logits near 1000")
    yield case(soft(2, 3), 1000 * draw.normal(2, 3), about="logits that lie 1000 apart")


@entropy_and_divergence.mistake(
    "The second part is the cross-entropy; the divergence is what is left of it when the entropy is taken "
    "away."
)
def _(q, z):
    entropy, surprise = _rows(q, z)
    return entropy.mean(), surprise.mean()


@entropy_and_divergence.mistake("The two parts are in the wrong order: entropy first, then divergence.")
def _(q, z):
    return entropy_and_divergence.reference(q, z)[::-1]


@entropy_and_divergence.mistake(
    "The divergence runs the wrong way: it is averaged with the model's p; what happens is q."
)
def _(q, z):
    p, log_p = z.softmax(1), z.log_softmax(1)
    return _rows(q, z)[0].mean(), (p * log_p - torch.where(p > 0, p * q.log(), 0)).sum(1).mean()


@entropy_and_divergence.mistake(
    "The divergence has the wrong sign: a model pays for believing p, so it is never negative."
)
def _(q, z):
    entropy, divergence = entropy_and_divergence.reference(q, z)
    return entropy, -divergence


@entropy_and_divergence.mistake(
    "The entropy has the wrong sign: log q is never positive, and the entropy never negative."
)
def _(q, z):
    entropy, divergence = entropy_and_divergence.reference(q, z)
    return -entropy, divergence


@entropy_and_divergence.mistake(
    "This is the entropy of the model's p; the one that no model can lower is that of the targets."
)
def _(q, z):
    p = z.softmax(1)
    return _rows(p, z)[0].mean(), entropy_and_divergence.reference(q, z)[1]


@entropy_and_divergence.mistake(
    "You average over all entries: sum over the classes of a row, then average over the rows."
)
def _(q, z):
    return tuple(part / q.shape[1] for part in entropy_and_divergence.reference(q, z))


@entropy_and_divergence.mistake("You return sums over the rows; their means are wanted.")
def _(q, z):
    return tuple(part * len(q) for part in entropy_and_divergence.reference(q, z))


@entropy_and_divergence.mistake("You return one number per row; the means over the rows are wanted.")
def _(q, z):
    entropy, surprise = _rows(q, z)
    return entropy, surprise - entropy


@entropy_and_divergence.mistake(
    "The softmax runs down the columns: the probabilities of one row must add up to 1."
)
def _(q, z):
    entropy, surprise = _rows(q, z, dim=0)
    return entropy.mean(), (surprise - entropy).mean()


@entropy_and_divergence.mistake(
    "The softmax is missing: logits are no probabilities, and the logarithm of a negative one does not "
    "exist."
)
def _(q, z):
    entropy = _rows(q, z)[0]
    return entropy.mean(), (-(q * z.log()).sum(1) - entropy).mean()


@entropy_and_divergence.mistake(
    "The logits are used as if they were log-probabilities: their log-sum-exp is not taken away."
)
def _(q, z):
    entropy = _rows(q, z)[0]
    return entropy.mean(), (-(q * z).sum(1) - entropy).mean()


@entropy_and_divergence.mistake(
    "The entropy lacks its weights: it is the mean of -log q under q itself, minus the sum of q log q."
)
def _(q, z):
    surprise = _rows(q, z)[1].mean()
    entropy = -q.clamp(min=1e-300).log().sum(1).mean()
    return entropy, surprise - entropy


@entropy_and_divergence.mistake(
    "The sum over the rows comes first: sum over the classes, dim 1, and average over the rows."
)
def _(q, z):
    entropy = _rows(q, z)[0].mean()
    return entropy, -(q * z.log_softmax(1)).sum(0).mean() - entropy



@entropy_and_divergence.mistake("The unit is bits: use the natural logarithm.")
def _(q, z):
    return tuple(part / torch.tensor(2.0).log() for part in entropy_and_divergence.reference(q, z))


def _with_logarithm(log):
    """Both parts with q log q written as q * log(q)."""
    def wrong(q, z):
        q_log_q, log_p = q * log(q), z.log_softmax(1)
        return -q_log_q.sum(1).mean(), (q_log_q - q * log_p).sum(1).mean()
    return wrong


entropy_and_divergence.mistake(
    "A target of exactly 0 breaks it: 0 times log 0 is nan, and it has to count as 0."
)(
    _with_logarithm(torch.log))


def _with_floor(floor, renormalise):
    def wrong(q, z):
        q = q.clamp(min=floor)
        return entropy_and_divergence.reference(q / q.sum(1, keepdim=True) if renormalise else q, z)
    return wrong


for _how in ((10.0**-k, renormalise) for k in range(1, 7) for renormalise in (True, False)):
    entropy_and_divergence.mistake(
        "A target of exactly 0 is replaced by a small number, which is another target: 0 log 0 has to "
        "count as 0."
    )(_with_floor(*_how))


@entropy_and_divergence.mistake(
    "A logit near 1000 breaks it: exp(1000) is infinite. Take each row's largest logit out first, or use "
    "logsumexp."
)
def _(q, z):
    entropy = _rows(q, z)[0]
    return entropy.mean(), (-(q * (z - z.exp().sum(1, keepdim=True).log())).sum(1) - entropy).mean()


@entropy_and_divergence.mistake(
    "The divergence adds the entropy to the cross-entropy; it is what is left when the entropy is taken away."
)
def _(q, z):
    entropy, surprise = _rows(q, z)
    return entropy.mean(), (surprise + entropy).mean()


@entropy_and_divergence.mistake(
    "The likeliest class of each target counts as if it were certain; every class counts, with its q."
)
def _(q, z):
    return _rows(q, z)[0].mean(), cross_entropy(z, q.argmax(1))


@entropy_and_divergence.mistake(
    "This is the entropy of the average target; average the entropies of the rows."
)
def _(q, z):
    average = q.mean(0)
    return -torch.xlogy(average, average).sum(), entropy_and_divergence.reference(q, z)[1]


@entropy_and_divergence.mistake(
    "Logits far apart break it: the softmax rounds to exactly 0 before the logarithm is taken; use log-"
    "probabilities."
)
def _(q, z):
    entropy = _rows(q, z)[0]
    return entropy.mean(), (-(q * z.softmax(1).log()).sum(1) - entropy).mean()


@entropy_and_divergence.mistake("Targets and model are exchanged: q happens, p is believed.")
def _(q, z):
    p, log_q = z.softmax(1), q.clamp(min=1e-300).log()
    entropy = _rows(p, z)[0]
    return entropy.mean(), (-(p * log_q).sum(1) - entropy).mean()


@entropy_and_divergence.mistake("The divergence lacks its weights: every log(q/p) counts with q.")
def _(q, z):
    return _rows(q, z)[0].mean(), (q.clamp(min=1e-300).log() - z.log_softmax(1)).sum(1).mean()


@entropy_and_divergence.mistake(
    "This is the squared distance of q and p; the divergence compares their logarithms."
)
def _(q, z):
    return _rows(q, z)[0].mean(), (q - z.softmax(1)).square().sum(1).mean()


@exercise("01.4", "One step of AdamW", minutes=12, points=3, difficulty=3,
          names=("the weight", "the mean", "the square"))
def adamw_step(weight, gradient, mean, square, step, learning_rate, weight_decay):
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient**2
    mean_hat = mean / (1 - 0.9**step)
    square_hat = square / (1 - 0.999**step)
    adam = learning_rate * mean_hat / (square_hat.sqrt() + 1e-8)
    return weight - adam - learning_rate * weight_decay * weight, mean, square


def _adam(weight, gradient, mean, square, step, rate, shrink, correct=True, inside=False, betas=(0.9, 0.999),
          power=2):
    mean = betas[0] * mean + (1 - betas[0]) * gradient
    square = betas[1] * square + (1 - betas[1]) * gradient**power
    m = mean / (1 - betas[0] ** step) if correct else mean
    v = square / (1 - betas[1] ** step) if correct else square
    return weight - shrink - rate * m / ((v + 1e-8).sqrt() if inside else v.sqrt() + 1e-8), mean, square


@adamw_step.cases
def _(draw):
    for decay, about in ((0.0, "step 7 without decay"), (0.3, "step 7 with decay 0.3")):
        yield case(
            draw.normal(4),
            draw.normal(4),
            draw.normal(4),
            draw.uniform(4, low=0.1),
            7,
            0.1,
            decay,
            about=about,
        )
    zero = torch.zeros(2, 3).double()
    gradient = draw.normal(2, 3)
    gradient = gradient + gradient.sign()  # away from 0, where the place of eps would show by chance
    yield case(
        draw.normal(2, 3), gradient, zero, zero, 1, 0.01, 0.1, about="the first step of a 2 × 3 matrix"
    )
    yield case(
        draw.normal(4),
        1e-5 * draw.normal(4),
        torch.zeros(4).double(),
        torch.zeros(4).double(),
        1,
        0.01,
        0.1,
        about="tiny gradients",
    )
    yield case(
        draw.normal(1) + 3,
        torch.zeros(1).double(),
        torch.zeros(1).double(),
        torch.zeros(1).double(),
        3,
        0.1,
        0.5,
        about="a weight without any gradient",
    )


@adamw_step.mistake(
    "The decay is added to the gradient, so Adam rescales it too: that is L2 regularisation, not decoupled "
    "decay."
)
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g + decay * w, m, v, t, rate, 0)


@adamw_step.mistake("The decay is not multiplied by the learning rate.")
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate, decay * w)


@adamw_step.mistake("The decay makes the weight grow: it must pull it towards zero.")
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate, -decay * rate * w)


@adamw_step.mistake("The decay has no effect.")
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate, 0)


@adamw_step.mistake(
    "The decay is taken from the weight after its step; the rule takes it from the weight before."
)
def _(w, g, m, v, t, rate, decay):
    new, m, v = _adam(w, g, m, v, t, rate, 0)
    return new * (1 - rate * decay), m, v


@adamw_step.mistake(
    "The bias correction is missing: both running means start at zero and are too small at first."
)
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate, decay * rate * w, correct=False)


@adamw_step.mistake(
    "The bias-corrected means are returned as the state: the correction is for this step only, keep the raw "
    "running means."
)
def _(w, g, m, v, t, rate, decay):
    w, m, v = _adam(w, g, m, v, t, rate, decay * rate * w)
    return w, m / (1 - 0.9**t), v / (1 - 0.999**t)


@adamw_step.mistake("The square root is missing in the denominator.")
def _(w, g, m, v, t, rate, decay):
    _, m, v = _adam(w, g, m, v, t, rate, 0)
    return w * (1 - rate * decay) - rate * m / (1 - 0.9**t) / (v / (1 - 0.999**t) + 1e-8), m, v


@adamw_step.mistake("eps stands under the square root; it is added after it.")
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate, decay * rate * w, inside=True)


@adamw_step.mistake(
    "eps is added before the bias correction of the square, so the correction scales it too: correct, take "
    "the root, add eps."
)
def _(w, g, m, v, t, rate, decay):
    _, m, v = _adam(w, g, m, v, t, rate, 0)
    size = (v.sqrt() + 1e-8) / (1 - 0.999**t) ** 0.5
    return w * (1 - rate * decay) - rate * m / (1 - 0.9**t) / size, m, v


@adamw_step.mistake("The decay scales Adam's step; it takes a share of the weight itself, besides the step.")
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate * (1 + decay), 0)


@adamw_step.mistake(
    "The two rates of the running means are exchanged: 0.9 for the mean, 0.999 for the square."
)
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate, decay * rate * w, betas=(0.999, 0.9))


@adamw_step.mistake("This climbs: Adam's step is taken from the weight, not added to it.")
def _(w, g, m, v, t, rate, decay):
    new, m, v = _adam(w, g, m, v, t, rate, 0)
    return 2 * w - new - decay * rate * w, m, v


for _sentence, _late in (("The bias correction counts one step too many: step is 1 at the first step.", 1),
                         ("The bias correction counts one step too few: step is 1 at the first step.", -1)):
    adamw_step.mistake(_sentence)(
        lambda w, g, m, v, t, rate, decay, _late=_late: _adam(w, g, m, v, t + _late, rate, decay * rate * w))


@adamw_step.mistake("The gradient is not squared in the second running mean.")
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate, decay * rate * w, power=1)


@adamw_step.mistake("Adam's step is not multiplied by the learning rate.")
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, 1, decay * rate * w)


@adamw_step.mistake("The step uses the running means as they came in; they take up this gradient first.")
def _(w, g, m, v, t, rate, decay):
    _, new_m, new_v = _adam(w, g, m, v, t, rate, 0)
    step = m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return w * (1 - rate * decay) - rate * step, new_m, new_v


@adamw_step.mistake("The running means come back as they were: return them with this gradient taken up.")
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate, decay * rate * w)[0], m, v


@adamw_step.mistake("The gradient itself is divided, not its running mean.")
def _(w, g, m, v, t, rate, decay):
    _, m, v = _adam(w, g, m, v, t, rate, 0)
    return w * (1 - rate * decay) - rate * g / ((v / (1 - 0.999**t)).sqrt() + 1e-8), m, v


@adamw_step.mistake("The running means forget to weigh the new gradient: it enters with 1 - beta.")
def _(w, g, m, v, t, rate, decay):
    m, v = 0.9 * m + g, 0.999 * v + g**2
    return w * (1 - rate * decay) - rate * m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-8), m, v


@adamw_step.mistake(
    "The running means are mixed the wrong way round: 0.9 and 0.999 belong to what they were, the small rest"
    " to the new gradient."
)
def _(w, g, m, v, t, rate, decay):
    m, v = 0.1 * m + 0.9 * g, 0.001 * v + 0.999 * g**2
    return w * (1 - rate * decay) - rate * m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-8), m, v


@adamw_step.mistake(
    "Only the first running mean is corrected for its start at zero; the second needs it as well."
)
def _(w, g, m, v, t, rate, decay):
    _, m, v = _adam(w, g, m, v, t, rate, 0)
    return w * (1 - rate * decay) - rate * m / (1 - 0.9**t) / (v.sqrt() + 1e-8), m, v


@adamw_step.mistake(
    "The decay is divided by the running size as well: it acts on the weight besides Adam's step."
)
def _(w, g, m, v, t, rate, decay):
    _, m, v = _adam(w, g, m, v, t, rate, 0)
    size = (v / (1 - 0.999**t)).sqrt() + 1e-8
    return w - rate * (m / (1 - 0.9**t) + decay * w) / size, m, v


@adamw_step.mistake(
    "Without eps a weight that never had a gradient becomes 0/0 = nan: add it after the root."
)
def _(w, g, m, v, t, rate, decay):
    _, m, v = _adam(w, g, m, v, t, rate, 0)
    return w * (1 - rate * decay) - rate * m / (1 - 0.9**t) / (v / (1 - 0.999**t)).sqrt(), m, v


for _betas, _sentence in (
    ((0.9, 0.99), "The rate of the second running mean is 0.99 here; it is 0.999."),
    ((0.9, 0.9), "The second running mean has the rate of the first, 0.9; its own is 0.999."),
    ((0.999, 0.999), "The first running mean has the rate of the second, 0.999; its own is 0.9."),
):
    adamw_step.mistake(_sentence)(lambda w, g, m, v, t, rate, decay, _betas=_betas: _adam(
        w, g, m, v, t, rate, decay * rate * w, betas=_betas))


@adamw_step.mistake(
    "This is plain descent, -ηg: Adam divides the running mean of the gradient by its running size."
)
def _(w, g, m, v, t, rate, decay):
    _, m, v = _adam(w, g, m, v, t, rate, 0)
    return w - rate * g - rate * decay * w, m, v


@adamw_step.mistake(
    "The decay has no learning rate, and is taken from the weight after its step: subtract ηλw, w as it was "
    "before."
)
def _(w, g, m, v, t, rate, decay):
    new, m, v = _adam(w, g, m, v, t, rate, 0)
    return new * (1 - decay), m, v



def _adam_with(hats):
    """AdamW whose two corrected means are ``hats(mean, square, step)``."""
    def wrong(w, g, m, v, t, rate, decay):
        _, m, v = _adam(w, g, m, v, t, rate, 0)
        mean, square = hats(m, v, t)
        return w * (1 - rate * decay) - rate * mean / (square.sqrt() + 1e-8), m, v
    return wrong


adamw_step.mistake(
    "The two bias corrections are exchanged: each mean is divided by 1 minus its own rate to the power t."
)(
    _adam_with(lambda m, v, t: (m / (1 - 0.999**t), v / (1 - 0.9**t))))
adamw_step.mistake("The bias correction has a rate times t; it is the rate to the power t, 0.9**step.")(
    _adam_with(lambda m, v, t: (m / (1 - 0.9 * t), v / (1 - 0.999 * t))))
adamw_step.mistake(
    "You multiply by the bias correction; it divides, since the means are too small at first."
)(
    _adam_with(lambda m, v, t: (m * (1 - 0.9**t), v * (1 - 0.999**t))))


@adamw_step.mistake(
    "The decay takes the sign of the weight (that is L1); it takes a share of the weight itself."
)
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate, decay * rate * w.sign())


@exercise("01.5", "The curvature is a variance", minutes=15, points=3, difficulty=4)
def curvature(logits, direction):
    p = logits.softmax(1)
    mean = (p * direction).sum(1, keepdim=True)
    return (p * (direction - mean) ** 2).sum(1)


@curvature.cases
def _(draw):
    yield case(draw.normal(5, 3), draw.normal(3), about="five rows of three classes")
    yield case(draw.normal(4, 4), draw.normal(4), about="as many rows as classes")
    yield case(draw.normal(1, 6), draw.normal(6), about="one row of six classes")
    constant = torch.full((3,), 2.5, dtype=torch.float64)
    yield case(draw.normal(3, 3), constant, about="a constant direction (the answer is zero)")
    sure = torch.tensor([[1000.0, -1000.0, 0.0], [998.0, 1000.0, 999.0]]).double()
    yield case(sure, draw.normal(3), about="logits of 1000")
    far = 1e6 + draw.normal(5)
    yield case(draw.normal(4, 5), far, about="a direction with entries near a million (subtract their mean, "
                                             "then square)")


@curvature.mistake(
    "The squared mean is missing: this is the mean of v² under p, and a variance is what is left of it."
)
def _(z, v):
    return (z.softmax(1) * v**2).sum(1)


@curvature.mistake("This is the standard deviation; vᵀHv is its square.")
def _(z, v):
    return curvature.reference(z, v).sqrt()


@curvature.mistake("This is the plain variance of v: weigh each entry by the probability of its class.")
def _(z, v):
    return v.var(correction=0).expand(len(z))


@curvature.mistake("This is the plain variance of v: weigh each entry by the probability of its class.")
def _(z, v):
    return v.var().expand(len(z))


@curvature.mistake("The squared deviations are averaged evenly; p weighs them, as it weighs the mean.")
def _(z, v):
    mean = (z.softmax(1) * v).sum(1, keepdim=True)
    return ((v - mean) ** 2).mean(1)


@curvature.mistake("The direction scales the logits; p is their softmax as they are, and v is what varies.")
def _(z, v):
    return curvature.reference(z * v, v)


@curvature.mistake("The deviations are taken from the plain mean of v; the mean that counts is weighed by p.")
def _(z, v):
    return (z.softmax(1) * (v - v.mean()) ** 2).sum(1)


@curvature.mistake("You divide by the number of classes: the weights p already add up to 1.")
def _(z, v):
    return curvature.reference(z, v) / z.shape[1]


@curvature.mistake("This is a first derivative, the mean of v under p; differentiate once more.")
def _(z, v):
    return (z.softmax(1) * v).sum(1)


@curvature.mistake("The softmax runs down the columns: probabilities of one row must add up to 1.")
def _(z, v):
    p = z.softmax(0)
    return (p * (v - (p * v).sum(1, keepdim=True)) ** 2).sum(1)


@curvature.mistake("This is Hv, one number per class; multiply by v once more and sum over the classes.")
def _(z, v):
    p = z.softmax(1)
    return p * (v - (p * v).sum(1, keepdim=True))


@curvature.mistake(
    "These are only the entries on the diagonal of H, p(1 - p): the classes pull on one another too, with "
    "-p_c p_k."
)
def _(z, v):
    p = z.softmax(1)
    return (p * (1 - p) * v**2).sum(1)


@curvature.mistake("You average over the rows; one number per row is wanted.")
def _(z, v):
    return curvature.reference(z, v).mean()


@curvature.mistake("The sign is flipped: H is diag(p) - ppᵀ, and a variance is never negative.")
def _(z, v):
    return -curvature.reference(z, v)


@curvature.mistake("A logit of 1000 breaks it: shift every row by its largest logit before exp.")
def _(z, v):
    p = z.exp() / z.exp().sum(1, keepdim=True)
    return (p * (v - (p * v).sum(1, keepdim=True)) ** 2).sum(1)


@curvature.mistake("The direction has no effect: weigh its deviations, not the classes alone.")
def _(z, v):
    p = z.softmax(1)
    return (p * (1 - p)).sum(1)


@curvature.mistake("The squared mean is added; H is diag(p) minus ppᵀ.")
def _(z, v):
    p = z.softmax(1)
    return (p * v**2).sum(1) + (p * v).sum(1) ** 2


@curvature.mistake("Each class has a sigmoid of its own here; the p of a softmax add up to 1.")
def _(z, v):
    p = z.sigmoid()
    return (p * (v - (p * v).sum(1, keepdim=True)) ** 2).sum(1)


@curvature.mistake("This is the squared mean of v; the variance is the mean of squares minus that.")
def _(z, v):
    return (z.softmax(1) * v).sum(1) ** 2


@curvature.mistake(
    "This is the variance of the products p v over the classes; the variance of v under p weighs squares "
    "with p."
)
def _(z, v):
    return (z.softmax(1) * v).var(1)


@curvature.mistake(
    "Only the part -(p·v)² is there: the mean of the squares, from the diagonal of H, is missing."
)
def _(z, v):
    return -((z.softmax(1) * v).sum(1) ** 2)
