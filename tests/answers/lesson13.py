import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy

# 13.6


def plan_by_measuring(layers, rows, frozen):
    """A real chain, a real step: what autograd keeps is weighed."""
    def layer(kind, n_in, n_out):
        return {"linear": lambda: nn.Linear(n_in, n_out), "norm": lambda: nn.LayerNorm(n_in),
                "relu": nn.ReLU, "gelu": nn.GELU}[kind]()

    model, kept = nn.Sequential(*(layer(*one) for one in layers)), {}
    for part in model[:frozen]:
        part.requires_grad_(False)
    own = {p.data_ptr() for p in model.parameters()}

    def keep(tensor):
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        out = model(torch.ones(rows, layers[0][1]))
    saved = sum(t.numel() * t.element_size() for t in kept.values())
    states = {}
    if out.requires_grad:
        out.sum().backward()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        optimizer.step()
        states = optimizer.state
    moments = [t for state in states.values() for name, t in state.items() if name != "step"]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    weigh = lambda tensors: sum(t.numel() * t.element_size() for t in tensors)
    return {"weights": weigh(model.parameters()), "gradients": weigh(gradients), "moments": weigh(moments),
            "activations": saved}


def plan(layers, rows, frozen, keeps=None, unique=True, start=None, two=2, bias=1, number=4, gains=2):
    keeps = keeps or {"linear": "in", "norm": "in", "gelu": "in", "relu": "out"}
    count = [(a * b + bias * b) if kind == "linear" else gains * a if kind == "norm" else 0
             for kind, a, b in layers]
    first = next((i for i, n in enumerate(count) if n and i >= frozen), len(layers))
    first = first if start is None else start(frozen)
    held = []
    for i, (kind, a, b) in enumerate(layers):
        if i >= first:
            held += [(i, a)] * (keeps.get(kind) in ("in", "both"))
            held += [(i + 1, b)] * (keeps.get(kind) in ("out", "both"))
    numbers = sum(n for _, n in (dict.fromkeys(held) if unique else held))
    learning = sum(count[frozen:])
    return {"weights": number * sum(count), "gradients": number * learning,
            "moments": number * two * learning, "activations": number * rows * numbers}


def but(**changed):
    return lambda layers, rows, frozen: plan(layers, rows, frozen, **changed)


ALL = {"linear": "in", "norm": "in", "gelu": "in", "relu": "out"}


def plan_learning_everywhere(layers, rows, frozen):
    found = plan(layers, rows, frozen)
    n = found["weights"]
    return found | {"gradients": n, "moments": 2 * n}


def plan_with(**changed):
    def with_changes(*given):
        found = plan(*given)
        return found | {name: of(found) for name, of in changed.items()}
    return with_changes


def plan_frozen_at_the_end(layers, rows, frozen):
    numbers, learning, kept = 0, 0, {}
    for place, (kind, n_in, n_out) in enumerate(layers):
        own = n_in * n_out + n_out if kind == "linear" else 2 * n_in if kind == "norm" else 0
        numbers += own
        learning += own if place < len(layers) - frozen else 0
        if learning:
            kept[place + (kind == "relu")] = n_out if kind == "relu" else n_in
    return {"weights": 4 * numbers, "gradients": 4 * learning, "moments": 8 * learning,
            "activations": 4 * rows * sum(kept.values())}


def plan_in_floats(*given):
    return {name: float(number) for name, number in plan(*given).items()}


# 13.2


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


def step_on_the_argument(weight, xs, ys, learning_rate, clip):
    weight.requires_grad_()
    (cross_entropy(torch.cat(xs) @ weight, torch.cat(ys))).backward()
    length = max(1.0, weight.grad.norm().item() / clip)
    return (weight - learning_rate / length * weight.grad).detach()


def step_clips_parts(weight, xs, ys, learning_rate, clip):
    total, n = torch.zeros_like(weight), sum(map(len, ys))
    for x, y in zip(xs, ys, strict=True):
        w = weight.clone().requires_grad_()
        cross_entropy(x @ w, y).backward()
        nn.utils.clip_grad_norm_([w], clip)
        total += w.grad * len(y) / n
    return weight - learning_rate * total


