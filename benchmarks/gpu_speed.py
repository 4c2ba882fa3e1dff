"""How fast ``fit`` is on a GPU beside its rivals: throughput.py's race, within six minutes.

    python benchmarks/gpu_speed.py        # make gpu-speed

On a GPU: BERT-base (64 tokens) + ResNet-50 (224 px), batch 256, bf16, three tiers, ours and the tuned rivals
in turns, the rivals' defaults once, one compiled run of ours; into data/runs/gpu_speed.json. Without a GPU
the same code with tiny models, uncompiled unless --compile asks for it, into a temporary file: it shows that
all of it runs, and measures nothing. Nothing is installed: a rival that cannot be imported is a line. Ends
with two tables in Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

DRIVERS = Path(__file__).resolve().parent / "throughput_rivals"
ROOT = DRIVERS.parents[1]
sys.path[:0] = [str(DRIVERS), str(ROOT)]

from race import COMPILED, KINDS, OURS, Disagree, goals, measure, median, ratio, start, take_turns, warm_up
from tool import NotThere, Tool, pythons

RIVALS = ("bare", "trainer", "lightning")
ROUNDS = {1: 3, 3: 2, 2: 2}  # in this order: should time be short, tier 2 has no goal
UNTIL = {1: 225, 3: 310, 2: 345}  # seconds from the start: a round that would end later is not begun
COMPILING = 170  # seconds from the start, until the compiler is given up


def race(folder: str, size, device: str, compile: bool, began: float) -> tuple[dict, dict]:
    """({tier: what race.take_turns gives}, {what is not there: why})."""
    scale, smoke = ("full", False) if device == "cuda" else ("small", True)
    task = {"folder": folder, "scale": scale, "smoke": smoke, "device": device, "compile": False}
    found, missing = pythons(RIVALS, may_install=False)
    rivals = [rival for rival in RIVALS if rival in found]
    tools = [Tool(rival, True, task, found[rival]) for rival in ("cmlib", *rivals)]
    tools += [Tool(rival, False, task, found[rival]) for rival in rivals]
    compiled = Tool("cmlib", True, task | {"compile": True}, found["cmlib"], COMPILED)
    caches, results = (f"{folder}/cache-{i}" for i in itertools.count()), {}
    with ExitStack() as stack:
        up = start(stack, [*tools, *[compiled] * compile], missing, together=True)
        say(began, f"{len(up)} tools are there")
        if compiled in up:
            compiled.ask(1, "warm")  # its compiler works while the others are warmed up
        tiers = warm(up, compiled, caches, missing, began)
        for tier, able in tiers.items():
            turning, once = [tool for tool in able if tool.tuned], [tool for tool in able if not tool.tuned]
            rounds = 1 if smoke else ROUNDS[tier]
            results[tier] = take_turns(turning, tier, size.batch, caches, rounds, began + UNTIL[tier])
            if tier == 1 and compiled in up and COMPILED not in missing:
                once.append(compiled)
            for tool in once:
                turn = tool.turn(tier, "time" if tool is compiled else "short")
                turns = [measure(turn, tier, size.batch)]
                results[tier][tool.name] = {"rival": tool.rival, "startup": None, "turns": turns}
            say(began, f"tier {tier}: raced {len(results[tier][OURS]['turns'])} times")
            print(*table({tier: results[tier]}, {}), sep="\n", flush=True)  # should the machine be taken away
    return results, missing


def warm(up: list[Tool], compiled: Tool, caches, missing: dict, began: float) -> dict[int, list[Tool]]:
    """The tools that can race in each tier: all in the first one, only the tuned ones in the others."""
    tiers = {}
    for tier in ROUNDS:
        able = [tool for tool in up if tool is not compiled and tool.name not in missing]
        able = [tool for tool in able if tier == 1 or tool.tuned]
        try:
            tiers[tier], difference = warm_up(able, tier, caches, missing)
            say(began, f"tier {tier}: losses agree within {difference:.0e}")
        except Disagree as error:
            missing[f"tier {tier}"] = str(error)
    if compiled in up:
        try:
            compiled.answer(max(1, began + COMPILING - time.monotonic()))
            say(began, "compiled")
        except NotThere as error:
            missing[COMPILED] = str(error)
            compiled.stop(0)  # nobody shall compile while the others are timed
    return tiers


def say(began: float, what: str) -> None:
    print(f"{time.monotonic() - began:5.0f} s  {what}", flush=True)


def table(results: dict, missing: dict) -> list[str]:
    lines = [
        "| tier | tool | pairs/s (range) | ours / it | s a turn | peak GPU GiB |",
        "|---|---|---|---|---|---|",
    ]
    for tier in sorted(results):
        for name, tool in results[tier].items():
            speeds = [turn["speed"] for turn in tool["turns"]]
            memory = max(turn["gpu_memory"] or 0 for turn in tool["turns"]) / 1024
            lines.append(
                f"| {tier}: {KINDS[tier]} | {name} | {statistics.median(speeds):,.0f} ({min(speeds):,.0f}–"
                f"{max(speeds):,.0f}) | {ratio(results[tier], name):.2f} | {median(tool, 'seconds'):.1f} | "
                f"{f'{memory:.1f}' if memory else '–'} |"
            )
    return lines + [f"| – | {name} | not there ({why}) | | | |" for name, why in missing.items()]


def goal_table(results: dict, measured: bool) -> list[str]:
    lines = ["| goal | at least | measured |", "|---|---|---|"]
    for what, wanted, value in goals(results):
        said = "not yet measured"
        if measured and value is not None:
            said = f"{value:,.2f}, {'holds' if value >= wanted else 'MISSED'}"
        lines.append(f"| {what} | {wanted:,g} | {said} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="the JSON file (default: data/runs/gpu_speed.json on a GPU)")
    parser.add_argument("--compile", action="store_true", help="compile without a GPU too: minutes more")
    wanted, began = parser.parse_args(), time.monotonic()
    import torch
    import transformers
    from photos import prepare
    from task import size_of

    from cmlib.datasets.threads import cores

    gpu = torch.cuda.is_available()
    size, device = size_of("full" if gpu else "small", smoke=not gpu), "cuda" if gpu else "cpu"
    out = wanted.out or (ROOT / "data" / "runs" if gpu else Path(tempfile.mkdtemp())) / "gpu_speed.json"
    chip = torch.cuda.get_device_name() if gpu else "no GPU: a smoke test, no measurement"
    where = f"{chip}, {cores()} cores, torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{size}; {where}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rate = prepare(Path(folder), size)
        say(began, f"ready: cmlib.datasets.folder reads {rate:,.0f} photographs/s")
        results, missing = race(folder, size, device, gpu or wanted.compile, began)
    facts = {
        "measured": gpu,
        "where": where,
        "python": platform.python_version(),
        "size": asdict(size),
        "photographs_per_second": rate,
        "tiers": results,
        "missing": missing,
        "goals": [{"what": what, "wanted": least, "value": value} for what, least, value in goals(results)],
        "seconds": time.monotonic() - began,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"\n{size}; {where}; {facts['seconds'] / 60:.1f} minutes; {out}\n")
    print(*table(results, missing), "", *goal_table(results, gpu), sep="\n")


if __name__ == "__main__":
    main()
