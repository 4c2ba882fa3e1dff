"""Which statements of a notebook an answer needs: a slice in the sense of Weiser (1981), by reaching
definitions.

An answer is what stands in ``check("02.1", …)``. The slice has what binds the names in it, and the names in
those, as if the cells had run from top to bottom up to that check; what is bound only further down (cells run
out of order) is found too. Prints, plots, training loops and other checks stay behind unless they bind a
needed name.

This file also runs inside the box, where there is nothing of the course but the few files beside it.
"""

from __future__ import annotations

import ast
import builtins
import re
from bisect import bisect_right
from collections.abc import Iterable

from cmlib.grade.cells import loads, parse

MOST_STEPS = 1_000_000  # of the search; an honest notebook takes some hundred


class NotFound(LookupError):
    """Nothing in the cells answers the exercise."""


class Unreadable(ValueError):
    """A cell that is needed is not Python. ``cell`` : its index from 0; ``line`` : its line from 1; the text
    is a sentence.
    """

    def __init__(self, sentence: str, cell: int, line: int):
        super().__init__(sentence)
        self.sentence, self.cell, self.line = sentence, cell, line


def statements(cells: list[str], name: str, id: str) -> list[tuple[int, ast.stmt]]:
    """[(index of the cell, statement)] to execute so that ``name`` is the answer to exercise ``id``.

    In document order, save that what is bound too late comes before its user. The stub, where there is no
    more than that.
    Raises `NotFound` or `Unreadable`. The trees are shared between calls: do not change them.
    """
    return _Slice(cells, name, id).collect()


def everything(
    cells: list[str], name: str, id: str, given: Iterable[str] = ()
) -> tuple[list[tuple[int, ast.stmt]], bool]:
    """(all statements down to the check of ``id`` and what comes too late for it, True), or (all that there
    are, False) where no check names the answer.

    For what a slice cannot see: objects that a call changes, ``global``, a registry. Of ``given``, the cells
    of the lesson as handed out, only what the learner's statements need is kept: its experiments take long,
    and change nothing of the learner's. Raises `Unreadable`.
    """
    known = {ast.dump(one.node) for text in given for one in parse(text)[0]}
    try:
        found = _Slice(cells, name, id)
    except NotFound:
        flat = [(cell, one.node) for cell, text in enumerate(cells) for one in parse(text)[0]]
        defines = ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef
        own = [(c, node) for c, node in flat if isinstance(node, defines) or ast.dump(node) not in known]
        return own, False
    if not found.has_check:
        found.anchor = len(found.flat) - 1
    beside = [
        place
        for place, (_, one) in enumerate(found.flat[: found.anchor + 1])
        if one.seeds or ast.dump(one.node) not in known
    ]
    return found.collect(beside), found.has_check


def answered(cells: list[str], name: str, id: str) -> bool:
    """Whether something other than the untouched stub stands there. Raises `Unreadable`."""
    try:
        return _Slice(cells, name, id).is_answered
    except NotFound:
        return False


def needed(cells: list[str], name: str, id: str) -> list[int]:
    """Indices of the cells that give the same slice as all of them together: those of its statements and that
    of the check.
    """
    found = _Slice(cells, name, id)
    return sorted({cell for cell, _ in found.collect()} | {found.flat[found.anchor][0]})


