"""Grade one answer, and one submission: the judge of `cmlib.check`, with the learner's function behind the
wall.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cmlib.check.engine import AnswerRaised, Exercise, properties
from cmlib.grade.box import Box
from cmlib.grade.kinds import told
from cmlib.grade.opening import Missing, Opening, Unreadable
from cmlib.grade.scoring import ERROR, HUMAN, MISSING, OPEN, PASSED, entry, scored
from cmlib.grade.session import Fault, NotAnswered, Spent

REPLACED = (
    "A human has to look at this: exercise {old} is answered, in an older form of the lesson, and {id} has "
    "replaced it since."
)


def seed_of(secret: bytes, learner: str, id: str) -> int:
    """The seed of a learner's cases: HMAC-SHA-256, 63 bits. Nobody without the secret can know the inputs."""
    return int.from_bytes(hmac.digest(secret, f"{learner}\n{id}".encode(), hashlib.sha256)[:8], "big") >> 1


@dataclass(frozen=True)
class Try:
    """entry : of the record; marks : fingerprints; why : what is missing here that may be there where the
    answer was written, or ""; final : whether another way to run the cells cannot change it.
    """

    entry: dict
    marks: list[int]
    why: str = ""
    final: bool = False


def grade_answer(box: Box, exercise: Exercise, cells: list[str], seed: int) -> tuple[dict, list[int]]:
    """(entry of the record, fingerprints). Raises `Fault`, or whatever the reference raises; never for what a
    learner did.

    First only the statements that the answer needs are run, then all of them: where a slice is too narrow,
    right answers pass all the same. What something missing here may have spoilt is for a human.
    """
    first = best = _try(box, exercise, cells, seed, everything=False)
    why = first.why
    if not first.final:
        second = _try(box, exercise, cells, seed, everything=True)
        why = why or second.why
        best = max(first, second, key=lambda one: (one.entry["state"] == PASSED, one.entry["points"]))
    passed = best.entry["state"] == PASSED
    return best.entry if passed else _for_a_human(exercise, best.entry, why), first.marks or best.marks


def _for_a_human(exercise, found: dict, why: str) -> dict:
    if not why:
        return found
    message = f"A human has to look at this: {why}. Here it got: {found['message']}"
    return entry(exercise, HUMAN, message, found["points"], found["properties"])


def _try(box, exercise, cells, seed, everything) -> Try:
    answer = Opening(box, exercise, cells, everything)
    try:
        answer()
        if answer.value is None:
            raise NotAnswered
        found = list(properties(exercise, answer.value, seed))
    except NotAnswered:
        return Try(entry(exercise, OPEN, "Not answered yet."), answer.marks)
    except Missing:
        return Try(entry(exercise, MISSING, "Not in the submission."), [])
    except Unreadable as problem:
        return Try(entry(exercise, ERROR, str(problem)), [], final=True)
    except AnswerRaised as raised:
        message = f"Before it is asked anything, your code {raised}."
        return Try(entry(exercise, ERROR, message), answer.marks, answer.lacks(), answer.is_over)
    finally:
        answer.close()
    done = scored(exercise, found, seed)
    passed = done["state"] == PASSED
    return Try(done, answer.marks, "" if passed else answer.lacks(), passed or answer.is_over)


def differs(box: Box, exercise: Exercise, cells: list[str]) -> str:
    """What is to be said where a file claims that the answer passed: whether the very cases that the course
    prints, with which `cmlib.check.check` judges, fail here; "" where they do not.
    """
    claim = "the file says that it passed where it was written, and here"
    answer = Opening(box, exercise, cells, everything=True)
    try:
        answer()
        for about, sentence in properties(replace(exercise, more_cases=[]), answer.value, 0):
            if sentence:
                said = told(exercise, about, sentence).rstrip(".")
                return f"{claim} it does not even pass the cases of the lesson ({said})"
    except (NotAnswered, Missing, Unreadable, AnswerRaised):
        return f"{claim} it cannot be run at all"
    finally:
        answer.close()
    return ""


def of_the_folder(submission) -> dict:
    """What a record takes from the folder and its names, and not from the code."""
    return {
        "id": submission.id,
        "submitted": datetime.fromtimestamp(submission.modified, UTC).isoformat(timespec="seconds"),
    }


def grade(box: Box, submission, exercises: list[Exercise], secret: bytes) -> tuple[dict, dict]:
    """(record, times) of one submission, as ``OUT/grades`` and ``OUT/times`` hold them. Faults end as "needs
    a human", never as a zero; so does what `Limits.learner`, the time for all answers together, does not
    reach.
    """
    entries, marks, seconds, notes = {}, {}, {}, []
    for exercise in exercises:
        start = time.monotonic()
        old = submission.before(exercise.id)
        if old:
            entries[exercise.id] = entry(exercise, HUMAN, REPLACED.format(old=old, id=exercise.id))
            continue
        cells = submission.cells(exercise.id, exercise.name)
        if not cells:
            entries[exercise.id] = entry(exercise, MISSING, "Not in the submission.")
            continue
        seed, claimed = seed_of(secret, submission.learner, exercise.id), submission.passed(exercise.id)
        entries[exercise.id], marks[exercise.id] = _patiently(box, exercise, cells, seed, claimed)
        if box.clock.left <= 0 and not notes:
            notes = [f"In {exercise.id} the time was used up: {box.clock.sentence()}."]
        seconds[exercise.id] = time.monotonic() - start
    box.next_learner()
    states = {e["state"] for e in entries.values()}
    unsure = submission.doubts or (submission.faults and states != {PASSED})
    if HUMAN in states or unsure:
        state = HUMAN
    else:
        state = "learner's error" if states <= {ERROR, MISSING} else "graded"
    record = {
        "format": "cmlib-grade-1",
        "learner": submission.learner,
        "files": list(submission.files),
        "digest": submission.digest,
        **of_the_folder(submission),
        "state": state,
        "notes": [*submission.notes, *notes],
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


def _patiently(box, exercise, cells, seed, claimed) -> tuple[dict, list[int]]:
    """As `grade_answer`, but a fault becomes an entry. It may be of the moment, so a new box is tried."""
    for last in (False, True):
        try:
            found, marks = grade_answer(box, exercise, cells, seed)
            if claimed and found["state"] not in (PASSED, HUMAN):
                found = _for_a_human(exercise, found, differs(box, exercise, cells))
            return found, marks
        except Spent as spent:
            return entry(exercise, HUMAN, f"This was not graded: {spent}."), []
        except Fault as fault:
            box.close()
            if last:
                return entry(exercise, HUMAN, f"This could not be graded: {fault}."), []
        except Exception as error:
            what = f"the course's own check raised {type(error).__name__}"
            return entry(exercise, HUMAN, f"This could not be graded: {what}."), []
    raise AssertionError
