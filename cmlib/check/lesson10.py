"""Exercises of lesson 10: metric learning, Siamese and triplet."""

from math import comb

import torch

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


# 10.1 -------------------------------------------------------------------------------------------------------
@exercise("10.1", "Recall with ties and duplicates", minutes=18, points=3, difficulty=4)
def recall_with_ties(similarity, relevant, k):
    chances = []
    for scores, wanted in zip(similarity, relevant, strict=True):
        best = scores[wanted].max()  # of the relevant rows
        above = int((scores > best).sum())
        tied = int((scores == best).sum())
        mates = int(((scores == best) & wanted).sum())
        left = min(max(k - above, 0), tied)  # places for those that tie
        missed = comb(tied - mates, left) / comb(tied, left)
        chances.append(1 - missed)
    return torch.tensor(chances, dtype=torch.float64).mean()


@recall_with_ties.cases
def _(draw):
    def random(queries, gallery, values, k, about):
        similarity = draw.integers(values, queries, gallery).double()
        relevant = draw.uniform(queries, gallery) < 0.35
        relevant[torch.arange(queries), draw.integers(gallery, queries)] = True
        return case(similarity, relevant, k, about=about)

    yield telling(recall_with_ties, lambda: random(7, 10, 4, 2, "many ties, k = 2"))
    yield telling(recall_with_ties, lambda: random(7, 7, 5, 2, "as many queries as rows, k = 2"))
    yield random(5, 9, 3, 4, "ties that fill the first 4 places")
    # one relevant row each, of as many rows as queries
    n = int(draw.integers(4, 1)) + 5
    yield case(torch.ones(n, n).double(), torch.eye(n).bool(), 1, about="a model that gives one score to all")
    scores = draw.normal(6, 5)
    yield case(scores, scores == scores.gather(1, draw.integers(5, 6, 1)), 1, about="scores without ties")


def _rows(similarity, relevant):
    """(scores, wanted, best relevant score, rows above it, rows that tie with it, relevant ones of those)."""
    for scores, wanted in zip(similarity, relevant, strict=True):
        best = scores[wanted].max()
        ties = scores == best
        yield scores, wanted, int((scores > best).sum()), int(ties.sum()), int((ties & wanted).sum())


def _mean(chances):
    return torch.tensor([float(chance) for chance in chances], dtype=torch.float64).mean()


@recall_with_ties.mistake(
    "You give every tie to the relevant row: a model that says the same to all would find everything. A tie "
    "is broken at random."
)
def _(similarity, relevant, k):
    return _mean(above < k for _, _, above, _, _ in _rows(similarity, relevant))


@recall_with_ties.mistake("You give every tie to the other rows. A tie is broken at random.")
def _(similarity, relevant, k):
    return _mean(above + tied - mates < k for _, _, above, tied, mates in _rows(similarity, relevant))


@recall_with_ties.mistake(
    "You look for your own row alone: a duplicate of it is as right. relevant says which rows are."
)
def _(similarity, relevant, k):
    own = torch.eye(*similarity.shape).bool()
    return recall_with_ties.reference(similarity, own, k)


@recall_with_ties.mistake("You look for the first relevant row alone; any of the relevant rows will do.")
def _(similarity, relevant, k):
    first = torch.nn.functional.one_hot(relevant.int().argmax(1), relevant.shape[1]).bool()
    return recall_with_ties.reference(similarity, first, k)


@recall_with_ties.mistake(
    "The relevant rows that tie count as one: each of them is a chance more. A query misses only if none of "
    "them comes into the places that are left."
)
def _(similarity, relevant, k):
    return _mean(min(max(k - above, 0), tied) / tied for _, _, above, tied, _ in _rows(similarity, relevant))


@recall_with_ties.mistake(
    "You add the chances of the relevant rows that tie; two of them may both come in, and count once. Take "
    "the probability that none does."
)
def _(similarity, relevant, k):
    return _mean(min(1.0, mates * min(max(k - above, 0), tied) / tied)
                 for _, _, above, tied, mates in _rows(similarity, relevant))


@recall_with_ties.mistake(
    "You draw with replacement: the same row cannot take two places. Count the ways, with C(n, k)."
)
def _(similarity, relevant, k):
    return _mean(1 - ((tied - mates) / tied) ** min(max(k - above, 0), tied)
                 for _, _, above, tied, mates in _rows(similarity, relevant))


