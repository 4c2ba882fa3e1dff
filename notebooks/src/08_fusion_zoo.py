# %% [markdown]
# # 08 The fusion zoo
#
# **The one thing to take away:** the *form* of a head says what it can never do, *pooling* says what it is given, the *optimiser* what is found in so many steps, and all that may still not *carry over* to new rows. Four causes, four tests; and none of them is a ranking for your data.
#
# You will be able to
# - test in one line, before any training, whether a head can compare at all;
# - write four ways to join modalities: a gated unit, a bilinear form of low rank, FiLM and cross-attention;
# - say what a rank buys (margin and speed, not possibility), and what pooling throws away;
# - find out which of four causes keeps a head near chance, by changing one thing at a time;
# - choose a head for your own data, and say what a published ranking is worth there.
#
# **Before this:** [06](06_concatenation.ipynb) (sums of opinions, situations, controls), [04](04_reading.ipynb) (attention, many heads) and [07](07_real_data.ipynb) (the emoji).
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import json
import runpy
import torch
from torch import nn
from tqdm.auto import tqdm
from cmlib import FusionModel, evaluate, fit, image_encoder, plots, text_encoder
from cmlib.data import States
from cmlib.fusion import Additive, LowRank, Mlp, additive_ceiling
from cmlib.layers import masked_mean
from cmlib.training.predict import extract_states
from cmlib.worlds import RefundDesk
cfg = cmlib.setup("08", full="the encoders of section 7")

# %% [markdown]
# ## 1. Which fusion is the best?
#
# Concatenation, gates, bilinear forms, tensors, attention across modalities, one stream of tokens, graphs: surveys list dozens of ways to join a picture and its words, and papers rank them. So let us rank them. Every head of this page was trained with the same rows, the same batches, the same number of steps and, unless it can only add, about the same number of weights, with five seeds. Once on the refund desk, where photo and message have to be compared (situation S, six colours), and once on the emoji of lesson 07 (picture, name, nine categories). On the desk every seed has training and test rows of its own; the emoji are only 1,398, so there each seed is another split of the same ones, and five seeds are weaker evidence.
#
# These are 170 runs, too many for this page. One script made them, `benchmarks/fusion.py`, and its log lies in `data/runs`; every number below that is "of the log" comes from there.
#
# **Predict before you run.** Two heads read the same averaged vectors. One concatenates them and has a hidden layer (MLP). The other multiplies them (low rank). Who wins on the desk? And on the emoji?

# %%
log = json.loads((ROOT / "data" / "runs" / "fusion.json").read_text())

def of_log(world, head, what="accuracy"):
    """One number for every seed, (seeds,)."""
    return torch.tensor([row[what] for row in log[world][head].values()])

POOLED = "additive", "MLP", "gated", "residual", "low rank", "tensor"
COLORS = plots.GREY, "#1A1A1A", "#E69F00", "#56B4E9", "#CC79A7", "#8C6D31"
fig, ax = plots.figure(width=6.4, height=3.4)
for head, color in zip(POOLED, COLORS):
    ends = [of_log(world, head).mean() for world in ("synergy", "emoji")]
    ax.plot([0, 1], ends, "o-", color=color, label=head)
ax.set(title="Six heads on the same averaged vectors, two worlds", xlim=(-0.15, 1.15),
       xticks=[0, 1], xticklabels=["refund desk, S, 6 colours", "emoji, 9 categories"],
       ylabel="test accuracy, mean of 5 seeds")
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plots.show(fig, "Six lines from the desk to the emoji, one for each head. They cross: "
                "low rank and tensor lead on the desk and end last on the emoji, below "
                "the plain sum of opinions; gated is first there.")
for world in ("synergy", "emoji"):
    about = next(iter(log[world]["about"].values()))
    lead = of_log(world, "low rank") - of_log(world, "MLP")  # paired by seed
    print(f"{world:8s} {about['train']:,} rows to train, {about['test']} to test; "
          f"low rank minus MLP: {' '.join(f'{x:+.3f}' for x in lead.tolist())}")
assert (of_log("synergy", "low rank") > of_log("synergy", "MLP")).all()
assert (of_log("emoji", "low rank") < of_log("emoji", "MLP")).all()

# %% [markdown]
# In every seed the one wins here, in every seed the other wins there. Five seeds, equal budgets, and still **no ranking to take home**. A number like these mixes four causes:
#
# 1. **Form**: which functions of photo and message the head can compute at all, whatever its weights.
# 2. **Pooling**: what of the photo's cells and the message's tokens is left when the head gets to see them.
# 3. **Optimiser**: which of the functions that the form allows are found, from these rows, in this many steps.
# 4. **What carries over**: whether that which fits these rows also holds for new ones.
#
# This lesson takes them apart. The drawing shows where in a model the first three sit; the fourth shows only on new rows.

# %% tags=["hide-input"]
from cmlib.course.schematic import Schematic

sketch = Schematic(9.0, 3.75)
photo = sketch.grid((0.75, 2.6), [[plots.IMAGE] * 4] * 4, cell=0.2)
words = sketch.grid((0.75, 0.95), [[plots.TEXT] * 5], cell=0.22)
sketch.text("cells\n(B, n, C)", (0.75, 3.25), fontsize=8)
sketch.text("tokens\n(B, m, H)", (0.75, 0.5), fontsize=8)
pools = [sketch.box("pool: mean\nor queries", (2.4, y), (1.15, 0.5), color,
                    filled=False)
         for y, color in ((2.6, plots.IMAGE), (0.95, plots.TEXT))]
sketch.arrow(photo, pools[0])
sketch.arrow(words, pools[1])
ways = "join two vectors\nadd · concatenate · gate\nmultiply · outer product"
late = sketch.box(ways, (4.6, 1.78), (2.2, 0.75), plots.BOTH)
for pool in pools:
    sketch.arrow(pool, late)
logits = sketch.box("logits\n(B, K)", (8.35, 1.78), (0.95, 0.5))
sketch.arrow(late, logits)
ways = ("join before pooling\nFiLM (words pooled) · cross-\n"
        "attention · one stream · graph")
early = sketch.box(ways, (5.5, 3.05), (2.6, 0.7), plots.BOTH)
sketch.arrow((1.2, 2.95), early)
sketch.path([(0.18, 0.95), (0.08, 0.95), (0.08, 3.62), (5.5, 3.62), (5.5, 3.42)],
            color=plots.TEXT)
after = sketch.box("pool", (7.7, 3.05), (0.7, 0.4), filled=False)
sketch.arrow(early, after)
sketch.arrow(after, logits)
for cause, at in (("pooling", (2.4, 1.78)), ("form", (4.6, 1.27)),
                  ("form", (5.5, 2.57))):
    sketch.text(cause, at, fontsize=9, color=plots.GREY, style="italic")
sketch.text("optimiser: which weights are found", (4.4, 0.42), color=plots.GREY,
            style="italic")
sketch.show("Cells and tokens are either pooled to one vector each and then joined, by "
            "adding, concatenating, gating or multiplying; or they meet before "
            "pooling, in FiLM (where only the cells are unpooled), cross-attention, "
            "one stream or a graph. Pooling, form "
            "and optimiser are written where they act.")

