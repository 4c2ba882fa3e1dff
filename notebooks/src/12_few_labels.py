# %% [markdown]
# # 12 Self-supervision and few labels
#
# **The one thing to take away:** without labels a network learns what its pretext task asks for. What the task never asks about has to be paid for in labels, and what an encoder really treats as equal no label tells apart again.
#
# You will be able to
# - compute the best accuracy that is left after an augmentation has declared pictures equal;
# - derive and write the loss of two views, and say what it costs when everything collapses;
# - let a network fill in hidden words of a report by looking at the film, and run the two controls that such a claim needs;
# - read a label-cost curve, and spend forty labels: on which rows, with which pseudo-labels, read from the film or from the words.
#
# **Before this:** [03](03_inputs.ipynb) (the drawn chest films, augmentation and laterality), [04](04_reading.ipynb) (masked words), [11](11_contrastive.ipynb) (contrastive losses).
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import json
import textwrap
from dataclasses import replace
import torch
from torch.nn.functional import interpolate
from cmlib import evaluate, fit, image_encoder, plots, predict, text_encoder
from cmlib.course.schematic import Schematic
from cmlib.data import Pairs
from cmlib.evaluation.acquisition import entropy, k_centre, margin
from cmlib.evaluation.probe import Probe
from cmlib.losses.views import nt_xent
from cmlib.models.word_guesser import WordGuesser
from cmlib.tasks.hidden_words import HiddenWords, hide_words
from cmlib.worlds import Chest
from cmlib.worlds.xray import FINDINGS
cfg = cmlib.setup("12", full="the encoders of sections 4 to 8")

# %% [markdown]
# ## 1. Forty labels
#
# Somebody has labelled forty of four thousand chest films: what is the main finding, the large one? (They are drawings, not patients, as in lesson 03.) The other films have no label. But each came with a *report*, as films do.
#
# A small ResNet that starts from random weights learns from the forty labels and, for comparison, from all four thousand. The figures of this section and of section 5 come from a log: five seeds, each with films, reports and test films of its own (`benchmarks/few_labels.py`, 25 minutes on a CPU).
#
# **Predict before you run.** Guessing gives 1 in 7. What do forty labels give?

# %%
SIDE = 32 if cfg.name == "small" else 64           # pixels: half size is enough

def films(n, split="train", start=0):
    pairs = Chest().sample(n, split, start=start)
    size = (SIDE, SIDE)
    small = interpolate(pairs.images.float(), size, mode="bilinear", antialias=True)
    return replace(pairs, images=small.round().byte())

train, test = films(4000), films(1000, "test")
plots.show(plots.pictures(Chest().sample(6).images,
                          [train.class_names[k] for k in train.labels[:6]], size=1.15),
           "Six drawn chest films with their labels: "
           + ", ".join(train.class_names[k] for k in train.labels[:6]) + ".")
print(textwrap.fill(train.texts[1], 80))
log = json.loads((ROOT / "data" / "runs" / "few_labels.json").read_text("utf-8"))

def logged(method, what):
    """One number a seed, of the log."""
    rows = [row for row in log["rows"] if row["method"] == method]
    return torch.tensor([row[what] for row in rows])

for n in (40, 400, 4000):
    found = logged("scratch", f"fine-tuned {n}")
    print(f"from random weights, {n:5,} labels: {found.mean():.3f} ± {found.std():.3f}")
assert logged("scratch", "fine-tuned 40").mean() < 0.5
assert logged("scratch", "fine-tuned 4000").mean() > 0.75

# %% [markdown]
# The network is not too small: four thousand labels teach it. Forty do not. What can be had from the films that nobody labelled?
#
# ## 2. What a pretext declares equal
#
# A **pretext task** is a question whose answer lies in the data themselves: which word was hidden, which two crops are of one film. A network that answers it has to keep what the question needs. What the question never needs may go. And what the question *punishes* is pushed out: if two views of a film must get one vector, all that differs between views is declared irrelevant.
#
# How much can that cost? Exactly this much.
#
# **Step 1.** Let $J[y, x]$ be the probability of label $y$ with picture $x$; the table has shape (labels, pictures) and sums to 1.
#
# **Step 2.** Call $x$ and $x'$ equal if an augmentation turns one into the other, or if a chain of such steps, forwards or backwards, leads from one to the other. All pictures that are equal in this sense form an **orbit**, $o(x)$.
#
# **Step 3.** An encoder that is invariant gives one vector to a whole orbit, so whatever head stands on it gives one *answer* to a whole orbit.
#
# **Step 4.** The best answer to orbit $o$ is its most probable label. Added up over the orbits:
#
# $$\text{accuracy} \;\le\; \sum_{o} \max_y \sum_{x \in o} J[y, x] \;\le\; \sum_x \max_y J[y, x].$$
#
# Equal on both sides only where each orbit has one likeliest label in all its pictures.
#
# **A worked example.** Label: the side of the finding. Two pictures, finding left and finding right, half of the rows each: $J = \begin{pmatrix}.5&0\\0&.5\end{pmatrix}$. Mirroring joins them in one orbit: $\max(.5, .5) = .5$, a coin. Now look at the films above: each carries the marker R, and the heart lies on one side. A mirrored film has both on the other side: it is a *third* picture, and no real film looks like it. So there are four pictures, of which two never occur: $J = \begin{pmatrix}.5&0&0&0\\0&.5&0&0\end{pmatrix}$, orbits $\{1, 3\}$ and $\{2, 4\}$, and the ceiling is 1. Mirroring does not destroy the side here, since marker and heart are mirrored too. Whether an augmentation destroys a label is a question about *your* data.

# %%
plain = torch.tensor([[0.5, 0.0], [0.0, 0.5]])     # (sides, pictures)
together = plain.sum(1).amax()                     # both pictures are one orbit
print(f"nothing tells the sides, mirrored:       ceiling for the side {together:.2f}")
marked = torch.tensor([[0.5, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0]])
first, second = marked[:, [0, 2]], marked[:, [1, 3]]
kept = first.sum(1).amax() + second.sum(1).amax()
print(f"marker and heart in the film, mirrored:  ceiling for the side {kept:.2f}")
joined = marked[:, [0, 2, 1, 3]].sum(1).amax()     # without both, 1 is 4, and 2 is 3
print(f"and both cropped away now and then, too: ceiling for the side {joined:.2f}")
assert (together, kept, joined) == (0.5, 1.0, 0.5)

