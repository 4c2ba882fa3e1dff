"""The course handed out: one address, one file, and a first cell that finds either or says what to do."""

import io
import json
import os
import subprocess
import sys
import zipfile

import pytest
import tiny_course
from conftest import ROOT

from cmlib import cli
from cmlib.authoring import address, notebooks, publishing, running
from cmlib.authoring.address import Address

PACKAGE = "__version__ = '{}'\ndef missing_packages(): return []\n"
OUTPUT = {"output_type": "stream", "name": "stdout", "text": ["measured\n"]}




def git(folder, *words):
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A tiny course, built, with an address that is a placeholder."""
    folder = tmp_path / "course"
    folder.mkdir()
    tiny_course.make(folder, monkeypatch)
    monkeypatch.setattr(notebooks, "ROOT", folder)
    for name in ("pyproject.toml", "README.md"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "docs").mkdir()
    (folder / "docs" / "guide.md").write_text("git clone https://github.com/ORG/cross-modal-course", "utf-8")
    for source in notebooks.sources():
        book = notebooks.build(source)
        for cell in running.code_cells(book):
            cell["outputs"] = [OUTPUT]
        running.write(notebooks.built(source), book)
    return folder


@pytest.fixture
def hub(tmp_path):
    """The address of a repository that everybody can clone, with one tag: v9."""
    folder = tmp_path / "hub"
    (folder / "cmlib").mkdir(parents=True)
    (folder / "cmlib" / "__init__.py").write_text(PACKAGE.format("cloned"))
    (folder / "cmlib" / "check.py").write_text("check = None\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    git(folder, "tag", "v9")
    return f"file://{folder}"


def first_cell(number="00"):
    return "".join(running.code_cells(notebooks.build(tiny_course.source_of(number)))[0]["source"])


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


# The address


def test_while_the_address_is_a_placeholder_nothing_pretends(course):
    assert address.published(ROOT) is None or "/ORG/" not in address.published(ROOT).repository
    assert address.published(course) is None
    text = "".join("".join(tiny_course.texts(notebooks.build(source))) for source in notebooks.sources())
    assert "ORG" not in text and "colab.research" not in text and "--branch" not in text


def test_the_readme_says_of_colab_what_holds():
    section = publishing.SECTION.search((ROOT / "README.md").read_text("utf-8"))[0]
    assert section == publishing.on_colab(address.published(ROOT))


@pytest.mark.parametrize(("repository", "link"), [
    ("https://github.com/a/b", "https://colab.research.google.com/github/a/b/blob/v9/notebooks/05_x.ipynb"),
    ("https://github.com/a/b.git", "https://colab.research.google.com/github/a/b/blob/v9/notebooks/05_x.ipynb"),
    ("https://example.org/a/b", ""),
    ("https://github.com/a", ""),
])
def test_colab_opens_lessons_from_github_alone(repository, link):
    assert Address(repository, "v9").colab("05_x") == link


@pytest.mark.parametrize("tag", [None, "v9"])
def test_publishing_writes_the_address_everywhere_and_keeps_outputs(course, hub, monkeypatch, capsys, tag):
    monkeypatch.setattr(Address, "colab", lambda self, stem: f"https://colab.example/{self.tag}/{stem}")
    version = address.project(course)["version"]
    named = tag or f"v{version}"
    assert cli.main(["publish", hub + "/", *(["--tag", tag] if tag else [])]) == 0
    done, left = capsys.readouterr().out.splitlines()
    assert done == f"{hub} answers; it now stands in pyproject.toml, 2 lessons and README.md, guide.md."
    assert ("is there already" in left) if tag else (left == f"Left to do: commit, git tag {named}, git push "
                                                             f"origin HEAD {named}.")
    assert address.published(course) == Address(hub, named)
    assert ("[tool.cmlib]" in (course / "pyproject.toml").read_text("utf-8")) == bool(tag)
    assert hub in (course / "docs" / "guide.md").read_text("utf-8")
    readme = (course / "README.md").read_text("utf-8")
    assert f"(https://colab.example/{named}/00_tiny)" in readme and "no public address" not in readme
    for source in notebooks.sources():
        stored = json.loads(notebooks.built(source).read_text("utf-8"))
        assert notebooks.fingerprint(stored) == notebooks.fingerprint(notebooks.build(source))
        assert all(cell["outputs"] == [OUTPUT] for cell in running.code_cells(stored))
        assert f"[Open in Colab](https://colab.example/{named}/{source.stem})" in tiny_course.texts(stored)[0]
        first = "".join(running.code_cells(stored)[0]["source"])
        assert f'"--branch", "{named}"' in first and hub in first


def test_a_second_address_takes_the_place_of_the_first(course, hub):
    publishing.publish(hub, "v9")
    publishing.publish(hub + "/.git")
    text = "".join(path.read_text("utf-8") for path in course.rglob("*.*") if path.is_file())
    assert hub + "/.git" in text and hub not in text.replace(hub + "/.git", "")
    assert "[tool.cmlib]" not in (course / "pyproject.toml").read_text("utf-8")


def test_what_cannot_be_published_is_one_sentence_and_nothing_is_written(course, hub, capsys):
    before = everything(course)
    notebook = notebooks.built(tiny_course.source_of("02"))
    for words, sentence in [
        (["file:///not/there"], "file:///not/there does not answer as a repository that everybody can clone"),
        (["git@github.com:a/b"], "The address is one that everybody can clone, such as https://github.com/NAME/"),
        (['https://a/"); bad("'], "The address is one that everybody can clone"),
        ([hub, "--tag=-x"], "A tag is a name such as v1.0; got '-x'."),
    ]:
        assert cli.main(["publish", *words]) == 2
        assert sentence in capsys.readouterr().err and everything(course) == before
    notebook.write_text(notebook.read_text("utf-8").replace("the end", "no end"), "utf-8")
    before = everything(course)
    assert cli.main(["publish", hub]) == 2
    assert capsys.readouterr().err == ("02_last.ipynb is not what its source makes, so nothing was written: "
                                       "make notebooks ONLY=02 first.\n")
    assert everything(course) == before


# The file


def test_the_file_for_colab_has_what_the_lessons_need_and_no_more(tmp_path, capsys):
    assert cli.main(["zip", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    path = tmp_path / "cross-modal-course.zip"
    assert path.stat().st_size <= publishing.LARGEST and f"{path.stat().st_size / 1e6:.1f} MB" in said
    names = zipfile.ZipFile(path).namelist()
    tops = {name.split("/")[1] for name in names}
    assert tops == {"cmlib", "data", "notebooks", "pyproject.toml", "README.md", "LICENSE", "LICENSE-content"}
    tracked = git(ROOT, "ls-files", "cmlib", "data", "notebooks").splitlines()
    needed = {f"cross-modal-course/{name}" for name in tracked if not name.endswith("conftest.py")}
    assert needed <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(publishing, "LARGEST", 1_000_000)
    assert cli.main(["zip", "--out", str(tmp_path)]) == 2
    assert "are the most: something large lies in cmlib/, data/ or notebooks/" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# The first cell of a lesson, in an empty folder


def packed(path, version, top="cross-modal-course"):
    """A course in a zip, whose version says where it came from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{top}/cmlib/__init__.py", PACKAGE.format(version))
        archive.writestr(f"{top}/cmlib/check.py", "check = None\n")


