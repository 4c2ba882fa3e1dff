# %% [markdown]
# # 16 Captioning
#
# **The one thing to take away:** a captioner is a next-word classifier. It is trained after the words of the truth, and then has to go on after its own; and whether it goes on well, a score can tell you only as far as it counts what you mean.
#
# You will be able to
# - show that a captioner has never looked, before you believe its score;
# - train a causal decoder on the cells of a picture, and prove that it cannot see ahead;
# - write with the best word, with a beam, and by drawing, and say what each is for;
# - compute BLEU-4, read CIDEr-D and the F1 of toys, and say what each of them sees;
# - tell how much a model suffers from its own mistakes, and why exact match cannot show it;
# - say what a caption between a picture and a decision loses.
#
# **Before this:** [04](04_reading.ipynb) (attention), [05](05_seeing.ipynb) (the map of cells).
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import itertools
import json
import math
import tempfile
import textwrap
from collections import Counter
from pathlib import Path
import torch
from PIL import Image
from torch import nn
from cmlib import FusionModel, fit, image_encoder, plots, predict, text_encoder
from cmlib.course.schematic import Schematic
from cmlib.course.seed_log import seed_log
from cmlib.data import Pairs, States
from cmlib.data.vocabulary import END, LikeLengths, Vocabulary
from cmlib.datasets import folder
from cmlib.datasets.coco import coco_table
from cmlib.evaluation.generation import CiderD, bleu, phrase_f1
from cmlib.models.captioner import Captioner
from cmlib.models.cell_tags import CellTags
from cmlib.models.decoding import beam_search, draw_words
from cmlib.models.prefix_gpt2 import PrefixGPT2, small_gpt2, trained_gpt2
from cmlib.tasks import Tag
from cmlib.tasks.caption import Caption
from cmlib.training.predict import extract_states
from cmlib.worlds import COLORS, Toys
from cmlib.worlds.reading_order import quarter_captions
cfg = cmlib.setup("16", full="the frozen encoder under the decoders, and GPT-2's size")


claim = cfg.claim
# five seeds with rows of their own, measured by benchmarks/captioning.py
logged, over_seeds = seed_log("captioning")

def mean(values):
    return sum(values) / len(values)

# %% [markdown]
# ## 1. A perfect captioner
#
# A published program turns photos into captions like this: it gives BERT, as a *masked* language model, a vector of the photo and **the caption**, and wants the caption back. (It never ran: it dies at the first photo. The printed caption cannot be its output. But the idea is easily made to run, and then it looks perfect.)
#
# The next cell draws photos of toys with their captions and encodes the photos. `Captioner(causal=False)`, trained on `SamePlace`, is the published idea: every word sees the photo and all words, and the word to be given at a place is the one that stands there. Its score is the share of words that are right, on photos it has never seen.
#
# **Predict before you run:** how many words are right if the photos are exchanged, so that every caption comes with *another* photo? And if all photos are black?

# %%
ROWS, TEST, BATCH = 4000, 400, 64
train_pairs = Toys().sample(ROWS)
test_pairs = Toys().sample(TEST, split="test")
train_texts, test_texts = quarter_captions(train_pairs), quarter_captions(test_pairs)
torch.manual_seed(0)
encoders = FusionModel(image_encoder(cfg.image_encoder),
                       text_encoder(cfg.text_encoder), n_classes=2)

def cells_of(pairs):
    """The map of every photo, (photos, cells, size)."""
    return extract_states(encoders, Pairs(pairs.images, None)).states["image"]

learned, seen = cells_of(train_pairs), cells_of(test_pairs)
CELLS, SIZE = learned.shape[1:]
vocabulary = Vocabulary.of(train_texts)
train_words, test_words = (vocabulary.encode(t) for t in (train_texts, test_texts))
LONGEST = train_words.shape[1]

def teach(model, cells, words, epochs, task=Caption()):
    """Train a decoder to give each next word after the words of the truth."""
    fit(model, States({"image": cells}, targets={"words": words}), task=task,
        epochs=epochs, batch_size=BATCH, learning_rate=3e-3, progress=False,
        sampler=LikeLengths("words"))

class SamePlace(Caption):
    """The published idea: the word to be given is the one that is read there."""

    def objective(self, outputs, batch):
        read = batch.targets["words"][:, :outputs.shape[1]]
        return nn.functional.cross_entropy(outputs.flatten(0, 1), read.flatten(),
                                           ignore_index=0)

def said(model, cells, words):
    """The likeliest word at each place, (captions, places)."""
    return predict(model, States({"image": cells}, targets={"words": words})).argmax(2)

torch.manual_seed(0)
echo = Captioner(SIZE, CELLS, len(vocabulary), n_layers=1, causal=False)
teach(echo, learned[:1000], train_words[:1000], epochs=5, task=SamePlace())
print(textwrap.fill(f"a caption: {test_texts[0]}", 90))
print(f"words of the vocabulary: {len(vocabulary) - 3}, and three marks")
other = seen.roll(1, 0)                                  # each photo is the one before
for name, cells in {"their own photos": seen, "other photos": other,
                    "black photos": torch.zeros_like(seen)}.items():
    right = said(echo, cells, test_words) == test_words[:, :-1]
    claim(f"words right, {name}: 0.99 or more",
          right[test_words[:, :-1] > 0].double().mean() >= 0.99)

def written(model, cells, width=1):
    """Captions a model writes alone; width 1 takes the likeliest word each time."""
    texts = []
    for part in cells.split(100):
        ids, _ = beam_search(model.next_word, model.memory(part), LONGEST, width)
        texts += vocabulary.decode(ids)
    return texts

alone = written(echo, seen[:100])
f1 = mean(phrase_f1(alone, test_texts[:100]))
for photo in (0, 1):
    print(textwrap.fill(f"truth: {test_texts[photo]}", 90))
claim("alone, the echo gets no toy right", f1 == 0)
fig = plots.pictures(test_pairs.images[:5], columns=5, size=1.5)
plots.show(fig, "Five photos of one to three toys on a table. The first two have the "
                "captions printed above.")

# %% [markdown]
# Perfect; and perfect for any photo, and for none. The score is real, and it says nothing: **what is to be written was read.** One look is enough to find such a fault in somebody else's program, and you should give it that look before you read its table: *change the photo, keep everything else.* A captioner whose captions do not change has not looked.
#
# At the end of the cell it had to write alone: it got a photo and the mark where a caption starts, nothing more, and each word it had written was what it read next. It has learned to repeat, and alone there is nothing to repeat: no toy is right. This lesson builds what should have been built: a decoder that *cannot* see ahead (section 3), that writes alone (section 5), and scores that a model without eyes fails (sections 7 and 8).
#
# ## 2. An order that a reader can see
#
# First a question that no model answers for you: **which caption is the right one?** "A red car and a blue duck" and "a blue duck and a red car" say the same. Whoever wants to compare words must fix an order, and the order must be one that a reader of the photo can see.
#
# Our worlds have one: strictly from left to right. But toys stand in quarters of the table, each nudged by up to four pixels. Two toys of one column, one behind the other, have nearly the same $x$, and a nudge decides which is named first. `quarter_captions`, which you have used above, goes by quarter: the back of the table from left to right, then the front, as one reads a page.

# %%
facts = test_pairs.extras
there = torch.arange(4) < facts["count"][:, None]
right_half = facts["x"] > 32
column = torch.stack([((right_half == side) & there).sum(1) > 1
                      for side in (False, True)]).any(0)
print(f"of {TEST} scenes, two toys or more share a column: {int(column.sum())}")
both = [(place, bool(column[place])) for place in range(TEST)]
shown = [place for place, shared in both if shared][:1] + \
    [place for place, shared in both if not shared and facts["count"][place] == 2][:1]
