"""The pictures that a table names: where they are, which of them are known already, and the others decoded by
as many threads as there are cores.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from .cache import InMemory
from .pictures import fit, quiet, read_picture
from .threads import ahead
from .wording import meant, plain, short

FROM_CSV = ": paths count from the folder of the table, or pass root="
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def locate(base: Path, value: str, hint: bool = True) -> Path:
    """The file of a picture; ValueError with the rest of the sentence. A name whose accents are written in
    the other way of Unicode (macOS, Linux) is the same name. hint : look for the name that was meant, which
    takes its time
    """
    if not value:
        raise ValueError("is empty: give the path of a picture or delete the row")
    if value.lower().startswith("data:"):
        raise ValueError(f"is {short(value)}, a picture written as text: save it as a file in {base}, and "
                         "give its path")
    if ADDRESS.match(value):
        raise ValueError(f"is {short(value)}, an address: fetch the picture into {base} and give its path "
                         "there")
    try:
        path = (base / value.replace("\\", "/")).resolve()
        there = path.is_file()
    except (OSError, ValueError):  # a name too long or with a NUL
        raise ValueError(f"is {short(value)}, which is no file name: give the path of a picture") from None
    except RuntimeError:  # of Python before 3.13
        path, there = base.resolve() / value, False
    if not path.is_relative_to(base.resolve()) or (not there and _elsewhere(value)):
        raise ValueError(f"is {short(value)}, outside the folder {base}: move the picture there or pass "
                         "root=")
    if not there:
        twin = _twin(base, path)
        if twin is None:
            raise ValueError(f"is {short(value)}, but {_missing(base, value, path, hint)}")
        return twin
    return path


def _elsewhere(value: str) -> bool:
    """A home folder, or a drive of Windows."""
    return value.startswith("~") or re.match(r"[A-Za-z]:[\\/]", value) is not None


def _twin(base: Path, path: Path) -> Path | None:
    """The file of the same name in another normal form of Unicode."""
    for form in ("NFC", "NFD"):
        other = Path(unicodedata.normalize(form, str(path)))
        if other != path and other.is_file() and other.resolve().is_relative_to(base.resolve()):
            return other
    return None


def _missing(base: Path, value: str, path: Path, hint: bool) -> str:
    """Why there is no such file, and which one was meant."""
    try:
        if (base / value).is_symlink():
            target = short(os.readlink(base / value))
            return f"that is a link to {target}, which is not there: copy the picture itself"
        if path.is_dir():
            return "that is a folder, no such file: give the path of a picture in it"
        if path.exists():
            return "that is a pipe or a device: give the path of a picture"
    except (OSError, ValueError):
        pass
    beside = [file.name for file in path.parent.iterdir()] if hint and path.parent.is_dir() else []
    same = [name for name in beside if plain(name) == plain(path.name) or Path(name).stem == path.name]
    near = f"; did you mean {short(same[0])}?" if same else meant(path.name, beside)
    return f"there is no such file in {base}" + (near or FROM_CSV)


def key_of(base: Path, value: str, hint: bool = True) -> tuple:
    """The key of a picture, taken before it is decoded: what is written to meanwhile is decoded again."""
    return (value, *stamp(locate(base, value, hint)))


def load(base: Path, value: str, size: int, key: tuple, store: InMemory) -> tuple[np.ndarray, bytes]:
    """Pixels (3, size, size), and a fingerprint of the picture in its full size; ValueError with the rest of
    the sentence.
    """
    if (known := store.get(key)) is not None:
        return known
    path = locate(base, value)
    try:
        picture = read_picture(path)
    except ValueError as error:
        raise ValueError(f"is {short(value)}: the file {error}") from None
    pixels = np.ascontiguousarray(fit(picture, size).transpose(2, 0, 1))
    return pixels, hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).digest()


def decode(base: Path, keys: dict[str, tuple], size: int, store: InMemory, progress: Callable = iter,
           most_wrong: int | None = None) -> tuple[torch.Tensor | None, dict[str, bytes], dict[str, str]]:
    """(pixels (pictures, 3, size, size), fingerprints, what is wrong), the pictures in the order of the
    fingerprints. keys : of the pictures that are there, by value; most_wrong : stop after so many that fail.
    """
    marks, wrong = {}, {}
    coming = ahead(lambda value: load(base, value, size, keys[value], store), keys)
    with store, quiet(), closing(coming):
        for value in progress(keys):
            try:
                pixels, marks[value] = next(coming).result()
            except ValueError as error:
                wrong[value] = str(error)
                if most_wrong and len(wrong) >= most_wrong:
                    break
            else:
                store.add(pixels)
        if not marks or (wrong and most_wrong):
            return None, marks, wrong
        return store.finish([(keys[value], mark) for value, mark in marks.items()]), marks, wrong


def stamp(path: Path) -> tuple[int, int, int]:
    """What changes whenever a file does: its size, and when it was last written and last touched at all."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
