"""From a list of parts to a patch of pixels with outline, bevel, soft shadow and, on request, a bold
crack.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from cmlib.worlds.drawings import DRAWINGS
from cmlib.worlds.draws import Draws
from cmlib.worlds.sdf import blur, grid, pool, rotate

POSES = 4  # looking right, left, and both again with a tilt
CRACKS = 4  # different cracks; crack 0 means intact
_SUPERSAMPLE, _FILL = 2, 0.8  # the rest of the patch is room for the shadow


@dataclass(frozen=True)
class Sprite:
    """What to do with a patch of canvas: patch × keep + fixed + main × colour.

    fixed : float32 (3, size, size); main, keep : float32 (size, size); box : (x0, y0, x1, y1) of the toy
        without its
    shadow, pixels, ends exclusive, relative to the patch.
    """

    fixed: np.ndarray
    main: np.ndarray
    keep: np.ndarray
    box: tuple[int, int, int, int]

    @property
    def size(self) -> int:
        return len(self.main)


@cache
def sprite(kind, size: int, pose: int = 0, crack: int = 0, shadow: float = 0.42) -> Sprite:
    """The patch of a toy (or "parcel", "carton", or a drawing of one's own) ``size`` pixels wide; built once,
    then kept.
    """
    x, y = grid(size * _SUPERSAMPLE)
    draw = kind if callable(kind) else DRAWINGS[kind]
    gap = _gap(x, y, crack) if crack else None
    if crack:
        (dx, dy), side = _shift(crack), np.sign(gap)
        x, y = x - side * dx, y - side * dy
    x, y = rotate(x / _FILL, y / _FILL, (0, 0, 8, -8)[pose])
    main, fixed, inside = _paint(draw(-x if pose % 2 else x, y), size)
    if crack:
        main, fixed = _break(main, fixed, gap)
    main, fixed, alpha = (pool(a * inside, _SUPERSAMPLE) for a in (main, fixed, np.ones_like(main)))
    drop = max(1, round(size / 20))
    dark = np.pad(alpha, 3 * drop)  # wide enough that nothing wraps round
    dark = (
        shadow
        * blur(np.roll(dark, (drop + 1, drop), (0, 1)), drop)[3 * drop : -3 * drop, 3 * drop : -3 * drop]
    )
    ys, xs = np.nonzero(alpha > 0.02)
    return Sprite(
        fixed.astype(np.float32),
        main.astype(np.float32),
        ((1 - alpha) * (1 - dark)).astype(np.float32),
        (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1),
    )


def _paint(parts, size):
    """Paint parts over one another; light falls from the upper left."""
    shape, pixel = parts[0][0].shape, 2 / size / _FILL
    main, fixed = np.zeros(shape, np.float32), np.zeros((3, *shape), np.float32)
    union = np.minimum.reduce([d for d, _ in parts])
    inside = union < 0.5 * pixel
    share, paint = parts[0][1]
    main += 0.3 * share  # what stays visible of this is the outline: a deep tone of the first part
    fixed += 0.3 * np.array(paint, np.float32)[:, None, None]
    for d, (share, paint) in parts:
        part = _around(d < 0)
        d = d[part]
        m = d < 0
        down, right = np.gradient(d, pixel / _SUPERSAMPLE)
        bevel = np.clip(-(0.8 * down + 0.6 * right) * np.exp(np.minimum(d, 0) / 0.16), -1, 1)
        light = (1.0 + 0.34 * bevel) * (1 - 0.42 * (d > -0.55 * pixel))
        shine = 46 * np.clip(bevel - 0.25, 0, 1) * (share > 0)
        main[part][m] = (share * light)[m]
        for channel, value in zip(fixed, paint, strict=True):
            channel[part][m] = (value * np.minimum(light, 1.04) + shine)[m]
    return main, fixed, inside


def _around(mask):
    """The slices of the smallest window that holds the mask, one pixel more on every side for its
    gradient.
    """
    return tuple(slice(max(line.argmax() - 1, 0), len(line) - max(line[::-1].argmax() - 1, 0))
                 for line in (mask.any(1), mask.any(0)))


def _gap(x, y, crack):
    """Signed distance (roughly) to a zigzag line through the toy."""
    u, v = rotate(x, y, (0, 62, 118, 28, 152)[crack])
    a = Draws(0, "crack", [crack]).uniform("phase", 3)[0]
    zig = 0.30 * (np.abs((u * 1.7 + a[0]) % 1 - 0.5) - 0.25) + 0.10 * (
        np.abs((u * 4.3 + a[1]) % 1 - 0.5) - 0.25
    )
    return v - zig + 0.2 * (a[2] - 0.5)


def _shift(crack):
    """How far each half slips from the other: across the crack and a little along it."""
    return rotate(0.045, 0.04, -(0, 62, 118, 28, 152)[crack])


def _break(main, fixed, gap):
    """A dark cleft with pale broken edges, so that it shows on every colour."""
    cleft, edge = np.abs(gap) < 0.062, np.abs(gap) < 0.125
    main = np.where(edge, np.where(cleft, 0, 0.35 * main), main)
    pale = 0.35 * fixed + 150
    return main, np.where(edge, np.where(cleft, 22, pale), fixed)
