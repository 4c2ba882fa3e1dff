"""Answers to lesson 19: right ones in other words than the course's, wrong ones with what is to be said."""

import torch
import torch.nn.functional as F

# 19.1 GIoU of all pairs


def giou_by_loops(a, b):
    rows = []
    for ax0, ay0, ax1, ay1 in a:
        row = []
        for bx0, by0, bx1, by1 in b:
            w = torch.clamp(torch.min(ax1, bx1) - torch.max(ax0, bx0), min=0)
            h = torch.clamp(torch.min(ay1, by1) - torch.max(ay0, by0), min=0)
            both = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - w * h
            hull = (torch.max(ax1, bx1) - torch.min(ax0, bx0)) * (torch.max(ay1, by1) - torch.min(ay0, by0))
            row.append(w * h / both - 1 + both / hull)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def giou_of_torchvision(a, b):
    from torchvision.ops import generalized_box_iou

    return generalized_box_iou(a, b)


def _pairs(of, relu=F.relu, extra=0):
    def table(a, b):
        low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
        out_low, out_high = torch.minimum(a[:, None, :2], b[:, :2]), torch.maximum(a[:, None, 2:], b[:, 2:])
        cut, hull = relu(high - low + extra).prod(2), (out_high - out_low + extra).prod(2)
        sizes = [(box[:, 2:] - box[:, :2] + extra).prod(1) for box in (a, b)]
        return of(cut, sizes[0][:, None], sizes[1][None], hull)
    return table


def giou_clamped_late(a, b):
    cut = F.relu(_pairs(lambda i, x, y, o: i, relu=lambda x: x)(a, b))
    both, hull = _pairs(lambda i, x, y, o: x + y)(a, b) - cut, _pairs(lambda i, x, y, o: o)(a, b)
    return cut / both - 1 + both / hull


def giou_inside_out(a, b):
    ends = torch.minimum(a[:, None, 2:], b[:, 2:]) - torch.maximum(a[:, None, :2], b[:, :2])
    cut, hull = F.relu(ends).prod(2), ends.prod(2)
    both = _pairs(lambda i, x, y, o: x + y - i)(a, b)
    return cut / both - (hull - both) / hull


def giou_from_a_to_b(a, b):
    hull = (b[:, 2:] - a[:, None, :2]).prod(2)
    return _pairs(lambda i, x, y, o: i / (x + y - i) - 1 + (x + y - i) / hull)(a, b)


# 19.2 focal loss


def focal_by_parts(logits, labels, gamma, alpha):
    p = logits.sigmoid()
    yes = -alpha * (1 - p) ** gamma * F.logsigmoid(logits)
    no = -(1 - alpha) * p**gamma * F.logsigmoid(-logits)
    return torch.where(labels == 1, yes, no)


def focal_from_bce(logits, labels, gamma, alpha):
    surprise = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    wrong = torch.sigmoid((1 - 2 * labels) * logits)
    return torch.where(labels > 0.5, alpha, 1 - alpha) * wrong.pow(gamma) * surprise


def _weighed(of):
    def loss(logits, labels, gamma, alpha):
        bce = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        right = torch.exp(-bce)
        weight = torch.where(labels > 0.5, alpha, 1 - alpha)
        return of(bce, right, labels, gamma, weight)
    return loss


# 19.3 non-maximum suppression


def _ious(a, b, relu=lambda x: x.clamp(min=0), extra=0):
    return _pairs(lambda cut, x, y, hull: cut / (x + y - cut), relu, extra)(a, b)


def nms_by_table(boxes, scores, threshold):
    table, kept = _ious(boxes, boxes), []
    for one in sorted(range(len(scores)), key=lambda i: -float(scores[i])):
        if all(float(table[one, other]) <= threshold for other in kept):
            kept.append(one)
    return torch.tensor(kept)


def nms_of_torchvision(boxes, scores, threshold):
    from torchvision.ops import nms

    return nms(boxes, scores, threshold)


def _picked(stays=lambda iou, t: iou <= t, ious=_ious, key=lambda s: -s, give=lambda kept, b, s: kept):
    def nms(boxes, scores, threshold):
        kept = []
        for one in key(scores).argsort().tolist():
            if all(stays(ious(boxes[[one]], boxes[[other]])[0, 0], threshold) for other in kept):
                kept.append(one)
        return give(torch.tensor(kept), boxes, scores)
    return nms


