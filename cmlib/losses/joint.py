"""Joint losses: two published ones that join nothing (lesson 02), and three that do; a fourth, which aligns
features instead of scores, is `contrastive.info_nce`.

Scores are signed logits, s = y z with y = ±1: a positive score is a right answer. ℓ(s) = −log σ(s) is the
logistic loss. A loss is joint where ∂²L/∂s_text ∂s_image ≠ 0; elsewhere it trains two models that never meet.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, softplus


def published(text_score: Tensor, image_score: Tensor, lam: float) -> Tensor:
    """λ ℓ(s_t) + (1−λ) ℓ(s_i) + ℓ(s_t) − λ(1−λ) ℓ(s_i), which is (1+λ) ℓ(s_t) + (1−λ)² ℓ(s_i). Separable.

    scores : (batch,); returns one loss per row (batch,).
    """
    return (1 + lam) * softplus(-text_score) + (1 - lam) ** 2 * softplus(-image_score)


def claimed_equivalent(text_score: Tensor, image_score: Tensor, lam: float) -> Tensor:
    """The same with + λ log σ(s_i) + (1−λ) log σ(s_t) added: 2λ ℓ(s_t) + (1−3λ+λ²) ℓ(s_i).

    Separable too, and unbounded below for λ > (3−√5)/2. scores : (batch,); returns (batch,).
    """
    return 2 * lam * softplus(-text_score) + (1 - 3 * lam + lam**2) * softplus(-image_score)


def fused(text_score: Tensor, image_score: Tensor) -> Tensor:
    """ℓ(s_t + s_i): one loss on the sum of the logits; mixed derivative σ(s)σ(−s) at s = s_t + s_i. Returns
    (batch,).
    """
    return -logsigmoid(text_score + image_score)


def agreement(text_score: Tensor, image_score: Tensor) -> Tensor:
    """Symmetric KL between the branches, ½ (p_t − p_i)(s_t − s_i); zero when they agree, right or wrong.
    Returns (batch,).
    """
    return 0.5 * (text_score.sigmoid() - image_score.sigmoid()) * (text_score - image_score)


def product_of_experts(text_logits: Tensor, image_logits: Tensor, labels: Tensor) -> Tensor:
    """−log of the normalised product of both distributions at the label, mean over the batch (Hinton 2002,
    eq. 1).

    logits : (batch, classes); labels : int64 (batch,). The normaliser is what joins the branches.
    """
    return cross_entropy(text_logits + image_logits, labels)
