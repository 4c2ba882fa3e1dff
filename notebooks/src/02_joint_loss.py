# %% [markdown]
# # 02 The joint loss
#
# **The one thing to take away:** a loss joins two branches only where its *mixed derivative* is not zero. Everything else,
# however many branches it names, trains two models that never meet.
#
# You will be able to
# - read a published loss term by term, and find its sign errors by collecting coefficients;
# - say for which weights a loss is bounded, and predict what training does beyond them;
# - test any loss for coupling with one line of automatic differentiation;
# - build losses that do couple (fused logits, products of experts, agreement, alignment), and measure on fresh data what they
#   change and what they do not.
#
# **Before this:** [lesson 01](01_losses.ipynb) (the logistic loss and its gradient p − y). You need no knowledge of BERT or ResNet yet:
# two frozen encoders turn each photo and each message into a vector, and you open them in lessons 04 and 05.
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import math
import torch
from torch import nn
from torch.nn.functional import softplus
from cmlib import plots
from cmlib.losses import info_nce, joint
cfg = cmlib.setup("02")

# %% [markdown]
# ## 1. A loss that gets better and better
#
# The course's running example is a refund desk. A customer sends a **photo** of a toy and a **message**; you decide: refund or not.
# In this section both tell the truth, so either alone would do: the toy is visibly cracked exactly when the message complains.
#
# Two frozen encoders turn the rows into vectors. From here on a *branch* is one linear layer on top of its vector: the text
# branch gives a logit $z_t$, the image branch a logit $z_i$.

# %%
from cmlib import FusionModel, extract, image_encoder, text_encoder
from cmlib.worlds import RefundDesk

# situation R: both modalities tell
desk = RefundDesk(probabilities=(1, 0, 0, 0), tricky=0.0)
sheet = desk.sample(4, split="test")
top = desk.ceilings()
print(f"best accuracy: from the photo alone {top['image']:.3f}, "
      f"from the message alone {top['text']:.3f}")
titles = [f"{text.replace(' .', '.')}\n→ {sheet.class_names[y]}"
          for text, y in zip(sheet.texts, sheet.labels)]
plots.show(plots.pictures(sheet.images, titles, columns=4, size=1.7),
           "Four photos of toys with their messages: cracked toys come with "
           "complaints, whole toys with praise.")

encoders = FusionModel(image_encoder("mini"), text_encoder("mini"), n_classes=2)

def vectors(train, test):
    """For both: features (rows, size) of text and image, standardised with the
    training rows' statistics, and y = ±1 (rows,).
    """
    both = extract(encoders, train), extract(encoders, test)
    scales = [(x.mean(0), x.std(0) + 1e-3) for x in (both[0].text, both[0].image)]
    return [(*((x - mean) / std for x, (mean, std) in zip((f.text, f.image), scales)),
             2.0 * f.labels - 1) for f in both]

in_r = vectors(desk.sample(800), desk.sample(400, split="test"))
train_rows, test_rows = in_r
print("text features ", tuple(train_rows[0].shape),
      " image features", tuple(train_rows[1].shape))

# %% [markdown]
# An article proposes a loss for exactly this situation, with one knob λ between 0 and 1 that shares the attention between text
# and image. Here it is, trained with plain gradient descent. Read nothing into the formula yet; only run it.

# %%
def branches(seed):
    torch.manual_seed(seed)
    return nn.Linear(train_rows[0].shape[1], 1), nn.Linear(train_rows[1].shape[1], 1)

def scores(pair, rows):
    """s = y z of both branches, (rows,): positive where the branch is right."""
    return tuple(rows[2] * branch(x)[:, 0] for branch, x in zip(pair, rows))

def descend(loss, steps=150, rate=0.05, seed=0, optimizer=torch.optim.SGD,
            rows=train_rows):
    """Full-batch descent of loss(s_t, s_i) → (rows,). Returns branches and losses."""
    pair = branches(seed)
    descent = optimizer([p for branch in pair for p in branch.parameters()], lr=rate)
    curve = []
    for _ in range(steps):
        value = loss(*scores(pair, rows)).mean()
        descent.zero_grad()
        value.backward()
        descent.step()
        curve.append(value.item())
    return pair, curve

def accuracies(pair, rows=test_rows):
    return tuple((s > 0).double().mean().item() for s in scores(pair, rows))

runs, ruined = {}, {}
for lam in (0.2, 0.6):
    pair, curve = descend(lambda t, i: joint.claimed_equivalent(t, i, lam))
    runs[lam], ruined[lam] = curve, pair
    print(f"λ = {lam}: loss {curve[0]:.3f} → {curve[-1]:.3f}")

# %% [markdown]
# **Predict before you run.** One of the two losses is far lower than the other. Which of the two models is better at its job, and
# how good is each branch? Write the four accuracies down before you look.

# %%
for lam, pair in ruined.items():
    text, image = accuracies(pair)
    print(f"λ = {lam}: accuracy of the text branch {text:.3f}, "
          f"of the image branch {image:.3f}")
    assert (image < 0.1) == (lam == 0.6)

fig, ax = plots.figure(width=6.5, height=3)
for lam, color in ((0.2, plots.BOTH), (0.6, plots.TEXT)):
    ax.plot(runs[lam], color=color)
    ax.annotate(f"λ = {lam}", (150, runs[lam][-1]), color=color, va="center",
                annotation_clip=False)
ax.set(title="The lower loss belongs to the ruined model",
       xlabel="step of gradient descent", ylabel="training loss")
plots.show(fig, "Two training losses: with λ = 0.2 the loss settles near 0.2; with "
                "λ = 0.6 it falls below zero without end, to -19 after 150 steps.")
assert runs[0.6][-1] < 0 < runs[0.2][-1]

# %% [markdown]
# At λ = 0.6 the image branch has learned to be *wrong* on nearly every photo, and the loss rewards it for that. No crash, no warning, a
# curve that only goes down. By the end of this lesson you will see this coming from the formula alone, and know the exact λ
# at which it begins.
#
# ## 2. The formula, term by term
#
# An article on combining language and vision models states this objective, with every symbol in one place:
#
# | symbol | meaning | shape |
# |---|---|---|
# | $y$ | the label, $-1$ or $+1$ | (batch,) |
# | $z_t,\ z_i$ | logits of the text branch and the image branch | (batch,) |
# | $s_t = y z_t,\ s_i = y z_i$ | scores: positive where the branch is right | (batch,) |
# | $\sigma(s) = 1/(1+e^{-s})$ | the logistic function | |
# | $\ell(s) = -\log\sigma(s)$ | the logistic loss of lesson 01 | |
# | $\lambda$ | the knob, $0\le\lambda\le1$ (not the weight decay of lesson 01) | number |
#
# **Step 1.** The objective has a part for each branch and a joint part:
#
# $$L = \lambda\,\ell(s_t) + (1-\lambda)\,\ell(s_i) + L_\text{joint}.$$
#
# **Step 2.** The joint part is printed as
#
# $$L_\text{joint} = -\log\sigma(s_t) + \lambda(1-\lambda)\,\log\sigma(s_i).$$
#
# Look at the second sign. $-\log\sigma$ is a loss; $+\log\sigma$ is the negative of one.
#
# **Step 3.** Put numbers in. Take one row with $s_t = 2$ (the text branch is right), $s_i = -1$ (the image branch is wrong) and $\lambda = 0.5$.
# Since $\ell'(s) = -\sigma(-s)$, the joint part alone has the slope $+\lambda(1-\lambda)\,\sigma(-s_i)$ in $s_i$: positive. Descent walks
# *against* the slope, so it lowers the score of a branch that is already wrong.

