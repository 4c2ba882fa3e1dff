"""The page that a newcomer reads is true: its code runs, and what it names is there."""

import re

from conftest import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_the_task_in_fifteen_lines_runs_and_learns(capsys):
    (block,) = re.findall(r"```python\n(.+?)```", PAGE, flags=re.DOTALL)
    space = {"__name__": "page"}
    exec(compile(block, "architecture.md", "exec"), space)  # noqa: S102, our own page
    history = space["history"]
    assert history[-1]["valid_kind"] >= 0.8 and history[-1]["valid_color"] >= 0.8
    assert {"loss", "kind", "color", "valid_loss", "valid_kind", "valid_color"} <= set(history[-1])
    assert "valid_kind" in capsys.readouterr().out


def test_every_folder_and_file_of_the_table_is_there():
    rows = re.findall(r"^\| `([\w./]+)` \| .+? \|(.*)\|$", PAGE, flags=re.MULTILINE)
    assert len(rows) >= 15
    for place, first in rows:
        folder = ROOT / place if place.startswith(("recipes", "book")) else ROOT / "cmlib" / place
        assert folder.exists(), place
        for file in re.findall(r"`([\w./]+)`", first):
            assert (folder / file).exists() or (ROOT / file).exists(), f"{place}{file}"


def test_every_folder_of_the_library_is_in_the_table():
    named = set(re.findall(r"^\| `(\w+)/?", PAGE, flags=re.MULTILINE))
    there = {path.parent.name for path in (ROOT / "cmlib").glob("*/__init__.py")}
    assert there <= named, there - named
