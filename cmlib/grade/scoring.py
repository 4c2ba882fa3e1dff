"""Points: every property of an exercise weighs the same, but nothing counts that a table could have
answered.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from cmlib.check.engine import Draw, Exercise
from cmlib.grade import frames
from cmlib.grade.kinds import told

LONGEST = 500  # characters of a message
HUMAN, ERROR, MISSING, OPEN, PASSED = "needs a human", "error", "missing", "open", "passed"


def entry(
    exercise: Exercise, state: str, message: str, points: float = 0.0, names: list | None = None
) -> dict:
    message = message if len(message) <= LONGEST else message[:LONGEST - 1] + "…"
    return {
        "title": exercise.title,
        "state": state,
        "points": points,
        "of": exercise.points,
        "message": message,
        "properties": names or [],
    }


def scored(exercise: Exercise, found: list[tuple[str, str | None]], seed: int) -> dict:
    """The entry for what `cmlib.check.engine.properties` found with the cases of ``seed``.

    Nothing counts without the first case drawn from the secret, and half of all such: a constant, or a table
    of the cases that the course prints, must not earn points.
    """
    right = [sentence is None for _, sentence in found]
    secret = drawn(exercise, seed)
    # one property alone: a value of another kind altogether
    unseen = [ok for ok, counts in zip(right, secret, strict=len(right) > 1) if counts] or [False]
    share = sum(right) / len(right) if unseen[0] and 2 * sum(unseen) >= len(unseen) else 0.0
    state = PASSED if all(right) else "partial" if share else "failed"
    first = next(((name, sentence) for name, sentence in found if sentence), None)
    return entry(
        exercise,
        state,
        told(exercise, *first) if first else "right",
        round(share * exercise.points, 2),
        [[name, ok] for (name, _), ok in zip(found, right, strict=True)],
    )


def drawn(exercise: Exercise, seed: int) -> list[bool]:
    """For every property, whether its inputs are drawn from the secret (or are the instructor's), and not
    printed in the course.
    """
    printed, varies = _printed(exercise.make_cases)
    drawn = [one not in printed or k in varies for k, one in enumerate(_inputs(exercise.make_cases, seed))]
    drawn += [True for make_cases in exercise.more_cases for _ in make_cases(Draw(seed))]
    out = [one for one in drawn for _ in range(2 if exercise.grad else 1)]
    return out if any(out) else [True] * len(out)  # a number or a choice is the same for everybody


@lru_cache(1024)
def _printed(make_cases) -> tuple[frozenset[bytes], frozenset[int]]:
    """What the course prints, and where it varies: a drawn case that is one of the printed by chance still
    counts as drawn.
    """
    printed, other = _inputs(make_cases, 0), _inputs(make_cases, 1)
    return frozenset(printed), frozenset(
        k for k, (a, b) in enumerate(zip(printed, other, strict=False)) if a != b
    )


def _inputs(make_cases, seed) -> list[bytes]:
    return [hashlib.sha256(frames.pack({}, one.args)).digest() for one in make_cases(Draw(seed))]
