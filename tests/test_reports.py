"""The reports of a class of thirty invented learners: complete, the same bytes every time, and safe to
open. And the certificate, a learner's own page.
"""

import csv
import html.parser
import io
import json
import random
import re
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cmlib
from cmlib.check import exercises, records
from cmlib.check.engine import Verdict
from cmlib.grade import late, overview, reports, tables

LESSONS = ("01", "02", "03")
NAMES = (
    "Ada Lovelace",
    "Emmy Noether",
    "Zoë Müller-Łukasiewicz",
    "李小龙",
    "محمد الخوارزمي",
    'O\'Brien "Bob" <b>',
    "Sofia Kovalevskaya",
    "Srinivasa Ramanujan",
    '=HYPERLINK("http://evil")',
    "-2+3",
    "@SUM(A1)",
    "+49 170",
    "José Ñandú",
    "Grace Hopper",
    "Points Possible",
    "Alan Turing",
    "Kurt Gödel",
    "Rosalind Franklin",
    "Chien-Shiung Wu",
    "Évariste Galois",
    "Katherine Johnson",
    "Maryam Mirzakhani",
    "Barbara Liskov",
    "Edsger Dijkstra",
    "Donald Knuth",
    "Radia Perlman",
    "Leslie Lamport",
    "Frances Allen",
    "John Backus",
    "Tony Hoare",
)
POLICY = late.Policy(
    datetime(2026, 3, 1, 22, 59, tzinfo=UTC),
    UTC,
    timedelta(minutes=15),
    0.1,
    0.5,
    datetime(2026, 3, 14, 22, 59, tzinfo=UTC),
    {
        "Sofia Kovalevskaya_1006": datetime(2026, 3, 8, 22, 59, tzinfo=UTC),
        "nobody_1": datetime(2026, 3, 8, 22, 59, tzinfo=UTC),
    },
)


def wanted():
    return [e for lesson in LESSONS for e in exercises(lesson)]


def entry(e, skill, draw):
    names = [
        "random inputs",
        "one row",
        "rows of padding alone",
        "logits of 1000 and -1000",
        "the gradient for one row",
    ]
    luck = skill - .12 * e.difficulty + draw.gauss(.35, .25)
    if luck > .3:
        state, ok, message = "passed", 5, "right"
    elif luck > -.25:
        ok = draw.randrange(0, 5)
        state = "partial" if ok else "failed"
        generic = f"The result is wrong for random inputs: it is off by up to {draw.random():.3g}."
        message = generic if draw.random() < .25 else draw.choice(e.mistakes[:3])[0]
    else:
        state, ok, message = draw.choice(
            [
                ("open", 0, "Not answered yet."),
                ("missing", 0, "Not in the submission."),
                (
                    "error",
                    0,
                    "Before it is asked anything, your code raises NameError: name 'tensr' is not defined.",
                ),
            ]
        )
    properties = (
        [[name, i < ok] for i, name in enumerate(names)] if state in ("passed", "partial", "failed") else []
    )
    return {
        "title": e.title,
        "state": state,
        "points": round(e.points * ok / 5, 2),
        "of": e.points,
        "message": message,
        "properties": properties,
    }


