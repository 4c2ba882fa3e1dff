"""An environment of their own for tools that the course does not need itself, with the course's torch."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path


def install(place: Path, *packages: str) -> str:
    """Make the environment ``place``, once; returns why that cannot be done, or "".

    packages : what uv pip install is told, options included
    """
    if (place / ".ready").exists():
        return ""
    uv, python = [sys.executable, "-m", "uv"], place / "bin" / "python"
    for command in (
        [*uv, "venv", "-q", "--clear", "--python", sys.executable, place],
        [*uv, "pip", "install", "-q", "--python", python, *packages],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    (packages_of,) = place.glob("lib/python*/site-packages")
    (packages_of / "course.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (place / ".ready").touch()
    return ""
