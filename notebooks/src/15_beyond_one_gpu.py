# %% [markdown]
# # 15 Beyond one GPU
#
# **The one thing to take away:** a sum does not care who adds it. Where a loss is a sum over rows, its gradient is a sum over shares of rows, so many machines can take exactly the step of one. All the rest is about where the numbers lie, and which of them travel.
#
# You will be able to
# - make the gradient of several processes that of one: with uneven shares, in parts, and where rows are compared;
# - walk numbers round a ring, and count what each machine sends;
# - say which stage of sharding takes which bytes away, and what it leaves;
# - cut a model into columns or into stages, and draw the schedule of a pipeline;
# - tell from two numbers of a link, and the work, where another GPU is wasted;
# - start one script in three ways, and see to it that nothing survives when a part of it dies.
#
# **Before this:** [11](11_contrastive.ipynb) (rows that are compared), [13](13_fine_tuning.ipynb) (what a step keeps in memory; a batch in parts).
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import json
import math
import subprocess
import sys
import textwrap
import time
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from cmlib import plots
from cmlib.course.schematic import Schematic
from cmlib.training.crew import Crew
from cmlib.training.memory import size as in_words
from cmlib.training.planning import Link, bytes_by_stage, pipeline
cfg = cmlib.setup("15")
crew = Crew(2)   # two more Python processes start now, and import torch while you read

claim = cfg.claim

# %% [markdown]
# ## 1. Two machines, one batch
#
# One GPU has become too slow for you, so you rent two machines. Each gets a part of the batch, each computes its gradient, and DDP (PyTorch's `DistributedDataParallel`) takes the mean of both. Two *processes* show everything except the speed, and `Crew(2)` has started two. `crew.run(function, …)` writes the source of the function into a script file, both processes run it, each with its number in `team.rank`, and their two results come back as a list.
#
# You sort texts by length, and each machine takes rows until it has its 4,000 tokens: **nine short tickets on the one, three long ones on the other.**
#
# **Predict before you run:** no error will come. How far is the gradient of the two from the gradient that one machine would get from the twelve rows?

# %%
def net():
    """A small classifier, the same one for whoever calls this."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3)).double()

def batch():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(12, 12, generator=draw, dtype=torch.float64)
    return x, torch.randint(3, (12,), generator=draw)

def gradient(model):
    """All gradients in one vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters()])

def as_usual(team, sizes):
    """What most scripts do: own rows, their mean loss, DDP around the model."""
    first = sum(sizes[:team.rank])
    x, y = (part[first:first + sizes[team.rank]] for part in batch())
    model = nn.parallel.DistributedDataParallel(net())
    loss = F.cross_entropy(model(x), y)
    loss.backward()                               # DDP takes its mean in here
    return float(loss), gradient(model)

def off(found, wanted):
    """How long the difference is, in parts of what is wanted."""
    return float((found - wanted).norm() / wanted.norm())

x, y = batch()
alone = net()
F.cross_entropy(alone(x), y).backward()
whole = gradient(alone)
tiny = [net, batch, gradient]
for sizes in ((6, 6), (9, 3), (12, 0)):
    (loss, one), (there, other) = crew.run(as_usual, sizes, helpers=tiny)
    print(f"shares {sizes}: losses {loss:.3f} and {there:.3f}; gradient off by "
          f"{off(one, whole):.3f}, the same in both: {torch.equal(one, other)}")

fig, axes = plots.figure(1, 2, width=6.4, height=2.3, sharey=True)
for ax, (n, m) in zip(axes, ((6, 6), (9, 3))):
    weights = [1 / (2 * n)] * n + [1 / (2 * m)] * m
    ax.bar(range(12), weights, color=[plots.IMAGE] * n + [plots.TEXT] * m)
    ax.axhline(1 / 12, color="black", ls=":", lw=1)
    ax.set(title=f"shares of {n} and {m}", xlabel="row", xticks=[0, 5, 11])
axes[0].set_ylabel("weight in the gradient")
plots.show(fig, "Weight of each of twelve rows in the mean of two means. Shares of "
                "six: all rows at one twelfth, the dotted line. Shares of nine and "
                "three: nine blue rows below it, at one eighteenth, and three orange "
                "ones far above it, at one sixth.")

# %% [markdown]
# Equal shares: exact. Nine and three: another step, and nobody says a word; both processes agree on it, and the losses look like losses. Look at the right panel: in a mean of two means every row of the small share counts **three times** as much. If long texts keep landing in small shares, this is no noise that averages out: it is another loss, in which long texts count more. Twelve and none: the mean of no row is nan, its gradient is 0, and the gradient of both is half as long. (Losses times a mask, added up and divided by a count of 0, would send nan to everybody.)
#
# ## 2. The sum that does not care
#
# **Step 1.** The loss of a batch of $N$ rows is a mean, $L = \frac1N\sum_{i=1}^N \ell_i$, so its gradient is a sum: $g = \frac1N\sum_i \nabla\ell_i$.
#
# **Step 2.** Cut the rows into shares, $S_r$ with $n_r$ rows for process $r = 0 \dots P-1$. A sum may be added up in any grouping:
#
# $$g \;=\; \sum_{r=0}^{P-1}\Big(\frac1N\sum_{i\in S_r}\nabla\ell_i\Big).$$
#
# **Step 3.** DDP gives everybody $\frac1P\sum_r\nabla\lambda_r$, where $\lambda_r$ is what process $r$ called `backward` on. This is $g$ if
#
# $$\lambda_r \;=\; \frac PN\sum_{i\in S_r}\ell_i \;=\; P\,\frac{n_r}{N}\cdot(\text{mean of its own losses}).$$
#
# For equal shares $P\,n_r/N = 1$, and the usual script is right. Of the two forms take the sum: for a share without a row it is 0, and the mean is nan. The process that has none must take part all the same, since the others wait for it.
#
# **Step 4.** The same sum may be taken over *time*: one process computes the parts of its share one after the other, adds up the gradients, and talks to the others at the last part only. Processes × parts: nobody can tell from the step how the rows were spread. (What the gradient cannot show: the sum may be rounded in another order, and dropout draws other numbers.)
#
# **Step 5.** Equal weights at the start (DDP sends those of process 0) + equal gradients + equal optimisers = equal weights for ever. So **weights are never sent again: what travels in a step is one sum of gradients** and, where shares differ, the counts.
#
# **A worked example.** Losses 1, 2, 3 on process 0, and 10 on process 1. Mean of all: 4. Mean of the means 2 and 10: 6. With the factors: $\lambda_0 = \frac24(1+2+3) = 3$ and $\lambda_1 = \frac24\cdot10 = 5$; their mean is 4.
#
# What is a row? *Whatever the mean is taken over.* A language model takes it over tokens that are not padding, and then tokens are to be counted, not texts. (The Trainer of `transformers` learned this in late 2024; its switch is called `average_tokens_across_devices`.)

# %% [exercise] 15.1
# Write what a process calls `backward` on. Your function receives `losses`, float64 `(rows, tokens)`, one for every token of this process's texts; `mask`, bool `(rows, tokens)`, True where a token counts; and `counts`, a list of integers: how many tokens count in each process, this one among them. The mean over the processes of your scalar's gradients has to be the gradient of the mean over all tokens that count, of all processes. A process may have none, and calls `backward` all the same.

# %% [stub]
def own_share(losses, mask, counts):
    """The loss of one process, for a mean of gradients over processes.

    losses : float64 (rows, tokens)   mask : bool (rows, tokens)
    counts : one int a process        returns : scalar
    """
    raise NotImplementedError

