"""fit against a bare loop, and what it does when something goes wrong."""

import copy
import math
import shutil

import numpy as np
import pytest
import torch
from conftest import interrupted_at, need
from torch import nn
from torch.nn.functional import cross_entropy

from cmlib.data.batch import Features
from cmlib.evaluation.classification import evaluate
from cmlib.fusion.concat import Concat
from cmlib.training.fit import fit
from cmlib.training.freeze import freeze
from cmlib.training.loop import Pace
from cmlib.training.optim import Ema
from cmlib.training.predict import predict
from cmlib.training.run import History


def data(n=150, seed=0):
    draw = torch.Generator().manual_seed(seed)
    image, text = torch.randn(n, 4, generator=draw), torch.randn(n, 3, generator=draw)
    return Features(image, text, (image[:, 0] + text[:, 0] > 0).long())


def model(seed=0, **settings):
    torch.manual_seed(seed)
    return Concat(4, 3, 2, head="mlp", normalize=False, **settings)


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_fit_equals_a_bare_loop_step_for_step():
    ours, x = model(), data()
    bare = copy.deepcopy(ours)
    history = fit(
        ours,
        x,
        epochs=3,
        batch_size=32,
        learning_rate=0.01,
        weight_decay=0.1,
        warmup=0.2,
        clip=0.5,
        seed=7,
        progress=False,
    )
    matrices, rest = ([p for p in bare.parameters() if (p.ndim > 1) == two] for two in (True, False))
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    )
    draw = torch.Generator().manual_seed(7)
    losses, step = [], 0
    for _ in range(3):
        order = torch.randperm(150, generator=draw)
        for start in range(0, 150, 32):
            rows = order[start:start + 32]
            share = (step + 1) / 3 if step < 3 else (1 + math.cos(math.pi * (step - 3) / 12)) / 2
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * share
            loss = cross_entropy(bare(x[rows]), x.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(bare.parameters(), 0.5)
            optimizer.step()
            losses.append(loss.item())
            step += 1
    assert history.batch_loss == pytest.approx(losses, abs=1e-6)
    assert np.isclose(history["loss"][0], np.average(losses[:5], weights=[32] * 4 + [22]))
    for name, tensor in bare.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_same_seed_same_bits_and_nobody_elses_seed_moves():
    torch.manual_seed(5)
    expected = torch.rand(1)
    first, second, other = model(dropout=0.3), model(dropout=0.3), model(dropout=0.3)
    torch.manual_seed(5)
    fit(first, data(), epochs=2, progress=False)
    assert torch.equal(torch.rand(1), expected)
    fit(second, data(), epochs=2, progress=False)
    fit(other, data(), epochs=2, progress=False, seed=1)
    assert same(state(first), state(second)) and not same(state(first), state(other))


def test_the_best_epoch_is_kept_and_patience_stops():
    x, wrong = data(), data(seed=1)
    wrong = Features(wrong.image, wrong.text, 1 - wrong.labels)  # the better on train, the worse here
    net = model()
    history = fit(net, x, wrong, epochs=30, learning_rate=0.01, patience=3, progress=False)
    assert history.best_epoch == 1 and len(history) == 4
    once = model()
    fit(once, x, epochs=1, learning_rate=0.01, progress=False)
    assert cross_entropy(net(wrong), wrong.labels).item() == pytest.approx(
        history["valid_loss"].min(), abs=1e-6
    )
    assert history["valid_accuracy"].shape == (4,) and not net.training


def test_it_learns():
    net = model()
    history = fit(net, data(600), data(200, seed=3), epochs=12, learning_rate=0.01, progress=False)
    assert history["valid_accuracy"][history.best_epoch - 1] > 0.93
    assert "seconds" in history[0] and "seconds" not in repr(history)


def test_a_custom_loss_is_used():
    def huber(logits, labels):
        return nn.functional.huber_loss(logits, nn.functional.one_hot(labels, 2).float())

    x, net = data(), model()
    expected = huber(net(x), x.labels).item()
    assert fit(net, x, epochs=1, batch_size=150, loss=huber, progress=False).batch_loss[0] == pytest.approx(
        expected
    )


def test_frozen_parameters_do_not_move():
    net = model()
    freeze(net.head[0])
    before = state(net)
    fit(net, data(), epochs=1, progress=False)
    assert torch.equal(net.head[0].weight, before["head.0.weight"])
    assert not torch.equal(net.head[3].weight, before["head.3.weight"])


def test_nan_names_batch_and_rows_and_puts_the_last_good_weights_back():
    x, net = data(), model()
    x.image[41] = math.nan
    before = state(net)
    with pytest.raises(FloatingPointError) as caught:
        fit(net, x, epochs=2, batch_size=50, progress=False)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(0)).tolist()
    assert str(caught.value) == (
        f"The loss became nan in epoch 1, batch {order.index(41) // 50 + 1} (rows 41): look at these rows, "
        "or try a smaller "
        "learning_rate than 0.001; the model has the weights it started with again.")
    clean(caught, net)
    assert same(before, state(net))


