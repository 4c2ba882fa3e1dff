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
# **Time:** about 85 minutes of yours. The machine needs {{measured}}; GPU: not measured yet.

# %% [setup]
import json
import math
import re
from collections import Counter
import torch
from torch import nn
from torch.nn import functional as F
from cmlib import plots
from cmlib.batch import TextBatch, pad
cfg = cmlib.setup("04")

# %% [markdown]
# ## 1. Same words, other verdict
#
# At the refund desk of this course some parcels are still sealed: the photo shows brown paper and only the **message** can tell whether
# to refund. Here are four such messages. Label 1 means refund.

# %%
from cmlib.worlds import RefundDesk
from cmlib.worlds.words import CHATTER, TWINS

desk = RefundDesk(probabilities=(0, 0, 1, 0))  # situation T: only the message tells
train, test = desk.sample(1500), desk.sample(1000, split="test")
for text, label in list(zip(train.texts, train.labels.tolist()))[:4]:
    print(label, "|", text)

# %% [markdown]
# The oldest way to read is to count. For every word of the vocabulary, how often does it occur? Order is thrown away, as if the words were
# shaken in a **bag**. One weight per word, a sum, a logistic function: that is the whole model.

# %%
vocabulary = sorted({w for text in train.texts for w in text.split()})
column = {w: i for i, w in enumerate(vocabulary)}

def counts(texts):
    """How often each word occurs: float64 (messages, vocabulary)."""
    table = torch.zeros(len(texts), len(vocabulary), dtype=torch.float64)
    for row, text in enumerate(texts):
        for word, n in Counter(text.split()).items():
            if word in column:
                table[row, column[word]] = n
    return table

bag = nn.Linear(len(vocabulary), 1, dtype=torch.float64)
X, y = counts(train.texts), train.labels.double()
newton = torch.optim.LBFGS(bag.parameters(), max_iter=40, line_search_fn="strong_wolfe")

def objective():
    newton.zero_grad()
    loss = F.binary_cross_entropy_with_logits(bag(X)[:, 0], y) + 1e-4 * bag.weight.square().sum()
    loss.backward()
    return loss

newton.step(objective)
with torch.no_grad():
    bag_right = (bag(counts(test.texts))[:, 0] > 0) == test.labels.bool()  # (messages,)
print(f"accuracy of the bag on new messages: {bag_right.double().mean().item():.3f}")
assert 0.8 < bag_right.double().mean() < 0.92

# %% [markdown]
# Better than a coin, and it stops there: more data and more training do not help. The customers write some sentences in pairs, **twins**, one to keep and
# one to refund. Three of the six pairs:
#
# | keep | refund |
# |---|---|
# | it is not broken , it is fine . | it is not fine , it is broken . |
# | the box is damaged but the car is fine . | the car is damaged but the box is fine . |
# | it looked broken at first but it is intact . | it looked intact at first but it is broken . |
#
# **Predict before you run.** What does the trained bag say to each of the twelve sentences, and how many of the twelve does it get right?

# %%
twins = [tuple(sentence.format(k="car") for sentence in pair) for pair in TWINS]  # (keep, refund)
with torch.no_grad():
    scores = bag(counts([sentence for pair in twins for sentence in pair])).reshape(-1, 2)  # (6 pairs, 2)
for (keep, _), (a, b) in zip(twins, scores.sigmoid().tolist()):
    print(f"{a:.3f} and {b:.3f}   {keep} …")
twins_right = (((scores > 0) == torch.tensor([False, True])).double().mean()).item()
print(f"identical, bit for bit: {torch.equal(scores[:, 0], scores[:, 1])};  accuracy on twins: {twins_right:.3f}")
assert torch.equal(scores[:, 0], scores[:, 1]) and twins_right == 0.5

fig, ax = plots.figure(width=7.4, height=2.7)
for row, (keep, _) in enumerate(twins):
    a, b = scores[row].sigmoid().tolist()
    ax.scatter(a, row, s=130, facecolors="none", edgecolors=plots.IMAGE, linewidths=2, label="keep" if row == 0 else None)
    ax.scatter(b, row, s=45, marker="x", color=plots.TEXT, label="refund" if row == 0 else None)
ax.axvline(0.5, color=plots.GREY, lw=1)
ax.set(xlim=(0, 1), xlabel="probability of a refund, says the bag", title="Both twins of a pair get the same answer",
       yticks=range(len(twins)), yticklabels=[keep for keep, _ in twins])
ax.invert_yaxis()
ax.legend(loc="lower right", title="true label", fontsize=8, title_fontsize=8)
plots.show(fig, "Six pairs of twin sentences: the circle of the keep twin and the cross of the refund twin lie on the same spot in every row.")

# %% [markdown]
# Six of twelve, whatever the weights. The next section shows that this is not a matter of training.
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
# So the accuracy on twins is exactly ½: not "at most", *exactly*. If a share $s$ of all messages are twins, with both equally frequent, no bag exceeds $1 - s/2$.

# %%
for keep, refund in TWINS:
    assert Counter(keep.split()) == Counter(refund.split())
pattern = re.compile("|".join(sentence.replace("{k}", r"\w+") for pair in TWINS for sentence in pair))
is_twin = torch.tensor([bool(pattern.search(text)) for text in test.texts])
share = is_twin.double().mean().item()
print(f"share of twins in the new messages: {share:.3f}, so the ceiling of every bag is 1 - {share:.3f}/2 = {1 - share / 2:.3f}")
for name, rows in (("plain messages", ~is_twin), ("twins", is_twin)):
    print(f"trained bag on {name}: {bag_right[rows].double().mean().item():.3f}")
