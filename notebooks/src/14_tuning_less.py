# %% [markdown]
# # 14 What moves, what is forgotten, and tuning less: LoRA
#
# **The one thing to take away:** moved, broken and gone are three things, and how few numbers learn decides none of them. Ask a reader that was built before what is broken, and one that is taught anew, with random weights beside it, what is gone. A change that stands *beside* the weights can be taken out again, to the last bit.
#
# You will be able to
# - tell apart how far weights move, how far vectors move, what breaks and what is gone, and measure each;
# - derive a low-rank layer, say why its first step moves only one of its two matrices, and count what it costs;
# - choose among freezing by depth, biases, adapters, a prefix and LoRA by curves instead of by one number each;
# - merge a LoRA for free, and see how a small change drowns in sixteen bits;
# - plan the memory of BERT-base on a T4 for each of them, on paper.
#
# **Before this:** [12](12_few_labels.ipynb) (reading at the word, probes), [13](13_fine_tuning.ipynb) (rates, memory, the refund desk).
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import copy
import json
import math
import tempfile
import textwrap
import torch
from safetensors.torch import save_file
from cmlib import FusionModel, extract, fit, image_encoder, plots, predict, text_encoder
from cmlib.course.schematic import Schematic
from cmlib.data import Features, Pairs, Rows
from cmlib.evaluation.drift import drift
from cmlib.evaluation.probe import Probe
from cmlib.fusion.concat import Concat
from cmlib.models.adapters import add_adapters, add_prefix, learn_only
from cmlib.models.lora import LoRA, add_lora, merge_lora
from cmlib.tasks.hidden_words import hide_words
from cmlib.training import memory
from cmlib.worlds import Chest, RefundDesk, Toys
from cmlib.worlds.xray import FINDINGS
cfg = cmlib.setup("14", full="the encoders that are tuned, and asked afterwards")

# %% [markdown]
# ## 1. A success that breaks something
#
# Two teams share one BERT. The first reads chest reports with it, as in lesson 12: of every finding that a report names, a small reader looks at BERT's state at that place and says whether it is the main one. The second team works at the refund desk. It has 160 tickets, in which both photo and message tell the answer (R) or the message alone (T), and it fine-tunes *all* weights of the BERT on them. Then it puts the new BERT in the place of the old one.

# %% tags=["hide-input"]
sketch = Schematic(7.8, 2.2)
grey, words, photo, both = plots.GREY, plots.TEXT, plots.IMAGE, plots.BOTH
report = sketch.box("chest reports\n(never tuned on)", (0.85, 1.7), (1.4, 0.5), grey)
ticket = sketch.box("160 tickets", (0.85, 0.55), (1.4, 0.5), words)
bert = sketch.box("BERT\nmoves", (2.95, 1.12), (1.2, 0.7), words)
states = sketch.box("states at\nthe findings", (4.65, 1.7), (1.15, 0.5), grey)
old = sketch.box("old reader\nbroken?", (6.9, 1.95), (1.35, 0.44), photo)
new = sketch.box("taught anew\ngone?", (6.9, 1.38), (1.35, 0.44), photo)
head = sketch.box("head, with the\nphoto's features", (5.0, 0.55), (1.5, 0.5), both)
loss = sketch.box("loss", (6.9, 0.55), (0.9, 0.44), both)
for first, then in ((report, bert), (ticket, bert), (bert, states), (states, old),
                    (states, new), (bert, head), (head, loss)):
    sketch.arrow(first, then)
sketch.path([(6.9, 0.33), (6.9, 0.12), (2.95, 0.12), (2.95, 0.77)], color=words)
sketch.text("gradients", (4.9, 0.21), fontsize=8, color=words)
sketch.show("Chest reports and tickets both pass BERT. Tickets go on to a head and a "
            "loss, whose gradients move BERT; the states at the findings of reports "
            "go to a reader that was taught before and to one that is taught anew.")

# %%
PLAN = {
    "small": {"epochs": 8, "rank": 4, "full": 2e-3, "LoRA": 1e-2, "head": 3e-3},
    "full": {"epochs": 8, "rank": 8, "full": 5e-5, "LoRA": 5e-4, "head": 1e-3},
}[cfg.name]
FIRST = 7 * 640                       # rows that the logs of this lesson do not have
eye = image_encoder(cfg.image_encoder).eval()
base = text_encoder(cfg.text_encoder).eval()

claim = cfg.claim

def tickets(n, split):
    """Messages ready for steps, each with the frozen features of its photo."""
    drawn = RefundDesk(probabilities=(0.5, 0, 0.5, 0)).sample(n, split, start=FIRST)
    pictures = Pairs(drawn.images, None, drawn.labels, drawn.class_names)
    both = FusionModel(eye, base, 2).eval()
    seen = extract(both, pictures).image                                 # (n, size)
    extras = {"photo": seen}
    messages = Pairs(None, drawn.texts, drawn.labels, drawn.class_names, extras)
    return Rows(messages, base.tokenizer, ("photo",))

train, test = tickets(160, "train"), tickets(400, "test")
reports = [Chest().sample(n, split, start=FIRST)
           for n, split in ((150, "train"), (250, "test"))]

def read(encoder):
    """Both sets of reports, with the encoder's states at the places of findings."""
    return [hide_words(films, FINDINGS, encoder) for films in reports]

def taught(told):
    """A reader: is the finding at this place the main one? Learned from 150 reports."""
    states, words = told.extras["states"], told.extras["words"]
    main = words + 1 == told.labels[:, None]
    return Probe(states[words >= 0], main[words >= 0].long(), 2, 0.03)

def reads_right(reader, told):
    """The share of reports whose main finding the reader names."""
    states, words = told.extras["states"], told.extras["words"]
    is_main = reader(states.flatten(0, 1)).softmax(1)[:, 1].view(words.shape)
    most, place = is_main.masked_fill(words < 0, -1.0).max(1)
    said = torch.where(most > 0.5, words.gather(1, place[:, None])[:, 0] + 1, 0)
    return (said == told.labels).double().mean().item()

known = read(base)
reader = taught(known[0])                                     # the old reader, for good
torch.manual_seed(0)
blank = read(text_encoder(cfg.text_encoder, pretrained=False).eval())
before, chance = reads_right(reader, known[1]), reads_right(taught(blank[0]), blank[1])
print(textwrap.fill(f"a report: {reports[0].texts[0]}", 96))
print(f"its main finding: {reports[0].class_names[reports[0].labels[0]]}")
print(f"\nthe reader on the pretrained BERT names {before:.2f} of 250 new ones rightly")
claim("one that is taught on random weights is right less than a third as often",
      chance < before / 3)

# %% [markdown]
# The second line is the control that every probe needs: a reader on a BERT that has learned nothing. It is next to useless here, so whatever this reader knows comes from what BERT knows.
#
# **Predict before you run.** The desk's run is 80 steps on 160 tickets, at the text rate of lesson 13's plan. No chest report is among them, and of a report's words little more than *the*, *no*, *big* and the like. How often will the old reader be right afterwards? And one that is taught anew, from the same 150 reports, on the new BERT?

# %%
class Desk(torch.nn.Module):
    """Words that may learn, the photo's frozen features, and a head on both."""
    def __init__(self, encoder):
        super().__init__()
        self.text_encoder = encoder
        self.head = Concat(eye.hidden_size, encoder.hidden_size, 2, "mlp",
                           hidden_size=64)

    @property
    def tokenizer(self):
        return self.text_encoder.tokenizer

    def forward(self, batch):
        words = self.text_encoder(batch.text)                             # (B, H)
        return self.head(Features(batch.targets["photo"], words))        # (B, 2)

def tune(adapt, rate, epochs=PLAN["epochs"]):
    """adapt(BERT) says what learns; the rest of the run is always the same."""
    torch.manual_seed(0)
    encoder = copy.deepcopy(base)
    adapt(encoder.model)
    model = Desk(encoder)
    fit(model, train, epochs=epochs, batch_size=16, progress=False,
        learning_rate={"text": rate, "head": PLAN["head"]})
    return model

def desk_right(model):
    return (predict(model, test).argmax(1) == test.labels).double().mean().item()

