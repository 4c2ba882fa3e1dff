"""Which scores changed: the points from before stay in ``OUT/before``, learner by learner, until the list of
changes was shown.

So a command that was killed, and given again, tells all changes and not only those of its second part.
"""

from __future__ import annotations

import json
from pathlib import Path

from cmlib.check.records import write_atomically


class Changes:
    """names : the files of the learners concerned, as they are called in ``OUT/grades``; run : see
    `cmlib.grade.batch.run_name`.
    """

    def __init__(self, out: Path, names: dict[str, str], run: str):
        self.folder, self.grades, self.names, self.run = out / "before", out / "grades", names, run

    def done(self, name: str) -> bool:
        """Whether this record was already regraded, by a command whose changes nobody has seen yet."""
        kept = _json(self.folder / name)
        return kept is not None and kept["done"] is True and kept["run"] == self.run

    def begin(self, name: str) -> None:
        """The record ``name`` will be replaced."""
        kept, record = _json(self.folder / name), _json(self.grades / name)
        if kept or record:
            self._keep(name, kept["points"] if kept else _points(record), False)

    def end(self, name: str) -> None:
        """It has been."""
        if kept := _json(self.folder / name):
            self._keep(name, kept["points"], True)

    def found(self) -> list[tuple[str, str, float, float]]:
        """(learner, exercise, points before, points now)"""
        out = []
        for learner, name in sorted(self.names.items()):
            if kept := _json(self.folder / name):
                before, now = kept["points"], _points(_json(self.grades / name))
                out += [
                    (learner, id, *both)
                    for id in sorted(before | now)
                    if (both := (before.get(id, 0.0), now.get(id, 0.0)))[0] != both[1]
                ]
        return out

    def shown(self) -> None:
        """From here on, changes are told against the grades as they are now."""
        for name in self.names.values():
            (self.folder / name).unlink(missing_ok=True)

    def _keep(self, name, points, done):
        write_atomically(self.folder / name, json.dumps({"points": points, "run": self.run, "done": done}))


def _points(record: dict | None) -> dict[str, float]:
    return {id: entry.get("points", 0.0) for id, entry in record["exercises"].items()} if record else {}


def _json(path: Path) -> dict | None:
    try:
        value = json.loads(path.read_text("utf-8"))
        return value if {"exercises", "points"} & value.keys() else None
    except (OSError, ValueError, AttributeError):
        return None
