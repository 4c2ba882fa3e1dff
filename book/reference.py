"""The docstrings of cmlib as reStructuredText, for the reference in the book.

They are written to be read in a terminal: a sentence, rows ``name : what it is`` whose later lines are
indented, prose. Sphinx's autodoc hands them over line by line; the rows become a table.
"""

from __future__ import annotations

import re

ROW = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*) +: +(.+)")
CODE = re.compile(r"(``.+?``|`[^`]+`)")


def as_rst(lines: list[str]) -> list[str]:
    """The same docstring in reStructuredText: prose escaped, rows as a table of two columns."""
    found, was_table = [], False
    for kind, name, text in _parts(lines):
        if kind == "row":
            if not was_table:
                found += ["", ".. list-table::", "   :widths: 25 75", ""]
            found += [f"   * - ``{name}``", f"     - {_escaped(text)}"]
        elif kind == "code":
            found += ["", "::", "", *(f"    {line}" for line in text.split("\n"))]
        else:
            found += ["", _escaped(text)]
        was_table = kind == "row"
    return [*found, ""]


def _parts(lines):
    """("row", name, text), ("prose", "", text) or ("code", "", text), in order."""
    parts, begins = [], True  # begins: at the start, or after an empty line
    for line in lines:
        if not line.strip():
            begins = True
            continue
        row, indented = ROW.fullmatch(line), line.startswith("  ")
        goes_on = parts and not begins
        # the lines after a docstring's first one have lost the indent that would tell
        first_row = len(parts) == 1 and parts[0][0] == "row"
        if indented and begins:
            parts.append(["code", "", line.removeprefix("    ")])
        elif indented and parts[-1][0] == "code":
            parts[-1][2] += "\n" + line.removeprefix("    ")
        elif row:
            parts.append(["row", row[1], row[2]])
        elif goes_on and (indented or first_row or parts[-1][0] == "prose"):
            parts[-1][2] += " " + line.strip()
        else:
            parts.append(["prose", "", line.strip()])
        begins = False
    return parts


def _escaped(text: str) -> str:
    """Backticks become code; whatever else reStructuredText would take for markup stays what it is."""
    words = []
    for part in CODE.split(text):
        if CODE.fullmatch(part):
            words.append(f"\\ ``{part.strip('`')}``\\ ")
        else:
            words.append(re.sub(r"([\\*|_`])", r"\\\1", part))
    return "".join(words)
