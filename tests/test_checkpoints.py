"""A run that was stopped anywhere and goes on is the run that was never stopped, to the last bit; damage is
named.
"""

import errno
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import interrupted_at
from torch import nn
from torch.nn.functional import cross_entropy

from cmlib.data.batch import Features
from cmlib.fusion.concat import Concat
from cmlib.training import checkpoint as checkpoints
from cmlib.training.fit import fit

SETTINGS = {
    "epochs": 4,
    "batch_size": 10,
    "learning_rate": 0.01,
    "ema": 0.9,
    "accumulate": 2,
    "progress": False,
    "log": False,
}


def data(n=45, seed=0):
    draw = torch.Generator().manual_seed(seed)
    image, text = torch.randn(n, 4, generator=draw), torch.randn(n, 3, generator=draw)
    return Features(image, text, (image[:, 0] + text[:, 0] > 0).long())


class Net(nn.Module):
    """Everything that a run has to carry on: dropout's random numbers, BatchNorm's statistics and counter,
    tied weights.
    """

    def __init__(self, hidden_size=8):
        super().__init__()
        torch.manual_seed(0)
        self.concat = Concat(4, 3, 2, head="mlp", hidden_size=hidden_size, dropout=0.3)
        self.norm = nn.BatchNorm1d(2, affine=False)
        self.again = self.concat.head[3]  # the same tensors under a second name

    def forward(self, batch):
        return self.norm(self.again(self.concat.head[:3](self.concat.joint(batch))))


def run(folder=None, stop=None, every=1, loss=cross_entropy, **settings):
    """(model, history); stop : Ctrl-C at that call of the loss."""
    net = Net()
    return net, fit(
        net,
        data(),
        data(30, 1),
        loss=interrupted_at(stop, loss),
        checkpoint=folder,
        every=every,
        **SETTINGS | settings,
    )


def bits(net, history):
    return (
        {name: t.tolist() for name, t in net.state_dict().items()},
        history.batch_loss,
        repr(history),
        history.best_epoch,
    )


@pytest.fixture(scope="module")
def uninterrupted():
    return bits(*run())


def test_checkpoints_change_nothing(tmp_path, uninterrupted):
    assert bits(*run(tmp_path)) == uninterrupted and [path.name for path in tmp_path.iterdir()] == [
        "step-00000020"
    ]


@pytest.mark.parametrize("every", [1, 3, 500])
@pytest.mark.parametrize("stop", [2, 7, 11, 12, 13, 25, 40])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, uninterrupted, stop, every):
    _, history = run(tmp_path, stop, every)
    assert history.interrupted
    assert bits(*run(tmp_path, every=every)) == uninterrupted


@pytest.mark.parametrize("stop", [8, 25])
def test_what_augment_draws_from_numpy_and_python_goes_on_too(tmp_path, stop):
    def noisy(batch):
        scale = np.random.normal(1, 0.1) + random.gauss(0, 0.1) + random.random() * np.random.random()
        return replace(batch, image=batch.image * scale)

    def seeded(*place):
        np.random.seed(5)
        random.seed(5)
        return run(*place, augment=noisy)

    whole = bits(*seeded())
    seeded(tmp_path, stop)
    np.random.seed(6)
    assert bits(*run(tmp_path, augment=noisy)) == whole


def test_a_run_stopped_again_and_again_ends_with_the_same_bits(tmp_path, uninterrupted):
    for stop in (9, 14, 9, 4, 7):
        run(tmp_path, stop)
    assert bits(*run(tmp_path)) == uninterrupted


def test_a_finished_run_is_only_loaded(tmp_path, uninterrupted):
    run(tmp_path)
    assert bits(*run(tmp_path, stop=1)) == uninterrupted  # not one call of the loss


def test_an_early_stop_stays_stopped(tmp_path):
    settings = {"patience": 1, "epochs": 30, "learning_rate": 0.5}
    first = run(tmp_path, **settings)
    assert len(first[1]) < 30 and bits(*run(tmp_path, stop=1, **settings)) == bits(*first)


def test_half_precision_goes_on_with_its_scale(tmp_path):
    settings = {"precision": "fp16"}
    whole = bits(*run(**settings))
    run(tmp_path, 9, **settings)
    facts = json.loads((checkpoints.latest(tmp_path) / "manifest.json").read_text())
    assert facts["scaler"]["_growth_tracker"] == facts["step"] and bits(*run(tmp_path, **settings)) == whole


def child(folder, counter):
    def loss(logits, labels):
        if logits.requires_grad:
            # one call for each half of a batch; nothing is lost when the process is killed
            os.write(handle, b".")
        return cross_entropy(logits, labels)

    handle = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    run(folder, every=2, loss=loss)


