"""The book in another language: Sphinx's own gettext, with one .po file for each page that is translated.

`make book LANGUAGE=zh` first brings these files up to what the pages say today, then builds. What is new is
left without a translation, what has changed is marked fuzzy with its old one as a proposal, and Sphinx shows
both in English. ``python -m book.translation zh notebooks/01_losses`` begins a page.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from babel.messages import Catalog
from babel.messages.pofile import read_po, write_po

from book import lessons, pages
from cmlib.authoring import notebooks

BOOK = notebooks.ROOT / "book"
# What Sphinx is told in each language, beside the pages themselves.
SETTINGS = {"zh": {"language": "zh_CN", "html_title": "跨模态学习课程", "nb_code_prompt_show": "显示代码",
                   "nb_code_prompt_hide": "隐藏代码", "html_theme_options.search_bar_text": "搜索课程"}}
# Of a new .po file.
HEADER = {"project": "The cross-modal learning course", "version": "book", "fuzzy": False,
          "last_translator": "The authors of the course", "language_team": "The authors of the course",
          "msgid_bugs_address": "see CONTRIBUTING.md", "header_comment": "# See book/translation.py."}
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def folder(language: str) -> Path:
    """Where the .po files of a language lie, laid out as the pages are."""
    return BOOK / "locale" / SETTINGS[language]["language"] / "LC_MESSAGES"


def translated(language: str) -> list[str]:
    """The pages that have a .po file, such as "notebooks/00_start_here"."""
    home = folder(language)
    return sorted(file.relative_to(home).with_suffix("").as_posix() for file in home.rglob("*.po"))


def messages(names: Iterable[str]) -> dict[str, Catalog]:
    """What these pages say today, in English, cut as Sphinx cuts it.

    Raises KeyError for a page that is not there.
    """
    from sphinx.cmd.build import build_main

    names = list(names)
    with TemporaryDirectory() as place:
        here = Path(place)
        for name, text in _sources(names).items():
            file = here / "pages" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        # Quiet, since most pages that these refer to are not here.
        build_main(["-Q", "-b", "gettext", "-c", str(BOOK), "-D", f"root_doc={names[0]}",
                    "-d", str(here / "read"), str(here / "pages"), str(here / "pot")])
        return {name: _read(here / "pot" / f"{name}.pot") for name in names}


def _sources(names: list[str]) -> dict[str, str]:
    """The files of these pages in the whole book, with every lesson's links and solutions."""
    chosen = [source for source in notebooks.sources() if notebooks.built(source).exists()]
    known = {f"notebooks/{source.stem}": source for source in chosen}
    found = {f"{name}.ipynb": json.dumps(lessons.page(known[name], chosen))
             for name in names if name in known}
    others = [name for name in names if name not in known]
    if others:  # these import torch
        written = pages.written(BOOK, chosen, whole=True)
        found |= {f"{name}.md": written[f"{name}.md"] for name in others}
    # A toctree leaves out the name that it gives to a page which is not there.
    named = re.findall(r"^[^\s<].* <([\w./]+)>$", "\n".join(found.values()), re.MULTILINE)
    return {f"{name}.md": "" for name in named} | found


def _read(file: Path, locale: str | None = None) -> Catalog:
    with file.open("rb") as opened:
        return read_po(opened, locale)


def updated(catalog: Catalog, today: Catalog) -> Catalog:
    """The catalog with today's messages.

    A translation goes on where only numbers have changed, as in the time that a lesson takes, and where a
    lesson that was planned has become a link.
    """
    titles = {message.id: message.string for message in catalog if message.id and message.string}
    catalog.update(today, update_header_comment=False)
    for message in catalog:
        link = lessons.TO_LESSON.fullmatch(message.id)
        says = None
        if message.fuzzy and message.previous_id:
            says = _renumbered(message.previous_id[0], message.id, message.string)
        if link and not (message.string and not message.fuzzy) and link[1] in titles:
            says = f"[{titles[link[1]]}]{message.id[link.end(1) + 1:]}"
        if says:
            message.string, message.previous_id = says, []
            message.flags.discard("fuzzy")
    return catalog


def _renumbered(old: str, new: str, says: str) -> str | None:
    """The translation with the new numbers; None where more has changed, or a number stands for two."""
    before, after = NUMBER.findall(old), NUMBER.findall(new)
    instead = dict(zip(before, after, strict=False))
    same = NUMBER.sub("#", old) == NUMBER.sub("#", new) and sorted(NUMBER.findall(says)) == sorted(before)
    if not same or [instead[number] for number in before] != after:
        return None
    return NUMBER.sub(lambda number: instead[number[0]], says)


def waiting(catalog: Catalog) -> list[str]:
    """The messages that are shown in English."""
    return [message.id for message in catalog if message.id and (message.fuzzy or not message.string)]


def update(language: str, names: Iterable[str] = ()) -> None:
    """Bring the .po files up to today's pages, and say what waits. names : pages to begin"""
    home = folder(language)
    for name, today in messages(dict.fromkeys([*translated(language), *names])).items():
        file, locale = home / f"{name}.po", SETTINGS[language]["language"]
        catalog = _read(file, locale) if file.exists() else Catalog(locale, **HEADER)
        before = _content(catalog)
        catalog = updated(catalog, today)
        if _content(catalog) != before:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as opened:  # unbroken lines, since book/lessons.py looks for links in them
                write_po(opened, catalog, width=0, no_location=True, ignore_obsolete=True,
                         include_previous=True)
        count = len(waiting(catalog))
        if count:
            name = file.relative_to(notebooks.ROOT)
            print(f"{name}: {count} of {len(catalog)} messages wait for a translation.")


def _content(catalog: Catalog) -> list[tuple]:
    return [(message.id, message.string, message.fuzzy) for message in catalog if message.id]


def main(arguments=None) -> int:
    options = argparse.ArgumentParser(prog="python -m book.translation", description=__doc__)
    options.add_argument("language", choices=sorted(SETTINGS))
    options.add_argument("pages", nargs="*", metavar="PAGE", help="to begin, such as notebooks/01_losses")
    chosen = options.parse_args(arguments)
    try:
        update(chosen.language, chosen.pages)
    except KeyError as error:
        print(f"There is no page {error} in the book.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
