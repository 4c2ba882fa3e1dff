"""``cmlib new 08 fusion_zoo``: the three files of a lesson, with a TODO for whatever is to be written."""

from __future__ import annotations

import re
from pathlib import Path

from cmlib.authoring import curriculum, notebooks

TEMPLATES = Path(__file__).with_name("templates")
SLUG = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 30
EXERCISES = range(1, 6)  # the fifth is the stretch exercise


def new(number: str, slug: str, root: Path | None = None) -> str:
    """Write source, checks and answers of a lesson below ``root`` and its slug into the curriculum.

    Returns what was written and what to do next; ValueError, and nothing written, where it cannot be done.
    """
    root = root or notebooks.ROOT
    planned = curriculum.lesson(number)
    if planned.built:
        raise ValueError(f"Lesson {number} is there already: notebooks/src/{planned.stem}.py.")
    if not SLUG.fullmatch(slug) or len(slug) > LONGEST:
        raise ValueError(f"The slug names files: at most {LONGEST} small letters and digits, words joined by "
                         f"_, such as fusion_zoo; got {slug!r}.")
    lesson = _filled("lesson.txt", planned)
    for k in EXERCISES:
        cells = _filled("exercise.txt", planned, k).strip("\n")
        lesson = lesson.replace(f"{{{{exercise {k}}}}}", cells)
    checks = [_filled("check_exercise.txt", planned, k) for k in EXERCISES]
    texts = {
        f"notebooks/src/{number}_{slug}.py": lesson,
        f"cmlib/check/lesson{number}.py": "\n\n".join([_filled("check.txt", planned), *checks]),
        f"tests/answers/lesson{number}.py": _filled("answers.txt", planned),
    }
    there = [name for name in texts if (root / name).exists()]
    if there:
        raise ValueError(f"Nothing was written, because {' and '.join(there)} "
                         f"{'is' if len(there) == 1 else 'are'} there already.")
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    _enter(number, slug)
    return _next_steps(number, planned.title, [*texts, f"cmlib/authoring/{curriculum.FILE.name}"])


def _filled(template: str, lesson: curriculum.Lesson, k: int = 0) -> str:
    text = (TEMPLATES / template).read_text("utf-8")
    values = {"number": lesson.number, "title": lesson.title, "learn": lesson.learn, "k": k}
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", str(value))
    return text


def _enter(number, slug) -> None:
    """The slug goes below the number, in the text, so that comments and order stay as they are."""
    line = f'number = "{number}"\n'
    text = curriculum.FILE.read_text("utf-8")
    curriculum.FILE.write_text(text.replace(line, f'{line}slug = "{slug}"\n'), "utf-8")


def _next_steps(number, title, names) -> str:
    return "\n".join([
        f"Lesson {number}, {title}, is begun:",
        *(f"  {name}" for name in names),
        "Next:",
        f"  1. cmlib/check/lesson{number}.py: per exercise a reference, cases, and four mistakes or more.",
        f"  2. tests/answers/lesson{number}.py, then: pytest tests/test_exercises.py -k {number}",
        f"  3. the lesson; what it still breaks is said by: pytest tests/test_notebooks.py -k {number}",
        f"  4. make notebooks ONLY={number}, look at every figure, then: make test",
    ])
