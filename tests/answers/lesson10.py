"""Right and wrong answers to lesson 10, as learners write them."""

from math import comb

import torch
from torch.nn import functional as F

# 10.1 recall


def recall_by_places(similarity, relevant, k):
    """A relevant row among k: place by place, the chance that none has come yet."""
    total = 0.0
    for scores, wanted in zip(similarity, relevant, strict=True):
        top = scores[wanted].max()
        above, tied = (scores > top).sum().item(), (scores == top).sum().item()
        others = tied - (wanted & (scores == top)).sum().item()
        none = 1.0
        for place in range(max(k - above, 0)):
            none *= max(others - place, 0) / max(tied - place, 1)
        total += 1 - none
    return torch.tensor(total / len(similarity), dtype=torch.float64)


def recall_by_tensors(similarity, relevant, k):
    best = similarity.masked_fill(~relevant, -9e9).max(1, keepdim=True).values
    above, ties = (similarity > best).sum(1), similarity == best
    tied, mates = ties.sum(1), (ties & relevant).sum(1)
    found = [0.0 if a >= k else 1 - comb(t - m, min(k - a, t)) / comb(t, min(k - a, t))
             for a, t, m in zip(above.tolist(), tied.tolist(), mates.tolist(), strict=True)]
    return torch.tensor(found).double().mean()


def recall_by_order(similarity, relevant, k):
    first = similarity.argsort(dim=1, descending=True, stable=True)[:, :k]
    return torch.gather(relevant, 1, first).any(dim=1).double().mean()


def recall_share(similarity, relevant, k):
    first = similarity.argsort(dim=1, descending=True, stable=True)[:, :k]
    return (torch.gather(relevant, 1, first).sum(1).double() / relevant.sum(1)).mean()


def share_expected(similarity, relevant, k):
    shares = []
    for scores, wanted in zip(similarity, relevant, strict=True):
        ranks = [(int((scores > own).sum()), int((scores == own).sum())) for own in scores[wanted]]
        shares.append(sum(min(max(k - above, 0) / tied, 1) for above, tied in ranks) / len(ranks))
    return torch.tensor(shares, dtype=torch.float64).mean()


def mates_of_all(similarity, relevant, k):
    found = []
    for scores, wanted in zip(similarity, relevant, strict=True):
        top = scores[wanted].max()
        tied, left = int((scores == top).sum()), k - int((scores > top).sum())
        left = min(max(left, 0), tied)
        found.append(1 - comb(max(tied - int(wanted.sum()), 0), left) / comb(tied, left))
    return torch.tensor(found, dtype=torch.float64).mean()


def _recall(chance, keep=lambda similarity, relevant: relevant):
    def recall_with_ties(similarity, relevant, k):
        found = []
        for scores, wanted in zip(similarity, keep(similarity, relevant), strict=True):
            top = scores[wanted].max().item()
            above, ties = int((scores > top).sum()), scores == top
            found.append(float(chance(k, above, int(ties.sum()), int((ties & wanted).sum()))))
        return torch.tensor(found, dtype=torch.float64).mean()
    return recall_with_ties


def _left(k, above, tied):
    return min(max(k - above, 0), tied)


def _exact(k, above, tied, mates):
    return 1 - comb(tied - mates, _left(k, above, tied)) / comb(tied, _left(k, above, tied))


def best_of_all(similarity, relevant, k):
    found = []
    for scores, wanted in zip(similarity, relevant, strict=True):
        ties = scores == scores.max()
        tied, mates = int(ties.sum()), int((ties & wanted).sum())
        found.append(_exact(k, 0, tied, mates))
    return torch.tensor(found).double().mean()


def recall_of_pairs(similarity, relevant, k):
    found = []
    for scores, wanted in zip(similarity, relevant, strict=True):
        for own in scores[wanted]:
            above, tied = int((scores > own).sum()), int((scores == own).sum())
            found.append(min(max(k - above, 0), tied) / tied)
    return torch.tensor(found).double().mean()


# 10.2 distances


def distances_by_expansion(a, b):
    square = ((a * a).sum(1, keepdim=True) + (b * b).sum(1) - 2 * a @ b.T).clamp(min=0)
    zero = square == 0
    return (square + zero).sqrt() * ~zero


def distances_by_cdist(a, b):
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def distances_by_norm(a, b):
    return torch.linalg.vector_norm(a.unsqueeze(1) - b.unsqueeze(0), dim=-1)


def distances_but_near(a, b, least):
    square = (a[:, None] - b).pow(2).sum(-1)
    far = square > least
    return torch.where(far, square, 1).sqrt() * far


# 10.3 batch-hard


