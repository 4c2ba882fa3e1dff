"""Lesson 04, Reading: the bag of words, attention, its heads, and one whole layer of BERT."""

import math

import torch
from torch.nn import functional as F

from cmlib import layers
from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


def _padded(draw, batch, tokens):
    """A mask (batch, tokens) whose rows end in padding, at least one token each; row 0 is full."""
    lengths = draw.integers(tokens, batch, low=1)
    lengths[0] = tokens
    return (torch.arange(tokens) < lengths[:, None]).long()


# 04.6 -------------------------------------------------------------------------------------------------------

@exercise("04.6", "The luckiest bag", minutes=12, points=2, difficulty=2)
def luckiest_bag(texts, labels):
    found = {}
    for text, label in zip(texts, labels.tolist(), strict=True):
        bag = tuple(sorted(text.split()))
        found.setdefault(bag, []).append(label)
    right = 0
    for answers in found.values():
        right += max(answers.count(0), answers.count(1))
    return right / len(texts)


@luckiest_bag.cases
def _(draw):
    def messages(n, words):
        texts = []
        for length in (2 + draw.integers(2, n)).tolist():
            texts.append(" ".join(words[k] for k in draw.integers(len(words), length).tolist()))
        return texts

    def drawn(low, high, words, about):
        """Of a drawn number of messages, so that no share comes twice by chance."""
        n = int(draw.integers(high, low=low))
        return telling(luckiest_bag, lambda: case(messages(n, words), draw.integers(2, n), about=about))

    yield drawn(43, 97, ("on", "no", "fine", "it"), "many short messages")
    yield drawn(31, 59, ("on", "no", "is"), "short messages of three words")
    pair = ["it is not broken , it is fine .", "it is not fine , it is broken ."]
    yield case(pair, torch.tensor([0, 1]), about="a pair of twins, where every bag is right on one")
    yield case([*pair, pair[1]], torch.tensor([0, 1, 1]), about="twins that are not equally frequent")
    yield case(["a a b", "a b b"], torch.tensor([0, 1]), about="the same words, not equally often")
    yield case(["a .", "a", "b ,", "b"], torch.tensor([0, 1, 0, 1]), about="a stop and a comma, which stand "
                                                                           "between blanks as words do")


def _by_key(texts, labels, key, pick=lambda answers: max(answers.count(0), answers.count(1))):
    found = {}
    for text, label in zip(texts, labels.tolist(), strict=True):
        found.setdefault(key(text), []).append(label)
    return [(pick(answers), len(answers)) for answers in found.values()]


def _bag(text):
    return tuple(sorted(text.split()))


def _share(groups):
    return sum(right for right, _ in groups) / sum(rows for _, rows in groups)


@luckiest_bag.mistake(
    "The order of the words is still in your key: a bag has no order, so twins must fall into one."
)
def _(texts, labels):
    return _share(_by_key(texts, labels, str))


@luckiest_bag.mistake(
    "Your key is the set of words: a bag counts them, so \"a a b\" and \"a b b\" are two bags."
)
def _(texts, labels):
    return _share(_by_key(texts, labels, lambda text: frozenset(text.split())))


@luckiest_bag.mistake("Your key holds the letters, not the words: split the text first.")
def _(texts, labels):
    return _share(_by_key(texts, labels, lambda text: tuple(sorted(text))))


@luckiest_bag.mistake("You average over the bags: a bag that stands for ten messages counts ten times.")
def _(texts, labels):
    groups = _by_key(texts, labels, _bag)
    return sum(right / rows for right, rows in groups) / len(groups)


@luckiest_bag.mistake("Each bag gets the label that it met first; the luckiest gives the more frequent one.")
def _(texts, labels):
    return _share(_by_key(texts, labels, _bag, lambda answers: answers.count(answers[0])))


@luckiest_bag.mistake("Each bag gets the label that it met last; the luckiest gives the more frequent one.")
def _(texts, labels):
    return _share(_by_key(texts, labels, _bag, lambda answers: answers.count(answers[-1])))


@luckiest_bag.mistake(
    "This is the share of the more frequent label over all messages: a bag may give every bag an answer of "
    "its own."
)
def _(texts, labels):
    return max(labels.tolist().count(0), labels.tolist().count(1)) / len(texts)


