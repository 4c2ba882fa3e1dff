"""Which statements of a notebook an answer needs: a slice in the sense of Weiser (1981), by reaching definitions.

An answer is what stands in ``check("02.1", …)``. The slice has what binds the names in it, and the names in those, as if the
cells had run from top to bottom up to that check; what is bound only further down (cells run out of order) is found too.
Prints, plots, training loops and other checks stay behind unless they bind a needed name.

This file also runs inside the box, alone: it imports nothing of the course, and IPython only for cells that are not plain Python.
"""

from __future__ import annotations

import ast
import builtins
import dis
import re
import types
import warnings
from bisect import bisect_right
from functools import cached_property, lru_cache

RUNS_HERE = {"time", "timeit", "capture", "prun", "memit"}  # cell magics whose body is Python in this very namespace
MOST_STEPS = 1_000_000  # of the search; an honest notebook takes some hundred
CONDITIONAL = (ast.If, ast.Try, ast.TryStar, ast.Match, ast.While)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class NotFound(LookupError):
    """Nothing in the cells answers the exercise."""


class Unreadable(ValueError):
    """A cell that is needed is not Python. ``cell`` : its index from 0; ``line`` : its line from 1; the text is a sentence."""

    def __init__(self, sentence: str, cell: int, line: int):
        super().__init__(sentence)
        self.sentence, self.cell, self.line = sentence, cell, line


def statements(cells: list[str], name: str, id: str) -> list[tuple[int, ast.stmt]]:
    """[(index of the cell, statement)] to execute so that ``name`` is the answer to exercise ``id``.

    In document order, save that what is bound too late comes before its user. The stub, where there is no more than that.
    Raises `NotFound` or `Unreadable`. The trees are shared between calls: do not change them.
    """
    return _Slice(cells, name, id).collect()


def answered(cells: list[str], name: str, id: str) -> bool:
    """Whether something other than the untouched stub stands there. Raises `Unreadable`."""
    try:
        return _Slice(cells, name, id).is_answered
    except NotFound:
        return False


def needed(cells: list[str], name: str, id: str) -> list[int]:
    """Indices of the cells that give the same slice as all of them together: those of its statements and that of the check."""
    found = _Slice(cells, name, id)
    return sorted({cell for cell, _ in found.collect()} | {found.flat[found.anchor][0]})


class _Slice:
    def __init__(self, cells, name, id):
        self.name, self.flat, self.broken, self.where, self.known = name, [], [], {}, {}
        self.chosen: dict[int, float] = {}
        for index, text in enumerate(cells):
            found, error = _parse(text)
            if error:
                self.broken.append((index, text, *error))
            for one in found:
                for bound in one.binds | one.touches:
                    self.where.setdefault(bound, []).append(len(self.flat))
                self.flat.append((index, one))
        checks = [(place, argument) for place, (_, one) in enumerate(self.flat) for checked, argument in one.checks
                  if checked == id]
        for self.anchor, self.argument in reversed(checks):
            if not self._is_open(self.argument, self.anchor):
                break
        else:
            self._without_check(checks)
        self.is_answered = not self._is_open(self.argument, self.anchor)
        if not self.is_answered:
            self._blame(rf"check[ \t]*\([^\n]*[\"']{re.escape(id)}[\"']", name)
            if isinstance(self.argument, ast.Name) and not self._places(self.argument.id)[1] and not self._may_be_imported():
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
        return any(isinstance(one.node, ast.ImportFrom) and one.node.names[0].name == "*" for _, one in self.flat)

    def _solid(self, name):
        """Places of own definitions that are more than a stub. An import further down (of the course's version) is none."""
        return [p for p in self.where.get(name, ()) if name in self.flat[p][1].binds and not self.flat[p][1].is_stub
                and not isinstance(self.flat[p][1].node, (ast.Import, ast.ImportFrom))]

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
                    pattern = rf"^[ \t]*(?:(?:async[ \t]+)?(?:def|class)[ \t]+{pattern}\b|{pattern}[ \t]*=(?!=))"
                if re.search(pattern, text, re.MULTILINE):
                    raise Unreadable(f"The cell with {patterns[-1]} is not Python: {why} in line {line}.", index, line)

    def _places(self, name):
        """(places that bind or change ``name``, those that bind it); stubs only where there is nothing else."""
        if name not in self.known:
            solid, places = self._solid(name), self.where.get(name, [])
            places = [p for p in places if not (solid and name in self.flat[p][1].binds and self.flat[p][1].is_stub)]
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

    def collect(self):
        todo, seen, steps = [], set(), 0

        def need(name, upto):
            nonlocal steps
            places = self._reaching(name, upto)
            steps += 1 + len(places)
            if steps > MOST_STEPS:
                raise Unreadable(f"The cells are too entangled to find what {self.name} needs.", self.flat[self.anchor][0], 1)
            if not places and not hasattr(builtins, name) and self.broken:
                self._blame(name)
            todo.extend((p, upto) for p in places)

        todo += [(p, self.anchor) for p, (_, one) in enumerate(self.flat) if one.is_always_kept]
        now, later = _loads(ast.fix_missing_locations(ast.Expr(self.argument)))
        for name in now + later:
            need(name, self.anchor)
        while todo:
            place, upto = item = todo.pop()
            if item in seen:
                continue
            seen.add(item)
            self.chosen[place] = min(self.chosen.get(place, place), place if place <= upto else upto + 0.5)
            one = self.flat[place][1]
            for name in one.now:
                need(name, min(place - 1, upto))
            for name in one.later:
                need(name, upto)
        out = [(self.flat[p][0], self.flat[p][1].node) for p in sorted(self.chosen, key=lambda p: (self.chosen[p], p))]
        if not (isinstance(self.argument, ast.Name) and self.argument.id == self.name):
            near = self.flat[self.anchor][1].node
            assign = ast.Assign([ast.Name(self.name, ast.Store())], self.argument)
            out.append((self.flat[self.anchor][0], ast.fix_missing_locations(ast.copy_location(assign, near))))
        return out


