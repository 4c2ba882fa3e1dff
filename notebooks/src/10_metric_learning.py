# %% [markdown]
# # 10 Metric learning: Siamese and triplet
#
# **The one thing to take away:** only violated triples move anything, so divide by those alone. And before you credit a way of choosing them, look at what all vectors have in common.
#
# You will be able to
# - say when two inputs may share a network, and why a photo and a sentence begin as strangers;
# - count recall@k where rows tie and where rows repeat;
# - derive the contrastive and the triplet loss with their gradients, and write both so that nothing becomes nan;
# - choose triples (all, violated, semi-hard, hardest), recognise a collapse, and close the way to it;
# - count false negatives, and draw batches in which every row has a mate.
#
# **Before this:** [02](02_joint_loss.ipynb) (a loss on pairs), [06](06_concatenation.ipynb) (frozen encoders, seeds with rows of their own).
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import random
import torch
from torch import nn
from torch.nn.functional import normalize
from tqdm.auto import tqdm
from cmlib import FusionModel, extract, fit, image_encoder, plots, predict, text_encoder
from cmlib.course.schematic import Schematic
from cmlib.data import Pairs
from cmlib.data.device import follow, settle
from cmlib.data.sampler import PK
from cmlib.evaluation import equal_rows, recall_at
from cmlib.losses.metric import contrastive_loss, distances, triplet_loss
from cmlib.tasks import Task
from cmlib.worlds import COLORS, KINDS, RefundDesk, Toys
from cmlib.worlds.words import SYNONYMS, article
cfg = cmlib.setup("10", full="the encoders of every section")

claim = cfg.claim

# %% [markdown]
# ## 1. Which photo belongs to this order?
#
# A toy shop gets orders in words, and its returns desk gets photos. Somebody has to bring them together. There are 8 kinds × 6 colours × 2 sizes = **96 toys**, so every photo and every order is about one of 96, and we know which: that is the *identity* of a row. Customers choose their words freely (*crimson*, *huge*, *duckling*), and no two photos are alike. (Some toys came back cracked. The order says nothing of that, and it does not change which toy it is.)
#
# A classifier with 96 outputs could learn this, until toy number 97 arrives. **Metric learning** wants something else of a network: vectors whose *distances* mean something. A new toy then needs no new output, only a place. So we shall hold some toys back: in each of five seeds, 12 of the 48 combinations of kind and colour appear in no training row.

# %%
SEEDS, DRAWN, PER, TEST = range(5), 1270, 896, 300
TOYS = [(size, color, kind) for kind in KINDS for color in COLORS
        for size in ("small", "large")]

def order_of(toy, choose):
    words = [choose(SYNONYMS[name]) for name in TOYS[toy]]
    return f"i ordered {article(words[0])} {' '.join(words)} ."

def shop(n, split):
    """n photos of one toy each, an order for it in words; the label is the toy."""
    photos = RefundDesk(probabilities=(0, 1, 0, 0)).sample(n, split=split)
    kind, color, size = (photos.extras[name] for name in ("kind", "color", "size"))
    toys = (kind * 6 + color) * 2 + size   # the number of each row's toy in TOYS
    choose = random.Random(split).choice
    texts = [order_of(toy, choose) for toy in toys.tolist()]
    return Pairs(photos.images, texts, toys, [" ".join(toy) for toy in TOYS])

train_pairs = shop(len(SEEDS) * DRAWN, "train")
test_pairs = shop(len(SEEDS) * TEST, "test")
shown = plots.pictures(test_pairs.images[:4], test_pairs.texts[:4], 4, size=1.5)
plots.show(shown, "Two red stars, one of them cracked, a purple and a blue duck, the "
                  "latter cracked; above each its order, in a customer's own words.")
encoders = FusionModel(image_encoder(cfg.image_encoder),
                       text_encoder(cfg.text_encoder), n_classes=2)
pool, test = extract(encoders, train_pairs), extract(encoders, test_pairs)
print(f"photos {tuple(pool.image.shape)}, orders {tuple(pool.text.shape)}, "
      f"toys {len(pool.labels.unique())}")

# %% [markdown]
# Both encoders stay frozen; what learns is a small **tower** on each: LayerNorm, a layer of 128 units, and a vector of 64 numbers that is brought to length 1. On vectors of length 1, near and similar are the same: $\lVert u - v\rVert^2 = 2 - 2\,u^\top v$.
#
# A network whose *two inputs pass the same weights* is called **Siamese**. It has a gift that no training gave it: equal inputs come out equal, and similar ones, by continuity, similar.

# %% tags=["hide-input"]
sketch = Schematic(8.0, 2.2)
IMAGE, TEXT = plots.IMAGE, plots.TEXT
for x, title, colors in ((0.0, "Siamese: photo against photo", (IMAGE, IMAGE)),
                         (4.3, "two towers: order against photo", (TEXT, IMAGE))):
    for y, color in zip((1.5, 0.4), colors):
        things = "photo\n(B, n)", "order\n(B, m)"
        source = sketch.box(things[color == TEXT], (x + 0.6, y), (0.9, 0.5), color)
        name = ("tower f", "tower g")[color == TEXT]
        tower = sketch.box(name, (x + 1.9, y), (0.95, 0.5), color)
        end = sketch.box("(B, 64)", (x + 3.05, y), (0.8, 0.42), color, filled=False)
        sketch.arrow(source, tower)
        sketch.arrow(tower, end)
        sketch.arrow(end, (x + 3.05, 1.07 if y > 1 else 0.83))
    if colors[0] == IMAGE:
        sketch.text("the same\nweights", (x + 1.9, 0.95), fontsize=8)
    sketch.text("distances (B, B)", (x + 3.05, 0.95), fontsize=8)
    sketch.text(title, (x + 1.9, 2.02), fontsize=9)
sketch.show("Left, a Siamese network: two photos pass one and the same tower f, and "
            "their vectors are compared. Right, two towers: an order passes g, a photo "
            "passes f, and the two share no weights.")

# %% [markdown]
# Now some searches, with towers that **nobody has trained**: a photo looks for another photo of the same toy; an order for another order; an order for a photo. Two controls stand beside them: photo and photo *without* a tower, and photo and photo through two *different* towers, each as good as the other. Found means: the nearest row shows the same toy. Whoever guesses is right about once in 96.
#
# **Predict before you run.** What does each of the five reach?

# %%
class Towers(nn.Module):
    """Features → {"image": (batch, 64), "text": (batch, 64)}, rows of length 1."""

    def __init__(self, last=nn.Identity, share=False):
        super().__init__()
        widths = pool.image.shape[1], pool.text.shape[1]
        self.image, self.text = (nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 128), nn.GELU(), nn.Linear(128, 64),
            last()) for width in widths)
        if share:
            self.text[3] = self.image[3]   # one last layer for both
        settle(self)

    def forward(self, features):
        features = follow(features, self)
        return {"image": normalize(self.image(features.image), dim=1),
                "text": normalize(self.text(features.text), dim=1)}

def of(seed, rows, size=TEST):
    return rows[seed * size:(seed + 1) * size]

