"""What installs the course agrees with itself: pyproject.toml, requirements.lock, environment.yml, Colab's
list, the Makefile.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
RUNTIME = {canonicalize_name(r.name): r.specifier for r in map(Requirement, PROJECT["dependencies"])}
EVERYTHING = {
    canonicalize_name(r.name): r.specifier
    for r in map(
        Requirement, [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]
    )
}
CONDA_NAMES = {"pytorch-cpu": "torch", "pytorch-gpu": "torch", "pytorch": "torch"}


def locked(path):
    lines = re.findall(r"^([\w.-]+)==([^ ;\\\n]+)", path.read_text("utf-8"), flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


LOCK = locked(ROOT / "requirements.lock")
COLAB = locked(ROOT / "tests" / "colab" / "requirements.txt")


def conda():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    parts = [re.match(r"([\w-]+)(.*)", entry).groups() for entry in entries if isinstance(entry, str)]
    return {canonicalize_name(CONDA_NAMES.get(name, name)): SpecifierSet(bounds) for name, bounds in parts}


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_lock_has_every_dependency_at_a_version_in_range(name):
    assert LOCK[name] in EVERYTHING[name]


def test_every_locked_package_has_hashes():
    text = (ROOT / "requirements.lock").read_text("utf-8")
    for block in re.split(r"\n(?=[\w.-]+==)", text)[1:]:
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_lock_names_no_registry():
    text = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in text and "--index-url" not in text and "--find-links" not in text


def test_conda_has_the_bounds_of_pyproject():
    assert conda().pop("python") == SpecifierSet(PROJECT["requires-python"])
    lab = {canonicalize_name(r.name): r.specifier for r in map(Requirement, EXTRAS["lab"])}
    assert {
        name: bounds for name, bounds in conda().items() if name not in ("python", "pip")
    } == RUNTIME | lab


def test_conda_changes_to_a_gpu_by_one_line():
    text = (ROOT / "environment.yml").read_text("utf-8")
    (line,) = [line for line in text.splitlines() if "pytorch" in line]
    cpu, gpu = re.search(r"- (\S+)  # with an NVIDIA GPU: (\S+)", line).groups()
    assert gpu == cpu.replace("pytorch-cpu", "pytorch-gpu")


@pytest.mark.parametrize("name", RUNTIME)
def test_colab_has_every_dependency_or_the_first_cell_installs_it(name, monkeypatch):
    import cmlib

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    installed = {canonicalize_name(package) for package in cmlib.missing_packages()}
    assert name in installed if name not in COLAB else COLAB[name] in RUNTIME[name]


def test_this_python_is_one_the_course_supports():
    assert "{}.{}".format(*sys.version_info) in SpecifierSet(PROJECT["requires-python"])


def test_every_import_of_cmlib_is_a_declared_dependency():
    # for authors, in the extra dev; with a key; on Colab
    known = {*RUNTIME, "cmlib", "pil", "nbformat", "nbclient", "wandb", "google"}
    for path in (ROOT / "cmlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
                [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            for top in (name.split(".")[0] for name in names):
                assert top in sys.stdlib_module_names or canonicalize_name(top) in known, (
                    f"{path.name} imports {top}"
                )


def fresh(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.strip()


def test_importing_cmlib_is_light():
    heavy = ("torch", "numpy", "transformers", "torchvision", "matplotlib", "PIL", "IPython", "ipywidgets")
    assert fresh(f"import sys, cmlib; dir(cmlib); print([m for m in {heavy!r} if m in sys.modules])") == "[]"


def test_the_contents_of_cmlib_load_by_name():
    assert fresh("import cmlib; print(callable(cmlib.check.check), callable(cmlib.setup), "
                 "cmlib.data.pairs.Pairs.__name__)") == "True True Pairs"
    assert fresh("from cmlib.check import check; import cmlib; print(callable(check), "
                 "cmlib.progress.__name__)") == "True progress"


def test_every_module_a_lesson_imports_is_named():
    import cmlib

    imported = {
        name
        for file in (ROOT / "notebooks" / "src").glob("*.py")
        for name in re.findall(r"^\s*from cmlib\.(\w+)[\w.]* import", file.read_text("utf-8"), re.MULTILINE)
    }
    imported |= {
        name.strip()
        for file in (ROOT / "notebooks" / "src").glob("*.py")
        for names in re.findall(r"^\s*from cmlib import ([\w, ]+)", file.read_text("utf-8"), re.MULTILINE)
        for name in names.split(",")
    }
    assert {"fit", "extract", "data", "training"} <= imported <= set(dir(cmlib))


def test_an_unknown_name_of_cmlib_is_one_sentence():
    import cmlib

    with pytest.raises(AttributeError, match="cmlib has no 'fusoin'; it has "):
        cmlib.fusoin  # noqa: B018


def test_missing_packages_names_only_what_is_not_there(monkeypatch):
    import cmlib

    assert cmlib.missing_packages() == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "safetensors" else object())
    assert cmlib.missing_packages() == ["safetensors"]


# The scale, decided once

SETUP = 'import cmlib; cfg = cmlib.setup("02"); print(repr(cfg))'


def test_on_a_cpu_the_scale_is_small_and_says_why():
    lines = fresh(SETUP, CMLIB_SCALE="", CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1").splitlines()
    assert lines[1] == "scale small: 64-pixel pictures and the course's own mini encoders"
    assert lines[2] == "device cpu, float32: a CPU trains small models fastest in float32; seed 0"
    assert "text_encoder='mini', image_encoder='mini'" in lines[3]


def test_full_is_one_word_away():
    lines = fresh(SETUP, CMLIB_SCALE="full", CUDA_VISIBLE_DEVICES="").splitlines()
    assert lines[1] == "scale full: bert-base-uncased and resnet50" and "image_encoder='resnet50'" in lines[3]


def test_a_wrong_scale_is_one_sentence():
    code = "import cmlib\ntry: cmlib.setup('02')\nexcept ValueError as e: print(e)"
    assert fresh(code, CMLIB_SCALE="big") == 'The scale is "small" or "full"; got \'big\' (from CMLIB_SCALE).'


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("cuda", "The device 'cuda' was asked for and "),
        ("cuda:7", "The device 'cuda:7' was asked for and "),
        ("mps", "The device 'mps' was asked for and PyTorch finds no such GPU here"),
        ("gpu", "(the second GPU) or \"mps\"; got 'gpu'."),
        ("cpu:3", "got 'cpu:3'."),
        ("cuda:-1", "got 'cuda:-1'."),
    ],
)
def test_a_device_that_is_absent_is_one_sentence_and_never_another_device(monkeypatch, device, says):
    import torch

    import cmlib

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError) as caught:
        cmlib.setup("13", device=device)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_device_that_is_there_is_taken_at_either_scale(monkeypatch, capsys):
    import torch

    import cmlib

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device=None: (7, 5) if device == "cuda:1" else (9, 0)
    )
    chosen = cmlib.setup("13", device="cuda:1")
    assert (chosen.name, chosen.device, chosen.dtype) == ("full", "cuda:1", "float16")
    assert (
        cmlib.setup("13", "small", device="cuda").device == "cuda"
        and cmlib.setup("13", device="cpu").name == "small"
    )
    assert "device cuda:1, float16: this GPU has no bfloat16" in capsys.readouterr().out
    with pytest.raises(ValueError, match="'cuda:2' was asked for and the 2 GPUs here begin at cuda:0"):
        cmlib.setup("13", device="cuda:2")


@pytest.mark.parametrize("device", [None, "cuda"])
def test_under_torchrun_each_process_takes_its_own_gpu_and_one_prints(monkeypatch, capsys, device):
    import torch

    import cmlib

    taken = []
    monkeypatch.delenv("CMLIB_SCALE", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for rank, local in ((0, 0), (1, 1), (3, 1)):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(local))
        assert cmlib.setup("13", device=device).device == f"cuda:{local}" and taken.pop() == local
        assert (f"device cuda:{local}, bfloat16" in capsys.readouterr().out) == (rank == 0)
    assert (
        cmlib.setup("13", device="cuda:0").device == "cuda:0"
        and cmlib.setup("13", "small").device == "cpu"
        and not taken
    )
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match=r"process number 2 on this machine, which has 2 GPUs.*: torchrun "
                                         r"--nproc-per-node 2, or device="):
        cmlib.setup("13", device=device)


# The Makefile


def test_without_a_fitting_python_make_says_which_is_needed(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    run = subprocess.run(
        ["make", "lab", "PYTHONS=no-such-python"], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert run.returncode != 0
    assert (
        "The course needs Python 3.11, 3.12 or 3.13 with venv, and none of no-such-python is one"
        in run.stdout
    )
    assert not (tmp_path / ".venv").exists()


def test_lab_opens_the_first_lesson_in_the_projects_environment():
    run = subprocess.run(
        ["make", "-n", "lab", "LESSON=notebooks/00_x.ipynb"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert re.search(r"\.venv/bin/python -m jupyterlab .*notebooks/00_x\.ipynb", run.stdout)


def test_ci_is_make_test():
    text = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "\nmake test\n" in text and "CMLIB_MIRROR" in text and "set -euo pipefail" in text
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
