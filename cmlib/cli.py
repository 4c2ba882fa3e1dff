"""For learners, ``cmlib copy`` and ``cmlib update`` bring the lessons into ``work/``. For authors, ``cmlib
build [02 …]`` makes lessons from their sources, ``cmlib new 08 fusion_zoo`` begins one, ``cmlib zip`` and
``cmlib publish URL`` hand the course out. For instructors, ``cmlib grade …`` grades a class.
"""

from __future__ import annotations

import argparse
import sys

from cmlib.authoring import command as authoring
from cmlib.course import copies
from cmlib.grade import command as grading


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cmlib", description="Tools for learners, authors and instructors "
                                                               "of the cross-modal learning course.")
    commands = parser.add_subparsers(dest="command", required=True)
    _for_learners(commands)
    authoring.add(commands)
    grading.add(commands)
    options = parser.parse_args(arguments)
    return options.run(options)


def _for_learners(commands) -> None:
    copy = commands.add_parser("copy", help="copy the lessons that are not in work/ yet into it")
    copy.set_defaults(run=lambda _: _say(copies.copy))
    update = commands.add_parser("update", help="bring new versions of lessons into work/; what you have "
                                                "changed stays")
    update.set_defaults(run=lambda _: _say(copies.update, "work/ has the newest version of every lesson."))


def _say(bring, otherwise: str = "") -> int:
    try:
        said = bring()
    except OSError as error:  # no lessons, a full disk, a file in the place of the folder
        print(error, file=sys.stderr)
        return 1
    for sentence in said or filter(None, [otherwise]):
        print(sentence)
    return 0


if __name__ == "__main__":
    sys.exit(main())
