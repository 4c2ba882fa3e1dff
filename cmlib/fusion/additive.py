"""What adding opinions can do, and no more: it tells a model that compares from one that adds."""

from __future__ import annotations

from itertools import permutations

from torch import Tensor


def additive_part(logits: Tensor) -> Tensor:
    """The nearest sum of one opinion of the photo and one of the message to a model's logits, at the real
    pairs (Hessel and Lee 2020, "empirical multimodally-additive projection", algorithm 1).

    logits : (n, n, classes), entry [i, j] for photo i with message j; returns (n, classes) for pairs [i, i]
    """
    if logits.ndim != 3 or logits.shape[0] != logits.shape[1]:
        raise ValueError(f"additive_part reads logits (n, n, classes) of every photo with every message; got "
                         f"{tuple(logits.shape)}.")
    return logits.mean(1) + logits.mean(0) - logits.mean((0, 1))


def additive_ceiling(table: Tensor) -> float:
    """The best accuracy of any model that says 1 where f(a) + g(b) > 0, whatever f and g.

    table : (2, photos, messages), the probability of (label, a, b); it sums to 1; at most 8 photos, since
    every order of them is tried. In the order of f a message's photos with label 1 are the first few.
    """
    if table.ndim != 3 or len(table) != 2 or table.shape[1] > 8:
        raise ValueError(f"additive_ceiling reads a table (2, photos, messages) with at most 8 photos; got "
                         f"{tuple(table.shape)}.")
    gain = (table[1] - table[0]).double()
    best = max(_gain(gain[list(order)]) for order in permutations(range(len(gain))))
    return float(table[0].sum()) + best


def _gain(gain: Tensor) -> float:
    """What the best number of photos from the top adds to "0 for everyone", summed over the messages."""
    return float(gain.cumsum(0).clamp(min=0).amax(0).sum())
