"""read_table(path): the rows of a CSV file, or one sentence about what is wrong with the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """[(row number, {column: value})], values stripped, blank rows skipped; row 1 is the header, as in a
    spreadsheet.

    UTF-8, with or without a byte-order mark; any line ends. FileNotFoundError or ValueError, one sentence
    each.
    """
    if not path.is_file():
        near = get_close_matches(path.name, [file.name for file in path.parent.glob("*.csv")], 1)
        raise FileNotFoundError(f"There is no file {path}" + (f"; did you mean {near[0]}?" if near else
                                ": give the path of a CSV file, seen from the folder this notebook runs in."))
    lines = list(_lines(path, _decoded(path)))
    if not lines:
        raise ValueError(f"{path.name} is empty: it needs a header ({','.join(columns)}) and a row for each "
                         "picture.")
    (_, header), *body = lines
    for column in columns:
        if column not in header:
            raise ValueError(f"{path.name} has no column {column!r}, {_mend(column, header)}")
        if header.count(column) > 1:
            raise ValueError(f"{path.name} has {header.count(column)} columns named {column!r}: rename all "
                             "but one.")
    if not body:
        raise ValueError(f"{path.name} has a header but no rows: add a row for each picture.")
    for row, values in body:
        if len(values) != len(header):
            raise ValueError(f"{path.name}, row {row}, has {len(values)} values for {len(header)} columns: "
                             "put a text "
                             'with a comma in it between "double quotes".')
    return [(row, dict(zip(header, values, strict=True))) for row, values in body]


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f'{path.name} is in UTF-16: save it again as "CSV UTF-8".')
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"{path.name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the "
                         "file again "
                         'as "CSV UTF-8".') from None


def _lines(path: Path, text: str):
    """(row number, stripped values) of each row that is not blank."""
    row, reader = 0, csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        row += 1
        try:
            values = [value.strip() for value in next(reader)]
        except StopIteration:
            return
        except csv.Error:
            raise ValueError(f'{path.name}, row {row}: a "double quote" is opened and never closed, or '
                             'stands inside a '
                             "quoted text; double it there.") from None
        if any(values):
            yield row, values


def _mend(column: str, header: list[str]) -> str:
    if len(header) == 1:
        for sign, name in ((";", "semicolons"), ("\t", "tabs")):
            if sign in header[0]:
                return f"because its values are separated by {name}: save it again with commas."
    near = get_close_matches(column.lower(), [name.lower() for name in header], 1)
    meant = [name for name in header if near and name.lower() == near[0]]
    advice = f"did you mean {meant[0]!r}?" if meant else "name the right one in the call."
    return f"only {', '.join(map(repr, header))}; {advice}"
