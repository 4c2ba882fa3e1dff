"""Losses on distances: what belongs together is to be nearer than what does not."""

from __future__ import annotations

import torch
from torch import Tensor

MINING = ("all", "violated", "semi-hard", "hardest")


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance of every row of a to every row of b: (n, size), (m, size) → (n, m).

    Multiplied out, |a|² + |b|² − 2 a·b, which is one product of matrices: rows of length 1 that are equal lie
    up to 1e-3 apart in float32 (subtracting first would give 0 and take longer). The gradient is finite
    everywhere, and 0 where the distance is 0, as that of the square is.
    """
    square = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T  # (n, m)
    apart = square > 0  # what rounding leaves below 0 counts as 0
    return torch.where(apart, torch.where(apart, square, 1).sqrt(), 0)


def contrastive_loss(distance: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """Pairs that belong together are pulled to 0, the others pushed beyond the margin (Hadsell, Chopra &
    LeCun 2006, eq. 4, without its ½): mean of d² over the former + mean of (margin − d)₊² over the latter.

    distance : (n, m), not squared; same : bool (n, m); returns a scalar.
    """
    _compared(distance, same)
    push = (margin - distance).clamp(min=0).square()
    return _mean(distance.square(), same) + _mean(push, ~same)


def triplet_loss(square: Tensor, positive: Tensor, negative: Tensor, margin: float = 0.2,
                 mining: str = "violated") -> Tensor:
    """Mean of (d²(a, p) − d²(a, n) + margin)₊ over triples of an anchor, a positive and a negative (Schroff,
    Kalenichenko & Philbin 2015, section 3.1).

    square : squared distances (anchors, rows); positive, negative : bool (anchors, rows)
    mining : which triples, and how many they are divided by
        "all"       every triple
        "violated"  those with a loss above 0, and the mean over them alone
        "semi-hard" for each anchor and positive the nearest negative that is further away than the positive
            (Schroff et al. 2015, section 3.2)
        "hardest"   for each anchor its furthest positive and its nearest negative (batch-hard, Hermans,
            Beyer & Leibe 2017)
    A batch without any such triple costs 0.
    """
    _compared(square, positive)
    if mining not in MINING:
        raise ValueError(f"There is no mining {mining!r}; there are {', '.join(MINING)}.")
    if mining == "hardest":
        own = square.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)  # (anchors, 1)
        other = square.masked_fill(~negative, torch.inf).amin(1, keepdim=True)
        return _mean((own - other + margin).clamp(min=0), own.isfinite() & other.isfinite())
    anchor, place = positive.nonzero(as_tuple=True)  # every pair that belongs together
    other, wrong = square.index_select(0, anchor), negative[anchor]  # (pairs, rows)
    own = other.gather(1, place[:, None])  # (pairs, 1)
    if mining == "semi-hard":
        other = other.masked_fill(~wrong | (other <= own), torch.inf).amin(1, keepdim=True)  # (pairs, 1)
        wrong = wrong.any(1, keepdim=True)
    loss = (own - other + margin).clamp(min=0)
    return _mean(loss, wrong & (loss > 0) if mining == "violated" else wrong)


def _mean(values: Tensor, which: Tensor) -> Tensor:
    """The mean over those alone, 0 where there are none."""
    return torch.where(which, values, 0).sum() / which.sum().clamp(min=1)


def _compared(distance: Tensor, same: Tensor) -> None:
    if distance.ndim != 2 or 1 in distance.shape or same.shape != distance.shape:
        raise ValueError(
            f"The distances are {tuple(distance.shape)} and say who belongs together as {tuple(same.shape)}: "
            "a loss that compares rows needs 2 or more of them each way, and both tables alike."
        )
