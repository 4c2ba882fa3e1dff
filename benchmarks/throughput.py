"""Pairs per second: cmlib.training.fit.fit beside a bare loop, transformers.Trainer and Lightning, in turns,
on three kinds of input.

    python benchmarks/throughput.py                   # a CPU: mini BERT + ResNet-18, at most 12 minutes
    python benchmarks/throughput.py --scale full      # a GPU: BERT-base (64 tokens) + ResNet-50 (224 px),
    batch 256, bf16

Tier 1: tensors on the device. Tier 2: uint8 pixels in a mapped file and token ids, in the host's memory. Tier
3: JPEG files and a CSV, decoding counted in every turn. All tools get the same weights, order of rows,
batches, precision, AdamW groups, learning rates and clipping; their first 20 losses must agree before
anything is timed. Each rival comes twice: with its defaults, and tuned. The rivals live in an environment of
their own, .venv-throughput, which is made here and uses the course's torch.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT, DRIVERS, RIVALS = HERE.parent, HERE / "throughput_rivals", HERE.parent / ".venv-throughput"
sys.path[:0] = [str(DRIVERS)]
TOOLS = ("cmlib", "bare", "trainer", "lightning")
NAMES = {"cmlib": "cmlib fit", "bare": "bare loop", "trainer": "HF Trainer", "lightning": "Lightning"}
FULL = "python benchmarks/throughput.py --scale full"
TOLERANCE = 1e-8  # of a loss in the check, which is in float64; twice the weight decay is already 7e-7
TARGET, WINDOW = 0.4, 6  # trained when the mean loss of 6 steps is below this; two classes start at 0.69
# TFLOP/s, dense 16-bit, from data sheets
PEAKS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "T4": 65}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    parser.add_argument("--tiers", type=int, nargs="+", choices=(1, 2, 3), default=(1, 2, 3))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rivals", nargs="*", choices=TOOLS[1:], default=TOOLS[1:])
    parser.add_argument("--compile", action="store_true", help="torch.compile for ours and for the tuned "
                                                               "rivals")
    parser.add_argument("--smoke", action="store_true", help="tiny models on whatever is here: does the code "
                                                             "run?")
    parser.add_argument("--out", type=Path, help="a JSON file for everything that was measured")
    return parser.parse_args()


class Tool:
    """A process that stays for a tier: it is told the turn and answers with the losses, their times and what
    it used.
    """

    def __init__(self, rival: str, tuned: bool, python: Path, task: dict):
        self.rival, self.name = (
            rival,
            NAMES[rival] if rival == "cmlib" else f"{NAMES[rival]}, {'tuned' if tuned else 'defaults'}",
        )
        self.command, self.task, self.turns, self.startup = (
            [python, DRIVERS / f"{rival}_driver.py"],
            task | {"tuned": tuned},
            [],
            None,
        )

    def __enter__(self):
        self.born = time.time()
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.task["folder"],
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"},
        )
        self.said: list[str] = []
        threading.Thread(
            target=lambda: self.said.extend(itertools.islice(self.process.stderr, 10**6)), daemon=True
        ).start()
        self._tell(self.task)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def _tell(self, value):
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def turn(self, tier: int, mode: str, cache: str) -> dict:
        self._tell({"tier": tier, "mode": mode, "cache": cache})
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(f"{self.name} ended: {''.join(self.said)[-3000:]}")
        answer = json.loads(line)
        # from the start of the process to the end of its first step, without what came after
        if self.startup is None:
            self.startup = answer["until"] - self.born - answer["seconds"] + answer["times"][1]
        return answer


def install() -> str:
    """Make the rivals' environment; returns "" or why it could not be made."""
    uv = [sys.executable, "-m", "uv"]
    if (RIVALS / ".ready").exists():
        return ""
    for command in (
        [
            *uv,
            "venv",
            "-q",
            "--clear",
            "--python",
            sys.executable,
            RIVALS,
        ],  # no dependencies: torch is the course's
        [
            *uv,
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--python",
            RIVALS / "bin" / "python",
            "accelerate",
            "lightning",
        ],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    (place,) = RIVALS.glob("lib/python*/site-packages")
    (place / "course.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (RIVALS / ".ready").touch()
    return ""


def prepare(folder: Path, size) -> None:
    """Photographs of 500 x 375 from the refund desk, with texture and noise, as JPEG; texts and labels; the
    weights to start from.
    """
    import numpy as np
    import torch
    from PIL import Image
    from task import CHECK, CLASSES, build

    from cmlib.datasets import folder as read
    from cmlib.worlds import RefundDesk

    rng, model = np.random.default_rng(0), build(size, channels_last=False)
    pairs = RefundDesk(probabilities=(1, 0, 0, 0), tricky=0).sample(size.rows)
    table = [("image", "text", "label")]
    for i, (pixels, text, label) in enumerate(
        zip(pairs.images, pairs.texts, pairs.labels.tolist(), strict=True)
    ):
        photo = Image.fromarray(rng.integers(60, 200, (24, 32, 3), dtype=np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        photo.paste(
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((375, 375), Image.Resampling.BICUBIC),
            (62, 0),
        )
        noisy = np.asarray(photo) + rng.normal(0, 6, (375, 500, 1))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05}.jpg", quality=90)
        missing = size.tokens - len(model.tokenizer(text)["input_ids"])
        table.append((f"{i:05}.jpg", text + " the" * max(0, missing), CLASSES[label]))
    for name, rows in (("data", table), ("check", table[:1 + CHECK["rows"]])):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    np.save(folder / "pixels.npy", read(folder / "data.csv", size=size.pixels).images.numpy())
    torch.save(model.state_dict(), folder / "weights.pt")


def agree(tools: list[Tool], tier: int, checks: list[dict], first: list[dict]) -> float:
    """The largest difference of a loss; AssertionError if a tool does not train the same thing in the same
    number format.
    """
    for tool, check, turn in zip(tools, checks, first, strict=True):
        assert turn["format"] == first[0]["format"], (
            f"Tier {tier}: {tool.name} computes in {turn['format']}, not in {first[0]['format']}."
        )
        for step, (ours, theirs) in enumerate(zip(checks[0]["losses"], check["losses"], strict=True), 1):
            assert abs(ours - theirs) <= TOLERANCE, (
                f"Tier {tier}: {tool.name} has the loss {theirs:.8f} at step {step}, {tools[0].name} has "
                f"{ours:.8f}.")
    return max(
        abs(a - b) for check in checks for a, b in zip(checks[0]["losses"], check["losses"], strict=True)
    )


def measure(turn: dict, tier: int, size) -> dict:
    """Steady speed is from the first loss to the last; with files it begins at the call, so that decoding is
    counted.
    """
    times, losses = turn["times"], turn["losses"]
    pairs = (len(times) - 1) * size.batch
    done = [i for i in range(WINDOW, len(losses)) if statistics.mean(losses[i - WINDOW:i]) < TARGET]
    return {
        "speed": pairs / (times[-1] - (times[0] if tier < 3 else 0)),
        "cpu": size.rows * size.epochs / turn["cpu"],
        "trained": times[done[0]] if done else None,
        "seconds": turn["seconds"],
        "memory": turn["memory"],
        "gpu_memory": turn.get("gpu_memory"),
    }


def race(tier: int, wanted, size, python: Path, task: dict) -> dict:
    """{tool: {"rival": ..., "startup": s, "turns": [...]}}, in turns A B A B."""
    kinds = [("cmlib", True), *((rival, tuned) for rival in wanted.rivals for tuned in (False, True))]
    fresh = (f"{task['folder']}/cache-{tier}-{i}" for i in itertools.count())
    warm: list[dict] = []
    with ExitStack() as stack:
        tools, first, checks = [], [], []
        for rival, tuned in kinds:  # one after the other, so that each has the machine while it starts
            tools.append(tool := stack.enter_context(Tool(rival, tuned, python, task)))
            first.append(tool.turn(tier, "warm", next(fresh)))
            checks.append(tool.turn(tier, "check", next(fresh)))
        print(f"tier {tier}: {len(checks[0]['losses'])} losses agree within "
              f"{agree(tools, tier, checks, first):.0e}; load {os.getloadavg()[0]:.1f}", flush=True)
        for _ in range(wanted.rounds):
            for tool in tools:
                tool.turns.append(measure(tool.turn(tier, "time", cache := next(fresh)), tier, size))
                if tier == 3 and tool.rival == "cmlib":
                    warm.append(measure(tool.turn(tier, "time", cache), tier, size))
    found = {tool.name: {"rival": tool.rival, "startup": tool.startup, "turns": tool.turns} for tool in tools}
    return found | (
        {"cmlib fit, warm cache": {"rival": "cmlib", "startup": None, "turns": warm}} if warm else {}
    )


def spread(values) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f}–{max(values):,.1f})"


def ratio(found: dict, name: str, key: str = "speed") -> float:
    """Ours over theirs in each round, then the median."""
    ours, theirs = found["cmlib fit"]["turns"], found[name]["turns"]
    return statistics.median(a[key] / b[key] for a, b in zip(ours, theirs, strict=True))


def table(results: dict[int, dict]) -> None:
    kinds = {1: "tensors on the device", 2: "uint8 cache and token ids", 3: "JPEG files and texts"}
    for tier, found in results.items():
        print(
            f"\n{f'tier {tier}: {kinds[tier]}':34}{'pairs/s':>20}{'ours/it':>9}{'pairs/CPU-s':>13}{'ours/it':>9}"
            f"{'s to target':>13}{'start-up s':>12}{'peak MiB':>10}"
        )
        for name, tool in found.items():
            turns = tool["turns"]
            trained = [turn["trained"] for turn in turns]
            memory = max(turn["gpu_memory"] or turn["memory"] for turn in turns)
            print(
                f"{name:30}{spread([t['speed'] for t in turns]):>24}{ratio(found, name):9.2f}{statistics.median(t['cpu'] for t in turns):13.1f}"
                f"{ratio(found, name, 'cpu'):9.2f}{'never' if None in trained else f'{statistics.median(trained):.1f}':>13}"
                f"{'' if tool['startup'] is None else format(tool['startup'], '.1f'):>12}{memory:10.0f}"
            )


def verdicts(results: dict[int, dict]) -> list[str]:
    """Each target, what was measured, and whether it holds."""
    def median(tier, name="cmlib fit"):
        return statistics.median(turn["speed"] for turn in results[tier][name]["turns"])

    said = []
    if 1 in results and (tuned := [name for name in results[1] if name.endswith("tuned")]):
        best = max(tuned, key=lambda name: median(1, name))
        said.append((f"tier 1, ours / the best tuned ({best})", ratio(results[1], best), 1.0))
    if 3 in results and "HF Trainer, tuned" in results[3]:
        said.append(("tier 3, ours / HF Trainer, tuned", ratio(results[3], "HF Trainer, tuned"), 1.5))
    if {1, 3} <= set(results):
        said.append(("ours, tier 3 / tier 1", median(3) / median(1), 0.7))
    return [
        f"{'holds' if value >= wanted else 'MISSED':7} {what}: {value:.2f} (wanted: {wanted:.1f})"
        for what, value, wanted in said
    ]


def anatomy(results: dict[int, dict], task: dict) -> None:
    """Which share of the chip each tool uses, and where the time of ours goes."""
    import torch
    from step import flops, parts, reached
    from task import Task

    task = Task(**task, tuned=True)
    each, product = flops(task), reached(task)
    chip = torch.cuda.get_device_name() if task.gpu else ""
    peak = next((1e12 * peak for name, peak in PEAKS.items() if name in chip), None)
    print(f"\na pair is {each / 1e9:.1f} GFLOP (forward and backward); a large {task.size.precision} matrix "
          "product reaches "
          f"{product / 1e12:.2f} TFLOP/s here; the data sheet's peak is "
          f"{'unknown' if peak is None else f'{peak / 1e12:.0f} TFLOP/s'}")
    for name, tool in results.get(1, {}).items():
        rate = each * statistics.median(turn["speed"] for turn in tool["turns"])
        print(
            f"{name:30}{rate / 1e12:8.2f} TFLOP/s: {rate / product:6.1%} of that product"
            + (f", {rate / peak:6.1%} of the peak" if peak else "")
        )
    print(
        "where an epoch of ours goes (tier 1): "
        + ", ".join(f"{name.removeprefix('aten::')} {share:.0%}" for name, share in parts(task))
    )


def main():
    wanted = arguments()
    import torch
    from task import size_of

    gpu = torch.cuda.is_available()
    if wanted.scale == "full" and not (gpu or wanted.smoke):
        raise SystemExit("--scale full needs a GPU, and torch finds none here; --smoke tries its code on "
                         "tiny models.")
    size, device = size_of(wanted.scale, wanted.smoke), "cuda" if gpu and wanted.scale == "full" else "cpu"
    problem = install() if {"trainer", "lightning"} & set(wanted.rivals) else ""
    if problem:
        print(f"Trainer and Lightning cannot be installed here, and are left out: {problem}")
        wanted.rivals = [rival for rival in wanted.rivals if rival == "bare"]
    python = (
        RIVALS / "bin" / "python" if {"trainer", "lightning"} & set(wanted.rivals) else Path(sys.executable)
    )
    where = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"{os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}"
    )
    print(f"{'SMOKE TEST, no measurement: ' if wanted.smoke else ''}BERT {size.layers} x {size.width} + "
          f"{size.image} at {size.pixels} px, batch {size.batch}, "
          f"{size.precision}, {size.epochs} epochs of {size.rows} pairs a turn, {wanted.rounds} rounds; "
          f"{where}; torch {torch.__version__}; "
          f"load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), size)
        started = time.monotonic()
        task = {
            "folder": folder,
            "scale": wanted.scale,
            "smoke": wanted.smoke,
            "device": device,
            "compile": wanted.compile,
        }
        results = {tier: race(tier, wanted, size, python, task) for tier in wanted.tiers}
        table(results)
        print(*["", *verdicts(results)], f"measured in {(time.monotonic() - started) / 60:.1f} minutes; load "
                                         f"{os.getloadavg()[0]:.1f}", sep="\n")
        anatomy(results, task)
    if device == "cpu":
        print(f"GPU, BERT-base (64 tokens) + ResNet-50 (224 px), batch 256, bf16: not yet measured: {FULL}")
    if wanted.out:
        wanted.out.write_text(
            json.dumps(
                {"arguments": vars(wanted) | {"out": None}, "where": where, "results": results}, indent=1
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
