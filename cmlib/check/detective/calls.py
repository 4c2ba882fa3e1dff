"""Slips in calls: another function, the wrong dimension, an argument left out or exchanged."""

from __future__ import annotations

import ast

from cmlib.check.detective.arithmetic import ONE, TINY, Made, binary, of_root
from cmlib.check.detective.words import ALONG, MISSING, MODULES, OTHERS, POOLS, Scene, a, called

KEPT = (None, "dim", "axis", "keepdim", "dtype", "generator", "strict", "device", "key")
FORMS = ("range", "clamp", "reshape", "view", "expand", "isinstance", "unflatten", "permute", "zip", "zeros")
FILLINGS = (("0", ast.Constant(0.0)), ("−1", ast.Constant(-1.0)), ("−10", ast.Constant(-10.0)),
            ("−100", ast.Constant(-100.0)), ("1", ast.Constant(1.0)))


def of_call(node, parent, tell: Scene) -> Made:
    name, method = called(node), isinstance(node.func, ast.Attribute)
    module = method and isinstance(node.func.value, ast.Name) and node.func.value.id in MODULES
    main = node.func.value if method and not module else node.args[0] if node.args else None
    if not method and len(node.args) > 1 and (name in tell.local or name.startswith("_")):
        yield from _own_step(node, tell)
    elif name in MISSING and main is not None and not isinstance(main, (ast.GeneratorExp, ast.Starred)):
        kind, word = MISSING[name]
        yield kind, f"the {word} is missing{tell.near(main)}", main
    if name == "sqrt":
        yield from of_root(node, parent, tell)
    yield from _outside(node, tell)
    if name == "len" and main is not None and not isinstance(parent, ast.Compare):
        for op, what in ((ast.Sub(), "small"), (ast.Add(), "large")):
            yield "shift", f"a length is one too {what}{tell.near(main)}", binary(node, op, ONE)
    kind, *others = OTHERS.get(name, ("",))
    for other in others:
        func = ast.Attribute(node.func.value, other, ast.Load()) if method else ast.Name(other, ast.Load())
        yield kind, f"{a(other)} stands where {a(name)} is wanted{tell.near(node)}", \
            ast.Call(func, node.args, node.keywords)
    two = name in ("maximum", "minimum") or (name in ("max", "min") and not method)
    if two and len(node.args) == 2 and (module or not method):
        for one in node.args:
            yield "step", f"a bound is missing{tell.near(node)}", one
    if name in ("log", "xlogy") and main is not None:
        for other in (*TINY[1:], 1e-4, 1e-9, 1e-10, 1e-15):
            *rest, inside = [main, *node.args[1:]] if module else [node.func.value]
            added = ast.Call(ast.Attribute(binary(inside, ast.Add(), ast.Constant(other)), "log", ast.Load()),
                             [], [])
            yield "constant", f"a small number is added inside a logarithm{tell.near(inside)}", \
                binary(rest[0], ast.Mult(), added) if rest else added
        if name == "xlogy":
            plain = binary(main, ast.Mult(), node.args[-1])
            yield "power", f"the logarithm is missing{tell.near(main)}", plain
    if name in ("mean", "sum") and method and not module:
        squared = ast.Call(ast.Attribute(main, "square", ast.Load()), [], [])
        yield "power", f"the {name} is one of squares{tell.near(main)}", \
            ast.Call(ast.Attribute(squared, name, ast.Load()), node.args, node.keywords)
    if name == "where" and len(node.args) == 3:
        for one in node.args[1:]:
            yield "step", f"one of two cases is treated as the other{tell.near(node)}", one
        yield "step", f"two cases are exchanged{tell.near(node)}", \
            ast.Call(node.func, [node.args[k] for k in (0, 2, 1)], [])
    if name in ALONG:
        yield from _dimensions(node, name, 1 if module or not method else 0, tell)
    if name in ("var", "std"):
        yield _unbiased(node)
    if name == "masked_fill":
        for text, filling in FILLINGS:
            yield "mask", f"what the mask hides is set to {text}, and that is not hidden{tell.near(main)}", \
                ast.Call(node.func, [*node.args[:1], filling], [])
    if name == "range":
        yield from _range(node)
    elif len(node.args) >= 2 and name not in FORMS:
        one, two, *rest = node.args
        if not isinstance(two, ast.Constant) and not isinstance(one, (ast.Starred, ast.Constant)):
            yield "argument", f"two inputs of one step are exchanged{tell.near(node)}", \
                ast.Call(node.func, [two, one, *rest], node.keywords)


def _outside(node, tell):
    """x + f(y) for f(x + y)."""
    for i, one in enumerate(node.args):
        if isinstance(one, ast.BinOp) and isinstance(one.op, (ast.Add, ast.Sub)):
            for kept, moved in ((one.left, one.right), (one.right, one.left)):
                if not isinstance(moved, ast.Constant):
                    inner = ast.Call(node.func, [*node.args[:i], kept, *node.args[i + 1:]], node.keywords)
                    yield "step", f"{tell(moved)} is added after a step, and must be before it", \
                        binary(inner, one.op, moved)


