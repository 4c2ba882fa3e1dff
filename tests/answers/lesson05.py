"""Right and wrong answers to lesson 05, written as learners write them."""

import torch
import torch.nn.functional as F


# 05.1 -------------------------------------------------------------------------------------------------------
def conv_loops(x, kernel, stride=1, padding=0):
    n, c, h, w = x.shape
    out_channels, _, kh, kw = kernel.shape
    framed = x.new_zeros(n, c, h + 2 * padding, w + 2 * padding)
    framed[:, :, padding:padding + h, padding:padding + w] = x
    rows, columns = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    out = x.new_zeros(n, out_channels, rows, columns)
    for i in range(rows):
        for j in range(columns):
            # (n, 1, c, kh, kw)
            window = framed[:, None, :, i * stride:i * stride + kh, j * stride:j * stride + kw]
            out[:, :, i, j] = (window * kernel).sum((2, 3, 4))
    return out


def conv_unfold(x, kernel, stride=1, padding=0):
    windows = F.pad(x, (padding,) * 4).unfold(2, kernel.shape[2], stride).unfold(3, kernel.shape[3], stride)
    return torch.einsum("ncijab,ocab->noij", windows, kernel)


def conv_offsets(x, kernel, stride=1, padding=0):
    x = F.pad(x, (padding,) * 4)
    kh, kw = kernel.shape[2:]
    rows, columns = (x.shape[2] - kh) // stride + 1, (x.shape[3] - kw) // stride + 1
    total = 0
    for a in range(kh):
        for b in range(kw):
            shifted = x[:, :, a:a + (rows - 1) * stride + 1:stride, b:b + (columns - 1) * stride + 1:stride]
            total = total + torch.einsum("ncij,oc->noij", shifted, kernel[:, :, a, b])
    return total


def conv_float32(x, kernel, stride=1, padding=0):
    good = conv_unfold(x, kernel, stride, padding)
    out = torch.zeros(good.shape)
    out[:] = good
    return out


def conv_flipped(x, kernel, stride=1, padding=0):
    return conv_unfold(x, kernel.flip((2, 3)), stride, padding)


def conv_swapped(x, kernel, stride=1, padding=0):
    return conv_unfold(x, kernel.transpose(2, 3), stride, padding)


def conv_no_stride(x, kernel, stride=1, padding=0):
    return conv_unfold(x, kernel, 1, padding)


def conv_window_at_i(x, kernel, stride=1, padding=0):
    x = F.pad(x, (padding,) * 4)
    kh, kw = kernel.shape[2:]
    rows, columns = (x.shape[2] - kh) // stride + 1, (x.shape[3] - kw) // stride + 1
    out = x.new_zeros(len(x), len(kernel), rows, columns)
    for i in range(rows):
        for j in range(columns):
            out[:, :, i, j] = (x[:, None, :, i:i + kh, j:j + kw] * kernel).sum((2, 3, 4))
    return out


def conv_no_padding(x, kernel, stride=1, padding=0):
    return conv_unfold(x, kernel, stride, 0)


def conv_one_side(x, kernel, stride=1, padding=0):
    return conv_unfold(F.pad(x, (0, padding, 0, padding)), kernel, stride)


def conv_replicate(x, kernel, stride=1, padding=0):
    return conv_unfold(F.pad(x, (padding,) * 4, mode="replicate"), kernel, stride)


def conv_first_channel(x, kernel, stride=1, padding=0):
    return conv_unfold(x[:, :1], kernel[:, :1], stride, padding)


def conv_detached(x, kernel, stride=1, padding=0):
    return conv_unfold(x.detach(), kernel.detach(), stride, padding)


# 05.2 -------------------------------------------------------------------------------------------------------
def geometry_forward(size, layers):
    jump = field = 1
    for k, s, p in layers:
        size = 1 + (size + p + p - k) // s
        field = field + jump * (k - 1)
        jump = jump * s
    return size, field


def geometry_backward(size, layers):
    field = 1
    for k, s, _ in reversed(layers):  # a window of `field` outputs covers this many inputs
        field = (field - 1) * s + k
    for k, s, p in layers:
        size = len(range(0, size + 2 * p - k + 1, s))
    return (size, field)


