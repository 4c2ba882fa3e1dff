"""lock(path): one process at a time; the system releases it even when the process is killed."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path


def _try(handle) -> bool:
    """Whether this process now holds the lock."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextmanager
def lock(path: Path):
    """Wait until no other process holds ``path``; the empty file stays: removing it would race with a
    waiter.
    """
    with open(path, "ab") as handle:
        while not _try(handle):
            time.sleep(0.1)
        yield