def clean(caught, net):
    """No other library's error is shown under the sentence, and nothing is left half done in the model."""
    assert caught.value.__suppress_context__ and "\n" not in str(caught.value)
    assert not net.training and all(p.grad is None for p in net.parameters())


def test_a_valid_loss_that_is_nan_is_not_taken_for_never_the_best():
    wrong, net = data(seed=1), model()
    wrong.image[[3, 41]] = math.nan
    before = state(net)
    with pytest.raises(FloatingPointError, match=r"The valid_loss became nan after epoch 1 \(rows 3, 41 of "
                                                 r"valid\): look") as caught:
        fit(net, data(), wrong, epochs=2, progress=False)
    clean(caught, net)
    assert same(before, state(net))


def test_divergence_in_a_later_epoch_goes_back_to_the_best_one():
    calls = []

    def breaks(logits, labels):
        calls.append(1)
        return cross_entropy(logits, labels) * (math.inf if len(calls) == 4 else 1)

    net, once = model(), model()
    with pytest.raises(FloatingPointError, match=r"inf in epoch 2, batch 2 .* the model has the weights of "
                                                 r"epoch 1 again\."):
        fit(net, data(100), epochs=2, batch_size=50, loss=breaks, progress=False)
    steps = []  # one epoch of the same two-epoch schedule

    def stops(logits, labels):
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return cross_entropy(logits, labels)

    fit(once, data(100), epochs=2, batch_size=50, loss=stops, progress=False)
    assert same(state(net), state(once))


@pytest.mark.parametrize("stop_at", [2, 6])
def test_ctrl_c_returns_the_history_and_keeps_what_was_learned(stop_at):
    net, before = model(), state(model())
    history = fit(
        net, data(), epochs=9, batch_size=50, loss=interrupted_at(stop_at, cross_entropy), progress=False
    )
    assert isinstance(history, History) and history.interrupted and len(history) == (stop_at - 1) // 3
    assert not same(before, state(net))


NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to …"
    ),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    MemoryError("Unable to allocate 8 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


class Breaks:
    """Cross-entropy until call number ``at``, then ``error``."""

    def __init__(self, error, at):
        self.error, self.left = error, at

    def __call__(self, logits, labels):
        self.left -= 1
        if self.left == 0:
            raise self.error
        return cross_entropy(logits, labels)


@pytest.mark.parametrize("error", NO_MEMORY)
def test_out_of_memory_says_what_to_lower_and_leaves_whole_epochs(error):
    net, once = model(), model()
    with pytest.raises(MemoryError) as caught:
        fit(net, data(), epochs=2, batch_size=50, loss=Breaks(error, 6), progress=False)
    assert str(caught.value).startswith(
        "Out of memory on cpu at batch_size=50: lower batch_size, or use smaller images or shorter texts, or "
        "raise accumulate, "
        "or freeze an encoder. A step needs about ") and "(2.08 kB for each of 50 rows)" in str(caught.value)
    clean(caught, net)
    fit(once, data(), epochs=2, batch_size=50, loss=Breaks(KeyboardInterrupt(), 4), progress=False)
    assert same(state(net), state(once))


def test_any_other_error_passes_as_it_is_and_leaves_whole_epochs():
    net, before = model(), state(model())
    with pytest.raises(RuntimeError, match="^my own$"):
        fit(net, data(), epochs=1, batch_size=50, loss=Breaks(RuntimeError("my own"), 2), progress=False)
    assert same(before, state(net)) and not net.training


class Greedy(nn.Module):
    """A petabyte for more than ten rows: this allocator's own error, not one that we made up."""

    def forward(self, batch):
        torch.empty(10**15 if len(batch.labels) > 10 else 1)
        return torch.zeros(len(batch.labels), 2)


@pytest.mark.parametrize("call", [predict, evaluate])
def test_out_of_memory_outside_training_can_be_mended_too(call):
    net = Greedy().train()
    with pytest.raises(MemoryError, match="^Out of memory on cpu at batch_size=256: lower batch_size, or use "
                                          "smaller") as caught:
        call(net, data())
    assert caught.value.__suppress_context__ and net.training
    call(net, data(), batch_size=10)


def test_a_smaller_batch_size_is_smaller_in_validation_too():
    class Watched(Greedy):
        def __init__(self):
            super().__init__()
            self.bias, self.seen = nn.Parameter(torch.zeros(2)), set()

        def forward(self, batch):
            self.seen.add((self.training, len(batch.labels)))
            return self.bias.expand(len(batch.labels), 2)

    net = Watched()
    fit(net, data(), data(400), epochs=1, batch_size=10, progress=False)
    assert net.seen == {(True, 10), (False, 40)}


def relabel(value):
    return Features(data().image, data().text, torch.full((150,), value) if isinstance(value, int) else value)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: fit(model(), relabel(1), epochs=1),
            ValueError,
            "class 1: nothing can be learned from one class",
        ),
        (lambda: fit(model(), data(), data()[:0], epochs=1), ValueError, "no rows"),
        (lambda: fit(model(), data()[:0], epochs=1), ValueError, "no rows"),
        (
            lambda: fit(model(), relabel(torch.arange(150) % 3), epochs=1),
            ValueError,
            "of train run from 0 to 2, but the model has 2",
        ),
        (
            lambda: fit(model(), data(), relabel(torch.arange(150) % 3), epochs=1),
            ValueError,
            "of valid run from 0 to 2",
        ),
        (
            lambda: fit(model(), data(), relabel(torch.arange(150) % 2 - 1), epochs=1),
            ValueError,
            "of valid run from -1 to 0",
        ),
        (lambda: fit(freeze(model()), data(), epochs=1), ValueError, "frozen"),
        (lambda: fit(model(), data(), epochs=0), ValueError, "epochs=0"),
        (lambda: fit(model(), data(), epochs=1, patience=2), ValueError, "valid"),
        (lambda: fit(model(), data(), epochs=1, monitor="f1"), ValueError, "'f1'"),
        (lambda: fit(model(), "emoji", epochs=1), TypeError, "str"),
    ],
)
def test_bad_input_is_one_sentence(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_progress_bar_stays_off_the_error_stream(capsys):
    fit(model(), data(), epochs=1)
    out = capsys.readouterr()
    assert "epochs" in out.out and not out.err


def test_the_average_is_what_is_validated_and_kept():
    net, bare, x, valid = model(), model(), data(), data(60, 1)
    history = fit(net, x, valid, epochs=1, batch_size=50, learning_rate=0.05, ema=0.5, progress=False)
    steps = []
    average = Ema(bare, 0.5)

    def watched(logits, labels):  # called once a step: the weights before it are those after the step before
        if steps:
            average.update(bare)
        steps.append(1)
        return cross_entropy(logits, labels)

    fit(bare, x, epochs=1, batch_size=50, learning_rate=0.05, loss=watched, progress=False)
    average.update(bare)
    assert all(torch.equal(tensor, average.average[name]) for name, tensor in net.state_dict().items())
    assert not same(state(net), state(bare)) and len(steps) == 3
    assert history["valid_loss"][0] == pytest.approx(cross_entropy(net(valid), valid.labels).item(), abs=1e-6)


def test_a_compiled_model_trains_close_to_the_model(tmp_path, monkeypatch):
    need("A C++ compiler (sudo apt install g++)", shutil.which("g++") or shutil.which("clang++"))
    # compiled here and now, not found from another day
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, compiled = model(), model()
    a = fit(plain, data(128), data(50, 1), epochs=3, progress=False)
    b = fit(compiled, data(128), data(50, 1), epochs=3, progress=False, compile=True)
    assert list(tmp_path.rglob("*.cpp")) and a.batch_loss == pytest.approx(b.batch_loss, abs=1e-5)
    for (
        name,
        tensor,
    ) in plain.state_dict().items():  # the same names: nothing of the compiler stays in the model
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


def test_compile_goes_through_the_compiler(monkeypatch):
    made, found = [], ["g++"]
    monkeypatch.setattr(torch, "compile", lambda net: made.append(net) or net)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in found else None)
    net = model()
    fit(net, data(), epochs=1, progress=False)
    assert not made
    fit(net, data(), epochs=1, progress=False, compile=True)
    assert made == [net]
    found.clear()
    with pytest.raises(FileNotFoundError, match=r"compile=True needs a compiler \(g\+\+ or clang\+\+\), .*: "
                                                r"sudo apt install g\+\+ .*leave compile"):
        fit(net, data(), epochs=1, progress=False, compile=True)