def invent(out, n=30, names=NAMES):
    """Write the records of ``n`` learners, some copying, some with a fault of the grader."""
    draw = random.Random(7)
    items = wanted()
    for i in range(n):
        learner = f"{names[i % len(names)]}_{1000 + i}"
        skill = draw.uniform(-.2, 1)
        entries = {e.id: entry(e, skill, draw) for e in items}
        marks = {e.id: sorted(draw.sample(range(1 << 48), 30)) for e in items if entries[e.id]["properties"]}
        if i in (3, 8):
            entries["02.3"] = {
                "title": "The mixed derivative",
                "state": "needs a human",
                "points": 0.0,
                "of": 3,
                "properties": [],
                "message": "This could not be graded: the box did not come up twice.",
            }
        if i == 5:
            entries = {
                id: e
                | {"state": "missing", "points": 0.0, "message": "Not in the submission.", "properties": []}
                for id, e in entries.items()
            }
        if i == 12:
            copied = {id: numbers[:-3] + [5, 6, 7] for id, numbers in marks.items()}
        if i == 13:
            marks = {id: sorted(copied.get(id, numbers)) for id, numbers in marks.items()}
        states = {e["state"] for e in entries.values()}
        record = {
            "format": "cmlib-grade-1",
            "learner": learner,
            "id": str(1000 + i),
            "files": [f"{i}.ipynb"],
            "digest": "0" * 64,
            "run": "1" * 16,
            "lessons": list(LESSONS),
            "state": "needs a human"
            if "needs a human" in states
            else "learner's error"
            if states <= {"error", "missing"}
            else "graded",
            "notes": ["old.ipynb is not JSON after line 3, so it was left out."] if i in (5, 9) else [],
            "fingerprints": marks,
            "points": round(sum(e["points"] for e in entries.values()), 2),
            "of": sum(e["of"] for e in entries.values()),
            "exercises": entries,
            "submitted": None
            if i == 21
            else (
                datetime(2026, 3, 1, 12, tzinfo=UTC)
                + timedelta(hours=draw.choice([0, 0, 0, 20, 40, 150, 400]))
            ).isoformat(),
        }
        page = quote(learner, safe=" ()") + ".json"
        for folder, value in (
            ("grades", record),
            ("times", {"learner": learner, "seconds": 1.5, "exercises": {e.id: 0.1 for e in items}}),
        ):
            (out / folder).mkdir(parents=True, exist_ok=True)
            (out / folder / page).write_text(json.dumps(value, sort_keys=True), "utf-8")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    invent(folder)
    (folder / "roster.csv").write_text("learner,name,id,login,section,email\nAda Lovelace_1000,\"Lovelace, "
                                       "Ada\",77,ada,A,ada@example.org\n"
                                       "Blaise Pascal,Blaise Pascal,78,bp,A,bp@example.org\n", "utf-8")
    reports.write(folder, wanted(), late=POLICY, roster=folder / "roster.csv")
    return folder


def rows(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def read(out, name):
    return (out / name).read_text("utf-8")


def test_grades_hold_every_learner_and_point(out):
    table = rows(read(out, "grades.csv"))
    assert table[0] == [
        "learner",
        "state",
        *(e.id for e in wanted()),
        "points",
        "of",
        "late_factor",
        "final",
        "message",
    ]
    assert len(table) == 1 + 30 + 1 and {len(row) for row in table} == {len(table[0])}
    by_name = {row[0].removeprefix("'"): dict(zip(table[0], row, strict=True)) for row in table[1:]}
    for path in (out / "grades").glob("*.json"):
        record = json.loads(path.read_text("utf-8"))
        row = by_name[record["learner"]]
        assert (
            float(row["points"]) == record["points"] == pytest.approx(sum(float(row[e.id]) for e in wanted()))
        )
        if record["state"] == "needs a human" or record["submitted"] is None:
            assert row["final"] == ""
        else:
            factor = POLICY.factor(record["learner"], datetime.fromisoformat(record["submitted"]))
            assert (
                float(row["final"]) == round(record["points"] * factor, 2)
                and float(row["late_factor"]) == factor
            )
    assert by_name["Blaise Pascal"]["state"] == "no submission" and by_name["Blaise Pascal"]["final"] == ""


def test_exercises_stand_in_the_order_of_the_lesson(out):
    """A replaced exercise has a new number, and its old place."""
    ids = [e.id for e in wanted()]
    assert ids != sorted(ids), "lesson 01 has 01.6 in the place of 01.3"
    page = next(iter(sorted((out / "reports").glob("*.html")))).read_text("utf-8")
    places = [page.index(f"{id} ") for id in ids if f"{id} " in page]
    assert len(places) > 5 and places == sorted(places)


def test_canvas_can_import_it(out):
    table = rows(read(out, "canvas.csv"))
    assert table[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Lessons 01-03"]
    assert table[1] == ["Points Possible", "", "", "", "", str(sum(e.points for e in wanted()))]
    # of such a row Canvas takes the points of the assignment
    assert sum("Points Possible" in row[0] for row in table) == 1
    # a roster's people alone, by its numbers
    assert [row[:5] for row in table[2:]] == [["Lovelace, Ada", "77", "", "ada", "A"]]
    assert re.fullmatch(r"\d+(\.\d+)?", table[2][5])
    with pytest.raises(ValueError, match="Canvas would ignore a column called 'Final Score'"):
        tables.canvas([], 3, "Final Score")


def test_moodle_can_import_it(out):
    table = rows(read(out, "moodle.csv"))
    assert {"Identifier", "Email address", "Grade", "Last modified (grade)", "Feedback comments"} <= set(
        table[0]
    ) and table[0][0] == "Identifier"
    assert [row[:3] for row in table[1:]] == [["Participant 77", "Lovelace, Ada", "ada@example.org"]]
    assert all(re.fullmatch(r"\d+(\.\d+)?", row[3]) for row in table[1:])
    assert not any("<" in cell for row in table for cell in row[6:])


def test_without_a_roster_the_platform_s_numbers_count_and_no_number_is_said(tmp_path):
    invent(tmp_path)
    said = reports.write(tmp_path, wanted(), late=POLICY)
    table = rows(read(tmp_path, "canvas.csv"))
    assert len(table) == 2 + 30 - 3  # two faults of the grader and one without a time
    assert all(re.fullmatch(r"10\d\d", row[1]) for row in table[2:])
    assert "no number" not in said and len(rows(read(tmp_path, "moodle.csv"))) == 1 + 30 - 3
    for path in sorted((tmp_path / "grades").iterdir())[:28]:
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"id": ""}), "utf-8")
    said = reports.write(tmp_path, wanted())
    assert "leave out whom a platform would not know" in said
    assert "and 22 more is known: give --roster" in said
    assert len(rows(read(tmp_path, "canvas.csv"))) == 2 + 2


