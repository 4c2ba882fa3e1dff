"""The pictures that a table names: where they are, which of them are known already, and the others decoded by
a few threads.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from .cache import THREADS, InMemory
from .pictures import fit, read_picture

SHOWN = 5  # problems in one message


def locate(base: Path, value: str) -> Path:
    """The file of a picture; ValueError with the rest of the sentence."""
    if not value:
        raise ValueError("is empty: give the path of a picture or delete the row")
    try:
        path = (base / value.replace("\\", "/")).resolve()
        there = path.is_file()
    except (OSError, ValueError):  # a name too long or with a NUL
        raise ValueError(f"is {value[:60]!r}, which is no file name") from None
    if not path.is_relative_to(base.resolve()):
        raise ValueError(f"is {value!r}, outside the folder {base}: move the picture there or pass root=")
    if not there:
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        near = get_close_matches(path.name, beside, 1)
        raise ValueError(f"is {value!r}, but there is no such file in {base}" + (
            f"; did you mean {near[0]!r}?" if near else ": paths count from the CSV's folder, or pass root="))
    return path


def keys_of(base: Path, values: list[str]) -> dict[str, tuple]:
    """The key of each picture that is there, taken before it is decoded: what is written to meanwhile is
    decoded again.
    """
    keys, missing = {}, 0
    for value in values:
        try:
            keys[value] = (value, *stamp(locate(base, value)))
        except (ValueError, OSError):
            missing += 1
            # looking for names that are near takes its time, and these will be refused already
            if missing == SHOWN:
                break
    return keys


def ahead(work: Callable, items: Iterable) -> Iterator[Future]:
    """work(item) of each item, in order, as futures; a few threads run a little ahead."""
    waiting = deque()
    with ThreadPoolExecutor(THREADS, "pictures") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 4 * THREADS:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()


def load(base: Path, value: str, size: int, key: tuple | None, store: InMemory) -> tuple[np.ndarray, bytes]:
    """Pixels (3, size, size), and a fingerprint of the picture in its full size; ValueError with the rest of
    the sentence.
    """
    if (known := store.get(key)) is not None:
        return known
    path = locate(base, value)
    try:
        picture = read_picture(path)
    except ValueError as error:
        raise ValueError(f"is {value!r}: the file {error}") from None
    pixels = np.ascontiguousarray(fit(picture, size).transpose(2, 0, 1))
    return pixels, hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).digest()


def arrived(loaded: Future, key: tuple | None, store: InMemory) -> tuple[tuple | None, bytes] | ValueError:
    """Hand the pixels to the store, in the order of the rows; what is left of the picture, or why there is
    none.
    """
    try:
        pixels, fingerprint = loaded.result()
    except ValueError as error:
        return error
    store.add(pixels)
    return key, fingerprint


def stamp(path: Path) -> tuple[int, int, int]:
    """What changes whenever a file does: its size, and when it was last written and last touched at all."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
