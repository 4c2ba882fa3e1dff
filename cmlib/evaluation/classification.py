"""Metrics: how good, on which classes, in which groups, and how sure we can be of it.

Everything is counted from one confusion matrix in ten lines. torchmetrics gives the same numbers, but
importing it takes ten seconds, a sixth of a lesson.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from cmlib.data.batch import Batch, Features
from cmlib.data.pairs import Pairs, describe
from cmlib.models.classes import require_same_classes
from cmlib.models.majority import Majority
from cmlib.tasks.base import Task
from cmlib.training.predict import keep_all, predict, prepare

MOST_SHOWN = 40  # classes in one print

__all__ = ["Metrics", "Share", "confusion_matrix", "evaluate", "predict", "score", "wilson"]


@dataclass(frozen=True)
class Share:
    """``right`` of ``n`` rows, with the interval that holds the true accuracy 95 times in 100."""

    right: int
    n: int

    @property
    def accuracy(self) -> float:
        return self.right / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.n)


@dataclass(frozen=True)
class Metrics(Share):
    """accuracy and interval over all rows; macro_f1; per class precision, recall, f1 (n_classes,); groups:
    name → Share.

    confusion : int64 (n_classes, n_classes), row = true class, column = predicted class
    """

    confusion: torch.Tensor
    class_names: tuple[str, ...]
    groups: dict[str, Share] = field(default_factory=dict)

    @property
    def precision(self) -> torch.Tensor:
        return _ratio(self.confusion.diagonal(), self.confusion.sum(0))

    @property
    def recall(self) -> torch.Tensor:
        return _ratio(self.confusion.diagonal(), self.confusion.sum(1))

    @property
    def f1(self) -> torch.Tensor:
        return _ratio(2 * self.confusion.diagonal(), self.confusion.sum(0) + self.confusion.sum(1))

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that occur, as a label or as a prediction."""
        occurs = (self.confusion.sum(0) + self.confusion.sum(1)) > 0
        return self.f1[occurs].mean().item()

    def __str__(self):
        shares = {"all": self} | self.groups
        width = max(map(len, (*shares, *self.class_names[:1000], "macro F1")))
        lines = [f"{'':{width}}  accuracy  95 % interval       rows"]
        lines += [f"{name:{width}}  {s.accuracy:8.3f}  {s.interval[0]:.3f} to {s.interval[1]:.3f}  {s.n:8d}"
                  for name, s in shares.items()]
        lines += ["", f"{'':{width}}  precision  recall     F1"]
        columns = self.class_names, self.precision.tolist(), self.recall.tolist(), self.f1.tolist()
        classes = list(zip(*columns, self.confusion.sum(1).tolist(), strict=True))
        if len(classes) > MOST_SHOWN:
            classes = sorted(classes, key=lambda one: -one[4])[:MOST_SHOWN]
            lines[-1] += f"  (the {MOST_SHOWN} most frequent of {len(self.class_names):,} classes)"
        lines += [f"{name:{width}}  {p:9.3f}  {r:6.3f}  {f:5.3f}" for name, p, r, f, _ in classes]
        return "\n".join([*lines, f"{'macro F1':{width}}  {'':9}  {'':6}  {self.macro_f1:5.3f}"])

    __repr__ = __str__