# %%
s_t, s_i, lam = 2.0, -1.0, 0.5
ell = lambda s: math.log1p(math.exp(-s))
slope = lam * (1 - lam) / (1 + math.exp(s_i))
print(f"ℓ(s_t) = {ell(s_t):.4f}   ℓ(s_i) = {ell(s_i):.4f}")
print(f"joint part = {ell(s_t) - lam * (1 - lam) * ell(s_i):.4f}")
print(f"slope of the joint part in s_i = {slope:+.4f}: descent pushes s_i down, "
      f"from {s_i} to something worse")
assert slope > 0

# %% [exercise] 02.1
# Only two different things occur in steps 1 and 2: $\ell(s_t)$ and $\ell(s_i)$. **On paper:** with which weight does each of them enter the **published** total $L$, wrong sign included?
#
# Write $L$ with these two weights. Your function receives `text_score` and `image_score`, both float tensors of shape `(batch,)`, and the number `lam`; it returns the mean over the batch as a scalar tensor.
# Scores may be as large as ±900: stay finite. (Section 3 compares; the check accepts every form, also four terms as they are printed.)

# %% [stub]
def published_total(text_score, image_score, lam):
    """λ ℓ(s_t) + (1−λ) ℓ(s_i) + L_joint, mean over the batch.

    text_score, image_score : (batch,)    lam : float    returns : scalar tensor
    """
    raise NotImplementedError

# %% [solution]
from torch.nn.functional import logsigmoid

def published_total(text_score, image_score, lam):
    text, image = -logsigmoid(text_score), -logsigmoid(image_score)  # ℓ of both
    # λ from step 1 and 1 from step 2; 1 − λ from step 1, and λ(1 − λ) goes off it
    return ((lam + 1) * text + (1 - lam - lam * (1 - lam)) * image).mean()

# %% [hints]
# Go through the two steps once for the text and once for the image. Wherever $\log\sigma$ is printed, ask which of the two ℓ it is, and with which sign.
# ---
# Each ℓ occurs twice, once in step 1 and once in step 2, and $+\log\sigma(s_i)$ is *minus* $\ell(s_i)$. A stable ℓ is `softplus(-s)` or `-logsigmoid(s)`, of shape `(batch,)`;
# `log(sigmoid(s))` is $-\infty$ already at $s = -800$. The mean comes last.
# ---
# ```python
# text, image = softplus(-text_score), softplus(-image_score)
# text_weight = lam + 1                    # step 1, and step 2
# image_weight = ____                      # step 1, and step 2 with its sign
# # the weighted sum, and its mean over the batch
# ```

# %% [markdown]
# ## 3. Collect the coefficients
#
# **Step 4.** Compare with your two weights. What multiplies each of the two losses, and what is left of it:
#
# $$L = \underbrace{(\lambda + 1)}_{\text{of }\ell(s_t)}\ell(s_t) + \underbrace{\big((1-\lambda) - \lambda(1-\lambda)\big)}_{\text{of }\ell(s_i)}\ell(s_i)
# = (1+\lambda)\,\ell(s_t) + (1-\lambda)^2\,\ell(s_i).$$
#
# That is all there is. The "joint" objective is a re-weighting of two separate losses. At $\lambda = 1$ the image branch is off.

# %%
def weights_of(loss):
    """a and b of loss = a ℓ(s_t) + b ℓ(s_i), and the largest misfit, on 1,000 rows."""
    t, i = torch.randn(2, 1000, dtype=torch.float64)
    parts = torch.stack([softplus(-t), softplus(-i)], dim=1)        # (1000, 2)
    found = torch.linalg.lstsq(parts, loss(t, i)[:, None]).solution[:, 0]
    return *found.tolist(), (parts @ found - loss(t, i)).abs().max().item()

for lam in (0.0, 0.3, 0.7, 1.0):
    a, b, misfit = weights_of(lambda t, i: joint.published(t, i, lam))
    print(f"λ = {lam}: measured weight of text {a:.2f}, of image {abs(b):.2f}; "
          f"anything left over: {misfit > 1e-12}")
    assert misfit < 1e-12 and abs(a - 1 - lam) + abs(b - (1 - lam) ** 2) < 1e-12

# %% [markdown]
# **Step 5.** The same article then offers a second form and calls it equivalent:
#
# $$L'_\text{joint} = L_\text{joint} + \lambda\log\sigma(s_i) + (1-\lambda)\log\sigma(s_t).$$
#
# Two terms that are not zero were added, so it cannot be the same function. The question is what it has become.

# %% [exercise] 02.2
# **On paper.** What do the two added terms do to each branch's weight? And for which λ does the total, with $L'_\text{joint}$ in the place of $L_\text{joint}$, still have a lowest value?
#
# **Checked.** The two weights. Your function receives `lam`, a float tensor of any shape, and returns the weights `(of text, of image)` in that total, each of that shape.
# (Step 6 answers the other question; the weights stand there folded, and a code cell measures them.)

# %% [stub]
def equivalent_weights(lam):
    """The weights of ℓ(s_t) and ℓ(s_i) in the form that is claimed to be equivalent.

    lam : float tensor, any shape    returns : (text, image), two tensors of that shape
    """
    raise NotImplementedError

# %% [solution]
def equivalent_weights(lam):
    text = (1 + lam) - (1 - lam)       # published, minus what (1−λ) log σ(s_t) takes
    image = (1 - lam) ** 2 - lam       # published, minus what λ log σ(s_i) takes
    return text, image

# %% [hints]
# $\log\sigma = -\ell$. So each added term changes a weight that you already know. In which direction?
# ---
# Which of the two added terms holds the text's score, which the image's? Each takes its own factor from that branch's published weight, and leaves the other's alone.
# ---
# ```python
# text, image = 1 + lam, (1 - lam) ** 2    # the published weights
# return ____                              # both, less what the added terms take
# ```

# %% [markdown]
# **Step 6.** Two facts can be read off your coefficients.
#
# - At $\lambda = 0$ the text branch has weight $0$: it gets no gradient at all.
# - The image weight is 0 at $\lambda^* = \tfrac{3-\sqrt5}{2}$, its only root in $[0,1]$. Above it the image weight is **negative**. Then
#   $w\,\ell(s_i)$ with $w<0$ falls without end as $s_i\to-\infty$, because $\ell(s)\ge -s$: the loss is *unbounded below*, and
#   descent follows it.
#
# <details><summary>Both coefficients, to compare with yours, and where the root comes from</summary>
#
# $2\lambda$ and $1 - 3\lambda + \lambda^2$. The root is $1/\varphi^2$, $\varphi$ the golden ratio: dividing $\varphi^2 = \varphi + 1$ by $\varphi^2$ shows that
# $1/\varphi^2 = 1 - 1/\varphi$, and $x = 1/\varphi^2$ solves $x^2 - 3x + 1 = 0$.
#
# </details>

