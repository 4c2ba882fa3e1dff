"""Captions of toys in an order that a reader can see: by the quarters of the table, as one reads a page."""

from __future__ import annotations

import torch

from cmlib.data.pairs import Pairs
from cmlib.worlds.captions import SIZES
from cmlib.worlds.drawings import COLORS, KINDS
from cmlib.worlds.tables import SIDE


def quarter_captions(pairs: Pairs) -> list[str]:
    """One caption a row: all toys, those at the back from left to right, then those in front.

    pairs : of ``Toys``, for their extras. No two toys share a quarter of the table, and no centre is nearer
    than 10 pixels to where quarters meet. (The extra "captions" goes strictly from left to right, and then a
    few pixels decide between two toys of one column.)
    """
    facts = pairs.extras
    quarter = (facts["y"] > SIDE // 2) * 2 + (facts["x"] > SIDE // 2).long()  # (rows, toys)
    there = torch.arange(quarter.shape[1]) < facts["count"][:, None]
    order = quarter.masked_fill(~there, 4).argsort(dim=1, stable=True).tolist()
    looks = zip(*(facts[name].tolist() for name in ("size", "cracked", "color", "kind")), strict=True)
    texts = []
    for row, count, (sizes, cracks, colors, kinds) in zip(order, facts["count"].tolist(), looks, strict=True):
        toys = [f"a {SIZES[sizes[k]]} {'cracked ' * cracks[k]}{COLORS[colors[k]]} {KINDS[kinds[k]]}"
                for k in row[:count]]
        texts.append(" and ".join(toys))
    return texts
