"""The code in one file of a learner: a notebook of any age, or what ``cmlib.submit()`` wrote.

Nothing here is executed or unpickled: bytes → capped JSON → text of cells. Whatever is odd ends as a note,
one sentence each.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property

# sizes in bytes of JSON: they must fit into one frame
MOST_CELLS, LARGEST_CELL, LARGEST_CODE = 5_000, 200_000, 700_000
# a JSON of 20 MB can become objects of 1 GB
MOST_PARTS = {b"{": 300_000, b"[": 300_000, b",": 2_000_000, b'"': 2_000_000}
NAMED = re.compile(r"""["'](\d\d\.\d{1,3})["']""")
PASSED = re.compile(r"^✓ (\d\d\.\d{1,3}) ", re.MULTILINE)  # as `cmlib.check.check` prints it
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]]', re.DOTALL)  # a text, or the bracket of a list
OUTPUTS, OPENING = b'"outputs"', re.compile(rb"\s*:\s*\[")
CHECK = re.compile(r"""check\s*\(\s*(?:id\s*=\s*)?(["'])(\d\d\.\d{1,3})\1""")
# what a check is given, where that is a name
GIVEN = re.compile(r"""check\s*\(\s*["'](\d\d\.\d{1,3})["']\s*,\s*(?:([^\W\d]\w*)\s*\))?""")
BOUND = r"^[ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+(?P<d>{0})\b|^[ \t]*(?P<v>{0})[ \t]*=(?!=)"
STUB = r"raise NotImplementedError|^{} = (?:\.\.\.|None)\s*(?:#|$)"
NAMES = re.compile(BOUND.format(r"[^\W\d]\w*"), re.MULTILINE)


class NotRead(ValueError):
    """The file holds nothing that can be graded; the text completes "x.ipynb was not read: …"."""


class TooLarge(NotRead):
    """It may be honest work, which a human can still look at."""


@dataclass(frozen=True)
class Source:
    """One file.

    cells : of a notebook from top to bottom, or of a kernel as they ran
    answers : {exercise id: its cells} of the first form of ``submission-….json``, else None
    passed : the exercises that passed where the file was written, as the file has it
    """

    file: str
    modified: float
    cells: tuple[str, ...]
    answers: dict[str, tuple[str, ...]] | None = None
    passed: frozenset[str] = frozenset()
    made_by_submit: bool = False

    @cached_property
    def ids(self) -> frozenset[str]:
        """Exercises that the file answers, or tries to."""
        if self.answers is not None:
            return frozenset(id for id, cells in self.answers.items() if cells)
        return frozenset(match[2] for cell in self.cells for match in CHECK.finditer(cell))

    @cached_property
    def named(self) -> frozenset[str]:
        """Exercises whose id stands anywhere in the code, as text."""
        return self.ids | {match[1] for cell in self.cells for match in NAMED.finditer(cell)}

    @cached_property
    def names(self) -> frozenset[str]:
        """Names that some line of a notebook defines or assigns."""
        return frozenset(match["d"] or match["v"] for cell in self.cells for match in NAMES.finditer(cell))

    @property
    def size(self) -> int:
        return sum(map(len, self.cells)) + sum(
            len(cell) for cells in (self.answers or {}).values() for cell in cells
        )

    def cells_of(self, id: str) -> list[str]:
        return list(self.cells if self.answers is None else self.answers.get(id, ()))

    def looks_answered(self, id: str, name: str) -> bool:
        """Whether some cell binds ``name`` and is no stub; only to choose between files."""
        bound = re.compile(BOUND.format(re.escape(name)), re.MULTILINE)
        stub = re.compile(STUB.format(re.escape(name)), re.MULTILINE)
        return any(bound.search(cell) and not stub.search(cell) for cell in self.cells_of(id))

    def tries(self, id: str) -> bool:
        """Whether the file answers a retired exercise, whose name no exercise has any more: its check is
        given something that does not look like a stub.
        """
        if self.answers is not None:
            return id in self.ids
        given = [match[2] for cell in self.cells for match in GIVEN.finditer(cell) if match[1] == id]
        return any(not name or self.looks_answered(id, name) for name in given)


def read(file: str, modified: float, data: bytes) -> tuple[Source, list[str], list[str]]:
    """(the source, notes on what is odd in it, notes on code that was left out); raises `NotRead`."""
    notes: list[str] = []
    cut: list[str] = []
    value = _json(data, notes)
    if not isinstance(value, dict):
        raise NotRead("it is JSON, but neither a notebook nor a submission")
    if isinstance(value.get("format"), str) and value["format"].startswith("cmlib-submission-"):
        return _submitted(file, modified, value, notes, cut), notes, cut
    # nbformat 3 and older
    sheets = value.get("worksheets") if isinstance(value.get("worksheets"), list) else []
    lists = [part.get("cells") for part in (value, *sheets[:MOST_CELLS]) if isinstance(part, dict)]
    if not any(isinstance(cells, list) for cells in lists):
        raise NotRead("it is JSON, but neither a notebook nor a submission")
    code, odd, passed = [], 0, set()
    for cell in (cell for cells in lists if isinstance(cells, list) for cell in cells):
        if not isinstance(cell, dict):
            odd += 1
        elif cell.get("cell_type") == "code":
            text = _text(cell.get("source", cell.get("input")))
            odd += text is None
            code += [] if text is None else [text]
            passed |= _passed(cell.get("outputs"))
    if odd:
        notes.append(f"{odd} {'cell is' if odd == 1 else 'cells are'} not written as a notebook writes them "
                     "and left out")
    return Source(file, modified, _capped(code, cut), passed=frozenset(passed)), notes, cut