# %% [markdown]
# ## 2. Form: what a head can never say
#
# Take away everything that is uncertain: the photo shows one of $K$ colours $c$, the message names one of $K$ colours $d$, and the head knows both. What it says is then a **table** $Z$ of shape $(K, K)$, the score of "refund" for each pair. A refund is right where $c \ne d$.
#
# **Step 1. One number tells adding from comparing.** Take two colours of the photo and two of the message; they make a square in the table. Its **mixed difference** is
#
# $$\Delta = Z_{cd} + Z_{c'd'} - Z_{cd'} - Z_{c'd}.$$
#
# If $Z_{cd} = f_c + g_d$, every $f$ and every $g$ comes once with plus and once with minus: $\Delta = 0$. Lesson 06 needed this identity for one proof; here it is a test. *Any* head whose $\Delta$ is 0 in every square, with any weights, is a sum of opinions, and a sum of opinions is right in at most three quarters of S (06.6 for two colours; the cell below tries all orders of six).
#
# **A worked example.** Squares with "refund" scores $\begin{pmatrix}1&4\\0&3\end{pmatrix}$ and $\begin{pmatrix}1&4\\3&1\end{pmatrix}$. The first has $\Delta = 1+3-4-0 = 0$: it is $f = (1, 0)$ plus $g = (0, 3)$. The second has $1+1-4-3 = -5$: somebody compares.
#
# **Step 2. What multiplying adds.** A low-rank head says $Z_{cd} = f_c + g_d + \sum_{r=1}^{R} u_{cr}v_{dr}$. Take the means over rows and over columns away, and only the products are left: *the interaction part of a table of such a head has rank at most $R$*. How many does "different" need? The obvious table, $0$ on the diagonal and $1$ elsewhere, has an interaction part of rank $K-1$. So with many colours you need many products? **No.** The table may be any that has the right *signs*:
#
# $$(c-d)^2 - \tfrac12 \;=\; \underbrace{c^2}_{f_c} + \underbrace{d^2 - \tfrac12}_{g_d}\; \underbrace{-\,2\,c\,d}_{\text{one product}}.$$
#
# It is $-\tfrac12$ where the colours are equal and at least $+\tfrac12$ where they differ. **One product is enough for any number of colours.**
#
# **Step 3. What rank buys.** Read the formula as geometry. Give every colour a point $p_c$ in $R$ dimensions, and let the score be a squared distance, $\lVert p_c - p_d\rVert^2 - \theta = \lVert p_c\rVert^2 + \lVert p_d\rVert^2 - \theta - 2\,p_c^\top p_d$: two opinions and $R$ products. Let $m$ be the smallest squared distance of two points and $M$ the largest. With $\theta = m/2$ every score has the right sign, the smallest is $m/2$ in size and the largest $M - m/2$, so the **margin**, smallest over largest, is
#
# $$\frac{m/2}{M - m/2}.$$
#
# On a line six points cannot all be near each other and far from each other: $m = 1$, $M = 25$. In more dimensions they can, and in $K-1$ dimensions all distances are equal, $m = M$: margin 1. Rank does not make the rule *possible*; it makes it *robust*, and, as section 8 shows, easy to find.

# %%
def arrange(name, n_colors):
    """Points of the colours, (n_colors, dimensions)."""
    number = torch.arange(n_colors, dtype=torch.float64)
    if name == "line":
        return number[:, None]
    if name == "circle":
        angle = 2 * torch.pi * number / n_colors
        return torch.stack([angle.cos(), angle.sin()], 1)
    if name == "octahedron":  # six corners, each far from one and near to four
        axes = torch.eye(3, dtype=torch.float64)
        return torch.cat([axes, -axes])[:n_colors]
    return torch.eye(n_colors, dtype=torch.float64)  # every colour its own axis

def distance_table(points):
    """Squared distances less half of the smallest: negative only where c = d."""
    squared = (points[:, None] - points).square().sum(2)
    return squared - squared[squared > 1e-9].min() / 2

def margin(table):
    return (table.abs().min() / table.abs().max()).item()

def interaction(table):
    return table - table.mean(0) - table.mean(1, keepdim=True) + table.mean()

different = 1 - torch.eye(6, dtype=torch.bool).double()
for name in ("line", "circle", "octahedron", "simplex"):
    table = distance_table(arrange(name, 6))
    rank = int(torch.linalg.matrix_rank(interaction(table), atol=1e-9))
    right = bool(((table > 0) == (different > 0)).all())
    print(f"{name:10s} products {rank}   right in every cell: {right}   "
          f"margin {margin(table):.3f}")
    assert right
assert margin(distance_table(arrange("line", 6))) < 0.03

equal = torch.eye(6, dtype=torch.float64)
joint = torch.stack([equal / 12, (1 - equal) / 60])  # half equal, half different
print(f"any sum of opinions, on six colours: right in {additive_ceiling(joint):.3f}")
assert abs(additive_ceiling(joint) - 0.75) < 1e-9

# %% [markdown]
# ## 3. Build: two heads that join two vectors
#
# **The gated unit** (Arevalo et al. 2017). Not every row needs both halves: a sealed parcel's photo says nothing. Let each hidden unit decide, row by row, whom to believe. With $x_I$ of $n$ and $x_T$ of $m$ numbers,
#
# $$h_I = \tanh(W_I x_I),\quad h_T = \tanh(W_T x_T),\quad z = \sigma\big(W_z [x_I ; x_T]\big),\quad h = z \odot h_I + (1 - z)\odot h_T .$$
#
# The gate sees *both* halves, so its product with a half is more than a sum.

# %% [exercise] 08.1
# Write the unit. Your function receives `image` `(batch, n)`, `text` `(batch, m)`, `W_image` `(hidden, n)`, `W_text` `(hidden, m)` and `W_gate` `(hidden, n + m)`, which expects the image half first. There are no biases. It returns $h$, `(batch, hidden)`.

# %% [stub]
def gated_unit(image, text, W_image, W_text, W_gate):
    """A hidden layer in which every unit chooses between the halves.

    image : (batch, n)   text : (batch, m)   returns : (batch, hidden)
    """
    raise NotImplementedError

# %% [solution]
def gated_unit(image, text, W_image, W_text, W_gate):
    see = torch.tanh(image @ W_image.T)                        # (batch, hidden)
    read = torch.tanh(text @ W_text.T)
    gate = torch.sigmoid(torch.cat([image, text], 1) @ W_gate.T)
    return gate * see + (1 - gate) * read

# %% [hints]
# Three linear maps. Two of them see one half each, the third sees both; one sigmoid, two tanh.
# ---
# `torch.cat([image, text], dim=1)` has shape (batch, n + m). A linear map with weight `(out, in)` is `x @ W.T`. The gate has one number for each row and hidden unit.
# ---
# ```python
# gate = torch.sigmoid(____)
# # then what the gate leaves to the image, and what it leaves to the text
# ```

# %% [markdown]
# **Bilinear, of low rank** (Kim et al. 2017). The most general product of two vectors takes every number of the one times every number of the other, with a weight for each pair and class: $\text{logit}_k = x_I^\top W_k\, x_T$, which is `nn.Bilinear` (without its bias). That is classes · n · m weights: for BERT-base and a ResNet-50 three million for two classes. Write each $W_k$ as a weighted sum of $R$ outer products instead, with factors that all classes share (Kim and others also bend the factors by a tanh; without it the form stays bilinear):
#
# $$W_k = \sum_{r=1}^R P_{kr}\, U_r V_r^\top \qquad\Longrightarrow\qquad \text{logits} = P\,\big[(U x_I)\odot(V x_T)\big].$$

# %% [exercise] 08.2
# Write both sides. Your function receives `image` `(batch, n)`, `text` `(batch, m)`, `U` `(rank, n)`, `V` `(rank, m)` and `P` `(classes, rank)`. It returns two tensors: the logits `(batch, classes)` and the weight `(classes, n, m)` that an `nn.Bilinear` needs to give the same logits. (The point of the factors is that the logits need no n · m numbers for a row. Write them so; the check sees the values, and not how you found them.)

# %% [stub]
def low_rank(image, text, U, V, P):
    """A bilinear form of low rank, and the full weight that it stands for.

    image : (batch, n)   text : (batch, m)   U : (rank, n)   V : (rank, m)
    P : (classes, rank)   returns : logits (batch, classes), weight (classes, n, m)
    """
    raise NotImplementedError

# %% [solution]
def low_rank(image, text, U, V, P):
    logits = ((image @ U.T) * (text @ V.T)) @ P.T              # (batch, classes)
    outer = U[:, :, None] * V[:, None, :]                      # (rank, n, m)
    weight = (P[:, :, None, None] * outer).sum(1)              # (classes, n, m)
    return logits, weight

