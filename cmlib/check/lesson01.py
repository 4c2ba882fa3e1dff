"""Exercises of lesson 01: binary cross-entropy from logits, p - y, weighted and smoothed targets, one AdamW
step.
"""

import torch
from torch.nn.functional import cross_entropy, one_hot

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling
from cmlib.losses import classification as losses


@exercise("01.1", "A binary loss that cannot break", minutes=8, points=2, difficulty=2, grad=(0,))
def binary_cross_entropy(logits, labels):
    return losses.binary_cross_entropy(logits, labels)


@binary_cross_entropy.cases
def _(draw):
    yield telling(
        binary_cross_entropy,
        lambda: case(3 * draw.normal(7), draw.bits(7), about="seven random logits"),
        hides=("rounds to exactly", "exp(1000)", "clipped"),
    )
    yield case(draw.normal(3, 2), draw.uniform(3, 2), about="logits of shape (3, 2) with labels between 0 "
                                                            "and 1")
    yield case(draw.normal(1) + 5, torch.zeros(1).double(), about="one row")
    far = torch.tensor([1000.0, -1000.0, 1000.0, -1000.0]).double()
    yield case(far, torch.tensor([1.0, 0.0, 0.0, 1.0]).double(), about="logits of 1000 and -1000")


@binary_cross_entropy.mistake("The sign is flipped: a loss is minus the log likelihood, and it falls as the "
                              "label becomes "
                              "more likely.")
def _(logits, labels):
    return -losses.binary_cross_entropy(logits, labels)


@binary_cross_entropy.mistake("You return the sum over the batch, and the mean is wanted.")
def _(logits, labels):
    return losses.binary_cross_entropy(logits, labels) * logits.numel()


@binary_cross_entropy.mistake("You return one loss per row, and the mean over all of them is wanted.")
def _(logits, labels):
    return torch.logaddexp(logits, torch.zeros_like(logits)) - labels * logits


@binary_cross_entropy.mistake("The labels are swapped: with y = 1 the surprise is about p, with y = 0 about "
                              "1 - p.")
def _(logits, labels):
    return losses.binary_cross_entropy(logits, 1 - labels)


@binary_cross_entropy.mistake("Half of the loss is missing: rows with y = 0 have a surprise too.")
def _(logits, labels):
    return -(labels * torch.nn.functional.logsigmoid(logits)).mean()


@binary_cross_entropy.mistake("A logit of 1000 breaks it: the probability rounds to exactly 0 or 1 before "
                              "the logarithm is "
                              "taken.")
def _(logits, labels):
    p = torch.sigmoid(logits)
    return -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()


@binary_cross_entropy.mistake(
    "A logit of 1000 breaks it: exp(1000) is infinite, even inside log(1 + exp(z))."
)
def _(logits, labels):
    return (torch.log(1 + torch.exp(logits)) - labels * logits).mean()


@binary_cross_entropy.mistake("The probability is clipped, so a confident wrong answer stops costing more "
                              "and stops "
                              "learning: work with the logit instead.")
def _(logits, labels):
    p = torch.sigmoid(logits).clamp(1e-7, 1 - 1e-7)
    return -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()


@exercise("01.2", "The gradient by hand", minutes=8, points=2, difficulty=2)
def softmax_gradient(logits, labels):
    return (logits.softmax(1) - one_hot(labels, logits.shape[1])) / len(logits)


