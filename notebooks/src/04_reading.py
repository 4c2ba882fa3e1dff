# %% [markdown]
# # 04 Reading: bag of words to BERT
#
# **The one thing to take away:** what a word does depends on the words around it. A model that only adds words up cannot read *not*; attention
# is the smallest repair, one weighted sum, and BERT is that sum in a stack.
#
# You will be able to
# - prove which sentences a bag of words can never tell apart, and say what that costs on data;
# - write attention with a padding mask and many heads, equal to PyTorch's own in value and gradient;
# - write a layer of BERT that gives the same numbers as `transformers`, with its weights copied in;
# - say what masked-word pretraining buys when labels are few, with the spread over seeds beside it.
#
# **Before this:** [lesson 03](03_inputs.ipynb) (token ids, padding, the attention mask). Matrix products and softmax.
#
# **Time:** about 85 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import json
import math
import re
import textwrap
from collections import Counter
import torch
from torch import nn
from torch.nn import functional as F
from cmlib import evaluate, fit, plots, text_encoder
from cmlib.data import Pairs, pad
cfg = cmlib.setup("04")

# %% [markdown]
# ## 1. Same words, other verdict
#
# At the refund desk of this course some parcels are still sealed: the photo shows brown paper and only the **message** can tell whether
# to refund (label 1) or to keep (label 0).
#
# The oldest way to read a message is to count. For every word of the vocabulary, how often does it occur? Order is thrown away, as if the
# words were shaken in a **bag**. Below, four messages and what is left of the third.
#
# One weight per word, a sum, a logistic function: that is the whole model. The second cell trains it to the bottom of its loss (which is convex) and puts
# it beside the baselines that cost nothing.

# %%
from cmlib.worlds import RefundDesk
from cmlib.worlds.words import CHATTER, TWINS

# every parcel is sealed: only the message tells
desk = RefundDesk(probabilities=(0, 0, 1, 0))
train, test = desk.sample(1500), desk.sample(1000, split="test")
for text, label in list(zip(train.texts, train.labels.tolist()))[:4]:
    print(textwrap.fill(f"{label} | {text}", 99, subsequent_indent="    "))

vocabulary = sorted({w for text in train.texts for w in text.split()})

def counts(texts):
    """How often each word occurs: float64 (messages, vocabulary)."""
    bags = [Counter(text.split()) for text in texts]
    rows = [[float(bag[w]) for w in vocabulary] for bag in bags]
    return torch.tensor(rows, dtype=torch.float64)

third = zip(vocabulary, counts(train.texts[2:3])[0].tolist())
print("the third as a bag:\n ", ", ".join(f"{w} {n:.0f}" for w, n in third if n))

# %%
def fit_linear(X, y, decay):
    """Logistic regression with L2: X (rows, columns), y 0/1 (rows,) → nn.Linear."""
    model = nn.Linear(X.shape[1], 1, dtype=X.dtype)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    descent = torch.optim.LBFGS(model.parameters(), max_iter=50,
                                line_search_fn="strong_wolfe")

    def objective():
        descent.zero_grad()
        fitted = F.binary_cross_entropy_with_logits(model(X)[:, 0], y.to(X.dtype))
        loss = fitted + decay * model.weight.square().sum()
        loss.backward()
        return loss

    descent.step(objective)
    return model.requires_grad_(False)

bag = fit_linear(counts(train.texts), train.labels, decay=1e-4)
bag_right = (bag(counts(test.texts))[:, 0] > 0) == test.labels.bool()  # (messages,)
majority = max((test.labels == c).double().mean().item() for c in (0, 1))
ceilings = desk.ceilings()
right = bag_right.double().mean().item()
print(f"accuracy on new messages: majority {majority:.3f}, bag {right:.3f}")
print(f"the best that is possible, exact: from the photo {ceilings['image']:.2f}, "
      f"from the message {ceilings['text']:.2f}")
assert 0.8 < right < 0.92

# %% [markdown]
# Far better than guessing, and far from what the message holds. Some sentences come in pairs, **twins**, one to keep and one to refund.
# Three of the six pairs:
#
# | keep | refund |
# |---|---|
# | it is not broken , it is fine . | it is not fine , it is broken . |
# | the box is damaged but the car is fine . | the car is damaged but the box is fine . |
# | it looked broken at first but it is intact . | it looked intact at first but it is broken . |
#
# **Predict before you run.** What does the trained bag say to each of the twelve sentences, and how many of the twelve does it get right?

# %%
# (keep, refund)
twins = [tuple(sentence.format(k="car") for sentence in pair) for pair in TWINS]
sentences = [sentence for pair in twins for sentence in pair]
scores = bag(counts(sentences)).reshape(-1, 2)  # (6 pairs, 2)
for (keep, _), (a, b) in zip(twins, scores.sigmoid().tolist()):
    print(f"{a:.3f} and {b:.3f}   {keep} … and its twin")
right = (scores > 0) == torch.tensor([False, True])
equal = torch.equal(scores[:, 0], scores[:, 1])
print(f"identical, bit for bit: {equal};  right: {right.sum()} of {right.numel()}")
assert equal and right.sum() == 6

fig, ax = plots.figure(width=7.4, height=2.7)
a, b = scores.sigmoid().T
ax.scatter(a, range(6), s=130, facecolors="none", edgecolors=plots.IMAGE, linewidths=2,
           label="keep")
ax.scatter(b, range(6), s=45, marker="x", color=plots.TEXT, label="refund")
ax.axvline(0.5, color=plots.GREY, lw=1)
ax.set(xlim=(0, 1), xlabel="probability of a refund, says the bag",
       title="Both twins of a pair get the same answer",
       yticks=range(6), yticklabels=[keep for keep, _ in twins])
ax.invert_yaxis()
ax.legend(loc="lower right", title="true label", fontsize=8, title_fontsize=8)
plots.show(fig, "Six pairs of twin sentences: the circle of the keep twin and the "
                "cross of the refund twin lie on the same spot in every row.")

# %% [markdown]
# Half of them, and no training can change that.
#
# ## 2. What a bag cannot know
#
# | symbol | meaning | shape |
# |---|---|---|
# | $x = (x_1,\dots,x_T)$ | a message as token ids | (tokens,) |
# | $V$ | the size of the vocabulary | number |
# | $b(x)$ | the bag: $b_w$ counts how often word $w$ occurs in $x$ | (V,) |
# | $f$ | *any* function of the bag: linear, an MLP with a billion weights, a lookup table | (V,) → logit |
#
# **Theorem 1.** Let $x, x'$ be twins: $b(x) = b(x')$ with different labels. Then every model $f(b(\cdot))$ is right on exactly one of the two.
#
# *Proof.* Equal inputs give equal outputs, $f(b(x)) = f(b(x'))$. One output, two labels: one match. ∎
#
# So the accuracy on a pair of twins is exactly ½: not "at most", *exactly*. If a share $s$ of all messages are twins, with both equally frequent, no bag exceeds $1 - s/2$.

