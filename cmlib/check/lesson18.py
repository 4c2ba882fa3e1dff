"""Exercises of lesson 18: search and tagging."""

import torch
from torch import nn
from torch.nn.functional import normalize

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


# 18.1 -------------------------------------------------------------------------------------------------------
@exercise("18.1", "Average precision with ties", minutes=20, points=3, difficulty=4)
def ap_with_ties(scores, relevant):
    total, ahead, found = 0.0, 0, 0
    for value in scores.unique().flip(0):  # the largest score first
        tied = scores == value
        n, r = int(tied.sum()), int(relevant[tied].sum())
        for place in range(1, n + 1):
            mates = (place - 1) * (r - 1) / (n - 1) if n > 1 else 0.0
            total = total + r / n * (found + 1 + mates) / (ahead + place)
        ahead, found = ahead + n, found + r
    return torch.tensor(total / found, dtype=torch.float64)


def _some(draw, rows):
    relevant = draw.bits(rows).bool()
    relevant[draw.integers(rows, 2)] = True
    return relevant


@ap_with_ties.cases
def _(draw):
    yield telling(ap_with_ties, lambda: case(
        draw.normal(9), _some(draw, 9), about="9 rows of which no two tie"), hides=("tie",))
    yield telling(ap_with_ties, lambda: case(
        draw.integers(4, 14).double(), _some(draw, 14), about="14 rows with four different scores"))
    yield case(torch.full((7,), 0.5, dtype=torch.float64), torch.arange(7) % 3 == 1,
               about="7 rows that all tie, two of them relevant")
    yield telling(ap_with_ties, lambda: case(
        draw.integers(3, 11).double() / 2, _some(draw, 11), about="11 rows with three different scores"))


def _ranked(scores, relevant, key=None):
    """Hits in the order of a stable sort by score, then by ``key``."""
    order = torch.arange(len(scores)) if key is None else key.argsort(stable=True)
    order = order[(-scores[order]).argsort(stable=True)]
    return relevant[order].double()


def _of_hits(hits):
    rank = torch.arange(1, len(hits) + 1, dtype=torch.float64)
    return (hits * hits.cumsum(0) / rank).sum() / hits.sum()


def _by_groups(scores, relevant, of_place):
    """The sum over places of ``of_place(place, n, r, ahead, found)``, divided by the relevant rows."""
    total, ahead, found = 0.0, 0, 0
    for value in scores.unique().flip(0):
        tied = scores == value
        n, r = int(tied.sum()), int(relevant[tied].sum())
        total = total + sum(of_place(place, n, r, ahead, found) for place in range(1, n + 1))
        ahead, found = ahead + n, found + r
    return torch.tensor(total / found, dtype=torch.float64)


def _mates(place, n, r):
    return (place - 1) * (r - 1) / (n - 1) if n > 1 else 0.0


