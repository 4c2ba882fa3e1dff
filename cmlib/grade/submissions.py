"""A folder of submissions, as learners and learning platforms leave it: who handed in what.

Every file is hostile until read: links are not followed, nothing that could block is opened, and whatever
cannot be read ends as a note in the learner's report, never as an exception.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
import unicodedata
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from cmlib.grade.reading import NotRead, Source, read

LARGEST_FILE, MOST_CODE = 20_000_000, 3_000_000  # bytes of a file; characters of code of one learner
MOST_FILES, MOST_ENTRIES, DEEPEST, MOST_NOTES = 200, 10_000, 20, 20
# Full Name_12345_assignsubmission_file_
MOODLE = re.compile(r"(.*_\d+)_assignsubmission_(?:file|onlinetext)", re.DOTALL)
CANVAS = re.compile(r"(.+?)(?:_LATE)?_(\d+)_(\d+)_.+", re.DOTALL)  # name_LATE_12345_678_original.ipynb
OWN = re.compile(r"submission-\d\d(?:_\d\d)*-(?=.)")  # as cmlib.submit() calls its files
# not printable for Python, but part of names: a hard space, the joiners of Persian and of emoji
WRITTEN = "\u00a0\u200c\u200d"
_one_at_a_time = threading.Lock()  # a file of 20 MB takes some 100 MB while it is parsed


@dataclass(frozen=True)
class File:
    """path : as the system knows it; shown : relative to the folder, as text that can be printed and
    stored.
    """

    path: str
    shown: str
    modified: float


@dataclass(frozen=True)
class Submission:
    """What one learner handed in. ``contents`` are the files that are read; ``found`` the notes of the search
    for them.
    """

    learner: str
    contents: tuple[File, ...]
    modified: float
    found: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(file.shown for file in self.contents)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names and bytes."""
        total = hashlib.sha256()
        for file in self.contents:
            try:
                part = hashlib.sha256(_bytes(file.path)).hexdigest()
            except (NotRead, OSError) as problem:
                part = type(problem).__name__
            total.update(f"{len(file.shown.encode())} {file.shown} {part}\n".encode())
        return total.hexdigest()

    @property
    def sources(self) -> tuple[Source, ...]:
        """What could be read, newest first."""
        return _content(self)[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for everything that could not be read."""
        notes = (*self.found, *_content(self)[1])
        more = len(notes) - MOST_NOTES
        return notes if more <= 0 else (*notes[:MOST_NOTES], f"There are {more} more notes of this kind.")

    @property
    def faults(self) -> tuple[str, ...]:
        """Those notes which are no fault of the learner: the system would not let the grader read a file."""
        return _content(self)[2]

    def cells(self, id: str, name: str) -> list[str]:
        """The code cells in which ``name``, the answer to exercise ``id``, is to be looked for; none where no
        file mentions it.

        Of several files the newest counts; one that looks untouched counts only when all do.
        """
        able = [s for s in self.sources if id in s.ids]
        if not able:  # the check was deleted; but a name alone says nothing in another lesson's notebook
            able = [s for s in self.sources if name in s.names and {i[:2] for i in s.ids} <= {id[:2]}]
        if len(able) > 1:
            able.sort(key=lambda s: not s.looks_answered(id, name))
        return able[0].cells_of(id) if able else []


def collect(folder: Path) -> list[Submission]:
    """One submission for every folder and for every file (or several of one learner) in ``folder``, by
    learner.

    Raises ``NotADirectoryError`` when ``folder`` itself is none; never for what is in it.
    """
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder} is not a folder of submissions.")
    found: dict[str, tuple[list[File], list[str], list[float]]] = {}
    with os.scandir(folder) as entries:
        entries = sorted(entries, key=lambda e: os.fsencode(e.name))
    for entry in entries:
        if not _hidden(entry.name):
            files, notes, times = found.setdefault(_learner(entry), ([], [], []))
            _search(entry, files, notes)
            times.append(_modified(entry))
    out = []
    for learner, (files, notes, times) in sorted(found.items()):
        if len(files) > MOST_FILES:
            notes.append(f"Only the first {MOST_FILES} of {len(files)} files were read.")
        if not files and not notes:
            notes.append("Nothing was handed in: there is no file.")
        files = files[:MOST_FILES]
        out.append(
            Submission(
                learner, tuple(files), max((f.modified for f in files), default=max(times)), tuple(notes)
            )
        )
    return out


def _learner(entry) -> str:
    name = unicodedata.normalize("NFC", _shown(entry.name))
    if match := MOODLE.match(name):
        return match[1]
    if entry.is_dir(follow_symlinks=False):
        return name
    if match := CANVAS.fullmatch(name):
        return f"{match[1]}_{match[2]}"
    stem = re.sub(r"(?i)(\.ipynb|\.json|\.txt)+$", "", name) or name
    stem = stem if stem != name else Path(name).stem
    return OWN.sub("", stem, count=1)


def _search(top, files: list[File], notes: list[str]) -> None:
    """Every file of one learner, in the order of names, however deep."""
    found, unread, entries = [], [], 0
    todo = [(top, top.name, 0)]
    while todo:
        entry, path, depth = todo.pop()
        shown = _shown(path)
        entries += 1
        if entries > MOST_ENTRIES:
            notes.append(f"Nothing in {_shown(top.name)} was read: it holds more than {MOST_ENTRIES} files "
                         "and folders.")
            return
        try:
            kind = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(kind) and depth < DEEPEST:
                with os.scandir(entry.path) as inner:
                    todo += [
                        (e, f"{path}/{e.name}", depth + 1)
                        for e, _ in zip(inner, range(MOST_ENTRIES + 1), strict=False)
                        if not _hidden(e.name)
                    ]
            elif stat.S_ISREG(kind) and _is_candidate(entry.name):
                found.append(File(entry.path, shown, _modified(entry)))
            elif stat.S_ISREG(kind):
                unread.append(shown)
            else:
                what = (
                    "a link"
                    if stat.S_ISLNK(kind)
                    else "nested too deeply"
                    if stat.S_ISDIR(kind)
                    else "not a plain file"
                )
                notes.append(f"{shown} is {what} and was not read.")
        except OSError as error:
            notes.append(f"{shown} could not be read: {error.strerror or type(error).__name__}.")
    files += sorted(found, key=lambda f: f.shown)
    notes.sort()
    if unread:
        names = ", ".join(sorted(unread)[:3]) + (", …" if len(unread) > 3 else "")
        notes.append(f"{len(unread)} {'file is' if len(unread) == 1 else 'files are'} neither .ipynb nor "
                     f".json and not read: {names}.")


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini")


def _is_candidate(name: str) -> bool:
    """A renamed notebook, too: ``lesson.ipynb.txt``, ``LESSON (2).IPYNB``, or no ending at all."""
    name = name.lower()
    return ".ipynb" in name or ".json" in name or name.endswith(".txt") or "." not in name


def _modified(entry) -> float:
    try:
        # what a date can hold: the year 9999
        return min(max(entry.stat(follow_symlinks=False).st_mtime, 0.0), 253402300799.0)
    except OSError:
        return 0.0


def _shown(name: str) -> str:
    """Text that can be printed and stored: bytes that are no UTF-8 as \\xff, control characters as \\n."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() or c in WRITTEN else c.encode("unicode_escape").decode() for c in name
    )


