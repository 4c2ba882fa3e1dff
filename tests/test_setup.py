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

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
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
ADDED = locked(ROOT / "tests" / "colab" / "extras.txt")


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
    extras = map(Requirement, EXTRAS["lab"] + EXTRAS["more"])
    wanted = RUNTIME | {canonicalize_name(r.name): r.specifier for r in extras}
    assert {name: bounds for name, bounds in conda().items() if name not in ("python", "pip")} == wanted


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


@pytest.mark.parametrize("text", EXTRAS["more"] + EXTRAS["book"])
def test_what_an_extra_asks_for_is_in_colab_or_can_be_added_there(text):
    asked = Requirement(text)
    name = canonicalize_name(asked.name)
    assert (name in COLAB) == (name in ("peft", "sphinx"))  # what Colab has already
    assert (COLAB | ADDED)[name] in asked.specifier


def test_nothing_that_colab_has_is_added_again():
    assert not COLAB.keys() & ADDED.keys()


def test_uv_leaves_out_what_a_pinned_wheel_asks_for_at_the_version_that_is_pinned():
    for entry in PYPROJECT["tool"]["uv"]["dependency-metadata"]:
        assert EVERYTHING[entry["name"]] == SpecifierSet(f"=={entry['version']}")


def test_the_lock_is_made_by_the_command_that_contributing_tells():
    text = re.sub(r"\\\n +", "", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    told = re.search(r"uv (pip compile .*)", text).group(1)
    extras = re.findall(r"--extra (\w+)", told)
    assert f"uv {told}" in (ROOT / "requirements.lock").read_text("utf-8")
    assert sorted(extras) == sorted(EXTRAS)


def test_the_version_is_said_once():
    import cmlib

    assert cmlib.__version__ == PROJECT["version"]
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


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
    assert lines[2] == "this lesson has no full part: small models need no GPU"
    assert re.fullmatch(r"device cpu, fp32: .{20,}", lines[3]) and lines[0].endswith("; seed 0")
    assert "text_encoder='mini', image_encoder='mini'" in lines[4]
    assert max(map(len, lines[:4])) <= 100


def test_full_is_one_word_away():
    code = SETUP.replace('"02"', '"00", full="both encoders"')
    lines = fresh(code, CMLIB_SCALE="full", CUDA_VISIBLE_DEVICES="").splitlines()
    assert lines[1] == "scale full: bert-base-uncased and resnet50" and "image_encoder='resnet50'" in lines[4]
    assert lines[2] == "full changes here: both encoders"
    assert fresh(code, CUDA_VISIBLE_DEVICES="").splitlines()[2] == "full, on a GPU, changes: both encoders"


@pytest.mark.parametrize("scale", ["", "full"])
def test_a_lesson_without_a_full_part_stays_on_the_cpu_beside_a_gpu(monkeypatch, capsys, scale):
    import torch

    import cmlib
    from cmlib.data.device import home

    monkeypatch.setenv("CMLIB_SCALE", scale)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    chosen = cmlib.setup("02")
    assert (chosen.name, chosen.device, chosen.image_encoder) == ("small", "cpu", "mini")
    assert home().type == "cpu"
    assert "this lesson has no full part" in capsys.readouterr().out
    chosen = cmlib.setup("06", full="both encoders")
    assert (chosen.name, chosen.device, chosen.precision) == ("full", "cuda", "bf16")
    assert home().type == "cuda"
    # what is said in the call is done, and the reader is warned
    assert cmlib.setup("02", scale="full").device == "cuda"
    assert "none of its cells was tried at this scale" in capsys.readouterr().out


def test_the_precision_that_was_chosen_is_one_that_fit_takes():
    import cmlib
    from cmlib.training.precision import choose

    chosen = cmlib.setup("02")
    assert choose(chosen.precision, chosen.device).name == choose(chosen.dtype, chosen.device).name == "fp32"


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
    assert (chosen.name, chosen.device, chosen.precision) == ("full", "cuda:1", "fp16")
    assert (
        cmlib.setup("13", "small", device="cuda").device == "cuda"
        and cmlib.setup("13", device="cpu").name == "small"
    )
    assert "device cuda:1, fp16: this GPU has no bfloat16" in capsys.readouterr().out
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
        assert (f"device cuda:{local}, bf16" in capsys.readouterr().out) == (rank == 0)
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


MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
CI = (ROOT / ".ci" / "run").read_text("utf-8")


def stages(text, name):
    (line,) = re.findall(rf"stages\.py {name} (.+)", text)
    return line.split()


def test_ci_runs_what_make_test_runs_and_what_another_machine_would_see():
    (test,) = re.findall(r"^test: (.+)", MAKEFILE, re.MULTILINE)
    assert stages(CI, "ci") == [*test.split(), "book", "rotate", "gpu", "colab"]
    assert "CMLIB_MIRROR" in CI and "set -euo pipefail" in CI and "export CI=true" in CI
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_proof_is_ci_with_every_lesson_under_both_sets_and_the_throughput_table():
    proof = stages(MAKEFILE, "proof")
    assert proof == [{"rotate": "portable"}.get(stage, stage) for stage in stages(CI, "ci")[:-1]] + [
        "gpu-speed", "colab"
    ]


def test_the_makefile_tells_of_every_target_but_the_stages_and_names_scripts_that_are_there():
    told = re.findall(r"^# make ([\w-]+)  ", MAKEFILE, re.MULTILINE)
    first, second = re.findall(r"^\.PHONY: (.+)", MAKEFILE, re.MULTILINE)
    assert sorted(told) == sorted(first.split()) and set(second.split()) >= set(stages(CI, "ci")) - set(told)
    scripts = re.findall(r"(?:tests|benchmarks)/[\w/]+\.py", MAKEFILE + CI)
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


def test_what_a_gpu_machine_runs_installs_nothing():
    command = ["make", "-n", "gpu", "gpu-speed", "LESSONS=05 13", "GPU_PYTHON=/opt/python"]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert [line for line in run.stdout.splitlines() if not line.startswith("make")] == [
        "/opt/python benchmarks/gpu_lessons.py 05 13", "/opt/python benchmarks/gpu_speed.py"
    ]
