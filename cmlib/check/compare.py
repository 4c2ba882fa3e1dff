"""What differs between an answer and the reference: exactly, or but for the form in which it comes."""

from __future__ import annotations

import math

import torch

RIGHT_VALUES = "the values are right"
MOST_PARTS = 5000  # of a list that is read as numbers
NARROW = {torch.float16: 1e-2, torch.bfloat16: 5e-2, torch.float32: 1e-4}  # how exact a dtype can be


class Slip(str):
    """A sentence on a slip, and which kind of slip it is: of a few, `cmlib.grade.kinds.FAMILIES`."""

    def __new__(cls, sentence: str, kind: str):
        slip = super().__new__(cls, sentence)
        slip.kind = kind
        return slip


def difference(got, want, rtol, atol, names=()) -> str | None:
    """None where ``got`` equals ``want``, else what is wrong; a capital first letter marks a sentence that
    stands alone.

    names : of the parts, where ``want`` is a tuple or a list
    """
    if isinstance(want, dict):
        if not isinstance(got, dict):
            return f"Return a dict with the keys {', '.join(map(str, want))}; you return {kind_of(got)}."
        if set(got) != set(want):
            keys, yours = (", ".join(map(str, entries)) for entries in (want, got))
            return f"Return a dict with the keys {keys}; yours has {yours}."
    elif isinstance(want, (tuple, list)):
        if not isinstance(got, (tuple, list)):
            count = "the" if isinstance(want, list) else len(want)  # of a list it may be what is asked for
            return f"Return {count} values as a {type(want).__name__}; you return {kind_of(got)}."
        if len(got) != len(want):
            return f"it has {len(got)} parts where {len(want)} are wanted."
    else:
        return _leaf_difference(got, want, rtol, atol)
    for name, g, w in parts(got, want, names):
        problem = difference(g, w, rtol, atol)
        if problem:
            return f"in {name}, {problem[0].lower()}{problem[1:]}"
    return None


def parts(got, want, names=()) -> list[tuple[str, object, object]]:
    """[(name, part of ``got``, part of ``want``)] of two dicts with the same keys, or two lists of one
    length.
    """
    if isinstance(want, dict):
        return [(f"entry {key!r}", got[key], want[key]) for key in want]
    told = names if len(names) == len(want) else [_place(i, len(want)) for i in range(len(want))]
    return list(zip(told, got, want, strict=True))


def _place(i: int, n: int) -> str:
    ordinals = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
    return f"the {ordinals[i]} of {n} values" if i < len(ordinals) else f"value {i + 1} of {n}"


def alike(got, want, rtol, atol) -> bool:
    """Whether both say the same, whatever their dtype and container: an int64 sum is a float64 sum."""
    if isinstance(want, dict) or isinstance(got, dict):
        return isinstance(got, dict) and isinstance(want, dict) and set(got) == set(want) and \
            all(alike(got[key], want[key], rtol, atol) for key in want)
    if isinstance(got, (list, tuple)) and isinstance(want, (list, tuple)):
        return len(got) == len(want) and all(alike(g, w, rtol, atol) for g, w in zip(got, want, strict=True))
    if isinstance(got, str) or isinstance(want, str):
        return isinstance(got, str) and isinstance(want, str) and str.__eq__(got, want)
    g, w = numbers(got), numbers(want)
    if g is None or w is None:
        return got is want
    narrow = NARROW.get(getattr(got, "dtype", None), 0.0)
    narrow = 0.0 if getattr(want, "dtype", None) is getattr(got, "dtype", None) else narrow
    return g.shape == w.shape and torch.allclose(
        g, w, rtol=max(rtol, narrow), atol=max(atol, 0.01 * narrow), equal_nan=True
    )


def numbers(value) -> torch.Tensor | None:
    """The numbers of a tensor, an array, a number or a list of such, as float64; None where there are
    none.
    """
    if value is None or isinstance(value, (str, dict, set)):
        return None
    if isinstance(value, (list, tuple)):
        if not _has_few_parts(value):  # an answer is free to return a million of them
            return None
        rows = [numbers(part) for part in value]
        same = rows and all(row is not None and row.shape == rows[0].shape for row in rows)
        return torch.stack(rows) if same else None
    try:
        found = _tensor(value)
        return None if found.is_complex() else found.detach().double()
    except (TypeError, ValueError, RuntimeError):
        return None


