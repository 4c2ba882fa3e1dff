"""Which lessons this commit runs under which other instruction set: the words for tests/portable.py.

Every lesson that was changed, and a third of the rest: which third, and which of the two sets, follows the
number of commits, so six commits in a row run every lesson under both. Lessons count as changed when they
differ from the newest commit that is HOURS older, since one push brings the commits of a few hours; where no
such commit is known (a shallow clone, a young repository, no git), all of them do.
"""

import re
import subprocess
import sys
from pathlib import Path

from portable import SETS

ROOT = Path(__file__).resolve().parent.parent
HOURS = 4
OF_A_LESSON = re.compile(r"(?:notebooks/|notebooks/src/|cmlib/check/lesson|tests/answers/lesson)(\d\d)(?!\d)")
OF_ALL = {"notebooks/conftest.py", "nbval.cfg", "requirements.lock", "tests/portable.py"}


def choose(lessons: list[str], changed: set[str], number: int) -> tuple[list[str], str]:
    """(the lessons to run, the name of the set). ``number`` grows by one with each commit."""
    rest = [lesson for lesson in lessons if lesson not in changed]
    chosen = changed & set(lessons) | set(rest[number % 3 :: 3])
    return sorted(chosen), list(SETS)[number % len(SETS)]


def changed_lessons(lessons: list[str], paths: list[str]) -> set[str]:
    """The lessons that a change of these files may change."""
    if OF_ALL & set(paths):
        return set(lessons)
    return {match[1] for match in map(OF_A_LESSON.match, paths) if match}


def git(root: Path, *arguments: str) -> str | None:
    """What git says, without the last newline; None where it fails or is not there."""
    command = ["git", "-C", str(root), *arguments]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def commit_number(root: Path) -> int:
    """How many commits there are; a shallow clone cannot tell: there, a number drawn from its name."""
    if git(root, "rev-parse", "--is-shallow-repository") != "false":
        return int((git(root, "rev-parse", "HEAD") or "0")[:8], 16)
    return int(git(root, "rev-list", "--count", "HEAD") or 0)


def changed_paths(root: Path) -> list[str] | None:
    """The files that differ from the newest commit that is HOURS older; None where none is known."""
    now = git(root, "log", "-1", "--format=%ct")
    if not now:
        return None
    before = git(root, "rev-list", "-1", f"--before={int(now) - HOURS * 3600}", "HEAD")
    found = git(root, "diff", "--name-only", "--no-renames", before, "HEAD") if before else None
    return None if found is None else found.splitlines()


def main(root: Path = ROOT) -> str:
    lessons = sorted(path.name[:2] for path in (root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    paths, number = changed_paths(root), commit_number(root)
    changed = set(lessons) if paths is None else changed_lessons(lessons, paths)
    chosen, name = choose(lessons, changed, number)
    known = "no earlier commit is known" if paths is None else f"{len(paths)} files changed in {HOURS} h"
    print(f"{known}: {len(changed)} of {len(lessons)} lessons changed, {len(chosen)} run under {name}",
          file=sys.stderr)
    return " ".join([*chosen, "--sets", name])


if __name__ == "__main__":
    print(main())
