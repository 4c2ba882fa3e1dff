"""folder(csv): the learner's own pictures, texts and labels; either every row is right, or each that is not
is named.
"""

from __future__ import annotations

import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from cmlib.data.doubts import say_once
from cmlib.data.pairs import Pairs

from .cache import PictureCache, Remembered
from .checking import SkippedRows, check_arguments, check_columns, check_rows, check_source, require_rows
from .decoding import decode
from .doubts import doubts
from .labels import columns_of, labels_of
from .leaks import join, leak_message, leaks
from .splits import SPLITS, grouped_split
from .table import is_frame, read_table
from .wording import SHOWN, problems_of, sentence

Row = dict[str, str]


def folder(
    csv_path,
    image: str | None = "image",
    text: str | None = "text",
    label: str | Sequence[str] | None = "label",
    *,
    kind: str = "class",
    size: int = 64,
    split: str | Sequence[str] | None = None,
    group: str | None = None,
    split_column: str | None = None,
    class_names: Sequence[str] | None = None,
    root: str | Path | None = None,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    overlap: str = "refuse",
    on_error: str = "raise",
    cache: str | Path | None = None,
) -> Pairs | tuple[Pairs, ...]:
    """Pairs from a table with a header; each row has the path of a picture, a text and the name of a class.

    csv_path : a CSV file, a file of JSON lines (one object a row), or a DataFrame
    image, text, label, group, split_column : names of columns; image, text or label may be None: texts
        alone, pictures alone, rows to be answered. Picture paths count from ``root`` (default: the folder of
        the CSV) and may not leave it
    size : pixels; pictures keep their shape and get white bands (``pictures.fit``)
    kind : "class", one a row → int64 (rows,). "tags" → float (rows, tags): a column such as "red|round", or
        several columns of 0 and 1, label=("cracked", "dented"). "values" → float (rows,) or (rows, columns)
    class_names : the order of the labels; by default the names found, sorted. With them, one class is enough
    split : None for all rows; "train", "valid" or "test" ("val", "dev", … are understood), taken from
        ``split_column`` where that is given, else cut by ``grouped_split(labels, groups, fractions, seed)``;
        several of them, ("train", "valid", "test"), give as many Pairs. Rows of one ``group`` (a patient, a
        product) and rows with the same picture (equal pixels) stay together
    overlap : where ``split_column`` tears such rows apart, that is a leak: "refuse" it, or "warn" of it
    on_error : "skip" leaves bad rows out and says which in a SkippedRows warning (all are in its
        ``problems``)
    cache : a folder; the pictures are decoded and resized once, into a file there, and the next call maps
        that file: no decoding, and rows that follow one another take no memory until they are read. A picture
        that was changed or added since is decoded again; the pixels are the same bits with and without
    Rows that show one picture share it (``Pairs.picture``). extras: "row" int64 (row 1 is the header, as in a
    spreadsheet), "image" (paths), "group" int64 (equal: together). What is rarely meant (classes that look
    alike, "nan" as a class) is said in one warning.

    Raises FileNotFoundError (no such CSV) or ValueError: up to five problems in one message, each with its
    row, column, value and mend; OSError if the cache cannot be written.
    """
    check_source(csv_path, root)
    check_columns(image=image, text=text, group=group, split_column=split_column)
    wanted = check_arguments(image, text, label, kind, class_names, size, split, fractions, overlap, on_error)
    frame = is_frame(csv_path)
    path = Path("DataFrame") if frame else Path(csv_path).expanduser()
    name = "The DataFrame" if frame else path.name
    columns = [column for column in (image, text, group, split_column) if column is not None]
    table = read_table(csv_path if frame else path, list(dict.fromkeys([*columns, *columns_of(label)])))
    base = Path(root).expanduser() if root is not None else path.parent
    reader = labels_of(label, kind, [row for _, row in table], class_names)

    table, keys, problems = check_rows(table, reader, base, image, text, group, split_column)
    if problems and on_error == "raise":
        raise ValueError(problems_of(name, problems))
    if split_column is not None and overlap == "refuse":  # what the table shows, before anything is decoded
        paths = [value.replace("\\", "/").removeprefix("./") for value in _of(table, image) or ()] or None
        _tell_leaks(name, table, join(range(len(table)), paths, _of(table, group)), split_column, overlap)
    images, marks = None, {}
    if image is not None:
        place = (str(base.resolve()), size)
        store = Remembered(place)
        if cache is not None:
            store = PictureCache(cache, _name(path, *place), size, list(keys.values()))
        images, marks, bad = _decoded(name, table, image, base, keys, size, store, on_error)
        table, problems = [(number, row) for number, row in table if row[image] in marks], problems + bad
    if problems:
        _tell_skipped(name, table, problems)

    rows = [row for _, row in table]
    shown = None if image is None else [marks[row[image]] for row in rows]
    groups = join(range(len(rows)), shown, _of(table, group))
    if split_column is not None:
        _tell_leaks(name, table, groups, split_column, overlap)
    classes = _of(table, label) if kind == "class" else None
    of_rows = (_of(table, column) for column in (group, split_column))
    doubtful = doubts([number for number, _ in table], shown, _of(table, text), classes, *of_rows)
    if doubtful:
        message = f"{name} was read, but look at it again: {'; '.join(doubtful)}"
        say_once((str(path.resolve()),), sentence(message))
    everything = _pairs(table, image, text, reader, groups, None if image is None else list(marks))
    alone = label if class_names is None and kind == "class" else None
    parts = []
    for one in wanted:
        chosen = _chosen(one, rows, split_column, reader, groups, fractions, seed)
        require_rows(name, one, chosen, rows, alone, groups, split_column)
        parts.append(_take(everything, images, chosen, copy=cache is None))
    return tuple(parts) if isinstance(split, list | tuple) else parts[0]


