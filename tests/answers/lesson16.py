"""Answers to lesson 16: right ones in other words than the course's, wrong ones with what is to be said."""

import itertools
import math
from collections import Counter

import torch
import torch.nn.functional as F

# 16.1 causal attention

def attention_by_loops(q, k, v):
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[2], dtype=q.dtype)
    for t in range(q.shape[1]):
        scores = (q[:, t : t + 1] * k[:, : t + 1]).sum(2) / q.shape[2] ** 0.5  # (batch, t + 1)
        out[:, t] = (scores.softmax(1)[:, :, None] * v[:, : t + 1]).sum(1)
    return out


def attention_of_torch(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _attention(mask=None, divide=lambda q: q.shape[-1] ** 0.5, hide=float("-inf"), dim=-1):
    def attend(q, k, v):
        s = torch.einsum("bqd,bkd->bqk", q, k) / divide(q)
        if mask is not None:
            s = torch.where(mask(torch.ones_like(s)).bool(), s, hide)
        return torch.softmax(s, dim) @ v
    return attend


def _masked_late(q, k, v):
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    return weights.tril() @ v


def _zeroed_scores(q, k, v):
    return ((q @ k.mT / q.shape[-1] ** 0.5).tril()).softmax(-1) @ v


def _running_mean(q, k, v):
    return v.cumsum(1) / torch.arange(1, v.shape[1] + 1)[:, None]


# 16.2 the loss

def loss_of_torch(logits, words):
    costs = F.cross_entropy(logits.transpose(1, 2), words[:, 1:], ignore_index=0, reduction="none")
    return costs.sum(1)


def loss_by_loops(logits, words):
    rows = []
    for z, w in zip(logits, words, strict=True):
        total = 0.0
        for place, word in enumerate(w[1:].tolist()):
            if word:
                total = total + torch.logsumexp(z[place], 0) - z[place, word]
        rows.append(total)
    return torch.stack(rows)


def _cross(change=lambda costs, there: costs.sum(1), shift=True, **settings):
    def loss(logits, words):
        goal = words[:, 1:] if shift else words[:, :-1]
        costs = F.cross_entropy(logits.mT, goal, reduction="none", **settings)
        return change(costs, goal != 0)
    return loss


# 16.3 beam search

def beam_by_tensors(first, after, end, width, most):
    n = len(first)
    words, total = torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1).double()
    ended = torch.zeros(1, dtype=torch.bool)
    for step in range(most):
        log_p = first.expand(1, n) if step == 0 else after[words[:, -1]]
        log_p = log_p.clone()
        log_p[ended] = -torch.inf
        log_p[ended, end] = 0.0
        scores = (total[:, None] + log_p).flatten()
        total, best = scores.topk(min(width, int(scores.isfinite().sum())))
        words = torch.cat([words[best // n], (best % n)[:, None]], 1)
        ended = words[:, -1] == end
    row = words[0].tolist()
    row = row[: row.index(end) + 1] if end in row else row
    return torch.tensor(row), total[0]


def beam_with_dict(first, after, end, width, most):
    kept = {(): 0.0}
    for _ in range(most):
        more = {}
        for words, total in kept.items():
            if words[-1:] == (end,):
                more[words] = total
            else:
                for word, p in enumerate((after[words[-1]] if words else first).tolist()):
                    more[(*words, word)] = total + p
        kept = dict(sorted(more.items(), key=lambda one: one[1])[-width:])
    words = max(kept, key=kept.get)
    return torch.tensor(words), torch.tensor(kept[words]).double()


def _ended_put_aside(first, after, end, width, most):
    kept, ended = [(0.0, [])], []
    for _ in range(most):
        grown = []
        for total, words in kept:
            log_p = after[words[-1]] if words else first
            grown += [(total + float(log_p[word]), [*words, word]) for word in range(len(first))]
        grown = sorted(grown, reverse=True)[:width]
        ended += [one for one in grown if one[1][-1] == end]
        kept = [one for one in grown if one[1][-1] != end]
        if not kept:
            break
    total, words = max(ended + kept)
    return torch.tensor(words), torch.tensor(total, dtype=torch.float64)


def _grown(kept, first, after):
    return {(*words, k): total + p for words, total in kept.items()
            for k, p in enumerate((after[words[-1]] if words else first).tolist())}


def _largest(totals, width):
    return dict(sorted(totals.items(), key=lambda one: -one[1])[:width])


def _ended_beside(first, after, end, width, most):
    going, ended = {(): 0.0}, {}
    for _ in range(most):
        more = _grown(going, first, after)
        ended |= {words: total for words, total in more.items() if words[-1] == end}
        going = _largest({words: total for words, total in more.items() if words[-1] != end}, width)
    (words, total), = _largest(ended | going, 1).items()
    return torch.tensor(words), torch.tensor(total).double()


def _until_one_ends(first, after, end, width, most):
    kept = {(): 0.0}
    for _ in range(most):
        kept = _largest(_grown(kept, first, after), width)
        done = {words: total for words, total in kept.items() if words[-1] == end}
        if done:
            break
    (words, total), = _largest(done or kept, 1).items()
    return torch.tensor(words), torch.tensor(total).double()


def _padded(first, after, end, width, most):
    words, total = beam_with_dict(first, after, end, width, most)
    return F.pad(words, (0, most - len(words))), total


def _first_for_nothing(first, after, end, width, most):
    kept = [((k,), 0.0) for k in first.argsort(descending=True)[:width].tolist()]
    for _ in range(most - 1):
        longer = [one for one in kept if one[0][-1] == end]
        longer += [((*words, k), total + float(after[words[-1], k])) for words, total in kept
                   if words[-1] != end for k in range(len(first))]
        kept = sorted(longer, key=lambda one: -one[1])[:width]
    return torch.tensor(kept[0][0]), torch.tensor(kept[0][1]).double()


def _exhaustive(first, after, end, width, most):
    best, found = -math.inf, None
    for words in itertools.product(range(len(first)), repeat=most):
        words = words[: words.index(end) + 1] if end in words else words
        total = first[words[0]] + sum(after[a, b] for a, b in itertools.pairwise(words))
        if total > best + 1e-12:
            best, found = total, words
    return torch.tensor(found), best.double()


def _greedy(first, after, end, width, most):
    words, total = [int(first.argmax())], first.max()
    while words[-1] != end and len(words) < most:
        total = total + after[words[-1]].max()
        words.append(int(after[words[-1]].argmax()))
    return torch.tensor(words), total


def _ranked(rank=lambda words, total: total, keep=lambda words, end: True, add=lambda total, p: total + p,
            last=lambda words, total: (words, total), grow=False, pick=0, more=0):
    def search(first, after, end, width, most):
        kept = [((), 0.0)]
        for _ in range(most + more):
            longer = []
            for words, total in kept:
                if words[-1:] == (end,) and not grow:
                    if keep(words, end):
                        longer.append((words, total))
                    continue
                log_p = after[words[-1]] if words else first
                longer += [((*words, k), add(total, float(p))) for k, p in enumerate(log_p)]
            if longer:
                kept = sorted(longer, key=lambda one: rank(*one), reverse=True)[:width]
        words, total = last(*kept[pick])
        return torch.tensor(words), torch.tensor(total, dtype=torch.float64)
    return search


# 16.4 BLEU

def bleu_of_torchmetrics(candidates, references):
    from torchmetrics.functional.text import bleu_score

    return bleu_score(candidates, [[text] for text in references]).item()


def bleu_by_logs(candidates, references):
    pairs = [(a.split(), b.split()) for a, b in zip(candidates, references, strict=True)]
    logs = []
    for n in (1, 2, 3, 4):
        right = total = 0
        for mine, its in pairs:
            left = [its[i : i + n] for i in range(len(its) - n + 1)]
            for i in range(len(mine) - n + 1):
                total += 1
                if mine[i : i + n] in left:
                    left.remove(mine[i : i + n])
                    right += 1
        if not right:
            return 0.0
        logs.append(math.log(right) - math.log(total))
    c, r = sum(len(a) for a, _ in pairs), sum(len(b) for _, b in pairs)
    return math.exp(sum(logs) / 4 + min(0, 1 - r / c))


def _bleu_of(hits, p_of=lambda right, total: right / total):
    """hits : of the runs of a caption, of its reference, and of all references"""
    def bleu(candidates, references):
        product, texts = 1.0, [[t.split() for t in group] for group in (candidates, references)]
        for n in (1, 2, 3, 4):
            mine, its = ([Counter(tuple(w[i : i + n]) for i in range(len(w) - n + 1)) for w in group]
                         for group in texts)
            anywhere = its[0]
            for runs in its:
                anywhere = anywhere | runs
            right = sum(hits(a, b, anywhere) for a, b in zip(mine, its, strict=True))
            product *= p_of(right, sum(a.total() for a in mine))
        c, r = (sum(map(len, group)) for group in texts)
        return min(1, math.exp(1 - r / c)) * product**0.25
    return bleu


def _bleu_of_letters(candidates, references):
    def spelled(texts):
        return [" ".join(text.replace(" ", "_")) for text in texts]

    precision = _bleu(brevity=lambda c, r: 1)(spelled(candidates), spelled(references))
    c, r = (sum(len(text.split()) for text in texts) for texts in (candidates, references))
    return precision * min(1, math.exp(1 - r / c))


def _bleu(clip=True, brevity=lambda c, r: min(1, math.exp(1 - r / c)), mean=lambda p: math.prod(p) ** 0.25,
          top=4, recall=False, sets=False):
    def bleu(candidates, references):
        p = []
        for n in range(1, top + 1):
            hits = runs = 0
            for a, b in zip(candidates, references, strict=True):
                grams = [Counter(zip(*(t.split()[k:] for k in range(n)), strict=False)) for t in (a, b)]
                if sets:
                    grams = [Counter(set(g)) for g in grams]
                hits += sum(min(v, grams[1][g]) if clip else v * (g in grams[1]) for g, v in grams[0].items())
                runs += sum(grams[recall].values())
            p.append(hits / runs if runs else 0.0)
        c, r = (sum(len(t.split()) for t in texts) for texts in (candidates, references))
        return brevity(c, r) * mean(p)
    return bleu


# 16.5 the best baseline

def baseline_by_vectors(logits, rewards):
    p = F.softmax(logits, dim=0)
    gradient = torch.eye(len(p), dtype=p.dtype) - p  # row a: of log p of word a
    norms = gradient.square().sum(1)
    return (p * norms) @ rewards / (p @ norms)


def baseline_by_search(logits, rewards):
    """The variance is a parabola in b: its three values at 0, 1 and 2 say where its bottom is."""
    p = F.softmax(logits, dim=0)
    gradient = torch.eye(len(p), dtype=p.dtype) - p

    def variance(b):
        g = gradient * (rewards - b)[:, None]
        return (p[:, None] * (g - p @ g).square()).sum()

    low, middle, high = (variance(b) for b in (0.0, 1.0, 2.0))
    return 1 - (high - low) / (2 * (high - 2 * middle + low))


def _weighted(weights):
    def baseline(logits, rewards):
        w = weights(F.softmax(logits, 0))
        return w @ rewards / w.sum()
    return baseline


def _norms(p):
    return (torch.eye(len(p), dtype=p.dtype) - p).square().sum(1)


RIGHT = {
    "16.1": [attention_by_loops, attention_of_torch],
    "16.2": [loss_of_torch, loss_by_loops],
    "16.3": [beam_by_tensors, beam_with_dict],
    "16.4": [bleu_by_logs, bleu_of_torchmetrics],
    "16.5": [baseline_by_vectors, baseline_by_search],
}
WRONG = {
    "16.1": [
        (_attention(), "Nothing is masked"),
        (_attention(torch.triu), "wrong side"),
        (_attention(lambda one: one.tril(-1)), "does not see itself"),
        (_attention(lambda one: one.tril(1)), "one place too late"),
        (lambda q, k, v: _attention(lambda one: one.tril(-1))(q, k, v).nan_to_num(), "you give 0"),
        (_attention(torch.tril, hide=0.0), "minus infinity"),
        (_zeroed_scores, "minus infinity"),
        (_masked_late, "after the softmax"),
        (_attention(torch.tril, lambda q: 1.0), "not divided by √d"),
        (_attention(torch.tril, lambda q: q.shape[-1]), "not by its root"),
        (_attention(torch.tril, lambda q: q.shape[1] ** 0.5), "number of words"),
        (_attention(torch.tril, dim=1), "over the queries"),
        (lambda q, k, v: attention_of_torch(k, q, v), "exchanged"),
        (_running_mean, "same weight"),
        (lambda q, k, v: attention_of_torch(q, k, torch.eye(q.shape[1]).double().expand(len(q), -1, -1)),
         "These are the weights"),
        (lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).tril() @ v, "no softmax"),
        (lambda q, k, v: attention_of_torch(q, k, k), "keys are averaged"),
    ],
    "16.2": [
        (_cross(shift=False, ignore_index=0), "shift the words"),
        (_cross(), "Padding is counted"),
        (_cross(lambda c, t: c.sum(1) / t.sum(1), ignore_index=0), "number of words"),
        (_cross(lambda c, t: c.mean(1), ignore_index=0), "padding included"),
        (lambda z, w: loss_of_torch(z, torch.where(w == 2, 0, w)), "end of a caption is left out"),
        (_cross(lambda c, t: -c.sum(1), ignore_index=0), "sign is flipped"),
        (_cross(lambda c, t: (c * F.pad(t, (1, 0), value=True)[:, :-1]).sum(1)), "one padding counts"),
        (lambda z, w: F.cross_entropy(z.flatten(0, 1), w[:, 1:].flatten(), ignore_index=0),
         "all captions are averaged"),
        (_cross(lambda c, t: c.sum(1) / math.log(2), ignore_index=0), "base 2"),
        (_cross(lambda c, t: (-c.sum(1)).exp(), ignore_index=0), "probability of the caption"),
        (_cross(lambda c, t: c.sum(1).mean(), ignore_index=0), "averaged: give one"),
        (_cross(lambda c, t: c.sum(), ignore_index=0), "added up: give one"),
        (_cross(lambda c, t: c, ignore_index=0), "single words"),
        (lambda z, w: loss_of_torch(z.softmax(-1), w), "second softmax"),
        (lambda z, w: -(torch.gather(z, 2, w[:, 1:].unsqueeze(2)).squeeze(2) * (w[:, 1:] > 0)).sum(1),
         "as they are"),
        (_cross(lambda c, t: (c.sum(1) / t.sum(1)).exp(), ignore_index=0), "perplexity"),
    ],
    "16.3": [
        (_greedy, "greedy"),
        (_exhaustive, "whatever the width"),
        (_ranked(keep=lambda words, end: False), "thrown away"),
        (_ranked(grow=True), "made longer"),
        (_ranked(add=lambda total, p: p), "last word alone"),
        (_ranked(add=lambda total, p: total + math.exp(p)), "Probabilities are added"),
        (_ranked(rank=lambda words, total: total / len(words)), "divided by the number of words"),
        (_ranked(rank=lambda words, total: -total), "unlikeliest"),
        (lambda f, a, e, w, m: beam_with_dict(f, a.T, e, w, m), "wrong way round"),
        (_ranked(more=1), "too long"),
        (_ranked(more=-1), "too short"),
        (_ranked(last=lambda words, total: (words, math.exp(total))), "probability; its logarithm"),
        (_ranked(pick=-1), "the worst of them"),
        (lambda f, a, e, w, m: beam_by_tensors(f, a, e, w + 1, m), "too many is kept"),
        (_first_for_nothing, "first word's own"),
        (_ended_put_aside, "put aside"),
        (_ended_beside, "go on beside"),
        (_until_one_ends, "first caption that ends"),
        (_padded, "Behind the end"),
        (lambda f, a, e, w, m: beam_with_dict(f, torch.stack([f] * len(f)), e, w, m), "scored by `first`"),
        (_ranked(last=lambda words, total: (words, -total)), "minus the log-probability"),
    ],
    "16.4": [
        (_bleu(clip=False), "not clipped"),
        (_bleu(brevity=lambda c, r: 1), "no brevity"),
        (_bleu(brevity=lambda c, r: min(1, c / r)), "penalty is c/r"),
        (_bleu(brevity=lambda c, r: math.exp(1 - r / c)), "bonus"),
        (_bleu(mean=lambda p: sum(p) / 4), "geometric"),
        (_bleu(mean=math.prod), "fourth root"),
        (_bleu(mean=lambda p: p[3]), "Only runs of four"),
        (_bleu(top=1, mean=lambda p: p[0]), "Only single words"),
        (_bleu(top=3, mean=lambda p: math.prod(p) ** (1 / 3)), "four words are left out"),
        (_bleu(recall=True), "which is a recall"),
        (_bleu(sets=True), "counts once"),
        (_bleu_of(lambda a, b, every: len(a & b)), "right each counts once"),
        (_bleu_of(lambda a, b, every: (a | b).total()), "larger of both"),
        (_bleu_of(lambda a, b, every: (a & every).total()), "references of all captions"),
        (_bleu_of(lambda a, b, every: (a & b).total(), lambda right, total: (right + 1) / (total + 1)),
         "smoothed"),
        (_bleu_of_letters, "made of letters"),
        (lambda c, r: sum(bleu_by_logs([a], [b]) for a, b in zip(c, r, strict=True)) / len(c), "own BLEU"),
        (lambda c, r: 100 * bleu_by_logs(c, r), "by 100"),
        (lambda c, r: bleu_by_logs([" ".join(c)], [" ".join(r)]), "joined"),
        (_bleu(brevity=lambda c, r: 1 if c > r else math.exp(1 - c / r)), "exchanged"),
    ],
    "16.5": [
        (lambda z, r: z.softmax(0) @ r, "usual baseline"),
        (lambda z, r: r.mean(), "All rewards weigh the same"),
        (lambda z, r: r.max(), "largest reward"),
        (lambda z, r: r[z.argmax()], "self-critical"),
        (_weighted(_norms), "How often a word is drawn"),
        (_weighted(lambda p: p * _norms(p).sqrt()), "not squared"),
        (_weighted(lambda p: p * (1 - p) ** 2), "own entry"),
        (_weighted(lambda p: p * (1 - p)), "p(1 − p)"),
        (_weighted(lambda p: p * (1 - 2 * p)), "lacks"),
        (_weighted(lambda p: p * (1 + 2 * p + (p**2).sum())), "sign of 2p"),
        (lambda z, r: (z.softmax(0) * _norms(z.softmax(0)) * r).sum(), "missing below"),
        (_weighted(lambda p: p**2), "probabilities squared"),
        (_weighted(lambda p: p * (torch.eye(len(p)).double() - p).square().sum(0)), "other dimension"),
        (_weighted(lambda p: p * _norms(p) ** 2), "once more"),
        (lambda z, r: (z.softmax(0) * r) @ _norms(z.softmax(0)) / _norms(z.softmax(0)).sum(),
         "divided by that of"),
        (lambda z, r: -baseline_by_vectors(z, r), "sign is flipped"),
        (lambda z, r: r.median(), "median"),
    ],
}