assert bag_right[~is_twin].double().mean() > 0.97 and 0.4 < bag_right[is_twin].double().mean() < 0.6

# %% [markdown]
# The bag reads every plain message, negated ones included, since some other word always gives them away. On twins it tosses a coin. (Not exactly one half here: among 293 twins drawn at random the two of a pair are not
# equally frequent, and luck can lift a bag a hair above the ceiling. On the twelve sentences of section 1, which are balanced, it is exact.)
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
# All four bags differ, so Theorem 1 is silent. Give every word a weight; $c$ is what "it is" and the bias add.
#
# **Theorem 2.** No linear bag gets all four right. *Proof.* Rows 1 and 2 need $c + w_\text{broken} > 0 > c + w_\text{broken} + w_\text{not}$, hence $w_\text{not} < 0$. Rows 3
# and 4 need $c + w_\text{fine} < 0 < c + w_\text{fine} + w_\text{not}$, hence $w_\text{not} > 0$. ∎
#
# *Not* has no meaning of its own to add. It turns over the meaning of another word, and a sum has no place for "turn over".

# %%
four = torch.tensor([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1.0]])  # broken, fine, not
verdict = torch.tensor([1, 0, 0, 1.0])
weights = torch.randn(100_000, 3, generator=torch.Generator().manual_seed(0))
bias = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(1))
best = ((weights @ four.T + bias > 0) == verdict.bool()).double().mean(1).max().item()
print(f"best of 100,000 random linear bags on the four messages: {best:.2f}")
assert best == 0.75

# %% [markdown]
# ## 3. Words as vectors
#
# A weight per word is a vector of length one. Give every word a longer one, an **embedding**: row $w$ of a table $E$ of shape (V, hidden). Looking a word up
# is a product with a one-hot vector, $E_{x_t} = \mathrm{onehot}(x_t)^\top E$, so the table is an ordinary weight matrix, and gradient descent
# finds its rows. The bag becomes the mean of the vectors of its words, one vector (hidden,) per message:
#
# $$\bar e = \frac{1}{\sum_t m_t}\sum_t m_t\,E_{x_t}, \qquad m_t = 1 \text{ for a token, } 0 \text{ for padding.}$$
#
# **In numbers.** $E_\text{good} = (1, 0)$, $E_\text{toy} = (0, 4)$. The message "good toy toy", padded to five positions: the sum over real tokens is $(1, 8)$, their number is 3, the bag is
# $(0.33, 2.67)$. Dividing by five would give $(0.2, 1.6)$: then a message would change its meaning with the length of its *neighbours in the batch*.

# %% [exercise] 04.1
# Write the masked mean. Your function receives `input_ids` and `mask`, both int64 of shape `(batch, tokens)`, and the embedding `table`, float of shape
# `(vocabulary, hidden)`. It returns the bags, `(batch, hidden)`. A message without any token gets zeros. Trust the mask, not the ids.

# %% [stub]
def bag_of_words(input_ids, mask, table):
    """The mean of the embeddings of the real tokens of each message.

    input_ids, mask : int64 (batch, tokens)    table : float (vocabulary, hidden)    returns : (batch, hidden)
    """
    raise NotImplementedError

# %% [solution]
def bag_of_words(input_ids, mask, table):
    keep = mask.to(table.dtype)[:, :, None]                # (batch, tokens, 1)
    total = (table[input_ids] * keep).sum(dim=1)           # (batch, hidden)
    return total / keep.sum(dim=1).clamp(min=1)            # divide by the real tokens of each row

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

# %% [markdown]
# The course's own version of each exercise lives in `cmlib.check.lesson04`; from here on the lesson uses that one, so it runs whether or not you have
# answered yet. It agrees with the counts of section 1: the mean is $b(x)^\top E$ divided by the number of words. Same bag, same vector: Theorem 1 holds for embeddings too.

# %%
from cmlib.check import lesson04 as course

rows = [[column[w] for w in sentence.split()] for pair in twins for sentence in pair]
batch = pad(rows)
table = torch.randn(len(vocabulary), 16, dtype=torch.float64)
bags = course.bag_of_words(batch.input_ids, batch.attention_mask, table)  # (12, 16)
by_counts = counts([s for pair in twins for s in pair])
by_counts = by_counts @ table / by_counts.sum(1, keepdim=True)
print("mean of embeddings = counts @ table / n:", torch.allclose(bags, by_counts))
print("twins have equal bags:", torch.allclose(bags[0::2], bags[1::2]))
assert torch.allclose(bags, by_counts) and torch.allclose(bags[0::2], bags[1::2])

# %% [markdown]
# ## 4. Reading in order: the LSTM
#
# The first repair is to read as people do, one word after the other, with a memory. An **LSTM** carries two vectors of shape (hidden,): the state $h_t$, which it shows, and the cell
# $c_t$, which it keeps. At each word it computes from $(E_{x_t}, h_{t-1})$ three gates between 0 and 1 and a proposal $\tilde c_t$:
#
# $$c_t = \underbrace{f_t}_\text{forget} \odot\, c_{t-1} + \underbrace{i_t}_\text{input} \odot\, \tilde c_t, \qquad h_t = \underbrace{o_t}_\text{output} \odot \tanh c_t.$$
#
# Having read *not*, it can set a gate so that the next adjective is stored with the opposite sign. Order is built in. Two prices: $T$ words need $T$ steps one after another, and what word 1 wants to tell
# word 30 must survive 29 multiplications by a forget gate.
#
# Here it is on the same 1,500 messages, five times with different seeds. The training loop is short enough to read.

