"""What torchrun starts in test_compared.py: rows that are compared, on one process or on two.

Arguments: a folder for what each process found, then the names of the cases.
"""

import json
import os
import sys
from pathlib import Path

import torch
from tasks_in_use import Triplet, remembers
from torch import nn

from cmlib.data.batch import Features
from cmlib.tasks import Classify, Contrast
from cmlib.training.fit import fit


class Pair(nn.Module):
    """Two small encoders, and a temperature that is learned; float64."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder = nn.Sequential(nn.Linear(4, 16), *layers, nn.GELU(), nn.Linear(16, 8))
        self.text_encoder = nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Linear(16, 8))
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        self.double()

    def forward(self, batch):
        image, text = self.image_encoder(batch.image), self.text_encoder(batch.text)
        return {"image": image, "text": text, "scale": self.log_scale.exp()}


class Space(Pair):
    """The images alone, with a layer that no row goes through, as the pooler of a BERT from the hub is."""

    def forward(self, batch):
        return self.image_encoder(batch.image)


class Logits(Pair):
    def forward(self, batch):
        return self.image_encoder(batch.image)[:, :2]


def rows(n: int, seed: int = 0) -> Features:
    draw = torch.Generator().manual_seed(seed)
    image = torch.randn(n, 4, generator=draw, dtype=torch.float64)
    text = image[:, :3] + 0.3 * torch.randn(n, 3, generator=draw, dtype=torch.float64)
    return Features(image, text, torch.arange(n) % 3)


class Noisy(Classify):
    """Adds numbers drawn by each process to the gradient, as DP-SGD does."""

    def adjust(self, model):
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad += torch.randn_like(parameter.grad)


def two_classes(n):
    found = rows(n)
    return Features(found.image, found.text, found.labels % 2)


STILL = {"epochs": 1, "batch_size": 8, "learning_rate": 0.0}
LEARNS = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01}
# 29 rows: the last batch has 5, of which process 0 takes 3; 25 rows: process 1 has none of the last one
CASES = {
    "contrast": lambda: (Pair(), Contrast(), rows(29), None, STILL),
    "contrast in parts": lambda: (Pair(), Contrast(), rows(29), None, STILL | {"accumulate": 3}),
    "one has no row": lambda: (Pair(), Contrast(), rows(25), None, STILL | {"accumulate": 2}),
    "contrast learns": lambda: (Pair(), Contrast(), rows(29), rows(11, 1), LEARNS | {"accumulate": 2}),
    "triplet": lambda: (Space(), Triplet(margin=2.0), rows(29), None, STILL | {"accumulate": 2}),
    "triplet learns": lambda: (Space(), Triplet(margin=2.0), rows(29), rows(11, 1), LEARNS),
    "noise": lambda: (Logits(), Noisy(), two_classes(29), None, LEARNS),
}


def main(case: str) -> dict:
    model, task, train, valid, settings = CASES[case]()
    history = fit(model, train, valid, task=remembers(task), progress=False, **settings)
    return {
        "gradients": task.seen,
        "batch_loss": history.batch_loss,
        "scores": [{name: row[name] for name in row if name.startswith("valid")} for row in history],
        "weights": torch.cat([p.detach().flatten() for p in model.parameters()]).tolist(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {case: main(case) for case in sys.argv[2:]}
    Path(sys.argv[1], f"rank{os.environ['RANK']}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()