def step_clips_weighted_parts(weight, xs, ys, learning_rate, clip):
    w, total, n = weight.clone().requires_grad_(), 0, sum(map(len, ys))
    for x, y in zip(xs, ys, strict=True):
        (g,) = torch.autograd.grad(cross_entropy(x @ w, y, reduction="sum") / n, w)
        total = total + g * min(1, clip / g.norm().item())
    return weight - learning_rate * total


def step_each_part(weight, xs, ys, learning_rate, clip):
    for x, y in zip(xs, ys, strict=True):
        weight = step_by_autograd(weight, [x], [y], learning_rate, clip)
    return weight


def step_each_weighted_part(weight, xs, ys, learning_rate, clip):
    n = sum(map(len, ys))
    for x, y in zip(xs, ys, strict=True):
        w = weight.clone().requires_grad_()
        (cross_entropy(x @ w, y, reduction="sum") / n).backward()
        nn.utils.clip_grad_norm_([w], clip)
        weight = weight - learning_rate * w.grad
    return weight


def step_clips_the_sum(weight, xs, ys, learning_rate, clip):
    w, n = weight.clone().requires_grad_(), sum(map(len, ys))
    for x, y in zip(xs, ys, strict=True):
        cross_entropy(x @ w, y, reduction="sum").backward()
    nn.utils.clip_grad_norm_([w], clip)
    return w.detach() - learning_rate * w.grad / n


def step_by_column(weight, xs, ys, learning_rate, clip):
    g = weight - step_unclipped(weight, xs, ys, 1.0, clip)
    return weight - learning_rate * g * (clip / g.norm(dim=0)).clamp(max=1)


def step_unclipped(weight, xs, ys, learning_rate, clip):
    return step_by_autograd(weight, xs, ys, learning_rate, math.inf)


def step_by_value(weight, xs, ys, learning_rate, clip):
    g = (weight - step_unclipped(weight, xs, ys, 1.0, clip)).clamp(min=-clip, max=clip)
    return weight - learning_rate * g


def step_always(weight, xs, ys, learning_rate, clip):
    g = weight - step_unclipped(weight, xs, ys, 1.0, clip)
    return weight - learning_rate * clip * g / g.norm()


def step_cleared(weight, xs, ys, learning_rate, clip):
    w, n = weight.clone().requires_grad_(), sum(map(len, ys))
    for x, y in zip(xs, ys, strict=True):
        w.grad = None
        (cross_entropy(x @ w, y) * len(y) / n).backward()
    nn.utils.clip_grad_norm_([w], clip)
    return w.detach() - learning_rate * w.grad


def step_squared(weight, xs, ys, learning_rate, clip):
    g = weight - step_unclipped(weight, xs, ys, 1.0, clip)
    return weight - learning_rate * g * min(1, clip / (g**2).sum().item())


def step_with(factor):
    def step(weight, xs, ys, learning_rate, clip):
        g = weight - step_unclipped(weight, xs, ys, 1.0, clip)
        return weight - learning_rate * g * factor(g, clip)
    return step


def step_by_inputs(weight, xs, ys, learning_rate, clip):
    w, n = weight.clone().requires_grad_(), sum(x.shape[1] for x in xs)
    for x, y in zip(xs, ys, strict=True):
        (cross_entropy(x @ w, y, reduction="sum") / n).backward()
    nn.utils.clip_grad_norm_([w], clip)
    return w.detach() - learning_rate * w.grad


def step_of_squares(weight, xs, ys, learning_rate, clip):
    w, n = weight.clone().requires_grad_(), sum(map(len, ys))
    for x, y in zip(xs, ys, strict=True):
        ((x @ w).softmax(1) - nn.functional.one_hot(y, w.shape[1])).square().sum().div(n).backward()
    nn.utils.clip_grad_norm_([w], clip)
    return w.detach() - learning_rate * w.grad


# 13.8


