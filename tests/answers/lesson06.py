"""Right and wrong answers to lesson 06, as learners write them."""

from itertools import permutations, product

import torch
from torch import nn
from torch.nn import functional as F

# 06.6 the ceiling of a sum of opinions

def sums_by_patterns(table):
    """Every pattern of decisions, without those that hold an exclusive-or in two rows and two columns."""
    _, a, b = table.shape
    best = 0.0
    for bits in product((0, 1), repeat=a * b):
        says = torch.tensor(bits).reshape(a, b)
        rows = [set(row.nonzero()[:, 0].tolist()) for row in says]
        if all(one <= other or other <= one for one in rows for other in rows):
            best = max(best, float(torch.where(says == 1, table[1], table[0]).sum()))
    return torch.tensor(best, dtype=table.dtype)


def sums_by_cumsum(table):
    gain = table[1] - table[0]
    best = []
    for order in permutations(range(table.shape[1])):
        cuts = F.pad(gain[list(order)].cumsum(0), (0, 0, 1, 0))  # nobody, the first, the first two, …
        best.append(cuts.max(0).values.sum())
    return table[0].sum() + torch.stack(best).max()


def _sums(orders=permutations, cuts=lambda a: range(a + 1), pick=lambda scores: scores.max(0).values.sum(),
          over=max):
    def ceiling_of_sums(table):
        found = []
        for order in orders(range(table.shape[1])):
            order = list(order)
            scores = torch.stack([table[1, order[:n]].sum(0) + table[0, order[n:]].sum(0)
                                  for n in cuts(len(order))])
            found.append(pick(scores))
        return over(found)
    return ceiling_of_sums


def sums_single(table):
    return max(table.sum(2).max(0).values.sum(), table.sum(1).max(0).values.sum())


def sums_own_orders(table):
    return sum(max(_sums()(table[:, :, b:b + 1]) for _ in (0,)) for b in range(table.shape[2]))


# 06.3 the head

def head_by_layers(image, text, W1, b1, W2, b2):
    f = torch.cat([F.layer_norm(image, (image.shape[1],)), F.layer_norm(text, (text.shape[1],))], dim=1)
    return F.linear(F.gelu(F.linear(f, W1, b1)), W2, b2)


def head_by_hand(image, text, W1, b1, W2, b2):
    def unit(x):
        return (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    hidden = torch.hstack([unit(image), unit(text)]) @ W1.t() + b1
    return nn.GELU()(hidden) @ W2.t() + b2


def _with(unit, bend=F.gelu):
    def concat_head(image, text, W1, b1, W2, b2):
        return F.linear(bend(F.linear(torch.cat([unit(image), unit(text)], dim=1), W1, b1)), W2, b2)
    return concat_head


def head_late_norm(image, text, W1, b1, W2, b2):
    f = torch.cat([image, text], 1)
    return F.linear(F.gelu(F.linear(F.layer_norm(f, (f.shape[1],)), W1, b1)), W2, b2)


def head_swapped(image, text, W1, b1, W2, b2):
    f = torch.cat([F.layer_norm(x, (x.shape[1],)) for x in (text, image)], 1)
    return F.linear(F.gelu(F.linear(f, W1, b1)), W2, b2)


def unit_outside(x):
    return (x - x.mean(dim=1, keepdim=True)) / (x.var(dim=1, keepdim=True, correction=0).sqrt() + 1e-5)


def unit_of_the_batch(x):
    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + 1e-5)


def unit_of_length_one(x):
    return x / x.pow(2).sum(1, keepdim=True).sqrt()


def unit_unbiased(x):
    return (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, keepdim=True) + 1e-5)


def rows_norm(x):
    return F.layer_norm(x, x.shape[1:])


# 06.4 groups

def groups_by_loop(right, group, n_groups):
    return torch.stack([right[group == k].double().mean() for k in range(n_groups)])


def groups_by_one_hot(right, group, n_groups):
    members = F.one_hot(group, n_groups).double()
    return (members * right.double()[:, None]).sum(0) / members.sum(0)


