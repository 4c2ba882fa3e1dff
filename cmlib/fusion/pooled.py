"""Heads that pool every modality to one vector x_m (batch, width) first, and then join the vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmlib.data.states import States
from cmlib.fusion.head import Head


class Additive(Head):
    """A linear layer on [x_1 ; … ; x_M]: the sum of one opinion of each modality (lesson 06)."""

    def build(self) -> None:
        self.out = nn.Linear(sum(self.widths), self.n_classes)

    def forward(self, states: States) -> Tensor:
        return self.out(torch.cat(self.pooled(states), 1))  # (batch, n_classes)


class Mlp(Head):
    """[x_1 ; … ; x_M], one hidden layer, logits: feature concatenation."""

    def build(self, hidden_size: int = 128) -> None:
        self.out = _mlp(sum(self.widths), hidden_size, self.n_classes)

    def forward(self, states: States) -> Tensor:
        return self.out(torch.cat(self.pooled(states), 1))


class Residual(Head):
    """A linear layer on [x_1 ; … ; x_M] plus a correction by an MLP: what can be added need not be learned
    twice (He et al. 2016, section 3.1, between modalities).
    """

    def build(self, hidden_size: int = 128) -> None:
        self.straight = nn.Linear(sum(self.widths), self.n_classes)
        self.correction = _mlp(sum(self.widths), hidden_size, self.n_classes)

    def forward(self, states: States) -> Tensor:
        joint = torch.cat(self.pooled(states), 1)
        return self.straight(joint) + self.correction(joint)


class Gated(Head):
    """Σ_m z_m ⊙ tanh(W_m x_m), where all modalities together decide the weights z, which sum to 1 over m in
    every unit (Arevalo et al. 2017, GMU; equation 3 for two modalities).
    """

    def build(self, hidden_size: int = 128) -> None:
        self.value = nn.ModuleList(nn.Linear(width, hidden_size) for width in self.widths)
        self.gate = nn.Linear(sum(self.widths), len(self.widths) * hidden_size)
        self.out = nn.Linear(hidden_size, self.n_classes)

    def forward(self, states: States) -> Tensor:
        vectors = self.pooled(states)
        values = torch.stack([v(x).tanh() for v, x in zip(self.value, vectors, strict=True)], 1)
        gates = self.gate(torch.cat(vectors, 1)).unflatten(1, values.shape[1:]).softmax(1)
        return self.out((gates * values).sum(1))  # over (batch, M, hidden_size)


class LowRank(Head):
    """P (⊙_m (U_m x_m + b_m)) + a linear layer: ``rank`` products, one factor of each modality (Kim et al.
    2017, equation 5; Liu et al. 2018). At full rank it can be any nn.Bilinear.
    """

    def build(self, rank: int = 128) -> None:
        self.factor = nn.ModuleList(nn.Linear(width, rank) for width in self.widths)
        self.out = nn.Linear(rank, self.n_classes)
        self.straight = nn.Linear(sum(self.widths), self.n_classes, bias=False)

    def forward(self, states: States) -> Tensor:
        vectors, product = self.pooled(states), 1.0
        for factor, x in zip(self.factor, vectors, strict=True):
            product = product * factor(x)  # (batch, rank)
        return self.out(product) + self.straight(torch.cat(vectors, 1))


class TensorFusion(Head):
    """The outer product of [1 ; p_m] over all modalities, p_m a projection to ``edge`` numbers, then an MLP:
    (edge + 1)^M products, the 1 keeps those of fewer modalities (Zadeh et al. 2017, equation 4).
    """

    def build(self, edge: int = 15, hidden_size: int = 128) -> None:
        self.project = nn.ModuleList(nn.Linear(width, edge) for width in self.widths)
        self.out = _mlp((edge + 1) ** len(self.widths), hidden_size, self.n_classes)

    def forward(self, states: States) -> Tensor:
        vectors = self.pooled(states)
        cube = torch.ones_like(vectors[0][:, :1])  # (batch, 1)
        for project, x in zip(self.project, vectors, strict=True):
            x = nn.functional.pad(project(x), (0, 1), value=1.0)  # (batch, edge + 1)
            cube = (cube[:, :, None] * x[:, None, :]).flatten(1)
        return self.out(cube)


def _mlp(width: int, hidden_size: int, n_classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden_size), nn.GELU(), nn.Linear(hidden_size, n_classes))
