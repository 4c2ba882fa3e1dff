"""From a model and data to its answers, in eval mode and without gradients."""

from __future__ import annotations

import torch
from torch import nn

from cmlib.data.batch import Features
from cmlib.data.pairs import Pairs, describe
from cmlib.data.rows import Rows
from cmlib.models.fusion_model import FusionModel
from cmlib.training.memory import out_of_memory_says


def prepare(model: nn.Module, data: Pairs | Features | Rows) -> Features | Rows:
    """What ``model`` can index into steps: Features and Rows as they are, Pairs tokenised with the model's
    tokenizer.
    """
    if not isinstance(data, Pairs | Features | Rows):
        raise TypeError(f"The data must be Pairs or Features; got {describe(data)}.")
    if len(data) == 0:
        raise ValueError("The data has no rows.")
    if not isinstance(data, Pairs):
        return data
    if not hasattr(model, "tokenizer"):
        raise TypeError(f"{type(model).__name__} has no tokenizer, so it cannot read Pairs; "
                        "give it extract(model, pairs), or wrap it in a FusionModel.")
    return Rows(data, model.tokenizer)


def device_of(model: nn.Module) -> torch.device:
    """Where the model lives; the data follows it there."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))


@torch.no_grad()
def predict(model: nn.Module, data: Pairs | Features | Rows, batch_size: int = 256,
            index: torch.Tensor | None = None) -> torch.Tensor:
    """Logits (rows, n_classes) on the CPU, in the order of the rows, in eval mode (the mode is restored).

    index : int64, the rows that are wanted, in this order (default: all)
    """
    return torch.cat(_in_eval(model, model, data, batch_size, index))


@torch.no_grad()
def extract(model: FusionModel, pairs: Pairs, batch_size: int = 256) -> Features:
    """The features of every row, without gradients: encode once, then train heads on them in seconds."""
    parts = _in_eval(model, model.encode, pairs, batch_size)
    return Features(
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("image", "text", "labels"))
    )


def _in_eval(model, call, data, batch_size, index=None):
    rows, device, was_training = prepare(model, data), device_of(model), model.training
    model.eval()
    try:
        with out_of_memory_says(device, batch_size):
            index = torch.arange(len(rows)) if index is None else index
            return [call(rows[part].to(device)).to("cpu") for part in index.split(batch_size)]
    finally:
        model.train(was_training)
