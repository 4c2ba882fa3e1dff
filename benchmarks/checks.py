"""Milliseconds of every check, asked with the reference itself (all cases and gradients run)."""

import statistics
import time

from cmlib import check

if __name__ == "__main__":
    medians = []
    for lesson in check.lessons():
        for exercise in check.exercises(lesson):
            times = []
            for seed in range(5):
                start = time.perf_counter()
                verdict = check.run(exercise.id, exercise.reference, seed)
                times.append(1000 * (time.perf_counter() - start))
                assert verdict.state == "passed", verdict
            medians.append(statistics.median(times))
            print(f"{exercise.id} {exercise.title:40} {medians[-1]:8.1f} ms")
    print(f"median {statistics.median(medians):.1f} ms, slowest {max(medians):.0f} ms")
