"""The stages of CI: what a command says is passed on, and the end says again how the failed ones ended."""

import subprocess
import sys

import stages


def test_a_command_is_heard_whole_and_its_end_kept(capsys):
    code = "import sys; print(*range(30), sep='\\n'); print('ä\\udc00'.encode(errors='replace')); sys.exit(3)"
    passed, last = stages.run([sys.executable, "-c", code], last=3)
    assert not passed and last == ["28", "29", repr("ä?".encode())]
    assert capsys.readouterr().out.splitlines()[:30] == [str(n) for n in range(30)]


def test_a_child_that_stays_does_not_hold_the_stage():
    child = "import time; time.sleep(60)"
    code = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid)"
    passed, (pid,) = stages.run([sys.executable, "-c", code])
    assert passed
    subprocess.run(["kill", pid], check=True)


def test_the_end_says_how_a_failed_stage_ended(tmp_path, monkeypatch, capsys):
    (tmp_path / "Makefile").write_text("good:\n\t@echo fine\nbad:\n\t@echo the reason; exit 2\n")
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    assert stages.main("ci", "bad", "good") == 1
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["== bad", "the reason"] and "== good: passed in 0.0 min" in said
    assert said.index("-- how bad ended:") > said.index("fine")
    assert "the reason" in said[said.index("-- how bad ended:"):] and said[-1].startswith("ci: failed (bad)")
    assert stages.main("ci", "good") == 0
