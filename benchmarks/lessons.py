"""Seconds and memory of every built lesson, kernel start and imports included: python benchmarks/lessons.py
[02 06 …]
"""

import sys

import nbformat

from cmlib.authoring import notebooks
from cmlib.authoring.running import execute

if __name__ == "__main__":
    for path in sorted(notebooks.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        if not sys.argv[1:] or path.stem[:2] in sys.argv[1:]:
            took = execute(nbformat.read(path, 4))
            print(f"{path.stem:24} {took['seconds']:4d} s {took['memory_mb']:6d} MiB")
