"""VerifiedZip: read files out of a zip, each one checked against a SHA-256 list that ships with the course.

GitHub builds the archive of a commit on request and promises the files inside it, not the bytes of the zip
around them. So the zip's own hash is never looked at: what is trusted is each file, at the moment it is read.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from importlib.resources import files
from pathlib import Path

# bytes of one file inside the zip: more than any real one, so that a zip bomb is refused unread
LARGEST = 4_000_000


def load_manifest(name: str) -> dict[str, str]:
    """File path inside the archive -> SHA-256 in hex; stored as {folder: {file: hash}} to keep it small."""
    folders = json.loads((files(__package__) / name).read_text(encoding="utf-8"))
    return {
        f"{folder}/{file}".lstrip("/"): sha
        for folder, inside in folders.items()
        for file, sha in inside.items()
    }


class VerifiedZip:
    """``VerifiedZip(path, manifest).read("folder/file.png") -> bytes``; ValueError if they are not the listed
    ones.
    """

    def __init__(self, path: Path, manifest: dict[str, str]):
        self.path, self.manifest = Path(path), manifest
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            raise ValueError(f"{path} is not a whole zip archive.") from None
        # GitHub puts everything under one folder named after the repository and the commit.
        self.members = {info.filename.partition("/")[2]: info for info in self.zip.infolist()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.zip.close()

    def read(self, name: str) -> bytes:
        info = self.members.get(name)
        if info is None:
            raise ValueError(f"{name} is missing from {self.path}.")
        if info.file_size > LARGEST:
            raise ValueError(f"{name} in {self.path} claims {info.file_size} bytes, more than the {LARGEST} "
                             "allowed.")
        try:
            content = self.zip.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError):
            raise ValueError(f"{name} in {self.path} cannot be unpacked.") from None
        if hashlib.sha256(content).hexdigest() != self.manifest[name]:
            raise ValueError(f"{name} in {self.path} is not the file the course was built on (its SHA-256 "
                             "differs).")
        return content

    def verify(self) -> None:
        """Check every listed file; files that are not listed are never read."""
        for name in self.manifest:
            self.read(name)