def everything(model):
    return model.requires_grad_(True)

head_alone, full = tune(learn_only, 0.0), tune(everything, PLAN["full"])
moved_on = read(full.text_encoder)
old_after, new_after = (reads_right(reader, moved_on[1]),
                        reads_right(taught(moved_on[0]), moved_on[1]))
claim("the desk: full tuning is .05 and more ahead of a head on the frozen BERT",
      desk_right(full) > desk_right(head_alone) + 0.05)
claim("the chest: the old reader has lost more than .10", old_after < before - 0.10)
claim("one that is taught anew does not come back to where it was",
      new_after < before - 0.03)

# %% [markdown]
# The run is a success by every number of lesson 13, and it broke something that nobody looked at. No error is raised anywhere: the vectors have the same shape as before.
#
# Keep the two questions apart from here on. The **old reader** stands for everything that others have built on your encoder: is it *broken*? The reader **taught anew** asks whether the encoder still knows: is it *gone*? A break can be mended by teaching the reader again. What is gone cannot.
#
# ## 2. What moved
#
# Three yardsticks are in use, all of them relative.
#
# **Weights.** With $W$ all matrices of BERT's layers as one long vector: $\lVert W' - W\rVert / \lVert W\rVert$. Lesson 13 had a bound: AdamW moves a weight by hardly more than the sum of the rates of all steps.
#
# **Vectors.** Let $V$ be the vectors of $n$ rows before and $V'$ after, both $(n, d)$. Row $i$ has gone the way $w_i = v'_i - v_i$. Part of it is the same for all rows, the mean way $\bar w = \frac1n\sum_i w_i$. Since $\sum_i (w_i - \bar w) = 0$, the mixed terms vanish, and
#
# $$\sum_i \lVert w_i\rVert^2 \;=\; \underbrace{n\,\lVert\bar w\rVert^2}_{\text{shift}^2} \;+\; \underbrace{\textstyle\sum_i\lVert w_i - \bar w\rVert^2}_{\text{rest}^2}.$$
#
# The yardstick is the spread before, $s = \sqrt{\sum_i\lVert v_i - \bar v\rVert^2}$. A **shift** moves all rows alike: what told them apart still does. The **rest** stirs them.
#
# **Worked example.** Two rows $(0,0), (2,0)$ move to $(1,1), (3,3)$. The ways are $(1,1)$ and $(1,3)$, their mean is $(1,2)$. Whole way: $2 + 10 = 12$. Shift: $2\cdot5 = 10$. Rest: $1 + 1 = 2$. The spread before is $s^2 = 1 + 1 = 2$, so the shift is $\sqrt{10/2} = 2.24$ spreads and the rest $\sqrt{2/2} = 1$.

# %% [exercise] 14.1
# Your function receives `before` and `after`, float64 `(n, d)`, the same rows in two versions of an encoder. Return `(shift, rest)`, two float64 scalars, both divided by the spread before.

# %% [stub]
def moved(before, after):
    """How far vectors went: what all rows share, and the rest, in spreads of before.

    before, after : (n, d)   returns : (shift, rest), two scalars
    """
    raise NotImplementedError

# %% [solution]
def moved(before, after):
    spread = (before - before.mean(0)).norm()
    way = after - before                                      # (n, d)
    shared = way.mean(0)                                      # (d,)
    shift = math.sqrt(len(way)) * shared.norm() / spread
    rest = (way - shared).norm() / spread
    return shift, rest

# %% [hints]
# Take the way of each row first. Its mean over the rows belongs to the shift, what is left of each row to the rest.
# ---
# shift $=\sqrt n\,\lVert\bar w\rVert / s$ and rest $=\sqrt{\sum_i\lVert w_i-\bar w\rVert^2}/s$ with $s=\sqrt{\sum_i\lVert v_i-\bar v\rVert^2}$. The norm of a matrix in torch is the root of the sum of all squares.
# ---
# ```python
# way = after - before
# shared = way.mean(0)
# spread = (before - ____).norm()
# return math.sqrt(len(way)) * shared.norm() / spread, (way - shared).norm() / spread
# ```

# %%
example = drift(torch.tensor([[0.0, 0], [2, 0]]), torch.tensor([[1.0, 1], [3, 3]]))
print(f"the worked example: shift {example[0]:.2f}, rest {example[1]:.2f}")

def at_findings(told):
    return told.extras["states"][told.extras["words"] >= 0]          # (places, H)

def matrices(encoder):
    """All weights of BERT's layers, by name; a LoRA counts as if it were merged."""
    model = copy.deepcopy(encoder.model)
    if any(isinstance(part, LoRA) for part in model.modules()):
        merge_lora(model)
    return {name: p.detach() for name, p in model.named_parameters()
            if p.ndim == 2 and ".layer." in name}

def weights_moved(encoder):
    start, now = matrices(base), matrices(encoder)
    way = sum((now[name] - start[name]).square().sum() for name in start)
    return (way / sum(w.square().sum() for w in start.values())).sqrt().item()

shift, rest = drift(at_findings(known[1]), at_findings(moved_on[1]))
claim("the desk's run moved the weights by less than a third of their length",
      weights_moved(full.text_encoder) < 1 / 3)
claim("and the vectors of the reports by more than half of their spread",
      math.hypot(shift, rest) > 0.5)

# %% [markdown]
# A small step of the weights, a large one of the vectors, on texts that are far from the tickets. A weight that changes a little changes what *every* text does there.
#
# ## 3. Steps times rate is a bound, not a law
#
# Is the sum of the rates, then, the number to watch? Test it: hold the sum fixed, and spend it in 10 large steps, in 40, or in 160 small ones. Everything else stays: the same 160 tickets (so 10 steps are one pass over them and 160 are sixteen), and the head's own rate (so ten steps teach the head less, too). Two sums, five seeds, each seed with tickets and reports of its own. All figures of this section come from a log (`benchmarks/tuning.py`).
#
# **Predict before you run.** If the sum decided, each panel below would be two flat lines.

# %%
runs_folder = ROOT / "data" / "runs"
log = json.loads((runs_folder / "tuning.json").read_text("utf-8"))

def logged(way, what, rows=log["rows"]):
    """One number a seed."""
    return torch.tensor([row[what] for row in rows if row["way"] == way])

STEPS, SUMS = (10, 40, 160), ("sum .04", "sum .16")
columns = {"accuracy": "the desk", "weights": "weights moved",
           "old reader": "old reader", "new reader": "taught anew"}
fig, axes = plots.figure(1, 4, width=9.6, height=2.5)
print(f"{'mean of five seeds':24s} peak rate  "
      + "  ".join(f"{name:>13s}" for name in columns.values()))
for total, color in zip(SUMS, (plots.IMAGE, plots.TEXT)):
    names = [f"full, {total} in {steps} steps" for steps in STEPS]
    for name in names:
        means = "  ".join(f"{logged(name, what).mean():13.3f}" for what in columns)
        peak = logged(name, "rate")[0]
        print(f"{name.removeprefix('full, '):24s} {peak:9.5f}  {means}")
    for ax, what in zip(axes, columns):
        each = torch.stack([logged(name, what) for name in names])      # (3, seeds)
        ax.plot(STEPS, each.mean(1), "o-", color=color, label=total)
        ax.plot(STEPS, each, ".", color=color, alpha=0.35)
for ax, title in zip(axes, columns.values()):
    ax.set(xscale="log", title=title, xlabel="steps", ylim=(0, 1.15))
    ax.set_xticks(STEPS, [str(s) for s in STEPS])
    ax.minorticks_off()
for ax in axes[2:]:
    ax.axhline(logged("before", "new reader").mean(), color="black", lw=1, ls=":")
axes[3].axhline(logged("random weights", "new reader").mean(), color=grey, lw=1)
axes[0].legend(loc="lower right")
plots.show(fig, "Four panels over 10, 40 and 160 steps at equal sums of rates: desk "
                "accuracy, distance of the weights, old reader and new reader; in no "
                "panel are both lines flat. Dotted: the reader before; grey: random "
                "weights.")