for _sentence, _slip in {
    "Rows that tie stay in the order in which they are stored: whoever sorted the gallery decides the score. "
    "Take the mean over their orders.": lambda s, y: _of_hits(_ranked(s, y)),
    "Among rows that tie the relevant ones are put first, which is the best that could happen; the mean over "
    "all orders is wanted.": lambda s, y: _of_hits(_ranked(s, y, -y.double())),
    "Among rows that tie the relevant ones are put last, which is the worst that could happen; the mean over "
    "all orders is wanted.": lambda s, y: _of_hits(_ranked(s, y, y.double())),
    "All rows that tie get the precision at the last of them, as scikit-learn does it; the mean over their "
    "orders is wanted.": lambda s, y: _by_groups(
        s, y, lambda i, n, r, ahead, found: r / n * (found + r) / (ahead + n)),
    "All rows that tie get the mean of their ranks; the precision is not linear in the rank, so average over "
    "the places instead.": lambda s, y: _by_groups(
        s, y, lambda i, n, r, ahead, found: r / n * (found + (r + 1) / 2) / (ahead + (n + 1) / 2)),
    "Of the others that tie with a relevant row, r − 1 of n − 1 are relevant, and not r of n: it is one of "
    "them itself.": lambda s, y: _by_groups(
        s, y, lambda i, n, r, ahead, found: r / n * (found + 1 + (i - 1) * r / n) / (ahead + i)),
    "A place among rows that tie holds a relevant row only with the probability r/n: weigh its precision "
    "with it.": lambda s, y: _by_groups(
        s, y, lambda i, n, r, ahead, found: (r > 0) * (found + 1 + _mates(i, n, r)) / (ahead + i)),
    "At a place among rows that tie you take the expected number of relevant rows so far; where a relevant "
    "row stands there, it is one more than its mates before it, 1 + (i − 1)(r − 1)/(n − 1).":
        lambda s, y: _by_groups(
            s, y, lambda i, n, r, ahead, found: r / n * (found + i * r / n) / (ahead + i)),
    "Only the relevant rows that tie are counted as standing before a place; (i − 1) rows of the tie do, in "
    "places ahead + i.": lambda s, y: _by_groups(
        s, y, lambda i, n, r, ahead, found: (i <= r) * (found + i) / (ahead + i)),
    "Of the rows that tie with a relevant one none is counted before it, as if it were always the first of "
    "them; on average half of the others stand there.":
        lambda s, y: _by_groups(s, y, lambda i, n, r, ahead, found: r / n * (found + 1) / (ahead + 1)),
    "The relevant row itself is not counted among those found at its rank: 1 + what was found before it.":
        lambda s, y: _by_groups(
            s, y, lambda i, n, r, ahead, found: r / n * (found + _mates(i, n, r)) / (ahead + i)),
    "In place i of a tie i − 1 of its rows stand before, not i: the mates are (i − 1)(r − 1)/(n − 1).":
        lambda s, y: _by_groups(s, y, lambda i, n, r, ahead, found: r / n * (
            found + 1 + _mates(i + 1, n, r)) / (ahead + i)),
    "Of the rows that tie with a relevant one n − 1 are others: the share of its mates is (r − 1)/(n − 1), "
    "not (r − 1)/n.": lambda s, y: _by_groups(s, y, lambda i, n, r, ahead, found: r / n * (
        found + 1 + (i - 1) * (r - 1) / n) / (ahead + i)),
    "Of the rows that tie with a relevant one r − 1 are relevant, since it is no mate of itself: the share "
    "of its mates is (r − 1)/(n − 1), not r/(n − 1).":
        lambda s, y: _by_groups(s, y, lambda i, n, r, ahead, found: r / n * (
            found + 1 + (i - 1) * r / max(n - 1, 1)) / (ahead + i)),
    "Half of the mates are counted at every place of the tie; how many stand before it grows with the place.":
        lambda s, y: _by_groups(s, y, lambda i, n, r, ahead, found: r / n * (
            found + 1 + (r - 1) / 2) / (ahead + i)),
    "A place among rows that tie holds a relevant row with the probability r/n, not 1/n: r of them are.":
        lambda s, y: _by_groups(s, y, lambda i, n, r, ahead, found: (r > 0) / n * (
            found + 1 + _mates(i, n, r)) / (ahead + i)),
    "A place among rows of equal score holds a relevant row with the probability r/n, not 1/n, and never "
    "where r is 0.": lambda s, y: _by_groups(s, y, lambda i, n, r, ahead, found: (
        found + 1 + _mates(i, n, r)) / n / (ahead + i)),
    "The rank is a place among all rows, ahead + i: you divide by the place among rows of equal score.":
        lambda s, y: _by_groups(
            s, y, lambda i, n, r, ahead, found: r / n * (found + 1 + _mates(i, n, r)) / i),
    "The relevant rows of the better scores are left out: they are among the first rows, too.":
        lambda s, y: _by_groups(
            s, y, lambda i, n, r, ahead, found: r / n * (1 + _mates(i, n, r)) / (ahead + i)),
    "This is halfway between the best and the worst order of rows that tie; the mean over all orders is "
    "another number.": lambda s, y: (_of_hits(_ranked(s, y, -y.double()))
                                     + _of_hits(_ranked(s, y, y.double()))) / 2,
    "Ranks begin at 1: the first row has one row to its rank, and no division by 0.":
        lambda s, y: _by_groups(
            s, y, lambda i, n, r, ahead, found:
                r / n * (found + 1 + _mates(i, n, r)) / max(ahead + i - 1, 1)),
    "The mates of a relevant row before it in its tie are left out: (i − 1)(r − 1)/(n − 1) of them.":
        lambda s, y: _by_groups(s, y, lambda i, n, r, ahead, found: r / n * (found + 1) / (ahead + i)),
    "Only the relevant rows of the better scores move the rank: all rows that came before do.":
        lambda s, y: _by_groups(
            s, y, lambda i, n, r, ahead, found: r / n * (found + 1 + _mates(i, n, r)) / (found + i)),
    "Both counts move on too early: at a place only the rows of better scores have come before.":
        lambda s, y: _by_groups(s, y, lambda i, n, r, ahead, found: r / n * (
            found + r + 1 + _mates(i, n, r)) / (ahead + n + i)),
    "A score that no relevant row has is passed over, and its rows are not counted: they, too, stand before "
    "the others.": lambda s, y: ap_with_ties.reference(s[torch.isin(s, s[y])], y[torch.isin(s, s[y])]),
    "Only the first relevant row counts, which is the reciprocal rank; all of them are averaged.":
        lambda s, y: 1 / (1 + _ranked(s, y).argmax().double()),
    "This is the share of relevant rows in the gallery, whatever the scores say.":
        lambda s, y: y.double().mean(),
}.items():
    ap_with_ties.mistake(_sentence)(_slip)


