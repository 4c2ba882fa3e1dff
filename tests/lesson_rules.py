"""What every lesson's source keeps, as rules that say themselves: each yields a sentence for what breaks it:
where, the rule, what was found. notebook_rules.py has those about a built notebook.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

from cmlib.authoring import curriculum, notebooks
from cmlib.authoring.source import Cell, parse

CELLS, FEWEST = (30, 55), 15  # DESIGN: 40 ± 10, and up to five of a stretch exercise; lesson 00 is an opening
COLUMNS = 88  # what JupyterLab shows of code at 1,280 pixels


@dataclass(frozen=True)
class Lesson:
    source: Path

    @property
    def number(self) -> str:
        return self.source.name[:2]

    @cached_property
    def cells(self) -> list[Cell]:
        return parse(self.source)

    @cached_property
    def prose(self) -> list[Cell]:
        return [cell for cell in self.cells if not cell.is_code]

    @cached_property
    def code(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.is_code]

    @cached_property
    def exercises(self) -> list:
        from cmlib import check

        return check.exercises(self.number) if self.number in check.lessons() else []

    @cached_property
    def notebook(self) -> dict:
        return notebooks.build(self.source)

    @cached_property
    def text(self) -> str:
        """All Markdown of the learner's notebook."""
        return "\n\n".join("".join(cell["source"]) for cell in self.notebook["cells"]
                           if cell["cell_type"] == "markdown")

    def at(self, cell: Cell) -> str:
        return f"{self.source.name}, line {cell.line}"

    @property
    def name(self) -> str:
        return self.source.name


def broken(source: Path) -> list[str]:
    """A sentence for each rule that a source breaks; [] when it keeps all of them."""
    lesson = Lesson(source)
    try:
        lesson.notebook  # noqa: B018 - a source that cannot be built says why, and nothing else counts
    except ValueError as error:
        return [str(error)]
    return [sentence for rule in RULES for sentence in rule(lesson)]


def is_in_the_curriculum(lesson: Lesson) -> Iterator[str]:
    try:
        planned = curriculum.lesson(lesson.number)
    except ValueError as error:
        yield f"{lesson.name}: {error}"
        return
    if planned.slug != lesson.source.stem[3:]:
        yield (f"{lesson.name}: the slug of lesson {lesson.number} in {curriculum.FILE.name} is the one of "
               f"its file, {lesson.source.stem[3:]!r}; found {planned.slug!r}.")
    title = lesson.cells[0].text.partition("\n")[0]
    if title != f"# {planned.number} {planned.title}":
        yield (f"{lesson.name}: the title is the one of {curriculum.FILE.name}, '# {planned.number} "
               f"{planned.title}'; found {title!r}.")


def is_finished(lesson: Lesson) -> Iterator[str]:
    paths = [lesson.source]
    if lesson.exercises:
        paths.append(Path(import_module(f"cmlib.check.lesson{lesson.number}").__file__))
    for path in paths:
        lines = path.read_text("utf-8").splitlines()
        left = [number for number, line in enumerate(lines, 1) if "TODO" in line]
        if left:
            yield (f"{path.name}, line {left[0]}: nothing is left to write; lines with TODO: {len(left)}, "
                   f"the first {lines[left[0] - 1].strip()[:55]!r}….")


def is_one_sitting(lesson: Lesson) -> Iterator[str]:
    shown = [cell for cell in lesson.cells if cell.kind != "solution"]
    fewest = FEWEST if lesson.number == "00" else CELLS[0]
    if not fewest <= len(shown) <= CELLS[1]:
        yield f"{lesson.name}: a lesson has {fewest} to {CELLS[1]} cells; found {len(shown)}."
    if 2 * len(lesson.prose) < len(shown):
        yield (f"{lesson.name}: at least half of the cells are prose; found {len(lesson.prose)} of "
               f"{len(shown)}.")


