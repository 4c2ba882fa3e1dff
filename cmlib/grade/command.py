"""``cmlib grade SUBMISSIONS --lessons 01-07 --seed-file secret --out results``: the instructor's command."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def add(commands) -> None:
    """Add ``grade`` to the subcommands of `cmlib.cli`."""
    parser = commands.add_parser("grade", help="grade a folder of submissions (see docs/grading.md)")
    parser.add_argument("submissions", type=Path, help="folder with one file or one folder per learner")
    parser.add_argument("--lessons", required=True, help="such as 02, 01-03 or 01,04-07")
    parser.add_argument("--seed-file", type=Path, required=True, help="file with the course's secret; made "
                                                                      "when it is not there")
    parser.add_argument("--out", type=Path, required=True, help="folder for grades and reports")
    parser.add_argument("--extras", type=Path, help="folder with your own cases (Python files, trusted)")
    parser.add_argument("--late", type=Path, help="the late policy (TOML)")
    parser.add_argument("--times", type=Path, help="CSV: learner, submitted; else the files' own times count")
    parser.add_argument("--roster", type=Path, help="CSV: learner and what your Canvas or Moodle knows")
    parser.add_argument("--assignment", help="the name of the assignment in Canvas, with its number: "
                                             "'Lessons 01-03 (4711)'")
    parser.add_argument("--workers", type=int, default=2, help="boxes side by side (default 2)")
    parser.add_argument("--minutes", type=float, default=5, help="for all answers of one learner together "
                                                                 "(default 5)")
    parser.add_argument("--shard", default="0/1", help="i/N: only the i-th of N parts, i from 0")
    parser.add_argument("--regrade", action="store_true", help="grade everything again and say which scores "
                                                               "changed")
    parser.add_argument(
        "--i-trust-these-students", action="store_true", dest="trust", help="grade even without a wall"
    )
    parser.set_defaults(run=run)


def run(options) -> int:
    from tqdm.auto import tqdm

    from cmlib.check import exercises
    from cmlib.grade import batch, late, reports, tables, walls
    from cmlib.grade.box import probe
    from cmlib.grade.session import Fault

    try:
        order = batch.Order(
            folder=_folder(options.submissions, "submissions"),
            out=options.out,
            lessons=lessons(options.lessons),
            secret=secret(options.seed_file),
            extras=_folder(options.extras, "extra cases") if options.extras else None,
            workers=_at_least_one(options.workers),
            shard=shard(options.shard),
            regrade=options.regrade,
            limits=walls.Limits(learner=60 * _minutes(options.minutes)),
        )
        _apart(options.submissions, options.out, options.seed_file)
        if options.times and not options.late:
            raise ValueError(f"--times {options.times} counts for nothing without a late policy: add --late.")
        policy = late.load(options.late, options.times) if options.late else None
        tables.roster(options.roster)  # a bad one is said now, not after hours of grading
        tables.canvas([], 0, options.assignment or "")
        wall = walls.choose(options.trust)
        walls.refuse_readable(
            options.submissions, options.seed_file, options.out, *([options.extras] if options.extras else [])
        )
        probe(wall)
        boxes = "" if wall.nested else " (one box per learner)"
        print(f"Wall: {wall.name}{boxes}. {walls.advice(wall)}".rstrip())
        result = batch.grade_all(order, wall, lambda items: tqdm(items, desc="graded", unit="submission"))
        summary = reports.write(
            order.out,
            [e for lesson in order.lessons for e in exercises(lesson)],
            late=policy,
            roster=options.roster,
            assignment=options.assignment,
            folder=result["folder"],
        )
    except (batch.Refused, walls.NoWall, Fault, ValueError, OSError) as error:
        print(f"cmlib grade: {error}", file=sys.stderr)
        return 2
    print(f"{result['graded']} graded now, {result['skipped']} graded before.")
    for learner, id, before, now in result["changes"].found():
        print(f"changed: {learner}, {id}: {before:g} → {now:g}")
    result["changes"].shown()
    print(summary or f"Grades and reports: {order.out}")
    return 0


def lessons(text: str) -> tuple[str, ...]:
    """"01-03,05" → ("01", "02", "03", "05"), checked against what exists."""
    from cmlib.check import known_lesson

    out: list[str] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,2})(?:\s*-\s*(\d{1,2}))?\s*", part)
        if not match:
            raise ValueError(f"--lessons {text!r} is not understood; write 02, 01-03 or 01,04-07.")
        first, last = int(match[1]), int(match[2] or match[1])
        out += [f"{n:02d}" for n in range(first, last + 1)]
    if not out:
        raise ValueError(f"--lessons {text!r} names no lesson; write the smaller number first.")
    return tuple(sorted({known_lesson(lesson) for lesson in out}))


def shard(text: str) -> tuple[int, int]:
    """"0/4" → (0, 4)."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise ValueError(f"--shard {text!r} is not one of 0/N to N-1/N.")
    return int(match[1]), int(match[2])


def secret(path: Path) -> bytes:
    """The course's secret, at least 16 bytes. A file that is not there is made, readable by you alone."""
    import os
    import secrets

    if path.is_dir():
        raise ValueError(f"--seed-file {path} is a folder: name a file, such as {path / 'secret.txt'}.")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        print(f"A new secret was written to {path}; keep it, and keep it from your learners.")
    value = path.read_bytes().strip()
    if len(value) < 16:
        raise ValueError(f"The secret in {path} has {len(value)} bytes; 16 or more are needed (delete the "
                         "file, and a new one is made).")
    return value


def _folder(path: Path, what: str) -> Path:
    if not path.is_dir():
        raise ValueError(f"There is no folder {path} with {what}.")
    return path


def _minutes(minutes: float) -> float:
    if not 0 < minutes <= 24 * 60:
        raise ValueError(f"--minutes {minutes:g} is no time for a learner's answers; give more than 0, up to "
                         "1440.")
    return minutes


def _at_least_one(workers: int) -> int:
    if workers < 1:
        raise ValueError(f"--workers {workers} grades nothing; give 1 or more.")
    return workers


def _apart(submissions: Path, out: Path, seed_file: Path) -> None:
    """Everything in the folder of submissions is taken for a learner's work."""
    for option, place in (("--out", out), ("--seed-file", seed_file)):
        if place.resolve().is_relative_to(submissions.resolve()):
            raise ValueError(f"{option} {place} lies in the folder of submissions, where all is taken for a "
                             "learner's work: put it somewhere else.")
