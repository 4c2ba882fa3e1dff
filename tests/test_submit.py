"""What a learner hands in from a running notebook, and the page that shows what is left to do."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from cmlib.authoring import notebooks as author
from cmlib.check import exercises, page, records
from cmlib.check.engine import Verdict
from cmlib.grade import submit as module
from cmlib.grade.slicing import statements
from cmlib.grade.submissions import collect

ROOT = Path(__file__).resolve().parent.parent
SETUP = "from cmlib.check import check\nimport math, torch\nfrom cmlib import submit, report"
ACCURACY = """def accuracy(logits, labels):
    return %s(logits.argmax(dim=1) == labels).double().mean()

check('00.1', accuracy)"""
RIGHT, WRONG = ACCURACY % "", ACCURACY % "1 - "
OTHERS_OF_00 = ", ".join(e.id for e in exercises("00") if e.id != "00.1")
ONE_OF_00 = f"1 of {len(exercises('00'))} exercises (00.1); missing: {OTHERS_OF_00}"
STUB = "def accuracy(logits, labels):\n    raise NotImplementedError\n\ncheck('00.1', accuracy)"


def text_of(cell):
    return "".join(o.get("text", "") or o.get("data", {}).get("text/html", "") for o in cell.outputs)


def run_notebook(folder, *cells, colab=False):
    """The outputs of the cells, run one after the other in a real kernel whose folder is ``folder``."""
    home = folder / "home"
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CMLIB_HOME": str(home),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/colab/stub'}" if colab else str(ROOT),
    }
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    with client.setup_kernel(env=environment):
        for i, cell in enumerate(notebook.cells):
            client.execute_cell(cell, i)
    return [text_of(cell) for cell in notebook.cells]


def test_a_session_from_the_first_try_to_the_collected_submission(tmp_path):
    (tmp_path / "in").mkdir()
    noise = "%matplotlib inline\nx = !echo hello\nprint(x)"
    out = run_notebook(
        tmp_path,
        SETUP,
        "submit('Ada')",
        STUB,
        "submit('Ada')",
        WRONG,
        "def = oops",
        noise,
        "%%time\n" + RIGHT,
        "report('00')",
        "submit('Ada Lovelace', 'in')",
        "submit(folder='in')",
        "submit(folder='in')",
        "submit(3)",
        "submit(folder='missing')",
        "import cmlib; cmlib.submit('Ada')",
    )
    assert (
        out[1].startswith("Nothing to hand in: no answered exercise has run in this kernel.")
        and out[3] == out[1]
    )
    assert f"1 of {sum(e.points for e in exercises('00'))} points, " in out[8]
    assert out[9] == f"submission-00-Ada-Lovelace.json: {ONE_OF_00}.\n"
    assert out[10] == out[11]
    assert re.fullmatch(rf"submission-00-[0-9a-f]{{8}}\.json: {re.escape(ONE_OF_00)}\.\n", out[10])
    assert (
        out[14] == f"submission-00-Ada.json: {ONE_OF_00}.\n"
        and (tmp_path / "submission-00-Ada.json").exists()
    )
    anonymous, ada = sorted(collect(tmp_path / "in"), key=lambda s: s.learner == "Ada-Lovelace")
    assert ada.learner == "Ada-Lovelace" and not ada.notes and ada.passed("00.1")
    ran = [SETUP, "submit('Ada')", STUB, "submit('Ada')", WRONG, "def = oops", noise, "%%time\n" + RIGHT]
    assert ada.cells("00.1", "accuracy")[:8] == ran  # every cell, as it was typed
    assert re.fullmatch("[0-9a-f]{8}", anonymous.learner)
    assert anonymous.cells("00.1", "accuracy")[:8] == ran
    written = json.loads((tmp_path / "in/submission-00-Ada-Lovelace.json").read_text("utf-8"))
    assert written["learner"] == "Ada Lovelace" and written["format"] == "cmlib-submission-2"
    assert (written["answers"], written["passed"]) == (["00.1"], ["00.1"])
    assert written["lessons"] == ["00"] and re.fullmatch(
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", written["made"]
    )
    # nothing half written
    assert {p.name for p in (tmp_path / "in").iterdir()} == {anonymous.files[0], ada.files[0]}


def test_on_colab_the_file_is_downloaded(tmp_path):
    pretend = """import google.colab, sys, types
