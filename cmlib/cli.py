"""``cmlib build [02 …]`` makes lessons from their sources and ``cmlib new 08 fusion_zoo`` begins one (for
authors); ``cmlib grade …`` grades a class (for instructors).
"""

from __future__ import annotations

import argparse
import sys

from cmlib.authoring import command as authoring
from cmlib.grade import command as grading


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cmlib", description="Tools for authors and instructors of the "
                                                               "cross-modal learning course.")
    commands = parser.add_subparsers(dest="command", required=True)
    authoring.add(commands)
    grading.add(commands)
    options = parser.parse_args(arguments)
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