def _in_stored_order(scores, relevant):
    return _of_hits(_ranked(scores, relevant))


def _over_all_ranks(scores, relevant):
    hits = _ranked(scores, relevant)
    return (hits.cumsum(0) / torch.arange(1, len(hits) + 1)).mean()


# Who makes one of these may have thought of ties, or not.
for _ap in (ap_with_ties.reference, _in_stored_order):
    for _sentence, _slip in {
        "The smallest score is taken for the nearest: sort from the largest to the smallest.":
            lambda s, y, ap: ap(-s, y),
        "The sum is divided by all rows of the gallery; divide by the number of relevant rows.":
            lambda s, y, ap: ap(s, y) * y.sum() / len(y),
        "The sum is not divided by the number of relevant rows.": lambda s, y, ap: ap(s, y) * y.sum(),
    }.items():
        ap_with_ties.mistake(_sentence)(lambda scores, relevant, ap=_ap, slip=_slip: slip(
            scores, relevant, ap))
for _per in (lambda y: 1, lambda y: y.sum() / len(y)):  # divided by the relevant rows, or by this wrong count
    ap_with_ties.mistake("All rows of better scores count as found: only the relevant ones of them are.")(
        lambda s, y, per=_per: per(y) * _by_groups(
            s, y, lambda i, n, r, ahead, found: r / n * (ahead + 1 + _mates(i, n, r)) / (ahead + i)))
for _slip in (_over_all_ranks, lambda s, y: _by_groups(
        s, y, lambda i, n, r, ahead, found: (found + i * r / n) / (ahead + i)) * y.sum() / len(y)):
    ap_with_ties.mistake("Precision is averaged over all ranks; only the ranks at which a relevant row "
                         "stands count.")(_slip)


# 18.2 -------------------------------------------------------------------------------------------------------
@exercise("18.2", "Two tags of one thing", minutes=10, points=2, difficulty=2)
def tags_at_one_cell(color, kind):
    color, kind = torch.sigmoid(color), torch.sigmoid(kind)
    both = color[:, :, :, None] * kind[:, :, None, :]  # (photos, cells, colors, kinds)
    return both.max(dim=1).values


@tags_at_one_cell.cases
def _(draw):
    for photos, cells, colors, kinds in ((3, 5, 2, 4), (2, 6, 3, 3)):
        yield telling(tags_at_one_cell, lambda a=photos, b=cells, c=colors, d=kinds: case(
            2 * draw.normal(a, b, c), 2 * draw.normal(a, b, d),
            about=f"{a} photos of {b} cells, {c} colours and {d} kinds"))
    yield case(20 * draw.normal(1, 4, 2), 20 * draw.normal(1, 4, 3), about="cells that are very sure")


def _pairs(color, kind):
    return color.sigmoid()[:, :, :, None] * kind.sigmoid()[:, :, None, :]


