"""The settings of nbval find planted errors and forgive what differs between machines."""

import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import nbformat
import nbformat.v4 as nb
import pytest
from conftest import ROOT

CODE = 'print("step 50, loss 0.8770")\nprint("accuracy 0.9912")\nprint("the photo alone is wrong")'
TRUE = "step 50, loss 0.8770\naccuracy 0.9912\nthe photo alone is wrong\n"
FIGURE = '''from IPython.display import display
display({"image/png": "aGVsbG8=", "text/plain": "[figure] the loss falls"}, raw=True)'''
SLIDER = '''import ipywidgets as widgets
from IPython.display import display
slider, out = widgets.IntSlider(value=3), widgets.Output()
with out:
    print("inside the widget")
display(slider, out)
slider.value = 7;'''


def cell(code, *outputs):
    return nb.new_code_cell(code, execution_count=1, outputs=list(outputs))


def stream(text):
    return nb.new_output("stream", name="stdout", text=text)


def figure(png, alt):
    return nb.new_output("display_data", data={"image/png": png, "text/plain": f"[figure] {alt}"})


def widgets():
    view = {"version_major": 2, "version_minor": 0, "model_id": "0"}
    return [
        nb.new_output(
            "display_data", data={"application/vnd.jupyter.widget-view+json": view, "text/plain": text}
        )
        for text in ("IntSlider(value=3)", "Output()")
    ]


PASSES = {
    "as_it_is": cell(CODE, stream(TRUE)),
    "decimal_plus_1_percent": cell(CODE, stream(TRUE.replace("0.8770", "0.8858"))),
    "decimal_minus_a_little": cell(CODE, stream(TRUE.replace("0.9912", "0.9900"))),
    "seconds_and_versions": cell(
        'print("3.1 s with torch 2.15.0+cu132")', stream("14.9 s with torch 2.11.0\n")
    ),
    "other_pixels": cell(FIGURE, figure("d29ybGQ=", "the loss falls")),
    "semicolon": cell("'nothing is shown';"),
    "widgets": cell(SLIDER, *widgets()),
    "own_home": cell(
        'import os\nprint(os.path.basename(os.environ["CMLIB_HOME"])[:6], os.environ["CMLIB_SCALE"])',
        stream("cmlib- small\n"),
    ),
}
FAILS = {
    "integer": cell(CODE, stream(TRUE.replace("50", "51"))),
    "decimal_plus_5_percent": cell(CODE, stream(TRUE.replace("0.8770", "0.9209"))),
    "nan": cell(CODE, stream(TRUE.replace("0.8770", "nan"))),
    "word": cell(CODE, stream(TRUE.replace("photo", "message"))),
    "sign": cell(CODE, stream(TRUE.replace("0.8770", "-0.8770"))),
    "missing_line": cell(CODE, stream("\n".join(TRUE.splitlines()[:2]) + "\n")),
    "extra_line": cell(CODE, stream(TRUE + "and more\n")),
    "no_output_stored": cell(CODE),
    "other_alt_text": cell(FIGURE, figure("aGVsbG8=", "the loss rises")),
    "exception": cell("1 / 0", stream("fine\n")),
    "killed_kernel": cell("import os; os.kill(os.getpid(), 9)", stream("fine\n")),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One run over all of them: {name: (passed, seconds)}."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "notebooks").mkdir()
    shutil.copy(ROOT / "nbval.cfg", folder)
    shutil.copy(ROOT / "notebooks" / "conftest.py", folder / "notebooks")
    names = [*PASSES, *FAILS]  # the killed kernel comes last
    book = nb.new_notebook(cells=[(PASSES | FAILS)[name] for name in names])
    (folder / "notebooks" / "planted.ipynb").write_text(nbformat.writes(book), "utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--nbval",
        "notebooks",
        "--junitxml=report.xml",
        "-p",
        "no:cacheprovider",
    ]
    run = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=300)
    cases = list(ET.parse(folder / "report.xml").iter("testcase"))
    assert len(cases) == len(names), run.stdout[-3000:]
    return {name: (not len(case), float(case.get("time"))) for name, case in zip(names, cases, strict=True)}


@pytest.mark.parametrize("name", PASSES)
def test_what_differs_between_machines_passes(results, name):
    assert results[name][0]


@pytest.mark.parametrize("name", FAILS)
def test_a_planted_error_is_found(results, name):
    assert not results[name][0]


def test_a_killed_kernel_is_noticed_at_once(results):
    assert results["killed_kernel"][1] < 30
