"""Right and wrong answers to lesson 14, as learners write them."""

import math

import torch
from torch.nn import functional as F

# 14.1 moved


def moved_by_loops(before, after):
    n, size = before.shape
    start = [before[:, j].mean() for j in range(size)]
    shared = [(after[:, j] - before[:, j]).mean() for j in range(size)]
    spread = sum((before[i, j] - start[j]) ** 2 for i in range(n) for j in range(size))
    rest = sum((after[i, j] - before[i, j] - shared[j]) ** 2 for i in range(n) for j in range(size))
    return (n * sum(s**2 for s in shared) / spread) ** 0.5, (rest / spread) ** 0.5


def moved_by_means(before, after):
    a, b = before.mean(0, keepdim=True), after.mean(0, keepdim=True)
    spread = torch.linalg.norm(before - a)
    return (torch.linalg.norm((b - a).expand_as(before)) / spread,
            torch.linalg.norm((after - b) - (before - a)) / spread)


def moved_in_numbers(before, after):
    way = (after - before).tolist()
    shared = [sum(column) / len(way) for column in zip(*way, strict=True)]
    spread = float((before - before.mean(0)).pow(2).sum()) ** 0.5
    rest = sum((w - s) ** 2 for row in way for w, s in zip(row, shared, strict=True)) ** 0.5
    return (len(way) * sum(s * s for s in shared)) ** 0.5 / spread, rest / spread


def move(root=lambda n: n**0.5, by=lambda b, a: (b - b.mean(0)).norm(), rest=lambda way, s: (way - s).norm(),
         axis=0, swap=False, power=1):
    def moved(before, after):
        way = after - before
        shared = way.mean(axis, keepdim=True)
        found = [(root(len(way)) * shared.norm() / by(before, after)) ** power,
                 (rest(way, shared) / by(before, after)) ** power]
        return tuple(found[::-1] if swap else found)
    return moved


# 14.2 lora


def lora_by_linear(x, weight, bias, down, up, alpha):
    return F.linear(x, weight, bias) + F.linear(F.linear(x, down), up) * alpha / down.size(0)


def lora_by_merging(x, weight, bias, down, up, alpha):
    return x @ (weight + up @ down * (alpha / up.shape[1])).mT + bias


def layer(factor=lambda a, down, up: a / len(down), with_bias=True, wide=1, sign=1):
    def lora(x, weight, bias, down, up, alpha):
        frozen = wide * (x @ weight.T + with_bias * bias)
        return frozen + sign * factor(alpha, down, up) * (x @ down.T) @ up.T
    return lora


# 14.3 cost


def cost_end_by_end(shapes, rank, where):
    numbers = sum(rank * sum(shape) for end in where for name, shape in shapes.items()
                  if ("." + name).endswith(f".{end}.weight") and len(shape) == 2)
    whole = numbers + sum(math.prod(shape) for shape in shapes.values())
    return {"numbers": numbers, "share": numbers / whole, "bytes": 4 * numbers}


def numbers_of(shapes):
    return sum(math.prod(shape) for shape in shapes)


def cost_of_biases_too(shapes, rank, where):
    ends = [f".{end}.{what}" for end in where for what in ("weight", "bias")]
    new = sum(rank * sum(shape) for name, shape in shapes.items()
              if any(f".{name}".endswith(end) for end in ends) and (len(shape) == 2 or "bias" in name))
    return {"numbers": new, "bytes": 4 * new, "share": new / (numbers_of(shapes.values()) + new)}


def cost_and(change):
    """The right cost, changed by change(cost, shapes, the shapes with a LoRA)."""
    def cost(shapes, rank, where):
        found = cost_by_elements(shapes, rank, where)
        chosen = [s for n, s in shapes.items() if len(s) == 2
                  and any(("." + n).endswith(f".{end}.weight") for end in where)]
        return found | change(found["numbers"], shapes.values(), chosen)
    return cost


def cost_by_elements(shapes, rank, where):
    numbers = whole = 0
    for name, shape in shapes.items():
        whole += torch.Size(shape).numel()
        parts = name.split(".")
        for end in where:
            wanted = [*end.split("."), "weight"]
            if parts[-len(wanted):] == wanted and len(shape) == 2:
                numbers += rank * sum(shape)
                break
    return {"numbers": numbers, "share": numbers / (whole + numbers), "bytes": numbers * 4}


def cost_by_layers(shapes, rank, where):
    ends = tuple(f".{end}.weight" for end in where)
    chosen = [s for n, s in shapes.items() if ("." + n).endswith(ends) and len(s) > 1]
    new = sum(rank * i for _, i in chosen) + sum(o * rank for o, _ in chosen)
    return {"bytes": new * 32 // 8, "numbers": new,
            "share": new / sum([new, *(math.prod(s) for s in shapes.values())])}