def _passed(outputs) -> set[str]:
    """The exercises whose check printed ✓ below a cell."""
    texts = [_text(one.get("text")) for one in outputs or () if isinstance(one, dict)] \
        if isinstance(outputs, list) else []
    return {id for text in texts if text for id in PASSED.findall(text)}


def _submitted(file, modified, value, notes, cut) -> Source:
    answers = value.get("answers")
    if value["format"] == "cmlib-submission-1" and isinstance(answers, dict):
        return Source(file, modified, (), _answers(answers, notes, cut), made_by_submit=True)
    if value["format"] != "cmlib-submission-2" or not isinstance(value.get("cells"), list):
        raise NotRead("it is no submission of the form cmlib-submission-1 or -2")
    cells = [_text(cell) for cell in value["cells"]]
    passed = value.get("passed") if isinstance(value.get("passed"), list) else []
    if None in cells:
        notes.append("some cells are no text and left out")
    whole = _capped([cell for cell in cells if cell is not None], cut)
    claimed = frozenset(id for id in passed if isinstance(id, str))
    return Source(file, modified, whole, passed=claimed, made_by_submit=True)


def _answers(given, notes, cut) -> dict[str, tuple[str, ...]]:
    out = {}
    for id, answer in list(given.items())[:1000]:
        cells = answer.get("cells") if isinstance(answer, dict) else None
        cells = [_text(cell) for cell in cells] if isinstance(cells, list) else [None]
        if None in cells or not re.fullmatch(r"\d\d\.\d{1,3}", id, re.ASCII):
            notes.append(f"the answer to {id[:20]!r} is not a list of cells and left out")
        else:
            out[id] = _capped(cells, cut)
    return out


def _capped(cells: list[str], cut: list[str]) -> tuple[str, ...]:
    out, left = [], LARGEST_CODE
    for cell in cells[:MOST_CELLS]:
        size = len(json.dumps(cell)) if len(cell) <= LARGEST_CELL else LARGEST_CODE
        if size <= min(LARGEST_CELL, left):
            out.append(cell)
            left -= size
    if len(out) < len(cells):
        cut.append(f"{len(cells) - len(out)} of {len(cells)} code cells are too long, or too many, and left "
                   f"out (at most {LARGEST_CELL // 1000} KB a cell and {LARGEST_CODE // 1000} KB together)")
    return tuple(out)


def _text(source) -> str | None:
    """Text of a cell, given as one string or as lines; None for anything else. Lone surrogates, which no file
    can hold, become ?.
    """
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    return source.encode("utf-8", "replace").decode() if isinstance(source, str) else None


def _json(data: bytes, notes: list[str]):
    if not data.strip():
        raise NotRead("it is empty")
    encoding = json.detect_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
        notes.append("some characters are not UTF-8 and read as �")
    plain = data if encoding.startswith("utf-8") else text.encode("utf-8", "replace")
    if _has_too_many_parts(plain):  # of a plot, perhaps: only the code is wanted
        code = _without_outputs(plain)
        if _has_too_many_parts(code):
            kind = TooLarge if len(code) < len(plain) else NotRead
            raise kind("it is JSON of far too many parts for a notebook, even without its outputs")
        plain = code
        text = plain.decode("utf-8-sig", "replace")
    try:
        return json.loads(text, parse_int=_integer, strict=False)
    except json.JSONDecodeError as error:
        raise NotRead(f"it is not JSON, or cut off ({error.msg}, line {error.lineno})") from None
    except (RecursionError, MemoryError, ValueError):
        raise NotRead("it is JSON that is nested too deeply") from None


def _integer(digits: str) -> int:
    # no number of a notebook matters here, and Python refuses 5000 digits
    return int(digits) if len(digits) < 20 else 0


def _has_too_many_parts(data: bytes) -> bool:
    def exceeds(text):
        return any(text.count(sign) > most for sign, most in MOST_PARTS.items())
    if not exceeds(data):
        return False
    data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return data.count(b'"') > MOST_PARTS[b'"'] or exceeds(re.sub(rb'"[^"]*"', b"", data))


def _without_outputs(data: bytes) -> bytes:
    """JSON in which every list that is called outputs is empty; found by its brackets, nothing is built."""
    kept, start, depth, inside = [], 0, 0, False
    for token in TOKEN.finditer(data):
        if inside:
            depth += {b"[": 1, b"]": -1}.get(token[0], 0)
            if depth == 0:
                start, inside = token.start(), False
        elif token[0] == OUTPUTS:
            opening = OPENING.match(data, token.end())
            if opening:
                kept.append(data[start:opening.end()])
                inside = True
    return data if inside else b"".join([*kept, data[start:]])
