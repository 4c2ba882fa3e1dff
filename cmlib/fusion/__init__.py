"""Fusion: how the features of a picture and of its words become one prediction."""

from cmlib.fusion.additive import additive_ceiling, additive_part
from cmlib.fusion.attending import CrossAttention, Film, OneStream
from cmlib.fusion.concat import Concat
from cmlib.fusion.graph import TypedGraph
from cmlib.fusion.pooled import Additive, Gated, LowRank, Mlp, Residual, TensorFusion

__all__ = ["Additive", "Concat", "CrossAttention", "Film", "Gated", "LowRank", "Mlp", "OneStream", "Residual",
           "TensorFusion", "TypedGraph", "additive_ceiling", "additive_part"]