# %%
from cmlib.encoders import text_encoder

class Reader(nn.Module):
    """Any text encoder with a linear head: TextBatch → logits (batch, 2)."""
    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.hidden_size, 2)

    def forward(self, batch):
        return self.head(self.encoder(batch))

def encode(tokenizer, texts):
    return pad(tokenizer(list(texts))["input_ids"], tokenizer.pad_token_id)

def take(batch, rows):
    """Some rows of a TextBatch, without the columns that hold only padding there."""
    longest = batch.attention_mask[rows].sum(1).max()
    return TextBatch(batch.input_ids[rows, :longest], batch.attention_mask[rows, :longest])

def learn(model, batch, labels, steps, seed, rate, size=32):
    """AdamW with warm-up and linear decay on random mini-batches; returns the model in evaluation mode."""
    draw = torch.Generator().manual_seed(seed)
    descent = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(descent, rate, total_steps=steps, pct_start=0.1, anneal_strategy="linear")
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(labels), (size,), generator=draw)
        loss = F.cross_entropy(model(take(batch, rows)), labels[rows])
        descent.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        descent.step()
        schedule.step()
    return model.eval()

@torch.no_grad()
def accuracy(model, batch, labels):
    return (model(batch).argmax(1) == labels).double().mean().item()

# %% [markdown]
# To test order alone, every twin gets every one of the twelve sentences of small talk in front of it: 72 pairs of messages, 144 in all, half of them
# refunds. Chance is 0.5, and so is every bag.

# %%
tokenizer = text_encoder("lstm").tokenizer
talk = [f"{chat} {sentence}" for pair in twins for chat in CHATTER for sentence in pair]
sets = {"train": (encode(tokenizer, train.texts), train.labels), "test": (encode(tokenizer, test.texts[:400]), test.labels[:400]),
        "twins": (encode(tokenizer, talk), torch.tensor([0, 1] * (len(talk) // 2)))}

lstm = []
for seed in range(5):
    torch.manual_seed(seed)
    model = learn(Reader(text_encoder("lstm", hidden_size=48)), *sets["train"], steps=100, seed=seed, rate=1e-2)
    lstm.append([accuracy(model, *sets["test"]), accuracy(model, *sets["twins"])])
lstm = torch.tensor(lstm)  # (seeds, 2)
for name, column_ in zip(("new messages", "twins"), lstm.T):
    print(f"LSTM on {name}: {column_.mean():.3f} ± {column_.std():.3f}")
assert lstm.min() > 0.95

# %% [markdown]
# ## 5. Attention: every word asks every word
#
# The second repair needs no chain. Let every word look at *all* words at once and decide for itself whom to listen to.
#
# | symbol | meaning | shape |
# |---|---|---|
# | $X$ | one vector per token | (tokens, hidden) |
# | $Q = XW_Q,\ K = XW_K,\ V = XW_V$ | what each token asks, how it answers to questions, what it passes on | (tokens, d) |
# | $S = QK^\top/\sqrt d$ | scores: how well the key of token $j$ answers the query of token $i$ | (queries, keys) |
# | $A = \mathrm{softmax}_j(S)$ | weights: each row is positive and sums to one | (queries, keys) |
# | $O = AV$ | each token's new vector, a weighted mean of values | (queries, d) |
#
# $$\mathrm{attention}(Q,K,V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt d}\right)V$$
#
# **In numbers.** Message "not fine", $d = 1$. The word *fine* asks with $q = 1$. The keys are $k_\text{not} = \ln 3$, $k_\text{fine} = 0$; the values are $v_\text{not} = -2$,
# $v_\text{fine} = +1$. Its scores are $(\ln 3, 0)$, their exponentials $(3, 1)$, the weights $(\tfrac34, \tfrac14)$. So *fine* becomes $\tfrac34\cdot(-2) + \tfrac14\cdot 1 = -1.25$. Alone in a message it
# would have stayed at $+1$. That is the "turn over" that no sum could do.
#
# **Why $\sqrt d$?** If the entries of $q$ and $k$ are independent with mean 0 and variance 1, each product $q_c k_c$ has variance 1, and the sum of $d$ of them has variance $d$.
# Without the division scores grow like $\sqrt d$, the softmax puts all its weight on one key, and its gradient, which is made of products $a_j(1-a_j)$, dies.

# %%
scores_ = torch.tensor([math.log(3), 0.0])
weights_ = scores_.softmax(0)
print("weights of 'fine':", [round(w, 2) for w in weights_.tolist()], " new vector:", round((weights_ @ torch.tensor([-2.0, 1.0])).item(), 2))
assert abs((weights_ @ torch.tensor([-2.0, 1.0])).item() + 1.25) < 1e-6

draw = torch.Generator().manual_seed(0)
print("   d   spread of q·k   largest of 10 weights: raw   divided by √d")
for d in (4, 64, 1024):
    q, k = torch.randn(500, 1, d, generator=draw), torch.randn(500, 10, d, generator=draw)
    s = (q @ k.mT)[:, 0]  # (500, 10)
    raw, scaled = (t.softmax(1).amax(1).mean().item() for t in (s, s / math.sqrt(d)))
    print(f"{d:4d}   {s.std().item():13.1f}   {raw:26.2f}   {scaled:13.2f}")
    assert 0.3 < scaled < 0.5

# %% [exercise] 04.2
# **Padding** must get weight zero, and the rest of the row must still sum to one. So it is hidden *before* the softmax: a score of $-\infty$ has exponential 0.
#
# Write attention with a padding mask. Your function receives `q` of shape `(batch, queries, d)`, `k` `(batch, keys, d)`, `v` `(batch, keys, size)` and `mask`, int64
# `(batch, keys)`, 1 on a token and 0 on padding. It returns `(batch, queries, size)`. Every row has at least one real token. Use `softmax`, but not PyTorch's ready-made attention: that one is
# the referee.

# %% [stub]
def attention(q, k, v, mask):
    """softmax(q kᵀ / √d) v, with no weight on padding (Vaswani et al. 2017, equation 1).

    q : (batch, queries, d)   k : (batch, keys, d)   v : (batch, keys, size)   mask : int64 (batch, keys)
    returns : (batch, queries, size)
    """
    raise NotImplementedError

# %% [solution]
def attention(q, k, v, mask):
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])             # (batch, queries, keys)
    scores = scores.masked_fill(mask[:, None, :] == 0, float("-inf"))
    return scores.softmax(dim=-1) @ v                                   # (batch, queries, size)

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

# %% [markdown]
# The referee is `torch.nn.functional.scaled_dot_product_attention`, which runs on every GPU in a fused kernel. The comparison is in float64 and includes the gradients, with respect to all three
# inputs, and a finite-difference test of those.

# %%
q, k, v = (torch.randn(3, 7, 16, dtype=torch.float64, requires_grad=True) for _ in range(3))
mask = (torch.arange(7) < torch.tensor([[7], [4], [1]])).long()  # lengths 7, 4 and 1
ours = course.attention(q, k, v, mask)
theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, :].bool())
g_ours, g_theirs = (torch.autograd.grad(out.square().sum(), (q, k, v)) for out in (ours, theirs))
print(f"largest difference: {(ours - theirs).abs().max().item():.9f}")
print(f"largest difference of the gradients: {max((a - b).abs().max().item() for a, b in zip(g_ours, g_theirs)):.9f}")
print("gradients agree with finite differences:", torch.autograd.gradcheck(lambda *x: course.attention(*x, mask), (q, k, v)))
print(f"gradient that reaches padded values: {g_ours[2][1, 4:].abs().sum().item():.1f}")
assert torch.allclose(ours, theirs, atol=1e-12) and g_ours[2][1, 4:].abs().sum() == 0

