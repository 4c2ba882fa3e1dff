"""The curves, read back from the event files; each step once, however often the run was stopped."""

import resource
import signal
import sys
import threading
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from conftest import interrupted_at
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer
from torch.nn.functional import cross_entropy

from cmlib.data.batch import Features
from cmlib.fusion.concat import Concat
from cmlib.training.curves import Log, read
from cmlib.training.fit import fit
from cmlib.training.optim import rate


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    # as in a process of its own
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


def data(n=50, seed=0):
    draw = torch.Generator().manual_seed(seed)
    image, text = torch.randn(n, 4, generator=draw), torch.randn(n, 3, generator=draw)
    return Features(image, text, (image[:, 0] + text[:, 0] > 0).long())


def run(stop=None, **settings):
    """Three steps in each of four epochs; stop : Ctrl-C at that step."""
    torch.manual_seed(0)
    return fit(
        Concat(4, 3, 2),
        data(),
        data(20, 1),
        epochs=4,
        batch_size=20,
        loss=interrupted_at(stop, cross_entropy),
        progress=False,
        **settings,
    )


def curves(folder):
    """{name: [(step, value)]} as TensorBoard shows them."""
    events = EventAccumulator(str(folder), {"scalars": 0}).Reload()
    return {
        name: [(point.step, point.value) for point in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def check(folder, history):
    found = curves(folder)
    assert found["loss"] == [(step, pytest.approx(value)) for step, value in enumerate(history.batch_loss, 1)]
    assert found["learning_rate"] == [
        (step + 1, pytest.approx(0.001 * rate(step, 12, 1), abs=1e-9)) for step in range(12)
    ]
    for name in ("valid_loss", "valid_accuracy"):
        assert found[name] == [(3 * epoch, pytest.approx(row[name])) for epoch, row in enumerate(history, 1)]


def test_a_run_with_checkpoints_has_its_curves_beside_them(tmp_path):
    check(tmp_path / "log", run(checkpoint=tmp_path))


def test_another_folder_or_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run()
    assert not list(tmp_path.iterdir())
    run(checkpoint=tmp_path / "a", log=False)
    check(tmp_path / "c", run(checkpoint=tmp_path / "b", log=str(tmp_path / "c")))
    check(tmp_path / "d", run(log=tmp_path / "d"))
    assert not (tmp_path / "a" / "log").exists() and not (tmp_path / "b" / "log").exists()
    with pytest.raises(ValueError, match="^log=True names no folder: give one, or leave log out"):
        run(log=True)


@pytest.mark.parametrize("every", [1, 2, 500])
def test_a_run_that_was_stopped_and_goes_on_draws_no_step_twice(tmp_path, every):
    for stop in (6, 3, 5):  # with every=500 the steps since the last epoch are computed, and drawn, again
        run(stop, checkpoint=tmp_path, every=every)
    check(tmp_path / "log", run(checkpoint=tmp_path, every=every))
    assert len(list((tmp_path / "log").iterdir())) == 4


def test_a_run_from_the_start_has_the_curves_for_itself(tmp_path):
    run(8, log=tmp_path)
    check(tmp_path, run(log=tmp_path))


def test_a_finished_run_draws_nothing(tmp_path):
    history = run(checkpoint=tmp_path)
    run(checkpoint=tmp_path)
    check(tmp_path / "log", history)
    assert len(list((tmp_path / "log").iterdir())) == 1


def test_curves_are_on_the_disk_before_the_checkpoint_that_goes_on_from_them(tmp_path, monkeypatch):
    from cmlib.training import checkpoint as checkpoints

    save, seen = checkpoints.save, []
    monkeypatch.setattr(
        checkpoints,
        "save",
        lambda *call: seen.append((call[1], len(curves(tmp_path / "log")["loss"]))) or save(*call),
    )
    run(checkpoint=tmp_path, every=2)
    assert seen == [(step, step) for step in (2, 3, 4, 6, 8, 9, 10, 12)]


class Wandb:
    """Stands in for the module wandb: remembers what it was told."""

    runs: ClassVar[list] = []

    @classmethod
    def init(cls, **settings):
        cls.runs.append(SimpleNamespace(settings=settings, points=[], finished=False))
        made = cls.runs[-1]
        made.log = lambda values, step: made.points.append((step, values))
        made.finish = lambda: setattr(made, "finished", True)
        return made


def test_weights_and_biases_gets_the_same_and_a_run_that_goes_on_is_the_same_run(tmp_path, monkeypatch):
    monkeypatch.setattr(Wandb, "runs", [])
    monkeypatch.setitem(sys.modules, "wandb", Wandb)
    run(checkpoint=tmp_path / "no key")
    assert not Wandb.runs
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    run(6, checkpoint=tmp_path / "a", every=1)
    history = run(checkpoint=tmp_path / "a", every=1)
    first, second = Wandb.runs
    assert (
        first.settings["id"] == second.settings["id"]
        and second.settings["resume"] == "allow"
        and second.finished
    )
    assert second.settings["config"]["batch_size"] == 20 and second.settings["dir"] == str(
        tmp_path / "a" / "log"
    )
    points = first.points + second.points
    assert [(step, values["loss"]) for step, values in points if "loss" in values] == list(
        enumerate(history.batch_loss, 1)
    )
    assert [(step, values["valid_loss"]) for step, values in points if "valid_loss" in values] == [
        (3 * epoch, row["valid_loss"]) for epoch, row in enumerate(history, 1)]
    run(log=tmp_path / "b")
    assert Wandb.runs[2].settings["id"] != first.settings["id"]


@pytest.mark.parametrize(
    ("module", "key", "words"),
    [
        ("torch.utils.tensorboard", None, "pip install tensorboard, or say log=False"),
        ("wandb", "secret", "pip install wandb, or unset the key"),
    ],
)
def test_a_log_without_its_library_is_one_sentence(tmp_path, monkeypatch, module, key, words):
    monkeypatch.setitem(sys.modules, module, None)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    with pytest.raises(ModuleNotFoundError, match=words):
        run(log=tmp_path)


def test_a_folder_that_cannot_be_and_a_disk_that_is_full_are_named(tmp_path, monkeypatch):
    # TensorBoard's own thread prints the error, too
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"The curves could not be written to .*file/log \(.*\): free some "
                                      r"space, choose another folder, or say"):
        run(log=tmp_path / "file" / "log")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
        with pytest.raises(OSError, match=r"The curves could not be written to .*full \(File too large\): "
                                          r"free some") as caught, Log(tmp_path / "full") as log:
            for step in range(20):
                log.scalars(step, {"loss": 0.5})
                log.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert caught.value.__suppress_context__


def test_two_logs_are_read_to_be_drawn_one_over_the_other(tmp_path):
    whole = run(checkpoint=tmp_path / "whole", every=2)
    for stop in (5, 3):
        run(stop, checkpoint=tmp_path / "stopped", every=2)
    run(checkpoint=tmp_path / "stopped", every=2)
    first, second = (read(tmp_path / name / "log") for name in ("whole", "stopped"))
    assert first == second and set(first) == {"loss", "learning_rate", "valid_loss", "valid_accuracy"}
    assert first["loss"][0] == list(range(1, 13))
    assert first["loss"][1] == pytest.approx(whole.batch_loss)
    with pytest.raises(FileNotFoundError, match="There are no curves in "):
        read(tmp_path / "whole")
