# %% [markdown]
# # 13 Fine-tuning
#
# **The one thing to take away:** fine-tuning is a budget. With AdamW no weight moves much further than the sum of the learning rates of all steps; compared with the size of the weights, that sum says whether
# a pretrained encoder stays put, learns, or forgets what it knew.
#
# You will be able to
# - choose a learning rate from the number of steps, and see from the weights whether it was too small or too large;
# - compare majority, frozen probe, full fine-tuning and training from scratch, with seeds;
# - group parameters, accumulate, clip and schedule as the published recipes do, and know which part matters here and which does not;
# - say before a run how many bytes it needs, and why float16 needs a loss scale and bfloat16 does not;
# - read the log of a real run.
#
# **Before this:** [06](06_concatenation.ipynb) (frozen encoders, five seeds) and [07](07_real_data.ipynb) (intervals, the emoji).
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import json
import math
import textwrap
import time
from copy import deepcopy
import torch
from torch.nn.functional import cross_entropy
from cmlib import (
    FusionModel, evaluate, extract, fit, freeze, image_encoder, plots, text_encoder
)
from cmlib.data import Features, Rows, batches, collate
from cmlib.fusion import Concat
from cmlib.models import Majority
from cmlib.training import memory, optim
from cmlib.worlds import RefundDesk
cfg = cmlib.setup("13", full="section 10 trains BERT-base and ResNet-50 on the emoji")

# %% [markdown]
# ## 1. The same model, twice
#
# The refund desk again, with few tickets: 160. In half of them photo and message both tell (situation R), in half only the message does (T), and the messages are tricky: "it looked broken at first but it is intact". Encoders pretrained on other
# tasks turn each half into a vector of 128 numbers.

# %%
desk = RefundDesk(probabilities=(0.5, 0, 0.5, 0))
train_pairs, test_pairs = desk.sample(160), desk.sample(300, split="test")
pretrained = FusionModel(image_encoder("mini"), text_encoder("mini"), n_classes=2)
pretrained.eval()
train_vectors = extract(pretrained, train_pairs)
test_vectors = extract(pretrained, test_pairs)
train_rows = Rows(train_pairs, pretrained.tokenizer)
test_rows = Rows(test_pairs, pretrained.tokenizer)
print(f"tickets: {len(train_pairs)} to train, {len(test_pairs)} to test; "
      f"ceiling for the photo alone {desk.ceilings()['image']:.3f}")
for text, y in zip(train_pairs.texts[1:5], train_pairs.labels[1:5]):
    answer = f"  {desk.class_names[y]:7s} "
    print(textwrap.fill(text, 99, initial_indent=answer, subsequent_indent=" " * 10))

# %% [markdown]
# Here is fine-tuning written out. The photos' vectors stay as they are; a *copy* of the pretrained BERT and a new head learn. Every line is one you know from lessons 01 and 06, with one change: before each step the learning rate is set to a share of its **peak**. Section 6 derives that share; for now, it rises and then falls to 0. (`batches` puts messages of like length together, so that little is computed on padding: faster, and section 9 says more.)

