# %% [markdown]
# # 06 Feature concatenation
#
# **The one thing to take away:** concatenation only puts two vectors side by side. Whether a model can *compare* them is decided by what comes next: a
# linear layer adds two opinions, and no sum of opinions can say "equal" or "different".
#
# You will be able to
# - turn a feature map and a row of token states into one joint vector, the right way;
# - compute the exact ceiling of every modality, and of *every sum of opinions*, from a table of probabilities;
# - prove that a linear head fails where both modalities are needed, and see an MLP succeed;
# - report per situation, with fresh tickets for every seed, and run the control that tells comparing from adding.
#
# **Before this:** [02](02_joint_loss.ipynb) (what joins two branches), [04](04_reading.ipynb) and [05](05_seeing.ipynb) (what the encoders do).
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import torch
from torch import nn
from tqdm.auto import tqdm
from cmlib import (FusionModel, evaluate, extract, fit, image_encoder, plots, predict,
                   text_encoder)
from cmlib.data import Features
from cmlib.fusion import Concat, additive_ceiling, additive_part
from cmlib.models import Majority
from cmlib.worlds import RefundDesk
cfg = cmlib.setup("06", full="the encoders of sections 6 to 10")

# %% [markdown]
# ## 1. The published model does not run
#
# An article joins a ResNet-50 and a BERT by concatenating "their outputs along dimension 1". It takes the 1,000 class logits of the one and the token states of the other. Another
# concatenates picture features with *what a masked language model returns*. A third hands a BERT classifier the picture as an argument, `image=…`.
#
# **Predict before you run.** What is the shape of the first result, what is the second, and what does the third model do with its picture?

# %%
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

class_logits = torch.randn(8, 1000)        # (batch, ImageNet classes)
token_states = torch.randn(8, 24, 768)     # (batch, tokens, hidden)
try:
    torch.cat([class_logits, token_states], dim=1)
except RuntimeError as error:
    print("RuntimeError:", str(error).split(";")[0])

torch.manual_seed(0)
small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
config = BertConfig(vocab_size=100, intermediate_size=64, **small)
ids = torch.randint(100, (2, 7))
returned = BertForMaskedLM(config).eval()(input_ids=ids)
try:
    torch.cat([torch.randn(2, 2048), returned], dim=1)
except TypeError:
    print(f"TypeError: a {type(returned).__name__} is no tensor; "
          f"its logits are {tuple(returned.logits.shape)}, one per word it knows")
published = BertForSequenceClassification(config).eval()
with torch.no_grad():
    alone = published(input_ids=ids)
    given = published(input_ids=ids, image="not even a picture")
ignored = torch.equal(alone.logits, given.logits)
print("logits with and without a picture equal, bit for bit:", ignored)
print("its loss, since no labels were passed:", given.loss)
assert ignored and given.loss is None

# %% [markdown]
# The first has no shape, because there is no result. The second is an object with several things in it, and the logits among them answer which word was hidden. The third runs, and is worse: it swallows the picture (the model takes any further argument and never looks at it), so a
# "joint" model trains and evaluates on the text alone without a word of warning. Feed a model nonsense in one modality; if nothing changes, nothing is fused.
#
# Two more things are wrong, and neither raises an error by itself:
#
# 1. A message is a *sequence* of vectors, one for every token, and messages have different lengths. It has to be **pooled** to one vector first, by the masked mean of exercise 03.3.
# 2. Class logits are answers to another question ("which of 1,000 ImageNet classes?"). What you want is what the network knew *before* it answered: the **features** under the last
#    layer, 2,048 of them in a ResNet-50. Lesson 05 measured what is lost otherwise.
#
# Repaired, the model looks like this: two averages, one concatenation $F = [F_I ; F_T]$ of shape (batch, C + H), one head.

# %% tags=["hide-input"]
from cmlib.course.schematic import Schematic

sketch = Schematic(8.6, 2.5)
photo = sketch.box("photo\n(B, 3, 64, 64)", (0.75, 1.9), (1.35, 0.6), plots.IMAGE)
words = sketch.box("message\n(B, T) ids", (0.75, 0.6), (1.35, 0.6), plots.TEXT)
resnet = sketch.box("ResNet\n(B, C, h, w)", (2.45, 1.9), (1.25, 0.6), plots.IMAGE)
bert = sketch.box("BERT\n(B, T, H)", (2.45, 0.6), (1.25, 0.6), plots.TEXT)
mean = sketch.box("mean over\nplaces (B, C)", (4.1, 1.9), (1.2, 0.6), plots.IMAGE,
                  filled=False)
masked = sketch.box("masked mean\n(B, H)", (4.1, 0.6), (1.2, 0.6), plots.TEXT,
                    filled=False)
for start, end in ((photo, resnet), (words, bert), (resnet, mean), (bert, masked)):
    sketch.arrow(start, end)
joint = sketch.grid((5.75, 1.25), [[plots.IMAGE]] * 4 + [[plots.TEXT]] * 4, cell=0.22)
sketch.text("F = [F_I ; F_T]\n(B, C + H)", (5.75, 0.1))
sketch.arrow(mean, (5.6, 1.7))
sketch.arrow(masked, (5.6, 0.8))
head = sketch.box("head\nlinear: adds\nMLP: may compare", (7.1, 1.25), (1.55, 0.8),
                  plots.BOTH)
sketch.arrow(joint, head)
sketch.arrow(head, (8.55, 1.25))
sketch.text("(B, 2)", (8.25, 1.45), fontsize=8)
sketch.show("Photo and message each pass an encoder and are averaged to one vector, C "
            "and H numbers long; both stand in F, one above the other, and only the "
            "head behind F, linear or an MLP, decides whether they are compared.")

