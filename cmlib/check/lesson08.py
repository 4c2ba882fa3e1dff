"""Exercises of lesson 08: the fusion zoo."""

import math
from itertools import product

import torch

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


# 08.1 -------------------------------------------------------------------------------------------------------
@exercise("08.1", "The gated unit", minutes=12, points=3, difficulty=2, grad=(0, 1))
def gated_unit(image, text, W_image, W_text, W_gate):
    see = torch.tanh(image @ W_image.T)  # (batch, hidden)
    read = torch.tanh(text @ W_text.T)
    gate = torch.sigmoid(torch.cat([image, text], dim=1) @ W_gate.T)
    return gate * see + (1 - gate) * read


@gated_unit.cases
def _(draw):
    for batch, n, m, hidden, about in (
        (4, 3, 5, 6, "random halves of 3 and 5 numbers"),
        (1, 4, 2, 3, "a batch of one"),
        (5, 3, 3, 1, "equal halves and a single unit"),
    ):
        halves = draw.normal(batch, n), draw.normal(batch, m)
        yield case(*halves, draw.normal(hidden, n), draw.normal(hidden, m), draw.normal(hidden, n + m),
                   about=about)


def _gated(image, text, W_image, W_text, W_gate, bend=torch.tanh, gate=torch.sigmoid, seen=("image", "text"),
           mix=lambda z, see, read: z * see + (1 - z) * read):
    """The unit with every part that a learner may get wrong as an argument."""
    halves = {"image": image, "text": text}
    z = gate(torch.cat([halves[name] for name in seen], 1) @ W_gate.T)
    return mix(z, bend(image @ W_image.T), bend(text @ W_text.T))


for _sentence, _slip in {
    "The gate stands on the wrong side: z weighs the image, 1 − z the text.": {
        "mix": lambda z, see, read: (1 - z) * see + z * read
    },
    "Both halves are weighed by z; the text gets what is left, 1 − z.": {
        "mix": lambda z, see, read: z * see + z * read
    },
    "The text is not weighed at all; it gets what is left, 1 − z.": {
        "mix": lambda z, see, read: z * see + read
    },
    "The gate is applied to the sum of the halves: it has to choose between them, z here and 1 − z there.": {
        "mix": lambda z, see, read: z * (see + read)
    },
    "The halves are not weighed: the gate is not used.": {"mix": lambda z, see, read: see + read},
    "The two halves stand side by side; the unit adds them, weighed by z and 1 − z.": {
        "mix": lambda z, see, read: torch.cat([z * see, (1 - z) * read], 1)
    },
    "There is one gate for the whole row; every hidden unit has its own.": {
        "mix": lambda z, see, read: z.mean(1, keepdim=True) * see + (1 - z.mean(1, keepdim=True)) * read
    },
    "The tanh is missing: each half is bent before it is weighed.": {"bend": lambda x: x},
    "This is relu; the halves are bent by tanh.": {"bend": torch.relu},
    "The halves are bent by the sigmoid; they are bent by tanh, and only the gate by the sigmoid.": {
        "bend": torch.sigmoid
    },
    "The sigmoid of the gate is missing: z lies between 0 and 1.": {"gate": lambda x: x},
    "The gate is bent by tanh, so that it may be negative: it is a sigmoid, between 0 and 1.": {
        "gate": torch.tanh
    },
    "The gate is a softmax over the units, which then compete; each unit decides for itself, by a sigmoid.": {
        "gate": lambda x: x.softmax(1)
    },
    "The gate is rounded to 0 or 1; it lies between them, so that a unit may believe both in part.": {
        "gate": lambda x: x.sigmoid().round()
    },
    "The gate reads [text ; image]; its weights expect [image ; text].": {"seen": ("text", "image")},
}.items():
    gated_unit.mistake(_sentence)(lambda *parts, slip=_slip: _gated(*parts, **slip))


