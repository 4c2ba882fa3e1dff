"""Yes or no to each of several questions: tags of a picture, findings of a film."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from cmlib.data.pairs import describe
from cmlib.tasks.base import Task
from cmlib.tasks.scores import check_scores, of_tags


class Tag(Task):
    """Outputs: logits (batch, questions); labels float (rows, questions) of 0 and 1.

    Scores: loss, accuracy as the mean over rows and questions, and what else is asked for. Loss: binary
    cross-entropy, the mean of both.

    scores : of "macro_f1" and "auc", the mean over the questions
    """

    scores: tuple[str, ...] = ()

    def __init__(self, scores: Sequence[str] = ()):
        if scores:
            self.scores = check_scores(scores, ("macro_f1", "auc"))

    def objective(self, outputs: Tensor, batch) -> Tensor:
        return binary_cross_entropy_with_logits(outputs, batch.labels)

    def keep(self, outputs: Tensor, batch) -> Tensor:
        return outputs

    def score(self, kept: Tensor, rows) -> dict[str, float]:
        labels = rows.labels.cpu()
        right = ((kept > 0) == (labels > 0.5)).double().mean().item()
        scores = {"loss": binary_cross_entropy_with_logits(kept, labels).item(), "accuracy": right}
        return scores | {name: of_tags(name, kept, labels > 0.5) for name in self.scores}

    def check(self, name: str, rows, outputs) -> None:
        labels = rows.labels
        if labels is None or labels.ndim != 2 or not labels.is_floating_point():
            found = "none" if labels is None else describe(labels)
            raise ValueError(
                f"Tag wants the labels of {name} as float (rows, questions) of 0 and 1; they are {found}."
            )
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            raise ValueError(
                f"Tag wants logits (batch, questions) of the model; it gave {describe(outputs)}."
            )
        if labels.shape[1] != outputs.shape[1]:
            raise ValueError(
                f"The labels of {name} answer {labels.shape[1]} questions, but the model has "
                f"{outputs.shape[1]} logits: build it with as many as there are questions."
            )
        if not 0 <= labels.min() <= labels.max() <= 1:  # neither is true of nan
            raise ValueError(
                f"The labels of {name} run from {labels.min():g} to {labels.max():g}; yes is 1 and no is 0."
            )
