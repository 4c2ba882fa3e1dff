"""Exercises of lesson 16: captioning."""

import math
from collections import Counter

import torch

from cmlib.check.engine import Draw, case, exercise
from cmlib.check.telling import telling


# 16.1 -------------------------------------------------------------------------------------------------------
@exercise("16.1", "Attention that cannot see ahead", minutes=10, points=2, difficulty=2, grad=(0, 1, 2))
def causal_attention(q, k, v):
    tokens, size = q.shape[1], q.shape[2]
    scores = q @ k.transpose(1, 2) / math.sqrt(size)  # (batch, tokens, tokens): query, key
    later = torch.ones(tokens, tokens).triu(diagonal=1).bool()
    scores = scores.masked_fill(later, -math.inf)
    weights = scores.softmax(dim=2)
    return weights @ v


@causal_attention.cases
def _(draw):
    for batch, tokens, size, width in ((2, 5, 3, 4), (1, 4, 6, 2)):
        yield telling(causal_attention, lambda a=batch, b=tokens, c=size, d=width: case(
            1.5 * draw.normal(a, b, c), 1.5 * draw.normal(a, b, c), draw.normal(a, b, d),
            about=f"{b} words with queries of {c} numbers and values of {d}"))
    yield case(draw.normal(2, 1, 3), draw.normal(2, 1, 3), draw.normal(2, 1, 2),
               about="a caption of one word")


def _seen(tokens, diagonal=0):
    return torch.ones(tokens, tokens).tril(diagonal).bool()


def _attend(q, k, v, seen=None, scale=None, hide=-math.inf, dim=2, weigh=None):
    scores = q @ k.transpose(1, 2) * (q.shape[2] ** -0.5 if scale is None else scale)
    if seen is not None:
        scores = scores.masked_fill(~seen, hide)
    weights = scores.softmax(dim) if weigh is None else weigh(scores)
    return weights @ v


for _sentence, _slip in {
    "Nothing is masked: a word sees the words that follow it, and so the one that it is to foretell.":
        lambda q, k, v: _attend(q, k, v),
    "The mask is on the wrong side: a word sees itself and what follows, and not what came before.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]).T),
    "A word does not see itself, and the first word sees nothing at all: mask from the word after it on.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1], -1)),
    "A word does not see itself, and you give 0 where nothing is left to see: mask from the next word on.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1], -1), weigh=lambda s: s.softmax(2).nan_to_num()),
    "A word also sees the one that follows it: the mask begins one place too late.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1], 1)),
    "Later words get the score 0, and exp(0) is 1: they keep their weight. Their score is minus infinity.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]), hide=0.0),
    "Later words get the score −1, which makes their weight smaller and not 0.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]), hide=-1.0),
    "The mask comes after the softmax: the weights that are left no longer add up to 1.":
        lambda q, k, v: (_attend(q, k, torch.eye(q.shape[1]).double()) * _seen(q.shape[1])) @ v,
    "The scores are not divided by √d.": lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]), scale=1.0),
    "The scores are divided by d, not by its root.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]), scale=1 / q.shape[2]),
    "The scores are multiplied by √d: divide.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]), scale=q.shape[2] ** 0.5),
    "The root is of the number of words; it is of d, the numbers in a query.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]), scale=q.shape[1] ** -0.5),
    "The softmax runs over the queries: the weights of one word, over the words it looks at, add up to 1.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]), dim=1),
    "The weights are transposed before they meet the values.":
        lambda q, k, v: _attend(q, k, torch.eye(q.shape[1]).double(), _seen(q.shape[1])).transpose(1, 2) @ v,
    "Queries and keys are exchanged: the rows of the scores belong to the words that look.":
        lambda q, k, v: _attend(k, q, v, _seen(q.shape[1])),
    "Every earlier word gets the same weight: the scores of queries and keys are not used.":
        lambda q, k, v: _seen(q.shape[1]).double() / torch.arange(1.0, q.shape[1] + 1).double()[:, None] @ v,
    "There is no softmax: the scores themselves are used as weights.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]), hide=0.0, weigh=lambda s: s),
    "A sigmoid makes each weight alone; the weights of one word must share a softmax.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]), weigh=torch.sigmoid),
    "These are the weights; with them the values are still to be averaged.":
        lambda q, k, v: _attend(q, k, torch.eye(q.shape[1]).double(), _seen(q.shape[1])),
    "The keys are averaged; the values are wanted.":
        lambda q, k, v: _attend(q, k, k, _seen(q.shape[1])),
    "Only the word with the largest score is read: take the mean of all values, by their weights.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]), weigh=lambda s: (
            s == s.amax(2, keepdim=True)).double()),
    "Only the word itself and the one before are seen: all earlier words are.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]) & _seen(q.shape[1], 1).T),
    "The values are added up by exp(score), and not divided by the sum of the weights.":
        lambda q, k, v: _attend(q, k, v, _seen(q.shape[1]), weigh=torch.exp),
}.items():
    causal_attention.mistake(_sentence)(_slip)


