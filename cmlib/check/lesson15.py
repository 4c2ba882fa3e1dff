"""Exercises of lesson 15: beyond one GPU."""

import math

import torch
from torch.nn.functional import cross_entropy

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


# 15.1 -------------------------------------------------------------------------------------------------------
@exercise("15.1", "The share of a process", minutes=10, points=2, difficulty=2, grad=(0,))
def own_share(losses, mask, counts):
    own = (losses * mask).sum()  # the sum over the tokens that count
    return own * len(counts) / sum(counts)


@own_share.cases
def _(draw):
    def one(rows, tokens, others, about):
        mask = draw.bits(rows, tokens).bool()
        mask[0, 0] = True
        counts = [int(mask.sum()), *others]
        return case(draw.uniform(rows, tokens, low=0.2, high=3), mask, counts, about=about)

    yield telling(own_share, lambda: one(3, 5, [4, 0, 0, 11], "3 texts of up to 5 tokens, 4 processes more"),
                  hides=("no token",))
    yield telling(own_share, lambda: one(4, 2, [17], "4 texts of up to 2 tokens, one process more"),
                  hides=("no token", "that have tokens"))
    yield case(draw.uniform(2, 3), torch.zeros(2, 3, dtype=torch.bool), [0, 6, 5],
               about="a process without a token that counts")


