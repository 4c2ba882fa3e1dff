"""Submissions a minute: ours (torch preloaded; a fresh torch for each), otter-grader and nbgrader, in turns,
on the same four exercises.

    python benchmarks/grading.py [--rounds 3] [--memory 1000] [--no-rivals]

The rivals live in an environment of their own, .venv-graders, which is made here; they use the course's
torch, and their tests call the course's own check, as an instructor's would. All submissions are right, so
that every tool must give full points.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "grading"), str(ROOT / "benchmarks" / "shared")]

from environment import install
from handwriting import answers, wording

from cmlib.check import exercises

LESSON, WORKERS = "02", 2
EXERCISES = exercises(LESSON)[:4]  # not the last: one of its right answers walks the whole descent
RIVALS = ROOT / ".venv-graders"
TARGETS = {"preloaded": 300, "fresh": 40}
SIZES = {"preloaded": 150, "fresh": 10, "otter": 3, "nbgrader": 6}  # submissions in one turn


def submission(number: int) -> list[str]:
    """The imports, then one answer per exercise, worded as only this learner does."""
    rng, bank = random.Random(number), answers(LESSON)
    return [
        bank.imports,
        *(wording(bank.code(rng.choice(bank.right[e.id]), e.name), rng) for e in EXERCISES),
    ]


def write_class(folder: Path, numbers) -> None:
    folder.mkdir(parents=True)
    for number in numbers:
        imports, *cells = submission(number)
        value = {
            "format": "cmlib-submission-1",
            "answers": {
                e.id: {"cells": [imports, f'{cell}\n\ncheck("{e.id}", {e.name})']}
                for e, cell in zip(EXERCISES, cells, strict=True)
            },
        }
        (folder / f"submission-{LESSON}-learner{number}.json").write_text(json.dumps(value), "utf-8")


class Tool:
    """A process that stays: it gets a list of submissions and says how long they took and what they earned.
    `cpu` counts its children.
    """

    def __init__(self, name: str, command: list[str], work: Path):
        self.name, self.command, self.work, self.rates, self.costs = name, command, work, [], []
        self.group = Path("/sys/fs/cgroup/cpuacct") / f"cmlib-bench-{os.getpid()}-{name}"

    def __enter__(self):
        with suppress(OSError):
            self.group.mkdir()
        join = ["sh", "-c", 'echo $$ > "$0/cgroup.procs"; exec "$@"', str(self.group)]
        join = join if self.group.is_dir() else []
        home = self.work / "home"
        home.mkdir(parents=True)
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "CMLIB_HOME": str(home),
            "PYTHONWARNINGS": "ignore",
            "PATH": f"{Path(self.command[0]).parent}:{os.environ['PATH']}",  # nbgrader calls alembic
        }
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen([*join, *self.command], text=True, env=environment, **pipes)
        self.said: list[str] = []
        threading.Thread(
            target=lambda: self.said.extend(itertools.islice(self.process.stderr, 10**6)), daemon=True
        ).start()
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        with suppress(OSError):
            self.group.rmdir()

    def ask(self, value) -> str:
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(f"{self.name} ended: {''.join(self.said)[-2000:]}")
        return line

    def cpu(self) -> float | None:
        """Seconds so far, of all its processes; known only where control groups of version 1 can be made."""
        file = self.group / "cpuacct.usage"
        return int(file.read_text()) / 1e9 if file.is_file() else None

    def turn(self, numbers, count: bool = True) -> None:
        before = self.cpu()
        ours = self.name in TARGETS
        answer = json.loads(self.ask(list(numbers) if ours else [submission(n) for n in numbers]))
        full = sum(e.points for e in EXERCISES)
        assert answer["points"] == [full] * len(numbers), f"{self.name} gave {answer['points']}"
        if count:
            self.rates.append(60 * len(numbers) / answer["seconds"])
            self.costs += [] if before is None else [(self.cpu() - before) / len(numbers)]


def serve(kind: str) -> None:
    """Ours, as such a process."""
    from cmlib.grade import batch, walls

    work = Path(json.loads(sys.stdin.readline())["work"])
    print("ready", flush=True)
    for turn, line in enumerate(sys.stdin):
        numbers = json.loads(line)
        write_class(work / f"in{turn}", numbers)
        order = batch.Order(
            work / f"in{turn}", work / f"out{turn}", (LESSON,), b"a benchmark's secret", workers=WORKERS
        )
        start = time.monotonic()  # starting the boxes, which is done once in a batch, is counted
        batch.grade_all(order, walls.Wall("bubblewrap", nested=kind == "preloaded"))
        seconds = time.monotonic() - start
        points = [
            json.loads((order.out / "grades" / f"learner{n}.json").read_text())["points"] for n in numbers
        ]
        print(json.dumps({"seconds": seconds, "points": points}), flush=True)


def race(rounds: int, rivals: bool) -> None:
    here = Path(__file__).resolve()
    commands = {kind: [sys.executable, str(here), "--serve", kind] for kind in TARGETS}
    if rivals and (problem := install(RIVALS, "otter-grader", "nbgrader", "ipykernel")):
        print(f"The rivals cannot be installed here: {problem}")
    elif rivals:
        commands |= {
            name: [str(RIVALS / "bin" / "python"), str(here.parent / "graders" / f"{name}_driver.py")]
            for name in ("otter", "nbgrader")
        }
    about = [{"id": e.id, "name": e.name, "points": e.points} for e in EXERCISES]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        tools = [
            stack.enter_context(Tool(name, command, Path(folder) / name))
            for name, command in commands.items()
        ]
        for tool in tools:
            tool.ask({"work": str(tool.work), "exercises": about, "solution": submission(0)})
            tool.turn([0, 1], count=False)
        fresh = itertools.count(2)
        for _ in range(rounds):
            for tool in tools:
                tool.turn(list(itertools.islice(fresh, SIZES[tool.name])))
        print(f"{rounds} turns each, on {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f} at "
              f"the end; {LESSON}.1 to {LESSON}.4, all right")
        print(f"{'':24}{'submissions/min':>28}{'CPU s/submission':>20}")
        names = {
            "preloaded": f"cmlib grade ({WORKERS} workers)",
            "fresh": "… fresh torch for each",
            "otter": "otter-grader",
            "nbgrader": "nbgrader autograde",
        }
        for tool in tools:
            spread = f"{statistics.median(tool.rates):.1f} ({min(tool.rates):.1f} to {max(tool.rates):.1f})"
            cost = f"{statistics.median(tool.costs):.2f}" if tool.costs else "unknown"
            print(
                f"{names[tool.name]:24}{spread:>28}{cost:>20}"
                + (f"   wanted: {TARGETS[tool.name]}" if tool.name in TARGETS else "")
            )


def overhead() -> None:
    """Milliseconds that the box costs by itself."""
    from cmlib.grade import box as boxes
    from cmlib.grade import walls

    def median(call, times=30):
        taken = []
        for _ in range(times):
            start = time.perf_counter()
            call()
            taken.append(1000 * (time.perf_counter() - start))
        return statistics.median(taken)

    bare = ["bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    bare += ["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "/usr/bin/true"]
    with staged() as files, boxes.Box(walls.Wall("bubblewrap", nested=True), files) as box:
        def answer():
            session = box.answer()
            session.ask({"do": "read", "name": "f", "id": "00.0"}, ["def f(x):\n    return x"])
            session.ask({"do": "run"})
            session.ask({"do": "call"}, ((1.0,), {}))
            session.close()
        box.start()
        answer()
        print(
            f"bwrap /usr/bin/true: {median(lambda: subprocess.run(bare, check=True)):.0f} ms; "
            f"an answer that does nothing, in a box of its own: {median(answer):.0f} ms (wanted: under 100)"
        )


@contextmanager
def staged():
    from cmlib.grade import box as boxes

    files = boxes.stage()
    try:
        yield files
    finally:
        shutil.rmtree(files, ignore_errors=True)


def memory(count: int) -> None:
    """Peak of the judge, the process in which no learner's code runs, while the command line grades ``count``
    submissions.
    """
    def peak(command):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        most = {"VmHWM": 0, "RssAnon": 0}
        while process.poll() is None:
            with suppress(OSError):
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    name, _, rest = line.partition(":")
                    if name in most:
                        most[name] = max(most[name], int(rest.split()[0]) / 1024)
            time.sleep(0.05)
        assert process.returncode == 0, command
        return most
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_class(work / "in", range(count))
        (work / "secret").write_text("a benchmark's secret")
        start = time.monotonic()
        options = ["--lessons", LESSON, "--seed-file", work / "secret", "--out", work / "out"]
        ours = peak([sys.executable, "-m", "cmlib.cli", "grade", work / "in", *options])
        seconds = time.monotonic() - start
        assert len(list((work / "out" / "grades").glob("*.json"))) == count
    torch = peak([sys.executable, "-c", "import torch, time; time.sleep(.2)"])
    print(f"the judge, over {count} submissions ({60 * count / seconds:.0f}/min with start and reports): "
          f"peak {ours['VmHWM']:.0f} MiB resident, {ours['RssAnon']:.0f} MiB of it its own (wanted: under "
          f"400); import torch alone {torch['VmHWM']:.0f} and {torch['RssAnon']:.0f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=1000, help="submissions for the memory test; 0 leaves "
                                                                 "it out")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--serve", choices=TARGETS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    elif shutil.which("bwrap") is None:
        print("This measures the best wall, which needs bubblewrap: apt install bubblewrap.")
    else:
        overhead()
        race(options.rounds, not options.no_rivals)
        if options.memory:
            memory(options.memory)