# %%
threshold = (3 - math.sqrt(5)) / 2
golden = (1 + math.sqrt(5)) / 2
weight = weights_of(lambda t, i: joint.claimed_equivalent(t, i, threshold))[1]
print(f"λ* = {threshold:.6f},  1/φ² = {1 / golden**2:.6f},  "
      f"image weight measured there = {abs(weight):.6f}")
assert abs(threshold - 1 / golden**2) < 1e-15 and abs(weight) < 1e-9

lams = torch.linspace(0, 1, 201)
fig, axes = plots.figure(1, 2, width=7.2, height=3, sharey=True)
forms = {"published": joint.published, "claimed equivalent": joint.claimed_equivalent}
weights = {name: torch.tensor([weights_of(lambda t, i: form(t, i, lam))[:2]
                               for lam in lams.tolist()]).T
           for name, form in forms.items()}                     # measured: (2, 201)
for ax, (name, (text, image)) in zip(axes, weights.items()):
    ax.plot(lams, text, color=plots.TEXT)
    ax.plot(lams, image, color=plots.IMAGE)
    ax.text(0.97, text[-1] - 0.55, "text", color=plots.TEXT, ha="right")
    ax.text(1.0, image[-1] + 0.3, "image", color=plots.IMAGE, ha="right")
    ax.axhline(0, color="black", lw=0.8)
    ax.set(title=name, xlabel="λ")
axes[0].set_ylabel("weight of the branch's loss")
axes[1].axvspan(threshold, 1, color=plots.IMAGE, alpha=0.12, lw=0)
axes[1].annotate("λ* ≈ 0.382", (threshold, 0), (0.03, -0.7),
                 arrowprops={"arrowstyle": "-"})
plots.show(fig, "Weights of both branches against λ: never negative if published; "
                "in the claimed equivalent the image weight is negative above 0.382.")
assert ((weights["claimed equivalent"][1] < 0) == (lams > threshold)).all()

# %% [markdown]
# ## 4. See it move
#
# An arrow shows where one step of descent carries a row with these two scores. Move λ across 0.382 and watch the vertical part of the arrows.
# Two more things are worth finding: what happens to the horizontal part at λ = 0, and whether an arrow's *horizontal* part ever changes along
# a vertical line. Below the slider stand three of its pictures still. Green arrows raise the image score, vermilion ones lower it, and
# grey ones, at the threshold itself, do neither.

# %%
def pushes(rule, lam, points):
    """Scores t, i on a grid, and where descent of rule(t, i, lam) pushes them."""
    grid = torch.linspace(-3, 3, points)
    grids = torch.meshgrid(grid, grid, indexing="xy")
    t, i = (scores.flatten().requires_grad_() for scores in grids)
    total = rule(t, i, lam).sum()
    down_t, down_i = torch.autograd.grad(total, (t, i), allow_unused=True)
    return t.detach(), i.detach(), -down_t, -down_i

def field(lam=0.6, loss="claimed equivalent"):
    rules = {"published": joint.published,
             "claimed equivalent": joint.claimed_equivalent,
             "fused": lambda t, i, _: joint.fused(t, i)}
    arrows = pushes(rules[loss], lam, 11)
    fig, ax = plots.figure(width=4.2, height=3.9)
    good = arrows[3] >= -1e-6
    for rows, color in ((good, plots.BOTH), (~good, plots.TEXT)):
        ax.quiver(*(values[rows] for values in arrows), color=color, angles="xy",
                  scale=12, width=0.006)
    ax.set(title=f"{loss}, λ = {lam:.2f}", xlabel="text score $s_t$",
           ylabel="image score $s_i$", aspect="equal")
    return fig

plots.explore(field,
              "Arrows of descent over both scores; above λ = 0.382 they point down, "
              "away from the right answer.",
              lam=(0.0, 1.0, 0.02, 0.3),
              loss=["claimed equivalent", "published", "fused"])
fig, axes = plots.figure(1, 3, width=7.2, height=3, sharey=True)
for ax, lam in zip(axes, (0.2, 0.382, 0.6)):
    t, i, down_t, down_i = pushes(joint.claimed_equivalent, lam, 7)
    color = {0.2: plots.BOTH, 0.382: plots.GREY, 0.6: plots.TEXT}[lam]
    ax.quiver(t, i, down_t, down_i, color=color, angles="xy", scale=7, width=0.01)
    ax.set(title=f"λ = {lam}", xlabel="text score $s_t$", aspect="equal",
           ylim=(-3.9, 3.4))
    print(f"λ = {lam}: mean upward push on s_i {down_i.mean():+.3f}, "
          f"on s_t {down_t.mean():+.3f}")
axes[0].set_ylabel("image score $s_i$")
plots.show(fig, "Descent of the claimed equivalent: arrows point up and right at "
                "λ = 0.2, right only at 0.382, down and right at 0.6.")

# %% [markdown]
# ## 5. What would make a loss joint?
#
# In both fields the horizontal push depends on $s_t$ alone and the vertical push on $s_i$ alone. The branches share a formula but
# no information: whatever the image branch believes, the text branch gets the same gradient. In symbols, the derivative of one push by the *other*
# score is zero:
#
# $$\frac{\partial^2 L}{\partial s_t\,\partial s_i} = 0 \quad\text{everywhere}\quad\Longleftrightarrow\quad L(s_t, s_i) = f(s_t) + g(s_i).$$
#
# (From right to left: differentiate. From left to right: integrate once in $s_i$, then in $s_t$.)
#
# **Definition.** A loss is *joint* where its mixed derivative is not zero.
#
# **Differentiating twice.** `torch.autograd.grad` gives numbers. To differentiate *them* again, PyTorch has to keep a record of how they were computed: `create_graph=True`. A worked example, $f = a^2b$ at $a=3$, $b=5$: $\partial f/\partial a = 2ab = 30$, and its derivative by $b$ is $2a = 6$. Two things can be missing on the way:
# where the first derivative does not depend on anything (of $f = 2a$ it is 2), it has no record at all, `requires_grad` is `False`; where it has one but no path leads to $b$ (of $f = a^2 + b$), `grad` raises, unless you say `allow_unused=True`: then it returns `None`. In both cases the derivative is 0.
#
# With a batch, sum before you differentiate. Rows do not influence one another, so each entry of the gradient of the sum is that row's own derivative.

# %% tags=["hide-input"]
from cmlib.course.schematic import Schematic

