"""Parts that stay as they are, and activations that are computed twice to be kept never."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import nn

from cmlib.training.optim import branches_of


def freeze(module: nn.Module, frozen: bool = True) -> nn.Module:
    """Stop (or, with ``frozen=False``, resume) the training of a module: no gradients, and always in eval
    mode.

    ``model.train()`` would otherwise put a frozen BatchNorm or Dropout back to work and change features
    nobody is training.
    """
    for part in module.modules():
        if not hasattr(part, "frozen"):
            part.register_forward_pre_hook(_stay_in_eval)
        part.frozen = frozen
        part.training = part.training and not frozen
    return module.requires_grad_(not frozen)


def _stay_in_eval(part: nn.Module, _inputs) -> None:
    if part.frozen:
        part.training = False


@contextmanager
def modes_kept(model: nn.Module):
    """After the block every module trains, or does not, as it did before: one encoder may be in eval mode and
    the model around it not.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def head_alone(model: nn.Module):
    """Within the block only the head learns: what is in a branch has no gradients, and is in eval mode."""
    branch = branches_of(model)[1]
    rest = [p for name, p in model.named_parameters() if p.requires_grad and branch[name] != "head"]
    head = {p for name, p in model.named_parameters() if branch[name] == "head"}
    for part in model.modules():
        mine = set(part.parameters())
        if mine and mine.isdisjoint(head):
            part.eval()
    for parameter in rest:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in rest:
            parameter.requires_grad_(True)


def checkpoint_gradients(model: nn.Module) -> nn.Module:
    """Keep only the inputs of layers and stages, and compute their insides again in the backward pass (Chen
    et al. 2016).

    Same gradients and running statistics; about a third more time for a fraction of the activations. For the
    layers of a model of transformers and the stages of a ResNet; ValueError where there are neither.
    """
    from torch.utils.checkpoint import checkpoint

    def again(stage, forward, x):
        if not (stage.training and torch.is_grad_enabled()):
            return forward(x)
        return checkpoint(
            forward, x, use_reentrant=False, context_fn=lambda: (nullcontext(), statistics_at_rest(stage))
        )

    found = 0
    for part in model.modules():
        # a model of transformers; the method has two names, by version
        if hasattr(part, "gradient_checkpointing_enable"):
            enable = getattr(part, "activation_checkpointing_enable", part.gradient_checkpointing_enable)
            part.config.use_cache = False  # it would be switched off with a warning
            enable()
            found += 1
        for stage in getattr(part, "trunk", nn.Module()).children():
            if isinstance(stage, nn.Sequential):
                stage.forward = partial(again, stage, stage.forward)
                found += 1
    if not found:
        raise ValueError(f"{type(model).__name__} has no layers of transformers and no ResNet stages to "
                         "compute again.")
    return model


@contextmanager
def statistics_at_rest(module):
    """BatchNorm normalises with the batch, but does not count it a second time."""
    norms = [(part, part.momentum, part.num_batches_tracked) for part in module.modules()
             if getattr(part, "track_running_stats", False)]
    for norm, _, _ in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, counter in norms:
            norm.momentum, norm.num_batches_tracked = momentum, counter