def begins_and_ends_as_every_lesson(lesson: Lesson) -> Iterator[str]:
    for told in ("{{measured}}", "{{gpu}}"):
        if told not in lesson.cells[0].text:
            yield f"{lesson.at(lesson.cells[0])}: the passport tells what a machine needs, as {told}."
    setups = [cell for cell in lesson.code if cell.kind == "setup"]
    if len(setups) != 1 or setups[0] is not lesson.code[0]:
        yield f"{lesson.name}: the first code cell, and no other, is a [setup] cell; found {len(setups)}."
    last = lesson.cells[-1]
    if last.kind != "progress":
        yield (f"{lesson.at(last)}: the last cell is [progress], which shows the points and how to hand in; "
               f"found [{last.kind}].")


def has_its_exercises(lesson: Lesson) -> Iterator[str]:
    number = lesson.number
    asked = [cell.argument for cell in lesson.cells if cell.kind == "exercise"]
    stretch = f"{number}.5"
    others = [id for id in asked if id != stretch]
    rule, right = ("one to four exercises", 1 <= len(others) <= 4) if number == "00" else \
        ("four exercises", len(others) == 4)
    if not right or len(set(asked)) < len(asked) or asked[-1:] != [stretch]:
        yield (f"{lesson.name}: a lesson has {rule}, and last its stretch exercise {stretch}; found "
               f"{', '.join(asked) or 'none'}.")
    known = [e.id for e in lesson.exercises]
    if asked != known:
        yield (f"{lesson.name}: the exercises asked are those that cmlib/check/lesson{number}.py checks, "
               f"{', '.join(known) or 'none'}; found {', '.join(asked) or 'none'}.")
    for cell, kinds in _parts_of_exercises(lesson):
        full = ["exercise", "stub", "solution", "hints", *["answer"] * cell.argument.endswith(".5")]
        if kinds != full:
            yield (f"{lesson.at(cell)}: exercise {cell.argument} is made of the cells "
                   f"{', '.join(f'[{kind}]' for kind in full)}, in this order; found "
                   f"{', '.join(f'[{kind}]' for kind in kinds)}.")


def _parts_of_exercises(lesson) -> list[tuple[Cell, list[str]]]:
    """[(exercise, the kinds of its cells)]; each of them belongs to the exercise above it."""
    found = []
    for cell in lesson.cells:
        if cell.kind == "exercise":
            found.append((cell, ["exercise"]))
        elif cell.kind in notebooks.OF_AN_EXERCISE:
            found[-1][1].append(cell.kind)
    return found


def is_drawn(lesson: Lesson) -> Iterator[str]:
    drawn = [cell for cell in lesson.code if "schematic" in cell.text.lower() and "hide-input" in cell.tags]
    if not drawn:
        yield (f'{lesson.name}: a lesson draws its mechanism in a folded cell, # %% tags=["hide-input"], '
               "with cmlib.course.schematic; found none.")


def names_the_page_of_progress(lesson: Lesson) -> Iterator[str]:
    recap = lesson.text.rpartition("\n## ")[2]
    if "cmlib.report()" not in recap:
        yield (f"{lesson.name}: the recap, a lesson's last section, names `cmlib.report()`, the page of what "
               "is done; found no word of it.")


