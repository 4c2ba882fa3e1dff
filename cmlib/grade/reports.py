"""Everything that people read about a class, rebuilt from ``OUT/grades``: CSV files, a page for each learner
and one for the class.

The pages are made of messages and names of properties; inputs, references and seeds are not in the records.
Equal records give equal bytes.
"""

from __future__ import annotations

import fcntl
import json
from array import array
from collections import defaultdict
from collections.abc import Collection
from contextlib import contextmanager
from pathlib import Path

from cmlib.check.records import write_atomically
from cmlib.grade import handout, identity, similarity, tables
from cmlib.grade.handout import NOTEBOOKS
from cmlib.grade.late import Policy
from cmlib.grade.pages import class_page, learner_page, span, templates
from cmlib.grade.tables import Row


def write(
    out: Path,
    exercises,
    late: Policy | None = None,
    roster: Path | str | None = None,
    *,
    assignment: str | None = None,
    notebooks: Path = NOTEBOOKS,
    folder: Collection[tuple[str, str, str]] | None = None,
) -> str:
    """Write grades.csv, canvas.csv, moodle.csv, similarity.csv, class.html and reports/*.html into ``out``;
    returns what to say about them.

    exercises : those that were graded, `cmlib.check.engine.Exercise`
    late : a policy of `cmlib.grade.late.load`; roster : see `cmlib.grade.tables.roster`; assignment : the
        column of canvas.csv
    notebooks : the lessons as handed out, whose code counts for nothing in the similarity
    folder : (learner, id, system) of everyone in the folder of submissions now; None: every record counts
    Shards may call it side by side: one writes after the other, and the last one has seen every record.
    """
    people, pages = tables.roster(roster), templates()
    lessons = sorted({e.id.split(".")[0] for e in exercises})
    title = span(lessons)
    with _alone(out):
        problems = identity.remarks(folder or (), bool(people))
        records = _records(out, folder, problems)
        names = {record["learner"]: "" for record in records.values()}
        names |= {learner: person.get("name", "") for learner, person in people.items()}
        doubts: dict[str, str] = {}
        if late:
            late, doubts, said = late.matched(names)
            problems += said
        rows, marks = [], []
        for stem, record in records.items():
            row = _row(record, stem, late, people, doubts, [e.id for e in exercises])
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
            write_atomically(out / "reports" / f"{stem}.html", learner_page(pages, row, exercises, title))
        of = sum(e.points for e in exercises)
        given = {
            e.id: template
            for lesson in lessons
            if (template := similarity.template(handout.cells(lesson, notebooks)))
            for e in exercises
            if e.id.startswith(lesson)
        }
        found, crowds = similarity.pairs(marks, given), similarity.crowds(marks, given)
        del marks
        absent = sorted(set(people) - {row.learner for row in rows})
        problems += _people(rows, people, absent)
        undated = [r.learner for r in rows if late and late.times and r.learner not in {*late.times, *doubts}]
        if undated:
            who = identity.listed(undated, repr)
            problems.append(f"The list of times has no line for {who}: the dates of their files count, and "
                            "whoever packs a file can set its date.")
        write_atomically(out / "grades.csv", tables.grades(rows, [e.id for e in exercises], absent))
        doubled = tables.doubled(rows)
        problems += doubled
        for name, text in (
            ("canvas.csv", tables.canvas(rows, of, assignment or title)),
            ("moodle.csv", tables.moodle(rows, of)),
        ):
            if doubled:
                (out / name).unlink(missing_ok=True)
            else:
                write_atomically(out / name, text)
        write_atomically(
            out / "similarity.csv",
            tables.table(
                ("learner", "other", "exercise", "share"), [(*p[:3], round(p[3], 3)) for p in found]
            ),
        )
        seconds = _seconds(out, records)
        page = class_page(
            pages, rows, exercises, title, found, crowds, seconds, absent, problems, bool(given), late
        )
        write_atomically(out / "class.html", page)
    waiting = sum(row.final is None for row in rows)
    reports = "report" if len(rows) == 1 else "reports"
    tables_of_points = "grades.csv holds" if doubled else "grades.csv, canvas.csv and moodle.csv hold"
    open_them = f"open class.html; {tables_of_points} the points."
    said = [f"{len(rows)} {reports} in {out}: {open_them}"]
    if waiting:
        wait = "learner waits" if waiting == 1 else "learners wait"
        said.append(f"{waiting} {wait} for a human; class.html says why.")
    return "\n".join(said + problems)


