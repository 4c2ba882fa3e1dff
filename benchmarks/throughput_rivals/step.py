"""One step, taken apart: how many operations it is, what the chip can do at best, and which operations take
the time.
"""

from __future__ import annotations

import time

import torch
from cmlib_driver import train
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode


def flops(task) -> float:
    """Of forward and backward pass, for one pair; a multiplication and its addition are two."""
    task.begin("time")
    batch = task.rows(1)[torch.arange(task.size.batch)]
    with FlopCounterMode(display=False) as counter:
        with task.precision.autocast():
            logits = task.model(batch)
        cross_entropy(logits.float(), batch.labels).backward()
    return counter.get_total_flops() / task.size.batch


def reached(task) -> float:
    """FLOP/s of a large matrix product here, in the precision of the task: what no data sheet promises and
    any step must stay below.
    """
    n, best = (8192, 0.0) if task.gpu else (1024, 0.0)
    a = torch.randn(n, n, device=task.device, dtype=task.precision.dtype)
    for _ in range(10):
        _wait(task)
        start = time.perf_counter()
        a @ a
        _wait(task)
        best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best


def parts(task, tier: int = 1, most: int = 8) -> list[tuple[str, float]]:
    """(operation, its share of the time of an epoch of ours), largest first; on a GPU also how long it waited
    for work.
    """
    task.begin("warm")
    train(task, {"tier": tier})
    task.begin("warm")
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * task.gpu
    with profile(activities=activities) as seen:
        start = time.perf_counter()
        train(task, {"tier": tier})
        _wait(task)
        wall = 1e6 * (time.perf_counter() - start)
    own = "self_device_time_total" if task.gpu else "self_cpu_time_total"
    taken = {
        event.key: getattr(event, own)
        for event in seen.key_averages()
        if event.device_type == torch.autograd.DeviceType.CPU
    }
    whole = max(wall, sum(taken.values()))
    found = sorted(((name, us / whole) for name, us in taken.items()), key=lambda pair: -pair[1])[:most]
    rest = [("all others", sum(taken.values()) / whole - sum(share for _, share in found))]
    return found + rest + [("the GPU waits", 1 - sum(taken.values()) / whole)] * task.gpu


def _wait(task):
    if task.gpu:
        torch.cuda.synchronize()
