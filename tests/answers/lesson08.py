"""Right and wrong answers to lesson 08, as learners write them."""

from itertools import combinations, product

import torch
from torch import nn
from torch.nn import functional as F

# 08.1 the gated unit

def gate_by_layers(image, text, W_image, W_text, W_gate):
    z = F.linear(torch.hstack((image, text)), W_gate).sigmoid()
    return torch.lerp(F.linear(text, W_text).tanh(), F.linear(image, W_image).tanh(), z)


def gate_by_rows(image, text, W_image, W_text, W_gate):
    rows = []
    for i, t in zip(image, text, strict=True):
        z = 1 / (1 + torch.exp(-(W_gate @ torch.cat([i, t]))))
        rows.append(z * torch.tanh(W_image @ i) + torch.tanh(W_text @ t) - z * torch.tanh(W_text @ t))
    return torch.stack(rows)


def _gate(mix=lambda z, i, t: z * i + (1 - z) * t, bend=torch.tanh, squash=torch.sigmoid, flipped=False):
    def gated_unit(image, text, W_image, W_text, W_gate):
        both = [text, image] if flipped else [image, text]
        z = squash(torch.cat(both, -1) @ W_gate.t())
        return mix(z, bend(image @ W_image.t()), bend(text @ W_text.t()))
    return gated_unit


def gate_of_the_row(image, text, W_image, W_text, W_gate):
    z = (torch.cat([image, text], 1) @ W_gate.T).sigmoid().mean(1, keepdim=True)
    return z * (image @ W_image.T).tanh() + (1 - z) * (text @ W_text.T).tanh()


def gate_of_the_hidden(image, text, W_image, W_text, W_gate):
    """The gate on what the halves have become, cut to what its weights can take."""
    i, t = (image @ W_image.T).tanh(), (text @ W_text.T).tanh()
    both = torch.cat([i, t], 1)[:, :W_gate.shape[1]]
    z = (both @ W_gate[:, :both.shape[1]].T).sigmoid()
    return z * i + (1 - z) * t


def gate_detached(image, text, W_image, W_text, W_gate):
    z = (torch.cat([image, text], 1).detach() @ W_gate.T).sigmoid()
    return z * (image @ W_image.T).tanh() + (1 - z) * (text @ W_text.T).tanh()


def _gate_of_one_half(half):
    def gated_unit(image, text, W_image, W_text, W_gate):
        n = image.shape[1]
        z = torch.sigmoid(image @ W_gate[:, :n].T if half == "image" else text @ W_gate[:, n:].T)
        return z * torch.tanh(image @ W_image.T) + (1 - z) * torch.tanh(text @ W_text.T)
    return gated_unit


def gate_before_the_bend(image, text, W_image, W_text, W_gate):
    z = torch.sigmoid(torch.hstack([image, text]) @ W_gate.T)
    return (z * (image @ W_image.T)).tanh() + ((1 - z) * (text @ W_text.T)).tanh()


def gates_of_their_own(image, text, W_image, W_text, W_gate):
    first, second = W_gate.split([image.shape[1], text.shape[1]], dim=1)
    return (F.linear(image, first).sigmoid() * F.linear(image, W_image).tanh()
            + F.linear(text, second).sigmoid() * F.linear(text, W_text).tanh())


# 08.2 bilinear

def rank_by_einsum(image, text, U, V, P):
    weight = torch.einsum("cr,rn,rm->cnm", P, U, V)
    return torch.einsum("bn,cnm,bm->bc", image, weight, text), weight


def rank_by_loop(image, text, U, V, P):
    weight = torch.stack([sum(p[r] * torch.outer(U[r], V[r]) for r in range(len(U))) for p in P])
    logits = torch.stack([torch.stack([i @ w @ t for w in weight]) for i, t in zip(image, text, strict=True)])
    return logits, weight


def _rank(logits=lambda i, t, U, V, P: (i @ U.T * (t @ V.T)) @ P.T,
          weight=lambda U, V, P: torch.einsum("cr,rn,rm->cnm", P, U, V)):
    return lambda i, t, U, V, P: (logits(i, t, U, V, P), weight(U, V, P))


def rank_mixed_first(image, text, U, V, P):
    return (image @ (P @ U).T) * (text @ (P @ V).T), torch.einsum("kn,km->knm", P @ U, P @ V)


def rank_one(image, text, U, V, P):
    weight = P[:, 0, None, None] * torch.outer(U[0], V[0])
    return torch.einsum("bn,knm,bm->bk", image, weight, text), weight


# 08.3 FiLM

