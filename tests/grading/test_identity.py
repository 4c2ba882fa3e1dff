"""The name of an upload earns, loses and moves nothing: folders as Canvas and Moodle leave them, and plain
ones, each with honest neighbours and one learner who chooses names.

Work is told apart by its text, so that no box is needed: whose work a record holds is what counts here.
"""

import csv
import json
import os
import unicodedata
from hashlib import sha256
from types import SimpleNamespace
from urllib.parse import quote

import hostile
import pytest

from cmlib.check import exercises
from cmlib.grade import batch, identity, reports
from cmlib.grade.scoring import HUMAN, entry
from cmlib.grade.submissions import collect, shown
from cmlib.grade.walls import Wall

WALL = Wall("bubblewrap", True)
POINTS = {"ann": 1.0, "bob": 0.5, "eve": 0.25}  # of 1, for the one exercise of lesson 00


def work(author):
    return hostile.notebook(f'accuracy = "{author}"\ncheck("00.1", accuracy)')


def by_author(box, submission, wanted, secret):
    """Grades by who wrote the code that would be graded."""
    exercise = wanted[0]  # of lesson 00; its stretch exercise says nothing of names
    text = "".join(submission.cells(exercise.id, exercise.name))
    points = next((points for author, points in POINTS.items() if f'"{author}"' in text), 0.0)
    record = {
        "format": "cmlib-grade-1", "learner": submission.learner, "id": submission.id,
        "submitted": "2026-03-01T10:00:00+00:00", "files": list(submission.files),
        "digest": submission.digest, "notes": list(submission.notes),
        "state": HUMAN if submission.doubts else "graded", "points": points, "of": 1,
        "exercises": {exercise.id: entry(exercise, "partial", "…", points)}, "fingerprints": {},
    }  # fmt: skip
    return record, {"learner": submission.learner, "seconds": 0.0, "exercises": {}}


def graded(tmp_path, monkeypatch, files, roster=None):
    """The tables of a folder, as {name of the table: rows}, and the command's summary."""
    monkeypatch.setattr(batch, "grade", by_author)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder, out = tmp_path / "class", tmp_path / "out"
    for k, (name, author) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(work(author), "utf-8")
        # the attacker's files are the newest: of several files the newest counts
        os.utime(path, (1_700_000_000 + 1000 * (author == "eve") + k,) * 2)
    done = batch.grade_all(batch.Order(folder, out, ("00",), b"0123456789abcdef"), WALL)
    if roster:
        (tmp_path / "roster.csv").write_text(roster, "utf-8")
    said = reports.write(
        out, exercises("00"), folder=done["folder"], roster=tmp_path / "roster.csv" if roster else None
    )
    rows = {}
    for name in ("grades", "canvas", "moodle"):
        path = out / f"{name}.csv"
        rows[name] = list(csv.DictReader(path.read_text("utf-8").splitlines())) if path.exists() else None
    return SimpleNamespace(**rows, said=said, page=(out / "class.html").read_text("utf-8"))


def canvas_points(result):
    """{ID: [points]} of those rows of canvas.csv that Canvas would import."""
    out = {}
    for row in (result.canvas or [])[1:]:
        out.setdefault(row["ID"], []).append(float(row[list(row)[5]]))
    return out


def moodle_points(result):
    out = {}
    for row in result.moodle or []:
        out.setdefault(row["Identifier"].removeprefix("Participant "), []).append(float(row["Grade"]))
    return out