hasty, patient = (f"full, sum .04 in {steps} steps" for steps in (10, 160))
for what, name in (("accuracy", "the desk"), ("old reader", "the old reader")):
    print(f"sum .04, {name}: 160 small steps ahead of 10 large ones in every seed:",
          bool((logged(patient, what) > logged(hasty, what)).all()))
print("the weights moved less in 160 steps in every seed:",
      bool((logged(patient, "weights") < logged(hasty, "weights")).all()))

real = json.loads((runs_folder / "tuning_minilm.json").read_text("utf-8"))["rows"]
print(f"\nMiniLM, {real[-1]['seed'] + 1} seeds, "
      "their mean      rate  the desk  weights  rest  old reader  taught anew")
for way in dict.fromkeys(row["way"] for row in real if "rate" in row):
    means = [logged(way, what, real).mean().item()
             for what in ("rate", "accuracy", "weights", "rest", "old reader",
                          "new reader")]
    columns_of = "{:9.3f} {:8.3f} {:5.2f} {:11.3f} {:12.3f}".format(*means[1:])
    print(f"{way:32s} {means[0]:6.4f} {columns_of}")
own, without = (logged(way, "new reader", real).mean()
                for way in ("before", "random weights"))
print(f"its reader before: {own:.3f}, one on random weights: {without:.3f}")
for what in ("old reader", "old reader, centred"):
    seeds = "  ".join(f"{v:.2f}" for v in logged("full", what, real).tolist())
    print(f"full, {what + ', seed by seed':34s} {seeds}")

# %% [markdown]
# No line is flat: the same sum, the same tickets, and everything between a ruin and the best run of the table. Ten large steps wreck the reader; 160 small ones do better there and at the desk, in every seed. The sum of the rates says what is out of reach, and not what happens. (At the desk the difference may be the head, which has had ten steps as well, or the passes, sixteen instead of one. The table cannot tell them apart; whoever has 160 tickets, and chooses steps and rate, need not.)
#
# What does order the lines *here*, where one model is tuned in one way, is the distance that the weights moved: the farther, the more is broken. Keep that in mind; section 6 asks again, across ways.
#
# And a rate belongs to a model. MiniLM is a real BERT of six layers, 384 wide, pretrained on far more text than this course has. In 30 steps at 1e-4 tuning everything helps its desk, and a reader that is taught anew finds all that was there. An old one may break all the same, as in one of the three seeds, and the last lines show by what: the vectors were *shifted*, and where the mean of the unlabelled reports is put back to where it was ("centred"), it reads again. At section 1's rate, which the mini BERT bears, nothing is left of it: a rest of exactly 1 is what comes out when all vectors have become *one* (the dead branch of lesson 13), and no reader finds anything in that. (The rates of MiniLM, unlike those of section 5, were not searched.)
#
# ## 4. How many directions does a change need?
#
# Full tuning moved every number. Did it have to? Take the change of one matrix, $\Delta = W' - W$, and cut it down to its best approximation of rank $r$: the $r$ largest of its singular values, the rest dropped (the theorem of Eckart and Young: no matrix of rank $r$ is nearer). Do that with every matrix of every layer, put everything else back to where it was before the run (embeddings, biases, norms), and ask the desk again. No step is trained here: the change of section 1's run is only cut.
#
# **Predict before you run.** A matrix has 128 directions. How many of them does the desk's knowledge need?

# %%
start, end = matrices(base), matrices(full.text_encoder)

def best(change, rank):
    """The nearest matrix of this rank."""
    wide = change if change.shape[0] <= change.shape[1] else change.T
    main = torch.linalg.eigh(wide @ wide.T).eigenvectors[:, -rank:]    # largest last
    cut = main @ (main.T @ wide)
    return cut if wide is change else cut.T

def with_rank(rank):
    """The desk with the pretrained BERT and the change of each matrix cut to a rank."""
    model = Desk(copy.deepcopy(base))
    model.head = full.head
    weights = dict(model.text_encoder.model.named_parameters())
    with torch.no_grad():
        for name, old_weight in start.items():
            if rank:
                weights[name] += best(end[name] - old_weight, rank)
    return desk_right(model)

RANKS = (0, 1, 2, 4, 8, 16, 32)
kept_right = [with_rank(rank) for rank in RANKS]
one = "encoder.layer.0.attention.self.value.weight"
values = torch.linalg.svdvals((end[one] - start[one]).double()).cpu()

def look(rank=4):
    place = min(range(len(RANKS)), key=lambda k: abs(RANKS[k] - rank))
    fig, (left, right) = plots.figure(1, 2, width=7.2, height=2.5)
    shown = values[:40]
    colors = [plots.TEXT if k < rank else "#CCCCCC" for k in range(len(shown))]
    left.bar(range(1, len(shown) + 1), shown, color=colors)
    left.set(title=f"rank {rank:.0f}: what is kept", xlabel="singular value",
             ylabel="size")
    right.plot(range(len(RANKS)), kept_right, "o-", color=plots.GREY)
    right.plot(place, kept_right[place], "o", ms=10, color=plots.TEXT)
    right.axhline(desk_full, color="black", lw=1, ls=":")
    right.set(title="the desk", xlabel="rank of each change", ylabel="accuracy")
    right.set_xticks(range(len(RANKS)), [str(r) for r in RANKS])
    return fig

desk_full = desk_right(full)
shows = ("Left: the singular values of the change of one matrix, the first ones "
         "coloured; right: the desk's accuracy climbs with the rank of the changes and "
         "nears the dotted line of the whole run.")
plots.explore(look, shows, rank=(0, 32, 1, 4))

# %%
plots.show(look(4), shows)
share = (values.square().cumsum(0) / values.square().sum())[3]
claim("the first four directions of that matrix have less than .6 of its change, in "
      "squares", share < 0.6)
gain = [(value - kept_right[0]) / (desk_full - kept_right[0]) for value in kept_right]
claim("two directions a matrix bring more than a quarter of the run's gain",
      gain[2] > 0.25)
claim("sixteen bring more than two thirds of it", gain[5] > 2 / 3)

# %% [markdown]
# The change is *not* of low rank: the tail of the bars on the left is long. And still few directions have most of what the *desk* gained. How much of the change a task needs is another question than how long its tail is.
#
# So do not cut afterwards: **begin with few directions.** Hold $W$ $(o, i)$ fixed and learn two narrow matrices beside it, $A$ $(r, i)$ and $B$ $(o, r)$:
#
# **Step 1.** $y = xW^\top + b + \frac{\alpha}{r}\,(xA^\top)B^\top$, which is a linear layer with the weight $W + \frac\alpha r BA$. Nothing wider than $r$ is made on the narrow way.
#
# **Step 2.** Let $G = \partial L/\partial(\text{weight})$, $(o, i)$, and $s = \alpha/r$. By the chain rule $\frac{\partial L}{\partial B} = s\,G A^\top$ and $\frac{\partial L}{\partial A} = s\,B^\top G$.
#
# **Step 3.** Begin with $B = 0$ and a random $A$: the layer is the old one exactly, and **the first gradient of $A$ is exactly 0**. $B$ moves first. (With both at 0 nothing would ever move; with both random the model would start as another one.)
#
# **Step 4.** With $\alpha$ held fixed, the factor $\alpha/r$ is meant to let you change $r$ without a search for a new rate. (In the log below $\alpha$ is $2r$: there the factor stays.)
#
# **Worked example.** $W = \begin{pmatrix}1&0\\0&1\end{pmatrix}$, $b = 0$, $A = (1\;\;2)$, $B = \binom{0}{3}$, $r = 1$, $\alpha = 2$. $BA = \begin{pmatrix}0&0\\3&6\end{pmatrix}$, so the weight is $\begin{pmatrix}1&0\\6&13\end{pmatrix}$; $x = (1, 1)$ gives $(1, 19)$. On the narrow way: $xA^\top = 3$, times $B^\top$ $(0, 9)$, times 2 $(0, 18)$, plus $x$: $(1, 19)$.

# %% [exercise] 14.2
# Your function receives `x`, float64 `(…, inputs)`; the frozen `weight` `(outputs, inputs)` and `bias` `(outputs,)`; `down` `(rank, inputs)`, called $A$ above, and `up` `(outputs, rank)`, called $B$; and the number `alpha`. Return the layer's output, `(…, outputs)`. Gradients must reach `x`, `down` and `up`.

