"""The living process of one answer in a box: opened at first use, and again after the answer's code ended
it.
"""

from __future__ import annotations

from cmlib.check.engine import AnswerRaised, Exercise
from cmlib.grade import handout
from cmlib.grade.box import Box
from cmlib.grade.remote import Remote
from cmlib.grade.session import Session
from cmlib.grade.tables import clean

LIVES, PATIENCE = 3, 60.0  # how often an answer may end its process, and how many seconds its calls may take
# what is raised where something is missing that may well be there where the answer was written
LACKING_BEFORE = {"ImportError", "ModuleNotFoundError", "OSError", "FileNotFoundError", "PermissionError",
                  "NotADirectoryError", "ConnectionError", "ConnectionRefusedError", "TimeoutError"}
LACKING = {"ImportError", "ModuleNotFoundError", "FileNotFoundError"}


class Unreadable(Exception):
    """The text is the sentence."""


class Missing(Exception):
    """No cell defines the answer."""


class Opening:
    """everything : whether all cells down to the check are run, or only what the answer needs.

    Called, it gives the session; ``value`` is the answer as the judge calls it, ``marks`` its fingerprints.
    """

    def __init__(self, box: Box, exercise: Exercise, cells: list[str], everything: bool):
        self.box, self.exercise, self.cells, self.everything = box, exercise, cells, everything
        self.session, self.lives, self.end = None, LIVES, None
        self.marks: list[int] = []
        self.value = None
        self.problem: dict = {}
        self.raised: set[str] = set()

    def __call__(self) -> Session:
        if self.end is not None and self.box.clock.spent > self.end:
            raise AnswerRaised(f"takes longer than {PATIENCE:.0f} s in all")
        if self.session is None or self.session.broken:
            if self.session is not None and self.session.hopeless:
                raise AnswerRaised("took too long before, so it was not asked again")
            if self.lives == 0:
                raise AnswerRaised("has ended its process too often")
            self.lives -= 1
            self.close()
            self.session = self.box.answer()
            self.session.raised = self.raised
            self._prepare()
        return self.session

    def _prepare(self):
        what = {"name": self.exercise.name, "id": self.exercise.id, "everything": self.everything}
        given = handout.cells(self.exercise.id) if self.everything else []
        found, marks = self.session.ask({"do": "read", **what, "given": given}, self.cells)
        if "unreadable" in found:
            raise Unreadable(str(found["unreadable"])[:300])
        if found.get("found") is not True:
            raise Missing
        self.session.is_stub = found.get("stub") is True
        self.marks = [m for m in marks if type(m) is int] if isinstance(marks, list) else []
        kind, value = self.session.ask({"do": "run"}, seconds=self.box.limits.start)
        problem = kind["problem"] if isinstance(kind.get("problem"), dict) else {}
        if self.end is None:  # its words count before it has seen an input, and never in a later life
            self.problem = problem
        if problem and kind.get("defined") is not True:
            self.session.tell(problem)
        self.value = Remote(self) if kind.get("callable") is True else value
        if self.end is None:
            self.end = self.box.clock.spent + PATIENCE

    @property
    def is_over(self) -> bool:
        """Whether its code ended or hung the process: running more of it would do the same."""
        return self.session is not None and self.session.broken

    def lacks(self) -> str:
        """What is not there where answers are graded, or "".

        Only what was raised before the answer saw an input is told in its own words.
        """
        kind, text = str(self.problem.get("raised")), clean(str(self.problem.get("text")))[:80]
        if self.everything:  # few of its lines are needed, unless a name is missing: a magic may have made it
            # and what it says is not told: these lines ran after an input was seen, and know the time
            missed = kind == "ImportError" and "NameError" in self.raised
            return f"a line above it raises {kind} where answers are graded" if missed else ""
        if self.raised and kind in LACKING_BEFORE:
            return f"a line that it needs raises {kind} where answers are graded ({text})"
        lacking = sorted(self.raised & LACKING)
        if lacking:
            what = "a file" if lacking == ["FileNotFoundError"] else "a module"
            return f"it needs {what} that is not there where answers are graded ({lacking[0]})"
        return ""

    def close(self):
        if self.session is not None:
            self.session.close()
