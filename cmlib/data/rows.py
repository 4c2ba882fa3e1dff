"""Rows: data ready for steps, tokenised once; ``rows[index]`` is a Batch."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch

from cmlib.data.batch import Batch, ImageBatch
from cmlib.data.pairs import Pairs
from cmlib.data.tokens import TokenRows
from cmlib.data.tree import take


class Rows:
    """Data ready for steps: ``rows[index]`` is a Batch. Words are tokenised once, here, not once per epoch.

    targets : names of extras that every batch carries; a list of strings becomes a TextBatch
    labels, extras : those of the pairs; lengths : int64 (rows,), tokens of each row, None without texts
    to(device) : the same rows there, if they fit: no copies while training
    """

    def __init__(self, pairs: Pairs, tokenizer=None, targets: Sequence[str] = ()):
        self.images, self.picture, self.labels, self.extras = (
            pairs.images,
            pairs.picture,
            pairs.labels,
            pairs.extras,
        )
        self.texts = None if pairs.texts is None else TokenRows.of(pairs.texts, tokenizer)
        self.lengths = None if self.texts is None else self.texts.lengths
        self.n, self.targets, self.class_names = len(pairs), {}, pairs.class_names
        for name in targets:
            if name not in pairs.extras:
                there = ", ".join(pairs.extras) or "none"
                raise ValueError(
                    f"The task reads the extra {name!r} of every row; this data has {there}: add it to the "
                    "extras of the Pairs."
                )
            self.targets[name] = _target(pairs.extras[name], tokenizer)

    def __len__(self):
        return self.n

    def __getitem__(self, index: torch.Tensor) -> Batch:
        return Batch(
            self._image(index),
            None if self.texts is None else self.texts[index],
            None if self.labels is None else self.labels[index],
            self._targets(index),
        )

    def first(self, n: int) -> Rows:
        """The first n rows, with nothing copied."""
        few = copy(self)
        few.n = min(n, self.n)
        few.labels = None if self.labels is None else self.labels[:n]
        few.extras = {name: values[:n] for name, values in self.extras.items()}
        return few

    def answers(self, index: torch.Tensor) -> Batch:
        """Labels and targets of these rows, without pictures and words."""
        return Batch(None, None, None if self.labels is None else self.labels[index], self._targets(index))

    def _image(self, index) -> ImageBatch | None:
        if self.picture is None:
            return None if self.images is None else ImageBatch(self.images[index])
        shown, rows = self.picture[index].unique(return_inverse=True)  # each picture of the batch once
        return ImageBatch(self.images[shown], rows)

    def _targets(self, index) -> dict[str, object]:
        return {name: take(values, index) for name, values in self.targets.items()}

    def to(self, device) -> Rows:
        moved = copy(self)
        moved.images, moved.labels = (None if t is None else t.to(device) for t in (self.images, self.labels))
        moved.texts = None if self.texts is None else self.texts.to(device)
        moved.targets = {
            name: values.to(device) if isinstance(values, torch.Tensor | TokenRows) else values
            for name, values in self.targets.items()
        }
        return moved


def _target(values, tokenizer):
    if len(values) and isinstance(values[0], str):
        return TokenRows.of(list(values), tokenizer)
    return torch.from_numpy(values) if isinstance(values, np.ndarray) else values