# %% [hints]
# For the logits: bring both halves to `rank` numbers, multiply number by number, mix. For the weight: one outer product for each $r$.
# ---
# $(U x_I)$ for a whole batch is `image @ U.T`, (batch, rank). The weight is $W_{kij} = \sum_r P_{kr} U_{ri} V_{rj}$: one `torch.einsum`, or broadcasting to (classes, rank, n, m) and a sum.
# ---
# ```python
# products = ____                                  # (batch, rank)
# weight = torch.einsum("kr,ri,rj->____", P, U, V)
# return products @ P.T, weight
# ```

# %% [markdown]
# Is it really `nn.Bilinear`? Take one with random weights and ask how many products it takes. The singular value decomposition $W_k = \sum_r \sigma_r\, a_r b_r^\top$ gives the best sum of $R$ outer products for every $R$; at $R = \min(n, m)$ nothing is missing.

# %%
torch.manual_seed(0)
trusted = nn.Bilinear(12, 8, 1, bias=False).double()
image, text = torch.randn(50, 12).double(), torch.randn(50, 8).double()
with torch.no_grad():
    wanted = trusted(image, text)[:, 0]                        # (50,)
    a, sigma, b = torch.linalg.svd(trusted.weight[0], full_matrices=False)
for n_products in (1, 2, 4, 8):
    own = (a[:, :n_products] * sigma[:n_products]) @ b[:n_products]
    got = torch.einsum("bi,ij,bj->b", image, own, text)
    missing = (got - wanted).norm() / wanted.norm()
    print(f"{n_products} products: {n_products * (12 + 8):3d} weights instead of "
          f"{12 * 8}; error {missing:.3f} of the logits")
assert missing < 1e-12

# %% [markdown]
# Full rank costs more weights than the full matrix: the gain lies in stopping early.
#
# The zoo has more of this family, and each is a page in `cmlib/fusion`: `Residual` (a sum of opinions plus an MLP's correction), `TensorFusion` (the outer product of $[1 ; p_I]$ and $[1 ; p_T]$; the 1 keeps each half alone) and `Mlp`, the concatenation of lesson 06.
#
# ## 4. Move the colours
#
# Put the colours where you like and watch the table. The title counts the cells that are right and gives the margin.
#
# **Predict before you run:** with ten colours instead of six, which arrangement keeps its margin?

# %%
def colours(arrangement="line", n_colors=6.0):
    points = arrange(arrangement, int(n_colors))
    table = distance_table(points)
    wanted = 1 - torch.eye(len(points), dtype=torch.float64)
    right = int(((table > 0) == (wanted > 0)).sum())
    fig, ax = plots.figure(width=4.6, height=3.5)
    shown = ax.imshow(table / table.abs().max(), cmap="PuOr", vmin=-1, vmax=1)
    ax.set(title=f"{arrangement}: {right} of {table.numel()} right, "
                 f"margin {margin(table):.3f}",
           xlabel="colour named d", ylabel="colour seen c")
    ax.grid(False)
    fig.colorbar(shown, ax=ax, label="score / largest score")
    return fig

plots.explore(colours, "The table of scores of an arrangement of colours; every cell "
                       "is right, and the diagonal is hardly below 0 on a line.",
              arrangement=["line", "circle", "simplex"], n_colors=(3, 12, 1, 6))

fig, axes = plots.figure(1, 3, width=8.6, height=3.0)
for ax, name in zip(axes, ("line", "circle", "simplex")):
    table = distance_table(arrange(name, 6))
    shown = ax.imshow(table / table.abs().max(), cmap="PuOr", vmin=-1, vmax=1)
    ax.set(title=f"{name}: margin {margin(table):.2f}", xlabel="colour named d",
           xticks=range(6), yticks=range(6))
    ax.grid(False)
axes[0].set_ylabel("colour seen c")
fig.colorbar(shown, ax=axes, label="score / largest score", shrink=0.8)
plots.show(fig, "Three tables of scores for six colours. In each the diagonal alone is "
                "negative: on the line hardly, on the circle a little, and on the "
                "simplex by as much as all the rest is positive.")
many = {name: [margin(distance_table(arrange(name, k))) for k in (6, 10)]
        for name in ("line", "circle", "simplex")}
for name, (six, ten) in many.items():
    print(f"{name:8s} margin with 6 colours {six:.4f}, with 10 {ten:.4f}")
assert many["line"][1] < 0.01 < many["circle"][1] < many["simplex"][1] == 1

# %% [markdown]
# ## 5. Build: two heads that join before they pool
#
# So far each half was averaged to one vector first. That is where "the red one, not the blue one" becomes some red and some blue. Two heads let photo and words meet while cells, or tokens, are still apart.
#
# **FiLM** (Perez et al. 2018) feeds the text *into* the image model. The words become a scale $\gamma$ and a shift $\beta$ for every channel, and every cell of the map is changed by them:
#
# $$a'_{xy} = \mathrm{relu}\big((1+\gamma)\odot a_{xy} + \beta\big),\qquad \gamma = W_\gamma t + b_\gamma,\quad \beta = W_\beta t + b_\beta,$$
#
# and only then comes the mean over the places $(x, y)$. The order matters. Without the relu, the mean of scaled and shifted cells is the scaled and shifted mean: pooling first would give the same. **What is linear commutes with the mean; only a bend before the mean sees single cells.** (The $1+$ lets a head begin with a map that is left as it is.)

# %% [exercise] 08.3
# Write it. Your function receives a feature map `cells` `(batch, channels, height, width)`, `words` `(batch, size)`, the weights `W_gamma`, `W_beta` `(channels, size)` and `b_gamma`, `b_beta` `(channels,)`. It returns the mean of the changed map over its places, `(batch, channels)`.

# %% [stub]
def film(cells, words, W_gamma, b_gamma, W_beta, b_beta):
    """The mean of a feature map whose channels the words have scaled and shifted.

    cells : (batch, channels, height, width)   words : (batch, size)
    returns : (batch, channels)
    """
    raise NotImplementedError

# %% [solution]
def film(cells, words, W_gamma, b_gamma, W_beta, b_beta):
    gamma = (words @ W_gamma.T + b_gamma)[:, :, None, None]    # (batch, channels, 1, 1)
    beta = (words @ W_beta.T + b_beta)[:, :, None, None]
    return ((1 + gamma) * cells + beta).relu().mean((2, 3))    # (batch, channels)

# %% [hints]
# Two linear maps of the words; then every cell of a channel gets the same scale and the same shift.
# ---
# $\gamma$ and $\beta$ have shape (batch, channels). To meet a map they need two axes of length 1 behind: `gamma[:, :, None, None]`. The relu comes after the shift, the mean over axes 2 and 3 last.
# ---
# ```python
# gamma = (words @ W_gamma.T + b_gamma)[:, :, None, None]
# changed = ____                               # (batch, channels, height, width)
# return changed.relu().mean((2, 3))
# ```

# %% [markdown]
# **Cross-attention.** FiLM treats all places alike. Attention does not: each word asks a question (query), each cell offers a key, and the word takes the mean of the cells' values, weighted by how well they answer. It is the attention of lesson 04 with one change: *queries come from the words, keys and values from the cells*. In one sentence: `q` from here, `k` and `v` from there.
#
# PyTorch has it, `nn.MultiheadAttention`, and two of its habits have cost many an afternoon. Its three input maps lie in **one** matrix `in_proj_weight` of shape (3e, e), query, key, value from top to bottom. And its `key_padding_mask` is True where a key is **padding**, while a mask in this course, as in `transformers`, is True on what may be read.
#
# With $e$ columns and $h$ heads of $d = e/h$ neighbouring columns each, every head computes $\mathrm{softmax}(q k^\top/\sqrt d)\,v$; the heads' results lie side by side again and pass a last linear map.

