"""Several devices on paper: the bytes that each one keeps, and the seconds that links and pipelines take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WEIGHT, GRADIENT, MOMENTS = 4, 4, 8  # bytes of each number: float32, and AdamW's two running means


@dataclass(frozen=True)
class Link:
    """A message of n bytes takes latency + n / rate (Hockney 1994).

    latency : seconds; rate : bytes a second, in each of both directions at once
    """

    latency: float
    rate: float

    def __post_init__(self):
        if not (self.latency >= 0 and self.rate > 0):
            raise ValueError("A link has a latency of 0 seconds or more and a rate above 0 bytes a second; "
                             f"got {self.latency} and {self.rate}.")

    def send(self, size: float) -> float:
        return self.latency + size / self.rate

    def all_reduce(self, size: float, processes: int) -> float:
        """Seconds of a ring: 2(n − 1) messages of size/n bytes, one after the other."""
        return 2 * (processes - 1) * self.send(size / processes)


def bytes_by_stage(layers: Sequence[int], processes: int) -> Tensor:
    """Bytes that each process needs at its peak, int64 (4,): all copied; then cut into pieces, layer by layer
    and rounded up, the moments (ZeRO stage 1), the gradients too (2), and the weights too (3, FSDP).

    layers : how many weights each layer has; all learn, in float32, with AdamW. From stage 2 on the largest
        layer's gradient is whole for a moment, at stage 3 also its weights (Rajbhandari et al. 2020). What
        the forward pass keeps of its rows is not counted: rows are shared out anyway.
    ValueError for no layer, or no process.
    """
    if not layers or min(layers) < 1 or processes < 1:
        raise ValueError("Bytes are planned for one process or more and layers of one weight or more; got "
                         f"processes={processes} and layers={list(layers)}.")
    whole, largest = sum(layers), max(layers)
    piece = sum(math.ceil(layer / processes) for layer in layers)
    return torch.tensor([(WEIGHT + GRADIENT + MOMENTS) * whole,
                         (WEIGHT + GRADIENT) * whole + MOMENTS * piece,
                         WEIGHT * whole + (GRADIENT + MOMENTS) * piece + GRADIENT * largest,
                         (WEIGHT + GRADIENT + MOMENTS) * piece + (WEIGHT + GRADIENT) * largest])


def pipeline(forward: Sequence[float], backward: Sequence[float], parts: int, send: float = 0.0):
    """When each stage ends each part, two float64 (stages, parts): on the way forward, and back.

    forward, backward : seconds a part, of each stage; send : seconds from a stage to its neighbour
    All parts go forward, then all come back (GPipe, Huang et al. 2019). ValueError for no stage or no part.
    """
    stages = len(forward)
    if stages < 1 or len(backward) != stages or parts < 1:
        raise ValueError("A pipeline has one stage or more, with seconds forward and backward for each, and "
                         f"one part or more; got {stages} and {len(backward)} stages, {parts} parts.")
    ahead, back = torch.zeros(2, stages, parts, dtype=torch.float64)
    for stage in range(stages):
        free = 0.0
        for part in range(parts):
            there = ahead[stage - 1, part] + send if stage else 0.0
            free = ahead[stage, part] = max(free, there) + forward[stage]
    for stage in reversed(range(stages)):
        free = ahead[stage, -1]
        for part in range(parts):
            there = back[stage + 1, part] + send if stage + 1 < stages else 0.0
            free = back[stage, part] = max(free, there) + backward[stage]
    return ahead, back
