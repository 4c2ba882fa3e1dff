"""Lesson 05, Seeing: convolution, output size and receptive field, the residual block, ResNet-20."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


# 05.1 -------------------------------------------------------------------------------------------------------
@exercise("05.1", "Convolution by hand", minutes=10, points=3, difficulty=3, grad=(0, 1))
def conv2d(x, kernel, stride=1, padding=0):
    return F.conv2d(x, kernel, stride=stride, padding=padding)


@conv2d.worked
def _(x, kernel, stride=1, padding=0):
    h, w = x.shape[2:]
    kh, kw = kernel.shape[2:]
    framed = F.pad(x, (padding, padding, padding, padding))
    rows = (h + 2 * padding - kh) // stride + 1
    columns = (w + 2 * padding - kw) // stride + 1
    out = []
    for i in range(rows):
        line = []
        for j in range(columns):
            window = framed[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
            line.append(torch.einsum("ncab,ocab->no", window, kernel))
        out.append(torch.stack(line, dim=2))
    return torch.stack(out, dim=2)


@conv2d.cases
def _(draw):
    yield case(draw.normal(2, 3, 6, 6), draw.normal(4, 3, 3, 3), 1, 0, about="3 × 3 kernels, stride 1, no "
                                                                             "padding")
    yield case(
        draw.normal(2, 2, 7, 5), draw.normal(3, 2, 3, 2), 1, 0, about="kernels of 3 rows and 2 columns"
    )
    yield case(draw.normal(1, 2, 8, 11), draw.normal(2, 2, 3, 3), 2, 0, about="stride 2 on 8 × 11 pixels, "
                                                                              "where a last column is left "
                                                                              "over")
    yield case(draw.normal(2, 1, 5, 4), draw.normal(2, 1, 3, 3), 1, 1, about="padding 1")
    yield case(draw.normal(1, 3, 9, 7), draw.normal(2, 3, 4, 5), 3, 2, about="stride 3 with padding 2")
    yield case(draw.normal(3, 4, 3, 2), draw.normal(1, 4, 1, 1), 1, 0, about="1 × 1 kernels")


@conv2d.mistake("The kernel is turned round by 180°: that is the mathematician's convolution; conv2d lays "
                "the kernel on as it stands.")
def _(x, kernel, stride, padding):
    return F.conv2d(x, kernel.flip(2, 3), stride=stride, padding=padding)


@conv2d.mistake("Rows and columns of the kernel are swapped: kernel[o, c, a, b] meets row i + a and column j "
                "+ b.")
def _(x, kernel, stride, padding):
    return F.conv2d(x, kernel.transpose(2, 3), stride=stride, padding=padding)


@conv2d.mistake("The stride is ignored: every place is computed, and only every stride-th is wanted.")
def _(x, kernel, stride, padding):
    return F.conv2d(x, kernel, padding=padding)


@conv2d.mistake("The size fits the stride, but the windows still move by one pixel: window i starts at row i "
                "· stride.")
def _(x, kernel, stride, padding):
    rows, columns = F.conv2d(x, kernel, stride=stride, padding=padding).shape[2:]
    return F.conv2d(x, kernel, padding=padding)[:, :, :rows, :columns]


@conv2d.mistake("The padding is ignored: the picture needs a frame of zeros first.")
def _(x, kernel, stride, padding):
    return F.conv2d(x, kernel, stride=stride)


@conv2d.mistake("The frame is on one side only: padding p adds p rows above and below, p columns left and "
                "right.")
def _(x, kernel, stride, padding):
    return F.conv2d(F.pad(x, (0, padding, 0, padding)), kernel, stride=stride)


@conv2d.mistake("The frame is only on the left and above: padding p adds p rows above and below, p columns "
                "left and right.")
def _(x, kernel, stride, padding):
    return F.conv2d(F.pad(x, (padding, 0, padding, 0)), kernel, stride=stride)


@conv2d.mistake("The whole frame stands on one side: padding p adds p rows above and p below, p columns "
                "left and p right.")
def _(x, kernel, stride, padding):
    return F.conv2d(F.pad(x, (0, 2 * padding, 0, 2 * padding)), kernel, stride=stride)


@conv2d.mistake("The frame is 2p wide on every side: padding p adds p rows above and p below, p columns "
                "left and p right.")
def _(x, kernel, stride, padding):
    rows, columns = F.conv2d(x, kernel, stride=stride, padding=padding).shape[2:]
    return F.conv2d(x, kernel, stride=stride, padding=2 * padding)[:, :, :rows, :columns]


@conv2d.mistake("The frame is filled with ones: conv2d pads with zeros.")
def _(x, kernel, stride, padding):
    return F.conv2d(F.pad(x, (padding,) * 4, value=1.0), kernel, stride=stride)


@conv2d.mistake("The windows move by the stride down the rows only: column j starts at j · stride as well.")
def _(x, kernel, stride, padding):
    columns = F.conv2d(x, kernel, stride=stride, padding=padding).shape[3]
    return F.conv2d(x, kernel, stride=(stride, 1), padding=padding)[..., :columns]


@conv2d.mistake("The windows move by the stride along the columns only: row i starts at i · stride as well.")
def _(x, kernel, stride, padding):
    rows = F.conv2d(x, kernel, stride=stride, padding=padding).shape[2]
    return F.conv2d(x, kernel, stride=(1, stride), padding=padding)[:, :, :rows]


@conv2d.mistake("The first window is not counted: (h + 2p − kh) // stride is the number of steps after it.")
def _(x, kernel, stride, padding):
    return F.conv2d(x, kernel, stride=stride, padding=padding)[:, :, :-1, :-1]


@conv2d.mistake("The frame repeats the border pixels: conv2d pads with zeros.")
def _(x, kernel, stride, padding):
    return F.conv2d(F.pad(x, (padding,) * 4, mode="replicate"), kernel, stride=stride)


@conv2d.mistake("Only the first input channel is read: the sum runs over all of them.")
def _(x, kernel, stride, padding):
    return F.conv2d(x[:, :1], kernel[:, :1], stride=stride, padding=padding)


# 05.2 -------------------------------------------------------------------------------------------------------
@exercise("05.2", "Output size and receptive field", minutes=8, points=2, difficulty=2,
          names=("`output_size`", "`receptive_field`"))
def geometry(size, layers):
    field, jump = 1, 1
    for kernel, stride, padding in layers:
        size = (size + 2 * padding - kernel) // stride + 1
        field += (kernel - 1) * jump
        jump *= stride
    return size, field


@geometry.cases
def _(draw):
    yield case(32, [(3, 1, 1), (3, 1, 1), (5, 1, 0)], about="three layers of stride 1")
    yield case(32, [(3, 2, 1), (3, 2, 1), (3, 2, 1), (3, 1, 1)], about="three layers of stride 2 and one of "
                                                                       "stride 1")
    yield case(224, [(7, 2, 3), (3, 2, 1), (3, 1, 1), (3, 2, 1)], about="the first layers of ResNet-50")
    yield case(15, [], about="no layer at all")
    yield case(16, [(3, 1, 1)] * 6 + [(3, 2, 1)] * 2, about="a field larger than the picture")

    def mixed():
        layers = [
            tuple(int(draw.integers(high, low=low)) for low, high in ((1, 6), (1, 4), (0, 3)))
            for _ in range(4)
        ]
        return case(int(draw.integers(500, low=300)), layers, about="four layers of mixed kernels, strides "
                                                                    "and paddings")
    for _ in range(3):
        yield telling(geometry, mixed, hides=("end at the picture's rim",))


def _geometry(
    size,
    layers,
    divide=lambda a, b: a // b,
    both=2,
    one=1,
    start=1,
    step=lambda field, k, jump, s: field + (k - 1) * jump,
):
    field, jump = start, 1
    for k, s, p in layers:
        size = divide(size + both * p - k, s) + one
        field = step(field, k, jump, s)
        jump *= s
    return size, field


for _sentence, _slip in {
    "The field grows by this layer's own stride too early: its window's pixels are as far apart as the "
    "strides BEFORE it made them.": {"step": lambda field, k, jump, s: field + (k - 1) * jump * s},
    "The field ignores the strides: after a stride of 2, neighbours are two input pixels apart.": {
        "step": lambda field, k, jump, s: field + k - 1
    },
    "The field grows by kernel instead of kernel − 1 per layer: neighbouring windows overlap.": {
        "step": lambda field, k, jump, s: field + k * jump
    },
    "The field of a pixel without any layer is 1, not 0.": {"start": 0},
    "The padding is added once: it stands on both sides.": {"both": 1},
    "A window that does not fit whole is not computed: round down.": {
        "divide": lambda a, b: math.ceil(a / b)
    },
    "Half a window does not exist: the division rounds down to a whole number.": {
        "divide": lambda a, b: a / b
    },
    "The first window is not counted: (size + 2·padding − kernel) // stride is the number of steps after "
    "it.": {"one": 0},
    "The padding is ignored: it adds to the size on both sides.": {"both": 0},
    "The field is built from the last layer alone: every layer adds to what the earlier ones have seen.": {
        "step": lambda field, k, jump, s: 1 + (k - 1) * jump
    },
    "The field grows by this layer's own stride; what counts is the jump, the product of all strides "
    "before it.": {
        "step": lambda field, k, jump, s: field + (k - 1) * s
    },
}.items():
    geometry.mistake(_sentence)(lambda size, layers, slip=_slip: _geometry(size, layers, **slip))


@geometry.mistake("The jump is only the previous layer's stride: strides multiply from layer to layer.")
def _(size, layers):
    field, jump = 1, 1
    for k, s, _ in layers:
        field, jump = field + (k - 1) * jump, s
    return geometry.reference(size, layers)[0], field


@geometry.mistake("Your field is made to end at the picture's rim; the receptive field is what the layers "
                  "could see of a picture without end.")
def _(size, layers):
    out, field = geometry.reference(size, layers)
    return out, min(size, field)


@geometry.mistake("You read each layer as (kernel, padding, stride); it is (kernel, stride, padding).")
def _(size, layers):
    return geometry.reference(size, [(k, max(p, 1), s) for k, s, p in layers])


@geometry.mistake("The field is the product of the kernels, as if the jump grew by the kernel; the jump "
                  "is multiplied by "
                  "the stride.")
def _(size, layers):
    return geometry.reference(size, layers)[0], math.prod(k for k, _, _ in layers)


@geometry.mistake("The padding changes the field in your count: it moves the window, and widens what it "
                  "sees by nothing.")
def _(size, layers):
    field, jump = 1, 1
    for k, s, p in layers:
        field, jump = field + (k - 1 + 2 * p) * jump, jump * s
    return geometry.reference(size, layers)[0], field


@geometry.mistake("The size is only divided by the strides; the kernel takes its place too, and the "
                  "padding gives some back.")
def _(size, layers):
    out, field = size, geometry.reference(size, layers)[1]
    for _, s, _ in layers:
        out //= s
    return out, field


@geometry.mistake("The two numbers are in the wrong order: first the output size, then the receptive field.")
def _(size, layers):
    return geometry.reference(size, layers)[::-1]


# 05.3 -------------------------------------------------------------------------------------------------------
def _bn(x, w, name, eps=1e-5):
    return F.batch_norm(
        x,
        w[f"{name}.running_mean"],
        w[f"{name}.running_var"],
        w[f"{name}.weight"],
        w[f"{name}.bias"],
        eps=eps,
    )


@exercise("05.3", "A residual block", minutes=10, points=3, difficulty=3, grad=(0, 1))
def basic_block(x, shortcut, weights, stride=1):
    def batch_norm(z, name):
        mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        gamma, beta = weights[f"{name}.weight"], weights[f"{name}.bias"]
        unit = (z - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        return gamma[:, None, None] * unit + beta[:, None, None]

    inner = F.conv2d(x, weights["conv1.weight"], stride=stride, padding=1)
    inner = batch_norm(inner, "bn1").relu()
    branch = F.conv2d(inner, weights["conv2.weight"], padding=1)
    branch = batch_norm(branch, "bn2")
    return (branch + shortcut).relu()


def _bn_weights(draw, name, channels, low=0.01):
    return {
        f"{name}.weight": draw.uniform(channels, low=0.5, high=1.5),
        f"{name}.bias": draw.normal(channels) * 0.3,
        f"{name}.running_mean": draw.normal(channels) * 0.3,
        f"{name}.running_var": draw.uniform(channels, low=low, high=2.0),
    }


def _conv_weight(draw, out, inp):
    return draw.normal(out, inp, 3, 3) * (2 / (9 * inp)) ** 0.5


def _block_weights(draw, inp, out):
    return {"conv1.weight": _conv_weight(draw, out, inp), **_bn_weights(draw, "bn1", out),
            "conv2.weight": _conv_weight(draw, out, out), **_bn_weights(draw, "bn2", out)}


@basic_block.cases
def _(draw):
    yield case(
        draw.normal(3, 4, 6, 5),
        draw.normal(3, 4, 6, 5),
        _block_weights(draw, 4, 4),
        1,
        about="4 channels and stride 1",
    )
    yield case(
        draw.normal(2, 3, 8, 7),
        draw.normal(2, 6, 4, 4),
        _block_weights(draw, 3, 6),
        2,
        about="3 → 6 channels and stride 2",
    )
    yield case(
        draw.normal(1, 2, 3, 3),
        draw.normal(1, 2, 3, 3),
        _block_weights(draw, 2, 2),
        1,
        about="a single picture of 3 × 3",
    )


def _batch_bn(z, w, n):
    return F.batch_norm(z, None, None, w[f"{n}.weight"], w[f"{n}.bias"], training=True)


def _variance_bn(z, w, n):
    def wide(part):
        return w[f"{n}.{part}"].view(-1, 1, 1)
    return (z - wide("running_mean")) / (wide("running_var") + 1e-5) * wide("weight") + wide("bias")


def _rooted_bn(z, w, n):
    def wide(part):
        return w[f"{n}.{part}"].view(-1, 1, 1)
    return (z - wide("running_mean")) / (wide("running_var").sqrt() + 1e-5) * wide("weight") + wide("bias")


def _swapped_bn(z, w, n):
    own = {"weight": "bias", "bias": "weight", "running_mean": "running_mean", "running_var": "running_var"}
    return _bn(z, {f"{n}.{part}": w[f"{n}.{other}"] for part, other in own.items()}, n)


def _early(x, shortcut, w, stride):
    """The shortcut added before the second batch norm."""
    z = _bn(F.conv2d(x, w["conv1.weight"], stride=stride, padding=1), w, "bn1").relu()
    return _bn(F.conv2d(z, w["conv2.weight"], padding=1) + shortcut, w, "bn2").relu()


def _block(
    x, shortcut, w, stride, bn=_bn, strides=None, add=lambda branch, s: (branch + s).relu(), inner=torch.relu
):
    first, second = strides or (stride, 1)
    z = inner(bn(F.conv2d(x, w["conv1.weight"], stride=first, padding=1), w, "bn1"))
    return add(bn(F.conv2d(z, w["conv2.weight"], stride=second, padding=1), w, "bn2"), shortcut)


for _sentence, _slip in {
    "The shortcut is missing: this is a plain pair of layers.": lambda x, s, w, t: _block(
        x, s, w, t, add=lambda b, s: b.relu()
    ),
    "The last relu comes too early: add the shortcut first, then apply relu to the sum.": lambda x, s, w, t: (
        _block(x, s, w, t, add=lambda b, s: b.relu() + s)
    ),
    "The last relu is missing.": lambda x, s, w, t: _block(x, s, w, t, add=lambda b, s: b + s),
    "Both the branch and the sum went through relu: the branch must be free to subtract from the "
    "shortcut.": lambda x, s, w, t: _block(x, s, w, t, add=lambda b, s: (b.relu() + s).relu()),
    "The relu between the two convolutions is missing.": lambda x, s, w, t: _block(
        x, s, w, t, inner=lambda z: z
    ),
    "You normalise by the statistics of this batch: in eval mode batch norm uses running_mean and "
    "running_var.": lambda x, s, w, t: _block(x, s, w, t, bn=_batch_bn),
    "You divide by the variance: batch norm divides by its square root.": lambda x, s, w, t: _block(
        x, s, w, t, bn=_variance_bn
    ),
    "The 1e-5 under the square root is missing.": lambda x, s, w, t: _block(
        x, s, w, t, bn=lambda *a: _bn(*a, eps=0.0)
    ),
    "The stride sits in the second convolution: it belongs to the first.": lambda x, s, w, t: _block(
        x, s, w, t, strides=(1, t)
    ),
    "The shortcut is added before the second batch norm, which then rescales it: add it after BN₂.": _early,
    "The 1e-5 stands outside the root: it is added to the variance, before the root is taken.": (
        lambda x, s, w, t: _block(x, s, w, t, bn=_rooted_bn)
    ),
    "γ and β are exchanged: `.weight` (γ) multiplies, `.bias` (β) is added.": (
        lambda x, s, w, t: _block(x, s, w, t, bn=_swapped_bn)
    ),
    "bn1's numbers are used in both places: the second convolution has bn2.": (
        lambda x, s, w, t: _block(x, s, w, t, bn=lambda z, weights, n: _bn(z, weights, "bn1"))
    ),
    "The first relu comes before its batch norm: convolution, batch norm, relu is the order.": (
        lambda x, s, w, t: _block(
            x, s, w, t, bn=lambda z, weights, n: _bn(z.relu() if n == "bn1" else z, weights, n),
            inner=lambda z: z)
    ),
    "You add x itself: add the shortcut that was handed over, since x may have another "
    "shape.": lambda x, s, w, t: _block(x, x, w, t),
}.items():
    basic_block.mistake(_sentence)(_slip)


# 05.4 -------------------------------------------------------------------------------------------------------
def _option_a(x, channels, stride):
    missing = channels - x.shape[1]
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, missing // 2, missing // 2))


def _forward(
    x, weights, shortcut=_option_a, stem=torch.relu, pool=lambda z: z.mean((2, 3)), block=_block, bias=True,
    norm=_bn, stride_of=lambda stage, i: 2 if stage > 1 and i == 0 else 1, blocks=(0, 1, 2)
):
    """The network with every part that a learner may get wrong as an argument."""
    def part(prefix):
        return {
            name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)
        }
    x = stem(norm(F.conv2d(x, weights["conv1.weight"], padding=1), weights, "bn1"))
    for stage, channels in ((1, 16), (2, 32), (3, 64)):
        for place, i in enumerate(blocks):
            stride = stride_of(stage, place)
            x = block(x, shortcut(x, channels, stride), part(f"layer{stage}.{i}."), stride)
    features = pool(x)
    return features, F.linear(features, weights["linear.weight"], weights["linear.bias"] if bias else None)


@exercise("05.4", "ResNet-20 from its weights", minutes=18, points=4, difficulty=4,
          names=("the features", "the logits"))
def resnet20(x, weights):
    x = F.conv2d(x, weights["conv1.weight"], padding=1)
    x = _bn(x, weights, "bn1").relu()
    for stage, channels in ((1, 16), (2, 32), (3, 64)):
        for i in range(3):
            stride = 2 if stage > 1 and i == 0 else 1
            prefix = f"layer{stage}.{i}."
            part = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
            zeros = (channels - x.shape[1]) // 2
            shortcut = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, zeros, zeros))
            x = basic_block.reference(x, shortcut, part, stride)
    features = x.mean(dim=(2, 3))
    logits = features @ weights["linear.weight"].T + weights["linear.bias"]
    return features, logits


def random_weights(draw) -> dict[str, torch.Tensor]:
    """A state dict of ResNet-20 with the published names and shapes and random values, float64."""
    weights = {"conv1.weight": _conv_weight(draw, 16, 3), **_bn_weights(draw, "bn1", 16, low=0.5)}
    before = 16
    for stage, channels in ((1, 16), (2, 32), (3, 64)):
        for i in range(3):
            weights |= {
                f"layer{stage}.{i}.{name}": value
                for name, value in _block_weights(draw, before, channels).items()
            }
            before = channels
    return weights | {"linear.weight": draw.normal(10, 64) / 8, "linear.bias": draw.normal(10)}


@resnet20.cases
def _(draw):
    yield case(draw.normal(2, 3, 8, 8), random_weights(draw), about="two pictures of 8 × 8")
    yield case(draw.normal(1, 3, 9, 14), random_weights(draw), about="one picture of 9 × 14: odd sizes")
    yield case(draw.normal(1, 3, 32, 32), random_weights(draw), about="one picture of 32 × 32")


def _pad_after(x, channels, stride):
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, channels - x.shape[1]))


def _averaged(x, channels, stride):
    return _option_a(F.avg_pool2d(x, stride, ceil_mode=True) if stride > 1 else x, channels, 1)


def _repeated(x, channels, stride):
    x = x[:, :, ::stride, ::stride]
    return torch.cat([x] * (channels // x.shape[1]), 1)


for _sentence, _slip in {
    "All the zero channels stand after the old ones: option A puts half of them before and half behind.": {
        "shortcut": _pad_after
    },
    "All the zero channels stand before the old ones: option A puts half of them before and half behind.": {
        "shortcut": lambda x, c, s: F.pad(x[:, :, ::s, ::s], (0, 0, 0, 0, c - x.shape[1], 0))
    },
    "The shortcut takes the second, fourth, … row and column: option A begins with the first.": {
        "shortcut": lambda x, c, s: _option_a(x[:, :, s - 1 :: s, s - 1 :: s], c, 1)
    },
    "The first block of layer1 has stride 2 in your network; only those of layer2 and layer3 do.": {
        "stride_of": lambda stage, i: 2 if i == 0 else 1
    },
    "You have two blocks a stage; there are three.": {"blocks": (0, 1)},
    "Every stage runs with one block's weights: the second block and the third have weights of their own.": {
        "blocks": (0, 1, 1)
    },
    "The batch norm after the first convolution is missing.": {"norm": lambda z, w, name: z},
    "The first batch norm uses the statistics of this batch: a trained network is run with its running "
    "statistics.": {"norm": _batch_bn},
    "The shortcut averages 2 × 2 places: option A takes every second row and column and drops the others.": {
        "shortcut": _averaged
    },
    "The shortcut repeats its channels: option A fills the new channels with zeros.": {"shortcut": _repeated},
    "The shortcut takes the largest of 2 × 2 places: option A takes every second row and column.": {
        "shortcut": lambda x, c, s: _option_a(F.max_pool2d(x, s, ceil_mode=True) if s > 1 else x, c, 1)
    },
    "The shortcut is the upper left quarter of x: option A takes every second row and column.": {
        "shortcut": lambda x, c, s: _option_a(x[:, :, : -(-x.shape[2] // s), : -(-x.shape[3] // s)], c, 1)
    },
    "A max-pool follows your stem: that is ResNet-50's; ResNet-20 goes on with 32 × 32 places.": {
        "stem": lambda z: F.max_pool2d(z.relu(), 3, 2, 1)
    },
    "Your stem has stride 2: its convolution has stride 1 here.": {
        "stem": lambda z: z.relu()[:, :, ::2, ::2]
    },
    "The shortcut is missing in the blocks that change the shape.": {
        "shortcut": lambda x, c, s: _option_a(x, c, s) * (1.0 if s == 1 else 0.0)
    },
    "No block received its shortcut: this is a plain network.": {
        "shortcut": lambda x, c, s: 0 * _option_a(x, c, s)
    },
    "The relu after the first convolution and batch norm is missing.": {"stem": lambda z: z},
    "You take the largest place of every channel: ResNet takes the mean over the places.": {
        "pool": lambda z: z.amax((2, 3))
    },
    "You add up the places: ResNet takes their mean.": {"pool": lambda z: z.sum((2, 3))},
    "The bias of the last layer is missing.": {"bias": False},
    "Batch norm uses the statistics of this batch: a trained network is run with its running statistics.": {
        "block": lambda x, s, w, t: _block(x, s, w, t, bn=_batch_bn)
    },
}.items():
    resnet20.mistake(_sentence)(lambda x, weights, slip=_slip: _forward(x, weights, **slip))


@resnet20.mistake("The two results are in the wrong order: first the features (batch, 64), then the logits "
                  "(batch, 10).")
def _(x, weights):
    return _forward(x, weights)[::-1]


@resnet20.mistake("The second result went through a softmax: the logits are wanted, before any softmax.")
def _(x, weights):
    features, logits = _forward(x, weights)
    return features, logits.softmax(1)


@resnet20.mistake("The second result went through a log-softmax: the logits are wanted as they are.")
def _(x, weights):
    features, logits = _forward(x, weights)
    return features, logits.log_softmax(1)


# 05.5 -------------------------------------------------------------------------------------------------------
@exercise("05.5", "What a ResNet-50 is made of", minutes=30, points=4, difficulty=4, rtol=0.0, atol=0.1)
def resnet_parameters(blocks, classes):
    total = 7 * 7 * 3 * 64 + 2 * 64
    before = 64
    for stage in range(4):
        width = 64 * 2**stage
        for i in range(blocks[stage]):
            total += before * width + 2 * width
            total += 9 * width * width + 2 * width
            total += width * 4 * width + 2 * 4 * width
            if i == 0:
                total += before * 4 * width + 2 * 4 * width
            before = 4 * width
    return total + before * classes + classes


@resnet_parameters.cases
def _(draw):
    yield case((3, 4, 6, 3), 1000, about="ResNet-50")
    yield case((1, 1, 1, 1), 10, about="one block a stage")
    for _ in range(3):
        blocks = tuple(int(draw.integers(30, low=2)) for _ in range(4))
        yield case(blocks, int(draw.integers(2000, low=20)), about=f"blocks {blocks}")


def _resnet(
    blocks,
    classes,
    stem=7 * 7 * 3 * 64 + 2 * 64,
    per_channel=2,
    projected=lambda stage, i: i == 0,
    projection_norm=True,
    middle=lambda width: 9 * width * width,
    wide=4,
    widths=(64, 128, 256, 512),
    own_input=False,
    last=lambda channels, classes: channels * classes + classes,
):
    """The count with every part that a learner may get wrong as an argument."""
    total, before = stem, 64
    for stage, (width, n) in enumerate(zip(widths, blocks, strict=True)):
        for i in range(n):
            enters = width if own_input else before
            total += enters * width + middle(width) + width * wide * width + per_channel * (2 + wide) * width
            if projected(stage, i):
                total += before * wide * width + (per_channel * wide * width if projection_norm else 0)
            before = wide * width
    return total + last(before, classes)


for _sentence, _slip in {
    "Batch norm is not counted: it learns two numbers for every channel, γ and β.": {
        "per_channel": 0, "stem": 7 * 7 * 3 * 64
    },
    "Batch norm is counted with four numbers a channel: running mean and variance are averages that are "
    "kept, not learned.": {"per_channel": 4, "stem": 7 * 7 * 3 * 64 + 4 * 64},
    "Batch norm is counted with one number a channel: it learns two, γ and β.": {
        "per_channel": 1, "stem": 7 * 7 * 3 * 64 + 64
    },
    "Convolutions are counted with a bias: before a batch norm they have none.": {
        "per_channel": 3, "stem": 7 * 7 * 3 * 64 + 3 * 64
    },
    "The projections are missing: the first block of every stage changes the number of channels, so its "
    "shortcut is a 1 × 1 convolution with a batch norm.": {"projected": lambda stage, i: False},
    "Every block has a projection in your count; only the first of a stage changes the shape.": {
        "projected": lambda stage, i: True
    },
    "The first stage has no projection in your count: its stride is 1, but 64 channels become 256.": {
        "projected": lambda stage, i: stage > 0 and i == 0
    },
    "The projections are counted without their batch norm, or the stem as a 3 × 3 convolution: both leave "
    "out the same number.": {"projection_norm": False},
    "The 3 × 3 convolution works on the narrow width, on both sides: 9 · width · width.": {
        "middle": lambda width: 9 * width * 4 * width
    },
    "The 3 × 3 convolution has nine numbers for every pair of channels.": {
        "middle": lambda width: width * width
    },
    "The last 1 × 1 convolution widens: a block gives back four times its width.": {"wide": 1},
    "A block gives back four times its width; you have twice.": {"wide": 2},
    "All your stages have the same width; it doubles from stage to stage: 64, 128, 256, 512.": {
        "widths": (64,) * 4
    },
    "The first 1 × 1 convolution reads what comes in: 64 channels at first, four times the width "
    "afterwards.": {"own_input": True},
    "The last layer has a bias as well, one number a class.": {
        "last": lambda channels, classes: channels * classes
    },
    "The last layer is missing.": {"last": lambda channels, classes: 0},
    "The last layer reads 2,048 features, four times the last width.": {
        "last": lambda channels, classes: 512 * classes + classes
    },
    "The stem's batch norm is missing.": {"stem": 7 * 7 * 3 * 64},
    "The last layer has a bias for each class; you count one number.": {
        "last": lambda channels, classes: channels * classes + 1
    },
    "The width doubles from stage to stage; yours grows by 64: 64, 128, 192, 256.": {
        "widths": (64, 128, 192, 256)
    },
    "The 3 × 3 convolution works on the narrow width on both sides; yours works on four times the width.": {
        "middle": lambda width: 9 * 4 * width * 4 * width
    },
    "The stem is missing: a 7 × 7 convolution from 3 to 64 channels, with its batch norm.": {"stem": 0},
}.items():
    resnet_parameters.mistake(_sentence)(lambda blocks, classes, slip=_slip: _resnet(blocks, classes, **slip))


@resnet_parameters.mistake("This is the count of ResNet-50, whatever `blocks` is: walk through those given.")
def _(blocks, classes):
    return resnet_parameters.reference((3, 4, 6, 3), classes)


@resnet_parameters.mistake("A k × k convolution has k² numbers for every pair of channels; you count k.")
def _(blocks, classes):
    return _resnet(blocks, classes, stem=7 * 3 * 64 + 2 * 64, middle=lambda width: 3 * width * width)


@resnet_parameters.mistake(
    "All blocks of a stage read what the stage before gave back in your count; from the second on a block "
    "reads four "
    "times its own width."
)
def _(blocks, classes):
    total, before = _resnet(blocks, classes), 64
    for stage, n in enumerate(blocks):
        width = 64 * 2**stage
        total += (n - 1) * (before - 4 * width) * width
        before = 4 * width
    return total


@resnet_parameters.mistake("The projection reads what comes into the stage, 64 channels or what the stage "
                           "before gave back.")
def _(blocks, classes):
    inputs = (64, 256, 512, 1024)
    return _resnet(blocks, classes) + sum(
        (width - enters) * 4 * width for width, enters in zip((64, 128, 256, 512), inputs, strict=True))


@resnet_parameters.mistake("γ and β belong to the channels that come out of a convolution; you count "
                           "those that go in.")
def _(blocks, classes):
    stem, before = 7 * 7 * 3 * 64 + 2 * 3, 64
    total = _resnet(blocks, classes, stem, per_channel=0, projection_norm=False)
    for stage, n in enumerate(blocks):
        width = 64 * 2**stage
        total += 2 * before + 2 * sum((before if i == 0 else 4 * width) + 2 * width for i in range(n))
        before = 4 * width
    return total


@resnet_parameters.mistake("Your last layer has 1,000 classes, whatever `classes` is.")
def _(blocks, classes):
    return resnet_parameters.reference(blocks, 1000)


@resnet_parameters.mistake(
    "Every block reads four times its own width in your count; the first block of a stage reads what the "
    "stage before gave back."
)
def _(blocks, classes):
    total, channels = 7 * 7 * 3 * 64 + 2 * 64, 2048
    for stage, n in enumerate(blocks):
        width = 64 * 2**stage
        enters = 64 if stage == 0 else 2 * width  # what the projection reads is right
        total += n * (17 * width * width + 2 * 6 * width) + enters * 4 * width + 2 * 4 * width
    return total + channels * classes + classes


@resnet_parameters.mistake(
    "These are basic blocks, two 3 × 3 convolutions; a bottleneck is 1 × 1, 3 × 3, 1 × 1."
)
def _(blocks, classes):
    total, before = 7 * 7 * 3 * 64 + 2 * 64, 64
    for stage, n in enumerate(blocks):
        width = 64 * 2**stage
        for _ in range(n):
            total += 9 * before * width + 9 * width * width + 4 * width
            total += before * width + 2 * width if before != width else 0
            before = width
    return total + before * classes + classes
