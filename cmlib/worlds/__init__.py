"""Worlds: pictures and words that are made, not collected, so that the truth behind every row is known
exactly.
"""

from cmlib.worlds.chest import ZONES, Chest
from cmlib.worlds.desk import SITUATIONS, RefundDesk
from cmlib.worlds.drawings import COLORS, KINDS
from cmlib.worlds.toys import Toys
from cmlib.worlds.xray import FINDINGS

__all__ = ["COLORS", "FINDINGS", "KINDS", "SITUATIONS", "ZONES", "Chest", "RefundDesk", "Toys"]
