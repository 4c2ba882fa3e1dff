"""The extras on Colab: what they add (extras.txt) leaves its packages as they are, and works beside them."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from test_colab import PYTHON, packages, pytestmark  # noqa: F401 - the same condition

PINS = [ROOT / "tests" / "colab" / name for name in ("requirements.txt", "extras.txt")]


def uv(*arguments):
    run = subprocess.run(
        [sys.executable, "-m", "uv", "pip", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("extra", ["more", "book"])
def test_an_extra_fits_beside_colabs_packages_and_everything_it_adds_is_listed(extra):
    constraints = [argument for path in PINS for argument in ("--constraint", path)]
    found = uv("compile", "-q", "--python", PYTHON, "--no-header", "--no-annotate", *constraints,
               "--extra", extra, "pyproject.toml")
    pinned = {line for path in PINS for line in path.read_text("utf-8").splitlines() if "==" in line}
    assert set(re.findall(r"^[\w.-]+==\S+", found, re.MULTILINE)) <= pinned


def test_what_later_lessons_use_works_beside_colabs_torch(tmp_path):
    before = packages()
    uv("install", "-q", "--python", PYTHON, "--target", tmp_path, "--no-deps", "-r", PINS[1])
    run = subprocess.run(
        [PYTHON, ROOT / "tests" / "extras.py"],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "onnxruntime: right" in run.stdout and packages() == before