# %% [exercise] 08.4
# Write it, so that it equals `nn.MultiheadAttention`. Your function receives `words` `(batch, tokens, e)`, `cells` `(batch, n, e)`, `mask` bool `(batch, n)`, True on cells that may be read (at least one in each row), `in_weight` `(3e, e)`, `in_bias` `(3e,)`, `out_weight` `(e, e)`, `out_bias` `(e,)` and `n_heads`. It returns what every word has seen, `(batch, tokens, e)`.

# %% [stub]
def cross_attention(words, cells, mask, in_weight, in_bias, out_weight, out_bias,
                    n_heads):
    """Every word looks at the cells, with several heads.

    words : (batch, tokens, e)   cells : (batch, n, e)   mask : bool (batch, n)
    returns : (batch, tokens, e)
    """
    raise NotImplementedError

# %% [solution]
def cross_attention(words, cells, mask, in_weight, in_bias, out_weight, out_bias,
                    n_heads):
    def heads(x, part):
        weight, bias = in_weight.chunk(3)[part], in_bias.chunk(3)[part]
        return (x @ weight.T + bias).unflatten(2, (n_heads, -1)).transpose(1, 2)

    q, k, v = heads(words, 0), heads(cells, 1), heads(cells, 2)  # (batch, h, …, d)
    scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5          # (batch, h, tokens, n)
    scores = scores.masked_fill(~mask[:, None, None], -torch.inf)
    seen = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)   # (batch, tokens, e)
    return seen @ out_weight.T + out_bias

# %% [hints]
# Cut the big matrix into three, make query, key and value, cut each into heads, attend, glue the heads, one more linear map.
# ---
# `in_weight[:e]`, `in_weight[e:2*e]`, `in_weight[2*e:]`. Head $j$ has columns $jd$ to $(j+1)d$. The scores of a head have shape (batch, tokens, n); put $-\infty$ where `mask` is False before the softmax over the last axis.
# ---
# ```python
# for head in range(n_heads):
#     own = slice(head * d, (head + 1) * d)
#     scores = q[:, :, own] @ k[:, :, own].transpose(1, 2) / ____
#     # hide padding, softmax over the cells, take the mean of v[:, :, own]; keep it in a list
# ```

# %% [markdown]
# The course's version is `cmlib.fusion.attending.Attend`. Copy the weights of the trusted layer into it, and read the same batch with padding:

# %%
from cmlib.fusion.attending import Attend

torch.manual_seed(0)
trusted, own = nn.MultiheadAttention(8, 2, batch_first=True), Attend(8, 2)
packed = zip(("query", "key", "value"), trusted.in_proj_weight.chunk(3),
             trusted.in_proj_bias.chunk(3))
copied = {"out.weight": trusted.out_proj.weight, "out.bias": trusted.out_proj.bias}
for name, weight, bias in packed:
    copied |= {f"{name}.weight": weight, f"{name}.bias": bias}
own.load_state_dict(copied)
words, cells = torch.randn(3, 4, 8), torch.randn(3, 6, 8)
readable = torch.arange(6) < torch.tensor([6, 2, 4])[:, None]
with torch.no_grad():
    mine = own(words, cells, readable)
    right_way = trusted(words, cells, cells, key_padding_mask=~readable)[0]
    wrong_way = trusted(words[1:], cells[1:], cells[1:],
                        key_padding_mask=readable[1:])[0]
print("equal to nn.MultiheadAttention:", torch.allclose(mine, right_way, atol=1e-6))
print("with the mask the other way round it runs, without a word of warning:",
      bool(wrong_way.isfinite().all()), "and equals:",
      torch.allclose(mine[1:], wrong_way, atol=1e-2))
assert torch.allclose(mine, right_way, atol=1e-6)

# %% [markdown]
# **One stream.** Put all tokens and cells under one another, each with a learned vector that says which modality it is from, $Z \in \mathbb{R}^{(n+m)\times e}$, and let all look at all: one layer of BERT on both modalities, and the form of most large vision-language models. **A graph** is more particular: cells and words are nodes of different *types*, and each kind of edge (cell to cell, cell to word, word to cell, word to word) has weights of its own. Cross-attention goes along one of its four kinds of edge. One stream is its cousin: one set of weights for all edges, and one softmax over all $n + m$ instead of one for each kind. What is read out at the end is the mean of all tokens, or one learned token put before them, BERT's [CLS] (in the lists below: *one stream, first*).
#
# ## 6. One interface, any number of modalities
#
# All heads of `cmlib/fusion` read `States`: for every modality a tensor (batch, states, size) and, where there is padding, a mask. They are made with a dict of sizes, `Mlp({"image": 128, "text": 128, "sound": 40}, n_classes=2)`, and a third modality changes that dict and nothing else.
#
# So the form test of section 2 is one function for all of them. Give a *fresh* head, never trained, the four tickets of a square: one state a modality, the colour's one-hot vector. If $\Delta$ is not 0, its form can compare. If it is 0 up to rounding, with weights drawn at random **in every layer**, training will not make it compare on such rows. (In every layer: a last layer that starts at 0, as in adapters, hides what the form can do. And on single states: with one state a softmax is constant, so a head that bends nothing but by attention would look as if it added.)
#
# **Predict before you run.** For which heads of the list is $\Delta = 0$? And which will need most operations for a pair, at nearly equal weights?

# %%
bench = runpy.run_path(str(ROOT / "benchmarks" / "fusion.py"))
zoo = bench["heads"]()  # name → make(sizes, n_classes)

def one_hot(*symbols):
    """Each modality as a single state: States of one-hot vectors, (rows, 1, K)."""
    named = zip(("photo", "words", "sound"), symbols)
    encoded = {name: nn.functional.one_hot(s).float()[:, None] for name, s in named}
    return States(encoded)

corner = one_hot(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))
print(f"{'':21s} weights   MFLOP a pair   can compare")
costs = {}
for name, make in zoo.items():
    torch.manual_seed(0)
    with torch.no_grad():
        score = make({"photo": 2, "words": 2}, 2)(corner).cpu().double()
    delta = (score[0] + score[3] - score[1] - score[2]).abs().max().item()
    cost = costs[name] = bench["cost"](make, {"image": 128, "text": 128})
    print(f"{name:21s} {cost['weights']:7,}   {cost['mflop']:12.2f}   {delta > 1e-5}")
    assert (delta < 1e-5) == name.startswith("additive")

# %% [markdown]
# Every head but the additive ones can compare, whatever it pools: **what looks like a large choice of forms is, for this question, one bit**, and only the heads that add lack it. (Weights are nearly equal by design, the work is not: whoever looks at every cell with every word pays for it, here with up to forty times the operations of an MLP on means. Operations and seconds stand beside the accuracies in section 9; `python benchmarks/fusion.py` compares the speeds in one interleaved run.)
#
# So why does the log have heads at chance?
#
# ## 7. Pooling and form, one at a time
#
# The experiment is small enough for this page. Refund desk, situation S alone, two colours, the messages of the ordinary desk: some name two colours ("I wanted the blue one, not the red one"), so that the mean of a message holds both. Two forms, *adds* and *multiplies*; two poolings, the *mean* and *4 learned queries*; the same rows, batches and steps. One control: four queries that stay at random, as wide as the learned ones. Five seeds, each with its own rows to train and to test on.
#
# A **learned query** is a vector $q$ that every state is compared with: the pooled vector is $\sum_i \mathrm{softmax}_i(x_i^\top q)\,x_i$. With $q = 0$ all states weigh the same: a mean again. (Of normalised states; our heads without queries normalise after the mean.)
#
# **Predict before you run.** Which of the four cells rise well above a coin flip? And the control? Is pooling by queries a remedy for the head that adds?

# %%
torch.manual_seed(0)
encoders = FusionModel(image_encoder(cfg.image_encoder),
                       text_encoder(cfg.text_encoder), n_classes=2)
desk = RefundDesk(n_colors=2, probabilities=(0, 0, 0, 1))
ROWS, TEST = (1000, 400) if cfg.name == "small" else (400, 100)
SEEDS = range(5)
tickets = {"train": desk.sample(len(SEEDS) * ROWS),
           "test": desk.sample(len(SEEDS) * TEST, split="test")}
