"""The hostile suite in one batch with honest neighbours: no forged point, nobody else's score changed,
nothing seen, nothing left.
"""

import gc
import json
import os
import re
import socket
import tempfile
import threading
import time
from pathlib import Path

import hostile
import hostile_cells
import pytest
import torch

from cmlib import check
from cmlib.check.engine import Draw, properties
from cmlib.grade import batch, frames, grading, inside, scoring, walls
from cmlib.grade.submissions import collect

ROOT = Path(__file__).resolve().parents[2]
SECRET = b"5ecret-0f-the-c0urse-0123456789abcdef"
LIMITS = walls.Limits(memory=768 << 20, disk=8 << 20, cpu=20, wall=1.5, processes=24)
# not those of a grader, or of another such test, that runs beside this one
UIDS = 231_000 + 100 * (os.getpid() % 1000)
MARK = "M4RK-OF-A-NEIGHBOUR"
RIGHT = f'''import torch
NOTE = "{MARK}"
def binary_cross_entropy(logits, labels):
    assert NOTE
    return (torch.logaddexp(logits, torch.zeros_like(logits)) - labels * logits).mean()
check("01.1", binary_cross_entropy)'''
NEIGHBOURS = {
    "Ann": RIGHT,
    "Mid": RIGHT.replace("- labels", "+ labels"),
    "Pia": RIGHT.replace("logaddexp(logits, torch.zeros_like(logits))", "log(1 + logits.exp())"),
    "Zoe": RIGHT,
}


SUITE = hostile.SUITE + hostile_cells.CELLWISE


def write_neighbours(folder, names=tuple(NEIGHBOURS)):
    folder.mkdir()
    for name, code in ((name, NEIGHBOURS[name]) for name in names):
        (folder / f"{name}.ipynb").write_text(hostile.notebook(code, hostile.HONEST), "utf-8")
        os.utime(folder / f"{name}.ipynb", (10 ** 9, 10 ** 9))


def order(folder, out):
    return batch.Order(folder, out, ("01",), SECRET, workers=2, limits=LIMITS)


class Result:
    """One batch of attackers behind a wall. suite : the attackers, None for all, with the files that are
    none.
    """

    def __init__(self, base, patch, wall, suite=None, neighbours=tuple(NEIGHBOURS)):
        self.held_before = self.held()
        self.tmp = base / "scratch"
        self.tmp.mkdir()
        patch.setattr(tempfile, "tempdir", str(self.tmp))
        patch.setattr(inside, "FIRST_UID", UIDS)
        patch.setenv("COURSE_TOKEN", "T0KEN-OF-THE-HOST")
        (base / "answers.txt").write_text("F1LE-OF-THE-HOST")
        write_neighbours(base / "clean", neighbours)
        batch.grade_all(order(base / "clean", base / "clean-out"), wall)
        folder = base / "class"
        write_neighbours(folder, neighbours)
        self.received, unpack = [], frames.unpack

        def watched(header, body, formulas=False):
            self.received.append(bytes(header))
            return unpack(header, body, formulas)
        patch.setattr(frames, "unpack", watched)
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind(hostile.HOST_SOCKET)
            abstract.listen()
            hostile.write(folder, server.getsockname()[1], suite or SUITE)
            self.files = 0 if suite else hostile.write_files(folder, base / "clean" / "Ann.ipynb")
            start = time.monotonic()
            batch.grade_all(order(folder, base / "out"), wall)
            self.seconds = time.monotonic() - start
            self.callers = 0
            for listener in (server, abstract):
                listener.setblocking(False)
                try:
                    listener.accept()
                    self.callers += 1
                except BlockingIOError:
                    pass
        self.records = {
            r["learner"]: r
            for p in (base / "out" / "grades").iterdir()
            for r in [json.loads(p.read_text("utf-8"))]
        }
        self.learners = [s.learner for s in collect(folder)]
        self.same = {
            name: (base / "clean-out" / "grades" / f"{name}.json").read_bytes()
            == (base / "out" / "grades" / f"{name}.json").read_bytes()
            for name in neighbours
        }
        self.seen = b"\n".join(self.received).decode("utf-8", "replace")

    @staticmethod
    def held():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()


