"""What lesson 19 finds with five seeds: the log that it prints. Each seed has training rows and test rows of
its own, and the controls share them.

    OMP_NUM_THREADS=1 python benchmarks/find_seeds.py [processes] > data/runs/find_seeds.json

Plays the lesson's own cells, some 45 CPU-seconds a seed, keeps what they put into "found", and adds the
controls that a lesson has no time for, some 110 more.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import torch

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

    for name, model in {"finder": space["finder"], "one look": trained(learned, looks=1),
                        "no landmark": trained(learned, model=without_landmark(space))}.items():
        note(name, model)
        found[f"AUC of whether, {name}"] = whether(space, model)
    unread = trained(scenes_of(space["train_pairs"], cut(space["train_told"])))
    note("relation cut out", unread, scenes_of(space["test_pairs"], cut(told)))
    found["AUC of whether, relation cut out"] = whether(space, unread, cut)
    shuffled = {**learned.states, "image": learned.states["image"].roll(1, 0)}
    note("photos shuffled", trained(replace(learned, states=shuffled)))
    note("cross-entropy", trained(learned, Find(gamma=0.0, box=0.25)))
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


def without_landmark(space):
    """A new finder whose first look sees nothing: cells know their offset from the middle of the picture."""
    torch.manual_seed(space["SEED"])
    model = space["Finder"](*space["SIZES"])
    for values in model.landmark.parameters():
        values.data.zero_()
        values.requires_grad_(False)
    return model


def whether(space, model, change=lambda told: told) -> float:
    """AUC of the best cell's score where only the landmark decides whether the phrase names something: two
    kinds, once each in the photo, of which the first stands in the half that the direction names.
    """
    from cmlib.data import Pairs
    from cmlib.worlds.phrases import APART, Phrase

    extras, middle = space["test_pairs"].extras, space["SIDE"] / 2
    rows, asked = [], []
    for row, (count, kinds) in enumerate(zip(extras["count"].tolist(), extras["kind"].tolist(), strict=True)):
        alone = [thing for thing in range(count) if kinds[:count].count(kinds[thing]) == 1][:2]
        if len(alone) < 2:
            continue
        rows.append(row)
        asked.append([])
        for target, landmark in (alone, alone[::-1]):
            for axis, (low, high) in {"x": ("left of", "right of"), "y": ("above", "below")}.items():
                at, other = extras[axis][row][[target, landmark]].tolist()
                words, far = (low, other - at) if at < middle else (high, at - other)
                said = f"the {space['KINDS'][kinds[target]]} {words} the {space['KINDS'][kinds[landmark]]}"
                asked[-1].append(Phrase(said, "relation", (target,) if far > APART else ()))
    photos = Pairs(space["test_pairs"].images[rows], None, extras={"boxes": extras["boxes"][rows]})
    scenes = space["extract_scenes"](space["encoders"], photos, change(asked))
    score = space["predict"](model, scenes)["score"].amax(2)
    return space["auc_of"](score, scenes.targets["hits"].any(2))


if __name__ == "__main__":
    write(measured, *map(int, sys.argv[1:2]))
