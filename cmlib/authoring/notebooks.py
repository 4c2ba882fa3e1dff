"""From one source the learner's notebook and the solved one; nothing is executed here.

`cmlib.authoring.source` lists the kinds of cells; `cmlib.authoring.running` executes what is built here.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from cmlib.authoring import address, curriculum
from cmlib.authoring.source import CODE, Cell, parse

__all__ = ["HINTS", "NOTEBOOKS", "build", "built", "fingerprint", "measured", "parse", "sources"]

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
HINTS = ("the idea", "the formula", "the code, with one blank")
PROGRESS = """cmlib.progress("{}")  # all lessons on one page: cmlib.report()
# cmlib.submit()  # in a class: take the first # away, and hand in the file it writes"""
CLICKS = """#@title The same quiz, to click on
cmlib.quiz("{}")"""
CLONE = '''
    else:
        subprocess.run([*git, "--branch", "{tag}",
                        "{repository}", NAME])'''
FIRST = '''\
#@title Setup: find the course (on Colab, fetch it); say where this lesson runs and why
# built for cmlib {version}
import os, subprocess, sys, zipfile
from pathlib import Path
HERE, NAME = Path.cwd(), "cross-modal-course"
def course():  # in a folder above this one, or fetched into this one
    folders = [HERE, *HERE.parents, *HERE.glob(NAME + "*")]
    return next((p for p in folders if (p / "cmlib").is_dir()), None)
if course() is None:  # on Colab: from a zip beside this lesson, a zip on Drive, or git
    zips = [p for folder in (HERE / "drive" / "MyDrive", HERE)
            for p in sorted(folder.glob(NAME + "*.zip"), key=os.path.getmtime)
            if zipfile.is_zipfile(p)]
    git = ["git", "-c", "advice.detachedHead=false", "clone", "-q", "--depth", "1"]
    if zips:
        zipfile.ZipFile(zips[-1]).extractall(HERE)
    elif "CML_SOURCE" in os.environ:
        subprocess.run([*git, os.environ["CML_SOURCE"], NAME]){clone}
    if course() is None:
        raise SystemExit("""{missing}. Put
cross-modal-course.zip (made by: make colab-zip) beside this lesson, which on Colab is
the Files panel, or keep it in My Drive and mount Drive; then run this cell again.""")
    print("Progress ends with this machine, unless it is kept on a mounted Drive:\\n"
          'os.environ["CMLIB_HOME"] = "/content/drive/MyDrive/cmlib"')
ROOT = course()
sys.path.insert(0, str(ROOT))
import cmlib
from cmlib.check import check
if cmlib.__version__ != "{version}":
    print(f"This lesson was built for cmlib {version}, and cmlib {{cmlib.__version__}} "
          f"is imported from {{ROOT}}: numbers may differ; take both from one release.")
missing = cmlib.missing_packages()
if missing:  # only what is not there; torch, numpy and transformers stay as they are
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
    subprocess.run([*pip, *missing], check=True)'''
FOLDED = ("setup", "clicks")  # in JupyterLab, on Colab and in the book
OF_AN_EXERCISE = ("stub", "solution", "hints", "answer")


def sources() -> list[Path]:
    return sorted((NOTEBOOKS / "src").glob("[0-9][0-9]_*.py"))


def built(source: Path) -> Path:
    """Where the learner's notebook of a source lies, or will lie."""
    return NOTEBOOKS / f"{source.stem}.ipynb"