def _geometry(step=None, size_rule=lambda n, k, s, p: (n + 2 * p - k) // s + 1, start=1):
    def geometry(size, layers):
        field, jump = start, 1
        for k, s, p in layers:
            size = size_rule(size, k, s, p)
            field = step(field, k, s, jump) if step else field + (k - 1) * jump
            jump *= s
        return size, field
    return geometry


def geometry_previous(size, layers):
    field, previous = 1, 1
    for k, s, p in layers:
        size = (size + 2 * p - k) // s + 1
        field += (k - 1) * previous
        previous = s
    return size, field


# 05.3 -------------------------------------------------------------------------------------------------------
def _normalise(x, w, name, eps=1e-5, root=True):
    mean, var, scale, shift = (
        w[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / ((var + eps).sqrt() if root else var + eps) * scale + shift


def block_by_hand(x, shortcut, weights, stride=1):
    z = conv_unfold(x, weights["conv1.weight"], stride, 1)
    z = _normalise(z, weights, "bn1").clamp(min=0)
    z = _normalise(conv_unfold(z, weights["conv2.weight"], 1, 1), weights, "bn2")
    return (z + shortcut).clamp(min=0)


def block_with_layers(x, shortcut, weights, stride=1):
    channels = len(weights["conv1.weight"])
    norms = []
    for name in ("bn1", "bn2"):
        norm = torch.nn.BatchNorm2d(channels).double().eval()
        norm.load_state_dict(
            {k.removeprefix(name + "."): v for k, v in weights.items() if k.startswith(name)}, strict=False
        )
        norms.append(norm)
    inside = F.relu(norms[0](F.conv2d(x, weights["conv1.weight"], None, stride, 1)))
    return F.relu(shortcut + norms[1](F.conv2d(inside, weights["conv2.weight"], None, 1, 1)))


def _block(norm=_normalise, strides=None, join=lambda z, s: F.relu(z + s), inner=F.relu):
    def basic_block(x, shortcut, weights, stride=1):
        one, two = strides(stride) if strides else (stride, 1)
        z = inner(norm(F.conv2d(x, weights["conv1.weight"], stride=one, padding=1), weights, "bn1"))
        z = norm(F.conv2d(z, weights["conv2.weight"], stride=two, padding=1), weights, "bn2")
        return join(z, shortcut)
    return basic_block


def _of_the_batch(x, w, name):
    x = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    return x * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def block_adds_x(x, shortcut, weights, stride=1):
    return block_by_hand(x, x, weights, stride)


# 05.4 -------------------------------------------------------------------------------------------------------
def _inside(weights, prefix):
    return {name[len(prefix):]: value for name, value in weights.items() if name.startswith(prefix)}


def _zeros_around(x, channels, stride):
    out = x.new_zeros(len(x), channels, *x[0, 0, ::stride, ::stride].shape)
    first = (channels - x.shape[1]) // 2
    out[:, first:first + x.shape[1]] = x[:, :, ::stride, ::stride]
    return out


def _resnet20(
    shortcut=_zeros_around,
    block=block_by_hand,
    stem=F.relu,
    pool=lambda z: z.mean(dim=(-2, -1)),
    bias=True,
    order=1,
):
    def resnet20(x, weights):
        x = stem(_normalise(F.conv2d(x, weights["conv1.weight"], padding=1), weights, "bn1"))
        for stage in (1, 2, 3):
            for i in range(3):
                stride = 2 if (stage, i) in ((2, 0), (3, 0)) else 1
                w = _inside(weights, f"layer{stage}.{i}.")
                x = block(x, shortcut(x, len(w["conv1.weight"]), stride), w, stride)
        features = pool(x)
        logits = features @ weights["linear.weight"].T + (weights["linear.bias"] if bias else 0)
        return (features, logits)[::order]
    return resnet20


def resnet20_flat(x, weights):
    """Another hand: one list of blocks, the shortcut by concatenation, the last layer by einsum."""
    x = F.batch_norm(
        F.conv2d(x, weights["conv1.weight"], padding=1),
        weights["bn1.running_mean"],
        weights["bn1.running_var"],
        weights["bn1.weight"],
        weights["bn1.bias"],
    ).relu()
    for number, name in enumerate(f"layer{s}.{i}" for s in (1, 2, 3) for i in (0, 1, 2)):
        skip, stride = x, 1
        if number in (3, 6):
            kept, stride = x[..., ::2, ::2], 2
            empty = torch.zeros_like(kept)[:, ::2]
            skip = torch.cat((empty, kept, empty), dim=1)
        x = block_with_layers(x, skip, _inside(weights, name + "."), stride)
    features = x.flatten(2).mean(2)
    return features, torch.einsum("nf,cf->nc", features, weights["linear.weight"]) + weights["linear.bias"]


# 05.5 -------------------------------------------------------------------------------------------------------
def count_by_torchvision(blocks, classes):
    from torchvision.models.resnet import Bottleneck, ResNet

    with torch.device("meta"):
        return sum(p.numel() for p in ResNet(Bottleneck, list(blocks), classes).parameters())


def count_by_formula(blocks, classes):
    total = 9408 + 128
    for stage, n in enumerate(blocks):
        c = 64 * 2**stage
        enters = 64 if stage == 0 else 2 * c
        first = enters * c + 9 * c * c + 4 * c * c + enters * 4 * c + 2 * (c + c + 4 * c + 4 * c)
        total += first + (n - 1) * (17 * c * c + 12 * c)
    return torch.tensor(total + 2048 * classes + classes)


def _count(norm=2, project=lambda stage, i: i == 0, stem=9408, three=9, bias=1, wide=4, reads=None):
    def resnet_parameters(blocks, classes):
        def conv(enters, leaves, k):
            return k * enters * leaves + norm * leaves
        total, x = stem + norm * 64, 64
        for stage in range(4):
            c = 64 << stage
            for i in range(blocks[stage]):
                total += conv(c if reads else x, c, 1) + conv(c, c, three) + conv(c, wide * c, 1)
                total += conv(x, wide * c, 1) if project(stage, i) else 0
                x = wide * c
        return total + (x + bias) * classes
    return resnet_parameters


def block_early(x, shortcut, weights, stride=1):
    z = _normalise(conv_unfold(x, weights["conv1.weight"], stride, 1), weights, "bn1").relu()
    return _normalise(conv_unfold(z, weights["conv2.weight"], 1, 1) + shortcut, weights, "bn2").relu()


def _outside(x, w, name):
    mean, var, scale, shift = (
        w[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var.sqrt() + 1e-5) * scale + shift


RIGHT = {
    "05.1": [conv_loops, conv_unfold, conv_offsets],
    "05.2": [geometry_forward, geometry_backward],
    "05.3": [block_by_hand, block_with_layers],
    "05.4": [_resnet20(), resnet20_flat],
    "05.5": [count_by_torchvision, count_by_formula],
}

WRONG = {
    "05.1": [
        (conv_flipped, "turned round by 180°"),
        (conv_swapped, "Rows and columns of the kernel are swapped"),
        (conv_no_stride, "The stride is ignored"),
        (conv_window_at_i, "still move by one pixel"),
        (conv_no_padding, "The padding is ignored"),
        (conv_one_side, "on one side only"),
        (conv_replicate, "repeats the border pixels"),
        (conv_first_channel, "Only the first input channel"),
        (conv_float32, "float32, and float64 is wanted"),
        (conv_detached, "no gradient flows"),
        (lambda x, k, stride=1, padding=0: conv_unfold(x, k, stride, padding)[0], "The shape is wrong"),
    ],
    "05.2": [
        (_geometry(lambda f, k, s, jump: f + (k - 1) * jump * s), "own stride too early"),
        (_geometry(lambda f, k, s, jump: f + k - 1), "ignores the strides"),
        (_geometry(lambda f, k, s, jump: f + k * jump), "instead of kernel − 1"),
        (geometry_previous, "only the previous layer's stride"),
        (_geometry(start=0), "is 1, not 0"),
        (_geometry(size_rule=lambda n, k, s, p: (n + p - k) // s + 1), "The padding is added once"),
        (_geometry(size_rule=lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1), "round down"),
        (_geometry(size_rule=lambda n, k, s, p: (n + 2 * p - k) / s + 1), "rounds down to a whole number"),
        (_geometry(size_rule=lambda n, k, s, p: (n + 2 * p - k) // s), "The first window is not counted"),
        (lambda size, layers: geometry_forward(size, layers)[::-1], "wrong order"),
        (lambda size, layers: geometry_forward(size, layers)[0], "Return 2 values"),
        (lambda size, layers: tuple(map(min, geometry_forward(size, layers), (10**6, size))),
         "the picture's rim"),
        (lambda size, layers: geometry_forward(size, [(k, p or 1, s) for k, s, p in layers]),
         "(kernel, padding, stride)"),
    ],
    "05.3": [
        (_block(join=lambda z, s: F.relu(z)), "The shortcut is missing"),
        (_block(join=lambda z, s: F.relu(z) + s), "The last relu comes too early"),
        (_block(join=lambda z, s: z + s), "The last relu is missing"),
        (_block(join=lambda z, s: F.relu(F.relu(z) + s)), "Both the branch and the sum"),
        (_block(inner=lambda z: z), "between the two convolutions is missing"),
        (_block(norm=_of_the_batch), "statistics of this batch"),
        (_block(norm=lambda *a: _normalise(*a, root=False)), "You divide by the variance"),
        (_block(norm=lambda *a: _normalise(*a, eps=0)), "1e-5 under the square root"),
        (_block(strides=lambda s: (1, s)), "The stride sits in the second"),
        (block_adds_x, "You add x itself"),
        (block_early, "before the second batch norm"),
        (_block(norm=_outside), "outside the root"),
        (_block(norm=lambda x, w, name: _normalise(x, w, "bn1")), "the second convolution has bn2"),
    ],
    "05.4": [
        (
            _resnet20(shortcut=lambda x, c, s: F.pad(x[..., ::s, ::s], (0, 0, 0, 0, 0, c - x.shape[1]))),
            "stand after the old ones",
        ),
        (
            _resnet20(shortcut=lambda x, c, s: F.pad(x[..., ::s, ::s], (0, 0, 0, 0, c - x.shape[1], 0))),
            "stand before the old ones",
        ),
        (
            _resnet20(shortcut=lambda x, c, s: _zeros_around(x[..., s - 1::s, s - 1::s], c, 1)),
            "begins with the first",
        ),
        (
            _resnet20(
                shortcut=lambda x, c, s: _zeros_around(
                    x if s == 1 else F.avg_pool2d(x, 2, ceil_mode=True), c, 1
                )
            ),
            "averages 2 × 2 places",
        ),
        (
            _resnet20(shortcut=lambda x, c, s: x[..., ::s, ::s].repeat(1, c // x.shape[1], 1, 1)),
            "repeats its channels",
        ),
        (
            _resnet20(shortcut=lambda x, c, s: x if s == 1 else torch.zeros_like(_zeros_around(x, c, s))),
            "in the blocks that change the shape",
        ),
        (_resnet20(shortcut=lambda x, c, s: 0), "this is a plain network"),
        (_resnet20(stem=lambda z: z), "after the first convolution"),
        (_resnet20(pool=lambda z: F.adaptive_max_pool2d(z, 1).flatten(1)), "largest place"),
        (_resnet20(pool=lambda z: z.flatten(2).sum(2)), "You add up the places"),
        (_resnet20(bias=False), "bias of the last layer"),
        (_resnet20(block=_block(norm=_of_the_batch)), "statistics of this batch"),
        (_resnet20(order=-1), "wrong order"),
        (lambda x, w: _resnet20()(x, w)[1], "Return 2 values"),
        (lambda x, w: (resnet20_flat(x, w)[0], resnet20_flat(x, w)[1].softmax(-1)), "before any softmax"),
    ],
    "05.5": [
        (_count(norm=0), "Batch norm is not counted"),
        (_count(norm=4), "not learned"),
        (lambda blocks, classes: _count()((3, 4, 6, 3), classes), "whatever `blocks` is"),
        (lambda blocks, classes: _count()(blocks, 1000), "1,000 classes"),
        (_count(norm=3), "counted with a bias"),
        (_count(project=lambda stage, i: False), "The projections are missing"),
        (_count(project=lambda stage, i: True), "Every block has a projection"),
        (_count(project=lambda stage, i: stage and i == 0), "The first stage has no projection"),
        (_count(three=1), "nine numbers"),
        (_count(bias=0), "has a bias as well"),
        (_count(stem=27 * 64), "the stem as a 3 × 3 convolution"),
        (_count(reads=True), "reads what comes in"),
    ],
}