# %%
for keep, refund in TWINS:
    assert Counter(keep.split()) == Counter(refund.split())
patterns = ["|".join(sentence.replace("{k}", r"\w+") for sentence in pair)
            for pair in TWINS]
is_pair = torch.tensor([[bool(re.search(pattern, text)) for text in test.texts]
                        for pattern in patterns])  # (6, messages)
is_twin = is_pair.any(0)
share = is_twin.double().mean().item()
print(f"{is_twin.sum()} of {len(test)} new messages hold a twin: "
      f"the ceiling of every bag is 1 - {share:.3f}/2 = {1 - share / 2:.3f}")
for name, rows in (("plain messages", ~is_twin), ("twins", is_twin)):
    print(f"trained bag on {name}: {bag_right[rows].double().mean().item():.3f}")
luckiest = sum(test.labels[rows].bincount(minlength=2).max().item() for rows in is_pair)
luckiest /= is_twin.sum().item()
print(f"twins in this sample, one answer per pair, the luckiest: {luckiest:.3f}")
assert bag_right[~is_twin].double().mean() > 0.97
assert 0.4 < bag_right[is_twin].double().mean() < 0.6

# %% [markdown]
# The bag reads every plain message, negated ones included: some other word of the sentence always gives the verdict away. On twins it tosses a coin. (In a
# random sample the two twins of a pair are not equally frequent, so luck can lift a bag a little above one half, as far as the last line says. On the
# twelve balanced sentences of section 1 it is exact.)
#
# A bag that is *linear* knows even less. Take one small word and two adjectives:
#
# | message | bag | label |
# |---|---|---|
# | it is broken | it, is, broken | 1 |
# | it is not broken | it, is, **not**, broken | 0 |
# | it is fine | it, is, fine | 0 |
# | it is not fine | it, is, **not**, fine | 1 |
#
# All four bags differ, so Theorem 1 is silent. Let $w_u$ be the weight of word $u$, and $c$ what "it is" and the bias add, all of them numbers.
#
# **Theorem 2.** No linear bag gets all four right. *Proof.* Rows 1 and 2 need $c + w_\text{broken} > 0 > c + w_\text{broken} + w_\text{not}$, hence $w_\text{not} < 0$. Rows 3
# and 4 need $c + w_\text{fine} < 0 < c + w_\text{fine} + w_\text{not}$, hence $w_\text{not} > 0$. ∎
#
# *Not* has no meaning of its own to add. It turns over the meaning of another word, and a sum has no place for "turn over". Section 5 makes one.
#
# ## 3. Words as vectors
#
# A weight per word is a vector of length one. Give every word a longer one, an **embedding**: row $w$ of a table $E$ of shape (V, hidden). Looking a word up
# is a product with a one-hot vector of shape (V,), $E_{x_t} = \mathrm{onehot}(x_t)^\top E$, so the table is an ordinary weight matrix, trained like any other.
# The bag becomes the mean of the vectors of its words, one vector $\bar e$ of shape (hidden,) per message, with the mask $m$ (tokens,) of lesson 03:
#
# $$\bar e = \frac{1}{\sum_t m_t}\sum_t m_t\,E_{x_t}, \qquad m_t = 1 \text{ for a token, } 0 \text{ for padding.}$$
#
# **In numbers.** $E_\text{good} = (1, 0)$, $E_\text{toy} = (0, 4)$. The message "good toy toy", padded to five positions: the sum over real tokens is $(1, 8)$, their number is 3, the mean is
# $(0.33, 2.67)$. Dividing by five would give $(0.2, 1.6)$.

# %% [exercise] 04.1
# Write the masked mean. Your function receives `input_ids` and `mask`, both int64 of shape `(batch, tokens)`, and the embedding `table`, float of shape
# `(vocabulary, hidden)`. It returns the bags, `(batch, hidden)`. A message without any token gets zeros. Trust the mask, not the ids.

# %% [stub]
def bag_of_words(input_ids, mask, table):
    """The mean of the embeddings of the real tokens of each message.

    input_ids, mask : int64 (batch, tokens)   table : float (vocabulary, hidden)
    returns : (batch, hidden)
    """
    raise NotImplementedError

# %% [solution]
def bag_of_words(input_ids, mask, table):
    keep = mask.to(table.dtype)[:, :, None]                # (batch, tokens, 1)
    total = (table[input_ids] * keep).sum(dim=1)           # (batch, hidden)
    return total / keep.sum(dim=1).clamp(min=1)            # divide by the real tokens

# %% [hints]
# Padded positions must count neither in the sum nor in the number by which you divide.
# ---
# `table[input_ids]` has shape (batch, tokens, hidden); the mask needs a third axis of size 1 to multiply it. Sum over axis 1, then divide by the row sums
# of the mask, shape (batch, 1), but never by zero.
# ---
# ```python
# keep = mask.to(table.dtype)[:, :, None]
# total = (table[input_ids] * keep).sum(dim=1)
# return total / ____.clamp(min=1)
# ```

# %%
# The course's own version of each exercise: the lesson goes on with it in any case.
from cmlib import layers

column = {w: i for i, w in enumerate(vocabulary)}
batch = pad([[column[w] for w in sentence.split()] for sentence in sentences])
table = torch.randn(len(vocabulary), 16, dtype=torch.float64)
bags = layers.bag_of_words(batch.input_ids, batch.attention_mask, table)  # (12, 16)
bag_table = counts(sentences)
by_counts = bag_table @ table / bag_table.sum(1, keepdim=True)
print("mean of embeddings = counts @ table / number of words:",
      torch.allclose(bags, by_counts))
print("twins have equal vectors:", torch.allclose(bags[0::2], bags[1::2]))
assert torch.allclose(bags, by_counts) and torch.allclose(bags[0::2], bags[1::2])

