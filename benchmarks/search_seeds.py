"""What lesson 18 finds with five seeds: the log that it draws. Each seed has training rows, a gallery, towers
and users of its own.

    OMP_NUM_THREADS=1 python benchmarks/search_seeds.py [processes] > data/runs/search_seeds.json

Plays the lesson's own cells, some 45 CPU-seconds a seed, and keeps what they put into "found".
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "shared"))
from seeds import played, write


def measured(seed: int) -> dict[str, float]:
    return played("18", "SEED, ROWS = {}, 4000", seed)["found"]


if __name__ == "__main__":
    write(measured, *map(int, sys.argv[1:2]))
