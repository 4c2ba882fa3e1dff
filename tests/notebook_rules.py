"""What every built notebook keeps, as rules that say themselves; see lesson_rules.py."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

from cmlib.authoring import notebooks
from cmlib.authoring.running import alt_of, code_cells

FIGURES = 150_000  # bytes, at 110 dots an inch in 64 colours
# The goal is 60 s. Machines differ: lesson 05, as it was, took 54 s on one processor and 72 s on another.
SECONDS, MEMORY_MB = 75, 4000
PRINTED = 100  # columns of output: at 820 pixels JupyterLab breaks a longer line, in mid-word


def broken(source: Path, notebook: dict) -> list[str]:
    """A sentence for each rule that the built notebook of a source breaks; [] when it keeps all of them."""
    return [sentence for rule in RULES for sentence in rule(source, notebook)]


def agrees_with_its_source(source: Path, notebook: dict) -> Iterator[str]:
    if notebooks.fingerprint(notebook) != notebooks.fingerprint(notebooks.build(source)):
        yield (f"{source.stem}.ipynb: a stored notebook is the one that its source makes; this one is "
               f"older or was edited: make notebooks ONLY={source.name[:2]}.")


def ran_once_from_top_to_bottom(source: Path, notebook: dict) -> Iterator[str]:
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"{source.stem}.ipynb: every code cell ran once, in order; the counts are {counts}."
    for cell, output in _outputs(notebook):
        where = f"{source.stem}.ipynb, cell {cell['id']}"
        if output["output_type"] == "error":
            yield f"{where}: no cell raises; found {output['ename']}: {output['evalue']}."
        if output.get("name") == "stderr":
            yield f"{where}: nothing is written to stderr; found {''.join(output['text'])[:80]!r}."
        if "text/html" in output.get("data", {}):
            yield f"{where}: no HTML is stored, since nbval does not compare it; found some."
    if "widgets" in notebook["metadata"]:
        yield f"{source.stem}.ipynb: the state of widgets is not stored; found metadata.widgets."


def says_what_its_pictures_show(source: Path, notebook: dict) -> Iterator[str]:
    for cell, output in _outputs(notebook):
        where = f"{source.stem}.ipynb, cell {cell['id']}"
        for kind in output.get("data", {}):
            if not kind.startswith("image/"):
                continue
            alt = output["metadata"].get(kind, {}).get("alt", "")
            if kind != "image/png":
                yield f"{where}: pictures are stored as PNG; found {kind}."
            elif len(alt) < 20:
                yield f"{where}: a picture has an alt text of at least 20 characters; found {alt!r}."
    for cell in code_cells(notebook):
        found = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        if found != alt_of(cell):
            yield (f"{source.stem}.ipynb, cell {cell['id']}: the alt text also stands where MyST "
                   f"reads it, in the cell's metadata; found {found!r}.")


def stores_light_figures(source: Path, notebook: dict) -> Iterator[str]:
    size = figure_bytes(notebook)
    if size > FIGURES:
        yield (f"{source.stem}.ipynb: the figures of a lesson take at most {FIGURES // 1000} kB; "
               f"found {size / 1000:.0f} kB.")


def fits_a_laptop(source: Path, notebook: dict) -> Iterator[str]:
    took = notebook["metadata"].get("cmlib", {})
    for name, most, unit in (("seconds", SECONDS, "s"), ("memory_mb", MEMORY_MB, "MB")):
        if not 0 < took.get(name, 0) <= most:
            yield (f"{source.stem}.ipynb: a lesson takes at most {most} {unit}; its metadata say "
                   f"{took.get(name, 'nothing')}.")


def prints_no_wider_than_the_page(source: Path, notebook: dict) -> Iterator[str]:
    for cell, output in _outputs(notebook):
        for line in "".join(output.get("text", "")).splitlines():
            if len(line) > PRINTED:
                yield (f"{source.stem}.ipynb, cell {cell['id']}: a printed line has at most {PRINTED} "
                       f"columns; {line[:40]!r}… has {len(line)}.")


def is_stored_unsolved(source: Path, notebook: dict) -> Iterator[str]:
    for cell, output in _outputs(notebook):
        verdict = re.search(rf"[✓✗] {source.name[:2]}\.\d[^\n]*", "".join(output.get("text", "")))
        if verdict:
            yield (f"{source.stem}.ipynb, cell {cell['id']}: the learner's notebook is stored with "
                   f"its exercises open; found {verdict[0]!r}.")


def figure_bytes(notebook: dict) -> int:
    pictures = [output["data"]["image/png"] for _, output in _outputs(notebook)
                if "image/png" in output.get("data", {})]
    return sum(len(base64.b64decode(picture)) for picture in pictures)


def _outputs(notebook) -> list[tuple[dict, dict]]:
    return [(cell, output) for cell in code_cells(notebook) for output in cell["outputs"]]


RULES = (
    agrees_with_its_source, ran_once_from_top_to_bottom, says_what_its_pictures_show, stores_light_figures,
    fits_a_laptop, prints_no_wider_than_the_page, is_stored_unsolved,
)