# %% [markdown]
# ## 2. What is possible at all
#
# Before you train anything, ask what the best judge could do. Call what the photo shows $a$ (whole, cracked, sealed, or the colour in the carton) and what the message says $b$ (fine, broken, neutral, or
# the colour ordered). The desk's world is then a table $J[y, a, b]$ of probabilities that sums to 1.
#
# **Step 1.** A judge who sees $a$ and $b$ answers with the likelier label in every cell, and is right with probability $\sum_{a,b}\max_y J[y,a,b]$.
#
# **Step 2.** A judge who sees only $a$ does not know $b$: for them the table is $J[y,a] = \sum_b J[y,a,b]$. *Then* they choose: $\sum_a \max_y \sum_b J[y,a,b]$. The order of sum and maximum is the
# whole difference between the judges.
#
# **A worked example.** Two colours, refund if they differ: $J[\text{keep}] = \begin{pmatrix}.25&0\\0&.25\end{pmatrix}$, $J[\text{refund}] = \begin{pmatrix}0&.25\\.25&0\end{pmatrix}$. Seeing both: $4\times.25 = 1$.
# Seeing only $a$: each row of both tables sums to .25, so $.25 + .25 = .5$: a coin flip.
#
# **Step 3. A third judge sees both and may only add.** They give the photo an opinion $f_a$ and the message an opinion $g_b$, any numbers, and say "refund" where $f_a + g_b > 0$, that is, where
# $f_a > -g_b$. Line the photos up from the highest $f$ to the lowest: a message refunds *the first few* of the line, and how many is decided by its $g_b$ alone. Turned round: for any
# order of the photos and any number of refunds for each message there are $f$ and $g$ that do it.
#
# In the example, with photo 0 first: message 0 should keep photo 0 and refund photo 1. Its cuts are nobody (right with .25 of .5), photo 0 only (0), both (.25). Message 1 should refund photo 0 and keep photo 1:
# exactly one photo, right with .5. Together .75. The other order gives the same, since exchanging the photos exchanges keep and refund: **three of four.**

# %% [exercise] 06.6
# Find the third judge's ceiling. Your function receives `table`, float64 `(2, photos, messages)`: the probabilities of label 0 (keep) and 1 (refund) with every pair of symbols, summing to 1; there are at most
# four photos. It returns the best probability of being right over all $f$ and $g$, a float64 scalar tensor.

# %% [stub]
def ceiling_of_sums(table):
    """The best accuracy of "refund where f_a + g_b > 0", over all f and g.

    table : float64 (2, photos, messages)   returns : float64 scalar tensor
    """
    raise NotImplementedError

# %% [solution]
from itertools import permutations

def ceiling_of_sums(table):
    best = torch.zeros((), dtype=table.dtype)
    for order in permutations(range(table.shape[1])):
        keep, refund = table[0, list(order)], table[1, list(order)]
        total = 0
        for b in range(table.shape[2]):  # every message picks its own cut
            total = total + max(refund[:n, b].sum() + keep[n:, b].sum()
                                for n in range(len(order) + 1))
        best = max(best, total)
    return best

# %% [hints]
# Nothing about $f$ matters but the order in which it puts the photos. How many orders of three photos are there, and once an order is fixed, who depends on whom?
# ---
# $\max_{\text{order}} \sum_b \max_{0\le n\le A} \big(\sum_{\text{first } n} J[1,a,b] + \sum_{\text{the others}} J[0,a,b]\big)$, with $A$ photos. `itertools.permutations(range(A))` gives the orders.
# ---
# ```python
# for order in permutations(range(table.shape[1])):
#     gain = (table[1] - table[0])[list(order)]      # what a refund wins over a keep
#     # column by column: the best number of refunds, 0 included, from the top
#     total = table[0].sum() + ____
# ```

# %%
desk = RefundDesk(tricky=0.0, held_out=True)  # plain words: 04 has the tricky ones
table = torch.as_tensor(desk.joint_table())
exact, sums = desk.ceilings(), additive_ceiling(table)
print(f"table of shape {tuple(table.shape)}, sums to {table.sum():.3f}")
print(f"ceilings: image only {exact['image']:.3f}, text only {exact['text']:.3f}, "
      f"a sum of opinions {sums:.4f}, both {exact['both']:.3f}")
for n_colors in (2, 3, 6):
    world = RefundDesk(n_colors, probabilities=(0, 0, 0, 1))
    in_s = additive_ceiling(torch.as_tensor(world.joint_table())[:, 3:, 3:])
    print(f"a sum of opinions in S alone, {n_colors} colours: {in_s:.3f}")
    assert abs(in_s - 0.75) < 1e-9
assert abs(sums - 0.9375) < 1e-9

# %% [markdown]
# In closed form, with shares $p_R, p_I, p_T, p_S$ and no noise: image only $p_R + p_I + \tfrac12(p_T + p_S)$, text only $p_R + p_T + \tfrac12(p_I + p_S)$, a sum of opinions $p_R + p_I + p_T + \tfrac34 p_S$, both $1$. At equal shares: ¾, ¾, $\tfrac{15}{16}$, 1.
# **So a model may be right on 0.9375 of all tickets without ever having compared anything.** Keep that number.
#
# ## 3. What a linear head can say
#
# **Step 1.** A linear layer on $F = [F_I ; F_T]$ has a weight matrix with two blocks of columns, $W = [W_I\ W_T]$.
#
# **Step 2.** So its logit is $W F + c = W_I F_I + W_T F_T + c = f(\text{photo}) + g(\text{message})$: **a sum of two opinions.** Concatenation followed by a linear layer *is* the sum of two separate linear models.
#
# **Step 3.** Take the four tickets of situation S with colours $\{0, 1\}$, refund when they differ. Write $f_a + g_b$ for the score of a refund. Then
#
# $$\underbrace{(f_0+g_0) + (f_1+g_1)}_{\text{both "keep"}} \;=\; \underbrace{(f_0+g_1) + (f_1+g_0)}_{\text{both "refund"}},$$
#
# term by term. All four right would need the left side negative and the right side positive. **Impossible**, whatever the encoders, the data and the training.
#
# **Step 4.** Three of four can be had. But the logistic loss does not want them. By step 3 the two "keep" scores have the same mean $m$ as the two "refund" scores. The loss is convex, so each pair costs at least what two scores of $m$ would cost:
# together at least $2\ln(1+e^{m}) + 2\ln(1+e^{-m}) \ge 4\ln 2$, and equality holds only where all four scores are 0. The best linear model in S says "I do not know" to every ticket.

# %%
cells = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
differ = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
w = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
w.requires_grad_()
descent = torch.optim.LBFGS([w], max_iter=200)

def loss_of_sum():
    descent.zero_grad()
    value = nn.functional.binary_cross_entropy_with_logits(cells @ w[:2] + w[2], differ)
    value.backward()
    return value

loss = descent.step(loss_of_sum)
scores = (cells @ w[:2] + w[2]).abs()
print("best linear scores of the four tickets:", [f"{s:.4f}" for s in scores.tolist()])
print(f"loss {loss_of_sum():.4f} = ln 2: the loss of knowing nothing")
assert scores.max() < 1e-3

# %% [markdown]
# ## 4. Try it by hand
#
# Do not believe the proof; try to beat it. Set the opinion of the photo, the opinion of the message and the bias, and get all four tickets right. The number in the title counts them. Then give yourself one hidden unit that
# fires only when both say "1" (the last slider is its weight), and try again.

