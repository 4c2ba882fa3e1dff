"""Heads that let the modalities meet before anything is pooled: words change what is seen, and look at it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmlib.data.states import States
from cmlib.fusion.head import Head
from cmlib.layers import masked_mean, multi_head


class Film(Head):
    """The later modalities, pooled, scale and shift every channel of the first one's cells:
    relu((1 + γ) ⊙ a + β), then the mean over the cells (Perez et al. 2018, equation 2).
    """

    fewest = 2

    def build(self, hidden_size: int = 128) -> None:
        self.cells = nn.Linear(self.widths[0], hidden_size)
        self.modulate = nn.Linear(sum(self.widths[1:]), 2 * hidden_size)
        self.after = nn.Linear(hidden_size, hidden_size)
        self.out = nn.Linear(hidden_size, self.n_classes)

    def forward(self, states: States) -> Tensor:
        first, (x, mask) = next(iter(self.sizes)), self.read(states)[0]
        cells = self.cells(self.norm[first](x))  # (batch, cells, hidden_size)
        gamma, beta = self.modulate(torch.cat(self.pooled(states)[1:], 1))[:, None].chunk(2, -1)
        cells = ((1 + gamma) * cells + beta).relu()
        return self.out(masked_mean(self.after(cells).relu(), mask))


class Attend(nn.Module):
    """Many-headed attention of x on ``source``: nn.MultiheadAttention(size, n_heads, batch_first=True).

    x : (batch, queries, size); source : (batch, keys, size); mask : bool (batch, keys), True on what may be
    read; returns (batch, queries, size). Vaswani et al. 2017, section 3.2.2
    """

    def __init__(self, size: int, n_heads: int):
        super().__init__()
        if size % n_heads:
            raise ValueError(f"hidden_size={size} cannot be cut into n_heads={n_heads} of equal size.")
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))
        self.n_heads = n_heads

    def forward(self, x: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        return self.out(multi_head(self.query(x), self.key(source), self.value(source), mask, self.n_heads))


class Tokens(Head):
    """Every state as a token of width ``hidden_size``, with a learned vector for its modality."""

    def build(self, hidden_size: int = 64, n_heads: int = 4) -> None:
        self.project = nn.ModuleList(nn.Linear(size, hidden_size) for size in self.sizes.values())
        self.kind = nn.Parameter(0.02 * torch.randn(len(self.sizes), hidden_size))
        self.attend = Attend(hidden_size, n_heads)
        self.before, self.between, self.end = (nn.LayerNorm(hidden_size) for _ in range(3))
        self.dense = nn.Sequential(nn.Linear(hidden_size, 4 * hidden_size), nn.GELU(),
                                   nn.Linear(4 * hidden_size, hidden_size))
        self.out = nn.Linear(hidden_size, self.n_classes)

    def tokens(self, states: States) -> list[tuple[Tensor, Tensor]]:
        parts = zip(self.read(states), self.norm.values(), self.project, self.kind, strict=True)
        return [(project(norm(x)) + kind, mask) for (x, mask), norm, project, kind in parts]


class CrossAttention(Tokens):
    """The tokens of the last modality look at those of all the others, then the mean over them (Lu et al.
    2019, co-attention, in one direction).
    """

    fewest = 2

    def forward(self, states: States) -> Tensor:
        *others, (x, mask) = self.tokens(states)
        source, readable = (torch.cat(part, 1) for part in zip(*others, strict=True))
        x = x + self.attend(self.before(x), self.between(source), readable)
        return self.out(masked_mean(self.end(x + self.dense(x)), mask))


class OneStream(Tokens):
    """One stream of tokens Z (batch, n + m + …, hidden_size) in which all look at all: a layer of a
    transformer on both modalities (Li et al. 2019, VisualBERT).

    readout : "mean" of all tokens, or "first": a learned token of its own, as BERT's [CLS]
    """

    def build(self, hidden_size: int = 64, n_heads: int = 4, readout: str = "mean") -> None:
        if readout not in ("mean", "first"):
            raise ValueError(f"readout={readout!r} must be 'mean' or 'first'.")
        super().build(hidden_size, n_heads)
        self.readout, self.first = readout, nn.Parameter(0.02 * torch.randn(1, 1, hidden_size))

    def forward(self, states: States) -> Tensor:
        z, mask = (torch.cat(part, 1) for part in zip(*self.tokens(states), strict=True))
        if self.readout == "first":
            z = torch.cat([self.first.expand(len(z), 1, -1), z], 1)
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], 1)
        normed = self.before(z)
        z = z + self.attend(normed, normed, mask)
        z = self.end(z + self.dense(self.between(z)))
        return self.out(z[:, 0] if self.readout == "first" else masked_mean(z, mask))
