# %% [markdown]
# # 17 Visual question answering
#
# **The one thing to take away:** look with the words, then say what stands there, or compare places; and score each kind of question beside somebody who never looks, because one number for all of them hides the kinds that nobody answers.
#
# You will be able to
# - derive what an answer without looking reaches, for every kind of question, and find a model that does no better;
# - match words with cells on captions, and let a reader ask *how sure*, *where* and *what* there;
# - build a second look, for questions of two steps, and a closer one, for a word printed in the photo;
# - say when a model should keep silent, and why its own confidence is a bad adviser;
# - read questions in the layout of VQA v2 and score an answer by what ten people said.
#
# **Before this:** [05](05_seeing.ipynb) (the map of cells), [08](08_fusion_zoo.ipynb) (FiLM, attention, mixed differences), [11](11_contrastive.ipynb) (contrast), [18](18_search_tagging.ipynb) (thresholds from costs) if you have read it.
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import copy
import json
import tempfile
import textwrap
from collections import Counter
from pathlib import Path
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from cmlib import FusionModel, fit, image_encoder, plots, predict, text_encoder
from cmlib.course.schematic import Schematic
from cmlib.course.seed_log import seed_log
from cmlib.data import Pairs, States
from cmlib.data.device import follow, settle
from cmlib.data.shared import SharedStates
from cmlib.datasets.vqa import answer_labels, check_questions, read_vqa
from cmlib.evaluation import auc
from cmlib.evaluation.people import best_guess, vqa_accuracy
from cmlib.models.grounded_reader import Aligner, GroundedReader, late_interaction
from cmlib.tasks import Task
from cmlib.training.predict import extract_states
from cmlib.training.sharing import extract_shared, words_alone
from cmlib.worlds import KINDS, Toys
from cmlib.worlds.printed import WORDS, with_cards
from cmlib.worlds.questions import ask
from cmlib.worlds.words import article
cfg = cmlib.setup("17", full="the frozen encoders under aligner and reader")

found = {}   # what this run measures, by name
TYPES = ("count", "exists", "cracked", "color", "left of", "two steps", "word")

claim = cfg.claim
# five seeds with rows of their own, measured by benchmarks/question_seeds.py
logged, over_seeds = seed_log("question_seeds")

# %% [markdown]
# ## 1. A help desk that is right seven times out of ten
#
# Somebody sends a photo and a question. *What color is the duck? Is the boat left of the star? Is something broken? What does the card say?* Seven kinds of questions, one short answer each, chosen from one closed list. This is visual question answering (VQA) as it is mostly done: **classification, with a question as second input**.
#
# The next cell draws photos (half of those with room have a card on which a word is printed), asks each of them, and encodes everything once with frozen encoders. Many rows share a photo, and many share a question, so both are stored once and a batch gathers what its rows want. (In training there is an eighth kind, *is the card left of the duck?*, which section 7 will use.)

# %%
SEED, SCENES = 0, 3000
EACH = {"count": 1, "exists": 2, "cracked": 1, "color": 3, "left of": 3, "two steps": 3,
        "word": 1, "card place": 2}
photos = with_cards(Toys().sample(SCENES, start=SEED * SCENES), 0.5, seed=SEED)
fresh = with_cards(Toys().sample(1000, "test", start=SEED * 1000), 0.5, seed=SEED + 50)
asked = ask(photos, EACH, seed=SEED)                        # texts, labels, which photo
tested = ask(fresh, dict.fromkeys(TYPES, 1), seed=SEED + 50)
torch.manual_seed(0)
encoders = FusionModel(image_encoder(cfg.image_encoder),
                       text_encoder(cfg.text_encoder), n_classes=2)
train, test = extract_shared(encoders, asked), extract_shared(encoders, tested)
CELLS, IMAGE_SIZE = train.states["image"].shape[1:]
TEXT_SIZE, SIDE = train.states["text"].shape[2], round(CELLS**0.5)
ANSWERS = asked.class_names
kind_of = {name: torch.tensor([one == name for one in tested.extras["type"]])
           for name in TYPES}

def by_type(answers, name=None):
    """Accuracy of answers to the test questions: of each type, and of all together."""
    right = answers == tested.labels
    scores = {one: float(right[rows].double().mean()) for one, rows in kind_of.items()}
    scores["overall"] = float(right.double().mean())
    if name:
        found.update({f"{name}: {one}": score for one, score in scores.items()})
    return scores

examples = [int(rows.nonzero()[7 * k, 0]) for k, rows in enumerate(kind_of.values())]
shown = fresh.images[tested.picture[examples]]
titles = [f"{tested.texts[row]} {ANSWERS[int(tested.labels[row])]}" for row in examples]
plots.show(plots.pictures(shown, titles, columns=4, size=1.7),
           "Seven photos of toys on a table, one for each kind of question, with the "
           "question and its answer above.")

# %% [markdown]
# Take FiLM, in which the words scale and shift the channels of the map, in lesson 08's smallest form: one layer, and of the words their mean. It was trained on these very questions, with the same frozen encoders and as many steps on them as the reader that you will build, five times with photos of its own. (Its paper stacks such layers and tells each cell where it stands; the last line is of one layer that is told.) **Predict before you run:** its overall accuracy is printed first. Which of the seven kinds do you think it answers?

# %%
print(f"FiLM, all questions together, log of five seeds: {over_seeds('FiLM: overall')}")
share = {name: float(rows.double().mean()) for name, rows in kind_of.items()}
for name in TYPES:
    print(f"  {name:10s} {over_seeds(f'FiLM: {name}')}, one question in "
          f"{1 / share[name]:.0f}")
print(f"  left of, told the places: {over_seeds('FiLM with places: left of')}")

# %% [markdown]
# **Seven out of ten, and it cannot tell left from right.** It counts and it sees cracks nearly always; of *left of* it knows no more than a coin, and of *is there a duck?* little more. The overall number is a mean over kinds, weighted by how often each is asked. Ask twice as many questions about cracks, and the same model is better; ask more about left and right, and it is worse. **So report each kind, and beside it what somebody reaches who never looks.**
#
# ## 2. Somebody who never looks
#
# What is a fair zero? For *what color is the duck?* it is not 0: answer *red* and be right one time in six. **The best blind answer** is, for every question, the one that is most often right, $\max_a p(a \mid q)$. In a world whose rules we know, derive it:
#
# 1. **count**: one to four toys, equally often, and the question does not tell: $\frac14$.
# 2. **exists**: the question is made so that the answer is yes half of the time, with all kinds alike: $\frac12$.
# 3. **cracked**: a toy is cracked with $p = .2$. *No* is right if none of the toys is: $\frac14(.8 + .8^2 + .8^3 + .8^4) = .590$.
# 4. **color** and **two steps**: six colours, equally often: $\frac16$.
# 5. **left of**: turn the photo round, and yes becomes no: $\frac12$.
# 6. **word**: eight words: $\frac18$.
#
# The blind score of a mixture is the mixture of the blind scores. Where you do not know the rules (everywhere but here), *count*.