# %% [markdown]
# The last line is the trap. A crop that keeps neither marker nor heart (one lung, cut closely) joins what the flip had left apart: chains of augmentations make one orbit of all four pictures, and the coin is back. Losing the marker alone would not do it, since the heart still tells the sides. A list of augmentations is a list of statements about the label, **and they act together**. (Exercise 12.5 computes it for any list.)
#
# So much for the table. Now films. Take those with one finding, and hang a random half of them the wrong way round. Two questions: on which side of the *picture* is the finding, and on which side of the *patient*? The second can be told from the first and from what shows how the film hangs. One encoder with random weights reads the films; a second one is invariant by construction: it adds up the features of a film and of its mirror image. One layer on top, trained with 700 labels, five seeds.
#
# **Predict before you run:** four numbers. Which one is a coin?

# %%
class FilmFeatures(torch.nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.image_encoder = encoder

    def forward(self, batch):
        return self.image_encoder(batch.image)                       # (B, C)

def hung(pairs, seed):
    """One finding a film, half of them mirrored → images, side of picture, patient."""
    one = (pairs.extras["count"] == 1).nonzero()[:700, 0]
    images, patient = pairs.images[one], pairs.extras["zone"][one, 0] % 2
    mirrored = torch.rand(len(one), generator=torch.Generator().manual_seed(seed)) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images, torch.where(mirrored, 1 - patient, patient), patient

def read_sides(seed):
    """Accuracies of probes, (2, 2): (as it is, invariant) × (picture, patient)."""
    torch.manual_seed(seed)
    random_start = FilmFeatures(
        image_encoder("mini", pretrained=False, image_size=SIDE))
    (images, *sides), (new, *new_sides) = hung(train, seed), hung(test, seed + 100)
    as_it_is, mirror, new_as_it_is, new_mirror = (
        predict(random_start, Pairs(pixels, None))
        for pixels in (images, images.flip(3), new, new.flip(3)))
    invariant, new_invariant = as_it_is + mirror, new_as_it_is + new_mirror
    return [[(Probe(known, side, 2)(asked).argmax(1) == truth).double().mean().item()
             for side, truth in zip(sides, new_sides)]
            for known, asked in ((as_it_is, new_as_it_is), (invariant, new_invariant))]

found = torch.tensor([read_sides(seed) for seed in range(5)])        # (seeds, 2, 2)
means = found.mean(0)
for name, row in zip(("as it is", "invariant"), means.tolist()):
    print(f"{name:10s} side of the picture {row[0]:.2f}   of the patient {row[1]:.2f}")
assert means[1, 0] < 0.58 and means[1, 1] > 0.65 and means[0, 0] > 0.85

# %% [markdown]
# The invariant encoder has lost one label and kept the other, with the same films and the same flip. A finding on the left of the picture and its mirror image are one orbit with both labels in equal parts: a coin, for any head and any number of labels. The patient's side is the same in both pictures, and the orbit keeps it. Had the films neither marker nor heart, the picture's side would be all there is to ask.
#
# The bound holds for an encoder that *is* invariant. A loss of two views only pushes towards that. How far a trained encoder gets has to be measured.
#
# ## 3. Two views of one film
#
# The best known pretext (SimCLR) draws two views of each of $n$ films, crops and light, and asks each view to find its partner among all the others.
#
# **Step 1.** Stack the views to $V = [\,\text{first};\,\text{second}\,]$ of shape $(2n, d)$ and bring every row to length 1. The cosines $S = VV^\top/\tau$, $(2n, 2n)$, are logits.
#
# **Step 2.** View $i$ is not its own candidate: $S_{ii} = -\infty$, so that it adds $e^{-\infty} = 0$. It has $2n - 1$ candidates, one of them right: its partner $p(i) = i \pm n$.
#
# **Step 3.** Cross-entropy as ever: $L = \frac1{2n}\sum_i\big(\log\sum_{j\ne i} e^{S_{ij}} - S_{i\,p(i)}\big)$.
#
# **Step 4.** If the encoder gives every film the same vector, all $2n - 1$ candidates are equally good and $L = \ln(2n-1)$. That is the number to look for in a log: a loss that stays there has learned nothing.

# %% [exercise] 12.1
# Write the loss. Your function receives `first` and `second`, float64 `(n, d)`, row $k$ of both of the same film, and `temperature`; it returns a scalar. Gradients must flow to both.

# %% [stub]
def two_views_loss(first, second, temperature):
    """Each of the 2n views finds its partner among the 2n - 1 others.

    first, second : (n, d)   returns : scalar
    """
    raise NotImplementedError

# %% [solution]
def two_views_loss(first, second, temperature):
    n = len(first)
    views = torch.cat([first, second])
    views = views / views.norm(dim=1, keepdim=True)                  # (2n, d)
    logits = views @ views.T / temperature                           # (2n, 2n)
    logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    partner = torch.arange(2 * n).roll(n)                           # n, n+1, …, 0, 1, …
    return torch.nn.functional.cross_entropy(logits, partner)

# %% [hints]
# It is a classification of 2n rows into 2n places, with one place forbidden in each row.
# ---
# Rows of `[first; second]` to length 1, cosines divided by the temperature, $-\infty$ on the diagonal; the right place of row $i$ is $i + n$ for the first half and $i - n$ for the second.
# ---
# ```python
# views = torch.cat([first, second])
# views = ____                                          # length 1
# logits = views @ views.T / temperature
# logits = logits.masked_fill(torch.eye(len(views), dtype=torch.bool), ____)
# # then the mean over rows of logsumexp minus the partner's logit
# ```

# %%
same = torch.ones(6, 4, dtype=torch.float64)
apart = torch.eye(6, dtype=torch.float64)
print(f"collapsed: {nt_xent(same, same, 0.2):.4f}, "
      f"and ln 11 = {torch.tensor(11.0).log():.4f}")
print(f"partners equal, all else at right angles: {nt_xent(apart, apart, 0.2):.4f}")
assert abs(nt_xent(same, same, 0.2) - torch.tensor(11.0).log()) < 1e-6

# %% [markdown]
# What does the temperature do? The gradient pushes a view away from candidate $j$ with the weight $\mathrm{softmax}(S_i)_j$. Move the slider: five wrong candidates with fixed cosines, and the share of the push that each of them gets.

# %%
cosines = torch.tensor([0.9, 0.6, 0.3, 0.0, -0.3])
names = ["0.9", "0.6", "0.3", "0.0", "−0.3"]

def push(temperature=0.5):
    share = (cosines / temperature).softmax(0)
    fig, ax = plots.figure(width=4.6, height=2.5)
    ax.bar(names, share, color=plots.IMAGE)
    ax.set(ylim=(0, 1), xlabel="cosine of the wrong candidate",
           ylabel="share of the push", title=f"temperature {temperature:.2f}")
    return fig

plots.explore(push, "The share of the push that five wrong candidates get: the lower "
                    "the temperature, the more of it goes to the nearest.",
              temperature=(0.05, 2.0, 0.05, 0.5))

# %%
fig, axes = plots.figure(1, 3, width=7.0, height=2.3, sharey=True)
for ax, temperature in zip(axes, (1.0, 0.2, 0.05)):
    share = (cosines / temperature).softmax(0)
    ax.bar(names, share, color=plots.IMAGE)
    ax.set(title=f"temperature {temperature}", xlabel="cosine", ylim=(0, 1.05))
    print(f"temperature {temperature:4.2f}: the nearest wrong candidate gets "
          f"{share[0]:.3f} of the push")
axes[0].set_ylabel("share of the push")
plots.show(fig, "Three bar charts: at temperature 1 the push is spread over all five "
                "wrong candidates, at 0.2 most of it goes to the nearest, at 0.05 all.")
assert (cosines / 0.05).softmax(0)[0] > 0.99 > 0.5 > (cosines / 1.0).softmax(0)[0]

# %% [markdown]
# At a low temperature only the nearest neighbours count: the loss sorts fine differences. If the nearest neighbour is a film of the *same* finding, it sorts them apart all the same. It does not know your labels.
#
# ## 4. Words that only the film can tell
#
# A report says more than two crops of a film can. Hide the names of the findings in it, six words in all, and let a network guess them from the rest of the report **and the film**. The text encoder is frozen. What is at a hidden place asks: the state of `[MASK]` (it knows "in the left upper zone there is a …") looks at the cells of the feature map.

# %% tags=["hide-input"]
sketch = Schematic(8.2, 2.6)
film = sketch.box("film", (0.6, 1.95), (0.8, 0.5), plots.IMAGE)
resnet = sketch.box("ResNet\nfresh weights", (2.1, 1.95), (1.35, 0.6), plots.IMAGE)
cells = sketch.grid((3.75, 1.95), [[plots.IMAGE] * 2] * 2, cell=0.28)
sketch.text("cells\n(B, C, h·w)", (3.75, 2.47), fontsize=8)
words = sketch.box('"a large dense [MASK]\nin the left upper zone"', (1.15, 0.6),
                   (2.0, 0.6), plots.TEXT)
bert = sketch.box("BERT\nfrozen", (3.1, 0.6), (1.0, 0.6), plots.TEXT, filled=False)
state = sketch.box("state at [MASK]\n(B, M, H)", (4.75, 0.6), (1.25, 0.6), plots.TEXT)
look = sketch.box("looks at\nthe cells", (5.1, 1.95), (1.1, 0.6), plots.BOTH)
guess = sketch.box("which of\nsix words?", (7.2, 1.3), (1.2, 0.7), plots.BOTH)
for start, end in ((film, resnet), (resnet, cells), (cells, look), (words, bert),
                   (bert, state), (state, look), (look, guess), (state, guess)):
    sketch.arrow(start, end)
sketch.show("A film passes a ResNet that learns, to a map of cells; a report with a "
            "hidden word passes a frozen BERT; the state at the hidden place looks at "
            "the cells, and both together guess which of six words was hidden.")

# %%
reader = text_encoder(cfg.text_encoder).eval()
hidden, hidden_test = (hide_words(pairs, FINDINGS, reader)
                       for pairs in (train, test))
torch.manual_seed(0)
eye = image_encoder(cfg.image_encoder, pretrained=False, image_size=SIDE)
guesser = WordGuesser(eye, reader.hidden_size, len(FINDINGS))
fit(guesser, hidden, task=HiddenWords(), epochs=8, batch_size=96, learning_rate=4e-3,
    seed=0)

def guessed(places, moved=0):
    """Share of the hidden words at these places; the films moved on by so many rows."""
    words = hidden_test.extras["words"].masked_fill(~places, -1)
    pairs = replace(hidden_test, images=hidden_test.images.roll(moved, 0),
                    extras=hidden_test.extras | {"words": words})
    return evaluate(guesser, pairs, task=HiddenWords())["hidden words"]

words = hidden_test.extras["words"]                # (reports, places), -1: no place
there = words >= 0
in_film = there & test.extras["findings"].gather(1, words.clamp(min=0)).bool()
print(f"of the hidden words, {in_film.sum() / there.sum():.2f} are in the film")
not_there = there & ~in_film
seen, seen_other = guessed(in_film), guessed(in_film, moved=1)
denied, denied_other = guessed(not_there), guessed(not_there, moved=1)
print("words that are in the film: another film costs more than 0.15:",
      seen - seen_other > 0.15)
print("words that are not: it costs less than 0.12:", denied - denied_other < 0.12)
# a ResNet-50 from random weights would need more than eight passes
assert cfg.name == "full" or (seen - seen_other > 0.15 > 0.12 > denied - denied_other)

# %% [markdown]
# With another patient's film the guesses fall: the network looks. But they fall where there is something to see. Half of the hidden words are findings that the report *denies* ("no mass is seen"): these can at best be guessed as one of those that the film lacks, and looking helps little. The second line is the control for the first.
#
# No label of section 1 was used. But be honest about what was: the six hidden words are the names of the six findings. That is close to a weak label, and the frozen reader has read other chest reports.
#
# ## 5. What was learned? A label-cost curve
#
# Now the labels, and the only question that counts: how many of them does a pretext save? For each pretext a network is trained without labels on the same 4,000 films, then
# - **probed**: frozen, with one linear layer (what is in the features, ready to be read?);
# - **fine-tuned**: all weights, from there (what is a good start?).
#
# Five seeds; every seed has its own films, reports, test films and its own forty labels, the same for all pretexts. One control shows whether the *pairing* did it: hidden words with the reports of other films.
#
# **Predict before you run.** Which pretext knows the *side* of the finding best, and which the finding?

# %%
PRETEXTS = ("scratch", "two views", "two views, flipped", "film and report", "matching",
            "hidden words", "hidden words, reports shuffled")
print(f"{'mean of five seeds':34s} probe 40  tuned 40  probe 400 tuned 400    side")
columns = ("probe 40", "fine-tuned 40", "probe 400", "fine-tuned 400", "side")
for name in PRETEXTS:
    means = [logged(name, what).mean().item() for what in columns]
    print(f"{name:34s} " + "  ".join(f"{m:8.3f}" for m in means))
for name in ("scratch", "hidden words"):
    print(f"{name + ', all 4,000 labels':34s} "
          f"tuned {logged(name, 'fine-tuned 4000').mean():.3f}")
ends = logged("matching", "pretext_loss").mean()
print(f"the loss that matching ends with: {ends:.4f}, "
      f"ln 2 = {torch.tensor(2.0).log():.4f}")
best, random_start = logged("hidden words", "probe 40"), logged("scratch", "probe 40")
others = torch.stack([logged(name, "probe 40") for name in PRETEXTS
                      if name != "hidden words"])
print("hidden words ahead of every other line with 40 labels, in every seed:",
      bool((best > others).all()))
print("40 labels: in how many seeds is the probe ahead of fine-tuning?")
for name in ("scratch", "two views", "film and report", "hidden words"):
    gain = logged(name, "probe 40") - logged(name, "fine-tuned 40")
    print(f"    {name:16s} {int((gain > 0).sum())} of 5, "
          f"in the mean {gain.mean():+.3f}")
assert (best > others).all() and (logged("scratch", "side") > 0.9).all()

fig, axes = plots.figure(1, 2, width=7.2, height=3.0, sharey=True)
drawn = {"scratch": plots.GREY, "two views": plots.IMAGE, "film and report": plots.TEXT,
         "hidden words": plots.BOTH}
for ax, how in zip(axes, ("probe", "fine-tuned")):
    for name, color in drawn.items():
        counts = [40, 400] if how == "fine-tuned" and name not in (
            "scratch", "hidden words") else [40, 400, 4000]
        rows = torch.stack([logged(name, f"{how} {n}") for n in counts])    # (n, seeds)
        ax.errorbar(counts, rows.mean(1), rows.std(1), color=color, label=name,
                    capsize=3)
    ax.set(xscale="log", xticks=[40, 400, 4000], xticklabels=["40", "400", "4,000"],
           xlabel="labels", title=how, ylim=(0, 1))
    ax.minorticks_off()
axes[0].set_ylabel("accuracy, 7 classes")
axes[1].legend(fontsize=8, loc="lower right")
plots.show(fig, "Accuracy against the number of labels for four starts, probed and "
                "fine-tuned: with 40 labels hidden words are far above the others, "
                "and fine-tuned with 4,000 labels they are still eight points ahead.")

# %% [markdown]
# - **Hidden words** know the finding: with forty labels the probe reads twice as much from them as from any other start. The pairing did it: with the reports of other films nothing is left.
# - **Two views** and **film against report** gain nine points for the probe with forty labels, one to three with 400, and once all weights are trained nothing that five seeds could show. They ask *which film* this is. A likely reason: much else tells films apart, and what kind of shadow it is need not be known. **The pretext decides what is learned.**
# - **Matching** (does this report belong to this film?) ends at $\ln 2$: a coin, after as many steps as the others. That is a loss you can name, as in lesson 13: this run, at its one learning rate, never started. As a start it is worse than random weights.
# - **The side** is read from every start, and nearly as well from *random weights*: a random network keeps places apart. Without that first line one would have praised the pretexts for it. (And the flip did it no harm. All these films hang the right way round, so the flip's ceiling is 1, and crops of at least half a film never lose the whole heart: section 2.)
# - With forty labels the **probe** beats fine-tuning where the features already hold the answer, from hidden words. From the other starts drawn here, all weights learn as much from forty labels as one layer or more. With four thousand labels (only random weights and hidden words were fine-tuned on all) fine-tuning wins, and the pretext still helps.
#
# ## 6. Labels that the model gives itself
#
# From here on the network of section 4 stays as it is: `extract` once, then what is trained on this page is one linear layer on 128 numbers a film, in milliseconds.
#
# Four thousand films have no label. A model with forty could label them itself and learn from that. **FixMatch** does it with two views: what the model says of a *weak* view (hardly changed), if it says it with probability $\ge \tau$, is the label that the *strong* view (changed a lot) has to learn:
#
# $$L = \frac1B\sum_{b}\mathbb 1[\max_y q_b(y) \ge \tau]\;\big(-\log p_b(\hat y_b)\big),\qquad q_b = \mathrm{softmax}(\text{weak}_b),\;\; \hat y_b = \arg\max_y q_b(y).$$
#
# Two details carry it. The mean is over *all* rows, so that a batch with few sure rows weighs little. And no gradient goes through $q$: a label is a fact for the one who learns from it.

# %% [exercise] 12.2
# Write the loss. Your function receives `strong_logits` and `weak_logits`, float64 `(batch, classes)`, and `threshold`; a row counts where the largest probability of the weak view is at least the threshold. It returns a scalar; the gradient goes to the strong view only.

# %% [stub]
def sure_label_loss(strong_logits, weak_logits, threshold):
    """The strong view learns what the weak view says for sure.

    logits : (batch, classes)   threshold : float   returns : scalar
    """
    raise NotImplementedError

# %% [solution]
def sure_label_loss(strong_logits, weak_logits, threshold):
    confidence, label = weak_logits.detach().softmax(dim=1).max(dim=1)
    each = torch.nn.functional.cross_entropy(strong_logits, label, reduction="none")
    return (each * (confidence >= threshold)).mean()

# %% [hints]
# What comes from the weak view, and may a gradient go through it?
# ---
# `confidence, label` are the largest probability of each row and where it stands, of `softmax(weak)`, detached. Each row costs $-\log p_b(\hat y_b)$ of the strong view, times 1 or 0.
# ---
# ```python
# q = weak_logits.____().softmax(dim=1)
# confidence, label = q.max(dim=1)
# # then: the cross-entropy of every row by itself, the mask, and the mean over ____ rows
# ```

# %% [markdown]
# Here is the simplest form of the idea, on features: train a layer on the labelled films, let it label all films, keep what it is sure of ($\ge 0.8$), train again, two rounds. Five draws of the labelled films. (The later layers have many more rows, so their penalty on large weights is smaller.)
#
# **Predict before you run:** with 40 labels, and with 400: what do four thousand free labels bring?

# %%
eyes = FilmFeatures(guesser.image_encoder)
X, T = (predict(eyes, Pairs(pairs.images, None)) for pairs in (train, test))

def accuracy(probe):
    return (probe(T).argmax(1) == test.labels).double().mean().item()

def drawn(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(len(X), generator=generator)[:n]

def self_trained(rows, rounds=2, threshold=0.8):
    """→ (accuracy before, after, share of right ones among the labels it gave)."""
    probe = before = Probe(X[rows], train.labels[rows], 7, 0.1)
    for _ in range(rounds):
        confidence, label = probe(X).softmax(1).max(1)
        confidence[rows], label[rows] = 1.0, train.labels[rows]
        sure = (confidence >= threshold).nonzero()[:, 0]
        weight = torch.ones(len(sure))
        true = torch.isin(sure, rows)
        weight[true] = 0.5 * len(sure) / len(rows)     # half of the say for true labels
        probe = Probe(X[sure], label[sure], 7, 0.01, weight)
    right = (label[sure] == train.labels[sure]).double().mean().item()
    return accuracy(before), accuracy(probe), right

gains, given = {}, {}
for n in (40, 400):
    found = torch.tensor([self_trained(drawn(n, seed)) for seed in range(5)])
    gains[n], given[n] = found[:, 1] - found[:, 0], found[:, 2].mean().item()
most = max(gain.mean().abs().item() for gain in gains.values())
print("the mean gain, paired, is below 0.03 with 40 and with 400 labels:", most < 0.03)
print("with 40, more than 15 of 100 labels that it gave were wrong, in the mean:",
      given[40] < 0.85)
assert cfg.name == "full" or (most < 0.03 and given[40] < 0.85)

# %% [markdown]
# Nothing: what the layer was sure of and wrong, it has now learned as a truth. The layer's own labels are a function of what the layer sees already. The other films could still have shown where the classes lie; here they did not. Pseudo-labels bring something where the two sides see *different* things: a strong view of the film that the encoder must learn to read as it reads the weak one. That needs the whole network, and is in the log:

# %%
log_further = json.loads(
    (ROOT / "data" / "runs" / "few_labels_further.json").read_text("utf-8"))

def further(method, what):
    """One number a seed, of the second log."""
    rows = [row for row in log_further["rows"] if row["method"] == method]
    return torch.tensor([row[what] for row in rows])

alone, fixed = (further("from hidden words", what)
                for what in ("forty labels alone", "with FixMatch"))
print(f"all weights, 40 labels, from hidden words: {alone.mean():.3f}; "
      f"with FixMatch {fixed.mean():.3f}")
print("FixMatch minus alone, seed by seed:",
      " ".join(f"{d:+.3f}" for d in (fixed - alone).tolist()))
assert (fixed < alone).all()

# %% [markdown]
# Here it *hurts* (a hundred steps from section 4's kind of start, forty labels, the other films four to one in each batch): a start that is right on half of the films labels many of them wrongly, and a wrong label that is given surely is learned like a right one. This is one setting, and the log does not hold how many labels were wrong. On photographs of objects, with very many more steps, FixMatch gained much (its paper stands at the end). What to keep is the habit: the same start and the same number of steps *without* the free labels stands beside every such number.
#
# ## 7. Which forty?
#
# So far the forty labels were drawn by lot. A radiologist can label any forty films; which ones should they see? Two families of answers:
#
# - **doubt**: the films of which the model is least sure. With class probabilities $q$, the *entropy* $-\sum_y q_y\ln q_y$ is doubt about all classes, and the *margin*, the likeliest class's probability minus the second's, is doubt between two;
# - **cover**: the films farthest from all that are labelled, whatever the model says.

# %% [exercise] 12.3
# Choose by margin. Your function receives `probabilities`, float64 `(rows, classes)`, every row summing to 1, and `k`. It returns the numbers of the `k` rows whose two likeliest classes are closest, most doubtful first, int64 `(k,)`.

# %% [stub]
def most_doubtful(probabilities, k):
    """The k rows with the smallest margin, smallest first.

    probabilities : (rows, classes)   returns : int64 (k,)
    """
    raise NotImplementedError

# %% [solution]
def most_doubtful(probabilities, k):
    best = probabilities.topk(2, dim=1).values        # (rows, 2)
    return (best[:, 0] - best[:, 1]).argsort()[:k]

# %% [hints]
# The two likeliest classes are other ones in every row: bring each row into order first.
# ---
# `topk(2, dim=1).values` gives them; a small difference is doubt, and `argsort` gives row numbers.
# ---
# ```python
# best = probabilities.topk(2, dim=1).values
# doubt = ____
# return doubt.argsort()[____]
# ```

# %% [exercise] 12.4
# Cover the pool. Your function receives `features`, float64 `(rows, size)`, `labelled`, int64, the rows that have a label, and `k`. Choose `k` further rows one after the other: each time the row whose distance to the *nearest* known row is largest; it is known from then on. Return their numbers in the order of choice, int64 `(k,)`. Distances are Euclidean; no two are equal.

# %% [stub]
def farthest_rows(features, labelled, k):
    """The next k rows to label, each as far as possible from all that is known.

    features : (rows, size)   labelled : int64 (known,)   returns : int64 (k,)
    """
    raise NotImplementedError

# %% [solution]
def farthest_rows(features, labelled, k):
    nearest = torch.cdist(features, features[labelled]).amin(1)       # (rows,)
    chosen = []
    for _ in range(k):
        row = int(nearest.argmax())
        chosen.append(row)
        to_row = torch.cdist(features, features[row:row + 1])[:, 0]
        nearest = torch.minimum(nearest, to_row)
    return torch.tensor(chosen)

# %% [hints]
# Keep one number for each row: how far it is from the nearest known row. What happens to it when one more row becomes known?
# ---
# Start with `cdist(features, features[labelled])` and the minimum over dim 1. The next row is the `argmax`; then every row's number becomes the smaller of what it was and its distance to the new row.
# ---
# ```python
# nearest = torch.cdist(features, features[labelled]).amin(1)
# for _ in range(k):
#     row = int(nearest.argmax())
#     nearest = torch.minimum(nearest, ____)
# ```

# %% [markdown]
# Two pools. One is **balanced**, as the world is: every finding as often as every other. One is **rare**, as hospitals are: most films are normal, and the rarest finding is the main one in one film of forty. Fourteen films are drawn by lot, then sixteen are chosen three times: sixty-two labels in the end. The score is *balanced* accuracy, the mean over the classes, five draws, each rule from the same fourteen films.
#
# **Predict before you run:** where does doubt beat the lot, and where does it lose?

# %%
middle, spread = X.mean(0), X.std(0)
points = (X - middle) / spread

def balanced_accuracy(probe):
    said = probe(T).argmax(1)
    return torch.stack([(said[test.labels == k] == k).double().mean()
                        for k in range(7)]).mean().item()

def asked(rule, pool, seed, rounds=3, step=16):
    """Balanced accuracy at the end of an active learner's questions."""
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    pool = pool[order]
    known = pool[:14]
    for _ in range(rounds):
        rest = pool[~torch.isin(pool, known)]
        if rule == "by lot":
            new = rest[:step]
        elif rule == "cover":
            both = torch.cat([known, rest])
            new = both[k_centre(points[both], torch.arange(len(known)), step)]
        else:
            q = Probe(X[known], train.labels[known], 7, 0.1)(X[rest]).softmax(1)
            sure = margin(q) if rule == "margin" else -entropy(q)
            new = rest[sure.argsort()[:step]]
        known = torch.cat([known, new])
    return balanced_accuracy(Probe(X[known], train.labels[known], 7, 0.1))

shares = (1, 0.25, 0.15, 0.1, 0.06, 0.05, 0.04)
by_class = [(train.labels == k).nonzero()[:, 0] for k in range(7)]
rare = torch.cat([rows[:int(500 * share)] for rows, share in zip(by_class, shares)])
pools = {"balanced": torch.arange(len(X)), "rare": rare}
final = {}
for name, pool in pools.items():
    for rule in ("by lot", "entropy", "margin", "cover"):
        final[name, rule] = torch.tensor([asked(rule, pool, seed) for seed in range(5)])
gain = {key: final[key] - final[key[0], "by lot"] for key in final}
lost = [bool(gain["balanced", rule].mean() < -0.02) for rule in ("entropy", "cover")]
won = [bool(gain["rare", rule].mean() > 0.01) for rule in ("margin", "cover")]
close = bool(gain["balanced", "margin"].mean().abs() < 0.05)
print("balanced: entropy and cover below the lot in the mean:", all(lost))
print("balanced: margin within 0.05 of the lot in the mean:", close)
print("rare: margin and cover above the lot in the mean:", all(won))
assert cfg.name == "full" or (all(lost) and all(won) and close)

# %%
fig, axes = plots.figure(1, 2, width=6.8, height=2.6, sharey=True)
for ax, name in zip(axes, pools):
    for place, rule in enumerate(("entropy", "margin", "cover")):
        five = gain[name, rule]
        ax.plot([place] * 5, five, "o", color=plots.IMAGE, alpha=0.5)
        ax.plot(place, five.mean(), "_", ms=22, mew=3, color=plots.TEXT)
    ax.axhline(0, color=plots.GREY, lw=1)
    ax.set(xticks=range(3), xticklabels=["entropy", "margin", "cover"],
           title=f"{name} pool (bar: mean)", xlim=(-0.5, 2.5))
axes[0].set_ylabel("balanced accuracy\nminus by lot")
plots.show(fig, "Five paired differences to drawing by lot for each rule: in the "
                "balanced pool entropy and cover lie far below zero and margin around "
                "it, in the rare pool most draws of all rules lie above it.")

# %% [markdown]
# On the balanced pool nothing beat the lot by much: it takes each class as often as the test asks for it. Entropy and cover go for the odd films and lose; margin ties. On the rare pool the lot keeps drawing normal films, and rules that look for something else find the findings; margin and cover do so most surely. **Here active learning paid for imbalance, not for cleverness.** So ask of every report how balanced its pool was, and whether the lot stands beside the best rule.
#
# ### One film of each
#
# With one film or a few of each class, a classifier needs no training at all: average the features of each class to a **prototype** and give a new film to the nearest one, by cosine. Ten draws, against the trained layer on the same films:

# %%
unit = torch.nn.functional.normalize

def by_prototypes(rows):
    known, new = unit(points[rows], dim=1), unit((T - middle) / spread, dim=1)
    labels = train.labels[rows]
    centres = torch.stack([known[labels == k].mean(0) for k in range(7)])
    said = (new @ unit(centres, dim=1).T).argmax(1)
    return (said == test.labels).double().mean().item()

ahead = {}
for n in (1, 20):
    found = []
    for seed in range(10):
        order = drawn(len(X), seed)
        rows = torch.cat([order[train.labels[order] == k][:n] for k in range(7)])
        layer = Probe(X[rows], train.labels[rows], 7, 0.1)
        found.append((by_prototypes(rows), accuracy(layer)))
    found = torch.tensor(found)
    ahead[n] = found[:, 0] - found[:, 1]
few, more = bool(ahead[1].mean() > 0.01), bool(ahead[20].mean() < -0.01)
print("one film a class: prototypes ahead of the trained layer in the mean:", few)
print("twenty a class: prototypes behind it in the mean:", more)
assert cfg.name == "full" or (few and more)

# %% [markdown]
# The fewer films, the more an assumption is worth: prototypes assume that each class is one round cloud, and are ahead while there is nothing to fit. With twenty a class the layer that assumes less has learned more.
#
# ## 8. The cheapest label stands in the report
#
# All this time the answer was written beside the film. Forty labels can teach a *reader* instead: it labels four thousand reports, and a film network learns from those. At the end no report is needed any more: a cross-modal transfer, from words to pictures.
#
# How should it read? A layer on the *mean* of BERT's states has to find one large finding among all the words of a report. Read *at the word* instead: a report names up to five findings, and of each the question is the same, "is this the main one?". BERT's state at that place knows its neighbours: *large*, *small*, *no*. So forty reports give well over a hundred labelled places.
#
# A second helper: **say it again**. Back-translation turns a sentence into another language and back, to get new words for the same meaning. Offline, the world can do it exactly: the same findings, told anew, five times each. (That is more than a translator has: the world knows the findings, and may deny others than the first report did. Take it as a ceiling.)

# %%
from cmlib.worlds.chest import report
from cmlib.worlds.words import Chooser

def told_again(rows, times, seed):
    """These films, each `times` times, with the same findings in other words."""
    pairs = train[rows.repeat_interleave(times)]
    facts = [pairs.extras[name].tolist() for name in ("kind", "size", "dense", "zone")]
    numbers = torch.Generator().manual_seed(seed)
    texts = []
    for row in zip(*facts):
        draws = torch.rand(40, generator=numbers, dtype=torch.float64).tolist()
        texts.append(report(Chooser(draws), [one for one in zip(*row) if one[0] >= 0]))
    return replace(pairs, texts=texts)

def taught(pairs):
    """A reader: is the finding at this place the main one?"""
    states, words = (pairs.extras[name] for name in ("states", "words"))
    there = words >= 0
    main = (words + 1 == pairs.labels[:, None])[there].long()
    return Probe(states[there], main, 2, 0.03)

def reads_right(probe, pairs):
    states, words = (pairs.extras[name] for name in ("states", "words"))
    is_main = probe(states.flatten(0, 1)).softmax(1)[:, 1].view(words.shape)
    most, place = is_main.masked_fill(words < 0, -1.0).max(1)
    said = torch.where(most > 0.5, words.gather(1, place[:, None])[:, 0] + 1, 0)
    return (said == pairs.labels).double().mean().item()

found = []
for seed in range(5):
    rows = drawn(40, seed)
    again = hide_words(told_again(rows, 5, seed), FINDINGS, reader)
    found.append([reads_right(taught(one), hidden_test)
                  for one in (hidden[rows], again)])
once, more = torch.tensor(found).T
print(f"new reports read rightly, of forty labelled ones: {once.mean():.3f}")
print(f"each told in five other ways: {more.mean():.3f}; better in every draw: "
      f"{bool((more > once).all())}")
assert not reader.pretrained or (more > once).all()

by_word, by_mean, film = (further("labels from the words", what)
                          for what in ("reader", "mean reader", "film"))
print(f"\nlog: read at the word {by_word.mean():.3f} of 4,000 reports, by the mean "
      f"{by_mean.mean():.3f};\nfilms alone, after learning from what was read: "
      f"{film.mean():.3f}")

# %% [markdown]
# In the mean, *large* and *mass* stand somewhere among thirty words; at the word, BERT has brought them together. And saying it again helped in the draws above. So the film network that learned from what was *read* has seen forty labels in all, like those of section 5, and beats them all; no label of a film was ever given. Hospitals do this: labels of large public sets of chest films were read from their reports by a program. (Their errors are learned too, where they follow from what the film shows; those that are random average out.)
#
# ### A reader from another house
#
# The reader has read chest reports before (that is how it was made). What if yours has read only messages to a refund desk? **Domain-adaptive pretraining** is one more round of masked words on the reports that you have, before any label. Four readers of the same size from random weights, five seeds, hidden words and forty labels on reports that none has read:

# %%
print(f"{'has read':18s} passes  hidden words  forty labels")
passes = {"fresh": "0", "desk": "2", "desk, then chest": "2 + 2", "chest": "2"}
for name, count in passes.items():
    words_right, right = (further(f"reader: {name}", what)
                          for what in ("hidden words", "forty labels"))
    print(f"{name:18s} {count:6s}  {words_right.mean():12.3f}  {right.mean():12.3f}")
adapted, desk, chest = (further(f"reader: {name}", "hidden words")
                        for name in ("desk, then chest", "desk", "chest"))
print("hidden words: adapted ahead of the desk alone in every seed:",
      bool((adapted > desk).all()),
      "\nadapted minus the round on chest from nothing, seed by seed:",
      " ".join(f"{d:+.3f}" for d in (adapted - chest).tolist()))
assert (adapted > desk).all()

# %% [markdown]
# A pass is four thousand texts, so all of them are beginners: forty labels teach each little more than the next. (The shipped reader above, of the same size, was trained for minutes; it is the line at .8.) What can be seen is the pretext itself: after a round on chest reports the desk's reader guesses more hidden words there than before, in every seed, and hardly more than the same round gives from nothing. One seed of five says the opposite, and the adapted reader had twice the steps. **Here adaptation shows in the pretext and not in the labels**, and a gain in the pretext is no promise.
#
# ## 9. What may be said at the end
#
# Three sentences that this lesson does *not* support.
#
# - *"Self-supervision learns general features."* Two views and film against report gained nine points for a probe with forty labels, and nothing that lasts once all weights learn; hidden words gained forty, because they ask for the finding (section 5).
# - *"The features know the side."* So do those of a network that has learned nothing: its line says so. A probe without the random network beside it is no evidence.
# - *"Labels that cost nothing are worth something."* The layer's own labels brought nothing (section 6); those that a reader took from the report brought more than any pretext with forty labels (section 8).
#
# And one that it does: **name what your pretext asks**, and you know what it will have learned.

# %% [markdown]
# ## 10. On paper: what a list of augmentations declares

# %% [exercise] 12.5
# **On paper first.** (a) Prove step 4 of section 2: whatever head stands on an invariant encoder, its accuracy is at most $\sum_o\max_y\sum_{x\in o}J[y,x]$. (b) Two augmentations, used together or one at a time: show that the ceiling with both is at most the smaller of their own ceilings, and give a table where it is strictly smaller.
#
# **Then build it.** Your function receives `table`, float64 `(labels, pictures)`, summing to 1, and `moves`, int64 `(augmentations, pictures)`: augmentation $a$ turns picture $x$ into picture `moves[a, x]`. Pictures are equal if a chain of moves, forwards or backwards, leads from one to the other. Find the orbits, and return the ceiling, a float64 scalar tensor.

# %% [stub]
def invariant_ceiling(table, moves):
    """The best accuracy on an encoder that gives one vector to whatever the moves join.

    table : float64 (labels, pictures)   moves : int64 (augmentations, pictures)
    returns : float64 scalar tensor
    """
    raise NotImplementedError

# %% [solution]
def invariant_ceiling(table, moves):
    pictures = table.shape[1]
    orbit = torch.arange(pictures)              # the smallest number seen in its orbit
    for _ in range(pictures):
        for move in moves:
            lower = torch.minimum(orbit, orbit[move])
            orbit = torch.minimum(orbit, lower)
            orbit = orbit.scatter_reduce(0, move, lower, "amin")      # and backwards
    best = torch.zeros((), dtype=table.dtype)
    for first in orbit.unique():
        best = best + table[:, orbit == first].sum(1).max()
    return best

# %% [hints]
# The pictures are the nodes of a graph and every move draws edges. What are the orbits in this graph?
# ---
# Connected components. Give every picture its own number; then, again and again, let each picture and the one it is moved to take the smaller of their two numbers. After as many rounds as there are pictures nothing changes any more. The rest is step 4.
# ---
# ```python
# orbit = torch.arange(table.shape[1])
# for _ in range(table.shape[1]):
#     for move in moves:
#         for x, y in enumerate(move.tolist()):
#             orbit[x] = orbit[y] = ____
# # then, for each number that is left: the columns with it, summed, and the best label
# ```

# %% [answer]
# (a) An invariant encoder has $e(x) = e(x')$ for all $x, x'$ of an orbit, so a head $h$ gives one answer $a_o = h(e(x))$ to the whole orbit. Its accuracy is $\sum_o\sum_{x\in o}J[a_o, x]$, and for each orbit $\sum_{x\in o}J[a_o,x] \le \max_y\sum_{x\in o}J[y,x]$. A head that answers the maximising label of each orbit reaches it, if the encoder tells orbits apart.
#
# (b) The orbits of both together are unions of orbits of the first. For a union $\max_y(s_1[y] + s_2[y]) \le \max_y s_1[y] + \max_y s_2[y]$, so joining can only lower the sum; the same with the second. Strictly smaller: the films of section 2. Pictures 1 (finding left, marker and heart in place), 2 (finding right, the same), 3 and 4 their mirror images. The flip joins 1–3 and 2–4: ceiling 1. A crop that loses marker and heart makes 1 and 4 the same picture, and 2 and 3: joins 1–4 and 2–3: ceiling 1 as well, since 3 and 4 never occur. Together all four are one orbit: ceiling .5.

# %% [markdown]
# ## 11. Recap
#
# You can now
# - say what a pretext declares equal, and compute the accuracy that is left;
# - write the loss of two views, and recognise a pretext that learns nothing by the number it stays at;
# - let words be guessed through a picture, and show with exchanged films and shuffled reports that the pairing does it;
# - measure what a pretext saves in labels, with random weights beside every probe;
# - decide how to spend labels: by lot on a balanced pool, by doubt or cover on a rare one, prototypes for a handful, and on the words first where there are words.
#
# `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? A colleague pretrains on chest films with random flips and wants to tell left from right afterwards. What do you answer?
# - Flips always destroy the side :: Not here: marker and heart are mirrored too, and a mirrored film is a third picture.
# - Flips never matter, the network sees both anyway :: An invariant network gives both one vector; whether a label dies depends on what else tells the two apart.
# + Compute the orbits with all augmentations together, crops too :: A crop that loses all that tells the sides joins what the flip alone had left apart.
# - Use more labels afterwards :: No number of labels brings back what a frozen, invariant encoder does not pass on.
# ? Forty labels, one linear layer on frozen features. It labels 4,000 films itself and is trained again. What changes?
# + Next to nothing, as here: its labels are a function of the features it has :: Where it was wrong and sure it stays wrong; what else the rows could show has to be measured.
# - It reaches the accuracy of 4,000 labels :: Only if its own labels were right.
# - It collapses to one class :: Some runs lose a little; none collapses.
# - It gets better the lower the threshold :: A lower threshold lets more wrong labels in.
# ? A probe reads the side of the finding from a pretrained network with 0.98. What do you ask first?
# - How many labels the probe had :: Good to know, but not first.
# + What the same probe reads from random weights :: Here nearly as much: then pretraining is not what the number shows.
# - Whether the network was trained longer :: The question is what the number is evidence of.
# - Whether fine-tuning gives more :: Another question.
# ? An active learner beats drawing by lot on a pool whose rarest class is one row in forty. Will it on yours?
# - Yes, doubt is always informative :: On the balanced pool the same rules lost to the lot.
# + Perhaps, if your pool is as unbalanced; it has to be tried against the lot on the same first films :: The gain came from finding rare classes; pair the comparison.
# - No, active learning never works :: On the rare pool margin and cover were ahead in the mean.
# - Only with a deep network :: The rule and the pool decided here.

# %% [markdown]
# **Glossary**: *pretext task*, a question whose answer lies in the data · *orbit*, pictures that augmentations turn into one another · *view*, an augmented picture · *linear probe*, one layer on frozen features · *label-cost curve*, accuracy against the number of labels · *pseudo-label*, a label that a model gives itself · *active learning*, choosing which rows to have labelled · *prototype*, the mean of a class · *domain-adaptive pretraining*, more of the pretext on texts of the new field · *back-translation*, other words for the same meaning through another language.
#
# **References**
# - T. Chen, S. Kornblith, M. Norouzi, G. Hinton, *A simple framework for contrastive learning of visual representations*, ICML 2020: SimCLR; its table of augmentations shows how much they decide.
# - K. Sohn et al., *FixMatch: simplifying semi-supervised learning with consistency and confidence*, NeurIPS 2020: the loss of section 6.
# - J. Lu, D. Batra, D. Parikh, S. Lee, *ViLBERT*, NeurIPS 2019: masked words (and regions) guessed through the other modality.
# - Y. Zhang, H. Jiang, Y. Miura, C. Manning, C. Langlotz, *Contrastive learning of medical visual representations from paired images and text*, 2020: film against report, on real films.
# - O. Sener and S. Savarese, *Active learning for convolutional neural networks: a core-set approach*, ICLR 2018: k-centre.
# - S. Gururangan et al., *Don't stop pretraining: adapt language models to domains and tasks*, ACL 2020: what section 8 does in small.
# - J. Snell, K. Swersky, R. Zemel, *Prototypical networks for few-shot learning*, NeurIPS 2017: one mean a class.

# %% [progress]
