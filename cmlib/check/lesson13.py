"""Exercises of lesson 13: a plan of memory, a step in parts, a schedule, who learns how fast, broken logs."""

import math
import re
from itertools import dropwhile, product

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from cmlib.check.engine import case, exercise
from cmlib.check.raised import Failed
from cmlib.check.telling import telling

# Bytes of a step


def _whole(answer, *args):
    """A plan may come in floats, as long as they are whole numbers."""
    found = answer(*args)
    return {name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in found.items()} if isinstance(found, dict) else found


@exercise("13.6", "The memory plan of a chain", minutes=15, points=3, difficulty=3, rtol=0.05, call=_whole)
def memory_plan(layers, rows, frozen):
    numbers, learning, kept, needed = 0, 0, set(), False
    for place, (kind, inputs, outputs) in enumerate(layers):
        own = {"linear": inputs * outputs + outputs, "norm": 2 * inputs}.get(kind, 0)
        learns = own > 0 and place >= frozen
        numbers = numbers + own
        learning = learning + own * learns
        needed = needed or learns
        if needed:  # tensor k goes into layer k, and k + 1 comes out of it
            kept.add(place + 1 if kind == "relu" else place)
    widths = [layers[0][1], *(outputs for _, _, outputs in layers)]
    activations = rows * sum(widths[k] for k in kept)
    return {"weights": 4 * numbers, "gradients": 4 * learning, "moments": 8 * learning,
            "activations": 4 * activations}


@memory_plan.cases
def _(draw):
    def width(least=128):
        return least + int(draw.integers(least))

    def rows():
        return 40 + int(draw.integers(400))

    def mixed():
        a, b, c = width(600), width(300), width(130)
        layers = [("linear", 9, a), ("relu", a, a), ("linear", a, b), ("norm", b, b), ("gelu", b, b),
                  ("linear", b, c), ("relu", c, c), ("linear", c, 11)]
        return case(layers, rows(), 3, about="a chain whose lower layers are frozen")

    def learns():
        a, b = width(), width(400)
        layers = [("norm", 500, 500), ("linear", 500, a), ("gelu", a, a), ("linear", a, b), ("relu", b, b)]
        return case(layers, rows(), 0, about="a chain that learns from its first layer on")

    yield case([("linear", 3, 8)], 6, 0, about="one linear layer")
    yield case([("linear", 40, 64), ("relu", 64, 64), ("linear", 64, 30)], 50, 0,
               about="linear, ReLU, linear")
    yield learns()
    hides = ("The biases", "The bias of", "no weights either", "A norm has two", "The ReLU at the end",
             "GELU keeps its input alone", "one byte", "the chain puts out", "A norm keeps its input alone",
             "The rows that go in")
    yield telling(memory_plan, mixed, hides)
    yield telling(memory_plan, mixed, hides)
    yield case([("linear", 30, 200), ("gelu", 200, 200), ("linear", 200, 20)], 70, 3, about="nothing learns")
    yield case([("linear", 30, 200), ("gelu", 200, 200), ("linear", 200, 20)], rows(), 1,
               about="a GELU between a frozen layer and one that learns")
    a, b = width(), width()
    yield case([("norm", a, a), ("relu", a, a), ("norm", a, a), ("gelu", a, a)], rows(), 0,
               about="a chain of norms")
    yield case([("norm", b, b), ("gelu", b, b), ("norm", b, b), ("relu", b, b)], rows(), 1,
               about="a chain of norms whose first one is frozen")


def _plan(layers, rows, frozen, list_of=lambda place, kind: {place + (kind == "relu")}, once=True, rest=True,
          bias=1, norm=2, moments=2, own=lambda place, frozen: place >= frozen, size=4,
          passes=lambda place, frozen, weights: weights > 0 and place >= frozen):
    sizes = [{"linear": i * o + (i if bias is None else bias * o),
              "norm": i * o + o if norm is None else norm * i}.get(kind, 0) for kind, i, o in layers]
    widths, kept, needed = [layers[0][1], *(o for *_, o in layers)], [], False
    for place, (kind, _, _) in enumerate(layers):
        needed = needed or not rest or passes(place, frozen, sizes[place])
        kept += list_of(place, kind) if needed else []
    learning = sum(n for place, n in enumerate(sizes) if own(place, frozen))
    saved = rows * sum(widths[k] for k in (set(kept) if once else kept))
    return {"weights": size * sum(sizes), "gradients": size * learning, "moments": moments * size * learning,
            "activations": size * saved}


def _entries(layers, rows, frozen, **theirs):
    """The right plan with other functions of it in some entries."""
    found = _plan(layers, rows, frozen)
    return found | {name: entry(found) for name, entry in theirs.items()}


def _forgets(sentence, **how):
    memory_plan.mistake(sentence)(lambda layers, rows, frozen: _plan(layers, rows, frozen, **how))


_once = ("What a ReLU keeps is its output, and that is the very tensor that the next layer takes in: it lies "
         "in memory once.")
_forgets(_once, once=False)
_forgets(_once, list_of=lambda place, kind: {place})
_forgets("A frozen layer below everything that learns keeps nothing: no gradient will ever pass it.",
         rest=False)
_forgets("Frozen layers have neither gradients nor moments.", own=lambda place, frozen: True)
_forgets("Frozen layers have neither gradients nor moments, and keep nothing where no gradient passes.",
         own=lambda place, frozen: True, rest=False)
_forgets("You let every layer keep its output; a linear layer, a norm and a GELU need their input again.",
         list_of=lambda place, kind: {place + 1})
_forgets("You let every layer keep its input and its output; the table says which of the two.",
         list_of=lambda place, kind: {place, place + 1})
_forgets("GELU keeps its input: its slope depends on it.",
         list_of=lambda place, kind: set() if kind == "gelu" else {place + (kind == "relu")})
_forgets("Only the inputs of the linear layers are counted; the norm, GELU and ReLU keep something, too.",
         list_of=lambda place, kind: {place} if kind == "linear" else set())
_forgets("The norm keeps its input.",
         list_of=lambda place, kind: set() if kind == "norm" else {place + (kind == "relu")})
_forgets("The ReLU at the end keeps its output, too, although no layer after it takes it in.",
         list_of=lambda place, kind: set() if kind == "relu" else {place})
_forgets("Nothing is kept before the first layer that has weights and learns: an entry that is not frozen "
         "and has no weights either needs no gradient.",
         passes=lambda place, frozen, weights: place >= frozen)
_forgets("The biases of the linear layers are missing: one number for each output.", bias=0)
_forgets("A norm has two numbers for each input, a gain and a bias.", norm=1)
_forgets("AdamW keeps two numbers for every weight that learns, a mean of its gradient and one of the "
         "square; you count one.", moments=1)
_forgets("These are numbers, not bytes: in float32 each takes 4.", size=1)
_forgets("These are megabytes; bytes are wanted.", size=4e-6)
_forgets("The moments are two numbers for each weight that learns; its gradient has an entry of its own.",
         moments=3)
_forgets("GELU keeps its input alone; what it puts out is kept by a layer that takes it in, if by any.",
         list_of=lambda place, kind: {place, place + 1} if kind == "gelu" else {place + (kind == "relu")})
_forgets("A norm keeps its input alone; what it puts out is kept by a layer that takes it in, if by any.",
         list_of=lambda place, kind: {place, place + 1} if kind == "norm" else {place + (kind == "relu")})
_forgets("A linear layer keeps its input alone; what it puts out is kept by whoever takes it in, if so.",
         list_of=lambda place, kind: {place, place + 1} if kind == "linear" else {place + (kind == "relu")})
