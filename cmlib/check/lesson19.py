"""Exercises of lesson 19: finding what the words name."""

import torch
from torch.nn.functional import logsigmoid

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


def _boxes(draw, n):
    corner = draw.uniform(n, 2, high=6)
    return torch.cat([corner, corner + draw.uniform(n, 2, low=1, high=5)], 1)


def _parts(a, b, clamp=True, plus=0.0):
    """Intersections, areas of a and of b, and the smallest boxes round both, each (n, m)."""
    a, b = a[:, None], b[None]
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2]) + plus
    inner = (sides.clamp(min=0) if clamp else sides).prod(-1)
    outer = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2]) + plus).prod(-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2] + plus).prod(-1) for box in (a, b))
    return inner, area_a, area_b, outer


def _iou(a, b, **how):
    inner, area_a, area_b, _ = _parts(a, b, **how)
    return inner / (area_a + area_b - inner)


# 19.1 -------------------------------------------------------------------------------------------------------
@exercise("19.1", "Generalised IoU of all pairs", minutes=15, points=3, difficulty=3, grad=(0, 1))
def giou_table(a, b):
    a, b = a[:, None], b[None]
    left, right = torch.maximum(a[..., 0], b[..., 0]), torch.minimum(a[..., 2], b[..., 2])
    top, bottom = torch.maximum(a[..., 1], b[..., 1]), torch.minimum(a[..., 3], b[..., 3])
    inner = (right - left).clamp(min=0) * (bottom - top).clamp(min=0)
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    union = area_a + area_b - inner
    wide = torch.maximum(a[..., 2], b[..., 2]) - torch.minimum(a[..., 0], b[..., 0])
    high = torch.maximum(a[..., 3], b[..., 3]) - torch.minimum(a[..., 1], b[..., 1])
    return inner / union - (wide * high - union) / (wide * high)


@giou_table.cases
def _(draw):
    for n, m in ((4, 5), (6, 3)):
        yield telling(giou_table, lambda n=n, m=m: case(
            _boxes(draw, n), _boxes(draw, m), about=f"{n} boxes against {m}"))
    small = _boxes(draw, 2)
    yield case(small, small + torch.tensor([20.0, 30.0, 20.0, 30.0], dtype=torch.float64),
               about="boxes that do not touch at all")
    inside = torch.cat([small[:, :2] + 0.25, small[:, 2:] - 0.25], 1)
    yield case(small, inside, about="boxes that lie inside others")


def _giou(of=lambda inner, a, b, union, outer: inner / union - (outer - union) / outer, clamp=True, plus=0.0):
    def table(a, b):
        inner, area_a, area_b, outer = _parts(a, b, clamp, plus)
        return of(inner, area_a, area_b, area_a + area_b - inner, outer)
    return table


def _as_sizes(box):
    return torch.cat([box[:, :2], box[:, :2] + box[:, 2:]], 1)


