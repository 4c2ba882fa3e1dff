# %% [markdown]
# # 03 Two kinds of input
#
# **The one thing to take away:** a model knows only what its input step lets through. Cutting, padding, scaling, changing and splitting
# raise no error when they destroy what the label depends on, or when they smuggle the answer in; so each of them needs its own test.
#
# You will be able to
# - say where a vocabulary of pieces comes from, cut a word with it by hand, and say what a word that is not in it becomes;
# - pad a batch so that a message gets the same answer in any company, and prove it;
# - choose pixel statistics that fit the weights, and name what per-image normalisation throws away;
# - tell an augmentation that keeps the label from one that makes the label false;
# - split rows so that the test score means something, and keep pictures and words from being swapped.
#
# **Before this:** [lesson 01](01_losses.ipynb) (the logistic loss, Adam). Nothing about BERT or ResNet: what happens after the input step is the
# subject of lessons 04 and 05.
#
# **Time:** about 100 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import random
import re
import textwrap
import torch
from collections import Counter
from itertools import pairwise
from torch import nn
from torch.nn.functional import (
    avg_pool2d, binary_cross_entropy_with_logits, cross_entropy
)
from tqdm.auto import tqdm
from cmlib import plots
from cmlib.data import Batch, ImageBatch, collate, pad
from cmlib.worlds import Chest, RefundDesk
cfg = cmlib.setup("03")

# %% [markdown]
# ## 1. One message, three answers
#
# Here is a message classifier as many are written: every token gets a vector, the vectors are averaged, a linear layer turns
# the average into a logit for *refund*. It learns from parcels that are still sealed, where only the message tells. Messages differ in
# length, so a batch is filled up with `[PAD]` to its longest row. Look for the mistake; nothing will raise.
#
# **Predict before you run.** The trained model reads *"it is not broken , it is fine ."* three times: alone, then beside a message of 40 tokens,
# then beside one of 128. The messages are separate rows; none of them mentions the others. How do the three probabilities differ?

# %%
from cmlib.datasets import fetch
from transformers import BertTokenizer

# the vocabulary of bert-base-uncased, checked by its SHA-256
tokenizer = BertTokenizer(str(fetch("bert-vocab")))
desk = RefundDesk(probabilities=(0, 0, 1, 0))  # situation T: only the message tells
train = desk.sample(1024)
# five trainings, each with test messages of its own
tests = [desk.sample(512, split="test", start=512 * seed) for seed in range(5)]
train_ids, *test_ids = (tokenizer(list(rows.texts))["input_ids"]
                        for rows in (train, *tests))

def train_scorer(mean, seed, epochs=6):
    """A trained function: id lists, padded as one batch → logits (batch,).

    mean(states, mask) → (batch, hidden)
    """
    torch.manual_seed(seed)
    embedding, head = nn.Embedding(len(tokenizer), 16), nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*embedding.parameters(), *head.parameters()], lr=0.02)

    def score(rows):
        batch = pad(rows)
        return head(mean(embedding(batch.input_ids), batch.attention_mask))[:, 0]

    for _ in range(epochs):
        for rows in torch.randperm(len(train_ids)).split(64):
            logits = score([train_ids[i] for i in rows])
            truth = train.labels[rows].float()
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(logits, truth).backward()
            optimizer.step()
    return torch.no_grad()(score)

# %%
plain = [train_scorer(lambda states, mask: states.mean(1), seed) for seed in range(5)]
lengths = 1, 20, 40, 60, 80, 100, 128  # of the neighbours
company = [torch.randint(1000, 20000, (n,)).tolist() for n in lengths]

def refund_in_company(score, text):
    """P(refund) of one message in batches with each of the neighbours, (7,)."""
    ids = tokenizer(text)["input_ids"]
    return torch.stack([score([ids, neighbour])[0].sigmoid() for neighbour in company])

def test_logits(score, rows):
    """Logits (2, 512) of the test messages, alone and all beside 128 tokens."""
    alone = torch.cat([score([row]) for row in rows])
    return torch.stack([alone, score([*rows, company[-1]])[:-1]])

messages = ("it is in two pieces .", "it is not broken , it is fine .",
            "everything arrived in one piece .")
answers = [refund_in_company(plain[0], text) for text in messages]
for text, p in zip(messages, answers):
    print(f"{text:35} alone {p[0]:.3f}   beside 40 tokens {p[2]:.3f}   "
          f"beside 128 tokens {p[-1]:.3f}")
refunded = torch.stack([test_logits(*pair) for pair in zip(plain, test_ids)]) > 0
flipped = (refunded[:, 0] != refunded[:, 1]).double().mean(1)            # (5,)
print("share of 512 test messages whose decision changes with the company, in five "
      f"trainings: {flipped.min():.2f} to {flipped.max():.2f}")
assert flipped.min() > 0.03 and flipped.max() > 0.2

fig, ax = plots.figure(width=7, height=3)
colors, above = (plots.TEXT, plots.GREY, plots.BOTH), (0.06, 0.05, -0.09)
for text, p, color, up in zip(messages, answers, colors, above):
    ax.plot(lengths, p, "o-", ms=4, color=color)
    ax.text(62, p[3] + up, text, color=color, fontsize=8)
ax.axhline(0.5, color=plots.GREY, lw=1, ls=":")
ax.set(title="The answer depends on the neighbour",
       xlabel="tokens in the longest other message of the batch",
       ylabel="P(refund)", ylim=(0, 1), xlim=(0, 130))
plots.show(fig, "P(refund) of three messages against the length of the longest other "
                "message: from 1.00, 0.63 and 0.09 alone they drift together, to 0.55, "
                "0.46 and 0.41 beside 128 tokens.")

# %% [markdown]
# The mean was taken over all positions, padding included. So the company decides how strongly a message is diluted with the vector of
# `[PAD]`, and between a tenth and a half of the decisions, from training to training, hang on who else happened to be in the batch. You mend it in section 3.
#
# It is one of a family. Each step between the ticket and the model can go wrong in silence:
#
# | step | what goes wrong | the test that finds it |
# |---|---|---|
# | cut words into pieces (§2) | a word becomes `[UNK]` | compare with the tokenizer the weights were trained with |
# | pad (§3) | padding changes the result | add padding: nothing may change |
# | scale pixels (§5) | a feature is divided away | two inputs with different labels must stay different |
# | augment (§6) | the label becomes false | look at the pair after the change |
# | split (§7) | copies of the test rows are in training | no group on both sides |
# | call (§9) | image and text change places | give them different types |

# %% [markdown]
# ## 2. Words become numbers
#
# A neural network multiplies numbers, so a message has to become a list of integers, each the row of an embedding table. Two simple
# ways fail. One row per *word* needs an endless table, and *unboxable* is still missing. One row per *letter* makes long lists whose items mean nothing.
# **WordPiece** (the tokenizer of BERT) lies between: a fixed vocabulary of whole words and of pieces, and a rule.
#
# **Where the vocabulary comes from.** From counting. Begin with single letters. Again and again take the pair of neighbouring pieces that occurs most often in a large text, and make it a new piece, until the table has the size that you want. That is *byte-pair encoding* (Sennrich et al. 2016; GPT's tokenizers). WordPiece takes the pair that raises the likelihood of the text most, usually written as
# $\text{count}(ab)\,/\,(\text{count}(a)\,\text{count}(b))$: how much more often the two meet than chance would have it. Nobody consults a dictionary: pieces are statistics of the text, and a text about refunds makes *ordered* one piece while *unboxed* is still six. The cell below makes sixty merges from two thousand tickets.