sketch = Schematic(7.2, 2.6)
panels = (0.0, "separable: two losses, added"), (3.8, "joint: one loss of the sum")
for left, title in panels:
    sketch.text(title, (left + 1.7, 2.42), fontsize=10)
    ends = []
    for y, name, color in ((1.75, "text", plots.TEXT), (0.55, "image", plots.IMAGE)):
        start = sketch.box(name, (left + 0.4, y), size=(0.7, 0.45), color=color)
        z = sketch.box(f"$z_{name[0]}$", (left + 1.45, y), size=(0.55, 0.45),
                       color=color)
        sketch.arrow(start, z, color=color)
        ends.append((z, color))
    for (z, color), y in zip(ends, (1.75, 0.55)):
        if left == 0.0:
            box = sketch.box("ℓ", (2.6, y), size=(0.55, 0.45), color=color)
        elif y == 1.75:
            box = sketch.box("ℓ($s_t + s_i$)", (left + 2.85, 1.15), size=(0.95, 0.5),
                             color=plots.BOTH)
        sketch.arrow(z, box, color=color)
        sketch.arrow(box, z, bend=0.35 if y == 1.75 else -0.35, dashed=True,
                     color=color if left == 0.0 else plots.BOTH)
sketch.text("dashed: what comes back. Left, each branch hears of itself; right, of "
            "both.", (3.6, 0.1), fontsize=9)
sketch.show("Left: text and image branch each end in a loss of their own, and a "
            "gradient returns to one branch only. Right: both scores enter one loss, "
            "and what returns to either branch depends on both.")

# %%
a = torch.tensor(3.0, requires_grad=True)
b = torch.tensor(5.0, requires_grad=True)
(first,) = torch.autograd.grad(a**2 * b, a, create_graph=True)
(second,) = torch.autograd.grad(first, b)
print(f"∂f/∂a = {first.item():.0f}, then by b: {second.item():.0f}")
(first,) = torch.autograd.grad(2 * a, a, create_graph=True)
print("of 2a: has the slope a record?", first.requires_grad)
(first,) = torch.autograd.grad(a**2 + b, a, create_graph=True)
(second,) = torch.autograd.grad(first, b, allow_unused=True)
print("of a² + b: the slope's derivative by b is", second)

# %% [exercise] 02.3
# Write the test for it. Your function receives `loss`, a function of two score tensors of shape `(batch,)` that returns one loss per row `(batch,)`, and the two
# score tensors; it returns $\partial^2 L/\partial s_t\partial s_i$ for every row, shape `(batch,)`. It must also work for a separable loss, where PyTorch
# finds no path from the first derivative to the other score, and for one that is linear in a score: the answer there is zeros. (Central differences over a 2 × 2 stencil are accepted too.)

# %% [stub]
def mixed_derivative(loss, text_score, image_score):
    """∂²L/∂s_t∂s_i of every row.

    loss : (batch,), (batch,) → (batch,)   text_score, image_score : (batch,)
    returns : (batch,)
    """
    raise NotImplementedError

# %% [solution]
def mixed_derivative(loss, text_score, image_score):
    t, i = text_score.detach().requires_grad_(), image_score.detach().requires_grad_()
    (slope,) = torch.autograd.grad(loss(t, i).sum(), t, create_graph=True)
    if not slope.requires_grad:                      # the slope is a constant
        return torch.zeros_like(t)
    (mixed,) = torch.autograd.grad(slope.sum(), i, allow_unused=True)
    return torch.zeros_like(t) if mixed is None else mixed

# %% [hints]
# Differentiate twice: first by the text score, keeping the record, then by the image score. The worked example is all there is; add the sums, and the two cases in which something is missing.
# ---
# Both scores need `requires_grad`: take `text_score.detach().requires_grad_()` and the same of the other. The slope is the gradient of `loss(t, i).sum()` by `t`, shape `(batch,)`; the answer is the gradient of `slope.sum()` by `i`, or zeros.
# ---
# ```python
# t, i = text_score.detach().requires_grad_(), image_score.detach().requires_grad_()
# (slope,) = torch.autograd.grad(loss(t, i).sum(), t, create_graph=True)
# if ____:                               # a constant slope
#     return torch.zeros_like(t)
# # and once more, by i, with the case that no path leads there
# ```

# %% [markdown]
# ## 6. Proof by training: one joint run is two separate runs
#
# If the mixed derivative is zero, "joint" training must be exactly the training of each branch alone, with its loss scaled by its weight. Exactly is a
# strong word, so test it: train both branches together on the published objective, then each alone.

# %%
lam = 0.4
together, _ = descend(lambda t, i: joint.published(t, i, lam))
# the image branch is never touched, and then the text branch is not
text_alone, _ = descend(lambda t, i: (1 + lam) * softplus(-t))
image_alone, _ = descend(lambda t, i: (1 - lam) ** 2 * softplus(-i))
gap_t = (together[0].weight - text_alone[0].weight).abs().max().item()
gap_i = (together[1].weight - image_alone[1].weight).abs().max().item()
print("weights of the text branch, together and alone, agree to 1e-5:", gap_t < 1e-5)
print("weights of the image branch, together and alone, agree to 1e-5:", gap_i < 1e-5)
assert max(gap_t, gap_i) < 1e-5

# %% [markdown]
# With Adam (lesson 01, section 9) the knob loses even its re-weighting. Adam divides each gradient by its own running size, so a positive constant factor on a branch's loss cancels.
# **Predict before you run:** how far apart are the models trained with λ = 0.1 and λ = 0.9, with Adam and with plain descent? And what would the published form do at λ = 1?

# %%
same = {}
for name, optimizer, rate in (("Adam", torch.optim.Adam, 0.01),
                              ("plain descent", torch.optim.SGD, 0.05)):
    decisions = []
    for lam in (0.1, 0.9):
        pair, _ = descend(lambda t, i: joint.published(t, i, lam), rate=rate,
                          optimizer=optimizer)
        decisions.append(torch.stack(scores(pair, test_rows)) > 0)
        text, image = accuracies(pair)
        print(f"{name}, λ = {lam}: accuracy of text {text:.3f}, of image {image:.3f}")
    same[name] = (decisions[0] == decisions[1]).double().mean(1)     # (text, image)
    text, image = same[name].tolist()
    print(f"{name}: share of equal decisions, text {text:.3f}, image {image:.3f}")
pair, _ = descend(lambda t, i: joint.published(t, i, 1.0), rate=0.01,
                  optimizer=torch.optim.Adam)
moved = [(new.weight - old.weight).abs().max().item()
         for new, old in zip(pair, branches(seed=0))]
print(f"λ = 1: the text branch has moved: {moved[0] > 0}, "
      f"the image branch: {moved[1] > 0}")
assert same["Adam"].min() > 0.98 > 0.9 > same["plain descent"][1]
assert moved[0] > 0 == moved[1]

