"""Every lesson, as stored: it keeps the rules, and its solutions are right."""

import ast
import contextlib
import json
import re
import subprocess

import lesson_rules
import notebook_rules
import pytest
from conftest import ROOT

from cmlib.authoring import curriculum
from cmlib.authoring import notebooks as author
from cmlib.check import exercises, run

SOURCES = {source.stem: source for source in author.sources()}
LESSONS = {name: lesson_rules.Lesson(source) for name, source in SOURCES.items()}  # parsed once for all rules
lesson = pytest.mark.parametrize("name", SOURCES)


def keeps(sentences):
    """Fail with the sentences of the rules that are broken, and nothing else."""
    text = "\n".join(sentences)
    if text:
        pytest.fail(text, pytrace=False)


def stored(name):
    path = author.built(SOURCES[name])
    if not path.exists():
        pytest.fail(f"{name} is not built: make notebooks ONLY={name[:2]}", pytrace=False)
    return json.loads(path.read_text("utf-8"))


@lesson
@pytest.mark.parametrize("rule", lesson_rules.RULES, ids=lambda rule: rule.__name__)
def test_every_source(rule, name):
    keeps(rule(LESSONS[name]))


@lesson
@pytest.mark.parametrize("rule", notebook_rules.RULES, ids=lambda rule: rule.__name__)
def test_every_built_notebook(rule, name):
    keeps(rule(SOURCES[name], stored(name)))


def test_the_curriculum_the_sources_and_the_notebooks_are_the_same_lessons():
    planned = [one.stem for one in curriculum.lessons() if one.built]
    built = sorted(path.stem for path in author.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    rule = "every lesson with a slug in curriculum.toml has a source and a built notebook, and no other has"
    assert planned == list(SOURCES), f"{rule}: slugs {planned}, sources {list(SOURCES)}"
    assert planned == built, f"{rule}: slugs {planned}, notebooks {built}"


def test_solved_notebooks_and_measurements_stay_out_of_git():
    names = {path.relative_to(ROOT).as_posix() for path in tracked()}
    wrong = [name for name in names if re.match(r"notebooks/(solutions/|measured\.json)", name)]
    assert not wrong, f"solved notebooks are made with cmlib build --solved, and not kept: {wrong}"


@lesson
def test_every_solution_passes_its_check(name):
    scope, asked = {"__name__": "solution"}, None
    exec("import cmlib\nfrom cmlib.check import check", scope)
    for cell in author.parse(SOURCES[name]):
        if cell.kind == "exercise":
            asked = next(e for e in exercises(name[:2]) if e.id == cell.argument)
        # what a solution may use: imports and definitions of the cells above it
        if cell.kind in ("setup", "code"):
            wanted = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
            for node in (node for node in ast.parse(cell.text).body if isinstance(node, wanted)):
                # a helper whose default is a result that only the whole run has
                with contextlib.suppress(NameError):
                    exec(ast.unparse(node), scope)
        if cell.kind == "solution":
            exec(compile(cell.text, f"<solution {asked.id}>", "exec"), scope)
            for seed in (0, 1):
                verdict = run(asked.id, scope[asked.name], seed)
                assert verdict.state == "passed", (
                    f"{name}.py, line {cell.line}: the solution of {asked.id} passes its check; it says: "
                    f"{verdict.message}"
                )


# The repository

PLACES = (r"(?<![\w.])/(?:[w]ork|[r]oot|[h]ome/\w+|[U]sers/\w+|[f]arm|[t]mp/[b]ash)/"
          r"|[s]hared/(?:research|colab|DESIGN)")
REGISTRIES = (r"[p]ythonhosted\.|(?<![a-z])[p]ypi\.(?:o|p)|[r]egistry\.npm|[d]eb\.debian"
              r"|[p]ython\.org/simple|[f]iles\.pytho")


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
    assert not found, f"no file names {what}: {found[:5]}"


def test_no_tracked_file_is_heavy():
    heavy = {
        str(path.relative_to(ROOT)): path.stat().st_size
        for path in tracked()
        if path.stat().st_size > 9_000_000
    }
    assert not heavy, f"a file that is tracked has at most 9 MB: {heavy}"


def test_git_treats_notebooks_as_what_is_built():
    names = ["notebooks/02_joint_loss.ipynb", "notebooks/src/02_joint_loss.py", "data/mini-bert.safetensors"]
    attributes = ["text", "eol", "diff", "merge", "linguist-generated"]
    told = subprocess.run(["git", "check-attr", *attributes, "--", *names], cwd=ROOT, check=True,
                          capture_output=True, text=True).stdout
    values = {}
    for line in told.splitlines():
        name, attribute, value = line.split(": ")
        values.setdefault(name, {})[attribute] = value
    notebook, source, weights = (values[name] for name in names)
    assert list(map(notebook.get, attributes)) == ["set", "lf", "unset", "unset", "set"]
    assert source["diff"] == source["merge"] == source["linguist-generated"] == "unspecified"
    assert weights["text"] == weights["diff"] == "unset"


def test_a_conflict_leaves_a_notebook_that_opens(tmp_path):
    """Two branches rebuild one lesson: git keeps one side whole, and says that there is something to do."""
    path = tmp_path / "notebooks" / "02_joint_loss.ipynb"

    def git(*words, check=True):
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
        return subprocess.run(command, cwd=tmp_path, check=check, capture_output=True, text=True)

    def commit(seconds):
        notebook = {"cells": [], "metadata": {"cmlib": {"seconds": seconds}}}
        path.write_text(json.dumps(notebook, indent=1), "utf-8")
        git("add", "-A")
        git("commit", "-q", "-m", f"{seconds} s")

    path.parent.mkdir()
    (tmp_path / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
    git("init", "-q", "-b", "main")
    commit(1)
    git("checkout", "-q", "-b", "theirs")
    commit(2)
    git("checkout", "-q", "main")
    commit(3)
    merge = git("merge", "theirs", check=False)
    assert merge.returncode == 1 and "CONFLICT" in merge.stdout
    assert json.loads(path.read_text("utf-8"))["metadata"]["cmlib"]["seconds"] == 3
