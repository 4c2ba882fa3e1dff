"""What a pretext task is worth at 1, 10 and 100 % of the labels: the log that lesson 12 draws.

    OMP_NUM_THREADS=1 python benchmarks/few_labels.py > data/runs/few_labels.json           # 25 CPU-minutes
    OMP_NUM_THREADS=1 python benchmarks/few_labels.py --further > data/runs/few_labels_further.json       # 15
    python benchmarks/few_labels.py --seeds 1 --steps 50                                    # does it run?

Each seed has films, reports and test films of its own. Every method sees the same ones.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import interpolate

from cmlib import evaluate, fit, image_encoder, predict, text_encoder
from cmlib.data import Batch, ImageBatch, Pairs
from cmlib.data.augment import Augment
from cmlib.encoders.text import Bert, TextEncoder
from cmlib.evaluation.probe import Probe
from cmlib.layers import masked_mean
from cmlib.losses.pseudo import fixmatch_loss
from cmlib.models.word_guesser import WordGuesser
from cmlib.tasks import Contrast, Task
from cmlib.tasks.hidden_words import HiddenWords, hide_words
from cmlib.tasks.two_views import TwoViews
from cmlib.training.predict import extract_states
from cmlib.worlds import Chest, RefundDesk
from cmlib.worlds.xray import FINDINGS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from recipes.masked_words import MaskedWords, Reader

POOL, TEST, SIDE, BATCH = 4000, 1500, 32, 96
FEW = {40: 0.1, 400: 0.03, 4000: 0.003}  # labels: the probe's l2
VIEW = Augment(area=(0.5, 1.0), brightness=0.3, contrast=0.3)
quiet = {"progress": False}


def films(seed: int, split: str, n: int) -> Pairs:
    """Rows that no other seed has, at half size."""
    pairs = Chest().sample(n, split, start=seed * n)
    small = interpolate(pairs.images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    return replace(pairs, images=small.round().byte())


def pictures(pairs: Pairs, labels=None) -> Pairs:
    return Pairs(pairs.images, None, labels, pairs.class_names if labels is not None else ())


class Projected(nn.Module):
    """Encoder and the small network that is thrown away after SimCLR."""

    def __init__(self, encoder, size: int = 64):
        super().__init__()
        self.image_encoder, width = encoder, encoder.hidden_size
        self.head = nn.Sequential(nn.Linear(width, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, size))

    def forward(self, batch):
        return self.head(self.image_encoder(batch.image))


class FilmAndReport(nn.Module):
    """A film and its report in one space; the report's states are frozen, eight queries look at them."""

    def __init__(self, encoder, text_size: int, size: int = 128, queries: int = 8):
        super().__init__()
        self.image_encoder, width = encoder, encoder.hidden_size
        self.image = nn.Sequential(nn.Linear(width, size), nn.ReLU(), nn.Linear(size, size))
        self.normalize, self.query = nn.LayerNorm(text_size), nn.Linear(text_size, queries)
        self.text = nn.Sequential(nn.Linear(queries * text_size, 2 * size), nn.GELU(),
                                  nn.Linear(2 * size, size))
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, batch):
        image, text = self.image(self.image_encoder(batch.image)), self.read(batch.targets)
        return {"image": image, "text": text, "scale": self.log_scale.exp().clamp(max=100)}

    def read(self, targets):
        states = self.normalize(targets["states"])  # (batch, tokens, text_size)
        look = self.query(states).masked_fill(~targets["mask"][..., None], -1e9).softmax(1)
        return self.text((look.transpose(1, 2) @ states).flatten(1))


class Sees(Contrast):
    targets = ("states", "mask")


class Matches(Task):
    """Does this report belong to this film? Half of the rows get the report of the row before."""

    targets = ("states", "mask")

    def forward(self, call, batch):
        swapped = torch.rand(len(batch)) < 0.5
        rows = torch.arange(len(batch))
        rows = torch.where(swapped, rows.roll(1), rows)
        mixed = {name: values[rows] for name, values in batch.targets.items()}
        return {"logit": call(replace(batch, targets=mixed)), "same": (~swapped).float()}

    def objective(self, outputs, batch):
        return nn.functional.binary_cross_entropy_with_logits(outputs["logit"], outputs["same"])


