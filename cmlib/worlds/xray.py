"""A drawn chest X-ray: ribs, heart, spine, lungs and six findings. A drawing, not a patient."""

from __future__ import annotations

from functools import cache

import numpy as np

from cmlib.worlds.draws import Draws
from cmlib.worlds.sdf import box, ellipse, grid, pool, rotate, soft
from cmlib.worlds.tables import SIDE, smooth_noise

FINDINGS = ("nodule", "mass", "cavity", "opacity", "clip", "calcification")
PHANTOMS, SLACK = 24, 7  # different chests, and by how many pixels each may be shifted
_WIDE, _ZOOM = SIDE + SLACK - 1, 2
# the marker on the patient's right, which is the picture's left
_R = ("###.", "#..#", "###.", "#.#.", "#..#")


@cache
def phantom(variant: int) -> np.ndarray:
    """float32 (70, 70), brightness 0 to 255: a drawing, not a patient."""
    u = Draws(0, "phantom", [variant]).uniform("shape", 8)[0]
    px, py = grid(_WIDE * _ZOOM)
    x, y = px * 1.09 / (0.96 + 0.1 * u[0]), py * 1.09
    side = np.abs(x)
    body = soft(ellipse(x, y, 0, 0.45, 1.04, 1.55), 0.03) * soft(
        ellipse(x, y, 0, 0.75, 0.98 + 0.1 * u[1], 1.62), 0.10
    )
    image = 0.05 + 0.50 * body
    for s in (-1, 1):
        # The dome of the diaphragm; the liver lifts the right one.
        floor = 0.66 - 0.05 * s + 0.06 * u[2] + 0.5 * (x * s - 0.42) ** 2
        lung = soft(ellipse(x - s * 0.09 * (y + 0.1), y, s * 0.46, 0.0, 0.37, 0.86), 0.03) * soft(
            y - floor, 0.03
        )
        markings = np.clip(smooth_noise(f"lung{variant}{s}", 14, len(x)), -1, 2) * np.exp(
            -(((side - 0.2) / 0.3) ** 2)
        )
        root = np.exp(-(((side - 0.22) / 0.14) ** 2) - ((y - 0.02) / 0.25) ** 2)
        image -= lung * (0.40 - 0.035 * markings - 0.10 * root)
    image += 0.12 * soft(side - 0.10, 0.03) * body
    image += 0.06 * soft(side - 0.085, 0.02) * (np.sin(y * 24 + 6 * u[3]) > -0.3) * body  # vertebrae
    heart = ellipse(*rotate(x - 0.17, y - 0.33, 28), 0, 0, 0.40 + 0.05 * u[4], 0.30 + 0.03 * u[5])
    image += 0.25 * soft(heart, 0.03) + 0.10 * soft(ellipse(x, y, 0.1, -0.22, 0.13, 0.16), 0.03)
    for j in range(8):
        centre = -0.80 + j * 0.20 + 0.03 * u[6] + 0.62 * (side - 0.12) ** 2 - 0.10 * side
        image += (
            0.085 * np.exp(-(((y - centre) / 0.032) ** 2)) * soft(np.abs(side - 0.47) - 0.40, 0.03) * body
        )
    collar = -0.80 - 0.20 * side + 0.10 * np.sin(side * 6)
    image += 0.17 * np.exp(-(((y - collar) / 0.035) ** 2)) * soft(np.abs(side - 0.42) - 0.36, 0.02)
    image = pool(np.clip(image, 0, 1), _ZOOM)
    for row, line in enumerate(_R):
        image[8 + row, SLACK:SLACK + 4] += 0.75 * (np.array(list(line)) == "#")
    return (255 * np.clip(image, 0, 1)).astype(np.float32)


@cache
def finding(kind: str, large: bool, turn: int) -> np.ndarray:
    """float32 (size, size) in 0 … about 1: how much a finding brightens the film, 13 or 21 pixels wide. A
    drawing.
    """
    size = 21 if large else 13
    x, y = rotate(*(1.05 * v for v in grid(size * 4)), 90 * turn + 20)
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    if kind == "nodule":
        m = soft(r - 0.55, 0.06)
    elif kind == "mass":
        m = soft(r - 0.62 - 0.2 * np.sin(angle * 6), 0.05)
    elif kind == "cavity":
        m = soft(np.abs(r - 0.68) - 0.16, 0.05)
    elif kind == "opacity":
        m = 0.9 * np.exp(-((r / 0.72) ** 4)) * (0.75 + 0.25 * np.sin(5 * x + 2) * np.sin(6 * y))
    elif kind == "clip":
        m = 1.5 * soft(
            np.minimum(box(x, y, 0, 0.28, 0.75, 0.14, 0.05), box(x, y, 0.55, -0.1, 0.14, 0.5, 0.05)), 0.03
        )
    else:
        dots = [(0.55 * np.cos(t), 0.55 * np.sin(t)) for t in np.arange(6) * np.pi / 3] + [(0.0, 0.0)]
        m = 1.3 * np.maximum.reduce([soft(np.hypot(x - a, y - b) - 0.17, 0.04) for a, b in dots])
    return pool(m, 4).astype(np.float32)
