"""The heads of the fusion zoo: how fast they are, and what they reach; lesson 08 draws the log.

    python benchmarks/fusion.py                     # pairs per CPU-second of a training step, as ratios
    python benchmarks/fusion.py --study synergy     # S alone, six colours: every head
    python benchmarks/fusion.py --study longer      # those at chance there, with four times the steps
    python benchmarks/fusion.py --study mixture     # all four situations, two and six colours
    python benchmarks/fusion.py --study emoji       # nine categories of emoji: every head

A study adds its seeds (--seeds 0 1 2 3 4) to data/runs/fusion.json. On the desk every seed has training and
test rows of its own; the emoji are few, and every seed is another split of the same ones. All heads
get the same rows, the same batches, the same number of steps and about as many weights.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from pathlib import Path

LOG = Path(__file__).resolve().parent.parent / "data" / "runs" / "fusion.json"
MEAN = ("additive", "MLP", "gated", "residual", "low rank", "tensor")
STUDIES = {
    "synergy": {"rows": 3000, "test": 1000, "epochs": 12},
    "longer": {"rows": 3000, "test": 1000, "epochs": 48,
               "heads": ("FiLM", "cross-attention", "one stream, first")},
    "mixture": {"rows": 3000, "test": 1000, "epochs": 12,
                "heads": ("additive", "low rank", "low rank, 4 queries")},
    "emoji": {"epochs": 24},
}
BATCH, RATE = 128, 3e-3


def heads() -> dict:
    """name: make(sizes, n_classes); some 66,000 weights each where both sizes are 128."""
    from cmlib import fusion as zoo

    return {
        "additive": lambda s, c: zoo.Additive(s, c),
        "MLP": lambda s, c: zoo.Mlp(s, c, hidden_size=256),
        "gated": lambda s, c: zoo.Gated(s, c, hidden_size=84),
        "residual": lambda s, c: zoo.Residual(s, c, hidden_size=254),
        "low rank": lambda s, c: zoo.LowRank(s, c, rank=256),
        "tensor": lambda s, c: zoo.TensorFusion(s, c, edge=15 if len(s) == 2 else 5, hidden_size=240),
        "additive, 4 queries": lambda s, c: zoo.Additive(s, c, 4),
        "MLP, 4 queries": lambda s, c: zoo.Mlp(s, c, 4, hidden_size=64),
        "low rank, 4 queries": lambda s, c: zoo.LowRank(s, c, 4, rank=64),
        "FiLM": lambda s, c: zoo.Film(s, c, hidden_size=128),
        "cross-attention": lambda s, c: zoo.CrossAttention(s, c),
        "one stream": lambda s, c: zoo.OneStream(s, c),
        "one stream, first": lambda s, c: zoo.OneStream(s, c, readout="first"),
        "graph": lambda s, c: zoo.TypedGraph(s, c),
    }


# What a head costs


def example(sizes, rows=BATCH, cells=16, tokens=24, seed=0):
    import torch

    from cmlib.data import States

    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(8, tokens + 1, (rows,), generator=draw)
    counts = dict(zip(sizes, (cells, tokens), strict=True))
    states = {name: torch.randn(rows, counts[name], size, generator=draw) for name, size in sizes.items()}
    masks = {"text": torch.arange(tokens) < lengths[:, None]}
    return States(states, masks, torch.randint(2, (rows,), generator=draw))


def cost(make, sizes, n_classes=2) -> dict:
    """Weights, and millions of floating-point operations a row, forward and backward."""
    from torch.nn.functional import cross_entropy
    from torch.utils.flop_counter import FlopCounterMode

    from cmlib.data.device import follow

    head = make(sizes, n_classes)
    batch = follow(example(sizes), head)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(head(batch), batch.labels).backward()
    return {"weights": sum(p.numel() for p in head.parameters()),
            "mflop": round(counter.get_total_flops() / len(batch) / 1e6, 2)}


def speed(rounds=7, steps=10) -> None:
    """One interleaved run: each round times every head once, and a head is compared within its round."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)
    sizes = {"image": 128, "text": 128}
    batch, made = example(sizes), {name: make(sizes, 2) for name, make in heads().items()}
    seconds = {name: [] for name in made}
    for turn in range(rounds + 1):  # the first one warms up
        for name, head in made.items():
            started = time.process_time()
            for _ in range(steps):
                cross_entropy(head(batch), batch.labels).backward()
            if turn:
                seconds[name].append((time.process_time() - started) / steps)
    print(f"a training step of {BATCH} pairs (16 cells, up to 24 tokens, 128 wide) on one thread; the ratio "
          f"to the\nMLP of the same round, median of {rounds} rounds (lowest to highest)")
    print(f"{'head':20s} weights  MFLOP a pair  pairs per CPU-second  ratio")
    for name, make in heads().items():
        of = cost(make, sizes)
        ratios = sorted(m / s for s, m in zip(seconds[name], seconds["MLP"], strict=True))
        pairs = BATCH / statistics.median(seconds[name])
        print(f"{name:20s} {of['weights']:7,}  {of['mflop']:12.2f}  {pairs:20,.0f}  "
              f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


# What a head reaches


def encoders():
    from cmlib import FusionModel, image_encoder, text_encoder

    return FusionModel(image_encoder("mini"), text_encoder("mini"), 2)


def desk_states(study, n_colors, seed, probabilities=(0, 0, 0, 1)):
    """(train, test, situations of the test rows), fresh for every seed."""
    from cmlib.training.predict import extract_states
    from cmlib.worlds import RefundDesk

    desk, model, found = RefundDesk(n_colors, probabilities=probabilities), encoders(), []
    for split, n in (("train", study["rows"]), ("test", study["test"])):
        pairs = desk.sample(n, split=split, start=seed * n)
        found.append(extract_states(model, pairs))
    return *found, pairs.extras["situation"]


def means(states):
    """The mean of each modality as its only state: what a head that pools by the mean sees, computed once."""
    from cmlib.data import States
    from cmlib.layers import masked_mean

    pooled = {name: masked_mean(x, states.mask(name))[:, None] for name, x in states.states.items()}
    return States(pooled, {}, states.labels)


def run(make, name, train, test, seed, epochs, situation=None) -> dict:
    import torch

    from cmlib.evaluation import evaluate
    from cmlib.training.fit import fit

    if name in (*MEAN, "image only", "text only"):
        train, test = means(train), means(test)
    torch.manual_seed(seed)
    head = make({key: x.shape[2] for key, x in train.states.items()}, int(train.labels.max()) + 1)
    started = time.process_time()
    history = fit(head, train, epochs=epochs, batch_size=BATCH, learning_rate=RATE, seed=seed, progress=False)
    took, losses = time.process_time() - started, history.batch_loss
    found = evaluate(head, test, by=situation, group_names="RITS")
    row = {"accuracy": round(found.accuracy, 4), "train_loss": round(statistics.mean(losses[-20:]), 4),
           "seconds": round(took, 2), "steps": len(losses)}
    every = max(1, len(losses) // 48)
    row["curve"] = [round(statistics.mean(losses[at:at + every]), 3) for at in range(0, len(losses), every)]
    if found.groups:
        row["situations"] = {key: round(share.accuracy, 4) for key, share in found.groups.items()}
    return row


def one_modality(key):
    from cmlib.fusion import Mlp

    return lambda s, c: Mlp({key: s[key]}, c, hidden_size=256)


def study(name, seeds, chosen) -> None:
    import torch

    torch.set_num_threads(1)
    what = STUDIES[name]
    for seed in seeds:
        started, found = time.process_time(), {}
        if name == "emoji":
            worlds = {"emoji": emoji_states(seed)}
        elif name == "mixture":
            worlds = {f"mixture, {k} colours": desk_states(what, k, seed, (0.25,) * 4) for k in (2, 6)}
        else:
            worlds = {name: desk_states(what, 6, seed)}
        all_heads = heads() | {f"{key} only": one_modality(key) for key in ("image", "text")}
        for world, (train, test, situation) in worlds.items():
            wanted = {key: all_heads[key] for key in chosen or what.get("heads", heads())}
            if name == "emoji":
                wanted |= {} if chosen else {key: all_heads[key] for key in ("image only", "text only")}
                floor = (test.labels == train.labels.mode().values).double().mean().item()
                add(world, "majority", seed, {"accuracy": round(floor, 4)})
            for key, make in wanted.items():
                by = situation if name == "mixture" else None
                found = run(make, key, train, test, seed, what["epochs"], by)
                add(world, key, seed, found)
                print(world, seed, key, {k: v for k, v in found.items() if k != "curve"}, flush=True)
            add(world, "about", seed, about(name, seed, train, test, started) | what)


def emoji_states(seed):
    from cmlib.datasets import emoji
    from cmlib.training.predict import extract_states

    model = encoders()
    return *(extract_states(model, emoji(split, seed=seed, size=64)) for split in ("train", "test")), None


def about(name, seed, train, test, started) -> dict:
    import torch

    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return {"command": f"python benchmarks/fusion.py --study {name} --seeds {seed}", "train": len(train),
            "test": len(test), "batch": BATCH, "rate": RATE, "machine": f"{model}, {os.cpu_count()} cores",
            "date": datetime.date.today().isoformat(), "torch": torch.__version__.split("+")[0],
            "cpu_seconds": round(time.process_time() - started)}


def add(world, head, seed, row) -> None:
    log = json.loads(LOG.read_text()) if LOG.is_file() else {}
    log.setdefault(world, {}).setdefault(head, {})[str(seed)] = row
    LOG.write_text(json.dumps(log) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", choices=STUDIES)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--heads", nargs="+", help="these heads only, by their names in heads()")
    asked = parser.parse_args()
    if asked.study:
        study(asked.study, asked.seeds, asked.heads)
    else:
        speed()
