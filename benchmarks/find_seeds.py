"""What lesson 19 finds with five seeds: the log that it prints. Each seed has training rows and test rows of
its own, and the controls share them.

    OMP_NUM_THREADS=1 python benchmarks/find_seeds.py [processes] > data/runs/find_seeds.json

Plays the lesson's own cells, some 45 CPU-seconds a seed, keeps what they put into "found", and adds the
controls that a lesson has no time for, some 90 more.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "shared"))
from seeds import played, write


def measured(seed: int) -> dict[str, float]:
    space = played("19", "SEED, ROWS, TEST = {}, 3000, 800", seed)
    with contextlib.redirect_stdout(sys.stderr):
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


if __name__ == "__main__":
    write(measured, *map(int, sys.argv[1:2]))
