"""Exercises of lesson 13: fine-tuning."""

import math
from dataclasses import replace
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


@exercise("13.1", "Who decays", minutes=8, points=2, difficulty=2)
def decay_groups(shapes):
    return [n for n, s in shapes.items() if len(s) > 1], [n for n, s in shapes.items() if len(s) <= 1]


@decay_groups.cases
def _(draw):
    # no list of names covers these
    h, layer, k = 8 + int(draw.integers(5000)), int(draw.integers(1000)), int(draw.integers(1000))
    yield case(
        {
            "text_encoder.embeddings.word_embeddings.weight": (99, h),
            "text_encoder.embeddings.LayerNorm.weight": (h,),
            "text_encoder.embeddings.LayerNorm.bias": (h,),
            f"text_encoder.layer.{layer}.output.dense.weight": (h, 4 * h),
            f"text_encoder.layer.{layer}.output.dense.bias": (h,),
            f"image_encoder.trunk.{k}.weight": (16, 3, 5, 5),
            f"image_encoder.trunk.{k + 1}.weight": (16,),
            f"image_encoder.trunk.{k + 1}.bias": (16,),
            "temperature": (),
            "head.0.weight": (2, h),
            "head.0.bias": (2,),
        },
        about="BERT, ResNet, a temperature and a head",
    )
    yield case({f"norm.{k}.weight": (h,), f"norm.{k}.bias": (h,)}, about="a layer norm alone (one list is "
                                                                         "empty)")
    yield case(
        {f"attention.{k}.relative_attention_bias.weight": (32, h), f"scale.{k}": (1,)},
        about="a table of biases with two dimensions",
    )


def _split(decays):
    return lambda shapes: (
        [n for n, s in shapes.items() if decays(n, s)],
        [n for n, s in shapes.items() if not decays(n, s)],
    )


decay_groups.mistake("The two lists are in the wrong order: first what decays, then what does not.")(
    _split(lambda n, s: len(s) <= 1)
)
decay_groups.mistake("You leave out biases only; the gain of a norm is called weight, and it must not decay "
                     "either.")(
    _split(lambda n, s: "bias" not in n))
decay_groups.mistake("You go by the word LayerNorm; the norms of a ResNet have other names, such as "
                     "trunk.1.weight. Go by the shape.")(
    _split(lambda n, s: "bias" not in n and "LayerNorm" not in n))
decay_groups.mistake("The kernels of convolutions have four dimensions, and they decay as matrices do.")(
    _split(lambda n, s: len(s) == 2)
)
decay_groups.mistake("A single number, of shape (), has no dimension at all; it must not decay.")(
    _split(lambda n, s: len(s) != 1)
)
decay_groups.mistake("The word embeddings are a matrix, and they decay too.")(
    _split(lambda n, s: len(s) > 1 and "embedding" not in n)
)


# clip_grad_norm_ adds 1e-6 to the norm before it divides.
@exercise("13.2", "A step in parts", minutes=15, points=3, difficulty=3, rtol=1e-5, atol=1e-6)
def accumulated_step(weight, xs, ys, learning_rate, clip):
    return _step(weight, xs, ys, learning_rate, clip)


def _part(weight, x, y, reduction="mean"):
    weight = weight.detach().clone().requires_grad_()
    return torch.autograd.grad(cross_entropy(x @ weight, y, reduction=reduction), weight)[0]


def _clipped(gradient, clip):
    return gradient * min(1.0, clip / float(gradient.norm()))


def _step(
    weight,
    xs,
    ys,
    learning_rate,
    clip,
    scale=lambda g, n, rows, parts: g * n / rows,
    each=lambda g, clip: g,
    whole=_clipped,
):
    rows, total = sum(len(y) for y in ys), torch.zeros_like(weight)
    for x, y in zip(xs, ys, strict=True):
        total = total + scale(each(_part(weight, x, y), clip), len(y), rows, len(xs))
    return weight.detach() - learning_rate * whole(total, clip)


