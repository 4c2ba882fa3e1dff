"""``make gpu`` in its smoke form, and what it says when a lesson fails, hangs or finds no data."""

import json
import os
import subprocess
import sys
import traceback

import pytest
from gpu.parts import jobs, play

import cmlib
from cmlib import plots
from cmlib.check import find

ROOT = play.ROOT


def python(*arguments, **environment):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, env=os.environ | environment,
                          capture_output=True, text=True, check=False)


def test_the_smoke_form_reaches_its_end_and_its_table(tmp_path):
    ran = python("benchmarks/gpu_lessons.py", "01", "--smoke", TMPDIR=str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    kept = json.loads((tmp_path / "gpu_lessons.json").read_text("utf-8"))
    assert kept["smoke"] and kept["lessons"]["01"]["state"] == kept["float16"]["state"] == "done"
    assert kept["float16"]["scale"] == "full" and kept["lessons"]["01"]["scale"] == "small"
    table = [line for line in ran.stdout.split("written to")[1].splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in table[2:]] == ["01", "tests on a GPU", "float16"]
    assert "no figure of it means anything" in ran.stdout.splitlines()[-1]


def test_an_unknown_lesson_and_a_python_without_torch_are_one_sentence():
    ran = python("benchmarks/gpu_lessons.py", "99")
    assert ran.returncode == 1 and ran.stderr.startswith("There is no lesson '99'; there are 00, 01,")
    ran = python("-S", "-E", "benchmarks/gpu_lessons.py")
    assert ran.returncode == 1 and "lacks torch, " in ran.stderr and "GPU_PYTHON=" in ran.stderr


def test_a_lesson_without_its_data_says_so(tmp_path):
    nothing, report = tmp_path / "nothing", tmp_path / "05.json"
    nothing.mkdir()
    python("benchmarks/gpu/play.py", "05", report, "--smoke", CMLIB_MIRROR=str(nothing),
           CMLIB_CACHE=str(tmp_path / "cache"), CMLIB_HOME=str(tmp_path))
    facts = json.loads(report.read_text("utf-8"))
    assert facts["state"] == "no data" and "05_seeing.py, cell at line " in facts["said"]


# One process


def job(tmp_path, code):
    script = tmp_path / "script.py"
    script.write_text("import json, sys, time\n" + code, "utf-8")
    return jobs.Job("06", [str(script)], tmp_path, dict(os.environ))


REPORT = 'open(sys.argv[1], "w").write(json.dumps({"state": "running", "line": 7, "peak_mib": 5}))\n'


@pytest.mark.parametrize(("code", "limit", "state", "says"), [
    (REPORT + "time.sleep(60)", 1.5, "stopped", "out of time after the cell at line 7"),
    ("time.sleep(60)", 0.5, "stopped", "out of time before its first cell had ended"),
    (REPORT + "print('the last words')", 60, "failed", "the process ended after the cell at line 7"),
])
def test_a_process_that_hangs_or_dies_is_reported(tmp_path, capsys, code, limit, state, says):
    facts = jobs.run([job(tmp_path, code)], 1, limit)["06"]
    assert (facts["state"], facts["said"]) == (state, says) and facts["seconds"] < 30
    said = capsys.readouterr().out
    assert says in said and ("the last words" in said) == ("words" in code)


def test_six_run_side_by_side_and_each_has_its_row(tmp_path, capsys):
    (tmp_path / "script.py").write_text(
        'import sys, time\ntime.sleep(0.5)\nopen(sys.argv[2], "w").write(\'{"state": "done"}\')', "utf-8")
    many = [jobs.Job(str(i), [str(tmp_path / "script.py"), "x"], tmp_path, dict(os.environ))
            for i in range(6)]
    found = jobs.run(many, 3, 60)
    assert list(found) == ["0", "1", "2", "3", "4", "5"]
    assert capsys.readouterr().out.count("whole |") == 6


def test_a_row_stays_one_row():
    facts = {"state": "failed", "said": "a | b\nc", "seconds": 1.0}
    assert jobs.row("06", facts) == "| 06 |  |  | 1.0 |  | failed: a / b c |"


# One lesson


SOURCE = '''# %% [markdown]
# # 02 A lesson

# %% [setup]
limit = 3

# %% [exercise] 02.1
# Write it.

# %% [stub]
def total_loss(losses):
    raise NotImplementedError

# %% [solution]
raise SystemExit("a learner has solved nothing")

# %%
assert limit > 5, "hardly trained"
after = limit + 1

# %%
1 / 0
'''


def test_cells_are_a_learners_and_errors_name_the_lines_of_the_source(tmp_path, capsys):
    source = tmp_path / "02_lesson.py"
    source.write_text(SOURCE.replace("total_loss", find("02.1").name), "utf-8")
    space = play.namespace()
    errors = dict(play.play(source, space))
    kinds = [type(error) for error in errors.values()]
    assert kinds == [type(None), type(None), AssertionError, ZeroDivisionError]
    last = traceback.extract_tb(errors[list(errors)[-1]].__traceback__)[-1]
    assert SOURCE.splitlines()[last.lineno - 1] == "1 / 0" and "02.1" in capsys.readouterr().out
    space = play.namespace()
    kinds = [type(error) for _, error in play.play(source, space, judged=False)]
    assert kinds == [type(None)] * 3 + [ZeroDivisionError] and space["after"] == 4


def test_without_ipython_a_figure_is_drawn_and_its_alt_text_printed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    drawn = []

    def draw(**values):
        drawn.append(values)
        fig, ax = plots.figure(width=2, height=1)
        ax.plot([0, 1])
        return fig

    plots.show(draw(), "A line rises.")
    plots.explore(draw, "A line to move.", height=(0.0, 9.0, 1.0, 2.0), kind=["a", "b"])
    assert capsys.readouterr().out == "[figure] A line rises.\n[slider] A line to move.\n"
    assert drawn == [{}, {"height": 2.0, "kind": "a"}]


def test_short_training_trains_on_few_rows_of_every_class(monkeypatch):
    play.cut_training_short(rows=8, put=monkeypatch.setattr)
    import torch

    from cmlib.data.batch import Features
    from cmlib.fusion import Concat

    rows = Features(torch.randn(800, 3), torch.randn(800, 3), torch.arange(800) // 200)
    history = cmlib.fit(Concat(3, 3, 4), rows, epochs=50, batch_size=4, progress=False)
    assert len(history) == 1 and len(history.batch_loss) == 2
    assert len(cmlib.data.batches(100, 10, torch.Generator())) == 2
