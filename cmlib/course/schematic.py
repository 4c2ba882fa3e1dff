"""Boxes, grids and arrows for a drawing of a mechanism, in the style of the course's figures.

    sketch = Schematic(7, 1.6)
    words = sketch.box("words\\n(B, T)", (0.8, 0.8), color=plots.TEXT)
    bert = sketch.box("BERT", (3, 0.8))
    sketch.arrow(words, bert, "ids")
    sketch.show("An arrow leads from the words to BERT.")
"""

from __future__ import annotations

from cmlib.course import plots

__all__ = ["Schematic"]


class Schematic:
    """A drawing of ``width`` by ``height`` inches. Every place is the (x, y) of a centre in inches from the
    lower left corner, so that a drawing can be planned on squared paper.
    """

    def __init__(self, width: float = 7.0, height: float = 2.5):
        self.figure, self.axes = plots.figure(width=width, height=height)
        self.axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        self.axes.axis("off")

    def box(self, words: str, at, size=(1.3, 0.5), color: str = plots.GREY, filled=True, fontsize=9):
        """A rounded box with words in its middle; returns what `arrow` takes."""
        from matplotlib.patches import FancyBboxPatch

        (x, y), (w, h) = at, size
        box = FancyBboxPatch(
            (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=0.08", linewidth=1.4,
            edgecolor=color, facecolor=_tint(color) if filled else "white", zorder=2,
        )
        self.axes.add_patch(box)
        self.text(words, at, fontsize=fontsize)
        return box

    def grid(self, at, colors, cell: float = 0.26, words=None, fontsize=8):
        """A tensor as squares. ``colors`` : rows of colours, None for an empty square; ``words`` : what
        stands in the squares, in the same form. Returns what `arrow` takes.
        """
        from matplotlib.patches import Rectangle

        rows, columns = len(colors), len(colors[0])
        left, top = at[0] - columns * cell / 2, at[1] + rows * cell / 2
        for i, row in enumerate(colors):
            for j, color in enumerate(row):
                corner = (left + j * cell, top - (i + 1) * cell)
                face = _tint(color) if color else "white"
                self.axes.add_patch(
                    Rectangle(corner, cell, cell, facecolor=face, edgecolor=color or plots.GREY, zorder=2)
                )
                if words:
                    middle = (corner[0] + cell / 2, corner[1] + cell / 2)
                    self.text(str(words[i][j]), middle, fontsize=fontsize)
        outline = Rectangle((left, top - rows * cell), columns * cell, rows * cell, fill=False, linewidth=0)
        return self.axes.add_patch(outline)

    def arrow(self, start, end, words: str = "", color: str = plots.GREY, bend: float = 0.0, dashed=False,
              shift=(0.0, 0.12), fontsize=8):
        """From the edge of one box (or a point) to the edge of another, with words ``shift`` inches from its
        middle. ``bend`` curves it: 0.3 to its right, −0.3 to its left.
        """
        from matplotlib.patches import FancyArrowPatch

        a, b = _middle(start), _middle(end)
        self.axes.add_patch(FancyArrowPatch(
            a, b, patchA=None if isinstance(start, tuple) else start,
            patchB=None if isinstance(end, tuple) else end, connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>", mutation_scale=11, shrinkA=1, shrinkB=1, linewidth=1.4, color=color,
            linestyle="--" if dashed else "-", zorder=1,
        ))
        if words:
            # an arc's middle lies half its sagitta aside
            aside = bend * (b[1] - a[1]) / 2, -bend * (b[0] - a[0]) / 2
            middle = ((a[0] + b[0]) / 2 + aside[0] + shift[0], (a[1] + b[1]) / 2 + aside[1] + shift[1])
            self.text(words, middle, fontsize=fontsize, color=color)

    def path(self, points, color: str = plots.GREY):
        """A line with corners, through (x, y) places; its head is at the last of them."""
        from matplotlib.patches import FancyArrowPatch
        from matplotlib.path import Path

        self.axes.add_patch(FancyArrowPatch(
            path=Path(points), arrowstyle="-|>", mutation_scale=11, linewidth=1.4, color=color, fill=False,
            zorder=1,
        ))

    def text(self, words: str, at, fontsize=9, color: str = "#1A1A1A", **settings):
        settings = {"ha": "center", "va": "center"} | settings
        self.axes.text(*at, words, fontsize=fontsize, color=color, zorder=3, **settings)

    def show(self, alt: str) -> None:
        plots.show(self.figure, alt)


def _tint(color: str, share: float = 0.16) -> tuple[float, float, float]:
    """``color`` thinned with white, so that black words stay legible on it."""
    from matplotlib.colors import to_rgb

    return tuple(1 - share * (1 - channel) for channel in to_rgb(color))


def _middle(place) -> tuple[float, float]:
    if isinstance(place, tuple):
        return place
    bounds = place.get_bbox()
    return (bounds.x0 + bounds.x1) / 2, (bounds.y0 + bounds.y1) / 2