# %% [markdown]
# Between λ = 0.1 and λ = 0.9 the weight of the image loss changes from 0.81 to 0.01, a factor of 81, and with Adam hardly a decision changes. Plain descent is the control that can fail, and does: it keeps the factor, and with 0.01 of the loss its image branch has not come far in 150 steps. A knob that the optimiser undoes is no knob. Only at λ = 1 exactly, where the weight is 0, there is no gradient to rescale: the image branch stays where it was drawn.
# (This holds while the branches share no parameters; a shared trunk would feel the ratio.)
#
# ## 7. Losses that do join
#
# **Fused logits.** Add the logits, then take *one* loss: $L = \ell(s_t + s_i)$. With $s = s_t + s_i$ the mixed derivative is $\ell''(s) = \sigma(s)\sigma(-s) > 0$. When one
# branch is already sure and right, $\sigma(-s)\to0$ and the other gets no push: they share the work.
#
# **Product of experts.** Multiply the two distributions class by class and divide by the sum:
#
# $$p(c) = \frac{p_t(c)\,p_i(c)}{\sum_k p_t(k)\,p_i(k)},\qquad L = -\log p(y).$$
#
# For two classes this *is* the fused loss: multiplying probabilities adds logits.

# %% [exercise] 02.4
# Write the product of experts for any number of classes. Your function receives `text_logits` and `image_logits`, both `(batch, classes)`, and `labels`, int64 `(batch,)`;
# it returns the mean of $-\log p(y)$. Logits may be as large as a thousand. The check compares you with PyTorch's own cross-entropy.

# %% [stub]
def product_of_experts(text_logits, image_logits, labels):
    """−log of the normalised product of both distributions at the label, batch mean.

    text_logits, image_logits : (batch, classes)   labels : int64 (batch,)
    returns : scalar tensor
    """
    raise NotImplementedError

# %% [solution]
def product_of_experts(text_logits, image_logits, labels):
    # (batch, classes), not normalised
    log_product = text_logits.log_softmax(dim=1) + image_logits.log_softmax(dim=1)
    log_p = log_product - log_product.logsumexp(dim=1, keepdim=True)
    return -log_p.gather(1, labels[:, None]).mean()

# %% [hints]
# Stay with logarithms: the log of a product is a sum, and dividing by the sum over the classes is subtracting a `logsumexp`.
# ---
# $\log p(c) = a_c - \operatorname{logsumexp}_k a_k$ with $a = \log\mathrm{softmax}(z_t) + \log\mathrm{softmax}(z_i)$, all `(batch, classes)`. Pick the label's column with
# `gather`. What does a constant added to $a$ change? Then you may leave something out.
# ---
# ```python
# a = text_logits.log_softmax(dim=1) + image_logits.log_softmax(dim=1)
# log_p = ____                       # (batch, classes), the normalised product
# # pick the column of each row's label, and average what it costs
# ```

# %% [markdown]
# Leave out the normaliser and $-\log p_t(y) - \log p_i(y)$ remains: the sum of two separate losses, mixed derivative zero. **The coupling lives in the normaliser.** The same is true of
# every contrastive loss you will meet in lesson 11.
#
# **Agreement.** Ask the branches to say the same, right or wrong. The divergence of lesson 01, for two distributions on right and wrong, $\mathrm{KL}(p_t\Vert p_i) = p_t\log\frac{p_t}{p_i} + (1-p_t)\log\frac{1-p_t}{1-p_i}$, has two directions; their mean is symmetric. In the sum of both the two logarithms meet twice, with opposite factors:
#
# $$\tfrac12\big(\mathrm{KL}(p_t\Vert p_i)+\mathrm{KL}(p_i\Vert p_t)\big) = \tfrac12(p_t-p_i)\Big(\log\frac{p_t}{p_i}-\log\frac{1-p_t}{1-p_i}\Big) = \tfrac12(p_t-p_i)(s_t-s_i),$$
#
# since $\log\frac{p}{1-p}$ is the score. Its mixed derivative is $-\tfrac12\big(p_t(1-p_t)+p_i(1-p_i)\big) < 0$.
#
# **Alignment (InfoNCE).** Let the branches end in vectors $u_b$ (photo) and $v_b$ (message) of length 1. In a batch of $B$ tickets each photo must find its own message, a classification with $B$ classes whose logits are similarities, and each message its photo ($\tau$ is a temperature):
#
# $$L = -\frac1{2B}\sum_{b}\Big(\log\frac{e^{u_b\cdot v_b/\tau}}{\sum_k e^{u_b\cdot v_k/\tau}} + \log\frac{e^{u_b\cdot v_b/\tau}}{\sum_k e^{u_k\cdot v_b/\tau}}\Big).$$
#
# No label occurs in it. It couples features, not scores, again through the normalisers; its mixed derivative is a block, taken between the features of both sides.

# %%
from cmlib.check.lesson02 import mixed_derivative

t = torch.tensor([1.0, -2.0, 0.5]).double()
i = torch.tensor([0.5, 1.0, -3.0]).double()
losses = {
    "published": lambda t, i: joint.published(t, i, 0.5),
    "claimed equivalent": lambda t, i: joint.claimed_equivalent(t, i, 0.5),
    "fused": joint.fused,
    "agreement": joint.agreement,
}
for name, loss in losses.items():
    row = mixed_derivative(loss, t, i)
    print(f"{name:20s}" + "  ".join(f"{v:+.4f}" for v in row.tolist()))
    assert (row.abs() > 1e-3).all() == (name in ("fused", "agreement"))
images = torch.randn(4, 3, dtype=torch.float64)
texts = torch.randn(4, 3, dtype=torch.float64)
# (4, 3, 4, 3): ∂²L/∂image ∂text
block = torch.autograd.functional.hessian(info_nce, (images, texts))[0][1]
print(f"InfoNCE             size of the mixed block {block.norm():.4f}")
assert block.norm() > 0.1

# the closed forms above, against automatic differentiation
t, i = torch.randn(50, dtype=torch.float64), torch.randn(50, dtype=torch.float64)
slope = lambda s: s.sigmoid() * (-s).sigmoid()
by_hand = {"fused": slope(t + i), "agreement": -0.5 * (slope(t) + slope(i))}
for name, expected in by_hand.items():
    found = mixed_derivative(losses[name], t, i)
    error = (found - expected).abs().max().item()
    print(f"{name}: closed form and autograd agree to 1e-12: {error < 1e-12}")
    assert error < 1e-12

# %% [markdown]
# ## 8. Which help, on data
#
# Now the whole refund desk, with four kinds of ticket in equal shares: both tell (**R**), only the photo tells (**I**: the message is neutral), only the message tells (**T**: the parcel is sealed),
# and only both *together* tell (**S**: the colour in the photo against the colour that was ordered). Accuracy is reported per situation, since an average hides which one a loss repairs.
#
# Six ways to train, all with the same features, optimiser, rate and number of steps. The first four share one model, the sum of two linear branches; only the loss differs. The last two keep the fused loss and change the *model*: a small network on each vector, their outputs added, and one small network on both vectors. The first of these is a control: it has a hidden layer and as many weights, but its two halves meet only in the sum.
#
# How many seeds? A seed that only draws other starting weights, for the same tickets, says little: all runs share the luck of one test set. The desk is endless, so each of the five *draws* below has training and test tickets of its own. All six ways meet the same draws, so their *differences* can be taken draw by draw: that is a paired comparison.

