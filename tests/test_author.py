"""One source makes two notebooks: what the learner opens and what it looks like solved."""

import ast
import base64
import io
import json

import pytest
from conftest import ROOT
from PIL import Image

from cmlib import cli
from cmlib.authoring import notebooks as author

SOURCE = '''\
# %% [markdown]
# # 00 A tiny lesson
# Runs in {{measured}}.

# %% [setup]
import torch

# %%
from cmlib import plots
fig, ax = plots.figure(width=4, height=2)
ax.plot([0, 1, 4])
plots.show(fig, alt="A line that rises from zero to four in two steps.")
print("loss", 0.5)

# %% [exercise] 00.1
# Write accuracy.

# %% [stub]
def accuracy(logits, labels):
    """(rows, classes), (rows,) → scalar"""
    raise NotImplementedError

# %% [solution]
def accuracy(logits, labels):
    return (logits.argmax(1) == labels).double().mean()

# %% [hints]
# Count.
# ---
# $a = 1/n$
# ---
# `____`

# %% [quiz]
# ? Which is right?
# - this :: because not
# + that :: because
#   of this
# ? And here?
# + one :: yes
# - two :: no

# %%
cmlib.progress("00")
'''


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with one tiny lesson in a folder of its own."""
    (tmp_path / "cmlib").symlink_to(ROOT / "cmlib")
    notebooks = tmp_path / "notebooks"
    (notebooks / "src").mkdir(parents=True)
    (notebooks / "src" / "00_tiny.py").write_text(SOURCE, "utf-8")
    monkeypatch.setattr(author, "NOTEBOOKS", notebooks)
    return notebooks


def texts(notebook):
    return ["".join(cell["source"]) for cell in notebook["cells"]]


def test_the_learner_gets_the_stub_and_the_solved_notebook_the_solution(course):
    (source,) = author.sources()
    learner, solved = (
        "\n".join(texts(author.build(source))),
        "\n".join(texts(author.build(source, solved=True))),
    )
    assert "raise NotImplementedError" in learner and "argmax" not in learner
    assert "raise NotImplementedError" not in solved and "argmax" in solved
    assert learner.count('check("00.1", accuracy)') == solved.count('check("00.1", accuracy)') == 1


def test_cells_have_stable_ids_and_every_code_cell_parses(course):
    notebook = author.build(author.sources()[0])
    assert [cell["id"] for cell in notebook["cells"]] == [
        f"l00-{i:02d}" for i in range(len(notebook["cells"]))
    ]
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            ast.parse("".join(cell["source"]))


def test_card_hints_and_quiz_are_written_out(course):
    text = "\n".join(texts(author.build(author.sources()[0])))
    assert (
        "### Exercise 00.1 · Accuracy\n\n*5 minutes · 1 point · difficulty ●○○○○*\n\nWrite accuracy." in text
    )
    for i, what in enumerate(author.HINTS, 1):
        assert f"<details><summary>Hint {i}: {what}</summary>\n\n" in text
    assert (
        "**1. Which is right?**\n\n<details><summary>this</summary>\n\nNo. because not\n\n</details>" in text
    )
    assert "<details><summary>that</summary>\n\nRight. because of this\n\n</details>" in text
    assert text.count("<details>") == text.count("</details>") == 3 + 4


def test_the_first_code_cell_knows_one_address(course):
    import tomllib

    address = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["repository"]
    setup = next(cell for cell in author.build(author.sources()[0])["cells"] if cell["cell_type"] == "code")
    assert f'os.environ.get("CML_SOURCE", "{address}")' in "".join(setup["source"])


@pytest.mark.parametrize(("old", "new", "sentence"), [
    ("# %% [quiz]", "# %% [quizz]", r"00_tiny.py, line 34: unknown cell kind \[quizz\]"),
    ("# ---\n# `____`", "", "00_tiny.py: exercise 00.1 needs three hints between '---' lines, has 2"),
    ("[exercise] 00.1", "[exercise] 00.7", "There is no exercise '00.7'; did you mean '00.1'"),
    ("# - two :: no", "# - two", "00_tiny.py: the quiz option '- two' has no explanation after '::'"),
    ("# %% [exercise] 00.1\n# Write accuracy.\n", "", r"00_tiny.py: a \[stub\] cell stands before the first "
                                                      r"\[exercise\]"),
])
def test_a_slip_of_the_author_is_one_sentence(course, old, new, sentence):
    (source,) = author.sources()
    assert old in SOURCE
    source.write_text(SOURCE.replace(old, new), "utf-8")
    with pytest.raises(ValueError, match=sentence):
        author.build(source)


def test_make_runs_both_and_measures(course, capsys):
    (source,) = author.sources()
    assert cli.main(["build", "00"]) == 0
    assert capsys.readouterr().out.startswith("00_tiny: ")
    measured = json.loads((course / "measured.json").read_text())["00_tiny"]
    assert 0 < measured["seconds"] < 120 and 50 < measured["memory_mb"] < 8000
    learner, solved = (
        json.loads(path.read_text("utf-8"))
        for path in (course / "00_tiny.ipynb", course / "solutions" / "00_tiny.ipynb")
    )
    for notebook, is_solved in ((learner, False), (solved, True)):
        assert author.fingerprint(notebook) == author.fingerprint(author.build(source, is_solved))
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
        assert f"Runs in {measured['seconds']} s and" in "".join(notebook["cells"][0]["source"])
        assert "widgets" not in notebook["metadata"]
    prints = [
        "".join("".join(o.get("text", "")) for c in n["cells"] for o in c.get("outputs", []))
        for n in (learner, solved)
    ]
    assert "○ 00.1 Accuracy: not answered yet" in prints[0] and "lesson 00: 0 of 1 points" in prints[0]
    assert "✓ 00.1 Accuracy: right (1 point)" in prints[1] and "lesson 00: 1 of 1 points" in prints[1]
    image = next(
        o for c in learner["cells"] for o in c.get("outputs", []) if "image/png" in o.get("data", {})
    )
    assert image["metadata"]["image/png"]["alt"] == "A line that rises from zero to four in two steps."
    picture = Image.open(io.BytesIO(base64.b64decode(image["data"]["image/png"])))
    assert picture.mode == "P" and 200 < picture.width < 310
    author.make(source)  # again: nothing changes but the passport's time
    again = json.loads((course / "00_tiny.ipynb").read_text("utf-8"))
    assert again["cells"][1:] == learner["cells"][1:]


def test_a_changed_source_no_longer_agrees(course):
    (source,) = author.sources()
    before = author.fingerprint(author.build(source))
    source.write_text(SOURCE.replace("0.5", "0.6"), "utf-8")
    assert author.fingerprint(author.build(source)) != before


def test_an_unknown_lesson_is_named(course, capsys):
    assert cli.main(["build", "77"]) == 2
    assert capsys.readouterr().err == "There is no lesson '77'; there are 00.\n"


def test_a_cell_that_raises_leaves_everything_as_it_was(course, capsys):
    (source,) = author.sources()
    source.write_text(SOURCE.replace('print("loss", 0.5)', "1 / 0"), "utf-8")
    assert cli.main(["build"]) == 1
    error = capsys.readouterr().err
    assert "1 / 0" in error and error.endswith("00_tiny.py: the cell above raises ZeroDivisionError: "
                                               "division by zero\nNothing was written.\n")
    assert sorted(path.name for path in course.iterdir()) == ["src"]
