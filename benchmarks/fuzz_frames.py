"""A million hostile values at the judge: how many pass, how many crash it? Both must be 0.

    python benchmarks/fuzz_frames.py [VALUES]      one process, default 1000000
"""

import sys
import time
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "grading"))
import fuzz

from cmlib import check

PATIENCE = 2.0  # an exercise whose checks have taken so many times their share of the time waits its turn

if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    exercises = [e for lesson in check.lessons() for e in check.exercises(lesson)] + fuzz.VALUES
    sent, told, seed, passes, crashes = 0, 0, 0, [], []
    start, taken = time.process_time(), [0.0] * len(exercises)
    while sent < wanted:
        for i, exercise in enumerate(exercises):
            if taken[i] > PATIENCE * sum(taken) / len(taken):
                continue
            before = time.process_time()
            asked, passed, crashed = fuzz.attack(exercise, 1_000_000 + seed)
            taken[i] += time.process_time() - before
            sent, passes, crashes = sent + asked, passes + passed, crashes + crashed
        seed += 1
        if sent - told >= wanted / 10:
            told = sent
            print(f"{sent}: {len(passes)} passes, {len(crashes)} crashes", flush=True)
    for line in (passes + crashes)[:20]:
        print(line)
    print(f"{sent} hostile values at {len(exercises)} exercises, {time.process_time() - start:.0f} CPU s: "
          f"{len(passes)} passes, {len(crashes)} crashes")
    sys.exit(bool(passes or crashes))
