"""A lesson's source in py:percent: cells begin with ``# %%``, and these kinds are the course's own.

    # %%                      code; ``# %% tags=["nbval-ignore-output"]`` gives any cell tags
    # %% [markdown]           prose
    # %% [setup]              the generated first code cell (finds the course), then what stands here
    # %% [map]                what stands here, then the map of the course, generated from curriculum.toml
    # %% [exercise] 02.1      the card from cmlib.check, then the task that stands here; 02.5 is the stretch
    # %% [stub]               what the learner gets; ``check(id, name)`` is appended
    # %% [solution]           what the solved notebook has in its place
    # %% [hints]              three hints between lines ``---``: idea, formula with shapes, code with one ____
    # %% [answer]             after a stretch exercise: the model answer to its written part, folded
    # %% [quiz]               ``? question`` lines; ``- wrong :: why``; ``+ right :: why``; the notebook has
    #                         it twice: folded text, and a folded cell that shows it to click on
    # %% [progress]           the generated last cell: the points so far, and how to hand in

Prose may say ``{{measured}}``, the seconds and the memory that the lesson took when it was built, and
``{{gpu}}``, what data/runs/gpu_lessons.json knows of it at full size.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

MARKER = re.compile(r"^# %%(?: \[(\w+)\])?(?: (.*))?$")
TAGS = re.compile(r"\btags=(\[.*\])\s*$")
CODE = ("code", "setup", "stub", "solution", "progress")
PROSE = ("markdown", "map", "exercise", "hints", "answer", "quiz")
# nbval-skip is none of them: it would hide a cell from its test
KNOWN_TAGS = ("hide-input", "hide-output", "nbval-ignore-output")


@dataclass(frozen=True)
class Cell:
    """kind : one of CODE or PROSE; argument : what follows the kind; line : of its marker in the source."""

    kind: str
    argument: str
    tags: tuple[str, ...]
    line: int
    text: str

    @property
    def is_code(self) -> bool:
        return self.kind in CODE


def parse(source: Path) -> list[Cell]:
    """The cells of a source; prose without its ``# ``. ValueError names file, line and what is wrong."""
    starts, lines = [], source.read_text("utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        match = MARKER.match(line)
        if match:
            starts.append((number, match))
    ends = [number - 1 for number, _ in starts[1:]] + [len(lines)]
    return [_cell(source, number, match, lines[number:end])
            for (number, match), end in zip(starts, ends, strict=True)]


def _cell(source, number, match, lines) -> Cell:
    where = f"{source.name}, line {number}"
    kind, argument = match[1] or "code", (match[2] or "").strip()
    if kind not in CODE + PROSE:
        raise ValueError(f"{where}: unknown cell kind [{kind}]; there are {', '.join(CODE[1:] + PROSE)}.")
    tags = ()
    found = TAGS.search(argument)
    if found:
        argument, tags = argument[: found.start()].strip(), _tags(where, found[1])
    if argument and kind != "exercise":
        raise ValueError(f"{where}: a [{kind}] cell takes nothing but tags=[\"…\"] on its line; found "
                         f"{argument!r}.")
    if kind in PROSE:
        lines = [re.sub(r"^# ?", "", line) for line in lines]
    return Cell(kind, argument, tags, number, "\n".join(lines).strip("\n"))


def _tags(where, text) -> tuple[str, ...]:
    try:
        tags = json.loads(text)
    except ValueError:
        tags = [text]
    for tag in tags:
        if tag not in KNOWN_TAGS:
            raise ValueError(f"{where}: the tags {text} are not a list of {', '.join(KNOWN_TAGS)}.")
    return tuple(tags)