def share_by_if(step, steps, warmup):
    if step < min(warmup, steps):
        return float(step + 1) / float(warmup)
    return (math.cos((step - warmup) / (steps - warmup) * math.pi) + 1) / 2 if step < steps else 0


def share_by_square(step, steps, warmup):
    left = max(0, steps - step)
    if left and step < warmup:
        return 1 - (warmup - step - 1) / warmup
    return math.sin(math.pi / 2 * left / max(1, steps - warmup)) ** 2


def share_trusted(step, steps, warmup):
    from transformers import get_cosine_schedule_with_warmup
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    return get_cosine_schedule_with_warmup(optimizer, warmup, steps).lr_lambdas[0](step)


def share_warm_first(step, steps, warmup):
    if step < warmup:
        return (step + 1) / warmup
    return 0.0 if step >= steps else cosine((step - warmup) / (steps - warmup))


def share_divides_by_zero(step, steps, warmup):
    if step < warmup:
        return (step + 1) / warmup if step < steps else 0.0
    return cosine(min(1, (step - warmup) / (steps - warmup)))


def fall(of):
    def share(step, steps, warmup):
        if step >= steps:
            return 0.0
        return (step + 1) / warmup if step < warmup else of(step, steps, warmup)
    return share


def cosine(x):
    return (1 + math.cos(math.pi * x)) / 2


# 13.7


def groups_by_dicts(parameters, rates, layer_decay, weight_decay):
    trained = {name: given for name, given in parameters.items() if given[0] in rates}
    top = {b: max(d for branch, d, _ in parameters.values() if branch == b) for b in rates}
    return ({name: rates[b] * layer_decay ** (top[b] - d) for name, (b, d, _) in trained.items()},
            {name: weight_decay * (len(shape) >= 2) for name, (_, _, shape) in trained.items()})


def groups_by_loop(parameters, rates, layer_decay, weight_decay):
    rate, decay = {}, {}
    for branch, peak in rates.items():
        mine = [name for name in parameters if parameters[name][0] == branch]
        deepest = max(parameters[name][1] for name in mine)
        for name in mine:
            _, depth, shape = parameters[name]
            rate[name] = peak
            for _ in range(deepest - depth):
                rate[name] *= layer_decay
            decay[name] = 0 if len(shape) in (0, 1) else weight_decay
    return rate, decay


def groups_under_matrices(parameters, rates, layer_decay, weight_decay):
    top = {}
    for branch, depth, shape in parameters.values():
        if len(shape) > 1:
            top[branch] = max(top.get(branch, 0), depth)
    _, decay = groups_by_dicts(parameters, rates, layer_decay, weight_decay)
    return {name: rates[b] * layer_decay ** (top[b] - d) for name, (b, d, _) in parameters.items()
            if b in rates}, decay


def groups_under_learning(parameters, rates, layer_decay, weight_decay):
    deepest = max(d for b, d, _ in parameters.values() if b in rates)
    _, decay = groups_by_dicts(parameters, rates, layer_decay, weight_decay)
    return {n: rates[parameters[n][0]] * layer_decay ** (deepest - parameters[n][1]) for n in decay}, decay


def groups_by_present(parameters, rates, layer_decay, weight_decay):
    depths = {b: sorted({d for branch, d, _ in parameters.values() if branch == b}) for b in rates}
    _, decay = groups_by_dicts(parameters, rates, layer_decay, weight_decay)
    return {n: rates[b] * layer_decay ** (len(depths[b]) - 1 - depths[b].index(d))
            for n, (b, d, _) in parameters.items() if b in rates}, decay


def groups_by_parameter(parameters, rates, layer_decay, weight_decay):
    rate, decay = groups_by_dicts(parameters, rates, layer_decay, weight_decay)
    for branch in rates:
        mine = [name for name in rate if parameters[name][0] == branch]
        for place, name in enumerate(sorted(mine, key=lambda name: parameters[name][1], reverse=True)):
            rate[name] = rates[branch] * layer_decay**place
    return rate, decay


