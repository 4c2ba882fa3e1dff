# %% [markdown]
# # 11 Contrastive alignment, zero-shot
#
# **The one thing to take away:** contrastive training is classification with as many classes as the batch has rows, and the classes *are* the other rows. What it learns, and what it never learns, follows from who those other rows are.
#
# You will be able to
# - write InfoNCE and the sigmoid loss, with their gradients, and say what the temperature does to both;
# - align frozen photos and captions in one space until a photo finds its caption among 500;
# - classify without a labelled row, from averaged prompts, find out which part of them helps, and put the number beside a linear probe;
# - train with a large batch in small parts, exactly;
# - expose a model that ignores word order, mend it with hard negatives, and say what CLIP is and what it is not.
#
# **Before this:** [01](01_losses.ipynb) (softmax and its gradient), [04](04_reading.ipynb) (attention), [06](06_concatenation.ipynb) (frozen encoders, seeds with rows of their own).
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import json
import math
import runpy
import textwrap
import torch
from torch.nn.functional import normalize
from tqdm.auto import tqdm
from cmlib import FusionModel, fit, image_encoder, plots, predict, text_encoder
from cmlib.course.schematic import Schematic
from cmlib.data import Pairs, States
from cmlib.evaluation import equal_rows, recall_at
from cmlib.layers import masked_mean
from cmlib.losses import info_nce, sigmoid_contrast
from cmlib.models import TwoTowers
from cmlib.tasks import Contrast, SigmoidContrast
from cmlib.training.predict import extract_states
from cmlib.worlds import Toys
from cmlib.worlds.drawings import COLORS, KINDS
cfg = cmlib.setup("11", full="the frozen encoders under every tower")

# %% [markdown]
# ## 1. Who belongs to whom?
#
# Here are six photos, and their six captions in another order. Nobody gave you a class list. You match them all the same, because each caption says something that is true of one photo and of no other.
#
# This is the whole training signal of the lesson: **pairs**, and the fact that the *other* texts are wrong. No classes and no labels. (The pairing itself is the supervision, as section 5 will show: shuffle it and nothing is learned.)

# %%
SEEDS, PER, TEST = range(5), 800, 500  # rows of its own for each seed
train_pairs = Toys().sample(len(SEEDS) * PER)
test_pairs = Toys().sample(len(SEEDS) * TEST, split="test")
six = [0, 1, 2, 3, 4, 5]
order = [4, 2, 5, 1, 0, 3]
titles = [f"({'abcdef'[k]}) {test_pairs.texts[row]}" for k, row in enumerate(order)]
plots.show(plots.pictures(test_pairs.images[six], titles, columns=6, size=1.55),
           "Six photos of one to four toys on a table. Above each stands the caption "
           "of another of the six photos, so that none fits the photo below it.")
same = equal_rows(test_pairs.texts[:TEST])
print(f"{len(train_pairs)} training pairs, {len(test_pairs)} test pairs")
print(f"of {TEST} test captions, the share that stands there twice: "
      f"{(same.sum(1) > 1).double().mean():.3f}")

# %% [markdown]
# Now let frozen encoders do it. The ResNet gives a map of cells for each photo, the BERT a state for each token; both are encoded once (`extract_states`) and never trained in this lesson. As in lesson 06, take the mean of each. Bring every column to mean 0 and spread 1, put *one linear map* on each half, so that both land in a common space, and train the two maps until partners are close.
#
# A text is found if its photo is nearest to it among 500 photos (**recall at 1**, R@1). Guessing finds 1 of 500.
#
# **Predict before you run.** The mean of the cells still says which toys are there, the mean of the tokens which words. How many of 500 captions find their photo?

# %%
torch.manual_seed(0)
encoders = FusionModel(image_encoder(cfg.image_encoder),
                       text_encoder(cfg.text_encoder), n_classes=2)
pool = extract_states(encoders, train_pairs)
test = extract_states(encoders, test_pairs)
SIZES = pool.states["image"].shape[2], pool.states["text"].shape[2]
CELLS = pool.states["image"].shape[1]

def of(seed, rows, size):
    """The rows that belong to this seed."""
    return rows[seed * size:(seed + 1) * size]

def find(model, rows):
    """R@1 among these rows, (2,): photo → text and text → photo."""
    similarity = Contrast().similarity(predict(model, rows))
    return torch.tensor([recall_at(similarity), recall_at(similarity.T)])

def five(model, rows):
    """The same in each of the five test galleries, (5, 2)."""
    return torch.stack([find(model, of(seed, rows, TEST)) for seed in SEEDS])

def spread(values):
    """Mean ± standard deviation, where seeds differ little."""
    return f"{values.mean():.3f} ± {values.std():.3f}"

usual = pool.pooled()  # means over cells and over tokens

def averaged(rows):
    """One mean a row, standardised by the training rows, as States of one place."""
    found = {}
    for half in ("image", "text"):
        of_training = getattr(usual, half)
        centred = getattr(rows.pooled(), half) - of_training.mean(0)
        found[half] = (centred / (of_training.std(0) + 1e-6))[:, None]
    return States(found)

pool_means, test_means = averaged(pool), averaged(test)
torch.manual_seed(0)
untrained, means = (TwoTowers(*SIZES, queries=0) for _ in range(2))
fit(means, pool_means, task=Contrast(), epochs=20, batch_size=256,
    learning_rate=1e-2, progress=False)
hook = five(means, test_means)
print(f"R@1 of {TEST}, mean ± spread over five galleries")
chance = five(untrained, test_means).mean()
print(f"  two untrained maps: below 0.01: {bool(chance < 0.01)}")
for way, name in enumerate(("photo → text", "text → photo")):
    print(f"  two trained maps:   {name} {spread(hook[:, way])}")
assert hook.mean() < 0.75

# %% [markdown]
# Hundreds of times better than guessing, and yet about two captions in five go to a wrong photo, where your own eyes made no mistake. Is it the loss, or what it is given? An average over cells keeps what all of them hold together, and no longer says which cell held it. Section 5 lets the towers look before they average, and checks that it is the looking that helps. Before that, the loss.
#
# ## 2. Classification whose classes are the other rows
#
# **Step 1.** A batch has $B$ pairs. The towers give unit vectors $x_i$ (photo) and $t_j$ (text), each of shape $(d,)$. Their cosines $C_{ij} = x_i^\top t_j$ form a table $C$ of shape $(B, B)$: row $i$ is a photo, column $j$ a text, and partners stand on the diagonal.
#
# **Step 2.** Read row $i$ as a question with $B$ answers: *which of these texts is mine?* The logits are $Z = C/\tau$ with a **temperature** $\tau > 0$, and the right class is number $i$. So the loss is the cross-entropy of lesson 01, $-\ln p_{ii}$ with $p_{ij} = e^{Z_{ij}}/\sum_k e^{Z_{ik}}$.
#
# **Step 3.** Each column is a question too: which of these photos is mine? With $q_{ij} = e^{Z_{ij}}/\sum_k e^{Z_{kj}}$,
#
# $$L = -\frac{1}{2B}\sum_i \big(\ln p_{ii} + \ln q_{ii}\big) \qquad\text{(InfoNCE, both ways).}$$
#
# **Step 4.** At the start all cosines are about equal, so $p_{ij} \approx 1/B$ and **$L \approx \ln B$**, or a little above: the loss of not knowing, as $\ln$ of the number of classes was in lesson 01. Only here *you* choose the number of classes, with the batch size.
#
# **Step 5.** The gradient is that of every softmax classifier, probability minus truth, once for the rows and once for the columns:
#
# $$\frac{\partial L}{\partial C} = \frac{1}{2B\tau}\big[(P - I) + (Q - I)\big].$$
#
# **Step 6.** What does a photo feel? With $C_{ij} = x_i^\top t_j$ the gradient by $x_i$ (the part of the rows) is $\frac{1}{2B\tau}\big[\sum_j p_{ij} t_j - t_i\big]$. A step against it moves $x_i$ **towards its own text, and away from the others, from each as far as it is mistaken for it.** A text that nobody confuses with $t_i$ pushes nothing.
#
# **A worked example.** Two pairs, $C = \begin{pmatrix}.8&.2\\.4&.6\end{pmatrix}$, $\tau = .5$, so $Z = \begin{pmatrix}1.6&.4\\.8&1.2\end{pmatrix}$. With two classes a softmax is the sigmoid of a difference: $p_{11} = \sigma(1.2)$, $p_{22} = \sigma(.4)$, $q_{11} = q_{22} = \sigma(.8)$. The entry $(1,1)$ of the gradient is $(p_{11} + q_{11} - 2)/(2\cdot 2\cdot .5)$.