# %% [exercise] 17.1
# Answer without looking. Your function receives the training rows, `question` and `answer`, int64 `(rows,)`, both as numbers, and `asked`, int64 `(n,)`, the questions of the test. It returns int64 `(n,)`: for each question the answer that it most often had in training, of several the one with the smallest number; and for a question that was never asked before, the answer that is most frequent over all training rows.

# %% [stub]
def blind(question, answer, asked):
    """The best answers of somebody who never looks.

    question, answer : int64 (rows,)   asked : int64 (n,)   returns : int64 (n,)
    """
    raise NotImplementedError

# %% [solution]
def blind(question, answer, asked):
    found = []
    for one in asked:
        mine = answer[question == one]
        if len(mine) == 0:
            mine = answer                          # nobody asked it: all rows
        found.append(mine.bincount().argmax())     # the first of equals
    return torch.stack(found)

# %% [hints]
# Two counts: of the answers of one question, and of all answers.
# ---
# `answer[question == one]` are the answers of one question; `bincount()` counts them, and `argmax()` gives the first of equals.
# ---
# ```python
# mine = answer[question == one]
# counts = mine.bincount() if len(mine) else ____
# # the place of the largest count
# ```

# %%
DERIVED = {"count": 1 / 4, "exists": 1 / 2,
           "cracked": sum(0.8**n for n in (1, 2, 3, 4)) / 4, "color": 1 / 6,
           "left of": 1 / 2, "two steps": 1 / 6, "word": 1 / 8}
number = {text: place for place, text in enumerate(dict.fromkeys(asked.texts))}
numbers = [torch.tensor([number.get(text, -1) for text in rows.texts])
           for rows in (asked, tested)]
guessed = best_guess(numbers[0], asked.labels, numbers[1])
blind_scores = by_type(guessed, "blind")
print("                derived   counted, five seeds")
for name, value in DERIVED.items():
    print(f"{name:14s} {value:8.3f}   {over_seeds(f'blind: {name}')}")
mixture = sum(share[name] * value for name, value in DERIVED.items())
print(f"{'overall':14s} {mixture:8.3f}   {over_seeds('blind: overall')}")
claim("counted and derived differ by less than 0.08 in every kind",
      all(abs(blind_scores[name] - value) < 0.08 for name, value in DERIVED.items()))
claim("and by less than 0.03 in all together",
      abs(blind_scores["overall"] - mixture) < 0.03)

# %% [markdown]
# Counted and derived agree, as far as some hundred rows a kind can tell. About a third of all questions are answered without a look at any photo, and of *cracked* nearly six in ten. Now read section 1 again with these zeros: FiLM's half on *left of* is the blind half. (For VQA's real photos nobody can derive anything. Goyal and others, 2017, collected, where they could, a second, similar photo with another answer, to make the blind part smaller.)
#
# ## 3. Words that look
#
# A question names things, and the map shows things in cells. So let every word choose **its own cell**. Bring cells $c$ and words $w$ into one space, as vectors of length 1, and score a text $t$ against a photo $p$ by
#
# $$S_{tp} = \sum_{w \in t} g_w \max_{c \in p}\; w^\top c ,\qquad \sum_w g_w = 1 .$$
#
# Each word is compared with all cells and keeps the most similar one; the text is the weighted mean of its words ($g$ is learned, so that *the* and *is* need not fit anywhere). It is called **late interaction**: nothing is pooled before words and cells have met. Trained as in lesson 11, a caption must find its own photo among those of the batch. Nobody says which cell a word means.
#
# **In small numbers.** Two words, three cells, similarities $(.9, .1, .2)$ for *duck* and $(.0, .3, .8)$ for *red*: with $g = (\frac12, \frac12)$ the score is $\frac12(.9 + .8) = .85$. Averaging the cells first would give $\frac12(.4 + .37) = .38$. (The two words chose different cells: nothing here asks that what is red is the duck.)

# %% [exercise] 17.2
# Score all pairs, with plain means over the words. Your function receives `cells`, float64 `(pictures, cells, size)`, `words`, float64 `(texts, tokens, size)`, and `mask`, bool `(texts, tokens)`, True on real words. Similarity is the inner product of the vectors as they come. For every word take the most similar cell, and for every text the mean over its real words. It returns `(texts, pictures)`.

# %% [stub]
def fits(cells, words, mask):
    """How well each text fits each picture.

    cells : (pictures, cells, size)   words : (texts, tokens, size)
    mask : bool (texts, tokens)       returns : (texts, pictures)
    """
    raise NotImplementedError

# %% [solution]
def fits(cells, words, mask):
    rows = []
    for text, real in zip(words, mask):
        similar = torch.einsum("ws,pcs->pwc", text[real], cells)
        rows.append(similar.amax(2).mean(1))               # (pictures,)
    return torch.stack(rows)

# %% [hints]
# One table of similarities has four axes: text, picture, word, cell. Which of them goes first, and how?
# ---
# `einsum("tws,pcs->tpwc", words, cells)`, the largest over the last axis, then a mean over the words that ignores padding: a sum of masked values, divided by the number of real words of each text.
# ---
# ```python
# best = torch.einsum("tws,pcs->tpwc", words, cells).amax(3)   # (texts, pictures, tokens)
# real = mask[:, None].to(best.dtype)
# # sum best · real over the tokens, and divide by ____
# ```

# %%
captions = words_alone(extract_states(encoders, Pairs(None, photos.texts)))

class Match(Task):
    """Each caption finds its photo, each photo its caption, by late interaction."""

    separable = False   # rows of a batch are compared with one another

    def objective(self, outputs, batch):
        scores = outputs["scale"] * late_interaction(
            *(outputs[name] for name in ("cells", "words", "weights")))
        own = torch.arange(len(scores), device=scores.device)
        return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2

def align(texts, seed=SEED):
    """An aligner, trained on States of captions, row k of photo k."""
    torch.manual_seed(seed)
    aligner = Aligner(IMAGE_SIZE, TEXT_SIZE)
    both = States({"image": train.states["image"], "text": texts.states["text"]},
                  texts.masks)
    fit(aligner, both, task=Match(), epochs=3, batch_size=48, learning_rate=1e-2,
        seed=seed, progress=False)
    return aligner

aligner = align(captions)

def heat(question, word, pictures, by=None):
    """How similar each cell is to a word of a question, (pictures, cells)."""
    text = words_alone(extract_states(encoders, Pairs(None, [question])))
    tokenizer, n = encoders.text_encoder.tokenizer, len(pictures)
    at = tokenizer(question)["input_ids"].index(tokenizer.convert_tokens_to_ids(word))
    pairs = States({"image": pictures, "text": text.states["text"].expand(n, -1, -1)},
                   {"text": text.masks["text"].expand(n, -1)})
    out = predict(by or aligner, pairs)
    return (out["cells"] @ out["words"][:, at, :, None])[..., 0]

# %% [markdown]
# **Predict before you run:** the aligner has seen photos and captions, and nobody named a cell. Ask it *is there a duck?* of new photos with one duck, and look which cell is most similar to the word *duck*. At most one toy stands in each quarter of the table: how often is the best cell in the quarter of the duck? (Guessing: one in four.) The control is an aligner trained with the captions of other photos.

