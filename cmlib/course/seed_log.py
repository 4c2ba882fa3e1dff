"""What a lesson's measurement gives with other seeds: a log that is shipped, since a reader has no hours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

RUNS = Path(__file__).resolve().parents[2] / "data" / "runs"


def seed_log(name: str) -> tuple[Callable[[str], torch.Tensor], Callable[[str], str]]:
    """Two functions of what ``data/runs/<name>.json`` has measured, with rows of its own for each seed.

    logged(what) : (seeds,) float64; KeyError with the names that there are, if it was not measured
    over_seeds(what) : "mean (lowest to highest)"; a log's decimals are everywhere the same
    """
    def logged(what: str) -> torch.Tensor:
        found = json.loads((RUNS / f"{name}.json").read_text("utf-8"))["found"]
        if what not in found:
            raise KeyError(f"{name}.json has no {what!r}; it has measured: {', '.join(found)}.")
        return torch.tensor(found[what], dtype=torch.float64)

    def over_seeds(what: str) -> str:
        values = logged(what)
        return f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"

    return logged, over_seeds