def run(cell, content, **settings):
    """The cell as a program in the folder ``content``: its result, and the version that it found."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CML")}
    result = subprocess.run([sys.executable, "-c", cell + "\nprint('found', cmlib.__version__)"], cwd=content,
                            env=environment | settings, capture_output=True, text=True, check=False)
    return result, result.stdout.rpartition("found ")[2].strip() if result.returncode == 0 else None


@pytest.fixture
def cell(course, hub, monkeypatch):
    """The generated first cell of a course that is published, without the lesson's own lines."""
    monkeypatch.setattr(address, "published", lambda root: Address(hub, "v9"))
    return notebooks._bootstrap()


@pytest.fixture
def content(tmp_path):
    folder = tmp_path / "content"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("ways", [["folder", "beside", "drive", "clone"], ["beside", "drive", "clone"],
                                  ["drive", "clone"], ["clone"]])
def test_the_first_cell_takes_the_nearest_way(cell, content, ways):
    if "folder" in ways:
        packed(content / "folder.zip", "folder")
        zipfile.ZipFile(content / "folder.zip").extractall(content)
    if "beside" in ways:
        packed(content / "cross-modal-course.zip", "beside")
    if "drive" in ways:
        packed(content / "drive" / "MyDrive" / "cross-modal-course.zip", "drive")
    result, found = run(cell, content)
    assert found == {"clone": "cloned"}.get(ways[0], ways[0]), result.stderr
    assert ("CMLIB_HOME" in result.stdout) == (ways[0] != "folder") and result.stderr == ""
    assert run(cell, content)[1] == found  # the second lesson finds what the first one fetched


def test_of_two_uploads_the_newer_one_counts_and_half_an_upload_does_not(cell, content):
    packed(content / "cross-modal-course.zip", "first")
    packed(content / "cross-modal-course (1).zip", "second")
    os.utime(content / "cross-modal-course.zip", (1, 1))
    (content / "cross-modal-course (2).zip").write_bytes(b"PK\x03\x04 half of it")
    assert run(cell, content)[1] == "second"


def test_a_zip_as_github_makes_it_will_do(cell, content):
    packed(content / "cross-modal-course-main.zip", "main", top="cross-modal-course-main")
    assert run(cell, content)[1] == "main"


def test_a_zip_writes_nothing_outside_its_folder(cell, content):
    path = content / "cross-modal-course.zip"
    packed(path, "beside")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../outside.txt", "/outside.txt", "cross-modal-course/../../outside.txt"):
            archive.writestr(name, "escaped")
    assert run(cell, content)[1] == "beside"
    assert not (content.parent / "outside.txt").exists() and not os.path.exists("/outside.txt")


def test_without_an_address_nothing_is_cloned_but_from_where_the_reader_says(course, content, hub):
    cell = notebooks._bootstrap()
    result, found = run(cell, content)
    assert found is None and "Traceback" not in result.stderr and list(content.iterdir()) == []
    assert result.stderr == """The course is not here. Put
cross-modal-course.zip (made by: make colab-zip) beside this lesson, which on Colab is
the Files panel, or keep it in My Drive and mount Drive; then run this cell again.
"""
    assert run(cell, content, CML_SOURCE=hub)[1] == "cloned"


def test_an_address_that_does_not_answer_is_one_sentence(course, content, monkeypatch):
    monkeypatch.setattr(address, "published", lambda root: Address("file:///not/there", "v9"))
    result, found = run(notebooks._bootstrap(), content)
    assert found is None and "Traceback" not in result.stderr
    assert "'/not/there'" in result.stderr  # git says what it could not find
    assert "The course is not here, and cannot be cloned. Put\ncross-modal-course.zip" in result.stderr


@pytest.mark.parametrize("where", [None, Address("https://github.com/somebody/cross-modal-course", "v0.2.0")])
def test_the_first_cell_is_short_and_narrow(course, monkeypatch, where):
    monkeypatch.setattr(address, "published", lambda root: where)
    lines = io.StringIO(notebooks._bootstrap()).readlines()
    assert len(lines) <= 42 and max(map(len, lines)) <= 89
