"""Seconds and memory of every built lesson, kernel start and imports included: python benchmarks/lessons.py
[02 06 …]
"""

import os
import sys
import tempfile
import time

import nbformat
from nbclient import NotebookClient

from cmlib.authoring import notebooks as author
from cmlib.authoring.running import PEAK


def run(path) -> tuple[float, int]:
    """(seconds, peak memory in MiB) of one notebook from an empty home."""
    notebook = nbformat.read(path, 4)
    notebook.cells.append(nbformat.v4.new_code_cell(PEAK))
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "CMLIB_HOME": home,
            "CMLIB_DPI": "110",
            "CMLIB_SCALE": "small",
        }
        client = NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
        )
        start = time.monotonic()
        client.execute(env=environment)
        return time.monotonic() - start, int(notebook.cells[-1].outputs[0].text)


if __name__ == "__main__":
    for path in sorted(author.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        if not sys.argv[1:] or path.stem[:2] in sys.argv[1:]:
            seconds, memory = run(path)
            print(f"{path.stem:24} {seconds:6.1f} s {memory:6d} MiB")