# %% [markdown]
# The mean is $b(x)^\top E$ divided by the number of words: a function of the bag. Theorem 1 holds for embeddings too, however long.
#
# ## 4. Reading in order: the LSTM
#
# The first repair is to read as people do, one word after the other, with a memory. An **LSTM** carries two vectors of shape (hidden,): the state $h_t$, which it shows, and the cell
# $c_t$, which it keeps. At each word it computes three gates $f_t, i_t, o_t = \sigma(\cdot)$, between 0 and 1, and a proposal $\tilde c_t = \tanh(\cdot)$, all (hidden,); each dot is a
# linear map of its own of $[E_{x_t};\, h_{t-1}]$. Then, entry by entry ($\odot$),
#
# $$c_t = \underbrace{f_t}_\text{forget} \odot\, c_{t-1} + \underbrace{i_t}_\text{input} \odot\, \tilde c_t, \qquad h_t = \underbrace{o_t}_\text{output} \odot \tanh c_t.$$
#
# Because the proposal sees $h_{t-1}$, *fine* after *not* can write something else into the cell than *fine* alone. Two prices: $T$ words need $T$ steps one after another, and what word 1 wants
# to tell word 30 must survive 29 multiplications by a forget gate.
#
# To test order alone, every twin gets each of the twelve sentences of small talk in front of it: 144 messages, half of them refunds. Chance is 0.5, and so is every bag. Five seeds, trained on the 1,500
# messages of section 1.

# %%
class Reader(nn.Module):
    """A text encoder and a linear layer: Batch → logits (batch, 2), without photos."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.tokenizer = encoder, encoder.tokenizer
        self.head = nn.Linear(encoder.hidden_size, 2)

    def forward(self, batch):
        return self.head(self.encoder(batch.text))

talk = [f"{chat} {sentence}" for pair in twins for chat in CHATTER for sentence in pair]
no_photos = torch.zeros(len(talk), 3, 1, 1, dtype=torch.uint8)
labels = torch.tensor([0, 1] * (len(talk) // 2))
new, on_twins = test[:400], Pairs(no_photos, talk, labels, train.class_names)

def trained(build, rate, rows, seed, **settings):
    """Train a fresh Reader; returns its accuracy on (new messages, twins)."""
    torch.manual_seed(seed)
    model = Reader(build())
    fit(model, rows, learning_rate=rate, seed=seed, progress=False, **settings)
    return [evaluate(model, part).accuracy for part in (new, on_twins)]

build = lambda: text_encoder("lstm", hidden_size=48)
lstm = torch.tensor([trained(build, 1e-2, train, seed, epochs=3, batch_size=64)
                     for seed in range(5)])  # (seeds, 2)
for part, runs in zip(("new messages", f"{len(talk)} twins"), lstm.T):
    print(f"LSTM on {part}: {runs.mean():.3f} ± {runs.std():.3f}")
assert lstm.min() > 0.95

# %% [markdown]
# Order was all that was missing.
#
# ## 5. Attention: every word asks every word
#
# The second repair needs no chain. Let every word look at *all* words at once and decide for itself whom to listen to.
#
# | symbol | meaning | shape |
# |---|---|---|
# | $X$ | one vector per token | (tokens, hidden) |
# | $W_Q, W_K, W_V$ | learned weights | (hidden, d) |
# | $Q = XW_Q,\ K = XW_K,\ V = XW_V$ | what each token asks, what it answers to, what it passes on | (tokens, d) |
# | $S = QK^\top/\sqrt d$ | scores: how well the key of token $j$ answers the query of token $i$ | (queries, keys) |
# | $A = \mathrm{softmax}_j(S)$ | weights: each row is positive and sums to one | (queries, keys) |
# | $O = AV$ | what each token hears, a weighted mean of values | (queries, d) |
#
# $$\mathrm{attention}(Q,K,V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt d}\right)V$$
#
# **In numbers.** The four messages of Theorem 2, with $d = 1$. Each word has a score of its own, as in a bag, and $q$, $k$, $v$ besides:
#
# | word | own score | $q$ | $k$ | $v$ |
# |---|---|---|---|---|
# | fine | −1 | −1 | $\ln 9$ | +2 |
# | broken | +1 | −1 | $\ln 9$ | −2 |
# | not | 0 | **+1** | 0 | 0 |
# | it, is | 0 | −1 | 0 | 0 |
#
# An adjective *passes on* minus twice its own score, and only *not* asks for adjectives. In "it is not fine" the scores of *not* are $(0, 0, 0, \ln 9)$, their exponentials $(1, 1, 1, 9)$, its weights
# $(\tfrac1{12}, \tfrac1{12}, \tfrac1{12}, \tfrac34)$: it hears $\tfrac34\cdot 2 = 1.5$. The other three words give *fine* a weight of $\tfrac19 / (3 + \tfrac19) = \tfrac1{28}$ and hear $\tfrac1{14}$ each. Add up what
# the words are and what they hear: $-1 + 1.5 + \tfrac3{14} = +0.71$, a refund. Without *not* nobody asks, and *fine* stays negative.

# %%
own = {"fine": -1.0, "broken": 1.0}
verdicts = []
for message in ("it is fine", "it is not fine", "it is broken", "it is not broken"):
    words = message.split()
    q = torch.tensor([[1.0] if w == "not" else [-1.0] for w in words])  # (tokens, 1)
    k = torch.tensor([[math.log(9)] if w in own else [0.0] for w in words])
    v = torch.tensor([[-2 * own.get(w, 0.0)] for w in words])
    heard = (q @ k.T).softmax(dim=1) @ v  # (tokens, 1)
    verdicts.append(sum(own.get(w, 0.0) for w in words) + heard.sum().item())
    each = "  ".join(f"{w} {h:+.2f}" for w, h in zip(words, heard[:, 0].tolist()))
    print(f"{message:17} {verdicts[-1]:+.3f}   heard by each word: {each}")

label = torch.tensor([False, True, True, False])
four = torch.tensor([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1.0]])  # fine, broken, not
draw = torch.Generator().manual_seed(0)
weight = torch.randn(100_000, 3, generator=draw)
bias = torch.randn(100_000, 1, generator=draw)
best = ((weight @ four.T + bias > 0) == label).double().mean(1).max().item()
right = ((torch.tensor(verdicts) > 0) == label).double().mean().item()
print(f"right of the four: this attention {right:.2f}, "
      f"the best of 100,000 random linear bags {best:.2f}")
assert right == 1 and best == 0.75 and abs(verdicts[1] - 10 / 14) < 1e-6

# %% [markdown]
# One weighted sum has repaired what no linear bag can do. It does not know order yet: exchange two words, and the same numbers come out in another order. Section 7 adds the positions.
#
# **Why $\sqrt d$?** If the entries of $q$ and $k$ are independent with mean 0 and variance 1, each product $q_c k_c$ has variance 1, and the sum of $d$ of them has variance $d$.
# Without the division scores grow like $\sqrt d$ and the softmax puts nearly all its weight on one key. Then it all but stops learning: the slope of a weight $a$ in its own score is $a(1-a)$, which
# vanishes as $a$ goes to 1.

# %%
draw = torch.Generator().manual_seed(0)
print("        spread   largest of 10 weights   its slope a(1-a)")
print("   d   of q·k        raw    ÷ √d             raw    ÷ √d")
for d in (4, 64, 1024):
    q = torch.randn(500, 1, d, generator=draw)
    k = torch.randn(500, 10, d, generator=draw)
    s = (q @ k.mT)[:, 0]  # (500, 10)
    raw, scaled = (t.softmax(1).amax(1) for t in (s, s / math.sqrt(d)))
    slopes = [(a * (1 - a)).mean().item() for a in (raw, scaled)]
    print(f"{d:4d}  {s.std().item():7.1f}   {raw.mean():8.2f}{scaled.mean():8.2f}"
          f"        {slopes[0]:8.3f}{slopes[1]:8.3f}")
    assert 0.3 < scaled.mean() < 0.5 and slopes[1] > 0.18
assert slopes[0] < 0.05

# %% [exercise] 04.2
# **Padding** must get weight zero, and the rest of the row must still sum to one. So it is hidden *before* the softmax: a score of $-\infty$ has exponential 0.
#
# Write attention with a padding mask. Your function receives `q` of shape `(batch, queries, d)`, `k` `(batch, keys, d)`, `v` `(batch, keys, size)` and `mask`, int64
# `(batch, keys)`, 1 on a token and 0 on padding. It returns `(batch, queries, size)`. Every row has at least one real token. Use `softmax`, but not PyTorch's ready-made
# `scaled_dot_product_attention`, which runs on every GPU in one fused kernel: that one is the referee, in the cell behind the hints.

# %% [stub]
def attention(q, k, v, mask):
    """softmax(q kᵀ / √d) v, with no weight on padding (Vaswani et al. 2017, eq. 1).

    q : (batch, queries, d)   k : (batch, keys, d)   v : (batch, keys, size)
    mask : int64 (batch, keys)
    returns : (batch, queries, size)
    """
    raise NotImplementedError

# %% [solution]
def attention(q, k, v, mask):
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])    # (batch, queries, keys)
    scores = scores.masked_fill(mask[:, None, :] == 0, float("-inf"))
    return scores.softmax(dim=-1) @ v                          # (batch, queries, size)

# %% [hints]
# Three lines: scores, mask, weighted mean. Each query shares out one unit of weight over the *keys*.
# ---
# $S = QK^\top/\sqrt d$ has shape (batch, queries, keys), so the mask needs an axis in the middle: (batch, 1, keys). Where it is 0, the score becomes $-\infty$. Then softmax
# over the last axis, then times $V$.
# ---
# ```python
# scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
# scores = scores.masked_fill(____, float("-inf"))
# return scores.softmax(dim=-1) @ v
# ```

# %%
# The referee, with the gradients and their finite differences, in float64.
draw = lambda: torch.randn(3, 7, 16, dtype=torch.float64, requires_grad=True)
q, k, v = draw(), draw(), draw()
mask = (torch.arange(7) < torch.tensor([[7], [4], [1]])).long()  # lengths 7, 4 and 1
ours = layers.attention(q, k, v, mask)
theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, :].bool())
g_ours, g_theirs = (torch.autograd.grad(out.square().sum(), (q, k, v))
                    for out in (ours, theirs))
gap = max((a - b).abs().max().item() for a, b in zip(g_ours, g_theirs))
print(f"largest difference: {(ours - theirs).abs().max().item():.9f}")
print(f"largest difference of the gradients: {gap:.9f}")
print("gradients agree with finite differences:",
      torch.autograd.gradcheck(lambda *x: layers.attention(*x, mask), (q, k, v)))
print(f"gradient that reaches padded values: {g_ours[2][1, 4:].abs().sum().item():.1f}")
assert torch.allclose(ours, theirs, atol=1e-12) and g_ours[2][1, 4:].abs().sum() == 0

# %% [markdown]
# ## 6. Look: where does a word look?
#
# A trick gets the weights out of any attention function: hand it the identity matrix as values. Then $O = A\,I = A$. Below, the first layer of this course's own small BERT reads a
# message; its queries and keys of 128 numbers are cut into four blocks of 32, four **heads**, each with its own map. Row: the word that asks. Column: the word it listens
# to. Move the temperature, by which the scores are divided: below 1 every row becomes a single choice; far above 1 it becomes the bag again, all words alike.

# %%
mini = text_encoder("mini").eval()
bert = mini.model  # transformers' BertModel, with the weights of this course

@torch.no_grad()
def head_maps(text, temperature=1.0):
    """Weights of the first layer's four heads (4, tokens, tokens), and the tokens."""
    ids = torch.tensor([mini.tokenizer(text)["input_ids"]])
    mask, values = torch.ones_like(ids), torch.eye(ids.shape[1])[None]
    layer, x = bert.encoder.layer[0].attention.self, bert.embeddings(ids)
    heads = zip(layer.query(x).chunk(4, dim=-1), layer.key(x).chunk(4, dim=-1))
    # attention to the columns of the unit matrix is the matrix of weights
    maps = [layers.attention(q / temperature, k, values, mask)[0] for q, k in heads]
    return torch.stack(maps), mini.tokenizer.convert_ids_to_tokens(ids[0].tolist())