def untrained(seed):
    torch.manual_seed(seed)
    rows = of(seed, test)
    found = predict(Towers(), rows)
    photos, orders = found["image"], found["text"]
    other = predict(Towers(), rows)["image"]   # a second tower, drawn anew
    raw = normalize(rows.image.float(), dim=1)
    same, own = equal_rows(rows.labels), torch.eye(TEST, dtype=torch.bool)
    scores = []
    for queries, gallery in ((raw, raw), (photos, photos), (orders, orders),
                             (photos, other), (orders, photos)):
        similarity, relevant = queries @ gallery.T, same
        if gallery is not photos or queries is photos:   # a row must not find itself
            similarity, relevant = similarity.masked_fill(own, -2), same & ~own
        mated = relevant.any(1)
        scores.append(recall_at(similarity[mated], 1, relevant[mated]))
    return torch.tensor(scores)

strangers = torch.stack([untrained(seed) for seed in SEEDS])    # (seeds, 5)
names = ("photo → photo, no tower", "photo → photo, one tower",
         "order → order, one tower", "photo → photo, two towers",
         "order → photo, two towers")
for name, scores in zip(names, strangers.T):
    print(f"{name:26s} {scores.mean():.3f} ± {scores.std():.3f}")
print(f"guessing                   {1 / 96:.3f}")
claim("photo → photo, none or one tower: above 0.7 in every seed",
      strangers[:, :2].min() > 0.7)
claim("two towers: below 0.06 in every seed", strangers[:, 3:].max() < 0.06)

# %% [markdown]
# **That is why weights are shared where they can be.** A tower that nobody trained adds nothing: without it the photos find each other as well. What sharing gives is that it *destroys* nothing. The encoder puts similar photos near each other, and any one tower keeps them there; two different ones, and the very same photos are at guessing. (Orders find each other less often: the same toy has many wordings.)
#
# **Across modalities there is nothing to share.** A photo is pixels, an order is words; the encoders differ, at full scale even the widths do (2,048 and 768). And where the widths agree by accident, nothing says that number 17 of one vector has to do with number 17 of the other. Both towers begin as strangers, as two towers for photos do, and *training alone* brings them together. Which training, is this lesson.
#
# ## 2. Counting what is found
#
# The score is **recall@k**: the share of queries that find a *relevant* row among the first $k$ of the gallery. Two details decide what it is worth.
#
# **Duplicates.** A gallery of 300 photos holds about three of each toy. A model that looks for the one photo that happens to stand in the order's own row is told that it is wrong when it finds another photo of the same toy. Relevant is every row with the same identity.
#
# **Ties.** Let a broken model give every pair the same score. Is the relevant row the first? If "first" means *no row is better*, always. If it means *better than all others*, never. Both are quickly written. The truth is that a tie is broken at random, so count in expectation:
#
# **Step 1.** Take the best score of a relevant row. Let `above` rows be strictly better, `tied` rows equal to it (itself included), and let `mates` of the tied ones be relevant.
#
# **Step 2.** Of the $k$ places, `left` = $k -$ `above` remain for those that tie: at least 0, at most `tied`.
#
# **Step 3.** The query misses if all of these places go to the `tied` − `mates` others:
#
# $$P(\text{miss}) = \binom{\text{tied}-\text{mates}}{\text{left}} \Big/ \binom{\text{tied}}{\text{left}}, \qquad \text{with } \tbinom{n}{k} = 0 \text{ for } k > n.$$
#
# **Example.** Scores $(.9, .5, .5, .5)$; the rows 1 and 2 (both .5) are relevant; $k = 2$. One row is above, three tie, two of them relevant, one place is left: $P(\text{miss}) = \binom11/\binom31 = \tfrac13$, so the query counts $\tfrac23$.

# %% [exercise] 10.1
# Write recall@k. Your function receives `similarity`, float64 `(queries, gallery)`, larger is nearer; `relevant`, bool `(queries, gallery)`, with a relevant row for every query; and the whole number `k`, at most the size of the gallery. It returns the mean over the queries of the probability that a relevant row is among the first `k`, a float64 scalar tensor.

# %% [stub]
def recall_with_ties(similarity, relevant, k):
    """Recall@k, ties in expectation, any relevant row counts.

    similarity : float64 (queries, gallery)   relevant : bool (queries, gallery)
    returns : float64 scalar tensor
    """
    raise NotImplementedError

# %% [solution]
from math import comb

def recall_with_ties(similarity, relevant, k):
    chances = []
    for scores, wanted in zip(similarity, relevant):
        best = scores[wanted].max()
        above = int((scores > best).sum())
        tied = int((scores == best).sum())
        mates = int(((scores == best) & wanted).sum())
        left = min(max(k - above, 0), tied)
        chances.append(1 - comb(tied - mates, left) / comb(tied, left))
    return torch.tensor(chances, dtype=torch.float64).mean()

# %% [hints]
# One query at a time: which of its relevant rows has the best chance, and against whom does it stand?
# ---
# `scores[wanted].max()` is the score to compare with. Count `above`, `tied` and `mates` with sums of comparisons; then steps 2 and 3. `math.comb(n, k)` is 0 for $k > n$.
# ---
# ```python
# best = scores[wanted].max()
# above, tied = int((scores > best).sum()), int((scores == best).sum())
# mates = ____                                # those that tie and are relevant
# left = min(max(k - above, 0), tied)         # then comb, twice
# ```

# %%
constant = torch.zeros(TEST, TEST)
same = equal_rows(of(0, test).labels)
beaten = (constant > constant.diagonal()[:, None]).any(1)
matched = (constant >= constant.diagonal()[:, None]).sum(1) > 1
naive = {"no row is better": (~beaten).double().mean(),
         "better than all others": (~matched).double().mean(),
         "ties at random": recall_at(constant)}
for name, value in naive.items():
    print(f"one score for all, own row only, {name:22s}: {value:.4f}")
naive_guess = recall_at(constant, relevant=same)
print(f"one score for all, ties at random, any photo of the toy: {naive_guess:.4f}")
perfect = same.double()
print(f"a perfect model: own row only {recall_at(perfect):.3f}, "
      f"any photo of the toy {recall_at(perfect, relevant=same):.3f}")
assert naive["no row is better"] == 1 and naive["better than all others"] == 0
assert recall_at(perfect, relevant=same) == 1 and recall_at(perfect) < 0.4

