"""What lesson 17 finds with five seeds, and what its rivals and controls do: the log that it draws. Each seed
has training and test photos, questions and cards of its own.

    OMP_NUM_THREADS=1 python benchmarks/question_seeds.py [processes] > data/runs/question_seeds.json

Plays the lesson's own cells and keeps what they put into "found"; then trains, on the same rows, FiLM, the
reader without one of its parts, and a reader that was taught to say "cannot tell".
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "shared"))
from seeds import played, write


def measured(seed: int) -> dict[str, float]:
    space = played("17", "SEED, SCENES = {}, 3000", seed)
    with contextlib.redirect_stdout(sys.stderr):
        rivals(space, seed)
    return space["found"]


def rivals(space: dict, seed: int) -> None:
    """Adds what others reach on the lesson's rows to its "found"."""
    from cmlib import fit, predict
    from cmlib.data import States
    from cmlib.data.shared import SharedStates
    from cmlib.fusion import Film
    from cmlib.training.sharing import extract_shared
    from cmlib.worlds.questions import ask

    train, test, found = space["train"], space["test"], space["found"]
    read, by_type, start = space["read_questions"], space["by_type"], space["aligner"]

    def tried(name, model, rows=test):
        by_type(predict(model, rows).argmax(1), name)
        print(name, {k: v for k, v in found.items() if k.startswith(name)}, flush=True)

    torch.manual_seed(seed)
    film = Film({"image": space["IMAGE_SIZE"], "text": space["TEXT_SIZE"]}, len(space["ANSWERS"]))
    fit(film, train, epochs=4, batch_size=256, learning_rate=3e-3, seed=seed, progress=False)
    tried("FiLM", film)
    tried("no captions", read())
    tried("no places", read(start=start, places=0 * space["places"]))
    tried("one look", read(start=start, steps=1))

    def averaged(rows):
        cells = rows.states | {"image": rows.states["image"].mean(1, keepdim=True)}
        return SharedStates(cells, rows.masks, rows.labels, rows=rows.rows)

    tried("mean cell", read(averaged(train), start, places=torch.zeros(1, 2)), averaged(test))

    encoders, photos = space["encoders"], space["photos"]
    more = extract_shared(encoders, ask(photos, space["EACH"] | {"absent": 1}, seed=seed),
                          train.states["image"])
    taught = read(more, start)
    tried("taught", taught)
    doubtful = space["doubtful"]
    answers = predict(taught, extract_shared(encoders, doubtful, space["SEEN"])).argmax(1)
    silent = answers == space["ANSWERS"].index("cannot tell")
    found["cost: taught to say it"] = space["cost"](~silent, answers == doubtful.labels)

    captions = space["captions"]
    others = States({"text": captions.states["text"].roll(1, 0)}, {"text": captions.masks["text"].roll(1, 0)})
    found["pointing: captions of other photos"] = space["pointing"](space["align"](others))


if __name__ == "__main__":
    write(measured, *map(int, sys.argv[1:2]))
