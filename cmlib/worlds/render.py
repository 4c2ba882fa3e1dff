"""Pictures from latents: a table, toys pasted on it back to front, light, grain, and out comes uint8."""

from __future__ import annotations

import numpy as np
import torch

from cmlib.worlds.drawings import RGB
from cmlib.worlds.draws import Draws
from cmlib.worlds.sprites import Sprite
from cmlib.worlds.tables import CUTS, SHEETS, SIDE, TABLES, film_grain, light_maps, sheet

_PAINT = np.array(RGB, np.float32)[:, :, None, None]


class Photographer:
    """Draws the backgrounds, light and grain of some rows, then takes one picture per row.

    ``paste`` calls for a row must come between ``begin`` and ``finish``: pictures are made one after the
    other in a canvas that stays in the processor's cache, which is faster here than one large batched gather
    and scatter.
    """

    def __init__(self, draws: Draws):
        n = len(draws.rows)
        self.table = draws.integers("table", len(TABLES))
        self._sheet = draws.integers("sheet", SHEETS).tolist()
        self._cut = draws.integers("cut", CUTS, 2).tolist()
        self._light = draws.integers("light map", len(light_maps())).tolist()
        self._bright = (0.9 + 0.16 * draws.uniform("brightness")).tolist()
        self._tint = (0.94 + 0.1 * draws.uniform("tint", 3)).astype(np.float32)
        self._grain = draws.integers("grain", 256 - SIDE + 1, 2).tolist()
        self._names = [TABLES[t] for t in self.table]
        self._pixels = np.empty((n, 3, SIDE, SIDE), np.uint8)
        self._canvas = np.empty((3, SIDE, SIDE), np.float32)

    def begin(self, row: int):
        x, y = self._cut[row]
        self._canvas[...] = sheet(self._names[row], self._sheet[row])[:, y:y + SIDE, x:x + SIDE]

    def paste(self, row: int, sprite: Sprite, x: int, y: int, color: int):
        """Put the sprite's patch with its upper left corner at pixel (x, y), cut off at the picture's
        edge.
        """
        top, left = max(-y, 0), max(-x, 0)
        here = slice(top, SIDE - y), slice(left, SIDE - x)
        patch = self._canvas[:, y + top:y + sprite.size, x + left:x + sprite.size]
        patch *= sprite.keep[here]
        patch += sprite.fixed[:, *here]
        patch += sprite.main[here] * (_PAINT[color] * self._tint[row][:, None, None])

    def finish(self, row: int, grain: float = 4.0):
        x, y = self._grain[row]
        canvas = self._canvas
        canvas *= light_maps()[self._light[row]] * np.float32(self._bright[row])
        canvas += np.float32(grain) * film_grain()[y:y + SIDE, x:x + SIDE]
        canvas.clip(0, 255, out=canvas)
        self._pixels[row] = canvas

    def pictures(self) -> torch.Tensor:
        """uint8 (rows, 3, 64, 64)."""
        return torch.from_numpy(self._pixels)
