"""fetch(name): one public file, downloaded once, checked, and kept in the user's cache.

A download grows in ``<file>.part`` and is renamed into place only after its hash is right, so a file that has
its final name is whole. What a broken link leaves behind is continued by the next call with an HTTP Range
request.
"""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from cmlib.data.files import FULL

from .lock import lock
from .sources import SOURCES, Source, cache_folder
from .wording import meant

BLOCK = 1 << 16
TIMEOUT = 30.0  # seconds without one byte
ATTEMPTS = 4  # in a row, each of which brought nothing new
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
PAUSE = 1.0  # seconds before the second attempt; doubled before each further one


def fetch(name: str) -> Path:
    """The path of a checked local copy of ``name``, one of ``SOURCES``.

    Taken from the cache; else copied from the folder ``$CMLIB_MIRROR`` (laid out HOST/PATH); else downloaded.
    Raises ValueError (unknown name, wrong hash), FileNotFoundError (not in the mirror), ConnectionError (no
    network), OSError (disk full, cache not writable): each one sentence that says what to do.
    """
    if name not in SOURCES:
        near = meant(str(name), SOURCES) or f"; there are {', '.join(SOURCES)}."
        raise ValueError(f"There is no file {name!r} to fetch{near}")
    source, folder = SOURCES[name], cache_folder()
    target = folder / source.file
    try:
        if _is_whole(target, source):  # before the lock: a class may share a cache that it can only read
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with lock(target.with_name(target.name + ".lock")):
            if not _is_whole(target, source):
                target.unlink(missing_ok=True)  # damaged since it was checked
                _bring(source, target)
    except OSError as error:
        if error.errno in FULL:
            raise OSError(f"The disk under {folder} is full: {source.file} needs {source.bytes / 1e6:.1f} "
                          "MB; free some space or set CMLIB_CACHE to a folder on another disk.") from None
        if error.errno in CLOSED:
            raise PermissionError(f"The cache folder {folder} cannot be written; set CMLIB_CACHE to one that "
                                  "can.") from None
        raise
    return target


def _is_whole(target: Path, source: Source) -> bool:
    try:
        source.verify(target)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return True


def _bring(source: Source, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    mirror = os.environ.get("CMLIB_MIRROR")
    resumed = not mirror and part.exists() and part.stat().st_size > 0
    try:
        _copy(source, part, Path(mirror)) if mirror else _download(source, part, target)
    except OSError as error:
        if error.errno in FULL:
            part.unlink(missing_ok=True)
        raise
    try:
        source.verify(part)
    except ValueError as error:
        part.unlink()
        # its first half may come from another version of the file: once more, from the first byte
        if resumed:
            return _bring(source, target)
        where = urllib.parse.urlsplit(source.url).hostname
        mend = "try again (a login page of your network may have answered instead)"
        if mirror:
            where, mend = f"the mirror {mirror}", "copy it there again, or unset CMLIB_MIRROR to download it"
        raise ValueError(f"What {where} gave for {source.file} was refused and deleted, because "
                         f"{str(error).rstrip('.')}: "
                         f"{mend}, or fetch {source.url} by hand into {target}.") from None
    os.replace(part, target)


def _copy(source: Source, part: Path, mirror: Path) -> None:
    url = urllib.parse.urlsplit(source.url)
    original = mirror / url.hostname / url.path.lstrip("/")
    if not original.is_file():
        raise FileNotFoundError(f"CMLIB_MIRROR has no {url.hostname}{url.path}; put the file there "
                                f"({source.proof}) or unset CMLIB_MIRROR to download it.")
    with original.open("rb") as reader, part.open("wb") as writer:
        shutil.copyfileobj(reader, writer, BLOCK)


def _download(source: Source, part: Path, target: Path) -> None:
    from tqdm.auto import tqdm

    failures, have = 0, part.stat().st_size if part.exists() else 0
    if shutil.disk_usage(part.parent).free < source.bytes - have:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with tqdm(total=source.bytes, initial=have, unit="B", unit_scale=True, desc=source.file) as bar:
        while True:
            try:
                return _continue(source, part, bar)
            except urllib.error.HTTPError as error:
                reason = f"the server answered {error.code}"
                final = error.code < 500 and error.code not in (408, 429)
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno in FULL + CLOSED:
                    raise
                reason, final = str(getattr(error, "reason", "") or error or type(error).__name__), False
            grown = part.stat().st_size if part.exists() else 0
            failures, have = (0 if grown > have else failures + 1), grown
            if final or failures >= ATTEMPTS:
                raise ConnectionError(
                    f"{source.file} could not be downloaded ({reason}): check the network and call "
                    f"again{' to continue' if have else ''}, or set CMLIB_MIRROR to a folder that has it, or "
                    f"copy {source.url} to {target} ({source.proof}).") from None
            time.sleep(PAUSE * 2 ** max(failures - 1, 0))


def _continue(source: Source, part: Path, bar) -> None:
    """One request; returns when the server has sent all it announced, or far too much."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "cmlib", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(source.url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        # nothing after what is there: it is whole, or it is not ours; the hash will tell
        if error.code == 416:
            return
        raise
    with response:
        if response.status != 206:
            have = 0  # the server ignores Range and starts over
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise http.client.HTTPException(f"the server sent another range than the one from byte {have}")
        expected = response.headers.get("Content-Length")
        received, bar.n = 0, have
        with part.open("ab" if have else "wb") as writer:
            while block := response.read(BLOCK):
                writer.write(block)
                received += len(block)
                bar.update(len(block))
                if have + received > 2 * source.bytes + BLOCK:
                    return  # this is not the file, however long it goes on; the hash will say so
    if expected is not None and received < int(expected):
        raise http.client.HTTPException(f"the link broke {int(expected) - received} bytes before the end")