# %% [stub]
def lora(x, weight, bias, down, up, alpha):
    """A frozen linear layer and, beside it, a narrow one.

    x : (…, inputs)   down : (rank, inputs)   up : (outputs, rank)
    returns : (…, outputs)
    """
    raise NotImplementedError

# %% [solution]
def lora(x, weight, bias, down, up, alpha):
    rank = len(down)
    frozen = x @ weight.T + bias                              # (…, outputs)
    narrow = x @ down.T                                       # (…, rank)
    return frozen + alpha / rank * (narrow @ up.T)

# %% [hints]
# Two ways lead from $x$ to the output, side by side, and their results are added.
# ---
# $xW^\top + b$, and $\frac{\alpha}{r}(xA^\top)B^\top$ with $r$ the number of rows of $A$. Multiply from the left to the right, so that nothing is wider than it must be.
# ---
# ```python
# narrow = x @ down.T                        # (…, rank)
# return x @ weight.T + bias + ____ * (narrow @ up.T)
# ```

# %%
torch.manual_seed(0)
plain = torch.nn.Linear(5, 3)
x = torch.randn(7, 5)
layer = LoRA(copy.deepcopy(plain), rank=2, alpha=4)
claim("before the first step the layer is the old one, to the last bit",
      torch.equal(layer(x), plain(x)))
layer(x).square().mean().backward()
print(f"first gradients: of down {layer.down.grad.abs().max():.4f}, "
      f"of up {layer.up.grad.abs().max():.4f}")
assert layer.down.grad.abs().max() == 0 and layer.up.grad.abs().max() > 0
with torch.no_grad():
    layer.up.normal_()
    apart, together = layer(x), copy.deepcopy(layer).merged()(x)
claim("with another up it is the linear layer whose weight has the change in it",
      torch.allclose(apart, together, atol=1e-5))

# %% [markdown]
# (The tests of this course also hold it against the `peft` library, forward, gradient and merged: equal.)
#
# ### Five ways to learn little
#
# LoRA is one of a family. Each answers the question *which few numbers?* in its own way; the drawing shows where in a layer of BERT they sit.
#
# | way | what learns | begins as the old model? | the old weights |
# |---|---|---|---|
# | freezing by depth | the upper layers, here the last one | yes | move |
# | biases (BitFit) | every bias and the shift of every norm | yes | matrices stay |
# | adapters | behind each half of a layer a bottleneck $x + U\,\mathrm{gelu}(Dx)$, $U = 0$ at first | yes | stay |
# | prefix | in each attention, some keys and values more, which belong to no word | no | stay |
# | LoRA | $A$ and $B$ beside chosen matrices | yes | stay until you merge |

# %% tags=["hide-input"]
sketch = Schematic(8.6, 2.5)
pink = "#CC79A7"
sketch.text("one layer of BERT\n(grey: frozen)", (0.75, 2.2), color=grey, fontsize=8)
x_in = sketch.box("states\n(B, T, H)", (0.65, 1.2), (1.05, 0.5), grey)
projections = [sketch.box(name, (2.2, y), (0.75, 0.36), grey)
               for name, y in (("query", 1.85), ("key", 1.2), ("value", 0.55))]
attention = sketch.box("attention", (3.75, 1.2), (0.95, 0.5), grey)
out = sketch.box("dense", (5.0, 1.2), (0.75, 0.4), grey)
wide = sketch.box("dense, gelu,\ndense", (7.0, 1.2), (1.05, 0.5), grey)
for part in projections:
    sketch.arrow(x_in, part)
    sketch.arrow(part, attention)
sketch.arrow(attention, out)
for height in (2.26, 0.14):
    sketch.box("A, B", (2.2, height), (0.55, 0.26), words, fontsize=8)
sketch.text("LoRA", (2.8, 2.26), color=words, fontsize=8)
prefix = sketch.box("more keys,\nvalues", (3.75, 2.05), (0.95, 0.42), pink,
                    fontsize=8)
sketch.arrow(prefix, attention, color=pink)
sketch.text("prefix", (4.55, 2.05), color=pink, fontsize=8)
behind = [sketch.box("D, U", (x, 1.2), (0.5, 0.4), both, fontsize=8)
          for x in (5.9, 8.1)]
for first, then in ((out, behind[0]), (behind[0], wide), (wide, behind[1])):
    sketch.arrow(first, then)
sketch.text("adapters", (7.0, 0.72), color=both, fontsize=8)
sketch.text("biases: in every grey box", (5.6, 0.3), fontsize=8)
sketch.show("A layer of BERT: states pass query, key and value, attention, a dense "
            "layer and two more. LoRA's A and B lie beside query and value, the prefix "
            "adds keys and values to attention, adapters follow both halves.")

# %% [exercise] 14.3
# What does a LoRA cost? Your function receives `shapes`, a dict from the name of each parameter of a model to its shape (a tuple); the integer `rank`; and `where`, a tuple of ends of names. A LoRA goes beside every *matrix* whose name is an end from `where` plus `.weight`, at a dot: `"query"` fits `layer.0.query.weight` and not `layer.0.subquery.weight`, and an end may have dots of its own. Shapes are (outputs, inputs).
#
# Return a dict: `"numbers"`, how many learn; `"share"`, their share of *all* numbers, frozen and new; `"bytes"`, what they take on disk in float32.

# %% [stub]
def cost(shapes, rank, where):
    """What a LoRA of this rank costs.

    shapes : dict, name → tuple of int   rank : int   where : tuple of str
    returns : {"numbers": int, "share": float, "bytes": int}
    """
    raise NotImplementedError

# %% [solution]
def cost(shapes, rank, where):
    numbers = 0
    for name, shape in shapes.items():
        fits = any(f".{name}".endswith(f".{end}.weight") for end in where)
        if fits and len(shape) == 2:
            numbers += rank * (shape[0] + shape[1])
    frozen = sum(math.prod(shape) for shape in shapes.values())
    return {"numbers": numbers, "share": numbers / (frozen + numbers),
            "bytes": 4 * numbers}

# %% [hints]
# Choose the matrices by their names, add up what $A$ and $B$ have for each, and compare with everything.
# ---
# A matrix $(o, i)$ costs $r\,(o + i)$. Put a dot in front of the name before you ask for its end, so that `query` and `layer.query` are found and `subquery` is not. A shape of length 1 is a bias or a norm.
# ---
# ```python
# if len(shape) == 2 and any(f".{name}".endswith(____) for end in where):
#     numbers += rank * (shape[0] + shape[1])
# ```

# %%
RANK = PLAN["rank"]
last = f"layer.{len(base.model.encoder.layer) - 1}."
ways = {
    "the last layer": lambda model: learn_only(model, (last,)),
    "biases": lambda model: learn_only(model, (".bias",)),
    "adapters, 8 wide": lambda model: add_adapters(model, 8),
    "prefix of 8": lambda model: add_prefix(model, 8),
    f"LoRA, rank {RANK}": lambda model: add_lora(model, RANK, 2 * RANK),
    "everything": everything,
}
few_words = test[torch.arange(8)].text
begins, sizes = {}, {}
with tempfile.TemporaryDirectory() as folder, torch.no_grad():
    print(f"{'':18s} numbers that learn   share   on disk")
    for name, adapt in ways.items():
        torch.manual_seed(0)
        trial = copy.deepcopy(base)
        adapt(trial.model)
        learn = {key: p.detach().cpu() for key, p in trial.named_parameters()
                 if p.requires_grad}
        path = Path(folder) / "learned.safetensors"
        save_file(learn, path)
        sizes[name] = path.stat().st_size
        numbers = sum(p.numel() for p in learn.values())
        every = sum(p.numel() for p in trial.parameters())
        begins[name] = (trial(few_words) - base(few_words)).abs().max().item()
        print(f"{name:18s} {numbers:18,}  {numbers / every:6.2%}  "
              f"{memory.size(sizes[name])}")
claim("all but the prefix begin as the old model",
      [name for name, off in begins.items() if off > 1e-5] == ["prefix of 8"])
