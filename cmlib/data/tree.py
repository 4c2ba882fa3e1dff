"""Trees of tensors: batches, outputs of models and what is kept of them are dataclasses, dicts and tuples of
tensors.

A list is no branch: it holds one entry a row, as a tensor does (captions, boxes of a picture).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace

import numpy as np
import torch


def map_tensors(change: Callable, value):
    """The same tree with ``change(tensor)`` in the place of every tensor; what is no tensor stays as it is.

    So does a field of a dataclass that is marked ``field(metadata={"stays": True})``: row numbers, read on
    the host.
    """
    if isinstance(value, torch.Tensor):
        return change(value)
    if is_dataclass(value):  # before dict: what models of transformers return is both
        moving = [f.name for f in fields(value) if not f.metadata.get("stays")]
        return replace(value, **{name: map_tensors(change, getattr(value, name)) for name in moving})
    if isinstance(value, dict):
        return {name: map_tensors(change, item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return _like(value, [map_tensors(change, item) for item in value])
    return value


def leaves(value) -> Iterator[torch.Tensor]:
    """Every tensor of a tree, in the order of its fields and names; without those that ``map_tensors`` leaves
    alone.
    """
    if isinstance(value, torch.Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            if not field.metadata.get("stays"):
                yield from leaves(getattr(value, field.name))
    elif isinstance(value, dict | tuple | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)


def take(values, rows):
    """Those rows of a tensor, an array, a batch or a list with one entry a row; rows : as a tensor is
    indexed.
    """
    if isinstance(values, torch.Tensor | np.ndarray) or is_dataclass(values):
        return values[rows]
    return [values[row] for row in torch.arange(len(values))[rows].reshape(-1).tolist()]


def combine(join: Callable, values: list):
    """One tree from several of the same form: ``join(list)`` of what stands at each place, a tensor or a list
    of rows.
    """
    first = values[0]
    if is_dataclass(first):
        names = [field.name for field in fields(first)]
        return replace(first, **{n: combine(join, [getattr(value, n) for value in values]) for n in names})
    if isinstance(first, dict):
        return {name: combine(join, [value[name] for value in values]) for name in first}
    if isinstance(first, tuple):
        return _like(first, [combine(join, list(items)) for items in zip(*values, strict=True)])
    return None if first is None else join(values)


def _like(value, items: list):
    """A tuple or a list of the same kind: a NamedTuple takes its items one by one."""
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def cat(values: list):
    """The rows of several trees after one another; a number without rows (a temperature) is that of the first
    tree.

    ValueError if the rows of one tensor have other shapes than those of another.
    """

    def join(parts):
        if isinstance(parts[0], list):
            return [row for part in parts for row in part]
        return torch.cat(parts) if _have_rows(parts) else parts[0]

    return values[0] if len(values) == 1 else combine(join, values)


def interleave(values: list, n: int):
    """The ``n`` rows of several trees in turn: row k is the next one of tree k mod ``len(values)``. Else as
    ``cat``.
    """
    size = len(values)

    def join(parts):
        if isinstance(parts[0], list):
            return [parts[row % size][row // size] for row in range(n)]
        if not _have_rows(parts):
            return parts[0]
        whole = parts[0].new_empty(n, *parts[0].shape[1:])
        for place, part in enumerate(parts):
            whole[place::size] = part
        return whole

    return values[0] if size == 1 else combine(join, values)


def _have_rows(parts: list) -> bool:
    """Tensors with rows of one shape (True), or numbers without (False)."""
    if not isinstance(parts[0], torch.Tensor) or parts[0].ndim == 0:
        return False
    if len({part.shape[1:] for part in parts}) > 1:
        shapes = ", ".join(sorted({str(tuple(part.shape)) for part in parts}))
        raise ValueError(
            f"Rows of different shapes cannot be put together ({shapes}): pad them to one shape, or give a "
            "list with one entry a row."
        )
    return True