def hard_by_masks(square, labels, margin):
    same = labels.unsqueeze(1) == labels.unsqueeze(0)
    own = square.masked_fill(~same, float("-inf")).max(dim=1).values
    other = square.masked_fill(same, float("inf")).min(dim=1).values
    return F.relu(own - other + margin).mean()


def hard_by_loops(square, labels, margin):
    total, n = 0, len(labels)
    for a in range(n):
        worst = max(square[a, p] for p in range(n) if labels[p] == labels[a])
        near = min(square[a, q] for q in range(n) if labels[q] != labels[a])
        total = total + torch.clamp(worst - near + margin, min=0)
    return total / n


def _hard(combine, own=lambda s, y: s.masked_fill(y[:, None] != y, -9e9).max(1).values,
          other=lambda s, y: s.masked_fill(y[:, None] == y, 9e9).min(1).values):
    return lambda square, labels, margin: combine(own(square, labels), other(square, labels), margin)


def _plain(own, other, margin):
    return F.relu(own - other + margin).mean()


def furthest_other(square, labels):
    """Without the own pair, unless there is no other."""
    mates = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)
    return torch.where(mates.any(1), square.masked_fill(~mates, -9e9).amax(1), square.diag())


def mean_of_mates(square, labels):
    same = labels[:, None] == labels
    return (square * same).sum(1) / same.sum(1)


def hard_all(square, labels, margin):
    same = labels[:, None] == labels
    found = [F.relu(square[a, p] - square[a, n] + margin) for a in range(len(labels))
             for p in range(len(labels)) for n in range(len(labels)) if same[a, p] and not same[a, n]]
    return sum(found) / len(found)


# 10.4 semi-hard


def semi_by_loop(square, labels, margin):
    mask = torch.zeros_like(square, dtype=torch.bool)
    for a in range(len(labels)):
        for n in range(len(labels)):
            mask[a, n] = bool(labels[a] != labels[n]) and square[a, a] < square[a, n] < square[a, a] + margin
    return mask


def semi_by_loss(square, labels, margin):
    gap = square - square.diag().unsqueeze(1)
    return (gap > 0) & (gap < margin) & ~torch.eq(labels[:, None], labels)


def _semi_from(positive):
    def semi_hard(square, labels, margin):
        own = positive(square, labels)[:, None]
        return (labels[:, None] != labels) & (square > own) & (square < own + margin)
    return semi_hard


# 10.5 collapse


def collapse_by_closed_form(margin, positives, negatives):
    q = positives / (positives + negatives)
    return margin - q * margin, q * (1 - q) * margin**2


def collapse_by_balance(margin, positives, negatives):
    d = negatives * margin / (positives + negatives)
    return d, (positives * d.square() + negatives * (margin - d).square()) / (positives + negatives)


def _collapse(distance):
    def cheapest_collapse(m, p, n):
        d = distance(m, p, n)
        return d, (p * d**2 + n * (m - d) ** 2) / (p + n)
    return cheapest_collapse


