"""Runs in the rivals' own environment: grades the notebooks named on each line of standard input with
otter-grader.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from otter.api import grade_submission

HEAD = "OK_FORMAT = False\nfrom otter.test_files import test_case\nname = {id!r}\npoints = {points}\n\n"
TEST = """@test_case()
def test_it({name}):
    from cmlib.check import run
    assert run({id!r}, {name}, 7).state == 'passed'
"""


def prepare(work: Path, exercises: list[dict]) -> Path:
    tests = work / "tests"
    tests.mkdir()
    for e in exercises:
        (tests / f"q{e['id'].replace('.', '_')}.py").write_text((HEAD + TEST).format(**e))
    archive = work / "autograder.zip"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "otter",
            "generate",
            "-t",
            tests,
            "-o",
            archive,
            "--no-config",
            "--no-requirements",
            "--no-environment",
        ],
        cwd=work,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return archive


def main() -> None:
    order = json.loads(sys.stdin.readline())
    work = Path(order["work"])
    archive = prepare(work, order["exercises"])
    print("ready", flush=True)
    for line in sys.stdin:
        points, start = [], time.monotonic()
        for number, cells in enumerate(json.loads(line)):
            book = nbformat.v4.new_notebook(
                cells=[nbformat.v4.new_code_cell(c) for c in cells],
                metadata={
                    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
                },
            )
            path = work / f"{number}.ipynb"
            nbformat.write(book, path)
            points.append(grade_submission(str(path), str(archive), quiet=True).total)
        print(json.dumps({"seconds": time.monotonic() - start, "points": points}), flush=True)


if __name__ == "__main__":
    main()
