"""read_table(source): the rows of a CSV, of JSON lines or of a DataFrame, or one sentence about what is wrong
with it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import date, time
from numbers import Number
from os import PathLike
from pathlib import Path

from .sniffing import HEAD, head_of, what
from .wording import listed, meant, plain, short

JSON = (".jsonl", ".ndjson", ".json")
TEXTS = (".csv", ".tsv", *JSON, ".txt")
OBJECTS = re.compile(r'\s*(\{\s*"|\[\s*\{)')  # how JSON lines and a list of objects begin
LONGEST_NUMBER = 300  # digits; a longer one is a text
ONE_OBJECT = 'write one object a line, {"image": "a.png", "text": "…", "label": "…"}.'


class Several(str):
    """A cell that holds a list of words, joined by |, as tags are."""


class Nested(str):
    """A cell that holds an object, a list of lists, a picture: nothing that a CSV could hold."""


def read_table(source, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """[(row number, {column: value})], values stripped, blank rows skipped; row 1 is the header, as in a
    spreadsheet.

    source : a Path (CSV; or JSON, one object a line or one list of objects, whose first row is row 1), or a
        DataFrame, whose row numbers are those of its CSV
    UTF-8, with or without a byte-order mark; any line ends. FileNotFoundError or ValueError, one sentence
    each.
    """
    if is_frame(source):
        name, header, body = "The DataFrame", list(map(str, source.columns)), _of_frame(source)
    else:
        name, text = source.name, _text(source)
        named = source.suffix.lower() in JSON and text.lstrip()[:1] in ("{", "[")
        header, body = (_of_json if named or OBJECTS.match(text) else _of_csv)(name, text)
    if not header:
        raise ValueError(f"{name} is empty: it needs a header ({','.join(columns)}) and a row for each "
                         "picture.")
    for column in columns:
        if column not in header:
            below = [row for row, values in body[:20] if set(columns) <= set(values)]
            mend = f"but its row {below[0]} has: delete the rows above it." if below else None
            raise ValueError(f"{name} has no column {short(column)}, {mend or _mend(column, header)}")
        if header.count(column) > 1:
            raise ValueError(f"{name} has {header.count(column)} columns named {short(column)}: rename all "
                             "but one.")
    if not body:
        raise ValueError(f"{name} has a header but no rows: add a row for each picture.")
    for row, values in body:
        if len(values) != len(header):
            raise ValueError(f"{name}, row {row}, has {len(values)} values for {len(header)} columns: put a "
                             'text with a comma in it between "double quotes".')
    return [(row, dict(zip(header, values, strict=True))) for row, values in body]


def columns_in(source) -> list[str]:
    """The names of its columns; none where there is no such table, which reading it will tell."""
    if is_frame(source):
        return list(map(str, source.columns))
    try:
        [(_, row), *_] = read_table(Path(source).expanduser(), ())
    except (ValueError, OSError):
        return []
    return list(row)


def is_frame(source) -> bool:
    return hasattr(source, "to_dict") and hasattr(source, "columns")


def _text(path: Path) -> str:
    if not path.is_file():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        near = meant(path.name, (file.name for file in beside if file.suffix.lower() in TEXTS))
        if path.is_dir():
            raise FileNotFoundError(f"{path} is a folder: give the path of the CSV file in it.")
        usual = ": give the path of a CSV file, seen from the folder this notebook runs in."
        raise FileNotFoundError(f"There is no file {path}{near or usual}")
    kind = what(head_of(path))
    if kind and path.stat().st_size:
        raise ValueError(f"{path.name} is {kind[0]} and no table of text: {kind[1] or 'give the CSV'}.")
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or 4 * data[:HEAD].count(0) > len(data[:HEAD]):
        raise ValueError(f'{path.name} is in UTF-16, or no text at all: save it again as "CSV UTF-8".')
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"{path.name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the "
                         'file again as "CSV UTF-8".') from None


def _of_csv(name: str, text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """(header, rows); the first line may be Excel's "sep=,"."""
    limit = csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # long texts are no error
    try:
        lines = list(_lines(name, text))
    finally:
        csv.field_size_limit(limit)
    if lines and lines[0][1][0].lower().startswith("sep=") and len(set(lines[0][1]) - {""}) == 1:
        lines = lines[1:]
    return (lines[0][1], lines[1:]) if lines else ([], [])


def _lines(name: str, text: str):
    """(row number, stripped values) of each row that is not blank."""
    row, reader = 0, csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        row += 1
        try:
            values = [value.strip() for value in next(reader)]
        except StopIteration:
            return
        except csv.Error:
            raise ValueError(f'{name}, row {row}: a "double quote" is opened and never closed, or stands '
                             "inside a quoted text; double it there.") from None
        if any(values):
            yield row, values


def _of_json(name: str, text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    if text.lstrip().startswith("["):
        items = list(enumerate(_parsed(name, 1, text), 1))
    else:  # not splitlines: a text may hold other signs that end a line
        lines = [(row, line) for row, line in enumerate(text.split("\n"), 1) if line.strip()]
        items = [(row, _parsed(name, row, line)) for row, line in lines]
    for row, item in items:
        if not isinstance(item, dict):
            raise ValueError(f"{name}, row {row}, is {short(item)} and no object: {ONE_OBJECT}")  # noqa: TRY004
    header = list(dict.fromkeys(key for _, item in items for key in item))
    return header, [(row, [_cell(item.get(key)) for key in header]) for row, item in items]


def _parsed(name: str, first: int, text: str):
    """The value of a JSON text that begins in line ``first``."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as error:
        line, why = first + error.lineno - 1, f"no JSON ({error.msg})"
    except RecursionError:
        line, why = first, "JSON that is nested too deeply"
    except KeyError as twice:
        raise ValueError(f"{name}, line {first}: an object has the key {short(*twice.args)} twice: delete "
                         "one.") from None
    raise ValueError(f"{name}, line {line}: this is {why}: {ONE_OBJECT}") from None


def _object(pairs: list[tuple[str, object]]) -> dict:
    """Python would keep the last of two entries with one key."""
    found = {}
    for key, value in pairs:
        if key in found:
            raise KeyError(key)
        found[key] = value
    return found


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_NUMBER else digits


def _of_frame(frame) -> list[tuple[int, list[str]]]:
    columns = [frame.iloc[:, place].tolist() for place in range(len(frame.columns))]
    rows = enumerate(zip(*columns, strict=True), 2)
    return [(row, [_cell(value) for value in values]) for row, values in rows]


def _cell(value) -> str:
    """As it would stand in a CSV: nothing for a missing value, tags joined by |."""
    if value is None or str(value) in ("nan", "NaT", "<NA>"):
        return ""
    if hasattr(value, "tolist"):  # of NumPy
        value = value.tolist()
    if isinstance(value, list | tuple):
        words = [_cell(one) for one in value]
        odd = any(type(word) is not str or "|" in word for word in words)
        return Nested(value) if odd else Several("|".join(words)) if len(words) > 1 else "".join(words)
    plain = isinstance(value, str | Number | PathLike | date | time)
    return str(value).strip() if plain else Nested(value)


def _mend(column: str, header: list[str]) -> str:
    if len(header) == 1:
        for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if sign in header[0]:
                return f"because its values are separated by {name}: save it again with commas."
    same = [name for name in header if plain(name) == plain(column)]
    near = f"; did you mean {short(same[0])}?" if same else meant(column, header)
    return f"only {listed(header)}" + (near or "; name the right one in the call.")