@recall_with_ties.mistake(
    "The place in the gallery breaks your ties: the first of those that tie comes first. Then the order of "
    "the rows decides the score."
)
def _(similarity, relevant, k):
    order = similarity.argsort(dim=1, descending=True, stable=True)[:, :k]
    return relevant.gather(1, order).any(1).double().mean()


@recall_with_ties.mistake(
    "topk breaks your ties by where a row happens to stand, and the score hangs on that. A tie is broken at "
    "random: count in expectation."
)
def _(similarity, relevant, k):
    return relevant.gather(1, similarity.topk(k, dim=1).indices).any(1).double().mean()


@recall_with_ties.mistake(
    "You look at the diagonal, your own row, and give it every tie: relevant says which rows are right, and "
    "a tie is broken at random."
)
def _(similarity, relevant, k):
    n = min(similarity.shape)
    return ((similarity[:n] > similarity.diagonal()[:, None]).sum(1) < k).double().mean()


@recall_with_ties.mistake(
    "All relevant rows of a query count as mates; only those that tie with the best of them stand in the tie."
)
def _(similarity, relevant, k):
    chances = []
    for _, wanted, above, tied, _ in _rows(similarity, relevant):
        left = min(max(k - above, 0), tied)
        chances.append(1 - comb(max(tied - int(wanted.sum()), 0), left) / comb(tied, left))
    return _mean(chances)


@recall_with_ties.mistake("You ask for the worst of the relevant rows; the best of them is enough.")
def _(similarity, relevant, k):
    worst = similarity.masked_fill(~relevant, torch.inf).amin(1, keepdim=True)
    return recall_with_ties.reference(similarity, relevant & (similarity == worst), k)


@recall_with_ties.mistake("You look at the smallest scores first; a larger similarity is nearer.")
def _(similarity, relevant, k):
    return recall_with_ties.reference(-similarity, relevant, k)


@recall_with_ties.mistake(
    "All k places are drawn from the rows that tie; those that are strictly better have taken some of them."
)
def _(similarity, relevant, k):
    return _mean(1 - comb(tied - mates, min(k, tied)) / comb(tied, min(k, tied))
                 for _, _, _, tied, mates in _rows(similarity, relevant))


def _share_in_order(similarity, relevant, k):
    order = similarity.argsort(dim=1, descending=True, stable=True)[:, :k]
    return (relevant.gather(1, order).sum(1) / relevant.sum(1)).double().mean()


def _share_of_topk(similarity, relevant, k):
    return (relevant.gather(1, similarity.topk(k, dim=1).indices).sum(1) / relevant.sum(1)).double().mean()


def _share_expected(similarity, relevant, k):
    shares = []
    for scores, wanted in zip(similarity, relevant, strict=True):
        above = (scores[None] > scores[wanted][:, None]).sum(1)  # of each relevant row
        tied = (scores[None] == scores[wanted][:, None]).sum(1)
        shares.append(((k - above) / tied).clamp(0, 1).mean())
    return _mean(shares)


for _slip in (_share_in_order, _share_of_topk, _share_expected):
    recall_with_ties.mistake(
        "This is the share of the relevant rows that come among the first k, as recall counts in a search "
        "for documents; asked is whether any of them does."
    )(_slip)


for _sentence, _chance in {
    "This is the chance that exactly one of the relevant rows that tie comes in; two do as well. Take the "
    "probability that none does.": lambda above, tied, mates, left: (
        mates * comb(tied - mates, left - 1) / comb(tied, left) if left else 0),
    "`tied` counts all rows that tie with the best relevant one, the relevant ones among them.":
        lambda above, tied, mates, left: min(left, tied - mates + 1) / (tied - mates + 1),
    "You draw once where places are left: as many of the tied rows come in as there are places.":
        lambda above, tied, mates, left: mates / tied if left else 0,
}.items():
    @recall_with_ties.mistake(_sentence)
    def _(similarity, relevant, k, chance=_chance):
        return _mean(chance(above, tied, mates, min(max(k - above, 0), tied))
                     for _, _, above, tied, mates in _rows(similarity, relevant))


@recall_with_ties.mistake("You compare with the best score of all rows; take the best of the relevant ones.")
def _(similarity, relevant, k):
    first = similarity == similarity.amax(1, keepdim=True)
    chances = []
    for tied, mates in zip(first.sum(1).tolist(), (first & relevant).sum(1).tolist(), strict=True):
        chances.append(1 - comb(tied - mates, min(k, tied)) / comb(tied, min(k, tied)))
    return _mean(chances)


