"""Pairs: pictures, words and labels that belong together, before any model has touched them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch


@dataclass(frozen=True)
class Pairs:
    """A set of (image, text, label) rows; what every world and every data set returns.

    images : uint8 (rows, 3, height, width), values 0 to 255
    texts  : one string per row
    labels : int64 (rows,), values in 0 … len(class_names) − 1
    class_names : the meaning of each label
    extras : per-row facts that no model sees (situation, group, latents, …): tensors, arrays or lists of
        length rows
    """

    images: torch.Tensor
    texts: Sequence[str]
    labels: torch.Tensor
    class_names: tuple[str, ...]
    extras: dict[str, object] = field(default_factory=dict)

    def __post_init__(self):
        if not (
            isinstance(self.images, torch.Tensor)
            and self.images.dtype == torch.uint8
            and self.images.ndim == 4
            and self.images.shape[1] == 3
        ):
            raise TypeError("Pairs.images must be a uint8 tensor (rows, 3, height, width); got "
                            f"{describe(self.images)}.")
        if isinstance(self.texts, str) or not all(isinstance(text, str) for text in self.texts):
            raise TypeError("Pairs.texts must be a list of strings, one per row.")
        if not (
            isinstance(self.labels, torch.Tensor)
            and self.labels.dtype == torch.int64
            and self.labels.ndim == 1
        ):
            raise TypeError(f"Pairs.labels must be an int64 tensor (rows,); got {describe(self.labels)}.")
        lengths = {"images": len(self.images), "texts": len(self.texts), "labels": len(self.labels)}
        lengths |= {name: len(values) for name, values in self.extras.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Every part of Pairs needs the same number of rows; got {lengths}.")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(
            self.class_names
        ):
            raise ValueError(f"Labels run from {int(self.labels.min())} to {int(self.labels.max())}, but "
                             "there are "
                             f"{len(self.class_names)} class names: labels must be 0 to "
                             f"{len(self.class_names) - 1}.")

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, rows) -> Pairs:
        """The chosen rows (a slice, a list, a tensor of indices or a boolean mask) as new Pairs."""
        index = torch.arange(len(self))[rows].reshape(-1)
        pick = index.tolist()
        return replace(
            self,
            images=self.images[index],
            texts=[self.texts[i] for i in pick],
            labels=self.labels[index],
            extras={name: _take(values, index, pick) for name, values in self.extras.items()},
        )

    def shuffled_partners(self, seed: int = 0) -> Pairs:
        """The same rows with every text moved to another row: a control that keeps both marginals and breaks
        the pairing.
        """
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        partner = torch.empty_like(order)
        partner[order] = order.roll(1)
        return replace(self, texts=[self.texts[i] for i in partner.tolist()])


def _take(values, index, pick):
    return values[index] if isinstance(values, torch.Tensor) else [values[i] for i in pick]


def describe(value) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__
