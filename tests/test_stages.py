"""The stages of ``make proof`` and .ci/run: all are run and timed, what a failed one said last is
said again, and the last line is the verdict.
"""

import re
import subprocess
import sys

import stages

MAKEFILE = """\
good:
	@echo it ran
bad:
	@echo the reason; exit 3
"""


def run(tmp_path, monkeypatch, capfd, *targets):
    (tmp_path / "Makefile").write_text(MAKEFILE, "utf-8")
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    code = stages.main("proof", *targets)
    return code, capfd.readouterr().out


def test_a_stage_that_fails_does_not_stop_the_next_and_fails_the_whole(tmp_path, monkeypatch, capfd):
    code, out = run(tmp_path, monkeypatch, capfd, "bad", "good", "missing")
    assert code == 1 and "it ran" in out
    assert out.splitlines()[-1] == "proof: failed (bad, missing) in 0 min"


def test_each_stage_says_its_minutes(tmp_path, monkeypatch, capfd):
    code, out = run(tmp_path, monkeypatch, capfd, "good")
    assert code == 0 and re.search(r"^== good: passed in 0\.\d min$", out, re.MULTILINE)
    assert re.fullmatch(r"minutes: good 0\.\d", out.splitlines()[-2])
    assert out.splitlines()[-1] == "proof: passed in 0 min"


def test_the_end_says_how_a_failed_stage_ended(tmp_path, monkeypatch, capfd):
    _, out = run(tmp_path, monkeypatch, capfd, "bad", "good")
    lines = out.splitlines()
    assert lines[:2] == ["== bad", "the reason"]
    assert lines.index("-- how bad ended:") > lines.index("it ran")
    assert "the reason" in lines[lines.index("-- how bad ended:"):] and "-- how good ended:" not in lines


def test_a_command_is_heard_whole_and_its_end_kept(capfd):
    code = "import sys; print(*range(30), sep='\\n'); print('ä\\udc00'.encode(errors='replace')); sys.exit(3)"
    passed, last = stages.run([sys.executable, "-c", code], last=3)
    assert not passed and last == ["28", "29", repr("ä?".encode())]
    assert capfd.readouterr().out.splitlines()[:30] == [str(n) for n in range(30)]


def test_a_child_that_stays_does_not_hold_the_stage():
    child = "import time; time.sleep(60)"
    code = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid)"
    passed, (pid,) = stages.run([sys.executable, "-c", code])
    assert passed
    subprocess.run(["kill", pid], check=True)
