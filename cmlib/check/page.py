"""``cmlib.report()``: a page in the notebook with what is done, points, minutes that are left and what to
review. ``cmlib.certificate()``: a file that says what was verified, and how.
"""

from __future__ import annotations

import os
import sys
from datetime import date
from html import escape
from pathlib import Path
from urllib.parse import quote

import cmlib
from cmlib.authoring import curriculum
from cmlib.check import exercises, lessons, progress, quiz
from cmlib.check.engine import Draw
from cmlib.check.records import load, write_atomically

NOTEBOOKS = Path(__file__).resolve().parent.parent.parent / "notebooks"
MARKS = {"done": ("✓", "#1b7f3b"), "review": ("✗", "#c0392b"), "open": ("○", "inherit")}
CELL = "style='text-align:left;vertical-align:top;padding:.3em .4em;white-space:normal'"

CERTIFICATE = """<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{name}</title>
<meta name='viewport' content='width=device-width'><style>body {{ max-width: 50em; margin: 2em auto;
padding: 0 1em; font: 1em/1.5 sans-serif }} td, th {{ border-top: 1px solid #bbb }}</style></head><body>
<h1>{name}</h1><p>has solved {solved} of {of} exercises of the cross-modal learning course in the lessons
below, {points} points. Written on {today} by version {version} of the course.</p>
<table style='border-collapse:collapse;width:100%'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>
<h2>What was verified, and how</h2><p>For every exercise named above, a check that ran in the learner's
notebook compared the answer with a reference, on as many inputs as this version of the course has (with
gradients: also how the result changes with them), and all comparisons held, once. The inputs stand in the
course and are the same for everybody. A quiz counts the questions answered rightly, after any
number of tries.</p>
<h2>What this is not</h2><p>It is not a grade: nobody has looked at the answers, or seen who wrote them.
Hints and solutions are open to everybody, the name is as it was given, and the record behind this page is a
file of the learner's own, which can be changed; it keeps neither dates nor versions. Whoever wants more than
the learner's word can grade the answers anew, on secret inputs: <code>cmlib grade</code> of the course.</p>
</body></html>
"""


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


def certificate(name: str, path: Path | str = "certificate.html") -> None:
    """Write a page, to be opened in a browser or printed, that says which exercises the checks have passed,
    what was compared, and what this does not prove.

    name : of the learner, as it shall stand there
    path : of the HTML file; an older one is replaced
    Raises ``TypeError`` or ``ValueError`` for a name that is no text or empty, and ``FileNotFoundError``.
    """
    if not isinstance(name, str):
        raise TypeError(f'The name is given as text, certificate("Ada Lovelace"); got {name!r}.')
    if not name.strip():
        raise ValueError('The name is empty: give yours, certificate("Ada Lovelace").')
    target, done, rows, solved, of, points = Path(path), load(), [], 0, 0, 0
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(target.parent)!r} to write {target.name} into.")
    for number in lessons():
        items = exercises(number)
        passed = [e for e in items if done.get(e.id, {}).get("passed")]
        if passed:
            title = escape(f"{number} {curriculum.lesson(number).title}")
            told = "<br>".join(escape(f"{e.id} {e.title}: {_compared(e)}") for e in passed)
            right = f"{len(quiz.right_in(done, number))} of {len(quiz.of_lesson(number))}"
            cells = "".join(f"<td {CELL}>{cell}</td>" for cell in (title, told, right))
            rows.append(f"<tr>{cells}</tr>")
            solved, of = solved + len(passed), of + len(items)
            points += sum(e.points for e in passed)
    if not rows:
        print("No exercise has passed its check yet: there is nothing to certify, and no file was written.")
        return
    head = "".join(f"<th {CELL}>{title}</th>" for title in ("Lesson", "Passed its check", "Quiz"))
    write_atomically(target, CERTIFICATE.format(
        name=escape(name), solved=solved, of=of, points=points, today=date.today().isoformat(),
        version=cmlib.__version__, head=head, rows="".join(rows)))
    print(f"{target}: {solved} exercises of {len(rows)} lessons. Open it in a browser.")


def _compared(e) -> str:
    """What the check of an exercise compares."""
    if e.kind in ("number", "choice"):
        return f"one {e.kind}"
    count = sum(1 for _ in e.make_cases(Draw(0)))
    return f"{count} input{'s' * (count > 1)}{', with gradients' * bool(e.grad)}"


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