files = types.SimpleNamespace(download=lambda p: print('download', p))
google.colab.files = sys.modules['google.colab.files'] = files"""
    out = run_notebook(tmp_path, pretend, SETUP, WRONG, "submit('Ada')", "report('00')", colab=True)
    assert out[3] == f"submission-00-Ada.json: {ONE_OF_00}.\ndownload submission-00-Ada.json\n"
    assert "<a " not in out[4] and "00.1 Accuracy, 1 try: Lesson 00" in out[4]


def test_outside_a_notebook_it_says_what_to_do(tmp_path, capsys, monkeypatch):
    module.submit("Ada", tmp_path)
    assert capsys.readouterr().out.startswith(
        "cmlib.submit() takes the cells of a running notebook"
    ) and not any(tmp_path.iterdir())
    page.report("00")
    assert f"lesson 00: 0 of {sum(e.points for e in exercises('00'))} points" in capsys.readouterr().out


@pytest.fixture
def history(monkeypatch, tmp_path):
    """submit() as if these cells had run in a kernel; returns what it prints."""
    def submitted(capsys, *cells, learner="Ada"):
        monkeypatch.setattr(module, "_history", lambda: list(cells))
        module.submit(learner, tmp_path)
        return capsys.readouterr().out
    return submitted


def test_bad_arguments_are_told_in_one_sentence(tmp_path):
    with pytest.raises(TypeError, match=r'^The learner is given as text, submit\("Ada Lovelace"\); got 3\.$'):
        module.submit(3)
    with pytest.raises(
        FileNotFoundError, match="^There is no folder .*missing' to write the submission into"
    ):
        module.submit("Ada", tmp_path / "missing")


def test_missing_ones_are_named_and_those_of_another_session_too(history, capsys):
    records.record(Verdict("02.3", "passed", "right", 3))
    records.record(Verdict("03.1", "passed", "right", 3))
    out = history(capsys, "def equivalent_weights(lam):\n    return 2 * lam, 1 - 3 * lam + "
                          "lam**2\ncheck('02.2', equivalent_weights)")
    others = ", ".join(e.id for e in exercises("02") if e.id != "02.2")
    assert out == (f"submission-02-Ada.json: 1 of {len(exercises('02'))} exercises (02.2); missing: {others} "
                   "(you solved 02.3 in another session: run the cell again and submit once more).\n")


def test_an_id_that_is_computed_is_found_by_the_answer_that_passed(history, capsys):
    cells = ["def equivalent_weights(lam):\n    return 1", "check(f'02.{2}', equivalent_weights)"]
    assert history(capsys, *cells).startswith("Nothing to hand in")
    records.record(Verdict("02.2", "passed", "right", 3))
    records.record(Verdict("02.quiz", "passed", "right", 3))
    assert history(capsys, *cells).startswith("submission-02-Ada.json: 1 of ")
    assert history(capsys, cells[0]).startswith("Nothing to hand in")  # it was not checked here


def test_a_cell_that_is_not_python_is_handed_in_and_said(history, capsys, tmp_path):
    broken = "def accuracy(logits, labels):\n    return (1\n\ncheck('00.1', accuracy)"
    out = history(capsys, "import torch", broken)
    assert re.fullmatch(rf"submission-00-Ada\.json: {re.escape(ONE_OF_00)}\. In 00\.1: The cell with "
                        r"accuracy is not Python: .* in line \d\.\n", out)
    assert collect(tmp_path)[0].cells("00.1", "accuracy") == ["import torch", broken]


@pytest.mark.parametrize(
    "learner, file",
    [
        ("Zo\u00eb \u4e2d/..\\x", "submission-00-Zo\u00eb-\u4e2d-..-x.json"),
        ("../../etc", "submission-00-etc.json"),
        ("\u00e9" * 300, "submission-00-" + "\u00e9" * 60 + ".json"),
    ],
)
def test_names_of_learners_become_names_of_files(history, capsys, tmp_path, learner, file):
    assert history(capsys, RIGHT, learner=learner).startswith(file)
    assert [p.name for p in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("learner", ["", "///", "\ud800", None])
def test_a_name_of_which_nothing_is_left_becomes_a_lasting_random_one(history, capsys, learner):
    first, second = (history(capsys, RIGHT, learner=learner) for _ in range(2))
    assert first == second and re.match(r"submission-00-[0-9a-f]{8}\.json: ", first)


@pytest.mark.parametrize("lesson", author.sources(), ids=lambda source: source.stem)
def test_every_solved_lesson_is_handed_in_whole_and_gives_the_same_slices(history, capsys, tmp_path, lesson):
    cells = [
        "".join(c["source"])
        for c in author.build(lesson, solved=True)["cells"]
        if c["cell_type"] == "code"
    ]
    wanted = exercises(lesson.name[:2])
    assert f"{len(wanted)} of {len(wanted)} exercises" in history(capsys, *cells)
    [submission] = collect(tmp_path)
    for e in wanted:
        kept = submission.cells(e.id, e.name)
        assert kept == [cell for cell in cells if cell.strip()]
        assert [ast.unparse(n) for _, n in statements(kept, e.name, e.id)] == [
            ast.unparse(n) for _, n in statements(cells, e.name, e.id)
        ]


def test_untouched_lessons_have_nothing_to_hand_in(history, capsys):
    cells = [
        "".join(c["source"])
        for c in author.build(author.sources()[2])["cells"]
        if c["cell_type"] == "code"
    ]
    assert history(capsys, *cells).startswith("Nothing to hand in")


def test_a_helper_mended_after_the_definition_is_the_one_that_is_handed_in(history, capsys, tmp_path):
    bad, good, main, checked = (
        "def h(x):\n    return 1 / 0",
        "def h(x):\n    return x",
        "def accuracy(a, b):\n    return h(a)",
        "check('00.1', accuracy)",
    )
    history(capsys, bad, main, checked, good, checked)
    kept = collect(tmp_path)[0].cells("00.1", "accuracy")
    assert [ast.unparse(n) for _, n in statements(kept, "accuracy", "00.1")] == [main, good]


def test_more_than_fits_keeps_the_last_run_of_each_cell_and_says_so(history, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_CODE", 1000)
    long = "x = '" + "y" * 950 + "'"
    out = history(capsys, long, RIGHT, RIGHT, "a = 1", RIGHT)
    assert "of 5 cells it has the last 2 that differ" in out and out.count("\n") == 1
    assert collect(tmp_path)[0].cells("00.1", "accuracy") == ["a = 1", RIGHT]


def test_an_answer_given_to_check_in_a_loop_is_handed_in(history, capsys, tmp_path):
    records.record(Verdict("00.1", "passed", "right", 1))
    cells = ["def mine(a, b): return 1", "for id, f in {'00.1': mine}.items():\n    check(id, f)"]
    assert history(capsys, *cells).startswith(f"submission-00-Ada.json: {ONE_OF_00}.")
    assert collect(tmp_path)[0].cells("00.1", "accuracy") == cells


def test_the_page_counts_points_minutes_and_names_what_to_review():
    done = {
        "01.1": {"tries": 2, "passed": True},
        "01.2": {"tries": 3, "passed": False},
        "02.1": {"tries": 1, "passed": False},
    }
    html, plain = page.page(["01", "02"], done)
    items = exercises("01") + exercises("02")
    left = sum(e.minutes for e in items if e.id != "01.1")
    total = (
        f"{items[0].points} of {sum(e.points for e in items)} points, {left // 60} h {left % 60:02} min left"
    )
    assert plain == f"Your progress: {total}; to review: 2" and f"<h3>Your progress: {total}</h3>" in html
    assert (
        html.count("\u2713</span>") == 1
        and html.count("\u2717</span>") == 2 + 2
        and html.count("\u25cb</span>") == len(items) - 3
    )
    assert (
        "01.2 The gradient by hand, 3 tries: <a href=" in html
        and "02.1 The published objective, 1 try: <a href=" in html
    )
    assert (
        "\u201cequivalent\u201d" in html and page.page([], {})[1] == "Your progress: 0 of 0 points, all done"
    )


def test_links_lead_to_the_notebooks(monkeypatch):
    monkeypatch.chdir(ROOT / "notebooks")
    hrefs = re.findall("href='([^']+)'", page.page(["01", "02"], {})[0])
    assert hrefs == ["01_losses.ipynb", "02_joint_loss.ipynb"] and all(Path(h).exists() for h in hrefs)


def test_an_unknown_lesson_is_told():
    with pytest.raises(ValueError, match="^There is no lesson '99' with exercises"):
        page.report("99")


def test_importing_cmlib_stays_light():
    code = ("import sys, time; t = time.perf_counter(); import cmlib; t = time.perf_counter() - t; "
            "print(t, 'torch' in sys.modules, callable(cmlib.__getattr__), 'submit' in dir(cmlib), 'report' "
            "in dir(cmlib)); "
            "import cmlib.grade.slicing, cmlib.grade.submissions; print('torch' in sys.modules, 'IPython' in "
            "sys.modules)")
    times = []
    for _ in range(3):
        first, second = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.splitlines()
        assert first.split()[1:] == ["False", "True", "True", "True"] and second == "False False"
        times.append(float(first.split()[0]))
    assert min(times) < 0.2