# %%
p11, p22, q11, q22 = torch.tensor([1.2, 0.4, 0.8, 0.8], dtype=torch.float64).sigmoid()
by_hand = -(p11.log() + p22.log() + q11.log() + q22.log()) / 4
print(f"p = {p11:.3f} and {p22:.3f}, q = {q11:.3f} and {q22:.3f}: loss {by_hand:.4f}, "
      f"below ln 2 = {math.log(2):.4f}")
print(f"gradient at (1, 1): {(p11 + q11 - 2) / 2:.4f}: a step against it raises C₁₁")
print("random vectors of 1,024 numbers at a temperature of 1:")
draw = torch.Generator().manual_seed(0)
for batch in (8, 64, 512):
    x, t = (torch.randn(batch, 1024, generator=draw) for _ in range(2))
    start = info_nce(x, t, temperature=1.0)
    print(f"  B = {batch:3d}: loss {start:.3f}, ln B = {math.log(batch):.3f}")
    assert abs(start - math.log(batch)) < 0.03

# %% [exercise] 11.1
# Write the loss and its gradient by formula, without autograd. Your function receives `cosines`, float64 `(batch, batch)`, row $i$ a photo, column $j$ a text, and a `temperature` above 0. It returns `(loss, gradient)`: a scalar, and $\partial L/\partial C$ of shape `(batch, batch)`. A temperature of 0.001 must not overflow.

# %% [stub]
def contrast_and_gradient(cosines, temperature):
    """InfoNCE in both directions, and its gradient by the cosines.

    cosines : float64 (batch, batch)   returns : scalar, (batch, batch)
    """
    raise NotImplementedError

# %% [solution]
def contrast_and_gradient(cosines, temperature):
    logits, batch = cosines / temperature, len(cosines)
    eye = torch.eye(batch, dtype=logits.dtype)
    rows, columns = (logits.log_softmax(dim) for dim in (1, 0))   # (batch, batch)
    loss = -(rows.diagonal() + columns.diagonal()).mean() / 2
    error = (rows.exp() - eye) + (columns.exp() - eye)
    return loss, error / (2 * batch * temperature)

# %% [hints]
# Two softmaxes over the same table: along dim 1 the photos ask, along dim 0 the texts. Steps 3 and 5 give the rest.
# ---
# `logits.log_softmax(1)` never overflows; its diagonal holds the $\ln p_{ii}$, its exponential is $P$, (batch, batch). Do not forget $\frac12$, $\frac1B$ and the $\frac1\tau$ of the chain rule.
# ---
# ```python
# rows = (cosines / temperature).log_softmax(1)
# columns = (cosines / temperature).____
# # the loss from both diagonals; the gradient from both exponentials, less the identity each
# ```

# %% [markdown]
# ## 3. What the temperature does
#
# Cosines live between −1 and 1, and $B$ directions cannot all point away from one another. Where partners are equal, $0 \le |\sum_i x_i|^2 = B + \sum_{i\ne j} C_{ij}$, so the wrong cosines are $-\frac{1}{B-1}$ on average at best. Even perfect towers, partners at 1 and all others there, cannot bring the loss below
#
# $$L \;\ge\; \ln\!\big(1 + (B-1)\,e^{-(1 + \frac{1}{B-1})/\tau}\big).$$
#
# (Partners that are not equal do not help: the mean of $C_{ij} - C_{ii}$ over the wrong pairs is never below $-1-\frac{1}{B-1}$, and the loss is convex in these differences.) At $\tau = 1$ and $B = 128$ the floor is 3.86, with ln 128 = 4.85 at the start: **at a temperature of 1 the classifier is not allowed to be sure.** Could all wrong cosines be −1, it would still be 2.90. Worse, no wrong text can push more than $e^2 \approx 7$ times as hard as another, whatever their cosines: the one that is really confused with yours drowns among hundreds of harmless ones. A small $\tau$ turns the push on the hardest few: it mines hard negatives (lesson 10) by itself. Too small, and a single false negative decides.
#
# So the scale $s = 1/\tau$ is learned with everything else (as its logarithm, and held at 100 or below, as CLIP does). Its gradient says when it grows:
#
# $$\frac{\partial L}{\partial s} = \tfrac12\,\mathrm{mean}_i\Big[\textstyle\sum_j p_{ij}C_{ij} - C_{ii}\Big] + \tfrac12\,\mathrm{mean}_j\Big[\sum_i q_{ij}C_{ij} - C_{jj}\Big].$$
#
# As long as partners are more similar than what the softmax expects, the gradient is negative and the model becomes more sure of itself.
#
# Move the temperature. You see one photo of the test set, and which share of the push each wrong text gets, the nearest first by the cosines of the model of section 1.

# %%
outputs = predict(means, of(0, test_means, TEST))
cosines = Contrast().similarity(outputs | {"scale": torch.tensor(1.0)})  # (500, 500)
place = (cosines > cosines.diagonal()[:, None]).sum(1)  # texts before the own one
asked = int((place - 2).abs().argmin())  # a photo whose own text comes third
others = cosines[asked].argsort(descending=True)
others = others[others != asked]

def pushes(temperature):
    """Of one photo: p of its own text, and each wrong text's share of the push."""
    p = (cosines[asked] / temperature).softmax(0)
    return p[asked], p[others] / p[others].sum()

def draw_pushes(ax, temperature):
    own, share = pushes(temperature)
    ax.bar(range(1, 12), share[:11], color=plots.TEXT, label="the nearest eleven")
    ax.bar(12.5, share[11:].sum(), color=plots.GREY, label="all others together")
    ax.set(ylim=(0, 1), xlabel="wrong texts, nearest first", ylabel="share of the push",
           xticks=[1, 6, 11, 12.5], xticklabels=["1", "6", "11", "rest"],
           title=f"τ = {temperature:g}: own text p = {own:.3f}")

def temperature_by_hand(log10_temperature=-1.15):
    fig, ax = plots.figure(width=5.2, height=2.9)
    draw_pushes(ax, round(10**log10_temperature, 3))
    ax.legend()
    return fig

plots.explore(temperature_by_hand,
              "Bars: how the push on one photo is shared among the wrong texts. At a "
              "high temperature nearly all of it comes from the rest, at a low one "
              "from the nearest text.", log10_temperature=(-2.5, 0.5, 0.05, -1.15))

# %%
fig, axes = plots.figure(1, 3, width=9.2, height=2.9, sharey=True)
for ax, temperature in zip(axes, (1.0, 0.07, 0.005)):
    draw_pushes(ax, temperature)
    ax.set_ylabel("share of the push" if temperature == 1 else "")
axes[0].legend(fontsize=8, loc="upper left")
plots.show(fig, "Three panels of bars. At temperature 1 nearly all of the push "
                "comes from the hundreds of texts that are not near; at 0.07 the "
                "nearest eleven carry most, at 0.005 the nearest one or two.")
for temperature in (1.0, 0.07, 0.005):
    own, share = pushes(temperature)
    floor = math.log1p(127 * math.exp(-(1 + 1 / 127) / temperature))
    rest = bool(share[11:].sum() > 0.5)
    print(f"temperature {temperature:5.3f}: the rest pushes more than the nearest "
          f"eleven: {rest!s:5s}  floor at B = 128: {floor:.3f}")
corners = torch.eye(128, dtype=torch.float64) - 1 / 128  # 128 directions, far apart
lowest = info_nce(corners, corners, temperature=1.0)
print(f"128 equal partners, all others as far apart as they can be: loss {lowest:.3f}")
print(f"were all others at −1: {math.log1p(127 * math.exp(-2)):.3f}")
assert pushes(1.0)[1][11:].sum() > 0.8
assert not encoders.pretrained or pushes(0.005)[1][:3].sum() > 0.8

