"""What a box is given, whatever its wall: limits, an environment, and the places of this machine that it can
read.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

PLACE = "/box"  # where the worker's own files stand, inside
FIRST_UID = 210_000  # as root, slot k runs as this uid + k; nobody owns a file with it


@dataclass(frozen=True)
class Limits:
    """For one answer: memory and disk in bytes, cpu and wall in seconds, processes and threads together.

    wall : for one call; learner : for all answers of one learner together
    """

    memory: int = 2 << 30
    disk: int = 64 << 20
    cpu: int = 130
    wall: float = 10.0
    learner: float = 300.0
    processes: int = 64
    # whether answers will train: what torch.optim imports is then there before they run
    optimizers: bool = False

    @property
    def start(self) -> float:
        """Seconds for the cells that an answer needs, before it is asked anything."""
        return 6 * self.wall


def environment() -> dict[str, str]:
    """All that a worker is told about the world."""
    return {
        "HOME": "/tmp",
        "PATH": "/usr/bin:/bin",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        # torch.compile and torch.jit.script give back the function as it is, which computes the same: there
        # is no compiler in here
        "TORCHDYNAMO_DISABLE": "1",
        "PYTORCH_JIT": "0",
    }


def readable() -> list[Path]:
    """The places of this machine that learners' code can read, whatever the wall."""
    return [Path(p).resolve() for p in sorted({"/usr", sys.prefix, sys.base_prefix})]


def masked() -> list[str]:
    """Where the course itself, with every reference, lies in a readable place: there the box gets an empty
    folder.
    """
    installed = [
        p
        for place in readable()
        for pattern in ("lib*/python*/*-packages/cmlib", "local/lib*/python*/*-packages/cmlib")
        for p in place.glob(pattern)
    ]
    own = Path(__file__).resolve().parent.parent
    return sorted(
        {str(p) for p in (*installed, own) if any(p.resolve().is_relative_to(place) for place in readable())}
    )


def complaint(stderr: bytes) -> str:
    """The line in which a program said why it failed: its last, but for Docker's hint at its help."""
    lines = [
        line
        for line in stderr.decode("utf-8", "replace").strip().splitlines()
        if not line.startswith("See 'docker")
    ]
    return lines[-1][:300] if lines else ""