# %%
def tune(peak, seed, epochs=4, warmup=0.1, bert=pretrained.text_encoder):
    """Train a copy of bert and a new head: (bert, head, the loss of every step)."""
    torch.manual_seed(seed)
    bert, head = deepcopy(bert).train(), Concat(128, 128, 2, "mlp")
    parameters = [*bert.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.01, fused=True)
    order = torch.Generator().manual_seed(seed)
    plan = [rows for _ in range(epochs)
            for rows in batches(len(train_rows), 16, order, train_rows.lengths)]
    rising = round(warmup * len(plan))
    losses = []
    for step, rows in enumerate(plan):
        share = optim.rate(step, len(plan), rising)
        optimizer.param_groups[0]["lr"] = peak * share
        batch = train_rows[rows].to(cfg.device)
        photos, words = train_vectors.image[rows], bert(batch.text)
        logits = head(Features(photos, words, batch.labels))
        loss = cross_entropy(logits, batch.labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return bert.eval(), head.eval(), losses

# %% [markdown]
# It is run with two values of one number: the peak is 0.002 or 0.02, five seeds each. Beside them a third model, which fine-tunes nothing: the same head on the frozen vectors, a **frozen probe**.
#
# **Predict before you run.** Order the three by their accuracy on the test tickets.

# %%
@torch.no_grad()
def accuracy(bert, head):
    words = bert(test_rows[torch.arange(len(test_rows))].text)
    logits = head(Features(test_vectors.image, words, test_vectors.labels))
    right = logits.argmax(1).cpu() == test_vectors.labels
    return right.double().mean().item()

def probe(seed, use=("image", "text")):
    torch.manual_seed(seed)
    head = Concat(128, 128, 2, "mlp", use=use)
    fit(head, train_vectors, epochs=7, batch_size=16, learning_rate=3e-3, seed=seed,
        progress=False)
    return evaluate(head, test_vectors).accuracy

runs = {peak: [tune(peak, seed) for seed in range(5)] for peak in (0.002, 0.02)}
views = {"photo": ("image",), "message": ("text",), "both": ("image", "text")}
probes = {view: torch.tensor([probe(seed, use) for seed in range(5)])
          for view, use in views.items()}
fig, ax = plots.figure(width=6, height=2.6)
for (peak, five), color in zip(runs.items(), (plots.BOTH, plots.TEXT)):
    right = torch.tensor([accuracy(bert, head) for bert, head, _ in five])
    curve = torch.tensor([losses for *_, losses in five]).mean(0)
    ax.plot(curve, color=color, label=f"peak {peak}")
    print(f"test accuracy with peak {peak}: {right.mean():.3f} ± {right.std():.3f}")
frozen = probes["both"]
print(f"frozen probe: {frozen.mean():.3f} ± {frozen.std():.3f}  (five seeds each)")
ax.set(title="Both learn; one of them has been ruined",
       xlabel="step", ylabel="training loss", yscale="log")
ax.legend()
plots.show(fig, "Training losses, mean of five seeds, on a log scale: with the peak "
                "0.002 it falls below 0.1, with 0.02 it jumps up first and stays near "
                "0.3.")

# %% [markdown]
# Both losses fall. The larger rate ends *below* the model that was never fine-tuned: forty steps of a bad setting are worth less than none. No error, no nan. What exactly was lost?
#
# ## 2. What a learning rate buys
#
# | symbol | meaning | shape |
# |---|---|---|
# | $w_t$ | one weight at step $t$ | number |
# | $g_t$ | its gradient | number |
# | $m_t, v_t$ | AdamW's running means of $g$ and of $g^2$, corrected for their start at 0 | numbers |
# | $\eta_t$ | the learning rate at step $t$ | number |
#
# **Step 1.** AdamW moves a weight by $\Delta_t = -\eta_t\, m_t/\sqrt{v_t}$ (lesson 01; the weight decay adds a ten-thousandth).
#
# **Step 2.** $m_t$ is a mean of gradients, and $\sqrt{v_t}$ is the root of a mean of their squares. If the gradient is always the same, the ratio is exactly ±1. If it changes sign, $m_t$ cancels and the ratio shrinks. **The size of the gradient drops out.**
#
# **Step 3.** So a weight travels about $\eta_t$ per step at most, and over a whole run at most about
#
# $$A = \sum_t \eta_t,$$
#
# the area under the schedule: its **allowance**. For a rise and a cosine fall over $T$ steps with peak $\eta$ it is about $\eta T/2$.
#
# **A worked example.** 40 steps with peak 0.002: $A \approx 0.002\times 40/2 = 0.04$. BERT's published recipe, peak 0.00002, over 4,000 steps: $0.00002\times 4000/2 = 0.04$. The same budget. At peak 0.02 the 40 steps allow 0.4.
#
# **Step 4.** Is 0.04 much? Compare it with the weights themselves.

# %%
start = dict(pretrained.text_encoder.named_parameters())
matrices = [name for name, p in start.items() if p.ndim == 2 and ".layer." in name]

def flat(parameters):
    """All weights of BERT's layers as one vector."""
    return torch.cat([parameters[name].detach().flatten() for name in matrices])

print(f"a weight in BERT's layers is typically {flat(start).std():.4f} in size")
for peak, five in runs.items():
    allowance = sum(peak * optim.rate(step, 40, 4) for step in range(40))
    ends = [flat(dict(bert.named_parameters())) for bert, *_ in five]
    moved = (torch.stack(ends) - flat(start)).abs()                      # (5, weights)
    print(f"peak {peak}: allowance {allowance:.4f}, moved {moved.mean():.4f} on "
          f"average; none moved further than allowed: {bool(moved.max() < allowance)}")
    assert moved.max() < 1.1 * allowance

# %% [markdown]
# No weight exceeded its allowance, and the average one used about a fifth of it, since its gradient kept changing sign. With the peak 0.02 that fifth is as large as a weight itself: what was learned in thousands of steps of pretraining has been overwritten in forty.
#
# ## 3. Before and after, swept
#
# Now over four peaks from 0.00002 to 0.02 (the two of section 1 with their five seeds, the others with three), beside four models that say what is a lot: **majority**, the **frozen probe** on either vector and on both, and **from scratch**: the same BERT with random weights, trained at the best peak (three seeds).
#
# A second measurement asks what was *forgotten*. Take messages of another kind, "is this the blue ball that I ordered?", which occur nowhere in training here, and try to read the colour (one of six) out of BERT's vector with a linear probe, solved in closed form.

# %%
other = RefundDesk(n_colors=6, probabilities=(0, 0, 0, 1), tricky=0.0)
asked = {split: other.sample(150, split=split) for split in ("train", "test")}
named = {split: pairs.extras["ordered_color"] for split, pairs in asked.items()}
read = {split: collate(pairs, pretrained.tokenizer) for split, pairs in asked.items()}

@torch.no_grad()
def colours(bert):
    """Share of 150 messages whose colour a linear probe on bert's vectors names."""
    # (150, 128) each
    known, new = (bert(batch.text).cpu().double() for batch in read.values())
    centre, spread = known.mean(0), known.std(0) + 1e-3
    known, new = (known - centre) / spread, (new - centre) / spread
    goal = torch.nn.functional.one_hot(named["train"], 6).double()       # (150, 6)
    products = known.T @ known + 10 * torch.eye(128).double()
    weights = torch.linalg.solve(products, known.T @ (goal - goal.mean(0)))
    guesses = (new @ weights + goal.mean(0)).argmax(1)
    return (guesses == named["test"]).double().mean().item()

def distance(bert):
    now = dict(bert.named_parameters())
    return ((flat(now) - flat(start)).norm() / flat(start).norm()).item()

sweep = {}
for peak in (0.00002, 0.0002, 0.002, 0.02):
    tuned = runs.get(peak) or [tune(peak, seed) for seed in range(3)]
    sweep[peak] = torch.tensor([[accuracy(bert, head), colours(bert), distance(bert)]
                                for bert, head, _ in tuned])             # (seeds, 3)

scratch = []
for seed in range(3):
    bert, head, _ = tune(0.002, seed, bert=text_encoder("mini", pretrained=False))
    scratch.append(accuracy(bert, head))
scratch = torch.tensor(scratch)
untrained = colours(text_encoder("mini", pretrained=False))
majority = evaluate(Majority(train_vectors.labels, 2), test_vectors)
print(f"majority                 {majority.accuracy:.3f}")
for view, values in probes.items():
    print(f"frozen probe, {view:9s}  {values.mean():.3f} ± {values.std():.3f}")
print(f"from scratch, peak 0.002 {scratch.mean():.3f} ± {scratch.std():.3f}\n")
print("fine-tuned BERT          accuracy        colours   moved by")
for peak, rows in sweep.items():
    right, named_now, moved = rows.T
    print(f"  peak {peak:<8.5f}          {right.mean():.3f} ± {right.std():.3f}   "
          f"{named_now.mean():.3f}     {moved.mean():.3f} of its size")
print(f"colours before: pretrained {colours(pretrained.text_encoder):.3f}, "
      f"random weights {untrained:.3f}, guessing {1 / 6:.3f}")
best, ruined = sweep[0.002], sweep[0.02]
assert best[:, 0].min() > frozen.max() and frozen.min() > ruined[:, 0].max()
assert ruined[:, 1].max() < best[:, 1].min() - 0.1

# %%
fig, (left, right) = plots.figure(1, 2, width=7.6, height=2.9)
peaks = list(sweep)
for ax, column, what in ((left, 0, "test accuracy"), (right, 1, "colours named")):
    means = [rows[:, column].mean() for rows in sweep.values()]
    spreads = [rows[:, column].std() for rows in sweep.values()]
    ax.errorbar(peaks, means, spreads, fmt="o-", color=plots.TEXT, capsize=3)
    ax.set(xscale="log", xlabel="peak learning rate", ylabel=what, xlim=(1.4e-5, 0.035))
level = frozen.mean()
left.axhline(level, color=plots.BOTH, lw=1.2)
left.text(1.7e-5, level + 0.008, "frozen probe", color=plots.BOTH, fontsize=8)
left.axhline(0.5, color=plots.GREY, lw=1.2, ls="--")
left.text(0.03, 0.507, "coin", color=plots.GREY, fontsize=8, ha="right")
left.set(title="Learned", ylim=(0.47, 0.98))
right.axhline(1 / 6, color=plots.GREY, lw=1.2, ls="--")
right.text(1.7e-5, 1 / 6 + 0.012, "guessing", color=plots.GREY, fontsize=8)
right.set(title="Not forgotten", ylim=(0.1, 0.68))
plots.show(fig, "Left: accuracy against the peak rate rises to a maximum at 0.002 and "
                "falls below the frozen probe at 0.02. Right: colours named stays "
                "level, then falls to guessing.")
print("peak 0.002 beats the frozen probe in every seed:",
      bool(best[:, 0].min() > frozen.max()))
print("peak 0.02 loses to the frozen probe in every seed:",
      bool(ruined[:, 0].max() < frozen.min()))

# %% [markdown]
# Read the two panels together.
#
# - **Too small** (0.00002, the number of BERT's own recipe): in 40 steps the weights moved by two thousandths of their size. Nothing was forgotten and hardly anything learned, not even by the head, which started from random weights with the same rate. Ten times as much is on a par with the frozen probe. A recipe's rate is worth nothing without its number of steps.
# - **Right** (0.002): about an eighth of their size was enough to learn, and nine tenths of what could be read is still there.
# - **Too large** (0.02): moved by more than their own size, below the frozen probe, and on average below a BERT that was never pretrained. The colours are close to guessing.
#
# One line may surprise you: *random* weights name nearly every colour. Keeping different words apart needs no training; pretraining gave up some of that for context. So the ruined BERT did not go "back to the start". It went somewhere worse: a place where all messages look like one of two.
#
# ## 4. Which layers move, and which should decay
#
# Full fine-tuning trains the ResNet, too. A head that starts at random needs a larger rate than an encoder that is nearly right, so each branch may get its own peak. A common choice for thousands of steps is 2e-5 for text, 1e-4 for the image, 1e-3 for the head. Here, with 40 steps, text and head keep 2e-3, and the photo branch, which knows cracks already, gets a tenth of it. This is `fit`, the same loop.

# %%
full = []
peaks = {"text": 2e-3, "image": 2e-4, "head": 2e-3}
for seed in range(3):
    torch.manual_seed(seed)
    model = FusionModel(image_encoder("mini"), text_encoder("mini"), n_classes=2)
    fit(model, train_pairs, epochs=4, batch_size=16, learning_rate=peaks, bucketed=True,
        seed=seed, progress=False)
    full.append(evaluate(model, test_pairs).accuracy)
full = torch.tensor(full)
print(f"frozen probe {frozen.mean():.3f}, "
      f"BERT and head {best[:, 0].mean():.3f} ± {best[:, 0].std():.3f}, "
      f"everything {full.mean():.3f} ± {full.std():.3f}")
print("everything beats the frozen probe in every seed:",
      bool(full.min() > frozen.max()))
assert full.min() > frozen.max()

places = {("text", 0): "embeddings", ("text", 1): "BERT layer 1",
          ("text", 2): "BERT layer 2", ("image", 0): "stem"}
places |= {("image", k): f"ResNet stage {k}" for k in range(1, 5)}
was = dict(pretrained.named_parameters())
far = {place: [0.0, 0.0] for place in places.values()}
for name, p in model.named_parameters():
    place = places.get((optim.branch_of(name), optim.depth_of(name)))
    if place:
        far[place][0] += (p - was[name]).pow(2).sum().item()
        far[place][1] += was[name].pow(2).sum().item()
share = {place: math.sqrt(a / b) for place, (a, b) in far.items()}
fig, ax = plots.figure(width=6, height=2.7)
ax.barh(list(share), list(share.values()), color=[plots.TEXT] * 3 + [plots.IMAGE] * 5)
ax.invert_yaxis()
ax.set(title="Who used the budget",
       xlabel="distance moved, relative to the size of the weights")
plots.show(fig, "Relative distance of each layer: BERT's two layers about 0.12, its "
                "embeddings 0.04, all stages of the ResNet below 0.02.")
print(f"BERT layers {share['BERT layer 1']:.3f} and {share['BERT layer 2']:.3f}, "
      f"embeddings {share['embeddings']:.3f}, "
      f"ResNet at most {max(list(share.values())[3:]):.3f}")

# %% [markdown]
# Training the ResNet as well brought nothing that these seeds can show: what it had to know, it knew. (Three seeds here, five above: too few for more than that.) The embeddings moved least within BERT, for a simple reason: most words of the vocabulary occur in none of the 160 messages and get no gradient.
#
# One more thing moves weights: the decay of lesson 01, $-\eta\lambda w$ per step, which pulls a weight towards **zero**. For a matrix it is a preference for simple functions. For the gain of a norm it makes no sense: a gain belongs at 1. For a bias there is nothing to gain. So recipes split the parameters in two groups.
#
# The popular way is by name, `no_decay = ["bias", "LayerNorm.weight"]`. In a ResNet the gain of a norm is called `trunk.1.weight`, and slips through.

# %% [exercise] 13.1
# Your function receives `shapes`, a dict from the name of a parameter to its shape, a tuple of integers. Return two lists of names, each in the order of the dict: those that decay, which have two or more dimensions, and those that do not.

# %% [stub]
def decay_groups(shapes):
    """Names that decay and names that do not.

    shapes : dict, name → tuple of int    returns : (decay, no_decay), two lists of str
    """
    raise NotImplementedError

# %% [solution]
def decay_groups(shapes):
    decay = [name for name, shape in shapes.items() if len(shape) >= 2]
    return decay, [name for name in shapes if name not in decay]

# %% [hints]
# The name does not matter at all. How many dimensions does the gain of a norm have, and a kernel?
# ---
# Matrix `(out, in)`: 2 dimensions; kernel `(out, in, h, w)`: 4; bias or gain `(size,)`: 1; a temperature `()`: 0. The number of dimensions of a shape is its length.
# ---
# ```python
# decay = [name for name, shape in shapes.items() if ____]
# return decay, [name for name in shapes if name not in decay]
# ```

# %%
by_shape = {name for name, p in pretrained.named_parameters() if p.ndim < 2}
by_name = {name for name in was if "bias" in name or "LayerNorm.weight" in name}
peaks = {"text": 2e-5, "image": 1e-4, "head": 1e-3}
groups = optim.groups(pretrained, peaks, weight_decay=0.01)
print(f"parameters without decay: by shape {len(by_shape)}, by name {len(by_name)}")
print("missed by name, for example:",
      min(name for name in by_shape - by_name if "trunk" in name))
print("groups of cmlib, (peak, decay):\n ",
      sorted((g["lr"], g["weight_decay"]) for g in groups))
undecayed = sum(len(g["params"]) for g in groups if not g["weight_decay"])
assert by_name < by_shape and undecayed == len(by_shape)

# %% [markdown]
# ## 5. A batch that does not fit
#
# BERT-base and ResNet-50 with 256 pairs do not fit on a small GPU; 32 pairs do. **Gradient accumulation** computes the batch in parts. Let part $k$ have $n_k$ of the $n$ rows and mean loss $L_k$.
#
# **Step 1.** The mean over all rows is $L = \sum_k \frac{n_k}{n} L_k$. Differentiation is linear: $\nabla L = \sum_k \frac{n_k}{n}\nabla L_k$. Exactly the gradient of the large batch, with the graph of one part in memory at a time.
#
# **Step 2.** Many programs write $\frac1K\sum_k\nabla L_k$, the mean of the means. With equal parts that is the same. With 5, 2 and 1 rows the single row of the last part counts a third, and should count an eighth. In 2024 this was found in widely used trainers, for losses that average over tokens: there parts are *never* equal.
#
# **Step 3.** Clipping asks for the norm of the *whole* gradient: $\nabla L \cdot \min(1,\ c/\lVert\nabla L\rVert)$. So first add up, then clip, then step.
#
# **Worked example.** Row gradients 1, 1, 1, 1, 1 | 4, 4 | 10. The mean of all eight is $23/8 = 2.875$; the mean of the means is $(1+4+10)/3 = 5$.

# %% [exercise] 13.2
# One step of a linear classifier with logits $xW$ and cross-entropy. Your function receives `weight`, float `(inputs, classes)`; two lists of equal length with the parts, `xs`, each float `(rows of the part, inputs)`, and `ys`, each int64 `(rows of the part,)`; and the numbers `learning_rate` and `clip`. Add up the gradient of the mean
# loss over *all* rows, clip its norm at `clip`, and return the weight after one step of plain gradient descent, `(inputs, classes)`.

# %% [stub]
def accumulated_step(weight, xs, ys, learning_rate, clip):
    """The weight after one clipped step on the mean loss of all rows, part by part.

    weight : (inputs, classes)   xs : list of (n_k, inputs)   ys : list of int64 (n_k,)
    returns : (inputs, classes)
    """
    raise NotImplementedError

# %% [solution]
def accumulated_step(weight, xs, ys, learning_rate, clip):
    w = weight.clone().requires_grad_()
    rows = sum(len(y) for y in ys)
    for x, y in zip(xs, ys):
        loss = cross_entropy(x @ w, y) * len(y) / rows
        loss.backward()                                   # .grad adds up by itself
    gradient = w.grad * min(1.0, clip / w.grad.norm().item())
    return weight - learning_rate * gradient

# %% [hints]
# `backward()` adds to `.grad`. So weigh the loss of each part before you call it, and clip after the last part.
# ---
# The weight of part $k$ is $n_k/n$. Then $g\cdot\min(1, c/\lVert g\rVert)$ with one norm over all entries, and $W - \eta g$. Take the gradient on a copy with `requires_grad_()`, not on the argument.
# ---
# ```python
# for x, y in zip(xs, ys):
#     (cross_entropy(x @ w, y) * ____).backward()
# gradient = w.grad * min(1.0, clip / w.grad.norm().item())
# ```

# %%
def gradient_of(model, parts, weigh):
    """The gradient of all trained parameters in one vector, added up over the parts."""
    model.zero_grad()
    rows = sum(len(part.labels) for part in parts)
    for part in parts:
        share = weigh(len(part.labels), rows, len(parts))
        (cross_entropy(model(part), part.labels) * share).backward()
    trained = [p for p in model.parameters() if p.grad is not None]
    return torch.cat([p.grad.flatten() for p in trained])

torch.manual_seed(0)
model = FusionModel(image_encoder("mini"), text_encoder("mini"), n_classes=2).eval()
whole = train_rows[torch.arange(32)].to(cfg.device)
parts = [train_rows[rows].to(cfg.device) for rows in torch.arange(32).split((20, 9, 3))]
# on a GPU convolutions multiply numbers of 10 bits unless they are told not to
torch.backends.cudnn.allow_tf32 = False
by_rows = lambda n, rows, k: n / rows
exact = gradient_of(model, [whole], by_rows)
off = lambda g: ((g - exact).norm() / exact.norm()).item()
right = off(gradient_of(model, parts, by_rows))
wrong = off(gradient_of(model, parts, lambda n, rows, k: 1 / k))
print(f"weighed by rows: equal to the whole batch to 1e-4: {right < 1e-4};  "
      f"mean of means: off by {wrong:.3f} of its length")
model.train()
at_once = gradient_of(model, [whole], by_rows)
in_parts = gradient_of(model, parts, by_rows)
print("in training mode, where BatchNorm uses its part's own statistics, still equal:",
      bool(torch.allclose(at_once, in_parts, rtol=1e-2)))
assert right < 1e-4 < 0.05 < wrong

# %% [markdown]
# The last line is the fine print. Layers that look across rows, as BatchNorm does in training mode, see only their part, and no weighing repairs that. A contrastive loss looks across rows, too. `fit(…, accumulate=8)` weighs by rows; for contrastive losses `cmlib.training.accumulate.cached_contrastive` keeps features of all parts and does it exactly.
#
# ## 6. Up in a line, down in a cosine
#
# Why not one constant rate? At the *end* a large rate keeps shaking the weights about; falling to zero lets them settle. At the *start*, AdamW's means are made of one gradient: $m_1 = g_1$, $\sqrt{v_1} = |g_1|$, so the very first step moves **every** weight by the full rate, in a direction that one batch has chosen. A **warm-up** makes the first steps small.
#
# With $T$ steps in all and $T_w$ of warm-up, the share of the peak at step $t = 0, 1, \dots$ is
#
# $$r_t = \frac{t}{T_w}\ \text{ for } t < T_w,\qquad r_t = \tfrac12\Big(1+\cos\Big(\pi\,\frac{t-T_w}{T-T_w}\Big)\Big)\ \text{ after.}$$
#
# In numbers, $T = 100$, $T_w = 10$: $r_5 = 0.5$, $r_{10} = 1$, $r_{55} = \tfrac12(1+\cos\tfrac\pi2) = 0.5$, $r_{100} = 0$.

# %% [exercise] 13.3
# Your function receives three integers, `step` ($0 \le$ `step` $\le$ `steps`), `steps` and `warmup` ($0 \le$ `warmup` $\le$ `steps`), and returns the share of the peak, a float. It must equal `get_cosine_schedule_with_warmup` of `transformers`.

# %% [stub]
def rate(step, steps, warmup):
    """Share of the peak learning rate at a step.

    step, steps, warmup : int    returns : float from 0 to 1
    """
    raise NotImplementedError

# %% [solution]
def rate(step, steps, warmup):
    if step < warmup:
        return step / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * done))

