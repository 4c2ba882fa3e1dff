"""The epochs of a run: steps, then the scores, then what is kept."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from functools import partial

import torch
from tqdm.auto import tqdm

from cmlib.data.batch import Features
from cmlib.data.loader import batches, prefetch
from cmlib.data.states import States
from cmlib.data.tree import interleave, leaves
from cmlib.training.accumulate import Part, parts_of
from cmlib.training.curves import Log
from cmlib.training.distributed import ALONE, same_buffers
from cmlib.training.freeze import head_alone
from cmlib.training.guards import Watch, bad_rows, check_monitor, not_finite
from cmlib.training.memory import Estimate, estimate, peak
from cmlib.training.optim import rate, set_rate
from cmlib.training.predict import keep_all
from cmlib.training.recipe import Recipe
from cmlib.training.run import Run
from cmlib.training.snapshot import fits_beside
from cmlib.training.step import Step


class Loop:
    """epoch() trains one more, scores it and keeps it if it is the best. rows, valid : prepared data; out :
    the curves.
    """

    def __init__(
        self,
        run: Run,
        step: Step,
        rows,
        valid,
        recipe: Recipe,
        epochs: int,
        batch_size: int,
        device: torch.device,
    ):
        encoded = isinstance(rows, Features | States)
        resident = device.type == "cuda" and encoded and fits_beside(leaves(rows), device)
        self.rows = rows.to(device) if resident else rows
        self.run, self.step, self.valid, self.device, self.resident = run, step, valid, device, resident
        self.recipe, self.batch_size, self.out = recipe, batch_size, Log(None)
        self.monitor, self.patience, self.augment, self.checkpoint = "valid_loss", None, None, None
        self.each = math.ceil(len(rows) / batch_size)
        self.steps, self.first = epochs * self.each, recipe.head_first * self.each
        self.bar, self.pace, self.told = None, Pace(), 0.0

    def epoch(self) -> None:
        run, task, started = self.run, self.step.task, time.perf_counter()
        rows = len(self.rows) - run.done * self.batch_size  # those that no checkpoint has seen
        resting = run.epoch < self.recipe.head_first
        self.step.model.train()
        with head_alone(self.step.model) if resting else nullcontext():
            n_rows = self._train()
        speed = rows / (time.perf_counter() - started)
        with run.averaged():
            row = {"epoch": run.epoch + 1}
            row |= {name: total / n_rows for name, total in run.totals.items()}
            row |= self._validate()
            # no valid: the last is the best
            score = -run.epoch if self.valid is None else _height(row, self.monitor, task)
            if score < run.best:
                run.keep(score)
            elif self.patience is not None and run.epoch + 1 - run.history.best_epoch >= self.patience:
                run.stopped = True
        self.out.scalars(run.step, {name: value for name, value in row.items() if name.startswith("valid")})
        measured = {"rows_per_second": speed, "peak_mb": peak(self.device) / 1e6}
        run.history.append(row | {"seconds": time.perf_counter() - started} | measured)
        run.next_epoch()
        self._save()

    def _train(self) -> int:
        """The steps of one epoch that are not done yet; how many rows the epoch has."""
        run, step, recipe = self.run, self.step, self.recipe
        watch = Watch(self.device, step.team, self._read)
        plan = self._plan()
        load = partial(parts_of, self.rows, accumulate=recipe.accumulate, team=step.team)
        for parts in prefetch(load, plan[run.done :], self.device, resident=self.resident):
            index = plan[run.done]
            set_rate(step.optimizer, self.share(run.step))
            if self.augment:
                parts = [Part(part.rows, self.augment(part.batch), part.share) for part in parts]
            values, seen = step.gradients(parts, self.rows, index)
            run.step, run.done = run.step + 1, run.done + 1
            watch.see(values, f"epoch {run.epoch + 1}, batch {run.done}", seen, len(index))
            del seen  # the outputs need not outlive their step
            run.good.settle()
            step.update()
            if run.ema:
                run.ema.update(step.model)
            if self.bar is not None:
                self._tell_time()
            if run.step % recipe.every == 0 and run.done < len(plan):
                watch.flush()
                self._save()
        watch.flush()
        return sum(map(len, plan))

    def _plan(self) -> list[torch.Tensor]:
        """Which rows make each batch of this epoch."""
        lengths = self.rows.lengths if self.recipe.bucketed else None
        if self.recipe.sampler is None:
            return batches(len(self.rows), self.batch_size, self.run.order, lengths)
        plan = list(self.recipe.sampler(self.rows, self.batch_size, self.run.order))
        if len(plan) != self.each:
            raise ValueError(f"The schedule counts on {self.each} batches an epoch, ceil(rows / batch_size), "
                             f"and the sampler gave {len(plan)}.")
        return plan

    def share(self, step: int) -> float:
        """Share of the peak rates at a step; the schedule of the whole begins when the head has had its."""
        start, end = (0, self.first) if step < self.first else (self.first, self.steps)
        return rate(step - start, end - start, round(self.recipe.warmup * (end - start)))

    def _tell_time(self) -> None:
        """In the bar, how long the rest will take; not while only the head learns, which is quick."""
        now, step = time.perf_counter(), self.run.step
        left = self.pace.left(now, step, self.steps) if step > self.first else None
        if left is not None and now > self.told + 1:
            self.told = now
            self.bar.set_postfix_str(f"{tqdm.format_interval(left)} left")

    def _read(self, values: dict[str, float], n_rows: int) -> None:
        self.run.add(values, n_rows)
        now = values | {"learning_rate": self.step.optimizer.param_groups[0]["lr"]}
        self.out.scalars(len(self.run.history.batch_loss), now)

    def _save(self) -> None:
        if self.checkpoint is not None:
            self.out.flush()
            self.run.save(self.checkpoint, self.step.team)

    def _validate(self) -> dict[str, float]:
        """{"valid_loss": …, …}: the scores of the task over the validation rows, which the team shares."""
        if self.valid is None:
            return {}
        step, rows = self.step, self.valid
        same_buffers(step.model, step.team)
        team = step.team if len(rows) >= step.team.size else ALONE  # too few to share: all do all of them
        own = torch.arange(len(rows))[team.rank :: team.size]
        # without gradients, four times the rows fit as well
        kept = keep_all(step.model, step.task, step.quiet, rows, min(256, 4 * self.batch_size), own)
        kept = interleave(team.gather(kept), len(rows))
        scores = step.task.score(kept, rows)
        # no epoch could be the best, and what was learned would be dropped
        if not math.isfinite(scores["loss"]):
            bad = bad_rows([(torch.arange(len(rows)), kept)])
            what = f"valid_loss became {scores['loss']} after epoch {self.run.epoch + 1}"
            raise not_finite(what, bad or list(range(len(rows))), " of valid")
        return {f"valid_{name}": value for name, value in scores.items()}

    def memory(self) -> Estimate:
        """What a step needs, for the sentence that says that it was not there."""
        step = self.step
        at_once = -(-self.batch_size // (self.recipe.accumulate * step.team.size))
        few = self.rows[torch.arange(min(4, len(self.rows)))].to(self.device)
        with step.precision.autocast():
            return estimate(step.model, few, at_once)


class Pace:
    """How long the rest takes, from steps that are warm: the first ones start kernels, caches and clocks."""

    COLD = 3

    def __init__(self):
        self.seen, self.since, self.first = 0, 0.0, 0

    def left(self, now: float, step: int, steps: int) -> float | None:
        """Seconds from step ``step``, made at the time ``now``, to the last of ``steps``; None while cold."""
        self.seen += 1
        if self.seen <= self.COLD:
            self.since, self.first = now, step
            return None
        return (now - self.since) / (step - self.first) * (steps - step)


def _height(row: dict, monitor: str, task) -> float:
    """The monitored score as a number that falls when the model gets better."""
    scores = {name.removeprefix("valid_"): value for name, value in row.items() if name.startswith("valid_")}
    check_monitor(monitor, scores)
    return row[monitor] if task.falls(monitor.removeprefix("valid_")) else -row[monitor]
