"""How far vectors have moved, told apart into what all of them share and the rest."""

from __future__ import annotations

import math

from torch import Tensor


def drift(before: Tensor, after: Tensor) -> tuple[float, float]:
    """(shift, rest): the part of the way from ``before`` to ``after`` that all rows share, and what is left
    of it; both as shares of the spread of ``before`` around its mean. Their squares add up to that of the
    whole way.

    before, after : float (rows, size), the same rows in two versions of an encoder
    """
    if before.shape != after.shape or before.ndim != 2 or len(before) < 2:
        raise ValueError("drift compares the same two rows or more, (rows, size), before and after; got "
                         f"{tuple(before.shape)} and {tuple(after.shape)}.")
    spread = (before - before.mean(0)).norm().item()
    if not spread:
        raise ValueError("Before, all rows are one vector: there is no spread to measure the way by.")
    way = after - before  # (rows, size)
    shared = way.mean(0)
    return math.sqrt(len(way)) * shared.norm().item() / spread, (way - shared).norm().item() / spread