def _as_middles(box):
    return torch.cat([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1)


def _clamped_late(a, b):
    inner, area_a, area_b, outer = _parts(a, b, clamp=False)
    inner = inner.clamp(min=0)
    union = area_a + area_b - inner
    return inner / union - (outer - union) / outer


def _inside_out(a, b):
    inner, area_a, area_b, _ = _parts(a, b)
    outer, union = _parts(a, b, clamp=False)[0], area_a + area_b - inner
    return inner / union - (outer - union) / outer


def _from_a_to_b(a, b):
    inner, area_a, area_b, _ = _parts(a, b)
    outer, union = (b[None, :, 2:] - a[:, None, :2]).prod(-1), area_a + area_b - inner
    return inner / union - (outer - union) / outer


for _sentence, _slip in {
    "Each length is to be set to 0, not their product: two negative lengths have a positive one.":
        _clamped_late,
    "The outer box has the inner corners: it runs from the smaller start to the larger end.": _inside_out,
    "The outer box runs from the start of one box to the end of the other; take the smaller start and the "
    "larger end of the two, which may be of the same box.": _from_a_to_b,
    "The intersection has the outer corners: it runs from the larger start to the smaller end.":
        _giou(lambda i, a, b, u, o: o / (a + b - o) - (2 * o - a - b) / o),
    "This is the empty part of the outer box alone, taken away from nothing: the IoU is missing.":
        _giou(lambda i, a, b, u, o: (u - o) / o),
    "Two sides that do not meet have a negative length each, and their product is positive: boxes that do "
    "not touch have no intersection. Set negative lengths to 0 before you multiply.": _giou(clamp=False),
    "The union counts the intersection twice: take it away once.":
        _giou(lambda i, a, b, u, o: i / (a + b) - (o - a - b) / o),
    "The intersection is divided by both areas together, in which it is counted twice.":
        _giou(lambda i, a, b, u, o: i / (a + b) - (o - u) / o),
    "The intersection is taken away from the areas twice: once, since it was counted twice.":
        _giou(lambda i, a, b, u, o: i / (u - i) - (o - u + i) / o),
    "This is the IoU alone; the part of the outer box that neither fills is to be taken away.":
        _giou(lambda i, a, b, u, o: i / u),
    "The empty part of the outer box is added; take it away.":
        _giou(lambda i, a, b, u, o: i / u + (o - u) / o),
    "The empty part is measured against the union; measure it against the outer box.":
        _giou(lambda i, a, b, u, o: i / u - (o - u) / u),
    "The share of the outer box that is filled is taken away; take away the share that is empty.":
        _giou(lambda i, a, b, u, o: i / u - u / o),
    "Of the outer box only the intersection counts as filled; the union does.":
        _giou(lambda i, a, b, u, o: i / u - (o - i) / o),
    "This is the intersection in parts of the outer box; the union is what it is to be divided by.":
        _giou(lambda i, a, b, u, o: i / o),
    "The intersection is divided by the smaller of the two areas; divide it by the union.":
        _giou(lambda i, a, b, u, o: i / torch.minimum(a, b) - (o - u) / o),
    "The intersection is divided by the area of the first box; divide it by the union.":
        _giou(lambda i, a, b, u, o: i / a - (o - u) / o),
    "This is the loss, 1 − GIoU; the GIoU itself is wanted.":
        _giou(lambda i, a, b, u, o: 1 - i / u + (o - u) / o),
    "The empty part of the outer box is not divided by its area, so that large boxes weigh more.":
        _giou(lambda i, a, b, u, o: i / u - (o - u)),
    "Values below 0 are cut off, and with them the slope of all boxes that do not touch.":
        _giou(lambda i, a, b, u, o: (i / u - (o - u) / o).clamp(min=0)),
    "One is added to every side, as for boxes of whole pixels whose ends count; here ends are points.":
        _giou(plus=1.0),
    "The boxes are read as corner and size; they are two corners, (x0, y0, x1, y1).":
        lambda a, b: _giou()(_as_sizes(a), _as_sizes(b)),
    "The boxes are read as middle and size; they are two corners, (x0, y0, x1, y1).":
        lambda a, b: _giou()(_as_middles(a), _as_middles(b)),
    "The table is turned: rows are the boxes of a, columns those of b.": lambda a, b: _giou()(b, a),
    "The boxes are compared one by one; every box of a is to be compared with every box of b.":
        lambda a, b: _giou()(a, b).diagonal(),
}.items():
    giou_table.mistake(_sentence)(_slip)


# 19.2 -------------------------------------------------------------------------------------------------------
@exercise("19.2", "Focal loss", minutes=12, points=2, difficulty=3, grad=(0,))
def focal(logits, labels, gamma, alpha):
    sign = 2 * labels - 1
    log_right = logsigmoid(sign * logits)  # log of the probability of what is true
    right = log_right.exp()
    weight = alpha * labels + (1 - alpha) * (1 - labels)
    return -weight * (1 - right) ** gamma * log_right


@focal.cases
def _(draw):
    for gamma, alpha in ((2.0, 0.25), (1.5, 0.7)):
        yield telling(focal, lambda g=gamma, a=alpha: case(
            2 * draw.normal(3, 4), draw.bits(3, 4), g, a,
            about=f"3 phrases on 4 cells, γ = {g} and α = {a}"), hides=("infinite",))
    sure = 900 + 50 * draw.uniform(4)
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    yield case(sure * sign, torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64), 2.0, 0.25,
               about="cells that are very sure, two of them wrongly")