claim("twenty desks, each with a LoRA, take less room on disk than two whole models",
      20 * sizes[f"LoRA, rank {RANK}"] + sizes["everything"] < 2 * sizes["everything"])

# %% [markdown]
# ## 5. Does less do?
#
# First live: a LoRA on query and value, as many steps as the full run had, on the same tickets. And something that only a change *beside* the weights can do: set its factor to 0, and ask the chest reader again.

# %%
lean = tune(lambda model: add_lora(model, RANK, 2 * RANK), PLAN["LoRA"])
plugged = read(lean.text_encoder)
added = [part for part in lean.modules() if isinstance(part, LoRA)]
for part in added:
    part.scale, part.kept = 0.0, part.scale
unplugged = read(lean.text_encoder)
for part in added:
    part.scale = part.kept
claim("the desk: LoRA is .05 and more ahead of the head alone",
      desk_right(lean) > desk_right(head_alone) + 0.05)
claim("plugged in, the vectors of the reports have moved, too, by .2 spreads and more",
      math.hypot(*drift(at_findings(known[1]), at_findings(plugged[1]))) > 0.2)
claim("unplugged, every vector is the old one, to the last bit",
      torch.equal(unplugged[1].extras["states"], known[1].extras["states"]))

# %% [markdown]
# One run decides nothing. The log has five seeds, every seed with tickets and reports of its own, the same ones for every way. And each way has a rate of its *own*: three or four were tried on tickets that no seed has, and the best of them for the desk is the way's line in the table, and its large dot in the figure. All the other rates that were tried are small dots: **a way is a curve, not a point**. Whoever compares one point of each can show what he likes.
#
# **Predict before you run.** Which way learns most? Which breaks least? And is there one that is better at both?

# %%
NAMES = {"last layer": ("the last layer", plots.GREY), "biases": ("biases", "#E69F00"),
         "adapters": ("adapters", plots.BOTH), "prefix": ("prefix", "#CC79A7"),
         "LoRA": ("LoRA", plots.TEXT), "full": ("everything", plots.IMAGE)}
chosen = log["rates"]["chosen"]
print(f"{'mean of five seeds':18s} numbers   rate   the desk (lowest) weights"
      "  shift   rest  old reader  taught anew")
for way in ("head", *NAMES):
    row = {what: logged(way, what) for what in
           ("numbers", "rate", "accuracy", "weights", "shift", "rest", "old reader",
            "new reader")}
    low = row["accuracy"].min()
    means = {what: value.double().mean().item() for what, value in row.items()}
    print("{:18s} {numbers:7,.0f} {rate:6.4f} {accuracy:10.3f} ({:.3f}) "
          "{weights:8.3f} {shift:6.2f} {rest:6.2f} {:11.3f} {:12.3f}".format(
              NAMES.get(way, ["the head alone"])[0], low, means["old reader"],
              means["new reader"], **means))
start_read, start_random = (logged(way, "new reader") for way in
                            ("before", "random weights"))
scratch = logged("full, from random weights", "accuracy")
print(f"before the run: reader {start_read.mean():.3f}; random weights: taught anew "
      f"{start_random.mean():.3f},\nand the desk, everything tuned from there: "
      f"{scratch.mean():.3f}")

def over_seeds(each):
    """Mean and 95 % interval of paired differences, five seeds."""
    mean, reach = each.mean(), 2.776 * each.std() / math.sqrt(len(each))
    return f"{mean:+.3f} ({mean - reach:+.3f} to {mean + reach:+.3f})"

cost_of = {way: logged(way, "cpu").sum() for way in ("LoRA", "full")}
print(f"CPU time of the LoRA runs: {cost_of['LoRA'] / cost_of['full']:.1f} of that of "
      "tuning everything")
print("\npaired, at the desk:")
for more, less in (("LoRA", "head"), ("full", "LoRA"), ("last layer", "LoRA"),
                   ("adapters", "LoRA")):
    print(f"{more} minus {less}:",
          over_seeds(logged(more, "accuracy") - logged(less, "accuracy")))
for other in ("full", "full at 0.002"):   # two rates that were equally good when chosen
    rate = logged(other, "rate")[0]
    for way in ("adapters", "LoRA"):
        worse = logged(way, "old reader") < logged(other, "old reader")
        print(f"{way}: the old reader below that of everything at {rate:g} in "
              f"{worse.sum()} of 5 seeds")
fig, axes = plots.figure(1, 2, width=8.2, height=3.1)
for way, (label, color) in NAMES.items():
    rates = sorted(map(float, log["rates"]["tried"][way]))
    names = [way if one == chosen[way] else f"{way} at {one:g}" for one in rates]
    for ax, what in zip(axes, ("old reader", "new reader")):
        at = [logged(name, "accuracy").mean() for name in names]
        kept = [logged(name, what).mean() for name in names]
        ax.plot(at, kept, "o-", color=color, ms=4, lw=1.2, label=label)
        best_at = names.index(way)
        ax.plot(at[best_at], kept[best_at], "o", ms=8, color=color)
for ax, title in zip(axes, ("old reader: broken?", "taught anew: gone?")):
    ax.axhline(logged("before", "old reader").mean(), color="black", lw=1, ls=":")
    ax.set(title=title, xlabel="accuracy at the desk", ylabel="right on chest reports")
    ax.locator_params(axis="x", nbins=5)
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
plots.show(fig, "Two panels, each with a curve for every way, one point a rate: "
                "accuracy at the desk against the old reader, and against one taught "
                "anew. Low: the largest rates; to the right and high, "
                "in both panels: everything at its smallest rate.")

# %% [markdown]
# **Few numbers do, up to a point.** LoRA's 4,096 numbers, .7 % of this BERT, bring nearly two thirds of what tuning everything, at the rate in the table, brings over the head alone. Adapters with 1.4 % bring all of that, and so does the last layer. The biases bring less than half of it, and the prefix hardly anything in 80 steps.
#
# **Few numbers do not protect.** Now the columns on the right. At these rates adapters, which leave every old matrix alone, break *more* than tuning everything does; LoRA, which begins as the old model and never leaves its four directions a matrix, learns less *and* breaks more. The last four lines count the seeds, and such counts hang on the rates. Two rates of everything tied on the tickets that chose (.0005 and .0020, .9275 each: `log["rates"]["tried"]`), and the smaller one stands in the table. Look at the figure for the other: the next blue dot is farther right, and lower in both panels, on the right no higher than LoRA's large one. So read the curves. Within each way the rate decides: follow any curve from small rates to large ones, and the readers fall, in most ways while the desk still gains. Everything at a quarter of section 1's rate costs the desk two points, and a reader that is taught anew is four points from where it was. And the published "LoRA learns less and forgets less"? At query and value it learns less. Whether it forgets less depends on the dot: LoRA's smallest rate keeps more for the reader taught anew than any dot of everything, and has gained half of what its best rate gains; at that best rate it keeps less than everything at its own. (Rates of everything that are small enough to learn as little were not tried.)
#
# **Broken is not gone.** In most lines the reader taught anew is far above the old one: most of what it read is still in the states, but elsewhere. With four of the six ways, all but biases and prefix, the largest rate takes more than half of it.
#
# So choose the rate first, by the desk *and* by somebody who is not at the desk. (Whoever tries many keeps their curves: `fit(…, log="folder")` writes them for TensorBoard, and for Weights & Biases as well where `WANDB_API_KEY` is set. Lesson 09 lets a search choose.) What speaks for LoRA is another thing: it fits into 17 kB, and it can be unplugged.

# %%
def line(name, way):
    each, old, new = (logged(way, what).double() for what in
                      ("accuracy", "old reader", "new reader"))
    numbers, low, high = logged(way, "numbers")[0], each.min(), each.max()
    print(f"  {name:26s} {numbers:7,} {each.mean():8.3f} ({low:.3f} to {high:.3f}) "
          f"{old.mean():8.3f} {new.mean():12.3f}")

print(f"{'LoRA, mean of five seeds':28s} numbers   the desk (seeds)     old reader"
      "  taught anew")
for rank in (1, 2, 4, 8, 16):
    line(f"rank {rank}", "LoRA" if rank == 4 else f"LoRA, rank {rank}")
