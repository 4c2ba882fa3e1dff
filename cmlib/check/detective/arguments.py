"""Slips in what goes in: the right steps, on an argument that is left out, exchanged, turned round or changed
first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import torch

from cmlib.check.compare import Slip

CHANGED = (  # of a tensor of decimal numbers
    ("argument", "{x} enters with the wrong sign", torch.neg),
    ("argument", "{x} has no effect: this is the result for zeros", torch.zeros_like),
    ("argument", "{x} has no effect: this is the result for ones", torch.ones_like),
    ("power", "{x} enters as its absolute value", torch.abs),
    ("power", "{x} is squared, and must not be", torch.square),
    ("power", "{x} enters as its square root", lambda x: x.abs().sqrt()),
    ("power", "an exp is taken of {x}, and must not be", torch.exp),
    ("power", "a logarithm is taken of {x}, and must not be", torch.log),
    ("power", "{x} is used upside down: multiply instead of divide, or the reverse", torch.reciprocal),
    ("step", "a sigmoid is taken of {x}, and must not be", torch.sigmoid),
    ("step", "{x} is cut off at 0", lambda x: x.clamp(min=0)),
    ("argument", "{x} and 1 − {x} are exchanged", lambda x: 1 - x),
    ("rounding", "{x} is cut to whole numbers", torch.trunc),
    ("rounding", "{x} is rounded to whole numbers", torch.round),
    ("rounding", "{x} is cut to float32 on the way", lambda x: x.float().double()),
    ("rounding", "{x} is cut to 16 bits on the way", lambda x: x.bfloat16().double()),
    ("step", "the mean of all of {x} is taken away first", lambda x: x - x.mean()),
)
ALONG = (
    ("order", "{x} is read in reversed order along dimension {d}", lambda x, d: x.flip(d)),
    ("shift", "{x} is shifted by one place along dimension {d}", lambda x, d: x.roll(1, d)),
    ("shift", "{x} is shifted by one place along dimension {d}", lambda x, d: x.roll(-1, d)),
    ("step", "a softmax is taken of {x} over dimension {d}, and must not be", lambda x, d: x.softmax(d)),
    ("step", "a log_softmax is taken of {x} over dimension {d}, and must not be",
     lambda x, d: x.log_softmax(d)),
    ("order", "{x} is sorted along dimension {d}", lambda x, d: x.sort(d).values),
    ("step", "{x} is divided by its length over dimension {d}",
     lambda x, d: torch.nn.functional.normalize(x, dim=d)),
    ("step", "the mean of {x} over dimension {d} is taken away first",
     lambda x, d: x - x.mean(d, keepdim=True)),
    ("step", "{x} is standardised over dimension {d} first",
     lambda x, d: (x - x.mean(d, keepdim=True)) / (x.var(d, keepdim=True, unbiased=False) + 1e-5).sqrt()),
    ("step", "only the first place of {x} along dimension {d} is read",
     lambda x, d: x.narrow(d, 0, 1).expand_as(x)),
    ("reduction", "{x} is replaced by its mean over dimension {d}",
     lambda x, d: x.mean(d, True).expand_as(x)),
    ("step", "only the largest of {x} along dimension {d} counts, as if it were 1 and the others 0",
     lambda x, d: torch.zeros_like(x).scatter_(d, x.argmax(d, True), 1)),
    ("shift", "the first place of {x} along dimension {d} is left out",
     lambda x, d: x.narrow(d, 1, x.shape[d] - 1)),
    ("shift", "the last place of {x} along dimension {d} is left out",
     lambda x, d: x.narrow(d, 0, x.shape[d] - 1)),
)
NUMBERS = (  # of one number
    ("argument", "{x} has no effect: this is the result for 0", lambda v: type(v)(0)),
    ("argument", "{x} has no effect: this is the result for 1", lambda v: type(v)(1)),
    ("argument", "{x} has no effect: this is the result for 2", lambda v: type(v)(2)),
    ("argument", "{x} has no effect: this is the result for 0.5", lambda v: 0.5),
    ("argument", "{x} enters with the wrong sign", lambda v: -v),
    ("argument", "{x} and 1 − {x} are exchanged", lambda v: 1 - v),
    ("power", "{x} is squared, and must not be", lambda v: v * v),
    ("power", "{x} enters as its square root", lambda v: abs(v) ** 0.5),
    ("power", "{x} is used upside down: multiply instead of divide, or the reverse", lambda v: 1 / v),
    ("factor", "{x} is halved", lambda v: v / 2),
    ("factor", "{x} is doubled", lambda v: v * 2),
    ("shift", "{x} is off by one: this is the result for {x} + 1", lambda v: v + 1),
    ("shift", "{x} is off by one: this is the result for {x} − 1", lambda v: v - 1),
)
WHOLE = (  # of a tensor of whole numbers
    ("argument", "{x} has no effect: this is the result for zeros", torch.zeros_like),
    ("argument", "{x} has no effect: this is the result for ones", torch.ones_like),
    ("shift", "{x} is off by one: every entry is one too large", lambda x: x + 1),
    ("shift", "{x} is off by one: every entry is one too small", lambda x: x - 1),
    ("shift", "{x} is off by one: every entry is one too small", lambda x: (x - 1).clamp(min=0)),
    ("argument", "0 and 1 are exchanged in {x}", lambda x: 1 - x),
)
MASKS = (
    ("mask", "the mask {x} is upside down", lambda x: 1 - x if x.dtype != torch.bool else ~x),
    ("mask", "the mask {x} has no effect", torch.ones_like),
    ("mask", "the mask {x} hides all", torch.zeros_like),
    ("mask", "the mask {x} is used as if it were full up to its last 1",
     lambda x: (x.flip(-1).cumsum(-1).flip(-1) > 0).to(x.dtype)),
)
APART = ("axis", "{x} has a dimension too many, (n, 1) against (n,), so that every row meets every other",
         lambda x: x[:, None])
LISTS = (
    ("order", "{x} is read in reversed order", lambda v: v[::-1]),
    ("order", "{x} is sorted first", sorted),
    ("shift", "the first entry of {x} is left out", lambda v: v[1:]),
    ("shift", "the last entry of {x} is left out", lambda v: v[:-1]),
    ("step", "entries that stand several times in {x} count once", lambda v: list(dict.fromkeys(v))),
    ("step", "only the first entry of {x} is used", lambda v: v[:1]),
    ("step", "only the last entry of {x} is used", lambda v: v[-1:]),
)
TEXTS = (
    ("order", "{x} is read from its end", lambda v: v[::-1]),
    ("step", "{x} is turned into small letters", str.lower),
    ("shift", "the first sign of {x} is left out", lambda v: v[1:]),
    ("shift", "the last sign of {x} is left out", lambda v: v[:-1]),
)


def found(exercise, args) -> Iterator[tuple[Slip, Callable]]:
    """(slip, change): ``change(args)`` gives the arguments with which the reference does what the slip
    does.
    """
    names = exercise.argument_names(len(args))
    for i, one in enumerate(args):
        for j in range(i + 1, len(args)):
            if type(one) is type(args[j]) and not isinstance(one, dict):
                yield Slip(f"{names[i]} and {names[j]} are exchanged.", "argument"), _exchange(i, j)
                yield (Slip(f"{names[i]} is used where {names[j]} is wanted.", "argument"),
                       _at(j, lambda a, i=i, j=j: a[i]))
                yield (Slip(f"{names[j]} is used where {names[i]} is wanted.", "argument"),
                       _at(i, lambda a, i=i, j=j: a[j]))
        for kind, text, change in _changes(names[i], one):
            sentence = f"{text[0].upper()}{text[1:]}." if text[0] != "`" else f"{text}."
            yield Slip(sentence, kind), _at(i, lambda a, i=i, change=change: change(a[i]))
    yield from _defaults(exercise, args, names)
    yield from _together(args, names)


def _changes(name, value):
    def named(rows):
        return [(kind, text.format(x=name), change) for kind, text, change in rows]

    if isinstance(value, torch.Tensor):
        zeros_and_ones = value.dtype in (torch.bool, torch.int64, torch.int32) and value.numel() \
            and int(value.min()) >= 0 and int(value.max()) <= 1
        if "mask" in name or (zeros_and_ones and value.dtype is torch.bool):
            return named(MASKS)
        apart = named([APART]) if value.ndim == 1 and len(value) > 1 else []
        if value.ndim == 1 and len(value) <= 4:
            apart += [("order", f"places {i} and {j} of {name} are exchanged",
                       lambda x, i=i, j=j: x[[{i: j, j: i}.get(k, k) for k in range(len(x))]])
                      for i in range(len(value)) for j in range(i + 1, len(value))]
        if not value.is_floating_point():
            return named(WHOLE) + apart + _each(name, value, ALONG[:3])
        return named(CHANGED) + apart + _each(name, value, ALONG) + _transposed(name, value)
    if isinstance(value, bool):
        return [("argument", f"{name} is turned round: True and False", lambda v: not v)]
    if isinstance(value, (int, float)):
        return named(NUMBERS)
    if isinstance(value, str):
        return named(TEXTS)
    if isinstance(value, list) and value:
        return named(LISTS)
    if isinstance(value, dict) and len(value) <= 8:
        return _of_entries(name, value)
    return []


def _each(name, value, rows):
    return [(kind, text.format(x=name, d=d), lambda x, change=change, d=d: change(x, d))
            for d in range(min(value.ndim, 4)) for kind, text, change in rows]


def _transposed(name, value):
    return [("transpose", f"{name} is transposed, and must not be, or the reverse",
             lambda x, i=i, j=j: x.transpose(i, j))
            for i in range(value.ndim) for j in range(i + 1, value.ndim)][:6]


def _of_entries(name, value):
    """Of a dict with tensors, such as weights by name."""
    def change(key, how):
        return lambda entries: entries | {key: how(entries[key])}

    rows = []
    for key, part in value.items():
        if isinstance(part, torch.Tensor) and part.is_floating_point():
            rows += [
                ("argument", f"{key!r} of {name} is left out: this is the result for zeros",
                 change(key, torch.zeros_like)),
                ("argument", f"{key!r} of {name} is left out: this is the result for ones",
                 change(key, torch.ones_like)),
                ("argument", f"{key!r} of {name} enters with the wrong sign", change(key, torch.neg)),
            ]
            if part.ndim == 2:
                rows.append(("transpose", f"{key!r} of {name} is transposed", change(key, lambda x: x.T)))
    return rows


def _defaults(exercise, args, names):
    """An argument that the answer never reads, so that its default is at work."""
    parameters = list(inspect.signature(exercise.reference).parameters.values())
    for i, parameter in enumerate(parameters[: len(args)]):
        given = parameter.default
        if given is not inspect.Parameter.empty and names[i] == f"`{parameter.name}`":
            sentence = f"{names[i]} has no effect: this is the result for {names[i]} = {given!r}."
            yield Slip(sentence, "argument"), _at(i, lambda a, given=given: given)


def _together(args, names):
    """Two tensors that share a dimension, both without its first or its last place."""
    for i, one in enumerate(args):
        for j in range(i + 1, len(args)):
            if not isinstance(one, torch.Tensor) or not isinstance(args[j], torch.Tensor):
                continue
            for d in range(min(one.ndim, args[j].ndim)):
                n = one.shape[d]
                for end, first in (("first", 1), ("last", 0)) if n == args[j].shape[d] and n > 1 else ():
                    slip = Slip(f"The {end} place of {names[i]} and {names[j]} along dimension {d} is left "
                                "out.", "shift")
                    yield slip, lambda a, i=i, j=j, d=d, first=first, n=n: [
                        x.narrow(d, first, n - 1) if k in (i, j) else x for k, x in enumerate(a)]


def _exchange(i, j):
    def change(args):
        args = list(args)
        args[i], args[j] = args[j], args[i]
        return args
    return change


def _at(i, value):
    def change(args):
        args = list(args)
        args[i] = value(args)
        return args
    return change