def _focal(of=lambda p, y, w, g, log: -w * (1 - p) ** g * log, weight=lambda y, a: a * y + (1 - a) * (1 - y)):
    def loss(logits, labels, gamma, alpha):
        log = logsigmoid((2 * labels - 1) * logits)
        return of(log.exp(), labels, weight(labels, alpha), gamma, log)
    return loss


def _plain_logs(z, y, g, a):
    p = torch.sigmoid(z)
    return -(a * y * (1 - p) ** g * p.log() + (1 - a) * (1 - y) * p**g * (1 - p).log())


for _sentence, _slip in {
    "The hard cells are damped and the easy ones kept: the factor is (1 − p_t)^γ, small where the right "
    "answer is likely.": _focal(lambda p, y, w, g, log: -w * p**g * log),
    "This is cross-entropy with α; the factor (1 − p_t)^γ is missing.":
        _focal(lambda p, y, w, g, log: -w * log),
    "α and 1 − α are exchanged: α weighs the cells with label 1.":
        _focal(weight=lambda y, a: (1 - a) * y + a * (1 - y)),
    "The weight α is missing.": _focal(weight=lambda y, a: torch.ones_like(y)),
    "The exponent γ stands on p_t alone: the factor is (1 − p_t)^γ, not 1 − p_t^γ.":
        _focal(lambda p, y, w, g, log: -w * (1 - p**g) * log),
    "The exponent γ stands on the weight α as well; only 1 − p_t has it.":
        _focal(lambda p, y, w, g, log: -((w * (1 - p)) ** g) * log),
    "Cells with label 1 have no factor; (1 − p_t)^γ is for both labels.":
        _focal(lambda p, y, w, g, log: -w * (1 - p) ** (g * (1 - y)) * log),
    "Cells with label 0 have no factor; (1 − p_t)^γ is for both labels.":
        _focal(lambda p, y, w, g, log: -w * (1 - p) ** (g * y) * log),
    "The logarithm is that of p in every cell; where the label is 0, what is true has the probability 1 − p.":
        lambda z, y, g, a: _focal(lambda p, y, w, g, log: -w * (1 - p) ** g)(z, y, g, a) * logsigmoid(z),
    "The cells share one softmax; each is a question by itself, with a sigmoid.":
        lambda z, y, g, a: -(a * y + (1 - a) * (1 - y)) * (1 - z.softmax(-1)) ** g * z.log_softmax(-1),
    "All cells are weighed with α; those with label 0 have 1 − α.":
        _focal(weight=lambda y, a: torch.full_like(y, a)),
    "Cells with label 0 are not weighed; they have 1 − α.": _focal(weight=lambda y, a: a * y + (1 - y)),
    "Cells with label 0 are left out: they have a loss too.": _focal(weight=lambda y, a: a * y),
    "The factor is γ · (1 − p_t); γ is an exponent.": _focal(lambda p, y, w, g, log: -w * g * (1 - p) * log),
    "The exponent γ stands on the whole loss; only 1 − p_t has it.":
        _focal(lambda p, y, w, g, log: -w * (1 - p) * log * (-(1 - p) * log).clamp(min=1e-12) ** (g - 1)),
    "The factor uses p, the probability of label 1, for every cell; of a cell with label 0 what is true has "
    "the probability 1 − p.": lambda z, y, g, a: _focal()(z, y, 0.0, a) * (1 - z.sigmoid()) ** g,
    "The sign is missing: a loss is positive.": _focal(lambda p, y, w, g, log: w * (1 - p) ** g * log),
    "The mean is taken; the loss of each cell is wanted, in the shape of the logits.":
        lambda *args: _focal()(*args).mean(),
    "The sum is taken; the loss of each cell is wanted, in the shape of the logits.":
        lambda *args: _focal()(*args).sum(),
    "The sigmoid is taken twice: logsigmoid and the losses \"with logits\" have it already.":
        lambda z, y, g, a: _focal()(z.sigmoid(), y, g, a),
    "The logits are taken for probabilities: p_t is the sigmoid of the logit where the label is 1.":
        lambda z, y, g, a: -(a * y + (1 - a) * (1 - y)) * (1 - (y * z + (1 - y) * (1 - z))).abs() ** g
        * logsigmoid((2 * y - 1) * z),
    "Labels 0 and 1 are exchanged.": lambda z, y, g, a: _focal()(z, 1 - y, g, 1 - a),
    "The logarithm of 1 − p_t is taken; it is that of p_t, the probability of what is true.":
        _focal(lambda p, y, w, g, log: -w * (1 - p) ** g * (1 - p).log()),
    "Where a cell is very sure and wrong, the logarithm of 0 makes the loss infinite or nan: take logsigmoid "
    "of the logit.": _plain_logs,
}.items():
    focal.mistake(_sentence)(_slip)