# 16.2 -------------------------------------------------------------------------------------------------------
@exercise("16.2", "What a caption costs", minutes=10, points=2, difficulty=2, grad=(0,))
def caption_loss(logits, words):
    next_words = words[:, 1:]  # (batch, tokens − 1)
    log_p = logits.log_softmax(dim=2)
    picked = log_p.gather(2, next_words[:, :, None]).squeeze(2)  # (batch, tokens − 1)
    there = (next_words != 0).double()
    return -(picked * there).sum(dim=1)


@caption_loss.cases
def _(draw):
    def one(batch, longest, n_words):
        words = torch.zeros(batch, longest + 2, dtype=torch.int64)
        for row in range(batch):
            length = longest if row == 0 else int(draw.integers(longest, low=1))
            words[row, : length + 2] = torch.cat([torch.tensor([1]), draw.integers(n_words, length, low=3),
                                                  torch.tensor([2])])
        return case(1.5 * draw.normal(batch, longest + 1, n_words), words,
                    about=f"{batch} captions of at most {longest} words, of a vocabulary of {n_words}")

    yield telling(caption_loss, lambda: one(3, 4, 7))
    yield telling(caption_loss, lambda: one(4, 6, 9))


def _costs(logits, words, targets=None):
    targets = words[:, 1:] if targets is None else targets
    costs = -logits.log_softmax(2).gather(2, targets[..., None])[..., 0]
    return costs, (targets != 0).double()


def _summed(logits, words, targets=None):
    costs, there = _costs(logits, words, targets)
    return (costs * there).sum(1)


def _of_costs(change):
    def loss(logits, words):
        costs, there = _costs(logits, words)
        return change(costs, there, words)
    return loss


