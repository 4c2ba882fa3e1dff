# %% [markdown]
# # 09 Joint optimisation and modality imbalance
#
# **The one thing to take away:** one shared residual $p - y$ feeds both branches. Whoever shrinks it first starves the other, and the loss, which falls as it should, does not tell you.
#
# You will be able to
# - solve the training of two branches in closed form, and say from strengths and depth who will starve and how far;
# - find a starved branch by a probe *and* by its own one-modality control, and say why one of them is not enough;
# - give each branch a loss of its own, explain where the best weight lies, and say when the weight does nothing at all;
# - measure modality dropout, a frozen start and gradient modulation honestly: paired, over seeds, beside the cheaper rival;
# - tell opposed branches from starved ones by a gradient's angle and length;
# - say what a search over hyper-parameters has found and how much of it is luck.
#
# **Before this:** [01](01_losses.ipynb) (the gradient is $p - y$), [02](02_joint_loss.ipynb) (what makes a loss joint) and [06](06_concatenation.ipynb) (frozen features, fresh tickets for every seed).
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import json
import math
import torch
from tqdm.auto import tqdm
from cmlib import (FusionModel, extract, fit, freeze, image_encoder, plots, predict,
                   text_encoder)
from cmlib.course.schematic import Schematic
from cmlib.data.device import follow
from cmlib.evaluation.probe import Probe
from cmlib.losses import balance
from cmlib.models.branches import Branches
from cmlib.tasks import Branched
from cmlib.worlds import RefundDesk
cfg = cmlib.setup("09", full="the encoders whose features the branches read")

# %% [markdown]
# ## 1. Two eyes read worse than one
#
# The refund desk again, with one difference: on most tickets *both* modalities tell. The shares are R .70 (photo and message tell), I .15 (only the photo), T .15 (only the message), and S 0: nothing has to be compared. The best model that sees and reads is right on every ticket.
#
# The encoders are frozen, as in 06. On their features learn two **branches**, an MLP each, that share no parameter. Their logits are added, $z = z_i + z_t$, and one cross-entropy on the sum trains both at once. That is **joint optimisation**: not two trainings whose results are merged, but one.
#
# Every seed has training and test tickets of its own; where validation tickets are needed, the training tickets of the *other* seeds serve. The test tickets hold more of I and T than the mixture does, so that these are measured well; the column *all* weighs the situations back to .70, .15, .15.
#
# `Branches` is the model and `Branched` the task: its `weights` say how much the joint loss, the image branch's own loss and the text branch's own loss count. `(1, 0, 0)` is the joint model, `(0, 1, 0)` the image-only control. A control is judged by its own branch. `Watched` notes on the way what section 7 needs.
#
# **Predict before you run.** Three models, equal in everything: image only, text only, both. In T the photo is of a sealed parcel and tells nothing. Which of text-only and joint has more of T right?

# %%
torch.manual_seed(0)
encoders = FusionModel(image_encoder(cfg.image_encoder),
                       text_encoder(cfg.text_encoder), n_classes=2)
SEEDS, SHARES = range(5), torch.tensor([0.7, 0.15, 0.15], dtype=torch.float64)
desk = RefundDesk(probabilities=(0.7, 0.15, 0.15, 0), tricky=0.0, held_out=True)
rare = RefundDesk(probabilities=(0.2, 0.4, 0.4, 0), tricky=0.0, held_out=True)
drawn = {"train": desk.sample(5 * 800),
         "test": rare.sample(5 * 400, split="new tickets")}
pool = {split: extract(encoders, pairs) for split, pairs in drawn.items()}
trusted = cfg.text_encoder == "mini" and encoders.pretrained

def claim(words, holds):
    """Print a claim; with the course's own encoders it also has to hold."""
    print(f"{words}: {bool(holds)}")
    assert holds or not trusted

def of(split, seed):
    """A seed's own tickets: Features, and the situation of each."""
    size = len(drawn[split]) // len(SEEDS)
    part = slice(seed * size, (seed + 1) * size)
    return pool[split][part], drawn[split].extras["situation"][part]

def others(seed):
    """The 3,200 training tickets of the other seeds, the next seed's first."""
    chosen = (torch.arange(3200) + 800 * (seed + 1)) % 4000
    return pool["train"][chosen], drawn["train"].extras["situation"][chosen]

for split, features in pool.items():
    print(f"{split:5s} {len(features.labels) // len(SEEDS)} tickets a seed, image "
          f"{tuple(features.image.shape[1:])}, text {tuple(features.text.shape[1:])}")
best = desk.ceilings()
print(f"the most that anyone can reach: {best['both']:.3f} with both, "
      f"{best['text']:.3f} by reading, {best['image']:.3f} by seeing")

JOINT, IMAGE, TEXT = (1, 0, 0), (0, 1, 0), (0, 0, 1)

def fresh(seed):
    torch.manual_seed(seed)
    return Branches(pool["train"].image.shape[1], pool["train"].text.shape[1])

def train(seed, task, model=None, rows=None, epochs=20, valid=None, **settings):
    model = fresh(seed) if model is None else model
    rows = of("train", seed)[0] if rows is None else rows
    fit(model, rows, valid, task=task, epochs=epochs, batch_size=100,
        learning_rate=4e-3, seed=seed, progress=False, **settings)
    return model

def report(model, seed, use=("image", "text")):
    """Accuracy of the sum of these branches: of the mixture, in R, I and T. (4,)"""
    test, situation = of("test", seed)
    found = predict(model, test)
    right = (sum(found[name] for name in use).argmax(1) == test.labels).double()
    each = torch.stack([right[situation == k].mean() for k in range(3)])
    return torch.cat([(each @ SHARES)[None], each])

def header(title=""):
    print(f"{title:34s} all     R      I      T      spread of all")

def line(name, rows):
    means = "  ".join(f"{mean:.3f}" for mean in rows.mean(0))
    print(f"{name:33s} {means}  ± {rows[:, 0].std():.3f}")

class Watched(Branched):
    """The joint task; early on, (cosine, ratio) of each branch's gradient."""
    def __init__(self, rows):
        super().__init__(JOINT)
        self.rows, self.step, self.notes = rows, 0, []

    def adjust(self, model):
        if self.step % 4 == 0 and self.step <= 40:
            rows = follow(self.rows, model)
            image, text = model(rows).values()
            joint = balance.joint_and_single(image, text, rows.labels, JOINT)
            note = []
            for name, weights in (("image", IMAGE), ("text", TEXT)):
                own = balance.joint_and_single(image, text, rows.labels, weights)
                mine = model.branches()[name].parameters()
                note += map(float, balance.gradient_cosine(joint, own, mine))
            self.notes.append(note)
        self.step += 1

watched = [Watched(of("train", seed)[0][:256]) for seed in SEEDS]
models = {"joint": [train(seed, watched[seed]) for seed in tqdm(SEEDS, desc="seeds")]}
for name, weights in (("image", IMAGE), ("text", TEXT)):
    models[name] = [train(seed, Branched(weights)) for seed in SEEDS]

def table_of(name, use=("image", "text")):
    return torch.stack([report(models[name][seed], seed, use) for seed in SEEDS])

joint, by_image, by_text = (table_of("joint"), table_of("image", ("image",)),
                            table_of("text", ("text",)))
refunds = float(pool["train"].labels.double().mean())
header()
print(f"{'majority (share in training)':33s} {max(refunds, 1 - refunds):.3f}")
line("image only", by_image)
line("text only", by_text)
line("joint", joint)
claim("in T the joint model is below text-only, in every seed",
      (joint[:, 3] < by_text[:, 3]).all())
claim("and by more than 0.03 in the mean", (by_text - joint)[:, 3].mean() > 0.03)
claim("yet over all it is the best of the three, in every seed",
      (joint[:, 0] > torch.maximum(by_image, by_text)[:, 0]).all())

fig, ax = plots.figure(width=6.4, height=2.9)
shown = {"image only": (by_image, plots.IMAGE), "text only": (by_text, plots.TEXT),
         "joint": (joint, plots.BOTH)}
