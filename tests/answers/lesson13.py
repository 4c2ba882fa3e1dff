import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy


def groups_by_loop(shapes):
    decay, rest = [], []
    for name, shape in shapes.items():
        (decay if len(shape) >= 2 else rest).append(name)
    return decay, rest


def groups_by_torch(shapes):
    ndim = {name: torch.empty(shape).dim() for name, shape in shapes.items()}
    return [n for n in ndim if ndim[n] > 1], [n for n in ndim if ndim[n] < 2]


def groups_popular(shapes):
    no_decay = ["bias", "LayerNorm.weight"]
    return (
        [n for n in shapes if not any(nd in n for nd in no_decay)],
        [n for n in shapes if any(nd in n for nd in no_decay)],
    )


def groups_by_bias(shapes):
    return [n for n in shapes if not n.endswith("bias")], [n for n in shapes if n.endswith("bias")]


def step_by_autograd(weight, xs, ys, learning_rate, clip):
    w = weight.clone().requires_grad_()
    rows = sum(map(len, ys))
    for x, y in zip(xs, ys, strict=True):
        (cross_entropy(x @ w, y, reduction="sum") / rows).backward()
    nn.utils.clip_grad_norm_([w], clip)
    return w.detach() - learning_rate * w.grad


def step_by_formula(weight, xs, ys, learning_rate, clip):
    g, n = torch.zeros_like(weight), sum(len(y) for y in ys)
    for x, y in zip(xs, ys, strict=True):
        p = (x @ weight).softmax(1)
        p[torch.arange(len(y)), y] -= 1
        g += x.T @ p / n
    norm = g.pow(2).sum().sqrt()
    if norm > clip:
        g = g / norm * clip
    return weight - learning_rate * g


def step_of(accumulate, finish=lambda w: nn.utils.clip_grad_norm_([w[0]], w[1])):
    def step(weight, xs, ys, learning_rate, clip):
        w = weight.clone().requires_grad_()
        for x, y in zip(xs, ys, strict=True):
            accumulate(cross_entropy(x @ w, y), len(y), len(ys)).backward()
        finish((w, clip))
        return w.detach() - learning_rate * w.grad
    return step


def step_clips_parts(weight, xs, ys, learning_rate, clip):
    total, n = torch.zeros_like(weight), sum(map(len, ys))
    for x, y in zip(xs, ys, strict=True):
        w = weight.clone().requires_grad_()
        cross_entropy(x @ w, y).backward()
        nn.utils.clip_grad_norm_([w], clip)
        total += w.grad * len(y) / n
    return weight - learning_rate * total


def step_each_part(weight, xs, ys, learning_rate, clip):
    for x, y in zip(xs, ys, strict=True):
        weight = step_by_autograd(weight, [x], [y], learning_rate, clip)
    return weight


def step_unclipped(weight, xs, ys, learning_rate, clip):
    return step_by_autograd(weight, xs, ys, learning_rate, math.inf)


def step_by_value(weight, xs, ys, learning_rate, clip):
    g = (weight - step_unclipped(weight, xs, ys, 1.0, clip)).clamp(min=-clip, max=clip)
    return weight - learning_rate * g


def step_always(weight, xs, ys, learning_rate, clip):
    g = weight - step_unclipped(weight, xs, ys, 1.0, clip)
    return weight - learning_rate * clip * g / g.norm()


def rate_by_if(step, steps, warmup):
    if warmup > step:
        return float(step) / float(warmup)
    left = steps - warmup
    return (math.cos((step - warmup) / (left or 1) * math.pi) + 1) / 2


def rate_by_square(step, steps, warmup):
    if step < warmup:
        return step / max(1, warmup)
    return math.cos(math.pi / 2 * (step - warmup) / max(1, steps - warmup)) ** 2


def rate_trusted():
    def rate(step, steps, warmup):
        from transformers import get_cosine_schedule_with_warmup
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        return get_cosine_schedule_with_warmup(optimizer, warmup, steps).lr_lambdas[0](step)
    return rate


def bytes_by_formula(shapes, rows, size):
    n = sum((a + 1) * b for a, b in shapes)
    kept = sum(a for a, b in shapes) + sum(b for a, b in shapes[:-1])
    return {
        "weights": n * size,
        "gradients": n * size,
        "moments": 2 * n * size,
        "activations": kept * rows * size,
    }


