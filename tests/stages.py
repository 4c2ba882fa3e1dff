"""Targets of make one after the other, each with its minutes (.ci/run and make proof).

A stage that fails does not stop the next: one run says all that is wrong. The end says again how each failed
stage ended, since the middle of a long log is what gets lost, and the last line is the verdict.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(command: list[str], last: int = 12) -> tuple[bool, list[str]]:
    """Whether the command succeeded, and its last lines; all that it says is passed on as it comes.

    Through a file and not a pipe: a pipe ends only when the last child that a command has left ends, too.
    """
    with tempfile.NamedTemporaryFile() as log, open(log.name, encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        running = True
        while running:
            time.sleep(0.2)
            running = process.poll() is None
            print(said.read(), end="", flush=True)
        said.seek(0)
        return process.returncode == 0, said.read().splitlines()[-last:]


def main(name: str, *targets: str) -> int:
    minutes, failed = {}, {}
    for target in targets:
        print(f"== {target}", flush=True)
        start = time.monotonic()
        command = ["make", "--no-print-directory", target]
        passed, last = run(command)
        if not passed:
            failed[target] = last
        minutes[target] = (time.monotonic() - start) / 60
        said = "passed" if passed else "failed"
        print(f"== {target}: {said} in {minutes[target]:.1f} min", flush=True)
    for target, last in failed.items():
        print(f"-- how {target} ended:", *last, sep="\n")
    print("minutes: " + ", ".join(f"{target} {took:.1f}" for target, took in minutes.items()))
    verdict = f"failed ({', '.join(failed)})" if failed else "passed"
    print(f"{name}: {verdict} in {sum(minutes.values()):.0f} min")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
