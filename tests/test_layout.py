"""The house: which part of cmlib may import which, and how much there is to read."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

import cmlib
from cmlib.authoring import curriculum

ROOT = Path(cmlib.__file__).parent
LINE = (  # each part imports only itself and what stands in an earlier row
    ("data",),
    ("worlds", "datasets", "layers"),
    ("encoders",),
    ("fusion",),
    ("models",),
    ("losses",),
    ("tasks",),
    ("training",),
    ("evaluation",),
    ("delivery",),
    ("course",),
)
PLACE = {part: row for row, parts in enumerate(LINE) for part in parts}
FREE = {"check", "grade", "authoring", "cli"}  # may import anything; the line imports none of them
EXEMPT = {"__init__", "_old_names"}  # the root and its lazy names


def part_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").parts[0]


def imported(file: Path) -> list[tuple[int, str]]:
    """(line, module) of every import of something in cmlib, also of those inside functions."""
    package, found = ("cmlib", *file.relative_to(ROOT).parent.parts), []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *filter(None, [node.module])])
            names = [f"cmlib.{name.name}" for name in node.names]
            found += [(node.lineno, name) for name in (names if base == "cmlib" else [base])]
    lazy = {f"cmlib.{name}": home for name, home in (cmlib._PARTS | cmlib._HOMES).items()}
    return [(line, lazy.get(module, module)) for line, module in found if module.startswith("cmlib.")]


def back(file: Path) -> list[str]:
    """One sentence for every arrow of a file that does not follow the line."""
    part, said = part_of(file), []
    if part in FREE | EXEMPT:
        return said
    if part not in PLACE:
        return [f"cmlib/{part} has no place in the line: give it one in LINE of tests/test_layout.py."]
    for line, module in imported(file):
        other = module.split(".")[1]
        known = other in FREE or other in PLACE
        if known and other != part and (other in FREE or PLACE[other] >= PLACE[part]):
            said.append(f"{file.relative_to(ROOT.parent)}, line {line}: {part} imports {module}, and {other} "
                        f"does not stand before {part} in the line: move what both need to an earlier part.")
    return said


NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER
}


def code_lines(text: str) -> int:
    """Lines that hold code: no blank lines, comments or docstrings, which are there to be read quickly."""
    told = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
            told.update(range(first.lineno, first.end_lineno + 1))
    held = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - told)


def lines(parts, count) -> dict[str, int]:
    """Lines of each of these parts, as ``count`` counts those of a file."""
    total = dict.fromkeys(parts, 0)
    for file in ROOT.rglob("*.py"):
        if part_of(file) in total:
            total[part_of(file)] += count(file.read_text("utf-8"))
    return total


def test_every_arrow_follows_the_line():
    said = [sentence for file in sorted(ROOT.rglob("*.py")) for sentence in back(file)]
    assert not said, "\n".join(said)


@pytest.mark.parametrize(
    "text, says",
    [
        ("from cmlib.training.fit import fit", "models imports cmlib.training.fit, and training does not"),
        ("def f():\n    import cmlib.losses.joint", "line 2: models imports cmlib.losses.joint"),
        ("from cmlib import evaluation", "models imports cmlib.evaluation"),
        ("from cmlib import fit", "models imports cmlib.training.fit"),
        ("from cmlib import plots", "models imports cmlib.course.plots"),
        ("from ..check.engine import case", "models imports cmlib.check.engine"),
        ("from cmlib import __version__", None),
        ("import cmlib\nfrom cmlib.fusion import Concat\nfrom . import majority\nimport torch", None),
    ],
)
def test_an_arrow_back_is_named(text, says, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path / "cmlib")
    file = tmp_path / "cmlib" / "models" / "new.py"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    said = back(file)
    assert len(said) == (says is not None) and (says or "") in "".join(said)


ENGINE = ("data", "encoders", "fusion", "models", "losses", "tasks", "training", "evaluation")
# The limits are those of the first nine lessons; each later one may add a screen or two of what it derives.
LATER = sum(lesson.built for lesson in curriculum.lessons()) - 9
WHOLE = sorted({part_of(file) for file in ROOT.rglob("*.py")} - {"check", "grade"})


@pytest.mark.parametrize(
    "what, parts, count, most",
    [
        ("The engine", ENGINE, lambda text: text.count("\n"), 5_500 + 300 * LATER),
        # An evening's reading. (7,000 lines of every kind had been the plan at 120 columns. Lessons 15 to 19
        # brought worlds, readers and scores of their own: 240 lines each.)
        ("cmlib without check and grade", WHOLE, code_lines, 7_300 + 230 * LATER),
    ],
)
def test_there_is_no_more_to_read_than_an_evening_holds(what, parts, count, most):
    found = lines(parts, count)
    long = ", ".join(f"{part} {found[part]:,}" for part in sorted(found, key=found.get, reverse=True))
    total = sum(found.values())
    assert total <= most, f"{what} has {total:,} lines ({long}), and {most:,} are the most: delete some."
