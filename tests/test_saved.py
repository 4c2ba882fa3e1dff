"""Lessons that somebody saved with version 0.1 still run: tests/saved_0_1 has the code cells of its nine
notebooks as they were handed out. To be deleted, with cmlib/_old_names.py, in version 0.3.

Two lessons run in every test; all of them with CML_SAVED=1 (`make proof`).
"""

import ast
import json
import os
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType

import pytest
from conftest import ROOT

SAVED = {path.stem: json.loads(path.read_text("utf-8"))
         for path in sorted((ROOT / "tests" / "saved_0_1").glob("*.json"))}
ALWAYS = ("00_start_here", "01_losses")
PATIENCE = 600  # seconds, for a machine that does other things as well
RUN = """
import json, sys
space = {"__name__": "__main__"}
for number, text in enumerate(json.load(open(sys.argv[1], encoding="utf-8"))):
    exec(compile(text, f"<cell {number}>", "exec"), space)
print("reached the end")
"""


def test_all_nine_are_there():
    assert len(SAVED) == 9 and all(len(cells) > 10 for cells in SAVED.values())


def imported(module, name):
    """What ``from module import name`` gives, a module in a package included; None where it fails."""
    with suppress(ImportError):
        import_module(f"{module}.{name}")
    with suppress(ImportError):
        return getattr(import_module(module), name, None)


@pytest.mark.parametrize("name", SAVED)
def test_what_a_saved_lesson_imports_is_still_to_be_had(name):
    """Names imported from cmlib, and what is read from its modules, such as ``metrics.interval``."""
    tree = ast.parse("\n".join(SAVED[name]))
    modules, missing = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "cmlib":
            for alias in node.names:
                found = imported(node.module, alias.name)
                if found is None:
                    missing.append(f"{node.module}.{alias.name}")
                if isinstance(found, ModuleType):
                    modules[alias.asname or alias.name] = found
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            if module is not None and not hasattr(module, node.attr):
                missing.append(f"{module.__name__}.{node.attr}")
    assert not missing, f"{name}, as saved with 0.1, needs what cmlib no longer has: {missing}"


@pytest.mark.parametrize("name", SAVED)
def test_every_cell_of_a_saved_lesson_is_python(name):
    for number, text in enumerate(SAVED[name]):
        compile(text, f"{name}, cell {number}", "exec")


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_lesson_runs_to_its_end(name):
    if name not in ALWAYS and os.environ.get("CML_SAVED") != "1":
        pytest.skip("all saved lessons run with CML_SAVED=1")
    run = subprocess.run(
        [sys.executable, "-c", RUN, str(ROOT / "tests" / "saved_0_1" / f"{name}.json")],
        cwd=ROOT / "notebooks", env=os.environ | {"CMLIB_SCALE": "small", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.endswith("reached the end\n")
