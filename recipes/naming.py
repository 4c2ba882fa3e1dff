"""The task of the image encoder: to name what is in a picture, eleven attributes at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from cmlib.data.batch import Batch, Features
from cmlib.encoders.attributes import ATTRIBUTES, Heads
from cmlib.tasks import Task
from recipes.scenes import ABSENT, SHARES


class Namer(nn.Module):
    """Pictures → what is in them; with nn.Identity as encoder, features → the same."""

    def __init__(self, encoder: nn.Module, heads: Heads):
        super().__init__()
        self.encoder, self.heads = encoder, heads

    def forward(self, batch: Batch | Features) -> dict[str, Tensor]:
        return self.heads(self.encoder(batch.image))


class Attributes(Task):
    """Outputs: {attribute: logits}. Scores: loss, and the accuracy of every attribute where pictures have it.

    The loss of an attribute, 0 for a row without it, is divided by the share of scenes from its world: a mean
    of terms of one row each, in which a rare world counts as much as a common one.
    """

    targets = tuple(ATTRIBUTES)

    def objective(self, outputs: dict[str, Tensor], batch) -> Tensor:
        return self.terms(outputs, batch).mean()

    def terms(self, outputs: dict[str, Tensor], batch) -> Tensor:
        """The loss of every row, (batch,)."""
        total = torch.zeros(len(batch), device=next(iter(outputs.values())).device)
        for name, attribute in ATTRIBUTES.items():
            logits, target = outputs[name], batch.targets[name]
            if attribute.many:
                has = target[:, 0] != ABSENT
                each = binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
                loss = torch.where(has, each, 0.0)
            else:
                loss = cross_entropy(logits, target, ignore_index=ABSENT, reduction="none")
            total = total + loss / SHARES[attribute.world]
        return total

    def keep(self, outputs: dict[str, Tensor], batch) -> dict[str, Tensor]:
        """Whether each answer is right, nan where there is none to give."""
        kept = {"loss": self.terms(outputs, batch)}
        for name, attribute in ATTRIBUTES.items():
            logits, target = outputs[name], batch.targets[name]
            if attribute.many:
                right, has = ((logits > 0) == (target > 0.5)).float().mean(1), target[:, 0] != ABSENT
            else:
                right, has = (logits.argmax(1) == target).float(), target != ABSENT
            kept[name] = torch.where(has, right, torch.nan)
        return kept

    def score(self, kept: dict[str, Tensor], rows) -> dict[str, float]:
        return {name: values.double().nanmean().item() for name, values in kept.items()}
