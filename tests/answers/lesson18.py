"""Answers to lesson 18: right ones in other words than the course's, wrong ones with what is to be said."""

from itertools import permutations
from math import comb

import torch
import torch.nn.functional as F

# 18.1 average precision with ties

def ap_by_shares(scores, relevant):
    order = scores.argsort(descending=True)
    s, y = scores[order], relevant[order].double()
    total = torch.zeros((), dtype=torch.float64)
    for k in range(len(s)):
        group = s == s[k]
        n, r = group.sum().double(), y[group].sum()
        first = int(group.nonzero()[0])
        inside = (k - first) * (r - 1) / (n - 1) if n > 1 else 0
        total += r / n * (y[:first].sum() + 1 + inside) / (k + 1)
    return total / y.sum()


def ap_by_hypergeometric(scores, relevant):
    values, total, ahead, found = sorted(set(scores.tolist()), reverse=True), 0.0, 0, 0
    for value in values:
        hits = [bool(y) for s, y in zip(scores.tolist(), relevant.tolist(), strict=True) if s == value]
        n, r = len(hits), sum(hits)
        for i in range(n):
            for m in range(r):  # m mates among the i before, then a relevant one
                if i - m > n - r or m > i:
                    continue
                chance = comb(r, m) * comb(n - r, i - m) / comb(n, i) * (r - m) / (n - i)
                total += chance * (found + m + 1) / (ahead + i + 1)
        ahead, found = ahead + n, found + r
    return torch.tensor(total / found, dtype=torch.float64)


def _stable(key=None, descending=True):
    def ap(scores, relevant):
        rows = torch.arange(len(scores)) if key is None else key(relevant).argsort(stable=True)
        rows = rows[scores[rows].argsort(stable=True, descending=descending)]
        hits = relevant[rows].double()
        precision = hits.cumsum(0) / (torch.arange(len(hits)) + 1)
        return precision[hits > 0].mean()
    return ap


def ap_of_steps(scores, relevant):
    """scikit-learn's: a sum of precision × step of recall over the thresholds."""
    total, before = 0.0, 0.0
    for value in sorted(set(scores.tolist()), reverse=True):
        kept = scores >= value
        recall = (kept & relevant).sum().double() / relevant.sum()
        total, before = total + (kept & relevant).sum().double() / kept.sum() * (recall - before), recall
    return total


def _changed(change):
    def ap(scores, relevant):
        return change(ap_by_shares(scores, relevant), scores, relevant)
    return ap


def _places(weigh):
    def ap(scores, relevant):
        total, ahead, found = 0, 0, 0
        for value in sorted(set(scores.tolist()), reverse=True):
            here = relevant[scores == value]
            n, r = len(here), int(here.sum())
            for i in range(n):
                total += weigh(i, n, r, ahead, found)
            ahead, found = ahead + n, found + r
        return torch.tensor(float(total / relevant.sum())).double()
    return ap


# 18.2 two tags of one thing

def pairs_by_loops(color, kind):
    out = torch.zeros(len(color), color.shape[2], kind.shape[2], dtype=color.dtype)
    for i in range(color.shape[2]):
        for j in range(kind.shape[2]):
            out[:, i, j] = (torch.sigmoid(color[:, :, i]) * torch.sigmoid(kind[:, :, j])).max(1)[0]
    return out


def pairs_by_einsum(color, kind):
    return torch.einsum("pxc,pxk->pxck", color.sigmoid(), kind.sigmoid()).amax(dim=1)


# 18.3 thresholds

def thresholds_by_loops(probability, truth, candidates, cost_miss, cost_false):
    found = []
    for tag in range(truth.shape[1]):
        best, chosen = float("inf"), None
        for t in candidates.tolist():
            cost = 0
            for p, y in zip(probability[:, tag].tolist(), truth[:, tag].tolist(), strict=True):
                cost += cost_miss * (y and p < t) + cost_false * (not y and p >= t)
            if cost < best:
                best, chosen = cost, t
        found.append(chosen)
    return torch.tensor(found, dtype=torch.float64)


def thresholds_by_min(probability, truth, candidates, cost_miss, cost_false):
    tagged = (probability[None] >= candidates[:, None, None]).double()
    y = truth.double()
    cost = (cost_miss * y * (1 - tagged) + cost_false * (1 - y) * tagged).sum(1)
    return candidates[cost.min(0).indices]


