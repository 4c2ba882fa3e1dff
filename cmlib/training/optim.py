"""AdamW's settings: which parameters decay, the learning rate of each, the schedule, and the average of the
weights.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

LARGE = 2_000_000
_LAYER = re.compile(r"\.(?:layer|layers|blocks|h)\.(\d+)\.")  # BERT and its relatives
_STAGE = re.compile(r"\.trunk\.(\d+)\.")  # encoders.image.trunk_of: stem 0 to 3, stages 4 to 7


def branches_of(model: nn.Module) -> tuple[list[str], dict[str, str]]:
    """(the names of all branches, the branch of every parameter by its name).

    ``model.branches()`` says them, {"decoder": module or list of modules, …} in order. A model without that
    method has the branches "text" and "image", its text_encoder and image_encoder. What is in no branch
    belongs to "head".
    """
    if hasattr(model, "branches"):
        parts = model.branches()
    else:
        parts = {"text": getattr(model, "text_encoder", None), "image": getattr(model, "image_encoder", None)}
    owner = {}
    for branch, modules in parts.items():
        for module in modules if isinstance(modules, list | tuple) else [modules]:
            for parameter in () if module is None else module.parameters():
                owner.setdefault(parameter, branch)
    of = {name: owner.get(parameter, "head") for name, parameter in model.named_parameters()}
    return list(dict.fromkeys([*parts, "head"])), of


def branch_of(name: str) -> str:
    """The branch of a FusionModel that the parameter of this name belongs to: "text", "image" or "head"."""
    return {"text_encoder": "text", "image_encoder": "image"}.get(name.split(".")[0], "head")


def depth_of(name: str) -> int:
    """0 for embeddings and stem, 1 for the first layer or stage of an encoder, 2 for the next, …"""
    if found := _LAYER.search(name):
        return int(found[1]) + 1
    found = _STAGE.search(name)
    return max(0, int(found[1]) - 3) if found else 0


def groups(model: nn.Module, learning_rate: float | Mapping[str, float], weight_decay: float = 0.01,
           layer_decay: float = 1.0) -> list[dict]:
    """Parameter groups for an optimiser: one for each pair of learning rate and decay, frozen parameters left
    out.

    learning_rate : one number, or one for each branch that is trained: {"text": 2e-5, "image": 1e-4, "head":
        1e-3}
    weight_decay  : of matrices, kernels and embeddings. Biases and the gains of norms (fewer than two
        dimensions) are never drawn to zero: they hold no capacity to overfit with, and a gain belongs at 1
        (Loshchilov & Hutter 2019; BERT's recipe)
    layer_decay   : the layer below the top of its encoder gets this factor of the top's rate, the next one
        its square, … (Clark et al. 2020, ELECTRA; 1 is off). ``peak`` in a group is the learning rate that
        the schedule scales.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not named:
        raise ValueError("Nothing to train: every parameter of the model is frozen.")
    known, branches = branches_of(model)
    rates = _rates(learning_rate, known, {branches[name] for name, _ in named})
    top = {}
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay={layer_decay!r} must lie above 0 and at most at 1, which is off.")
    for name, branch in branches.items():
        top[branch] = max(top.get(branch, 0), depth_of(name))
    made: dict[tuple, dict] = {}
    for name, parameter in named:
        branch = branches[name]
        below = top[branch] - depth_of(name)
        rate, decay = rates[branch] * layer_decay**below, weight_decay if parameter.ndim > 1 else 0.0
        group = made.setdefault(
            (rate, decay), {"params": [], "lr": rate, "peak": rate, "weight_decay": decay}
        )
        group["params"].append(parameter)
    return list(made.values())


def _rates(learning_rate, known, trained):
    if not isinstance(learning_rate, Mapping):
        learning_rate = dict.fromkeys(known, learning_rate)
    for branch, value in learning_rate.items():
        if branch not in known:
            near = difflib.get_close_matches(str(branch), known, 1, 0)[0]
            raise ValueError(f"There is no branch {branch!r}; did you mean {near!r}? The branches are "
                             f"{', '.join(known)}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"A learning_rate is a number from 0 up; got {value!r}.")
    missing = [branch for branch in known if branch in trained and branch not in learning_rate]
    if missing:
        raise ValueError(
            f"learning_rate has no number for the branch {missing[0]!r}: add one, or freeze that branch."
        )
    return learning_rate


def adamw(
    model: nn.Module, learning_rate, weight_decay: float = 0.01, layer_decay: float = 1.0
) -> torch.optim.AdamW:
    """AdamW over ``groups``: one fused kernel on a GPU, and on a CPU from ``LARGE`` trained numbers on.

    With ResNet-18 the loop over tensors is a fifth of a step on a CPU, and the kernel a twentieth. With the
    lessons' encoders it is 6 of 150 ms: there the loop stays, whose last bits are those of the formula that
    the lessons compare with.
    """
    made = groups(model, learning_rate, weight_decay, layer_decay)
    trained = [parameter for group in made for parameter in group["params"]]
    return torch.optim.AdamW(
        made, fused=trained[0].is_cuda or sum(p.numel() for p in trained) >= LARGE or None
    )


def rate(step: int, steps: int, warmup_steps: int) -> float:
    """Share of the peak learning rate at a step, 0 … steps − 1: up in a line, then down in a half cosine (a
    pure function).
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Give every group this share of its own peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


class Ema:
    """Exponential moving average of the weights (Polyak & Juditsky 1992): what a run tends to, without its
    last noise.

    average ← d · average + (1 − d) · weights after every step, with d = min(decay, (1 + t) / (10 + t)) at
    step t, so that a short run does not remember its random start. Running statistics (BatchNorm) are
    averaged too, counters are copied.
    """

    def __init__(self, model: nn.Module, decay: float):
        if not 0 < decay < 1:
            raise ValueError(f"ema={decay!r} must lie between 0 and 1; 0.999 remembers about 1,000 steps.")
        self.decay, self.steps = decay, 0
        self.average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.steps += 1
        now = model.state_dict()
        pairs = [(average, now[name].detach()) for name, average in self.average.items()]
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        blend = get_ema_multi_avg_fn(min(self.decay, (1 + self.steps) / (10 + self.steps)))
        for dtype in {
            pair[0].dtype for pair in floats
        }:  # one launch for all tensors of a kind, not one for each
            blend(*map(list, zip(*(pair for pair in floats if pair[0].dtype == dtype), strict=True)), None)
        for average, tensor in pairs:
            if not average.is_floating_point():
                average.copy_(tensor)

    @contextmanager
    def applied(self, model: nn.Module):
        """Inside the block the model has the averaged weights; after it, its own again."""
        own = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(self.average)
        try:
            yield model
        finally:
            model.load_state_dict(own)
