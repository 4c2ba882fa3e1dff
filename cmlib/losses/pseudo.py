"""Labels that a model gives itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cmlib.data.pairs import describe


def fixmatch_loss(strong_logits: Tensor, weak_logits: Tensor, threshold: float = 0.95) -> Tensor:
    """What a weak view says for sure, the strong view of its row learns (Sohn et al. 2020, eq. 4), a scalar.

    logits : (batch, n_classes) of both views. A row counts where the weak view's largest probability reaches
    ``threshold``, with its likeliest class as the label; the mean is over all rows, and no gradient goes to
    the weak view. ValueError for shapes that differ, or a threshold outside 0 to 1.
    """
    if strong_logits.shape != weak_logits.shape or weak_logits.ndim != 2:
        raise ValueError("fixmatch_loss reads logits (batch, n_classes) of two views of the same rows; got "
                         f"{describe(strong_logits)} and {describe(weak_logits)}.")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold!r} is a probability, from 0 to 1.")
    confidence, label = weak_logits.detach().softmax(1).max(1)
    each = cross_entropy(strong_logits, label, reduction="none")  # (batch,)
    return torch.where(confidence >= threshold, each, 0.0).mean()