# %% [markdown]
# ## 6. Look: where does a word look?
#
# A trick gets the weights out of any attention function: hand it the identity matrix as values. Then $O = A\,I = A$. Below, the first layer of this course's own small BERT reads a
# message; its queries and keys of 128 numbers are cut into four blocks of 32, four **heads**, each with its own map. Row: the word that asks. Column: the word that is
# listened to. Divide the scores by a temperature below 1 and every row becomes a single choice; far above 1 it becomes the bag again, all words alike.

# %%
mini = text_encoder("mini").eval()
bert = mini.model  # transformers' BertModel, with the weights of this course

@torch.no_grad()
def head_maps(text, temperature=1.0):
    """Attention weights of the four heads of the first layer (4, tokens, tokens), and the tokens."""
    ids = torch.tensor([mini.tokenizer(text)["input_ids"]])
    layer, x = bert.encoder.layer[0].attention.self, bert.embeddings(ids)  # x: (1, tokens, 128)
    ones, eye = torch.ones_like(ids), torch.eye(ids.shape[1])[None]
    maps = [course.attention(q / temperature, k, eye, ones)[0]
            for q, k in zip(layer.query(x).chunk(4, dim=-1), layer.key(x).chunk(4, dim=-1))]
    return torch.stack(maps), mini.tokenizer.convert_ids_to_tokens(ids[0].tolist())

def draw_heads(text, temperature=1.0, heads=(0, 1, 2, 3)):
    maps, tokens = head_maps(text, temperature)
    fig, axes = plots.figure(1, len(heads), width=2.3 * len(heads) + 0.6, height=2.9, sharey=True, squeeze=False)
    for ax, head in zip(axes[0], heads):
        ax.imshow(maps[head], cmap="Blues", vmin=0, vmax=1)
        ax.set(title=f"head {head + 1}", xticks=range(len(tokens)), yticks=range(len(tokens)))
        ax.set_xticklabels(tokens, rotation=90, fontsize=8)
        ax.set_yticklabels(tokens, fontsize=8)
        ax.grid(False)
    axes[0, 0].set_ylabel("the word that asks")
    return fig

menu = [sentence for pair in twins for sentence in pair][:4] + ["there is not a single scratch ."]
plots.explore(lambda message, temperature: draw_heads(message, temperature),
              "Four attention maps of one message; a low temperature leaves one dark cell per row, a high one makes all cells alike.",
              message=menu, temperature=(0.1, 5.0, 0.1, 1.0))

# %% [markdown]
# The same maps, standing still, for *it is not fine , it is broken .* The numbers below them are how much of its attention each head of *fine* gives to *not*; how evenly a head spreads its attention, as the exponential of the
# entropy of a row, in words (1 is a single choice, 11 is all eleven tokens alike); and its mean weight on the token at distance −2, −1, +1, +2. The vermilion frame marks how *fine* listens to *not*.

# %%
from matplotlib.patches import Rectangle

sentence = "it is not fine , it is broken ."
maps, tokens = head_maps(sentence)
fig = draw_heads(sentence)
for ax in fig.axes:
    ax.add_patch(Rectangle((2.5, 3.5), 1, 1, fill=False, edgecolor=plots.TEXT, linewidth=2))