def groups_with(given, decays):
    rate, decay = groups_by_dicts(*given)
    return rate, decays(rate, decay)


def group(rate=None, decay=None, frozen=True):
    def groups(parameters, rates, layer_decay, weight_decay):
        good = groups_by_dicts(parameters, rates, layer_decay, weight_decay)
        top = {b: max(d for branch, d, _ in parameters.values() if branch == b)
               for b, _, _ in parameters.values()}
        found = {}, {}
        for name, (branch, depth, shape) in parameters.items():
            if branch in rates or not frozen:
                peak = rates.get(branch, 0.0)
                found[0][name] = rate(peak, layer_decay, depth, top, branch) if rate else good[0].get(name, 0)
                found[1][name] = decay(name, shape) * weight_decay if decay else good[1].get(name, 0)
        return found
    return groups


RIGHT = {"13.6": [plan, plan_by_measuring, plan_in_floats],
         "13.2": [step_by_autograd, step_by_formula],
         "13.8": [share_by_if, share_by_square], "13.7": [groups_by_dicts, groups_by_loop],
         "13.5": ["cadb", " CADB ", "c a d b", "c;a;d;b", "1c 2a 3d 4b",
                  "log 1: c, log 2: a, log 3: d, log 4: b", ["c", "a", "d", "b"]]}
