"""Groups, schedule, average and precision against obvious versions and trusted ones; parts of a batch against
the whole.
"""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from cmlib.data.batch import Features
from cmlib.encoders import image_encoder, text_encoder
from cmlib.fusion.concat import Concat
from cmlib.models.fusion_model import FusionModel
from cmlib.training import optim
from cmlib.training.accumulate import cached_contrastive, parts_of
from cmlib.training.distributed import Team
from cmlib.training.fit import fit
from cmlib.training.freeze import freeze
from cmlib.training.optim import Ema, adamw, groups, rate, set_rate
from cmlib.training.precision import Precision, choose


def features(n=30, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    image, text = (
        torch.randn(n, 4, generator=draw, dtype=dtype),
        torch.randn(n, 3, generator=draw, dtype=dtype),
    )
    return Features(image, text, (image[:, 0] + text[:, 0] > 0).long())


def head(seed=0, dtype=torch.float64, **settings):
    torch.manual_seed(seed)
    return Concat(4, 3, 2, head="mlp", **settings).to(dtype)


@pytest.fixture(scope="module")
def mini():
    torch.manual_seed(0)
    return FusionModel(image_encoder("mini", pretrained=False), text_encoder("mini", pretrained=False), 3)


def by_name(model, made):
    name_of = {p: name for name, p in model.named_parameters()}
    return {name_of[p]: group for group in made for p in group["params"]}


def test_biases_and_norms_do_not_decay_and_everything_else_does(mini):
    found = by_name(mini, groups(mini, 1e-3, 0.1))
    assert found.keys() == dict(mini.named_parameters()).keys()
    norms = (nn.LayerNorm, nn.BatchNorm2d)
    spared = {
        f"{path}.{name}"
        for path, module in mini.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if name == "bias" or isinstance(module, norms)
    }
    assert {name for name, group in found.items() if group["weight_decay"] == 0} == spared
    assert {group["weight_decay"] for group in found.values()} == {0.0, 0.1} and len(groups(mini, 1e-3)) == 2


def test_each_branch_has_its_rate_and_frozen_parameters_have_none(mini):
    rates = {"text": 2e-5, "image": 1e-4, "head": 1e-3}
    for name, group in by_name(mini, groups(mini, rates)).items():
        expected = rates[
            "text" if name.startswith("text_") else "image" if name.startswith("image_") else "head"
        ]
        assert group["lr"] == group["peak"] == expected
    frozen = copy.deepcopy(mini)
    freeze(frozen.text_encoder)
    assert not any(
        name.startswith("text_") for name in by_name(frozen, groups(frozen, {"image": 1e-4, "head": 1e-3}))
    )


def test_lower_layers_learn_more_slowly(mini):
    found = by_name(mini, groups(mini, {"text": 1.0, "image": 2.0, "head": 3.0}, layer_decay=0.5))
    expected = {"text_encoder.model.embeddings.word_embeddings.weight": 0.25,
                "text_encoder.model.encoder.layer.0.attention.self.query.weight": 0.5,
                "text_encoder.model.encoder.layer.1.attention.self.query.weight": 1.0,
                "image_encoder.trunk.0.weight": 2 / 16, "image_encoder.trunk.1.bias": 2 / 16,
                "image_encoder.trunk.4.0.conv1.weight": 2 / 8, "image_encoder.trunk.7.0.conv1.weight": 2.0,
                "head.head.0.weight": 3.0}
    for name, value in expected.items():
        assert found[name]["lr"] == value, name


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ({"txt": 1e-5, "image": 1, "head": 1}, "did you mean 'text'"),
        ({"text": 1e-5, "image": 1e-4}, "no number for the branch 'head'"),
        (-1.0, "from 0 up; got -1.0"),
        (math.nan, "got nan"),
        ("fast", "got 'fast'"),
        ({"text": True, "image": 1, "head": 1}, "got True"),
    ],
)
def test_a_wrong_rate_is_one_sentence(mini, rates, words):
    with pytest.raises(ValueError) as caught:
        groups(mini, rates)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_layer_decay_is_a_share(mini, decay):
    with pytest.raises(ValueError, match="layer_decay"):
        groups(mini, 1e-3, layer_decay=decay)


@pytest.mark.parametrize(("steps", "warm"), [(100, 10), (7, 0), (5, 5), (1, 0)])
def test_the_schedule_equals_that_of_transformers(steps, warm):
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, warm, steps)
    for step in range(steps):
        # Theirs starts the warm-up at 0, a wasted step; ours is one step further up.
        expected = theirs.get_last_lr()[0] + (1 / warm if step < warm else 0)
        assert rate(step, steps, warm) == pytest.approx(expected, abs=1e-12)
        optimizer.step()
        theirs.step()