plots.show(fig, "Four attention maps of the message 'it is not fine , it is broken .': each head looks at a fixed distance, two back, two ahead, one back and one ahead.")
spread = (-(maps * maps.clamp(min=1e-12).log()).sum(-1)).exp().mean(1)  # (heads,)
for head in range(4):
    near = "  ".join(f"{step:+d}: {maps[head].diagonal(step).mean():.2f}" for step in (-2, -1, 1, 2))
    print(f"head {head + 1}: 'fine' gives 'not' {maps[head, 4, 3]:.3f}; spread {spread[head]:.2f} words; by distance {near}")
assert torch.allclose(maps.sum(-1), torch.ones(4, len(tokens)), atol=1e-5) and maps[:, 4, 3].max() > 0.5

# %% [markdown]
# Nobody told these heads what to do, and nobody ever showed them a label. Each has learned to look at a distance of its own: two back, two ahead, one back, one ahead. One back is where *not* stands when it matters:
# *fine* now carries *not* in its vector, and a layer behind it can tell the twins apart.
#
# ## 7. Many heads, one layer
#
# One softmax makes one choice per word. A word has several questions at once: is there a *not* before me, which noun do I belong to? So the
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
    """Attention in n_heads blocks of columns, merged again (Vaswani et al. 2017, section 3.2.2).

    q, k, v : (batch, tokens, hidden)   mask : int64 (batch, tokens)   n_heads : int   returns : (batch, tokens, hidden)
    """
    raise NotImplementedError

# %% [solution]
def multi_head(q, k, v, mask, n_heads):
    batch, tokens, hidden = q.shape
    size = hidden // n_heads
    q, k, v = (x.view(batch, tokens, n_heads, size).transpose(1, 2) for x in (q, k, v))  # (batch, heads, tokens, size)
    scores = q @ k.transpose(2, 3) / math.sqrt(size)                                     # (batch, heads, tokens, tokens)
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
# **A layer of BERT** wraps this into two halves, each with a residual sum ("add what you learned to what you had") and a normalisation. For $X$ of shape (batch, tokens, hidden):
#
# 1. $Q, K, V = XW_Q^\top + b_Q$, and likewise for the others; $C = \mathrm{multihead}(Q,K,V)$
# 2. $Y = \mathrm{LayerNorm}_1\big(X + (C W_O^\top + b_O)\big)$
# 3. $Z = \mathrm{LayerNorm}_2\big(Y + (\mathrm{GELU}(YW_1^\top + b_1)\,W_2^\top + b_2)\big)$, with $W_1$ of shape (inner, hidden), inner = 4 × hidden as a rule
#
# $\mathrm{GELU}(u) = u\,\Phi(u)$ with the exact normal distribution $\Phi(u) = \tfrac12(1 + \mathrm{erf}(u/\sqrt2))$. LayerNorm works on each token by itself: subtract the mean over hidden, divide by $\sqrt{\text{variance} + \varepsilon}$ with
# $\varepsilon = 10^{-12}$ and the variance divided by hidden, then times a weight plus a bias. `nn.Linear` stores its matrix as (out, in), hence every transpose above.
#
# `transformers` keeps the sixteen tensors of a layer under these names:

# %%
from transformers.models.bert.modeling_bert import BertLayer

for name, tensor in bert.encoder.layer[0].state_dict().items():
    print(f"{name:34} {tuple(tensor.shape)}")

# %% [exercise] 04.4
# Write the layer. Your function receives `hidden` `(batch, tokens, hidden)`, the `mask` `(batch, tokens)`, `state`, a dict of tensors under the sixteen names above, and `n_heads`; it returns
# `(batch, tokens, hidden)`. No dropout: this is the layer as it is used after training. You may call your `multi_head`, and `F.linear`, `F.gelu`, `F.layer_norm`.

# %% [stub]
def bert_layer(hidden, mask, state, n_heads):
    """One encoder layer of BERT (Devlin et al. 2019) with given weights.

    hidden : (batch, tokens, hidden)   mask : int64 (batch, tokens)   state : {name: tensor}, see above   n_heads : int
    returns : (batch, tokens, hidden)
    """
    raise NotImplementedError

# %% [solution]
def bert_layer(hidden, mask, state, n_heads):
    def dense(name, x):
        return F.linear(x, state[name + ".weight"], state[name + ".bias"])

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], state[name + ".LayerNorm.weight"], state[name + ".LayerNorm.bias"], eps=1e-12)

    q, k, v = (dense("attention.self." + part, hidden) for part in ("query", "key", "value"))
    heard = multi_head(q, k, v, mask, n_heads)
    hidden = norm("attention.output", hidden + dense("attention.output.dense", heard))
    thought = F.gelu(dense("intermediate.dense", hidden))  # (batch, tokens, inner)
    return norm("output", hidden + dense("output.dense", thought))

# %% [hints]
# Write two helpers first: `dense(name, x)` and `norm(name, x)`, which look their weights up in `state`. Then the three numbered lines above are three or four lines of code.
# ---
# `attention.self.{query,key,value}` make $Q, K, V$; $W_O$ is `attention.output.dense`, LayerNorm 1 is `attention.output.LayerNorm`; $W_1$ is `intermediate.dense`, $W_2$ is `output.dense`, LayerNorm 2 is `output.LayerNorm`.
# ---
# ```python
# q, k, v = (dense("attention.self." + part, hidden) for part in ("query", "key", "value"))
# hidden = norm("attention.output", hidden + dense("attention.output.dense", multi_head(q, k, v, mask, n_heads)))
# return norm("output", ____ + dense("output.dense", F.gelu(dense("intermediate.dense", hidden))))
# ```