print("placed at (rank 4)")
for place in ("query, value", "attention", "feed-forward", "all six"):
    line(place, "LoRA" if place == "query, value" else f"LoRA, {place}")
line("all six, rank 1", "LoRA, all six, rank 1")
line("query, value, dropout .1", "LoRA, dropout .1")
print("paired, at the desk:")
for more, less in (("LoRA, rank 16", "LoRA, rank 1"), ("LoRA, feed-forward", "LoRA"),
                   ("LoRA, all six, rank 1", "LoRA"), ("LoRA, dropout .1", "LoRA"),
                   ("full, 640 tickets", "LoRA, 640 tickets"),
                   ("LoRA, 40 tickets", "head, 40 tickets")):
    each = logged(more, "accuracy") - logged(less, "accuracy")
    print(f"  {more} minus {less}: {over_seeds(each)}; above 0 in {(each > 0).sum()}")
print("\nfew or many tickets: the desk (and the rows that were trained on)")
for n in (40, 160, 640):
    names = {way: way if n == 160 else f"{way}, {n} tickets"
             for way in ("head", "LoRA", "full")}
    means = {way: [logged(name, what).mean() for what in ("accuracy", "train")]
             for way, name in names.items()}
    print(f"{n:5d} tickets   " + "   ".join(
        f"{way} {new:.3f} ({seen:.3f})" for way, (new, seen) in means.items()))

# %% [markdown]
# All of these ran at the rate that was chosen for rank 4, query and value and 160 tickets; a point or two is nothing here. **Rank.** With more directions the desk gains a little in the mean, and more breaks: look down the last columns. (Alpha is twice the rank in all of them, so that a larger rank also makes a larger change: which of the two does the breaking, this table cannot say.) **Placement.** The feed-forward layers are ahead of query and value in every seed, and have two and a half times the numbers; against about as many (rank 8) they are ahead by two points in the mean and, taught anew, by nine. Rank 1 in all six matrices is ahead in the mean at about the same count. With the feed-forward layers LoRA is as good at the desk as everything at its rate above: "learns less" is said of one place. (Query and value is a habit from the first paper.) Dropout on the narrow way changes nothing that five seeds could show.
#
# **Few labels.** "Fewer numbers overfit less" is the usual promise. With 40 tickets neither LoRA nor tuning everything gains anything that could be told from chance over the frozen head, and all three know their rows by heart, the head alone, too: it has numbers enough of its own, so that few numbers *in BERT* cannot keep a model from it. (The runs have 81, 80 and 160 steps.) With 640 everything is nearly perfect, and LoRA stays behind in every seed. Few numbers did not help where labels were few, and cost something where they were many.
#
# ## 6. Moved, broken, gone
#
# Across all runs of the log, every way and every rate: which yardstick says what breaks? Take the rank correlation: $-1$ if whoever moved farther always kept less, 0 if the one says nothing about the other. (It asks for order alone, so that no unit matters.)
#
# **Predict before you run.** Four yardsticks. Which one orders the old reader best, and which the reader taught anew?

# %%
def place(numbers):
    """The place of each number in order; equal ones share theirs."""
    return ((numbers[:, None] > numbers).double().sum(1)
            + (numbers[:, None] == numbers).double().sum(1) / 2)

def order(first, second):
    """Rank correlation, from -1 to 1."""
    return torch.corrcoef(torch.stack([place(first), place(second)]))[0, 1].item()

asked = [row for row in log["rows"]
         if "rest" in row and not row["way"].startswith("head")]
table = {what: torch.tensor([row[what] for row in asked], dtype=torch.float64)
         for what in ("weights", "shift", "rest", "old reader", "new reader")}
table["whole way"] = (table["shift"].square() + table["rest"].square()).sqrt()
print(f"{len(asked)} runs{'':10s} old reader   taught anew")
found = {}
for what in ("weights", "whole way", "shift", "rest"):
    found[what] = [order(table[what], table[name])
                   for name in ("old reader", "new reader")]
    print(f"{what:18s} {found[what][0]:+10.2f} {found[what][1]:+13.2f}")
print("the whole way orders both better than the weights:",
      all(a < b for a, b in zip(found["whole way"], found["weights"])))
alone = torch.tensor([row["way"].startswith("full") for row in asked])
inside = [order(table["weights"][alone], table[name][alone])
          for name in ("old reader", "new reader")]
print(f"the weights, inside one way (everything): {inside[0]:+.2f} {inside[1]:+.2f}")
still = table["weights"] == 0
kept = table["old reader"][still]
print(f"runs that moved no matrix at all: {int(still.sum())}; right of their old "
      f"readers: {kept.min():.2f} to {kept.max():.2f}")
mended = torch.tensor([row["old reader, centred"] for row in asked]) \
    - table["old reader"]
print(f"the shift taken out of the vectors: the old reader changes by "
      f"{mended.min():+.2f} to {mended.max():+.2f}, mean {mended.mean():+.3f}")

# the trap: a probe without random weights beside it
captions = [Toys(3).sample(300, split) for split in ("train", "test")]
torch.manual_seed(0)
unread = text_encoder(cfg.text_encoder, pretrained=False).eval()

def names_kind(encoder):
    """The first toy of a caption, from the mean vector of all its words."""
    class Mean(torch.nn.Module):
        tokenizer = encoder.tokenizer
        def forward(self, batch):
            return encoder(batch.text)
    told, asked_of = (predict(Mean(), Pairs(None, pairs.texts)) for pairs in captions)
    kinds, truth = (pairs.extras["kind"][:, 0] for pairs in captions)
    probe = Probe(told, kinds, 8, 0.03)
    return (probe(asked_of).argmax(1) == truth).double().mean().item()

pretrained, random_start = names_kind(base), names_kind(unread)
claim("\nthe kind of the first toy, from the mean of the words: random weights are\n"
      ".05 and more ahead of the pretrained ones", random_start > pretrained + 0.05)

# %% [markdown]
# **Weights say least.** Inside one way of tuning, everything, their distance orders what breaks, as in section 3. Across ways it orders much less: adapters, biases and a prefix leave every matrix where it was, and their old readers are anything from untouched to useless. **Vectors say more**: how far those of the reports went orders both readers fairly well, whatever was tuned. Its two parts say no more than the whole, and taking the shift out mends some readers and spoils others. An order is no law.
#
# So there is no short cut: keep some rows of every job that stands on your encoder, and ask them.
#
# **And ask with a control.** The last lines show the trap. A probe names the kind of the first toy from the mean of a caption's words, and random weights are the better ones: a mean of random embeddings still says which words stand there. Such a probe measures words. The reader at the findings needs to know *large* from *small* and *no*, and there random weights fail: that is why this lesson asks it.
#
# ## 7. Merged for free, if the digits are there
#
# As long as $A$ and $B$ stand beside $W$, every such layer does three products instead of one. When the desk is sure that it will not unplug, it writes $W + \frac\alpha r BA$ into the weight: the model is then as large and as fast as it ever was. In float32 that is exact to the last digits.
#
# Now the weights are in bfloat16, as most large models are shipped. The format has 8 significant bits: from one number to the next it is between $2^{-8}$ and $2^{-7}$ of its size. A change that is smaller than half of that step is rounded away: **the entry stays what it was**. Worked example: $W = 1$; the next number above is $1.0078$. $\Delta = 0.003$ is lost, $\Delta = 0.005$ becomes $0.0078$.

# %% [exercise] 14.4
# Your function receives `weight` `(outputs, inputs)` in some format (float64, bfloat16 or float16), `down` `(rank, inputs)` and `up` `(outputs, rank)` in float64, and `alpha`. Return `(merged, unchanged)`: the merged weight in the format of `weight`, rounded once, and the share of its entries that are still those of `weight`.

# %% [stub]
def merged(weight, down, up, alpha):
    """The weight with the LoRA in it, and the share of entries that did not change.

    weight : (outputs, inputs), any format   up : (outputs, rank)
    down : (rank, inputs)
    returns : (merged, like weight; unchanged, a scalar)
    """
    raise NotImplementedError

# %% [solution]
def merged(weight, down, up, alpha):
    change = alpha / len(down) * up @ down             # (outputs, inputs), float64
    result = (weight.to(change.dtype) + change).to(weight.dtype)
    return result, (result == weight).double().mean()

