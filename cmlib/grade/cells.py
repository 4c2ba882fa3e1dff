"""What a cell's statements bind, change and read, and which of them are stubs or checks.

This file also runs inside the box, alone: it imports nothing of the course, and IPython only for cells that
are not plain Python.
"""

from __future__ import annotations

import ast
import dis
import re
import types
import warnings
from functools import cached_property, lru_cache

# cell magics whose body is Python in this very namespace
RUNS_HERE = {"time", "timeit", "capture", "prun", "memit"}
WRITES = {"writefile", "file"}
CONDITIONAL = (ast.If, ast.Try, ast.TryStar, ast.Match, ast.While)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LOADS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}


class Statement:
    """One top-level statement. ``binds``: names it sets; ``touches``: names whose object it changes
    (``table[k] = v``).
    """

    def __init__(self, node: ast.stmt, may_check: bool):
        self.node = node
        self.binds, self.touches = _bindings(node)
        self.checks = list(_checks(node)) if may_check else []

    @cached_property
    def loads(self):
        return loads(self.node)

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
        # torch.set_default_dtype changes every result; a file may be imported, unless its name says otherwise
        does = getattr(node.value.func, "attr", "") if _is_method_call(node) else ""
        if does != "write_text":
            return does.startswith("set_default_")
        words = [n.value for n in ast.walk(node.value.func) if isinstance(n, ast.Constant)]
        return not any(re.search(r"\.(?!py$)\w+$", word) for word in words if isinstance(word, str))

    @property
    def seeds(self) -> bool:
        """Whether it is ``torch.manual_seed(0)`` or the like: later numbers hang on it."""
        return _is_method_call(self.node) and self.node.value.func.attr in ("manual_seed", "seed")

    def is_fresh(self, name: str) -> bool:
        """Whether nothing bound before can shine through (what ``x += 1`` reads is a need of its own)."""
        dotted = isinstance(self.node, ast.Import) and any(
            a.name.startswith(name + ".") and not a.asname for a in self.node.names
        )
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
            id, answer = given.get("id"), given.get("answer")
            if isinstance(id, ast.Constant) and not isinstance(answer, (ast.Starred, type(None))):
                yield id.value, answer


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
        elif _is_method_call(n):
            touches.add(_base(n.value.func))
        todo.extend(ast.iter_child_nodes(n))
    return binds - {"*"}, touches - binds - {""}


def _is_method_call(node) -> bool:
    """Whether the statement is ``x.method(...)`` alone, which may change x."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)


def _base(node) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return getattr(node, "id", "")


def loads(node) -> tuple[list[str], list[str]]:
    """(names read when the statement runs, names read when its functions are called), as the compiler scopes
    them.
    """
    now, later = set(), set()
    todo = [(_compiled([node]), now)]
    while todo:
        code, into = todo.pop()
        runs_on = not code.co_flags & 1  # neither a module nor a class body has CO_OPTIMIZED
        stored: set[str] = set()
        for step in dis.get_instructions(code):
            if step.opname == "STORE_NAME" and runs_on and not isinstance(node, CONDITIONAL):
                stored.add(step.argval)
            elif step.opname in LOADS and step.argval not in stored:
                into.add(step.argval)
        for inner in code.co_consts:
            if isinstance(inner, types.CodeType):
                at_once = not inner.co_flags & 1 or (inner.co_name[0] == "<" and inner.co_name != "<lambda>")
                todo.append((inner, into if at_once else later))
    return sorted(now), sorted(later)


def _compiled(nodes):
    module = ast.Module(list(nodes), [])
    return compile(module, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@lru_cache(maxsize=4096)
def parse(text: str) -> tuple[list[Statement], tuple[int, str] | None]:
    """(the statements of a cell, None), or ([], (line, what is wrong)) when it is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = _nodes(text)
            _compiled(nodes)
        return [Statement(node, "check" in text) for node in nodes], None
    except SyntaxError as error:
        return [], (error.lineno or 1, error.msg)
    # a null byte; a thousand brackets
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
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
    elif kind == "run_cell_magic" and len(given) == 3 and given[0] in WRITES:
        file = given[1].split()[-1:]
        return [_writes(file[0], given[2], node.lineno)] if file else [node]
    elif kind == "run_cell_magic" and len(given) == 3 and given[0] in RUNS_HERE:
        return [ast.increment_lineno(n, node.lineno) for n in _nodes(given[2])]
    return [node]


def _writes(file: str, text: str, line: int) -> ast.stmt:
    """What ``%%writefile helpers.py`` does."""
    write = f"__import__('pathlib').Path({file!r}).write_text({text!r}, 'utf-8')"
    return ast.increment_lineno(ast.parse(write).body[0], line - 1)