states = {split: extract_states(encoders, pairs, targets=("ordered_color",))
          for split, pairs in tickets.items()}
sizes = {name: x.shape[2] for name, x in states["train"].states.items()}
print({name: tuple(x.shape) for name, x in states["train"].states.items()})
print("for example:", next(t for t in tickets["train"].texts
                           if "red" in t and "blue" in t and len(t) < 90))

def averaged(rows):
    """The same rows with the mean as the only state: what mean pooling leaves."""
    left = {name: masked_mean(x, rows.mask(name))[:, None]
            for name, x in rows.states.items()}
    return States(left, {}, rows.labels, rows.targets)

def of(seed, split, rows=None, size=None):
    """The rows that belong to this seed."""
    size = {"train": ROWS, "test": TEST}[split]
    return (rows or states)[split][seed * size:(seed + 1) * size]

def train(make, seed, rows, epochs=10, batch_size=50, learning_rate=3e-3):
    """(accuracy on test and training rows (2,), loss of every step (steps,), head)."""
    torch.manual_seed(seed)
    head = make()
    history = fit(head, of(seed, "train", rows), epochs=epochs, batch_size=batch_size,
                  learning_rate=learning_rate, seed=seed, progress=False)
    both = [evaluate(head, of(seed, split, rows)).accuracy
            for split in ("test", "train")]
    return torch.tensor(both), torch.tensor(history.batch_loss), head

def random_queries():
    """Multiplies, on four queries that are not trained."""
    head = LowRank(sizes, 2, 4, rank=64)
    head.query.requires_grad_(False)
    return head

means = {split: averaged(rows) for split, rows in states.items()}
contenders = {("adds", "mean"): lambda: Additive(sizes, 2),
              ("adds", "4 queries"): lambda: Additive(sizes, 2, 4),
              ("multiplies", "mean"): lambda: LowRank(sizes, 2, rank=64),
              ("multiplies", "random queries"): random_queries,
              ("multiplies", "4 queries"): lambda: LowRank(sizes, 2, 4, rank=64)}
right, known, losses = {}, {}, {}  # accuracy on test and on training rows; losses
for (form, pool), make in tqdm(contenders.items(), desc="heads"):
    rows = means if pool == "mean" else states
    runs = [train(make, seed, rows) for seed in SEEDS]
    right[form, pool], known[form, pool] = torch.stack([both for both, _, _ in runs], 1)
    losses[form, pool] = torch.stack([loss for _, loss, _ in runs])  # (seeds, steps)

def told(values):
    """Mean ± spread over the seeds; a wide spread is not printed."""
    spread = f"± {values.std():.3f}" if values.std() < 0.05 else "(wide) "
    return f"{values.mean():.3f} {spread}"

print("accuracy in S, mean of seeds   new rows   training rows")
for name in contenders:
    if name[1] != "random queries":  # these differ much by seed
        print(f"{name[0]:10s} {name[1]:20s}{right[name].mean():8.1f}"
              f"{known[name].mean():16.1f}")
best = right["multiplies", "4 queries"]
others = [x for name, x in right.items() if name != ("multiplies", "4 queries")]
apart = bool((best > torch.stack(others).amax(0)).all())  # paired by seed
print("multiplying after learned queries is above the four others in every seed:",
      apart)
gap = known["multiplies", "random queries"] - right["multiplies", "random queries"]
print("on random queries it is worse, by more than 0.05, in every seed:",
      bool((best - right["multiplies", "random queries"] > 0.05).all()))
print("and knows its training rows better than new ones, by more than 0.05, in every "
      "seed:", bool((gap > 0.05).all()))
assert cfg.name != "small" or (apart and best.mean() > 0.75)
assert cfg.name != "small" or (gap > 0.05).all()

def words_only(rows):
    """Messages with the ordered colour as the label."""
    masks = {"text": rows.masks["text"]} if "text" in rows.masks else {}
    return States({"text": rows.states["text"]}, masks, rows.targets["ordered_color"])

spoken = [{split: words_only(part) for split, part in rows.items()}
          for rows in (means, states)]

def probe(n_queries):
    return lambda: Additive({"text": sizes["text"]}, 2, queries=n_queries)

to_the_end = {"epochs": 100, "batch_size": ROWS, "learning_rate": 0.1}
on_mean = [train(probe(0), seed, spoken[0], **to_the_end) for seed in SEEDS]
on_query = [train(probe(1), seed, spoken[1]) for seed in SEEDS]
found, gain = (torch.stack([both[0] for both, _, _ in runs])
               for runs in (on_mean, on_query))
gain = gain - found  # paired by seed
print(f"which colour was ordered, linear probe on the mean {told(found)}")
print("the probe on one query is ahead by more than 0.05 in every seed:",
      bool((gain > 0.05).all()))
assert cfg.name != "small" or (gain > 0.05).all()

# %% [markdown]
# Only one cell of the four works. The head that adds is at a coin flip with either pooling, so good pooling cannot repair a form. The head that multiplies is little better on the mean, so a good form cannot repair pooling. **Neither factor has an effect of its own to be ranked by: what the one is worth depends on the other.** Random queries give as many numbers as learned ones, and help little: what helps is that the queries are *learned*.
#
# Look at the training rows as well. On the mean, and still more on random queries, the head that multiplies knows more of its own rows than of new ones: what it finds are rows learned by heart, and more steps would find more of them. That is the fourth cause, **what carries over**.
#
# That pooling is behind it shows without any fusion: the last lines are of a *linear probe* that names the ordered colour from the message alone, pooled the one way and the other (the probe on the mean has ten times as many passes over its rows, and names two of three). One learned vector finds the word that was meant; the mean mixes it with the word that was not. A head after the mean compares the photo with a message that says badly which colour it is about.
#
# ## 8. What the optimiser finds
#
# The third cause. Look at the training loss of the runs above, step by step.

# %%
fig, ax = plots.figure(width=6.6, height=3.1)
FIVE = plots.GREY, "#56B4E9", "#E69F00", "#8C6D31", "#1A1A1A"
for (form, pool), color in zip(losses, FIVE):
    window = min(10, losses[form, pool].shape[1])
    smooth = losses[form, pool].unfold(1, window, 1).mean(2)  # means of ten steps
    ax.plot(range(10, 10 + smooth.shape[1]), smooth.mean(0), color=color,
            label=f"{form}, {pool}")
    ax.fill_between(range(10, 10 + smooth.shape[1]), smooth.amin(0), smooth.amax(0),
                    color=color, alpha=0.15, lw=0)
ax.axhline(torch.tensor(2.0).log(), color="black", lw=1, ls="--", label="ln 2")
ax.set(xlabel="step", ylabel="training loss (mean of 10 steps)", ylim=(0, 0.85),
       title="Five heads, the same 200 steps")
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plots.show(fig, "Training losses of five heads. All start near ln 2 and stay there for "
                "some dozens of steps; then multiplying after learned queries falls "
                "steeply, and the others sink slowly.")

def wait(loss):
    """Steps until the mean loss of ten steps is below 0.6."""
    below = (loss.unfold(0, min(10, len(loss)), 1).mean(1) < 0.6).nonzero()
    return 10 + int(below[0]) if len(below) else len(loss)

def told_where(seed):
    """Multiplies, and its four text queries begin as the one that the probe found."""
    head, found = LowRank(sizes, 2, 4, rank=64), on_query[seed][2]
    with torch.no_grad():
        head.query["text"].copy_(found.query["text"].expand(4, -1))
    return head

waits = {"finds its queries": losses["multiplies", "4 queries"],
         "linear probe, one query": [loss for _, loss, _ in on_query],
         "is given the queries": [
             train(lambda seed=seed: told_where(seed), seed, states, epochs=3)[1]
             for seed in SEEDS]}
waits = {name: torch.tensor([float(wait(loss)) for loss in runs])
         for name, runs in waits.items()}
