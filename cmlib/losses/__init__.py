"""Losses by hand and stable, each one a page of a lesson."""

from cmlib.losses.classification import binary_cross_entropy, cross_entropy, huber
from cmlib.losses.contrastive import info_nce, sigmoid_contrast

__all__ = ["binary_cross_entropy", "cross_entropy", "huber", "info_nce", "sigmoid_contrast"]