def _tensor(value) -> torch.Tensor:
    """As torch has it, but a number keeps all its digits."""
    return torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None)


def _has_few_parts(value) -> bool:
    todo, count = [value], 0
    while todo and count <= MOST_PARTS:
        part = todo.pop()
        count += len(part)
        todo += [one for one in part[: MOST_PARTS + 1] if isinstance(one, (list, tuple))]
    return count <= MOST_PARTS


def _leaf_difference(got, want, rtol, atol):
    if type(got).__module__ == "numpy" and getattr(got, "ndim", 1) == 0:
        got = got.item()  # np.any() is True or False as well
    if isinstance(want, str) or want is None or isinstance(want, bool):
        if not isinstance(got, type(want)):
            return f"Return {kind_of(want)}; you return {kind_of(got)}."
        return None if got == want else f"{got!r} is not right."
    if isinstance(want, torch.Tensor) and not isinstance(got, torch.Tensor):
        right = f" ({RIGHT_VALUES})" if alike(got, want, rtol, atol) else ""
        return f"Return a tensor of shape {tuple(want.shape)}; you return {kind_of(got)}{right}."
    try:
        g, w = _tensor(got), _tensor(want)
    except (TypeError, ValueError, RuntimeError):
        return f"Return {kind_of(want)}; you return {kind_of(got)}."
    # as a double it would lose its imaginary part
    if g.is_complex() and not isinstance(want, (torch.Tensor, complex)):
        return f"Return {kind_of(want)}; you return {kind_of(got)}."
    if type(want) is int and g.dtype.is_floating_point and alike(got, want, rtol, atol):
        return f"Return {kind_of(want)}; you return {kind_of(got)} ({RIGHT_VALUES})."
    if g.shape != w.shape:
        squeezed = g.squeeze().shape == w.squeeze().shape and alike(g.squeeze(), w.squeeze(), rtol, atol)
        right = f" ({RIGHT_VALUES})" if squeezed else ""
        return f"The shape is wrong: yours is {tuple(g.shape)}, and {tuple(w.shape)} is wanted{right}."
    if isinstance(want, torch.Tensor) and g.dtype != w.dtype:
        right = f" ({RIGHT_VALUES})" if alike(g, w, rtol, atol) else ""
        return f"The dtype is wrong: yours is {_name(g.dtype)}, and {_name(w.dtype)} is wanted{right}."
    g, w = g.detach().double(), w.detach().double()
    if torch.allclose(g, w, rtol=rtol, atol=atol, equal_nan=True):
        return None
    if not g.isfinite().all() and w.isfinite().all():
        return f"{'nan' if g.isnan().any() else 'inf'} appears in the result."
    return _off(g, w, rtol, atol)


def _off(g, w, rtol, atol) -> str:
    most = (g - w).abs().nan_to_num(math.inf).max()
    wrong = ~torch.isclose(g, w, rtol=rtol, atol=atol, equal_nan=True)
    count = int(wrong.sum())
    if count == g.numel():
        return f"it is off by up to {most:.3g}."
    for d in range(g.ndim):
        others = [k for k in range(g.ndim) if k != d]
        places = (wrong.any(others) if others else wrong).nonzero()[:, 0].tolist()
        if len(places) <= g.shape[d] / 2:
            at = ("place " if len(places) == 1 else "places ") + ", ".join(map(str, places[:6]))
            return f"values at {at} of dimension {d} are off by up to {most:.3g}; all others are right."
    first = wrong.nonzero()[0].tolist()
    return f"{count} of {g.numel()} values are off by up to {most:.3g}, the first of them at {first}."


def _name(dtype):
    return str(dtype).removeprefix("torch.")


def kind_of(value) -> str:
    """ "an int", "a float64 tensor of shape (2, 3)", "None": what a sentence says that a value is."""
    if isinstance(value, torch.Tensor):
        return f"a {_name(value.dtype)} tensor of shape {tuple(value.shape)}"
    kind = type(value).__name__
    bare = {"str": "text", "NoneType": "None", "bool": "True or False"}
    if kind in bare:
        return "a text" if kind == "str" else bare[kind]
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
