"""What a column of labels means: one class a row, several tags, or values; each refuses a cell in its own
words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from numbers import Integral

import torch

from .wording import listed, meant, sentence, short

KINDS = ("class", "tags", "values")
YES = {"1": 1.0, "1.0": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0, "no": 0.0}


class NoLabels:
    """A table of rows to be answered. several : whether a cell may be a list"""

    names, columns, several = (), (), False

    def wrong(self, _row: dict[str, str]) -> tuple[str, str] | None:
        """(column, what is wrong with its cell and the mend) of a row that cannot be read."""

    def tensor(self, _rows: Sequence[dict[str, str]]) -> torch.Tensor | None:
        """The labels as Pairs hold them."""

    def strata(self, rows: Sequence[dict[str, str]]) -> list:
        """What ``grouped_split`` keeps in proportion."""
        return [0] * len(rows)


class OneClass(NoLabels):
    """labels int64 (rows,); names : the classes, in order; by default those found, as numbers if they are."""

    def __init__(self, column: str, rows: Sequence[dict[str, str]], names: Sequence | None):
        self.columns, found = (column,), {row[column] for row in rows} - {""}
        self.names = tuple(sorted(found, key=_order(found))) if names is None else tuple(map(str, names))
        self.place = {name: i for i, name in enumerate(self.names)}

    def wrong(self, row):
        return _wrong_name(self.columns[0], row[self.columns[0]], self.place)

    def tensor(self, rows):
        return torch.tensor([self.place[row[self.columns[0]]] for row in rows], dtype=torch.int64)

    def strata(self, rows):
        return [row[self.columns[0]] for row in rows]


class Tags(NoLabels):
    """labels float32 (rows, names) of 0 and 1, from cells such as "red|round" (an empty cell: none)."""

    several = True

    def __init__(self, column: str, rows: Sequence[dict[str, str]], names: Sequence | None):
        self.columns = (column,)
        found = {tag for row in rows for tag in self._tags(row)}
        self.names = tuple(sorted(found, key=_order(found))) if names is None else tuple(map(str, names))

    def _tags(self, row):
        return [tag.strip() for tag in row[self.columns[0]].split("|") if tag.strip()]

    def wrong(self, row):
        if not self.names:
            return self.columns[0], "is empty, as in every row: write tags there, with | between them"
        for tag in self._tags(row):
            if tag not in self.names:
                return _wrong_name(self.columns[0], tag, self.names)

    def tensor(self, rows):
        return torch.tensor([[float(name in tags) for name in self.names] for tags in map(self._tags, rows)])

    def strata(self, rows):
        return ["|".join(sorted(self._tags(row))) for row in rows]


class Columns(NoLabels):
    """labels float32 (rows, columns): yes or no to each (tags), or a value in each; one value: (rows,)."""

    def __init__(self, columns: Sequence[str], kind: str, flat: bool):
        self.columns, self.kind, self.flat = tuple(columns), kind, flat
        self.names = () if flat else self.columns

    def _read(self, cell):
        if self.kind == "tags":
            return YES.get(cell.lower())
        try:
            value = float(cell)
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def wrong(self, row):
        for column in self.columns:
            if self._read(row[column]) is None:
                mend = "write 1 for yes or 0 for no" if self.kind == "tags" else "write a number, such as 2.5"
                if self.kind == "values" and "," in row[column]:
                    mend = "write the decimal sign as a point, and none between thousands"
                return column, (f"is {short(row[column])}" if row[column] else "is empty") + f": {mend}"

    def tensor(self, rows):
        found = torch.tensor([[self._read(row[column]) for column in self.columns] for row in rows])
        return found[:, 0] if self.flat else found

    def strata(self, rows):
        return [tuple(row[column] for column in self.columns) if self.kind == "tags" else 0 for row in rows]


def columns_of(label: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if label is None else (label,) if isinstance(label, str) else tuple(label)


def labels_of(label, kind: str, rows: Sequence[dict[str, str]], names: Sequence | None) -> NoLabels:
    """The reader for ``folder(label=, kind=, class_names=)``."""
    if label is None:
        return NoLabels()
    if kind == "class":
        return OneClass(label, rows, names)
    if kind == "tags" and isinstance(label, str):
        return Tags(label, rows, names)
    return Columns(columns_of(label), kind, isinstance(label, str))


def check_labels(label, kind: str, names) -> None:
    """ValueError for arguments that contradict each other."""
    if kind not in KINDS:
        near = meant(str(kind), KINDS)
        raise ValueError(sentence(f"kind must be one of {listed(KINDS)}; got {short(kind)}{near}"))
    columns = label if isinstance(label, list | tuple) else (label,)
    if not all(isinstance(column, str) for column in columns) and label is not None:
        raise ValueError(f"label must be the name of a column, or several names; got {short(label)}.")
    if not columns or (kind == "class" and not isinstance(label, str | None)):
        raise ValueError(f"label={short(label)}: a class stands in one column; of several columns say "
                         'kind="tags" (yes or no to each) or kind="values" (a number in each).')
    if names is None:
        return
    found = names.tolist() if hasattr(names, "tolist") else names
    words = isinstance(found, list | tuple) and all(isinstance(name, str | Integral) for name in found)
    if not words or len(set(map(str, found))) < len(found) or not found:
        raise ValueError("class_names must be different names in their order, such as "
                         f'("cat", "dog"); got {short(names)}.')
    odd = [name for name in map(str, found) if not name or name != name.strip()]
    if odd:
        raise ValueError(f"class_names has {short(odd[0])}: cells are read without the spaces at their ends, "
                         "and an empty one is no class; write each name as it stands in the cells.")
    if kind == "values" or not isinstance(label, str | None):
        raise ValueError("class_names are for a column of names: leave them out, the columns are the names.")


def _order(names):
    """Numbers in their order (0, 1, 2, 10), words in theirs."""
    numbers = all(len(name) < 300 and re.fullmatch("-?[0-9]+", name) for name in names)
    return (lambda name: (int(name), name)) if numbers else str


def _wrong_name(column: str, value: str, names) -> tuple[str, str] | None:
    if value in names:
        return None
    if not value:
        return column, "is empty: name a class or delete the row"
    mend = meant(value, names) or ": correct it, or add it to class_names"
    return column, f"is {short(value)}, not a class ({listed(names)}){mend}"
