"""Scores beside the accuracy, for ``Classify(scores=("macro_f1", "auc", "top_5"))`` and ``Tag``; any of them
may be the monitor of ``fit``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

KNOWN = ("macro_f1", "auc", "top_k")


def f1(guess: Tensor, truth: Tensor) -> Tensor:
    """F1 of each column, 2·hits / (called + true); guess, truth : bool (rows, columns) → (columns,), nan
    where a column is neither called nor true.
    """
    hits, both = (guess & truth).sum(0).double(), guess.sum(0) + truth.sum(0)
    return torch.where(both > 0, 2 * hits / both, torch.nan)


def auc(scores: Tensor, truth: Tensor) -> float:
    """The share of (true, other) pairs of rows that ``scores`` put in the right order, ties half (Hanley &
    McNeil 1982): the area under the ROC curve. scores (rows,), truth bool (rows,); nan if all rows are of one
    kind.
    """
    n_true, n_other = int(truth.sum()), int((~truth).sum())
    if not n_true or not n_other:
        return float("nan")
    _, place, counts = scores.double().unique(return_inverse=True, return_counts=True)
    rank = counts.cumsum(0) - (counts - 1) / 2  # the mean rank of those that tie, from 1
    above = rank[place[truth]].sum().item() - n_true * (n_true + 1) / 2
    return above / (n_true * n_other)


def top_k(logits: Tensor, labels: Tensor, k: int) -> float:
    """The share of rows whose class is among the k largest logits; all of them if there are no more than
    k.
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices  # (rows, k)
    return (best == labels[:, None]).any(1).double().mean().item()


def of_classes(name: str, logits: Tensor, labels: Tensor) -> float:
    """A score of logits (rows, n_classes) and labels int64 (rows,); auc and macro_f1 are means over the
    classes, one against the rest.
    """
    if name.startswith("top_"):
        return top_k(logits, labels, int(name.removeprefix("top_")))
    one_hot = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    if name == "auc":
        return of_tags(name, logits.softmax(1), one_hot)
    guess = torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).bool()
    return f1(guess, one_hot).nanmean().item()


def of_tags(name: str, logits: Tensor, truth: Tensor) -> float:
    """A score of logits (rows, questions) and bool (rows, questions), the mean over the questions."""
    if name == "macro_f1":
        return f1(logits > 0, truth).nanmean().item()
    each = [auc(logits[:, k], truth[:, k]) for k in range(logits.shape[1])]
    return torch.tensor(each, dtype=torch.float64).nanmean().item()


def check_scores(scores: Sequence[str], known: Sequence[str] = KNOWN) -> tuple[str, ...]:
    """The names as a tuple; ValueError for one that is none."""
    scores = (scores,) if isinstance(scores, str) else tuple(scores)
    allowed = "|".join(known).replace("top_k", r"top_[1-9]\d*")
    for name in scores:
        if not re.fullmatch(allowed, str(name)):
            shown = ", ".join(known).replace("top_k", "top_5 (or another number)")
            raise ValueError(f"There is no score {name!r}; there are {shown}.")
    return scores
