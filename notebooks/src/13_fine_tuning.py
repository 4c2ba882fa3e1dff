# %% [markdown]
# # 13 Full GPU fine-tuning of BERT + ResNet
#
# **The one thing to take away:** a fine-tuning run is a plan. What must fit, what must move, how you will know, and how you go on when it stops: all four are decided on paper, before the first step, and each is checked while it runs.
#
# You will be able to
# - say from the shapes alone how many bytes a step of BERT-base + ResNet-50 needs, and how many minutes a run takes;
# - shorten a step (short formats, a loss scale, layers computed again, batches in parts) and see who waits for whom;
# - write a recipe whose parts you have switched off once, and recognise a branch that has died;
# - run with checkpoints and curves, lose the machine, go on to the same bits, and read a log that went wrong;
# - prove that fusion was worth it, against each modality fine-tuned alone, and hand over a model that others can load.
#
# **Before this:** [06](06_concatenation.ipynb) (frozen encoders, seeds) and [07](07_real_data.ipynb) (intervals, the emoji).
#
# **Time:** about 90 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import itertools
import json
import math
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
import torch
from torch.nn.functional import cross_entropy
from cmlib import (
    FusionModel, evaluate, extract, fit, image_encoder, plots, predict, text_encoder
)
from cmlib.course.schematic import Schematic
from cmlib.data import Features, Rows
from cmlib.data.loader import batches as plan_batches
from cmlib.evaluation import paired, score
from cmlib.models import Majority, save_model
from cmlib.training import checkpoint, curves, memory, optim
from cmlib.training.freeze import checkpoint_gradients
from cmlib.training.precision import choose
from cmlib.worlds import COLORS, KINDS, RefundDesk
cfg = cmlib.setup("13", full="every section: BERT-base and ResNet-50 are trained")

# %% [markdown]
# ## 1. The plan on paper
#
# You have a GPU for fifteen minutes: the Tesla T4 of a free Colab, 16 GB. On it you are to fine-tune *all* weights of BERT-base, of a ResNet-50 and of a head on top: 133 million numbers that learn at once. The drawing below shows the way that every row takes, and who does the work.
#
# The data are refund tickets again, each of the four situations as likely as any other: both modalities tell (R), only the photo (I), only the message (T), only both *together* (S: is the toy in the photo of the colour that was ordered?). Whoever sees only the photo, or reads only the message, can know half of the answers and has to guess the rest.
#
# `PLAN` is the plan, and there is one for each machine. What trains is called in the same way on both: `cfg` names the encoders, mini on a CPU, BERT-base and ResNet-50 on a GPU. (The rates for a GPU come from published recipes, 5e-5 for BERT from its appendix A.3, and have not been tried on these data; section 3 shows how three rates are tried. The prose speaks of the stored run, on a CPU; a GPU prints other numbers.)

# %% tags=["hide-input"]
sketch = Schematic(7.6, 2.3)
high, low, mid = 1.72, 0.62, 1.17
photo = sketch.box("photo.jpg", (0.52, high), (0.95, 0.42), plots.IMAGE)
words = sketch.box('"it is torn"', (0.52, low), (0.95, 0.42), plots.TEXT)
pixels = sketch.box("uint8\n(B, 3, H, W)", (2.3, high), (1.1, 0.5), plots.IMAGE)
ids = sketch.box("ids, mask\n(B, T)", (2.3, low), (1.1, 0.5), plots.TEXT)
resnet = sketch.box("ResNet\n(B, 2048)", (4.1, high), (1.1, 0.5), plots.IMAGE)
bert = sketch.box("BERT\n(B, 768)", (4.1, low), (1.1, 0.5), plots.TEXT)
head = sketch.box("head\nloss", (5.45, mid), (0.8, 0.5), plots.BOTH)
update = sketch.box("clip\nAdamW", (7.1, mid), (0.9, 0.5), plots.GREY)
sketch.arrow(photo, pixels, "decode")
sketch.arrow(words, ids, "cut, pad", shift=(0, -0.14))
sketch.arrow(pixels, resnet, "copy")
sketch.arrow(ids, bert, "copy", shift=(0, -0.14))
for encoder, color, bend in ((resnet, plots.IMAGE, -0.3), (bert, plots.TEXT, 0.3)):
    sketch.arrow(encoder, head, color=color)
    sketch.arrow(head, encoder, color=plots.GREY, bend=0.35, dashed=True)
    sketch.arrow(encoder, update, color=plots.GREY, bend=bend, dashed=True)
sketch.arrow(head, update, "gradients", dashed=True)
sketch.text("CPU, one batch ahead", (1.4, 0.14), color=plots.GREY)
sketch.text("GPU: forward →, ← backward (dashed)", (4.9, 0.14), color=plots.GREY)
sketch.show("Photo and words are decoded, cut and padded on the CPU, copied to the "
            "GPU, encoded by ResNet and BERT, joined in the head; dashed arrows lead "
            "back into both encoders, and from head and encoders to AdamW.")

# %%
PLAN = {
    "small": {"rows": 320, "epochs": 4, "head_first": 1, "batch_size": 16, "every": 15,
              "learning_rate": {"text": 2e-3, "image": 1e-3, "head": 2e-3}},
    "full": {"rows": 960, "epochs": 4, "head_first": 1, "batch_size": 32, "every": 30,
             "learning_rate": {"text": 5e-5, "image": 1e-4, "head": 1e-3}},
}[cfg.name]
desk = RefundDesk(tricky=0)
sizes = {"train": PLAN["rows"], "valid": 100, "test": 600}
sets = {split: desk.sample(n, split=split) for split, n in sizes.items()}

claim = cfg.claim

def fresh(seed=0, use=("image", "text")):
    """The model that is fine-tuned: pretrained encoders, a new head."""
    torch.manual_seed(seed)
    image, text = image_encoder(cfg.image_encoder), text_encoder(cfg.text_encoder)
    return FusionModel(image, text, n_classes=2, use=use)

ceilings = {view: round(value, 3) for view, value in desk.ceilings().items()}
print(f"tickets: {', '.join(f'{n} {split}' for split, n in sizes.items())}; "
      f"the most that anyone\ncan reach: {ceilings}")
shown = [int((sets["train"].extras["situation"] == k).nonzero()[0]) for k in range(4)]
titles = [f'{"RITS"[k]}: {sets["train"].texts[i]}\n'
          f'→ {desk.class_names[sets["train"].labels[i]]}' for k, i in enumerate(shown)]
extras = sets["train"].extras
toys = [f'{KINDS[extras["kind"][i]]} in {COLORS[extras["color"][i]]}, '
        f'{"" if extras["cracked"][i] else "not "}cracked' for i in shown]
toys[2] = "a sealed parcel"                            # in T nobody sees what is in it
plots.show(plots.pictures(sets["train"].images[shown], titles, columns=4, size=1.6),
           "Four tickets, one of each situation. " + "; ".join(
               f"{title.replace(chr(10), ' ')}; in the photo: {toy}"
               for title, toy in zip(titles, toys)) + ".")

# %% [markdown]
# ### What must fit
#
# A step keeps four things in memory. With $N$ weights in float32 (4 bytes each):
#
# | what | bytes | why |
# |---|---|---|
# | weights | $4N$ | |
# | gradients | $4N$ | one for each weight that learns |
# | AdamW's moments | $8N$ | a running mean of the gradient, and one of its square |
# | activations | grows with the batch | what the forward pass keeps for the backward pass |
#
# The first three are $16N$ and do not depend on the batch. (A run that keeps an average of its weights and a copy of its best epoch, as ours will, has $4N$ more for each.) The fourth is derived layer by layer from one question: **what does the gradient of this layer need?**
#
# | layer | keeps | why |
# |---|---|---|
# | linear, convolution | its input | the gradient of a weight is input × incoming gradient |
# | norm | its input | the slope depends on mean and spread |
# | GELU | its input | the slope depends on where it stands |
# | ReLU | its *output* | 0 or not 0 says whether the slope is 0 or 1 |
# | dropout | its mask | the same entries must be dropped on the way back |
# | sum | nothing | its slope is 1 |
#
# A tensor that two layers keep lies in memory once: the output of a ReLU *is* the input of the next convolution.
#
# **One bottleneck of a ResNet-50**, width $w$ on a map of $s\times s$ places: three convolutions put out $w$, $w$ and $4w$ channels, each kept by its norm; three ReLUs put out $w$, $w$ and $4w$, each kept by itself and by what comes next. Together $12\,w\,s^2$ numbers. Worked example: $w = 64$, $s = 56$ gives $12\cdot64\cdot3136 = 2.4$ million numbers, 9.6 MB for *one* picture and one of sixteen blocks.
#
# **One layer of BERT**, width $H$, per token: the input of query, key and value $1H$; these three $3H$; what attention puts out $1H$; two sums before the norms $2H$; the input of the wide layer $1H$, its output of width $4H$ before and after GELU $8H$: $16H$. Two dropout masks make it $18H$. And attention, written out, keeps a table of weights of every token on every token for each of $h$ heads, its mask and what is left of it: $3hT$ with $T$ tokens. So a token costs $18H + 3hT$ numbers.
#
# The figure is a measurement, not a sketch: a hook weighs every tensor as autograd takes it and as it lets it go. When backward begins, all activations are there and no gradient is; at the end it is the other way round. The highest point is therefore weights + moments + activations, plus the first gradients; whoever adds all four is on the safe side.

# %% tags=["hide-input"]
def timeline(model, batch):
    """(MB kept for the backward pass, MB of gradients) after each event of a step."""
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    held, seen, totals = {}, [], {"kept": 0, "gradients": 0}

    class Kept:
        """What autograd holds in the place of a tensor, until it is used."""
        def __init__(self, tensor):
            self.tensor, storage = tensor, tensor.untyped_storage()
            self.key, self.size = storage._cdata, storage.nbytes()
            if self.key not in own:
                held[self.key] = held.get(self.key, 0) + 1
                totals["kept"] += self.size * (held[self.key] == 1)
                seen.append(tuple(totals.values()))

        def __del__(self):
            if self.key not in own:
                held[self.key] -= 1
                totals["kept"] -= self.size * (held[self.key] == 0)
                seen.append(tuple(totals.values()))

    def arrived(parameter):
        totals["gradients"] += parameter.grad.untyped_storage().nbytes()
        seen.append(tuple(totals.values()))

    hooks = [p.register_post_accumulate_grad_hook(arrived) for p in model.parameters()]
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        loss = cross_entropy(model(batch), batch.labels)
    middle = len(seen)
    loss.backward()
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    return torch.tensor(seen, dtype=torch.float64) / 1e6, middle

model = fresh().train()
rows = {split: Rows(pairs, model.tokenizer) for split, pairs in sets.items()}
batch = rows["train"][torch.arange(16)].to(cfg.device)
seen, middle = timeline(model, batch)
weights = sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6
order, base = torch.arange(len(seen)), torch.zeros(len(seen))
levels = [base, base + weights, base + 3 * weights, base + 3 * weights + seen[:, 1],
          base + 3 * weights + seen.sum(1)]
