"""The README's two sentences, picture, commands and curriculum are true. To write its table anew:
python tests/test_readme.py
"""

import re

from conftest import ROOT
from PIL import Image

from cmlib.authoring import curriculum
from cmlib.authoring import notebooks as author

TEXT = (ROOT / "README.md").read_text("utf-8")
TABLE = re.compile(r"(?<=<!-- curriculum -->\n).*?(?=\n<!-- end -->)", flags=re.DOTALL)


def table():
    """The curriculum, with the seconds that the built notebooks' metadata tell."""
    took = {source.name[:2]: author.measured(source).get("seconds") for source in author.sources()}
    rows = ["| | lesson | runs in |", "|---|---|---|"]
    for part in curriculum.parts():
        rows.append(f"| **{part.letter}** | **{part.title}** | |")
        for one in part.lessons:
            if one.built:
                time = f"{took[one.number]} s" if took[one.number] else "not measured yet"
                rows.append(f"| {one.number} | [{one.title}](notebooks/{one.stem}.ipynb) | {time} |")
        to_come = [f"{one.number} {one.title}" for one in part.lessons if not one.built]
        if to_come:
            rows.append(f"| | {' · '.join(to_come)} | planned |")
    return "\n".join(rows)


def test_the_curriculum_is_what_there_is():
    assert TABLE.search(TEXT)[0] == table(), "README has the curriculum's table: python tests/test_readme.py"


def test_every_link_and_picture_is_there():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    missing = [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()]
    assert not missing, f"every link of the README leads to a file that is there: {missing}"


def test_every_command_named_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([\w-]+)", TEXT))
    assert {"lab", "test"} <= named
    assert named <= targets, f"the Makefile has every command of the README: {named - targets}"


def test_the_picture_is_small_and_described():
    path = ROOT / "docs" / "contact_sheet.png"
    assert path.stat().st_size <= 150_000 and Image.open(path).width >= 800
    alt = re.search(r"!\[([^\]]+)\]\(docs/contact_sheet.png\)", TEXT)[1]
    assert len(alt) > 50


if __name__ == "__main__":
    (ROOT / "README.md").write_text(TABLE.sub(lambda _: table(), TEXT), "utf-8")
