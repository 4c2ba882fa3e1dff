"""What can be fetched (``registry.json``), how it is proved to be the right file, and where it is kept."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cmlib.data.files import sha256

from .archive import VerifiedZip, load_manifest


@dataclass(frozen=True)
class Source:
    """Where a file comes from, what it must be, whose it is. A plain file has ``sha256``, an archive
    ``manifest``.
    """

    url: str
    file: str
    bytes: int
    licence: str
    attribution: str
    sha256: str | None = None
    manifest: str | None = None

    def verify(self, path: Path) -> None:
        """Raise ValueError unless ``path`` holds exactly what the course was built on."""
        if self.manifest:
            with VerifiedZip(path, load_manifest(self.manifest)) as archive:
                archive.verify()
            return
        found = sha256(path)
        if found != self.sha256:
            raise ValueError(f"it has SHA-256 {found[:12]}… instead of {self.sha256[:12]}….")

    @property
    def proof(self) -> str:
        return f"SHA-256 {self.sha256}" if self.sha256 else "its files are checked one by one"


SOURCES = {name: Source(**entry) for name, entry in
           json.loads((files(__package__) / "registry.json").read_text(encoding="utf-8")).items()}


def cache_folder() -> Path:
    """``$CMLIB_CACHE``, or the place where this system keeps a user's caches; never the repository."""
    if chosen := os.environ.get("CMLIB_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "cmlib"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cmlib"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cmlib"