def draw_heads(message, temperature=1.0):
    maps, tokens = head_maps(message, temperature)
    fig, axes = plots.figure(1, 4, width=9.8, height=3.1, sharey=True)
    for head, ax in enumerate(axes):
        ax.imshow(maps[head], cmap="Blues", vmin=0, vmax=1)
        places = range(len(tokens))
        ax.set(title=f"head {head + 1}", xticks=places, yticks=places)
        ax.set_xticklabels(tokens, rotation=90, fontsize=8)
        ax.set_yticklabels(tokens, fontsize=8)
        ax.grid(False)
    axes[0].set_ylabel("the word that asks")
    fig.supxlabel("the word it listens to", fontsize=9)
    return fig

alt = ("Four attention maps of one message; a low temperature leaves one dark cell per "
       "row, a high one makes all cells alike.")
messages = [*sentences[:4], "there is not a single scratch ."]
plots.explore(draw_heads, alt, message=messages, temperature=(0.1, 5.0, 0.1, 1.0))

# %%
# The same maps standing still. The frame: how "fine" listens to "not".
from matplotlib.patches import Rectangle

sentence = "it is not fine , it is broken ."
maps, tokens = head_maps(sentence)
fig = draw_heads(sentence)
for ax in fig.axes:
    ax.add_patch(Rectangle((2.5, 3.5), 1, 1, fill=False, edgecolor=plots.TEXT,
                           linewidth=2))
plots.show(fig, "Four attention maps of the message 'it is not fine , it is broken .': "
                "each head looks at a fixed distance, two back, two ahead, one back "
                "and one ahead.")
