"""Draws docs/contact_sheet.png, the picture of the README: python docs/contact_sheet.py"""

import io
import textwrap
from pathlib import Path

from PIL import Image

from cmlib import plots
from cmlib.worlds import RefundDesk

MEANING = {
    "R": "photo and message agree",
    "I": "only the photo tells",
    "T": "only the message tells",
    "S": "only both together tell",
}


def sheet():
    """Two tickets of each situation: photo above, message below, decision in colour."""
    plots.style()
    pairs = RefundDesk(seed=0).sample(400, split="test")
    situation = pairs.extras["situation"]
    fig, axes = plots.figure(2, 4, width=9.0, height=6.1)
    for column, (letter, meaning) in enumerate(MEANING.items()):
        rows = (situation == column).nonzero().flatten().tolist()
        for label in (0, 1):
            fitting = [i for i in rows if pairs.labels[i] == label and len(pairs.texts[i]) < 64]
            i, ax = fitting[2], axes[label][column]
            text = pairs.texts[i]
            ax.imshow(pairs.images[i].permute(1, 2, 0).numpy(), interpolation="bicubic")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.grid(False)
            color = (plots.BOTH, plots.TEXT)[label]
            for spine in ax.spines.values():
                spine.set(visible=True, color=color, linewidth=3)
            for mark in ".,?":
                text = text.replace(f" {mark}", mark)
            words = "\n".join(textwrap.wrap(f"“{text}”", 30))
            ax.set_xlabel(f"{words}\n→ {pairs.class_names[label]}", fontsize=8)
            if label == 0:
                ax.set_title(f"{letter}  {meaning}", fontsize=9, loc="center", pad=8)
    fig.get_layout_engine().set(h_pad=0.12, w_pad=0.08, hspace=0.03)
    return fig


if __name__ == "__main__":
    out = io.BytesIO()
    sheet().savefig(out, dpi=110)
    picture = Image.open(out).convert("RGB").quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    target = Path(__file__).with_suffix(".png")
    picture.save(target, optimize=True)
    print(f"{target.name}: {target.stat().st_size // 1000} kB")
