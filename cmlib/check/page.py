"""``cmlib.report()``: a page in the notebook with what is done, points, minutes that are left and what to
review.
"""

from __future__ import annotations

import os
import sys
from html import escape
from pathlib import Path
from urllib.parse import quote

from cmlib.check import exercises, lessons, progress, quiz
from cmlib.check.records import load

NOTEBOOKS = Path(__file__).resolve().parent.parent.parent / "notebooks"
MARKS = {"done": ("✓", "#1b7f3b"), "review": ("✗", "#c0392b"), "open": ("○", "inherit")}
CELL = "style='text-align:left;vertical-align:top;padding:.3em .4em;white-space:normal'"


def report(lesson: str | None = None) -> None:
    """Show the page for one lesson such as "02", or for the whole course; outside a notebook, print
    `cmlib.progress`.
    """
    from IPython import get_ipython
    from IPython.display import display

    numbers = lessons() if lesson is None else [exercises(lesson)[0].id[:2]]
    if get_ipython() is None:
        progress(lesson)
    else:
        html, plain = page(numbers, load())
        display({"text/html": html, "text/plain": plain}, raw=True)


def page(numbers: list[str], done: dict[str, dict]) -> tuple[str, str]:
    """(HTML, the same as one line of text) for lessons and what `cmlib.check.records.load` gave."""
    rows, review, got, of, left = [], [], 0, 0, 0
    for number in numbers:
        items = exercises(number)
        states = {e.id: _state(done.get(e.id, {})) for e in items}
        points = sum(e.points for e in items if states[e.id] == "done")
        minutes = sum(e.minutes for e in items if states[e.id] != "done")
        got, of, left = got + points, of + sum(e.points for e in items), left + minutes
        signs = " ".join(_sign(states[e.id], f"{e.id} {e.title}") for e in items) + _quiz(number, done)
        cells = [_link(number), signs, f"{points} of {sum(e.points for e in items)}", _time(minutes)]
        rows.append("<tr>" + "".join(f"<td {CELL}>{cell}</td>" for cell in cells) + "</tr>")
        review += [f"<li>{_sign('review')} {escape(f'{e.id} {e.title}')}, {_tries(done[e.id]['tries'])}: "
                   f"{_link(number)}</li>"
                   for e in items if states[e.id] == "review"]
    head = "".join(f"<th {CELL}>{title}</th>" for title in ("Lesson", "Exercises", "Points", "Time left"))
    total = f"{got} of {of} points, {_time(left)} left" if left else f"{got} of {of} points, all done"
    html = (f"<div style='max-width:40em'><h3>Your progress: {total}</h3><table "
            "style='border-collapse:collapse'>"
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>")
    html += f"<h4>To review</h4><ul>{''.join(review)}</ul></div>" if review else "</div>"
    return html, f"Your progress: {total}" + (f"; to review: {len(review)}" if review else "")


def _quiz(number, done) -> str:
    """The questions of the lesson's quiz, as a part of its row."""
    of, right = len(quiz.of_lesson(number)), len(quiz.right_in(done, number))
    return f" · quiz {right}/{of}" if of else ""


def _state(entry) -> str:
    return "done" if entry.get("passed") else "review" if entry.get("tries") else "open"


def _sign(state, title="") -> str:
    mark, color = MARKS[state]
    about = f" title='{escape(title)}' aria-label='{escape(title)}: {state}'" if title else ""
    return f"<span role='img' style='color:{color}'{about}>{mark}</span>"


def _link(number: str) -> str:
    """The lesson's notebook, relative to the one that runs; Colab cannot follow such a link."""
    found = sorted(NOTEBOOKS.glob(f"{number}_*.ipynb"))
    if not found or "google.colab" in sys.modules:
        return f"Lesson {number}"
    beside = Path(found[0].name)  # the learner's copy
    path = beside if beside.exists() else os.path.relpath(found[0])
    name = found[0].stem[3:].replace("_", " ")
    return f"<a href='{escape(quote(str(path)))}'>{number} {escape(name)}</a>"


def _time(minutes: int) -> str:
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def _tries(count: int) -> str:
    return "1 try" if count == 1 else f"{count} tries"
