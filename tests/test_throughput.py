"""The benchmark's race: who is not there, who trains something else, when a round is not begun any more."""

import itertools
import sys
import time
from pathlib import Path

import pytest

DRIVERS = Path(__file__).resolve().parents[1] / "benchmarks" / "throughput_rivals"


@pytest.fixture(autouse=True)
def drivers(monkeypatch):
    monkeypatch.syspath_prepend(str(DRIVERS))
    yield
    for name in ("race", "tool"):
        sys.modules.pop(name, None)


class Told:
    """A tool that answers what it is told to."""

    startup = None

    def __init__(self, name, shift=0.0, format="torch.float32", seconds=0.0, rival="bare", fails=False):
        self.name, self.shift, self.format, self.seconds, self.rival = name, shift, format, seconds, rival
        self.fails, self.asked = fails, []

    def turn(self, tier, mode, cache=""):
        import tool

        self.asked.append((tier, mode, cache))
        if self.fails:
            raise tool.NotThere("CUDA out of memory")
        time.sleep(self.seconds)
        losses = [0.7 - 0.02 * step + (self.shift if step == 3 else 0) for step in range(20)]
        times = [1.0 + step for step in range(20)]
        used = {"cpu": 20, "seconds": 21, "memory": 9}
        return {"losses": losses, "times": times, "format": self.format} | used


def caches():
    return (f"cache-{number}" for number in itertools.count())


def test_a_tool_that_trains_something_else_is_named_with_its_step():
    import race

    missing = {}
    tools = [Told("ours", rival="cmlib"), Told("theirs", shift=1e-7)]
    with pytest.raises(race.Disagree, match="Tier 2: theirs has the loss .* at step 4, ours has"):
        race.warm_up(tools, 2, caches(), missing)
    with pytest.raises(race.Disagree, match="theirs computes in torch.bfloat16, and ours in torch.float32"):
        race.warm_up([tools[0], Told("theirs", format="torch.bfloat16")], 1, caches(), missing)
    able, difference = race.warm_up([tools[0], Told("theirs", shift=1e-10)], 1, caches(), missing)
    assert len(able) == 2 and 0 < difference < 1e-8 and not missing


def test_a_tool_that_fails_is_left_out_and_said():
    import race

    missing = {}
    able, _ = race.warm_up([Told("ours"), Told("large", fails=True)], 3, caches(), missing)
    assert [tool.name for tool in able] == ["ours"] and missing == {"large": "tier 3: CUDA out of memory"}


def test_turns_alternate_each_with_a_fresh_cache_and_ours_again_with_the_warm_one():
    import race

    ours, theirs = Told(race.OURS, rival="cmlib"), Told("theirs")
    found = race.take_turns([ours, theirs], 3, 8, caches(), rounds=2)
    assert {name: len(tool["turns"]) for name, tool in found.items()} == {
        race.OURS: 2, "theirs": 2, race.WARM: 2,
    }
    fresh = [cache for _, _, cache in ours.asked]
    assert fresh[0] == fresh[1] != fresh[2] == fresh[3]
    turn = found["theirs"]["turns"][0]
    # with files the clock starts at the call
    assert turn["speed"] == pytest.approx(19 * 8 / 20) and turn["cpu"] == 8
    assert race.measure(theirs.turn(1, "time"), 1, 8)["speed"] == pytest.approx(8)


def test_a_round_that_would_end_too_late_is_not_begun():
    import race

    slow = Told(race.OURS, seconds=0.2)
    found = race.take_turns([slow], 1, 8, caches(), rounds=9, until=time.monotonic() + 0.1)
    assert len(found[race.OURS]["turns"]) == 1


@pytest.mark.parametrize(
    "driver, why",
    [
        ("import no_such_rival", "ModuleNotFoundError: No module named 'no_such_rival'"),
        ("import sys; sys.exit()", "it ended without a word"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
    ],
)
def test_a_rival_that_cannot_be_raced_is_not_there(driver, why, tmp_path, monkeypatch):
    import tool

    (tmp_path / "bare_driver.py").write_text(driver)
    monkeypatch.setattr(tool, "DRIVERS", tmp_path)
    monkeypatch.setattr(tool, "PATIENCE", 1 if "sleep" in driver else 60)
    rival = tool.Tool("bare", True, {"folder": str(tmp_path)}, sys.executable)
    with rival:
        with pytest.raises(tool.NotThere, match=why):
            rival.ready(alone=True)
        rival.stop(0)


def test_goals_compare_with_the_best_tuned_rival():
    import race

    def at(*speeds):
        return {"turns": [{"speed": speed} for speed in speeds]}

    one = {race.OURS: at(100, 110), "bare loop, tuned": at(90, 100), "HF Trainer, tuned": at(105, 100),
           "Lightning, defaults": at(500)}
    results = {1: one, 3: {race.OURS: at(60), "HF Trainer, tuned": at(50)}}
    measured = {what: value for what, _, value in race.goals(results)}
    best = "tier 1, ours / the best tuned rival (HF Trainer, tuned)"
    assert measured[best] == pytest.approx((100 / 105 + 110 / 100) / 2)
    assert measured["tier 3, ours / HF Trainer, tuned"] == pytest.approx(1.2)
    assert measured["ours, tier 3 / tier 1"] == pytest.approx(60 / 105)
    assert measured["ours compiled, pairs/s on an H100"] is None
    assert all(value is None for _, _, value in race.goals({}))