def costs(each=lambda o, i, r: r * (o + i), fits=lambda n, e: ("." + n).endswith(f".{e}.weight"), two=True,
          whole=1, size=4, percent=1):
    def cost(shapes, rank, where):
        chosen = [s for n, s in shapes.items()
                  if any(fits(n, e) for e in where) and (len(s) == 2 or not two)]
        new = sum(each(s[0], s[-1], rank) for s in chosen)
        old = sum(math.prod(s) for s in shapes.values())
        return {"numbers": new, "share": percent * new / (old + whole * new), "bytes": size * new}
    return cost


# 14.4 merged


def merged_in_double(weight, down, up, alpha):
    w = (weight.double() + alpha * up.double() @ down.double() / down.shape[0]).to(weight.dtype)
    return w, (w == weight).sum() / weight.numel()


def merged_by_addmm(weight, down, up, alpha):
    summed = torch.addmm(weight.to(up), up, down, alpha=alpha / up.shape[1])
    merged = torch.empty_like(weight).copy_(summed)
    return merged, 1 - (merged - weight).count_nonzero().item() / merged.nelement()


def merge(factor=lambda a, r: a / r, sign=1, share=lambda w, old, d: (w == old).double().mean()):
    def merged(weight, down, up, alpha):
        d = sign * factor(alpha, len(down)) * up @ down
        w = (weight + d).to(weight.dtype)
        return w, share(w, weight, d)
    return merged


def summed(how):
    def merged(weight, down, up, alpha):
        new = how(weight, down, up, alpha)
        return new, torch.eq(new, weight).double().mean()
    return merged


# 14.5 one step


def step_by_autograd(gradient, down, up, alpha, learning_rate):
    a, b = down.clone().requires_grad_(), up.clone().requires_grad_()
    s = alpha / len(down)
    ga, gb = torch.autograd.grad((gradient * (s * b @ a)).sum(), (a, b))
    return (s * (b - learning_rate * gb) @ (a - learning_rate * ga) - s * b @ a).detach()


def step_by_formula(gradient, down, up, alpha, learning_rate):
    s, g, eta = alpha / down.shape[0], gradient, learning_rate
    return (-eta * s**2 * (g @ down.T @ down + up @ up.T @ g)
            + eta**2 * s**3 * g @ down.T @ up.T @ g)


def step_scaled_twice(gradient, down, up, alpha, learning_rate):
    s = alpha / len(down)
    new_up = up - learning_rate * s * s * gradient @ down.T
    new_down = down - learning_rate * s * s * up.T @ gradient
    return s * (new_up @ new_down - up @ down)


def step(first="both", inner=True, outer=True, sign=1, before=True, cross=True, factor=None):
    def change_of_one_step(gradient, down, up, alpha, learning_rate):
        s = alpha / len(down) if factor is None else factor(alpha, len(down))
        i, o, eta = s if inner else 1, s if outer else 1, sign * learning_rate
        b = up - eta * i * gradient @ down.T if first != "down" else up
        a = down - eta * i * (b if first == "up, then down" else up).T @ gradient if first != "up" else down
        if first == "down, then up":
            b = up - eta * i * gradient @ a.T
        if not cross:
            return o * ((b - up) @ down + up @ (a - down))
        return o * (b @ a - before * up @ down)
    return change_of_one_step


