# %% [markdown]
# # 06 Feature concatenation
#
# **The one thing to take away:** concatenation only puts two vectors side by side. Whether a model can *compare* them is decided by what comes next: a
# linear layer adds two opinions, and no sum of opinions can say "equal" or "different".
#
# You will be able to
# - turn a feature map and a row of token states into one joint vector, the right way;
# - compute the exact ceiling of every modality from a table of probabilities;
# - prove that a linear head fails where both modalities are needed, and see an MLP succeed;
# - report accuracy per situation with its spread over seeds, and run the controls that make the report believable.
#
# **Before this:** [02](02_joint_loss.ipynb) (what joins two branches), [04](04_reading.ipynb) and [05](05_seeing.ipynb) (what the encoders do).
#
# **Time:** about 85 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import torch
from torch import nn
from cmlib import FusionModel, extract, fit, image_encoder, plots, predict, text_encoder
from cmlib.data import Features
from cmlib.fusion import Concat
from cmlib.models import Majority
from cmlib.worlds import RefundDesk
cfg = cmlib.setup("06", full="the encoders of sections 6 to 10")

# %% [markdown]
# ## 1. The published model does not run
#
# An article joins a ResNet-50 and a BERT by concatenating "their outputs along dimension 1". It takes the 1,000 class logits of the one and the token states of the other. Here are tensors
# of those shapes.
#
# **Predict before you run.** What is the shape of the result?

# %%
class_logits = torch.randn(8, 1000)        # (batch, ImageNet classes)
token_states = torch.randn(8, 24, 768)     # (batch, tokens, hidden)
try:
    torch.cat([class_logits, token_states], dim=1)
except RuntimeError as error:
    print("RuntimeError:", str(error).split(";")[0])

# %% [markdown]
# It has no shape, because there is no result. Two things are wrong, and only one of them raises an error:
#
# 1. A message is a *sequence* of vectors, one for every token, and messages have different lengths. It has to be **pooled** to one vector first.
# 2. Class logits are answers to another question ("which of 1,000 ImageNet classes?"). What you want is what the network knew *before* it answered: the **features** under the last
#    layer, 2,048 of them in a ResNet-50. Lesson 05 measured what is lost otherwise.

# %% [exercise] 06.1
# Repair it. Your function receives `feature_map`, float `(batch, C, h, w)`; `token_states`, float `(batch, tokens, H)`; and `attention_mask`, int64 `(batch, tokens)`, 1 on a token and 0 on
# padding. Average the map over its positions and the states over the *real* tokens, and return $F = [F_I ; F_T]$, float `(batch, C + H)`, the picture first.

# %% [stub]
def joint_features(feature_map, token_states, attention_mask):
    """F = [F_I ; F_T].

    feature_map : (batch, C, h, w)   token_states : (batch, tokens, H)
    attention_mask : int64 (batch, tokens)
    returns : (batch, C + H)
    """
    raise NotImplementedError

# %% [solution]
def joint_features(feature_map, token_states, attention_mask):
    picture = feature_map.mean(dim=(2, 3))                      # (batch, C)
    mask = attention_mask[:, :, None].to(token_states.dtype)    # (batch, tokens, 1)
    words = (token_states * mask).sum(dim=1) / mask.sum(dim=1)  # (batch, H)
    return torch.cat([picture, words], dim=1)                   # (batch, C + H)

# %% [hints]
# Two averages, then one `torch.cat`. The second average is the masked mean of lesson 03.
# ---
# $F_I = \tfrac{1}{hw}\sum_{u,v} M_{uv}$, shape `(batch, C)`; $F_T = \sum_k m_k h_k / \sum_k m_k$, shape `(batch, H)`, with the mask given a third dimension so that it broadcasts over H.
# ---
# ```python
# mask = attention_mask[:, :, None].to(token_states.dtype)
# words = (token_states * mask).sum(dim=1) / ____
# return torch.cat([feature_map.mean(dim=(2, 3)), words], dim=1)
# ```

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