class _Slice:
    def __init__(self, cells, name, id):
        self.name, self.flat, self.broken, self.where, self.known = name, [], [], {}, {}
        self.chosen: dict[int, float] = {}
        for index, text in enumerate(cells):
            found, error = parse(text)
            if error:
                self.broken.append((index, text, *error))
            for one in found:
                for bound in one.binds | one.touches:
                    self.where.setdefault(bound, []).append(len(self.flat))
                self.flat.append((index, one))
        checks = [
            (place, argument)
            for place, (_, one) in enumerate(self.flat)
            for checked, argument in one.checks
            if checked == id
        ]
        self.has_check = bool(checks)
        for self.anchor, self.argument in reversed(checks):
            if not self._is_open(self.argument, self.anchor):
                break
        else:
            self._without_check(checks)
        self.is_answered = not self._is_open(self.argument, self.anchor)
        if not self.is_answered:
            self._blame(rf"check[ \t]*\([^\n]*[\"']{re.escape(id)}[\"']", name)
            if (
                isinstance(self.argument, ast.Name)
                and not self._places(self.argument.id)[1]
                and not self._may_be_imported()
            ):
                raise NotFound(f"No cell defines {self.argument.id}, the answer to exercise {id}.")

    def _without_check(self, checks):
        """The last definition counts, and of the other names what its own cell sees."""
        self.argument = ast.Name(self.name, ast.Load())
        if checks and not self._solid(self.name):
            self.anchor, self.argument = checks[-1]
            return
        last = (self._solid(self.name) or self.where.get(self.name) or [-1])[-1]
        own = self.flat[last][0] if last >= 0 else -1
        self.anchor = max((place for place, (cell, _) in enumerate(self.flat) if cell == own), default=-1)

    def _may_be_imported(self):
        return any(
            isinstance(one.node, ast.ImportFrom) and one.node.names[0].name == "*" for _, one in self.flat
        )

    def _solid(self, name):
        """Places of own definitions that are more than a stub. An import further down (of the course's
        version) is none.
        """
        return [
            p
            for p in self.where.get(name, ())
            if name in self.flat[p][1].binds
            and not self.flat[p][1].is_stub
            and not isinstance(self.flat[p][1].node, (ast.Import, ast.ImportFrom))
        ]

    def _is_open(self, argument, anchor):
        if isinstance(argument, ast.Name):
            places = [p for p in self._reaching(argument.id, anchor) if argument.id in self.flat[p][1].binds]
            return all(self.flat[p][1].is_stub for p in places)
        return isinstance(argument, ast.Constant) and argument.value in (None, ...)

    def _blame(self, *patterns):
        """Raise for the last unreadable cell that matches, or in which a name is bound."""
        for index, text, line, why in reversed(self.broken):
            for pattern in patterns:
                if pattern.isidentifier():
                    pattern = (
                        rf"^[ \t]*(?:(?:async[ \t]+)?(?:def|class)[ \t]+{pattern}\b|{pattern}[ \t]*=(?!=))"
                    )
                if re.search(pattern, text, re.MULTILINE):
                    raise Unreadable(
                        f"The cell with {patterns[-1]} is not Python: {why} in line {line}.", index, line
                    )

    def _places(self, name):
        """(places that bind or change ``name``, those that bind it); stubs only where there is nothing
        else.
        """
        if name not in self.known:
            solid, places = self._solid(name), self.where.get(name, [])
            places = [
                p for p in places if not (solid and name in self.flat[p][1].binds and self.flat[p][1].is_stub)
            ]
            self.known[name] = places, [p for p in places if name in self.flat[p][1].binds]
        return self.known[name]

    def _reaching(self, name, upto):
        """Places of the statements that make ``name`` what it is after place ``upto``."""
        places, binders = self._places(name)
        if not binders or binders[0] > upto:
            if hasattr(builtins, name):
                return []
            upto = len(self.flat)
        out = []
        for k in range(bisect_right(places, upto) - 1, -1, -1):
            one = self.flat[places[k]][1]
            out.append(places[k])
            if one.is_fresh(name):
                if isinstance(one.node, (ast.Import, ast.ImportFrom)):  # torch.manual_seed(0) is not needed
                    out = [p for p in out if name in self.flat[p][1].binds]
                break
        return out if binders else []

    def collect(self, beside=()):
        todo, seen, steps = [], set(), 0

        def need(name, upto):
            nonlocal steps
            places = self._reaching(name, upto)
            steps += 1 + len(places)
            if steps > MOST_STEPS:
                raise Unreadable(
                    f"The cells are too entangled to find what {self.name} needs.",
                    self.flat[self.anchor][0],
                    1,
                )
            if not places and not hasattr(builtins, name) and self.broken:
                self._blame(name)
            todo.extend((p, upto) for p in places)

        todo += [(p, self.anchor) for p in beside]
        todo += [(p, self.anchor) for p, (_, one) in enumerate(self.flat) if one.is_always_kept]
        now, later = loads(ast.fix_missing_locations(ast.Expr(self.argument)))
        for name in now + later:
            need(name, self.anchor)
        while todo:
            place, upto = item = todo.pop()
            if item in seen:
                continue
            seen.add(item)
            self.chosen[place] = min(self.chosen.get(place, place), place if place <= upto else upto + 0.5)
            one = self.flat[place][1]
            now, later = one.loads
            for name in now:
                need(name, min(place - 1, upto))
            for name in later:
                need(name, upto)
        out = [
            (self.flat[p][0], self.flat[p][1].node)
            for p in sorted(self.chosen, key=lambda p: (self.chosen[p], p))
        ]
        if not (isinstance(self.argument, ast.Name) and self.argument.id == self.name):
            near = self.flat[self.anchor][1].node
            assign = ast.Assign([ast.Name(self.name, ast.Store())], self.argument)
            out.append(
                (self.flat[self.anchor][0], ast.fix_missing_locations(ast.copy_location(assign, near)))
            )
        return out
