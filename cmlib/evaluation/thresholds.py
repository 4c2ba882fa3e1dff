"""Where to cut a score, by what mistakes cost."""

from __future__ import annotations

import torch
from torch import Tensor

from cmlib.data.pairs import describe


def cheapest_thresholds(
    scores: Tensor, truth: Tensor, candidates: Tensor, miss: float, false_alarm: float
) -> Tensor:
    """Of each tag the candidate that costs least on these rows, (tags,); of several the one that stands
    first, so that their order may say what is believed beforehand. A tag is set where score ≥ threshold.

    scores : float (rows, tags); truth : bool (rows, tags); candidates : (n,); miss, false_alarm : what each
        tag costs that is not set and ought to be, and that is set and ought not
    """
    if truth.dtype != torch.bool or truth.shape != scores.shape or scores.ndim != 2 or not len(scores):
        raise ValueError("cheapest_thresholds takes scores (rows, tags), a row at least, and truth as bool "
                         f"of the same shape; got {describe(scores)} and {describe(truth)}.")
    costs = []
    for threshold in candidates:
        tagged = scores >= threshold
        costs.append(miss * (~tagged & truth).sum(0) + false_alarm * (tagged & ~truth).sum(0))
    return candidates[torch.stack(costs).argmin(0)]  # argmin: the first of equals
