"""Which answers have the same shape, whatever their names: fingerprints of the syntax tree, and the pairs
that share them.

Winnowing as in Schleimer, Wilkerson and Aiken, "Winnowing: local algorithms for document fingerprinting"
(SIGMOD 2003), over the nodes of each top-level statement. `fingerprints` runs in the box on the learner's
text, which is parsed and never executed; `pairs` runs outside on the numbers. Standard library only: this
file is copied into the box without the course.
"""

from __future__ import annotations

import ast
import hashlib
import heapq
import itertools
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

# nodes in one fingerprint; of so many neighbours one is kept: any 6 nodes in common leave a trace
RUN, WINDOW = 5, 2
# characters that are read; fingerprints that are kept (the smallest ones, so they stay comparable)
MOST_TEXT, MOST = 200_000, 5_000
THRESHOLD = 0.6  # tests/test_similarity.py measures both sides of it on every exercise
FEWEST = 16  # an answer with fewer fingerprints than this is too short to say anything
# what at most 5 have is never common, what more than 200 have always is, or 10,000 learners would take
# hours
FEW, MANY = 5, 200


def fingerprints(code: str, *, every: bool = False) -> list[int]:
    """Sorted distinct 48-bit numbers of ``code`` that no renaming, comment, constant or keyword order
    changes.

    every : keep all runs instead of one in each window, for a template that is to be subtracted.
    Raises ValueError, and nothing else, with one sentence when the text cannot be read as Python.
    """
    if len(code) > MOST_TEXT:
        raise ValueError(f"The code has {len(code):,} characters; at most {MOST_TEXT:,} are compared.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\\d" in a learner's text
            tree = ast.parse(code)
        names = _names(tree)
        found = {
            number
            for statement in tree.body
            for number in _winnow(_nodes(statement, names), 1 if every else WINDOW)
        }
    except SyntaxError as error:
        raise ValueError(f"The code is not Python: {error.msg} in line {error.lineno}.") from None
    except (ValueError, UnicodeError) as error:  # a null byte, a lone surrogate
        raise ValueError(f"The code is not Python: {error}.") from None
    except (RecursionError, MemoryError):
        raise ValueError("The code is nested too deeply to be compared.") from None
    return sorted(found) if every else heapq.nsmallest(MOST, found)


def _names(tree) -> dict[str, str]:
    """What stands for a name: "Name" for all that the code binds, since the learner could rename it, and the
    origin of an import.
    """
    own, imported = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            own.add(node.name)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            own.add(node.attr)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            own.add(node.name)
    return imported | dict.fromkeys(own, "Name")


def _nodes(node, names: dict[str, str]) -> list[str]:
    """The nodes below ``node``, parents first, without what a copier changes first."""
    out: list[str] = []
    _write(node, names, out)
    return out


def _write(node, names, out):
    kind = type(node).__name__
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass, ast.Global, ast.Nonlocal, ast.expr_context)):
        return
    # a docstring, or text used as a comment
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):  # -1 is a constant, too
        out.append("Constant")
    elif isinstance(node, ast.Name):
        out.append(names.get(node.id, node.id))
    elif isinstance(node, ast.Attribute):  # torch.exp(x), exp(x) and x.exp() are one and the same
        out.append(names.get(node.attr, node.attr))
        if not _outside(node.value, names):
            _write(node.value, names, out)
    elif isinstance(node, ast.AnnAssign):
        if node.value is not None:
            _write(ast.Assign([node.target], node.value), names, out)
    elif isinstance(node, ast.AugAssign):  # x += y is x = x + y
        _write(ast.Assign([node.target], ast.BinOp(node.target, node.op, node.value)), names, out)
    elif isinstance(node, ast.Call):
        out.append(kind)
        for child in (node.func, *node.args):
            _write(child, names, out)
        for words in sorted(_nodes(keyword.value, names) for keyword in node.keywords):
            out.extend(words)
    elif isinstance(node, ast.arguments):
        out.extend("arg" for _ in ast.walk(node) if isinstance(_, ast.arg))
    else:
        out.append(kind)
        for name, value in ast.iter_fields(node):
            if name in ("returns", "annotation", "type_params"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    _write(child, names, out)


def _outside(node, names) -> bool:
    """``torch.nn.functional`` or another name that is not the learner's."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and names.get(node.id) != "Name"


def _winnow(words: list[str], window: int) -> Iterator[int]:
    numbers = [int.from_bytes(hashlib.blake2b(" ".join(words[i:i + RUN]).encode(), digest_size=6).digest())
               for i in range(len(words) - RUN + 1)]
    for i in range(min(1, len(numbers)) if len(numbers) < window else len(numbers) - window + 1):
        yield min(numbers[i:i + window])


def template(cells: Iterable[str]) -> set[int]:
    """Every fingerprint of code that was given to all: the cells of the lesson as handed out. Cells that are
    not Python count for nothing.
    """
    given: set[int] = set()
    for cell in cells:
        try:
            given.update(fingerprints(cell, every=True))
        except ValueError:
            continue
    return given


def pairs(
    records: Iterable[Mapping],
    given: Mapping[str, set[int]] | None = None,
    threshold: float = THRESHOLD,
    most: int = 5_000,
) -> list[tuple[str, str, str, float]]:
    """(learner, learner, exercise, share) of the answers that share ``threshold`` or more, the strongest
    first, at most ``most``.

    records : have "learner" and "fingerprints", {exercise: numbers}
    given : {exercise: numbers} of the template, which are subtracted, as is what more than half of the class,
        or 200 learners, have
    The share is |A ∩ B| / |A ∪ B|. It is a reason to look at two answers, never a verdict.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"The threshold is a share above 0 and up to 1; got {threshold!r}.")
    classes = _classes(records, given)
    found = (pair for id in sorted(classes) for pair in _similar(id, classes[id], threshold))
    return heapq.nsmallest(most, found, key=lambda pair: (-pair[3], pair[2], pair[0], pair[1]))