# %% [hints]
# Two cases. In the second, first compute which share of the fall is done, from 0 to 1.
# ---
# done $= (t-T_w)/(T-T_w)$, where the divisor is at least 1 (there may be nothing left to fall). Then $\tfrac12(1+\cos(\pi\cdot\text{done}))$.
# ---
# ```python
# if step < warmup:
#     return step / warmup
# done = (step - warmup) / max(1, ____)
# return 0.5 * (1 + math.cos(math.pi * done))
# ```

# %%
from transformers import get_cosine_schedule_with_warmup

nothing = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
trusted = get_cosine_schedule_with_warmup(nothing, 10, 100).lr_lambdas[0]
print("trusted:", ", ".join(f"step {t} {trusted(t):.3f}" for t in (0, 5, 10, 55, 100)))
ours = [optim.rate(t, 100, 10) for t in range(100)]
print(f"cmlib:   step 0 {ours[0]:.3f}, step 5 {ours[5]:.3f}, equal from the peak on:",
      all(abs(trusted(t) - ours[t]) < 1e-12 for t in range(10, 100)))
without = []
for seed in range(5):
    bert, head, _ = tune(0.002, seed, warmup=0)
    without.append(accuracy(bert, head))
without = torch.tensor(without)
gain = best[:, 0] - without
print(f"warm-up {best[:, 0].mean():.3f} ± {best[:, 0].std():.3f}, "
      f"none {without.mean():.3f} ± {without.std():.3f}")
