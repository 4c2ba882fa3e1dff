"""What lesson 18 finds with five seeds: the log that it draws. Each seed has training rows, a gallery, towers
and users of its own.

    OMP_NUM_THREADS=1 python benchmarks/search_seeds.py [processes] > data/runs/search_seeds.json

Plays the lesson's own cells, some 45 CPU-seconds a seed, and keeps what they put into "found".
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "gpu"))
from play import ROOT, SOURCES, namespace, play

SEEDS, LINE = 5, "SEED, ROWS = {}, 4000"


def measured(seed: int) -> dict[str, float]:
    torch.set_num_threads(1)
    os.chdir(ROOT / "notebooks")
    text = SOURCES["18"].read_text("utf-8")
    if LINE.format(0) not in text:
        raise RuntimeError(f"Lesson 18 has no line {LINE.format(0)!r} to change the seed in.")
    space = namespace()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        source = Path(folder) / SOURCES["18"].name
        source.write_text(text.replace(LINE.format(0), LINE.format(seed)), "utf-8")
        for _, error in play(source, space):
            space["logged"] = lambda name: torch.zeros(SEEDS)  # the log is what is being written
            if error is not None:
                raise error
    return space["found"]


def main(processes: int = 1):
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        runs = list(pool.map(measured, range(SEEDS)))
    found = {name: [round(run[name], 4) for run in runs] for name in runs[0]}
    json.dump({"torch": torch.__version__, "found": found}, sys.stdout, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