def thresholds_by_means(probability, truth, candidates, cost_miss, cost_false):
    def paid(column, has):
        late = candidates[:, None] > column                              # (n, rows): not set
        return torch.where(late, cost_miss * has.double(), cost_false * (~has).double()).mean(-1)

    tables = [paid(*pair) for pair in zip(probability.T, truth.T, strict=True)]
    return torch.stack([candidates[table.argmin()] for table in tables])


def _cut(cost=lambda fn, fp, y, m, f: m * fn + f * fp, ge=True, choose=lambda c, cost: c[cost.argmin(1)],
         over=0):
    def thresholds(probability, truth, candidates, cost_miss, cost_false):
        p, y = probability.unsqueeze(-1), truth.unsqueeze(-1)
        on = p >= candidates if ge else p > candidates
        fn, fp = (y & ~on).sum(over).double(), (~y & on).sum(over).double()
        return choose(candidates, cost(fn, fp, truth.double(), cost_miss, cost_false))
    return thresholds


# 18.4 inverted file

def lists_by_loops(query, vectors, centres, lists, probes, k):
    chosen = sorted(range(len(centres)), key=lambda c: -float(centres[c] @ query))[:probes]
    rows = [row for row in range(len(vectors)) if int(lists[row]) in chosen]
    rows.sort(key=lambda row: -float(vectors[row] @ query))
    return torch.tensor(rows[:k])


def lists_by_hiding(query, vectors, centres, lists, probes, k):
    chosen = (centres @ query).argsort(descending=True)[:probes]
    seen = (lists[:, None] == chosen).any(1)
    scores = (vectors @ query).masked_fill(~seen, -torch.inf)
    return scores.topk(min(k, int(seen.sum()))).indices


def _lists(choose=lambda c, q, p: (c @ q).topk(p)[1], score=lambda v, q: v @ q, end=None, give=None):
    def search(query, vectors, centres, lists, probes, k):
        rows = torch.where(torch.isin(lists, choose(centres, query, probes)))[0]
        scores = score(vectors[rows], query)
        best = scores.topk(min(k, len(rows)))[1]
        return rows[best] if give is None else give(rows, scores, best, k)
    return search


# 18.5 a smaller gallery

def galleries_by_comb(beaten, gallery, sizes):
    n = gallery - 1
    return torch.tensor([sum(comb(n - int(a), size - 1) / comb(n, size - 1) for a in beaten) / len(beaten)
                         for size in sizes], dtype=torch.float64)


def galleries_by_lgamma(beaten, gallery, sizes):
    n, a = torch.tensor(gallery - 1.0).double(), beaten.double()
    found = []
    for size in sizes:
        free = n - a - (size - 1)
        log = torch.lgamma(n - a + 1) - torch.lgamma(free.clamp(min=0) + 1) - torch.lgamma(n + 1) \
            + torch.lgamma(n - size + 2)
        found.append(torch.where(free >= 0, log.exp(), 0.0).mean())
    return torch.stack(found)


def _galleries(of):
    def smaller(beaten, gallery, sizes):
        return torch.stack([torch.as_tensor(of(beaten.double(), gallery, n)).double() for n in sizes])
    return smaller


def _comb(a, rows, draws):
    return torch.tensor([comb(rows - int(b), draws) / comb(rows, draws) for b in a], dtype=torch.float64)


def ap_by_every_order(scores, relevant):
    """Too slow for more than nine rows; kept for the reader: the definition."""
    found = [float(_stable()(scores[list(order)], relevant[list(order)]))
             for order in permutations(range(len(scores)))]
    return sum(found) / len(found)


