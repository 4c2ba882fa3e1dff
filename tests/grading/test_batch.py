"""A batch that is killed, repeated, split and broken: nothing lost or doubled, and no fault of the grader
becomes a zero.
"""

import errno
import hmac
import json
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import hostile
import pytest
import torch

from cmlib import check, cli
from cmlib.check.engine import EXERCISES, case, exercise
from cmlib.check.retired import RETIRED
from cmlib.grade import batch, command, grading, reports, walls
from cmlib.grade import box as boxes
from cmlib.grade.session import Clock, Fault
from cmlib.grade.walls import Limits, Wall

SECRET = b"0123456789abcdef0123"
LIMITS = Limits(memory=1 << 30, wall=5.0)
NOTHING = Wall("bubblewrap", True)
RIGHT = """import torch
def binary_cross_entropy(logits, labels):
    return (torch.logaddexp(logits, torch.zeros_like(logits)) - labels * logits).mean()
check("01.1", binary_cross_entropy)"""
ACCURACY = """import torch
def accuracy(logits, labels):
    return (logits.argmax(1) == labels).double().mean()
check("00.1", accuracy)"""


@pytest.fixture(scope="module")
def box(wall, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("stage")))
        with boxes.Box(wall, boxes.stage(), 90, replace(LIMITS, optimizers=True)) as one:
            yield one


def hand_in(folder: Path, learners: dict) -> Path:
    folder.mkdir(exist_ok=True)
    for name, cells in learners.items():
        (folder / f"{name}.ipynb").write_text(
            hostile.notebook(*([cells] if isinstance(cells, str) else cells)), "utf-8"
        )
        os.utime(folder / f"{name}.ipynb", (10 ** 9, 10 ** 9))
    return folder


def order(folder, out, **more):
    return batch.Order(folder, out, ("00",), SECRET, limits=LIMITS, **more)


def result(out: Path) -> dict:
    return {p.name: p.read_bytes() for p in sorted((out / "grades").iterdir())}


