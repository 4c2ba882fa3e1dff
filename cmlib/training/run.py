"""A run: what happened in it, and everything it needs to go on where it was."""

from __future__ import annotations

import json
import math
import random
import zlib
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cmlib.training import checkpoint as checkpoints
from cmlib.training.distributed import Team
from cmlib.training.optim import Ema
from cmlib.training.snapshot import Snapshot

MEASURED = ("seconds", "rows_per_second", "peak_mb")  # differ from run to run


class History(list):
    """What happened: one dict per epoch, and ``history["loss"]`` is that column as an array, ready to plot.

    seconds, rows_per_second, peak_mb : of each epoch, as measured: its time with validation, the speed of its
        training, the largest memory so far (of tensors on a GPU, else of the process)
    batch_loss : the loss of every step · best_epoch : the epoch whose weights the model has now · interrupted
        : by Ctrl-C
    """

    def __init__(self):
        super().__init__()
        self.batch_loss, self.best_epoch, self.interrupted = [], 0, False

    def __getitem__(self, key):
        return np.array([epoch[key] for epoch in self]) if isinstance(key, str) else super().__getitem__(key)

    def __repr__(self):
        names = [name for name in (self[0] if self else {}) if name not in MEASURED]
        wide = {name: max(14, len(name)) for name in names}
        lines = ["  ".join(f"{name:>{wide[name]}}" for name in names)]
        for row in self:
            cells = (f"{row[n]:>{wide[n]}d}" if n == "epoch" else f"{row[n]:>{wide[n]}.4f}" for n in names)
            lines.append("  ".join(cells))
        return "\n".join(lines)