own, alone, given = waits.values()
claims = {"given the queries it waits less than two thirds as long": given < own / 1.5,
          "the probe waits at least half as long as the head": alone > own / 2,
          "the probe waits longer than the head that is given them":
              alone > given * 1.5}
for claim, holds in claims.items():
    print(f"{claim}, in every seed: {bool(holds.all())}")
assert cfg.name != "small" or all(holds.all() for holds in claims.values())

# %% [markdown]
# The head that ends far above a coin spends its first steps where the hopeless ones stay. It is tempting to blame the product: a photo's factor that is noise would tell the message's factor nothing, and the other way round. The rows above test that. The *linear probe* of section 7 multiplies nothing and sees no photo, and it waits at least half as long as the head. And the same head, given the probe's query, is off in less than two thirds of its time. **What takes the steps is the query, to find the word; not the product.** A study that stopped before that would have reported that multiplying does not work here.
#
# Is a head still on its way, or at its end? Its loss does not say. The exact table can: there is no pooling, no noise and no shortage of rows. Here is `LowRank` with a **single** product on the table of six colours, once with weights by hand, as in step 2 of section 2, and then as training finds them.

# %%
K = 6
c, d = (x.flatten() for x in torch.meshgrid(torch.arange(K), torch.arange(K),
                                            indexing="ij"))
often = torch.where(c == d, K - 1, 1)  # as many equal as different pairs
c, d = c.repeat_interleave(often), d.repeat_interleave(often)
pairs = one_hot(c, d)
table = States(pairs.states, {}, (c != d).long())
symbols = {"photo": K, "words": K}

number = torch.arange(K).float()
scale = (torch.tensor((K - 1) / K**2) + 1e-5).sqrt()  # LayerNorm divides by it
square = number.square()
by_hand = LowRank(symbols, 2, rank=1)
weights = by_hand.state_dict()
weights |= {f"factor.{k}.weight": number[None] * scale for k in range(2)}
weights |= {f"factor.{k}.bias": number.mean()[None] for k in range(2)}
weights |= {"out.weight": torch.tensor([[0.0], [-2.0]]),
            "out.bias": torch.stack([torch.tensor(0.0), 2 * square.mean() - 0.5]),
            "straight.weight": torch.stack([0 * square, square * scale]).repeat(1, 2)}
by_hand.load_state_dict(weights)
hand = evaluate(by_hand, table).accuracy
print(f"{'one product, by hand':26s} right in {hand:.3f} of the table")

def on_the_table(make, steps):
    """Accuracy on the whole exact table after training on it, five seeds: (5,)."""
    found = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        head = make()
        fit(head, table, epochs=steps, batch_size=len(table), learning_rate=0.03,
            seed=seed, progress=False)
        found.append(evaluate(head, table).accuracy)
    return torch.tensor(found)

by_rank = {}
for rank, steps in ((1, 50), (1, 200), (5, 50), (18, 50)):
    found = on_the_table(lambda rank=rank: LowRank(symbols, 2, rank=rank), steps)
    by_rank[rank, steps] = found
    whole = bool((found > 0.999).all()), bool((found < 0.999).all())
    what = "product " if rank == 1 else "products"
    print(f"{rank:2d} {what}, trained {steps:3d} steps   the whole table "
          f"in every seed: {whole[0]!s:5s}   in no seed: {whole[1]}")
longer = by_rank[1, 200] > by_rank[1, 50]
print("one product gains by the longer training, in every seed:", bool(longer.all()))
print("and then has 0.9 of the table or more, in every seed:",
      bool((by_rank[1, 200] > 0.9).all()))
assert hand == 1 and (by_rank[18, 50] > 0.999).all() and (by_rank[5, 50] > 0.999).all()
assert (by_rank[1, 200] > 0.9).all()
assert (by_rank[1, 50] < 0.98).all() and longer.all()

# %% [markdown]
# One product *can* do it. In 50 steps training finds it in no seed; with four times the steps some seeds have the whole table, and none has less than 0.9 of it. With five products, as many as the table of largest margin needs, and with eighteen, 50 steps are enough every time. **The form allows the rule with one product; more of them make it quick to find.** Whether that is for the margin of section 2 or for something else, this table does not say.
#
# Four causes, then, and a test for each:
#
# | suspect | test | cost |
# |---|---|---|
# | form | $\Delta$ on a square of inputs, of a head with random weights in every layer | one forward pass |
# | pooling | a linear probe on what the head is given, one modality at a time | seconds |
# | optimiser | more steps, another rate, more factors; the exact table, where you have one | minutes |
# | what carries over | accuracy on training rows beside that on new ones | none |
#
# Ask in this order. A head whose $\Delta$ is 0 needs no probe, and a head that is given nothing needs no steps. The last one is free, and tells the third from the fourth: a head that does not know its training rows has not arrived; one that knows them, and no others, has, in the wrong place.

# %% [markdown]
# ## 9. The whole zoo
#
# Now read the log with these eyes: situation S alone, six colours, 3,000 rows to train, five seeds with rows of their own. One modality alone, or the majority, is at one half there.
#
# **Predict before you run.** Sort the heads by what they are *given* and not by what they are *called*. Which family is ahead?

# %%
GIVEN = {"the mean of each": POOLED,
         "4 queries of each": [name for name in zoo if "4 queries" in name],
         "every cell, and the mean of the words": ("FiLM",),
         "every cell and every word": ("cross-attention", "one stream",
                                       "one stream, first", "graph")}
measured = {name for name in log["synergy"] if len(log["synergy"][name]) >= 5}
print(f"{'':21s} S, six colours   training loss   seconds   MFLOP")
for given, names in GIVEN.items():
    print(f"given {given}")
    for name in names:
        if name not in measured:
            continue
        loss, took = (of_log("synergy", name, what).mean()
                      for what in ("train_loss", "seconds"))
        print(f"  {name:19s} {told(of_log('synergy', name))}   {loss:13.3f}   "
              f"{took:7.1f}   {costs[name]['mflop']:5.2f}")
missing = [name for name in zoo if name not in measured]
if missing:
    print("not measured yet with five seeds:")
    for name in missing:
        print(f"  {name}")
    print(f'by: python benchmarks/fusion.py --study synergy --heads "{missing[0]}" …')
averages = torch.stack([of_log("synergy", name) for name in POOLED])
queries = torch.stack([of_log("synergy", name) for name in GIVEN["4 queries of each"]
                       if name != "additive, 4 queries"])
print("each head on queries that can compare is above each head on means, every seed:",
      bool((queries.amin(0) > averages.amax(0)).all()))
assert (queries.amin(0) > averages.amax(0)).all()

print("\naccuracy, and with four times the steps:")
for name in ("additive, 4 queries", "FiLM", "cross-attention", "one stream, first"):
    short, longer = of_log("synergy", name), of_log("longer", name)
    print(f"{name:20s}{told(short)}  {told(longer)}  training loss at most "
          f"{of_log('longer', name, 'train_loss').max():.3f}")
longest = of_log("longer", "cross-attention")
print("cross-attention by seed:", " ".join(f"{x:.3f}" for x in longest.tolist()))
stream = of_log("synergy", "one stream")
print("one stream by seed:", " ".join(f"{x:.3f}" for x in stream.tolist()))

print(f"\n{'the whole desk':27s} all              R      I      T      S")
for n_colors in (2, 6):
    runs = log.get(f"mixture, {n_colors} colours", {})
    whole = [name for name in runs if len(runs[name]) >= 5 and name != "about"]
    if not whole:
        print(f"  {n_colors} colours: not measured yet: "
              "python benchmarks/fusion.py --study mixture")
    for name in whole:
        groups = torch.tensor([[row["situations"][k] for k in "RITS"]
                               for row in runs[name].values()])
        values = "  ".join(f"{x:.3f}" for x in groups.mean(0).tolist())
        every = of_log(f"mixture, {n_colors} colours", name)
        print(f"  {n_colors} colours, {name:19s} {told(every)}  {values}")
