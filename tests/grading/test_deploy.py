"""The files in deploy/ are what they say: the Slurm array and the Kubernetes Job, run here part by part,
equal one run.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from classroom import CLASS, write
from conftest import ROOT, need

SBATCH, JOB = ROOT / "deploy" / "slurm.sbatch", ROOT / "deploy" / "kubernetes-job.yaml"
LESSON = "02"


@pytest.fixture(scope="module")
def container():
    job = yaml.safe_load(JOB.read_text("utf-8"))
    return job, job["spec"]["template"]["spec"]["containers"][0]


def environment(**more):
    return (
        os.environ
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        | more
    )


def test_the_array_has_as_many_tasks_as_parts_and_is_bash():
    text = SBATCH.read_text("utf-8")
    assert subprocess.run(["bash", "-n", SBATCH], check=False).returncode == 0
    first, last = map(int, re.search(r"^#SBATCH --array=(\d+)-(\d+)$", text, re.MULTILINE).groups())
    assert (first, last + 1) == (0, int(re.search(r"^parts=(\d+)", text, re.MULTILINE)[1]))
    directives = [n for n, line in enumerate(text.splitlines()) if line.startswith("#SBATCH")]
    # Slurm stops reading at the first command
    assert max(directives) < text.splitlines().index("set -euo pipefail")


def test_the_job_is_indexed_and_has_as_many_pods_as_parts(container):
    job, grade = container
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    assert job["spec"]["completions"] == int(
        re.search(r'--shard "\$JOB_COMPLETION_INDEX/(\d+)"', grade["args"][0])[1]
    )
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] in ("OnFailure", "Never")
    assert {m["name"] for m in grade["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    # the API refuses one without the other
    assert pod["hostUsers"] is False and grade["securityContext"]["procMount"] == "Unmasked"


def test_without_a_secret_the_array_does_not_start(tmp_path):
    done = subprocess.run(
        ["bash", SBATCH, tmp_path, LESSON, tmp_path / "none", tmp_path / "out"],
        env=environment(SLURM_ARRAY_TASK_ID="0"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "openssl rand -hex 32" in done.stderr and not (tmp_path / "out").exists()


def test_two_parts_on_slurm_and_two_on_kubernetes_equal_one_run(tmp_path, container):
    need("bubblewrap", shutil.which("bwrap"))
    write(tmp_path, [CLASS[k] for k in (0, 4, 9, 12, 16, 25, 29)], lessons=(LESSON,))
    submissions, secret = tmp_path / "submissions", tmp_path / "secret.txt"
    shell = [
        part.replace("/class/submissions", str(submissions))
        .replace("/secret/seed", str(secret))
        .replace("/class/results", str(tmp_path / "parts"))
        .replace("01-07", LESSON)
        for part in (*container[1]["command"], *container[1]["args"])
    ]
    options = ["--late", tmp_path / "late.toml", "--times", tmp_path / "times.csv"]
    shell[-1] += " --workers 1 " + " ".join(map(str, options))
    slurm = ["bash", SBATCH, submissions, LESSON, secret, tmp_path / "parts", *options]
    running = [
        subprocess.Popen(slurm, env=environment(SLURM_ARRAY_TASK_ID=str(k), SLURM_CPUS_PER_TASK="1"))
        for k in (0, 1)
    ]
    assert [p.wait() for p in running] == [0, 0]
    running = [subprocess.Popen(shell, env=environment(JOB_COMPLETION_INDEX=str(k))) for k in (2, 3)]
    assert [p.wait() for p in running] == [0, 0]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "cmlib.cli",
            "grade",
            submissions,
            "--lessons",
            LESSON,
            "--seed-file",
            secret,
            "--out",
            tmp_path / "one",
            *options,
        ],
        env=environment(),
        check=True,
    )

    def everything(out):
        return {
            str(p.relative_to(out)): p.read_bytes()
            for p in out.rglob("*")
            if p.is_file() and "times" not in p.parts
        }
    one, parts = everything(tmp_path / "one"), everything(tmp_path / "parts")
    assert len([name for name in one if name.startswith("grades/")]) == 7
    for page in ("class.html",):  # it says how long the grading took
        one[page], parts[page] = (re.sub(rb"[\d.]+ s\b", b"", files[page]) for files in (one, parts))
    assert one == parts
