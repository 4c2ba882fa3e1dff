"""Slips that show in the result alone: an answer gave what is wanted, but turned, scaled, shifted …"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, permutations

import torch

from cmlib.check.compare import Slip, alike, numbers, parts

NICE = {
    2: "2", 3: "3", 4: "4", 10: "10", 100: "100", 1000: "1000", math.pi: "π", 2 * math.pi: "2π",
    math.log(2): "log 2", math.log(10): "log 10", math.sqrt(2): "√2", math.sqrt(2 * math.pi): "√(2π)",
}  # fmt: skip
CHANGES = (  # (kind, what the answer did, how to do it to what is wanted)
    ("power", "is squared", torch.square),
    ("power", "has a root too many: it is the square root of what is wanted", lambda w: w.abs().sqrt()),
    ("power", "is upside down: one divided by what is wanted", torch.reciprocal),
    ("power", "has lost its sign: the absolute value is too much", torch.abs),
    ("power", "has its exp too many, or lacks a logarithm", torch.exp),
    ("power", "has a logarithm too many, or lacks its exp", torch.log),
    ("step", "has a sigmoid too many", torch.sigmoid),
    ("step", "lacks its sigmoid", torch.logit),
    ("step", "is cut off at 0: negative values are wanted too", lambda w: w.clamp(min=0)),
    ("step", "is cut off at 0 and 1", lambda w: w.clamp(0, 1)),
    ("sign", "is 1 minus what is wanted", lambda w: 1 - w),
    ("rounding", "is rounded to whole numbers", torch.round),
    ("rounding", "is rounded down to whole numbers (an integer division, or an integer dtype)", torch.floor),
    ("rounding", "is cut to whole numbers (an integer dtype)", torch.trunc),
    *(("rounding", "is rounded", lambda w, places=places: w.round(decimals=places)) for places in (2, 3, 4)),
)  # fmt: skip
ALONG = (  # the same, along one dimension
    ("order", "is in reversed order along dimension {d}", lambda w, d: w.flip(d)),
    ("shift", "is shifted by one place along dimension {d}", lambda w, d: w.roll(1, d)),
    ("shift", "is shifted by one place along dimension {d}", lambda w, d: w.roll(-1, d)),
    ("step", "has a softmax too many, over dimension {d}", lambda w, d: w.softmax(d)),
    ("step", "has a log_softmax too many, over dimension {d}", lambda w, d: w.log_softmax(d)),
    ("step", "is divided by its sum over dimension {d}", lambda w, d: w / w.sum(d, keepdim=True)),
    ("step", "is divided by its length over dimension {d}", lambda w, d: w / w.norm(dim=d, keepdim=True)),
    ("step", "is added up along dimension {d} (cumsum)", lambda w, d: w.cumsum(d)),
)
LACKS = (  # done to the answer, it gives what is wanted
    ("step", "lacks its softmax over dimension {d}", lambda g, d: g.softmax(d)),
    ("step", "lacks its log_softmax over dimension {d}", lambda g, d: g.log_softmax(d)),
    ("step", "is not divided by its sum over dimension {d}", lambda g, d: g / g.sum(d, keepdim=True)),
    ("step", "is not brought to length 1 over dimension {d}", lambda g, d: g / g.norm(dim=d, keepdim=True)),
)
POOLED = (
    ("the mean", lambda x, d: x.mean(d)),
    ("the sum", lambda x, d: x.sum(d)),
    ("the largest", lambda x, d: x.amax(d)),
    ("the smallest", lambda x, d: x.amin(d)),
    ("the first", lambda x, d: x.select(d[0], 0) if len(d) == 1 else x.flatten()[0]),
    ("the last", lambda x, d: x.select(d[0], -1) if len(d) == 1 else x.flatten()[-1]),
)


def found(got, want, args, rtol, atol, names=()) -> Iterator[Slip]:
    """Every slip that explains the whole of ``got``; where only some parts are wrong, with their names."""
    wrong, subject = [(got, want)], ""
    pair = isinstance(want, dict) and isinstance(got, dict) and set(got) == set(want)
    if isinstance(want, (tuple, list)) and isinstance(got, (tuple, list)):
        pair = len(got) == len(want) and not all(isinstance(part, (int, float, str)) for part in want)
    if pair:
        yield from _exchanged(got, want, rtol, atol)
        three = parts(got, want, names)
        bad = [(name, g, w) for name, g, w in three if not alike(g, w, rtol, atol)]
        wrong = [(g, w) for _, g, w in bad]
        if len(bad) < len(three) or len(three) == 1:
            subject = f"In {' and '.join(name for name, _, _ in bad)}, "
    rows = [list(_of_one(g, w, args, rtol, atol)) for g, w in wrong]
    for slip in rows[0] if rows else ():
        if all(any(slip == other for other in row) for row in rows[1:]):
            yield Slip(f"{subject}{slip[0].lower()}{slip[1:]}", slip.kind) if subject else slip


def _exchanged(got, want, rtol, atol):
    """Right values at each other's places."""
    if isinstance(want, dict):
        keys = list(want)
        for a, b in ((a, b) for i, a in enumerate(keys) for b in keys[i + 1:]):
            others = all(alike(got[k], want[k], rtol, atol) for k in keys if k not in (a, b))
            if others and alike(got[a], want[b], rtol, atol) and alike(got[b], want[a], rtol, atol):
                yield Slip(f"The values of {a!r} and {b!r} are exchanged.", "order")
    elif 1 < len(want) <= 4:
        for order in permutations(range(len(want))):
            if list(order) != sorted(order) and all(
                    alike(g, want[k], rtol, atol) for g, k in zip(got, order, strict=True)):
                yield Slip(f"The {len(want)} values are in the wrong order.", "order")


