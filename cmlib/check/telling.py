"""Drawn cases that tell: points must hang on the answer, not on the luck of the draw."""

from __future__ import annotations

from collections.abc import Callable

from cmlib.check.compare import difference
from cmlib.check.engine import Case, Exercise

MOST = 2000


def telling(exercise: Exercise, draw_one: Callable[[], Case], hides: tuple[str, ...] = ()) -> Case:
    """``draw_one()``, drawn again until every known mistake of ``exercise`` gives another result than the
    reference, and those whose sentence has a text of ``hides``, about which this kind of case says nothing,
    give the same.

    Raises RuntimeError when no case is like that: the fault of the course, which a grader must not count as a
    zero.
    """
    for text in hides:
        if not any(text in sentence for sentence, _ in exercise.mistakes):
            raise ValueError(f"No mistake of exercise {exercise.id} has the text {text!r}.")
    wanted = [(wrong, not any(text in sentence for text in hides)) for sentence, wrong in exercise.mistakes]
    for _ in range(MOST):
        one = draw_one()
        right = exercise.call(exercise.reference, *one.args)
        if all(_shows(exercise, wrong, one, right) == shows for wrong, shows in wanted):
            return one
    raise RuntimeError(f"In {MOST} draws there was no case of {exercise.id} that tells ({one.about}).")


def _shows(exercise, wrong, one, right) -> bool:
    try:
        return difference(exercise.call(wrong, *one.args), right, exercise.rtol, exercise.atol) is not None
    except Exception:  # a wrong answer may also raise
        return True