for _sentence, _slip in {
    "The scores are compared with the words that were just read, not with those that follow: shift the words "
    "by one.": lambda z, w: _summed(z, w, w[:, :-1]),
    "Padding is counted as if it were a word to be foretold.": _of_costs(lambda c, t, w: c.sum(1)),
    "The cost is divided by the number of words; −log p of a caption is their sum.":
        _of_costs(lambda c, t, w: (c * t).sum(1) / t.sum(1)),
    "The cost is divided by the places, padding included; −log p of a caption is a sum of costs.":
        _of_costs(lambda c, t, w: (c * t).mean(1)),
    "The end of a caption is left out: a model that never learns to stop is not told so.":
        _of_costs(lambda c, t, w: (c * (w[:, 1:] > 2)).sum(1)),
    "The first word is left out.": _of_costs(lambda c, t, w: (c * t)[:, 1:].sum(1)),
    "The mask is of the words that were read, not of those that follow: behind the end one padding counts.":
        _of_costs(lambda c, t, w: (c * (w[:, :-1] != 0)).sum(1)),
    "The costs of all words of all captions are averaged: give one number a caption, the sum of its words.":
        _of_costs(lambda c, t, w: (c * t).sum() / t.sum()),
    "The sign is flipped: a likely caption costs little, an unlikely one much.":
        _of_costs(lambda c, t, w: -(c * t).sum(1)),
    "The logarithm has base 2; the natural one is wanted.":
        _of_costs(lambda c, t, w: (c * t).sum(1) / math.log(2)),
    "The probabilities are added up without their logarithm: those of words multiply.":
        _of_costs(lambda c, t, w: -((-c).exp() * t).sum(1)),
    "This is the probability of the caption; its negative logarithm is wanted.":
        _of_costs(lambda c, t, w: (-(c * t).sum(1)).exp()),
    "The costs of all captions are averaged: give one number a caption.":
        _of_costs(lambda c, t, w: (c * t).sum(1).mean()),
    "The costs of all captions are added up: give one number a caption.":
        _of_costs(lambda c, t, w: (c * t).sum()),
    "The scores are added up as they are: they become log-probabilities by a log-softmax over the words.":
        lambda z, w: -(z.gather(2, w[:, 1:, None])[..., 0] * (w[:, 1:] != 0)).sum(1),
    "The softmax runs over the places; it belongs over the vocabulary.":
        lambda z, w: -(z.log_softmax(1).gather(2, w[:, 1:, None])[..., 0] * (w[:, 1:] != 0)).sum(1),
    "A second softmax is taken: log-softmax of probabilities.":
        lambda z, w: _summed(z.softmax(2), w),
    "These are the costs of the single words; add up those of each caption.":
        _of_costs(lambda c, t, w: c * t),
    "This is the perplexity, exp of the mean cost of a word; the sum of the costs is wanted.":
        _of_costs(lambda c, t, w: ((c * t).sum(1) / t.sum(1)).exp()),
    "Only the dearest word counts; all of them are added up.": _of_costs(lambda c, t, w: (c * t).amax(1)),
    "Only the last word, the end, counts; all of them are added up.":
        _of_costs(lambda c, t, w: (c * (w[:, 1:] == 2)).sum(1)),
    "Only the first word counts; all of them are added up.": _of_costs(lambda c, t, w: c[:, 0]),
    "This counts the words that are not the likeliest; the cost of each is −log of its probability.":
        lambda z, w: ((z.argmax(2) != w[:, 1:]) & (w[:, 1:] != 0)).double().sum(1),
    "This is the distance between numbers of words: that word 9 is not near to word 8 means nothing. The "
    "cost is −log of the true word's probability.":
        lambda z, w: ((z.argmax(2) - w[:, 1:]).double().square() * (w[:, 1:] != 0)).sum(1),
}.items():
    caption_loss.mistake(_sentence)(_slip)


# 16.3 -------------------------------------------------------------------------------------------------------
@exercise("16.3", "Beam search", minutes=20, points=3, difficulty=4,
          names=("the row of words", "the log-probability"))
def beam(first, after, end, width, most):
    kept = [([], 0.0)]
    for step in range(most):
        longer = []
        for words, total in kept:
            if words and words[-1] == end:
                longer.append((words, total))  # ended: it stays as it is
                continue
            log_p = after[words[-1]] if words else first
            for word in range(len(first)):
                longer.append(([*words, word], total + float(log_p[word])))
        longer.sort(key=lambda one: one[1], reverse=True)
        kept = longer[:width]
    words, total = kept[0]
    return torch.tensor(words), torch.tensor(total, dtype=torch.float64)


# Trees in which, between them, every mistake below shows; drawn is which word has which number.
_TREES = ((5, 2, 4, 153), (4, 3, 5, 122), (4, 2, 4, 480), (5, 2, 3, 402), (5, 2, 4, 175))


@beam.cases
def _(draw):
    def tree(words, width, most, seed):
        old = Draw(seed)
        first = (1.5 * old.normal(words)).log_softmax(0)
        after = (1.5 * old.normal(words, words)).log_softmax(1)
        order = draw.uniform(words).argsort()
        return case(first[order], after[order][:, order], int(order.argmin()), width, most,
                    about=f"a beam of {width} over {words} words, captions of at most {most}")

    for one in _TREES:
        yield tree(*one)
    yield case(*tree(3, 27, 3, 7).args, about="a beam that is wide enough for every caption")


