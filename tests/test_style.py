"""What ruff has no rule for: code that people read runs one thing at a time."""

import ast

import pytest
from conftest import ROOT

FOLDERS = ("cmlib", "recipes", "benchmarks")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def found(tree):
    """(line, what is wrong there) for every statement that does too much at once."""
    for node in ast.walk(tree):
        hidden = []
        if isinstance(node, ast.Call):
            hidden = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Subscript):
            hidden = [node.slice]
        for inner in (inner for part in hidden for inner in ast.walk(part)):
            if isinstance(inner, ast.NamedExpr):
                yield inner.lineno, "an assignment inside an argument or a subscript"
        if isinstance(node, (ast.With, ast.AsyncWith)) and len(node.items) > 3:
            yield node.lineno, "more than three context managers in one with"
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Tuple):
            yield node.lineno, "statements joined to a tuple"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_one_thing_at_a_time(path):
    wrong = [f"line {line}: {what}" for line, what in found(ast.parse(path.read_text("utf-8")))]
    assert not wrong, f"{path.relative_to(ROOT)}, " + "; ".join(wrong)


@pytest.mark.parametrize("text", [
    "f(x := 3)", "f(1, key=g(x := 3))", "a[x := 3]", "with a, b, c, d: pass", "f(1), g(2)",
    "f(n for n in m if (x := n))",
])
def test_too_much_at_once_is_found(text):
    assert len(list(found(ast.parse(text)))) >= 1


@pytest.mark.parametrize("text", [
    "if (x := f()): pass", "a, b = f(), g()", "with a, b, c: pass", "return_, y = a[i], f(2)",
    "[y for x in z if (y := f(x))]",
])
def test_what_is_one_thing_passes(text):
    assert not list(found(ast.parse(text)))
