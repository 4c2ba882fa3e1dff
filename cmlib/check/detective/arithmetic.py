"""Slips in arithmetic: signs, factors, fractions, powers, comparisons, numbers."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

from cmlib.check.detective.words import Scene

Made = Iterator[tuple[str, str, ast.AST]]  # (kind, sentence, what stands in the place)

ONE = ast.Constant(1)
COMPARED = {  # of two, the first counts the bound on the other side
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
}  # fmt: skip
TINY = (0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-3)


def binary(left, op, right) -> ast.BinOp:
    return ast.BinOp(left, op, right)


def of_binary(node, parent, tell: Scene) -> Made:
    a, b = node.left, node.right
    match node.op:
        case ast.Add() | ast.Sub():
            yield from _sum(node, a, b, tell)
        case ast.Mult():
            yield from _product(node, a, b, tell)
        case ast.Div():
            yield from _fraction(node, a, b, tell)
        case ast.FloorDiv():
            yield "rounding", "a division must be rounded down", binary(a, ast.Div(), b)
            yield "factor", f"the division by {tell(b)} is missing", a
        case ast.Pow():
            yield from _power(node, a, b, tell)
        case ast.MatMult():
            yield from _matrices(node, a, b, tell)
        case ast.BitAnd() | ast.BitOr():
            other = ast.BitOr() if isinstance(node.op, ast.BitAnd) else ast.BitAnd()
            yield "step", f"“and” and “or” are exchanged{tell.near(node)}", binary(a, other, b)
            yield "step", f"a condition is missing: {tell(b)}", a
            yield "step", f"a condition is missing: {tell(a)}", b


def _sum(node, a, b, tell):
    if isinstance(node.op, ast.Add):
        yield "sign", f"{tell(b)} is subtracted, and must be added", binary(a, ast.Sub(), b)
        yield "sign", f"{tell(a)} is subtracted, and must be added", binary(b, ast.Sub(), a)
        yield "step", f"{tell(b)} is not added", a
        yield "step", f"{tell(a)} is not added", b
        yield "factor", f"you multiply by {tell(b)} where it is added", binary(a, ast.Mult(), b)
    else:
        one = isinstance(a, ast.Constant) and a.value == 1
        yield "sign", f"{tell(b)} is added, and must be subtracted", binary(a, ast.Add(), b)
        yield "sign", f"a difference is the wrong way round{tell.near(node)}", binary(b, ast.Sub(), a)
        yield "step", f"{tell(b)} is not subtracted", a
        plain = f"{tell(b)} stands plain where 1 minus it is wanted"
        yield "step", plain if one else f"of a difference only {tell(b)} is there", b
        if not isinstance(a, ast.Constant):
            turned = binary(ast.UnaryOp(ast.USub(), a), ast.Sub(), b)
            yield "sign", f"{tell(a)} enters with the wrong sign", turned
    yield from _misplaced_factor(node, a, b, tell)
    yield from _exchanged_numbers(node, a, b)
    for name in tell.parameters[-3:]:
        factor = ast.Name(name, ast.Load())
        if name in tell.own and name in tell.operands and not isinstance(b, ast.Constant):
            yield "factor", f"the factor `{name}` is too many{tell.near(b)}", \
                binary(a, node.op, binary(b, ast.Mult(), factor))
            yield "factor", f"the factor `{name}` is too many{tell.near(a)}", \
                binary(binary(a, ast.Mult(), factor), node.op, b)


def _misplaced_factor(node, a, b, tell):
    """f·(a + b) and f·a + b for a + f·b."""
    for one, other in ((a, b), (b, a)):
        if isinstance(one, ast.BinOp) and isinstance(one.op, ast.Mult):
            for factor, kept in ((one.left, one.right), (one.right, one.left)):
                both = binary(kept, node.op, b) if one is a else binary(a, node.op, kept)
                moved = binary(other, ast.Mult(), factor)
                what = f"the factor {tell(factor, 'of a term')}"
                yield "factor", f"{what} reaches too much: parentheses are wrong", \
                    binary(both, ast.Mult(), factor)
                yield "factor", f"{what} stands at the wrong term", \
                    binary(kept, node.op, moved) if one is a else binary(moved, node.op, kept)


def _exchanged_numbers(node, a, b):
    """0.9 m + 0.1 g for 0.1 m + 0.9 g."""
    numbers = [[n for n in ast.walk(side) if isinstance(n, ast.Constant)
                and isinstance(n.value, (int, float))] for side in (a, b)]
    if all(len(found) == 1 for found in numbers) and numbers[0][0].value != numbers[1][0].value:
        one, two = (found[0] for found in numbers)
        other = copy.deepcopy(node)
        for old, new in zip(ast.walk(node), ast.walk(other), strict=True):
            if old in (one, two):
                new.value = two.value if old is one else one.value
        yield "constant", f"{one.value} and {two.value} are exchanged", other


def _product(node, a, b, tell):
    yield "factor", f"the factor {tell(b, 'of a term')} is missing", a
    yield "factor", f"the factor {tell(a, 'of a term')} is missing", b
    yield "factor", f"you divide by {tell(b)} where you must multiply", binary(a, ast.Div(), b)
    yield "factor", f"you divide by {tell(a)} where you must multiply", binary(b, ast.Div(), a)
    yield "step", f"{tell(b)} is added where it is a factor", binary(a, ast.Add(), b)
    yield "power", f"the factor {tell(b, 'of a term')} enters twice", binary(node, ast.Mult(), b)
    yield "power", f"the factor {tell(a, 'of a term')} enters twice", binary(node, ast.Mult(), a)
    for one, other in ((a, b), (b, a)):
        if isinstance(one, ast.BinOp) and isinstance(one.op, (ast.Add, ast.Sub)):
            reaches = f"the factor {tell(other, 'of a term')} reaches only a part: parentheses are missing"
            yield "factor", reaches, binary(one.left, one.op, binary(one.right, ast.Mult(), other))
            if not isinstance(one.left, ast.Constant):
                yield "factor", reaches, binary(binary(one.left, ast.Mult(), other), one.op, one.right)


def _fraction(node, a, b, tell):
    yield "factor", f"the division by {tell(b)} is missing", a
    yield "factor", f"you multiply by {tell(b)} where you must divide", binary(a, ast.Mult(), b)
    yield "factor", f"a fraction is upside down{tell.near(node)}", binary(b, ast.Div(), a)
    yield "factor", f"you divide twice by {tell(b)}", binary(node, ast.Div(), b)
    yield "rounding", f"a division is rounded down{tell.near(node)}", binary(a, ast.FloorDiv(), b)
    for off, what in ((ast.Sub(), "less"), (ast.Add(), "more")):
        yield "shift", f"you divide by one {what} than {tell(b)}", binary(a, ast.Div(), binary(b, off, ONE))
    if isinstance(a, ast.BinOp) and isinstance(a.op, (ast.Add, ast.Sub)):
        sentence = f"the division by {tell(b)} reaches only a part: parentheses are missing"
        yield "factor", sentence, binary(a.left, a.op, binary(a.right, ast.Div(), b))
        yield "factor", sentence, binary(binary(a.left, ast.Div(), b), a.op, a.right)
    if isinstance(b, ast.BinOp) and isinstance(b.op, (ast.Add, ast.Sub, ast.Mult)):
        yield "factor", f"of a divisor only a part divides: parentheses are missing{tell.near(b)}", \
            binary(binary(a, ast.Div(), b.left), b.op, b.right)
        yield from _out_of_the_root(a, b, tell)


def _out_of_the_root(a, b, tell):
    """x / (√v + ε) for x / √(v + ε), and the reverse."""
    root = b.left if isinstance(b.op, ast.Add) and isinstance(b.left, ast.Call) else None
    if getattr(getattr(root, "func", None), "attr", "") == "sqrt" and isinstance(b.right, ast.Constant):
        inside = binary(b.left.func.value, ast.Add(), b.right)
        yield "constant", "the small number ε stands under the root, and must be added after it", \
            binary(a, ast.Div(), binary(inside, ast.Pow(), ast.Constant(0.5)))


def of_root(node, parent, tell: Scene) -> Made:
    """√(v + ε), as a method: ε after the root instead."""
    inner = node.func.value if isinstance(node.func, ast.Attribute) else None
    if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Add):
        for kept, moved in ((inner.left, inner.right), (inner.right, inner.left)):
            root = ast.Call(ast.Attribute(kept, "sqrt", ast.Load()), [], [])
            small = isinstance(moved, ast.Constant)
            yield "constant", "the small number ε is added after the root, and must stand under it" if small \
                else f"{tell(moved)} stands outside the root, and must stand under it", \
                binary(root, ast.Add(), moved)


def _power(node, a, b, tell):
    exponent = b.operand if isinstance(b, ast.UnaryOp) else b
    value = exponent.value if isinstance(exponent, ast.Constant) else None
    word = {0.5: "square root", 2: "square"}.get(value, f"exponent {tell(b)}")
    yield "power", f"the {word} is missing{tell.near(a)}", a
    yield "power", f"the exponent is a factor in yours{tell.near(a)}", binary(a, ast.Mult(), b)
    if value == 2:
        yield "power", f"an absolute value stands where a square is wanted{tell.near(a)}", \
            ast.Call(ast.Name("abs", ast.Load()), [a], [])
        yield "power", f"an exponent is 3, and must be 2{tell.near(a)}", binary(a, ast.Pow(), ast.Constant(3))
    yield "power", f"an exponent has the wrong sign{tell.near(a)}", \
        binary(a, ast.Pow(), ast.UnaryOp(ast.USub(), b))
    if value is None:
        for other, what in ((ast.Sub(), "small"), (ast.Add(), "large")):
            yield "shift", f"an exponent is one too {what}{tell.near(node)}", \
                binary(a, ast.Pow(), binary(b, other, ONE))


def _matrices(node, a, b, tell):
    yield "transpose", f"the two sides of a matrix product are exchanged{tell.near(node)}", \
        binary(b, ast.MatMult(), a)
    for left, right in ((a, _turned(b)), (_turned(a), b)):
        yield "transpose", f"a transpose is missing or too many in a matrix product{tell.near(node)}", \
            binary(left, ast.MatMult(), right)
    yield "step", f"a product entry by entry stands where a matrix product is wanted{tell.near(node)}", \
        binary(a, ast.Mult(), b)
    yield "step", f"a matrix product is missing: that with {tell(b)}", a
    yield "step", f"a matrix product is missing: that with {tell(a)}", b


def _turned(node):
    return ast.Attribute(node, "mT", ast.Load())


def of_unary(node, parent, tell: Scene) -> Made:
    if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield "sign", f"a minus sign is missing{tell.near(node)}", node.operand
    elif isinstance(node.op, (ast.Not, ast.Invert)):
        yield "sign", f"a condition is turned round{tell.near(node)}", node.operand


def of_comparison(node, parent, tell: Scene) -> Made:
    if len(node.ops) != 1:
        return
    kind = type(node.ops[0])
    for other in COMPARED.get(kind, ()):
        equal = len(COMPARED[kind]) == 2 and other is COMPARED[kind][0]
        what = "a bound is counted on the wrong side (< or ≤)" if equal else "a condition is turned round"
        yield ("shift" if equal else "sign"), f"{what}{tell.near(node)}", \
            ast.Compare(node.left, [other()], node.comparators)


def of_logic(node, parent, tell: Scene) -> Made:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield "step", f"“and” and “or” are exchanged{tell.near(node)}", ast.BoolOp(other, node.values)
    for i, value in enumerate(node.values):
        rest = node.values[:i] + node.values[i + 1:]
        yield "step", f"a condition is missing{tell.near(value)}", \
            rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def of_constant(node, parent, tell: Scene) -> Made:
    value = node.value
    if isinstance(value, bool):
        yield "argument", f"a switch is {not value}, and must be {value}", ast.Constant(not value)
    elif isinstance(value, str):
        for other in tell.texts:
            if other != value:
                yield "argument", f"{other!r} is used where {value!r} is wanted", ast.Constant(other)
    elif isinstance(value, float) and 0 < abs(value) <= 1e-3:
        for other in TINY:
            if other != value:
                what = "is missing" if other == 0 else "has another size"
                yield "constant", f"the small number ε {what}", ast.Constant(other)
    elif isinstance(value, int):
        for other, what in ((value + 1, "larger"), (value - 1, "smaller")):
            yield "shift", f"a number or a place is off by one: yours is one {what}", ast.Constant(other)
    elif isinstance(value, float) and 0 < value < 1:
        yield "constant", f"{value} and {1 - value:.4g} are exchanged", ast.Constant(1 - value)