@gated_unit.mistake("The gate reads the bent halves; it reads the plain inputs, [image ; text].")
def _(image, text, W_image, W_text, W_gate):
    see, read = torch.tanh(image @ W_image.T), torch.tanh(text @ W_text.T)
    both, width = torch.cat([see, read], 1), W_gate.shape[1]
    z = torch.sigmoid(both[:, :width] @ W_gate[:, :both.shape[1]].T)  # what fits
    return z * see + (1 - z) * read


@gated_unit.mistake("The tanh comes too late: each half is bent first, then they are weighed.")
def _(image, text, W_image, W_text, W_gate):
    return torch.tanh(_gated(image, text, W_image, W_text, W_gate, bend=lambda x: x))


@gated_unit.mistake("The gate weighs the halves before they are bent; bend each half by tanh first.")
def _(image, text, W_image, W_text, W_gate):
    return _gated(image, text, W_image, W_text, W_gate, bend=lambda x: x,
                  mix=lambda z, see, read: torch.tanh(z * see) + torch.tanh((1 - z) * read))


@gated_unit.mistake("The gate reads the image only; it reads both halves, [image ; text].")
def _(image, text, W_image, W_text, W_gate):
    return _gated(image, text, W_image, W_text, W_gate[:, :image.shape[1]], seen=("image",))


@gated_unit.mistake("The gate reads the text only; it reads both halves, [image ; text].")
def _(image, text, W_image, W_text, W_gate):
    return _gated(image, text, W_image, W_text, W_gate[:, image.shape[1]:], seen=("text",))


@gated_unit.mistake("Each half has a gate of its own; there is one, which reads both: z for the image, 1 − z "
                    "for the text.")
def _(image, text, W_image, W_text, W_gate):
    n = image.shape[1]
    see, read = (image @ W_gate[:, :n].T).sigmoid(), (text @ W_gate[:, n:].T).sigmoid()
    return see * torch.tanh(image @ W_image.T) + read * torch.tanh(text @ W_text.T)


# 08.2 -------------------------------------------------------------------------------------------------------
@exercise("08.2", "Bilinear, of low rank", minutes=15, points=3, difficulty=3,
          names=("the logits", "the weight"))
def low_rank(image, text, U, V, P):
    products = (image @ U.T) * (text @ V.T)  # (batch, rank)
    logits = products @ P.T
    weight = torch.einsum("cr,ri,rj->cij", P, U, V)
    return logits, weight


@low_rank.worked
def low_rank_long(image, text, U, V, P):
    seen = image @ U.T
    read = text @ V.T
    logits = (seen * read) @ P.T
    outer = U[:, :, None] * V[:, None, :]
    weight = (P[:, :, None, None] * outer).sum(dim=1)
    return logits, weight


@low_rank.cases
def _(draw):
    for batch, n, m, rank, classes, about in (
        (4, 3, 5, 2, 3, "random halves of 3 and 5 numbers, rank 2"),
        (1, 4, 2, 6, 2, "a batch of one, rank 6"),
        (3, 4, 4, 1, 4, "rank 1, equal halves"),
    ):
        yield case(draw.normal(batch, n), draw.normal(batch, m), draw.normal(rank, n), draw.normal(rank, m),
                   draw.normal(classes, rank), about=about)


def _low_rank(image, text, U, V, P, join=lambda see, read: see * read, weight="cr,ri,rj->cij",
              end=lambda products, P: products @ P.T):
    logits = end(join(image @ U.T, text @ V.T), P)
    return logits, torch.einsum(weight, P, U, V)