for _sentence, _slip in {
    "You take the largest cell of each tag first, and then multiply: the colour may come from one toy and "
    "the kind from another. Multiply at each cell, then take the largest.":
        lambda c, k: c.sigmoid().amax(1)[:, :, None] * k.sigmoid().amax(1)[:, None, :],
    "The cells are averaged: one toy fills few cells, so take the largest.":
        lambda c, k: _pairs(c, k).mean(1),
    "The cells are added up: take the largest.": lambda c, k: _pairs(c, k).sum(1),
    "The logits are averaged over the cells before the sigmoid: look at each cell, then take the largest.":
        lambda c, k: c.mean(1).sigmoid()[:, :, None] * k.mean(1).sigmoid()[:, None, :],
    "A logsumexp over the cells is a soft largest, and of probabilities it is above 1: take the largest.":
        lambda c, k: _pairs(c, k).logsumexp(1),
    "Both tags are averaged over the cells before they are multiplied: multiply at each cell, then take the "
    "largest.": lambda c, k: c.sigmoid().mean(1)[:, :, None] * k.sigmoid().mean(1)[:, None, :],
    "The logits are multiplied: two logits of −3 would give 9. Take the sigmoid of each first.":
        lambda c, k: (c[:, :, :, None] * k[:, :, None, :]).amax(1),
    "The logits are multiplied before the sigmoid: two logits of −3 would give 9. Take the sigmoid of each "
    "first.": lambda c, k: (c[:, :, :, None] * k[:, :, None, :]).amax(1).sigmoid(),
    "The logits are added before the sigmoid, and the sum of a large and a small one is neither: multiply "
    "the two probabilities.": lambda c, k: (c[:, :, :, None] + k[:, :, None, :]).amax(1).sigmoid(),
    "The logits are added, and there is no sigmoid: multiply the two probabilities.":
        lambda c, k: (c[:, :, :, None] + k[:, :, None, :]).amax(1),
    "The two probabilities are added: both tags are wanted of the cell, so multiply them.":
        lambda c, k: (c.sigmoid()[:, :, :, None] + k.sigmoid()[:, :, None, :]).amax(1),
    "The two probabilities are averaged: both tags are wanted of the cell, so multiply them.":
        lambda c, k: (c.sigmoid()[:, :, :, None] + k.sigmoid()[:, :, None, :]).amax(1) / 2,
    "The smaller of the two probabilities is taken; here it is their product.":
        lambda c, k: torch.minimum(c.sigmoid()[:, :, :, None], k.sigmoid()[:, :, None, :]).amax(1),
    "The smallest cell is taken: a photo has a tag if one of its cells has it, so take the largest.":
        lambda c, k: _pairs(c, k).amin(1),
    "A softmax over the tags lets them compete; each tag is a yes or no, so take the sigmoid.":
        lambda c, k: (c.softmax(2)[:, :, :, None] * k.softmax(2)[:, :, None, :]).amax(1),
    "A softmax over the cells lets them compete; each cell says yes or no, so take the sigmoid.":
        lambda c, k: (c.softmax(1)[:, :, :, None] * k.softmax(1)[:, :, None, :]).amax(1),
    "These are the numbers of the cells that are largest; what they say is wanted: amax, not argmax.":
        lambda c, k: _pairs(c, k).argmax(1),
    "The chances of all cells are joined as if each were another toy, 1 − Π(1 − p); take the largest.":
        lambda c, k: 1 - (1 - _pairs(c, k)).prod(1),
    "The axes are exchanged: colours come first, kinds second.":
        lambda c, k: _pairs(c, k).amax(1).transpose(1, 2),
    "The cells that are largest for the colour are read for the kind as well: let each pair choose its "
    "own cell.": lambda c, k: torch.stack([
        (c.sigmoid()[torch.arange(len(c)), :, :].amax(1)[:, [j]] * k.sigmoid()[
            torch.arange(len(c)), c[:, :, j].argmax(1)]) for j in range(c.shape[2])], dim=1),
}.items():
    tags_at_one_cell.mistake(_sentence)(_slip)


# 18.3 -------------------------------------------------------------------------------------------------------
@exercise("18.3", "A threshold for each tag", minutes=12, points=2, difficulty=3)
def cheapest(probability, truth, candidates, cost_miss, cost_false):
    tagged = probability[:, :, None] >= candidates  # (rows, tags, candidates)
    missed = (~tagged & truth[:, :, None]).sum(dim=0)
    wrong = (tagged & ~truth[:, :, None]).sum(dim=0)
    cost = cost_miss * missed + cost_false * wrong  # (tags, candidates)
    return candidates[cost.argmin(dim=1)]


@cheapest.cases
def _(draw):
    def one(rows, tags, miss, false):
        truth = draw.bits(rows, tags).bool()
        p = (0.35 * truth + 0.65 * draw.uniform(rows, tags)).mul(10).round() / 10  # meets the candidates
        order = draw.uniform(9).argsort()
        return case(p, truth, torch.arange(1, 10, dtype=torch.float64)[order] / 10, miss, false,
                    about=f"{rows} rows and {tags} tags, a miss at {miss} and a false alarm at {false}")

    # powers of two, so that equal costs stay equal for whoever divides by the rows
    yield telling(cheapest, lambda: one(16, 6, 2.5, 1.0))
    yield telling(cheapest, lambda: one(32, 6, 1.0, 3.0))
    yield one(64, 9, 4.0, 1.0)
    yield case(draw.uniform(6, 2), torch.zeros(6, 2, dtype=torch.bool),
               torch.tensor([0.5, 2.0, 0.2], dtype=torch.float64), 1.0, 1.0,
               about="tags that no row has, and a candidate above 1")


def _costs(probability, truth, candidates, miss, false, strict=False):
    p = probability[:, :, None]
    tagged = p > candidates if strict else p >= candidates
    return (miss * (~tagged & truth[:, :, None]).sum(0) + false * (tagged & ~truth[:, :, None]).sum(0))


def _last(cost):
    return cost.shape[1] - 1 - cost.flip(1).argmin(1)


def _by_rates(p, truth, candidates, miss, false, digits=None):
    tagged, has = (p[:, :, None] >= candidates).double(), truth[:, :, None].double()
    missed = miss * ((1 - tagged) * has).sum(0) / has.sum(0).clamp(min=1)
    wrong = false * (tagged * (1 - has)).sum(0) / (1 - has).sum(0).clamp(min=1)
    cost = missed + wrong if digits is None else (missed + wrong).round(decimals=digits)
    return candidates[cost.argmin(1)]


