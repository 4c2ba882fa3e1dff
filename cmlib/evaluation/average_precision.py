"""Average precision of a ranking, with ties counted as what they are."""

from __future__ import annotations

import torch
from torch import Tensor

from cmlib.data.pairs import describe


def average_precision(scores: Tensor, relevant: Tensor) -> Tensor:
    """Of each query: precision at the rank of each relevant row, averaged over these rows, float64
    (queries,). Its mean over queries is mAP; over tags, give ``scores.T``.

    scores : float (queries, gallery), larger is nearer; relevant : bool (queries, gallery)
    Rows that tie stand in random order, and what is given is the expectation (McSherry & Najork 2008, section
    2.6): of n that tie behind ``ahead`` others, r of them relevant behind ``found`` others, the row in place
    i is relevant with probability r/n, and then finds (i − 1)(r − 1)/(n − 1) of its mates before it.
    ValueError for a query without a relevant row, and for nan.
    """
    _check(scores, relevant)
    return torch.stack([_of_one(row, wanted) for row, wanted in zip(scores, relevant, strict=True)])


def _of_one(scores, relevant) -> Tensor:
    _, group, n = (-scores).unique(return_inverse=True, return_counts=True)  # best first
    r = torch.zeros(len(n), dtype=torch.float64, device=n.device).index_add_(0, group, relevant.double())
    n = n.double()
    ahead, found = n.cumsum(0) - n, r.cumsum(0) - r
    of = torch.arange(len(n), device=n.device).repeat_interleave(n.long())  # the group of each rank
    rank = torch.arange(1, len(of) + 1, device=n.device)
    before = rank - ahead[of] - 1  # those of the own group that stand before this rank
    mates = before * (r[of] - 1) / (n[of] - 1).clamp(min=1)
    return (r[of] / n[of] * (found[of] + 1 + mates) / rank).sum() / r.sum()


def _check(scores, relevant) -> None:
    """Raise TypeError or ValueError, in one sentence, for what has no average precision."""
    if not (isinstance(scores, Tensor) and scores.ndim == 2 and scores.is_floating_point()):
        raise TypeError(f"average_precision takes the scores as float (queries, gallery); got "
                        f"{describe(scores)}.")
    if not (isinstance(relevant, Tensor) and relevant.dtype == torch.bool and relevant.shape == scores.shape):
        raise TypeError(f"relevant must be bool {tuple(scores.shape)} like the scores; got "
                        f"{describe(relevant)}.")
    if not scores.numel():
        raise ValueError(f"The scores are {tuple(scores.shape)}: there is nothing to rank.")
    for query, (row, wanted) in enumerate(zip(scores, relevant, strict=True)):
        if row.isnan().any():
            raise ValueError(f"The scores of query {query} have nan in them: such a row has no rank.")
        if not wanted.any():
            raise ValueError(f"Query {query} has no relevant row in the gallery: leave it out of the mean.")