# %% [markdown]
# ## 4. Or ask every pair by itself
#
# A softmax compares: it needs the whole row at once. You may instead ask of each of the $B^2$ pairs by itself, *do these two belong together?* With the sign $z_{ij} = +1$ on the diagonal and $-1$ elsewhere, a scale $s$ and a bias $b$,
#
# $$L = -\frac1B\sum_{i,j}\ln\sigma\big(z_{ij}\,(s\,C_{ij} + b)\big) \qquad\text{(SigLIP).}$$
#
# **Why the bias?** Of a photo's $B$ pairs one is right. With all cosines equal to 0, a row costs $\ln(1+e^{-b}) + (B-1)\ln(1+e^{b})$. Its derivative by $b$ is $B\,\sigma(b) - 1$, so the best bias says $\sigma(b) = 1/B$: **$b = -\ln(B-1)$, the log-odds of a right pair.** Without it, training begins with a shout of $B \ln 2$ "no" to everybody. SigLIP starts at −10, and its usual batch has 32,768 pairs: $\ln 32{,}767 = 10.4$.
#
# **The gradient** is one line, since no pair knows of another: with $\frac{d}{dm}\ln\sigma(m) = \sigma(-m)$ it is $\frac{\partial L}{\partial C_{ij}} = -\frac sB\,z_{ij}\,\sigma\big(-z_{ij}(s\,C_{ij}+b)\big)$. Each pair is pushed by how wrong it is itself, right ones up, wrong ones down.

# %%
nothing = torch.zeros(128, 128, dtype=torch.float64)
for name, bias in (("0", 0.0), ("−ln 127", -math.log(127)), ("−10", -10.0)):
    loss = sigmoid_contrast(nothing + bias)
    print(f"128 pairs, nothing known, bias {name:7s}: loss {loss:.3f}")

# %% [exercise] 11.2
# Write the sigmoid loss. Your function receives `cosines`, float64 `(batch, batch)`, the number `scale` and the number `bias`, and returns a scalar: the sum over all pairs, divided by the number of *rows*. It must survive logits of 4,000.

# %% [stub]
def sigmoid_loss(cosines, scale, bias):
    """Is this pair a right one? Asked of every pair by itself.

    cosines : float64 (batch, batch)   returns : scalar
    """
    raise NotImplementedError

# %% [solution]
from torch.nn.functional import softplus

def sigmoid_loss(cosines, scale, bias):
    sign = 2 * torch.eye(len(cosines), dtype=cosines.dtype) - 1   # +1 own, -1 others
    return softplus(-sign * (scale * cosines + bias)).sum() / len(cosines)

# %% [hints]
# Logits for all pairs, a table of signs, one stable function, a sum.
# ---
# $-\ln\sigma(m) = \mathrm{softplus}(-m)$, and `torch.nn.functional.logsigmoid` never overflows. The signs are $2I - 1$.
# ---
# ```python
# margin = sign * (scale * cosines + bias)      # large and positive where the model is right
# cost = -torch.nn.functional.____(margin)      # (batch, batch)
# # sum over the pairs, divided by the rows
# ```

# %% [markdown]
# Every pair stands alone in this sum, so it needs no softmax over the whole row, and its parts may be computed on different machines one after another. But the vectors of all rows are still needed: each photo has to be compared with every text.
#
# ## 5. Towers that look before they average
#
# Now what the loss is given. Instead of one mean, let **eight learned queries** look at the cells: each gives every cell a score, the softmax of the scores weighs the cells, and the query reads their weighted mean (attention, lesson 04, with a fixed question instead of one from the data). One query may come to read the upper left corner, another whatever is cracked. Eight reads side by side go through an MLP. The text tower does the same with the tokens; the photo tower also gets a learned vector for each cell, so that it knows where a cell is.

# %% tags=["hide-input"]
sketch = Schematic(8.8, 3.0)
rows = {"image": ("photo: cells\n(B, h·w, C)", 2.35, plots.IMAGE),
        "text": ("caption: tokens\n(B, T, H)", 0.65, plots.TEXT)}
ends = {}
for name, (words, y, color) in rows.items():
    states = sketch.box(words, (0.85, y), (1.5, 0.6), color)
    queries = sketch.box("8 queries look\n(B, 8, d)", (2.75, y), (1.45, 0.6), color)
    mlp = sketch.box("MLP, length 1\n(B, d)", (4.5, y), (1.35, 0.6), color)
    sketch.arrow(states, queries)
    sketch.arrow(queries, mlp)
    ends[name] = mlp
squares = [[plots.BOTH if i == j else None for j in range(5)] for i in range(5)]
table = sketch.grid((6.45, 1.5), squares, cell=0.26)
sketch.arrow(ends["image"], (5.8, 1.8))
sketch.arrow(ends["text"], (5.8, 1.2))
sketch.text("cosines / τ  (B, B)", (6.45, 2.4), fontsize=8)
sketch.text("own pairs on the diagonal", (6.45, 0.62), fontsize=8, color=plots.BOTH)
rowwise = sketch.box("softmax of each row:\nwhich text?", (8.0, 2.05), (1.5, 0.6),
                     plots.IMAGE, filled=False, fontsize=8)
column = sketch.box("softmax of each column:\nwhich photo?", (8.0, 0.95), (1.5, 0.6),
                    plots.TEXT, filled=False, fontsize=8)
sketch.arrow((7.12, 1.7), rowwise)
sketch.arrow((7.12, 1.3), column)
sketch.show("Cells of the photo and tokens of the caption pass a tower each: eight "
            "queries, an MLP, length 1. Their cosines form a square table with the own "
            "pairs on its diagonal; softmaxes of rows and columns ask for the partner.")

# %%
torch.manual_seed(0)
towers = TwoTowers(*SIZES, cells=CELLS)
fit(towers, pool, task=Contrast(), epochs=9, batch_size=256, learning_rate=3e-3,
    progress=False)
found = five(towers, test)
print(f"R@1 of {TEST}, mean ± spread over five galleries")
for way, name in enumerate(("photo → text", "text → photo")):
    print(f"  {name}: means {spread(hook[:, way])}   queries {spread(found[:, way])}")
print("0.80 or more both ways, in the mean:", bool(found.mean(0).min() >= 0.8))
warmer = bool(towers(of(0, test, 2))["scale"] > 1 / 0.07)
print("the learned temperature ended below the 0.07 that it started at:", warmer)
assert not encoders.pretrained or found.mean(0).min() >= 0.8

asked = [7, 19, 23]
outputs = predict(towers, of(0, test, TEST))
similarity = Contrast().similarity(outputs)  # (photos, texts)
nearest = similarity.T[asked].argsort(dim=1, descending=True)[:, :3]  # (3, 3) photos
shown = nearest.flatten()
titles = [f"{'✓ ' if int(photo) == text else ''}{test_pairs.texts[text]}" if rank == 0
          else ("✓" if int(photo) == text else f"rank {rank + 1}")
          for text, row in zip(asked, nearest) for rank, photo in enumerate(row)]
plots.show(plots.pictures(test_pairs.images[shown], titles, columns=3, size=1.7),
           "Three captions and for each the three photos that the towers find nearest, "
           "best first: the runners-up show toys of the same kinds or colours.")

# %% [markdown]
# The same pairs, the same loss, the same optimiser. What changed is, among other things (an MLP, the learning rate, the passes), that the towers choose where to look before they average. Look at the photos that come second and third: which of them show a toy that was asked for, and which only its words, the kind here and the colour there?
#
# That was one model. For claims take seeds with training and test rows of their own, and ask what each part is worth. Fewer are trained here than a claim needs; all five of each are in a log, which `benchmarks/contrast.py` wrote by running these cells.
#
# - **means, linear** (one seed here): the two maps of section 1, with twice the passes, since they are slower;
# - **means, same towers** (one): all the weights of the towers, but each photo and each caption is one place, its mean: nothing to look at. In the log also with four times the passes;
# - **τ = 1** (one): queries, but the temperature is held at 1;
# - **sigmoid** (in the log alone): queries with the loss of section 4, bias from $-\ln 63$;
# - **queries, learned τ** (five): everything;
# - **shuffled pairs** (one; control): the same, trained with every caption moved to another photo.
#
# **Predict before you run:** which of the first five is last, and what is left of R@1 for the control?

# %%
def shuffled(rows):
    """The same photos and captions, every caption moved on to the next photo."""
    moved = torch.arange(len(rows)).roll(1)
    other = rows[moved]
    return States({"image": rows.states["image"], "text": other.states["text"]},
                  {"text": other.masks["text"]})

def train_towers(seed, task=None, data=None, change=lambda rows: rows, epochs=10,
                 rate=3e-3, learn_scale=True, **settings):
    torch.manual_seed(seed)
    settings = {"hidden_size": 64, "cells": CELLS} | settings
    model = TwoTowers(*SIZES, **settings)
    model.log_scale.requires_grad_(learn_scale)
    rows = of(seed, data or pool, PER)
    fit(model, change(rows), task=task or Contrast(), epochs=epochs, batch_size=64,
        learning_rate=rate, seed=seed, progress=False)
    return model

