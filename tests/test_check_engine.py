"""A check answers every answer, however bad, with one sentence; progress survives whatever befalls its
file.
"""

import json
import os
import re
import stat
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from cmlib import check as checks
from cmlib.check import records
from cmlib.check.compare import difference
from cmlib.check.engine import Exercise, Verdict, case, judge
from cmlib.check.retired import RETIRED, Retired


def scale_rows(x, w):
    """The reference: (rows, columns), (columns,) → (rows, columns)."""
    return (x - 1) * w


def make_cases(draw):
    yield case(draw.normal(4, 3), draw.normal(3), about="random rows")
    yield case(draw.normal(3, 3), draw.normal(3), about="a square input")


SCALE = Exercise(
    "99.1",
    "Scale rows",
    scale_rows,
    minutes=1,
    points=1,
    difficulty=1,
    grad=(0,),
    make_cases=make_cases,
    mistakes=[("You forgot to subtract 1.", lambda x, w: x * w)],
)


def sentence(answer, exercise=SCALE):
    verdict = judge(exercise, answer)
    assert verdict.state == "failed"
    assert "\n" not in verdict.message and verdict.message
    return verdict.message


def in_place(x, w):
    with torch.no_grad():
        x -= 1
    return x * w


def forever(x, w):
    return forever(x, w)


def misspelt(x, w):
    return x * weight  # noqa: F821


BAD = {
    "shape": (
        lambda x, w: ((x - 1) * w)[:, :2],
        "yours is (4, 2), and (4, 3) is wanted: the last place of dimension 1 is missing.",
    ),
    "flat": (
        lambda x, w: ((x - 1) * w).flatten(),
        "The shape is wrong: yours is (12,), and (4, 3) is wanted (the values are right).",
    ),
    "transposed": (
        lambda x, w: ((x - 1) * w).T,
        "This is the transpose: your shape is (3, 4), and (4, 3) is wanted.",
    ),
    "dtype": (
        lambda x, w: ((x - 1) * w).float(),
        "The dtype is wrong: yours is float32, and float64 is wanted (the values are right).",
    ),
    "nothing": (lambda x, w: None, "Return a tensor of shape (4, 3); you return None."),
    "text": (lambda x, w: "done", "you return a text."),
    "number": (lambda x, w: 3.0, "you return a float."),
    "whole number": (lambda x, w: 3, "you return an int."),
    "array": (lambda x, w: scale_rows(x, w).detach().numpy(), "you return a ndarray (the values are right)."),
    "list": (lambda x, w: scale_rows(x, w).tolist(), "you return a list (the values are right)."),
    "nan": (lambda x, w: (x - 1) * w / 0 * 0, "Only nan appears for random rows"),
    "inf": (lambda x, w: (x.abs() + 1) * float("inf"), "inf appears in the result."),
    "sign": (lambda x, w: (1 - x) * w, "The sign is wrong: every value is the negative of the right one."),
    "scale": (lambda x, w: 2 * (x - 1) * w, "Every value is 2 times what it should be."),
    "offset": (lambda x, w: (x - 1) * w + 3, "Every value is off by the same constant."),
    "in place": (in_place, "Your function changes `x` in place; work on a new tensor instead."),
    "recursion": (forever, "Your function calls itself without end."),
    "exception": (misspelt, "Your code raises NameError in line"),
    "arity": (lambda x: x, "Your code raises TypeError"),
    "known mistake": (lambda x, w: x * w, "You forgot to subtract 1."),
    "no gradient": (lambda x, w: scale_rows(x, w).detach(), "The values are right, but no gradient flows"),
    "wrong gradient": (
        lambda x, w: (x - 1).detach() * w + 0 * x,
        "gradient with respect to x is wrong for random rows",
    ),
    "complex": (
        lambda x, w: scale_rows(x, w).to(torch.complex128),
        "The dtype is wrong: yours is complex128",
    ),
    "result instead of function": (
        torch.zeros(4, 3),
        'Give the function itself, check("99.1", scale_rows), not its result',
    ),
    "close, not equal": (
        lambda x, w: (x - 1) * w + 1e-3 * x,
        "The result is wrong for random rows: it is off by up to 0.00",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_gets_its_sentence(name):
    answer, expected = BAD[name]
    assert expected in sentence(answer)


def test_true_and_false_of_numpy_are_true_and_false():
    assert difference(np.any([True]), True, 0, 0) is None
    assert difference(np.False_, True, 0, 0) == "False is not right."
    assert difference({"a": 1}, {"a": 1, "b": 2}, 0, 0).endswith("yours has a.")
    assert difference(3, {"a": 1}, 0, 0) == "Return a dict with the keys a; you return an int."
    assert difference(None, {"a": 1}, 0, 0) == "Return a dict with the keys a; you return None."


def test_a_square_result_transposed_is_named():
    square = Exercise(
        "99.2",
        "Square",
        lambda x: 2 * x,
        1,
        1,
        1,
        make_cases=lambda draw: [case(draw.normal(3, 3), about="a square")],
    )
    assert sentence(lambda x: 2 * x.T, square) == "This is the transpose of the right result."


@pytest.mark.parametrize(
    "answer", [scale_rows, lambda x, w: x * w - w, lambda x, w: torch.stack([row * w - w for row in x])]
)
def test_a_right_answer_passes_however_it_is_written(answer):
    assert judge(SCALE, answer) == Verdict("99.1", "passed", "right", 1)


def stub(x, w):
    raise NotImplementedError


def half_a_stub(x, w):
    def inner():
        raise NotImplementedError("still to be written")
    return inner() * w


@pytest.mark.parametrize("answer", [None, ..., stub, half_a_stub])
def test_no_answer_yet_is_open_not_wrong(answer):
    assert judge(SCALE, answer).state == "open"


class Misspelt(torch.nn.Module):
    def foward(self, x, w):
        return (x - 1) * w


@pytest.mark.parametrize(("answer", "says"), [
    (lambda x, w: (x > 1).mean(), "a mean needs decimal numbers, so turn them into .double() first"),
    (lambda x, w: x.long().softmax(1), "are no decimal numbers: turn them into .double() first"),
    (lambda x, w: (x > 1) - (x > 2), "True and False cannot be subtracted: .double() first, or ~"),
    (Misspelt(), "the module has no method called forward; is it misspelt?"),
    (lambda x, w: x @ x, "the shapes do not fit: print them"),
])
def test_what_torch_does_not_implement_is_an_answer_that_fails(answer, says):
    assert says in sentence(answer)


def test_the_same_seed_draws_the_same_cases_and_another_seed_others():
    seen = []
    for seed in (0, 0, 1):
        judge(SCALE, lambda x, w: seen.append(x.detach().clone()) or scale_rows(x, w), seed)
    assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[4])


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (4, "Every value is 4 times"),
        (0.25, "Every value is 0.25 times"),
        (1.37, "it is off by up to"),
        (9, "Every value is 9 times"),
        (0, "it is off by up to"),
    ],
)
def test_one_number_is_some_multiple_of_any_other(factor, expected):
    mean = Exercise(
        "99.7",
        "Mean",
        lambda x: x.mean(),
        1,
        1,
        1,
        make_cases=lambda draw: [case(draw.normal(9), about="a row")],
    )
    assert expected in sentence(lambda x: factor * x.mean(), mean)