RIGHT = {
    "14.1": [moved_by_loops, moved_by_means, moved_in_numbers],
    "14.2": [lora_by_linear, lora_by_merging],
    "14.3": [cost_by_elements, cost_by_layers],
    "14.4": [merged_in_double, merged_by_addmm],
    "14.5": [step_by_autograd, step_by_formula],
}
WRONG = {
    "14.1": [
        (move(root=lambda n: 1), "The factor √n is missing"),
        (move(root=lambda n: n), "squares add up, so that it is √n"),
        (move(by=lambda b, a: b.norm()), "with their mean in it"),
        (move(by=lambda b, a: (a - a.mean(0)).norm()), "You divide by the spread *after*"),
        (move(by=lambda b, a: 1), "You do not divide by the spread"),
        (move(rest=lambda way, s: way.norm()), "yours is the whole way"),
        (move(rest=lambda way, s: way.norm() - len(way) ** 0.5 * s.norm()), "Lengths do not add up"),
        (move(swap=True), "wrong order"),
        (move(power=2), "take the root of both"),
        (move(root=lambda n: 1, by=lambda b, a: b.std(0).norm()), "standard deviation of one row"),
        (move(by=lambda b, a: b.var(0).sum() ** 0.5), "standard deviation of one row"),
        (move(by=lambda b, a: b.std()), "standard deviation of one row"),
        (lambda b, a: ((a - b).norm() / (b - b.mean(0)).norm(), moved_by_means(b, a)[1]),
         "yours is the whole of it"),
        (lambda b, a: (len(b) ** 0.5 * (a - b).mean(0) / (b - b.mean(0)).norm(), moved_by_means(b, a)[1]),
         "The shift is a length"),
        (lambda b, a: moved_by_means(a, b), "You divide by the spread *after*"),
        (lambda b, a: (b.shape[1] ** 0.5 * (a - b).mean(0).norm() / (b - b.mean(0)).norm(),
                       moved_by_means(b, a)[1]), "how many numbers in a row"),
        (lambda b, a: (len(b) ** 0.5 * (a - b).norm(dim=1).mean() / (b - b.mean(0)).norm(),
                       moved_by_means(b, a)[1]), "the mean of the lengths of all ways"),
        (move(by=lambda b, a: (a - b).norm()), "by the length of the whole way"),
        (lambda b, a: ((a - b).mean(0).norm() / b.var(0).sum().sqrt(),
                       ((a - b).var(0).sum() / b.var(0).sum()).sqrt()), "These are variances"),
        (lambda b, a: sum(moved_by_means(b, a)), "Return 2 values as a tuple"),
    ],
    "14.2": [
        (layer(factor=lambda a, d, u: 1), "alpha / rank is missing"),
        (layer(factor=lambda a, d, u: a), "You multiply by alpha alone"),
        (layer(factor=lambda a, d, u: 1 / len(d)), "You divide by the rank alone"),
        (layer(factor=lambda a, d, u: len(d) / a), "you have rank / alpha"),
        (layer(factor=lambda a, d, u: a / len(d) ** 0.5), "root of the rank"),
        (layer(factor=lambda a, d, u: a / d.shape[1]), "number of inputs"),
        (layer(factor=lambda a, d, u: a / len(u)), "number of outputs"),
        (layer(factor=lambda a, d, u: (a / len(d)) ** 0.5), "and not its root"),
        (lambda x, w, b, d, u, a: x @ (w * (a / len(d)) * (u @ d)).T + b, "the change is added"),
        (lambda x, w, b, d, u, a: x @ w.T + b + a / len(d) * torch.relu(x @ d.T) @ u.T, "Nothing bends"),
        (lambda x, w, b, d, u, a: F.linear(x, w, b) + a / len(d) * F.gelu(x @ d.T) @ u.T, "Nothing bends"),
        (layer(factor=lambda a, d, u: a / len(d) ** 2), "divide by the rank twice"),
        (lambda x, w, b, d, u, a: x @ w.T + b + a / len(d) * (x @ d.T @ u.T + b), "you add it once more"),
        (layer(with_bias=False), "The bias of the frozen layer is missing"),
        (layer(wide=0), "This is the narrow way alone"),
        (layer(sign=0), "This is the frozen layer alone"),
        (layer(sign=-1), "You subtract"),
        (lambda x, w, b, d, u, a: a / len(d) * (x @ w.T + b + x @ d.T @ u.T), "belongs to the narrow way"),
    ],
    "14.3": [
        (costs(each=lambda o, i, r: r * o * i), "not two narrow ones"),
        (costs(each=lambda o, i, r: r * i), "one of the two matrices"),
        (costs(each=lambda o, i, r: r * o), "`up` alone"),
        (costs(each=lambda o, i, r: 2 * r * i), "`up` has outputs × rank"),
        (costs(each=lambda o, i, r: o + i), "The rank is missing"),
        (costs(each=lambda o, i, r: r * (o + i) + o), "no bias of its own"),
        (costs(each=lambda o, i, r: o * i), "the frozen weights of the chosen layers"),
        (costs(whole=0), "frozen and new"),
        (costs(percent=100), "in per cent"),
        (costs(size=1), "in float32 each takes 4"),
        (costs(size=8), "4 bytes, not 8"),
        (costs(fits=lambda n, e: n.endswith(f"{e}.weight")), "with the dot before it"),
        (costs(fits=lambda n, e: e in n), "anywhere in its name"),
        (costs(two=False), "no matrix"),
        (cost_of_biases_too, "A bias is no matrix"),
        (costs(fits=lambda n, e: n.endswith(f".{e}.weight")), "with no dot before it"),
        (costs(fits=lambda n, e: n.split(".")[-2] == e), "last part of a name alone"),
        (costs(fits=lambda n, e: True), "Every matrix gets a LoRA"),
        (cost_end_by_end, "counts once"),
        (costs(fits=lambda n, e: n.endswith(e)), "Nothing fits"),
        (costs(size=32), "those are 4 bytes"),
        (costs(size=4 / 1024), "kilobytes"),
        (lambda s, r, w: cost_by_elements(s, r, w[:1]), "first end of `where` alone"),
        (cost_and(lambda n, all, own: {"share": n / (n + sum(math.prod(s) for s in all if len(s) == 2))}),
         "biases and norms"),
        (cost_and(lambda n, all, own: {"share": n / (n + numbers_of(all) - numbers_of(own))}),
         "The frozen weights stay"),
        (cost_and(lambda n, all, own: {"bytes": 4 * (n + numbers_of(all))}), "without the frozen model"),
        (costs(each=lambda o, i, r: r * (o + i) + r), "no bias of its own"),
    ],
    "14.4": [
        (merge(factor=lambda a, r: 1), "alpha / rank is missing"),
        (merge(factor=lambda a, r: a), "You multiply by alpha alone"),
        (merge(factor=lambda a, r: r / a), "you have rank / alpha"),
        (merge(factor=lambda a, r: a / r**0.5), "root of the rank"),
        (merge(share=lambda w, old, d: torch.isclose(w.double(), old.double(), rtol=0.01).double().mean()),
         "nearly those"),
        (merge(share=lambda w, old, d: (d.abs() < torch.finfo(old.dtype).eps * old.double().abs())
               .double().mean()), "the size of each change"),
        (lambda w, d, u, a: merge(factor=lambda a, r: a / d.shape[1])(w, d, u, a), "number of inputs"),
        (lambda w, d, u, a: merge(factor=lambda a, r: a / len(u))(w, d, u, a), "number of outputs"),
        (merge(sign=-1), "taken out again"),
        (merge(share=lambda w, old, d: (w != old).double().mean()), "*changed*"),
        (merge(share=lambda w, old, d: (w == old).double().sum()), "their share is wanted"),
        (merge(share=lambda w, old, d: (d == 0).double().mean()), "one of the two is missing"),
        (merge(share=lambda w, old, d: (w == old + d).double().mean()), "needed no rounding"),
        (lambda w, d, u, a: (w + a / len(d) * u @ d, (w + a / len(d) * u @ d == w).double().mean()),
         "one of the two is missing"),
        (lambda w, d, u, a: (a / len(d) * u @ d, ((a / len(d) * u @ d) == w).double().mean()),
         "This is the change alone"),
        (merge(share=lambda w, old, d: (2 * d.abs() < torch.finfo(old.dtype).eps * old.double().abs())
               .double().mean()), "the size of each change"),
        (summed(lambda w, d, u, a: w + (a / len(d) * u @ d).to(w)), "The change is rounded to few digits"),
        (summed(lambda w, d, u, a: w + a / len(d) * (u.to(w) @ d.to(w))), "matrices are rounded"),
        (summed(lambda w, d, u, a: (w.float() + a / len(d) * (u @ d).float()).to(w)), "of a float64 weight"),
        (lambda w, d, u, a: (w + a / len(d) * u @ d, merged_in_double(w, d, u, a)[1]),
         "one of the two is missing"),
    ],
    "14.5": [
        (step(first="up"), "`down` does not stay"),
        (step(first="down"), "You move `down` alone"),
        (step(first="up, then down"), "from the new `up`"),
        (step(first="down, then up"), "from the new `down`"),
        (step(inner=False), "by the chain rule each has it"),
        (step(outer=False), "The change of the weight lacks"),
        (step(inner=False, outer=False), "missing everywhere"),
        (step(sign=-1), "You step uphill"),
        (lambda *args: -step_by_formula(*args), "the other way round"),
        (lambda g, d, u, a, eta: step(factor=lambda a, r: a / d.shape[1])(g, d, u, a, eta),
         "number of inputs"),
        (step_scaled_twice, "have it twice"),
        (step(before=False), "without what was already there"),
        (step(factor=lambda a, r: a / r**0.5), "root of the rank"),
        (step(cross=False), "The product of both steps is missing"),
        (step(factor=lambda a, r: a), "you use alpha"),
        (lambda g, d, u, a, eta: -eta * g, "step of the full weight"),
        (lambda g, d, u, a, eta: 2 * step(cross=False)(g, d, u, a, eta) - step_by_formula(g, d, u, a, eta),
         "two minus signs"),
        (lambda g, d, u, a, eta: step(factor=lambda a, r: a / len(u))(g, d, u, a, eta), "number of outputs"),
    ],
}
