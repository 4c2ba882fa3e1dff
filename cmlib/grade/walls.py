"""Which wall can stand on this machine between learners' code and everything else, and the command that builds it.

Best first: **bubblewrap** (kernel namespaces: no network, a read-only system, nothing else to see), a **container** (Docker or
Podman), and last another **user** with limits, which hides neither files nor network and is used only when the instructor says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

PLACE = "/box"  # where the worker's own files stand, inside
FIRST_UID = 210_000  # as root, slot k runs as this uid + k; nobody owns a file with it


@dataclass(frozen=True)
class Limits:
    """For one answer: memory and disk in bytes, cpu and wall in seconds, processes and threads together."""

    memory: int = 2 << 30
    disk: int = 64 << 20
    cpu: int = 60
    wall: float = 10.0  # for one call
    processes: int = 64
    optimizers: bool = False  # whether answers will train: what torch.optim imports is then there before they run


class NoWall(RuntimeError):
    """No wall, or none that is good enough, can be built here; the text says how to get one."""


@dataclass(frozen=True)
class Wall:
    """nested : whether one box can hold one learner after another, each in namespaces of its own; else every learner gets a new one."""

    name: str
    nested: bool

    def command(self, files: Path, slot: int, limits: Limits) -> list[str]:
        """The command of a worker; it speaks over its standard input (and output, where not nested)."""
        uid = FIRST_UID + slot if os.getuid() == 0 else 0
        place = str(files) if self.name == "user" else PLACE
        run = f"import runpy, sys; sys.path.insert(0, {place!r}); runpy.run_module('cmlib.grade.worker', run_name='__main__')"
        inside = ["-I", "-c", run, str(uid), json.dumps(asdict(limits) | {"nested": self.nested})]
        return {"bubblewrap": _bubblewrap, "docker": _container, "podman": _container, "user": _user}[self.name](
            self.name, files, limits, [sys.executable, *inside])


def _bubblewrap(name, files, limits, worker):
    links = [option for place in ("/bin", "/lib", "/lib32", "/lib64") if os.path.islink(place)
             for option in ("--symlink", os.readlink(place), place)]
    python = []
    for place in sorted({sys.prefix, sys.base_prefix}):
        if not Path(place).is_relative_to("/usr"):
            parents = [p for p in reversed(Path(place).parents) if p != Path("/")]
            python += [option for p in parents for option in ("--perms", "0755", "--dir", str(p))] + ["--ro-bind", place, place]
    python += [option for place in _course() for option in ("--tmpfs", place, "--remount-ro", place)]
    as_root = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if os.getuid() == 0 else ["--unshare-user"]
    return ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", *as_root,
            "--die-with-parent", "--new-session", "--clearenv", *_environment("--setenv"), "--ro-bind", "/usr", "/usr", *links,
            "--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", str(limits.disk), "--tmpfs", "/tmp", *python,
            "--perms", "0755", "--dir", PLACE, "--ro-bind", str(files), PLACE,
            "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", *worker]


def readable() -> list[Path]:
    """The places of this machine that learners' code can read, whatever the wall."""
    return [Path(p).resolve() for p in sorted({"/usr", sys.prefix, sys.base_prefix})]


def refuse_readable(*places: Path) -> None:
    """Raises `NoWall` when something secret lies where learners' code can read it."""
    for place in places:
        for open_place in readable():
            if place.resolve().is_relative_to(open_place):
                raise NoWall(f"{place} lies in {open_place}, which learners' code can read: move it somewhere else.")


def _course() -> list[str]:
    """Where the course itself, with every reference, lies in a readable place: there the box gets an empty folder."""
    installed = [p for place in readable() for pattern in ("lib*/python*/*-packages/cmlib", "local/lib*/python*/*-packages/cmlib")
                 for p in place.glob(pattern)]
    own = Path(__file__).resolve().parent.parent
    return sorted({str(p) for p in (*installed, own) if any(p.resolve().is_relative_to(place) for place in readable())})


def _container(name, files, limits, worker):
    mounts = [f"{place}:{place}:ro" for place in sorted({sys.prefix, sys.base_prefix, "/usr"})] + [f"{files}:{PLACE}:ro"]
    return [name, "run", "--rm", "--interactive", "--network", "none", "--read-only", "--tmpfs", f"/tmp:size={limits.disk}",
            "--memory", str(limits.memory + (1 << 30)), "--memory-swap", str(limits.memory + (1 << 30)), "--pids-limit", str(limits.processes),
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65534:65534",
            *(option for mount in mounts for option in ("--volume", mount)), *(o for place in _course() for o in ("--tmpfs", f"{place}:ro")),
            *_environment("--env", joined=True), os.environ.get("CMLIB_GRADE_IMAGE", "debian:stable-slim"), *worker]


def _user(name, files, limits, worker):
    return worker


def _environment(option, joined=False):
    values = {"HOME": "/tmp", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "LANG": "C.UTF-8"}
    return [part for k, v in values.items() for part in ([option, f"{k}={v}"] if joined else [option, k, v])]


def choose(trust: bool = False) -> Wall:
    """The best wall that really stands here; raises `NoWall` with the way to a better one."""
    why = []
    for name in ("bubblewrap", "docker", "podman"):
        program = "bwrap" if name == "bubblewrap" else name
        if shutil.which(program) is None:
            why.append(f"{program} is not installed")
            continue
        if problem := _try(name):
            why.append(f"{program} cannot start ({problem})")
            continue
        return Wall(name, nested=name == "bubblewrap")
    if trust and os.getuid() == 0:
        return Wall("user", nested=False)
    hint = "install it with `apt install bubblewrap`; where AppArmor forbids it (Ubuntu 24.04), allow user namespaces for /usr/bin/bwrap"
    raise NoWall(f"No safe wall for learners' code can be built here: {'; '.join(why)}. The best is bubblewrap: {hint}. "
                 "With --i-trust-these-students, and as root, answers run as another user, who can read files and use the network.")


def _try(name) -> str:
    test = (["bwrap", "--unshare-pid", "--unshare-net", "--unshare-user-try", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
            if name == "bubblewrap" else [name, "info"])
    try:
        done = subprocess.run(test, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:200]


def advice(wall: Wall) -> str:
    """How to get a better wall, or nothing where this is the best."""
    if wall.name == "bubblewrap":
        return ""
    better = "`apt install bubblewrap` gives a better wall, and a much faster one."
    return better if wall.name != "user" else f"Learners' code can read files and use the network here: {better}"