# %%
cell = torch.arange(CELLS)
middle = 64 * (torch.stack([cell % SIDE, cell // SIDE], 1) + 0.5) / SIDE   # pixels
facts, SEEN = fresh.extras, test.states["image"]

def quarter_of(x, y):
    """0 and 1 above, 2 and 3 below; at most one toy stands in each."""
    return (x >= 32).long() + 2 * (y >= 32).long()

def pointing(by):
    """How often the best cell is in the quarter of the toy that is named."""
    hits = []
    for kind, word in enumerate(KINDS):
        once = ((facts["kind"] == kind).sum(1) == 1).nonzero()[:, 0]
        slot = (facts["kind"][once] == kind).int().argmax(1)
        question = f"is there {article(word)} {word} ?"
        best = heat(question, word, SEEN[once], by).argmax(1)
        hits.append(quarter_of(*middle[best].T)
                    == quarter_of(facts["x"][once, slot], facts["y"][once, slot]))
    return float(torch.cat(hits).double().mean())

found["pointing"] = pointing(aligner)
for name in ("pointing", "pointing: captions of other photos"):
    print(f"{name:36s} log: {over_seeds(name)}")
claim("fewer than 0.8 of the best cells lie in the quarter of the toy",
      found["pointing"] < 0.8)

# %% [markdown]
# **The words match, and they point about half of the time.** In the mean that is more than with the captions of other photos (not in every seed: the ranges overlap), and it is much less than one expects of a model whose every word chooses a cell. Look at what the loss asks: *some* cell must fit the word. But a cell of the map is not its patch of pixels. Its receptive field is wider than the photo (add it up as in lesson 05), so a neighbour can know that there is a duck, and it will do as well. What is trained is whether the words match; the place is a by-product. ([CLS] and [SEP] are no words: to match whole sentences needs no place at all, so `words_alone` masks them. And captions also say what is *not* there.)
#
# ## 4. How sure, where, what
#
# *Is the boat left of the star?* cannot be answered by what stands in the best cells. It takes **where** they are. A word's look is a softmax over the cells, $\alpha = \mathrm{softmax}(\tau\, w^\top c)$, and three things can be read from it:
#
# 1. **how sure**: $\max_c w^\top c$, large if the thing is there at all (*is there a duck?*);
# 2. **where**: the expected place $\sum_c \alpha_c\, (x_c, y_c)$, two numbers, with $-1$ and $1$ in the middle of the outer cells (*left of?*);
# 3. **what**: $\sum_c \alpha_c\, v_c$, the mean of the cells' contents (*what color?*).
#
# The reader below chooses two words of the question (a softmax over the words for each of two **slots**), takes these three readings of each, adds the mean of all cells (for *how many*) and of the words (for *what is asked*), and lets a small net answer. **Left of is now a subtraction**, $x_1 - x_2 < 0$.

# %% tags=["hide-input"]
sketch = Schematic(9.0, 3.0)
squares = [[plots.IMAGE if (i, j) in ((1, 0), (2, 2)) else None for j in range(4)]
           for i in range(4)]
cells = sketch.grid((0.8, 1.55), squares, cell=0.3)
sketch.text("cells\n(B, h·w, C)", (0.8, 2.5), fontsize=8)
words = sketch.box("is the boat left of the star ?\n(B, T, E)", (1.45, 0.35),
                   (2.5, 0.5), plots.TEXT, fontsize=8)
look = sketch.box("every word looks\nsoftmax (B, T, h·w)", (3.1, 1.55), (1.6, 0.62),
                  plots.BOTH, fontsize=8)
sketch.arrow((1.42, 1.55), look)
sketch.arrow((2.3, 0.62), (2.85, 1.22), color=plots.TEXT)
slots = [sketch.box(f"slot {k}: {word}\nsure · (x, y) · what", (5.2, y), (1.6, 0.6),
                    plots.BOTH, fontsize=8)
         for k, word, y in ((1, "boat", 2.15), (2, "star", 1.0))]
for slot in slots:
    sketch.arrow(look, slot)
second = sketch.box("second look, from\nslot 1's place", (7.25, 2.5), (1.5, 0.55),
                    fontsize=8)
sketch.arrow(slots[0], second)
net = sketch.box("small net", (7.25, 1.2), (0.95, 0.5))
for part in (*slots, second):
    sketch.arrow(part, net)
answer = sketch.box("answer\n(B, n)", (8.5, 1.2), (0.75, 0.5))
sketch.arrow(net, answer)
sketch.show("Cells and words meet in looks, one for every word; two slots, boat and "
            "star, each read how sure, where and what; a second look starts from the "
            "place of the first slot; a small net turns all of it into an answer.")

# %% [exercise] 17.3
# Find where a look goes. Your function receives `scores`, float64 `(batch, cells)`, of cells that stand row by row from the upper left, and the numbers `rows` and `columns`. Take the softmax over the cells, and return the expected place, `(batch, 2)`: x from −1 (the middle of the first column) to 1 (the middle of the last), and y from −1 (first row) to 1 (last row). With a single column x is 0, with a single row y is.

# %% [stub]
def expected_place(scores, rows, columns):
    """The mean place of the cells, weighted by a softmax of their scores.

    scores : float64 (batch, cells)   rows, columns : ints   returns : (batch, 2), x, y
    """
    raise NotImplementedError

# %% [solution]
def expected_place(scores, rows, columns):
    look = scores.softmax(1).unflatten(1, (rows, columns))
    x = torch.linspace(-1, 1, columns, dtype=scores.dtype) if columns > 1 else 0.0
    y = torch.linspace(-1, 1, rows, dtype=scores.dtype) if rows > 1 else 0.0
    return torch.stack([(look.sum(1) * x).sum(1), (look.sum(2) * y).sum(1)], 1)

# %% [hints]
# First the place of every cell, a table (cells, 2). Then a weighted mean of its rows.
# ---
# Cell $i$ stands in column $i \bmod \text{columns}$ and in row $\lfloor i / \text{columns} \rfloor$. Scale column $k$ to $2k/(\text{columns}-1) - 1$.
# ---
# ```python
# i = torch.arange(rows * columns)
# x = 2 * (i % columns) / max(columns - 1, 1) - 1      # and 0 for a single column
# y = ____
# # softmax(1) of the scores, times the table of both
# ```

# %% [markdown]
# (A mean of places has a weakness. A word with two good cells, far apart, looks at the middle between them, where nothing stands. For *the duck*, when there is one, it is what we want; for *a duck*, when there are three, it is not.)
#
# ## 5. The reader, kind by kind
#
# The reader starts from a copy of the aligner, which learns on. It is trained on the questions alone, with cross-entropy over all answers. Then everything is asked again with **the photo of somebody else** (the same questions, every photo moved to another row).
#
# **Predict before you run:** with other people's photos, how often will it be right about *cracked*? The blind score is .590.

# %%
places = (2 * torch.stack([cell % SIDE, cell // SIDE], 1) / (SIDE - 1) - 1).float()

def read_questions(rows=None, start=None, seed=SEED, **settings):
    """A reader, trained on questions about the training photos."""
    torch.manual_seed(seed)
    start = Aligner(IMAGE_SIZE, TEXT_SIZE) if start is None else copy.deepcopy(start)
    settings = {"places": places} | settings
    reader = GroundedReader(start, IMAGE_SIZE, TEXT_SIZE, len(ANSWERS), **settings)
    fit(reader, train if rows is None else rows, epochs=4, batch_size=256,
        learning_rate=3e-3, seed=seed, progress=False)
    return reader

reader = read_questions(start=aligner)
logits = predict(reader, test)
scores = by_type(logits.argmax(1), "reader")
neighbour = (test.rows["image"] + 1) % len(SEEN)
moved = SharedStates(test.states, test.masks, test.labels,
                     rows=test.rows | {"image": neighbour})
wrong_photo = by_type(predict(reader, moved).argmax(1), "other photos")
COLUMNS = ("blind", "mean cell", "FiLM", "reader", "other photos")
print(f"{'log, mean of five seeds':23s}" + "".join(f"{one:>14s}" for one in COLUMNS))
for name in (*TYPES, "overall"):
    means = [float(logged(f"{column}: {name}").mean()) for column in COLUMNS]
    print(f"{name:23s}" + "".join(f"{mean:14.3f}" for mean in means))
found["pointing after the questions"] = pointing(reader.aligner)
lowest = min(logged(f"reader: {name}").min() for name in TYPES if name != "word")
print(f"the reader's lowest, of all kinds but the word and of all seeds: {lowest:.3f}")
least = min(scores[name] for name in TYPES if name != "word")
claim("the reader answers 0.9 or more of every kind but the printed word", least >= 0.9)
claim("on cracked, with other photos, it is below the blind",
      wrong_photo["cracked"] < blind_scores["cracked"])

# %% [markdown]
# **Every kind that coarse cells can answer is answered**, nine times in ten or more, in every seed. The word on the card is not, and section 7 is about that. The control of one cell (the same reader, with the mean of all cells in the place of the map) counts and sees cracks nearly as FiLM does, and it fails where FiLM fails. (The mean need not have lost it: what is there and what training finds are two questions, section 11.)
#
# And now the words do point: after the questions, with no place ever given as a label, the best cell is in the toy's quarter nearly always (in section 3 it was in half of the cases). The questions alone teach it, too: the last line below is of a reader that never had captions.
#
# With other people's photos every kind is near the blind level. On *cracked* it is **below**: about one half, and not .59. It does not fall back to the best guess; it reads the wrong photo as if it were the right one, and two independent draws agree in $.59^2 + .41^2 = .52$ of the cases. A model at its blind score may never look. But one that never looks says the same whatever the photo, so one whose score changes with the photo did look.

# %%
four = [len(set(kinds.tolist())) == 4 and int(kinds.min()) >= 0
        for kinds in facts["kind"]]
many = four.index(True)
NAMED = [KINDS[int(kind)] for kind in facts["kind"][many]]
TAUGHT = {"captions alone": aligner, "captions, then questions": reader.aligner}

def show_heat(ax, word, by):
    question = f"is there {article(word)} {word} ?"
    values = heat(question, word, SEEN[many:many + 1], TAUGHT[by])[0]
    ax.imshow(fresh.images[many].permute(1, 2, 0).numpy(), extent=(0, 64, 64, 0))
    ax.imshow(values.reshape(SIDE, SIDE), extent=(0, 64, 64, 0), cmap="Greys_r",
              alpha=0.55)
    ax.set(xticks=[], yticks=[])
    ax.set_title(question, fontsize=9)
    ax.grid(visible=False)

def one_word(word, taught_by):
    fig, ax = plots.figure(width=2.6, height=2.8)
    show_heat(ax, word, taught_by)
    return fig

plots.explore(one_word, "One photo of four toys under the heat of a word: the cells "
              "that are most similar to it stay light, the others turn dark.",
              word=NAMED, taught_by=list(TAUGHT))
fig, axes = plots.figure(2, 4, width=8.4, height=4.8)
for row, by in zip(axes, TAUGHT):
    for ax, word in zip(row, NAMED):
        show_heat(ax, word, by)
    row[0].set_ylabel(by, fontsize=9)
plots.show(fig, "The photo of the slider under the heat of four words. Above, "
                "after captions alone, other toys are often light, too; below, after "
                "the questions, the quarter of the toy that is named is lightest.")
for name in ("pointing", "pointing after the questions", "pointing: no captions"):
    print(f"{name:30s} log: {over_seeds(name)}")
claim("after the questions more than 0.8 of the best cells are in the toy's quarter",
      found["pointing after the questions"] > 0.8)

# %% [markdown]
# ## 6. Questions of two steps
#
# *What color is the toy next to the duck?* is about a toy that it does not name. First find the duck; then look **from there**, along its row, and read. One look cannot do that: no word of the question fits the cell whose colour is wanted. (*Next to* is the toy in the same row here, *above* and *below* the one straight above or below it. These questions are asked where three or four toys stand: with two, *the other one* would do.)
#
# The second look is a softmax over the cells whose score depends on where a cell lies **relative to the place of the first slot**. With the offset $(u, v) = (x_c - x_1,\; y_c - y_1)$, the words of the question give five numbers $a$, and the score is $a_1 u + a_2 v + a_3 u^2 + a_4 v^2 + a_5\,t_c$, where $t_c$ says how much the cell looks like a toy at all. *Next to* should become: $v$ near 0, $u$ far from it, and a toy. (The squares matter: with $a_1 u + a_2 v$ alone the place of the first slot would cancel in the softmax.)
#
# **Predict before you run:** the control is the same reader without the second look. It sees the mean of all cells, so it may know which colours the photo has. With three toys two others are in question, with four three. Will it be at the blind score of $\frac16$?

# %%
for name in ("one look: two steps", "reader: two steps", "blind: two steps",
             "one look: overall", "reader: overall"):
    print(f"{name:24s} log: {over_seeds(name)}")
WAYS = ("next to", "above", "below")
rows_of = [next(row for row, text in enumerate(tested.texts)
                if f"toy {way} the" in text) for way in WAYS]

class SecondLook(nn.Module):
    def __init__(self, reader):
        super().__init__()
        self.reader = reader

    def forward(self, states):
        return self.reader.looks(states)["second"]

looks = predict(SecondLook(reader), test[torch.tensor(rows_of)])     # (3, cells)
fig, axes = plots.figure(1, 3, width=7.4, height=2.9)
for ax, row, values in zip(axes, rows_of, looks):
    photo = fresh.images[tested.picture[row]].permute(1, 2, 0).numpy()
    ax.imshow(photo, extent=(0, 64, 64, 0))
    ax.imshow(values.reshape(SIDE, SIDE), extent=(0, 64, 64, 0), cmap="Greys_r",
              alpha=0.55)
    ax.set_title(textwrap.fill(tested.texts[row], 24), fontsize=8)
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
plots.show(fig, "Three photos with questions of two steps, next to, above and below; "
                "where the second look goes is light, the rest dark.")

# %% [markdown]
# Without the second look the reader is well above the blind score, since the mean of the cells tells it which colours are in the photo: a guess among two or three others. With it, it answers. In the three photos the light goes where the question sends it, and no label ever said where that is. Two looks were built in here, by somebody who knew the questions.
#
# ## 7. What does the card say?
#
# Half of the photos that have room show a card with a word of four letters, printed in a font of five by seven pixels. The reader's cells are $16 \times 16$ pixels each, and what is in a cell went through an encoder that learned toys. **Predict before you run:** will it find the card? Will it read the word?
#
# If the coarse cells can *find* the card, a closer look can read it. Take the expected place of the look of the word *card* in *is the card left of the duck?* (some of the training questions were such), cut a window of $24 \times 40$ pixels around it out of the photo itself, and give that to a small net of its own: it slides windows as large as a word over the glimpse, and keeps for each the best place. (Such windows are called **glimpses**.) The control is the same net with no look before it: it slides its windows over the whole photo.

# %%
WHERE = "is the card left of the duck ?", "card"

def glimpse(pairs, cells, rows, height=24, width=40):
    """Windows around where the look for a card goes, (rows, 1, height, width)."""
    look = (20 * heat(*WHERE, cells[rows], reader.aligner)).softmax(1)
    place = (look @ middle).round().long()                   # (rows, 2), x and y
    grey = pairs.images[rows].float().mean(1) / 255
    y = (place[:, 1:] + torch.arange(height) - height // 2).clamp(0, 63)
    x = (place[:, :1] + torch.arange(width) - width // 2).clamp(0, 63)
    window = grey[torch.arange(len(rows))[:, None, None], y[:, :, None], x[:, None]]
    return (window - window.mean((1, 2), keepdim=True))[:, None]

with_word = (photos.extras["word"] >= 0).nonzero()[:, 0]
fresh_word = (facts["word"] >= 0).nonzero()[:, 0]
truth = facts["word"][fresh_word]
best = heat(*WHERE, SEEN[fresh_word], reader.aligner).argmax(1)
hits = quarter_of(*middle[best].T) == facts["card"][fresh_word]
found["card found"] = float(hits.double().mean())

class WordNet(nn.Module):
    """forward(States of windows (rows, 1, 960)) → logits (rows, 8 words)."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Unflatten(2, (24, 40)), nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(8, 32, (4, 12)), nn.ReLU(),   # a word's size
            nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, len(WORDS)))
        settle(self)

    def forward(self, states):
        return self.net(follow(states, self).states["image"])

def windows(pairs, cells, rows):
    seen = glimpse(pairs, cells, rows)
    return States({"image": seen.flatten(2)}, labels=pairs.extras["word"][rows])

torch.manual_seed(SEED)
word_net = WordNet()
fit(word_net, windows(photos, train.states["image"], with_word), epochs=8,
    batch_size=64, learning_rate=3e-3, seed=SEED, progress=False)
close = windows(fresh, SEEN, fresh_word)
said = predict(word_net, close).softmax(1)
found["a closer look: word"] = float((said.argmax(1) == truth).double().mean())
about_cards = torch.tensor(["card" in text for text in tested.texts])
both = logits.argmax(1)
nearer = windows(fresh, SEEN, tested.picture[about_cards])
both[about_cards] = ANSWERS.index(WORDS[0]) + predict(word_net, nearer).argmax(1)
both_scores = by_type(both, "both")
for name in ("card found", "blind: word", "reader: word", "a closer look: word",
             "the whole photo: word", "reader: overall", "both: overall"):
    print(f"{name:22s} log: {over_seeds(name)}")
claim("the look for a card goes to its quarter in 0.9 or more",
      found["card found"] > 0.9)
claim("the closer look reads 0.9 or more of the words",
      found["a closer look: word"] > 0.9)
claim("with it for questions about cards, all kinds together reach 0.95",
      both_scores["overall"] >= 0.95 and min(both_scores.values()) >= 0.9)

# %% [markdown]
# **The pixels read the word, and the look only saves work.** With four times as many pixels and no look, the control reads better still.
#
# So it can read? Print **other words** on the cards, made of the same letters: *post* has the letters of *stop*, *seal* those of *sale*. **Predict before you run:** what does it answer, and how sure is it?

# %%
STRANGE = ("post", "spot", "seal", "sole", "gold", "tree", "nope", "fold")
plain = Toys().sample(600, "test", start=1000 + SEED * 600)
strange = with_cards(plain, 1.0, words=STRANGE, seed=SEED + 60)
with_strange = (strange.extras["word"] >= 0).nonzero()[:, 0]
strange_cells = extract_states(encoders, Pairs(strange.images, None)).states["image"]
off = predict(word_net, windows(strange, strange_cells, with_strange)).softmax(1)
found["sure of words that it learned"] = float(said.amax(1).mean())
found["sure of words that it never saw"] = float(off.amax(1).mean())
sure = torch.cat([said.amax(1), off.amax(1)])
known = torch.arange(len(sure)) < len(said)
found["known or not, by sureness (AUC)"] = auc(sure, known)
for name in ("sure of words that it learned", "sure of words that it never saw",
             "known or not, by sureness (AUC)"):
    print(f"{name:34s} log: {over_seeds(name)}")
equal = torch.tensor([[sum(a == b for a, b in zip(one, other)) for other in WORDS]
                      for one in STRANGE])                    # letters in their place
nearest = equal == equal.amax(1, keepdim=True)                # (strange, known)
alike = nearest[strange.extras["word"][with_strange], off.argmax(1)]
print(f"a known word with most letters in place, by chance: "
      f"{nearest.double().mean():.3f}")
claim("more than half of the strange words are read as such a word",
      float(alike.double().mean()) > 0.5)
examples = with_strange[:6]
plots.show(plots.pictures(strange.images[examples],
                          [STRANGE[int(k)] for k in strange.extras["word"][examples]],
                          columns=6, size=1.3),
           "Six photos with cards that say words which the net never learned.")

# %% [markdown]
# **It does not read.** It learned eight pictures, and every card becomes one of them, in more than half of the cases one with the most letters in their place. Its sureness falls with strange words, and that helps. But *unsure* is not *post*. Reading would need an output for each letter, or a decoder that spells (lesson 16). Systems that read text in photos have that part: an OCR module finds and spells the words, and the answer may be copied from what it found (Singh and others, 2019).
#
# ## 8. "I cannot tell"
#
# *What color is the duck?*, and there is no duck. A reader with a closed list of answers **always** answers. A help desk would rather say *I cannot tell*, so it needs a number that says when.
#
# Take questions about the colour of a toy, half of them about one that is not there. Two candidates for the number:
#
# - **its confidence**: the probability of the answer that it gives;
# - **a question back to itself**: for *what color is the duck?* ask the same reader *is there a duck?* and take its probability of *yes*.
#
# **Predict before you run:** which of the two knows that there is no duck?

# %%
doubtful = ask(fresh, {"color": 1, "absent": 1}, seed=SEED + 70)
there = torch.tensor([one == "color" for one in doubtful.extras["type"]])
probability = predict(reader, extract_shared(encoders, doubtful, SEEN)).softmax(1)
right = probability.argmax(1) == doubtful.labels
nouns = [text.split()[-2] for text in doubtful.texts]
back = Pairs(fresh.images, [f"is there {article(noun)} {noun} ?" for noun in nouns],
             picture=doubtful.picture)
yes_no = [ANSWERS.index(word) for word in ("yes", "no")]
self_check = predict(reader, extract_shared(encoders, back, SEEN))[:, yes_no]
signals = {"its confidence": probability.amax(1),
           "a question back": self_check.softmax(1)[:, 0]}
found["confidence where the toy is there"] = float(probability.amax(1)[there].mean())
found["confidence where it is not"] = float(probability.amax(1)[~there].mean())

def risk_coverage(signal):
    """Wrong answers among the n surest, for every n, and the share that they are."""
    wrong = (~right[signal.argsort(descending=True)]).double()
    n = torch.arange(1, len(wrong) + 1)
    return n / len(wrong), wrong.cumsum(0) / n

fig, ax = plots.figure(width=5.6, height=2.9)
for (name, signal), shade in zip(signals.items(), (plots.TEXT, plots.BOTH)):
    coverage, risk = risk_coverage(signal)
    ax.plot(coverage[20:], risk[20:], color=shade, label=name)
    found[f"{name}: AUC"] = auc(signal, there)
    found[f"{name}: risk at half"] = float(risk[len(risk) // 2])
ax.axvline(float(there.double().mean()), color=plots.GREY, ls=":", lw=1)
ax.set(xlabel="share of questions answered", ylabel="wrong among them", ylim=(0, 0.6))
ax.legend(fontsize=8)
plots.show(fig, "Wrong answers among those given, against the share of questions "
                "answered: by its confidence about two in ten soon, and three in ten "
                "at the half; by the question back nearly none up to the half that "
                "can be answered (dotted); at the end both are at one half.")
for name in ("confidence where the toy is there", "confidence where it is not",
             *(f"{one}: {what}" for one in signals
               for what in ("AUC", "risk at half"))):
    print(f"{name:34s} log: {over_seeds(name)}")
claim("the question back is the better adviser: its AUC is higher by 0.05 or more",
      found["a question back: AUC"] > found["its confidence: AUC"] + 0.05)

# %% [markdown]
# **Where to cut?** As in lesson 18, costs decide. Let silence cost 1, a wrong answer $w$, a right one nothing. With the probability $p$ to be right, answering costs $(1-p)\,w$ in the mean, so answer where $p \ge 1 - \frac1w$. For $w = 5$ that is .8. (If $w \le 1$, silence never pays.) The formula believes $p$; if the confidence is no probability of being right, its threshold means nothing.

# %%
WRONG, SILENCE = 5.0, 1.0

def cost(answered, correct):
    """What a question costs."""
    return float(torch.where(answered, WRONG * (~correct).double(), SILENCE).mean())

cut = 1 - SILENCE / WRONG
always = torch.ones_like(right)
policies = {"always answer": always, "never answer": ~always,
            "confidence ≥ .8": signals["its confidence"] >= cut,
            "question back ≥ .8": signals["a question back"] >= cut,
            "knows what is there": there}
for name, answered in policies.items():
    found[f"cost: {name}"] = cost(answered, right)
for name in (*policies, "taught to say it"):
    print(f"{name:22s} a question costs, log: {over_seeds(f'cost: {name}')}")
cuts = signals["its confidence"].quantile(torch.linspace(0, 1, 101))
claim("at no threshold of its confidence does a question cost less than 0.9",
      min(cost(signals["its confidence"] >= one, right) for one in cuts) > 0.9)
claim("the question back costs less than the confidence by 0.1 or more",
      found["cost: question back ≥ .8"] < found["cost: confidence ≥ .8"] - 0.1)

# %% [markdown]
# The confidence hardly falls when the toy is not there: the softmax was only ever asked *which colour*, and some colour always wins. The question back asks what was trained. At the same threshold it costs less than half as much, and less than never answering at all, against which the confidence saves less than a tenth at any threshold. **A number is worth what it was trained to say.** (The last line of the table is a reader that had questions about absent toys in its training, with the answer *cannot tell*. It costs about as much as the question back. Where you can collect such questions, that is the plain remedy, and it knows the kind of nonsense that you thought of.)
#
# ## 9. What ten people say
#
# Real questions have no exact truth. VQA v2 asked ten people about every question, and an answer counts $\min(n/3, 1)$, where $n$ of **the other nine** gave it, averaged over which of the ten is left out (so that a person can be scored by the same rule).
#
# **In small numbers.** Four say *red*, six say *orange*. For *red*, leave out one of the four: three others agree, 1. Leave out one of the six: four agree, cut to 1. The score is 1, and *orange* gets 1 as well. If one says *pink*: leave that one out, 0; leave out another, $\frac13$: $\frac{1 \cdot 0 + 9 \cdot \frac13}{10} = .3$.

# %% [exercise] 17.4
# Score answers among people. Your function receives `answer`, int64 `(rows,)`, and `given`, int64 `(rows, people)`, what each of the people said. For every row and every one of the people left out, count how many of the others gave this answer, divide by 3, cut at 1; return the mean over who is left out, float64 `(rows,)`.

# %% [stub]
def accuracy_among(answer, given):
    """How right an answer is among those of several people.

    answer : int64 (rows,)   given : int64 (rows, people)   returns : float64 (rows,)
    """
    raise NotImplementedError

# %% [solution]
def accuracy_among(answer, given):
    agree = (given == answer[:, None]).double()            # (rows, people)
    others = agree.sum(1, keepdim=True) - agree            # without the one left out
    return (others / 3).clamp(max=1).mean(1)

# %% [hints]
# Who agrees is a table (rows, people) of 0 and 1. How many agree without person $k$?
# ---
# All who agree, less one if person $k$ is among them: `agree.sum(1, keepdim=True) - agree`. Then a third each, cut at 1, and the mean.
# ---
# ```python
# agree = (given == answer[:, None]).double()
# others = agree.sum(1, keepdim=True) - ____
# # (others / 3), cut at 1, the mean over the people
# ```

# %% [markdown]
# The data set comes as two JSON files: questions, and annotations with ten answers each. The next cell writes fifty of our questions in that layout, answered by ten simulated people of whom each says the truth three times in four and else something that fits the question, and reads them back with the course's reader for it. One thing is planted: a question that everybody answers with *teal*, which is no answer of the training rows. Then an empty question is tried, and one that is too long.

# %%
draw = torch.Generator().manual_seed(SEED)
chosen = torch.randperm(len(tested), generator=draw)[:50].tolist()
folder = Path(tempfile.mkdtemp())
fitting = {name: [ANSWERS[int(label)] for label, one in zip(asked.labels, asked.extras[
    "type"]) if one == name] for name in TYPES}
questions, annotations = [], []
for number, row in enumerate(chosen):
    kind, truth_said = tested.extras["type"][row], ANSWERS[int(tested.labels[row])]
    people = []
    for person in range(10):
        honest = torch.rand((), generator=draw) < 0.75
        guess = int(torch.randint(len(fitting[kind]), (), generator=draw))
        people.append(truth_said if honest else fitting[kind][guess])
    people = ["Teal."] * 10 if number == 7 else people
    photo = int(tested.picture[row])
    questions.append({"question_id": number, "image_id": photo,
                      "question": tested.texts[row]})
    annotations.append({"question_id": number, "image_id": photo, "question_type": kind,
                        "answers": [{"answer_id": k + 1, "answer": one}
                                    for k, one in enumerate(people)]})

def write(name, entries):
    path = folder / f"{name}.json"
    path.write_text(json.dumps({name: entries}), "utf-8")
    return path

files = write("questions", questions), write("annotations", annotations)
rows = read_vqa(*files)
print(f"{len(rows)} questions read; the first: {rows[0].question!r}")
print("  ten people:", dict(Counter(rows[0].answers)))
first_said = [Counter(row.answers).most_common(1)[0][0] for row in rows]
tokenizer = encoders.text_encoder.tokenizer
for attempt in (lambda: answer_labels(first_said, ANSWERS),
                lambda: check_questions(["what color is the duck ?", "  "], tokenizer),
                lambda: check_questions(["is it red " * 60 + "?"], tokenizer)):
    try:
        attempt()
    except ValueError as error:
        print(textwrap.fill(f"→ {error}", 96))
        continue
    raise AssertionError("bad input was taken")

# %%
given = torch.stack([answer_labels(row.answers, ANSWERS, unseen=-1) for row in rows])
pairs = Pairs(fresh.images, [row.question for row in rows],
              picture=torch.tensor([row.image_id for row in rows]))
by_reader = predict(reader, extract_shared(encoders, pairs, SEEN)).argmax(1)
truths = tested.labels[torch.tensor(chosen)]
like_me = (given[:, :, None] == given[:, None]).double().sum(2) - 1  # the other nine
people_scores = {"the reader": vqa_accuracy(by_reader, given),
                 "the truth itself": vqa_accuracy(truths, given),
                 "one of the people": (like_me / 3).clamp(max=1).mean(1)}
for name, marks in people_scores.items():
    found[f"among people: {name}"] = float(marks.mean())
    print(f"{name:18s} among ten people, log: {over_seeds(f'among people: {name}')}")
claim("the question whose people all said teal scores 0, whatever is answered",
      float(vqa_accuracy(by_reader, given)[7]) == 0)
counts = torch.arange(5)
table = vqa_accuracy(torch.ones(5, dtype=torch.int64),
                     (torch.arange(10) < counts[:, None]).long())
print("of ten people agree, and it counts:", {n: round(float(v), 2)
                                              for n, v in zip(counts.tolist(), table)})

# %% [markdown]
# Three things to see. **The truth itself does not score 1**: it gets 0 where all say *teal*. Of the other 49 it misses nothing, though people disagree, since four of ten are enough. One of the people, scored by the other nine, gets less than the truth, so a model above the people is no wonder. And an answer from outside the list scores 0 however good the model is.
#
# The files of the real set, 443,757 questions for training and 214,354 for validation, are on https://visualqa.org/download.html; `read_vqa` reads their questions and annotations as they are. This course knows no hash to check them by, so it does not fetch them for you. And read the code of a metric before you quote it: in the set's own evaluation program (vqaEval.py, GT-Vision-Lab/VQA on GitHub, commit 07aecec) the overall score is the mean over the people left out, but the scores *per kind of question* take the loop's last value, which is the one without the last person.
#
# ## 10. Break it: take one part away
#
# Which part answers which kind? Four readers, each without one thing, and one whose captions were *swapped* among the photos, trained from the start on the same questions with the same number of steps (log of five seeds). **Predict before you run:** *without captions* the aligner starts at random and has only the questions to learn from. *Without places* the reader is told that every cell stands in the middle. Which kinds fall, and how far?

# %%
COLUMNS = {"reader": plots.BOTH, "no captions": plots.TEXT, "swapped": "#CC79A7",
           "no places": plots.IMAGE, "one look": "#E69F00", "mean cell": plots.GREY}
fig, ax = plots.figure(width=8.6, height=3.2)
for place, (column, shade) in enumerate(COLUMNS.items()):
    for at, name in enumerate(TYPES):
        values = logged(f"{column}: {name}")
        x = at + 0.14 * (place - 2.5)
        ax.bar(x, values.mean(), 0.13, color=shade, label=column if at == 0 else None)
        ax.plot([x] * len(values), values, ".", color="black", ms=2.5)
for at, name in enumerate(TYPES):
    ax.hlines(DERIVED[name], at - 0.42, at + 0.42, color="black", ls="--", lw=1)
ax.set(xticks=range(len(TYPES)), xticklabels=TYPES, ylim=(0, 1.05), ylabel="accuracy")
ax.legend(fontsize=8, ncols=6, loc="upper center", bbox_to_anchor=(0.5, 1.2))
plots.show(fig, "Bars for seven kinds and six readers, five seeds as dots, the blind "
                "score as a dashed line. The whole reader is near 1 but for the word. "
                "Without captions, or with swapped ones, left of and the two steps "
                "scatter from half to 1; without the second look the two steps fall "
                "below one half, without places too, and left of is a coin; with the "
                "mean cell only count and cracked stay high.")
print(f"{'log, mean of five':17s}" + "".join(f"{column:>13s}" for column in COLUMNS))
for name in (*TYPES, "overall"):
    means = [float(logged(f"{column}: {name}").mean()) for column in COLUMNS]
    print(f"{name:17s}" + "".join(f"{mean:13.3f}" for mean in means))

# %% [markdown]
# Each part has its kinds. Without **places** *left of* is a coin again, and the two steps fall with it: a second look that starts from nowhere goes nowhere. Without the **second look** the two steps fall, and they alone. With **one cell** *count* and *cracked* stand, and all else falls.
#
# **And without captions?** *Color* stays and *exists* loses some points: the questions alone teach that much. But look at the dots of *left of* and of the two steps: anything from a coin to nearly perfect, and no seed has both. Whether they come within these steps is a lottery, and with *swapped* captions it is one, too, as is *exists*: what helps is not a longer training, but that the captions are true. They hardly teach where to look (section 3); they are a head start after which the rest comes reliably. Whether more steps on questions would do as well was not measured here. (FiLM had no captions: compare it with this reader.) Take one part away, in several seeds, before you say what it is for.
#
# ## 11. A stretch: why *is there a duck?* is hard

# %% [exercise] 17.5
# **On paper first.** A score that is a **sum of two opinions**, $f(\text{word}) + g(\text{photo})$, says yes where it is above 0. (A linear layer on a question vector beside a photo vector is such a sum.) (a) Take the words *duck* and *car* and two photos, one with a duck and one with a car. Show that no sum is right about all four questions, and that three of four is the most. (b) Show that the tables of yes and no that a sum can say are exactly these: put the words in some order; every photo says yes to the first few, as many as it likes. (c) With $K$ kinds and photos of one toy, asked such that yes and no are equally often right, what does the best sum reach? Does it get worse with more kinds? (d) FiLM is no sum, so (a) does not bind it. What does its plateau show, then?
#
# **Then build it.** Your function receives `truth`, bool `(words, pictures)`, and `weight`, float64 of the same shape, how often each pair is asked, of sum 1. It returns the accuracy of the best sum, a float64 scalar. There are at most five words: (b) lets you try all orders.

# %% [stub]
def best_sum(truth, weight):
    """The accuracy of the best rule "yes where f[word] + g[picture] > 0".

    truth : bool (words, pictures)   weight : float64, the same   returns : scalar
    """
    raise NotImplementedError

# %% [solution]
def best_sum(truth, weight):
    from itertools import permutations
    gain = torch.where(truth, weight, -weight)             # of yes in the place of no
    nothing = torch.zeros(1, truth.shape[1], dtype=weight.dtype)
    best = -torch.inf
    for order in permutations(range(len(truth))):
        first = torch.cat([nothing, gain[list(order)].cumsum(0)])   # yes to the first k
        best = max(best, float(first.amax(0).sum()))
    return (weight * ~truth).sum() + best

# %% [hints]
# Sort the words by $f$. For one photo, which words get a yes if its $g$ grows?
# ---
# Start from *no* everywhere, which earns `(weight * ~truth).sum()`. Saying yes in the place of no earns `+weight` where the truth is yes and `-weight` where it is no. For one order of the words, cumulative sums give what each photo earns with the first 0, 1, 2, … words; every photo takes its best.
# ---
# ```python
# gain = torch.where(truth, weight, -weight)
# for order in itertools.permutations(range(len(truth))):
#     earned = gain[list(order)].cumsum(0)               # yes to the first 1, 2, … words
#     each = earned.amax(0).clamp(min=____)              # or to none of them
#     # the sum over the pictures; keep the best order
# ```

# %% [answer]
# (a) Right about all four would mean $f_d + g_1 > 0$, $f_c + g_2 > 0$, $f_d + g_2 \le 0$, $f_c + g_1 \le 0$. The first two add up to something above 0, the last two, the same four terms, to something not above 0. So one at least is wrong; three are right with $f_d = 1, f_c = 0$ and $g_1 = 0, g_2 = \frac12$: yes, no for the first photo; yes (wrong), yes for the second. This is the XOR of lesson 06, and the *mixed difference* of lesson 08, which is 0 for every sum.
#
# (b) Order the words by $f$, the largest first. A photo says yes where $f > -g$: to all words before some place in this order, and to none behind it. The other way round: give the words of any order the values $K, K-1, \dots, 1$ and a photo that says yes to $k$ of them $g = k - K - \frac12$: the $k$-th word comes to $\frac12$, the next to $-\frac12$. So every such table is a sum.
#
# (c) $\frac34$ for every $K$. Each photo has half of its weight on its own kind and $\frac1{2(K-1)}$ on each other one. In the order of the words, photo $r$ (of the $r$-th word) says yes to the first $r$: it is right about its own kind ($\frac12$) and about the $K - r$ words behind, $\frac{K-r}{2(K-1)}$. The mean over $r$ is $\frac12 + \frac14$. And no photo gains by stopping earlier (*no* to everything earns $\frac12 \le \frac12 + \frac{K-r}{2(K-1)}$) or later. It does not get worse with more kinds, so a sum that reaches .7 has understood nothing: it has put the kinds in an order.
#
# (d) FiLM multiplies, so it *can* say every table. Its plateau shows that gradient descent did not find it in these steps from this start, and that is all that it shows: what can be expressed and what is found are two questions (lesson 08). The reader multiplies as well, words with cells, and it was found, with captions and without (section 10).

# %% [markdown]
# ## 12. Recap
#
# You can now
# - derive and count what an answer without looking reaches, kind by kind;
# - match words with cells by late interaction, and test whether they point;
# - read *how sure, where, what* from a look, and start a second one from the first;
# - read pixels where a coarse map found something, and say what a closed vocabulary cannot read;
# - set a threshold for silence from costs, and test the number that it is applied to;
# - read VQA's files, and score an answer among ten people.
#
# At `full` the same cells run with BERT-base and ResNet-50 under aligner and reader. `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? A model answers 70 % of all questions, a blind one 45 %. What do you know about *left of*?
# - It is answered in 70 % of the cases :: The 70 % are a mean over kinds. A kind may be far above or below it.
# - It is answered better than by the blind, as all kinds are :: Section 1 had a kind at the blind score under a higher overall number.
# + Nothing, until its own number stands beside its own blind score :: An overall accuracy depends on how often each kind is asked, and hides each of them.
# ? You ask a reader about other people's photos. *Is any toy cracked?* is answered *no* in 59 % of the training rows. About how often is it right, if it reads whatever photo it gets perfectly?
# - 59 % :: That needs *no* every time. It answers *yes* as often as toys are cracked in the wrong photos.
# + 52 % :: Two independent draws agree with .59² + .41².
# - 41 % :: It is not wrong on purpose.
# - 50 % :: Only if yes and no were equally frequent.
# ? Words never trained on are printed on the cards. What can a reader with a closed list of eight words do?
# - Spell them, since it knows the letters :: It learned eight pictures of words, and no letter has an output of its own.
# + Nothing right; at best it can be unsure :: Every answer that it has is wrong here. Letters, read one by one, would need a decoder (lesson 16) or outputs per letter.
# - Answer *cannot tell* :: Nobody trained it to, and the softmax must sum to 1 over the words that it has.
# ? Silence costs 1, a wrong answer 4. The reader's probability to be right is honest. When should it answer?
# - From .25 on :: There a wrong answer would cost 3 in the mean, and silence 1.
# - From .5 on :: That is for a wrong answer that costs 2.
# + From .75 on :: (1 − p) · 4 ≤ 1.
# - From .8 on :: That is for a wrong answer that costs 5.

# %% [markdown]
# **Glossary**: *VQA*, a question and a picture in, an answer out · *blind score*, what the best answers without the picture reach; also *language prior* · *late interaction*, words and cells compared before anything is pooled · *look*, a softmax over cells that a word makes · *slot*, a learned choice of one word of the question · *expected place*, the mean of the cells' places under a look · *glimpse*, a window of pixels around a place · *closed vocabulary*, a fixed list of answers · *coverage*, the share of questions that are answered; *risk*, the share of wrong ones among them · *pointing game*, whether the best cell lies on the thing that is named.
#
# **References**
# - S. Antol and others, *VQA: visual question answering*, ICCV 2015: the task, the ten people, the accuracy.
# - Y. Goyal and others, *Making the V in VQA matter*, CVPR 2017: VQA v2, where most questions have two similar photos with different answers.
# - A. Agrawal, D. Batra, D. Parikh, A. Kembhavi, *Don't just assume; look and answer*, CVPR 2018: other priors in the test than in training.
# - J. Johnson and others, *CLEVR*, CVPR 2017: drawn scenes whose questions have exact answers and known steps.
# - E. Perez and others, *FiLM: visual reasoning with a general conditioning layer*, AAAI 2018: section 1's model.
# - L. Yao and others, *FILIP: fine-grained interactive language-image pre-training*, ICLR 2022: late interaction of words and patches.
# - V. Mnih, N. Heess, A. Graves, K. Kavukcuoglu, *Recurrent models of visual attention*, NeurIPS 2014: glimpses.
# - A. Singh and others, *Towards VQA models that can read*, CVPR 2019: questions about text in photos, and a model with an OCR beside it.
# - S. Whitehead and others, *Reliable visual question answering: abstain rather than answer incorrectly*, ECCV 2022: risk and coverage for VQA.

# %% [progress]
