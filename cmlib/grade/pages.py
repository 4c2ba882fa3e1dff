"""The pages that people read: one for each learner and one for the class, made of rows by templates."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from cmlib.grade import overview, similarity, tables

HUMAN = "needs a human"
DATE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d(?: \w+)?)")  # as `late` writes it, with its zone


def templates():
    """Learners' text reaches the pages through autoescape and `tables.clean` alone."""
    import jinja2

    def shown(value):
        return (
            value if hasattr(value, "__html__") else tables.clean(value) if isinstance(value, str) else value
        )

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    pages.filters |= {
        "dates": DATE.split,
        "points": lambda value: f"{value:.10g}",
        "percent": lambda share: f"{100 * share:.0f} %",
        "address": lambda page: quote(page),
        "slug": lambda state: state.replace(" ", "-"),
        "label": overview.STATES.get,
    }
    return pages


def learner_page(pages, row, exercises, title) -> str:
    known = {e.id: e for e in exercises}
    review = [
        known[id] for id, e in row.exercises.items() if id in known and e["state"] not in ("passed", HUMAN)
    ]
    return pages.get_template("learner.html").render(
        row=row, title=title, known=known, review=review, minutes=sum(e.minutes for e in review)
    )


def class_page(
    pages, rows, exercises, title, found, crowds, seconds, absent, problems, subtracted, late
) -> str:
    by_name = {row.learner: row for row in rows}
    mistakes = [
        m
        for k, m in enumerate(overview.mistakes(rows, [e.id for e in exercises], 12))
        if m["count"] > 1 or k < 5
    ]
    return pages.get_template("class.html").render(
        rows=sorted(rows, key=lambda row: (row.name.casefold(), row.learner)),
        title=title,
        histogram=overview.histogram(rows),
        exercises=overview.exercises(rows, exercises, seconds),
        mistakes=mistakes,
        likenesses=overview.likenesses(found, by_name),
        pairs=len({pair[:2] for pair in found}),
        crowds=crowds,
        waiting=[row for row in rows if row.final is None],
        unread=[row for row in rows if row.notes and row.final is not None],
        reasons=tables.reasons,
        absent=absent,
        problems=problems,
        subtracted=subtracted,
        threshold=similarity.THRESHOLD,
        late=late,
        seconds=sum(map(sum, seconds.values())),
    )


def span(lessons: list[str]) -> str:
    """ "Lessons 01-03, 05"."""
    parts: list[list[str]] = []
    for lesson in lessons:
        if parts and int(lesson) == int(parts[-1][-1]) + 1:
            parts[-1].append(lesson)
        else:
            parts.append([lesson])
    text = ", ".join(p[0] if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
    return f"{'Lesson' if len(lessons) == 1 else 'Lessons'} {text}"