@pytest.fixture(scope="module")
def graded(wall, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMLIB_HOME", str(tmp_path_factory.mktemp("home")))
        yield Result(tmp_path_factory.mktemp("hostile"), patch, wall)


def test_the_suite_is_large_and_its_names_differ():
    assert len({one.name for one in SUITE}) == len(SUITE) >= 200


def test_everybody_has_a_result(graded):
    assert len(graded.records) == len(graded.learners) == len(SUITE) + len(NEIGHBOURS) + graded.files
    assert set(graded.records) == set(graded.learners)


@pytest.mark.parametrize("one", SUITE, ids=lambda one: one.name)
def test_a_hostile_answer_earns_what_its_code_earns_and_hears_why(graded, one):
    record = graded.records[one.name]
    entry = record["exercises"]["01.1"]
    assert entry["points"] <= one.most, entry
    assert record["state"] == ("needs a human" if one.human else "graded")
    wanted = ("needs a human",) if one.human else ("passed", "partial", "failed", "error", "open")
    assert entry["state"] in wanted, entry
    assert (entry["state"] == "passed") == (one.most == entry["of"]) or not one.sure, entry
    assert "P4SSED" not in entry["message"]
    assert 4 < len(entry["message"]) <= scoring.LONGEST
    assert one.says in entry["message"]
    assert record["exercises"]["01.2"]["state"] == "passed"
    assert record["points"] <= one.most + record["exercises"]["01.2"]["of"]


def test_files_that_are_none_get_a_reason_and_no_points(graded):
    others = [
        r
        for r in graded.records.values()
        if r["learner"] not in {one.name for one in SUITE} | set(NEIGHBOURS)
    ]
    assert len(others) == graded.files
    for record in others:
        assert record["points"] == 0
        large = record["learner"] in ("a bomb", "wide", "minus signs")  # perhaps honest work
        assert record["state"] in (("needs a human",) if large else ("graded", "learner's error")), record
        assert all(e["message"] for e in record["exercises"].values())
        assert record["notes"] or any(e["state"] != "missing" for e in record["exercises"].values()), record


def test_no_neighbour_s_score_changes(graded):
    assert graded.same == dict.fromkeys(NEIGHBOURS, True)
    assert graded.records["Ann"]["exercises"]["01.1"]["state"] == "passed"


def secrets(learners):
    yield from (
        SECRET.decode(),
        "T0KEN-OF-THE-HOST",
        "F1LE-OF-THE-HOST",
        MARK,
        "C0NNECTED",
        "L3FT-BEHIND",
        "root:x:0",
        SECRET.hex(),
    )
    yield from (str(grading.seed_of(SECRET, name, id)) for name in learners for id in ("01.1", "01.2"))
    answers = "check/lesson01.py", "check/engine.py", "losses/classification.py"
    for source in (*answers, "grade/grading.py", "grade/box.py"):
        lines = {line.strip() for line in (ROOT / "cmlib" / source).read_text("utf-8").splitlines()}
        yield from (line for line in lines if len(line) > 50)
    try:
        yield from (line for line in Path("/etc/shadow").read_text().splitlines() if line)
    except OSError:
        pass


def test_nothing_secret_is_seen_inside(graded):
    assert len(graded.seen) > 100_000
    assert "'box'" in graded.seen  # the spies did look about: this is in the list of /
    found = [
        secret
        for secret in secrets(graded.learners)
        if secret in graded.seen or json.dumps(secret)[1:-1] in graded.seen
    ]
    assert found == []


def test_what_the_heads_of_house_see_is_the_python_alone(graded):
    allowed = set(Path(os.path.realpath(os.sys.base_prefix)).parts) | set(Path(os.sys.prefix).parts)
    for home in ("/root", "/home"):
        for name in os.listdir(home) if os.path.isdir(home) and os.access(home, os.R_OK) else ():
            assert name in allowed or len(name) < 5 or f"'{name}'" not in graded.seen


def test_nobody_called_the_host(graded):
    assert graded.callers == 0


def processes():
    """(uid, parent, name) of every process of this machine."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(re.findall(r"^(\w+):\t(\S+)", status.read_text(), flags=re.MULTILINE))
        except OSError:  # it has just ended
            continue
        yield int(fields["Uid"]), int(fields["PPid"]), fields["Name"]


def test_no_process_group_or_file_is_left(graded):
    time.sleep(0.2)
    left = [
        name
        for uid, parent, name in processes()
        if UIDS <= uid < UIDS + 100 or (parent == os.getpid() and "bwrap" in name)
    ]
    assert left == []
    assert list(Path("/sys/fs/cgroup").glob(f"**/cmlib-{os.getpid()}-*")) == []
    assert list(graded.tmp.iterdir()) == []
    assert graded.held()[1] <= graded.held_before[1]
    assert graded.held()[0] <= graded.held_before[0] + 1


SEEDS = [grading.seed_of(SECRET, name, "x") for name in ("a", "b", "c")]
EVERY = [e for lesson in ("00", "01", "02", "03", "04", "05", "06", "07") for e in check.exercises(lesson)]
HEAVY = ("04.4", "05.3", "05.4")


def points(exercise, answer, seed):
    return scoring.scored(exercise, list(properties(exercise, answer, seed)), seed)["points"]


@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.id)
def test_constants_zeros_inputs_and_tables_of_the_printed_cases_earn_nothing(exercise):
    """In every exercise of lessons 00 to 07, for three learners."""
    table: dict = {}
    for one in exercise.make_cases(Draw(0)):
        def keep(*args, _one=one, **kwargs):
            table[frames.pack({}, args)] = exercise.reference(*args, **kwargs)
            return table[frames.pack({}, args)]
        exercise.call(keep, *one.args)
    last = next(reversed(table.values()))

    def memory(*args, **kwargs):
        plain = tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in args)
        return table.get(frames.pack({}, plain), last)

    cheats = {
        "memory": memory,
        "the last result": lambda *a, **k: last,
        "input": lambda *a, **k: a[0],
        "last input": lambda *a, **k: a[-1],
        "zero": lambda *a, **k: torch.zeros((), dtype=torch.float64),
        "zeros": lambda *a, **k: torch.zeros_like(a[0]),
        "0": lambda *a, **k: 0,
        "text": lambda *a, **k: "right",
        "nothing": lambda *a, **k: None,
        "list": lambda *a, **k: [],
        "pair": lambda *a, **k: (a[0], a[-1]),
    }
    for name in ("memory", "input") if exercise.id in HEAVY else cheats:
        for seed in SEEDS[:1] if exercise.id in HEAVY else SEEDS:
            assert points(exercise, cheats[name], seed) == 0, name
