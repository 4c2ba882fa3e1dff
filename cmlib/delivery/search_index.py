"""Search without looking everywhere (lists of near vectors), and without keeping the vectors (codes)."""

from __future__ import annotations

import torch
from torch import Tensor

AT_ONCE = 1 << 16  # rows that are compared with all centres at a time


def nearest_centre(vectors: Tensor, centres: Tensor) -> Tensor:
    """Which centre is nearest to each vector, by Euclidean distance, int64 (rows,)."""
    half = centres.square().sum(1) / 2
    return torch.cat([(part @ centres.T - half).argmax(1) for part in vectors.split(AT_ONCE)])


def k_means(vectors: Tensor, n_centres: int, steps: int = 8, seed: int = 0) -> Tensor:
    """Centres (n_centres, size) of float vectors (rows, size), after ``steps`` of Lloyd's algorithm; a centre
    that nobody is near to stays where it is. ValueError where there are fewer rows than centres.
    """
    if not 1 <= n_centres <= len(vectors):
        raise ValueError(f"{n_centres} centres of {len(vectors)} vectors: choose 1 to {len(vectors)}.")
    draw = torch.Generator().manual_seed(seed)
    centres = vectors[torch.randperm(len(vectors), generator=draw)[:n_centres]].clone()
    for _ in range(steps):
        near = nearest_centre(vectors, centres)
        count = near.bincount(minlength=n_centres)
        total = torch.zeros_like(centres).index_add_(0, near, vectors)
        centres = torch.where(count[:, None] > 0, total / count.clamp(min=1)[:, None], centres)
    return centres


class InvertedFile:
    """Rows in lists, one for each centre of k-means: a query looks into the ``probes`` lists whose centres
    have the largest inner product with it, and nowhere else (Sivic & Zisserman 2003).

    vectors : float (rows, size), kept in the order of their lists; the centres are learned from ``learn`` of
    them
    """

    def __init__(self, vectors: Tensor, n_lists: int, seed: int = 0, learn: int = 50_000):
        draw = torch.Generator().manual_seed(seed)
        some = torch.randperm(len(vectors), generator=draw)[:max(learn, n_lists)]
        self.centres = k_means(vectors[some], n_lists, seed=seed)
        near = nearest_centre(vectors, self.centres)
        self.rows = near.argsort(stable=True)  # rows of the first list, of the second, …
        self.vectors = vectors[self.rows]
        self.starts = [0, *near.bincount(minlength=n_lists).cumsum(0).tolist()]

    def search(self, query: Tensor, k: int = 10, probes: int = 1) -> Tensor:
        """The at most k rows with the largest inner product, best first; query (size,)."""
        if probes < 1 or k < 1:
            raise ValueError(f"probes={probes} lists and k={k} rows: 1 or more of each.")
        lists = (self.centres @ query).topk(min(probes, len(self.centres))).indices.tolist()
        parts = [slice(self.starts[one], self.starts[one + 1]) for one in lists]
        scores = torch.cat([self.vectors[part] @ query for part in parts])
        best = scores.topk(min(k, len(scores))).indices
        return torch.cat([self.rows[part] for part in parts])[best]


class ProductCodes:
    """Each vector as ``parts`` bytes: cut into parts, each the number of the nearest of 256 centres of that
    part (product quantisation, Jégou et al. 2011, section 3).

    vectors : float (rows, size), size a multiple of parts; they are not kept. codes : uint8 (parts, rows)
    """

    def __init__(self, vectors: Tensor, parts: int, n_centres: int = 256, seed: int = 0, learn: int = 10_000):
        if vectors.shape[1] % parts:
            raise ValueError(f"Vectors of {vectors.shape[1]} numbers cannot be cut into {parts} equal parts.")
        if not 1 <= n_centres <= 256:
            raise ValueError(f"n_centres={n_centres}: a code is one byte, and numbers 1 to 256 centres.")
        draw = torch.Generator().manual_seed(seed)
        some = vectors[torch.randperm(len(vectors), generator=draw)[:learn]]
        pieces, learned = (every.chunk(parts, dim=1) for every in (vectors, some))
        self.centres = torch.stack([k_means(piece, min(n_centres, len(some)), seed=seed)
                                    for piece in learned])  # (parts, centres, size / parts)
        self.codes = torch.stack([nearest_centre(*pair).to(torch.uint8)
                                  for pair in zip(pieces, self.centres, strict=True)])

    def scores(self, query: Tensor) -> Tensor:
        """About the inner products of query (size,) with all rows, (rows,): a sum of ``parts`` looked-up
        numbers.
        """
        table = torch.einsum("pcs,ps->pc", self.centres, query.reshape(len(self.centres), -1))
        total = torch.zeros(self.codes.shape[1], dtype=query.dtype)
        for numbers, code in zip(table, self.codes, strict=True):
            total += numbers[code.int()]
        return total
