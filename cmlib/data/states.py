"""States: what encoders give before anything is pooled, for as many modalities as there are."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cmlib.data.batch import Batch, Features, _check_counts, _Movable
from cmlib.data.pairs import describe
from cmlib.data.tree import take


@dataclass(frozen=True)
class States(_Movable):
    """Rows of vectors for each modality: the cells of a picture, the tokens of a text, the beats of a sound.

    states : {"image": (batch, cells, size), "text": (batch, tokens, size), …}; sizes may differ
    masks  : {"text": bool (batch, tokens)}, True on what may be read; a modality without one has no padding
    labels, targets as in Batch; class_names as in Pairs
    """

    states: dict[str, torch.Tensor]
    masks: dict[str, torch.Tensor] = field(default_factory=dict)
    labels: torch.Tensor | None = None
    targets: dict[str, object] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.states:
            raise ValueError("States need at least one modality, such as {'image': (batch, cells, size)}; "
                             "got none.")
        for name, rows in self.states.items():
            if not isinstance(rows, torch.Tensor) or rows.ndim != 3 or rows.shape[1] == 0:
                raise ValueError(f"States[{name!r}] must have shape (batch, cells or tokens, size), with one "
                                 f"of them at least; got {describe(rows)}.")
        for name, mask in self.masks.items():
            if name not in self.states:
                raise ValueError(f"There is a mask of {name!r}, and no states of it; the modalities are "
                                 f"{', '.join(self.states)}.")
            if mask.dtype != torch.bool or mask.shape != self.states[name].shape[:2]:
                raise ValueError(f"The mask of {name!r} must be bool {tuple(self.states[name].shape[:2])}, "
                                 f"True on what may be read; got {describe(mask)}.")
        parts = (*self.states.values(), self.labels, *self.targets.values())
        _check_counts("States need", (*self.states, "labels", *self.targets), parts)

    def __len__(self):
        return len(next(iter(self.states.values())))

    def __getitem__(self, rows) -> States:
        """Those rows, a slice or an index tensor, no longer than the longest of them."""
        states = {name: values[rows] for name, values in self.states.items()}
        masks = {name: mask[rows] for name, mask in self.masks.items()}
        for name, mask in masks.items():
            if mask.device.type == "cpu":  # on a GPU looking would mean to wait for it
                longest = _longest(mask)
                states[name], masks[name] = states[name][:, :longest], mask[:, :longest]
        answers = self.answers(rows)
        return States(states, masks, answers.labels, answers.targets, self.class_names)

    def answers(self, rows) -> Batch:
        """Labels and targets of these rows, without their states."""
        targets = {name: take(values, rows) for name, values in self.targets.items()}
        return Batch(None, None, None if self.labels is None else self.labels[rows], targets)

    def mask(self, name: str) -> torch.Tensor:
        """bool (batch, cells or tokens) of a modality, all True where it has no padding."""
        found = self.masks.get(name)
        return torch.ones_like(self.states[name][..., 0], dtype=torch.bool) if found is None else found

    def pooled(self) -> Features:
        """The mean of what may be read, image and text, as the encoders give it when they pool."""
        means = {}
        for name in ("image", "text"):
            keep = self.mask(name)[..., None]  # (batch, cells or tokens, 1)
            means[name] = (self.states[name] * keep).sum(1) / keep.sum(1).clamp(min=1)  # (batch, size)
        return Features(means["image"], means["text"], self.labels, self.targets, self.class_names)


def _longest(mask: torch.Tensor) -> int:
    """Where the last row that may be read ends; 1 where there is none."""
    read = mask.any(0).nonzero()
    return int(read[-1]) + 1 if len(read) else 1
