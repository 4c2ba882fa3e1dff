"""What lesson 11 finds seed by seed: the log that it prints, as networks trained elsewhere differ a little.

    OMP_NUM_THREADS=1 python benchmarks/contrast.py > data/runs/contrast.json    # some 3 minutes

Plays the lesson's own cells up to its classes from sentences, and trains with its settings the seeds that the
lesson leaves out, and the towers on means with four times the passes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "gpu"))
from play import ROOT, SOURCES, namespace, play


def lesson() -> dict:
    """The names of lesson 11 after the cell that fills "accuracy"."""
    space = namespace()
    os.chdir(ROOT / "notebooks")
    for _, error in play(SOURCES["11"], space):
        if "accuracy" in space:
            return space
        # the cell that reads this log: it may be missing, or be the empty file that is to be written
        if error is not None and not isinstance(error, FileNotFoundError | json.JSONDecodeError):
            raise error
    raise RuntimeError('Lesson 11 ended without filling "accuracy": does its cell of section 6 still do so?')


def rounded(values) -> list[float]:
    return [round(float(value), 4) for value in values]


def main():
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(sys.stderr):
        space = lesson()
        of, test, single, size = (space[name] for name in ("of", "test", "single", "TEST"))
        contenders = dict(space["contenders"])
        longer = contenders["means, same towers"] | {"epochs": 40}
        order = ["means, linear", "means, same towers"]
        settings = {name: contenders[name] for name in order}
        settings |= {"the same, 4 × the passes": longer} | contenders
        recall, models = {}, space["models"]
        for name, chosen in settings.items():
            some = models.setdefault(name, [])
            some += [space["train_towers"](seed, **chosen) for seed in range(len(some), 5)]
            rows = space["test_means"] if chosen.get("data") is space["pool_means"] else test
            recall[name] = rounded(space["find"](model, of(seed, rows, size)).mean()
                                   for seed, model in enumerate(some))
            print(name, recall[name], flush=True)
        accuracy = {": ".join(what): rounded(values) for what, values in space["accuracy"].items()}
        accuracy["kind: shuffled pairs"] = []
        for seed, model in enumerate(models["shuffled pairs"]):
            rows = single[(single // size) == seed]
            found = space["by_prompts"](model, rows, ("kind", "4 frames × 6 colours"))
            right = (found == space["truth"]["kind"][rows]).double().mean()
            accuracy["kind: shuffled pairs"] += rounded([right])
    json.dump({"torch": torch.__version__, "rows": space["PER"], "test": size, "recall": recall,
               "accuracy": dict(sorted(accuracy.items(), key=lambda one: not one[0].startswith("kind")))},
              sys.stdout, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    main()
