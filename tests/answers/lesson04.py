"""Answers to lesson 04: right ones written in different ways, wrong ones as a learner would write them."""

import math
from collections import Counter, defaultdict

import torch
from torch import nn
from torch.nn import functional as F

# 04.6 the luckiest bag

def lucky_by_counter(texts, labels):
    votes = defaultdict(Counter)
    for text, label in zip(texts, labels, strict=True):
        votes[frozenset(Counter(text.split()).items())][int(label)] += 1
    return sum(vote.most_common(1)[0][1] for vote in votes.values()) / len(labels)


def lucky_by_matrix(texts, labels):
    words = sorted({word for text in texts for word in text.split()})
    bags = torch.tensor([[text.split().count(word) for word in words] for text in texts])
    _, which = bags.unique(dim=0, return_inverse=True)
    counts = torch.zeros(int(which.max()) + 1, 2).index_put((which, labels), torch.ones(()), accumulate=True)
    return counts.amax(1).sum() / len(texts)


def _lucky(key=lambda text: " ".join(sorted(text.split())), best=lambda ys: max(ys.count(0), ys.count(1))):
    def luckiest_bag(texts, labels):
        groups = defaultdict(list)
        for text, y in zip(texts, labels.tolist(), strict=True):
            groups[key(text)].append(y)
        return sum(best(ys) for ys in groups.values()) / len(texts)
    return luckiest_bag


def lucky_mean_of_bags(texts, labels):
    groups = defaultdict(list)
    for text, y in zip(texts, labels.tolist(), strict=True):
        groups[" ".join(sorted(text.split()))].append(y)
    shares = [max(ys.count(0), ys.count(1)) / len(ys) for ys in groups.values()]
    return sum(shares) / len(shares)


# 04.2 attention

def attention_torch(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, :].bool())


def attention_by_loop(q, k, v, mask):
    out = []
    for b in range(len(q)):
        rows = []
        for query in q[b]:
            real = mask[b].bool()
            weights = torch.softmax(k[b][real] @ query / math.sqrt(q.shape[2]), dim=0)
            rows.append(weights @ v[b][real])
        out.append(torch.stack(rows))
    return torch.stack(out)


def attention_additive(q, k, v, mask):
    scores = (
        torch.einsum("bqd,bkd->bqk", q, k) / q.size(-1) ** 0.5 + (1.0 - mask[:, None].to(q.dtype)) * -1e30
    )
    return torch.einsum("bqk,bkd->bqd", scores.softmax(-1), v)


def _wrong_attention(scale=None, hide=float("-inf"), dim=-1, use=lambda mask: mask, after=False):
    def attention(q, k, v, mask):
        scores = torch.bmm(q, k.transpose(1, 2)) / (math.sqrt(q.shape[-1]) if scale is None else scale(q, k))
        if not after:
            scores = scores.masked_fill(use(mask)[:, None, :] == 0, hide)
        weights = torch.softmax(scores, dim=dim)
        return torch.bmm(weights * mask[:, None, :] if after else weights, v)
    return attention


def attention_on_queries(q, k, v, mask):
    scores = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).masked_fill(mask[:, :, None] == 0, -1e9)
    return scores.softmax(-1) @ v


def attention_no_softmax(q, k, v, mask):
    return (q @ k.mT / q.shape[-1] ** 0.5 * mask[:, None]) @ v


def attention_exp(q, k, v, mask):
    e = torch.exp(q @ k.mT / q.shape[-1] ** 0.5) * mask[:, None]
    return (e / e.sum(-1, keepdim=True)) @ v


def attention_detached(q, k, v, mask):
    return attention_torch(q.detach(), k, v, mask)


def attention_numpy(q, k, v, mask):
    return torch.from_numpy(attention_torch(q, k, v, mask).detach().numpy())


# 04.3 heads

def heads_view(q, k, v, mask, n_heads):
    batch, tokens, hidden = q.shape
    size = hidden // n_heads
    q, k, v = (x.view(batch, tokens, n_heads, size).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(2, 3) / math.sqrt(size)
    scores = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, hidden)


def heads_loop(q, k, v, mask, n_heads):
    parts = zip(*(x.chunk(n_heads, dim=-1) for x in (q, k, v)), strict=True)
    return torch.cat([attention_torch(*part, mask) for part in parts], dim=-1)


def heads_folded(q, k, v, mask, n_heads):
    """Heads as extra rows of the batch: attention on (batch × heads, tokens, size)."""
    batch, tokens, hidden = q.shape
    q, k, v = (
        x.reshape(batch, tokens, n_heads, -1).permute(0, 2, 1, 3).reshape(batch * n_heads, tokens, -1)
        for x in (q, k, v)
    )
    out = attention_additive(q, k, v, mask.repeat_interleave(n_heads, 0))
    return out.view(batch, n_heads, tokens, -1).permute(0, 2, 1, 3).reshape(batch, tokens, hidden)