for _sentence, _slip in {
    "The two costs are exchanged: a miss is a tag that is true and not set.":
        lambda p, y, c, m, f: c[_costs(p, y, c, f, m).argmin(1)],
    "A tag is set where its probability is equal to the threshold, too: ≥ in the place of >.":
        lambda p, y, c, m, f: c[_costs(p, y, c, m, f, strict=True).argmin(1)],
    "A probability equal to the threshold sets the tag, and where that is wrong it is a false alarm: ≥ in "
    "the count of false alarms too.": lambda p, y, c, m, f: c[(
        m * ((p[:, :, None] < c) & y[:, :, None]).sum(0)
        + f * ((p[:, :, None] > c) & ~y[:, :, None]).sum(0)).argmin(1)],
    "All tags get one threshold: add up over the rows only, so that each tag finds its own.":
        lambda p, y, c, m, f: c[_costs(p, y, c, m, f).sum(0).argmin()].expand(p.shape[1]),
    "The costs are left out: every mistake counts as one.":
        lambda p, y, c, m, f: c[_costs(p, y, c, 1, 1).argmin(1)],
    "Only misses are counted, so the lowest threshold wins: false alarms cost too.":
        lambda p, y, c, m, f: c[_costs(p, y, c, m, 0).argmin(1)],
    "Only false alarms are counted, so the highest threshold wins: misses cost too.":
        lambda p, y, c, m, f: c[_costs(p, y, c, 0, f).argmin(1)],
    "Every tag that is set counts as a false alarm: only those that are not true are.":
        lambda p, y, c, m, f: c[(_costs(p, y, c, m, 0)
                                 + f * (p[:, :, None] >= c).sum(0)).argmin(1)],
    "Every tag that is not set counts as a miss: only those that are true are.":
        lambda p, y, c, m, f: c[(_costs(p, y, c, 0, f)
                                 + m * (p[:, :, None] < c).sum(0)).argmin(1)],
    "A miss is a tag that is true and not set; those that are true and set are counted.":
        lambda p, y, c, m, f: c[(m * ((p[:, :, None] >= c) & y[:, :, None]).sum(0)
                                 + _costs(p, y, c, 0, f)).argmin(1)],
    "A false alarm is a tag that is set and not true; those that are neither set nor true are counted.":
        lambda p, y, c, m, f: c[(f * ((p[:, :, None] < c) & ~y[:, :, None]).sum(0)
                                 + _costs(p, y, c, m, 0)).argmin(1)],
    "This is the dearest candidate; the cheapest is wanted, and a tag is set at or above it.":
        lambda p, y, c, m, f: c[_costs(p, y, c, m, f).argmax(1)],
    "Of candidates that cost the same you take the last; the first of them is wanted.":
        lambda p, y, c, m, f: c[_last(_costs(p, y, c, m, f))],
    "Of candidates that cost the same you take the smallest; the first in the order given is wanted.":
        lambda p, y, c, m, f: c.sort().values[_costs(p, y, c.sort().values, m, f).argmin(1)],
    "Of candidates that cost the same you take the largest; the first in the order given is wanted.":
        lambda p, y, c, m, f: c.sort(descending=True).values[
            _costs(p, y, c.sort(descending=True).values, m, f).argmin(1)],
    "Misses are divided by the rows that have the tag and false alarms by those that have not: that changes "
    "what a mistake costs. Count them.": lambda *args: _by_rates(*args, digits=9),
    "These are places in the list of candidates; the candidates themselves are wanted.":
        lambda p, y, c, m, f: _costs(p, y, c, m, f).argmin(1),
    "This is what the best thresholds cost; the thresholds themselves are wanted.":
        lambda p, y, c, m, f: _costs(p, y, c, m, f).amin(1),
    "This is the candidate nearest to the formula, the same for every tag: look at what the rows cost.":
        lambda p, y, c, m, f: c[(c - f / (m + f)).abs().argmin()].expand(p.shape[1]),
    "Set and not set are exchanged: a tag is set where its probability is at or above the threshold.":
        lambda p, y, c, m, f: c[_costs(-p, y, -c, m, f, strict=False).argmin(1)],
}.items():
    cheapest.mistake(_sentence)(_slip)
    if "get one threshold" in _sentence:  # and where it is given once
        cheapest.mistake(_sentence)(lambda *args, slip=_slip: slip(*args)[0])
    if "divided by the rows" in _sentence:  # and where costs that are equal differ in their last digit
        cheapest.mistake(_sentence)(_by_rates)


