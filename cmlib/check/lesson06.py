"""Exercises of lesson 06: feature concatenation."""

from itertools import permutations

import torch
from torch.nn.functional import gelu

from cmlib.check.compare import kind_of
from cmlib.check.engine import AnswerRaised, case, exercise
from cmlib.check.telling import telling


# 06.6 -------------------------------------------------------------------------------------------------------
@exercise("06.6", "The ceiling of a sum of opinions", minutes=18, points=3, difficulty=4)
def ceiling_of_sums(table):
    best = torch.zeros((), dtype=table.dtype)
    for order in permutations(range(table.shape[1])):
        keep, refund = table[0, list(order)], table[1, list(order)]  # (a, b) each, in this order of photos
        total = torch.zeros((), dtype=table.dtype)
        for b in range(table.shape[2]):
            cuts = [refund[:n, b].sum() + keep[n:, b].sum() for n in range(len(order) + 1)]
            total = total + max(cuts)
        best = max(best, total)
    return best


@ceiling_of_sums.cases
def _(draw):
    def random(shape, about):
        table = draw.uniform(*shape) ** 2
        return case(table / table.sum(), about=about)

    yield telling(ceiling_of_sums, lambda: random((2, 3, 4), "a random table of 3 photos and 4 messages"))
    yield telling(ceiling_of_sums, lambda: random((2, 4, 3), "a random table of 4 photos and 3 messages"))
    equal = torch.tensor([[[0.25, 0.0], [0.0, 0.25]], [[0.0, 0.25], [0.25, 0.0]]]).double()
    yield case(equal, about="the exclusive-or table, where three of four tickets can be had")
    yield case(equal.flip(1), about="the exclusive-or table with its photos exchanged")
    yield random((2, 3, 1), "a message that never varies")
    yield random((2, 1, 3), "a photo that never varies")


def _best_cuts(table, order, allowed=None):
    """Each message's best cut in one order of the photos: the probability of being right, (b,)."""
    keep, refund = table[0, order], table[1, order]
    cuts = [refund[:n].sum(0) + keep[n:].sum(0) for n in allowed or range(len(order) + 1)]
    return torch.stack(cuts)  # (cuts, b)


def _orders(table):
    return [list(order) for order in permutations(range(table.shape[1]))]


@ceiling_of_sums.mistake(
    "This is the ceiling of a judge who may compare: every cell gets its likelier label. A sum of opinions "
    "has one order of the photos, the same for all messages."
)
def _(table):
    return table.amax(0).sum()


@ceiling_of_sums.mistake("This is the better of the two single judges; a sum of opinions may use both.")
def _(table):
    return torch.maximum(table.sum(2).amax(0).sum(), table.sum(1).amax(0).sum())


@ceiling_of_sums.mistake("You try one order of the photos, the one they stand in: f is free, so every order "
                          "is possible. Take the best.")
def _(table):
    return _best_cuts(table, list(range(table.shape[1]))).amax(0).sum()


@ceiling_of_sums.mistake(
    "Your messages share one cut, so this is the judge who sees only the photo: every message has a g of its "
    "own and picks the cut that suits it."
)
def _(table):
    return torch.stack([_best_cuts(table, order).sum(1).amax() for order in _orders(table)]).amax()


@ceiling_of_sums.mistake("You leave out the cuts at the ends: a message may also be refunded for every photo "
                          "or for none.")
def _(table):
    inner = range(1, table.shape[1]) if table.shape[1] > 1 else range(2)
    return torch.stack([_best_cuts(table, order, inner).amax(0).sum() for order in _orders(table)]).amax()


@ceiling_of_sums.mistake("You leave out the last cut: a message may also be refunded for every photo.")
def _(table):
    allowed = range(table.shape[1])
    return torch.stack([_best_cuts(table, order, allowed).amax(0).sum() for order in _orders(table)]).amax()


@ceiling_of_sums.mistake("You leave out the first cut: a message may also be refunded for no photo at all.")
def _(table):
    allowed = range(1, table.shape[1] + 1)
    return torch.stack([_best_cuts(table, order, allowed).amax(0).sum() for order in _orders(table)]).amax()


