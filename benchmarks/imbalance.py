"""The runs that lesson 09 draws and that are too long for its page, a log in data/runs each:

    python benchmarks/imbalance.py brake share search scratch

scratch : a small convolution network from random weights beside a frozen mini BERT, one method after another
brake   : gradient modulation (OGM) under SGD with momentum, at two rates, beside none
share   : one middle layer for both modalities, two, and two of half the width
search  : optuna and random search with a budget of 16, the noise of one run, and what the winner is worth
Every seed has tickets of its own, to train, to validate and to test. What is said meanwhile goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import cache

import torch
from full_run import RUNS, surroundings
from torch import nn
from torch.nn.functional import interpolate

from cmlib import FusionModel, extract, fit, image_encoder, predict, text_encoder
from cmlib.data import Features, ImageBatch
from cmlib.losses.balance import gradient_cosine, joint_and_single
from cmlib.models.branches import Branches
from cmlib.tasks import Branched
from cmlib.worlds import RefundDesk

SEEDS, SHARES = range(5), torch.tensor([0.7, 0.15, 0.15])
MIX = RefundDesk(probabilities=(0.7, 0.15, 0.15, 0), tricky=0.0, held_out=True)
TEST = RefundDesk(probabilities=(0.2, 0.4, 0.4, 0), tricky=0.0, held_out=True)  # more of the rare situations
JOINT, IMAGE, TEXT, ALL, APART = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 1, 1)


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def by_situation(logits, labels, situation) -> list[float]:
    """Accuracy over the mixture, then in R, I and T."""
    right = (logits.argmax(1) == labels).double()
    each = torch.stack([right[situation == k].mean() for k in range(3)])
    return [round(value, 4) for value in (float(each @ SHARES.double()), *each.tolist())]


def report(model, rows, situation) -> dict:
    found = predict(model, rows)
    views = {"sum": found["image"] + found["text"], "image": found["image"], "text": found["text"]}
    return {name: by_situation(logits, rows.labels, situation) for name, logits in views.items()}


@cache
def frozen(desk, n, split, start):
    """Features of tickets by both frozen mini encoders, and their situations."""
    torch.manual_seed(0)
    encoders = FusionModel(image_encoder("mini"), text_encoder("mini"), 2)
    pairs = desk.sample(n, split, start=start)
    return extract(encoders, pairs), pairs.extras["situation"]


# A convolution network from random weights


class FromScratch(Branches):
    """The image branch is a small network of its own; ``image`` of the Features are pixels, one row each."""

    def __init__(self, side: int, text_size: int):
        super().__init__(1, text_size)
        self.side = side
        self.image = nn.Sequential(image_encoder("cnn", hidden_size=64, image_size=side), nn.LayerNorm(64),
                                   nn.Linear(64, 2))

    def forward(self, features):
        pixels = features.image.reshape(-1, 3, self.side, self.side)
        return {"image": self.image(ImageBatch(pixels)), "text": self.text(features.text)}


def pictures(desk, n, split, start, side=40):
    pairs = desk.sample(n, split, start=start)
    small = interpolate(pairs.images.float(), (side, side), mode="bilinear", antialias=True).round()
    torch.manual_seed(0)
    reader = FusionModel(image_encoder("cnn"), text_encoder("mini"), 2)
    text = extract(reader, pairs).text
    return Features(small.flatten(1), text, pairs.labels), pairs.extras["situation"]


class Watched(Branched):
    """Notes every 25 steps what the image branch gets from the joint loss, beside what it would get alone."""

    def __init__(self, rows, model):
        super().__init__(JOINT)
        self.rows, self.step, self.notes, self.holder = rows, 0, [], [model]

    def adjust(self, model):
        if self.step % 25 == 0:
            outputs = model(self.rows)
            labels = self.rows.labels
            parameters = list(model.image.parameters())
            joint, alone = (joint_and_single(outputs["image"], outputs["text"], labels, w)
                            for w in (JOINT, IMAGE))
            cosine, ratio = gradient_cosine(joint, alone, parameters)
            self.notes.append([self.step, round(float(cosine), 3), round(float(ratio), 3)])
        self.step += 1


def scratch():
    n, found, notes = 2000, {}, []
    settings = {"epochs": 10, "batch_size": 64, "learning_rate": 2e-3, "progress": False}
    methods = {
        "image only": {"weights": IMAGE}, "text only": {"weights": TEXT}, "joint": {},
        "joint + own losses": {"weights": ALL}, "own losses alone": {"weights": APART},
    }
    for seed in SEEDS:
        train, _ = pictures(MIX, n, "train", seed * n)
        test, situation = pictures(TEST, 600, "new tickets", seed * 600)
        for name, how in methods.items():
            torch.manual_seed(seed)
            model = FromScratch(40, train.text.shape[1])
            task = Watched(train[:512], model) if name == "joint" else Branched(**how)
            fit(model, train, task=task, seed=seed, **settings)
            if name == "joint":
                notes.append(task.notes)
            found.setdefault(name, []).append(report(model, test, situation))
            say("scratch", seed, name, found[name][-1])
    return {"rows": n, "side": 40, **settings, "found": found,
            "image gradient, joint against alone: step, cosine, ratio of lengths": notes}


# The brake, under the optimiser it was published with


def descend(model, rows, task, rate, epochs, seed, batch_size=64, momentum=0.9):
    """`fit` has AdamW; this is SGD with momentum, and the same schedule."""
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=momentum)
    steps = epochs * -(-len(rows.labels) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1,
                                                   cycle_momentum=False)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for index in torch.randperm(len(rows.labels), generator=draw).split(batch_size):
            batch = rows[index]
            optimizer.zero_grad()
            task.objective(task.forward(model, batch), batch).backward()
            task.adjust(model)
            optimizer.step()
            schedule.step()


def fresh(seed, rows):
    torch.manual_seed(seed)
    return Branches(rows.image.shape[1], rows.text.shape[1])


def sets(seed, n=1000, test=400):
    return frozen(MIX, n, "train", seed * n), frozen(TEST, test, "new tickets", seed * test)


def brake():
    found = {}
    for seed in SEEDS:
        (train, _), (test, situation) = sets(seed)
        for rate in (0.05, 0.3):
            for alpha, noise in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)):
                model = fresh(seed, train)
                torch.manual_seed(seed)
                descend(model, train, Branched(alpha=alpha, noise=noise), rate, 20, seed)
                name = f"rate {rate}, α = {alpha}{', GE' if noise else ''}"
                found.setdefault(name, []).append(report(model, test, situation))
        model = fresh(seed, train)
        descend(model, train, Branched(ALL), 0.05, 20, seed)
        found.setdefault("rate 0.05, own losses", []).append(report(model, test, situation))
        say("brake", seed, {name: rows[-1]["sum"] for name, rows in found.items()})
    return {"rows": 1000, "epochs": 20, "batch_size": 64, "momentum": 0.9, "found": found}


# One layer for both modalities


class Crossed(Branched):
    """Notes the cosine of what the two modalities ask of one shared weight."""

    def __init__(self, model):
        super().__init__(JOINT)
        self.holder, self.cosines = [model], []

    def objective(self, outputs, batch):
        if len(self.cosines) < 200 and torch.is_grad_enabled():
            image, text = outputs["image"], outputs["text"]
            one = joint_and_single(image, text.detach(), batch.labels)
            other = joint_and_single(image.detach(), text, batch.labels)
            self.cosines.append(float(gradient_cosine(one, other, [self.holder[0].image[3].weight])[0]))
        return super().objective(outputs, batch)


def share():
    found, cosines = {}, []
    for seed in SEEDS:
        for n in (200, 1000):
            (train, _), (test, situation) = sets(seed, n)
            for kind, size in (("two layers", 64), ("one shared layer", 64), ("two of half the width", 32)):
                torch.manual_seed(seed)
                model = Branches(train.image.shape[1], train.text.shape[1], hidden_size=size)
                if "shared" in kind:
                    model.text[3] = model.image[3]
                task = Crossed(model) if "shared" in kind else Branched()
                fit(model, train, epochs=20, task=task, batch_size=64, learning_rate=4e-3, seed=seed,
                    progress=False)
                if "shared" in kind:
                    cosines.append(round(sum(task.cosines) / len(task.cosines), 3))
                found.setdefault(f"{n} tickets, {kind}", []).append(report(model, test, situation))
        say("share", seed, {name: rows[-1]["sum"][0] for name, rows in found.items()}, cosines[-2:])
    return {"found": found, "mean cosine on the shared weight (200, 1000 tickets, seed by seed)": cosines}


# A search, its budget and its noise


def trial(seed, rate, image, text, epochs, data=None):
    """Validation accuracy of one run, as a search sees it."""
    (train, _), (valid, situation) = data or sets(seed, 1000, 300)
    model = fresh(seed, train)
    fit(model, train, epochs=epochs, task=Branched((1, image, text)), batch_size=64, learning_rate=rate,
        seed=seed, progress=False)
    return report(model, valid, situation)["sum"][0]


def search(budget=16, again=8):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = sets(0, 1000, 300)

    def objective(chosen):
        return trial(0, chosen.suggest_float("rate", 1e-4, 3e-2, log=True),
                     chosen.suggest_float("image", 0, 3), chosen.suggest_float("text", 0, 3),
                     chosen.suggest_int("epochs", 3, 8), data)

    found = {}
    for name, sampler in (("TPE", optuna.samplers.TPESampler(seed=0)),
                          ("random", optuna.samplers.RandomSampler(seed=0))):
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.optimize(objective, n_trials=budget)
        best = study.best_params
        anew = [trial(seed, best["rate"], best["image"], best["text"], best["epochs"])
                for seed in range(1, again + 1)]
        found[name] = {"values": [round(one.value, 4) for one in study.trials],
                       "params": [one.params for one in study.trials],
                       "best": best, "fresh tickets": anew}
        say("search", name, study.best_value, best, anew)
    plain = {"rate": 4e-3, "image": 0.0, "text": 0.0, "epochs": 8}
    hand = plain | {"image": 1.0, "text": 1.0}
    for name, settings in (("joint, by hand", plain), ("own losses, by hand", hand)):
        found[name] = {"settings": settings,
                       "fresh tickets": [trial(seed, **settings) for seed in range(1, again + 1)]}
        say("search", name, found[name])
    return {"budget": budget, "validation rows": 300, "found": found}


PARTS = {"brake": brake, "share": share, "search": search, "scratch": scratch}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    torch.set_num_threads(1)
    for part in parser.parse_args().parts:
        started, cpu = time.perf_counter(), time.process_time()
        log = PARTS[part]() | surroundings("cpu", started, cpu)
        log["command"] = f"python benchmarks/imbalance.py {part}"
        (RUNS / f"imbalance_{part}.json").write_text(json.dumps(log) + "\n")
