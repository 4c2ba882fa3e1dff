"""The quiz: questions from the source, a click explains, progress counts, an older clone is not disturbed."""

import json
import re
import subprocess
import sys

import ipywidgets
import pytest
from conftest import ROOT

import cmlib
from cmlib import check as checks
from cmlib.authoring import notebooks
from cmlib.check import quiz, records

CELL = '''\
# %% [markdown]
# before

# %% [quiz]
# ? Which of *these*
#   is $x_1 < 2$?
# - `one < two` :: because **not**
# + the
#   other :: because
#   of this
# - neither :: no
# ? And here?
# + yes :: it is
# - no :: it is not

# %% [markdown]
# after
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CMLIB_HOME", str(tmp_path / "home"))
    (tmp_path / "98_tiny.py").write_text(CELL, "utf-8")
    monkeypatch.setattr(quiz, "SOURCES", tmp_path)
    return tmp_path


@pytest.fixture
def box(folder, monkeypatch):
    """What a learner sees and clicks on: [[title, [(button, text), …]], …], total."""
    shown, made, real = [], [], ipywidgets.VBox
    monkeypatch.setattr(quiz, "_in_a_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    monkeypatch.setattr(ipywidgets, "VBox", lambda *a, **k: made.append(real(*a, **k)) or made[-1])
    quiz.quiz("98")
    assert shown[0]["text/plain"] == "[quiz: run this cell to answer] 2 questions"
    assert shown[0]["application/vnd.jupyter.widget-view+json"]["model_id"] == made[-1].model_id
    *asked, total = made[-1].children[0].children
    return [(q.children[0], [tuple(row.children) for row in q.children[1:]]) for q in asked], total


def test_questions_are_read_from_the_source_of_a_lesson(folder):
    first, second = quiz.of_lesson("98")
    assert first.text == "Which of *these* is $x_1 < 2$?" and second.text == "And here?"
    assert [(o.text, o.is_right, o.why) for o in first.options] == [
        ("`one < two`", False, "because **not**"), ("the other", True, "because of this"),
        ("neither", False, "no"),
    ]
    assert quiz.of_lesson("97") == []


def test_every_lesson_has_the_quiz_that_its_notebook_shows():
    for source in notebooks.sources():
        asked = quiz.of_lesson(source.name[:2])
        built = "\n".join("".join(cell["source"]) for cell in notebooks.build(source)["cells"])
        assert len(asked) == 4 and f'cmlib.quiz("{source.name[:2]}")' in built, source.name
        assert all(f". {question.text}**" in built for question in asked), source.name


def test_a_click_explains_its_option_and_the_right_one_all(box):
    ((title, rows), _), total = box
    assert title.value == "<b>1. Which of <i>these</i> is $x_1 &lt; 2$?</b>"
    assert [text.value for _, text in rows] == ["<code>one &lt; two</code>", "the other", "neither"]
    rows[0][0].click()
    assert "✗ No.</span> because <b>not</b>" in rows[0][1].value and rows[0][0].disabled
    assert "because of this" not in rows[1][1].value and "0 of 2 answered rightly" in total.value
    rows[1][0].click()
    assert "✓ Right.</span> because of this" in rows[1][1].value and "✗ No.</span> no" in rows[2][1].value
    assert all(button.disabled for button, _ in rows) and "1 of 2 answered rightly" in total.value
    assert records.load() == {"98.quiz": {"tries": 2, "passed": False, "right": [1]}}


def test_a_quiz_is_passed_once_every_question_was_answered_rightly(box):
    ((_, first), (_, second)), total = box
    first[1][0].click()
    second[1][0].click()
    second[0][0].click()
    assert "2 of 2 answered rightly" in total.value
    assert records.load() == {"98.quiz": {"tries": 3, "passed": True, "right": [1, 2]}}


def test_progress_and_the_page_count_the_quiz(tmp_path, monkeypatch, capsys):
    from cmlib.check.page import page

    monkeypatch.setenv("CMLIB_HOME", str(tmp_path))
    for number in (1, 2, 3):
        records.answered("02", number, True, 4)
    records.answered("02", 4, False, 4)
    checks.progress("02")
    assert "○ quiz: 3 of 4 questions answered rightly\n" in capsys.readouterr().out
    assert "· quiz 3/4" in page(["02"], records.load())[0]
    records.answered("02", 4, True, 4)
    checks.progress("02")
    assert "✓ quiz: 4 of 4 questions answered rightly\n" in capsys.readouterr().out


def of_version_0_1(done: dict) -> dict:
    """How a clone of version 0.1 reads progress.json; it would put aside whatever is not of this form."""
    assert all(isinstance(e["tries"], int) and isinstance(e["passed"], bool) for e in done.values())
    return {number: [e.id for e in checks.exercises(number) if done.get(e.id, {}).get("passed")]
            for number in sorted({id.split(".")[0] for id in done})}


def test_an_older_clone_reads_what_a_quiz_has_written(tmp_path, monkeypatch):
    monkeypatch.setenv("CMLIB_HOME", str(tmp_path))
    records.record(checks.Verdict("02.1", "passed", "right", 2))
    records.answered("02", 1, True, 4)
    records.answered("03", 2, False, 4)
    assert of_version_0_1(json.loads(records.path().read_text())) == {"02": ["02.1"], "03": []}


def test_what_a_newer_course_wrote_is_kept_and_disturbs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CMLIB_HOME", str(tmp_path))
    newer = {
        "77.1": {"tries": 1, "passed": True, "colour": "red"},
        "02.quiz": {"tries": 1, "passed": False, "right": 5},
    }
    records.path().parent.mkdir(exist_ok=True)
    records.path().write_text(json.dumps(newer))
    checks.progress()
    checks.progress("02")
    records.answered("02", 2, True, 4)
    assert records.load() == newer | {"02.quiz": {"tries": 2, "passed": False, "right": [2]}}
    assert "could not be read" not in capsys.readouterr().out


def test_without_a_notebook_it_prints_one_line():
    code = "import cmlib; cmlib.quiz('02')"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\[quiz\] 4 questions: they stand above, [^\n]*\n", said.stdout) and not said.stderr


@pytest.mark.parametrize("missing", ["ipywidgets", "IPython"])
def test_without_widgets_it_prints_one_line(folder, monkeypatch, capsys, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "ipywidgets":
        monkeypatch.setattr(quiz, "_in_a_notebook", lambda: True)
    cmlib.quiz("98")
    assert capsys.readouterr().out.startswith("[quiz] 2 questions: they stand above")


@pytest.mark.parametrize(("text", "html"), [
    ("a < b & c", "a &lt; b &amp; c"),
    ("`x * y` and *z*", "<code>x * y</code> and <i>z</i>"),
    ("$a * b$ times **two** * three", "$a * b$ times <b>two</b> * three"),
    ("2 * 3 * 4", "2 * 3 * 4"),
])
def test_the_little_markdown_of_a_quiz(text, html):
    assert quiz.as_html(text) == html
