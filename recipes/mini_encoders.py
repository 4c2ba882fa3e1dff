"""Rebuild what data/ ships: ``python -m recipes.mini_encoders`` (``make weights``), in minutes on one core.

The text encoder learns to fill in hidden words; the image encoder learns to name what is in a picture; on the
finished image encoder linear heads learn the same once more, for the judge. None of them ever sees a refund
label or a situation: what lesson 06 asks of the encoders, they have to get from the pairs of lesson 06.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cmlib import fit, image_encoder
from cmlib.data.batch import Features
from cmlib.data.pairs import Pairs
from cmlib.encoders.attributes import Heads
from cmlib.encoders.tokenizer import FOLDER, mini_tokenizer, train_wordpiece
from cmlib.encoders.weights import DATA, load
from cmlib.tasks import Task
from cmlib.training.predict import keep_all, predict, prepare
from recipes.card import TOLERANCE, compare, save
from recipes.masked_words import MaskedWords, Reader
from recipes.naming import Attributes, Namer
from recipes.scenes import BLOCK, SEED, emoji_names, pictures, scenes, texts

HELD_OUT = 16 * BLOCK
BUILD = Path("build/weights")
FILES = {"text": "mini-bert", "image": "mini-resnet", "heads": "mini-attributes"}


@dataclass(frozen=True)
class Size:
    """How long a part learns: scenes, epochs over them, rows a step, and the peak of the learning rate."""

    scenes: int
    epochs: int
    batch_size: int
    learning_rate: float


SIZES = {
    "text": Size(235 * BLOCK, 4, 88, 2e-3),
    "image": Size(150 * BLOCK, 5, 96, 4e-3),
    "heads": Size(150 * BLOCK, 40, 512, 1e-2),
}


def text_part(size: Size, folder: Path):
    """→ (the BertModel, its accuracy, steps)."""
    torch.manual_seed(SEED)
    tokenizer = mini_tokenizer()
    model, task = Reader(tokenizer), MaskedWords(len(tokenizer), tokenizer.mask_token_id)
    steps = learn(model, texts("train", size.scenes), task, size, bucketed=True)
    return model.bert.bert, accuracies(model, texts("test", HELD_OUT), task), steps


def image_part(size: Size, folder: Path):
    """→ (the image encoder, the accuracies of heads that learned with it and are not kept, steps)."""
    torch.manual_seed(SEED)
    encoder = image_encoder("mini", pretrained=False)
    model = Namer(encoder, Heads(encoder.hidden_size))
    steps = learn(model, pictures("train", size.scenes), Attributes(), size)
    return encoder, accuracies(model, pictures("test", HELD_OUT), Attributes()), steps


def heads_part(size: Size, folder: Path):
    """→ (heads on the encoder in that folder, or else on the shipped one, which stays as it is; their
    accuracies; steps).
    """
    torch.manual_seed(SEED)
    built = folder / f"{FILES['image']}.safetensors"
    encoder = image_encoder("mini", pretrained=not built.is_file())
    if built.is_file():
        load(encoder, built)
    model = Namer(nn.Identity(), Heads(encoder.hidden_size))
    steps = learn(model, features(encoder, pictures("train", size.scenes)), Attributes(), size)
    return model.heads, accuracies(model, features(encoder, pictures("test", HELD_OUT)), Attributes()), steps


PARTS = {"text": text_part, "image": image_part, "heads": heads_part}


def learn(model: nn.Module, data: Pairs | Features, task: Task, size: Size, **settings) -> int:
    """Train through ``fit``; returns the number of steps."""
    history = fit(model, data, epochs=size.epochs, task=task, batch_size=size.batch_size,
                  learning_rate=size.learning_rate, seed=SEED, **settings)  # fmt: skip
    print(f"loss of the first and the last epoch: {history[0]['loss']:.3f}, {history[-1]['loss']:.3f}")
    return len(history.batch_loss)


def accuracies(model: nn.Module, held_out: Pairs | Features, task: Task) -> dict[str, float]:
    """On rows that nothing was learned or chosen from."""
    torch.manual_seed(SEED)  # of the words that are hidden
    rows = prepare(model, held_out, task.targets)
    found = task.score(keep_all(model, task, model, rows), rows)
    return {name: round(value, 4) for name, value in found.items() if name != "loss"}


def features(encoder: nn.Module, pairs: Pairs) -> Features:
    """What a finished encoder makes of every picture, once and for all, with the attributes."""
    found = predict(Namer(encoder, nn.Identity()), pairs)  # (rows, hidden_size)
    return Features(found, found[:, :0], targets=pairs.extras)


def build_tokenizer(folder: Path) -> None:
    vocab = train_wordpiece([*scenes("train", 4000).texts, *emoji_names()])
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / FOLDER / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    print(f"tokenizer: {len(vocab)} pieces")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("recipes.mini_encoders", description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("tokenizer", *PARTS),
                        help="only this one; the tokenizer is made anew only when it is named")  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, default=BUILD, help="folder to write to (default: %(default)s)")
    where.add_argument("--ship", action="store_const", dest="out", const=DATA,
                       help="write to data/, which every lesson loads: their numbers change")  # fmt: skip
    wanted = parser.parse_args(arguments)
    folder, worst = wanted.out, 0.0
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # the bits of the result depend on it
    if wanted.part == "tokenizer":
        build_tokenizer(folder)
        return 0
    for part in [wanted.part] if wanted.part else PARTS:
        module, found, steps = PARTS[part](SIZES[part], folder)
        worst = max(worst, compare(FILES[part], found))
        save(module, FILES[part], found, steps, folder)
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