fig, ax = plots.figure(width=7, height=2.9)
parts = ("weights", "moments", "gradients", "activations")
colors = (plots.GREY, "#CC79A7", plots.BOTH, plots.IMAGE)
for name, color, under, over in zip(parts, colors, levels, levels[1:]):
    ax.fill_between(order, under, over, color=color, alpha=0.55, lw=0, label=name)
ax.axvline(middle, color="black", lw=1, ls=":")
top = float(levels[-1].max())
ax.text(middle / 2, top * 1.08, "forward", ha="center")
ax.text((middle + len(seen)) / 2, top * 1.08, "backward", ha="center")
ax.set(title="A step's memory over time: the peak is where the way back begins",
       xlabel="event of the step (a tensor kept, used, or a gradient made)",
       ylabel="MB", ylim=(0, top * 1.2), xlim=(0, len(seen)))
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plots.show(fig, "Stacked areas: weights and moments are constant; activations rise "
                "during the forward pass to a peak where the backward pass begins, and "
                "fall during it, while gradients grow.")
print(f"16 tickets: activations {seen[:, 0].max():.1f} MB at the peak, "
      f"weights + gradients + moments {4 * weights:.1f} MB;\n"
      f"left at the end {abs(seen[-1, 0]):.1f} MB of activations")

# %% [exercise] 13.6
# Plan a chain. Your function receives `layers`, a list of `(kind, inputs, outputs)` with kind `"linear"`, `"norm"` (a LayerNorm), `"gelu"` or `"relu"`; `rows`, the size of the batch; and `frozen`: the first so many *entries of the list* do not learn. Everything is float32. A linear layer has a bias; a norm has a gain and a bias for each of its inputs.
#
# Return a dict with the bytes of `"weights"` (all of them), `"gradients"`, `"moments"` (AdamW) and `"activations"`. Where no gradient has to pass, nothing is kept. Within 5 % of a real step is right.
#
# (The numbers of exercises are names, on which the records of learners hang: an exercise that took another's place has a number of its own. This lesson has 13.6, 13.2, 13.8, 13.7 and, as its stretch, 13.5.)

# %% [stub]
def memory_plan(layers, rows, frozen):
    """Bytes that one training step keeps.

    layers : list of (kind, inputs, outputs)   rows, frozen : int
    returns : dict of four int
    """
    raise NotImplementedError

# %% [solution]
def memory_plan(layers, rows, frozen):
    numbers, learning, kept, needed = 0, 0, set(), False
    for place, (kind, inputs, outputs) in enumerate(layers):
        own = {"linear": inputs * outputs + outputs, "norm": 2 * inputs}.get(kind, 0)
        learns = own > 0 and place >= frozen
        numbers += own
        learning += own * learns
        needed = needed or learns
        if needed:
            kept.add((place + 1, outputs) if kind == "relu" else (place, inputs))
    activations = rows * sum(width for _, width in kept)
    return {"weights": 4 * numbers, "gradients": 4 * learning, "moments": 8 * learning,
            "activations": 4 * activations}

# %% [hints]
# Number the tensors: tensor $k$ goes into layer $k$, tensor $k+1$ comes out. Which of them does each layer keep, and from which layer on does any gradient flow?
# ---
# Walk through the list once. Gradients flow from the first entry that has weights and is not frozen. From there on put into a *set* the number of the tensor that the layer keeps: $k+1$ for a ReLU, $k$ for the others. Activations are $4\cdot$ rows $\cdot$ the widths of that set.
# ---
# ```python
# needed = needed or (own > 0 and place >= frozen)
# if needed:
#     kept.add((place + 1, outputs) if kind == ____ else (place, inputs))
# ```

# %% [markdown]
# Now the two real encoders. On torch's `meta` device a tensor has a shape and no numbers, so that 133 million weights cost nothing, and the forward pass of a GPU's batch can be *weighed on a laptop*. By hand, then by hooks:

# %%
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet50
from transformers import BertConfig, BertModel
from cmlib.data import Batch, ImageBatch, TextBatch
from cmlib.data.device import set_home
from cmlib.encoders.image import ImageEncoder, trunk_of
from cmlib.encoders.text import Bert

class OnPaper(Bert):
    """Without numbers there is no mask to look at: every token is read."""
    def states(self, batch):
        return self.model(input_ids=batch.input_ids).last_hidden_state

def blank(n, tokens):
    """A batch that consists of shapes."""
    pixels = torch.zeros(n, 3, 224, 224, dtype=torch.uint8, device="meta")
    ids = torch.ones(n, tokens, dtype=torch.int64, device="meta")
    return Batch(ImageBatch(pixels), TextBatch(ids, ids), ids[:, 0])

set_home("meta")
with torch.device("meta"):
    base = OnPaper(BertModel(BertConfig(), add_pooling_layer=False), None)
    big = FusionModel(ImageEncoder(trunk_of(resnet50()), 2048, 224), base, 2).train()
set_home(cfg.device)

def bottlenecks():
    """Numbers that ResNet-50 keeps of one picture."""
    # the picture, the stem, and what max-pool keeps (places are int64)
    total, side = 3 * 224**2 + 2 * 64 * 112**2 + 3 * 64 * 56**2, 56
    for blocks, width, stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        before, side = side, side // stride
        total += blocks * 12 * width * side**2             # as derived
        total += 2 * width * (before**2 - side**2)         # the first one's wide map
        total += 4 * width * side**2                       # and its shortcut
    return total

def each(encoder, half, tokens):
    """MB that an encoder keeps of one more row, by hooks."""
    two, four = (memory.saved_bytes(encoder, getattr(blank(n, tokens), half))
                 for n in (2, 4))
    return (four - two) / 2e6

print("MB a row                    by hand   by hooks")
for tokens in (32, 64, 128):
    hand = 12 * tokens * (18 * 768 + 3 * 12 * tokens) * 4 / 1e6
    hooks = each(base, "text", tokens)
    print(f"BERT-base, {tokens:3d} tokens        {hand:6.1f}     {hooks:6.1f}")
    assert abs(hand / hooks - 1) < 0.02
hand, hooks = bottlenecks() * 4 / 1e6, each(big.image_encoder, "image", 2)
print(f"ResNet-50, 224 × 224 pixels  {hand:6.1f}     {hooks:6.1f}")
assert abs(hand / hooks - 1) < 0.02

fixed = 16 * sum(p.numel() for p in big.parameters()) / 1e9
a_row = memory.estimate(big, blank(4, 32), 1000).activations / 1e12
print(f"\nfixed: 16 bytes × {fixed / 16 * 1e3:.1f} million weights = {fixed:.2f} GB")
for n in (8, 32, 64, 128, 256):
    need = fixed + n * a_row
    print(f"batch of {n:3d}, 32 tokens, float32: {need:5.1f} GB  "
          f"{'fits' if need < 15 else 'does not fit'} into 15 GB")

# %% [markdown]
# The photo costs nearly four times what the message costs, and with long messages the tables of $T \times T$ catch up: from 64 to 128 tokens what BERT keeps more than doubles. (A fused attention kernel, as GPUs have, keeps no tables and stays nearer to $18H$; dropout masks take one byte there instead of four. The plan errs to the safe side.) So: 32 rows, and room for what no plan counts, the workspaces of the kernels.
#
# ### How long
#
# A row's work is counted the same way, by a counter around a forward and a backward pass on `meta`. Then divide by what a card does. Two routes lead there, and they should meet:
#
# - **By arithmetic.** Nobody reaches the number on the data sheet. On one H100, `fit` with this model made 2,384 pairs of 57.8 GFLOP a second (messages of 64 tokens, batches of 256, bf16): 138 of the sheet's 989 TFLOP/s. (Such a share is called *model FLOPs utilisation*; what is computed twice to save memory does not count in it.) That was measured once, with `benchmarks/throughput.py --scale full`, and no log of it was kept. Take the same share of any other sheet. (What an H100 took for the cells of these lessons is in `data/runs/gpu_lessons.json`. This one, with up to five others on the same card, was stopped there after 171 s, in section 4: far longer than the estimate below, which counts rows and nothing else.)
# - **By bytes.** Take convolution, norm and ReLU: what the convolution and what the ReLU put out is kept, two numbers. Counted over reads and writes they move 7 times on the way forward (the norm reads twice, for its mean and for its output) and 12 times on the way back: some 10 for each number that is kept. The update moves some 58 bytes a weight and step: 12 to clip (the gradient read for its norm, read and written), 28 for AdamW (four tables read, three written), 12 for the average (two read, one written), 6 for a copy in 16 bits. Add the arithmetic at the sheet's full speed, as if nothing overlapped.
#
# **The T4 lines are estimates: nobody has run them.** And look at what is not a step. Half a gigabyte of weights is fetched, kernels are chosen at the first step of every shape, and a checkpoint has *20 bytes a weight* (weights, two moments, the average, the best epoch). How often can you afford one?
#
# On *your* machine you need no data sheet. Time a few **warm, synchronised** steps and multiply. Warm: the first steps choose kernels and fill caches. Synchronised: on a GPU a call returns before its work is done, so that a clock without `torch.cuda.synchronize()` measures how fast Python can ask.

# %%
with FlopCounterMode(display=False) as counter:
    cross_entropy(big(blank(2, 32)), blank(2, 32).labels).backward()
work = counter.get_total_flops() / 2                  # of a row, forward and backward
cards = {"Tesla T4 (estimate)": (65e12, 320e9, "fp16"),  # from the data sheets
         "H100 (estimate)": (989e12, 3350e9, "bf16")}
trained = 960 * (1 / 3 + 3)   # rows of one run at full size; for the head alone a third
runs, tests = 7, 13           # of this lesson: whole runs, passes over 600 rows to test
work_rows = runs * trained + tests * 600 / 3
reached = 2384 * 57.8e9 / 989e12
N, held = fixed / 16, fixed * 1.5 + 32 * a_row       # 10^9 weights; GB with both copies
print(f"work: {work / 1e9:.1f} GFLOP a row; share of the sheet reached on an H100: "
      f"{reached:.2f};\nthis lesson at full size: {work_rows:,.0f} rows; a step with "
      f"average and best epoch: {held:.1f} GB")
for name, (speed, bandwidth, short) in cards.items():
    moved = 10 * a_row / 2 + 58 * N / 32             # GB a row, activations in 16 bits
    by_work = reached * speed / work
    by_bytes = 1 / (moved * 1e9 / bandwidth + work / speed)
    minutes = work_rows / min(by_work, by_bytes) / 60
    print(f"{name:18s} {short}: {by_work:5.0f} rows a second by arithmetic, "
          f"{by_bytes:5.0f} by bytes; {minutes:4.1f} minutes")
    assert minutes < 15 and held < 15 and 0.5 < by_work / by_bytes < 2
each_takes = 20 * N / 0.2 / 60           # minutes, at 200 MB a second
print(f"a checkpoint: {20 * N:.1f} GB; section 4 writes 9 of them, one an epoch: "
      f"{9 * each_takes:.1f} minutes;\nif it wrote one every 20 steps as well: "
      f"{17 * each_takes:.1f} minutes")