contenders = {
    "means, linear": {"queries": 0, "cells": None, "data": pool_means, "epochs": 20,
                      "rate": 1e-2},
    "means, same towers": {"cells": 1, "data": pool_means},
    "τ = 1": {"temperature": 1.0, "learn_scale": False},
    "sigmoid": {"task": SigmoidContrast(), "bias": -math.log(63)},
    "queries, learned τ": {},
    "shuffled pairs": {"change": shuffled},
}
here = {"means, linear": 1, "means, same towers": 1, "τ = 1": 1,
        "queries, learned τ": 5, "shuffled pairs": 1}
models = {name: [train_towers(seed, **contenders[name])
                 for seed in tqdm(range(seeds), desc=name)]
          for name, seeds in here.items()}
results = {}
for name, some in models.items():
    rows = test_means if "means" in name else test
    results[name] = torch.stack([find(model, of(seed, rows, TEST)).mean()
                                 for seed, model in enumerate(some)])
best = results["queries, learned τ"]
for name in ("means, linear", "means, same towers", "τ = 1"):
    ahead = best[:len(results[name])] - results[name]
    print(f"learned τ with queries is ahead of {name}, with the same seed:",
          bool(ahead.min() > 0))
    assert not encoders.pretrained or ahead.min() > 0
print("shuffled pairs: below 0.02:", bool(results["shuffled pairs"].max() < 0.02))
assert results["shuffled pairs"].max() < 0.03

log = json.loads((ROOT / "data" / "runs" / "contrast.json").read_text("utf-8"))
recalls = {name: torch.tensor(values, dtype=torch.float64)
           for name, values in log["recall"].items()}

def over_seeds(values):
    """Mean, lowest and highest, of a log: its decimals are everywhere the same."""
    return f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"

def show_seeds(table, label, chance, alt):
    """One dot for each seed, a row for each name, and its chance as a dashed line."""
    fig, ax = plots.figure(width=6.6, height=0.28 * len(table) + 0.9)
    for place, (name, values) in enumerate(table.items()):
        heights = [place + 0.1 * (seed - 2) for seed in range(len(values))]
        ax.plot(values, heights, "o", color=plots.BOTH, alpha=0.6, ms=4)
        ax.plot([chance(name)] * 2, [place - 0.5, place + 0.5], "k--", lw=1)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(table) - 0.5, -0.5), xlabel=label,
           yticks=range(len(table)), yticklabels=list(table))
    plots.show(fig, alt)

print(f"log: R@1 of {TEST} after {PER} pairs, five seeds: mean (lowest to highest)")
for name, values in recalls.items():
    print(f"  {name:24s} {over_seeds(values)}")
print(f"  {'guessing':24s} {1 / TEST:.3f}")
show_seeds(recalls, f"R@1 of {TEST}, one dot a seed; dashed: guessing",
           lambda name: 1 / TEST,
           "Rows of dots. Queries with a learned temperature lie at .51 to .72, two "
           "linear maps at .33 to .38, the same towers on means at .17 to .24, the "
           "sigmoid at .03 to .44; τ = 1 and shuffled pairs lie at the left edge.")
off = (best.mean() - recalls["queries, learned τ"].mean()).abs()
print("the five seeds trained here are within 0.15 of the log, in the mean:",
      bool(off < 0.15))

# %% [markdown]
# - **It is the looking.** On means the same towers, with the same weights and the MLP in them, stay far below, in every seed, and four times the passes bring them little. What they lack is not layers but a choice of where to look before the average is taken. (They are not the best that means can do; section 8 finds a better way, and asks again.)
# - **A temperature of 1 ruins the same towers.** Section 3 said why: they may not be sure, and the push is spent on texts that nobody confuses. A constant that looks like a detail costs more than any other choice in this table.
# - **The sigmoid loss** asks the same question in other words. In its paper it is ahead of the softmax at small batches and on a par at very large ones; here, after 130 steps and with nothing tuned, it is behind in every seed, and in one it has hardly begun to learn. More cannot be read out of its dots.
# - **The control is at chance.** All photos and all captions are there, each as good as before; only who belongs to whom is lost. So the pairing *is* the supervision. "No labels needed", as an article puts it, is true of class names, and false if it means that nobody said what belongs together.
#
# ## 6. Classes from sentences
#
# The towers compare any photo with any text. So take as texts *the names of the classes*, and the nearest one is the answer: a classifier that nobody trained as one. Three details matter.
#
# 1. **A prompt, not a word.** The text tower has read captions, never a lone *duck*. So write "the picture shows a duck ."
# 2. **Several sentences for a class.** Say it in other frames, or with other words beside the name, and average. Average *directions*: bring each template's vector to length 1, take the mean, and bring that to length 1 again. Otherwise a class whose templates disagree has a shorter vector and loses.
# 3. **The towers' own scale**, since it was learned for exactly such cosines.

# %% [exercise] 11.3
# Build the classifier. Your function receives `image`, float64 `(batch, size)`, `prompts`, float64 `(classes, templates, size)`, none of them normalised, and `scale`. It returns probabilities `(batch, classes)`: the softmax over the classes of scale times cosine.

# %% [stub]
def zero_shot(image, prompts, scale):
    """Probabilities of classes that are given as sentences.

    image : float64 (batch, size)   prompts : float64 (classes, templates, size)
    returns : (batch, classes)
    """
    raise NotImplementedError

# %% [solution]
def zero_shot(image, prompts, scale):
    unit = torch.nn.functional.normalize
    classes = unit(unit(prompts, dim=2).mean(1), dim=1)      # (classes, size)
    return (scale * unit(image, dim=1) @ classes.T).softmax(1)

# %% [hints]
# Three normalisations: the prompts, their mean, the photos. In which order?
# ---
# `normalize(prompts, dim=2)` has shape (classes, templates, size); its mean over dim 1 is no longer of length 1. Then a matrix product with the photos and a softmax over dim 1.
# ---
# ```python
# unit = torch.nn.functional.normalize
# classes = unit(____, dim=1)          # (classes, size), from the normalised templates
# # cosines of all photos with all classes, times scale, softmax
# ```

# %% [markdown]
# The test: photos of a single toy, 8 kinds and 6 colours. Beside it, chance, and a **linear probe**: least squares from the mean of the frozen cells to the classes, with 16 and with 200 labels (or with all that a seed has, 178 at the least). (Confession, as in lesson 06: the mini ResNet was itself trained *with* labels of kind and colour, so its probe is an upper line, not a fair rival.)
#
# **Predict before you run:** how much of the probe's accuracy do you get without a label? And which helps *one frame* more: three further frames ("there is a duck ."), or the six colours ("this is a green duck .")?

# %%
from itertools import pairwise
from torch.nn.functional import one_hot
from cmlib.tasks.contrast import prompt_logits
from cmlib.worlds.words import SYNONYMS, article

def named(color, kind):
    words = " ".join(filter(None, (color, kind)))
    return f"{article(words)} {words}"

FRAMES = "{} .", "this is {} .", "there is {} .", "the picture shows {} ."

def of_kinds(frames, colors):
    """All sentences of each kind, (kinds, frames × colours)."""
    return [[frame.format(named(color, kind)) for frame in frames for color in colors]
            for kind in KINDS]

prompts = {
    ("kind", "bare word"): [[kind] for kind in KINDS],
    ("kind", "1 frame"): of_kinds(FRAMES[1:2], [""]),
    ("kind", "4 frames"): of_kinds(FRAMES, [""]),
    ("kind", "1 frame × 6 colours"): of_kinds(FRAMES[1:2], COLORS),
    ("kind", "4 frames × 6 colours"): of_kinds(FRAMES, COLORS),
    ("color", "bare word"): [[color] for color in COLORS],
    ("color", "4 frames × 8 kinds"): [[frame.format(named(color, kind))
                                       for frame in FRAMES for kind in KINDS]
                                      for color in COLORS],
}
read = {}
for what, texts in prompts.items():
    every = [text for templates in texts for text in templates]
    read[what] = extract_states(encoders, Pairs(None, every))
print("prompts of a duck:", prompts["kind", "1 frame"][5], "and",
      len(prompts["kind", "4 frames × 6 colours"][5]), "more, such as\n   ",
      prompts["kind", "4 frames × 6 colours"][5][9:11])
colored, things = ({word for name in names for word in SYNONYMS[name]}
                   for names in (COLORS, KINDS))
bare = [before for text in train_pairs.texts
        for before, word in pairwise(text.split())
        if word in things and before not in colored]
print(f"training captions that name a kind without a colour: {len(bare)}, all after no "
      f"or any: {set(bare) == {'no', 'any'}}")