# %% [solution]
def own_share(losses, mask, counts):
    processes, tokens = len(counts), sum(counts)
    return losses[mask].sum() * (processes / tokens)

# %% [hints]
# Step 3, with tokens in the place of rows. Which of its two forms survives a process without a token?
# ---
# The sum over the own tokens that count, times $P/N$; $P$ is the length of `counts`, $N$ its sum.
# ---
# ```python
# own = losses[mask].sum()
# return own * ____
# ```

# %% [markdown]
# The course's `fit` keeps to this since lesson 00: it looks how many processes there are, takes its share of every batch, and weighs it by rows. Here are 25 rows in batches of 8, so that the last batch is a single row and process 1 has nothing to do but to take part. The same function runs alone, in this notebook, and twice in the crew, once with each share in two parts.

# %%
def trained(team, accumulate=1):
    """Three epochs of the course's fit on 25 rows, by whoever is there."""
    from cmlib import fit
    from cmlib.data import Features
    from cmlib.fusion.concat import Concat
    draw = torch.Generator().manual_seed(2)
    image = torch.randn(25, 4, generator=draw, dtype=torch.float64)
    text = torch.randn(25, 3, generator=draw, dtype=torch.float64)
    rows = Features(image, text, (image[:, 0] + text[:, 0] > 0).long())
    torch.manual_seed(0)
    model = Concat(4, 3, 2, head="mlp", hidden_size=8).double()
    fit(model, rows, epochs=3, batch_size=8, learning_rate=0.01, progress=False,
        accumulate=accumulate)
    return torch.cat([p.detach().cpu().flatten() for p in model.parameters()])

one_process = trained(None)
for accumulate in (1, 2):
    found = crew.run(trained, accumulate, helpers=[])
    gap = max(float((weights - one_process).abs().max()) for weights in found)
    claim(f"two processes, shares in {accumulate} part(s): the weights of one process, "
          f"to 1e-9", gap < 1e-9)

# %% [markdown]
# After twelve steps of AdamW the two have the weights that one process has. This is the test to write for *your* script, too: one machine and two on the same rows, in float64, and with a tolerance as narrow as this one (AdamW hardly feels a gradient that is twice as long).
#
# ## 3. Round the ring
#
# How do $P$ processes add up a vector of $B$ bytes, so that all of them have the sum (an **all-reduce**)? The plain way: everybody sends to process 0, which adds and sends the sum back. Its line carries $(P-1)B$ in and $(P-1)B$ out.
#
# **Step 1.** Cut the vector into $P$ chunks. The processes stand in a ring, and each sends only to its right neighbour, all at the same time.
#
# **Step 2: adding up.** In step $k = 0 \dots P-2$ process $r$ sends chunk $(r-k) \bmod P$, and the neighbour *adds* what arrives to its own. What it has just added to is what it sends next. After $P-1$ steps process $r$ has chunk $(r+1) \bmod P$ complete.
#
# **Step 3: sharing out.** In step $j = 0 \dots P-2$ process $r$ sends chunk $(r+1-j) \bmod P$, and the neighbour *puts it in the place* of its own.
#
# **Step 4.** That makes $2(P-1)$ messages of $B/P$ bytes: each process sends
#
# $$2\,\frac{P-1}{P}\,B \;<\; 2B\quad\text{bytes, however many processes there are.}$$
#
# In the drawing three processes (rows) hold three chunks (columns); the number is how many processes' numbers are in it.

# %% tags=["hide-input"]
states = {
    "start": ("111", "111", "111"), "k = 0": ("112", "211", "121"),
    "k = 1": ("132", "213", "321"), "j = 0": ("332", "233", "323"),
    "j = 1": ("333", "333", "333")}
shade = {"1": None, "2": plots.IMAGE, "3": plots.BOTH}
sketch = Schematic(8.6, 2.3)
for place, (name, rows) in enumerate(states.items()):
    middle = 1.35 + 1.6 * place
    sketch.grid((middle, 1.05), [[shade[number] for number in row] for row in rows],
                cell=0.36, words=[list(row) for row in rows], fontsize=9)
    sketch.text(name, (middle, 1.85), fontsize=9)
    if place:
        sketch.arrow((middle - 0.98, 1.05), (middle - 0.62, 1.05))
for row in range(3):
    sketch.text(f"process {row}", (0.38, 1.41 - 0.36 * row), fontsize=8)
sketch.text("adding up", (3.75, 2.15), fontsize=9, color=plots.IMAGE)
sketch.text("sharing out", (6.95, 2.15), fontsize=9, color=plots.BOTH)
sketch.text("each row sends one chunk to the row below it, the last one to the first",
            (4.55, 0.2), fontsize=8)
sketch.show("Five grids of three processes by three chunks. At the start each chunk "
            "holds one process's numbers. After the first two steps each process has "
            "one complete chunk, green; after two more steps all nine are complete.")

# %% [exercise] 15.2
# Walk round it. Your function receives `chunks`, float64 `(processes, chunks, numbers)` with as many chunks as processes, what everybody holds at the start, and the integer `steps`, from 0 to $2(P-1)$. It returns what everybody holds after that many steps, in the same shape: first the $P-1$ steps of adding up, then those of sharing out.

# %% [stub]
def ring_after(chunks, steps):
    """What each process holds after some steps of a ring all-reduce.

    chunks : float64 (P, P, numbers)   returns : (P, P, numbers)
    """
    raise NotImplementedError

# %% [solution]
def ring_after(chunks, steps):
    held = chunks.clone()
    P = held.shape[0]
    rank = torch.arange(P)
    right = (rank + 1) % P
    for step in range(steps):
        adding = step < P - 1
        sent = (rank - step) % P if adding else (rank + 1 - (step - P + 1)) % P
        message = held[rank, sent]                       # all send at the same time
        held[right, sent] = held[right, sent] + message if adding else message
    return held

# %% [hints]
# One step: every process reads a chunk and its right neighbour changes the chunk *of the same number*.
# ---
# With `before = held.clone()`, process `r` sends `before[r, c]` to `held[(r + 1) % P, c]`; `c` is $(r-k) \bmod P$ while adding up, $(r+1-j) \bmod P$ while sharing out, with $j = k-(P-1)$.
# ---
# ```python
# for step in range(steps):
#     before = held.clone()
#     for r in range(P):
#         right = (r + 1) % P
#         if step < P - 1:
#             c = (r - step) % P
#             held[right, c] = before[right, c] + before[r, c]
#         else:
#             c = ____
#             held[right, c] = before[r, c]
# ```

# %% [markdown]
# The course's version, `ring_all_reduce`, does it with real messages (`isend`, `recv`). Beside it stands `dist.all_reduce`, which DDP calls: first with two processes, which is what we have, then on paper for more.

# %%
def around(team, numbers):
    """A ring by hand and torch's own all-reduce, on a vector of this process."""
    from cmlib.training.ring import ring_all_reduce
    own = torch.Generator().manual_seed(team.rank)
    x = torch.randn(numbers, generator=own, dtype=torch.float64)
    by_hand, sent = ring_all_reduce(x)
    return by_hand, sent, team.total(x)

for numbers in (1000, 1001, 1):
    found = crew.run(around, numbers)
    (by_hand, sent, torchs), (there, sent_there, _) = found
    print(f"{numbers:5d} numbers: the sum that torch has: "
          f"{torch.equal(by_hand, torchs) and torch.equal(there, torchs)}; "
          f"sent {sent} and {sent_there}")
print("\nbytes that the busiest process sends, in parts of the vector")
for processes in (2, 8, 64, 1024):
    print(f"{processes:5d} processes: all to one {processes - 1:5d}, "
          f"ring {2 * (processes - 1) / processes:.3f}")

