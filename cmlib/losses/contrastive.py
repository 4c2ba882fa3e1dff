"""Losses that compare the rows of a batch with one another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


def info_nce(image_features: Tensor, text_features: Tensor, temperature: float = 0.1) -> Tensor:
    """Each image must find its own text among the batch's texts, and each text its image (Radford et al.
    2021, fig. 3).

    features : (batch, hidden), row k of both belongs together; returns a scalar.
    """
    # (batch, batch)
    similarity = normalize(image_features, dim=1) @ normalize(text_features, dim=1).T / temperature
    partner = torch.arange(len(similarity), device=similarity.device)
    return (cross_entropy(similarity, partner) + cross_entropy(similarity.T, partner)) / 2
