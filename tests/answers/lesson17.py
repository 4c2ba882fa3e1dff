"""Answers to lesson 17: right ones in other words than the course's, wrong ones with what is to be said."""

import math
from collections import Counter
from itertools import permutations

import torch
import torch.nn.functional as F

# 17.1 the best answer without looking

def blind_by_counters(question, answer, asked):
    counts = {}
    for q, a in zip(question.tolist(), answer.tolist(), strict=True):
        counts.setdefault(q, Counter())[a] += 1
    every = Counter(answer.tolist())

    def first(counter):
        most = max(counter.values())
        return min(a for a, n in counter.items() if n == most)

    return torch.tensor([first(counts.get(q, every)) for q in asked.tolist()])


def blind_by_table(question, answer, asked):
    n = max(int(question.max()), int(asked.max())) + 1
    table = torch.zeros(n, int(answer.max()) + 1)
    table.index_put_((question, answer), torch.ones(len(answer)), accumulate=True)
    table[table.sum(1) == 0] = table.sum(0)
    return table.argmax(1)[asked]


def _blind(choose, unseen=None):
    """``choose(Counter)`` for a question; ``unseen(Counter of all)`` where nobody asked it."""
    def answers(question, answer, asked):
        out = []
        for q in asked:
            mine = Counter(answer[question == q].tolist())
            out.append(choose(mine) if mine else (unseen or choose)(Counter(answer.tolist())))
        return torch.tensor(out)
    return answers


def _top(counter):
    return min(counter, key=lambda a: (-counter[a], a))


# 17.2 late interaction

def fits_by_loops(cells, words, mask):
    out = torch.zeros(len(words), len(cells), dtype=cells.dtype)
    for t in range(len(words)):
        for p in range(len(cells)):
            table = words[t][mask[t]] @ cells[p].T
            out[t, p] = table.max(1)[0].mean()
    return out


def fits_by_hiding(cells, words, mask):
    table = (words[:, None] @ cells.transpose(1, 2)[None]).amax(-1)  # (texts, pictures, tokens)
    return table.masked_fill(~mask[:, None], 0).sum(-1) / mask.sum(1, keepdim=True)


def _fits(of):
    """``of(table (words of the text, cells))`` for each text and picture."""
    def fits(cells, words, mask):
        return torch.stack([torch.stack([of(words[t][mask[t]] @ cells[p].T) for p in range(len(cells))])
                            for t in range(len(words))])
    return fits


# 17.3 where a look goes

def place_by_loops(scores, rows, columns):
    out = []
    for one in scores:
        p = (one - one.max()).exp()
        p = p / p.sum()
        x = sum(p[r * columns + c] * (-1 + 2 * c / (columns - 1)) for r in range(rows)
                for c in range(columns)) if columns > 1 else 0 * p.sum()
        y = sum(p[r * columns + c] * (-1 + 2 * r / (rows - 1)) for r in range(rows)
                for c in range(columns)) if rows > 1 else 0 * p.sum()
        out.append(torch.stack([x, y]))
    return torch.stack(out)


def place_by_margins(scores, rows, columns):
    p = F.softmax(scores, -1).view(-1, rows, columns)
    x = torch.linspace(-1, 1, columns).double() if columns > 1 else torch.zeros(1).double()
    y = torch.linspace(-1, 1, rows).double() if rows > 1 else torch.zeros(1).double()
    return torch.stack([torch.einsum("brc,c->b", p, x), torch.einsum("brc,r->b", p, y)], -1)


def _place(weigh=lambda s: F.softmax(s, 1), x=lambda r, c: torch.linspace(-1, 1, c),
           y=lambda r, c: torch.linspace(-1, 1, r), order="brc", stack=1):
    def place(scores, rows, columns):
        p = weigh(scores)
        p = p.view(-1, rows, columns) if order == "brc" else p.view(-1, columns, rows).transpose(1, 2)
        one = x(rows, columns).double() if columns > 1 else torch.zeros(1).double()
        two = y(rows, columns).double() if rows > 1 else torch.zeros(1).double()
        parts = [(p * one).sum((1, 2)), (p * two[:, None]).sum((1, 2))]
        return torch.stack(parts[::stack], 1)
    return place


