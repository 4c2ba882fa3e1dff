"""folder(csv): the learner's own pictures, texts and labels; either every row is right, or nothing is
returned.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import closing
from difflib import get_close_matches
from pathlib import Path

import torch

from cmlib.data.pairs import Pairs

from .cache import InMemory, PictureCache
from .decoding import SHOWN, ahead, arrived, keys_of, load
from .emojis import SPLITS
from .pictures import quiet, require_size
from .splits import grouped_split
from .table import read_table


def folder(
    csv_path: str | Path,
    image: str = "image",
    text: str = "text",
    label: str = "label",
    *,
    size: int = 64,
    split: str | None = None,
    group: str | None = None,
    split_column: str | None = None,
    class_names: Sequence[str] | None = None,
    root: str | Path | None = None,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    cache: str | Path | None = None,
) -> Pairs:
    """Pairs from a CSV file with a header; each row has the path of a picture, a text and the name of a
    class.

    image, text, label, group, split_column : names of columns. Picture paths count from ``root`` (default:
        the folder
    of the CSV) and may not leave it. size : pixels; pictures keep their shape and get white bands
    (``pictures.fit``).
    class_names : the order of the labels; by default the names found, sorted.
    split : None for all rows, or "train", "valid", "test", taken from ``split_column`` where that is given,
        else cut by
    ``grouped_split(labels, groups, fractions, seed)``. Rows of one ``group`` (a patient, a product) and rows
    with the same picture (equal pixels) stay together; where ``split_column`` tears them apart, that is a
    leak and refused.
    cache : a folder; the pictures are decoded and resized once, into a file there, and the next call maps
        that file: no
    decoding, and rows that follow one another (all, or a split of a CSV in that order) take no memory until
    they are read. A picture that was changed or added since is decoded again; the pixels are the same bits
    with and without. extras: "row" int64 (row 1 is the header, as in a spreadsheet), "image" (paths), "group"
    int64 (equal: together).

    Raises FileNotFoundError (no such CSV) or ValueError: up to five problems in one message, each with its
    row, column, value and mend; OSError if the cache cannot be written.
    """
    require_size(size)
    if split not in (None, *SPLITS):
        raise ValueError(f'split must be "train", "valid", "test" or None for all rows; got {split!r}.')
    if isinstance(class_names, str) or len(set(class_names or ())) < len(class_names or ()):
        raise ValueError(f'class_names must be different names, such as ("cat", "dog"); got {class_names!r}.')
    if len(fractions) != len(SPLITS):
        raise ValueError(f"fractions must be three numbers, for train, valid and test; got {fractions!r}.")
    path = Path(csv_path).expanduser()
    rows = read_table(path, [name for name in (image, text, label, group, split_column) if name is not None])
    base = Path(root).expanduser() if root is not None else path.parent
    classes = (
        tuple(class_names)
        if class_names is not None
        else tuple(sorted({row[label] for _, row in rows} - {""}))
    )

    values, problems, prints = list(dict.fromkeys(row[image] for _, row in rows)), [], []
    keys = {} if cache is None else keys_of(base, values)
    store = (
        InMemory()
        if cache is None
        else PictureCache(cache, _name(path, base, size), size, [keys.get(value) for value in values])
    )
    entries: dict[str, tuple[tuple | None, bytes] | ValueError] = {}
    with (
        store,
        quiet(),
        closing(ahead(lambda value: load(base, value, size, keys.get(value), store), values)) as coming,
    ):
        for number, row in _progress(rows, path.name):
            found = []
            if not row[text]:
                found.append((text, "is empty: write a text or delete the row"))
            if row[label] not in classes:
                found.append((label, _unknown(row[label], classes)))
            if group is not None and not row[group]:
                found.append((group, "is empty: say which rows belong together"))
            if split_column is not None and row[split_column] not in SPLITS:
                found.append((split_column, f'is {row[split_column]!r}: write "train", "valid" or "test"'))
            if row[image] not in entries:
                entries[row[image]] = arrived(next(coming), keys.get(row[image]), store)
            entry = entries[row[image]]
            if isinstance(entry, ValueError):
                found.append((image, str(entry)))
            else:
                prints.append(entry[1])
            problems += [f'row {number}, column "{column}" {what}' for column, what in found]
            if len(problems) >= SHOWN:
                break
        if len(prints) == len(rows):
            images = store.finish(list(entries.values()))
    if not problems:
        groups = _join(prints, [row[group] for _, row in rows] if group is not None else None)
        if split_column is not None:
            problems = _leaks([number for number, _ in rows], [row[split_column] for _, row in rows], groups)
    if problems:
        raise ValueError(_message(path.name, problems))

    labels = torch.tensor([classes.index(row[label]) for _, row in rows])
    chosen = list(range(len(rows)))
    if split is not None and split_column is not None:
        chosen = [i for i, (_, row) in enumerate(rows) if row[split_column] == split]
    elif split is not None:
        chosen = grouped_split(labels, groups, fractions, seed)[SPLITS.index(split)].tolist()
    _require_two_classes(path.name, split, [classes[i] for i in labels[chosen].tolist()])
    place = {value: i for i, value in enumerate(values)}
    return Pairs(
        _rows(images, [place[rows[i][1][image]] for i in chosen]),
        [rows[i][1][text] for i in chosen],
        labels[chosen],
        classes,
        {
            "row": torch.tensor([rows[i][0] for i in chosen]),
            "image": [rows[i][1][image] for i in chosen],
            "group": torch.tensor([groups[i] for i in chosen]),
        },
    )


def _rows(images: torch.Tensor, places: list[int]) -> torch.Tensor:
    """Those pictures; without a copy if they follow one another."""
    first, last = places[0], places[0] + len(places)
    return images[first:last] if places == list(range(first, last)) else images[places]


def _name(path: Path, base: Path, size: int) -> str:
    """The name of a CSV's pictures in a cache that other CSVs may use too."""
    return f"{path.stem[:40]}-{size}-{zlib.crc32(f'{path.resolve()} {base.resolve()}'.encode()):08x}"


