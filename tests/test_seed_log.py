"""A claim holds or stops the lesson; a shipped log answers by name, with its spread."""

import json
import re
from dataclasses import replace

import pytest
from conftest import ROOT

from cmlib.course import seed_log
from cmlib.course.setup import setup


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(seed_log, "RUNS", tmp_path)
    found = {"a head": [0.5, 0.25, 0.75], "nothing": [0.5, 0.5, 0.5]}
    (tmp_path / "desk.json").write_text(json.dumps({"found": found}), "utf-8")


def test_a_log_gives_one_number_a_seed_and_its_spread(runs):
    logged, over_seeds = seed_log.seed_log("desk")
    assert logged("a head").tolist() == [0.5, 0.25, 0.75]
    assert over_seeds("a head") == "0.500 (0.250 to 0.750)"


def test_a_name_that_was_not_measured_is_answered_with_those_that_were(runs):
    logged, _ = seed_log.seed_log("desk")
    with pytest.raises(KeyError, match=r"desk.json has no 'a tail'; it has measured: a head, nothing\."):
        logged("a tail")


def test_a_log_is_read_when_it_is_asked(runs):
    """Whoever writes the log plays the lesson, before there is one."""
    logged, _ = seed_log.seed_log("tomorrow")
    with pytest.raises(FileNotFoundError):
        logged("a head")


def test_a_false_claim_stops_a_small_lesson_and_is_a_finding_at_full_scale(capsys):
    small = setup("99", scale="small")
    small.claim("two is more than one", True)
    with pytest.raises(AssertionError, match="one is more than two"):
        small.claim("one is more than two", False)
    replace(small, name="full").claim("one is more than two", False)
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "two is more than one: True", "one is more than two: False", "one is more than two: False"]


def test_every_shipped_log_says_who_writes_it_and_who_reads_it():
    folder = ROOT / "data" / "runs"
    rows = [line.split("|")[1:4] for line in (folder / "README.md").read_text("utf-8").splitlines()
            if line.startswith("| `")]
    told = [name for logs, _, _ in rows for name in re.findall(r"`(.+?)`", logs)]
    assert sorted(told) == sorted(file.name for file in folder.glob("*.json"))
    for _, commands, lesson in rows:
        for script in re.findall(r"\w+\.py", commands):
            assert (ROOT / "benchmarks" / script).is_file()
        assert list((ROOT / "notebooks").glob(f"{lesson.strip()}_*.ipynb")) or "every" in lesson