# %% [hints]
# Add where there are enough digits, and go back to the few digits at the very end.
# ---
# $W + \frac\alpha r BA$ in float64, then `.to(weight.dtype)`. An entry is unchanged if the result equals the old weight exactly.
# ---
# ```python
# result = (weight.to(torch.float64) + ____).to(weight.dtype)
# return result, (result == weight).double().mean()
# ```

# %%
whole = copy.deepcopy(lean)
merge_lora(whole.text_encoder.model)
logits = predict(lean, test), predict(whole, test)
claim("merged in float32: the same answers, give or take the last digits",
      (logits[0] - logits[1]).abs().max() < 1e-3 * logits[0].abs().max())

def nights(first, change, dtype, times):
    """The weight after so many equal merges that add up to the change."""
    weight = first = first.to(dtype)
    for _ in range(times):
        weight = (weight.float() + change / times).to(dtype)
    way = weight.float() - first.float()
    went = ((way * change).sum() / change.square().sum()).item()
    return weight, went, (weight == first).double().mean().item()

torch.manual_seed(0)
old_weight = start[one].cpu()
random = torch.randn(len(old_weight), 4) @ torch.randn(4, old_weight.shape[1])
print("\na change of rank 4, relative     one merge in bfloat16       in 1,000 merges")
print("to the weight's length       entries stay   share of way      share of way")
for size in (0.1, 0.01, 0.001):
    change = random * (size * old_weight.norm() / random.norm())
    (_, at_once, stay), (_, slowly, _) = (
        nights(old_weight, change, torch.bfloat16, times) for times in (1, 1000))
    exact = nights(old_weight, change, torch.float32, 1000)[1]
    print(f"{size:<29.3f} {stay:11.2f} {at_once:14.2f} {slowly:17.2f}")
    assert exact > 0.98
print("(in float32, 1,000 merges go the whole way each time)")

def after_nights(dtype, times):
    """The desk with its LoRA merged in so many parts, and the share of the way."""
    trial, went = copy.deepcopy(lean), []
    for layer in (part for part in trial.modules() if isinstance(part, LoRA)):
        weight, share, _ = nights(layer.linear.weight, layer.delta(), dtype, times)
        layer.linear.weight.data, layer.scale = weight.float(), 0.0
        went.append(share)
    return desk_right(trial), sum(went) / len(went)

with torch.no_grad():
    at_once, slowly = (after_nights(torch.bfloat16, times) for times in (1, 1000))
print()
claim("the desk's LoRA in 1,000 merges in bfloat16: less than a third of the way",
      slowly[1] < 1 / 3)
claim("and an accuracy .02 and more below that of one merge",
      slowly[0] < at_once[0] - 0.02)

# %% [markdown]
# One merge of a large change is harmless, and the desk's is large (.236 of the length of *all* matrices in section 5's table, though only queries and values move): its LoRA arrives. MiniLM's, in section 3, was .007 of all its matrices, and about twice that of those it moved: near the middle line. At the last one most entries never hear of the change. Nor does patience help. A thousand small merges arrive in float32; in bfloat16 they get almost nowhere, since rounding to the nearest number throws the same push away every time. Nothing averages out, and the desk's accuracy shows it.
#
# Three cures: merge once, from a copy in float32 (lesson 13's autocast keeps one); leave $A$ and $B$ beside the weight; or round at random, up with the probability of the remainder, so that on average nothing is lost.
#
# ## 8. Memory: what is saved, and what is not
#
# Lesson 13's list again: weights $4N$, gradients $4N$, AdamW's moments $8N$, activations. Gradients and moments exist only for what *learns*. So a LoRA saves nearly $12N$ of $16N$, and the activations? A frozen linear layer needs no input for a gradient of its own. But the gradient has to pass it, on to the $A$ and $B$ below: GELU, norms and attention keep theirs as before. Guess the share, then weigh.
#
# There is another way to save moments. **Adafactor** keeps of a matrix $(o, i)$ not $o\cdot i$ mean squares but the means of its rows and of its columns, $o + i$ numbers, and multiplies: $\hat v_{jk} = R_j C_k / \bar R$. That is rank 1 for the mean squares, while all weights learn. (It keeps no first moment, and its rate is a share of the size of each matrix: it needs a search of its own.)
#
# The large table is computed on torch's `meta` device, from shapes alone, as in lesson 13: BERT-base, messages of 128 tokens, float32, with 15 GB of a T4.

# %%
trial = copy.deepcopy(base)
everything(trial.model)
trial(few_words).square().mean().backward()
learn = [p for p in trial.parameters() if p.grad is not None]
state = {}
for kind in (torch.optim.AdamW, torch.optim.Adafactor):
    optimizer = kind(learn, lr=1e-4)
    optimizer.step()
    state[kind.__name__] = sum(
        t.numel() for kept in optimizer.state.values() for name, t in kept.items()
        if name != "step")
learned = sum(p.numel() for p in learn)
print("numbers kept for each weight:", ", ".join(
    f"{name} {count / learned:.3f}" for name, count in state.items()))
claim("Adafactor keeps less than a tenth of what AdamW keeps",
      10 * state["Adafactor"] < state["AdamW"])
print("log, the desk: everything with AdamW "
      f"{logged('full', 'accuracy').mean():.3f}, with Adafactor "
      f"{logged('Adafactor', 'accuracy').mean():.3f}")

from transformers import BertConfig, BertModel
from cmlib.data import TextBatch
from cmlib.data.device import set_home
from cmlib.encoders.text import Bert

class OnPaper(Bert):
    """Without numbers there is no mask to look at: every token is read."""
    def states(self, batch):
        return self.model(input_ids=batch.input_ids).last_hidden_state

def on_paper(adapt):
    """What a step of BERT-base needs, and how many numbers Adafactor keeps."""
    set_home("meta")
    with torch.device("meta"):
        bert = OnPaper(BertModel(BertConfig(), add_pooling_layer=False), None)
        adapt(bert.model)
        ids = torch.ones(4, 128, dtype=torch.int64)
    plan = memory.estimate(bert, TextBatch(ids, ids), 1000)
    set_home(cfg.device)
    return plan, sum(sum(p.shape) if p.ndim == 2 else p.numel()
                     for p in bert.parameters())