ceiling = RefundDesk(6).ceilings()
print(f"  {'ceiling, photo alone':27s}{ceiling['image']:.3f}\n"
      f"  {'ceiling, message alone':27s}{ceiling['text']:.3f}\n"
      f"  {'ceiling, both':27s}{ceiling['both']:.3f}"
      "          1.000  1.000  1.000  1.000\n"
      f"  {'ceiling, only adding':27s}{3.75 / 4:.3f}"
      "          1.000  1.000  1.000  0.750")

# %% [markdown]
# **Two families are told apart by pooling.** Whichever way the averaged vectors are joined, the heads that can compare lie within seven points of one another, and MLP and low rank, the two of them that were also run on queries, are far above them all there. The names of the heads, by which surveys sort them, explain little; within the family of means, low rank and tensor are ahead.
#
# **The last two families do not follow the rule.** Cross-attention, one stream and the graph are given *everything*, and they spread from chance to the top of the list. Take one stream: four seeds are at 0.85 or more, and one is at chance with a training loss near $\ln 2 = 0.693$. Same form, same food, other rows and other random numbers, and it does not even know its own rows: that is the optimiser. Cross-attention and *one stream, first* end near chance as well. Is that the form, or the optimiser? The second table gives them four times the steps on the very same rows. *One stream, first* is above 0.92 in every seed: its 0.556 was the optimiser, and nothing of the form. Cross-attention lies anywhere from 0.56 to 0.95, and knows its training rows in every seed: in one of the five it has learned them by heart instead of the rule. The control that must not move is the additive head on queries, and it stays at chance. FiLM does not move either, for another reason: it sees every cell, but of the words only the mean, from which section 7 could hardly read the colour, and with more steps it learns its rows by heart. **A ranking at one number of steps is also one of how soon each head arrives.**
#
# On the whole desk, all four situations at equal shares, three quarters of the tickets ask for no comparison, and a sum of opinions could reach the last ceiling of the table without ever making one. Ours is far below it, and the columns say where: in T, whose ceiling is 1, as well as in S. In T low rank rises from 0.74 on means to 0.98 on queries with six colours, same form: pooling again, in a situation that asks for no comparison at all. And look at S with six colours, low rank on queries: 0.916 where S was all there was, 0.620 in the mixture. Of the same 3,000 rows only a quarter are of S here, and what is learned from so few carries over badly. So report by situation, and read column S first.
#
# **At full scale** nothing on this page changes but the encoders of section 7, which read fewer rows there: on a GPU the setup cell picks `bert-base-uncased` and `resnet50`, the sizes become 768 and 2,048, the map 7 × 7, and the heads take their sizes from the data. What they reach there has not been measured.
#
# ## 10. Break it: a third modality, and another world
#
# Give the desk a microphone: the customer's call is either calm or angry, and company rules turn the decision round for angry callers. The label is then the *parity* of three bits. By the interface it is one more entry in `sizes`. A tempting head for three modalities is a **sum over pairs** (photo-words, photo-sound, words-sound). Can it do it?
#
# **Predict before you run:** the cross-entropy of the best sum over pairs on this table of eight cells.

# %%
bits = torch.cartesian_prod(*[torch.arange(2)] * 3)  # (8, 3)
three = States(one_hot(*bits.T).states, {}, bits.sum(1) % 2)
trio = {"photo": 2, "words": 2, "sound": 2}

class Pairs(nn.Module):
    """One MLP for every two modalities, and the sum of what they say."""
    def __init__(self):
        super().__init__()
        twos = (("photo", "words"), ("photo", "sound"), ("words", "sound"))
        self.heads = nn.ModuleList(
            Mlp({name: trio[name] for name in two}, 2, hidden_size=16) for two in twos)

    def forward(self, states):
        return sum(head(states) for head in self.heads)

parity = {"sum of three opinions": lambda: Additive(trio, 2), "sum over pairs": Pairs,
          "product of three": lambda: LowRank(trio, 2, rank=16),
          "MLP on all three": lambda: Mlp(trio, 2, hidden_size=64)}
for name, make in parity.items():
    ends = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        history = fit(make(), three, epochs=50, batch_size=8, learning_rate=0.05,
                      seed=seed, progress=False)
        ends.append(history.batch_loss[-1])
    ends = torch.tensor(ends)
    stuck = bool((ends - torch.tensor(2.0).log()).abs().max() < 0.01)
    print(f"{name:22s} at ln 2 in every seed: {stuck!s:5s}   "
          f"below 0.05 in every seed: {bool(ends.max() < 0.05)}")
    assert stuck == name.startswith("sum")

# %% [markdown]
# $\ln 2$: a coin. The pairs add up, and no sum over pairs contains what needs three; the form test of section 2 has an edition for cubes, and you write it for any number of modalities in 08.5. With each new modality ask again what the form leaves out.
#
# **And the other world.** The emoji are the trap of this page: a reader of section 9 alone would take the head that multiplies, with queries.

# %%
print(f"{'emoji, of the log':22s} accuracy          training loss")
print(f"{'majority':22s} {told(of_log('emoji', 'majority'))}")
shown = [name for name in log["emoji"] if name not in ("majority", "about")]
for name in shown:
    loss = of_log("emoji", name, "train_loss").mean()
    print(f"{name:22s} {told(of_log('emoji', name))}     {loss:.3f}")
for better, worse in (("MLP", "low rank"), ("additive", "low rank"),
                      ("MLP, 4 queries", "low rank, 4 queries")):
    lead = of_log("emoji", better) - of_log("emoji", worse)  # paired by seed
    print(f"{better} minus {worse}: {lead.mean():+.3f}, ahead in "
          f"{int((lead > 0).sum())} of 5 seeds")
    assert (lead > 0).all()
for better, worse in (("MLP", "tensor"), ("additive", "tensor"),
                      ("additive", "low rank, 4 queries")):
    lead = of_log("emoji", better) - of_log("emoji", worse)
    print(f"{better} ahead of {worse} in {int((lead > 0).sum())} of 5 seeds")
losses_of = [of_log("emoji", name, "train_loss") for name in ("low rank", "MLP")]
print("low rank knows its training rows better than the MLP, in every seed:",
      bool((losses_of[0] < losses_of[1]).all()))
assert (losses_of[0] < losses_of[1]).all()

# %% [markdown]
# The two heads that multiply the halves with one another, low rank and tensor, come below the MLP and below the plain *sum of opinions* in every seed, all on means. On queries low rank is below the MLP in every seed, and below the sum (on means) in four of five. (The gate, whose product is of another kind, is among the best.) Neither form nor optimiser is to blame: low rank knows its training rows *better* than the MLP does, and pooling is the same for both. What it knows does not **carry over**: the fourth cause. Each half tells much by itself here, and rows are few. Queries, worth so much on the desk, move the MLP by no more than the spread. (No head was stopped early, and all seeds split the same 1,398 emoji. That, too, stands behind a ranking: with another budget the order may be another.)
#
# **How to choose**, then, for data of your own:
#
# 1. Baselines first: majority, each modality alone, and the sum of opinions. If the sum is as good as anything, your label needs no comparing (yet), and you are done.
# 2. Ask of the form one bit: can it compare what has to be compared, for all modalities at once?
# 3. Ask of pooling what it leaves, by a probe on each modality. Where the label hangs on one word or one place, the mean is the first thing to change.
# 4. Then two or three heads at most, the same budget for each, five seeds, fresh rows or paired ones, accuracy on training rows beside that on new ones; the cheapest of those that lie within the spread.
# 5. A published ranking tells you what to put on that short list, and not its order.

