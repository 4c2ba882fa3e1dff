"""``cmlib new 30 slug`` begins a lesson that builds at once and says what is left to write."""

import re
import shutil
import subprocess
import sys

import lesson_rules
import pytest
import tiny_course
from conftest import ROOT
from tiny_course import texts

from cmlib import check, cli
from cmlib.authoring import curriculum, running
from cmlib.authoring import notebooks as author


@pytest.fixture
def land(tmp_path, monkeypatch):
    """A place to begin lesson 30 in: its own curriculum, and checks that are read beside the course's."""
    (tmp_path / "cmlib" / "check").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(curriculum.FILE, tmp_path / "curriculum.toml")
    monkeypatch.setattr(curriculum, "FILE", tmp_path / "curriculum.toml")
    monkeypatch.setattr(author, "ROOT", tmp_path)
    monkeypatch.setattr(author, "NOTEBOOKS", tmp_path / "notebooks")
    tiny_course.own_exercises(monkeypatch)
    monkeypatch.setattr(check, "__path__", [*check.__path__, str(tmp_path / "cmlib" / "check")])
    yield tmp_path
    sys.modules.pop("cmlib.check.lesson30", None)
    vars(check).pop("lesson30", None)


def test_a_new_lesson_builds_and_says_what_is_left_to_write(land, capsys):
    assert cli.main(["new", "30", "capstone"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Lesson 30, Capstone: your own data, is begun:\n  notebooks/src/30_capstone.py\n")
    assert "pytest tests/test_notebooks.py -k 30" in said and "make notebooks ONLY=30" in said
    assert curriculum.lesson("30").stem == "30_capstone"
    (source,) = author.sources()
    learner, solved = (author.build(source, is_solved) for is_solved in (False, True))
    assert "### Stretch exercise 30.5 · TODO title 5" in "\n".join(texts(learner))
    assert [re.sub(r"TODO: \d+", "TODO: N", line) for line in lesson_rules.broken(source)] == [
        ("30_capstone.py, line 4: nothing is left to write; lines with TODO: N, the first "
         "'# **The one thing to take away:** TODO in one or two se'…."),
        ("lesson30.py, line 5: nothing is left to write; lines with TODO: N, the first "
         "'# TODO the name of each function is the name that the l'…."),
    ]
    for notebook in (learner, solved):
        for cell in running.code_cells(notebook):
            compile("".join(cell["source"]), cell["id"], "exec")
    for k in range(1, 6):
        assert check.run(f"30.{k}", lambda x: x).state == "passed"
        assert check.run(f"30.{k}", lambda x: -x).message.startswith("TODO the sign is flipped")


@pytest.mark.parametrize("number", ["8", "31", "", "zoo"])
def test_a_number_that_is_not_planned_is_refused(land, capsys, number):
    assert cli.main(["new", number, "zoo"]) == 2
    assert capsys.readouterr().err == (
        f"There is no lesson {number!r} in the curriculum; its numbers are 00 to 30, with two digits.\n")
    assert not (land / "notebooks").exists()


@pytest.mark.parametrize("slug", ["Zoo", "fusion-zoo", "", "../zoo", "z" * 31, "8zoo", "zoo_", "zoo\n"])
def test_a_slug_that_names_no_file_is_refused(land, capsys, slug):
    assert cli.main(["new", "30", slug]) == 2
    assert capsys.readouterr().err == (
        "The slug names files: at most 30 small letters and digits, words joined by _, such as fusion_zoo; "
        f"got {slug!r}.\n")
    assert not (land / "notebooks").exists()


def test_nothing_that_is_there_is_overwritten(land, capsys):
    assert cli.main(["new", "06", "zoo"]) == 2
    assert capsys.readouterr().err == "Lesson 06 is there already: notebooks/src/06_concatenation.py.\n"
    (land / "cmlib" / "check" / "lesson30.py").write_text("mine = 1\n")
    assert cli.main(["new", "30", "zoo"]) == 2
    assert capsys.readouterr().err == (
        "Nothing was written, because cmlib/check/lesson30.py is there already.\n")
    assert not (land / "notebooks").exists() and not curriculum.lesson("30").built


def test_a_new_lesson_is_clean_code(land):
    assert cli.main(["new", "30", "capstone"]) == 0
    command = [sys.executable, "-m", "ruff", "check", "."]
    run = subprocess.run(command, cwd=land, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