@recall_with_ties.mistake(
    "You average over all relevant rows, so that a query with many of them counts often: average over the "
    "queries, each of which is found by its best relevant row."
)
def _(similarity, relevant, k):
    above = (similarity[:, None] > similarity[:, :, None]).sum(2)  # (queries, gallery): of each row
    tied = (similarity[:, None] == similarity[:, :, None]).sum(2)
    return ((k - above) / tied.double()).clamp(0, 1)[relevant].mean()


@recall_with_ties.mistake("Your queries are the columns: row i holds the scores of query i.")
def _(similarity, relevant, k):
    asked = relevant.any(0)
    return recall_with_ties.reference(similarity.T[asked], relevant.T[asked], k)


@recall_with_ties.mistake("This is the probability of a miss; the probability of a find is wanted.")
def _(similarity, relevant, k):
    return 1 - recall_with_ties.reference(similarity, relevant, k)


# 10.2 -------------------------------------------------------------------------------------------------------
@exercise("10.2", "Distances of all pairs", minutes=12, points=2, difficulty=3, grad=(0, 1))
def pair_distances(a, b):
    difference = a[:, None] - b[None, :]  # (n, m, size)
    square = difference.square().sum(dim=2)  # (n, m)
    apart = square > 0
    safe = torch.where(apart, square, torch.ones_like(square))
    return torch.where(apart, safe.sqrt(), torch.zeros_like(square))


@pair_distances.cases
def _(draw):
    # small rows, of which a small number that is added shows in every distance
    yield telling(pair_distances, lambda: case(draw.normal(4, 3) / 10, draw.normal(5, 3) / 10,
                                               about="random rows"),
                  hides=("raise the square", "come out at 1", "not equal"))
    yield case(draw.normal(3, 4) / 10, draw.normal(3, 4) / 10, about="as many rows of each")
    yield case(draw.uniform(2, 1) / 10, 0.3 + draw.uniform(6, 1) / 10, about="rows of one number")
    # whole numbers, so that every way to compute a square is exact, and the gradient is looked at alone
    a, b = draw.integers(7, 4, 3, low=-3).double(), draw.integers(7, 5, 3, low=-3).double()
    place = int(draw.integers(5, 1))
    b[place] = a[1]
    yield case(a, b, about="a row of a that is also a row of b")
    # torch.cdist multiplies matrices from 26 rows on
    a = draw.normal(60, 20) + 100
    yield case(a, a[draw.uniform(60).argsort()], about=(
        "60 equal rows far from 0, where |a|² + |b|² − 2 a·b has lost the digits that should cancel (so has "
        "torch.cdist from 26 rows on): subtract before you square"))
    a = draw.normal(4, 3)
    # as near as the rounding of |a|² is: multiplied out, the distance is lost with every draw
    yield case(a, a.flip(0) + 1e-8 * draw.normal(4, 3), about="rows that lie 1e-8 apart and are not equal")


def _squares(a, b):
    return (a[:, None] - b).square().sum(2)


for _sentence, _slip in {
    "These are the squares of the distances; take the root.": _squares,
    "You add absolute differences; the Euclidean distance is the root of the summed squares.":
        lambda a, b: (a[:, None] - b).abs().sum(2),
    "This is the table on its side: row i belongs to row i of a, column j to row j of b.":
        lambda a, b: torch.cdist(b, a),
    "You average the squares over the numbers of a row; add them up.":
        lambda a, b: (a[:, None] - b).square().mean(2).sqrt(),
    "You add a small number under the root or raise the square to it: equal rows are at a distance of "
    "exactly 0. Keep the root away from 0 with torch.where, and put the 0 back.":
        lambda a, b: _squares(a, b).clamp(min=1e-12).sqrt(),
    "Your small number changes every distance: equal rows are at a distance of exactly 0, and the others are "
    "what they are. Use torch.where.": lambda a, b: (_squares(a, b) + 1e-6).sqrt(),
    "Equal rows come out at 1: what the root sees in the place of 0 is put back to exactly 0 outside.":
        lambda a, b: torch.where(_squares(a, b) > 0, _squares(a, b), 1).sqrt(),
    "This is the cosine distance, 1 − cos, which knows directions only; take the length of the difference.":
        lambda a, b: 1 - torch.nn.functional.normalize(a, dim=1) @ torch.nn.functional.normalize(b, dim=1).T,
    "The cross term is there once: |a − b|² = |a|² + |b|² − 2 a·b.":
        lambda a, b: (a.square().sum(1)[:, None] + b.square().sum(1) - a @ b.T).clamp(min=0).sqrt(),
    "These are dot products: large where rows are alike. A distance is large where they differ.":
        lambda a, b: a @ b.T,
    "pairwise_distance adds a small number to every difference: equal rows are at a distance of exactly 0, "
    "and the others are what they are.":
        lambda a, b: torch.nn.functional.pairwise_distance(a[:, None], b[None]),
    "2 − 2 a·b is the square for rows of length 1 alone; these have other lengths.":
        lambda a, b: (2 - 2 * a @ b.T).clamp(min=0).sqrt(),
    "The rows are brought to length 1 first; take them as they are.":
        lambda a, b: torch.cdist(*(torch.nn.functional.normalize(x, dim=1) for x in (a, b))),
}.items():
    pair_distances.mistake(_sentence)(_slip)

