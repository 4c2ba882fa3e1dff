"""Losses that compare the rows of a batch with one another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from cmlib.data.pairs import describe


def info_nce(image_features: Tensor, text_features: Tensor, temperature: float | Tensor = 0.1) -> Tensor:
    """Each image must find its own text among the batch's texts, and each text its image (Radford et al.
    2021, fig. 3).

    features : (batch, hidden), row k of both belongs together; returns a scalar. ValueError for a batch of
    one, rows that do not pair up, or a temperature that is not above 0.
    """
    _check(image_features, text_features)
    if not isinstance(temperature, Tensor) and not temperature > 0:  # a learned one stays on its device
        raise ValueError(f"temperature={temperature} must be above 0: cosines are divided by it; CLIP starts "
                         "at 0.07.")
    # (batch, batch)
    similarity = normalize(image_features, dim=1) @ normalize(text_features, dim=1).T / temperature
    partner = torch.arange(len(similarity), device=similarity.device)
    return (cross_entropy(similarity, partner) + cross_entropy(similarity.T, partner)) / 2


def sigmoid_contrast(logits: Tensor) -> Tensor:
    """Does this picture belong to this text? Yes on the diagonal, no everywhere else (SigLIP, Zhai et al.
    2023, equation 1).

    logits : (batch, batch), cosine · scale + bias; returns a scalar: the sum over all pairs, divided by the
    number of rows.
    """
    if logits.ndim != 2 or logits.shape[0] != logits.shape[1]:
        raise ValueError(f"logits of all pairs must be (batch, batch); got {describe(logits)}.")
    sign = 2 * torch.eye(len(logits), dtype=logits.dtype, device=logits.device) - 1  # +1 own, −1 others
    return -logsigmoid(sign * logits).sum() / len(logits)


def _check(image: Tensor, text: Tensor) -> None:
    if image.ndim != 2 or image.shape != text.shape:
        raise ValueError("image and text features must be (batch, hidden), as many rows and columns of the "
                         f"one as of the other; got {describe(image)} and {describe(text)}.")
    if image.shape[1] == 0:
        raise ValueError(f"The features have no columns, {describe(image)}: a modality that is missing "
                         "cannot be compared.")
    if len(image) < 2:
        raise ValueError("A batch of one row has nothing to be compared with: give two rows or more.")