# 19.3 -------------------------------------------------------------------------------------------------------
@exercise("19.3", "Non-maximum suppression", minutes=15, points=3, difficulty=3)
def suppress(boxes, scores, threshold):
    left = scores.argsort(descending=True)
    kept = []
    while len(left) > 0:
        best, left = left[0], left[1:]
        kept.append(best)
        overlap = _iou(boxes[best][None], boxes[left])[0]
        left = left[overlap <= threshold]
    return torch.stack(kept)


def _crowd(draw, things, each):
    """Some boxes round each of a few things, and scores that differ."""
    boxes = _boxes(draw, things).repeat_interleave(each, 0)
    boxes = boxes + 0.8 * draw.uniform(len(boxes), 4, low=-0.5, high=0.5)
    return 0.2 * boxes, draw.uniform(len(boxes))


@suppress.cases
def _(draw):
    for things, each, threshold in ((4, 3, 0.45), (3, 5, 0.3)):
        yield telling(suppress, lambda n=things, k=each, t=threshold: case(
            *_crowd(draw, n, k), t, about=f"{n * k} boxes and a threshold of {t}"),
            hides=("exactly", "negative lengths"))
    apart = draw.uniform(1, low=2, high=4) * torch.tensor([[0, 0, 1, 1], [1.85, 1.85, 2.85, 2.85]]).double()
    yield case(apart, draw.uniform(2), 0.5, about="two boxes that lie apart, corner to corner")
    size = float(draw.integers(6, 1, low=1))
    pair = size * torch.tensor([[0, 0, 2, 2], [0, 0, 2, 1]], dtype=torch.float64)
    yield case(pair, draw.uniform(2), 0.5, about="two boxes whose IoU is exactly the threshold")
    yield case(_boxes(draw, 1), draw.uniform(1), 0.5, about="a single box")


def _greedy(drop=lambda overlap, t: overlap > t, overlaps=_iou, order=lambda s: s.argsort(descending=True),
            spare=0):
    def kept(boxes, scores, threshold):
        drops = drop(overlaps(boxes, boxes), threshold).tolist()
        left, found = order(scores).tolist(), []
        while len(left) > spare:
            best, *left = left
            found.append(best)
            left = [one for one in left if not drops[best][one]]
        return torch.tensor(found, dtype=torch.int64)
    return kept


def _all_at_once(boxes, scores, threshold):
    order = scores.argsort(descending=True)
    table = _iou(boxes[order], boxes[order]).triu(1)
    return order[(table <= threshold).all(0)]


def _neighbours(boxes, scores, threshold):
    order = scores.argsort(descending=True).tolist()
    kept = order[:1]
    for one in order[1:]:
        if _iou(boxes[[one]], boxes[[kept[-1]]])[0, 0] <= threshold:
            kept.append(one)
    return torch.tensor(kept)


def _only_the_best(boxes, scores, threshold):
    order = scores.argsort(descending=True)
    away = _iou(boxes[order[:1]], boxes[order])[0] <= threshold
    away[0] = True
    return order[away]


def _over(divide):
    def overlap(a, b):
        inner, area_a, area_b, outer = _parts(a, b)
        return divide(inner, area_a, area_b, outer)
    return overlap


def _as_mask(boxes, scores, threshold):
    mask = torch.zeros(len(boxes), dtype=torch.bool)
    mask[_greedy()(boxes, scores, threshold)] = True
    return mask


