"""Build lessons: one py:percent source → the learner's notebook and the solved one.

Cells of a source begin with ``# %%``. Besides ``# %%`` (code) and ``# %% [markdown]`` there are

    # %% [setup]              the generated first cell (finds or fetches the course), then what stands here
    # %% [exercise] 02.1      the card from cmlib.check, then the task that stands here
    # %% [stub]               what the learner gets; ``check(id, name)`` is appended
    # %% [solution]           what the solved notebook has in its place
    # %% [hints]              three hints between lines ``---``: idea, formula with shapes, code with one
    blank # %% [quiz]               ``? question`` lines; ``- wrong :: why``; ``+ right :: why``
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
MARKER = re.compile(r"^# %%(?: \[(\w+)\])?(?: (.*))?$")
PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"  # MiB on Linux
HINTS = ("the idea", "the formula", "the code, with one blank")


def sources() -> list[Path]:
    return sorted((NOTEBOOKS / "src").glob("[0-9][0-9]_*.py"))


def parse(source: Path) -> list[tuple[str, str, str]]:
    """[(kind, argument, text)] of a source; text of markdown kinds is uncommented."""
    cells = []
    for number, line in enumerate(source.read_text("utf-8").splitlines(), 1):
        if match := MARKER.match(line):
            kind = match[1] or "code"
            if kind not in ("code", "markdown", "setup", "exercise", "stub", "solution", "hints", "quiz"):
                raise ValueError(f"{source.name}, line {number}: unknown cell kind [{kind}]")
            cells.append((kind, (match[2] or "").strip(), []))
        elif cells:
            cells[-1][2].append(line)
    return [(kind, arg, _text(kind, lines)) for kind, arg, lines in cells]


def _text(kind, lines):
    if kind in ("markdown", "exercise", "hints", "quiz"):
        lines = [re.sub(r"^# ?", "", line) for line in lines]
    return "\n".join(lines).strip("\n")


def build(source: Path, solved: bool = False) -> dict:
    """The notebook (nbformat 4.5, no outputs) of a source."""
    from cmlib.check import find

    lesson, cells, name, exercise = source.name[:2], [], source.stem, None
    for kind, arg, text in parse(source):
        if kind in ("stub", "solution", "hints") and exercise is None:
            raise ValueError(f"{source.name}: a [{kind}] cell stands before the first [exercise].")
        if kind == "exercise":
            exercise = find(arg)
            text = _card(exercise) + text
        elif kind in ("stub", "solution"):
            if (kind == "solution") != solved:
                continue
            text += f'\n\ncheck("{exercise.id}", {exercise.name})'
        elif kind == "setup":
            text = _bootstrap() + "\n" + text
        elif kind == "hints":
            text = _hints(source, exercise, text)
        elif kind == "quiz":
            text = _quiz(source, text)
        text = text.replace("{{measured}}", _measured(name))
        cells.append(_cell(kind, text, len(cells), lesson))
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(kind, text, index, lesson):
    code = kind in ("code", "setup", "stub", "solution")
    cell = {"cell_type": "code" if code else "markdown", "id": f"l{lesson}-{index:02d}", "metadata": {},
            "source": text.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if code else {})


def _card(e) -> str:
    dots = "●" * e.difficulty + "○" * (5 - e.difficulty)
    return (f"### Exercise {e.id} · {e.title}\n\n*{e.minutes} minutes · {e.points} "
            f"{'point' if e.points == 1 else 'points'} · difficulty {dots}*\n\n")


def _hints(source, exercise, text) -> str:
    parts = [part.strip() for part in re.split(r"^---$", text, flags=re.MULTILINE)]
    if len(parts) != 3:
        raise ValueError(f"{source.name}: exercise {exercise.id} needs three hints between '---' lines, has "
                         f"{len(parts)}")
    return "\n\n".join(f"<details><summary>Hint {i}: {what}</summary>\n\n{part}\n\n</details>"
                       for i, (what, part) in enumerate(zip(HINTS, parts, strict=True), 1))


def _quiz(source, text) -> str:
    lines = []
    for number, block in enumerate(re.split(r"^\? ", text, flags=re.MULTILINE)[1:], 1):
        question, *options = re.split(r"^(?=[-+] )", block.strip(), flags=re.MULTILINE)
        lines.append(f"**{number}. {' '.join(question.split())}**")
        for option in options:
            answer, marker, why = option[2:].partition("::")
            if not (marker and why.strip()):
                raise ValueError(f"{source.name}: the quiz option {option.strip()!r} has no explanation "
                                 "after '::'.")
            verdict = "Right." if option[0] == "+" else "No."
            lines.append(f"<details><summary>{' '.join(answer.split())}</summary>\n\n{verdict} "
                         f"{' '.join(why.split())}\n\n</details>")
    return "\n\n".join(lines)


def _bootstrap() -> str:
    address = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["repository"]
    return f'''\
import os, subprocess, sys
from pathlib import Path
ROOT = next((p for p in (Path.cwd(), *Path.cwd().parents) if (p / "cmlib").is_dir()), None)
if ROOT is None:  # on Colab: fetch the course once; torch, numpy and transformers stay as they are
    ROOT = Path("cross-modal-course").resolve()
    if not ROOT.exists():
        subprocess.run(["git", "clone", "-q", "--depth", "1",
                        os.environ.get("CML_SOURCE", "{address}"), str(ROOT)], check=True)
sys.path.insert(0, str(ROOT))
import cmlib
from cmlib.check import check
if missing := cmlib.missing_packages():  # only what is not there, and never its dependencies
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *missing], check=True)'''


def _measured(name) -> str:
    path = NOTEBOOKS / "measured.json"
    entry = (json.loads(path.read_text("utf-8")) if path.exists() else {}).get(name)
    return (
        f"{entry['seconds']} s and {entry['memory_mb'] / 1000:.1f} GB on two CPU cores"
        if entry
        else "not measured yet"
    )


def make(source: Path) -> dict:
    """Build, execute and write both notebooks of a source; returns {"seconds", "memory_mb"} as measured."""
    import nbformat
    from nbclient import NotebookClient

    learner, solved = (nbformat.reads(json.dumps(build(source, s)), 4) for s in (False, True))
    home = tempfile.mkdtemp(prefix="cmlib-")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CMLIB_HOME": home,
        "CMLIB_DPI": "72",
        "CMLIB_SCALE": "small",
    }
    client = NotebookClient(
        learner, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}
    )
    start = time.monotonic()
    with client.setup_kernel(env=environment):
        for i, cell in enumerate(learner.cells):
            client.execute_cell(cell, i)
        seconds = time.monotonic() - start
        learner.cells.append(nbformat.v4.new_code_cell(PEAK))
        client.execute_cell(learner.cells[-1], len(learner.cells) - 1)
        peak = learner.cells.pop().outputs[0].text
        for i, cell in enumerate(solved.cells):  # the exercises' cells differ; they run in the same kernel
            if cell.source == learner.cells[i].source and "cmlib.progress(" not in cell.source:
                solved.cells[i] = learner.cells[i]
            else:
                client.nb = solved
                client.execute_cell(cell, i)
                client.nb = learner
    shutil.rmtree(home, ignore_errors=True)
    measured = {"seconds": round(seconds), "memory_mb": int(peak)}
    _remember(source.stem, measured)
    for notebook, is_solved, folder in ((learner, False, NOTEBOOKS), (solved, True, NOTEBOOKS / "solutions")):
        final = build(source, is_solved)  # again: the passport now knows the measured time
        count = 0
        for target, ran in zip(final["cells"], notebook.cells, strict=True):
            if target["cell_type"] == "code":
                count += 1
                target |= {"execution_count": count, "outputs": [_clean(o, count) for o in ran.outputs]}
        folder.mkdir(exist_ok=True)
        text = json.dumps(final, indent=1, ensure_ascii=False) + "\n"
        nbformat.validate(nbformat.reads(text, 4))
        (folder / f"{source.stem}.ipynb").write_text(text, "utf-8")
    return measured


def _remember(name, measured):
    path = NOTEBOOKS / "measured.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | {name: measured}, indent=1, sort_keys=True) + "\n", "utf-8")


def _clean(output, count) -> dict:
    output = json.loads(json.dumps(output))
    data = output.get("data", {})
    data.pop("application/vnd.jupyter.widget-view+json", None)
    if "image/png" in data:
        data["image/png"] = base64.b64encode(_shrink(base64.b64decode(data["image/png"]))).decode()
    if "execution_count" in output:
        output["execution_count"] = count
    return output


def _shrink(png: bytes) -> bytes:
    """64 colours are enough for a stored figure, at a fifth of the bytes."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(
        64, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    ).save(out, "png", optimize=True)
    return min(out.getvalue(), png, key=len)


def fingerprint(notebook: dict) -> str:
    """What must agree between a built notebook and its source: kinds, ids and texts of the cells."""
    parts = [(c["cell_type"], c["id"], "".join(c["source"])) for c in notebook["cells"]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