def _search(first, after, end, width, most, *, score=lambda words, total: total, ended="stay", cut=None,
            add=lambda total, p, words: total + p, give=None, choose=None, start=None):
    kept = [([], 0.0)]
    for step in range(most):
        longer = []
        for words, total in kept:
            if words and words[-1] == end and ended != "go on":
                if ended == "stay":
                    longer.append((words, total))
                continue
            log_p = (after[words[-1]] if words else first).tolist()
            children = [([*words, k], add(total, p, words)) for k, p in enumerate(log_p)]
            if cut is not None:
                children = sorted(children, key=lambda one: -one[1])[: cut(step)]
            longer += children
        if not longer:
            break
        longer.sort(key=lambda one: -score(*one))
        kept = longer[: width if start is None or step else start]
    words, total = kept[0] if choose is None else choose(kept)
    if give is not None:
        words, total = give(words, total)
    return torch.tensor(words), torch.tensor(float(total), dtype=torch.float64)


def _every(first, after, end, most):
    return _search(first, after, end, len(first) ** most + 1, most)


def _only_ended(end):
    def choose(kept):
        return next((one for one in kept if one[0][-1] == end), kept[0])
    return choose


def _freed(first, after, end, width, most):
    """Ended captions are put aside, and the place of each is free for another beginning."""
    kept, aside = [([], 0.0)], []
    for _ in range(most):
        longer = [([*words, k], total + p) for words, total in kept
                  for k, p in enumerate((after[words[-1]] if words else first).tolist())]
        best = sorted(longer, key=lambda one: -one[1])[:width]
        aside += [one for one in best if one[0][-1] == end]
        kept = [one for one in best if one[0][-1] != end]
        if not kept:
            break
    words, total = max(aside + kept, key=lambda one: one[1])
    return torch.tensor(words), torch.tensor(total, dtype=torch.float64)


def _beside(first, after, end, width, most):
    """Ended captions stay, and `width` others go on beside them."""
    kept = [([], 0.0)]
    for _ in range(most):
        longer = [([*words, k], total + p) for words, total in kept if words[-1:] != [end]
                  for k, p in enumerate((after[words[-1]] if words else first).tolist())]
        longer = sorted(longer, key=lambda one: -one[1])
        going = [one for one in longer if one[0][-1] != end][:width]
        kept = [one for one in kept + longer if one[0][-1:] == [end]] + going
    words, total = max(kept, key=lambda one: one[1])
    return torch.tensor(words), torch.tensor(total, dtype=torch.float64)


def _first_to_end(first, after, end, width, most):
    for steps in range(1, most + 1):
        words, total = _search(first, after, end, width, steps, choose=_only_ended(end))
        if words[-1] == end:
            break
    return words, total


