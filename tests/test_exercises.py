"""Check the checks: every wrong answer fails with the right sentence, every right one passes, stubs stay open."""

import importlib.util
from pathlib import Path

import pytest

from cmlib.check import exercises, find, run

ANSWERS = sorted((Path(__file__).parent / "answers").glob("lesson*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(f"answers_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULES = {path.stem.removeprefix("lesson"): load(path) for path in ANSWERS}
RIGHT = [(id, i, answer) for m in MODULES.values() for id, answers in m.RIGHT.items() for i, answer in enumerate(answers)]
WRONG = [(id, i, answer, part) for m in MODULES.values() for id, answers in m.WRONG.items()
         for i, (answer, part) in enumerate(answers)]


@pytest.mark.parametrize(("id", "i", "answer"), RIGHT, ids=lambda v: str(v) if isinstance(v, (str, int)) else "")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_right_answer_passes(id, i, answer, seed):
    verdict = run(id, answer, seed)
    assert verdict.state == "passed", verdict.message


@pytest.mark.parametrize(("id", "i", "answer", "part"), WRONG, ids=lambda v: str(v)[:40] if isinstance(v, (str, int)) else "")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_wrong_answer_fails_with_the_right_sentence(id, i, answer, part, seed):
    verdict = run(id, answer, seed)
    assert verdict.state == "failed"
    assert part in verdict.message
    assert "\n" not in verdict.message and "Traceback" not in verdict.message


@pytest.mark.parametrize("lesson", MODULES)
def test_every_exercise_has_two_right_and_four_wrong_answers(lesson):
    for exercise in exercises(lesson):
        assert len(MODULES[lesson].RIGHT.get(exercise.id, [])) >= 2, exercise.id
        assert len(MODULES[lesson].WRONG.get(exercise.id, [])) >= 4, exercise.id
        assert exercise.minutes > 0 and exercise.points > 0 and 1 <= exercise.difficulty <= 5


@pytest.mark.parametrize("lesson", MODULES)
def test_a_stub_is_open_not_wrong(lesson):
    def stub(*args, **kwargs):
        raise NotImplementedError
    for exercise in exercises(lesson):
        answer = stub if exercise.kind in ("function", "module", "training") else None
        assert run(exercise.id, answer).state == "open"


def test_an_unknown_id_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean '02.1'"):
        find("02.11")
