"""Words become rows of ids: tokenised once, padded to the longest row of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch.nn.utils.rnn import pad_sequence

from cmlib.data.batch import Batch, ImageBatch, TextBatch, row_list
from cmlib.data.doubts import doubt_texts
from cmlib.data.pairs import Pairs
from cmlib.data.tree import map_tensors


@dataclass(frozen=True)
class TokenRows:
    """The ids of every text, tokenised once; ``rows[index]`` is a TextBatch.

    ids : int64 (rows, longest); lengths : int64 (rows,), tokens of each, always on the host, so that no batch
        waits to read them
    """

    ids: torch.Tensor
    lengths: torch.Tensor = field(metadata={"stays": True})

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer) -> TokenRows:
        ids = tokenise(texts, tokenizer)
        doubt_texts(texts, ids, tokenizer, most_tokens(tokenizer))
        lengths = torch.tensor([len(row) for row in ids])
        return cls(pad(ids, tokenizer.pad_token_id).input_ids, lengths)

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, index: torch.Tensor) -> TextBatch:
        lengths = self.lengths[index]
        longest = int(lengths.max())  # of this batch: dynamic padding
        mask = (torch.arange(longest) < lengths[:, None]).long().to(self.ids.device)  # (batch, longest)
        return TextBatch(self.ids[index, :longest], mask)

    def to(self, device) -> TokenRows:
        return map_tensors(lambda ids: ids.to(device), self)


def pad(token_ids: list[list[int]], pad_id: int = 0) -> TextBatch:
    """Pad to the longest row of *this* batch (dynamic padding) and build the mask that goes with it."""
    rows = [torch.tensor(row, dtype=torch.int64) for row in token_ids]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return TextBatch(pad_sequence(rows, batch_first=True, padding_value=pad_id), mask)


def tokenise(texts: Sequence[str], tokenizer) -> list[list[int]]:
    """The ids of each text, ``most_tokens`` at most; ValueError naming the rows of which no token is left."""
    if tokenizer is None:
        raise TypeError(f"There is no tokenizer that could read {texts[0]!r}: give the model one "
                        "(model.tokenizer), or leave the words out.")
    ids = tokenizer(list(texts), truncation=True, max_length=most_tokens(tokenizer))["input_ids"]
    empty = [row for row, found in enumerate(ids) if not found]
    if empty:
        raise ValueError(
            f"{row_list(empty)} has no token: its text is {texts[empty[0]]!r}, of which the tokenizer leaves "
            "nothing; write a text or leave the row out."
        )
    return ids


def most_tokens(tokenizer) -> int:
    """Where texts are cut: text_encoder(name, max_tokens=…), or 128."""
    return getattr(tokenizer, "max_tokens", 128)


def collate(pairs: Pairs, tokenizer) -> Batch:
    """Pairs → Batch: pixels stay uint8, words become padded ids."""
    image = None if pairs.images is None else ImageBatch(pairs.images, pairs.picture)
    text = None
    if pairs.texts is not None:
        text = pad(tokenise(pairs.texts, tokenizer), tokenizer.pad_token_id)
    return Batch(image, text, pairs.labels)