ducks = [sum("duck" in text.split() for text in of(seed, train_pairs.texts, PER))
         for seed in SEEDS]
print(f"that say duck: {min(ducks)} to {max(ducks)} of each seed's {PER}")

truth = {name: test_pairs.extras[name][:, 0] for name in ("kind", "color")}
single = (test_pairs.extras["count"] == 1).nonzero()[:, 0]

def by_prompts(model, rows, what):
    """Classes of these test rows from the prompts, (rows,)."""
    vectors = predict(model, read[what])["text"]
    vectors = vectors.unflatten(0, (len(prompts[what]), -1))  # (classes, templates, d)
    return prompt_logits(predict(model, test[rows])["image"], vectors).argmax(1)

def least_squares(x, y, penalty):
    """Weights of the best linear map from x (rows, n) to y (rows, m), (n, m)."""
    return torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1]), x.T @ y)

def by_probe(seed, rows, name, n_labels):
    """The same by least squares from the mean of the frozen cells to one-hot labels."""
    labels = of(seed, train_pairs.extras[name][:, 0], PER)
    few = (of(seed, train_pairs.extras["count"], PER) == 1).nonzero()[:n_labels, 0]
    x = of(seed, pool_means, PER).states["image"][few, 0]
    n_classes = {"kind": len(KINDS), "color": len(COLORS)}[name]
    y = one_hot(labels[few], n_classes).float()
    middle, share = x.mean(0), y.mean(0)
    weights = least_squares(x - middle, y - share, penalty=10.0)
    seen = test_means.states["image"][rows, 0]
    return ((seen - middle) @ weights + share).argmax(1)

