"""Execute a lesson and write its notebook, whole or not at all."""

from __future__ import annotations

import base64
import io
import json
import os
import tempfile
import time
from pathlib import Path

from cmlib.authoring import notebooks
from cmlib.check.records import write_atomically

PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"  # MiB on Linux
TIMEOUT = 300  # seconds for one cell


def make(source: Path) -> dict:
    """Build, execute and write the learner's notebook; returns {"seconds", "memory_mb", "cores"} as measured.

    Raises what nbclient raises when a cell fails, takes too long or kills its kernel: nothing is written.
    """
    import nbformat

    book = nbformat.reads(json.dumps(notebooks.build(source)), 4)
    took = execute(book)
    final = notebooks.build(source, took=took)  # again: the passport now knows the measured time
    for count, (target, ran) in enumerate(zip(code_cells(final), code_cells(book), strict=True), 1):
        target["outputs"] = [_clean(output, count) for output in json.loads(json.dumps(ran["outputs"]))]
    _finish(final)
    write(notebooks.built(source), final)
    return took


def execute(book) -> dict:
    """Run a notebook in place, from an empty home; returns {"seconds", "memory_mb", "cores"}, kernel start
    included.
    """
    import nbformat
    from nbclient import NotebookClient

    client = NotebookClient(book, timeout=TIMEOUT, kernel_name="python3", extra_arguments=["--log-level=40"],
                            resources={"metadata": {"path": str(notebooks.NOTEBOOKS)}})
    with tempfile.TemporaryDirectory(prefix="cmlib-", ignore_cleanup_errors=True) as home:
        settings = {"OMP_NUM_THREADS": "1", "CMLIB_HOME": home, "CMLIB_DPI": "110", "CMLIB_SCALE": "small"}
        start = time.monotonic()
        with client.setup_kernel(env=os.environ | settings):
            for i, cell in enumerate(book.cells):
                client.execute_cell(cell, i)
            seconds = time.monotonic() - start
            book.cells.append(nbformat.v4.new_code_cell(PEAK))
            client.execute_cell(book.cells[-1], len(book.cells) - 1)
            peak = book.cells.pop().outputs[0].text
    cores = getattr(os, "process_cpu_count", os.cpu_count)()  # the first knows of taskset, from Python 3.13
    return {"seconds": round(seconds), "memory_mb": int(peak), "cores": cores}


def refresh(source: Path) -> bool:
    """Write new prose, links and tags around the stored outputs; returns whether anything had changed.

    ValueError when the lesson is not built yet or its code has changed: then it has to be executed.
    """
    path, fresh = notebooks.built(source), notebooks.build(source)
    again = f"execute it: cmlib build {source.name[:2]}"
    if not path.exists():
        raise ValueError(f"{source.name} was never built, so there are no outputs to keep; {again}")
    stored = json.loads(path.read_text("utf-8"))
    if notebooks.fingerprint(stored) == notebooks.fingerprint(fresh):
        return False
    before, after = (["".join(c["source"]) for c in code_cells(book)] for book in (stored, fresh))
    if before != after:
        raise ValueError(f"The code of {source.name} is not the code that gave the stored outputs; {again}")
    for target, old in zip(code_cells(fresh), code_cells(stored), strict=True):
        target["outputs"] = old["outputs"]
    _finish(fresh)
    write(path, fresh)
    return True


def solve(source: Path, folder: Path) -> Path:
    """Write the solved notebook of a source into ``folder``, not executed; returns its path."""
    path = folder / f"{source.stem}.ipynb"
    write(path, notebooks.build(source, solved=True))
    return path


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def write(path: Path, notebook: dict) -> None:
    """Write a notebook that is valid; readers see the old one or the new one, never half of one."""
    import nbformat

    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    nbformat.validate(nbformat.reads(text, 4))
    write_atomically(path, text)


def _finish(notebook) -> None:
    """Number the cells, and put alt text also where MyST looks for it: at the cell."""
    for count, cell in enumerate(code_cells(notebook), 1):
        cell["execution_count"] = count
        alt = alt_of(cell)
        if alt:
            cell["metadata"]["mystnb"] = {"image": {"alt": alt}}


def alt_of(cell: dict) -> str:
    """The alt text of a cell's pictures; of several, one after the other, since a cell can carry only one."""
    texts = [output.get("metadata", {}).get("image/png", {}).get("alt", "") for output in cell["outputs"]]
    return " ".join(text for text in texts if text)


def _clean(output, count) -> dict:
    """An output without the model of a widget, its picture light."""
    data = output.get("data", {})
    data.pop("application/vnd.jupyter.widget-view+json", None)
    if "image/png" in data:
        data["image/png"] = base64.b64encode(_shrink(base64.b64decode(data["image/png"]))).decode()
    if "execution_count" in output:
        output["execution_count"] = count
    return output


def _shrink(png: bytes) -> bytes:
    """64 colours are enough for a stored figure, at a fifth of the bytes."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(
        64, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    ).save(out, "png", optimize=True)
    return min(out.getvalue(), png, key=len)