@lru_cache(maxsize=2 * (os.cpu_count() or 1) + 8)
def _content(submission: Submission) -> tuple[tuple[Source, ...], tuple[str, ...], tuple[str, ...]]:
    """(sources, notes, faults). Few are kept: a class of thousands must fit into memory."""
    sources, notes, faults, left = [], [], [], MOST_CODE
    for file in submission.contents:
        try:
            with _one_at_a_time:
                source, remarks = read(file.shown, file.modified, _bytes(file.path))
            left -= source.size
            if left < 0:
                raise NotRead("there is too much code in all files together")
            sources.append(source)
            notes += [f"In {file.shown}, {remark}." for remark in remarks]
        except NotRead as problem:
            notes.append(f"{file.shown} was not read: {problem}.")
        except OSError as error:
            notes.append(f"{file.shown} could not be read: {error.strerror or type(error).__name__}.")
            faults.append(notes[-1])
    sources.sort(key=lambda s: (s.modified // 60, s.answers is not None, _natural(s.file)), reverse=True)
    return tuple(sources), tuple(notes), tuple(faults)


def _natural(name: str) -> list:
    """2 before 10."""
    return [
        (len(part.lstrip("0")), part.lstrip("0")) if part.isdecimal() else (0, part)
        for part in re.split(r"(\d+)", name)
    ]


def _bytes(path: str) -> bytes:
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    )
    with open(os.open(path, flags), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise NotRead("it is not a plain file")
        data = file.read(LARGEST_FILE + 1) if about.st_size <= LARGEST_FILE else None
    if data is None or len(data) > LARGEST_FILE:
        raise NotRead(f"it is larger than {LARGEST_FILE // 1_000_000} MB")
    return data