accuracy = {}
for seed, model in enumerate(models["queries, learned τ"]):
    rows = single[(single // TEST) == seed]
    said = {what: by_prompts(model, rows, what) for what in prompts}
    for name in truth:
        for n_labels in (16, 200):
            how = f"probe, {n_labels} labels"
            said[name, how] = by_probe(seed, rows, name, n_labels)
    if seed == 0:
        control = models["shuffled pairs"][0]
        said["kind", "shuffled pairs"] = by_prompts(
            control, rows, ("kind", "4 frames × 6 colours"))
    for (name, how), classes in said.items():
        right = (classes == truth[name][rows]).double().mean()
        accuracy.setdefault((name, how), []).append(right)
accuracy = {what: torch.stack(values) for what, values in accuracy.items()}
control = accuracy.pop(("kind", "shuffled pairs"))
means_of = {how: accuracy["kind", how].mean()
            for name, how in prompts if name == "kind"}
by_colors = means_of["1 frame × 6 colours"] - means_of["1 frame"]
by_frames = means_of["4 frames"] - means_of["1 frame"]
print("kinds, in the mean of five seeds: six colours help one frame:",
      bool(by_colors > 0.02))
print("  and help more than three further frames without a colour:",
      bool(by_colors > by_frames))
gains = torch.stack([means_of["4 frames × 6 colours"] - means_of["bare word"],
                     (accuracy["color", "4 frames × 8 kinds"]
                      - accuracy["color", "bare word"]).mean()])
print("all sentences beat the bare word, kind and colour:", bool(gains.min() > 0))
print("after shuffled pairs, kind from all sentences is below 0.3:",
      bool(control.max() < 0.3))
assert control.max() < 0.35
assert not encoders.pretrained or gains.mean() > 0.1

accuracies = {name: torch.tensor(values, dtype=torch.float64)
              for name, values in log["accuracy"].items()}
print("log: accuracy on photos of one toy, five seeds: mean (lowest to highest)")
for name, values in accuracies.items():
    print(f"  {name:27s} {over_seeds(values)}")
show_seeds(accuracies, "accuracy, one dot a seed; dashed: chance",
           lambda name: 1 / len(KINDS if name.startswith("kind") else COLORS),
           "Rows of dots. For kinds the bare word lies at .35 to .58, one frame and "
           "four at .38 to .76, with six colours at .39 to .92, the probe with 16 "
           "labels at .83 to 1, shuffled pairs about chance. For colours the bare "
           "word lies at .58 to .82, all sentences at .84 to .97, the probe with 16 "
           "labels at .78 to .90. Probes with 200 labels lie at 1.")

# %% [markdown]
# Without one label, from sentences alone, the right one of eight kinds or six colours comes out far more often than chance. Three things to take from the table.
#
# - **The sentence is part of the classifier, and what helped is to say it as the captions say it.** A bare word is nothing that the tower has ever read. One frame is better. Three further frames add nothing to it; the six colours do, in the mean. In the captions every toy that is there has its colour, and a kind without one is a denial (*there is no duck .*). So a duck without a colour is a strange sentence in every frame. CLIP's authors report gains from prompts and from averages, together as much as four times the computation; which of the two helps depends on your captions, so measure them apart.
# - **A probe needs labels, and then wins.** With 200 it is perfect here (remember its upper-line encoder). With 16 it is, in the mean, far ahead of the sentences for kinds, and behind them for colours. Zero-shot is what you do *before* you have labels, not instead of them.
# - **"Zero-shot" means no labelled row, not an unseen concept.** The word *duck* stood in more than a hundred of a seed's training captions, mostly beside photos of ducks. After shuffled pairs the same sentences are at chance: the classes were learned from the pairing.
#
# ## 7. A large batch in small parts
#
# More rows in a batch are more classes: a harder question, and a loss that can tell more ($\ln B$). But $B$ photos and captions and all that the towers keep for the backward pass must be in memory *at the same time*, because every row is compared with every other. Cutting the batch and adding up gradients, as lesson 13 does, does **not** help by itself: each part would be compared with itself alone, a classification with fewer classes.
#
# The way out (GradCache) is the chain rule in two steps, $\dfrac{\partial L}{\partial W} = \sum_i \dfrac{\partial L}{\partial x_i}\dfrac{\partial x_i}{\partial W}$:
#
# 1. encode all parts *without* a graph; keep only the vectors, $2Bd$ numbers;
# 2. take the loss of all vectors and its gradient by each *vector*, from the table $(B, B)$;
# 3. encode each part again, *with* a graph, and send its vectors' gradients on; then forget its graph.
#
# The graph of one part is in memory at a time. The price is a second forward pass. The result is not an approximation: it is the same sum in another order.

# %% [exercise] 11.4
# Do it by hand for linear towers. Your function receives `image_parts` and `text_parts`, lists of float64 tensors `(rows, n)` and `(rows, m)`, part $k$ of both belonging together (parts differ in size); the weights `W_image` `(size, n)` and `W_text` `(size, m)`; and the number `scale`. A vector is `W @ row` (not normalised), the logits are `scale` times all dot products, the loss is InfoNCE both ways over the rows of *all* parts. It returns the gradients by `W_image` and by `W_text`.

# %% [stub]
def gradients_in_parts(image_parts, text_parts, W_image, W_text, scale):
    """Gradients of the loss of the whole batch, part by part.

    image_parts : list of (rows, n)   text_parts : list of (rows, m)
    returns : (size, n), (size, m)
    """
    raise NotImplementedError

# %% [solution]
def gradients_in_parts(image_parts, text_parts, W_image, W_text, scale):
    image = torch.cat([part @ W_image.T for part in image_parts])     # 1: no graph
    text = torch.cat([part @ W_text.T for part in text_parts])
    logits = scale * image @ text.T
    eye = torch.eye(len(logits), dtype=logits.dtype)
    error = logits.softmax(1) + logits.softmax(0) - 2 * eye
    error = error * scale / (2 * len(logits))                         # 2: by the logits
    sizes = [len(part) for part in image_parts]
    sent = (error @ text).split(sizes), (error.T @ image).split(sizes)
    grads = []                                                        # 3: part by part
    for gradients, parts in zip(sent, (image_parts, text_parts)):
        grads.append(sum(g.T @ part for g, part in zip(gradients, parts)))
    return tuple(grads)

# %% [hints]
# Exercise 11.1 gives you $\partial L/\partial C$. What is the gradient by the vectors, if $C = s\,X T^\top$?
# ---
# With the error table $E$ `(batch, batch)` by the products: $\partial L/\partial X = E\,T$ and $\partial L/\partial T = E^\top X$. For $X_k = A_k W^\top$, part $k$ adds $G_k^\top A_k$ to the gradient of $W$, where $G_k$ are its rows of $\partial L/\partial X$.
# ---
# ```python
# error = scale * (logits.softmax(1) + logits.softmax(0) - 2 * eye) / ____
# by_image = error @ text              # (batch, size); by_text from the transposed table
# # then walk through the parts: rows start to stop of by_image meet part k of the photos
# ```

# %% [markdown]
# In the course, `fit(…, accumulate=8)` does this for every task that says of itself that it compares rows (`separable = False`), with any model, dropout included. Here it is on the towers of section 5, 64 rows in four parts, beside the naive way: the mean of four losses of 16 rows each.

# %%
from cmlib.training.accumulate import cached_contrastive

rows64 = of(0, pool, PER)[:64]
parts = [rows64[start:start + 16] for start in range(0, 64, 16)]

def vectors(part):
    found = towers(part)
    return found["image"], found["text"]

def loss_of(image, text):
    return info_nce(image, text, temperature=0.07)

def whole():
    loss_of(*vectors(rows64)).backward()

def naive():
    losses = [loss_of(*vectors(part)) for part in parts]
    (sum(losses) / len(parts)).backward()

def grad_cache():
    cached_contrastive(vectors, loss_of, parts)

def gradient(compute):
    """The gradient of all weights of the towers, as one vector."""
    towers.zero_grad()
    compute()
    found = [weight.grad.flatten() for weight in towers.parameters()
             if weight.grad is not None]
    return torch.cat(found)

want, off = gradient(whole), {}
for name, compute in (("naive parts", naive), ("GradCache", grad_cache)):
    off[name] = float((gradient(compute) - want).norm() / want.norm())
    print(f"{name:11s}: the gradient of the whole batch, to 1 in 1,000: "
          f"{off[name] < 1e-3}")
towers.zero_grad()
assert off["GradCache"] < 1e-3 and off["naive parts"] > 0.05

print(f"\nCLIP's batch: 32,768 pairs; ln B = {math.log(32768):.2f};")
print(f"the table of logits in float32: {4 * 32768**2 / 2**30:.1f} GiB;")
kept = 2 * 768 * 4 * 32768 / 2**30
print(f"the vectors to be kept, 768 numbers each: {kept:.2f} GiB")

# %% [markdown]
# ## 8. Two clouds, and a shorter way
#
# Look at the space itself. Each dot is a photo or a caption of the test set, projected to the two directions in which the dots differ most; a thin line joins forty of the partners. Left before training, right after it.
#
# A plane shows little of so many directions. So ask also a straight cut: least squares on every second dot, photo +1 and caption −1. How many of the *other* dots does its sign name rightly? One half is guessing.
#
# **Predict before you run:** do the clouds of fresh towers overlap? And those of trained ones?

# %%
torch.manual_seed(0)
stages = {"before": predict(TwoTowers(*SIZES, cells=CELLS), of(0, test, TEST)),
          "after": predict(towers, of(0, test, TEST))}
spaces = {name: [normalize(out[half], dim=1) for half in ("image", "text")]
          for name, out in stages.items()}

def plane(x, t):
    """Both clouds in the two directions of their largest spread."""
    both = torch.cat([x, t])
    middle = both.mean(0)
    directions = torch.linalg.svd(both - middle, full_matrices=False).Vh[:2].T
    return (x - middle) @ directions, (t - middle) @ directions

def gap(x, t):
    """The distance between the mean photo and the mean caption."""
    return (x.mean(0) - t.mean(0)).norm()

fig, axes = plots.figure(1, 2, width=7.6, height=3.2)
for ax, (name, (x, t)) in zip(axes, spaces.items()):
    px, pt = plane(x[:150], t[:150])
    for a, b in zip(px[:40].tolist(), pt[:40].tolist()):
        ax.plot([a[0], b[0]], [a[1], b[1]], color=plots.GREY, lw=0.4)
    ax.plot(*px.T, ".", color=plots.IMAGE, ms=4, label="photos")
    ax.plot(*pt.T, ".", color=plots.TEXT, ms=4, label="captions")
    ax.set(title=name, xlabel="first direction", xticks=[], yticks=[])
axes[0].set_ylabel("second direction")
axes[0].legend(fontsize=8)
plots.show(fig, "Two scatter plots of 150 photos and 150 captions; 40 partners are "
                "joined. Before training they are two clouds, and the lines are long; "
                "after it the clouds lie over each other in this plane, and most lines "
                "are short.")

def told_apart(x, t):
    """How often a straight cut, fitted on every other vector, is right on the rest."""
    both = torch.cat([x, t])
    side = torch.cat([torch.ones(len(x)), -torch.ones(len(t))])
    fitted = torch.arange(len(both)) % 2 == 0
    middle = both[fitted].mean(0)
    cut = least_squares(both[fitted] - middle, side[fitted], penalty=0.01)
    return (((both - middle) @ cut).sign() == side)[~fitted].double().mean()

x, t = spaces["before"]
print(f"before training, length of the mean photo {x.mean(0).norm():.2f}, of the mean "
      f"caption {t.mean(0).norm():.2f}, their distance {gap(x, t):.2f}")
x, t = spaces["after"]
print("after training, the distance of the two means is below 0.2:",
      bool(gap(x, t) < 0.2))
apart = {name: told_apart(*pair) for name, pair in spaces.items()}
print(f"a cut tells photo from caption: before {apart['before']:.3f};")
print("  after in more than two of three:", bool(apart["after"] > 2 / 3))
halves = told_apart(x[::2], x[1::2])
print("  control, photos against other photos, in fewer:", bool(halves < 2 / 3))
assert gap(*spaces["before"]) > 0.5
assert not encoders.pretrained or gap(x, t) < 0.5

# %% [markdown]
# Before training photos and captions are two cones: fresh towers send captions into nearly one direction and photos into a wider cone (unit vectors whose mean has a length near 1 all point the same way), and the two directions differ. Training has brought the two *means* together. **The clouds have not mixed**: in the plane they lie over each other, and yet a straight cut through all the directions still tells most photos from captions. Does the loss ask for more? Half of it cannot. Add one vector $c$ to *all* captions (leave the lengths aside): every logit of row $i$ grows by $x_i^\top c/\tau$, the same for all captions, and a softmax does not see a constant. **The photos' half of the loss is blind to where the cloud of captions lies as a whole**, and the captions' half is blind to the cloud of photos. The two halves together were enough to close the gap of the means here; in published CLIP models the gap of the first day is still there at the end (Liang and others 2022). So rank across modalities, where a common shift does little harm, and do not compare a cosine of photo and text with one of text and text.
#
# **A shorter way: map one space into the other.** Why train two towers at all? Take the photo's mean as it is and predict it from the caption's mean, by least squares: one closed formula, $W = (T^\top T + \lambda I)^{-1}T^\top X$, no epochs. Or the other way round. Both ways are linear, as the two maps of section 1 are, and see the same numbers. What is different is only what they are asked: *be close to your partner* instead of *be closer to your partner than the others are*.

# %%
def plainly(pairs):
    """Means of captions that say all toys in one frame, no synonyms, no small talk."""
    rows = extract_states(encoders, Pairs(None, pairs.extras["captions"]))
    return masked_mean(rows.states["text"], rows.mask("text"))

said_plainly = plainly(train_pairs), plainly(test_pairs)
middle, width = said_plainly[0].mean(0), said_plainly[0].std(0) + 1e-6
with_plain = [States(data.states | {"plain text": ((values - middle) / width)[:, None]})
              for data, values in zip((pool_means, test_means), said_plainly)]

directions = {("text", "image"): [], ("image", "text"): [],
              ("image", "plain text"): [], ("plain text", "image"): []}
for (source, target), scores in directions.items():
    for seed in SEEDS:
        train, rows = (of(seed, data, size).states
                       for data, size in zip(with_plain, (PER, TEST)))
        weights = least_squares(train[source][:, 0], train[target][:, 0], penalty=1.0)
        mapped, wanted = rows[source][:, 0] @ weights, rows[target][:, 0]
        near = normalize(mapped, dim=1) @ normalize(wanted, dim=1).T
        foretold = 1 - (mapped - wanted).square().sum() / wanted.square().sum()
        scores.append([(recall_at(near) + recall_at(near.T)) / 2, float(foretold)])
print(f"R@1 of {TEST}, mean of both ways; share of the target's variance foretold")
for (source, target), scores in directions.items():
    found, foretold = torch.tensor(scores).T
    print(f"  least squares, {source} into the space of {target}: {spread(found)}, "
          f"foretold {spread(foretold)}")
into_photo, into_text = (torch.tensor(directions[way])[:, 0]
                         for way in (("text", "image"), ("image", "text")))
print("into the photo's space beats into the text's, in every seed:",
      bool((into_photo > into_text).all()))
print("log, two linear maps, contrastive:", over_seeds(recalls["means, linear"]))
print("log, queries, contrastive:        ", over_seeds(recalls["queries, learned τ"]))
lead = recalls["queries, learned τ"] - into_photo
print(f"queries less the better direction, seed by seed: {lead.mean():.2f} in the mean,"
      f"\n  above 0.03 in {int((lead > 0.03).sum())} of {len(lead)} seeds")
assert not encoders.pretrained or (into_photo > into_text + 0.1).all()

# %% [markdown]
# Into the photo's space works, and the other way hardly does, with the same pairs and the same formula. The second column says why. What a photo's mean holds is mostly said in the caption. What a caption's mean holds is also *how* it was said, in which frame, with which synonym and which small talk, and none of that can be seen. The third row is the test: the same photos with captions that say all toys plainly, and the direction that failed works. (The fourth says that the photo's average had it nearly all along: what costs is how a thing is said.) Least squares must foretell everything, every column counts alike, and in the cosine the noise outweighs the toys. So if you map, **map into the space that holds less that the other side cannot know.** The contrastive loss is spared the choice: it need not foretell anything, only tell partners from others, so both towers may drop what does not help.
#
# (Its two linear maps on the same means are behind the good direction of the formula here. So the fair rival of the queries is the formula: they are ahead of it in the mean, and in one seed hardly at all, 800 pairs being few for so many weights. That is what looking is worth in section 5, not the distance to the weaker rivals.)
#
# ## 9. Break it: who is left?
#
# R@1 is high. Does the model read? Take photos with two toys apart and write captions that name both, the left one first: *a red car left of a blue duck .* Exchange the two names, and the caption is false, while every word of it is the same. **No bag of words can tell the two apart.** Score: in how many cases is the true caption nearer to its photo than the exchanged one? A coin gets one half.
#
# Think of the loss before you run. Which rows of a batch could teach the model the order? Only a row whose photo shows *the same two toys the other way round*. With 48 toys to choose from there is almost never one; the cell counts them. Nothing in the loss asks for order, so why should it be learned?
#
# **Hard negatives** put the question into the batch: every row brings its own exchanged caption along, as one more wrong text for all photos (Yuksekgonul and others do this to CLIP). `Contrast` takes them as the output `"hard"`; the softmax of a photo then has $2B$ classes.
#
# `benchmarks/word_order.py` has the parts: `sentences` reads all 48 × 48 captions of two toys, `apart` finds photos with two toys apart and gives each its true caption and the exchanged one. Trained are fresh towers, on captions that name two toys, without and with the hard negatives; these ten trainings are a log (five seeds, rows of their own, the same rows on both sides).

# %%
facts = train_pairs.extras
toys = facts["color"] * len(KINDS) + facts["kind"]  # (rows, 4), 48 different ones
found = 0
for batch in torch.arange(len(toys)).split(256):
    two = batch[facts["count"][batch] == 2]
    places = facts["x"][two, :2].argsort(1)
    named_so = [tuple(pair) for pair in toys[two, :2].gather(1, places).tolist()]
    found += sum(a != b and (b, a) in named_so for a, b in named_so)
print(f"photos of two toys whose batch of 256 has the same two the other way round: "
      f"{found} of {int((facts['count'] == 2).sum())}")

parts = runpy.run_path(str(ROOT / "benchmarks" / "word_order.py"))
said = parts["sentences"](encoders, "left of")

def in_order(model, rows):
    """How often the true caption is nearer than the exchanged one."""
    photo, true, false = (normalize(predict(model, rows)[name], dim=1)
                          for name in ("image", "text", "hard"))
    return ((photo * true).sum(1) > (photo * false).sum(1)).double().mean()

two_toys = [parts["apart"](test_pairs[seed * TEST:(seed + 1) * TEST],
                           of(seed, test, TEST), said) for seed in SEEDS]
plain = torch.stack([in_order(model, rows) for model, rows
                     in zip(models["queries, learned τ"], two_toys)])
log = json.loads((ROOT / "data" / "runs" / "word_order.json").read_text("utf-8"))
logged = {name: torch.tensor(values, dtype=torch.float64)
          for name, values in log["found"].items()}
order_of = {"the towers of section 5": plain,
            **{f"log: {name}": values for name, values in logged.items()}}
print("the true caption is nearer than the exchanged one, five seeds")
print("  the towers of section 5, within 0.1 of one half, in the mean:",
      bool(abs(plain.mean() - 0.5) < 0.1))
for name, values in logged.items():
    print(f"  {f'log: {name}':28s} {over_seeds(values)}")
show_seeds(order_of, "true caption nearer, one dot a seed; dashed: a coin",
           lambda name: 0.5,
           "Rows of dots. Towers without hard negatives lie near the coin's one half, "
           "those with them at .67 to .82; with other photos they are back near one "
           "half, and for captions with right of they lie at .18 to .32.")
mended = logged["with hard negatives"] - logged["captions alone"]
print("hard negatives are ahead of the same captions alone, in the mean, by more than "
      f"0.1: {bool(mended.mean() > 0.1)}")
turned = logged["the same, as right of"].mean()
print("the same facts as right of: below one half, in the mean:", bool(turned < 0.5))
assert not encoders.pretrained or abs(plain.mean() - 0.5) < 0.1
assert mended.mean() > 0.1 and turned < 0.5

# %% [markdown]
# A high R@1 and a coin flip: the towers have learned *which* toys belong to a photo, and nothing about who stands where. The captions that name both are no cure by themselves. **With hard negatives the same towers on the same captions leave the coin behind**, in every seed. With another photo they are back near the coin: what they use is the photo, and not a taste for certain sentences.
#
# But read the last line. It says the same facts with the words *right of*, the right toy first, which no negative ever used. There the mended model is *below* one half: what it learned is "the first one named stands left", because that held in every caption that it saw. Hard negatives teach exactly the difference that they make, and nothing beside it. So ask of every published order test which other rule would pass it.
#
# ## 10. What CLIP is, and what it is not
#
# Everything above is CLIP (Radford and others 2021) at the size of a toy: two towers, unit vectors, a learned temperature, InfoNCE both ways. The real one took 400 million pairs from the web, batches of 32,768, and trained both encoders from scratch. Its weights cannot be had in this course, so this lesson makes no claim about them. The same cells run on a GPU with BERT-base and ResNet-50 under the towers.
#
# An article that this course was commissioned from lists CLIP and DALL·E as models that *write captions*. Look at what comes out of the towers, and judge.

# %%
outputs = predict(towers, of(0, test, 2))
vocabulary = len(encoders.tokenizer)
for name, value in outputs.items():
    print(f"{name:6s} {'a number' if value.ndim == 0 else 'one vector a row'}")
speaks = any(vocabulary in value.shape for value in outputs.values())
print("some output has an entry for each word of the vocabulary:", speaks)
assert not speaks

captions = test_pairs.texts[:TEST]
own = Contrast().similarity(predict(towers, of(0, test, TEST)))
print("the photo that you know best gets, out of 500 captions that others wrote:")
print(textwrap.fill(captions[int(own[0].argmax())], 80))
print(f"scale: {cfg.name}; encoders {cfg.image_encoder}, {cfg.text_encoder}")

# %% [markdown]
# A vector and a number. There is no decoder, nothing that puts one word after another, no probability of a next word. **CLIP compares; it does not write.** It can *choose* among sentences that somebody else has written, which is search (lesson 18), and it can be one half of a captioner whose other half writes (lesson 16 builds one). DALL·E goes the other way, from words to a picture (lesson 20); CLIP stood beside the first version to pick the best of its samples.
#
# What it is not, in one list, each with the section that shows why:
# - not a captioner: no decoder (this section);
# - not free of supervision: the pairing *is* the label; shuffle it and nothing is left (section 5);
# - not a reader of order or of who does what to whom, unless something in the batch asks for it (section 9);
# - not a judge of what it does not know: its softmax is over the classes that *you* wrote; one prompt more changes all probabilities, and a photo of something else still gets a class (the formula of section 6);
# - not one cloud: each half of the loss is blind to where the other cloud lies. Here their means meet and a straight cut still tells them apart; in published models even the means stay apart (section 8).
#
# ## 11. A stretch: what equal captions cost
#
# In a batch of web pairs two rows may say the same. Then a photo has two right texts, and the loss counts one of them as wrong. How much of what you measure is that? Here are towers that nothing could improve: every different caption has a direction of its own, and each photo has that of its caption. They read a batch of ours as it is, and the same batch with each caption cut to its first toy.

# %%
def at_best(texts):
    """InfoNCE and R@1 of perfect towers on such captions."""
    number = {text: k for k, text in enumerate(dict.fromkeys(texts))}
    place = torch.tensor([number[text] for text in texts])
    vectors = one_hot(place).double()
    return info_nce(vectors, vectors, temperature=0.01), recall_at(vectors @ vectors.T)

first = [str(toy) for toy in toys[:256, 0].tolist()]  # kind and colour
for name, texts in (("whole captions", train_pairs.texts[:256]), ("first toy", first)):
    loss, recall = at_best(texts)
    print(f"256 rows, {name:14s}: {len(set(texts)):3d} different, loss of perfect "
          f"towers {loss:.3f}, R@1 {recall:.3f}")

# %% [markdown]
# As they are, our captions cost nothing. Cut to one toy, no model can do better than this, and whoever reads the loss as a fault of the model is wrong. The numbers follow from the captions alone; how, is the exercise.

# %% [exercise] 11.5
# **On paper first.** A batch has $B$ rows; row $i$'s caption stands in $m_i$ rows of the batch, itself included. Equal captions have equal vectors; the photos all differ. (a) Show that the loss, both ways, cannot be below $\frac1B\sum_i \ln m_i$, and that suitable towers come as close to it as you like. (b) Show that R@1 (ties broken at random), mean of both ways, cannot be above $\frac1B\sum_i \frac1{m_i}$. (c) A batch can *show* at most the difference between the loss of knowing nothing and the lowest loss. Show that this is the entropy of the captions of the batch, and compare it with the mutual information of photo and caption.
#
# **Then build it.** Your function receives `text`, int64 `(batch,)`: equal numbers mean equal captions. It returns `(lowest loss, highest R@1)`, two float64 scalars.

# %% [stub]
def limits(text):
    """The lowest InfoNCE loss and the highest R@1 that equal captions allow.

    text : int64 (batch,)   returns : float64 scalar, float64 scalar
    """
    raise NotImplementedError

# %% [solution]
def limits(text):
    mates = (text[:, None] == text).sum(1).double()      # rows that say the same
    return mates.log().mean(), (1 / mates).mean()

# %% [hints]
# Look at one photo. The texts of its $m$ rows have the same cosine with it, so the softmax gives them the same probability. How large can that be?
# ---
# Row $i$: $m_i\,p_{ii} \le 1$. Columns: the $m$ equal captions have equal columns, so their photos share a total of 1: $\sum q_{jj} \le 1$ over these $m$ columns; use that $-\ln$ is convex. Then count $m_i$ by comparing all with all.
# ---
# ```python
# mates = (text[:, None] == text[None, :]).____     # (batch,): how many rows say the same
# # the mean of the logarithms, and the mean of the reciprocals
# ```

# %% [answer]
# (a) *Rows.* The $m_i$ texts that equal $t_i$ get the same logit from photo $i$, hence the same $p$; together they have at most 1, so $p_{ii} \le 1/m_i$ and $-\ln p_{ii} \ge \ln m_i$. *Columns.* Let $G$ be the rows of one caption, $m$ of them. Their columns of logits are equal, so $q_{jj}$, $j\in G$, are $m$ entries of one and the same softmax: $\sum_{j\in G} q_{jj} \le 1$. By convexity $\frac1m\sum_{G} -\ln q_{jj} \ge -\ln\big(\frac1m\sum_G q_{jj}\big) \ge \ln m$. Averaging both over all rows gives $\frac1B\sum_i\ln m_i$ each, and so for their mean. Towers that give every photo of $G$ the vector of its caption, and different captions different vectors, reach $p_{ii}, q_{ii} \to 1/m_i$ as $\tau \to 0$.
#
# (b) Photo $i$ finds its own text with probability at most $1/m_i$, since $m_i$ texts tie. The $m$ equal captions of $G$ rank all photos alike; one photo is first (or several tie), so the $m$ queries together find at most one right photo: $1/m$ each on average.
#
# (c) Knowing nothing costs $\ln B$. The difference is $\ln B - \frac1B\sum_i\ln m_i = -\frac1B\sum_i \ln\frac{m_i}{B} = -\sum_G \frac{m_G}{B}\ln\frac{m_G}{B}$, the entropy of a caption drawn from the batch. The photos all differ and each has one caption, so a photo drawn from the batch determines its caption: the mutual information of the two, within the batch, *is* that entropy. In general $\ln B - L$ is, on average over batches, a lower bound of the mutual information $I$ of photo and text (van den Oord and others 2018), and being at most $\ln B$ it cannot show more than $\ln B$ nats, however much there is: to show 10 nats takes batches of $e^{10} \approx 22{,}000$.

# %% [markdown]
# ## 12. Recap
#
# You can now
# - derive InfoNCE both ways, its start at $\ln B$, and its gradient, probability minus truth over $2B\tau$;
# - say what a temperature of 1 forbids, what a tiny one overdoes, and where the bias of the sigmoid loss comes from;
# - align frozen encoders until most of 500 photos find their caption, with controls beside it;
# - classify by averaged prompts, and name what "zero-shot" has seen all the same;
# - compute the gradient of a large batch in small parts, exactly;
# - test whether a model reads order, and put into the batch what it should learn.
#
# `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? A batch of 256 pairs, fresh towers, a loss of 5.6. What does it tell?
# - The learning rate is too high :: Nothing has been learned yet; no rate was used.
# + Hardly more than the batch size: ln 256 = 5.55 :: With equal cosines every softmax gives 1/B. With another batch size you would see another number.
# - The towers are worse than chance :: Equal cosines give exactly ln B; those of fresh towers differ a little, and so are a little above.
# ? You halve the memory by cutting a batch of 64 into four parts and averaging their four losses. What happens?
# - The same gradient, more slowly :: That holds for losses that are a mean of terms of one row each.
# - The same gradient, if the parts are equally large :: Equal parts do not bring back the rows of the other parts.
# + Each row is compared with 15 others instead of 63: another, easier task :: A loss that compares rows is no sum over parts. GradCache sends the gradients of the whole through the parts.
# ? R@1 is .87 of 500, and the model prefers the true caption to the one with both names exchanged in about half of the cases. How do these agree?
# + Almost no other row of a batch differs by order alone, so nothing asked for it :: The loss asks only to beat the texts that are there. Words suffice for that.
# - The test of order is too small :: It has hundreds of photos for each seed.
# - The text encoder cannot represent order :: Its states hold it: with hard negatives the same towers learn it.
# - R@1 was measured on training rows :: It was measured on test rows of their own.
# ? A company says that its CLIP "writes alt texts". What do you ask first?
# - How large its batches were :: That decides how fine it compares, not whether it writes.
# - Which temperature it learned :: The temperature scales cosines.
# + Who writes the sentences that it chooses from :: Its towers give vectors and a cosine. Sentences come from a list, or from a decoder, which is another model.

# %% [markdown]
# **Glossary**: *InfoNCE*, the cross-entropy of finding one's partner in the batch · *temperature τ*, what cosines are divided by; *scale*, 1/τ · *R@1*, the share of queries whose partner comes first · *tower*, the encoder of one modality into the common space · *zero-shot*, classes given as sentences, without labelled rows · *prompt*, such a sentence · *linear probe*, a linear classifier on frozen features · *GradCache*, the gradient of a large batch from its parts · *modality gap*, photos and texts apart in the common space, often measured as the distance of their means · *hard negative*, a wrong text that differs only in what matters.
#
# **References**
# - A. van den Oord, Y. Li, O. Vinyals, *Representation learning with contrastive predictive coding*, 2018: InfoNCE, and the bound of exercise 11.5.
# - A. Radford and others, *Learning transferable visual models from natural language supervision*, ICML 2021: CLIP; figure 3 is section 2 in ten lines.
# - X. Zhai, B. Mustafa, A. Kolesnikov, L. Beyer, *Sigmoid loss for language image pre-training*, ICCV 2023: section 4, with its bias.
# - L. Gao, Y. Zhang, J. Han, J. Callan, *Scaling deep contrastive learning batch size under memory limited setup*, 2021: GradCache.
# - W. Liang and others, *Mind the gap: understanding the modality gap in multi-modal contrastive representation learning*, NeurIPS 2022: two cones from the start.
# - M. Yuksekgonul and others, *When and why vision-language models behave like bags-of-words, and what to do about it?*, ICLR 2023: order tests, and negatives that mend.
# - Y. Shigeto and others, *Ridge regression, hubness, and zero-shot learning*, 2015: another reason why the direction of a map between spaces matters, hubs.

# %% [progress]
