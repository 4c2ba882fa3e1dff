"""Memory: what a training step needs, counted before it is spent, and what to lower when it was not there."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from cmlib.data.batch import ImageBatch
from cmlib.data.tree import map_tensors
from cmlib.training.freeze import modes_kept

# CUDA's allocator, CUDA itself, MPS and numpy; the CPU allocator of torch; cuBLAS, when its workspace finds
# no room.
_SAID = ("out of memory", "t allocate memory", "unable to allocate", "alloc_failed")


@dataclass(frozen=True)
class Estimate:
    """Bytes that one training step with AdamW keeps at its peak, when the backward pass begins.

    weights : parameters and buffers; gradients : one number for each trained parameter; optimizer : two more
        (Adam's means)
    activations : what the forward pass saves for the backward pass, for ``rows`` rows. Passing workspaces are
        not counted.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    rows: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations

    def __str__(self):
        return (f"{size(self.total)} = weights {size(self.weights)} + gradients {size(self.gradients)} + "
                "optimiser "
                f"{size(self.optimizer)} + activations {size(self.activations)} "
                f"({size(self.activations / self.rows)} for each of "
                f"{self.rows} rows)")


def size(count: float) -> str:
    """Bytes for people: 1_500_000 → "1.5 MB" (powers of 1000)."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            break
        count /= 1000
    else:
        unit = "TB"
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"


def estimate(model: nn.Module, batch, rows: int | None = None) -> Estimate:
    """What ``rows`` rows like those of ``batch`` need (default: as many as it has), from forward passes on
    two and four.

    Two sizes, because some of what is saved does not grow with the batch. Random numbers, modes and
    statistics of the model are left as they were. The batch must be where the model is; ask inside autocast
    for the need under autocast.
    """
    few, more = min(2, len(batch)), min(4, len(batch))
    saved = {n: saved_bytes(model, _head(batch, n)) for n in {few, more}}
    rows = len(batch) if rows is None else rows
    each = (saved[more] - saved[few]) / (more - few) if more > few else saved[few] / few
    trained = sum(_bytes(p) for p in model.parameters() if p.requires_grad)
    return Estimate(sum(map(_bytes, [*model.parameters(), *model.buffers()])), trained, 2 * trained,
                    round(saved[more] + each * (rows - more)), rows)


def saved_bytes(model: nn.Module, batch) -> int:
    """Bytes that autograd keeps between the forward pass of a batch, in training mode, and its backward
    pass.
    """
    # by the storage, not by its address: on the meta device, where a plan costs nothing, all addresses are 0
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        # its storage lives on as long as the graph; the tensor itself would be held by a graph that it holds
        return tensor.detach()

    buffers = {buffer: buffer.clone() for buffer in model.buffers()}
    devices = [tensor.device for tensor in model.parameters() if tensor.is_cuda][:1]
    try:
        with modes_kept(model), torch.random.fork_rng(devices):
            model.train()
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
                # alive until the count is read, or a freed address would be counted once for two tensors
                graph = model(batch)
                del graph
    finally:
        with torch.no_grad():
            for buffer, value in buffers.items():
                buffer.copy_(value)
    return sum(kept.values())


def peak(device: torch.device) -> float:
    """The largest memory so far, in bytes: that of tensors on a GPU since its last
    ``reset_peak_memory_stats``, elsewhere that of the whole process; nan where the system does not say.
    """
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return math.nan
    return float(getrusage(RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def _bytes(tensor):
    return tensor.numel() * tensor.element_size()


def _head(batch, n):
    image = getattr(batch, "image", None)
    if isinstance(image, ImageBatch) and image.rows is not None:  # rows that share pictures: each its own
        batch = replace(batch, image=ImageBatch(image.spread(image.pixels)))
    return map_tensors(lambda tensor: tensor[:n], batch)


@contextmanager
def out_of_memory_says(
    device: torch.device, batch_size: int, more: str = "", need: Callable[[], Estimate] | None = None
):
    """MemoryError that names the batch size, and the estimate of ``need()``, instead of torch's own; others
    pass as they are.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, MemoryError | torch.OutOfMemoryError)
                or any(words in str(error).lower() for words in _SAID)):
            raise
        said = (f"Out of memory on {device} at batch_size={batch_size}: lower batch_size, or use smaller "
                "images or shorter "
                f"texts{more}.")
        traceback.clear_frames(error.__traceback__)  # they hold the activations that filled the memory
        raise MemoryError(said + _needs(need)) from None


def _needs(need) -> str:
    try:
        return f" A step needs about {need()}." if need else ""
    except Exception:  # not even two rows fit: the sentence without numbers is still true
        return ""