# %%
def xor_by_hand(photo=1.0, message=1.0, bias=-0.5, both=0.0):
    side = torch.linspace(-0.4, 1.4, 60)
    a, b = torch.meshgrid(side, side, indexing="xy")
    score = photo * a + message * b + bias + both * (a + b - 1).clamp(min=0)
    corner = (cells.sum(1) - 1).clamp(min=0)
    at = photo * cells[:, 0] + message * cells[:, 1] + bias + both * corner
    right = int(((at > 0) == (differ > 0)).sum())
    fig, ax = plots.figure(width=4.2, height=3.6)
    ax.contourf(a, b, (score > 0).float(), levels=[-0.5, 0.5, 1.5],
                colors=["#DDE8F0", "#F6DCCB"])
    for (x, y), d in zip(cells.tolist(), differ.tolist()):
        ax.plot(x, y, "s" if d else "o", ms=13, color=plots.TEXT if d else plots.IMAGE)
    ax.set(title=f"{right} of 4 right", xlabel="colour in the photo",
           ylabel="colour ordered", xticks=[0, 1], yticks=[0, 1], aspect="equal")
    return fig

# %%
plots.explore(xor_by_hand,
              "Four tickets in a plane, coloured by decision; without the hidden unit "
              "the count in the title never passes 3.",
              photo=(-2.0, 2.0, 0.25, 1.0), message=(-2.0, 2.0, 0.25, 1.0),
              bias=(-2.0, 2.0, 0.25, -0.5), both=(-4.0, 0.0, 0.25, 0.0))

# %%
grid = torch.linspace(-2, 2, 17, dtype=torch.float64)
positions = torch.meshgrid(grid, grid, grid, indexing="ij")
photo, message, bias = (position.flatten() for position in positions)
at = photo[:, None] * cells[:, 0] + message[:, None] * cells[:, 1] + bias[:, None]
best_sum = int(((at > 0) == (differ > 0)).sum(1).max())
with_unit = at - 3.0 * (cells.sum(1) - 1).clamp(min=0)
best_unit = int(((with_unit > 0) == (differ > 0)).sum(1).max())
print(f"all {len(photo)} slider positions: at most {best_sum} of 4 right; "
      f"with one hidden unit: {best_unit} of 4")
assert (best_sum, best_unit) == (3, 4)

# %%
fig, axes = plots.figure(1, 2, width=6.5, height=3.1, sharey=True)
side = torch.linspace(-0.4, 1.4, 80)
a, b = torch.meshgrid(side, side, indexing="xy")
titles = "a line: 3 of 4", "one hidden unit: 4 of 4"
for ax, both_weight, title in zip(axes, (0.0, -3.0), titles):
    score = a + b - 0.5 + both_weight * (a + b - 1).clamp(min=0)
    ax.contourf(a, b, (score > 0).float(), levels=[-0.5, 0.5, 1.5],
                colors=["#DDE8F0", "#F6DCCB"])
    for (x, y), d in zip(cells.tolist(), differ.tolist()):
        ax.plot(x, y, "s" if d else "o", ms=13, color=plots.TEXT if d else plots.IMAGE)
    ax.set(title=title, xlabel="colour in the photo", xticks=[0, 1], yticks=[0, 1],
           aspect="equal")
axes[0].set_ylabel("colour ordered")
fig.supxlabel("circle: keep, square: refund; shaded orange: the model says refund",
              fontsize=9)
plots.show(fig, "Four tickets at the corners of a square: equal colours are circles, "
                "different ones squares. A straight line leaves one circle among the "
                "squares; a boundary bent by one hidden unit has all four right.")

# %% [markdown]
# ## 5. A head that can compare
#
# A hidden layer in between can build such units: $\text{logits} = W_2\,\mathrm{gelu}(W_1 [\hat F_I ; \hat F_T] + b_1) + b_2$. The hats stand for a normalisation of **each half by itself**, to mean 0 and variance 1 per row
# (LayerNorm without its learned scale). Without it, a modality whose features happen to be large drowns the other; section 7 measures how much that costs.

# %% [exercise] 06.3
# Write the head. Your function receives `image` `(batch, n)`, `text` `(batch, m)` and the weights `W1` `(hidden, n + m)`, `b1` `(hidden,)`, `W2` `(classes, hidden)`, `b2` `(classes,)`; it returns logits `(batch, classes)`. It must equal
# `cmlib.fusion.Concat` with the same weights; normalise with the biased variance and $\epsilon = 10^{-5}$ inside the root, as PyTorch's `layer_norm` does.

# %% [stub]
def concat_head(image, text, W1, b1, W2, b2):
    """Logits of an MLP on the normalised halves.

    image : (batch, n)   text : (batch, m)   W1 : (hidden, n + m)
    W2 : (classes, hidden)   returns : (batch, classes)
    """
    raise NotImplementedError

# %% [solution]
from torch.nn.functional import gelu, layer_norm

def concat_head(image, text, W1, b1, W2, b2):
    # each: mean 0, variance 1 per row
    halves = [layer_norm(x, x.shape[1:]) for x in (image, text)]
    joint = torch.cat(halves, dim=1)                                 # (batch, n + m)
    return gelu(joint @ W1.T + b1) @ W2.T + b2                       # (batch, classes)

# %% [hints]
# Normalise, normalise, concatenate, linear, bend, linear. In that order.
# ---
# $\hat x = (x-\bar x)/\sqrt{\mathrm{var}(x)+10^{-5}}$ over dim 1 with the biased variance. A linear layer with weight `(out, in)` is `x @ W.T + b`.
# ---
# ```python
# def unit(x):                     # every row by itself
#     return (x - x.mean(1, keepdim=True)) / ____
# # then two linear layers with a gelu between them, on both halves side by side
# ```

# %% [markdown]
# From here the lesson goes on with `cmlib.fusion.Concat`, which is this head. A hundred times louder features in one half leave its answer alone, and its linear twin does what step 2 says: its logits for all pairs of photos and messages are a sum.

# %%
torch.manual_seed(0)
image, text = torch.randn(6, 5), torch.randn(6, 3)
labels = torch.zeros(6, dtype=torch.int64)

def every_pair(features):
    """Features of every photo with every message: (n · n) rows, photo by photo."""
    n = len(features.labels)
    return Features(features.image.repeat_interleave(n, 0), features.text.repeat(n, 1),
                    features.labels.repeat_interleave(n))