# %% [exercise] 06.2
# Your function receives `table`, float `(labels, a, b)`, non-negative and summing to 1. Return three numbers (scalar tensors): the best accuracy with the image symbol $a$ only, with the text symbol $b$ only, and with
# both.

# %% [stub]
def ceilings(table):
    """Best accuracies (image only, text only, both) for a joint table J[y, a, b]."""
    raise NotImplementedError

# %% [solution]
def ceilings(table):
    # sum b out, then take the likelier label for every a
    image = table.sum(dim=2).amax(dim=0).sum()
    text = table.sum(dim=1).amax(dim=0).sum()
    both = table.amax(dim=0).sum()
    return image, text, both

# %% [hints]
# Sum out what the judge does not see, take the likelier label for every symbol they do see, add up.
# ---
# Image only: $\sum_a\max_y\sum_b J[y,a,b]$. The dimensions are $y = 0$, $a = 1$, $b = 2$; `amax(dim=0)` is the maximum over labels.
# ---
# ```python
# image = table.sum(dim=2).amax(dim=____).sum()
# ```

# %%
desk = RefundDesk(tricky=0.0)  # plain words: lesson 04 dealt with the tricky ones
table = torch.as_tensor(desk.joint_table())
image, text = table.sum(2).amax(0).sum(), table.sum(1).amax(0).sum()
both = table.amax(0).sum()
print(f"table of shape {tuple(table.shape)}, sums to {table.sum():.3f}")
print(f"ceilings: image only {image:.3f}, text only {text:.3f}, both {both:.3f}")
exact = desk.ceilings()
assert abs(both - exact["both"]) < 1e-9 and abs(image - exact["image"]) < 1e-9

# %% [markdown]
# In closed form, with shares $p_R, p_I, p_T, p_S$ and no noise: image only $p_R + p_I + \tfrac12(p_T + p_S)$, text only $p_R + p_T + \tfrac12(p_I + p_S)$, both $1$. At equal shares: ¾, ¾, 1.
#
# ## 3. What a linear head can say
#
# **Step 1.** A linear layer on $F = [F_I ; F_T]$ has a weight matrix with two blocks of columns, $W = [W_I\ W_T]$.
#
# **Step 2.** So its logit is $W F + b = W_I F_I + W_T F_T + b = f(\text{photo}) + g(\text{message})$: **a sum of two opinions.** Concatenation followed by a linear layer *is* the sum of two separate linear models.
#
# **Step 3.** Take the four tickets of situation S with colours $\{0, 1\}$, refund when they differ. Write $f_a + g_b$ for the score of a refund. Then
#
# $$\underbrace{(f_0+g_0) + (f_1+g_1)}_{\text{both "keep"}} \;=\; \underbrace{(f_0+g_1) + (f_1+g_0)}_{\text{both "refund"}},$$
#
# term by term. All four right would need the left side negative and the right side positive. **Impossible**, whatever the encoders, the data and the training.
#
# **Step 4.** Three of four can be had. But the logistic loss does not want them: it is convex in the four scores, and swapping the names of the two colours in photo *and* message, or flipping the sign of the score and the colours of one side, leaves the problem as it is. Averaging a
# solution over these swaps cannot raise a convex loss, and the average is $f_a + g_b = 0$ everywhere. The best linear model in S says "I do not know" to every ticket.

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
    fig, ax = plots.figure(width=4, height=3.4)
    ax.contourf(a, b, (score > 0).float(), levels=[-0.5, 0.5, 1.5],
                colors=["#DDE8F0", "#F6DCCB"])
    for (x, y), d in zip(cells.tolist(), differ.tolist()):
        ax.plot(x, y, "s" if d else "o", ms=13, color=plots.TEXT if d else plots.IMAGE)
    ax.set(title=f"{right} of 4 right", xlabel="colour in the photo",
           ylabel="colour ordered", xticks=[0, 1], yticks=[0, 1], aspect="equal")
    return fig

