"""Everything that people read about a class, rebuilt from ``OUT/grades``: CSV files, a page for each learner
and one for the class.

The pages are made of messages and names of properties; inputs, references and seeds are not in the records.
Equal records give equal bytes.
"""

from __future__ import annotations

import fcntl
import json
import re
from array import array
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from cmlib.check.records import write_atomically
from cmlib.grade import overview, similarity, tables
from cmlib.grade.late import Policy
from cmlib.grade.tables import Row

HUMAN = "needs a human"
DATE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d(?: \w+)?)")  # as `late` writes it, with its zone
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def write(
    out: Path,
    exercises,
    late: Policy | None = None,
    roster: Path | str | None = None,
    *,
    assignment: str | None = None,
    notebooks: Path = NOTEBOOKS,
) -> str:
    """Write grades.csv, canvas.csv, moodle.csv, similarity.csv, class.html and reports/*.html into ``out``;
    returns what to say about them.

    exercises : those that were graded, `cmlib.check.engine.Exercise`
    late : a policy of `cmlib.grade.late.load`; roster : see `cmlib.grade.tables.roster`; assignment : the
        column of canvas.csv
    notebooks : the lessons as handed out, whose code counts for nothing in the similarity
    Shards may call it side by side: one writes after the other, and the last one has seen every record.
    """
    people, pages = tables.roster(roster), _pages()
    lessons = sorted({e.id.split(".")[0] for e in exercises})
    title = _span(lessons)
    with _alone(out):
        rows, marks, problems = [], [], []
        for path in sorted((out / "grades").glob("*.json")):
            record = _read(path)
            if record is None:
                problems.append(f"{path.name} is not a record of cmlib grade, so it was left out.")
                continue
            row = _row(record, path.stem, late, people)
            rows.append(row)
            marks.append(
                {
                    "learner": row.learner,
                    "fingerprints": {
                        id: array("Q", [n for n in numbers if type(n) is int and 0 <= n < 1 << 48])
                        for id, numbers in record.get("fingerprints", {}).items()
                    },
                }
            )
            write_atomically(out / "reports" / f"{path.stem}.html", _learner(pages, row, exercises, title))
        of = sum(e.points for e in exercises)
        given = {
            e.id: template
            for lesson in lessons
            if (template := _handed_out(notebooks, lesson))
            for e in exercises
            if e.id.startswith(lesson)
        }
        found = similarity.pairs(marks, given)
        del marks
        absent = sorted(set(people) - {row.learner for row in rows})
        unknown = sorted(set(late.extensions) - {row.learner for row in rows}) if late else []
        problems += [f"The extension of {name!r} belongs to nobody who has handed in." for name in unknown]
        write_atomically(out / "grades.csv", tables.grades(rows, [e.id for e in exercises], absent))
        write_atomically(out / "canvas.csv", tables.canvas(rows, of, assignment or title))
        write_atomically(out / "moodle.csv", tables.moodle(rows, of))
        write_atomically(
            out / "similarity.csv",
            tables.table(
                ("learner", "other", "exercise", "share"), [(*p[:3], round(p[3], 3)) for p in found]
            ),
        )
        write_atomically(
            out / "class.html",
            _class(pages, rows, exercises, title, found, _seconds(out), absent, problems, bool(given), late),
        )
    waiting = sum(row.final is None for row in rows)
    said = [f"{len(rows)} {'report' if len(rows) == 1 else 'reports'} in {out}: open class.html; grades.csv, "
            "canvas.csv and moodle.csv hold the points."]
    said += [f"{waiting} {'learner waits' if waiting == 1 else 'learners wait'} for a human; class.html says "
             "why."] if waiting else []
    return "\n".join(said + problems)


def _read(path: Path) -> dict | None:
    try:
        record = json.loads(path.read_text("utf-8"))
        return (
            record if record["format"] == "cmlib-grade-1" and isinstance(record["exercises"], dict) else None
        )
    except (ValueError, KeyError, TypeError):
        return None


