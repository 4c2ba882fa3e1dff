"""One training loop for every task: AdamW, warm-up, cosine decay, clipping, early stopping, best weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from inspect import signature
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from cmlib.data.batch import Features
from cmlib.data.device import device_of
from cmlib.data.pairs import Pairs
from cmlib.data.rows import Rows
from cmlib.data.states import States
from cmlib.models.classes import learn_classes
from cmlib.tasks import Classify, Task
from cmlib.training.curves import Log, place
from cmlib.training.distributed import join
from cmlib.training.guards import (
    check_bucketed,
    check_call,
    check_compiler,
    check_head_first,
    check_monitor,
    check_task,
    diverged,
)
from cmlib.training.loop import Loop
from cmlib.training.memory import out_of_memory_says
from cmlib.training.optim import Ema, adamw
from cmlib.training.precision import choose
from cmlib.training.predict import keep_all, prepare
from cmlib.training.recipe import Recipe
from cmlib.training.run import History, Run, identity
from cmlib.training.step import Step

__all__ = ["History", "fit"]


def fit(
    model: nn.Module,
    train: Pairs | Features | States | Rows,
    valid: Pairs | Features | States | Rows | None = None,
    *,
    epochs: int,
    task: Task | None = None,
    loss: Callable | None = None,
    batch_size: int = 64,
    learning_rate: float | Mapping[str, float] = 1e-3,
    monitor: str = "valid_loss",
    patience: int | None = None,
    augment: Callable | None = None,
    seed: int = 0,
    recipe: Recipe = Recipe(),  # noqa: B008, frozen
    checkpoint: str | Path | None = None,
    log: str | Path | bool | None = None,
    progress: bool = True,
    **settings,
) -> History:
    """Train every parameter that is not frozen, in place, on the device where the model is.

    task          : what is learned and how it is scored (cmlib.tasks); by default Classify()
    loss          : short for task=Classify(loss)
    learning_rate : its peak; it rises linearly over the first steps, then falls as a cosine to 0; {"text":
        2e-5, "image": 1e-4, "head": 1e-3} gives each of ``model.branches()`` its own
    monitor       : the score that says which epoch is the best, "valid_accuracy" say: one of those of the
        task
    patience      : stop after this many epochs without a better one
    augment       : called as augment(batch) → batch on the device, in training only
        (cmlib.data.augment.Augment())
    recipe        : everything else; a setting of it may also stand here by its name: fit(…, accumulate=4)
    checkpoint    : a folder; a checkpoint is written there after ``every`` steps and every epoch, and the
        same call goes on from it, on a CPU to the same bits (with it go the random numbers of torch, numpy
        and random)
    log           : a folder for TensorBoard's curves; ``checkpoint/log`` unless it is given, or False
    With ``valid`` the weights of the best epoch are put back at the end; Ctrl-C ends training early and keeps
    them too. So does an error: FloatingPointError (a loss that is not finite: which batch, which rows),
    MemoryError (what to lower). Under torchrun each process takes its share of every batch; the losses are
    those of the whole batch.
    """
    recipe, task = recipe.changed(settings, list(signature(fit).parameters)), _task(task, loss)
    counts = {
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulate": recipe.accumulate,
        "every": recipe.every,
    }
    check_call(train, valid, monitor, patience, **counts)
    rows, device = prepare(model, train, task.targets), device_of(model)
    valid_rows = None if valid is None else prepare(model, valid, task.targets)
    check_bucketed(recipe.bucketed, rows)
    check_head_first(model, recipe.head_first, epochs)
    learn_classes(model, train, valid)
    if recipe.compile:
        check_compiler(device)
    rates = dict(learning_rate) if isinstance(learning_rate, Mapping) else learning_rate
    same = {
        "rows": len(rows),
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": rates,
        "seed": seed,
    }
    same |= {"task": identity(task), "augment": identity(augment), "monitor": monitor, "patience": patience}
    same |= recipe.facts() | {"sampler": identity(recipe.sampler)}
    how, team = choose(recipe.precision, device), join(device)
    check_task(model, task, recipe.accumulate, team)
    optimizer = adamw(model, rates, recipe.weight_decay, recipe.layer_decay)
    step = Step(model, task, optimizer, how, team, recipe.compile, recipe.clip)
    ema = Ema(model, recipe.ema) if recipe.ema else None
    run = Run(model, optimizer, how.scaler, ema, torch.Generator().manual_seed(seed), same)
    loop = Loop(run, step, rows, valid_rows, recipe, epochs, batch_size, device)
    loop.monitor, loop.patience = monitor, patience
    loop.augment, loop.checkpoint = augment, checkpoint
    curves = place(log, checkpoint)
    mend = ", or raise accumulate, or freeze an encoder"

    with ExitStack() as stack:
        # dropout: seeded, and nobody else's seed moves
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        hidden = not progress or team.rank > 0
        bar = stack.enter_context(tqdm(total=epochs, desc="epochs", disable=hidden, file=sys.stdout))
        loop.bar = None if hidden else bar
        loop.out = stack.enter_context(Log(None if team.rank else curves, same))
        stack.enter_context(out_of_memory_says(device, batch_size, mend, loop.memory))
        torch.manual_seed(seed + team.rank)
        try:
            if checkpoint is not None and run.resume(checkpoint, team):
                bar.update(run.epoch)
            if not run.step:
                _check_scores(step, valid_rows, monitor)
                step.first = partial(_check_rows, task, rows, valid_rows)
            while run.epoch < epochs and not run.stopped:
                loop.epoch()
                bar.update()
        except KeyboardInterrupt:
            run.history.interrupted = True
            if not run.history:
                run.keep()  # not even one epoch: what little was learned stays in the model
        except FloatingPointError as error:
            raise diverged(error, rates, run.history.best_epoch) from None
        finally:  # an error, too, leaves a model of whole epochs, and no gradients behind
            run.good.put_back()
            model.eval()
            optimizer.zero_grad()
    return run.history


def _task(task, loss) -> Task:
    if task is None:
        return Classify() if loss is None else Classify(loss)
    if loss is not None:
        raise ValueError("fit got a task and a loss: the loss is part of the task, so leave one of them out.")
    if not isinstance(task, Task):
        mend = "call its class" if isinstance(task, type) else "derive its class from cmlib.tasks.Task"
        raise TypeError(f"task={task!r} is no Task: {mend}.")
    return task


def _check_rows(task: Task, rows, valid_rows, outputs) -> None:
    task.check("train", rows, outputs)
    if valid_rows is not None:
        task.check("valid", valid_rows, outputs)


def _check_scores(step: Step, rows: Features | States | Rows | None, monitor: str) -> None:
    """Is ``monitor`` a score of the task? Asked of four rows, so that nobody waits an epoch for the
    answer.
    """
    if monitor == "valid_loss" or rows is None:
        return
    few = rows.first(4) if isinstance(rows, Rows) else rows[:4]
    try:
        scores = step.task.score(keep_all(step.model, step.task, step.quiet, few), few)
    except Exception:  # a score that four rows do not have: the first validation will tell
        return
    check_monitor(monitor, scores)