def evaluate(
    model: nn.Module,
    data: Pairs | Features,
    by=None,
    group_names=None,
    batch_size: int = 256,
    task: Task | None = None,
) -> Metrics | dict[str, float]:
    """Predict every row and score it.

    by : one group per row (tensor, list of words), or the name of an extra of Pairs ("situation")
    group_names : a word for each group number, in order: ("R", "I", "T", "S")
    task : of a model that does not classify; the result is then the scores that the task has, {"recall@1": …}
    """
    if isinstance(data, str | Path | tuple):
        raise TypeError(f"evaluate needs rows with labels, as folder(…) reads them; got {describe(data)}: "
                        "predict reads a path.")
    known, names = getattr(model, "class_names", ()), getattr(data, "class_names", ())
    require_same_classes("the model", known, "the data", names)
    if task is not None:
        rows = prepare(model, data, task.targets)
        check = partial(task.check, "data", rows)
        return task.score(keep_all(model, task, model, rows, batch_size, first=check), rows)
    if isinstance(by, str):
        extras = getattr(data, "extras", {})
        if by not in extras:
            there = ", ".join(extras) or "none"
            raise ValueError(f"There is no extra {by!r} to group by; this data has {there}.")
        by = extras[by]
    if data.labels is None:
        raise ValueError("These rows have no labels to compare the answers with: predict(model, data) gives "
                         "the answers alone.")
    # the floor reads nothing, and so needs no tokenizer
    blind = isinstance(model, Majority)
    logits = model(Batch(None, None, data.labels)) if blind else predict(model, data, batch_size)
    return score(logits.cpu(), data.labels, by, group_names, max(known, names, key=len))


def score(logits: torch.Tensor, labels: torch.Tensor, by=None, group_names=None, class_names=None) -> Metrics:
    """Metrics of logits (rows, n_classes) against labels int64 (rows,); ``by`` and ``group_names`` as in
    evaluate.
    """
    if len(logits) != len(labels):
        raise ValueError(f"{len(logits)} rows of logits for {len(labels)} labels: there must be as many.")
    if labels.dtype != torch.int64 or logits.ndim != 2:
        raise ValueError(
            f"Metrics are of logits (rows, n_classes) and int64 labels; got {describe(logits)} and "
            f"{describe(labels)}: give evaluate the task of this model, task=Tag() or Regress()."
        )
    n_classes, guess = logits.shape[1], logits.argmax(1)
    outside = ((labels < 0) | (labels >= n_classes)).nonzero()[:, 0]
    if len(outside):
        raise ValueError(f"Row {int(outside[0])} has label {int(labels[outside[0]])}, but the logits are of "
                         f"{n_classes} classes (0 to {n_classes - 1}).")
    groups = {} if by is None else _by_group(guess == labels, by, group_names)
    names = tuple(class_names or ())
    names += tuple(map(str, range(len(names), n_classes)))
    if len(names) > n_classes:
        raise ValueError(f"There are {len(names)} class names, and the logits are of {n_classes} classes: "
                         "build the model with as many.")
    return Metrics(
        int((guess == labels).sum()), len(labels), confusion_matrix(guess, labels, n_classes), names, groups
    )


def confusion_matrix(guess: torch.Tensor, labels: torch.Tensor, n_classes: int) -> torch.Tensor:
    """int64 (n_classes, n_classes): entry [t, p] counts the rows of class t that were called p."""
    return torch.bincount(labels * n_classes + guess, minlength=n_classes**2).reshape(n_classes, n_classes)


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's (1927) interval for a share: unlike p ± z·s.e. it stays inside 0 … 1 and has a width at 0 and
    at 1.
    """
    if n == 0:
        return 0.0, 1.0
    p, spread = right / n, z * math.sqrt(right / n * (1 - right / n) / n + z * z / (4 * n * n))
    centre, scale = p + z * z / (2 * n), 1 + z * z / n
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return min(max(0.0, low), p), max(min(1.0, high), p)  # rounding must not push the share itself out


def _by_group(right, by, group_names):
    by = by.tolist() if isinstance(by, torch.Tensor) else list(by)
    if len(by) != len(right):
        raise ValueError(f"by has {len(by)} groups for {len(right)} rows: it needs one per row.")
    counts = {group: [0, 0] for group in sorted(set(by))}
    for group, ok in zip(by, right.tolist(), strict=True):
        counts[group][0] += ok
        counts[group][1] += 1
    return {str(group_names[group] if group_names else group): Share(*pair) for group, pair in counts.items()}


def _ratio(part, whole):
    return part.double() / whole.clamp(min=1)
