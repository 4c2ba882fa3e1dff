"""Do two towers read who stands left of whom? The log that lesson 11 draws, and the parts that it uses.

    OMP_NUM_THREADS=1 python benchmarks/word_order.py > data/runs/word_order.json    # some 2 minutes
"""

from __future__ import annotations

import json
import sys

import torch
from torch.nn.functional import normalize

from cmlib import FusionModel, fit, image_encoder, predict, text_encoder
from cmlib.data import Pairs, States
from cmlib.models import TwoTowers
from cmlib.tasks import Contrast
from cmlib.training.predict import extract_states
from cmlib.worlds import Toys
from cmlib.worlds.drawings import COLORS, KINDS
from cmlib.worlds.words import article

PER, TEST, SEEDS = 1200, 500, 5


def sentences(encoders, relation: str) -> States:
    """States of "a left of b" for all 48 × 48 pairs of toys, row 48 a + b."""
    names = [f"{article(color)} {color} {kind}" for color in COLORS for kind in KINDS]
    return extract_states(encoders, Pairs(None, [f"{a} {relation} {b} ." for a in names for b in names]))


def apart(pairs, states: States, said: States, two=((0, 1),), first: str = "left") -> States:
    """Photos with two toys apart, the true caption ("text"), and the exchanged one ("hard").

    said : what ``sentences`` gave; two : which toys of a photo are compared; first : "left" or "right", the
    toy that is named first
    """
    facts = pairs.extras
    toys = facts["color"] * len(KINDS) + facts["kind"]  # (photos, 4)
    photos, named, other = [], [], []
    for i, j in two:
        lower = facts["x"][:, i] < facts["x"][:, j]
        leads = torch.where(lower if first == "left" else ~lower, i, j)[:, None]
        a, b = toys.gather(1, leads)[:, 0], toys.gather(1, i + j - leads)[:, 0]
        far = (facts["x"][:, i] - facts["x"][:, j]).abs() > 10
        keep = (far & (facts["count"] > j) & (a != b)).nonzero()[:, 0]
        photos, named, other = photos + [keep], named + [a[keep]], other + [b[keep]]
    photos, named, other = (torch.cat(parts) for parts in (photos, named, other))
    n = len(COLORS) * len(KINDS)
    true, false = said[n * named + other], said[n * other + named]
    return States(
        {"image": states.states["image"][photos], "text": true.states["text"], "hard": false.states["text"]},
        {"text": true.masks["text"], "hard": false.masks["text"]},
    )


def in_order(model, rows: States) -> float:
    """How often the true caption is nearer to its photo than the exchanged one."""
    found = predict(model, rows)
    photo, true, false = (normalize(found[name], dim=1) for name in ("image", "text", "hard"))
    return ((photo * true).sum(1) > (photo * false).sum(1)).double().mean().item()


def without_hard(rows: States) -> States:
    return States({name: rows.states[name] for name in ("image", "text")}, {"text": rows.masks["text"]})


def other_photos(rows: States) -> States:
    return States(rows.states | {"image": rows.states["image"].roll(1, 0)}, rows.masks)


def read_order(seed: int, rows: States, cells: int, epochs: int = 18) -> TwoTowers:
    """Towers trained on captions that name two toys; with "hard" in the rows, against the exchanged ones."""
    torch.manual_seed(seed)
    sizes = [rows.states[name].shape[2] for name in ("image", "text")]
    model = TwoTowers(*sizes, hidden_size=64, cells=cells)
    fit(model, rows, task=Contrast(), epochs=epochs, batch_size=32, learning_rate=3e-3, seed=seed,
        progress=False)
    return model


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoders = FusionModel(image_encoder("mini"), text_encoder("mini"), 2)
    said = {side: sentences(encoders, f"{side} of") for side in ("left", "right")}
    found = {}
    for seed in range(SEEDS):
        pairs = {"train": Toys().sample(PER, start=seed * PER),
                 "test": Toys().sample(TEST, "test", start=seed * TEST)}
        states = {split: extract_states(encoders, one) for split, one in pairs.items()}
        cells = states["train"].states["image"].shape[1]
        train = apart(pairs["train"], states["train"], said["left"], ((0, 1), (0, 2), (2, 3)))
        rows = apart(pairs["test"], states["test"], said["left"])
        turned = apart(pairs["test"], states["test"], said["right"], first="right")
        alone = read_order(seed, without_hard(train), cells)
        model = read_order(seed, train, cells)
        scores = {"captions alone": in_order(alone, rows), "with hard negatives": in_order(model, rows),
                  "photos exchanged": in_order(model, other_photos(rows)),
                  "the same, as right of": in_order(model, turned)}
        print(seed, scores, file=sys.stderr, flush=True)
        for name, value in scores.items():
            found.setdefault(name, []).append(round(value, 4))
    json.dump({"rows": PER, "test": TEST, "torch": torch.__version__, "found": found}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