def nms_in_one_go(boxes, scores, threshold):
    order = scores.argsort(descending=True)
    worse = _ious(boxes[order], boxes[order]) > threshold
    return order[~worse.tril(-1).any(1)]


def nms_but_the_last(boxes, scores, threshold):
    ranked, kept = scores.sort(descending=True).indices.tolist(), []
    while ranked[1:]:
        kept.append(ranked.pop(0))
        ranked = [one for one in ranked if _ious(boxes[kept[-1:]], boxes[[one]])[0, 0] <= threshold]
    return torch.tensor(kept).long()


# 19.4 AP50


def _found(boxes, scores, pictures, truths, shown, iou=0.5, once=True, key=lambda s: -s, here=True,
           above=False, first=False, late=False, whole=False, wasteful=False):
    taken, hits = set(), []
    for one in key(scores).argsort().tolist():
        best, value = None, 0.0
        for thing in range(len(truths)):
            if (here and int(shown[thing]) != int(pictures[one])) or (once and not late and thing in taken):
                continue
            overlap = float(_ious(boxes[[one]], truths[[thing]])[0, 0])
            if overlap > value and not (first and value >= iou):
                best, value = thing, overlap
        hits.append(best is not None and (value > iou if above else value >= iou)
                    and not (late and best in taken))
        if hits[-1] or wasteful:  # argmax of nothing but zeros is 0
            taken |= {k for k in range(len(truths)) if k == (best or 0) or whole and shown[k] == shown[best]}
    return hits


def ap_by_sweep(boxes, scores, pictures, truths, shown):
    hits, area, best, count = _found(boxes, scores, pictures, truths, shown), 0.0, 0.0, None
    count = sum(hits)
    for rank in range(len(hits), 0, -1):
        best = max(best, count / rank)
        if hits[rank - 1]:
            area, count = area + best, count - 1
    return torch.tensor(area / len(truths), dtype=torch.float64)


def ap_by_curve(boxes, scores, pictures, truths, shown):
    hits = torch.tensor(_found(boxes, scores, pictures, truths, shown)).double()
    recall = torch.cat([torch.zeros(1), hits.cumsum(0) / len(truths)]).double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    for k in range(len(hits) - 2, -1, -1):
        precision[k] = torch.maximum(precision[k], precision[k + 1])
    return (recall.diff() * precision).sum()


def _curve(of, **how):
    def ap(boxes, scores, pictures, truths, shown):
        hits = torch.tensor(_found(boxes, scores, pictures, truths, shown, **how)).double()
        precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
        envelope = torch.stack([precision[k:].max() for k in range(len(hits))])
        return of(hits, precision, envelope, len(truths))
    return ap


def _usual(hits, precision, envelope, things):
    return (hits * envelope).sum() / things


# 19.5 an alert at another rate


def threshold_by_log_odds(learned, live, miss, alarm):
    return torch.sigmoid(alarm.log() - miss.log() + torch.logit(learned) - torch.logit(live))


def threshold_by_weights(learned, live, miss, alarm):
    no, yes = alarm * (1 - live) / (1 - learned), miss * live / learned
    return no / (no + yes)


def _logit(of):
    return lambda learned, live, miss, alarm: torch.sigmoid(
        of(learned.logit(), live.logit(), miss.log(), alarm.log()))


