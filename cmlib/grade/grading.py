"""Grade one answer, and one submission: the judge of `cmlib.check`, with the learner's function behind the
wall.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import UTC, datetime
from functools import lru_cache

from cmlib.check.engine import AnswerRaised, Draw, Exercise, properties
from cmlib.grade import frames
from cmlib.grade.box import Box
from cmlib.grade.remote import Remote
from cmlib.grade.session import Fault, NotAnswered, Session

LIVES, PATIENCE = 3, 60.0  # how often an answer may end its process, and how many seconds it may take in all
LONGEST = 500  # characters of a message
HUMAN, ERROR, MISSING, OPEN = "needs a human", "error", "missing", "open"


def seed_of(secret: bytes, learner: str, id: str) -> int:
    """The seed of a learner's cases: HMAC-SHA-256, 63 bits. Nobody without the secret can know the inputs."""
    return int.from_bytes(hmac.digest(secret, f"{learner}\n{id}".encode(), hashlib.sha256)[:8], "big") >> 1


class _Open:
    """The living session of one answer: opened at first use, and again after its code ended it."""

    def __init__(self, box: Box, exercise: Exercise, cells: list[str]):
        self.box, self.exercise, self.cells = box, exercise, cells
        self.session, self.lives, self.end = None, LIVES, time.monotonic() + PATIENCE
        self.fingerprints: list[int] = []
        self.value = None

    def __call__(self) -> Session:
        if time.monotonic() > self.end:
            raise AnswerRaised(f"takes longer than {PATIENCE:.0f} s in all")
        if self.session is None or self.session.broken:
            if self.session is not None and self.session.hopeless:
                raise AnswerRaised("took too long before, so it was not asked again")
            if self.lives == 0:
                raise AnswerRaised("has ended its process too often")
            self.lives -= 1
            self.close()
            self.session = self.box.answer()
            self._prepare()
        return self.session

    def _prepare(self):
        found, marks = self.session.ask(
            {"do": "read", "name": self.exercise.name, "id": self.exercise.id}, self.cells
        )
        if "unreadable" in found:
            raise _Unreadable(str(found["unreadable"])[:300])
        if found.get("found") is not True:
            raise _Missing
        self.fingerprints = [m for m in marks if type(m) is int] if isinstance(marks, list) else []
        kind, value = self.session.ask({"do": "run"})
        self.value = Remote(self) if kind.get("callable") is True else value

    def close(self):
        if self.session is not None:
            self.session.close()


class _Unreadable(Exception):
    """The text is the sentence."""


class _Missing(Exception):
    """No cell defines the answer."""


def grade_answer(box: Box, exercise: Exercise, cells: list[str], seed: int) -> tuple[dict, list[int]]:
    """(entry of the record, fingerprints). Raises `Fault`, or whatever the reference raises; never for what a
    learner did.
    """
    answer = _Open(box, exercise, cells)
    try:
        try:
            answer()
            if answer.value is None:
                raise NotAnswered
            found = list(properties(exercise, answer.value, seed))
        except NotAnswered:
            return entry(exercise, OPEN, "Not answered yet."), answer.fingerprints
        except _Missing:
            return entry(exercise, MISSING, "Not in the submission."), []
        except _Unreadable as problem:
            return entry(exercise, ERROR, str(problem)), []
        except AnswerRaised as raised:
            return entry(
                exercise, ERROR, f"Before it is asked anything, your code {raised}."
            ), answer.fingerprints
    finally:
        answer.close()
    return _scored(exercise, found, _secret(exercise, seed)), answer.fingerprints


def _secret(exercise, seed) -> list[bool]:
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


def _scored(exercise, found, secret) -> dict:
    """Every property weighs the same. But nothing counts without the first secret one and half of all secret
    ones: a constant, or a table of the cases that the course prints, must not earn points."""
    right = [sentence is None for _, sentence in found]
    # one: of another kind altogether
    unseen = [ok for ok, counts in zip(right, secret, strict=len(right) > 1) if counts] or [False]
    share = sum(right) / len(right) if unseen[0] and 2 * sum(unseen) >= len(unseen) else 0.0
    state = "passed" if all(right) else "partial" if share else "failed"
    message = next((sentence for _, sentence in found if sentence), "right")
    return entry(
        exercise,
        state,
        message,
        round(share * exercise.points, 2),
        [[name, ok] for (name, _), ok in zip(found, right, strict=True)],
    )


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


def grade(box: Box, submission, exercises: list[Exercise], secret: bytes) -> tuple[dict, dict]:
    """(record, times) of one submission, as ``OUT/grades`` and ``OUT/times`` hold them. Faults end as "needs
    a human", never as a zero.
    """
    entries, marks, seconds = {}, {}, {}
    for exercise in exercises:
        start = time.monotonic()
        cells = submission.cells(exercise.id, exercise.name)
        if not cells:
            entries[exercise.id] = entry(exercise, MISSING, "Not in the submission.")
            continue
        for _ in range(2):  # a fault may be of the moment: try once more in a new box
            try:
                entries[exercise.id], marks[exercise.id] = grade_answer(
                    box, exercise, cells, seed_of(secret, submission.learner, exercise.id)
                )
                break
            except (Exception, Fault) as error:
                what = (
                    str(error)
                    if isinstance(error, Fault)
                    else f"the course's own check raised {type(error).__name__}"
                )
                entries[exercise.id] = entry(exercise, HUMAN, f"This could not be graded: {what}.")
                if not isinstance(error, Fault):
                    break
                box.close()
        seconds[exercise.id] = time.monotonic() - start
    box.next_learner()
    states = {e["state"] for e in entries.values()}
    state = (
        HUMAN
        if HUMAN in states or submission.faults
        else "learner's error"
        if states <= {ERROR, MISSING}
        else "graded"
    )
    record = {
        "format": "cmlib-grade-1",
        "learner": submission.learner,
        "files": list(submission.files),
        "digest": submission.digest,
        "submitted": datetime.fromtimestamp(submission.modified, UTC).isoformat(timespec="seconds"),
        "state": state,
        "notes": list(submission.notes),
        "points": round(sum(e["points"] for e in entries.values()), 2),
        "of": sum(e["of"] for e in entries.values()),
        "exercises": entries,
        "fingerprints": {id: m for id, m in marks.items() if m},
    }
    times = {
        "learner": submission.learner,
        "seconds": round(sum(seconds.values()), 3),
        "exercises": {i: round(s, 3) for i, s in seconds.items()},
    }
    return record, times