spread = (-(maps * maps.clamp(min=1e-12).log()).sum(-1)).exp().mean(1)  # (heads,)
print(f"{len(tokens)} tokens. Mean weight on the token at a distance of …")
for head in range(4):
    near = "  ".join(f"{step:+d}: {maps[head].diagonal(step).mean():.2f}"
                     for step in (-2, -1, 1, 2))
    print(f"head {head + 1}: {near};  spread over {spread[head]:.2f} words;  "
          f"'fine' gives 'not' {maps[head, 4, 3]:.3f}")
assert torch.allclose(maps.sum(-1), torch.ones(4, len(tokens)), atol=1e-5)
assert maps[:, 4, 3].max() > 0.5

# %% [markdown]
# (The spread is the exponential of a row's entropy: 1 is a single choice, 11 would be all eleven tokens alike.)
#
# Nobody told these heads what to do, and nobody showed them a label. Each has learned to look at a distance of its own: two back, two ahead, one back, one ahead. In head 3 *fine* listens to *not*, and it is tempting to
# say: this is the head that reads negation. Keep that thought: section 8 takes the head out and measures.
#
# ## 7. Many heads, one layer
#
# One softmax makes one choice per word, and a word may have several questions at once: is there a *not* before me, which noun do I belong to? So the
# hidden columns are cut into $n$ blocks of $d = \text{hidden}/n$, each block attends by itself with its own $\sqrt d$, and the results are put side by side again:
#
# $$\text{(batch, tokens, hidden)} \xrightarrow{\text{split}} \text{(batch, heads, tokens, d)} \xrightarrow{\text{attend}} \text{(batch, heads, tokens, d)} \xrightarrow{\text{merge}} \text{(batch, tokens, hidden)}.$$
#
# It costs no more than one head: $n$ times $d$ is still hidden. The trap is the order of axes. With hidden $= 4$ and two heads, the token $(1, 2, 3, 4)$ must give $(1, 2)$ to head 1 and $(3, 4)$ to head 2:
#
# | call on tokens (1,2,3,4) and (5,6,7,8) | what head 1 holds |
# |---|---|
# | `x.view(batch, tokens, heads, d).transpose(1, 2)` | (1, 2) and (5, 6): the first block of both tokens |
# | `x.view(batch, heads, tokens, d)` | (1, 2) and (3, 4): both halves of *one* token, and no error message |

# %% [exercise] 04.3
# Write multi-head attention. Your function receives `q`, `k`, `v`, each `(batch, tokens, hidden)`, the `mask` `(batch, tokens)` and the number `n_heads`, which divides hidden. It returns
# `(batch, tokens, hidden)`. Heads are blocks of neighbouring columns.

# %% [stub]
def multi_head(q, k, v, mask, n_heads):
    """Attention in n_heads blocks of columns, merged again (Vaswani et al., 3.2.2).

    q, k, v : (batch, tokens, hidden)   mask : int64 (batch, tokens)   n_heads : int
    returns : (batch, tokens, hidden)
    """
    raise NotImplementedError

# %% [solution]
def multi_head(q, k, v, mask, n_heads):
    batch, tokens, hidden = q.shape
    size = hidden // n_heads
    # (batch, heads, tokens, size) each
    q, k, v = (x.view(batch, tokens, n_heads, size).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(2, 3) / math.sqrt(size)    # (batch, heads, tokens, tokens)
    scores = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, hidden)

# %% [hints]
# Cut the last axis into (heads, size), bring heads next to batch, attend, and undo both steps in the opposite order.
# ---
# (batch, tokens, hidden) → `view` (batch, tokens, heads, size) → `transpose(1, 2)` (batch, heads, tokens, size). The mask becomes (batch, 1, 1, tokens). The scale is √size. To merge: `transpose(1, 2)`,
# then `reshape`.
# ---
# ```python
# q, k, v = (x.view(batch, tokens, n_heads, size).transpose(1, 2) for x in (q, k, v))
# scores = q @ k.transpose(2, 3) / math.sqrt(size)
# scores = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
# return (scores.softmax(-1) @ v).____.reshape(batch, tokens, hidden)
# ```

# %% [markdown]
# **A layer of BERT** wraps this into two halves, each with a residual sum ("add what you heard to what you are", as in the numbers of section 5) and a normalisation. For $X$ of shape (batch, tokens, hidden):
#
# 1. $Q, K, V = XW_Q^\top + b_Q$, and likewise for the others; $C = \mathrm{multihead}(Q,K,V)$, all (batch, tokens, hidden)
# 2. $Y = \mathrm{LayerNorm}_1\big(X + (C W_O^\top + b_O)\big)$, (batch, tokens, hidden)
# 3. $Z = \mathrm{LayerNorm}_2\big(Y + (\mathrm{GELU}(YW_1^\top + b_1)\,W_2^\top + b_2)\big)$, (batch, tokens, hidden)
#
# $\mathrm{GELU}(u) = u\,\Phi(u)$ with the exact normal distribution $\Phi(u) = \tfrac12(1 + \mathrm{erf}(u/\sqrt2))$, number by number. LayerNorm works on each token by itself: subtract the mean over hidden, divide by
# $\sqrt{\text{variance} + \varepsilon}$ with $\varepsilon = 10^{-12}$ and the variance divided by hidden, then times a weight plus a bias. `nn.Linear` stores its matrix as (out, in), hence every transpose.
#
# `transformers` keeps the sixteen tensors of a layer, a `.weight` and a `.bias` each, under these names:
#
# | symbol | name | shape of weight; bias |
# |---|---|---|
# | $W_Q, b_Q$ | `attention.self.query` | (hidden, hidden); (hidden,) |
# | $W_K, b_K$ | `attention.self.key` | (hidden, hidden); (hidden,) |
# | $W_V, b_V$ | `attention.self.value` | (hidden, hidden); (hidden,) |
# | $W_O, b_O$ | `attention.output.dense` | (hidden, hidden); (hidden,) |
# | $\mathrm{LayerNorm}_1$ | `attention.output.LayerNorm` | (hidden,); (hidden,) |
# | $W_1, b_1$ | `intermediate.dense` | (inner, hidden); (inner,), inner = 4 × hidden here |
# | $W_2, b_2$ | `output.dense` | (hidden, inner); (hidden,) |
# | $\mathrm{LayerNorm}_2$ | `output.LayerNorm` | (hidden,); (hidden,) |

# %% [exercise] 04.4
# Write the layer. Your function receives `hidden` `(batch, tokens, hidden)`, the `mask` `(batch, tokens)`, `state`, a dict of tensors under the sixteen names above (`"attention.self.query.weight"` and so on), and `n_heads`; it returns
# `(batch, tokens, hidden)`. No dropout: this is the layer as it is used after training. You may call your `multi_head`, and `F.linear`, `F.gelu`, `F.layer_norm`.

