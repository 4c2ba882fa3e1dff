"""Out of memory, in whatever words the device says it, becomes one sentence that says what to lower."""

from __future__ import annotations

from contextlib import contextmanager

import torch

# CUDA's allocator, CUDA itself, MPS and numpy; the CPU allocator of torch; cuBLAS, when its workspace finds no room.
_SAID = ("out of memory", "t allocate memory", "unable to allocate", "alloc_failed")


@contextmanager
def out_of_memory_says(device: torch.device, batch_size: int, more: str = ""):
    """MemoryError that names the batch size, instead of torch's own error; every other error passes as it is."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, MemoryError | torch.OutOfMemoryError)
                or any(words in str(error).lower() for words in _SAID)):
            raise
        raise MemoryError(f"Out of memory on {device} at batch_size={batch_size}: lower batch_size, or use smaller images "
                          f"or shorter texts{more}.") from None