# %% [exercise] 08.5
# **On paper first.** Let $Z$ be a table with one axis for each of $M$ modalities. For a set $A$ of axes let $Z_A$ be what is left when the mean is taken over every axis outside $A$, and the mean over each axis inside $A$ is subtracted. (a) Show that $Z = \sum_A Z_A$ and that different parts are orthogonal (the sum of products of their entries is 0), so that the variance of $Z$ is the sum of the mean squares of all $Z_A$ with $A \ne \emptyset$. (b) Show that a sum of functions that look at no more than $k$ modalities each has $Z_A = 0$ wherever $A$ has more than $k$ axes. (c) What does that say about a sum over pairs and the parity of three bits? (d) And of which order is "equal" for two colours?
#
# **Then build it.** Your function receives `table`, float64 with any number $M \ge 1$ of axes, and returns float64 `(M,)`: entry $k - 1$ is the sum over all $A$ with $k$ axes of the mean square of $Z_A$, which is the part of the variance (not divided by the whole) that a head must look at $k$ modalities *at once* to say.

# %% [stub]
def variance_by_order(table):
    """How much of a table needs how many modalities at a time.

    table : float64, one axis for each of M modalities   returns : float64 (M,)
    """
    raise NotImplementedError

# %% [solution]
from itertools import product

def variance_by_order(table):
    found = torch.zeros(table.ndim, dtype=table.dtype)
    for kept in product((False, True), repeat=table.ndim):
        part = table
        for axis, inside in enumerate(kept):
            mean = part.mean(axis, keepdim=True)
            part = part - mean if inside else mean
        if any(kept):
            found[sum(kept) - 1] += part.square().mean()
    return found

# %% [hints]
# Each axis is treated in one of two ways: its mean is taken, or its mean is taken away. How many combinations are there, and to which order does each belong?
# ---
# `itertools.product((False, True), repeat=table.ndim)` lists the sets $A$. For each, walk through the axes with `keepdim=True`: `part.mean(axis, keepdim=True)`, or `part` minus that. The order is the number of axes in $A$; the empty set is the grand mean, which is no variance.
# ---
# ```python
# for kept in product((False, True), repeat=table.ndim):
#     part = table
#     for axis, inside in enumerate(kept):
#         mean = part.mean(axis, keepdim=True)
#         part = ____
#     # then the mean square of the part, added to its order
# ```

# %% [answer]
# (a) Write $E_a$ for the mean over axis $a$ (kept, and repeated). Means over different axes commute, $E_aE_a = E_a$, and $E_a$ is symmetric: it is a projection, and so is $I - E_a$. $Z_A = \prod_{a\in A}(I-E_a)\prod_{a\notin A}E_a\,Z$. Since $I = \prod_a\big(E_a + (I - E_a)\big)$, multiplying out gives $Z = \sum_A Z_A$. For $A \ne B$ some axis $a$ is in one and not in the other, so the scalar product of $Z_A$ and $Z_B$ contains $E_a(I - E_a) = 0$. The part of $A = \emptyset$ is the grand mean, and the variance is the mean square of the rest, which by orthogonality is the sum of the mean squares.
#
# (b) Parts are linear in $Z$, so look at one function $f$ of the axes in $B$, $|B| \le k$. If $A$ has more than $k$ axes, one of them, $a$, is not in $B$. $f$ does not vary along $a$, so $(I - E_a)f = 0$, and $f_A = 0$.
#
# (c) The parity of three bits, as $\pm1$, is $s_1s_2s_3$. Its mean over any axis is 0, so all of it is $Z_{\{1,2,3\}}$. A sum over pairs has nothing there: it is orthogonal to the parity. Its cross-entropy is therefore at least $\ln 2$: with $y = \pm1$ and score $z$ the loss $\ln(1 + e^{-yz})$ is at least $\ln 2 - yz/2$ (the tangent of a convex function), and the mean of $yz$ is 0. For two axes this is step 4 of section 3 in lesson 06.
#
# (d) As $\pm1$, "equal" is $s_1s_2$ for two colours: all of it is of order 2. For $K$ colours with uniform weights a part of it is the grand mean, and the rest is of order 2 as well: no opinion of one modality helps. The *rank* of that part is $K-1$, and yet one product is enough for the right signs (section 2): order says what is needed, rank says how comfortably.

# %% [markdown]
# ## 11. Recap
#
# You can now
# - test the form of a head before training, by one mixed difference;
# - write a gated unit, a low-rank bilinear form, FiLM and cross-attention, and check them against trusted layers;
# - say what rank buys, what a mean throws away, and what the first steps are spent on;
# - tell four causes apart by changing one at a time, and choose a head without believing a ranking.
#
# `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? The mixed difference of a trained head is 0.0003 of its largest score, and S is at one half. What do you know?
# - Its form cannot compare :: The form is tested on random weights. A trained head may have a small Δ because it has not found the comparison.
# + That it does not compare now; weights drawn at random in every layer say whether its form could :: Form is what holds for all weights. Draw new ones, also for a layer that starts at 0, and look whether Δ is 0 up to rounding.
# - That its encoders are bad :: Δ is about the head alone, on inputs that you choose.
# - That more steps will help :: They may; they will not if Δ is 0 for every choice of weights.
# ? A low-rank head with 4 products fails on twelve colours. "Equality of twelve colours has rank 11", says a colleague. Is that the reason?
# + Hardly: two opinions and one product have the right signs for any number of colours :: Rank buys margin, and ways in for the optimiser. Ask what the head is given, and train longer or with more products.
# - Yes, 4 is less than 11 :: That is the rank of one particular table with these signs, the one of largest margin.
# - Yes, unless the encoders are fine-tuned :: One product would be enough for any encoder that tells the colours.
# ? On your data, cross-attention is three points above concatenation of means. What would show that it is the *attention* that helps?
# - Five seeds instead of one :: They show that the lead is no accident, and not what makes it.
# - A larger MLP after the means :: The form of an MLP already compares; it is given too little.
# + Concatenation of learned queries, with the same budget :: It also sees more than the mean, and has no words that look at cells. If it closes the gap, the gain was pooling.
# ? For three modalities a head adds an MLP for each pair. When is that a loss?
# - Never, three modalities have only pairs :: The parity of three bits is in no pair.
# + When what counts needs all three at once :: All of the parity is of order 3, and a sum over pairs has nothing there: ln 2, however large the MLPs are.
# - When the pairs do not share weights :: Sharing or not, it is a sum over pairs.

# %% [markdown]
# **Glossary**: *form*, the set of functions that a head can compute with some weights · *mixed difference*, $Z_{cd} + Z_{c'd'} - Z_{cd'} - Z_{c'd}$, 0 for every sum of opinions · *interaction part*, a table without the means of its rows and columns · *margin*, smallest over largest score in size · *rank*, how many products a bilinear form needs · *learned query*, a vector that decides which states count · *FiLM*, words that scale and shift the channels of a map · *one stream*, all tokens of all modalities in one sequence · *carrying over*, that what fits the training rows holds for new ones as well · *order*, how many modalities a part of a function looks at together.
#
# **References**
# - J. Arevalo, T. Solorio, M. Montes-y-Gómez, F. González, *Gated multimodal units for information fusion*, ICLR workshop 2017: exercise 08.1.
# - J.-H. Kim and others, *Hadamard product for low-rank bilinear pooling*, ICLR 2017: exercise 08.2, and what the rank costs.
# - A. Zadeh and others, *Tensor fusion network for multimodal sentiment analysis*, EMNLP 2017; Z. Liu and others, *Efficient low-rank multimodal fusion with modality-specific factors*, ACL 2018: the outer product with a 1, and its low-rank form for any number of modalities.
# - E. Perez, F. Strub, H. de Vries, V. Dumoulin, A. Courville, *FiLM: visual reasoning with a general conditioning layer*, AAAI 2018: exercise 08.3.
# - A. Vaswani and others, *Attention is all you need*, NeurIPS 2017: exercise 08.4; J. Lu, D. Batra, D. Parikh, S. Lee, *ViLBERT*, NeurIPS 2019: attention across two streams; L. H. Li and others, *VisualBERT*, 2019: one stream.
# - M. Schlichtkrull and others, *Modeling relational data with graph convolutional networks*, ESWC 2018: a weight for every type of edge.
# - P. P. Liang and others, *MultiBench: multiscale benchmarks for multimodal representation learning*, NeurIPS 2021: many heads on fifteen data sets, and no winner.

# %% [progress]
