"""One training loop for every lesson: AdamW, warm-up, cosine decay, clipping, early stopping, best weights
kept.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from cmlib.data.batch import Features
from cmlib.data.loader import batches, prefetch
from cmlib.data.pairs import Pairs
from cmlib.data.rows import Rows
from cmlib.training.accumulate import parts_of
from cmlib.training.curves import Log, place
from cmlib.training.distributed import ALONE, join, same_buffers, spread, summing
from cmlib.training.guards import (
    Watch,
    bad_rows,
    check_call,
    check_compiler,
    check_labels,
    diverged,
    not_finite,
)
from cmlib.training.memory import estimate, out_of_memory_says
from cmlib.training.optim import Ema, adamw, rate, set_rate
from cmlib.training.precision import Precision, choose
from cmlib.training.predict import device_of, predict, prepare
from cmlib.training.run import History, Run

__all__ = ["History", "fit"]


def fit(
    model: nn.Module,
    train: Pairs | Features | Rows,
    valid: Pairs | Features | Rows | None = None,
    *,
    epochs: int,
    batch_size: int = 64,
    learning_rate: float | Mapping[str, float] = 1e-3,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    clip: float = 1.0,
    patience: int | None = None,
    seed: int = 0,
    loss: Callable = cross_entropy,
    monitor: str = "valid_loss",
    progress: bool = True,
    accumulate: int = 1,
    precision: str | Precision = "fp32",
    layer_decay: float = 1.0,
    ema: float | None = None,
    compile: bool = False,
    bucketed: bool = False,
    augment: Callable | None = None,
    checkpoint: str | Path | None = None,
    every: int = 500,
    log: str | Path | bool | None = None,
) -> History:
    """Train every parameter that is not frozen, in place, on the device where the model is.

    learning_rate : its peak; it rises linearly over the first ``warmup`` share of the steps, then falls as a
        cosine to 0; {"text": 2e-5, "image": 1e-4, "head": 1e-3} gives each branch its own, ``layer_decay``
        lower layers less (cmlib.training.optim)
    weight_decay  : decoupled (AdamW, Loshchilov & Hutter 2019); clip : largest norm of the whole gradient
    patience      : stop after this many epochs without a better ``monitor`` ("valid_loss" or
        "valid_accuracy")
    loss          : called as loss(logits (batch, n_classes), labels (batch,)) → scalar, a mean over the rows
    accumulate    : compute each batch in this many parts: less memory, the same gradient (BatchNorm sees only
        its part)
    precision     : "fp32", "bf16", "fp16" or "auto" (cmlib.training.precision); compile : run the model
        through torch.compile
    ema           : 0.999, say: validate and keep the moving average of the weights; bucketed : rows of like
        length together
    augment       : called as augment(batch) → batch on the device, in training only
        (cmlib.data.augment.Augment(), say)
    checkpoint    : a folder; a checkpoint is written there after ``every`` steps and every epoch, and the
        same call goes on from it, on a CPU to the same bits (with it go the random numbers of torch, of
        np.random and of random)
    log           : a folder for TensorBoard's curves; ``checkpoint/log`` unless it is given, or False
    With ``valid`` the weights of the best epoch are put back at the end; Ctrl-C ends training early and keeps
    them too. So does an error: FloatingPointError (a loss that is not finite: which batch, which rows),
    MemoryError (what to lower). Under torchrun each process takes its share of every batch; the losses are
    those of the whole batch.
    """
    check_call(
        train,
        valid,
        monitor,
        patience,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        every=every,
    )
    rows, device = prepare(model, train), device_of(model)
    valid_rows = None if valid is None else prepare(model, valid)
    if bucketed and not hasattr(rows, "lengths"):
        raise ValueError("bucketed=True sorts rows by the length of their texts, and Features have none: "
                         "leave it out.")
    if compile:
        check_compiler(device)
    curves = place(log, checkpoint)
    rates = dict(learning_rate) if isinstance(learning_rate, Mapping) else learning_rate
    settings = {
        "rows": len(rows),
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": rates,
        "seed": seed,
        "weight_decay": weight_decay,
        "warmup": warmup,
        "clip": clip,
        "layer_decay": layer_decay,
        "ema": ema,
        "precision": getattr(precision, "name", precision),
        "bucketed": bucketed,
        "accumulate": accumulate,
    }
    how, team, optimizer = (
        choose(precision, device),
        join(device),
        adamw(model, rates, weight_decay, layer_decay),
    )
    parameters = [p for p in model.parameters() if p.requires_grad]
    whole = spread(model, team, device)
    call = torch.compile(whole) if compile else whole
    run = Run(
        model,
        optimizer,
        how.scaler,
        Ema(model, ema) if ema else None,
        torch.Generator().manual_seed(seed),
        settings,
    )
    steps, history = epochs * math.ceil(len(rows) / batch_size), run.history

    def need():
        part = -(-batch_size // (accumulate * team.size))  # rows that are in memory at a time
        with how.autocast():
            return estimate(model, rows[torch.arange(min(4, len(rows)))].to(device), part)

    def read(value, n_rows):
        history.batch_loss.append(value)
        run.total += value * n_rows
        out.scalars(
            len(history.batch_loss), {"loss": value, "learning_rate": optimizer.param_groups[0]["lr"]}
        )

    # dropout: seeded, and nobody else's seed moves
    with (torch.random.fork_rng([device] if device.type == "cuda" else []),
          tqdm(total=epochs, desc="epochs", disable=not progress or team.rank > 0, file=sys.stdout) as bar,
          Log(None if team.rank else curves, settings) as out,
          out_of_memory_says(device, batch_size, ", or raise accumulate, or freeze an encoder", need)):
        torch.manual_seed(seed + team.rank)
        try:
            if checkpoint is not None and run.resume(checkpoint, team):
                bar.update(run.epoch)
            while run.epoch < epochs and not run.stopped:
                epoch, started = run.epoch + 1, time.perf_counter()
                watch = Watch(device, team, read)
                model.train()
                plan = batches(len(rows), batch_size, run.order, rows.lengths if bucketed else None)
                load = partial(parts_of, rows, accumulate=accumulate, team=team)
                for parts in prefetch(load, plan[run.done:], device):
                    set_rate(optimizer, rate(run.step, steps, round(warmup * steps)))
                    optimizer.zero_grad()
                    value, seen = 0.0, []
                    for part in parts:
                        batch = augment(part.batch) if augment else part.batch
                        with summing(whole, last=part is parts[-1]):
                            with how.autocast():
                                logits = how.whole(call(batch))
                            if not run.step:
                                check_labels("train", rows, logits)
                                check_labels("valid", valid_rows, logits)
                            share = loss(logits, batch.labels) * part.share
                            # DDP divides the sum by the size of the team
                            how.scaler.scale(share * team.size).backward()
                        value = value + share.detach()
                        seen.append((part.rows, logits.detach()))
                    run.step, run.done = run.step + 1, run.done + 1
                    watch.see(
                        team.total(value), f"epoch {epoch}, batch {run.done}", seen, len(plan[run.done - 1])
                    )
                    how.scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(parameters, clip)
                    how.scaler.step(optimizer)
                    how.scaler.update()
                    if run.ema:
                        run.ema.update(model)
                    if checkpoint is not None and run.step % every == 0 and run.done < len(plan):
                        watch.flush()
                        out.flush()
                        run.save(checkpoint, team)
                watch.flush()
                with run.averaged():
                    row = {"epoch": epoch, "loss": run.total / len(rows)}
                    row |= _validate(model, valid_rows, loss, batch_size, epoch, how, team)
                    # no valid: the last
                    score = {"valid_loss": 1, "valid_accuracy": -1}[monitor] * row.get(monitor, -epoch)
                    if score < run.best:
                        run.keep(score)
                    elif patience is not None and epoch - history.best_epoch >= patience:
                        run.stopped = True
                out.scalars(
                    run.step, {name: value for name, value in row.items() if name.startswith("valid")}
                )
                history.append(row | {"seconds": time.perf_counter() - started})
                run.next_epoch()
                if checkpoint is not None:
                    out.flush()
                    run.save(checkpoint, team)
                bar.update()
        except KeyboardInterrupt:
            history.interrupted = True
            if not history:
                run.keep()  # not even one epoch: what little was learned stays in the model
        except FloatingPointError as error:
            raise diverged(error, rates, history.best_epoch) from None
        finally:  # an error, too, leaves a model of whole epochs, and no gradients for whoever goes on with it
            model.load_state_dict(run.good)
            model.eval()
            optimizer.zero_grad()
    return history


def _validate(model, rows, loss, batch_size, epoch, how, team):
    if rows is None:
        return {}
    same_buffers(model, team)
    team = team if len(rows) >= team.size else ALONE  # too few to share: all do all of them
    with how.autocast():  # without gradients, four times the rows fit as well
        part = how.whole(
            predict(model, rows, min(256, 4 * batch_size), torch.arange(len(rows))[team.rank :: team.size])
        )
    logits, labels = part.new_empty(len(rows), *part.shape[1:]), rows.labels.cpu()
    for rank, share in enumerate(team.gather(part)):
        logits[rank::team.size] = share
    value = loss(logits, labels).item()
    # no epoch could be the best, and all that was learned would be dropped in silence
    if not math.isfinite(value):
        bad = bad_rows([(torch.arange(len(rows)), logits)])
        raise not_finite(
            f"valid_loss became {value} after epoch {epoch}", bad or list(range(len(rows))), " of valid"
        )
    return {"valid_loss": value, "valid_accuracy": (logits.argmax(1) == labels).double().mean().item()}
