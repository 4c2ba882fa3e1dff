"""``cmlib build [02 …]`` builds lessons from their sources (for authors); ``cmlib grade …`` grades a class
(for instructors).
"""

from __future__ import annotations

import argparse
import sys

from cmlib.grade import command


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cmlib", description="Tools for authors and instructors of the "
                                                               "cross-modal learning course.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="execute lessons and write their notebooks")
    build.add_argument("lessons", nargs="*", help='numbers such as 02; none means all')
    build.set_defaults(run=lambda options: _build(options.lessons))
    command.add(commands)
    options = parser.parse_args(arguments)
    return options.run(options)


def _build(lessons: list[str]) -> int:
    from nbclient.exceptions import CellExecutionError

    from cmlib.authoring import notebooks as author

    known = {source.name[:2]: source for source in author.sources()}
    for lesson in lessons or known:
        if lesson not in known:
            print(f"There is no lesson {lesson!r}; there are {', '.join(known)}.", file=sys.stderr)
            return 2
        try:
            measured = author.make(known[lesson])
        except CellExecutionError as error:
            print(f"{error}\n{known[lesson].name}: the cell above raises {error.ename}: "
                  f"{error.evalue}\nNothing was written.", file=sys.stderr)
            return 1
        print(f"{known[lesson].stem}: {measured['seconds']} s, {measured['memory_mb']} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