# %% [markdown]
# The same broken model scores 1, 0 or one in 300, by a single sign. And a perfect model stays far below 1 if duplicates count as wrong: that is a ceiling which no training can pass. From here on, relevant means *the same toy*, in both directions, and ties are random. The library's `recall_at` is this count without a loop, and refuses an empty gallery, nan, or a query with nothing to find.
#
# ## 3. Two losses on distances
#
# Write $d_{ij}$ for the distance of photo $i$ and order $j$ in a batch of $B$ rows: a table of shape $(B, B)$ whose diagonal holds the pairs that belong together.
#
# **Step 1. The contrastive loss** (Hadsell and others 2006) makes *absolute* demands: together means 0, apart means at least a margin $m$,
#
# $$\mathcal L = \operatorname{mean}_{\text{same}} d^2 + \operatorname{mean}_{\text{other}} (m - d)_+^2, \qquad (x)_+ = \max(x, 0).$$
#
# (The paper adds over pairs. Two means, one of each kind, are our choice; section 10 says what hangs on it.)
#
# **Step 2. The triplet loss** (Schroff and others 2015) makes a *relative* one. For an anchor $a$, a positive $p$ and a negative $n$, all vectors of one length,
#
# $$\ell(a, p, n) = \big(\lVert a - p\rVert^2 - \lVert a - n\rVert^2 + m\big)_+ .$$
#
# It says nothing about how near *near* is: only that the negative must be further away, by $m$.
#
# **Step 3. Its gradient.** Where the bracket is negative, $\ell$ is constant and the gradient is **exactly 0**. Elsewhere $\lVert a\rVert^2$ cancels, and
#
# $$\nabla_a \ell = 2(a - p) - 2(a - n) = 2(n - p), \qquad \nabla_p \ell = 2(p - a), \qquad \nabla_n \ell = 2(a - n).$$
#
# A step downhill moves the anchor along $p - n$, away from the negative and towards the positive. The loss itself does not appear in it: a triple is switched on, or it is off. (Where vectors are brought to length 1, the part of the push along the sphere is what arrives.)
#
# **Example.** $a = (0, 0)$, $p = (1, 0)$, $n = (0, 1.1)$, $m = .5$: $\ell = 1 - 1.21 + .5 = .29$, and $\nabla_a\ell = 2(n-p) = (-2,\ 2.2)$. With $n = (0, 1.3)$ the bracket is $1 - 1.69 + .5 = -.19$: nothing moves.

# %%
a, p = torch.zeros(2, requires_grad=True), torch.tensor([1.0, 0.0])
for n in (torch.tensor([0.0, 1.1]), torch.tensor([0.0, 1.3])):
    loss = ((a - p).square().sum() - (a - n).square().sum() + 0.5).clamp(min=0)
    (slope,) = torch.autograd.grad(loss, a)
    print(f"n = ({n[0]:.1f}, {n[1]:.1f}): loss {loss:.2f}, gradient at the anchor "
          f"({slope[0] + 0.0:.1f}, {slope[1] + 0.0:.1f})")
    assert torch.allclose(slope, 2 * (n - p) * (loss > 0))

# %% [markdown]
# Both losses need the table of distances, and there a classic trap waits. $d = \sqrt{d^2}$ has slope $1/(2d)$: at two *equal* rows the root's slope is infinite, the chain rule multiplies it by 0, and $\infty\cdot 0$ is nan. One duplicate in a batch, and every weight of the model is nan after the step. Adding a small number under the root avoids nan and changes every distance; `clamp(min=1e-12)` says that equal rows lie 1e-6 apart. Both are avoidable. A second trap is arithmetic: $\lVert a\rVert^2 + \lVert b\rVert^2 - 2\,a^\top b$ is the same square and one fast product of matrices, but for equal rows its large parts do not cancel exactly. Subtract first.

# %% [exercise] 10.2
# Write the table of Euclidean distances. Your function receives `a`, `(n, size)`, and `b`, `(m, size)`, and returns `(n, m)`: entry `[i, j]` is $\lVert a_i - b_j\rVert$, exactly 0 for equal rows. Its gradient at equal rows is 0, and finite everywhere.

# %% [stub]
def pair_distances(a, b):
    """Euclidean distance of every row of a to every row of b.

    a : (n, size)   b : (m, size)   returns : (n, m)
    """
    raise NotImplementedError

# %% [solution]
def pair_distances(a, b):
    square = (a[:, None] - b[None]).square().sum(dim=2)     # (n, m)
    apart = square > 0
    safe = torch.where(apart, square, torch.ones_like(square))
    return torch.where(apart, safe.sqrt(), torch.zeros_like(square))

# %% [hints]
# First the squares, by broadcasting. Then the root, but only of numbers that are not 0.
# ---
# `torch.where(apart, x, y)` around the root is not enough: backwards, both branches are computed, and $0\cdot\infty$ is nan again. The root itself must never see a 0, so a `where` stands inside as well as outside.
# ---
# ```python
# square = (a[:, None] - b[None]).square().sum(dim=2)
# apart = square > 0
# safe = torch.where(apart, square, ____)     # what the root sees in the place of 0
# # then the root of safe where apart, else 0
# ```

# %%
twice = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
roots = {"the plain root": lambda x: (x[:, None] - twice).square().sum(2).sqrt(),
         "cmlib's distances": lambda x: distances(x, twice)}
for name, root in roots.items():
    x = twice.clone().requires_grad_()
    (slope,) = torch.autograd.grad(root(x).sum(), x)
    print(f"{name:18s} at equal rows: gradient finite: {bool(slope.isfinite().all())}")
assert slope.isfinite().all()
unit = normalize(pool.image[:128].float(), dim=1)
claim("cmlib multiplies out: of 128 photos each lies within 0.01 of itself, "
      "and not all at 0", 0 < distances(unit, unit).diagonal().max() < 0.01)

# %% [markdown]
# The triplet loss itself is quickly written once it is settled *which* triples count. Hermans and others (2017) keep one for each anchor: its furthest positive and its nearest negative, **batch-hard**. It needs labels, so that a row of the same identity is never taken for a negative.

# %% [exercise] 10.3
# Write the batch-hard loss. Your function receives `square`, `(n, n)`: the *squared* distance of anchor $i$ to row $j$; `labels`, int64 `(n,)`, the identities of the anchors and of the rows alike; and `margin`. A row with the anchor's label is a positive (the own pair on the diagonal among them), any other a negative; every anchor has one at least. It returns the mean over the anchors, a scalar.

# %% [stub]
def batch_hard(square, labels, margin):
    """Mean over anchors of (furthest positive - nearest negative + margin)+.

    square : (n, n), [anchor, row]   labels : int64 (n,)   returns : scalar
    """
    raise NotImplementedError

# %% [solution]
def batch_hard(square, labels, margin):
    same = labels[:, None] == labels
    furthest = square.masked_fill(~same, -torch.inf).amax(1)
    nearest = square.masked_fill(same, torch.inf).amin(1)
    return (furthest - nearest + margin).clamp(min=0).mean()

# %% [hints]
# One mask says who is the same. The furthest of some and the nearest of the others: what do you fill in for those that must not be chosen?
# ---
# `square.masked_fill(~same, -inf).amax(1)` is the furthest positive; the other way round for the nearest negative. Clamp each anchor's loss at 0, then take the mean.
# ---
# ```python
# same = labels[:, None] == labels
# furthest = square.masked_fill(~same, -torch.inf).amax(1)
# nearest = ____
# # then the loss of each anchor, and the mean
# ```

# %% [markdown]
# ## 4. Try it by hand
#
# An anchor, a positive and a negative on the unit circle, as vectors of length 1 are. Move the positive, the negative and the margin. The shaded arc is where a negative is violated. Arrows show where a step downhill pushes each point ($-\nabla$, a fifth of its length). Find a position in which nothing moves, then bring the negative back to the edge of the arc: how does the push begin?

