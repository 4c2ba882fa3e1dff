"""A tool of the benchmark is a process that stays: it is told a turn and answers with what it measured."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

DRIVERS = Path(__file__).resolve().parent
ROOT = DRIVERS.parents[1]
sys.path.insert(0, str(DRIVERS.parent / "shared"))
from environment import install

RIVALS = ROOT / ".venv-throughput"  # what the course does not need itself, on top of the course's torch
NAMES = {"cmlib": "cmlib fit", "bare": "bare loop", "trainer": "HF Trainer", "lightning": "Lightning"}
NEEDS = {"trainer": ("accelerate",), "lightning": ("lightning", "pytorch_lightning")}  # one of them
PATIENCE = 300  # seconds until a tool that says nothing is given up


class NotThere(Exception):
    """A tool that cannot be raced here, and why in a clause."""


class Tool:
    """Inside ``with`` the process is there; ``ready()`` waits until it has built its model.

    startup : seconds from the start of the process to the end of its first step; None unless it started alone
    """

    def __init__(self, rival: str, tuned: bool, task: dict, python: str | Path, name: str = ""):
        kind = "" if rival == "cmlib" else ", tuned" if tuned else ", defaults"
        self.rival, self.tuned, self.name = rival, tuned, name or NAMES[rival] + kind
        self.command, self.task = [str(python), str(DRIVERS / f"{rival}_driver.py")], task | {"tuned": tuned}
        self.startup = self.loaded = None

    def __enter__(self):
        self.born = time.time()
        quiet = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(
            self.command, text=True, cwd=self.task["folder"], env=os.environ | quiet, **pipes
        )
        self.answers, self.said = queue.Queue(), []
        self.readers = [
            threading.Thread(target=self._listen, daemon=True),
            threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True),
        ]
        for reader in self.readers:
            reader.start()
        self._tell(self.task)
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self, patience: float = 10) -> None:
        """End the process, at the latest after so many seconds."""
        self.process.stdin.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for reader in self.readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            pipe.close()

    def ready(self, alone: bool) -> None:
        """NotThere if the tool cannot be imported, or cannot build the model. alone : no other one starts."""
        until = self._hear(PATIENCE)["ready"]
        self.loaded = until - self.born if alone else None

    def ask(self, tier: int, mode: str, cache: str = "") -> None:
        self._tell({"tier": tier, "mode": mode, "cache": cache})

    def answer(self, patience: float = PATIENCE) -> dict:
        found = self._hear(patience)
        if self.startup is None and self.loaded is not None:
            self.startup = self.loaded + found["times"][1]
        return found

    def turn(self, tier: int, mode: str, cache: str = "") -> dict:
        self.ask(tier, mode, cache)
        return self.answer()

    def _tell(self, value):
        try:
            self.process.stdin.write(json.dumps(value) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: ``answer`` says why

    def _hear(self, patience):
        try:
            line = self.answers.get(timeout=patience)
        except queue.Empty:
            raise NotThere(f"no answer within {patience:.0f} s") from None
        if not line:
            self.readers[1].join(10)
            last = [text.strip() for text in self.said if text.strip()]
            raise NotThere(last[-1] if last else "it ended without a word")
        return json.loads(line)

    def _listen(self):
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")


def pythons(rivals, may_install: bool) -> tuple[dict[str, Path], dict[str, str]]:
    """({tool: the Python that can import it}, {rival that is not there: why})."""
    found, missing = {"cmlib": Path(sys.executable), "bare": Path(sys.executable)}, {}
    for rival in rivals:
        if rival in found:
            continue
        if any(find_spec(name) for name in NEEDS[rival]):
            found[rival] = Path(sys.executable)
            continue
        problem = "it is not installed here"
        if may_install or (RIVALS / ".ready").exists():
            problem = install(RIVALS, "--no-deps", "accelerate", "lightning")  # torch is the course's
        if problem:
            missing[NAMES[rival]] = f"{NEEDS[rival][0]}: {problem}"
        else:
            found[rival] = RIVALS / "bin" / "python"
    return found, missing
