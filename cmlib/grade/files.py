"""The files of a learner on the disk, each of them hostile until read: links are not followed, nothing that
could block is opened, and what cannot be read becomes a sentence, never an exception.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from cmlib.grade.reading import NotRead, TooLarge

LARGEST_FILE = 50_000_000  # bytes, outputs and all
MOST_ENTRIES, DEEPEST = 10_000, 20
# not printable for Python, but part of names: a hard space, the joiners of Persian and of emoji
WRITTEN = "\u00a0\u200c\u200d"


@dataclass(frozen=True)
class File:
    """path : as the system knows it; shown : relative to the folder, as text that can be printed and
    stored.
    """

    path: str
    shown: str
    modified: float


def search(top, files: list[File], notes: list[str], unopened: list[str]) -> None:
    """Every file of one learner, in the order of names, however deep."""
    found, unread, entries = [], [], 0
    todo = [(top, top.name, 0)]
    while todo:
        entry, path, depth = todo.pop()
        place = shown(path)
        entries += 1
        if entries > MOST_ENTRIES:
            notes.append(f"Nothing in {shown(top.name)} was read: it holds more than {MOST_ENTRIES} files "
                         "and folders.")
            return
        try:
            kind = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(kind) and depth < DEEPEST:
                with os.scandir(entry.path) as inner:
                    todo += [
                        (e, f"{path}/{e.name}", depth + 1)
                        for e, _ in zip(inner, range(MOST_ENTRIES + 1), strict=False)
                        if not is_hidden(e.name)
                    ]
            elif stat.S_ISREG(kind) and _is_candidate(entry.name):
                found.append(File(entry.path, place, modified(entry)))
            elif stat.S_ISREG(kind):
                unread.append(place)
            else:
                what = (
                    "a link"
                    if stat.S_ISLNK(kind)
                    else "nested too deeply"
                    if stat.S_ISDIR(kind)
                    else "not a plain file"
                )
                notes.append(f"{place} is {what} and was not read.")
        except OSError as error:
            unopened.append(f"{place} could not be read: {error.strerror or type(error).__name__}.")
    files += sorted(found, key=lambda f: f.shown)
    notes.sort()
    if unread:
        names = ", ".join(sorted(unread)[:3]) + (", …" if len(unread) > 3 else "")
        notes.append(f"{len(unread)} {'file is' if len(unread) == 1 else 'files are'} neither .ipynb nor "
                     f".json and not read: {names}.")


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini")


def _is_candidate(name: str) -> bool:
    """A module; a renamed notebook, too: ``lesson.ipynb.txt``, ``LESSON (2).IPYNB``, or no ending at all."""
    name = name.lower()
    return ".ipynb" in name or ".json" in name or name.endswith((".txt", ".py")) or "." not in name


def modified(entry) -> float:
    try:
        # what a date can hold: the year 9999
        return min(max(entry.stat(follow_symlinks=False).st_mtime, 0.0), 253402300799.0)
    except OSError:
        return 0.0


def shown(name: str) -> str:
    """Text that can be printed and stored: bytes that are no UTF-8 as \\xff, control characters as \\n."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() or c in WRITTEN else c.encode("unicode_escape").decode() for c in name
    )


def read_bytes(path: str) -> bytes:
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    )
    with open(os.open(path, flags), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise NotRead("it is not a plain file")
        data = file.read(LARGEST_FILE + 1) if about.st_size <= LARGEST_FILE else None
    if data is None or len(data) > LARGEST_FILE:
        raise TooLarge(f"it is larger than {LARGEST_FILE // 1_000_000} MB")
    return data
