"""Figures carry their alt text; sliders redraw; contact sheets keep what they show."""

import io
import subprocess
import sys

import ipywidgets
import pytest
import torch
from PIL import Image

from cmlib import plots


def drawing(height=1.0):
    fig, ax = plots.figure(width=2, height=1)
    ax.plot([0, height])
    ax.set_ylim(0, 10)
    return fig


@pytest.fixture
def shown(monkeypatch):
    """What reached the learner's screen: [(data, metadata)]."""
    seen = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, metadata=None, **_: seen.append((data, metadata))
    )
    return seen


def test_a_figure_is_shown_with_its_alt_text(shown):
    plots.show(drawing(), alt="A line rises.")
    ((data, metadata),) = shown
    assert set(data) == {"image/png", "text/plain"}
    assert data["text/plain"] == "[figure] A line rises."
    assert metadata == {"image/png": {"alt": "A line rises."}}


def test_the_resolution_follows_the_environment(monkeypatch):
    widths = []
    for dpi in ("72", "144"):
        monkeypatch.setenv("CMLIB_DPI", dpi)
        widths.append(Image.open(io.BytesIO(plots.png(drawing()))).width)
    assert abs(widths[1] - 2 * widths[0]) <= 8


def test_the_background_is_opaque_white():
    plots.style()
    picture = Image.open(io.BytesIO(plots.png(drawing()))).convert("RGBA")
    assert picture.getpixel((0, 0)) == (255, 255, 255, 255)
    assert picture.getextrema()[3] == (255, 255)


def test_the_same_figure_is_the_same_bytes():
    assert plots.png(drawing()) == plots.png(drawing())


@pytest.fixture
def box(monkeypatch, shown):
    """The VBox that ``explore`` shows."""
    made = []
    real = ipywidgets.VBox
    monkeypatch.setattr(ipywidgets, "VBox", lambda *a, **k: made.append(real(*a, **k)) or made[-1])
    return made


def test_a_slider_redraws_the_picture(box, shown):
    plots.explore(drawing, "A line whose height you choose.", height=(0.0, 9.0, 1.0, 2.0))
    slider, picture, message = box[0].children
    assert (slider.min, slider.max, slider.step, slider.value, slider.description) == (0, 9, 1, 2, "height")
    assert picture.value == plots.png(drawing(2.0))
    slider.value = 7
    assert picture.value == plots.png(drawing(7.0)) and message.value == ""
    ((data, _),) = shown
    assert data["text/plain"] == "[slider: run this cell to move it] A line whose height you choose."
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == box[0].model_id


def test_tracks_stand_below_each_other_and_names_take_one_width(box, shown):
    track = (0, 1, 1, 0)
    plots.explore(lambda **_: drawing(), "Two.", a=track, much_longer=track, menu=[1])
    *controls, _, _ = box[0].children
    assert {c.style.description_width for c in controls} == {"12ch"}
    assert len({c.layout.width for c in controls}) == 1


@pytest.mark.parametrize(("seconds", "follows"), [(0.0, True), (0.2, False)])
def test_a_quick_picture_follows_while_the_slider_moves(box, shown, seconds, follows, monkeypatch):
    clock = iter(k * seconds for k in range(100))
    monkeypatch.setattr(plots.time, "perf_counter", lambda: next(clock))
    plots.explore(drawing, "A line.", height=(0.0, 9.0, 1.0, 2.0))
    slider = box[0].children[0]
    assert slider.continuous_update is follows
    clock = iter([0.0, 0.2 - seconds])  # the machine is quicker, or slower, than before
    slider.value = 7
    assert slider.continuous_update is not follows


def test_a_menu_redraws_the_picture(box, shown):
    plots.explore(drawing, "Three heights.", height=[1, 4, 9])
    menu, picture, _ = box[0].children
    menu.value = 9
    assert picture.value == plots.png(drawing(9))


def test_a_failing_drawing_is_named_beside_the_slider(box, shown):
    def draw(height):
        if height > 5:
            raise ValueError("too <high>")
        return drawing(height)
    plots.explore(draw, "A line.", height=(0.0, 9.0, 1.0, 2.0))
    slider, picture, message = box[0].children
    with pytest.raises(ValueError, match="too <high>"):
        slider.value = 7
    assert message.value == "<b>ValueError</b>: too &lt;high&gt;"
    slider.value = 3
    assert message.value == "" and picture.value == plots.png(drawing(3.0))


def test_a_contact_sheet_shows_every_picture_in_order():
    images = torch.arange(7, dtype=torch.uint8).reshape(7, 1, 1, 1).expand(7, 3, 8, 8) * 30
    fig = plots.pictures(images, titles=[str(i) for i in range(7)], columns=3)
    assert len(fig.axes) == 9
    shown = [
        (ax.get_images()[0].get_array()[0, 0, 0], ax.get_title(loc="center"))
        for ax in fig.axes
        if ax.get_images()
    ]
    assert shown == [(30 * i, str(i)) for i in range(7)]


def test_colours_differ_in_lightness_too():
    """Whoever sees no colour at all tells the image's line from the text's and from both's by its
    lightness.
    """
    def lightness(color):
        r, g, b = (int(color[i:i + 2], 16) for i in (1, 3, 5))
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    assert len(set(plots.COLORS)) == len(plots.COLORS)
    assert len({round(lightness(c)) for c in plots.COLORS}) == len(plots.COLORS)


def test_importing_plots_does_not_import_matplotlib():
    heavy = ("matplotlib", "ipywidgets", "torch")
    code = f"import sys, cmlib.plots; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
