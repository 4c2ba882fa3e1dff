"""Exercises of lesson 14: what moves, a low-rank layer, what it costs, merging, its first step."""

import math

import torch

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


# 14.1 How far vectors move ----------------------------------------------------------------------------------
def _tensors(answer, *args):
    """The two lengths may come as plain numbers."""
    found = answer(*args)
    return type(found)(torch.tensor(one, dtype=torch.float64) if isinstance(one, float) else one
                       for one in found) if type(found) in (tuple, list) else found


@exercise("14.1", "How far the vectors moved", minutes=12, points=3, difficulty=2,
          names=("the shift", "the rest"), call=_tensors)
def moved(before, after):
    n = before.shape[0]
    spread = ((before - before.mean(dim=0)) ** 2).sum().sqrt()
    way = after - before  # (rows, size)
    shared = way.mean(dim=0)  # (size,)
    shift = (n * (shared**2).sum()).sqrt() / spread
    rest = ((way - shared) ** 2).sum().sqrt() / spread
    return shift, rest


@moved.cases
def _(draw):
    def one(rows, size, about):
        before = draw.normal(rows, size) + 3 * draw.normal(size)
        after = before @ (torch.eye(size) + 0.4 * draw.normal(size, size)) + draw.normal(size)
        return case(before, after, about=about)

    yield telling(moved, lambda: one(7, 4, "7 rows with 4 numbers each"))
    yield telling(moved, lambda: one(3, 5, "fewer rows than numbers in each"))
    yield telling(moved, lambda: one(5, 5, "5 rows with 5 numbers each"), ("numbers in a row",))
    still = draw.normal(6, 3)
    yield case(still, still + draw.normal(3), about="rows that all moved the same way (the rest is 0)")
    yield case(still, still.clone(), about="rows that did not move")


def _way(before, after):
    way = after - before
    shared = way.mean(0)
    return way, shared, (way - shared).norm(), (before - before.mean(0)).norm(), math.sqrt(len(before))


@moved.mistake("The factor √n is missing: every one of the n rows goes the shared way, and their squares add "
               "up.")
def _(before, after):
    _, shared, rest, spread, _ = _way(before, after)
    return shared.norm() / spread, rest / spread


@moved.mistake("The root is of the number of rows n, which all go the shared way; yours is of how many "
               "numbers in a row there are.")
def _(before, after):
    _, shared, rest, spread, _ = _way(before, after)
    return math.sqrt(before.shape[1]) * shared.norm() / spread, rest / spread


@moved.mistake("The yardstick is the spread before; you divide by the length of the whole way.")
def _(before, after):
    way, shared, rest, _, root = _way(before, after)
    return root * shared.norm() / way.norm(), rest / way.norm()


@moved.mistake("The mean way is a vector, and the shift is made from its length; you take the mean of the "
               "lengths of all ways.")
def _(before, after):
    way, _, rest, spread, root = _way(before, after)
    return root * way.norm(dim=1).mean() / spread, rest / spread


@moved.mistake("These are variances and one mean way: each of the n rows goes the shared way, and the "
               "sums are not divided by anything.")
def _(before, after):
    way, shared, _, _, _ = _way(before, after)
    spread = before.var(0).sum().sqrt()
    return shared.norm() / spread, (way - shared).var(0).sum().sqrt() / spread


@moved.mistake("n times the length of the shared way: squares add up, so that it is √n times.")
def _(before, after):
    _, shared, rest, spread, _ = _way(before, after)
    return len(before) * shared.norm() / spread, rest / spread


@moved.mistake("You divide by the length of the vectors before, with their mean in it; divide by their "
               "spread around their mean.")
def _(before, after):
    _, shared, rest, _, root = _way(before, after)
    return root * shared.norm() / before.norm(), rest / before.norm()


@moved.mistake("You divide by the spread *after*; the spread before is the yardstick.")
def _(before, after):
    _, shared, rest, _, root = _way(before, after)
    spread = (after - after.mean(0)).norm()
    return root * shared.norm() / spread, rest / spread


@moved.mistake("The rest is what is left when the shared way has been taken out; yours is the whole way.")
def _(before, after):
    way, shared, _, spread, root = _way(before, after)
    return root * shared.norm() / spread, way.norm() / spread


@moved.mistake("The two are in the wrong order: first the shift, then the rest.")
def _(before, after):
    _, shared, rest, spread, root = _way(before, after)
    return rest / spread, root * shared.norm() / spread


