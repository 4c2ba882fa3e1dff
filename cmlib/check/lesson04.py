"""Lesson 04, Reading: the bag of words, attention, its heads, and one whole layer of BERT."""

import math

import torch
from torch.nn import functional as F

from cmlib import layers
from cmlib.check.engine import case, exercise


def _padded(draw, batch, tokens):
    """A mask (batch, tokens) whose rows end in padding, at least one token each; row 0 is full."""
    lengths = draw.integers(tokens, batch, low=1)
    lengths[0] = tokens
    return (torch.arange(tokens) < lengths[:, None]).long()


# 04.1 -------------------------------------------------------------------------------------------------------

@exercise("04.1", "A bag of words with a mask", minutes=8, points=2, difficulty=2, grad=(2,))
def bag_of_words(input_ids, mask, table):
    return layers.bag_of_words(input_ids, mask, table)


@bag_of_words.cases
def _(draw):
    ids = draw.integers(11, 3, 6, low=1)
    ids[:, 1] = ids[:, 0]  # a word that stands twice
    mask = _padded(draw, 3, 6)
    mask[1, 4:] = 0
    yield case(ids * mask, mask, draw.normal(11, 4), about="messages of different lengths")
    yield case(
        draw.integers(5, 4, 7),
        torch.ones(4, 7, dtype=torch.long),
        draw.normal(5, 3),
        about="messages without padding",
    )
    odd = _padded(draw, 4, 5)
    odd[1, 2:] = 0
    yield case(draw.integers(6, 4, 5), odd, draw.normal(6, 2),
               about="a batch whose padding has other ids than 0 (trust the mask, not the ids)")
    yield case(draw.integers(6, 2, 5), torch.tensor([[1, 1, 1, 1, 0], [0] * 5]), draw.normal(6, 3),
               about="an empty message, whose bag is all zeros")
    yield case(
        draw.integers(6, 1, 1),
        torch.ones(1, 1, dtype=torch.long),
        draw.normal(6, 1),
        about="one message of one token",
    )


@bag_of_words.mistake("Padding is in the bag: the mean runs over all positions, real or not.")
def _(ids, mask, table):
    return table[ids].mean(1)


@bag_of_words.mistake("Padding is not in your sum, but it is in your count: divide by the number of real "
                      "tokens, row by row.")
def _(ids, mask, table):
    return (table[ids] * mask[..., None]).mean(1)


@bag_of_words.mistake("Padding is in your sum: you divide by the right count, but the padded positions are "
                      "still added.")
def _(ids, mask, table):
    return table[ids].sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


@bag_of_words.mistake("This is the sum, and the mean is wanted: a long message must not shout louder than a "
                      "short one.")
def _(ids, mask, table):
    return (table[ids] * mask[..., None]).sum(1)


@bag_of_words.mistake("A word that stands twice is counted once: that is a set of words; a bag keeps the "
                      "counts.")
def _(ids, mask, table):
    present = torch.zeros(len(ids), len(table), dtype=table.dtype).scatter_reduce(
        1, ids, mask.to(table.dtype), "amax"
    )
    return present @ table / present.sum(1, keepdim=True).clamp(min=1)


@bag_of_words.mistake("This is the largest value per dimension (max pooling); the mean is wanted.")
def _(ids, mask, table):
    return table[ids].masked_fill(mask[..., None] == 0, -torch.inf).amax(1)


@bag_of_words.mistake("Your padding is found from the ids (id 0); use the mask: 0 may be a real word, and "
                      "padding may have any id.")
def _(ids, mask, table):
    return bag_of_words(ids, (ids != 0).long(), table)


