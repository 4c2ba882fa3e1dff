"""cmlib.layers against torch, transformers and slow loops: values and gradients in float64, uneven sizes,
padding.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from cmlib.layers import attention, bag_of_words, bert_layer, masked_mean, multi_head


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def padding(*lengths, tokens):
    return (torch.arange(tokens) < torch.tensor(lengths)[:, None]).long()


def causal(batch, tokens):
    return torch.ones(tokens, tokens).tril().expand(batch, -1, -1)


def same(ours, theirs, *inputs, atol=1e-11):
    """Equal values, and equal gradients of a function whose slope differs from entry to entry."""
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=atol)
    slopes = draw(*ours.shape).detach()
    ours, theirs = (torch.autograd.grad((out * slopes).sum(), inputs) for out in (ours, theirs))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=atol)


MASKS = {
    "no mask": None,
    "none is padding": torch.ones(3, 7),
    "padding at the end": padding(7, 4, 1, tokens=7),
    "padding anywhere": torch.tensor([[0, 1, 1, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0]]),
    "bool": padding(7, 4, 1, tokens=7).bool(),
    "one for each query": (torch.arange(105).reshape(3, 5, 7) % 4 == 0).long(),
}


@pytest.mark.parametrize("name", MASKS)
def test_attention_is_torchs(name):
    mask = MASKS[name]
    q, k, v = draw(3, 5, 4), draw(3, 7, 4), draw(3, 7, 2)
    theirs = mask
    if mask is not None:
        theirs = (mask[:, None, :] if mask.ndim == 2 else mask).bool()
    same(attention(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=theirs), q, k, v)


def test_attention_is_the_formula_entry_by_entry():
    q, k, v = draw(2, 3, 4), draw(2, 5, 4), draw(2, 5, 2)
    mask = padding(5, 2, tokens=5)
    rows = []
    for b in range(2):
        for i in range(3):
            seen = [j for j in range(5) if mask[b, j]]
            weights = [math.e ** (sum(q[b, i, c] * k[b, j, c] for c in range(4)) / 2) for j in seen]
            mean = sum(w * v[b, j] for w, j in zip(weights, seen, strict=True)) / sum(weights)
            rows.append(mean)
    same(attention(q, k, v, mask), torch.stack(rows).reshape(2, 3, 2), q, k, v)


def test_a_causal_mask_lets_no_token_see_a_later_one():
    q, k, v = draw(2, 6, 4), draw(2, 6, 4), draw(2, 6, 3)
    same(attention(q, k, v, causal(2, 6)), F.scaled_dot_product_attention(q, k, v, is_causal=True), q, k, v)
    (slope,) = torch.autograd.grad(attention(q, k, v, causal(2, 6))[:, 2].sum(), v)
    assert slope[:, :3].abs().min() > 0 and not slope[:, 3:].any()


def test_padding_gets_no_weight_and_no_gradient():
    q, k, v = draw(2, 4, 4), draw(2, 6, 4), draw(2, 6, 3)
    mask = padding(6, 2, tokens=6)
    out = attention(q, k, v, mask)
    changed = v.detach().clone()
    changed[1, 2:] = 1e6
    torch.testing.assert_close(out, attention(q, k, changed, mask))
    for slope in torch.autograd.grad(out.square().sum(), (k, v)):
        assert not slope[1, 2:].any() and slope[1, :2].any()


def test_scores_in_the_thousands_stay_finite():
    q, k, v = 100 * draw(1, 3, 4), 100 * draw(1, 5, 4), draw(1, 5, 2)
    same(attention(q, k, v), F.scaled_dot_product_attention(q, k, v), v)


@pytest.mark.parametrize("n_heads", [1, 3, 12])
@pytest.mark.parametrize("crossed", [False, True], ids=["itself", "another sequence"])
def test_multi_head_is_torchs_module_between_its_linear_maps(n_heads, crossed):
    x, y = draw(2, 5, 12), draw(2, 7, 12) if crossed else draw(2, 5, 12)
    mask = padding(y.shape[1], 3, tokens=y.shape[1])
    module = nn.MultiheadAttention(12, n_heads, batch_first=True, dtype=torch.float64)
    nn.init.normal_(module.in_proj_bias)
    nn.init.normal_(module.out_proj.bias)
    theirs, _ = module(x, y, y, key_padding_mask=mask == 0)
    weights = zip(module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3), strict=True)
    q, k, v = (F.linear(t, *pair) for t, pair in zip((x, y, y), weights, strict=True))
    ours = F.linear(multi_head(q, k, v, mask, n_heads), module.out_proj.weight, module.out_proj.bias)
    same(ours, theirs, x, y, module.in_proj_weight, module.in_proj_bias)


def test_each_head_is_attention_on_its_own_columns():
    q, k, v = draw(2, 4, 6), draw(2, 5, 6), draw(2, 5, 6)
    for mask in (padding(5, 2, tokens=5), causal(2, 5)[:, :4]):
        blocks = [slice(0, 2), slice(2, 4), slice(4, 6)]
        heads = [attention(q[..., block], k[..., block], v[..., block], mask) for block in blocks]
        same(multi_head(q, k, v, mask, 3), torch.cat(heads, dim=-1), q, k, v)


@pytest.mark.parametrize("hidden, inner, n_heads", [(12, 20, 3), (8, 8, 2), (6, 24, 1)])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_bert_layer_is_that_of_transformers(hidden, inner, n_heads, kernel):
    config = BertConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_attention_heads=n_heads,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation=kernel,
    )
    layer = BertLayer(config).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x, mask = draw(3, 5, hidden), padding(5, 3, 1, tokens=5)
    lowest = torch.finfo(x.dtype).min
    hide = torch.zeros(3, 1, 1, 5, dtype=x.dtype).masked_fill(mask[:, None, None] == 0, lowest)
    state = dict(layer.named_parameters())
    assert set(state) == set(layer.state_dict())
    same(bert_layer(x, mask, state, n_heads), layer(x, hide), x, *state.values(), atol=1e-8)


def test_a_longer_batch_changes_nothing_for_its_short_rows():
    layer = BertLayer(BertConfig(hidden_size=8, intermediate_size=16, num_attention_heads=2)).double()
    state = layer.state_dict()
    x = draw(1, 9, 8)
    alone = bert_layer(x[:, :4], None, state, 2)
    torch.testing.assert_close(bert_layer(x, padding(4, tokens=9), state, 2)[:, :4], alone)


def test_a_bag_is_the_mean_over_real_tokens_by_a_slow_loop():
    table, ids = draw(11, 4), torch.randint(0, 11, (4, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * 6, [1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0], [0] * 6])
    rows = []
    for row, keep in zip(ids, mask, strict=True):
        total, count = torch.zeros(4, dtype=torch.float64), 0
        for word, real in zip(row.tolist(), keep.tolist(), strict=True):
            if real:
                total, count = total + table[word], count + 1
        rows.append(total / max(count, 1))
    same(bag_of_words(ids, mask, table), torch.stack(rows), table)
    assert not bag_of_words(ids, mask, table)[3].any()


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: masked_mean(draw(2, 5, 3), torch.ones(2, 4)), r"\(2, 5\); got \(2, 4\)"),
        (lambda: attention(draw(2, 5, 3), draw(2, 5, 4), draw(2, 5, 4)), r"got \(2, 5, 3\), \(2, 5, 4\)"),
        (lambda: attention(draw(2, 5, 3), draw(2, 6, 3), draw(2, 5, 3)), r"and \(2, 5, 3\)"),
        (lambda: attention(draw(2, 5, 3), *[draw(2, 6, 3)] * 2, torch.ones(2, 5)), r"\(2, 6\).*got \(2, 5\)"),
        (lambda: multi_head(*[draw(1, 2, 8)] * 3, None, 3), "8 columns cannot be cut into 3 heads"),
    ],
)
def test_wrong_shapes_are_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