for _sentence, _slip in {
    "This is the mean over the process's own tokens: DDP's mean of such means weighs a token of a small "
    "share "
    "more. Divide by the tokens of all processes.": lambda x, m, c: (x * m).sum() / m.sum(),
    "The process that has no token gives nan or inf: take a sum, and divide by the tokens of all.":
        lambda x, m, c: (x * m).sum() * len(c) / sum(c) * (m.sum() / m.sum()),
    "The gradient comes out too small: DDP divides by the number of processes once more, so multiply by it.":
        lambda x, m, c: (x * m).sum() / sum(c),
    "DDP divides by the number of processes, and you divide by it as well: multiply by it instead.":
        lambda x, m, c: (x * m).sum() / sum(c) / len(c),
    "This is the plain sum: divide by the tokens of all processes, and make DDP's division good.":
        lambda x, m, c: (x * m).sum(),
    "The sum is multiplied by the number of processes, but not divided by the tokens of all of them.":
        lambda x, m, c: (x * m).sum() * len(c),
    "Padding is not masked: only the tokens that the mask marks count.":
        lambda x, m, c: x.sum() * len(c) / sum(c),
    "Padding is counted and the tokens are left out: the mask is True where a token counts.":
        lambda x, m, c: (x * ~m).sum() * len(c) / sum(c),
    "You divide by the texts of this process; the tokens of all processes count.":
        lambda x, m, c: (x * m).sum() * len(c) / (len(x) * len(c)),
    "First each text is averaged, then the texts: a token of a short text counts more. Add up all tokens.":
        lambda x, m, c: ((x * m).sum(1) / m.sum(1).clamp(min=1)).mean(),
    "You multiply by the number of processes, but divide by the texts of this one; the tokens of all count.":
        lambda x, m, c: (x * m).sum() * len(c) / len(x),
    "You divide by the largest share, without the factor of step 3: the tokens of all processes are meant.":
        lambda x, m, c: (x * m).sum() / max(c),
    "The mean is taken over all places, padding among them, and then weighed by the tokens: take the sum.":
        lambda x, m, c: (x * m).mean() * len(c) * int(m.sum()) / sum(c),
    "The division drops its rest: `//` gives an integer, and N/P need not be one.":
        lambda x, m, c: (x * m).sum() / max(sum(c) // len(c), 1),
    "You divide by the tokens of the other processes: those of this one count too.":
        lambda x, m, c: (x * m).sum() * len(c) / (sum(c) - int(m.sum())),
    "You divide by the largest share: the tokens of all processes together are meant.":
        lambda x, m, c: (x * m).sum() * len(c) / max(c),
    "This is a mean over all places, padding among them.": lambda x, m, c: (x * m).mean(),
    "This is a mean over all places of the own share times the number of processes.":
        lambda x, m, c: (x * m).mean() * len(c),
    "The factor stands upside down: multiply by the number of processes and divide by all tokens.":
        lambda x, m, c: (x * m).sum() * sum(c) / len(c),
    "The number of tokens of this process stands in the place of the number of processes.":
        lambda x, m, c: (x * m).sum() * int(m.sum()) / sum(c),
    "DDP's mean divides by the number of processes, not by one less.":
        lambda x, m, c: (x * m).sum() * (len(c) - 1) / sum(c),
    "You multiply by the processes that have tokens: DDP's mean counts the others too (some have 0).":
        lambda x, m, c: (x * m).sum() * sum(n > 0 for n in c) / sum(c),
    "First each text is averaged, then the texts, by the factor of step 3: a token of a short text counts "
    "more. Add up all tokens.":
        lambda x, m, c: ((x * m).sum(1) / m.sum(1).clamp(min=1)).mean() * len(c) * int(m.sum()) / sum(c),
}.items():
    own_share.mistake(_sentence)(_slip)


# 15.2 -------------------------------------------------------------------------------------------------------
@exercise("15.2", "Round the ring", minutes=18, points=3, difficulty=4)
def ring_after(chunks, steps):
    now = chunks.clone()  # (processes, chunks, numbers)
    n = len(now)
    for step in range(steps):
        before = now.clone()
        for process in range(n):
            target = (process + 1) % n
            if step < n - 1:  # adding up
                chunk = (process - step) % n
                now[target, chunk] = before[target, chunk] + before[process, chunk]
            else:  # sharing out
                chunk = (process + 1 - (step - (n - 1))) % n
                now[target, chunk] = before[process, chunk]
    return now


@ring_after.cases
def _(draw):
    for n, steps in ((4, 2), (4, 5), (3, 3), (5, 7)):  # numbers of any draw tell the slips apart
        what = "adding up" if steps < n else "sharing out"
        yield case(draw.normal(n, n, 2), steps, about=f"{n} processes after {steps} steps ({what})")
    yield case(draw.normal(3, 3, 2), 0, about="3 processes before the first step")
    yield case(draw.normal(3, 3, 2), 4, about="3 processes after the last step")


def _ring(chunks, steps, first=lambda p, k, n: (p - k) % n, then=lambda p, j, n: (p + 1 - j) % n, to=1,
          add=lambda a, b: a + b, put=lambda a, b: b, adding=None, place=0):
    now, n = chunks.clone(), len(chunks)
    adding = n - 1 if adding is None else adding(n)
    for step in range(steps):
        before = now.clone()
        for p in range(n):
            other = (p + to) % n
            chunk = first(p, step, n) if step < adding else then(p, step - adding, n)
            join = add if step < adding else put
            there = (chunk + place) % n
            now[other, there] = join(before[other, there], before[p, chunk])
    return now


for _sentence, _slip in {
    "The messages go to the wrong neighbour: process r sends to r + 1.":
        lambda c, s: _ring(c, s, to=-1),
    "The whole ring goes the other way round: process r sends to r + 1, chunk r − k first, then r + 1 − j.":
        lambda c, s: _ring(c, s, to=-1, first=lambda p, k, n: (p + k) % n,
                           then=lambda p, j, n: (p - 1 + j) % n),
    "At the end stands the mean; the sum is wanted, the division comes later.":
        lambda c, s: _ring(c, s) / (len(c) if s == 2 * (len(c) - 1) else 1),
    "In step k process r sends chunk r − k, and you send r + k: it must pass on what it has just added to.":
        lambda c, s: _ring(c, s, first=lambda p, k, n: (p + k) % n),
    "Every step sends the same chunk: in step k it is chunk r − k, the one that process r has just added to.":
        lambda c, s: _ring(c, s, first=lambda p, k, n: p),
    "The first chunk that process r sends is chunk r; you begin with r + 1.":
        lambda c, s: _ring(c, s, first=lambda p, k, n: (p + 1 - k) % n),
    "The first chunk that process r sends is chunk r; you begin with r − 1.":
        lambda c, s: _ring(c, s, first=lambda p, k, n: (p - 1 - k) % n),
    "What arrives while the sums are made has to be added, not put in the place of the own chunk.":
        lambda c, s: _ring(c, s, add=lambda a, b: b),
    "What arrives while the sums go round (sharing out) is complete: put it in the place of the own chunk, "
    "do "
    "not add it.": lambda c, s: _ring(c, s, put=lambda a, b: a + b),
    "The second half (sharing out) begins with chunk r + 1, which is complete at process r; you begin with "
    "r.":
        lambda c, s: _ring(c, s, then=lambda p, j, n: (p - j) % n),
    "In the second half (sharing out) process r sends chunk r + 1 − j: after the first time, the one that "
    "has "
    "just arrived.": lambda c, s: _ring(c, s, then=lambda p, j, n: (p + 1 + j) % n),
    "In the second half (sharing out) every step sends the same chunk; pass on the one that has just "
    "arrived.":
        lambda c, s: _ring(c, s, then=lambda p, j, n: (p + 1) % n),
    "The second half (sharing out) counts its steps afresh: its first one has j = 0.":
        lambda c, s: _ring(c, s, then=lambda p, j, n: (p + 1 - (j + n - 1)) % n),
    "Adding up takes P − 1 steps, and you add in P of them (sharing out begins too late).":
        lambda c, s: _ring(c, s, adding=lambda n: n),
    "Adding up takes P − 1 steps, and you add in P of them.":
        lambda c, s: _ring(c, s, adding=lambda n: n, then=lambda p, j, n: (p - j) % n),
    "The first dimension is the process, the second the chunk: you exchange them.":
        lambda c, s: _ring(c.transpose(0, 1), s).transpose(0, 1),
    "What arrives belongs into the neighbour's chunk of the same number; you take the next one.":
        lambda c, s: _ring(c, s, place=1),
    "Adding up takes P − 1 steps, and you add in P − 2 of them.":
        lambda c, s: _ring(c, s, adding=lambda n: n - 2),
    "This is the end state, all sums everywhere; the state after so many steps is wanted.":
        lambda c, s: c.sum(0, keepdim=True).expand_as(c),
    "One step too many.": lambda c, s: _ring(c, s + 1),
    "One step too few.": lambda c, s: _ring(c, s - 1),
    "What is sent is taken away from the sender: it keeps its copy.":
        lambda c, s: _moved(c, s),
    "What arrives is averaged with the own chunk; add it, the division comes later.":
        lambda c, s: _ring(c, s, add=lambda a, b: (a + b) / 2),
}.items():
    ring_after.mistake(_sentence)(_slip)


def _moved(chunks, steps):
    now, n = chunks.clone(), len(chunks)
    for step in range(steps):
        before = now.clone()
        for p in range(n):
            chunk = (p - step) % n if step < n - 1 else (p + 1 - (step - n + 1)) % n
            now[(p + 1) % n, chunk] += before[p, chunk]
            now[p, chunk] -= before[p, chunk]
    return now


# 15.3 -------------------------------------------------------------------------------------------------------
def _learned(answer, image, text, *others):
    """The loss, and what arrives at the own rows."""
    own = [rows.clone().requires_grad_() for rows in (image, text)]
    loss = answer(*own, *others)
    arrives = [None, None]
    if isinstance(loss, torch.Tensor) and loss.requires_grad and loss.numel() == 1:
        arrives = torch.autograd.grad(loss, own, allow_unused=True)
        loss = loss.detach()
    pairs = zip(arrives, own, strict=True)
    return loss, *(torch.zeros_like(rows) if one is None else one for one, rows in pairs)


@exercise("15.3", "Rows that are compared", minutes=15, points=3, difficulty=4, call=_learned,
          names=("the loss", "the gradient of the photos", "the gradient of the texts"))
def shared_contrast(image, text, images, texts, rank, scale):
    everyone = []
    for own, gathered in ((image, images), (text, texts)):
        shares = list(gathered)
        shares[rank] = own  # with its graph
        everyone.append(torch.cat(shares))
    logits = scale * everyone[0] @ everyone[1].T
    partner = torch.arange(len(logits))
    loss = (cross_entropy(logits, partner) + cross_entropy(logits.T, partner)) / 2
    return loss * len(images)


@shared_contrast.cases
def _(draw):
    def unit(*shape):
        return torch.nn.functional.normalize(draw.normal(*shape), dim=-1)

    def one(processes, rows, rank, scale):
        images, texts = unit(processes, rows, 4), unit(processes, rows, 4)
        return case(images[rank].clone(), texts[rank].clone(), images, texts, rank, scale,
                    about=f"process {rank} of {processes}, with {rows} rows each")

    for processes, rows, rank, scale in ((4, 2, 1, 3.0), (2, 4, 1, 5.0), (4, 3, 2, 2.0)):
        yield one(processes, rows, rank, scale)  # rows of any draw tell the slips apart


def _contrast(image, text, images, texts, rank, scale, own=True, at=None, factor=None, reduce="mean",
              rows="all", both=True, from_zero=False):
    n = len(images)
    sides = []
    for mine, gathered in ((image, images), (text, texts)):
        shares = list(gathered)
        if own:
            shares[rank if at is None else at(n, rank)] = mine
        sides.append(torch.cat(shares))
    a, b = sides
    partner = torch.arange(len(a))
    if rows == "own":
        here = slice(rank * len(image), (rank + 1) * len(image))
        left, right = scale * (a[here] if own else image) @ b.T, scale * (b[here] if own else text) @ a.T
        partner = partner[:len(image)] if from_zero else partner[here]
    else:
        left = scale * a @ b.T
        right = left.T
    loss = cross_entropy(left, partner, reduction=reduce)
    if both:
        loss = (loss + cross_entropy(right, partner, reduction=reduce)) / 2
    return loss * (n if factor is None else factor(n))


for _sentence, _slip in {
    "Only the own rows are compared with one another: the rows of the other processes are wrong partners "
    "too.":
        lambda i, t, a, b, r, s: _contrast(i, t, i[None], t[None], 0, s),
    "Only the own rows are compared with one another, times the number of processes: take the others' rows "
    "as "
    "well.": lambda i, t, a, b, r, s: _contrast(i, t, i[None], t[None], 0, s, factor=lambda n: len(a)),
    "The gathered rows carry no gradient, so nothing would learn: put the own rows, with their graph, back "
    "in "
    "their place.": lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, own=False),
    "The gathered rows carry no gradient, so nothing would learn, and the factor is missing: put the own "
    "rows "
    "back in their place.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, own=False, factor=lambda n: 1),
    "The gradient comes out too small by the number of processes: DDP takes a mean over them, so multiply by "
    "it.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, factor=lambda n: 1),
    "The own rows are put in the place of process 0: their place is that of `rank`.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, at=lambda n, rank: 0),
    "The own rows are put one place too far: their place is that of `rank`.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, at=lambda n, rank: (rank + 1) % n),
    "The own rows are put in the last place: their place is that of `rank`.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, at=lambda n, rank: n - 1 if rank < n - 1 else 0),
    "The loss is taken over the own rows alone: the others' losses pull on your rows too, as their wrong "
    "partners. Take all rows.": lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, rows="own"),
    "The loss is taken over the own rows alone, and the factor is missing: the others' losses pull on your "
    "rows "
    "too, as their wrong partners.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, rows="own", factor=lambda n: 1),
    "The own rows are compared with gathered ones that carry no gradient: what the others' losses pull on "
    "your "
    "rows is lost.": lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, own=False, rows="own"),
    "The own rows are compared with gathered ones that carry no gradient, and the factor is missing: what "
    "the "
    "others' losses pull on your rows is lost.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, own=False, rows="own", factor=lambda n: 1),
    "Your partners count from 0, but row k of this process is number rank · rows + k of all; and all rows "
    "have a loss, times the number of processes.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, rows="own", factor=lambda n: 1, from_zero=True),
    "Your partners count from 0, but row k of this process is number rank · rows + k of all; and gathered "
    "rows carry no gradient.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, own=False, rows="own", factor=lambda n: 1,
                                           from_zero=True),
    "The losses of all rows are added up; their mean is wanted.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, reduce="sum"),
    "The losses of all rows are added up, without the factor; their mean, times the number of processes, is "
    "wanted.": lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, reduce="sum", factor=lambda n: 1),
    "Only photo → text is compared: take the mean of both directions.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, both=False),
    "Only text → photo is compared: take the mean of both directions.":
        lambda i, t, a, b, r, s: _contrast(t, i, b, a, r, s, both=False),
    "Both directions are added: take their mean.":
        lambda i, t, a, b, r, s: 2 * _contrast(i, t, a, b, r, s),
    "The cosines are divided by the scale; it is 1/temperature, so multiply.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, 1 / s),
    "The scale is left out: multiply the cosines by it.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, 1.0),
    "The mean is divided by the number of processes: DDP does that already, so multiply by it instead.":
        lambda i, t, a, b, r, s: _contrast(i, t, a, b, r, s, factor=lambda n: 1 / n),
    "Only the photos are put back with their graph: the texts' tower would learn nothing.":
        lambda i, t, a, b, r, s: _contrast(i, b[r], a, b, r, s),
    "Only the texts are put back with their graph: the photos' tower would learn nothing.":
        lambda i, t, a, b, r, s: _contrast(a[r], t, a, b, r, s),
    "The own rows are added behind the gathered ones, so they stand there twice: put them in their own "
    "place.":
        lambda i, t, a, b, r, s: _appended(i, t, a, b, s),
}.items():
    shared_contrast.mistake(_sentence)(_slip)