def _join(prints: list[bytes], names: list[str] | None) -> list[int]:
    """One number per row; rows that share a picture or a group name, even through other rows, share the
    number.
    """
    parent = list(range(len(prints)))

    def find(row):
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for keys in (prints, names or []):
        first: dict = {}
        for row, key in enumerate(keys):
            a, b = sorted((find(first.setdefault(key, row)), find(row)))
            parent[b] = a
    return [find(row) for row in range(len(prints))]


def _leaks(numbers: list[int], splits: list[str], groups: list[int]) -> list[str]:
    found = []
    for row, home in enumerate(groups):
        if splits[row] != splits[home]:
            found.append(f"row {numbers[row]} is in {splits[row]!r} but shares its picture or group with row "
                         f"{numbers[home]} in {splits[home]!r}, a leak: put both in one split")
    return found


def _unknown(value: str, classes: Sequence[str]) -> str:
    if not value:
        return "is empty: name a class or delete the row"
    near = get_close_matches(value, classes, 1)
    return f"is {value!r}, not a class ({', '.join(classes)})" + (
        f"; did you mean {near[0]!r}?" if near else ""
    )


def _require_two_classes(name: str, split: str | None, present: list[str]) -> None:
    which = f"The {split!r} split of {name}" if split else name
    if not present:
        raise ValueError(f"{which} has no rows: add rows or change the fractions.")
    if len(set(present)) < 2:
        raise ValueError(f"{which} has only the class {present[0]!r} ({len(present)} rows), and with one "
                         "class there "
                         "is nothing to tell apart: add rows of another class.")


def _message(name: str, problems: list[str]) -> str:
    if len(problems) == 1:
        return f"{name}, {problems[0].rstrip('?.')}{'?' if problems[0].endswith('?') else '.'}"
    lines = [f"\n  {problem}" for problem in problems[:SHOWN]]
    return (
        f"{name} was not loaded; its first {len(lines)} problems (row 1 is the header):"
        + ";".join(lines)
        + "."
    )


def _progress(rows, name):
    from tqdm.auto import tqdm

    # seen only where reading takes longer than 2 s
    return tqdm(rows, desc=name, unit="row", delay=2, leave=False)
