"""Fusion: how the features of a picture and of its words become one prediction."""

from cmlib.fusion.additive import additive_ceiling, additive_part
from cmlib.fusion.concat import Concat

__all__ = ["Concat", "additive_ceiling", "additive_part"]