# %%
plots.explore(xor_by_hand,
              "Four tickets in a plane, coloured by decision; the title counts how "
              "many are right.",
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
plots.show(fig, "Equal and different colours as four points: one straight line "
                "separates three of them, a bent boundary separates all four.")

# %% [markdown]
# ## 5. A head that can compare
#
# A hidden layer in between can build such units: $\text{logits} = W_2\,\mathrm{gelu}(W_1 [\hat F_I ; \hat F_T] + b_1) + b_2$. The hats stand for a normalisation of **each half by itself**, to mean 0 and variance 1 per row
# (LayerNorm without its learned scale). Without it, a modality whose features happen to be large drowns the other; section 7 measures how much that costs.

# %% [exercise] 06.3
# Write the head. Your function receives `image` `(batch, n)`, `text` `(batch, m)` and the weights `W1` `(hidden, n + m)`, `b1` `(hidden,)`, `W2` `(classes, hidden)`, `b2` `(classes,)`; it returns logits `(batch, classes)`. It must equal
# `cmlib.fusion.Concat` with the same weights; normalise with $\epsilon = 10^{-5}$ inside the root, as PyTorch's `layer_norm` does.

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
    F = torch.cat(halves, dim=1)                                     # (batch, n + m)
    return gelu(F @ W1.T + b1) @ W2.T + b2                           # (batch, classes)

# %% [hints]
# Normalise, normalise, concatenate, linear, bend, linear. In that order.
# ---
# $\hat x = (x-\bar x)/\sqrt{\mathrm{var}(x)+10^{-5}}$ over dim 1 with the biased variance. A linear layer with weight `(out, in)` is `x @ W.T + b`.
# ---
# ```python
# halves = [layer_norm(x, x.shape[1:]) for x in (image, text)]
# F = torch.cat(halves, dim=1)
# return ____(F @ W1.T + b1) @ W2.T + b2
# ```

# %% [markdown]
# The same numbers come out of the library's head with the same weights:

# %%
torch.manual_seed(0)
head = Concat(5, 3, n_classes=2, head="mlp").cpu().double()
image, text = torch.randn(4, 5).double(), torch.randn(4, 3).double()
features = Features(image, text, torch.zeros(4, dtype=torch.int64))
first, last = [m for m in head.head if isinstance(m, nn.Linear)]
halves = [nn.functional.layer_norm(x, x.shape[1:]) for x in (image, text)]
hidden = nn.functional.gelu(torch.cat(halves, 1) @ first.weight.T + first.bias)
gap = (hidden @ last.weight.T + last.bias - head(features)).abs().max()
print("equal to cmlib.fusion.Concat to 1e-12:", bool(gap < 1e-12))

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
# rows = torch.bincount(group, minlength=n_groups)
# hits = torch.bincount(group, weights=____, minlength=n_groups)
# return hits / rows
# ```

# %% [markdown]
# ## 6. The experiment
#
# Both encoders are frozen: every ticket is encoded once, and only heads are trained on the vectors. That takes seconds, so you can afford what a single number cannot give: **five seeds and their spread**.

# %%
torch.manual_seed(0)
encoders = FusionModel(image_encoder(cfg.image_encoder),
                       text_encoder(cfg.text_encoder), n_classes=2)
train_pairs, test_pairs = desk.sample(3000), desk.sample(800, split="test")
train, test = extract(encoders, train_pairs), extract(encoders, test_pairs)
situation = test_pairs.extras["situation"]
print(f"features: image {tuple(train.image.shape)}, text {tuple(train.text.shape)}")

# %%
def report(model, data=test):
    """Accuracy overall and in R, I, T, S: (5,)."""
    right = predict(model, data).argmax(1) == data.labels
    groups = torch.stack([right[situation == k].double().mean() for k in range(4)])
    return torch.cat([right.double().mean()[None], groups])

def train_head(seed, head="mlp", train=train, **settings):
    torch.manual_seed(seed)
    model = Concat(train.image.shape[1], train.text.shape[1], 2, head, **settings)
    fit(model, train, epochs=10, batch_size=128, learning_rate=6e-3, seed=seed,
        progress=False)
    return model

HEADER = f"{'five seeds':16s} {'all ± std':13s}  " + "      ".join("RITS")

def line(name, rows):
    """Print the accuracy of five seeds: mean ± std overall, then in R, I, T and S."""
    groups = "  ".join(f"{mean:.3f}" for mean in rows.mean(0)[1:])
    print(f"{name:16s} {rows[:, 0].mean():.3f} ± {rows[:, 0].std():.3f}  {groups}")

# %%
contenders = {"image only": {"use": ("image",)}, "text only": {"use": ("text",)},
              "concat, linear": {"head": "linear"}, "concat, MLP": {}}
models = {name: [train_head(seed, **settings) for seed in range(5)]
          for name, settings in contenders.items()}
results = {name: torch.stack([report(model) for model in five])
           for name, five in models.items()}
majority = report(Majority(train.labels, 2))

print(HEADER)
print(f"{'majority':16s} {majority[0]:.3f}          "
      + "  ".join(f"{v:.3f}" for v in majority[1:]))
for name, rows in results.items():
    line(name, rows)
print(f"{'ceiling':16s} {both:.3f}          1.000  1.000  1.000  1.000")
linear, mlp = results["concat, linear"], results["concat, MLP"]
print("MLP beats linear in S in every seed:", bool((mlp[:, 4] > linear[:, 4]).all()))
assert not encoders.pretrained or (mlp[:, 4] > linear[:, 4] + 0.15).all()
assert (linear[:, 4].mean() - 0.5).abs() < 0.05

# %%
fig, ax = plots.figure(width=7.5, height=3.2)
shades = {"image only": plots.IMAGE, "text only": plots.TEXT,
          "concat, linear": plots.GREY, "concat, MLP": plots.BOTH}
for offset, (name, rows) in enumerate(results.items()):
    at = [k + 0.2 * (offset - 1.5) for k in range(4)]
    ax.bar(at, rows.mean(0)[1:], 0.18, color=shades[name], label=name)
    ax.errorbar(at, rows.mean(0)[1:], rows.std(0)[1:], fmt="none", ecolor="black",
                elinewidth=1, capsize=2)
ax.axhline(0.5, color="black", lw=1, ls="--")
ax.set(title="Situation S needs a head that bends", ylabel="test accuracy",
       ylim=(0, 1.05), xticks=range(4),
       xticklabels=["R: either tells", "I: photo tells", "T: message tells",
                    "S: both together"])
ax.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.13))
plots.show(fig, "Accuracy per situation of four models with error bars over five "
                "seeds: in S only the MLP on both vectors rises above a coin flip.")