@accumulated_step.cases
def _(draw):
    def parts(sizes, inputs, classes, loud=1.0):
        return [loud * draw.normal(n, inputs) for n in sizes], [draw.integers(classes, n) for n in sizes]

    yield case(draw.normal(4, 3), *parts((5, 2, 1), 4, 3), 0.1, 100.0, about="parts of 5, 2 and 1 rows and a "
                                                                             "gradient below the limit")
    yield case(draw.normal(4, 3), *parts((6, 3), 4, 3, loud=20.0), 0.5, 1.0, about="parts of 6 and 3 rows "
                                                                                   "and a gradient above the "
                                                                                   "limit")
    yield case(draw.normal(3, 2), *parts((4, 4, 4), 3, 2), 0.1, 0.01, about="equal parts")
    yield case(draw.normal(2, 5), *parts((7,), 2, 5), 1.0, 10.0, about="one part")


def _slip(sentence, **how):
    accumulated_step.mistake(sentence)(lambda w, xs, ys, rate, clip: _step(w, xs, ys, rate, clip, **how))


_slip("You average the parts' means: a row of a short part then counts more than a row of a long one.",
      scale=lambda g, n, rows, parts: g / parts)
_slip("You add up the parts' means without weighing them: the step grows with the number of parts.",
      scale=lambda g, n, rows, parts: g)
_slip(
    "This is the gradient of the sum over rows; divide by the number of all rows.",
    scale=lambda g, n, rows, parts: g * n,
)
_slip(
    "You clip every part; clip the gradient of the whole batch, once, after adding up.",
    each=_clipped,
    whole=lambda g, clip: g,
)
_slip(
    "The gradient is not clipped: where its norm exceeds the limit, scale it down to the limit.",
    whole=lambda g, clip: g,
)
_slip("You clip every entry by itself, which changes the direction; scale the whole gradient by one number.",
      whole=lambda g, clip: g.clamp(-clip, clip))
_slip("You bring every gradient to the length of the limit; one that is shorter stays as it is.",
      whole=lambda g, clip: g * clip / float(g.norm()))
_slip("You walk up the gradient: subtract it.", whole=lambda g, clip: -_clipped(g, clip))


@accumulated_step.mistake("You take a step after every part; add the gradients up first, and take one step.")
def _(weight, xs, ys, learning_rate, clip):
    for x, y in zip(xs, ys, strict=True):
        weight = weight - learning_rate * _clipped(_part(weight, x, y), clip)
    return weight


def _rates(answer, asked, steps, warmup):
    return [answer(step, steps, warmup) for step in asked]


@exercise("13.3", "Up in a line, down in a cosine", minutes=10, points=2, difficulty=2, call=_rates)
def rate(step, steps, warmup):
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@rate.cases
def _(draw):
    yield case([0, 1, 5, 9, 10, 11, 37, 55, 99, 100], 100, 10, about="100 steps, 10 of them warm-up")
    yield case([0, 1, 2, 6], 7, 0, about="no warm-up")
    yield case([0, 3, 7], 8, 8, about="nothing but warm-up")
    yield case([0, 1], 1, 0, about="a run of one step")
    for about in ("other lengths", "other lengths again"):
        start, rest = 20 + int(draw.integers(2000)), 200 + int(draw.integers(2000))
        yield case(
            [start - 1, start, start + 1, start + rest // 3, start + rest - 2],
            start + rest,
            start,
            about=about,
        )


@rate.mistake("At step 0 the trusted schedule has rate 0: count step, not step + 1, during the warm-up.")
def _(step, steps, warmup):
    return (step + 1) / warmup if step < warmup else rate.reference(step, steps, warmup)


@rate.mistake("The cosine begins where the warm-up ends: count the steps since then, out of those that are "
              "left.")
def _(step, steps, warmup):
    return step / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * step / steps))


@rate.mistake("You divide the steps since the warm-up by all steps; divide by those that are left after it.")
def _(step, steps, warmup):
    return step / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / steps))


@rate.mistake("The half is missing: at the peak the share must be 1, and 1 + cos 0 is 2.")
def _(step, steps, warmup):
    return step / warmup if step < warmup else 2 * rate.reference(step, steps, warmup)


@rate.mistake("That is a whole wave, down and up again; the rate should end at 0, so half a wave is wanted: "
              "π, not 2π.")
def _(step, steps, warmup):
    return (
        step / warmup
        if step < warmup
        else 0.5 * (1 + math.cos(2 * math.pi * (step - warmup) / max(1, steps - warmup)))
    )