def has_hints_that_lead_to_code(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.cells:
        if cell.kind == "hints" and "____" not in cell.text.split("\n---\n")[-1]:
            yield f"{lesson.at(cell)}: the third hint is code with one blank, written ____; found none."


def has_a_quiz_of_four(lesson: Lesson) -> Iterator[str]:
    cells = [cell for cell in lesson.cells if cell.kind == "quiz"]
    if len(cells) != 1:
        yield f"{lesson.name}: a lesson has one [quiz] cell; found {len(cells)}."
        return
    at = lesson.at(cells[0])
    questions = re.split(r"^\? ", cells[0].text, flags=re.MULTILINE)[1:]
    if len(questions) != 4:
        yield f"{at}: a quiz has four questions; found {len(questions)}."
    places = set()
    for question in questions:
        marks = re.findall(r"^([-+]) ", question, flags=re.MULTILINE)
        if not 3 <= len(marks) <= 4 or marks.count("+") != 1:
            yield (f"{at}: a question has three or four options and one of them is right (+); "
                   f"{question.splitlines()[0]!r} has {len(marks)} options, {marks.count('+')} of them "
                   "right.")
        else:
            places.add(marks.index("+"))
    if len(places) == 1:
        yield f"{at}: the right option stands in different places; it is always number {places.pop() + 1}."


def has_numbered_headings(lesson: Lesson) -> Iterator[str]:
    titles = re.findall(r"^# (.+)$", _without_code(lesson.text), flags=re.MULTILINE)
    if len(titles) != 1:
        yield f"{lesson.name}: a lesson has one title, '# {lesson.number} …'; found {titles}."
    sections = re.findall(r"^## (.+)$", lesson.text, flags=re.MULTILINE)
    numbers = [int(match[1]) for match in (re.match(r"(\d+)\. ", section) for section in sections) if match]
    if numbers != list(range(1, len(numbers) + 1)) and numbers != list(range(len(numbers))):
        yield f"{lesson.name}: sections are numbered in order, '## 1. …'; found {numbers}."
    if not 5 <= len(sections) <= 14:
        yield f"{lesson.name}: a lesson has 5 to 14 sections; found {len(sections)}."


def _without_code(text) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def has_links_that_lead_somewhere(lesson: Lesson) -> Iterator[str]:
    there = {f"{one.stem}.ipynb" for one in curriculum.lessons() if one.built}
    linked = [target for _, target in re.findall(r"(?<!\$)\[([^\]\n]*)\]\(([^)]*)\)", lesson.text)
              if re.match(r"\w+:|/|\.|#|\S+\.\w", target)]
    for target in [*linked, *re.findall(r"https?:[^\s)>\]\"']+", lesson.text)]:
        if "://" in target:
            if not re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", target):
                yield f"{lesson.name}: an address begins with https:// and has a host; found {target!r}."
        elif target.split("#")[0] not in there:
            yield f"{lesson.name}: a link leads to a lesson that is there or to https://…; found {target!r}."


def is_plain_python(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.code:
        try:
            compile(cell.text, "<cell>", "exec", dont_inherit=True)
        except SyntaxError as error:
            yield (f"{lesson.at(cell)}: cells are plain Python, without magics, and await only in functions; "
                   f"line {error.lineno} of the cell: {error.msg}.")


def is_narrow(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.code:
        for number, line in enumerate(cell.text.splitlines(), cell.line + 1):
            if len(line) > COLUMNS:
                yield (f"{lesson.name}, line {number}: code is at most {COLUMNS} columns wide; found "
                       f"{len(line)}.")


def stores_only_what_can_be_repeated(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.code:
        at = lesson.at(cell)
        if "NBVAL_" in cell.text:
            yield (f'{at}: what nbval does with a cell is a tag, # %% tags=["nbval-ignore-output"]; found a '
                   "comment.")
        if cell.text.rstrip().endswith(";"):
            yield f"{at}: no semicolon hides a result; found one at the end."
        if _ends_with_a_bare_object(cell.text):
            yield (f"{at}: what a reader should see is printed or shown by a call; the last line is the bare "
                   f"object {cell.text.rstrip().splitlines()[-1].strip()!r}.")


def _ends_with_a_bare_object(text) -> bool:
    try:
        body = ast.parse(text).body
    except SyntaxError:  # that is another rule
        return False
    return bool(body) and isinstance(body[-1], ast.Expr) \
        and not isinstance(body[-1].value, (ast.Call, ast.Constant))


RULES = (
    is_in_the_curriculum, is_finished, is_one_sitting, begins_and_ends_as_every_lesson, has_its_exercises,
    is_drawn, names_the_page_of_progress, has_hints_that_lead_to_code, has_a_quiz_of_four,
    has_numbered_headings, has_links_that_lead_somewhere, is_plain_python, is_narrow,
    stores_only_what_can_be_repeated,
)