for _sentence, _slip in {
    "A caption that has ended is put aside, and its place is free: it keeps it.": _freed,
    "Captions that have ended go on beside the `width`: each of them keeps one of the `width` places.":
        _beside,
    "The search stops at the first caption that ends: one that goes on can still be likelier.": _first_to_end,
    "Every word is scored by `first`: after a word its own row of `after` counts.":
        lambda f, a, e, w, m: _search(f, f.expand(len(f), -1), e, w, m),
    "Behind the end stands more: give the words up to the end, and nothing after it.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, give=lambda words, total: (
            words + [0] * (m - len(words)), total)),
    "Only one beginning is kept, which is greedy: keep the `width` best.":
        lambda f, a, e, w, m: _search(f, a, e, 1, m),
    "Every caption is looked at, whatever the width: after each word only the `width` best beginnings go on.":
        lambda f, a, e, w, m: _every(f, a, e, m),
    "A caption that has ended is thrown away: it stays among the kept ones, with its score.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, ended="drop"),
    "A caption that has ended is made longer: nothing follows the end.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, ended="go on"),
    "Each beginning goes on with its one likeliest word: all words of all beginnings compete.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, cut=lambda step: 1 if step else 10**6),
    "Only the likeliest first word is kept: the first word is chosen like the others, `width` of them.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, start=1),
    "Beginnings are ranked by their last word alone: rank them by the sum of all log-probabilities.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, add=lambda total, p, words: p),
    "Probabilities are added up: multiply them, or add their logarithms.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, add=lambda total, p, words: total + math.exp(p)),
    "The sum is divided by the number of words: here captions are ranked by the sum itself.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, score=lambda words, total: total / len(words)),
    "The unlikeliest are kept: sort from the largest log-probability to the smallest.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, score=lambda words, total: -total),
    "`after` is read the wrong way round: its row is the word before, its column the word that follows.":
        lambda f, a, e, w, m: _search(f, a.T, e, w, m),
    "The captions are one word too long: `most` counts all words, the end included.":
        lambda f, a, e, w, m: _search(f, a, e, w, m + 1),
    "The captions are one word too short: `most` counts all words, the end included.":
        lambda f, a, e, w, m: _search(f, a, e, w, m - 1),
    "The end is cut off: it is a word like the others, and stays.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, give=lambda words, total: (
            [k for k in words if k != e], total)),
    "This is the probability; its logarithm is wanted.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, give=lambda words, total: (words, math.exp(total))),
    "This is the log-probability of the last word; that of the whole caption is the sum.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, give=lambda words, total: (
            words, f[words[0]] if len(words) == 1 else a[words[-2], words[-1]])),
    "Of the beginnings that are kept you give the last, the worst of them; give the best.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, choose=lambda kept: kept[-1]),
    "The first word's own probability is left out of the sum.":  # it only says which are kept
        lambda f, a, e, w, m: _search(f, a, e, w, m, add=lambda total, p, words: (
            total + p if words else 1e-9 * p)),
    "One beginning too many is kept: `width` of them.":
        lambda f, a, e, w, m: _search(f, a, e, w + 1, m),
    "The sum is divided by the number of words at the end; give the sum.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, give=lambda words, total: (words, total / len(words))),
    "This is the cost, minus the log-probability: leave the sign as it is.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, give=lambda words, total: (words, -total)),
    "Captions that have not ended are left out at last: the best is wanted, ended or not.":
        lambda f, a, e, w, m: _search(f, a, e, w, m, choose=_only_ended(e)),
}.items():
    beam.mistake(_sentence)(_slip)


# 16.4 -------------------------------------------------------------------------------------------------------
@exercise("16.4", "BLEU-4 of a corpus", minutes=20, points=3, difficulty=3)
def bleu4(candidates, references):
    log_precision, length, wanted = 0.0, 0, 0
    for n in range(1, 5):
        hits, runs = 0, 0
        for candidate, reference in zip(candidates, references, strict=True):
            mine, its = candidate.split(), reference.split()
            found = Counter(tuple(mine[i:i + n]) for i in range(len(mine) - n + 1))
            there = Counter(tuple(its[i:i + n]) for i in range(len(its) - n + 1))
            hits += sum(min(count, there[gram]) for gram, count in found.items())
            runs += sum(found.values())
            if n == 1:
                length += len(mine)
                wanted += len(its)
        if hits == 0:
            return 0.0
        log_precision += math.log(hits / runs) / 4
    brevity = 1.0 if length > wanted else math.exp(1 - wanted / length)
    return brevity * math.exp(log_precision)


_WORDS = ("a", "red", "car", "and", "duck", "blue")


def _texts(draw, rows, shortened, lengthened=0):
    """Candidates that are nearly their references, with words changed, doubled, and left out at the end."""
    candidates, references = [], []
    for row in range(rows):
        length = int(draw.integers(10, low=6)) + row
        its = [_WORDS[k] for k in draw.integers(len(_WORDS), length).tolist()]
        mine = list(its)
        mine[int(draw.integers(length))] = _WORDS[int(draw.integers(len(_WORDS)))]
        place = int(draw.integers(length - 1))
        mine[place + 1] = mine[place]
        mine = mine[: length - shortened * (row % 2 + 1)] + ["a"] * lengthened
        candidates.append(" ".join(mine))
        references.append(" ".join(its))
    return candidates, references


