"""What ``folder`` refuses: arguments that contradict each other, rows that cannot be read, splits that are
empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .decoding import key_of
from .emojis import SPLITS
from .labels import NoLabels, check_labels
from .pictures import require_size
from .wording import SHOWN, meant, plain, short

ALIASES = {
    "train": ("train", "training", "trn", "tr"),
    "valid": ("valid", "val", "validation", "dev", "development", "eval"),
    "test": ("test", "testing", "tst", "te"),
}
SPLIT_OF = {alias: name for name, aliases in ALIASES.items() for alias in aliases}


class SkippedRows(UserWarning):
    """What ``on_error="skip"`` left out; ``problems`` has a sentence for each."""

    def __init__(self, message: str, problems: list[str]):
        super().__init__(message)
        self.problems = problems


def check_arguments(image, text, label, kind, names, size, split, fractions, overlap, on_error) -> list:
    """The splits that are wanted, by their names here; None: all rows."""
    require_size(size)
    if image is None and text is None:
        raise ValueError("image=None and text=None leave nothing to read: name one of the two columns.")
    check_labels(label, kind, names)
    _one_of("overlap", overlap, "refuse", "warn")
    _one_of("on_error", on_error, "raise", "skip")
    if len(fractions) != len(SPLITS):
        raise ValueError(f"fractions must be three numbers, for train, valid and test; got {fractions!r}.")
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
        found = []
        for column in (text, *reader.columns, group, split_column):
            if column is not None and "\0" in row[column]:
                found.append((column, f"is {short(row[column])}, with a NUL sign in it: delete it"))
        if text is not None and not plain(row[text]):
            found.append((text, ("holds only signs that cannot be seen" if row[text] else "is empty")
                          + ": write a text or delete the row"))
        wrong = reader.wrong(row)
        if wrong and not any(column == wrong[0] for column, _ in found):
            found.append(wrong)
        if group is not None and not row[group]:
            found.append((group, "is empty: say which rows belong together"))
        if split_column is not None:
            home = SPLIT_OF.get(plain(row[split_column]))
            if home is None:
                found.append((split_column, f'is {short(row[split_column])}: write "train", "valid" or "test"'
                              + meant(row[split_column], SPLIT_OF)))
            row = row | {split_column: home}
        if image is not None and row[image] not in keys:
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


def require_rows(name: str, split: str | None, chosen: list[int], rows: Sequence[dict], label: str | None,
                 groups: list[int]) -> None:
    """ValueError where a split has no rows, or only one class to tell apart. label : the column of classes,
    None where one class is enough.
    """
    which = f"The {split!r} split of {name}" if split else name
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
