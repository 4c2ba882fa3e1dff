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
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from cmlib.grade.identity import CANVAS, MOODLE, PLAIN, Identity, clash, identify
from cmlib.grade.reading import NotRead, Source, TooLarge, read

# bytes of a file, outputs and all, and of one learner's files; characters of one learner's code
LARGEST_FILE, MOST_BYTES, MOST_CODE = 50_000_000, 150_000_000, 3_000_000
MOST_FILES, MOST_ENTRIES, DEEPEST, MOST_NOTES = 200, 10_000, 20, 20
# not printable for Python, but part of names: a hard space, the joiners of Persian and of emoji
WRITTEN = "\u00a0\u200c\u200d"
_one_at_a_time = threading.Lock()  # a file of 50 MB takes some 200 MB while it is parsed


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
    """What one learner handed in.

    contents : the files that are read
    found : the notes of the search for them; unopened : those among them on what the system kept closed
    doubts : sentences on whose work this is, which a human has to settle
    id, system : as in `cmlib.grade.identity.Identity`; an id only where the whole folder is one platform's
    """

    learner: str
    contents: tuple[File, ...]
    modified: float
    found: tuple[str, ...] = ()
    unopened: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    id: str = ""
    system: str = PLAIN

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
        notes = (*self.doubts, *self.found, *_content(self)[1])
        more = len(notes) - MOST_NOTES
        return notes if more <= 0 else (*notes[:MOST_NOTES], f"There are {more} more notes of this kind.")

    @property
    def faults(self) -> tuple[str, ...]:
        """The notes on what the grader could not open, or would not read: no fault of the learner."""
        return (*self.unopened, *_content(self)[2])

    def passed(self, id: str) -> bool:
        """Whether some file says that the answer passed on the learner's machine: a claim, no proof."""
        return any(id in source.passed for source in self.sources)

    def before(self, id: str) -> str:
        """The retired exercise that is answered here in the place of ``id``, which replaced it, or ""."""
        from cmlib.check import retired

        if any(id in source.named for source in self.sources):
            return ""
        old = (old for old in retired.before(id) if any(source.tries(old) for source in self.sources))
        return next(old, "")

    def cells(self, id: str, name: str) -> list[str]:
        """The code cells in which ``name``, the answer to exercise ``id``, is to be looked for; none where no
        file mentions it.

        Of several files the newest counts; one that looks untouched counts only when all do.
        """
        able = [s for s in self.sources if id in s.ids]
        if not able:  # the check was deleted; but a name alone says nothing in another lesson's notebook
            able = [s for s in self.sources if name in s.names and {i[:2] for i in s.ids} <= {id[:2]}]
        if not able:  # or called in some other way, such as for id, answer in ANSWERS.items()
            able = [s for s in self.sources if id in s.named]
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
    groups: dict[str, list[tuple[os.DirEntry, Identity]]] = defaultdict(list)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: os.fsencode(e.name)):
            if not _hidden(entry.name):
                who = identify(shown(entry.name), entry.is_dir(follow_symlinks=False))
                groups[who.learner].append((entry, who))
    systems = {who.system for group in groups.values() for _, who in group}
    believed = systems in ({CANVAS}, {MOODLE})  # else whoever chose a name chose a number, too
    return [_submission(learner, groups[learner], believed) for learner in sorted(groups)]


def _submission(learner: str, group: list[tuple[os.DirEntry, Identity]], believed: bool) -> Submission:
    files, notes, unopened = [], [], []
    for entry, _ in group:
        _search(entry, files, notes, unopened)
    if len(files) > MOST_FILES:
        notes.append(f"Only the first {MOST_FILES} of {len(files)} files were read.")
    if not files and not notes and not unopened:
        notes.append("Nothing was handed in: there is no file.")
    files = files[:MOST_FILES]
    newest = max((f.modified for f in files), default=max(_modified(entry) for entry, _ in group))
    names, who = [shown(entry.name) for entry, _ in group], [who for _, who in group]
    doubts = (clash(names, who), *(_of_several(name, files) for name in names))
    return Submission(
        learner,
        tuple(files),
        newest,
        found=(*notes, *unopened),
        unopened=tuple(unopened),
        doubts=tuple(filter(None, doubts)),
        id=who[0].id if believed else "",
        system=who[0].system,
    )


def _of_several(name: str, files: list[File]) -> str:
    """The sentence where a folder is no learner's but holds those of a whole class, one level too deep."""
    inner = {f.shown.split("/")[1] for f in files if f.shown.startswith(f"{name}/")}
    people = {(who.learner, who.system) for one in inner if (who := identify(one, False)).system}
    if len(people) < 2:
        return ""
    return (f"{name} holds what {min(people)[1]} calls the work of {len(people)} learners: if so, give "
            "that folder to the command.")


def _search(top, files: list[File], notes: list[str], unopened: list[str]) -> None:
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
                        if not _hidden(e.name)
                    ]
            elif stat.S_ISREG(kind) and _is_candidate(entry.name):
                found.append(File(entry.path, place, _modified(entry)))
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


def shown(name: str) -> str:
    """Text that can be printed and stored: bytes that are no UTF-8 as \\xff, control characters as \\n."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() or c in WRITTEN else c.encode("unicode_escape").decode() for c in name
    )


@lru_cache(maxsize=2 * (os.cpu_count() or 1) + 8)
def _content(submission: Submission) -> tuple[tuple[Source, ...], tuple[str, ...], tuple[str, ...]]:
    """(sources, notes, faults). Few are kept: a class of thousands must fit into memory."""
    sources, notes, faults, left, unread = [], [], [], MOST_CODE, MOST_BYTES
    for file in submission.contents:
        try:
            with _one_at_a_time:
                data = _bytes(file.path)
                unread -= len(data)
                if unread < 0:
                    raise TooLarge(f"all files together are larger than {MOST_BYTES // 1_000_000} MB")
                source, remarks, cut = read(file.shown, file.modified, data)
            left -= source.size
            if left < 0:
                raise TooLarge("there is too much code in all files together")
            sources.append(source)
            notes += [f"In {file.shown}, {remark}." for remark in (*remarks, *cut)]
            faults += [f"In {file.shown}, {remark}." for remark in cut]
        except NotRead as problem:
            notes.append(f"{file.shown} was not read: {problem}.")
            faults += notes[-1:] if isinstance(problem, TooLarge) else []
        except OSError as error:
            notes.append(f"{file.shown} could not be read: {error.strerror or type(error).__name__}.")
            faults.append(notes[-1])
    sources.sort(key=lambda s: (s.modified // 60, s.made_by_submit, _natural(s.file)), reverse=True)
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
        raise TooLarge(f"it is larger than {LARGEST_FILE // 1_000_000} MB")
    return data
