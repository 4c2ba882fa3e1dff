"""Decoders that write about a picture: a causal transformer over its cells, and an LSTM with attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmlib.data.device import follow, settle
from cmlib.data.pairs import describe
from cmlib.data.states import States
from cmlib.data.vocabulary import PAD


class Writer(nn.Module):
    """What all captioners share. forward(States) → logits (batch, tokens − 1, n_words) of each next word,
    given the words of the truth before it (teacher forcing): of the target "words", int64 (batch, tokens). In
    training only as many places as the longest caption of the batch needs.

    ``memory(cells)`` is made once of a picture; ``logits(memory, words)`` gives for every place the scores of
    the word that follows; ``next_word`` only those of the last place, for cmlib.models.decoding.
    """

    def forward(self, states: States) -> Tensor:
        if not isinstance(states, States) or "words" not in states.targets:
            raise TypeError("A captioner is trained on States with a target 'words', int64 (rows, tokens), "
                            f"as Vocabulary.encode gives it; got {describe(states)}.")
        states = follow(states, self)
        words = states.targets["words"][:, :-1]  # nothing follows the last
        if self.training and words.device.type == "cpu":  # on a GPU looking would mean to wait for it
            words = words[:, : int((words != PAD).any(0).sum())]  # no more places than this batch needs
        return self.logits(self.memory(states.states["image"]), words)

    def next_word(self, memory: Tensor, words: Tensor) -> Tensor:
        """Scores (batch, n_words) of what follows these words, (batch, tokens)."""
        return self.logits(memory, words)[:, -1]


class Captioner(Writer):
    """A transformer decoder (Vaswani et al. 2017, section 3, with the norms first): each word looks at the
    words up to itself, then at the cells of the picture. The place before the first word also gets a linear
    map of all cells, as an LSTM does in its first state: how many things there are is seen at once.

    image_size, cells : of the map, such as ``encoder.hidden_size`` and 16; n_words : of the vocabulary
    longest : places for words, start included; causal=False lets every word see all others: a fault, to be
        shown
    """

    def __init__(self, image_size: int, cells: int, n_words: int, longest: int = 32, hidden_size: int = 128,
                 n_layers: int = 2, n_heads: int = 4, causal: bool = True):
        super().__init__()
        self.causal = causal
        self.words = nn.Embedding(n_words, hidden_size, padding_idx=PAD)
        # as large as what they are added to: drawn at .02 they are hardly seen, and learning takes longer
        self.place = nn.Parameter(torch.randn(longest, hidden_size))
        self.cell = nn.Parameter(torch.randn(cells, hidden_size))
        self.map = nn.Sequential(nn.Linear(image_size, hidden_size), nn.LayerNorm(hidden_size))
        self.first = nn.Linear(cells * hidden_size, hidden_size)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(hidden_size, n_heads, 2 * hidden_size, 0.0, "gelu", batch_first=True,
                                       norm_first=True) for _ in range(n_layers))
        self.out = nn.Sequential(nn.LayerNorm(hidden_size), nn.Linear(hidden_size, n_words))
        settle(self)

    def memory(self, cells: Tensor) -> Tensor:
        return self.map(follow(cells, self)) + self.cell

    def logits(self, memory: Tensor, words: Tensor) -> Tensor:
        length = words.shape[1]
        if length > len(self.place):
            raise ValueError(f"{length} words are more than the {len(self.place)} places of this Captioner: "
                             f"make it with longest={length} or more.")
        hidden = self.words(words) + self.place[:length]  # (batch, tokens, hidden)
        hidden = torch.cat([hidden[:, :1] + self.first(memory.flatten(1))[:, None], hidden[:, 1:]], 1)
        later = None  # True: may not be seen
        if self.causal:
            later = torch.ones(length, length, dtype=torch.bool, device=words.device).triu(1)
        for layer in self.layers:
            hidden = layer(hidden, memory, tgt_mask=later)
        return self.out(hidden)


class LSTMCaptioner(Writer):
    """The older decoder: an LSTM carries what was written; ``attends``: each state also looks at the cells
    (Xu et al. 2015, with the attention of today), else all it knows of the picture is its first state
    (Vinyals et al. 2015), a linear map of all cells.
    """

    def __init__(self, image_size: int, cells: int, n_words: int, hidden_size: int = 128,
                 attends: bool = True):
        super().__init__()
        self.words = nn.Embedding(n_words, hidden_size, padding_idx=PAD)
        self.cell = nn.Parameter(torch.randn(cells, hidden_size))
        self.map = nn.Sequential(nn.Linear(image_size, hidden_size), nn.LayerNorm(hidden_size))
        self.first = nn.Linear(cells * hidden_size, 2 * hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, batch_first=True)
        self.look = nn.MultiheadAttention(hidden_size, 4, batch_first=True) if attends else None
        self.out = nn.Sequential(nn.LayerNorm(hidden_size), nn.Linear(hidden_size, n_words))
        settle(self)

    def memory(self, cells: Tensor) -> Tensor:
        return self.map(follow(cells, self)) + self.cell

    def logits(self, memory: Tensor, words: Tensor) -> Tensor:
        state, carry = self.first(memory.flatten(1))[None].tanh().chunk(2, dim=2)  # (1, batch, hidden) each
        hidden, _ = self.lstm(self.words(words), (state.contiguous(), carry.contiguous()))
        if self.look is not None:
            hidden = hidden + self.look(hidden, memory, memory, need_weights=False)[0]
        return self.out(hidden)