@bag_of_words.mistake("An empty message gives nan: 0/0. Its bag must be all zeros.")
def _(ids, mask, table):
    return (table[ids] * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


# 04.2 -------------------------------------------------------------------------------------------------------

@exercise("04.2", "Attention by hand", minutes=12, points=3, difficulty=3, grad=(0, 1, 2))
def attention(q, k, v, mask):
    return layers.attention(q, k, v, mask)


def _attend(q, k, v, mask, scale=None, hide=-torch.inf, axis=-1):
    """Attention with a part that can be wrong; the mask has the axes of the scores."""
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return scores.masked_fill(mask == 0, hide).softmax(axis) @ v


@attention.cases
def _(draw):
    mask = _padded(draw, 3, 6)
    mask[1, 3:] = 0
    yield case(
        draw.normal(3, 5, 4), draw.normal(3, 6, 4), draw.normal(3, 6, 2), mask, about="keys with padding"
    )
    yield case(
        draw.normal(2, 4, 9),
        draw.normal(2, 4, 9),
        draw.normal(2, 4, 9),
        torch.ones(2, 4, dtype=torch.long),
        about="a batch without padding",
    )
    left = torch.tensor([[0, 0, 1, 1], [1, 0, 1, 0]])
    yield case(
        draw.normal(2, 4, 3),
        draw.normal(2, 4, 3),
        draw.normal(2, 4, 5),
        left,
        about="padding at the front and in the middle",
    )
    q, k = draw.normal(1, 3, 4), draw.normal(1, 5, 4)
    # ±1800 for every key, so that the weights are no zeros and ones
    q[..., 0], k[..., 0] = torch.tensor([60.0, -60.0, 60.0]), 60.0
    yield case(q, k, draw.normal(1, 5, 4), torch.tensor([[1, 1, 1, 1, 0]]), about="scores in the thousands")
    yield case(
        draw.normal(1, 1, 1),
        draw.normal(1, 1, 1),
        draw.normal(1, 1, 1),
        torch.ones(1, 1, dtype=torch.long),
        about="one query and one key",
    )


@attention.mistake("The padding is not masked: padded keys still take weight from the words.")
def _(q, k, v, mask):
    return _attend(q, k, v, torch.ones_like(mask)[:, None])


@attention.mistake("The mask is upside down: 1 marks a word and 0 marks padding, and you hide the words.")
def _(q, k, v, mask):
    return _attend(q, k, v, 1 - mask[:, None], hide=-1e9)


@attention.mistake("Rows of nan: the mask is upside down, and a message without padding has all its words "
                   "hidden.")
def _(q, k, v, mask):
    return _attend(q, k, v, 1 - mask[:, None])


@attention.mistake("Padded scores are set to 0, and exp(0) = 1 is still a weight: what number has "
                   "exponential zero?")
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None], hide=0.0)


@attention.mistake("Padding is removed after the softmax, so the weights of a row no longer add up to one: "
                   "mask the scores, not the weights.")
def _(q, k, v, mask):
    weights = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights * mask[:, None]) @ v


@attention.mistake("The scores are not scaled: without 1/√d they grow with the length of the vectors and the "
                   "softmax saturates.")
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None], scale=1.0)


@attention.mistake("The scores are divided by d; divide by its square root: the dot product of two random "
                   "vectors has spread √d, not d.")
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None], scale=1 / q.shape[-1])


@attention.mistake("The scores are scaled by the number of keys; the length of a query vector (its last "
                   "size) is what counts.")
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None], scale=k.shape[1] ** -0.5)


@attention.mistake("The softmax runs over the queries; each query must share out one unit of weight over the "
                   "keys (the last axis of the scores).")
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None], hide=-1e9, axis=1)


@attention.mistake("The softmax is missing: scores are not weights; they must be positive and add up to one.")
def _(q, k, v, mask):
    return (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) * mask[:, None]) @ v


@attention.mistake("The result is nan for large scores: exp of a thousand overflows. Use softmax, which "
                   "subtracts the maximum first.")
def _(q, k, v, mask):
    weights = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).exp() * mask[:, None]
    return weights / weights.sum(-1, keepdim=True) @ v


# 04.3 -------------------------------------------------------------------------------------------------------

@exercise("04.3", "Many heads", minutes=12, points=3, difficulty=3, grad=(0, 1, 2))
def multi_head(q, k, v, mask, n_heads):
    return layers.multi_head(q, k, v, mask, n_heads)


def _split(x, n_heads):
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def _merge(x):
    return x.transpose(1, 2).flatten(2)


@multi_head.cases
def _(draw):
    mask = _padded(draw, 3, 5)
    mask[1, 3:] = 0
    yield case(
        draw.normal(3, 5, 12),
        draw.normal(3, 5, 12),
        draw.normal(3, 5, 12),
        mask,
        3,
        about="3 heads of size 4",
    )
    ones = torch.ones(2, 6, dtype=torch.long)
    yield case(
        draw.normal(2, 6, 8),
        draw.normal(2, 6, 8),
        draw.normal(2, 6, 8),
        ones,
        2,
        about="2 heads without padding",
    )
    yield case(
        draw.normal(2, 4, 6),
        draw.normal(2, 4, 6),
        draw.normal(2, 4, 6),
        ones[:, :4],
        1,
        about="a single head",
    )
    yield case(
        draw.normal(1, 3, 4),
        draw.normal(1, 3, 4),
        draw.normal(1, 3, 4),
        ones[:1, :3],
        4,
        about="heads of size 1",
    )


