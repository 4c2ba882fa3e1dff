"""Large batches in little memory: the gradient of the whole, computed from its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from cmlib.data.batch import Batch, Features
from cmlib.data.tree import cat, leaves, map_tensors
from cmlib.training.distributed import ALONE, Team


@dataclass(frozen=True)
class Part:
    """rows : which rows of the data; batch : those rows; share : its part of the whole batch, the weight of
    its mean loss.
    """

    rows: torch.Tensor = field(metadata={"stays": True})
    batch: Batch | Features
    share: float


def parts_of(data, index: torch.Tensor, accumulate: int = 1, team: Team = ALONE) -> list[Part]:
    """This process's rows of a batch, cut into ``accumulate`` parts whose shares, over all processes, add up
    to 1.

    A mean of the parts' means would weigh the rows of a short part more; shares by rows give the gradient of
    the whole batch, also when it does not divide evenly. A process that is left without a row computes one
    with share 0: it has to be there when gradients are summed.
    """
    if accumulate == 1 and team.size == 1:
        return [Part(index, data[index], 1.0)]
    mine = index[team.rank :: team.size]
    if len(mine) == 0:
        return [Part(index[:1], data[index[:1]], 0.0)]
    cuts = mine.tensor_split(min(accumulate, len(mine)))
    return [Part(rows, data[rows], len(rows) / len(index)) for rows in cuts]


def compared(
    encode: Callable,
    loss: Callable,
    parts: Sequence,
    team: Team = ALONE,
    n: int = 0,
    *,
    first: Callable | None = None,
    around: Callable = lambda last: nullcontext(),
    backward: Callable = torch.Tensor.backward,
):
    """Add the gradient of loss(outputs of all rows) to the parameters, with the graph of one part in memory
    at a time.

    A loss that compares every row with every other is no sum over parts. GradCache (Gao et al. 2021, section
    3): encode all parts without a graph; differentiate the loss by what came out; encode each part again and
    send those gradients on. The price is a second forward pass. Dropout draws the same numbers both times.
    (BatchNorm in training mode sees its part alone, and counts it twice: freeze it.)

    encode : called as encode(part) → a tree of tensors, rows first; a number without rows (a temperature) is
        the same in all
    loss   : called as loss(that tree of all rows) → a scalar, or a dict with "loss" in it
    team, n : the parts are this process's rows of a batch of n; the others' outputs are gathered. Gradients
        come out so that their *mean* over the processes is that of the whole batch, as
        DistributedDataParallel takes it
    first, around : what encodes without a graph, if not ``encode``; a context for each part of the second
        pass
    Returns (what ``loss`` gave, detached; the outputs of this process's rows).
    """
    states, outs = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state())
            outs.append((first or encode)(part))
    after = _random_state()
    own = cat(outs)

    def leaf(tensor):
        everybodys = team.rows(tensor, n) if tensor.ndim else tensor
        return everybodys.detach().requires_grad_(tensor.is_floating_point())

    whole = map_tensors(leaf, own)
    found = loss(whole)
    backward(found["loss"] if isinstance(found, dict) else found)
    gradients = [_own(tensor, team) for tensor in leaves(whole)]
    start = 0
    for number, (part, state) in enumerate(zip(parts, states, strict=True)):
        _set_random_state(state)
        with around(part is parts[-1]):
            again = list(leaves(encode(part)))
            count = max((len(tensor) for tensor in again if tensor.ndim), default=0)
            sent = []
            for tensor, gradient in zip(again, gradients, strict=True):
                if gradient is None or not tensor.requires_grad:
                    continue
                if not tensor.ndim:  # once for all parts
                    sent.append((tensor, gradient if number == 0 else torch.zeros_like(tensor)))
                    continue
                rows = gradient[start : start + count]
                # a row that is only there to keep other processes company has none
                sent.append((tensor, rows if len(rows) == count else torch.zeros_like(tensor)))
            if sent:
                torch.autograd.backward([tensor for tensor, _ in sent], [gradient for _, gradient in sent])
        start += count
    _set_random_state(after)
    return map_tensors(torch.Tensor.detach, found), own


def cached_contrastive(encode: Callable, loss: Callable, parts: Sequence) -> torch.Tensor:
    """``compared`` for one process, for loops of your own. encode(part) → Features or a tuple of tensors;
    loss : called with Features of all rows, or with the tensors of the tuple one by one. Returns the loss,
        detached; gradients of
    parameters inside ``loss`` (a temperature) are added too.
    """
    if not parts:
        raise ValueError("cached_contrastive got no parts: split the batch into at least one.")

    def of_all(outputs):
        return loss(*outputs) if isinstance(outputs, tuple) else loss(outputs)

    return compared(encode, of_all, parts)[0]


def _own(tensor, team):
    """The gradient of this process's rows; of a number without rows, all of it: every process has it, and
    their mean is it.
    """
    if tensor.grad is None or not tensor.ndim:
        return tensor.grad
    return tensor.grad[team.rank :: team.size] * team.size


def _random_state():
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _set_random_state(state):
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