for _least in (1e-14, 1e-12, 1e-10, 1e-9, 1e-8, 1e-6):
    @pair_distances.mistake(
        "The root of a small number is taken away again: equal rows are right then, and all others too near. "
        "Use torch.where."
    )
    def _(a, b, least=_least):
        return (_squares(a, b) + least).sqrt() - least**0.5

    @pair_distances.mistake(
        "Rows that lie very near each other are not equal: only a square of exactly 0 is kept from the root."
    )
    def _(a, b, least=_least):
        return torch.where(_squares(a, b) > least, _squares(a, b), 0).sqrt()


# 10.3 -------------------------------------------------------------------------------------------------------
@exercise("10.3", "The batch-hard triplet loss", minutes=15, points=3, difficulty=3, grad=(0,))
def batch_hard(square, labels, margin):
    losses = []
    for own, label in zip(square, labels, strict=True):  # an anchor's distances to all rows
        furthest = own[labels == label].max()
        nearest = own[labels != label].min()
        losses.append((furthest - nearest + margin).clamp(min=0))
    return torch.stack(losses).mean()


@batch_hard.cases
def _(draw):
    def random(n, names, margin, about):
        labels = torch.cat([torch.arange(names), draw.integers(names, n - names)])
        labels = labels[draw.uniform(n).argsort()]
        return case(2 * draw.uniform(n, n), labels, margin, about=about)

    for n, names, margin, about in ((8, 3, 0.2, "eight rows of three toys"),
                                    (7, 4, 0.6, "seven rows of four toys, a wide margin")):
        yield telling(batch_hard, lambda n=n, names=names, margin=margin, about=about:
                      random(n, names, margin, about))
    yield random(2, 2, 0.5, "two rows of two toys")
    far = torch.full((4, 4), 9.0).double() + draw.uniform(4, 4)
    far[torch.arange(4), torch.arange(4)] = draw.uniform(4)
    violated = far.clone()
    violated[0, 1] = 0.0
    yield case(violated, torch.arange(4), 0.3, about="a batch in which one anchor alone is violated")


def _hard(square, labels, margin, positive=None, pick=torch.amax, negative=None, other=torch.amin):
    same = labels[:, None] == labels
    positive, negative = same if positive is None else positive, ~same if negative is None else negative
    low, high = (torch.inf if f is torch.amin else -torch.inf for f in (pick, other))
    own = pick(torch.where(positive, square, low), 1)
    return own, other(torch.where(negative, square, high), 1)


def _over_violated(loss):
    return loss.sum() / (loss > 0).sum().clamp(min=1)


def _mean_of(square, which):
    return torch.where(which, square, 0).sum(1) / which.sum(1)


def _own(square):
    return torch.eye(len(square), dtype=torch.bool)


def _without_own(square, labels, margin):
    """The own pair only where there is no other positive."""
    mates = (labels[:, None] == labels) & ~_own(square)
    mates = mates | (_own(square) & ~mates.any(1, keepdim=True))
    return (torch.sub(*_hard(square, labels, margin, positive=mates)) + margin).clamp(min=0).mean()