RIGHT = {
    "19.1": [giou_by_loops, giou_of_torchvision],
    "19.2": [focal_by_parts, focal_from_bce],
    "19.3": [nms_by_table, nms_of_torchvision],
    "19.4": [ap_by_sweep, ap_by_curve],
    "19.5": [threshold_by_log_odds, threshold_by_weights],
}
WRONG = {
    "19.1": [
        (_pairs(lambda i, a, b, o: i / (a + b - i) - (o - a - b + i) / o, relu=lambda x: x),
         "negative length"),
        (_pairs(lambda i, a, b, o: i / (a + b - i)), "IoU alone"),
        (_pairs(lambda i, a, b, o: i / (a + b - i) + (o - a - b + i) / o), "is added"),
        (_pairs(lambda i, a, b, o: i / (a + b) - (o - a - b) / o), "counts the intersection twice"),
        (_pairs(lambda i, a, b, o: 1 - i / (a + b - i) + (o - a - b + i) / o), "This is the loss"),
        (_pairs(lambda i, a, b, o: i / (a + b - i) - (o - a - b + i) / (a + b - i)), "against the union"),
        (_pairs(lambda i, a, b, o: i / (a + b - i) - (o - i) / o), "only the intersection counts"),
        (_pairs(lambda i, a, b, o: i / torch.min(a, b) - (o - a - b + i) / o), "smaller of the two"),
        (_pairs(lambda i, a, b, o: i / (a + b - i) - (o - a - b + i) / o, extra=1), "One is added"),
        (_pairs(lambda i, a, b, o: F.relu(i / (a + b - i) - (o - a - b + i) / o)), "cut off"),
        (lambda a, b: giou_by_loops(a, b).T, "table is turned"),
        (lambda a, b: giou_by_loops(*(torch.cat([x[:, :2], x[:, :2] + x[:, 2:]], 1) for x in (a, b))),
         "corner and size"),
        (giou_clamped_late, "not their product"),
        (giou_inside_out, "inner corners"),
        (giou_from_a_to_b, "of the same box"),
        (_pairs(lambda i, a, b, o: o / (a + b - o) - 1 + (a + b - o) / o), "has the outer corners"),
        (_pairs(lambda i, a, b, o: (a + b - i) / o - 1), "the IoU is missing"),
    ],
    "19.2": [
        (_weighed(lambda bce, p, y, g, w: w * p**g * bce), "hard cells are damped"),
        (_weighed(lambda bce, p, y, g, w: w * bce), "is missing"),
        (_weighed(lambda bce, p, y, g, w: (1 - w) * (1 - p) ** g * bce), "are exchanged"),
        (_weighed(lambda bce, p, y, g, w: (1 - p) ** g * bce), "weight α is missing"),
        (_weighed(lambda bce, p, y, g, w: w * g * (1 - p) * bce), "γ is an exponent"),
        (_weighed(lambda bce, p, y, g, w: w * (1 - p).detach() ** g * bce), "detached"),
        (_weighed(lambda bce, p, y, g, w: -w * (1 - p) ** g * bce), "sign"),
        (_weighed(lambda bce, p, y, g, w: (w * (1 - p) ** g * bce).mean()), "mean is taken"),
        (_weighed(lambda bce, p, y, g, w: (w * (1 - p) ** g * bce).sum()), "sum is taken"),
        (_weighed(lambda bce, p, y, g, w: torch.where(y > 0, w, 1) * (1 - p) ** g * bce), "not weighed"),
        (_weighed(lambda bce, p, y, g, w: y * w * (1 - p) ** g * bce), "left out"),
        (_weighed(lambda bce, p, y, g, w: w * (1 - p**g) * bce), "stands on p_t alone"),
        (_weighed(lambda bce, p, y, g, w: (w - w * p) ** g * bce), "on the weight α as well"),
        (_weighed(lambda bce, p, y, g, w: w * torch.where(y > 0, 1, (1 - p) ** g) * bce), "label 1 have no"),
        (_weighed(lambda bce, p, y, g, w: w * torch.where(y > 0, (1 - p) ** g, 1) * bce), "label 0 have no"),
        (lambda z, y, g, a: focal_by_parts(z, y, g, a) * F.softplus(-z) / F.softplus(z - 2 * z * y),
         "p in every cell"),
        (lambda z, y, g, a: -torch.where(y > 0, a, 1 - a) * (1 - z.softmax(-1)) ** g * z.log_softmax(-1),
         "share one softmax"),
        (lambda z, y, g, a: focal_by_parts(z.sigmoid(), y, g, a), "taken twice"),
        (lambda z, y, g, a: -(a * y * (1 - z.sigmoid()) ** g * z.sigmoid().log() + (1 - a) * (1 - y)
                              * z.sigmoid() ** g * (1 - z.sigmoid()).log()), "nan"),
    ],
    "19.3": [
        (nms_in_one_go, "still suppresses others"),
        (_picked(lambda iou, t: iou < t), "exactly the threshold"),
        (_picked(lambda iou, t: iou > t), "kept"),
        (_picked(key=lambda s: s), "worst score"),
        (_picked(key=lambda s: torch.arange(len(s))), "as they stand"),
        (_picked(give=lambda kept, b, s: kept.sort()[0]), "in the order in which they stand"),
        (_picked(give=lambda kept, b, s: b[kept]), "boxes themselves"),
        (_picked(give=lambda kept, b, s: s[kept]), "are the scores"),
        (_picked(give=lambda kept, b, s: torch.isin(torch.arange(len(b)), kept)), "whether it is kept"),
        (_picked(ious=_pairs(lambda i, a, b, o: i)), "in no parts of anything"),
        (_picked(ious=_pairs(lambda i, a, b, o: i / torch.min(a, b))), "smaller area"),
        (_picked(ious=lambda a, b: _ious(a, b, relu=lambda x: x)), "negative lengths"),
        (lambda b, s, t: s.argsort(descending=True), "Nothing is suppressed"),
        (_picked(ious=_pairs(lambda i, a, b, o: i / (a + b - i) - 1 + (a + b - i) / o)), "compared by GIoU"),
        (nms_but_the_last, "last box of the list"),
        (lambda b, s, t: nms_by_table(b, s, 0.5), "`threshold` has no effect"),
    ],
    "19.4": [
        (_curve(_usual, once=False), "claimed once"),
        (_curve(_usual, here=False), "in another picture"),
        (_curve(_usual, key=lambda s: torch.arange(len(s))), "as they stand"),
        (_curve(_usual, key=lambda s: s), "worst score"),
        (_curve(_usual, iou=0.75), "0.75"),
        (_curve(lambda h, p, e, n: (h * p).sum() / n), "never rises"),
        (_curve(lambda h, p, e, n: (h * e).sum() / h.sum().clamp(min=1)), "that were found"),
        (_curve(lambda h, p, e, n: (h * e).sum() / len(h)), "number of boxes"),
        (_curve(lambda h, p, e, n: (h * e).sum()), "divided by nothing"),
        (_curve(lambda h, p, e, n: h.mean()), "precision of all boxes"),
        (_curve(lambda h, p, e, n: h.sum() / n), "recall of all boxes"),
        (_curve(lambda h, p, e, n: p.mean()), "over all ranks"),
        (_curve(_usual, above=True), "exactly"),
        (_curve(_usual, first=True), "first that fits"),
        (_curve(_usual, late=True), "chosen before"),
        (_curve(_usual, whole=True), "claims all things"),
        (_curve(_usual, wasteful=True), "that is no hit"),
        (_curve(lambda h, p, e, n: h.mean() * h.sum() / n), "at every rank"),
        (_curve(lambda h, p, e, n: torch.trapezoid(F.pad(p, (1, 0), value=1.0),
                                                   F.pad(h.cumsum(0) / n, (1, 0)))), "trapezoids"),
        (_curve(lambda h, p, e, n: sum((e * (h.cumsum(0) / n >= k / 100 - 1e-9)).max()
                                       for k in range(101)) / 101), "101 values"),
    ],
    "19.5": [
        (_logit(lambda then, now, m, f: f - m), "rates are left out"),
        (_logit(lambda then, now, m, f: f - m + now - then), "two rates are exchanged"),
        (_logit(lambda then, now, m, f: m - f + then - now), "two costs are exchanged"),
        (_logit(lambda then, now, m, f: then - now), "costs are left out"),
        (lambda a, b, m, f: m / (f + m), "without the rates"),
        (_logit(lambda then, now, m, f: f - m + now), "on the wrong side"),
        (_logit(lambda then, now, m, f: m - f + now - then), "both turned round"),
        (_logit(lambda then, now, m, f: f - m - now), "rate in training is left out"),
        (_logit(lambda then, now, m, f: f - m + then), "where it is used is left out"),
        (lambda a, b, m, f: f / m * a / (1 - a) / (b / (1 - b)), "These are odds"),
        (lambda a, b, m, f: (f * a / b) / (f * a / b + m), "Rates are divided"),
        (lambda a, b, m, f: 1 / (1 + m / f * a / b * (1 - a) / (1 - b)), "is turned round"),
        (lambda a, b, m, f: f / (m + f) * a / b, "probabilities do not scale"),
        (lambda a, b, m, f: f.log() - m.log() + a.logit() - b.logit(), "log-odds"),
    ],
}