@bleu4.cases
def _(draw):
    yield telling(bleu4, lambda: case(*_texts(draw, 3, 1), about="3 captions, shorter than their references"),
                  hides=("get a bonus",))
    yield telling(bleu4, lambda: case(*_texts(draw, 4, 0, 1), about="4 captions with a word too many"),
                  hides=("no brevity penalty", "penalty is c/r", "lengths are exchanged", "made for each",
                         "counted in letters"))
    yield case(["a red car", "a blue duck and a red car"], ["a red car and a duck", "a duck and a blue car"],
               about="captions of which one is too short for a run of four, and no run of four is right")


def _grams(text, n):
    words = text.split()
    return Counter(tuple(words[i:i + n]) for i in range(len(words) - n + 1))


def _hits(candidates, references, n, clip=lambda a, b: (a & b).total(), of=lambda a, b: a.total()):
    pairs = [(_grams(a, n), _grams(b, n)) for a, b in zip(candidates, references, strict=True)]
    return sum(clip(a, b) for a, b in pairs), sum(of(a, b) for a, b in pairs)


def _bp(candidates, references, measure=lambda text: len(text.split())):
    c, r = (sum(measure(text) for text in texts) for texts in (candidates, references))
    return c, r


def _brevity(c, r):
    return 1.0 if c > r else math.exp(1 - r / c)


def _score(candidates, references, most=4, brevity=_brevity, mean=None, hits=_hits, lengths=_bp):
    counts = [hits(candidates, references, n) for n in range(1, most + 1)]
    if mean is None and any(not hit for hit, _ in counts):
        return 0.0
    parts = [hit / max(1, run) for hit, run in counts]
    factor = brevity(*lengths(candidates, references))
    return factor * (math.prod(parts) ** (1 / most) if mean is None else mean(parts, counts))


def _with(**settings):
    return lambda c, r: _score(c, r, **settings)


