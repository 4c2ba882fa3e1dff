"""How lessons print spreads, and how their code reads; widths and plain Python are in the two rules files."""

import ast
import json
import re

import pytest
from test_style import found

from cmlib.authoring import notebooks
from cmlib.authoring.source import parse

WIDEST = 0.05  # DESIGN 6: nbval forgives a mean as much as its ±, so a wide one would hide any mistake
SPREAD = re.compile(r"(?:[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*)?±\s*(\d*\.?\d+(?:[eE][-+]?\d+)?)")
lesson = pytest.mark.parametrize("source", notebooks.sources(), ids=lambda source: source.stem)


def wide_spreads(name: str, notebook: dict) -> list[str]:
    """A sentence for every stored ``mean ± spread`` whose spread is above WIDEST."""
    return [
        f"{name}, cell {cell['id']}: a spread above {WIDEST} is printed as the claim that it supports, such "
        f"as 'in every seed: True'; found {match[0]!r}."
        for cell in notebook["cells"] for output in cell.get("outputs", ())
        for match in SPREAD.finditer("".join(output.get("text", ""))) if float(match[1]) > WIDEST
    ]


@lesson
def test_a_wide_spread_is_printed_as_a_claim(source):
    path = notebooks.built(source)
    wrong = wide_spreads(path.name, json.loads(path.read_text("utf-8")))
    assert not wrong, "\n".join(wrong)


def test_a_wide_spread_is_found():
    text = ["all 0.627 ± 0.019   People 0.644 ± 0.133\n", "known to ± 0.051, -3.1 ± 5e-2, 0.9 ± .05\n"]
    printed = {"id": "l07-23", "outputs": [{"output_type": "stream", "name": "stdout", "text": text}]}
    first, second = wide_spreads("07_real_data.ipynb", {"cells": [{"id": "l07-22"}, printed]})
    assert first == ("07_real_data.ipynb, cell l07-23: a spread above 0.05 is printed as the claim that it "
                     "supports, such as 'in every seed: True'; found '0.644 ± 0.133'.")
    assert "found '± 0.051'" in second


@lesson
def test_a_cell_does_one_thing_at_a_time(source):
    wrong = [f"{source.name}, line {cell.line + line}: {what}" for cell in parse(source) if cell.is_code
             for line, what in found(ast.parse(cell.text))]
    assert not wrong, "\n".join(wrong)
