"""Batches in which every row has a mate: P identities, K rows of each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PK:
    """``fit(…, sampler=PK(8, 4))``: each batch holds p identities, drawn without replacement, and of each k
    different rows (Hermans, Beyer & Leibe 2017, section 2). The identity of a row is its label.

    Called as sampler(rows, batch_size, generator) → int64 (p · k,) rows of each batch, ceil(rows /
    batch_size) batches; the same generator state gives the same ones. Identities with fewer than k rows are
    never drawn: ValueError if fewer than p are left.
    """

    p: int
    k: int

    def __post_init__(self):
        if self.p < 2 or self.k < 2:
            raise ValueError(f"PK({self.p}, {self.k}): a batch needs 2 identities or more, so that there are "
                             "negatives, and 2 rows of each, so that there are positives.")

    def __call__(self, rows, batch_size: int, generator: torch.Generator) -> list[Tensor]:
        if batch_size != self.p * self.k:
            raise ValueError(f"PK({self.p}, {self.k}) makes batches of {self.p * self.k} rows, and "
                             f"batch_size is {batch_size}: choose them alike.")
        if rows.labels is None or rows.labels.is_floating_point() or rows.labels.ndim != 1:
            raise ValueError("PK groups rows by their identity: give them int64 (rows,) labels.")
        _, place, counts = rows.labels.cpu().unique(return_inverse=True, return_counts=True)
        often = (counts >= self.k).nonzero()[:, 0]
        if len(often) < self.p:
            raise ValueError(f"Of {len(counts)} identities {len(often)} have {self.k} rows or more "
                             f"({int((counts == 1).sum())} occur once), and p={self.p} of them are to share "
                             "a batch: lower p or k, or add rows.")
        members = place.argsort(stable=True).split(counts.tolist())  # the rows of each identity

        def few(among: Tensor, count: int) -> Tensor:
            return among[torch.randperm(len(among), generator=generator)[:count]]

        return [torch.cat([few(members[one], self.k) for one in few(often, self.p).tolist()])
                for _ in range(-(-len(rows) // batch_size))]
