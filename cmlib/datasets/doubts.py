"""What is not wrong but rarely meant, in one warning when a table is read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from .wording import listed, plain, short

NOTHING = {"nan", "null", "none", "n/a", "na", "#n/a", "<na>", "-"}


def doubts(
    numbers: Sequence[int], images: list | None, texts: list | None, classes: list | None
) -> list[str]:
    """One clause for each doubt. numbers : of the rows in the table; images : what each row shows; classes :
    the class of each row, None where rows have no class.
    """
    found = _of_classes(classes) if classes else []
    for what, cells in (("text", texts), ("class", classes)):
        empty = [i for i, cell in enumerate(cells or ()) if plain(cell) in NOTHING]
        if empty:
            first = f"{len(empty):,} × the {what} {short(cells[empty[0]])} (row {numbers[empty[0]]})"
            found.append(f"{first}, which looks like a missing value: leave such rows out")
    if classes and (images or texts):
        found += _of_twins(numbers, images, texts, classes)
    return found


def _of_classes(classes: list[str]) -> list[str]:
    counts, found, looks = Counter(classes), [], defaultdict(list)
    for name in counts:
        looks[plain(name)].append(name)
    alike = [names for names in looks.values() if len(names) > 1]
    if alike:
        pairs = ", ".join(" and ".join(map(ascii, names)) for names in alike[:3])
        found.append(f"classes that look alike are different classes here ({pairs}): write each in one way")
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
