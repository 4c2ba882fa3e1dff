"""The estimate against bytes that are counted another way, and gradients that are computed again against
those kept.
"""

import copy
import weakref

import numpy
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cmlib.data.batch import Batch, Features, ImageBatch, TextBatch
from cmlib.encoders import image_encoder, text_encoder
from cmlib.fusion.concat import Concat
from cmlib.models.fusion_model import FusionModel
from cmlib.training.freeze import checkpoint_gradients, freeze
from cmlib.training.memory import Estimate, estimate, peak, saved_bytes, size
from cmlib.training.optim import adamw


def batch(n, image_size=32, tokens=12, seed=0):
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, 3, image_size, image_size), dtype=torch.uint8, generator=draw)
    ids = torch.randint(5, 90, (n, tokens), generator=draw)
    return Batch(ImageBatch(pixels), TextBatch(ids, torch.ones_like(ids)), torch.arange(n) % 2)


@pytest.fixture(scope="module")
def mini():
    torch.manual_seed(0)
    return FusionModel(
        image_encoder("mini", pretrained=False, image_size=32), text_encoder("mini", pretrained=False), 2
    ).train()


def graph_bytes(output, own):
    """Walk the backward graph and add up the tensors in it, each storage once: no hook, so another count than
    the library's.
    """
    kept, todo, seen = {}, [output.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        todo += [following for following, _ in node.next_functions]
        for name in dir(node):
            if name.startswith("_saved_"):
                value = getattr(node, name)
                for tensor in value if isinstance(value, list | tuple) else [value]:
                    if isinstance(tensor, torch.Tensor):
                        storage = tensor.untyped_storage()
                        kept[storage.data_ptr()] = storage.nbytes()
    return sum(count for address, count in kept.items() if address not in own)


@pytest.mark.parametrize("n", [8, 24])
def test_activations_of_a_large_batch_are_foretold_from_four_rows(mini, n):
    own = {t.untyped_storage().data_ptr() for t in (*mini.parameters(), *mini.buffers())}
    measured = graph_bytes(mini(batch(n)), own)
    assert estimate(mini, batch(4), n).activations == pytest.approx(measured, rel=0.03)
    assert estimate(mini, batch(n)).activations == pytest.approx(measured, rel=0.03)


def test_weights_gradients_and_optimiser_are_what_a_step_allocates(mini):
    net = copy.deepcopy(mini)
    freeze(net.text_encoder)
    found, optimizer = estimate(net, batch(4)), adamw(net, 1e-3)
    cross_entropy(net(batch(4)), batch(4).labels).backward()
    optimizer.step()
    states = [t for state in optimizer.state.values() for name, t in state.items() if name != "step"]
    for count, tensors in ((found.weights, [*net.parameters(), *net.buffers()]), (found.optimizer, states),
                           (found.gradients, [p.grad for p in net.parameters() if p.grad is not None])):
        assert count == sum(t.untyped_storage().nbytes() for t in tensors)
    assert found.total == found.weights + found.gradients + found.optimizer + found.activations
    assert found.activations < 0.7 * estimate(mini, batch(4)).activations  # a frozen encoder saves nothing


def test_short_formats_and_gradients_computed_again_need_less(mini):
    # of few rows, the weights' own short copies outweigh the gain
    whole = estimate(mini, batch(4), 1000).activations
    with torch.autocast("cpu", torch.bfloat16):
        assert estimate(mini, batch(4), 1000).activations < 0.9 * whole
    assert estimate(checkpoint_gradients(copy.deepcopy(mini)), batch(4), 1000).activations < 0.5 * whole


def test_estimating_leaves_no_trace(mini):
    net = copy.deepcopy(mini).eval()
    net.head.train()
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    estimate(net, batch(4))
    assert torch.equal(torch.rand(1), expected) and [m.training for m in net.modules()] == modes
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_what_was_counted_is_given_back():
    class Seen(torch.autograd.Function):
        """Saves its own output, as exp and softmax do, in memory whose end can be seen."""

        @staticmethod
        def forward(ctx, x):
            array = numpy.zeros(x.shape, numpy.float32)
            seen.append(weakref.ref(array))
            output = torch.from_numpy(array)
            ctx.save_for_backward(output)
            return output

    class Model(nn.Linear):
        def forward(self, x):
            return Seen.apply(super().forward(x))

    seen = []
    assert saved_bytes(Model(3, 5), torch.randn(7, 3)) == 4 * 7 * 3 + 4 * 7 * 5
    assert seen[0]() is None, "the graph is still there, and all that it saved"


def test_one_row_is_enough_and_features_too():
    net, rows = (
        Concat(4, 3, 2),
        Features(torch.ones(1, 4), torch.ones(1, 3), torch.zeros(1, dtype=torch.int64)),
    )
    assert estimate(net, rows, 10).activations == pytest.approx(
        10 * estimate(net, rows).activations, rel=0.01
    )


def test_the_estimate_is_said_in_units():
    said = str(Estimate(438_000_000, 438_000_000, 876_000_000, 12_288_000_000, 256))
    assert (
        said
        == "14 GB = weights 438 MB + gradients 438 MB + optimiser 876 MB + activations 12.3 GB (48 MB for "
           "each of 256 rows)"
    )
    assert [size(n) for n in (0, 999, 1000, 1.5e6, 3e15)] == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "1.5 MB",
        "3e+03 TB",
    ]


def step(net, data):
    torch.manual_seed(5)  # the same dropout
    cross_entropy(net(data), data.labels).backward()
    return {name: p.grad for name, p in net.named_parameters()}, dict(net.named_buffers())


def test_gradients_and_statistics_are_equal_when_computed_again(mini):
    kept = copy.deepcopy(mini).double()
    for dropout in (m for m in kept.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.2
    again = checkpoint_gradients(copy.deepcopy(kept))
    assert again.state_dict().keys() == kept.state_dict().keys()
    calls = []
    for net in (kept, again):
        net.image_encoder.trunk[4][0].conv1.register_forward_hook(
            lambda *_, net=net: calls.append(net is again)
        )
    for data in (batch(6), batch(5, seed=1)):
        (expected, statistics), (found, own) = step(kept, data), step(again, data)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert all(torch.equal(own[name], statistics[name]) for name in statistics)  # counted once, not twice
    assert calls == [False, True, True] * 2
    assert torch.equal(again.eval()(batch(3)), kept.eval()(batch(3)))


def test_nothing_to_compute_again_is_one_sentence():
    with pytest.raises(ValueError, match="Concat has no layers of transformers and no ResNet stages"):
        checkpoint_gradients(Concat(4, 3, 2))


def test_a_plan_on_the_meta_device_is_the_plan_of_a_real_model(mini):
    """Without a single number: a model that would not fit here can be counted."""
    real, ids = estimate(mini, batch(4), 64), torch.zeros(4, 12, dtype=torch.int64, device="meta")
    paper = copy.deepcopy(mini.image_encoder).to("meta")
    pixels = ImageBatch(torch.zeros(4, 3, 32, 32, dtype=torch.uint8, device="meta"))
    on_paper, here = saved_bytes(paper, pixels), saved_bytes(mini.image_encoder, batch(4).image)
    assert on_paper == pytest.approx(here, rel=0.02) and ids.device.type == "meta"
    assert real.weights == sum(t.numel() * t.element_size() for t in (*mini.parameters(), *mini.buffers()))


def test_the_peak_is_that_of_the_process_where_there_is_no_gpu():
    before = peak(torch.device("cpu"))
    block = torch.ones(60_000_000)
    assert peak(torch.device("cpu")) >= before > 1e7 and len(block)
