"""The pages of the book that are no lessons: what book/*.md says, with what the course knows filled in."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from book.lessons import linked
from cmlib.authoring import curriculum, notebooks
from cmlib.authoring.source import parse

PLACE = re.compile(r"^\{\{(\w+)\}\}$", re.MULTILINE)
# Beside cmlib itself; each page begins with the docstring of the module.
REFERENCE = ("data", "worlds", "datasets", "encoders", "layers", "fusion", "models", "losses", "tasks",
             "evaluation", "delivery", "course.plots")


def written(book: Path, chosen: list[Path], whole: bool) -> dict[str, str]:
    """Name → text of every page. book : the folder of book/*.md, where a line ``{{map}}`` is filled in

    chosen : the sources of the lessons that are in the book
    whole : also the reference, for which Sphinx imports torch
    """
    chinese = tomllib.loads((book / "glossary.zh.toml").read_text("utf-8"))
    filled = {
        "map": lambda: curriculum.course_map().replace("](", "](notebooks/"),
        "contents": lambda: _contents(chosen, whole),
        "terms": lambda: _glossary(chosen, chinese),
        "promises": lambda: _promises(chosen),
    }
    pages = {}
    for file in sorted(book.glob("*.md")):
        text = PLACE.sub(lambda place: filled[place[1]](), file.read_text("utf-8"))
        pages[file.name] = linked(text, chosen)
    return pages | (_reference() if whole else {})


def _contents(chosen: list[Path], whole: bool) -> str:
    """What the sidebar shows."""
    here, trees = {source.stem for source in chosen}, []
    for part in curriculum.parts():
        names = [f"notebooks/{one.stem}" for one in part.lessons if one.stem in here]
        if names:
            trees.append(_toctree(f"{part.letter} · {part.title}", names))
    guides = ["own_data", *(f"docs/{file.stem}" for file in sorted((notebooks.ROOT / "docs").glob("*.md")))]
    trees += [_toctree("Beside the lessons", ["glossary", "progress", "promises", "genindex"]),
              _toctree("Guides", ["The course in two commands <README>", "中文说明 <README.zh>", *guides,
                                  "CONTRIBUTING"])]
    if whole:
        modules = ["cmlib", *(f"cmlib.{name}" for name in REFERENCE)]
        trees.append(_toctree("Reference", [f"reference/{name}" for name in modules]))
    return "\n\n".join(trees)


def _toctree(caption: str, entries: list[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```"])


def terms(source: Path) -> list[tuple[str, str]]:
    """(term, meaning) of the glossary in a lesson's recap: ``*term*, meaning · …`` or rows of a table."""
    found = []
    for cell in parse(source):
        _, _, glossary = cell.text.partition("**Glossary**")
        glossary = glossary.partition("**References**")[0]
        rows = re.findall(r"^\| (?!term \||---)(.*?) \| (.*?) \|$", glossary, re.MULTILINE)
        entries = " ".join(glossary.removeprefix(":").split()).split(" · ")
        found += rows or re.findall(r"^\*(.+?)\*,? (.*?)[.;]?$", "\n".join(entries), re.MULTILINE)
    return found


def _glossary(chosen: list[Path], chinese: dict[str, str]) -> str:
    """All terms in the order of the alphabet, in English and Chinese, with the lessons that explain them."""
    meanings: dict[str, list[str]] = {}
    for source in chosen:
        for term, meaning in terms(source):
            link = f"[{source.name[:2]}](notebooks/{source.stem}.ipynb)"
            meanings.setdefault(term, []).append(f"{meaning} ({link})")
    entries = []
    for term in sorted(meanings, key=lambda term: re.sub(r"\W", "", term).lower()):
        names = [term]
        if term in chinese:
            names.append(f"{chinese[term]} : 中文")  # where it stands in the index
        says = "; ".join(meanings[term])
        entries.append("\n".join([*names, f"  {says[0].upper()}{says[1:]}."]))
    return "\n\n".join(["``````{glossary}", *entries]) + "\n``````"


def _promises(chosen: list[Path]) -> str:
    """What the curriculum promises, and the exercises and the answers that keep it."""
    from cmlib import check

    here, rows = {source.stem for source in chosen}, []
    for part in curriculum.parts():
        rows.append(f"| **{part.letter} · {part.title}** | **{part.learn}** | |")
        for one in part.lessons:
            kept = "planned"
            if one.stem in here:
                tried = [f"{exercise.id} {exercise.title}" for exercise in check.exercises(one.number)]
                kept = f"{' · '.join(tried)}; `tests/answers/lesson{one.number}.py`"
            elif one.built:
                kept = "not in this book"
            rows.append(f"| {one.link('notebooks/')} | {one.learn} | {kept} |")
    return "\n".join(["| lesson | you learn to | kept by |", "|---|---|---|", *rows])


def _reference() -> dict[str, str]:
    """A page for each public module, for autodoc to fill; what the root exports stands on the root's page."""
    import cmlib

    root = sorted(set(cmlib.__all__) - set(cmlib._PARTS), key=str.lower)
    kinds = {name: "class" if isinstance(getattr(cmlib, name), type) else "function" for name in root}
    listed = "\n".join(f".. auto{kind}:: cmlib.{name}" for name, kind in kinds.items())
    pages = {"reference/cmlib.md": _reference_page("cmlib", "What a lesson needs.\n\n" + listed)}
    for name in REFERENCE:
        members = f".. automodule:: cmlib.{name}\n   :members:\n   :exclude-members: {', '.join(root)}"
        pages[f"reference/cmlib.{name}.md"] = _reference_page(f"cmlib.{name}", members)
    return pages


def _reference_page(title: str, directives: str) -> str:
    return f"# {title}\n\n```{{eval-rst}}\n{directives}\n```\n"
