"""From a model and data to its answers, in eval mode and without gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import pad

from cmlib.data.batch import Batch, Features
from cmlib.data.device import device_of
from cmlib.data.pairs import Pairs, describe
from cmlib.data.rows import Rows
from cmlib.data.states import States
from cmlib.data.tree import cat, map_tensors
from cmlib.datasets.one import as_pairs
from cmlib.tasks.base import Task
from cmlib.training.freeze import modes_kept
from cmlib.training.memory import out_of_memory_says


def prepare(model: nn.Module, data: Pairs | Features | States | Rows, targets: Sequence[str] = ()):
    """What ``model`` can index into steps: Features, States and Rows as they are, Pairs as Rows, tokenised
    with the model's tokenizer.

    targets : names of extras that every batch has to carry
    """
    if isinstance(targets, str):
        raise TypeError(f"targets={targets!r} of a task must be a tuple of names: ({targets!r},).")
    if not isinstance(data, Pairs | Features | States | Rows):
        raise TypeError(f"The data must be Pairs, Features or States; got {describe(data)}.")
    if len(data) == 0:
        raise ValueError("The data has no rows.")
    if isinstance(data, Pairs):
        tokenizer = getattr(model, "tokenizer", None)
        if tokenizer is None and data.texts is not None:
            raise TypeError(
                f"{type(model).__name__} has no tokenizer, so it cannot read Pairs with texts; give it "
                "extract(model, pairs), or wrap it in a FusionModel, or leave the texts out (texts=None)."
            )
        return Rows(data, tokenizer, targets)
    missing = [name for name in targets if name not in data.targets]
    if missing:
        raise ValueError(
            f"The task reads {missing[0]!r} of every row, and these {type(data).__name__} carry "
            f"{', '.join(data.targets) or 'no targets'}: make them with targets={tuple(targets)!r}."
        )
    return data


def predict(
    model: nn.Module,
    data: Pairs | Features | States | Rows,
    batch_size: int = 256,
    index: torch.Tensor | None = None,
):
    """What the model gives for every row, on the CPU, in the order of the rows, in eval mode (the mode is
    restored): logits (rows, n_classes) of a classifier, or the tree of tensors that the model returns.

    data  : also (picture, text), the path of one picture and what is said about it, or the path of an
        unlabelled table
    index : int64, the rows that are wanted, in this order (default: all)
    """
    size = getattr(getattr(model, "image_encoder", None), "image_size", 64)
    data = as_pairs(data, size)
    for half in getattr(getattr(model, "head", None), "use", ()):  # a head that says which halves it reads
        if isinstance(data, Pairs) and {"image": data.images, "text": data.texts}.get(half, half) is None:
            raise ValueError(f"This {type(model).__name__} reads {' and '.join(model.head.use)}, and these "
                             f"rows have no {half}s: add them, or take a model with use=… of what is there.")
    return cat(_in_eval(model, model, prepare(model, data), batch_size, index))


def extract(
    model: nn.Module, pairs: Pairs, batch_size: int = 256, targets: Sequence[str] = ()
) -> Features:
    """The features of every row, without gradients: encode once, then train heads on them in seconds.

    model : any with ``encode(batch)`` → Features; targets : names of extras that the features carry along
    """
    if not hasattr(model, "encode"):
        raise TypeError(f"{type(model).__name__} has no encode(batch) that gives Features, as a FusionModel "
                        "has.")
    rows = prepare(model, pairs, targets)

    def encode(batch):
        found = model.encode(batch)
        return Features(found.image, found.text, batch.labels)

    every = cat(_in_eval(model, encode, rows, batch_size))
    return replace(every, targets=rows.targets, class_names=rows.class_names)


def extract_states(
    model: nn.Module, pairs: Pairs, batch_size: int = 256, targets: Sequence[str] = ()
) -> States:
    """The states of every row before pooling, without gradients, padded to the longest text of them all.

    model : a FusionModel, or any with ``image_encoder.feature_map`` and ``text_encoder.states``
    Returns States with "image" (rows, cells, image size) and "text" (rows, tokens, text size), or only the
    one that the pairs have. Rows are encoded by length, so that little padding is read.
    """
    rows = prepare(model, pairs, targets)
    order = torch.arange(len(rows)) if rows.lengths is None else rows.lengths.argsort()
    longest = 0 if rows.lengths is None else int(rows.lengths.max())

    def encode(batch: Batch):
        found, masks = {}, {}
        if batch.image is not None:
            found["image"] = model.image_encoder.feature_map(batch.image).flatten(2).transpose(1, 2)
        if batch.text is not None:
            beyond = (0, longest - batch.text.input_ids.shape[1])
            found["text"] = pad(model.text_encoder.states(batch.text), (0, 0, *beyond))
            masks["text"] = pad(batch.text.attention_mask.bool(), beyond)
        return States(found, masks)

    back = order.argsort()
    every = cat(_in_eval(model, encode, rows, batch_size, order))
    back_in_order = map_tensors(lambda tensor: tensor[back].contiguous(), every)
    kept = {"labels": rows.labels, "targets": rows.targets, "class_names": rows.class_names}
    return replace(back_in_order, **kept)


def keep_all(
    model: nn.Module,
    task: Task,
    call: Callable,
    rows,
    batch_size: int = 256,
    index: torch.Tensor | None = None,
    first: Callable | None = None,
):
    """What the task keeps of every row, for its ``score``; call : the model, perhaps in another precision.

    first : called once, with the outputs of the first batch, before anything is made of them
    What the task draws (noise, masks) is the same every time, so that epochs and models can be compared; the
    random numbers of the training go on as if nothing had been drawn.
    """

    waiting = [] if first is None else [first]

    def kept(batch):
        outputs = task.forward(call, batch)
        while waiting:
            waiting.pop()(outputs)
        return task.keep(outputs, batch)

    device = device_of(model)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed other devices too, for good
        if device.type == "cuda":
            torch.cuda.manual_seed(0)
        return cat(_in_eval(model, kept, rows, batch_size, index))


@torch.no_grad()
def _in_eval(model, call, rows, batch_size, index=None):
    device = device_of(model)
    with modes_kept(model), out_of_memory_says(device, batch_size):
        model.eval()
        index = torch.arange(len(rows)) if index is None else index
        batches = (rows[part].to(device) for part in index.split(batch_size))
        return [map_tensors(torch.Tensor.cpu, call(batch)) for batch in batches]