for k, (name, (rows, color)) in enumerate(shown.items()):
    at = [j + 0.25 * (k - 1) for j in range(3)]
    ax.bar(at, rows.mean(0)[1:], 0.22, color=color, label=name)
    for j in range(3):
        ax.plot([at[j]] * len(SEEDS), rows[:, j + 1], ".", color="black", ms=4)
ax.axhline(0.5, color="black", lw=1, ls="--")
ax.set(ylim=(0.4, 1.02), ylabel="test accuracy", xticks=range(3),
       xticklabels=["R: both tell", "I: photo tells", "T: message tells"],
       title="Joint training reads worse than reading alone")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(fig, "Accuracy in R, I and T of three models, a dot for each seed. In T "
                "the joint model has about .88 and text-only .98; image only is a coin "
                "flip there. In R and I the joint model is at the top.")

# %% [markdown]
# Over all tickets the joint model is the best of the three, and its training loss looks fine. Inside it, however, sits a reader that is worse than the reader trained alone on the same tickets. (In T both branches vote, also the one that sees nothing there. That is a small part of the loss: section 4 asks the reader alone.) It has seen every message. **Nobody took anything from it, and still it was left with less.** Who ate it?
#
# ## 2. One residual, two mouths
#
# **Step 1.** A row's logit is the sum $z = z_i + z_t$ (numbers, for two classes). Its loss is $\ell(z) = -\log p$ of the right class, and lesson 01 derived its slope: $\partial\ell/\partial z = p - y$, the **residual**.
#
# **Step 2.** By the chain rule the parameters $\theta_i$ of the image branch get $\dfrac{\partial \ell}{\partial\theta_i} = (p - y)\,\dfrac{\partial z_i}{\partial\theta_i}$, and those of the text branch $(p-y)\,\dfrac{\partial z_t}{\partial\theta_t}$. **The first factor is the same number in both.** It is the only thing that passes from one branch to the other.
#
# **Step 3.** So as soon as one branch makes $p$ right, $p - y$ goes to 0 *for both*, and the other stops learning from this row, whatever it knows by then.

# %% tags=["hide-input"]
sketch = Schematic(7.8, 2.5)
high, low, mid = 1.95, 0.55, 1.25
photo = sketch.box("photo\nfeatures (B, C)", (0.85, high), (1.4, 0.55), plots.IMAGE)
words = sketch.box("message\nfeatures (B, H)", (0.85, low), (1.4, 0.55), plots.TEXT)
see = sketch.box("image branch\nθ_i", (2.95, high), (1.3, 0.55), plots.IMAGE)
read = sketch.box("text branch\nθ_t", (2.95, low), (1.3, 0.55), plots.TEXT)
total = sketch.box("z = z_i + z_t", (5.0, mid), (1.25, 0.5), plots.BOTH)
loss = sketch.box("p − y", (7.1, mid), (0.9, 0.5), plots.GREY)
sketch.arrow(photo, see)
sketch.arrow(words, read)
sketch.arrow(see, total, "z_i", shift=(0.1, 0.16))
sketch.arrow(read, total, "z_t", shift=(0.1, -0.16))
sketch.arrow(total, loss, "softmax, label")
for branch, bend in ((see, 0.3), (read, -0.3)):
    sketch.arrow(loss, branch, color=plots.GREY, bend=bend, dashed=True)
sketch.text("the same residual × ∂z_i/∂θ_i", (5.9, 2.32), color=plots.GREY, fontsize=8)
sketch.text("the same residual × ∂z_t/∂θ_t", (5.9, 0.16), color=plots.GREY, fontsize=8)
sketch.show("Photo features pass the image branch, message features the text branch; "
            "their logits are added, softmax and label give one residual p − y, and "
            "dashed arrows lead that same residual back into both branches.")

# %% [markdown]
# ### The smallest case, solved
#
# Take the right class as positive, and one weight for each branch: $z = s_t w_t + s_i w_i$, where the strength $s$ says how plainly a modality shows the answer. All rows are alike, so the loss is $\ell = \ln(1 + e^{-z})$. Train with tiny steps (gradient *flow*, time $\tau$ = rate × steps) from $w = 0$.
#
# **Step 4.** $\dot w_t = s_t\,r$ and $\dot w_i = s_i\,r$ with $r = 1/(1+e^{z})$, the residual's size. Divide: $\dot w_i/\dot w_t = s_i/s_t$ always, so **$w_i / w_t = s_i/s_t$ at any time.** And branch $k$ contributes $s_k w_k$ to $z$, in proportion to $s_k^2$.
#
# **Step 5.** The whole margin $m = z$ obeys $\dot m = (s_t^2 + s_i^2)\,r = S/(1+e^{m})$. Separate: $(1 + e^{m})\,dm = S\,d\tau$, so $m + e^{m} = 1 + S\tau$.
#
# **A worked example.** $s_t = 1$, $s_i = \tfrac12$: $S = 1.25$. At $\tau = 8$ the right side is 11, and $m = 2.18$ solves it ($2.18 + 8.82$). Of it the image branch holds $s_i^2/S = 0.2$, that is $0.44$. Had it trained alone, $S$ would be $.25$, the right side 3, and its margin $0.79$: 1.8 times as much. **It was not opposed; it was fed less**, since the other one had shrunk the residual.

# %% [exercise] 09.1
# Solve it for any number of modalities. Your function receives `strengths`, float64 `(n,)`, all above 0, and `time`, a float $\ge 0$. It returns the weights at that time, float64 `(n,)`, to nine digits. (There is no formula in elementary functions for $m$; Newton's method, or halving an interval, finds it. Times of some thousands come, where $e^{1+S\tau}$ overflows: the root lies below $\ln(1+S\tau)$.)

# %% [stub]
def weights_at(strengths, time):
    """Weights of the gradient flow on ln(1 + exp(−Σ s_k w_k)), from 0.

    strengths : float64 (n,)   time : float   returns : float64 (n,)
    """
    raise NotImplementedError

# %% [solution]
def weights_at(strengths, time):
    total = (strengths * strengths).sum()
    m = torch.log1p(total * time)                    # a start that is too high
    for _ in range(60):                              # Newton
        m = m - (m + m.exp() - 1 - total * time) / (1 + m.exp())
    return strengths * m / total

# %% [hints]
# Solve for the whole margin first; then ask which part of it each branch holds, and by what it has multiplied its weight.
# ---
# $S = \sum_k s_k^2$; $m + e^m = 1 + S\tau$; $s_k w_k = m\,s_k^2/S$. The left side rises with $m$: its root lies between 0 and $\ln(1 + S\tau)$.
# ---
# ```python
# low, high = 0.0, math.log1p(S * time)
# for _ in range(100):             # halve the interval
#     m = (low + high) / 2
#     low, high = (m, high) if m + math.exp(m) < ____ else (low, m)
# ```

# %% [markdown]
# ## 3. Depth makes it worse, where rows are alike
#
# A branch of two layers, each one number $u$ (an encoder and a head of equal gain), contributes $z_k = s_k u_k^2$. Each layer's gradient now carries the *other* layer's gain: $\dot u_k = s_k u_k\,r$. Divide both sides by $u_k$, and $\frac{d}{d\tau}\ln u_k = s_k\,r$. Again the residual cancels between the branches:
#
# $$\frac{\ln(u_i/u_0)}{\ln(u_t/u_0)} = \frac{s_i}{s_t}\qquad\Longrightarrow\qquad u_i = u_0\,\Big(\frac{u_t}{u_0}\Big)^{s_i/s_t}.$$
#
# In one layer half the strength means half the weight. In two it means a *root*: if the strong branch grew twentyfold, the weak one grew by $\sqrt{20} = 4.5$. Growth feeds on what has grown; that is why who starts first, or learns faster, takes nearly everything. (More layers: exercise 09.5.)
#
# For *rows that differ*, there is hope: on I tickets the text branch has nothing to say, so their residual stays until the image branch has learned. They are few, though. Move the sliders: the strength of the image branch (the text branch has 1), the layers of each branch, and the share of tickets on which both tell. The dashed line is the image branch trained alone on the very same tickets.

