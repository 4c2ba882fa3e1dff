"""What ``fit`` refuses before it starts, and how it says that a loss is no number any more."""

from __future__ import annotations

import difflib
import math
import os
import shutil
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cmlib.data.batch import Features
from cmlib.data.tree import leaves
from cmlib.tasks.base import Task
from cmlib.training.distributed import Team
from cmlib.training.optim import branches_of

LARGEST = 1000  # numbers a row


def check_call(train, valid, monitor, patience, **counts) -> None:
    for name, value in (*counts.items(), ("patience", patience)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}={value!r} must be a whole number, at least 1.")
    if patience is not None and valid is None:
        raise ValueError("patience needs validation data: pass it as the second argument.")
    if not isinstance(monitor, str) or not monitor.startswith("valid_"):
        raise ValueError(
            f"monitor={monitor!r} must be a score of the validation data, such as 'valid_loss' or "
            "'valid_accuracy'."
        )


def check_bucketed(bucketed: bool, rows) -> None:
    if bucketed and getattr(rows, "lengths", None) is None:
        kind = "Features have" if isinstance(rows, Features) else "rows without texts have"
        raise ValueError(f"bucketed=True sorts rows by the length of their texts, and {kind} none: leave it "
                         "out.")


def check_head_first(model: nn.Module, head_first: int, epochs: int) -> None:
    """A head to begin with, and encoders that wait for it."""
    if isinstance(head_first, bool) or not isinstance(head_first, int) or not 0 <= head_first <= epochs:
        raise ValueError(f"head_first={head_first!r} must be a whole number of epochs, from 0 to {epochs}.")
    if head_first:
        branch = branches_of(model)[1]
        learns = {branch[name] == "head" for name, p in model.named_parameters() if p.requires_grad}
        if learns != {True, False}:
            raise ValueError(f"head_first={head_first}: the {type(model).__name__} needs a head and an "
                             "encoder that both learn; leave head_first out.")


def check_monitor(monitor: str, scores: dict) -> None:
    """Before the first step: is there such a score?"""
    names = [f"valid_{name}" for name in scores]
    if monitor not in names:
        near = difflib.get_close_matches(monitor, names, 1, 0)[0]
        raise ValueError(
            f"There is no score monitor={monitor!r}; did you mean {near!r}? This task has {', '.join(names)}."
        )


def check_task(model: nn.Module, task, accumulate: int, team: Team) -> None:
    """What cannot be had from a batch in parts, or spread over processes: gradients that a task computes
    itself, and rows that are compared after a BatchNorm which sees one part of them.
    """
    if accumulate == 1 and team.size == 1:
        return
    kind, cause = type(task), "several processes" if accumulate == 1 else "accumulate"
    if kind.gradients is not Task.gradients and not task.separable:
        raise ValueError(
            f"{kind.__name__} computes its gradients itself and compares rows, which must then be in one "
            f"place: train without {cause}."
        )
    if kind.gradients is not Task.gradients and team.size > 1:
        raise ValueError(
            f"{kind.__name__} computes its gradients itself, and several processes cannot add them up: train "
            "it on one."
        )
    if task.separable:
        return
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and not (
            getattr(module, "frozen", False) and module.track_running_stats
        ):
            raise ValueError(
                f"{kind.__name__} compares the rows of a batch, and the BatchNorm {name!r} would see only "
                f"those of its part: freeze it (cmlib.freeze), or train without {cause}."
            )


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


def bad_rows(seen: list[tuple[torch.Tensor, object]]) -> list[int]:
    """The rows whose outputs are not finite. seen : (row numbers, outputs) of every part of a batch."""
    found = []
    for rows, outputs in seen:
        bad = torch.zeros(len(rows), dtype=torch.bool)
        for tensor in leaves(outputs):
            if tensor.ndim and len(tensor) == len(rows) and tensor.is_floating_point():
                bad |= ~tensor.detach().reshape(len(rows), -1).isfinite().all(1).cpu()
        found += rows[bad].tolist()
    return found


def glimpse(outputs):
    """What of the outputs is worth keeping until a step's loss has been read: nothing large (logits of a
    vocabulary).
    """
    small = [tensor.detach() for tensor in leaves(outputs) if tensor.ndim and tensor[0].numel() <= LARGEST]
    return tuple(small)


def not_finite(what: str, rows: list[int], of: str = "") -> FloatingPointError:
    names = ", ".join(map(str, rows[:8])) + (", …" if len(rows) > 8 else "")
    return FloatingPointError(f"The {what} (rows {names}{of})")


def diverged(message: FloatingPointError, learning_rate, best_epoch: int) -> FloatingPointError:
    back = f"the weights of epoch {best_epoch}" if best_epoch else "the weights it started with"
    rate = dict(learning_rate) if isinstance(learning_rate, Mapping) else f"{learning_rate:g}"
    return FloatingPointError(f"{message}: look at these rows, or try a smaller learning_rate than {rate}; "
                              f"the model has {back} again.")


class Watch:
    """Reads what the objective gave at every step: at once on a CPU; on a GPU one step late, since waiting
    for it would leave the GPU idle.

    read : called as read({"loss": 0.3, …}, number of rows); FloatingPointError where the loss is not finite
    """

    def __init__(self, device: torch.device, team: Team, read: Callable):
        self.late, self.team, self.read, self.pending = device.type == "cuda", team, read, None

    def see(self, values: dict[str, torch.Tensor], where: str, seen: list, n_rows: int) -> None:
        """values : of this process, which add up over the team; where : "epoch 1, batch 3"; seen : (row
        numbers, outputs) of this process's parts.
        """
        if not self.late and self.team.size == 1:
            now = {name: value.item() for name, value in values.items()}
            if math.isfinite(now["loss"]):
                self.read(now, n_rows)
                return
        column = self.team.total(torch.stack(list(values.values())))
        event, before = None, self.pending
        if self.late:
            column = column.to("cpu", non_blocking=True)
            event = torch.cuda.current_stream().record_event()
        self.pending = (list(values), column, event, where, seen, n_rows)
        if self.late:
            self._look(before)
        else:
            self.flush()

    def flush(self) -> None:
        pending, self.pending = self.pending, None
        self._look(pending)

    def _look(self, pending) -> None:
        if pending is None:
            return
        names, column, event, where, seen, n_rows = pending
        if event:
            event.synchronize()
        values = dict(zip(names, column.tolist(), strict=True))
        # a sum over the team: every process is here, and knows its own rows
        if not math.isfinite(values["loss"]):
            bad = self.team.gather((bad_rows(seen), [row for rows, _ in seen for row in rows.tolist()]))
            bad, every = ([row for one in column for row in one] for column in zip(*bad, strict=True))
            # none: the loss itself broke
            raise not_finite(f"loss became {values['loss']} in {where}", bad or every)
        self.read(values, n_rows)