for _sentence, _slip in {
    "The logits: the factors are added. That is a sum of opinions, which cannot compare; multiply them.": {
        "join": torch.add
    },
    "The logits: every factor of the image meets every factor of the text; only factors of the same number "
    "are multiplied.": {"join": lambda see, read: see * read.sum(1, keepdim=True)},
    "The logits: each half's factors are summed before they are multiplied; multiply number by number.": {
        "join": lambda see, read: (see.sum(1, keepdim=True) * read.sum(1, keepdim=True)).expand_as(see)
    },
    "The logits: the products are bent by a tanh; a bilinear form has no bend.": {
        "join": lambda see, read: (see * read).tanh()
    },
    "The logits: the factors are bent by a tanh first; a bilinear form has no bend.": {
        "join": lambda see, read: see.tanh() * read.tanh()
    },
    "The logits: a 1 is added to the factors before they are multiplied; only their products count.": {
        "join": lambda see, read: (1 + see) * (1 + read)
    },
    "The logits: only the image's factors are used.": {"join": lambda see, read: see},
    "The logits: only the text's factors are used.": {"join": lambda see, read: read},
    "The logits: P is not used; each class weighs the products in its own way.": {
        "end": lambda products, P: products.sum(1, keepdim=True).expand(-1, len(P))
    },
    "The logits: the products are averaged over the rank; P weighs and sums them.": {
        "end": lambda products, P: products @ P.T / P.shape[1]
    },
    "The weight is transposed: it has shape (classes, n, m), image before text.": {"weight": "cr,ri,rj->cji"},
    "The weight: P is squared or used twice; each class weighs the products of the factors once.": {
        "weight": "cr,ri,rj->cij", "end": lambda products, P: products @ (P * P).T
    },
}.items():
    low_rank.mistake(_sentence)(lambda *parts, slip=_slip: _low_rank(*parts, **slip))


@low_rank.mistake("The weight is the same for every class: P has to weigh the outer products of U and V.")
def _(image, text, U, V, P):
    logits, _ = low_rank.reference(image, text, U, V, P)
    return logits, (U.T @ V).expand(len(P), -1, -1)


@low_rank.mistake("P mixes the factors before they are multiplied: multiply number by number, then mix by P.")
def _(image, text, U, V, P):
    first, second = P @ U, P @ V
    return (image @ first.T) * (text @ second.T), first[:, :, None] * second[:, None, :]


@low_rank.mistake("Only the first product is used; P weighs and sums all of them.")
def _(image, text, U, V, P):
    return low_rank.reference(image, text, U[:1], V[:1], P[:, :1])


@low_rank.mistake("The weight holds the outer products of U and V, one for each r; P mixes them into one for "
                  "each class.")
def _(image, text, U, V, P):
    logits, _ = low_rank.reference(image, text, U, V, P)
    return logits, U[:, :, None] * V[:, None, :]


@low_rank.mistake("The weight: the factors are summed over the rank before they are multiplied; that is rank "
                  "1. Multiply first, number by number, and then sum.")
def _(image, text, U, V, P):
    logits, _ = low_rank.reference(image, text, U, V, P)
    return logits, torch.einsum("ci,j->cij", P @ U, V.sum(0))


# 08.3 -------------------------------------------------------------------------------------------------------
@exercise("08.3", "Words that change what is seen", minutes=12, points=3, difficulty=3, grad=(0, 1))
def film(cells, words, W_gamma, b_gamma, W_beta, b_beta):
    gamma = words @ W_gamma.T + b_gamma  # (batch, channels)
    beta = words @ W_beta.T + b_beta
    changed = (1 + gamma[:, :, None, None]) * cells + beta[:, :, None, None]
    return torch.relu(changed).mean(dim=(2, 3))


@film.cases
def _(draw):
    for batch, channels, height, width, size, about in (
        (3, 4, 2, 3, 5, "random maps of 2 × 3 cells"),
        (1, 2, 4, 1, 3, "a batch of one, 4 × 1 cells"),
        (4, 4, 4, 4, 4, "equal sizes everywhere"),
    ):
        yield case(draw.normal(batch, channels, height, width), draw.normal(batch, size),
                   draw.normal(channels, size), draw.normal(channels), draw.normal(channels, size),
                   draw.normal(channels), about=about)


