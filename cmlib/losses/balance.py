"""What keeps two branches of one model learning: losses of their own, and a brake on the faster one
(lesson 09).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from cmlib.data.pairs import describe


def joint_and_single(image: Tensor, text: Tensor, labels: Tensor, weights=(1.0, 0.0, 0.0)) -> Tensor:
    """w_joint ℓ(z_i + z_t) + w_image ℓ(z_i) + w_text ℓ(z_t), with ℓ the cross-entropy; the last two are
    unimodal auxiliary losses (Wang et al. 2020, equation 3).

    image, text : logits (batch, n_classes); labels : int64 (batch,); returns a scalar
    ValueError for logits of unequal shapes, and for weights that are negative or all 0.
    """
    if image.shape != text.shape:
        raise ValueError("Both branches must give logits of one shape, (batch, n_classes); got "
                         f"{describe(image)} and {describe(text)}.")
    if min(weights) < 0 or not sum(weights):
        raise ValueError(f"weights={tuple(weights)} of the joint, the image and the text loss: none is "
                         "negative, and one is above 0.")
    scores = (image + text, image, text)
    # a loss of weight 0 is left out: its branch then has no gradient at all, and an optimiser leaves it alone
    return sum(weight * cross_entropy(z, labels) for weight, z in zip(weights, scores, strict=True) if weight)


def modulation(image: Tensor, text: Tensor, labels: Tensor, alpha: float = 1.0) -> Tensor:
    """The coefficients (of image, of text) of OGM (Peng et al. 2022, equations 8 to 10): with
    ρ = Σ p_this / Σ p_other, where p is the probability that one branch alone gives the right class, the
    branch that is ahead, ρ > 1, gets 1 − tanh(α ρ), the other 1. (At ρ = 1 it jumps by tanh α.)

    image, text : logits (batch, n_classes); labels : int64 (batch,); returns (2,), without gradients
    """
    if not alpha >= 0:
        raise ValueError(f"alpha={alpha} must be 0 (no brake) or more.")
    if image.shape != text.shape or image.ndim != 2:
        raise ValueError("Both branches must give logits of one shape, (batch, n_classes); got "
                         f"{describe(image)} and {describe(text)}.")
    sure = torch.stack([z.detach().softmax(1).gather(1, labels[:, None]).sum() for z in (image, text)])
    ratio = sure / sure.flip(0)  # (2,)
    return torch.where(ratio > 1, 1 - torch.tanh(alpha * ratio), 1.0)


def gradient_cosine(first: Tensor, second: Tensor, parameters: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """(cosine of the gradients of two losses over all ``parameters`` taken as one vector, length of the first
    over length of the second). Their graphs are kept. A parameter that a loss does not reach counts as 0.

    ValueError where one of the two losses reaches none of them.
    """
    parameters, long = list(parameters), []
    for name, loss in (("first", first), ("second", second)):
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        if all(gradient is None for gradient in found):
            raise ValueError(f"The {name} loss reaches none of these {len(parameters)} parameters: there is "
                             "no gradient to compare.")
        pairs = zip(found, parameters, strict=True)
        long.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs]))
    return cosine_similarity(*long, dim=0), long[0].norm() / long[1].norm()