plots.show(plots.pictures(test_pairs.images[shown], ["shared column", "not shared"],
                          columns=2, size=1.8),
           "Two photos. In the first, two toys or more stand one behind the other, "
           "with nearly the same x; in the second each toy has a column of its own.")
for name, some in (("toys in one column", "two in a column"),
                   ("none in one column", "all in columns of their own")):
    print(f"exact captions, {name}, log, five seeds:\n"
          f"  left to right {over_seeds(f'left to right, {some}: exact')}\n"
          f"  by quarter    {over_seeds(f'transformer, {some}: exact')}")
gain = logged("transformer, two in a column: exact") \
    - logged("left to right, two in a column: exact")
claim("where toys share a column, by quarter is better in every seed", gain.min() > 0)

# %% [markdown]
# The same photos, the same model, the same steps. Where toys share a column, one order is learned much better: the other hangs on a few pixels. **An order nobody could have guessed counts as a mistake of the model.** People who write captions for real photos agree on no fixed order, and COCO has five captions of a photo; section 7 has a score that does not look at the order.
#
# ## 3. One caption is many small questions
#
# **Step 1: the chain rule.** Let $c$ be the photo and $w_1 \dots w_T$ its caption, $w_T$ the mark of the end. Without any assumption
#
# $$p(w_1 \dots w_T \mid c) \;=\; \prod_{t=1}^{T} p(w_t \mid w_1 \dots w_{t-1}, c).$$
#
# Each factor is a question with $V$ answers, the words of the vocabulary: *what comes next?*
#
# **Step 2: the loss.** A decoder gives scores $z_t \in \mathbb{R}^V$ at each place. With $p = \mathrm{softmax}(z_t)$, the cost of a caption is what lesson 01 would charge for each question, added up:
#
# $$-\log p(w \mid c) \;=\; \sum_{t=1}^{T} \Bigl(\log\sum_{v} e^{z_{tv}} - z_{t w_t}\Bigr).$$
#
# **In small numbers.** If the truth's words get the probabilities .5, .8 and (the end) .9, the caption has $.5\cdot.8\cdot.9 = .36$ and costs $.69 + .22 + .11 = 1.02 = -\log .36$.
#
# **Step 3: teacher forcing.** In training $w_1 \dots w_{t-1}$ are *the truth's*. So all questions of a caption can be asked at once: words in, the same words shifted by one out, padding left out.
#
# **Step 4: the causal mask.** All at once means that word $t$ could look at word $t+1$, its own answer. So in the softmax of attention every later word gets the score $-\infty$, whose weight is $e^{-\infty} = 0$. (Padding needs no mask of its own here: it stands behind every word, and so it is never seen.)

# %% tags=["hide-input"]
sketch = Schematic(9.2, 3.5)
forced, free = ["<s>", "a", "red", "car"], ["a", "red", "car", "</s>"]
cells_box = sketch.grid((0.75, 2.45), [[plots.IMAGE] * 4] * 4, cell=0.2)
sketch.text("cells\n(B, h·w, C)", (0.75, 3.1), fontsize=8)
net = sketch.box("causal decoder", (3.2, 2.45), (3.0, 0.42), plots.BOTH)
sketch.arrow(cells_box, net)
for place, (before, after) in enumerate(zip(forced, free)):
    x = 2.05 + 0.77 * place
    low = sketch.box(before, (x, 1.65), (0.62, 0.3), plots.TEXT, fontsize=8)
    high = sketch.box(after, (x, 3.2), (0.62, 0.3), plots.GREY, fontsize=8)
    sketch.arrow(low, (x, 2.24))
    sketch.arrow((x, 2.66), high)
sketch.text("training: the truth's words go in, all at once", (3.2, 1.25), fontsize=8)
can_see = [[plots.TEXT if key <= query else None for key in range(4)]
           for query in range(4)]
sketch.grid((3.2, 0.62), can_see, cell=0.2)
sketch.text("row: who looks;\nfilled: may be seen", (4.6, 0.62), fontsize=8)
last = None
for place, (before, after) in enumerate(zip(forced, free)):
    x = 6.0 + 0.85 * place
    step = sketch.box("decoder", (x, 2.45), (0.74, 0.42), plots.BOTH, fontsize=8)
    low = sketch.box(before, (x, 1.65), (0.62, 0.3), plots.TEXT, fontsize=8)
    high = sketch.box(after, (x, 3.2), (0.62, 0.3), plots.GREY, fontsize=8)
    sketch.arrow(low, step)
    sketch.arrow(step, high)
    if last is not None:
        sketch.arrow(last, low, dashed=True, color=plots.TEXT)
    last = high
sketch.text("alone: beside the cells, what was written, word by word", (7.3, 1.25),
            fontsize=8)
sketch.show("Left, training: a start mark and the truth's words go into the causal "
            "decoder at once, beside the cells, and each gives the word that follows; "
            "a triangle of squares below shows that each word may see itself and the "
            "words before it. Right, alone: the decoder is asked once a word, and a "
            "dashed arrow leads from each word it wrote to the next question.")

# %% [markdown]
# **Why not a distance between words?** One of the articles behind this course compares the *numbers* of words, by their absolute or squared difference. Let the truth be word 100 in half of the cases and word 900 in the other half. The number with the least mean squared difference is 500: a third word, which stands between them in the list of words and nowhere else. Words have names, not sizes; ask for a probability of each.

# %% [exercise] 16.1
# Write attention that cannot see ahead. Your function receives `q`, `k`, float64 `(batch, tokens, d)`, and `v`, `(batch, tokens, size)`. Scores are $q\,k^\top/\sqrt d$, as in lesson 04; each word looks at itself and at the words before it. Return `(batch, tokens, size)`.

# %% [stub]
def causal_attention(q, k, v):
    """Each word's mean of the values up to its own.

    q, k : float64 (batch, tokens, d)   v : float64 (batch, tokens, size)
    returns : (batch, tokens, size)
    """
    raise NotImplementedError

# %% [solution]
def causal_attention(q, k, v):
    scores = q @ k.transpose(1, 2) / q.shape[2] ** 0.5       # (batch, query, key)
    earlier = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).tril()
    return scores.masked_fill(~earlier, -torch.inf).softmax(2) @ v

# %% [hints]
# Two lines of lesson 04's attention, and one line between them.
# ---
# A lower triangle of ones, with its diagonal, says which key (column) a query (row) may see. Scores outside it become $-\infty$ *before* the softmax.
# ---
# ```python
# scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])
# later = torch.ones(tokens, tokens, dtype=torch.bool).triu(____)
# weights = scores.masked_fill(later, -torch.inf).softmax(dim=2)
# return weights @ v
# ```

# %% [exercise] 16.2
# What does a caption cost? Your function receives `logits`, float64 `(batch, tokens − 1, vocabulary)`: at place $t$ the scores of what follows word $t$; and `words`, int64 `(batch, tokens)`: the mark of the start (1), the words, the mark of the end (2), then padding (0). Return $-\log p$ of each caption, `(batch,)`, the end included, padding not.

# %% [stub]
def caption_loss(logits, words):
    """−log p of each caption, after the truth's words.

    logits : float64 (batch, tokens − 1, vocabulary)   words : int64 (batch, tokens)
    returns : (batch,)
    """
    raise NotImplementedError

# %% [solution]
def caption_loss(logits, words):
    following = words[:, 1:]                                       # shifted by one
    costs = nn.functional.cross_entropy(logits.transpose(1, 2), following,
                                        reduction="none")          # (batch, places)
    return (costs * (following != 0)).sum(1)

