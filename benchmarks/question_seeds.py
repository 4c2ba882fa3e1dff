"""What lesson 17 finds with five seeds, and what its rivals and controls do: the log that it draws. Each seed
has training and test photos, questions and cards of its own.

    OMP_NUM_THREADS=1 python benchmarks/question_seeds.py [processes] > data/runs/question_seeds.json

Plays the lesson's own cells and keeps what they put into "found"; then trains, on the same rows, FiLM (also
one that is told where each cell stands), the reader without one of its parts or with captions of other
photos, a reader that was taught to say "cannot tell", and the net for words on whole photos.
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

    def placed(rows):
        cells = rows.states["image"]
        where = (cells.std() * space["places"]).expand(len(cells), -1, -1)
        return SharedStates(rows.states | {"image": torch.cat([cells, where], 2)}, rows.masks, rows.labels,
                            rows=rows.rows)

    for name, see, more in (("FiLM", lambda rows: rows, 0), ("FiLM with places", placed, 2)):
        torch.manual_seed(seed)
        film = Film({"image": space["IMAGE_SIZE"] + more, "text": space["TEXT_SIZE"]}, len(space["ANSWERS"]))
        fit(film, see(train), epochs=4, batch_size=256, learning_rate=3e-3, seed=seed, progress=False)
        tried(name, film, see(test))
    unprepared = read()
    tried("no captions", unprepared)
    found["pointing: no captions"] = space["pointing"](unprepared.aligner)
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
    misled = space["align"](others)
    found["pointing: captions of other photos"] = space["pointing"](misled)
    tried("swapped", read(start=misled))

    torch.manual_seed(seed)
    whole = space["WordNet"]()  # the net for words, with no look before it
    whole.net[0] = torch.nn.Unflatten(2, (64, 64))

    def pixels(pairs, rows):
        grey = pairs.images[rows].float().mean(1) / 255
        grey = grey - grey.mean((1, 2), keepdim=True)
        return States({"image": grey.flatten(1)[:, None]}, labels=pairs.extras["word"][rows])

    fit(whole, pixels(photos, space["with_word"]), epochs=8, batch_size=64, learning_rate=3e-3, seed=seed,
        progress=False)
    read_right = predict(whole, pixels(space["fresh"], space["fresh_word"])).argmax(1) == space["truth"]
    found["the whole photo: word"] = float(read_right.double().mean())


if __name__ == "__main__":
    write(measured, *map(int, sys.argv[1:2]))