def bytes_by_loop(shapes, rows, size):
    found = dict.fromkeys(("weights", "gradients", "moments", "activations"), 0)
    for k, (a, b) in enumerate(shapes):
        for what, times in (("weights", 1), ("gradients", 1), ("moments", 2)):
            found[what] += times * a * b * size  # biases left out: within 15 %
        found["activations"] += rows * size * (a + (b if k + 1 < len(shapes) else 0))
    return found


def but(**factors):
    return lambda shapes, rows, size: {
        k: v * factors.get(k, 1) for k, v in bytes_by_formula(shapes, rows, size).items()
    }


def bytes_inputs_only(shapes, rows, size):
    return bytes_by_formula(shapes, rows, size) | {"activations": rows * size * sum(a for a, b in shapes)}


def bytes_outputs_only(shapes, rows, size):
    return bytes_by_formula(shapes, rows, size) | {"activations": rows * size * sum(b for a, b in shapes)}


def bytes_last_too(shapes, rows, size):
    return bytes_by_formula(shapes, rows, size) | {"activations": rows * size * sum(a + b for a, b in shapes)}


RIGHT = {"13.1": [groups_by_loop, groups_by_torch], "13.2": [step_by_autograd, step_by_formula],
         "13.3": [rate_by_if, rate_by_square, rate_trusted()], "13.4": [bytes_by_formula, bytes_by_loop]}
WRONG = {
    "13.1": [
        (groups_popular, "Go by the shape"),
        (groups_by_bias, "biases only"),
        (lambda s: groups_by_loop(s)[::-1], "wrong order"),
        (lambda s: ([n for n in s if len(s[n]) == 2], [n for n in s if len(s[n]) != 2]), "four dimensions"),
        (
            lambda s: ([n for n in s if len(s[n]) != 1], [n for n in s if len(s[n]) == 1]),
            "no dimension at all",
        ),
        (lambda s: groups_by_loop(s)[0], "parts where"),
    ],
    "13.2": [
        (step_of(lambda loss, n, parts: loss / parts), "average the parts' means"),
        (step_of(lambda loss, n, parts: loss), "without weighing"),
        (step_of(lambda loss, n, parts: loss * n), "number of all rows"),
        (step_clips_parts, "You clip every part"),
        (step_each_part, "after every part"),
        (step_unclipped, "not clipped"),
        (step_by_value, "changes the direction"),
        (step_always, "stays as it is"),
        (lambda w, x, y, r, c: step_by_autograd(w, x, y, -r, c), "walk up"),
    ],
    "13.3": [
        (lambda s, n, w: (s + 1) / w if s < w else rate_by_if(s, n, w), "step + 1"),
        (
            lambda s, n, w: s / w if s < w else (1 + math.cos(math.pi * s / n)) / 2,
            "begins where the warm-up ends",
        ),
        (
            lambda s, n, w: s / w if s < w else (1 + math.cos(math.pi * (s - w) / n)) / 2,
            "divide by those that are left",
        ),
        (
            lambda s, n, w: s / w if s < w else 1 + math.cos(math.pi * (s - w) / max(1, n - w)),
            "half is missing",
        ),
        (
            lambda s, n, w: s / w if s < w else (1 + math.cos(2 * math.pi * (s - w) / max(1, n - w))) / 2,
            "whole wave",
        ),
        (lambda s, n, w: s / w if s < w else (n - s) / max(1, n - w), "straight line"),
        (lambda s, n, w: s / w if s < w else (1 + math.cos((s - w) / max(1, n - w))) / 2, "never reaches 0"),
    ],
    "13.4": [
        (but(moments=0.5), "you count one"),
        (bytes_inputs_only, "GELU needs"),
        (bytes_outputs_only, "is kept as well"),
        (bytes_last_too, "nothing behind it"),
        (lambda s, r, b: bytes_by_formula(s, r, 1), "not bytes"),
        (lambda s, r, b: bytes_by_formula(s, 1, b), "one row"),
        (lambda s, r, b: sum(bytes_by_formula(s, r, b).values()), "Return a dict"),
    ],
}