def clock(work, cold=2, times=4):
    """Seconds of one call of work(), without the cold ones."""
    now = time.perf_counter if cfg.device == "cuda" else time.process_time
    for k in range(cold + times):
        if k == cold:
            began = now()
        work()
        if cfg.device == "cuda":
            torch.cuda.synchronize()
    return (now() - began) / times

# batches as the run will have them: messages of like length together (section 2)
cut = plan_batches(PLAN["rows"], PLAN["batch_size"], torch.Generator().manual_seed(0),
                   rows["train"].lengths)
turns = itertools.cycle([rows["train"][part].to(cfg.device) for part in cut])
optimizer = optim.adamw(model, 1e-6)
precision = choose("auto", cfg.device)

def step():
    batch = next(turns)
    optimizer.zero_grad()
    with precision.autocast():
        logits = model(batch)
    precision.scaler.scale(cross_entropy(logits.float(), batch.labels)).backward()
    precision.scaler.step(optimizer)
    precision.scaler.update()

@torch.no_grad()
def look():
    with precision.autocast():
        model(next(turns))

seconds, glance = clock(step, times=8), clock(look)
steps = PLAN["epochs"] * math.ceil(PLAN["rows"] / PLAN["batch_size"])
alone = steps * PLAN["head_first"] // PLAN["epochs"]
expected = (steps - alone) * seconds + alone * glance
expected += PLAN["epochs"] * sizes["valid"] / PLAN["batch_size"] * glance
print(f"{steps} steps, in {alone} of them only the head learns; expected for the run "
      f"of section 4: {expected:.1f} s")

# %% [markdown]
# Keep that number: section 4 compares it with the time that was taken. A plan that is not compared with what happened is a wish.
#
# ## 2. The step
#
# The batch is set, the minutes are known. Before the long run, look at one step, for it will be done again and again. Three things make it smaller or faster. The first two change what is learned by no more than rounding; the third too, as long as no layer looks across rows:
#
# - **Short formats** (*autocast*): products and activations in 16 bits, weights, gradients and moments in 32.
# - **Layers computed again**: keep only the input of each layer or stage, and repeat its forward pass when backward arrives. A third more work for a fraction of the activations.
# - **A batch in parts** (*accumulation*): forward and backward on a quarter of the rows, four times, then one update.
#
# **Predict before you run:** which of the three saves most memory, and which costs most time?

# %%
short = "bf16" if cfg.device == "cpu" else cfg.precision
ways = {"float32": {}, "autocast": {"precision": short}, "again": {"again": True},
        "in 4 parts": {"accumulate": 4},
        "all three": {"precision": short, "again": True, "accumulate": 4}}