print("\nBERT-base, 128 tokens    weights  gradients  moments    a row  rows in 15 GB")
fits, fixed = {}, {}
for name, adapt in (("everything", everything),
                    ("everything, Adafactor", everything),
                    ("the last two layers",
                     lambda m: learn_only(m, ("layer.10.", "layer.11."))),
                    ("adapters, 8 wide", lambda m: add_adapters(m, 8)),
                    ("LoRA, rank 8", lambda m: add_lora(m, 8, 16))):
    plan, places = on_paper(adapt)
    moments = plan.optimizer
    if "Adafactor" in name:
        moments = 4 * places
    a_row = plan.activations / plan.rows
    fixed[name] = plan.weights + plan.gradients + moments
    fits[name] = int((15e9 - fixed[name]) // a_row)
    shown = "".join(f"{memory.size(count):>10s}" for count in (
        plan.weights, plan.gradients, moments, a_row))
    print(f"{name:21s} {shown} {fits[name]:14d}")
assert fixed["LoRA, rank 8"] < fixed["everything"] / 3 and fits["LoRA, rank 8"] >= 128

if cfg.device == "cuda":                     # the same plan against the card
    for name, adapt in (("everything", everything),
                        ("LoRA", lambda m: add_lora(m, RANK, 2 * RANK))):
        already = torch.cuda.memory_allocated()
        model = Desk(copy.deepcopy(base)).train()
        adapt(model.text_encoder.model)
        batch = train[torch.arange(32)].to(cfg.device)
        plan = memory.estimate(model, batch).total
        torch.cuda.reset_peak_memory_stats()
        optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
        for _ in range(2):                   # the moments are there from the second on
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()
        peak = torch.cuda.max_memory_allocated() - already
        print(f"{name}: planned {plan / 1e9:.2f} GB, taken {peak / 1e9:.2f} GB")
        claim("that is within a T4's memory", peak < 15e9)
        del model, optimizer

# %% [markdown]
# Four ways to save, and each saves something else.
#
# - **LoRA and adapters** save gradients and moments: what is fixed falls from 1.74 GB to .44. Of the activations they save a quarter. The gradient has to come down through all layers to reach the lowest $A$ and $B$.
# - **Freezing by depth** saves activations: below the lowest layer that learns, nothing is kept. Whoever is short of memory for *rows* freezes from below.
# - **Adafactor** saves the moments, and every weight learns.
# - **Short formats and layers computed again** (lesson 13) come on top of all of these.
#
# On a T4, BERT-base fits in any of these ways: at this size LoRA is a matter of disk and of unplugging, not of memory. The fixed part decides when models grow. $16N$ fill 15 GB at .9 billion weights, before the first row. With LoRA the limit of 15 GB is 3.7 billion weights in float32, twice as many with frozen weights in 16 bits, and four times that in 4 bits, as QLoRA does.
#
# ## 9. On paper: the first step of a low-rank layer

# %% [exercise] 14.5
# **On paper first.** Let $s = \alpha/r$ and let $G$ $(o, i)$ be the gradient of the loss with respect to the weight $W + sBA$. (a) Derive $\partial L/\partial B$ and $\partial L/\partial A$. (b) Show that after the first step of plain gradient descent with rate $\eta$, from $B = 0$, the weight has changed by $-\eta s^2\,GA^\top A$: it lies in the span of $A$'s rows, and to first order the loss does not rise. (c) Which changes can a LoRA with $A$ frozen at its random start never make?
#
# **Then build it.** Your function receives `gradient` $G$ `(outputs, inputs)`, `down` $A$ `(rank, inputs)`, `up` $B$ `(outputs, rank)`, perhaps not 0, and the numbers `alpha` and `learning_rate`. Both matrices take one step of plain gradient descent *at the same time*. Return the change of the weight, `(outputs, inputs)`.

# %% [stub]
def change_of_one_step(gradient, down, up, alpha, learning_rate):
    """How the weight changes when both narrow matrices take one step.

    gradient : (outputs, inputs)   down : (rank, inputs)   up : (outputs, rank)
    returns : (outputs, inputs)
    """
    raise NotImplementedError

# %% [solution]
def change_of_one_step(gradient, down, up, alpha, learning_rate):
    scale = alpha / len(down)
    new_up = up - learning_rate * scale * gradient @ down.T
    new_down = down - learning_rate * scale * up.T @ gradient
    return scale * (new_up @ new_down - up @ down)

# %% [hints]
# The weight is a product of two matrices that move together. Compute both new matrices from the old ones, then the difference of the products.
# ---
# $\partial L/\partial B = s\,GA^\top$ $(o, r)$ and $\partial L/\partial A = s\,B^\top G$ $(r, i)$; the change is $s\,(B'A' - BA)$.
# ---
# ```python
# new_up = up - learning_rate * scale * gradient @ down.T
# new_down = down - learning_rate * ____
# return scale * (new_up @ new_down - up @ down)
# ```

# %% [answer]
# (a) A small change gives $dL = \langle G, s\,(dB\,A + B\,dA)\rangle = \langle s\,GA^\top, dB\rangle + \langle s\,B^\top G, dA\rangle$, since $\langle G, dB\,A\rangle = \operatorname{tr}(G^\top dB\,A) = \langle GA^\top, dB\rangle$, and in the same way for $dA$.
#
# (b) From $B = 0$: $\partial L/\partial A = sB^\top G = 0$, so $A$ stays, and $B$ becomes $-\eta s\,GA^\top$. The change of the weight is $s\,B'A = -\eta s^2\,GA^\top A$. Every row of it is a combination of the rows of $A$. To first order $dL = \langle G, -\eta s^2 GA^\top A\rangle = -\eta s^2\lVert GA^\top\rVert^2 \le 0$, and 0 only if $GA^\top = 0$: if the gradient has nothing in the span of $A$'s rows.
#
# (c) $sBA$ has its rows in the span of $A$'s $r$ rows for every $B$. With $A$ frozen, a change that acts on an input direction orthogonal to all of them is out of reach, whatever the number of steps: of $i$ input directions $i - r$ are closed. With $A$ learning too, every matrix of rank $r$ can be reached, but not more than $r$ directions at a time.

# %% [markdown]
# ## 10. Recap
#
# You can now
# - say of a fine-tuned encoder how far it moved, what it broke and what it lost, each with its own measurement and its control;
# - read steps × rate as the bound that it is;
# - write a low-rank layer, count it, merge it in the format of the weight, and unplug it;
# - compare ways of tuning as curves over rates, paired over seeds;
# - plan what each of them needs on a card, before it is rented.
#
# `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? A tuned encoder's matrices are, bit for bit, those from before the run. What do you know about the vectors?
# - They are the old ones :: Adapters and biases leave every matrix as it is, and move the vectors.
# - They moved less than after full tuning :: Nothing of the kind follows; here some of them moved as far.
# + Nothing yet: measure them on texts that the run never saw :: Distance of weights is no measure of drift across ways of tuning.
# - They are still good for the old task, once a reader is taught anew :: Perhaps, but that is another measurement.
# ? A probe reads a property of a tuned encoder with .52, and of the pretrained one with .34. What comes next?
# + The same probe on random weights :: Here random weights read the kind of toy better than pretrained ones: such a probe tells of the words, not of what was learned.
# - Write that tuning taught the property :: Not before the control.
# - A larger probe :: It would blur the question further.
# ? Why does LoRA begin with B = 0 and a random A?
# - So that both get a gradient at the first step :: A's first gradient is exactly 0.
# + So that the model begins as the old one, and B can move at once :: With both at 0 nothing would ever move; with both random it would start as another model.
# - So that the rank is r from the start :: BA is 0 at the start.
# ? Every night your service merges the day's small LoRA into weights that are kept in bfloat16. After a month, what do you find?
# - The sum of all changes :: Only if each was larger than the rounding.
# - Noise that averages out :: Rounding to the nearest number has no noise that would carry a small change over.
# - A model that forgot the first day :: It hardly learned it.
# + Much of it never arrived: keep a float32 copy, or the LoRA beside the weight :: A change below half of a step of the format leaves the entry as it was, every night anew.

# %% [markdown]
# **Glossary**: *drift*, how far the vectors of given texts moved · *shift*, the part of it that all rows share · *old reader*, a classifier that was built before the encoder was tuned · *full fine-tuning*, every weight learns · *LoRA*, two narrow matrices beside a frozen one · *rank*, the number of directions of a matrix · *adapter*, a bottleneck behind a frozen layer · *prefix*, learned keys and values that belong to no word · *BitFit*, only biases learn · *merging*, adding the change into the weight · *Adafactor*, mean squares kept as rows and columns.
#
# **References**
# - E. Hu et al., *LoRA: low-rank adaptation of large language models*, ICLR 2022: the layer, B = 0, and the placement at query and value.
# - N. Houlsby et al., *Parameter-efficient transfer learning for NLP*, ICML 2019: adapters behind both halves of a layer.
# - E. Ben Zaken, Y. Goldberg, S. Ravfogel, *BitFit*, ACL 2022: only biases.
# - X. L. Li and P. Liang, *Prefix-tuning*, ACL 2021: learned keys and values; they needed a reparametrisation to train it stably.
# - A. Aghajanyan, S. Gupta, L. Zettlemoyer, *Intrinsic dimensionality explains the effectiveness of language model fine-tuning*, ACL 2021: why few directions can do.
# - D. Biderman et al., *LoRA learns less and forgets less*, TMLR 2024: the same curve, learned against kept, on large models.
# - J. Hewitt and P. Liang, *Designing and interpreting probes with control tasks*, EMNLP 2019: what a probe's accuracy is evidence of.
# - N. Shazeer and M. Stern, *Adafactor: adaptive learning rates with sublinear memory cost*, ICML 2018: rows and columns in the place of a matrix.
# - S. Mangrulkar et al., *PEFT*, the library that most people use for all of this: https://github.com/huggingface/peft
#
# Log: MiniLM is sentence-transformers/all-MiniLM-L6-v2, Apache 2.0.

# %% [progress]
