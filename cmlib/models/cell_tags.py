"""Tags of a picture from its cells: a picture has a tag if one of its cells has it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmlib.data.device import follow, settle
from cmlib.data.pairs import describe
from cmlib.data.states import States


class CellTags(nn.Module):
    """forward(States) → logits (batch, n_tags), the largest over the cells (multiple-instance learning, Maron
    & Lozano-Pérez 1997, with the largest in the place of their noisy or). For ``cmlib.tasks.Tag``.

    size : of the states of "image", such as ``encoder.hidden_size``; all cells share one small net
    """

    def __init__(self, size: int, n_tags: int, hidden_size: int = 128):
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, hidden_size), nn.GELU(), nn.Linear(hidden_size, n_tags)
        )
        settle(self)

    def cells(self, states: States) -> Tensor:
        """What each cell says, logits (batch, cells, n_tags)."""
        return self.net(follow(states, self).states["image"])

    def forward(self, states: States) -> Tensor:
        return self.cells(states).amax(1)


def at_one_cell(first: Tensor, second: Tensor) -> Tensor:
    """Two tags of one and the same thing: the largest product of both probabilities over the cells,
    (batch, n, m).

    first, second : logits (batch, cells, n) and (batch, cells, m)
    """
    if first.ndim != 3 or first.shape[:2] != second.shape[:2]:
        raise ValueError("at_one_cell takes logits (batch, cells, n) and (batch, cells, m) of the same "
                         f"cells; got {describe(first)} and {describe(second)}.")
    a, b = first.sigmoid(), second.sigmoid()
    return torch.stack([(a[:, :, [k]] * b).amax(1) for k in range(a.shape[2])], dim=1)
