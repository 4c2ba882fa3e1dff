"""Two processes under torchrun are one process on the joined batch: the same losses, weights, decisions and
errors.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ddp_script import Unused, main

from cmlib.training import checkpoint as checkpoints
from cmlib.training.distributed import ALONE, join, spread, summing

EPOCHS = {"epochs": 3, "learning_rate": 0.01}
CASES = {
    "plain": EPOCHS,
    "parts": EPOCHS | {"accumulate": 3},
    "ema": EPOCHS | {"ema": 0.9},
    "head": EPOCHS | {"head_first": 1, "accumulate": 2},
    "stop": {"epochs": 40, "learning_rate": 0.2, "patience": 1},
    "nan": EPOCHS | {"nan": 17},
    "saved": EPOCHS | {"checkpoint": "checkpoint", "every": 3},
    "again": EPOCHS | {"checkpoint": "checkpoint", "every": 3},
}


def torchrun(folder, cases):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, str(Path(__file__).with_name("ddp_script.py")), str(folder), json.dumps(cases)],
        cwd=folder,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """One start of two processes for all cases: what each process of each case found."""
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("no gloo on this system")
    folder = tmp_path_factory.mktemp("ddp")
    done = torchrun(folder, list(CASES.values()))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, {name: [json.loads((folder / str(i) / f"rank{rank}.json").read_text()) for rank in (0, 1)]
                    for i, name in enumerate(CASES)}


@pytest.mark.parametrize("case", ["plain", "parts", "ema", "head", "stop", "saved", "again"])
def test_two_processes_equal_one_on_the_joined_batch(two, tmp_path, case):
    alone = main(
        str(tmp_path),
        {key: value for key, value in CASES[case].items() if key not in ("checkpoint", "every")},
    )
    for found in two[1][case]:
        assert found["error"] is None and found["best"] == alone["best"]
        assert found["batch_loss"] == pytest.approx(alone["batch_loss"], abs=1e-9)
        assert found["valid_loss"] == pytest.approx(alone["valid_loss"], abs=1e-9)
        for ours, expected in zip(found["weights"], alone["weights"], strict=True):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-8)
    assert case != "stop" or len(alone["valid_loss"]) < 40


def test_an_epoch_in_which_the_head_learns_alone_is_another_run(two):
    plain, head = (two[1][case][0]["batch_loss"] for case in ("plain", "head"))
    assert plain[0] == pytest.approx(head[0], abs=1e-9) and max(map(abs, np.subtract(plain, head))) > 1e-4


def test_each_computes_its_share_also_of_the_uneven_last_batch(two):
    rows = [[n for n in found["seen"] if n > 0] for found in two[1]["plain"]]
    assert rows == [[4, 4, 4, 3] * 3, [4, 4, 4, 2] * 3]  # 29 rows in batches of 8


def test_the_row_that_is_nan_is_named_by_both(two, tmp_path):
    alone = main(str(tmp_path), dict(CASES["nan"]))
    assert "(rows 17)" in alone["error"]
    assert [found["error"] for found in two[1]["nan"]] == [alone["error"]] * 2


def test_one_process_writes_the_checkpoint_and_both_go_on_from_it(two):
    folder = two[0] / "checkpoint"
    assert (
        sorted(path.name for path in folder.iterdir()) == ["log", "step-00000012"]
        and len(list((folder / "log").iterdir())) == 1
    )
    assert checkpoints.load(folder, Unused())[1]["epoch"] == 3
    assert [found["seen"] for found in two[1]["again"]] == [[], []]  # finished: nothing was computed again


def test_a_process_that_is_killed_ends_the_run_and_the_same_command_goes_on(tmp_path):
    case = EPOCHS | {"checkpoint": "checkpoint", "every": 3, "kill": 7}
    started = time.monotonic()
    done = torchrun(tmp_path, [case])
    # 10 without a busy machine
    assert done.returncode != 0 and "SIGKILL" in done.stderr and time.monotonic() - started < 120
    # neither came to its end
    assert (tmp_path / "0" / "killed").exists() and not list((tmp_path / "0").glob("rank*"))
    assert checkpoints.load(tmp_path / "checkpoint", Unused())[1]["step"] == 6
    done = torchrun(tmp_path, [case])
    assert done.returncode == 0, done.stderr[-3000:]
    alone = main(str(tmp_path), dict(EPOCHS))
    for rank in (0, 1):
        found = json.loads((tmp_path / "0" / f"rank{rank}.json").read_text())
        assert (
            found["batch_loss"] == pytest.approx(alone["batch_loss"], abs=1e-9)
            and sum(n > 0 for n in found["seen"]) == 6
        )
        for ours, expected in zip(found["weights"], alone["weights"], strict=True):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-8)


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for name in ("WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    net = Unused()
    assert join(torch.device("cpu")) is ALONE and spread(net, ALONE, torch.device("cpu")) is net
    with summing(net, last=False):
        assert ALONE.gather(3) == [3] and ALONE.total(torch.tensor(2.0)) == 2


def test_two_processes_on_one_gpu_are_told_to_move(monkeypatch):
    for name, value in (
        ("WORLD_SIZE", "2"),
        ("RANK", "1"),
        ("LOCAL_RANK", "1"),
        ("MASTER_ADDR", "localhost"),
    ):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"Process 1 of this machine has its model on cuda:0, .* "
                                         r"torch\.cuda\.set_device"):
        join(torch.device("cuda", 0))