def _appended(image, text, images, texts, scale):
    logits = scale * torch.cat([*images, image]) @ torch.cat([*texts, text]).T
    partner = torch.arange(len(logits))
    return (cross_entropy(logits, partner) + cross_entropy(logits.T, partner)) / 2 * len(images)


# 15.4 -------------------------------------------------------------------------------------------------------
@exercise("15.4", "What each process keeps", minutes=12, points=2, difficulty=3)
def bytes_kept(layers, processes):
    whole, largest = sum(layers), max(layers)
    piece = sum(math.ceil(layer / processes) for layer in layers)
    return torch.tensor([
        16 * whole,
        8 * whole + 8 * piece,
        4 * whole + 12 * piece + 4 * largest,
        16 * piece + 8 * largest,
    ])


@bytes_kept.cases
def _(draw):
    def four():
        while True:  # until each way of rounding gives another sum
            sizes = draw.integers(900, 4, low=50).tolist()
            ways = math.floor, round, math.ceil, lambda share: math.floor(share) + 1
            found = {sum(way(size / 4) for size in sizes) for way in ways}
            if len(found | {math.ceil(sum(sizes) / 4)}) == 5:
                return case(sizes, 4, about="four layers and 4 processes")

    yield telling(bytes_kept, four)
    yield telling(bytes_kept, lambda: case(draw.integers(500, 3, low=50).tolist(), 7,
                                           about="three layers and 7 processes"))
    yield case([33, 8, 5], 1, about="one process alone")