@ceiling_of_sums.mistake(
    "You sort the photos by what a refund gains over all messages; the best order need not be that one. Try "
    "them all."
)
def _(table):
    gain = (table[1] - table[0]).sum(1)
    return _best_cuts(table, gain.argsort(descending=True).tolist()).amax(0).sum()


@ceiling_of_sums.mistake("Only the refunds are counted in your cuts: photos after the cut are kept, and a "
                         "keep may be right.")
def _(table):
    return table[1].sum()


@ceiling_of_sums.mistake("This is the worst order of the photos: f is free, so the best is wanted.")
def _(table):
    return torch.stack([_best_cuts(table, order).amax(0).sum() for order in _orders(table)]).amin()


@ceiling_of_sums.mistake(
    "You count what refunds win over keeps, and forget what the keeps give: add the probability of label 0."
)
def _(table):
    return ceiling_of_sums.reference(table) - table[0].sum()


@ceiling_of_sums.mistake(
    "You fix f and g before you look: the log-odds of each half by itself. The ceiling is over all f and "
    "g."
)
def _(table):
    f, g = (table.sum(axis)[1].log() - table.sum(axis)[0].log() for axis in (2, 1))
    refund = f[:, None] + g - (table[1].sum().log() - table[0].sum().log()) > 0
    return torch.where(refund, table[1], table[0]).sum()


@ceiling_of_sums.mistake("This is the error of the best sum; its accuracy is wanted.")
def _(table):
    return 1 - ceiling_of_sums.reference(table)


@ceiling_of_sums.mistake("You add the orders up or average them: the best order is wanted.")
def _(table):
    return torch.stack([_best_cuts(table, order).amax(0).sum() for order in _orders(table)]).mean()


@ceiling_of_sums.mistake("You count the cells that come out right; weigh each by its probability.")
def _(table):
    likelier = (table[1] > table[0]).to(table.dtype)
    cells = torch.stack([1 - likelier, likelier])
    return ceiling_of_sums.reference(cells / likelier.numel())


# 06.3 -------------------------------------------------------------------------------------------------------
def _call(answer, image, text, weights):
    return answer(image, text, **weights)


def _unit(x, axis=1, eps=1e-5, unbiased=False):
    centred = x - x.mean(axis, keepdim=True)
    return centred / (x.var(axis, keepdim=True, unbiased=unbiased) + eps).sqrt()


@exercise("06.3", "The concatenation head", minutes=15, points=3, difficulty=3, grad=(0, 1), call=_call)
def concat_head(image, text, W1, b1, W2, b2):
    halves = []
    for x in (image, text):
        centred = x - x.mean(dim=1, keepdim=True)
        variance = centred.square().mean(dim=1, keepdim=True)
        halves.append(centred / (variance + 1e-5).sqrt())
    joint = torch.cat(halves, dim=1)
    hidden = gelu(joint @ W1.T + b1)
    return hidden @ W2.T + b2


@concat_head.cases
def _(draw):
    for batch, image, text, hidden, classes, about in (
        (4, 5, 3, 6, 2, "random features"),
        (1, 2, 4, 3, 3, "a batch of one"),
        (6, 3, 3, 6, 6, "equal sizes"),
    ):
        weights = {
            "W1": draw.normal(hidden, image + text),
            "b1": draw.normal(hidden),
            "W2": draw.normal(classes, hidden),
            "b2": draw.normal(classes),
        }
        yield case(draw.normal(batch, image), draw.normal(batch, text), weights, about=about)
    yield case(
        1000 * draw.normal(3, 4),
        0.01 * draw.normal(3, 2),
        {"W1": draw.normal(5, 6), "b1": draw.normal(5), "W2": draw.normal(2, 5), "b2": draw.normal(2)},
        about="an image half ten thousand times larger than the text half",
    )


def _head(image, text, W1, b1, W2, b2, unit=_unit, bend=gelu, late=False):
    """The head with every part that a learner may get wrong as an argument."""
    joint = unit(torch.cat([image, text], 1)) if late else torch.cat([unit(image), unit(text)], 1)
    return bend(joint @ W1.T + b1) @ W2.T + b2


