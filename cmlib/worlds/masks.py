"""Which pixel belongs to which toy of a scene, from the renderer itself."""

from __future__ import annotations

import torch

from cmlib.worlds.draws import row_draws
from cmlib.worlds.render import Photographer
from cmlib.worlds.tables import SIDE
from cmlib.worlds.toys import _latents, _take_photos


class _Surveyor(Photographer):
    """Notes for every pixel which of the toys of a picture was pasted there last, 1 for the first pasted."""

    def __init__(self, draws):
        super().__init__(draws)
        self.which = torch.zeros(len(draws.rows), SIDE, SIDE, dtype=torch.uint8)
        self._pasted = [0] * len(draws.rows)

    def paste(self, row, sprite, x, y, color):
        super().paste(row, sprite, x, y, color)
        self._pasted[row] += 1
        top, left = max(-y, 0), max(-x, 0)
        toy = torch.from_numpy(sprite.main + sprite.fixed.sum(0) > 0)[top:SIDE - y, left:SIDE - x]
        part = self.which[row, y + top:y + sprite.size, x + left:x + sprite.size]
        part.masked_fill_(toy, self._pasted[row])


def toy_masks(n: int, split: str = "train", start: int = 0, seed: int = 0) -> torch.Tensor:
    """uint8 (n, 64, 64) for the rows that ``Toys(seed).sample(n, split, start)`` draws: 0 is the table and
    its shadows, k + 1 a pixel of toy k. A toy's pixels reach the edges of its box where nothing hides it.
    """
    draws = row_draws("toys", seed, n, split, start)
    latents, surveyor = _latents(draws), _Surveyor(draws)
    _take_photos(surveyor, latents)
    which = torch.zeros_like(surveyor.which)
    there = torch.arange(latents["y"].shape[1]) < torch.from_numpy(latents["count"])[:, None]
    depth = torch.from_numpy(latents["y"]).masked_fill(~there, SIDE)  # back to front, as they are pasted
    order = depth.argsort(dim=1, stable=True)  # (n, 4): the toy that is pasted first, second, …
    for turn in range(order.shape[1]):
        toy = (order[:, turn] + 1).to(torch.uint8)[:, None, None]
        which = torch.where(surveyor.which == turn + 1, toy, which)
    return which