WRONG = {
    "13.6": [
        (but(unique=False), "it lies in memory once"),
        (but(start=lambda frozen: 0), "keeps nothing: no gradient will ever pass"),
        (plan_learning_everywhere, "neither gradients nor moments"),
        (but(keeps=ALL | {"relu": "in"}), "What a ReLU keeps is its output"),
        (but(keeps=dict.fromkeys(ALL, "out")), "every layer keep its output"),
        (but(keeps=dict.fromkeys(ALL, "both")), "its input and its output"),
        (but(keeps=ALL | {"gelu": ""}), "GELU keeps its input"),
        (but(keeps={"linear": "in"}), "inputs of the linear layers are counted"),
        (but(keeps=ALL | {"norm": ""}), "The norm keeps its input"),
        (but(keeps=ALL | {"relu": ""}), "The ReLU at the end"),
        (but(bias=0), "The biases"),
        (but(gains=1), "A norm has two numbers"),
        (but(start=lambda frozen: frozen), "Nothing is kept before"),
        (plan_with(moments=lambda p: 2 * p["weights"]), "moments only for what learns"),
        (plan_with(gradients=lambda p: p["weights"]), "Frozen layers have no gradients"),
        (plan_with(weights=lambda p: p["gradients"]), "Frozen layers have weights"),
        (lambda *given: {k: v for k, v in plan(*given).items() if k != "moments"}, "'moments' is missing"),
        (but(two=1), "you count one"),
        (but(number=1), "not bytes"),
        (but(number=4e-6), "megabytes"),
        (lambda *given: {k: v + 0.5 for k, v in plan(*given).items()}, "return an int"),
        (but(two=3), "an entry of its own"),
        (but(keeps=ALL | {"linear": ""}), "A linear layer keeps its input"),
        (lambda s, r, f: plan(s, r, f + 1), "you freeze one more"),
        (lambda s, r, f: plan(s, r, max(0, f - 1)), "you freeze one fewer"),
        (lambda s, r, f: plan(s, r, len(s) - f), "from the other end"),
        (plan_frozen_at_the_end, "freeze the last ones"),
        (lambda s, r, f: plan(s, 1, f), "one row"),
        (lambda s, r, f: sum(plan(s, r, f).values()), "Return a dict"),
        (but(keeps=ALL | {"gelu": "both"}), "GELU keeps its input alone"),
        (but(keeps=ALL | {"norm": "both"}), "A norm keeps its input alone"),
        (but(keeps=ALL | {"relu": "both"}), "A ReLU keeps its output alone"),
        (but(keeps=ALL | {"relu": "in", "gelu": "out"}), "you exchange the two"),
        (but(number=8), "8 bytes"),
        (plan_with(activations=lambda p: p["activations"] // 2), "float32 as well"),
        (plan_with(gradients=lambda p: p["gradients"] + p["activations"]), "let go on the way"),
        (lambda s, r, f: {k: v * (1 if k == "activations" else r) for k, v in plan(s, r, f).items()},
         "Only activations grow"),
        (plan_with(activations=lambda p: p["activations"] * 2), "twice too many"),
        (lambda s, r, f: plan(s, r, f) | {"activations": 4 * r * max(s[0][1], *(b for _, _, b in s))},
         "you take the widest layer"),
        (lambda s, r, f: plan(s, r, f) | {"activations": plan(s, r, f)["activations"] + 4 * r * s[0][1] * (
            f > 0 or s[0][0] in ("relu", "gelu"))}, "you count them always"),
    ],
    "13.2": [
        (step_of(lambda loss, n, parts: loss / parts), "average the parts' means"),
        (step_of(lambda loss, n, parts: loss), "without weighing"),
        (step_of(lambda loss, n, parts: loss * n), "number of all rows"),
        (step_clips_parts, "You clip every part"),
        (step_clips_weighted_parts, "You clip every part"),
        (step_each_part, "after every part"),
        (step_unclipped, "not clipped"),
        (step_by_value, "changes the direction"),
        (step_always, "stays as it is"),
        (step_cleared, "do not clear"),
        (step_squared, "forgot the root"),
        (lambda w, x, y, r, c: w - (w - step_by_autograd(w, x, y, r, c)) * -1, "walk up"),
        (lambda w, x, y, r, c: w - step_by_autograd(w, x, y, 1.0, c), "This is the gradient"),
        (step_by_column, "rows or columns"),
        (step_clips_the_sum, "before you divide"),
        (lambda w, x, y, r, c: step_by_formula(w, x, y, r / len(x), c), "however many parts"),
        (step_each_weighted_part, "after every part"),
        (step_with(lambda g, c: min(1, c / g.abs().sum().item())), "absolute values"),
        (step_with(lambda g, c: min(1, c / g.square().mean().sqrt().item())), "you take their mean"),
        (step_with(lambda g, c: float(g.norm() <= c)), "leave the step out"),
        (step_with(lambda g, c: 1 / g.norm() if g.norm() > c else 1), "not to length 1"),
        (lambda w, x, y, r, c: step_by_formula(w, x, y, r * len(x), c), "however many parts"),
        (lambda w, x, y, r, c: step_by_formula(w, x[:1], y[:1], r, c), "Only the first part"),
        (step_with(lambda g, c: c / g.norm() if g.norm() ** 2 > c else 1), "you compare its square"),
        (step_of(lambda loss, n, parts: loss * n / parts), "not by that of the parts"),
        (step_by_inputs, "you count the inputs"),
        (lambda w, x, y, r, c: step_by_autograd(w, x, y, r, c) - w, "This is the step alone"),
        (lambda w, x, y, r, c: w - step_by_autograd(w, x, y, r, c), "This is the step alone"),
        (step_of_squares, "you take squared errors"),
        (step_of(lambda loss, n, parts: loss * n * n / 8), "you weigh their sum"),
        (step_on_the_argument, "take the gradient on a copy"),
    ],
    "13.8": [
        (share_trusted, "count step + 1"),
        (lambda t, n, w: share_by_if(t, n, 0 if w >= n else w), "you leave it out"),
        (lambda t, n, w: share_by_if(t, n, w) if w < n else 0.0, "you return 0 there"),
        (lambda t, n, w: 0.0 if t >= n else t / w if t < w else cosine((t - w) / (n - w)), "count step + 1"),
        (lambda t, n, w: (t + 1) / w if t < w else cosine((t - w) / max(1, n - w)), "rises again"),
        (lambda t, n, w: share_by_if(t, n, min(w, n - 1)), "You shorten a warm-up"),
        (lambda t, n, w: 0.0 if t >= n else min(1, (t + 1) / max(1, w)) * cosine(t / n), "one comes after"),
        (fall(lambda t, n, w: cosine((t - w + 1) / (n - w))), "one step ahead"),
        (fall(lambda t, n, w: cosine((t - w) / (n - w) * 180 / math.pi)), "radians"),
        (fall(lambda t, n, w: max(0.1, cosine((t - w) / (n - w)))), "floor"),
        (fall(lambda t, n, w: 1 - math.sin(math.pi / 2 * (t - w) / (n - w))), "it falls at once"),
        (lambda t, n, w: share_by_if(t, n, w) ** (2 if t < w else 1), "yours is bent"),
        (share_warm_first, "before you ask whether it warms up"),
        (share_divides_by_zero, "ZeroDivisionError"),
        (fall(lambda t, n, w: cosine(t / n)), "begins where the warm-up ends"),
        (fall(lambda t, n, w: cosine((t - w) / n)), "divide by those that are left"),
        (fall(lambda t, n, w: 2 * cosine((t - w) / (n - w))), "half is missing"),
        (fall(lambda t, n, w: cosine(2 * (t - w) / (n - w))), "whole wave"),
        (fall(lambda t, n, w: math.cos(math.pi / 2 * (t - w) / (n - w))), "quarter of a wave"),
        (fall(lambda t, n, w: (n - t) / (n - w)), "straight line"),
        (fall(lambda t, n, w: (1 + math.cos((t - w) / (n - w))) / 2), "never reaches 0"),
        (fall(lambda t, n, w: 1 - cosine((t - w) / (n - w))), "cosine goes up"),
        (fall(lambda t, n, w: cosine((t - w) / max(1, n - w - 1))), "computed for nothing"),
        (fall(lambda t, n, w: 0.1 + 0.9 * cosine((t - w) / (n - w))), "floor"),
        (fall(lambda t, n, w: abs(math.cos(math.pi * (t - w) / (n - w)))), "the size of a cosine"),
        (fall(lambda t, n, w: 1.0), "yours stays at 1"),
        (lambda t, n, w: share_by_if(min(t, n - 1), n, w), "that of its last step"),
        (lambda t, n, w: share_by_if(t % n, n, w), "begins anew"),
        (lambda t, n, w: 0 if t >= n - 1 else share_by_if(t, n, w), "over is step >= steps"),
        (lambda t, n, w: (1 - t / w) if t < min(w, n) else share_by_if(t, n, w), "yours falls"),
        (lambda t, n, w: ((t + 1) / (w + 1)) if t < min(w, n) else share_by_if(t, n, w), "not by warmup + 1"),
        (fall(lambda t, n, w: cosine((t - w + 1) / (n - w + 1))), "no 1 to add"),
        (fall(lambda t, n, w: cosine((t - w) / (n - w + 1))), "no 1 to add"),
        (lambda t, n, w: share_by_if(t, n, w) if w < n else float(t < n), "you begin at the peak"),
        (lambda t, n, w: (t + 1) / w if t < w else cosine(min(1, (t - w) / max(1, n - w))), "has no fall"),
        (lambda t, n, w: (t + 1) / w if t < w else float(t < n), "yours stays at 1"),
        (lambda t, n, w: share_by_if(t, n, w / 100 * n), "is a number of steps"),
        (lambda t, n, w: t / (w - 1) if t < min(w, n) else share_by_if(t, n, w), "within warmup - 1 steps"),
    ],
    "13.7": [
        (lambda *given: groups_by_dicts(*given)[::-1], "wrong order"),
        (group(frozen=False), "in neither dict"),
        (group(rate=lambda r, f, d, top, b: r * f**d), "not depth"),
        (group(rate=lambda r, f, d, top, b: r * f ** (max(top.values()) - d)), "a top of its own"),
        (group(rate=lambda r, f, d, top, b: r * f ** (top[b] - d + 1)), "one more"),
        (groups_under_matrices, "a vector as well"),
        (group(rate=lambda r, f, d, top, b: r * f ** ((top[b] - d) / 2)), "half of it"),
        (group(decay=lambda n, s: len(s) > 1 and "head" not in n), "The head's matrices"),
        (lambda p, r, f, w: groups_by_dicts(p, {b: r.get(b, r["head"]) for b, _, _ in p.values()}, f, w),
         "a rate of another branch"),
        (groups_under_learning, "top of all that learn"),
        (groups_by_parameter, "Layers are counted, not parameters"),
        (groups_by_present, "count only layers that are there"),
        (group(rate=lambda r, f, d, top, b: r * (f * (top[b] - d) if top[b] > d else 1)), "not a multiple"),
        (lambda *given: groups_with(given, lambda rate, decay: {n: d * rate[n] for n, d in decay.items()}),
         "multiplies it by the rate"),
        (lambda *given: groups_with(given, lambda rate, decay: {n: d for n, d in decay.items() if d}),
         "as well, with 0"),
        (lambda p, r, f, w: groups_with((p, r, f, w), lambda rate, decay: {
            n: w * (len(s) > 1) for n, (_, _, s) in p.items()}), "leave it in the dict of decays"),
        (group(rate=lambda r, f, d, top, b: r * (f if d < top[b] else 1)), "once to all"),
        (group(rate=lambda r, f, d, top, b: r), "`layer_decay` is missing"),
        (group(decay=lambda n, s: True), "Nothing is spared"),
        (group(decay=lambda n, s: len(s) < 2), "other way round"),
        (group(decay=lambda n, s: not n.endswith("bias")), "biases only"),
        (group(decay=lambda n, s: "bias" not in n and "LayerNorm" not in n), "Go by the shape"),
        (group(decay=lambda n, s: not ("bias" in n or "norm" in n.lower())), "count the dimensions"),
        (group(decay=lambda n, s: len(s) == 2), "four dimensions"),
        (group(decay=lambda n, s: len(s) != 1), "no dimension at all"),
        (group(decay=lambda n, s: math.prod(s) > 1), "Count dimensions"),
        (group(decay=lambda n, s: len(s) >= 1), "has one, and two or more decay"),
        (group(decay=lambda n, s: n.endswith("weight")), "the gain of a norm is called weight as well"),
        (group(rate=lambda r, f, d, top, b: r * (1 - (1 - f) * (top[b] - d))), "falls in a line"),
        (group(rate=lambda r, f, d, top, b: r * f ** (0 if b == "head" else top[b] - d)), "as the others"),
        (group(rate=lambda r, f, d, top, b: r * f ** max(0, top[b] - d - 1)), "one layer later"),
        (lambda p, r, f, w: (dict(r), dict.fromkeys(r, w)), "those of branches"),
        (group(decay=lambda n, s: len(s) > 1 and s[-1] > 1), "one column"),
        (group(rate=lambda r, f, d, top, b: r * math.exp(-f * (top[b] - d))), "yours is exponential"),
        (lambda p, r, *two: groups_by_dicts(p, {b: r.get(b, min(r.values())) for b, *_ in p.values()}, *two),
         "a rate of another branch"),
        (lambda p, *given: tuple({n: found.get(n) for n in p} for found in groups_by_dicts(p, *given)),
         "you give it None"),
        (lambda p, *given: tuple({n: v for n, v in found.items() if p[n][0] != "head"}
                                 for found in groups_by_dicts(p, *given)), "you leave it out"),
        (lambda *given: tuple(list(found.values()) for found in groups_by_dicts(*given)), "yours are lists"),
    ],
    "13.5": [
        ("badb", "Log 1: what is learned by heart"),
        ("cbdb", "Log 2: what is learned by heart"),
        ("cafb", "Log 3: the rate rises once"),
        ("cade", "Log 4: the training loss goes to 0"),
        ("aaaa", "Log 1: a dead branch"),
        ("c, b, d, b", "Log 2: what is learned by heart"),
        ("cab", "Give four letters"),
        ("xadb", "from a to f"),
        (3.0, "Give a text"),
        ("dcba", "Log 1: the rate is above 0"),
        ("cacb", "Log 3: nothing in it"),
    ],
}