n = PLAN["batch_size"]
few = Rows(sets["train"][:n], model.tokenizer)
kept = {}
print(f"a batch of {n}, {short} for short      activations        fastest of 4 steps")
for name, how in ways.items():
    settings = {key: value for key, value in how.items() if key != "again"}
    if cfg.device == "cuda":
        before = torch.cuda.memory_allocated()               # of the sections above
        torch.cuda.reset_peak_memory_stats()
    trial = checkpoint_gradients(fresh()) if how.get("again") else fresh()
    part = few[torch.arange(n // how.get("accumulate", 1))].to(cfg.device)
    history = fit(trial, few, epochs=6, batch_size=n, learning_rate=1e-6,
                  progress=False, **settings)
    with choose(settings.get("precision", "fp32"), cfg.device).autocast():
        kept[name] = memory.saved_bytes(trial, part) / 1e6
    peak = ""
    if cfg.device == "cuda":
        peak = f"   peak {history['peak_mb'][-1] / 1e3 - before / 1e9:.2f} GB"
    print(f"{name:30s} {kept[name]:8.1f} MB       "
          f"{n / max(history['rows_per_second'][-4:]) * 1e3:8.0f} ms{peak}")
    del trial                                 # or two models would be there at once
claim("each of the three alone keeps less than float32",
      max(kept[name] for name in ("autocast", "again", "in 4 parts")) < kept["float32"])
claim("together they keep less than a fifth", kept["all three"] < kept["float32"] / 5)

def gradients(parts, resting=False):
    """The gradient of either encoder, of the mean loss over equal parts of 32 rows."""
    whole = rows["train"]
    trial = fresh().train(not resting)  # at rest BatchNorm takes its stored statistics
    batches = [whole[part].to(cfg.device) for part in torch.arange(32).chunk(parts)]
    losses = [cross_entropy(trial(batch), batch.labels) for batch in batches]
    torch.stack(losses).mean().backward()
    return {name: torch.cat([p.grad.flatten() for p in encoder.parameters()
                             if p.grad is not None]) for name, encoder in
            (("ResNet", trial.image_encoder), ("BERT", trial.text_encoder))}

def distance(resting):
    """How far the gradient in 4 parts is off, as a share of its length."""
    one, four = gradients(1, resting), gradients(4, resting)
    return {name: ((four[name] - one[name]).norm() / one[name].norm()).item()
            for name in one}

off, still = distance(resting=False), distance(resting=True)
print("in 4 parts the gradient is off by", ", ".join(
    f"{share:.0%} of its length ({name})" for name, share in off.items()))
claim("in training mode 4 parts are another step", off["ResNet"] > 0.1)
claim("with BatchNorm at rest they are the same one", max(still.values()) < 1e-3)

# %% [markdown]
# Parts keep least of the three here. (The column counts what waits when the way back begins. Layers computed again keep less than four parts where a model is deep, but each comes back whole for a moment, on top of what the column counts.) What is kept is arithmetic, and nearly the same on every machine (section 1 named two exceptions: attention without tables, and masks of one byte). Time belongs to the machine, and on a busy one even the fastest of four steps is off by some tenths: layers computed again have a third more to do, parts make many small products of few large ones, and short formats help where there are units for them. A GPU has units for 16-bit products, some CPUs have, and on the others short formats are *slower*. Parts of a small batch leave a large GPU idle. So choose by what is short: memory, then parts and layers computed again; time, then short formats. (`fit` takes `precision="auto"`, `accumulate=4` and `compile=True`; layers computed again are a call of their own, `checkpoint_gradients(model)`. The compiler joins small kernels into large ones, which takes time: it pays in a long run.)
#
# ### Which sixteen bits?
#
# | format | exponent | fraction | smallest above 0 | largest | next after 1 |
# |---|---|---|---|---|---|
# | float32 | 8 bits | 23 bits | $2^{-149}$ | $3\cdot10^{38}$ | $1 + 2^{-23}$ |
# | bfloat16 | 8 bits | 7 bits | $2^{-133}$ | $3\cdot10^{38}$ | $1 + 2^{-7}$ |
# | float16 | 5 bits | 10 bits | $2^{-24} \approx 6\cdot10^{-8}$ | 65,504 | $1 + 2^{-10}$ |
#
# bfloat16 keeps the *range* of float32 and gives up digits; float16 keeps digits and gives up range. A T4 has only float16 (torch may offer bfloat16 there; it is emulated). What falls below its range is hardly the gradient of the weights, which is a sum over the batch, but the gradient that travels *back through the activations*, entry by entry, from layer to layer. Where it becomes 0, everything behind it learns nothing from that entry.
#
# The cure is a **loss scale**: multiply the loss by $s$; by the chain rule every gradient on its way is $s$ times as large; divide by $s$ before the update, in float32. `GradScaler` starts high, at $s = 2^{16}$. If any gradient overflows, it drops that step and halves $s$; after 2,000 steps without overflow it doubles $s$. So it finds by itself the highest scale that the gradients bear.

# %%
def underflow(model, batch, power):
    """(share of the activation gradients that float16 makes 0 or inf,
    how far the weight gradients are off by it, relative to their length)"""
    model.train()
    linear = [m for m in model.modules()
              if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
    found = {}
    for half in (False, True):
        lost = [0, 0]

        def rounded(exact):
            if not half:
                return None
            loud = (exact * 2.0**power).half()
            gone = ((loud == 0) & (exact != 0)) | loud.isinf()
            lost[0] += int(gone.sum())
            lost[1] += int((exact != 0).sum())
            return loud.float() / 2.0**power

        def watch(module, inputs, output):
            output.register_hook(rounded)

        hooks = [m.register_forward_hook(watch) for m in linear]
        torch.manual_seed(0)
        model.zero_grad()
        cross_entropy(model(batch), batch.labels).backward()
        for hook in hooks:
            hook.remove()
        found[half] = torch.cat([m.weight.grad.flatten() for m in linear
                                 if m.weight.grad is not None])
    model.zero_grad()
    off = ((found[True] - found[False]).norm() / found[False].norm()).item()
    return lost[0] / max(1, lost[1]), off

def table(model, title):
    """The same for four scales; what stands there is returned."""
    batch = rows["train"][torch.arange(32)].to(cfg.device)
    found = {power: underflow(model, batch, power) for power in (0, 8, 16, 40)}
    print(f"{title:28s} lost    weight gradients off by")
    for power, (share, off) in found.items():
        effect = f"{off:.4f} of their length" if math.isfinite(off) else "not finite"
        print(f"  scale 2^{power:<18d} {share:6.3f}    {effect}")
    return found

found = table(fresh(), "before the first step")
claim("a scale of 2^16 loses less than a tenth of what is lost without one",
      found[16][0] < found[0][0] / 10)
claim("a scale of 2^40 overflows: GradScaler would drop this step",
      not math.isfinite(found[40][1]))

# %% [markdown]
# Two columns, and both are needed: the first says how much was lost, the second whether it mattered. A fifth of the entries vanish here without a scale, and the gradients of the weights change by three thousandths of their length: the smallest entries add the least. The model of this table is fresh. On a T4 there is no choice, and `fit(…, precision="auto")` takes float16 with a scaler; on newer cards it takes bfloat16, which needs none.
#
# ### A batch in parts
#
# Let part $k$ have $n_k$ of the $n$ rows and the mean loss $L_k$.
#
# **Step 1.** The mean over all rows is $L = \sum_k \frac{n_k}{n} L_k$, so $\nabla L = \sum_k \frac{n_k}{n}\nabla L_k$: exactly the gradient of the large batch, with the graph of one part in memory at a time.
#
# **Step 2.** Many programs write $\frac1K\sum_k\nabla L_k$, the mean of the means. With equal parts that is the same. With parts of 5, 2 and 1 rows the single row of the last part counts a third, and should count an eighth. In October 2024 this was found in widely used trainers (see the references), for losses that average over tokens: there parts are hardly ever equal. Lesson 15 has the same sum over several GPUs.
#
# **Step 3.** Clipping asks for the norm of the *whole* gradient, $\nabla L \cdot \min(1,\ c/\lVert\nabla L\rVert)$: it can only be known after the last part, and with a loss scale only after the division by $s$.
#
# **Worked example.** Row gradients 1, 1, 1, 1, 1 | 4, 4 | 10. The mean of all eight is $23/8 = 2.875$; the mean of the means is $(1+4+10)/3 = 5$.
#
# One thing no weighing repairs: BatchNorm in training mode sees its part alone, so that *our* model with its ResNet takes quite another step in four parts of 8 rows (the last lines of the cell with the five ways: most of the ResNet's gradient is another one, and what its features do to the head reaches BERT; with BatchNorm at rest four parts are one batch again, so it was BatchNorm; with BERT-base, dropout adds to it). With parts of 8 rows, freeze its statistics or do without. A loss that compares rows with each other needs all of them, too; `cmlib` then computes every part twice.

# %% [exercise] 13.2
# One step of a linear classifier with logits $xW$ and cross-entropy. Your function receives `weight`, float `(inputs, classes)`; two lists of equal length with the parts, `xs`, each float `(rows of the part, inputs)`, and `ys`, each int64 `(rows of the part,)`; and the numbers `learning_rate` and `clip`. Add up the gradient of the mean loss over *all* rows, clip its norm at `clip`, and return the weight after one step of plain gradient descent, `(inputs, classes)`.

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

# %% [markdown]
# ### Who waits for whom
#
# A step is a relay: the CPU gathers, pads and copies, the GPU computes. Done one after the other, a batch takes the *sum* of both times; with a batch prepared ahead it takes the *larger* one. (`fit` prepares ahead on a GPU only. On a CPU the same cores do both, so this page cannot show it.) So before you buy a faster GPU, measure both sides. Then let a profile say which operations the time goes into. `torch.profiler` does it for every kernel; a dozen lines of our own do for a start.
#
# Read such a table from the top and ask of each line: *is this the work I planned?* Products of matrices and convolutions, forward and backward, are. `item`, `nonzero` and copies to the CPU near the top are not: each makes the CPU wait for the GPU. Very many calls with little time each mean that the GPU is starved by Python: a larger batch or `compile=True` helps, a faster card does not. In this step, on a CPU, the convolutions, backward and forward, lead the table and take some two fifths of the time: work that was planned. The lines with 81 calls and more are the optimiser, once or twice for each of 81 tensors of weights, and short each time: on a GPU the reason for one fused kernel.
#
# What never has to be computed is fastest. Every message is padded to the longest of its batch; with `bucketed=True` messages of like length share a batch (rows are shuffled first, and then the batches), and most of the padding is gone. The price: a batch is no longer any rows. What that does to accuracy is a line of section 3's table (five runs do not decide it).
#
# (Here photos lie in memory as tensors, so that the loader only picks rows. From a folder of JPEGs it would have to decode them, which is where loaders become slow: measure *yours*.)

# %% tags=["nbval-ignore-output"]
index = torch.arange(PLAN["batch_size"])
timed = {"gather, pad and copy": clock(lambda: rows["train"][index].to(cfg.device)),
         "forward": clock(look), "the whole step": clock(step)}
for name, took in timed.items():
    print(f"{name:24s} {1000 * took:8.2f} ms")
claim("the loader needs less than half of a step's time",
      timed["gather, pad and copy"] < timed["the whole step"] / 2)

tokens, padded = rows["train"].lengths, []
for name, sorted_by in (("random batches", None), ("like lengths together", tokens)):
    cut = plan_batches(len(tokens), PLAN["batch_size"], torch.Generator(), sorted_by)
    computed = sum(len(batch) * tokens[batch].max() for batch in cut)
    padded.append(1 - tokens.sum().item() / computed.item())
    print(f"{name:24s} {padded[-1]:8.2f} of all tokens are padding")
claim("like lengths together need less than half of the padding",
      padded[1] < padded[0] / 2)

from collections import Counter
from torch.utils._python_dispatch import TorchDispatchMode

class Profile(TorchDispatchMode):
    """Seconds and calls of every operation within the block, backward ones as well."""
    seconds, calls = Counter(), Counter()
    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        began = time.perf_counter()
        result = operation(*args, **(kwargs or {}))
        if cfg.device == "cuda":
            torch.cuda.synchronize()
        self.seconds[operation.overloadpacket] += time.perf_counter() - began
        self.calls[operation.overloadpacket] += 1
        return result

with Profile() as profile:
    step()
whole = sum(profile.seconds.values())
print("\nshare of the time of all operations, and calls")
for operation, took in profile.seconds.most_common(7):
    print(f"  {operation!s:40s} {took / whole:6.1%} in {profile.calls[operation]}")

# %% [markdown]
# ## 3. The recipe
#
# What must *move*? A head that starts at random, a lot; encoders that know much already, little. Every recipe for fine-tuning is an answer to that, made of parts like these:
#
# | part | what it does | why |
# |---|---|---|
# | rates of their own | each branch has its own peak rate | what knows more moves less |
# | layer-wise decay | a lower layer learns at a factor of the rate of the one above | what is general lies low |
# | no decay of gains and biases | matrices are drawn to 0, a gain belongs at 1 | decay is a preference for simple functions |
# | warm-up, then a cosine to 0 | small steps first and last | AdamW's first means come from one batch; at the end the weights settle |
# | clipping | the gradient's norm is bounded | one odd batch cannot throw the model away |
# | head first | some epochs in which only the head learns | a random head sends noise into the encoders |
# | dropout | entries are dropped at random | no single one is relied on |
# | the best epoch | weights of the lowest validation loss are kept | the training loss does not know when to stop |
# | early stopping | no epoch after one whose *fused* validation accuracy is no better | epochs that teach nothing are not paid |
# | averaged weights (EMA) | a moving average of the weights is what is kept | without the last noise |
#
# ### The schedule
#
# With $T$ steps in all and $T_w$ of warm-up, the share of the peak at step $t = 0, 1, \dots$ is
#
# $$r_t = \frac{t + 1}{T_w}\ \text{ for } t < T_w,\qquad r_t = \tfrac12\Big(1+\cos\Big(\pi\,\frac{t-T_w}{T-T_w}\Big)\Big)\ \text{ from there on,}\qquad r_t = 0\ \text{ for } t \ge T.$$
#
# In numbers, $T = 100$, $T_w = 10$: $r_0 = 0.1$, $r_9 = r_{10} = 1$, $r_{55} = \tfrac12(1+\cos\tfrac\pi2) = 0.5$, $r_{100} = 0$.

# %% [exercise] 13.8
# Your function receives three integers, `step` (0 or more, also beyond the end), `steps` (1 or more) and `warmup` (0 or more, perhaps as long as the run or longer), and returns the share of the peak, a float. At every step of a run it is above 0, so that no batch is computed for nothing; after the last step it is 0 and stays so.

# %% [stub]
def share(step, steps, warmup):
    """Share of the peak learning rate at a step.

    step, steps, warmup : int    returns : float from 0 to 1
    """
    raise NotImplementedError

# %% [solution]
def share(step, steps, warmup):
    if step >= steps:
        return 0.0
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * done))

# %% [hints]
# Three cases. Take them in an order in which no division by zero is left.
# ---
# First what is over, $t \ge T$; then the warm-up, $t < T_w$; in the rest $T_w \le t < T$, so $T - T_w$ is not 0. What of the fall is done goes from 0 to nearly 1.
# ---
# ```python
# if ____:
#     return 0.0
# if ____:
#     return (step + 1) / ____
# done = ____
# return 0.5 * (1 + math.cos(math.pi * done))
# ```

# %%
from transformers import get_cosine_schedule_with_warmup

nothing = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
trusted = get_cosine_schedule_with_warmup(nothing, 10, 100).lr_lambdas[0]
ours = [optim.rate(t, 100, 10) for t in range(100)]
print("transformers:", ", ".join(f"step {t} {trusted(t):.3f}" for t in (0, 5, 10, 55)))
print("cmlib:       ", ", ".join(f"step {t} {ours[t]:.3f}" for t in (0, 5, 10, 55)))
print("equal from the peak on:",
      all(abs(trusted(t) - ours[t]) < 1e-12 for t in range(10, 100)))
print(f"transformers at step 140 of 100, say after a resume with more epochs: "
      f"{trusted(140):.3f}")

# %% [markdown]
# The popular schedule spends its first step at rate 0: one batch for nothing. And it *rises again* when a run is carried on beyond the number of steps that it was made for: the cosine swings back, and nothing complains. (So would `optim.rate`; `fit` never asks it beyond the end, and refuses to go on from a checkpoint with another number of epochs.) You see it in the curve of the learning rate, which is why that curve belongs into every log.
#
# ### Who learns how fast
#
# Parameters that share a rate and a decay form a **group** of the optimiser. Which group a parameter belongs to is decided by three facts: its branch, its depth and its number of dimensions. Not by its name: the popular list `["bias", "LayerNorm.weight"]` misses the norms of a ResNet, which are called `trunk.1.weight`.

# %% [exercise] 13.7
# Your function receives `parameters`, a dict from the name of each parameter to `(branch, depth, shape)`: a string, an integer (0 is the lowest layer) and a tuple of integers; `rates`, a dict from branch to peak rate, where a branch that is missing is **frozen**; and the numbers `layer_decay` and `weight_decay`.
#
# In each branch the deepest layer that any of its parameters has gets the branch's rate, the layer below it the rate times `layer_decay`, the next one times its square, and so on. What has two or more dimensions gets `weight_decay`, the rest 0. Return two dicts by name, of the rates and of the decays. What is frozen is in neither.

# %% [stub]
def parameter_groups(parameters, rates, layer_decay, weight_decay):
    """The learning rate and the weight decay of every parameter that learns.

    parameters : dict, name → (branch, depth, shape)   rates : dict, branch → float
    layer_decay, weight_decay : float
    returns : (rate_of, decay_of), two dicts, name → float
    """
    raise NotImplementedError

# %% [solution]
def parameter_groups(parameters, rates, layer_decay, weight_decay):
    top = {}
    for branch, depth, _ in parameters.values():
        top[branch] = max(top.get(branch, 0), depth)
    rate_of, decay_of = {}, {}
    for name, (branch, depth, shape) in parameters.items():
        if branch in rates:
            rate_of[name] = rates[branch] * layer_decay ** (top[branch] - depth)
            decay_of[name] = weight_decay if len(shape) > 1 else 0.0
    return rate_of, decay_of

# %% [hints]
# Two passes: first find the deepest layer of each branch, then go through the parameters.
# ---
# With $d$ the depth and $d_{\max}$ the deepest of its own branch: rate $= \eta_{\text{branch}}\cdot\gamma^{\,d_{\max}-d}$. The number of dimensions of a shape is its length; a temperature has the shape `()`.
# ---
# ```python
# if branch in rates:
#     rate_of[name] = rates[branch] * layer_decay ** ____
#     decay_of[name] = weight_decay if len(shape) > 1 else 0.0
# ```

# %% [markdown]
# ### The failure to recognise
#
# Where does a rate come from? Try three, a factor of ten apart, each in a short run, and let the *validation* rows choose. Between the better two of so few rows nothing is decided. A first search is there to rule out a disaster.
#
# For one number of a recipe can kill a branch without a word. The last of the three runs is the plan with a single change: the text rate is ten times as high. The run ends, the loss is finite, it even fell. **Predict before you run:** where will the loss on new tickets lie, and what will the accuracy be? (Suppose that the message is of no use any more, and go through R, I, T and S.)

# %% tags=["nbval-ignore-output"]
RUN = PLAN | {"bucketed": True, "ema": 0.9, "precision": "auto", "progress": False}
RUN.pop("rows")

def text_gradient(model):
    """Length of the gradient that 32 tickets send into the text encoder."""
    batch = rows["train"][torch.arange(32)].to(cfg.device)
    cross_entropy(model.eval()(batch), batch.labels).backward()
    lengths = [p.grad.norm() for p in model.text_encoder.parameters()
               if p.grad is not None]
    model.zero_grad()
    return torch.stack(lengths).norm().item()

hot = PLAN["learning_rate"] | {"text": 10 * PLAN["learning_rate"]["text"]}
slow = hot | {"text": PLAN["learning_rate"]["text"] / 10}
living, dead, timid = fresh(), fresh(), fresh()
reached = []                           # which of the validation rows are right
for one, rates in ((timid, slow), (living, PLAN["learning_rate"]), (dead, hot)):
    fit(one, sets["train"], **RUN | {"learning_rate": rates})
    reached.append(predict(one, sets["valid"]).argmax(1) == sets["valid"].labels)
scores = [hit.double().mean().item() for hit in reached]
print("validation accuracy with a tenth of the text rate, the plan's, ten times:",
      ", ".join(f"{value:.2f}" for value in scores))
found = paired(reached[1], reached[2])
print(f"the plan minus ten times, on the same rows: {found.difference:+.2f} "
      "({:+.2f} to {:+.2f}), p = {:.2g}".format(*found.interval, found.p_value))
claim("the highest of the three lies .03 and more below the best",
      max(scores) - scores[2] >= 0.03)
print()
labels, situation = sets["test"].labels, sets["test"].extras["situation"]
print(f"{'':18s} vectors   same answers with   accuracy   loss on       gradient\n"
      f"{'':18s} differ    the mean (T, S)     in T       new tickets   into BERT")
seen = {}
patients = {"before the run": fresh(), "the plan": living, "ten times": dead}
for name, one in patients.items():
    vectors = extract(one, sets["test"])
    same = vectors.text.mean(0, keepdim=True).expand_as(vectors.text)
    logits = predict(one.head, vectors)
    blind = predict(one.head, Features(vectors.image, same, vectors.labels))
    kept = (logits.argmax(1) == blind.argmax(1))[situation >= 2]      # T and S
    right = (logits.argmax(1) == labels)[situation == 2]              # T
    seen[name] = {
        "spread": vectors.text.std(0).mean().item(),
        "kept": kept.double().mean().item(), "right": right.double().mean().item(),
        "loss": cross_entropy(logits, labels).item(), "gradient": text_gradient(one)}
    print("{:18s} {spread:7.4f} {kept:19.2f} {right:10.2f} {loss:13.3f} "
          "{gradient:11.3f}".format(name, **seen[name]))
found = score(logits, labels, by=situation, group_names="RITS")  # of the last one
print("ten times, by situation:",
      {name: round(group.accuracy, 2) for name, group in found.groups.items()})
sick, well = seen["ten times"], seen["the plan"]
claim("ten times: its accuracy is the photo's ceiling, give or take .05",
      abs(found.accuracy - ceilings["image"]) < 0.05)
claim("its vectors differ by less than a tenth of the plan's",
      sick["spread"] < well["spread"] / 10)
claim("the mean vector leaves 95 % of its answers, and fewer of the plan's",
      sick["kept"] >= 0.95 > well["kept"])
claim("less than a half of the gradient reaches its BERT",
      sick["gradient"] < well["gradient"] / 2)

def matrices(encoder):
    """All weights of BERT's layers as one vector."""
    return torch.cat([p.detach().flatten().cpu() for name, p in
                      encoder.named_parameters() if p.ndim == 2 and ".layer." in name])

start, end = matrices(fresh().text_encoder), matrices(dead.text_encoder)
typical, moved = start.std().item(), (end - start).abs()
learning = steps - alone                     # steps in which the encoders learn
print(f"a weight in BERT's layers is typically {typical:.3f} in size")
for name, rates in (("the plan", PLAN["learning_rate"]), ("the hot rate", hot)):
    bound = sum(rates["text"] * optim.rate(t, learning, round(0.1 * learning))
                for t in range(learning))
    print(f"{name:12s} the rates of all steps sum up to {bound:.3f}, "
          f"{bound / typical:.1f} typical weights")
claim("in the dead branch no weight has moved further than that sum",
      moved.max() <= bound)
print(f"on average they used {moved.mean() / bound:.0%} of it, at most "
      f"{moved.max() / bound:.0%}")
del patients, one, living, dead, timid, start, end       # a card has to hold the next

# %% [markdown]
# At ten times the rate BERT gives the *same vector* to every message. Photo alone solves R and I; in T and S the model tosses a coin, and a coin costs $\ln 2$. With half of the tickets that is **at best** $\tfrac12\ln 2 \approx 0.347$ on new tickets; here the loss is higher, because the living branch is surer of itself than it should be. (The training loss may creep below, as that branch learns single photos by heart.) A level that you can name is the best clue that a log can give: **compute what the loss would be if one branch were dead, and look for that line.** Then three tests, always beside a model that lives: the spread of the branch's vectors, the answers with its mean in its place, the ceiling of the other modality. A branch can also be ill rather than dead: vectors that differ, and T between a coin and what it should be.
#
# How does a rate kill? AdamW divides the mean gradient by the root of the mean square. In the usual case that ratio is at most about 1, so no weight moves much further in a run than the *sum of the rates of all steps* (weight decay comes on top, and is small). That is a bound, not a distance: the share that was used is printed above, for gradients change their sign. It says what is out of reach (rates of $2\cdot10^{-5}$ at the peak, over 100 steps of this schedule, cannot move a weight by much more than 0.001), and it warns of what is not. Eight times its own size: the hot run was *allowed* to overwrite all that BERT knew. The plan's own sum is nearly as large as a weight, and its model lives; the bound warns, it does not decide. How near the plan is to the edge is asked in section 5, with eight further seeds and half of the rate. What moves, what is forgotten and how little would have been enough is the subject of lesson 14.
#
# ### Each part switched off once
#
# Which parts of the recipe earn their place *here*? Switch each off, leave all else, and compare on the same test rows. That is fifty runs and more, too many for this page, so they were made by one command and shipped as a log: five seeds, every seed with fresh tickets to train and to test on, the same ones for both sides of each comparison.

# %%
runs_folder = ROOT / "data" / "runs"
log = json.loads((runs_folder / "recipe.json").read_text())
print(f"{log['command']}; {log['date']}; {log['cpu_seconds']} s of CPU")
fig, ax = plots.figure(width=6.6, height=3.5)
names = [name for name in log["without"] if name != "nothing"]
whole = log["without"]["nothing"]["accuracy"]
print(f"the whole plan: {sum(whole) / 5:.3f}, "
      f"seeds {min(whole):.3f} to {max(whole):.3f}\n\n"
      f"{'worth of':28s}  mean    95 % interval      the same, for\n"
      f"{'':28s}         over runs          these ten models   p")
decided = []
for place, name in enumerate(names):
    part = log["without"][name]
    sign = -1 if name.startswith("(") else 1     # the log has the plan minus the other
    each = sign * (torch.tensor(whole) - torch.tensor(part["accuracy"]))   # (5,) seeds
    reach = 2.776 * each.std().item() / math.sqrt(5)                   # t, 4 degrees
    low, high = sorted(sign * end for end in part["worth"]["interval"])
    mean = each.mean().item()
    decided += [name] * (abs(mean) > reach)
    color = plots.BOTH if abs(mean) > reach else plots.GREY
    ax.plot([mean - reach, mean + reach], [place, place], color=color, lw=2.5)
    ax.plot(mean, place, "o", color=color)
    ax.plot(each, [place + 0.28] * 5, "|", ms=6, color="black", alpha=0.6)
    print(f"{name:28s} {mean:+.3f}  ({mean - reach:+.3f} to {mean + reach:+.3f})  "
          f"({low:+.3f} to {high:+.3f})  {part['worth']['p_value']:.2g}")
ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.3, -0.6),
       xlabel="test accuracy with this part minus without it",
       title="Worth of each part: five runs (|), mean, interval")
