"""Two views of one picture must find one another among all the others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    """The normalised, temperature-scaled cross-entropy of SimCLR (Chen et al. 2020, eq. 1), a scalar.

    first, second : (batch, hidden), two views of the same rows. Each of the 2 · batch views chooses its
    partner among the 2 · batch − 1 others; ln(2 · batch − 1) where all views are one point.
    """
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2:
        raise ValueError("nt_xent compares two views (batch, hidden) of the same rows, at least 2 of them; "
                         f"got {tuple(first.shape)} and {tuple(second.shape)}.")
    if not temperature > 0:
        raise ValueError(f"temperature={temperature!r} must be above 0.")
    views = normalize(torch.cat([first, second]), dim=1)  # (2 · batch, hidden)
    myself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    logits = (views @ views.T / temperature).masked_fill(myself, -torch.inf)  # nobody is their own partner
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    return cross_entropy(logits, partner)
