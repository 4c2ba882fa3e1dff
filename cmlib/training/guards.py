"""What ``fit`` refuses before it starts, and how it says that a loss is no number any more."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping

import torch

from cmlib.training.distributed import Team


def check_call(train, valid, monitor, patience, **counts) -> None:
    for name, value in (*counts.items(), ("patience", patience)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}={value!r} must be a whole number, at least 1.")
    if patience is not None and valid is None:
        raise ValueError("patience needs validation data: pass it as the second argument.")
    if monitor not in ("valid_loss", "valid_accuracy"):
        raise ValueError(f"monitor={monitor!r} must be 'valid_loss' or 'valid_accuracy'.")
    labels = getattr(train, "labels", None)
    if isinstance(labels, torch.Tensor) and len(labels) and len(labels.unique()) == 1:
        raise ValueError(f"Every row of the training data has class {int(labels[0])}: nothing can be learned "
                         "from one class.")


def check_compiler(device: torch.device) -> None:
    """torch.compile writes C++ for a CPU and, with Triton, C for a GPU, and fails at the first step where
    nothing can build it.
    """
    chosen, usual = (
        ("CC", ("gcc", "clang", "cc")) if device.type == "cuda" else ("CXX", ("g++", "clang++", "cl"))
    )
    if not any(map(shutil.which, (os.environ.get(chosen) or usual[0], *usual))):
        raise FileNotFoundError(f"compile=True needs a compiler ({' or '.join(usual[:2])}), and there is "
                                "none here: sudo apt install g++ "
                                "(macOS: xcode-select --install), or leave compile out.")


def check_labels(name: str, rows, logits: torch.Tensor) -> None:
    if rows is None or logits.ndim != 2 or logits.shape[1] < 2:
        return
    low, high, classes = int(rows.labels.min()), int(rows.labels.max()), logits.shape[1]
    if not 0 <= low <= high < classes:
        raise ValueError(f"The labels of {name} run from {low} to {high}, but the model has {classes} "
                         "classes "
                         f"(0 to {classes - 1}): relabel, or build it with as many classes as there are.")


def bad_rows(seen: list[tuple[torch.Tensor, torch.Tensor]]) -> list[int]:
    """The rows whose logits are not finite. seen : (row numbers, logits) of every part of a batch."""
    return [
        row
        for rows, logits in seen
        for row in rows[~logits.detach().cpu().flatten(1).isfinite().all(1)].tolist()
    ]


def not_finite(what: str, rows: list[int], of: str = "") -> FloatingPointError:
    names = ", ".join(map(str, rows[:8])) + (", …" if len(rows) > 8 else "")
    return FloatingPointError(f"The {what} (rows {names}{of})")


def diverged(message: FloatingPointError, learning_rate, best_epoch: int) -> FloatingPointError:
    back = f"the weights of epoch {best_epoch}" if best_epoch else "the weights it started with"
    rate = dict(learning_rate) if isinstance(learning_rate, Mapping) else f"{learning_rate:g}"
    return FloatingPointError(f"{message}: look at these rows, or try a smaller learning_rate than {rate}; "
                              f"the model has {back} again.")


class Watch:
    """Reads the loss of every step: at once on a CPU; on a GPU one step late, since waiting for it would
    leave the GPU idle.
    """

    def __init__(self, device: torch.device, team: Team, read: Callable):
        self.late, self.team, self.read, self.pending = device.type == "cuda", team, read, None

    def see(self, value: torch.Tensor, where: str, seen: list, n_rows: int) -> None:
        """value : the loss of the step; where : "epoch 1, batch 3"; seen : (row numbers, logits) of this
        process's parts.
        """
        before = self.pending
        self.pending = (
            value.to("cpu", non_blocking=self.late),
            self.late and torch.cuda.current_stream().record_event(),
            where,
            seen,
            n_rows,
        )
        self._look(before if self.late else self.flush())

    def flush(self) -> None:
        pending, self.pending = self.pending, None
        self._look(pending)

    def _look(self, pending) -> None:
        if pending is None:
            return
        value, event, where, seen, n_rows = pending
        if event:
            event.synchronize()
        if not math.isfinite(value):  # a sum over the team: every process is here, and knows its own rows
            bad = self.team.gather((bad_rows(seen), [row for rows, _ in seen for row in rows.tolist()]))
            bad, every = ([row for one in column for row in one] for column in zip(*bad, strict=True))
            # none: the loss itself broke
            raise not_finite(f"loss became {value.item()} in {where}", bad or every)
        self.read(value.item(), n_rows)