# %%
def race(strength=0.5, depth=2, share=0.7, start=0.1, time=60.0, steps=600):
    """Logits (text, image, image trained alone) over time, each (steps,)."""
    sigma = lambda z: 1 / (1 + math.exp(z))
    only = (1 - share) / 2                      # shares of I, and of T
    u, v, alone, dt, path = start, start, start, time / steps, []
    for _ in range(steps):
        text, image, single = u**depth, strength * v**depth, strength * alone**depth
        path.append((text, image, single))
        both = share * sigma(text + image)
        u += dt * u ** (depth - 1) * (both + only * sigma(text))
        v += dt * strength * v ** (depth - 1) * (both + only * sigma(image))
        fed = (share + only) * sigma(single)
        alone += dt * strength * alone ** (depth - 1) * fed
    return torch.tensor(path, dtype=torch.float64)

def drawn_race(strength=0.5, depth=2.0, share=0.7):
    path = race(strength, round(depth), share)
    fig, ax = plots.figure(width=6.2, height=2.8)
    clock = torch.linspace(0, 60, len(path))
    ax.plot(clock, path[:, 0], color=plots.TEXT, label="text branch")
    ax.plot(clock, path[:, 1], color=plots.IMAGE, label="image branch")
    ax.plot(clock, path[:, 2], "--", color=plots.IMAGE, label="image, alone")
    ax.set(xlabel="time (rate × steps)", ylabel="logit of a branch", ylim=(0, 7),
           title=f"strength {strength:.2f}, {round(depth)} layers, both {share:.2f}")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig

plots.explore(drawn_race, "Logits over time: the stronger text branch rises first; the "
              "image branch lags behind its own dashed control.",
              strength=(0.1, 1.0, 0.05, 0.5), depth=(1.0, 3.0, 1.0, 2.0),
              share=(0.0, 1.0, 0.05, 0.7))

# %%
fig, axes = plots.figure(1, 2, width=8.4, height=2.9, sharey=True)
clock, part = torch.linspace(0, 60, 600), {}
for start in (0.1, 0.3):
    for depth in (1, 2):
        text, image, alone = race(depth=depth, share=1.0, start=start)[-1]
        part[start, depth] = float(image / (text + image))
        layers = f"{depth} layer{'s' * (depth > 1)}"
        print(f"rows alike, start {start}, {layers}: the image branch ends with "
              f"{part[start, depth]:.3f} of z, {image / alone:.3f} of its control")
for ax, depth in zip(axes, (1, 2)):
    path = race(depth=depth, share=1.0)
    ax.plot(clock, path[:, 0], color=plots.TEXT, label="text branch")
    ax.plot(clock, path[:, 1], color=plots.IMAGE, label="image branch")
    ax.plot(clock, path[:, 2], "--", color=plots.IMAGE, label="image, alone")
    ax.set(title=f"rows alike, {depth} layer{'s' * (depth > 1)} a branch",
           xlabel="time (rate × steps)", ylim=(0, 6.5))
axes[0].set_ylabel("logit of a branch")
axes[0].legend(loc="upper left")
plots.show(fig, "Two panels, all rows alike. With one layer the image branch rises to "
                "a third of its control; with two layers it hardly leaves 0, while its "
                "control comes near the text branch.")
u_text, u_image = path[:, 0].sqrt(), (path[:, 1] / 0.5).sqrt()
gap = (u_image - 0.1 * (u_text / 0.1) ** 0.5).abs().max()
print(f"largest distance from the law of two layers: {gap:.4f}")
assert gap < 0.01 and all(part[s, 2] < part[s, 1] / 2 for s in (0.1, 0.3))

print("rows that differ: time until the image logit passes 1, joint / alone")
late = {}
for share in (0.7, 0.9):
    for strength in (0.5, 0.7):
        for depth in (1, 2):
            path = race(strength, depth, share, time=400.0, steps=4000)
            steps = [int((path[:, k] < 1).sum()) for k in (1, 2)]
            late[share, strength, depth] = steps[0] / steps[1]
        print(f"both tell on {share}, strength {strength}: "
              f"1 layer {late[share, strength, 1]:.2f}, "
              f"2 layers {late[share, strength, 2]:.2f}")
assert all(ratio > 1.5 for ratio in late.values())
for strength in (0.5, 0.7):
    some, few = (late[share, strength, 2] / late[share, strength, 1]
                 for share in (0.7, 0.9))
    assert some < 1.2 and few > 1.5

# %% [markdown]
# Where all rows are alike, a second layer turns "less" into "next to nothing". Where some rows are left to the weak branch, it is **late**: with our share of .7, two to three times as late as alone, and a second layer hardly changes that. The fewer such rows are, the later it is, and the more a second layer counts: with a share of .9 it makes it some 1.7 times as long. But in the flow starvation is a delay.
#
# **Predict before you run.** Is it a delay on the desk, too? Train the joint model twice as long.

# %%
models["longer"] = [train(seed, Branched(), epochs=40) for seed in SEEDS[:3]]
longer = torch.stack([report(models["longer"][seed], seed) for seed in SEEDS[:3]])
header("three of the seeds")
line("joint, 20 epochs", joint[:3])
line("joint, 40 epochs", longer)
line("text only, 20 epochs", by_text[:3])
claim("twice the epochs close less than half of the gap in T, in the mean",
      (longer - joint[:3])[:, 3].mean() < (by_text - joint)[:3, 3].mean() / 2)
learned = []
for seed in SEEDS:
    rows, situation = of("train", seed)
    right = sum(predict(models["joint"][seed], rows).values()).argmax(1) == rows.labels
    learned.append(right[situation == 2].double().mean())
claim("of the T tickets that it trained on, it has over 0.98 right after 20 epochs",
      torch.stack(learned).mean() > 0.98)

# %% [markdown]
# No. The flow had endlessly many equal rows; the desk has 800 tickets, of which some 120 are T. The model has those 120 right after 20 epochs. The residual is gone on *all* its tickets, and what it would have needed in order to read *new* messages went with it. (A training run has an end as well, and its rate falls to 0.) What is late is, here, lost.
#
# ## 4. Find the starved branch
#
# Two instruments are in use.
#
# - **The control.** Train the branch alone, on the same tickets, and compare it with the *same* branch inside the joint model (its own logit, without the other's). Whatever differs is due to joint training.
# - **The linear probe.** Freeze the branch, take its last hidden states, and fit a linear model on labels of tickets that this modality can answer. It asks what the branch *knows*, not what it says.
#
# Both are needed for *both* branches. A probe has one more trap: something can be read from states that nobody trained. So the probe needs a control of its own: the branch as it was before the first step.
#
# **Predict before you run.** Does the probe find less in the starved branch than in its control? And in the untrained one?

# %%
def probe(model, seed, half):
    """Test accuracy of a linear probe on a branch's states, where only it can tell."""
    silent = {"image": 2, "text": 1}[half]  # the situation where this half says nothing
    sides = []
    for split in ("train", "test"):
        features, situation = others(seed) if split == "train" else of("test", seed)
        tells = situation != silent if split == "train" else situation == 3 - silent
        rows = features[tells.nonzero()[:800, 0]]
        with torch.no_grad():
            sides += [getattr(model.states(rows), half).cpu(), rows.labels.cpu()]
    states, labels, test_states, test_labels = sides
    found = Probe(states, labels, n_classes=2)(test_states).argmax(1)
    return (found == test_labels).double().mean()

models["untrained"] = [fresh(seed) for seed in SEEDS]
known = {}
print("                     own logit            probe of its states")
print("branch   tested in   joint   alone        untrained   joint   alone")
for half, column, alone in (("image", 2, by_image), ("text", 3, by_text)):
    own = table_of("joint", (half,))[:, column]
    for name in ("untrained", "joint", half):
        known[half, name] = torch.stack([probe(models[name][seed], seed, half)
                                         for seed in SEEDS])
    probes = [known[half, name].mean() for name in ("untrained", "joint", half)]
    print(f"{half:8s} {'RIT'[column - 1]}           {own.mean():.3f}   "
          f"{alone[:, column].mean():.3f}        "
          + "       ".join(f"{value:.3f}" for value in probes))
    known[half, "own"] = own
