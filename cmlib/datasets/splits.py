"""grouped_split: cut rows into splits so that rows which belong together stay together."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import torch

SPLITS = ("train", "valid", "test")


def grouped_split(
    labels: Sequence,
    groups: Sequence | None = None,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
) -> list[torch.Tensor]:
    """Row indices (int64, ascending) of each split; every row in exactly one, no group in two, classes in
    proportion.

    labels (rows,) : the class of each row; groups (rows,) : what must not be torn apart (a patient, a photo
    session, one emoji in its variants), any values with a stable text form; ``None`` makes every row its own
    group.

    Inside each class the groups come in an order hashed from (seed, group), and each goes to the split that
    lacks most rows of the class; whole rows that the classes before have left over or owe count too, so that
    500 classes of three rows do not starve the small splits. So a split of a class exceeds its share by less
    than the class's largest group, and the order of the rows changes nothing. A group of mixed class counts
    as its commonest. A class with few groups may be absent from a small split: look before you evaluate.
    """
    labels, groups = _values(labels), list(range(len(labels))) if groups is None else _values(groups)
    if len(labels) != len(groups):
        raise ValueError(f"grouped_split needs one group per row; got {len(labels)} labels and {len(groups)} "
                         "groups.")
    if not labels:
        raise ValueError("grouped_split got no rows; nothing can be split.")
    fractions = [float(fraction) for fraction in fractions]
    if not all(fraction >= 0 for fraction in fractions) or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise ValueError(f"fractions must be at least 0 and sum to 1; {tuple(fractions)} sum to "
                         f"{sum(fractions):g}.")

    members = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    by_class = defaultdict(list)
    for group, rows in members.items():
        counts = Counter(labels[row] for row in rows)
        by_class[min(counts, key=lambda label: (-counts[label], str(label)))].append(group)

    splits, carried = [[] for _ in fractions], [0.0 for _ in fractions]
    for label in sorted(by_class, key=lambda label: (type(label).__name__, str(label))):
        class_groups = by_class[label]
        total = sum(len(members[group]) for group in class_groups)
        lacking = [fraction * total for fraction in fractions]
        for group in sorted(
            class_groups, key=lambda group: hashlib.sha256(f"{seed}:{group!r}".encode()).digest()
        ):
            # among those that lack rows of this class, or a split would exceed its share of it
            open_splits = [i for i, rows in enumerate(lacking) if rows > 0] or [lacking.index(max(lacking))]
            chosen = max(open_splits, key=lambda i: lacking[i] + int(carried[i]))
            splits[chosen] += members[group]
            lacking[chosen] -= len(members[group])
        carried = [before + rows for before, rows in zip(carried, lacking, strict=True)]
    return [torch.tensor(sorted(rows), dtype=torch.int64) for rows in splits]


def _values(column) -> list:
    return column.tolist() if hasattr(column, "tolist") else list(column)
