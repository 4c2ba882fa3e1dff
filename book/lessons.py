"""A built notebook as a page of the book: cards and folds, solutions, sliders without a kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path

from book import sliders
from cmlib.authoring import curriculum, notebooks
from cmlib.authoring.source import parse

FOLD = re.compile(r"<details><summary>(.*?)</summary>\n\n(.*?)\n\n</details>", re.DOTALL)
EXERCISE = re.compile(r"(### (?:Exercise|Stretch exercise) (\d\d\.\d+) .*)\n\n\*(.*?)\*\n\n(.*)", re.DOTALL)
QUESTION = re.compile(r"\*\*(\d+\. .*?)\*\*\n\n(.*)", re.DOTALL)
TO_LESSON = re.compile(r"\[([^]]*)\]\((?:notebooks/)?(\d\d_\w+\.ipynb)\)")
REMOTE = re.compile(r"!\[([^]]*)\]\(https?://[^)]*\)")
SLIDER = "[slider: run this cell to move it] "


def page(source: Path, chosen: list[Path], solutions: bool = True) -> dict:
    """The notebook that Sphinx reads. chosen : the sources of all lessons in this book, for the links."""
    notebook = json.loads(notebooks.built(source).read_text("utf-8"))
    _move_sliders(notebook, source.name[:2])
    links = curriculum.navigation(source.name[:2])  # the theme has its own
    solved, cells, exercise = _solutions(source) if solutions else {}, [], None
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if text.startswith("#@title The same quiz") or text == links:
            continue
        if cell["cell_type"] == "code":
            cell["outputs"] = [output for output in cell["outputs"] if not _is_bar(output)]
        else:
            found = EXERCISE.fullmatch(text)
            exercise = found[2] if found else exercise
            cell["source"] = linked(_prose(_without(links, text)), chosen)
            if text.startswith("<details><summary>Hint 1") and exercise in solved:
                cell["source"] += "\n\n" + solved.pop(exercise)
        cells.append(cell)
    return notebook | {"cells": cells}


def linked(text: str, chosen: list[Path]) -> str:
    """Links to lessons that are not in this book become plain words, and so do pictures of other servers."""
    here = {f"{source.stem}.ipynb" for source in chosen}
    text = REMOTE.sub(r"\1", text)
    return TO_LESSON.sub(lambda link: link[0] if link[2] in here else link[1], text)


def _without(links: str, text: str) -> str:
    """The text of a cell without the line to the neighbours; a link to Colab before it stays."""
    return text.replace(f" · {links}", "", 1).replace(links, "", 1) if links else text


def _solutions(source: Path) -> dict[str, str]:
    """The folded solution of every exercise by its id, as the source has it."""
    found, exercise = {}, None
    for cell in parse(source):
        exercise = cell.argument if cell.kind == "exercise" else exercise
        if cell.kind == "solution":
            code = f"```python\n{cell.text}\n```"
            found[exercise] = _card("One solution: open it when yours passes", code, "solution", closed=True)
    return found


def _words(output: dict) -> str:
    """What stands for an output where it cannot be shown; "" for pictures and for what was printed."""
    data = output.get("data", {})
    return "" if "image/png" in data else "".join(data.get("text/plain", ""))


def _is_bar(output: dict) -> bool:
    """A bar of progress says nothing on paper."""
    return "%|" in _words(output)


def _move_sliders(notebook: dict, number: str) -> None:
    """In the place of each widget its frames behind range inputs, or a word where none were rendered."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    for position, output in enumerate(one for one in outputs if _words(one).startswith(SLIDER)):
        says = f"Run the lesson to move this slider. {_words(output).removeprefix(SLIDER)}"
        moving = sliders.shown(number, position)
        still = {"text/markdown": _card("A slider", says, "slider")}
        output["data"] = {"text/html": moving} if moving else still


def _prose(text: str) -> str:
    exercise = EXERCISE.fullmatch(text)
    if exercise:
        text = f"{exercise[1]}\n\n{_card(exercise[3], exercise[4], 'exercise')}"
    if QUESTION.match(text) and "<details>" in text:
        text = "\n\n".join(_question(part) for part in text.split("\n\n---\n\n"))
    return FOLD.sub(lambda fold: _card(fold[1], fold[2], "fold", closed=True), text)


def _question(text: str) -> str:
    question = QUESTION.fullmatch(text)
    options = FOLD.sub(lambda fold: _card(fold[1], fold[2], "option", closed=True), question[2])
    return _card(question[1], options, "quiz")


def _card(title: str, body: str, kind: str, closed: bool = False) -> str:
    """A box of MyST; its fence is longer than any that stands inside."""
    inside = max(map(len, re.findall(r"^:{3,}", body, re.MULTILINE)), default=2)
    fence = ":" * (inside + 1)
    options = f":class: {kind}\n" + (":collapsible: closed\n" if closed else "")
    return f"{fence}{{admonition}} {title}\n{options}\n{body}\n{fence}"
