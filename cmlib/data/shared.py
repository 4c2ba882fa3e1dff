"""Rows that share their pictures and texts: five questions about one photo, one question about many."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cmlib.data.batch import _check_counts
from cmlib.data.states import States


@dataclass(frozen=True)
class SharedStates(States):
    """States in which several rows may have the same picture or text: each is stored once, and a batch
    gathers what its rows want.

    states, masks : of what is shared: "image" (pictures, cells, size), "text" (texts, tokens, size)
    rows : {"image": int64 (rows,), "text": int64 (rows,)}, which picture and which text each row has
    """

    rows: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self):
        for name, values in self.states.items():
            rows = self.rows.get(name)
            if rows is None or not 0 <= int(rows.min()) <= int(rows.max()) < len(values):
                raise ValueError(f"SharedStates want rows[{name!r}], numbers from 0 to {len(values) - 1} of "
                                 f"its {len(values)} entries, one for each row.")
        _check_counts("SharedStates need", (*self.rows, "labels"), (*self.rows.values(), self.labels))

    def __len__(self):
        return len(next(iter(self.rows.values())))

    def __getitem__(self, rows) -> States:
        """Those rows as plain States, texts no longer than the longest of them."""
        own = {name: of[rows] for name, of in self.rows.items()}
        states = {name: values[own[name]] for name, values in self.states.items()}
        masks = {name: mask[own[name]] for name, mask in self.masks.items()}
        answers, every = self.answers(rows), slice(None)
        return States(states, masks, answers.labels, answers.targets, self.class_names)[every]
