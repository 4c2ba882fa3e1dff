"""Large batches in little memory: the gradient of the whole, computed from its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch

from cmlib.data.batch import Batch, Features
from cmlib.training.distributed import ALONE, Team


@dataclass(frozen=True)
class Part:
    """rows : which rows of the data; batch : those rows; share : its part of the whole batch, the weight of
    its mean loss.
    """

    rows: torch.Tensor
    batch: Batch | Features
    share: float


def parts_of(data, index: torch.Tensor, accumulate: int = 1, team: Team = ALONE) -> list[Part]:
    """This process's rows of a batch, cut into ``accumulate`` parts whose shares, over all processes, add up
    to 1.

    A mean of the parts' means would weigh the rows of a short part more; shares by rows give the gradient of
    the whole batch, also when it does not divide evenly. A process that is left without a row computes one
    with share 0: it has to be there when gradients are summed.
    """
    mine = index[team.rank::team.size]
    if len(mine) == 0:
        return [Part(index[:1], data[index[:1]], 0.0)]
    return [
        Part(rows, data[rows], len(rows) / len(index))
        for rows in mine.tensor_split(min(accumulate, len(mine)))
    ]


def cached_contrastive(encode: Callable, loss: Callable, parts: Sequence) -> torch.Tensor:
    """Add the gradient of loss(features of all parts) to the parameters, with the graph of one part in memory
    at a time.

    A contrastive loss compares every row with every other, so it is no sum over parts. GradCache (Gao et al.
    2021, section 3): encode all parts without a graph; differentiate the loss by the features; encode each
    part again and send those gradients on. The price is a second forward pass. Dropout draws the same numbers
    both times.

    encode : called as encode(part) → Features (or a tuple of tensors), rows first
    loss   : called as loss(Features of all rows) → scalar (a tuple's tensors come as arguments)
    Returns the loss, detached; gradients of parameters inside ``loss`` (a temperature) are added too.
    """
    if not parts:
        raise ValueError("cached_contrastive got no parts: split the batch into at least one.")
    states, outs = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state())
            outs.append(encode(part))
    after = _random_state()
    columns = [torch.cat(column) for column in zip(*map(_tensors, outs), strict=True)]
    leaves = [c.requires_grad_() if c.is_floating_point() else c for c in columns]
    value = loss(type(outs[0])(*leaves)) if isinstance(outs[0], Features) else loss(*leaves)
    value.backward()
    start = 0
    for part, state in zip(parts, states, strict=True):
        _set_random_state(state)
        again = _tensors(encode(part))
        rows = slice(start, start := start + len(again[0]))
        pairs = [(out, leaf.grad[rows]) for out, leaf in zip(again, leaves, strict=True)
                 if out.requires_grad and leaf.grad is not None]
        torch.autograd.backward(*map(list, zip(*pairs, strict=True)))
    _set_random_state(after)
    return value.detach()


def _tensors(features) -> Iterator | tuple:
    return (
        tuple(getattr(features, f.name) for f in fields(features))
        if isinstance(features, Features)
        else tuple(features)
    )


def _random_state():
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _set_random_state(state):
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