tickets, louder = Features(image, text, labels), Features(image, 100 * text, labels)
for kind in ("linear", "mlp"):
    head = Concat(5, 3, n_classes=2, head=kind)
    with torch.no_grad():
        gap = (head(tickets) - head(louder)).abs().max()
        logits = head(every_pair(tickets)).reshape(6, 6, 2)
        square = logits[:1, :1] + logits[1:, 1:] - logits[:1, 1:] - logits[1:, :1]
    print(f"{kind:6s} unmoved by louder text: {bool(gap < 1e-3)};  "
          f"a sum of opinions (step 3 holds): {bool(square.abs().max() < 1e-5)}")

# %% [exercise] 06.4
# An average hides the situation that is never learned, so write the report. Your function receives `right`, bool `(rows,)`; `group`, int64 `(rows,)` with values below `n_groups`; and `n_groups`. It returns the accuracy of every group,
# float64 `(n_groups,)`, and `nan` for a group without rows.

# %% [stub]
def accuracy_by_group(right, group, n_groups):
    """Share of right answers in every group.

    right : bool (rows,)   group : int64 (rows,)
    returns : float64 (n_groups,), nan where a group is empty
    """
    raise NotImplementedError

# %% [solution]
def accuracy_by_group(right, group, n_groups):
    rows = torch.bincount(group, minlength=n_groups)              # (n_groups,)
    hits = torch.bincount(group, weights=right.double(), minlength=n_groups)
    return hits / rows

# %% [hints]
# Count the rows of each group, count the right ones, divide. A mean over an empty selection is already `nan`.
# ---
# `torch.bincount(group, weights=…, minlength=n_groups)` adds weights per group: once with ones, once with `right.double()`. $0/0$ is `nan` in floating point.
# ---
# ```python
# def count(weights=None):         # one number for every group, empty ones included
#     return torch.bincount(____)
# # then call it twice and divide; 0 / 0 is nan
# ```

# %% [markdown]
# ## 6. The experiment
#
# Both encoders are frozen: every ticket is encoded once, and only heads are trained on the vectors. That takes seconds, so you can afford what a single number cannot give: **five seeds, each with 1,500 training tickets and 300 test tickets of its own**, and training to the end, until a head knows nearly all of its tickets by heart.
# (Five seeds on one draw of rows would agree with each other about what that draw happens to be.)
#
# **What is new about a test ticket?** The desk writes its messages from sentence templates. With `held_out=True`, a third of all templates, small talk included, are kept for the split "test". So there are two kinds of test:
# - *known sentences*: new tickets, written with the templates of training;
# - *new sentences*: new tickets, and no sentence of theirs was ever in a training message.
#
# Most published tests are of the first kind, and say nothing about the second. Two confessions besides. The mini BERT was pretrained on messages of this same desk, without labels, the held-out sentences among them. And the mini ResNet was trained
# *with* labels, of kind, colour, size, crack and container, on this desk's own photos: that is why its features answer our questions so readily, and why I is easy here.
#
# **Predict before you run.** Which of the columns R, I, T and S survive new sentences?

# %%
torch.manual_seed(0)
encoders = FusionModel(image_encoder(cfg.image_encoder),
                       text_encoder(cfg.text_encoder), n_classes=2)
SEEDS, PER, TEST = range(5), 1500, 300
train_pairs = desk.sample(len(SEEDS) * PER)
pool = extract(encoders, train_pairs)
test_pairs = {"known sentences": desk.sample(len(SEEDS) * TEST, split="new tickets"),
              "new sentences": desk.sample(len(SEEDS) * TEST, split="test")}
tests = {kind: extract(encoders, pairs) for kind, pairs in test_pairs.items()}
for name, half in (("image", pool.image), ("text", pool.text)):
    print(f"{name} features {tuple(half.shape)}, mean size {half.abs().mean():.2f}")
for kind, pairs in test_pairs.items():
    again = sum(text in set(train_pairs.texts) for text in pairs.texts) / len(pairs)
    print(f"{kind}: the whole message stood in training: {again:.3f}; for example")
    print("   ", next(text for text in pairs.texts if len(text) < 80))

# %%
def of(seed, rows, size=TEST):
    """The rows that belong to this seed, of Features or Pairs."""
    return rows[seed * size:(seed + 1) * size]

def report(model, seed, kind="known sentences", change=lambda rows: rows, data=None):
    """Accuracy on the seed's own test tickets, overall and in R, I, T, S: (5,)."""
    rows = of(seed, tests[kind] if data is None else data)
    situation = of(seed, test_pairs[kind].extras["situation"])
    score = evaluate(model, change(rows), by=situation, group_names="RITS")
    return torch.tensor([score.accuracy, *(score.groups[k].accuracy for k in "RITS")])

def train_head(seed, head="mlp", train=None, epochs=20, batch_size=128, **settings):
    torch.manual_seed(seed)
    train = of(seed, pool, PER) if train is None else train
    model = Concat(pool.image.shape[1], pool.text.shape[1], 2, head, **settings)
    rate = {"mlp": 6e-3, "linear": 3e-2}[head]  # a linear head needs larger steps
    fit(model, train, epochs=epochs, batch_size=batch_size, learning_rate=rate,
        seed=seed, progress=False)
    return model

def header(title):
    print(f"{title:28s} all ± std        " + "      ".join("RITS"))

def line(name, rows):
    """Mean ± std over the seeds overall, then the means in R, I, T and S."""
    groups = "  ".join(f"{mean:.3f}" for mean in rows.mean(0)[1:])
    std = rows[:, 0].std()  # of few seeds; a large one is itself uncertain
    spread = f"± {std:.3f}" if std < 0.045 else "(wide) "
    print(f"{name:28s} {rows[:, 0].mean():.3f} {spread}  {groups}")

# %%
contenders = {"image only": {"use": ("image",)}, "text only": {"use": ("text",)},
              "concat, linear": {"head": "linear"}, "concat, MLP": {}}
models = {name: [] for name in contenders}
for seed in tqdm(SEEDS, desc="seeds"):
    for name, settings in contenders.items():
        models[name].append(train_head(seed, **settings))
results = {}  # kind of test → model → (seeds, 5)
for kind in tests:
    majority = torch.stack([report(Majority(pool.labels, 2), s, kind) for s in SEEDS])
    results[kind] = {"majority": majority} | {
        name: torch.stack([report(five[seed], seed, kind) for seed in SEEDS])
        for name, five in models.items()}
    header(kind)
    for name, rows in results[kind].items():
        line(name, rows)
