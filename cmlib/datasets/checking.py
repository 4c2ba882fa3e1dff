"""What ``folder`` refuses: arguments that contradict each other, rows that cannot be read, splits that are
empty.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from .decoding import ADDRESS, key_of
from .labels import NoLabels, check_labels
from .pictures import require_size
from .splits import SPLITS
from .table import Nested, Several, is_frame
from .wording import SHOWN, meant, plain, short

ALIASES = {
    "train": ("train", "training", "trn", "tr"),
    "valid": ("valid", "val", "validation", "dev", "development", "eval"),
    "test": ("test", "testing", "tst", "te"),
}
HALF = re.compile("[\ud800-\udfff]")  # of a sign that UTF-16 writes in two
SPLIT_OF = {alias: name for name, aliases in ALIASES.items() for alias in aliases}


class SkippedRows(UserWarning):
    """What ``on_error="skip"`` left out; ``problems`` has a sentence for each."""

    def __init__(self, message: str, problems: list[str]):
        super().__init__(message)
        self.problems = problems


def check_source(source, root) -> None:
    """ValueError for what is no table, and for a folder of pictures that is not there."""
    if not is_frame(source) and not isinstance(source, str | os.PathLike):
        raise ValueError(f"folder reads the path of a table or a DataFrame, and got {short(source)}: "
                         "give it one.")
    if not is_frame(source) and ADDRESS.match(str(source)):
        raise ValueError(f"{short(str(source))} is an address: fetch the file and give its path here.")
    if root is not None and not Path(root).expanduser().is_dir():
        raise ValueError(f"root={short(str(root))}: there is no such folder; give the one that the paths of "
                         "the pictures count from.")


def check_columns(**columns) -> None:
    """ValueError for a column that is no name."""
    wrong = [name for name, column in columns.items() if not isinstance(column, str | None)]
    if wrong:
        raise ValueError(f"{wrong[0]} must be the name of one column, or None; got "
                         f"{short(columns[wrong[0]])}.")


def check_arguments(image, text, label, kind, names, size, split, fractions, overlap, on_error) -> list:
    """The splits that are wanted, by their names here; None: all rows."""
    require_size(size)
    if image is None and text is None:
        raise ValueError("image=None and text=None leave nothing to read: name one of the two columns.")
    check_labels(label, kind, names)
    _one_of("overlap", overlap, "refuse", "warn")
    _one_of("on_error", on_error, "raise", "skip")
    numbers = isinstance(fractions, list | tuple) and all(isinstance(one, int | float) for one in fractions)
    if not numbers or len(fractions) != len(SPLITS):
        raise ValueError("fractions must be three numbers, for train, valid and test; got "
                         f"{short(fractions)}.")
    wanted = list(split) if isinstance(split, list | tuple) else [split]
    for one in wanted:
        if one is not None and (not isinstance(one, str) or plain(one) not in SPLIT_OF):
            raise ValueError('split must be "train", "valid", "test" or None for all rows; got '
                             f"{short(one)}.")
    return [None if one is None else SPLIT_OF[plain(one)] for one in wanted]


def _one_of(name: str, value, usual: str, other: str) -> None:
    if value not in (usual, other):
        raise ValueError(f'{name} must be "{usual}" or "{other}"; got {short(value)}.')


def check_rows(
    table, reader: NoLabels, base: Path, image, text, group, split_column
) -> tuple[list, dict, list]:
    """(the rows that are right, the key of each picture, a sentence for each problem), before anything is
    decoded; splits get their names here.
    """
    good, keys, problems, missing = [], {}, [], {}
    for number, row in table:
        found = list(_odd_cells(row, reader, image, text, group, split_column))
        odd = [column for column, _ in found]
        if text is not None and not plain(row[text]):
            found.append((text, ("holds only signs that cannot be seen" if row[text] else "is empty")
                          + ": write a text or delete the row"))
        wrong = reader.wrong(row)
        if wrong and wrong[0] not in odd:
            found.append(wrong)
        if group is not None and not row[group]:
            found.append((group, "is empty: say which rows belong together"))
        if split_column is not None and split_column not in odd:
            home = SPLIT_OF.get(plain(row[split_column]))
            if home is None:
                found.append((split_column, f'is {short(row[split_column])}: write "train", "valid" or "test"'
                              + meant(row[split_column], SPLIT_OF)))
            row = row | {split_column: home}
        if image is not None and image not in odd and row[image] not in keys:
            value = row[image]
            if value not in missing:
                try:
                    keys[value] = key_of(base, value, hint=len(missing) < SHOWN)
                except (ValueError, OSError) as error:
                    missing[value] = str(error)
            if value in missing:
                found.append((image, missing[value]))
        problems += [f'row {number}, column "{column}" {said}' for column, said in found]
        if not found:
            good.append((number, row))
    kept = {row[image] for _, row in good} if image is not None else ()
    return good, {value: key for value, key in keys.items() if value in kept}, problems


def _odd_cells(row, reader: NoLabels, image, text, group, split_column):
    """(column, what is wrong) of cells that cannot be what they stand for, whatever the column."""
    for column in dict.fromkeys((image, text, *reader.columns, group, split_column)):
        cell = "" if column is None else row[column]
        if isinstance(cell, Nested):
            yield column, f"is {short(str(cell))}, which is no single value: write one value there"
        elif isinstance(cell, Several) and not (column in reader.columns and reader.several):
            more = ', or read tags with kind="tags"' if column in reader.columns else ""
            yield column, f"is {short(str(cell))}, a list of values: write one value there{more}"
        elif column != image and "\0" in cell:
            yield column, f"is {short(cell)}, with a NUL sign in it: delete it"
        elif column != image and HALF.search(cell):
            yield column, f"is {short(cell)}, with half of a sign in it (a lone surrogate): delete it"


def require_rows(name: str, split: str | None, chosen: list[int], rows: Sequence[dict], label: str | None,
                 groups: list[int], split_column: str | None) -> None:
    """ValueError where a split has no rows, or only one class to tell apart. label : the column of classes,
    None where one class is enough; split_column : of the splits, None where they are cut here.
    """
    which = f"The {split!r} split of {name}" if split else name
    if not chosen and split_column is not None:
        raise ValueError(f"{which} has no rows: none of its {len(rows):,} rows says so in the column "
                         f"{short(split_column)}; write it there, or leave split_column out.")
    if not chosen:
        units = len(set(groups))
        together = f" in {units:,} groups that stay together" if units < len(rows) else ""
        raise ValueError(f"{which} has no rows, cut from {len(rows):,} rows{together}: add rows or change "
                         "the fractions.")
    present = {rows[i][label] for i in chosen} if label is not None else ()
    if len(present) == 1:
        raise ValueError(f"{which} has only the class {short(*present)} ({len(chosen):,} rows), and with one "
                         "class there is nothing to tell apart: add rows of another class, or name all "
                         "classes with class_names=.")