def _place_unguarded(axis):
    """Without a thought for a single row or column."""
    def place(scores, rows, columns):
        p = F.softmax(scores, -1).view(-1, rows, columns)
        return torch.stack([p.sum(1) @ axis(columns).double(), p.sum(2) @ axis(rows).double()], 1)
    return place


def _place_of_sums(scores, rows, columns):
    table = scores.view(-1, rows, columns)
    each = zip((table.sum(1), table.sum(2)), (columns, rows), strict=True)
    return torch.stack([F.softmax(one, 1) @ torch.linspace(-1, 1, n).double() * (n > 1)
                        for one, n in each], 1)


# 17.4 accuracy among ten people

def accuracy_by_counts(answer, given):
    n, people = (given == answer[:, None]).sum(1).double(), given.shape[1]
    def third(k):
        return torch.clamp(k, 0, 3) / 3
    return (n * third(n - 1) + (people - n) * third(n)) / people


def accuracy_by_subsets(answer, given):
    out = []
    for a, row in zip(answer.tolist(), given.tolist(), strict=True):
        marks = []
        for k in range(len(row)):
            rest = row[:k] + row[k + 1:]
            marks.append(min(rest.count(a) / 3, 1))
        out.append(sum(marks) / len(marks))
    return torch.tensor(out, dtype=torch.float64)


def accuracy_in_closed_form(answer, given):
    agree = torch.stack([torch.eq(answer, one) for one in given.unbind(-1)]).to(torch.float64)
    share = torch.mean(agree, dim=0)
    return torch.minimum(share * ((len(agree) - 1) / 3), torch.ones_like(share))  # linear below four


def _marks(of, join=lambda marks: sum(marks) / len(marks)):
    def accuracy(answer, given):
        out = []
        for a, row in zip(answer.tolist(), given.tolist(), strict=True):
            marks = [of((row[:k] + row[k + 1:]).count(a), len(row) - 1) for k in range(len(row))]
            out.append(join(marks))
        return torch.tensor(out, dtype=torch.float64)
    return accuracy


def _once(of):
    def accuracy(answer, given):
        return torch.tensor([of(row.count(a), len(row)) for a, row in zip(
            answer.tolist(), given.tolist(), strict=True)], dtype=torch.float64)
    return accuracy


# 17.5 the best sum of two opinions

def best_by_order_of_pictures(truth, weight):
    """The pictures are put in order, and every word has its threshold."""
    best = 0.0
    for order in permutations(range(truth.shape[0])):
        total = 0.0
        for s in range(truth.shape[1]):
            total += max(sum(float(weight[w, s]) for place, w in enumerate(order)
                             if bool(truth[w, s]) == (place < k)) for k in range(len(order) + 1))
        best = max(best, total)
    return torch.tensor(best, dtype=torch.float64)


def best_by_every_table(truth, weight):
    """All yes-sets of the pictures that are nested: of two, one holds the other."""
    words = len(truth)
    yes = {said: torch.tensor([bool(said >> w & 1) for w in range(words)]) for said in range(2**words)}
    earn = {said: (weight * (truth == one[:, None])).sum(0) for said, one in yes.items()}
    best = torch.zeros((), dtype=torch.float64)
    for chain in permutations(range(words)):
        sets, said = [0], 0
        for w in chain:
            said |= 1 << w
            sets.append(said)
        best = torch.maximum(best, torch.stack([earn[one] for one in sets]).max(0)[0].sum())
    return best


