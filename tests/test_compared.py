"""Rows that are compared with one another: the same gradient in one part or eight, on one process or two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ddp_compared_script import CASES, Logits, Pair, Space, main, rows, two_classes
from tasks_in_use import DpSgd, Triplet, remembers
from torch import nn

from cmlib.data.batch import Features
from cmlib.data.loader import batches
from cmlib.data.tree import cat
from cmlib.tasks import Classify, Contrast, Task
from cmlib.training import accumulate
from cmlib.training.accumulate import parts_of
from cmlib.training.distributed import Team
from cmlib.training.fit import fit
from cmlib.training.freeze import freeze
from cmlib.training.guards import check_task

WHOLE = {"epochs": 1, "batch_size": 29, "learning_rate": 0.0, "progress": False}


def gradient(model, task, parts: int, data=None, **settings) -> np.ndarray:
    """Of one batch with all rows, computed in that many parts by ``fit``."""
    task = remembers(task)
    fit(model, rows(29) if data is None else data, task=task, accumulate=parts, **WHOLE | settings)
    assert len(task.seen) == 1
    return np.array(task.seen[0])


def same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


# --- in parts ---


@pytest.mark.parametrize("parts", [2, 8, 29])
@pytest.mark.parametrize(("model", "task"), [(Pair, Contrast), (Space, lambda: Triplet(margin=2.0))])
def test_parts_change_nothing(model, task, parts):
    whole, cut = gradient(model(), task(), 1), gradient(model(), task(), parts)
    assert np.abs(whole).max() > 0.01
    same(cut, whole)


def test_the_temperature_learns_from_all_rows_too():
    one, eight = Pair(), Pair()
    for net, parts in ((one, 1), (eight, 8)):
        fit(net, rows(29), task=Contrast(), accumulate=parts, **WHOLE | {"learning_rate": 0.1, "epochs": 3})
    assert abs(one.log_scale.item() - 2) > 0.05 and eight.log_scale.item() == pytest.approx(
        one.log_scale.item(), abs=1e-9
    )


def test_a_sum_over_parts_would_be_something_else():
    """The old defect: 10.74, 9.89 or 7.09 for the same rows in 1, 2 or 8 parts."""

    class Naive(Contrast):
        separable = True

    whole = gradient(Pair(), Contrast(), 1)
    for parts in (2, 8):
        assert np.abs(gradient(Pair(), Naive(), parts) - whole).max() > 1e-3


def test_the_objective_sees_labels_and_targets_of_all_rows_in_their_order():
    class Looks(Contrast):
        targets = ("number", "name")
        seen = 0

        def objective(self, outputs, batch):
            if torch.is_grad_enabled() and self.seen is not None:
                order = torch.randperm(
                    29, generator=torch.Generator().manual_seed(0)
                )  # the only batch of fit
                assert torch.equal(batch.targets["number"], order) and torch.equal(batch.labels, order % 3)
                assert batch.targets["name"] == [f"row {k}" for k in order.tolist()]
                assert (
                    batch.image is None and batch.text is None and len(batch) == len(outputs["image"]) == 29
                )
                self.seen += 1
            return super().objective(outputs, batch)

    data, task = rows(29), Looks()
    targets = {"number": torch.arange(29), "name": [f"row {k}" for k in range(29)]}
    fit(Pair(), Features(data.image, data.text, data.labels, targets), task=task, accumulate=4, **WHOLE)
    assert task.seen == 1


def plain_gradient(model, data, parts: int) -> np.ndarray:
    """The oracle: every part forward with its graph kept, all outputs side by side, one backward pass."""
    index = batches(len(data), len(data), torch.Generator().manual_seed(0))[0]
    model.train()
    torch.manual_seed(0)  # as fit does with its seed
    outputs = cat([model(part.batch) for part in parts_of(data, index, parts)])
    Contrast().objective(outputs, None).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()


@pytest.mark.parametrize("parts", [2, 8])
def test_dropout_drops_the_same_units_both_times(parts, monkeypatch):
    def net():
        return Pair(nn.Dropout(0.5))

    expected = plain_gradient(net(), rows(29), parts)
    same(gradient(net(), Contrast(), parts), expected)
    assert np.abs(expected - plain_gradient(Pair(nn.Dropout(0.0)), rows(29), parts)).max() > 1e-3
    monkeypatch.setattr(accumulate, "_set_random_state", lambda state: None)
    assert np.abs(gradient(net(), Contrast(), parts) - expected).max() > 1e-3  # other units the second time


def test_numbers_that_the_task_draws_are_the_same_both_times():
    class Noise(Contrast):
        def forward(self, call, batch):
            return call(Features(batch.image + torch.randn_like(batch.image), batch.text, batch.labels))

    def expected(parts):
        def noisy(batch):
            return plain(Features(batch.image + torch.randn_like(batch.image), batch.text, batch.labels))

        net = Pair()
        plain, net.forward = net.forward, noisy
        return plain_gradient(net, rows(29), parts)

    same(gradient(Pair(), Noise(), 4), expected(4))


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    calls = []

    class Noise(Contrast):
        def forward(self, call, batch):
            return call(Features(batch.image + torch.randn_like(batch.image), batch.text, batch.labels))

        def objective(self, outputs, batch):
            calls.append(1)
            if len(calls) == stop_at:
                raise KeyboardInterrupt
            return super().objective(outputs, batch)

    def trained(folder):
        net = Pair(nn.Dropout(0.5))
        settings = {
            "epochs": 3,
            "batch_size": 8,
            "accumulate": 2,
            "every": 2,
            "log": False,
            "progress": False,
        }
        fit(net, rows(29), task=Noise(), checkpoint=tmp_path / folder, **settings)
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    stop_at = None
    whole = trained("whole")
    calls.clear()
    stop_at = 7
    stopped = trained("stopped")
    stop_at = None
    assert not torch.equal(stopped, whole) and torch.equal(trained("stopped"), whole)


def test_a_compiled_model_draws_what_the_model_draws(monkeypatch):
    """Else the second pass would drop other units than the first, which is never compiled."""
    made = []
    monkeypatch.setattr(torch, "compile", lambda net, **how: made.append(how) or net)
    monkeypatch.setattr("cmlib.training.fit.check_compiler", lambda device: None)
    gradient(Pair(nn.Dropout(0.5)), Contrast(), 2, compile=True)
    gradient(Logits(), Classify(), 2, two_classes(29), compile=True)
    assert made == [{"options": {"fallback_random": True}}, {}]


# --- layers that look across rows ---


def test_batchnorm_in_training_is_refused_with_parts():
    with pytest.raises(
        ValueError,
        match=r"^Contrast compares the rows of a batch, and the BatchNorm 'image_encoder\.1' "
        r"would see only those of its part: freeze it \(cmlib\.freeze\), or train "
        r"without accumulate\.$",
    ):
        gradient(Pair(nn.BatchNorm1d(16)), Contrast(), 2)
    with pytest.raises(ValueError, match="or train without several processes"):
        check_task(Pair(nn.BatchNorm1d(16)), Contrast(), 1, Team(0, 2))
    forgets = freeze(
        nn.BatchNorm1d(16, track_running_stats=False)
    )  # the batch's own statistics even in eval mode
    with pytest.raises(ValueError, match="would see only those of its part"):
        gradient(Pair(forgets), Contrast(), 2)


def test_a_frozen_batchnorm_is_accepted_and_stays():
    def net():
        norm = nn.BatchNorm1d(16)
        norm.running_mean += torch.linspace(-1, 1, 16)
        return Pair(freeze(norm))

    ours = net()
    same(gradient(ours, Contrast(), 8), gradient(net(), Contrast(), 1))
    assert torch.equal(ours.image_encoder[1].running_mean, net().image_encoder[1].running_mean)


def test_batchnorm_counts_a_batch_once():
    net = Pair(nn.BatchNorm1d(16))
    gradient(net, Contrast(), 1)
    data, fresh = rows(29), Pair(nn.BatchNorm1d(16))
    fresh.train()(data)
    assert net.image_encoder[1].num_batches_tracked == 1
    torch.testing.assert_close(net.image_encoder[1].running_mean, fresh.image_encoder[1].running_mean)


class PerRow(nn.InstanceNorm1d):
    """A norm that looks at one row only, so that parts are no harm, and counts what it saw."""

    def __init__(self):
        super().__init__(1, track_running_stats=True)

    def forward(self, x):
        return super().forward(x[:, None])[:, 0]


def test_running_statistics_of_other_norms_are_counted_once_too():
    ours, oracle = Pair(PerRow()), Pair(PerRow())
    same(gradient(ours, Contrast(), 4), plain_gradient(oracle, rows(29), 4))
    counted, expected = ours.image_encoder[1].running_var, oracle.image_encoder[1].running_var
    torch.testing.assert_close(counted, expected, rtol=0, atol=1e-9)
    assert (counted - 1).abs() > 0.01


# --- what is refused, and when ---


def test_data_are_checked_with_the_outputs_of_all_rows_before_anything_is_made_of_them():
    class Strict(Triplet):
        def check(self, name, rows, outputs):
            assert len(outputs) == 29
            if rows.labels is None:
                raise ValueError(f"The rows of {name} have no labels.")

    data = rows(29)
    for parts in (1, 4):
        with pytest.raises(ValueError, match=r"^The rows of train have no labels\.$"):
            gradient(Space(), Strict(), parts, Features(data.image, data.text))
    gradient(Pair(), Contrast(), 29)  # parts of one row: the batch is larger, and can be compared
    with pytest.raises(ValueError, match="A batch of one row has nothing to be compared with"):
        fit(Pair(), rows(29), epochs=1, task=Contrast(), batch_size=1, progress=False)


def test_gradients_of_ones_own_need_the_rows_in_one_place():
    with pytest.raises(
        ValueError,
        match=r"^DpSgd computes its gradients itself, and several processes cannot add them "
        r"up: train it on one\.$",
    ):
        check_task(Logits(), DpSgd(1.0, 0.0), 1, Team(0, 2))
    check_task(Logits(), DpSgd(1.0, 0.0), 4, Team())  # in parts it adds them up

    class Both(DpSgd):
        separable = False

    with pytest.raises(
        ValueError, match="^Both computes its gradients itself and compares rows, .* without accumulate"
    ):
        check_task(Logits(), Both(1.0, 0.0), 4, Team())


# --- on two processes ---


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """One start of two processes for all cases: what each of them found."""
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("no gloo on this system")
    folder = tmp_path_factory.mktemp("compared")
    script = Path(__file__).with_name("ddp_compared_script.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(folder), *CASES],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("case", [case for case in CASES if "learns" not in case and case != "noise"])
def test_two_processes_have_the_gradient_of_one(two, case):
    alone = main(case)
    assert np.abs(alone["gradients"]).max() > 0.01 and len(alone["gradients"]) == 4
    for found in two:
        same(found[case]["gradients"], alone["gradients"])
        same(found[case]["batch_loss"], alone["batch_loss"])


@pytest.mark.parametrize("case", ["contrast learns", "triplet learns"])
def test_two_processes_learn_and_score_as_one(two, case):
    alone = main(case)
    assert alone["batch_loss"][-1] < alone["batch_loss"][0]
    for found in two:
        np.testing.assert_allclose(found[case]["batch_loss"], alone["batch_loss"], rtol=0, atol=1e-7)
        for ours, expected in zip(found[case]["scores"], alone["scores"], strict=True):
            assert ours == pytest.approx(expected, abs=1e-6) and "valid_recall@1" in ours


def test_noise_that_a_task_adds_is_the_same_on_both(two):
    assert two[0]["noise"]["weights"] == two[1]["noise"]["weights"]


def test_a_task_that_is_no_mean_over_rows_says_so():
    assert Task.separable and not Contrast.separable and not Triplet.separable
