"""The lessons as another processor would run them: ``make portable``, ``tests/portable.py 05 13 --sets sse``.

A newcomer's processor is never the author's: it multiplies with other instructions, rounds other last bits,
and a run of training amplifies them. So the built notebooks run here under two other instruction sets and are
compared with their stored outputs by the rule of notebooks/conftest.py. (Natively they run in ``make test``.)
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETS = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "sse": {
        "ATEN_CPU_CAPABILITY": "default",  # ATen's name for what every x86-64 has
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
}


def built(lessons: list[str]) -> list[Path]:
    """The notebooks that these numbers or paths name; without any, those of all built lessons."""
    known = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    paths = [Path(name) if name.endswith(".ipynb") else known.get(name) for name in lessons or known]
    for name, path in zip(lessons, paths, strict=False):
        if path is None or not path.is_file():
            sys.exit(f"{name} is not a built lesson; notebooks/ has {' '.join(known)}.")
    return paths


def instructions(settings: dict[str, str]) -> str:
    """The instruction set that torch uses under these settings."""
    command = [sys.executable, "-c", "import torch; print(torch.backends.cpu.get_cpu_capability())"]
    environment = os.environ | settings
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def run(notebook: Path, settings: dict[str, str]) -> tuple[int, list[str], str]:
    """Run a notebook with nbval. Returns (number of cells, names of those that failed, what pytest said)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--nbval", str(notebook.resolve()), "--color=no",
                   f"--junitxml={report}", "-p", "no:cacheprovider"]
        ran = subprocess.run(
            command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=False
        )
        cases = list(ET.parse(report).iter("testcase")) if report.exists() else []
    failed = [case.get("name") for case in cases if len(case)]
    if ran.returncode and not failed:
        failed = ["nbval did not start"]
    return len(cases), failed, ran.stdout + ran.stderr


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", help="such as 05 13; without one, every built lesson")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--workers", type=int, default=1, help="notebooks side by side (default 1)")
    parser.add_argument("--verbose", action="store_true", help="show all that differs, not just the first")
    options = parser.parse_args(argv)
    notebooks = built(options.lessons)
    if platform.machine().lower() not in ("x86_64", "amd64"):
        print(f"nothing to run: {platform.machine()} has neither AVX2 nor SSE")
        return 0
    wrong = []
    for name in options.sets:
        settings = SETS[name]
        used = instructions(settings)
        if used.lower() != settings["ATEN_CPU_CAPABILITY"]:
            sys.exit(f"This processor cannot run the set {name}: torch uses {used} under {settings}.")

        def one(notebook, name=name, settings=settings):
            start = time.monotonic()
            cells, failed, said = run(notebook, settings)
            print(f"{name:4s}  {notebook.stem:18s} {cells:3d} cells, {len(failed)} failed, "
                  f"{time.monotonic() - start:3.0f} s  {', '.join(failed)}".rstrip(), flush=True)
            if failed:
                first = max(0, said.find("= FAILURES ="))  # not there where nbval itself fails
                print(said if options.verbose else said[first : first + 2000], flush=True)
            wrong.extend(f"{notebook.stem} under {name}, {cell}" for cell in failed)

        with ThreadPoolExecutor(options.workers) as pool:
            list(pool.map(one, notebooks))
    print(f"{len(wrong)} failed: {'; '.join(wrong)}" if wrong else "every cell passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