for _sentence, _slip in {
    "The halves are not normalised: bring each to zero mean and unit variance per row first.": {
        "unit": lambda x: x
    },
    "You normalise after concatenating: then the larger half still drowns the smaller. Normalise each half "
    "by itself.": {"late": True},
    "You normalise over the batch: the mean and the variance of LayerNorm are those of one row, over its "
    "features (dim 1).": {"unit": lambda x: _unit(x, axis=0)},
    "You divide by the length of each half (L2), without taking the mean away: LayerNorm subtracts the row's "
    "mean and divides by its standard deviation.": {"unit": lambda x: torch.nn.functional.normalize(x)},
    "You subtract the mean and divide by the length (L2); LayerNorm divides by the standard deviation, the "
    "length over √n.": {"unit": lambda x: torch.nn.functional.normalize(x - x.mean(1, keepdim=True))},
    "The 1e-5 stands outside the root: it is added to the variance, before the root is taken.": {
        "unit": lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True, unbiased=False) + 1e-5)
    },
    "Your variance is divided by n − 1; LayerNorm divides by n (unbiased=False).": {
        "unit": lambda x: _unit(x, unbiased=True)
    },
    "The mean is taken away, and nothing is divided by the standard deviation.": {
        "unit": lambda x: x - x.mean(1, keepdim=True)
    },
    "The non-linearity is missing: two linear layers in a row are one linear layer, and that cannot "
    "compare.": {"bend": lambda z: z},
    "This is ReLU; the head uses GELU.": {"bend": torch.relu},
    "This GELU is the tanh approximation; the head uses the exact one.": {
        "bend": lambda z: gelu(z, approximate="tanh")
    },
}.items():
    concat_head.mistake(_sentence)(
        lambda image, text, W1, b1, W2, b2, slip=_slip: _head(image, text, W1, b1, W2, b2, **slip)
    )


@concat_head.mistake("The text half comes first in your vector; the weights expect [F_I ; F_T].")
def _(image, text, W1, b1, W2, b2):
    halves = [_unit(text), _unit(image)]
    return gelu(torch.cat(halves, 1) @ W1.T + b1) @ W2.T + b2


for _sentence, _normal in {
    "Only the photo's half is normalised: the text half needs it as well.": (True, False),
    "Only the text half is normalised: the photo's half needs it as well.": (False, True),
}.items():
    concat_head.mistake(_sentence)(
        lambda image, text, W1, b1, W2, b2, normal=_normal: _head(
            _unit(image) if normal[0] else image, _unit(text) if normal[1] else text, W1, b1, W2, b2,
            unit=lambda x: x)
    )


@concat_head.mistake("What is normalised is the hidden layer; the two halves are, before they meet.")
def _(image, text, W1, b1, W2, b2):
    return _head(image, text, W1, b1, W2, b2, unit=lambda x: x, bend=lambda z: gelu(_unit(z)))


@concat_head.mistake("The logits went through a GELU as well: the second linear layer is the last step.")
def _(image, text, W1, b1, W2, b2):
    return gelu(concat_head.reference(image, text, W1, b1, W2, b2))


for _sentence, _kept in {
    "Both biases are missing: a linear layer is x @ W.T + b.": (0, 0),
    "The bias b1 is missing: a linear layer is x @ W.T + b.": (0, 1),
    "The bias b2 is missing: a linear layer is x @ W.T + b.": (1, 0),
}.items():
    concat_head.mistake(_sentence)(
        lambda image, text, W1, b1, W2, b2, kept=_kept: _head(image, text, W1, kept[0] * b1, W2, kept[1] * b2)
    )


@concat_head.mistake("These are probabilities; the head returns logits, before any softmax.")
def _(image, text, W1, b1, W2, b2):
    return concat_head.reference(image, text, W1, b1, W2, b2).softmax(1)


# 06.4 -------------------------------------------------------------------------------------------------------
@exercise("06.4", "Accuracy per situation", minutes=8, points=2, difficulty=2)
def accuracy_by_group(right, group, n_groups):
    rows = torch.bincount(group, minlength=n_groups)
    hits = torch.bincount(group, weights=right.double(), minlength=n_groups)
    return hits / rows


@accuracy_by_group.cases
def _(draw):
    yield telling(
        accuracy_by_group,
        lambda: case(
            draw.integers(2, 40).bool(), draw.integers(4, 40), 4, about="random answers in four groups"
        ),
        hides=("empty group", "leave out"),
    )
    yield case(
        torch.tensor([True, False, True]),
        torch.tensor([2, 2, 0]),
        4,
        about="groups without a single row (nan is wanted there)",
    )
    yield telling(
        accuracy_by_group,
        lambda: case(draw.integers(2, 9).bool(), torch.zeros(9, dtype=torch.int64), 1, about="one group"),
        hides=("empty group", "all rows", "leave out", "the average", "wrong order"),
    )


