"""Free scenes: one to four toys on a table, with captions, tags, boxes, and questions with answers."""

from __future__ import annotations

import numpy as np
import torch

from cmlib.data.pairs import Pairs
from cmlib.worlds.captions import SIZES, Toy, canonical, caption, questions, tags
from cmlib.worlds.drawings import COLORS, KINDS
from cmlib.worlds.draws import row_draws, whole
from cmlib.worlds.render import Photographer
from cmlib.worlds.sprites import CRACKS, POSES, sprite
from cmlib.worlds.tables import SIDE
from cmlib.worlds.words import Chooser

_MOST = 4
_PATCH = (29, 39)  # pixels; a small toy is about 23 pixels wide, a large one about 31


class Toys:
    """Scenes of 1 to 4 toys. Label: the kind of the first toy, which is the one the caption starts with."""

    class_names = KINDS

    def __init__(self, seed: int = 0):
        self.seed = whole(seed, "Toys(seed=…)")

    def sample(self, n: int, split: str = "train", start: int = 0) -> Pairs:
        """Rows start … start + n − 1 of a split: images uint8 (n, 3, 64, 64), captions, labels; row i never
        changes.

        extras: count (n,); kind, color, size (0 small, 1 large), cracked, x, y (n, 4), −1 past the count;
        boxes (n, 4, 4) = x0, y0, x1, y1 in pixels, ends exclusive, 0 past the count, toys in front hide those
        behind; table (n,); and lists with one entry per row: captions (canonical, left to right), tags,
        questions (pairs of question and answer).
        """
        draws = row_draws("toys", self.seed, n, split, start)
        z = _latents(draws)
        photos = Photographer(draws)
        boxes = _take_photos(photos, z)
        facts = ("count", "kind", "color", "size", "cracked", "x", "y")
        scenes = [_scene(*row) for row in zip(*(z[k].tolist() for k in facts), strict=True)]
        words, asked = draws.uniform("words", 32).tolist(), draws.uniform("questions", 16).tolist()
        beyond = np.arange(_MOST) >= z["count"][:, None]
        extras = {k: torch.from_numpy(np.where(beyond, -1, z[k])) for k in facts[1:]}
        extras |= {
            "count": torch.from_numpy(z["count"]), "table": torch.from_numpy(photos.table),
            "boxes": torch.from_numpy(boxes), "captions": [canonical(s) for s in scenes],
            "tags": [tags(s) for s in scenes],
            "questions": [questions(Chooser(u), s) for u, s in zip(asked, scenes, strict=True)],
        }
        texts = [caption(Chooser(u), s) for u, s in zip(words, scenes, strict=True)]
        return Pairs(photos.pictures(), texts, extras["kind"][:, 0].clone(), KINDS, extras)


def _latents(draws) -> dict[str, np.ndarray]:
    quarter = draws.order("quarter", _MOST)  # one toy in each quarter of the table at most: little is hidden
    nudge = draws.integers("nudge", 9, 2 * _MOST) - 4
    return {
        "count": 1 + draws.integers("count", _MOST), "kind": draws.integers("kind", len(KINDS), _MOST),
        "color": draws.integers("color", len(COLORS), _MOST), "size": draws.integers("size", 2, _MOST),
        "cracked": (draws.uniform("cracked", _MOST) < 0.2).astype(np.int64),
        "pose": draws.integers("pose", POSES, _MOST), "crack": 1 + draws.integers("crack", CRACKS, _MOST),
        "x": 18 + 28 * (quarter % 2) + nudge[:, :_MOST], "y": 18 + 28 * (quarter // 2) + nudge[:, _MOST:],
    }


def _take_photos(photos: Photographer, z) -> np.ndarray:
    boxes = np.zeros((len(z["count"]), _MOST, 4), np.int64)
    names = ("kind", "color", "size", "cracked", "crack", "pose", "x", "y")
    for i, (count, *rows) in enumerate(
        zip(z["count"].tolist(), *(z[name].tolist() for name in names), strict=True)
    ):
        photos.begin(i)
        toys = sorted(enumerate(zip(*rows, strict=True)), key=lambda toy: toy[1][-1])  # back to front
        for slot, (kind, color, size, cracked, crack, pose, x, y) in toys:
            if slot < count:
                patch = sprite(KINDS[kind], _PATCH[size], pose, crack if cracked else 0)
                left, top = x - patch.size // 2, y - patch.size // 2
                photos.paste(i, patch, left, top, color)
                x0, y0, x1, y1 = patch.box
                boxes[i, slot] = (
                    max(x0 + left, 0),
                    max(y0 + top, 0),
                    min(x1 + left, SIDE),
                    min(y1 + top, SIDE),
                )
        photos.finish(i)
    return boxes


def _scene(count, kind, color, size, cracked, x, y) -> list[Toy]:
    return [
        Toy(KINDS[kind[o]], COLORS[color[o]], SIZES[size[o]], bool(cracked[o]), x[o], y[o])
        for o in range(count)
    ]