# %% [markdown]
# Now the trusted implementation: `BertLayer` of `transformers` itself, in float64, with the *trained* weights of our small BERT and with random ones, on a batch with padding. Both must agree
# to 1e-6 and in fact agree to the last digits.

# %%
from transformers import BertConfig

def by_transformers(hidden, mask, state, **sizes):
    layer = BertLayer(BertConfig(**sizes, attn_implementation="eager")).to(hidden.dtype).eval()
    layer.load_state_dict(state)
    hide = torch.zeros(mask.shape, dtype=hidden.dtype).masked_fill(mask == 0, torch.finfo(hidden.dtype).min)
    with torch.no_grad():
        return layer(hidden, hide[:, None, None, :])

shape = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512}
trained = {name: tensor.double() for name, tensor in bert.encoder.layer[0].state_dict().items()}
drawn = {name: torch.randn_like(tensor) * 0.1 for name, tensor in trained.items()}
hidden, mask = torch.randn(3, 7, 128, dtype=torch.float64), (torch.arange(7) < torch.tensor([[7], [4], [1]])).long()
for name, state in (("trained weights", trained), ("random weights", drawn)):
    gap = (course.bert_layer(hidden, mask, state, 4) - by_transformers(hidden, mask, state, **shape)).abs().max().item()
    print(f"{name}: largest difference {gap:.9f}, below 1e-6: {gap < 1e-6}")
    assert gap < 1e-6

# %% [markdown]
# **The whole encoder** is the embedding of each word plus an embedding of its *position* (without it attention would not know any order: section 10), a LayerNorm, and the layers one after another. Two
# calls of your function are this course's small BERT; twelve calls, at 768 instead of 128, are `bert-base-uncased`.

# %%
batch = encode(mini.tokenizer, talk[:8])
with torch.no_grad():
    x = bert.embeddings(batch.input_ids)
    for layer in bert.encoder.layer:
        x = course.bert_layer(x, batch.attention_mask, layer.state_dict(), 4)
    real = batch.attention_mask.bool()
    gap = (x[real] - mini.states(batch)[real]).abs().max().item()
per_layer = sum(p.numel() for p in bert.encoder.layer[0].parameters())
H = 128
print(f"two layers by hand against the encoder: largest difference {gap:.4f}")
print(f"parameters of a layer: {per_layer:,} = 12 H² + 13 H with H = {H}: {12 * H**2 + 13 * H:,}")
print(f"twelve layers at H = 768: {12 * (12 * 768**2 + 13 * 768):,}")
assert gap < 1e-4 and per_layer == 12 * H**2 + 13 * H

# %% [markdown]
# ## 8. What pretraining buys
#
# Labels are expensive, text is not. **Masked language modelling** makes labels out of text: hide some tokens, ask for them back. Of all tokens, 15 % are picked; of those, 80 % become
# `[MASK]`, 10 % a random token, 10 % stay as they are, so that the model cannot rely on seeing `[MASK]` and must keep a good vector for every word. The loss is the cross-entropy of lesson 01 over the vocabulary,
# on picked positions only.

# %%
def hide_words(ids, tokenizer, generator):
    """BERT's masking: (inputs, targets), targets −100 (ignored) wherever nothing was picked."""
    ordinary = ~torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    picked = ordinary & (torch.rand(ids.shape, generator=generator) < 0.15)
    fate = torch.rand(ids.shape, generator=generator)
    inputs = ids.masked_fill(picked & (fate < 0.8), tokenizer.mask_token_id)
    stranger = torch.randint(len(tokenizer), ids.shape, generator=generator)
    inputs = torch.where(picked & (fate >= 0.9), stranger, inputs)
    return inputs, ids.masked_fill(~picked, -100)

draw = torch.Generator().manual_seed(4)
ids = sets["train"][0].input_ids
inputs, targets = hide_words(ids, mini.tokenizer, draw)
picked = targets != -100
words = ~torch.isin(ids, torch.tensor(mini.tokenizer.all_special_ids))
print(f"picked: {(picked.sum() / words.sum()).item():.3f} of all words")
for name, part in (("[MASK]", inputs == mini.tokenizer.mask_token_id), ("unchanged", inputs == ids)):
    print(f"of these {name}: {(part & picked).sum().item() / picked.sum().item():.3f}")
row = int(picked.sum(1).argmax())
print("reads :", " ".join(mini.tokenizer.convert_ids_to_tokens(take(TextBatch(inputs, sets["train"][0].attention_mask), [row]).input_ids[0].tolist())))
print("wanted:", " ".join(mini.tokenizer.convert_ids_to_tokens(targets[row][picked[row]].tolist())))

# %% [markdown]
# This course's small BERT has learned in this way on made-up messages and reports, with 20 % picked; the card beside its weights says how well. It has never seen a label of the refund desk. To name the word behind *it is not broken , it is* `[MASK]` it had to learn what goes with what. Its word vectors show this: the nearest neighbours by cosine, before
# pretraining and after.

# %%
from cmlib.encoders.weights import DATA

card = json.loads((DATA / "weights.json").read_text())["mini-bert.safetensors"]
print(f"{card['steps']:,} steps; hidden words named rightly in texts it never saw: {card['held-out accuracy']['hidden words']:.3f}")
torch.manual_seed(0)
fresh = text_encoder("mini", pretrained=False).eval()