# %%
def triplet_by_hand(positive=40.0, negative=45.0, margin=0.2):
    angle = torch.tensor([0.0, positive, negative]) * torch.pi / 180
    points = torch.stack([angle.cos(), angle.sin()], 1)
    a, p, n = points
    near, far = (a - p).square().sum(), (a - n).square().sum()
    loss = (near - far + margin).clamp(min=0)
    pushes = torch.stack([p - n, a - p, n - a]) * 0.4 * (loss > 0)
    fig, ax = plots.figure(width=4.4, height=3.4)
    whole = torch.linspace(-torch.pi, torch.pi, 400)
    ax.plot(whole.cos(), whole.sin(), color="#BBBBBB", lw=1)
    inside = 2 - 2 * whole.cos() < near + margin
    ax.scatter(whole.cos()[inside], whole.sin()[inside], s=14, color="#F6DCCB")
    shades = plots.BOTH, plots.IMAGE, plots.TEXT
    for name, point, push, color in zip("apn", points, pushes, shades):
        ax.plot(*point, "o", ms=9, color=color)
        ax.text(*(1.16 * point), name, color=color, ha="center", va="center")
        if loss > 0:
            ax.annotate("", xy=point + push, xytext=point,
                        arrowprops={"arrowstyle": "->", "color": color, "lw": 1.6})
    ax.set(title=f"loss {loss:.2f}", xlim=(-1.4, 1.5), ylim=(-1.3, 1.3), aspect="equal",
           xlabel="first number", ylabel="second number")
    return fig

plots.explore(triplet_by_hand,
              "Anchor, positive and negative on a circle; while the negative lies in "
              "the shaded arc, arrows push all three.",
              positive=(0.0, 180.0, 5.0, 40.0), negative=(0.0, 180.0, 5.0, 45.0),
              margin=(0.0, 1.0, 0.1, 0.2))

# %%
fig, axes = plots.figure(1, 3, width=8.4, height=2.4, sharey=True)
near, margin = 2 - 2 * torch.tensor(40.0).deg2rad().cos(), 0.2
cases = {"hard: n nearer than p": 30.0, "semi-hard: just behind p": 45.0,
         "easy: beyond the margin": 60.0}
for ax, (title, degrees) in zip(axes, cases.items()):
    far = 2 - 2 * torch.tensor(degrees).deg2rad().cos()
    loss = (near - far + margin).clamp(min=0)
    ax.barh(0, near + margin, 0.5, color="#F6DCCB")
    ax.plot(near, 0, "o", color=plots.IMAGE, ms=10, label="positive")
    ax.plot(far, 0, "s", color=plots.TEXT, ms=9, label="negative")
    ax.set(title=title, xlim=(0, 1.2), ylim=(-0.6, 0.6), yticks=[],
           xlabel="squared distance to the anchor")
    print(f"{title:25s} d²(a, p) {near:.3f}  d²(a, n) {far:.3f}  loss {loss:.3f}")
axes[0].legend(loc="upper right")
plots.show(fig, "Three negatives on a ruler from the anchor: nearer than the positive, "
                "behind it but within the margin, and beyond the margin. The first two "
                "lie in the shaded range and cost something, the third costs nothing.")
assert loss == 0

# %% [markdown]
# ## 5. The denominator
#
# A batch of $B = 128$ pairs has 128 anchors of each kind, and up to 127 negatives for each: some 16,000 triples in each direction, from one table of distances. Use them all and take the mean. What could be wrong with that?
#
# Let $v$ be the share of triples that are violated. All others are exact zeros, so
#
# $$\underbrace{\tfrac1N\textstyle\sum \ell}_{\text{mean over all}} \;=\; v\cdot\underbrace{\tfrac1{vN}\textstyle\sum \ell}_{\text{mean over the violated}}, \qquad\text{and the gradients stand in the same ratio:}$$
#
# the same triples, **the same direction** (in each of the two searches), another denominator. At the start $v$ is large and the two agree. When most triples are fulfilled, the gradient of the mean over all is the other one times a small number: the many that are right talk down the few that are not. (AdamW would undo a *constant* factor. This one shrinks while the run goes on.)
#
# The task below is all that `fit` has to know. `masked` says whether a row with the anchor's own toy may count as its negative; section 7 needs that.
#
# **Predict before you run.** Same rows, same steps, same seeds. How far apart are the two in the end, and at which of the 12 epochs does the faster one stand where the slower one ends?

# %%
class Metric(Task):
    separable = False   # rows are compared with one another

    def __init__(self, mining, masked=True, margin=0.2):
        self.mining, self.masked, self.margin = mining, masked, margin

    def objective(self, outputs, batch):
        distance = distances(outputs["image"], outputs["text"])       # (B, B)
        own = torch.eye(len(distance), dtype=torch.bool, device=distance.device)
        other = ~(equal_rows(batch.labels) if self.masked else own)
        if self.mining == "contrastive":
            return contrastive_loss(distance, ~other, self.margin)
        both = distance.square(), distance.square().T   # photos as anchors, then orders
        losses = [triplet_loss(square, own, other, self.margin, self.mining)
                  for square in both]
        broken = (both[0].diagonal()[:, None] - both[0] + self.margin > 0)[other]
        return {"loss": sum(losses) / 2, "violated": broken.float().mean(),
                "spread": both[0].detach()[other].std()}

