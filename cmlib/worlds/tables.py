"""The tables toys stand on, the light that falls on them, the grain of the film: built once, cut at random
places.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from cmlib.worlds.draws import Draws
from cmlib.worlds.sdf import grid

TABLES = ("wood", "grass", "tiles", "cloth")
SIDE = 64
_SHEET = 160  # pixels of a texture sheet, from which a SIDE × SIDE window is cut
CUTS = _SHEET - SIDE + 1
SHEETS = 3


def smooth_noise(name: str, cells: int, size: int) -> np.ndarray:
    """float64 (size, size) of value noise, mean about 0 and spread about 1: random heights, smoothly
    joined.
    """
    heights = Draws(0, "texture", np.arange(cells + 1)).normal(name, cells + 1)
    t = np.arange(size) * cells / size
    low, f = t.astype(int), t % 1
    f = f * f * (3 - 2 * f)
    rows = heights[low] * (1 - f[:, None]) + heights[low + 1] * f[:, None]
    return 1.4 * (rows[:, low] * (1 - f) + rows[:, low + 1] * f)


@cache
def sheet(table: str, variant: int) -> np.ndarray:
    """float32 (3, 160, 160), 0 to 255."""
    y, x = np.mgrid[0:_SHEET, 0:_SHEET].astype(np.float64)
    name = f"{table}{variant}"
    low, mid = smooth_noise(name + "low", 6, _SHEET), smooth_noise(name + "mid", 32, _SHEET)
    fine = Draws(0, "texture", np.arange(_SHEET)).normal(name + "fine", _SHEET)
    tone = (variant - 1) * 0.04
    if table == "wood":
        plank = np.floor(y / 20)
        tint = 0.05 * np.sin(plank * 12.9 + variant)
        grain = np.sin((y * 0.75 + low * 3 + 0.4 * mid + plank * 9) * 1.3 + 0.02 * x) * 0.028 + 0.012 * fine
        seam = -0.20 * ((y % 20) < 1) + 0.05 * ((y % 20 >= 1) & (y % 20 < 2))
        rgb = _paint((0.79, 0.60, 0.40), tint + grain + seam + 0.02 * low + tone, (1, 0.95, 0.8))
    elif table == "grass":
        blades = np.sin(x * 1.9 + 3 * mid) * np.sin(y * 0.8 + 2 * low + 1.5 * fine) * 0.035
        rgb = _paint((0.50, 0.72, 0.36), 0.035 * low + 0.025 * mid + blades + tone, (0.8, 1, 0.6))
    elif table == "tiles":
        q = (24, 28, 32)[variant]
        line, shine = (
            (x % q < 1.4) | (y % q < 1.4),
            ((x % q >= 1.4) & (x % q < 2.4)) | ((y % q >= 1.4) & (y % q < 2.4)),
        )
        each = 0.022 * np.sin(np.floor(x / q) * 7.1 + np.floor(y / q) * 3.7)
        rgb = _paint(
            (0.80, 0.86, 0.90), each - 0.16 * line + 0.05 * shine + 0.012 * low + 0.006 * fine, (1, 1, 1)
        )
    else:
        q = (10, 12, 14)[variant]
        check = 0.5 * ((x // q) % 2) + 0.5 * ((y // q) % 2)
        weave = 0.014 * ((x + y) % 2 - 0.5) + 0.015 * low
        rgb = (
            _paint((0.97, 0.93, 0.88), weave, (1, 1, 1))
            - check[None] * np.array([0.03, 0.19, 0.17])[:, None, None]
        )
    return (255 * np.clip(rgb, 0, 1)).astype(np.float32)


def _paint(rgb, value, weights):
    return np.array(rgb)[:, None, None] + value[None] * np.array(weights)[:, None, None]


@cache
def light_maps() -> np.ndarray:
    """float32 (8, 64, 64): a window somewhere to the upper left, and corners a little darker."""
    x, y = grid(SIDE)
    angles = np.radians(np.linspace(180, 270, 8))[:, None, None]  # y points down
    slope = 0.085 * (np.cos(angles) * x + np.sin(angles) * y)
    return (1.03 + slope - 0.06 * (x**2 + y**2)).astype(np.float32)


@cache
def film_grain() -> np.ndarray:
    """float32 (256, 256) standard normal values, of which every picture takes 64 × 64."""
    return Draws(0, "grain", np.arange(256)).normal("film", 256).astype(np.float32)