error = gain.std() / 5**0.5
print(f"with minus without, seed by seed: {gain.mean():+.3f} ± {error:.3f}, "
      "its standard error")
effect = (best[:, 0].mean() - ruined[:, 0].mean()).item()
print("less than a third of what the peak decides between 0.002 and 0.02:",
      abs(gain.mean().item()) < effect / 3)
assert abs(gain.mean().item()) < effect / 3

# %% [markdown]
# The trusted schedule spends its first step at rate 0: a forward and a backward pass for nothing. `cmlib` counts from `step + 1` there, and is equal from the peak on.
#
# And warm-up itself? The gain is about two standard errors: perhaps real, and with five seeds not decided. What is decided is its size: a small thing beside the peak. Its benefit is reported for deep transformers whose norms come *after* the sum, as BERT's do, and this BERT has two layers. It costs nothing, so recipes keep it. Know which of your settings
# you have measured and which you have inherited.
#
# ## 7. Bytes before they are spent
#
# A training step keeps four things. With $N$ parameters, in float32 (4 bytes):
#
# | what | bytes | why |
# |---|---|---|
# | weights | $4N$ | |
# | gradients | $4N$ | one for each trained weight |
# | AdamW's moments | $8N$ | $m$ and $v$ |
# | activations | grows with the batch | what the forward pass keeps for the backward pass |
#
# The first three are $16N$: BERT-base (110 M) and ResNet-50 (24 M) take $16\times134\,\text{M} \approx 2.1$ GB before the first row arrives.
#
# **Activations.** For the gradient of its matrix, a linear layer keeps its *input*. GELU keeps *its* input, as its slope depends on it. A plain sum keeps nothing. Count a BERT layer of width $H$ this way, per token: the input of query, key and value $1H$; these three $3H$; the attention's output $1H$; the sum before the first norm $1H$; the input of the wide layer $1H$, its output (width $4H$) before and after GELU $8H$; the sum before the second norm
# $1H$. Together $16H$ numbers. Worked example: the mini BERT has $H=128$ and 2 layers, so a token keeps $2\times16\times128 = 4{,}096$ numbers, 16 kB.

