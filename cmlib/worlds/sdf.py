"""Shapes as signed distance functions: negative inside, zero on the edge, positive outside (after Inigo
Quilez).
"""

from __future__ import annotations

import numpy as np


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x (to the right) and y (down), float32 (size, size), pixel centres in −1 … 1."""
    v = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    return np.meshgrid(v, v)


def circle(x, y, cx, cy, r):
    return np.hypot(x - cx, y - cy) - r


def ellipse(x, y, cx, cy, a, b):
    """Exact on the edge and close to a distance near it, which is all that outlines need."""
    return (np.hypot((x - cx) / a, (y - cy) / b) - 1) * min(a, b)


def box(x, y, cx, cy, w, h, r=0.05):
    """Rectangle of half width w and half height h with corners of radius r."""
    dx, dy = np.abs(x - cx) - w + r, np.abs(y - cy) - h + r
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - r


def polygon(x, y, points):
    squared, sign = np.full_like(x, 9.0), np.ones_like(x)
    for (ax, ay), (bx, by) in zip(points, points[-1:] + points[:-1], strict=True):
        ex, ey, wx, wy = bx - ax, by - ay, x - ax, y - ay
        t = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        squared = np.minimum(squared, (wx - ex * t) ** 2 + (wy - ey * t) ** 2)
        above, below, left = y >= ay, y < by, ex * wy > ey * wx
        sign = np.where((above & below & left) | ~(above | below | left), -sign, sign)
    return sign * np.sqrt(squared)


def arc(x, y, cx, cy, r, thickness):
    """The lower half of a ring: a smile."""
    return np.where(y > cy, np.abs(np.hypot(x - cx, y - cy) - r) - thickness, 9.0)


def star_points(outer, inner, n=5):
    angle = np.arange(2 * n) * np.pi / n
    radius = np.where(np.arange(2 * n) % 2 == 0, outer, inner)
    return [(float(r * np.sin(a)), float(-r * np.cos(a))) for r, a in zip(radius, angle, strict=True)]


def rotate(x, y, degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return c * x + s * y, c * y - s * x


def soft(d, width):
    """1 well inside, 0 well outside, a logistic edge of the given width between."""
    return 1 / (1 + np.exp(np.clip(d / width, -40, 40)))


def pool(a: np.ndarray, factor: int) -> np.ndarray:
    """Average of factor × factor blocks of the last two axes: anti-aliasing."""
    *front, h, w = a.shape
    return a.reshape(*front, h // factor, factor, w // factor, factor).mean((-3, -1))


def blur(a: np.ndarray, radius: int) -> np.ndarray:
    """Two passes of a box blur along each axis: close to a Gaussian."""
    for axis in (0, 1, 0, 1):
        a = sum(np.roll(a, i, axis) for i in range(-radius, radius + 1)) / (2 * radius + 1)
    return a