# %% [markdown]
# A ring moves less than twice the vector per process, for two machines as for a thousand. What grows is the *number* of messages, $2(P-1)$, each of which has to wait for the one before: section 7 will make us pay for that. The two halves have names of their own, **reduce-scatter** and **all-gather**, and sections 4 and 5 use them one by one.
#
# ## 4. Rows that are compared
#
# The contrastive loss of lesson 11 compares each photo with all texts of the batch. It is *no* sum over rows that know nothing of one another, so step 2 does not hold, and a process that sees only its own share computes something else. (BatchNorm is another such place: its mean is the mean of the share. A ResNet that is trained by two processes is another run than by one, unless its statistics are frozen or, on GPUs, gathered, which is torch's `SyncBatchNorm`. The net of section 2 had none.)
#
# Write $x_i, t_i$ for the vectors of photo and text, of length 1, and $s$ for the scale. Row $i$ costs
#
# $$\ell_i = -\tfrac12\log\frac{e^{s\,x_i\cdot t_i}}{\sum_j e^{s\,x_i\cdot t_j}} - \tfrac12\log\frac{e^{s\,x_i\cdot t_i}}{\sum_j e^{s\,x_j\cdot t_i}}\,.$$
#
# The vectors of all rows are few numbers, so gather them (an all-gather). But gathered numbers come without a graph: to autograd they are constants. A photo $x_i$ stands in **its own row's loss, and in everybody else's, as a wrong partner**. In the losses of the other processes it is a constant, and that part of its gradient is lost without a word.
#
# Two ways out. **(a)** A gather that autograd knows: on the way back each process collects (a reduce-scatter) what the others' losses say about its rows. **(b)** Nothing is sent back. Every process computes the loss of *all* rows, from the gathered vectors, in which its own rows, with their graph, are **put back in their place**. Since everybody computes the whole loss, all that there is to say about the own rows is said here, and the sum over the processes is complete. DDP divides it by $P$; so multiply the loss by $P$.

# %% [exercise] 15.3
# Write way (b). Your function receives `image` and `text`, float64 `(rows, size)`, the own rows, of length 1, with a graph; `images` and `texts`, `(processes, rows, size)`, those of all processes, gathered without a graph, the own ones among them; `rank`, the number of this process; and `scale`. It returns the scalar to call `backward` on, so that a *mean* over the processes gives the gradient of the whole batch's loss (the mean of $\ell_i$ over all rows). Checked are its value, and what arrives at `image` and `text`.

# %% [stub]
def shared_contrast(image, text, images, texts, rank, scale):
    """InfoNCE over all processes, for a mean of gradients over processes.

    image, text : float64 (rows, size)   images, texts : (processes, rows, size)
    returns : scalar
    """
    raise NotImplementedError

# %% [solution]
def shared_contrast(image, text, images, texts, rank, scale):
    processes = len(images)

    def put_back(own, gathered):
        return torch.cat([own if process == rank else gathered[process]
                          for process in range(processes)])

    logits = scale * put_back(image, images) @ put_back(text, texts).T
    partner = torch.arange(logits.shape[0])
    rows, columns = F.cross_entropy(logits, partner), F.cross_entropy(logits.T, partner)
    return processes * (rows + columns) / 2

# %% [hints]
# Build the vectors of all rows first, so that autograd knows exactly those of this process. Then it is lesson 11's loss.
# ---
# `torch.cat([*images[:rank], image, *images[rank + 1:]])` is `(processes · rows, size)`. Row $i$'s partner is column $i$. Mean over all rows, mean of both directions, and the factor that makes DDP's division good.
# ---
# ```python
# everybody = torch.cat([*images[:rank], image, *images[rank + 1:]])
# words = torch.cat([*texts[:rank], text, *texts[rank + 1:]])
# logits = scale * everybody @ words.T
# partner = torch.arange(len(logits))
# loss = (F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)) / 2
# return loss * ____
# ```

# %% [markdown]
# Four ways in the two processes: 16 pairs, eight on each, two small towers in float64. The last is the course's own, `compared` (the engine behind lesson 11's GradCache, which cuts a batch over time *and* over processes, and here takes each share in one part).
#
# **Predict before you run:** which is further off, a process that knows only its own rows, or one that sees all rows, gathered without a graph?

# %%
def towers():
    torch.manual_seed(3)
    return nn.ModuleList([nn.Linear(12, 8), nn.Linear(12, 8)]).double()

def pairs():
    draw = torch.Generator().manual_seed(4)
    return torch.randn(2, 16, 12, generator=draw, dtype=torch.float64)

def vectors(model, rows):
    """Photos and texts (2, rows, 12) → two tensors of length 1, (rows, 8)."""
    return tuple(F.normalize(tower(one), dim=1) for tower, one in zip(model, rows))

def info_nce(image, text, images, texts, first=0):
    """Own rows against all; row k's partner is number first + k."""
    partner = first + torch.arange(len(image))
    return (F.cross_entropy(10 * image @ texts.T, partner)
            + F.cross_entropy(10 * text @ images.T, partner)) / 2

def contrast(team, way):
    """The mean over the processes of their losses, and of their gradients."""
    from torch.distributed.nn.functional import all_gather
    from cmlib.training.accumulate import compared
    model, own = towers(), pairs()[:, team.rank::team.size]
    if way == "the course's compared":
        loss, _ = compared(lambda rows: vectors(model, rows),
                           lambda both: info_nce(*both, *both), [own], team, n=16)
        return float(loss), team.total(gradient(model)) / team.size
    image, text = vectors(model, own)
    first, images, texts = 0, image, text
    if way != "own rows alone":
        gather = all_gather if way == "gathered with gradient" else team.gather
        images, texts = (torch.cat([*gather(one)]) for one in (image, text))
        first = team.rank * len(image)
    if way == "gathered, no gradient":
        images, texts = images.detach(), texts.detach()
    loss = info_nce(image, text, images, texts, first)
    loss.backward()
    mean = team.total(loss.detach()) / team.size
    return float(mean), team.total(gradient(model)) / team.size

model = towers()
both = vectors(model, pairs())
loss_of_all = info_nce(*both, *both)
loss_of_all.backward()
wanted = gradient(model)
helpers = [gradient, towers, pairs, vectors, info_nce]
WAYS = ("own rows alone", "gathered, no gradient", "gathered with gradient",
        "the course's compared")
error = {}
print(f"{'one process, all rows':24s} loss {loss_of_all.item():.4f}")
for way in WAYS:
    loss, found = crew.run(contrast, way, helpers=helpers)[0]
    error[way] = off(found, wanted)
    cosine = F.cosine_similarity(found, wanted, dim=0).item()
    print(f"{way:24s} loss {loss:.4f}, gradient off by {error[way]:.3f}, "
          f"cosine {cosine:.3f}")
claim("the last two: the gradient of one process, to 1e-12",
      max(error[way] for way in WAYS[2:]) < 1e-12)

# %% [markdown]
# Read the third line of the output again. All rows were gathered, the loss *is* the right one, and the gradient is further off than without any gathering. Much of that is its length, which AdamW hardly feels: by direction (the cosine) the two wrong ones are about equal in this one draw. (`open_clip`, a much used trainer of CLIPs, has switches for this: the loss of the own rows is meant to be used together with the gather that autograd knows; without either it takes way (b), and leaves out the factor $P$.)
#
# **Does a wrong gradient make a worse model?** Five seeds of lesson 11's towers on 3,840 photos and captions, in batches of 256 that are shared among processes, asked in fresh galleries of 1,000. **Predict before you run:** order the four.