@luckiest_bag.mistake(
    "Only bags whose messages all agree count in your sum; of the others the more frequent label is right "
    "as well."
)
def _(texts, labels):
    return _share(_by_key(texts, labels, _bag, lambda a: len(a) if len(set(a)) == 1 else 0))


@luckiest_bag.mistake("This is a number of messages; divide by how many there are.")
def _(texts, labels):
    return float(sum(right for right, _ in _by_key(texts, labels, _bag)))


@luckiest_bag.mistake(
    "A bag with both labels counts half in your sum: that is what can be expected of it; in hindsight it "
    "takes the more frequent label."
)
def _(texts, labels):
    return _share(_by_key(texts, labels, _bag, lambda a: len(a) if len(set(a)) == 1 else len(a) / 2))


@luckiest_bag.mistake("Your key is the number of words: a bag also knows which words they are.")
def _(texts, labels):
    return _share(_by_key(texts, labels, lambda text: len(text.split())))


@luckiest_bag.mistake("This is the number of different bags, divided by the messages; how many are right?")
def _(texts, labels):
    return len({_bag(text) for text in texts}) / len(texts)


@luckiest_bag.mistake("You divide by the number of different bags; divide by the number of messages.")
def _(texts, labels):
    groups = _by_key(texts, labels, _bag)
    return sum(right for right, _ in groups) / len(groups)


@luckiest_bag.mistake(
    "Your key is the set of words with their number: \"a a b\" and \"a b b\" are still one; a bag counts "
                                                                           "each word."
)
def _(texts, labels):
    return _share(_by_key(texts, labels, lambda text: (frozenset(text.split()), len(text.split()))))


@luckiest_bag.mistake("Only refunds count in your sum: where label 0 is the more frequent, the luckiest "
                      "bag says 0.")
def _(texts, labels):
    return _share(_by_key(texts, labels, _bag, lambda a: a.count(1) if 2 * a.count(1) > len(a) else 0))


@luckiest_bag.mistake("Your bag says refund to everything: it may give every bag an answer of its own.")
def _(texts, labels):
    return labels.double().mean().item()


@luckiest_bag.mistake("Bags that occur once are left out of your sum: each of them is right as well.")
def _(texts, labels):
    return _share(_by_key(texts, labels, _bag,
                          lambda a: max(a.count(0), a.count(1)) if len(a) > 1 else 0))


@luckiest_bag.mistake("This is how often the luckiest bag is wrong.")
def _(texts, labels):
    return 1 - luckiest_bag.reference(texts, labels)


# 04.2 -------------------------------------------------------------------------------------------------------

@exercise("04.2", "Attention by hand", minutes=12, points=3, difficulty=3, grad=(0, 1, 2))
def attention(q, k, v, mask):
    d = q.shape[-1]
    scores = q @ k.transpose(1, 2) / math.sqrt(d)
    hidden = scores.masked_fill(mask[:, None, :] == 0, -torch.inf)
    weights = hidden.softmax(dim=-1)
    return weights @ v


def _attend(q, k, v, mask, scale=None, hide=-torch.inf, axis=-1):
    """Attention with a part that can be wrong; the mask has the axes of the scores."""
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return scores.masked_fill(mask == 0, hide).softmax(axis) @ v


@attention.cases
def _(draw):
    left = torch.tensor([[0, 0, 1, 1], [1, 0, 1, 0]])
    yield case(
        draw.normal(2, 4, 3),
        draw.normal(2, 4, 3),
        draw.normal(2, 4, 5),
        left,
        about="padding at the front and in the middle",
    )
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


@attention.mistake("0 · (−∞) is nan: a mask times −∞ spoils the scores of the words, too. Use masked_fill.")
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None]) * torch.nan


@attention.mistake("The weights are divided by √d after the softmax; divide the scores, before it.")
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None], scale=1.0) / math.sqrt(q.shape[-1])


@attention.mistake(
    "The softmax runs over the queries, so a key's weights add up to one (or to nan, where it is padding): "
    "each query shares out one unit over the keys."
)
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None], axis=1)


@attention.mistake("The padding is not masked: padded keys still take weight from the words.")
def _(q, k, v, mask):
    return _attend(q, k, v, torch.ones_like(mask)[:, None])


