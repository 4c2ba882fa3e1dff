"""A class of thirty for lessons 01 to 03: honest, partial, wrong, late, copied and hostile; `make grade-demo`
grades it.

    python tests/grading/classroom.py [FOLDER]      default build/grade-demo

Deterministic: names, answers and times are data or drawn from the learner's name.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from handwriting import answers, renamed, wording

from cmlib.check import exercises

ROOT = Path(__file__).resolve().parents[2]
LESSONS = ("01", "02", "03")
DUE = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)
POLICY = """due = 2026-03-01T23:00:00+00:00
grace_minutes = 15
per_day = 0.1
at_most = 0.5
not_after = 2026-03-15T23:00:00+00:00

[extensions]
"Fatima Zahra" = 2026-03-08T23:00:00+00:00
"""
HOSTILE = {
    "L": "while True:\n    pass",
    "X": "import os\nos._exit(0)",
    "F": "found = [open(path).read() for path in ('/etc/shadow', '../secret.txt', "
         "'results/grades.csv')]\nreturn found",
    "M": "return torch.ones(30_000_000_000, dtype=torch.uint8)",
    "K": "import os, signal\nos.kill(-1, signal.SIGKILL)",
    "P": "torch.allclose = lambda *a, **k: True\nclass Any(torch.Tensor):\n    __eq__ = lambda *a: "
         "True\nreturn torch.zeros(3).as_subclass(Any)",
}


@dataclass(frozen=True)
class Learner:
    """plan : a sign per exercise, a word per lesson: r right, w wrong, o not answered, e raises, s no Python,
    capital letters of HOSTILE; a word "-": that notebook is missing.   style : how the files look and are
    called.   late : hours after the due date."""

    name: str
    style: str
    plan: str
    late: float = -20.0
    copies: str = ""

    def rng(self, id: str = "") -> random.Random:
        return random.Random(f"{self.name}/{id}")


CLASS = [
    Learner("Ana Souza", "folder", "rrrr rrrr rrrr"),
    Learner("Björn Ünal", "folder", "rrrr rrrr rrrr", -2),
    Learner("Chen Wei", "folder", "rrrr rrrr rrrw", -50),
    Learner("Dana O'Neil", "folder", "rrrr rrrr rrrr", 5),
    Learner("Emeka Obi", "crlf", "rrrr rrrr rrrr"),
    Learner("Fatima Zahra", "folder", "rrrr rrrr rrrr", 90),
    Learner("Goran Ilić", "v3", "rrrr rrrr rrrr"),
    Learner("Hana Sato", "folder", "rrrr rrwr rrrr"),
    Learner("Ivan Petrov", "folder", "rrrw rrrr rwrr", 30),
    Learner("jonesmia", "canvas", "rrrr rrrr rrrr"),
    Learner("kimsoo", "canvas", "rrrr rrrw rrro"),
    Learner("lopezeva", "canvas", "rwrw rrwr rwrr", 20),
    Learner("Mia Schmidt", "moodle", "rrrr rrrr rrrr"),
    Learner("Noah Brown", "moodle", "rrrr rwrr wrrr"),
    Learner("Olu Adeyemi", "moodle", "rrro rroo ----", -1),
    Learner("Paula Novak", "json", "rrrr rrrr rrrr"),
    Learner("Quentin Roy", "json", "rrrr rrrr rrww"),
    Learner("Rania Haddad", "json", "rroo rroo rroo", 100),
    Learner("Sven Lund", "folder", "rrww rrwo rwwo"),
    Learner("Tariq Aziz", "folder", "rowo rooo ----"),
    Learner("Uma Rao", "messy", "rrrr rrrr rrrr"),
    Learner("Vera Kuhn", "folder", "wwww wwww wwww"),
    Learner("Will Park", "folder", "oooo oooo oooo"),
    Learner("Xenia Popa", "folder", "resr rrer rsre"),
    Learner("Yara Costa", "folder", "rrrr rrrr rrrw", -48, copies="Chen Wei"),
    Learner("Zoltan Nagy", "json", "rrrr rrwr rrrr", 400, copies="Hana Sato"),
    Learner("loop & exit", "folder", "LXrr rrrr rrLr"),
    Learner("=cmd|reader", "folder", "FFFF rKrr PPPP"),
    Learner("<b>memory &amp;", "folder", "MMrr rMrr rrrr"),
    Learner("torn", "torn", "rrrr rrrr rrrr"),
]


def answer(learner: Learner, id: str, name: str, sign: str) -> str | None:
    """The text of the answer, or None where the stub stays."""
    if sign == "o":
        return None
    parameters = "*given"
    if sign in HOSTILE:
        return f"def {name}({parameters}):\n" + "\n".join(
            "    " + line for line in HOSTILE[sign].splitlines()
        )
    if sign == "e":
        return f"def {name}({parameters}):\n    return given[0] @ my_matrix"
    if sign == "s":
        return f"def {name}({parameters}):\n    return (given[0] + 1"
    if learner.copies:
        original = next(one for one in CLASS if one.name == learner.copies)
        return renamed(answer(original, id, name, sign), learner.rng(id))
    rng = learner.rng(id)
    bank = getattr(answers(id[:2]), "right" if sign == "r" else "wrong")[id]
    return wording(answers(id[:2]).code(rng.choice(bank), name), rng)


def notebook(learner: Learner, lesson: str) -> dict | None:
    """The lesson's notebook as handed out, with the stubs replaced; None when it is not handed in."""
    plan = learner.plan.split()[LESSONS.index(lesson)]
    if plan.startswith("-"):
        return None
    (path,) = (ROOT / "notebooks").glob(f"{lesson}_*.ipynb")
    book = json.loads(path.read_text("utf-8"))
    helpers = {"cell_type": "code", "execution_count": None, "id": "imports", "metadata": {}, "outputs": [],
               "source": answers(lesson).imports}
    cells = [book["cells"][0], book["cells"][1], helpers]
    for cell in book["cells"][2:]:
        text = "".join(cell["source"])
        for e, sign in zip(exercises(lesson), plan, strict=False):  # nobody tries a stretch one
            if cell["cell_type"] == "code" and f'check("{e.id}"' in text:
                code = answer(learner, e.id, e.name, sign)
                cell = cell | {
                    "source": f'{code}\n\ncheck("{e.id}", {e.name})' if code else text,
                    "execution_count": 7,
                }
                if learner.style == "messy":  # the cell twice, prints, magics, and a helper defined elsewhere
                    cells.append({**cell, "source": f"%matplotlib inline\n!ls\n{text}"})
                    cell["source"] = f"print('try')\n%time print(1)\n{cell['source']}"
        cells.append(cell)
    return book | {"cells": cells}


