"""Two models on the same rows: what is hard for both cancels, and the rows where they differ decide."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from cmlib.data.pairs import describe


@dataclass(frozen=True)
class Paired:
    """first_only, second_only : rows that only one of the two models has right, of ``n`` in all."""

    first_only: int
    second_only: int
    n: int

    @property
    def difference(self) -> float:
        """Accuracy of the first minus that of the second."""
        return (self.first_only - self.second_only) / self.n

    @property
    def p_value(self) -> float:
        """McNemar's (1947) test in its exact form, two-sided: how often a fair coin, thrown once for every
        row where the models differ, falls at least as unevenly.
        """
        thrown, fewer = self.first_only + self.second_only, min(self.first_only, self.second_only)
        tail = sum(math.comb(thrown, k) for k in range(fewer + 1))
        return min(1.0, 2 * tail / 2**thrown)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference, each cell of the table half a row larger (Agresti & Min 2005)."""
        n, b, c = self.n + 2, self.first_only + 0.5, self.second_only + 0.5
        middle, half = (b - c) / n, 1.96 * math.sqrt(b + c - (b - c) ** 2 / n) / n
        return max(-1.0, middle - half), min(1.0, middle + half)

    def __str__(self):
        low, high = self.interval
        return (f"{self.difference:+.3f} ({low:+.3f} to {high:+.3f}); of {self.n} rows only the first has "
                f"{self.first_only} right, only the second {self.second_only}; p = {self.p_value:.2g}")


def paired(first: torch.Tensor, second: torch.Tensor) -> Paired:
    """Compare two models by which rows each has right: two bool tensors (rows,), of the same rows in the same
    order. ValueError otherwise.
    """
    for right in (first, second):
        if right.dtype != torch.bool or right.ndim != 1 or len(right) == 0:
            raise ValueError(f"paired compares two bool tensors (rows,), True where a model is right; got "
                             f"{describe(right)}.")
    if len(first) != len(second):
        raise ValueError(f"paired got {len(first)} and {len(second)} rows: both models must have answered "
                         "the same ones.")
    return Paired(int((first & ~second).sum()), int((second & ~first).sum()), len(first))