print(f"{'ceiling of a sum':28s} {sums:.3f}          1.000  1.000  1.000  0.750")
known = results["known sentences"]
linear, mlp = known["concat, linear"], known["concat, MLP"]
ahead = {kind: rows["concat, MLP"][:, 4] - rows["concat, linear"][:, 4]
         for kind, rows in results.items()}  # in S, paired by seed
print("in S, MLP above linear on known sentences, in every seed:",
      bool((ahead["known sentences"] > 0).all()))
unread = bool(results["new sentences"]["concat, MLP"][:, 3].mean() < 0.6)
small_lead = bool(ahead["new sentences"].mean() < 0.2)
print("on new sentences, in the mean, the MLP's T is below 0.6 and its lead in S "
      "below 0.2:", unread and small_lead)
by_heart = evaluate(models["concat, MLP"][0], of(0, pool, PER)).accuracy
print(f"the first MLP on its own training tickets: {by_heart:.2f}")
assert not encoders.pretrained or (ahead["known sentences"].min() > 0.03 and unread)
assert (linear[:, 4].mean() - 0.5).abs() < 0.1

# %%
fig, axes = plots.figure(1, 2, width=9.2, height=3.6, sharey=True)
shades = {"image only": plots.IMAGE, "text only": plots.TEXT,
          "concat, linear": plots.GREY, "concat, MLP": plots.BOTH}
for ax, (kind, table_of) in zip(axes, results.items()):
    for offset, (name, color) in enumerate(shades.items()):
        at = [k + 0.2 * (offset - 1.5) for k in range(4)]
        mean, std = table_of[name].mean(0)[1:], table_of[name].std(0)[1:]
        ax.bar(at, mean, 0.18, color=color, label=name)
        upward = torch.minimum(std, 1 - mean)  # no accuracy is above 1
        ax.errorbar(at, mean, torch.stack([std, upward]), fmt="none", ecolor="black",
                    elinewidth=1, capsize=2)
    ax.axhline(0.5, color="black", lw=1, ls="--", label="coin flip")
    ax.hlines([1, 1, 1, 0.75], [-0.4, 0.6, 1.6, 2.6], [0.4, 1.4, 2.4, 3.4],
              color=plots.COLORS[4], lw=2, label="ceiling of a sum")
    ax.set(title=kind, ylim=(0, 1.05), xticks=range(4),
           xticklabels=["R: either", "I: photo", "T: message", "S: both"])
axes[0].set_ylabel("test accuracy")
handles, labels = axes[0].get_legend_handles_labels()
fig.legend(handles, labels, ncols=6, loc="outside lower center")
plots.show(fig, "Accuracy per situation of four models. On known sentences only the "
                "MLP on both halves rises above a coin flip in S. On new sentences no "
                "model is above a coin flip in T, and the MLP's lead in S is small.")

# %% [markdown]
# Read the tables by column, not by row. In R everything works, so R tells you nothing about fusion. In I and T each single-modality model is blind where the other sees; linear concatenation repairs I, and most of T, because there one opinion can be
# zero while the other speaks. In S it knows next to nothing, exactly as step 4 said. The MLP knows far more than a coin.
#
# **And then the sentences change, and T is gone for everyone,** also for the text-only model that read nearly every known sentence. Eight sentences of each verdict are what a head has to learn from; it learns those eight. *Nothing is broken* contains *broken*, so it is called broken.
# In S a message holds one colour word, the same as ever; yet only a small lead is left there, since in another sentence the averaged states lie elsewhere. No fusion can mend that. So say what your test asks: below, *known sentences* measure what a head does with what it can read.
#
# **Fusing lowers T**: text-only knows more of it than either model on both. Why? Two suspects can be removed. (1) In R the photo tells as well, so R tickets teach the fused head less about reading. (2) Nothing in T's photos matters, and yet every sealed parcel looks a
# little different: numbers to overfit to. For (1), train the text-only model without its R tickets; without its I tickets is the control, about as many fewer. For (2), replace each photo's features by the *mean photo of its symbol*, so that only what $a$ says is left.

# %%
def calm(features, pairs):
    """The same features, each photo replaced by the mean photo of its symbol."""
    symbol = train_pairs.extras["image_symbol"]
    means = torch.stack([pool.image[symbol == a].mean(0) for a in range(5)])
    return Features(means[pairs.extras["image_symbol"]], features.text, features.labels)

plain_tests, situation = test_pairs["known sentences"], train_pairs.extras["situation"]
calm_pool = calm(pool, train_pairs)
calm_tests = calm(tests["known sentences"], plain_tests)
calmed, text_without = [], {"R": [], "I": []}
for seed in SEEDS:
    model = train_head(seed, train=of(seed, calm_pool, PER))
    calmed.append(report(model, seed, data=calm_tests))
    for name, reports in text_without.items():
        others = of(seed, situation, PER) != "RITS".index(name)
        rows = of(seed, pool, PER)[others.nonzero()[:, 0]]
        reports.append(report(train_head(seed, train=rows, use=("text",)), seed))
calmed = torch.stack(calmed)
header("known sentences")
line("text only", known["text only"])
for name, reports in text_without.items():
    line(f"text only, no {name} in training", torch.stack(reports))
line("concat, MLP", mlp)
line("concat, MLP, calm photos", calmed)
ahead_in_t = min((known["text only"] - fused)[:, 3].mean() for fused in (linear, mlp))
print("text only reads more of T than either fused head, in the mean by 0.02 or more:",
      bool(ahead_in_t > 0.02))
calmer = (calmed[:, 3] - mlp[:, 3]).mean()
print("calm photos raise T, in the mean, by more than 0.02:", bool(calmer > 0.02))
assert not encoders.pretrained or (calmer > 0.02 and ahead_in_t > 0.02)

# %% [markdown]
# The second suspect is guilty: what is irrelevant in one modality costs in the other, as long as tickets are few. Of the first there is a trace at most: without its R tickets the text-only model reads a little less of T than without as many I tickets, from which no reading can be learned; but a seed has some 75 tickets of T, and the difference is about one of them.
#
# ## 7. When one half shouts
#
# Encoders give features of very different sizes. Suppose the text features were a hundred times smaller: nothing is lost in them, since multiplying by 100 brings everything back. Does the head mind?
#
# **Predict before you run:** which situations suffer without normalisation, and does it help to normalise each half even where nobody whispers?

# %%
def quieter(features, factor):
    return Features(features.image, features.text * factor, features.labels)

