"""The second wall: a container of Docker or Podman, built from this machine's own /usr and Python, so that no
image is downloaded.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from cmlib.grade import inside
from cmlib.grade.inside import PLACE, Limits, complaint, environment, masked

ENGINES = ("docker", "podman")
IMAGE = "cmlib-box:1"  # empty folders and the links of this machine's root; all else is mounted
OVERHEAD = 1 << 30  # torch itself, in the worker


def command(engine: str, files: Path, slot: int, limits: Limits, worker: list[str]) -> list[str]:
    """The command of a worker in a container of its own. Ended by `remove`, since killing the command would
    leave the container.
    """
    mounts = [f"{place}:{place}:ro" for place in ("/usr", *_outside_usr(sys.prefix, sys.base_prefix))] + [
        f"{files}:{PLACE}:ro"
    ]
    memory, processes, uid = str(limits.memory + OVERHEAD), str(limits.processes + 16), _uid(slot)
    return [
        engine,
        "run",
        "--rm",
        "--interactive",
        "--name",
        name_of(os.getpid(), slot),
        "--pull",
        "never",
        "--network",
        "none",
        "--read-only",
        "--tmpfs",
        f"/tmp:rw,mode=1777,size={limits.disk}",
        "--shm-size",
        str(limits.disk),
        "--memory",
        memory,
        "--memory-swap",
        memory,
        "--cpus",
        "1",
        "--pids-limit",
        processes,
        "--ulimit",
        f"nproc={processes}:{processes}",
        "--ulimit",
        "nofile=256:256",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--security-opt",
        "label=disable",
        "--user",
        f"{uid}:{uid}",
        "--workdir",
        "/tmp",
        "--log-driver",
        "none",
        # else it hands the proxy's address, and password, on
        *(["--http-proxy=false"] if engine == "podman" else []),
        *(option for mount in mounts for option in ("--volume", mount)),
        *(o for place in masked() for o in ("--tmpfs", f"{place}:ro")),
        *(o for name, value in environment().items() for o in ("--env", f"{name}={value}")),
        IMAGE,
        *worker,
    ]


def _uid(slot: int) -> int:
    # without root, a container has the uids to 65,535
    return slot + (inside.FIRST_UID if os.getuid() == 0 else 60_600)


def name_of(pid: int, slot: int) -> str:
    return f"cmlib-{pid}-{slot}"


def remove(engine: str, slot: int) -> None:
    """The container of a slot ends, whatever runs in it."""
    _run(engine, "rm", "--force", name_of(os.getpid(), slot))


def problem(engine: str, limits: Limits) -> str:
    """"" if a container can run here, else why not. Makes the image when it is not there, and removes
    containers of killed graders.
    """
    said = _run(engine, "ps", "--all", "--filter", "name=cmlib-", "--format", "{{.Names}}")
    if said.returncode:
        return complaint(said.stderr)
    for left in said.stdout.decode().split():
        if left.count("-") == 2 and not Path("/proc", left.split("-")[1]).exists():
            _run(engine, "rm", "--force", left)
    if _run(engine, "image", "inspect", IMAGE).returncode:
        made = _run(engine, "import", "-", IMAGE, sent=_image())
        if made.returncode:
            return complaint(made.stderr)
    tried = _run(*command(engine, Path("/usr/bin"), 998, limits, ["/usr/bin/true"]))
    return complaint(tried.stderr) or f"exit status {tried.returncode}" if tried.returncode else ""


def _image() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("usr", "proc", "sys", "dev", "etc", "tmp", PLACE.strip("/")):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = (
                tarfile.DIRTYPE,
                0o1777 if name == "tmp" else 0o755,
            )  # Docker gives the mount its mode
            tar.addfile(folder)
        for name in ("bin", "sbin", "lib", "lib32", "lib64"):
            if os.path.islink(f"/{name}"):
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, os.readlink(f"/{name}")
                tar.addfile(link)
    return file.getvalue()


def _outside_usr(*places: str) -> list[str]:
    return sorted({place for place in places if not Path(place).is_relative_to("/usr")})


def _run(*words: str, sent: bytes = b"") -> subprocess.CompletedProcess:
    try:
        return subprocess.run(words, input=sent, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 1, b"", str(error).encode())