# %% [exercise] 13.4
# Now count for a chain of linear layers with GELU between them (none after the last). Your function receives `shapes`, a list of `(inputs, outputs)`; `rows`, the size of the batch; and `size`, the bytes of one number (2, 4 or 8). Return a dict with the bytes of `"weights"` (biases included), `"gradients"`, `"moments"` of AdamW, and `"activations"`, the input of the chain
# included. What you return is compared with a real step whose tensors were weighed, and 15 % off is right.

# %% [stub]
def training_bytes(shapes, rows, size):
    """Bytes that one step with AdamW keeps, for Linear, GELU, Linear, …, Linear.

    shapes : list of (inputs, outputs)   rows, size : int   returns : dict of four int
    """
    raise NotImplementedError

# %% [solution]
def training_bytes(shapes, rows, size):
    numbers = sum(inputs * outputs + outputs for inputs, outputs in shapes)
    hidden = sum(outputs for _, outputs in shapes[:-1])
    kept = sum(inputs for inputs, _ in shapes) + hidden
    return {"weights": numbers * size, "gradients": numbers * size,
            "moments": 2 * numbers * size, "activations": rows * kept * size}

# %% [hints]
# Three of the four are the number of parameters times something. For the fourth walk through the chain and ask at each layer what its gradient needs.
# ---
# $N = \sum (\text{in}\cdot\text{out} + \text{out})$. Per row kept: every linear layer's input, and every GELU's input, which is the output of the linear layer before it; there is no GELU after the last. Times rows, times bytes.
# ---
# ```python
# kept = sum(inputs for inputs, _ in shapes) + sum(outputs for _, outputs in ____)
# return {"weights": numbers * size, "gradients": numbers * size, "moments": 2 * numbers * size, "activations": rows * kept * size}
# ```