@softmax_gradient.cases
def _(draw):
    yield case(2 * draw.normal(5, 3), draw.integers(3, 5), about="5 rows of 3 classes")
    yield case(draw.normal(1, 7), draw.integers(7, 1), about="one row of 7 classes")
    yield case(draw.normal(4, 4), draw.integers(4, 4), about="as many rows as classes")
    yield case(
        torch.tensor([[1000.0, 0.0], [-1000.0, 1000.0]]).double(),
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


@softmax_gradient.mistake("Only the right class gets a gradient: the other classes are in the denominator of "
                          "softmax, so "
                          "theirs is not zero.")
def _(logits, labels):
    y = one_hot(labels, logits.shape[1])
    return (logits.softmax(1) - y) * y / len(logits)


@softmax_gradient.mistake("The target is missing: these are the probabilities alone.")
def _(logits, labels):
    return logits.softmax(1) / len(logits)


@softmax_gradient.mistake("A logit of 1000 breaks it: shift every row by its largest logit before exp.")
def _(logits, labels):
    e = logits.exp()
    return (e / e.sum(1, keepdim=True) - one_hot(labels, logits.shape[1])) / len(logits)


@exercise("01.3", "Weights and smoothing, equal to PyTorch", minutes=12, points=3, difficulty=3, grad=(0,))
def weighted_cross_entropy(logits, labels, class_weights, label_smoothing):
    return cross_entropy(logits, labels, weight=class_weights, label_smoothing=label_smoothing)


@weighted_cross_entropy.cases
def _(draw):
    yield case(
        2 * draw.normal(6, 3),
        draw.integers(3, 6),
        torch.ones(3).double(),
        0.0,
        about="equal weights, no smoothing",
    )
    yield case(2 * draw.normal(6, 3), draw.integers(3, 6), draw.uniform(3, low=0.2, high=5), 0.0,
               about="unequal weights, no smoothing")
    yield case(
        2 * draw.normal(5, 4),
        draw.integers(4, 5),
        torch.ones(4).double(),
        0.2,
        about="equal weights, smoothing 0.2",
    )
    yield case(2 * draw.normal(5, 4), draw.integers(4, 5), draw.uniform(4, low=0.2, high=5), 0.1,
               about="unequal weights, smoothing 0.1")
    far = 1000 * draw.normal(2, 3)
    yield case(far, far.argmin(1), draw.uniform(3, low=0.2, high=5), 0.1, about="logits near 1000")


def _variant(logits, labels, weights, smoothing, targets=None, divisor=None, weigh=True):
    classes = logits.shape[1]
    if targets is None:
        targets = one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
    loss = -(targets * (weights if weigh else 1) * logits.log_softmax(1)).sum()
    return loss / (weights[labels].sum() if divisor is None else divisor)


@weighted_cross_entropy.mistake("The weighted losses are divided by the number of rows: divide by the sum of "
                                "the rows' "
                                "weights, or large weights raise the learning rate.")
def _(logits, labels, w, e):
    return _variant(logits, labels, w, e, divisor=len(logits))


@weighted_cross_entropy.mistake("You divide by the sum over classes: the mean needs the weight of each row's "
                                "own label, "
                                "summed over rows.")
def _(logits, labels, w, e):
    return _variant(logits, labels, w, e, divisor=w.sum())


@weighted_cross_entropy.mistake("The class weights have no effect.")
def _(logits, labels, w, e):
    return _variant(logits, labels, w, e, divisor=len(logits), weigh=False)


@weighted_cross_entropy.mistake("The smoothing has no effect.")
def _(logits, labels, w, e):
    return _variant(logits, labels, w, 0.0)


@weighted_cross_entropy.mistake("The smoothed share goes to the wrong classes only: here it is spread over "
                                "all C classes, "
                                "the right one included.")
def _(logits, labels, w, e):
    y, classes = one_hot(labels, logits.shape[1]), logits.shape[1]
    return _variant(logits, labels, w, e, targets=y * (1 - e) + (1 - y) * e / (classes - 1))


@weighted_cross_entropy.mistake("The smoothed target of a row adds up to more than 1: the right class must "
                                "give up the share "
                                "that is spread.")
def _(logits, labels, w, e):
    classes = logits.shape[1]
    return _variant(logits, labels, w, e, targets=one_hot(labels, classes) + e / classes)


@weighted_cross_entropy.mistake("The whole row is weighted by its label's weight: with smoothing, each "
                                "class's term has the "
                                "weight of that class.")
def _(logits, labels, w, e):
    classes = logits.shape[1]
    q = (one_hot(labels, classes) * (1 - e) + e / classes) * w[labels][:, None]
    return -(q * logits.log_softmax(1)).sum() / w[labels].sum()


@exercise("01.4", "One step of AdamW", minutes=12, points=3, difficulty=3)
def adamw_step(weight, gradient, mean, square, step, learning_rate, weight_decay):
    return _adam(weight, gradient, mean, square, step, learning_rate, weight_decay * learning_rate * weight)


def _adam(weight, gradient, mean, square, step, rate, shrink, correct=True, inside=False, betas=(0.9, 0.999)):
    mean = betas[0] * mean + (1 - betas[0]) * gradient
    square = betas[1] * square + (1 - betas[1]) * gradient**2
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


@adamw_step.mistake("The decay is added to the gradient, so Adam rescales it too: that is L2 regularisation, "
                    "not decoupled "
                    "decay.")
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


@adamw_step.mistake("The decay is taken from the weight after its step; the rule takes it from the weight "
                    "before.")
def _(w, g, m, v, t, rate, decay):
    new, m, v = _adam(w, g, m, v, t, rate, 0)
    return new * (1 - rate * decay), m, v


@adamw_step.mistake("The bias correction is missing: both running means start at zero and are too small at "
                    "first.")
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate, decay * rate * w, correct=False)


@adamw_step.mistake("The bias-corrected means are returned as the state: the correction is for this step "
                    "only, keep the raw "
                    "running means.")
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


@adamw_step.mistake("The two rates of the running means are exchanged: 0.9 for the mean, 0.999 for the "
                    "square.")
def _(w, g, m, v, t, rate, decay):
    return _adam(w, g, m, v, t, rate, decay * rate * w, betas=(0.999, 0.9))