for one, other in (("joint", "untrained"), ("text", "joint")):
    difference = known["text", one] - known["text", other]
    print(f"probe of the text branch, {one} minus {other}: {difference.mean():+.3f}, "
          f"above 0 in {(difference > 0).double().mean():.1f} of the seeds")
claim("the probe, too, finds more in the text branch trained alone, by over 0.03",
      (known["text", "text"] - known["text", "joint"]).mean() > 0.03)
claim("the text branch's own logit is below its control, in every seed",
      (known["text", "own"] < by_text[:, 3]).all())
claim("the image branch keeps within 0.02 of its control",
      (known["image", "own"] - by_image[:, 2]).mean().abs() < 0.02)

# %% [markdown]
# The control speaks plainly: the image branch says in the joint model what it says alone, the text branch says less. The probe agrees, *and would have misled you by itself*: what it reads from the joint text branch looks fine until you see that nearly as much can be read from a branch of random weights, which passes on what the frozen BERT knew already. Of the distance between untrained and trained alone, joint training covered only a part. A probe is a difference, never a number.
#
# ### Which tickets fed it?
#
# If the residual is the food, one can compute what the text branch lived on. T and I tickets (about 240 of 800) always feed it: in T only the message tells, in I it must learn to say nothing. The R tickets, two thirds of its textbook, are answered by the photo. So train a text-only model on *only the T and I tickets*, to the end, and compare. A control: as many tickets drawn at random, R among them.

# %%
def without_r(seed):
    rows, situation = of("train", seed)
    return rows[(situation != 0).nonzero()[:, 0]]

def as_many(seed):
    rows = of("train", seed)[0]
    order = torch.Generator().manual_seed(seed)
    return rows[torch.randperm(len(rows.labels), generator=order)
                [:len(without_r(seed).labels)]]

for name, chosen in (("text, no R", without_r), ("text, as many", as_many)):
    models[name] = [train(seed, Branched(TEXT), rows=chosen(seed), epochs=30)
                    for seed in SEEDS]
no_r, random_rows = (table_of(name, ("text",)) for name in ("text, no R",
                                                            "text, as many"))
header("text branches, own logit")
line("alone, all tickets", by_text)
line("alone, as many at random", random_rows)
line("alone, R tickets taken away", no_r)
line("inside the joint model", table_of("joint", ("text",)))
own = known["text", "own"]
claim("in T the joint model's reader lies nearer to one who never saw R than to "
      "one who did, paired",
      (no_r[:, 3] - own).abs().mean() < (by_text[:, 3] - own).mean())
claim("as many at random read T better than those without R, by over 0.02",
      (random_rows - no_r)[:, 3].mean() > 0.02)

# %% [markdown]
# The joint model's reader got about as much from 800 tickets as another from the 240 without R. That these are few is about half of it. As many at random make a better reader: the other half is that R is missing, and that says what a remedy must do: **give the text branch a residual of its own on R tickets.**
#
# ## 5. A loss of its own
#
# The most direct remedy adds, for each branch, a loss in which the other does not occur: $L = \ell(z_i + z_t) + \lambda\,[\ell(z_i) + \ell(z_t)]$. On an R ticket that the photo has settled, $\ell(z_t)$ still has its residual $p_t - y$, and that one is shared with nobody. (Lesson 02 asked which losses join two branches. This is the other half of the question: which keep them apart enough.)

# %% [exercise] 09.2
# Write this loss for logits. Your function receives `image` and `text`, `(batch, classes)`, `labels` int64 `(batch,)` and `weight`, a float, the $\lambda$ above. It returns a scalar, a mean over the rows. It must equal PyTorch's cross-entropy, gradients included, and survive logits of 800.

# %% [stub]
def with_own_losses(image, text, labels, weight):
    """ℓ(z_i + z_t) + weight · [ℓ(z_i) + ℓ(z_t)].

    image, text : (batch, classes)   labels : int64 (batch,)   returns : scalar
    """
    raise NotImplementedError

# %% [solution]
from torch.nn.functional import cross_entropy

def with_own_losses(image, text, labels, weight):
    own = cross_entropy(image, labels) + cross_entropy(text, labels)
    return cross_entropy(image + text, labels) + weight * own

# %% [hints]
# The same function of logits, called three times. What goes in each time?
# ---
# $\ell(z) = \frac1B\sum_b\big(\log\sum_c e^{z_{bc}} - z_{b,y_b}\big)$. The joint one gets the *sum* of the logits, not their mean.
# ---
# ```python
# def cost(z):                     # (batch, classes) → scalar
#     return (torch.logsumexp(z, 1) - z[torch.arange(len(z)), labels]).mean()
# # then three costs, of which two are weighted
# return cost(____) + weight * ...
# ```

# %% [markdown]
# ### Where is the best weight, and why
#
# Often the two branches are weighed against each other: $\lambda\,\ell(z_t) + (1-\lambda)\,\ell(z_i)$. Ask the smallest case. Two separate flows now, and the weight multiplies the speed: $m_t + e^{m_t} = 1 + \lambda s_t^2\tau$ and $m_i + e^{m_i} = 1 + (1-\lambda)s_i^2\tau$. With $\lambda$ the one margin rises, the other falls. The *smaller* of the two, the branch that is not ready, is largest where they are equal:
#
# $$\lambda\,s_t^2 = (1-\lambda)\,s_i^2\qquad\Longrightarrow\qquad \lambda^* = \frac{s_i^2}{s_i^2 + s_t^2}.$$
#
# **By this measure the weaker modality gets the larger weight, at any time.** (By another measure, say the accuracy of the sum, another weight may be best.) In any case $\lambda$ is a ratio of two learning rates. And that has a consequence that is easily missed. Adam divides each gradient by its own running size. A constant factor cancels. **With Adam, the weight of a branch's separate loss does nothing at all**, as long as it is not 0 and the gradients stay large beside Adam's ε (here $10^{-12}$).
#
# **Predict before you run.** The branches alone, λ from .1 to .9, few steps: by SGD, then by AdamW. Sketch both curves.

# %%
def few_steps(seed, lam, optimizer, steps=60):
    """λ ℓ(z_t) + (1 − λ) ℓ(z_i), from the start, by another optimiser than fit's."""
    model, rows, task = fresh(seed), of("train", seed)[0], Branched((0, 1 - lam, lam))
    descent = optimizer(model.parameters())
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = rows[torch.randint(len(rows.labels), (100,), generator=draw)]
        batch = follow(batch, model)
        descent.zero_grad()
        task.objective(model(batch), batch).backward()
        descent.step()
    return report(model.eval(), seed)[0]

OPTIMIZERS = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, 0.03, momentum=0.9),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, 1e-3, eps=1e-12),
}
LAMBDAS = (0.1, 0.5, 0.9)
TRIED = {"SGD": SEEDS, "AdamW": SEEDS[:2]}  # two suffice where nothing at all differs
swept = {name: torch.stack([torch.stack([few_steps(seed, lam, optimizer)
                                         for lam in LAMBDAS]) for seed in TRIED[name]])
         for name, optimizer in OPTIMIZERS.items()}  # (seeds, λ)

fig, axes = plots.figure(1, 2, width=8.2, height=2.8)
lams = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)

def margin(x):
    """The root of m + e^m = 1 + x."""
    m = math.log1p(x)
    for _ in range(40):
        m -= (m + math.exp(m) - 1 - x) / (1 + math.exp(m))
    return m

worse = [min(margin(8 * lam), margin(8 * 0.25 * (1 - lam))) for lam in lams.tolist()]
axes[0].plot(lams, worse, color=plots.GREY)
axes[0].axvline(0.2, color="black", lw=1, ls=":", label="λ* = 0.2")
axes[0].legend()
axes[0].set(title="The smallest case", xlabel="λ, weight of the text branch",
            ylabel="margin of the weaker branch")
