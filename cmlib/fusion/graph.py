"""A graph of regions and words, in which every kind of edge has weights of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmlib.data.states import States
from cmlib.fusion.head import Head
from cmlib.layers import masked_mean


class TypedGraph(Head):
    """Every state is a node, its modality the node's type; each node hears from the nodes of every type.

    One round, for node u of type i with state h_u and e the edge type (i, j):
        h_u ← LayerNorm(h_u + relu(W_i h_u + Σ_j Σ_v a_uv V_e h_v)),  a_uv = softmax_v (K_e h_u · h_v / √d)
    (Schlichtkrull et al. 2018, relational weights; Veličković et al. 2018, attention over neighbours). Then
    the means of all types side by side, and a linear layer.
    """

    def build(self, hidden_size: int = 64, rounds: int = 2) -> None:
        def map_():
            return nn.Linear(hidden_size, hidden_size, bias=False)

        types = range(len(self.sizes))
        self.project = nn.ModuleList(nn.Linear(size, hidden_size) for size in self.sizes.values())
        self.own = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in types)
        self.key = nn.ModuleList(nn.ModuleList(map_() for _ in types) for _ in types)  # [to][from]
        self.value = nn.ModuleList(nn.ModuleList(map_() for _ in types) for _ in types)
        self.after = nn.LayerNorm(hidden_size)
        self.rounds, self.out = rounds, nn.Linear(len(self.sizes) * hidden_size, self.n_classes)

    def forward(self, states: States) -> Tensor:
        parts = self.read(states)
        masks = [mask for _, mask in parts]
        nodes = [project(norm(x)) for (x, _), norm, project
                 in zip(parts, self.norm.values(), self.project, strict=True)]  # (batch, n, hidden_size)
        for _ in range(self.rounds):
            nodes = [self.after(x + (self.own[i](x) + self.heard(i, nodes, masks)).relu())
                     for i, x in enumerate(nodes)]
        return self.out(torch.cat([masked_mean(x, mask) for x, mask in zip(nodes, masks, strict=True)], 1))

    def heard(self, i: int, nodes: list[Tensor], masks: list[Tensor]) -> Tensor:
        """What the nodes of type i hear along all edges that lead to them: (batch, n, hidden_size)."""
        total = torch.zeros_like(nodes[i])
        for j, (x, mask) in enumerate(zip(nodes, masks, strict=True)):
            scores = self.key[i][j](nodes[i]) @ x.transpose(1, 2) / x.shape[-1] ** 0.5
            weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1)
            total = total + weights @ self.value[i][j](x)
        return total
