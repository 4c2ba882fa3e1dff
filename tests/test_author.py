"""One source makes two notebooks: what the learner opens and what it looks like solved. Whatever an author
gets wrong is one sentence.
"""

import ast
import base64
import io
import json
import re
import shutil
import sys
import tomllib

import lesson_rules
import notebook_rules
import pytest
import tiny_course
from conftest import ROOT
from PIL import Image
from tiny_course import CURRICULUM, LAST, SOURCE, source_of, texts

import cmlib
from cmlib import check, cli
from cmlib.authoring import curriculum, running, source
from cmlib.authoring import notebooks as author
from cmlib.grade import slicing


@pytest.fixture
def course(tmp_path, monkeypatch):
    return tiny_course.make(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(what `cmlib build` printed, {name of a file below notebooks/: its text}); executed once."""
    with pytest.MonkeyPatch.context() as patch, pytest.MonkeyPatch.context() as terminal:
        notebooks = tiny_course.make(tmp_path_factory.mktemp("made"), patch)
        said = io.StringIO()
        terminal.setattr(sys, "stdout", said)
        assert cli.main(["build"]) == 0
        return said.getvalue(), {path.name: path.read_text("utf-8") for path in notebooks.glob("*.*")}


@pytest.fixture
def built(course, made):
    """The tiny course as it is after `cmlib build`."""
    for name, text in made[1].items():
        (course / name).write_text(text, "utf-8")
    return course


def learner_and_solved():
    return ["\n".join(texts(author.build(source_of("00"), solved))) for solved in (False, True)]


# What is built


def test_the_learner_gets_the_stub_and_the_solved_notebook_the_solution(course):
    learner, solved = learner_and_solved()
    assert "raise NotImplementedError" in learner and "argmax" not in learner
    assert "raise NotImplementedError" not in solved and "argmax" in solved
    assert learner.count('check("00.1", accuracy)') == solved.count('check("00.1", accuracy)') == 1


def test_cells_have_stable_ids_and_every_code_cell_parses(course):
    notebook = author.build(source_of("00"))
    assert [cell["id"] for cell in notebook["cells"]] == [
        f"l00-{i:02d}" for i in range(len(notebook["cells"]))
    ]
    for cell in running.code_cells(notebook):
        ast.parse("".join(cell["source"]))


def test_card_hints_and_quiz_are_written_out(course):
    text = "\n".join(texts(author.build(source_of("00"))))
    assert (
        "### Exercise 00.1 · Accuracy\n\n*5 minutes · 1 point · difficulty ●○○○○*\n\nWrite accuracy." in text
    )
    for i, what in enumerate(author.HINTS, 1):
        assert f"<details><summary>Hint {i}: {what}</summary>\n\n" in text
    assert (
        "**1. Which is right?**\n\n<details><summary>this</summary>\n\nNo. because not\n\n</details>" in text
    )
    assert "<details><summary>that</summary>\n\nRight. because of this\n\n</details>" in text
    assert text.count("<details>") == text.count("</details>") == 3 + 3 + 1 + 4


def test_a_stretch_exercise_has_a_card_of_its_own_and_a_folded_model_answer(course):
    learner, solved = learner_and_solved()
    for text in (learner, solved):
        assert "### Stretch exercise 00.5 · Chance\n\n*9 minutes · 2 points · difficulty ●●●○○*" in text
        answer = re.search(r"<details><summary>A model answer[^<]*</summary>\n\n(.*?)\n\n</details>", text)
        assert answer[1].startswith("Every class is guessed")


def test_a_stretch_exercise_is_checked_counted_and_graded_like_the_others(course, capsys):
    learner, solved = ([text for text in texts(author.build(source_of("00"), s)) if "def chance" in text]
                       for s in (False, True))
    assert slicing.answered(solved, "chance", "00.5") and not slicing.answered(learner, "chance", "00.5")
    space = {"check": check.check}
    for cell in (learner[-1], solved[-1]):
        exec(cell, space)  # noqa: S102
    check.check("00.5", lambda classes: classes)
    check.progress("00")
    open_, passed, failed, *_, total = capsys.readouterr().out.splitlines()
    assert open_ == "○ 00.5 Chance: not answered yet" and passed == "✓ 00.5 Chance: right (2 points)"
    assert failed == "✗ 00.5 Chance: This is the number of classes, not a chance."
    assert total == "lesson 00: 2 of 3 points"


def test_the_first_code_cell_is_folded_wherever_it_is_opened(course):
    first, *others = running.code_cells(author.build(source_of("00")))
    assert first["metadata"] == {
        "cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["hide-input"],
    }
    assert first["source"][0].startswith("#@title ")
    *others_still, quiz, progress = [cell["metadata"] for cell in others]
    assert others_still == [{}, {"tags": ["nbval-ignore-output"]}, {}, {}] and progress == {}
    assert quiz == first["metadata"]
    assert max(len(line) for cell in (first, *others) for line in "".join(cell["source"]).splitlines()) <= 88


@pytest.mark.parametrize("version", ["0.1.0", None])
def test_the_first_code_cell_names_its_version_and_warns_of_another(course, capsys, monkeypatch, version):
    first = "".join(running.code_cells(author.build(source_of("02")))[0]["source"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert project == cmlib.__version__ and f"\n# built for cmlib {project}\n" in first
    monkeypatch.chdir(course)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(cmlib, "__version__", version or project)
    exec(first, {"__name__": "__main__"})  # noqa: S102
    *warning, last = capsys.readouterr().out.splitlines()
    assert last == "the end"
    sentence = (f"This lesson was built for cmlib {project}, and cmlib 0.1.0 is imported from "
                f"{course.parent}: numbers may differ; take both from one release.")
    assert warning == ([sentence] if version else [])


def test_lessons_that_are_there_are_linked_at_both_ends(course):
    first, last = (texts(author.build(source_of(number))) for number in ("00", "02"))
    after, before = "[02 The last lesson](02_last.ipynb) →", "← [00 A tiny lesson](00_tiny.ipynb)"
    assert first[0].startswith(f"# 00 A tiny lesson\n\n{after}\nRuns in ") and first[-1] == after
    assert last[0].startswith(f"# 02 The last lesson\n\n{before}\n") and last[-1] == before


@pytest.mark.parametrize(("facts", "words"), [
    ({"state": "done", "seconds": 33.6, "peak_mib": 2560}, "34 s and 2.5 GB of its memory at full size ("),
    ({"state": "done", "seconds": 33.6}, "none of it is used"),
    ({"state": "stopped", "seconds": 150.0, "peak_mib": 2560}, "not measured yet"),
    (None, "not measured yet"),
])
def test_the_passport_tells_what_was_measured_on_a_gpu(course, tmp_path, monkeypatch, facts, words):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(author, "ROOT", tmp_path)
    if facts:
        (tmp_path / "data" / "runs").mkdir(parents=True)
        kept = {"smoke": False, "machine": {"device": "GPU X"}, "lessons": {"00": facts}}
        (tmp_path / "data" / "runs" / "gpu_lessons.json").write_text(json.dumps(kept), "utf-8")
    source_of("00").write_text(SOURCE.replace("Runs in {{measured}}", "GPU: {{gpu}}"), "utf-8")
    assert f"GPU: {words}" in texts(author.build(source_of("00")))[0]


def test_the_map_links_what_is_there_and_says_what_is_not(course):
    text = next(text for text in texts(author.build(source_of("00"))) if text.startswith("## The map"))
    assert "| **B · Endings** | **end** |\n| [02 The last lesson](02_last.ipynb) | stop |" in text
    assert "| 01 Later | wait |" in text
    assert text.endswith("\n\n2 of the 3 lessons are here today: those with a link. The others are planned.")


SLIPS_IN_THE_CURRICULUM = [
    ('number = "01"', 'number = "03"',
     "curriculum.toml: the numbers of the lessons must rise, each once; they are 00, 03, 02."),
    ('title = "Later"\n', "",
     "curriculum.toml, lesson 01: missing 1 required positional argument: 'title'."),
    ('learn = "end"', 'teach = "end"',
     "curriculum.toml, part B: got an unexpected keyword argument 'teach'."),
]


@pytest.mark.parametrize(("old", "new", "sentence"), SLIPS_IN_THE_CURRICULUM)
def test_a_slip_in_the_curriculum_is_one_sentence(course, old, new, sentence):
    curriculum.FILE.write_text(CURRICULUM.replace(old, new), "utf-8")
    with pytest.raises(ValueError, match=re.escape(sentence)):
        curriculum.parts()


def test_the_curriculum_is_the_whole_course():
    assert [one.number for one in curriculum.lessons()] == [f"{n:02d}" for n in range(31)]
    assert [part.letter for part in curriculum.parts()] == list("ABCDE")
    assert all(one.title and one.learn and "|" not in one.title + one.learn for one in curriculum.lessons())


SLIPS_IN_A_SOURCE = [
    ("# %% [quiz]", "# %% [quizz]", r"line \d+: unknown cell kind \[quizz\]; there are setup, stub, "),
    ("# ---\n# `____`", "", r"line \d+: exercise 00.1 needs three hints between '---' lines, has 2"),
    ("[exercise] 00.1", "[exercise] 00.7", r"line \d+: There is no exercise '00.7'; did you mean '00"),
    ("# - two :: no", "# - two", r"line \d+: the quiz option '- two' has no explanation after '::'"),
    ("# %% [exercise] 00.1\n# Write accuracy.\n", "",
     r"line \d+: a \[stub\] cell stands before the first \[exercise\]"),
    ("# # 00 A tiny", "# # 0 A tiny",
     "line 1: a lesson begins with a .* first line is its title, '# 00 …'; found '# 0 A tiny lesson'"),
    ("[exercise] 00.5", "[exercise] 00.1",
     r"line \d+: an \[answer\] cell .* written part of a stretch exercise, NN.5; it stands after 00.1"),
    ('["nbval-ignore-output"]', '["nbval-skip"]',
     r"line \d+: the tags \[\"nbval-skip\"\] are not a list of hide-input, hide-output, nbval-ignore"),
    ('["nbval-ignore-output"]', "[hide-input]", r"the tags \[hide-input\] are not a list of hide-input"),
    ("# %% [map]", "# %% [map] of it all", r"a \[map\] cell takes nothing but tags=.* found 'of it all'"),
]


@pytest.mark.parametrize(("old", "new", "sentence"), SLIPS_IN_A_SOURCE)
def test_a_slip_of_the_author_is_one_sentence(course, old, new, sentence):
    assert old in SOURCE
    source_of("00").write_text(SOURCE.replace(old, new, 1), "utf-8")
    with pytest.raises(ValueError, match=sentence) as error:
        author.build(source_of("00"))
    assert str(error.value).startswith("00_tiny.py, line ") and "\n" not in str(error.value)
    assert lesson_rules.broken(source_of("00")) == [str(error.value)]


# What is executed and stored


def test_a_build_runs_the_learners_notebook_measures_it_and_prints_a_line(course, made):
    said, files = made
    assert sorted(files) == ["00_tiny.ipynb", "02_last.ipynb"]
    first, last = said.splitlines()
    assert re.fullmatch(r"00_tiny: \d+ s, \d+ MB", first) and last.startswith("02_last: ")
    (course / "00_tiny.ipynb").write_text(files["00_tiny.ipynb"], "utf-8")
    notebook = json.loads(files["00_tiny.ipynb"])
    assert author.fingerprint(notebook) == author.fingerprint(author.build(source_of("00")))
    took = notebook["metadata"]["cmlib"]
    assert sorted(took) == ["cores", "memory_mb", "seconds", "version"]
    assert took["version"] == cmlib.__version__
    assert 0 < took["seconds"] < 120 and 50 < took["memory_mb"] < 8000 and took["cores"] >= 1
    assert f"Runs in {took['seconds']} s and {took['memory_mb'] / 1000:.1f} GB on " in texts(notebook)[0]
    code = running.code_cells(notebook)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    ran = "".join("".join(o.get("text", "")) for c in code for o in c["outputs"])
    assert "○ 00.1 Accuracy: not answered yet" in ran and "○ 00.5 Chance: not answered yet" in ran
    assert "lesson 00: 0 of 3 points" in ran


def picture_of(notebook):
    return next((cell, output) for cell in running.code_cells(notebook) for output in cell["outputs"]
                if "image/png" in output.get("data", {}))


def test_a_stored_picture_is_light_and_as_large_as_it_was_drawn(made):
    _, output = picture_of(json.loads(made[1]["00_tiny.ipynb"]))
    picture = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"])))
    assert picture.mode == "P" and 370 < picture.width < 460  # 4 inches of 110 dots, less the margin


ALT = "A line that rises from zero to four in two steps."


def test_the_alt_text_stands_where_readers_look_for_it(made):
    from nbconvert import HTMLExporter
    from nbformat import reads

    cell, output = picture_of(json.loads(made[1]["00_tiny.ipynb"]))
    assert output["metadata"]["image/png"]["alt"] == ALT
    assert cell["metadata"]["mystnb"] == {"image": {"alt": ALT}}
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(reads(made[1]["00_tiny.ipynb"], 4))
    assert re.findall(r'<img[^>]*? ?alt="([^"]+)"', page) == [ALT]


def test_the_book_finds_the_alt_text(made, tmp_path, monkeypatch):
    pytest.importorskip("myst_nb", reason="the book's tools are not installed on this machine")
    from docutils.core import publish_string
    from myst_nb.docutils_ import Parser

    monkeypatch.chdir(tmp_path)  # it writes the picture into build/
    settings = {"nb_execution_mode": "off", "output_encoding": "unicode", "report_level": 4}
    page = publish_string(made[1]["00_tiny.ipynb"], source_path="00_tiny.ipynb", parser=Parser(),
                          writer="html5", settings_overrides=settings)
    assert re.findall(r'<img[^>]*? ?alt="([^"]+)"', page) == [ALT]


def test_a_cell_with_two_pictures_carries_both_texts():
    two = [{"metadata": {"image/png": {"alt": text}}} for text in ("One.", "Two.")]
    assert running.alt_of({"outputs": [*two, {"text": "a line"}]}) == "One. Two."


CHANGES = {
    "text": ('print("loss", 0.5)', 'print("loss", 0.6)'),
    "prose": ("# Write accuracy.", "# Write it."),
    "a tag": ('# %% tags=["nbval-ignore-output"]', "# %%"),
    "the kind": ("# %% [setup]\n", "# %%\n"),
    "a cell less": ("# %% [map]\n# ## The map\n", ""),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_source_no_longer_agrees(built, what):
    stored = json.loads((built / "00_tiny.ipynb").read_text("utf-8"))
    assert list(notebook_rules.agrees_with_its_source(source_of("00"), stored)) == []
    old, new = CHANGES[what]
    assert old in SOURCE
    source_of("00").write_text(SOURCE.replace(old, new, 1), "utf-8")
    (sentence,) = notebook_rules.agrees_with_its_source(source_of("00"), stored)
    assert sentence.endswith("make notebooks ONLY=00.")


@pytest.mark.parametrize("plant", [
    lambda book: book["cells"][1]["metadata"].pop("cellView"),
    lambda book: book["cells"][1]["metadata"]["jupyter"].update(source_hidden=False),
    lambda book: book["cells"][3]["metadata"].update(tags=["nbval-skip"]),
    lambda book: book["cells"][-1].update(id="l00-99"),
    lambda book: book["metadata"]["cmlib"].update(version="0.1.0"),
    lambda book: book["metadata"].update(widgets={}),
    lambda book: book["cells"].pop(),
])
def test_an_edited_notebook_no_longer_agrees(built, plant):
    stored = json.loads((built / "00_tiny.ipynb").read_text("utf-8"))
    plant(stored)
    assert list(notebook_rules.agrees_with_its_source(source_of("00"), stored))


def out(**output):
    """Plants an output into a cell that prints."""
    return lambda book: book["cells"][3]["outputs"].append(output)


def printed(text, name="stdout"):
    return out(output_type="stream", name=name, text=text)


def shown(kind, data):
    return out(output_type="display_data", metadata={}, data={kind: data})


PLANTS_IN_A_NOTEBOOK = {
    "a cell that ran twice": (
        lambda book: book["cells"][2].update(execution_count=7),
        ": every code cell ran once, in order; the counts are [1, 7, 3, 4, 5, 6, 7]."),
    "a short text": (
        lambda book: picture_of(book)[1]["metadata"]["image/png"].update(alt="A line."),
        ", cell l00-02: a picture has an alt text of at least 20 characters; found 'A line.'."),
    "no text for the book": (
        lambda book: picture_of(book)[0]["metadata"].pop("mystnb"),
        ", cell l00-02: the alt text also stands where MyST reads it, in the cell's metadata; found ''."),
    "a heavy picture": (
        lambda book: picture_of(book)[1]["data"].update({"image/png": "A" * 240_000}),
        ": the figures of a lesson take at most 150 kB; found 180 kB."),
    "a vector picture": (
        shown("image/svg+xml", "<svg>"), ", cell l00-03: pictures are stored as PNG; found image/svg+xml."),
    "a long lesson": (
        lambda book: book["metadata"]["cmlib"].update(seconds=76),
        ": a lesson takes at most 75 s; its metadata say 76."),
    "a lesson not measured": (
        lambda book: book["metadata"]["cmlib"].pop("memory_mb"),
        ": a lesson takes at most 4000 MB; its metadata say nothing."),
    "a long line": (
        printed("x" * 101),
        f", cell l00-03: a printed line has at most 100 columns; '{'x' * 40}'… has 101."),
    "a warning": (
        printed("Hm.\n", "stderr"), ", cell l00-03: nothing is written to stderr; found 'Hm.\\n'."),
    "an error": (
        out(output_type="error", ename="E", evalue="no"), ", cell l00-03: no cell raises; found E: no."),
    "HTML": (
        shown("text/html", "<p>"),
        ", cell l00-03: no HTML is stored, since nbval does not compare it; found some."),
    "a solution": (
        printed("✓ 00.1 Right"),
        ", cell l00-03: the learner's notebook is stored with its exercises open; found '✓ 00.1 Right'."),
}


@pytest.mark.parametrize("what", PLANTS_IN_A_NOTEBOOK)
def test_a_broken_rule_about_a_built_notebook_says_itself(built, what):
    plant, sentence = PLANTS_IN_A_NOTEBOOK[what]
    stored = json.loads((built / "00_tiny.ipynb").read_text("utf-8"))
    assert notebook_rules.broken(source_of("00"), stored) == []
    plant(stored)
    assert f"00_tiny.ipynb{sentence}" in notebook_rules.broken(source_of("00"), stored)


def test_prose_is_written_anew_around_the_outputs_without_running_anything(built, capsys):
    before = json.loads((built / "00_tiny.ipynb").read_text("utf-8"))
    source_of("00").write_text(SOURCE.replace("# Write accuracy.", "# Write it, briefly."), "utf-8")
    assert cli.main(["build", "--prose", "00"]) == 0
    assert capsys.readouterr().out.startswith("00_tiny: prose written, outputs kept")
    after = json.loads((built / "00_tiny.ipynb").read_text("utf-8"))
    assert "Write it, briefly." in "".join(texts(after)) and before["metadata"] == after["metadata"]
    assert running.code_cells(before) == running.code_cells(after)
    assert not running.refresh(source_of("00"))


def test_changed_code_has_to_be_executed(built, capsys):
    kept = (built / "00_tiny.ipynb").read_bytes()
    source_of("00").write_text(SOURCE.replace('"loss", 0.5', '"loss", 0.6'), "utf-8")
    assert cli.main(["build", "--prose", "00"]) == 1
    assert capsys.readouterr().err == (
        "The code of 00_tiny.py is not the code that gave the stored outputs; execute it: cmlib build 00\n"
        "00_tiny: nothing was written.\n")
    assert (built / "00_tiny.ipynb").read_bytes() == kept
    (built / "00_tiny.ipynb").unlink()
    with pytest.raises(ValueError, match="00_tiny.py was never built, so there are no outputs to keep"):
        running.refresh(source_of("00"))


def test_a_new_lesson_changes_the_links_of_its_neighbours(built, capsys):
    text = CURRICULUM.replace('number = "01"', 'number = "01"\nslug = "later"')
    curriculum.FILE.write_text(text, "utf-8")
    later = LAST.replace("02 The last lesson", "01 Later")
    (built / "src" / "01_later.py").write_text(later, "utf-8")
    assert cli.main(["build", "01"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "00_tiny: prose and links written anew", "02_last: prose and links written anew"]
    assert "](01_later.ipynb) →" in (built / "00_tiny.ipynb").read_text("utf-8")


def test_solved_notebooks_are_made_without_running_anything(course, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("nbclient.NotebookClient.execute_cell", None)  # whoever executes, fails
    assert cli.main(["build", "--solved"]) == 0
    assert cli.main(["build", "--solved", "00", "--out", str(tmp_path / "x")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\d+ ms", "N ms", line) for line in lines] == [
        f"00_tiny: solved in N ms, {course / 'solutions' / '00_tiny.ipynb'}",
        f"02_last: solved in N ms, {course / 'solutions' / '02_last.ipynb'}",
        f"00_tiny: solved in N ms, {tmp_path / 'x' / '00_tiny.ipynb'}",
    ]
    solved = json.loads((tmp_path / "x" / "00_tiny.ipynb").read_text("utf-8"))
    assert author.fingerprint(solved) == author.fingerprint(author.build(source_of("00"), solved=True))
    assert {cell["execution_count"] for cell in running.code_cells(solved)} == {None}
    assert not (course / "00_tiny.ipynb").exists()


def test_an_unknown_lesson_is_named(course, capsys):
    assert cli.main(["build", "00", "77"]) == 2
    assert capsys.readouterr().err == "There is no lesson '77'; there are 00, 02.\n"
    assert not (course / "00_tiny.ipynb").exists()


def test_only_solved_notebooks_go_elsewhere(course, capsys, tmp_path):
    assert cli.main(["build", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("--out says where solved notebooks go, so it needs --solved:")


@pytest.mark.parametrize(("line", "sentence"), [
    ("1 / 0", "00_tiny.py: the cell above raises ZeroDivisionError: division by zero"),
    ("import os; os._exit(9)", "00_tiny.py: the kernel died, often for want of memory."),
    ("import time; time.sleep(60)", "00_tiny.py: a cell did not end."),
])
def test_a_cell_that_fails_leaves_everything_as_it_was(built, capsys, monkeypatch, line, sentence):
    before = {path: path.read_bytes() for path in built.glob("*.*")}
    if "sleep" in line:
        monkeypatch.setattr(running, "TIMEOUT", 8)
    source_of("00").write_text(SOURCE.replace('print("loss", 0.5)', line), "utf-8")
    assert cli.main(["build", "00"]) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.endswith("00_tiny: nothing was written.\n")
    assert {path: path.read_bytes() for path in built.glob("*.*")} == before


def test_a_notebook_is_written_whole_or_not_at_all(built, monkeypatch):
    path, before = built / "00_tiny.ipynb", (built / "00_tiny.ipynb").read_bytes()
    with pytest.raises(Exception, match="missing an expected key: cells"):
        running.write(path, {"metadata": {}, "nbformat": 4, "nbformat_minor": 5})

    def full(*_):
        raise OSError("no space left on device")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        running.write(path, json.loads(before))
    assert path.read_bytes() == before
    assert sorted(p.name for p in built.iterdir()) == ["00_tiny.ipynb", "02_last.ipynb", "src"]


def test_every_kind_of_cell_is_explained():
    for kind in source.CODE[1:] + source.PROSE:
        assert f"# %% [{kind}]" in source.__doc__