@attention.mistake("The mask is upside down: 1 marks a word and 0 marks padding, and you hide the words.")
def _(q, k, v, mask):
    return _attend(q, k, v, 1 - mask[:, None], hide=-1e9)


@attention.mistake("Padded scores are set to 0, and exp(0) = 1 is still a weight: what number has "
                   "exponential zero?")
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None], hide=0.0)


@attention.mistake(
    "Padded scores are set to −10, and exp(−10) is still a weight: only −∞ has exponential zero, whatever "
    "the other scores are."
)
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None], hide=-10.0)


@attention.mistake(
    "The mask lies on the queries: it says which *keys* may be heard, so its axis is the last one of the "
    "scores."
)
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, :, None])


@attention.mistake(
    "The mask lies on the queries: what a padded position hears matters to nobody, what it says must not "
    "be heard."
)
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, :, None], hide=-1e9)


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


@attention.mistake("The scores are scaled by the number of queries; the length of a query vector (its "
                   "last size) is what "
                   "counts.")
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None], scale=q.shape[1] ** -0.5)


@attention.mistake("The softmax runs over the batch: each query shares out one unit of weight over the keys.")
def _(q, k, v, mask):
    return _attend(q, k, v, mask[:, None], axis=0)


@attention.mistake("Sigmoids are no shares: the weights of a row must add up to one, so use a softmax.")
def _(q, k, v, mask):
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    return scores.masked_fill(mask[:, None] == 0, -torch.inf).sigmoid() @ v


@attention.mistake("The weights of a row are not divided by their sum: exponentials become shares by that.")
def _(q, k, v, mask):
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    return scores.masked_fill(mask[:, None] == 0, -torch.inf).exp() @ v


@attention.mistake("k is reshaped to (batch, d, keys), which mixes its vectors: transpose it.")
def _(q, k, v, mask):
    return _attend(q, k.transpose(1, 2).reshape(k.shape) if k.shape[1] == k.shape[2] else k.reshape(
        len(k), k.shape[2], k.shape[1]).transpose(1, 2), v, mask[:, None])


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
    batch, tokens, hidden = q.shape
    size = hidden // n_heads
    q = q.view(batch, tokens, n_heads, size).transpose(1, 2)
    k = k.view(batch, tokens, n_heads, size).transpose(1, 2)
    v = v.view(batch, tokens, n_heads, size).transpose(1, 2)
    scores = q @ k.transpose(2, 3) / math.sqrt(size)
    scores = scores.masked_fill(mask[:, None, None, :] == 0, -torch.inf)
    heard = scores.softmax(dim=-1) @ v
    return heard.transpose(1, 2).reshape(batch, tokens, hidden)


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


@multi_head.mistake(
    "The mask lies on the queries: it says which *keys* may be heard, so it needs the axes (batch, 1, 1, "
    "tokens)."
)
def _(q, k, v, mask, n_heads):
    return _merge(_attend(*(_split(x, n_heads) for x in (q, k, v)), mask[:, None, :, None]))


@multi_head.mistake(
    "The mask lies on the queries: what a padded position hears matters to nobody, what it says must not "
    "be heard."
)
def _(q, k, v, mask, n_heads):
    return _merge(_attend(*(_split(x, n_heads) for x in (q, k, v)), mask[:, None, :, None], hide=-1e9))


@multi_head.mistake("The scores are not scaled: each head divides by the root of its own size.")
def _(q, k, v, mask, n_heads):
    return _merge(_attend(*(_split(x, n_heads) for x in (q, k, v)), mask[:, None, None], scale=1.0))


@multi_head.mistake(
    "The softmax runs over the heads: each query of each head shares out one unit of weight over the keys."
)
def _(q, k, v, mask, n_heads):
    return _merge(_attend(*(_split(x, n_heads) for x in (q, k, v)), mask[:, None, None], hide=-1e9, axis=1))


@multi_head.mistake(
    "The masks stand in the wrong order: mask.repeat(n_heads, 1) begins anew with every head, and your "
    "folded heads stand text by text. Use repeat_interleave."
)
def _(q, k, v, mask, n_heads):
    masks = mask.repeat(n_heads, 1).view(len(q), n_heads, 1, -1)
    return _merge(_attend(*(_split(x, n_heads) for x in (q, k, v)), masks))


