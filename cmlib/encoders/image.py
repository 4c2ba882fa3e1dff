"""Image encoders: pixels → one feature vector. A small CNN, the mini ResNet of this course, or torchvision's
ResNets.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn.functional import interpolate

from cmlib.data.batch import ImageBatch
from cmlib.data.device import follow, settle
from cmlib.data.pairs import describe
from cmlib.encoders import zoo
from cmlib.encoders.stand_ins import build
from cmlib.encoders.weights import load_shipped, unknown

MINI_SIZE, MINI_WIDTH = 64, 16
MINI_MEAN, MINI_STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class ImageEncoder(nn.Module):
    """forward(ImageBatch) → (batch, hidden_size); feature_map(ImageBatch) → (batch, hidden_size, h, w).

    Pixels 0 … 255 are resized to ``image_size`` if they differ, scaled to 0 … 1, then normalised with the
    mean and std that the *weights* were trained with: statistics belong to weights, not to data.
    pretrained : whether real weights were loaded; what is claimed of them holds only then
    A batch that is on another device is brought to where the encoder is.
    """

    pretrained = False
    made: tuple[str, dict] | None = None  # the name and the settings that image_encoder was called with

    def __init__(self, trunk: nn.Module, hidden_size: int, image_size: int, mean=MINI_MEAN, std=MINI_STD,
                 channels_last: bool = False):
        super().__init__()
        self.trunk, self.hidden_size, self.image_size = trunk, hidden_size, image_size
        self.channels_last = channels_last
        self.trunk.to(memory_format=self.layout)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    @property
    def layout(self) -> torch.memory_format:
        """Not kept: no torch.memory_format can be pickled, and torch.save(model) would fail."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def extra_repr(self) -> str:
        sizes = f"hidden_size={self.hidden_size}, image_size={self.image_size}"
        return f"{sizes} (pictures of another size are resized)"

    def normalise(self, batch: ImageBatch) -> torch.Tensor:
        """float (batch, 3, image_size, image_size), as the weights want to see it."""
        if not isinstance(batch, ImageBatch):
            raise TypeError(f"An image encoder reads an ImageBatch; got {describe(batch)}. Are image and "
                            "text swapped?")
        pixels = follow(batch, self).pixels.to(self.mean.dtype)
        if tuple(pixels.shape[2:]) != (self.image_size, self.image_size):
            pixels = interpolate(pixels, (self.image_size, self.image_size), mode="bilinear", antialias=True)
        return ((pixels / 255 - self.mean) / self.std).contiguous(memory_format=self.layout)

    def feature_map(self, batch: ImageBatch) -> torch.Tensor:
        grid = self.trunk(self.normalise(batch))  # (pictures, hidden_size, h, w)
        return batch.spread(grid)  # (batch, hidden_size, h, w)

    def forward(self, batch: ImageBatch) -> torch.Tensor:
        # (pictures, hidden_size): the mean over all places
        pooled = self.trunk(self.normalise(batch)).mean((2, 3))
        return batch.spread(pooled)  # (batch, hidden_size)


def _cnn(hidden_size: int = 128, image_size: int = MINI_SIZE, channels_last: bool = False):
    """Four times: convolution with stride 2, BatchNorm, ReLU. 64 × 64 pixels become a 4 × 4 map."""
    layers, channels = [], 3
    for width in (hidden_size // 8, hidden_size // 4, hidden_size // 2, hidden_size):
        layers += [
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    return ImageEncoder(nn.Sequential(*layers), hidden_size, image_size, channels_last=channels_last)


def mini_resnet() -> nn.Module:
    """torchvision's ResNet (He et al. 2016) with one BasicBlock per stage, width 16 → 128 and no max-pool:
    0.3 M weights.
    """
    from torchvision.models.resnet import BasicBlock, ResNet

    class MiniResNet(ResNet):
        def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
            if planes == 64:  # the first stage: torchvision has just set inplanes to 64
                self.inplanes = MINI_WIDTH
            return super()._make_layer(block, planes * MINI_WIDTH // 64, blocks, stride, dilate)

    model = MiniResNet(BasicBlock, [1, 1, 1, 1])
    model.conv1 = nn.Conv2d(3, MINI_WIDTH, 5, stride=2, padding=2, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.bn1, model.maxpool = nn.BatchNorm2d(MINI_WIDTH), nn.Identity()
    return trunk_of(model)


def trunk_of(resnet: nn.Module) -> nn.Module:
    """A ResNet without its pooling and its 1000 class logits: (batch, 3, H, W) → (batch, channels, h, w)."""
    return nn.Sequential(*(getattr(resnet, name) for name in
                           ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")))


def _mini(pretrained: bool = True, image_size: int = MINI_SIZE, channels_last: bool = True):
    encoder = ImageEncoder(mini_resnet(), 8 * MINI_WIDTH, image_size, channels_last=channels_last)
    encoder.pretrained = pretrained
    return load_shipped(encoder, "mini-resnet") if pretrained else encoder


def _torchvision(
    name: str,
    pretrained: bool = True,
    weights="DEFAULT",
    image_size: int | None = None,
    channels_last: bool = False,
):
    from torchvision import models

    resnet, size, mean, std = models.get_model(name), 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if pretrained:
        entry = zoo.entry(name, weights)
        zoo.load(resnet, name, entry)
        view = entry.transforms()
        size, mean, std = view.crop_size[0], view.mean, view.std
    elif weights != "DEFAULT":
        raise ValueError(f"weights={weights!r} and pretrained=False contradict each other: leave one of them "
                         "out.")
    trunk, width = trunk_of(resnet), resnet.fc.in_features
    encoder = ImageEncoder(trunk, width, image_size or size, mean, std, channels_last)
    encoder.pretrained = pretrained
    return encoder


_MADE_HERE = {"cnn": _cnn, "mini": _mini}
KNOWN = (
    *_MADE_HERE,
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "wide_resnet50_2",
)


def image_encoder(name: str, **settings) -> ImageEncoder:
    """The image encoder of that name, at home: "cnn", "mini", or a ResNet of torchvision ("resnet18",
    "resnet50", …).

    pretrained : False for fresh weights ("mini" and ResNets; torchvision's are fetched once, then kept in its
        cache)
    weights    : which of torchvision's, by the name in its enum, "IMAGENET1K_V1", or the member itself;
        "DEFAULT" is its best
    image_size : pixels are resized to this, the size that the weights were trained at unless it is given
    channels_last : memory layout, faster on most machines; hidden_size : width ("cnn")
    """
    if name not in KNOWN:
        raise unknown("image", name, KNOWN)
    size = settings.get("image_size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise ValueError(f"image_size={size!r} must be one whole number of pixels, such as 224: pictures "
                         "become squares of it.")
    encoder = build("image", name, _MADE_HERE.get(name) or partial(_torchvision, name), settings)
    encoder.made = name, settings
    return settle(encoder)