for _sentence, _slip in {
    "Runs are not clipped: a run counts as often as the reference has it, and no more.":
        _with(hits=lambda c, r, n: _hits(c, r, n, clip=lambda a, b: sum(v for g, v in a.items() if g in b))),
    "There is no brevity penalty: short captions are not made to pay.": _with(brevity=lambda c, r: 1.0),
    "The brevity penalty is on the wrong side: it is for captions that are shorter than their references.":
        _with(brevity=lambda c, r: 1.0 if c <= r else math.exp(1 - c / r)),
    "The brevity penalty is c/r; it is exp(1 − r/c).": _with(brevity=lambda c, r: min(1.0, c / r)),
    "In the brevity penalty the lengths are exchanged: exp(1 − r/c), r of the references.":
        _with(brevity=lambda c, r: 1.0 if c > r else math.exp(1 - c / r)),
    "Captions that are longer than their references get a bonus: the penalty is 1 for them.":
        _with(brevity=lambda c, r: math.exp(1 - r / c)),
    "The four precisions are averaged; BLEU is their geometric mean.":
        _with(mean=lambda parts, counts: sum(parts) / 4),
    "The four precisions are multiplied, and the fourth root is missing.":
        _with(mean=lambda parts, counts: math.prod(parts)),
    "Only runs of four words are counted: BLEU-4 takes runs of one, two, three and four.":
        _with(mean=lambda parts, counts: parts[3]),
    "Only single words are counted: BLEU-4 takes runs of one, two, three and four.": _with(most=1),
    "Runs of four words are left out.": _with(most=3),
    "Runs of single words are left out.":
        _with(mean=lambda parts, counts: math.prod(parts[1:]) ** (1 / 3)),
    "Runs of five words are counted as well.": _with(most=5),
    "This divides by the runs of the reference, which is a recall; precision divides by the caption's.":
        _with(hits=lambda c, r, n: _hits(c, r, n, of=lambda a, b: b.total())),
    "Every run counts once in a caption, however often it stands there: count all of them, and clip.":
        _with(hits=lambda c, r, n: _hits(c, r, n, clip=lambda a, b: len(a.keys() & b.keys()),
                                         of=lambda a, b: len(a))),
    "Of the runs that are right each counts once, of all runs every one: add up the smaller counts.":
        _with(hits=lambda c, r, n: _hits(c, r, n, clip=lambda a, b: len(a.keys() & b.keys()))),
    "Of each run the larger of both counts is taken; a clipped hit is the smaller.":
        _with(hits=lambda c, r, n: _hits(c, r, n, clip=lambda a, b: (a | b).total())),
    "Runs are made of letters; they are made of words.":
        _with(hits=lambda c, r, n: _hits(*([" ".join(t.replace(" ", "_")) for t in x] for x in (c, r)), n)),
    "Runs are looked up in the references of all captions; each caption has its own.":
        _with(hits=lambda c, r, n: _hits_anywhere(c, r, n)),
    "The counts are smoothed: here nothing is added to hits or runs.":
        _with(mean=lambda parts, counts: math.prod((h + 1) / (n + 1) for h, n in counts) ** (1 / 4)),
    "This is the mean of the captions' own BLEU: add up runs and lengths of the whole corpus first.":
        lambda c, r: sum(_score([a], [b]) for a, b in zip(c, r, strict=True)) / len(c),
    "The precisions of single captions are averaged: add up the runs of the whole corpus first.":
        _with(hits=lambda c, r, n: (sum((_hits([a], [b], n)[0] / max(1, _hits([a], [b], n)[1]))
                                        for a, b in zip(c, r, strict=True)), len(c))),
    "The runs of all lengths are put into one precision: each length has its own, and they are multiplied.":
        _with(mean=lambda parts, counts: sum(h for h, _ in counts) / sum(n for _, n in counts)),
    "The result is multiplied by 100.": lambda c, r: 100 * _score(c, r),
    "All captions are joined into one text, so that runs reach from one into the next.":
        lambda c, r: _score([" ".join(c)], [" ".join(r)]),
    "Lengths are counted in letters; they are numbers of words.": _with(lengths=lambda c, r: _bp(c, r, len)),
    "The last run of every caption is missing: there are length − n + 1 of them.":
        _with(hits=lambda c, r, n: tuple(map(sum, zip(*(_short(a, b, n) for a, b in zip(c, r, strict=True)),
                                                      strict=True)))),
    "The brevity penalty is made for each caption, and averaged: compare the lengths of the whole corpus.":
        lambda c, r: _score(c, r, brevity=lambda *_: 1.0) * sum(
            _brevity(len(a.split()), len(b.split())) for a, b in zip(c, r, strict=True)) / len(c),
    "This is the logarithm of BLEU: take exp of the mean at the end.":
        lambda c, r: (math.log(_score(c, r)) if _score(c, r) else 0.0),
}.items():
    bleu4.mistake(_sentence)(_slip)


def _hits_anywhere(candidates, references, n):
    there = Counter()
    for text in references:
        there |= _grams(text, n)
    found = [_grams(text, n) for text in candidates]
    return sum((one & there).total() for one in found), sum(one.total() for one in found)


def _short(a, b, n):
    def cut(text):
        words = text.split()
        return Counter(tuple(words[i:i + n]) for i in range(len(words) - n))
    return (cut(a) & cut(b)).total(), cut(a).total()


# 16.5 -------------------------------------------------------------------------------------------------------
@exercise("16.5", "The best baseline", minutes=25, points=3, difficulty=4)
def best_baseline(logits, rewards):
    p = logits.softmax(dim=0)  # (words,)
    squared = 1 - 2 * p + (p ** 2).sum()  # ‖e_a − p‖² of each word a
    weight = p * squared
    return (weight * rewards).sum() / weight.sum()


@best_baseline.cases
def _(draw):
    for words in (4, 6):
        yield telling(best_baseline, lambda n=words: case(
            1.5 * draw.normal(n), draw.uniform(n, low=0.2, high=3.0), about=f"{n} words to choose from"))
    yield case(torch.zeros(5, dtype=torch.float64), draw.normal(5), about="words that are all equally likely")


