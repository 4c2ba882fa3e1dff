"""Typed batches: an image batch and a text batch are different types, so they cannot be swapped silently."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cmlib.data.pairs import describe
from cmlib.data.tree import leaves, map_tensors, take


class _Movable:
    @property
    def device(self) -> torch.device:
        """Where its tensors are: all of them are in one place."""
        return next(leaves(self)).device

    def to(self, device, non_blocking: bool | None = None):
        """The same batch with every tensor on ``device``.

        non_blocking : by default only towards a GPU: a copy to the CPU that does not wait would be read
            before it has arrived
        """
        if non_blocking is None:
            non_blocking = torch.device(device).type != "cpu"
        return map_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking), self)


@dataclass(frozen=True)
class ImageBatch(_Movable):
    """pixels : uint8 or float (pictures, 3, height, width), values 0 … 255; encoders normalise them for their
    weights.

    rows : int64 (batch,), the picture of each row, where rows share pictures; None: row k shows picture k. An
        encoder computes each picture once.
    """

    pixels: torch.Tensor
    rows: torch.Tensor | None = None

    def __post_init__(self):
        p = self.pixels
        if not (isinstance(p, torch.Tensor) and p.ndim == 4 and p.shape[1] == 3):
            raise TypeError(
                f"ImageBatch.pixels must have shape (batch, 3, height, width); got {describe(p)}."
            )
        if self.rows is not None:
            _check_rows(self.rows, len(p))

    def __len__(self):
        return len(self.pixels if self.rows is None else self.rows)

    def spread(self, features: torch.Tensor) -> torch.Tensor:
        """What was computed for the pictures, (pictures, …), for the rows that show them, (batch, …)."""
        return features if self.rows is None else features[self.rows]


@dataclass(frozen=True)
class TextBatch(_Movable):
    """input_ids, attention_mask : int64 (batch, tokens); the mask is 1 on a token and 0 on padding, and no
    row is padding alone.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor

    def __post_init__(self):
        ids, mask = self.input_ids, self.attention_mask
        if not (isinstance(ids, torch.Tensor) and ids.ndim == 2 and ids.dtype == torch.int64):
            raise TypeError(f"TextBatch.input_ids must be int64 (batch, tokens); got {describe(ids)}.")
        if not (isinstance(mask, torch.Tensor) and mask.shape == ids.shape and mask.dtype == torch.int64):
            raise TypeError(
                f"TextBatch.attention_mask must be int64 {tuple(ids.shape)} like input_ids; got "
                f"{describe(mask)}."
            )
        if mask.device.type == "cpu":  # on a GPU looking would mean to wait for it
            found = mask.any(1)
            if not found.all():
                raise ValueError(
                    f"{row_list((~found).nonzero().flatten().tolist())} of a TextBatch has no token: "
                    "attention_mask is 0 everywhere, and there is nothing to read; leave the row out or give "
                    "it a text."
                )

    def __len__(self):
        return len(self.input_ids)

    def __getitem__(self, rows) -> TextBatch:
        return TextBatch(self.input_ids[rows], self.attention_mask[rows])


@dataclass(frozen=True)
class Batch(_Movable):
    """One step's worth of rows; a half that the data do not have is None.

    labels  : int64 (batch,) class numbers, float (batch,) values or (batch, n) many answers, None without
        labels
    targets : what else a task asked for, by name: a tensor (batch, …), a TextBatch, or a list with one entry
        a row
    """

    image: ImageBatch | None
    text: TextBatch | None
    labels: torch.Tensor | None = None
    targets: dict[str, object] = field(default_factory=dict)

    def __post_init__(self):
        for name, kind in (("image", ImageBatch), ("text", TextBatch)):
            half = getattr(self, name)
            if half is not None and not isinstance(half, kind):
                article = "an" if name == "image" else "a"
                raise TypeError(
                    f"Batch.{name} must be {article} {kind.__name__}; got {type(half).__name__}. "
                    "Are image and text swapped?"
                )
        parts = (self.image, self.text, self.labels, *self.targets.values())
        _check_counts("A batch needs", ("images", "texts", "labels", *self.targets), parts)

    def __len__(self):
        for part in (self.image, self.text, self.labels, *self.targets.values()):
            if part is not None:
                return len(part)
        raise ValueError("This batch holds nothing, so that it has no length: ask the outputs of the model.")


@dataclass(frozen=True)
class Features(_Movable):
    """What the encoders make of a batch. image : (batch, image_size); text : (batch, text_size); labels and
    targets as in Batch; class_names as in Pairs.
    """

    image: torch.Tensor
    text: torch.Tensor
    labels: torch.Tensor | None = None
    targets: dict[str, object] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    def __post_init__(self):
        image, text, labels = self.image, self.text, self.labels
        if not (isinstance(image, torch.Tensor) and isinstance(text, torch.Tensor)):
            raise TypeError(
                "Features are tensors (rows, size), of size 0 for a half that is missing; got "
                f"{describe(image)} and {describe(text)}."
            )
        n = image.shape[0]  # in every step of training, hence the short way
        if text.shape[0] == n and (labels is None or labels.shape[0] == n) and not self.targets:
            return
        parts = (image, text, labels, *self.targets.values())
        _check_counts("Features need", ("image", "text", "labels", *self.targets), parts)

    def __len__(self):
        return len(self.image)

    def __getitem__(self, rows) -> Features:
        labels = None if self.labels is None else self.labels[rows]
        targets = {name: take(values, rows) for name, values in self.targets.items()} if self.targets else {}
        return Features(self.image[rows], self.text[rows], labels, targets, self.class_names)

    def answers(self, rows) -> Batch:
        """Labels and targets of these rows, without their features."""
        targets = {name: take(values, rows) for name, values in self.targets.items()}
        return Batch(None, None, None if self.labels is None else self.labels[rows], targets)


def _check_counts(what: str, names: tuple[str, ...], parts: tuple) -> None:
    counts = {len(part) for part in parts if part is not None}
    if len(counts) > 1:
        found = zip(names, parts, strict=True)
        said = ", ".join(f"{len(part)} {name}" for name, part in found if part is not None)
        raise ValueError(f"{what} as many of everything as there are rows; got {said}.")


def _check_rows(rows: torch.Tensor, pictures: int) -> None:
    if not (isinstance(rows, torch.Tensor) and rows.dtype == torch.int64 and rows.ndim == 1):
        raise TypeError(f"ImageBatch.rows must be int64 (batch,); got {describe(rows)}.")
    if rows.device.type != "cpu":  # looking would mean to wait for the GPU
        return
    beyond = ((rows < 0) | (rows >= pictures)).nonzero()[:, 0]
    if len(beyond):
        first = int(beyond[0])
        raise ValueError(
            f"ImageBatch.rows says that row {first} shows picture {int(rows[first])}, and there are "
            f"{pictures} pictures (0 to {pictures - 1})."
        )


def row_list(rows: list[int]) -> str:
    """Row 3 (and 5, 8, …): eight at most."""
    more = ", ".join(map(str, rows[1:8])) + (", …" if len(rows) > 8 else "")
    return f"Row {rows[0]}" + (f" (and {more})" if more else "")
