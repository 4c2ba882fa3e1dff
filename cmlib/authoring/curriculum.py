"""The plan of the course, from ``curriculum.toml``: parts, lessons, and which of them are there."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("curriculum.toml")


@dataclass(frozen=True)
class Lesson:
    """number : "08"; learn : completes "you learn to …"; slug : "" until the lesson is there."""

    number: str
    title: str
    learn: str
    slug: str = ""

    @property
    def built(self) -> bool:
        return bool(self.slug)

    @property
    def stem(self) -> str:
        """The name of its files, "08_fusion_zoo"."""
        return f"{self.number}_{self.slug}"

    def link(self, folder: str = "") -> str:
        """Markdown: number and title, linked to the notebook in ``folder`` where there is one."""
        name = f"{self.number} {self.title}"
        return f"[{name}]({folder}{self.stem}.ipynb)" if self.built else name


@dataclass(frozen=True)
class Part:
    letter: str
    title: str
    learn: str
    lessons: tuple[Lesson, ...]


def parts() -> list[Part]:
    """The parts in order, each with its lessons. ValueError names the entry that is not as it must be."""
    found = []
    for entry in tomllib.loads(FILE.read_text("utf-8")).get("part", []):
        rows = [_read(Lesson, row) for row in entry.pop("lesson", [])]
        found.append(_read(Part, entry | {"lessons": tuple(rows)}))
    numbers = [lesson.number for part in found for lesson in part.lessons]
    if not numbers or numbers != sorted(set(numbers)):
        raise ValueError(f"{FILE.name}: the numbers of the lessons must rise, each once; they are "
                         f"{', '.join(numbers) or 'none'}.")
    return found


def _read(kind, entry: dict):
    try:
        return kind(**entry)
    except TypeError as error:
        name = entry.get("number") or entry.get("letter") or "an entry without a number"
        problem = str(error).removeprefix(f"{kind.__name__}.__init__() ")
        raise ValueError(f"{FILE.name}, {kind.__name__.lower()} {name}: {problem}.") from None


def lessons() -> list[Lesson]:
    return [lesson for part in parts() for lesson in part.lessons]


def lesson(number: str) -> Lesson:
    """The lesson of that number; ValueError where the plan has none."""
    known = lessons()
    for one in known:
        if one.number == number:
            return one
    raise ValueError(f"There is no lesson {number!r} in the curriculum; its numbers are {known[0].number} to "
                     f"{known[-1].number}, with two digits.")


def neighbours(number: str) -> tuple[Lesson | None, Lesson | None]:
    """The nearest lessons before and after this one that are there."""
    there = [one for one in lessons() if one.built]
    before = [one for one in there if one.number < number]
    after = [one for one in there if one.number > number]
    return before[-1] if before else None, after[0] if after else None


def navigation(number: str) -> str:
    """One line of Markdown: ← the lesson before · the lesson after →; "" for an only lesson."""
    before, after = neighbours(number)
    words = []
    if before:
        words.append(f"← {before.link()}")
    if after:
        words.append(f"{after.link()} →")
    return " · ".join(words)


def course_map() -> str:
    """The map of lesson 00: every lesson with what you learn in it; those that are there are links."""
    plan, lines = lessons(), ["| lesson | you learn to |", "|---|---|"]
    for part in parts():
        lines.append(f"| **{part.letter} · {part.title}** | **{part.learn}** |")
        lines += [f"| {one.link()} | {one.learn} |" for one in part.lessons]
    here = f"{sum(one.built for one in plan)} of the {len(plan)} lessons are here today"
    return "\n".join([*lines, "", f"{here}: those with a link. The others are planned."])