def neighbours(encoder, word, n=3):
    vectors = F.normalize(encoder.model.embeddings.word_embeddings.weight.detach(), dim=1)
    row = encoder.tokenizer.convert_tokens_to_ids(word)
    best = (vectors @ vectors[row]).topk(n + 1).indices[1:].tolist()
    return ", ".join(encoder.tokenizer.convert_ids_to_tokens(best))

for word in ("broken", "cracked", "small", "red"):
    print(f"{word:8} fresh: {neighbours(fresh, word):26} pretrained: {neighbours(mini, word)}")
assert neighbours(mini, "small").startswith("little, tiny")

# %% [markdown]
# Synonyms have moved together: *small*, *little* and *tiny* stand in the same places, so one vector serves them. But *big* is a neighbour of *small*, and *whole* of *cracked*: opposites stand in the same places too. Which word **could** stand somewhere
# is not what it **means** for a refund; that the labels must add.
#
# **The test.** How much is that worth when labels are few? First with both encoders *frozen*: one linear readout on the mean of the states, for 32, 128 and 512 labelled messages, five draws of the labels each.

# %%
@torch.no_grad()
def vectors_of(encoder):
    return {name: encoder(batch) for name, (batch, _) in sets.items()}  # {set: (messages, 128)}

def readout(vectors, n, seed):
    """Logistic regression on n labelled messages: accuracy on (new messages, twins)."""
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:n]
    mean, std = vectors["train"].mean(0), vectors["train"].std(0) + 1e-6
    unit = {name: ((x - mean) / std).double() for name, x in vectors.items()}
    weight = torch.zeros(128, 2, dtype=torch.float64, requires_grad=True)
    newton = torch.optim.LBFGS([weight], max_iter=50, line_search_fn="strong_wolfe")
    def objective():
        newton.zero_grad()
        loss = F.cross_entropy(unit["train"][rows] @ weight, train.labels[rows]) + 1e-3 * weight.square().sum()
        loss.backward()
        return loss
    newton.step(objective)
    return [((unit[name] @ weight).argmax(1) == sets[name][1]).double().mean().item() for name in ("test", "twins")]

sizes = (32, 128, 512)
frozen = {name: torch.tensor([[readout(vectors, n, seed) for seed in range(5)] for n in sizes])  # (sizes, seeds, 2)
          for name, vectors in (("fresh", vectors_of(fresh)), ("pretrained", vectors_of(mini)))}
print("labels   new messages: fresh   pretrained     twins: fresh   pretrained")
for i, n in enumerate(sizes):
    cells = [frozen[name][i, :, j] for j in (0, 1) for name in frozen]
    print(f"{n:6d}   " + "   ".join(f"{c.mean():.3f} ± {c.std():.3f}" for c in cells))
assert (frozen["fresh"][..., 1].mean(1) - 0.5).abs().max() < 0.05 and frozen["pretrained"][-1, :, 1].min() > 0.6

# %% [markdown]
# On new messages there is little between the two, since most messages can be read as a bag. On twins the difference is one of kind: the fresh encoder stays a coin whatever you label, and
# the pretrained states carry the order of the words without ever having been asked for it.
#
# Now let *everything* move, end to end, on 128 labelled messages: 60 steps with the same mini-batches. The LSTM of section 4 is there for comparison.
#
# **Predict before you run.** Order the three on twins.

# %%
builders = {"LSTM": (lambda: text_encoder("lstm", hidden_size=48), 1e-2),
            "BERT fresh": (lambda: text_encoder("mini", pretrained=False), 1e-3),
            "BERT pretrained": (lambda: text_encoder("mini"), 1e-3)}

def fine_tuned(name, seed, n=128):
    build, rate = builders[name]
    torch.manual_seed(seed)
    model = Reader(build())
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:n]
    learn(model, take(sets["train"][0], rows), train.labels[rows], steps=60, seed=seed, rate=rate, size=16)
    return [accuracy(model, *sets[part]) for part in ("test", "twins")]

tuned = {name: torch.tensor([fine_tuned(name, seed) for seed in range(5)]) for name in builders}  # (seeds, 2)
for name, runs in tuned.items():
    print(f"{name:16} new messages {runs[:, 0].mean():.3f} ± {runs[:, 0].std():.3f}   twins {runs[:, 1].mean():.3f} ± {runs[:, 1].std():.3f}")
better = (tuned["BERT pretrained"] > tuned["BERT fresh"]).all().item()
print("pretrained is better than fresh in every seed, on new messages and on twins:", better)
assert better and tuned["BERT pretrained"].mean(0)[1] - tuned["BERT fresh"].mean(0)[1] > 0.15

fig, axes = plots.figure(1, 2, width=7.6, height=3.0, sharey=True)
for name, color in (("fresh", plots.GREY), ("pretrained", plots.TEXT)):
    for j, mark in ((0, "-"), (1, "--")):
        m, s = frozen[name][..., j].mean(1), frozen[name][..., j].std(1)
        axes[0].plot(sizes, m, mark, color=color, label=f"{name}, {('new messages', 'twins')[j]}")
        axes[0].fill_between(sizes, m - s, m + s, color=color, alpha=0.15, lw=0)
for place, (name, color) in enumerate(zip(builders, (plots.IMAGE, plots.GREY, plots.TEXT))):
    for j in (0, 1):
        axes[1].scatter(torch.full((5,), j - 0.2 + 0.2 * place), tuned[name][:, j], color=color, s=28, alpha=0.8, label=None if j else name)
