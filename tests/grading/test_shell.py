"""What of IPython the box has: shell lines, %run, %env, and nothing that shows or fetches."""

import os
import subprocess

import pytest

from cmlib.grade.shell import FETCHES, SHOWS, Shell


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIGN", "0")
    return Shell({"sign": -1.0})


def test_shell_lines_run_with_the_values_of_variables(shell, tmp_path):
    assert shell.getoutput("echo {sign}; echo b") == ["-1.0", "b"]
    assert shell.getoutput("echo {missing} ${HOME:+h}") == ["{missing} h"]  # as it stands
    assert shell.system("echo x > y.txt") is None and (tmp_path / "y.txt").read_text() == "x\n"
    shell.run_cell_magic("bash", "", "echo 1 > a\necho 2 > b\n")
    assert (tmp_path / "b").read_text() == "2\n"


def test_lines_that_fetch_are_passed_over(shell, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    assert all(shell.getoutput(f"{name} install x") == [] for name in FETCHES)
    assert shell.getoutput("") == [] and shell.run_line_magic("pip", "install x") is None


def test_a_script_runs_in_the_notebook(shell, tmp_path):
    (tmp_path / "script.py").write_text("total = sign * 2")
    shell.run_line_magic("run", "script")
    assert shell.user_ns["total"] == -2.0
    shell.run_line_magic("cd", "/")
    assert os.getcwd() == "/"


@pytest.mark.parametrize("line", ["SIGN=-1.0", "SIGN -1.0", "SIGN = -1.0"])
def test_a_variable_of_the_environment(shell, line):
    shell.run_line_magic("env", line)
    assert os.environ["SIGN"] == "-1.0"


def test_what_only_shows_is_passed_over_and_what_is_not_known_is_told(shell):
    assert all(shell.run_line_magic(name, "x") is None for name in SHOWS)
    assert shell.run_cell_magic("html", "", "<b>") is None and shell.kernel("anything") is None
    for call in (shell.run_line_magic, shell.run_cell_magic):
        with pytest.raises(ImportError, match="the magic %+clock"):
            call("clock", "", "")
    assert not hasattr(shell, "__deepcopy__")