def heads_one(q, k, v, mask, n_heads):
    return attention_torch(q, k, v, mask)


def heads_bad_view(q, k, v, mask, n_heads):
    batch, tokens, hidden = q.shape
    q, k, v = (x.reshape(batch, n_heads, tokens, -1) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None].bool())
    return out.transpose(1, 2).reshape(batch, tokens, hidden)


def heads_bad_both(q, k, v, mask, n_heads):
    batch, tokens, hidden = q.shape
    q, k, v = (x.reshape(batch, n_heads, tokens, -1) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None].bool()).reshape(
        batch, tokens, hidden
    )


def heads_bad_merge(q, k, v, mask, n_heads):
    batch, tokens, hidden = q.shape
    q, k, v = (x.reshape(batch, tokens, n_heads, -1).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None].bool()).reshape(
        batch, tokens, hidden
    )


def heads_interleaved(q, k, v, mask, n_heads):
    out = torch.empty_like(q)
    for head in range(n_heads):
        out[..., head::n_heads] = attention_torch(*(x[..., head::n_heads] for x in (q, k, v)), mask)
    return out


def heads_bad_scale(q, k, v, mask, n_heads):
    parts = zip(*(x.chunk(n_heads, dim=-1) for x in (q, k, v)), strict=True)
    wrong = _wrong_attention(scale=lambda *_: math.sqrt(q.shape[-1]))
    return torch.cat([wrong(*part, mask) for part in parts], dim=-1)


def heads_no_mask(q, k, v, mask, n_heads):
    return heads_loop(q, k, v, torch.ones_like(mask), n_heads)


def heads_mask_on_queries(q, k, v, mask, n_heads):
    parts = zip(*(x.chunk(n_heads, dim=-1) for x in (q, k, v)), strict=True)
    return torch.cat([attention_on_queries(*part, mask) for part in parts], dim=-1)


def heads_stack(q, k, v, mask, n_heads):
    return torch.stack(heads_loop(q, k, v, mask, n_heads).chunk(n_heads, dim=-1), dim=1)


# 04.4 a layer of BERT

def layer_written_out(hidden, mask, state, n_heads):
    def dense(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name, x):
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.pow(2).mean(-1, keepdim=True) + 1e-12).rsqrt()
        return centred * scale * state[f"{name}.LayerNorm.weight"] + state[f"{name}.LayerNorm.bias"]

    q, k, v = (dense(f"attention.self.{part}", hidden) for part in ("query", "key", "value"))
    context = heads_view(q, k, v, mask, n_heads)
    hidden = norm("attention.output", dense("attention.output.dense", context) + hidden)
    inner = dense("intermediate.dense", hidden)
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    return norm("output", dense("output.dense", inner) + hidden)


def layer_by_torch(hidden, mask, state, n_heads):
    """PyTorch's own encoder layer, which packs query, key and value into one matrix."""
    size, inner = hidden.shape[-1], len(state["intermediate.dense.bias"])
    layer = nn.TransformerEncoderLayer(
        size,
        n_heads,
        inner,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-12,
        batch_first=True,
        dtype=hidden.dtype,
    )
    parts = [state[f"attention.self.{part}.weight"] for part in ("query", "key", "value")]
    biases = [state[f"attention.self.{part}.bias"] for part in ("query", "key", "value")]
    own = {"self_attn.in_proj_weight": torch.cat(parts), "self_attn.in_proj_bias": torch.cat(biases)}
    for theirs, ours in (
        ("attention.output.dense", "self_attn.out_proj"),
        ("attention.output.LayerNorm", "norm1"),
        ("intermediate.dense", "linear1"),
        ("output.dense", "linear2"),
        ("output.LayerNorm", "norm2"),
    ):
        own |= {f"{ours}.{part}": state[f"{theirs}.{part}"] for part in ("weight", "bias")}
    layer.load_state_dict(own)
    return layer(hidden, src_key_padding_mask=mask == 0)


def layer_by_transformers(hidden, mask, state, n_heads):
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertLayer

    config = BertConfig(hidden_size=hidden.shape[-1], num_attention_heads=n_heads,
                        intermediate_size=len(state["intermediate.dense.bias"]), attn_implementation="eager")
    layer = BertLayer(config).to(hidden.dtype).eval()
    layer.load_state_dict(state)
    hide = torch.zeros(mask.shape, dtype=hidden.dtype).masked_fill(mask == 0, torch.finfo(hidden.dtype).min)
    return layer(hidden, hide[:, None, None, :])