# %% [markdown]
# Read the table by column, not by row. In R everything works, so R tells you nothing about fusion. In I and T each single-modality model is blind where the other sees. Linear concatenation repairs I, and much of T, because there one opinion can be
# zero while the other speaks. In S it knows nothing, exactly as step 4 said. The MLP does: not all, but far more than a coin. Section 9 finds out what holds it back.
#
# ## 7. When one half shouts
#
# Encoders give features of very different sizes. Suppose the text features were a hundred times smaller: nothing is lost in them, since multiplying by 100 brings everything back. Does the head mind?
#
# **Predict before you run:** which situations suffer without normalisation, and does it help to normalise each half?

# %%
def quieter(features, factor=0.01):
    return Features(features.image, features.text * factor, features.labels)

quiet_train, quiet_test = quieter(train[:1500]), quieter(test)
scale_results = {}
print(HEADER)
for normalize in (False, True):
    scale_results[normalize] = torch.stack([
        report(train_head(seed, train=quiet_train, normalize=normalize), quiet_test)
        for seed in range(5)])
    line(f"normalize={normalize}", scale_results[normalize])
lowest, highest = scale_results[True][:, 3].min(), scale_results[False][:, 3].max()
assert not encoders.pretrained or lowest > highest

# %% [markdown]
# The message is whispered, so the head hardly hears it: T and S suffer, I does not. LayerNorm per half makes the scale irrelevant, and
# costs nothing.
#
# ## 8. Two controls
#
# A high number is not yet evidence of fusion. Two controls make it one.
#
# - **Shuffled pairs.** Give every photo another ticket's message. Each half is still a perfectly normal input; only the partnership is broken. A model that fuses must fall.
# - **Missing half.** Replace the message features by their mean over the training set. What is left should be about what an image-only model can do, and no better.