def test_the_schedule_scales_every_group(mini):
    optimizer = adamw(mini, {"text": 2e-5, "image": 1e-4, "head": 1e-3})
    set_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-5, 5e-5, 5e-4}
    assert {group["peak"] for group in optimizer.param_groups} == {2e-5, 1e-4, 1e-3}


def test_the_average_equals_its_definition_and_averaged_model():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    ema = Ema(model, 0.9)
    trusted = torch.optim.swa_utils.AveragedModel(
        model,
        avg_fn=lambda old, new, n: old + (1 - min(0.9, (n + 1) / (n + 10))) * (new - old),
        use_buffers=True,
    )
    trusted.n_averaged += 1  # otherwise its first update copies
    slow = {name: t.clone() for name, t in model.state_dict().items()}
    for t in range(1, 200):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
            model(torch.randn(5, 3))
        ema.update(model)
        trusted.update_parameters(model)
        d = min(0.9, (1 + t) / (10 + t))
        for name, new in model.state_dict().items():
            slow[name] = d * slow[name] + (1 - d) * new if new.is_floating_point() else new.clone()
    for name, value in slow.items():
        torch.testing.assert_close(ema.average[name], value, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(list(ema.average.values())[:4], trusted.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-5)
    own = copy.deepcopy(model.state_dict())
    with pytest.raises(KeyboardInterrupt), ema.applied(model):
        assert all(torch.equal(t, ema.average[name]) for name, t in model.state_dict().items())
        raise KeyboardInterrupt
    assert all(torch.equal(t, own[name]) for name, t in model.state_dict().items())
    with pytest.raises(ValueError, match=r"ema=1\.0"):
        Ema(model, 1.0)


@pytest.mark.parametrize(
    ("n", "accumulate", "size"), [(30, 1, 1), (30, 4, 1), (7, 3, 2), (3, 8, 2), (5, 2, 8), (2, 1, 5)]
)
def test_the_gradient_of_the_parts_is_that_of_the_whole(n, accumulate, size):
    data, whole, parts = features(), head(), head()
    index = torch.randperm(30, generator=torch.Generator().manual_seed(1))[:n]
    cross_entropy(whole(data[index]), data.labels[index]).backward()
    made = [part for rank in range(size) for part in parts_of(data, index, accumulate, Team(rank, size))]
    assert sum(part.share for part in made) == pytest.approx(1, abs=1e-12)
    real = [part for part in made if part.share]
    assert sorted(torch.cat([part.rows for part in real]).tolist()) == sorted(index.tolist())
    # nobody stays away
    assert all(parts_of(data, index, accumulate, Team(rank, size)) for rank in range(size))
    value = 0
    for part in made:
        share = cross_entropy(parts(part.batch), part.batch.labels) * part.share
        share.backward()
        value += share.item()
    assert value == pytest.approx(cross_entropy(whole(data[index]), data.labels[index]).item(), abs=1e-12)
    for ours, expected in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("accumulate", [2, 3, 64])
def test_a_run_in_parts_is_the_run_of_the_whole(accumulate):
    whole, parts = head(), head()
    a = fit(whole, features(50), features(20, 1), epochs=3, batch_size=16, progress=False)
    b = fit(
        parts, features(50), features(20, 1), epochs=3, batch_size=16, progress=False, accumulate=accumulate
    )
    assert a.batch_loss == pytest.approx(b.batch_loss, abs=1e-9) and len(a.batch_loss) == 12
    for ours, expected in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-8)


