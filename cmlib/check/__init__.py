"""Instant checks: ``check("02.1", my_function)`` says in one sentence whether it is right, and if not,
why.
"""

from __future__ import annotations

import difflib
import pkgutil
from importlib import import_module

from cmlib.check import quiz, retired
from cmlib.check.engine import EXERCISES, Exercise, Verdict, judge
from cmlib.check.records import load, record, say
from cmlib.check.retired import RETIRED, Retired

__all__ = ["Retired", "check", "exercises", "find", "known_lesson", "lessons", "progress", "run"]


def check(id: str, answer) -> None:
    """Compare ``answer`` with the course's reference, print one sentence and remember the result."""
    try:
        verdict = run(id, answer)
    except Retired as where:
        say(f"○ {where}")
        return
    record(verdict)
    mark = {"passed": "✓", "failed": "✗", "open": "○"}[verdict.state]
    points = (
        f" ({verdict.points} {'point' if verdict.points == 1 else 'points'})"
        if verdict.state == "passed"
        else ""
    )
    say(f"{mark} {id} {find(id).title}: {verdict.message}{points}")


def run(id: str, answer, seed: int = 0) -> Verdict:
    """The verdict alone: nothing is printed or remembered. Other seeds draw other cases."""
    return judge(find(id), answer, seed)


def progress(lesson: str | None = None) -> None:
    """Print what is done: one lesson's exercises, or a line for every lesson that was begun."""
    done = load()
    if lesson is None:
        # a newer course may have had lessons that this one has not
        for number in sorted({id.split(".")[0] for id in done} & set(lessons())):
            items = exercises(number)
            got = sum(e.points for e in items if done.get(e.id, {}).get("passed"))
            print(f"lesson {number}: {got} of {sum(e.points for e in items)} points")
        if not done:
            print("No exercise tried yet.")
        return
    items = exercises(lesson)
    for e in items:
        state = done.get(e.id, {})
        mark = "✓" if state.get("passed") else "✗" if state.get("tries") else "○"
        print(f"{mark} {e.id} {e.title} ({e.points} {'point' if e.points == 1 else 'points'})")
    questions = len(quiz.of_lesson(lesson))
    if questions:
        right = len(quiz.right_in(done, lesson))
        print(f"{'✓' if right >= questions else '○'} quiz: {right} of {questions} questions answered rightly")
    got = sum(e.points for e in items if done.get(e.id, {}).get("passed"))
    print(f"lesson {lesson}: {got} of {sum(e.points for e in items)} points")


def exercises(lesson: str) -> list[Exercise]:
    """The exercises of one lesson, in the order of the lesson: that in which they are declared."""
    lesson = known_lesson(str(lesson))
    import_module(f"cmlib.check.lesson{lesson}")
    return [exercise for id, exercise in EXERCISES.items() if id.startswith(lesson + ".")]


def find(id: str) -> Exercise:
    """The exercise called ``id``; an unknown id raises ValueError with the nearest one, and that of one which
    was replaced raises `Retired`, with what took its place.
    """
    if not isinstance(id, str):
        raise TypeError(f'The id of an exercise is text such as "02.1"; got {id!r}.')
    lesson = id.split(".")[0]
    if lesson in lessons():
        exercises(lesson)
    if id in EXERCISES:
        return EXERCISES[id]
    if id in RETIRED:
        by = EXERCISES.get(RETIRED[id])
        raise Retired(retired.sentence(id, by.title if by else ""))
    numbers = [lesson] if lesson in lessons() else lessons()
    known = [e.id for number in numbers for e in exercises(number)]
    padded = id if lesson.startswith("0") else f"0{id}"  # "2.1" means "02.1", and not "12.1"
    nearest = [padded] if padded in known else difflib.get_close_matches(id, known, 1, cutoff=0)
    raise ValueError(f"There is no exercise {id!r}; did you mean {nearest[0]!r}?")


def lessons() -> list[str]:
    """The numbers of the lessons that have exercises."""
    return sorted(
        m.name.removeprefix("lesson") for m in pkgutil.iter_modules(__path__) if m.name.startswith("lesson")
    )


def known_lesson(lesson: str) -> str:
    """``lesson`` itself; ValueError where no such lesson has exercises."""
    if lesson not in lessons():
        raise ValueError(f"There is no lesson {lesson!r} with exercises; there are {', '.join(lessons())}.")
    return lesson