def _of(table, column: str | None) -> list[str] | None:
    return None if column is None else [row[column] for _, row in table]


def _decoded(name, table, image, base, keys, size, store, on_error):
    """(pictures, their fingerprints by value, a sentence for each row whose picture cannot be read)"""
    most = SHOWN if on_error == "raise" else None
    images, marks, wrong = decode(base, keys, size, store, partial(_progress, name=name), most)
    bad = [(number, row[image]) for number, row in table if row[image] in wrong]
    bad = [f'row {number}, column "{image}" {wrong[value]}' for number, value in bad]
    if bad and on_error == "raise":
        raise ValueError(problems_of(name, bad))
    return images, marks, bad


def _chosen(split, rows: list[Row], split_column, reader, groups, fractions, seed) -> list[int]:
    if split is None:
        return list(range(len(rows)))
    if split_column is not None:
        return [i for i, row in enumerate(rows) if row[split_column] == split]
    return grouped_split(reader.strata(rows), groups, fractions, seed)[SPLITS.index(split)].tolist()


def _tell_leaks(name, table, groups, split_column, overlap: str) -> None:
    found = leaks([number for number, _ in table], _of(table, split_column), groups)
    if not found:
        return
    message = leak_message(name, found, len(table))
    if overlap == "refuse":
        raise ValueError(sentence(f'{message}, or load them as published with overlap="warn"'))
    say_once((name,), sentence(f"{message}, or expect scores that are too good"))


def _tell_skipped(name, table, problems: list[str]) -> None:
    if not table:
        raise ValueError(problems_of(name, problems))
    left = len({problem.partition(",")[0] for problem in problems})
    kinds = Counter(problem.partition('column "')[2].partition('"')[0] for problem in problems)
    where = ", ".join(f'{count:,} × column "{column}"' for column, count in kinds.most_common())
    message = f"{left:,} of the {left + len(table):,} rows of {name} were left out ({where}); the first: "
    warnings.warn(SkippedRows(sentence(message + problems[0]), problems), stacklevel=3)


def _pairs(table, image, text, reader, groups, values) -> dict:
    """The parts of the Pairs of all rows, but for the pictures: "place" is the picture of each row."""
    extras = {"row": torch.tensor([number for number, _ in table])}
    parts = {"texts": _of(table, text), "labels": reader.tensor([row for _, row in table]), "place": None}
    if image is not None:
        place = {value: i for i, value in enumerate(values)}
        extras["image"] = _of(table, image)
        parts["place"] = [place[value] for value in extras["image"]]
    extras["group"] = torch.tensor(groups)
    return parts | {"class_names": reader.names, "extras": extras}


def _take(parts: dict, images: torch.Tensor | None, chosen: list[int], copy: bool) -> Pairs:
    """The Pairs of the chosen rows. A map of a file is not copied where its pictures follow one another."""
    def of(values):
        if values is None or isinstance(values, torch.Tensor):
            return values if values is None else values[chosen]
        return [values[i] for i in chosen]

    places, picture = of(parts["place"]), None
    if images is not None:
        order = list(dict.fromkeys(places))
        first, last = order[0], order[0] + len(order)
        follow = order == list(range(first, last)) and not copy
        images = images[first:last] if follow else images[order]
        if len(order) < len(places):
            at = {place: i for i, place in enumerate(order)}
            picture = torch.tensor([at[place] for place in places])
    extras = {name: of(values) for name, values in parts["extras"].items()}
    return Pairs(images, of(parts["texts"]), of(parts["labels"]), parts["class_names"], extras, picture)


def _name(path: Path, base: str, size: int) -> str:
    """The name of a table's pictures in a cache that other tables may use too."""
    return f"{path.stem[:40]}-{size}-{zlib.crc32(f'{path.resolve()} {base}'.encode()):08x}"


def _progress(values, name):
    from tqdm.auto import tqdm

    # seen only where reading takes longer than 2 s
    return tqdm(values, desc=name, unit="picture", delay=2, leave=False)
