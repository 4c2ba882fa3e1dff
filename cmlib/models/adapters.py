"""Other ways to tune a BERT by few numbers: adapters, a prefix, its biases, its upper layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import gelu

from cmlib.layers import multi_head


class Adapter(nn.Module):
    """x → x + up(gelu(down(x))), ``size`` numbers wide in its middle (Houlsby et al. 2019).

    forward : (…, width) → the same shape; ``up`` begins with zeros, so that nothing is changed at first
    """

    def __init__(self, width: int, size: int):
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.up(gelu(self.down(x)))


class Prefix(nn.Module):
    """A BERT's self-attention with ``length`` learned keys and values before those of the words (Li & Liang
    2021, without their reparametrisation).
    """

    def __init__(self, attention: nn.Module, length: int):
        super().__init__()
        self.attention = attention
        shape = length, attention.all_head_size
        self.keys, self.values = (nn.Parameter(0.02 * torch.randn(shape)) for _ in range(2))
        self.to(attention.query.weight.device)

    def forward(self, hidden_states, attention_mask=None, **_):
        rows, inner = len(hidden_states), self.attention
        q = inner.query(hidden_states)  # (batch, tokens, hidden)
        k, v = (torch.cat([own.expand(rows, -1, -1), part(hidden_states)], 1)
                for own, part in ((self.keys, inner.key), (self.values, inner.value)))
        mask = torch.ones(k.shape[:2], dtype=torch.bool, device=k.device)  # (batch, length + tokens)
        if attention_mask is not None:  # of transformers: bool, or 0 where a token may be read; 4 axes
            read = attention_mask[:, 0, 0]
            mask[:, len(self.keys):] = read if read.dtype == torch.bool else read == 0
        return multi_head(q, k, v, mask, inner.num_attention_heads), None


def add_adapters(model: nn.Module, size: int) -> nn.Module:
    """Freeze ``model``, and put an Adapter behind both output layers of every BERT layer in it."""
    model.requires_grad_(False)
    for name, part in list(model.named_modules()):
        if name.endswith("output.dense"):
            adapter = Adapter(part.out_features, size).to(part.weight.device)
            model.set_submodule(name, nn.Sequential(part, adapter))
    return model


def add_prefix(model: nn.Module, length: int) -> nn.Module:
    """Freeze ``model``, and give every self-attention of it a Prefix."""
    model.requires_grad_(False)
    for name, part in list(model.named_modules()):
        if name.endswith("attention.self"):
            model.set_submodule(name, Prefix(part, length))
    return model


def learn_only(model: nn.Module, texts: Sequence[str] = ()) -> nn.Module:
    """Freeze ``model``, except the parameters with one of ``texts`` in their name: (".bias",) is BitFit (Ben
    Zaken et al. 2022), ("layer.11.",) the last layer of a BERT-base.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(text in f".{name}" for text in texts))
    return model