for _sentence, _slip in {
    "Boxes are compared by GIoU; here it is IoU.": _greedy(
        overlaps=_over(lambda i, a, b, o: i / (a + b - i) - (o - a - b + i) / o)),
    "The last box of the list is never kept: go on while any box is left.": _greedy(spare=1),
    "`threshold` has no effect: 0.5 is compared with, whatever it is.":
        _greedy(lambda overlap, t: overlap > 0.5),
    "Nothing is suppressed: this only sorts the boxes.": lambda b, s, t: s.argsort(descending=True),
    "A box that is itself suppressed still suppresses others: only boxes that are kept do.": _all_at_once,
    "A box is compared only with the one kept last: compare it with every box that is kept.": _neighbours,
    "Only the best box suppresses: go on with the best of those that are left.": _only_the_best,
    "The boxes that overlap are kept and those apart are dropped; it is the other way round.":
        _greedy(lambda overlap, t: overlap <= t),
    "A box whose IoU is exactly the threshold is dropped; only those above it are, as torchvision has it.":
        _greedy(lambda overlap, t: overlap >= t),
    "The worst score comes first: begin with the best.": _greedy(order=lambda s: s.argsort()),
    "The boxes are taken as they stand, whatever their scores: begin with the best score.":
        _greedy(order=lambda s: torch.arange(len(s))),
    "The right boxes, but in the order in which they stand: the best score comes first.":
        lambda *args: _greedy()(*args).sort().values,
    "This says of each box whether it is kept; the numbers of those that are kept are wanted.": _as_mask,
    "These are the boxes themselves; their numbers are wanted.": lambda b, s, t: b[_greedy()(b, s, t)],
    "These are the scores; the numbers of the boxes are wanted.": lambda b, s, t: s[_greedy()(b, s, t)],
    "These are places in the sorted list; turn them back into numbers of boxes.":
        lambda b, s, t: _greedy(order=lambda x: torch.arange(len(x)))(b[s.argsort(descending=True)], s, t),
    "Boxes are compared by their intersection, in no parts of anything: divide it by the union.":
        _greedy(overlaps=_over(lambda i, a, b, o: i)),
    "The intersection is divided by the smaller area, so a small box in a large one goes: divide it by the "
    "union.": _greedy(overlaps=_over(lambda i, a, b, o: i / torch.minimum(a, b))),
    "The intersection is divided by the two areas together: take it away once, as it is counted twice.":
        _greedy(overlaps=_over(lambda i, a, b, o: i / (a + b))),
    "Sides that do not meet are multiplied with their negative lengths: set these to 0 first.":
        _greedy(overlaps=lambda a, b: _iou(a, b, clamp=False)),
    "One is added to every side, as for boxes of whole pixels whose ends count; here ends are points.":
        _greedy(overlaps=lambda a, b: _iou(a, b, plus=1.0)),
    "A box is kept for its score: the threshold is one of the IoU, not of the scores.":
        lambda b, s, t: s.argsort(descending=True)[s.sort(descending=True).values > t],
    "Only the best box of all is given; others that do not overlap it are kept too.":
        lambda b, s, t: s.argmax()[None],
}.items():
    suppress.mistake(_sentence)(_slip)


# 19.4 -------------------------------------------------------------------------------------------------------
@exercise("19.4", "AP50", minutes=25, points=3, difficulty=4)
def ap50(boxes, scores, pictures, truths, shown):
    free = torch.ones(len(truths), dtype=torch.bool)
    hits = []
    table = _iou(boxes, truths) * (pictures[:, None] == shown)  # 0 in another picture
    for one in scores.argsort(descending=True):
        overlap = table[one] * free  # 0 where it was claimed before
        best = overlap.argmax()
        hit = overlap[best] >= 0.5
        if hit:
            free[best] = False
        hits.append(float(hit))
    hits = torch.tensor(hits, dtype=torch.float64)
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    best_from_here = precision.flip(0).cummax(0).values.flip(0)
    return (best_from_here * hits).sum() / len(truths)