def test_whom_the_instructor_must_look_at_is_told_first(tmp_path):
    """Removed submissions, strangers to the roster, times that mean nobody, a number of two learners."""
    invent(tmp_path, 6)
    everyone = [json.loads(p.read_text("utf-8"))["learner"] for p in (tmp_path / "grades").iterdir()]
    gone = "Emmy Noether_1001"
    folder = [(name, "", "") for name in everyone if name != gone]
    times = {"ada lovelace_1000 ": POLICY.due, "Zoe Muller-Lukasiewicz_1002": POLICY.due}
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "Emmy Noether_1001.html").touch()
    said = reports.write(tmp_path, wanted(), late=replace(POLICY, times=times, extensions={}), folder=folder)
    assert "5 reports" in said and f"{gone!r} was graded before, with no submission now (removed or" in said
    near = "Zoë Müller-Łukasiewicz_1002"
    assert "The line of 'Zoe Muller-Lukasiewicz_1002' in the list of times belongs to nobody" in said
    assert f"did you mean {near!r}?" in said
    assert "The list of times has no line for " in said and "can set its date." in said
    page = read(tmp_path, "class.html")
    assert page.index("Look at this first") < page.index("Who needs a human") < page.index(">Scores<")
    assert gone not in {row[0] for row in rows(read(tmp_path, "grades.csv"))}
    assert not (tmp_path / "reports" / "Emmy Noether_1001.html").exists()
    table = {row[0].removeprefix("'"): row for row in rows(read(tmp_path, "grades.csv"))}
    assert "may be meant for this learner" in table[near][-1] and table[near][-2] == ""
    assert "list of times" in table["Ada Lovelace_1000"][-1]


def test_a_crowd_with_one_text_is_said_not_passed_over(tmp_path):
    invent(tmp_path)
    same = list(range(100, 160))
    for path in sorted((tmp_path / "grades").iterdir())[:17]:
        record = json.loads(path.read_text("utf-8"))
        record["fingerprints"]["02.1"] = same
        path.write_text(json.dumps(record), "utf-8")
    reports.write(tmp_path, wanted())
    page = " ".join(read(tmp_path, "class.html").split())
    assert "02.1: 17 of " in page and "answers were not compared, because nearly all that they have" in page


def test_no_cell_is_a_formula_and_no_row_breaks(out):
    for name in ("grades.csv", "canvas.csv", "moodle.csv", "similarity.csv"):
        for row in rows(read(out, name)):
            assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row) and not any(
                "\n" in cell or "\r" in cell for cell in row
            )
    assert '"\'=HYPERLINK(""http://evil"")_1008"' in read(out, "grades.csv")


