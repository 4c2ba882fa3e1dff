"""Targets of make one after the other, each with its minutes (.ci/run and make proof).

A stage that fails does not stop the next: one run says all that is wrong. The last line is the verdict.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(name: str, *targets: str) -> int:
    minutes, failed = {}, []
    for target in targets:
        print(f"== {target}", flush=True)
        start = time.monotonic()
        command = ["make", "--no-print-directory", target]
        passed = subprocess.run(command, cwd=ROOT, check=False).returncode == 0
        failed += [] if passed else [target]
        minutes[target] = (time.monotonic() - start) / 60
        said = "passed" if passed else "failed"
        print(f"== {target}: {said} in {minutes[target]:.1f} min", flush=True)
    print("minutes: " + ", ".join(f"{target} {took:.1f}" for target, took in minutes.items()))
    verdict = f"failed ({', '.join(failed)})" if failed else "passed"
    print(f"{name}: {verdict} in {sum(minutes.values()):.0f} min")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