RIGHT = {
    "18.1": [ap_by_shares, ap_by_hypergeometric],
    "18.2": [pairs_by_loops, pairs_by_einsum],
    "18.3": [thresholds_by_loops, thresholds_by_min, thresholds_by_means],
    "18.4": [lists_by_loops, lists_by_hiding],
    "18.5": [galleries_by_comb, galleries_by_lgamma],
}
WRONG = {
    "18.1": [
        (_stable(), "order in which they are stored"),
        (_stable(lambda y: -y.double()), "put first"),
        (_stable(lambda y: y.double()), "put last"),
        (ap_of_steps, "precision at the last of them"),
        (_stable(descending=False), "sort from the largest"),
        (lambda s, y: torch.stack([(((s > v) & y).sum() + 1.0) / ((s > v).sum() + 1) for v in s[y]]).double(
            ).mean(), "none is counted before it"),
        (_changed(lambda ap, s, y: ap * y.sum() / len(y)), "divided by all rows"),
        (_changed(lambda ap, s, y: ap * y.sum()), "not divided"),
        (_places(lambda i, n, r, ahead, found: r / n * (found + 1 + i * r / n) / (ahead + i + 1)),
         "r − 1 of"),
        (_places(lambda i, n, r, ahead, found: r / n * (found + (i + 1) * r / n) / (ahead + i + 1)),
         "expected number"),
        (_places(lambda i, n, r, ahead, found: r / n * (found + (r + 1) / 2) / (ahead + (n + 1) / 2)),
         "mean of their ranks"),
        (_places(lambda i, n, r, ahead, found:
                 r / n * (found + 1 + (i + 1) * (r - 1) / max(n - 1, 1) * (n > 1)) / (ahead + i + 1)),
         "i − 1 of its rows stand before"),
        (_places(lambda i, n, r, ahead, found:
                 (r > 0) / n * (found + 1 + i * (r - 1) / max(n - 1, 1)) / (ahead + i + 1)), "not 1/n: r of"),
        (_places(lambda i, n, r, ahead, found: r / n * (found + 1 + i * (r - 1) / n) / (ahead + i + 1)),
         "not (r − 1)/n"),
        (_places(lambda i, n, r, ahead, found:
                 r / n * (found + 1 + i * r / max(n - 1, 1)) / (ahead + i + 1)), "not r/(n − 1)"),
        (_places(lambda i, n, r, ahead, found: r / n * (found + (r + 1) / 2) / (ahead + i + 1)),
         "Half of the mates"),
        (_places(lambda i, n, r, ahead, found: r / n * (found + 1) / (ahead + i + 1)), "are left out: (i"),
        (_places(lambda i, n, r, ahead, found:
                 r / n * (found + 1 + i * (r - 1) / max(n - 1, 1)) / (found + i + 1)), "move the rank"),
        (_places(lambda i, n, r, ahead, found:
                 r / n * (ahead + 1 + i * (r - 1) / max(n - 1, 1)) / (ahead + i + 1)), "count as found"),
        (_places(lambda i, n, r, ahead, found:
                 r / n * (found + r + 1 + i * (r - 1) / max(n - 1, 1)) / (ahead + n + i + 1)), "too early"),
        (lambda s, y: ap_by_shares(s[(s[:, None] == s[y]).any(1)], y[(s[:, None] == s[y]).any(1)]),
         "passed over"),
        (_places(lambda i, n, r, ahead, found:
                 1 / n * (found + 1 + i * (r - 1) / max(n - 1, 1)) / (ahead + i + 1)), "where r is 0"),
        (_places(lambda i, n, r, ahead, found:
                 r / n * (found + 1 + i * (r - 1) / max(n - 1, 1)) / (i + 1)), "a place among all rows"),
        (_places(lambda i, n, r, ahead, found:
                 r / n * (1 + i * (r - 1) / max(n - 1, 1)) / (ahead + i + 1)), "better scores are left out"),
        (lambda s, y: (_stable(lambda y: -y.double())(s, y) + _stable(lambda y: y.double())(s, y)) / 2,
         "halfway between"),
        (lambda s, y: (y[s.argsort(descending=True)].double().cumsum(0)
                       / torch.arange(1, len(s) + 1)).mean(), "over all ranks"),
        (lambda s, y: 1 / (y[s.argsort(descending=True)].double().argmax() + 1), "reciprocal rank"),
    ],
    "18.2": [
        (lambda c, k: c.sigmoid().max(1)[0].unsqueeze(2) * k.sigmoid().max(1)[0].unsqueeze(1), "another"),
        (lambda c, k: torch.sigmoid(c.amax(1))[:, :, None] * torch.sigmoid(k.amax(1))[:, None], "another"),
        (lambda c, k: torch.einsum("pxc,pxk->pck", c.sigmoid(), k.sigmoid()), "added up"),
        (lambda c, k: torch.einsum("pxc,pxk->pck", c.sigmoid(), k.sigmoid()) / c.shape[1], "averaged"),
        (lambda c, k: (c.unsqueeze(3) * k.unsqueeze(2)).amax(1), "logits are multiplied"),
        (lambda c, k: (c.unsqueeze(3) + k.unsqueeze(2)).sigmoid().amax(1), "logits are added"),
        (lambda c, k: ((c.sigmoid().unsqueeze(3) + k.sigmoid().unsqueeze(2)) / 2).amax(1),
         "probabilities are averaged"),
        (lambda c, k: pairs_by_einsum(c, k).mT, "axes are exchanged"),
        (lambda c, k: torch.einsum("pc,pk->pck", c.mean(1).sigmoid(), k.mean(1).sigmoid()),
         "logits are averaged"),
        (lambda c, k: torch.einsum("pxc,pxk->pxck", c.sigmoid(), k.sigmoid()).logsumexp(1), "soft largest"),
        (lambda c, k: torch.einsum("pxc,pxk->pxck", c.softmax(-1), k.softmax(-1)).amax(1), "compete"),
        (lambda c, k: 1 - (1 - torch.einsum("pxc,pxk->pxck", c.sigmoid(), k.sigmoid())).prod(1),
         "as if each were another toy"),
        (lambda c, k: torch.einsum("pxc,pxk->pxck", c.sigmoid(), k.sigmoid()).amin(1), "smallest cell"),
        (lambda c, k: torch.einsum("pxc,pxk->pxck", c.sigmoid(), k.sigmoid()).argmax(1), "not argmax"),
        (lambda c, k: (c.unsqueeze(3) + k.unsqueeze(2)).amax(1), "there is no sigmoid"),
    ],
    "18.3": [
        (_cut(lambda fn, fp, y, m, f: f * fn + m * fp), "exchanged"),
        (_cut(ge=False), "in the place of >"),
        (_cut(lambda fn, fp, y, m, f: fn + fp), "costs are left out"),
        (lambda p, y, c, m, f: c[torch.stack([m * (y & (p < t)).sum(0) + f * (~y & (p > t)).sum(0)
                                              for t in c]).argmin(0)], "count of false alarms too"),
        (_cut(lambda fn, fp, y, m, f: m * fn), "Only misses"),
        (_cut(lambda fn, fp, y, m, f: f * fp), "Only false alarms"),
        (_cut(choose=lambda c, cost: c[cost.argmax(1)]), "dearest"),
        (_cut(choose=lambda c, cost: c[cost.sum(0).argmin()].repeat(len(cost))), "one threshold"),
        (_cut(choose=lambda c, cost: c[cost.sum(0).argmin()]), "one threshold"),
        (lambda p, y, c, m, f: c[torch.stack([m * (y & (p >= t)).sum(0) + f * (~y & (p >= t)).sum(0)
                                              for t in c]).argmin(0)], "true and set are counted"),
        (lambda p, y, c, m, f: c[torch.stack([m * (y & (p < t)).sum(0) + f * (~y & (p < t)).sum(0)
                                              for t in c]).argmin(0)], "neither set nor true"),
        (lambda p, y, c, m, f: c[torch.stack([m * (y & (p >= t)).sum(0) + f * (~y & (p < t)).sum(0)
                                              for t in c]).argmin(0)], "at or above it"),
        (_cut(choose=lambda c, cost: cost.argmin(1)), "places in the list"),
        (_cut(choose=lambda c, cost: cost.min(1)[0]), "what the best thresholds cost"),
        (_cut(choose=lambda c, cost: torch.stack([c[row == row.min()].min() for row in cost])),
         "the smallest"),
        (lambda p, y, c, m, f: c[torch.stack([m * (y & (p < t)).sum(0) + f * (p >= t).sum(0)
                                              for t in c]).argmin(0)], "set counts as a false alarm"),
        (lambda p, y, c, m, f: c[torch.stack([m * (p < t).sum(0) + f * (~y & (p >= t)).sum(0)
                                              for t in c]).argmin(0)], "not set counts as a miss"),
        (_cut(lambda fn, fp, y, m, f: m * fn / y.sum(0)[:, None].clamp(min=1)
              + f * fp / (1 - y).sum(0)[:, None].clamp(min=1)), "divided by the rows"),
    ],
    "18.4": [
        (lambda q, v, c, at, p, k: (v @ q).topk(k)[1], "All lists"),
        (lambda q, v, c, at, p, k: torch.tensor([
            row for row in (v @ q).topk(k)[1].tolist() if at[row] in (c @ q).topk(p)[1]]).long(),
         "then dropped"),
        (lambda q, v, c, at, p, k: lists_by_loops(q, v, c, at, k, p), "exchanged"),
        (lambda q, v, c, at, p, k: lists_by_loops(q, v, c, at, p - 1 or 1, k), "One list too few"),
        (lambda q, v, c, at, p, k: torch.tensor((lists_by_loops(q, v, c, at, p, k).tolist() + k * [-1])[:k]),
         "filled up with −1"),
        (_lists(lambda c, q, p: (c @ q).argmax()), "Only the nearest list"),
        (_lists(lambda c, q, p: (c @ q).argsort()[:p]), "farthest"),
        (_lists(lambda c, q, p: torch.cdist(c, q[None])[:, 0].topk(p, largest=False)[1]),
         "by the distance of"),
        (_lists(give=lambda rows, scores, best, k: best), "places among the rows"),
        (_lists(give=lambda rows, scores, best, k: rows[scores.argsort()[:k]]), "worst rows come first"),
        (_lists(score=lambda v, q: F.cosine_similarity(v, q[None])), "by their cosine"),
        (_lists(score=lambda v, q: -torch.cdist(v, q[None])[:, 0]), "by their distance"),
        (_lists(give=lambda rows, scores, best, k: scores[best]), "inner products"),
        (_lists(give=lambda rows, scores, best, k: rows[scores.argsort(descending=True)[1:k + 1]]),
         "nearest row is left out"),
        (_lists(give=lambda rows, scores, best, k: rows[scores.argsort(descending=True)]), "give the k best"),
        (lambda q, v, c, at, p, k: torch.cat([lists_by_loops(q, v, c[[one]], (at != one).long(), 1, k)
                                              for one in (c @ q).topk(p)[1].tolist()])[:k],
         "the first k of these"),
        (lambda q, v, c, at, p, k: ((v @ q) * torch.isin(at, (c @ q).topk(p)[1])).topk(k)[1], "the score 0"),
        (lambda q, v, c, at, p, k: (v @ q).masked_fill(
            ~torch.isin(at, (c @ q).topk(p)[1]), -torch.inf).argsort(descending=True)[:k], "filled up"),
        (_lists(lambda c, q, p: (F.normalize(c, dim=1) @ q).topk(p)[1],
                lambda v, q: F.normalize(v, dim=1) @ q), "compared by their cosine"),
        (_lists(lambda c, q, p: torch.cdist(c, q[None])[:, 0].topk(p, largest=False)[1],
                lambda v, q: -torch.cdist(v, q[None])[:, 0]), "compared by their distance"),
        (lambda q, v, c, at, p, k: lists_by_hiding(q, v, c, (v @ c.T).argmax(1), p, k), "into lists anew"),
    ],
    "18.5": [
        (_galleries(lambda a, N, n: (1 - a / (N - 1)).pow(n - 1).mean()), "with putting back"),
        (_galleries(lambda a, N, n: _comb(a, N - 1, min(n, N - 1)).mean()), "n others are drawn"),
        (_galleries(lambda a, N, n: _comb(a, N, n - 1).mean()), "from N − 1"),
        (_galleries(lambda a, N, n: 1 - _comb(a, N - 1, n - 1).mean()), "being beaten"),
        (_galleries(lambda a, N, n: _comb(a, N - 1, n - 1).sum()), "added up"),
        (_galleries(lambda a, N, n: _comb(N - 1 - a, N - 1, n - 1).mean()), "that none does"),
        (_galleries(lambda a, N, n: _comb(a, N - 1, max(n - 2, 0)).mean()), "One draw too few"),
        (_galleries(lambda a, N, n: torch.stack([(N - 1 - a) / (N - 1 - j) for j in range(n - 1)]
                                                + [torch.ones(len(a)).double()]).prod(0).mean()),
         "are used up, too"),
        (_galleries(lambda a, N, n: _comb(a, N - 1, n - 1).median()), "median"),
        (_galleries(lambda a, N, n: (1 - a / N).pow(n).mean()), "of all N photos, n of them"),
        (_galleries(lambda a, N, n: (a == 0).double().mean()), "whole gallery, for every size"),
        (_galleries(lambda a, N, n: (-a * (n - 1) / (N - 1)).exp().mean()), "approximation"),
        (_galleries(lambda a, N, n: (1 / (1 + a * (n - 1) / (N - 1))).mean()), "reciprocal"),
        (lambda a, N, sizes: galleries_by_comb(a, N, sorted(sizes)), "in which they are asked"),
        (_galleries(lambda a, N, n: torch.stack([(N - 1 - a - j).clamp(min=0) / (N - 1) for j in range(n - 1)]
                                                + [torch.ones(len(a)).double()]).prod(0).mean()),
         "shrinks, too"),
        (_galleries(lambda a, N, n: torch.stack([(N - a - j).clamp(min=0) / (N - 1 - j) for j in range(n - 1)]
                                                + [torch.ones(len(a)).double()]).prod(0).mean()),
         "not N − a"),
        (_galleries(lambda a, N, n: torch.stack([(N - 1 - a - j).clamp(min=0) / (N - 1 - j or 1)
                                                 for j in range(1, n)] + [torch.ones(len(a)).double()]
                                                ).prod(0).mean()), "from 1 to n − 1"),
        (_galleries(lambda a, N, n: _comb((a + 1).clamp(max=N - 1), N - 1, n - 1).mean()),
         "counted among those"),
    ],
}