@accuracy_by_group.mistake("An empty group has no accuracy: return nan there, not 0.")
def _(right, group, n_groups):
    return accuracy_by_group.reference(right, group, n_groups).nan_to_num(0.0)


@accuracy_by_group.mistake("You leave out the empty groups: every group below n_groups has a place in the "
                           "result, with nan where it has no row.")
def _(right, group, n_groups):
    found = accuracy_by_group.reference(right, group, n_groups)
    return found[~found.isnan()]


@accuracy_by_group.mistake("Your groups are counted from 1: place k belongs to group k, and the first "
                           "group is 0.")
def _(right, group, n_groups):
    found = accuracy_by_group.reference(right, group, n_groups)
    return torch.cat([found[1:], found.new_full((1,), torch.nan)])


@accuracy_by_group.mistake("The first group has no accuracy in your result: groups are counted from 0.")
def _(right, group, n_groups):
    found = accuracy_by_group.reference(right, group, n_groups)
    return torch.cat([found.new_full((1,), torch.nan), found[1:]])


@accuracy_by_group.mistake("Your division rounds down to whole numbers: a share lies between 0 and 1, so "
                           "use /.")
def _(right, group, n_groups):
    return accuracy_by_group.reference(right, group, n_groups).nan_to_num(0.0).floor()


@accuracy_by_group.mistake("You divide by the number of groups; divide by the number of rows of the group.")
def _(right, group, n_groups):
    return torch.bincount(group, right.double(), minlength=n_groups) / n_groups


@accuracy_by_group.mistake("You count the right answers; divide by the number of rows of the group.")
def _(right, group, n_groups):
    return torch.bincount(group, right.double(), minlength=n_groups)


@accuracy_by_group.mistake("These are the numbers of rows; the share of right answers among them is wanted.")
def _(right, group, n_groups):
    return torch.bincount(group, minlength=n_groups).double()


@accuracy_by_group.mistake("You divide by all rows; divide by the number of rows of the group.")
def _(right, group, n_groups):
    return torch.bincount(group, right.double(), minlength=n_groups) / len(group)


@accuracy_by_group.mistake("This is each group's share of the right answers; divide by the rows of the group "
                           "instead.")
def _(right, group, n_groups):
    return torch.bincount(group, right.double(), minlength=n_groups) / right.sum()


@accuracy_by_group.mistake("This is the share of wrong answers.")
def _(right, group, n_groups):
    return 1 - accuracy_by_group.reference(right, group, n_groups)


@accuracy_by_group.mistake("This is the average over all rows; it hides the group that is never learned. One "
                           "accuracy for each group is wanted.")
def _(right, group, n_groups):
    return right.double().mean().expand(n_groups)


@accuracy_by_group.mistake("The groups stand in the wrong order, largest number first: place k belongs to "
                           "group k.")
def _(right, group, n_groups):
    return accuracy_by_group.reference(right, group, n_groups).flip(0)


# 06.7 -------------------------------------------------------------------------------------------------------
@exercise("06.7", "What is left without comparing", minutes=15, points=3, difficulty=3)
def without_comparing(logits):
    photo = logits.mean(dim=1)  # (n, classes): photo i, averaged over all messages
    message = logits.mean(dim=0)  # (n, classes): message i, averaged over all photos
    everything = logits.mean(dim=(0, 1))  # (classes,)
    return photo + message - everything


@without_comparing.cases
def _(draw):
    yield telling(
        without_comparing, lambda: case(draw.normal(4, 4, 2), about="4 tickets and 2 classes")
    )
    yield telling(
        without_comparing, lambda: case(draw.normal(3, 3, 3), about="as many classes as tickets")
    )
    f, g = draw.normal(5, 1, 2), draw.normal(1, 5, 2)
    yield case(f + g, about="a model that only adds: nothing of it may be lost")
    yield case(draw.normal(1, 1, 2), about="a single ticket")


