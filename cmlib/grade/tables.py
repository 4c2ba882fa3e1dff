"""One row for a learner, and the CSV files that are made of the rows: for people, for Canvas and for Moodle.

No cell can become a formula or break its line: text that a spreadsheet would run is prefixed with ', control
characters are spaces.
"""

from __future__ import annotations

import csv
import html
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PERSON = ("learner", "name", "id", "sis_user_id", "login", "section", "email")  # the columns of a roster
UNIQUE = {"id", "sis_user_id", "login", "email"}  # each of one person alone
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
READ_ONLY = (
    "Current Score",
    "Current Points",
    "Current Grade",
    "Final Score",
    "Final Points",
    "Final Grade",
    "Override Score",
    "Override Grade",
    "Override Status",
)  # Canvas drops columns whose title has one of these (lib/gradebook_importer.rb)


@dataclass(frozen=True)
class Row:
    """page : the stem of the record's file; factor and final : None where a human has to decide first.

    id : the number by which the platform knows the learner, of the roster where there is one
    """

    learner: str
    page: str
    state: str
    points: float
    of: float
    exercises: Mapping[str, Mapping]
    late: str = ""
    factor: float | None = 1.0
    notes: tuple[str, ...] = ()
    person: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    files: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.person.get("name") or self.learner

    @property
    def plain(self) -> str:
        """The name without the number."""
        without = self.learner.removesuffix(f"_{self.id}") if self.id else ""
        return self.person.get("name") or without or self.learner

    @property
    def final(self) -> float | None:
        return (
            None
            if self.state == "needs a human" or self.factor is None
            else round(self.points * self.factor, 2)
        )

    @property
    def in_canvas(self) -> bool:
        """Whether Canvas can know whom the row means."""
        return bool(self.id or self.person.get("sis_user_id") or self.person.get("login"))

    @property
    def in_moodle(self) -> bool:
        return bool(self.id or self.person.get("email"))


def roster(path: Path | str | None) -> dict[str, dict[str, str]]:
    """{learner: {"name", "id", …}} of a CSV file whose column ``learner`` is the name in the grades; the
    other columns may be missing.
    """
    if path is None:
        return {}
    path, people = Path(path), {}
    try:
        reader = csv.DictReader(path.read_text("utf-8-sig").splitlines(), restkey="")
        rows, columns = list(reader), reader.fieldnames or []
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no roster {path}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name} is not a CSV file: {error}.") from None
    for column in columns:
        if column not in PERSON:
            raise ValueError(f"{path.name} has a column {column!r}; a roster has {', '.join(PERSON)}.")
    if "learner" not in columns:
        raise ValueError(f"{path.name} has no column learner, which holds the names as they stand in "
                         "grades.csv.")
    seen: dict[tuple[str, str], str] = {}
    for number, row in enumerate(rows, 2):
        learner = unicodedata.normalize("NFC", (row.get("learner") or "").strip())
        if not learner or "" in row:
            raise ValueError(f"{path.name}, line {number}: the line has no learner, or more cells than the "
                             "first line.")
        if learner in people:
            raise ValueError(f"{path.name}, line {number}: {learner!r} stands there twice.")
        people[learner] = {column: (row[column] or "").strip() for column in columns}
        for column in UNIQUE & people[learner].keys():
            value = people[learner][column]
            other = seen.setdefault((column, value.casefold()), learner)
            if value and other != learner:
                raise ValueError(f"{path.name}, line {number}: the {column} {value!r} stands there twice, "
                                 f"for {other!r} and for {learner!r}.")
    return people


def clean(text) -> str:
    """Text on one line: no control characters, no reversal of direction, no half of a surrogate pair."""
    text = str(text).encode("utf-8", "replace").decode("utf-8")
    return "".join(
        " "
        if unicodedata.category(c) in ("Cc", "Zl", "Zp")
        else ""
        if c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
        else c
        for c in text
    )


def cell(value) -> str:
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return f"{value:.10g}"
    text = clean(value).strip()
    return f"'{text}" if text.startswith(FORMULA) else text