class Towers(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        torch.manual_seed(3)
        self.image, self.text, self.drop = nn.Linear(4, 5), nn.Linear(3, 5), nn.Dropout(dropout)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.double()

    def encode(self, batch):
        return Features(
            normalize(self.drop(self.image(batch.image)), dim=1),
            normalize(self.text(batch.text), dim=1),
            batch.labels,
        )

    def info_nce(self, both):
        logits = self.scale.exp() * both.image @ both.text.T
        target = torch.arange(len(logits))
        return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


@pytest.mark.parametrize("sizes", [(30,), (10, 10, 10), (16, 13, 1), (1,) * 30])
def test_cached_features_give_the_contrastive_gradient_of_the_whole_batch(sizes):
    data, whole, cached = features(), Towers(), Towers()
    expected = whole.info_nce(whole.encode(data))
    expected.backward()
    value = cached_contrastive(
        cached.encode, cached.info_nce, [data[rows] for rows in torch.arange(30).split(list(sizes))]
    )
    torch.testing.assert_close(value, expected.detach(), rtol=0, atol=1e-12)
    for ours, theirs in zip(cached.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)
    mean_of_means = sum(
        whole.info_nce(whole.encode(data[rows])) for rows in torch.arange(30).split(list(sizes))
    ) / len(sizes)
    assert len(sizes) == 1 or abs(mean_of_means - expected) > 0.1  # the parts' own losses are something else


def test_cached_features_drop_the_same_units_in_both_passes():
    data, model = features(), Towers(dropout=0.5)
    seen = []

    def encode(batch):
        both = model.encode(batch)
        seen.append(both.image.detach())
        return both

    torch.manual_seed(0)
    cached_contrastive(encode, model.info_nce, [data[:20], data[20:]])
    assert (
        torch.equal(seen[0], seen[2])
        and torch.equal(seen[1], seen[3])
        and not torch.equal(seen[0][:10], seen[1])
    )
    after = torch.rand(1)
    torch.manual_seed(0)
    model.drop(torch.zeros(20, 5, dtype=torch.float64)), model.drop(torch.zeros(10, 5, dtype=torch.float64))
    assert torch.equal(torch.rand(1), after)  # as if there had been one pass
    with pytest.raises(ValueError, match="no parts"):
        cached_contrastive(encode, model.info_nce, [])


@pytest.mark.parametrize(("name", "capability", "expected"), [
    ("auto", (8, 0), "bf16"), ("auto", (9, 0), "bf16"), ("auto", (7, 5), "fp16"), ("fp32", (9, 0), "fp32"),
    ("fp16", (9, 0), "fp16"), ("bf16", (8, 6), "bf16")])
def test_the_format_fits_the_gpu(monkeypatch, name, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: (device, enabled))
    made = choose(name, torch.device("cuda"))
    assert made.name == expected and made.scaler == ("cuda", expected == "fp16") and made.because in str(made)


def test_a_cpu_computes_in_float32_unless_asked(monkeypatch):
    assert choose("auto", "cpu").name == "fp32" and choose("bf16", "cpu").dtype == torch.bfloat16
    own = Precision("bf16", "cpu", "mine")
    assert choose(own, "cpu") is own
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 5))
    for name, words in (
        ("bf16", r"capability 7\.5\) has no bfloat16: use precision='fp16'"),
        ("fp61", "did you mean 'fp16'"),
    ):
        with pytest.raises(ValueError, match=words):
            choose(name, "cuda")


def test_bf16_trains_close_to_fp32_and_keeps_float32_weights():
    whole, short = head(dtype=torch.float32), head(dtype=torch.float32)
    data = features(200, dtype=torch.float32)
    a = fit(whole, data, data, epochs=5, learning_rate=0.01, progress=False)
    b = fit(short, data, data, epochs=5, learning_rate=0.01, progress=False, precision="bf16")
    assert a.batch_loss == pytest.approx(b.batch_loss, abs=0.02) and a.batch_loss != b.batch_loss
    assert {p.dtype for p in short.parameters()} == {torch.float32}


def test_a_step_with_infinite_gradients_is_skipped_and_the_scale_halves():
    """The scale 2^127 overflows the float32 gradients; the real scaler must find that out by itself."""
    data, net = features(20, dtype=torch.float32), head(dtype=torch.float32)
    how = Precision(
        "fp16", "cpu", "a test", torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=10**6)
    )
    before, scales, moved = copy.deepcopy(net.state_dict()), [], []

    def watch(logits, labels):
        scales.append(how.scaler.get_scale())
        moved.append(not all(torch.equal(t, before[name]) for name, t in net.state_dict().items()))
        return cross_entropy(logits, labels)

    history = fit(net, data, epochs=60, batch_size=10, loss=watch, precision=how, progress=False)
    skips = moved.index(True)
    assert 5 < skips < 119 and all(not m for m in moved[:skips]) and all(moved[skips:])
    assert scales[:skips] == [2.0 ** (127 - i) for i in range(skips)] and len(history.batch_loss) == 120
    assert all(math.isfinite(value) for value in history.batch_loss)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_large_model_has_the_fused_step_also_on_a_cpu_and_it_is_the_same_step(monkeypatch, layout):
    torch.manual_seed(0)
    small = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 4)
    ).to(memory_format=layout)
    large, x = copy.deepcopy(small), torch.randn(5, 3, 8, 8).to(memory_format=layout)
    optimizers = [adamw(small, 1e-2)]
    monkeypatch.setattr(optim, "LARGE", 1_000)
    optimizers.append(adamw(large, 1e-2))
    assert [o.defaults["fused"] for o in optimizers] == [None, True]
    for _ in range(5):
        for net, optimizer in zip((small, large), optimizers, strict=True):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    for a, b in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