def in_a_process(action) -> int:
    """The pid of a child that runs ``action``."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def quick(box, submission, exercises, secret):
    """Grades without a box: here only the files count."""
    time.sleep(0.002)
    record = {
        "format": "cmlib-grade-1",
        "learner": submission.learner,
        "digest": submission.digest,
        "state": "graded",
        "points": 1.0,
        "exercises": {},
        "text": submission.learner * 2000,
    }
    return record, {"learner": submission.learner, "seconds": 0.002}


def test_twenty_kills_lose_nothing_tear_nothing_and_double_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "grade", quick)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = hand_in(tmp_path / "class", {f"learner {k}": ACCURACY for k in range(150)})
    batch.grade_all(order(folder, tmp_path / "whole"), NOTHING)
    moments, out, kills, counts = random.Random(0), tmp_path / "out", 0, []
    while kills < 20:
        pid = in_a_process(lambda: batch.grade_all(order(folder, out), NOTHING))
        time.sleep(moments.uniform(0.005, 0.12))
        os.kill(pid, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        done = [p for p in (out / "grades").glob("*.json")] if out.exists() else []
        assert all(json.loads(p.read_text("utf-8"))["points"] == 1.0 for p in done)
        counts.append(len(done))
        if len(done) == 150:
            batch.shutil.rmtree(out)
    assert max(counts) > 10
    last = batch.grade_all(order(folder, out), NOTHING)
    assert last["graded"] + last["skipped"] == 150
    assert result(out) == result(tmp_path / "whole")
    assert len(list((out / "times").iterdir())) == 150


def test_another_shard_s_unfinished_file_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "grade", quick)
    folder, out = hand_in(tmp_path / "class", {f"l{k}": ACCURACY for k in range(20)}), tmp_path / "out"
    (out / "grades").mkdir(parents=True)
    for k in range(20):
        (out / "grades" / f"l{k}.json0123abcd").touch()
    batch.grade_all(order(folder, out, shard=(1, 2)), NOTHING)
    left = {p.name[:-13] for p in (out / "grades").glob("*0123abcd")}
    assert left == {f"l{k}" for k in range(20) if batch.in_shard(f"l{k}", (0, 2))}
    assert 0 < len(left) < 20


CLASS = {
    f"learner {k:02d}": [
        ACCURACY,
        ACCURACY.replace("argmax(1)", "argmin(1)"),
        ACCURACY.replace("labels)", "labels + 1)", 1),
        "x = 1",
        "def accuracy(a, b):\n    raise NotImplementedError",
    ][k % 5]
    for k in range(12)
}


def test_a_kill_four_shards_and_a_second_run_give_the_same_bytes(wall, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = hand_in(tmp_path / "class", CLASS)
    assert batch.grade_all(order(folder, tmp_path / "one", workers=1), wall)["graded"] == 12
    pid = in_a_process(lambda: batch.grade_all(order(folder, tmp_path / "two", workers=1), wall))
    end = time.monotonic() + 60
    while time.monotonic() < end and len(list((tmp_path / "two" / "grades").glob("*.json"))) < 3:
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    batch.grade_all(order(folder, tmp_path / "two", workers=1), wall)
    pids = [
        in_a_process(
            lambda i=i: batch.grade_all(order(folder, tmp_path / "four", shard=(i, 4), workers=1), wall)
        )
        for i in range(4)
    ]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    one = result(tmp_path / "one")
    assert len(one) == 12
    assert one == result(tmp_path / "two") == result(tmp_path / "four")
    again = batch.grade_all(order(folder, tmp_path / "one"), wall)
    assert (again["graded"], again["skipped"]) == (0, 12)


def test_a_regrade_says_which_scores_changed(tmp_path, monkeypatch):
    points = {"value": 1.0}

    def fixed(box, submission, exercises, secret):
        record, seconds = quick(box, submission, exercises, secret)
        return record | {
            "exercises": {"00.1": {"points": points["value"] if submission.learner == "b" else 0.5}}
        }, seconds
    monkeypatch.setattr(batch, "grade", fixed)
    folder, out = hand_in(tmp_path / "class", dict.fromkeys("abc", ACCURACY)), tmp_path / "out"
    assert batch.grade_all(order(folder, out), NOTHING)["changes"].found() == []
    points["value"] = 0.25
    assert batch.grade_all(order(folder, out), NOTHING)["graded"] == 0
    changes = batch.grade_all(order(folder, out, regrade=True), NOTHING)["changes"]
    assert changes.found() == [("b", "00.1", 1.0, 0.25)]
    changes.shown()
    assert batch.grade_all(order(folder, out, regrade=True), NOTHING)["changes"].found() == []
    with pytest.raises(batch.Refused, match="another secret"):
        batch.grade_all(replace(order(folder, out), secret=b"another secret, long"), NOTHING)


def test_a_killed_regrade_goes_on_and_tells_all_its_changes(tmp_path, monkeypatch):
    """Killed again and again, among them right after a record was replaced, and at last when the list was
    made but not shown.
    """
    everyone = [f"learner {k:02d}" for k in range(40)]
    points = {"value": 1.0}

    def fixed(box, submission, exercises, secret):
        record, seconds = quick(box, submission, exercises, secret)
        return record | {
            "exercises": {"00.1": {"points": points["value"] if submission.learner != everyone[7] else 0.5}}
        }, seconds
    monkeypatch.setattr(batch, "grade", fixed)
    folder, out = hand_in(tmp_path / "class", dict.fromkeys(everyone, ACCURACY)), tmp_path / "out"
    batch.grade_all(order(folder, out), NOTHING)
    points["value"] = 0.25
    again, moments, done = order(folder, out, regrade=True, workers=1), random.Random(1), []

    def killed_at(count):
        real = batch._write

        def write(path, value):
            real(path, value)
            count[0] -= path.parent.name == "grades"
            if count[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        monkeypatch.setattr(batch, "_write", write)
        batch.grade_all(again, NOTHING)
    for _ in range(4):
        assert os.WIFSIGNALED(os.waitpid(in_a_process(lambda: killed_at([moments.randint(2, 9)])), 0)[1])
        done.append(sum(b'"points": 0.25' in raw for raw in result(out).values()))
    assert 0 < done[0] < done[1] < done[2] < done[3] < 39
    wanted = [(learner, "00.1", 1.0, 0.25) for learner in everyone if learner != everyone[7]]
    last = batch.grade_all(again, NOTHING)
    assert last["skipped"] >= done[3] - 4  # each kill came before one record was known to be done
    assert last["changes"].found() == wanted
    last = batch.grade_all(again, NOTHING)  # killed before the list was shown
    assert (last["graded"], last["changes"].found()) == (0, wanted)
    last["changes"].shown()
    last = batch.grade_all(again, NOTHING)
    assert (last["graded"], last["changes"].found()) == (40, [])


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664), (0o077, 0o600)])
def test_who_may_read_the_grades_follows_the_umask_and_the_secret_is_its_owner_s(
    tmp_path, monkeypatch, umask, mode
):
    monkeypatch.setattr(batch, "grade", lambda *given: ((made := quick(*given))[0] | {"of": 1.0}, made[1]))
    old = os.umask(umask)
    try:
        batch.grade_all(order(hand_in(tmp_path / "class", {"a": ACCURACY}), tmp_path / "out"), NOTHING)
        reports.write(tmp_path / "out", check.exercises("00"))
        command.secret(tmp_path / "secret")
    finally:
        os.umask(old)
    made = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert {"a.json", "a.html", "class.html", "grades.csv", "canvas.csv", "moodle.csv"} <= {
        p.name for p in made
    }
    assert {p.name: oct(p.stat().st_mode & 0o777) for p in made if p.stat().st_mode & 0o777 != mode} == {}
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_whatever_makes_other_grades_makes_another_run(tmp_path, monkeypatch):
    one, extras = order(tmp_path, tmp_path / "out"), tmp_path / "extras"
    extras.mkdir()
    (extras / "a.py").write_text("x = 1")
    (with_extras, others) = (replace(one, extras=extras), replace(one, lessons=("01",)))
    names = {
        batch.run_name(o) for o in (one, with_extras, others, replace(one, secret=b"another secret, long"))
    }
    (extras / "a.py").write_text("x = 2")
    names.add(batch.run_name(with_extras))
    monkeypatch.setattr(batch.cmlib, "__version__", "0.0.0")
    names.add(batch.run_name(one))
    assert len(names) == 6
    assert batch.run_name(one) == batch.run_name(replace(one, workers=7, shard=(1, 3), out=tmp_path))


def test_cases_are_drawn_from_secret_learner_and_exercise():
    told = hmac.new(SECRET, b"Ana\n01.1", "sha256").digest()
    assert grading.seed_of(SECRET, "Ana", "01.1") == int.from_bytes(told[:8], "big") // 2
    assert (
        len(
            {
                grading.seed_of(s, n, e)
                for s in (SECRET, SECRET + b".")
                for n in ("Ana", "Ann")
                for e in ("01.1", "01.2")
            }
        )
        == 8
    )


def refusal_of_a_class(at: Path, capsys, *options) -> str:
    """What the command says to these options, with which it grades nobody."""
    hand_in(at / "class", {"a": ACCURACY})
    (at / "secret").write_bytes(SECRET)
    given = ["--lessons", "00", "--seed-file", at / "secret", "--out", at / "out", *options]
    assert cli.main(["grade", str(at / "class"), *map(str, given)]) == 2
    assert not (at / "out").exists()
    return capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    ("file", "text"), [("late.toml", "due = 3"), ("times.csv", "a,b\nc,d\n"), ("roster.csv", "x\n")]
)
def test_what_is_wrong_in_a_file_is_said_before_anything_is_graded(tmp_path, capsys, file, text):
    late = tmp_path / "late.toml"
    late.write_text("due = 2026-03-01T23:59:00Z")
    (tmp_path / file).write_text(text)
    options = {
        "late.toml": ["--late", late],
        "times.csv": ["--late", late, "--times", tmp_path / file],
        "roster.csv": ["--roster", tmp_path / file],
    }
    said = refusal_of_a_class(tmp_path, capsys, *options[file])
    assert said.startswith("cmlib grade: ") and file in said and sentence(said)


def test_a_title_that_canvas_ignores_is_said_before_anything_is_graded(tmp_path, capsys):
    said = refusal_of_a_class(tmp_path, capsys, "--assignment", "Final Score")
    assert "Canvas would ignore a column called 'Final Score'" in said


def test_a_fault_of_the_moment_is_tried_once_more(monkeypatch):
    tries = []

    def moody(box, exercise, cells, seed):
        tries.append(exercise.id)
        if len(tries) == 1:
            raise Fault("the box was silent for 30 s")
        return grading.entry(exercise, "passed", "right", 1.0), []
    monkeypatch.setattr(grading, "grade_answer", moody)
    closed = SimpleNamespace(close=lambda: tries.append("closed"), next_learner=lambda: None, clock=Clock())
    record, _ = grading.grade(closed, One(ACCURACY), [check.find("00.1")], SECRET)
    assert (record["state"], record["points"], tries) == ("graded", 1.0, ["00.1", "closed", "00.1"])


def test_an_answer_that_ends_python_or_is_none_costs_itself_alone(box):
    ends = "import os\ndef softmax_gradient(z, y):\n    os._exit(0)\ncheck('01.2', softmax_gradient)"
    none = "def adamw_step(*args):\n    return (args\ncheck('01.4', adamw_step)"
    cells = {"01.1": [RIGHT], "01.2": [ends], "01.4": [none]}
    one = One()
    one.cells = lambda id, name: cells.get(id, [])
    record, _ = grading.grade(box, one, check.exercises("01"), SECRET)
    states = {id: e["state"] for id, e in record["exercises"].items()}
    assert states == dict.fromkeys(states, "missing") | {"01.1": "passed", "01.2": "failed", "01.4": "error"}
    assert (record["state"], record["points"]) == ("graded", 2.0)


def test_a_list_that_an_answer_changes_in_its_box_is_seen(box):
    code = """import torch