@ap50.cases
def _(draw):
    def one(pictures, things, guesses, about):
        """Every thing is guessed, some twice, some in the next picture, some beside it."""
        truths, shown = _boxes(draw, things), draw.integers(pictures, things)
        of = draw.integers(things, guesses)
        shift = torch.where(draw.uniform(guesses, 1) < 0.65, 0.12, 1.0)
        boxes = truths[of] + shift * draw.uniform(guesses, 4, low=-1, high=1).clamp(-0.45, 0.45)
        where = torch.where(draw.uniform(guesses) < 0.8, shown[of], (shown[of] + 1) % pictures)
        return case(boxes, draw.uniform(guesses), where, truths, shown, about=about)

    rare = ("exactly", "first that fits", "chosen before")
    yield telling(ap50, lambda: one(3, 6, 14, "14 boxes in 3 pictures with 6 things"), hides=rare)
    yield telling(ap50, lambda: one(4, 9, 20, "20 boxes in 4 pictures with 9 things"), hides=rare)
    size = float(draw.integers(6, 1, low=1))
    pair = size * torch.tensor([[0, 0, 2, 1], [0, 0, 2, 2]], dtype=torch.float64)
    here = torch.tensor([0])
    yield case(pair[:1], draw.uniform(1), here, pair[1:], here, about="a box whose IoU is exactly .5")
    close = size * torch.tensor([[5, 0], [8, 0]] * 2, dtype=torch.float64)
    guess = size * torch.tensor([[8, 0], [8, 0], [2, 0], [7.5, 0]], dtype=torch.float64)
    truths, guess = (torch.cat([corner, corner + 10 * size], 1) for corner in (close, guess))
    yield case(guess, draw.uniform(4).sort(descending=True).values, torch.tensor([0, 1, 0, 1]), truths,
               torch.tensor([0, 0, 1, 1]), about="boxes that fit two things each")
    truths = _boxes(draw, 2)
    yield case(truths + 50, draw.uniform(2), torch.tensor([0, 1]), truths, torch.tensor([0, 1]),
               about="boxes that find nothing")


def _largest(overlap, free):
    return max(range(len(free)), key=lambda thing: overlap[thing] * free[thing])


def _whole_picture(hit, thing, shown):
    return [other for other, picture in enumerate(shown) if hit and picture == shown[thing]]


def _hits(boxes, scores, pictures, truths, shown, iou=0.5, once=True, here=True, choose=_largest,
          order=lambda s: s.argsort(descending=True), right=lambda overlap, iou: overlap >= iou,
          claims=lambda hit, thing, shown: [thing] * hit):
    """Whether each box is right, best score first. choose(overlaps, free): the thing that a box may claim;
    claims(hit, thing, shown): the things that nobody can claim any more.
    """
    table = _iou(boxes, truths)
    if here:
        table = table * (pictures[:, None] == shown)
    table, shown, free, hits = table.tolist(), shown.tolist(), [True] * len(truths), []
    for one in order(scores).tolist():
        thing = choose(table[one], free)
        hits.append(free[thing] and right(table[one][thing], iou))
        for claimed in claims(hits[-1], thing, shown) if once else ():
            free[claimed] = False
    return torch.tensor(hits, dtype=torch.float64)


def _ap(hits, total, envelope=True, over=None):
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    if envelope:
        precision = precision.flip(0).cummax(0).values.flip(0)
    return (precision * hits).sum() / (total if over is None else over)


def _each_picture(boxes, scores, pictures, truths, shown):
    values = [ap50.reference(boxes[pictures == p], scores[pictures == p], pictures[pictures == p],
                             truths[shown == p], shown[shown == p])
              if (pictures == p).any() else torch.zeros(()).double() for p in shown.unique()]
    return torch.stack(values).mean()


def _trapezoids(hits, total):
    start = torch.tensor([0.0, 1.0], dtype=torch.float64)  # no recall yet, and no box that is wrong
    recall = torch.cat([start[:1], hits.cumsum(0) / total])
    return torch.trapezoid(torch.cat([start[1:], hits.cumsum(0) / torch.arange(1, len(hits) + 1)]), recall)


def _eleven(hits, total, points=11):
    precision, recall = hits.cumsum(0) / torch.arange(1, len(hits) + 1), hits.cumsum(0) / total
    some_of = [precision[recall >= r - 1e-9] for r in torch.linspace(0, 1, points, dtype=torch.float64)]
    return torch.stack([some.max() if len(some) else torch.zeros(()).double() for some in some_of]).mean()


