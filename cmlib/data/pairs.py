"""Pairs: pictures, words and labels that belong together, before any model has touched them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from cmlib.data.tree import take


@dataclass(frozen=True)
class Pairs:
    """A set of (image, text, label) rows; what every world and every data set returns.

    images : uint8 (rows, 3, height, width), values 0 to 255; None where there are only texts
    texts  : one string per row; None where there are only pictures
    labels : int64 (rows,), values in 0 … len(class_names) − 1; or float (rows,) values to foretell, or
        float (rows, len(class_names)) of 0 and 1, the answer to each of several questions; None for
        unlabelled rows
    class_names : the meaning of each label, or of each of several questions
    extras : per-row facts that no model sees unless a task asks for them (situation, boxes, caption, …):
        tensors, arrays or lists of length rows
    picture : int64 (rows,), which of ``images`` each row shows, where rows share pictures (five questions
        about one photo): stored once, encoded once. None: row k shows picture k
    """

    images: torch.Tensor | None
    texts: Sequence[str] | None
    labels: torch.Tensor | None = None
    class_names: tuple[str, ...] = ()
    extras: dict[str, object] = field(default_factory=dict)
    picture: torch.Tensor | None = None

    def __post_init__(self):
        if self.images is None and self.texts is None:
            raise TypeError("Pairs need pictures, texts or both; both are None.")
        _check_images(self.images, self.picture)
        if isinstance(self.texts, str) or not all(isinstance(text, str) for text in self.texts or ()):
            raise TypeError("Pairs.texts must be a list of strings, one per row.")
        _check_extras(self.extras)
        lengths = {"images": self.images if self.picture is None else self.picture, "texts": self.texts}
        lengths |= {"labels": self.labels} | self.extras
        lengths = {name: len(values) for name, values in lengths.items() if values is not None}
        _check_labels(self.labels, self.class_names)
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Every part of Pairs needs the same number of rows; got {lengths}.")

    def __len__(self):
        parts = (self.labels, self.texts, self.picture, self.images)
        return len(next(part for part in parts if part is not None))

    def __getitem__(self, rows) -> Pairs:
        """The chosen rows (a slice, a list, a tensor of indices or a boolean mask) as new Pairs."""
        index = torch.arange(len(self))[rows].reshape(-1)
        images, picture = self.images, None
        if self.picture is not None:
            kept, picture = self.picture[index].unique(return_inverse=True)
            images = images[kept]
        elif images is not None:
            images = images[index]
        return replace(
            self,
            images=images,
            texts=None if self.texts is None else take(self.texts, index),
            labels=None if self.labels is None else self.labels[index],
            extras={name: take(values, index) for name, values in self.extras.items()},
            picture=picture,
        )

    def shuffled_partners(self, seed: int = 0) -> Pairs:
        """The same rows with every text moved to another row: a control that keeps both marginals and breaks
        the pairing.
        """
        if self.texts is None:
            raise ValueError("These Pairs have no texts to move to other rows.")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        partner = torch.empty_like(order)
        partner[order] = order.roll(1)
        return replace(self, texts=take(self.texts, partner))


def describe(value) -> str:
    """What a value is, for a message: "float32 (4, 7)" of a tensor, else the name of its type."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__


def _check_extras(extras):
    for name, values in extras.items():
        if not hasattr(values, "__len__") or getattr(values, "ndim", 1) == 0:
            raise TypeError(
                f"Pairs.extras has {name!r} as {describe(values)}: it must be a tensor, an array or a list "
                "with one entry a row."
            )


def _check_images(images, picture):
    if images is None:
        if picture is not None:
            raise TypeError("Pairs.picture says which of the images a row shows, and there are no images.")
        return
    if not (
        isinstance(images, torch.Tensor)
        and images.dtype == torch.uint8
        and images.ndim == 4
        and images.shape[1] == 3
    ):
        raise TypeError(
            f"Pairs.images must be a uint8 tensor (rows, 3, height, width); got {describe(images)}."
        )
    if picture is None:
        return
    if not (isinstance(picture, torch.Tensor) and picture.dtype == torch.int64 and picture.ndim == 1):
        raise TypeError(f"Pairs.picture must be an int64 tensor (rows,); got {describe(picture)}.")
    if len(picture) and not 0 <= int(picture.min()) <= int(picture.max()) < len(images):
        raise ValueError(
            f"Pairs.picture runs from {int(picture.min())} to {int(picture.max())}, but there are "
            f"{len(images)} images: it must be 0 to {len(images) - 1}."
        )


def _check_labels(labels, class_names):
    if labels is None:
        return
    if not isinstance(labels, torch.Tensor) or not (
        (labels.dtype == torch.int64 and labels.ndim == 1)
        or (labels.is_floating_point() and labels.ndim in (1, 2))
    ):
        raise TypeError(
            "Pairs.labels must be an int64 tensor (rows,), or a float one (rows,) or (rows, questions); "
            f"got {describe(labels)}."
        )
    if labels.ndim == 2 and class_names and labels.shape[1] != len(class_names):
        raise ValueError(
            f"Pairs.labels answer {labels.shape[1]} questions, but there are {len(class_names)} class names: "
            "there must be as many."
        )
    if labels.dtype != torch.int64 or not len(labels):
        return
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(class_names):
        raise ValueError(
            f"Labels run from {int(labels.min())} to {int(labels.max())}, but there are {len(class_names)} "
            f"class names: labels must be 0 to {len(class_names) - 1}."
        )
