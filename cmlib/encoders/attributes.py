"""The judge: what is in a picture of the course's worlds, said by linear heads on the shipped mini ResNet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cmlib.data.batch import Batch, ImageBatch
from cmlib.data.device import settle
from cmlib.encoders.image import image_encoder
from cmlib.encoders.weights import load_shipped
from cmlib.worlds import COLORS, FINDINGS, KINDS


@dataclass(frozen=True)
class Attribute:
    """world : the pictures that it is asked of, "desk", "toys" or "chest"; of others the answer means nothing

    names : the meaning of each logit; many : yes or no to each of them, else one of them
    """

    world: str
    names: tuple[str, ...]
    many: bool = False


ATTRIBUTES = {
    "kind": Attribute("desk", KINDS),  # of the toy; not asked of a sealed parcel
    "color": Attribute("desk", COLORS),  # of the toy or the parcel
    "size": Attribute("desk", ("small", "large")),  # not asked of a carton: every toy in one has one size
    "cracked": Attribute("desk", ("intact", "cracked")),  # not asked of a sealed parcel
    "container": Attribute("desk", ("none", "parcel", "carton")),
    "kinds": Attribute("toys", KINDS, many=True),
    "colors": Attribute("toys", COLORS, many=True),
    "any cracked": Attribute("toys", ("cracked",), many=True),
    "count": Attribute("toys", ("1", "2", "3", "4")),
    "findings": Attribute("chest", FINDINGS, many=True),
    "main finding": Attribute("chest", ("normal", *FINDINGS)),  # the only large one
}


class Heads(nn.Module):
    """One linear layer an attribute: forward(features (batch, hidden_size)) → {attribute: logits (batch,
    len(names))}.
    """

    def __init__(self, hidden_size: int):
        super().__init__()
        self.layers = nn.ModuleDict({a: nn.Linear(hidden_size, len(ATTRIBUTES[a].names)) for a in ATTRIBUTES})

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: layer(features) for name, layer in self.layers.items()}


class Judge(nn.Module):
    """forward(ImageBatch, or a Batch with pictures) → {attribute: logits (batch, len(names))}, for every name
    in ATTRIBUTES.

    It never learns: no parameter asks for a gradient (pixels may), and ``train()`` leaves it in eval mode.
    """

    def __init__(self, encoder: nn.Module, heads: Heads):
        super().__init__()
        self.encoder, self.heads = encoder, heads
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Judge:
        return super().train(False)

    def forward(self, batch: ImageBatch | Batch) -> dict[str, torch.Tensor]:
        return self.heads(self.encoder(batch.image if isinstance(batch, Batch) else batch))


def judge() -> Judge:
    """The shipped judge: the trunk of ``image_encoder("mini")`` and data/mini-attributes.safetensors, both by
    hash.

    How far it is to be believed stands in data/README.md, attribute by attribute.
    """
    encoder = image_encoder("mini")
    heads = load_shipped(Heads(encoder.hidden_size), "mini-attributes")
    return settle(Judge(encoder, heads))
