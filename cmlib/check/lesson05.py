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


@conv2d.mistake("The frame repeats the border pixels: conv2d pads with zeros.")
def _(x, kernel, stride, padding):
    return F.conv2d(F.pad(x, (padding,) * 4, mode="replicate"), kernel, stride=stride)


@conv2d.mistake("Only the first input channel is read: the sum runs over all of them.")
def _(x, kernel, stride, padding):
    return F.conv2d(x[:, :1], kernel[:, :1], stride=stride, padding=padding)


# 05.2 -------------------------------------------------------------------------------------------------------
@exercise("05.2", "Output size and receptive field", minutes=8, points=2, difficulty=2)
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

    def mixed():
        layers = [
            tuple(int(draw.integers(high, low=low)) for low, high in ((1, 6), (1, 4), (0, 3)))
            for _ in range(4)
        ]
        return case(int(draw.integers(500, low=300)), layers, about="four layers of mixed kernels, strides "
                                                                    "and paddings")
    for _ in range(3):
        yield telling(geometry, mixed)


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
}.items():
    geometry.mistake(_sentence)(lambda size, layers, slip=_slip: _geometry(size, layers, **slip))


@geometry.mistake("The jump is only the previous layer's stride: strides multiply from layer to layer.")
def _(size, layers):
    field, jump = 1, 1
    for k, s, _ in layers:
        field, jump = field + (k - 1) * jump, s
    return geometry.reference(size, layers)[0], field


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
    inner = _bn(F.conv2d(x, weights["conv1.weight"], stride=stride, padding=1), weights, "bn1").relu()
    return (_bn(F.conv2d(inner, weights["conv2.weight"], padding=1), weights, "bn2") + shortcut).relu()


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
    "You add x itself: add the shortcut that was handed over, since x may have another "
    "shape.": lambda x, s, w, t: _block(x, x, w, t),
}.items():
    basic_block.mistake(_sentence)(_slip)


# 05.4 -------------------------------------------------------------------------------------------------------
def _option_a(x, channels, stride):
    missing = channels - x.shape[1]
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, missing // 2, missing // 2))


def _forward(
    x, weights, shortcut=_option_a, stem=torch.relu, pool=lambda z: z.mean((2, 3)), block=_block, bias=True
):
    def part(prefix):
        return {
            name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)
        }
    x = stem(_bn(F.conv2d(x, weights["conv1.weight"], padding=1), weights, "bn1"))
    for stage, channels in ((1, 16), (2, 32), (3, 64)):
        for i in range(3):
            stride = 2 if stage > 1 and i == 0 else 1
            x = block(x, shortcut(x, channels, stride), part(f"layer{stage}.{i}."), stride)
    features = pool(x)
    return features, F.linear(features, weights["linear.weight"], weights["linear.bias"] if bias else None)


@exercise("05.4", "ResNet-20 from its weights", minutes=18, points=4, difficulty=4)
def resnet20(x, weights):
    return _forward(x, weights)


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
    "The shortcut averages 2 × 2 places: option A takes every second row and column and drops the others.": {
        "shortcut": _averaged
    },
    "The shortcut repeats its channels: option A fills the new channels with zeros.": {"shortcut": _repeated},
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