@rate.mistake("π is missing: cos 1 is 0.54, and the rate never reaches 0.")
def _(step, steps, warmup):
    return step / warmup if step < warmup else 0.5 * (1 + math.cos((step - warmup) / max(1, steps - warmup)))


@rate.mistake("After the warm-up you go down in a straight line; a cosine is wanted.")
def _(step, steps, warmup):
    return step / warmup if step < warmup else 1 - (step - warmup) / max(1, steps - warmup)


@exercise("13.4", "Bytes before they are spent", minutes=15, points=3, difficulty=3, rtol=0.15)
def training_bytes(shapes, rows, size):
    """Measured, not calculated: one real step of AdamW, with everything that it keeps weighed."""
    dtype = {2: torch.bfloat16, 4: torch.float32, 8: torch.float64}[size]
    layers = [part for n_in, n_out in shapes for part in (nn.Linear(n_in, n_out, dtype=dtype), nn.GELU())][
        :-1
    ]
    model, kept = nn.Sequential(*layers), {}
    own = {p.data_ptr() for p in model.parameters()}

    def keep(tensor):
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        out = model(torch.ones(rows, shapes[0][0], dtype=dtype))
    activations = sum(kept.values())
    out.sum().backward()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    found = {
        "weights": model.parameters(),
        "gradients": (p.grad for p in model.parameters()),
        "moments": (t for state in optimizer.state.values() for name, t in state.items() if name != "step"),
    }
    return {what: sum(t.numel() * t.element_size() for t in tensors) for what, tensors in found.items()} | {
        "activations": activations
    }


@training_bytes.cases
def _(draw):
    def layers(n, size, about):
        # wide apart: no constant is within rtol of many
        sizes = [int(20 * 8 ** share) for share in sorted(draw.uniform(n + 1).tolist())]
        sizes[-1] *= 2  # counting inputs only and outputs only are two mistakes, with a sentence each
        return case(list(pairwise(sizes)), int(5 * 16 ** float(draw.uniform(1))), size, about=about)
    # a measurement takes milliseconds, and a draw has to be quick
    by_formula = replace(training_bytes, reference=_bytes)
    yield telling(by_formula, lambda: layers(3, 4, "three layers in float32"))
    yield telling(by_formula, lambda: layers(4, 8, "four layers in float64"))
    yield telling(by_formula, lambda: layers(2, 2, "two layers in bfloat16"))
    yield case([(30, 30)], 7, 4, about="one layer (there is no GELU)")
    yield case([(16, 64), (64, 64), (64, 32)], 100, 8, about="float64")
    yield case([(50, 20), (20, 50)], 1, 2, about="one row in bfloat16")


def _bytes(shapes, rows, size, moments=2, inputs=1, inner=1, last=0):
    numbers = sum(a * b + b for a, b in shapes)
    saved = inputs * sum(a for a, _ in shapes) + inner * sum(b for _, b in shapes[:-1]) + last * shapes[-1][1]
    return {
        "weights": numbers * size,
        "gradients": numbers * size,
        "moments": moments * numbers * size,
        "activations": rows * saved * size,
    }


def _forgets(sentence, **how):
    training_bytes.mistake(sentence)(lambda shapes, rows, size: _bytes(shapes, rows, size, **how))


_forgets("AdamW keeps two numbers for every weight, a mean of the gradient and one of its square; you count "
         "one.", moments=1)
_forgets("You count the inputs of the linear layers only; GELU needs its own input for the backward pass as "
         "well.", inner=0)
_forgets("You count the outputs of the linear layers only; for the gradient of a weight its layer's input is "
         "kept as well.", inputs=0, last=1)
_forgets("The output of the last layer is counted, and nothing behind it needs it for its gradient.", last=1)


@training_bytes.mistake("These are the activations of one row; every row of the batch keeps its own.")
def _(shapes, rows, size):
    return _bytes(shapes, rows, size) | {"activations": _bytes(shapes, 1, size)["activations"]}


@training_bytes.mistake("These are numbers, not bytes: multiply by the size of one number.")
def _(shapes, rows, size):
    return _bytes(shapes, rows, 1)


@training_bytes.mistake("You multiply the weights by the rows; the weights are there once, however large the "
                        "batch.")
def _(shapes, rows, size):
    return {
        key: value * (1 if key == "activations" else rows)
        for key, value in _bytes(shapes, rows, size).items()
    }
