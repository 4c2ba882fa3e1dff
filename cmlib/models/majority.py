"""The floor under every other number: the class shares, whatever the input."""

from __future__ import annotations

import torch
from torch import nn

from cmlib.data.batch import Batch, Features
from cmlib.data.device import settle


class Majority(nn.Module):
    """Log of the class shares in the training labels, whatever the input: the floor under every other
    number.
    """

    def __init__(self, labels: torch.Tensor, n_classes: int):
        super().__init__()
        shares = torch.bincount(labels, minlength=n_classes).float() / len(labels)
        # finite for a class that never occurs
        self.register_buffer("log_shares", shares.clamp(min=1e-9).log())
        self.n_classes = n_classes
        settle(self)

    def forward(self, batch: Batch | Features) -> torch.Tensor:
        return self.log_shares.expand(len(batch.labels), -1)  # (batch, n_classes)