scales = {(1.0, True): mlp}
for factor in (1.0, 0.01):
    scales[factor, False] = torch.stack([
        report(train_head(seed, train=quieter(of(seed, pool, PER), factor),
                          normalize=False), seed,
               change=lambda rows, factor=factor: quieter(rows, factor))
        for seed in SEEDS])
# with LayerNorm a head that is trained on a whisper gets the very same numbers
scales[0.01, True] = torch.stack([
    report(model, seed, change=lambda rows: quieter(rows, 0.01))
    for seed, model in enumerate(models["concat, MLP"])])
header("text times …, LayerNorm")
for (factor, normalize), rows in scales.items():
    line(f"{factor:4.2f}  {'with' if normalize else 'without'}", rows)
gain = (scales[1.0, True][:, 0] - scales[1.0, False][:, 0]).mean()
print("without a whisper, LayerNorm is ahead in the mean:", bool(gain > 0))
lowest, highest = scales[0.01, True][:, 3].min(), scales[0.01, False][:, 3].max()
assert not encoders.pretrained or lowest > highest

# %% [markdown]
# Whispered and not normalised, the message is hardly heard: T and S fall to a coin, I does not. LayerNorm per half makes the scale irrelevant. It even helps a little without any whisper: these encoders' features differ in size by themselves (section 6 prints it).
#
# ## 8. Which control can tell?
#
# A high number is not yet evidence of fusion. Two controls are popular.
#
# - **Shuffled pairs.** Give every photo another ticket's message. Each half is still a perfectly normal input; only the partnership is broken.
# - **Missing half.** Replace the message features by their mean over the training set.
#
# Both must lower a model that uses both halves. But does it *compare* them, or only add? The linear head, of which you know, is the control of the controls. A third one is built for the question:
#
# - **The additive part** (Hessel and Lee 2020). Let the model judge *every* photo with *every* message, $L_{ij}$, (n, n, classes). The nearest sum of an opinion of the photo and one of the message has at the real pair $(i, i)$ the value
#
# $$\hat L_i \;=\; \underbrace{\tfrac1n\sum_j L_{ij}}_{\text{photo } i} + \underbrace{\tfrac1n\sum_j L_{ji}}_{\text{message } i} - \underbrace{\tfrac1{n^2}\sum_{j,k} L_{jk}}_{\text{counted twice}}.$$
#
# What the model loses when $L_{ii}$ is replaced by $\hat L_i$ is what it had learned by comparing.

# %% [exercise] 06.7
# Write the additive part. Your function receives `logits`, float64 `(n, n, classes)`: entry `[i, j]` is what the model says to photo $i$ with message $j$. It returns the logits of the nearest sum at the $n$ real pairs, `(n, classes)`.

# %% [stub]
def without_comparing(logits):
    """The additive part of a model at the real pairs (i, i).

    logits : float64 (n, n, classes), [photo, message]   returns : (n, classes)
    """
    raise NotImplementedError

# %% [solution]
def without_comparing(logits):
    photo = logits.mean(dim=1)             # (n, classes): over all messages
    message = logits.mean(dim=0)           # (n, classes): over all photos
    return photo + message - logits.mean(dim=(0, 1))

# %% [hints]
# Three averages. Which axis has to go so that the opinion of a *photo* is left?
# ---
# Photo $i$: the mean over the messages, axis 1. Message $i$: the mean over the photos, axis 0. Both have shape (n, classes), and row $i$ of each belongs to pair $(i, i)$. The grand mean, (classes,), is in both.
# ---
# ```python
# photo = logits.mean(____)        # photo i, averaged over all messages
# # then the message's; both contain the same number for each class: how often, and how often do you want it?
# ```

# %%
def additive_report(model, seed, kind="known sentences"):
    """As `report`, of the model's additive part over the seed's test tickets."""
    rows = of(seed, tests[kind])
    logits = predict(model, every_pair(rows), batch_size=4096)
    logits = additive_part(logits.reshape(TEST, TEST, 2))
    right = (logits.argmax(1) == rows.labels.to(logits.device)).double().cpu()
    situation = of(seed, test_pairs[kind].extras["situation"])
    groups = [right[situation == k].mean() for k in range(4)]
    return torch.stack([right.mean(), *groups]).float()

def shuffled(rows):
    partner = torch.randperm(TEST, generator=torch.Generator().manual_seed(0))
    return Features(rows.image, rows.text[partner], rows.labels)

def missing(rows):
    mean = pool.text.mean(0).expand_as(rows.text)
    return Features(rows.image, mean, rows.labels)

control = {}  # (head, control) → (seeds, 5)
for head in ("linear", "MLP"):
    five = models[f"concat, {head}"]
    for name, change in (("as they belong", lambda rows: rows),
                         ("shuffled pairs", shuffled), ("message missing", missing)):
        control[head, name] = torch.stack([report(model, seed, change=change)
                                           for seed, model in enumerate(five)])
    control[head, "additive part"] = torch.stack([additive_report(model, seed)
                                                  for seed, model in enumerate(five)])
header("known sentences")
for (head, name), rows in control.items():
    line(f"{head:6s} {name}", rows)
lost = {head: control[head, "as they belong"] - control[head, "additive part"]
        for head in ("linear", "MLP")}
print("the linear head's additive part loses nothing:",
      bool(lost["linear"][:, 0].abs().max() < 0.01))
print("the MLP's loses more than 0.03 in S in every seed:",
      bool(lost["MLP"][:, 4].min() > 0.03))
assert lost["linear"][:, 0].abs().max() < 0.01
assert not encoders.pretrained or lost["MLP"][:, 4].mean() > 0.08

# %% [markdown]
# Shuffled pairs and a missing half bring *both* heads down, to the same place: they show that both halves are used, and cannot tell comparing from adding. The additive part can: the linear head is its own additive part and loses nothing; the MLP's S falls back to
# a coin while R and I stay. So the discriminating evidence is **the distance in S from the additive part**. The accuracy in S alone is evidence only where it passes ¾, since a sum may reach that (section 2).
#
# ## 9. More tickets, or the same three lines end to end?
#
# In S the MLP stays below the ceiling, and in T too. More passes are no cure: it knows its 1,500 tickets by heart. Is it the head, or what the head is given? Two cures, side by side:
#
# - **more tickets**: the same head on the same frozen features, with the five seeds' tickets together. To change nothing but the tickets, it gets as many *steps* as the start: 8 epochs of batches of 256, against 20 of 128;
# - **fine-tuning**: the same 1,500 tickets, but gradients flow into BERT. The photo features already tell what I asks, so the ResNet stays frozen. The model is now the whole model, its data are `Pairs`, and the lines are the same. On a GPU this very cell
#   runs `bert-base-uncased` and `resnet50`, because `cfg` says so.
#
# Fine-tuning is one more pass over the same tickets, from a head that you have. A control makes that pass with BERT frozen: is it the pass that helps? (All this for three seeds only, since training BERT takes its time.)
#
# **Predict before you run:** which column moves most? And which cure helps on *new sentences*?