for _sentence, _slip in {
    "A thing is counted as found by every box that fits it: the second such box is wrong, so let each thing "
    "be claimed once.": lambda *a: _ap(_hits(*a, once=False), len(a[3])),
    "A box may claim a thing in another picture: compare boxes only with the things of their own picture.":
        lambda *a: _ap(_hits(*a, here=False), len(a[3])),
    "The boxes are taken as they stand: the best score comes first.":
        lambda *a: _ap(_hits(*a, order=lambda s: torch.arange(len(s))), len(a[3])),
    "The worst score comes first: begin with the best.":
        lambda *a: _ap(_hits(*a, order=lambda s: s.argsort()), len(a[3])),
    "The precision is taken as it is at each hit; take the best from there on, so that the curve never "
    "rises.": lambda *a: _ap(_hits(*a), len(a[3]), envelope=False),
    "The sum is divided by the things that were found; divide it by all of them, since one that is never "
    "found is a loss too.": lambda *a: _ap(_hits(*a), 0, over=_hits(*a).sum().clamp(min=1)),
    "The sum is divided by the number of boxes; divide it by the number of things.":
        lambda *a: _ap(_hits(*a), len(a[0])),
    "The sum is divided by nothing: divide it by the number of things.": lambda *a: _ap(_hits(*a), 1),
    "Every picture is scored by itself and the mean is taken; all boxes of all pictures stand in one "
    "ranking.": _each_picture,
    "A box counts from an IoU of 0.75 on; here it is 0.5.": lambda *a: _ap(_hits(*a, iou=0.75), len(a[3])),
    "A box counts as soon as it touches a thing; it counts from an IoU of 0.5 on.":
        lambda *a: _ap(_hits(*a, iou=1e-9), len(a[3])),
    "This is the precision of all boxes together; AP reads it at the rank of each hit.":
        lambda *a: _hits(*a).mean(),
    "This is the recall of all boxes together; AP reads the precision at the rank of each hit.":
        lambda *a: _hits(*a).sum() / len(a[3]),
    "Precision is read at eleven values of recall, as in 2007; read it at every hit.":
        lambda *a: _eleven(_hits(*a), len(a[3])),
    "Precision is read at 101 values of recall, as COCO does; read it at every hit.":
        lambda *a: _eleven(_hits(*a), len(a[3]), 101),
    "The area is one of trapezoids: between two hits the precision is the one from there on, a step.":
        lambda *a: _trapezoids(_hits(*a), len(a[3])),
    "A box whose IoU is exactly .5 is right too.":
        lambda *a: _ap(_hits(*a, right=lambda overlap, iou: overlap > iou), len(a[3])),
    "A box claims the first that fits; of several things it is the one with the largest IoU.":
        lambda *a: _ap(_hits(*a, choose=lambda overlap, free: _largest([v >= 0.5 for v in overlap], free)),
                       len(a[3])),
    "The thing is chosen before it is asked whether it is free; choose among those that nobody has claimed.":
        lambda *a: _ap(_hits(*a, choose=lambda overlap, free: overlap.index(max(overlap))), len(a[3])),
    "The first hit claims all things of its picture; a box claims one thing.":
        lambda *a: _ap(_hits(*a, claims=_whole_picture), len(a[3])),
    "A box that is no hit claims its thing too; then no later box can find it.":
        lambda *a: _ap(_hits(*a, claims=lambda hit, thing, shown: [thing]), len(a[3])),
    "The hits are divided by the number of all boxes at every rank; divide them by the rank.": lambda *a: (
        _hits(*a).sum() / len(a[0]) * _hits(*a)).sum() / len(a[3]),
    "Precision is averaged over all ranks; only the ranks of hits count.": lambda *a: (
        _hits(*a).cumsum(0) / torch.arange(1, len(a[0]) + 1)).mean(),
    "Recall is averaged at the hits; precision is wanted there.":
        lambda *a: (_hits(*a).cumsum(0) / len(a[3]) * _hits(*a)).sum() / len(a[3]),
    "Ranks begin at 1: the first box has one box to its rank.": lambda *a: (
        (_hits(*a).cumsum(0) / torch.arange(len(a[0])).clamp(min=1)).flip(0).cummax(0).values.flip(0)
        * _hits(*a)).sum() / len(a[3]),
    "The best precision up to each hit is taken; it is the best from there on.": lambda *a: (
        (_hits(*a).cumsum(0) / torch.arange(1, len(a[0]) + 1)).cummax(0).values
        * _hits(*a)).sum() / len(a[3]),
    "The scores are averaged over the hits; they only give the order.": lambda *a: (
        a[1].sort(descending=True).values * _hits(*a)).sum() / len(a[3]),
}.items():
    ap50.mistake(_sentence)(_slip)