ax.axvline(0, color="black", lw=1)
plots.show(fig, "Five differences for each part of the recipe, with the interval of "
                "their mean; nearly all intervals contain zero, that of the text rate "
                "which is ten times as high lies far below it.")
print("decided by five runs:", ", ".join(decided))
stopped = log["without"]["(added) early stopping"]["epochs"]
print(f"early stopping: {sum(stopped)} of {5 * log['plan']['epochs']} epochs were run")

# %% [markdown]
# Read the grey lines first. (What the plan does not have is marked *added* or *instead*: its worth is the run with it minus the plan. Without *rates of their own* all have the head's: here only the photo's becomes another one, twice as high.) Every one of these parts stands in published recipes, and at this size not one of them is worth so much that five runs could show it. One line decides: the rate of one branch. Note that there are two intervals, and that they answer two questions. The first is over five runs: would the part be worth it in *your next* run? The second pools 2,000 tickets: were *these ten models* different on new tickets? (From five runs the first is rough: in most lines it is the wider one, in some the narrower.) (And a p-value of .05 is no finding among twelve lines: at that level many such tables have one by chance.) So look for the rates first, and treat the rest as insurance: cheap, inherited, unmeasured *here*. That is no law. These runs are short and this BERT has two layers; in section 5's larger run training the head first is ahead in five seeds of five. Know which of your settings you have measured, and on what.
#
# Early stopping on the joint metric (here the accuracy of the fused answers on the validation rows, patience of one epoch; its run also keeps the epoch of the best accuracy, and not that of the lowest loss) saved one epoch in twenty, and cost nothing that five runs could show: this schedule is over before anybody loses patience. It pays where the length of a run is a guess. And a run that is stopped in the middle of its cosine has never had its small steps.
#
# ## 4. The run
#
# Now the plan is carried out, with everything that a long run needs: a checkpoint every few steps, curves for TensorBoard, the average of the weights. Two folders, because the run is made twice: once undisturbed, and once with a machine that goes away in the middle, as Colab's do.
#
# **Predict before you run:** on a CPU a checkpoint is written every 15 steps and after every epoch of 20, and the machine dies in step 49. Which steps are computed twice, and how will the two loss curves differ?

# %% tags=["nbval-ignore-output"]
del model, optimizer
folder = Path(tempfile.mkdtemp())
tuned = fresh()
now = time.perf_counter if cfg.device == "cuda" else time.process_time
if cfg.device == "cuda":
    torch.cuda.reset_peak_memory_stats()
began = now()
history = fit(tuned, sets["train"], sets["valid"], checkpoint=folder / "whole", **RUN)
taken = now() - began
print(history)
with precision.autocast():
    plan = memory.estimate(tuned, few[torch.arange(4)].to(cfg.device),
                           PLAN["batch_size"]).total / 1e6