axes[0].set(title="frozen, linear readout", xscale="log", xlabel="labelled messages", ylabel="accuracy", ylim=(0.4, 1.03))
axes[0].set_xticks(sizes, [str(n) for n in sizes])
axes[0].minorticks_off()
axes[1].set(title="end to end, 128 labels, 5 seeds", xticks=(0, 1), xlim=(-1.3, 1.5))
axes[1].set_xticklabels(["new messages", "twins"])
for ax, where in zip(axes, ("upper left", "upper left")):
    ax.axhline(0.5, color="black", lw=0.8)
    ax.legend(fontsize=7, loc=where)
plots.show(fig, "Left: with frozen encoders the fresh one stays at one half on twins and the pretrained one rises with the labels. "
                "Right: end to end on 128 labels pretrained BERT lies above fresh BERT in every seed.")

# %% [markdown]
# Read the three columns of dots from left to right.
#
# - The **LSTM** has order built in and finds it from 128 labels.
# - **Fresh BERT** has no order built in: that place 4 comes after place 3 is something its position embeddings must learn, and 60 steps teach it nothing of the kind. With few labels the more flexible model is the *worse* reader.
# - **Pretrained BERT** is the same network. It brought the word-before head of section 6 along, and with it the LSTM's ability, plus a better grip on the plain messages; on twins the two are level within their spread.
#
# So this is what pretraining bought: not a better label, but the reading that labels presuppose. One seed in five lags behind on twins, which is why you were shown five.
#
# ## 9. The same call at full scale
#
# `text_encoder` takes any name. On a GPU `cfg.text_encoder` is `bert-base-uncased`, everything else in this lesson stays as it is: `Reader(text_encoder(cfg.text_encoder))`, and your
# `bert_layer(…, n_heads=12)` runs its twelve layers. That run is **not measured yet**; no number is promised here. Beside every number of this lesson stand the two baselines that cost nothing:

# %%
majority = max((test.labels == c).double().mean().item() for c in (0, 1))
ceilings = desk.ceilings()
print(f"encoder at this scale: {cfg.text_encoder}")
print(f"majority on new messages: {majority:.3f};  photo only, exact ceiling: {ceilings['image']:.2f};  message only, exact ceiling: {ceilings['text']:.2f}")

# %% [markdown]
# ## 10. Break it
#
# **Without positions.** Exchange two rows of $X$: the rows of $Q$, $K$, $V$ are exchanged, then rows and columns of the scores, then the rows of $O$, and nothing else changes. The rest of the layer works on each
# token by itself. So a stack of layers only permutes along, and the mean over tokens does not change at all: **without position embeddings BERT is a function of the bag**, and Theorem 1 applies to all its parameters.
#
# **Predict before you run.** Which of the two numbers below is zero?

# %%
def gap_between_twins(encoder):
    """Largest difference between the vectors of the two twins of a pair, over the six pairs."""
    with torch.no_grad():
        vectors = encoder(encode(encoder.tokenizer, [s for pair in twins for s in pair]))  # (12, hidden)
    return (vectors[0::2] - vectors[1::2]).abs().max().item()

blind = text_encoder("mini").eval()
with_positions = gap_between_twins(blind)
with torch.no_grad():
    blind.model.embeddings.position_embeddings.weight.zero_()
without = gap_between_twins(blind)
print(f"twins differ by {with_positions:.3f} with positions, by {without:.3f} without")
assert with_positions > 0.1 and without < 1e-4

# %% [markdown]
# **Without the mask.** Say that a program passes the ids and forgets the mask (it happens: in `transformers` the argument is optional). Nothing crashes. But the vector of a message then depends on how
# long its neighbours in the batch are, so the same customer gets another answer on another day.

# %%
alone = encode(mini.tokenizer, [twins[0][0]])
together = encode(mini.tokenizer, [twins[0][0], max(train.texts, key=len)])
with torch.no_grad():
    good = [mini(b)[0] for b in (alone, together)]
    careless = [mini.model(b.input_ids).last_hidden_state[0, :alone.input_ids.shape[1]].mean(0) for b in (alone, together)]
for name, (a, b) in (("with the mask", good), ("mask forgotten", careless)):
    print(f"{name}: the same message alone and beside a longer one differs by {(a - b).abs().max().item():.3f}")
assert (good[0] - good[1]).abs().max() < 1e-4 < 0.05 < (careless[0] - careless[1]).abs().max()

# %% [markdown]
# ## 11. What you have now
#
# You can now
# - name the sentences that no bag of words can tell apart, and compute what they cost: half their share;
# - write attention with mask and heads, and trust it, since PyTorch's own gives the same values and gradients;
# - open any BERT checkpoint, name its sixteen tensors per layer and run it by hand;
# - say what pretraining on unlabelled text bought at the refund desk, and what it did not, with the spread over seeds.
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
#

# %% [markdown]
# **Glossary**
#
# | term | meaning |
# |---|---|
# | bag of words | the counts of the words of a text, without their order |
# | embedding | a learned vector per word: a row of a matrix, found by index |
# | query, key, value | what a token asks, how it answers to questions, what it passes on; three linear maps of the same vector |
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
# - J. Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding*, NAACL 2019: the encoder of exercise 04.4 and masked language modelling (section 3.1).
# - D. Hendrycks, K. Gimpel, *Gaussian Error Linear Units*, arXiv:1606.08415, 2016: GELU and its tanh approximation.
# - J. L. Ba, J. R. Kiros, G. Hinton, *Layer Normalization*, arXiv:1607.06450, 2016: the normalisation inside every layer.

# %%
cmlib.progress("04")
