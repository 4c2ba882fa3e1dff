"""A learner's own modules beside the notebook, as cells that write them, so that the box has them as well."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from cmlib.grade.files import File, read_bytes
from cmlib.grade.identity import own_name
from cmlib.grade.reading import NotRead

LARGEST = 200_000  # bytes of JSON, of all modules of a learner together


def is_helper(file: File) -> bool:
    return file.shown.lower().endswith(".py")


def written(files: Iterable[File]) -> tuple[dict[str, str], list[str]]:
    """({name of a module: the cell that writes it}, notes on what is left out); of two with one name the
    newest counts.
    """
    cells, notes = {}, []
    for file in sorted(filter(is_helper, files), key=lambda f: f.modified):
        name = re.sub(r"-\d+(?=\.py$)", "", own_name(file.shown))  # Canvas calls a second upload helpers-1.py
        if not name.removesuffix(".py").isidentifier():
            notes.append(f"{file.shown} was not read: no line can import a file of that name.")
            continue
        try:
            text = read_bytes(file.path).decode("utf-8-sig")
        except UnicodeDecodeError:
            notes.append(f"{file.shown} was not read: it is not UTF-8.")
        except (NotRead, OSError) as problem:
            notes.append(f"{file.shown} was not read: {getattr(problem, 'strerror', None) or problem}.")
        else:
            cells[name] = f"__import__('pathlib').Path({name!r}).write_text({text!r}, 'utf-8')"
    while sum(len(json.dumps(cell)) for cell in cells.values()) > LARGEST:
        name = next(iter(cells))
        notes.append(f"{name} was not read: modules may have {LARGEST // 1000} KB together.")
        del cells[name]
    return cells, notes