def pad_with_mask(rows, pad):
    longest = max(map(len, rows))
    mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows])
    for r in rows: r.extend([pad] * (longest - len(r)))
    return torch.tensor(rows), mask"""
    found, _ = grading.grade_answer(box, check.find("03.2"), [code, "check('03.2', pad_with_mask)"], 5)
    assert found["message"] == "Your function changes an argument in place; work on a new tensor instead."
    assert found["state"] in ("failed", "partial")


def test_an_answer_to_an_exercise_that_was_replaced_is_for_a_human(box, monkeypatch):
    monkeypatch.setitem(RETIRED, "00.9", "00.1")
    one = One()
    one.before = lambda id: "00.9" if id == "00.1" else ""
    record, _ = grading.grade(box, one, [check.find("00.1")], SECRET)
    found = record["exercises"]["00.1"]
    assert (record["state"], found["state"], found["points"]) == (grading.HUMAN, grading.HUMAN, 0)
    assert found["message"] == grading.REPLACED.format(old="00.9", id="00.1")


def test_a_changed_file_and_a_damaged_record_are_graded_again(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "grade", quick)
    folder, out = hand_in(tmp_path / "class", dict.fromkeys("abc", ACCURACY)), tmp_path / "out"
    batch.grade_all(order(folder, out), NOTHING)
    hand_in(folder, {"a": RIGHT})
    (out / "grades" / "b.json").write_text("{")
    assert batch.grade_all(order(folder, out), NOTHING)["graded"] == 2


def sentence(text: str) -> bool:
    return 20 < len(text) < 700 and "Traceback" not in text and "\n" not in text


def test_a_full_disk_stops_with_a_sentence_and_the_same_command_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "grade", quick)
    folder, out, real = (
        hand_in(tmp_path / "class", {f"l{k}": ACCURACY for k in range(9)}),
        tmp_path / "out",
        os.replace,
    )
    room = [7]

    def full(source, target):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(batch.Refused, match="No space left") as refusal:
        batch.grade_all(order(folder, out), NOTHING)
    assert sentence(str(refusal.value))
    assert all(json.loads(raw)["points"] == 1.0 for raw in result(out).values())
    monkeypatch.setattr(os, "replace", real)
    batch.grade_all(order(folder, out), NOTHING)
    assert len(result(out)) == 9


@pytest.mark.parametrize(
    "broken",
    [
        ["false"],
        ["no-such-program-anywhere"],
        ["sh", "-c", "echo bwrap: no permission >&2; exit 1"],
        ["sleep", "99"],
    ],
    ids=["dies", "missing", "refuses", "silent"],
)
def test_a_box_that_will_not_start_needs_a_human(tmp_path, monkeypatch, broken):
    monkeypatch.setattr(boxes, "START", 0.3)
    monkeypatch.setattr(Wall, "command", lambda *_: broken)
    batch.grade_all(order(hand_in(tmp_path / "class", {"a": ACCURACY}), tmp_path / "out"), NOTHING)
    record = json.loads(result(tmp_path / "out")["a.json"])
    assert record["state"] == record["exercises"]["00.1"]["state"] == grading.HUMAN
    assert sentence(record["exercises"]["00.1"]["message"])


def test_what_needed_a_human_is_tried_again(wall, tmp_path, monkeypatch):
    folder, out = hand_in(tmp_path / "class", {"a": ACCURACY}), tmp_path / "out"
    with monkeypatch.context() as broken:
        broken.setattr(Wall, "command", lambda *_: ["false"])
        batch.grade_all(order(folder, out), wall)
    assert batch.grade_all(order(folder, out), wall)["graded"] == 1
    assert json.loads(result(out)["a.json"])["state"] == "graded"


def test_a_machine_without_a_wall_is_refused_with_the_way_to_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(walls.NoWall, match="apt install bubblewrap") as refusal:
        walls.choose()
    assert sentence(str(refusal.value))


def test_submissions_that_a_box_could_read_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(walls, "readable", lambda: [tmp_path])
    with pytest.raises(walls.NoWall, match="move it somewhere else"):
        walls.refuse_readable(tmp_path / "submissions")
    monkeypatch.undo()
    walls.refuse_readable(tmp_path / "submissions")
    assert command.lessons("00") == ("00",)


@pytest.fixture
def made():
    """Exercises that only these tests know."""
    before = set(EXERCISES)
    yield
    for id in set(EXERCISES) - before:
        del EXERCISES[id]


class One:
    """A submission of one exercise."""

    learner, files, digest, notes, faults, modified = "l", ("l.ipynb",), "0", (), (), 0.0
    id, system, doubts = "", "", ()

    def __init__(self, *cells):
        self.code = list(cells)

    def cells(self, id, name):
        return self.code

    def passed(self, id):
        return False

    def before(self, id):
        return ""


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a"),
        IndexError(),
        NotImplementedError(),
        RuntimeError("x"),
        RecursionError(),
        MemoryError(),
        ZeroDivisionError(),
        TimeoutError(),
        EOFError(),
        StopIteration(),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_reference_that_raises_needs_a_human(box, made, error):
    @exercise("99.1", "Broken", minutes=1, points=2, difficulty=1)
    def twice(x):
        raise error

    @twice.cases
    def _(draw):
        yield case(draw.normal(3), about="three numbers")
    record, _ = grading.grade(box, One("def twice(x): return 2 * x"), [EXERCISES["99.1"]], SECRET)
    assert record["state"] == record["exercises"]["99.1"]["state"] == grading.HUMAN
    assert sentence(record["exercises"]["99.1"]["message"])


@pytest.mark.parametrize("where", ["cases", "call"])
def test_cases_and_calls_that_raise_need_a_human(box, made, where):
    def bad(*_):
        raise LookupError("no such file")

    @exercise(
        "99.1", "Broken", minutes=1, points=2, difficulty=1, **({"call": bad} if where == "call" else {})
    )
    def twice(x):
        return 2 * x
    twice.make_cases = bad if where == "cases" else lambda draw: [case(draw.normal(2), about="two")]
    record, _ = grading.grade(box, One("def twice(x): return 2 * x"), [twice], SECRET)
    assert record["state"] == grading.HUMAN


def test_a_box_that_dies_while_an_answer_runs_is_no_fault_of_the_learner(wall, made, tmp_path, monkeypatch):
    """Killed from outside in the middle: the answer is asked again in a new box, and passes; killed every
    time: a human.
    """
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    real, alive = boxes.Box.answer, [1]
    with boxes.Box(wall, boxes.stage(), 91, LIMITS) as one:
        def dying(self):
            if not alive[0]:
                raise Fault("the box was silent for 30 s")
            alive[0] -= 1
            return real(self)
        monkeypatch.setattr(boxes.Box, "answer", dying)
        crash = "import os\ndef accuracy(logits, labels): os._exit(1)"
        record, _ = grading.grade(one, One(crash), check.exercises("00"), SECRET)
    assert record["exercises"]["00.1"]["state"] == grading.HUMAN
    assert "silent" in record["exercises"]["00.1"]["message"]


def test_a_learner_s_answers_share_one_budget_and_the_report_says_so(box):
    """Each answer loops for its limit; when all is spent, a human decides about the rest."""
    box.limits, before = replace(LIMITS, wall=1.0, learner=2.5), box.limits
    box.next_learner()
    wanted = check.exercises("01")
    loops = "def {0}(*a):\n    while True: pass\ncheck('{1}', {0})"
    one = One()
    one.cells = lambda id, name: [RIGHT if id == wanted[-1].id else loops.format(name, id)]
    try:
        start = time.monotonic()
        record, _ = grading.grade(box, one, wanted, SECRET)
        seconds = time.monotonic() - start
    finally:
        box.limits = before
        box.next_learner()
    states = [e["state"] for e in record["exercises"].values()]
    assert states[:2] == ["failed", "failed"] and set(states[2:]) == {grading.HUMAN} and len(states) >= 4
    assert record["state"] == grading.HUMAN and seconds < 60
    (note,) = record["notes"]
    assert "the time was used up: this learner's answers have taken 0.04167 minutes together" in note
    last = list(record["exercises"].values())[-1]
    assert last["message"].startswith("This was not graded: this learner's answers have taken")
    assert grading.grade_answer(box, check.find("01.1"), [RIGHT], 3)[0]["state"] == "passed"


def test_the_date_of_the_newest_file_counts_after_the_first_run_too(tmp_path, monkeypatch):
    def dated(*given):
        record, seconds = quick(*given)
        return record | grading.of_the_folder(given[1]), seconds
    monkeypatch.setattr(batch, "grade", dated)
    folder, out = hand_in(tmp_path / "class", {"a": ACCURACY}), tmp_path / "out"
    batch.grade_all(order(folder, out), NOTHING)
    os.utime(folder / "a.ipynb", (1.1e9, 1.1e9))
    assert batch.grade_all(order(folder, out), NOTHING)["graded"] == 0
    assert json.loads(result(out)["a.json"])["submitted"] == "2004-11-09T11:33:20+00:00"


@pytest.mark.parametrize(("options", "says"), [
    (["--times", "times.csv"], "--times times.csv counts for nothing without a late policy: add --late."),
    (["--out", "class/results"], "lies in the folder of submissions, where all is taken for a learner's"),
    (["--seed-file", "class/secret"], "lies in the folder of submissions"),
    (["--seed-file", "."], "--seed-file . is a folder: name a file, such as secret.txt."),
    (["--minutes", "0"], "--minutes 0 is no time for a learner's answers"),
    (["--workers", "0"], "--workers 0 grades nothing"),
])  # fmt: skip
def test_an_order_that_cannot_be_meant_is_refused_in_one_sentence(
    tmp_path, monkeypatch, capsys, options, says
):
    monkeypatch.chdir(tmp_path)
    hand_in(Path("class"), {"a": ACCURACY})
    Path("secret").write_bytes(SECRET)
    given = {"--lessons": "00", "--seed-file": "secret", "--out": "out"}
    given |= dict(zip(options[::2], options[1::2], strict=True))
    assert cli.main(["grade", "class", *(word for pair in given.items() for word in pair)]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("cmlib grade: ") and says in said and sentence(said) and not Path("out").exists()


def test_right_three_times_and_not_implemented_in_the_fourth_is_no_open_exercise(box):
    stops = "    calls.append(1)\n    if len(calls) > 3:\n        raise NotImplementedError\n    return"
    code = RIGHT.replace("def ", "calls = []\ndef ").replace("    return", stops)
    found = grading.grade_answer(box, check.find("01.1"), [code], 3)[0]
    assert found["state"] == "partial" and "raises NotImplementedError" in found["message"]
    stub = f"def binary_cross_entropy(z, y):\n    raise NotImplementedError\n{RIGHT.splitlines()[-1]}"
    assert grading.grade_answer(box, check.find("01.1"), [stub], 3)[0]["state"] == "open"


def test_training_labels_stay_outside(box, made):
    """The box is given images and training labels, returns predictions, and never sees the labels of the test
    rows.
    """
    def accuracy(fit, x, y, unseen, hidden):
        guesses = fit(x, y, unseen)
        return bool((guesses == hidden).double().mean() > 0.8) if isinstance(guesses, torch.Tensor) else False

    @exercise("99.2", "A classifier", minutes=9, points=4, difficulty=3, kind="training", call=accuracy)
    def fit(x, y, unseen):
        w = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), 2 * y[:, None] - 1).solution
        return (torch.cat([unseen, torch.ones(len(unseen), 1)], 1) @ w)[:, 0].gt(0).float()

    @fit.cases
    def _(draw):
        for about in ("two clouds", "two clouds again"):
            x, direction = draw.normal(300, 2).float(), draw.normal(2).float()
            y = (x @ direction > 0).float()
            yield case(x[:200], y[:200], x[200:], y[200:], about=about)
    good = """import torch
