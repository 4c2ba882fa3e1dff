"""Where the modules that cmlib makes live, and how data reach them there.

``setup`` says it once for a lesson. From then on every encoder, head and model is made there, and a module
that reads a typed batch brings the batch to itself, so that no cell of a lesson has to name a device.
"""

from __future__ import annotations

import torch
from torch import nn

_home = torch.device("cpu")


def home() -> torch.device:
    """The device on which cmlib makes modules; the CPU until ``set_home``."""
    return _home


def set_home(device: torch.device | str) -> None:
    """From now on modules are made on ``device``; those that exist stay where they are."""
    global _home
    _home = torch.device(device)


def settle(module: nn.Module) -> nn.Module:
    """The same module, at home. Its weights were drawn on the CPU, so a seed gives the same ones anywhere."""
    return module.to(_home)


def device_of(module: nn.Module) -> torch.device:
    """Where a module lives: the device of its first parameter or buffer, the CPU if it has none."""
    for tensors in (module.parameters(), module.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device("cpu")


def follow(batch, module: nn.Module):
    """A batch where ``module`` is: itself, not a copy, if it is there already."""
    if torch.compiler.is_compiling():  # fit has put it there; the question would break the graph
        return batch
    device = device_of(module)
    return batch if batch.device == device else batch.to(device)
