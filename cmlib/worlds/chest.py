"""Chest films with reports: negation, left and right, findings that are only mentioned. Drawings, not
patients.
"""

from __future__ import annotations

import numpy as np
import torch

from cmlib.data.pairs import Pairs
from cmlib.worlds.draws import row_draws, whole
from cmlib.worlds.tables import SIDE, film_grain
from cmlib.worlds.words import Chooser, article
from cmlib.worlds.xray import FINDINGS, PHANTOMS, SLACK, finding, phantom

ZONES = tuple(f"{side} {level}" for level in ("upper", "middle", "lower") for side in ("right", "left"))
_SIZES = (("small", "little", "tiny"), ("large", "big", "extensive"))
_DENSITIES = (("faint", "subtle"), ("dense", "marked"))
_FOUND = ("there is {a} {s} {d} {f} in the {z} zone .", "{s} {d} {f} in the {z} zone .",
          "the {z} zone shows {a} {s} {d} {f} .", "{a} {s} {f} is seen in the {z} zone , it is {d} .")
_ABSENT = (
    "no {f} is seen .",
    "there is no evidence of {a} {f} .",
    "without any {f} .",
    "{a} {f} can be excluded .",
    "no {f} on the {side} .",
    "the {f} described before is no longer seen .",
)
_NORMAL = (
    "heart size is normal .",
    "the bones are unremarkable .",
    "comparison : none .",
    "the diaphragm is sharp .",
    "the mediastinum is not widened .",
    "the patient took a deep breath .",
)
_CLEAR = ("the lungs are clear .", "no abnormality .",
          "nothing abnormal is seen in either lung .", "both lungs are free .")


class Chest:
    """Drawings of chest films, not patients, with reports. Label: 0 normal, or 1 + the main (the only large)
    finding.

    Side is the patient's, as radiologists write it: the patient's right lung is on the left of the picture,
    where the film carries the marker R.
    """

    class_names = ("normal", *FINDINGS)

    def __init__(self, seed: int = 0):
        self.seed = whole(seed, "Chest(seed=…)")

    def sample(self, n: int, split: str = "train", start: int = 0) -> Pairs:
        """Rows start … start + n − 1 of a split: drawings uint8 (n, 3, 64, 64), not patients; reports;
        labels.

        extras: findings int64 (n, 6), 1 where FINDINGS[j] is in the picture; count (n,); and for up to three
        findings, the main one first, −1 past the count: kind, zone (index into ZONES), dense (0 faint, 1
        dense), size (0 small, 1 large), all (n, 3); boxes (n, 3, 4) = x0, y0, x1, y1 in pixels, ends
        exclusive, 0 past the count.
        """
        draws = row_draws("chest", self.seed, n, split, start)
        label = draws.integers("label", len(self.class_names))
        count = np.where(label == 0, 0, draws.choice("count", (0, 0.4, 0.35, 0.25)))
        z = {"kind": _kinds(draws, label), "zone": draws.order("zone", len(ZONES))[:, :3],
             "dense": draws.integers("dense", 2, 3), "size": np.tile([1, 0, 0], (n, 1))}
        z = {name: np.where(np.arange(3) < count[:, None], values, -1) for name, values in z.items()}
        images, boxes = _take_films(draws, z)
        words = draws.uniform("words", 40).tolist()
        rows = zip(*(z[name].tolist() for name in ("kind", "size", "dense", "zone")), strict=True)
        texts = [report(Chooser(u), [found for found in zip(*row, strict=True) if found[0] >= 0])
                 for u, row in zip(words, rows, strict=True)]
        shown = (z["kind"][:, :, None] == np.arange(len(FINDINGS))).any(1).astype(np.int64)
        extras = z | {"count": count, "findings": shown, "boxes": boxes}
        return Pairs(images, texts, torch.from_numpy(label), self.class_names,
                     {name: torch.from_numpy(values) for name, values in extras.items()})


def report(choose: Chooser, found: list[tuple[int, int, int, int]]) -> str:
    """A report of a drawing, not of a patient. found : (kind, size, dense, zone) of every finding, in any
    order.
    """
    sentences = []
    for kind, size, dense, zone in found:
        s, d = choose(_SIZES[size]), choose(_DENSITIES[dense])
        sentences.append(choose(_FOUND).format(a=article(s), s=s, d=d, f=FINDINGS[kind], z=ZONES[zone]))
    if not found:
        sentences.append(choose(_CLEAR))
    absent = [f for j, f in enumerate(FINDINGS) if j not in {row[0] for row in found}]
    for _ in range(2 if choose.chance(0.5) else 1):
        f = choose(absent)
        absent.remove(f)
        sentences.append(choose(_ABSENT).format(a=article(f), f=f, side=choose(("left", "right"))))
    sentences.append(choose(_NORMAL))
    for i in range(len(sentences) - 1, 0, -1):  # Fisher and Yates
        j = choose(range(i + 1))
        sentences[i], sentences[j] = sentences[j], sentences[i]
    return " ".join(sentences)


def _kinds(draws, label) -> np.ndarray:
    """int64 (n, 3): the main finding, then two others that differ from it and from each other."""
    order = draws.order("kind", len(FINDINGS))
    rank = np.where(order == label[:, None] - 1, -1, np.arange(len(FINDINGS)))
    return np.take_along_axis(order, np.argsort(rank, axis=1, kind="stable"), axis=1)[:, :3]


def _take_films(draws, z) -> tuple[torch.Tensor, np.ndarray]:
    n = len(z["kind"])
    pixels, boxes = np.empty((n, 3, SIDE, SIDE), np.uint8), np.zeros((n, 3, 4), np.int64)
    nudge, turn = draws.integers("nudge", 5, 6) - 2, draws.integers("turn", 4, 3).tolist()
    zone = np.maximum(z["zone"], 0)
    xs = (16 + 31 * (zone % 2) + nudge[:, :3]).tolist()
    ys = (16 + 12 * (zone // 2) + nudge[:, 3:]).tolist()
    look = zip(draws.integers("phantom", PHANTOMS).tolist(), draws.integers("shift", SLACK, 2).tolist(),
               draws.integers("grain", 256 - SIDE + 1, 2).tolist(),
               (0.88 + 0.2 * draws.uniform("exposure")).tolist(), strict=True)
    latents = zip(*(z[name].tolist() for name in ("kind", "size", "dense")), xs, ys, turn, strict=True)
    for i, ((chest, (dx, dy), (gx, gy), exposure), row) in enumerate(zip(look, latents, strict=True)):
        film = phantom(chest)[dy:dy + SIDE, dx:dx + SIDE].copy()
        for slot, (kind, size, dense, x, y, quarter) in enumerate(zip(*row, strict=True)):
            if kind >= 0:
                patch = finding(FINDINGS[kind], size == 1, quarter)
                left, top = x - len(patch) // 2, y - len(patch) // 2
                film[top:top + len(patch), left:left + len(patch)] += patch * (110 if dense else 68)
                boxes[i, slot] = left, top, left + len(patch), top + len(patch)
        film *= exposure
        film += 5 * film_grain()[gy:gy + SIDE, gx:gx + SIDE]
        pixels[i] = film.clip(0, 255)
    return torch.from_numpy(pixels), boxes