def old_format(book: dict) -> dict:
    """nbformat 3: worksheets, and ``input`` where ``source`` is today."""
    cells = [
        {"cell_type": "code", "input": c["source"], "language": "python", "outputs": [], "collapsed": False}
        if c["cell_type"] == "code"
        else {"cell_type": "markdown", "source": c["source"]}
        for c in book["cells"]
    ]
    return {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells}]}


def files(learner: Learner, lessons: tuple[str, ...] = LESSONS) -> dict[str, str]:
    """{path below the folder of submissions: text}"""
    books = {lesson: book for lesson in lessons if (book := notebook(learner, lesson))}
    number = learner.rng().randrange(10_000, 99_999)
    if learner.style == "json":
        made = (DUE + timedelta(hours=learner.late)).isoformat()
        cells = {e.id: ["".join(c["source"]) for c in book["cells"] if c["cell_type"] == "code"
                        and (f'check("{e.id}"' in "".join(c["source"]) or c.get("id") == "imports")]
                 for lesson, book in books.items() for e in exercises(lesson)}
        value = {
            "format": "cmlib-submission-1",
            "learner": learner.name,
            "lessons": list(books),
            "made": made,
            "answers": {id: {"cells": c} for id, c in cells.items()},
        }
        return {f"submission-{'_'.join(books)}-{learner.name}.json": json.dumps(value, indent=1)}
    out = {}
    for lesson, book in books.items():
        text = json.dumps(old_format(book) if learner.style == "v3" else book, indent=1)
        if learner.style == "torn" and lesson != "01":
            text = text[:5000] if lesson == "02" else ""
        if learner.style == "crlf":
            text = "\ufeff" + text.replace("\\n", "\\r\\n").replace("\n", "\r\n")
        late = "LATE_" if learner.late > 0 else ""
        place = {"canvas": f"{learner.name}_{late}{number}_{number * 7}_{lesson}_lesson.ipynb",
                 "moodle": f"{learner.name}_{number}_assignsubmission_file_/{lesson}_lesson.ipynb"}
        out[place.get(learner.style, f"{learner.name}/{lesson}_lesson.ipynb")] = text
    return out


def known_as(learner: Learner) -> str:
    """What the grader calls the learner, by the rules of `cmlib.grade.submissions`."""
    number = learner.rng().randrange(10_000, 99_999)
    return f"{learner.name}_{number}" if learner.style in ("canvas", "moodle") else learner.name


def write(folder: Path, members: list[Learner] = CLASS, lessons: tuple[str, ...] = LESSONS) -> None:
    """``submissions/``, ``late.toml``, ``times.csv`` and ``roster.csv`` in ``folder``."""
    shutil.rmtree(folder / "submissions", ignore_errors=True)
    times, roster = ["learner,submitted"], ["learner,id,name,email"]
    for number, learner in enumerate(members, 1):
        moment = DUE + timedelta(hours=learner.late)
        for place, text in files(learner, lessons).items():
            path = folder / "submissions" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="")
            os.utime(path, (moment.timestamp(),) * 2)
        times.append(f'"{known_as(learner)}",{moment.isoformat()}')
        roster.append(
            f'"{known_as(learner)}",{1000 + number},"{learner.name}",learner{number}@school.example'
        )
    (folder / "late.toml").write_text(POLICY, "utf-8")
    (folder / "times.csv").write_text("\n".join(times) + "\n", "utf-8")
    (folder / "roster.csv").write_text("\n".join(roster) + "\n", "utf-8")
    (folder / "secret.txt").write_text("the demonstration's secret, known to all\n", "utf-8")


def main(folder: Path) -> int:
    write(folder)
    shutil.rmtree(folder / "results", ignore_errors=True)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "cmlib.cli",
            "grade",
            "submissions",
            "--lessons",
            "01-03",
            "--seed-file",
            "secret.txt",
            "--late",
            "late.toml",
            "--times",
            "times.csv",
            "--roster",
            "roster.csv",
            "--out",
            "results",
        ],
        cwd=folder,
        check=False,
    )
    if done.returncode == 0:
        print(f"Open {folder / 'results' / 'class.html'} in a browser.")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "build" / "grade-demo"))