# 18.4 -------------------------------------------------------------------------------------------------------
@exercise("18.4", "Search in an inverted file", minutes=15, points=3, difficulty=3)
def search_lists(query, vectors, centres, lists, probes, k):
    near = (centres @ query).topk(probes).indices  # which lists are looked into
    rows = torch.isin(lists, near).nonzero()[:, 0]  # what stands in them
    scores = vectors[rows] @ query
    best = scores.argsort(descending=True)[:k]
    return rows[best]


@search_lists.cases
def _(draw):
    def one(rows, n_lists, probes, k, about):
        lists = draw.integers(n_lists, rows)
        return case(draw.normal(4), draw.normal(rows, 4) * draw.uniform(rows, 1, low=0.5, high=2),
                    draw.normal(n_lists, 4) * draw.uniform(n_lists, 1, low=0.5, high=2), lists, probes, k,
                    about=about)

    def full(made):
        """Whether the lists hold k rows, so that no slip hides behind a short answer."""
        near = (made.args[2] @ made.args[0]).topk(made.args[4]).indices
        return int(torch.isin(made.args[3], near).sum()) >= made.args[5] + 2

    def two_lists():
        about = "24 vectors in 6 lists, of which 2 are looked into"
        made = one(24, 6, 2, 4, about)
        while not full(made):
            made = one(24, 6, 2, 4, about)
        return made

    yield telling(search_lists, two_lists, hides=("Fewer are given",))
    yield case(*one(9, 3, 3, 5, "").args, about="as many probes as lists: all 9 vectors are looked at")
    near = torch.tensor([[0.1, 0.5], [2.0, 0.3], [0.3, -0.4]], dtype=torch.float64)
    yield case(torch.tensor([1.0, 0.0], dtype=torch.float64), draw.normal(8, 2), near,
               torch.tensor([0, 1, 2, 0, 1, 2, 0, 0]), 1, 5, about="a list that holds fewer than k rows")


def _in_lists(query, vectors, centres, lists, probes, k, near=None, scores=None, best=None, rows=None):
    near = (centres @ query).topk(probes).indices if near is None else near
    rows = torch.isin(lists, near).nonzero()[:, 0] if rows is None else rows
    scores = vectors[rows] @ query if scores is None else scores(rows)
    return rows[scores.argsort(descending=True)[:k]]


def _hidden(query, vectors, centres, lists, probes, k, by, top=False):
    """The k best of all rows, those outside the lists with the score ``by``; ties as argsort or topk does."""
    near = (centres @ query).topk(probes).indices
    scores = torch.where(torch.isin(lists, near), vectors @ query, by)
    return scores.topk(k).indices if top else scores.argsort(descending=True)[:k]


def _each_list(query, vectors, centres, lists, probes, k):
    near = (centres @ query).topk(probes).indices
    return torch.cat([_in_lists(query, vectors, centres, lists, 1, k, near=one) for one in near])


