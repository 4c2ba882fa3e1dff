"""The README's two sentences, picture, commands and curriculum are true."""

import json
import re

from conftest import ROOT
from PIL import Image

from cmlib.authoring import notebooks as author

TEXT = (ROOT / "README.md").read_text("utf-8")
PLANNED = "not built yet"
PARTS = {  # letter: number of the first lesson, title, what is planned
    "A": (0, "Foundations", ""),
    "B": (8, "Fusion and joint training", "the fusion zoo · modality imbalance · metric learning · "
                                          "contrastive alignment · self-supervision"),
    "C": (13, "Full scale", "freezing and LoRA · beyond one GPU"),
    "D": (16, "Tasks", "captions · questions · search · detection · pictures and 3-D from words · video · a "
                       "small vision-language model"),
    "E": (24, "Trust and delivery", "a diagnosis case · explain · robustness · compress · privacy · serve · "
                                    "your own data")}


def curriculum():
    """The table's rows: each part of the course, then its lessons as the sources and notebooks/measured.json
    have them.
    """
    path = author.NOTEBOOKS / "measured.json"
    measured = json.loads(path.read_text("utf-8")) if path.exists() else {}
    rows = []
    for letter, (first, title, to_come) in PARTS.items():
        end = min((other for other, *_ in PARTS.values() if other > first), default=100)
        lessons = [source for source in author.sources() if first <= int(source.stem[:2]) < end]
        rows.append(f"| **{letter}** | **{title}** | |" if lessons else f"| **{letter}** | **{title}**: "
                                                                        f"{to_come} | planned |")
        for source in lessons:
            number, title = re.search(
                r"^# # (\d\d) (.+)$", source.read_text("utf-8"), flags=re.MULTILINE
            ).groups()
            time = f"{measured[source.stem]['seconds']} s" if source.stem in measured else PLANNED
            rows.append(f"| {number} | [{title}](notebooks/{source.stem}.ipynb) | {time} |")
        if lessons and to_come:
            rows.append(f"| | {to_come} | planned |")
    return "\n".join(rows)


def test_the_curriculum_is_what_there_is():
    """To mend: python tests/test_readme.py"""
    assert curriculum() in TEXT


def test_every_link_and_picture_is_there():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    missing = [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()]
    assert not missing


def test_every_command_named_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake (\w+)", TEXT))
    assert {"lab", "test"} <= named <= targets


def test_the_picture_is_small_and_described():
    path = ROOT / "docs" / "contact_sheet.png"
    assert path.stat().st_size <= 150_000 and Image.open(path).width >= 800
    alt = re.search(r"!\[([^\]]+)\]\(docs/contact_sheet.png\)", TEXT)[1]
    assert len(alt) > 50


if __name__ == "__main__":
    table = re.compile(r"(?<=\|---\|---\|---\|\n).*?(?=\n<!-- end -->)", flags=re.DOTALL)
    (ROOT / "README.md").write_text(table.sub(lambda _: curriculum(), TEXT), "utf-8")