def _row(record, page, late, people) -> Row:
    factor, sentence = 1.0, ""
    notes = tuple(record.get("notes", ()))
    if late:
        time, source = late.submitted(record["learner"], record.get("submitted"))
        if time is None:
            factor, sentence = None, f"Whether this is late is open: {source}."
        else:
            factor, sentence = late.explain(record["learner"], time)
            sentence += f" The time of submission is {source}."
    entries = dict(sorted(record["exercises"].items()))
    return Row(
        record["learner"],
        page,
        record["state"],
        record["points"],
        record["of"],
        entries,
        sentence,
        factor,
        notes,
        people.get(record["learner"], {}),
    )


def _learner(pages, row, exercises, title) -> str:
    known = {e.id: e for e in exercises}
    review = [
        known[id] for id, e in row.exercises.items() if id in known and e["state"] not in ("passed", HUMAN)
    ]
    return pages.get_template("learner.html").render(
        row=row, title=title, known=known, review=review, minutes=sum(e.minutes for e in review)
    )


def _class(pages, rows, exercises, title, found, seconds, absent, problems, subtracted, late) -> str:
    by_name = {row.learner: row for row in rows}
    mistakes = [
        m
        for k, m in enumerate(overview.mistakes(rows, [e.id for e in exercises], 12))
        if m["count"] > 1 or k < 5
    ]
    return pages.get_template("class.html").render(
        rows=sorted(rows, key=lambda row: (row.name.casefold(), row.learner)),
        title=title,
        histogram=overview.histogram(rows),
        exercises=overview.exercises(rows, exercises, seconds),
        mistakes=mistakes,
        likenesses=overview.likenesses(found, by_name),
        pairs=len({pair[:2] for pair in found}),
        waiting=[row for row in rows if row.final is None],
        unread=[row for row in rows if row.notes and row.final is not None],
        reasons=tables.reasons,
        absent=absent,
        problems=problems,
        subtracted=subtracted,
        threshold=similarity.THRESHOLD,
        late=late,
        seconds=sum(map(sum, seconds.values())),
    )


def _seconds(out: Path) -> dict[str, list[float]]:
    seconds = defaultdict(list)
    for path in sorted((out / "times").glob("*.json")):
        try:
            for id, value in json.loads(path.read_text("utf-8"))["exercises"].items():
                seconds[id].append(float(value))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # times are told, not counted
    return seconds


def _handed_out(notebooks: Path, lesson: str) -> set[int]:
    cells = []
    for path in notebooks.glob(f"{lesson}_*.ipynb"):
        cells += [
            "".join(c["source"])
            for c in json.loads(path.read_text("utf-8"))["cells"]
            if c["cell_type"] == "code"
        ]
    return similarity.template(cells)


def _pages():
    """Learners' text reaches the pages through autoescape and `tables.clean` alone."""
    import jinja2

    def shown(value):
        return (
            value if hasattr(value, "__html__") else tables.clean(value) if isinstance(value, str) else value
        )

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    pages.filters |= {
        "dates": DATE.split,
        "points": lambda value: f"{value:.10g}",
        "percent": lambda share: f"{100 * share:.0f} %",
        "address": lambda page: quote(page),
        "slug": lambda state: state.replace(" ", "-"),
        "label": overview.STATES.get,
    }
    return pages


def _span(lessons: list[str]) -> str:
    """ "Lessons 01-03, 05"."""
    parts: list[list[str]] = []
    for lesson in lessons:
        if parts and int(lesson) == int(parts[-1][-1]) + 1:
            parts[-1].append(lesson)
        else:
            parts.append([lesson])
    text = ", ".join(p[0] if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
    return f"{'Lesson' if len(lessons) == 1 else 'Lessons'} {text}"


@contextmanager
def _alone(out: Path):
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".reports.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
