"""``cmlib build [02 …]``: build lessons from their sources (for authors)."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cmlib", description="Tools for authors of the cross-modal learning course.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="execute lessons and write their notebooks")
    build.add_argument("lessons", nargs="*", help='numbers such as 02; none means all')
    options = parser.parse_args(arguments)
    return _build(options.lessons)


def _build(lessons: list[str]) -> int:
    from nbclient.exceptions import CellExecutionError

    from cmlib import author

    known = {source.name[:2]: source for source in author.sources()}
    for lesson in lessons or known:
        if lesson not in known:
            print(f"There is no lesson {lesson!r}; there are {', '.join(known)}.", file=sys.stderr)
            return 2
        try:
            measured = author.make(known[lesson])
        except CellExecutionError as error:
            print(f"{error}\n{known[lesson].name}: the cell above raises {error.ename}: {error.evalue}\nNothing was written.", file=sys.stderr)
            return 1
        print(f"{known[lesson].stem}: {measured['seconds']} s, {measured['memory_mb']} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
