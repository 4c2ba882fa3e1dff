"""Slips in what goes in: the right steps, on an argument that is left out, exchanged, turned round or changed
first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import torch

from cmlib.check.compare import Slip

ARITHMETIC = (  # of a number, and of a tensor of decimal numbers
    ("argument", "{x} enters with the wrong sign", lambda x: -x),
    ("argument", "{x} and 1 − {x} are exchanged", lambda x: 1 - x),
    ("power", "{x} is squared, and must not be", lambda x: x * x),
    ("power", "{x} is used upside down: multiply instead of divide, or the reverse", lambda x: 1 / x),
    ("factor", "{x} is doubled", lambda x: 2 * x),
    ("factor", "{x} is halved", lambda x: x / 2),
)
ABSENT = (
    ("argument", "{x} has no effect: this is the result for zeros", torch.zeros_like),
    ("argument", "{x} has no effect: this is the result for ones", torch.ones_like),
)
CHANGED = (  # of a tensor of decimal numbers
    *ARITHMETIC,
    *ABSENT,
    ("power", "{x} enters as its absolute value", torch.abs),
    ("step", "a sigmoid is taken of {x}, and must not be", torch.sigmoid),
    ("step", "{x} is cut off at 0", lambda x: x.clamp(min=0)),
    ("rounding", "{x} is cut to whole numbers", torch.trunc),
    ("rounding", "{x} is rounded to whole numbers", torch.round),
    ("rounding", "{x} is cut to float32 on the way", lambda x: x.float().double()),
)
ALONG = (
    ("order", "{x} is read in reversed order along dimension {d}", lambda x, d: x.flip(d)),
    ("shift", "{x} is shifted by one place along dimension {d}", lambda x, d: x.roll(1, d)),
    ("shift", "{x} is shifted by one place along dimension {d}", lambda x, d: x.roll(-1, d)),
    ("step", "a softmax is taken of {x} over dimension {d}, and must not be", lambda x, d: x.softmax(d)),
    ("step", "a log_softmax is taken of {x} over dimension {d}, and must not be",
     lambda x, d: x.log_softmax(d)),
    ("step", "{x} is divided by its length over dimension {d}",
     lambda x, d: torch.nn.functional.normalize(x, dim=d)),
    ("step", "the mean of {x} over dimension {d} is taken away first",
     lambda x, d: x - x.mean(d, keepdim=True)),
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
    ("argument", "{x} has no effect: this is the result for 0.5", lambda v: 0.5),
    *ARITHMETIC,
    ("shift", "{x} is off by one: this is the result for {x} + 1", lambda v: v + 1),
    ("shift", "{x} is off by one: this is the result for {x} − 1", lambda v: v - 1),
)
WHOLE = (  # of a tensor of whole numbers
    *ABSENT,
    ("shift", "{x} is off by one: every entry is one too large", lambda x: x + 1),
    ("shift", "{x} is off by one: every entry is one too small", lambda x: x - 1),
    ("shift", "{x} is off by one: every entry is one too small", lambda x: (x - 1).clamp(min=0)),
    ("argument", "0 and 1 are exchanged in {x}", lambda x: 1 - x),
)
MASKS = (
    ("mask", "the mask {x} is upside down", lambda x: 1 - x if x.dtype != torch.bool else ~x),
    ("mask", "the mask {x} has no effect", torch.ones_like),
    ("mask", "the mask {x} hides all", torch.zeros_like),
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
    sizes = [a.shape[:2] if isinstance(a, torch.Tensor) else () for a in args]
    for d in (0, 1):
        n = max((size[d] for size in sizes if len(size) > d), default=0)
        shared = [i for i, size in enumerate(sizes) if len(size) > d and size[d] == n > 1]
        for end, first in (("first", 1), ("last", 0)) if len(shared) > 1 else ():
            slip = Slip(f"The {end} place of dimension {d} is left out.", "shift")
            yield slip, lambda a, d=d, first=first, shared=shared: [
                x.narrow(d, first, x.shape[d] - 1) if i in shared else x for i, x in enumerate(a)]


def _changes(name, value):
    def named(rows):
        return [(kind, text.format(x=name), change) for kind, text, change in rows]

    if isinstance(value, torch.Tensor):
        zeros_and_ones = value.dtype in (torch.bool, torch.int64, torch.int32) and value.numel() \
            and int(value.min()) >= 0 and int(value.max()) <= 1
        if "mask" in name or (zeros_and_ones and value.dtype is torch.bool):
            return named(MASKS)
        apart = named([APART]) if value.ndim == 1 and len(value) > 1 else []
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
    return []


def _each(name, value, rows):
    return [(kind, text.format(x=name, d=d), lambda x, change=change, d=d: change(x, d))
            for d in range(min(value.ndim, 4)) for kind, text, change in rows]


def _transposed(name, value):
    return [("transpose", f"{name} is transposed, and must not be, or the reverse",
             lambda x, i=i, j=j: x.transpose(i, j))
            for i in range(value.ndim) for j in range(i + 1, value.ndim)][:6]


def _defaults(exercise, args, names):
    """An argument that the answer never reads, so that its default is at work."""
    parameters = list(inspect.signature(exercise.reference).parameters.values())
    for i, parameter in enumerate(parameters[: len(args)]):
        given = parameter.default
        if given is not inspect.Parameter.empty and names[i] == f"`{parameter.name}`":
            sentence = f"{names[i]} has no effect: this is the result for {names[i]} = {given!r}."
            yield Slip(sentence, "argument"), _at(i, lambda a, given=given: given)


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