def build(source: Path, solved: bool = False, took: dict | None = None) -> dict:
    """The notebook (nbformat 4.5, no outputs) of a source; what the author got wrong is a ValueError.

    took : the time and memory that the passport tells, {"seconds", "memory_mb", "cores"} or {}; by default
        those of the notebook that lies there
    """
    number, cells, exercise = source.name[:2], [], None
    took = measured(source) if took is None else took
    links = curriculum.navigation(number)
    for position, cell in enumerate(parse(source)):
        where = f"{source.name}, line {cell.line}"
        if cell.kind == "exercise":
            exercise = _find(where, cell.argument)
        if cell.kind in OF_AN_EXERCISE and exercise is None:
            raise ValueError(f"{where}: a [{cell.kind}] cell stands before the first [exercise].")
        if cell.kind == ("stub" if solved else "solution"):
            continue
        text = _text(where, number, cell, exercise)
        text = text.replace("{{measured}}", _in_words(took)).replace("{{gpu}}", _on_a_gpu(number))
        if position == 0:
            text = _under_the_title(where, number, text, " · ".join(filter(None, [_colab(source), links])))
        cells.append(_written(cell.kind, text, cell.tags, f"l{number}-{len(cells):02d}"))
        if cell.kind == "quiz":
            cells.append(_written("clicks", CLICKS.format(number), (), f"l{number}-{len(cells):02d}"))
    if links:
        cells.append(_written("markdown", links, (), f"l{number}-{len(cells):02d}"))
    return {
        "cells": cells,
        "metadata": {
            "cmlib": {"version": address.project(ROOT)["version"]} | took,
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def measured(source: Path) -> dict:
    """{"seconds", "memory_mb", "cores"} from the built notebook's metadata; {} before the first build."""
    path = built(source)
    if not path.exists():
        return {}
    kept = json.loads(path.read_text("utf-8"))["metadata"].get("cmlib", {})
    return {name: kept[name] for name in ("seconds", "memory_mb", "cores") if name in kept}


def fingerprint(notebook: dict) -> str:
    """What must agree between a built notebook and its source: all but outputs and what comes from them."""
    metadata = notebook["metadata"]
    parts = [metadata | {"cmlib": metadata.get("cmlib", {}).get("version")}]
    for cell in notebook["cells"]:
        own = {name: value for name, value in cell["metadata"].items() if name != "mystnb"}
        parts.append([cell["cell_type"], cell["id"], own, "".join(cell["source"])])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _find(where, id):
    from cmlib.check import find

    try:
        return find(id)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _written(kind, text, tags, id) -> dict:
    code, metadata = kind in CODE or kind == "clicks", {}
    if kind in FOLDED:
        metadata = {"cellView": "form", "jupyter": {"source_hidden": True}}
        tags = ("hide-input", *tags)
    if tags:
        metadata["tags"] = list(dict.fromkeys(tags))
    cell = {"cell_type": "code" if code else "markdown", "id": id, "metadata": metadata,
            "source": text.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if code else {})


def _under_the_title(where, number, text, links) -> str:
    title, _, rest = text.partition("\n")
    if not title.startswith(f"# {number} "):
        raise ValueError(f"{where}: a lesson begins with a [markdown] cell whose first line is its title, "
                         f"'# {number} …'; found {title!r}.")
    return f"{title}\n\n{links}\n{rest}" if links else text


def _colab(source: Path) -> str:
    """A link of words: a picture of a badge would be asked for outside, wherever the lesson is opened."""
    where = address.published(ROOT)
    link = where.colab(source.stem) if where else ""
    return f"[Open in Colab]({link})" if link else ""


def _text(where, number, cell: Cell, exercise) -> str:
    """What stands in the notebook for a cell of the source."""
    text = cell.text
    if cell.kind == "exercise":
        return _card(exercise) + text
    if cell.kind in ("stub", "solution"):
        return f'{text}\n\ncheck("{exercise.id}", {exercise.name})'
    if cell.kind == "setup":
        return f"{_bootstrap()}\n{text}"
    if cell.kind == "progress":
        return PROGRESS.format(number)
    if cell.kind == "map":
        return f"{text}\n\n{curriculum.course_map()}"
    if cell.kind == "hints":
        return _hints(where, exercise, text)
    if cell.kind == "answer":
        return _answer(where, exercise, text)
    return _quiz(where, text) if cell.kind == "quiz" else text


def _card(e) -> str:
    dots = "●" * e.difficulty + "○" * (5 - e.difficulty)
    kind = "Stretch exercise" if e.stretch else "Exercise"
    return (f"### {kind} {e.id} · {e.title}\n\n*{e.minutes} minutes · {e.points} "
            f"{'point' if e.points == 1 else 'points'} · difficulty {dots}*\n\n")


def _folded(summary, text) -> str:
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def _hints(where, exercise, text) -> str:
    parts = [part.strip() for part in re.split(r"^---$", text, flags=re.MULTILINE)]
    if len(parts) != 3:
        raise ValueError(f"{where}: exercise {exercise.id} needs three hints between '---' lines, has "
                         f"{len(parts)}.")
    return "\n\n".join(_folded(f"Hint {i}: {what}", part)
                       for i, (what, part) in enumerate(zip(HINTS, parts, strict=True), 1))


def _answer(where, exercise, text) -> str:
    if not exercise.stretch:
        raise ValueError(f"{where}: an [answer] cell is the model answer to the written part of a stretch "
                         f"exercise, NN.5; it stands after {exercise.id}.")
    return _folded("A model answer to the written part: open it when yours is on paper", text)


def _quiz(where, text) -> str:
    """The folded form, for readers without a kernel; a rule keeps a question off the options above it."""
    from cmlib.check import quiz

    found = []
    for number, question in enumerate(quiz.questions(text, where), 1):
        options = [_folded(option.text, f"{'Right.' if option.is_right else 'No.'} {option.why}")
                   for option in question.options]
        found.append("\n\n".join([f"**{number}. {question.text}**", *options]))
    return "\n\n---\n\n".join(found)


def _bootstrap() -> str:
    """The first cell of every lesson, at most 88 columns wide; plain Python of the standard library."""
    version, where = address.project(ROOT)["version"], address.published(ROOT)
    clone = CLONE.format(tag=where.tag, repository=where.repository) if where else ""
    missing = "The course is not here, and cannot be cloned" if where else "The course is not here"
    return FIRST.format(version=version, clone=clone, missing=missing)


def _on_a_gpu(number: str) -> str:
    """What `make gpu` measured of a lesson at full size, in words."""
    path = ROOT / "data" / "runs" / "gpu_lessons.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {"lessons": {}}
    facts = kept["lessons"].get(number, {})
    if facts.get("state") != "done" or kept["smoke"]:
        return "not measured yet"
    if not facts.get("peak_mib"):
        return "none of it is used"
    return (f"{facts['seconds']:.0f} s and {facts['peak_mib'] / 1024:.1f} GB of its memory at full size "
            f"({kept['machine']['device']}; weights drawn at random, of the true shapes)")


def _in_words(took: dict) -> str:
    if not took:
        return "not measured yet"
    cores = "one CPU core" if took["cores"] == 1 else f"{took['cores']} CPU cores"
    return f"{took['seconds']} s and {took['memory_mb'] / 1000:.1f} GB on {cores}"
