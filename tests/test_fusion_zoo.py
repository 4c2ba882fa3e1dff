"""The heads of the zoo against slow and obvious versions: forward and gradient, uneven sizes, padding."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cmlib.data import Features, States
from cmlib.evaluation import evaluate
from cmlib.fusion import (
    Additive,
    CrossAttention,
    Film,
    Gated,
    LowRank,
    Mlp,
    OneStream,
    Residual,
    TensorFusion,
    TypedGraph,
)
from cmlib.fusion.attending import Attend
from cmlib.training.fit import fit

SIZES = {"image": 5, "text": 3, "sound": 4}
COUNTS = {"image": 4, "text": 6, "sound": 2}
ALL = [
    Additive, Mlp, Residual, Gated, LowRank, TensorFusion, Film, CrossAttention, OneStream, TypedGraph,
    lambda sizes, n: Additive(sizes, n, queries=2), lambda sizes, n: LowRank(sizes, n, queries=3, rank=6),
    lambda sizes, n: OneStream(sizes, n, readout="first"),
]
NAMES = ["adds", "mlp", "residual", "gated", "low rank", "tensor", "film", "cross", "stream", "graph",
         "adds, queries", "low rank, queries", "stream, first"]
every = pytest.mark.parametrize("make", ALL, ids=NAMES)


def rows(names=("image", "text"), n=7, seed=0, double=True):
    draw = torch.Generator().manual_seed(seed)
    states = {name: torch.randn(n, COUNTS[name], SIZES[name], generator=draw) for name in names}
    masks = {}
    if "text" in names:
        lengths = torch.randint(1, COUNTS["text"], (n,), generator=draw)
        masks["text"] = torch.arange(COUNTS["text"]) < lengths[:, None]
    if double:
        states = {name: x.double().requires_grad_() for name, x in states.items()}
    return States(states, masks, torch.arange(n) % 3)


def made(make, names=("image", "text"), **settings):
    torch.manual_seed(0)
    return make({name: SIZES[name] for name in names}, 3, **settings).double()


def same(head, slow, batch):
    """Forward, and the gradients of the weights and of the states."""
    weights, states = list(head.parameters()), list(batch.states.values())
    got, want = head(batch), slow(batch)
    torch.testing.assert_close(got, want)
    weigh = torch.randn(got.shape, generator=torch.Generator().manual_seed(1), dtype=got.dtype)
    found = [torch.autograd.grad((z * weigh).sum(), [*weights, *states], allow_unused=True)
             for z in (got, want)]
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


def norm(head, name, x):
    layer = head.norm[name]
    centred = x - x.mean(-1, keepdim=True)
    return centred / (x.var(-1, keepdim=True, unbiased=False) + layer.eps).sqrt() * layer.weight + layer.bias


def mean(x, mask):
    return torch.stack([row[keep].mean(0) for row, keep in zip(x, mask, strict=True)])


def vectors(head, batch):
    """Pooled row by row, state by state."""
    found = []
    for name in head.sizes:
        x, mask = batch.states[name], batch.mask(name)
        if not head.queries:
            found.append(norm(head, name, mean(x, mask)))
            continue
        pooled = []
        for row, keep in zip(x, mask, strict=True):
            real = norm(head, name, row[keep])
            pooled.append(torch.cat([(real @ q).softmax(0) @ real for q in head.query[name]]))
        found.append(torch.stack(pooled))
    return found


@pytest.mark.parametrize("queries", [0, 1, 3])
def test_pooling_is_a_mean_or_a_mean_weighted_by_queries(queries):
    head, batch = made(Additive, queries=queries), rows()
    same(head, lambda b: torch.cat(vectors(head, b), 1) @ head.out.weight.T + head.out.bias, batch)


@pytest.mark.parametrize("names", [("image", "text"), ("image", "text", "sound")])
def test_the_heads_on_vectors_are_their_formulas(names):
    batch = rows(names)
    gated = made(Gated, names, hidden_size=6)

    def gates(b):
        xs = vectors(gated, b)
        z = gated.gate(torch.cat(xs, 1)).reshape(len(b), len(xs), -1).exp()
        values = [torch.tanh(v(x)) for v, x in zip(gated.value, xs, strict=True)]
        return gated.out(sum(z[:, m] / z.sum(1) * h for m, h in enumerate(values)))

    same(gated, gates, batch)
    low = made(LowRank, names, rank=4)

    def products(b):
        xs = vectors(low, b)
        each = [math.prod(f.weight[r] @ x + f.bias[r] for f, x in zip(low.factor, row, strict=True))
                for row in zip(*xs, strict=True) for r in range(4)]
        return low.out(torch.stack(each).reshape(len(b), 4)) + low.straight(torch.cat(xs, 1))

    same(low, products, batch)
    cube = made(TensorFusion, names, edge=2, hidden_size=5)

    def outer(b):
        found = []
        for row in zip(*vectors(cube, b), strict=True):
            whole = torch.ones(1, dtype=torch.float64)
            for project, x in zip(cube.project, row, strict=True):
                with_one = torch.cat([project(x), torch.ones(1, dtype=torch.float64)])
                whole = torch.outer(whole, with_one).flatten()
            found.append(cube.out(whole))
        return torch.stack(found)

    same(cube, outer, batch)


def test_two_gates_are_the_sigmoid_of_arevalo_and_others():
    head, batch = made(Gated, hidden_size=4), rows()
    image, text = vectors(head, batch)
    first, second = head.gate(torch.cat([image, text], 1)).chunk(2, 1)
    z = (first - second).sigmoid()
    want = head.out(z * head.value[0](image).tanh() + (1 - z) * head.value[1](text).tanh())
    torch.testing.assert_close(head(batch), want)


def test_low_rank_at_full_rank_is_any_bilinear_of_the_normalised_halves():
    trusted = nn.Bilinear(5, 3, 3).double()
    head, batch = made(LowRank, rank=15), rows()
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(3))
    with torch.no_grad():
        for factor, one_hot in zip(head.factor, (pairs[:, 0], pairs[:, 1]), strict=True):
            factor.weight.copy_(F.one_hot(one_hot))
            factor.bias.zero_()
        head.out.weight.copy_(trusted.weight.flatten(1))
        head.out.bias.copy_(trusted.bias)
        head.straight.weight.zero_()
    torch.testing.assert_close(head(batch), trusted(*vectors(head, batch)))


def test_film_changes_every_cell_and_then_averages():
    head, batch = made(Film, ("image", "text", "sound"), hidden_size=6), rows(("image", "text", "sound"))

    def slow(b):
        _, *others = vectors(head, b)
        found = []
        modulation = head.modulate(torch.cat(others, 1))
        for row, both in zip(b.states["image"], modulation, strict=True):
            gamma, beta = both.chunk(2)
            cells = [head.after(((1 + gamma) * head.cells(norm(head, "image", cell)) + beta).relu()).relu()
                     for cell in row]
            found.append(head.out(sum(cells) / len(cells)))
        return torch.stack(found)

    same(head, slow, batch)


def trusted(attend):
    """nn.MultiheadAttention with the same weights."""
    size = attend.query.weight.shape[0]
    layer = nn.MultiheadAttention(size, attend.n_heads, batch_first=True).double()
    parts = attend.query, attend.key, attend.value
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        layer.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    layer.out_proj = attend.out
    return layer


@pytest.mark.parametrize("n_heads", [1, 2, 3])
def test_attend_is_multihead_attention_forward_and_gradient(n_heads):
    torch.manual_seed(0)
    own = Attend(6, n_heads).double()
    layer, mask = trusted(own), torch.arange(5) < torch.tensor([5, 1, 3])[:, None]
    inputs = [torch.randn(3, n, 6, dtype=torch.float64, requires_grad=True) for n in (4, 5)]
    results = own(*inputs, mask), layer(inputs[0], inputs[1], inputs[1], key_padding_mask=~mask)[0]
    torch.testing.assert_close(*results)
    grads = [torch.autograd.grad(result.square().sum(), inputs) for result in results]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def tokens(head, batch):
    return [(head.project[k](norm(head, name, batch.states[name])) + head.kind[k], batch.mask(name))
            for k, name in enumerate(head.sizes)]


def test_cross_attention_lets_the_last_modality_look_at_all_others():
    names = ("image", "sound", "text")
    head, batch = made(CrossAttention, names, hidden_size=4, n_heads=2), rows(names)
    layer = trusted(head.attend)
    (image, _), (sound, _), (text, mask) = tokens(head, batch)
    source = head.between(torch.cat([image, sound], 1))
    x = text + layer(head.before(text), source, source)[0]
    torch.testing.assert_close(head(batch), head.out(mean(head.end(x + head.dense(x)), mask)))


@pytest.mark.parametrize("readout", ["mean", "first"])
def test_one_stream_is_a_layer_of_a_transformer_on_all_tokens(readout):
    head, batch = made(OneStream, hidden_size=4, n_heads=2, readout=readout), rows()
    layer = nn.TransformerEncoderLayer(4, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True).double()
    layer.self_attn, layer.norm1, layer.norm2 = trusted(head.attend), head.before, head.between
    layer.linear1, layer.linear2 = head.dense[0], head.dense[2]
    layer.train()  # the fast path of eval mode is for other reasons
    z, mask = (torch.cat(part, 1) for part in zip(*tokens(head, batch), strict=True))
    if readout == "first":
        z = torch.cat([head.first.expand(len(z), 1, -1), z], 1)
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], 1)
    z = head.end(layer(z, src_key_padding_mask=~mask))
    torch.testing.assert_close(head(batch), head.out(z[:, 0] if readout == "first" else mean(z, mask)))


def test_the_graph_is_a_loop_over_typed_edges():
    names = ("image", "text", "sound")
    head, batch = made(TypedGraph, names, hidden_size=3, rounds=2), rows(names, n=3)

    def slow(b):
        logits = []
        for row in range(len(b)):
            nodes = [(i, head.project[i](norm(head, name, b.states[name][row, u])))
                     for i, name in enumerate(head.sizes) for u in range(int(b.mask(name)[row].sum()))]
            for _ in range(2):
                new = []
                for i, h in nodes:
                    heard = head.own[i](h)
                    for j in range(3):
                        edges = [g for kind, g in nodes if kind == j]
                        scores = [head.key[i][j](h) @ g / 3**0.5 for g in edges]
                        shares = torch.stack(scores).softmax(0)
                        pairs = zip(shares, edges, strict=True)
                        heard = heard + sum(a * head.value[i][j](g) for a, g in pairs)
                    new.append((i, head.after(h + heard.relu())))
                nodes = new
            ends = [torch.stack([h for kind, h in nodes if kind == j]).mean(0) for j in range(3)]
            logits.append(head.out(torch.cat(ends)))
        return torch.stack(logits)

    same(head, slow, batch)


@every
@pytest.mark.parametrize("names", [("image", "text"), ("image", "text", "sound")])
def test_padding_and_what_stands_beside_a_row_change_nothing(make, names):
    head, batch = made(make, names), rows(names)
    noise = {name: torch.where(batch.mask(name)[..., None], x, 1e3) for name, x in batch.states.items()}
    torch.testing.assert_close(head(batch), head(States(noise, batch.masks)))
    torch.testing.assert_close(head(batch)[2:3], head(batch[2:3]))
    assert head(batch).shape == (7, 3)


@every
def test_only_the_heads_that_add_have_no_mixed_difference(make):
    head, batch = made(make), rows(n=2)
    sides = [batch.states[name] for name in ("image", "text")]
    square = {"image": sides[0][[0, 0, 1, 1]], "text": sides[1][[0, 1, 0, 1]]}
    score = head(States(square, {"text": batch.masks["text"][[0, 1, 0, 1]]}))
    delta = (score[0] + score[3] - score[1] - score[2]).abs().max()
    assert (delta < 1e-12) == isinstance(head, Additive)


@every
def test_every_head_trains_through_fit(make):
    torch.manual_seed(0)
    head, batch = make({"image": 5, "text": 3}, 3), rows(n=24, double=False)
    history = fit(head, batch, epochs=30, batch_size=24, learning_rate=0.02, progress=False)
    assert history.batch_loss[-1] < history.batch_loss[0]
    assert evaluate(head, batch).n == 24


@every
def test_bad_input_has_one_sentence(make):
    head = made(make)
    with pytest.raises(TypeError, match="reads States; got .*extract_states"):
        head(Features(torch.ones(2, 5), torch.ones(2, 3)))
    lacks = r"reads States\['text'\] of shape \(batch, n, 3\); these hold image"
    with pytest.raises(ValueError, match=lacks):
        head(States({"image": torch.ones(2, 4, 5).double()}))
    swapped = States({"image": torch.ones(2, 4, 3).double(), "text": torch.ones(2, 4, 5).double()})
    with pytest.raises(ValueError, match=r"States\['image'\] of shape \(batch, n, 5\)"):
        head(swapped)
    batch = rows(n=3)
    mask = batch.masks["text"].clone()
    mask[1] = False
    with pytest.raises(ValueError, match="Row 1 has no 'text' that may be read"):
        head(States(batch.states, {"text": mask}))


def test_bad_settings_have_one_sentence():
    with pytest.raises(ValueError, match="n_classes=1: a classifier needs at least 2"):
        Mlp({"image": 5}, 1)
    for make in (Film, CrossAttention):
        with pytest.raises(ValueError, match="joins at least 2 modalities; sizes names image"):
            make({"image": 5}, 2)
    with pytest.raises(ValueError, match="hidden_size=6 cannot be cut into n_heads=4"):
        OneStream(SIZES, 2, hidden_size=6)
    with pytest.raises(ValueError, match="readout='last' must be"):
        OneStream(SIZES, 2, readout="last")
    with pytest.raises(ValueError, match="joins at least 1"):
        Additive({}, 2)