def _best(orders=lambda n: permutations(range(n)), counts=lambda n: range(n + 1), join=max, w=lambda w: w,
          alike=False):
    def best(truth, weight):
        weight, found = w(weight), []
        for order in orders(len(truth)):
            place = torch.tensor(order).argsort()
            table = torch.stack([(weight * (truth == (place < k)[:, None])).sum(0)
                                 for k in counts(len(truth))])
            found.append(table.sum(1).max() if alike else table.max(0)[0].sum())
        return join(found)
    return best


def _constant(truth, weight):
    return max((weight * (truth == one)).sum() for one in (True, False))


def _by(axis):
    def best(truth, weight):
        yes, no = (weight * truth).sum(axis), (weight * ~truth).sum(axis)
        return torch.where(yes > no, yes, no).sum()
    return best


def _mean_effects(truth, weight):
    p = truth.double()
    rows = (p * weight).sum(1) / weight.sum(1)
    columns = (p * weight).sum(0) / weight.sum(0)
    guess = rows[:, None] + columns[None] - (p * weight).sum() / weight.sum() > 0.5
    return weight[guess == truth].sum()


RIGHT = {
    "17.1": [blind_by_counters, blind_by_table],
    "17.2": [fits_by_loops, fits_by_hiding],
    "17.3": [place_by_loops, place_by_margins],
    "17.4": [accuracy_by_counts, accuracy_by_subsets, accuracy_in_closed_form],
    "17.5": [best_by_order_of_pictures, best_by_every_table],
}
WRONG = {
    "17.1": [
        (lambda q, a, asked: torch.full_like(asked, int(torch.mode(a).values)), "most frequent of all"),
        (_blind(lambda c: min(c, key=lambda a: (c[a], a)), _top), "rarest answer of the question"),
        (_blind(_top, lambda c: 0), "answered by answer 0"),
        (_blind(_top, lambda c: -1), "answered by −1"),
        (_blind(lambda c: max(c, key=lambda a: (c[a], a))), "the largest number"),
        (_blind(lambda c: c.most_common(1)[0][0]), "stands first in the rows"),
        (_blind(lambda c: max(c.values())), "counts of the most frequent"),
        (_blind(lambda c: max(c.values()) / sum(c.values())), "shares of the most frequent"),
        (_blind(lambda c: sorted(c.elements())[(sum(c.values()) - 1) // 2], _top), "median"),
        (_blind(lambda c: next(iter(c)), _top), "first answer that the question got"),
        (_blind(lambda c: sorted(c).index(_top(c))), "places among the answers"),
        (_blind(max, _top), "largest number among"),
        (_blind(min, _top), "smallest number among"),
        (lambda q, a, asked: blind_by_counters(q, a, torch.tensor(sorted(set(asked.tolist())))),
         "each different question"),
        (lambda q, a, asked: blind_by_counters(q, a, q), "training rows are answered"),
        (_blind(lambda c: sorted(c.elements())[(sum(c.values()) - 1) // 2]), "median"),
        (_blind(lambda c: round(sum(c.elements()) / sum(c.values()))), "mean"),
        (lambda q, a, asked: blind_by_counters(q, a, q[(asked[:, None] - q).abs().argmin(1)]), "is nearest"),
    ],
    "17.2": [
        (_fits(lambda t: t.mean()), "cells are averaged"),
        (_fits(lambda t: t.sum(1).mean()), "added up"),
        (_fits(lambda t: t.mean(0).max()), "choose one cell together"),
        (_fits(lambda t: t.max()), "Only the best word"),
        (_fits(lambda t: t.max(1)[0].sum()), "words are added up"),
        (_fits(lambda t: t.max(0)[0].mean()), "other way round"),
        (_fits(lambda t: t.logsumexp(1).mean()), "logsumexp"),
        (_fits(lambda t: t.min(1)[0].mean()), "least similar"),
        (_fits(lambda t: (t.softmax(1) * t).sum(1).mean()), "weighed by a softmax"),
        (_fits(lambda t: t.max(1)[1].double().mean()), "numbers of cells"),
        (lambda c, w, m: fits_by_loops(c, w, m).T, "transposed"),
        (lambda c, w, m: fits_by_loops(c, w, torch.ones_like(m)), "Padding is counted"),
        (lambda c, w, m: fits_by_hiding(c, w, m) * m.sum(1, keepdim=True) / m.shape[1], "still counted"),
        (lambda c, w, m: fits_by_loops(F.normalize(c, dim=2), F.normalize(w, dim=2), m), "to length 1"),
        (_fits(lambda t: t.max(1)[0][-1]), "last real word"),
        (_fits(lambda t: t.max(1)[0].relu().mean()), "cut off at 0"),
        (lambda c, w, m: (w[:, None] @ c.mT[None]).amax(2).mean(-1), "padding among them"),
        (lambda c, w, m: (w[:, None] @ c.mT[None]).amax(-1).masked_fill(~m[:, None], -1e9).mean(-1),
         "huge negative number"),
        (_fits(lambda t: t.abs().max(1)[0].mean()), "made positive"),
        (lambda c, w, m: (w[:, None] @ c.mT[None]).amax(-1).masked_fill(~m[:, None], -torch.inf).mean(-1),
         "set to −∞"),
        (_fits(lambda t: t[1:].max(1)[0].sum() / max(len(t) - 1, 1)), "first word of each text is left out"),
        (_fits(lambda t: t.max(1)[0].sum() / t.shape[1]), "by the number of cells"),
    ],
    "17.3": [
        (_place(stack=-1), "exchanged"),
        (_place(order="bcr"), "column by column"),
        (_place(lambda s: s), "no softmax"),
        (_place(lambda s: s / s.sum(1, keepdim=True)), "divided by their sum"),
        (_place(lambda s: (s == s.max(1, keepdim=True)[0]).double()), "best cell alone"),
        (_place(lambda s: torch.exp(s)), "not divided by their sum"),
        (_place(lambda s: F.softmax(s / math.sqrt(s.shape[1]), 1)), "no attention"),
        (_place_unguarded(lambda n: 2 * torch.arange(n) / n - 1), "columns − 1 steps"),
        (_place(x=lambda r, c: torch.linspace(0, 1, c), y=lambda r, c: torch.linspace(0, 1, r)), "0 to 1"),
        (_place(x=lambda r, c: (torch.arange(c) + 0.5) / c * 2 - 1,
                y=lambda r, c: (torch.arange(r) + 0.5) / r * 2 - 1), "edges of the picture"),
        (_place(y=lambda r, c: torch.linspace(1, -1, r)), "upwards"),
        (_place(x=lambda r, c: torch.linspace(0, 2, c), y=lambda r, c: torch.linspace(0, 2, r)), "0 to 2"),
        (_place(x=lambda r, c: torch.linspace(1, -1, c)), "to the left"),
        (_place(lambda s: F.softmax(s, 0)), "rows of the batch"),
        (_place(torch.sigmoid), "speak for itself"),
        (_place(x=lambda r, c: torch.arange(c), y=lambda r, c: torch.arange(r)), "numbers of columns"),
        (_place(lambda s: F.softmax(-s, 1)), "worst cell"),
        (_place(lambda s: F.softmax(s, 1) / s.shape[1]), "number of cells as well"),
        (_place(lambda s: torch.full_like(s, 1 / s.shape[1])), "weigh the same"),
        (_place_unguarded(lambda n: torch.linspace(-1, 1, n)), "is at −1 here"),
        (_place_unguarded(lambda n: 2 * torch.arange(n).double() / (n - 1) - 1), "divides by 0"),
        (lambda s, r, c: _place(lambda s: F.softmax(s.view(-1, r, c), 2).flatten(1))(s, r, c),
         "each row of a map"),
        (_place(x=lambda r, c: 2 * torch.arange(c).double() / c - 1,
                y=lambda r, c: 2 * torch.arange(r).double() / r - 1),
         "columns − 1 steps"),
        (_place_of_sums, "added up over rows and columns"),
    ],
    "17.4": [
        (_once(lambda n, of: min(n / 3, 1)), "Nobody is left out"),
        (_once(lambda n, of: n / of), "share of people who agree"),
        (_marks(lambda n, of: n / of), "share of people who agree"),
        (_once(lambda n, of: n > 0), "One who agrees"),
        (_once(lambda n, of: n >= 3), "fewer nothing"),
        (_marks(lambda n, of: n >= 3), "Three of the others give"),
        (_marks(lambda n, of: n / 3), "more than full marks"),
        (_marks(lambda n, of: min(n / 3, 1), sum), "added up"),
        (_marks(lambda n, of: min(n / 3, 1), lambda m: sum(m) / (len(m) - 1)), "one less"),
        (_marks(lambda n, of: min(n / 3, 1), lambda m: m[-1]), "Only the last"),
        (lambda a, g: accuracy_by_counts(a, g).mean(), "over all questions"),
        (lambda a, g: 100 * accuracy_by_counts(a, g), "percentages"),
        (_marks(lambda n, of: min(n / 4, 1)), "Four are asked"),
        (_marks(lambda n, of: max(n / 3, 1)), "from below"),
        (lambda a, g: torch.clamp(((g == a[:, None]).sum(1, keepdim=True) + (g == a[:, None])) / 3, max=1)
         .double().mean(1), "counted twice"),
        (_marks(lambda n, of: min(n / 3, 1), lambda m: sum(m) / 10), "divided by ten"),
        (_marks(lambda n, of: min(3 * n / of, 1)), "third of the others"),
        (_marks(lambda n, of: min(n / 3, 1), lambda m: sum(m[:-1]) / (len(m) - 1)), "The last of the people"),
        (_marks(lambda n, of: min(n / 3, 1), lambda m: sum(m[1:]) / (len(m) - 1)), "The first of the people"),
        (lambda a, g: torch.stack([torch.clamp((g[:, :k] == a[:, None]).sum(1).double() / 3, max=1)
                                   for k in range(g.shape[1])]).mean(0),
         "kept in turn"),
        (lambda a, g: torch.stack([torch.clamp(((g == g[:, k:k + 1]).sum(1) - 1).double() / 3, max=1)
                                   for k in range(g.shape[1])]).mean(0), "by one another"),
        (lambda a, g: torch.clamp(((g == a[:, None]).sum(0) - (g == a[:, None]).double()) / 3, max=1).mean(1),
         "over the questions"),
    ],
    "17.5": [
        (_constant, "one answer for everything"),
        (_by(1), "Only the words have a say"),
        (_by(0), "Only the pictures have a say"),
        (lambda t, w: w.sum(), "answer of its own"),
        (_best(orders=lambda n: [range(n)]), "in one order only"),
        (_best(counts=lambda n: range(1, n + 1)), "no to all"),
        (_best(counts=lambda n: range(n)), "yes to all"),
        (_best(alike=True), "Only the words have a say"),
        (_best(w=lambda w: torch.ones_like(w) / w.numel()), "not weighed"),
        (_best(join=min), "worst order"),
        (_best(join=lambda found: found[-1]), "tried last"),
        (_best(join=lambda found: sum(found) / len(found)), "mean over all orders"),
        (lambda t, w: 1 - _best()(t, w), "is wrong"),
        (_best(w=torch.ones_like), "weights are wanted"),
        (_mean_effects, "no better ones"),
        (lambda t, w: _best()(t, w) - (w * ~t).sum(), "is left out"),
        (lambda t, w: _best()(t, w) - (w * ~t).sum() + (w * t).sum(), "You start from"),
        (_best(orders=lambda n: [[*range(k, n), *range(k)] for k in range(n)]), "turned round"),
        (lambda t, w: _best(lambda n: [(w * (2 * t.double() - 1)).sum(1).argsort().flip(0).tolist()])(t, w),
         "gains in all"),
    ],
}