# %% [stub]
def bert_layer(hidden, mask, state, n_heads):
    """One encoder layer of BERT (Devlin et al. 2019) with given weights.

    hidden : (batch, tokens, hidden)   mask : int64 (batch, tokens)
    state : {name: tensor}, see above   n_heads : int
    returns : (batch, tokens, hidden)
    """
    raise NotImplementedError

# %% [solution]
def bert_layer(hidden, mask, state, n_heads):
    def dense(name, x):
        return F.linear(x, state[name + ".weight"], state[name + ".bias"])

    def norm(name, x):
        weight = state[name + ".LayerNorm.weight"]
        bias = state[name + ".LayerNorm.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-12)

    parts = "query", "key", "value"
    q, k, v = (dense("attention.self." + part, hidden) for part in parts)
    heard = multi_head(q, k, v, mask, n_heads)
    hidden = norm("attention.output", hidden + dense("attention.output.dense", heard))
    thought = F.gelu(dense("intermediate.dense", hidden))  # (batch, tokens, inner)
    return norm("output", hidden + dense("output.dense", thought))

# %% [hints]
# Write two helpers first: `dense(name, x)` and `norm(name, x)`, which look their weights up in `state`. Then the three numbered lines above are three or four lines of code.
# ---
# `dense` is `F.linear(x, weight, bias)`, (…, in) → (…, out); `norm` is `F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-12)`. The shapes go hidden → hidden (attention) → hidden → inner → hidden. Both residual
# sums stand *inside* a LayerNorm, and the second one adds $Y$, not $X$.
# ---
# ```python
# q, k, v = (dense("attention.self." + part, hidden) for part in ("query", "key", "value"))
# hidden = norm("attention.output", hidden + dense("attention.output.dense", multi_head(q, k, v, mask, n_heads)))
# return norm("output", ____ + dense("output.dense", F.gelu(dense("intermediate.dense", hidden))))
# ```

# %%
# The trusted implementation: transformers' own layer, in float64, with our weights.
from cmlib.encoders.text import MINI_BERT  # hidden 128, 4 heads, inner 512, no dropout
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

def by_transformers(x, mask, state):
    config = BertConfig(**MINI_BERT, attn_implementation="eager")
    layer = BertLayer(config).double().eval()
    layer.load_state_dict(state)  # strict: exactly these names and shapes
    lowest = torch.finfo(x.dtype).min
    hide = torch.zeros(mask.shape, dtype=x.dtype).masked_fill(mask == 0, lowest)
    return layer(x, hide[:, None, None, :]).detach()

first = bert.encoder.layer[0].state_dict()
copied = {name: tensor.double() for name, tensor in first.items()}
drawn = {name: torch.randn_like(tensor) * 0.1 for name, tensor in copied.items()}
x = torch.randn(3, 7, 128, dtype=torch.float64)
mask = (torch.arange(7) < torch.tensor([[7], [4], [1]])).long()
for name, state in (("trained", copied), ("random", drawn)):
    ours, theirs = layers.bert_layer(x, mask, state, 4), by_transformers(x, mask, state)
    gap = (ours - theirs).abs().max().item()
    print(f"one layer, {len(state)} {name} tensors: largest difference {gap:.9f}")
    assert gap < 1e-9
batch = pad(mini.tokenizer(talk[:8])["input_ids"], mini.tokenizer.pad_token_id)
with torch.no_grad():
    x = bert.embeddings(batch.input_ids)
    for layer in bert.encoder.layer:
        x = layers.bert_layer(x, batch.attention_mask, layer.state_dict(), 4)
    gap = (x - mini.states(batch))[batch.attention_mask.bool()].abs().max().item()
print(f"{len(bert.encoder.layer)} layers by hand against the whole encoder, in "
      f"float32: below 1e-4: {gap < 1e-4}")
assert gap < 1e-4

# %% [markdown]
# **The whole encoder** is the embedding of each word plus an embedding of its *position* (a learned vector (hidden,) per place), a LayerNorm, and the layers one after another, as in the last lines of the cell. Two calls of your
# function are this course's small BERT; twelve calls, at 768 instead of 128, are `bert-base-uncased`.
#
# ## 8. What pretraining buys
#
# Labels are expensive, text is not. **Masked language modelling** makes labels out of text: hide some tokens, ask for them back. Of all tokens, 15 % are picked; of those, 80 % become
# `[MASK]`, 10 % a random token, 10 % stay as they are, so that the model cannot rely on seeing `[MASK]` and must keep a good vector for every word. The loss is the cross-entropy of lesson 01 over the vocabulary,
# on picked positions only.

# %%
def hide_words(ids, tokenizer, generator):
    """BERT's masking: (inputs, targets), targets −100 (ignored) but for the picked."""
    ordinary = ~torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    picked = ordinary & (torch.rand(ids.shape, generator=generator) < 0.15)
    fate = torch.rand(ids.shape, generator=generator)
    inputs = ids.masked_fill(picked & (fate < 0.8), tokenizer.mask_token_id)
    stranger = torch.randint(len(tokenizer), ids.shape, generator=generator)
    inputs = torch.where(picked & (fate >= 0.9), stranger, inputs)
    return inputs, ids.masked_fill(~picked, -100)

def encode(texts):
    return pad(mini.tokenizer(list(texts))["input_ids"], mini.tokenizer.pad_token_id)

batch = encode(train.texts)
draw = torch.Generator().manual_seed(4)
inputs, targets = hide_words(batch.input_ids, mini.tokenizer, draw)
picked = targets != -100
masked = (inputs[picked] == mini.tokenizer.mask_token_id).double().mean()
unchanged = (inputs[picked] == targets[picked]).double().mean()
print(f"[MASK] among the picked: {masked:.3f}, unchanged: {unchanged:.3f}")
row = int(picked.sum(1).argmax())
in_words = lambda ids: " ".join(mini.tokenizer.convert_ids_to_tokens(ids.tolist()))
reads = in_words(inputs[row][batch.attention_mask[row].bool()])
print(textwrap.fill("reads : " + reads, 99, subsequent_indent=" " * 8))
print("wanted:", in_words(targets[row][picked[row]]))

# %% [markdown]
# This course's small BERT has learned in this way, with 20 % picked, on messages and reports from the course's own generators: text of the same kind as here, and never a label. What it has learned shows in its word
# vectors: the nearest neighbours of a word by cosine, before pretraining and after.

# %%
from cmlib.encoders.weights import DATA

cards = json.loads((DATA / "weights.json").read_text())
card = cards["mini-bert.safetensors"]
print(f"{card['steps']:,} steps; hidden words named rightly in texts it never saw: "
      f"{card['held-out accuracy']['hidden words']:.3f}")
torch.manual_seed(0)
fresh = text_encoder("mini", pretrained=False).eval()

def neighbours(encoder, word, n=3):
    table = encoder.model.embeddings.word_embeddings.weight.detach()
    vectors = F.normalize(table, dim=1)
    row = encoder.tokenizer.convert_tokens_to_ids(word)
    best = (vectors @ vectors[row]).topk(n + 1).indices[1:].tolist()
    return ", ".join(encoder.tokenizer.convert_ids_to_tokens(best))

for word in ("broken", "cracked", "small", "red"):
    print(f"{word:8} fresh: {neighbours(fresh, word):26} "
          f"pretrained: {neighbours(mini, word)}")
assert neighbours(mini, "small").startswith("little, tiny")

# %% [markdown]
# Synonyms have moved together: *small*, *little* and *tiny* stand in the same places, so one vector serves them. But *big* is a neighbour of *small*, and *whole* of *cracked*: opposites stand in the same places too. Which word **could** stand somewhere
# is not what it **means** for a refund; that the labels must add.
#
# **The test.** How much is that worth when labels are few? First with *frozen* encoders: a linear readout on the mean of the states, (hidden,), for 32, 128 and 512 labelled messages, five draws of the labels each. Beside fresh
# and pretrained weights stands a third encoder: pretrained, with **head 3 taken out**.
#
# **Predict before you run.** What is left on twins without the head in which *fine* listened to *not*?

# %%
# head 3 holds columns 64 to 95: here nobody hears them any more
silenced = text_encoder("mini").eval()
nn.init.zeros_(silenced.model.encoder.layer[0].attention.output.dense.weight[:, 64:96])
frozen_encoders = {"fresh": fresh, "pretrained": mini, "without head 3": silenced}

@torch.no_grad()
def vectors_of(encoder):
    """Standardised features of train, new and on_twins, float64 (messages, 128)."""
    parts = [encoder(encode(part.texts)).double() for part in (train, new, on_twins)]
    return [(x - parts[0].mean(0)) / (parts[0].std(0) + 1e-6) for x in parts]

def readout(vectors, n, seed):
    """Logistic regression on n labelled messages: accuracy on (new messages, twins)."""
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:n]
    model = fit_linear(vectors[0][rows], train.labels[rows], decay=5e-4)
    right = [(model(x)[:, 0] > 0) == part.labels.bool()
             for x, part in zip(vectors[1:], (new, on_twins))]
    return [each.double().mean().item() for each in right]

