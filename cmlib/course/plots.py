"""One figure style for the whole course, figures with alt text, and sliders that redraw them."""

from __future__ import annotations

import html
import io
import os
import textwrap
import time

# Okabe & Ito (2008): distinguishable with every common form of colour blindness. Image, text, both, then the
# rest.
IMAGE, TEXT, BOTH, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"
QUICK = 0.15  # seconds for a picture that seems to move; a slower one follows when the slider is let go
COLORS = [IMAGE, TEXT, BOTH, "#CC79A7", "#E69F00", "#56B4E9", "#1A1A1A"]


def style() -> None:
    """Set the course's matplotlib style: opaque white (dark themes), no chart junk."""
    import matplotlib as mpl

    mpl.rcParams.update({
        "figure.facecolor": "white", "savefig.facecolor": "white", "figure.constrained_layout.use": True,
        "figure.figsize": (7, 3), "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold",
        "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.alpha": 0.25, "axes.axisbelow": True, "lines.linewidth": 2, "legend.frameon": False,
        "axes.prop_cycle": mpl.cycler(color=COLORS),
    })


def figure(rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 3.0, **settings):
    """A new figure and its axes; ``show`` it when it is drawn. Sizes in inches."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height))
    return fig, fig.subplots(rows, columns, **settings)


def png(fig) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(
        buffer,
        format="png",
        dpi=float(os.environ.get("CMLIB_DPI", "110")),
        bbox_inches="tight",
        pad_inches=0.08,
    )
    return buffer.getvalue()


def _display():
    """IPython's ``display``, or None in a plain Python without it: there a lesson prints the alt text."""
    try:
        from IPython.display import display
    except ImportError:
        return None
    return display


def show(fig, alt: str) -> None:
    """Display a figure with its alt text: one sentence that says what the figure shows."""
    picture, display = png(fig), _display()
    if display is None:
        print(f"[figure] {alt}")
        return
    display(
        {"image/png": picture, "text/plain": f"[figure] {alt}"},
        raw=True,
        metadata={"image/png": {"alt": alt}},
    )


def explore(draw, alt: str, **sliders) -> None:
    """A figure that follows its sliders, also while they move, where it is drawn in less than QUICK seconds
    here. ``draw(**values)`` returns a figure.

    sliders : name=(low, high, step, start), or name=[choices] for a menu.
    The same figure at the start values must also stand still in the lesson, for readers without a kernel.
    """
    display = _display()
    if display is None:
        png(draw(**{name: spec[0] if isinstance(spec, list) else spec[-1] for name, spec in sliders.items()}))
        print(f"[slider] {alt}")
        return
    import ipywidgets as widgets

    controls = _controls(widgets, sliders)
    picture, message = widgets.Image(format="png"), widgets.HTML()
    # its own size: VBox would stretch it
    picture.layout.max_width, picture.layout.align_self = "100%", "flex-start"

    def redraw(_=None):
        start = time.perf_counter()
        try:
            picture.value = png(draw(**{name: c.value for name, c in controls.items()}))
            message.value = ""
        except Exception as error:
            message.value = f"<b>{type(error).__name__}</b>: {html.escape(str(error))}"
            raise
        follows = time.perf_counter() - start < QUICK
        for control in controls.values():
            if isinstance(control, widgets.FloatSlider):
                control.continuous_update = follows

    for control in controls.values():
        control.observe(redraw, names="value")
    redraw()
    box = widgets.VBox([*controls.values(), picture, message])
    display(
        {
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2,
                "version_minor": 0,
                "model_id": box.model_id,
            },
            "text/plain": f"[slider: run this cell to move it] {alt}",
        },
        raw=True,
    )


def _controls(widgets, sliders) -> dict:
    """A slider or a menu for each; the names take the same width, so that the tracks stand below each
    other.
    """
    width = f"{max(map(len, sliders), default=0) + 1}ch"
    controls = {}
    for name, spec in sliders.items():
        label = {"description": name, "style": {"description_width": width}}
        label["layout"] = {"width": "min(100%, 32em)"}
        if isinstance(spec, list):
            controls[name] = widgets.Dropdown(options=spec, **label)
        else:
            low, high, step, start = spec
            controls[name] = widgets.FloatSlider(value=start, min=low, max=high, step=step, **label)
    return controls


def pictures(images, titles=None, columns: int = 6, size: float = 1.3):
    """A contact sheet. images : uint8 (n, 3, height, width); titles : one string per image."""
    n = len(images)
    rows = -(-n // columns)
    fig, axes = figure(
        rows, columns, width=columns * size, height=rows * (size + (0.35 if titles else 0)), squeeze=False
    )
    for i, ax in enumerate(axes.flat):
        ax.axis("off")
        if i < n:
            ax.imshow(images[i].permute(1, 2, 0).numpy(), interpolation="nearest")
            if titles:
                lines = [textwrap.fill(line, max(10, round(15 * size))) for line in titles[i].splitlines()]
                ax.set_title("\n".join(lines), fontsize=7, fontweight="normal", loc="center")
    return fig
