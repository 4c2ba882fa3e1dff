"""The slips that `cmlib.check.detective.mutants` makes: for every kind of expression what people write in its
place.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from cmlib.check.compare import Slip
from cmlib.check.detective import arithmetic, calls, flow
from cmlib.check.detective.words import Scene

# what is said first where several slips explain an answer
RANK = ("sign", "mask", "axis", "reduction", "transpose", "power", "factor", "argument", "constant", "order",
        "step", "shift", "rounding", "size")
MAKERS = {
    ast.BinOp: arithmetic.of_binary, ast.UnaryOp: arithmetic.of_unary, ast.Compare: arithmetic.of_comparison,
    ast.BoolOp: arithmetic.of_logic, ast.Constant: arithmetic.of_constant, ast.Call: calls.of_call,
    ast.keyword: calls.of_keyword, ast.Subscript: flow.of_subscript, ast.Slice: flow.of_slice,
    ast.Attribute: flow.of_attribute, ast.Name: flow.of_name, ast.Tuple: flow.of_sequence,
    ast.List: flow.of_sequence, ast.IfExp: flow.of_choice, ast.If: flow.of_branch,
    ast.AugAssign: flow.of_update, ast.Assign: flow.of_assignment, ast.For: flow.of_loop,
    ast.comprehension: flow.of_filter,
}  # fmt: skip
OF_A_VALUE = (ast.BinOp, ast.UnaryOp, ast.Call)


def of(node, parent, scene: Scene) -> Iterator[tuple[Slip, ast.AST]]:
    """(slip, what stands in the place of ``node`` then)."""
    make = MAKERS.get(type(node))
    if make:
        yield from _slips(make(node, parent, scene))
    is_read = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    value = scene.local.get(node.id) if is_read else None
    if isinstance(value, OF_A_VALUE):  # the slip is made where the value is used, and only there
        yield from _slips(MAKERS[type(value)](value, parent, scene))


def _slips(made):
    for kind, sentence, other in made:
        yield Slip(f"{sentence[0].upper()}{sentence[1:]}.", kind), other


def scene(tree: ast.FunctionDef, parameters: tuple[str, ...]) -> Scene:
    """What is known of a function before slips are made in it."""
    own = tuple(argument.arg for argument in (*tree.args.args, *tree.args.kwonlyargs))
    local, texts = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            local[node.id] = None
        elif isinstance(node, ast.FunctionDef) and node is not tree:
            local[node.name] = "function"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 40:
            texts.append(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            reads, sets = (sum(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, how)
                               for n in ast.walk(tree)) for how in (ast.Load, ast.Store))
            itself = any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node.value))
            if sets == 1 and reads > 1 and not itself and name not in own:
                local[name] = node.value
    operands = frozenset(n.id for node in ast.walk(tree) if isinstance(node, ast.BinOp)
                         for n in (node.left, node.right) if isinstance(n, ast.Name))
    return Scene(parameters, own, local, tuple(dict.fromkeys(texts)), operands, _origins(tree, parameters))


def _origins(tree, parameters) -> dict[str, list[str]]:
    """Local name → the parameters that what is assigned to it holds, directly or by way of other names."""
    origins = {name: [name] for name in parameters}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.For)):
            loop = isinstance(node, ast.For)
            target, value = (node.target, node.iter) if loop else (node.targets[0], node.value)
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = zip(target.elts, value.elts, strict=False)
            for one, its in pairs:
                read = [name for n in ast.walk(its) if isinstance(n, ast.Name)
                        for name in origins.get(n.id, ())]
                for n in ast.walk(one):
                    if isinstance(n, ast.Name) and n.id not in parameters:
                        origins[n.id] = list(dict.fromkeys([*origins.get(n.id, ()), *read]))
    return origins
