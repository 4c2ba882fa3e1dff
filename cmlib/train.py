"""One training loop for every lesson: AdamW, warm-up, cosine decay, clipping, early stopping, best weights kept."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from cmlib.batch import Features
from cmlib.memory import out_of_memory_says
from cmlib.models import device_of, predict, prepare
from cmlib.pairs import Pairs


class History(list):
    """What happened: one dict per epoch, and ``history["loss"]`` is that column as an array, ready to plot.

    batch_loss : the loss of every step · best_epoch : the epoch whose weights the model has now · interrupted : by Ctrl-C
    """

    def __init__(self):
        super().__init__()
        self.batch_loss, self.best_epoch, self.interrupted = [], 0, False

    def __getitem__(self, key):
        return np.array([epoch[key] for epoch in self]) if isinstance(key, str) else super().__getitem__(key)

    def __repr__(self):
        names = [name for name in (self[0] if self else {}) if name != "seconds"]  # seconds differ from run to run
        lines = ["  ".join(f"{name:>14}" for name in names)]
        lines += ["  ".join(f"{row[n]:>14d}" if n == "epoch" else f"{row[n]:>14.4f}" for n in names) for row in self]
        return "\n".join(lines)


def fit(model: nn.Module, train: Pairs | Features, valid: Pairs | Features | None = None, *, epochs: int,
        batch_size: int = 64, learning_rate: float = 1e-3, weight_decay: float = 0.01, warmup: float = 0.1,
        clip: float = 1.0, patience: int | None = None, seed: int = 0, loss: Callable = cross_entropy,
        monitor: str = "valid_loss", progress: bool = True) -> History:
    """Train every parameter that is not frozen, in place, on the device where the model is.

    learning_rate : its peak; it rises linearly over the first ``warmup`` share of the steps, then falls as a cosine to 0
    weight_decay  : decoupled (AdamW, Loshchilov & Hutter 2019); clip : largest norm of the whole gradient
    patience      : stop after this many epochs without a better ``monitor`` ("valid_loss" or "valid_accuracy")
    loss          : called as loss(logits (batch, n_classes), labels (batch,)) → scalar
    With ``valid`` the weights of the best epoch are put back at the end; Ctrl-C ends training early and keeps them too.
    So does an error: FloatingPointError (a loss that is not finite: which batch, which rows), MemoryError (what to lower).
    """
    _check(train, valid, epochs, batch_size, patience, monitor)
    rows, device = prepare(model, train), device_of(model)
    valid_rows = None if valid is None else prepare(model, valid)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("Nothing to train: every parameter of the model is frozen.")
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    steps = epochs * math.ceil(len(rows) / batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, round(warmup * steps)))
    order = torch.Generator().manual_seed(seed)
    history, best, good = History(), math.inf, _copy(model)
    with (torch.random.fork_rng([device] if device.type == "cuda" else []),  # dropout: seeded, and nobody else's seed moves
          tqdm(total=epochs, desc="epochs", disable=not progress, file=sys.stdout) as bar,
          out_of_memory_says(device, batch_size, ", or freeze an encoder")):
        torch.manual_seed(seed)
        try:
            for epoch in range(1, epochs + 1):
                started, total = time.perf_counter(), 0.0
                model.train()
                for number, index in enumerate(torch.randperm(len(rows), generator=order).split(batch_size), 1):
                    batch = rows[index].to(device)
                    logits = model(batch)
                    if not history.batch_loss:
                        _check_labels("train", rows, logits)
                        _check_labels("valid", valid_rows, logits)
                    value = loss(logits, batch.labels)
                    history.batch_loss.append(value.item())
                    if not math.isfinite(history.batch_loss[-1]):
                        what = f"loss became {history.batch_loss[-1]} in epoch {epoch}, batch {number}"
                        raise FloatingPointError(_diverged(what, index, logits))
                    total += history.batch_loss[-1] * len(index)
                    optimizer.zero_grad()
                    value.backward()
                    nn.utils.clip_grad_norm_(parameters, clip)
                    optimizer.step()
                    schedule.step()
                row = {"epoch": epoch, "loss": total / len(rows)} | _validate(model, valid_rows, loss, batch_size, epoch)
                history.append(row | {"seconds": time.perf_counter() - started})
                bar.update()
                score = {"valid_loss": 1, "valid_accuracy": -1}[monitor] * row.get(monitor, -epoch)  # no valid: the last
                if score < best:
                    best, good, history.best_epoch = score, _copy(model), epoch
                elif patience is not None and epoch - history.best_epoch >= patience:
                    break
        except KeyboardInterrupt:
            history.interrupted = True
            if not history:
                good = _copy(model)  # not even one epoch: what little was learned stays in the model
        except FloatingPointError as error:
            back = f"the weights of epoch {history.best_epoch}" if history.best_epoch else "the weights it started with"
            raise FloatingPointError(f"{error}: look at these rows, or try a smaller learning_rate than {learning_rate:g}; "
                                     f"the model has {back} again.") from None
        finally:  # an error, too, leaves a model of whole epochs, and no gradients for whoever goes on with it
            model.load_state_dict(good)
            model.eval()
            optimizer.zero_grad()
    return history


def _rate(step, steps, warmup_steps):
    """Share of the peak learning rate at a step: up in a line, down in a half cosine."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def _validate(model, rows, loss, batch_size, epoch):
    if rows is None:
        return {}
    logits = predict(model, rows, min(256, 4 * batch_size))  # without gradients, four times the rows fit as well
    value = loss(logits, rows.labels).item()
    if not math.isfinite(value):  # no epoch could be the best, and all that was learned would be dropped in silence
        what = f"valid_loss became {value} after epoch {epoch}"
        raise FloatingPointError(_diverged(what, torch.arange(len(logits)), logits, " of valid"))
    return {"valid_loss": value, "valid_accuracy": (logits.argmax(1) == rows.labels).double().mean().item()}


def _copy(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _check(train, valid, epochs, batch_size, patience, monitor):
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("patience", patience)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value} must be at least 1.")
    if monitor not in ("valid_loss", "valid_accuracy"):
        raise ValueError(f"monitor={monitor!r} must be 'valid_loss' or 'valid_accuracy'.")
    if patience is not None and valid is None:
        raise ValueError("patience needs a valid set: without one there is nothing to be patient about.")
    labels = getattr(train, "labels", None)
    if labels is not None and len(labels) and len(labels.unique()) == 1:
        raise ValueError(f"Every row of the training data has class {int(labels[0])}: nothing can be learned from one class.")


def _check_labels(name, rows, logits):
    if rows is None or logits.ndim != 2 or logits.shape[1] < 2:
        return
    low, high, classes = int(rows.labels.min()), int(rows.labels.max()), logits.shape[1]
    if not 0 <= low <= high < classes:
        raise ValueError(f"The labels of {name} run from {low} to {high}, but the model has {classes} classes "
                         f"(0 to {classes - 1}): relabel, or build it with as many classes as there are.")


def _diverged(what, index, logits, of=""):
    bad = index[~logits.detach().cpu().flatten(1).isfinite().all(1)]
    bad = bad if len(bad) else index  # finite logits: the loss itself broke, and any row may be the reason
    return f"The {what} (rows {', '.join(map(str, bad[:8].tolist()))}{', …' if len(bad) > 8 else ''}{of})"
