"""What the learner has done, in one JSON file under the home folder (or ``CMLIB_HOME``)."""

from __future__ import annotations

import json
import os
import secrets
import textwrap
from pathlib import Path


def path() -> Path:
    return Path(os.environ.get("CMLIB_HOME") or Path.home() / ".cmlib") / "progress.json"


def load() -> dict[str, dict]:
    """{exercise id: {"tries": int, "passed": bool}}; an unreadable file is kept aside, never overwritten.

    Other entries of this form, such as those of a quiz or of a newer course, are kept as they are.
    """
    try:
        done = json.loads(path().read_text("utf-8"))
        if all(
            isinstance(entry["tries"], int) and isinstance(entry["passed"], bool) for entry in done.values()
        ):
            return done
    except OSError:  # not there yet, or not to be had: then saving says so
        return {}
    except (ValueError, AttributeError, KeyError, TypeError):
        pass
    number = 1
    while (aside := path().with_name(f"progress.unreadable-{number}.json")).exists():
        number += 1
    try:
        os.replace(path(), aside)
        say(f"Your progress file could not be read; it was kept as {aside.name} and a new one is begun.")
    except OSError as error:
        say(f"Your progress file could not be read, nor moved aside in {path().parent}: {error.strerror}.")
    return {}


def record(verdict) -> None:
    """Remember one verdict. A pass is never taken back; a stub that is not answered yet is no try."""
    if verdict.state == "open":
        return
    done = load()
    entry = done.setdefault(verdict.id, {"tries": 0, "passed": False})
    entry["tries"] += 1
    entry["passed"] = entry["passed"] or verdict.state == "passed"
    _save(done)


def answered(lesson: str, number: int, is_right: bool, of: int) -> None:
    """Remember an answer to question ``number`` of a quiz of ``of`` questions, as if the quiz were an
    exercise called "02.quiz": so an older clone of the course can read it, too.
    """
    done = load()
    entry = done.setdefault(f"{lesson}.quiz", {"tries": 0, "passed": False})
    known = entry.get("right") if isinstance(entry.get("right"), list) else []
    entry["tries"] += 1
    entry["right"] = sorted({*known, number} if is_right else {*known})
    entry["passed"] = entry["passed"] or len(entry["right"]) >= of
    _save(done)


def _save(done) -> None:
    try:
        write_atomically(path(), json.dumps(done, indent=1, sort_keys=True))
    except OSError as error:
        say(f"Your answer was judged, but progress could not be saved in {path().parent}: {error.strerror}; "
            "set CMLIB_HOME to "
            "a folder that you can write to.")


def say(line: str) -> None:
    """Print a sentence in lines of 100 columns: JupyterLab would wrap it, too, but in the middle of a
    word.
    """
    print(textwrap.fill(line, 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def write_atomically(target: Path, text: str) -> None:
    """Readers see the old file or the new one, never half of one. Who may read it follows the umask, as with
    ``open``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + secrets.token_hex(4))
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