def crowds(
    records: Iterable[Mapping], given: Mapping[str, set[int]] | None = None
) -> list[tuple[str, int, int]]:
    """(exercise, answers, learners) where answers have too little of their own left to be compared, because
    so many have the same: `pairs` is silent about them, and that is no sign of independent work.
    """
    out = []
    for id, answers in sorted(_classes(records, given).items()):
        common = _common(answers)
        lost = [one for one in answers.values() if len(one) >= FEWEST > len(one - common)]
        out += [(id, len(lost), len(answers))] if lost else []
    return out


def _classes(records, given) -> dict[str, dict[str, frozenset[int]]]:
    classes: dict[str, dict[str, frozenset[int]]] = defaultdict(dict)
    for record in records:
        for id, numbers in record["fingerprints"].items():
            classes[id][record["learner"]] = frozenset(numbers) - (given or {}).get(id, frozenset())
    return classes


def _common(answers: Mapping[str, frozenset[int]]) -> set[int]:
    """What more than half of the class has, or more than 200 learners."""
    holders = Counter(itertools.chain.from_iterable(answers.values()))
    return {number for number, count in holders.items() if count > min(MANY, max(FEW, len(answers) / 2))}


def _similar(id, answers, threshold) -> Iterator[tuple[str, str, str, float]]:
    holders = Counter(itertools.chain.from_iterable(answers.values()))
    common = _common(answers)
    groups = defaultdict(list)  # learners with one and the same set are compared once
    for learner in sorted(answers):
        rest = answers[learner] - common
        if len(rest) >= FEWEST:
            groups[rest].append(learner)
    seen: dict[int, list[frozenset]] = defaultdict(list)
    for one, learners in groups.items():
        yield from ((a, b, id, 1.0) for a, b in itertools.combinations(learners, 2))
        # Two sets can reach the threshold only if they meet among these rarest numbers (prefix filter:
        # Bayardo, Ma and Srikant 2007).
        rarest = sorted(one, key=lambda number: (holders[number], number))[
            : len(one) - math.ceil(threshold * len(one)) + 1
        ]
        for other in {other for number in rarest for other in seen[number]}:
            share = len(one & other) / len(one | other)
            if share >= threshold:
                yield from ((*sorted((a, b)), id, share) for a in groups[other] for b in learners)
        for number in rarest:
            seen[number].append(one)