class Branches(nn.Module):
    """Two encoders and a head; ``image_encoder`` has what counts and what draws in training mode."""

    def __init__(self, norm=False):
        super().__init__()
        torch.manual_seed(0)
        more = [nn.BatchNorm1d(2), nn.Dropout(0.5)] if norm else []
        self.image_encoder = nn.Sequential(nn.Linear(4, 2), *more) if norm else nn.Linear(4, 2)
        self.text_encoder, self.head = nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, batch):
        return self.head(self.image_encoder(batch.image) * self.text_encoder(batch.text))


def test_branches_learn_at_their_own_rates():
    net = Branches()
    before = state(net)
    fit(net, data(), epochs=1, batch_size=150, warmup=0, weight_decay=0, progress=False,
        learning_rate={"text": 0, "image": 1e-4, "head": 1e-2})
    for branch, rate_of in (("text_encoder", 0), ("image_encoder", 1e-4), ("head", 1e-2)):
        moved = max(
            (net.state_dict()[name] - before[name]).abs().max().item()
            for name in before
            if name.startswith(branch)
        )
        assert moved == pytest.approx(rate_of, rel=0.01)  # the first step of Adam is as long as the rate
    wrong = data()
    wrong.image[3] = math.nan
    with pytest.raises(FloatingPointError, match="than {'head': 0.1, 'image': 0.1, 'text': 0.1};"):
        fit(net, wrong, epochs=1, learning_rate={"head": 0.1, "image": 0.1, "text": 0.1}, progress=False)


def test_the_head_learns_alone_and_then_everything_by_a_schedule_that_begins_anew():
    net, x = Branches(), data()
    bare = copy.deepcopy(net)
    history = fit(net, x, epochs=3, head_first=1, batch_size=50, warmup=0.34, learning_rate=0.01,
                  weight_decay=0, clip=math.inf, progress=False)
    optimizer, draw, losses = torch.optim.AdamW(bare.parameters(), weight_decay=0), torch.Generator(), []
    draw.manual_seed(0)
    # 3 steps of the head, 1 of them warm-up; 6 of everything, 2 of them
    shares = [1, 1, (1 + math.cos(math.pi / 2)) / 2]
    shares += [0.5, 1, *((1 + math.cos(math.pi * k / 4)) / 2 for k in range(4))]
    for epoch in range(3):
        for rows in torch.randperm(150, generator=draw).split(50):
            optimizer.param_groups[0]["lr"] = 0.01 * shares[len(losses)]
            optimizer.zero_grad()
            loss = cross_entropy(bare(x[rows]), x.labels[rows])
            loss.backward()
            for part in (bare.image_encoder, bare.text_encoder) if epoch == 0 else ():
                for parameter in part.parameters():
                    parameter.grad = None
            optimizer.step()
            losses.append(loss.item())
    assert history.batch_loss == pytest.approx(losses, abs=1e-6)
    for name, tensor in bare.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)