def test_parts_are_named():
    two = Exercise(
        "99.3",
        "Two",
        lambda x: (x, x + 1),
        1,
        1,
        1,
        make_cases=lambda draw: [case(draw.normal(3), about="a row")],
    )
    assert judge(two, lambda x: [x, x + 1]).state == "passed"
    assert (
        sentence(lambda x: (x, x + 1, x), two)
        == "The result is wrong for a row: it has 3 parts where 2 are wanted."
    )
    assert sentence(lambda x: (x, x + 2), two).startswith("In the second of 2 values, every value is off by")
    assert sentence(lambda x: (x, 3 * x), two).startswith(
        "The result is wrong for a row: in the second of 2 values, it is off by up to"
    )
    named = replace(two, names=("the place", "`next_place`"))
    assert "in `next_place`, it is off by" in sentence(lambda x: (x, 3 * x), named)
    assert sentence(lambda x: (2 * x, 2 * x + 2), named) == "Every value is 2 times what it should be."
    assert sentence(lambda x: (2 * x, x + 1), named) == \
        "In the place, every value is 2 times what it should be."
    assert sentence(lambda x: (x + 1, x), named) == "The 2 values are in the wrong order."
    assert sentence(lambda x: (x, (x + 1).float()), named).startswith(
        "The result is wrong for a row: in `next_place`, the dtype is wrong"
    )
    assert sentence(lambda x: x, two).startswith("Return 2 values as a tuple; you return a float64 tensor")


def test_entries_are_named():
    entries = Exercise("99.4", "Dict", lambda x: {"a": x, "b": 2}, 1, 1, 1,
                       make_cases=lambda draw: [case(draw.normal(3), about="a row")])
    assert judge(entries, lambda x: {"b": 2, "a": x}).state == "passed"
    assert sentence(lambda x: {"a": x}, entries) == "Return a dict with the keys a, b; yours has a."
    assert "In entry 'a', the result is squared." in sentence(lambda x: {"a": x**2, "b": 2}, entries)
    assert "in entry 'a', it is off by" in sentence(lambda x: {"a": x**3 + x, "b": 2}, entries)
    assert sentence(lambda x: x, entries).startswith("Return a dict")


