"""The README's two sentences, picture, commands and curriculum are true. To write its table anew:
python tests/test_readme.py
"""

import re

import pytest
from conftest import ROOT
from PIL import Image

from cmlib.authoring import curriculum
from cmlib.authoring import notebooks as author
from cmlib.authoring.source import parse
from cmlib.check import exercises

TEXT = (ROOT / "README.md").read_text("utf-8")
CHINESE = (ROOT / "README.zh.md").read_text("utf-8")
TABLE = re.compile(r"(?<=<!-- curriculum -->\n).*?(?=\n<!-- end -->)", flags=re.DOTALL)
TABLE_OF_LESSONS = re.compile(r"(?<=<!-- lessons -->\n).*?(?=\n<!-- end -->)", flags=re.DOTALL)


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


def test_the_chinese_page_has_every_lesson():
    rows = re.findall(r"^\| (\d\d) \| (.+?) \| (.+?) \|$", TABLE.search(CHINESE)[0], re.MULTILINE)
    assert [(number, title) for number, _, title in rows] == [(one.number, one.title)
                                                             for one in curriculum.lessons()]
    links = {number: re.findall(r"\((.+?)\)", name) for number, name, _ in rows}
    assert links == {one.number: [f"notebooks/{one.stem}.ipynb"] if one.built else []
                     for one in curriculum.lessons()}
    assert "(README.md)" in CHINESE and "(README.zh.md)" in TEXT[:200]


@pytest.mark.parametrize("text", [TEXT, CHINESE], ids=["English", "Chinese"])
def test_every_link_and_picture_is_there(text):
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    missing = [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()]
    assert not missing, f"every link of the README leads to a file that is there: {missing}"


@pytest.mark.parametrize("text", [TEXT, CHINESE], ids=["English", "Chinese"])
def test_every_command_named_exists(text):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", text))
    assert {"lab", "test"} <= named
    assert named <= targets, f"the Makefile has every command of the README: {named - targets}"


def test_the_picture_is_small_and_described():
    path = ROOT / "docs" / "contact_sheet.png"
    assert path.stat().st_size <= 150_000 and Image.open(path).width >= 800
    alt = re.search(r"!\[([^\]]+)\]\(docs/contact_sheet.png\)", TEXT)[1]
    assert len(alt) > 50


def test_the_syllabus_tells_minutes_points_needs_and_what_can_be_skipped():
    text = (ROOT / "docs" / "syllabus.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d\d) \S.*? \| (.*) \|$", TABLE_OF_LESSONS.search(text)[0], re.MULTILINE)
    told = {number: [cell.strip() for cell in row.split("|")] for number, row in rows}
    needs = {source.name[:2]: before(source) for source in author.sources()}
    assert set(told) == set(needs)
    for source in author.sources():
        number, items = source.name[:2], exercises(source.name[:2])
        stretch = sum(e.points for e in items if e.stretch)
        needed_by = [other for other in needs if number in needs[other]]
        minutes = re.search(r"\*\*Time:\*\* about (\d+) minutes", source.read_text("utf-8"))[1]
        assert told[number][:4] == [minutes, f"{sum(e.points for e in items) - stretch} + {stretch}",
                                    ", ".join(needs[number]), ", ".join(needed_by)], number
        inside = exercises_by_section(source)
        assert set(told[number][4].split(", ")) <= set(inside), number
        lost = [id for section in told[number][4].split(", ") for id in inside[section]]
        assert set(lost) <= {f"{number}.5"}, f"{number}: skipping {lost} loses points"


def before(source):
    """The numbers of the lessons that a lesson asks for."""
    asked = re.search(r"\*\*Before this:\*\*.*", source.read_text("utf-8"))[0]
    return sorted(re.findall(r"\]\((\d\d)_", asked))


def exercises_by_section(source):
    found, section = {}, None
    for cell in parse(source):
        for section in re.findall(r"^## (\d+)\. ", cell.text, re.MULTILINE):
            found[section] = []
        if cell.kind == "exercise":
            found[section].append(cell.argument)
    return found


if __name__ == "__main__":
    (ROOT / "README.md").write_text(TABLE.sub(lambda _: table(), TEXT), "utf-8")