def _own_step(node, tell):
    """A function that is defined beside: left out, where one of its inputs could stand for its result."""
    texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    what = f"the step with {texts[0]!r}" if texts else "a step"
    for one in node.args:
        if not isinstance(one, (ast.Constant, ast.Starred, ast.JoinedStr)):
            yield "step", f"{what} is missing{tell.near(one)}", one


def _unbiased(node):
    given = [k for k in node.keywords if k.arg not in ("unbiased", "correction")]
    had = len(given) < len(node.keywords)
    right, wrong = ("n", "n − 1") if had else ("n − 1", "n")
    keywords = given if had else [*given, ast.keyword("unbiased", ast.Constant(False))]
    return ("constant", f"a variance is divided by {wrong}, and must be divided by {right}",
            ast.Call(node.func, node.args, keywords))


def _dimensions(node, name, first, tell):
    word = MISSING.get(name, ("", name))[1]
    places = [("args", i, one) for i, one in enumerate(node.args) if i >= first]
    places += [("keywords", i, k.value) for i, k in enumerate(node.keywords) if k.arg in ("dim", "axis")]
    for field, i, value in places:
        dims = _whole(value)
        if dims is None:
            continue
        for other in (0, 1, 2, -1, -2) if isinstance(dims, int) else _others(dims):
            if other != dims:
                yield "axis", f"the {word} runs over the wrong dimension{tell.near(node)}", \
                    _with(node, field, i, ast.parse(repr(other), mode="eval").body)
        if name in POOLS or name == "logsumexp":
            every = None if name in POOLS else ast.parse("(0, 1)", mode="eval").body
            yield "axis", f"the {word} runs over all dimensions at once{tell.near(node)}", \
                _with(node, field, i, every)
    kept = [keyword.arg == "keepdim" for keyword in node.keywords]
    if name in (*POOLS, "argmax", "argmin", "logsumexp") and places and not any(kept):
        yield "axis", f"the dimension of the {word} is kept: (n, 1) against (n,){tell.near(node)}", \
            ast.Call(node.func, node.args, [*node.keywords, ast.keyword("keepdim", ast.Constant(True))])
    for i, keyword in enumerate(node.keywords):
        if keyword.arg == "keepdim":
            yield "axis", (f"the dimension of the {word} is lost (keepdim=True), so that it meets another one"
                           f"{tell.near(node)}"), _with(node, "keywords", i, None)


def _whole(value):
    """The dimension or dimensions that a literal names, or None."""
    try:
        dims = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError):
        return None
    if isinstance(dims, int) and not isinstance(dims, bool):
        return dims
    whole = isinstance(dims, (tuple, list)) and dims and all(type(d) is int for d in dims)
    return tuple(dims) if whole else None


def _others(dims):
    yield from ((d,) for d in dims if len(dims) > 1)
    yield tuple(d - 1 for d in dims)
    yield tuple(d + 1 for d in dims)
    yield (0, *dims)
    yield (1, *dims) if 1 not in dims else (0, *dims)


def _with(node, field, i, value):
    """The call with another argument at a place, or none."""
    args, keywords = list(node.args), list(node.keywords)
    if field == "args":
        args = args[:i] + ([value] if value is not None else []) + args[i + 1:]
    else:
        new = [ast.keyword(keywords[i].arg, value)] if value is not None else []
        keywords = keywords[:i] + new + keywords[i + 1:]
    if value is None and called(node) in POOLS:
        keywords = [k for k in keywords if k.arg != "keepdim"]
    return ast.Call(node.func, args, keywords)


def _range(node):
    start, stop = node.args[:2] if len(node.args) > 1 else (ast.Constant(0), node.args[0])
    rest = node.args[2:]
    for op, what in ((ast.Sub(), "smaller"), (ast.Add(), "larger")):
        yield "shift", f"a range is off by one: its end is one {what} than wanted", \
            ast.Call(node.func, [start, binary(stop, op, ONE), *rest], [])
        yield "shift", f"a range is off by one: its beginning is one {what} than wanted", \
            ast.Call(node.func, [binary(start, op, ONE), stop, *rest], [])
    turned = ast.Call(ast.Name("reversed", ast.Load()), [node], [])
    yield "order", "a loop runs in the other direction", turned


def of_keyword(node, parent, tell: Scene) -> Made:
    if node.arg in KEPT:
        return
    if node.arg == "reduction":
        for other in ("mean", "sum", "none"):
            yield "reduction", f"the reduction over the rows is {other!r}, and must be another", \
                ast.keyword(node.arg, ast.Constant(other))
    elif node.arg == "eps":
        for other in TINY:
            what = "is missing" if other == 0 else "has another size"
            yield "constant", f"the small number ε {what}", ast.keyword("eps", ast.Constant(other))
    elif isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool):
        yield "argument", f"`{node.arg}` is {not node.value.value}, and must be {node.value.value}", \
            ast.keyword(node.arg, ast.Constant(not node.value.value))
    else:
        for other in (0, 1):
            yield "argument", f"`{node.arg}` has no effect{tell.near(node.value)}: it is as if {other}", \
                ast.keyword(node.arg, ast.Constant(other))
