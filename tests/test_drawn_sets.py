"""Two sets that nobody here has seen before, drawn as files, through what the README says of one's own data:
twenty classes, of which a picture tells the shape and its text the colour; and questions about pictures,
several about each.
"""

import csv
import itertools
import math
import random
from dataclasses import replace

import torch
from PIL import Image, ImageDraw

from cmlib import FusionModel, evaluate, fit, image_encoder, predict, text_encoder
from cmlib.datasets import folder
from cmlib.models import load_model, save_model

COLORS = {"red": (214, 40, 40), "green": (30, 160, 70), "blue": (40, 80, 220), "yellow": (240, 200, 20)}
SHAPES = {  # corners around (0, 0), as (angle in turns, distance); the circle has none
    "circle": (),
    "triangle": [(k / 3, 1) for k in range(3)],
    "square": [(1 / 8 + k / 4, 1) for k in range(4)],
    "star": [(k / 10, 0.42 if k % 2 else 1) for k in range(10)],
    "cross": [(k / 4 + turn, far) for k in range(4) for turn, far in ((-0.05, 1), (0.05, 1), (1 / 8, 0.45))],
}
WISHES = ("paint it {}", "it shall be {} , please", "i would like a {} one", "make this {}")


def outline(shape, x, y, r, lean):
    turns = [(2 * math.pi * turn + lean, r * far) for turn, far in SHAPES[shape]]
    return [(x + far * math.sin(angle), y - far * math.cos(angle)) for angle, far in turns]


def draw(path, shape, color, rng):
    grey = rng.randint(225, 250)
    picture = Image.new("RGB", (72, 72), (grey, grey, grey))
    pen, r = ImageDraw.Draw(picture), rng.uniform(12, 15)
    x, y = 36 + rng.uniform(-8, 8), 36 + rng.uniform(-8, 8)
    if shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=color)
    else:
        pen.polygon(outline(shape, x, y, r, rng.uniform(-0.15, 0.15)), fill=color)
    picture.save(path)


def learn(at, rows, epochs, batch_size):
    """What the README says: a CSV, three splits of it, a model, ``fit``; → (model, test rows)."""
    with (at / "own.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "text", "label"), *rows])
    train, valid, test = folder(at / "own.csv", split=("train", "valid", "test"))
    assert sum(map(len, (train, valid, test))) == len(rows)
    torch.manual_seed(0)
    model = FusionModel(image_encoder("mini"), text_encoder("mini"), n_classes=len(train.class_names))
    fit(model, train, valid, epochs=epochs, batch_size=batch_size, learning_rate=2e-3,
        monitor="valid_accuracy", progress=False)
    return model, test


def other_pictures(pairs):
    """A control: every row with the picture of another; who answers from the words alone loses nothing."""
    pictures = torch.arange(len(pairs)) if pairs.picture is None else pairs.picture
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    return replace(pairs, picture=pictures[order])


def test_twenty_classes(tmp_path):
    rng, rows = random.Random(1), []
    for shape, color, k in itertools.product(SHAPES, COLORS, range(16)):
        draw(tmp_path / f"{shape}-{color}-{k}.png", shape, (90, 90, 90), rng)
        rows.append((f"{shape}-{color}-{k}.png", rng.choice(WISHES).format(color), f"{color} {shape}"))
    model, test = learn(tmp_path, rows, epochs=5, batch_size=16)
    assert len(model.class_names) == len(test.labels.unique()) == 20
    assert evaluate(model, test).accuracy > 0.85
    # either half alone: a text tells 4 of the 20 classes apart, a picture 5
    assert evaluate(model, other_pictures(test)).accuracy < 0.45
    assert evaluate(model, test.shuffled_partners()).accuracy < 0.5
    kept = load_model(save_model(model, tmp_path / "kept"))
    draw(tmp_path / "new.png", "star", (90, 90, 90), random.Random(7))
    answer = predict(kept, (tmp_path / "new.png", "make this yellow"))
    assert kept.class_names[answer.argmax()] == "yellow star"


def test_questions_about_pictures(tmp_path):
    rng, rows = random.Random(2), []
    for k in range(120):
        shape, color = rng.choice(list(SHAPES)), rng.choice(list(COLORS))
        draw(tmp_path / f"{k}.png", shape, COLORS[color], rng)
        kind = rng.choice([shape, rng.choice(list(SHAPES))])
        tint = rng.choice([color, rng.choice(list(COLORS))])
        rows += [
            (f"{k}.png", "what color is it ?", color),
            (f"{k}.png", "what shape is it ?", shape),
            (f"{k}.png", f"is it {tint} ?", "yes" if tint == color else "no"),
            (f"{k}.png", f"is it a {kind} ?", "yes" if kind == shape else "no"),
        ]
    model, test = learn(tmp_path, rows, epochs=8, batch_size=32)
    assert len(test.images) == len(test) / 4  # stored and encoded once, and never torn between two splits
    accuracy = evaluate(model, test).accuracy
    assert accuracy > 0.6 and accuracy > evaluate(model, other_pictures(test)).accuracy + 0.2
    with (tmp_path / "asked.csv").open("w", encoding="utf-8") as file:
        file.write("image,text\n0.png,what color is it ?\n1.png,what color is it ?\n")
    assert predict(model, tmp_path / "asked.csv").shape == (2, len(model.class_names))
