"""The learner's copies of the lessons, in ``work/``: made and brought up to date, and nothing of theirs is
lost.

A copy keeps in its metadata a hash of each cell as it was handed out. So what the learner has changed is
known from the copy alone: without git, after any number of updates, also under another name. (The number of
the version would not do: lessons change between two versions, too.) Code and prose count, since people
answer in both; outputs, execution counts, metadata and empty cells do not.

A copy that the learner has deleted is brought again: that is how a lesson is begun anew.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
WORK = ROOT / "work"


def copy(notebooks: Path = NOTEBOOKS, work: Path = WORK) -> list[str]:
    """Bring the lessons that are not in ``work`` yet; a file that is there is never touched.

    Returns sentences for the learner, [] when there is nothing to say. Raises as ``lessons`` does.
    """
    brought, waiting = [], []
    for path in lessons(notebooks):
        lesson = json.loads(path.read_text("utf-8"))
        state, _ = _state(work / path.name, handed_out(lesson))
        if state == "absent":
            _write(work / path.name, lesson)
            brought.append(path.name)
        elif state != "current":
            waiting.append(path.name)
    said = [f"Copied into {work.name}/: {', '.join(brought)}."] if brought else []
    if waiting:
        said.append(f"Of {', '.join(waiting)} there is another version: make update brings it, and keeps "
                    "what you have written.")
    return said


def update(notebooks: Path = NOTEBOOKS, work: Path = WORK) -> list[str]:
    """Bring new lessons, and new versions of those in which the learner has changed no cell; where they have,
    their file stays and the new version is written beside it, as ``05_seeing.new.ipynb``.

    Returns a sentence for each lesson that is not what it was. Raises as ``lessons`` does.
    """
    said = []
    for path in lessons(notebooks):
        lesson, target = json.loads(path.read_text("utf-8")), work / path.name
        state, why = _state(target, handed_out(lesson))
        if state in ("absent", "old"):
            _write(target, lesson)
            said.append(f"{path.name}: brought" if state == "absent" else
                        f"{path.name}: replaced by the new version; you had changed no cell of it")
        elif state == "changed":
            said.append(f"{path.name}: stays as it is, because {why}; the new version lies beside it: "
                        f"{_beside(target, lesson).name}")
    return said


def lessons(notebooks: Path) -> list[Path]:
    """The built lessons in order; FileNotFoundError, with a sentence, where there are none."""
    found = sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise FileNotFoundError(f"There are no lessons in {notebooks}: clone the course whole, or build them "
                                "with make notebooks.")
    return found


def handed_out(notebook: dict) -> list[str]:
    """A line "id hash" for each cell that holds something (no dict: JupyterLab sorts its keys)."""
    return [f"{cell.get('id')} {_hash(cell)}" for cell in notebook["cells"] if _text(cell)]


def changes(notebook: dict, handed_out: list[str]) -> list[str]:
    """What in a notebook is not as handed out, in words such as "cell 9 (def price(logits, labels):)"."""
    before, kept, found = dict(line.split() for line in handed_out), [], []
    for number, cell in enumerate(notebook["cells"], 1):
        id = cell.get("id")
        if id in before:
            kept.append(id)
            if before[id] != _hash(cell):
                first = _text(cell).partition("\n")[0][:40]
                found.append(f"cell {number} ({first or 'now empty'})")
        elif _text(cell):
            found.append(f"cell {number} (yours)")
    missing = len(before.keys() - set(kept))
    if missing:
        found.append("one cell (deleted)" if missing == 1 else f"{missing} cells (deleted)")
    elif kept != list(before):
        found.append("the order of the cells")
    return found


def _state(path: Path, new: list[str]) -> tuple[str, str]:
    """("absent", "current", "old" or "changed", why it is "changed") of a copy; ``new`` is the lesson as it
    would be handed out today.
    """
    if not os.path.lexists(path):
        return "absent", ""
    try:
        notebook = json.loads(path.read_text("utf-8"))
        record = notebook["metadata"].get("cmlib", {}).get("handed_out")
        if record == new:
            return "current", ""
        if not changes(notebook, new):  # of an earlier record or none, with the cells of today
            return "old", ""
        if not record:
            return "changed", "it has no record of the version that it was copied from"
        own = changes(notebook, record)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return "changed", "it cannot be read as a notebook"
    return ("changed", f"you have changed {', '.join(own)}") if own else ("old", "")


def _beside(target: Path, lesson: dict) -> Path:
    """Where the new version of a lesson lies beside the learner's file; theirs are not overwritten there,
    either.
    """
    new = handed_out(lesson)
    for number in itertools.count(1):
        path = target.with_name(f"{target.stem}.new{f'-{number}' if number > 1 else ''}.ipynb")
        state, _ = _state(path, new)
        if state in ("absent", "old"):
            _write(path, lesson)
        if state != "changed":
            return path


def _write(path: Path, lesson: dict) -> None:
    """Write a copy with its record, whole or not at all."""
    metadata = lesson["metadata"]
    record = {"cmlib": metadata.get("cmlib", {}) | {"handed_out": handed_out(lesson)}}
    text = json.dumps(lesson | {"metadata": metadata | record}, indent=1, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    os.replace(part, path)


def _text(cell: dict) -> str:
    return "".join(cell["source"]).strip()


def _hash(cell: dict) -> str:
    return hashlib.sha256(_text(cell).encode()).hexdigest()[:16]