sizes = (32, 128, 512)
frozen = {}  # encoder → (sizes, draws, 2)
for name, encoder in frozen_encoders.items():
    vectors = vectors_of(encoder)
    frozen[name] = torch.tensor([[readout(vectors, n, seed) for seed in range(5)]
                                 for n in sizes])
print("new messages       32 labels     128 labels     512 labels")
for name, runs in frozen.items():
    cells = [f"{draws.mean():.3f} ± {draws.std():.3f}" for draws in runs[..., 0]]
    print(f"{name:15}", *cells, sep="  ")
print("twins (means)   32 labels 128 labels 512 labels")
for name, runs in frozen.items():
    print(f"{name:15}", *(f"{mean:10.3f}" for mean in runs[..., 1].mean(1)))
coin, order, silent = (runs[..., 1] for runs in frozen.values())  # (sizes, draws)
behind = order.mean(1) - silent.mean(1)
print("twins, in every draw of 512 labels: fresh within 0.05 of a coin:",
      bool((coin[-1] - 0.5).abs().max() < 0.05))
print("  pretrained above 0.6, also without head 3:",
      bool(min(order[-1].min(), silent[-1].min()) > 0.6))
print("without head 3 it is behind, by less than the spread of the draws:",
      bool((behind > 0).all() and (behind < order.std(1)).all()))
assert (coin.mean(1) - 0.5).abs().max() < 0.05
assert min(order[-1].min(), silent[-1].min()) > 0.6

# %% [markdown]
# Read it line by line.
# - *New messages:* fresh and pretrained lie close together, since most messages can be read as a bag.
# - *Twins:* the fresh encoder stays a coin whatever you label. The pretrained states carry the order of the words without ever having been asked for it.
# - *Without head 3:* a little worse on twins, by less than the spread, and still far from a coin. Other heads and the second layer carry the order as well. **An attention map shows where a vector comes from, not what the answer depends on.** To know
#   that, take the part out and measure.
#
# Now let *everything* move, end to end, on 128 labelled messages: 8 epochs in mini-batches of 16, the same rows for all. The LSTM of section 4 is there for comparison.
#
# **Predict before you run.** Order the three on twins.

# %%
builders = {"LSTM": (lambda: text_encoder("lstm", hidden_size=48), 1e-2),
            "BERT fresh": (lambda: text_encoder("mini", pretrained=False), 1e-3),
            "BERT pretrained": (lambda: text_encoder("mini"), 1e-3)}

def draw_of(seed, n=128):
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    return train[order[:n]]

tuned = {}  # reader → (seeds, 2)
for name, (build, rate) in builders.items():
    runs = [trained(build, rate, draw_of(seed), seed, epochs=8, batch_size=16)
            for seed in range(5)]
    tuned[name] = torch.tensor(runs)
for name, runs in tuned.items():
    print(f"{name:16} new messages {runs[:, 0].mean():.3f} ± {runs[:, 0].std():.3f}")
lstm, fresh_bert, pretrained = (runs[:, 1] for runs in tuned.values())  # on twins, (5,)
reads = bool(min(lstm.min(), pretrained.min()) > 0.6)
guesses = bool((fresh_bert - 0.5).abs().max() < 0.05)
better = bool((tuned["BERT pretrained"] > tuned["BERT fresh"]).all())
print("twins, in every seed: LSTM and pretrained BERT above 0.6:", reads)
print("  fresh BERT within 0.05 of a coin:", guesses)
print("pretrained beats fresh in every seed, on new messages and on twins:", better)
print("its best and its worst seed on twins are more than 0.1 apart:",
      bool(pretrained.max() - pretrained.min() > 0.1))
assert reads and guesses and better and pretrained.mean() - fresh_bert.mean() > 0.15

fig, ax = plots.figure(width=7, height=3)
colors = plots.IMAGE, plots.GREY, plots.TEXT
for place, (name, color) in enumerate(zip(tuned, colors)):
    ax.scatter([place - 0.1] * 5, tuned[name][:, 0], s=40, facecolors="none",
               edgecolors=color, linewidths=1.5)
    ax.scatter([place + 0.1] * 5, tuned[name][:, 1], s=40, color=color)
