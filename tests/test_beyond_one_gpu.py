"""A crew ends in every way, its ring is torch's, plans are what a slow look finds, deploy/ trains one model.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT

from cmlib.training.crew import Crew
from cmlib.training.distributed import join
from cmlib.training.planning import Link, bytes_by_stage, pipeline

gloo = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="no gloo here")


def numbered(team, start):
    return start + team.rank


def summed(team, start):
    return {"sum": team.total(torch.tensor(numbered(team, start))), "size": team.size}


def around(team, numbers):
    from cmlib.training.ring import ring_all_reduce

    x = torch.arange(numbers, dtype=torch.float64).reshape(-1, 1) * 10.0**team.rank
    return *ring_all_reduce(x), team.total(x)


def one_more(team):
    import datetime

    group = dist.new_group(timeout=datetime.timedelta(seconds=1))  # noqa: F821, a name of the script
    for number in range(3 + team.rank):
        try:
            dist.all_reduce(torch.ones(3), group=group)  # noqa: F821
        except RuntimeError:
            return f"gave up at {number}"
    return "finished"


def broken(team):
    if team.rank == 1:
        raise ValueError("row 17 is broken")
    team.wait()


def dies(team):
    if team.rank == 1:
        os = __import__("os")
        print("the last words")
        sys = __import__("sys")
        sys.stdout.flush()
        os._exit(9)
    team.wait()


def hangs(team):
    datetime, time = __import__("datetime"), __import__("time")
    group = dist.new_group(timeout=datetime.timedelta(seconds=1))  # noqa: F821, a name of the script
    if team.rank == 1:
        time.sleep(60)
    dist.all_reduce(torch.ones(3), group=group)  # noqa: F821


def sleeps(team):
    __import__("time").sleep(60)


def knows_too_much(team):
    return ROOT


def ended(crew):
    return all(process.poll() is not None for process in crew.processes) and not crew.folder.exists()


# --- the crew


@gloo
def test_three_processes_and_one_that_breaks():
    with Crew(3) as crew:
        found = crew.run(summed, 1, helpers=[numbered])
        assert [int(one["sum"]) for one in found] == [6, 6, 6] and found[0]["size"] == 3
        for numbers in (7, 9, 2):  # chunks that differ, and one that is empty
            for by_hand, sent, torchs in crew.run(around, numbers):
                assert torch.equal(by_hand, torchs) and by_hand.shape == (numbers, 1)
                assert abs(sent - 4 * numbers / 3) < 4
        assert crew.run(one_more)[0] == "finished" and "gave up at 3" in crew.run(one_more)
        with pytest.raises(RuntimeError, match=r"^Process 1 of 3 failed in `broken`: ValueError: row 17 is "
                                               r"broken\. "
                                               r"The whole crew was ended\.$"):
            crew.run(broken)
        assert ended(crew)
        with pytest.raises(RuntimeError, match=r"^This crew has ended: start another one with Crew\(3\)\.$"):
            crew.run(summed, 1)


@gloo
def test_one_that_dies_ends_all_with_a_sentence():
    crew = Crew(2)
    with pytest.raises(RuntimeError, match=r"^Process 1 of 2 died in `dies` with exit status 9, and its last "
                                           r"line "
                                           r"was 'the last words'; the whole crew was ended\.$"):
        crew.run(dies)
    assert ended(crew)


@gloo
def test_a_name_of_the_notebook_is_explained():
    with Crew(1) as crew, pytest.raises(RuntimeError, match="NameError: name 'ROOT' is not defined in its "
                                                            "script, "
                                                            "which knows nothing of the notebook"):
        crew.run(knows_too_much)


@gloo
def test_what_takes_too_long_is_ended():
    crew = Crew(1)
    crew.run(numbered, 0)  # it has started
    with pytest.raises(TimeoutError, match=r"^The time is over, and `sleeps` has not finished in process 0; "
                                           r""):
        crew.run(sleeps, limit=0.5)
    assert ended(crew)


@gloo
def test_one_that_hangs_ends_all_with_a_sentence_that_names_it():
    crew = Crew(2)
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^The time is over, and `hangs` has not finished in process 1; "
                                           r"the whole crew was ended\.$"):
        crew.run(hangs)
    assert ended(crew) and time.monotonic() - begun < 60


@gloo
@pytest.mark.skipif(sys.platform == "win32", reason="no signal that stops a process")
def test_one_that_hangs_at_the_start_is_named():
    crew = Crew(2, timeout=2)
    crew.processes[1].send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError, match=r"^The time is over, and the start has not finished in process 1"):
        crew.run(numbered, 0)
    assert ended(crew)


HANGS = """
import os, time, torch
from cmlib import fit
from cmlib.data import Features
from cmlib.fusion.concat import Concat