def _of_one(got, want, args, rtol, atol) -> Iterator[Slip]:
    if isinstance(want, (str, list, tuple)):
        yield from _of_texts(got, want)
        return
    g, w = numbers(got), numbers(want)
    if g is None or w is None or isinstance(want, bool):
        return
    narrow = 1e-4 if getattr(got, "dtype", None) is torch.float32 and want.dtype is torch.float64 else 0.0
    rtol = max(rtol, narrow)

    def same(a, b):
        return a.shape == b.shape and torch.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)

    def tells(slip, predicted):
        return slip if same(g, predicted) and not same(predicted, w) else None

    hits = [*_turned(g, w, same), *_scaled(g, w, args, same)]
    if getattr(want, "dtype", None) is torch.bool:
        hits.append(tells(Slip("True and False are exchanged.", "sign"), 1 - w))
        yield from filter(None, hits)
        return
    if g.shape == w.shape:
        for kind, what, change in CHANGES:
            hits.append(tells(Slip(f"The result {what}.", kind), change(w)))
        if not same(g, w) and same(g.square(), w) and not same(g, w.sqrt()):
            hits.append(Slip("The square root has the wrong sign.", "sign"))
        for d in range(w.ndim):
            for kind, what, change in ALONG:
                hits.append(tells(Slip(f"The result {what.format(d=d)}.", kind), change(w, d)))
            for kind, what, change in LACKS:
                if not same(g, w) and same(change(g, d), w):
                    hits.append(Slip(f"The result {what.format(d=d)}.", kind))
        if w.ndim and len(w) > 2 and not same(g, w) and same(g.unique(dim=0), w.unique(dim=0)):
            hits.append(Slip("The right rows are there, in the wrong order.", "order"))
    elif g.numel() and w.numel():
        hits += _pooled(g, w, same)
    yield from filter(None, hits)


def _turned(g, w, same):
    if g.ndim != w.ndim or not 2 <= w.ndim <= 4 or g.numel() != w.numel():
        return
    for order in permutations(range(w.ndim)):
        if list(order) != sorted(order) and same(g, w.permute(order)) and not same(g, w):
            if w.ndim > 2:
                what = "The result has its dimensions in the wrong order (a transpose too many or too few)."
            elif g.shape == w.shape:
                what = "This is the transpose of the right result."
            else:
                what = (f"This is the transpose: your shape is {tuple(g.shape)}, and {tuple(w.shape)} is "
                        "wanted.")
            yield Slip(what, "transpose")
            return


def _scaled(g, w, args, same):
    if g.shape != w.shape or not w.isfinite().all() or not g.isfinite().all():
        return
    if same(-g, w) and not same(g, w):
        yield Slip("The sign is wrong: every value is the negative of the right one.", "sign")
        return
    big = w.abs() > 1e-8
    if big.any() and not same(g, w):
        ratio = float((g[big] * w[big]).sum() / w[big].square().sum())
        if abs(ratio) > 1e-6 and abs(ratio - 1) > 1e-6 and same(g, w * ratio):
            told = _nice(ratio, args)
            told = told or f"{ratio:.4g}" * (g.numel() > 1)
            if told not in ("", "1"):  # nearly right everywhere is no factor
                yield Slip(f"Every value is {told} times what it should be{_why(ratio, args)}", "factor")
    off = float((g - w).mean()) if g.numel() else 0.0
    if (g.numel() > 1 or abs(off) == 1) and abs(off) > 1e-9 and same(g - off, w):
        by_one = "Every value is one too " + ("large." if off > 0 else "small.")
        whole = abs(off) == 1 and same(w.round(), w)
        yield Slip(by_one if whole else "Every value is off by the same constant.", "constant")


