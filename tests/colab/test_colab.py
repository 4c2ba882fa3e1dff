"""Lessons 00, 06 and 13 in a simulated Colab: Python 3.13 and the packages Colab has, an empty folder, from
the first cell on.

``make colab`` builds the environment (.venv-colab, about 5 GB) and runs this.
"""

import itertools
import json
import os
import subprocess
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

PYTHON = ROOT / ".venv-colab" / "bin" / "python"
STUB = Path(__file__).parent / "stub"
MAY_BE_INSTALLED = {"torchmetrics", "lightning_utilities"}
pytestmark = pytest.mark.skipif(os.environ.get("CML_COLAB") != "1", reason="needs Colab's environment of 5 "
                                                                           "GB: run make colab")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The course as a stranger clones it: the commit that is checked out, and nothing that is not in it."""
    clone = tmp_path_factory.mktemp("hub") / "course"
    subprocess.run(["git", "clone", "-q", "--bare", str(ROOT), str(clone)], check=True)
    return f"file://{clone}"


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """A Jupyter folder whose only kernel is Colab's Python."""
    folder = tmp_path_factory.mktemp("jupyter")
    spec = folder / "kernels" / "colab-sim"
    spec.mkdir(parents=True)
    argv = [str(PYTHON), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "Colab", "language": "python"})
    )
    return folder


def packages(*paths):
    """{name: version} of what the folders hold (default: Colab's own)."""
    code = ("import importlib.metadata as m, json, sys; "
            "print(json.dumps({d.name: d.version for d in m.distributions(**({'path': sys.argv[1:]} if "
            "sys.argv[1:] else {}))}))")
    return json.loads(subprocess.check_output([str(PYTHON), "-c", code, *map(str, paths)], text=True))


@pytest.mark.parametrize("number", ["00", "06", "13"])
def test_a_lesson_runs_from_its_first_cell_in_an_empty_folder(number, source, kernels, tmp_path, monkeypatch):
    (lesson,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    content, added = tmp_path / "content", tmp_path / "added"
    for folder in (content, added, tmp_path / "home"):
        folder.mkdir()
    before = packages()
    monkeypatch.setenv("JUPYTER_PATH", str(kernels))
    # What pip installs goes to a folder of its own, so that Colab's packages stay as they were and the next
    # run starts equal.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONSTARTUP")
    } | {
        "PYTHONPATH": os.pathsep.join([str(STUB), str(added)]),
        "PIP_TARGET": str(added),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "CML_SOURCE": source,
        "HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
        "CMLIB_SCALE": "small",
        "CMLIB_HOME": str(tmp_path / "home" / "progress"),
    }
    notebook = nbformat.read(lesson, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook, timeout=300, kernel_name="colab-sim", resources={"metadata": {"path": str(content)}}
    )
    client.execute(env=environment)
    assert [path.name for path in content.iterdir()] == ["cross-modal-course"]
    stderr = [o.text for c in notebook.cells for o in c.get("outputs", []) if o.get("name") == "stderr"]
    assert not stderr
    printed = "".join(
        o.text for c in notebook.cells for o in c.get("outputs", []) if o.get("name") == "stdout"
    )
    assert "Python 3.13" in printed and "torch 2.11.0" in printed
    assert packages() == before
    installed = {name.lower().replace("-", "_") for name in packages(added)}
    assert installed <= MAY_BE_INSTALLED and not installed & {
        name.lower().replace("-", "_") for name in before
    }
    for ran, stored in zip(notebook.cells, nbformat.read(lesson, 4).cells, strict=True):
        assert kinds(ran) == kinds(stored), ran.id


def kinds(cell):
    """The kinds of a cell's outputs in order; Colab's older kernel cuts one stream into several."""
    return [kind for kind, _ in itertools.groupby(output.output_type for output in cell.get("outputs", []))]


def test_the_environment_is_colabs():
    have = {name.lower().replace("_", "-"): version for name, version in packages().items()}
    for name, version in {
        "torch": "2.11.0",
        "transformers": "5.15.0",
        "ipython": "7.34.0",
        "ipywidgets": "7.7.1",
    }.items():
        assert have[name] == version
    assert subprocess.check_output([str(PYTHON), "-V"], text=True).startswith("Python 3.13.")
