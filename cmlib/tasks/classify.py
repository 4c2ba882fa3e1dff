"""One class of several for every row: the task of lessons 00 to 13, and what ``fit`` does unless it is told
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cmlib.data.pairs import describe
from cmlib.tasks.base import Task
from cmlib.tasks.scores import check_scores, of_classes


class Classify(Task):
    """Outputs: logits (batch, n_classes); scores: loss, accuracy and what else is asked for.

    loss   : called as loss(logits (batch, n_classes), labels int64 (batch,)) → scalar, a mean over the rows
    scores : of "macro_f1", "auc" (each class against the rest, the mean), "top_5" (or another number)
    """

    scores: tuple[str, ...] = ()

    def __init__(self, loss: Callable = cross_entropy, scores: Sequence[str] = ()):
        self.loss = loss
        if scores:
            self.scores = check_scores(scores)

    def objective(self, outputs: Tensor, batch) -> Tensor:
        return self.loss(outputs, batch.labels)

    def keep(self, outputs: Tensor, batch) -> Tensor:
        return outputs

    def score(self, kept: Tensor, rows) -> dict[str, float]:
        labels = rows.labels.cpu()
        right = (kept.argmax(1) == labels).double().mean().item()
        scores = {"loss": self.loss(kept, labels).item(), "accuracy": right}
        return scores | {name: of_classes(name, kept, labels) for name in self.scores}

    def check(self, name: str, rows, outputs) -> None:
        labels = rows.labels
        if labels is None:
            raise ValueError(
                f"The rows of {name} have no labels, and to classify needs one for each: add them, or give "
                "fit a task that learns without."
            )
        if name == "train" and labels.dtype == torch.int64 and len(labels.unique()) == 1:
            raise ValueError(
                f"Every row of the training data has class {int(labels[0])}: nothing can be learned from one "
                "class."
            )
        if not isinstance(outputs, Tensor) and type(self).keep is Classify.keep:
            raise ValueError(
                f"To classify, a model gives logits (batch, n_classes); this one gave {describe(outputs)}: "
                "give fit the task that it is for."
            )
        if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[1] < 2:
            return
        if labels.dtype != torch.int64:
            raise ValueError(
                f"The labels of {name} are {str(labels.dtype).removeprefix('torch.')} and not class numbers "
                "(int64): give fit task=Tag() for several yes-or-no questions, or task=Regress() for values."
            )
        low, high, classes = int(labels.min()), int(labels.max()), outputs.shape[1]
        if not 0 <= low <= high < classes:
            raise ValueError(
                f"The labels of {name} run from {low} to {high}, but the model has {classes} classes "
                f"(0 to {classes - 1}): relabel, or build it with as many classes as there are."
            )
