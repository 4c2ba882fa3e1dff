"""Each picture must find its own text among those of the batch, and each text its picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from cmlib.data.pairs import describe
from cmlib.tasks.base import Task


class Contrast(Task):
    """InfoNCE in both directions (Radford et al. 2021, figure 3), over all rows of a batch.

    Outputs: {"image": (batch, hidden_size), "text": (batch, hidden_size), "scale": number}, scale =
    1/temperature, which the model learns. Scores: loss (over all rows at once) and recall@1, the share of
    rows that find their partner among all, the mean of both directions. A partner that ties with another row
    counts by chance: 1 / how many tie.
    """

    separable = False

    def objective(self, outputs: dict[str, Tensor], batch) -> Tensor:
        logits = self.similarity(outputs)  # (batch, batch)
        partner = torch.arange(len(logits), device=logits.device)
        return (cross_entropy(logits, partner) + cross_entropy(logits.T, partner)) / 2

    def similarity(self, outputs: dict[str, Tensor]) -> Tensor:
        """Row k: how well picture k fits each text, the cosine times the scale, (rows, rows)."""
        image, text = (normalize(outputs[name], dim=1) for name in ("image", "text"))
        return outputs["scale"] * image @ text.T

    def keep(self, outputs: dict[str, Tensor], batch) -> dict[str, Tensor]:
        return outputs

    def score(self, kept: dict[str, Tensor], rows) -> dict[str, float]:
        logits = self.similarity(kept)
        found = [_first(logits), _first(logits.T)]
        return {"loss": self.objective(kept, None).item(), "recall@1": sum(found) / 2}

    def check(self, name: str, rows, outputs) -> None:
        if not isinstance(outputs, dict) or not {"image", "text", "scale"} <= outputs.keys():
            found = ", ".join(outputs) if isinstance(outputs, dict) else describe(outputs)
            raise ValueError(
                "Contrast compares what the model calls 'image' and 'text', at its 'scale', in a dict; it "
                f"gave {found}."
            )
        if name == "train" and len(outputs["image"]) < 2:
            raise ValueError("A batch of one row has nothing to be compared with: choose a batch_size of 2 "
                             "or more.")


def _first(logits: Tensor) -> float:
    own = logits.diagonal()[:, None]  # (rows, 1)
    beaten = (logits > own).any(1)
    ties = (logits == own).sum(1)
    return torch.where(beaten, 0.0, 1.0 / ties).double().mean().item()
