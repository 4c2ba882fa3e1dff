"""The layers of a transformer as functions: masked means, attention, many heads, one layer of BERT.

Weights come as arguments, under the names that transformers gives them, so that the layers of any BERT can
be run by hand. A mask is 1 (or True) where a token may be read and 0 on padding, in one of two shapes:
(batch, keys), the same for every query, or (batch, queries, keys). Each query needs at least one key: one
that may read nothing gets nan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over the tokens that are not padding; zeros for a row that is padding alone.

    states : (batch, tokens, hidden); mask : (batch, tokens); returns (batch, hidden)
    """
    if mask.shape != states.shape[:2]:
        raise ValueError(
            f"states {tuple(states.shape)} need a mask (batch, tokens) = {tuple(states.shape[:2])}; got "
            f"{tuple(mask.shape)}."
        )
    keep = mask.to(states.dtype)[..., None]  # (batch, tokens, 1)
    return (states * keep).sum(1) / keep.sum(1).clamp(min=1)


def bag_of_words(input_ids: Tensor, mask: Tensor, table: Tensor) -> Tensor:
    """The mean of the embeddings of the real tokens, in whatever order they stand.

    input_ids, mask : int64 (batch, tokens); table : (vocabulary, hidden); returns (batch, hidden)
    """
    return masked_mean(table[input_ids], mask)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d) v: each query's mean of the values, weighted by how well their keys answer it
    (Vaswani et al. 2017, equation 1).

    q : (batch, queries, d); k : (batch, keys, d); v : (batch, keys, size); returns (batch, queries, size).
    Between batch and queries there may be further axes, heads for example, that all three share.
    """
    if q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1] or q.shape[:-2] != k.shape[:-2]:
        raise ValueError(
            "attention wants q (batch, queries, d), k (batch, keys, d) and v (batch, keys, size); got "
            f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}."
        )
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # (batch, …, queries, keys)
    if mask is not None:
        # exp(−∞) = 0: before the softmax, so that the weights of what is left add up to one
        scores = scores.masked_fill(_for_scores(mask, scores) == 0, -torch.inf)
    return scores.softmax(-1) @ v  # (batch, …, queries, size)


def multi_head(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, n_heads: int) -> Tensor:
    """Attention by ``n_heads`` heads, each on its own block of d = hidden / n_heads neighbouring columns
    (Vaswani et al. 2017, section 3.2.2, without its linear maps).

    q : (batch, queries, hidden); k, v : (batch, keys, hidden); returns (batch, queries, hidden)
    """
    if q.shape[-1] % n_heads:
        raise ValueError(f"{q.shape[-1]} columns cannot be cut into {n_heads} heads of equal size.")
    heads = (x.unflatten(-1, (n_heads, -1)).transpose(1, 2) for x in (q, k, v))
    heard = attention(*heads, mask)  # (batch, heads, queries, d)
    return heard.transpose(1, 2).flatten(2)


def bert_layer(
    hidden: Tensor, mask: Tensor | None, state: Mapping[str, Tensor], n_heads: int, eps: float = 1e-12
) -> Tensor:
    """One encoder layer of BERT without dropout: attention, then two linear maps on each token, each half
    with its residual sum inside a LayerNorm (Devlin et al. 2019, section 3; "post-norm").

    hidden : (batch, tokens, hidden); returns the same shape
    state  : the sixteen tensors of transformers' ``BertLayer.state_dict()``; the GELU is the exact one
    """

    def dense(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name, x):
        weight, shift = state[f"{name}.LayerNorm.weight"], state[f"{name}.LayerNorm.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, shift, eps)

    q, k, v = (dense(f"attention.self.{part}", hidden) for part in ("query", "key", "value"))
    heard = multi_head(q, k, v, mask, n_heads)
    hidden = norm("attention.output", hidden + dense("attention.output.dense", heard))
    inner = F.gelu(dense("intermediate.dense", hidden))  # (batch, tokens, inner)
    return norm("output", hidden + dense("output.dense", inner))


def _for_scores(mask: Tensor, scores: Tensor) -> Tensor:
    """A mask with as many axes as scores (batch, …, queries, keys)."""
    batch, queries, keys = scores.shape[0], *scores.shape[-2:]
    if mask.shape not in ((batch, keys), (batch, queries, keys)):
        raise ValueError(
            f"The mask must have shape (batch, keys) = {(batch, keys)} or (batch, queries, keys) = "
            f"{(batch, queries, keys)}; got {tuple(mask.shape)}."
        )
    rows = 1 if mask.ndim == 2 else queries
    return mask.reshape(batch, *[1] * (scores.ndim - 3), rows, keys)
