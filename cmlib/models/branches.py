"""Two branches that meet only in the sum of their logits: the smallest model in which one modality can starve
the other (lesson 09).
"""

from __future__ import annotations

import torch
from torch import nn

from cmlib.data.batch import Features
from cmlib.data.device import follow, settle
from cmlib.data.pairs import describe


class Branches(nn.Module):
    """One MLP for each modality; the answer is the sum of what both say, z = z_image + z_text.

    image_size, text_size : width of each half of the features
    forward : Features → {"image": logits (batch, n_classes), "text": logits (batch, n_classes)}
    states : Features → Features of width hidden_size, what each branch knows before its last layer
    The two share no parameter: whatever passes between them passes through the loss.
    """

    def __init__(self, image_size: int, text_size: int, n_classes: int = 2, hidden_size: int = 64):
        super().__init__()
        for name, size in (("image_size", image_size), ("text_size", text_size)):
            if size < 1:
                raise ValueError(f"{name}={size}: a branch reads features of width 1 or more; a modality "
                                 "that is missing has no branch.")
        self.image, self.text = (
            nn.Sequential(
                nn.LayerNorm(size), nn.Linear(size, hidden_size), nn.GELU(),
                nn.Linear(hidden_size, hidden_size), nn.GELU(),
                nn.Linear(hidden_size, n_classes),
            )
            for size in (image_size, text_size)
        )
        settle(self)

    def branches(self) -> dict[str, nn.Module]:
        return {"image": self.image, "text": self.text}

    def _halves(self, features: Features):
        if not isinstance(features, Features):
            raise TypeError(f"Branches reads Features; got {describe(features)}. extract(model, pairs) makes "
                            "them.")
        features = follow(features, self)
        for name, branch in self.branches().items():
            half, size = getattr(features, name), branch[0].normalized_shape[0]
            if half.ndim != 2 or half.shape[1] != size:
                raise ValueError(f"Features.{name} must have shape (batch, {size}); got {describe(half)}.")
            yield name, branch, half

    def forward(self, features: Features) -> dict[str, torch.Tensor]:
        return {name: branch(half) for name, branch, half in self._halves(features)}

    def states(self, features: Features) -> Features:
        found = {name: branch[:-1](half) for name, branch, half in self._halves(features)}
        return Features(found["image"], found["text"], features.labels)
