"""``cmlib.submit()``: what a learner hands in, taken from the cells that ran in this kernel (no path of a
notebook is needed).
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import unicodedata
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cmlib.check import exercises, lessons, retired
from cmlib.check.records import load, path, write_atomically
from cmlib.check.retired import RETIRED
from cmlib.grade.reading import CHECK, LARGEST_CODE, NAMED, NAMES
from cmlib.grade.slicing import Unreadable, answered


def submit(learner: str | None = None, folder: Path | str = ".") -> None:
    """Write ``submission-<lessons>-<learner>.json`` with every cell that ran, and say which exercises it
    answers.

    learner : a name for the file (graders go by what the learning platform says); without one, a random but
        lasting one
    folder : where to write, by default beside the notebook. Raises ``TypeError``, ``ValueError`` or
        ``FileNotFoundError``.
    """
    if learner is not None and not isinstance(learner, str):
        raise TypeError(f'The learner is given as text, submit("Ada Lovelace"); got {learner!r}.')
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r} to write the submission into.")
    cells = _history()
    if cells is None:
        print("cmlib.submit() takes the cells of a running notebook: call it in the last cell of a lesson, "
              "in JupyterLab or on Colab.")
        return
    tried = {match[1] for cell in cells for match in NAMED.finditer(cell)} or _passed_by_name(cells)
    numbers = [number for number in lessons() if any(id.startswith(number + ".") for id in tried)]
    wanted = [exercise for number in numbers for exercise in exercises(number)]
    answers, remarks = _answers(cells, wanted)
    old = sorted(tried & RETIRED.keys() - {exercise.id for exercise in wanted})
    remarks += "".join(f" {retired.sentence(id)}" for id in old)
    if not answers:
        print("Nothing to hand in: no answered exercise has run in this kernel. Run the cells with your "
              f"answers, then this one again.{remarks}")
        return
    kept, cut = _fitting(cells)
    name = _file_name(learner) or _lasting_name()
    target = folder / f"submission-{'_'.join(numbers)}-{name}.json"
    done = load()
    write_atomically(
        target,
        json.dumps(
            {
                "format": "cmlib-submission-2",
                "learner": learner or name,
                "lessons": numbers,
                "made": datetime.now(UTC).isoformat(timespec="seconds"),
                "answers": answers,
                "passed": [id for id in answers if done.get(id, {}).get("passed")],
                "cells": kept,
            },
            indent=1,
        ),
    )
    missing = _missing([e.id for e in wanted if e.id not in answers])
    print(f"{target.name}: {len(answers)} of {len(wanted)} exercises "
          f"({', '.join(answers)}){missing}.{remarks}{cut}")
    if "google.colab" in sys.modules:
        from google.colab import files

        files.download(str(target))


def _history() -> list[str] | None:
    """Cells as typed, in the order in which they ran; None outside IPython."""
    from IPython import get_ipython

    shell = get_ipython()
    ran = [] if shell is None else shell.history_manager.input_hist_raw
    return None if shell is None else [str(cell) for cell in ran if str(cell).strip()]


def _passed_by_name(cells) -> set[str]:
    """Of a kernel whose cells name no exercise (``check(f"01.{k}", answer)``): those that passed and whose
    answers it binds.
    """
    if not any("check" in cell for cell in cells):
        return set()
    bound = {match["d"] or match["v"] for cell in cells for match in NAMES.finditer(cell)}
    passed = {id for id, state in load().items() if state.get("passed")}
    tried = {id.split(".")[0] for id in passed} & set(lessons())
    return {e.id for number in tried for e in exercises(number) if e.id in passed and e.name in bound}


def _answers(cells, wanted) -> tuple[list[str], str]:
    """(ids, remarks on answers that are handed in although a cell of theirs is not Python)."""
    answers, remarks = [], ""
    for exercise in wanted:
        try:
            there = answered(cells, exercise.name, exercise.id) or _is_called_otherwise(cells, exercise.id)
        except Unreadable as problem:
            there = True  # the grader will then say the same
            remarks += f" In {exercise.id}: {problem}"
        answers += [exercise.id] if there else []
    return answers, remarks


def _is_called_otherwise(cells, id) -> bool:
    """Whether check got the answer in a way that cannot be read off the text, as in a loop."""
    named = any(match[1] == id for cell in cells for match in NAMED.finditer(cell))
    checked = any(match[2] == id for cell in cells for match in CHECK.finditer(cell))
    return named and not checked and load().get(id, {}).get("passed", False)


def _fitting(cells: list[str]) -> tuple[list[str], str]:
    """(all cells, or where a grader would not take so many, the last run of each; what is said of that)."""
    if _size(cells) <= LARGEST_CODE:
        return cells, ""
    last = list(reversed(dict.fromkeys(reversed(cells))))
    dropped = len(cells)
    while _size(last) > LARGEST_CODE:
        last.pop(0)
    most = LARGEST_CODE // 1000
    return last, (f" More has run than a submission may hold ({most} KB): of {dropped} cells it has the last "
                  f"{len(last)} that differ. Restart the kernel, run the lesson once from top to bottom, and "
                  "submit again.")


def _size(cells) -> int:
    return sum(len(json.dumps(cell)) for cell in cells)


def _missing(ids: list[str]) -> str:
    done = load()
    earlier = [id for id in ids if done.get(id, {}).get("passed")]
    text = f"; missing: {', '.join(ids)}" if ids else ""
    return text + (f" (you solved {', '.join(earlier)} in another session: run the cell again and submit "
                   "once more)" if earlier else "")


def _file_name(learner: str | None) -> str:
    name = re.sub(r"[^\w.@-]+", "-", unicodedata.normalize("NFC", learner or ""))
    return name.encode()[:120].decode("utf-8", "ignore").strip("-._")


def _lasting_name() -> str:
    """Eight random letters, kept beside the progress: a second submission replaces the first."""
    keep = path().with_name("submission-name.txt")
    with suppress(OSError, ValueError):
        known = keep.read_text("utf-8").strip()
        if re.fullmatch("[0-9a-f]{8}", known):
            return known
    name = secrets.token_hex(4)
    with suppress(OSError):  # then the next submission has another name, and the file says so
        write_atomically(keep, name)
    return name
