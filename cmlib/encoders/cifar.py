"""ResNet-20 for CIFAR-10 (He et al. 2016, "Deep residual learning for image recognition", section 4.2).

Small enough to read whole and to run anywhere: 20 layers, 0.27 M parameters, real published weights of 1.1 MB
that name 91.78 % of the CIFAR-10 test pictures. Its shortcuts are the paper's "option A": without parameters.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from cmlib.data.device import settle

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# the weights were trained with ImageNet's statistics
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def prepare(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 or float 0 … 255 (batch, 3, height, width) → float32 (batch, 3, 32, 32), normalised as the
    weights expect.

    Pictures of another size are averaged down (or interpolated up) to 32 × 32.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(f"prepare wants pixels (batch, 3, height, width); got shape {tuple(pixels.shape)}.")
    x = pixels.float() / 255
    if x.shape[-2:] != (32, 32):
        x = F.interpolate(x, size=(32, 32), mode="bilinear", align_corners=False, antialias=True)
    return (x - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)


def shortcut_a(x: torch.Tensor, channels: int, stride: int) -> torch.Tensor:
    """Option A: every ``stride``-th row and column, new channels filled with zeros, half of them on each
    side.

    x : (batch, c, height, width) → (batch, channels, ⌈height/stride⌉, ⌈width/stride⌉)
    """
    missing = channels - x.shape[1]
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, missing // 2, missing - missing // 2))


def basic_block(
    x: torch.Tensor, shortcut: torch.Tensor, weights: dict[str, torch.Tensor], stride: int = 1
) -> torch.Tensor:
    """A block in eval mode with its weights handed over, conv1.weight, bn1.weight, bn1.running_mean, …, and
    what must be added: x (batch, c, h, w), shortcut (batch, channels, h', w') → (batch, channels, h', w').
    """
    def norm(z, name):
        parts = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(z, *parts)

    inner = norm(F.conv2d(x, weights["conv1.weight"], stride=stride, padding=1), "bn1").relu()
    return (norm(F.conv2d(inner, weights["conv2.weight"], padding=1), "bn2") + shortcut).relu()


class Block(nn.Module):
    """relu(BN(conv(relu(BN(conv(x))))) + shortcut(x)); the first convolution carries the stride."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (branch + shortcut_a(x, branch.shape[1], self.stride)).relu()


class CifarResNet(nn.Module):
    """``blocks`` residual blocks in each of three stages of 16, 32 and 64 channels: 6·blocks + 2 layers.

    Input: what ``prepare`` returns, float (batch, 3, 32, 32). ``forward`` → logits (batch, 10).
    """

    hidden_size = 64

    def __init__(self, blocks: int = 3):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                Block(before, channels, stride), *(Block(channels, channels, 1) for _ in range(blocks - 1))
            )
            for before, channels, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        )
        self.linear = nn.Linear(64, 10)

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """After the stem and after each stage: (batch, 16, 32, 32), (…, 16, 32, 32), (…, 32, 16, 16), (…, 64,
        8, 8).
        """
        found = [self.bn1(self.conv1(x.to(self.conv1.weight.device))).relu()]
        for stage in (self.layer1, self.layer2, self.layer3):
            found.append(stage(found[-1]))
        return found

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The last map averaged over its places: (batch, 64)."""
        return self.maps(x)[-1].mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.features(x))


def load_weights(path: Path | str) -> dict[str, torch.Tensor]:
    """The state dict of a published checkpoint (``fetch("cifar10-resnet20")``), read without running any code
    from it.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        return {name.removeprefix("module."): value for name, value in weights.items()}
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, AttributeError, EOFError):
        raise ValueError(
            f"{Path(path).name} is not a checkpoint with a 'state_dict': fetch it again."
        ) from None


def cifar_resnet(path: Path | str, blocks: int = 3) -> CifarResNet:
    """The network with the weights of ``path``, at home, in eval mode."""
    model = CifarResNet(blocks)
    weights = load_weights(path)
    missing, surplus = (
        sorted(a - b)
        for a, b in ((set(model.state_dict()), set(weights)), (set(weights), set(model.state_dict())))
    )
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or [name for name in surplus if not name.endswith("num_batches_tracked")]:
        first = (missing or surplus)[0]
        raise ValueError(f"{Path(path).name} holds another architecture than ResNet-{6 * blocks + 2}: "
                         f"{first!r} is {'missing' if missing else 'too much'}; is blocks={blocks} right?")
    for name, tensor in model.state_dict().items():
        if name in weights and weights[name].shape != tensor.shape:
            raise ValueError(f"{Path(path).name} holds another architecture than ResNet-{6 * blocks + 2}: "
                             f"{name!r} is "
                             f"{tuple(weights[name].shape)} there and {tuple(tensor.shape)} here.")
    model.load_state_dict(weights, strict=False)
    return settle(model).eval()
