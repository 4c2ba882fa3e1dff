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

from cmlib.check import exercises, lessons
from cmlib.check.records import load, path, write_atomically
from cmlib.grade.reading import CHECK
from cmlib.grade.slicing import Unreadable, answered, needed


def submit(learner: str | None = None, folder: Path | str = ".") -> None:
    """Write ``submission-<lessons>-<learner>.json`` with the cells that the answered exercises need, and say
    what it holds.

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
    tried = {match[2] for cell in cells for match in CHECK.finditer(cell)}
    numbers = [number for number in lessons() if any(id.startswith(number + ".") for id in tried)]
    wanted = [exercise for number in numbers for exercise in exercises(number)]
    answers, remarks = _answers(cells, wanted)
    if not answers:
        print("Nothing to hand in: no answered exercise has run in this kernel. Run the cells with your "
              "answers, then this one again.")
        return
    name = _file_name(learner) or _lasting_name()
    target = folder / f"submission-{'_'.join(numbers)}-{name}.json"
    write_atomically(
        target,
        json.dumps(
            {
                "format": "cmlib-submission-1",
                "learner": learner or name,
                "lessons": numbers,
                "made": datetime.now(UTC).isoformat(timespec="seconds"),
                "answers": {id: {"cells": c} for id, c in answers.items()},
            },
            indent=1,
        ),
    )
    missing = _missing([e.id for e in wanted if e.id not in answers])
    print(f"{target.name}: {len(answers)} of {len(wanted)} exercises "
          f"({', '.join(answers)}){missing}.{remarks}")
    if "google.colab" in sys.modules:
        from google.colab import files

        files.download(str(target))


def _history() -> list[str] | None:
    """Cells as typed, in the order in which they ran; None outside IPython."""
    from IPython import get_ipython

    shell = get_ipython()
    return None if shell is None else [str(cell) for cell in shell.history_manager.input_hist_raw]


def _answers(cells, wanted) -> tuple[dict[str, list[str]], str]:
    """({id: cells}, remarks on answers that are handed in although a cell of theirs is not Python)."""
    answers, remarks = {}, ""
    for exercise in wanted:
        try:
            if answered(cells, exercise.name, exercise.id):
                answers[exercise.id] = [cells[i] for i in needed(cells, exercise.name, exercise.id)]
        except Unreadable as problem:
            answers[exercise.id] = cells  # the grader will then say the same
            remarks += f" In {exercise.id}: {problem}"
    return answers, remarks


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
        if re.fullmatch("[0-9a-f]{8}", known := keep.read_text("utf-8").strip()):
            return known
    name = secrets.token_hex(4)
    with suppress(OSError):  # then the next submission has another name, and the file says so
        write_atomically(keep, name)
    return name