for (name, rows), color in zip(swept.items(), (plots.GREY, plots.BOTH)):
    axes[1].errorbar(LAMBDAS, rows.mean(0), rows.std(0), color=color, label=name,
                     marker="o", ms=4, capsize=2)
axes[1].set(title="The desk, after 60 steps", xlabel="λ, weight of the text branch",
            ylabel="accuracy of the sum")
axes[1].legend(loc="lower left")
plots.show(fig, "Left, the weaker branch's margin peaks at λ = 0.2 and falls. "
                "Right, accuracy after 60 steps: with SGD a hill over λ, with AdamW a "
                "flat line.")
best = float(lams[torch.tensor(worse).argmax()])
print(f"smallest case, s_i = s_t / 2: best λ on the grid {best:.2f}, formula 0.20")
sgd = swept["SGD"].mean(0)
claim("SGD: a middle λ beats both ends in the mean",
      sgd[1] > torch.maximum(sgd[0], sgd[-1]) + 0.01)
flat = (swept["AdamW"] - swept["AdamW"][:, :1]).abs().max()
claim("AdamW: no λ moves any seed by more than 0.01", flat < 0.01)
assert abs(best - 0.2) < 0.011

# %% [markdown]
# By SGD the sum is worse after 60 steps, whichever branch has a tenth of the weight. By AdamW nobody notices. So whoever reports a best $\lambda$ must name the optimiser. Added to the joint loss, as in exercise 09.2, a weight does matter even to Adam, since there it sets the mixture of two residuals of one branch. The next section sweeps it, among other remedies.
#
# ## 6. Other remedies, and a habit
#
# - **Own losses alone**, $(0, 1, 1)$: two separate trainings, added at the end. No residual is shared. (Where the answer needs both, in S, it can never compare: lesson 02.)
# - **Modality dropout**: on 30 % of the rows one branch, drawn evenly, says nothing. On these the other has the residual to itself.
# - **Frozen start**: the slow branch first and alone, then frozen, while the other learns what is left.
# - **Early stopping** on the joint validation accuracy is no remedy, but everybody does it; it has a table of its own below.
# - **Gradient modulation** (OGM, Peng et al. 2022): leave the loss, and brake the branch that is ahead.

# %% [exercise] 09.3
# Write the brake as published. Let $p$ be the probability that *one branch alone* (a softmax of its own logits) gives the right class, and $\rho_i = \sum_b p_{i,b} / \sum_b p_{t,b}$, $\rho_t = 1/\rho_i$. A branch with $\rho > 1$ is ahead, and its gradients are multiplied by $1 - \tanh(\alpha\rho)$; those of the other by 1. (At $\rho = 1$ nobody is ahead.)
#
# Your function receives `image`, `text` `(batch, classes)`, `labels` int64 `(batch,)` and `alpha`, a float. It returns both factors, (of image, of text), as a tensor `(2,)`.

# %% [stub]
def brake(image, text, labels, alpha):
    """The factors (of image, of text) of OGM.

    image, text : (batch, classes)   labels : int64 (batch,)   returns : (2,)
    """
    raise NotImplementedError

# %% [solution]
def brake(image, text, labels, alpha):
    rows = torch.arange(len(labels))
    sure_image = image.softmax(1)[rows, labels].sum()
    sure_text = text.softmax(1)[rows, labels].sum()
    ratio = torch.stack([sure_image / sure_text, sure_text / sure_image])
    return torch.where(ratio > 1, 1 - torch.tanh(alpha * ratio), 1.0)

# %% [hints]
# For each branch one number: how much probability it gives to the right classes, over the whole batch. Then one ratio, and its inverse.
# ---
# `z.softmax(1)` is `(batch, classes)`; row $b$, column $y_b$ is wanted. $\rho = (\rho_i, \rho_t)$; where $\rho > 1$ the factor is $1 - \tanh(\alpha\rho)$, elsewhere 1. At $\rho = 1$ it jumps.
# ---
# ```python
# sure = torch.stack([z.softmax(1)[torch.arange(len(z)), labels].sum()
#                     for z in (image, text)])
# ratio = sure / ____              # each over the other
# # then torch.where
# ```

# %% [markdown]
# (OGM-GE adds noise to the gradients besides, as large as their own spread; section 8 has it.) All remedies at the same rate, batch, schedule and number of steps (a frozen start spends half of them on each branch), on the same tickets; the differences are paired by seed.
#
# **Predict before you run.** Which help, and which one do you expect to win?

# %%
for lam in (0.1, 1.0):
    models[f"joint + λ own, λ = {lam}"] = [train(seed, Branched((1, lam, lam)))
                                           for seed in SEEDS]
remedies = {"own losses alone": Branched((0, 1, 1)), "dropout .3": Branched(drop=0.3),
            "brake": Branched(alpha=1.0)}
for name, task in remedies.items():
    models[name] = [train(seed, task) for seed in SEEDS]
models["text first"] = []
for seed in SEEDS:
    model = train(seed, Branched(TEXT), epochs=10)
    freeze(model.branches()["text"])
    models["text first"].append(train(seed, Branched(), model, epochs=10))
titles = {"dropout .3": "modality dropout .3", "brake": "brake (OGM), α = 1",
          "text first": "text first, then frozen"}
done = ("image", "text", "joint", "untrained", "longer", "text, no R", "text, as many")
results = {titles.get(name, name): table_of(name) for name in models
           if name not in done}
header()
line("image only", by_image)
line("text only", by_text)
line("joint", joint)
for name, rows in results.items():
    line(name, rows)

fig, ax = plots.figure(width=7.2, height=3.4)
names = list(results)
gains = {name: results[name][:, 0] - joint[:, 0] for name in names}  # paired by seed
for k, name in enumerate(names):
    mean, error = gains[name].mean(), gains[name].std() / len(SEEDS) ** 0.5
    color = plots.BOTH if mean > 2.8 * error else plots.GREY
    ax.errorbar(mean, -k, xerr=2.8 * error, fmt="o", color=color, capsize=3)
    ax.plot(gains[name], [-k] * len(SEEDS), "|", color="black", ms=7)
ax.axvline(0, color="black", lw=1)
ax.set(yticks=[-k for k in range(len(names))], yticklabels=names,
       xlabel="accuracy over all, minus the joint model's",
       title="What each remedy is worth, paired by seed")
plots.show(fig, "Gains over the joint model with their 95 % intervals over five seeds: "
                "own losses, with or without the joint one, lie clearly above 0, the "
                "brake around 0.")
top = {name: gains[name] for name in ("joint + λ own, λ = 1.0", "own losses alone")}
for name, gain in top.items():
    claim(f"{name}: above joint in every seed", (gain > 0).all())
claim("the brake gains less than half of what own losses gain, in the mean",
      gains["brake (OGM), α = 1"].mean() < top["own losses alone"].mean() / 2)
claim("λ = 0.1 has more than half of the gain of λ = 1, in the mean",
      gains["joint + λ own, λ = 0.1"].mean()
      > gains["joint + λ own, λ = 1.0"].mean() / 2)

# %% [markdown]
# Read the column T. **What gives the text branch a residual of its own on R tickets helps, and helps most where it does so on every ticket**: own losses, with or without the joint one. (Without it nothing can be compared: this mixture has no S.) Modality dropout does it on some tickets, and lies between. A frozen start of the *slow* branch helps, too: it eats before the other one sits down. The brake gives the slow branch nothing: it slows the other one down, and under AdamW, which divides a gradient by its own size, hardly that.
#
# ### And the habit
#
# Stop when the joint validation accuracy has not risen for two epochs. It is a common suspicion that this number, made of R and I for the most part, stops the run when the *fast* branch is done. Test it: 100 validation tickets of the mixture; 3,200 of the mixture; the same without T, some 2,700 tickets of R and I; and a text-only model, where nobody starves anybody, stopped by the same 100.
#
# **Predict before you run.** If the suspicion is all there is to it, which of the four keeps its T, and which loses it?

