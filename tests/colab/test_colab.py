"""Lessons in a simulated Colab: Python 3.13 and the packages Colab has, an empty folder, from the first cell
on. Of 00, 06, 11 and 13 the first cell finds the course in each of the ways there are; 00, 06 and 13 run
whole, each by another way.

``make colab`` builds the environment (.venv-colab, about 5 GB) and runs this.
"""

import itertools
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

from cmlib.authoring import address, notebooks, publishing, running

PYTHON = ROOT / ".venv-colab" / "bin" / "python"
STUB = Path(__file__).parent / "stub"
MAY_BE_INSTALLED = {"torchmetrics", "lightning_utilities"}
pytestmark = pytest.mark.skipif(os.environ.get("CML_COLAB") != "1", reason="needs Colab's environment of 5 "
                                                                           "GB: run make colab")


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """The address of the course as a stranger clones it, from a server on this machine: the commit that is
    checked out, under its tag, and nothing that is not in it.
    """
    base = tmp_path_factory.mktemp("hub")
    tag = f"v{address.project(ROOT)['version']}"
    subprocess.run(["git", "clone", "-q", "--bare", str(ROOT), str(base / "course")], check=True)
    subprocess.run(["git", "-C", str(base / "course"), "tag", "-f", tag], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(["git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all",
                               f"--base-path={base}"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None
            time.sleep(0.1)
        yield address.Address(f"git://127.0.0.1:{port}/course", tag)
    finally:
        server.terminate()  # and its children, which are done with the last clone
        server.wait(20)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return publishing.pack(tmp_path_factory.mktemp("packed"))


@pytest.fixture
def content(tmp_path):
    folder = tmp_path / "content"
    folder.mkdir()
    return folder


def prepare(way, content, packed, public, monkeypatch):
    """What a learner has done before the first cell runs; returns the names in ``content`` after it."""
    name = "cross-modal-course"
    monkeypatch.setattr(address, "published", lambda root: public if way == "clone" else None)
    if way == "folder":
        publishing.zipfile.ZipFile(packed).extractall(content)
    elif way == "zip":
        shutil.copy(packed, content)
    elif way == "drive":
        (content / "drive" / "MyDrive").mkdir(parents=True)
        shutil.copy(packed, content / "drive" / "MyDrive")
    return {name} | {"zip": {f"{name}.zip"}, "drive": {"drive"}}.get(way, set())


def built(number):
    """(the lesson as it is built today, without outputs; the stored one)."""
    (source,) = (source for source in notebooks.sources() if source.name.startswith(number))
    fresh = nbformat.reads(json.dumps(notebooks.build(source)), 4)
    return fresh, nbformat.read(notebooks.built(source), 4)


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


@pytest.mark.parametrize("way", ["folder", "zip", "drive", "clone"])
@pytest.mark.parametrize("number", ["00", "06", "11", "13"])
def test_the_first_cell_finds_the_course(number, way, content, packed, public, monkeypatch):
    names = prepare(way, content, packed, public, monkeypatch)
    first = running.code_cells(built(number)[0])[0]
    # without what imports torch, for some seconds each: that is run below
    found, rest = "".join(first["source"]).split("\nfrom cmlib.check import check")
    assert "cmlib.setup(" in rest
    run = subprocess.run(
        [PYTHON, "-c", f"{found}\nprint('found', cmlib.__version__, ROOT.name)"], cwd=content,
        env=os.environ | {"PYTHONPATH": str(STUB)}, capture_output=True, text=True, check=False,
    )
    assert run.stdout.endswith(f"found {address.project(ROOT)['version']} cross-modal-course\n"), run.stderr
    assert run.stderr == "" and {path.name for path in content.iterdir()} == names


def test_without_any_of_them_the_first_cell_says_in_one_sentence_what_to_do(content, kernels, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(kernels))
    monkeypatch.setattr(address, "published", lambda root: None)
    notebook, _ = built("00")
    client = NotebookClient(notebook, timeout=60, kernel_name="colab-sim", allow_errors=True,
                            resources={"metadata": {"path": str(content)}})
    with client.setup_kernel():
        index = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
        client.execute_cell(notebook.cells[index], index)
    (error,) = (output for output in notebook.cells[index].outputs if output.output_type == "error")
    assert error.ename == "SystemExit" and "cross-modal-course.zip" in error.evalue
    assert "Traceback" not in "".join(error.traceback) and list(content.iterdir()) == []


@pytest.mark.parametrize(("number", "way"), [("00", "zip"), ("06", "drive"), ("13", "clone")])
def test_a_lesson_runs_from_its_first_cell_in_an_empty_folder(
    number, way, content, packed, public, kernels, tmp_path, monkeypatch
):
    names, added = prepare(way, content, packed, public, monkeypatch), tmp_path / "added"
    for folder in (added, tmp_path / "home"):
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
        "HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
        "CMLIB_SCALE": "small",
        "CMLIB_HOME": str(tmp_path / "home" / "progress"),
    }
    notebook, stored = built(number)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="colab-sim", resources={"metadata": {"path": str(content)}}
    )
    client.execute(env=environment)
    assert {path.name for path in content.iterdir()} == names
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
    for ran, kept in zip(notebook.cells, stored.cells, strict=True):
        assert kinds(ran) == kinds(kept), ran.id


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
