"""Rows: data ready for steps, tokenised once; ``rows[index]`` is a Batch."""

from __future__ import annotations

from copy import copy

import torch

from cmlib.data.batch import Batch, ImageBatch, TextBatch
from cmlib.data.pairs import Pairs
from cmlib.data.tokens import pad, tokenise


class Rows:
    """Data ready for steps: ``rows[index]`` is a Batch. The words of Pairs are tokenised once, here, not once
    per epoch.

    lengths : int64 (rows,), tokens of each row · to(device) : the same rows there, if they fit: no copies
        while training
    """

    def __init__(self, pairs: Pairs, tokenizer):
        self.images, self.labels = pairs.images, pairs.labels
        ids = tokenise(pairs.texts, tokenizer)
        self.lengths = torch.tensor([len(row) for row in ids])
        self.ids = pad(ids, tokenizer.pad_token_id).input_ids  # (rows, longest)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index: torch.Tensor) -> Batch:
        lengths = self.lengths[index]
        longest = int(lengths.max())  # of this batch: dynamic padding
        mask = (torch.arange(longest) < lengths[:, None]).long().to(self.ids.device)  # (batch, longest)
        return Batch(
            ImageBatch(self.images[index]), TextBatch(self.ids[index, :longest], mask), self.labels[index]
        )

    def to(self, device) -> Rows:
        moved = copy(self)
        moved.images, moved.ids, moved.labels = (t.to(device) for t in (self.images, self.ids, self.labels))
        return moved
