"""What is not wrong but rarely meant, in one warning when a table is read."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from .wording import listed, plain, short

NOTHING = {"nan", "null", "none", "n/a", "na", "#n/a", "<na>", "-"}


def doubts(
    numbers: Sequence[int],
    images: list | None,
    texts: list | None,
    classes: list | None,
    groups: list | None = None,
    splits: list | None = None,
) -> list[str]:
    """One clause for each doubt. numbers : of the rows in the table; images : what each row shows; classes,
    groups, splits : of each row, None where rows have none.
    """
    found = _of_classes(classes) if classes else []
    found += [f"groups that look alike are different groups here ({pairs}): write each in one way"
              for pairs in _alike(groups or ())]
    if splits and images is None and texts:
        found += _of_shared_texts(numbers, texts, splits)
    for what, cells in (("text", texts), ("class", classes)):
        empty = [i for i, cell in enumerate(cells or ()) if plain(cell) in NOTHING]
        if empty:
            first = f"{len(empty):,} × the {what} {short(cells[empty[0]])} (row {numbers[empty[0]]})"
            found.append(f"{first}, which looks like a missing value: leave such rows out")
    if classes and (images or texts):
        found += _of_twins(numbers, images, texts, classes)
    return found


def _of_classes(classes: list[str]) -> list[str]:
    counts = Counter(classes)
    found = [f"classes that look alike are different classes here ({pairs}): write each in one way"
             for pairs in _alike(counts)]
    numbers = all(name.replace(".", "", 1).lstrip("-").isdigit() for name in counts)
    if numbers and len(counts) > max(2, len(classes) / 2):
        found.append(f"{len(counts):,} classes, all numbers, for {len(classes):,} rows: "
                     'kind="values" reads them as numbers')
    elif len(counts) == len(classes) > 3:
        found.append(f"every one of the {len(classes):,} rows has a class of its own: name the right column")
    barred = [name for name in counts if "|" in name]
    if barred:
        found.append(f'classes with a bar in them ({listed(barred, 3)}): kind="tags" reads several a row')
    return found


def _alike(names) -> list[str]:
    """"'Cat' and 'cat', '1' and '1.0'", or nothing."""
    looks = defaultdict(list)
    for name in dict.fromkeys(names):
        looks[re.sub(r"^(-?\d+)\.0+$", r"\1", plain(name))].append(name)
    alike = [" and ".join(map(ascii, same)) for same in looks.values() if len(same) > 1]
    return [", ".join(alike[:3])] if alike else []


def _of_shared_texts(numbers, texts, splits) -> list[str]:
    """Of rows without pictures: texts of one split that stand in another, too."""
    first, shared = {}, []
    for i, text in enumerate(map(plain, texts)):
        home = first.setdefault(text, i)
        if splits[home] != splits[i]:
            shared.append((home, i))
    if not shared:
        return []
    home, row = shared[0]
    where = f"row {numbers[row]} in {splits[row]!r} and row {numbers[home]} in {splits[home]!r}"
    return [f"{len(shared):,} × a text that stands in two splits ({where}): put such rows in one split"]


def _of_twins(numbers, images, texts, classes) -> list[str]:
    first, torn = {}, []
    for i, name in enumerate(classes):
        key = (images and images[i], texts and texts[i])
        home = first.setdefault(key, i)
        if classes[home] != name:
            torn.append((home, i))
    if not torn:
        return []
    home, row = torn[0]
    where = f"rows {numbers[home]} and {numbers[row]}: {short(classes[home])} and {short(classes[row])}"
    return [f"{len(torn):,} × the same picture and text with two classes ({where}): correct one of them"]