@without_comparing.mistake(
    "These are the model's own logits for the real pairs: everything that it learned by comparing is "
    "still in them."
)
def _(logits):
    return logits.diagonal().T


@without_comparing.mistake(
    "The grand mean is counted twice: it is in the mean of the photo and in the mean of the message, so "
    "take it away once."
)
def _(logits):
    return logits.mean(1) + logits.mean(0)


@without_comparing.mistake("You take the grand mean away twice; it is counted twice, and once is right.")
def _(logits):
    return logits.mean(1) + logits.mean(0) - 2 * logits.mean((0, 1))


@without_comparing.mistake(
    "Your grand mean runs over the real pairs only; it is the mean over every photo with every message."
)
def _(logits):
    return logits.mean(1) + logits.mean(0) - logits.diagonal().T.mean(0)


@without_comparing.mistake(
    "You average the two opinions; they are added, and the grand mean is taken away once."
)
def _(logits):
    return (logits.mean(1) + logits.mean(0)) / 2


@without_comparing.mistake("This is the grand mean alone: the photo and the message have an opinion each.")
def _(logits):
    return logits.mean((0, 1)).expand(len(logits), -1)


@without_comparing.mistake("The grand mean is added where it has to be taken away.")
def _(logits):
    return logits.mean(1) + logits.mean(0) + logits.mean((0, 1))


@without_comparing.mistake("This is the opinion of the photo alone; the message's is missing.")
def _(logits):
    return logits.mean(1)


@without_comparing.mistake("This is the opinion of the message alone; the photo's is missing.")
def _(logits):
    return logits.mean(0)


@without_comparing.mistake(
    "This is what the model says beyond a sum of opinions (the interaction); the sum itself is wanted."
)
def _(logits):
    return logits.diagonal().T - without_comparing.reference(logits)


@without_comparing.mistake("You average over the classes as well: every class keeps its own grand mean.")
def _(logits):
    return logits.mean(1) + logits.mean(0) - logits.mean()


@without_comparing.mistake("You add up where you should average: the mean over all partners is wanted.")
def _(logits):
    return logits.sum(1) + logits.sum(0) - logits.sum((0, 1))


@without_comparing.mistake(
    "Its own partner is left out of each mean; the average runs over all n messages, its own included."
)
def _(logits):
    n, own = len(logits), logits.diagonal().T
    photo, message = ((logits.sum(axis) - own) / (n - 1) for axis in (1, 0))
    return photo + message - logits.mean((0, 1))


@without_comparing.mistake(
    "Its own partner is left out of every mean, the grand mean too; all n messages count, its own included."
)
def _(logits):
    n, own = len(logits), logits.diagonal().T
    photo, message = ((logits.sum(axis) - own) / (n - 1) for axis in (1, 0))
    return photo + message - photo.mean(0)


@without_comparing.mistake(
    "Your grand mean still differs from message to message: it runs over photos and messages, and keeps only "
    "the classes."
)
def _(logits):
    return logits.mean(1) + logits.mean(0) - logits.mean((0, 2))[:, None]


@without_comparing.mistake(
    "You take the softmax first: average the logits, since a sum of opinions is a sum of logits."
)
def _(logits):
    return without_comparing.reference(logits.softmax(-1))


# 06.5 -------------------------------------------------------------------------------------------------------
def _decide(answer, photos, words):
    """What the head says to every pair of a photo and a message: bool (k, k), True for "they differ"."""
    weights = answer(photos, words)
    if not isinstance(weights, (tuple, list)) or len(weights) != 4:
        raise AnswerRaised("does not return the four weights (W1, b1, w2, b2)")
    shapes = {"W1": (2, photos.shape[1] + words.shape[1]), "b1": (2,), "w2": (2,), "b2": ()}
    for one, (name, wanted) in zip(weights, shapes.items(), strict=True):
        if not isinstance(one, torch.Tensor):
            raise AnswerRaised(f"returns {name} as {kind_of(one)}, and a tensor of shape {wanted} is wanted,")
        if one.shape != wanted:
            raise AnswerRaised(f"returns {name} of shape {tuple(one.shape)}, and {wanted} is wanted,")
    W1, b1, w2, b2 = (one.to(photos.dtype) for one in weights)
    k = len(photos)
    joint = torch.cat([photos.repeat_interleave(k, 0), words.repeat(k, 1)], dim=1)  # (k · k, n + m)
    logit = (joint @ W1.T + b1).relu() @ w2 + b2
    return (logit > 1e-6).reshape(k, k)


