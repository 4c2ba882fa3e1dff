"""A drawing of a mechanism: what is asked for stands where it was put, and arrows end at the edges."""

import pytest
from matplotlib.patches import FancyArrowPatch

from cmlib.course import plots
from cmlib.course.schematic import Schematic


@pytest.fixture
def sketch():
    return Schematic(4, 2)


def arrow_ends(sketch):
    """How far the one arrow reaches to the left and to the right, in inches."""
    sketch.figure.canvas.draw()
    (arrow,) = [patch for patch in sketch.axes.patches if isinstance(patch, FancyArrowPatch)]
    across = arrow.get_path().vertices[:-1, 0]  # the last vertex only closes the head
    return across.min(), across.max()


@pytest.mark.parametrize(
    "end, edge",
    [
        (lambda sketch: sketch.box("b", (3, 1), size=(0.6, 0.4)), 2.7),
        (lambda sketch: sketch.grid((3, 1), [[None, None]], cell=0.4), 2.6),
    ],
)
def test_an_arrow_leads_from_edge_to_edge(sketch, end, edge):
    start = sketch.box("a", (1, 1), size=(1, 0.5))
    sketch.arrow(start, end(sketch))
    assert arrow_ends(sketch) == pytest.approx((1.5, edge), abs=0.05)


def test_a_bent_arrow_passes_on_its_right_and_its_words_with_it(sketch):
    sketch.arrow((1.0, 1.0), (3.0, 1.0), "words", bend=0.4, shift=(0, 0))
    words = sketch.axes.texts[-1]
    assert words.get_text() == "words"
    assert words.get_position() == pytest.approx((2, 0.6))


def test_a_grid_has_a_square_for_every_entry(sketch):
    sketch.grid((2, 1), [[plots.TEXT, None, None], [None, plots.TEXT, None]], 0.3, [[1, 0, 0], [0, 1, 0]])
    squares = [patch for patch in sketch.axes.patches if patch.get_width() == pytest.approx(0.3)]
    assert len(squares) == 6
    assert [words.get_text() for words in sketch.axes.texts] == ["1", "0", "0", "0", "1", "0"]
    first = squares[0].get_xy()
    assert first == pytest.approx((2 - 0.45, 1))  # of the upper row: it ends above the middle


def test_it_is_shown_with_its_alt_text(sketch, capsys, monkeypatch):
    monkeypatch.setattr(plots, "_display", lambda: None)
    sketch.show("Nothing yet.")
    assert capsys.readouterr().out == "[figure] Nothing yet.\n"


def test_a_path_goes_through_its_corners(sketch):
    sketch.path([(1, 0.5), (2, 0.5), (2, 1.5)])
    assert arrow_ends(sketch) == pytest.approx((1, 2), abs=0.1)
    with pytest.raises(ValueError):
        sketch.path([1, 2, 3])
