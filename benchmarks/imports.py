"""What ``import cmlib`` costs on top of Python itself; the two are timed in turns, so that a busy machine
slows both.
"""

import statistics
import subprocess
import sys
import time


def milliseconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    rounds = [(milliseconds("pass"), milliseconds("import cmlib")) for _ in range(15)]
    bare, light = (statistics.median(column) for column in zip(*rounds, strict=True))
    extra = statistics.median(b - a for a, b in rounds)
    print(f"python {bare:.0f} ms, with import cmlib {light:.0f} ms: import cmlib costs {extra:.0f} ms "
          "(wanted: under 200)")
    if extra >= 200:
        sys.exit("import cmlib is too slow")
