"""A folder of submissions, as learners and learning platforms leave it: who handed in what.

Whatever cannot be read ends as a note in the learner's report, never as an exception.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from cmlib.grade.files import File, is_hidden, modified, read_bytes, search, shown
from cmlib.grade.helpers import is_helper, written
from cmlib.grade.identity import CANVAS, MOODLE, PLAIN, Identity, clash, identify, listed
from cmlib.grade.reading import NotRead, Source, TooLarge, read

# bytes of one learner's files, characters of one learner's code
MOST_BYTES, MOST_CODE = 150_000_000, 3_000_000
MOST_FILES, MOST_NOTES = 200, 20
KEPT = 2 * (os.cpu_count() or 1) + 8  # submissions that are read: a class of thousands must fit into memory
_one_at_a_time = threading.Lock()  # a file of 50 MB takes some 200 MB while it is parsed


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
                part = hashlib.sha256(read_bytes(file.path)).hexdigest()
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
        notes = (*self.doubts, *self.found, *_content(self)[1], *_modules(self)[1])
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
        """The code cells in which ``name``, the answer to exercise ``id``, is to be looked for, below those
        that write the learner's own modules; none where no file mentions it.

        Of several files the newest counts; one that looks untouched counts only when all do.
        """
        able = [s for s in self.sources if id in s.ids]
        if not able:  # the check was deleted; but a name alone says nothing in another lesson's notebook
            able = [s for s in self.sources if name in s.names and {i[:2] for i in s.ids} <= {id[:2]}]
        if not able:  # or called in some other way, such as for id, answer in ANSWERS.items()
            able = [s for s in self.sources if id in s.named]
        if len(able) > 1:
            able.sort(key=lambda s: not s.looks_answered(id, name))
        return [*_modules(self)[0].values(), *able[0].cells_of(id)] if able else []


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
            if not is_hidden(entry.name):
                who = identify(shown(entry.name), entry.is_dir(follow_symlinks=False))
                groups[who.learner].append((entry, who))
    systems = {who.system for group in groups.values() for _, who in group}
    believed = systems in ({CANVAS}, {MOODLE})  # else whoever chose a name chose a number, too
    return [_submission(learner, groups[learner], believed) for learner in sorted(groups)]


def _submission(learner: str, group: list[tuple[os.DirEntry, Identity]], believed: bool) -> Submission:
    files, notes, unopened = [], [], []
    for entry, _ in group:
        search(entry, files, notes, unopened)
    if len(files) > MOST_FILES:
        notes.append(f"Only the first {MOST_FILES} of {len(files)} files were read.")
    if not files and not notes and not unopened:
        notes.append("Nothing was handed in: there is no file.")
    if files and all(map(is_helper, files)):
        notes.append(f"There is no notebook, only {listed([file.shown for file in files])}.")
    files = files[:MOST_FILES]
    newest = max((f.modified for f in files), default=max(modified(entry) for entry, _ in group))
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


@lru_cache(maxsize=KEPT)
def _modules(submission: Submission) -> tuple[dict[str, str], list[str]]:
    return written(submission.contents)


@lru_cache(maxsize=KEPT)
def _content(submission: Submission) -> tuple[tuple[Source, ...], tuple[str, ...], tuple[str, ...]]:
    """(sources, notes, faults)"""
    sources, notes, faults, left, unread = [], [], [], MOST_CODE, MOST_BYTES
    for file in submission.contents:
        if is_helper(file):
            continue
        try:
            with _one_at_a_time:
                data = read_bytes(file.path)
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
