"""A log of five seeds: something is measured once a seed, and written as one list of numbers a name."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "gpu"))
from play import ROOT, SOURCES, namespace, play

SEEDS = 5


def played(lesson: str, line: str, seed: int) -> dict:
    """The names of a lesson that was played with another seed; what it found is in its "found".

    line : of its source, with {} where the seed stands, such as "SEED, ROWS = {}, 4000"
    """
    torch.set_num_threads(1)
    os.chdir(ROOT / "notebooks")
    text = SOURCES[lesson].read_text("utf-8")
    if line.format(0) not in text:
        raise RuntimeError(f"Lesson {lesson} has no line {line.format(0)!r} to change the seed in.")
    space = namespace()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        source = Path(folder) / SOURCES[lesson].name
        source.write_text(text.replace(line.format(0), line.format(seed)), "utf-8")
        for cell, error in play(source, space):
            # the log is what is being written, and it holds what is found, whatever the lesson claims
            space |= {"logged": lambda name: torch.zeros(SEEDS), "over_seeds": lambda name: "",
                      "claim": lambda words, holds: None}
            if error is not None:
                raise RuntimeError(f"the cell at line {cell}") from error
    return space


def write(measured: Callable[[int], dict[str, float]], processes: int = 1, seeds: int = SEEDS) -> None:
    """Print the log, {"torch": version, "found": {name: [a number a seed]}}; ``measured`` takes a seed."""
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        runs = list(pool.map(measured, range(seeds)))
    found = {name: [round(run[name], 4) for run in runs] for name in runs[0]}
    json.dump({"torch": torch.__version__, "found": found}, sys.stdout, indent=1, ensure_ascii=False)