def test_numbers_and_choices():
    number = Exercise("99.5", "Number", lambda: 0.25, 1, 1, 1, kind="number")
    for right in (0.25, torch.tensor(0.25), np.float64(0.25)):
        assert judge(number, right).state == "passed", right
    assert "wants a number, and you gave a function" in sentence(lambda: 0.25, number)
    assert sentence("a quarter", number) == "Give one number; you gave a text."
    assert sentence(torch.zeros(2), number) == "Give one number; you gave a float32 tensor of shape (2,)."
    assert sentence(0.5, number) == "Your number is too large."
    assert sentence(-1, number) == "Your number is too small."
    assert sentence(float("nan"), number) == "Your number is nan."
    choice = Exercise("99.6", "Choice", lambda: "b", 1, 1, 1, kind="choice")
    assert judge(choice, " B ").state == "passed"
    assert sentence("a", choice) == "The answer 'a' is not right."
    assert sentence(1, choice) == "Give a text; you gave a float."
    read = Exercise("99.7", "Letters", lambda: "ab", 1, 1, 1, kind="choice",
                    call=lambda answer: "".join(filter(str.isalpha, answer())))
    assert judge(read, "a, B").state == "passed" and "'ba'" in sentence("b a", read)


def test_the_answer_is_never_in_the_message():
    number = Exercise("99.5", "Number", lambda: 0.2718, 1, 1, 1, kind="number")
    choice = Exercise("99.6", "Choice", lambda: "photosynthesis", 1, 1, 1, kind="choice")
    assert not any(digit.isdigit() for digit in sentence(0.9, number))  # no ratio and no distance either
    assert "photosynthesis" not in sentence("a", choice)


@pytest.mark.parametrize(
    ("id", "error", "words"),
    [
        ("02.9", ValueError, "There is no exercise '02.9'; did you mean '02."),
        ("2.1", ValueError, "did you mean '02.1'"),
        ("nonsense", ValueError, "There is no exercise 'nonsense'"),
        ("", ValueError, "did you mean"),
        (2.1, TypeError, "got 2.1"),
    ],
)
def test_a_wrong_id_is_one_sentence_with_the_nearest(id, error, words):
    with pytest.raises(error) as caught:
        checks.find(id)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_wrong_id_prints_and_remembers_nothing(home, capsys):
    for id in ("02.9", "nonsense", 2.1):
        with pytest.raises((ValueError, TypeError)):
            checks.check(id, scale_rows)
    assert capsys.readouterr().out == "" and not home.exists()


def test_a_long_line_is_broken_between_words(home, monkeypatch, capsys):
    exercise = checks.find("02.1")
    long = (
        "The shape is wrong: "
        + "yours is (4, 2), and the well-known (4, 3) is wanted; " * 5
        + "a" * 120
        + "."
    )
    monkeypatch.setattr(checks, "run", lambda id, answer: Verdict(id, "failed", long, 2))
    checks.check("02.1", scale_rows)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].startswith("✗ 02.1 ") and all(line.startswith("  ") for line in lines[1:])
    assert " ".join(out.split()) == f"✗ 02.1 {exercise.title}: {long}"
    assert all(len(line) <= 100 for line in lines if "aaa" not in line) and len(lines) == 5
    monkeypatch.setattr(checks, "run", lambda id, answer: Verdict(id, "passed", "right", 2))
    checks.check("02.1", scale_rows)
    assert capsys.readouterr().out == f"✓ 02.1 {exercise.title}: right (2 points)\n"


def test_an_unknown_lesson_is_named():
    with pytest.raises(ValueError, match="There is no lesson '77' with exercises; there are "):
        checks.progress("77")


def test_a_slip_is_seen_before_the_form():
    """A count instead of a share, as whole numbers, as a number of Python, or as a sum of Python."""
    for count in (
        lambda logits, labels: (logits.argmax(1) == labels).sum(),
        lambda logits, labels: sum(logits.argmax(1) == labels),
        lambda logits, labels: (logits.argmax(1) == labels).sum().item(),
        lambda logits, labels: (logits.argmax(1) == labels).sum().numpy(),
    ):
        assert "how many answers are right" in checks.run("00.1", count).message