for _sentence, _slip in {
    "You take the nearest positive of each anchor; the hardest positive is the furthest.":
        lambda s, y, m: (torch.sub(*_hard(s, y, m, pick=torch.amin)) + m).clamp(min=0).mean(),
    "You take the furthest negative; the hardest negative is the nearest.":
        lambda s, y, m: (torch.sub(*_hard(s, y, m, other=torch.amax)) + m).clamp(min=0).mean(),
    "Furthest and nearest are exchanged: the hardest positive is the furthest, and the hardest negative the "
    "nearest.": lambda s, y, m: (torch.sub(*_hard(s, y, m, pick=torch.amin, other=torch.amax))
                                 + m).clamp(min=0).mean(),
    "You take roots: square holds squared distances already, and the margin counts in squares.":
        lambda s, y, m: (torch.sub(*_hard(s.sqrt(), y, m)) + m).clamp(min=0).mean(),
    "A softplus is never 0: it moves fulfilled triples as well. Clamp at 0.":
        lambda s, y, m: torch.nn.functional.softplus(torch.sub(*_hard(s, y, m)) + m).mean(),
    "The own pair is missing among your positives: the diagonal belongs together as well.": _without_own,
    "The anchor's own pair is dropped, and an anchor that has no other positive costs you 0: the own pair is "
    "a positive.": lambda s, y, m: (torch.sub(*_hard(s, y, m, positive=(y[:, None] == y) & ~_own(s)))
                                  + m).clamp(min=0).mean(),
    "Only the own pair is your positive: every row with the anchor's label is one, and the furthest counts.":
        lambda s, y, m: (torch.sub(*_hard(s, y, m, positive=_own(s))) + m).clamp(min=0).mean(),
    "Every row but the own one is your negative, those with the anchor's label among them: those are false "
    "negatives.": lambda s, y, m: (torch.sub(*_hard(s, y, m, negative=~_own(s))) + m).clamp(min=0).mean(),
    "The margin is subtracted: a negative must be further away than the positive by the margin, so it is "
    "added.": lambda s, y, m: (torch.sub(*_hard(s, y, m)) - m).clamp(min=0).mean(),
    "The margin is missing.": lambda s, y, m: torch.sub(*_hard(s, y, m)).clamp(min=0).mean(),
    "Positive and negative are exchanged: the loss falls when the negative moves away.":
        lambda s, y, m: (m - torch.sub(*_hard(s, y, m))).clamp(min=0).mean(),
    "The loss of a triple is never below 0: clamp each anchor's before you average.":
        lambda s, y, m: (torch.sub(*_hard(s, y, m)) + m).mean(),
    "You clamp the mean; clamp each anchor's loss, so that what is fulfilled does not pay for what is not.":
        lambda s, y, m: (torch.sub(*_hard(s, y, m)) + m).mean().clamp(min=0),
    "The margin is added after the clamp: a triple whose negative is far enough away still costs it.":
        lambda s, y, m: (torch.sub(*_hard(s, y, m)).clamp(min=0) + m).mean(),
    "You average over the violated anchors; batch-hard is the mean over all anchors.":
        lambda s, y, m: _over_violated((torch.sub(*_hard(s, y, m)) + m).clamp(min=0)),
    "The loss is the sum over the anchors; take the mean.":
        lambda s, y, m: (torch.sub(*_hard(s, y, m)) + m).clamp(min=0).sum(),
    "Your anchors are the columns: row i holds the distances of anchor i.":
        lambda s, y, m: (torch.sub(*_hard(s.T, y, m)) + m).clamp(min=0).mean(),
    "Masking by a product leaves zeros, and a zero is the nearest of all: fill what does not count with "
    "infinity.": lambda s, y, m: ((s * (y[:, None] == y)).amax(1) - (s * (y[:, None] != y)).amin(1)
                                  + m).clamp(min=0).mean(),
    "One positive and one negative serve the whole batch: each anchor has its own.":
        lambda s, y, m: (s[y[:, None] == y].max() - s[y[:, None] != y].min() + m).clamp(min=0),
    "The mean of the negatives stands where the hardest is wanted, the nearest.": lambda s, y, m: (
        _hard(s, y, m)[0] - _mean_of(s, y[:, None] != y) + m).clamp(min=0).mean(),
    "The mean of the positives stands where the hardest is wanted, the furthest.": lambda s, y, m: (
        _mean_of(s, y[:, None] == y) - _hard(s, y, m)[1] + m).clamp(min=0).mean(),
    "A loss below 0 is turned round: a fulfilled triple costs 0. Clamp, and take no absolute value.":
        lambda s, y, m: (torch.sub(*_hard(s, y, m)) + m).abs().mean(),
    "You average over both directions: here the anchors are the rows alone.":
        lambda s, y, m: sum((torch.sub(*_hard(x, y, m)) + m).clamp(min=0).mean() for x in (s, s.T)) / 2,
    "What you fill in is chosen: it has to lose, so −∞ stands before a maximum and +∞ before a minimum.":
        lambda s, y, m: s.mean() + torch.inf,
    "This is the mean over all triples; each anchor keeps its hardest one.":
        lambda s, y, m: (s[:, :, None] - s[:, None] + m).clamp(min=0)[
            (y[:, None] == y)[:, :, None] & (y[:, None] != y)[:, None]].mean(),
}.items():
    batch_hard.mistake(_sentence)(
        lambda square, labels, margin, slip=_slip: slip(square, labels, margin)
    )