# %%
log = json.loads((ROOT / "data" / "runs" / "shares_contrast.json").read_text("utf-8"))
recall = {name: torch.tensor(values, dtype=torch.float64)
          for name, values in log["found"].items()}
fig, ax = plots.figure(width=6.4, height=2.4)
colors = (plots.BOTH, plots.IMAGE, plots.TEXT, plots.GREY)
for place, ((name, values), color) in enumerate(zip(recall.items(), colors)):
    ax.plot(values, [-place] * 5, "o", color=color, ms=5, alpha=0.7)
    ax.plot(values.mean(), -place, "|", color="black", ms=18)
    difference = values - recall["all rows"]
    print(f"log: {name:23s} R@1 {values.mean():.3f} "
          f"({values.min():.3f} to {values.max():.3f}), minus all rows, "
          f"by seed {difference.min():+.3f} to {difference.max():+.3f}")
ax.set(yticks=[0, -1, -2, -3], yticklabels=list(recall), ylim=(-3.6, 0.6),
       xlabel="R@1 in a gallery of 1,000, five seeds")
plots.show(fig, "R@1 of five seeds as dots, mean as a bar. All rows and gathered "
                "without gradient lie above one another near .80; own rows of 8 "
                "processes near .77; own rows of 32 processes near .65.")

# %% [markdown]
# Fewer rows to compare with cost something in every seed: 32 of them a little, 8 a lot. The gather without gradient costs nothing that five seeds can show: some are above, some below. What is lost there is one half of what is said about a photo, its part in the losses of the texts; its own row still pulls it to its text and pushes it away from all others. The table above could not foretell that: it is one draw of towers that have learned nothing, in two processes of eight rows. So an error of the gradient says that your script does not do what you think; it does not say what that costs. And "it trains well" does not show that the gradient is right.
#
# ## 5. What fills memory
#
# Data parallel needs no less memory: every process holds everything. Lesson 13 counted it, in float32 with AdamW: 4 bytes for each weight, 4 for its gradient, 8 for the two moments, **16 bytes a weight**, and what the forward pass keeps of its rows. (With weights and gradients in 16 bits beside a float32 copy it is 2 + 2 + 12, the same 16.) Seven billion weights make 112 GB: no card of 80 GB holds that, and $P$ cards hold the same 112 GB $P$ times.
#
# All of these copies are equal: who needs them? AdamW works number by number. So cut each layer's numbers into $P$ pieces, and let process $r$ alone keep the moments of piece $r$: it updates its piece, and an all-gather hands the new weights round. That is **stage 1** (ZeRO). It only needs its piece of the summed *gradient*, too, so the all-reduce stops at its first half, the reduce-scatter: **stage 2**. At last even the weights are kept in pieces, and a layer is gathered for the moment in which it computes: **stage 3**, in PyTorch `fully_shard` (FSDP).
#
# | each process keeps, of $n$ weights | weights | gradient | moments | whole for a moment |
# |---|---|---|---|---|
# | stage 0 (DDP) | $4n$ | $4n$ | $8n$ | |
# | stage 1 | $4n$ | $4n$ | $8n/P$ | |
# | stage 2 | $4n$ | $4n/P$ | $8n/P$ | the gradient of one layer |
# | stage 3 | $4n/P$ | $4n/P$ | $8n/P$ | gradient and weights of one layer |
#
# The last column is why stage 3 does not go to zero: the largest layer stands there whole, first its weights, then its gradient as well, before it is given away. What rows leave behind is not in the table: rows are shared out anyway, and no stage makes a single row smaller.

# %% [exercise] 15.4
# Fill in the table. Your function receives `layers`, a list of integers, how many weights each layer has, and the integer `processes`. **Each layer is cut by itself, and its pieces are rounded up.** It returns an int64 tensor `(4,)`: the bytes that one process needs at its peak at stages 0, 1, 2 and 3, in float32 with AdamW, with what is whole for a moment (of the largest layer), and without what the forward pass keeps.

# %% [stub]
def bytes_kept(layers, processes):
    """Bytes that each process needs, at stages 0 to 3.

    layers : ints, the weights of each layer   returns : int64 (4,)
    """
    raise NotImplementedError