# %%
from tqdm.auto import tqdm

whole, steps, rate = RefundDesk(tricky=0.0), 150, 0.015

def by_situation(right, situation):
    """Accuracy overall and in R, I, T, S. right : bool (rows,)"""
    groups = [right[situation == k].double().mean() for k in range(4)]
    return torch.stack([right.double().mean(), *groups])

def run_sum(loss, seed):
    pair, _ = descend(loss, steps, rate, seed, torch.optim.Adam, train_rows)
    text, image = scores(pair, test_rows)
    return text + image > 0

def run_networks(together, seed):
    """One network on both vectors, or one on each whose outputs are added."""
    def inputs(rows):
        return [torch.cat(rows[:2], 1)] if together else rows[:2]

    torch.manual_seed(seed)
    nets = nn.ModuleList(nn.Sequential(nn.Linear(x.shape[1], 128), nn.GELU(),
                                       nn.Linear(128, 1)) for x in inputs(train_rows))

    def score(rows):
        z = sum(net(x) for net, x in zip(nets, inputs(rows)))
        return rows[2] * z[:, 0]

    descent = torch.optim.Adam(nets.parameters(), lr=rate)
    for _ in range(steps):
        loss = softplus(-score(train_rows)).mean()
        descent.zero_grad()
        loss.backward()
        descent.step()
    with torch.no_grad():
        return score(test_rows) > 0

summed = {  # losses of two scores, whose sum decides
    "published, λ = 0.5": losses["published"],
    "claimed equivalent, λ = 0.5": losses["claimed equivalent"],
    "fused": joint.fused,
    "fused + agreement": lambda t, i: joint.fused(t, i) + joint.agreement(t, i),
}
ways = {name: lambda seed, loss=loss: run_sum(loss, seed)
        for name, loss in summed.items()}
ways["fused, two networks added"] = lambda seed: run_networks(False, seed)
ways["fused, one network"] = lambda seed: run_networks(True, seed)
table, draws = {name: [] for name in ways}, []
for draw in tqdm(range(5), desc="draws"):
    tickets = whole.sample(500, split="test", start=500 * draw)
    train_rows, test_rows = vectors(whole.sample(1400, start=1400 * draw), tickets)
    draws.append((train_rows, test_rows, tickets))
    for name, way in ways.items():
        right = way(draw)
        table[name].append(by_situation(right, tickets.extras["situation"]))
table = {name: torch.stack(rows) for name, rows in table.items()}   # (draw, column)

top = whole.ceilings()
print(f"ceilings: image only {top['image']:.3f}, text only {top['text']:.3f}, "
      f"both {top['both']:.3f}")
print(f"{'mean of five draws':32s}all      " + "      ".join("RITS"))
for name, rows in table.items():
    print(f"{name:32s}" + "  ".join(f"{right:.3f}" for right in rows.mean(0).tolist()))
published, _, fused, agreed, apart, network = table.values()
small = max((fused - published)[:, 0].mean().abs(),
            (agreed - published)[:, 0].mean().abs()) < 0.02
trade = (agreed - fused).mean(0)                                    # (column,)
gain = network - apart
in_s = gain[:, 4].min() > 0.05
print("over all tickets, fused and fused + agreement within .02 of published:",
      bool(small))
print("agreement against fused alone, fewer right in I and more in T:",
      bool(trade[2] < 0 < trade[3]))
print("one network against two, in S ahead by more than .05 in every draw:", bool(in_s))
print("paired differences, ± their standard errors:")
for name, column, difference in (
        ("fused minus published, T", 3, fused - published),
        ("one network minus fused, I", 2, network - fused),
        ("one network minus two, I", 2, gain),
        ("one network minus two, T", 3, gain),
        ("one network minus two, all tickets", 0, gain)):
    rows = difference[:, column]
    print(f"    {name:36s}{rows.mean():+.3f} ± {rows.std() / 5**0.5:.3f}")
assert small and trade[2] < 0 < trade[3] and in_s
assert gain[:, 0].mean() > 0.015 and (apart[:, 4].mean() - 0.5).abs() < 0.1

# %% [markdown]
# Read it column by column, and read it honestly.
# - The claimed equivalent is ruined at λ = 0.5, as it must be.
# - **Neither coupled loss helps here.** Both stay within about a point of the published one, which is two separate trainings, and the sign of so small a difference is not the loss's: with other draws, or another number of steps, agreement changes sides. In T the fused loss is even behind, by some two standard errors: in R a photo that is already right leaves the text branch hardly a push, so it has learned from fewer messages. Where each branch can be trained alone, the sum of two good opinions is already good: when the message
#   is neutral the text branch has learned to say nothing, and the photo decides.
# - Agreement, added to the fused loss, costs tickets in I and wins some in T: it asks the photo to agree with the message even where the message cannot know.
# - In S nothing that adds two scores gets off the ground, coupled or not, and neither do two networks: a hidden layer is not what was missing. The last row does. Loss, optimiser and steps are the same; what changed is that the two vectors *meet before the score*.
# - What does the meeting cost? In I one network is behind the linear sum, but about as far as two networks that never meet: that is the price of more weights for 1,400 tickets. In T it is behind both, if not by much (you saw it in lesson 00): there the photo says nothing, and a function of both vectors has to learn that.
#
# So the mixed derivative answers the question "do the branches learn from each other?", and a loss without it is joint in name only. Whether learning from each other *helps* is a question for data, and on this desk the answer is no. Lesson 06 continues with the function, lesson 09 with branches that share parameters, where the loss decides who gets to learn.
#
# **And alignment?** It answers another question: not *refund or keep*, but *which message belongs to this photo*. Two linear maps to 32 numbers, trained with InfoNCE and no label, on the same five draws. The test: among 50 messages, is the photo's own the most similar? **Predict before you run**, for true pairs and for maps that were trained on shuffled ones; chance is 1 in 50.

# %%
from cmlib.worlds.words import KINDS, SYNONYMS

def aligned(draw, paired):
    """For each test photo the row of the most similar of 50 messages, (500,)."""
    (texts, images, _), (new_texts, new_images, _), _ = draws[draw]
    torch.manual_seed(draw)
    maps = nn.Linear(texts.shape[1], 32), nn.Linear(images.shape[1], 32)
    parameters = [p for each in maps for p in each.parameters()]
    descent = torch.optim.AdamW(parameters, lr=3e-3)
    partner = torch.arange(len(texts)) if paired else torch.randperm(len(texts))
    for _ in range(120):
        rows = torch.randint(len(texts), (128,))
        loss = info_nce(maps[1](images[partner[rows]]), maps[0](texts[rows]))
        descent.zero_grad()
        loss.backward()
        descent.step()
    with torch.no_grad():
        v, u = (nn.functional.normalize(each(x), dim=1).split(50)
                for each, x in zip(maps, (new_texts, new_images)))
    return torch.cat([(a @ b.T).argmax(1) + 50 * k
                      for k, (a, b) in enumerate(zip(u, v))])

