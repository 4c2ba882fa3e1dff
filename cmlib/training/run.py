"""A run: what happened in it, and everything it needs to go on where it was."""

from __future__ import annotations

import json
import math
import random
import zlib
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cmlib.training import checkpoint as checkpoints
from cmlib.training.distributed import Team
from cmlib.training.optim import Ema


class History(list):
    """What happened: one dict per epoch, and ``history["loss"]`` is that column as an array, ready to plot.

    batch_loss : the loss of every step · best_epoch : the epoch whose weights the model has now · interrupted
        : by Ctrl-C
    """

    def __init__(self):
        super().__init__()
        self.batch_loss, self.best_epoch, self.interrupted = [], 0, False

    def __getitem__(self, key):
        return np.array([epoch[key] for epoch in self]) if isinstance(key, str) else super().__getitem__(key)

    def __repr__(self):
        # seconds differ from run to run
        names = [name for name in (self[0] if self else {}) if name != "seconds"]
        lines = ["  ".join(f"{name:>14}" for name in names)]
        lines += [
            "  ".join(f"{row[n]:>14d}" if n == "epoch" else f"{row[n]:>14.4f}" for n in names) for row in self
        ]
        return "\n".join(lines)


class Run:
    """epoch : finished epochs; done : batches of the next one; total : sum of the losses of their rows; step
    : of the run.
    """

    def __init__(
        self, model: nn.Module, optimizer, scaler, ema: Ema | None, order: torch.Generator, settings: dict
    ):
        self.model, self.optimizer, self.scaler, self.ema, self.order = model, optimizer, scaler, ema, order
        self.settings, self.history = json.loads(json.dumps(settings)), History()
        self.step = self.epoch = self.done = 0
        self.total, self.best, self.stopped = 0.0, math.inf, False
        self.good, self.order_was = weights(model), order.get_state()

    def averaged(self):
        """Inside the block the model has the weights that will be kept: the averaged ones, if there are."""
        return self.ema.applied(self.model) if self.ema else nullcontext(self.model)

    def keep(self, score: float | None = None) -> None:
        """Remember these weights as the best so far."""
        self.good = weights(self.model)
        if score is not None:
            self.best, self.history.best_epoch = score, self.epoch + 1

    def next_epoch(self) -> None:
        self.epoch, self.done, self.total, self.order_was = self.epoch + 1, 0, 0.0, self.order.get_state()

    def save(self, folder: str | Path, team: Team) -> None:
        """One checkpoint, by process 0."""
        if team.rank == 0:
            tensors = {"order": self.order_was, "random": torch.get_rng_state(),
                       "batch_loss": torch.tensor(self.history.batch_loss, dtype=torch.float64)}
            tensors |= {"random_cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else {}
            tensors |= _other_random_states()
            checkpoints.put(tensors, "model", self.model.state_dict())
            checkpoints.put(tensors, "best", self.good)
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
                    "total": self.total,
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
        if (loaded := checkpoints.load(folder, self.model)) is None:
            return False
        tensors, facts = loaded
        for name, value in self.settings.items():
            if facts["settings"].get(name) != value:
                raise ValueError(f"The checkpoint in {folder} is of a run with "
                                 f"{name}={facts['settings'].get(name)!r}; this one has "
                                 f"{value!r}: call fit as before to go on with it, or use another folder.")
        self.model.load_state_dict(checkpoints.take(tensors, "model"))
        self.good = checkpoints.take(tensors, "best")
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
        self.step, self.epoch, self.done, self.total = (
            facts[key] for key in ("step", "epoch", "done", "total")
        )
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
        else:  # numbers of its own, different at every step: those of process 0 would drop the same units everywhere
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


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of everything a model stores, on the CPU: on a GPU it would take the room of a larger batch."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