# 10.4 -------------------------------------------------------------------------------------------------------
@exercise("10.4", "The semi-hard negatives", minutes=10, points=2, difficulty=2)
def semi_hard(square, labels, margin):
    own = square.diagonal()[:, None]  # (n, 1): each anchor's own partner
    different = labels[:, None] != labels[None, :]
    further = square > own
    inside = square < own + margin
    return different & further & inside


@semi_hard.cases
def _(draw):
    def random(n, names, margin, about):
        return case(2 * draw.uniform(n, n), draw.integers(names, n), margin, about=about)

    def whole():
        return case(draw.integers(8, 8, 8).double(), draw.integers(4, 8), 3.0,
                    about="whole numbers, where negatives stand exactly on the bounds")

    open_bounds = (" open: a negative",)  # no two random numbers are equal
    yield telling(semi_hard, lambda: random(8, 4, 0.5, "eight pairs of four toys"), hides=open_bounds)
    yield telling(semi_hard, lambda: random(6, 3, 0.8, "six pairs of three toys"), hides=open_bounds)
    yield telling(semi_hard, whole)
    square = draw.uniform(3, 3, low=1.0, high=2.0)
    yield case(square, torch.zeros(3, dtype=torch.int64), 1.0, about="a batch of one toy alone")


def _semi(select):
    """A slip in how the three conditions are joined: another toy, further than the own pair, inside the
    margin.
    """
    def slip(square, labels, margin):
        own = square.diagonal()[:, None]
        return select(labels[:, None] != labels, square > own, square < own + margin)
    return slip


def _between(square, low, margin):
    return (square > low) & (square < low + margin)


def _closed(square, margin, low, high):
    """Semi-hard with a bound that belongs to it."""
    gap = square - square.diagonal()[:, None]
    return (gap >= 0 if low else gap > 0) & (gap <= margin if high else gap < margin)


def _nearest_only(square, labels, margin):
    mask = semi_hard.reference(square, labels, margin)
    return mask & (square == square.masked_fill(~mask, 9e9).amin(1, keepdim=True))


def _furthest_positive(square, labels):
    return square.masked_fill(labels[:, None] != labels, -1).amax(1, keepdim=True)


def _mean_positive(square, labels):
    same = labels[:, None] == labels
    return (torch.where(same, square, 0).sum(1) / same.sum(1))[:, None]