for _sentence, _slip in {
    "All lists are looked into: of the vectors only those in the nearest `probes` lists are compared.":
        lambda q, v, c, at, p, k: (v @ q).argsort(descending=True)[:k],
    "Only the nearest list is looked into: look into `probes` of them.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, 1, k),
    "The lists whose centres are farthest are looked into; take those with the largest inner products.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, p, k, near=(-(c @ q)).topk(p).indices),
    "The lists are chosen by the distance of their centres; here it is the inner product, as for the rows.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, p, k, near=(-(c - q).norm(dim=1)).topk(p).indices),
    "The lists are chosen by the cosine of their centres; here it is the inner product.":
        lambda q, v, c, at, p, k: _in_lists(
            q, v, c, at, p, k, near=(normalize(c, dim=1) @ q).topk(p).indices),
    "The first `probes` lists are looked into, whatever is asked: take those whose centres are nearest.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, p, k, near=torch.arange(p)),
    "These are places among the rows that were looked at; turn them back into rows of the gallery.":
        lambda q, v, c, at, p, k: (v[torch.isin(at, (c @ q).topk(p).indices)] @ q).argsort(
            descending=True)[:k],
    "The worst rows come first: sort from the largest inner product to the smallest.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, p, k, scores=lambda rows: -(v[rows] @ q)),
    "The right rows, but not the best first: sort them by their inner product.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, p, k).sort().values,
    "Rows are compared by their distance; here it is the inner product.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, p, k,
                                            scores=lambda rows: -(v[rows] - q).norm(dim=1)),
    "Rows are compared by their cosine; here it is the inner product.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, p, k,
                                            scores=lambda rows: normalize(v[rows], dim=1) @ q),
    "The k best of all rows are taken, and those outside the lists then dropped: choose the lists first.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, p, len(v))[
            : int(torch.isin((v @ q).topk(k).indices, _in_lists(q, v, c, at, p, len(v))).sum())],
    "The numbers `probes` and `k` are exchanged.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, min(k, len(c)), p),
    "One list too few: look into `probes` of them.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, max(p - 1, 1), k),
    "Fewer are given where the lists hold fewer than k rows: nothing is filled up with −1.":
        lambda q, v, c, at, p, k: nn.functional.pad(_in_lists(q, v, c, at, p, k), (0, k), value=-1)[:k],
    "All rows of the lists are given back: give the k best.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, p, len(v)),
    "Each list gives its own k best, one after the other; the k best of all the lists together are wanted.":
        _each_list,
    "Each list gives its own k best, one after the other, and the first k of these are kept: sort the rows "
    "of all the lists together.": lambda q, v, c, at, p, k: _each_list(q, v, c, at, p, k)[:k],
    "Rows outside the lists get the score 0, which is better than a negative one: leave them out.":
        lambda q, v, c, at, p, k: _hidden(q, v, c, at, p, k, 0.0),
    "Fewer are given where the lists hold fewer than k rows: the answer is filled up with rows outside them.":
        lambda q, v, c, at, p, k: _hidden(q, v, c, at, p, k, -torch.inf),
    "Lists are chosen and rows compared by their cosine; here it is the inner product.":
        lambda q, v, c, at, p, k: _in_lists(
            q, v, c, at, p, k, near=(normalize(c, dim=1) @ q).topk(p).indices,
            scores=lambda rows: normalize(v[rows], dim=1) @ q),
    "Lists are chosen and rows compared by their distance; here it is the inner product.":
        lambda q, v, c, at, p, k: _in_lists(
            q, v, c, at, p, k, near=(-(c - q).norm(dim=1)).topk(p).indices,
            scores=lambda rows: -(v[rows] - q).norm(dim=1)),
    "The rows are sorted into lists anew; which list a row stands in, `lists` says.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, (v @ c.T).argmax(1), p, k),
    "These are inner products; the numbers of the rows are wanted.":
        lambda q, v, c, at, p, k: (v @ q)[_in_lists(q, v, c, at, p, k)],
    "The nearest row is left out: the query is no row of the gallery here.":
        lambda q, v, c, at, p, k: _in_lists(q, v, c, at, p, k + 1)[1:],
    "One row too few: give the k best.": lambda q, v, c, at, p, k: _in_lists(q, v, c, at, p, k - 1),
    "The lists of the centres that are nearest are given; the rows that stand in them are wanted.":
        lambda q, v, c, at, p, k: (c @ q).topk(p).indices,
}.items():
    search_lists.mistake(_sentence)(_slip)
    if "get the score 0" in _sentence:  # and with the other order of the many zeros
        search_lists.mistake(_sentence)(lambda q, v, c, at, p, k: _hidden(q, v, c, at, p, k, 0.0, top=True))


# 18.5 -------------------------------------------------------------------------------------------------------
@exercise("18.5", "A smaller gallery", minutes=25, points=3, difficulty=4)
def smaller_galleries(beaten, gallery, sizes):
    found = []
    for size in sizes:
        drawn = torch.arange(size - 1, dtype=torch.float64)  # 0 … size − 2: how many are drawn already
        harmless = (gallery - 1 - beaten[:, None] - drawn).clamp(min=0)
        chance = (harmless / (gallery - 1 - drawn)).prod(dim=1)  # (queries,)
        found.append(chance.mean())
    return torch.stack(found)


@smaller_galleries.cases
def _(draw):
    def some(queries, gallery):
        """Half of the queries come first, or nearly."""
        few = draw.integers(4, queries)
        return torch.where(draw.bits(queries).bool(), few, draw.integers(gallery, queries))

    yield telling(smaller_galleries, lambda: case(
        some(7, 31), 31, [9, 4, 17], about="7 queries in a gallery of 31, brought down to 9, 4 and 17"))
    yield telling(smaller_galleries, lambda: case(
        some(9, 23), 23, [12, 6], about="9 queries in a gallery of 23, brought down to 12 and 6"))
    yield case(some(5, 12), 12, [1, 12], about="a gallery of one, in which the own photo is alone, and the "
                                               "whole gallery")


def _chances(beaten, gallery, sizes, of):
    beaten = beaten.double()
    return torch.stack([of(beaten, gallery, size) for size in sizes])


def _product(beaten, rows, draws):
    """The chance that ``draws`` of ``rows`` others, without putting back, are all harmless, (queries,)."""
    drawn = torch.arange(draws, dtype=torch.float64)
    return ((rows - beaten[:, None] - drawn).clamp(min=0) / (rows - drawn)).prod(1)