class _Statement:
    """One top-level statement. ``binds``: names it sets; ``touches``: names whose object it changes (``table[k] = v``)."""

    def __init__(self, node: ast.stmt, may_check: bool):
        self.node = node
        self.binds, self.touches = _bindings(node)
        self.checks = list(_checks(node)) if may_check else []

    @cached_property
    def _loads(self):
        return _loads(self.node)

    @property
    def now(self) -> list[str]:
        """Names that are read when the statement runs."""
        return self._loads[0]

    @property
    def later(self) -> list[str]:
        """Names that are read when a function in it is called."""
        return self._loads[1]

    @cached_property
    def is_stub(self) -> bool:
        if isinstance(self.node, (ast.Assign, ast.AnnAssign)):
            value = self.node.value
            return value is None or isinstance(value, ast.Constant) and value.value in (None, ...)
        if isinstance(self.node, ast.ClassDef):
            methods = [n for n in self.node.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
            return bool(methods) and all(map(_only_raises, methods))
        return _only_raises(self.node)

    @cached_property
    def is_always_kept(self) -> bool:
        node = self.node
        if isinstance(node, ast.ImportFrom):
            return node.module == "__future__" or node.names[0].name == "*"
        return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) \
            and getattr(node.value.func, "attr", "").startswith("set_default_")  # torch.set_default_dtype changes every result

    def is_fresh(self, name: str) -> bool:
        """Whether nothing bound before can shine through (what ``x += 1`` reads is a need of its own)."""
        dotted = isinstance(self.node, ast.Import) and any(a.name.startswith(name + ".") and not a.asname for a in self.node.names)
        return name in self.binds and not dotted and not isinstance(self.node, CONDITIONAL)


def _only_raises(node) -> bool:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    for child in node.body:
        if isinstance(child, ast.Raise) and "NotImplementedError" in (
                getattr(child.exc, "id", ""), getattr(getattr(child.exc, "func", None), "id", "")):
            return True
        if any(isinstance(n, (ast.Return, ast.Yield, ast.YieldFrom)) for n in ast.walk(child)):
            return False
    return False


def _checks(node):
    """(id, argument) of the calls ``check("02.1", argument)`` in a statement."""
    for n in ast.walk(node):
        if isinstance(n, ast.Call) and "check" in (getattr(n.func, "id", ""), getattr(n.func, "attr", "")):
            given = dict(zip(("id", "answer"), n.args, strict=False)) | {k.arg: k.value for k in n.keywords}
            if isinstance(given.get("id"), ast.Constant) and not isinstance(given.get("answer"), (ast.Starred, type(None))):
                yield given["id"].value, given["answer"]