def _kept(layers, processes, weight=(1, 1, 1, 0), gradient=(1, 1, 0, 0), moments=(1, 0, 0, 0), cut=None,
          together=False, sizes=(4, 4, 8), once=(0, 0, 4, 8), largest=max):
    whole = sum(layers)
    cut = cut or (lambda n: math.ceil(n / processes))
    piece = cut(whole) if together else sum(map(cut, layers))
    found = []
    for stage in range(4):
        parts = zip(sizes, (weight[stage], gradient[stage], moments[stage]), strict=True)
        kept = sum(size * (whole if copied else piece) for size, copied in parts)
        found.append(kept + once[stage] * largest(layers))
    return torch.tensor(found)


for _sentence, _slip in {
    "Pieces are rounded down: the last numbers of a layer have to lie somewhere, so round up.":
        lambda n, p: _kept(n, p, cut=lambda m: m // p),
    "The whole model is cut as one: each layer is cut by itself, and rounded up by itself.":
        lambda n, p: _kept(n, p, together=True),
    "What is whole for a moment is left out at stages 2 and 3: the largest layer's gradient, and at stage 3 "
    "its weights too.": lambda n, p: _kept(n, p, once=(0, 0, 0, 0)),
    "At stage 3 the largest layer's weights are whole for a moment, and its gradient too: you count one of "
    "them.":
        lambda n, p: _kept(n, p, once=(0, 0, 4, 4)),
    "At stage 2 the largest layer's gradient is whole for a moment before it is given away.":
        lambda n, p: _kept(n, p, once=(0, 0, 0, 8)),
    "At stage 2 the weights lie there whole anyway: only the largest layer's gradient comes on top.":
        lambda n, p: _kept(n, p, once=(0, 0, 8, 8)),
    "At stage 1 the gradients are whole anyway: nothing comes on top.":
        lambda n, p: _kept(n, p, once=(0, 4, 4, 8)),
    "At stage 3 the moments of a layer never become whole: only its weights and its gradient do.":
        lambda n, p: _kept(n, p, once=(0, 0, 4, 16)),
    "Stage 1 cuts the moments alone; the gradients are cut from stage 2 on.":
        lambda n, p: _kept(n, p, gradient=(1, 0, 0, 0)),
    "Stage 2 cuts moments and gradients; the weights are cut at stage 3 only.":
        lambda n, p: _kept(n, p, weight=(1, 1, 0, 0)),
    "Stage 0 cuts nothing: every process keeps all of it.":
        lambda n, p: _kept(n, p, weight=(0, 1, 1, 0), gradient=(0, 1, 0, 0), moments=(0, 0, 0, 0)),
    "AdamW keeps two numbers for each weight, 8 bytes: you count one.":
        lambda n, p: _kept(n, p, sizes=(4, 4, 4)),
    "The gradients are left out: 4 bytes for each weight, from stage 2 on cut.":
        lambda n, p: _kept(n, p, sizes=(4, 0, 8), once=(0, 0, 0, 4)),
    "These are numbers, not bytes: a float32 has four.": lambda n, p: _kept(n, p) // 4,
    "These are bits: a float32 has four bytes.": lambda n, p: _kept(n, p) * 8,
    "Numbers of 16 bits are counted; these are float32, of four bytes.":
        lambda n, p: _kept(n, p, sizes=(2, 2, 8), once=(0, 0, 2, 4)),
    "This is training in 16 bits, with a float32 copy beside it; here everything is float32.":
        lambda n, p: _kept(n, p, sizes=(2, 2, 12), once=(0, 0, 2, 4)),
    "The smallest layer is counted as whole for a moment; the peak comes with the largest.":
        lambda n, p: _kept(n, p, largest=min),
    "The last layer is counted as whole for a moment; the peak comes with the largest.":
        lambda n, p: _kept(n, p, largest=lambda n: n[-1]),
    "The first layer is counted as whole for a moment; the peak comes with the largest.":
        lambda n, p: _kept(n, p, largest=lambda n: n[0]),
    "Pieces are rounded to the nearest number: some numbers have no place then, so round up.":
        lambda n, p: _kept(n, p, cut=lambda m: round(m / p)),
    "Pieces get one number too many where the division leaves no rest: `m // P + 1` is not rounding up.":
        lambda n, p: _kept(n, p, cut=lambda m: m // p + 1),
    "At stages 2 and 3 the whole layer stands beside the own piece of it: take nothing off.":
        lambda n, p: _kept(n, p, largest=lambda n: max(n) - math.ceil(max(n) / p)),
    "At stage 3 the whole layer stands beside the own piece of it: take nothing off.":
        lambda n, p: _kept(n, p) - torch.tensor([0, 0, 0, 8 * math.ceil(max(n) / p)]),
    "Stage 1 cuts the moments alone; weights and gradients stay whole.":
        lambda n, p: _kept(n, p, weight=(1, 0, 1, 0), gradient=(1, 0, 0, 0)),
    "At stages 2 and 3 all layers are counted as whole at once; they are so one after the other.":
        lambda n, p: _kept(n, p, largest=sum),
    "These are the bytes of all processes together; those of one are wanted.":
        lambda n, p: _kept(n, p) * p,
    "The stages stand the other way round: first the one that cuts nothing.":
        lambda n, p: _kept(n, p).flip(0),
    "Stage 1 cuts the moments: they, not the gradients, are the first to be cut.":
        lambda n, p: _kept(n, p, gradient=(1, 0, 0, 0), moments=(1, 1, 0, 0)),
    "At stage 3 the moments and gradients stay cut as at stage 2: you cut the weights only.":
        lambda n, p: _kept(n, p, gradient=(1, 1, 0, 1), moments=(1, 0, 0, 1)),
}.items():
    bytes_kept.mistake(_sentence)(_slip)


# 15.5 -------------------------------------------------------------------------------------------------------
@exercise("15.5", "The schedule of a pipeline", minutes=25, points=3, difficulty=4,
          names=("the end on the way forward", "the end on the way back"))
def schedule(forward, backward, parts, send):
    stages = len(forward)
    ahead, back = torch.zeros(stages, parts).double(), torch.zeros(stages, parts).double()
    for stage in range(stages):
        free = 0.0
        for part in range(parts):
            there = ahead[stage - 1, part] + send if stage > 0 else 0.0
            free = max(free, there) + forward[stage]
            ahead[stage, part] = free
    for stage in range(stages - 1, -1, -1):
        free = ahead[stage, parts - 1]
        for part in range(parts):
            there = back[stage + 1, part] + send if stage < stages - 1 else 0.0
            free = max(free, there) + backward[stage]
            back[stage, part] = free
    return ahead, back


@schedule.cases
def _(draw):
    def one(stages, parts, about):
        return case(draw.uniform(stages, low=1, high=3), draw.uniform(stages, low=1, high=6), parts,
                    0.1 + float(draw.uniform(1)[0]), about=about)

    yield telling(schedule, lambda: one(3, 4, "3 stages and 4 parts"))
    yield telling(schedule, lambda: one(4, 3, "4 stages and 3 parts"))
    yield case(*one(2, 1, "").args, about="2 stages and a single part")
    yield case(*one(1, 3, "").args, about="one stage alone")


def _timed(forward, backward, parts, send, ahead_send=True, back_send=True, wait_ahead=True, wait_own=True,
           wait_back=True, wait_all=True, turned=False, starts=False, swap=False,
           all_first=False, reverse_parts=False):
    if swap:
        forward, backward = backward, forward
    p = len(forward)
    a, b = torch.zeros(p, parts).double(), torch.zeros(p, parts).double()
    for s in range(p):
        free = 0.0
        for i in range(parts):
            there = a[s - 1, i] + send * ahead_send if s and wait_ahead else 0.0
            if all_first and s:
                there = a[s - 1, -1] + send
            free = max(free if wait_own else 0.0, there) + forward[s]
            a[s, i] = free
    order = range(p) if turned else range(p - 1, -1, -1)
    before = -1 if turned else 1
    for s in order:
        free = a[s, -1] if wait_all else 0.0
        for i in (range(parts - 1, -1, -1) if reverse_parts else range(parts)):
            first = s == (0 if turned else p - 1)
            there = 0.0 if first or not wait_back else b[s + before, i] + send * back_send
            if first and not wait_all:
                there = a[s, i]
            free = max(free, there) + backward[s]
            b[s, i] = free
    if starts:
        return a - forward[:, None], b - backward[:, None]
    return a, b


for _sentence, _slip in {
    "A part can begin at a stage only when it has left the stage before: you do not wait for that.":
        lambda *x: _timed(*x, wait_ahead=False),
    "A stage works on one part at a time: you do not wait until it is free.":
        lambda *x: _timed(*x, wait_own=False),
    "On the way back a part has to come from the stage behind: you do not wait for that.":
        lambda *x: _timed(*x, wait_back=False),
    "All parts go forward at a stage before the first comes back: you do not wait for that.":
        lambda *x: _timed(*x, wait_all=False),
    "Sending takes time on the way forward, too.": lambda *x: _timed(*x, ahead_send=False),
    "Sending takes time on the way back, too.": lambda *x: _timed(*x, back_send=False),
    "Sending is left out: each step from stage to stage takes `send` seconds.":
        lambda *x: _timed(*x, ahead_send=False, back_send=False),
    "Stage 0 has all its parts from the start: nothing is sent to it, and it begins at 0.":
        lambda *x: _turned(_timed(*x)[0] + x[3], *x),
    "Sending is counted as work of the stage: its end is when it has computed, and it is free then.":
        lambda f, b, n, s: _timed(torch.cat([f[:-1] + s, f[-1:]]), torch.cat([b[:1], b[1:] + s]), n, 0.0),
    "The way back begins at the last stage, not at the first.": lambda *x: _timed(*x, turned=True),
    "These are the times at which work begins; the ends are wanted.": lambda *x: _timed(*x, starts=True),
    "The seconds of the way forward and of the way back are exchanged.": lambda *x: _timed(*x, swap=True),
    "A stage waits until the one before has finished all parts: it may begin with the first part at once.":
        lambda *x: _timed(*x, all_first=True),
    "Parts come back in the order in which they went, the first of them first.":
        lambda *x: _timed(*x, reverse_parts=True),
    "Times are added where the later one counts: a part begins at the maximum of two times.":
        lambda *x: _added(*x),
    "Times are added on the way forward, where the later one counts: a part begins at the maximum of two.":
        lambda *x: _turned(_added(*x)[0], *x),
    "A stage works on one part at a time, forward and back: you do not wait until it is free.":
        lambda *x: _all_at_once(*x),
    "A stage is free again while its part travels: only the neighbour waits for `send`.":
        lambda *x: _holding(*x),
    "Of the two times that a part waits for, the later one counts, and you take the earlier.":
        lambda *x: _earlier(*x),
    "The way back begins its clock anew: it goes on from the time at which the way forward ends.":
        lambda f, b, n, s: (_timed(f, b, n, s)[0], _timed(b.flip(0), b, n, s)[0].flip(0)),
    "Stages and parts are exchanged: one row for each stage, one column for each part.":
        lambda *x: tuple(one.T for one in _timed(*x)),
    "All stages are taken to be as slow as the slowest: each has seconds of its own.":
        lambda f, b, n, s: _timed(f.max().expand(len(f)), b.max().expand(len(b)), n, s),
    "The seconds of a stage are divided by the number of parts: they are given for one part.":
        lambda f, b, n, s: _timed(f / n, b / n, n, s),
}.items():
    schedule.mistake(_sentence)(_slip)


def _added(forward, backward, parts, send):
    p = len(forward)
    a, b = torch.zeros(p, parts).double(), torch.zeros(p, parts).double()
    for s in range(p):
        for i in range(parts):
            a[s, i] = (a[s - 1, i] + send if s else 0) + (a[s, i - 1] if i else 0) + forward[s]
    for s in range(p - 1, -1, -1):
        for i in range(parts):
            before = b[s, i - 1] if i else a[s, -1]
            b[s, i] = (b[s + 1, i] + send if s < p - 1 else 0) + before + backward[s]
    return a, b


def _earlier(forward, backward, parts, send):
    p = len(forward)
    a, b = torch.zeros(p, parts).double(), torch.zeros(p, parts).double()
    for s in range(p):
        for i in range(parts):
            times = ([a[s - 1, i] + send] if s else []) + ([a[s, i - 1]] if i else [])
            a[s, i] = min(times, default=0.0) + forward[s]
    for s in range(p - 1, -1, -1):
        for i in range(parts):
            times = ([b[s + 1, i] + send] if s < p - 1 else []) + [b[s, i - 1] if i else a[s, -1]]
            b[s, i] = min(times) + backward[s]
    return a, b


def _turned(ahead, forward, backward, parts, send):
    """The way back after any way forward."""
    back = torch.zeros_like(ahead)
    for s in range(len(forward) - 1, -1, -1):
        free = ahead[s, -1]
        for i in range(parts):
            came = back[s + 1, i] + send if s + 1 < len(forward) else 0.0
            free = back[s, i] = max(free, came) + backward[s]
    return ahead, back


def _all_at_once(forward, backward, parts, send):
    p = len(forward)
    ahead = (torch.arange(p) * send + forward.cumsum(0))[:, None].repeat(1, parts)
    back = torch.zeros_like(ahead)
    for s in range(p - 1, -1, -1):
        came = back[s + 1] + send if s + 1 < p else ahead[s]
        back[s] = torch.maximum(came, ahead[s, -1]) + backward[s]
    return ahead, back


def _holding(forward, backward, parts, send):
    p = len(forward)
    a, b = torch.zeros(p, parts).double(), torch.zeros(p, parts).double()
    for s in range(p):
        for i in range(parts):
            free = a[s, i - 1] + send * (s < p - 1) if i else 0.0
            a[s, i] = max(free, a[s - 1, i] + send if s else 0.0) + forward[s]
    for s in range(p - 1, -1, -1):
        for i in range(parts):
            free = b[s, i - 1] + send * (s > 0) if i else a[s, -1]
            b[s, i] = max(free, b[s + 1, i] + send if s + 1 < p else 0.0) + backward[s]
    return a, b
