"""Every lesson, as stored: built from its source, run, within its limits, readable without pictures, and
solvable.
"""

import ast
import base64
import contextlib
import json
import re
import subprocess

import pytest
from conftest import ROOT

from cmlib.authoring import notebooks as author
from cmlib.check import exercises, run

SOURCES = {source.stem: source for source in author.sources()}
BUILT = {path.stem: path for path in sorted(author.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
SOLVED = {path.stem: path for path in sorted((author.NOTEBOOKS / "solutions").glob("*.ipynb"))}
LESSONS = sorted(SOURCES)
BOTH = [(name, solved) for name in LESSONS for solved in (False, True)]
lesson = pytest.mark.parametrize("name", LESSONS)
notebook_of = pytest.mark.parametrize(
    ("name", "solved"), BOTH, ids=lambda v: v if isinstance(v, str) else ("learner", "solved")[v]
)


def read(name, solved=False):
    path = (SOLVED if solved else BUILT).get(name)
    assert path, f"{name} is not built: make notebooks ONLY={name[:2]}"
    return json.loads(path.read_text("utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def markdown(notebook):
    return "\n\n".join(
        "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"
    )


def outputs(notebook):
    return [(cell["id"], output) for cell in code_cells(notebook) for output in cell["outputs"]]


def test_every_built_notebook_has_a_source():
    assert set(BUILT) <= set(SOURCES) and set(SOLVED) <= set(SOURCES)


@notebook_of
def test_a_built_notebook_agrees_with_its_source(name, solved):
    assert author.fingerprint(read(name, solved)) == author.fingerprint(
        author.build(SOURCES[name], solved)
    ), f"{name} is older than its source: make notebooks ONLY={name[:2]}"


@notebook_of
def test_every_cell_ran_once_in_order_without_complaint(name, solved):
    notebook = read(name, solved)
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for id, output in outputs(notebook):
        assert output["output_type"] != "error", id
        assert output.get("name") != "stderr", f"{id} writes to stderr: {output.get('text')}"
        assert "text/html" not in output.get("data", {}), f"{id} stores HTML, which nbval does not compare"
    assert "widgets" not in notebook["metadata"]


@notebook_of
def test_every_picture_says_what_it_shows(name, solved):
    for id, output in outputs(read(name, solved)):
        for kind in output.get("data", {}):
            if kind.startswith("image/"):
                assert kind == "image/png", f"{id} stores {kind}"
                assert len(output["metadata"].get(kind, {}).get("alt", "")) >= 20, (
                    f"the picture of {id} needs alt text"
                )


@notebook_of
def test_stored_figures_are_light(name, solved):
    sizes = [len(base64.b64decode(output["data"]["image/png"])) for _, output in outputs(read(name, solved))
             if "image/png" in output.get("data", {})]
    assert sum(sizes) <= 40_000, f"{name} stores {sum(sizes)} bytes of pictures: {sizes}"


@lesson
def test_a_lesson_is_one_sitting(name):
    notebook = author.build(SOURCES[name])
    cells, prose = len(notebook["cells"]), sum(cell["cell_type"] == "markdown" for cell in notebook["cells"])
    assert 30 <= cells <= 50 or (name.startswith("00") and 15 <= cells <= 50), f"{cells} cells"
    assert prose >= cells / 2, f"{prose} of {cells} cells are prose"


@lesson
def test_a_lesson_runs_in_a_minute(name):
    measured = json.loads((author.NOTEBOOKS / "measured.json").read_text("utf-8"))[name]
    assert measured["seconds"] <= 60 and measured["memory_mb"] <= 4000


@lesson
def test_exercises_hints_and_quiz_are_complete(name):
    number = name[:2]
    cells = author.parse(SOURCES[name])
    asked = [arg for kind, arg, _ in cells if kind == "exercise"]
    count = 1 if number == "00" else 4
    assert asked == [f"{number}.{k}" for k in range(1, count + 1)] == [e.id for e in exercises(number)]
    kinds = [kind for kind, _, _ in cells if kind in ("exercise", "stub", "solution", "hints")]
    assert sorted(kinds) == sorted(["exercise", "stub", "solution", "hints"] * count)
    assert next(kind for kind, _, _ in cells if kind != "markdown") == "setup"
    hints = [text for kind, _, text in cells if kind == "hints"]
    assert all("____" in text.split("\n---\n")[-1] for text in hints), (
        "the third hint is code with one blank ____"
    )
    (quiz,) = [text for kind, _, text in cells if kind == "quiz"]
    questions = re.split(r"^\? ", quiz, flags=re.MULTILINE)[1:]
    assert len(questions) == 4
    places = []
    for question in questions:
        marks = re.findall(r"^([-+]) ", question, flags=re.MULTILINE)
        assert 3 <= len(marks) <= 4 and marks.count("+") == 1, question.splitlines()[0]
        places.append(marks.index("+"))
    assert len(set(places)) > 1, "the right option always stands in the same place"


@lesson
def test_headings_are_numbered_in_order(name):
    text = markdown(author.build(SOURCES[name]))
    titles = re.findall(r"^# (.+)$", text, flags=re.MULTILINE)
    assert len(titles) == 1 and titles[0].startswith(name[:2] + " ")
    sections = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    numbers = [int(match[1]) for match in (re.match(r"(\d+)\.? ", section) for section in sections) if match]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[0] in (0, 1), sections
    assert 5 <= len(sections) <= 14


@lesson
def test_links_are_well_formed(name):
    text = markdown(author.build(SOURCES[name]))
    targets = [
        target
        for _, target in re.findall(r"(?<!\$)\[([^\]\n]*)\]\(([^)]*)\)", text)
        if re.match(r"\w+:|/|\.|#|\S+\.\w", target)
    ]
    for target in [*targets, *re.findall(r"https?:[^\s)>\]\"']+", text)]:
        if "://" in target:
            assert re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", target), target
        else:
            assert target.split("#")[0] in {f"{stem}.ipynb" for stem in SOURCES}, f"{target}: no such lesson"


@lesson
def test_no_cell_stores_what_no_one_can_repeat(name):
    for cell in code_cells(author.build(SOURCES[name])):
        source = "".join(cell["source"])
        assert "NBVAL_SKIP" not in source, cell["id"]
        assert not source.rstrip().endswith(";"), f"{cell['id']} hides its result with a semicolon"
        last = ast.parse(source).body[-1]
        ends_bare = isinstance(last, ast.Expr) and not isinstance(
            last.value, (ast.Call, ast.Constant, ast.Await)
        )
        assert not ends_bare, f"{cell['id']} ends with a bare object; print what should be seen"


@lesson
def test_every_solution_passes_its_check(name):
    scope, asked = {"__name__": "solution"}, None
    exec("import cmlib\nfrom cmlib.check import check", scope)
    for kind, arg, text in author.parse(SOURCES[name]):
        if kind == "exercise":
            asked = next(e for e in exercises(name[:2]) if e.id == arg)
        # what a solution may use: imports and definitions of the cells above it
        if kind in ("setup", "code"):
            wanted = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
            for node in (node for node in ast.parse(text).body if isinstance(node, wanted)):
                # a helper whose default is a result that only the whole run has
                with contextlib.suppress(NameError):
                    exec(ast.unparse(node), scope)
        if kind == "solution":
            exec(compile(text, f"<solution {asked.id}>", "exec"), scope)
            for seed in (0, 1):
                verdict = run(asked.id, scope[asked.name], seed)
                assert verdict.state == "passed", f"{asked.id}: {verdict.message}"


def test_the_cell_that_only_a_gpu_runs_reaches_its_end(monkeypatch, capsys):
    """Lesson 13's full-size cell, with the course's small encoders and a few rows in place of BERT-base,
    ResNet-50 and the emoji.
    """
    from cmlib import datasets
    from cmlib.course.setup import Scale
    from cmlib.worlds import RefundDesk

    first, *others = ("".join(cell["source"]) for cell in code_cells(read("13_fine_tuning")))
    (cell,) = (text for text in others if text.startswith('if cfg.name == "full":'))
    monkeypatch.setattr(datasets, "emoji", lambda split: RefundDesk().sample(40, split=split))
    space = {"cfg": Scale("full", "cpu", "float32", 0, "mini", "mini")}
    exec(
        "\n".join(
            line for line in first.splitlines() if re.match(r"(import time$|from cmlib\.\w+ import)", line)
        ),
        space,
    )
    exec(cell, space)
    said = capsys.readouterr().out
    assert said.startswith("expected: 0.") and re.search(r"test accuracy [01]\.\d\d\d\n$", said), said


@lesson
def test_the_stored_solved_notebook_says_so(name):
    text = "".join("".join(output.get("text", "")) for _, output in outputs(read(name, solved=True)))
    for e in exercises(name[:2]):
        assert f"✓ {e.id}" in text
    learner = "".join("".join(output.get("text", "")) for _, output in outputs(read(name)))
    assert not re.search(rf"[✓✗] {name[:2]}\.\d", learner), "the learner's notebook is stored unsolved"


# The repository

PLACES = r"(?<![\w.])/(?:[w]ork|[r]oot|[h]ome/\w+|[U]sers/\w+|[f]arm|[t]mp/[b]ash)/|[s]hared/(?:research|colab|DESIGN)"
REGISTRIES = r"[p]ythonhosted\.|(?<![a-z])[p]ypi\.(?:o|p)|[r]egistry\.npm|[d]eb\.debian|[p]ython\.org/simple|[f]iles\.pytho"


def tracked():
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize(
    ("what", "pattern"), [("a path of one machine", PLACES), ("a package registry", REGISTRIES)]
)
def test_no_tracked_file_names(what, pattern):
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data[:1000]:
            for number, line in enumerate(data.decode("utf-8").splitlines(), 1):
                if match := re.search(pattern, line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert not found, f"{what}: {found[:5]}"


def test_no_tracked_file_is_heavy():
    heavy = {
        str(path.relative_to(ROOT)): path.stat().st_size
        for path in tracked()
        if path.stat().st_size > 9_000_000
    }
    assert not heavy