_forgets("A ReLU keeps its output alone: it says where the slope is 0.",
         list_of=lambda place, kind: {place, place + 1} if kind == "relu" else {place})
_forgets("GELU keeps its input and ReLU its output; you exchange the two.",
         list_of=lambda place, kind: {place + (kind == "gelu")})
_forgets("These are numbers of 8 bytes; a float32 takes 4.", size=8)
_forgets("These are bits; bytes are wanted.", size=32)
_forgets("These are kilobytes; bytes are wanted.", size=4e-3)
_forgets("A linear layer keeps its input: the gradient of its weight is input × incoming gradient.",
         list_of=lambda place, kind: set() if kind == "linear" else {place + (kind == "relu")})


def _passed(layers, frozen):
    """(place, kind, inputs, outputs) of the first layer that learns and of all above it."""
    weighty = [place for place, (kind, *_) in enumerate(layers)
               if kind in ("linear", "norm") and place >= frozen]
    return [(place, *layers[place]) for place in range(*weighty[:1], len(layers))] if weighty else []


def _activations(layers, rows, frozen, of):
    """The right plan, save that ``of(_passed(layers, frozen))`` counts the bytes that a row keeps."""
    return _plan(layers, rows, frozen) | {"activations": rows * of(_passed(layers, frozen))}


def _kept(passed):
    """{number of a tensor that is kept: its width}"""
    return dict((place + 1, o) if kind == "relu" else (place, i) for place, kind, i, o in passed)


for _sentence, _of in (
    ("The first layer that learns keeps its input, too: the gradient of its weight needs it.",
     lambda passed: 4 * sum(_kept(passed[1:]).values())),
    ("A norm learns, too: what is kept begins with it, and not with the first linear layer.",
     lambda passed: 4 * sum(_kept([*dropwhile(lambda one: one[1] != "linear", passed)]).values())),
    ("Two tensors of one width are still two: tell them apart by their place in the chain.",
     lambda passed: 4 * sum(set(_kept(passed).values()))),
    ("What has no weights keeps something as well, once a gradient passes: GELU its input, ReLU its output.",
     lambda passed: 4 * sum(i for _, kind, i, _ in passed if kind in ("linear", "norm"))),
    ("All of them lie in memory at the same time: add them up; you take the largest.",
     lambda passed: 4 * max([0, *_kept(passed).values()])),
    ("What the chain puts out at its end is not kept by a layer of it, unless that layer is a ReLU.",
     lambda passed: 4 * sum((_kept(passed) | {k + 1: o for k, _, _, o in passed[-1:]}).values())),
    ("Activations are float32 as well: 4 bytes for each number.",
     lambda passed: 2 * sum(_kept(passed).values())),
    ("Activations are twice too many: each counts once, and its gradient is let go on the way.",
     lambda passed: 8 * sum(_kept(passed).values())),
    ("A ReLU keeps its output, in float32, and no mask of one byte for each number.",
     lambda passed: sum(o if kind == "relu" else 4 * i for _, kind, i, o in passed)),
):
    memory_plan.mistake(_sentence)(
        lambda layers, rows, frozen, of=_of: _activations(layers, rows, frozen, of))
_forgets("The bias of a linear layer has one number for each *output*.", bias=None)
_forgets("A norm has a gain and a bias for each input, and no matrix.", norm=None)
_forgets("A norm has weights as well, a gain and a bias for each input, and it learns them.", norm=0)
for _name in ("weights", "gradients", "moments", "activations"):
    memory_plan.mistake(f"The entry {_name!r} is in numbers, and in bytes each takes 4.")(
        lambda *given, name=_name: _entries(*given, **{name: lambda found: found[name] / 4}))
memory_plan.mistake("All that is kept lies in memory at once: add it up; you take the widest layer.")(
    lambda layers, rows, frozen: _plan(layers, rows, frozen) | {
        "activations": 4 * rows * max(layers[0][1], *(outputs for *_, outputs in layers))})
memory_plan.mistake("The rows that go in are kept by the first layer, and only if it learns; you count them "
                    "always.")(
    lambda layers, rows, frozen: _plan(layers, rows, frozen) | {
        "activations": 4 * rows * sum((_kept(_passed(layers, frozen)) | {0: layers[0][1]}).values())})
memory_plan.mistake("`gradients` are those of the weights; those of the activations are let go on the way.")(
    lambda *given: _entries(*given, gradients=lambda found: found["gradients"] + found["activations"]))
memory_plan.mistake("AdamW has moments only for what learns: frozen layers have none.")(
    lambda *given: _entries(*given, moments=lambda found: 2 * found["weights"]))
memory_plan.mistake("Frozen layers have no gradients.")(
    lambda *given: _entries(*given, gradients=lambda found: found["weights"]))
memory_plan.mistake("Frozen layers have weights, too, and lie in memory: `weights` counts all of them.")(
    lambda *given: _entries(*given, weights=lambda found: found["gradients"]))
for _name in ("weights", "gradients", "moments"):
    for _sentence, _factor in (("float32 as well: 4 bytes for each number.", lambda rows: 0.5),
                               ("there once, however many rows the batch has.", lambda rows: rows)):
        memory_plan.mistake(f"The {_name} are {_sentence}")(
            lambda layers, rows, frozen, name=_name, factor=_factor: _entries(
                layers, rows, frozen, **{name: lambda found: found[name] * factor(rows)}))
memory_plan.mistake("Only activations grow with the batch; the other three do not depend on it.")(
    lambda layers, rows, frozen: {name: n * (1 if name == "activations" else rows)
                                  for name, n in _plan(layers, rows, frozen).items()})
memory_plan.mistake("The frozen layers keep nothing, and those above them do; you count the frozen ones.")(
    lambda layers, rows, frozen: _plan(layers, rows, frozen) | {
        "activations": 4 * rows * sum(i for _, i, _ in layers[:frozen])})
for _sentence, _count in (
    ("`frozen` says how many entries do not learn; you freeze one more.", lambda frozen, layers: frozen + 1),
    ("`frozen` says how many entries do not learn; you freeze one fewer.",
     lambda frozen, layers: max(0, frozen - 1)),
    ("The *first* entries do not learn; you count from the other end.",
     lambda frozen, layers: len(layers) - frozen),
):
    memory_plan.mistake(_sentence)(
        lambda layers, rows, frozen, count=_count: _plan(layers, rows, count(frozen, layers)))
memory_plan.mistake("The *first* entries of the list do not learn; you freeze the last ones.")(
    lambda layers, rows, frozen: _plan(
        layers, rows, frozen, own=lambda place, frozen: place < len(layers) - frozen,
        passes=lambda place, frozen, weights: weights > 0 and place < len(layers) - frozen))
for _name in ("weights", "gradients", "moments", "activations"):
    memory_plan.mistake(f"The entry {_name!r} is missing; the dict has four.")(
        lambda *given, left=_name: {name: n for name, n in _plan(*given).items() if name != left})


@memory_plan.mistake("These are the activations of one row; every row of the batch keeps its own.")
def _(layers, rows, frozen):
    return _plan(layers, 1, frozen)


@memory_plan.mistake("`frozen` counts layers of the whole list, those without weights as well; you count "
                     "the layers that have weights.")
def _(layers, rows, frozen):
    weighty = [place for place, (kind, _, _) in enumerate(layers) if kind in ("linear", "norm")]
    return _plan(layers, rows, (weighty + [len(layers)] * len(layers))[frozen])


# A step in parts


def _again(answer, *args):
    """What a second call returns: the first one must not have left a gradient in the weight."""
    answer(*args)
    return answer(*args)