def _bindings(node):
    binds, touches, todo = set(), set(), [node]
    while todo:
        n = todo.pop()
        if isinstance(n, SCOPES):
            binds.add(n.name)
            continue
        if isinstance(n, ast.Lambda):
            continue
        if isinstance(n, COMPREHENSIONS):
            todo += [w.target for w in ast.walk(n) if isinstance(w, ast.NamedExpr)]
            continue
        if isinstance(n, ast.alias):
            binds.add(n.asname or n.name.split(".")[0])
        elif isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store):
            binds.add(n.id)
        elif isinstance(n, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and n.name:
            binds.add(n.name)
        elif isinstance(n, ast.MatchMapping) and n.rest:
            binds.add(n.rest)
        elif isinstance(n, (ast.Attribute, ast.Subscript)) and not isinstance(n.ctx, ast.Load):
            touches.add(_base(n))
        elif isinstance(n, ast.Expr) and isinstance(n.value, ast.Call) and isinstance(n.value.func, ast.Attribute):
            touches.add(_base(n.value.func))
        todo.extend(ast.iter_child_nodes(n))
    return binds - {"*"}, touches - binds - {""}


def _base(node) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return getattr(node, "id", "")


def _loads(node) -> tuple[list[str], list[str]]:
    """(names read when the statement runs, names read when its functions are called), as the compiler scopes them."""
    now, later = set(), set()
    todo = [(_compiled([node]), now)]
    while todo:
        code, into = todo.pop()
        runs_on = not code.co_flags & 1  # neither a module nor a class body has CO_OPTIMIZED
        stored: set[str] = set()
        for step in dis.get_instructions(code):
            if step.opname == "STORE_NAME" and runs_on and not isinstance(node, CONDITIONAL):
                stored.add(step.argval)
            elif step.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS") and step.argval not in stored:
                into.add(step.argval)
        for inner in code.co_consts:
            if isinstance(inner, types.CodeType):
                at_once = not inner.co_flags & 1 or (inner.co_name[0] == "<" and inner.co_name != "<lambda>")
                todo.append((inner, into if at_once else later))
    return sorted(now), sorted(later)


def _compiled(nodes):
    return compile(ast.Module(list(nodes), []), "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[list[_Statement], tuple[int, str] | None]:
    """(the statements of a cell, None), or ([], (line, what is wrong)) when it is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = _nodes(text)
            _compiled(nodes)
        return [_Statement(node, "check" in text) for node in nodes], None
    except SyntaxError as error:
        return [], (error.lineno or 1, error.msg)
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:  # a null byte; a thousand brackets
        return [], (1, str(error) or type(error).__name__)


def _nodes(text: str) -> list[ast.stmt]:
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    try:
        nodes = ast.parse(text).body
    except SyntaxError as error:
        try:
            from IPython.core.inputtransformer2 import TransformerManager

            plain = TransformerManager().transform_cell(text)
        except Exception:  # its tokenizer breaks on some texts, and IPython may be missing
            raise error from None
        above = re.match(r"(?:[ \t]*\n)*", text)[0].count("\n")  # IPython drops these lines
        nodes = ast.parse("\n" * above + plain).body
    return [inner for node in nodes for inner in _under_magic(node)]


def _under_magic(node) -> list[ast.stmt]:
    """What runs under %time, %%time, %%capture …; other nodes as they are."""
    call = node.value if isinstance(node, (ast.Expr, ast.Assign)) else None
    kind = getattr(getattr(call, "func", None), "attr", "")
    if kind not in ("run_cell_magic", "run_line_magic") or not isinstance(call, ast.Call):
        return [node]
    given = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if kind == "run_line_magic" and len(given) == 2 and given[0] == "time":
        inner = _nodes(given[1])
        if isinstance(node, ast.Expr):
            return [ast.increment_lineno(n, node.lineno - 1) for n in inner]
        if len(inner) == 1 and isinstance(inner[0], ast.Expr):
            node.value = ast.increment_lineno(inner[0].value, node.lineno - 1)
    elif kind == "run_cell_magic" and len(given) == 3 and given[0] in RUNS_HERE:
        return [ast.increment_lineno(n, node.lineno) for n in _nodes(given[2])]
    return [node]