def _nice(ratio: float, args) -> str:
    """A factor in words, where it is one that means something: a size of an argument, or a usual constant."""
    sign, ratio = ("−" if ratio < 0 else ""), abs(ratio)
    known = dict(NICE)
    for n in sizes(args):
        new = {n: f"{n}", n**0.5: f"√{n}", (n + 1) / n: f"{n + 1}/{n}", n / (n - 1): f"{n}/{n - 1}"}
        known = new | known
    for value, text in known.items():
        if math.isclose(ratio, value, rel_tol=1e-7):
            return sign + text
        if math.isclose(ratio, 1 / value, rel_tol=1e-7):
            above, _, below = text.partition("/")
            if text in ("2", "4", "10", "100", "1000"):
                return f"{sign}{1 / value:g}"
            return f"{sign}{below}/{above}" if below else f"{sign}1/{text}"
    whole = round(max(ratio, 1 / ratio))
    if whole < 1e6 and math.isclose(max(ratio, 1 / ratio), whole, rel_tol=1e-7):
        return f"{sign}{whole}" if ratio > 1 else f"{sign}1/{whole}"
    return ""


def _why(ratio: float, args) -> str:
    """What a factor that is a size of the input may come from."""
    for n in sizes(args):
        if math.isclose(ratio, n, rel_tol=1e-7):
            return f", and {n} is a size of the input: does a sum stand where a mean is wanted?"
        if math.isclose(ratio, 1 / n, rel_tol=1e-7):
            return f", and {n} is a size of the input: is it divided by that once too often?"
        if any(math.isclose(ratio, one, rel_tol=1e-7) for one in (n / (n - 1), (n - 1) / n)):
            return f", and {n} is a size of the input: is a mean divided by one more or less than that?"
    return "."


def sizes(value) -> list[int]:
    """The sizes of the tensors and lists in ``value``, a list of arguments, and its whole numbers."""
    found = []
    for one in (inner for argument in value for inner in _inside(argument)):
        if isinstance(one, torch.Tensor):
            found += [*one.shape, one.numel()]
        elif isinstance(one, (list, tuple, int)):
            found.append(one if isinstance(one, int) else len(one))
    return list(dict.fromkeys(n for n in found if n > 1))


def _inside(value) -> Iterator:
    """``value``, and what the lists and dicts in it hold."""
    yield value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for part in parts:
        yield from _inside(part)


def count(value) -> int:
    """How many numbers the tensors in ``value`` hold."""
    return sum(one.numel() for one in _inside(value) if isinstance(one, torch.Tensor))


def _pooled(g, w, same):
    """One value where several are wanted, or several where one is."""
    shape = f"The shape is wrong: yours is {tuple(g.shape)}, and {tuple(w.shape)} is wanted"
    if same(g.flatten(), w.flatten()):
        yield Slip(f"{shape} (the values are right).", "transpose")
        return
    if g.ndim > w.ndim:
        for dims in combinations(range(g.ndim), g.ndim - w.ndim):
            for what, pool in POOLED[:4]:
                if same(pool(g, dims), w):
                    places = " and ".join(map(str, dims))
                    several = f"you return one value for each place of dimension {places}"
                    yield Slip(f"{shape}: {several}, and {what} of them is wanted.", "reduction")
    if w.ndim > g.ndim:
        for dims in combinations(range(w.ndim), w.ndim - g.ndim):
            for what, pool in POOLED:
                if same(g, pool(w, dims)):
                    one = f"you return {what} over dimension {' and '.join(map(str, dims))}"
                    yield Slip(f"{shape}: {one}, and all are wanted.", "reduction")
    if g.ndim == w.ndim:
        for d in range(w.ndim):
            more = g.shape[d] - w.shape[d]
            short, long = (w, g) if more > 0 else (g, w)
            for end, first in (("first", 1), ("last", 0)) if abs(more) == 1 else ():
                if same(short, long.narrow(d, first, short.shape[d])):
                    what = "one too many" if more > 0 else "missing"
                    yield Slip(f"{shape}: the {end} place of dimension {d} is {what}.", "shift")
                    break


def _of_texts(got, want) -> Iterator[Slip]:
    """Texts, and lists of texts or numbers."""
    if isinstance(want, str):
        if isinstance(got, str) and got and want and str.__ne__(got, want):
            if got.casefold() == want.casefold():
                yield Slip("Capital and small letters differ.", "step")
            if "".join(got.split()) == "".join(want.split()):
                yield Slip("The spaces differ.", "step")
            if got[::-1] == want and len(want) > 5:
                yield Slip("The text is reversed.", "order")
        return
    if not isinstance(got, (list, tuple)) or not isinstance(want, (list, tuple)):
        return
    g, w = list(got), list(want)
    try:
        if g == w or not all(isinstance(part, (str, int, float)) for part in (*g, *w)):
            return
        if g == w[::-1]:
            yield Slip("The order is reversed.", "order")
        if sorted(g) == sorted(w):
            yield Slip("The right entries are there, in the wrong order.", "order")
        elif len(g) != len(w) and sorted(set(g)) == sorted(set(w)):
            yield Slip("Entries stand in your list more than once." if len(g) > len(w) else
                       "Entries that stand several times are in your list only once.", "step")
        elif g in (w[1:], w[:-1]):
            yield Slip(f"The {'first' if w[1:] == g else 'last'} entry is missing.", "shift")
        elif w in (g[1:], g[:-1]):
            yield Slip(f"The {'first' if g[1:] == w else 'last'} entry is one too many.", "shift")
    except TypeError:
        return