ax.axhline(0.5, color="black", lw=0.8, ls="--")
ax.text(-0.47, 0.51, "chance", fontsize=8)
ax.set(title="128 labels, 5 seeds", xticks=range(3), xticklabels=list(tuned),
       xlim=(-0.5, 2.5), ylim=(0.4, 1.03), ylabel="accuracy",
       xlabel="open: new messages · filled: twins")
plots.show(fig, "Accuracy of three readers: every seed of pretrained BERT lies above "
                "every seed of fresh BERT, which stays at one half on twins.")

# %% [markdown]
# - The **LSTM** has order built in and finds it from 128 labels.
# - **Fresh BERT** has not: that place 4 comes after place 3 is something its position embeddings must learn, and these few steps teach it nothing of the kind.
# - **Pretrained BERT** is the same network after the same steps, and it reads twins about as well as the LSTM: the order it learned from unlabelled text was there to be used. Its seeds
#   differ widely (the figure shows them); five runs show that, one would not.
#
# So this is what pretraining bought: not the verdict, but the reading that verdicts presuppose.
#
# ## 9. The same call at full scale
#
# `text_encoder` takes any name, and everything else stays as it is: `Reader(text_encoder("bert-base-uncased"))` in place of the pretrained line above, and your
# `bert_layer(…, n_heads=12)` runs its twelve layers. That run is **not measured yet**, so no number is given here. The baselines to put beside it are those of section 1.
#
# ## 10. Break it: BERT without positions
#
# Exchange two rows of $X$: the rows of $Q$, $K$, $V$ are exchanged, then rows and columns of the scores, then the rows of $O$, and nothing else changes. The rest of the layer works on each
# token by itself. So a stack of layers only permutes along, and the mean over tokens does not change at all: **without position embeddings BERT is a function of the bag**, and Theorem 1 applies to all its parameters.
#
# **Predict before you run.** Which of the two numbers below is zero?

# %%
@torch.no_grad()
def gap_between_twins(encoder):
    """Largest difference between the vectors of two twins, over the six pairs."""
    vectors = encoder(encode(sentences))  # (12, 128)
    return (vectors[0::2] - vectors[1::2]).abs().max().item()

blind = text_encoder("mini").eval()
with_positions = gap_between_twins(blind)
torch.nn.init.zeros_(blind.model.embeddings.position_embeddings.weight)
without = gap_between_twins(blind)
print(f"twins differ by {with_positions:.3f} with positions, by {without:.3f} without")
assert with_positions > 0.1 and without < 1e-4

# %% [markdown]
# ## 11. What you have now
#
# You can now
# - name the sentences that no bag of words can tell apart, and compute what they cost: half their share;
# - write attention with mask and heads, and trust it, since PyTorch's own gives the same values and gradients;
# - open a BERT checkpoint, name its sixteen tensors per layer and run it by hand;
# - say what pretraining on unlabelled text bought at the refund desk, and what it did not, with the spread over seeds;
# - test a story told by an attention map: take the head out and measure.
#
# In [lesson 05](05_seeing.ipynb) pictures get the same treatment; in [lesson 06](06_concatenation.ipynb) the two meet.

# %% [quiz]
# ? A colleague replaces the linear layer on a bag of words by an MLP with ten million weights. What happens to the accuracy on twins?
# - It rises a little: the MLP can learn that *not* turns an adjective over. :: On messages with different bags it can, Theorem 2 is about linear models only. Twins have the same bag: the MLP receives the same input twice.
# - It falls, since so many weights overfit. :: It cannot fall either: one output, two labels, one match per pair.
# + It stays at exactly one half. :: Theorem 1 holds for every function of the bag, whatever its size.
# ? You set padded scores to 0 instead of −∞ before the softmax. What is the effect?
# + Padding gets weight exp(0) over the sum, so words lose weight to it, the more the longer the batch is. :: A score of 0 is an ordinary score. Only −∞ has exponential 0.
# - None: zero times anything is zero. :: The zero goes into an exponential before it multiplies anything, and exp(0) = 1.
# - The row becomes nan. :: That happens when *all* scores of a row are −∞. Zeros are harmless numbers, which is why this slip goes unnoticed.
# ? Your layer agrees with `BertLayer` to 0.001 but not to 0.000001. Which slip is the likeliest?
# - Query and key are exchanged. :: That changes who listens to whom; the difference would be large.
# - The second residual is missing. :: Half of the layer's content is gone then; the difference is of the size of the values.
# - The heads are cut with `view(batch, heads, tokens, size)`. :: Then each head sees pieces of several tokens; nothing agrees to three digits.
# + GELU is the tanh approximation, or ε is 1e-5. :: Both are close to the right function and not equal to it: small differences everywhere, no visible bug, and a reason to test against the original in float64.
# ? Why does masked language modelling leave 10 % of the picked words unchanged?
# - To save computation. :: Nothing is saved: the loss is computed at these positions as well.
# + So that every word might be asked for, and the model must keep a good vector for words that it can see. :: At fine-tuning time no [MASK] occurs; a model that only worked at [MASK] would have no reason to represent ordinary words well.
# - To make the task easier at the start. :: There is no schedule: the share is the same from the first step to the last.

# %% [markdown]
# **Glossary**
#
# | term | meaning |
# |---|---|
# | bag of words | the counts of the words of a text, without their order |
# | embedding | a learned vector per word: a row of a matrix, found by index |
# | query, key, value | what a token asks, what it answers to, what it passes on; three linear maps of the same vector |
# | attention mask | 1 on tokens, 0 on padding; turns padded scores into −∞ before the softmax |
# | head | one block of columns that attends by itself |
# | residual | the input of a part of the network is added to its output |
# | position embedding | a learned vector per place, without which attention reads a bag |
# | masked language model | trained to name hidden words from the words around them; needs text, no labels |
#
# **References**
#
# - Z. Harris, *Distributional Structure*, Word 10, 1954: language "is not merely a bag of words", an early use of the phrase, and the idea that meaning shows in neighbours.
# - S. Hochreiter, J. Schmidhuber, *Long Short-Term Memory*, Neural Computation 9, 1997: the cell with gates that keeps a memory over many steps.
# - A. Vaswani et al., *Attention Is All You Need*, NeurIPS 2017: equation 1 is exercise 04.2, section 3.2.2 is exercise 04.3.
# - S. Jain, B. C. Wallace, *Attention is not Explanation*, NAACL 2019: attention weights that can be changed without changing the answer (section 8).
# - J. Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding*, NAACL 2019: the encoder of exercise 04.4 and masked language modelling (section 3.1).
# - D. Hendrycks, K. Gimpel, *Gaussian Error Linear Units*, arXiv:1606.08415, 2016: GELU and its tanh approximation.
# - J. L. Ba, J. R. Kiros, G. Hinton, *Layer Normalization*, arXiv:1607.06450, 2016: the normalisation inside every layer.

# %% [progress]