# %%
import copy
from cmlib import freeze

THREE = range(3)  # the first three seeds
# the rate of the mini BERT would ruin BERT-base (lesson 13)
rate = 1e-3 if cfg.text_encoder == "mini" else 5e-5
names = {"again": "frozen, one more pass",
         "more tickets": f"frozen, {len(pool.labels):,} tickets",
         "fine-tuned": f"BERT fine-tuned, {PER:,}"}
cures = {name: {kind: [] for kind in tests} for name in names}
for seed in tqdm(THREE, desc="seeds"):
    big = train_head(seed, train=pool, epochs=8, batch_size=256)
    again = copy.deepcopy(models["concat, MLP"][seed])
    fit(again, of(seed, pool, PER), epochs=1, batch_size=32, learning_rate=rate,
        seed=seed, progress=False)
    model = FusionModel(freeze(image_encoder(cfg.image_encoder)),
                        text_encoder(cfg.text_encoder), n_classes=2)
    model.head.load_state_dict(models["concat, MLP"][seed].state_dict())
    fit(model, of(seed, train_pairs, PER), epochs=1, batch_size=32, learning_rate=rate,
        seed=seed, progress=False)
    for kind in tests:
        cures["again"][kind].append(report(again, seed, kind))
        cures["more tickets"][kind].append(report(big, seed, kind))
        end_to_end = report(model, seed, kind, data=test_pairs[kind])
        cures["fine-tuned"][kind].append(end_to_end)
cured = {name: {kind: torch.stack(rows) for kind, rows in by_kind.items()}
         for name, by_kind in cures.items()}
for kind in tests:
    header(kind)
    line(f"frozen, {PER:,} tickets", results[kind]["concat, MLP"][:3])
    for name, title in names.items():
        line(title, cured[name][kind])
gained = {name: (by_kind["known sentences"] - mlp[:3])[:, 4].mean()
          for name, by_kind in cured.items()}  # in S, paired by seed
both_help = bool(min(gained["more tickets"], gained["fine-tuned"]) > 0.03)
idle = bool(gained["again"] < 0.03)
print("in S, known sentences, each cure beats the start, in the mean, by 0.03 or more:",
      both_help)
print("  and one more pass with BERT frozen does not:", idle)
unread = all(by_kind["new sentences"][:, 3].mean() < 0.6 for by_kind in cured.values())
print("on new sentences, in the mean, T stays below 0.6 with each:", unread)
assert cfg.text_encoder != "mini" or (both_help and idle and unread)

# %% [markdown]
# On known sentences both cures work. The frozen features were *not* the obstacle: with five times the tickets, in as many steps, the same head on the same features gains in T and in S. **What both lacked was tickets; fine-tuning makes up for many of them in S.** (Long training matters as well: stopped at 10 epochs, the start would look worse than it is.)
# Neither buys reading: on new sentences T stays near a coin flip, whatever you pay. More tickets from the same templates are more of the same sentences. (Lesson 04 asks what pretraining does about it.) Of S on new sentences these rows say nothing: three seeds of the *start* already lie far above the mean of its five seeds in section 6. A gain over a coin is no gain over the start.
#
# Note the order of work: first a head on frozen features, then both together. Lesson 13 measures what happens the other way round.
#
# ## 10. Break it: six colours
#
# With two colours, "different" means "the other one". With $K = 6$ the head has to learn an equality test over 36 pairs of colours. Take tickets of situation S only, the same number for both, frozen encoders, and known sentences; train until the training tickets are known by heart.
#
# **Predict before you run:** the accuracy for K = 2 and for K = 6.

# %%
ROWS, only_s = (1000, 400), {}  # tickets of S: training, test
six = RefundDesk(n_colors=6, probabilities=(0, 0, 0, 1), tricky=0.0, held_out=True)
rows_of = {6: extract(encoders, six.sample(sum(ROWS))),
           2: pool[(situation == 3).nonzero()[:sum(ROWS), 0]]}
for n_colors, rows in rows_of.items():
    five = []
    for cut in THREE:  # another cut of the same tickets every time
        shuffle = torch.Generator().manual_seed(cut)
        order = torch.randperm(sum(ROWS), generator=shuffle)
        parts = rows[order[:ROWS[0]]], rows[order[ROWS[0]:]]
        head = train_head(cut, train=parts[0], epochs=30)
        five.append([evaluate(head, part).accuracy for part in parts])
    only_s[n_colors] = torch.tensor(five)  # (cuts, 2)
    train, right = only_s[n_colors].T
    print(f"K = {n_colors}: {right.mean():.3f} ± {right.std():.3f}; "
          f"on its own training tickets {train.mean():.2f}")
apart = only_s[2][:, 1].min() - only_s[6][:, 1].max()
print("K = 6 is below K = 2 in every cut:", bool(apart > 0))
assert not encoders.pretrained or apart > 0

# %% [markdown]
# Is the MLP too small to represent equality of six colours, or does it only not find it? The stretch exercise settles that: two hidden units are enough for *any* number of colours. So it does not find it in this much data: it learns its thousand tickets by heart, and the rule only in part. A head whose form already contains a
# comparison, such as a product of the two halves, needs far less: that is the subject of lesson 08.

# %% [exercise] 06.5
# **On paper first.** (a) Show that a head with *one* hidden relu unit, $w\,\mathrm{relu}(u^\top F + c_1) + c_2$, cannot tell equal from different colours, whatever the features. (The unit of section 4 stood beside a linear part; here there is none.) (b) Design a head with *two* that can, for any number $k$ of colours.
#
# **Then build it.** Your function receives `photos` `(k, n)` and `words` `(k, m)`, float64: row $c$ is the feature vector of a photo showing colour $c$, or of a message naming it. The rows of each are linearly independent ($k \le n$ and $k \le m$). Return `(W1, b1, w2, b2)`
# of shapes `(2, n + m)`, `(2,)`, `(2,)` and `()`, so that $w_2^\top\mathrm{relu}(W_1[\text{photo}_c; \text{word}_d] + b_1) + b_2 > 0$ exactly where $c \ne d$ (what is below $10^{-6}$ counts as 0). No training: compute the weights.