# clip_grad_norm_ adds 1e-6 to the norm before it divides.
@exercise("13.2", "A step in parts", minutes=15, points=3, difficulty=3, rtol=1e-5, atol=1e-6, call=_again)
def accumulated_step(weight, xs, ys, learning_rate, clip):
    w = weight.detach().clone().requires_grad_()
    rows = sum(len(y) for y in ys)
    for x, y in zip(xs, ys, strict=True):
        loss = cross_entropy(x @ w, y) * len(y) / rows
        loss.backward()
    gradient = w.grad * min(1.0, clip / float(w.grad.norm()))
    return weight.detach() - learning_rate * gradient


def _part(weight, x, y):
    weight = weight.detach().clone().requires_grad_()
    return torch.autograd.grad(cross_entropy(x @ weight, y), weight)[0]


def _clipped(gradient, clip):
    return gradient * min(1.0, clip / float(gradient.norm()))


def _step(weight, xs, ys, learning_rate, clip, scale=lambda g, n, rows, parts: g * n / rows,
          each=lambda g, clip: g, whole=_clipped):
    rows, total = sum(len(y) for y in ys), torch.zeros_like(weight)
    for x, y in zip(xs, ys, strict=True):
        total = total + scale(each(_part(weight, x, y), clip), len(y), rows, len(xs))
    return weight.detach() - learning_rate * whole(total, clip)


@accumulated_step.cases
def _(draw):
    def parts(sizes, inputs, classes, loud=1.0):
        return [loud * draw.normal(n, inputs) for n in sizes], [draw.integers(classes, n) for n in sizes]

    yield case(draw.normal(4, 3), *parts((5, 2, 1), 4, 3), 0.1, 100.0,
               about="parts of 5, 2 and 1 rows and a gradient below the limit")
    yield case(draw.normal(4, 3), *parts((6, 3), 4, 3, loud=20.0), 0.5, 1.0,
               about="parts of 6 and 3 rows and a gradient above the limit")
    yield case(draw.normal(3, 2), *parts((4, 4, 4), 3, 2), 0.1, 0.01, about="equal parts")
    yield case(draw.normal(2, 5), *parts((7,), 2, 5), 1.0, 10.0, about="one part")
    for loud, of_norm, about in ((20.0, 1.2, "one part with a long gradient, just below the limit"),
                                 (0.1, 0.8, "one part with a short gradient, just above the limit")):
        weight, (xs, ys) = draw.normal(4, 3), parts((6,), 4, 3, loud)
        gradient = weight - _step(weight, xs, ys, 1.0, math.inf)
        yield case(weight, xs, ys, 0.1, of_norm * float(gradient.norm()), about=about)


def _slip(sentence, **how):
    accumulated_step.mistake(sentence)(lambda w, xs, ys, rate, clip: _step(w, xs, ys, rate, clip, **how))


_slip("You average the parts' means: a row of a short part then counts more than a row of a long one.",
      scale=lambda g, n, rows, parts: g / parts)
_slip("You add up the parts' means without weighing them: the step grows with the number of parts.",
      scale=lambda g, n, rows, parts: g)
_slip("This is the gradient of the sum over rows; divide by the number of all rows.",
      scale=lambda g, n, rows, parts: g * n)
_slip("The share of a part belongs to the *mean* loss of its rows; you weigh their sum.",
      scale=lambda g, n, rows, parts: g * n * n / rows)
_slip("`weight` keeps the gradient of one call, and the next call adds to it: take the gradient on a copy.",
      scale=lambda g, n, rows, parts: 2 * g * n / rows)
_slip("The share of a part is its rows over all rows; yours is upside down.",
      scale=lambda g, n, rows, parts: g * rows / n)
_slip("You clip every part; clip the gradient of the whole batch, once, after adding up.",
      each=_clipped, whole=lambda g, clip: g)
_slip("The gradient is not clipped: where its norm exceeds the limit, scale it down to the limit.",
      whole=lambda g, clip: g)
_slip("The share of a part divides already; you divide by the number of parts as well.",
      scale=lambda g, n, rows, parts: g * n / rows / parts)
_slip("The mean is one over rows: divide the sum by their number, not by that of the parts.",
      scale=lambda g, n, rows, parts: g * n / parts)
_slip("The mean is one over rows: count those of `ys`; you count the inputs of `xs`.",
      scale=lambda g, n, rows, parts: g * n / (parts * g.shape[0]))
_slip("The mean is one over rows; you divide by the number of classes as well.",
      scale=lambda g, n, rows, parts: g * n / rows / g.shape[1])
_slip("The norm is the root of the sum of squares; you add up absolute values.",
      whole=lambda g, clip: g * min(1.0, clip / float(g.abs().sum())))
_slip("A gradient that is too long is scaled down to the limit; you leave the step out.",
      whole=lambda g, clip: g if float(g.norm()) <= clip else 0 * g)
_slip("The factor is limit / norm, and at most 1; yours is upside down.",
      whole=lambda g, clip: g * min(1.0, float(g.norm()) / clip))
_slip("You clip every entry by itself, which changes the direction; scale the whole gradient by one number.",
      whole=lambda g, clip: g.clamp(-clip, clip))
for _dim in (0, 1):
    _slip("There is one norm, over all entries of the gradient; you clip its rows or columns one by one.",
          whole=lambda g, clip, dim=_dim: g * (clip / g.norm(dim=dim, keepdim=True)).clamp(max=1))
_slip("You bring every gradient to the length of the limit; one that is shorter stays as it is.",
      whole=lambda g, clip: g * clip / float(g.norm()))
_slip("You scale up what is too short and leave what is too long: the factor is the smaller of 1 and "
      "limit / norm.", whole=lambda g, clip: g * max(1.0, clip / float(g.norm())))
_slip("You walk up the gradient: subtract it.", whole=lambda g, clip: -_clipped(g, clip))
_slip("The limit holds for the norm of the gradient, the root of the sum of squares; you forgot the root.",
      whole=lambda g, clip: g * min(1.0, clip / float(g.square().sum())))
_slip("The limit holds for the norm of the gradient, not for its largest entry.",
      whole=lambda g, clip: g * min(1.0, clip / float(g.abs().max())))


@accumulated_step.mistake("You clip every part; clip the gradient of the whole batch, once, after adding up.")
def _(weight, xs, ys, learning_rate, clip):
    rows = sum(len(y) for y in ys)
    each = [_part(weight, x, y) * len(y) / rows for x, y in zip(xs, ys, strict=True)]
    return weight - learning_rate * sum(_clipped(gradient, clip) for gradient in each)


def _steps(weight, xs, ys, learning_rate, clip, share_of):
    rows = sum(len(y) for y in ys)
    for x, y in zip(xs, ys, strict=True):
        gradient = _part(weight, x, y) * share_of(len(y), rows)
        weight = weight - learning_rate * _clipped(gradient, clip)
    return weight


for _share_of in (lambda n, rows: 1.0, lambda n, rows: n / rows):
    accumulated_step.mistake(
        "You take a step after every part; add the gradients up first, and take one step."
    )(lambda *given, share_of=_share_of: _steps(*given, share_of))


@accumulated_step.mistake("You clip before you divide by the number of rows: it is the mean that is clipped.")
def _(weight, xs, ys, learning_rate, clip):
    rows = sum(len(y) for y in ys)
    total = sum(_part(weight, x, y) * len(y) for x, y in zip(xs, ys, strict=True))
    return weight - learning_rate * _clipped(total, clip) / rows


@accumulated_step.mistake("The last part is missing in the sum.")
def _(weight, xs, ys, learning_rate, clip):
    rows = sum(len(y) for y in ys)
    each = [_part(weight, x, y) * len(y) / rows for x, y in zip(xs[:-1], ys[:-1], strict=True)]
    return weight - learning_rate * _clipped(sum(each, torch.zeros_like(weight)), clip)