class Matcher(FilmAndReport):
    def __init__(self, encoder, text_size):
        super().__init__(encoder, text_size)
        self.head = nn.Sequential(nn.Linear(384, 128), nn.GELU(), nn.Linear(128, 1))

    def forward(self, batch):
        image, text = self.image(self.image_encoder(batch.image)), self.read(batch.targets)
        return self.head(torch.cat([image, text, image * text], 1))[:, 0]


class Classifier(nn.Module):
    def __init__(self, encoder, n_classes: int):
        super().__init__()
        self.image_encoder, self.head = encoder, nn.Linear(encoder.hidden_size, n_classes)

    def forward(self, batch):
        return self.head(self.image_encoder(batch.image))


def encoder_of(seed: int):
    torch.manual_seed(seed)
    return image_encoder("mini", pretrained=False, image_size=SIDE)


def shuffled(pairs: Pairs) -> Pairs:
    """Every film with what stood in another report: both margins stay, the pairing goes."""
    moved = {name: pairs.extras[name].roll(1, 0) for name in ("states", "words")}
    return replace(pairs, extras=pairs.extras | moved)


def pretrain(method: str, seed: int, given: dict, epochs: int):
    """→ (encoder, what the pretext itself reached)."""
    encoder = encoder_of(seed)
    settings = quiet | {"epochs": epochs, "batch_size": BATCH, "learning_rate": 4e-3, "seed": seed}
    torch.manual_seed(seed)
    if method.startswith("hidden words"):
        hidden = shuffled(given["hidden"]) if "shuffled" in method else given["hidden"]
        model = WordGuesser(encoder, hidden.extras["states"].shape[2], len(FINDINGS))
        history = fit(model, hidden, task=HiddenWords(), **settings)
    elif method.startswith("two views"):
        augment = replace(VIEW, flip="flipped" in method)
        history = fit(Projected(encoder), pictures(given["train"]), task=TwoViews(augment), **settings)
    elif method == "film and report":
        model = FilmAndReport(encoder, given["read"].extras["states"].shape[2])
        history = fit(model, given["read"], task=Sees(), **settings)
    elif method == "matching":
        model = Matcher(encoder, given["read"].extras["states"].shape[2])
        history = fit(model, given["read"], task=Matches(), **settings)
    else:
        return encoder, None
    return encoder, history[-1]["loss"]


METHODS = ("scratch", "two views", "two views, flipped", "film and report", "matching", "hidden words",
           "hidden words, reports shuffled")


