"""The README's two sentences, picture, commands and curriculum are true."""

import json
import re

from conftest import ROOT
from PIL import Image

from cmlib import author

TEXT = (ROOT / "README.md").read_text("utf-8")
PLANNED = "not built yet"


def curriculum():
    """The rows of lessons as the sources and notebooks/measured.json have them."""
    path = author.NOTEBOOKS / "measured.json"
    measured = json.loads(path.read_text("utf-8")) if path.exists() else {}
    rows = []
    for source in author.sources():
        number, title = re.search(r"^# # (\d\d) (.+)$", source.read_text("utf-8"), flags=re.MULTILINE).groups()
        time = f"{measured[source.stem]['seconds']} s" if source.stem in measured else PLANNED
        rows.append(f"| {number} | [{title}](notebooks/{source.stem}.ipynb) | {time} |")
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
    rows = re.compile(r"(\| \*\*A\*\* .*\n)(?:\| \d\d .*\n|\{\{foundations\}\}\n)*")
    (ROOT / "README.md").write_text(rows.sub(lambda match: match[1] + curriculum() + "\n", TEXT), "utf-8")