def _film(cells, words, W_gamma, b_gamma, W_beta, b_beta, one=1.0, scale=lambda g: g, shift=1.0,
          biases=(1, 1), bend=torch.relu, pool=lambda x: x.mean((2, 3)), before=lambda x: x,
          late_shift=False):
    gamma = scale(words @ W_gamma.T + biases[0] * b_gamma)[..., None, None]
    beta = (words @ W_beta.T + biases[1] * b_beta)[..., None, None]
    if late_shift:
        return pool(bend((one + gamma) * cells) + beta)
    return pool(bend((one + gamma) * before(cells) + shift * beta))


for _sentence, _slip in {
    "The scale is γ; it is 1 + γ, so that a γ of 0 leaves the map as it is.": {"one": 0.0},
    "The scale is 1 − γ; it is 1 + γ.": {"scale": torch.neg},
    "The shift β is missing.": {"shift": 0.0},
    "The shift β is subtracted.": {"shift": -1.0},
    "The scale is not used: γ multiplies every channel.": {"scale": torch.zeros_like},
    "γ is bent (a sigmoid or a tanh); it is a plain linear map of the words.": {"scale": torch.sigmoid},
    "γ is bent by a relu; it is a plain linear map of the words.": {"scale": torch.relu},
    "γ is bent by a tanh; it is a plain linear map of the words.": {"scale": torch.tanh},
    "The relu is missing: without it the mean of a scaled and shifted map is the scaled and shifted mean, "
    "and the cells might as well be averaged first.": {"bend": lambda x: x},
    "The mean comes too early: bend every cell, then average. The other way round only the mean cell is "
    "looked at.": {"pool": lambda x: x, "bend": lambda x: x.mean((2, 3)).relu()},
    "The relu comes too early: scale and shift the cells first.": {"bend": lambda x: x, "before": torch.relu},
    "The relu comes before the shift β: scale and shift the cells first, then bend.": {"late_shift": True},
    "The cells are summed; their mean is wanted.": {"pool": lambda x: x.sum((2, 3))},
    "The largest cell of each channel is taken; the mean is wanted.": {"pool": lambda x: x.amax((2, 3))},
    "The mean is taken over the cells that the relu left; it runs over all cells, also those at 0.": {
        "pool": lambda x: x.sum((2, 3)) / (x > 0).sum((2, 3)).clamp(min=1)
    },
    "This is gelu; the changed cells are bent by relu.": {"bend": torch.nn.functional.gelu},
    "The mean runs over the channels; it runs over the places, axes 2 and 3.": {"pool": lambda x: x.mean(1)},
    "Both biases are missing: a linear map is words @ W.T + b.": {"biases": (0, 0)},
    "The bias b_gamma is missing: a linear map is words @ W.T + b.": {"biases": (0, 1)},
    "The bias b_beta is missing: a linear map is words @ W.T + b.": {"biases": (1, 0)},
}.items():
    film.mistake(_sentence)(lambda *parts, slip=_slip: _film(*parts, **slip))


@film.mistake("The scale comes after the relu: scale and shift the cells first, then bend.")
def _(cells, words, W_gamma, b_gamma, W_beta, b_beta):
    shifted = cells + (words @ W_beta.T + b_beta)[..., None, None]
    return (1 + words @ W_gamma.T + b_gamma) * shifted.relu().mean((2, 3))


@film.mistake("The cells as they were are added; only the changed map is averaged.")
def _(cells, *rest):
    return _film(cells, *rest) + cells.mean((2, 3))


@film.mistake("Every row gets the γ and β of the first row; each row's own words change its map.")
def _(cells, words, *rest):
    return _film(cells, words[:1], *rest)


@film.mistake("γ and β are exchanged: γ scales and β shifts.")
def _(cells, words, W_gamma, b_gamma, W_beta, b_beta):
    return _film(cells, words, W_beta, b_beta, W_gamma, b_gamma)


