"""Grade a folder of submissions: slots side by side, one result file each, resumable, in shards."""

from __future__ import annotations

import hashlib
import json
import queue
import re
import shutil
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import torch

import cmlib
from cmlib.check import exercises
from cmlib.check.engine import Exercise
from cmlib.check.records import write_atomically
from cmlib.grade import box as boxes
from cmlib.grade.changes import Changes
from cmlib.grade.grading import HUMAN, grade, of_the_folder
from cmlib.grade.submissions import Submission, collect
from cmlib.grade.walls import Limits, Wall


class Refused(ValueError):
    """The command cannot be carried out as given; the text says why and what to do."""


@dataclass(frozen=True)
class Order:
    """What an instructor asks for; ``shard`` is (i, n) with i from 0."""

    folder: Path
    out: Path
    lessons: tuple[str, ...]
    secret: bytes
    extras: Path | None = None
    workers: int = 2
    shard: tuple[int, int] = (0, 1)
    regrade: bool = False
    limits: Limits = field(default_factory=Limits)


def file_name(learner: str) -> str:
    """The learner as a file name: percent-encoded, and cut with a hash where it would be too long.

    No two learners have the same: the + before the hash is in no name that is only encoded.
    """
    name = quote(learner, safe=" ()") or "%"
    if len(name) > 150:
        name = f"{name[:120]}+{hashlib.sha256(learner.encode()).hexdigest()[:16]}"
    return f"{name}.json"


def run_name(order: Order) -> str:
    """What must be equal for two grades to be comparable: secret, lessons, extras and the course's version,
    as one short hash.
    """
    extras = (
        b"".join(p.name.encode() + p.read_bytes() for p in sorted(order.extras.glob("*.py")))
        if order.extras
        else b""
    )
    parts = [
        hashlib.sha256(b"run" + order.secret).digest(),
        ",".join(order.lessons).encode(),
        extras,
        cmlib.__version__.encode(),
    ]
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]


def load_extras(folder: Path) -> None:
    """Run the instructor's own files; each adds cases with ``find(id).also``. They are trusted, like the
    course itself.
    """
    for path in sorted(folder.glob("*.py")):
        try:
            exec(compile(path.read_text("utf-8"), str(path), "exec"), {"__name__": path.stem})  # noqa: S102
        except Exception as error:
            raise Refused(
                f"The extra cases in {path} cannot be loaded: {type(error).__name__}: {error}"
            ) from None


def in_shard(learner: str, shard: tuple[int, int]) -> bool:
    """By hash, so that it does not depend on who else has submitted."""
    return int(hashlib.sha256(learner.encode()).hexdigest(), 16) % shard[1] == shard[0]


def grade_all(order: Order, wall: Wall, progress=lambda items: items) -> dict:
    """Grade what is not graded yet; returns how many were graded and skipped, the `Changes`, and
    (learner, id, system) of everyone in the folder. Raises `Refused` before any work.
    """
    torch.set_num_threads(1)
    if order.extras:
        load_extras(order.extras)
    wanted = [e for lesson in order.lessons for e in exercises(lesson)]
    everyone = collect(order.folder)
    submissions = [s for s in everyone if in_shard(s.learner, order.shard)]
    mine = {s.learner: file_name(s.learner) for s in submissions}
    grades, times, run = order.out / "grades", order.out / "times", run_name(order)
    changes = Changes(order.out, mine, run)
    for folder in (grades, times, changes.folder):
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder, set(mine.values()))
    todo = []
    for submission in submissions:
        path = grades / mine[submission.learner]
        known = _known(path)
        if known and known.get("run") != run and not order.regrade:
            raise Refused(f"{order.out} holds grades made with another secret, other lessons, extras or "
                          "another version of the course "
                          f"(that of {submission.learner}); use --regrade, or another --out.")
        same = (
            known
            and known.get("run") == run
            and known.get("digest") == submission.digest
            and known.get("state") != HUMAN
        )
        if not (same and (not order.regrade or changes.done(mine[submission.learner]))):
            todo.append(submission)
            continue
        renewed = known | of_the_folder(submission)
        if renewed != known and "submitted" in known:  # the same bytes with another date, say
            _write(path, renewed)
    made = _work(order, wall, wanted, todo, changes, run, progress)
    return {
        "graded": made,
        "skipped": len(submissions) - len(todo),
        "changes": changes,
        "folder": [(s.learner, s.id, s.system) for s in everyone],
    }


def _sweep(folder: Path, ours: set[str]) -> None:
    """Remove what a kill left: a record is written beside its place, under its name and eight more letters
    (see `records.write_atomically`), and then moved there. Other shards' are theirs.
    """
    for scrap in folder.iterdir():
        if re.fullmatch("[0-9a-f]{8}", scrap.name[-8:]) and scrap.name[:-8] in ours:
            scrap.unlink(missing_ok=True)


def _work(
    order, wall, wanted: list[Exercise], todo: list[Submission], changes: Changes, run, progress
) -> int:
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    done: queue.SimpleQueue = queue.SimpleQueue()
    for submission in todo:
        waiting.put(submission)
    limits = replace(order.limits, optimizers=any(e.kind == "training" for e in wanted))
    with ExitStack() as stack:
        files = boxes.stage()
        stack.callback(shutil.rmtree, files, ignore_errors=True)
        stop = threading.Event()

        def slot(number):
            with boxes.Box(wall, files, order.shard[0] * order.workers + number, limits) as box:
                while not stop.is_set():
                    try:
                        submission = waiting.get_nowait()
                    except queue.Empty:
                        return
                    try:
                        record, seconds = grade(box, submission, wanted, order.secret)
                        name = file_name(submission.learner)
                        changes.begin(name)
                        _write(order.out / "times" / name, seconds)
                        _write(
                            order.out / "grades" / name, record | {"run": run, "lessons": list(order.lessons)}
                        )
                        changes.end(name)
                        done.put(None)
                    except (
                        BaseException
                    ) as error:  # such as a full disk: the submission stays ungraded, and this is said
                        done.put(error)
                        return

        threads = [
            threading.Thread(target=slot, args=(k,), daemon=True)
            for k in range(min(order.workers, len(todo)))
        ]
        for thread in threads:
            thread.start()
        try:
            made = 0
            for _ in progress(todo):
                problem = done.get()
                if problem is not None:
                    raise Refused(f"After {made} of {len(todo)} submissions: {type(problem).__name__}: "
                                  f"{problem}. What was graded is kept; "
                                  "mend this and run the same command again.") from problem
                made += 1
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    return made


def _write(path: Path, value: dict) -> None:
    write_atomically(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _known(path: Path) -> dict | None:
    try:
        record = json.loads(path.read_text("utf-8"))
        return record if record.get("format") == "cmlib-grade-1" else None
    except (OSError, ValueError, AttributeError):
        return None
