"""What the way of comparing rows across processes does to two towers: the log that lesson 15 draws.

    OMP_NUM_THREADS=1 python benchmarks/shares_contrast.py > data/runs/shares_contrast.json   # 5 minutes

Batches of 256 rows, as 8 processes of 32 or 32 of 8 would share them. The sum over processes of their
gradients is the gradient of one sum, so one process computes it: with the towers and pairs of lesson 15 it
gives the two processes' numbers. Each of five seeds has training rows, towers and a gallery of its own.
"""

from __future__ import annotations

import json
import sys

import torch
from torch.nn.functional import cross_entropy

from cmlib import FusionModel, fit, image_encoder, predict, text_encoder
from cmlib.evaluation import recall_at
from cmlib.models import TwoTowers
from cmlib.tasks import Contrast
from cmlib.training.predict import extract_states
from cmlib.worlds import Toys

SEEDS, ROWS, GALLERY, BATCH = 5, 4000, 1000, 256


class Local(Contrast):
    """Each process compares its own rows alone."""

    def __init__(self, processes: int):
        super().__init__()
        self.processes = processes

    def objective(self, outputs, batch):
        shares = zip(*(outputs[name].chunk(self.processes) for name in ("image", "text")), strict=True)
        losses = [super(Local, self).objective(outputs | {"image": image, "text": text}, batch)
                  for image, text in shares]
        return sum(losses) / len(losses)


class NoGradient(Contrast):
    """Each process compares its own rows with those of all, which were gathered without a gradient."""

    def objective(self, outputs, batch):
        fixed = {name: outputs[name].detach() for name in ("image", "text")}
        partner = torch.arange(len(fixed["image"]), device=fixed["image"].device)
        photos = self.similarity(outputs | {"text": fixed["text"]})
        texts = self.similarity(outputs | {"image": fixed["image"]}).T
        return (cross_entropy(photos, partner) + cross_entropy(texts, partner)) / 2


WAYS = {
    "all rows": Contrast(),
    "gathered, no gradient": NoGradient(),
    "own rows, 8 processes": Local(8),
    "own rows, 32 processes": Local(32),
}


def measured(seed: int) -> dict[str, float]:
    torch.manual_seed(0)
    encoders = FusionModel(image_encoder("mini"), text_encoder("mini"), n_classes=2)
    learned = extract_states(encoders, Toys().sample(ROWS, start=seed * ROWS))
    stored = extract_states(encoders, Toys().sample(GALLERY, split="test", start=seed * GALLERY))
    sizes = [learned.states[name].shape[2] for name in ("image", "text")]
    found = {}
    for name, task in WAYS.items():
        torch.manual_seed(seed)
        towers = TwoTowers(*sizes, cells=learned.states["image"].shape[1])
        fit(towers, learned[torch.arange(ROWS - ROWS % BATCH)], task=task, epochs=9, batch_size=BATCH,
            learning_rate=3e-3, seed=seed, progress=False)
        similarity = Contrast().similarity(predict(towers, stored))
        found[name] = round((recall_at(similarity) + recall_at(similarity.T)) / 2, 4)
        print(seed, name, found[name], file=sys.stderr, flush=True)
    return found


def main():
    torch.set_num_threads(1)
    runs = [measured(seed) for seed in range(SEEDS)]
    found = {name: [run[name] for run in runs] for name in WAYS}
    log = {"torch": torch.__version__, "gallery": GALLERY, "batch": BATCH, "found": found}
    json.dump(log, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