def late(batch):
    time.sleep(200 * int(os.environ["RANK"]))
    return batch

x = torch.randn(16, 3)
rows = Features(x, x, torch.arange(16) % 2)
fit(Concat(3, 3, 2), rows, epochs=1, batch_size=8, augment=late, progress=False)
"""


@gloo
def test_fit_ends_where_another_process_hangs(tmp_path):
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CMLIB_TIMEOUT": "8"}, check=False,
        capture_output=True, text=True)  # until nobody holds their lines any more
    assert time.monotonic() - begun < 150 and done.returncode != 0
    assert ("TimeoutError: Process 0 of 2 has waited for another one until its timeout: that one hangs, or "
            "takes fewer steps.") in done.stderr, done.stderr[-3000:]


@pytest.mark.parametrize("given", ["0", "-1", "soon", "1e3", "", "1000000"])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(monkeypatch, given):
    monkeypatch.setenv("CMLIB_TIMEOUT", given)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(ValueError, match=r"^CMLIB_TIMEOUT='.*' is how many seconds a process waits"):
        join(torch.device("cpu"))


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "2"])
def test_a_crew_of_none_is_refused(size):
    with pytest.raises(ValueError, match=r"^A crew has one process or more; got size="):
        Crew(size)


def test_a_crew_that_is_forgotten_ends():
    crew = Crew(1)
    processes = crew.processes
    del crew
    assert all(process.poll() is not None for process in processes)


KERNEL = """
import signal, sys, threading, time
from cmlib.training.crew import Crew
crews = []
start = lambda: crews.append(Crew(2, log=sys.stdout))
if sys.argv[1] == "thread":   # without the death signal of Linux
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
print("they have started", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("where", ["main", "thread"])
@pytest.mark.parametrize("after", [0.3, 5.0])  # while they import, and when they wait
def test_a_crew_ends_with_its_kernel(where, after):
    kernel = subprocess.Popen([sys.executable, "-c", KERNEL, where], cwd=ROOT, stdout=subprocess.PIPE)
    kernel.stdout.readline()
    time.sleep(after)
    kernel.kill()
    reader = threading.Thread(target=kernel.stdout.read)  # ends when nobody holds the line any more
    reader.start()
    reader.join(20)
    alive = reader.is_alive()
    kernel.wait()
    assert not alive


# --- plans


@pytest.mark.parametrize(("stages", "parts", "send"), [
    (1, 1, 0.0), (1, 4, 0.3), (3, 1, 0.2), (3, 5, 0.1), (4, 3, 0)])
def test_the_pipeline_is_what_a_clock_that_ticks_finds(stages, parts, send):
    draw = torch.Generator().manual_seed(stages + parts)
    forward, backward = (torch.rand(2, stages, generator=draw, dtype=torch.float64) + 0.5).tolist()
    ends = {}  # (way, stage, part) → when it ended, in the order of time
    free, done = [0.0] * stages, 0
    while done < 2 * stages * parts:
        ready = []
        for s in range(stages):
            for way in "fb":
                i = sum((way, s, k) in ends for k in range(parts))
                before = s - 1 if way == "f" else s + 1
                outer = not 0 <= before < stages
                if i == parts or (way == "b" and ("f", s, parts - 1) not in ends) or not (
                        outer or (way, before, i) in ends):
                    continue
                came = 0.0 if outer else ends[way, before, i] + send
                ready.append((max(free[s], came), s, way, i))
        start, s, way, i = min(ready)
        free[s] = ends[way, s, i] = start + (forward if way == "f" else backward)[s]
        done += 1
    ahead, back = pipeline(forward, backward, parts, send)
    for found, way in ((ahead, "f"), (back, "b")):
        want = [[ends[way, s, i] for i in range(parts)] for s in range(stages)]
        torch.testing.assert_close(found, torch.tensor(want, dtype=torch.float64))


def test_equal_stages_wait_as_the_formula_says():
    for p, m in ((2, 3), (8, 63), (5, 1)):
        end = float(pipeline([1.0] * p, [2.0] * p, m)[1].max())
        assert end == pytest.approx(3 * (m + p - 1))


def test_bytes_of_a_process_add_up():
    layers = [10, 7, 1]
    assert bytes_by_stage(layers, 1).tolist() == [16 * 18, 16 * 18, 16 * 18 + 40, 16 * 18 + 80]
    piece = 4 + 3 + 1
    assert bytes_by_stage(layers, 3).tolist() == [
        16 * 18, 8 * 18 + 8 * piece, 4 * 18 + 12 * piece + 40, 16 * piece + 80]


def test_links_add_up():
    link = Link(1.0, 10.0)
    assert link.send(20) == 3 and link.all_reduce(20, 1) == 0 and link.all_reduce(20, 4) == 6 * 1.5


@pytest.mark.parametrize(("call", "says"), [
    (lambda: Link(-1, 1), "latency of 0 seconds or more"),
    (lambda: Link(0, 0), "rate above 0"),
    (lambda: Link(float("nan"), 1), "latency of 0 seconds or more"),
    (lambda: bytes_by_stage([], 2), "one weight or more"),
    (lambda: bytes_by_stage([3], 0), "one process or more"),
    (lambda: pipeline([], [], 2), "one stage or more"),
    (lambda: pipeline([1.0], [1.0, 2.0], 2), "got 1 and 2 stages"),
    (lambda: pipeline([1.0], [1.0], 0), "0 parts"),
])
def test_a_plan_that_cannot_be_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# --- one script, three ways


SBATCH, JOB = ROOT / "deploy" / "train.sbatch", ROOT / "deploy" / "train-job.yaml"
FEW = ["--rows", "50", "--epochs", "1", "--batch-size", "16"]


def job():
    service, job = yaml.safe_load_all(JOB.read_text("utf-8"))
    return service, job, job["spec"]["template"]["spec"]


def port():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return str(own.getsockname()[1])


def started(command, folder, **more):
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    settings = {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CMLIB_SCALE": "small"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | settings | more, check=False,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return re.search(r"processes: (\d+); validation loss after each epoch: ([\d.]+)", done.stdout).groups()


def test_the_files_say_one_number_of_machines():
    service, job_, pod = job()
    (container,) = pod["containers"]
    machines = re.search(r"--nnodes (\d+)", container["args"][0])[1]
    assert job_["spec"]["completions"] == job_["spec"]["parallelism"] == int(machines)
    assert job_["spec"]["completionMode"] == "Indexed"
    name = job_["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert f"--master-addr {name}-0.{pod['subdomain']}" in container["args"][0]
    mounted, there = ({one["name"] for one in some} for some in (container["volumeMounts"], pod["volumes"]))
    assert mounted == there
    gpus = re.search(r"--nproc-per-node (\d+)", container["args"][0])[1]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == int(gpus)
    lines = SBATCH.read_text("utf-8").splitlines()
    assert subprocess.run(["bash", "-n", SBATCH], check=False).returncode == 0
    # Slurm stops reading at the first command
    last = max(n for n, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert last < lines.index("set -euo pipefail")


@gloo
def test_slurm_and_kubernetes_train_the_same(tmp_path):
    (_, alone) = started([sys.executable, "deploy/train_together.py", *FEW], tmp_path)
    for name, text in (("srun", 'exec "$@"'), ("scontrol", "echo 127.0.0.1; echo other")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    slurm = started(["bash", SBATCH, *FEW], tmp_path, SLURM_JOB_NODELIST="a[1-2]", SLURM_NNODES="1",
                    SLURM_JOB_ID="7", SLURM_GPUS_ON_NODE="2", PORT=port(), CHECKPOINT=str(tmp_path / "slurm"))
    container = job()[2]["containers"][0]
    shell = container["args"][0]
    for here, there in (("--nnodes 2", "--nnodes 1"), ("--nproc-per-node 4", "--nproc-per-node 2"),
                        ("cmlib-train-0.cmlib-train", "127.0.0.1"), ("29500", port()),
                        ("/checkpoint", str(tmp_path / "kubernetes"))):
        assert here in shell
        shell = shell.replace(here, there)
    kubernetes = started([*container["command"], " ".join([shell, *FEW])], tmp_path, JOB_COMPLETION_INDEX="0")
    assert slurm == kubernetes and slurm[0] == "2"
    assert float(slurm[1]) == pytest.approx(float(alone), abs=0.02)  # BatchNorm sees a share, or all rows