RIGHT = {
    "10.1": [recall_by_places, recall_by_tensors],
    "10.2": [distances_by_cdist, distances_by_norm],
    "10.3": [hard_by_masks, hard_by_loops],
    "10.4": [semi_by_loop, semi_by_loss],
    "10.5": [collapse_by_closed_form, collapse_by_balance],
}
WRONG = {
    "10.1": [
        (_recall(lambda k, above, tied, mates: above < k), "every tie to the relevant row"),
        (_recall(lambda k, above, tied, mates: above + tied - mates < k), "every tie to the other rows"),
        (_recall(_exact, lambda s, r: torch.eye(*s.shape, dtype=torch.bool)), "your own row alone"),
        (_recall(lambda k, above, tied, mates: _left(k, above, tied) / tied), "count as one"),
        (_recall(lambda k, a, t, m: 1 - (1 - m / t) ** _left(k, a, t)), "with replacement"),
        (_recall(lambda k, a, t, m: min(1, m * _left(k, a, t) / t)), "count once"),
        (recall_by_order, "The place in the gallery"),
        (lambda s, r, k: r.gather(1, s.topk(k).indices).any(1).double().mean(), "topk breaks your ties"),
        (lambda s, r, k: (r.gather(1, s.topk(k).indices).sum(1) / r.sum(1)).double().mean(),
         "search for documents"),
        (share_expected, "search for documents"),
        (lambda s, r, k: (s[:min(s.shape)] > s.diag()[:, None]).sum(1).lt(k).double().mean(), "the diagonal"),
        (mates_of_all, "count as mates"),
        (lambda s, r, k: recall_by_places(-s, r, k), "smallest scores first"),
        (_recall(lambda k, a, t, m: _exact(k, 0, t, m)), "All k places"),
        (recall_share, "share of the relevant rows"),
        (lambda s, r, k: 1 - recall_by_places(s, r, k), "probability of a miss"),
        (_recall(lambda k, a, t, m: _left(k, a, t) and m * comb(t - m, _left(k, a, t) - 1)
                 / comb(t, _left(k, a, t))), "exactly one"),
        (_recall(lambda k, a, t, m: min(max(k - a, 0), t - m + 1) / (t - m + 1)), "counts all rows that tie"),
        (_recall(lambda k, a, t, m: m / t if a < k else 0), "draw once"),
        (best_of_all, "best score of all"),
        (recall_of_pairs, "average over all relevant rows"),
        (lambda s, r, k: recall_by_places(s.T[r.any(0)], r.T[r.any(0)], k), "queries are the columns"),
    ],
    "10.2": [
        (lambda a, b: (a[:, None] - b).pow(2).sum(-1).sqrt(), "not finite"),
        (lambda a, b: (a[:, None] - b).pow(2).sum(-1), "take the root"),
        (lambda a, b: ((a[:, None] - b).pow(2).sum(-1) + 1e-12).sqrt(), "exactly 0"),
        (lambda a, b: (a[:, None] - b).pow(2).sum(-1).clamp(min=1e-12).sqrt(), "exactly"),
        (lambda a, b: (a[:, None] - b).abs().sum(-1), "absolute"),
        (lambda a, b: distances_by_norm(b, a), "on its side"),
        (lambda a, b: distances_by_norm(a, b) / a.shape[1] ** 0.5, "average the squares"),
        (lambda a, b: ((a**2).sum(1)[:, None] + (b**2).sum(1) - a @ b.T).relu().sqrt(), "cross term"),
        (lambda a, b: a @ b.T, "dot products"),
        (distances_by_expansion, "subtract before you square"),
        (torch.cdist, "subtract before you square"),
        (lambda a, b: torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist"), "subtract before you square"),
        (lambda a, b: torch.where((a[:, None] != b).any(2), distances_by_norm(a, b), 1), "come out at 1"),
        (lambda a, b: 1 - F.cosine_similarity(a[:, None], b[None], dim=2), "cosine distance"),
        (lambda a, b: F.pairwise_distance(a.unsqueeze(1), b), "pairwise_distance adds"),
        (lambda a, b: (2 - 2 * a @ b.T).relu().sqrt(), "length 1 alone"),
        (lambda a, b: ((a[:, None] - b).pow(2).sum(-1) + 1e-8).sqrt() - 1e-4, "taken away again"),
        (lambda a, b: distances_but_near(a, b, 1e-6), "not equal"),
        (lambda a, b: distances_but_near(a, b, 1e-9), "not equal"),
    ],
    "10.3": [
        (_hard(_plain, own=lambda s, y: s.masked_fill(y[:, None] != y, 9e9).min(1).values), "furthest"),
        (_hard(_plain, other=lambda s, y: s.masked_fill(y[:, None] == y, -9e9).max(1).values), "the nearest"),
        (_hard(_plain, own=lambda s, y: s.diag()), "Only the own pair"),
        (_hard(_plain, other=lambda s, y: (s + 9e9 * torch.eye(len(s))).min(1).values), "false negatives"),
        (_hard(lambda own, other, m: F.relu(own - other - m).mean()), "margin is subtracted"),
        (_hard(lambda own, other, m: F.relu(own - other).mean()), "margin is missing"),
        (_hard(lambda own, other, m: F.relu(other - own + m).mean()), "exchanged"),
        (_hard(lambda own, other, m: (own - other + m).mean()), "never below 0"),
        (_hard(lambda own, other, m: F.relu(own - other + m).sum()), "take the mean"),
        (lambda s, y, m: hard_by_masks(s.T, y, m), "anchors are the columns"),
        (hard_all, "mean over all triples"),
        (_hard(_plain, own=lambda s, y: s.masked_fill(y[:, None] != y, 9e9).min(1).values,
               other=lambda s, y: s.masked_fill(y[:, None] == y, -9e9).max(1).values),
         "nearest are exchanged"),
        (lambda s, y, m: hard_by_masks((s + 1e-12).sqrt(), y, m), "You take roots"),
        (_hard(lambda own, other, m: F.softplus(own - other + m).mean()), "softplus"),
        (_hard(_plain, other=lambda s, y: (s * (y[:, None] != y)).sum(1) / (y[:, None] != y).sum(1)),
         "mean of the negatives"),
        (_hard(_plain, own=mean_of_mates), "mean of the positives"),
        (_hard(lambda own, other, m: (own - other + m).abs().mean()), "absolute value"),
        (lambda s, y, m: (hard_by_masks(s, y, m) + hard_by_masks(s.T, y, m)) / 2, "both directions"),
        (_hard(_plain, own=lambda s, y: s.masked_fill(y[:, None] != y, torch.inf).amax(1)), "has to lose"),
        (_hard(_plain, own=furthest_other), "own pair is missing"),
        (_hard(_plain, own=lambda s, y: s.masked_fill(
            (y[:, None] != y) | torch.eye(len(s)).bool(), -9e9).amax(1)), "no other positive costs you 0"),
    ],
    "10.4": [
        (lambda s, y, m: (s > s.diag()[:, None]) & (s < s.diag()[:, None] + m), "own toy"),
        (lambda s, y, m: (y[:, None] != y) & (s < s.diag()[:, None] + m), "nearer than the positive"),
        (lambda s, y, m: (y[:, None] != y) & (s > s.diag()[:, None]), "beyond the margin"),
        (lambda s, y, m: (y[:, None] != y) & (s < s.diag()[:, None]), "hard negatives"),
        (lambda s, y, m: (y[:, None] != y) & (s > s.diag()) & (s < s.diag() + m), "own distance of a column"),
        (lambda s, y, m: (y[:, None] != y) & (s > s.diag()[:, None]) & (s < m), "not from 0"),
        (lambda s, y, m: ~semi_by_loop(s, y, m), "not semi-hard"),
        (lambda s, y, m: (y[:, None] == y) & (s > s.diag()[:, None]) & (s < s.diag()[:, None] + m),
         "drops the others"),
        (lambda s, y, m: (y[:, None] != y) & (s >= s.diag()[:, None]) & (s <= s.diag()[:, None] + m),
         "The bounds are open"),
        (lambda s, y, m: (y[:, None] != y) & (s >= s.diag()[:, None]) & (s < s.diag()[:, None] + m),
         "lower bound"),
        (lambda s, y, m: (y[:, None] != y) & (s > s.diag()[:, None]) & (s <= s.diag()[:, None] + m),
         "upper bound"),
        (lambda s, y, m: semi_by_loss(s.sqrt(), y, m), "compare roots"),
        (_semi_from(lambda s, y: s.min(1).values), "nearest row is your positive"),
        (_semi_from(mean_of_mates), "The mean over"),
        (lambda s, y, m: sum(_semi_from(lambda s, y, p=p: torch.where(y == y[p], s[:, p], torch.inf))(s, y, m)
                             for p in range(len(y))).bool(), "Any row with the anchor's label"),
        (lambda s, y, m: (y[:, None] != y) & (s > s.diag()[:, None]) & (s < (1 + m) * s.diag()[:, None]),
         "not multiplied"),
        (lambda s, y, m: (y[:, None] != y) & ((s - s.diag()[:, None]).abs() < m), "without its sign"),
        (lambda s, y, m: (y[:, None] != y) & ((s > s.diag()[:, None]) | (s < s.diag()[:, None] + m)),
         "joined by"),
        (lambda s, y, m: semi_by_loss(s, y, m) & (y != y.clone()), "Not one row"),
    ],
    "10.5": [
        (_collapse(lambda m, p, n: m * n / p), "negatives over positives"),
        (lambda m, p, n: (n * m / (p + n), (n * m / (p + n)) ** 2), "squared in your cost"),
        (lambda m, p, n: (n * m / (p + n), (p * m / (p + n)) ** 2), "squared in your cost"),
        (_collapse(lambda m, p, n: m * p / (p + n)), "shares are exchanged"),
        (_collapse(lambda m, p, n: m / 2), "both kinds weigh the same"),
        (_collapse(lambda m, p, n: 0 * m), "At a distance of 0"),
        (_collapse(lambda m, p, n: m.clone()), "At the margin"),
        (lambda m, p, n: (collapse_by_balance(m, p, n)[0], collapse_by_balance(m, p, n)[1] * (p + n)), "sum"),
        (lambda m, p, n: collapse_by_balance(m, p, n)[::-1], "other order"),
        (lambda m, p, n: (collapse_by_balance(m, p, n)[0], m.clone()), "triplet loss costs"),
        (lambda m, p, n: (m / 2, m * m / 2), "collapse of two means"),
        (lambda m, p, n: (p * m / (p + n), p * n * (m / (p + n)) ** 2), "In the distance the two shares"),
        (lambda m, p, n: (n * m / (p + n), p / (p + n) * (n * m / (p + n)) ** 2), "that belong together"),
        (lambda m, p, n: (n * m / (p + n), n / (p + n) * (p * m / (p + n)) ** 2), "pairs to be apart"),
        (lambda m, p, n: (n * m / (p + n), m * p * n / (p + n) ** 2), "enters your cost once"),
        (lambda m, p, n: (m, m * p / (p + n)) if p < n else (0 * m, m * n / (p + n)), "lies at an end"),
    ],
}
