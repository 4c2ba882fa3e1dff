"""Processes side by side, each with a time that it may take and a report of how far it came."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Job:
    """One process that writes a report (``play.Report``); stopped when its time is over.

    name : of the report and of the file with what the process prints, in ``folder``
    command : a script of this folder and an argument or none; the path of the report comes after them, then
        ``flags``
    """

    def __init__(self, name: str, command: list[str], folder: Path, environment: dict, *flags: str):
        script, *arguments = command
        self.name, self.report, self.said = name, folder / f"{name}.json", folder / f"{name}.txt"
        self.command = [sys.executable, str(HERE / script), *arguments, str(self.report), *flags]
        self.environment, self.process, self.started = environment, None, 0.0

    def start(self) -> Job:
        with self.said.open("w") as out:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=out, stderr=out)
        self.started = time.monotonic()
        return self

    def over(self, limit: float) -> bool:
        """Whether it has ended, or is ended now because its time is over."""
        if self.process.poll() is None and time.monotonic() - self.started < limit:
            return False
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        return True

    def facts(self) -> dict:
        """Its report, with the seconds of the whole process."""
        known = json.loads(self.report.read_text("utf-8")) if self.report.exists() else {"state": "running"}
        known["seconds"] = round(time.monotonic() - self.started, 1)
        if known["state"] == "running":
            stopped = self.process.returncode == -9
            line = known.get("line")
            after = f" after the cell at line {line}" if line else " before its first cell had ended"
            known["state"] = "stopped" if stopped else "failed"
            known["said"] = f"{'out of time' if stopped else 'the process ended'}{after}"
        return known


def run(jobs: list[Job], at_once: int, limit: float) -> dict[str, dict]:
    """{name: facts} of all jobs, ``at_once`` of them side by side, each for at most ``limit`` seconds."""
    waiting, running, found = list(jobs), [], {}
    while waiting or running:
        while waiting and len(running) < at_once:
            running.append(waiting.pop(0).start())
        for job in [job for job in running if job.over(limit)]:
            running.remove(job)
            found[job.name] = job.facts()
            print(row(job.name, found[job.name]), flush=True)
            if found[job.name]["state"] in ("failed", "stopped"):
                print(*job.said.read_text("utf-8").splitlines()[-8:], sep="\n", flush=True)
        time.sleep(0.1)
    return {name: found[name] for name in sorted(found)}


def row(name: str, facts: dict) -> str:
    """A line of the table."""
    result = "whole" if facts["state"] == "done" else facts["state"]
    result += f": {facts['said']}" if facts.get("said") else ""
    result = " ".join(result.split()).replace("|", "/")
    figures = [facts.get("scale", ""), facts.get("device", ""), facts["seconds"], facts.get("peak_mib", "")]
    return "| " + " | ".join([name, *map(str, figures), result]) + " |"