# %% [solution]
def bytes_kept(layers, processes):
    n = sum(layers)
    piece = sum(-(-layer // processes) for layer in layers)      # rounded up
    stages = [16 * n, 8 * n + 8 * piece,
              4 * n + 12 * piece + 4 * max(layers),
              16 * piece + 8 * max(layers)]
    return torch.tensor(stages)

# %% [hints]
# You need three numbers: all weights, all pieces of one process, and the largest layer.
# ---
# A piece of a layer of $m$ weights has $\lceil m/P\rceil$ numbers, in Python `-(-m // processes)`; add these up over the layers. Then read the table row by row.
# ---
# ```python
# n, largest = sum(layers), max(layers)
# piece = sum(-(-layer // processes) for layer in layers)
# return torch.tensor([16 * n, 8 * n + 8 * piece,
#                      4 * n + 12 * piece + 4 * largest, ____])
# ```

# %% [markdown]
# Two processes train a net with `fully_shard`, three steps of AdamW; this notebook trains it whole. Then count what each process *keeps*. Below that, the table on paper for seven billion weights in 33 layers.

# %%
def wide_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                         nn.Linear(64, 4)).double()

def in_pieces(team):
    """Three steps of a model of which each process keeps a part."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    mesh = init_device_mesh("cpu", (team.size,))
    model = wide_net()
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)     # gathered when it computes, cut after
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    x, y = (part[team.rank::team.size] for part in batch())
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    moments = [value.to_local() for state in optimizer.state.values()
               for name, value in state.items() if name != "step"]
    return {"weights": [p.full_tensor().detach() for p in model.parameters()],
            "kept weights": sum(p.to_local().numel() for p in model.parameters()),
            "kept moments": sum(value.numel() for value in moments)}

model = wide_net()
optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
for _ in range(3):
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
found = crew.run(in_pieces, helpers=[wide_net, batch])
gap = max(float((there - p).abs().max().detach())
          for there, p in zip(found[0]["weights"], model.parameters()))
claim("in pieces: the weights of the whole model after three steps, to 1e-12",
      gap < 1e-12)
n = sum(p.numel() for p in model.parameters())
for rank, one in enumerate(found):
    print(f"process {rank} keeps {one['kept weights']:,} of {n:,} weights, "
          f"{one['kept moments']:,} of {2 * n:,} moments")

layers = [131_072_000 * 2] + [210_500_000] * 32   # words in and out, and 32 layers
print(f"\n{sum(layers):,} weights: each process needs, at stage\n"
      f"   processes {'0':>10s} {'1':>10s} {'2':>10s} {'3':>10s}")
for processes in (1, 8, 64, 512):
    need = bytes_by_stage(layers, processes)
    row = " ".join(f"{in_words(int(stage)):>10s}" for stage in need)
    print(f"   {processes:9d} {row}")

# %% [markdown]
# Half of the weights and moments, and the same model. On paper eight cards of 80 GB hold this model at any stage from 1 on, some with little room for rows; at 512 stage 3 keeps a few GB, most of them the largest layer. Look at the first line, too: alone, stages 2 and 3 need *more* than stage 0.
#
# What does it cost on the line? Stages 1 and 2 send what DDP sends: a reduce-scatter of gradients and an all-gather of weights are together an all-reduce. Stage 3 gathers the weights a second time, for the way back: half as much again.
#
# A trap: whoever works on pieces must not forget what is *not* number by number. Clip by the norm of your own piece, and each process clips by another factor; the norm is a sum of squares over **all** pieces, one more all-reduce of one number.
#
# ## 6. Cutting the model
#
# Sharding stores a layer in pieces and computes it whole. One can also *compute* in pieces: the model itself is parallel.
#
# **By columns** (tensor parallel). Take two layers, $y = W_2\,\phi(W_1 x)$. Process $r$ has some of the hidden units: these rows of $W_1$, and the same columns of $W_2$. Since $\phi$ works on each unit alone, $\phi(W_1 x)$ needs no exchange, and $y = \sum_r W_2^{(r)}\phi\big(W_1^{(r)}x\big)$ is a sum: one all-reduce. Cut it the other way round and it fails: $\phi(a + b) \ne \phi(a) + \phi(b)$.
#
# **By stages** (pipeline parallel). Process 0 has the first layers, process 1 the last. It sends activations forward, and gets back the gradient of exactly these. At the cut, autograd ends on one machine and goes on from the other: `detach`, send, `requires_grad_()` there; back comes `.grad`.
#
# The first is chatty (two all-reduces for each such pair of layers in every step, so it wants the fastest links), the second sends little, and has another problem: while process 0 computes, process 1 waits.
#
# (*Model parallel* is sometimes called a way of compression. It is none: the model has as many weights as before, on more machines.)

# %%
def by_columns(team):
    """Both layers of net(), half of the hidden units in each process."""
    model, (x, y) = net(), batch()
    first, second = model[0], model[2]
    half = slice(16 * team.rank, 16 * (team.rank + 1))
    hidden = F.relu(x @ first.weight[half].T + first.bias[half])
    own = hidden @ second.weight[:, half].T              # a part of a sum
    others = team.total(own.detach()) - own.detach()     # for autograd: constants
    logits = own + others + second.bias
    F.cross_entropy(logits, y).backward()
    return first.weight.grad[half], second.weight.grad[:, half]

def by_stages(team, parts):
    """First layers in process 0, the last in process 1; the batch in parts."""
    model, (x, y) = net(), batch()
    stage = model[:2] if team.rank == 0 else model[2:]
    kept = []
    for rows, answers in zip(x.split(parts), y.split(parts)):          # forward
        if team.rank == 0:
            kept.append(stage(rows))
            dist.send(kept[-1].detach(), 1)
        else:
            arrived = torch.empty(len(rows), 32, dtype=torch.float64)
            dist.recv(arrived, 0)
            arrived.requires_grad_()
            loss = F.cross_entropy(stage(arrived), answers, reduction="sum") / len(x)
            kept.append((arrived, loss))
    for one in kept:                                                   # and back
        if team.rank == 1:
            arrived, loss = one
            loss.backward()
            dist.send(arrived.grad, 0)
        else:
            back = torch.empty_like(one)
            dist.recv(back, 1)
            one.backward(back)
    return gradient(stage)

halves = crew.run(by_columns, helpers=tiny)
first = torch.cat([one[0] for one in halves])
second = torch.cat([one[1] for one in halves], dim=1)
claim("by columns: the gradient of the whole model, to 1e-12",
      off(first, alone[0].weight.grad) < 1e-12
      and off(second, alone[2].weight.grad) < 1e-12)
for parts in ([12], [5, 4, 3]):
    stages = torch.cat(crew.run(by_stages, parts, helpers=tiny))
    claim(f"by stages, parts of {parts} rows: the gradient of the whole model, "
          "to 1e-12", off(stages, whole) < 1e-12)
a, b = torch.tensor([1.0]), torch.tensor([-2.0])
print(f"relu(1 − 2) = {F.relu(a + b).item():.0f}, "
      f"relu(1) + relu(−2) = {(F.relu(a) + F.relu(b)).item():.0f}")

# %% [markdown]
# **The bubble.** With the batch in one part, two stages work one after the other, and half of the time of both is lost. Cut it into $m$ parts: stage 1 begins when the first part arrives. Move the stages and the parts; white is waiting.
#
# **Predict before you run:** four stages, eight parts. Which share of the time do they wait? And with one part?

# %%
def drawn(stages=4, parts=8):
    """GPipe's schedule for equal stages; the way back takes twice as long."""
    stages, parts = int(stages), int(parts)
    ahead, back = pipeline([1.0] * stages, [2.0] * stages, parts)
    fig, ax = plots.figure(width=6.6, height=2.4)
    for ends, long, color in ((ahead, 1, plots.IMAGE), (back, 2, plots.TEXT)):
        for stage in range(stages):
            ax.barh(stage, long, left=ends[stage] - long, color=color, height=0.7,
                    edgecolor="white", lw=0.6)
    waits = 1 - 3 * parts / float(back.max())
    ax.set(xlim=(0, float(back.max())), yticks=range(stages), ylabel="stage",
           xlabel="time, in parts forward", ylim=(stages - 0.5, -0.5),
           title=f"waiting: {waits:.0%}")
    ax.grid(visible=False)
    return fig

plots.explore(drawn, "The schedule of a pipeline: blue on the way forward, orange on "
                     "the way back; the more parts, the less white.",
              stages=(1, 8, 1, 4), parts=(1, 32, 1, 8))

# %% tags=["nbval-ignore-output"]
plots.show(drawn(), "Four stages, eight parts. A blue staircase goes forward from "
                    "stage 0 to 3, an orange one comes back from 3 to 0; the corners "
                    "between and beside them are white: 27 % of the time.")

def asleep(team, parts, seconds):
    """Two stages whose work is to sleep: forward seconds/parts, back twice that."""
    import time
    message = torch.zeros(4)
    dist.barrier()
    begun = time.perf_counter()
    for way, first in ((1, 0), (2, 1)):          # forward from stage 0, back from 1
        for _ in range(parts):
            if team.rank != first:
                dist.recv(message, first)
            time.sleep(way * seconds / parts)
            if team.rank == first:
                dist.send(message, 1 - first)
    dist.barrier()
    return time.perf_counter() - begun

waiting = {}
for parts in (1, 2, 4, 8):
    ends = pipeline([0.1 / parts] * 2, [0.2 / parts] * 2, parts)[1]
    took = min(crew.run(asleep, parts, 0.1)[0] for _ in range(2))
    waiting[parts] = 1 - 0.3 / took
    print(f"2 stages, {parts} part(s): {took:.3f} s, planned {float(ends.max()):.3f} s;"
          f" waiting {waiting[parts]:.2f}, planned {1 - 0.3 / float(ends.max()):.2f}")
claim("measured: 8 parts wait less than 1 part, by 0.1 or more",
      waiting[8] < waiting[1] - 0.1)
sizes = [(p, m) for p in (2, 4) for m in (1, 2, 4, 8)]
planned = [1 - 3 * m / float(pipeline([1.0] * p, [2.0] * p, m)[1].max())
           for p, m in sizes]
claim("planned for 2 and 4 stages: the waiting is (p − 1)/(m + p − 1)",
      all(abs(waits - (p - 1) / (m + p - 1)) < 1e-12
          for (p, m), waits in zip(sizes, planned)))

# %% [markdown]
# Four stages wait 3/11 of the time with eight parts, 3/4 with one. The processes keep to the plan, because their "work" is sleep. Real parts are not free: few rows do not keep a processor busy (lesson 13, operations for each byte), so at some number of parts the work itself becomes slower. And each part's activations are kept until it comes back. (Schedules that let a part come back early keep fewer of them; the bubble is the same.) Exercise 15.5 writes the plan.
#
# ## 7. What the links cost
#
# So far everything was equal, and nothing was fast. When is it? A message of $n$ bytes takes about
#
# $$t(n) = \alpha + \frac n\beta,\qquad\text{so a ring takes } \; t_{\text{ring}} = 2(P-1)\Big(\alpha + \frac{B}{P\,\beta}\Big),$$
#
# with a latency $\alpha$ in seconds and a rate $\beta$ in bytes per second. Measure both with a ping-pong between our two processes: the smallest message gives $\alpha$, the largest $\beta$. Then *foretell* the ring of exercise 15.2 and torch's all-reduce, for all sizes between, and look how good that is.

# %% tags=["nbval-ignore-output"]
def timed(team, numbers):
    """The quickest ping-pong (one way), ring and all-reduce, in seconds."""
    import time
    from cmlib.training.ring import ring_all_reduce
    message = torch.zeros(numbers)

    def ping_pong():
        for sender in (0, 1):
            if team.rank == sender:
                dist.send(message, 1 - sender)
            else:
                dist.recv(message, sender)

    def quickest(task):
        took = []
        for _ in range(40 if numbers <= 10_000 else 10):
            dist.barrier()
            begun = time.perf_counter()
            task()
            took.append(time.perf_counter() - begun)
        return min(took)

    return [quickest(ping_pong) / 2, quickest(lambda: ring_all_reduce(message)),
            quickest(lambda: dist.all_reduce(message))]

sizes = [1, 1_000, 10_000, 100_000, 1_000_000]
found = torch.tensor([crew.run(timed, numbers)[0] for numbers in sizes])
in_bytes = 4 * torch.tensor(sizes, dtype=torch.float64)
latency = float(found[0, 0])
link = Link(latency, float(in_bytes[-1] / max(found[-1, 0] - latency, 1e-9)))
foretold = torch.tensor([link.all_reduce(float(n), 2) for n in in_bytes])
print(f"α {1e6 * link.latency:.0f} µs, β {link.rate / 1e9:.2f} GB/s")
print("   bytes      one way      the ring   all_reduce     foretold   (microseconds)")
for n, row, plan in zip(in_bytes, found, foretold):
    values = " ".join(f"{1e6 * float(t):12.0f}" for t in (*row, plan))
    print(f"{int(n):8,} {values}")
fig, ax = plots.figure(width=5.6, height=2.7)
ax.plot(in_bytes, foretold, color="black", lw=1.2, label="foretold")
ax.plot(in_bytes, found[:, 1], "o", color=plots.IMAGE, label="ring by hand")
ax.plot(in_bytes, found[:, 2], "^", color=plots.TEXT, label="torch's all_reduce")
ax.set(xscale="log", yscale="log", xlabel="bytes", ylabel="seconds")
ax.legend(fontsize=8)
plots.show(fig, "Seconds against bytes, both axes logarithmic: a black line, flat on "
                "the left and rising on the right, orange triangles of torch's "
                "all-reduce near it, and blue dots of the ring by hand above.")
claim("torch's all-reduce, at each size, within a factor of 6 of what was foretold",
      (found[:, 2] / foretold).log().abs().max() < math.log(6))
claim("foretold without β, as 2α, 4 MB would be too short by a factor of more than 6",
      found[-1, 2] > 6 * 2 * latency)
claim("4,000 bytes take less than 30 times as long as 4",
      found[1, 1] < 30 * found[0, 1])

# %% [markdown]
# Two numbers from a ping-pong foretell an all-reduce that they have never seen, roughly. (Roughly: both processes share one memory here, messages are copied more often than they travel, and a busy machine doubles anything. The ring by hand lies above the line: it makes a new tensor of every chunk, with Python between its steps.) Small messages cost $\alpha$ and nothing else, which is why DDP does not send 200 small gradients, but a few **buckets**, of 25 MB if you do not say otherwise; and it sends a bucket while the layers before it still compute their gradient, so that a part of the time is hidden.
#
# On paper: machines of eight GPUs. The numbers are assumptions of the order that data sheets give; put yours in.
#
# - a GPU computes $4\cdot10^{14}$ operations a second (that it really gets); a step of $n$ weights on $T$ tokens takes about $6nT$ of them (forward 2, back 4);
# - inside a machine: 5 µs and 400 GB/s; between machines: 20 µs and 50 GB/s for each GPU, or, over 10-gigabit Ethernet that eight GPUs share, 50 µs and .16 GB/s;
# - gradients of seven billion weights in 16 bits, 14 GB; to fit they are kept as in stage 1 or 2, which send the same; nothing is hidden.
#
# An all-reduce on two levels: a ring in each machine adds up, GPU $k$ of every machine makes a ring with the other GPUs $k$ about *its* eighth, and the sums go round inside.
#
# **Predict before you run:** a batch of 4 million tokens, always the same, on 8 to 4,096 GPUs. And instead 8,192 tokens on each GPU, so that the batch grows. Where does the share of time that is spent on computing fall below one half?

# %%
SPEED, WEIGHTS, NODE = 4e14, 7e9, 8
inside = Link(5e-6, 400e9)
networks = {"fast network": Link(20e-6, 50e9), "Ethernet": Link(50e-6, 0.16e9)}
batches = {"same batch, 4 M tokens": lambda gpus: 4e6 / gpus,
           "8,192 tokens a GPU": lambda gpus: 8192}

def step(gpus, network, tokens, weights=WEIGHTS):
    """(seconds of computing, seconds of sending), of one step."""
    size = 2 * weights                                       # bytes of the gradient
    send = inside.all_reduce(size, NODE)                     # its two halves
    send += network.all_reduce(size / NODE, gpus // NODE)    # between them
    return 6 * weights * tokens / SPEED, send

GPUS = [8 * 2**k for k in range(10)]
lines = {"fast network": "o-", "Ethernet": "s:"}
fig, ax = plots.figure(width=6.4, height=3.0)
useful = {}
for name, tokens in batches.items():
    color = plots.TEXT if name.startswith("same") else plots.BOTH
    for which, network in networks.items():
        times = [step(gpus, network, tokens(gpus)) for gpus in GPUS]
        useful[name, which] = [compute / (compute + send) for compute, send in times]
        ax.plot(GPUS, useful[name, which], lines[which], color=color, ms=4, lw=1.4,
                label=f"{name}, {which}")
ax.set(xscale="log", xticks=GPUS[::3], xticklabels=[f"{n:,}" for n in GPUS[::3]],
       ylim=(0, 1), xlabel="GPUs", ylabel="share of time computing")
ax.minorticks_off()
ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
plots.show(fig, "Share of time spent computing, 8 to 4,096 GPUs, four lines. Fast "
                "network: the growing batch stays near .9, the fixed batch falls from "
                "1 to .40. Ethernet: the growing batch drops to .07 with the second "
                "machine, the fixed batch falls from 1 to nearly 0.")
columns = (8, 16, 64, 512, 4096)
print(f"{'share of time computing':38s}" + " ".join(f"{n:7,}" for n in columns))
for (name, which), values in useful.items():
    row = " ".join(f"{values[GPUS.index(n)]:7.2f}" for n in columns)
    print(f"{name + ', ' + which:38s}{row}")
print("tokens a second, in parts of what 8 GPUs do")
for name, tokens in batches.items():
    for which, network in networks.items():
        pace = [n * tokens(n) / sum(step(n, network, tokens(n))) for n in columns]
        row = " ".join(f"{one / pace[0]:7.2f}" for one in pace)
        print(f"{name + ', ' + which:38s}{row}")
for gpus in (512, 4096):
    steps = 2 * (gpus // NODE - 1)
    print(f"{gpus:,} GPUs, fast network: {steps:,} messages one after the other wait "
          f"for {steps * networks['fast network'].latency:.3f} s")

# %% [markdown]
# **A fixed batch does not scale for ever.** Computing shrinks with every GPU, the sum does not: at 4,096 GPUs 512 times the money brings 207 times the pace. The growing batch scales; but it is another training, with fewer steps for the same tokens, and how large a batch may grow before it learns less per token is a question of learning, not of links. **Over plain Ethernet the second machine does harm** where a step is short: with 8,192 tokens a GPU, two machines do a sixth of what one does. With much work between two sums it helps, and soon no more. There one sends less often (parts before each sum, which is accumulation again) or less (only a LoRA of lesson 14).
#
# The waiting of the last two lines is what the *number* of messages of section 3 costs: a ring waits $2(P-1)$ times, a *tree* only about $2\log_2 P$ times.
#
# **TPUs** are the same mathematics in other wiring. The heart of a TPU are large grids of multipliers for products in bfloat16; the chips of a pod are joined directly, each to its neighbours in a two- or three-dimensional ring (a torus), so a ring is what the wires *are*. And you need not write `all_reduce`: a program for a TPU is compiled as a whole (XLA), you say along which axis of a mesh of chips an array is cut (rows: data parallel; weights: sharding; columns: tensor parallel), and the compiler puts the sums and gathers in where a cut needs them. The price: all shapes are fixed when it compiles, so texts are padded to a few lengths, or each new length compiles anew. The course has not been run on one.
#
# ## 8. One script, three ways to start it
#
# A crew is for notebooks. For training you write a script that does not know how many it is; what starts it says so in five variables (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`, `MASTER_PORT`). `deploy/train_together.py` is one: it draws tickets, builds BERT + ResNet, calls `fit`, and process 0 prints. `fit` finds the variables, joins the others, takes its share, and with `--checkpoint FOLDER` goes on from there when the same command is given again.

# %%
deploy = ROOT / "deploy"
shown = {"train_together.py": ("    python deploy", "    torchrun --st"),
         "train.sbatch": ("#SBATCH --nodes", "#SBATCH --gpus", "srun", "    --rdzv"),
         "train-job.yaml": ("  completions", "            - exec",
                            "              --master")}
for name, starts in shown.items():
    print(f"deploy/{name}")
    for line in (deploy / name).read_text("utf-8").splitlines():
        if line.startswith(starts):
            print("   ", " ".join(line.partition("   #")[0].split())[:92])

# %% [markdown]
# On one machine `torchrun` starts as many processes as it is told (`--nproc-per-node gpu`: one for each GPU). On several, *something* has to start a `torchrun` on every machine and tell all of them where to meet: Slurm's `srun` does it once per machine of the job, and they meet at the first machine of the list; Kubernetes starts one pod per index, and they meet at pod 0, which a headless service gives a name. A test of the course runs the script alone, then the commands of both files with two processes and the variables that Slurm and Kubernetes would set, and compares the losses: the two files give the same, and one process alone nearly the same (its ResNet's BatchNorm sees the whole batch).
#
# ## 9. Break it: one stops
#
# Processes that wait for one another have a way of failing that a single one does not know: **silence.** Three cases:
#
# - *One batch more, or a process that hangs.* Rows do not divide evenly, process 1 has one more batch than process 0, and waits for a sum that never comes. What ends it is a timeout. Set one: unless you do, torch waits 10 minutes (NCCL) or 30 (gloo). (`fit` waits ten minutes, or `CMLIB_TIMEOUT` seconds.)
# - *A process dies* (memory, a machine taken away). The others wait, or get an error about a closed connection that names nothing.
# - *The notebook's kernel is killed.* (A restart from the menu ends its children; ipykernel sees to that.) They know nothing of it, and go on computing, with your GPU's memory, for days.
#
# **Predict before you run:** what ends each of them here?

# %%
def one_more(team, seconds):
    """Three batches for process 0, four for process 1."""
    import datetime
    group = dist.new_group(timeout=datetime.timedelta(seconds=seconds))
    for number in range(1, 4 + team.rank):
        try:
            dist.all_reduce(torch.ones(3), group=group)
        except RuntimeError:
            return f"gave up at batch {number}: nobody else came within the timeout"
    return f"finished after batch {number}"

for rank, told in enumerate(crew.run(one_more, 1)):
    print(f"one batch more: process {rank} {told}.")

def dies(team):
    """Process 1 dies before the sum; process 0 would wait for it."""
    import os
    if team.rank == 1:
        os._exit(9)
    dist.all_reduce(torch.ones(3))

try:
    crew.run(dies)
except RuntimeError as error:
    print(textwrap.fill(f"a dead process: {error}", 90))
claim("nothing is left running",
      all(process.poll() is not None for process in crew.processes))
try:
    crew.run(dies)
except RuntimeError as error:
    print(error)

# %% [markdown]
# And the kernel. A stand-in for it starts two children and is killed without a warning. All of them hold one end of a line; it ends when the last of them has gone. First a crew, then two plain children (which sleep for four seconds and then go).

# %% tags=["nbval-ignore-output"]
KERNEL = """
import subprocess, sys, time
from cmlib.training.crew import Crew
if sys.argv[1] == "a crew":
    children = Crew(2, log=sys.stdout)
else:
    plain = [sys.executable, "-c", "import time; time.sleep(4)"]
    children = [subprocess.Popen(plain) for _ in range(2)]
print("they have started", flush=True)
time.sleep(60)
"""

def survive(what):
    """Seconds that the children live on when their kernel is killed."""
    kernel = subprocess.Popen([sys.executable, "-c", KERNEL, what], cwd=ROOT,
                              stdout=subprocess.PIPE)
    kernel.stdout.readline()
    time.sleep(0.5)
    kernel.kill()
    begun = time.perf_counter()
    kernel.stdout.read()             # until nobody holds the line any more
    kernel.wait()
    return time.perf_counter() - begun

lived = {what: survive(what) for what in ("a crew", "plain children")}
for what, seconds in lived.items():
    print(f"{what}: {seconds:.2f} s after the kernel")
claim("a crew has gone within two seconds", lived["a crew"] < 2)
claim("plain children live on", lived["plain children"] > 2)

# %% [markdown]
# How does a crew know? Each process reads a pipe from the kernel, in a thread of its own; when the kernel ends, *in whatever way*, the system closes the pipe, the read returns, and the process leaves. That asks for nothing but a pipe (it was tried on Linux). On Linux there is a second line, also for a process that is stuck in a call which lets no thread run, and either may have been the quicker one above: `prctl(PR_SET_PDEATHSIG, SIGKILL)` asks the system to kill it when its parent ends. It is one line at the start of a script, and worth having in yours.
#
# ## 10. A stretch: the schedule

# %% [exercise] 15.5
# **On paper first.** $p$ equal stages, $m$ equal parts; a part takes $f$ forward and $b$ back; sending costs nothing; all parts go forward, then all come back. (a) Show that all is finished after $(m+p-1)(f+b)$, and that each stage waits for $\frac{p-1}{m+p-1}$ of this time. (b) Eight stages shall wait at most a tenth of the time. How many parts are needed? (c) The stages are unequal, stage $s$ takes $f_s + b_s$ for a part. What is the time for a part when there are very many of them, and how should layers be given to stages? (d) Why not always $m = $ the number of rows?
#
# **Then build it.** Your function receives `forward` and `backward`, float64 `(stages,)`, the seconds that a part takes at each stage; the integer `parts`; and `send`, the seconds from a stage to its neighbour. A part begins at a stage as soon as it has arrived and the stage is free; parts come in their order, 0 first, on the way back too; a stage begins its way back only when *all* its parts have gone forward. Return two float64 tensors `(stages, parts)`: when each stage *ends* each part, forward and back.

# %% [stub]
def schedule(forward, backward, parts, send):
    """When each stage ends each part, on the way forward and back.

    forward, backward : float64 (stages,)   returns : two (stages, parts)
    """
    raise NotImplementedError

# %% [solution]
def schedule(forward, backward, parts, send):
    p = len(forward)
    ahead = torch.zeros(p, parts, dtype=torch.float64)
    back = torch.zeros(p, parts, dtype=torch.float64)
    for s in range(p):
        for i in range(parts):
            waits = [0.0]
            if s:
                waits.append(float(ahead[s - 1, i]) + send)
            if i:
                waits.append(float(ahead[s, i - 1]))
            ahead[s, i] = max(waits) + forward[s]
    for s in reversed(range(p)):
        for i in range(parts):
            waits = [float(ahead[s, -1]), float(back[s, i - 1]) if i else 0.0]
            if s + 1 < p:
                waits.append(float(back[s + 1, i]) + send)
            back[s, i] = max(waits) + backward[s]
    return ahead, back

# %% [hints]
# Fill a table from the corner where everything begins. What must have ended before stage $s$ can begin part $i$? Two things.
# ---
# Forward: $A_{s,i} = \max(A_{s-1,i} + \text{send},\; A_{s,i-1}) + f_s$. Back, from the last stage to the first: $B_{s,i} = \max(B_{s+1,i} + \text{send},\; B_{s,i-1},\; A_{s,m-1}) + b_s$. At the edges a term is missing.
# ---
# ```python
# for s in reversed(range(p)):
#     free = ahead[s, -1]                    # all parts have gone forward here
#     for i in range(parts):
#         there = back[s + 1, i] + send if s + 1 < p else 0.0
#         free = max(free, there) + ____
#         back[s, i] = free
# ```

# %% [answer]
# (a) Forward: stage $s$ gets part 0 after $s f$, and then works without a gap, since the parts arrive as fast as it works: it ends its last part after $(s+m)f$. The last stage ends at $(p-1+m)f$ and turns round; by the same reasoning in the other direction stage 0 ends $(p-1+m)b$ later. Of $(m+p-1)(f+b)$ each stage works $m(f+b)$; it waits for the rest, $\frac{p-1}{m+p-1}$.
#
# (b) $\frac{7}{m+7} \le \frac1{10}$ gives $m \ge 63$.
#
# (c) The slowest stage never waits once it is running, and all others wait for it: the time for a part tends to $\max_s f_s + \max_s b_s$ (forward and back are two phases, each with a slowest stage of its own). So give layers to stages such that the *slowest* becomes as quick as possible; adding a machine that does not relieve the slowest stage changes nothing.
#
# (d) The bubble would be smallest. But a part of one row does not keep a processor busy (its matrix products become thin), each part pays the latency of its messages, and BatchNorm would see a single row. Between too few parts (bubble) and too many (thin work) lies a best number, which one measures.

# %% [markdown]
# ## 11. Recap
#
# You can now
# - make the gradient of many processes that of one, and write the test which shows it;
# - count what a ring sends, and why the number of messages grows;
# - share a loss that compares rows, and say why a wrong gradient may go unnoticed;
# - choose a stage of sharding by what fills your memory;
# - cut a model by columns or stages, and plan the bubble;
# - tell from $\alpha$, $\beta$ and the work whether another machine pays;
# - start a script on one machine or many, and leave nothing running.
#
# This lesson has no part of its own for a large GPU: its subject needs several. On a machine that has them, section 8's command is the place to go on. `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? Two processes, 30 rows and 10 rows, both take the mean of their own losses, DDP averages. What is trained?
# - The same as on one machine: DDP averages :: It averages two means. A row of the share of 10 counts three times as much.
# + A loss in which the rows of the small share count three times as much :: 1/(2·10) against 1/(2·30). With P·n/N as factors it would be the mean of all.
# - The same as on one machine, only with more noise :: If the small shares differ in kind (long texts), it is another loss in every step, and nothing averages out.
# ? An all-reduce of 1 GB takes 40 ms on 8 GPUs with a ring; latency does not matter. About how long does it take on 64 such GPUs?
# - 320 ms :: It would be if the time grew with the GPUs, as all to one does: a ring sends less than 2 GB from each, however many there are.
# + 45 ms :: 2·63/64 against 2·7/8 of a GB: an eighth more.
# - 5 ms :: Every GPU must still send nearly twice the vector.
# - 40 ms to the last digit :: Nearly: 2(P − 1)/P still grows a little.
# ? Your model fits on one GPU, but AdamW's moments no longer do. What is the smallest change?
# - Pipeline stages :: They would work, and bring a bubble and a new schedule along.
# - Sharding at stage 3 :: It would work, and gathers every layer's weights twice a step.
# + Sharding at stage 1 :: The moments are cut, the traffic is that of DDP: what filled the memory goes, and nothing else changes.
# ? A colleague's contrastive training on 16 GPUs reports exactly the loss that one GPU gets for the same weights and rows. What does that show about its gradient?
# + Nothing: a gather without a graph gives the right loss and another gradient :: Compare the gradients of one process and of two, in float64, on the same rows.
# - That it is right: a loss determines its gradient :: The number does not; the graph does, and gathered rows have none.
# - That all processes hold equal weights :: The loss of equal weights would be equal; but also this would say nothing of the next gradient.

# %% [markdown]
# **Glossary**: *process*, a running program with memory of its own; *rank*, its number · *data parallel*, every process has the model and a share of the rows; *DDP*, PyTorch's · *all-reduce*, everybody gets the sum; *reduce-scatter*, everybody gets a piece of the sum; *all-gather*, everybody gets all pieces · *ring*, an order in which each sends only to its neighbour · *accumulation*, gradients of parts, added up over time · *sharding* (ZeRO, FSDP), equal copies are kept in pieces · *tensor parallel*, a layer's units on several devices; *pipeline*, its layers · *bubble*, the waiting at both ends of a pipeline · *latency* α and *rate* β of a link · *timeout*, how long a process waits for the others before it gives up.
#
# **References**
# - P. Patarasuk, X. Yuan, *Bandwidth optimal all-reduce algorithms for clusters of workstations*, JPDC 2009: the ring, and that no algorithm sends less.
# - S. Li and others, *PyTorch distributed: experiences on accelerating data parallel training*, VLDB 2020: DDP, buckets, and computing while sending.
# - S. Rajbhandari and others, *ZeRO: memory optimizations toward training trillion parameter models*, SC 2020: section 5's stages.
# - M. Shoeybi and others, *Megatron-LM*, 2019: section 6's cut by columns, in a transformer.
# - Y. Huang and others, *GPipe: efficient training of giant neural networks using pipeline parallelism*, NeurIPS 2019: parts through stages.
# - L. Gao and others, *Scaling deep contrastive learning batch size under memory limited setup*, RepL4NLP 2021: rows that are compared, in parts.
# - R. Hockney, *The communication challenge for MPP*, Parallel Computing 1994: α and β.
# - S. McCandlish and others, *An empirical model of large-batch training*, 2018: how large a batch may grow.
# - Y. Xu and others, *GSPMD: general and scalable parallelization for ML computation graphs*, 2021: say how arrays are cut, and the compiler adds the sums.
# - N. Jouppi and others, *TPU v4*, ISCA 2023: chips in a three-dimensional torus.

# %% [progress]
