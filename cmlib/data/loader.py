"""Which rows make a batch, and how the batch is on the device before the model asks for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from cmlib.data.tree import leaves, map_tensors


def batches(n: int, batch_size: int, generator: torch.Generator, lengths: torch.Tensor | None = None,
            pool: int = 50) -> list[torch.Tensor]:
    """Every row 0 … n − 1 once, in batches of random rows; the same generator state gives the same batches.

    lengths : int64 (n,), tokens of each row: rows of similar length then share a batch, so that little
        padding is computed. Rows are shuffled, every ``pool`` batches' worth is sorted by length and cut, and
        the batches shuffled; the one short batch is cut from the end of a pool like any other.
    """
    order = torch.randperm(n, generator=generator)
    if lengths is None:
        return list(order.split(batch_size))
    if len(lengths) != n:
        raise ValueError(f"There are {len(lengths)} lengths for {n} rows.")
    cut = [batch for rows in order.split(pool * batch_size)
           for batch in rows[lengths[rows].argsort(stable=True)].split(batch_size)]
    return [cut[i] for i in torch.randperm(len(cut), generator=generator).tolist()]


def prefetch(
    load: Callable, items: Iterable, device: torch.device, depth: int = 2, resident: bool = False
) -> Iterator:
    """load(item) of each item, in order, with its tensors on ``device``.

    For a GPU a thread gathers and pads ``depth`` batches ahead, in pinned memory, and copies them on a stream
    of its own while the model computes. For a CPU there is nothing to overlap with. An error in ``load`` is
    raised here, at its turn.

    resident : the data are on the GPU already, and there is nothing to bring
    """
    if resident:
        yield from map(load, items)
        return
    if device.type != "cuda":
        away = None  # asked of the first batch only: what is here already is not rebuilt one by one
        for item in items:
            value = load(item)
            if away is None:
                away = any(tensor.device != device for tensor in leaves(value))
            yield map_tensors(lambda tensor: tensor.to(device), value) if away else value
        return
    stream, waiting = torch.cuda.Stream(device), deque()
    # data that is on the GPU already may still be on its way
    stream.wait_stream(torch.cuda.current_stream(device))

    def ahead(item):
        with torch.cuda.stream(stream):
            value = map_tensors(lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory(), load(item))
            moved = map_tensors(lambda tensor: tensor.to(device, non_blocking=True), value)
            return moved, stream.record_event()

    with ThreadPoolExecutor(1, "prefetch") as thread:
        try:
            for item in items:
                waiting.append(thread.submit(ahead, item))
                if len(waiting) > depth:
                    yield _arrived(waiting.popleft().result(), device)
            while waiting:
                yield _arrived(waiting.popleft().result(), device)
        finally:
            for future in waiting:
                future.cancel()


def _arrived(loaded, device):
    value, event = loaded
    now = torch.cuda.current_stream(device)
    now.wait_event(event)

    def used(tensor):  # its memory must not be given to the next copy before this stream is done with it
        tensor.record_stream(now)
        return tensor

    return map_tensors(used, value)
