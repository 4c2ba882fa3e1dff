"""The quiz of a lesson: four questions whose options explain themselves, to click on in a notebook.

The questions stand in the lesson's source, which every clone of the course has, on Colab as well: there the
notebook is open, and no file of it is at hand.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

from cmlib.check.records import answered, load

SOURCES = Path(__file__).resolve().parents[2] / "notebooks" / "src"
CELL = re.compile(r"^# %% \[quiz\][^\n]*\n((?:#[^\n]*\n?)*)", re.MULTILINE)
MARKUP = ((r"\*\*(.+?)\*\*", r"<b>\1</b>"), (r"(?<![\w*])\*(?!\s)(.+?)(?<!\s)\*(?![\w*])", r"<i>\1</i>"))
COLORS = {True: "#1b7f3b", False: "#c0392b"}


@dataclass(frozen=True)
class Option:
    text: str
    is_right: bool
    why: str


@dataclass(frozen=True)
class Question:
    text: str
    options: tuple[Option, ...]


def questions(text: str, where: str = "") -> list[Question]:
    """The questions of a [quiz] cell, its ``# `` taken away; ValueError where an option explains nothing."""
    found = []
    for block in re.split(r"^\? ", text, flags=re.MULTILINE)[1:]:
        question, *options = re.split(r"^(?=[-+] )", block.strip(), flags=re.MULTILINE)
        found.append(Question(_line(question), tuple(_option(option, where) for option in options)))
    return found


def _option(text, where) -> Option:
    answer, marker, why = text[2:].partition("::")
    if not (marker and why.strip()):
        raise ValueError(f"{where}: the quiz option {text.strip()!r} has no explanation after '::'.")
    return Option(_line(answer), text[0] == "+", _line(why))


def _line(text) -> str:
    return " ".join(text.split())


def of_lesson(lesson: str, folder: Path | None = None) -> list[Question]:
    """The questions of a lesson such as "02"; none where its source is not there."""
    for source in sorted((folder or SOURCES).glob(f"{lesson}_*.py")):
        cell = CELL.search(source.read_text("utf-8"))
        if cell:
            return questions(re.sub(r"^# ?", "", cell[1], flags=re.MULTILINE), source.name)
    return []


def quiz(lesson: str) -> None:
    """Show the questions of a lesson, to be answered with a click; outside a notebook, print one line."""
    asked = of_lesson(str(lesson))
    line = f"[quiz] {len(asked)} questions: they stand above, and each of their options explains itself."
    if not asked or not _in_a_notebook():
        print(line)
        return
    try:
        import ipywidgets
    except ImportError:
        print(line)
        return
    from IPython.display import display

    box = ipywidgets.VBox([_Asked(ipywidgets, str(lesson), asked).box])
    display(
        {
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": box.model_id,
            },
            "text/plain": f"[quiz: run this cell to answer] {len(asked)} questions",
        },
        raw=True,
    )


def _in_a_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


class _Asked:
    """The widgets of one quiz. A click explains its option; that on the right one explains all."""

    def __init__(self, widgets, lesson: str, asked: list[Question]):
        self.widgets, self.lesson, self.asked = widgets, lesson, asked
        self.total = widgets.HTML()
        rows = [self._question(number, question) for number, question in enumerate(asked, 1)]
        self.box = widgets.VBox([*rows, self.total], layout=widgets.Layout(max_width="46em"))
        self._say()

    def _question(self, number, question):
        title = self.widgets.HTMLMath(f"<b>{number}. {as_html(question.text)}</b>")
        title.layout.margin = "1em 0 0 0"  # not glued to the options of the question above
        rows = [self._row(number, option, "ABCD"[k]) for k, option in enumerate(question.options)]
        for k, row in enumerate(rows):
            row.children[0].on_click(lambda _, k=k: self._clicked(number, question, rows, k))
        return self.widgets.VBox([title, *rows])

    def _row(self, number, option, letter):
        button = self.widgets.Button(description=letter, tooltip=f"answer {letter} to question {number}")
        button.layout.width, button.layout.flex = "2.6em", "0 0 auto"
        text = self.widgets.HTMLMath(as_html(option.text))
        text.layout.flex = "1 1 auto"
        return self.widgets.HBox([button, text], layout=self.widgets.Layout(align_items="flex-start"))

    def _clicked(self, number, question, rows, chosen):
        right = question.options[chosen].is_right
        for k in range(len(rows)) if right else [chosen]:
            self._explain(rows[k], question.options[k])
        answered(self.lesson, number, right, len(self.asked))
        self._say()

    def _explain(self, row, option):
        button, text = row.children
        button.disabled = True
        verdict = "✓ Right." if option.is_right else "✗ No."
        said = f"<span style='color:{COLORS[option.is_right]}'>{verdict}</span>"
        text.value = f"{as_html(option.text)}<br>{said} {as_html(option.why)}"

    def _say(self):
        got = len(right_in(load(), self.lesson))
        of = f"{got} of {len(self.asked)}"
        self.total.value = f"<p>Quiz of lesson {self.lesson}: {of} answered rightly.</p>"


def right_in(done: dict[str, dict], lesson: str) -> list[int]:
    """Which questions of a lesson's quiz have been answered rightly, as progress has it."""
    found = done.get(f"{lesson}.quiz", {}).get("right", [])
    return [number for number in found if isinstance(number, int)] if isinstance(found, list) else []


def as_html(text: str) -> str:
    """The little Markdown that a quiz uses: `code`, **bold**, *italic*; $formulas$ are left to MathJax."""
    out = []
    for part in re.split(r"(\$[^$]+\$|`[^`]+`)", text):
        if part.startswith("`"):
            out.append(f"<code>{html.escape(part[1:-1])}</code>")
        elif part.startswith("$"):
            out.append(html.escape(part, quote=False))
        else:
            plain = html.escape(part, quote=False)
            for pattern, by in MARKUP:
                plain = re.sub(pattern, by, plain)
            out.append(plain)
    return "".join(out)
