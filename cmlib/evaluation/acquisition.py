"""Active learning: which rows to have labelled next."""

from __future__ import annotations

import torch
from torch import Tensor


def entropy(probabilities: Tensor) -> Tensor:
    """How undecided a model is, in nats: (rows, n_classes) → (rows,)."""
    return torch.special.entr(probabilities).sum(1)


def margin(probabilities: Tensor) -> Tensor:
    """The likeliest class ahead of the second (Scheffer et al. 2001); small is doubt: (rows, n_classes) →
    (rows,).
    """
    best = probabilities.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


def k_centre(features: Tensor, labelled: Tensor, k: int) -> Tensor:
    """The next ``k`` rows to label so that every row is near one: each time the row farthest from all known
    ones (Sener and Savarese 2018, algorithm 1; at most twice the best possible radius, Gonzalez 1985).

    features : (rows, size); labelled : int64, the rows that are known, at least one. Returns int64 (k,), in
    the order of choice. ValueError where fewer than ``k`` rows are left.
    """
    if not len(labelled) or k > len(features) - len(labelled):
        raise ValueError(f"k_centre chooses among the rows without a label, and needs one that has one; got "
                         f"k={k!r} of {len(features)} rows, {len(labelled)} of them labelled.")
    nearest = torch.cdist(features, features[labelled]).amin(1)  # (rows,)
    chosen = []
    for _ in range(k):
        chosen.append(int(nearest.argmax()))
        new = torch.cdist(features, features[chosen[-1:]])[:, 0]
        nearest = torch.minimum(nearest, new)
    return torch.tensor(chosen)
