"""A cache of pictures: decoded and resized once, in one file of uint8 pixels that later runs map instead of
decoding.

``NAME-HASH.pixels`` holds the pictures (n, 3, size, size) one after the other, ``NAME.json`` says whose they
are. Both are written under another name, flushed to the disk and renamed, the pixels first: a manifest that
can be seen belongs to pixels that are whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from glob import escape
from pathlib import Path
from typing import ClassVar

import numpy as np
import PIL
import torch

from .lock import lock
from .threads import cores

FORMAT, BLOCK = 1, 1 << 26  # another format as soon as pictures.py makes other pixels of the same file
MOST_REMEMBERED = 1 << 30  # bytes; for more there is cache=


class InMemory:
    """Where decoded pictures go without a cache, and what PictureCache does with a folder."""

    def __init__(self):
        self.kept = []

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    def get(self, _key: tuple) -> tuple[np.ndarray, bytes] | None:
        """(pixels (3, size, size), fingerprint) of a picture that need not be decoded."""

    def add(self, pixels: np.ndarray) -> None:
        self.kept.append(pixels)

    def finish(self, _entries: list) -> torch.Tensor:
        """All that was added, uint8 (n, 3, size, size)."""
        return torch.from_numpy(np.stack(self.kept))


class Remembered(InMemory):
    """In memory, and so until another table is read: the three splits of one table decode it once."""

    last: ClassVar[dict[tuple, tuple[np.ndarray, bytes]]] = {}

    def __init__(self, of: tuple):
        super().__init__()
        self.of = of

    def get(self, key):
        return self.last.get((self.of, key))

    def finish(self, entries):
        images = super().finish(entries)
        found = zip(entries, images.numpy(), strict=True) if images.numel() <= MOST_REMEMBERED else ()
        Remembered.last = {(self.of, key): (pixels, mark) for (key, mark), pixels in found}
        return images


class PictureCache(InMemory):
    """The pictures with these keys (name, stamp) in a folder. Inside ``with`` no other process writes it.

    What is there but cut, changed, or made by another version of Pillow counts as nothing and is made again.
    The map is private (copy on write): nobody can change the file through a tensor. OSError, one sentence, if
    it cannot be written.
    """

    def __init__(self, folder: str | Path, name: str, size: int, keys: list[tuple | None]):
        self.folder, self.name, self.size, self.keys = Path(folder).expanduser(), name, size, keys
        self.about = {"format": FORMAT, "size": size, "pillow": PIL.__version__}
        self.stack, self.file, self.written = ExitStack(), None, 0
        self.read()

    def read(self) -> None:
        self.places, self.marks, self.whole = {}, [], False
        try:
            facts = json.loads(self._at("json").read_text(encoding="utf-8"))
            if facts["about"] != self.about:
                return
            keys, hashes = [tuple(key) for key in facts["keys"]], facts["sha256"]
            marks = [bytes.fromhex(mark) for mark in facts["fingerprints"]]
            pixels = self._map(self._pixels(hashes), len(keys))
            if _hashes(pixels) != hashes:
                return
            self.places = {key: place for place, key in enumerate(keys)}
            self.pixels, self.marks, self.whole = pixels, marks, keys == self.keys
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.places = {}

    def __enter__(self):
        if not self.whole:
            with self._told(), ExitStack() as stack:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock(self._at("lock")))
                self.read()  # another process may have written while this one waited
                self.file = None if self.whole else stack.enter_context(self._at("part").open("wb"))
                self.stack = stack.pop_all()
        return self

    def __exit__(self, *_error):
        if self.file:
            self.file.close()
            self._at("part").unlink(missing_ok=True)
        self.stack.close()

    def get(self, key: tuple) -> tuple[np.ndarray, bytes] | None:
        place = self.places.get(key)
        return None if place is None else (self.pixels[place], self.marks[place])

    def add(self, pixels: np.ndarray) -> None:
        if self.file:
            # written, not mapped: a full disk would kill a process that writes through a map
            with self._told():
                self.file.write(pixels.data)
                self.written += pixels.nbytes

    def finish(self, entries: list[tuple[tuple, bytes]]) -> torch.Tensor:
        """entries : (key, fingerprint) of each picture that was added. Makes them visible, and maps them."""
        if self.file:
            with self._told():
                _flush(self.file)
                hashes = _hashes(self._map(self._at("part"), len(entries)))
                self.file.close()
                path = self._at("part").replace(self._pixels(hashes))
                keys, marks = zip(*entries, strict=True)
                facts = {"about": self.about, "sha256": hashes, "keys": keys}
                facts["fingerprints"] = [mark.hex() for mark in marks]
                with self._at("part").open("w", encoding="utf-8") as file:
                    json.dump(facts, file)
                    _flush(file)
                self._at("part").replace(self._at("json"))
                for old in self.folder.glob(f"{escape(self.name)}-*.pixels"):
                    if old != path:
                        old.unlink(missing_ok=True)  # whoever has it mapped keeps it
                self.pixels = self._map(path, len(entries))
        return torch.from_numpy(self.pixels)

    def _at(self, ending):
        return self.folder / f"{self.name}.{ending}"

    def _pixels(self, hashes):
        return self.folder / f"{self.name}-{hashlib.sha256(''.join(hashes).encode()).hexdigest()[:16]}.pixels"

    def _map(self, path, n):
        if path.stat().st_size != n * 3 * self.size**2:
            raise ValueError("cut")
        return np.memmap(path, np.uint8, "c", shape=(n, 3, self.size, self.size))

    @contextmanager
    def _told(self):
        try:
            yield
        except OSError as error:
            raise OSError(f"The picture cache could not be written to {self.folder} after "
                          f"{self.written / 1e6:.1f} MB ({error.strerror or error}): free some space, choose "
                          "another folder, or leave cache out.") from None


def _hashes(pixels: np.ndarray) -> list[str]:
    """The SHA-256 of each block of 64 MB, so that a large file is checked by all cores."""
    flat = pixels.reshape(-1)
    blocks = [flat[start : start + BLOCK] for start in range(0, len(flat), BLOCK)]
    with ThreadPoolExecutor(min(8, cores())) as pool:
        return list(pool.map(lambda block: hashlib.sha256(block).hexdigest(), blocks))


def _flush(file) -> None:
    file.flush()
    os.fsync(file.fileno())
