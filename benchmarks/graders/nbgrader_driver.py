"""Runs in the rivals' own environment: grades the notebooks named on each line of standard input with
nbgrader.
"""

import json
import logging
import os
import sys
import time
from pathlib import Path

import nbformat
from nbgrader.apps import NbGraderAPI
from traitlets.config import Config

TEST = "from cmlib.check import run\nassert run({id!r}, {name}, 7).state == 'passed'"


def notebook(exercises: list[dict], cells: list[str]) -> nbformat.NotebookNode:
    """cells : the imports, then one answer for each exercise."""
    book = [nbformat.v4.new_code_cell(cells[0])]
    for e, text in zip(exercises, cells[1:], strict=True):
        id = e["id"].replace(".", "-")
        for source, more in (
            (text, {"grade": False, "solution": True, "locked": False, "grade_id": f"answer-{id}"}),
            (
                TEST.format(**e),
                {
                    "grade": True,
                    "solution": False,
                    "locked": True,
                    "grade_id": f"test-{id}",
                    "points": e["points"],
                },
            ),
        ):
            book.append(
                nbformat.v4.new_code_cell(
                    source, metadata={"nbgrader": {"schema_version": 3, "task": False, **more}}
                )
            )
    return nbformat.v4.new_notebook(
        cells=book,
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )


def write(path: Path, book) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)


def main() -> None:
    order = json.loads(sys.stdin.readline())
    work, exercises = Path(order["work"]), order["exercises"]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nbgrader says much
    os.chdir(work)
    config = Config()
    config.CourseDirectory.root = str(work)
    config.ExecutePreprocessor.timeout = 120
    logging.disable(logging.CRITICAL)
    api = NbGraderAPI(config=config)
    write(work / "source" / "lesson" / "lesson.ipynb", notebook(exercises, order["solution"]))
    made = api.generate_assignment("lesson", create=True)
    if not made["success"]:
        raise SystemExit(str(made))
    print("ready", file=answers, flush=True)
    count = 0
    for line in sys.stdin:
        students = []
        for cells in json.loads(line):
            students.append(f"s{count}")
            count += 1
            write(work / "submitted" / students[-1] / "lesson" / "lesson.ipynb", notebook(exercises, cells))
        start = time.monotonic()
        for student in students:
            api.autograde("lesson", student, create=True)
        seconds = time.monotonic() - start
        with api.gradebook as book:
            points = [book.find_submission("lesson", student).score for student in students]
        print(json.dumps({"seconds": seconds, "points": points}), file=answers, flush=True)


if __name__ == "__main__":
    main()