# 19.5 -------------------------------------------------------------------------------------------------------
@exercise("19.5", "An alert at another rate", minutes=25, points=3, difficulty=4)
def alert_threshold(learned, live, miss, alarm):
    prior_then = learned / (1 - learned)
    prior_now = live / (1 - live)
    odds = alarm / miss * prior_then / prior_now
    return odds / (1 + odds)


@alert_threshold.cases
def _(draw):
    for n in (4, 7):
        yield telling(alert_threshold, lambda n=n: case(
            draw.uniform(n, low=0.2, high=0.8), draw.uniform(n, low=0.01, high=0.3),
            draw.uniform(n, low=5, high=50), draw.uniform(n, low=0.5, high=3),
            about=f"{n} cameras with rates and costs of their own"))
    same = draw.uniform(3, low=0.1, high=0.9)
    yield case(same, same, draw.uniform(3, low=1, high=9), draw.uniform(3, low=1, high=9),
               about="as many events as in training")


def _odds(of):
    def threshold(learned, live, miss, alarm):
        odds = of(learned / (1 - learned), live / (1 - live), miss, alarm)
        return odds / (1 + odds)
    return threshold


for _sentence, _slip in {
    "The rates are left out: this is the threshold for as many events as in training.":
        _odds(lambda then, now, m, f: f / m),
    "The two rates are exchanged: where events are rarer than in training, the threshold rises.":
        _odds(lambda then, now, m, f: f / m * now / then),
    "The two costs are exchanged: a dear miss lowers the threshold.":
        _odds(lambda then, now, m, f: m / f * then / now),
    "This is m/(m + f), without the rates: a dear miss lowers the threshold, and the rates move its odds.":
        lambda a, b, m, f: m / (m + f),
    "The rate where it is used is on the wrong side, and that in training is left out.":
        _odds(lambda then, now, m, f: f / m * now),
    "The costs are left out.": _odds(lambda then, now, m, f: then / now),
    "Costs and rates are both turned round: a dear miss lowers the threshold, rarer events raise it.":
        _odds(lambda then, now, m, f: m / f * now / then),
    "The rate in training is left out: the probabilities have it in them already.":
        _odds(lambda then, now, m, f: f / m / now),
    "The rate where it is used is left out.": _odds(lambda then, now, m, f: f / m * then),
    "These are odds; the threshold is a probability, odds/(1 + odds).":
        lambda a, b, m, f: f / m * a / (1 - a) * (1 - b) / b,
    "Rates are divided in the place of odds, rate/(1 − rate).":
        lambda a, b, m, f: _odds(lambda *_: f / m * a / b)(a, b, m, f),
    "The threshold for the costs is multiplied by the ratio of the rates; probabilities do not scale, their "
    "odds do.": lambda a, b, m, f: f / (m + f) * a / b,
    "The threshold for the costs is multiplied by the ratio of the odds; it is the odds of the threshold "
    "that scale.": lambda a, b, m, f: f / (m + f) * a / (1 - a) * (1 - b) / b,
    "The cost ratio is f/(m + f), a probability, where its odds f/m are needed.":
        _odds(lambda then, now, m, f: f / (m + f) * then / now),
    "One of the two weights is turned round: events weigh live/learned, all else (1 − live)/(1 − learned).":
        lambda a, b, m, f: f * (1 - b) / (1 - a) / (f * (1 - b) / (1 - a) + m * a / b),
    "These are the log-odds of the threshold; a probability is wanted.":
        lambda a, b, m, f: (f / m * a / (1 - a) * (1 - b) / b).log(),
}.items():
    alert_threshold.mistake(_sentence)(_slip)