# 08.4 -------------------------------------------------------------------------------------------------------
@exercise("08.4", "Words that look", minutes=20, points=4, difficulty=4, grad=(0, 1))
def cross_attention(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
    size = words.shape[2]
    width = size // n_heads
    W_query, W_key, W_value = in_weight[:size], in_weight[size:2 * size], in_weight[2 * size:]
    b_query, b_key, b_value = in_bias[:size], in_bias[size:2 * size], in_bias[2 * size:]
    query = words @ W_query.T + b_query
    key = cells @ W_key.T + b_key
    value = cells @ W_value.T + b_value
    heard = []
    for head in range(n_heads):
        own = slice(head * width, (head + 1) * width)
        scores = query[:, :, own] @ key[:, :, own].transpose(1, 2) / width**0.5
        scores = scores.masked_fill(~mask[:, None, :], -torch.inf)
        heard.append(scores.softmax(dim=2) @ value[:, :, own])
    return torch.cat(heard, dim=2) @ out_weight.T + out_bias


@cross_attention.cases
def _(draw):
    def one(batch, tokens, places, width, n_heads, padded, about):
        size = width * n_heads
        lengths = draw.integers(places, batch, low=1) if padded else torch.full((batch,), places)
        mask = torch.arange(places) < lengths[:, None]
        return case(draw.normal(batch, tokens, size), draw.normal(batch, places, size), mask,
                    draw.normal(3 * size, size) / 2, draw.normal(3 * size), draw.normal(size, size),
                    draw.normal(size), n_heads, about=about)

    yield telling(cross_attention, lambda: one(3, 2, 5, 3, 2, True, "2 words, 5 cells with padding, 2 heads"))
    yield one(1, 4, 3, 2, 3, True, "a batch of one, 3 heads")
    yield one(2, 3, 3, 4, 1, False, "one head and no padding")


def _cross(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads, order=(0, 1, 2), cut=False,
           scale=lambda width, size: width**0.5, keep=lambda mask: mask, axis=-1, bias=(1, 1), project=True,
           late=False, back=True, added=False, hide=None, viewed=False, flipped=False):
    """The layer with every part that a learner may get wrong as an argument."""
    size = words.shape[2]
    blocks = [(in_weight[k * size:(k + 1) * size], in_bias[k * size:(k + 1) * size] * bias[0]) for k in order]
    form = (-1, n_heads) if cut else (n_heads, -1)

    def heads(x, block):
        x = x @ (block[0] if flipped else block[0].T) + block[1]
        if viewed:
            return x.reshape(len(x), n_heads, x.shape[1], -1)
        x = x.unflatten(2, form)
        return x.permute(0, 3, 1, 2) if cut else x.transpose(1, 2)  # (batch, heads, n, width)

    q, k, v = (heads(x, block) for x, block in zip((words, cells, cells), blocks, strict=True))
    scores, readable = q @ k.transpose(2, 3) / scale(q.shape[-1], size), keep(mask)[:, None, None]
    hide = hide or (lambda scores, readable: scores if late else scores.masked_fill(~readable, -1e9))
    weights = hide(scores, readable).softmax(axis)
    weights = weights * readable if late else weights
    heard = weights @ v
    if not back:
        heard = heard.reshape(words.shape)  # of (batch, heads, tokens, width)
    else:
        heard = heard.permute(0, 2, 3, 1).flatten(2) if cut else heard.transpose(1, 2).flatten(2)
    heard = heard @ out_weight.T + bias[1] * out_bias if project else heard
    return heard + words if added else heard


for _sentence, _slip in {
    "The mask is used the wrong way round: True marks the cells that may be read. (nn.MultiheadAttention "
    "wants its opposite, True on padding.)": {"keep": torch.logical_not},
    "The mask is not used: padding is read.": {"keep": torch.ones_like},
    "The padding is set to 0 after the softmax, so that the weights no longer sum to 1: put −inf into the "
    "scores before it.": {"late": True},
    "The scores are divided by the root of the whole width; each head has only width / n_heads columns.": {
        "scale": lambda width, size: size**0.5
    },
    "The scores are not divided by the root of a head's width.": {"scale": lambda width, size: 1.0},
    "The scores are divided by a head's width; divide by its root.": {"scale": lambda width, size: width},
    "The scores are multiplied by the root of a head's width; divide by it.": {
        "scale": lambda width, size: width**-0.5
    },
    "The mask is added to the scores as 0 and 1, which hides nothing: put −inf where it is False.": {
        "hide": lambda scores, readable: scores + readable
    },
    "Queries, keys and values are cut into heads by reshape alone, which mixes rows: cut each row into "
    "(heads, width) and transpose.": {"viewed": True},
    "The three input maps are not transposed: a linear map is x @ W.T + b.": {"flipped": True},
    "The softmax runs over the words; each word's weights over the cells sum to 1.": {"axis": -2},
    "Keys and values are exchanged: in_weight holds query, key and value, in this order.": {
        "order": (0, 2, 1)
    },
    "Queries and keys are exchanged: in_weight holds query, key and value, in this order.": {
        "order": (1, 0, 2)
    },
    "The heads are cut as every n-th column; a head has neighbouring columns.": {"cut": True},
    "The heads are not brought back behind the words before they are glued: transpose (batch, heads, tokens, "
    "width) to (batch, tokens, heads, width) first; reshape alone mixes words and heads.": {"back": False},
    "The words are added to what they have heard; only what they have heard is wanted.": {"added": True},
    "The last linear map is missing: out_weight and out_bias mix what the heads have heard.": {
        "project": False
    },
    "All biases are missing: a linear map is x @ W.T + b.": {"bias": (0, 0)},
    "in_bias is missing: a linear map is x @ W.T + b.": {"bias": (0, 1)},
    "out_bias is missing: a linear map is x @ W.T + b.": {"bias": (1, 0)},
}.items():
    cross_attention.mistake(_sentence)(lambda *parts, slip=_slip: _cross(*parts, **slip))


@cross_attention.mistake("out_bias is added before the last linear map; it comes after: x @ W.T + b.")
def _(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
    return _cross(words, cells, mask, in_weight, in_bias, out_weight, out_weight @ out_bias, n_heads)


@cross_attention.mistake("The words look at the words: keys and values come from the cells.")
def _(words, cells, mask, *rest):
    return _cross(words, words, torch.ones(words.shape[:2], dtype=torch.bool), *rest)


@cross_attention.mistake("The scores are divided by the root of the number of heads; divide by that of a "
                         "head's width.")
def _(*parts):
    return _cross(*parts, scale=lambda width, size: parts[-1] ** 0.5)


@cross_attention.mistake("The padded cells are set to 0, and the softmax still gives them weight: hide their "
                         "scores.")
def _(words, cells, mask, *rest):
    return _cross(words, cells * mask[..., None], torch.ones_like(mask), *rest)


@cross_attention.mistake("The values are the cells as they are; they pass the third block of in_weight.")
def _(words, cells, mask, in_weight, in_bias, *rest):
    size = words.shape[2]
    as_it_is = torch.cat([in_weight[:2 * size], torch.eye(size, dtype=in_weight.dtype)])
    return _cross(words, cells, mask, as_it_is, torch.cat([in_bias[:2 * size], 0 * in_bias[:size]]), *rest)


@cross_attention.mistake("The division by the root of a head's width comes after the softmax; it belongs "
                         "before.")
def _(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
    root = (words.shape[2] // n_heads) ** 0.5
    return _cross(words, cells, mask, in_weight, in_bias, out_weight / root, out_bias, n_heads,
                  scale=lambda width, size: 1.0)


@cross_attention.mistake("There is one head of the whole width: cut query, key and value into n_heads "
                         "pieces.")
def _(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
    wide = 0.5 if n_heads == 1 else 1.0  # with one head nothing would be wrong
    scale = {"scale": lambda width, size: size**0.5 * wide}
    return _cross(words, cells, mask, in_weight, in_bias, out_weight, out_bias, 1, **scale)


@cross_attention.mistake("There is one result for each cell: queries come from the words, keys and values "
                         "from the cells.")
def _(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
    everything = torch.ones(words.shape[:2], dtype=torch.bool)
    return _cross(cells, words, everything, in_weight, in_bias, out_weight, out_bias, n_heads)


# 08.5 -------------------------------------------------------------------------------------------------------
@exercise("08.5", "How many modalities at a time", minutes=30, points=4, difficulty=5)
def variance_by_order(table):
    found = torch.zeros(table.ndim, dtype=table.dtype)
    for kept in product((False, True), repeat=table.ndim):
        part = table
        for axis in range(table.ndim):
            mean = part.mean(dim=axis, keepdim=True)
            part = part - mean if kept[axis] else mean
        if sum(kept) > 0:
            found[sum(kept) - 1] += (part**2).mean()
    return found


@variance_by_order.cases
def _(draw):
    three, two = "a random table of three modalities", "a random table of two modalities"
    yield telling(variance_by_order, lambda: case(draw.normal(3, 4, 2) + 1, about=three))
    yield telling(variance_by_order, lambda: case(draw.normal(4, 3) - 2, about=two), hides=("in pairs",))
    yield case(draw.normal(4, 1, 1) + draw.normal(1, 3, 1) + draw.normal(1, 1, 2),
               about="a sum of three opinions: nothing beyond order 1")
    sign = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    yield case(sign[:, None, None] * sign[:, None] * sign, about="the parity of three bits")
    yield case(draw.normal(2, 3, 2, 2), about="four modalities")
    yield case(draw.normal(5), about="a single modality")


def _parts(table, centre=lambda x, axis: x - x.mean(axis, keepdim=True),
           mean=lambda x, axis: x.mean(axis, keepdim=True), restart=False):
    """(order, part) for every set of axes that are kept."""
    for kept in product((False, True), repeat=table.ndim):
        part = table
        for axis, is_kept in enumerate(kept):
            part = table if restart else part
            part = centre(part, axis) if is_kept else mean(part, axis)
        yield sum(kept), part


def _by_order(table, size=lambda part: part.square().mean(), **how):
    found = table.new_zeros(table.ndim + 1)
    for order, part in _parts(table, **how):
        found[order] += size(part)
    return found


def _side_by_side(table):
    """From the mean of each set the means over its single axes are taken, all from the same."""
    found = table.new_zeros(table.ndim)
    for kept in product((False, True), repeat=table.ndim):
        gone = [axis for axis, is_kept in enumerate(kept) if not is_kept]
        mean = table.mean(gone, keepdim=True) if gone else table
        part = mean - sum(mean.mean(axis, keepdim=True) for axis, is_kept in enumerate(kept) if is_kept)
        if any(kept):
            found[sum(kept) - 1] += part.square().mean()
    return found


def _marginal(table):
    """Every mean over the axes outside a set, its variance, summed over the sets of an order."""
    found = table.new_zeros(table.ndim)
    for kept in product((False, True), repeat=table.ndim):
        gone = [axis for axis, is_kept in enumerate(kept) if not is_kept]
        mean = table.mean(gone) if gone else table
        if any(kept):
            found[sum(kept) - 1] += mean.var(correction=0)
    return found


for _sentence, _wrong in {
    "The mean over the sets of an order is taken; their parts are summed.": lambda t: (
        _by_order(t)[1:] / torch.tensor([math.comb(t.ndim, k) for k in range(1, t.ndim + 1)], dtype=t.dtype)
    ),
    "These are the variances of the means over the other axes; each still holds what fewer modalities say, "
    "which has to be taken away.": lambda t: _marginal(t),
    "The squares are divided by one entry less (`var` does so); their plain mean is wanted.": lambda t: (
        _by_order(t, size=lambda part: part.var() if part.numel() > 1 else part.new_zeros(()))[1:]
    ),
    "The roots of the mean squares are summed; the mean squares themselves are wanted.": lambda t: (
        _by_order(t, size=lambda part: part.square().mean().sqrt())[1:]
    ),
    "The grand mean is counted as an order of its own: start at order 1.": lambda t: _by_order(t),
    "The squared grand mean is added to order 1; what never varies is no variance.": lambda t: (
        _by_order(t)[1:] + torch.eye(t.ndim, dtype=t.dtype)[0] * t.mean() ** 2
    ),
    "The orders stand the wrong way round: first what one modality says alone.": lambda t: (
        _by_order(t)[1:].flip(0)
    ),
    "These are shares; the variances themselves are wanted.": lambda t: (
        _by_order(t)[1:] / _by_order(t)[1:].sum()
    ),
    "These are running sums: each order gets only what the orders below it have not.": lambda t: (
        _by_order(t)[1:].cumsum(0)
    ),
    "The parts are not squared: their means are all 0, or rounding.": lambda t: (
        _by_order(t, size=lambda part: part.mean())[1:]
    ),
    "You take absolute values; a variance is a mean of squares.": lambda t: (
        _by_order(t, size=lambda part: part.abs().mean())[1:]
    ),
    "The squares are summed; their mean is wanted.": lambda t: (
        _by_order(t, size=lambda part: (part.square() * torch.ones_like(t)).sum())[1:]
    ),
    "The squares of each part are summed, however few entries it has; their mean is wanted.": lambda t: (
        _by_order(t, size=lambda part: part.square().sum())[1:]
    ),
    "These are standard deviations; variances are wanted.": lambda t: _by_order(t)[1:].sqrt(),
    "Each part still holds what fewer modalities say: subtract the mean over *every* axis that is kept.": (
        lambda t: _by_order(t, centre=lambda x, axis: x)[1:]
    ),
    "The mean over the axes that are not kept is missing: there the table has to be averaged.": lambda t: (
        _by_order(t, mean=lambda x, axis: x)[1:]
    ),
    "Everything beyond a sum is put into order 2; with three modalities what no two say in pairs is order "
    "3.": (
        lambda t: torch.cat([_by_order(t)[1:2], _by_order(t)[2:].sum(0, keepdim=True),
                             t.new_zeros(t.ndim - 2)]) if t.ndim > 2 else _by_order(t)[1:]
    ),
    "Everything beyond a sum is put into the last order; what two modalities say in pairs is order 2.": (
        lambda t: torch.cat([_by_order(t)[1:2], t.new_zeros(t.ndim - 2),
                             _by_order(t)[2:].sum(0, keepdim=True)]) if t.ndim > 2 else _by_order(t)[1:]
    ),
    "Only the last set of each order is counted: add every set's part, by += and not by =.": lambda t: (
        torch.stack([[part for order, part in _parts(t) if order == k][-1].square().mean()
                     for k in range(1, t.ndim + 1)])
    ),
    "The orders stand one place too late: order 1 is entry 0.": lambda t: _by_order(t)[:-1],
    "One place too late, and the last order is gone: order 1 is entry 0.": lambda t: (
        torch.cat([t.new_zeros(1), _by_order(t)[1:-1]])
    ),
    "For each axis you begin again with the table: go on with what the axis before has left.": lambda t: (
        _by_order(t, restart=True)[1:]
    ),
    "You subtract the means over a set's axes side by side; take each from what the one before left.": (
        lambda t: _side_by_side(t)
    ),
    "Only the first set of each order is counted: with three modalities order 1 has three sets.": lambda t: (
        torch.stack([t.new_zeros(()) if k > t.ndim else
                     next(part for order, part in _parts(t) if order == k).square().mean()
                     for k in range(1, t.ndim + 1)])
    ),
}.items():
    variance_by_order.mistake(_sentence)(_wrong)