@given(
    st.lists(
        st.lists(
            st.text()
            | st.floats(0, 100)
            | st.none()
            | st.sampled_from(["=1+1", "\t=1", "\r\n=x", " @x", "-", "＝1", "\ud800", "a\x00b", '"', ","]),
            min_size=1,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_text_in_a_table_stays_in_its_cell(lines):
    width = max(map(len, lines))
    text = tables.table(["h"] * width, [line + [""] * (width - len(line)) for line in lines])
    text.encode("utf-8")
    table = rows(text)
    assert [len(row) for row in table] == [width] * (1 + len(lines))
    for row in table:
        assert not any(
            cell.lstrip().startswith(("=", "+", "-", "@", "＝")) or any(ord(c) < 32 for c in cell)
            for cell in row
        )


def test_two_runs_write_the_same_bytes_and_leave_no_other_file(out, tmp_path):
    invent(tmp_path)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    for _ in range(2):
        reports.write(tmp_path, wanted(), late=POLICY, roster=out / "roster.csv")
    for path, content in before.items():
        if path.name != "roster.csv":
            assert (tmp_path / path.relative_to(out)).read_bytes() == content, path.name
    assert {p.name for p in tmp_path.iterdir()} == {
        "grades",
        "times",
        "reports",
        "grades.csv",
        "canvas.csv",
        "moodle.csv",
        "similarity.csv",
        "class.html",
        ".reports.lock",
    }
    assert len(list((tmp_path / "reports").iterdir())) == 30


def test_the_summary_counts_and_names_what_is_odd(tmp_path):
    invent(tmp_path, 5)
    (tmp_path / "grades" / "torn.json").write_text('{"format": "cmlib-grade-1", "lea')
    said = reports.write(tmp_path, wanted(), late=POLICY)
    assert "5 reports in" in said and "1 learner waits for a human" in said
    assert "torn.json is not a record" in said and "'nobody_1' belongs to nobody" in said
    assert "torn.json" in read(tmp_path, "class.html")


def test_an_empty_class_and_a_class_of_one_have_pages(tmp_path):
    (tmp_path / "grades").mkdir()
    assert "0 reports" in reports.write(tmp_path, wanted())
    assert "The class" in read(tmp_path, "class.html") and len(rows(read(tmp_path, "canvas.csv"))) == 2
    invent(tmp_path, 1)
    assert "1 report in" in reports.write(tmp_path, wanted())


class Page(html.parser.HTMLParser):
    """Collects tags and text, and insists on closed tags."""

    VOID = frozenset({"meta", "br", "img", "rect", "line"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open, self.ids = [], "", [], set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if (id := dict(attrs).get("id")) is not None:
            assert id not in self.ids
            self.ids.add(id)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def pages(out):
    return [out / "class.html", *sorted((out / "reports").glob("*.html"))]


def test_pages_are_well_formed_accessible_and_need_nothing_from_outside(out):
    for path in pages(out):
        text = path.read_text("utf-8")
        page = Page(text)
        names = [tag for tag, _ in page.tags]
        assert names.count("h1") == 1 and page.tags[0] == ("html", {"lang": "en"})
        assert (
            not {"script", "link", "img", "iframe", "object", "b", "form"} & set(names)
            and "url(" not in text
            and "@import" not in text
        )
        for tag, attributes in page.tags:
            assert not any(name.startswith("on") for name in attributes)
            if tag == "a":
                target = attributes["href"]
                assert target[1:] in page.ids if target.startswith("#") else (out / unquote(target)).exists()
            if tag == "svg":
                assert attributes["role"] == "img" and attributes["aria-label"].endswith(".")
            if tag == "th":
                assert attributes["scope"] in ("row", "col")
            if "aria-labelledby" in attributes:
                assert attributes["aria-labelledby"] in page.ids
        assert "prefers-color-scheme: dark" in text and "None" not in page.text and "  nan" not in page.text


def test_the_class_page_says_who_needs_a_human_and_who_is_alike(out):
    page = Page(read(out, "class.html"))
    text = " ".join(page.text.split())
    assert text.count("the box did not come up twice") == 2 and "no time of submission is known" in text
    assert "Similarity is a reason to look, not a verdict." in text
    pairs = rows(read(out, "similarity.csv"))
    assert pairs[0] == ["learner", "other", "exercise", "share"] and len(pairs) > 3
    assert {tuple(row[:2]) for row in pairs[1:]} == {("Grace Hopper_1013", "José Ñandú_1012")}
    assert all(.6 <= float(row[3]) < 1 for row in pairs[1:])
    counts = [
        int(n)
        for n in re.findall(r"(\d+) from \d+ to", str([a for t, a in page.tags if a.get("class") == "bars"]))
    ]
    assert sum(counts) == 28


def test_a_learner_reads_sentences_and_names_but_nothing_of_the_neighbours(out):
    path = out / "reports" / (quote("Kurt Gödel_1016", safe=" ") + ".html")
    record = json.loads((out / "grades" / path.with_suffix(".json").name).read_text("utf-8"))
    text = " ".join(Page(path.read_text("utf-8")).text.split())
    for id, e in record["exercises"].items():
        assert f"{id} · {e['title']}" in text
        assert e["state"] == "passed" or e["message"] in text
        assert all(name in text for name, _ in e["properties"])
    assert (
        not any(name in text for name in NAMES if name != "Kurt Gödel")
        and "fingerprint" not in text
        and "similar" not in text.lower()
    )
    extended = " ".join(
        Page(read(out, f"reports/{quote('Sofia Kovalevskaya_1006', safe=' ')}.html")).text.split()
    )
    assert "your extension" in extended and "that of the newest file" in extended


def test_text_of_learners_is_shown_and_never_run(tmp_path):
    evil = "<script>alert(1)</script>{{ 7 * 7 }}\u202e\ud800"
    invent(tmp_path, 2, names=["<img src=x onerror=alert(1)>", "ok"])
    path = next(iter((tmp_path / "grades").glob("ok*")))
    record = json.loads(path.read_text("utf-8"))
    for e in record["exercises"].values():
        e |= {"message": evil, "state": "failed", "title": evil, "properties": [[evil, False]]}
    path.write_text(json.dumps(record | {"notes": [evil]}), "utf-8")
    reports.write(tmp_path, wanted())
    for page in pages(tmp_path):
        text = page.read_text("utf-8")
        assert (
            "<script" not in text
            and "<img" not in text
            and "49" not in Page(text).text
            and "\u202e" not in text
        )


def test_mistakes_that_differ_in_numbers_are_counted_together():
    def row(message):
        return tables.Row(
            "x", "x", "graded", 0, 1, {"01.1": {"state": "failed", "message": message, "points": 0, "of": 1}}
        )

    found = overview.mistakes(
        [
            row("It is off by up to 0.31."),
            row("It is off by up to 1e-05."),
            row("The shape is (3, 2)."),
            row("exp2 is wrong"),
        ],
        ["01.1"],
        9,
    )
    assert [(m["count"], m["sentence"]) for m in found] == [
        (2, "It is off by up to …"),
        (1, "The shape is (3, 2)."),
        (1, "exp2 is wrong"),
    ]


def test_the_hardest_exercise_comes_first_and_a_fault_of_the_grader_is_not_hard(out):
    found = overview.exercises([], wanted(), {})
    assert [e["share"] for e in found] == [None] * len(wanted())
    e = wanted()[0]
    made = [
        tables.Row(
            "a", "a", "graded", 1, 2, {e.id: {"state": "partial", "points": 1, "of": 2, "message": "m"}}
        ),
        tables.Row(
            "b",
            "b",
            "needs a human",
            0,
            2,
            {e.id: {"state": "needs a human", "points": 0, "of": 2, "message": "m"}},
        ),
    ]
    assert overview.exercises(made, [e], {e.id: [1.0, 3.0]})[0] | {"states": 0} == {
        "id": e.id,
        "title": e.title,
        "points": e.points,
        "share": 0.5,
        "n": 2,
        "mistake": {"id": e.id, "count": 1, "sentence": "m"},
        "seconds": 2.0,
        "states": 0,
    }


def test_the_histogram_counts_the_borders():
    made = [tables.Row("x", "x", "graded", p, 10, {}) for p in (0, .999, 1, 3, 9.99, 10)]
    assert [bar["count"] for bar in overview.histogram(made)["bars"]] == [2, 1, 0, 1, 0, 0, 0, 0, 0, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,id\nA,1\n", "no column learner"),
        ("learner,phone\nA,1\n", "a column 'phone'"),
        ("learner,id\nA,1\nA,2\n", "line 3: 'A' stands there twice"),
        ("learner,id\n,1\n", "line 2: the line has no learner"),
        ("learner,id\nA,1\nB,1\n", "line 3: the id '1' stands there twice, for 'A' and for 'B'"),
        ("learner,email\nA,a@x.y\nB,A@X.Y\n", "line 3: the email 'A@X.Y' stands there twice"),
        ("learner,id\nA,1\n A ,2\n", "line 3: 'A' stands there twice"),
        ("learner\nA,1\n", "more cells"),
    ],
)
def test_a_bad_roster_gets_one_sentence(tmp_path, text, says):
    (tmp_path / "roster.csv").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=says):
        tables.roster(tmp_path / "roster.csv")
    with pytest.raises(FileNotFoundError, match="There is no roster"):
        tables.roster(tmp_path / "other.csv")


def test_shards_that_finish_together_leave_the_reports_of_all(tmp_path):
    invent(tmp_path, 12)
    code = ("import sys; from pathlib import Path; from cmlib.check import exercises; from cmlib.grade "
            "import reports;"
            "reports.write(Path(sys.argv[1]), [e for n in ('01', '02', '03') for e in exercises(n)])")
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    invent(tmp_path, 14)
    time.sleep(.1)
    running.append(subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]))
    assert [process.wait(120) for process in running] == [0, 0, 0]
    assert len(rows(read(tmp_path, "grades.csv"))) == 15
    assert not [
        p for p in tmp_path.rglob("*") if p.is_file() and p.suffix not in (".csv", ".html", ".json", ".lock")
    ]


def test_a_date_is_never_broken_over_two_lines(out):
    """In the markup; looked at in a browser 390 pixels wide, too."""
    pages = [*(out / "reports").glob("*.html"), out / "class.html"]
    dates = [re.sub(r'<span class="date">[^<]*</span>', "", page.read_text("utf-8")) for page in pages]
    assert sum('class="date">2026-03-' in page.read_text("utf-8") for page in pages) > 25
    assert not any(re.search(r"\d{4}-\d\d-\d\d", text) for text in dates)
    assert ".date, .whole { white-space: nowrap; }" in read(out, "class.html")


def test_templates_are_in_the_package():
    import tomllib

    data = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["tool"][
        "setuptools"
    ]["package-data"]["cmlib"]
    assert "grade/templates/*.html" in data and {
        p.name for p in (Path(reports.__file__).parent / "templates").iterdir()
    } == {"page.html", "parts.html", "class.html", "learner.html"}


def test_a_certificate_says_what_was_verified_and_what_it_is_not(tmp_path, capsys):
    path = tmp_path / "mine.html"
    cmlib.certificate("Ada", path)
    assert "no file was written" in capsys.readouterr().out and not path.exists()
    for id, state in (("02.1", "passed"), ("02.2", "failed"), ("13.5", "passed")):
        records.record(Verdict(id, state, "", 2))
    records.answered("02", 1, True, 4)
    cmlib.certificate("<script>李小龙", path)
    assert capsys.readouterr().out == f"{path}: 2 exercises of 2 lessons. Open it in a browser.\n"
    html = path.read_text("utf-8")
    assert "<script" not in html and "http" not in html  # nothing runs, and nothing is asked for
    text = Page(html).text
    inputs = len(list(exercises("02")[0].make_cases(cmlib.check.engine.Draw(0))))
    for words in ("<script>李小龙", "has solved 2 of 10 exercises", "6 points", cmlib.__version__,
                  f"02.1 The published objective: {inputs} inputs, with gradients", "1 of 4",
                  "13.5 Four broken logs: one choice", "It is not a grade"):
        assert words in text, words
    assert "02.2" not in text and "01 Losses" not in text


@pytest.mark.parametrize(("name", "folder", "error", "says"), [
    (3, ".", TypeError, "given as text"),
    (" ", ".", ValueError, "The name is empty"),
    ("Ada", "nowhere", FileNotFoundError, "There is no folder .*nowhere' to write mine.html into"),
])
def test_a_certificate_that_cannot_be_written_says_why(tmp_path, name, folder, error, says):
    with pytest.raises(error, match=says):
        cmlib.certificate(name, tmp_path / folder / "mine.html")
