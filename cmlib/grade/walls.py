"""Which wall can stand on this machine between learners' code and everything else, and the command that
builds it.

Best first: **bubblewrap** (kernel namespaces: no network, a read-only system, nothing else to see), a
**container** (Docker or Podman), and last another **user** with limits, which hides neither files nor network
and is used only when the instructor says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from cmlib.grade import containers, inside
from cmlib.grade.inside import PLACE, Limits, complaint, environment, masked, readable


class NoWall(RuntimeError):
    """No wall, or none that is good enough, can be built here; the text says how to get one."""


@dataclass(frozen=True)
class Wall:
    """nested : whether one box can hold one learner after another, each in namespaces of its own; else every
    learner gets a new one.
    """

    name: str
    nested: bool

    @property
    def engine(self) -> bool:
        """Whether it is a container of Docker or Podman."""
        return self.name in containers.ENGINES

    def command(self, files: Path, slot: int, limits: Limits) -> list[str]:
        """The command of a worker; it speaks over its standard input (and output, where not nested)."""
        uid = self._uid(slot) if os.getuid() == 0 else 0
        place = str(files) if self.name == "user" else PLACE
        run = (f"import runpy, sys; sys.path.insert(0, {place!r}); "
               "runpy.run_module('cmlib.grade.worker', run_name='__main__')")
        # -s and -P keep every other folder out; -I would also ignore PYTHONHASHSEED, and sets would differ
        # from run to run
        worker = [
            sys.executable,
            "-s",
            "-P",
            "-c",
            run,
            str(uid),
            json.dumps(asdict(limits) | {"nested": self.nested}),
        ]
        if self.name == "bubblewrap":
            return _bubblewrap(files, limits, worker)
        if self.name == "user":
            return ["env", "-i", *(f"{name}={value}" for name, value in environment().items()), *worker]
        return containers.command(self.name, files, slot, limits, worker)

    def _uid(self, slot: int) -> int:
        # `end` must not meet another grader's box
        return inside.FIRST_UID + slot + (10_000 if self.name == "user" else 0)

    def end(self, slot: int) -> None:
        """After the command has been killed: the end of what would outlive it."""
        if self.engine:
            containers.remove(self.name, slot)
        elif self.name == "user":
            # all that it may signal, at once: its own processes
            _as_user(self._uid(slot), "sh", "-c", "kill -9 -1")


def _as_user(uid: int, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, user=uid, group=uid, extra_groups=[], cwd="/", capture_output=True, check=False
    )


def _bubblewrap(files, limits, worker):
    links = [option for place in ("/bin", "/lib", "/lib32", "/lib64") if os.path.islink(place)
             for option in ("--symlink", os.readlink(place), place)]
    python = []
    for place in sorted({sys.prefix, sys.base_prefix}):
        if not Path(place).is_relative_to("/usr"):
            parents = [p for p in reversed(Path(place).parents) if p != Path("/")]
            python += [option for p in parents for option in ("--perms", "0755", "--dir", str(p))] + [
                "--ro-bind",
                place,
                place,
            ]
    python += [option for place in masked() for option in ("--tmpfs", place, "--remount-ro", place)]
    as_root = (
        ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        if os.getuid() == 0
        else ["--unshare-user"]
    )
    return [
        "bwrap",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--hostname",
        "box",
        "--unshare-cgroup-try",
        *as_root,
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        *(o for item in environment().items() for o in ("--setenv", *item)),
        "--ro-bind",
        "/usr",
        "/usr",
        *links,
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--perms",
        "1777",
        "--size",
        str(limits.disk),
        "--tmpfs",
        "/tmp",
        *python,
        "--perms",
        "0755",
        "--dir",
        PLACE,
        "--ro-bind",
        str(files),
        PLACE,
        "--remount-ro",
        "/dev",
        "--remount-ro",
        "/",
        "--chdir",
        "/tmp",
        *worker,
    ]


def refuse_readable(*places: Path) -> None:
    """Raises `NoWall` when something secret lies where learners' code can read it."""
    for place in places:
        for open_place in readable():
            if place.resolve().is_relative_to(open_place):
                raise NoWall(f"{place} lies in {open_place}, which learners' code can read: move it "
                             "somewhere else.")


def choose(trust: bool = False) -> Wall:
    """The best wall that really stands here; raises `NoWall` with the way to a better one."""
    if not sys.platform.startswith("linux"):
        raise NoWall(f"Learners' code is graded on Linux alone, and this is {sys.platform}: use a Linux "
                     "machine, WSL2, or a virtual one.")
    why = []
    for name in ("bubblewrap", *containers.ENGINES):
        program = "bwrap" if name == "bubblewrap" else name
        if shutil.which(program) is None:
            why.append(f"{program} is not installed")
            continue
        if problem := _bubblewrap_problem() if name == "bubblewrap" else containers.problem(name, Limits()):
            why.append(f"{program} cannot start ({problem})")
            continue
        return Wall(name, nested=name == "bubblewrap")
    if trust and os.getuid() == 0:
        if _as_user(inside.FIRST_UID, "test", "-r", os.__file__).returncode:
            raise NoWall(f"Another user cannot read the Python of this environment, {sys.base_prefix}: make "
                         "the environment with one that all can read, such as /usr/bin/python3. Better: `apt "
                         "install bubblewrap`, which does not need it.")
        return Wall("user", nested=False)
    raise NoWall(f"No safe wall for learners' code can be built here: {'; '.join(why)}. The best is "
                 "bubblewrap: install it with `apt install bubblewrap`; where AppArmor forbids it (Ubuntu "
                 "24.04), allow user namespaces for /usr/bin/bwrap. With --i-trust-these-students, and as "
                 "root, answers run as another user, who can read files and use the network.")


def _bubblewrap_problem() -> str:
    test = [
        "bwrap",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-user-try",
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "true",
    ]
    try:
        done = subprocess.run(test, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else complaint(done.stderr) or f"exit status {done.returncode}"


def advice(wall: Wall) -> str:
    """How to get a better wall, or nothing where this is the best."""
    if wall.name == "bubblewrap":
        return ""
    better = "`apt install bubblewrap` gives a better wall, and a much faster one."
    return (
        better if wall.name != "user" else f"Learners' code can read files and use the network here: {better}"
    )