def _wrong_layer(
    first=1.0,
    second=1.0,
    eps=1e-12,
    act=F.gelu,
    query="query",
    key="key",
    project=True,
    masked=True,
    heads=True,
    linear=F.linear,
    norms=("attention.output", "output"),
):
    def bert_layer(hidden, mask, state, n_heads):
        def dense(name, x):
            return linear(x, state[name + ".weight"], state[name + ".bias"])

        def norm(name, x):
            return F.layer_norm(
                x, x.shape[-1:], state[name + ".LayerNorm.weight"], state[name + ".LayerNorm.bias"], eps
            )

        q, k, v = (dense("attention.self." + part, hidden) for part in (query, key, "value"))
        context = heads_loop(q, k, v, mask if masked else torch.ones_like(mask), n_heads if heads else 1)
        if project:
            context = dense("attention.output.dense", context)
        x = norm(norms[0], context + first * hidden)
        return norm(norms[1], dense("output.dense", act(dense("intermediate.dense", x))) + second * x)
    return bert_layer


def layer_pre_norm(hidden, mask, state, n_heads):
    def norm(name, x):
        return F.layer_norm(
            x, x.shape[-1:], state[name + ".LayerNorm.weight"], state[name + ".LayerNorm.bias"], 1e-12
        )

    def dense(name, x):
        return F.linear(x, state[name + ".weight"], state[name + ".bias"])

    x = norm("attention.output", hidden)
    q, k, v = (dense("attention.self." + part, x) for part in ("query", "key", "value"))
    hidden = hidden + dense("attention.output.dense", heads_loop(q, k, v, mask, n_heads))
    return hidden + dense("output.dense", F.gelu(dense("intermediate.dense", norm("output", hidden))))


def layer_unbiased(hidden, mask, state, n_heads):
    def norm(name, x):
        scaled = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-12)
        return scaled * state[name + ".LayerNorm.weight"] + state[name + ".LayerNorm.bias"]

    def dense(name, x):
        return F.linear(x, state[name + ".weight"], state[name + ".bias"])

    q, k, v = (dense("attention.self." + part, hidden) for part in ("query", "key", "value"))
    x = norm("attention.output", hidden + dense("attention.output.dense", heads_loop(q, k, v, mask, n_heads)))
    return norm("output", x + dense("output.dense", F.gelu(dense("intermediate.dense", x))))


# 04.5 a shift is a rotation

def shift_by_solving(frequencies, steps):
    """A fit, which the text forbids: with two equal frequencies it has no unique answer."""
    t = torch.arange(4 * len(frequencies) + 2, dtype=frequencies.dtype)
    def at(t):
        angles = t[:, None] * frequencies
        return torch.stack([angles.cos(), angles.sin()], -1).flatten(1)
    return torch.linalg.pinv(at(t)) @ at(t - steps)


def shift_by_exponential(frequencies, steps):
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=frequencies.dtype)
    return torch.linalg.matrix_exp(torch.kron(torch.diag(frequencies * steps), turn))


def shift_by_complex(frequencies, steps):
    turned = torch.exp(-1j * frequencies * steps)  # of the hand at angle 0, to (c, -s)
    rows = torch.stack([turned, 1j * turned], dim=1)  # (n, 2): where 1 and i go
    return torch.block_diag(*torch.view_as_real(rows))


def _shift(angle=lambda w, steps: w * steps, block=lambda c, s: [[c, -s], [s, c]]):
    def look_back(frequencies, steps):
        out = torch.zeros(2 * len(frequencies), 2 * len(frequencies), dtype=torch.float64)
        for i, w in enumerate(frequencies.tolist()):
            a = angle(w, steps)
            out[2 * i:2 * i + 2, 2 * i:2 * i + 2] = torch.tensor(
                block(math.cos(a), math.sin(a)), dtype=torch.float64
            )
        return out
    return look_back


def shift_halves(frequencies, steps):
    c, s = (frequencies * steps).cos().diag(), (frequencies * steps).sin().diag()
    return torch.vstack([torch.hstack([c, -s]), torch.hstack([s, c])])


RIGHT = {
    "04.6": [lucky_by_counter, lucky_by_matrix],
    "04.2": [attention_torch, attention_by_loop, attention_additive],
    "04.3": [heads_view, heads_loop, heads_folded],
    "04.4": [layer_written_out, layer_by_torch, layer_by_transformers],
    "04.5": [shift_by_exponential, shift_by_complex],
}