@multi_head.mistake("The scores are scaled by √n_heads; the length of a head's vectors, hidden/n_heads, "
                    "is what counts.")
def _(q, k, v, mask, n_heads):
    return _merge(_attend(*(_split(x, n_heads) for x in (q, k, v)), mask[:, None, None], scale=n_heads**-0.5))


@multi_head.mistake("The scores are scaled by the number of tokens; the length of a head's vectors, "
                    "hidden/n_heads, is what "
                    "counts.")
def _(q, k, v, mask, n_heads):
    heads = (_split(x, n_heads) for x in (q, k, v))
    return _merge(_attend(*heads, mask[:, None, None], scale=q.shape[1] ** -0.5))


@multi_head.mistake("Your heads have n_heads columns each (split takes a size, chunk a number): there are "
                    "n_heads heads of "
                    "hidden/n_heads columns.")
def _(q, k, v, mask, n_heads):
    heads = (_split(x, x.shape[-1] // n_heads) for x in (q, k, v))
    return _merge(_attend(*heads, mask[:, None, None]))


@multi_head.mistake("All heads share the mean of their weights in your result: each head attends by itself.")
def _(q, k, v, mask, n_heads):
    split = [_split(x, n_heads) for x in (q, k)]
    every = torch.eye(q.shape[1], dtype=q.dtype).expand(len(q), n_heads, -1, -1)
    return _attend(*split, every, mask[:, None, None]).mean(1) @ v


@multi_head.mistake("Padding is removed after the softmax, so the weights of a row no longer add up to "
                    "one: mask the "
                    "scores, not the weights.")
def _(q, k, v, mask, n_heads):
    q, k, v = (_split(x, n_heads) for x in (q, k, v))
    return _merge(((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) * mask[:, None, None]) @ v)


@multi_head.mistake("The padding is not masked: give the mask to every head.")
def _(q, k, v, mask, n_heads):
    return _merge(_attend(*(_split(x, n_heads) for x in (q, k, v)), torch.ones_like(mask)[:, None, None]))


# 04.4 -------------------------------------------------------------------------------------------------------

@exercise("04.4", "A layer of BERT by hand", minutes=18, points=4, difficulty=4, grad=(0,))
def bert_layer(x, mask, state, n_heads):
    def dense(name, x):
        return x @ state[name + ".weight"].T + state[name + ".bias"]

    def norm(name, x):
        weight, shift = state[name + ".LayerNorm.weight"], state[name + ".LayerNorm.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, shift, eps=1e-12)

    q = dense("attention.self.query", x)
    k = dense("attention.self.key", x)
    v = dense("attention.self.value", x)
    heard = layers.multi_head(q, k, v, mask, n_heads)
    x = norm("attention.output", x + dense("attention.output.dense", heard))
    thought = F.gelu(dense("intermediate.dense", x))
    return norm("output", x + dense("output.dense", thought))


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
_says("This GELU is the quick approximation, x · sigmoid(1.702 x); BERT uses the exact one, with the "
      "error function.",
      act=lambda x: x * (1.702 * x).sigmoid())
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


@bert_layer.mistake(
    "The residuals stand outside LayerNorm, x + LayerNorm(…): in BERT the sum comes first, LayerNorm(x + …)."
)
def _(x, mask, state, n_heads):
    def norm(name, x):
        weight, shift = state[name + ".LayerNorm.weight"], state[name + ".LayerNorm.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, shift, eps=1e-12)

    def dense(name, x):
        return F.linear(x, state[name + ".weight"], state[name + ".bias"])

    parts = (dense(f"attention.self.{name}", x) for name in ("query", "key", "value"))
    heard = dense("attention.output.dense", layers.multi_head(*parts, mask, n_heads))
    x = x + norm("attention.output", heard)
    return x + norm("output", dense("output.dense", F.gelu(dense("intermediate.dense", x))))


@bert_layer.mistake("There is only one head in your layer: split query, key and value into n_heads blocks.")
def _(x, mask, state, n_heads):
    return _layer(x, mask, state, 1)


# 04.5 -------------------------------------------------------------------------------------------------------

@exercise("04.5", "A shift is a rotation", minutes=30, points=4, difficulty=4)
def look_back(frequencies, steps):
    d = 2 * len(frequencies)
    matrix = torch.zeros(d, d, dtype=frequencies.dtype)
    for i in range(len(frequencies)):
        angle = frequencies[i] * steps
        matrix[2 * i, 2 * i] = angle.cos()
        matrix[2 * i, 2 * i + 1] = -angle.sin()
        matrix[2 * i + 1, 2 * i] = angle.sin()
        matrix[2 * i + 1, 2 * i + 1] = angle.cos()
    return matrix


@look_back.cases
def _(draw):
    for n, steps in ((3, 3), (1, 1), (4, 5), (2, 0)):
        about = f"{n} {'frequency' if n == 1 else 'frequencies'}, {steps} {'step' if steps == 1 else 'steps'}"
        yield case(draw.uniform(n, low=0.1, high=0.9), steps, about=about)
    yield case(draw.uniform(1, low=0.1, high=0.9).repeat(2), 3, about="two equal frequencies")


def _rotations(angles, turn=lambda c, s: ((c, -s), (s, c))):
    """A matrix with one 2 × 2 block per angle on its diagonal."""
    blocks = [torch.tensor(turn(math.cos(a), math.sin(a)), dtype=angles.dtype) for a in angles.tolist()]
    return torch.block_diag(*blocks)


@look_back.mistake(
    "This looks ahead: it turns P[t] into P[t + steps]. (Or it is the transpose: the rows P[t] stand on "
    "the left of the matrix.)"
)
def _(frequencies, steps):
    return _rotations(-frequencies * steps)


@look_back.mistake(
    "Your matrix turns by one step, whatever `steps` is: the angle is the frequency times steps."
)
def _(frequencies, steps):
    return _rotations(frequencies)


@look_back.mistake("All blocks turn by the same angle: each pair of columns has a frequency of its own.")
def _(frequencies, steps):
    return _rotations(frequencies[:1].expand_as(frequencies) * steps)


@look_back.mistake(
    "Your columns are all cosines first, then all sines; in P[t] the cosine and the sine of one frequency "
    "stand side by side."
)
def _(frequencies, steps):
    angles = frequencies * steps
    c, s = angles.cos().diag(), angles.sin().diag()
    return torch.cat([torch.cat([c, -s], 1), torch.cat([s, c], 1)])


@look_back.mistake("Both sines have the same sign: one of the two addition theorems has a minus.")
def _(frequencies, steps):
    return _rotations(frequencies * steps, lambda c, s: ((c, s), (s, c)))


@look_back.mistake("Both sines are negative: one of the two addition theorems has a plus.")
def _(frequencies, steps):
    return _rotations(frequencies * steps, lambda c, s: ((c, -s), (-s, c)))


@look_back.mistake("Your blocks are reflections: the second column is (−sin, cos); yours has the other sign.")
def _(frequencies, steps):
    return _rotations(frequencies * steps, lambda c, s: ((c, s), (s, -c)))


@look_back.mistake("Sine and cosine are exchanged in your blocks: with steps = 0 nothing may turn.")
def _(frequencies, steps):
    return _rotations(frequencies * steps, lambda c, s: ((s, -c), (c, s)))


@look_back.mistake(
    "Only the cosines of the angles are in your matrix; a rotation also mixes the pair, by the sine."
)
def _(frequencies, steps):
    return _rotations(frequencies * steps, lambda c, s: ((c, 0.0), (0.0, c)))


@look_back.mistake("Your angles are taken in degrees; frequencies are in radians per step.")
def _(frequencies, steps):
    return _rotations(torch.deg2rad(frequencies * steps))


@look_back.mistake("You divide by the steps: two steps turn twice as far as one.")
def _(frequencies, steps):
    return _rotations(frequencies / max(steps, 1))


@look_back.mistake("Your angles carry a factor 2π: frequencies are in radians per step already.")
def _(frequencies, steps):
    return _rotations(2 * math.pi * frequencies * steps)


# Until 0.3: exercise 04.1 of version 0.1, whose saved notebook goes on with it.
bag_of_words = layers.bag_of_words
