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
# - say what masked-word pretraining buys when labels are few, and what it does not, with paired draws;
# - test a story that an attention map tells, and say where word2vec, GPT and next-sentence prediction stand beside BERT.
#
# **Before this:** [lesson 03](03_inputs.ipynb) (token ids, padding, the attention mask). Matrix products and softmax.
#
# **Time:** about 95 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import json
import math
import re
import textwrap
from collections import Counter
import torch
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from cmlib import evaluate, fit, plots, text_encoder
from cmlib import layers
from cmlib.course.schematic import Schematic
from cmlib.data import Pairs, pad
cfg = cmlib.setup("04")

# %% [markdown]
# ## 1. Same words, other verdict
#
# At the refund desk of this course some parcels are still sealed: the photo shows brown paper and only the **message** can tell whether
# to refund (label 1) or to keep (label 0).
#
# The oldest way to read a message is to count. For every word of the vocabulary, how often does it occur? Order is thrown away, as if the
# words were shaken in a **bag**. Below, three messages and what is left of the third.
#
# One weight per word, a sum, a logistic function: that is the whole model. The second cell trains it to the bottom of its loss (which is convex).
#
# **Two kinds of test.** The desk writes from sentence templates, and `held_out=True` keeps a third of them, small talk included, for the split "test". So *known sentences* are new messages whose sentences stood in training (most published tests are of this kind), and *new sentences* are
# such that nobody has trained on. Reading is what survives the second.

# %%
from cmlib.worlds import RefundDesk
from cmlib.worlds.words import CHATTER, TWINS, side_of

# every parcel is sealed: only the message tells
desk = RefundDesk(probabilities=(0, 0, 1, 0), held_out=True)
train = desk.sample(1500)
tests = {"known sentences": desk.sample(2000, split="new tickets"),
         "new sentences": desk.sample(1000, split="test")}
for text, label in list(zip(train.texts, train.labels.tolist()))[:3]:
    print(textwrap.fill(f"{label} | {text}", 99, subsequent_indent="    "))
seen = set(train.texts)
for kind, pairs in tests.items():
    share = sum(text in seen for text in pairs.texts) / len(pairs)
    print(f"{kind}: the whole message stood in training: {share:.3f}")

vocabulary = sorted({w for text in train.texts for w in text.split()})

def counts(texts):
    """How often each word occurs: float64 (messages, vocabulary)."""
    bags = [Counter(text.split()) for text in texts]
    rows = [[float(bag[w]) for w in vocabulary] for bag in bags]
    return torch.tensor(rows, dtype=torch.float64)

third = zip(vocabulary, counts(train.texts[2:3])[0].tolist())
print("the third as a bag:\n ", ", ".join(f"{w} {n:.0f}" for w, n in third if n))

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
bag_right = {kind: (bag(counts(pairs.texts))[:, 0] > 0) == pairs.labels.bool()
             for kind, pairs in tests.items()}  # kind → (messages,)
ceilings = desk.ceilings()
for kind, right in bag_right.items():
    labels = tests[kind].labels
    majority = max((labels == c).double().mean().item() for c in (0, 1))
    print(f"{kind}: majority {majority:.3f}, bag {right.double().mean():.3f}")
print(f"the best that is possible, exact: from the photo {ceilings['image']:.2f}, "
      f"from the message {ceilings['text']:.2f}")
assert 0.8 < bag_right["known sentences"].double().mean() < 0.92
assert bag_right["new sentences"].double().mean() < 0.7

# %% [markdown]
# Two findings. On **new sentences** the bag is no better than a coin, or worse. It never learned that *not* turns a word over (a sum of weights has no place for that: section 2); it learned which words stand in which of some twenty sentences, and *nothing is broken* has the word *broken* in it. Keep an eye on this row: no reader of this lesson
# will escape it.
#
# On **known sentences** it is far better than guessing, and still far from what the message holds. Some sentences come in pairs, **twins**, one to keep and one to refund.
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
ax.set(xlim=(-0.03, 1.03), xlabel="probability of a refund, says the bag",
       title="Both twins of a pair get the same answer",
       yticks=range(6), yticklabels=[keep for keep, _ in twins], ylim=(5.5, -0.5))
ax.legend(loc="lower right", title="true label", fontsize=8, title_fontsize=8)
plots.show(fig, "Six pairs of twin sentences: the circle of the keep twin and the "
                "cross of the refund twin lie on the same spot in every row.")

# %% [markdown]
# Half of them, and no training can change that. The two rows of which it is surest are the two *held-out* pairs: of those it has met neither twin, only other sentences with their words.
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
# So the accuracy on a *pair* of twins is exactly ½. In a random sample the two of a pair are not equally frequent, but given its bag the label of a twin is a fair coin. So if a share $s$ of all messages are twins, the **expected** accuracy of the best bag is $1 - s/2$, and on $n$ messages it scatters round that
# with standard deviation $\sqrt{s/(4n)}$, the scatter of $sn$ coins. Below, that is held against four samples of 500.
#
# Expected: before you have seen the labels. *In hindsight* some function of the bag is always luckier than that. How lucky can it get?

# %% [exercise] 04.6
# Find the luckiest bag. Your function receives `texts`, a list of messages, words separated by blanks, and `labels`, int64 `(messages,)` of 0 and 1. It returns the largest share of these messages on which *any* function of the bag is right: a float. Remember that a bag counts its words.

# %% [stub]
def luckiest_bag(texts, labels):
    """The accuracy, in hindsight, of the best function of the bag on these messages.

    texts : list of str   labels : int64 (messages,), 0 or 1   returns : float
    """
    raise NotImplementedError

# %% [solution]
def luckiest_bag(texts, labels):
    found = {}  # bag → labels of its messages
    for text, label in zip(texts, labels.tolist()):
        found.setdefault(tuple(sorted(text.split())), []).append(label)
    right = sum(max(answers.count(0), answers.count(1)) for answers in found.values())
    return right / len(texts)