# %%
partner = torch.randperm(len(test.labels), generator=torch.Generator().manual_seed(0))
shuffled = Features(test.image, test.text[partner], test.labels)
missing = Features(test.image, train.text.mean(0).expand_as(test.text), test.labels)
controls = {"as they belong": test, "shuffled pairs": shuffled,
            "message missing": missing}
control_results = {}
print(HEADER)
for name, data in controls.items():
    rows = torch.stack([report(model, data) for model in models["concat, MLP"]])
    control_results[name] = rows
    line(name, rows)
assert control_results["shuffled pairs"][:, 0].max() < 0.8
assert control_results["message missing"][:, 0].max() < 0.8

# %% [markdown]
# ## 9. The same three lines, end to end
#
# In S the MLP stays below the ceiling, and in T too. Is it the head, or what the head is given? The encoders were frozen; BERT's features were made for guessing masked words, not for telling what was ordered. So let gradients flow into BERT. The photo features are
# nearly perfect already (look at I), so the ResNet stays frozen; that halves the time. The model is now the whole model, and its data are `Pairs` instead of vectors; the lines are the same. On a GPU this very cell runs `bert-base-uncased` and `resnet50`, because `cfg` says so. Those numbers are
# not measured yet; lesson 13 is about nothing else.
#
# **Predict before you run:** one pass over 1,600 of the same tickets, starting from the five heads that you have. Which column moves most?

# %%
from cmlib import freeze

# the rate of the mini BERT would ruin BERT-base (lesson 13)
rate = 1e-3 if cfg.text_encoder == "mini" else 5e-5
tuned = []
for seed in range(5):
    model = FusionModel(freeze(image_encoder(cfg.image_encoder)),
                        text_encoder(cfg.text_encoder), n_classes=2)
    model.head.load_state_dict(models["concat, MLP"][seed].state_dict())
    fit(model, train_pairs[:1600], epochs=1, batch_size=32, learning_rate=rate,
        seed=seed, progress=False)
    tuned.append(report(model, test_pairs))
tuned = torch.stack(tuned)
print(HEADER)
line("frozen encoders", mlp)
line("BERT fine-tuned", tuned)
better = bool((tuned[:, 0] > mlp[:, 0]).all())
close = bool(tuned[:, 0].mean() >= 0.95 and tuned[:, 4].mean() >= 0.90)
print("fine-tuned beats frozen in every seed:", better)
print("at least 0.95 overall and 0.90 in S on average:", close)
assert cfg.text_encoder != "mini" or (better and close)

# %% [markdown]
# It was what the head was given. With features made for the task, the same head comes close to the ceiling. Note the order of work: first a head on frozen features, then both together. Lesson 13 measures what happens the other way round.
#
# ## 10. Break it: six colours
#
# With two colours, "different" means "the other one". With $K = 6$ the head has to learn an equality test over 36 pairs of colours. Take tickets of situation S only, the same number for both, and frozen encoders.
#
# **Predict before you run:** the accuracy for K = 2 and for K = 6.