toys = {word for kind in KINDS for word in SYNONYMS[kind]}

def in_common(draw, paired):
    """Shares of photos whose found message is their own; is of their situation; is of
    a toy of their kind, where it names a toy.
    """
    row, tickets = aligned(draw, paired), draws[draw][2]
    situation, kind = tickets.extras["situation"], tickets.extras["kind"]
    named = torch.tensor([bool(toys & set(text.split())) for text in tickets.texts])
    same_kind = (kind[row] == kind)[named[row]]
    return torch.stack([same.double().mean() for same in (
        row == torch.arange(500), situation[row] == situation, same_kind)])

found = torch.stack([torch.stack([in_common(draw, paired) for paired in (True, False)])
                     for draw in range(5)])                  # (draw, pairs, share)
print("found among 50:    its own message   one of its situation   "
      "one of its kind, if named")
for name, row in zip(("true pairs", "shuffled pairs"), found.mean(0).tolist()):
    print(f"{name:20s}" + "".join(f"{share:15.2f}" for share in row))
print("true pairs ahead in every draw, in all three:",
      bool((found[:, 0] > found[:, 1]).all()))
assert found[:, 0, 0].mean() > 0.06 and found[:, 1, 0].mean() < 0.04
assert (found[:, 0, 1:].mean(0) > found[:, 1, 1:].mean(0) + 0.1).all()

# %% [markdown]
# Without a label the two sides have found what they have in common: which *situation* it is (a carton finds an order), and the *kind* of toy, where the photo shows one and the message names one. They cannot find more than is there; most messages fit many photos. Lesson 11 takes this loss to its full size.
#
# ## 9. Break it: find the threshold by training
#
# Algebra says that the "equivalent" form turns at λ* ≈ 0.382. Does a real training run know? Train it for 10 values of λ in situation R, where both branches can be right, five times each: every run has its own starting weights and its own fifth of the training and of the test tickets.

# %%
sweep = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.36, 0.40, 0.46, 0.6, 0.8, 1.0])

def branches_at(lam, seed):
    """Accuracy of both branches after descent of the claimed equivalent."""
    trained, tested = ([x[seed::5] for x in rows] for rows in in_r)
    pair, _ = descend(lambda t, i: joint.claimed_equivalent(t, i, lam), steps=60,
                      rate=0.5, seed=seed, rows=trained)
    return accuracies(pair, tested)

found = torch.tensor([[branches_at(lam, seed) for seed in range(5)]
                      for lam in sweep.tolist()])      # (λ, seed, branch)
below, above = found[sweep < 0.37][:, :, 1], found[sweep > 0.395][:, :, 1]
print(f"image branch, λ ≤ 0.36: accuracy at least {below.min():.3f};  "
      f"λ ≥ 0.40: at most {above.max():.3f}")
print(f"text branch at λ = 0: {found[0, :, 0].mean():.3f} "
      "(it got no gradient; this is its random start)")
assert below.min() > 0.9 > 0.1 > above.max()

fig, ax = plots.figure(width=7, height=3.2)
for branch, color, name in ((0, plots.TEXT, "text"), (1, plots.IMAGE, "image")):
    right = found[:, :, branch]                        # (λ, seed)
    ax.plot(sweep, right.mean(1), "o-", color=color, ms=4)
    ax.fill_between(sweep, right.amin(1), right.amax(1), color=color, alpha=0.2, lw=0)
    ax.text(1.01, right[-1].mean(), f"{name} branch", color=color, va="center")
ax.axvline(threshold, color="black", lw=1, ls="--")
ax.text(0.42, 0.45, "λ* = (3 − √5)/2", va="center", fontsize=9)
ax.set(title="The image branch turns against the truth at λ*", xlabel="λ",
       ylabel="test accuracy", ylim=(-0.03, 1.05))
plots.show(fig, "Test accuracy of both branches against λ: the image branch is above "
                "0.9 at every λ up to 0.36 and below 0.1 at every λ from 0.40 on; the "
                "predicted 0.382 lies between.")

# %% [markdown]
# ## 10. The label, read literally
#
# All this assumed labels $y=\pm1$, which is what makes $\ell(s)$ with $s = yz$ a loss. The article does not say so. It writes $s = \hat y^\top y$ and trains with class numbers. So take it at its word, one reading after the other:
#
# | reading | what goes wrong |
# |---|---|
# | $y\in\{0,1\}$, $s = yz$ | a row with $y=0$ has $s=0$ whatever $z$ is: it costs ln 2 and has no gradient |
# | one-hot $y$, logits: $s = z_y$ | the other logits get no gradient; all logits at 20 cost next to nothing, though the model knows nothing |
# | one-hot $y$, probabilities: $s = p_y\le1$ | the loss cannot fall below $\ell(1)$, however right the model is |
# | one-hot $y$ in the joint term, cross-entropy for $L_\text{img}$ | even the *published* form is unbounded below, for every $0<\lambda<1$ |
#
# The last one is the natural mixture. For one row and $C$ classes its image part is
# $$L_\text{image}(z) = (1-\lambda)\,\big(\log\textstyle\sum_k e^{z_k} - z_y\big) + \lambda(1-\lambda)\,\log\sigma(z_y).$$
# Watch it on a single row of three free logits, $\lambda = 0.5$, by plain descent from zero.

# %%
z = torch.tensor(3.7, dtype=torch.float64, requires_grad=True)
(slope,) = torch.autograd.grad(softplus(-0.0 * z), z)
print(f"y = 0: loss {softplus(-0.0 * z).item():.4f}, gradient {abs(slope.item()):.0f}")
twenty = torch.full((1, 3), 20.0, dtype=torch.float64)
uniform = nn.functional.cross_entropy(twenty, torch.tensor([0])).item()
nothing = softplus(-twenty[0, 0]).item() < 1e-8
print(f"all logits 20: one-hot reading below 1e-8: {nothing}; "
      f"cross-entropy {uniform:.4f} = ln 3")
print(f"probabilities: never below {softplus(torch.tensor(-1.0)).item():.4f}")

def image_part(z, lam):
    """Cross-entropy for class 0, and the joint term read with a one-hot label."""
    surprise = z.logsumexp(0) - z[0]
    return (1 - lam) * surprise - lam * (1 - lam) * softplus(-z[0])

z = torch.zeros(3, dtype=torch.float64, requires_grad=True)
for step in range(1, 2001):
    value = image_part(z, 0.5)
    (slope,) = torch.autograd.grad(value, z)
    z = (z - slope).detach().requires_grad_()
    if step in (1, 20, 200, 2000):
        print(f"step {step:4d}: loss {value.item():8.2f}, mean logit "
              f"{z.mean().item():8.2f}, p of the right class "
              f"{z.softmax(0)[0].item():.4f}")
assert value < -30

