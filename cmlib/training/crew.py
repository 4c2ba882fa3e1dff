"""A crew: a few Python processes on this machine that compute together, started and ended from a notebook.

    with Crew(2) as crew:
        crew.run(step, 3)    # each process calls step(team, 3); returns [result of process 0, of 1]

Training of your own needs no crew: write a script, and let torchrun, Slurm or Kubernetes start it (deploy/).
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import os
import queue
import runpy
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADER = """# Written by Crew.run; each process of the crew runs it.
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
"""
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Crew(contextlib.AbstractContextManager):
    """``size`` processes that have met (gloo, on this machine only, no network, the system chooses ports).

    They start now, import torch once, and then wait for work. They end with ``close``, with the ``with``
    block, when the crew is forgotten, when a run fails, and when this process ends in whatever way: each
    reads a pipe from it that the system closes then; on Linux the kernel is asked to kill them, too.

    timeout : seconds that a process waits for the others in one collective call before it gives up
    log : where they print, a file; default: one each in ``folder``
    ValueError for a size below 1.
    """

    def __init__(self, size: int = 2, timeout: float = 120.0, log=None):
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"A crew has one process or more; got size={size!r}.")
        self.size, self.number = size, 0
        self.folder = Path(tempfile.mkdtemp(prefix="crew-"))
        # the kernel's death signal comes when the *thread* ends that started the process
        with_thread = threading.current_thread() is threading.main_thread()
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.processes, self.logs = [], [self.folder / f"log.{rank}" for rank in range(size)]
        for rank in range(size):
            words = [str(self.folder), str(rank), str(size), str(timeout), str(int(with_thread))]
            with open(self.logs[rank], "wb") as own:
                self.processes.append(subprocess.Popen(
                    [sys.executable, "-m", "cmlib.training.crew", *words], stdin=subprocess.PIPE,
                    stdout=log or own, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": path}))
        self._finish = weakref.finalize(self, _end, self.processes, self.folder)

    def run(self, function: Callable, *args, helpers: Sequence[Callable] = (), limit: float = 300.0) -> list:
        """What ``function(team, *args)`` returns in each process, in the order of their ranks.

        The sources of ``helpers`` and of ``function`` are written into a script, which each process runs:
        they may use one another, their arguments, what they import themselves, and torch, dist, nn and F.
        team : a ``Team``; args and results : whatever torch.save takes, on the CPU

        RuntimeError, in one sentence, where a process dies or raises, TimeoutError where one hangs: after
        ``limit`` seconds, or when another one has waited for it. The whole crew has ended then. OSError
        where Python does not know the source of a function.
        """
        import torch

        if not self._finish.alive:
            raise RuntimeError(f"This crew has ended: start another one with Crew({self.size}).")
        self.number += 1
        name = function.__name__
        script = self.folder / f"{self.number}_{name}.py"
        sources = [textwrap.dedent(inspect.getsource(one)) for one in (*helpers, function)]
        script.write_text("\n\n".join([HEADER, *sources]), "utf-8")
        torch.save(args, self.folder / f"{self.number}.args")
        self.before = [log.stat().st_size for log in self.logs]
        try:
            until = time.monotonic() + limit
            self._wait(0, "the start", until)
            for process in self.processes:
                with contextlib.suppress(OSError):  # one that has died meanwhile is told of below
                    process.stdin.write(f"{self.number} {name}\n".encode())
                    process.stdin.flush()
            return self._wait(self.number, f"`{name}`", until)
        except BaseException:  # an interrupt, too
            self.close()
            raise

    def close(self) -> None:
        """End all processes; twice is once."""
        self._finish()

    def __exit__(self, *error):
        self.close()

    def _wait(self, number: int, what: str, until: float) -> list:
        import torch

        files, found = [self.folder / f"{number}.{rank}" for rank in range(self.size)], {}
        while True:
            for rank, file in enumerate(files):
                if rank not in found and file.exists():
                    found[rank] = torch.load(file, weights_only=False)
                    if found[rank].get("waited"):  # what is missing now hangs, or has waited as well
                        until = min(until, time.monotonic() + 2)
            missing = [rank for rank in range(self.size) if rank not in found]
            for rank in missing:  # first, since the others may fail only because this one has gone
                if self.processes[rank].poll() is not None:
                    raise RuntimeError(f"Process {rank} of {self.size} died in {what}{self._said(rank)}; the "
                                       "whole crew was ended.")
            for rank, one in found.items():
                if "error" in one and not (missing and one.get("waited")):
                    raise RuntimeError(f"Process {rank} of {self.size} failed in {what}: {one['error']} The "
                                       "whole crew was ended.")
            if not missing:
                return [found[rank]["result"] for rank in range(self.size)]
            if time.monotonic() > until:
                late = " and ".join(map(str, missing))
                raise TimeoutError(f"The time is over, and {what} has not finished in process {late}; the "
                                   "whole crew was ended.")
            time.sleep(0.01)

    def _said(self, rank: int) -> str:
        code = self.processes[rank].returncode
        how = f" of {signal.Signals(-code).name}" if code < 0 else f" with exit status {code}"
        words = self.logs[rank].read_bytes()[self.before[rank] :].decode("utf-8", errors="replace")
        last = next((line.strip() for line in reversed(words.split("\n")) if line.strip()), "")
        return how + (f", and its last line was {last[:200]!r}" if last else "")


def _end(processes, folder) -> None:
    import shutil

    for process in processes:
        process.kill()
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


# --- in each process


def _orders(with_thread: bool) -> queue.Queue:
    """Lines that the parent writes. When it has gone, so are they, and this process ends."""
    if with_thread and sys.platform == "linux":  # also where one call never lets the thread below run
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    lines: queue.Queue = queue.Queue()

    def listen():
        for line in sys.stdin:
            lines.put(line.split())
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    return lines


def _member(folder: Path, rank: int, size: int, timeout: float, lines: queue.Queue) -> None:
    import datetime

    import torch
    from torch import distributed as dist

    def tell(number, found):
        torch.save(found, folder / f"new.{rank}")
        os.replace(folder / f"new.{rank}", folder / f"{number}.{rank}")

    if sys.platform != "win32":  # gloo would look up the machine's name, which needs a network
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    torch.set_num_threads(1)
    from cmlib.training.distributed import Team, waiting

    try:
        dist.init_process_group("gloo", init_method=(folder / "meeting").as_uri(), rank=rank, world_size=size,
                                timeout=datetime.timedelta(seconds=timeout))
        found = {"result": None}
    except RuntimeError as error:  # one that hangs has not come
        found = {"error": _sentence(error), "waited": "timeout" in str(error).lower()}
    tell(0, found)
    while True:
        number, name = lines.get()
        args = torch.load(folder / f"{number}.args", weights_only=False)
        try:
            space = runpy.run_path(str(folder / f"{number}_{name}.py"))
            with waiting():
                found = {"result": space[name](Team(rank, size), *args)}
        except Exception as error:
            traceback.print_exc()
            found = {"error": _sentence(error), "waited": isinstance(error, TimeoutError)}
        tell(number, found)


def _sentence(error: Exception) -> str:
    said = " ".join(str(error).split())[:300].rstrip(".")
    if isinstance(error, NameError):
        said += (" in its script, which knows nothing of the notebook: make it an argument, a helper, or "
                 "import it inside the function")
    return f"{type(error).__name__}: {said}."


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the notebook, which then ends the crew
    _folder, _rank, _size, _timeout, _with_thread = sys.argv[1:]
    _member(Path(_folder), int(_rank), int(_size), float(_timeout), _orders(_with_thread == "1"))
