"""Memory and process limits for a whole box, where this machine lets us set them (as root: cgroup v1 or v2).

Limits per process are set in the box in any case; a group also binds a hundred processes together.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from cmlib.grade.inside import Limits

ROOT = Path("/sys/fs/cgroup")
OVERHEAD = 1 << 30  # torch itself, in the fork server


class Group:
    """One control group per box; where none can be made it does nothing."""

    def __init__(self, limits: Limits, name: str):
        memory, processes = str(limits.memory + OVERHEAD), str(limits.processes + 16)
        if (ROOT / "cgroup.controllers").is_file():
            wanted = {
                ROOT: {
                    "memory.max": memory,
                    "memory.swap.max": "0",
                    "pids.max": processes,
                    "cpu.max": "100000 100000",
                }
            }
        else:  # one processor each: sixty busy processes must not take the neighbour's time
            wanted = {
                ROOT / "memory": {"memory.limit_in_bytes": memory},
                ROOT / "pids": {"pids.max": processes},
                ROOT / "cpu": {"cpu.cfs_quota_us": "100000"},
            }
        self.folders = []
        for place, values in wanted.items():
            _sweep(place)
            folder = place / f"cmlib-{name}"
            with suppress(OSError):
                folder.mkdir(exist_ok=True)
                self.folders.append(folder)
                for file, value in values.items():
                    with suppress(FileNotFoundError):
                        (folder / file).write_text(value)

    def around(self, command: list[str]) -> list[str]:
        """The command, which first joins the group: whatever it starts is then in it."""
        join = 'while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"'
        return (
            ["sh", "-c", join, "sh", *(str(f / "cgroup.procs") for f in self.folders), "--", *command]
            if self.folders
            else command
        )

    def close(self) -> None:
        for folder in self.folders:
            for _ in range(50):
                with suppress(OSError):
                    for pid in (folder / "cgroup.procs").read_text().split():
                        with suppress(ProcessLookupError):
                            os.kill(int(pid), signal.SIGKILL)
                    folder.rmdir()
                    break
                time.sleep(0.02)


def _sweep(place: Path) -> None:
    """Remove the empty groups of graders that were killed."""
    for folder in place.glob("cmlib-*-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            with suppress(OSError):
                folder.rmdir()