# %% [hints]
# The scores at place $t$ belong to word $t+1$. Which slice of `words` are the answers?
# ---
# `logits.log_softmax(2).gather(2, answers[:, :, None])` picks the log-probability of each answer. Some places are padding and cost nothing.
# ---
# ```python
# answers = words[:, 1:]
# log_p = logits.log_softmax(2).gather(2, answers[:, :, None])[:, :, 0]
# there = ____                        # True where there is a word or the end
# return -(log_p * there).sum(1)
# ```

# %% [markdown]
# **Prove it, do not believe it.** Whether a decoder sees ahead can be tested without training it, in two lines: change a later word, and look whether anything before it changes. Do this to every decoder you are given. (With a mask that is off by one the loss falls beautifully.)

# %%
def leak(model, cells, words, place=4):
    """How much scores before ``place`` change when the words from there on do."""
    changed = words.clone()
    changed[:, place:] = vocabulary.number["duck"]
    both = [predict(model, States({"image": cells}, targets={"words": w}))
            for w in (words, changed)]
    return float((both[0][:, :place] - both[1][:, :place]).abs().max())

ids, guesses = torch.tensor([100.0, 900.0]), torch.arange(1000.0)
squared = ((guesses[:, None] - ids) ** 2).mean(1)
print(f"least squared difference of numbers of words: word {int(squared.argmin())}")
p = torch.tensor([0.5, 0.8, 0.9], dtype=torch.float64)
print(f"p(caption) = {p.prod():.2f}, cost {-p.log().sum():.2f} = "
      + " + ".join(f"{cost:.2f}" for cost in -p.log()))
long = (test_words > 0).sum(1) > 6
some, their_words = seen[long][:8], test_words[long][:8]
torch.manual_seed(0)
fresh = Captioner(SIZE, CELLS, len(vocabulary))
torch.manual_seed(0)
gpt2 = PrefixGPT2(SIZE, small_gpt2(len(vocabulary)))
claim("causal: no score before a changed word moves",
      leak(fresh, some, their_words) < 1e-4)
claim("GPT-2 with the cells as a prefix (section 11): none either",
      leak(gpt2, some, their_words) < 1e-4)
torch.manual_seed(0)
forgotten = Captioner(SIZE, CELLS, len(vocabulary), causal=False)
claim("the same decoder, its mask forgotten: scores before it move, by 0.01 or more",
      leak(forgotten, some, their_words) > 0.01)
print("trained without its mask, log, five seeds:")
for name in ("words after the truth's", "toy F1"):
    print(f"  {name:24s} {over_seeds(f'mask forgotten: {name}')}; "
          f"causal {over_seeds(f'transformer: {name}')}")

# %% [markdown]
# ## 4. Train it, and look where it looks
#
# `Captioner` is a transformer decoder; one layer does here. In it, a word looks at the words up to itself (16.1), then at the 16 cells of the photo, with its own query and the cells' keys: **cross-attention**. (The start mark also gets a linear map of all cells.) `Caption` is the loss of 16.2, and `fit` does the rest: words of the truth in, the same words shifted by one out.

# %%
torch.manual_seed(0)
captioner = Captioner(SIZE, CELLS, len(vocabulary), n_layers=1)
teach(captioner, learned, train_words, epochs=6)
greedy = written(captioner, seen)
toys_right = mean(phrase_f1(greedy, test_texts))
blind_f1 = mean(phrase_f1(written(captioner, other), test_texts))
claim("toys of its captions, F1: 0.6 or more", toys_right >= 0.6)
claim("shown other photos, less than 0.25", blind_f1 < 0.25)
print(f"log, more rows, five seeds: {over_seeds('transformer: toy F1')};\n"
      f"  shown other photos {over_seeds('transformer, another picture: toy F1')}")

# %% [markdown]
# The F1 of toys (section 7) compares sets: "a small red car" is right or wrong as a whole. Now ask the model to explain itself a little: **at which cells does it look when it says a word?** The cell below records what the last layer's cross-attention gets, and asks it again for its weights. Move the slider through a caption.

# %%
def looks(model, cells, words):
    """Weights of the last cross-attention, (batch, places, cells)."""
    attention, kept = model.layers[-1].multihead_attn, []
    hook = attention.register_forward_pre_hook(lambda module, given: kept.append(given))
    predict(model, States({"image": cells}, targets={"words": words}))
    hook.remove()
    with torch.no_grad():
        return attention(*kept[0])[1].cpu()

three = (facts["count"] == 3).nonzero()[:, 0]
good = [place for place in three.tolist() if greedy[place] == test_texts[place]]
photo = (good or three.tolist())[0]
own_words = vocabulary.encode([greedy[photo]])
weights = looks(captioner, seen[photo:photo + 1], own_words)[0]     # (places, cells)
side = round(CELLS**0.5)

def draw_look(ax, place):
    """What is looked at for the word that follows ``place``, over the photo."""
    picture = test_pairs.images[photo].permute(1, 2, 0).numpy()
    edge = picture.shape[0]
    grid = weights[place].reshape(side, side).numpy()
    ax.imshow(picture, extent=(0, edge, edge, 0))
    ax.imshow(grid, extent=(0, edge, edge, 0), cmap="Greys_r", alpha=0.6, vmin=0)
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.set_title(vocabulary.words[int(own_words[0, place + 1])], fontsize=9)

def one_word(place=0):
    fig, ax = plots.figure(width=2.6, height=2.8)
    draw_look(ax, int(place))
    return fig

plots.explore(one_word, "A photo under a grey grid: light where the model looks when "
                        "it says the word above.",
              place=(0, own_words.shape[1] - 2, 1, 3))

# %%
kinds_there = {row.split()[-1] for text in train_texts for row in text.split(" and ")}
words_shown = [place for place in range(own_words.shape[1] - 1)
               if vocabulary.words[int(own_words[0, place + 1])] in kinds_there]
fig, axes = plots.figure(1, len(words_shown), width=2.2 * len(words_shown), height=2.5,
                         squeeze=False)
for ax, place in zip(axes[0], words_shown):
    draw_look(ax, place)
plots.show(fig, "The same photo once for each kind of toy in its caption, under a grid "
                "that is light where the model looks as it says the kind.")