for _sentence, _slip in {
    "Rows that show the anchor's own toy are among your negatives: compare the labels, not the places.":
        _semi(lambda different, further, inside: further & inside),
    "Negatives that are nearer than the positive are in it: those are the hard ones. Semi-hard ones are "
    "further away than the positive.": _semi(lambda different, further, inside: different & inside),
    "Negatives beyond the margin are in it: they are not violated, so they move nothing.":
        _semi(lambda different, further, inside: different & further),
    "These are the hard negatives, nearer than the positive; the semi-hard ones lie behind it.":
        lambda s, y, m: (y[:, None] != y) & (s < s.diagonal()[:, None]),
    "This keeps the rows with the anchor's label and drops the others.":
        _semi(lambda different, further, inside: ~different & further & inside),
    "This is everything that is not semi-hard.":
        _semi(lambda different, further, inside: ~(different & further & inside)),
    "The own distance of a column is compared: the anchor is the row, and so is its own pair.":
        lambda s, y, m: (y[:, None] != y) & _between(s, s.diagonal(), m),
    "The margin counts from the positive, not from 0: below own + margin.":
        lambda s, y, m: (y[:, None] != y) & (s > s.diagonal()[:, None]) & (s < m),
    "The margin lies on the other side: a semi-hard negative is further away than the positive, by less than "
    "the margin.": lambda s, y, m: (y[:, None] != y) & _between(s, s.diagonal()[:, None] - m, m),
    "The bounds are open: a negative exactly as far as the positive, or exactly at the margin behind it, is "
    "not semi-hard.": lambda s, y, m: (y[:, None] != y) & _closed(s, m, True, True),
    "The lower bound is open: a negative exactly as far as the positive is not semi-hard.":
        lambda s, y, m: (y[:, None] != y) & _closed(s, m, True, False),
    "The upper bound is open: a negative exactly at the margin behind the positive is not semi-hard.":
        lambda s, y, m: (y[:, None] != y) & _closed(s, m, False, True),
    "You compare roots with the margin: take the squared distances as they are.":
        lambda s, y, m: (y[:, None] != y) & _between(s.sqrt(), s.diagonal()[:, None].sqrt(), m),
    "You keep one negative an anchor, the nearest; the mask holds all that are semi-hard.": _nearest_only,
    "The nearest row is your positive; here it is the own pair, on the diagonal.":
        lambda s, y, m: (y[:, None] != y) & _between(s, s.amin(1, keepdim=True), m),
    "The mean over the rows with the anchor's label is your positive; here it is the own pair, on the "
    "diagonal.": lambda s, y, m: (y[:, None] != y) & _between(s, _mean_positive(s, y), m),
    "Any row with the anchor's label may be your positive; here it is the own pair alone, on the diagonal.":
        lambda s, y, m: (y[:, None] != y) & (_between(s[:, None], s[:, :, None], m)
                                             & (y[:, None] == y)[:, :, None]).any(1),
    "The margin is added to the own distance, not multiplied by it.": lambda s, y, m: (
        y[:, None] != y) & (s > s.diagonal()[:, None]) & (s < s.diagonal()[:, None] * (1 + m)),
    "The distance from the own pair is taken without its sign: negatives nearer than the positive are hard, "
    "not semi-hard.": lambda s, y, m: (y[:, None] != y) & ((s - s.diagonal()[:, None]).abs() < m),
    "The two bounds are joined by \"or\", which every row fulfils: both have to hold.":
        _semi(lambda different, further, inside: different & (further | inside)),
    "Not one row is chosen. Does labels meet itself entry by entry? labels[:, None] != labels compares each "
    "with each.": lambda s, y, m: torch.zeros_like(s, dtype=torch.bool),
    "The furthest row with the anchor's label is your positive; here it is the own pair, on the diagonal.":
        lambda s, y, m: (y[:, None] != y) & _between(s, _furthest_positive(s, y), m),
}.items():
    semi_hard.mistake(_sentence)(
        lambda square, labels, margin, slip=_slip: slip(square, labels, margin)
    )


# 10.5 -------------------------------------------------------------------------------------------------------
@exercise("10.5", "What collapse costs", minutes=25, points=4, difficulty=4,
          names=("the distance", "the cost"))
def cheapest_collapse(margin, positives, negatives):
    share = positives / (positives + negatives)  # of the pairs that belong together
    distance = (1 - share) * margin
    cost = share * distance**2 + (1 - share) * (margin - distance) ** 2
    return distance, cost


@cheapest_collapse.cases
def _(draw):
    def random(about):
        margin = draw.uniform(1, low=0.3, high=3.0)[0]
        positives, negatives = draw.integers(30, 2, low=2).double()
        return case(margin, positives, negatives, about=about)

    yield telling(cheapest_collapse, lambda: random("a random batch"))
    yield telling(cheapest_collapse, lambda: random("another batch"))
    one = draw.uniform(1, low=0.5, high=2.0)[0]
    five = torch.tensor(5.0).double()
    yield case(one, five, five.clone(), about="as many pairs of each kind")
    size = draw.integers(90, 1, low=10)[0].double()
    yield case(one, size, size * (size - 1), about="one pair a row in a batch of many")


def _collapsed(distance):
    """What a batch costs in which every distance is that one."""
    def slip(margin, positives, negatives):
        share = positives / (positives + negatives)
        d = distance(margin, share)
        return d, share * d**2 + (1 - share) * (margin - d) ** 2
    return slip


