"""Losses from logits, by hand and stable; each returns the mean over its batch as a scalar tensor."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-[y log s(z) + (1 - y) log s(-z)], s the logistic function; its gradient is (s(z) - y) / n (lesson 01).

    logits : z, any shape; labels : y, the same shape, 0, 1 or a probability between them
    """
    _same_shape("logits", logits, "labels", labels)
    labels = labels.to(logits.dtype)
    if labels.min() < 0 or labels.max() > 1:
        raise ValueError(f"Labels of a binary loss lie between 0 and 1; these run from {labels.min():g} to "
                         f"{labels.max():g}.")
    # Two logsigmoids, not softplus(z) - y z: that difference loses every digit once the right answer is
    # certain.
    return ((labels - 1) * logsigmoid(-logits) - labels * logsigmoid(logits)).mean()


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None,
                  label_smoothing: float = 0.0) -> Tensor:
    """sum_i sum_c w_c q_ic (logsumexp(z_i) - z_ic) / sum_i w_(y_i), with q_i = (1 - e) onehot(y_i) + e / C.

    logits : z (batch, C); labels : y int64 (batch,), 0 to C - 1
    class_weights : w (C,), None for all ones; the mean is weighted too, so equal weights of any size change
        nothing
    label_smoothing : e, the share of the target spread evenly over all C classes (Szegedy et al. 2016,
        section 7)
    """
    _check_classes(logits, labels, class_weights, label_smoothing)
    weights = logits.new_ones(logits.shape[1]) if class_weights is None else class_weights.to(logits)
    surprise = logits.logsumexp(1, keepdim=True) - logits  # (batch, C): -log p
    row_weights = weights[labels]
    # gather, not a sum over a one-hot target: 0 times an infinite surprise would be nan for a masked class.
    loss = row_weights * surprise.gather(1, labels[:, None])[:, 0]  # (batch,)
    if label_smoothing:
        loss = (1 - label_smoothing) * loss + label_smoothing * (weights * surprise).mean(1)
    return loss.sum() / row_weights.sum()


def huber(prediction: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """e^2 / 2 where |e| <= delta, delta (|e| - delta / 2) beyond, e = prediction - target (Huber 1964).

    prediction, target : the same shape; delta : positive, in the units of the target
    """
    _same_shape("prediction", prediction, "target", target)
    if not delta > 0:
        raise ValueError(f"delta of the Huber loss is a positive number; got {delta!r}.")
    error = (prediction - target).abs()
    inner = error.clamp(max=delta)
    return (inner * (error - inner / 2)).mean()  # one formula for both pieces: no branch can overflow unseen


def _same_shape(name_a, a, name_b, b):
    if a.shape != b.shape:
        raise ValueError(f"{name_a} has shape {tuple(a.shape)} and {name_b} {tuple(b.shape)}: they must be "
                         "equal, "
                         "because broadcasting would silently average over all pairs.")
    if a.numel() == 0:
        raise ValueError(
            f"The batch is empty: {name_a} has shape {tuple(a.shape)}, and a mean needs one row."
        )


def _check_classes(logits, labels, class_weights, label_smoothing):
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError("cross_entropy wants logits (batch, C) and labels (batch,); got "
                         f"{tuple(logits.shape)} and "
                         f"{tuple(labels.shape)}.")
    if labels.dtype != torch.int64:
        raise TypeError(f"Labels of cross_entropy are class numbers, int64; got {labels.dtype}: use "
                        "labels.long().")
    classes = logits.shape[1]
    if logits.numel() == 0:
        raise ValueError(f"The batch is empty: logits have shape {tuple(logits.shape)}, and a mean needs one "
                         "row.")
    if labels.min() < 0 or labels.max() >= classes:
        wrong = int(labels[(labels < 0) | (labels >= classes)][0])
        raise ValueError(f"Label {wrong} has no logit: with {classes} classes, labels run from 0 to "
                         f"{classes - 1}.")
    if class_weights is not None and class_weights.shape != (classes,):
        raise ValueError(f"class_weights need one weight per class, shape ({classes},); got "
                         f"{tuple(class_weights.shape)}.")
    if class_weights is not None and not class_weights[labels].sum() > 0:
        raise ValueError("The class weights of this batch add up to nothing: give every class a positive "
                         "weight.")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is at least 0 and less than 1; got {label_smoothing!r}.")
