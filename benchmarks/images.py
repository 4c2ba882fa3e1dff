"""Images per CPU-second of one thread, words included: python benchmarks/images.py [rows]"""

import sys
import time

from cmlib.worlds import Chest, RefundDesk, Toys


def measure(world, rows: int) -> tuple[float, float]:
    """(rows per CPU-second once every sprite is built, CPU-seconds of the first call, which builds them)."""
    begun = time.process_time()
    world.sample(rows, "warm-up")
    built = time.process_time()
    best = min(_seconds(world, rows, start) for start in (0, rows, 2 * rows))
    return rows / best, built - begun - best


def _seconds(world, rows, start):
    begun = time.process_time()
    world.sample(rows, "benchmark", start)
    return time.process_time() - begun


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    for world in (RefundDesk(), Chest(), Toys()):
        speed, build = measure(world, n)
        print(f"{type(world).__name__:10s} {speed:8,.0f} images per CPU-second   {build:5.2f} s to build its "
              "sprites, once")
