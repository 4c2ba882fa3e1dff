"""The stages of ``make proof`` and .ci/run: all are run and timed, and the last line is the verdict."""

import re

import stages

MAKEFILE = """\
good:
	@echo it ran
bad:
	@exit 3
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
