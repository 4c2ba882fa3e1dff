"""One class of several for every row: the task of lessons 00 to 13, and what ``fit`` does unless it is told
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cmlib.tasks.base import Task


class Classify(Task):
    """Outputs: logits (batch, n_classes); scores: loss and accuracy.

    loss : called as loss(logits (batch, n_classes), labels int64 (batch,)) → scalar, a mean over the rows
    """

    def __init__(self, loss: Callable = cross_entropy):
        self.loss = loss

    def objective(self, outputs: Tensor, batch) -> Tensor:
        return self.loss(outputs, batch.labels)

    def keep(self, outputs: Tensor, batch) -> Tensor:
        return outputs

    def score(self, kept: Tensor, rows) -> dict[str, float]:
        labels = rows.labels.cpu()
        right = (kept.argmax(1) == labels).double().mean().item()
        return {"loss": self.loss(kept, labels).item(), "accuracy": right}

    def check(self, name: str, rows, outputs) -> None:
        labels = rows.labels
        if labels is None:
            raise ValueError(
                f"The rows of {name} have no labels, and to classify needs one for each: add them, or give "
                "fit a task "
                "that learns without."
            )
        if name == "train" and labels.dtype == torch.int64 and len(labels.unique()) == 1:
            raise ValueError(
                f"Every row of the training data has class {int(labels[0])}: nothing can be learned from one "
                "class."
            )
        if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[1] < 2:
            return
        if labels.dtype != torch.int64:
            raise ValueError(
                f"The labels of {name} are {str(labels.dtype).removeprefix('torch.')} and not class numbers "
                "(int64): "
                "give fit task=Tag() for several yes-or-no questions, or task=Regress() for values."
            )
        low, high, classes = int(labels.min()), int(labels.max()), outputs.shape[1]
        if not 0 <= low <= high < classes:
            raise ValueError(
                f"The labels of {name} run from {low} to {high}, but the model has {classes} classes "
                f"(0 to {classes - 1}): relabel, or build it with as many classes as there are."
            )