class Run:
    """Where a run stands: all that a checkpoint has to hold.

    epoch : finished epochs; done : batches of the next one; step : of the run
    totals : sum over the rows so far of what the objective gave, by name; best : the lowest score (a score
        that should rise is negative); good : the weights of that epoch
    """

    def __init__(
        self, model: nn.Module, optimizer, scaler, ema: Ema | None, order: torch.Generator, settings: dict
    ):
        self.model, self.optimizer, self.scaler, self.ema, self.order = model, optimizer, scaler, ema, order
        self.settings, self.history = json.loads(json.dumps(settings)), History()
        self.step = self.epoch = self.done = 0
        self.totals, self.best, self.stopped = {}, math.inf, False
        self.good, self.order_was = Snapshot(model), order.get_state()

    @contextmanager
    def averaged(self):
        """Inside the block the model has the weights that will be kept: the averaged ones, if there are."""
        if not self.ema:
            yield self.model
            return
        with self.ema.applied(self.model):
            yield self.model
            self.good.settle()

    def keep(self, score: float | None = None) -> None:
        """Remember these weights as the best so far."""
        self.good.take()
        if score is not None:
            self.best, self.history.best_epoch = score, self.epoch + 1

    def add(self, values: dict[str, float], n_rows: int) -> None:
        """Count what the objective gave for a batch."""
        self.history.batch_loss.append(values["loss"])
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, 0.0) + value * n_rows

    def next_epoch(self) -> None:
        self.epoch, self.done, self.totals = self.epoch + 1, 0, {}
        self.order_was = self.order.get_state()

    def save(self, folder: str | Path, team: Team) -> None:
        """One checkpoint, by process 0."""
        if team.rank == 0:
            tensors = {"order": self.order_was, "random": torch.get_rng_state(),
                       "batch_loss": torch.tensor(self.history.batch_loss, dtype=torch.float64)}
            tensors |= {"random_cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else {}
            tensors |= _other_random_states()
            checkpoints.put(tensors, "model", self.model.state_dict())
            self.good.arrive()
            checkpoints.put(tensors, "best", self.good.tensors)
            for name, parameter in self.model.named_parameters():
                checkpoints.put(tensors, f"optimizer/{name}", self.optimizer.state.get(parameter, {}))
            if self.ema:
                checkpoints.put(tensors, "ema", self.ema.average)
            checkpoints.save(
                folder,
                self.step,
                tensors,
                {
                    "epoch": self.epoch,
                    "done": self.done,
                    "totals": self.totals,
                    "stopped": self.stopped,
                    "best": self.best if math.isfinite(self.best) else None,
                    "best_epoch": self.history.best_epoch,
                    "ema_steps": self.ema.steps if self.ema else 0,
                    "scaler": self.scaler.state_dict(),
                    "architecture": checkpoints.architecture(self.model),
                    "settings": self.settings,
                    "history": list(self.history),
                },
            )
        team.wait()

    def resume(self, folder: str | Path, team: Team) -> bool:
        """Go on from the newest checkpoint in a folder; False if there is none."""
        loaded = checkpoints.load(folder, self.model)
        if loaded is None:
            return False
        tensors, facts = loaded
        for name, value in self.settings.items():
            if facts["settings"].get(name, value) != value:  # an older version wrote fewer
                raise ValueError(
                    f"The checkpoint in {folder} is of a run with {name}={facts['settings'].get(name)!r}; "
                    "this one has "
                    f"{value!r}: call fit as before to go on with it, or use another folder."
                )
        self.model.load_state_dict(checkpoints.take(tensors, "model"))
        self.good.arrive()  # the copy of the first weights, or it would land on top of these
        for name, tensor in checkpoints.take(tensors, "best").items():
            self.good.tensors[name].copy_(tensor)
        fused = self.optimizer.defaults.get("fused")
        for name, parameter in self.model.named_parameters():
            for key, value in checkpoints.take(tensors, f"optimizer/{name}").items():
                value = value.to(parameter.device if key != "step" or fused else "cpu")
                same = value.shape == parameter.shape  # then also in the parameter's memory layout
                self.optimizer.state[parameter][key] = (
                    torch.empty_like(parameter).copy_(value).detach() if same else value
                )
        if self.ema:
            self.ema.steps = facts["ema_steps"]
            for name, value in checkpoints.take(tensors, "ema").items():
                self.ema.average[name].copy_(value)
        if facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        self.step, self.epoch, self.done = (facts[key] for key in ("step", "epoch", "done"))
        self.totals = facts["totals"] if "totals" in facts else {"loss": facts["total"]}  # an older version
        self.best, self.stopped = math.inf if facts["best"] is None else facts["best"], facts["stopped"]
        self.history.extend(facts["history"])
        self.history.best_epoch, self.history.batch_loss = facts["best_epoch"], tensors["batch_loss"].tolist()
        self.order.set_state(tensors["order"])
        self.order_was = tensors["order"]
        if team.rank == 0:
            torch.set_rng_state(tensors["random"])
            if "random_cuda" in tensors and torch.cuda.is_available():
                torch.cuda.set_rng_state(tensors["random_cuda"])
            _set_other_random_states(tensors)
        else:  # numbers of its own, at every step others: those of process 0 would drop the same units
            for seed in (torch.manual_seed, np.random.seed, random.seed):
                seed(zlib.crc32(f"{self.settings['seed']} {team.rank} {self.step}".encode()))
        return True


def _other_random_states() -> dict[str, torch.Tensor]:
    """numpy's and Python's, which a learner's ``augment`` may draw from; float64 holds their 32-bit words
    exactly.
    """
    (_, words, *rest), (_, inner, gauss) = np.random.get_state(), random.getstate()
    return {
        "random_numpy": torch.tensor([*words.tolist(), *rest], dtype=torch.float64),
        "random_python": torch.tensor([*inner, math.nan if gauss is None else gauss], dtype=torch.float64),
    }


def _set_other_random_states(tensors: dict[str, torch.Tensor]) -> None:
    if "random_numpy" in tensors:  # not in a checkpoint of an older version
        *words, place, has_gauss, cached = tensors["random_numpy"].tolist()
        np.random.set_state(("MT19937", np.array(words, np.uint32), int(place), int(has_gauss), cached))
        *inner, gauss = tensors["random_python"].tolist()
        random.setstate((3, tuple(map(int, inner)), None if math.isnan(gauss) else gauss))


def identity(value) -> str | None:
    """What tells one loss, task or augmentation from another in a checkpoint, in a form that people can read.

    A function is its name and its code (not the values that it closes over); an object of a class of
    somebody's own is its class and what it holds.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return None if value is None else str(value)
    if isinstance(value, partial):
        return f"partial of {identity(value.func)} with {identity(value.args)} {identity(value.keywords)}"
    if isinstance(value, dict):
        return ", ".join(f"{name}={identity(item)}" for name, item in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(str(identity(item)) for item in value)
    if isinstance(value, nn.Module):
        return f"{type(value).__name__} of {sum(p.numel() for p in value.parameters())} numbers"
    if hasattr(value, "__code__"):
        code = value.__code__
        print_of_code = zlib.crc32(repr((code.co_code, code.co_names, _plain(code.co_consts))).encode())
        return f"{value.__module__}.{value.__qualname__} {print_of_code:08x}"
    if hasattr(value, "__dict__") and not isinstance(value, type):
        return f"{type(value).__qualname__}({identity(vars(value))})"
    return getattr(value, "__qualname__", type(value).__qualname__)


def _plain(constants):
    """Constants of a function without code objects, whose text holds an address."""
    return [constant for constant in constants if not hasattr(constant, "co_code")]
