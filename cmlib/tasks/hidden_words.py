"""Masked words seen through a picture: which words were hidden, and how they are guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cmlib.data.batch import Batch
from cmlib.data.pairs import Pairs
from cmlib.data.tokens import pad as pad_ids
from cmlib.data.tokens import tokenise
from cmlib.tasks.base import Task

NONE = -1  # in the place of a hidden word that a row does not have


class HiddenWords(Task):
    """The masked language model of Devlin et al. 2019, section 3.1, on words of one list.

    Outputs: logits (batch, hidden words, n_words). Targets "states" and "words", as ``hide_words`` makes
    them. Score "hidden words": the share that is guessed.
    """

    targets = ("states", "words")

    def objective(self, outputs: Tensor, batch: Batch) -> Tensor:
        words = batch.targets["words"]  # (batch, hidden words)
        total = cross_entropy(outputs.flatten(0, 1), words.flatten(), ignore_index=NONE, reduction="sum")
        return total / len(words)

    def keep(self, outputs: Tensor, batch: Batch) -> Tensor:
        return outputs

    def score(self, kept: Tensor, rows) -> dict[str, float]:
        words = rows.targets["words"].to(kept.device)
        there = words != NONE
        right = (kept.argmax(2) == words)[there].double().mean().item()
        return {"loss": cross_entropy(kept[there], words[there]).item(), "hidden words": right}


@torch.no_grad()
def hide_words(pairs: Pairs, words: Sequence[str], text_encoder, batch_size: int = 256) -> Pairs:
    """The same pictures without texts; extras "states" float (rows, most, hidden_size), what a frozen text
    encoder says at each hidden place, and "words" int64 (rows, most), which of ``words`` stood there, or −1.

    Every one of ``words`` is hidden wherever it stands alone between spaces; ValueError if none does.
    """
    tokenizer, number = text_encoder.tokenizer, {word: k for k, word in enumerate(words)}
    parts = [text.split() for text in pairs.texts]
    hidden = [[number[word] for word in row if word in number] for row in parts]
    most = max(map(len, hidden))
    if not most:
        raise ValueError(f"None of the {len(words)} words ({', '.join(words[:4])}, …) stands in these "
                         f"{len(pairs):,} texts.")
    shown = [" ".join(tokenizer.mask_token if word in number else word for word in row) for row in parts]
    ids = tokenise(shown, tokenizer)
    states = torch.zeros(len(pairs), most, text_encoder.hidden_size)
    found = torch.full((len(pairs), most), NONE)
    by_length = torch.tensor([len(row) for row in ids]).argsort()  # less padding to read
    for rows in by_length.split(batch_size):
        batch = pad_ids([ids[row] for row in rows.tolist()], tokenizer.pad_token_id)
        at_masks = batch.input_ids == tokenizer.mask_token_id  # (rows, tokens)
        row, place = at_masks.nonzero(as_tuple=True)
        turn = (at_masks.cumsum(1) - 1)[row, place]  # first, second, … hidden word of its text
        said = text_encoder.states(batch).cpu()
        states[rows[row], turn] = said[row, place]
    for row, chosen in enumerate(hidden):
        found[row, : len(chosen)] = torch.tensor(chosen)
    return replace(pairs, texts=None, extras=pairs.extras | {"states": states, "words": found})
