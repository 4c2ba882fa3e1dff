"""Files: their hash, and whether a disk was full."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)  # errno of a disk or a quota


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk (or quota) is at the bottom of an error that a library has wrapped, perhaps
    twice.
    """
    while error is not None:
        if getattr(error, "errno", None) in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False