@moved.mistake("These are squares: take the root of both.")
def _(before, after):
    _, shared, rest, spread, root = _way(before, after)
    return (root * shared.norm() / spread) ** 2, (rest / spread) ** 2


@moved.mistake("Lengths do not add up, their squares do: the rest is not the whole way minus the shift.")
def _(before, after):
    way, shared, _, spread, root = _way(before, after)
    return root * shared.norm() / spread, (way.norm() - root * shared.norm()) / spread


@moved.mistake("The mean is over the rows; you average the numbers of each row.")
def _(before, after):
    way = after - before
    shared, spread = way.mean(1, keepdim=True), (before - before.mean(1, keepdim=True)).norm()
    return math.sqrt(len(way)) * shared.norm() / spread, (way - shared).norm() / spread


@moved.mistake("You do not divide by the spread of the vectors before.")
def _(before, after):
    _, shared, rest, _, root = _way(before, after)
    return root * shared.norm(), rest


@moved.mistake("This is the mean length of the rows; the length of all rows together, as one long vector, is "
               "wanted.")
def _(before, after):
    way, shared, _, _, _ = _way(before, after)
    spread = (before - before.mean(0)).norm(dim=1).mean()
    return shared.norm() / spread, (way - shared).norm(dim=1).mean() / spread


def _deviations(root, spread):
    def answer(before, after):
        _, shared, rest, _, _ = _way(before, after)
        return root(len(before)) * shared.norm() / spread(before), rest / spread(before)
    return answer


for _root in (lambda n: 1, math.sqrt):
    for _spread in (lambda before: before.std(0).norm(), torch.std):  # of one row, of one number
        moved.mistake("Your spread is the standard deviation of one row; wanted is the root of the sum over "
                      "all of them.")(_deviations(_root, _spread))


@moved.mistake("The rest is the length of what is left of each row's way; you take the difference of two "
               "spreads.")
def _(before, after):
    _, shared, _, spread, root = _way(before, after)
    return root * shared.norm() / spread, ((after - after.mean(0)).norm() - spread).abs() / spread


@moved.mistake("The shift is the part of the way that all rows share, their mean way; yours is the whole of "
               "it.")
def _(before, after):
    way, _, rest, spread, _ = _way(before, after)
    return way.norm() / spread, rest / spread


@moved.mistake("The shift is a length: take the norm of the mean way.")
def _(before, after):
    _, shared, rest, spread, root = _way(before, after)
    return root * shared / spread, rest / spread


@moved.mistake("You add up absolute values; a length is the root of the sum of squares.")
def _(before, after):
    way, shared, _, _, _ = _way(before, after)
    spread = (before - before.mean(0)).abs().sum()
    return len(way) * shared.abs().sum() / spread, (way - shared).abs().sum() / spread


# 14.2 The layer ---------------------------------------------------------------------------------------------
@exercise("14.2", "A low-rank layer", minutes=12, points=3, difficulty=2, grad=(0, 3, 4))
def lora(x, weight, bias, down, up, alpha):
    rank = down.shape[0]
    wide = x @ weight.T + bias  # (…, outputs)
    narrow = x @ down.T  # (…, rank)
    return wide + (alpha / rank) * (narrow @ up.T)


@lora.cases
def _(draw):
    def one(rows, inputs, outputs, rank, alpha, about):
        return case(draw.normal(*rows, inputs), draw.normal(outputs, inputs), draw.normal(outputs),
                    draw.normal(rank, inputs), draw.normal(outputs, rank), alpha, about=about)

    yield telling(lora, lambda: one((5,), 6, 3, 2, 7.0, "5 rows, rank 2, alpha 7"))
    yield telling(lora, lambda: one((2, 3), 5, 7, 3, 1.5, "two texts of three tokens, rank 3, alpha 1.5"))
    yield telling(lora, lambda: one((4,), 4, 4, 4, 6.0, "a square weight of full rank"),
                  ("number of inputs", "number of outputs"))
    start = one((4,), 6, 5, 2, 5.0, "up = 0, as before the first step")
    yield case(*start.args[:4], torch.zeros(5, 2, dtype=torch.float64), 5.0, about=start.about)


def _added(x, down, up):
    return x @ down.T @ up.T