def wait_for(process, counter, calls, patience=120.0):
    """Until the process has called its loss so often, or has ended: a moment of the run, on a machine of any
    speed.
    """
    until = time.monotonic() + patience
    while process.is_alive() and time.monotonic() < until:
        if counter.exists() and counter.stat().st_size >= calls:
            return


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_kill_9_at_any_moment_loses_at_most_one_interval(tmp_path, uninterrupted):
    draw, kills, folder, counter = random.Random(0), 0, tmp_path / "run", tmp_path / "counter"
    reached = 0
    for _ in range(60):
        counter.unlink(missing_ok=True)
        # torch is loaded
        process = multiprocessing.get_context("fork").Process(target=child, args=(folder, counter))
        process.start()
        wait_for(process, counter, draw.randint(1, 14))
        time.sleep(draw.uniform(0, 0.004))  # also between two calls: while a checkpoint is written
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
        begun = reached + (counter.stat().st_size // 2 if counter.exists() else 0)  # steps
        found = checkpoints.load(folder, Net()) if folder.exists() else None  # whole, whatever the moment
        reached = found[1]["step"] if found else 0
        assert reached >= begun - 2 - 1  # the interval, and the step that was under way
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0
            break
    assert kills >= 3 and reached == 20
    assert bits(*run(folder, stop=1, every=2)) == uninterrupted
    # the one before is there if the kill came just before its end
    assert checkpoints.latest(folder).name == "step-00000020"


def test_layout_and_precision_of_every_tensor_survive(tmp_path):
    class Conv(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(4, 6, 3, padding=1).to(memory_format=torch.channels_last)
            self.out = nn.Linear(6, 2)

        def forward(self, batch):
            return self.out(self.conv(batch.image.view(-1, 4, 1, 1).expand(-1, -1, 5, 5)).mean((2, 3)))

    nets = [Conv().double(), Conv().double()]
    rows = Features(data().image.double(), data().text, data().labels)
    whole = fit(nets[0], rows, epochs=2, batch_size=10, progress=False)
    same = {"epochs": 2, "batch_size": 10, "checkpoint": tmp_path, "every": 1, "progress": False}
    fit(nets[1], rows, loss=interrupted_at(4, cross_entropy), **same)
    nets[1] = Conv().double()
    again = fit(nets[1], rows, loss=interrupted_at(None, cross_entropy), **same)
    assert whole.batch_loss == again.batch_loss
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_a_disk_that_does_not_take_it_leaves_the_old_checkpoint(tmp_path):
    """A real failing write: the limit on the size of a file, as a full disk would, cuts the tensors."""
    run(tmp_path, stop=8)
    before = checkpoints.latest(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        with pytest.raises(OSError) as caught:
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert "free some space, or choose another folder; step-00000003 is still there." in str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.__suppress_context__
    assert list(tmp_path.iterdir()) == [before] and checkpoints.load(tmp_path, Net())[1]["step"] == 3


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"step 1 could not be .* \(No space left on device\): .* no checkpoint "
                                      r"is still there"):
        run(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def saved(tmp_path):
    run(tmp_path, stop=8)
    return checkpoints.latest(tmp_path)


def half(path):
    file = path / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:file.stat().st_size // 2])


def flipped(path):
    file = path / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def edit(**facts):
    def change(path):
        file = path / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | facts))
    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (half, "is cut: its tensors have"),
        (flipped, "is damaged: its tensors have SHA-256"),
        (edit(format=7), "has format 7"),
        (
            lambda path: (path / "manifest.json").write_text('{"format": 1, "st'),
            "no manifest that can be read",
        ),
        (lambda path: (path / "manifest.json").write_text("[]"), "no manifest that can be read"),
        (lambda path: (path / "manifest.json").unlink(), "no manifest that can be read"),
        (lambda path: (path / "tensors.safetensors").unlink(), "has no tensors"),
    ],
)
def test_damage_is_one_sentence_and_the_model_is_not_touched(saved, damage, words):
    damage(saved)
    net, untouched = Net(), Net()
    with pytest.raises(ValueError) as caught:
        fit(net, data(), data(30, 1), checkpoint=saved.parent, **SETTINGS)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert all(torch.equal(t, untouched.state_dict()[name]) for name, t in net.state_dict().items())


WIDER = r"'concat.head.0.weight' is torch.float32 \(8, 7\) there and torch.float32 \(9, 7\) in this model"


@pytest.mark.parametrize(("net", "words"), [
    (lambda: Net(9), WIDER),
    (lambda: Net().double(), r"torch.float32 .* there and torch.float64"),
    (lambda: Concat(4, 3, 2), "it has no tensor 'normalize"),
    (lambda: nn.ModuleDict({"concat": Net().concat}), "this model has no tensor")])
def test_another_architecture_is_refused(saved, net, words):
    with pytest.raises(ValueError, match=rf"belongs to another architecture: .*{words}.*; use another "
                                         rf"folder\."):
        checkpoints.load(saved.parent, net())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 20}, "a run with batch_size=10; this one has 20"),
        ({"epochs": 9}, "epochs=4; this one has 9"),
        ({"seed": 3}, "seed=0; this one has 3"),
        ({"ema": None}, "ema=0.9; this one has None"),
        ({"learning_rate": {"head": 0.01}}, "learning_rate=0.01; this one has {'head': 0.01}"),
        ({"monitor": "valid_accuracy"}, "monitor='valid_loss'; this one has 'valid_accuracy'"),
        ({"patience": 2}, "patience=None; this one has 2"),
        ({"augment": lambda batch: batch}, "augment=None; this one has 'test_checkpoints.<lambda> "),
        (
            {"loss": lambda logits, labels: logits.square().mean()},
            "this one has 'Classify(loss=test_checkpoints.<lambda> ",
        ),
    ],
)
def test_another_call_does_not_go_on_with_it(saved, change, words):
    with pytest.raises(ValueError) as caught:
        fit(Net(), data(), data(30, 1), checkpoint=saved.parent, every=1,
            **{"loss": interrupted_at(None, cross_entropy)} | SETTINGS | change)  # fmt: skip
    assert words in str(caught.value) and "call fit as before" in str(caught.value)


def test_what_a_killed_writer_left_is_cleared_away(saved):
    left = saved.parent / ".writing-1"
    shutil.copytree(saved, left)
    half(left)
    assert checkpoints.load(saved.parent, Net())[1]["step"] == 3
    run(saved.parent)
    assert [path.name for path in saved.parent.iterdir()] == ["step-00000020"]


def test_a_checkpoint_is_not_written_over(saved):
    with pytest.raises(FileExistsError, match="checkpoint of step 3 in .* already"):
        checkpoints.save(saved.parent, 3, {"x": torch.zeros(1)}, {})
    assert checkpoints.load(saved.parent, Net())[1]["step"] == 3