# 06.7 the additive part

def additive_by_loop(logits):
    n = len(logits)
    grand = sum(logits[i, j] for i in range(n) for j in range(n)) / n**2
    rows = [sum(logits[i, j] for j in range(n)) / n + sum(logits[j, i] for j in range(n)) / n - grand
            for i in range(n)]
    return torch.stack(rows)


def additive_by_einsum(logits):
    n = len(logits)
    photo, message = torch.einsum("ijc->ic", logits) / n, torch.einsum("ijc->jc", logits) / n
    return photo + (message - photo.mean(0))


def additive_without_own(logits):
    n = len(logits)
    others = logits * (1 - torch.eye(n, dtype=logits.dtype))[..., None]
    return (others.sum(1) + others.sum(0)) / (n - 1) - others.sum((0, 1)) / (n * (n - 1))


def additive_diagonal(logits):
    return torch.stack([logits[i, i] for i in range(len(logits))])


# 06.5 two hidden units

def head_by_lstsq(photos, words):
    """Any distinct numbers do; here they are powers of two, found by least squares."""
    codes = 2.0 ** torch.arange(len(photos), dtype=photos.dtype)[:, None]
    p = torch.linalg.lstsq(photos, codes, driver="gelsd").solution[:, 0]
    w = torch.linalg.lstsq(words, codes, driver="gelsd").solution[:, 0]
    W1 = torch.stack([torch.cat([-p, w]), torch.cat([p, -w])])
    return W1, torch.zeros(2), torch.ones(2), torch.tensor(-0.25)


def head_by_inverse(photos, words):
    numbers = torch.linspace(-1, 1, len(photos), dtype=photos.dtype)
    def read(x):
        return x.T @ torch.linalg.solve(x @ x.T, numbers)
    row = torch.cat([read(photos), -read(words)])
    return [torch.stack((row, -row)), row.new_zeros(2), 3 * row.new_ones(2), row.new_tensor(0.0)]


def _two_units(change):
    def comparing_head(photos, words):
        W1, b1, w2, b2 = head_by_inverse(photos, words)
        return change(W1, b1, w2, b2, photos.shape[1])
    return comparing_head


def head_that_adds(photos, words):
    numbers = torch.arange(len(photos)).double()
    row = torch.cat([torch.linalg.pinv(x) @ numbers for x in (photos, words)])
    return torch.stack([row, -row]), torch.zeros(2), torch.ones(2), torch.tensor(-0.5)


def head_that_reads_one(photos, words):
    numbers = torch.arange(len(photos)).double()
    row = torch.cat([torch.linalg.pinv(photos) @ numbers, 0 * words[0]])
    return torch.stack([row, -row]), torch.zeros(2), torch.ones(2), torch.tensor(-0.5)