@multi_head.mistake("There is only one head in your result: split the columns into n_heads groups before you "
                    "attend.")
def _(q, k, v, mask, n_heads):
    return _attend(q, k, v, mask[:, None])


@multi_head.mistake("Tokens and heads are mixed: a view straight to (batch, heads, tokens, size) cuts the "
                    "wrong way; split the last axis, then swap axes.")
def _(q, k, v, mask, n_heads):
    b, t, h = q.shape
    q, k, v = (x.reshape(b, n_heads, t, h // n_heads) for x in (q, k, v))
    return _merge(_attend(q, k, v, mask[:, None, None]))


@multi_head.mistake("Tokens and heads are mixed on both ways: the cut and the merge undo each other's shape, "
                    "but each head saw pieces of several tokens.")
def _(q, k, v, mask, n_heads):
    b, t, h = q.shape
    q, k, v = (x.reshape(b, n_heads, t, h // n_heads) for x in (q, k, v))
    return _attend(q, k, v, mask[:, None, None]).reshape(b, t, h)


@multi_head.mistake("The heads are attended rightly and merged wrongly: swap tokens and heads back before "
                    "you flatten.")
def _(q, k, v, mask, n_heads):
    return _attend(*(_split(x, n_heads) for x in (q, k, v)), mask[:, None, None]).reshape(q.shape)


@multi_head.mistake("Your heads take every n-th column; a head is a block of neighbouring columns.")
def _(q, k, v, mask, n_heads):
    q, k, v = (x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2) for x in (q, k, v))
    return _attend(q, k, v, mask[:, None, None]).permute(0, 2, 3, 1).flatten(2)


@multi_head.mistake("The heads come out as every n-th column: merge them as blocks, the way they were cut.")
def _(q, k, v, mask, n_heads):
    return (
        _attend(*(_split(x, n_heads) for x in (q, k, v)), mask[:, None, None]).permute(0, 2, 3, 1).flatten(2)
    )


@multi_head.mistake("The scores are scaled by √hidden; a head's vectors have only hidden/n_heads numbers, "
                    "and that is the d of its √d.")
def _(q, k, v, mask, n_heads):
    heads = (_split(x, n_heads) for x in (q, k, v))
    return _merge(_attend(*heads, mask[:, None, None], scale=q.shape[-1] ** -0.5))


@multi_head.mistake("The padding is not masked: give the mask to every head.")
def _(q, k, v, mask, n_heads):
    return _merge(_attend(*(_split(x, n_heads) for x in (q, k, v)), torch.ones_like(mask)[:, None, None]))


# 04.4 -------------------------------------------------------------------------------------------------------

@exercise("04.4", "A layer of BERT by hand", minutes=18, points=4, difficulty=4, grad=(0,))
def bert_layer(hidden, mask, state, n_heads):
    return layers.bert_layer(hidden, mask, state, n_heads)


def _layer(
    x,
    mask,
    state,
    n_heads,
    *,
    residual=(1, 1),
    eps=1e-12,
    gelu="none",
    linear=F.linear,
    norm=None,
    pre=False,
    names=("query", "key", "value"),
    act=None,
    norms=("attention.output", "output"),
    project=True,
    bias=True,
):
    """The layer with every part that a learner may get wrong as an argument."""

    def dense(name, x):
        return linear(x, state[name + ".weight"], state[name + ".bias"] if bias else None)

    def layer_norm(name, x):
        weight, shift = state[name + ".LayerNorm.weight"], state[name + ".LayerNorm.bias"]
        return (norm or F.layer_norm)(x, x.shape[-1:], weight, shift, eps)

    a = layer_norm(norms[0], x) if pre else x
    a = layers.multi_head(*(dense(f"attention.self.{name}", a) for name in names), mask, n_heads)
    a = (dense("attention.output.dense", a) if project else a) + residual[0] * x
    a = a if pre else layer_norm(norms[0], a)
    f = dense("intermediate.dense", layer_norm(norms[1], a) if pre else a)
    f = dense("output.dense", act(f) if act else F.gelu(f, approximate=gelu)) + residual[1] * a
    return f if pre else layer_norm(norms[1], f)


def _state(draw, hidden, inner, scale=0.6):
    """Random weights under the names of transformers' BertLayer.state_dict()."""
    shapes = {"attention.self.query": (hidden, hidden), "attention.self.key": (hidden, hidden),
              "attention.self.value": (hidden, hidden), "attention.output.dense": (hidden, hidden),
              "intermediate.dense": (inner, hidden), "output.dense": (hidden, inner)}
    state = {}
    for name, shape in shapes.items():
        state |= {
            f"{name}.weight": scale * draw.normal(*shape),
            f"{name}.bias": scale * draw.normal(shape[0]),
        }
    for name in ("attention.output", "output"):
        state |= {
            f"{name}.LayerNorm.weight": 1 + 0.3 * draw.normal(hidden),
            f"{name}.LayerNorm.bias": 0.3 * draw.normal(hidden),
        }
    return state


@bert_layer.cases
def _(draw):
    mask = _padded(draw, 2, 5)
    mask[1, 3:] = 0
    yield case(draw.normal(2, 5, 8), mask, _state(draw, 8, 8), 2, about="2 heads, padding, and square "
                                                                        "weights throughout")
    yield case(draw.normal(2, 5, 6), mask, _state(draw, 6, 24), 3, about="3 heads, padding, and an inner "
                                                                         "size of four times the hidden")
    yield case(
        0.02 * draw.normal(3, 4, 6),
        torch.ones(3, 4, dtype=torch.long),
        _state(draw, 6, 10, scale=0.02),
        3,
        about="small weights, where the ε of LayerNorm shows",
    )
    yield case(
        draw.normal(1, 1, 4), torch.ones(1, 1, dtype=torch.long), _state(draw, 4, 4), 4, about="one token"
    )


def _says(sentence, **change):
    bert_layer.mistake(sentence)(lambda x, mask, state, n_heads: _layer(x, mask, state, n_heads, **change))


_says("The first residual is missing: what went into the attention is added to what comes out, before "
      "LayerNorm.", residual=(0, 1))
_says("The second residual is missing: add what went into the feed-forward part to what comes out, before "
      "LayerNorm.",
      residual=(1, 0))
_says(
    "Both residuals are missing: each half of the layer adds its input to its output before LayerNorm.",
    residual=(0, 0),
)
_says("Normalisation comes first in your layer (pre-norm, as in GPT-2); in BERT it comes after the residual "
      "sum (post-norm).", pre=True)
_says("This GELU is the tanh approximation; BERT uses the exact one, with the error function.", gelu="tanh")
_says("The activation between the two feed-forward maps is ReLU; BERT's is GELU.", act=F.relu)
_says("The activation between the two feed-forward maps is missing: two linear maps in a row are one linear "
      "map.", act=lambda x: x)
_says("The ε of LayerNorm is PyTorch's default 1e-5; BERT's is 1e-12.", eps=1e-5)
_says("The weights are used the wrong way round: nn.Linear stores (out, in) and computes x Wᵀ + b.",
      linear=lambda x, w, b: x @ w + b)
_says("Query and key are swapped.", names=("key", "query", "value"))
_says("The output projection of the attention (attention.output.dense) is missing.", project=False)
_says("The biases are missing: every linear map of BERT has one.", bias=False)
_says(
    "The two LayerNorms are swapped: attention.output.LayerNorm belongs to the first half.",
    norms=("output", "attention.output"),
)
_says(
    "The variance inside LayerNorm is divided by hidden − 1; LayerNorm divides by hidden (unbiased=False).",
    norm=lambda x, s, w, b, eps: (
        (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + eps).sqrt() * w + b
    ),
)
_says(
    "LayerNorm's own scale and shift are missing.",
    norm=lambda x, s, w, b, eps: F.layer_norm(x, s, None, None, eps),
)


@bert_layer.mistake("The padding is not masked inside your layer: pass the mask on to the attention.")
def _(x, mask, state, n_heads):
    return _layer(x, torch.ones_like(mask), state, n_heads)


@bert_layer.mistake("There is only one head in your layer: split query, key and value into n_heads blocks.")
def _(x, mask, state, n_heads):
    return _layer(x, mask, state, 1)