# what a learner may call a file; 1001 is Ann's number, 1002 Bob's, 999 nobody's
NAMES = [
    "x_1001_5_lesson.ipynb", "_1001_5_x.ipynb", "1001_5_x.ipynb", "x_1001_.ipynb", "x_1001_x.ipynb",
    "ann_1001_7001_lesson00.ipynb", "ann_LATE_1001_7001_lesson00.ipynb", "LATE_1001_7001_x.ipynb",
    "x_999_assignsubmission_file_.ipynb", "q_1001_assignsubmission_file_.ipynb",
    "q_1001_assignsubmission_file_x.ipynb", "zz_1001_assignsubmission_onlinetext.ipynb",
    "Ann Lee_1001_assignsubmission_file_q_1002_assignsubmission_file_.ipynb",
    "anon_Ab3dE_1001_x.ipynb", "submission-00-ann.json", "submission-00-ann_1001.json",
    "submission-00_01-ann_1001_7_x.json", "ann.ipynb", "ann_1001.ipynb", "Ann Lee_1001.ipynb",
    "x_1001_5_.ipynb.ipynb", "x_1001_5_lesson.ipynb.txt", "X_1001_5_LESSON.IPYNB", "x__1001__5__x.ipynb",
    "x_\uff11\uff10\uff10\uff11_5_x.ipynb", "x_\u0661\u0660\u0660\u0661_5_x.ipynb", "x_01001_5_x.ipynb",
    "x_1001\u200b_5_x.ipynb", "x\u202e_1001_5_x.ipynb", "x_1001_5_x\n_1002_6_y.ipynb", "x;_1001_5_x.ipynb",
    "=x_1001_5_x.ipynb", "x_+1001_5_x.ipynb", "x_-1001_5_x.ipynb", "x_1e3_5_x.ipynb",
    "x_" + "9" * 30 + "_5_x.ipynb", "x_1001_" + "9" * 30 + "_x.ipynb", "x_1001_5_" + "y" * 150 + ".ipynb",
    "x_1001_5_x.json", "x_1001_5_x", "a_1_b_2_c_1001_5_x.ipynb", "x_1001_5_assignsubmission_file_.ipynb",
    "x_assignsubmission_file_1001_5_x.ipynb", "assignsubmission_file_.ipynb", "_assignsubmission_file_.ipynb",
]  # fmt: skip
CANVAS = {"ann_1001_7001_lesson00.ipynb": "ann", "bob_LATE_1002_7002_lesson00.ipynb": "bob"}
MOODLE_FLAT = {
    "Ann Lee_1001_assignsubmission_file_lesson00.ipynb": "ann",
    "Bob Ray_1002_assignsubmission_file_lesson00.ipynb": "bob",
}
MOODLE_FOLDERS = {
    "Ann Lee_1001_assignsubmission_file_/lesson00.ipynb": "ann",
    "Bob Ray_1002_assignsubmission_file_/lesson00.ipynb": "bob",
}
PLAIN = {"Ann Lee_1001.ipynb": "ann", "Bob Ray_1002/lesson00.ipynb": "bob"}
SYSTEMS = {  # how a platform writes Eve's upload, and her number there
    "Canvas flat": (CANVAS, "eve_666_7003_{}", "666"),
    "Canvas flat, late": (CANVAS, "eve_LATE_666_7003_{}", "666"),
    "Canvas, unpacked": (CANVAS, "eve_666_7003_work/{}", "666"),
    "Moodle flat": (MOODLE_FLAT, "Eve Doe_666_assignsubmission_file_{}", "666"),
    "Moodle in folders": (MOODLE_FOLDERS, "Eve Doe_666_assignsubmission_file_/{}", "666"),
    "Moodle in folders, deeper": (MOODLE_FOLDERS, "Eve Doe_666_assignsubmission_file_/a/b/{}", "666"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_platform_s_word_counts_and_a_learner_s_does_not(tmp_path, monkeypatch, system, name):
    honest, written, number = SYSTEMS[system]
    if len(written.format(name).encode()) > 250:
        name = name[-200:]
    result = graded(tmp_path, monkeypatch, {**honest, written.format(name): "eve"})
    wanted = {"1001": [1.0], "1002": [0.5], number: [0.25]}
    if "." in name and not name.lower().endswith((".ipynb", ".json", ".txt")):
        wanted[number] = [0.0]
    assert canvas_points(result) == moodle_points(result) == wanted
    assert {row["learner"].removeprefix("'")[:3] for row in result.grades} == {
        row[:3] for row in (*honest, written)
    }


@pytest.mark.parametrize("name", NAMES)
def test_in_a_plain_folder_no_number_is_believed_and_nobody_takes_another_s_place(
    tmp_path, monkeypatch, name
):
    if name in PLAIN:
        name = f"{name}.txt"  # one cannot upload the very same name
    result = graded(tmp_path, monkeypatch, {**PLAIN, name: "eve"})
    assert canvas_points(result) == moodle_points(result) == {}
    finals = {row["learner"]: row["final"] for row in result.grades}
    assert finals["Ann Lee_1001"] in ("1", "")  # hers, or a human decides: never another's
    assert finals["Bob Ray_1002"] == "0.5"
    assert (finals["Ann Lee_1001"] == "") == (len(result.grades) == 2)
    eve = identity.identify(shown(name), False)
    if eve.system and len(result.grades) == 3:
        assert f"2 of 3 learners are named by a plain name, and not {eve.learner!r}" in result.said


@pytest.mark.parametrize("name", NAMES)
def test_a_roster_s_numbers_are_the_only_ones(tmp_path, monkeypatch, name):
    roster = "learner,id,name\nann_1001,81,Ann Lee\nbob_1002,82,Bob Ray\n"
    if name in CANVAS:
        name = name.replace("7001", "7009")
    result = graded(tmp_path, monkeypatch, {**CANVAS, f"eve_666_7003_{name}": "eve"}, roster)
    assert canvas_points(result) == moodle_points(result) == {"81": [1.0], "82": [0.5]}
    assert "Not in the roster, and so in neither canvas.csv nor moodle.csv: 'eve_666'" in result.said
    assert "Look at this first" in result.page and "eve_666" in result.page


def test_the_reviewed_forgeries(tmp_path, monkeypatch):
    result = graded(tmp_path, monkeypatch, {
        **CANVAS,
        "evegood_444_7001_lesson00.ipynb": "eve",
        "evegood_444_7002_x_999_assignsubmission_file_.ipynb": "eve",
        "zed_556_7006_zz_555_assignsubmission_onlinetext.ipynb": "eve",
    })  # fmt: skip
    assert canvas_points(result) == {"1001": [1.0], "1002": [0.5], "444": [0.25], "556": [0.25]}


def test_a_number_of_two_learners_stops_the_tables_and_names_the_files(tmp_path, monkeypatch):
    """As when the name of a learner changed between two uploads."""
    result = graded(tmp_path, monkeypatch, {**CANVAS, "anna_1001_7009_b.ipynb": "eve"})
    assert result.canvas is result.moodle is None
    assert ("canvas.csv and moodle.csv were not written: 'ann_1001' (ann_1001_7001_lesson00.ipynb) and "
            "'anna_1001' (anna_1001_7009_b.ipynb) have the same number, 1001.") in result.said
    assert "have the same number, 1001" in result.page


def test_a_stray_file_among_a_platform_s_is_told_and_no_number_is_believed(tmp_path, monkeypatch):
    result = graded(tmp_path, monkeypatch, {**CANVAS, "README.txt": "eve"})
    assert canvas_points(result) == {}
    assert ("2 of 3 learners are named as Canvas names uploads, and not 'README'. So no number in a file's "
            "name is believed") in result.said


def test_look_alike_names_are_told(tmp_path, monkeypatch):
    names = ["Ben.ipynb", "Ben .ipynb", "B\u0435n.ipynb", "BEN.ipynb", "Carla.ipynb", "Car1a.ipynb",
             "Zo\u00eb.ipynb", "Zoe.ipynb", "Carl.ipynb"]  # fmt: skip
    result = graded(tmp_path, monkeypatch, dict.fromkeys(names, "eve"))
    assert "'BEN', 'Ben', 'Ben ' and 'B\u0435n' look alike: are they different people?" in result.said
    assert "'Car1a' and 'Carla' look alike" in result.said and "Zo" not in result.said
    assert len(result.grades) == len(names)


def test_names_that_only_pretend_to_be_of_our_alphabet_are_told(tmp_path, monkeypatch):
    names = ["Arnold.ipynb", "Amold.ipynb", "Will.ipynb", "VVill.ipynb", "\u13aann.ipynb",
             "\u0410\u043d\u043d\u0430.ipynb", "\u0394\u03bfra.ipynb", "\u674e Li.ipynb"]  # fmt: skip
    result = graded(tmp_path, monkeypatch, dict.fromkeys(names, "eve"))
    assert "'Amold' and 'Arnold' look alike" in result.said and "'VVill' and 'Will' look alike" in result.said
    assert ("Letters of two alphabets stand in one word of '\u0394\u03bfra' and '\u13aann': is this the name "
            "that it seems to be?") in result.said


@pytest.mark.parametrize(("names", "learner"), [
    (["ann.ipynb", "ann.json"], "ann"),
    (["ann.ipynb", "ann/x.ipynb"], "ann"),
    (["ann.ipynb", "submission-00-ann.json"], "ann"),
    (["ann.ipynb", "ann.ipynb.txt"], "ann"),
    (["Zo\u00eb.ipynb", unicodedata.normalize("NFD", "Zo\u00eb.ipynb")], "Zo\u00eb"),
    (["ann_7.ipynb", "ann_7_9_x.ipynb"], "ann_7"),
    (["ann_7/x.ipynb", "ann_7_assignsubmission_file_/x.ipynb"], "ann_7"),
])  # fmt: skip
def test_two_claims_to_one_name_are_for_a_human(tmp_path, names, learner):
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(work("eve"))
    [one] = collect(tmp_path)
    [why] = one.doubts
    assert one.learner == learner and "only one of them can be theirs: keep that one" in why
    assert why in one.notes and one.id == ""


def test_several_files_of_submit_and_of_one_upload_are_one_person_s(tmp_path):
    for name in ("submission-00-ann.json", "submission-01_02-ann.json"):
        (tmp_path / name).write_text("{}")
    [one] = collect(tmp_path)
    assert (one.learner, one.doubts) == ("ann", ())


@pytest.mark.parametrize(("path", "own"), [
    ("eve_666_7003_help_ers.py", "help_ers.py"), ("eve_LATE_666_7003_7_8_x.py", "7_8_x.py"),
    ("Eve Doe_666_assignsubmission_file_help.py", "help.py"), ("eve/a/b_1_2_c.py", "b_1_2_c.py"),
    ("help.py", "help.py"), ("x_1_y.py", "x_1_y.py"),
])  # fmt: skip
def test_what_a_learner_called_a_file(path, own):
    assert identity.own_name(path) == own


@pytest.mark.parametrize("inner", [list(CANVAS), list(MOODLE_FOLDERS), list(MOODLE_FLAT)])
def test_a_class_one_folder_too_deep_is_told(tmp_path, inner):
    for name in inner:
        path = tmp_path / "submissions" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(work("eve"))
    [one] = collect(tmp_path)
    [why] = one.doubts
    assert why.startswith("submissions holds what ") and "the work of 2 learners" in why


def test_names_that_an_instructor_wrote_find_their_learner_or_are_told():
    learners = {"Ana Souza": "", "Zo\u00eb": "", "ben_41": "Benjamin Button", "Ana": "", "ana": ""}
    found = identity.match(
        ["Ana Souza ", "ANA  SOUZA", "Souza, Ana", "Zoe\u0308", "Benjamin Button", "button, benjamin", "Ana",
         "ANA", "Anna Souza", "nobody"], learners)  # fmt: skip
    assert found == {
        "Ana Souza ": "Ana Souza", "ANA  SOUZA": "Ana Souza", "Souza, Ana": "Ana Souza",
        "Zoe\u0308": "Zo\u00eb",
        "Benjamin Button": "ben_41", "button, benjamin": "ben_41", "Ana": "Ana", "ANA": None,
        "Anna Souza": None, "nobody": None,
    }  # fmt: skip
    assert identity.nearest("Anna Souza", learners) == "Ana Souza"
    assert identity.nearest("xy", learners) is None


def test_no_two_learners_share_a_record():
    victim = "v\u00edctim" * 30
    cut, mark = quote(victim)[:120], sha256(victim.encode()).hexdigest()[:16]
    names = [victim, f"{cut}-{mark}", f"{cut}+{mark}", "%", "a b", "a%20b", "a+b", "a/b", "a%2Fb"]
    assert len({batch.file_name(name) for name in names}) == len(names)
    assert all(len(batch.file_name(name)) < 200 for name in names)


def test_the_sweep_after_a_kill_takes_no_record(tmp_path):
    kept = ["X.json", "X.jsonabc.json", "X.json.json", "Y.json0123abcd"]
    for name in (*kept, "X.json0123abcd", "X.jsondeadbeef"):
        (tmp_path / name).write_text("{}")
    batch._sweep(tmp_path, {"X.json", "X.jsonabc.json"})
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_enough_names_are_tried():
    assert len(NAMES) * (len(SYSTEMS) + 2) > 300 and json.dumps(NAMES)
