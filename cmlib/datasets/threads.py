"""As many threads as there are cores: how many that is, and work that runs a little ahead of its reader."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor


def cores() -> int:
    """How many cores this process may use. OMP_NUM_THREADS is no limit: it says how many of them multiply
    matrices, and decoding, which keeps a fast GPU waiting, needs them all.
    """
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ahead(work: Callable, items: Iterable) -> Iterator[Future]:
    """work(item) of each item, in order, as futures; as many threads as cores run a little ahead."""
    waiting, threads = deque(), cores()
    with ThreadPoolExecutor(threads, "pictures") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 4 * threads:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()