def is_new(toys, seed):
    """Whether kind and colour of a toy are among the 12 of 48 held back by a seed."""
    shuffle = torch.Generator().manual_seed(seed)
    return torch.isin(toys // 2, torch.randperm(48, generator=shuffle)[:12])

def train_rows(seed):
    rows = of(seed, pool, DRAWN)
    return rows[(~is_new(rows.labels, seed)).nonzero()[:PER, 0]]

def train(seed, task, epochs=12, model=None, **settings):
    torch.manual_seed(seed)
    model = Towers(**settings) if model is None else model
    history = fit(model, train_rows(seed), epochs=epochs, task=task, batch_size=128,
                  learning_rate=2e-3, seed=seed, progress=False)
    return model, history

def report(model, seed):
    """R@1 over both directions for known and for new toys: (2,)."""
    rows = of(seed, test)
    found = predict(model, rows)
    similarity = found["text"].double() @ found["image"].double().T
    same, new = equal_rows(rows.labels), is_new(rows.labels, seed)
    return torch.tensor([
        (recall_at(similarity[who], 1, same[who])
         + recall_at(similarity.T[who], 1, same[who])) / 2 for who in (~new, new)])

results, histories, models = {}, {}, {}   # way → (seeds, 2), and one for each seed

def compare(ways):
    """Train each way on each seed; ``ways`` : name → seed → (model, history)."""
    for name, run in ways.items():
        pairs = [run(seed) for seed in tqdm(SEEDS, desc=name)]
        models[name], histories[name] = zip(*pairs)
        results[name] = torch.stack([report(*one) for one in zip(models[name], SEEDS)])
        print(f"{name:28s} R@1 of known toys: {told(name)}")

def told(name):
    """Mean ± std over the seeds, or only where the mean lies if they differ widely."""
    wide = name in ("hardest", "hardest, centred once", "contrastive, margin 1")
    scores = results[name][:, 0]
    return within(scores, 0.2, 0.6) if wide else spread_of(scores)

def within(values, low, high):
    assert cfg.name == "full" or low < values.mean() < high
    return f"mean between {low} and {high}"

def spread_of(values):
    return f"{values.mean():.3f} ± {values.std():.3f}"

def last(name, value="loss", epoch=-1):
    """A value of an epoch's log, over the seeds: (seeds,)."""
    return torch.tensor([history[min(epoch, len(history) - 1)][value]
                         for history in histories[name]])

compare({"mean over all": lambda seed: train(seed, Metric("all")),
         "mean over the violated": lambda seed: train(seed, Metric("violated"))})
every, few = results.values()
first, final = (last("mean over all", "violated", epoch) for epoch in (0, -1))
claim("mean over all, first epoch: more than half of the triples are violated",
      first.min() > 0.5)
print(f"mean over all, last epoch: violated triples {spread_of(final)}")
reached = last("mean over the violated", "violated", epoch=8) < final
claim("mean over the violated: as few already after 9 of 12 epochs, in every seed",
      reached.all())
claim("in every seed the violated are ahead, known toys", (few > every)[:, 0].all())
claim("and by more than 0.1 in the mean on new toys", (few - every)[:, 1].mean() > 0.1)
claim("new toys: each way finds less of them than of the known, in the mean",
      all(rows[:, 1].mean() < rows[:, 0].mean() for rows in results.values()))
print("new toys, mean over all:", within(every[:, 1], 0.5, 0.75))
print("new toys, mean over the violated:", within(few[:, 1], 0.75, 0.95))

# %% [markdown]
# Nothing was added: no triple, no weight, no step. **Only violated triples move anything, so divide by those alone.** And the log says what kind of difference it is: both get rid of violated triples, and one of them does so in fewer steps. The mean over all is not wrong, it is slow, and it gets slower the better the model is.
#
# New toys are found as well, where a classifier has no output for them. They stay behind the known ones. (How far depends on which toys a seed held back, so only a range is printed.)
#
# ## 6. Which triples? The hardest, of course
#
# If only violated triples count, why not take the most violated one for each anchor: the hardest? Between that and all of them lies a third choice. Schroff and others call a negative **semi-hard** if it is further away than the positive, and violated all the same:
#
# $$d^2(a, p) < d^2(a, n) < d^2(a, p) + m .$$

# %% [exercise] 10.4
# Write the mask of the semi-hard negatives. Your function receives `square`, `(n, n)`: the squared distance of anchor $i$ to row $j$, the own partner on the diagonal; `labels`, int64 `(n,)`; and `margin`. It returns bool `(n, n)`: True where row $j$ shows another toy than anchor $i$ and is semi-hard for it, seen from its own partner.

# %% [stub]
def semi_hard(square, labels, margin):
    """Which rows are semi-hard negatives of which anchors.

    square : (n, n), [anchor, row]   labels : int64 (n,)   returns : bool (n, n)
    """
    raise NotImplementedError

# %% [solution]
def semi_hard(square, labels, margin):
    gap = square - square.diagonal()[:, None]        # (n, n): seen from the own partner
    return (gap > 0) & (gap < margin) & (labels[:, None] != labels)

# %% [hints]
# Three conditions, joined by "and". Which of them is about labels?
# ---
# The own distance of anchor $i$ is `square[i, i]`, as a column `(n, 1)`, so that it is compared along the row. Further than it, and nearer than it plus the margin.
# ---
# ```python
# own = square.diagonal()[:, None]
# other = labels[:, None] != labels
# return other & ____                 # two comparisons with own
# ```

# %% [markdown]
# The library's `triplet_loss(…, mining="semi-hard")` takes the nearest negative behind the positive, `mining="hardest"` is batch-hard. (`Metric` names the own pair as the only positive, so here "the furthest positive" is that one.) Now the same rows and steps again, from a cold start. The third way has a last layer without weights: `Centre` takes from each vector the mean over the batch, and at test time the mean that it remembers.
#
# **Predict before you run.** Three ways: semi-hard; hardest; hardest with `Centre` at the end of each tower. One of them ends at a loss of almost exactly the margin, .2. Which, and why there?

# %%
class Centre(nn.Module):
    """Takes the mean over the batch from vectors of 64 numbers, and nothing else."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(64))

    def forward(self, vectors):
        if not self.training:
            return vectors - self.mean
        mean = vectors.mean(0)
        self.mean.lerp_(mean.detach(), 0.1)
        return vectors - mean

compare({"semi-hard": lambda seed: train(seed, Metric("semi-hard")),
         "hardest": lambda seed: train(seed, Metric("hardest")),
         "hardest, centred": lambda seed: train(seed, Metric("hardest"), last=Centre)})
for epoch in (0, 3, 7, 11):
    print(f"hardest, epoch {epoch + 1:2d}: loss "
          f"{spread_of(last('hardest', epoch=epoch))}, spread of d² "
          f"{spread_of(last('hardest', 'spread', epoch))}")
claim("the loss ends within 0.02 of the margin in every seed",
      (last("hardest") - 0.2).abs().max() < 0.02)
claim("in every seed its recall is more than 0.3 below each other way's",
      all((results["hardest"][:, 0] < results[name][:, 0] - 0.3).all()
          for name in ("semi-hard", "hardest, centred")))

# %%
fig, axes = plots.figure(1, 2, width=8.0, height=2.6)
ways = {"hardest": plots.TEXT, "semi-hard": plots.IMAGE,
        "hardest, centred": plots.BOTH}
for name, color in ways.items():
    for history in histories[name]:
        axes[0].plot(history.batch_loss, color=color, lw=1,
                     label=name if history is histories[name][0] else None)
        spreads = [row["spread"] for row in history]
        axes[1].plot(range(1, len(spreads) + 1), spreads, color=color, lw=1)
axes[0].axhline(0.2, color="black", lw=1, ls="--", label="the margin")
axes[0].set(title="loss", xlabel="step", ylabel="loss of the batch")
axes[1].set(title="spread of the distances", xlabel="epoch", ylim=(0, None),
            ylabel="std of d² between toys")
fig.legend(*axes[0].get_legend_handles_labels(), ncols=4, loc="outside lower center")
plots.show(fig, "Left, the loss of five seeds a way: hardest falls to the margin and "
                "stays there, semi-hard and hardest with centred vectors go on towards "
                "zero. Right, the spread of the distances: for hardest it falls "
                "towards zero, for the others it rises.")

# %% [markdown]
# This is **collapse**, and its loss curve looks like success. Why does it happen, and why does it stop at the margin?
#
# **Step 1.** While every anchor is violated the clamp does nothing, and the hardest loss is
# $$\mathcal L = m + \operatorname{mean}_a\big[\,d^2(a, p) - \min_n d^2(a, n)\,\big].$$
#
# **Step 2.** At the start the own partner is a stranger like all others: its distance is a draw from the same heap. The bracket is *a draw minus the smallest of about 125 draws* (127, less the masked ones). On average that is positive, and proportional to the **spread** of the heap.
#
# **Step 3.** So there are two ways down: learn who belongs to whom, or *shrink the spread*. The second needs no learning: if all distances are equal, the bracket is 0, and the loss is **exactly $m$**. It is also the way on which all anchors agree: at the start the order tower puts out one long common vector plus short differences, so that a single order is the nearest for very many photos (the cell below counts).
#
# **Step 4.** In the mean over *all* triples the draws cancel: shrinking the heap gains little. Semi-hard negatives lie *behind* the positive, so their loss is below $m$ from the first step: to collapse they would have to climb. The violated lie between all and the hardest.
#
# Steps 2 and 3 blame two things, the search for the smallest and the **common vector**. `Centre` takes away only the latter, at every step. It touches no triple. With it no tower can say nearly the same to everything; all distances across could still become equal, if photos came to lie at right angles to orders. They do not, and nothing collapses. (A BatchNorm takes the same mean away, and brings each number to variance 1 besides: with it alone you could not tell which of the two is the cure.)
#
# **Is the gain that of the hardest negatives, or that of `Centre`?** For that the others must have it as well. **Is it the common vector of the start that does the harm?** For that, take it away *once*: subtract the mean of the first batch, ever after the same. And must all vectors coincide in a collapse? See how far apart two photos lie, and two orders.

# %%
def look(model, seed):
    """Mean distance of two photos, of two orders, spread of d² across: (3,)."""
    found = predict(model, of(seed, test))
    within = [torch.pdist(found[name]).mean() for name in ("image", "text")]
    across = torch.cdist(found["image"], found["text"]).square()
    return torch.stack([*within, across.std()])

def start(seed):
    """Untrained: lengths of the mean photo and order, share of the top order."""
    torch.manual_seed(seed)
    found = predict(Towers(), train_rows(seed)[:128])
    means = [found[name].mean(0).norm() for name in ("image", "text")]
    square = torch.cdist(found["image"], found["text"]).fill_diagonal_(torch.inf)
    served = square.argmin(1).bincount(minlength=128)
    return torch.stack([*means, served.max() / 128])

photo, order, top = torch.stack([start(seed) for seed in SEEDS]).T
print(f"untrained: length of the mean order {spread_of(order)}")
claim("and of the mean photo, above 0.3 in every seed", photo.min() > 0.3)
claim("untrained: in every seed one order is the nearest for 0.08 or more of photos",
      top.min() > 0.08)
for name in ("hardest", "semi-hard"):
    seen = torch.stack([look(*one) for one in zip(models[name], SEEDS)])   # (seeds, 3)
    photos, orders, across = seen.T
    print(f"{name:14s} distance of two orders {spread_of(orders)}")
    if name == "hardest":
        claim("collapsed, two photos still lie 0.2 or more apart in every seed",
              photos.min() > 0.2)
        claim("and the squared distances across spread by less than 0.05",
              across.max() < 0.05)
claim(f"and yet R@1 is above 0.1 in every seed (guessing: {naive_guess:.3f})",
      results["hardest"][:, 0].min() > 0.1)

# %%
class CentredOnce(Centre):
    """Takes away the mean of its first batch, and keeps to that one."""

    def forward(self, vectors):
        if not self.mean.any():
            self.mean.copy_(vectors.detach().mean(0))
        return vectors - self.mean

once = "hardest, centred once"
compare({once: lambda seed: train(seed, Metric("hardest"), last=CentredOnce),
         "semi-hard, centred": lambda seed: train(seed, Metric("semi-hard"),
                                                  last=Centre),
         "violated, centred": lambda seed: train(seed, Metric("violated"),
                                                 last=Centre)})
claim(f"{once}: the loss ends within 0.02 of the margin in every seed",
      (last(once) - 0.2).abs().max() < 0.02)
back = torch.stack([predict(model, of(seed, test))["text"].mean(0).norm()
                    for seed, model in enumerate(models[once])])
claim("and the mean order is again longer than 0.9, in every seed", back.min() > 0.9)
centred = torch.stack([results[f"{way}, centred"]
                       for way in ("hardest", "semi-hard", "violated")])
print(f"spread of d², hardest, centred: "
      f"{spread_of(last('hardest, centred', 'spread'))}")
means = centred.mean(1)    # (3, seeds, 2) → (3, 2): known, new
claim("centred, known toys: less than 0.02 between the means of the three minings",
      means[:, 0].max() - means[:, 0].min() < 0.02)
claim("each is ahead of the violated without Centre, in the mean",
      means[:, 0].min() > few[:, 0].mean())
for (_, new), way in zip(means, ("hardest", "semi-hard", "violated")):
    print(f"new toys, {way}, centred:", within(new, 0.85, 1.0))
claim("new toys: each is ahead of the violated without Centre by more than 0.02",
      means[:, 1].min() > few[:, 1].mean() + 0.02)

# %% [markdown]
# They need not coincide. The photos still lie apart: it is enough that *one* tower says nearly the same to everything, and that the other keeps all its vectors about equally far from that. Then all distances *across* are nearly equal, and only those are in the loss.
#
# **The loss and the spread are about scale; recall is not.** Divide every difference between distances by a hundred, and the order in which rows are found is the same. So even these runs find many times more than guessing: what little the distances differ carries something. A loss at the margin and a small spread are a reason to worry in the first minutes of a run, and not yet a verdict. **Look at three numbers: loss, spread, recall.**
#
# **And the gain was never that of the hardest negatives.** With `Centre` all three minings end alike, on known and on new toys, above everything without it. And once is not enough: where the start has no common vector, the hardest loss *makes* one, and collapses all the same. To shrink the spread is to grow that vector. Take it away at every step, and it hardly matters which of the violated triples you choose.
#
# ## 7. False negatives, counted
#
# `masked=True` used what a shop with real customers does not know: that two rows show the same toy. Without it, every row but the own one is a negative, and some of those are **false**. How many? In training 72 toys are about equally frequent. If rows were drawn independently, then for an anchor in a batch of $B$
#
# $$\mathbb E[\text{false negatives}] = \frac{B-1}{72}, \qquad P(\text{at least one}) = 1 - \Big(\frac{71}{72}\Big)^{B-1}.$$
#
# That is few among 127. But **the better the model, the nearer they lie**: false negatives are what the search for the hardest finds first.
#
# **Predict before you run.** For a trained model, how often is the hardest negative a false one?

# %%
counts, fooled = [], []
for seed in SEEDS:
    rows = train_rows(seed)
    found = predict(models["mean over the violated"][seed], rows)
    for first in range(0, PER, 128):
        part = slice(first, first + 128)
        twin = equal_rows(rows.labels[part]) & ~torch.eye(128, dtype=torch.bool)
        square = torch.cdist(found["image"][part], found["text"][part])
        nearest = square.fill_diagonal_(torch.inf).argmin(1)
        counts.append([twin.sum(1).double().mean(), twin.any(1).double().mean()])
        fooled.append(twin[torch.arange(128), nearest].double().mean())
per_row, at_least_one = torch.tensor(counts).mean(0)
print(f"false negatives a row: {per_row:.2f}, expected {127 / 72:.2f}")
print(f"rows with one at least: {at_least_one:.3f}, "
      f"expected {1 - (71 / 72) ** 127:.3f}")
print(f"rows whose hardest negative is false: {spread_of(torch.stack(fooled))}")
scenes = equal_rows(Toys().sample(500, split="test").extras["captions"])
print(f"for comparison, scenes of 1 to 4 toys: {int(scenes.sum()) - 500} of "
      f"{500 * 499:,} pairs of captions are equal")
assert abs(per_row - 127 / 72) < 0.1
claim("for a trained model more than 2 of 3 hardest negatives are false",
      torch.stack(fooled).mean() > 2 / 3)

# %%
blind = "hardest, centred, not masked"
compare({blind: lambda seed: train(seed, Metric("hardest", False), last=Centre),
         "violated, not masked": lambda seed: train(seed, Metric("violated", False))})
print(f"{blind}: loss {spread_of(last(blind))}")
claim("its spread of d² is above 0.15 in every seed",
      last(blind, "spread").min() > 0.15)
gains = [(results[masked] - results[unmasked])[:, 0] for masked, unmasked in (
    ("hardest, centred", blind), ("mean over the violated", "violated, not masked"))]
claim("hardest, centred: masking is ahead in every seed, by more than 0.03 in the mean",
      gains[0].min() > 0 and gains[0].mean() > 0.03)
claim("mean over the violated: masking changes less than 0.03 in the mean",
      gains[1].mean().abs() < 0.03)
broken = last("violated, not masked", "violated")
print(f"violated, not masked, last epoch: violated triples {spread_of(broken)}; "
      f"false ones, of all triples: {1 / 72:.3f}")
claim("more than half of the violated ones are false", (1 / 72 > broken / 2).all())

# %% [markdown]
# **Not masked, the hardest pay.** Nothing in a photo says which of two orders for the same toy is its own, so a false negative is never fulfilled for good: its triple stays violated, at about the margin. The hardest of 127 is mostly such a one, so after a while the loss consists of little else. It ends *near the margin without a collapse*: the spread is there, and nine of ten are found. The loss alone would have told you the wrong story.
#
# The mean over the violated pays nothing that could be seen. In the first epoch the true triples outnumber the false ones by far; in the last, most of its violated triples are false as well, and still it finds as much. **What false negatives cost is decided by how hard you look for the hardest**, and by how many there are. Among the scenes of the comparison above one pair in some 3,000 is equal: there is next to nothing to mask. Count before you fear.
#
# ## 8. Batches in which every row has a mate
#
# So far each anchor had a partner by construction: its own order. Now let orders find orders: a Siamese search, where a positive is *another row of the same toy*. In a random batch of 32 rows most anchors have none, and an anchor without a positive makes no triple. **PK sampling** draws $P$ identities and $K$ rows of each, so that everybody has $K - 1$ mates: `fit(…, sampler=PK(16, 2))`.
#
# How many triples is that? Every anchor, $PK$ of them, has $K-1$ positives and $PK - K$ negatives: $PK(K-1)(PK-K)$. With 16 × 2 that is $32\cdot1\cdot30 = 960$, in every batch. A label that occurs once can have no mate and is never drawn; if too few are left, `PK` says so.

# %%
class OneTower(nn.Module):
    def __init__(self):
        super().__init__()
        self.tower = Towers().text

    def forward(self, features):
        return normalize(self.tower(follow(features, self.tower).text), dim=1)

class SameToy(Task):
    separable = False

    def objective(self, outputs, batch):
        square = distances(outputs, outputs).square()
        same = equal_rows(batch.labels)
        mates = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
        return {"loss": triplet_loss(square, mates, ~same),
                "with a mate": mates.any(1).float().mean()}

def siamese(seed, sampler):
    torch.manual_seed(seed)
    model = OneTower()
    history = fit(model, train_rows(seed), epochs=4, task=SameToy(), batch_size=32,
                  learning_rate=2e-3, seed=seed, progress=False, sampler=sampler)
    rows = of(seed, test)
    found = predict(model, rows)
    own = torch.eye(TEST, dtype=torch.bool)
    relevant = equal_rows(rows.labels) & ~own
    mated = relevant.any(1)
    similarity = (found @ found.T).masked_fill(own, -2)[mated]
    recall = recall_at(similarity, 1, relevant[mated])
    return torch.tensor([recall, history[-1]["with a mate"]])

drawn = {name: torch.stack([siamese(seed, sampler) for seed in SEEDS])
         for name, sampler in (("random", None), ("PK(16, 2)", PK(16, 2)))}
for name, rows in drawn.items():
    print(f"{name:10s} rows with a mate {spread_of(rows[:, 1])}")
print(f"expected of random batches: {1 - (71 / 72) ** 31:.3f}")
print(f"R@1, order → order: untrained tower {spread_of(strangers[:, 2])}, "
      f"PK(16, 2) {spread_of(drawn['PK(16, 2)'][:, 0])}")
print("R@1, random:", within(drawn["random"][:, 0], 0.55, 0.85))
lead = (drawn["PK(16, 2)"] - drawn["random"])[:, 0]
claim("PK is ahead in every seed", (lead > 0).all())
claim("and by more than 0.05 in the mean", lead.mean() > 0.05)

# %% [markdown]
# Same rows, same number of steps, as many rows a step: what changed is who meets whom. In the random batches two rows of three were the anchor of no triple. (In a random batch of 128 most rows have a mate, as section 7 printed. PK is what you do when memory ends at 32.) For order → photo there is nothing of the kind to gain: there, each row brings its mate along.
#
# ## 9. The whole table
#
# Two ways are left. **Sharing after all**: two towers with one *last layer* in common, a popular design, with `Centre` at the end of each. And the **contrastive loss** with margin 1, which makes absolute demands, with and without `Centre`. (Its margin was not tuned.) Guessing stands in the last line, as the score of a model that says the same to everything.
#
# Every cell of this lesson runs unchanged at full scale: there, `extract` gives 2,048 numbers for a photo from a ResNet-50 and 768 for an order from BERT-base, and the towers take the widths that they find.

# %%
shared = "violated, centred, shared"
compare({shared: lambda seed: train(seed, Metric("violated"), last=Centre, share=True),
         "contrastive, margin 1": lambda seed: train(seed, Metric("contrastive",
                                                                  margin=1.0)),
         "contrastive, centred": lambda seed: train(
             seed, Metric("contrastive", margin=1.0), last=Centre)})
print(f"contrastive, last epoch: loss {spread_of(last('contrastive, margin 1'))}; all "
      f"distances equal, at m/2, cost m²/2 = 0.5")
change = (results[shared] - results["violated, centred"]).mean(0).abs()    # (2,)
claim("sharing the last layer changes less than 0.02 in the mean on known toys",
      change[0] < 0.02)
claim("and less than 0.05 on new ones", change[1] < 0.05)
free, tied = (results[f"contrastive, {way}"][:, 0] for way in ("centred", "margin 1"))
claim("contrastive: Centre gains more than 0.2 in every seed",
      (free - tied).min() > 0.2)
claim("with it, contrastive is 0.03 or more behind the violated with it, in the mean",
      (results["violated, centred"][:, 0] - free).mean() > 0.03)
print(f"\n{'way':28s} R@1, known toys")
for name in results:
    print(f"{name:28s} {told(name)}")
print(f"{'guessing':28s} {naive_guess:.3f}")
print("encoders:", cfg.image_encoder, pool.image.shape[1], "·", cfg.text_encoder,
      pool.text.shape[1])

# %% [markdown]
# **Sharing the last layer** neither helps nor costs here: it saves weights. The first layers can never be shared.
#
# **The contrastive loss** suffers from the common vector too. Its demands are absolute, and while all orders are nearly one vector, all distances equal to $m/2$ is a fair compromise between "0" and "at least $m$". Without that vector it leaves the compromise in the same steps, and comes near. Section 10 computes what such a compromise costs, and what a batch can do about it.
#
# And look at the first places. They do not belong to one mining. They belong to one line that takes a mean away.
#
# ## 10. What collapse costs
#
# A collapsed model gives one distance $d$ to all pairs. For triples that costs exactly $m$, whatever $d$ is. For the contrastive loss it depends on $d$, and on how the pairs are weighed. Suppose somebody takes one mean over *all* pairs of a batch, each with the same weight.

# %% [exercise] 10.5
# **On paper first.** In a batch, `positives` pairs belong together and `negatives` do not; the loss is the mean over all of them of $d^2$ for the former and $(m-d)_+^2$ for the latter. (a) Which $d$ is cheapest for a collapsed model, and what does it cost? (b) What is that cost for one positive a row and $B-1$ negatives, when $B$ grows? (c) The loss of section 3 takes two means instead, one of each kind, and adds them: what does its cheapest collapse cost? Which of the two would you train with, and what has it to do with this lesson's one sentence?
#
# **Then write (a).** Your function receives `margin`, `positives` and `negatives`, float64 scalar tensors, and returns `(distance, cost)`.

# %% [stub]
def cheapest_collapse(margin, positives, negatives):
    """The best one distance for all pairs, and the contrastive loss it costs.

    margin, positives, negatives : float64 scalars   returns : (distance, cost)
    """
    raise NotImplementedError

# %% [solution]
def cheapest_collapse(margin, positives, negatives):
    share = positives / (positives + negatives)
    distance = (1 - share) * margin
    return distance, share * (1 - share) * margin**2

# %% [hints]
# With $q$ the share of positive pairs, the loss of a collapsed model is a parabola in $d$.
# ---
# $q\,d^2 + (1-q)(m-d)^2$. Set its derivative to 0; then put the $d$ that you found back in.
# ---
# ```python
# share = positives / (positives + negatives)
# distance = ____                      # where 2 q d = 2 (1 - q)(m - d)
# # then the cost at that distance
# ```

# %% [answer]
# (a) $f(d) = q d^2 + (1-q)(m-d)^2$ for $0 \le d \le m$ (beyond $m$ the first term only grows). $f'(d) = 2qd - 2(1-q)(m-d) = 0$ at $d = (1-q)m$, where $f = q(1-q)^2m^2 + (1-q)q^2m^2 = q(1-q)\,m^2$. (b) $q = 1/B$: the cost is $\tfrac1B(1-\tfrac1B)m^2 \to 0$. In a large batch a model that has learned *nothing* is nearly free: it puts everything at about the margin, where the many negatives are content, and the few positives hardly count. (c) Two means weigh as $q = \tfrac12$ does, doubled: $d = m/2$ and a cost of $2\cdot\tfrac14 m^2 = m^2/2$, for every $B$. Train with that: a mean that is diluted by what is already fulfilled says little about what is not. It is the denominator of section 5 again.

# %% [markdown]
# ## 11. Recap
#
# You can now
# - say what sharing weights gives, and why two modalities begin at guessing;
# - count recall@k with ties in expectation and duplicates as finds;
# - derive both losses and write them without nan;
# - divide by the violated triples, choose among them, suspect a collapse by loss ≈ margin and a shrinking spread, and ask recall before you believe it;
# - count false negatives, and use PK batches where a positive is another row.
#
# `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? Your triplet loss falls from .45 to .20 in the first hundred steps and stays there; the margin is .2. What do you conclude?
# - It has converged: the remaining .2 are label noise :: Noise has no reason to equal the margin. Equal distances do: they cost exactly m.
# + It may have collapsed: look at the spread of the distances, and at recall :: One distance for all costs exactly the margin. False negatives, whose triples stay violated, end there as well; spread and recall tell the two apart.
# - The margin is too small: raise it :: The plateau moves with the margin; the cause, a spread that shrinks, stays.
# ? Two runs use the same triples; one divides by all of them, one by the violated. What differs?
# - The direction of every gradient :: Fulfilled triples add exact zeros: the direction of a batch is the same.
# - Nothing, AdamW makes up for every factor :: It makes up for a constant one. The share of violated triples falls during the run.
# + The size of the gradient, more and more so as the model gets better :: The mean over all is the other one times the share of violated triples.
# ? A model gives the same vector to every input, and an evaluation reports R@1 = 1.0. What happened?
# + A row counted as found if no other row was strictly better :: With all scores equal nothing is better. In expectation R@1 is 1/n.
# - The gallery held duplicates of every query :: Then the true score would be high for some models, not for one that says the same to all.
# - The similarity was computed in float16 :: Rounding makes ties, but how ties are counted decides.
# ? Why do photo tower and order tower not share their weights?
# - Because shared weights halve the capacity :: Towers may be as large as you like; capacity is not the point.
# - Because the triplet loss needs three networks :: Anchor, positive and negative may all pass one network; Siamese ones do just that.
# + Because the inputs are of different kinds: there is no common first layer to share, and equal inputs never occur :: What sharing gives, equal out for equal in, has no meaning between pixels and words.

# %% [markdown]
# **Glossary**: *metric learning*, training vectors so that distances mean something · *Siamese*, two inputs through the same weights · *two towers*, a network for each modality and one space · *anchor, positive, negative*, the row that looks, what it should find, what not · *margin*, by how much the negative must be further away ·
# *violated*, a triple with a loss above 0 · *semi-hard*, violated although the negative lies behind the positive · *batch-hard*, for each anchor the furthest positive and the nearest negative · *collapse*, all distances across are equal · *false negative*, a row taken for a negative that is none · *PK sampling*, P identities and K rows of each in a batch · *recall@k*, the share of queries with a relevant row among the first k.
#
# **References**
# - J. Bromley, I. Guyon, Y. LeCun, E. Säckinger, R. Shah, *Signature verification using a "Siamese" time delay neural network*, NIPS 1993: where shared weights and the name come from.
# - R. Hadsell, S. Chopra, Y. LeCun, *Dimensionality reduction by learning an invariant mapping*, CVPR 2006: the contrastive loss of section 3.
# - F. Schroff, D. Kalenichenko, J. Philbin, *FaceNet: a unified embedding for face recognition and clustering*, CVPR 2015: the triplet loss, semi-hard negatives, and a remark on collapse from the hardest.
# - A. Hermans, L. Beyer, B. Leibe, *In defense of the triplet loss for person re-identification*, 2017: batch-hard, PK batches, and the mean over the triples that are not zero.
# - F. Faghri, D. Fleet, J. Kiros, S. Fidler, *VSE++: improving visual-semantic embeddings with hard negatives*, BMVC 2018: the hardest negative between photos and captions.
# - K. Musgrave, S. Belongie, S.-N. Lim, *A metric learning reality check*, ECCV 2020: how much of the published gains is left when all train and test alike.

# %% [progress]
