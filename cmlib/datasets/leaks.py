"""Rows that belong together, because they share a picture or a group, and splits that tear them apart."""

from __future__ import annotations

from collections.abc import Sequence

from .wording import SHOWN


def join(*columns: Sequence | None) -> list[int]:
    """One number per row; rows that share a value in any column, even through other rows, share it."""
    columns = [column for column in columns if column is not None]
    parent = list(range(len(columns[0])))

    def find(row):
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for keys in columns:
        first: dict = {}
        for row, key in enumerate(keys):
            a, b = sorted((find(first.setdefault(key, row)), find(row)))
            parent[b] = a
    return [find(row) for row in range(len(parent))]


def leaks(numbers: Sequence[int], splits: Sequence[str], groups: Sequence[int]) -> list[str]:
    """One sentence for each row that lies in another split than the first row of its group; numbers : of the
    rows in the table.
    """
    return [
        f"row {numbers[row]} is in {splits[row]!r} but shares its picture or group with row {numbers[home]} "
        f"in {splits[home]!r}"
        for row, home in enumerate(groups)
        if splits[row] != splits[home]
    ]


def leak_message(name: str, found: list[str], rows: int) -> str:
    more = f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return (f"{name} has {len(found):,} leaks in its {rows:,} rows: {'; '.join(found[:SHOWN])}{more}".replace(
        " 1 leaks ", " a leak ") + ": put rows that belong together in one split")