def film_by_loop(cells, words, W_gamma, b_gamma, W_beta, b_beta):
    rows = []
    for x, w in zip(cells, words, strict=True):
        gamma, beta = W_gamma @ w + b_gamma, W_beta @ w + b_beta
        rows.append(torch.stack([torch.relu(x[c] + gamma[c] * x[c] + beta[c]).sum() / x[c].numel()
                                 for c in range(len(x))]))
    return torch.stack(rows)


def film_by_flattening(cells, words, W_gamma, b_gamma, W_beta, b_beta):
    gamma, beta = F.linear(words, W_gamma, b_gamma), F.linear(words, W_beta, b_beta)
    flat = cells.flatten(2)
    return F.relu(torch.addcmul(beta.unsqueeze(2), flat, 1 + gamma.unsqueeze(2))).mean(-1)


def film_of_the_first_row(cells, words, *weights):
    return film_by_flattening(cells, words[:1].expand_as(words), *weights)


def film_of_what_is_left(cells, words, *weights):
    """The mean over the cells that the relu left."""
    changed = torch.stack([film_by_flattening(cells[..., y:y + 1, x:x + 1], words, *weights)
                           for y in range(cells.shape[2]) for x in range(cells.shape[3])])
    return changed.sum(0) / (changed > 0).sum(0).clamp(min=1)


def film_and_keep(cells, *rest):
    return cells.mean((2, 3)) + film_by_loop(cells, *rest)


def _film(form=lambda x, g, b: F.relu((1 + g) * x + b).mean((-1, -2))):
    def film(cells, words, W_gamma, b_gamma, W_beta, b_beta):
        g, b = F.linear(words, W_gamma, b_gamma), F.linear(words, W_beta, b_beta)
        return form(cells, g[:, :, None, None], b[:, :, None, None])
    return film


# 08.4 cross-attention

