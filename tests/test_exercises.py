"""Check the checks: every wrong answer fails with the right sentence, every right one passes, stubs stay
open.
"""

import luck
import pytest
import torch

from cmlib.check import exercises, find, run
from cmlib.check.engine import Exercise, case
from cmlib.check.telling import telling
from cmlib.grade.scoring import drawn

MODULES = luck.MODULES
RIGHT = [
    (id, i, answer)
    for m in MODULES.values()
    for id, answers in m.RIGHT.items()
    for i, answer in enumerate(answers)
]
WRONG = [(id, i, answer, part) for m in MODULES.values() for id, answers in m.WRONG.items()
         for i, (answer, part) in enumerate(answers)]


@pytest.mark.parametrize(
    ("id", "i", "answer"), RIGHT, ids=lambda v: str(v) if isinstance(v, (str, int)) else ""
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_right_answer_passes(id, i, answer, seed):
    verdict = run(id, answer, seed)
    assert verdict.state == "passed", verdict.message


@pytest.mark.parametrize(
    ("id", "i", "answer", "part"), WRONG, ids=lambda v: str(v)[:40] if isinstance(v, (str, int)) else ""
)
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


@pytest.mark.parametrize("id", luck.IDS)
def test_points_hang_on_the_answer_and_not_on_the_draw(id):
    """Every right answer has all of them, every wrong one the same, an ignorant one none, over drawn seeds
    (see luck.py).
    """
    heavy = id in ("04.4", "05.4")
    assert luck.lucky(id, luck.seeds(2 if heavy else 5)) == []


@pytest.mark.parametrize("id", luck.IDS)
def test_every_function_meets_inputs_that_are_drawn(id):
    """Also a learner whose seed draws what the course prints: by position, not by value."""
    assert find(id).kind in ("number", "choice") or any(drawn(find(id), 0)), id
    assert drawn(find(id), 0) == drawn(find(id), luck.seeds(1)[0])


def double(*mistakes):
    return Exercise("99.1", "Double", lambda x: 2 * x, 1, 1, 1, mistakes=list(mistakes))


def test_a_telling_case_shows_and_hides_the_mistakes_as_asked():
    numbers = iter([0.0, 2.0, -1.0, 3.0])
    made = double(
        ("squares", lambda x: x * x),
        ("forgets negative ones", lambda x: 2 * max(x, 0)),
        ("raises", lambda x: 1 / 0),
    )
    assert telling(made, lambda: case(next(numbers), about="a number"), hides=("negative",)).args == (3.0,)
    with pytest.raises(ValueError, match="has the text 'positive'"):
        telling(made, lambda: case(1.0, about="a number"), hides=("positive",))
    with pytest.raises(RuntimeError, match="In 2000 draws there was no case of 99.1"):
        telling(made, lambda: case(2.0, about="a number"))
    assert telling(double(), lambda: case(torch.zeros(2), about="zeros")).about == "zeros"