@lora.mistake("The factor alpha / rank is missing.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias + _added(x, down, up)


@lora.mistake("You multiply by alpha alone: the factor is alpha divided by the rank.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias + alpha * _added(x, down, up)


@lora.mistake("You divide by the rank alone: the factor is alpha divided by the rank.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias + _added(x, down, up) / len(down)


@lora.mistake("You divide by the rank twice: the factor is alpha / rank.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias + alpha / len(down) ** 2 * _added(x, down, up)


@lora.mistake("The bias belongs to the frozen layer alone; on the narrow way you add it once more.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias + alpha / len(down) * (_added(x, down, up) + bias)


@lora.mistake("The factor is alpha / rank itself, and not its root.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias + math.sqrt(alpha / len(down)) * _added(x, down, up)


@lora.mistake("You multiply the frozen weight by the change; the change is added to it.")
def _(x, weight, bias, down, up, alpha):
    return x @ (weight * (alpha / len(down) * up @ down)).T + bias


for _bend in (torch.relu, torch.nn.functional.gelu):
    lora.mistake("Nothing bends on the narrow way: two products, and no ReLU or GELU between them.")(
        lambda x, weight, bias, down, up, alpha, bend=_bend: (
            x @ weight.T + bias + alpha / len(down) * bend(x @ down.T) @ up.T))


@lora.mistake("The factor is alpha / rank; you have rank / alpha.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias + len(down) / alpha * _added(x, down, up)


@lora.mistake("You divide by the root of the rank; the factor here is alpha / rank.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias + alpha / math.sqrt(len(down)) * _added(x, down, up)


@lora.mistake("You divide by the number of inputs, the second axis of `down`; the rank is its first.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias + alpha / down.shape[1] * _added(x, down, up)


@lora.mistake("You divide by the number of outputs, the first axis of `up`; the rank is its second.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias + alpha / up.shape[0] * _added(x, down, up)


@lora.mistake("The bias of the frozen layer is missing.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + alpha / len(down) * _added(x, down, up)


@lora.mistake("The bias is scaled, too; the factor belongs to the narrow way alone.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + alpha / len(down) * (_added(x, down, up) + bias)


@lora.mistake("This is the narrow way alone; the frozen layer's own output belongs to it.")
def _(x, weight, bias, down, up, alpha):
    return alpha / len(down) * _added(x, down, up)


@lora.mistake("This is the frozen layer alone; the narrow way is missing.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias + 0 * _added(x, down, up)


@lora.mistake("The factor scales the frozen layer as well; it belongs to the narrow way alone.")
def _(x, weight, bias, down, up, alpha):
    return alpha / len(down) * (x @ weight.T + bias + _added(x, down, up))


@lora.mistake("The narrow way passes the frozen layer's output; both start at x, side by side.")
def _(x, weight, bias, down, up, alpha):
    wide = x @ weight.T + bias
    return wide + alpha / len(down) * _added(wide[..., : down.shape[1]], down, up)


@lora.mistake("You subtract the narrow way; it is added.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight.T + bias - alpha / len(down) * _added(x, down, up)


@lora.mistake("The weight is not transposed: it is (outputs, inputs), and rows of x have inputs numbers.")
def _(x, weight, bias, down, up, alpha):
    return x @ weight + bias + alpha / len(down) * _added(x, down, up)


# 14.3 What it costs -----------------------------------------------------------------------------------------
@exercise("14.3", "What an adapter costs", minutes=12, points=3, difficulty=2)
def cost(shapes, rank, where):
    numbers = 0
    for name, shape in shapes.items():
        if len(shape) != 2:
            continue
        if any(f".{name}".endswith(f".{end}.weight") for end in where):
            outputs, inputs = shape
            numbers = numbers + rank * (inputs + outputs)
    frozen = sum(math.prod(shape) for shape in shapes.values())
    return {"numbers": numbers, "share": numbers / (frozen + numbers), "bytes": 4 * numbers}


@cost.cases
def _(draw):
    def width():
        return 8 + int(draw.integers(90))

    def bert(where, rank, about):
        hidden, wide, words = width(), width(), width()
        shapes = {"embeddings.word.weight": (words, hidden), "embeddings.LayerNorm.weight": (hidden,)}
        for k in range(1 + int(draw.integers(3))):
            layer = f"layer.{k}"
            shapes |= {f"{layer}.attention.query.weight": (wide, hidden),
                       f"{layer}.attention.query.bias": (wide,),
                       f"{layer}.attention.subquery.weight": (width(), hidden),
                       f"{layer}.attention.value.weight": (width(), hidden),
                       f"{layer}.attention.value_norm.weight": (hidden,),
                       f"{layer}.value_head.weight": (width(), hidden),
                       f"{layer}.attention.output.dense.weight": (hidden, wide),
                       f"{layer}.output.dense.weight": (hidden, width()),
                       f"{layer}.output.dense.bias": (hidden,)}
        return case(shapes, rank, where, about=about)

    never = ("A norm has no matrix", "with no dot before it", "counts once")
    names, dots = ("with the dot before it", "anywhere in its name"), "the last part of a name alone"
    yield case({"words.weight": (9, 4), "query.weight": (7, 4), "query.bias": (7,), "norm.weight": (4,)}, 2,
               ("query",), about="a single layer")
    yield telling(cost, lambda: bert(("query", "value"), 3, "a BERT, query and value"), (*never, dots))
    yield telling(cost, lambda: bert(("attention.output.dense",), 2, "an end with dots in it"),
                  (*never, *names, "first end of `where` alone", "A bias is no matrix"))
    yield telling(cost, lambda: bert(("value", "output.dense"), 4, "ends of several layers"),
                  (*never, names[0]))
    yield case({"a.output.dense.weight": (5, 3), "a.dense.weight": (4, 6), "a.dense.bias": (4,)}, 2,
               ("dense", "output.dense"), about="a matrix that fits two ends")
    yield case({"a.query.weight": (5, 3), "a.query.bias": (5,)}, 1, ("key",), about="nothing that fits")
    yield case({"query.weight": (7,), "layer.query.weight": (7, 9)}, 1, ("query",),
               about="a norm whose name fits")


def _cost(shapes, rank, where, each=lambda o, i, r: r * (i + o), fits=None, whole=True, size=4,
          matrices=True, count=any):
    fits = fits or (lambda name, end: f".{name}".endswith(f".{end}.weight"))
    chosen = [shape for name, shape in shapes.items() if len(shape) == 2 or not matrices
              for _ in range(count(fits(name, end) for end in where))]
    numbers = sum(each(shape[0], shape[-1], rank) for shape in chosen)
    frozen = sum(math.prod(shape) for shape in shapes.values())
    return {"numbers": numbers, "share": numbers / (frozen + numbers * whole), "bytes": size * numbers}


for _sentence, _how in (
    ("rank × inputs × outputs would be a larger matrix, not two narrow ones: rank × (inputs + outputs).",
     {"each": lambda o, i, r: r * o * i}),
    ("You count one of the two matrices: `down` has rank × inputs numbers, `up` outputs × rank.",
     {"each": lambda o, i, r: r * i}),
    ("You count `up` alone; `down` has rank × inputs numbers more.", {"each": lambda o, i, r: r * o}),
    ("Both matrices are counted with the number of inputs; `up` has outputs × rank.",
     {"each": lambda o, i, r: 2 * r * i}),
    ("Both matrices are counted with the number of outputs; `down` has rank × inputs.",
     {"each": lambda o, i, r: 2 * r * o}),
    ("The rank is missing: this is the count for rank 1.", {"each": lambda o, i, r: i + o}),
    ("LoRA has no bias of its own: two matrices, rank × (inputs + outputs).",
     {"each": lambda o, i, r: r * (i + o) + o}),
    ("LoRA has no bias of its own, neither of its rank nor of its outputs.",
     {"each": lambda o, i, r: r * (i + o) + r}),
    ("LoRA has no biases of its own: two matrices, and nothing else.",
     {"each": lambda o, i, r: r * (i + o) + r + o}),
    ("A matrix that fits two ends of `where` has one LoRA, and counts once.", {"count": sum}),
    ("Nothing fits: a name goes on with `.weight` after the end that stands in `where`.",
     {"fits": lambda name, end: f".{name}".endswith(f".{end}")}),
    ("A name may be the end itself: `query.weight` fits `query`, with no dot before it.",
     {"fits": lambda name, end: name.endswith(f".{end}.weight")}),
    ("An end may have dots of its own, `attention.output.dense`; you compare the last part of a name alone.",
     {"fits": lambda name, end: [end] == name.split(".")[-2:-1]}),
    ("Every matrix gets a LoRA here; only those whose names end as `where` says.",
     {"fits": lambda name, end: True}),
    ("You count the frozen weights of the chosen layers; what learns are the two narrow matrices.",
     {"each": lambda o, i, r: o * i}),
    ("The frozen weight is counted as if it learned, too.", {"each": lambda o, i, r: o * i + r * (i + o)}),
    ("You leave the LoRA's own numbers out of the whole: the share is of all numbers, frozen and new.",
     {"whole": False}),
    ("A number in float32 takes 4 bytes, not 8.", {"size": 8}),
    ("A number in float32 takes 4 bytes, not 2.", {"size": 2}),
    ("A number in float32 takes 32 bits, and those are 4 bytes.", {"size": 32}),
    ("`bytes` is in bytes, not in kilobytes.", {"size": 4 / 1024}),
    ("`bytes` is the count of numbers; in float32 each takes 4.", {"size": 1}),
    ("Ask for the *end* of a name, with the dot before it: `subquery` has another name than `query`.",
     {"fits": lambda name, end: name.endswith(f"{end}.weight")}),
    ("Ask for the end of a name; you take every matrix that has the text of an end anywhere in its name.",
     {"fits": lambda name, end: end in name}),
):
    cost.mistake(_sentence)(lambda shapes, rank, where, how=_how: _cost(shapes, rank, where, **how))


@cost.mistake("A norm has no matrix: a shape of one number gets no LoRA, whatever it is called; this one has "
              "no matrix.")
def _(shapes, rank, where):
    return _cost(shapes, rank, where, matrices=False)


@cost.mistake("A bias is no matrix: only names that end in `.weight` get a LoRA.")
def _(shapes, rank, where):
    ends = tuple(f".{end}.bias" for end in where)
    biases = sum(rank * math.prod(shape) for name, shape in shapes.items() if f".{name}".endswith(ends))
    numbers = _cost(shapes, rank, where)["numbers"] + biases
    whole = sum(math.prod(shape) for shape in shapes.values()) + numbers
    return {"numbers": numbers, "share": numbers / whole, "bytes": 4 * numbers}


@cost.mistake("The share is a share, from 0 to 1; yours is in per cent.")
def _(shapes, rank, where):
    found = _cost(shapes, rank, where)
    return found | {"share": 100 * found["share"]}


@cost.mistake("The share is of the frozen weights of the chosen layers; it is to be of all numbers of the "
              "model.")
def _(shapes, rank, where):
    found, chosen = _cost(shapes, rank, where), _cost(shapes, rank, where, each=lambda o, i, r: o * i)
    return found | {"share": found["numbers"] / max(1, chosen["numbers"] + found["numbers"])}


@cost.mistake("The share is of *all* numbers of the model; you leave out biases and norms.")
def _(shapes, rank, where):
    found = _cost(shapes, rank, where)
    frozen = sum(math.prod(shape) for shape in shapes.values() if len(shape) == 2)
    return found | {"share": found["numbers"] / (frozen + found["numbers"])}


@cost.mistake("The frozen weights stay beside the LoRA, those of the chosen layers too: the share is of all "
              "numbers, frozen and new.")
def _(shapes, rank, where):
    found, chosen = _cost(shapes, rank, where), _cost(shapes, rank, where, each=lambda o, i, r: o * i)
    whole = sum(math.prod(shape) for shape in shapes.values()) - chosen["numbers"] + found["numbers"]
    return found | {"share": found["numbers"] / whole}


@cost.mistake("Saved is what learns: the bytes are of the two narrow matrices, without the frozen model.")
def _(shapes, rank, where):
    found = _cost(shapes, rank, where)
    return found | {"bytes": 4 * (found["numbers"] + sum(math.prod(shape) for shape in shapes.values()))}


@cost.mistake("You look for the first end of `where` alone; a matrix gets a LoRA if any of them fits.")
def _(shapes, rank, where):
    return _cost(shapes, rank, where[:1])


# 14.4 Merging -----------------------------------------------------------------------------------------------
ROUNDED = ("The result is rounded to the format of `weight`, and the share counts its entries that equal "
           "those of the old weight: one of the two is missing.")
BACK = ROUNDED.replace("The result is rounded to", "The merged weight comes back in")


def _share(answer, weight, *args):
    """The share may come in any format, if it is that of a whole number of entries."""
    found = answer(weight, *args)
    if isinstance(found, (tuple, list)) and len(found) == 2 and isinstance(found[1], (torch.Tensor, float)):
        entries = torch.as_tensor(found[1]).double() * weight.numel()
        found = found[0], entries.round() / weight.numel()
    return found


@exercise("14.4", "Merged, in the format of the weight", minutes=12, points=3, difficulty=3,
          names=("the merged weight", "the share"), rtol=1e-9, atol=1e-12, call=_share)
def merged(weight, down, up, alpha):
    rank = down.shape[0]
    delta = (alpha / rank) * (up @ down)  # (outputs, inputs), float64
    exact = weight.to(delta.dtype) + delta
    result = exact.to(weight.dtype)
    same = (result == weight).to(delta.dtype)
    return result, same.mean()


@merged.cases
def _(draw):
    def one(outputs, inputs, rank, alpha, size, dtype, about):
        def draw_one():
            weight = draw.normal(outputs, inputs).to(dtype)
            down, up = draw.normal(rank, inputs), size * draw.normal(outputs, rank)
            return case(weight, down, up, alpha, about=about)
        return draw_one

    yield one(4, 6, 2, 4.0, 0.0, torch.bfloat16, "up = 0 (nothing changes)")()
    guessed = ("number of entries", "The result is rounded", "from the size", "nearly those")
    yield telling(merged, one(5, 4, 2, 6.0, 1.0, torch.float64, "a weight in float64"),
                  (*guessed, "few digits", "comes back in the format"))
    little = "of a float64 weight", "few digits"  # how the sum was taken hardly shows
    yield telling(merged, one(12, 9, 2, 5.0, 0.002, torch.bfloat16, "a small change of a weight in bfloat16"),
                  little)
    yield telling(merged, one(9, 11, 3, 4.5, 0.0004, torch.float16, "a small change of a weight in float16"),
                  little)
    yield telling(merged, one(12, 9, 2, 5.0, 1.0, torch.bfloat16, "a large change of a weight in bfloat16"),
                  (*guessed, "of a float64 weight", "needed no rounding"))


def _merged(weight, down, up, alpha, scale=None, sign=1, share=None, rounded=True):
    delta = sign * (alpha / len(down) if scale is None else scale) * (up @ down)
    result = (weight.to(delta.dtype) + delta).to(weight.dtype if rounded else delta.dtype)
    return result, (result == weight).double().mean() if share is None else share(result, weight, delta)


# First those that come near to the right answer: a check compares within the digits of the format.
@merged.mistake("The change is rounded to few digits before it is added: add in float64, and round the sum "
                "alone.")
def _(weight, down, up, alpha):
    change = (alpha / len(down) * (up @ down)).to(weight.dtype)
    return weight + change, (weight + change == weight).double().mean()


def _summed(sum_of):
    def answer(weight, down, up, alpha):
        result = sum_of(weight, down, up, alpha / len(down)).to(weight.dtype)
        return result, (result == weight).double().mean()
    return answer


for _sum in (lambda w, down, up, s: w + s * (up.to(w.dtype) @ down.to(w.dtype)),
             lambda w, down, up, s: w.double() + s * up.to(w.dtype).double() @ down.to(w.dtype).double()):
    merged.mistake("The two narrow matrices are rounded to few digits before they are multiplied: multiply "
                   "and add in float64, and round the sum alone.")(_summed(_sum))
for _sum in (lambda w, down, up, s: w.float() + (s * (up @ down)).float(),
             lambda w, down, up, s: w.float() + s * (up @ down).float(),
             lambda w, down, up, s: w.float() + s * up.float() @ down.float()):
    merged.mistake("The sum loses digits of a float64 weight: add in float64, and go back to the format of "
                   "`weight`.")(_summed(_sum))
for _sentence, _how in (
    ("The factor alpha / rank is missing.", lambda down, alpha: {"scale": 1.0}),
    ("You multiply by alpha alone: the factor is alpha divided by the rank.",
     lambda down, alpha: {"scale": alpha}),
    ("The factor is alpha / rank; you have rank / alpha.", lambda down, alpha: {"scale": len(down) / alpha}),
    ("You divide by the rank alone: the factor is alpha divided by the rank.",
     lambda down, alpha: {"scale": 1 / len(down)}),
    ("The factor is alpha / rank; you divide by the root of the rank.",
     lambda down, alpha: {"scale": alpha / math.sqrt(len(down))}),
    ("You divide by the number of inputs, the second axis of `down`; the rank is its first.",
     lambda down, alpha: {"scale": alpha / down.shape[1]}),
    ("An entry counts as unchanged where it is exactly the old one; yours are nearly those of before.",
     lambda down, alpha: {"share": lambda r, w, d: torch.isclose(
         r.to(d.dtype), w.to(d.dtype), rtol=0.01).double().mean()}),
    ("The share counts the entries that came out as the old ones; you guess it from the size of each change.",
     lambda down, alpha: {"share": lambda r, w, d: (
         d.abs() < torch.finfo(w.dtype).eps * w.to(d.dtype).abs()).double().mean()}),
    ("The share counts the entries that came out as the old ones; you guess it from the size of each change.",
     lambda down, alpha: {"share": lambda r, w, d: (
         d.abs() < torch.finfo(w.dtype).eps / 2 * w.to(d.dtype).abs()).double().mean()}),
    ("The change is subtracted: that is how a merged LoRA is taken out again.",
     lambda down, alpha: {"sign": -1}),
    ("The share is of the entries that *changed*; wanted is the share that stayed as it was.",
     lambda down, alpha: {"share": lambda r, w, d: (r != w).double().mean()}),
    ("This is the number of entries that stayed; their share is wanted.",
     lambda down, alpha: {"share": lambda r, w, d: (r == w).double().sum()}),
    ("You ask which entries needed no rounding; compare the result with the old weight.",
     lambda down, alpha: {"share": lambda r, w, d: (r.to(d.dtype) == w.to(d.dtype) + d).double().mean()}),
    (ROUNDED,
     lambda down, alpha: {"share": lambda r, w, d: (d == 0).double().mean()}),
    (BACK, lambda down, alpha: {"rounded": False}),
):
    merged.mistake(_sentence)(
        lambda weight, down, up, alpha, how=_how: _merged(weight, down, up, alpha, **how(down, alpha)))


@merged.mistake("You divide by the number of outputs, the first axis of `up`; the rank is its second.")
def _(weight, down, up, alpha):
    return _merged(weight, down, up, alpha, scale=alpha / len(up))


@merged.mistake("This is the change alone; it is added to the weight.")
def _(weight, down, up, alpha):
    delta = alpha / len(down) * (up @ down)
    result = delta.to(weight.dtype)
    return result, (result == weight).double().mean()


# 14.5 The first step ----------------------------------------------------------------------------------------
@exercise("14.5", "One step of a low-rank layer", minutes=25, points=4, difficulty=4)
def change_of_one_step(gradient, down, up, alpha, learning_rate):
    scale = alpha / down.shape[0]
    gradient_of_up = scale * (gradient @ down.T)  # (outputs, rank)
    gradient_of_down = scale * (up.T @ gradient)  # (rank, inputs)
    new_up = up - learning_rate * gradient_of_up
    new_down = down - learning_rate * gradient_of_down
    return scale * (new_up @ new_down) - scale * (up @ down)


@change_of_one_step.cases
def _(draw):
    def one(outputs, inputs, rank, alpha, rate, about, zero=False):
        up = draw.normal(outputs, rank) * (not zero)
        return case(draw.normal(outputs, inputs), draw.normal(rank, inputs), up, alpha, rate, about=about)

    later = ("from the new `down`", "`down` does not stay", "second order", "already there",
             "two minus signs")
    yield telling(change_of_one_step, lambda: one(4, 5, 2, 3.0, 0.1, "the first step, up = 0", zero=True),
                  later)
    yield telling(change_of_one_step, lambda: one(3, 6, 2, 5.0, 0.2, "a later step"))
    yield telling(change_of_one_step, lambda: one(5, 5, 3, 1.5, 0.3, "a square weight"))


def _step(gradient, down, up, alpha, rate, s_up=None, s_down=None, s_out=None, to_up=True, to_down=True,
          chained=None):
    scale = alpha / len(down)
    s_up, s_down, s_out = (scale if s is None else s for s in (s_up, s_down, s_out))
    new_up = up - rate * s_up * gradient @ down.T * to_up
    new_down = down - rate * s_down * (new_up if chained == "up" else up).T @ gradient * to_down
    if chained == "down":
        new_up = up - rate * s_up * gradient @ new_down.T
    return s_out * (new_up @ new_down - up @ down)


for _sentence, _how in (
    ("Both gradients are taken before either matrix moves; you compute that of `down` from the new `up`.",
     {"chained": "up"}),
    ("Both gradients are taken before either matrix moves; you compute that of `up` from the new `down`.",
     {"chained": "down"}),
    ("`down` does not stay: with an `up` that is not 0 it has a gradient as well.", {"to_down": False}),
    ("You move `down` alone; the gradient of `up` is s G downᵀ, and is not 0 at the first step.",
     {"to_up": False}),
    ("The gradients lack the factor alpha / rank: by the chain rule each has it.", {"s_up": 1.0,
                                                                                  "s_down": 1.0}),
    ("The change of the weight lacks the factor alpha / rank.", {"s_out": 1.0}),
    ("The gradient of `up` lacks the factor alpha / rank.", {"s_up": 1.0}),
    ("The factor alpha / rank is missing everywhere.", {"s_up": 1.0, "s_down": 1.0, "s_out": 1.0}),
):
    change_of_one_step.mistake(_sentence)(
        lambda gradient, down, up, alpha, learning_rate, how=_how: _step(
            gradient, down, up, alpha, learning_rate, **how))


@change_of_one_step.mistake("The change of a product is not the product of the changes: s (B′A′ − BA).")
def _(gradient, down, up, alpha, learning_rate):
    s = alpha / len(down)
    return s * (learning_rate * s * gradient @ down.T) @ (learning_rate * s * up.T @ gradient)


@change_of_one_step.mistake("The factor is alpha / rank; you take the root of the rank.")
def _(gradient, down, up, alpha, learning_rate):
    return _step(gradient, down, up, alpha * math.sqrt(len(down)), learning_rate)


@change_of_one_step.mistake("You step uphill: a step goes against the gradient.")
def _(gradient, down, up, alpha, learning_rate):
    return _step(gradient, down, up, alpha, -learning_rate)


@change_of_one_step.mistake("You divide by the number of inputs, the second axis of `down`; the rank is its "
                            "first.")
def _(gradient, down, up, alpha, learning_rate):
    return _step(gradient, down, up, alpha * len(down) / down.shape[1], learning_rate)


@change_of_one_step.mistake("Each gradient has the factor alpha / rank once, and the change of the weight "
                            "once more; your gradients have it twice.")
def _(gradient, down, up, alpha, learning_rate):
    twice = (alpha / len(down)) ** 2
    return _step(gradient, down, up, alpha, learning_rate, s_up=twice, s_down=twice)


@change_of_one_step.mistake("The change is what is there after the step minus what was before; yours is the "
                            "other way round.")
def _(gradient, down, up, alpha, learning_rate):
    return -_step(gradient, down, up, alpha, learning_rate)


@change_of_one_step.mistake("This is the product after the step, the whole of what is added to the weight; "
                            "its change is wanted, without what was already there.")
def _(gradient, down, up, alpha, learning_rate):
    return _step(gradient, down, up, alpha, learning_rate) + alpha / len(down) * up @ down


@change_of_one_step.mistake("The product of both steps is missing: it is of second order in the rate, small, "
                            "and there.")
def _(gradient, down, up, alpha, learning_rate):
    s = alpha / len(down)
    return -learning_rate * s**2 * (gradient @ down.T @ down + up @ up.T @ gradient)


@change_of_one_step.mistake("The product of both steps has two minus signs: it is added, not subtracted.")
def _(gradient, down, up, alpha, learning_rate):
    s = alpha / len(down)
    steps = learning_rate * s * gradient @ down.T, learning_rate * s * up.T @ gradient
    return -s * (steps[0] @ down + up @ steps[1] + steps[0] @ steps[1])


@change_of_one_step.mistake("You divide by the number of outputs, the first axis of `up`; the rank is its "
                            "second.")
def _(gradient, down, up, alpha, learning_rate):
    return _step(gradient, down, up, alpha * len(down) / len(up), learning_rate)


@change_of_one_step.mistake("This is the step of the full weight; the two narrow matrices step in its place.")
def _(gradient, down, up, alpha, learning_rate):
    return -learning_rate * gradient


@change_of_one_step.mistake("The factor is alpha / rank; you use alpha.")
def _(gradient, down, up, alpha, learning_rate):
    return _step(gradient, down, up, alpha * len(down), learning_rate)