# %%
def no_vote_for_t(seed):
    rows, situation = others(seed)
    return rows[(situation != 2).nonzero()[:, 0]]

def first_100(seed):
    return others(seed)[0][:100]

stops = {"joint, 100 tickets": (JOINT, first_100),
         "joint, 3,200 tickets": (JOINT, lambda seed: others(seed)[0]),
         "joint, 3,200 without T": (JOINT, no_vote_for_t),
         "text only, 100 tickets": (TEXT, first_100)}
stopped = {}
header("stopped early, by")
for name, (weights, valid) in stops.items():
    use = ("text",) if weights == TEXT else ("image", "text")
    stopped[name] = torch.stack([
        report(train(seed, Branched(weights), valid=valid(seed), patience=2,
                     monitor="valid_accuracy"), seed, use) for seed in SEEDS])
    line(name, stopped[name])
line("never: joint", joint)
line("never: text only", by_text)
lost = {name: (by_text if "text" in name else joint) - rows
        for name, rows in stopped.items()}
claim("100 tickets cost the joint model accuracy over all, in the mean",
      lost["joint, 100 tickets"][:, 0].mean() > 0.002)
claim("they cost text-only, which nobody starves, more than 0.01",
      lost["text only, 100 tickets"][:, 0].mean() > 0.01)
without, whole = (stopped[f"joint, 3,200 {name}"][:, 3]
                  for name in ("without T", "tickets"))
claim("without a vote for T it has less of T than with it, by over 0.03 in the mean",
      (whole - without).mean() > 0.03)
claim("3,200 tickets, 15 of 100 from T as ever: no seed loses 0.05 of T",
      lost["joint, 3,200 tickets"][:, 3].max() < 0.05)
claim("and over all they cost less than 0.01, in the mean",
      lost["joint, 3,200 tickets"][:, 0].mean() < 0.01)

# %% [markdown]
# **The suspicion is right, and half of the story.** Without a vote for T even thousands of tickets stop the run when R and I are done, and T is not yet. But a small vote is enough if there are tickets enough: with 3,200 of the mixture nothing is lost. And a hundred tickets cost text-only as well, which has no fast branch: of them some 15 are T, and a rise of a few points in T is less than one ticket. Two epochs without a visible rise come soon. So count the validation tickets of the *slowest* situation: some hundreds are enough here, 15 or none are not.
#
# ## 7. Starved, or opposed?
#
# Two tasks can also *disagree*: then their gradients point in different directions, and one pays for the other. Is that what happens here? Compare, at the same parameters of one branch, the gradient of the joint loss with the gradient that the branch would get from its own loss. The **cosine** says whether they agree in direction; the **ratio of their lengths** says how much of the food arrives.

# %% [exercise] 09.4
# Compute both. Your function receives `joint` and `alone`: two lists of gradients, one tensor (of any shape) for each parameter, in the same order. An entry is `None` where a loss does not reach a parameter: its gradient there is 0. It returns a tensor `(2,)`: the cosine between the two, *all parameters taken as one long vector*, and the length of `joint` over that of `alone`.

# %% [stub]
def angle(joint, alone):
    """(cosine, ratio of lengths) of two gradients over all parameters.

    joint, alone : lists of tensors or None   returns : (2,)
    """
    raise NotImplementedError

# %% [solution]
def angle(joint, alone):
    dot = sum((a * b).sum() for a, b in zip(joint, alone)
              if a is not None and b is not None)
    lengths = [sum(g.square().sum() for g in side if g is not None).sqrt()
               for side in (joint, alone)]
    return torch.stack([dot / (lengths[0] * lengths[1]), lengths[0] / lengths[1]])

# %% [hints]
# Add up over all parameters first; divide and take roots last.
# ---
# $\cos = \frac{\sum_k \langle g_k, h_k\rangle}{\sqrt{\sum_k\|g_k\|^2}\sqrt{\sum_k\|h_k\|^2}}$ over the parameters $k$. `None` adds 0 to the dot product and to its own length, and nothing is taken from the *other* side's length.
# ---
# ```python
# square_joint = sum((g * g).sum() for g in joint if g is not None)
# # the same for alone; the dot product needs both
# dot = sum((g * h).sum() for g, h in zip(joint, alone) if ____)
# ```

# %%
notes = torch.tensor([task.notes for task in watched])  # (seeds, times, 4)
fig, axes = plots.figure(1, 2, width=8.2, height=2.7, sharex=True)
steps = 4 * torch.arange(notes.shape[1])
for k, (name, color) in enumerate((("image", plots.IMAGE), ("text", plots.TEXT))):
    for ax, column in zip(axes, (2 * k + 1, 2 * k)):
        mean, spread = notes[..., column].mean(0), notes[..., column].std(0)
        ax.plot(steps, mean, color=color, label=f"{name} branch")
        ax.fill_between(steps, mean - spread, mean + spread, color=color, alpha=0.2,
                        lw=0)
axes[0].set(title="Length: joint over alone", xlabel="step", ylabel="ratio")
axes[0].set_ylim(bottom=0)
axes[1].set(title="Direction", xlabel="step", ylabel="cosine")
axes[1].axhline(0, color="black", lw=1)
axes[1].legend(loc="lower left")
plots.show(fig, "Left, the joint gradient's length over that of the branch's own loss: "
                "for the text branch it falls quickly to a small fraction. Right, the "
                "cosines begin above 0.8, fall, and wander with a wide band.")
early = notes[:, :3].mean((0, 1))
print(f"text branch, steps 0 to 8: length {early[3]:.2f}, cosine {early[2]:.2f}")
claim("from step 20 on the text branch gets less than a third of its food, every seed",
      (notes[:, 5:, 3].mean(1) < 0.33).all())
wandering = notes[:, 5:].mean((0, 1))
print(f"steps 20 to 40, mean: text branch length {wandering[3]:.1f}, image branch "
      f"{wandering[1]:.1f}")
claim("its cosine over steps 20 to 40 is above 0.2, in the mean",
      wandering[2] > 0.2)

# %% [markdown]
# Within twenty steps the text branch is left with a small part of what its own loss would give it. At first the directions nearly agree. Later they wander from step to step and from seed to seed, those of the image branch too; in the mean those of the text branch still point the same way, more or less. **Starved, rather than opposed**: methods that project conflicting gradients onto each other have little to mend here.
#
# ## 8. Break it: is the gain the brake's?
#
# Section 6 measured the brake under AdamW, which divides a constant factor out. Unfair: it was published with SGD and momentum. So here it is under SGD with momentum, at two rates, the same 20 epochs for all, 1,000 tickets a seed (a log, made by `benchmarks/imbalance.py brake`).
#
# **Predict before you run:** does the brake gain at both rates? And what is its gain beside own losses?

# %%
def log_of(part):
    return json.loads((ROOT / f"data/runs/imbalance_{part}.json").read_text("utf-8"))

brakes = {name: torch.tensor([seed["sum"] for seed in runs], dtype=torch.float64)
          for name, runs in log_of("brake")["found"].items()}
header("SGD, momentum .9")
for name, rows in brakes.items():
    line(name, rows)
against = {"the brake at rate 0.05": ("rate 0.05, α = 1.0", "rate 0.05, α = 0.0"),
           "the brake at rate 0.3": ("rate 0.3, α = 1.0", "rate 0.3, α = 0.0"),
           "own losses at rate 0.05": ("rate 0.05, own losses", "rate 0.05, α = 0.0")}
intervals = {}
for name, (one, other) in against.items():
    difference = (brakes[one] - brakes[other])[:, 0]
    error = 2.8 * difference.std() / len(difference) ** 0.5
    print(f"{name:24s} gains {difference.mean():+.4f}, interval "
          f"{difference.mean() - error:+.4f} to {difference.mean() + error:+.4f}, "
          f"above 0 in {(difference > 0).double().mean():.2f} of seeds")
    intervals[name] = difference.mean() - error, difference.mean() + error