@accumulated_step.mistake("The rate is used as it is, however many parts there are.")
def _(weight, xs, ys, learning_rate, clip):
    return _step(weight, xs, ys, learning_rate / len(xs), clip)


@accumulated_step.mistake("The rate is used as it is, however many parts there are.")
def _(weight, xs, ys, learning_rate, clip):
    return _step(weight, xs, ys, learning_rate * len(xs), clip)


@accumulated_step.mistake("The limit holds for the gradient; you clip the new weight.")
def _(weight, xs, ys, learning_rate, clip):
    return _clipped(_step(weight, xs, ys, learning_rate, math.inf), clip)


@accumulated_step.mistake("You clip what is there after every part; clip once, after the last one.")
def _(weight, xs, ys, learning_rate, clip):
    rows, total = sum(len(y) for y in ys), torch.zeros_like(weight)
    for x, y in zip(xs, ys, strict=True):
        total = _clipped(total + _part(weight, x, y) * len(y) / rows, clip)
    return weight - learning_rate * total


for _sentence, _norm in (
    ("The norm is the root of the *sum* of squares; you take their mean.",
     lambda g: float(g.square().mean().sqrt())),
    ("The norm is the root of the sum of all squares; you take the largest singular value.",
     lambda g: float(torch.linalg.matrix_norm(g, 2))),
    ("There is one norm, over all entries; you take the largest of its columns.",
     lambda g: float(g.norm(dim=0).max())),
    ("There is one norm, over all entries; you take the largest of its rows.",
     lambda g: float(g.norm(dim=1).max())),
):
    _slip(_sentence, whole=lambda g, clip, norm=_norm: g * min(1.0, clip / norm(g)))
_slip("The norm is compared with the limit; you compare its square.",
      whole=lambda g, clip: g * clip / float(g.norm()) if float(g.norm()) ** 2 > clip else g)
_slip("The factor is limit / norm where that is below 1; you divide by the larger of the two.",
      whole=lambda g, clip: g / max(clip, float(g.norm())))
_slip("What is too long is scaled to the limit, not to length 1.",
      whole=lambda g, clip: g / float(g.norm()) if float(g.norm()) > clip else g)
_slip("The share of a part is its rows over all rows; you take the root of it.",
      scale=lambda g, n, rows, parts: g * math.sqrt(n / rows))


@accumulated_step.mistake("It is the norm of the sum that is limited; you add up the norms of the parts.")
def _(weight, xs, ys, learning_rate, clip):
    rows = sum(len(y) for y in ys)
    each = [_part(weight, x, y) * len(y) / rows for x, y in zip(xs, ys, strict=True)]
    return weight - learning_rate * sum(each) * min(1.0, clip / sum(float(g.norm()) for g in each))


@accumulated_step.mistake("Only the first part counts in what you return; the gradient is that of all rows.")
def _(weight, xs, ys, learning_rate, clip):
    return weight - learning_rate * _clipped(_part(weight, xs[0], ys[0]), clip)


@accumulated_step.mistake("The step is subtracted from the weight, and does not multiply it.")
def _(weight, xs, ys, learning_rate, clip):
    return weight * (1 + _step(weight, xs, ys, learning_rate, clip) - weight)


for _which in (0, -1):
    @accumulated_step.mistake("Parts differ in size: add up their rows instead of taking one part for all.")
    def _(weight, xs, ys, learning_rate, clip, which=_which):
        return _step(weight, xs, ys, learning_rate, clip, scale=lambda g, n, rows, parts: (
            g * n / (parts * len(ys[which]))))


def _of_another_loss(weight, xs, ys, learning_rate, clip, loss):
    w = weight.detach().clone().requires_grad_()
    gradient = torch.autograd.grad(loss(torch.cat(xs) @ w, torch.cat(ys)), w)[0]
    return weight - learning_rate * _clipped(gradient, clip)


for _sentence, _loss in (
    ("`cross_entropy` takes logits and has the softmax in it; you apply it a second time.",
     lambda logits, y: cross_entropy(logits.softmax(1), y)),
    ("The loss is cross-entropy; you take squared errors.",
     lambda logits, y: (logits.softmax(1) - one_hot(y, logits.shape[1])).square().mean()),
    ("The loss is cross-entropy; you take squared errors.",
     lambda logits, y: (logits - one_hot(y, logits.shape[1])).square().mean()),
    ("The loss is cross-entropy; you take squared errors.",
     lambda logits, y: (logits.softmax(1) - one_hot(y, logits.shape[1])).square().sum(1).mean()),
    ("The loss is cross-entropy; you take squared errors.",
     lambda logits, y: (logits - one_hot(y, logits.shape[1])).square().sum(1).mean()),
    ("The classes exclude each other: one softmax over them, not a yes or no for each.",
     lambda logits, y: binary_cross_entropy_with_logits(logits, one_hot(y, logits.shape[1]).to(logits))),
):
    accumulated_step.mistake(_sentence)(lambda *given, loss=_loss: _of_another_loss(*given, loss))


@accumulated_step.mistake("The limit holds for the norm of the gradient, not of the weight.")
def _(weight, xs, ys, learning_rate, clip):
    gradient = weight - _step(weight, xs, ys, 1.0, math.inf)
    return weight - learning_rate * gradient * min(1.0, clip / float(weight.norm()))


for _sign in (1, -1):
    accumulated_step.mistake("This is the step alone; the weight after the step is wanted.")(
        lambda weight, *given, sign=_sign: sign * (_step(weight, *given) - weight))


@accumulated_step.mistake("This is the gradient; the weight after the step is wanted.")
def _(weight, xs, ys, learning_rate, clip):
    return weight - _step(weight, xs, ys, 1.0, clip)


@accumulated_step.mistake("Only the gradient of the last part is left: do not clear it between parts.")
def _(weight, xs, ys, learning_rate, clip):
    share = len(ys[-1]) / sum(len(y) for y in ys)
    return weight - learning_rate * _clipped(_part(weight, xs[-1], ys[-1]) * share, clip)


@accumulated_step.mistake("You clip the step, not the gradient: the limit comes before the learning rate.")
def _(weight, xs, ys, learning_rate, clip):
    moved = weight - _step(weight, xs, ys, learning_rate, clip, whole=lambda g, clip: g)
    return weight - _clipped(moved, clip)


# The schedule


def _shares(answer, asked, steps, warmup):
    return [answer(step, steps, warmup) for step in asked]


@exercise("13.8", "A schedule that survives its edges", minutes=10, points=2, difficulty=2, call=_shares)
def share(step, steps, warmup):
    if step >= steps:
        return 0.0
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


