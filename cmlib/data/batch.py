"""Typed batches: an image batch and a text batch are different types, so they cannot be swapped silently."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from cmlib.data.pairs import describe


class _Movable:
    def to(self, device, non_blocking: bool = True):
        """The same batch with every tensor on ``device``."""
        return type(self)(
            *(getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self))
        )

    def __len__(self):
        return len(getattr(self, fields(self)[0].name))


@dataclass(frozen=True)
class ImageBatch(_Movable):
    """pixels : uint8 or float (batch, 3, height, width), values 0 … 255; encoders normalise them to fit their
    weights.
    """

    pixels: torch.Tensor

    def __post_init__(self):
        p = self.pixels
        if not (isinstance(p, torch.Tensor) and p.ndim == 4 and p.shape[1] == 3):
            raise TypeError(
                f"ImageBatch.pixels must have shape (batch, 3, height, width); got {describe(p)}."
            )


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
            raise TypeError(f"TextBatch.attention_mask must be int64 {tuple(ids.shape)} like input_ids; got "
                            f"{describe(mask)}.")
        # on a GPU looking would mean to wait for it
        if mask.device.type == "cpu" and not (there := mask.any(1)).all():
            raise ValueError(f"{_rows((~there).nonzero().flatten().tolist())} of a TextBatch has no token: "
                             "attention_mask is 0 everywhere, "
                             "and there is nothing to read; leave the row out or give it a text.")


@dataclass(frozen=True)
class Batch(_Movable):
    """One step's worth of pairs. labels : int64 (batch,)."""

    image: ImageBatch
    text: TextBatch
    labels: torch.Tensor

    def __post_init__(self):
        if not isinstance(self.image, ImageBatch):
            raise TypeError(f"Batch.image must be an ImageBatch; got {type(self.image).__name__}. Are image "
                            "and text swapped?")
        if not isinstance(self.text, TextBatch):
            raise TypeError(f"Batch.text must be a TextBatch; got {type(self.text).__name__}. Are image and "
                            "text swapped?")
        if not len(self.image) == len(self.text) == len(self.labels):
            raise ValueError(f"A batch needs as many images as texts and labels; got {len(self.image)}, "
                             f"{len(self.text)} "
                             f"and {len(self.labels)}.")


@dataclass(frozen=True)
class Features(_Movable):
    """What the encoders make of a batch. image : (batch, image_size); text : (batch, text_size); labels :
    int64 (batch,).
    """

    image: torch.Tensor
    text: torch.Tensor
    labels: torch.Tensor

    def __getitem__(self, rows) -> Features:
        return Features(self.image[rows], self.text[rows], self.labels[rows])


def _rows(rows: list[int]) -> str:
    """Row 3 (and 5, 8, …): eight at most."""
    more = ", ".join(map(str, rows[1:8])) + (", …" if len(rows) > 8 else "")
    return f"Row {rows[0]}" + (f" (and {more})" if more else "")