# %%
only_s = {}
for n_colors in (2, 6):
    world = RefundDesk(n_colors=n_colors, probabilities=(0, 0, 0, 1), tricky=0.0)
    s_train = extract(encoders, world.sample(1200))
    s_test = extract(encoders, world.sample(400, split="test"))
    heads = [train_head(seed, train=s_train) for seed in range(5)]
    right = [predict(head, s_test).argmax(1) == s_test.labels for head in heads]
    five = torch.stack(right).double().mean(1)
    only_s[n_colors] = five
    print(f"K = {n_colors}: {five.mean():.3f} ± {five.std():.3f}")
print("K = 6 is below K = 2 in every seed:", bool(only_s[6].max() < only_s[2].min()))
assert not encoders.pretrained or only_s[6].max() < only_s[2].min()

# %% [markdown]
# The MLP *could* represent the answer; it does not find it in this much data. A head whose form already contains a comparison, such as a product of the two halves, needs far less: that is the subject of lesson 08.
#
# ## 11. Recap
#
# You can now
# - pool and concatenate features, and say why logits and unpooled tokens are the wrong things to concatenate;
# - compute the ceiling of any subset of modalities from a table;
# - prove that linear concatenation is a sum of opinions, and what that costs;
# - report per situation, over seeds, against ceilings and controls.

# %% [quiz]
# ? Linear concatenation reaches 0.5 in S. A colleague suggests a bigger BERT. Will it help?
# - Yes, better features make the classes linearly separable :: Each half may become as good as you like: the score is still f(photo) + g(message), and step 3 holds for every f and g.
# + No, the sum of two opinions cannot compare, whatever the features :: The identity of step 3 uses nothing about the encoders.
# - Only together with a bigger ResNet :: Two perfect opinions are still two opinions.
# ? The fused model has 0.93 overall; image only has 0.75, text only 0.75. Is that evidence of fusion?
# - Yes, it is above both :: A model that switches to whichever modality speaks reaches 0.875 here without ever comparing anything.
# - No, 0.93 is below the ceiling :: Falling short of the ceiling says nothing about how the rest was reached.
# + Not yet: look at S and at shuffled pairs :: 0.875 needs no comparison. What lies above it must come from S, and must vanish when the pairs are shuffled.
# ? Why does LayerNorm act on each half and not on the concatenated vector?
# + Because a joint normalisation keeps the ratio of the halves :: Dividing both by one number leaves the louder half as much louder as before.
# - Because the halves have different widths :: LayerNorm works on any width.
# - Because BERT already ends in a LayerNorm :: The ResNet does not, and the head should not depend on it.
# ? You replace the message features by their mean and accuracy stays at 0.99. What do you suspect first?
# - The model is robust to missing text :: In T and S the photo does not contain the answer, so nobody can be robust there.
# + The photos leak the answer, or the test rows were seen in training :: Something other than the message supplies what only the message knows. Lesson 24 hunts such leaks.
# - The mean message is a good message :: It is the same for every ticket, so it cannot tell one from another.

# %% [markdown]
# **Glossary**: *pooling*, from many vectors to one · *joint vector*, the concatenated halves · *linear head*, one matrix from features to logits · *synergy*, information that only both modalities together carry ·
# *spread*, the standard deviation over seeds · *control*, the same measurement with the supposed cause removed · *end to end*, with gradients through the encoders.
#
# **References**
# - M. Minsky and S. Papert, *Perceptrons*, MIT Press 1969: what a weighted sum of local evidence cannot compute.
# - D. Kiela, S. Bhooshan, H. Firooz, D. Testuggine, *Supervised multimodal bitransformers for classifying images and text*, 2019: ConcatBERT as a baseline, and how close it comes.
# - J. Hessel and L. Lee, *Does my multimodal model learn cross-modal interactions?*, EMNLP 2020: how much of a score remains when a model is projected onto a sum of opinions.
# - P. L. Williams and R. D. Beer, *Nonnegative decomposition of multivariate information*, 2010: redundant, unique and synergistic information, of which R, I, T and S are the accuracy cousins.

# %% [progress]