def look_by_torch(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
    layer = nn.MultiheadAttention(words.shape[2], n_heads, batch_first=True, dtype=words.dtype)
    weights = dict(zip(("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"),
                       (in_weight, in_bias, out_weight, out_bias), strict=True))
    given = {"key_padding_mask": ~mask, "need_weights": False}
    return torch.func.functional_call(layer, weights, (words, cells, cells), given)[0]


def look_by_axes(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
    (wq, wk, wv), (bq, bk, bv) = in_weight.chunk(3), in_bias.chunk(3)
    b, t, e = words.shape
    q = F.linear(words, wq, bq).view(b, t, n_heads, -1)
    k, v = (F.linear(cells, w, c).view(b, -1, n_heads, e // n_heads) for w, c in ((wk, bk), (wv, bv)))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * (e // n_heads) ** -0.5
    scores = torch.where(mask[:, None, None], scores, torch.tensor(float("-inf"), dtype=scores.dtype))
    heard = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).reshape(b, t, e)
    return F.linear(heard, out_weight, out_bias)


def _look(keep=lambda m: m, root=lambda d, e: d**0.5, axis=-1, order=(0, 1, 2), heads=lambda n: n, end=True,
          late=False):
    def cross_attention(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
        blocks = [(in_weight.chunk(3)[i], in_bias.chunk(3)[i]) for i in order]
        q, k, v = (F.linear(x, *block).unflatten(-1, (heads(n_heads), -1)).transpose(1, 2)
                   for x, block in zip((words, cells, cells), blocks, strict=True))
        scores = q @ k.mT / root(q.shape[-1], words.shape[2])
        readable = keep(mask)[:, None, None, :]
        if not late:
            scores = scores.masked_fill(~readable, -1e30)
        weights = scores.softmax(axis)
        heard = ((weights * readable if late else weights) @ v).transpose(1, 2).flatten(2)
        return F.linear(heard, out_weight, out_bias) if end else heard
    return cross_attention


def look_glued_as_it_lies(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
    q, k, v = (F.linear(x, w, b).unflatten(-1, (n_heads, -1)).transpose(1, 2) for x, w, b in
               zip((words, cells, cells), in_weight.chunk(3), in_bias.chunk(3), strict=True))
    heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
    return F.linear(heard.reshape(words.shape), out_weight, out_bias)


def look_from_the_cells(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
    q, k, v = (F.linear(x, w, b).unflatten(-1, (n_heads, -1)).transpose(1, 2) for x, w, b in
               zip((cells, words, words), in_weight.chunk(3), in_bias.chunk(3), strict=True))
    return F.linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), out_weight, out_bias)


def look_and_keep(words, *rest):
    return words + look_by_axes(words, *rest)


def look_with(scores=lambda s, readable, d, h: s.masked_fill(~readable, -torch.inf) / d**0.5,
              cut=lambda x, h: torch.stack(x.chunk(h, 2), 1),
              before=lambda words, cells, mask: (words, cells), after=lambda weights, d: weights,
              block=F.linear):
    """One step at a time, each of which may go wrong."""
    def cross_attention(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
        words, cells = before(words, cells, mask)
        q, k, v = (cut(block(x, w, b), n_heads) for x, w, b in
                   zip((words, cells, cells), in_weight.chunk(3), in_bias.chunk(3), strict=True))
        weights = after(scores(q @ k.mT, mask[:, None, None], q.shape[-1], n_heads).softmax(-1), q.shape[-1])
        return torch.cat((weights @ v).unbind(1), 2) @ out_weight.T + out_bias
    return cross_attention


def look_at_words(words, cells, mask, *rest):
    return look_by_torch(words, words, torch.ones(words.shape[:2], dtype=torch.bool), *rest)


def look_with_an_early_bias(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
    heard = look_by_axes(words, cells, mask, in_weight, in_bias, torch.eye(words.shape[2], dtype=words.dtype),
                         out_bias, n_heads)
    return heard @ out_weight.T


def look_at_plain_values(words, cells, mask, in_weight, in_bias, out_weight, out_bias, n_heads):
    q, k = (F.linear(x, w, b).unflatten(-1, (n_heads, -1)).transpose(1, 2) for x, w, b in
            zip((words, cells), in_weight.chunk(3), in_bias.chunk(3), strict=False))
    v = cells.unflatten(-1, (n_heads, -1)).transpose(1, 2)
    heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
    return F.linear(heard.transpose(1, 2).flatten(2), out_weight, out_bias)


# 08.5 variance by order

def orders_by_inclusion(table):
    """Each part is the mean over the other axes less the parts of all smaller sets."""
    axes, parts, found = range(table.ndim), {}, []
    for size in range(table.ndim + 1):
        for kept in combinations(axes, size):
            gone = [axis for axis in axes if axis not in kept]
            part = table.mean(gone, keepdim=True) if gone else table
            parts[kept] = part - sum(p for smaller, p in parts.items() if set(smaller) < set(kept))
        if size:
            found.append(sum(p.pow(2).mean() for kept, p in parts.items() if len(kept) == size))
    return torch.stack(found)


def orders_by_projections(table):
    """The same by matrices: J averages along an axis, I − J takes the mean away."""
    found = [table.new_zeros(()) for _ in range(table.ndim)]
    for code in range(1, 2**table.ndim):
        part = table
        for axis, n in enumerate(table.shape):
            average = torch.full((n, n), 1 / n, dtype=table.dtype)
            matrix = torch.eye(n, dtype=table.dtype) - average if code >> axis & 1 else average
            part = torch.tensordot(matrix, part, dims=([1], [axis])).movedim(0, axis)
        order = code.bit_count()
        found[order - 1] = found[order - 1] + part.square().mean()
    return torch.stack(found)


def _orders(size=lambda part: part.pow(2).mean(), per_set=False):
    """By projections, with the size of a part as an argument."""
    def variance_by_order(table):
        found, sets = torch.zeros(table.ndim, dtype=table.dtype), torch.zeros(table.ndim)
        for code in range(1, 2**table.ndim):
            part = table
            for axis in range(table.ndim):
                mean = part.mean(axis, keepdim=True)
                part = part - mean if code >> axis & 1 else mean
            found[code.bit_count() - 1] += size(part)
            sets[code.bit_count() - 1] += 1
        return found / sets if per_set else found
    return variance_by_order


def orders_of_marginal_means(table):
    found = torch.zeros(table.ndim, dtype=table.dtype)
    for size in range(1, table.ndim + 1):
        for kept in combinations(range(table.ndim), size):
            gone = [axis for axis in range(table.ndim) if axis not in kept]
            mean = table.mean(gone) if gone else table
            found[size - 1] += (mean - table.mean()).pow(2).mean()
    return found


def orders_of_the_last_set(table):
    found = torch.zeros(table.ndim, dtype=table.dtype)
    for kept in product((False, True), repeat=table.ndim):
        part = table
        for axis in range(table.ndim):
            mean = part.mean(axis, keepdim=True)
            part = part - mean if kept[axis] else mean
        if any(kept):
            found[sum(kept) - 1] = part.square().mean()
    return found


def orders_first_and_last(table):
    found = torch.zeros(table.ndim, dtype=table.dtype)
    found[0] = orders_by_inclusion(table)[0]
    if table.ndim > 1:
        found[-1] = table.var(correction=0) - found[0]
    return found


def orders_from_the_table(table):
    found = torch.zeros(table.ndim, dtype=table.dtype)
    for kept in product((False, True), repeat=table.ndim):
        if any(kept):
            for axis in range(table.ndim):
                mean = table.mean(axis, keepdim=True)
                part = table - mean if kept[axis] else mean
            found[sum(kept) - 1] += part.square().mean()
    return found


def orders_side_by_side(table):
    axes, found = range(table.ndim), torch.zeros(table.ndim, dtype=table.dtype)
    for size in range(1, table.ndim + 1):
        for kept in combinations(axes, size):
            gone = [axis for axis in axes if axis not in kept]
            mean = table.mean(gone, keepdim=True) if gone else table
            part = mean
            for axis in kept:
                part = part - mean.mean(axis, keepdim=True)
            found[size - 1] += part.pow(2).mean()
    return found


def orders_without_subtracting(table):
    axes, found = range(table.ndim), torch.zeros(table.ndim, dtype=table.dtype)
    for size in range(1, table.ndim + 1):
        for kept in combinations(axes, size):
            gone = [axis for axis in axes if axis not in kept]
            found[size - 1] += (table.mean(gone) if gone else table).pow(2).mean()
    return found


RIGHT = {
    "08.1": [gate_by_layers, gate_by_rows],
    "08.2": [rank_by_einsum, rank_by_loop],
    "08.3": [film_by_loop, film_by_flattening],
    "08.4": [look_by_torch, look_by_axes],
    "08.5": [orders_by_inclusion, orders_by_projections],
}
WRONG = {
    "08.1": [
        (_gate(mix=lambda z, i, t: (1 - z) * i + z * t), "wrong side"),
        (_gate(mix=lambda z, i, t: z * i + z * t), "what is left"),
        (_gate(mix=lambda z, i, t: z * i + t), "not weighed at all"),
        (_gate(mix=lambda z, i, t: torch.cat([z * i, (1 - z) * t], 1)), "side by side"),
        (_gate(bend=lambda x: x), "tanh is missing"),
        (_gate(bend=F.relu), "relu"),
        (_gate(squash=lambda x: x), "sigmoid of the gate is missing"),
        (_gate(squash=torch.tanh), "negative"),
        (_gate(squash=lambda x: x.softmax(-1)), "compete"),
        (_gate(flipped=True), "[text ; image]"),
        (gate_of_the_row, "every hidden unit"),
        (gate_of_the_hidden, "reads the bent halves"),
        (gate_detached, "gradient"),
        (gate_before_the_bend, "before they are bent"),
        (_gate_of_one_half("image"), "reads the image only"),
        (_gate_of_one_half("text"), "reads the text only"),
        (gates_of_their_own, "gate of its own"),
        (_gate(squash=lambda x: (x > 0).to(x.dtype)), "rounded"),
    ],
    "08.2": [
        (_rank(logits=lambda i, t, U, V, P: (i @ U.T + t @ V.T) @ P.T), "factors are added"),
        (_rank(logits=lambda i, t, U, V, P: torch.tanh(i @ U.T * (t @ V.T)) @ P.T), "bend"),
        (_rank(logits=lambda i, t, U, V, P: (i @ U.T * (t @ V.T)) @ P.T / len(U)), "averaged"),
        (_rank(logits=lambda i, t, U, V, P: i @ U.T @ P.T), "only the image's"),
        (_rank(logits=lambda i, t, U, V, P: (i @ U.T).sum(1)[:, None] * (t @ V.T).sum(1)[:, None] * P.sum(1)),
         "summed before they are multiplied"),
        (_rank(weight=lambda U, V, P: torch.einsum("cr,rn,rm->cmn", P, U, V)), "transposed"),
        (_rank(weight=lambda U, V, P: (U.T @ V).repeat(len(P), 1, 1)), "same for every class"),
        (_rank(weight=lambda U, V, P: torch.einsum("cr,rn,sm->cnm", P, U, V)), "summed over the rank"),
        (_rank(logits=lambda i, t, U, V, P: ((i @ U.T + 1) * (t @ V.T + 1)) @ P.T), "a 1 is added"),
        (rank_mixed_first, "before they are multiplied"),
        (rank_one, "first product"),
        (_rank(weight=lambda U, V, P: torch.einsum("rn,rm->rnm", U, V)), "one for each r"),
    ],
    "08.3": [
        (_film(lambda x, g, b: F.relu(g * x + b).mean((2, 3))), "1 + γ"),
        (_film(lambda x, g, b: ((1 + g) * x + b).mean((2, 3))), "relu is missing"),
        (_film(lambda x, g, b: F.relu(((1 + g) * x + b).mean((2, 3)))), "mean comes too early"),
        (_film(lambda x, g, b: ((1 + g) * F.relu(x) + b).mean((2, 3))), "relu comes too early"),
        (_film(lambda x, g, b: (F.relu((1 + g) * x) + b).mean((2, 3))), "before the shift"),
        (_film(lambda x, g, b: F.relu((1 + g) * x + b).sum((2, 3))), "summed"),
        (_film(lambda x, g, b: F.relu((1 + g) * x + b).amax((2, 3))), "largest"),
        (_film(lambda x, g, b: F.relu((1 + g) * x).mean((2, 3))), "β is missing"),
        (_film(lambda x, g, b: F.relu((1 + b) * x + g).mean((2, 3))), "exchanged"),
        (_film(lambda x, g, b: F.relu((1 + g.sigmoid()) * x + b).mean((2, 3))), "sigmoid"),
        (_film(lambda x, g, b: F.gelu((1 + g) * x + b).mean((2, 3))), "gelu"),
        (_film(lambda x, g, b: F.relu((1 + g.relu()) * x + b).mean((2, 3))), "bent by a relu"),
        (_film(lambda x, g, b: ((1 + g) * F.relu(x + b)).mean((2, 3))), "scale comes after the relu"),
        (film_of_what_is_left, "also those at 0"),
        (film_and_keep, "as they were are added"),
        (film_of_the_first_row, "first row"),
    ],
    "08.4": [
        (_look(keep=lambda m: ~m), "wrong way round"),
        (_look(keep=lambda m: m | True), "not used"),
        (_look(late=True), "after the softmax"),
        (_look(root=lambda d, e: e**0.5), "whole width"),
        (_look(root=lambda d, e: 1), "not divided"),
        (_look(axis=-2), "over the words"),
        (_look(order=(0, 2, 1)), "exchanged"),
        (_look(heads=lambda n: 1), "one head"),
        (_look(end=False), "last linear map"),
        (look_glued_as_it_lies, "brought back behind the words"),
        (look_from_the_cells, "queries come from the words"),
        (look_and_keep, "only what they have heard"),
        (look_with_an_early_bias, "before the last linear map"),
        (look_at_words, "words look at the words"),
        (look_at_plain_values, "cells as they are"),
        (_look(root=lambda d, e: d**-0.5), "multiplied by the root"),
        (look_with(scores=lambda s, m, d, h: s.masked_fill(~m, -torch.inf) / h**0.5), "number of heads"),
        (look_with(scores=lambda s, m, d, h: s / d**0.5 + m), "as 0 and 1"),
        (look_with(scores=lambda s, m, d, h: s / d**0.5, before=lambda w, c, m: (w, c * m[:, :, None])),
         "padded cells are set to 0"),
        (look_with(scores=lambda s, m, d, h: s.masked_fill(~m, -torch.inf), after=lambda p, d: p / d**0.5),
         "after the softmax"),
        (look_with(cut=lambda x, h: x.reshape(len(x), h, x.shape[1], -1)), "reshape alone"),
        (look_with(block=lambda x, w, b: x @ w + b), "not transposed"),
    ],
    "08.5": [
        (orders_without_subtracting, "fewer modalities say"),
        (orders_of_marginal_means, "variances of the means"),
        (_orders(per_set=True), "sets of an order"),
        (_orders(size=lambda part: part.var()), "one entry less"),
        (_orders(size=lambda part: part.pow(2).mean().sqrt()), "roots of the mean squares"),
        (lambda t: orders_by_inclusion(t).flip(0), "wrong way round"),
        (lambda t: orders_by_inclusion(t) / orders_by_inclusion(t).sum(), "shares"),
        (lambda t: orders_by_inclusion(t).cumsum(0), "running sums"),
        (lambda t: orders_by_inclusion(t).sqrt(), "standard deviations"),
        (lambda t: torch.cat([t.mean()[None] ** 2, orders_by_inclusion(t)]), "grand mean"),
        (orders_first_and_last, "into the last order"),
        (orders_of_the_last_set, "Only the last set"),
        (orders_from_the_table, "begin again with the table"),
        (orders_side_by_side, "side by side"),
        (lambda t: torch.cat([t.mean()[None] ** 2, orders_by_inclusion(t)[:-1]]), "one place too late"),
        (lambda t: torch.cat([0 * t.mean()[None], orders_by_inclusion(t)[:-1]]), "One place too late"),
    ],
}