# %%
def merged(pieces, pair):
    """A word's pieces with every occurrence of the pair as one."""
    out = []
    for piece in pieces:
        if out and (out[-1], piece) == pair:
            out[-1] = out[-1] + piece
        else:
            out.append(piece)
    return out

def learn_merges(counts, steps):
    """Byte-pair encoding. counts : {word: how often} → the pairs, in the order made."""
    words, made = {word: list(word) for word in counts}, []
    for _ in range(steps):
        pairs = Counter()
        for word, pieces in words.items():
            for pair in pairwise(pieces):
                pairs[pair] += counts[word]
        made.append(max(pairs, key=lambda pair: (pairs[pair], pair)))
        words = {word: merged(pieces, made[-1]) for word, pieces in words.items()}
    return made

spoken = Counter(" ".join(RefundDesk().sample(2000).texts).split())
merges = learn_merges({w: n for w, n in spoken.items() if w.isalpha()}, steps=60)
print("first merges:", "  ".join("".join(pair) for pair in merges[:12]))
print("last merges: ", "  ".join("".join(pair) for pair in merges[-12:]))
for word in ("ordered", "broken", "unboxed"):
    pieces = list(word)
    for pair in merges:
        pieces = merged(pieces, pair)
    print(f"{word:9} → {' '.join(pieces)}")

# %% [markdown]
# **Using it.** WordPiece cuts new text with three steps:
#
# **Step 1.** Lower the case, drop accents, cut at spaces, and make each punctuation mark a word of its own.
#
# **Step 2.** Cut each word from left to right. At position $s$ take the *longest* piece that is in the vocabulary $V$,
#
# $$e^\star=\max\{\,e>s:\ \text{mark}(s)+\text{word}[s{:}e]\in V\,\},\qquad \text{mark}(s)=\begin{cases}\text{""}&s=0\\ \text{"\#\#"}&s>0,\end{cases}$$
#
# and go on at $s=e^\star$. The mark `##` says "this continues a word": `able` and `##able` are two rows of the table.
#
# **Step 3.** If no piece fits somewhere, the *whole* word becomes `[UNK]`. The rule is greedy: it never goes back to try a shorter piece.
#
# With $V$ = {un, unb, ##break, ##able, toy, ##s}, by hand:
#
# | word | taken | result |
# |---|---|---|
# | toys | toy, then s → `##s` | `toy ##s` |
# | unable | un, then able → `##able` | `un ##able` |
# | unbreakable | **unb** (longer than un), then `##reakable`, …, `##r`: none fits | `[UNK]` |
#
# The last row is the price of greed: `un ##break ##able` would have been possible.

# %% [exercise] 03.1
# Write `wordpiece(word, vocab)`.
#
# - `word`: a string of lower-case letters without spaces; `vocab`: a set of strings, continuing pieces written with `##`.
# - Return the list of pieces, or `["[UNK]"]` when the greedy rule gets stuck.

# %% [stub]
def wordpiece(word, vocab):
    """Greedy longest match first. word : str; vocab : set of str → list of str."""
    raise NotImplementedError

