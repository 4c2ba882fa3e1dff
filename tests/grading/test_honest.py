"""What passes `check` passes the grader, or reaches a human: each style of `honest`, run as a learner runs
it, handed in as a notebook and as the file of `cmlib.submit`.
"""

import json
import os
import sys
from dataclasses import replace

import honest
import hostile
import pytest

from cmlib.grade import batch, grading, walls

SECRET = b"0123456789abcdef0123"
LIMITS = walls.Limits(memory=1 << 30, wall=1.5)
STYLES = {**{name: (cells, honest.FULL) for name, cells in honest.FULL_MARKS.items()}, **honest.HUMAN}


def run_as_a_learner(cells, name, folder) -> None:
    """In a child of its own: IPython runs the cells, and `submit` writes its file."""
    from IPython.core.interactiveshell import InteractiveShell

    import cmlib
    from cmlib.check import check

    os.chdir(folder / "desk")
    sys.path.insert(0, "")
    shell = InteractiveShell.instance()
    shell.push({"check": check, "display": print})
    for cell in cells:
        done = shell.run_cell(cell, store_history=True)
        done.raise_error()
    cmlib.submit(name, folder / "submitted")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """notebooks/ and submitted/, with all styles, of which each was seen to pass where it was written."""
    import torch  # noqa: F401 - before the forks

    from cmlib.check import exercises

    exercises("01")
    folder = tmp_path_factory.mktemp("honest")
    for name in ("desk", "submitted", "notebooks", "home"):
        (folder / name).mkdir()
    (folder / "home" / "sign.txt").write_text("-1.0")
    (folder / "home" / "helpers_at_home.py").write_text("SIGN = -1.0")
    for name, (cells, _) in STYLES.items():
        cells = [cell.replace("HOME", repr(str(folder / "home" / "sign.txt"))) for cell in cells]
        (folder / "notebooks" / f"{name}.ipynb").write_text(hostile.notebook(*cells), "utf-8")
        child = os.fork()
        if child == 0:
            said = os.open(folder / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1)
            os.dup2(said, 2)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
            os.environ["CMLIB_HOME"] = str(folder / "progress" / str(len(name)) / str(os.getpid()))
            os.environ["TORCHDYNAMO_DISABLE"] = "1"  # not every machine has a compiler
            try:
                run_as_a_learner(cells, name, folder)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}")
                os._exit(1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        said = (folder / "said.txt").read_text()
        assert status == 0 and "✓ 01.1" in said, (name, said)
    return folder


def grades(folder, kind, wall):
    order = batch.Order(folder / kind, folder / f"{kind}-out", ("01",), SECRET, limits=LIMITS)
    batch.grade_all(replace(order, workers=1), wall)
    return {
        record["learner"]: record["exercises"]["01.1"]
        for path in (folder / f"{kind}-out" / "grades").iterdir()
        for record in [json.loads(path.read_text("utf-8"))]
    }


@pytest.fixture(scope="module", params=["notebooks", "submitted"])
def graded(folder, request, wall):
    return request.param, grades(folder, request.param, wall)


@pytest.mark.parametrize("name", STYLES)
def test_an_honest_style_gets_full_marks_or_a_human_who_is_told_why(graded, name):
    kind, found = graded
    entry = found[name] if kind == "notebooks" else found[by_name(name)]
    why = STYLES[name][1]
    if why == honest.FULL:
        assert (entry["state"], entry["points"]) == ("passed", entry["of"]), entry["message"]
    else:
        assert entry["state"] == grading.HUMAN and why in entry["message"], entry


def by_name(name):
    from cmlib.grade.submit import _file_name

    return _file_name(name)


def test_there_are_enough_of_them():
    assert len(honest.FULL_MARKS) >= 42 and len({str(cells) for cells, _ in STYLES.values()}) == len(STYLES)
