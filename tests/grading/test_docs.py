"""docs/grading.md: every command is run on a small class, in order, and every file it shows is the file that
is used.

Blocks marked ``sh`` install software and change the machine: they are parsed, not run. ``bash`` is run. A
second word is a file name.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from classroom import CLASS, known_as, write
from conftest import ROOT, need

TEXT = (ROOT / "docs" / "grading.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
MEMBERS = [one for one in CLASS if one.name in ("Ana Souza", "Fatima Zahra", "Mia Schmidt", "Rania Haddad")]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(folder, [(command, what it printed, results/grades.csv after it)])"""
    need("bubblewrap", shutil.which("bwrap"))
    need("unzip", shutil.which("unzip"))
    folder = tmp_path_factory.mktemp("guide")
    write(folder, MEMBERS)
    for path in (folder / "submissions").rglob("0[23]_lesson.ipynb"):
        # one learner with all three lessons is enough: everyone is graded three times
        if "Ana Souza" not in path.parts:
            path.unlink()
    with zipfile.ZipFile(folder / "submissions.zip", "w") as archive:  # keeps the dates of the files
        for path in sorted((folder / "submissions").rglob("*")):
            archive.write(path, path.relative_to(folder / "submissions"))
    for name in ("late.toml", "times.csv", "roster.csv", "secret.txt"):
        (folder / name).unlink()  # the guide's own take their place
    shutil.rmtree(folder / "submissions")
    (folder / ".venv").symlink_to(sys.prefix)
    printed = []
    for language, name, text in BLOCKS:
        if name:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, "utf-8")
        for command in text.splitlines() if language == "bash" else ():
            done = subprocess.run(
                ["bash", "-ec", command],
                cwd=folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (command, done.stderr[-2000:])
            table = folder / "results" / "grades.csv"
            printed.append((command, done.stdout, rows(table) if table.exists() else []))
    return folder, printed


def rows(path: Path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_five_commands_lead_to_grades():
    section = TEXT.split("## From nothing to grades")[1].split("\n## ")[0]
    commands = (
        "".join(re.findall(r"^```(?:sh|bash)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
        .strip()
        .splitlines()
    )
    assert len(commands) == 5
    for language, _, text in BLOCKS:
        assert language in ("sh", "bash", "toml", "csv", "python")
        if language == "sh":
            assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_the_commands_do_what_the_guide_says(ran):
    folder, printed = ran
    names = {known_as(one) for one in MEMBERS}
    assert {row["learner"] for row in rows(folder / "results" / "grades.csv")} == names
    first, late, regrade, *shards = [text for command, text, _ in printed if "cmlib grade" in command]
    assert "A new secret was written to secret.txt" in first and "4 graded now, 0 graded before" in first
    assert "0 graded now, 4 graded before" in late  # only tables and pages are written again
    assert "4 graded now" in regrade
    assert sum(int(re.search(r"(\d+) graded now", text)[1]) for text in shards) == 4
    extra = (folder / "results" / "grades" / "Ana Souza.json").read_text("utf-8")
    assert "a table of logits" in extra and "a table of logits" in (
        folder / "results" / "reports" / "Ana Souza.html"
    ).read_text("utf-8")


def test_times_and_extensions_count(ran):
    _, printed = ran
    (table,) = [{row["learner"]: row for row in rows} for command, _, rows in printed if "--late" in command]
    ana, fatima, rania = (table[name] for name in ("Ana Souza", "Fatima Zahra", "Rania Haddad"))
    assert "2026-03-01 20:15 CET" in ana["message"] and "list of times" in ana["message"]
    # 101 hours: five days have begun
    assert "newest file" in rania["message"] and float(rania["late_factor"]) == 0.5
    assert "your extension" in fatima["message"] and float(fatima["late_factor"]) == 1


def test_whatever_the_guide_names_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)`", TEXT)) <= targets
    for path in re.findall(r"`((?:deploy|tests|docs)/[\w./-]+)`", TEXT):
        assert (ROOT / path).exists(), path
    options = (ROOT / "cmlib" / "grade" / "command.py").read_text("utf-8")
    named = set(re.findall(r"--[a-z][a-z-]+", "".join(re.findall(r"cmlib grade.*|`--[^`]+`", TEXT))))
    assert named and all(f'"{option}"' in options for option in named)


def test_the_limits_are_those_of_the_code():
    from cmlib.grade.opening import PATIENCE
    from cmlib.grade.walls import Limits

    limits = Limits()
    assert (f"({limits.wall:.0f} s a call, {PATIENCE:.0f} s an answer, {limits.memory >> 30} GB, "
            f"{limits.processes} processes, "
            f"{limits.disk >> 20} MB of disk; {limits.start:.0f} s for the cells before, "
            f"{limits.learner / 60:.0f} minutes a learner)") in TEXT
