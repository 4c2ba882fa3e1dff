"""Low-rank adaptation: a frozen linear map and, beside it, two narrow ones that learn (Hu et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn


class LoRA(nn.Module):
    """x → linear(x) + alpha / rank · (x downᵀ) upᵀ; of its numbers only ``down`` and ``up`` learn.

    down : (rank, inputs), drawn as a linear layer draws its weight; up : (outputs, rank), zeros, so that
        nothing is changed before the first step
    alpha : by default the rank, which makes the factor 1; dropout : of x, on the narrow way alone
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float | None = None, dropout: float = 0.0):
        super().__init__()
        outputs, inputs = linear.weight.shape
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= min(inputs, outputs):
            raise ValueError(f"rank={rank!r} must be a whole number from 1 to {min(inputs, outputs)}, since "
                             f"the weight is ({outputs}, {inputs}).")
        self.linear, self.dropout = linear.requires_grad_(False), nn.Dropout(dropout)
        self.scale = (rank if alpha is None else alpha) / rank
        # drawn on the CPU, so that a seed gives the same numbers on every device
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.to(linear.weight.device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        narrow = self.dropout(x) @ self.down.T  # (…, rank)
        return self.linear(x) + self.scale * (narrow @ self.up.T)  # (…, outputs)

    def delta(self) -> torch.Tensor:
        """What is added to the weight: (outputs, inputs), of a rank of at most ``rank``."""
        return self.scale * (self.up @ self.down)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The linear layer with the change in its weight: summed in float32 or finer, then rounded once, to
        the format of the weight.
        """
        weight = self.linear.weight
        fine = torch.promote_types(weight.dtype, torch.float32)
        weight.copy_(weight.to(fine) + self.delta().to(fine))
        return self.linear


def add_lora(model: nn.Module, rank: int, alpha: float | None = None,
             where: Sequence[str] = ("query", "value"), dropout: float = 0.0) -> nn.Module:
    """Freeze ``model``, and put a LoRA in the place of every linear layer whose name ends in one of
    ``where``; in place, and returned.

    where : ends of dotted names, "query" or "attention.output.dense"; ValueError where one fits nothing
    """
    model.requires_grad_(False)
    linear = {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    if any(isinstance(part, LoRA) for part in model.modules()):
        raise ValueError("This model has LoRA layers already: merge_lora(model) first.")
    for end in where:
        if not any(f".{name}".endswith(f".{end}") for name in linear):
            there = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in linear)) or "none"
            raise ValueError(f"No linear layer is called {end!r}; the names end in {there}.")
    for name, part in linear.items():
        if any(f".{name}".endswith(f".{end}") for end in where):
            model.set_submodule(name, LoRA(part, rank, alpha, dropout))
    return model


def merge_lora(model: nn.Module) -> nn.Module:
    """Put the linear layer back in the place of every LoRA, with the change in its weight; in place, and
    returned. What is left is as large and as fast as before.
    """
    found = {name: part for name, part in model.named_modules() if isinstance(part, LoRA)}
    if not found:
        raise ValueError("There is no LoRA layer to merge: add_lora(model, rank) makes some.")
    for name, part in found.items():
        model.set_submodule(name, part.merged())
    return model