for _sentence, _slip in {
    "The two shares are exchanged: the more pairs are to be apart, the nearer the distance is to the margin.":
        _collapsed(lambda m, q: q * m),
    "This is the best distance where both kinds weigh the same; here every pair weighs the same.":
        _collapsed(lambda m, q: m / 2),
    "At a distance of 0 the pairs that belong together cost nothing, and all others cost margin²: there is a "
    "cheaper one.": _collapsed(lambda m, q: 0 * m),
    "At the margin the others cost nothing; a little nearer is cheaper still. Set the derivative to 0.":
        _collapsed(lambda m, q: 1 * m),
    "The margin is multiplied by negatives over positives; the share of the negatives in all pairs counts.":
        lambda m, p, n: _collapsed(lambda m, q: m * (1 - q) / q)(m, p, n),
    "The share is taken of positives over negatives; take it of all pairs.":
        lambda m, p, n: _collapsed(lambda m, q: (1 - q) * m)(m, p, n - p),
}.items():
    cheapest_collapse.mistake(_sentence)(_slip)


@cheapest_collapse.mistake("The cost is the sum over the pairs; the loss is their mean.")
def _(margin, positives, negatives):
    distance, cost = cheapest_collapse.reference(margin, positives, negatives)
    return distance, cost * (positives + negatives)


@cheapest_collapse.mistake(
    "The cost adds the mean over each kind; here all pairs share one mean, each with the same weight."
)
def _(margin, positives, negatives):
    distance, _ = cheapest_collapse.reference(margin, positives, negatives)
    return distance, distance**2 + (margin - distance) ** 2


@cheapest_collapse.mistake(
    "This is the collapse of two means, one of each kind, added; here one mean goes over all pairs."
)
def _(margin, positives, negatives):
    return margin / 2, margin**2 / 2


@cheapest_collapse.mistake(
    "In the distance the two shares are exchanged: the more pairs are to be apart, the nearer to the margin."
)
def _(margin, positives, negatives):
    distance, cost = cheapest_collapse.reference(margin, positives, negatives)
    return margin - distance, cost


@cheapest_collapse.mistake("Your cost is that of the pairs that belong together; the others cost as well.")
def _(margin, positives, negatives):
    distance, _ = cheapest_collapse.reference(margin, positives, negatives)
    return distance, positives / (positives + negatives) * distance**2


@cheapest_collapse.mistake("Your cost is that of the pairs to be apart; the others cost something too.")
def _(margin, positives, negatives):
    distance, _ = cheapest_collapse.reference(margin, positives, negatives)
    return distance, negatives / (positives + negatives) * (margin - distance) ** 2


for _power in (0, 1):
    @cheapest_collapse.mistake(
        "One of the two shares is squared in your cost and the other gone: put the distance into both terms, "
        "and add."
    )
    def _(margin, positives, negatives, power=_power):
        distance, _ = cheapest_collapse.reference(margin, positives, negatives)
        share = (positives if power else negatives) / (positives + negatives)
        return distance, (share * margin) ** 2


@cheapest_collapse.mistake("The margin enters your cost once; both terms are squares, so margin² is wanted.")
def _(margin, positives, negatives):
    distance, cost = cheapest_collapse.reference(margin, positives, negatives)
    return distance, cost / margin


@cheapest_collapse.mistake(
    "You minimise distances that are not squared: then the cheapest one lies at an end, 0 or the margin. "
    "Both terms are squares, and their parabola has its lowest point between."
)
def _(margin, positives, negatives):
    share = positives / (positives + negatives)
    corner = margin * (share < 0.5)
    return corner, share * corner + (1 - share) * (margin - corner)


@cheapest_collapse.mistake("The distances are not squared in your cost: the contrastive loss squares both.")
def _(margin, positives, negatives):
    share = positives / (positives + negatives)
    distance = (1 - share) * margin
    return distance, share * distance + (1 - share) * (margin - distance)


@cheapest_collapse.mistake("The two numbers stand in the other order: first the distance, then the cost.")
def _(margin, positives, negatives):
    return cheapest_collapse.reference(margin, positives, negatives)[::-1]


@cheapest_collapse.mistake("This is what the triplet loss costs, the margin; asked is the contrastive loss.")
def _(margin, positives, negatives):
    return cheapest_collapse.reference(margin, positives, negatives)[0], margin * 1
