"""One lesson from its source, cell by cell, in a plain Python: no IPython, no notebook, no git, no network.

    python benchmarks/gpu/play.py 06 report.json [--smoke] [--t4]

After every cell the report is written anew, so that whoever stops this process knows how far it came.
"""

from __future__ import annotations

import ast
import importlib.abc
import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {path.name[:2]: path for path in sorted((ROOT / "notebooks" / "src").glob("[0-9][0-9]_*.py"))}
sys.path.insert(0, str(ROOT))  # the library of this folder, installed or not


class Absent(importlib.abc.MetaPathFinder):
    """Makes what only notebooks have absent, so that a lesson runs here as on a machine that never had it."""

    NAMES = ("IPython", "ipywidgets", "ipykernel", "jupyterlab", "nbclient", "nbformat", "nbval", "traitlets")

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def cells(source: Path) -> list[tuple[int, str]]:
    """(line in the source, code) of what a learner runs who has solved nothing."""
    from cmlib.authoring.source import parse
    from cmlib.check import find

    found, exercise = [], None
    for cell in parse(source):
        text = cell.text
        if cell.kind == "exercise":
            exercise = find(cell.argument)
        if cell.kind == "progress":
            text = f'cmlib.progress("{source.name[:2]}")'
        if cell.kind == "stub":
            text += f'\n\ncheck("{exercise.id}", {exercise.name})'
        if cell.is_code and cell.kind != "solution":
            found.append((cell.line, text))
    return found


def namespace() -> dict:
    """The names that a notebook's generated first cell leaves."""
    import cmlib
    from cmlib.check import check

    return {"__name__": "__main__", "ROOT": ROOT, "Path": Path, "check": check, "cmlib": cmlib, "os": os,
            "subprocess": subprocess, "sys": sys}


class Unjudged(ast.NodeTransformer):
    """``assert claim`` becomes ``claim``: still computed, but it may be false."""

    def visit_Assert(self, node):
        return ast.copy_location(ast.Expr(node.test), node)


def play(source: Path, space: dict, judged: bool = True) -> Iterator[tuple[int, Exception | None]]:
    """Run the cells in ``space``, one after the other; yields (line of its marker, its error) after each.

    judged : False where training was cut short, and what the lesson claims of its models cannot hold
    """
    for line, text in cells(source):
        # empty lines in front, so that a traceback names the lines of the source
        program = ast.parse("\n" * line + text, str(source))
        program = program if judged else Unjudged().visit(program)
        error = None
        try:
            exec(compile(program, str(source), "exec"), space)  # noqa: S102
        except Exception as raised:
            error = raised
        yield line, error


def has_full_part(source: Path) -> bool:
    return bool(re.search(r"cmlib\.setup\([^)]*full=", source.read_text("utf-8")))


def lacks_data(error: Exception) -> bool:
    """Whether a file is missing that would have to be fetched; the fault is then not the lesson's."""
    files = {Path(frame.filename).name for frame in traceback.extract_tb(error.__traceback__)}
    return isinstance(error, OSError) and "fetching.py" in files


def cut_training_short(epochs: int = 1, rows: int = 64, put=setattr) -> None:
    """From now on ``from cmlib import fit`` trains on few rows, and ``batches`` gives two of them: a lesson
    runs to its end, and none of its numbers mean anything, nor has any of its claims to hold.

    put : how the short forms get into their places; a test takes them away again
    """
    import cmlib.data
    from cmlib.course.setup import Scale
    from cmlib.data.batch import Features
    from cmlib.data.pairs import Pairs
    from cmlib.data.states import States

    fit, batches = cmlib.fit, cmlib.data.batches

    def few(data):
        if not isinstance(data, Pairs | Features | States):
            return data
        return data[:: max(1, len(data) // rows)]  # from everywhere, so of every class

    def short(model, train, valid=None, **settings):
        settings.pop("sampler", None)  # which may ask for more identities than few rows have
        # with a checkpoint after every step, for a lesson that goes on from one
        return fit(model, few(train), few(valid), **settings | {"epochs": epochs, "every": 1})

    put(Scale, "claim", lambda self, words, holds: print(f"{words}: not judged"))
    put(cmlib, "fit", short)
    put(cmlib.data, "batches", lambda *arguments, **settings: batches(*arguments, **settings)[:2])


def as_a_t4() -> None:
    """From now on the GPU says that it has no bfloat16, so that "auto" chooses float16 with a loss scale."""
    import torch

    torch.cuda.get_device_capability = lambda device=None: (7, 5)


class Report:
    """What is known of a run, on disk after every cell."""

    def __init__(self, path: Path, cells: int):
        self.path, self.started = path, time.perf_counter()
        self.facts = {"state": "running", "cell": 0, "cells": cells, "said": ""}

    def write(self, **facts) -> None:
        import torch

        self.facts |= facts
        self.facts["seconds"] = round(time.perf_counter() - self.started, 1)
        if torch.cuda.is_initialized():
            self.facts["peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
        draft = self.path.with_suffix(".part")
        draft.write_text(json.dumps(self.facts), "utf-8")
        draft.replace(self.path)


def main(lesson: str, path: Path, smoke: bool, t4: bool) -> None:
    import stand_ins

    sys.meta_path.insert(0, Absent())
    source = SOURCES[lesson]
    report, space = Report(path, len(cells(source))), namespace()
    if smoke:
        cut_training_short()
    if t4:
        as_a_t4()
    stand_ins.place(small=smoke)
    os.chdir(ROOT / "notebooks")
    for line, error in play(source, space, judged=not smoke):
        cfg = space.get("cfg")
        known = {"cell": report.facts["cell"] + 1, "line": line}
        now = round(time.perf_counter() - report.started, 1)
        known["until"] = report.facts.get("until", {}) | {line: now}  # which cells take the time
        known |= {"scale": cfg.name, "device": cfg.device} if cfg else {}
        if error is None:
            report.write(**known)
        else:
            traceback.print_exception(error)
            said = f"{source.name}, cell at line {line}: {type(error).__name__}: {error}"
            report.write(**known, state="no data" if lacks_data(error) else "failed", said=said)
            return
    report.write(state="done")


if __name__ == "__main__":
    number, file, *rest = sys.argv[1:]
    main(number, Path(file), "--smoke" in rest, "--t4" in rest)