@pytest.mark.parametrize(("given", "change", "says"), [
    ([1.0, 2.0], lambda x: x.append(3.0), "changes `x` in place; work on a new list instead."),
    ({"a": 1.0}, lambda x: x.update(b=2.0), "changes `x` in place; work on a new dict instead."),
    ({"a": [1]}, lambda x: x["a"].clear(), "work on a new dict"),
    ({1.0, 2.0}, lambda x: x.add(3.0), "work on a new set"),
    ({"w": torch.ones(2)}, lambda x: x["w"].zero_(), "work on a new dict"),
    ([[1], [2]], lambda x: [row.append(0) for row in x], "work on a new list"),
])
def test_whatever_is_changed_in_place_is_seen(given, change, says):
    length = Exercise("99.8", "Length", lambda x: len(x), 1, 1, 1,
                      make_cases=lambda draw: [case(given, about="something")])

    def answer(x):
        size = len(x)
        change(x)
        return size
    assert judge(length, len).state == "passed"
    assert says in sentence(answer, length)


def test_a_replaced_exercise_says_where_it_went(monkeypatch, home, capsys):
    monkeypatch.setitem(RETIRED, "02.7", "02.4")
    title = checks.find("02.4").title
    with pytest.raises(Retired, match=f"Exercise 02.7 was replaced by 02.4, {title}: answer that one"):
        checks.find("02.7")
    checks.check("02.7", scale_rows)
    out = " ".join(capsys.readouterr().out.split())
    assert out == f"○ Exercise 02.7 was replaced by 02.4, {title}: answer that one, in the lesson as it is " \
                  "today."
    assert not home.exists()


def test_no_id_is_used_twice():
    for old, new in RETIRED.items():
        ids = [exercise.id for exercise in checks.exercises(old[:2])]
        assert old not in ids and new in ids, f"{old} was replaced by {new}, and lesson {old[:2]} has {ids}"
        assert int(new[3:]) > 5, f"{new}: ids up to .5 are those of a lesson's first exercises"


# Progress

PASSED, FAILED, OPEN = (Verdict("02.1", state, "…", 2) for state in ("passed", "failed", "open"))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CMLIB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_tries_are_counted_and_a_pass_is_never_taken_back(home):
    for verdict in (OPEN, FAILED, PASSED, FAILED):
        records.record(verdict)
    assert records.load() == {"02.1": {"tries": 3, "passed": True}}


def test_progress_prints_what_is_done(home, capsys):
    records.record(PASSED)
    records.record(Verdict("02.2", "failed", "…", 2))
    checks.progress("02")
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines[:-2]] == ["✓", "✗", *"○" * (len(checks.exercises("02")) - 2)]
    assert lines[-2] == "○ quiz: 0 of 4 questions answered rightly"
    total = sum(e.points for e in checks.exercises("02"))
    assert lines[-1] == f"lesson 02: {checks.find('02.1').points} of {total} points"
    checks.progress()
    assert capsys.readouterr().out.splitlines() == [lines[-1]]


@pytest.mark.parametrize(
    "content", [b"{", b"", b"\xff\xfe", b"[1, 2]", b'"text"', b'{"02.1": 3}', b'{"02.1": {"tries": "x"}}']
)
def test_an_unreadable_file_is_kept_aside(home, capsys, content):
    home.mkdir()
    records.path().write_bytes(content)
    records.record(PASSED)
    assert "could not be read; it was kept as progress.unreadable" in " ".join(
        capsys.readouterr().out.split()
    )
    assert [p.read_bytes() for p in home.glob("progress.unreadable*")] == [content]
    assert records.load() == {"02.1": {"tries": 1, "passed": True}}


def test_a_second_unreadable_file_is_kept_too(home, capsys):
    home.mkdir()
    for content in (b"one", b"two"):
        records.path().write_bytes(content)
        records.record(PASSED)
    assert sorted(p.read_bytes() for p in home.glob("progress.unreadable*")) == [b"one", b"two"]


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CMLIB_HOME", str(tmp_path / "file"))
    checks.check("02.1", lambda *args: None)
    out = capsys.readouterr().out
    assert re.search(f"progress could not be saved in {tmp_path / 'file'}: [A-Za-z ]+; set CMLIB_HOME to a "
                     "folder that you can "
                     "write to. ✗ 02.1", " ".join(out.split()))


def test_a_full_disk_leaves_the_old_progress_and_no_scrap(home, monkeypatch, capsys):
    records.record(PASSED)
    before = records.path().read_text()

    def full(*args):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    records.record(Verdict("02.2", "passed", "…", 2))
    assert "No space left on device; set CMLIB_HOME to a folder" in " ".join(capsys.readouterr().out.split())
    assert records.path().read_text() == before and os.listdir(home) == ["progress.json"]


def test_readers_never_see_half_a_file(home):
    records.record(PASSED)
    broken = []

    def read():
        for _ in range(200):
            try:
                json.loads(records.path().read_text("utf-8"))
            except ValueError as error:
                broken.append(error)
    reader = threading.Thread(target=read)
    reader.start()
    while reader.is_alive():
        records.record(PASSED)
    reader.join()
    assert not broken
    assert stat.S_ISREG(records.path().stat().st_mode)