# %% [stub]
def comparing_head(photos, words):
    """Weights of a head with two relu units that says "different" where c ≠ d.

    photos : float64 (k, n)   words : float64 (k, m)
    returns : W1 (2, n + m), b1 (2,), w2 (2,), b2 ()
    """
    raise NotImplementedError

# %% [solution]
def comparing_head(photos, words):
    number = torch.arange(len(photos), dtype=photos.dtype)   # colour c gets number c
    read_photo = torch.linalg.pinv(photos) @ number          # (n,)
    read_words = torch.linalg.pinv(words) @ number           # (m,)
    difference = torch.cat([read_photo, -read_words])        # reads c - d
    W1 = torch.stack([difference, -difference])              # relu(s) + relu(-s) = |s|
    zeros = torch.zeros(2, dtype=photos.dtype)
    return W1, zeros, zeros + 1, torch.tensor(-0.5, dtype=photos.dtype)

# %% [hints]
# Give every colour a number. When are two numbers different, and which two relus tell you, whatever the sign?
# ---
# $|s| = \mathrm{relu}(s) + \mathrm{relu}(-s)$ with $s = c - d$. Because the rows are independent, there is a vector $p$ `(n,)` with `photos @ p` $= (0, 1, 2, \dots)$; the pseudo-inverse gives it: `torch.linalg.pinv(photos) @ numbers`.
# ---
# ```python
# numbers = torch.arange(len(photos), dtype=photos.dtype)
# s = torch.cat([torch.linalg.pinv(photos) @ numbers, ____])   # reads c - d from [photo ; word]
# # now W1 from s and -s, then b1, w2 and a b2 that keeps |0| below zero
# ```

# %% [answer]
# (a) Write $t(c, d) = u^\top F + c_1$. By step 2 of section 3 it is a sum of two opinions. The logit $w\,\mathrm{relu}(t) + c_2$ is a monotone function of $t$ (rising for $w > 0$, falling for $w < 0$, constant for $w = 0$). So "different" is said exactly where $t$ is above
# some threshold $\theta$, or exactly where it is below one. Take two colours. Both equal pairs would lie on one side of $\theta$ and both different pairs on the other, so $t(0,0) + t(1,1)$ would lie on one side of $2\theta$ and $t(0,1) + t(1,0)$ on the other. By step 3 these two sums are equal: a contradiction. More colours contain two.
#
# (b) Number the colours. With $p$ such that `photos @ p` is $(0, \dots, k-1)$ and $q$ such that `words @ q` is the same, $s = p^\top\text{photo} - q^\top\text{word} = c - d$, and $|s| - \tfrac12 = \mathrm{relu}(s) + \mathrm{relu}(-s) - \tfrac12$ is $-\tfrac12$ for equal and at least $\tfrac12$ for different colours. Two units,
# whatever $k$. (Any $k$ distinct numbers do.) What the MLP of section 10 lacks is therefore not units but the examples, or the form, that would lead gradient descent there.

# %% [markdown]
# ## 11. Recap
#
# You can now
# - pool and concatenate features, and say why logits and unpooled tokens are the wrong things to concatenate;
# - compute the ceiling of any subset of modalities, and of any sum of opinions, from a table;
# - prove that linear concatenation is a sum of opinions, and what that costs;
# - report per situation, over seeds with tickets of their own, on known and on new sentences;
# - separate comparing from adding: by the distance from the additive part, and by an accuracy in S above ¾.
#
# `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? Linear concatenation reaches 0.5 in S. A colleague suggests a bigger BERT. Will it help?
# - Yes, better features make the classes linearly separable :: Each half may become as good as you like: the score is still f(photo) + g(message), and step 3 holds for every f and g.
# + No, the sum of two opinions cannot compare, whatever the features :: The identity of step 3 uses nothing about the encoders. The best a sum can do in S is ¾, and training does not even look for that.
# - Only together with a bigger ResNet :: Two perfect opinions are still two opinions.
# ? The fused model is right on 0.93 of all tickets; image only on 0.75, text only on 0.75. Is that evidence that it compares?
# - Yes, it is above both :: A sum of opinions is above both as well.
# - No, 0.93 is below the ceiling of 1 :: Falling short of the ceiling says nothing about how the rest was reached.
# + No: the best sum of opinions reaches 15/16 = 0.9375 :: A model that never compares may get R, I and T right, and three quarters of S. Look at the additive part, and whether S passes ¾.
# - Yes, if shuffling the pairs lowers it :: Shuffling lowers a sum of opinions just as far: section 8.
# ? Why does LayerNorm act on each half and not on the concatenated vector?
# + Because a joint normalisation keeps the ratio of the halves :: Dividing both by one number leaves the louder half as much louder as before.
# - Because the halves have different widths :: LayerNorm works on any width.
# - Because BERT already ends in a LayerNorm :: The ResNet does not, and the head should not depend on it.
# ? A paper splits its messages at random into training and test; they are written from a few dozen templates. What does its test accuracy tell you?
# - How well the model reads :: Most test sentences stand in the training set; remembering is enough.
# + How well it does on tickets worded as those it was trained on :: That can be what you need, and must be said. Reading is tested by sentences that nobody has trained on: section 6.
# - Nothing at all :: It is right about the question that it answers.

# %% [markdown]
# **Glossary**: *pooling*, from many vectors to one · *joint vector*, the concatenated halves · *linear head*, one matrix from features to logits · *synergy*, information that only both modalities together carry ·
# *spread*, the standard deviation over seeds · *held-out template*, a sentence pattern that no training message has · *additive part*, the nearest sum of one opinion of each modality to a model · *control*, the same measurement with the supposed cause removed · *end to end*, with gradients through the encoders.
#
# **References**
# - M. Minsky and S. Papert, *Perceptrons*, MIT Press 1969: what a weighted sum of local evidence cannot compute.
# - D. Kiela, S. Bhooshan, H. Firooz, D. Testuggine, *Supervised multimodal bitransformers for classifying images and text*, 2019: ConcatBERT as a baseline, and how close it comes.
# - J. Hessel and L. Lee, *Does my multimodal model learn cross-modal interactions? It's harder to tell than you might think!*, EMNLP 2020: the additive part of section 8, and published gains that it explains away.
# - P. L. Williams and R. D. Beer, *Nonnegative decomposition of multivariate information*, 2010: redundant, unique and synergistic information, of which R, I, T and S are the accuracy cousins.

# %% [progress]
