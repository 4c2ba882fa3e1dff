"""Which lessons a commit runs under another instruction set, in clones of every kind."""

import os
import subprocess
from itertools import product

import pytest
import rotate
from portable import SETS

LESSONS = [f"{number:02d}" for number in range(31)]
DAY = 24 * 3600


@pytest.mark.parametrize("start", range(6))
def test_six_commits_run_every_lesson_under_every_set(start):
    ran = set()
    for number in range(start, start + 6):
        lessons, name = rotate.choose(LESSONS, set(), number)
        assert 10 <= len(lessons) <= 11
        ran |= set(product(lessons, [name]))
    assert ran == set(product(LESSONS, SETS))


def test_what_changed_always_runs_and_a_third_of_the_rest_with_it():
    for number in range(6):
        lessons, _ = rotate.choose(LESSONS, {"05", "13"}, number)
        assert {"05", "13"} < set(lessons) and len(lessons) in (2 + 9, 2 + 10) and lessons == sorted(lessons)
    assert rotate.choose(LESSONS, set(LESSONS), 1)[0] == LESSONS
    assert rotate.choose(["00"], {"07"}, 0)[0] == ["00"]  # 07 was deleted


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("notebooks/05_seeing.ipynb", {"05"}),
        ("notebooks/src/13_fine_tuning.py", {"13"}),
        ("cmlib/check/lesson07.py", {"07"}),
        ("tests/answers/lesson30.py", {"30"}),
        ("cmlib/training/fit.py", set()),
        ("docs/notebooks/05_seeing.ipynb", set()),
        ("requirements.lock", set(LESSONS)),
        ("notebooks/conftest.py", set(LESSONS)),
    ],
)
def test_which_lessons_a_file_belongs_to(path, changed):
    assert rotate.changed_lessons(LESSONS, [path, "README.md"]) == changed


def git(folder, *arguments, at=0):
    date = f"@{1_700_000_000 + at} +0000"
    names = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | names | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture
def course(tmp_path):
    """Nine lessons in one commit, and a day later two commits that change 03 and 05."""
    folder = tmp_path / "course"
    (folder / "notebooks").mkdir(parents=True)
    for lesson in LESSONS[:9]:
        (folder / "notebooks" / f"{lesson}_x.ipynb").write_text("{}")
    git(tmp_path, "init", "-q", "course")
    for lesson, at in (("", 0), ("03", DAY), ("05", DAY + 3600)):
        if lesson:
            (folder / "notebooks" / f"{lesson}_x.ipynb").write_text("{ }")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", f"changes {lesson}", at=at)
    return folder


def test_a_full_clone_counts_its_commits_and_sees_the_whole_push(course):
    assert rotate.commit_number(course) == 3
    assert rotate.changed_paths(course) == ["notebooks/03_x.ipynb", "notebooks/05_x.ipynb"]
    # the rest is 00 01 02 04 06 07 08, of which commit 3 runs every third from the first one on
    assert rotate.main(course) == "00 03 04 05 08 --sets sse"


def test_a_clone_of_one_commit_runs_everything_under_a_set_that_its_name_draws(course, tmp_path):
    git(tmp_path, "clone", "-q", "--depth=1", course.as_uri(), "shallow")
    names = set()
    for at in range(20):
        git(tmp_path / "shallow", "commit", "-q", "--amend", "-m", "again", at=at)
        *lessons, _, name = rotate.main(tmp_path / "shallow").split()
        assert lessons == LESSONS[:9]
        names.add(name)
    assert names == set(SETS)


def test_a_clone_of_a_few_commits_knows_what_changed_when_it_reaches_back_far_enough(course, tmp_path):
    git(tmp_path, "clone", "-q", "--depth=2", course.as_uri(), "two")
    assert rotate.changed_paths(tmp_path / "two") is None
    git(tmp_path, "clone", "-q", "--depth=3", course.as_uri(), "three")
    assert rotate.changed_paths(tmp_path / "three") == rotate.changed_paths(course)


def test_a_first_commit_and_a_folder_without_git_run_everything(course, tmp_path):
    git(course, "checkout", "-q", "HEAD~2")
    assert rotate.main(course).split()[:9] == LESSONS[:9]
    (tmp_path / "plain" / "notebooks").mkdir(parents=True)
    (tmp_path / "plain" / "notebooks" / "04_x.ipynb").write_text("{}")
    assert rotate.main(tmp_path / "plain") == "04 --sets avx2"
