"""Lesson 01's losses against torch's own: values and gradients in float64, odd sizes, extreme logits, bad
input.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cmlib.losses.classification import binary_cross_entropy, cross_entropy, huber


def draw(*shape, seed=0, scale=3.0):
    return (
        scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ).requires_grad_()


def same(ours, theirs, *inputs):
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 9), seed=st.integers(0, 999), soft=st.booleans())
def test_binary_cross_entropy_is_torchs(rows, seed, soft):
    z, y = draw(rows, seed=seed), draw(rows, seed=seed + 1).detach().sigmoid()
    y = y if soft else y.round()
    same(binary_cross_entropy(z, y), F.binary_cross_entropy_with_logits(z, y), z)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 9), classes=st.integers(1, 7), seed=st.integers(0, 999), weighted=st.booleans(),
       smoothing=st.sampled_from([0.0, 0.1, 0.5]))
def test_cross_entropy_is_torchs(rows, classes, seed, weighted, smoothing):
    z = draw(rows, classes, seed=seed)
    y = torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))
    w = draw(classes, seed=seed + 1).detach().exp() if weighted else None
    same(cross_entropy(z, y, w, smoothing), F.cross_entropy(z, y, weight=w, label_smoothing=smoothing), z)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 9), seed=st.integers(0, 999), delta=st.sampled_from([0.3, 1.0, 4.0]))
def test_huber_is_torchs(rows, seed, delta):
    p, t = draw(rows, 2, seed=seed), draw(rows, 2, seed=seed + 1)
    same(huber(p, t, delta), F.huber_loss(p, t, delta=delta), p, t)


def test_gradients_agree_with_finite_differences():
    y, w = torch.tensor([0, 2, 1]), torch.tensor([1.0, 5.0, 0.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, y, w, 0.1), draw(3, 3))
    assert torch.autograd.gradcheck(lambda z: binary_cross_entropy(z, (y > 0).double()), draw(3))
    assert torch.autograd.gradcheck(lambda p: huber(p, torch.zeros_like(p)), draw(5))


def test_the_gradient_is_p_minus_y():
    z, y = draw(5, 4), torch.tensor([0, 3, 1, 1, 2])
    gradient, = torch.autograd.grad(cross_entropy(z, y), z)
    torch.testing.assert_close(gradient, (z.softmax(1) - F.one_hot(y, 4)) / 5)
    assert gradient.sum(1).abs().max() < 1e-15


def test_lesson_01_s_derivation_holds_in_symbols():
    """Steps 5 and 4 of the paper: both gradients are p - y, and the printed form is the same on paper."""
    import sympy as sp

    y, z, *logits = sp.symbols("y z a b c", real=True)
    p = 1 / (1 + sp.exp(-z))
    loss = sp.log(1 + sp.exp(z)) - y * z
    assert sp.simplify(sp.diff(loss, z) - (p - y)) == 0
    assert sp.simplify(sp.diff(loss, z, 2) - p * (1 - p)) == 0
    assert sp.simplify(-(y / p - (1 - y) / (1 - p)) * sp.diff(p, z) - (p - y)) == 0
    total = sum(sp.exp(k) for k in logits)
    for right in logits:
        for k in logits:
            slope = sp.diff(sp.log(total) - right, k)
            assert sp.simplify(slope - (sp.exp(k) / total - int(k == right))) == 0


def test_smoothing_is_lowest_at_its_target_where_the_loss_is_the_entropy():
    q = torch.tensor([0.925, 0.025, 0.025, 0.025], dtype=torch.float64)  # four classes, smoothing 0.1
    z = q.log()[None].requires_grad_()
    loss = cross_entropy(z, torch.tensor([0]), label_smoothing=0.1)
    assert (
        loss.item()
        == pytest.approx(-(q * q.log()).sum().item(), abs=1e-12)
        == pytest.approx(0.3488, abs=1e-4)
    )
    assert torch.autograd.grad(loss, z)[0].abs().max() < 1e-12


def test_cross_entropy_is_entropy_plus_divergence_and_its_curvature_a_variance():
    q, z, v = draw(1, 5).detach().softmax(1), draw(1, 5, seed=1), draw(5, seed=2).detach()
    p = z.detach().softmax(1)
    divergence = (q * (q / p).log()).sum()
    surprise = F.cross_entropy(z, q)
    torch.testing.assert_close(surprise.detach() + (q * q.log()).sum(), divergence)
    hessian = torch.autograd.functional.hessian(lambda z: F.cross_entropy(z, q), z)[0, :, 0, :]
    variance = (p * v**2).sum() - (p * v).sum() ** 2
    torch.testing.assert_close(v @ hessian @ v, variance)


@pytest.mark.parametrize("size", [0.0, 90.0, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_stay_finite(size, dtype):
    z = torch.tensor([[size, -size], [-size, size]], dtype=dtype, requires_grad=True)
    for loss in (
        cross_entropy(z, torch.tensor([0, 0])),
        cross_entropy(z, torch.tensor([0, 0]), label_smoothing=0.1),
        binary_cross_entropy(z[:, 0], torch.ones(2)),
        huber(z, -z),
    ):
        assert loss.isfinite()
        assert torch.autograd.grad(loss, z, retain_graph=True)[0].isfinite().all()


def test_a_certain_right_answer_keeps_its_small_loss():
    z = torch.tensor([40.0])
    assert binary_cross_entropy(z, torch.ones(1)).item() == pytest.approx(math.exp(-40), rel=1e-6)
    assert binary_cross_entropy(-z, torch.zeros(1)).item() == pytest.approx(math.exp(-40), rel=1e-6)


def test_a_masked_class_costs_nothing():
    z = torch.tensor([[0.0, 1.0, -math.inf]], dtype=torch.float64, requires_grad=True)
    same(cross_entropy(z, torch.tensor([1])), F.cross_entropy(z[:, :2], torch.tensor([1])), z)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_a_model_that_knows_nothing_starts_at_ln_c(classes):
    loss = cross_entropy(torch.zeros(3, classes, dtype=torch.float64), torch.tensor([0, 1, classes - 1]))
    assert loss.item() == pytest.approx(math.log(classes), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "part"),
    [
        (lambda: cross_entropy(torch.zeros(2, 3), torch.tensor([0, 3])), ValueError, "Label 3 has no logit"),
        (lambda: cross_entropy(torch.zeros(2, 3), torch.tensor([0, -1])), ValueError, "Label -1"),
        (lambda: cross_entropy(torch.zeros(2, 3), torch.tensor([0.0, 1.0])), TypeError, r"labels.long\(\)"),
        (lambda: cross_entropy(torch.zeros(2, 3), torch.tensor([0])), ValueError, r"\(2, 3\) and \(1,\)"),
        (lambda: cross_entropy(torch.zeros(0, 3), torch.zeros(0).long()), ValueError, "empty"),
        (
            lambda: cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]), torch.ones(2)),
            ValueError,
            r"\(3,\)",
        ),
        (
            lambda: cross_entropy(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([0.0, 1.0])),
            ValueError,
            "positive",
        ),
        (lambda: cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]), None, 1.0), ValueError, "got 1.0"),
        (lambda: binary_cross_entropy(torch.zeros(2, 1), torch.zeros(2)), ValueError, "broadcasting"),
        (lambda: binary_cross_entropy(torch.zeros(2), torch.tensor([0, 2])), ValueError, "from 0 to 2"),
        (lambda: binary_cross_entropy(torch.zeros(0), torch.zeros(0)), ValueError, "empty"),
        (lambda: huber(torch.zeros(2), torch.zeros(2, 1)), ValueError, "broadcasting"),
        (lambda: huber(torch.zeros(2), torch.zeros(2), 0), ValueError, "positive"),
    ],
)
def test_bad_input_gets_one_clear_sentence(call, error, part):
    with pytest.raises(error, match=part) as caught:
        call()
    assert "\n" not in str(caught.value)