WRONG = {
    "04.6": [
        (_lucky(key=lambda text: text), "has no order"),
        (_lucky(key=lambda text: " ".join(sorted(set(text.split())))), "the set of words"),
        (_lucky(key=lambda text: "".join(sorted(text))), "the letters"),
        (_lucky(best=lambda ys: ys.count(ys[0])), "met first"),
        (_lucky(best=lambda ys: ys.count(ys[-1])), "met last"),
        (_lucky(best=lambda ys: len(ys) if len(set(ys)) == 1 else 0), "all agree"),
        (lucky_mean_of_bags, "average over the bags"),
        (lambda texts, y: y.double().mean().maximum(1 - y.double().mean()), "over all messages"),
        (lambda texts, y: 1 - lucky_by_counter(texts, y), "is wrong"),
        (_lucky(best=lambda ys: len(ys) if len(set(ys)) == 1 else len(ys) / 2), "can be expected of it"),
        (_lucky(key=lambda text: len(text.split())), "the number of words"),
        (lambda texts, y: len({" ".join(sorted(text.split())) for text in texts}) / len(texts),
         "the number of different bags"),
        (lambda texts, y: lucky_by_counter(texts, y) * len(texts), "divide by how many"),
    ],
    "04.2": [
        (_wrong_attention(use=torch.ones_like), "The padding is not masked"),
        (_wrong_attention(use=lambda mask: 1 - mask, hide=-1e9), "The mask is upside down"),
        (_wrong_attention(use=lambda mask: 1 - mask), "The mask is upside down"),
        (_wrong_attention(hide=0.0), "exp(0) = 1"),
        (_wrong_attention(after=True), "mask the scores, not the weights"),
        (_wrong_attention(scale=lambda q, k: 1.0), "not scaled"),
        (_wrong_attention(scale=lambda q, k: q.shape[-1]), "divide by its square root"),
        (_wrong_attention(scale=lambda q, k: math.sqrt(k.shape[1])), "number of keys"),
        (_wrong_attention(dim=1, hide=-1e9), "runs over the queries"),
        (_wrong_attention(dim=1), "runs over the queries"),
        (lambda q, k, v, mask: (q @ k.mT / math.sqrt(q.shape[-1])
                                + (1 - mask[:, None]) * float("-inf")).softmax(-1) @ v, "Use masked_fill"),
        (attention_no_softmax, "softmax is missing"),
        (attention_exp, "exp of a thousand overflows"),
        (_wrong_attention(hide=-10.0), "set to −10"),
        (attention_on_queries, "on the queries"),
        (attention_detached, "the gradient with respect to q is wrong"),
        (attention_numpy, "no gradient flows"),
    ],
    "04.3": [
        (heads_one, "only one head"),
        (heads_bad_view, "cuts the wrong way"),
        (heads_bad_both, "mixed on both ways"),
        (heads_bad_merge, "merged wrongly"),
        (heads_interleaved, "neighbouring columns"),
        (heads_bad_scale, "scaled by √hidden"),
        (heads_no_mask, "give the mask to every head"),
        (heads_stack, "The shape is wrong"),
        (heads_mask_on_queries, "on the queries"),
    ],
    "04.4": [
        (_wrong_layer(first=0.0), "first residual is missing"),
        (_wrong_layer(second=0.0), "second residual is missing"),
        (_wrong_layer(first=0.0, second=0.0), "Both residuals are missing"),
        (layer_pre_norm, "pre-norm"),
        (_wrong_layer(act=lambda x: F.gelu(x, approximate="tanh")), "tanh approximation"),
        (_wrong_layer(act=torch.relu), "ReLU"),
        (_wrong_layer(act=lambda x: x), "activation between the two feed-forward maps is missing"),
        (_wrong_layer(eps=1e-5), "1e-5"),
        (_wrong_layer(linear=lambda x, w, b: x @ w + b), "wrong way round"),
        (_wrong_layer(query="key", key="query"), "Query and key are swapped"),
        (_wrong_layer(project=False), "output projection"),
        (_wrong_layer(linear=lambda x, w, b: F.linear(x, w)), "biases are missing"),
        (_wrong_layer(masked=False), "padding is not masked"),
        (_wrong_layer(heads=False), "only one head"),
        (_wrong_layer(norms=("output", "attention.output")), "two LayerNorms are swapped"),
        (layer_unbiased, "hidden − 1"),
    ],
    "04.5": [
        (_shift(block=lambda c, s: [[c, s], [-s, c]]), "looks ahead"),
        (_shift(angle=lambda w, steps: w), "by one step"),
        (_shift(block=lambda c, s: [[c, s], [s, c]]), "same sign"),
        (_shift(block=lambda c, s: [[s, -c], [c, s]]), "exchanged"),
        (_shift(block=lambda c, s: [[c, s], [s, -c]]), "reflections"),
        (_shift(block=lambda c, s: [[c, 0.0], [0.0, c]]), "Only the cosines"),
        (_shift(angle=lambda w, steps: math.radians(w * steps)), "degrees"),
        (shift_halves, "all cosines first"),
        (shift_by_solving, "two equal frequencies"),
    ],
}