RIGHT = {
    "06.6": [sums_by_patterns, sums_by_cumsum],
    "06.3": [head_by_layers, head_by_hand],
    "06.4": [groups_by_loop, groups_by_one_hot],
    "06.7": [additive_by_loop, additive_by_einsum],
    "06.5": [head_by_lstsq, head_by_inverse],
}
WRONG = {
    "06.6": [
        (lambda t: t.max(0).values.sum(), "may compare"),
        (sums_single, "the better of the two single"),
        (_sums(orders=lambda rows: [rows]), "one order of the photos"),
        (_sums(pick=lambda scores: scores.sum(1).max()), "share one cut"),
        (_sums(cuts=lambda a: range(1, a) if a > 1 else range(2)), "cuts at the ends"),
        (_sums(cuts=range), "the last cut"),
        (_sums(cuts=lambda a: range(1, a + 1)), "the first cut"),
        (lambda t: _sums(orders=lambda rows: [(t[1] - t[0]).sum(1).argsort(descending=True).tolist()])(t),
         "need not be that one"),
        (lambda t: sums_by_cumsum(t) - t[0].sum(), "what the keeps give"),
        (lambda t: 1 - sums_by_cumsum(t), "the error of the best sum"),
        (_sums(over=lambda found: sum(found) / len(found)), "best order is wanted"),
    ],
    "06.3": [
        (_with(lambda x: x), "not normalised"),
        (head_late_norm, "after concatenating"),
        (_with(rows_norm, bend=lambda z: z), "non-linearity"),
        (_with(rows_norm, bend=F.relu), "ReLU"),
        (_with(rows_norm, bend=lambda z: F.gelu(z, approximate="tanh")), "tanh"),
        (_with(unit_of_the_batch), "over the batch"),
        (_with(unit_of_length_one), "(L2)"),
        (_with(unit_outside), "outside the root"),
        (_with(unit_unbiased), "n − 1"),
        (head_swapped, "text half comes first"),
        (lambda i, t, W1, b1, W2, b2: head_by_hand(i, t, W1, 0 * b1, W2, 0 * b2), "Both biases"),
        (lambda *a, **w: head_by_layers(*a, **w).softmax(-1), "before any softmax"),
        (lambda image, text, W1, b1, W2, b2: head_by_layers(image.detach(), text, W1, b1, W2, b2), "image"),
    ],
    "06.4": [
        (lambda r, g, n: groups_by_loop(r, g, n).nan_to_num(), "empty group"),
        (lambda r, g, n: torch.bincount(g, r.double(), n), "count the right"),
        (lambda r, g, n: torch.bincount(g, r.double(), n) / len(r), "all rows"),
        (lambda r, g, n: torch.bincount(g, r.double(), n) / r.sum(), "share of the right"),
        (lambda r, g, n: 1 - groups_by_loop(r, g, n), "wrong answers"),
        (lambda r, g, n: torch.full((n,), r.double().mean().item()).double(), "hides the group"),
        (lambda r, g, n: groups_by_loop(r, g, n).flip(0), "wrong order"),
    ],
    "06.7": [
        (lambda x: torch.stack([x[i, i] for i in range(len(x))]), "own logits"),
        (lambda x: x.mean(0) + x.mean(1), "counted twice"),
        (lambda x: x.mean(0) + x.mean(1) + x.mean((0, 1)), "has to be taken away"),
        (lambda x: x.mean(0) + x.mean(1) - additive_diagonal(x).mean(0), "over the real pairs only"),
        (lambda x: x.mean(1), "photo alone"),
        (lambda x: x.mean(0), "message alone"),
        (lambda x: x.mean(0) + x.mean(1) - x.mean(), "keeps its own grand mean"),
        (lambda x: torch.stack([x[i, i] for i in range(len(x))]) - additive_by_einsum(x), "beyond a sum"),
        (lambda x: additive_by_einsum(x.softmax(2)), "softmax"),
        (additive_without_own, "the grand mean too"),
    ],
    "06.5": [
        (_two_units(lambda W1, b1, w2, b2, n: (W1, b1, -w2, torch.tensor(0.01))), "other way round"),
        (_two_units(lambda W1, b1, w2, b2, n: (W1[[0, 0]], b1, w2, b2)), "relu keeps one sign"),
        (_two_units(lambda W1, b1, w2, b2, n: (W1, b1, w2, torch.tensor(9.0))), "to every pair"),
        (_two_units(lambda W1, b1, w2, b2, n: (W1, b1, w2, torch.tensor(-99.0))), '"equal" to every pair'),
        (head_that_adds, "You add the two numbers"),
        (head_that_reads_one, "only the photo"),
        (_two_units(lambda W1, b1, w2, b2, n: (W1, b1, w2, b2.reshape(1))), "b2 of shape"),
        (_two_units(lambda W1, b1, w2, b2, n: (W1, b1, w2, -0.01)), "b2 as a float"),
        (_two_units(lambda W1, b1, w2, b2, n: (W1[:, [*range(n, W1.shape[1]), *range(n)]], b1, w2, b2)), ""),
        (_two_units(lambda W1, b1, w2, b2, n: (W1[:1], b1[:1], w2[:1], b2)), "W1 of shape"),
        (lambda photos, words: head_by_inverse(photos, words)[0], "four weights"),
    ],
}
