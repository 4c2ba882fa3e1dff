"""Slips in what stands where: indices and cuts, names, cases, loops, steps left out."""

from __future__ import annotations

import ast
from itertools import permutations

from cmlib.check.detective.arithmetic import ONE, Made, binary
from cmlib.check.detective.words import Scene

PLAIN = ast.Slice(None, None, None)


def of_subscript(node, parent, tell: Scene) -> Made:
    if not isinstance(node.ctx, ast.Load):
        return
    inner = node.slice
    if isinstance(inner, (ast.Compare, ast.Name, ast.BoolOp, ast.BinOp, ast.Call, ast.UnaryOp)):
        yield "step", f"a selection is missing: all of it is used{tell.near(node)}", node.value
    if isinstance(inner, ast.Slice):
        yield "shift", f"a cut is missing{tell.near(node.value)}", node.value
    if isinstance(inner, ast.Tuple):
        yield from _indices(node, inner.elts, tell)


def _indices(node, parts, tell):
    plain = [isinstance(p, ast.Slice) and p.lower is p.upper is p.step is None for p in parts]
    none = [isinstance(p, ast.Constant) and p.value is None for p in parts]
    if any(none) and all(a or b for a, b in zip(plain, none, strict=True)):
        count = sum(none)  # a mask that is laid along another dimension
        seen = {tuple(none)}
        for order in sorted(set(permutations([*none, False]))):
            trimmed = list(order)
            while trimmed and not trimmed[-1]:
                trimmed.pop()
            if tuple(trimmed) not in seen and sum(trimmed) == count:
                seen.add(tuple(trimmed))
                new = [ast.Constant(None) if one else PLAIN for one in trimmed]
                yield "axis", f"the new dimension (None) stands at the wrong place{tell.near(node.value)}", \
                    ast.Subscript(node.value, ast.Tuple(new, ast.Load()), ast.Load())
    elif len(parts) == 2 and not any(plain):
        yield "transpose", f"two indices are exchanged{tell.near(node.value)}", \
            ast.Subscript(node.value, ast.Tuple(parts[::-1], ast.Load()), ast.Load())


def of_slice(node, parent, tell: Scene) -> Made:
    for field, what, lost in (("lower", "begins", "beginning"), ("upper", "ends", "end")):
        bound = getattr(node, field)
        if bound is None:
            continue
        for op, when in ((ast.Add(), "late"), (ast.Sub(), "early")):
            new = {"lower": node.lower, "upper": node.upper, field: binary(bound, op, ONE)}
            yield "shift", f"a cut {what} one place too {when}", ast.Slice(step=node.step, **new)
        new = {"lower": node.lower, "upper": node.upper, field: None}
        yield "shift", f"a cut has no {lost}", ast.Slice(step=node.step, **new)


def of_attribute(node, parent, tell: Scene) -> Made:
    if node.attr in ("T", "mT") and isinstance(node.ctx, ast.Load):
        yield "transpose", f"a transpose is missing{tell.near(node.value)}", node.value


def of_name(node, parent, tell: Scene) -> Made:
    if node.id not in tell.own or not isinstance(node.ctx, ast.Load) or (
            isinstance(parent, ast.Call) and parent.func is node):
        return
    if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Mult) and node.id in tell.parameters:
        yield "argument", f"1 − `{node.id}` stands where `{node.id}` is wanted", binary(ONE, ast.Sub(), node)
    for other in tell.own:
        if other != node.id and {other, node.id} <= set(tell.parameters):
            yield "argument", f"`{other}` is used where `{node.id}` is wanted", ast.Name(other, ast.Load())


def of_sequence(node, parent, tell: Scene) -> Made:
    if not isinstance(getattr(node, "ctx", None), ast.Load) or not 2 <= len(node.elts) <= 4 or isinstance(
            parent, (ast.Subscript, ast.For, ast.comprehension)):
        return
    if any(isinstance(e, ast.Constant) for e in node.elts) and not isinstance(parent, ast.Return):
        return
    yield "order", "the parts are in the wrong order", type(node)(node.elts[::-1], ast.Load())
    if isinstance(parent, ast.Call):
        for i, part in enumerate(node.elts):
            yield "step", f"a part is missing: {tell(part)}", \
                type(node)(node.elts[:i] + node.elts[i + 1:], ast.Load())


def of_choice(node, parent, tell: Scene) -> Made:
    near = tell.near(node.test)
    yield "step", f"one of two cases is treated as the other{near}", node.body
    yield "step", f"a special case is not treated{near}", node.orelse
    yield "step", f"two cases are exchanged{near}", ast.IfExp(node.test, node.orelse, node.body)


def of_branch(node, parent, tell: Scene) -> Made:
    for always, what in ((False, "a special case is not treated"),
                         (True, "what belongs to a special case is always done")):
        yield "step", f"{what}{tell.near(node.test)}", ast.If(ast.Constant(always), node.body, node.orelse)


def of_update(node, parent, tell: Scene) -> Made:
    near = tell.near(node.value)
    if isinstance(node.target, ast.Name):
        yield "reduction", f"only the last is kept, and all must be brought together{near}", \
            ast.Assign([ast.Name(node.target.id, ast.Store())], node.value)
    others = {
        ast.Add: [(ast.Sub, "is subtracted from, and must be added to")],
        ast.Sub: [(ast.Add, "is added to, and must be subtracted from")],
        ast.Mult: [(ast.Add, "is added to, and must be multiplied")],
        ast.Div: [(ast.Mult, "is multiplied, and must be divided")],
    }
    for other, what in others.get(type(node.op), ()):
        yield "sign", f"a running value {what}{near}", ast.AugAssign(node.target, other(), node.value)
    yield "step", f"a running value is never updated{near}", ast.Pass()


def of_assignment(node, parent, tell: Scene) -> Made:
    target = node.targets[0]
    if isinstance(target, ast.Name):
        read = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        if target.id in read:
            yield "step", f"a step is left out{tell.near(node.value)}", ast.Pass()
    elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple) \
            and len(target.elts) == len(node.value.elts):
        steps = [ast.Assign([one], value) for one, value in zip(target.elts, node.value.elts, strict=True)]
        yield "order", "two values are set one after the other where both need the old ones", \
            ast.If(ast.Constant(True), steps, [])


def of_loop(node, parent, tell: Scene) -> Made:
    yield "step", "a loop ends after its first round (is its return inside it?)", \
        ast.For(node.target, node.iter, [*node.body, ast.Break()], [])
    if isinstance(node.target, ast.Name) and isinstance(node.iter, ast.Call) and len(node.iter.args) == 2:
        first = ast.Assign([node.target], node.iter.args[0])
        yield "step", "what changes from round to round stays as it is in the first", \
            ast.For(node.target, node.iter, [first, *node.body], node.orelse)
    if isinstance(node.iter, ast.Name):
        rest = ast.Subscript(node.iter, ast.Slice(ONE, None, None), ast.Load())
        turned = ast.Call(ast.Name("reversed", ast.Load()), [node.iter], [])
        yield "shift", "a loop leaves out the first round", ast.For(node.target, rest, node.body, node.orelse)
        yield "order", "a loop runs in the other direction", \
            ast.For(node.target, turned, node.body, node.orelse)


def of_filter(node, parent, tell: Scene) -> Made:
    if node.ifs:
        yield "step", f"a condition is missing: nothing is left out{tell.near(node.ifs[0])}", \
            ast.comprehension(node.target, node.iter, [], node.is_async)
