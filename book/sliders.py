"""The sliders of the lessons for readers without a kernel: ``python -m book.sliders 06``.

Runs a lesson, in plain Python, up to its last ``plots.explore``, and keeps in ``book/frames/06-0`` (lesson
06, its first explore) what the lesson's own ``draw`` shows: each control moved through its range while the
others stand where they start. ``book.lessons`` puts the frames behind range inputs.
"""

from __future__ import annotations

import argparse
import html
import io
import json
import linecache
import os
import shutil
import tempfile
from pathlib import Path

from cmlib.authoring import notebooks

FOLDER = Path(__file__).with_name("frames")
MOST = 13  # frames of one control
DPI = 90


def record(source: Path, folder: Path = FOLDER) -> int:
    """Write the frames of every explore of a lesson; returns how many pictures that are."""
    from cmlib import plots

    cells = ["".join(cell["source"]) for cell in notebooks.build(source)["cells"]
             if cell["cell_type"] == "code"]
    last = max((i for i, text in enumerate(cells) if "plots.explore(" in text), default=-1)
    taken = []

    def explore(draw, alt, **sliders):
        taken.append(_keep(folder / f"{source.name[:2]}-{len(taken)}", draw, alt, sliders))

    theirs = plots.explore, plots.show
    plots.explore, plots.show = explore, lambda fig, alt: None
    try:
        names = {"__name__": "__main__"}
        for i, text in enumerate(cells[: last + 1]):
            name = f"{source.name}, cell {i}"
            # where inspect finds the source of a function, as it does in a notebook
            linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
            exec(compile(text, name, "exec"), names)  # noqa: S102
    finally:
        plots.explore, plots.show = theirs
    return sum(taken)


def _keep(folder: Path, draw, alt: str, sliders: dict) -> int:
    """The frames of one explore, beside a list of them in ``controls.json``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ranges = {name: _values(spec) for name, spec in sliders.items()}
    start = {name: values[first] for name, (values, first) in ranges.items()}
    kept = {"alt": alt, "controls": []}
    for name, (values, first) in ranges.items():
        for i, value in enumerate(values):
            _save(draw(**start | {name: value}), folder / f"{name}-{i}.webp")
        kept["controls"].append({"name": name, "values": [_told(value) for value in values], "start": first})
    (folder / "controls.json").write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return sum(len(values) for values, _ in ranges.values())


def _values(spec) -> tuple[list, int]:
    """At most MOST positions of a slider or all of a menu, and which of them is the start."""
    if isinstance(spec, list):
        return spec, 0
    low, high, step, start = spec
    every = [round(low + i * step, 10) for i in range(round((high - low) / step) + 1)]
    first = min(range(len(every)), key=lambda i: abs(every[i] - start))
    stride = -(-len(every) // MOST)
    positions = sorted({*range(first % stride, len(every), stride), first})
    return [every[i] for i in positions], positions.index(first)


def _told(value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _save(fig, file: Path) -> None:
    from PIL import Image

    from cmlib import plots

    picture = Image.open(io.BytesIO(plots.png(fig))).convert("RGB")
    picture.save(file, "WEBP", quality=80, method=6)


def shown(number: str, position: int, folder: Path = FOLDER) -> str | None:
    """HTML of the explore of that position in a lesson; None where no frames were rendered."""
    kept = folder / f"{number}-{position}"
    if not (kept / "controls.json").exists():
        return None
    told = json.loads((kept / "controls.json").read_text("utf-8"))
    address, rows = f"../_static/frames/{kept.name}", []
    for control in told["controls"]:
        name, values, start = html.escape(control["name"]), control["values"], control["start"]
        words = html.escape(json.dumps(values, ensure_ascii=False))
        rows.append(f'<label><span>{name}</span> <input type="range" min="0" max="{len(values) - 1}" '
                    f'value="{start}" data-start="{start}" data-name="{name}" data-values="{words}"> '
                    f"<output>{html.escape(values[start])}</output></label>")
    first = told["controls"][0]
    return (f'<figure class="frames" data-folder="{address}">{"".join(rows)}'
            f'<img src="{address}/{first["name"]}-{first["start"]}.webp" alt="{html.escape(told["alt"])}">'
            "<figcaption>One control moves at a time here; run the lesson to move all of them, and in "
            "finer steps.</figcaption></figure>")


def main(arguments=None) -> int:
    options = argparse.ArgumentParser(prog="python -m book.sliders", description=__doc__)
    options.add_argument("lessons", nargs="*", metavar="NN", help="numbers such as 02; none means all")
    chosen = options.parse_args(arguments).lessons
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"CMLIB_HOME": home, "CMLIB_SCALE": "small", "CMLIB_DPI": str(DPI)}
        os.chdir(notebooks.NOTEBOOKS)
        for source in notebooks.sources():
            if not chosen or source.name[:2] in chosen:
                print(f"{source.stem}: {record(source)} frames", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