for _sentence, _slip in {
    "This draws with putting back, (1 − a/(N − 1))^(n − 1): the limit of a large gallery. A photo is drawn "
    "once at most.": lambda a, big, n: (1 - a / (big - 1)).pow(n - 1).mean(),
    "This draws with putting back, and n others instead of n − 1.":
        lambda a, big, n: (1 - a / (big - 1)).pow(n).mean(),
    "This draws with putting back, and of all N photos: the own one is none of the others.":
        lambda a, big, n: (1 - a / big).pow(n - 1).mean(),
    "This draws with putting back, of all N photos, n of them: the own one is there already, so n − 1 others "
    "of N − 1, each once at most.": lambda a, big, n: (1 - a / big).pow(n).mean(),
    "This is the median of the queries' chances; R@1 is their mean.":
        lambda a, big, n: _product(a, big - 1, n - 1).median(),
    "n others are drawn; the own photo is one of the n, so n − 1 others are.":
        lambda a, big, n: _product(a, big - 1, min(n, big - 1)).mean(),
    "The others are drawn from N photos; the own one is there already, so from N − 1.":
        lambda a, big, n: _product(a, big, n - 1).mean(),
    "What is left to draw from shrinks, too: after j harmless draws N − 1 − j photos are left, not N − 1.":
        lambda a, big, n: ((big - 1 - a[:, None] - torch.arange(n - 1, dtype=torch.float64)).clamp(min=0)
                           / (big - 1)).prod(1).mean(),
    "At first N − 1 − a of the others are harmless, not N − a: the own photo is none of them.":
        lambda a, big, n: ((big - a[:, None] - torch.arange(n - 1, dtype=torch.float64)).clamp(min=0)
                           / (big - 1 - torch.arange(n - 1, dtype=torch.float64))).prod(1).mean(),
    "Before the first draw nothing is drawn: j runs from 0 to n − 2, not from 1 to n − 1.":
        lambda a, big, n: _product(a, big - 2, min(n, big - 1) - 1).mean(),
    "The own photo is counted among those that beat it: of N − 1 others N − 1 − a are harmless.":
        lambda a, big, n: _product(a + 1, big - 1, n - 1).mean(),
    "The mean number of better photos is put into the formula; the mean of the queries' chances is wanted.":
        lambda a, big, n: _product(a.mean()[None], big - 1, n - 1).mean(),
    "This is the chance of being beaten; the chance of coming first is 1 less it.":
        lambda a, big, n: 1 - _product(a, big - 1, n - 1).mean(),
    "This is the chance that all that are drawn beat the own photo; that none does is wanted.":
        lambda a, big, n: _product(big - 1 - a, big - 1, n - 1).mean(),
    "The harmless photos are used up, too: after j harmless draws N − 1 − a − j of them are left.":
        lambda a, big, n: ((big - 1 - a[:, None])
                           / (big - 1 - torch.arange(n - 1, dtype=torch.float64))).prod(1).mean(),
    "One draw too few: n − 1 others are drawn, with j from 0 to n − 2.":
        lambda a, big, n: _product(a, big - 1, max(n - 2, 0)).mean(),
    "The chances are added up; take their mean over the queries.":
        lambda a, big, n: _product(a, big - 1, n - 1).sum(),
    "This is R@1 of the whole gallery, for every size: in a smaller one fewer photos are there that beat the "
    "own.": lambda a, big, n: (a == 0).double().mean(),
    "A query counts as found if fewer than one better photo is expected among those drawn: the chance that "
    "there is none is wanted.": lambda a, big, n: (a * (n - 1) / (big - 1) < 1).double().mean(),
    "R@1 is scaled in proportion to the sizes: each query has a chance of its own.":
        lambda a, big, n: (a == 0).double().mean() * big / n,
    "The expected number of better photos among those drawn is taken off 1: the chance that there is none is "
    "a product.": lambda a, big, n: (1 - a * (n - 1) / (big - 1)).clamp(min=0).mean(),
    "This is e to the minus expected number of better photos, an approximation: the exact product is wanted.":
        lambda a, big, n: torch.exp(-a * (n - 1) / (big - 1)).mean(),
    "This is the reciprocal of the expected rank; the chance of rank 1 is wanted.":
        lambda a, big, n: (1 / (1 + a * (n - 1) / (big - 1))).mean(),
}.items():
    smaller_galleries.mistake(_sentence)(lambda beaten, gallery, sizes, slip=_slip: _chances(
        beaten, gallery, sizes, slip))


@smaller_galleries.mistake("The answers stand in the order of the sorted sizes: give one for each size, in "
                           "the order in which they are asked.")
def _(beaten, gallery, sizes):
    return smaller_galleries.reference(beaten, gallery, sorted(sizes))
