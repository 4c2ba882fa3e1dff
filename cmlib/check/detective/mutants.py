"""The reference with one slip in its source: a plus for a minus, a root left out, a mean over the wrong
dimension.

Mutation testing, the other way round (DeMillo, Lipton & Sayward, 1978: programmers make simple slips): a
mutant that gives what the answer gives names the slip. `cmlib.check.slips` says which slips there are.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Callable
from functools import lru_cache

from cmlib.check.compare import Slip
from cmlib.check.detective import slips

NAMES = re.compile(r" \(where [^)]*\)|(?: with)? `\w+`(?: and `\w+`)*")  # of arguments, in a sentence
MOST, DEEPEST, ROUNDS = 800, 3, 20_000


@lru_cache(maxsize=256)
def mutants(function: Callable) -> tuple[tuple[Slip, Callable], ...]:
    """(slip, the function with it) for ``function`` and what it calls of the course, the likeliest first;
    none where the source is not to be had.
    """
    found = []
    for part in _functions(function):
        for slip, mutant in _of_one(part, tuple(inspect.signature(function).parameters)):
            found.append((slip, mutant if part is function else _rebuilt(function, part, mutant)))
    return tuple(sorted(found, key=lambda pair: slips.RANK.index(pair[0].kind))[:MOST])


def _functions(function, deep=0) -> list[Callable]:
    """``function``, and the plain functions of the course that it calls."""
    found = [function]
    if deep < DEEPEST:
        for _, called in _called(function):
            found += [one for one in _functions(called, deep + 1) if one not in found]
    return found


def _called(function) -> list[tuple[str, Callable]]:
    """[(name, function of the course)], a name with a dot where it is reached through its module."""
    found, code = [], getattr(function, "__code__", None)
    for name in code.co_names if code else ():
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType) and value.__name__.startswith("cmlib"):
            found += [(f"{name}.{part}", getattr(value, part)) for part in code.co_names
                      if _is_ours(getattr(value, part, None))]
        elif _is_ours(value):
            found.append((name, value))
    return found


def _is_ours(value) -> bool:
    return isinstance(value, types.FunctionType) and (value.__module__ or "").startswith("cmlib")


def _rebuilt(function, old, new) -> Callable:
    """``function`` as if ``new`` had stood where ``old`` stands, however deep."""
    space = dict(function.__globals__)
    for name, called in _called(function):
        other = new if called is old else _rebuilt(called, old, new) if old in _functions(called) else None
        if other is None:
            continue
        module, _, part = name.rpartition(".")
        if module:
            space[module] = types.SimpleNamespace(**(vars(space[module]) | {part: other}))
        else:
            space[name] = other
    again = types.FunctionType(function.__code__, space, function.__name__, function.__defaults__)
    again.__kwdefaults__ = function.__kwdefaults__
    return again


def _of_one(function, parameters) -> list[tuple[Slip, Callable]]:
    tree = _tree(function)
    if tree is None:
        return []
    scene, found, same, places = slips.scene(tree, parameters), [], {}, _places(tree)
    for place in places:
        for slip, other in slips.of(place[3], place[0], scene):
            mutant = _compiled(tree, function, [(place, other)])
            if mutant:
                found.append((slip, mutant))
                alike = same.setdefault((slip.kind, NAMES.sub("", slip)), {})
                alike.setdefault(id(place[3]), (slip, place, other))
    for slip, changes in _stale(places, scene):
        mutant = _compiled(tree, function, changes)
        found += [(slip, mutant)] if mutant else []
    for (kind, _), changes in same.items():  # the same slip wherever it can be made; two signs are two slips
        if 1 < len(changes) <= 12 and kind != "sign":
            first = next(iter(changes.values()))[0]
            mutant = _compiled(tree, function, [(place, other) for _, place, other in changes.values()])
            found += [(first, mutant)] if mutant else []
    return found


def _stale(places, scene):
    """(slip, two changes): a name that is set anew keeps its old value for one of its later readers."""
    for setting in places:
        node = setting[3]
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if not isinstance(target, ast.Name) or setting[1] != "body":
            continue
        kept = ast.Assign([ast.Name(f"{target.id}_before", ast.Store())], ast.Name(target.id, ast.Load()))
        known = target.id in scene.parameters
        which = f"`{target.id}`, as it was handed over," if known else "An earlier value"
        slip = Slip(f"{which} is used where a later value is wanted.", "argument")
        for reading in places:
            name = reading[3]
            later = isinstance(name, ast.Name) and isinstance(name.ctx, ast.Load) and name.id == target.id
            if later and name.lineno > node.end_lineno:
                yield slip, [(setting, ast.If(ast.Constant(True), [kept, node], [])),
                             (reading, ast.Name(f"{target.id}_before", ast.Load()))]


def _tree(function) -> ast.FunctionDef | None:
    if getattr(function, "__closure__", None):
        return None
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    if not isinstance(node, ast.FunctionDef):
        return None
    node.decorator_list, node.returns = [], None
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    for loop in [one for one in ast.walk(node) if isinstance(one, ast.While)]:
        loop.body.insert(0, ast.parse("_one_more_round()").body[0])
    return ast.fix_missing_locations(node)


def _places(tree) -> list[tuple]:
    """[(parent, field, index or None, node)] of everything in the body that can be replaced."""
    found, todo = [], list(reversed([(tree, "body", i, node) for i, node in enumerate(tree.body)]))
    while todo:
        parent, field, index, node = todo.pop()
        if _refuses(node):
            continue
        found.append((parent, field, index, node))
        for name, value in reversed(list(ast.iter_fields(node))):
            if isinstance(value, list):
                todo += [(node, name, i, part) for i, part in reversed(list(enumerate(value)))
                         if isinstance(part, ast.AST)]
            elif isinstance(value, ast.AST) and not isinstance(value, (ast.expr_context, ast.operator)):
                todo.append((node, name, None, value))
    return found


def _refuses(node) -> bool:
    """Bad input that is refused, a text for people, a docstring: no slip shows there."""
    if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr)):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    refusal = isinstance(node, ast.If) and not node.orelse
    return refusal and all(isinstance(one, ast.Raise) for one in node.body)


def _put(parent, field, index, node) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _compiled(tree, function, changes) -> Callable | None:
    """The function with other nodes at some places; the tree is as before afterwards."""
    for (parent, field, index, _), other in changes:
        ast.fix_missing_locations(other)
        _put(parent, field, index, other)
    try:
        return _made(tree, function)
    finally:
        for (parent, field, index, node), _ in reversed(changes):
            _put(parent, field, index, node)


def _made(tree, function) -> Callable | None:
    space = dict(function.__globals__)
    space["_one_more_round"] = _Rounds()
    try:
        code = compile(ast.Module([tree], []), "<slip>", "exec", 0, True)
        exec(code, space)  # noqa: S102 - of our own source
    except (SyntaxError, TypeError, ValueError):
        return None
    made = space[tree.name]
    made.__defaults__, made.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    made.__module__ = function.__module__
    return made


class _Rounds:
    """Ends a loop that a slip made endless."""

    def __init__(self):
        self.count, self.frame = 0, None

    def __call__(self):
        frame = sys._getframe(1)
        self.count = self.count + 1 if frame is self.frame else 0
        self.frame = frame
        if self.count > ROUNDS:
            self.frame = None
            raise RuntimeError("endless")
