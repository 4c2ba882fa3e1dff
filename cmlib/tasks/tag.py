"""Yes or no to each of several questions: tags of a picture, findings of a film."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from cmlib.tasks.base import Task


class Tag(Task):
    """Outputs: logits (batch, questions); labels float (rows, questions) of 0 and 1.

    Scores: loss, and accuracy as the mean over rows and questions. Loss: binary cross-entropy, the mean of
    both.
    """

    def objective(self, outputs: Tensor, batch) -> Tensor:
        return binary_cross_entropy_with_logits(outputs, batch.labels)

    def keep(self, outputs: Tensor, batch) -> Tensor:
        return outputs

    def score(self, kept: Tensor, rows) -> dict[str, float]:
        labels = rows.labels.cpu()
        right = ((kept > 0) == (labels > 0.5)).double().mean().item()
        return {"loss": binary_cross_entropy_with_logits(kept, labels).item(), "accuracy": right}

    def check(self, name: str, rows, outputs) -> None:
        labels = rows.labels
        if labels is None or labels.ndim != 2 or not labels.is_floating_point():
            found = (
                "none" if labels is None else f"{labels.dtype} {tuple(labels.shape)}".removeprefix("torch.")
            )
            raise ValueError(
                f"Tag wants the labels of {name} as float (rows, questions) of 0 and 1; they are {found}."
            )
        if labels.shape[1] != outputs.shape[1]:
            raise ValueError(
                f"The labels of {name} answer {labels.shape[1]} questions, but the model has "
                f"{outputs.shape[1]} "
                "logits: build it with as many as there are questions."
            )
        if labels.min() < 0 or labels.max() > 1:
            raise ValueError(
                f"The labels of {name} run from {labels.min():g} to {labels.max():g}; yes is 1 and no is 0."
            )