# %% [hints]
# A function gives one answer to each bag that it meets. Which answer is the lucky one?
# ---
# Sort the messages into groups with equal bags; in each, the more frequent label is right. $\frac1n\sum_\text{bags}\max(n_0, n_1)$. A key for a bag must not depend on the order and must keep the counts.
# ---
# ```python
# found = {}
# for text, label in zip(texts, labels.tolist()):
#     bag = ____                       # hashable, without order, with counts
#     found.setdefault(bag, []).append(label)
# # and now the more frequent label of each
# ```

# %%
for keep, refund in TWINS:
    assert Counter(keep.split()) == Counter(refund.split())
pattern = "|".join(one.replace("{k}", r"\w+") for pair in TWINS for one in pair)
known = tests["known sentences"]
is_twin = torch.tensor([bool(re.search(pattern, text)) for text in known.texts])
right = bag_right["known sentences"].double()  # (messages,)
print("messages     twins   bag expected      trained   on plain   on twins")
for start in range(0, len(known), 500):
    rows = slice(start, start + 500)
    twin, ok = is_twin[rows], right[rows]
    share = twin.double().mean().item()
    expected, sd = 1 - share / 2, (share / 4 / 500) ** 0.5
    print(f"{start:4d} to {start + 499:4d} {share:.3f}   {expected:.3f} ± {sd:.3f}     "
          f"{ok.mean():.3f}     {ok[~twin].mean():.3f}      {ok[twin].mean():.3f}")
    assert abs(ok.mean() - expected) < 4 * sd + 0.02
try:
    lucky = luckiest_bag(list(known.texts), known.labels)
    print(f"in hindsight the luckiest bag is right on {lucky:.3f}")
except NotImplementedError:
    print("how lucky a bag can be in hindsight: 04.6 is not written yet")
assert right[~is_twin].mean() > 0.95 and abs(right[is_twin].mean() - 0.5) < 0.12

# %% [markdown]
# The bag reads nearly every plain sentence that it was trained on, negated ones included: some other word of the sentence always gives the verdict away. On twins it tosses a coin, and scatters as coins do.
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
# The bag becomes the mean of the vectors of its words, one vector $\bar e$ of shape (hidden,) per message, with the mask $m$ (tokens,) of exercise 03.3:
#
# $$\bar e = \frac{1}{\sum_t m_t}\sum_t m_t\,E_{x_t}, \qquad m_t = 1 \text{ for a token, } 0 \text{ for padding.}$$
#
# **In numbers.** $E_\text{good} = (1, 0)$, $E_\text{toy} = (0, 4)$. The message "good toy toy", padded to five positions: the sum over real tokens is $(1, 8)$, their number is 3, the mean is
# $(0.33, 2.67)$. Dividing by five would give $(0.2, 1.6)$.
#
# The mean is $b(x)^\top E$ divided by the number of words: a function of the bag. Theorem 1 holds for embeddings too, however long.
#
# ## 4. Reading in order: the LSTM
#
# The first repair is to read as people do, one word after the other, with a memory. An **LSTM** carries two vectors of shape (hidden,): the state $h_t$, which it shows, and the cell
# $c_t$, which it keeps. At each word it computes three gates $f_t, i_t, o_t = \sigma(\cdot)$, between 0 and 1, and a proposal $\tilde c_t = \tanh(\cdot)$, all (hidden,); each dot is a
# linear map of its own of $[E_{x_t};\, h_{t-1}]$. Then, entry by entry ($\odot$), as the drawing shows,
#
# $$c_t = \underbrace{f_t}_\text{forget} \odot\, c_{t-1} + \underbrace{i_t}_\text{input} \odot\, \tilde c_t, \qquad h_t = \underbrace{o_t}_\text{output} \odot \tanh c_t.$$
#
# Because the proposal sees $h_{t-1}$, *fine* after *not* can write something else into the cell than *fine* alone. Two prices: $T$ words need $T$ steps one after another, and what word 1 wants
# to tell word 30 must survive 29 multiplications by a forget gate.
#
# To test order alone, every twin gets each sentence of the small talk that was in training in front of it, half of the messages refunds. Chance is 0.5, and so is every bag. Five seeds, the same training messages, each tested on sentences of its own; the twins are few, so all seeds are asked all of them.

# %% tags=["hide-input"]
sketch = Schematic(8.8, 3.1)
sketch.arrow((0.3, 2.6), (2.3, 2.6), "cell c(t-1)", shift=(-0.3, 0.14))
forget = sketch.box("⊙", (2.5, 2.6), (0.36, 0.36))
plus = sketch.box("+", (4.6, 2.6), (0.36, 0.36))
sketch.arrow(forget, plus)
sketch.arrow(plus, (8.6, 2.6), "cell c(t)", shift=(1.6, 0.14))
write = sketch.box("⊙", (4.6, 1.75), (0.36, 0.36))
sketch.arrow(write, plus)
squash = sketch.box("tanh", (7.2, 2.15), (0.6, 0.36))
sketch.arrow((7.2, 2.6), squash)
out = sketch.box("⊙", (7.2, 1.6), (0.36, 0.36))
sketch.arrow(squash, out)
sketch.arrow(out, (8.6, 1.6), "state h(t)", shift=(0.1, 0.14))
gates = [("forget σ", 2.5, plots.TEXT, forget), ("input σ", 3.7, plots.TEXT, write),
         ("proposal tanh", 4.9, plots.IMAGE, write), ("output σ", 6.1, plots.TEXT, out)]
for words, x, color, goal in gates:
    gate = sketch.box(words, (x, 0.95), (1.08, 0.4), color)
    sketch.arrow(gate, goal, color=color)
    if x < 6:
        sketch.arrow((x, 0.35), gate)
sketch.path([(0.3, 0.35), (6.1, 0.35), (6.1, 0.75)])
sketch.text("word vector and state h(t-1), side by side", (1.5, 0.17), fontsize=8)
sketch.show("One step of an LSTM. Word and old state feed four gates; the forget gate "
            "multiplies the old cell, the input gate the proposal; their sum is the "
            "new cell, and the output gate decides how much of its tanh is shown as "
            "the state.")

