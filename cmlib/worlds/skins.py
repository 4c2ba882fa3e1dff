"""Two skins of the scenes of toys: road signs, and marks that spoil a printed page. What is said of a scene
stays the same (kind, colour, size, place), what it looks like does not.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from cmlib.data.pairs import Pairs
from cmlib.worlds.drawings import INK, LIGHT, MAIN, STEEL, WHITE
from cmlib.worlds.draws import Draws, row_draws, whole
from cmlib.worlds.render import Photographer
from cmlib.worlds.sdf import box, circle, polygon, rotate
from cmlib.worlds.sprites import sprite
from cmlib.worlds.tables import SIDE
from cmlib.worlds.toys import _PATCH, _latents

_POLE = (0, 0.75, 0.07, 0.2, 0.02)
_SCENERIES = 24


def triangle(x, y):
    return [(box(x, y, *_POLE), STEEL), (polygon(x, y, [(0, -0.9), (0.88, 0.6), (-0.88, 0.6)]), MAIN),
            (polygon(x, y, [(0, -0.5), (0.54, 0.42), (-0.54, 0.42)]), WHITE),
            (box(x, y, 0, 0.0, 0.07, 0.22, 0.05), INK), (circle(x, y, 0, 0.32, 0.07), INK)]


def circle_sign(x, y):
    return [(box(x, y, *_POLE), STEEL), (circle(x, y, 0, -0.12, 0.76), MAIN),
            (circle(x, y, 0, -0.12, 0.5), WHITE), (box(x, y, 0, -0.12, 0.36, 0.1, 0.02), INK)]


def diamond(x, y):
    return [(box(x, y, *_POLE), STEEL),
            (polygon(x, y, [(0, -0.92), (0.8, -0.1), (0, 0.72), (-0.8, -0.1)]), WHITE),
            (polygon(x, y, [(0, -0.74), (0.62, -0.1), (0, 0.54), (-0.62, -0.1)]), MAIN)]


def square(x, y):
    return [(box(x, y, *_POLE), STEEL), (box(x, y, 0, -0.1, 0.72, 0.72, 0.08), MAIN),
            (polygon(x, y, [(0, -0.6), (0.42, -0.12), (-0.42, -0.12)]), WHITE),
            (box(x, y, 0, 0.12, 0.14, 0.3, 0.02), WHITE)]


def dot(x, y):
    spots = [(0, 0.06, 0.6), (-0.66, -0.5, 0.17), (0.7, -0.42, 0.13), (0.5, 0.72, 0.15)]
    return [(circle(x, y, *spot), MAIN) for spot in spots] + [(circle(x, y, -0.2, -0.16, 0.14), LIGHT)]


def scratch(x, y):
    u, v = rotate(x, y, 35)
    return [(box(u, v, 0, 0, 0.95, 0.11, 0.1), MAIN), (box(u, v, 0.2, 0.3, 0.5, 0.07, 0.06), MAIN)]


def ring(x, y):
    return [(np.abs(np.hypot(x, y) - 0.68) - 0.17, MAIN)]


def line(x, y):
    return [(box(x, y, 0, -0.22, 0.92, 0.16, 0.02), MAIN), (box(x, y, 0.1, 0.24, 0.78, 0.12, 0.02), LIGHT)]


@cache
def _road(number: int) -> np.ndarray:
    """float32 (3, 64, 64), 0 to 255: sky, hills, and a road with a dashed line."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    hill, way = Draws(0, "road", [number]).uniform("shape", 2)[0]
    land = y > 0.42 + 0.1 * np.sin(5 * x + 9 * hill)
    road = np.abs(x - 0.3 - 0.4 * way) < 0.1 + 0.5 * (y - 0.5)
    green, blue = np.array([[118, 160, 92.0], [176, 206, 234.0]])[:, :, None, None]
    rgb = np.where(land, green, blue)
    rgb = np.where(road & (y > 0.5), 128.0, rgb)
    return np.where((np.abs(x - 0.3 - 0.4 * way) < 0.012) & (y > 0.55) & (y * 12 % 2 < 1), 236.0,
                    rgb).astype(np.float32)


@cache
def _page(number: int) -> np.ndarray:
    """float32 (3, 64, 64), 0 to 255: paper with lines of grey words."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    lines = 5 + number % 4
    ends = Draws(0, "page", np.arange(SIDE)).uniform(f"words {number}", SIDE)
    word = ends[y // lines, x // 3] > 0.25
    ink = (y % lines < 2) & word & (x > 3) & (x < SIDE - 4)
    return np.where(ink, 150.0, np.array([244, 240, 230.0])[:, None, None]).astype(np.float32)


SKINS = {
    "signs": ("sign", _road, {
        "triangle": triangle, "circle": circle_sign, "diamond": diamond, "square": square}),
    "prints": ("mark", _page, {"dot": dot, "scratch": scratch, "ring": ring, "line": line}),
}


class Skin:
    """Scenes of 1 to 4 things that look otherwise than toys and stand as they do.

    skin : "signs" (road signs in a landscape) or "prints" (marks on a printed page)
    kinds, thing : what the numbers in extras["kind"] are called, and what everything is: for `phrases`
    """

    def __init__(self, skin: str, seed: int = 0):
        if skin not in SKINS:
            raise ValueError(f"There is no skin {skin!r}; there are {' and '.join(map(repr, SKINS))}.")
        self.skin, self.seed = skin, whole(seed, "Skin(seed=…)")
        self.thing, self._scenery, self._drawings = SKINS[skin]
        self.kinds = tuple(self._drawings)

    def sample(self, n: int, split: str = "train", start: int = 0) -> Pairs:
        """Rows start … start + n − 1 of a split: images uint8 (n, 3, 64, 64) without texts; extras count,
        kind, color, size, cracked, x, y and boxes as those of Toys.
        """
        draws = row_draws(f"skin {self.skin}", self.seed, n, split, start)
        z = _latents(draws)
        z["kind"] = z["kind"] % len(self.kinds)
        photos = Photographer(draws)
        scenery = draws.integers("scenery", _SCENERIES)
        boxes = torch.zeros(n, z["x"].shape[1], 4, dtype=torch.int64)
        for row in range(n):
            photos.begin(row)
            photos._canvas[...] = self._scenery(int(scenery[row]))
            for slot in sorted(range(z["count"][row]), key=lambda toy, row=row: z["y"][row, toy]):
                boxes[row, slot] = self._paste(photos, row, {name: int(z[name][row, slot]) for name in z
                                                             if name != "count"})
            photos.finish(row)
        beyond = np.arange(z["x"].shape[1]) >= z["count"][:, None]
        facts = ("kind", "color", "size", "cracked", "x", "y")
        extras = {name: torch.from_numpy(np.where(beyond, -1, z[name])) for name in facts}
        return Pairs(photos.pictures(), None, extras=extras | {"count": torch.from_numpy(z["count"]),
                                                               "boxes": boxes})

    def _paste(self, photos, row, toy):
        drawing = self._drawings[self.kinds[toy["kind"]]]
        patch = sprite(drawing, _PATCH[toy["size"]], 2 * (toy["pose"] % 2), toy["crack"] * toy["cracked"],
                       0.42 if self.skin == "signs" else 0.0)
        left, top = toy["x"] - patch.size // 2, toy["y"] - patch.size // 2
        photos.paste(row, patch, left, top, toy["color"])
        x0, y0, x1, y1 = patch.box
        return torch.tensor([x0 + left, y0 + top, x1 + left, y1 + top]).clamp(0, SIDE)
