"""Pairs per second: cmlib's fit beside a bare loop, transformers.Trainer and Lightning, in turns, on three
kinds of input.

    python benchmarks/throughput.py                   # a CPU: mini BERT + ResNet-18, at most 12 minutes
    python benchmarks/throughput.py --scale full      # a GPU: BERT-base (64 tokens) + ResNet-50 (224 px),
                                                      # batch 256, bf16 (gpu_speed.py: within 6 minutes)

Tier 1: tensors on the device. Tier 2: uint8 pixels in a mapped file and token ids, in the host's memory. Tier
3: JPEG files and a CSV, decoding counted in every turn. All tools get the same weights, order of rows,
batches, precision, AdamW groups, learning rates and clipping; their first 20 losses must agree before
anything is timed. Each rival comes twice: with its defaults, and tuned. Trainer and Lightning are those of
this Python; what it does not have goes into an environment of its own, .venv-throughput, which is made here
and uses the course's torch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

DRIVERS = Path(__file__).resolve().parent / "throughput_rivals"
sys.path[:0] = [str(DRIVERS), str(DRIVERS.parents[1])]

from race import KINDS, goals, median, ratio, start, take_turns, warm_up
from tool import Tool, pythons

RIVALS = ("bare", "trainer", "lightning")
FULL = "python benchmarks/throughput.py --scale full"
# TFLOP/s, dense 16-bit, from data sheets
PEAKS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "T4": 65}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    parser.add_argument("--tiers", type=int, nargs="+", choices=(1, 2, 3), default=(1, 2, 3))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rivals", nargs="*", choices=RIVALS, default=RIVALS)
    parser.add_argument("--compile", action="store_true", help="ours and the tuned rivals")
    parser.add_argument("--smoke", action="store_true", help="tiny models on whatever is here: does it run?")
    parser.add_argument("--out", type=Path, help="a JSON file for everything that was measured")
    return parser.parse_args()


def run(tier: int, wanted, size, found: dict, task: dict, missing: dict) -> dict:
    """One tier: all tools start, are warmed up and checked, and take turns."""
    kinds = [("cmlib", True), *((rival, tuned) for rival in wanted.rivals for tuned in (False, True))]
    tools = [Tool(rival, tuned, task, found[rival]) for rival, tuned in kinds if rival in found]
    caches = (f"{task['folder']}/cache-{tier}-{i}" for i in itertools.count())
    with ExitStack() as stack:
        tools = start(stack, tools, missing, together=task["device"] == "cuda")
        tools, difference = warm_up(tools, tier, caches, missing)
        print(f"tier {tier}: losses agree within {difference:.0e}; load {os.getloadavg()[0]:.1f}", flush=True)
        return take_turns(tools, tier, size.batch, caches, wanted.rounds)


def spread(values) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f}–{max(values):,.1f})"


def table(results: dict[int, dict]) -> None:
    for tier, found in results.items():
        print(
            f"\n{f'tier {tier}: {KINDS[tier]}':34}{'pairs/s':>20}{'ours/it':>9}"
            f"{'pairs/CPU-s':>13}{'ours/it':>9}{'s to target':>13}{'start-up s':>12}{'peak MiB':>10}"
        )
        for name, tool in found.items():
            turns = tool["turns"]
            trained = [turn["trained"] for turn in turns]
            to_target = "never" if None in trained else f"{statistics.median(trained):.1f}"
            startup = "" if tool["startup"] is None else f"{tool['startup']:.1f}"
            memory = max(turn["gpu_memory"] or turn["memory"] for turn in turns)
            print(
                f"{name:30}{spread([turn['speed'] for turn in turns]):>24}{ratio(found, name):9.2f}"
                f"{median(tool, 'cpu'):13.1f}{ratio(found, name, 'cpu'):9.2f}"
                f"{to_target:>13}{startup:>12}{memory:10.0f}"
            )


def verdicts(results: dict[int, dict]) -> list[str]:
    """Each goal that was measured, and whether it holds."""
    return [
        f"{'holds' if value >= wanted else 'MISSED':7} {what}: {value:.2f} (wanted: {wanted:.1f})"
        for what, wanted, value in goals(results)
        if value is not None
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
    sheet = "unknown" if peak is None else f"{peak / 1e12:.0f} TFLOP/s"
    print(f"\na pair is {each / 1e9:.1f} GFLOP (forward and backward); a large {task.size.precision} matrix "
          f"product reaches {product / 1e12:.2f} TFLOP/s here; the data sheet's peak is {sheet}")
    for name, tool in results.get(1, {}).items():
        rate = each * median(tool)
        of_peak = f", {rate / peak:6.1%} of the peak" if peak else ""
        print(f"{name:30}{rate / 1e12:8.2f} TFLOP/s: {rate / product:6.1%} of that product{of_peak}")
    taken = ", ".join(f"{name.removeprefix('aten::')} {share:.0%}" for name, share in parts(task))
    print(f"where an epoch of ours goes (tier 1): {taken}")


def main():
    wanted = arguments()
    import torch
    from photos import prepare
    from task import size_of

    gpu = torch.cuda.is_available()
    if wanted.scale == "full" and not (gpu or wanted.smoke):
        raise SystemExit("--scale full needs a GPU, and torch finds none here; --smoke tries its code on "
                         "tiny models.")
    size, device = size_of(wanted.scale, wanted.smoke), "cuda" if gpu and wanted.scale == "full" else "cpu"
    found, missing = pythons(wanted.rivals, may_install=True)
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    where = torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()} cores"
    where += f", OMP_NUM_THREADS={threads}, torch {torch.__version__}"
    print(f"{'SMOKE TEST, no measurement: ' if wanted.smoke else ''}{size}, {wanted.rounds} rounds; {where}; "
          f"load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rate = prepare(Path(folder), size)
        print(f"cmlib.datasets.folder reads {rate:,.0f} photographs/s", flush=True)
        started = time.monotonic()
        task = {
            "folder": folder,
            "scale": wanted.scale,
            "smoke": wanted.smoke,
            "device": device,
            "compile": wanted.compile,
        }
        results = {tier: run(tier, wanted, size, found, task, missing) for tier in wanted.tiers}
        for name, why in missing.items():
            print(f"{name}: not there ({why})")
        table(results)
        minutes = (time.monotonic() - started) / 60
        print("", *([] if wanted.smoke else verdicts(results)), f"raced for {minutes:.1f} minutes", sep="\n")
        anatomy(results, task)
    if device == "cpu":
        print(f"GPU, BERT-base (64 tokens) + ResNet-50 (224 px), batch 256, bf16: not yet measured: {FULL}")
    if wanted.out:
        facts = {"arguments": vars(wanted) | {"out": None}, "where": where, "results": results}
        wanted.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