# %%
class Reader(nn.Module):
    """A text encoder and a linear layer: Batch → logits (batch, 2), without photos."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.tokenizer = encoder, encoder.tokenizer
        self.head = nn.Linear(encoder.hidden_size, 2)

    def forward(self, batch):
        return self.head(self.encoder(batch.text))

def twin_messages(side="train"):
    """All twins that stood in training, behind its small talk: Pairs."""
    pairs = [[one.format(k="car") for one in pair] for pair in side_of(TWINS, side)]
    talk = [f"{chat} {one}" for pair in pairs for chat in side_of(CHATTER, "train")
            for one in pair]
    no_photos = torch.zeros(len(talk), 3, 1, 1, dtype=torch.uint8)
    labels = torch.tensor([0, 1] * (len(talk) // 2))
    return Pairs(no_photos, talk, labels, train.class_names)

on_twins = twin_messages()
KINDS = ("plain sentences", "twins", "new sentences")

def parts_of(seed):
    """What a seed is tested on, in the order of KINDS.

    Plain are those of 200 known messages of its own that are no twins; twins, all.
    """
    own = torch.arange(200 * seed, 200 * (seed + 1))
    return [tests["known sentences"][own[~is_twin[own]]], on_twins,
            tests["new sentences"][own]]

def trained(build, rate, rows, seed, **settings):
    """Train a fresh Reader; returns its accuracy on the three KINDS."""
    torch.manual_seed(seed)
    model = Reader(build())
    fit(model, rows, learning_rate=rate, seed=seed, progress=False, **settings)
    return [evaluate(model, part).accuracy for part in parts_of(seed)]

build = lambda: text_encoder("lstm", hidden_size=48)
lstm = torch.tensor([trained(build, 1e-2, train, seed, epochs=3, batch_size=64)
                     for seed in tqdm(range(5), desc="seeds")])  # (seeds, 3)
for kind, runs in zip(KINDS[:2], lstm.T):
    print(f"LSTM on {kind}: {runs.mean():.3f} ± {runs.std():.3f}")
lost = bool(lstm[:, 2].mean() < 0.6)
print("its mean on new sentences is below 0.6:", lost)
assert lstm[:, :2].min() > 0.9 and lost

# %% [markdown]
# Order was all that was missing, *for the sentences of training*: the LSTM has them all, twins included. On sentences that it was not trained on it is as lost as the bag. Order lets a model tell two sentences apart; it does not tell it what a sentence means that it has never met.
#
# ## 5. Attention: every word asks every word
#
# The second repair needs no chain. Let every word look at *all* words at once and decide for itself whom to listen to.
#
# | symbol | meaning | shape |
# |---|---|---|
# | $X$ | one vector per token | (tokens, hidden) |
# | $W_Q, W_K, W_V$ | learned weights, stored (out, in) as in `nn.Linear` | (d, hidden) |
# | $Q = XW_Q^\top,\ K = XW_K^\top,\ V = XW_V^\top$ | what each token asks, what it answers to, what it passes on | (tokens, d) |
# | $S = QK^\top/\sqrt d$ | scores: how well the key of token $j$ answers the query of token $i$ | (queries, keys) |
# | $A = \mathrm{softmax}_j(S)$ | weights: each row is positive and sums to one | (queries, keys) |
# | $O = AV$ | what each token hears, a weighted mean of values | (queries, d) |
#
# $$\mathrm{attention}(Q,K,V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt d}\right)V$$
#
# **In numbers.** The four messages of Theorem 2, with $d = 1$. (The drawing below follows the one query of *not*.) Each word has a score of its own, as in a bag, and $q$, $k$, $v$ besides:
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

# %% tags=["hide-input"]
sketch = Schematic(8.6, 3.4)
columns = ["it", "is", "not", "fine"]
for place, word in enumerate(columns):
    x = 2.6 + 1.3 * place
    color = {"not": plots.TEXT, "fine": plots.IMAGE}.get(word, plots.GREY)
    sketch.box(word, (x, 3.1), (0.9, 0.36), color)
    for y, row in ((2.4, ["0", "0", "0", "ln 9"]), (1.75, ["1", "1", "1", "9"]),
                   (1.1, ["1/12", "1/12", "1/12", "3/4"]),
                   (0.45, ["0", "0", "0", "+2"])):
        box = sketch.box(row[place], (x, y), (0.7, 0.34), color, filled=False)
for y, words in ((3.1, "keys and values of"), (2.4, "score: q of not · k"),
                 (1.75, "exponential"), (1.1, "weight: share of 12"),
                 (0.45, "value v")):
    sketch.text(words, (1.95, y), ha="right")
heard = sketch.box("not hears\n3/4 · 2 = 1.5", (7.85, 0.78), (1.2, 0.6), plots.TEXT)
sketch.arrow((6.95, 1.1), heard)
sketch.arrow((6.95, 0.45), heard)
sketch.text("softmax: exponentials,\ndivided by their sum", (7.6, 1.75), fontsize=8)
sketch.show("The query of 'not' meets four keys: scores 0, 0, 0 and ln 9, "
            "exponentials 1, 1, 1 and 9, weights 1/12, 1/12, 1/12 and 3/4. Only "
            "'fine' has a value, 2, so 'not' hears 1.5.")

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
# `(batch, keys)`, 1 on a token and 0 on padding. It returns `(batch, queries, size)`. Every row has at least one real token. Of course PyTorch's ready-made
# `scaled_dot_product_attention`, which runs on every GPU in one fused kernel, would pass. You would have skipped what this lesson is about; it is the referee, in the cell behind the hints.

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
# scores = q @ k.transpose(1, 2) / ____         # (batch, queries, keys)
# scores = scores.masked_fill(____)             # which entries, and what do they become?
# # two steps are left: shares, then what is heard
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
    fig, axes = plots.figure(1, 4, width=10.4, height=3.4, sharey=True)
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


# the same maps standing still; the frame: how "fine" listens to "not"
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

# is this one message special?
many = [head_maps(text)[0] for text in train.texts[:100]]
own = (-2, 2, -1, 1)
looks = [torch.stack([one[head].diagonal(step).mean() for one in many]).mean()
         for head, step in enumerate(own)]
print("over 100 messages, each head at its own distance:",
      ", ".join(f"{step:+d}: {look:.2f}" for step, look in zip(own, looks)))
assert min(looks) > 0.5

# %% [markdown]
# (The spread is the exponential of a row's entropy: 1 is a single choice, 11 would be all eleven tokens alike.)
#
# Nobody told these heads what to do, and nobody showed them a label. Each has learned to look at a distance of its own, in this message and in others: two back, two ahead, one back, one ahead. In head 3 *fine* listens to *not*, and it is tempting to
# say: this is the head that reads negation. Keep that thought: section 8 takes the head out and measures.
#
# ## 7. Many heads, one layer
#
# One softmax makes one choice per word, and a word may have several questions at once: is there a *not* before me, which noun do I belong to? So the
# hidden columns are cut into $n$ blocks of $d = \text{hidden}/n$, each block attends by itself with its own $\sqrt d$, and the results are put side by side again:
#
# $$\text{(batch, tokens, hidden)} \xrightarrow{\text{split}} \text{(batch, heads, tokens, d)} \xrightarrow{\text{attend}} \text{(batch, heads, tokens, d)} \xrightarrow{\text{merge}} \text{(batch, tokens, hidden)}.$$
#
# The products cost what one head costs, since $n$ times $d$ is still hidden; the maps of scores become $n$ times as many. The trap is the order of axes. With hidden $= 4$ and two heads, the token $(1, 2, 3, 4)$ must give $(1, 2)$ to head 1 and $(3, 4)$ to head 2:
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
# heard = ____                 # attention as in 04.2, on (batch, heads, tokens, size)
# # and now both steps of the cut backwards
# ```

# %% [markdown]
# **A layer of BERT** wraps this into two halves, each with a residual sum ("add what you heard to what you are", as in the numbers of section 5) and a normalisation. For $X$ of shape (batch, tokens, hidden):
#
# 1. $Q = XW_Q^\top + b_Q$, and likewise $K$ and $V$; $C = \mathrm{multihead}(Q,K,V)$, all (batch, tokens, hidden)
# 2. $Y = \mathrm{LayerNorm}_1\big(X + (C W_O^\top + b_O)\big)$, (batch, tokens, hidden)
# 3. $Z = \mathrm{LayerNorm}_2\big(Y + (\mathrm{GELU}(YW_1^\top + b_1)\,W_2^\top + b_2)\big)$, (batch, tokens, hidden)
#
# $\mathrm{GELU}(u) = u\,\Phi(u)$ with the exact normal distribution $\Phi(u) = \tfrac12(1 + \mathrm{erf}(u/\sqrt2))$, number by number. LayerNorm works on each token by itself: subtract the mean over hidden, divide by
# $\sqrt{\text{variance} + \varepsilon}$ with $\varepsilon = 10^{-12}$ and the variance divided by hidden, then times a weight plus a bias. `nn.Linear` stores its matrix as (out, in), hence every transpose.
#
# The drawing shows both halves. `transformers` keeps the sixteen tensors of a layer, a `.weight` and a `.bias` each, under these names:
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

# %% tags=["hide-input"]
sketch = Schematic(9.4, 3.9)
for head, y in enumerate((3.5, 3.05, 2.6, 2.15)):
    words = f"head {head + 1}: softmax(QKᵀ/√d) V"
    sketch.box(words, (4.1, y), (2.2, 0.34), plots.IMAGE)
    sketch.arrow((2.55, 2.83), (3.0, y))
    sketch.arrow((5.2, y), (5.75, 2.83))
x_in = sketch.box("X\n(B, T, hidden)", (0.75, 2.83), (1.15, 0.6))
qkv = sketch.box("Q, K, V\ncut in blocks", (2.05, 2.83), (1.0, 0.6), plots.TEXT)
sketch.arrow(x_in, qkv)
merge = sketch.box("side by side,\ntimes W_O", (6.3, 2.83), (1.1, 0.6), plots.TEXT)
add_1 = sketch.box("+", (7.45, 2.83), (0.34, 0.34))
norm_1 = sketch.box("LayerNorm 1", (8.6, 2.83), (1.1, 0.4), plots.BOTH)
sketch.arrow(merge, add_1)
sketch.arrow(add_1, norm_1)
sketch.path([(0.75, 2.53), (0.75, 1.8), (7.45, 1.8), (7.45, 2.66)])
sketch.text("residual: X itself", (6.4, 1.92), fontsize=8)
inner = sketch.box("W_1: hidden → 4 hidden,  GELU,  W_2: back again", (4.1, 0.75),
                   (3.7, 0.4), plots.TEXT)
add_2 = sketch.box("+", (7.45, 0.75), (0.34, 0.34))
norm_2 = sketch.box("LayerNorm 2", (8.6, 0.75), (1.1, 0.4), plots.BOTH)
sketch.path([(8.6, 2.63), (8.6, 1.3), (1.2, 1.3), (1.2, 0.75), (2.25, 0.75)])
sketch.text("Y", (8.3, 1.42), fontsize=8)
sketch.arrow(inner, add_2)
sketch.arrow(add_2, norm_2)
sketch.arrow((7.45, 1.3), add_2, "residual: Y", shift=(-0.55, 0.0))
sketch.arrow(norm_2, (8.6, 0.1), "Z", shift=(0.2, 0.0))
sketch.show("A layer of BERT. Above: X is cut into four heads that attend by "
            "themselves, their results are put side by side and multiplied by W_O, X "
            "is added, LayerNorm gives Y. Below: Y passes two linear maps with a GELU "
            "between them, Y is added, a second LayerNorm gives Z.")

# %% [exercise] 04.4
# Write the layer. Your function receives `x` `(batch, tokens, hidden)`, the `mask` `(batch, tokens)`, `state`, a dict of tensors under the sixteen names above (`"attention.self.query.weight"` and so on), and `n_heads`; it returns
# `(batch, tokens, hidden)`. No dropout: this is the layer as it is used after training. You may call your `multi_head`, and `F.linear`, `F.gelu`, `F.layer_norm`.

# %% [stub]
def bert_layer(x, mask, state, n_heads):
    """One encoder layer of BERT (Devlin et al. 2019) with given weights.

    x : (batch, tokens, hidden)   mask : int64 (batch, tokens)
    state : {name: tensor}, see above   n_heads : int
    returns : (batch, tokens, hidden)
    """
    raise NotImplementedError

# %% [solution]
def bert_layer(x, mask, state, n_heads):
    def dense(name, x):
        return F.linear(x, state[name + ".weight"], state[name + ".bias"])

    def norm(name, x):
        weight = state[name + ".LayerNorm.weight"]
        bias = state[name + ".LayerNorm.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-12)

    parts = "query", "key", "value"
    q, k, v = (dense("attention.self." + part, x) for part in parts)
    heard = multi_head(q, k, v, mask, n_heads)
    x = norm("attention.output", x + dense("attention.output.dense", heard))
    thought = F.gelu(dense("intermediate.dense", x))  # (batch, tokens, inner)
    return norm("output", x + dense("output.dense", thought))

# %% [hints]
# Write two helpers first: `dense(name, x)` and `norm(name, x)`, which look their weights up in `state`. Then the three numbered lines above are three or four lines of code.
# ---
# `dense` is `F.linear(x, weight, bias)`, (…, in) → (…, out); `norm` is `F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-12)`. The shapes go hidden → hidden (attention) → hidden → inner → hidden. Both residual
# sums stand *inside* a LayerNorm, and the second one adds $Y$, not $X$.
# ---
# ```python
# q, k, v = (dense("attention.self." + part, x) for part in ("query", "key", "value"))
# y = norm("attention.output", x + ____)      # the first half
# # the second half is as long: dense, GELU, dense, residual, norm
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
few = mini.tokenizer(list(on_twins.texts[:8]))["input_ids"]
batch = pad(few, mini.tokenizer.pad_token_id)
with torch.no_grad():
    x = bert.embeddings(batch.input_ids)
    for layer in bert.encoder.layer:
        x = layers.bert_layer(x, batch.attention_mask, layer.state_dict(), 4)
    gap = (x - mini.states(batch))[batch.attention_mask.bool()].abs().max().item()
print(f"{len(bert.encoder.layer)} layers by hand against the whole encoder, in "
      f"float32: below 1e-4: {gap < 1e-4}")
assert gap < 1e-4
for length in (128, 4096):  # BERT-base: hidden 768, 12 heads; the table below
    square, linear = 2 * length**2 * 768, 4 * length * 768**2
    print(f"{length:4d} tokens: share of the T² among attention's products "
          f"{square / (square + linear):.3f}, scores {12 * length**2 * 4 / 1e6:.0f} MB")

# %% [markdown]
# **The whole encoder** is the sum of three embeddings, of the word, of its *position* (a learned vector (hidden,) per place, at most 512 places) and of its *segment* (0 or 1: BERT may read two texts at once, "[CLS] question [SEP] answer [SEP]"); then a LayerNorm, and the layers one after another, as in the last lines of the cell. Two calls of your
# function are this course's small BERT; twelve calls, at 768 instead of 128, are `bert-base-uncased`.
#
# **What it costs**, per layer, for $T$ tokens of width $h$, counting products of two numbers:
#
# | reader | products | steps one after another | from word 1 to word $T$ | numbers kept for the scores |
# |---|---|---|---|---|
# | LSTM | $8Th^2$ | $T$ | $T - 1$ steps | none |
# | attention with $n$ heads | $4Th^2 + 2T^2h$ | 1 | 1 step | $nT^2$ |
# | the two linear maps of a layer | $8Th^2$ | 1 | no way | none |
#
# The $T^2$ is the price of "every word asks every word". At BERT-base's $h = 768$ and $T = 128$ it is a thirteenth of attention's products ($2T^2h$ beside $4Th^2$); at $T = 4096$ it is nearly three quarters, and the scores of one layer fill 800 MB: why long texts need other tricks.
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
# This course's small BERT has learned in this way on messages and reports from the course's own generators, never with a label. **To be open about it:** they are the very generators of this lesson, all sentence templates and twins included, so it has read our "new sentences" too, without their verdicts. What it has
# learned shows in its word vectors: the nearest neighbours of a word by cosine, before pretraining and after.
#
# | other ways to learn from text alone | what is asked | what comes out |
# |---|---|---|
# | **word2vec** (2013) | from a word, its neighbours in a window | one vector per word, the same in every sentence: a better table $E$, and still a bag |
# | **GPT** (2018) | from all words before it, the next | a reader of the left side only: its mask also hides every *later* token (lesson 16); it can write |
# | **BERT** (2019) | hidden words from both sides | a vector per token *in its sentence*; it cannot write |
# | **next-sentence prediction** (BERT) | from [CLS], whether text B followed text A | was to teach [CLS] the whole text; RoBERTa (2019) left it out and lost nothing |

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
# **The test.** How much is that worth when labels are few? First with *frozen* encoders and a linear readout, (hidden,) → verdict, for 32, 128 and 512 labelled messages, five draws of the labels each: fresh and pretrained weights, read as the mean over tokens; and the pretrained ones read at **[CLS]** alone, as BERT's authors do.
#
# **Predict before you run.** Mean or [CLS]: which reads twins better? And who reads new sentences?

# %%
def standardised(encoder, *parts):
    """States of the training messages and of further texts, scaled alike, float64."""
    rows = []
    for texts in (train.texts, *parts):
        with torch.no_grad():
            batches = [encoder(encode(texts[i:i + 250]))
                       for i in range(0, len(texts), 250)]
        rows.append(torch.cat(batches).double())  # (texts, 128)
    return [(x - rows[0].mean(0)) / (rows[0].std(0) + 1e-6) for x in rows]

def draw_of(seed, n):
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    return order[:n]

def readout(inputs, rows, parts):
    """Logistic regression on these training rows: its accuracy on each (x, labels)."""
    model = fit_linear(inputs[rows], train.labels[rows], decay=5e-4)
    return [((model(x)[:, 0] > 0) == y.bool()).double().mean().item() for x, y in parts]

new, sizes = tests["new sentences"], (32, 128, 512)
readers = {"fresh, mean": fresh, "pretrained, mean": mini,
           "pretrained, [CLS]": text_encoder("mini", pooling="cls").eval()}
frozen = {}  # reader → (sizes, draws, 3)
for name, encoder in readers.items():
    inputs, on_known, on_new = standardised(encoder, known.texts, new.texts)
    runs = []
    for n in sizes:
        for seed in range(5):
            own = torch.arange(400 * seed, 400 * (seed + 1))
            kinds = own[~is_twin[own]], own[is_twin[own]]
            parts = [(on_known[rows], known.labels[rows]) for rows in kinds]
            own = torch.arange(200 * seed, 200 * (seed + 1))
            parts.append((on_new[own], new.labels[own]))
            runs.append(readout(inputs, draw_of(seed, n), parts))
    frozen[name] = torch.tensor(runs).view(len(sizes), 5, 3)
for place, kind in enumerate(KINDS[:2]):  # both from the known sentences
    print(f"{kind:18s} 32 labels 128 labels 512 labels")
    for name, runs in frozen.items():
        print(f"{name:18}", *(f"{mean:10.3f}" for mean in runs[..., place].mean(1)))
coin, order, cls = frozen.values()
claims = {
    "plain, 512 labels: fresh ahead of the pretrained mean, in the mean":
        coin[2, :, 0].mean() > order[2, :, 0].mean(),
    "twins, 512 labels: fresh below 0.68, in the mean": coin[2, :, 1].mean() < 0.68,
    "  the pretrained mean above 0.75": order[2, :, 1].mean() > 0.75,
    "  and ahead of [CLS]": order[2, :, 1].mean() > cls[2, :, 1].mean(),
    "plain, 32 and 128 labels: the two means less than 0.05 apart":
        (coin - order)[:2, :, 0].mean(1).abs().max() < 0.05,
    "new sentences: every mean of every reader below 0.62":
        max(runs[..., 2].mean(1).max() for runs in frozen.values()) < 0.62,
}
for claim, holds in claims.items():
    print(f"{claim}: {bool(holds)}")
assert all(claims.values())

# %% [markdown]
# Read it line by line.
# - *Plain sentences:* they can be read as a bag, and pretraining buys nothing there: with few labels the two means are level, with 512 the *fresh* states are ahead. A likely reason: random vectors keep every word apart, while pretraining has moved *small* to *big* and *cracked* to *whole*.
# - *Twins:* the fresh encoder stays near a coin, at every number of labels here. The pretrained states carry the order of the words without ever having been asked for it.
# - *[CLS]* is behind the mean, but for the twins with 32 labels, where all are near a coin. Masked words were asked of every token, and nothing was ever asked of [CLS]; that was to be the job of next-sentence prediction. Fine-tuning may fill it, so which one to read is something to measure, not to believe.
# - *New sentences:* nobody. Having read these very sentences, without a verdict, does not help: the readout has to learn verdicts, and it learned those of some twenty sentences.
#
# **Now take heads out.** In the map of section 6, *fine* listened to *not* in head 3. Cut each head of the first layer in turn (nobody hears its 32 columns any more), and compare with the whole encoder on the *same* draws of 512 labels, twenty of them: differences, pair by pair.
#
# **Predict before you run.** What does it cost on twins to cut head 3? And the other three, the controls?

# %%
def without(head):
    """The pretrained encoder with one head of its first layer cut: 0, 1, 2 or 3."""
    encoder = text_encoder("mini").eval()
    output = encoder.model.encoder.layer[0].attention.output.dense
    nn.init.zeros_(output.weight[:, 32 * head:32 * (head + 1)])
    return encoder

on_twenty = {}  # None or a head → accuracy on twins (20,)
for cut in tqdm((None, 0, 1, 2, 3), desc="encoders"):
    encoder = mini if cut is None else without(cut)
    inputs, of_twins = standardised(encoder, on_twins.texts)
    on_twenty[cut] = torch.tensor([
        readout(inputs, draw_of(seed, 512), [(of_twins, on_twins.labels)])[0]
        for seed in range(20)])
print(f"whole encoder on twins: {on_twenty[None].mean():.3f}")
lost = {cut: on_twenty[None] - on_twenty[cut] for cut in range(4)}  # paired
for cut, each in lost.items():
    often = "in at least 15 of 20 draws" if (each > 0).sum() >= 15 else ""
    print(f"without head {cut + 1}: {-each.mean():+.3f}   worse {often or 'in fewer'}")
assert lost[2].mean() > 0.03 and (lost[2] > 0).sum() >= 15
apart = (min(lost[0].mean(), lost[2].mean()) > max(lost[1].mean(), lost[3].mean()))
print("heads 1 and 3 each cost more than heads 2 and 4:", bool(apart))
assert apart and max(lost[1].mean(), lost[3].mean()) < 0.03
print("without head 3 it is still above 0.75:", bool(on_twenty[2].mean() > 0.75))

# %% [markdown]
# Head 3 *is* worth something, and the map gave the right hint. It also misled, in two ways. Without the head most twins are still read: other heads and the second layer carry the order as well. And head 1, which looks two words back and to which no story pointed, costs something too, while head 4, whose map is the sharpest of all, costs nothing. (All twenty draws come from the same 1,500 messages. On four other desks, which we tried outside this lesson, the same two heads cost more than the other two each time; how far head 1 stays behind head 3 changed from desk to desk.)
# **An attention map shows where a vector comes from, not what the answer depends on.** To know that, take the part out and measure, beside parts of which you expect nothing, on the same draws.
#
# Now let *everything* move, end to end, on 128 labelled messages: 8 epochs in mini-batches of 16, the same rows for all. The LSTM of section 4 is there for comparison. (Eight epochs are few: this measures how fast order is found, not whether it ever is.)
#
# **Predict before you run.** Order the three on twins.

# %%
builders = {"LSTM": (lambda: text_encoder("lstm", hidden_size=48), 1e-2),
            "BERT fresh": (lambda: text_encoder("mini", pretrained=False), 1e-3),
            "BERT pretrained": (lambda: text_encoder("mini"), 1e-3)}

tuned = {name: [] for name in builders}  # reader → (seeds, 3)
for seed in tqdm(range(5), desc="seeds"):
    for name, (build, rate) in builders.items():
        tuned[name].append(trained(build, rate, train[draw_of(seed, 128)], seed,
                                   epochs=8, batch_size=16))
tuned = {name: torch.tensor(runs) for name, runs in tuned.items()}
for name, runs in tuned.items():
    print(f"{name:16} plain sentences {runs[:, 0].mean():.3f}")
lstm, fresh_bert, pretrained = (runs[:, 1] for runs in tuned.values())  # on twins, (5,)
reads = bool(min(lstm.min(), pretrained.min()) > 0.6)
guesses = bool((fresh_bert - 0.5).abs().max() < 0.05)
ahead = tuned["BERT pretrained"] - tuned["BERT fresh"]  # (seeds, 3)
better = bool((ahead[:, 1] > 0).all() and ahead[:, 0].mean() > 0)
print("twins, in every seed: LSTM and pretrained BERT above 0.6:", reads)
print("  fresh BERT within 0.05 of a coin:", guesses)
print("pretrained beats fresh, on twins in every seed, on plain sentences in the mean:",
      better)
unread = bool(max(runs[:, 2].mean() for runs in tuned.values()) < 0.62)
print("new sentences, in the mean: all three below 0.62:", unread)
assert unread and reads and guesses and better
assert pretrained.mean() - fresh_bert.mean() > 0.15

fig, ax = plots.figure(width=7.4, height=3.6)
colors = plots.IMAGE, plots.GREY, plots.TEXT
for place, (name, color) in enumerate(zip(tuned, colors)):
    looks = ({"s": 40, "facecolors": "none", "edgecolors": color, "linewidths": 1.5},
             {"s": 40, "color": color}, {"s": 35, "marker": "x", "color": color})
    for kind, (shift, look) in enumerate(zip((-0.15, 0, 0.15), looks)):
        ax.scatter([place + shift] * 5, tuned[name][:, kind], **look,
                   label=KINDS[kind] if name == "BERT fresh" else None)
ax.axhline(0.5, color="black", lw=0.8, ls="--")
ax.text(-0.47, 0.51, "chance", fontsize=8)
ax.set(title="128 labels, 5 seeds", xticks=range(3), xticklabels=list(tuned),
       xlim=(-0.5, 2.5), ylim=(0.25, 1.03), ylabel="accuracy")
fig.legend(ncols=3, loc="outside lower center")
plots.show(fig, "Accuracy of three readers from 128 labels: on twins every seed of "
                "pretrained BERT lies above every seed of fresh BERT, which is a coin "
                "there; on plain sentences it is ahead too; on new sentences all three "
                "scatter round a coin or below.")

# %% [markdown]
# - The **LSTM** has order built in and finds it from 128 labels.
# - **Fresh BERT** has not: that place 4 comes after place 3 is something its position embeddings must learn, and these few steps teach it nothing of the kind.
# - **Pretrained BERT** is the same network after the same steps, and it reads twins about as well as the LSTM, or better: the order it learned from unlabelled text was there to be used. It also reads plain sentences sooner than the fresh one.
# - **New sentences:** none of them. Verdicts on two dozen sentences do not teach what a sentence means.
#
# So this is what pretraining bought here: not the verdict, and not understanding, but above all the *order of words*, which verdicts presuppose, and a faster start. What buys the rest is language: more kinds of sentences with labels, or an encoder that has read far more than one desk.
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
# **Predict before you run.** Which of the two first numbers below is zero?
#
# BERT learns a vector per place. The first Transformer computed them, and the idea lives on in today's models (as "rotary" positions): place $t$ gets, for each of several frequencies $\omega$, the pair $(\cos\omega t, \sin\omega t)$, a clock hand; side by side, $P_t = (\cos\omega_1t, \sin\omega_1t, \cos\omega_2t, \dots)$, shape (d,). Why clocks? Because "two words back" is then *one matrix*, the same at
# every place: below, a single matrix is fitted to carry all $P_t$ to $P_{t-2}$, and queries made with it look where they should.

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

frequencies = torch.tensor([1.0, 0.3, 0.1], dtype=torch.float64)
places = torch.arange(40, dtype=torch.float64)
angles = places[:, None] * frequencies
P = torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(1)     # (40, 6)
M = torch.linalg.lstsq(P[2:], P[:-2]).solution                       # (6, 6)
error = (P[2:] @ M - P[:-2]).abs().max()
print("one matrix takes every place two back, to 1e-9:", bool(error < 1e-9))
looks = (P[2:] @ M @ P.T).argmax(dim=1) - places[2:].long()          # (38,)
print("distance of the largest score q·k, at every place:", sorted(set(looks.tolist())))
assert error < 1e-9 and set(looks.tolist()) == {-2}

# %% [exercise] 04.5
# **On paper first.** (a) Derive the matrix $M$ with $P_tM = P_{t-s}$ for *every* $t$ from the addition theorems; it must not contain $t$. (b) Show that the score $P_i M P_j^\top$ is largest at $j = i - s$. (c) Why can no head look "two words back" without positions?
#
# **Then write it down.** Your function receives `frequencies`, float64 `(n,)`, in radians per step, and the integer `steps` $s \ge 0$; it returns $M$, float64 `(2n, 2n)`, for row vectors $P_t$ on its left. No fitting: the entries are sines and cosines. (Two frequencies may be equal; then a fit has no unique answer.)

# %% [stub]
def look_back(frequencies, steps):
    """M with P[t] @ M = P[t - steps], P[t] = (cos w1 t, sin w1 t, cos w2 t, ...).

    frequencies : float64 (n,)   steps : int   returns : float64 (2 n, 2 n)
    """
    raise NotImplementedError

# %% [solution]
def look_back(frequencies, steps):
    blocks = []
    for angle in frequencies * steps:
        c, s = angle.cos(), angle.sin()
        blocks.append(torch.stack([torch.stack([c, -s]), torch.stack([s, c])]))
    return torch.block_diag(*blocks)

# %% [hints]
# One frequency first: a hand at angle $\omega t$, to be turned back by a fixed angle. Two entries go in, two come out.
# ---
# $\cos(\omega t - \omega s) = \cos\omega t\cos\omega s + \sin\omega t\sin\omega s$, and likewise for the sine. Row vectors: column 1 of the 2 × 2 block holds what makes the new cosine. Several frequencies: blocks on the diagonal.
# ---
# ```python
# blocks = []
# for angle in frequencies * steps:
#     c, s = angle.cos(), angle.sin()
#     blocks.append(____)          # (2, 2): first column → new cosine, second → new sine
# # torch.block_diag puts them on the diagonal
# ```

# %% [answer]
# (a) For one frequency, $\cos\omega(t-s) = \cos\omega t\,\cos\omega s + \sin\omega t\,\sin\omega s$ and $\sin\omega(t-s) = \sin\omega t\,\cos\omega s - \cos\omega t\,\sin\omega s$. As a row vector times a matrix: $(\cos\omega t, \sin\omega t)\begin{pmatrix}\cos\omega s & -\sin\omega s\\ \sin\omega s & \cos\omega s\end{pmatrix}$. Only $s$ stands in the matrix. Several frequencies do not mix, so their blocks stand on the diagonal.
#
# (b) $P_iMP_j^\top = P_{i-s}P_j^\top = \sum_\omega \cos\omega(i - s - j)$. Every term is at most 1, and all are 1 at $j = i - s$. (With one frequency also one full turn further; several frequencies whose turns do not coincide leave one maximum.) A head whose $W_Q^\top W_K$ is a multiple of $M$ on the position part therefore looks $s$ back from every place.
#
# (c) Without positions queries and keys depend on the words alone. Exchange two equal words at different distances: nothing changes in the scores, so the distance cannot be in them.

# %% [markdown]
# ## 11. What you have now
#
# You can now
# - name the sentences that no bag of words can tell apart, and compute what they cost in expectation: half their share;
# - write attention with mask and heads, and trust it, since PyTorch's own gives the same values and gradients;
# - open a BERT checkpoint, name its sixteen tensors per layer and run it by hand;
# - say what pretraining on unlabelled text bought at the refund desk, and what it did not, with the spread over seeds;
# - test a story told by an attention map: take the head out and measure, paired, beside controls;
# - say which of your test sentences somebody has trained on.
#
# `cmlib.report()` shows all lessons, with your points, on one page.
#
# In [lesson 05](05_seeing.ipynb) pictures get the same treatment; in [lesson 06](06_concatenation.ipynb) the two meet.

# %% [quiz]
# ? A colleague replaces the linear layer on a bag of words by an MLP with ten million weights. What happens to the accuracy on twins?
# - It rises a little: the MLP can learn that *not* turns an adjective over. :: On messages with different bags it can, Theorem 2 is about linear models only. Twins have the same bag: the MLP receives the same input twice.
# - It falls, since so many weights overfit. :: It cannot fall either: one output, two labels, one match per pair.
# + On a pair of twins it is exactly one half, on a random sample of twins it scatters round one half. :: Theorem 1 holds for every function of the bag, whatever its size; which twin of a pair comes up more often is luck.
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
# | held-out template | a sentence pattern that no training message has |
# | residual | the input of a part of the network is added to its output |
# | position embedding | a learned vector per place, without which attention reads a bag |
# | masked language model | trained to name hidden words from the words around them; needs text, no labels |
#
# **References**
#
# - Z. Harris, *Distributional Structure*, Word 10, 1954: language "is not merely a bag of words", an early use of the phrase, and the idea that meaning shows in neighbours.
# - S. Hochreiter, J. Schmidhuber, *Long Short-Term Memory*, Neural Computation 9, 1997: the cell with gates that keeps a memory over many steps.
# - A. Vaswani et al., *Attention Is All You Need*, NeurIPS 2017: equation 1 is exercise 04.2, section 3.2.2 is exercise 04.3.
# - T. Mikolov et al., *Efficient Estimation of Word Representations in Vector Space*, arXiv:1301.3781, 2013: word2vec.
# - A. Radford et al., *Improving Language Understanding by Generative Pre-Training*, 2018: GPT.
# - Y. Liu et al., *RoBERTa*, arXiv:1907.11692, 2019: BERT without next-sentence prediction, and with more text.
# - S. Jain, B. C. Wallace, *Attention is not Explanation*, NAACL 2019: attention weights that can be changed without changing the answer (section 8).
# - J. Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding*, NAACL 2019: the encoder of exercise 04.4 and masked language modelling (section 3.1).
# - D. Hendrycks, K. Gimpel, *Gaussian Error Linear Units*, arXiv:1606.08415, 2016: GELU and its tanh approximation.
# - J. L. Ba, J. R. Kiros, G. Hinton, *Layer Normalization*, arXiv:1607.06450, 2016: the normalisation inside every layer.

# %% [progress]
