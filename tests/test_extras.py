"""The extras beside the locked torch: what later lessons use works, and the book's tools build a page."""

import json
import subprocess
import sys

import extras
from conftest import ROOT

CONF = """\
project, extensions, html_theme = "book", ["myst_nb"], "sphinx_book_theme"
nb_execution_mode = "off"
"""
CELL = {
    "cell_type": "code",
    "execution_count": 1,
    "id": "sum",
    "metadata": {},
    "outputs": [{"output_type": "stream", "name": "stdout", "text": ["the stored answer is 4\n"]}],
    "source": ["print(2 + 2)"],
}


def test_what_later_lessons_use_works_beside_the_locked_torch():
    run = subprocess.run([sys.executable, extras.__file__], capture_output=True, text=True, check=False)
    assert run.stdout.splitlines() == [f"{package}: right" for package in extras.TASKS], run.stderr


def test_a_notebook_becomes_a_page_of_the_book_with_its_stored_outputs(tmp_path):
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": ["# A lesson"]}
    notebook = {"cells": [title, CELL]}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (tmp_path / "index.ipynb").write_text(
        json.dumps(notebook | {"metadata": kernel, "nbformat": 4, "nbformat_minor": 5}), "utf-8"
    )
    (tmp_path / "conf.py").write_text(CONF, "utf-8")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(tmp_path), str(tmp_path / "book")]
    run = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    page = (tmp_path / "book" / "index.html").read_text("utf-8")
    assert "the stored answer is 4" in page and "sphinx-book-theme" in page