def table(header: Iterable, rows: Iterable[Iterable]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([cell(value) for value in row] for row in (header, *rows))
    return out.getvalue()


def grades(rows: list[Row], ids: list[str], absent: Iterable[str] = ()) -> str:
    """Everything. ``final`` is empty where a human has to decide; ``absent`` are learners of the roster
    without a submission.
    """
    header = ["learner", "state", *ids, "points", "of", "late_factor", "final", "message"]
    lines = [
        [
            r.learner,
            r.state,
            *(r.exercises.get(id, {}).get("points") for id in ids),
            r.points,
            r.of,
            r.factor,
            r.final,
            " ".join(filter(None, (*reasons(r), r.late))),
        ]
        for r in rows
    ]
    return table(header, lines + [[learner, "no submission", *[None] * (len(ids) + 5)] for learner in absent])


def reasons(row: Row) -> list[str]:
    """Why a human is needed, or what could not be read."""
    return [
        f"{id}: {e['message']}" for id, e in row.exercises.items() if e["state"] == "needs a human"
    ] + list(row.notes)


def canvas(rows: list[Row], of: float, assignment: str) -> str:
    """For Grades → Import in Canvas. Learners for whom a human has to decide are left out: an empty cell
    would delete a mark given by hand. So is whom Canvas does not know: it would go by the name alone.

    assignment : the title of the column; ``Lessons 01-03 (4711)`` names the assignment 4711, a new title
        makes a new one.
    """
    if any(word in assignment for word in READ_ONLY):
        raise ValueError(f"Canvas would ignore a column called {assignment!r}: its title must not have the "
                         f"words {', '.join(READ_ONLY)}.")
    header = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", assignment]
    lines = [
        [
            _student(r.name),
            r.id,
            r.person.get("sis_user_id", ""),
            r.person.get("login", ""),
            r.person.get("section", ""),
            r.final,
        ]
        for r in rows
        if r.final is not None and r.in_canvas
    ]
    return table(header, [["Points Possible", "", "", "", "", of], *lines])


def _student(name: str) -> str:
    # Canvas would take such a row for the second line
    return re.sub("points possible", "points-possible", clean(name), flags=re.IGNORECASE)


def moodle(rows: list[Row], of: float) -> str:
    """For the upload of a grading worksheet (which wants Identifier and "Last modified (grade)") and for the
    gradebook (by e-mail address).

    Moodle shows comments as HTML, so they are escaped. Learners for whom a human has to decide are left out,
    as in `canvas`.
    """
    header = [
        "Identifier",
        "Full name",
        "Email address",
        "Grade",
        "Maximum grade",
        "Last modified (grade)",
        "Feedback comments",
    ]
    lines = []
    for r in rows:
        if r.final is None or not r.in_moodle:
            continue
        participant = f"Participant {r.id}" if r.id else ""
        comment = html.escape(feedback(r), quote=False)
        lines.append([participant, r.name, r.person.get("email", ""), r.final, of, "", comment])
    return table(header, lines)


def feedback(row: Row) -> str:
    """All sentences of a learner on one line."""
    told = [
        f"{id} {e['title']}: {e['points']:.10g} of {e['of']:.10g}. {e['message']}"
        for id, e in row.exercises.items()
    ]
    return " ".join(filter(None, (*told, row.late, *row.notes)))


def doubled(rows: list[Row]) -> list[str]:
    """One sentence for every number that two learners have: points must not go to either by chance."""
    holders = defaultdict(list)
    for row in rows:
        holders[row.id].append(row)
    return [
        f"canvas.csv and moodle.csv were not written: {' and '.join(map(_with_files, holders[id]))} have the "
        f"same number, {id}. Find out whose it is, and give --roster, whose numbers count alone."
        for id in sorted(holders)
        if id and len(holders[id]) > 1
    ]


def _with_files(row: Row) -> str:
    more = ", …" if len(row.files) > 2 else ""
    return f"{row.learner!r} ({', '.join(row.files[:2])}{more})"
