"""What a race begins with: photographs as JPEG files, a CSV of texts and labels, and the weights."""

from __future__ import annotations

import csv
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from task import CHECK, CLASSES, Size, build

from cmlib.datasets import folder as read
from cmlib.datasets.threads import cores
from cmlib.worlds import RefundDesk

SIDES = 500, 375  # what most photographs of the usual data sets have


def photograph(number: int, pixels: np.ndarray, path: Path) -> None:
    """A toy (side, side, 3) in front of a blurred background, with noise: a file as large as a camera's."""
    rng = np.random.default_rng(number)
    blots = Image.fromarray(rng.integers(60, 200, (24, 32, 3), dtype=np.uint8))
    photo = blots.resize(SIDES, Image.Resampling.BICUBIC)
    toy = Image.fromarray(pixels).resize((SIDES[1], SIDES[1]), Image.Resampling.BICUBIC)
    photo.paste(toy, ((SIDES[0] - SIDES[1]) // 2, 0))
    noisy = np.asarray(photo) + rng.normal(0, 6, (SIDES[1], SIDES[0], 1))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def prepare(folder: Path, size: Size) -> float:
    """Write all of it. Returns how many photographs a second ``cmlib.datasets.folder`` reads."""
    model = build(size, channels_last=False)
    torch.save(model.state_dict(), folder / "weights.pt")
    pairs = RefundDesk(probabilities=(1, 0, 0, 0), tricky=0).sample(size.rows)
    names = [f"{number:05}.jpg" for number in range(size.rows)]
    toys = pairs.images.permute(0, 2, 3, 1).numpy()  # (rows, side, side, 3)
    with ThreadPoolExecutor(cores()) as pool:  # Pillow and numpy let go of the interpreter
        list(pool.map(photograph, range(size.rows), toys, [folder / name for name in names]))
    table = [("image", "text", "label")]
    for name, text, label in zip(names, pairs.texts, pairs.labels.tolist(), strict=True):
        missing = size.tokens - len(model.tokenizer(text)["input_ids"])
        table.append((name, text + " the" * max(0, missing), CLASSES[label]))
    for name, rows in (("data", table), ("check", table[: 1 + CHECK["rows"]])):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    started = time.perf_counter()
    images = read(folder / "data.csv", size=size.pixels).images
    rate = size.rows / (time.perf_counter() - started)
    np.save(folder / "pixels.npy", images.numpy())
    return rate
