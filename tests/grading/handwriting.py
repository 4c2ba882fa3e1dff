"""The answers of tests/answers as thirty different people would have written them: text of cells, never
executed here.

`wording` gives one answer other names, temporaries and orders, so that two honest learners do not look like
copies of one another; `renamed` is what a copier does: other names, the same steps.
"""

from __future__ import annotations

import ast
import builtins
import random
import re
from functools import lru_cache
from pathlib import Path

ANSWERS = Path(__file__).resolve().parent.parent / "answers"
WORDS = [
    "out",
    "temp",
    "first",
    "second",
    "part",
    "total",
    "value",
    "base",
    "extra",
    "left",
    "right",
    "inner",
    "outer",
    "piece",
    "term",
    "scaled",
    "result",
    "mixed",
    "share",
    "rest",
    "known",
    "start",
    "here",
    "there",
    "one",
    "two",
    "both",
    "other",
    "given",
    "wanted",
]


class Answers:
    """RIGHT and WRONG of one lesson as source text."""

    def __init__(self, lesson: str):
        text = (ANSWERS / f"lesson{lesson}.py").read_text("utf-8")
        tree = ast.parse(text)
        self.imports = "\n".join(
            ast.unparse(n) for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))
        )
        self.functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        tables = {
            n.targets[0].id: n.value
            for n in tree.body
            if isinstance(n, ast.Assign) and isinstance(n.value, ast.Dict)
        }
        self.right = {
            k.value: list(v.elts) for k, v in zip(tables["RIGHT"].keys, tables["RIGHT"].values, strict=True)
        }
        self.wrong = {k.value: [pair.elts[0] for pair in v.elts]
                      for k, v in zip(tables["WRONG"].keys, tables["WRONG"].values, strict=True)}

    def code(self, expression: ast.expr, name: str) -> str:
        """The answer as a learner's cell holds it: helpers first, then ``def name`` (or ``name = …``)."""
        own = expression.id if isinstance(expression, ast.Name) and expression.id in self.functions else None
        if own:
            node = self.functions[own]
        elif isinstance(expression, ast.Lambda):
            node = ast.FunctionDef(name, expression.args, [ast.Return(expression.body)], [], type_params=[])
        else:
            node = ast.Assign([ast.Name(name)], expression)
        helpers = [ast.unparse(self.functions[h]) for h in sorted(self._helpers(node, {own} - {None}))]
        text = ast.unparse(ast.fix_missing_locations(node))
        return "\n\n".join([*helpers, re.sub(rf"\b{own}\b", name, text) if own else text])

    def _helpers(self, node, seen) -> set[str]:
        used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & self.functions.keys() - seen
        return used.union(*(self._helpers(self.functions[h], seen | used) for h in used))


@lru_cache
def answers(lesson: str) -> Answers:
    return Answers(lesson)


class _Names(ast.NodeTransformer):
    """Other names for what each function binds."""

    def __init__(self, rng: random.Random):
        self.rng = rng

    def visit_FunctionDef(self, node):
        inner = {child.name for child in ast.walk(node) if isinstance(child, ast.FunctionDef)}
        bound = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
        bound |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | set(dir(builtins))
        fresh = self.rng.sample(
            [w for w in WORDS if w not in used], min(len(bound), len(WORDS) - len(used & set(WORDS)))
        )
        new = dict(zip(sorted(bound - inner), fresh, strict=False))
        for child in ast.walk(node):
            if isinstance(child, ast.arg):
                child.arg = new.get(child.arg, child.arg)
            elif isinstance(child, ast.Name):
                child.id = new.get(child.id, child.id)
        return node


class _Steps(ast.NodeTransformer):
    """Sub-expressions become lines of their own; factors change places."""

    def __init__(self, rng: random.Random):
        self.rng, self.before, self.count, self.share = rng, None, 0, rng.uniform(0.2, 0.9)

    def _statement(self, node):
        self.before = before = []
        node.value = node.value and self.visit(node.value)
        self.before = None
        return [*before, node]

    visit_Return = visit_Assign = visit_AugAssign = _statement

    def _opaque(self, node):
        """Evaluated later, often or never: left alone."""
        return node

    visit_Lambda = visit_IfExp = visit_BoolOp = visit_ListComp = visit_GeneratorExp = visit_SetComp = (
        visit_DictComp
    ) = _opaque

    def _hoist(self, node):
        self.generic_visit(node)
        if self.before is None or self.rng.random() > self.share:
            return node
        self.count += 1
        name = f"t{self.count}"
        self.before.append(ast.Assign([ast.Name(name, ast.Store())], node))
        return ast.Name(name, ast.Load())

    def visit_Call(self, node):
        return (
            node
            if any(isinstance(a, (ast.Starred, ast.GeneratorExp)) for a in node.args)
            else self._hoist(node)
        )

    def visit_BinOp(self, node):
        if isinstance(node.op, ast.Mult) and self.rng.random() < 0.5:
            node.left, node.right = node.right, node.left
        return self._hoist(node)


def _keywords_kept(code: str) -> bool:
    """Renaming arguments is safe only where nobody passes them by keyword."""
    tree = ast.parse(code)
    functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    return not any(
        isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in functions and n.keywords
        for n in ast.walk(tree)
    )


HABITS = [
    "assert {0} is not None",
    "print(type({0}))",
    "shape = getattr({0}, 'shape', None)\nassert shape is None or len(shape) < 9",
    "seen = []\nseen.append(type({0}).__name__)",
    "if {0} is None:\n    raise ValueError('nothing given')",
    "debug = False\nif debug:\n    print({0}, {1})",
    "for thing in ({0}, {1}):\n    assert thing is not ...",
    "try:\n    size = len({0})\nexcept TypeError:\n    size = 1",
    "note = f'{{type({1}).__name__}}'",
]


def _with_habits(tree, rng):
    """Lines that change nothing and that everyone writes in their own way."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.args.args:
            first, last = node.args.args[0].arg, node.args.args[-1].arg
            for habit in rng.sample(HABITS, rng.randint(1, 3)):
                start = (
                    1
                    if isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
                    else 0
                )
                node.body[start:start] = ast.parse(habit.format(first, last)).body
    return tree


def wording(code: str, rng: random.Random) -> str:
    """The same computation in other steps and under other names."""
    tree = _Steps(rng).visit(_with_habits(ast.parse(code), rng))
    return renamed(ast.unparse(ast.fix_missing_locations(tree)), rng)


def renamed(code: str, rng: random.Random) -> str:
    """The same steps under other names."""
    return ast.unparse(_Names(rng).visit(ast.parse(code))) if _keywords_kept(code) else code