# %%
kept = {}

def keep(tensor):
    """Autograd calls it for every tensor that it saves; parameters do not count."""
    storage = tensor.untyped_storage()
    if storage.data_ptr() not in own:
        kept[storage.data_ptr()] = storage.nbytes()
    return tensor

bert, text = pretrained.text_encoder, whole.text
own = {p.untyped_storage().data_ptr() for p in bert.parameters()}
with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
    states = bert(text)
tokens, measured = text.input_ids.numel(), sum(kept.values())
by_hand = tokens * 2 * 16 * 128 * 4
print(f"{tokens} tokens: by hand {by_hand / 1e6:.2f} MB, "
      f"measured {measured / 1e6:.2f} MB, ratio {by_hand / measured:.3f}")
assert abs(by_hand / measured - 1) < 0.15
print("\nmini         weights   gradients   optimiser activations    together")
for rows in (32, 256):
    need = memory.estimate(model, whole, rows)
    counts = need.weights, need.gradients, need.optimizer, need.activations, need.total
    print(f"{rows:3d} rows", *(f"{memory.size(count):>11s}" for count in counts))
eighth = memory.estimate(model, whole, 32)
print(f"256 rows in 8 parts: {memory.size(eighth.total)}")
base_row = 12 * 16 * 768 * 64 * 4
print(f"\nBERT-base, 64 tokens, by hand: {base_row / 1e6:.1f} MB a row, "
      f"{256 * base_row / 1e9:.1f} GB for 256 rows (without dropout's masks)")

# %% [markdown]
# With few rows the weights rule, with many the activations, and only these shrink when you accumulate, shorten the texts or freeze an encoder (a frozen encoder keeps neither gradients, nor moments, nor activations). `memory.estimate` counts any model so, and `fit` prints it when memory runs out.
#
# ## 8. Half the bytes: which half of the number?
#
# Sixteen bits halve the activations and double the speed of a GPU's multiplier, or better. There are two ways to spend them:
#
# | format | exponent | fraction | smallest above 0 | largest | next after 1 |
# |---|---|---|---|---|---|
# | float32 | 8 bits | 23 bits | $2^{-149}$ | $3\cdot10^{38}$ | $1 + 2^{-23}$ |
# | bfloat16 | 8 bits | 7 bits | $2^{-133}$ | $3\cdot10^{38}$ | $1 + 2^{-7}$ |
# | float16 | 5 bits | 10 bits | $2^{-24} \approx 6\cdot10^{-8}$ | 65,504 | $1 + 2^{-10}$ |
#
# bfloat16 keeps the *range* of float32 and gives up digits. float16 keeps digits and gives up range. Take a gradient of $10^{-8}$:

# %%
g, w, small = torch.tensor(1e-8), torch.tensor(1.0), torch.tensor(0.001)
lifted = (g * 65536).half().float().item() / 65536
print(f"float16 {g.half().item():.1e}   bfloat16 {g.bfloat16().item():.1e}   "
      f"float16 with loss × 65536, divided again in float32 {lifted:.1e}")
loud = torch.tensor(2.0) * 65536
print("loss too loud: 2 × 65536 in float16 is", loud.half().item())
step16, step32 = (w.bfloat16() + small.bfloat16()).item(), (w + small).item()
print(f"a step of 0.001 from the weight 1: bfloat16 {step16:.4f}, float32 {step32:.4f}")
tuned_bert, tuned_head, _ = runs[0.002][0]
tuned_bert.zero_grad()
words = tuned_bert(whole.text)
logits = tuned_head(Features(train_vectors.image[:32], words, whole.labels))
cross_entropy(logits, whole.labels).backward()
used = [p.grad for p in tuned_bert.parameters() if p.grad is not None]
gradients = torch.cat([grad.flatten().abs() for grad in used])
gradients = gradients[gradients > 0].cpu().double()
for power in (0, 8, 16):
    lost = (gradients * 2.0**power < 2.0**-25).double().mean()
    print(f"scale 2^{power:<2d}: {lost:.3f} of the gradients that are not 0 "
          "become 0 in float16")
assert g.half() == 0 and step16 == 1

def window(power=0.0):
    size = gradients.log2() + power
    lost = (size < -25).double().mean().item()
    burst = (size >= 16).double().mean().item()
    fig, ax = plots.figure(width=6.4, height=2.5)
    ax.axvspan(-24, 16, color=plots.IMAGE, alpha=0.12, lw=0)
    ax.hist(size.numpy(), bins=torch.arange(-60, 31, 2).numpy(), color=plots.TEXT,
            weights=torch.full_like(size, 1 / len(size)).numpy())
    ax.text(3, ax.get_ylim()[1] * 0.86, "what float16 can hold",
            color=plots.IMAGE, ha="center", fontsize=9)
    ax.set(title=f"Loss × 2^{power:.0f}: {lost:.1%} become 0, {burst:.1%} overflow",
           xlabel="log2 of the gradient's size", ylabel="share of gradients",
           xlim=(-42, 30))
    return fig

plots.explore(window, "Histogram of gradient sizes over the range of float16; "
                      "the slider scales the loss.", power=(-16.0, 36.0, 2.0, 0.0))
plots.show(window(0), "Histogram of the sizes of BERT's gradients over the range that "
                      "float16 can hold; a left tail lies below the smallest number.")
top = 16 - gradients.max().log2().item()
print(f"no gradient overflows up to a scale of about 2^{top:.1f}")

# %% [markdown]
# The first three lines give three rules.
#
# 1. **float16 needs a loss scale.** Multiply the loss by $2^{16}$: by the chain rule so is every gradient, and small ones rise above the smallest number. Divide before the step, in float32. If one overflows to infinity, skip the step and halve the scale; that is all that `GradScaler` does.
# 2. **bfloat16 needs none.** Its range is that of float32.
# 3. **Weights stay in float32 either way.** In bfloat16, $1 + 0.001 = 1$: steps smaller than the gap to the next number are lost, every one of them. "Mixed" precision means that products are short and sums are long.
#
# The real gradients are those of a tuned BERT of section 1 on 32 training tickets. Hardly any vanish without a scale: this is a small model, and the mean over few rows is loud. The histogram shows how far the crowd stands from the edge. A loss that has been learned for longer or a mean over more rows pushes it to the left (negative powers): by how much may it go? Then move to the right, and find where the *other* end breaks.