copies = 2 * weights                         # their average, and the best epoch
measured = top if cfg.device == "cpu" else history["peak_mb"][-1] - copies
weighed = "of section 1's figure" if cfg.device == "cpu" else "of this run, by CUDA"
print(f"\n             planned   measured   ratio\n"
      f"the run, s {expected:9.1f} {taken:10.1f} {taken / expected:7.2f}   "
      f"(with checkpoints and curves)\n"
      f"a step, MB {plan:9.1f} {measured:10.1f} {measured / plan:7.2f}   "
      f"(the peak {weighed})\n"
      f"both copies of the weights take {copies:.1f} MB more; "
      f"{history['rows_per_second'][-1]:.0f} rows a second in the last epoch")
claim("the time was planned within a factor of 3", expected / 3 < taken < 3 * expected)
claim("four rows plan the memory of a step within a quarter, on the safe side",
      measured <= plan < 1.25 * measured)

class MachineGone(Exception):
    """What happened to the machine."""

def goes_away(model, after):
    """Let the machine vanish in the training step after so many."""
    made = []
    def count(module, *_):
        made.append(module.training)
        if sum(made) > after:
            raise MachineGone(f"in step {sum(made)}")
    return model.head.register_forward_hook(count)

lost, again = fresh(), fresh(seed=1)         # other first weights: they must not matter
last = int(0.6 * len(history.batch_loss))    # of the steps that are made
hook = goes_away(lost, after=last)
try:
    fit(lost, sets["train"], sets["valid"], checkpoint=folder / "parts", **RUN)
except MachineGone as what:
    print("the machine is gone", what)
hook.remove()
left_there = sorted(p.name for p in (folder / "parts").glob("step-*"))
torch.manual_seed(4242)                      # nor what the process knew
print("what it left:", ", ".join(left_there))
print(f"computed twice: steps {int(left_there[-1].split('-')[1]) + 1} to {last}")
state, facts = checkpoint.load(folder / "parts", again)     # a copy without moments
step_there = facts["step"]
state = {name: t for name, t in state.items() if not name.startswith("optimizer/")}
checkpoint.save(folder / "bare", step_there, state,
                {k: v for k, v in facts.items() if k not in ("bytes", "sha256")})
second = fit(again, sets["train"], sets["valid"], checkpoint=folder / "parts", **RUN)
first_log, second_log = (curves.read(folder / name / "log")
                         for name in ("whole", "parts"))
equal = all(torch.equal(a, b) for a, b in zip(tuned.state_dict().values(),
                                              again.state_dict().values()))
claim("every loss of the two runs is the same number",
      second.batch_loss == history.batch_loss)
claim("every weight is the same number, to the last bit", equal)
claim("both logs have each step once, with the same values", first_log == second_log)
hook = goes_away(lost, after=8)              # eight steps without the moments
try:
    fit(lost, sets["train"], sets["valid"], checkpoint=folder / "bare", **RUN)
except MachineGone:
    hook.remove()
bare = curves.read(folder / "bare" / "log")["loss"]
whole = first_log["loss"][1][step_there:][:len(bare[1])]
print("losses from there on:", " ".join(f"{loss:.3f}" for loss in whole[:6]))
print("without the moments: ", " ".join(f"{loss:.3f}" for loss in bare[1][:6]))
claim("without the moments the first loss is the same, and then none is",
      abs(bare[1][0] - whole[0]) < 1e-6
      and all(abs(a - b) > 1e-6 for a, b in zip(bare[1][1:], whole[1:])))
del lost, again

fig, (left, right) = plots.figure(1, 2, width=7.6, height=2.8)
thick, thin = {"color": plots.IMAGE, "lw": 4, "alpha": 0.4}, {"color": plots.TEXT}
for log, name, style in ((first_log, "undisturbed", thick),
                         (second_log, "lost and gone on", thin | {"lw": 1.2})):
    left.plot(*log["loss"], label=name, **style)
    left.plot(*log["valid_loss"], "o--", ms=4, **style)
    at, rates = log["learning_rate"]         # of one group; all have the same share
    right.plot(at, [rate / max(rates) for rate in rates], label=name, **style)
left.plot(*bare, ":", color="black", lw=1.2, label="without moments")
left.legend(loc="upper right")
left.set(title="Loss (dots: validation)", xlabel="step", ylabel="loss", ylim=(0, None))
right.set(title="Share of the peak rates", xlabel="step", ylabel="share", ylim=(0, 1.4))
for ax in (left, right):
    ax.axvline(last, color="black", lw=1, ls=":")
right.legend(loc="upper right")
plots.show(fig, "Loss and share of the peak rates of both runs lie exactly on each "
                "other, before and after the dotted line where the machine was lost; "
                "the share rises and falls twice, first for the head alone and then "
                "for everything. A short dotted curve, the run that went on without "
                "moments, leaves the others after its first step.")

# %% [markdown]
# The small table first. The step's memory was planned from four rows, and the plan lies a little above the peak, because the activations are never all there together with all gradients. (On a CPU that peak is the one of section 1's figure, weighed with hooks of the same kind as the plan's; only a GPU keeps an account of its own.) The time was planned from eight steps without clipping, average and checkpoints, and what a plan leaves out is paid all the same. (A machine that others use as well adds noise: hence the factor of 3.)
#
# The second call is the first one, word for word: `fit` finds the newest checkpoint in the folder and goes on. To be the *same* run it has to hold more than weights: AdamW's two moments of every weight, the step (the schedule hangs on it), which rows of the epoch are done, the state of every random number generator, the loss scale, the averaged weights, the best epoch so far. What is left out need not show. Without the moments the first loss is the same and all others are not (the last lines above, and the short dotted curve): but nothing in that curve alone says so. Without the average the training curve is the very same, and what is validated and kept is not. So compare final weights. (On a GPU some kernels add in an order that changes from call to call. There the lines above may say False of a run that lost nothing; `torch.use_deterministic_algorithms(True)` asks for other kernels, and they are slower.) A checkpoint is written under another name and renamed when it is whole: a machine that dies while it writes leaves the one before. And the folder must lie where the machine's end does not reach: on Colab not in a temporary folder as here, but on a mounted drive (`/content/drive/MyDrive/run`). On a GPU, add the price of checkpoints from section 1 to what was expected.
#
# The two curves are one line: what is computed twice gives the same numbers twice. (Here an exception plays the machine, in a process that lives on. What went on was built anew with other weights and other random numbers, so that only the folder can have carried the run over.) (`curves.read` reads what `tensorboard --logdir` shows you live, in a browser beside the run.) Note the share: it rises and falls twice, once for the head alone and once for everything. (In the first part the encoders have a rate, too, and stand still.)
#
# ### Logs that went wrong
#
# Here are four logs of other runs. Each of them ended without an error, and in each *one thing* is wrong. They are real runs of the desk with the mini encoders, made by `benchmarks/full_run.py --broken`. Grey is the learning rate, as a share of the panel's height; losses above 1.6 are cut. The table has the same in numbers, at eleven steps: training loss, validation loss (after the last step of an epoch) and rate, as a share of its peak.

# %%
broken = json.loads((runs_folder / "broken.json").read_text())["logs"]
fig, axes = plots.figure(1, 4, width=9.4, height=2.9, sharey=True)
for number, (ax, log) in enumerate(zip(axes, broken), 1):
    at, rate = log["learning_rate"]
    height = [r / max(rate) * 1.6 for r in rate]
    ax.fill_between(at, height, color=plots.GREY, alpha=0.2, lw=0)
    ax.plot(*log["loss"], color=plots.IMAGE, lw=1.2, label="training")
    ax.plot(*log["valid_loss"], "o-", color=plots.TEXT, ms=3, label="validation")
    for level in (math.log(2), math.log(2) / 2):
        ax.axhline(level, color="black", lw=0.8, ls=":")
    ax.set(title=f"Log {number}", xlabel="step", ylim=(0, 1.6), xlim=(0, max(at)))
    accuracy = log["valid_accuracy"][1]
    print(f"log {number}: {len(at)} steps, {len(accuracy)} epochs; validation accuracy "
          f"{accuracy[0]:.2f} first, {max(accuracy):.2f} best, {accuracy[-1]:.2f} last")
print("\n" + "".join(f"{f'log {k}':>22s}" for k in range(1, 5)) + "\nstep "
      + "   train  valid   rate" * 4)
for step_shown in (1, 5, 10, 11, 20, 30, 31, 40, 41, 60, 80):
    line = f"{step_shown:4d} "
    for log in broken:
        (_, loss), (seen, valid), (_, rate) = (
            log[name] for name in ("loss", "valid_loss", "learning_rate"))
        tested = f"{valid[seen.index(step_shown)]:.2f}" if step_shown in seen else "-"
        line += (f"{loss[step_shown - 1]:8.2f} {tested:>6s} "
                 f"{rate[step_shown - 1] / max(rate):6.2f}")
    print(line)
axes[0].set_ylabel("loss (dotted: ln 2, ½ ln 2)")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
plots.show(fig, "Four panels with training loss, validation loss and learning rate by "
                "step; the table above has their numbers. Log 1: the training loss "
                "falls to 0 and jumps beyond the panel three times. Log 2: both "
                "losses fall, the validation loss to a level near half of ln 2. Log 3: "
                "the training loss falls in the first half; in the second the grey "
                "area is gone, and the validation loss is flat. Log 4: the training "
                "loss lies at 0 from a fifth of the run on, and the validation loss "
                "climbs to twice ln 2.")

# %% [exercise] 13.5
# Give for each log, 1 to 4, the letter of its cause, as one text of four letters such as `"eeee"`:
#
# - **a** the rate of one branch is far too high: the branch is dead
# - **b** too few rows, too many passes: they are learned by heart
# - **c** the rows are never shuffled: they come in the order of their classes
# - **d** the schedule was made for half of the steps that the run has
# - **e** the rates are a hundred times too small
# - **f** the run was stopped and went on without the optimiser's moments and with a schedule that began anew
#
# On paper, for every log: which curve gave it away, which *second* cause would look almost the same, and what is the cheapest experiment that tells the two apart?

# %% [stub]
diagnosis = ...  # four letters, for logs 1 to 4

# %% [solution]
diagnosis = "cadb"

# %% [hints]
# Look at the learning rate first: is it what was planned? Then at the training loss: a level, a period, or zero? The validation loss comes last.
# ---
# A period of one epoch belongs to the order of the rows. A level whose height is a share of $\ln 2$ belongs to a branch that says nothing. A rate of 0 moves nothing. Training loss $\to 0$ with a validation loss that rises: learned by heart.
# ---
# ```python
# diagnosis = "c" + "____"  # log 1 has the period of an epoch
# ```