class Encodes(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.image_encoder = encoder

    def forward(self, batch):
        return self.image_encoder(batch.image)


def side_of(pairs: Pairs):
    """0 right, 1 left, of films with one finding; and which films those are."""
    one = (pairs.extras["count"] == 1).nonzero()[:, 0]
    return pairs.extras["zone"][one, 0] % 2, one


def measure(encoder, seed: int, given: dict, fine: dict) -> dict:
    train, test = given["train"], given["test"]
    X, T = (predict(Encodes(encoder), pictures(pairs)) for pairs in (train, test))
    order, found = given["order"], {}
    for n, l2 in FEW.items():
        rows = order[:n]
        probe = Probe(X[rows], train.labels[rows], 7, l2)
        found[f"probe {n}"] = (probe(T).argmax(1) == test.labels).double().mean().item()
    (y, rows), (truth, at) = side_of(train), side_of(test)
    found["side"] = (Probe(X[rows], y, 2, 0.03)(T[at]).argmax(1) == truth).double().mean().item()
    for n, epochs in fine.items():
        found[f"fine-tuned {n}"] = tuned(encoder, seed, train, test, order[:n], epochs)
    return found


def tuned(encoder, seed, train, test, rows, epochs) -> float:
    torch.manual_seed(seed)
    model = Classifier(copy.deepcopy(encoder), 7)
    few = pictures(train[rows], train.labels[rows])
    fit(model, few, epochs=epochs, batch_size=min(64, len(rows)), learning_rate=2e-3, seed=seed,
        augment=Augment(area=(0.7, 1.0)), **quiet)
    return (predict(model, pictures(test)).argmax(1) == test.labels).double().mean().item()


def prepare(seed: int, reader: TextEncoder) -> dict:
    train, test = films(seed, "train", POOL), films(seed, "test", TEST)
    texts = extract_states(Reading(reader), Pairs(None, train.texts))
    read = {"states": texts.states["text"], "mask": texts.mask("text")}
    order = torch.randperm(POOL, generator=torch.Generator().manual_seed(seed))
    return {"train": train, "test": test, "hidden": hide_words(train, FINDINGS, reader), "order": order,
            "read": Pairs(train.images, None, extras=read)}


class Reading(nn.Module):
    def __init__(self, reader):
        super().__init__()
        self.text_encoder = reader

    @property
    def tokenizer(self):
        return self.text_encoder.tokenizer


def place_reader(hidden: Pairs) -> Probe:
    """Of each finding that is named: is it the main one? From BERT's state at its place."""
    states, words = (hidden.extras[name] for name in ("states", "words"))
    there = words >= 0
    return Probe(states[there], (words + 1 == hidden.labels[:, None])[there].long(), 2, 0.03)


def read(reader: Probe, hidden: Pairs) -> torch.Tensor:
    """The label of every report: its likeliest main finding, or normal."""
    states, words = (hidden.extras[name] for name in ("states", "words"))
    probability = reader(states.flatten(0, 1)).softmax(1)[:, 1].view(words.shape)
    most, place = probability.masked_fill(words < 0, -1).max(1)
    return torch.where(most > 0.5, words.gather(1, place[:, None])[:, 0] + 1, 0)


def share(said, labels) -> float:
    return (said == labels).double().mean().item()


def from_the_words(seed: int, given: dict, epochs: int) -> dict:
    """Forty labelled reports teach a reader, which labels all reports; a film model learns from those.
    "mean reader" is a layer on the mean of all states instead.
    """
    train, test, rows = given["train"], given["test"], given["order"][:40]
    said = read(place_reader(given["hidden"][rows]), given["hidden"])
    pooled = masked_mean(given["read"].extras["states"], given["read"].extras["mask"])
    mean = Probe(pooled[rows], train.labels[rows], 7, 0.1)(pooled).argmax(1)
    found = {"reader": share(said, train.labels), "mean reader": share(mean, train.labels)}
    said[rows] = train.labels[rows]
    torch.manual_seed(seed)
    student = Classifier(encoder_of(seed), 7)
    fit(student, pictures(train, said), epochs=epochs, batch_size=64, learning_rate=2e-3, seed=seed,
        augment=Augment(area=(0.7, 1.0)), **quiet)
    return found | {"film": share(predict(student, pictures(test)).argmax(1), test.labels)}


class FixMatch(Task):
    """Labelled rows learn their labels; every step, as many unlabelled ones learn what they are sure of."""

    def __init__(self, films, weight: float, threshold: float = 0.8, share: int = 4):
        self.films, self.weight, self.threshold, self.share = films, weight, threshold, share

    def forward(self, call, batch):
        outputs = {"logits": call(WEAK(batch))}
        if not self.weight:
            return outputs
        rows = torch.randint(len(self.films), (self.share * len(batch),))
        free = Batch(ImageBatch(self.films[rows]), None)
        with torch.no_grad():
            weak = call(WEAK(free))
        # rows first: each labelled row carries its share of the others
        for name, logits in (("weak", weak), ("strong", call(STRONG(free)))):
            outputs[name] = logits.unflatten(0, (len(batch), self.share))
        return outputs

    def objective(self, outputs, batch):
        loss = nn.functional.cross_entropy(outputs["logits"], batch.labels)
        if not self.weight:
            return loss
        free = fixmatch_loss(outputs["strong"].flatten(0, 1), outputs["weak"].flatten(0, 1), self.threshold)
        return {"loss": loss + self.weight * free, "free": free.detach()}


WEAK = Augment(area=(0.8, 1.0), brightness=0.1, contrast=0.1)
STRONG = Augment(area=(0.5, 1.0), brightness=0.4, contrast=0.4)


def fixmatched(seed: int, given: dict, start, steps: int) -> dict:
    """Forty labels with and without the other films, in as many steps, from the same start."""
    train, test, rows, found = given["train"], given["test"], given["order"][:40], {}
    for name, weight in (("forty labels alone", 0.0), ("with FixMatch", 1.0)):
        torch.manual_seed(seed)
        model = Classifier(copy.deepcopy(start), 7)
        few = pictures(train[rows], train.labels[rows])
        fit(model, few, task=FixMatch(train.images, weight), epochs=steps, batch_size=40, learning_rate=2e-3,
            seed=seed, **quiet)
        found[name] = (predict(model, pictures(test)).argmax(1) == test.labels).double().mean().item()
    return found


def adapted(seed: int, given: dict, epochs: int) -> list[dict]:
    """A reader that has read the desk's messages reads chest reports: with and without reading some first."""
    desk = RefundDesk().sample(4000, start=4000 * seed)
    train, test = given["train"], given["test"]
    rows = given["order"][:40]
    found = []
    orders = {"fresh": (), "desk": (desk.texts,), "desk, then chest": (desk.texts, train.texts),
              "chest": (train.texts,)}
    for name, parts in orders.items():
        torch.manual_seed(seed)
        tokenizer = text_encoder("mini").tokenizer
        reader = Reader(tokenizer)
        task = MaskedWords(len(tokenizer), tokenizer.mask_token_id)
        for texts in parts:
            fit(reader, Pairs(None, list(texts)), task=task, epochs=epochs, batch_size=64, learning_rate=2e-3,
                seed=seed, bucketed=True, **quiet)
        scores = evaluate(reader, Pairs(None, list(test.texts)), task=task)
        encoder = Bert(reader.bert.bert, tokenizer).eval()
        few, new = (hide_words(pairs, FINDINGS, encoder) for pairs in (train[rows], test))
        found.append({"method": f"reader: {name}", "seed": seed, "hidden words": scores["hidden words"],
                      "forty labels": share(read(place_reader(few), new), new.labels)})
    return found


def further(seeds: int, steps: int):
    """Labels from the words, FixMatch on films, and readers of another domain."""
    reader = text_encoder("mini").eval()
    for seed in range(seeds):
        given = prepare(seed, reader)
        yield {"method": "labels from the words", "seed": seed} | from_the_words(seed, given, 8)
        start, _ = pretrain("hidden words", seed, given, max(1, round(steps * BATCH / POOL)))
        yield {"method": "from hidden words", "seed": seed} | fixmatched(seed, given, start, steps // 4)
        yield from adapted(seed, given, max(1, steps // 200))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--only", nargs="*", default=METHODS)
    parser.add_argument("--further", action="store_true", help="from the words, FixMatch, other readers")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    facts = {"pool": POOL, "test": TEST, "side": SIDE, "steps": asked.steps, "torch": torch.__version__}
    if asked.further:
        rows = []
        for row in further(asked.seeds, asked.steps):
            rows.append({name: round(v, 4) if isinstance(v, float) else v for name, v in row.items()})
            print(rows[-1], file=sys.stderr, flush=True)
        json.dump({"facts": facts, "rows": rows}, sys.stdout, indent=1)
        return
    reader = text_encoder("mini").eval()
    epochs = max(1, round(asked.steps * BATCH / POOL))
    rows = []
    for seed in range(asked.seeds):
        given = prepare(seed, reader)
        for method in asked.only:
            start = time.process_time()
            encoder, reached = pretrain(method, seed, given, epochs)
            spent = time.process_time() - start
            fine = {40: 60, 400: 24}
            if method in ("scratch", "hidden words"):
                fine[4000] = 8
            row = {"method": method, "seed": seed, "cpu_seconds": round(spent, 1), "pretext_loss": reached}
            row |= {name: round(value, 4) for name, value in measure(encoder, seed, given, fine).items()}
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    json.dump({"facts": facts, "rows": rows}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
