"""The other walls: a container, and another user with limits. A part of the hostile suite (all of it with
CML_ALL_WALLS=1) behind each.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import hostile
import pytest
from conftest import need
from test_hostile import SECRET, UIDS, Result, processes, secrets, write_neighbours

from cmlib.grade import box, containers, inside, walls
from cmlib.grade.inside import Limits

ROOT = Path(__file__).resolve().parents[2]

SOME = {
    "os._exit",
    "30 GB",
    "fork bomb",
    "kills its parents",
    "a daemon left behind",
    "writes to the system",
    "its input",
    "lying tensor",
    "calls the host",
}
SUITE = [one for one in hostile.SUITE if one.name in SOME or os.environ.get("CML_ALL_WALLS")]
HONEST = ("Ann", "Mid")


@pytest.fixture(scope="module", params=containers.ENGINES)
def engine(request):
    if request.param == "docker" and not shutil.which("docker"):
        pytest.skip("Docker is not installed here; Podman is tried")
    need("Podman (apt install podman runc)", shutil.which(request.param))
    if problem := containers.problem(request.param, Limits()):
        pytest.skip(f"{request.param} cannot start a container on this machine: {problem}")
    return request.param


@pytest.fixture(scope="module")
def contained(engine, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMLIB_HOME", str(tmp_path_factory.mktemp("home")))
        yield Result(
            tmp_path_factory.mktemp("contained"), patch, walls.Wall(engine, nested=False), SUITE, HONEST
        )


def test_a_container_holds_what_bubblewrap_holds(contained, engine):
    assert set(contained.records) == {one.name for one in SUITE} | set(HONEST)
    for one in SUITE:
        record = contained.records[one.name]
        assert record["exercises"]["01.1"]["points"] <= one.most, record
        assert record["state"] == "graded", record
        assert record["exercises"]["01.2"]["state"] == "passed", record
    assert contained.same == dict.fromkeys(HONEST, True)
    assert contained.callers == 0
    assert [secret for secret in secrets(contained.learners) if secret in contained.seen] == []


def test_nothing_is_left_of_a_container(contained, engine):
    assert (
        containers._run(
            engine, "ps", "--all", "--filter", "name=cmlib-", "--format", "{{.Names}}"
        ).stdout.decode()
        == ""
    )
    assert list(contained.tmp.iterdir()) == []
    assert processes_of(range(UIDS, UIDS + 100)) == []


def test_a_killed_grader_leaves_a_container_that_ends_by_itself(engine, tmp_path):
    sleeper = tmp_path / "sleeper.py"
    sleeper.write_text(f"""
from cmlib.grade import box, walls
wall = walls.Wall({engine!r}, nested=False)
files = box.stage()
one = box.Box(wall, files, slot=77)
session = one.answer()
print("up", flush=True)
session.ask({{"do": "read", "name": "f", "id": "01.1"}}, ["import time\\ndef f(): time.sleep(500)"])
session.ask({{"do": "run"}})
session.ask({{"do": "call"}}, ((), {{}}))
""")
    process = subprocess.Popen([sys.executable, sleeper], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    time.sleep(1)
    assert names(engine) == [containers.name_of(process.pid, 77)]
    process.kill()
    process.wait()
    for _ in range(100):
        if not names(engine):
            return
        time.sleep(0.1)
    pytest.fail("the container outlived its grader")


def names(engine):
    return containers._run(engine, "ps", "--format", "{{.Names}}").stdout.decode().split()


def processes_of(uids):
    return [name for uid, _, name in processes() if uid in uids]


@pytest.fixture
def open_python():
    """An environment, on a Python that every user can read, with the packages of this one; beside it a folder
    of commands without a wall.
    """
    if os.getuid() != 0:
        pytest.skip("only root can be another user")
    system, here = (
        Path(f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"),
        sysconfig.get_path("purelib"),
    )
    nobody = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    if (
        not system.exists()
        or subprocess.run(["test", "-r", f"{here}/torch/__init__.py"], **nobody, check=False).returncode
    ):
        pytest.skip(f"there is no {system}, or {here} is closed to other users")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        place = Path(folder)
        place.chmod(0o755)
        subprocess.run([system, "-m", "venv", "--without-pip", place / "env"], check=True)
        (next(place.glob("env/lib/python3*/site-packages")) / "packages.pth").write_text(f"{here}\n{ROOT}\n")
        (place / "bin").mkdir()
        for name in ("env", "sh", "test"):
            (place / "bin" / name).symlink_to(shutil.which(name))
        yield place


def test_another_user_is_the_last_wall_and_only_on_demand(open_python, tmp_path):
    folder, out, secret = tmp_path / "class", tmp_path / "out", tmp_path / "secret"
    write_neighbours(folder, HONEST)
    suite = [one for one in hostile.SUITE if one.name in SOME | {"kills everyone"}]
    hostile.write(folder, suite=suite)
    secret.write_bytes(SECRET)
    command = [
        open_python / "env/bin/python",
        "-m",
        "cmlib.cli",
        "grade",
        folder,
        "--lessons",
        "01",
        "--seed-file",
        secret,
        "--out",
        out,
    ]
    environment = {"PATH": str(open_python / "bin"), "HOME": str(tmp_path), "CMLIB_HOME": str(tmp_path)}

    refused = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert refused.returncode == 2
    assert "bwrap is not installed; docker is not installed; podman is not installed" in refused.stderr

    done = subprocess.run(
        [*command, "--i-trust-these-students"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (
        "Wall: user (one box per learner). Learners' code can read files and use the network here"
        in done.stdout
    )
    records = {
        r["learner"]: r for p in (out / "grades").iterdir() for r in [json.loads(p.read_text("utf-8"))]
    }
    assert set(records) == {one.name for one in suite} | set(HONEST)
    assert records["Ann"]["exercises"]["01.1"]["state"] == "passed"
    for one in suite:
        assert records[one.name]["exercises"]["01.1"]["points"] <= one.most, records[one.name]
        assert records[one.name]["state"] == "graded", records[one.name]
    assert processes_of(range(inside.FIRST_UID + 10_000, inside.FIRST_UID + 11_000)) == []


def test_a_python_that_another_user_cannot_read_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(walls.os, "getuid", lambda: 0)
    monkeypatch.setattr(walls, "_as_user", lambda uid, *command: subprocess.CompletedProcess(command, 1))
    with pytest.raises(walls.NoWall, match="Another user cannot read the Python of this "
                                           "environment.*/usr/bin/python3"):
        walls.choose(trust=True)


def test_another_system_than_linux_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(walls.sys, "platform", "darwin")
    with pytest.raises(walls.NoWall, match="graded on Linux alone, and this is darwin: use a Linux machine, "
                                           "WSL2"):
        walls.choose()


def test_sets_have_one_order_in_every_box(wall):
    found, files = [], box.stage()
    for slot in (801, 802):
        with box.Box(wall, files, slot) as one:
            session = one.answer()
            order = "def f(): return list({'red', 'green', 'blue', 'cyan'}), hash('order')"
            session.ask({"do": "read", "name": "f", "id": "01.1"}, [order])
            session.ask({"do": "run"})
            found.append(session.ask({"do": "call"}, ((), {}))[1])
    assert found[0] == found[1]
    shutil.rmtree(files)