# %% [answer]
# **Log 1 (c).** The training loss jumps with the period of an epoch: half an epoch of one class, half of the other, and the model answers what it has just been told. *Almost the same:* a rate that is too high also makes jumps, but without a period. *Cheapest experiment:* print the labels of three batches in a row.
#
# **Log 2 (a).** The validation loss settles near ½ ln 2 while the rate is still high, and accuracy stays at one modality's ceiling. (The training loss creeps lower: the living branch learns the remaining rows by heart.) *Almost the same:* a task that the data do not support beyond this level. *Cheapest experiment:* the spread of each branch's vectors over one batch; or a run of the other modality alone, which would end at the same level.
#
# **Log 3 (d).** In the second half nothing moves, and the grey area says why: the rate is 0. The panel does not show a loss of accuracy, and could not: for that you need the same run with the right schedule beside it. What it shows is half of the computing thrown away. Typical causes: a schedule that moves on with every part of a batch instead of every update, epochs raised without a new schedule. *Almost the same:* a model that has converged. *Cheapest experiment:* look at the rate; without that curve, go on for an epoch at a small constant rate and see whether the loss falls.
#
# **Log 4 (b).** Training loss near 0, validation loss far above its lowest, while accuracy has not fallen: the model becomes surer of its errors. *Almost the same:* validation rows that come from another source than the training rows. *Cheapest experiment:* hold back some *training* rows and watch their loss: if it rises as well, it is this.

# %% [markdown]
# ## 5. The proof
#
# Two questions. **Was fusion worth its second encoder?** The opponents are the same encoders, fine-tuned just as long, *each alone*: a fused model that does not beat both has gained nothing from fusion, whatever its accuracy. **Was fine-tuning worth its steps?** The opponent is the frozen probe: the same fusion on the features of pretraining, trained in a second. The floor of both is the majority.

# %% tags=["nbval-ignore-output"]
views = {"photo only": ("image",), "message only": ("text",)}
models = {"fused": tuned}
for name, use in views.items():
    models[name] = fresh(use=use)
    fit(models[name], sets["train"], sets["valid"], **RUN)
probe = fresh()
frozen = {split: extract(probe, sets[split]) for split in ("train", "test")}
fit(probe.head, frozen["train"], epochs=10, batch_size=16, learning_rate=3e-3,
    progress=False)
models["frozen probe"] = probe
majority = evaluate(Majority(sets["train"].labels, 2), sets["test"])
print(f"{'':14s}  all    95 % interval     R      I      T      S")
print(f"{'majority':14s} {majority.accuracy:.3f}")
labels, situation = sets["test"].labels, sets["test"].extras["situation"]
answers, right, scored = {}, {}, {}
for name in ("frozen probe", *views, "fused"):
    answers[name] = predict(models[name], sets["test"])
    found = score(answers[name], labels, situation, "RITS", desk.class_names)
    scored[name] = found
    right[name] = answers[name].argmax(1) == labels
    low, high = found.interval
    groups = "  ".join(f"{found.groups[k].accuracy:5.2f}" for k in "RITS")
    print(f"{name:14s} {found.accuracy:.3f}  {low:.3f} to {high:.3f}  {groups}")
against = {name: paired(right["fused"], right[name]) for name in right}
against.pop("fused")
print()
for name, found in against.items():
    low, high = found.interval
    print(f"fused minus {name:12s} {found.difference:+.3f} "
          f"({low:+.3f} to {high:+.3f}); only fused right {found.first_only}, the "
          f"other {found.second_only}; p = {found.p_value:.2g}")
claim("fused beats both single modalities, McNemar p < .05",
      all(against[name].p_value < 0.05 and against[name].difference > 0
          for name in views))
known = set(sets["train"].texts)
met = sum(text in known for text in sets["test"].texts)
print("test messages that stand word for word in the training tickets:",
      met, "of", sizes["test"])

wrong = (~right["fused"]).nonzero().flatten()
situation = sets["test"].extras["situation"][wrong]
print("errors of the fused model:",
      {name: int((situation == k).sum()) for k, name in enumerate("RITS")})
some = wrong[situation.argsort(descending=True, stable=True)][:4]
titles = [f'{"RITS"[sets["test"].extras["situation"][i]]}: {sets["test"].texts[i]}\n'
          f'true: {desk.class_names[labels[i]]}' for i in some]
plots.show(plots.pictures(sets["test"].images[some], titles, columns=4, size=1.6),
           "Four test tickets that the fused model answers wrongly. "
           + "; ".join(title.replace("\n", ", ") for title in titles) + ".")

# %% [markdown]
# **Look at errors before you celebrate**: most of them are of situation S, where photo and message have to be *compared*. And look at what is easy: the desk has few sentences, so that many test messages were read in training, each with another photo. Column T alone cannot tell what was *remembered* from what was understood.
#
# The two accuracies are not independent: both models answered the same 600 tickets, and what is hard is hard for both. **McNemar's test** looks only where they differ. If fusion changed nothing, each such ticket would be a coin: of $b + c$ coins, $b$ fell for the fused model. The chance that fair coins fall at least as unevenly, counted exactly, is the p-value. Worked example: $b = 9$, $c = 1$: $p = 2\,(1 + 10)/2^{10} = 0.021$.
#
# One run on one test set says nothing about other seeds. The logs do: five seeds, each with fresh tickets, and beside this lesson's small run a larger one; then eight further seeds, on which nothing was chosen, with the frozen probe and with half of the plan's text rate. And real data: the emoji of lesson 07, pictures, names, nine categories. All are real runs, one command each. What nobody has run yet is listed with its command.

# %%
def over_seeds(each):
    """Each difference, their mean, and its 95 % interval over seeds."""
    reach = {5: 2.776, 8: 2.365}[len(each)] * each.std() / math.sqrt(len(each))   # t
    return (f"{' '.join(f'{v:+.3f}' for v in each.tolist())};\n  mean "
            f"{each.mean():+.3f} ({each.mean() - reach:+.4f} to "
            f"{each.mean() + reach:+.4f}), above 0 in {int((each > 0).sum())}")

log = json.loads((runs_folder / "proof.json").read_text())
print(f"{log['command']}; {log['date']}; {log['cpu_seconds']} s of CPU\n")
means = {}
print(f"{'mean of five seeds':38s} {'   '.join(f'{c:>4s}' for c in log['columns'])}")
for size, runs in log["runs"].items():
    plan = runs["plan"]
    print(f"{size}: {plan['rows']} tickets, {plan['epochs']} epochs, in "
          f"{plan['head_first']} of them the head alone")
    for view in ("image only", "text only", "fused"):
        if view in runs:
            means[size, view] = torch.tensor(runs[view])        # (seeds, columns)
            columns = "  ".join(f"{v:.3f}" for v in means[size, view].mean(0).tolist())
            print(f"  {view:36s} {columns}")
several = means["large", "fused"], means["large, head not first", "fused"]
for size in ("small", "large"):
    single = [means[size, view][:, 4] for view in ("image only", "text only")]
    wins = int((means[size, "fused"][:, 4] > torch.maximum(*single)).sum())
    print(f"{size}: fused is above the better of the two in {wins} of 5 seeds")
for how, runs in zip(("head first", "head not first"), several):
    seeds = "  ".join(f"{v:.2f}" for v in runs[:, 3].tolist())
    print(f"large, {how:14s} situation S, seed by seed: {seeds}")
print(f"large, head first minus not: {over_seeds(several[0][:, 4] - several[1][:, 4])}")

log = json.loads((runs_folder / "further.json").read_text())
print(f"\n{log['command']}; {log['date']}; {log['cpu_seconds']} s of CPU\n"
      f"{'eight further seeds of the small run':36s} mean    lowest  highest")
found = {name: torch.tensor([run["accuracy"][name] for run in log["runs"]])
         for name in log["runs"][0]["accuracy"]}                     # (seeds,) each
for name, each in found.items():
    print(f"  {name:34s} {each.mean():.3f}   {each.min():.3f}   {each.max():.3f}")
single = torch.maximum(found["image only"], found["text only"])
gain = found["fused"] - found["frozen probe"]
probe_p = [run["fused minus"]["frozen probe"]["p_value"] for run in log["runs"]]
ahead = found["fused"] - single
print(f"fused is above the better single modality in {int((ahead > 0).sum())} of 8 "
      f"seeds, by {ahead.min():+.3f} to {ahead.max():+.3f}")
print(f"fused minus frozen probe: {over_seeds(gain)}, "
      f"p < .05 in {sum(p < 0.05 for p in probe_p)}")
large_probe = torch.tensor(log["frozen probe, large, seeds 0 to 4"])
print(f"the same, large run, 5 seeds: {over_seeds(several[0][:, 4] - large_probe)}")
halved = found["fused, half the text rate"] - found["fused"]
print(f"half the text rate minus the plan: {over_seeds(halved)}")
print(f"least difference between text vectors: "
      f"{min(run['spread']['fused'] for run in log['runs']):.2f};\n"
      f"none dead in 8 seeds still allows up to {1 - 0.05 ** (1 / 8):.0%} (95 %)\n")

WANTED = runpy.run_path(str(ROOT / "benchmarks" / "full_run.py"))["WANTED"]
drawn = []
fig, ax = plots.figure(width=6, height=2.9)
for name, color in zip((name for name in WANTED if "+" in name),
                       (plots.BOTH, plots.IMAGE, plots.TEXT, plots.GREY)):
    path = runs_folder / f"{name}.json"
    if not path.exists():
        settings = WANTED[name].replace("--rates", "\\\n    --rates")
        print(f"nobody has made this run yet:\n"
              f"  python benchmarks/full_run.py {settings}")
        continue
    log = json.loads(path.read_text())
    alone = log["head_first"]
    at, height = zip(*((row["epoch"], row["valid_accuracy"]) for row in log["epochs"]))
    ax.plot(at[:alone], height[:alone], "o:", color=color)
    ax.plot(at[alone - 1:], height[alone - 1:], "o-", color=color, label=name)
    low, high = log["test_interval"]
    gain, single = log["paired"], log["best_single"]
    n_seeds = len(log["after"]["fused"])
    probes, tuned_alone = ({view: torch.tensor(v[:n_seeds]) for view, v in
                            log[key].items()} for key in ("before", "after"))
    mean_of = {view: v.mean().item() for view, v in tuned_alone.items()}
    ahead = [" ".join(f"{v:+.3f}" for v in (tuned_alone["fused"] - other).tolist())
             for other in (probes["fused"], tuned_alone[single])]
    drawn.append(f"{name} {height[0]:.2f}, {min(height[1:]):.2f}, {height[-1]:.2f}")
    print(f"{name}: {log['parameters'] / 1e6:.1f} M weights, {log['precision']}, "
          f"{log['date']},\n  {log['machine']}\n"
          f"  majority {log['majority']:.3f}; means, seeds: {n_seeds}; "
          f"frozen probe, fused {probes['fused'].mean():.3f};\n"
          f"  fine-tuned: image {mean_of['image only']:.3f}, text "
          f"{mean_of['text only']:.3f}, fused {mean_of['fused']:.3f};\n"
          f"  seed by seed: fused minus probe {ahead[0]}, minus {single} {ahead[1]};\n"
          f"  seed 0: fused {log['test_accuracy']:.3f} ({low:.3f} to {high:.3f}), "
          f"minus {log['best_single']} {gain['difference']:+.3f} "
          f"({gain['interval'][0]:+.3f} to {gain['interval'][1]:+.3f}), "
          f"p = {gain['p_value']:.2g};\n"
          f"  {log['epochs'][-1]['rows_per_second']:.0f} rows per s, "
          f"{log['seconds'] / 60:.0f} min in all, {log['cpu_seconds'] / 60:.0f} of CPU")
