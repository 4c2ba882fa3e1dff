"""Feature concatenation: both halves side by side, then a linear layer or an MLP."""

from __future__ import annotations

import difflib

import torch
from torch import nn

from cmlib.data.batch import Features
from cmlib.data.device import follow, settle
from cmlib.data.pairs import describe

HEADS = ("linear", "mlp")
MODALITIES = ("image", "text")


class Concat(nn.Module):
    """Feature concatenation, F = [F_I ; F_T], then a linear layer or an MLP with one hidden layer.

    Each half is first brought to zero mean and unit variance *per row* (LayerNorm, Ba et al. 2016, eq. 4), so
    that neither modality shouts the other down only because its features are larger; ``normalize=False``
    leaves the scales as they are.

    image_size, text_size : width of each half of the features
    n_classes : number of logits
    head : "linear" (cannot represent an exclusive-or of the halves) or "mlp" (can)
    use : which halves the head may look at; ("image",) and ("text",) are the one-modality baselines
    forward : Features with image (batch, image_size) and text (batch, text_size) → logits (batch, n_classes)
    The head is made at home, and brings features from another device to where it is.
    """

    def __init__(
        self,
        image_size: int,
        text_size: int,
        n_classes: int,
        head: str = "linear",
        normalize: bool = True,
        hidden_size: int = 256,
        dropout: float = 0.0,
        use: tuple[str, ...] = MODALITIES,
    ):
        super().__init__()
        use = (use,) if isinstance(use, str) else tuple(use)
        if head not in HEADS:
            near = difflib.get_close_matches(str(head), HEADS, 1, 0)
            raise ValueError(f"There is no head {head!r}; did you mean {near[0]!r}? The heads are "
                             f"{', '.join(HEADS)}.")
        if not use or not set(use) <= set(MODALITIES):
            raise ValueError(f"use={use!r} must name 'image', 'text' or both.")
        if n_classes < 2:
            raise ValueError(f"n_classes={n_classes}: a classifier needs at least 2 classes.")
        self.sizes = {"image": image_size, "text": text_size}
        self.n_classes, self.use = n_classes, use
        self.normalize = nn.ModuleDict(
            {name: nn.LayerNorm(self.sizes[name]) if normalize else nn.Identity() for name in use}
        )
        joint_size = sum(self.sizes[name] for name in use)
        self.head = (
            nn.Linear(joint_size, n_classes)
            if head == "linear"
            else nn.Sequential(
                nn.Linear(joint_size, hidden_size),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(hidden_size, n_classes),
            )
        )
        settle(self)

    def joint(self, features: Features) -> torch.Tensor:
        """The concatenated features [F_I ; F_T], after normalisation: (batch, image_size + text_size)."""
        if not isinstance(features, Features):
            raise TypeError(f"Concat reads Features; got {describe(features)}. A FusionModel turns a Batch "
                            "into Features.")
        features, halves = follow(features, self), []
        for name in self.use:
            half = getattr(features, name)
            if half.ndim != 2 or half.shape[1] != self.sizes[name]:
                raise ValueError(f"Features.{name} must have shape (batch, {self.sizes[name]}); got "
                                 f"{describe(half)}. "
                                 "Are image and text swapped?")
            halves.append(self.normalize[name](half))  # (batch, size of this half)
        return torch.cat(halves, dim=1)  # (batch, image_size + text_size)

    def forward(self, features: Features) -> torch.Tensor:
        return self.head(self.joint(features))  # (batch, n_classes)