@share.cases
def _(draw):
    def lengths(about):
        start, rest = 20 + int(draw.integers(2000)), 200 + int(draw.integers(2000))
        end = start + rest
        asked = [0, start - 1, start, start + 1, start + rest // 3, end - 2, end + rest // 2]
        return case(asked, end, start, about=about)

    yield case([0, 1, 5, 9, 10, 11, 37, 55, 99], 100, 10, about="100 steps, 10 of them warm-up")
    yield case([0, 1, 2, 6], 7, 0, about="no warm-up")
    yield case([0, 3, 7], 8, 8, about="nothing but warm-up")
    yield case([0, 3], 4, 9, about="a run that ends within its warm-up")
    yield case([8, 9, 20], 8, 8, about="steps after a run that is nothing but warm-up")
    yield case([9, 10, 12, 19, 20, 25], 10, 20, about="steps after a run that ended within its warm-up")
    yield case([0], 1, 0, about="a run of one step")
    yield case([8, 9, 12, 30], 8, 2, about="steps after the last")
    yield lengths("other lengths")
    yield lengths("other lengths again")


def _share(step, steps, warmup, first=1, rise=None, end=lambda t, n, w: t >= n, fall=None):
    if end(step, steps, warmup):
        return 0.0
    if step < warmup:
        return rise(step, steps, warmup) if rise else (step + first) / max(1, warmup)
    done = (step - warmup) / max(1, steps - warmup)
    return fall(step, steps, warmup, done) if fall else 0.5 * (1 + math.cos(math.pi * done))


def _off(sentence, **how):
    share.mistake(sentence)(lambda step, steps, warmup: _share(step, steps, warmup, **how))


_off("At step 0 the share is 0, and the first batch is computed for nothing: count step + 1 in the warm-up.",
     first=0)
_off("After the last step the rate must be 0; a cosine that goes on rises again.",
     end=lambda t, n, w: False)
_off("A run can end within its warm-up: ask whether it is over before you ask whether it warms up.",
     end=lambda t, n, w: t >= max(n, w))
_off("The cosine begins where the warm-up ends: count the steps since then, out of those that are left.",
     fall=lambda t, n, w, done: 0.5 * (1 + math.cos(math.pi * t / n)))
_off("You divide the steps since the warm-up by all steps; divide by those that are left after it.",
     fall=lambda t, n, w, done: 0.5 * (1 + math.cos(math.pi * (t - w) / n)))
_off("The half is missing: at the peak the share must be 1, and 1 + cos 0 is 2.",
     fall=lambda t, n, w, done: 1 + math.cos(math.pi * done))
_off("That is a whole wave, down and up again; the rate should end at 0: half a wave, π and not 2π.",
     fall=lambda t, n, w, done: 0.5 * (1 + math.cos(2 * math.pi * done)))
_off("That is a quarter of a wave: cos falls from 1 to 0, but the fall wanted begins as gently as it ends.",
     fall=lambda t, n, w, done: math.cos(math.pi / 2 * done))
_off("π is missing: cos 1 is 0.54, and the rate never reaches 0.",
     fall=lambda t, n, w, done: 0.5 * (1 + math.cos(done)))
_off("After the warm-up you go down in a straight line; a cosine is wanted.",
     fall=lambda t, n, w, done: 1 - done)
_off("The cosine goes up: at the end of the warm-up the share is 1, and it falls from there.",
     fall=lambda t, n, w, done: 0.5 * (1 - math.cos(math.pi * done)))
_off("The last step has the share 0 and is computed for nothing: the fall takes steps - warmup steps.",
     fall=lambda t, n, w, done: 0.5 * (1 + math.cos(math.pi * (t - w) / max(1, n - w - 1))))
_off("The warm-up begins above 0, at 1 / warmup; yours goes from 0 to 1 within warmup - 1 steps.",
     rise=lambda t, n, w: t / (w - 1) if w > 1 else 1.0)
_off("The warm-up rises over warmup steps, not over all of them.",
     rise=lambda t, n, w: (t + 1) / n)
for _cut in (0, 1):
    share.mistake("You shorten a warm-up that is as long as the run: it keeps its slope and is cut off.")(
        lambda step, steps, warmup, cut=_cut: _share(step, steps, min(warmup, steps - cut)))
_off("You multiply the warm-up by a cosine that began with the run; one comes after the other.",
     rise=lambda t, n, w: (t + 1) / w * 0.5 * (1 + math.cos(math.pi * t / n)),
     fall=lambda t, n, w, done: 0.5 * (1 + math.cos(math.pi * t / n)))
_off("You multiply the warm-up by a cosine that began with the run; one comes after the other.",
     rise=lambda t, n, w: (t + 1) / w * 0.5 * (1 + math.cos(math.pi * t / n)))
share.mistake("A warm-up that is as long as the run, or longer, fills the run; you leave it out.")(
    lambda step, steps, warmup: _share(step, steps, warmup if warmup < steps else 0))
share.mistake("A warm-up that is as long as the run, or longer, fills the run; you return 0 there.")(
    lambda step, steps, warmup: _share(step, steps, warmup) if warmup < steps else 0.0)
_off("The fall is one step ahead: at step `warmup` the share is still 1.",
     fall=lambda t, n, w, done: 0.5 * (1 + math.cos(math.pi * (t - w + 1) / max(1, n - w))))
for _left in (0, 1):
    _off("At step `warmup` the share is 1, and at step `steps` it would be 0: steps - warmup steps, and no 1 "
         "to add.",
         fall=lambda t, n, w, done, left=_left: 0.5 * (1 + math.cos(math.pi * (t - w + left) / (n - w + 1))))
share.mistake("A warm-up that is as long as the run, or longer, fills the run; you begin at the peak.")(
    lambda step, steps, warmup: _share(step, steps, warmup) if warmup < steps else float(step < steps))
_off("A run that ends with its warm-up has no fall: ask whether it is over before all else.",
     end=lambda t, n, w: False,
     fall=lambda t, n, w, done: 0.5 * (1 + math.cos(math.pi * min(1, done))))
_off("After the warm-up the share falls; yours stays at 1.", end=lambda t, n, w: t >= max(n, w),
     fall=lambda t, n, w, done: 1.0)
_off("`math.cos` takes radians: half a wave is π, not 180.",
     fall=lambda t, n, w, done: 0.5 * (1 + math.cos(180 * done)))
_off("The first step after the run is step `steps`: from there on the share is 0, hence step >= steps.",
     end=lambda t, n, w: t > n, rise=lambda t, n, w: (t + 1) / w)
_off("That is a quarter of a wave: it falls at once, and the fall wanted begins as gently as it ends.",
     fall=lambda t, n, w, done: 1 - math.sin(math.pi / 2 * done))
_off("The warm-up is a straight line; yours is bent.", rise=lambda t, n, w: ((t + 1) / w) ** 2)
_off("The share falls to 0; you keep it above a floor.",
     fall=lambda t, n, w, done: max(0.1, 0.5 * (1 + math.cos(math.pi * done))))
_off("The warm-up is a straight line; yours is bent.",
     rise=lambda t, n, w: math.sin(math.pi / 2 * (t + 1) / w))
_off("The warm-up is a straight line; yours is bent.",
     rise=lambda t, n, w: 0.5 * (1 - math.cos(math.pi * (t + 1) / w)))
_off("The warm-up rises: yours falls.", rise=lambda t, n, w: 1 - t / w)
_off("The warm-up ends at 1, in its step `warmup` - 1: divide by warmup, not by warmup + 1.",
     rise=lambda t, n, w: (t + 1) / (w + 1))
for _least in (1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2):
    for _fall in (lambda done, least: max(least, 0.5 * (1 + math.cos(math.pi * done))),
                  lambda done, least: least + (1 - least) * 0.5 * (1 + math.cos(math.pi * done))):
        _off("The share falls to 0; you keep it above a floor.",
             fall=lambda t, n, w, done, least=_least, fall=_fall: fall(done, least))
for _sentence, _fall in (
    ("After the warm-up the share falls; yours stays at 1.", lambda done: 1.0),
    ("The half belongs to the whole sum, 1 + cos.", lambda done: 1 + 0.5 * math.cos(math.pi * done)),
    ("The half belongs to the whole sum, 1 + cos.", lambda done: 0.5 + math.cos(math.pi * done)),
    ("The fall is half of 1 + cos; you square it.", lambda done: math.cos(math.pi / 2 * done) ** 4),
    ("The fall is half of 1 + cos; you take the root of what is left.", lambda done: math.sqrt(1 - done)),
    ("The fall is half of 1 + cos; you square what is left.", lambda done: (1 - done) ** 2),
    ("The fall is half of 1 + cos, not the size of a cosine.", lambda done: abs(math.cos(math.pi * done))),
    ("The fall is half of 1 + cos; yours is exponential.", lambda done: math.exp(-5 * done)),
    ("The fall is half of 1 + cos; yours is exponential.", lambda done: math.exp(-done)),
    ("The fall is half of 1 + cos; yours is exponential.", lambda done: 0.01**done),
    ("The cosine goes up, from 0 to 2: at the end of the warm-up the share is 1, and it falls from there.",
     lambda done: 1 - math.cos(math.pi * done)),
    ("π is missing: cos 1 is 0.54, and the rate never reaches 0.", math.cos),
    ("The fall is smooth; yours jumps.", lambda done: 1.0 if done < 0.5 else 0.1),
):
    _off(_sentence, fall=lambda t, n, w, done, fall=_fall: fall(done))
_off("The warm-up takes `warmup` steps; yours is over after half of them.",
     rise=lambda t, n, w: min(1.0, 2 * (t + 1) / w))
share.mistake("Without a warm-up the fall begins at step 0; you let one step pass.")(
    lambda step, steps, warmup: _share(step, steps, max(1, warmup)))
share.mistake("Warm-up and fall come one after the other; you take the smaller of the two.")(
    lambda step, steps, warmup: 0.0 if step >= steps else min(
        (step + 1) / max(1, warmup), 0.5 * (1 + math.cos(math.pi * step / steps))))
for _digits in (2, 3, 4):
    share.mistake("Give the share as it is, not rounded.")(
        lambda *given, digits=_digits: round(_share(*given), digits))
_off("Divide the warm-up's steps by warmup alone.", rise=lambda t, n, w: (t + 1) / n * w)
share.mistake("After the last step the share is 0; yours is 1.")(
    lambda step, steps, warmup: 1.0 if step >= steps else _share(step, steps, warmup))
share.mistake("After the last step the share stays 0; yours begins anew.")(
    lambda step, steps, warmup: _share(step % steps, steps, warmup))
_off("The last step of the run is step `steps` - 1, and its share is above 0: over is step >= steps.",
     end=lambda t, n, w: t >= n - 1)
_off("cos falls from 1 to -1; half of 1 + cos falls from 1 to 0. You cut off what is below 0.",
     fall=lambda t, n, w, done: max(0.0, math.cos(math.pi * done)))
_off("The warm-up is a part of the `steps`; you add it to them.", end=lambda t, n, w: t >= n + w,
     fall=lambda t, n, w, done: 0.5 * (1 + math.cos(math.pi * (t - w) / n)))
share.mistake("After the run the share is 0; you keep that of its last step.")(
    lambda step, steps, warmup: _share(min(step, steps - 1), steps, warmup))
for _counted in (lambda steps, warmup: int(steps * warmup / 100), lambda steps, warmup: steps * warmup / 100,
                 lambda steps, warmup: steps * warmup):
    share.mistake("`warmup` is a number of steps, not a share of them.")(
        lambda step, steps, warmup, counted=_counted: _share(
            step, steps, counted(steps, warmup), rise=lambda t, n, w: (t + 1) / w))
_off("There is no warm-up: below it the share rises in a line.", rise=lambda t, n, w: 1.0)


# Who learns how fast


@exercise("13.7", "Who learns how fast", minutes=15, points=3, difficulty=3,
          names=("the dict of rates", "the dict of decays"))
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


@parameter_groups.cases
def _(draw):
    def size():
        return 8 + int(draw.integers(900))

    def number():
        return round(float(draw.uniform(1, low=1.1, high=9.9)), 2)

    def fusion(branches, about, layer_decay):
        h, w, n = size(), size(), 2 + int(draw.integers(9))
        found = {
            "text_encoder.embeddings.word_embeddings.weight": ("text", 0, (99, h)),
            "text_encoder.embeddings.LayerNorm.weight": ("text", 0, (h,)),
            f"text_encoder.layer.{n - 1}.output.dense.weight": ("text", n, (h, 4 * h)),
            f"text_encoder.layer.{n - 1}.output.dense.bias": ("text", n, (h,)),
            f"text_encoder.layer.{n}.attention.relative_bias.weight": ("text", n + 1, (32, 12)),
            "text_encoder.final_norm.weight": ("text", n + 2, (h,)),
            "text_encoder.embeddings.position_embeddings.weight": ("text", 0, (64, h)),
            "image_encoder.trunk.0.weight": ("image", 0, (w, 3, 7, 7)),
            "image_encoder.trunk.1.weight": ("image", 0, (w,)),
            "image_encoder.trunk.7.0.conv1.weight": ("image", 4, (2 * w, w, 3, 3)),
            "image_encoder.trunk.7.0.bn1.bias": ("image", 4, (2 * w,)),
            "image_encoder.trunk.4.0.bn1.weight": ("image", 1, (w,)),
            "head.temperature": ("head", 0, ()),
            "head.0.weight": ("head", 0, (2, h)),
            "head.0.bias": ("head", 0, (2,)),
            "head.2.weight": ("head", 1, (2, 2)),
            "head.gate.weight": ("head", 0, (h, 1)),
            "head.1.bias": ("head", 0, (2,)),
        }
        peaks = {"text": number() * 1e-5, "image": number() * 1e-4, "head": number() * 1e-3}
        rates = {name: peaks[name] for name in branches}
        return case(found, rates, layer_decay, number() * 0.01, about=about)

    everything = ("text", "image", "head")
    yield fusion(everything, "BERT, ResNet and a head, layer_decay 1", 1.0)
    yield fusion(("image", "head"), "a text branch that is frozen", 0.8)
    yield fusion(("text", "head"), "an image branch that is frozen", 0.5)
    yield fusion(everything, "layer_decay 0.9", 0.9)


def _groups(parameters, rates, layer_decay, weight_decay, decays=lambda name, shape: len(shape) > 1,
            below=lambda top, depth, every: top - depth, left=lambda branch, rates: branch in rates,
            rate=lambda rates, branch: rates[branch], turned=False, counts=lambda branch, rates: 1.0,
            fewest=0):
    tops, rate_of, decay_of = {}, {}, {}
    for branch, depth, shape in parameters.values():
        tops[branch] = max(tops.get(branch, 0), depth if len(shape) >= fewest else 0)
    for name, (branch, depth, shape) in parameters.items():
        if left(branch, rates):
            exponent = below(tops[branch], depth, max(tops.values()))
            rate_of[name] = rate(rates, branch) * layer_decay**exponent if branch in rates else 0.0
            decay_of[name] = weight_decay * counts(branch, rates) if decays(name, shape) else 0.0
    return (decay_of, rate_of) if turned else (rate_of, decay_of)


def _mixed_up(sentence, **how):
    parameter_groups.mistake(sentence)(lambda *given: _groups(*given, **how))


_mixed_up("The two dicts are in the wrong order: first the rates, then the decays.", turned=True)
for _decay in (lambda branch, rates: 1.0, lambda branch, rates: float(branch in rates)):
    _mixed_up("A branch without a rate is frozen: its parameters are in neither dict.",
              left=lambda branch, rates: True, counts=_decay)
_mixed_up("The layer next to the head has the whole rate, and the factor is for those below it: the exponent "
          "is top - depth, not depth.", below=lambda top, depth, every: depth)
_mixed_up("Each branch has a top of its own; you count from the deepest layer of all branches.",
          below=lambda top, depth, every: every - depth)
_mixed_up("The top of a branch is the deepest layer that any of its parameters has, a vector as well; you "
          "look at matrices only.", fewest=2)
parameter_groups.mistake("Each branch has a top of its own; you count from the top of all that learn.")(
    lambda parameters, rates, *factors: _groups(
        {name: given for name, given in parameters.items() if given[0] in rates}, rates, *factors,
        below=lambda top, depth, every: every - depth))
_mixed_up("One layer below the top gets the factor once: the exponent is top - depth, and you have one more.",
          below=lambda top, depth, every: top - depth + 1)
_mixed_up("Every layer gets the factor once more than the one above it; you give it once to all of them.",
          below=lambda top, depth, every: min(1, top - depth))
_mixed_up("`layer_decay` is missing: the rate falls from the top of an encoder to its bottom.",
          below=lambda top, depth, every: 0)
_mixed_up("Every parameter has the rate of its own branch; you give all of them the same.",
          rate=lambda rates, branch: next(iter(rates.values())))
_mixed_up("Nothing is spared: gains and biases, with fewer than two dimensions, do not decay.",
          decays=lambda name, shape: True)
_mixed_up("It is the other way round: what has two or more dimensions decays, the rest does not.",
          decays=lambda name, shape: len(shape) <= 1)
for _spared in (lambda name: "bias" in name, lambda name: name.endswith("bias")):
    _mixed_up("You spare biases only, by their name; the gain of a norm is called weight, and it must not "
              "decay either.", decays=lambda name, shape, spared=_spared: not spared(name))
_mixed_up("You go by names; the norms of a ResNet are called trunk.1.weight, and a table of biases has two "
          "dimensions. Go by the shape.",
          decays=lambda name, shape: "bias" not in name and "LayerNorm" not in name)
_mixed_up("The kernels of convolutions have four dimensions, and they decay as matrices do.",
          decays=lambda name, shape: len(shape) == 2)
_mixed_up("A single number, of shape (), has no dimension at all; it must not decay.",
          decays=lambda name, shape: len(shape) != 1)
_mixed_up("The word embeddings are a matrix, and they decay too.",
          decays=lambda name, shape: len(shape) > 1 and "embedding" not in name)


@parameter_groups.mistake("The exponent is the distance from the top; you count only layers that are there.")
def _(parameters, rates, layer_decay, weight_decay):
    rate_of, decay_of = parameter_groups(parameters, rates, layer_decay, weight_decay)
    for name in rate_of:
        branch, depth, _ = parameters[name]
        above = {d for other, d, _ in parameters.values() if other == branch and d > depth}
        rate_of[name] = rates[branch] * layer_decay ** len(above)
    return rate_of, decay_of


@parameter_groups.mistake("Two layers below the top have the factor squared: a power of it, not a multiple.")
def _(parameters, rates, layer_decay, weight_decay):
    rate_of, decay_of = parameter_groups(parameters, rates, layer_decay, weight_decay)
    for name in rate_of:
        branch, depth, _ = parameters[name]
        below = max(d for other, d, _ in parameters.values() if other == branch) - depth
        rate_of[name] = rates[branch] * (layer_decay * below if below else 1)
    return rate_of, decay_of


_mixed_up("Every parameter has the rate of its own branch; you give all of them the largest.",
          rate=lambda rates, branch: max(rates.values()))
_mixed_up("The exponent is the whole distance from the top; yours is half of it.",
          below=lambda top, depth, every: (top - depth) / 2)
_mixed_up("The head's matrices decay as all others do.",
          decays=lambda name, shape: len(shape) > 1 and not name.startswith("head"))


def _tops(parameters, of):
    """of(list of the depths of a branch, in the order of its parameters) for every branch."""
    depths = {}
    for branch, depth, _ in parameters.values():
        depths.setdefault(branch, []).append(depth)
    return {branch: of(found) for branch, found in depths.items()}


for _sentence, _top in (
    ("The top of a branch is its deepest layer; you take that of its last parameter.", lambda all_: all_[-1]),
    ("The top of a branch is its deepest layer; you take that of its first parameter.", lambda all_: all_[0]),
    ("The top of a branch is its deepest layer; you take how many layers there are.",
     lambda all_: len(set(all_))),
    ("The exponent is the distance from the top; you count only layers that are there.",
     lambda all_: len(set(all_)) - 1),
    ("The top of a branch is its deepest layer; you take how many parameters it has.", len),
):
    @parameter_groups.mistake(_sentence)
    def _(parameters, rates, layer_decay, weight_decay, top=_top):
        tops = _tops(parameters, top)
        return {name: rates[branch] * layer_decay ** (tops[branch] - depth)
                for name, (branch, depth, _) in parameters.items() if branch in rates
                }, parameter_groups(parameters, rates, layer_decay, weight_decay)[1]


@parameter_groups.mistake("Find the deepest layer of each branch first; you compare with the deepest so far.")
def _(parameters, rates, layer_decay, weight_decay):
    top, rate_of = {}, {}
    for name, (branch, depth, _) in parameters.items():
        top[branch] = max(top.get(branch, 0), depth)
        if branch in rates:
            rate_of[name] = rates[branch] * layer_decay ** (top[branch] - depth)
    return rate_of, parameter_groups(parameters, rates, layer_decay, weight_decay)[1]


def _rated(sentence, rate):
    """rate(peak, layer_decay, layers below the top, branch, shape, the top) of a parameter."""
    @parameter_groups.mistake(sentence)
    def _(parameters, rates, layer_decay, weight_decay):
        tops = _tops(parameters, max)
        return {name: rate(rates[branch], layer_decay, tops[branch] - depth, branch, shape, tops[branch])
                for name, (branch, depth, shape) in parameters.items() if branch in rates
                }, parameter_groups(parameters, rates, layer_decay, weight_decay)[1]


_rated("The exponent is the number of layers below the top; yours is a share of the depth.",
       lambda peak, factor, below, branch, shape, top: peak * factor ** (below / top if top else 0))
_rated("One layer below the top has the factor already; you begin one layer later.",
       lambda peak, factor, below, branch, shape, top: peak * factor ** max(0, below - 1))
_rated("The factor enters once for every layer; yours enters twice.",
       lambda peak, factor, below, branch, shape, top: peak * factor ** (2 * below))
_rated("The factor is a power of `layer_decay`; yours falls in a line.",
       lambda peak, factor, below, branch, shape, top: peak * (1 - (1 - factor) * below))
_rated("The factor is a power of `layer_decay`; yours is exponential.",
       lambda peak, factor, below, branch, shape, top: peak * math.exp(-factor * below))
_rated("The head is a branch as the others are: its lower layers have the factor, too.",
       lambda peak, factor, below, branch, shape, top: peak * factor ** (below * (branch != "head")))
_rated("Gains and biases have the rate of their layer; you give them that of the branch.",
       lambda peak, factor, below, branch, shape, top: peak * factor ** (below * (len(shape) > 1)))
_rated("The layer below has the rate *times* `layer_decay`; you divide by it.",
       lambda peak, factor, below, branch, shape, top: peak / factor**below)


@parameter_groups.mistake("Layers are counted, not parameters: all of one depth have one rate.")
def _(parameters, rates, layer_decay, weight_decay):
    of, (rate_of, decay_of) = {}, parameter_groups(parameters, rates, layer_decay, weight_decay)
    for name, (branch, *_) in parameters.items():
        of.setdefault(branch, []).insert(0, name)
    return {name: rates[branch] * layer_decay ** of[branch].index(name)
            for name, (branch, *_) in parameters.items() if name in rate_of}, decay_of


@parameter_groups.mistake("Layers are counted, not parameters: all of one depth have one rate.")
def _(parameters, rates, layer_decay, weight_decay):
    rate_of, decay_of = parameter_groups(parameters, rates, layer_decay, weight_decay)
    for chosen in rates:
        mine = [name for name, (branch, *_) in parameters.items() if branch == chosen]
        for place, name in enumerate(sorted(mine, key=lambda name: -parameters[name][1])):
            rate_of[name] = rates[chosen] * layer_decay**place
    return rate_of, decay_of


@parameter_groups.mistake("Every branch has its own rate; you exchange those of text and image.")
def _(parameters, rates, layer_decay, weight_decay):
    turned = {"text": "image", "image": "text"}
    return parameter_groups(parameters, {branch: rates[turned.get(branch, branch)] for branch in rates},
                            layer_decay, weight_decay)


@parameter_groups.mistake("The matrices of every layer decay; you let only those of the deepest do so.")
def _(parameters, rates, layer_decay, weight_decay):
    rate_of, decay_of = parameter_groups(parameters, rates, layer_decay, weight_decay)
    tops = _tops(parameters, max)
    return rate_of, {name: decay if parameters[name][1] == tops[parameters[name][0]] else 0.0
                     for name, decay in decay_of.items()}


parameter_groups.mistake("The keys of both dicts are the names of parameters; yours are those of branches.")(
    lambda parameters, rates, layer_decay, weight_decay: (
        dict(rates), {branch: weight_decay for branch in rates}))


@parameter_groups.mistake("The lowest layer learns as well, if its branch does; you leave it out.")
def _(parameters, rates, layer_decay, weight_decay):
    return tuple({name: value for name, value in found.items() if parameters[name][1] > 0}
                 for found in parameter_groups(parameters, rates, layer_decay, weight_decay))


@parameter_groups.mistake("`layer_decay` is for the rates; the weight decay is the same in all layers.")
def _(parameters, rates, layer_decay, weight_decay):
    rate_of, decay_of = parameter_groups(parameters, rates, layer_decay, weight_decay)
    return rate_of, {name: decay * rate_of[name] / rates[parameters[name][0]]
                     for name, decay in decay_of.items()}


_mixed_up("A matrix has two dimensions, and decays as a kernel does.",
          decays=lambda name, shape: len(shape) > 2)
_mixed_up("You go by names; a table of biases has two dimensions, and it decays. Go by the shape.",
          decays=lambda name, shape: not any(part in name.lower() for part in ("bias", "norm", "bn")))
for _spared in (("bias", "norm"), ("bias", "bn"), ("bias", "norm", "embedding")):
    _mixed_up("You decide by the name, and a norm need not be called so, nor is a table of biases a vector: "
              "count the dimensions.",
              decays=lambda name, shape, spared=_spared: not any(part in name.lower() for part in spared))
for _named in (lambda name: name.endswith("weight"), lambda name: "weight" in name):
    _mixed_up("You go by names; the gain of a norm is called weight as well, and it must not decay.",
              decays=lambda name, shape, named=_named: named(name))
_mixed_up("Count dimensions: a gain or a bias, of however many entries, has one, and two or more decay.",
          decays=lambda name, shape: math.prod(shape) > 1)


_mixed_up("A matrix of one column, or of one row, has two dimensions as well.",
          decays=lambda name, shape: sum(n > 1 for n in shape) > 1)
for _another in (lambda rates: rates["head"], lambda rates: min(rates.values()),
                 lambda rates: max(rates.values())):
    @parameter_groups.mistake("A branch without a rate is frozen; you give it a rate of another branch.")
    def _(parameters, rates, layer_decay, weight_decay, another=_another):
        whole = {branch: rates.get(branch, another(rates)) for branch, _, _ in parameters.values()}
        return parameter_groups(parameters, whole, layer_decay, weight_decay)


@parameter_groups.mistake("What is frozen is in neither dict; you give it None.")
def _(parameters, *given):
    return tuple({name: found.get(name) for name in parameters}
                 for found in parameter_groups(parameters, *given))


@parameter_groups.mistake("The head is a branch as the others are; you leave it out.")
def _(parameters, *given):
    return tuple({name: value for name, value in found.items() if parameters[name][0] != "head"}
                 for found in parameter_groups(parameters, *given))


parameter_groups.mistake("Two dicts by the names of the parameters are wanted; yours are lists.")(
    lambda *given: tuple(list(found.values()) for found in parameter_groups(*given)))


@parameter_groups.mistake("Give `weight_decay` as it is; the optimiser multiplies it by the rate itself.")
def _(*given):
    rate_of, decay_of = parameter_groups(*given)
    return rate_of, {name: decay * rate_of[name] for name, decay in decay_of.items()}


@parameter_groups.mistake("A gain or a bias is in the dict of decays as well, with 0.")
def _(*given):
    rate_of, decay_of = parameter_groups(*given)
    return rate_of, {name: decay for name, decay in decay_of.items() if decay}


@parameter_groups.mistake("What is frozen is in neither dict; you leave it in the dict of decays.")
def _(parameters, rates, layer_decay, weight_decay):
    everybody = {branch: 1.0 for branch, _, _ in parameters.values()}
    return (parameter_groups(parameters, rates, layer_decay, weight_decay)[0],
            parameter_groups(parameters, everybody, layer_decay, weight_decay)[1])


# Broken logs


def _letters(answer):
    """The four letters of "cadb", "c a d b", "1c, 2a, …", "log 1: c, …" or a list."""
    found = answer()
    if isinstance(found, (list, tuple)) and all(isinstance(one, str) for one in found):
        found = " ".join(found)
    if not isinstance(found, str):
        return found
    letters = re.sub(r"log|[^a-z]", "", found.lower())
    if not re.fullmatch("[a-f]{4}", letters):
        raise Failed("Give four letters from a to f, one for each log.")
    return letters


@exercise("13.5", "Four broken logs", minutes=20, points=4, difficulty=4, kind="choice", call=_letters)
def diagnosis():
    return "cadb"


# What in the log of that number speaks against the cause with that letter; true of data/runs/broken.json
_AGAINST = (
    {"a": "Log 1: a dead branch leaves a quiet loss on a level; this one jumps up and down all the time.",
     "b": "Log 1: what is learned by heart has a small training loss at the end; this one has not.",
     "d": "Log 1: the rate is above 0 until the last step.",
     "e": "Log 1: at a rate too small for anything the loss would lie still near ln 2.",
     "f": "Log 1: the jumps are there from the first epoch on, and the rate has one rise and one fall."},
    {"b": "Log 2: what is learned by heart has a training loss near 0 and a validation loss that climbs.",
     "c": "Log 2: rows in the order of their classes make the loss jump with the period of an epoch; this "
          "one is quiet.",
     "d": "Log 2: the rate is above 0 until the last step.",
     "e": "Log 2: the loss fell far below ln 2 at first: steps of that size do move the weights.",
     "f": "Log 2: the rate has one rise and one fall, as planned, and no step is drawn twice."},
    {"a": "Log 3: a dead branch leaves the validation loss at half of ln 2 or above; here it lies below.",
     "b": "Log 3: the validation loss does not climb.",
     "c": "Log 3: nothing in it has the period of an epoch.",
     "e": "Log 3: in its first half the loss falls well; the steps were large enough.",
     "f": "Log 3: the rate rises once; a schedule that begins anew rises twice."},
    {"a": "Log 4: with a dead branch both losses would stand near one level; here they part.",
     "c": "Log 4: nothing in it has the period of an epoch.",
     "d": "Log 4: the rate is above 0 until the last step.",
     "e": "Log 4: the training loss goes to 0: the steps were large enough.",
     "f": "Log 4: the rate has one rise and one fall, and the training loss never jumps."},
)
for _told in product("abcdef", repeat=4):
    _wrong = [k for k, (one, right) in enumerate(zip(_told, diagnosis(), strict=True)) if one != right]
    if _wrong:
        diagnosis.mistake(_AGAINST[_wrong[0]][_told[_wrong[0]]])(lambda told=_told: "".join(told))