def _records(out: Path, folder, problems: list[str]) -> dict[str, dict]:
    """{stem of its file: record}, of those who are in the folder now; what is left out is told."""
    records, gone, present = {}, [], {learner for learner, *_ in folder or ()}
    for path in sorted((out / "grades").glob("*.json")):
        record = _read(path)
        if record is None:
            problems.append(f"{path.name} is not a record of cmlib grade, so it was left out.")
        elif folder is not None and record["learner"] not in present:
            gone.append(record["learner"])
            (out / "reports" / f"{path.stem}.html").unlink(missing_ok=True)
        else:
            records[path.stem] = record
    if gone:
        was, its = ("was", "its record stays") if len(gone) == 1 else ("were", "their records stay")
        problems.append(f"{identity.listed(gone, repr)} {was} graded before, with no submission now (removed "
                        f"or renamed?), so no table counts it; {its} in grades.")
    return records


def _read(path: Path) -> dict | None:
    try:
        record = json.loads(path.read_text("utf-8"))
        good = record["format"] == "cmlib-grade-1" and isinstance(record["exercises"], dict)
        return record if good and isinstance(record["learner"], str) else None
    except (ValueError, KeyError, TypeError):
        return None


def _people(rows, people, absent) -> list[str]:
    """Whom the tables for a platform leave out, and why."""
    said, strangers = [], [row.learner for row in rows if people and row.learner not in people]
    if strangers:
        near = [name for name in (identity.nearest(one, absent) for one in strangers) if name]
        hint = f"; did the roster mean one of them by {identity.listed(near, repr)}?" if near else "."
        said.append(f"Not in the roster, and so in neither canvas.csv nor moodle.csv: "
                    f"{identity.listed(strangers, repr)}{hint}")
    unknown = [r.learner for r in rows if not r.in_canvas and not r.in_moodle]
    if unknown and not people:
        who = "anybody" if len(unknown) == len(rows) else identity.listed(unknown, repr)
        said.append(f"canvas.csv and moodle.csv leave out whom a platform would not know, and no number of "
                    f"{who} is known: give --roster where you want to import grades.")
    return said


def _row(record, page, late, people, doubts, ids) -> Row:
    factor, sentence, learner = 1.0, "", record["learner"]
    notes = tuple(record.get("notes", ()))
    person = people.get(learner, {})
    if late:
        time, source = late.submitted(learner, record.get("submitted"))
        if learner in doubts:
            factor, sentence = None, f"Whether this is late is open: {doubts[learner]}."
        elif time is None:
            factor, sentence = None, f"Whether this is late is open: {source}."
        else:
            factor, sentence = late.explain(learner, time)
            sentence += f" The time of submission is {source}."
    asked = {id: record["exercises"][id] for id in ids if id in record["exercises"]}  # as in the lesson
    entries = asked | dict(sorted(record["exercises"].items()))
    return Row(
        learner,
        page,
        record["state"],
        record["points"],
        record["of"],
        entries,
        sentence,
        factor,
        notes,
        person,
        person.get("id", "") if people else str(record.get("id", "")),  # a roster's numbers alone
        tuple(record.get("files", ())),
    )


def _seconds(out: Path, records) -> dict[str, list[float]]:
    seconds = defaultdict(list)
    for path in sorted((out / "times").glob("*.json")):
        if path.stem not in records:
            continue
        try:
            for id, value in json.loads(path.read_text("utf-8"))["exercises"].items():
                seconds[id].append(float(value))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # times are told, not counted
    return seconds


@contextmanager
def _alone(out: Path):
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".reports.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
