"""Captions, learned with the truth's words before each next one."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from cmlib.data.batch import Batch
from cmlib.data.vocabulary import PAD
from cmlib.tasks.base import Task


class Caption(Task):
    """−log p(caption | picture), by the chain rule the sum over its words and its end; the mean over rows.

    Outputs: logits (batch, tokens − 1, n_words) as a Captioner gives them; in training perhaps fewer places.
    Target "words", int64 (rows, tokens) of start, words, end and 0 as padding.
    Scores: loss; "words", the share of words that are the likeliest after the truth's words; "whole", the
    share of captions of which all are.
    """

    targets = ("words",)

    def objective(self, outputs: Tensor, batch: Batch) -> Tensor:
        next_words = batch.targets["words"][:, 1 : outputs.shape[1] + 1]
        total = cross_entropy(outputs.flatten(0, 1), next_words.flatten(), ignore_index=PAD, reduction="sum")
        return total / len(outputs)

    def keep(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        next_words = batch.targets["words"][:, 1:]
        costs = cross_entropy(outputs.transpose(1, 2), next_words, ignore_index=PAD, reduction="none")
        right = (outputs.argmax(2) == next_words) & (next_words != PAD)
        return {"cost": costs.sum(1), "right": right, "there": next_words != PAD}

    def score(self, kept: dict[str, Tensor], rows) -> dict[str, float]:
        right, there = kept["right"], kept["there"]
        whole = (right | ~there).all(1)
        return {"loss": kept["cost"].double().mean().item(), "words": right.sum().item() / there.sum().item(),
                "whole": whole.double().mean().item()}