# %% [markdown]
# ## 9. Where a step's time goes, and when to stop
#
# Time one step of the full model, part by part: tokenising and padding, the two encoders forward, the backward pass, and clipping with the optimiser. The median of five steps:

# %%
model.train()
optimizer = optim.adamw(model, 1e-5)
clock = {}

def timed(name, work):
    began = time.perf_counter()
    result = work()
    if cfg.device == "cuda":  # its calls return before their work is done
        torch.cuda.synchronize()
    clock.setdefault(name, []).append(time.perf_counter() - began)
    return result

def head_and_loss(batch, image, text):
    logits = model.head(Features(image, text, batch.labels))
    return cross_entropy(logits, batch.labels)

def update():
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()

for _ in range(5):
    batch = timed("words to ids, padding",
                  lambda: collate(train_pairs[:32], model.tokenizer).to(cfg.device))
    image = timed("image forward", lambda: model.image_encoder(batch.image))
    text = timed("text forward", lambda: model.text_encoder(batch.text))
    loss = timed("head and loss", lambda: head_and_loss(batch, image, text))
    optimizer.zero_grad()
    timed("backward", loss.backward)
    timed("clip and AdamW", update)
middle = {name: sorted(seconds)[2] for name, seconds in clock.items()}
for name, seconds in middle.items():
    print(f"{name:22s} {1000 * seconds:.1f} ms")
others = ("head and loss", "clip and AdamW", "words to ids, padding")
print("the backward pass takes longer than head, optimiser and words together:",
      middle["backward"] > sum(middle[name] for name in others))

# %% [markdown]
# On this machine nearly all of it is the two encoders: the backward pass does about twice the work of the forward pass, for it multiplies once for the gradient of the input and once for that of the weights. A GPU shrinks those lines a hundredfold and the first one not at all. Then padding, decoding and copying are what remains, and an expensive chip waits for a cheap one. That is why `fit` tokenises once, keeps pixels as uint8, and prepares the next batch while this one is computed.
#
# The other clock is the validation loss. 80 tickets, 8 epochs:

# %%
torch.manual_seed(0)
stopping = FusionModel(freeze(image_encoder("mini")), text_encoder("mini"), n_classes=2)
history = fit(stopping, train_pairs[:80], desk.sample(100, split="valid"), epochs=8,
              batch_size=16, learning_rate=2e-3, progress=False)
valid_loss = history["valid_loss"]
lowest, last = int(valid_loss.argmin()), len(history) - 1
rises = bool(valid_loss[lowest:].max() > 1.3 * valid_loss.min())
print("training loss below 0.01 at the end:", bool(history["loss"][-1] < 0.01))
print("validation loss later at least 1.3 times its lowest:", rises)
print("the lowest comes before the last epoch:", lowest < last)
print("fit has put the weights of that epoch back:", history.best_epoch == lowest + 1)
fig, ax = plots.figure(width=6, height=2.5)
epochs = range(1, len(history) + 1)
ax.plot(epochs, history["loss"], color=plots.GREY, label="training loss")
ax.plot(epochs, valid_loss, "o-", ms=4, color=plots.TEXT, label="validation loss")
right = history["valid_accuracy"]
ax.plot(epochs, right, color=plots.BOTH, label="validation accuracy")
ax.axvline(lowest + 1, color="black", lw=1, ls=":")
ax.set(title="The training loss does not know when to stop", xlabel="epoch",
       xticks=list(epochs), ylim=(-0.03, 1.05))
ax.legend(fontsize=8, loc=(0.68, 0.08))
plots.show(fig, "Training loss falls to zero; validation loss is lowest early and then "
                "rises, while validation accuracy stays roughly level.")
assert lowest < last and rises

# %% [markdown]
# After the dotted line the loss on new tickets rises while their accuracy hardly changes: the model becomes *surer* of its errors before it makes more of them. `patience=3` would stop three epochs after the line; without it, `fit` trains on and still hands back the best epoch.
#
# ## 10. Scale
#
# Two real runs on the emoji of lesson 07 are shipped as logs, made by one command each, on a CPU: the course's mini encoders, and **MiniLM** (a BERT of 6 layers, pretrained on over a billion pairs of sentences) with a **ResNet-18**. No pretrained ResNet-18 could be had without a network where this was made, so its weights are random, and the log says so. The place of BERT-base and ResNet-50 is empty: nobody has run it yet, and nothing is drawn that was not measured.

# %%
wanted = {
    "mini+mini": ("mini BERT + mini ResNet", plots.GREY),
    "minilm+resnet18": ("MiniLM + ResNet-18 (random)", plots.BOTH),
    "bert-base-uncased+resnet50": ("BERT-base + ResNet-50", plots.TEXT),
}
fig, (left, right) = plots.figure(1, 2, width=7.6, height=2.9, sharey=True)
for name, (title, color) in wanted.items():
    path = ROOT / "data" / "runs" / f"{name}.json"
    ax = right if name.startswith("bert") else left
    if not path.exists():
        ax.text(0.5, 0.5, "not measured yet", transform=ax.transAxes, ha="center",
                color=plots.GREY)
        print(f"{title}: empty. To fill it, on a GPU:\n  python benchmarks/full_run.py "
              "--text bert-base-uncased --image resnet50")
        continue
    log = json.loads(path.read_text())
    before = {name: torch.tensor(right).mean() for name, right in log["before"].items()}
    later = [row["valid_accuracy"] for row in log["epochs"]]
    ax.plot([log["valid_accuracy_at_start"], *later], "o-", ms=3, color=color)
    ax.text(8, later[-1] + 0.025, title, color=color, fontsize=8, ha="right")
    low, high = log["test_interval"]
    print(f"{title}, {log['parameters'] / 1e6:.1f} M parameters\n"
          f"  test: majority {log['majority']:.3f}, "
          f"image only {before['image only']:.3f}, "
          f"text only {before['text only']:.3f}, "
          f"frozen probe {before['frozen probe']:.3f},\n"
          f"  fine-tuned {log['test_accuracy']:.3f} ({low:.3f} to {high:.3f})\n"
          f"  {log['machine']}; {log['date']}; {log['cpu_seconds']} s of CPU\n"
          f"  {log['command']}")
