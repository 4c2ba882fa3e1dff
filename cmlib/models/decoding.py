"""From scores of the next word to a caption: the best word each time, the best few, or drawn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cmlib.data.vocabulary import END, PAD, START


@torch.no_grad()
def beam_search(next_word: Callable, memory: Tensor, longest: int, width: int = 1) -> tuple[Tensor, Tensor]:
    """The best caption found, int64 (batch, tokens ≤ longest) from the start on, and its log-probability
    (batch,).

    next_word : (memory (rows, …), words (rows, tokens)) → scores (rows, n_words), such as ``model.next_word``
    width : how many beginnings are kept; 1 is greedy. An ended caption keeps its place and its score. It is
        given back without its end where ``longest`` comes first.
    """
    batch = len(memory)
    words = torch.full((batch, 1, 1), START, device=memory.device)  # (batch, beginnings, tokens)
    total = torch.zeros(batch, 1, device=memory.device)
    unfinished = torch.ones_like(words[..., 0], dtype=torch.bool)
    while words.shape[2] < longest and unfinished.any():
        kept = words.shape[1]
        row = torch.arange(batch, device=memory.device)[:, None].expand(-1, kept)[unfinished]
        scores = next_word(memory[row], words[unfinished]).float().log_softmax(1)  # (unfinished, n_words)
        n_words = scores.shape[1]
        if not 1 <= width <= n_words:
            raise ValueError(f"A beam of {width} over {n_words} words: there are not so many first words to "
                             f"keep; choose width from 1 to {n_words}.")
        more = torch.full((batch, kept, n_words), -torch.inf, device=memory.device)
        more[..., PAD] = 0.0  # an ended caption goes on with padding, at no cost
        more[unfinished] = scores
        best = (total[..., None] + more).flatten(1).topk(width, dim=1)
        total, beginning, word = best.values, best.indices // n_words, best.indices % n_words
        before = words.gather(1, beginning[..., None].expand(-1, -1, words.shape[2]))
        words = torch.cat([before, word[..., None]], 2)
        unfinished = (word != END) & (word != PAD)
    return words[:, 0], total[:, 0]


@torch.no_grad()
def draw_words(next_word: Callable, memory: Tensor, longest: int, generator: torch.Generator,
               temperature: float = 1.0) -> Tensor:
    """Captions drawn word by word from softmax(scores / temperature), int64 (batch, tokens ≤ longest).

    generator : of the CPU, so that the same seed draws the same on every device
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature!r} must be above 0: scores are divided by it; for the "
                         "best word each time take beam_search.")
    words = torch.full((len(memory), 1), START, device=memory.device)
    while words.shape[1] < longest:
        open_ = (words[:, -1] != END) & (words[:, -1] != PAD)
        if not open_.any():
            break
        scores = next_word(memory[open_], words[open_]).float()
        sums = (scores / temperature).softmax(1).cumsum(1)
        drawn = torch.rand(len(words), 1, generator=generator).to(sums.device)[open_]
        word = torch.full_like(words[:, 0], PAD)
        word[open_] = (sums < drawn * sums[:, -1:]).sum(1)
        words = torch.cat([words, word[:, None]], 1)
    return words