settled = {name: bool(low > 0) for name, (low, high) in intervals.items()}
print("the 95 % interval lies above 0:", settled["own losses at rate 0.05"],
      "for own losses,", any(list(settled.values())[:2]), "for the brake")
own_gain, brake_gain = ((brakes[name] - brakes["rate 0.05, α = 0.0"])[:, 0]
                        for name in ("rate 0.05, own losses", "rate 0.05, α = 1.0"))
print(f"at rate .05 own losses gain {own_gain.mean() / brake_gain.mean():.2f} times as "
      f"much in the mean, and more in {int((own_gain > brake_gain).sum())} of "
      f"{len(own_gain)} seeds")
assert list(settled.values()) == [False, False, True]

# %% [markdown]
# Under its own optimiser the brake is no dead weight: in the mean it gains something at both rates. But five seeds do not settle that it gains at all, and own losses, one line of code, gain something in every seed and, in the mean, more than twice as much as the brake at the same rate. (In one seed of the five the brake gains more. And own losses were run at one rate only.) **The trap is not the method; it is the comparison:** one rate, one seed, a baseline that nobody cared for, and the cheaper rival left out. (A factor that slows the fast branch can only buy time for the slow one. Own losses give it food.)
#
# ## 9. One network for both?
#
# One of the articles that founded this course says that the two branches profit from *sharing parameters*. It can be tested: the two branches have a middle layer of the same shape (hidden, hidden). Let both use one such layer, with the same start. Two controls: two layers of their own, and two of *half* the width, so that a gain from having fewer weights is not mistaken for a gain from sharing. (Log: `benchmarks/imbalance.py share`.) Beside the accuracy it notes what the two modalities ask of the shared weight: the cosine of their two gradients on it.

# %%
share = log_of("share")
shared = {name: torch.tensor([seed["sum"] for seed in runs], dtype=torch.float64)
          for name, runs in share["found"].items()}
header()
for name, rows in shared.items():
    line(name, rows)
key = next(name for name in share if name.startswith("mean cosine"))
cosines = torch.tensor(share[key])
print(f"cosine of the two gradients on the shared weight: {cosines.mean():.3f} "
      f"± {cosines.std():.3f}")
for size in ("200", "1000"):
    kinds = [name for name in shared if name.startswith(size)]
    own = next(name for name in kinds if "two layers" in name)
    for name in kinds:
        if name != own:
            difference = (shared[name] - shared[own])[:, 0]
            error = 2.8 * difference.std() / len(difference) ** 0.5
            print(f"{name}: {difference.mean():+.4f} against two layers, 95 % interval "
                  f"{difference.mean() - error:+.4f} to "
                  f"{difference.mean() + error:+.4f}")
            assert difference.mean().abs() < error
assert cosines.abs().max() < 0.1
same = []
for seed, model in zip(SEEDS, models["joint"]):
    batches = [follow(of("train", seed)[0][k:k + 200], model) for k in (0, 200)]
    losses = [balance.joint_and_single(*model(rows).values(), rows.labels, TEXT)
              for rows in batches]
    weight_of_text = [model.branches()["text"][3].weight]
    same.append(float(balance.gradient_cosine(*losses, weight_of_text)[0]))
print(f"chance: the cosine of two random directions has a spread of {64**-1.0:.3f}")
claim("a control, two batches of messages on one text branch: above 0.5, every seed",
      min(same) > 0.5)

# %% [markdown]
# No interval leaves 0, neither for sharing nor for the smaller model, with few tickets or many: sharing a layer bought or cost no more than a point here, if anything. The cosine fits. Two batches of messages ask nearly the same of the weight; a photo and a message ask for two things as unrelated as random directions. They hardly could agree: the layers *before* the shared one are different networks, so that its input 7 means one thing for the photo and another for the message. Two jobs that happen to be kept in one matrix. (A layer is worth sharing where both inputs are the same *kind* of thing: tokens of two modalities in one transformer with enough data, or two photos in lesson 10.)
#
# ## 10. A search, its budget and its noise
#
# Rate, two weights, epochs: four numbers to choose. `optuna` draws settings, trains, looks at the validation accuracy and draws again, near what was good (its default sampler, TPE, models where good settings lie). The loop is six lines; a study of six short runs over two of the four:

# %%
try:
    import optuna
except ImportError:  # Colab does not have it: %pip install optuna
    optuna = None
    print("optuna is not here, so this cell is left out: pip install optuna")

def objective(trial):
    weight = trial.suggest_float("weight", 0, 3)
    rate = trial.suggest_float("rate", 1e-4, 3e-2, log=True)
    model = fresh(0)
    fit(model, of("train", 0)[0], task=Branched((1, weight, weight)), epochs=4,
        batch_size=100, learning_rate=rate, progress=False)
    rows = others(0)[0][:800]
    answers = sum(predict(model, rows).values()).argmax(1)
    return float((answers == rows.labels).double().mean())

if optuna:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=6)
    print(f"{len(study.trials)} runs, each one setting of {list(study.best_params)}")

# %% [markdown]
# **How good is the winner?** Its validation accuracy is the largest of many numbers, each with noise, so it is too high even if all settings were equal: of $n$ draws from a normal distribution with spread $\sigma$, the largest lies about $\sigma\sqrt{2\ln n}$ above the mean (the exact mean is smaller; for $n = 16$ it is about $1.8\,\sigma$). The log holds a search with a budget of 16 runs by TPE (of which the first ten are drawn by pure chance), and then what one must do afterwards: the winner trained again, with eight new draws of tickets, beside two settings by hand, of which sections 1 and 6 had made some use.

# %%
found = log_of("search")["found"]
fresh_of = {name: torch.tensor(one["fresh tickets"]) for name, one in found.items()}
promised = max(found["TPE"]["values"])
print("                       promised   on fresh tickets   spread")
for name in ("TPE", "joint, by hand", "own losses, by hand"):
    first = f"{promised:.3f}" if name == "TPE" else "     "
    print(f"{name:22s} {first}      {fresh_of[name].mean():.3f}              "
          f"{fresh_of[name].std():.3f}")
best = found["TPE"]["best"]
print(f"the winner: rate {best['rate']:.4f}, weights {best['image']:.2f} and "
      f"{best['text']:.2f}, {best['epochs']} epochs; by hand: rate 0.004, "
      f"1 and 1, 8 epochs")
draws = torch.randn(20000, 16, generator=torch.Generator().manual_seed(0))
print(f"largest of 16 draws from N(0, 1), mean: {draws.max(1).values.mean():.2f}")
winner, hand = fresh_of["TPE"], fresh_of["own losses, by hand"]
print(f"the search promised {promised - winner.mean():.4f} too much")
print(f"own losses by hand are above the winner in "
      f"{(hand > winner).double().mean():.3f} of the fresh draws")
assert promised > winner.max() and hand.mean() > winner.mean()

fig, ax = plots.figure(width=6.6, height=2.8)
values = torch.tensor(found["TPE"]["values"])
ax.plot(range(1, 17), values, "o", ms=4, color=plots.GREY, label="a run of the search")
ax.plot(range(1, 17), values.cummax(0).values, color=plots.GREY, label="best so far")
ax.axhline(promised, color="black", lw=1, ls=":", label="promised")
for k, (name, color) in enumerate((("TPE", plots.TEXT),
                                   ("own losses, by hand", plots.BOTH))):
    ax.plot([19 + 3 * k] * len(hand), fresh_of[name], "o", ms=4, color=color)
ax.set(title="A search, and its winner on fresh tickets", ylim=(0.97, 1.0),
       xlabel="run of the search", ylabel="accuracy",
       xticks=[1, 4, 8, 12, 16, 19, 22],
       xticklabels=["1", "4", "8", "12", "16", "winner", "by\nhand"])
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(fig, "Validation accuracies of 16 runs, the best so far as a line up to the "
                "promised .997, and at the right eight fresh draws each of the winner, "
                "all below that line, and of own losses by hand. Runs below .97 are "
                "cut.")
