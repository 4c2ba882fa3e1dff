"""What lesson 19 finds with five seeds: the log that it prints. Each seed has training rows and test rows of
its own, and the controls share them.

    OMP_NUM_THREADS=1 python benchmarks/find_seeds.py [processes] > data/runs/find_seeds.json

Plays the lesson's own cells, some 45 CPU-seconds a seed, keeps what they put into "found", and adds the
controls that a lesson has no time for, some 90 more.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "gpu"))
from play import ROOT, SOURCES, namespace, play

SEEDS, LINE = 5, "SEED, ROWS, TEST = {}, 3000, 800"


def measured(seed: int) -> dict[str, float]:
    torch.set_num_threads(1)
    os.chdir(ROOT / "notebooks")
    text = SOURCES["19"].read_text("utf-8")
    if LINE.format(0) not in text:
        raise RuntimeError(f"Lesson 19 has no line {LINE.format(0)!r} to change the seed in.")
    space = namespace()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        source = Path(folder) / SOURCES["19"].name
        source.write_text(text.replace(LINE.format(0), LINE.format(seed)), "utf-8")
        for _, error in play(source, space):
            space["logged"] = lambda name: torch.zeros(SEEDS)  # the log is what is being written
            space["claim"] = lambda words, holds: print(f"{words}: {bool(holds)}")
            if error is not None:
                raise error
    return space["found"] | controls(space)


def controls(space) -> dict[str, float]:
    """The same training with one thing changed, on the same rows."""
    from cmlib.tasks.find import Find
    from cmlib.worlds.phrases import phrases

    learned, asked, trained, told = (space[name] for name in ("learned", "asked", "trained", "test_told"))
    found = {}

    def note(name, model, scenes=asked):
        outputs = space["predict"](model, scenes)
        scores = space["marks"](outputs, scenes, told)
        found.update({f"{name}, {key}": value for key, value in scores.items()})
        return outputs

    def cut(rows):
        return [[phrase._replace(words=space["head_of"](phrase.words)) for phrase in row] for row in rows]

    def scenes_of(pairs, rows):
        return space["extract_scenes"](space["encoders"], pairs, rows)

    note("one look", trained(learned, looks=1))
    note("relation cut out", trained(scenes_of(space["train_pairs"], cut(space["train_told"]))),
         scenes_of(space["test_pairs"], cut(told)))
    shuffled = {**learned.states, "image": learned.states["image"].roll(1, 0)}
    note("photos shuffled", trained(replace(learned, states=shuffled)))
    note("cross-entropy", trained(learned, Find(gamma=0.0, box=1.0)))
    note("no loss of boxes", trained(learned, Find(box=0.0)))
    seed, rows = space["SEED"], space["ROWS"]
    taught = phrases(space["train_pairs"].extras, absent=0.0, start=seed * rows)
    outputs = note("never taught", trained(scenes_of(space["train_pairs"], taught)))
    found["AUC of nothing, never taught"] = space["auc_of"](outputs["score"].amax(2), space["names_any"])
    for name in ("signs", "prints"):
        _, _, some = space["skin_scenes"](name, 600, "train")
        _, test_words, test = space["skin_scenes"](name, 200, "test")
        for how, start in (("tuned with 600", space["finder"]), ("600 from nothing", None)):
            model = trained(some, model=start, epochs=2)
            outputs = space["predict"](model, test)
            found[f"{name}, {how}"] = space["marks"](outputs, test, test_words)["IoU .5, all"]
    return found


def main(processes: int = 1):
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        runs = list(pool.map(measured, range(SEEDS)))
    found = {name: [round(run[name], 4) for run in runs] for name in runs[0]}
    json.dump({"torch": torch.__version__, "found": found}, sys.stdout, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
