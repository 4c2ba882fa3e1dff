"""A race: tools that train the same thing take turns, A B A B, and what came out of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

from tool import NAMES, NotThere, Tool

TOLERANCE = 1e-8  # of a loss in the check, which is in float64; twice the weight decay is already 7e-7
TARGET, WINDOW = 0.4, 6  # trained when the mean loss of 6 steps is below this; two classes start at 0.69
KINDS = {1: "tensors on the device", 2: "uint8 cache and token ids", 3: "JPEG files and texts"}
OURS, COMPILED, WARM = "cmlib fit", "cmlib fit, compiled", "cmlib fit, warm cache"


class Disagree(Exception):
    """A tool that does not train the same thing in the same number format."""


def start(stack: ExitStack, tools: list[Tool], missing: dict[str, str], together: bool) -> list[Tool]:
    """The tools that came up; why the others did not goes to ``missing``.

    together : all load at the same time, which is quick; else each has the machine while it starts, so that
        its ``startup`` means something
    """
    for tool in tools if together else ():
        stack.enter_context(tool)
    up = []
    for tool in tools:
        if not together:
            stack.enter_context(tool)
        try:
            tool.ready(alone=not together)
            up.append(tool)
        except NotThere as error:
            missing[tool.name] = str(error)
    return up


def warm_up(
    tools: list[Tool], tier: int, caches: Iterator[str], missing: dict[str, str]
) -> tuple[list[Tool], float]:
    """One epoch each, and 20 small steps whose losses are compared: (the tools that can do it, the largest
    difference); why the others cannot goes to ``missing``. Raises Disagree.
    """
    able, first, checks, differences = [], [], [], [0.0]
    for tool in tools:
        try:
            warm, check = (tool.turn(tier, mode, next(caches)) for mode in ("warm", "check"))
        except NotThere as error:
            missing[tool.name] = f"tier {tier}: {error}"
            continue
        able.append(tool)
        first.append(warm)
        checks.append(check)
    tools = able
    for tool, check, turn in zip(tools, checks, first, strict=True):
        if turn["format"] not in (first[0]["format"], None):  # None: compiled, nobody looked
            raise Disagree(
                f"Tier {tier}: {tool.name} computes in {turn['format']}, and {tools[0].name} in "
                f"{first[0]['format']}."
            )
        for step, (ours, theirs) in enumerate(zip(checks[0]["losses"], check["losses"], strict=True), 1):
            differences.append(abs(ours - theirs))
            if not differences[-1] <= TOLERANCE:
                raise Disagree(
                    f"Tier {tier}: {tool.name} has the loss {theirs:.8f} at step {step}, {tools[0].name} has "
                    f"{ours:.8f}."
                )
    return tools, max(differences)


def take_turns(
    tools: list[Tool], tier: int, batch: int, caches: Iterator[str], rounds: int, until: float = float("inf")
) -> dict:
    """{tool: {"rival": …, "startup": s, "turns": [what ``measure`` gives]}}.

    until : a time of ``time.monotonic``; a round that would end later is not begun, except for the first
    """
    found = {tool.name: {"rival": tool.rival, "startup": tool.startup, "turns": []} for tool in tools}
    longest = 0.0
    for number in range(rounds):
        began = time.monotonic()
        if number and began + longest > until:
            break
        for tool in tools:
            cache = next(caches)
            found[tool.name]["turns"].append(measure(tool.turn(tier, "time", cache), tier, batch))
            if tier == 3 and tool.rival == "cmlib":
                again = found.setdefault(WARM, {"rival": "cmlib", "startup": None, "turns": []})
                again["turns"].append(measure(tool.turn(tier, "time", cache), tier, batch))
        longest = max(longest, time.monotonic() - began)
    return found


def measure(turn: dict, tier: int, batch: int) -> dict:
    """Steady speed is from the first loss to the last; with files it begins at the call, so that decoding
    counts.
    """
    times, losses = turn["times"], turn["losses"]
    done = [i for i in range(WINDOW, len(losses)) if statistics.mean(losses[i - WINDOW : i]) < TARGET]
    return {
        "speed": (len(times) - 1) * batch / (times[-1] - (times[0] if tier < 3 else 0)),
        "cpu": len(losses) * batch / turn["cpu"],
        "trained": times[done[0]] if done else None,
        "seconds": turn["seconds"],
        "memory": turn["memory"],
        "gpu_memory": turn.get("gpu_memory"),
    }


def median(tool: dict, key: str = "speed") -> float:
    return statistics.median(turn[key] for turn in tool["turns"])


def ratio(found: dict, name: str, key: str = "speed") -> float:
    """Ours over theirs in each round, then the median; of the medians where they had other rounds."""
    ours, theirs = found[OURS]["turns"], found[name]["turns"]
    if len(ours) != len(theirs):
        return median(found[OURS], key) / median(found[name], key)
    return statistics.median(a[key] / b[key] for a, b in zip(ours, theirs, strict=True))


def goals(results: dict[int, dict]) -> list[tuple[str, float, float | None]]:
    """(what, wanted at least, measured or None)."""
    one, three, trainer = results.get(1, {}), results.get(3, {}), f"{NAMES['trainer']}, tuned"
    tuned = [name for name in one if name.endswith("tuned")]
    best = max(tuned, key=lambda name: median(one[name]), default="none")
    return [
        (f"tier 1, ours / the best tuned rival ({best})", 1.0, ratio(one, best) if tuned else None),
        (f"tier 3, ours / {trainer}", 1.5, ratio(three, trainer) if trainer in three else None),
        ("ours, tier 3 / tier 1", 0.7, median(three[OURS]) / median(one[OURS]) if one and three else None),
        ("ours compiled, pairs/s on an H100", 3000.0, median(one[COMPILED]) if COMPILED in one else None),
    ]