# %% [solution]
def wordpiece(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        end = len(word)
        while end > start and ("##" if start else "") + word[start:end] not in vocab:
            end -= 1
        if end == start:
            return ["[UNK]"]
        pieces.append(("##" if start else "") + word[start:end])
        start = end
    return pieces

# %% [hints]
# Keep a position `start`. Two loops: the outer one runs until `start` reaches the end of the word, the inner one shortens a candidate from the right until it is found.
# ---
# At `start` the candidates are `word[start:end]` for `end` = len(word), len(word) − 1, …, start + 1, each with `##` in front exactly when `start > 0`. The first one in `vocab` is taken. If there is none, the whole word is lost, whatever was found before.
# ---
# ```python
# pieces, start = [], 0
# while start < len(word):
#     mark = "##" if start else ""
#     fits = ____                      # the ends of all pieces from start that are in vocab
#     # none: the whole word is lost; otherwise take the largest, and go on from there
# return pieces
# ```

# %% [markdown]
# Does the rule say everything? Here the course's version meets the trusted implementation, with the 30,522 real entries that BERT was trained
# with: every word of two thousand tickets, and some words that no customer has written yet. (Delete the first line to run your own.)

# %%
from cmlib.check.lesson03 import wordpiece

vocab = tokenizer.get_vocab()  # {piece: id}
words = {word for text in RefundDesk().sample(2000).texts for word in text.split()}
words |= {"unboxable", "kittenish", "scratchproof", "snowplough", "misdelivered",
          "toybox", "refundable", "☃"}
different = [word for word in sorted(words)
             if wordpiece(word, vocab) != tokenizer.tokenize(word)]
print(f"{len(vocab)} entries; {len(words)} words compared, "
      f"{len(different)} cut differently")
for word in ("broken", "duckling", "unboxable", "snowplough", "☃"):
    print(f"{word:12} → {' '.join(wordpiece(word, vocab))}")
assert not different
ids = tokenizer("My duckling arrived broken.")["input_ids"]
print(ids, "=", *tokenizer.convert_ids_to_tokens(ids))
chinese = tokenizer.tokenize("这只玩具鸭到货时已经裂开了，请给我退款")
lost = chinese.count("[UNK]")
print(f"a Chinese complaint: {lost} of {len(chinese)} tokens are [UNK]")
assert lost > len(chinese) / 2

# %% [markdown]
# Three things to notice. The pieces are statistics, not grammar: of *snowplough* the second half is cut again, into `##pl ##ough`, though *plough* is a word. A character that
# the vocabulary has never seen takes its whole word with it: for the model the snowman does not exist. And most of a complaint in another language has gone before any model reads it, as in one published program that feeds Chinese to English BERT: the tokenizer belongs to the language.
#
# The tokenizer then adds `[CLS]` in front and `[SEP]` behind, and replaces each piece by its row number. Those numbers fit **one** set of
# weights. Another vocabulary gives other rows for the same word, and nothing raises; it is the swap of two dictionaries. So a tokenizer and
# its encoder always travel together: in `cmlib` it is `encoder.tokenizer`.
#
# ## 3. Padding, and the mask that undoes it
#
# Messages of lengths $n_1,\dots,n_B$ become one tensor by filling up with the id of `[PAD]` to $T=\max_b n_b$.
#
# | symbol | meaning | shape |
# |---|---|---|
# | `input_ids` | ids, `pad_id` behind the end | int64 $(B, T)$ |
# | `attention_mask` $m$ | 1 on a token, 0 on padding | int64 $(B, T)$ |
# | `states` $h$ | one vector per position, from any encoder | $(B, T, H)$ |
#
# The mask has to come from the *lengths*. Reading it off the ids (`ids != pad_id`) works until a model uses one id both for padding and for a real
# token, as GPT-2 users do when they pad with the end-of-text token.
#
# The mean that ignores padding:
#
# $$\bar h_b=\frac{\sum_t m_{bt}\,h_{bt}}{\max(1,\ \sum_t m_{bt})}\qquad(B,H).$$
#
# The $\max$ defines the one case left open: a row without any token has mean 0 instead of 0/0 = NaN, which would spread through the gradients to every weight.
#
# In numbers, $H=1$: $h=(2, 4, 9)$ with $m=(1,1,0)$. Plain mean: $15/3=5$. Padding zeroed but still counted: $6/3=2$. Masked: $6/2=3$.

# %% tags=["hide-input"]
from cmlib.course.schematic import Schematic

rows = [tokenizer(text)["input_ids"]
        for text in ("My duckling arrived broken.", "Fine.")]
longest = max(map(len, rows))
words, shades, mask = [], [], []
for row in rows:
    padded = row + [0] * (longest - len(row))
    pieces = tokenizer.convert_ids_to_tokens(padded)
    words.append([f"{piece}\n{number}" for piece, number in zip(pieces, padded)])
    shades.append([plots.TEXT] * len(row) + [None] * (longest - len(row)))
    mask.append([1] * len(row) + [0] * (longest - len(row)))
sketch = Schematic(7.4, 1.9)
sketch.text("two messages: pieces, and their ids below", (2.4, 1.65))
sketch.text("attention mask", (6.3, 1.65))
ids = sketch.grid((2.4, 0.85), shades, cell=0.58, words=words, fontsize=6.5)
seen = sketch.grid((6.3, 0.85), shades, cell=0.25, words=mask)
sketch.arrow(ids, seen)
sketch.text("from the lengths, 8 and 4, by which the mean is divided", (5.6, 0.12),
            fontsize=8)
sketch.show("Two messages as one tensor of 2 by 8: eight pieces with their ids, then "
            "four pieces and four times [PAD] with id 0; beside it the mask, 1 on the "
            "pieces and 0 on the padding.")

# %% [exercise] 03.2
# Write `pad_with_mask(token_ids, pad_id)`.
#
# - `token_ids`: a list of lists of int, of different lengths; a row may be empty, and a row may contain `pad_id` as a real token.
# - Return two tensors, `(input_ids, attention_mask)`, both int64 of shape (batch, longest row); padding goes behind the tokens.

# %% [stub]
def pad_with_mask(token_ids, pad_id):
    """Lists of int → (input_ids, attention_mask), both int64 (batch, tokens)."""
    raise NotImplementedError

# %% [solution]
def pad_with_mask(token_ids, pad_id):
    longest = max(len(row) for row in token_ids)
    input_ids = torch.full((len(token_ids), longest), pad_id)
    attention_mask = torch.zeros_like(input_ids)
    for i, row in enumerate(token_ids):
        input_ids[i, :len(row)] = torch.tensor(row, dtype=torch.int64)
        attention_mask[i, :len(row)] = 1
    return input_ids, attention_mask

# %% [hints]
# Make two tensors of the final size first, one full of padding and one full of zeros, then write each row into its place.
# ---
# With $T$ = the longest row: `input_ids` starts as (batch, T) filled with `pad_id`, `attention_mask` as zeros of the same shape and dtype. Row $b$ fills its first $n_b$ columns.
# ---
# ```python
# longest = max(len(row) for row in token_ids)
# input_ids = torch.full((len(token_ids), longest), pad_id)
# attention_mask = torch.zeros_like(input_ids)
# for i, row in enumerate(token_ids):
#     n = len(row)
#     ____                             # two assignments, to the first n columns of row i
# return input_ids, attention_mask
# ```

# %% [exercise] 03.3
# Write `masked_mean(states, attention_mask)`.
#
# - `states`: float (batch, tokens, hidden); `attention_mask`: int64 (batch, tokens), 1 on tokens.
# - Return float (batch, hidden). A row of padding alone has mean 0. Gradients must flow to `states`; the check compares them too.

# %% [stub]
def masked_mean(states, attention_mask):
    """(batch, tokens, hidden), mask int64 (batch, tokens) → (batch, hidden)."""
    raise NotImplementedError

# %% [solution]
def masked_mean(states, attention_mask):
    weight = attention_mask.unsqueeze(-1).to(states.dtype)     # (batch, tokens, 1)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)

# %% [hints]
# Multiply by the mask, sum over the tokens, divide by how many tokens each row really has.
# ---
# The mask is (batch, tokens) and the states are (batch, tokens, hidden): give the mask a last dimension of size 1, so that it broadcasts over hidden. The count per row is then (batch, 1) and divides (batch, hidden).
# ---
# ```python
# weight = attention_mask.unsqueeze(-1).to(states.dtype)      # (batch, tokens, 1)
# count = ____                                                # (batch, 1), never 0
# # the weighted sum over the tokens, divided by count
# ```

# %% [markdown]
# We go on with `cmlib.data.pad` (the same two tensors, as a `TextBatch`) and the course's masked mean. Now train the scorer of section 1 again, with
# this one line changed, and put it through the same test. **Predict**: how far may the answers differ between the companies?

# %%
from cmlib.check.lesson03 import masked_mean

masked = [train_scorer(masked_mean, seed) for seed in range(5)]
for text in messages:
    p = refund_in_company(masked[0], text)
    print(f"{text:35} alone {p[0]:.3f}   beside 128 tokens {p[-1]:.3f}")
    assert torch.allclose(p, p[:1].expand_as(p), atol=1e-5)
logits = torch.stack([test_logits(*pair) for pair in zip(masked, test_ids)])
change = (logits[:, 0] - logits[:, 1]).abs().max()
print(f"largest change of a logit is below 0.0001: {bool(change < 1e-4)}")
labels = torch.stack([rows.labels for rows in tests])[:, None]      # (5, 1, 512)
right = {"plain mean": refunded == labels, "masked mean": (logits > 0) == labels}
right = {name: each.double().mean(2) for name, each in right.items()}
for name, each in right.items():
    print(f"{name:12} test accuracy, mean of five: alone {each[:, 0].mean():.3f}   "
          f"beside 128 tokens {each[:, 1].mean():.3f}")
gain = (right["masked mean"] - right["plain mean"])[:, 0]           # alone, (5,)
print(f"masked minus plain, each message alone: {gain.mean():+.3f} ± "
      f"{gain.std() / 5**0.5:.3f} (± its standard error)")
assert change < 1e-4 and gain.mean() > 0

# %% [markdown]
# Same data, same number of weights, one division. The masked scorer also reads a little better when every message stands alone, for the plain one was trained on diluted averages. But that is not the point: an average still cannot tell "not broken, fine" from "not
# fine, broken" (lesson 04). The masked one is the same reader on every day. The test "add padding, nothing may change" belongs to every model that takes
# a batch: lesson 04 puts attention through it.
#
# ## 4. Collate: pad only as far as you must
#
# Padding is correct now, but not free: every padded position is computed and thrown away, and attention costs $T^2$ per message. Three policies:
#
# 1. *fixed*: every batch is padded to 128 tokens, as tutorials do;
# 2. *dynamic*: each batch is padded to its own longest row;
# 3. *bucketed*: rows of similar length share a batch, and each batch is padded dynamically.
#
# **Predict before you run.** The tickets have 6 to 35 tokens, 17 on average. What share of all positions is padding under each policy?

# %%
tickets = RefundDesk().sample(2048)
ids = tokenizer(list(tickets.texts))["input_ids"]
lengths = torch.tensor([len(row) for row in ids])

def padding_share(batches, tokens=None):
    """Share of positions that hold padding, for batches of row numbers.

    tokens : what each batch is padded to; by default its own longest row
    """
    positions = sum(len(rows) * (tokens or int(lengths[rows].max()))
                    for rows in batches)
    return 1 - float(lengths.sum()) / positions

torch.manual_seed(cfg.seed)
shuffled = torch.randperm(2048).split(64)
bucketed = lengths.argsort(stable=True).split(64)
share = {"fixed": padding_share(shuffled, 128), "dynamic": padding_share(shuffled),
         "bucketed": padding_share(bucketed)}
print(f"lengths {int(lengths.min())} to {int(lengths.max())}, "
      f"mean {lengths.double().mean():.2f} tokens")
for name, value in share.items():
    print(f"{name:9} {value:.3f} of the positions are padding")
assert share["bucketed"] < 0.1 < share["dynamic"] < share["fixed"]

fig, axes = plots.figure(1, 2, width=7, height=3, sharex=True, sharey=True)
for ax, (name, batches) in zip(axes, (("dynamic", shuffled), ("bucketed", bucketed))):
    rows = lengths[batches[len(batches) // 2]]
    ax.barh(range(64), int(rows.max()), 1.0, color="#D0D0D0")
    ax.barh(range(64), rows, 1.0, color=plots.TEXT)
    ax.set(title=f"{name}: {share[name]:.0%} padding", xlabel="position",
           ylim=(63.5, -0.5))
    ax.grid(False)
axes[0].set(ylabel="message in the batch")
axes[0].text(1, 32, "tokens", color="white", fontsize=9, va="center")
axes[0].text(30.5, 61, "padding", color="black", fontsize=9, ha="right")
plots.show(fig, "The masks of one shuffled and one bucketed batch of 64 messages: 45 % "
                "of all positions are padding when shuffled, 3 % when bucketed.")

# %% [markdown]
# Bucketing has a price: batches stop being random draws (short complaints meet short complaints), so gradients are more alike within a batch
# and the order of training follows length. The usual compromise shuffles all rows, cuts them into pools of, say, 50 batches, sorts inside
# each pool, and shuffles the batches. `cmlib.data.collate` pads dynamically and leaves the order to you.
#
# ## 5. Pixels become numbers that fit the weights
#
# A photo is uint8, $x\in\{0,\dots,255\}^{3\times H\times W}$; $x_c$, of shape $(H,W)$, is one of its three channels. Two ways to normalise look alike on paper:
#
# $$\text{fixed: } \hat x_c=\frac{x_c/255-\mu_c}{\sigma_c}\qquad\qquad \text{per image: } \hat x_c=\frac{x_c-\operatorname{mean}(x_c)}{\operatorname{std}(x_c)}.$$
#
# In the first, $\mu$ and $\sigma$ (one number per channel $c$) are constants of the *weights*: the statistics of the pictures they were trained on,
# for ImageNet $\mu=(.485,.456,.406)$, $\sigma=(.229,.224,.225)$. In the second they are computed from the picture itself.
# One published program in the set this course examines does that, with a single mean and std for all three channels, as if it were good practice.
#
# Take the same photo under a weaker lamp, $x'=g\,x$ with $0<g<1$. Then $\operatorname{mean}(x')=g\operatorname{mean}(x)$ and
# $\operatorname{std}(x')=g\operatorname{std}(x)$, so $g$ cancels: **$\hat x'=\hat x$ for every $g$.** In numbers: the row $(100, 200)$ has mean 150 and standard deviation 70.7 (`torch.std` divides by $n-1$), and becomes $(-0.71, 0.71)$; under half
# the light, $(50, 100)$ becomes $(-0.71, 0.71)$ as well. Brightness has not become harder to see. It is gone. And a photo without contrast is divided by 0.
#
# Before any of this, the axes. A camera's file is $(H, W, 3)$, a network wants $(3, H, W)$. `permute` moves axes; `reshape` only reads the same numbers in rows of another length, so that a red picture becomes three grey stripes. It has the right shape, and nothing raises.

# %%
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]

def per_image(x):
    return (x - x.mean((-2, -1), keepdim=True)) / x.std((-2, -1), keepdim=True)

def one_mean(x):
    """Per image as well, with one mean and std for all channels."""
    dims = (-3, -2, -1)
    return (x - x.mean(dims, keepdim=True)) / x.std(dims, keepdim=True)

normalise = {
    "fixed": lambda x: (x / 255 - MEAN) / STD,
    "only ÷ 255": lambda x: x / 255,
    "per image": per_image,
    "one mean": one_mean,
}
red = torch.zeros(64, 64, 3)
red[..., 0] = 1                                          # (height, width, channel)
for how, x in (("permute", red.permute(2, 0, 1)), ("reshape", red.reshape(3, 64, 64))):
    means = ", ".join(f"{mean:.2f}" for mean in x.mean((1, 2)).tolist())
    print(f"pure red by {how}: mean of the channels {means}")
for light in (1.0, 0.5):
    row = light * torch.tensor([100.0, 200.0])
    scaled = ", ".join(f"{v:.2f}" for v in ((row - row.mean()) / row.std()).tolist())
    print(f"{row.tolist()}: mean {row.mean():.0f}, std {row.std():.1f} → ({scaled})")
flat = per_image(torch.full((3, 8, 8), 90.0))
print("a photo without contrast, per image: all nan:", bool(flat.isnan().all()))
photos = RefundDesk(probabilities=(0, 1, 0, 0)).sample(12).images
photo = photos[3].double()                               # (3, 64, 64)
for name in ("fixed", "per image", "one mean"):
    difference = (normalise[name](photo) - normalise[name](0.5 * photo)).abs().max()
    print(f"{name:10} largest difference between the photo and its half-lit twin: "
          f"{difference:.3f}")

def lamps(brightness):
    fig, axes = plots.figure(2, 3, width=5.4, height=3.6)
    for top, row, gain in ((True, axes[0], 1.0), (False, axes[1], brightness)):
        for ax, name in zip(row, ("only ÷ 255", "fixed", "per image")):
            x = normalise[name](gain * photo)
            seen = x if name == "only ÷ 255" else (x + 2.5) / 5
            ax.imshow(seen.clamp(0, 1).permute(1, 2, 0), interpolation="nearest")
            title = name if top else ""
            ax.set_title(title, fontsize=9, fontweight="normal", loc="center")
            ax.axis("off")
        row[0].text(-5, 32, f"lamp {gain:.0%}", rotation=90, ha="right", va="center",
                    fontsize=9)
    return fig

alt = ("One photo under a full and a weaker lamp: different when only divided by 255 "
       "and with fixed statistics, the same when each is normalised by its own.")
plots.show(lamps(0.4), alt)
plots.explore(lamps, alt, brightness=(0.2, 1.0, 0.05, 0.4))

# %% [markdown]
# Move the slider: the lower photo changes, its fixed normalisation changes with it, and the lower right picture stands still, as that of *one mean* would. (Normalised values lie on both sides of 0; to be seen they are shown as $(\hat x + 2.5)/5$.)
#
# Does it matter? Where the label depends on brightness (an opacity in a lung, a lamp that is on, a print that is too pale), it decides everything.
# The test: each photo gets a strong or a weak lamp, the label is *which*, and a linear classifier looks at 8 × 8 averaged pixels. You train with one
# normalisation and test with another, because that is the second mistake: weights trained with one set of statistics, used with another.
#
# **Predict before you run.** Sixteen accuracies, chance is 0.5. Fill in the diagonal first.

# %%
def train_linear(x, y, steps=120):
    """A linear classifier trained on x (rows, size), y (rows,)."""
    model = nn.Linear(x.shape[1], int(y.max()) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    return model

def lamp_accuracies(seed, n=400):
    """Accuracy (4, 4): trained with the row's normalisation, tested the column's."""
    torch.manual_seed(seed)
    photos = RefundDesk(probabilities=(0, 1, 0, 0), seed=seed).sample(n).images
    y = torch.randint(2, (n,))
    gain = torch.where(y == 1, 0.9, 0.55) + 0.1 * torch.rand(n)
    lit = (photos * gain[:, None, None, None]).round()   # whole numbers, as a camera's
    x = {name: avg_pool2d(f(lit), 8).flatten(1)          # (n, 192)
         for name, f in normalise.items()}
    known, new = slice(0, n // 2), slice(n // 2, n)
    models = {name: train_linear(x[name][known], y[known]) for name in x}
    right = [[models[a](x[b][new]).argmax(1) == y[new] for b in x] for a in x]
    return torch.tensor([[each.double().mean() for each in row] for row in right])

runs = torch.stack([lamp_accuracies(seed) for seed in tqdm(range(5), desc="seeds")])
print("trained with ↓  tested with →  " + "".join(f"{name:>12}" for name in normalise))
for name, row in zip(normalise, runs.mean(0)):
    print(f"{name:31}" + "".join(f"{mean:12.3f}" for mean in row))
itself = bool(runs[:, 0, 0].min() > 0.85 and runs[:, 1, 1].min() > 0.85)
mistaken = bool(runs[:, 0, 1].max() < 0.6)
print("in every seed, fixed and only ÷ 255 get more than .85 with themselves:", itself)
print("in every seed, fixed gets less than 0.6 where only ÷ 255 was done:", mistaken)
assert itself and mistaken and (runs[:, :, 2:].mean(0) - 0.5).abs().max() < 0.12

# %% [markdown]
# Read it by column. *Per image* and *one mean*: near chance, whatever the training. *Fixed* against *only ÷ 255*: each does well with itself, and the weights trained
# with the fixed statistics fall to chance when they are fed pixels that were only divided by 255 (the other way round, part of the skill survives). No error, no warning: the shapes agree.
#
# Two rules follow. **Normalisation belongs to the weights**, not to the data loader: in `cmlib` an `ImageBatch` carries raw pixels 0…255, and each image encoder
# normalises them with the statistics of its own weights. And **divide away only what cannot matter**: per-image normalisation is a sound choice exactly when you know that
# lamps differ and that brightness says nothing about the label.
#
# ## 6. Augmentation: change the input, keep the label
#
# More rows than you have: change a training row so that a person would still give it the same label. Each augmentation is thus a *claim about the
# label*. For a cracked toy a mirror image is fine, and so are a small shift and another lamp. Written out:

# %%
def flip(image):
    """(…, H, W) → the mirror image."""
    return image.flip(-1)

def shift(image, by, edge=6):
    """Repeat the border, then crop: a "random crop" when by is random."""
    x, y = (edge + step for step in by)
    wide = nn.functional.pad(image[None].float(), (edge,) * 4, mode="replicate")[0]
    return wide[:, y:y + image.shape[1], x:x + image.shape[2]].to(image.dtype)

def relight(image, gain):
    return (image * gain).round().clamp(0, 255).to(image.dtype)

films = Chest().sample(1500)
films = films[films.extras["count"] == 1]  # drawn films with one finding; not patients
toy, film = photo.to(torch.uint8), films.images[1]
named = re.search(r"(left|right) \w+ zone", films.texts[1])[1]
sheet = torch.stack([toy, flip(toy), shift(toy, (5, -4)), relight(toy, 0.7),
                     film, flip(film)])
titles = ["cracked", "flip: cracked", "shift: cracked", "relight: cracked",
          f"says {named}", f"flip: {named}?"]
alt = ("A cracked toy, mirrored, shifted and dimmed: still cracked. A drawn chest film "
       "and its mirror image, in which the finding lies on the other side.")
plots.show(plots.pictures(sheet, titles, columns=3, size=1.6), alt)
print(textwrap.fill(films.texts[1], 99))

# %% [markdown]
# The toy keeps its label four times. The chest drawing does not. Its report names a side, and the side is the patient's (the patient's right is on
# the left of the film, where the marker **R** stands). After a flip the report is false, and a model that is trained on such pairs is taught to doubt
# its eyes.
#
# **Predict before you run.** A linear classifier learns the side that the report names from the film. Training rows: (a) the films as they are, (b) each
# film *and* its mirror image, both with the old report, (c) each film and its mirror image, with left and right exchanged in the mirrored report.

# %%
sides = [re.search(r"(left|right) \w+ zone", text)[1] for text in films.texts]
side = torch.tensor([word == "left" for word in sides]).long()
boxes = films.extras["boxes"][:, 0].double()     # x0, y0, x1, y1 of the finding, pixels
centre = (boxes[:, 0] + boxes[:, 2]) / 2
agree = ((centre > 32).long() == side).double().mean()
mirrored = ((64 - centre > 32).long() == side).double().mean()
print(f"report and picture agree: {agree:.2f}; after a flip: {mirrored:.2f}")

def small(images):
    """(n, 3, 64, 64) → (n, 256)."""
    return avg_pool2d(images[:, :1] / 255 - 0.5, 4).flatten(1)

def side_accuracies(seed, n=200):
    order = torch.randperm(len(films), generator=torch.Generator().manual_seed(seed))
    known, new = order[:n], order[n:]
    films_in, y = films.images[known], side[known]
    both = torch.cat([films_in, flip(films_in)])
    choices = [(films_in, y), (both, y.repeat(2)), (both, torch.cat([y, 1 - y]))]
    torch.manual_seed(seed)
    models = [train_linear(small(images), labels) for images, labels in choices]
    right = [model(small(films.images[new])).argmax(1) == side[new] for model in models]
    return torch.stack(right).double().mean(1)

flips = torch.stack([side_accuracies(seed) for seed in range(5)])
names = "(a) no flip", "(b) flip, report kept", "(c) flip, report turned as well"
for name, column in zip(names, flips.T):
    print(f"{name:32} accuracy on unchanged films "
          f"{column.mean():.3f} ± {column.std():.3f}")
assert flips[:, [0, 2]].min() > 0.95 and flips[:, 1].mean() < 0.65

# %% [markdown]
# One line of standard augmentation takes the task from solved to chance. Turning the words with the picture, (c), repairs the *label*; on a real film
# even that would be a lie, for the mirror image shows a heart on the right and a marker in mirror writing. In cross-modal data **an
# augmentation acts on the pair**.
#
# Words can be augmented as well: replace some by synonyms. The claim is again that the label stays. In situation S the colour that was ordered decides, *"i ordered the crimson boat"*,
# so here is a table that keeps the label, red → crimson or scarlet, and one that looks as innocent: each colour replaced by another colour. Colour words stand in the same sentences, so word
# embeddings that are learned from sentences put them close together, and a tool that replaces a word by its neighbour may do just this.
#
# The task: which colour was ordered? The training messages say only *red* and *blue*; the test messages also *crimson, scarlet, azure, navy*.

# %%
from cmlib.worlds.words import SYNONYMS

orders = RefundDesk(probabilities=(0, 0, 0, 1)).sample(3300)  # 1800, and 5 × 300 new
color = orders.extras["ordered_color"]                          # 0 red, 1 blue
rare = {word for name in ("red", "blue") for word in SYNONYMS[name]} - {"red", "blue"}
plain_rows = [i for i in range(1800) if not rare & set(orders.texts[i].split())]
tables = {
    "none": {},
    "synonyms": {name: SYNONYMS[name] for name in ("red", "blue")},
    "neighbours": {"red": ["blue"], "blue": ["red"]},
}

def replace(text, table):
    """Each word that stands in the table is replaced with probability one half."""
    return " ".join(random.choice(table[w]) if w in table and random.random() < 0.5
                    else w for w in text.split())

def grams(text):
    """Words, pairs and triples: a linear classifier sees order within three words."""
    w = text.split()
    return {" ".join(w[i:i + k]) for k in (1, 2, 3) for i in range(len(w) - k + 1)}

def count_grams(texts, columns):
    """float (rows, columns): 1 where a row contains a gram."""
    x = torch.zeros(len(texts), len(columns))
    for row, text in zip(x, texts):
        row[[columns[g] for g in grams(text) if g in columns]] = 1
    return x

def order_accuracy(seed, table):
    torch.manual_seed(seed)
    random.seed(seed)
    rows = random.sample(plain_rows, 300)
    # two variants of each, label kept
    texts = [replace(orders.texts[i], table) for i in rows for _ in range(2)]
    known = sorted(set().union(*map(grams, texts)))
    columns = {gram: i for i, gram in enumerate(known)}
    labels = color[rows].repeat_interleave(2)
    model = train_linear(count_grams(texts, columns), labels, steps=60)
    new = slice(1800 + 300 * seed, 2100 + 300 * seed)    # this seed's own test rows
    guesses = model(count_grams(orders.texts[new], columns)).argmax(1)
    return (guesses == color[new]).double().mean()

synonyms = {name: torch.tensor([order_accuracy(seed, table) for seed in range(5)])
            for name, table in tables.items()}
for name, values in synonyms.items():
    print(f"{name:11} accuracy {values.mean():.2f}")
up, down = (bool((sign * (synonyms[name] - synonyms["none"]) > 0.05).all())
            for sign, name in ((1, "synonyms"), (-1, "neighbours")))
print("in every seed, on its own test rows: synonyms gain more than five points:", up)
print("in every seed, neighbours lose more than five:", down)
gains = [(synonyms[name] - synonyms["none"]).mean()
         for name in ("synonyms", "neighbours")]
print(f"on average: synonyms {gains[0]:+.2f}, neighbours {gains[1]:+.2f}")
assert up and down

# %% [markdown]
# Synonyms that keep the label gain some thirteen points, since many test messages name the colour by a word that the training rows never contained; neighbours that change it cost
# even more, down to chance, because half of the colours in the training text no longer agree with their labels. The code is the same: one table is true, the other is not. The same holds for *delete a random word*
# when the word is *not*.
#
# ## 7. Split first, and by group
#
# A test score estimates what happens on rows that the model has never met. It does so only if the test rows have *not* been met, and near-copies count as met:
# two photos of one toy, two films of one patient, one product in two reviews, a picture and its augmented twin. What belongs together is called a **group**.
#
# Here 150 toys come back, and each is photographed four times: a step aside, another lamp, some grain. The question is *cracked or not*. The
# model is the simplest there is, the nearest neighbour in pixels: it answers with the label of the most similar training photo.
#
# **Predict before you run.** The 600 photos are shuffled, a quarter becomes the test part. What accuracy does the nearest neighbour get? And then on 150 toys from next week?

# %%
returns = RefundDesk(probabilities=(0, 1, 0, 0))

def photograph_again(photos, times, generator):
    """Each photo ``times`` times: shifted by up to 2 pixels, relit by up to 10 %, with
    grain. Returns float (times × n, 3, 64, 64).
    """
    def once(photo):
        by = torch.randint(-2, 3, (2,), generator=generator).tolist()
        gain = 0.9 + 0.2 * torch.rand((), generator=generator)
        grain = torch.randn(photo.shape, generator=generator)
        return shift(photo, by).float() * gain + 8 * grain

    return torch.stack([once(photo) for _ in range(times) for photo in photos])

def week(seed, toys=150):
    """Four photos of each toy, and one, taken the same way, of each of next week's.

    Returns photos (600, 12288), labels and groups (600,); next week's photos, labels.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = returns.sample(2 * toys, start=2 * toys * seed)
    now, later = rows[:toys], rows[toys:]
    photos = photograph_again(now.images, 4, generator).flatten(1)
    return (photos, now.labels.repeat(4), torch.arange(toys).repeat(4),
            photograph_again(later.images, 1, generator).flatten(1), later.labels)

def share_kept(x, y, x_new, y_new):
    """Share of the new rows whose y equals that of the most similar known row."""
    return (y[torch.cdist(x_new, x).argmin(1)] == y_new).double().mean().item()

weeks = [week(seed) for seed in tqdm(range(5), desc="weeks")]
reported, truth, sisters = [], [], []
for seed, (x, y, group, x_later, y_later) in enumerate(weeks):
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    held, known = order[:150], order[150:]
    # with y the labels the share is the accuracy
    reported.append(share_kept(x[known], y[known], x[held], y[held]))
    truth.append(share_kept(x[known], y[known], x_later, y_later))
    sisters.append(share_kept(x[known], group[known], x[held], group[held]))
reported, truth, sisters = map(torch.tensor, (reported, truth, sisters))
print(f"random split, test part   {reported.mean():.3f} ± {reported.std():.3f}")
print(f"the same model next week  {truth.mean():.3f} ± {truth.std():.3f}")
print("test photos whose most similar training photo shows the same toy: "
      f"{sisters.mean():.3f} of all")
assert reported.min() > 0.85 and truth.mean() < 0.62

# %% [markdown]
# The report says nearly perfect; next week says chance. The model has learned nothing about cracks: for most test photos it found another photo of the same toy (last line) and repeated its label; where it did not, it guessed, and $.919 + .081/2 \approx .96$. There is no bug in
# the model or the metric; the split is the bug. The mend: draw *groups*, not rows. Let $G$ be the number of groups and $r$ the test share. Shuffle the groups, take the first
# $\max(1, \operatorname{round}(rG))$ for the test part, and let every row follow its group.
#
# Tiny example: groups (7, 7, 9, 4, 9, 9), $r=1/3$, so $G=3$ and one group is drawn. If it is 9, the test rows are 2, 4, 5 and the training rows 0, 1, 3: half of the rows, since groups differ in size.

# %% [exercise] 03.4
# Write `split_by_group(groups, test_share, seed)`.
#
# - `groups`: int64 (rows,), the group of each row, any numbers in any order; `test_share`: between 0 and 1; `seed`: int.
# - Return `(train_rows, test_rows)`: two int64 tensors of row numbers that together hold every row once, with no group in both.
# - The test part has `max(1, round(test_share × number of groups))` groups, drawn at random: the same seed gives the same split, another seed another.

# %% [stub]
def split_by_group(groups, test_share, seed):
    """groups int64 (rows,) → (train_rows, test_rows), int64; no group on both sides."""
    raise NotImplementedError

# %% [solution]
def split_by_group(groups, test_share, seed):
    names = groups.unique()
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    test_names = names[order[:max(1, round(test_share * len(names)))]]
    in_test = torch.isin(groups, test_names)
    return torch.where(~in_test)[0], torch.where(in_test)[0]

# %% [hints]
# Forget the rows at first. Make the list of different groups, shuffle *that*, and choose; only then ask for each row whether its group was chosen.
# ---
# `groups.unique()` gives the $G$ names; `torch.randperm(G, generator=torch.Generator().manual_seed(seed))` an order of positions $0…G-1$, with which you index the names; `torch.isin(groups, chosen)` a bool (rows,); `torch.where(mask)[0]` row numbers.
# ---
# ```python
# names = groups.unique()
# order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
# test_names = ____                        # as many of the shuffled names as the test part has
# # for each row, whether its group was drawn; then the numbers of both kinds of row
# ```

# %% [markdown]
# We go on with `cmlib.datasets.grouped_split`, which does the same inside each class, so that classes keep their proportions too.

# %%
from cmlib.datasets import grouped_split

honest = []
for seed, (x, y, group, x_later, y_later) in enumerate(weeks):
    known, held = grouped_split(y, group, fractions=(0.75, 0.25), seed=seed)
    assert not set(group[known].tolist()) & set(group[held].tolist())
    honest.append(share_kept(x[known], y[known], x[held], y[held]))
honest = torch.tensor(honest)
print(f"grouped split, test part  {honest.mean():.3f}")
print(f"random − grouped          {(reported - honest).mean():.3f}")
larger = bool((reported > honest + 0.2).all())
nearer = bool(((honest - truth).abs() < reported - honest).all())
print("in every one of five seeds, random is larger by more than 0.2:", larger)
print("in every one, grouped is nearer to next week than to random:", nearer)
assert larger and nearer and (honest.mean() - truth.mean()).abs() < 0.1

fig, ax = plots.figure(width=6.5, height=2.6)
names = "random split", "grouped split", "next week"
colors = plots.TEXT, plots.BOTH, plots.GREY
for row, (values, color) in enumerate(zip((reported, honest, truth), colors)):
    ax.plot(values, [-row] * 5, "o", ms=6, color=color, alpha=0.7)
    ax.plot([values.mean()] * 2, [-row - 0.25, -row + 0.25], color=color)
ax.axvline(0.5, color=plots.GREY, lw=1, ls=":")
ax.set(title="Only one split tells the truth", xlim=(0.3, 1.02), ylim=(-2.5, 0.5),
       xlabel="accuracy of the nearest neighbour, five seeds",
       yticks=[0, -1, -2], yticklabels=names)
plots.show(fig, "Five accuracies each: the random split reports 0.94 to 0.98; the "
                "grouped split and next week's toys both lie around one half.")

# %% [markdown]
# The order of work follows: **split by group first, augment afterwards, and only the training part.** Statistics that are estimated from data ($\mu$, $\sigma$, a vocabulary, a threshold) are fitted on the training part as well.
# In lesson 07 the groups are real: one emoji in all its skin tones.
#
# ## 8. Stretch: how leaky is a random split?
#
# The 600 photos leaked by bad luck, or had to? It can be computed before any model is trained.

# %% [exercise] 03.5
# $N$ rows fall into groups of sizes $s_1, s_2, \dots$, which add up to $N$. A random split draws $T$ of the rows for the test part, every choice of $T$ rows equally likely. A test row *leaks* if at least one other row of its group is in the training part.
#
# **On paper.** 1. A row of a group of size $s$ is in the test part. With which probability are all its $s-1$ mates there too? 2. What share of the test rows leaks, on average? 3. Which test share $T/N$ would make a random split of *pairs* ($s=2$) harmless? What follows for a nearest neighbour that knows nothing but its mates, on two equally frequent labels?
#
# **Checked.** Question 2 as a function of `sizes`, int64 `(groups,)`, and the int `test_rows` $=T\ge1$; return a float64 scalar tensor. A group may be larger than the test part.

# %% [stub]
def leak_share(sizes, test_rows):
    """Expected share of test rows with a mate of their group in the training part.

    sizes : int64 (groups,)   test_rows : int   returns : float64 scalar tensor
    """
    raise NotImplementedError

# %% [solution]
def leak_share(sizes, test_rows):
    total = int(sizes.sum())
    share = torch.zeros((), dtype=torch.float64)
    for size in sizes.tolist():
        all_in_test = 1.0
        for k in range(1, size):                  # the mates, one after the other
            all_in_test = all_in_test * (test_rows - k) / (total - k)
        share = share + size / total * (1 - all_in_test)
    return share

# %% [hints]
# Put the row itself into the test part. Then ask for its mates one after the other: of the places that are left, how many are test places?
# ---
# $q(s) = \prod_{k=1}^{s-1}\frac{T-k}{N-k}$, and 0 as soon as $T-k$ reaches 0. Every row is equally likely to be a test row, so a group counts with its share of the rows, $s/N$: $\sum_g \frac{s_g}{N}\,(1-q(s_g))$.
# ---
# ```python
# total = int(sizes.sum())
# for size in sizes.tolist():
#     all_in_test = ____               # a product over the size − 1 mates
#     # this group adds its share of the rows, times the chance that some mate is missing
# ```

# %% [answer]
# 1. The row takes one of the $T$ test places. The first mate is equally likely to have any of the $N-1$ other places, $T-1$ of which are in the test part; the next any of $N-2$, of which $T-2$; and so on: $q(s)=\prod_{k=1}^{s-1}\frac{T-k}{N-k}$ (equal to $\binom{N-s}{T-s}\big/\binom{N-1}{T-1}$).
# 2. By symmetry every row is a test row equally often, so on average the share is $\sum_g\frac{s_g}{N}(1-q(s_g))$. For the 150 toys above, $s=4$, $N=600$, $T=150$: $1-\frac{149\cdot148\cdot147}{599\cdot598\cdot597} = 0.985$. It had to leak.
# 3. For pairs $q=(T-1)/(N-1)$: the share that leaks is about *the training share*. Only a test part of everything would be clean. A neighbour that always finds a mate if there is one, and guesses otherwise, scores $L + (1-L)/2$ for a leak $L$: 0.99 for the toys, with no knowledge at all. (The measured one scores a little less, since it sometimes
#    takes another toy for the mate.)

# %% [markdown]
# ## 9. Break it: image and text change places
#
# In another of the published programs the caller passes `(image, text)` to a function that takes `(text, image)`. Python calls things by what
# they can do, so two tensors can pass for each other. Watch it happen, and then watch it refuse.

# %%
def duck_typed(text, image):
    """One number per modality, as a stand-in for two encoders: (batch, 2)."""
    means = [x.double().flatten(1).mean(1) for x in (text, image)]
    return torch.stack(means, dim=1)

batch = collate(tickets[:4], tokenizer)
right = duck_typed(batch.text.input_ids, batch.image.pixels)
wrong = duck_typed(batch.image.pixels, batch.text.input_ids)
print(f"shapes {tuple(right.shape)} and {tuple(wrong.shape)}; "
      f"equal: {torch.equal(right, wrong)}; errors raised: none")
three = collate(tickets[:3], tokenizer)
for attempt in (lambda: Batch(batch.text, batch.image, batch.labels),
                lambda: ImageBatch(batch.text.input_ids),
                lambda: Batch(batch.image, three.text, batch.labels)):
    try:
        attempt()
    except (TypeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}")
# %% [markdown]
# `ImageBatch` and `TextBatch` are two small dataclasses that look at the shape and type of what they hold, once per batch. Every encoder of this course takes one of them,
# and none takes the other. A type is the cheapest test there is: it is written once and runs at every call.
#
# ## 10. At full scale
#
# The vocabulary in this lesson is already BERT's own, and `collate` is the call that the GPU lessons use. What changes is the size of a picture, from 64 to 224 pixels, and with it the bytes of a batch, $(224/64)^2 = 12.25$ times as many.
# A real photo has any shape: a published program calls `Resize(224)` alone, which sets the *shorter* side and leaves shapes that do not stack into a batch; crop to a square as well. Pixels travel to the device as uint8, a quarter of the bytes of float32, and are normalised there by the encoder; `batch.to(device)` moves all four tensors as one. How much time that saves on a GPU has not been measured here.
#
# ## 11. Recap
#
# You can now
# - cut words as BERT does, and know what `[UNK]` hides;
# - pad, mask and average so that no row feels its neighbours;
# - normalise with the statistics of the weights, and say what per-image normalisation removes;
# - augment a *pair*, and test the claim that its label stays;
# - split by group before anything else, compute how leaky a random split is, and make swapped arguments impossible.
#
# `cmlib.report()` shows what you have done, over all lessons. Four questions; decide on an answer before you open one.

# %% [quiz]
# ? A word's first five letters are in the vocabulary, and so are its first three; only the three leave a rest that can be cut. What does WordPiece return?
# - The three letters and the rest :: That would need a look ahead. The rule takes the longest piece and never goes back.
# - The five letters and then [UNK] :: The pieces found before the dead end are thrown away as well.
# + [UNK] for the whole word :: Greedy takes the five, gets stuck, and gives up the whole word.
# ? You add 50 columns of padding to a batch and the logits, computed in float32, change in the third digit. What follows?
# - Nothing, this is rounding :: In float32 rounding shows in the sixth or seventh digit of a sum as short as this. (In bf16 the third digit would be rounding.)
# + Somewhere the mask is not applied :: Padding must change nothing beyond rounding; look for a mean, a softmax or a normalisation over all positions.
# - The model needs training with longer batches :: That may hide the dependence on the company; it does not remove it.
# ? The pretrained weights expect ImageNet statistics. Your photos are much darker than ImageNet. Which statistics do you use?
# + Those of ImageNet :: The weights were fitted to numbers made this way; a dark photo should arrive as a dark photo.
# - Those of your photos :: Then "dark" would arrive as "average", and every feature the weights know would mean something else. Fine-tuning can adapt to it; frozen weights cannot.
# - Those of each photo :: That would make all your photos equally bright and of equal contrast, and remove both as features.
# ? You want four augmented variants of each film; some patients have several films. In which order do you work?
# - Augment, shuffle, split :: This is the leak of section 7: variants of one film stand on both sides.
# - Augment, split by patient, train :: Nothing leaks, but the test part then holds augmented films, which is not what you will meet.
# + Split by patient, then augment the training part :: Two films of one patient are near-copies as well, and the test part stays as it will be met.

# %% [markdown]
# **Glossary**: *WordPiece*, a vocabulary of words and word pieces, applied greedily · *byte-pair encoding*, a vocabulary grown by joining the most frequent pair · *`[UNK]`*, the one token for everything the vocabulary cannot spell · *padding*, ids that fill a row up to the length of the batch ·
# *attention mask*, 1 on tokens and 0 on padding · *collate*, to make one batch of tensors from single rows · *normalisation statistics*, the mean and standard deviation that weights were trained with · *augmentation*, a change of the input that claims to keep the label ·
# *group*, rows that must stay on one side of a split · *leakage*, information about the test rows in the training rows.
#
# **References**
# - Y. Wu et al., *Google's neural machine translation system*, 2016, arXiv:1609.08144: section 4.1 describes the wordpiece model, after Schuster and Nakajima (2012).
# - R. Sennrich, B. Haddow, A. Birch, *Neural machine translation of rare words with subword units*, ACL 2016: byte-pair encoding for words, with a listing in Python.
# - J. Devlin et al., *BERT: pre-training of deep bidirectional transformers for language understanding*, NAACL 2019: the 30,000-entry vocabulary, `[CLS]` and `[SEP]`.
# - J. Wei and K. Zou, *EDA: easy data augmentation techniques for boosting performance on text classification tasks*, EMNLP 2019: synonym replacement, insertion, swap and deletion, with gains on small data sets.
# - S. Kapoor and A. Narayanan, *Leakage and the reproducibility crisis in machine-learning-based science*, Patterns 4 (2023): a taxonomy of leaks, and the many published results they touched.

# %% [progress]