def test_while_the_head_learns_alone_encoders_rest_and_what_is_frozen_stays_so():
    net, seen = Branches(norm=True), []
    freeze(net.text_encoder)

    def watched(logits, labels):
        dropout = net.image_encoder[2]
        seen.append((dropout.training, net.head.training, net.image_encoder[0].weight.requires_grad))
        return cross_entropy(logits, labels)

    before = state(net)
    fit(net, data(), epochs=2, head_first=1, batch_size=150, loss=watched, learning_rate=0.1, progress=False)
    assert seen == [(False, True, False), (True, True, True)]
    assert net.image_encoder[1].num_batches_tracked == 1
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"head.weight", "image_encoder.0.weight"} < moved and "text_encoder.weight" not in moved
    assert [p.requires_grad for p in net.text_encoder.parameters()] == [False, False]
    assert all(p.requires_grad for p in net.image_encoder.parameters())


@pytest.mark.parametrize("stop", [2, 4, 7])
def test_a_head_that_was_stopped_goes_on_where_it_was(stop, tmp_path):
    settings = {"epochs": 3, "head_first": 1, "batch_size": 50, "progress": False, "log": False}
    whole, parts = Branches(norm=True), Branches(norm=True)
    history = fit(whole, data(), **settings)
    fit(parts, data(), loss=interrupted_at(stop, cross_entropy), checkpoint=tmp_path, every=1, **settings)
    again = Branches(norm=True)
    found = fit(again, data(), loss=interrupted_at(None, cross_entropy), checkpoint=tmp_path, every=1,
                **settings)
    assert found.batch_loss == history.batch_loss and same(state(again), state(whole))
    assert all(p.requires_grad for p in parts.parameters())


def test_a_head_that_cannot_come_first_is_one_sentence():
    for net, head_first, said in (
        (Branches(), 4, "^head_first=4 must be a whole number of epochs, from 0 to 3"),
        (Branches(), 0.5, "^head_first=0.5 must be a whole number"),
        (model(), 1, "^head_first=1: the Concat needs a head and an encoder that both learn; leave head_fir"),
    ):
        with pytest.raises(ValueError, match=said):
            fit(net, data(), epochs=3, head_first=head_first, progress=False)


def test_speed_and_memory_are_in_the_history_and_not_in_its_print():
    history = fit(model(), data(), data(60, 1), epochs=2, progress=False)
    assert (history["rows_per_second"] > 100).all() and (history["peak_mb"] > 50).all()
    assert (history["seconds"] < 150 / history["rows_per_second"] + 5).all()
    assert not any(name in repr(history) for name in ("rows_per_second", "peak_mb", "seconds"))


def test_the_time_that_is_left_is_foretold_from_warm_steps():
    pace, said = Pace(), []
    for step, now in enumerate((60.0, 61.0, 62.0, 64.0, 66.0, 68.0), 1):  # the first step took a minute
        said.append(pace.left(now, step, 10))
    assert said == [None, None, None, 12.0, 10.0, 8.0]


def test_the_bar_says_how_long_it_will_take(capsys, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr("cmlib.training.loop.time.perf_counter", lambda: 3.0 * next(clock))
    fit(model(), data(), epochs=2, batch_size=10)
    assert " left" in capsys.readouterr().out


def test_a_sampler_chooses_the_rows_of_every_batch():
    seen = []

    def sampler(rows, batch_size, generator):
        seen.append(len(rows))
        return [torch.arange(10), torch.arange(10), torch.randint(20, 150, (10,), generator=generator)]

    history = fit(model(), data(), epochs=2, batch_size=50, sampler=sampler, progress=False)
    again = fit(model(), data(), epochs=2, batch_size=50, sampler=sampler, progress=False)
    assert seen == [150] * 4 and history.batch_loss == again.batch_loss
    means = np.reshape(history.batch_loss, (2, 3)).mean(1)  # of 30 rows, not of 150
    assert history["loss"] == pytest.approx(means)
    with pytest.raises(ValueError, match=r"counts on 2 batches an epoch, ceil\(.*\), and the sampler gave 3"):
        fit(model(), data(), epochs=2, batch_size=100, sampler=sampler, progress=False)
