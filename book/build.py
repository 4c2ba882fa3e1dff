"""The course as a book: `make book` writes its pages from the built notebooks and has Sphinx build them.

The pages go to ``book/_build/pages`` in the layout of the repository, so that a link from one file to another
holds in the book as well. No lesson is executed: pictures and printed numbers are those that the notebooks
store. ``SOLUTIONS=0`` leaves the solutions out, for a class that is graded.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from book import lessons, pages, translation
from cmlib.authoring import notebooks

BOOK = notebooks.ROOT / "book"
COPIED = ("README.md", "README.zh.md", "CONTRIBUTING.md", "LICENSE", "LICENSE-content", "docs/*.md",
          "docs/*.png", "book/glossary.zh.toml", "book/locale/**/*.po")


def built_lessons(numbers=()) -> list[Path]:
    """The sources of the lessons of these numbers, such as ["02", "06"]; none means all that are built.

    Raises ValueError for a lesson that is not there.
    """
    known = {source.name[:2]: source for source in notebooks.sources() if notebooks.built(source).exists()}
    unknown = [number for number in numbers if number not in known]
    if unknown or not known:
        raise ValueError(f"There is no built lesson {' or '.join(unknown)}; there are "
                         f"{', '.join(known) or 'none'}: make notebooks builds what is missing.")
    return [known[number] for number in numbers or known]


def stage(folder: Path, numbers=(), solutions: bool = True) -> list[Path]:
    """Write every page of the book to ``folder``, and take away what is no page of it; returns the pages.

    numbers : of the lessons, as `built_lessons` takes them; none means the reference, too
    """
    chosen = built_lessons(numbers)
    texts = pages.written(BOOK, chosen, whole=not numbers)
    for source in chosen:
        texts[f"notebooks/{source.stem}.ipynb"] = json.dumps(lessons.page(source, chosen, solutions))
    for pattern in COPIED:
        for file in sorted(notebooks.ROOT.glob(pattern)):
            name = file.relative_to(notebooks.ROOT).as_posix()
            texts[name] = file.read_bytes()
            if file.suffix in (".md", ".po"):
                texts[name] = lessons.linked(file.read_text("utf-8"), chosen)
    for file in folder.rglob("*"):
        if file.is_file() and file.relative_to(folder).as_posix() not in texts:
            file.unlink()
    for name, content in texts.items():
        _write(folder / name, content if isinstance(content, bytes) else content.encode())
    return [folder / name for name in texts]


def _write(file: Path, content: bytes) -> None:
    """Only what has changed: Sphinx reads again what is newer than its last build."""
    if not file.exists() or file.read_bytes() != content:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def built(out: Path, numbers=(), builder: str = "html", language: str = "") -> int:
    """Stage the book beside ``out`` and have Sphinx build it there; returns 0, or 1 after any warning.

    language : of `translation.SETTINGS`; "" is English
    """
    from sphinx.cmd.build import build_main

    staged, read = out.with_name("pages"), out.with_name(f"read_{language}" if language else "read")
    stage(staged, numbers, solutions=os.environ.get("SOLUTIONS") != "0")
    options = ["-q", "-W", "--keep-going", "-j", "2", "-b", builder, "-c", str(BOOK), "-d", str(read)]
    if builder == "singlehtml":  # one page needs no index
        options += ["-D", "suppress_warnings=toc.not_readable"]
    if language:
        told = translation.SETTINGS[language].items()
        options += [part for name, value in told for part in ("-D", f"{name}={value}")]
    return build_main([*options, str(staged), str(out)])


def main(arguments=None) -> int:
    options = argparse.ArgumentParser(prog="python -m book.build", description=__doc__)
    options.add_argument("lessons", nargs="*", metavar="NN", help="numbers such as 02; none means all")
    options.add_argument("--out", type=Path, metavar="DIR")
    options.add_argument("--language", default="", choices=sorted(translation.SETTINGS), help="else English")
    chosen = options.parse_args(arguments)
    out = chosen.out or BOOK / "_build" / (chosen.language or "html")
    try:
        if chosen.language:
            translation.update(chosen.language)
        failed = built(out, chosen.lessons, language=chosen.language)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if not failed:
        print(f"The book: {out / 'index.html'}")
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