def _squared(p):
    return 1 - 2 * p + p.square().sum()


def _mean_by(weigh, to_p=lambda logits: logits.softmax(0)):
    def baseline(logits, rewards):
        w = weigh(to_p(logits))
        return (w * rewards).sum() / w.sum()
    return baseline


def _variance(logits, rewards, baseline):
    p = logits.softmax(0)
    gradient = (torch.eye(len(p)).double() - p) * (rewards - baseline)[:, None]  # (word drawn, logit)
    mean = p @ gradient
    return (p[:, None] * (gradient - mean).square()).sum()


for _sentence, _slip in {
    "This is the expected reward, the usual baseline: rewards of words whose gradient is long weigh more.":
        lambda z, r: (z.softmax(0) * r).sum(),
    "All rewards weigh the same: weigh them by how often they come and by the squared length of their "
    "gradient.": lambda z, r: r.mean(),
    "This is the largest reward.": lambda z, r: r.max(),
    "This is the smallest reward.": lambda z, r: r.min(),
    "This is the reward of the likeliest word, the self-critical one; that of least variance is wanted.":
        lambda z, r: r[z.argmax()],
    "How often a word is drawn is left out: the weights are p times the squared length.": _mean_by(_squared),
    "The length of the gradient is not squared.": _mean_by(lambda p: p * _squared(p).sqrt()),
    "Of the gradient only the drawn word's own entry is used, 1 − p: the other entries, −p, count as well.":
        _mean_by(lambda p: p * (1 - p).square()),
    "The weights are p(1 − p): the squared length of e − p is 1 − 2p + Σp².": _mean_by(lambda p: p * (1 - p)),
    "The squared length lacks Σp², the squares of all entries of p.": _mean_by(lambda p: p * (1 - 2 * p)),
    "The sign of 2p is wrong: the squared length of e − p is 1 − 2p + Σp².":
        _mean_by(lambda p: p * (1 + 2 * p + p.square().sum())),
    "The squares are added up over the words that may be drawn; a squared length adds up the entries of one "
    "gradient: sum over the other dimension.":
        _mean_by(lambda p: p * ((1 - p).square() + (len(p) - 1) * p.square())),
    "The sum is divided by that of the squared lengths; the weights are p times them.":
        lambda z, r: (z.softmax(0) * _squared(z.softmax(0)) * r).sum() / _squared(z.softmax(0)).sum(),
    "The squared length is squared once more.": _mean_by(lambda p: p * _squared(p).square()),
    "The sum of the weights is missing below.":
        lambda z, r: (z.softmax(0) * _squared(z.softmax(0)) * r).sum(),
    "The weights are the probabilities squared.": _mean_by(lambda p: p.square()),
    "The logits are taken for probabilities: a softmax comes first.":
        _mean_by(lambda p: p * _squared(p), lambda logits: logits),
    "A sigmoid takes each word alone; the words share a softmax.":
        _mean_by(lambda p: p * _squared(p), torch.sigmoid),
    "This is the least variance itself; the baseline that gives it is wanted.":
        lambda z, r: _variance(z, r, best_baseline.reference(z, r)),
    "The weights are 1 over the squared length: words whose gradient is long weigh more, not less.":
        _mean_by(lambda p: p / _squared(p)),
    "The reward is squared.": lambda z, r: _mean_by(lambda p: p * _squared(p))(z, r * r),
    "This is the median of the rewards.": lambda z, r: r.median(),
    "The sign is flipped.": lambda z, r: -best_baseline.reference(z, r),
    "Each word is weighed by its squared length and by its improbability, 1 − p; the weight is p times the "
    "squared length.": _mean_by(lambda p: (1 - p) * _squared(p)),
    "This weighs by the squared length of p itself, which is the same for all words; the gradient is e − p.":
        lambda z, r: (z.softmax(0) * r).sum() * z.softmax(0).square().sum(),
}.items():
    best_baseline.mistake(_sentence)(_slip)
