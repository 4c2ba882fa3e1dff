"""The algebra of lesson 02, symbolically; the joint losses, against slow and obvious versions."""

import math

import pytest
import sympy as sp
import torch
from torch.nn.functional import logsigmoid

from cmlib.losses import info_nce, joint

T, I, LAM = sp.symbols("s_t s_i lambda", real=True)


def ell(s):
    return sp.log(1 + sp.exp(-s))


PUBLISHED_JOINT = ell(T) - LAM * (1 - LAM) * ell(I)
EQUIVALENT_JOINT = PUBLISHED_JOINT - LAM * ell(I) - (1 - LAM) * ell(T)
BRANCHES = LAM * ell(T) + (1 - LAM) * ell(I)


def test_the_published_total_collapses():
    assert (
        sp.simplify(sp.expand(BRANCHES + PUBLISHED_JOINT - (1 + LAM) * ell(T) - (1 - LAM) ** 2 * ell(I))) == 0
    )


def test_the_claimed_equivalent_is_another_function():
    weight = 1 - 3 * LAM + LAM**2
    assert sp.simplify(sp.expand(BRANCHES + EQUIVALENT_JOINT - 2 * LAM * ell(T) - weight * ell(I))) == 0
    assert sp.Rational(3, 2) - sp.sqrt(5) / 2 in sp.solve(weight, LAM)
    assert sp.limit((weight * ell(I)).subs(LAM, sp.Rational(1, 2)), I, -sp.oo) == -sp.oo
    assert sp.limit((weight * ell(I)).subs(LAM, sp.Rational(1, 4)), I, -sp.oo) == sp.oo


@pytest.mark.parametrize("total", [BRANCHES + PUBLISHED_JOINT, BRANCHES + EQUIVALENT_JOINT])
def test_both_published_totals_are_separable(total):
    assert sp.simplify(sp.diff(total, T, I)) == 0


def test_the_mixed_derivatives_of_the_repairs():
    p_t, p_i = 1 / (1 + sp.exp(-T)), 1 / (1 + sp.exp(-I))
    fused = sp.diff(ell(T + I), T, I) - 1 / (1 + sp.exp(-T - I)) / (1 + sp.exp(T + I))
    agreement = sp.diff((p_t - p_i) * (T - I) / 2, T, I) + (p_t * (1 - p_t) + p_i * (1 - p_i)) / 2
    for difference in (fused, agreement):
        assert all(
            abs(difference.subs({T: t, I: i}).evalf()) < 1e-12 for t in (-3, 0.4, 2) for i in (-1, 0, 5)
        )


@pytest.mark.parametrize("lam", [0.0, 0.25, (3 - math.sqrt(5)) / 2, 0.8, 1.0])
def test_losses_equal_the_printed_formulas(lam):
    t, i = torch.randn(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    l_t, l_i = -logsigmoid(t), -logsigmoid(i)
    printed = lam * l_t + (1 - lam) * l_i + l_t - lam * (1 - lam) * l_i
    torch.testing.assert_close(joint.published(t, i, lam), printed)
    torch.testing.assert_close(joint.claimed_equivalent(t, i, lam), printed - lam * l_i - (1 - lam) * l_t)


def test_agreement_is_the_symmetric_kl():
    t, i = torch.randn(2, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    p, q = torch.distributions.Bernoulli(logits=t), torch.distributions.Bernoulli(logits=i)
    kl = torch.distributions.kl_divergence
    torch.testing.assert_close(joint.agreement(t, i), (kl(p, q) + kl(q, p)) / 2)
    assert joint.agreement(-t, -i).allclose(joint.agreement(t, i))


def test_a_product_of_experts_is_the_normalised_product_and_for_two_classes_the_fused_loss():
    g = torch.Generator().manual_seed(2)
    a, b, y = (
        torch.randn(7, 3, dtype=torch.float64, generator=g),
        torch.randn(7, 3, dtype=torch.float64, generator=g),
        torch.arange(7) % 3,
    )
    product = a.softmax(1) * b.softmax(1)
    slow = -torch.stack([(product[k] / product[k].sum()).log()[y[k]] for k in range(7)]).mean()
    torch.testing.assert_close(joint.product_of_experts(a, b, y), slow)
    zero = torch.zeros(7, dtype=torch.float64)
    two = joint.product_of_experts(
        torch.stack([zero, a[:, 0]], 1), torch.stack([zero, b[:, 0]], 1), torch.ones(7, dtype=torch.int64)
    )
    torch.testing.assert_close(two, joint.fused(a[:, 0], b[:, 0]).mean())


def test_info_nce_by_loops_and_its_gradient():
    g = torch.Generator().manual_seed(3)
    images, texts = (torch.randn(5, 4, dtype=torch.float64, generator=g).requires_grad_() for _ in range(2))

    def slow(images, texts, temperature=0.1):
        total = 0
        for k in range(5):
            to_texts = (
                torch.stack([torch.cosine_similarity(images[k], texts[j], dim=0) for j in range(5)])
                / temperature
            )
            to_images = (
                torch.stack([torch.cosine_similarity(images[j], texts[k], dim=0) for j in range(5)])
                / temperature
            )
            total = total - to_texts.log_softmax(0)[k] - to_images.log_softmax(0)[k]
        return total / 10

    torch.testing.assert_close(info_nce(images, texts), slow(images, texts))
    for fast, obvious in zip(torch.autograd.grad(info_nce(images, texts), (images, texts)),
                             torch.autograd.grad(slow(images, texts), (images, texts)), strict=True):
        torch.testing.assert_close(fast, obvious)


@pytest.mark.parametrize(
    "loss",
    [
        lambda t, i: joint.published(t, i, 0.3),
        lambda t, i: joint.claimed_equivalent(t, i, 0.3),
        joint.fused,
        joint.agreement,
    ],
)
def test_extreme_scores_stay_finite(loss):
    t, i = torch.tensor([900.0, -900.0, 0.0]), torch.tensor([-900.0, -900.0, 900.0])
    assert loss(t, i).isfinite().all()


@pytest.mark.parametrize("lam", [0.2, 0.5, 0.9])
def test_read_with_a_one_hot_label_the_published_image_part_has_no_lower_bound(lam):
    """Lesson 02, section 10: all logits fall together, at the softmax that label smoothing λ would aim at."""
    classes = 4
    target = torch.full((classes,), lam / classes, dtype=torch.float64)
    target[1] += 1 - lam

    def image_part(z):
        return (1 - lam) * (z.logsumexp(0) - z[1]) + lam * (1 - lam) * logsigmoid(z[1])

    values = [image_part(target.log() - m).item() for m in (0, 100, 1000)]
    assert values[0] > values[1] > values[2] and values[2] < -900 * lam * (1 - lam)
    z = (target.log() - 1000).requires_grad_()
    slopes = torch.autograd.grad(image_part(z), z)[0]
    torch.testing.assert_close(slopes, torch.full_like(slopes, lam * (1 - lam) / classes))
