"""The learner's copies: brought, brought up to date, and nothing that the learner wrote is ever lost."""

import copy as copying
import json
import subprocess
from itertools import count

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

from cmlib import cli
from cmlib.authoring import notebooks
from cmlib.check.records import load
from cmlib.course import copies

NAME = "05_seeing.ipynb"


def cell(number, text):
    return {"cell_type": "code", "id": f"l05-{number:02d}", "metadata": {}, "source": text.splitlines(True),
            "execution_count": None, "outputs": []}


def lesson(*texts):
    return {"cells": [cell(i, text) for i, text in enumerate(texts)], "metadata": {"cmlib": {"seconds": 3}},
            "nbformat": 4, "nbformat_minor": 5}


OLD = lesson("# setup", "def conv(image):\n    raise NotImplementedError", "print(1)")
NEW = lesson("# setup, newer", "def conv(image):\n    raise NotImplementedError", "print(2)", "print(3)")


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one lesson, copied once: its folder."""
    monkeypatch.setattr(copies.copy, "__defaults__", (tmp_path / "notebooks", tmp_path / "work"))
    monkeypatch.setattr(copies.update, "__defaults__", (tmp_path / "notebooks", tmp_path / "work"))
    (tmp_path / "notebooks").mkdir()
    hand_out(tmp_path, OLD)
    assert copies.copy() == [f"Copied into work/: {NAME}."]
    return tmp_path


def hand_out(course, notebook, name=NAME):
    (course / "notebooks" / name).write_text(json.dumps(notebook), "utf-8")


def read(course, name=NAME):
    return json.loads((course / "work" / name).read_text("utf-8"))


def save(course, notebook, name=NAME):
    """As JupyterLab saves: with the keys sorted."""
    (course / "work" / name).write_text(json.dumps(notebook, indent=1, sort_keys=True), "utf-8")


def sources(notebook):
    return ["".join(c["source"]) for c in notebook["cells"]]


def code(cell):
    return "".join(cell["source"]) if cell["cell_type"] == "code" else ""


def ran(notebook):
    for number, c in zip(count(4), notebook["cells"], strict=False):
        c["execution_count"], c["metadata"] = number, {"collapsed": True}
        c["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["mine\n"]}]
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.12.1"}


def answered(notebook):
    ran(notebook)
    notebook["cells"][1]["source"] = ["def conv(image):\n", "    return image"]


def an_empty_cell_is_added(notebook):
    notebook["cells"].append(cell(77, "\n"))


def a_cell_is_added(notebook):
    notebook["cells"].insert(1, cell(77, "my_notes = 1"))


def a_cell_is_deleted(notebook):
    del notebook["cells"][2]


def a_cell_is_emptied(notebook):
    notebook["cells"][1]["source"] = []


def cells_are_moved(notebook):
    notebook["cells"].reverse()


def the_record_is_lost(notebook):
    del notebook["metadata"]["cmlib"]


def nothing(notebook):
    pass


UNCHANGED = [nothing, ran, an_empty_cell_is_added]
CHANGED = [
    (answered, "you have changed cell 2 (def conv(image):)"),
    (a_cell_is_added, "you have changed cell 2 (yours)"),
    (a_cell_is_deleted, "you have changed one cell (deleted)"),
    (a_cell_is_emptied, "you have changed cell 2 (now empty)"),
    (cells_are_moved, "you have changed the order of the cells"),
    (the_record_is_lost, "it has no record of the version that it was copied from"),
]


@pytest.mark.parametrize("change", UNCHANGED)
def test_a_copy_whose_cells_nobody_changed_is_replaced(course, change):
    notebook = read(course)
    change(notebook)
    save(course, notebook)
    assert copies.update() == []  # there is no new version, so the learner's outputs stay
    assert read(course) == notebook
    hand_out(course, NEW)
    assert copies.update() == [f"{NAME}: replaced by the new version; you had changed no cell of it"]
    assert read(course)["cells"] == NEW["cells"] and read(course)["metadata"]["cmlib"]["seconds"] == 3
    assert copies.update() == []


@pytest.mark.parametrize(("change", "why"), CHANGED)
def test_a_changed_copy_stays_and_the_new_version_lies_beside_it(course, change, why):
    notebook = read(course)
    change(notebook)
    save(course, notebook)
    hand_out(course, NEW)
    sentence = f"{NAME}: stays as it is, because {why}; the new version lies beside it: 05_seeing.new.ipynb"
    assert copies.update() == copies.update() == [sentence]
    assert read(course) == notebook and read(course, "05_seeing.new.ipynb")["cells"] == NEW["cells"]
    assert len(list((course / "work").iterdir())) == 2


def test_what_is_written_into_the_version_beside_is_not_lost_either(course):
    for answer, version in ((OLD, NEW), (NEW, lesson("# third"))):
        name = NAME if answer is OLD else "05_seeing.new.ipynb"
        notebook = read(course, name)
        answered(notebook)
        save(course, notebook, name)
        hand_out(course, version)
        copies.update()
    (sentence,) = copies.update()
    assert sentence.endswith("the new version lies beside it: 05_seeing.new-2.ipynb")
    assert "    return image" in sources(read(course))[1]
    assert "    return image" in sources(read(course, "05_seeing.new.ipynb"))[1]
    assert sources(read(course, "05_seeing.new-2.ipynb")) == ["# third"]


def test_an_untouched_version_beside_is_replaced_by_the_next(course):
    notebook = read(course)
    answered(notebook)
    save(course, notebook)
    for version in (NEW, lesson("# third")):
        hand_out(course, version)
        copies.update()
    assert sources(read(course, "05_seeing.new.ipynb")) == ["# third"]
    assert len(list((course / "work").iterdir())) == 2


def test_work_on_the_newest_version_is_no_reason_to_speak(course):
    notebook = read(course)
    answered(notebook)
    save(course, notebook)
    assert copies.update() == copies.copy() == [] and read(course) == notebook


def test_new_lessons_and_deleted_ones_are_brought_and_the_learners_own_files_stay(course):
    (course / "work" / "my_ideas.ipynb").write_text("mine", "utf-8")
    (course / "work" / NAME).unlink()
    hand_out(course, NEW, "06_concatenation.ipynb")
    assert copies.update() == [f"{NAME}: brought", "06_concatenation.ipynb: brought"]
    assert (course / "work" / "my_ideas.ipynb").read_text("utf-8") == "mine"


@pytest.mark.parametrize("text", ["{", "[]", '{"cells": []}', '{"cells": 3, "metadata": {}}', "\xff\xfe"])
def test_a_file_that_is_no_notebook_stays(course, text):
    path = course / "work" / NAME
    path.write_bytes(text.encode("latin-1"))
    (sentence,) = copies.update()
    assert sentence.startswith(f"{NAME}: stays as it is, because it cannot be read as a notebook; the new")
    assert path.read_bytes() == text.encode("latin-1")


def test_lab_overwrites_nothing_and_tells_of_another_version(course):
    notebook = read(course)
    ran(notebook)
    save(course, notebook)
    hand_out(course, NEW)
    (sentence,) = copies.copy()
    assert sentence == (f"Of {NAME} there is another version: make update brings it, and keeps what you "
                        "have written.")
    assert read(course) == notebook


def test_the_commands_say_what_they_did(course, capsys):
    assert cli.main(["copy"]) == 0 and capsys.readouterr().out == ""
    assert cli.main(["update"]) == 0
    assert capsys.readouterr().out == "work/ has the newest version of every lesson.\n"
    hand_out(course, NEW)
    assert cli.main(["update"]) == 0 and "replaced by the new version" in capsys.readouterr().out
    (course / "notebooks" / NAME).unlink()
    assert cli.main(["update"]) == 1
    assert capsys.readouterr().err.startswith("There are no lessons in ")


def test_every_lesson_of_the_course_can_be_copied(tmp_path):
    assert copies.copy(work=tmp_path / "work")
    for path in copies.lessons(copies.NOTEBOOKS):
        copied = json.loads((tmp_path / "work" / path.name).read_text("utf-8"))
        nbformat.validate(nbformat.from_dict(copied))
        record = copied["metadata"]["cmlib"]["handed_out"]
        assert len(record) == len(copied["cells"]) and not copies.changes(copied, record)


def test_a_copy_that_ran_and_was_saved_leaves_git_clean_and_counts_as_unchanged(tmp_path):
    """In a repository with the course's own .gitignore: lesson 00's first cell, an answer, submit()."""
    def git(*words):
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    (tmp_path / "notebooks").mkdir()
    (tmp_path / "cmlib").symlink_to(ROOT / "cmlib")
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    (path,) = (ROOT / "notebooks").glob("00_*.ipynb")
    (tmp_path / "notebooks" / path.name).write_bytes(path.read_bytes())
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "the course")
    work = tmp_path / "work"
    copies.copy(tmp_path / "notebooks", work)
    book = nbformat.read(work / path.name, 4)
    first = next(i for i, c in enumerate(book.cells) if c.cell_type == "code")
    client = NotebookClient(copying.deepcopy(book), timeout=120, resources={"metadata": {"path": str(work)}})
    with client.setup_kernel():
        found = client.execute_cell(client.nb.cells[first], first).outputs
        where = nbformat.v4.new_code_cell("print(ROOT); import os; os.makedirs('.ipynb_checkpoints')")
        assert client.execute_cell(where, first).outputs[0].text == f"{tmp_path}\n"
        (source,) = (source for source in notebooks.sources() if source.name.startswith("00"))
        answer = next(text for text in map(code, notebooks.build(source, solved=True)["cells"])
                      if 'check("00.1"' in text)
        for text in (answer, 'cmlib.submit("Ada")'):
            told = client.execute_cell(nbformat.v4.new_code_cell(text), first).outputs[0].text
    assert told.startswith("submission-00-Ada.json: 1 of ")
    assert (work / "submission-00-Ada.json").exists() and load()["00.1"]["passed"]
    assert "torch" in found[0].text
    for c in book.cells:
        if c.cell_type == "code":
            c.outputs = found
    nbformat.write(book, work / path.name)
    assert git("status", "--porcelain") == ""
    assert copies.update(tmp_path / "notebooks", work) == []
    (tmp_path / "notebooks" / path.name).write_text(json.dumps(NEW), "utf-8")
    (sentence,) = copies.update(tmp_path / "notebooks", work)
    assert "you had changed no cell of it" in sentence