for ax, title in ((left, "Two runs on a CPU"), (right, "BERT-base + ResNet-50")):
    ax.set(title=title, xlabel="epoch (0: frozen probe)", ylim=(0.5, 1.0),
           xlim=(-0.3, 8.3))
left.set_ylabel("validation accuracy")
plots.show(fig, "Validation accuracy by epoch: the mini encoders from 0.61 to 0.66, "
                "MiniLM with a random ResNet-18 from 0.85 down to 0.68 and up to 0.89; "
                "the panel for BERT-base and ResNet-50 is empty.")

# %% [markdown]
# Read the logs as you would a colleague's.
#
# - **What was read before decides most.** Text only: MiniLM against the mini BERT. That gap was there before a single step of fine-tuning.
# - **The dip at epoch 1** of the larger run looks like section 3 at another size: a random ResNet learning at a high rate changes what the head had just learned to read. It recovered. A likely cause, not a measured one: a second run with the image branch frozen would tell.
# - **Is fine-tuned better than frozen?** Look at the interval of 247 test rows: the frozen probe of the larger run lies just below its lower end, that of the mini run below it. One run each: seeds were not repeated here.
#
# The same three lines, with two names changed. On a GPU the next cell first measures a forward pass, prints the minutes to come, and then trains; on a CPU it only says what it would do.

# %%
if cfg.name == "full":
    from cmlib.datasets import emoji
    sets = {split: emoji(split) for split in ("train", "valid", "test")}
    big = FusionModel(image_encoder(cfg.image_encoder), text_encoder(cfg.text_encoder),
                      len(sets["train"].class_names))                 # line 1
    began = time.perf_counter()
    extract(big, sets["valid"], batch_size=32)
    seconds_a_row = (time.perf_counter() - began) / len(sets["valid"])
    # a step costs about three forward passes
    minutes = 3 * 3 * seconds_a_row * len(sets["train"]) / 60
    print(f"expected: {minutes:.1f} minutes for 3 epochs")
    fit(big, sets["train"], sets["valid"], epochs=3, batch_size=32,
        learning_rate={"text": 2e-5, "image": 1e-4, "head": 1e-3},
        precision="auto")                                             # line 2
    print(f"test accuracy {evaluate(big, sets['test']).accuracy:.3f}")  # line 3
else:
    print("not run at this scale: bert-base-uncased and resnet50, 3 epochs of\n"
          "the emoji. Choose a GPU runtime and run this cell again.")

# %% [markdown]
# Before you start it, spend the budget on paper: 3 epochs of 36 steps with peak 2e-5 are an allowance of $108\times0.00002/2 \approx 0.001$ per weight, a fortieth of what section 3 found best. Would you raise the rate, or the number of epochs?
#
# ## 11. Recap
#
# You can now
# - turn peak and steps into an allowance, and compare it with the size of the weights;
# - show with a probe that something was forgotten;
# - split parameters by shape, accumulate by rows, clip once, and match a trusted schedule;
# - count the bytes of a step, and say what a loss scale is for;
# - tell a setting that you measured (the rate) from one that you inherited (warm-up).

# %% [quiz]
# ? A paper fine-tunes with peak 2e-5 for 10,000 steps. You have data for 100 steps. Your first guess for the peak?
# - 2e-5, since it is the published value :: The allowance would be a hundredth of the paper's: next to nothing moves, as at 0.00002 in section 3.
# - 2e-7, since there are fewer data :: That divides the allowance once more.
# + Higher, up to about 2e-3, and a small sweep around it :: The same allowance at a hundredth of the steps. It is a first guess and not a law: the sweep decides.
# ? You multiply the loss by 1000 and train with AdamW, without clipping. What happens to the allowance?
# + Nothing :: m and the root of v both grow a thousandfold, and their ratio stays. (Clipping at a fixed norm would divide the factor out, too.)
# - It grows a thousandfold :: That is plain gradient descent.
# - It shrinks, because v grows with the square :: Its root enters.
# ? Training in float16 without a loss scale: the loss falls at first and then stands still, early. What is likely?
# - The weights have overflowed :: Then the loss would be inf or nan.
# + The gradients have become too small for float16 :: The better the model, the smaller its gradients; below 2^-25 they round to 0 and learning stops.
# - The learning rate is too high :: The loss would jump, not stand still.
# ? Your 256 rows do not fit, and you compute them in 8 parts of 32. What stays different from the large batch?
# - The gradient, by a factor of 8 :: Not if each part is weighed by its share of the rows.
# - The memory for the moments, which is divided by 8 :: Moments belong to weights, and do not depend on the batch at all.
# + What BatchNorm computes in training mode :: It sees 32 rows at a time. Freeze it, or use a norm that looks at one row only.

# %% [markdown]
# **Glossary**: *frozen probe*, a head trained on the features of an encoder that stays as it is · *allowance*, the sum of the learning rates over all steps · *forgetting*, the loss of what an encoder knew and the new task does not ask for · *peak*, the largest rate of a schedule ·
# *accumulation*, the gradient of a large batch from its parts · *moments*, AdamW's running means of a gradient and its square · *loss scale*, a factor that lifts small gradients into the range of float16 · *early stopping*, keeping the weights of the best validation.
#
# **References**
# - J. Devlin, M.-W. Chang, K. Lee, K. Toutanova, *BERT*, NAACL 2019: appendix A.3 has the recipe with the rates 2e-5 to 5e-5.
# - D. P. Kingma, J. Ba, *Adam: a method for stochastic optimization*, ICLR 2015: section 2.1 bounds the step by the learning rate.
# - I. Loshchilov, F. Hutter, *Decoupled weight decay regularization*, ICLR 2019: AdamW, and the cosine.
# - P. Micikevicius et al., *Mixed precision training*, ICLR 2018: float32 weights and the loss scale, with a histogram like that of section 8.
# - R. Xiong et al., *On layer normalization in the transformer architecture*, ICML 2020: when warm-up is needed, and when it is not.
# - A. Kumar et al., *Fine-tuning can distort pretrained features and underperform out-of-distribution*, ICLR 2022: why to train the head first.
# - M. Mosbach, M. Andriushchenko, D. Klakow, *On the stability of fine-tuning BERT*, ICLR 2021: more steps and small rates against runs that fail.
#
# Logs: emoji pictures Noto Emoji, © Google, SIL Open Font License 1.1; names EmojiBase, MIT; MiniLM: sentence-transformers/all-MiniLM-L6-v2, Apache 2.0.

# %% [progress]
