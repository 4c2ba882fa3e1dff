"""`make slides`: a deck for each lesson, book/_build/slides/NN.html, to teach from: its sections, its figures
as the notebook stores them, and the steps of its derivations. reveal.js and MathJax lie beside the decks, so
that nothing is asked of the network. Left and right go from section to section, down goes into one.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from html import escape
from importlib.util import find_spec
from pathlib import Path

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from sphinx.util.fileutil import copy_asset

from book.build import BOOK, built_lessons
from book.conf import FONTS, MATHJAX
from book.lessons import linked
from cmlib.authoring import notebooks

REVEAL = Path(find_spec("sphinx_revealjs").submodule_search_locations[0], "_static", "revealjs")
SHIPPED = ("LICENSE", "dist/reset.css", "dist/reveal.css", "dist/reveal.js", "dist/theme/white.css",
           "dist/theme/fonts/source-sans-pro")
BEGINNING = re.compile(r"# ([^\n]+).*?\n(\*\*The one thing.+?)\n\n", re.DOTALL)
LONGEST, LONG = 600, 160  # characters: of a slide, before the next step goes to one of its own; of a formula
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="revealjs/dist/reset.css"><link rel="stylesheet" href="revealjs/dist/reveal.css">
<link rel="stylesheet" href="revealjs/dist/theme/white.css"><style>
.reveal {{ font-size: 27px }} .reveal h1 {{ font-size: 2.2em }} .reveal h2 {{ font-size: 1.8em }}
.reveal h3 {{ font-size: 1em; color: #666 }} .reveal p {{ text-align: left }} .long {{ font-size: 75% }}
.reveal h1, .reveal h2, .reveal h3 {{ text-transform: none }} .reveal img {{ max-height: 620px }}
</style></head><body><div class="reveal"><div class="slides">
{slides}
</div></div><script src="revealjs/dist/reveal.js"></script><script src="mathjax/tex-chtml.js"></script>
<script>MathJax.startup.promise.then(() => Reveal.initialize(
  {{ hash: true, slideNumber: true, width: 1280, height: 760, transition: "none" }}));</script></body></html>
"""


def deck(source: Path) -> str:
    """The HTML of a lesson's deck: the title and the one thing to take away, then a column per section."""
    first, *cells = json.loads(notebooks.built(source).read_text("utf-8"))["cells"]
    title, take_away = BEGINNING.search("".join(first["source"])).groups()
    columns, heading = [[f"<section><h1>{escape(title)}</h1>{_html(take_away)}</section>"]], ""
    for cell in cells:
        text = linked("".join(cell["source"]), [])
        if cell["cell_type"] == "code":
            columns[-1] += _titled(heading, _figures(cell))
        elif "<details>" not in text and not text.startswith("### "):  # no exercise, hint, answer or quiz
            before, *parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
            columns[-1] += _titled(heading, map(_html, steps(before)))
            for heading, body in zip(parts[::2], parts[1::2], strict=True):
                columns.append([f"<section><h2>{escape(heading)}</h2></section>",
                                *_titled(heading, map(_html, steps(body)))])
    slides = "\n".join("<section>\n" + "\n".join(column) + "\n</section>" for column in columns)
    return PAGE.format(title=escape(title), slides=slides)


def steps(text: str) -> list[str]:
    """Of a cell's prose: steps, displayed formulas, the sentence before one; neighbours share a slide."""
    blocks, wanted = [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()], set()
    for position, block in enumerate(blocks):
        if block.startswith("**Step") or "$$" in block:
            wanted.add(position)
        if block.startswith("$$") and position and not blocks[position - 1].startswith(("|", "#", "- ")):
            wanted.add(position - 1)
    found = []
    for position in sorted(wanted):
        block, goes_on = blocks[position], position - 1 in wanted
        if goes_on and (block.startswith("$$") or len(found[-1]) + len(block) <= LONGEST):
            found[-1] += f"\n\n{block}"
        else:
            found.append(block)
    return found


def _titled(heading: str, bodies: Iterable[str]) -> list[str]:
    return [f"<section><h3>{escape(heading)}</h3>{body}</section>" for body in bodies]


def _figures(cell: dict) -> list[str]:
    return [f'<img alt="{escape(one["metadata"]["image/png"]["alt"])}" src="data:image/png;base64,'
            f'{"".join(one["data"]["image/png"].split())}">'
            for one in cell["outputs"] if "image/png" in one.get("data", {})]


def _formula(tex: str, options: dict) -> str:
    if options["display_mode"]:
        return rf'<span{" class=long" * (len(tex) > LONG)}>\[{escape(tex)}\]</span>'
    return rf"\({escape(tex)}\)"


_html = MarkdownIt().use(dollarmath_plugin, double_inline=True, renderer=_formula).render


def main(arguments=None) -> int:
    options = argparse.ArgumentParser(prog="python -m book.slides", description=__doc__)
    options.add_argument("lessons", nargs="*", metavar="NN", help="numbers such as 02; none means all")
    options.add_argument("--out", type=Path, default=BOOK / "_build" / "slides", metavar="DIR")
    chosen = options.parse_args(arguments)
    try:
        sources = built_lessons(chosen.lessons)
    except ValueError as error:
        options.error(str(error))
    for root, name in [*((REVEAL, name) for name in SHIPPED), (MATHJAX, "tex-chtml.js"), (MATHJAX, FONTS)]:
        into = chosen.out / root.name / name
        copy_asset(root / name, into if (root / name).is_dir() else into.parent)
    for source in sources:
        (chosen.out / f"{source.name[:2]}.html").write_text(deck(source), "utf-8")
    print(f"The slides: {len(sources)} decks, the first {chosen.out / sources[0].name[:2]}.html")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