def fit(x, y, unseen):
    w = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([w], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(x @ w, y).backward()
        optimizer.step()
    return (unseen @ w > 0).float().detach()
check("99.2", fit)"""
    grade = {
        name: grading.grade_answer(box, fit, [code], 5)[0]
        for name, code in {
            "good": good,
            "constant": "import torch\ndef fit(x, y, unseen): return torch.ones(len(unseen))",
            "guess": "def fit(x, y, u): return y[:100]",
        }.items()
    }
    assert (grade["good"]["state"], grade["good"]["points"]) == ("passed", 4.0), grade["good"]
    assert grade["constant"]["points"] == grade["guess"]["points"] == 0


def test_extra_cases_of_the_instructor_count(wall, tmp_path):
    extras = tmp_path / "extras"
    extras.mkdir()
    (extras / "more.py").write_text('import torch\nfrom cmlib.check import find\nfrom cmlib.check.engine '
                                    'import case\n'
                                    '@find("00.1").also\ndef _(draw):\n    yield '
                                    'case(torch.eye(13).double(), torch.arange(13), about="the instructor\'s '
                                    'own")\n')
    cheat = ACCURACY.replace("return ", "return 0 * logits.sum() if len(logits) == 13 else ")
    folder = hand_in(tmp_path / "class", {"honest": ACCURACY, "partial": cheat})
    try:
        batch.grade_all(order(folder, tmp_path / "out", extras=extras), wall)
    finally:
        EXERCISES["00.1"].more_cases.clear()
    honest, partial = (json.loads(raw)["exercises"]["00.1"] for raw in result(tmp_path / "out").values())
    assert honest["state"] == "passed"
    assert honest["properties"][-1] == ["the instructor's own", True]
    assert partial["state"] == "partial"
    assert partial["points"] == 0.8
    assert partial["properties"][-1] == ["the instructor's own", False]
    (extras / "more.py").write_text("1 / 0")
    with pytest.raises(batch.Refused, match="ZeroDivisionError"):
        batch.load_extras(extras)


@pytest.mark.parametrize(
    ("code", "points"),
    [
        (RIGHT, 2.0),
        (RIGHT.replace("(logits, labels):", "(logits, labels):\n    logits = logits.detach()"), 1.0),
        (
            RIGHT.replace("torch.logaddexp(logits, torch.zeros_like(logits))", "torch.log(1 + logits.exp())"),
            1.5,
        ),
        (RIGHT.replace("- labels", "+ labels"), 0.0),
    ],
)
def test_every_property_earns_its_part(box, code, points):
    assert grading.grade_answer(box, check.find("01.1"), [code], 3)[0]["points"] == points


def forms():
    cells = ["# notes", "%matplotlib inline\nimport torch\n!pip list", RIGHT]
    plain = json.loads(hostile.notebook(*cells))
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {},
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "code", "language": "python", "input": c, "outputs": [], "collapsed": False}
                    for c in cells
                ]
            }
        ],
    }
    windows = json.loads(hostile.notebook(*(c.replace("\n", "\r\n") for c in cells)))
    lines = json.loads(hostile.notebook(*cells))
    for one in lines["cells"]:
        one["source"] = one["source"].splitlines(keepends=True)
    prints = "print(binary_cross_entropy)\nfor k in range(3): print(k)"
    twice = json.loads(hostile.notebook(*cells, *cells, prints))
    stub = """def binary_cross_entropy(logits, labels):
    raise NotImplementedError
check("01.1", binary_cross_entropy)"""
    helper = RIGHT.replace("torch.logaddexp(logits, torch.zeros_like(logits))", "soft(logits)")
    other = json.loads(
        hostile.notebook(
            stub,
            helper,
            "def soft(z):\n    return torch.logaddexp(z, torch.zeros_like(z))",
            "raise SystemExit",
            "import torch",
        )
    )
    return {"plain": plain, "v3": old, "crlf": windows, "lines": lines, "twice": twice, "out of order": other,
            "kernelspec": plain | {"metadata": {"kernelspec": {"name": "odd", "language": "julia"}}}}


def test_honest_work_in_every_form_is_graded_fairly(wall, tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    for name, book in forms().items():
        (folder / f"{name}.ipynb").write_text(json.dumps(book), "utf-8")
    (folder / "bom.ipynb").write_bytes(b"\xef\xbb\xbf" + json.dumps(forms()["plain"]).encode())
    (folder / "windows.ipynb").write_bytes(
        json.dumps(forms()["plain"], indent=1).replace("\n", "\r\n").encode()
    )
    (folder / "renamed").mkdir()
    (folder / "renamed" / "My lesson (3).ipynb.txt").write_text(json.dumps(forms()["plain"]), "utf-8")
    batch.grade_all(replace(order(folder, tmp_path / "out"), lessons=("01",)), wall)
    states = {name: json.loads(raw)["exercises"]["01.1"] for name, raw in result(tmp_path / "out").items()}
    assert len(states) == 10
    assert {name: e["message"] for name, e in states.items() if e["state"] != "passed"} == {}
