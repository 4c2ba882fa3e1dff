"""What an author types: ``cmlib build`` and ``cmlib new``, with a line for each lesson that comes of it,
``cmlib zip`` and ``cmlib publish``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cmlib.authoring import notebooks, scaffold


def add(commands) -> None:
    """Add the authors' commands to the subparsers of `cmlib`."""
    build = commands.add_parser("build", help="execute lessons and write their notebooks")
    build.add_argument("lessons", nargs="*", metavar="NN", help="numbers such as 02; none means all")
    how = build.add_mutually_exclusive_group()
    how.add_argument("--prose", action="store_true", help="keep the outputs, write prose and links anew")
    how.add_argument("--solved", action="store_true", help="write solved notebooks, without executing them")
    build.add_argument("--out", type=Path, metavar="DIR", help="a folder for the solved notebooks")
    build.set_defaults(run=_build)
    new = commands.add_parser("new", help="begin a lesson: its source, its checks, its answers")
    new.add_argument("number", metavar="NN", help="its number in the curriculum, such as 08")
    new.add_argument("slug", help="its short name in files, such as fusion_zoo")
    new.set_defaults(run=_new)
    packed = commands.add_parser("zip", help="the course as one file, for Colab")
    packed.add_argument("--out", type=Path, default=notebooks.ROOT / "build", metavar="DIR", help="where to")
    packed.set_defaults(run=_zip)
    publish = commands.add_parser("publish", help="write the public address wherever the course names it")
    publish.add_argument("address", metavar="URL", help="what everybody can clone: https://github.com/…")
    publish.add_argument("--tag", help="what the lessons clone (default: v and the version)")
    publish.set_defaults(run=_publish)


def _build(options) -> int:
    known = {source.name[:2]: source for source in notebooks.sources()}
    for number in options.lessons:
        if number not in known:
            return _refuse(f"There is no lesson {number!r}; there are {', '.join(known)}.")
    if options.out and not options.solved:
        return _refuse("--out says where solved notebooks go, so it needs --solved: a learner's notebook "
                       f"always goes to {notebooks.NOTEBOOKS.name}/.")
    chosen = [known[number] for number in options.lessons or known]
    work = _solved if options.solved else _prose if options.prose else _executed
    for source in chosen:
        try:
            print(f"{source.stem}: {work(source, options)}", flush=True)
        except Exception as error:
            told = _told(source, error)
            if told is None:
                raise
            print(f"{told}\n{source.stem}: nothing was written.", file=sys.stderr)
            return 1
    if work is _executed:
        _update_the_others(set(known.values()) - set(chosen))
    return 0


def _executed(source, options) -> str:
    from cmlib.authoring import running

    took = running.make(source)
    return f"{took['seconds']} s, {took['memory_mb']} MB"


def _prose(source, options) -> str:
    from cmlib.authoring import running

    changed = running.refresh(source)
    return "prose written, outputs kept" if changed else "nothing had changed"


def _solved(source, options) -> str:
    from cmlib.authoring import running

    start = time.perf_counter()
    path = running.solve(source, options.out or notebooks.NOTEBOOKS / "solutions")
    return f"solved in {1000 * (time.perf_counter() - start):.0f} ms, {path}"


def _update_the_others(sources) -> None:
    """A new lesson changes its neighbours' links and the map; no code runs for that."""
    from cmlib.authoring import running

    for source in sorted(sources):
        try:
            if notebooks.built(source).exists() and running.refresh(source):
                print(f"{source.stem}: prose and links written anew")
        except ValueError as error:  # its author is at work on it
            print(f"{source.stem}: left as it is. {error}")


def _told(source, error) -> str | None:
    """What went wrong with a lesson, for its author; None for what no author expects."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    if isinstance(error, CellExecutionError):
        return f"{error}\n{source.name}: the cell above raises {error.ename}: {error.evalue}"
    if isinstance(error, CellTimeoutError):
        return f"{source.name}: a cell did not end. {error}"
    if isinstance(error, DeadKernelError):
        return f"{source.name}: the kernel died, often for want of memory. {error}"
    return str(error) if isinstance(error, ValueError) else None


def _new(options) -> int:
    try:
        print(scaffold.new(options.number, options.slug))
    except ValueError as error:
        return _refuse(str(error))
    return 0


def _zip(options) -> int:
    from cmlib.authoring import publishing

    try:
        path = publishing.pack(options.out)
    except ValueError as error:
        return _refuse(str(error))
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB. On Colab drop it into the Files panel, or keep it in "
          "My Drive and mount Drive; a lesson's first cell finds it.")
    return 0


def _publish(options) -> int:
    from cmlib.authoring import publishing

    try:
        print("\n".join(publishing.publish(options.address, options.tag)))
    except ValueError as error:
        return _refuse(str(error))
    return 0


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2