# %% [exercise] 02.5
# The loss above falls without end and nothing looks broken: the probability stands still at 0.6667, which is no number anybody asked for. Where does it come from?
#
# Take $L_\text{image}$ above, for one row, any $C$, a right class $y$ and $0<\lambda<1$.
#
# **On paper.** 1. Show that it is unbounded below: follow it along $z - m\,(1,\dots,1)$ for growing $m$. 2. Write its gradient. Far down, $\sigma(-z_y)\to1$: which softmax $p$ makes *all* logits fall at the same speed, so that $p$ no longer changes? 3. You have met that $p$ in lesson 01. What is the joint term doing to the image branch, besides diverging?
#
# **Checked.** Your function receives the number `lam`, and the ints `classes` and `label`. It returns the tuple `(probabilities, speed)`: the $p$ of question 2, float64 `(classes,)`, and the change of every logit per unit of step size, $-\partial L/\partial z_c$, a float64 scalar tensor.

# %% [stub]
def end_of_descent(lam, classes, label):
    """Where descent of L_image leads: the softmax that stands still, and the drift.

    lam : 0 < λ < 1   classes : C   label : y, 0 … C − 1
    returns : (p (C,), −∂L/∂z_c of every class, a scalar), float64
    """
    raise NotImplementedError

# %% [solution]
def end_of_descent(lam, classes, label):
    p = torch.full((classes,), lam / classes, dtype=torch.float64)
    p[label] += 1 - lam
    speed = -(1 - lam) * lam / classes
    return p, torch.tensor(speed, dtype=torch.float64)

# %% [hints]
# All logits have to have the same slope. Write $\partial L/\partial z_c$ for $c\ne y$ and for $c=y$, with $\sigma(-z_y)=1$, and set them equal.
# ---
# $\partial L/\partial z_c = (1-\lambda)\,\big(p_c - [c=y] + \lambda\,[c=y]\big)$. Equal for all $c$ means $p_c = \kappa + (1-\lambda)[c=y]$ with one constant $\kappa$; the probabilities add up to 1.
# ---
# ```python
# kappa = ____                             # from the sum over the classes
# p = torch.full((classes,), kappa, dtype=torch.float64)
# # the right class has more; the speed is minus the slope that all classes share
# ```

# %% [answer]
# 1. Cross-entropy does not change along $z-m\mathbf 1$, and $\log\sigma(z_y-m) \le z_y-m \to-\infty$; its factor $\lambda(1-\lambda)$ is positive for $0<\lambda<1$. So the loss has no lower bound, although each branch's own cross-entropy is perfectly healthy.
# 2. $\partial L/\partial z_c = (1-\lambda)\big(p_c-[c=y]+\lambda\,\sigma(-z_y)[c=y]\big)$. With $\sigma(-z_y)\to1$ all slopes are equal when $p_c-(1-\lambda)[c=y]=\kappa$ for every $c$. Summing, $1-(1-\lambda)=C\kappa$, so $\kappa=\lambda/C$ and $p_y = 1-\lambda+\lambda/C$, $p_c=\lambda/C$ elsewhere. Each logit changes by
#    $-(1-\lambda)\lambda/C$ per unit of step size: for $\lambda=.5$, $C=3$ that is $-1/12$, and 2,000 steps of size 1 carry the mean logit to about $-160$.
# 3. It is the target of *label smoothing* with $\varepsilon=\lambda$. The knob that was to share attention between text and image smooths the image branch's labels, and lets the logits fall for ever while it does so.

# %% [markdown]
# ## 11. Recap
#
# You can now
# - collect a loss into coefficients of its elementary losses, and read sign errors and bounds off them;
# - say what $(1+\lambda)\ell(s_t) + (1-\lambda)^2\ell(s_i)$ is (two trainings side by side) and why the "equivalent" form ruins the image branch above $(3-\sqrt5)/2$;
# - compute a mixed derivative, and use it to decide whether a loss joins anything;
# - tell what a joint *loss* can change from what only a joint *model* can, with draws of their own and paired differences;
# - ask of a printed loss which labels it means. `cmlib.report()` shows what you have done, over all lessons.

# %% [quiz]
# ? A colleague's loss is a·ℓ(s_t) + b·ℓ(s_i) with positive a and b, branches without shared parameters, trained with Adam. What do a and b change?
# - They balance the two modalities :: With SGD they would scale each branch's learning rate; Adam divides the factor out again.
# + Almost nothing :: Each branch's gradient is scaled by a constant, and Adam divides by the gradient's own running size. Only the epsilon in Adam's denominator feels it.
# - They decide which branch is trusted at prediction time :: Nothing in the loss says how predictions are combined.
# ? The training loss of a run falls below zero and keeps falling. The loss was built from logistic losses. What is certain?
# - The model has started to overfit :: Overfitting brings a sum of positive logistic losses towards zero, never below it.
# - The learning rate is too high :: A high rate makes the loss jump; it does not make a sum of positive terms negative.
# + Some term has a negative weight :: ℓ is positive everywhere, so a positive combination cannot be negative. Collect the coefficients.
# ? Why is the product of experts joint, although log(p_t · p_i) = log p_t + log p_i?
# + Because of the normaliser :: The log of the sum over classes depends on both branches at once; without it the loss would be separable.
# - Because the logarithm is not linear :: The logarithm turns the product into a sum, which by itself is separable.
# - Because both branches see the same label :: In a separable loss they do too.
# ? The sum of two linear branches trained with the fused loss stays near one half in situation S. What is missing?
# - More data :: The sum of two separate scores that minimises the loss is indifferent in S, however much data there is; lesson 06 proves it.
# - A larger weight on the joint term :: There is only one term. No weighting lets a sum of separate scores compare two colours.
# + A model in which the branches meet before the score :: The loss was joint and the function was not: f(text) + g(image) cannot express "are these two equal?".

# %% [markdown]
# **Glossary**: *branch*, the part of a model that sees one modality · *score*, label times logit · *separable*, a sum of functions of one variable each · *mixed derivative*, the change of one branch's gradient when the other branch moves ·
# *unbounded below*, with no lowest value to converge to · *product of experts*, the normalised product of distributions · *late fusion*, combining the branches' outputs ·
# *InfoNCE*, cross-entropy over a batch in which each row must find its partner · *paired comparison*, differences taken within each draw of the data.
#
# **References**
# - G. E. Hinton, *Training products of experts by minimizing contrastive divergence*, Neural Computation 14 (2002): multiplying distributions, and why the normaliser is the hard part.
# - A. Radford et al., *Learning transferable visual models from natural language supervision*, ICML 2021: the symmetric InfoNCE loss between pictures and words.
# - A. van den Oord, Y. Li, O. Vinyals, *Representation learning with contrastive predictive coding*, 2018, arXiv:1807.03748: the loss and its name.
# - D. P. Kingma and J. Ba, *Adam: a method for stochastic optimization*, ICLR 2015: section 2.1 shows that the step does not change when the gradient is rescaled.
# - W. Wang, D. Tran, M. Feiszli, *What makes training multi-modal classification networks hard?*, CVPR 2020: what happens when branches that do meet learn at different speeds (lesson 09).

# %% [progress]
