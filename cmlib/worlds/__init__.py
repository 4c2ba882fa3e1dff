"""Worlds: pictures and words that are made, not collected, so that the truth behind every row is known exactly."""

from cmlib.worlds.desk import SITUATIONS, RefundDesk
from cmlib.worlds.drawings import COLORS, KINDS

__all__ = ["COLORS", "KINDS", "SITUATIONS", "RefundDesk"]