quarters = torch.arange(CELLS)
quarters = (quarters // side >= side / 2) * 2 + (quarters % side >= side / 2)
hits, tries = 0, 0
right = [place for place in range(TEST) if greedy[place] == test_texts[place]]
rows = torch.tensor(right[:100] or [0])
weights_of = looks(captioner, seen[rows], test_words[rows])
order = (facts["y"] > 32) * 2 + (facts["x"] > 32).long()
for row, look in zip(rows.tolist(), weights_of):
    stands = sorted(order[row, :facts["count"][row]].tolist())
    ends = [place for place in range(look.shape[0])
            if vocabulary.words[int(test_words[row, place + 1])] in kinds_there]
    for quarter, place in zip(stands, ends):
        share = [float(look[place, quarters == q].sum()) for q in range(4)]
        hits += share.index(max(share)) == quarter
        tries += 1
claim("saying a kind in an exact caption, it looks most at the quarter where the toy"
      "\n  stands, in more than two thirds of the cases (by chance: a quarter)",
      hits > tries * 2 / 3)

# %% [markdown]
# Nobody told the model where a toy stands. It learned to go through the quarters in the order of the captions.
#
# ## 5. The best word, the best caption
#
# A trained decoder is a tree of probabilities: at each branch $V$ words. Three ways to walk it:
#
# - **greedy**: take the likeliest word, each time;
# - **beam search**: keep the $k$ likeliest *beginnings*; make all of them one word longer in all ways; keep the $k$ likeliest of these. A caption that has ended keeps its place and its score;
# - **drawing**: take each word with its probability. A *temperature* $\tau$ divides the scores first: below 1 it makes the likely likelier.
#
# **Where greed loses, in small numbers.** The first word is $a$ with .6 or $b$ with .4. After $a$: $c$ .4, $d$ .3, $e$ .3. After $b$: $c$ .9, $d$ .1. Greedy takes $a$, then $c$: $.6\cdot.4 = .24$. The best caption is $b\,c$: $.4\cdot.9 = .36$. A beam of two finds it, for it kept $b$. There is no promise in this: a beam can lose the best caption at the first step, if $k$ others look better *until there*.

# %% [exercise] 16.3
# Write beam search where the next word depends only on the last one. Your function receives `first`, float64 `(words,)`: $\log p$ of the first word; `after`, float64 `(words, words)`: in row $a$, column $b$ $\log p(b \mid a)$; `end`, the number of the word that ends a caption; `width`; and `most`, how many words a caption may have, its end included. Go on for `most` words. A caption that has ended stays as it is and keeps its place in the beam. Return the best that is kept at last, ended or not: its words, int64 `(its length,)` with the end if it has one, and its log-probability, a scalar.

# %% [stub]
def beam(first, after, end, width, most):
    """The best caption that a beam finds, and its log-probability.

    first : float64 (words,)   after : float64 (words, words)
    returns : int64 (length,), float64 scalar
    """
    raise NotImplementedError

# %% [solution]
def beam(first, after, end, width, most):
    kept = [(0.0, [])]
    for _ in range(most):
        longer = []
        for total, words in kept:
            if words[-1:] == [end]:
                longer.append((total, words))
            else:
                log_p = after[words[-1]] if words else first
                longer += [(total + p, [*words, word])
                           for word, p in enumerate(log_p.tolist())]
        kept = sorted(longer, reverse=True)[:width]
    total, words = kept[0]
    return torch.tensor(words), torch.tensor(total, dtype=torch.float64)

# %% [hints]
# Keep a list of (total, words). In each step make a new list of everything that may follow, sort it, and cut it.
# ---
# Three cases: no word yet (scores are `first`), ended (goes on unchanged), else (`after[last word]`). Totals are *added*, since they are logarithms.
# ---
# ```python
# kept = [(0.0, [])]
# for _ in range(most):
#     longer = []
#     for total, words in kept:
#         if words and words[-1] == end:
#             ____                    # what stays of an ended caption
#         else:
#             log_p = after[words[-1]] if words else first
#             longer += [(total + float(log_p[w]), words + [w]) for w in range(len(first))]
#     kept = sorted(longer, reverse=True)[:width]
# ```

# %% [markdown]
# A search should be tested against the one that needs no idea: look at *every* caption. Random trees of four words and up to four steps have a few hundred; a beam that is wide enough must find the best of them. Then the five seeds of the log: what do the walks write about photos?
#
# **Predict before you run:** a beam of 3 finds likelier captions than greedy. Are they also *better*? And how does drawing compare?

# %%
def tree(memory, words):
    """Scores of the next word in the example; words 3 to 7 are a to e."""
    table = {(): {3: 0.6, 4: 0.4}, (3,): {5: 0.4, 6: 0.3, 7: 0.3},
             (4,): {5: 0.9, 6: 0.1}}
    scores = torch.full((len(words), 8), -torch.inf)
    for row, ids in enumerate(words.tolist()):
        for word, p in table.get(tuple(ids[1:]), {END: 1.0}).items():
            scores[row, word] = math.log(p)
    return scores

names = dict(zip(range(3, 8), "abcde"))
for width in (1, 2):
    ids, log_p = beam_search(tree, torch.zeros(1, 1), 5, width)
    path = " ".join(names[k] for k in ids[0].tolist() if k in names)
    print(f"the example, beam of {width}: {path}, p = {log_p.exp().item():.2f}")
draw = torch.Generator().manual_seed(0)
agree, narrow = [], []
for _ in range(20):
    grid = torch.randn(8, 7, generator=draw)        # row: the last word; 2 is the end
    grid[:, :2] = -torch.inf                        # no padding, no second start

    def next_word(memory, words, grid=grid):
        return grid[words[:, -1]]

    log_p = grid.log_softmax(1)
    def total(path, log_p=log_p):
        return sum(float(log_p[a, b]) for a, b in itertools.pairwise((1, *path)))
    paths = {path[:path.index(END) + 1] if END in path else path
             for path in itertools.product(range(2, 7), repeat=4)}
    best = max(map(total, paths))
    agree.append(abs(float(beam_search(next_word, torch.zeros(1, 1), 5, 7)[1]) - best))
    one = float(beam_search(next_word, torch.zeros(1, 1), 5, 1)[1])
    narrow.append(one < best - 1e-4)
claim("a beam of 7 finds the best of all captions in 20 trees", max(agree) < 1e-4)
claim("greedy misses it in some of them", any(narrow))
print("log:                     exact captions         F1 of toys             log p")
for name, label in (("transformer", "greedy"), ("beam 3", "beam of 3"),
                    ("beam 8", "beam of 8")):
    print(f"  {label:14s} {over_seeds(f'{name}: exact')}  "
          f"{over_seeds(f'{name}: toy F1')}  {logged(f'{name}: log p').mean():.3f}")
for name in ("drawn at 0.5", "drawn at 1.0"):
    print(f"  {name:14s} {over_seeds(f'{name}: exact')}  "
          f"{over_seeds(f'{name}: toy F1')}")
print(f"a beam of 3 found a likelier caption than greedy for a share of "
      f"{over_seeds('beam 3: likelier than greedy')},\n  a less likely one for "
      f"{over_seeds('beam 3: less likely than greedy')}")
for name in ("drawn at 0.5", "drawn at 1.0"):
    print(f"{name}: different captions of 4 {over_seeds(f'{name}: different of 4')}, "
          f"best F1\n  of 4 {over_seeds(f'{name}: best toy F1 of 4')}")

# %% [markdown]
# **Here the beam finds next to nothing**: for hardly any photo a caption that is likelier than the greedy one. Greed loses where a first word decides what can follow, as in the example. Here it seldom does. A search can only be as useful as the tree is treacherous; measure before you pay for it.
#
# **Drawing** is worse than greedy, as one should expect: it also takes the second-best word now and then. What it buys is variety. Among four drawn captions the best is better than the greedy one, but somebody must know which it is.
#
# ## 6. Trained on the truth's words, tested on its own
#
# In training the model never saw a mistake of its own. When it writes alone, one wrong word is followed by a question from a world it does not know. This is called **exposure bias**, and the usual way to look for it is to compare exact captions after the truth's words with exact captions written alone. That comparison is empty:
#
# $$\text{all words right after the truth's words} \iff \text{all words right alone (greedy)}.$$
#
# *Proof.* Let the first word be the likeliest one: then it is the truth's, and the second question is the same in both cases; and so on. As long as everything is right, the own words *are* the truth's. $\square$
#
# Exact match therefore cannot show exposure bias. What can: the words *after the first mistake*. Compare two things on the same photos: the next toy right after the truth's words, and after the model's own.

# %%
states = States({"image": seen}, targets={"words": test_words})
kept = Caption().keep(predict(captioner, states), states)
whole = (kept["right"] | ~kept["there"]).all(1)
exact = torch.tensor([a == b for a, b in zip(greedy, test_texts)])
claim("after the truth's words and alone, the same captions are exact but for rounding",
      (whole == exact).double().mean() > 0.99)
def next_toy(first, following):
    """After the words of a first toy: is all of the following toy right? (share)"""
    texts = [f"{a} and {b}" for a, b in zip(first, following)]
    ids = vocabulary.encode(texts)
    right = said(captioner, seen[enough], ids) == ids[:, 1:]
    begin = [len(a.split()) + 1 for a in first]
    return mean([float(row[start:start + len(b.split())].all())
                 for row, start, b in zip(right, begin, following)])

enough = (facts["count"] >= 3).nonzero()[:, 0]
toys = [test_texts[row].split(" and ")[:3] for row in enough.tolist()]
one, two, three_ = map(list, zip(*toys))
colors = {word: COLORS[k - 1] for k, word in enumerate(COLORS)}
wrong = [" ".join(colors.get(word, word) for word in toy.split()) for toy in one]
truly, wrongly = next_toy(one, two), next_toy(wrong, two)
skipped = next_toy(two, three_)
claim("after a first toy of a wrong colour, the second is right as often, to 0.15",
      abs(truly - wrongly) < 0.15)
claim("with the first toy left out, the toy that follows is right much less often: by"
      "\n  0.3 or more", skipped < truly - 0.3)

fig, ax = plots.figure(width=5.6, height=2.9)
places = range(1, 5)
for words, shade, shift in (("truth's", plots.GREY, -0.06), ("own", plots.TEXT, 0.06)):
    seeds = torch.stack([logged(f"toy {k}, {words} words") for k in places])
    at = [k + shift for k in places]
    ax.plot(at, seeds.mean(1), color=shade, label=f"after the {words} words")
    ax.plot(at, seeds, ".", color=shade, alpha=0.6)
ax.set(xticks=list(places), ylim=(0, 1.02), xlabel="place of the toy in the caption",
       ylabel="toys right (share)")
ax.legend(fontsize=8, loc="lower left")
plots.show(fig, "Share of toys that are right at the places 1 to 4 of a caption, with "
                "dots for five seeds: two falling lines, one after the truth's words "
                "and one after the model's own, lie on each other.")
for name in (*(f"toy {k}" for k in places), "after a first mistake"):
    told, alone = (over_seeds(f"{name}, {words} words") for words in ("truth's", "own"))
    print(f"log: {name:21s} truth's words {told}, own {alone}")

# %% [markdown]
# **There is nothing to see**, at no place, and not after a first mistake. It is an honest result, and it has a likely reason: what comes next hangs little on how the last toy was described. The words live in two halves: what a toy looks like, which is read from its cells, and how far the caption has come, which is read from the words. The cell spoils the words on purpose to show it: a wrong colour in the first toy changes little for the next one; with the first toy **left out**, the model does not go on with the toy that follows.
#
# So: exposure bias is a property of a model *and* of its mistakes. Captions of a hundred words, code, or a robot's path can be another matter; measure it as you did here.
#
# ## 7. What a score counts
#
# **BLEU-4** (2002, for translations) counts runs of words. For $n = 1 \dots 4$ take all runs of $n$ words in all captions; $P_n$ is the share of them that the reference has, where a run that the caption has more often than its reference counts only as often as there (**clipping**, or "a a a a" would be perfect). Then
#
# $$\mathrm{BLEU} = \min\bigl(1, e^{1 - r/c}\bigr)\cdot\bigl(P_1P_2P_3P_4\bigr)^{1/4},$$
#
# with $c$ words in all captions and $r$ in all references: precision alone would love short captions. All counts are of the whole corpus; a mean of the captions' own BLEU is another number.
#
# **In small numbers.** Caption *a red car and a duck*, reference *a red car and a blue duck*. $P_1 = \frac66$, $P_2 = \frac45$, $P_3 = \frac34$, $P_4 = \frac23$; $c = 6$, $r = 7$: $e^{-1/6}\cdot(.4)^{1/4} = .846\cdot.795 = .673$.
#
# **CIDEr-D** (2015, for captions) weighs each run by how rare it is among the references, $\log(\text{photos}/\text{photos that have it})$, and takes the cosine of the weighed counts, clipped like BLEU's, and lowered where lengths differ; the mean over $n = 1 \dots 4$, times 10. *And a* counts little, *cracked yellow duck* much.
#
# **F1 of toys**: cut at *and*; a phrase is right if the reference has the same. Precision and recall of phrases as sets, their harmonic mean. It knows what a toy is, which no score of runs does; and for that it knows only our captions.

# %% [exercise] 16.4
# Write BLEU-4 of a corpus with one reference a caption. Your function receives two lists of strings, `candidates` and `references`, of the same length; words stand between spaces. It returns a number, 0 if no run of some length is right. (It is compared with torchmetrics, too.)

# %% [stub]
def bleu4(candidates, references):
    """BLEU-4 of all captions together.

    candidates, references : lists of strings, one reference a candidate
    returns : float
    """
    raise NotImplementedError

# %% [solution]
def bleu4(candidates, references):
    def runs(text, n):
        words = text.split()
        return Counter(zip(*(words[k:] for k in range(n))))
    product = 1.0
    for n in (1, 2, 3, 4):
        pairs = [(runs(a, n), runs(b, n)) for a, b in zip(candidates, references)]
        hits = sum((a & b).total() for a, b in pairs)          # & takes the smaller
        product *= hits / max(1, sum(a.total() for a, _ in pairs))
    c, r = (sum(len(text.split()) for text in texts)
            for texts in (candidates, references))
    return min(1.0, math.exp(1 - r / c)) * product ** 0.25

# %% [hints]
# For each $n$ count over *all* captions first: runs, and clipped hits. Divide once.
# ---
# `Counter(tuple(words[i:i + n]) for i in range(len(words) - n + 1))` counts runs. For two Counters, `a & b` keeps the smaller count of each: the clipped hits.
# ---
# ```python
# for n in (1, 2, 3, 4):
#     hits = total = 0
#     for mine, its in zip(candidates, references):
#         a, b = runs(mine, n), runs(its, n)
#         hits += ____
#         total += sum(a.values())
# # then the fourth root of the product, and the brevity penalty
# ```

# %% [markdown]
# Now a test of the scores. Take the *true* captions and spoil them on purpose, in five ways; a good score should fall where a reader would complain, and not elsewhere:
#
# - two toys exchange their **kinds**: "a small red *duck* and a large blue *car*", where the duck was blue and the car red;
# - all **words sorted** by the alphabet: nobody understands it;
# - the toys in **reverse order**: nothing is wrong;
# - every photo gets the **caption of another** photo;
# - *a small red car and a large blue duck* for every photo: a caption **without eyes**.
#
# **Predict before you run:** which score sees the first, and which complains about the third?

# %%
def swap_kinds(text):
    toys = [toy.split() for toy in text.split(" and ")]
    toys[0][-1], toys[1][-1] = toys[1][-1], toys[0][-1]
    return " and ".join(map(" ".join, toys))

judged = [text for text in test_texts if " and " in text
          and text.split(" and ")[0].split()[-1] != text.split(" and ")[1].split()[-1]]
cider = CiderD([[text] for text in train_texts])
spoiled = {
    "the truth": judged,
    "kinds exchanged": [swap_kinds(text) for text in judged],
    "words sorted": [" ".join(sorted(text.split())) for text in judged],
    "reverse order": [" and ".join(text.split(" and ")[::-1]) for text in judged],
    "of another photo": judged[1:] + judged[:1],
    "without eyes": ["a small red car and a large blue duck"] * len(judged)}
table = {}
small = bleu(["a red car and a duck"], [["a red car and a blue duck"]])
print(f"the example in small numbers: BLEU-4 {small:.3f}")
print(f"{len(judged)} captions of two toys or more, the first two of different kinds:")
print(f"{'':18s} word F1   toy F1   BLEU-4   CIDEr-D")
for name, texts in spoiled.items():
    several = [[text] for text in judged]
    table[name] = (mean(phrase_f1(texts, judged, " ")), mean(phrase_f1(texts, judged)),
                   bleu(texts, several), cider(texts, several))
    print(f"{name:18s}" + "".join(f"{value:8.3f} " for value in table[name]))
assert table["words sorted"][0] == table["kinds exchanged"][0] == 1
assert table["reverse order"][1] == 1 and table["kinds exchanged"][1] < 1
assert all(table["kinds exchanged"][k] < table["the truth"][k] for k in (2, 3))

# %% [markdown]
# Read it line by line. **Exchanged kinds**: every word is there, so the F1 of words is 1, although two toys are wrong; BLEU takes off a part, CIDEr-D more, the F1 of toys most. **Sorted words** are 1 for a bag of words as well. **Reverse order** is right for every reader, and both F1 agree; BLEU and CIDEr-D punish it, for their runs break at the joints. **Another photo**'s caption and the caption **without eyes** share a good part of their words with the truth, since all of them have *a* and *and*; BLEU and CIDEr-D are low, and the F1 of toys is nearly 0.
#
# (You may read that BLEU *rewards* a model that has not looked. Not here: it is low for all who have no eyes, in this table and in the next. It has other faults: it cannot tell a slip in one colour from one in *and*, and it knows no order but one.)
#
# ## 8. The experiment: who has eyes?
#
# Five seeds, each with 5,000 photos of its own to learn from and 500 of its own to be tested on. Four decoders on the same frozen map: the transformer of section 4; an **LSTM with attention**, which carries what was written in one state and looks at the cells from there; an **LSTM whose only look** is its first state, made from all cells at once; and a **GPT-2** of the same width, which reads the cells as if they were words before the caption. And the controls: a transformer that is trained and tested **without photos** (taking the likeliest words, and drawing), one that is trained with the **photos shuffled**, and the trained one that is **shown other photos**.
#
# **Predict before you run:** how much F1 does a model get that has never seen a photo?

# %%
decoders = {"transformer": plots.BOTH, "LSTM with attention": plots.IMAGE,
            "LSTM, first state": plots.IMAGE, "GPT-2 with a prefix": plots.TEXT,
            "transformer, another picture": plots.GREY, "blind": plots.GREY,
            "blind, drawn": plots.GREY, "trained on shuffled pictures": plots.GREY}
fig, axes = plots.figure(1, 3, width=9.0, height=3.2, sharey=True)
for ax, score in zip(axes, ("exact", "toy F1", "BLEU-4")):
    for row, (name, shade) in enumerate(decoders.items()):
        values = logged(f"{name}: {score}")
        ax.barh(row, values.mean(), color=shade, alpha=0.45)
        ax.plot(values, [row] * len(values), ".", color="black", ms=4)
    ax.set(yticks=range(len(decoders)), xlim=(0, 1), title=score)
axes[0].set_yticklabels(list(decoders), fontsize=8)
axes[0].invert_yaxis()
plots.show(fig, "Bars of eight decoders in three panels, exact captions, F1 of toys "
                "and BLEU-4, with dots for five seeds. The LSTM with attention and the "
                "transformer are the longest; GPT-2 with a prefix follows, then the "
                "LSTM that looks only once; the four controls without eyes are at or "
                "near zero in the first two panels and short in the third.")
for name in decoders:
    print(f"log: {name:30s} toy F1 {over_seeds(f'{name}: toy F1')}  "
          f"BLEU-4 {over_seeds(f'{name}: BLEU-4')}")
for name in ("transformer", "LSTM, first state", "blind"):
    print(f"log: {name}: exact {over_seeds(f'{name}: exact')},\n  word F1 "
          f"{over_seeds(f'{name}: word F1')}, CIDEr-D {over_seeds(f'{name}: CIDEr-D')}")
eyes = logged("transformer: toy F1")
for name in ("transformer, another picture", "blind", "trained on shuffled pictures"):
    claim(f"above {name}, by 0.4 or more in every seed",
          (eyes - logged(f"{name}: toy F1")).min() > 0.4)

# %% [markdown]
# **Without eyes nothing**: whoever does not see the right photo gets hardly a toy, and next to no caption exactly. But look at its F1 of *words* and at BLEU: a part of both is grammar, and comes free. Subtract what the blind get before you praise.
#
# **The older decoder is not behind.** With attention the LSTM is as good as the transformer here, at the same number of steps; in four seeds of five it is a little ahead. What matters here is to *look again for every word*: the LSTM that looks only once, at the start, has most of the *words* right and few of the *toys*. GPT-2 of the same width, with two layers and random weights, is behind in this budget. None of this is a ranking for your data; it is what six epochs on a frozen map give.
#
# ## 9. A reward for whole captions
#
# Cross-entropy asks for each word; we score captions. Could one train for the score? It has no gradient: a caption is drawn, not computed. But its *expectation* has one. Let $w$ be drawn from the model, $R(w)$ its reward:
#
# $$\nabla\,\mathbb{E}[R] = \sum_w R(w)\,\nabla p(w) = \mathbb{E}\bigl[R(w)\,\nabla \log p(w)\bigr] = \mathbb{E}\bigl[(R(w) - b)\,\nabla \log p(w)\bigr].$$
#
# The second step is $\nabla p = p\,\nabla\log p$. The third holds for every number $b$ that does not depend on $w$, since $\mathbb{E}[\nabla\log p] = \sum \nabla p = \nabla 1 = 0$. So: **draw a caption; make it likelier if its reward is above the baseline, else less likely** (REINFORCE, 1992). The usual $b$ for captions is the reward of the greedy caption: better than what would be written counts as good ("self-critical", 2017). The baseline changes nothing on average, and much in how noisy one draw is: the next cell computes both for four words, exactly.
#
# Then captions, in the log: from the trained transformer of each seed, 120 steps of 48 captions with F1 of toys as the reward, at three learning rates. Before each step 48 captions must be drawn, and 48 greedy ones written. **The control that is often missing:** as many further steps, from the same start and at the same rates, of plain cross-entropy. If both gain the same, it was not the reward.
#
# **Predict before you run:** what does the reward bring?

# %%
p = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
rewards = torch.tensor([11.0, 10.0, 10.0, 9.0], dtype=torch.float64)
log_gradient = torch.eye(4, dtype=torch.float64) - p       # row: the word that is drawn
print("four words; the gradient of the expected reward, and the variance of one draw")
for name, b in (("no baseline", 0.0), ("greedy's reward", float(rewards[p.argmax()])),
                ("expected reward", float(p @ rewards))):
    one_draw = (rewards - b)[:, None] * log_gradient
    average = p @ one_draw
    noise = (p * ((one_draw - average) ** 2).sum(1)).sum()
    print(f"{name:16s} " + " ".join(f"{value:6.2f}" for value in average)
          + f"   variance {noise:8.3f}")
print(f"{'log, F1 of toys':41s} {'five seeds':22s}  gain, seed by seed")
print(f"{'transformer':41s} {over_seeds('transformer: toy F1')}")
for rate in ("0.0001", "0.0003", "0.001"):
    for steps in ("after a reward", "after as many steps of words"):
        name = f"{steps}, rate {rate}"
        gain = logged(f"{name}: toy F1") - logged("transformer: toy F1")
        print(f"{name:41s} {over_seeds(f'{name}: toy F1')}  "
              + " ".join(f"{value:+.3f}" for value in gain))

# %% [markdown]
# **Here the reward brought nothing, and its control did.** After 120 steps of REINFORCE the F1 of toys is at the smallest rate where it was, in some seeds a little above and in others a little below, and at the larger ones lower in every seed; after as many steps of plain words at the smallest rate it is higher in every seed, if not by much. A reward can earn its cost where the score and the likelihood part ways. Here they hardly part: the score *is* that words are right, and one number for a whole caption says less than an answer for each of its words. (On COCO the published reward was CIDEr, and the gain that the abstract reports is in CIDEr.)
#
# ## 10. A caption between the photo and the decision
#
# A tempting shortcut: let a captioner turn every photo into text, and let a text model, of which there are good ones, decide. It is called a **cascade**. What can it lose?
#
# - **What is not said.** The text model sees the caption $w$, not the photo $c$. Whatever it does, it can use no more about the answer than $w$ holds: $I(\text{answer}; w) \le I(\text{answer}; c)$.
# - **Doubt.** A word is said or not said. That the model was at 30 % about *cracked* is lost in the word; and if an overlooked crack costs ten times as much as a false alarm, 30 % should have been enough (threshold $\frac1{11}$, lesson 18).
#
# The desk of lesson 00 asks two things of a photo. *Is a toy cracked?* (A refund; captions say it.) *Is the place at the front right taken?* (Captions do not say places.) Three ways: the words of the caption; for the first question also the captioner's **probability** of the word *cracked* at the places where it could stand; and **end to end**, lesson 18's small net on the cells, trained on these two questions.

# %%
def truths(pairs):
    """Is a toy cracked; does one stand at the front right: bool (photos, 2)."""
    e = pairs.extras
    real = torch.arange(4) < e["count"][:, None]
    front_right = (e["x"] > 32) & (e["y"] > 32) & real
    return torch.stack([((e["cracked"] == 1) & real).any(1), front_right.any(1)], 1)

truth = truths(test_pairs)
torch.manual_seed(0)
direct = CellTags(SIZE, 2)
fit(direct, States({"image": learned}, labels=truths(train_pairs).float()), task=Tag(),
    epochs=8, batch_size=128, learning_rate=3e-3, progress=False)
answers = predict(direct, States({"image": seen})).sigmoid()              # (photos, 2)
place_right = ((answers[:, 1] > 0.5) == truth[:, 1]).double().mean()
guess = max(truth[:, 1].double().mean(), 1 - truth[:, 1].double().mean())
claim("front right, end to end: above the majority by 0.1 or more",
      place_right > guess + 0.1)
print("cracked, log:            right                   cost, a miss 10, an alarm 1")
for name in ("one answer for all", "the words", "the word's probability", "end to end"):
    print(f"  {name:24s} {over_seeds(f'cracked, {name}: accuracy')}  "
          f"{over_seeds(f'cracked, {name}: cost')}")
more = logged("cracked, the words: cost") \
    - logged("cracked, the word's probability: cost")
print("  the words cost more than the probability, seed by seed: "
      + " ".join(f"{value:+.3f}" for value in more))
print("front right, log:")
for name in ("majority", "the words", "end to end"):
    print(f"  {name:24s} {over_seeds(f'front right, {name}')}")

# %% [markdown]
# **What is said survives well**: *cracked* is rarely wrong, in the words or elsewhere. **Doubt does not**: a crack that the captioner half believes is not said, and then costs ten. In three seeds of five the words cost more than their own probability, for the same captioner and the same captions; in the other two they missed no crack, and the cautious threshold paid for a false alarm. Five seeds do not settle how large the difference is. **And what is not said is lost**: of the place at the front right the words tell only what the number of toys tells (the more toys, the likelier it is taken), while the small net reads it from the cells. (It is the same net at every cell, and knows places only as far as the cells themselves say where they are.)
#
# Before you put a caption between a photo and a decision, ask what the decision needs, and whether the caption was ever asked to say it.
#
# ## 11. At full size: GPT-2, and COCO's captions
#
# Two things separate this from the captioners you can download: a decoder that has already read much, and captions of real photos.
#
# **A trained decoder.** `PrefixGPT2` translates each cell by one linear map into a vector like those of words, puts them before the caption, and lets GPT-2 go on. Nothing inside GPT-2 is new, so its trained weights can be kept. (BERT as it was trained does not fit this place: it had both sides of every word in view, like the echo of section 1. Nor does CLIP, which scores captions that others wrote, or DALL·E, which goes from words to pictures.) At `full` the next cell takes the real GPT-2 where it can be had, else one of its size with random weights; at `small` it is tiny.

# %%
if cfg.name == "full":
    try:
        body = trained_gpt2(vocabulary)
    except (ConnectionError, ValueError, OSError) as error:
        print(textwrap.fill(f"GPT-2 of its true size, random weights: {error}", 90))
        body = small_gpt2(len(vocabulary), 768, 12, 12)
else:
    body = small_gpt2(len(vocabulary))
gpt2 = PrefixGPT2(SIZE, body)
def words_right():
    right = said(gpt2, seen[:64], test_words[:64]) == test_words[:64, 1:]
    return right[test_words[:64, 1:] > 0].double().mean()

before = words_right()
teach(gpt2, learned[:4 * BATCH], train_words[:4 * BATCH], epochs=3)
claim("a few steps: more words right than before", words_right() > before)
claim("and it writes alone", all(isinstance(text, str) for text in
                                 written(gpt2, seen[:4])))

# %% [markdown]
# **COCO's captions** are five sentences for each photo ([cocodataset.org](https://cocodataset.org), *2017 Train/Val annotations*; the photos are packed apart). Its file is JSON with two lists that matter: `images` (`id`, `file_name`) and `annotations` (`image_id`, `caption`). `coco_table` turns it into a table, and `folder` of lesson 07 reads that: rows of one photo share it and stay in one split. The cell below makes such a file of five toy photos and twenty captions, in four wordings each, and reads it as it would read the real one. Several references also change the scores: BLEU takes the best of them run by run, CIDEr-D their mean. At the end of the cell is what people will put into a captioner; each is refused with one sentence.

# %%
with tempfile.TemporaryDirectory() as place:
    place = Path(place)
    images, annotations = [], []
    for number in range(5):
        name = f"{number:012d}.png"
        pixels = test_pairs.images[number].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(place / name)
        images.append({"id": number, "file_name": name, "height": 64, "width": 64})
        toys = test_texts[number].split(" and ")
        wordings = (test_texts[number], test_pairs.texts[number],
                    " and ".join(toys[::-1]), f"{len(toys)} toys on a table")
        annotations += [{"id": 4 * number + k, "image_id": number, "caption": words}
                        for k, words in enumerate(wordings)]
    file = place / "captions_toys2017.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    coco = folder(coco_table(file, place / "captions.jsonl"), label=None)
print(f"{len(coco)} captions of {len(coco.images)} photos")
references = [coco.texts[4 * number:4 * number + 4] for number in range(5)]
reversed_order = [" and ".join(t.split(" and ")[::-1]) for t in test_texts[:5]]
for name, several in (("one reference", [[r[0]] for r in references]),
                      ("four", references)):
    print(f"reverse order, BLEU-4 with {name}: {bleu(reversed_order, several):.3f}")


def refused(task):
    try:
        task()
    except (TypeError, ValueError) as error:
        print(textwrap.fill(str(error), 92))

refused(lambda: vocabulary.encode(["a red car", "  "]))
refused(lambda: vocabulary.encode(["a small silver car"]))
refused(lambda: beam_search(tree, torch.zeros(1, 1), 5, width=30))
refused(lambda: draw_words(tree, torch.zeros(1, 1), 5, draw, temperature=0))
refused(lambda: bleu(["a red car"], [[""]]))
refused(lambda: captioner.logits(captioner.memory(seen[:1]),
                                 torch.ones(1, 40, dtype=torch.int64)))

# %% [markdown]
# With the reverse order among the references, BLEU no longer complains: **with more references a score of runs becomes fairer**, and that is what several captions of one photo are for.
#
# ## 12. A stretch: the baseline of least noise

# %% [exercise] 16.5
# **On paper first.** One word $a$ is drawn from $p = \mathrm{softmax}(z)$ over $V$ words and brings the reward $r_a$; the gradient estimate is $g = (r_a - b)(e_a - p)$, with $e_a$ the $a$-th unit vector. (a) Show that $\mathbb{E}[g]$ does not depend on $b$. (b) The noise is $\mathbb{E}\lVert g - \mathbb{E}g\rVert^2$. Show that it is a parabola in $b$, and that its lowest point is $b^* = \frac{\mathbb{E}[r_a\,\ell_a]}{\mathbb{E}[\ell_a]}$ with $\ell_a = \lVert e_a - p\rVert^2$. (c) When is $b^*$ the expected reward? (d) Is the reward of the greedy caption a bad baseline?
#
# **Then build it.** Your function receives `logits` and `rewards`, float64 `(words,)`, and returns $b^*$, a scalar.

# %% [stub]
def best_baseline(logits, rewards):
    """The baseline with which one draw has the least variance.

    logits, rewards : float64 (words,)   returns : scalar
    """
    raise NotImplementedError

# %% [solution]
def best_baseline(logits, rewards):
    p = logits.softmax(0)
    length = ((torch.eye(len(p), dtype=p.dtype) - p) ** 2).sum(1)   # ‖e_a − p‖²
    return (p * length * rewards).sum() / (p * length).sum()

# %% [hints]
# Since $\mathbb{E}g$ does not depend on $b$, only $\mathbb{E}\lVert g\rVert^2$ has to be made small.
# ---
# $\mathbb{E}\lVert g\rVert^2 = \sum_a p_a (r_a-b)^2\,\ell_a$. Its derivative in $b$ is 0 at a weighted mean of the rewards.
# ---
# ```python
# p = logits.softmax(0)
# length = ____                        # ‖e_a − p‖² for each word a: 1 − 2 p_a + Σ p²
# weight = p * length
# return (weight * rewards).sum() / weight.sum()
# ```

# %% [answer]
# (a) $\mathbb{E}[g] = \sum_a p_a r_a (e_a - p) - b\sum_a p_a(e_a - p)$, and the last sum is $p - p = 0$.
#
# (b) $\mathbb{E}\lVert g-\mathbb{E}g\rVert^2 = \mathbb{E}\lVert g\rVert^2 - \lVert\mathbb{E}g\rVert^2$, and only the first depends on $b$: $\sum_a p_a (r_a - b)^2\ell_a$, a parabola that opens upwards. Its derivative $-2\sum_a p_a (r_a-b)\ell_a$ is 0 at $b^* = \sum p_a\ell_a r_a/\sum p_a\ell_a$. With $\ell_a = (1-p_a)^2 + \sum_{j\ne a}p_j^2 = 1 - 2p_a + \sum_j p_j^2$.
#
# (c) If $\ell_a$ is the same for all words that can be drawn, as it is for equal probabilities, or if rewards and lengths do not vary together. Unlikely words have long gradients; so if they are also the good ones, $b^*$ is above the expected reward.
#
# (d) It is not the best, and it is one number for the whole caption, though noise could be lowered place by place. But it costs no second network, moves with the model, and its sign means something: better or worse than what would be written.

# %% [markdown]
# ## 13. Recap
#
# You can now
# - unmask a captioner that reads what it is to write, by changing the photo;
# - derive the loss of a caption, mask what follows, and show with changed words that nothing leaks;
# - write with the best word, a beam, or by drawing, and test a search against looking at everything;
# - say why exact match cannot show exposure bias, and measure it where it can be seen;
# - read BLEU-4 and CIDEr-D, and say what each of them punishes though it is right;
# - say what a reward brought beside its control, and what a cascade loses.
#
# At `full` the same cells run with ResNet-50 under the decoders. `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? A captioner gives 99 % of the words of unseen captions rightly, after the words before them. What do you do first?
# - Ask for its BLEU-4 :: A model that reads the caption has a perfect BLEU as well, if it is scored as its words were.
# + Show it other photos with the same captions, and see whether it still has 99 % :: If nothing changes it does not look; and whether it sees ahead a changed later word shows.
# - Train it for longer :: It is at 99 %, and that is what is suspicious.
# ? Two toys in a caption have exchanged their kinds. Which score stays at 1?
# - F1 of toys :: Both phrases are wrong: it falls.
# - BLEU-4 :: Runs of two words and more reach over the exchanged places: it falls.
# - CIDEr-D :: The runs that contain colour and kind are the rare ones: it falls.
# + F1 of words :: The same words, in another order: a bag cannot tell.
# ? Exact captions are as many after the truth's words as alone. What follows about exposure bias?
# - There is none :: The two numbers are equal for every greedy decoder, whatever happens after a mistake.
# - The model has memorised its captions :: Nothing was said about training rows.
# + Nothing: the two are the same by necessity :: As long as all words are right, the own words are the truth's. Look at what follows a first mistake.
# ? A beam of 8 finds likelier captions than greedy. What do you know?
# + That they are likelier under the model :: Whether they are better, only a comparison with the truth says.
# - That they are the likeliest captions of all :: A beam can drop the best beginning at the first step.
# - That they are better captions :: Likelier under the model and right are two things.

# %% [markdown]
# **Glossary**: *decoder*, a network that gives the next word · *causal mask*, what hides later words · *teacher forcing*, training after the truth's words · *exposure bias*, that a model has never met its own mistakes · *greedy*, the likeliest word each time · *beam*, the likeliest beginnings that are kept · *temperature*, what scores are divided by before drawing · *cross-attention*, words that look at cells · *BLEU*, clipped precision of runs of words, with a penalty for brevity · *CIDEr-D*, cosine of runs weighed by rarity · *REINFORCE*, a gradient of an expected reward from draws · *baseline*, what is subtracted from the reward · *cascade*, one model's words as another's input.
#
# **References**
# - O. Vinyals, A. Toshev, S. Bengio, D. Erhan, *Show and tell: a neural image caption generator*, CVPR 2015: a convolutional network, then an LSTM that is shown its output once.
# - K. Xu and others, *Show, attend and tell: neural image caption generation with visual attention*, ICML 2015: the decoder looks at places, by weights or by drawing one.
# - A. Vaswani and others, *Attention is all you need*, NeurIPS 2017: the decoder of section 4.
# - K. Papineni, S. Roukos, T. Ward, W.-J. Zhu, *BLEU: a method for automatic evaluation of machine translation*, ACL 2002: section 7's formula.
# - R. Vedantam, C. L. Zitnick, D. Parikh, *CIDEr: consensus-based image description evaluation*, CVPR 2015: CIDEr, and CIDEr-D against gaming.
# - R. J. Williams, *Simple statistical gradient-following algorithms for connectionist reinforcement learning*, Machine Learning 1992: REINFORCE and its baseline.
# - S. Rennie and others, *Self-critical sequence training for image captioning*, CVPR 2017: the greedy caption's reward as baseline.
# - R. Mokady, A. Hertz, A. Bermano, *ClipCap: CLIP prefix for image captioning*, 2021: CLIP's vector of the photo, mapped to a prefix, and a language model that goes on.
# - T.-Y. Lin and others, *Microsoft COCO: common objects in context*, ECCV 2014; X. Chen and others, *Microsoft COCO captions: data collection and evaluation server*, 2015: the photos and their five captions.

# %% [progress]
