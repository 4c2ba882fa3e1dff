"""Every lesson at full scale on this machine's GPU, then the tests that need one, then float16: ``make gpu``.

    python benchmarks/gpu_lessons.py [06 13] [--smoke] [--limit 150] [--keep FOLDER]

It installs and fetches nothing. BERT-base and ResNet-50 are stand-ins of their size with random weights;
pictures and words come from the cache or from $CMLIB_MIRROR, and a lesson that finds none says *no data*.
Up to six lessons run side by side, each in a process with its own time and its own peak of GPU memory.
Without a GPU, or with --smoke, all of it runs in two minutes on a CPU, small and with training cut short.

Ends with a Markdown table; on a GPU a run of all lessons is kept in data/runs/gpu_lessons.json.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "gpu"))
from jobs import Job, row, run
from play import ROOT, SOURCES, has_full_part

KEPT = ROOT / "data" / "runs" / "gpu_lessons.json"
NEEDED = ("torch", "torchvision", "transformers", "safetensors", "numpy", "PIL", "matplotlib", "tqdm")
AT_ONCE = 6
T4 = "13 in float16, as on a T4"
HEAD = ("lesson", "scale", "device", "seconds", "GPU peak, MiB", "result")


def machine() -> dict:
    """What the figures depend on."""
    import torch
    import transformers

    gpu = torch.cuda.is_available()
    return {"device": torch.cuda.get_device_name() if gpu else "CPU", "cores": os.cpu_count(),
            "python": platform.python_version(), "torch": torch.__version__,
            "transformers": transformers.__version__}


def surroundings(folder: Path, smoke: bool, at_once: int) -> dict[str, str]:
    """The environment of every process: a home of its own, its share of the cores, no network."""
    empty = folder / "nothing"
    empty.mkdir()
    threads = 1 if smoke else max(1, (os.cpu_count() or 1) // at_once)
    found = os.environ | {"CMLIB_HOME": str(folder / "home"), "CMLIB_SCALE": "full", "HF_HUB_OFFLINE": "1",
                          "MPLBACKEND": "Agg", "CMLIB_DPI": "40", "OMP_NUM_THREADS": str(threads),
                          "TOKENIZERS_PARALLELISM": "false"}
    found.setdefault("CMLIB_MIRROR", str(empty))
    return found | ({"CUDA_VISIBLE_DEVICES": ""} if smoke else {})


def tests(environment: dict) -> dict:
    """The tests that need a GPU, where pytest is."""
    if importlib.util.find_spec("pytest") is None:
        return {"state": "no pytest", "said": "pytest is not installed", "seconds": 0.0}
    files = ["tests/gpu/test_on_gpu.py"]
    if importlib.util.find_spec("hypothesis"):
        files += ["tests/test_augment.py", "tests/test_batching.py"]
    # neither the plug-ins nor the conftest of the other tests, whose packages need not be here
    command = [sys.executable, "-m", "pytest", "-q", "-k", "on_gpu or on_a_gpu", "-o", "addopts=",
               "-p", "no:cacheprovider", "--confcutdir=tests/gpu", *files]
    started = time.monotonic()
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    said = (ran.stdout.strip() or ran.stderr.strip()).splitlines()
    if ran.returncode:
        print(*said[-30:], sep="\n", flush=True)
    return {"state": "failed" if ran.returncode else "done", "said": said[-1].strip("= ") if said else "",
            "seconds": round(time.monotonic() - started, 1)}


def table(found: dict) -> str:
    """The whole run in Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += [row(name, facts) for name, facts in found["lessons"].items()]
    lines += [row("tests on a GPU", found["tests"]), row("float16", found["float16"])]
    where = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    what = "smoke form, no figure of it means anything" if found["smoke"] else "full scale, random weights"
    return "\n".join([*lines, "", f"{what}; {where}; {found['seconds']} s in all"])


def asked_for() -> argparse.Namespace:
    """The command line; ends with one sentence where it, or this Python, will not do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", help="their numbers; all without any")
    parser.add_argument("--smoke", action="store_true", help="on the CPU, small and short")
    parser.add_argument("--keep", type=Path, help="a folder for what every lesson printed")
    parser.add_argument("--limit", type=float, help="seconds for one lesson: 150, in the smoke form 600")
    asked = parser.parse_args()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"{sys.executable} lacks {', '.join(missing)}, and nothing is installed here: choose "
                 "another Python with make gpu GPU_PYTHON=/path/to/python3.")
    unknown = [number for number in asked.lessons if number not in SOURCES]
    if unknown:
        sys.exit(f"There is no lesson {unknown[0]!r}; there are {', '.join(SOURCES)}.")
    return asked


def main() -> None:
    asked = asked_for()
    started, here = time.monotonic(), machine()
    smoke, at_once = asked.smoke or here["device"] == "CPU", min(AT_ONCE, os.cpu_count() or 1)
    limit = asked.limit or (600.0 if smoke else 150.0)  # two cores may be shared with others, a GPU is not
    # the long ones first
    chosen = sorted(asked.lessons or SOURCES, key=lambda number: not has_full_part(SOURCES[number]))
    with tempfile.TemporaryDirectory(prefix="gpu-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        environment = surroundings(folder, smoke, at_once)
        flags = ["--smoke"] if smoke else []
        lessons = [Job(number, ["play.py", number], folder, environment, *flags) for number in chosen]
        if "13" in chosen and not smoke:
            lessons.insert(0, Job(T4, ["play.py", "13"], folder, environment, "--t4"))
        half = Job("float16", ["half.py"], folder, environment, *flags)
        found = {"machine": here, "smoke": smoke, "date": datetime.date.today().isoformat(),
                 "lessons": run(lessons, at_once, limit), "tests": tests(environment)}
        found |= run([half], 1, limit)
        if asked.keep:
            shutil.copytree(folder, asked.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("home"))
    found["seconds"] = round(time.monotonic() - started, 1)
    whole = not smoke and set(chosen) == set(SOURCES)
    kept = KEPT if whole else Path(tempfile.gettempdir()) / KEPT.name
    kept.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"\nwritten to {kept}\n\n{table(found)}")
    parts = [*found["lessons"].values(), found["tests"], found["float16"]]
    sys.exit(any(part["state"] in ("failed", "stopped") for part in parts))


if __name__ == "__main__":
    main()