print(f"runs below .97, not drawn: {int((values < 0.97).sum())}")

# %% [markdown]
# The number that the search promised is reached by *none* of the eight fresh draws. And what sixteen runs found on one draw of tickets is worse than $\lambda = 1$ and rate .004, which section 6 had tried before. (It was tried on other tickets of this world, so it is no stranger to them. And the winner has half the rate and one epoch less: it need not be the weights that made the difference.) Nothing is wrong with optuna: the good settings differ by less than the noise of a validation set of 300 rows, and then *any* search picks luck.
#
# So, in this order: measure the noise of one setting before you search; give the search a budget that its differences deserve, and several draws per setting where they are small; train the winner again, on tickets that the search has not seen, beside the setting you had. And **search for the baseline as long as for the proposal**, or the search is the finding.
#
# ## 11. Stretch: the law for any depth

# %% [exercise] 09.5
# **On paper first.** A branch of $L$ layers, each with the same gain $u$, contributes $z_k = s_k u_k^L$, and each layer's gain follows its own gradient flow. (a) Show that $\dot u_k = s_k u_k^{L-1} r$, and find a function $\phi_L$ such that $\phi_L(u_k)$ grows at the rate $s_k\,r$. (b) Eliminate $r$ between the branches. (c) Let the strong branch grow without end. Where does the weak one end, for $L = 2$ and for $L = 3$? What does that say about deep branches?
#
# **Then build it.** Your function receives `gain`, float64 `(n,)`: the gain $u_t > u_0$ of the stronger branch at $n$ times; `start`, the float $u_0 > 0$ of both branches; `ratio`, the float $s_i/s_t$; and `depth`, the int $L \ge 1$. It returns the gains $u_i$ of the weaker branch at these times, `(n,)`.

# %% [stub]
def starved(gain, start, ratio, depth):
    """The weaker branch's gain when the stronger one has reached ``gain``.

    gain : float64 (n,)   start, ratio : float   depth : int   returns : (n,)
    """
    raise NotImplementedError

# %% [solution]
def starved(gain, start, ratio, depth):
    if depth == 2:
        return start * (gain / start) ** ratio
    power = 2 - depth
    grown = gain**power - start**power         # of the stronger branch
    return (start**power + ratio * grown) ** (1 / power)

# %% [hints]
# $\frac{d}{d\tau}$ of which power of $u$ has no $u$ left in it, when $\dot u = s\,u^{L-1} r$? For one $L$ it is not a power.
# ---
# $\phi_2(u) = \ln u$, otherwise $\phi_L(u) = u^{2-L}/(2-L)$. Then $\phi_L(u_i) - \phi_L(u_0) = \frac{s_i}{s_t}\,[\phi_L(u_t) - \phi_L(u_0)]$; the factor $1/(2-L)$ cancels.
# ---
# ```python
# power = 2 - depth                # not for depth 2: that is the law of section 3
# level = start**power + ratio * (____)
# return level ** (1 / power)
# ```

# %% [answer]
# (a) $\partial z_k/\partial(\text{one layer's gain}) = s_k u_k^{L-1}$, times the residual $r$. With $\phi_L' (u) = u^{1-L}$, $\frac{d}{d\tau}\phi_L(u_k) = u_k^{1-L}\dot u_k = s_k r$. So $\phi_1 = u$, $\phi_2 = \ln u$, and $\phi_L = u^{2-L}/(2-L)$ for $L \ge 3$ (which covers $L = 1$ as well).
#
# (b) Both grow with the same $r$: $\phi_L(u_i) - \phi_L(u_0) = \rho\,[\phi_L(u_t) - \phi_L(u_0)]$, $\rho = s_i/s_t$.
#
# (c) $L = 2$: $u_i = u_0^{1-\rho}u_t^{\rho}$ grows without end, only ever more slowly. $L = 3$: $1/u_i = 1/u_0 - \rho\,(1/u_0 - 1/u_t) \to (1-\rho)/u_0$, so $u_i \to u_0/(1-\rho)$: **it stops.** With $\rho = \tfrac12$ it ends at twice its start, however long you train. From three layers on, a small start is not caught up on rows that the other branch explains; only rows of its own, or a loss of its own, free it.

# %% [markdown]
# ## 12. Recap
#
# You can now
# - derive that $p - y$ is all that passes between two added branches, and solve the smallest case;
# - say how depth turns a smaller strength into starvation where rows are alike, and why it does not end on the desk;
# - find a starved branch by its control and by a probe that has a control of its own;
# - add own losses, explain the best weight, and say why Adam may ignore it;
# - compare remedies at equal effort, paired, beside the cheaper rival;
# - tell starved from opposed; re-measure the winner of a search.
#
# `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? In your joint model the text branch's own accuracy is far below text-only's. The cosine between joint and own gradient is .5 in the mean, the lengths' ratio .2. What is going on?
# - The modalities contradict each other :: Then the cosine would be below 0: the directions agree more than not.
# + The text branch is starved: the direction is roughly right, and little of it arrives :: The other branch has shrunk the shared residual on the tickets that both can answer.
# - The text encoder is too small :: The same branch reads better when it is trained alone.
# ? You sweep the weights of two *separate* losses under AdamW, and every weight gives the same accuracy. What have you learned about the modalities?
# - That they are equally strong :: The curve would be flat for any strengths.
# - That the best weight is ½ :: A flat curve has no best point.
# + Nothing: AdamW divides a constant factor out :: Change the optimiser, or put the weight where it mixes two residuals of one branch.
# ? A linear probe on a branch of your joint model reaches .95. Is the branch well trained?
# + Not shown: the untrained branch, and the same branch trained alone, have to stand beside it :: Section 4: much can be read from states that nobody has trained.
# - Yes, .95 is high :: High compared with what?
# - No, a probe can never show that :: Beside its two controls it can.
# ? A paper reports +3 points by braking the faster modality, with one seed, against the plain joint model. Which run do you ask for first?
# - The brake with a second α :: That tunes the proposal further, and the baseline not at all.
# - A larger data set :: Later; the comparison itself is not fair yet.
# + Both again with several seeds, and own losses beside them :: Section 8: there the brake's interval holds 0, and the cheaper rival gains more than twice as much in the mean.

# %% [markdown]
# **Glossary**: *branch*, the part of a model that one modality passes alone · *residual*, $p - y$ · *joint optimisation*, one loss on the answer of all branches · *starved*, trained with a residual that another branch has shrunk · *control*, the same branch trained alone · *linear probe*, a linear model on frozen states · *auxiliary loss*, a branch's own loss beside the joint one · *modality dropout*, training rows on which a modality is silenced · *modulation*, a factor on a branch's gradients · *gradient flow*, descent with tiny steps · *winner's curse*, the best of many noisy results looks better than it is.
#
# **References**
# - W. Wang, D. Tran, M. Feiszli, *What makes training multi-modal classification networks hard?*, CVPR 2020: joint models below their best single modality, and weights for own losses.
# - N. Wu, S. Jastrzębski, K. Cho, K. Geras, *Characterizing and overcoming the greedy nature of learning in multi-modal deep neural networks*, ICML 2022: speed decides who learns.
# - X. Peng, Y. Wei, A. Deng, D. Wang, D. Hu, *Balanced multimodal learning via on-the-fly gradient modulation*, CVPR 2022: the brake of exercise 09.3.
# - Y. Huang, J. Lin, C. Zhou, H. Yang, L. Huang, *Modality competition: what makes joint training of multi-modal network fail in deep learning? (provably)*, ICML 2022: why a branch of a joint network may never learn its features.
# - A. M. Saxe, J. L. McClelland, S. Ganguli, *Exact solutions to the nonlinear dynamics of learning in deep linear neural networks*, ICLR 2014: gradient flow of products of layers, as in section 3.
# - T. Akiba, S. Sano, T. Yanase, T. Ohta, M. Koyama, *Optuna: a next-generation hyperparameter optimization framework*, KDD 2019: the library of section 10.

# %% [progress]
