"""How a driver answers: first that it is ready, then turn by turn what it trained and how long that took."""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable

import torch
from task import Task


def serve(train: Callable) -> None:
    """Answer each turn on standard input: {"tier": 1, "mode": "time", "cache": folder}. A tool's own talk
    goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(value):
        print(json.dumps(value), file=answers, flush=True)

    task = Task(**json.loads(sys.stdin.readline()))
    say({"ready": time.time()})
    for line in sys.stdin:
        say(measured(train, task, json.loads(line)))


def measured(train: Callable, task: Task, turn: dict) -> dict:
    task.begin(turn["mode"])
    if turn["tier"] < 3:
        task.rows(turn["tier"])  # read before the clock starts: these tiers begin with them
    begin, started, cpu = task.now(), time.perf_counter(), cpu_seconds()
    train(task, turn)
    gc.collect()  # ends the workers of this turn, so that their seconds are known
    if task.gpu:
        torch.cuda.synchronize()
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    found = {
        "losses": torch.stack(task.losses).tolist(),
        "times": [(begin.elapsed_time(stamp) / 1000 if task.gpu else stamp - begin) for stamp in task.stamps],
        "seconds": seconds,
        "cpu": cpu,
        "format": task.format,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if task.gpu:
        found["gpu_memory"] = torch.cuda.max_memory_allocated() / 2**20
        task.model.zero_grad()
        torch.cuda.empty_cache()  # the others need it now
    return found


def cpu_seconds() -> float:
    """Of this process and of its workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)
