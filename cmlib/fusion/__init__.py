"""Fusion: how the features of a picture and of its words become one prediction."""

from cmlib.fusion.concat import Concat

__all__ = ["Concat"]
