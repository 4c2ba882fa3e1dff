"""A list of words: captions to numbers and back, with a mark where a caption starts and where it ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PAD, START, END = 0, 1, 2


class Vocabulary:
    """words : every word once, in any order; they become the numbers from 3 on. 0 is padding, 1 the start, 2
    the end of a caption. ``words``, ``len`` and the numbers include these three.
    """

    def __init__(self, words: Iterable[str]):
        self.words = ("<pad>", "<s>", "</s>", *sorted(set(words)))
        self.number = {word: k for k, word in enumerate(self.words)}

    @classmethod
    def of(cls, texts: Sequence[str]) -> Vocabulary:
        """All words, between spaces, of these texts."""
        return cls(word for text in texts for word in text.split())

    def __len__(self):
        return len(self.words)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """int64 (texts, longest + 2): start, words, end, padding. ValueError for a text without a word, and
        for a word that is not in the list.
        """
        rows = [text.split() for text in texts]
        for place, row in enumerate(rows):
            if not row:
                raise ValueError(f"Caption {place} is empty: there is no word to learn or to compare; leave "
                                 "its row out.")
            for word in row:
                if word not in self.number:
                    raise ValueError(f"Caption {place} has the word {word!r}, which is none of the "
                                     f"{len(self) - 3} words of this vocabulary: make it of all captions, "
                                     "Vocabulary.of(texts).")
        ids = torch.full((len(rows), max(map(len, rows), default=0) + 2), PAD)
        for place, row in enumerate(rows):
            ids[place, : len(row) + 2] = torch.tensor([START, *(self.number[word] for word in row), END])
        return ids

    def decode(self, ids: Tensor) -> list[str]:
        """The texts of int64 (texts, tokens), each up to its first end, without the marks."""
        texts = []
        for row in ids.tolist():
            row = row[: row.index(END)] if END in row else row
            texts.append(" ".join(self.words[k] for k in row if k not in (PAD, START)))
        return texts


@dataclass(frozen=True)
class LikeLengths:
    """``fit(…, sampler=LikeLengths("words"))``: captions of like length share a batch, so that little padding
    is computed. Twenty batches' worth of rows are drawn, sorted and cut; the batches come in random order.

    name : of the target that holds the captions, int64 (rows, tokens), 0 is padding
    """

    name: str

    def __call__(self, rows, batch_size: int, generator: torch.Generator) -> list[Tensor]:
        lengths = (rows.targets[self.name] != PAD).sum(1).cpu()
        batches = []
        for pool in torch.randperm(len(rows), generator=generator).split(20 * batch_size):
            batches += pool[lengths[pool].argsort(stable=True)].split(batch_size)
        return [batches[k] for k in torch.randperm(len(batches), generator=generator).tolist()]