@exercise("06.5", "Two hidden units are enough", minutes=30, points=4, difficulty=5, call=_decide)
def comparing_head(photos, words):
    number = torch.arange(len(photos), dtype=photos.dtype)  # colour c gets the number c
    read_photo = torch.linalg.pinv(photos) @ number  # (n,): photos @ read_photo = 0, 1, 2, …
    read_words = torch.linalg.pinv(words) @ number  # (m,)
    difference = torch.cat([read_photo, -read_words])  # (n + m,): c − d
    W1 = torch.stack([difference, -difference])  # relu(c − d) + relu(d − c) = |c − d|
    b1 = torch.zeros(2, dtype=photos.dtype)
    w2 = torch.ones(2, dtype=photos.dtype)
    b2 = torch.tensor(-0.5, dtype=photos.dtype)
    return W1, b1, w2, b2


@comparing_head.cases
def _(draw):
    for k, n, m in ((4, 6, 5), (2, 3, 4), (6, 6, 8)):
        about = f"{k} colours, features of {n} and {m} numbers"
        yield case(draw.normal(k, n), draw.normal(k, m), about=about)
    photos = torch.cat([torch.zeros(3, 3, dtype=torch.float64), draw.normal(3, 3)], 1)
    yield case(photos, draw.normal(3, 4), about="photos whose first three numbers are all 0")


def _numbers(photos, words, photo=1.0, message=-1.0, units=(1.0, -1.0), out=(1.0, 1.0), bias=-0.5,
             name=lambda number: number, of_words=lambda number: number,
             solve=lambda rows, number: torch.linalg.pinv(rows) @ number):
    """The head with every part that a learner may get wrong as an argument."""
    number = name(torch.arange(len(photos), dtype=photos.dtype))
    read = [solve(photos, number), solve(words, of_words(number))]
    both = torch.cat([photo * read[0], message * read[1]])
    W1 = torch.stack([unit * both for unit in units])
    zeros = torch.zeros(2, dtype=photos.dtype)
    return W1, zeros, zeros + torch.tensor(out, dtype=photos.dtype), torch.tensor(bias, dtype=photos.dtype)


for _sentence, _slip in {
    "Your head answers the other way round: its logit is positive where the colours are equal.": {
        "out": (-1.0, -1.0), "bias": 0.5
    },
    "Your head sees a difference only where the photo's number is the larger one: relu keeps one sign of it, "
    "so the other sign needs the second unit.": {"units": (1.0, 1.0)},
    "Your head sees a difference only where the message's number is the larger one: relu keeps one sign of "
    "it, so the other sign needs the second unit.": {"units": (-1.0, -1.0)},
    "Your head says \"they differ\" to every pair: what does its logit say where the numbers are equal?": {
        "out": (0.0, 0.0), "bias": 0.5
    },
    "Your head misses colours whose numbers differ by 1: there |c − d| = 1, and the biases take as much "
    "away; take less.": {"bias": -1.0},
    "Your head says \"equal\" to every pair.": {"out": (0.0, 0.0), "bias": -0.5},
    "You add the two numbers: the difference c − d is what is zero for equal colours.": {"message": 1.0},
    "The second unit is subtracted: relu(s) − relu(−s) is s itself, so the head is linear again.": {
        "out": (1.0, -1.0)
    },
    "Your head reads only the photo: the message has no weight.": {"message": 0.0},
    "The transpose stands where the pseudo-inverse is wanted: photos @ photos.T is not the unit matrix.": {
        "solve": lambda rows, number: rows.T @ number
    },
    "The words are numbered the other way round than the photos: a colour has one number in both.": {
        "of_words": lambda number: number.flip(0)
    },
    "Some colours share a number: k colours need k different ones.": {"name": lambda number: number % 2},
    "All colours but the first share a number: k colours need k different ones.": {
        "name": lambda number: number.clamp(max=1)
    },
    "Your head reads only the message: the photo has no weight.": {"photo": 0.0},
}.items():
    comparing_head.mistake(_sentence)(lambda photos, words, slip=_slip: _numbers(photos, words, **slip))