ax.set(xlabel="epoch (dotted: the head alone)", ylabel="validation accuracy",
       ylim=(0, 1), title="The emoji, fused and fine-tuned")
ax.legend(loc="lower right")
plots.show(fig, "Validation accuracy by epoch for the emoji runs that were made, from "
                f"the first epoch over the lowest later one to the last: "
                f"{', '.join(drawn)}.")

# %% [markdown]
# **The small run.** Fused is ahead of each single modality in all five seeds, so the second encoder earned its place. Now look at the columns. The gain comes from I and T, where the model has to *choose* whom to believe. Where it has to *compare* (S), it tosses a coin, as it did on this page. And it reads worse than the model that only reads (column T): does one branch learn at the cost of the other? That is the subject of lesson 09.
#
# **The large run.** With three times the tickets, and three times the steps for the encoders (189 against 60), S comes alive, but seed by seed: some runs find the comparison, others end on the plateau of ½. A mean alone would have hidden that. Training the head first gives the encoders half as many steps and is still ahead in every seed, though five seeds leave open by how much (the interval of the mean holds 0). A likely reason is that a head which leans on both halves already tells the encoders what to make comparable.
#
# **The further seeds.** Fusion held in all eight. Fine-tuning is another matter: over the frozen probe it gained about three points (the interval over seeds barely leaves out 0), and in one seed it *lost* some. With 320 tickets, a good head on untouched encoders is a serious opponent, and costs a second; with 1,000 tickets fine-tuning is ahead in every seed, by 3 to 17 points, ten in the mean. Without the probe beside it nobody would know. And the edge: with the plan's text rate no branch died, and half of the rate did about as well (the interval of their difference holds 0). That is no promise for your seed: none in eight may still be three in ten. The three tests of section 3 take a second.
#
# **The emoji.** With the mini encoders fusion mattered: in each of three seeds fused is eight points and more ahead of the words alone (on the rows of seed 0, p = .0005), and of the frozen probe of the same seed. (The seeds share one test set of 247 rows: they tell of first weights and orders of rows, not of other emoji.) Read the paired line of a run, not the difference of two accuracies, and see which numbers are means and which are of one seed. In the runs with MiniLM, one with ResNet-18 on a CPU and one with ResNet-50 on a GPU, it is zero or not to be told from it: words alone, read by a model that was pretrained on far more text than this course has, name the category as often as words and picture together. There the second encoder did *not* earn its place (its weights began at random; with pretrained ones nobody has tried; of ResNet-18 there is one seed), and the message of this lesson is the test, not the hope. Then look for what is missing: one command makes it, and this cell draws it.
#
# ## 6. The end
#
# A model that only lives in your notebook is not finished. Save it as others can load it: weights as `safetensors` (a pickle could run code when it is opened), everything else as text, with the checksums of weights and tokenizer. Beside them lies a **model card**, which the run fills in, so that it cannot tell of another one. Then the test that counts: a **fresh process**, which knows nothing of this page, loads the folder and answers a new ticket.

# %% tags=["nbval-ignore-output"]
from PIL import Image

home = save_model(tuned, folder / "model")
facts = json.loads((home / "model.json").read_text())
chances = answers["fused"].softmax(1).amax(1)
honest = right["fused"][chances >= 0.95].double().mean().item()
weak = min(scored["fused"].groups, key=lambda k: scored["fused"].groups[k].accuracy)
card = f"""# Refund or keep, from a photo and a message

For: tickets drawn by RefundDesk, to learn from. Not for: real customers or goods.
Classes: {", ".join(facts["class_names"])}. Input: one picture, one English sentence.
Weights: {cfg.image_encoder} (photo), {cfg.text_encoder} (words), a new head, all tuned:
{sum(p.numel() for p in tuned.parameters()) / 1e6:.1f} million numbers, float32.
Data: {sizes["train"]} tickets to train on, {sizes["valid"]} to choose the epoch,
{sizes["test"]} others to test on, {met} of them with a message met in training.

Scores of these {sizes["test"]} (one run, seed 0):

{scored["fused"]}

Beside it: {", ".join(f"{name} {scored[name].accuracy:.3f}" for name in views)},
frozen probe {scored["frozen probe"].accuracy:.3f}, majority {majority.accuracy:.3f}.
Limits: weakest in situation {weak} (R: both tell, I: the photo does, T: the message
does, S: only both together). Of its answers with a chance of .95 or more, {honest:.3f}
are right. Other toys, words and languages are untried.
Again: lesson 13 of cmlib {facts["cmlib"]}, torch {torch.__version__.split("+")[0]}.
"""
with open(home / "README.md", "w", encoding="utf-8") as file:
    file.write(card)
print(card)
for file in sorted(path for path in home.rglob("*") if path.is_file()):
    name = file.relative_to(home).as_posix()
    print(f"{name:32s} {file.stat().st_size / 1e3:10,.0f} kB")
new = desk.sample(40, split="never seen")
pick = int((new.extras["situation"] == 0).nonzero()[0])
Image.fromarray(new.images[pick].permute(1, 2, 0).numpy()).save(folder / "new.png")
script = """
import sys, torch
from cmlib import predict
from cmlib.models import load_model
folder, picture, words = sys.argv[1:]
model = load_model(folder)
chances = predict(model, (picture, words)).softmax(1)[0]
print(model.class_names[int(chances.argmax())], f"{float(chances.max()):.5f}")
"""
command = [sys.executable, "-c", script, str(home), str(folder / "new.png"),
           new.texts[pick]]
ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT,
                     env=os.environ | {"PYTHONPATH": str(ROOT)})
answer, sure = ran.stdout.split() or (ran.stderr.splitlines()[-1], "nan")
here = predict(tuned, new[[pick]]).softmax(1)[0].max().item()
print(f"\n{new.texts[pick]!r}\nsays the fresh process: {answer}")
claim("it is as sure of it as this page", abs(float(sure) - here) < 1e-4)

tuned.eval()
for n in (1, 64):
    few = rows["test"][torch.arange(n)].to(cfg.device)
    with torch.no_grad():
        took = clock(lambda few=few: tuned(few))
    print(f"{n:2d} at once: {1000 * took:7.2f} ms, {1000 * took / n:6.2f} ms a ticket")

# %% [markdown]
# The card says what its user cannot find out alone: what the model is for and *not* for; what it was trained on, and which rows it was tested on; accuracy *by situation* with intervals, not one number, beside the majority and the single modalities; where it fails; what makes it again. Two things this one still lacks, and a model that is used needs: the licences of weights and data, and somebody to write to. Lesson 24 writes one in full.
#
# ## 7. Recap
#
# You can now
# - say from shapes what a step needs and how long a run takes, and check both before they are spent;
# - make a step smaller by three means, and say what float16 loses and what a loss scale gives back;
# - write a schedule and parameter groups that survive their edges, and name a plateau before you blame the data;
# - lose a machine without losing a step, and read the log of a run that went wrong;
# - prove, or disprove, that fusion was worth it;
# - hand over a model that a process without your notebook can use.
#
# All your points, of every lesson, are on one page: `cmlib.report()`.

# %% [quiz]
# ? 64 rows fit into memory and 128 do not. Which change leaves the gradient of the 128 exactly as it was (a model without BatchNorm and dropout)?
# - Half the learning rate, with 64 rows :: That is another run: twice as many steps, each with the noise of 64 rows.
# + Two parts of 64, each weighed by its share of the rows :: The gradient of a mean is the weighted sum of the parts' gradients.
# - Half the image size :: The activations shrink, and so does what the model can see.
# ? The validation loss of a two-branch model stays at half of ln 2 from step 60 on, while the rate is still high. What do you do first?
# - Train longer :: The gradient that reaches a dead branch is small, and what its encoder knew has been overwritten.
# - Get more data :: Perhaps later. The number of the plateau already names a suspect.
# + Measure how much the vectors of each branch differ between rows :: A branch that gives the same vector to everybody is dead; ½ ln 2 is what half of the tickets cost at the toss of a coin.
# ? A run with float16 and a loss scale drops one step in two thousand, because a gradient was inf. Is something wrong?
# + No, that is how GradScaler finds the highest scale :: It doubles the scale after 2,000 good steps, and halves it when that was too much.
# - Yes, the learning rate is too high :: Then the loss itself would grow; here only the scaled gradient was too large.
# - Yes, bfloat16 would be needed :: It would do without a scale, but a scale that drops a step now and then does its work.
# ? Fused .83, the better single modality .80, on the same 400 rows; the intervals of both overlap. What do you report?
# - The difference is chance, since the intervals overlap :: They ignore that both models answered the same rows.
# - The fused model is better by three points :: Perhaps. Without the rows in which the two differ nobody can tell.
# + The rows that only one of them has right, McNemar's p, the interval of the difference, and the same for other seeds :: What is hard for both cancels, and seeds say whether it would happen again.

# %% [markdown]
# **Glossary**: *activations*, what the forward pass keeps for the backward pass · *moments*, AdamW's running means of a gradient and its square · *autocast*, products in 16 bits, weights in 32 · *loss scale*, a factor that lifts small gradients into the range of float16 · *accumulation*, the gradient of a large batch from its parts · *head first*, some epochs in which only the head learns · *dead branch*, an encoder that gives every row the same vector · *checkpoint*, all that a run needs to go on · *EMA*, a moving average of the weights · *McNemar's test*, two models on the same rows, judged where they differ.
#
# **References**
# - J. Devlin, M.-W. Chang, K. Lee, K. Toutanova, *BERT*, NAACL 2019: appendix A.3 has the recipe with the rates 2e-5 to 5e-5.
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, CVPR 2016: the bottleneck that section 1 weighs.
# - P. Micikevicius et al., *Mixed precision training*, ICLR 2018: float32 weights, the loss scale, and a histogram of activation gradients.
# - Hugging Face, *Fixing gradient accumulation*, blog, October 2024: the mean of means in a trainer that many use.
# - T. Chen, B. Xu, C. Zhang, C. Guestrin, *Training deep nets with sublinear memory cost*, 2016: layers computed again.
# - I. Loshchilov, F. Hutter, *Decoupled weight decay regularization*, ICLR 2019: AdamW, and the cosine.
# - D. P. Kingma, J. Ba, *Adam: a method for stochastic optimization*, ICLR 2015: section 2.1 bounds the step by the learning rate.
# - A. Kumar et al., *Fine-tuning can distort pretrained features and underperform out-of-distribution*, ICLR 2022: why to train the head first.
# - M. Mosbach, M. Andriushchenko, D. Klakow, *On the stability of fine-tuning BERT*, ICLR 2021: more steps and small rates against runs that fail.
# - Q. McNemar, *Note on the sampling error of the difference between correlated proportions*, Psychometrika 12 (1947): the test of section 5.
#
# Logs: emoji pictures Noto Emoji, © Google, SIL Open Font License 1.1; names EmojiBase, MIT; MiniLM: sentence-transformers/all-MiniLM-L6-v2, Apache 2.0.

# %% [progress]
