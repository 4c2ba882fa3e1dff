"""Scenes of the course's worlds with every attribute of theirs, from splits that no lesson uses."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle, islice

import torch
from torch import Tensor

from cmlib.data.pairs import Pairs
from cmlib.data.tree import cat
from cmlib.encoders.attributes import ATTRIBUTES
from cmlib.worlds import COLORS, KINDS, Chest, RefundDesk, Toys

SEED = 2026
BLOCK = 256  # scenes that are drawn at a time; the desk has two and six colours in turn
SHARES = {"desk": 0.5, "toys": 0.2, "chest": 0.3}
ABSENT = -100  # the target of an attribute that a picture does not have


def scenes(split: str, n: int) -> Pairs:
    """Pictures, words and every attribute of ``n`` scenes, from splits that no lesson uses."""
    found = []
    for start in range(0, n, BLOCK):
        rows = min(BLOCK, n - start)
        desk, toys = round(SHARES["desk"] * rows), int(SHARES["toys"] * rows)
        two_or_six = RefundDesk((2, 6)[start // BLOCK % 2], seed=SEED)
        for world, count in ((two_or_six, desk), (Toys(SEED), toys), (Chest(SEED), rows - desk - toys)):
            pairs = world.sample(count, split=f"pretraining {split}", start=start)
            found.append(Pairs(pairs.images, pairs.texts, extras=targets(world, pairs)))
    return cat(found)


def targets(world, pairs: Pairs) -> dict[str, Tensor]:
    """Every attribute of pictures of one world: int64 (rows,), or float (rows, names) where many are
    asked.
    """
    x = pairs.extras
    if isinstance(world, RefundDesk):
        sealed, boxed = x["image_symbol"] == 2, x["image_symbol"] > 2
        known = {
            "kind": x["kind"].masked_fill(sealed, ABSENT),
            "color": x["color"],
            "size": x["size"].masked_fill(boxed, ABSENT),
            "cracked": x["cracked"].masked_fill(sealed, ABSENT),
            "container": sealed.long() + 2 * boxed.long(),
        }
    elif isinstance(world, Toys):
        known = {"kinds": _among(x["kind"], len(KINDS)), "colors": _among(x["color"], len(COLORS)),
                 "any cracked": _among(x["cracked"], 2)[:, 1:], "count": x["count"] - 1}  # fmt: skip
    else:
        known = {"findings": x["findings"].float(), "main finding": pairs.labels}
    for name, attribute in ATTRIBUTES.items():
        one = torch.full((len(pairs),), ABSENT)
        many = torch.full((len(pairs), len(attribute.names)), float(ABSENT))
        known.setdefault(name, many if attribute.many else one)
    return known


def _among(which: Tensor, n: int) -> Tensor:
    """(rows, 4) numbers, −1 past the count → float (rows, n): is each of 0 … n − 1 among them?"""
    return (which[:, :, None] == torch.arange(n)).any(1).float()


def texts(split: str, n: int) -> Pairs:
    """The words of ``n`` scenes and, one for every ten, the names of emoji of the train split, in turn."""
    return Pairs(None, [*scenes(split, n).texts, *islice(cycle(emoji_names()), n // 10)])


def emoji_names() -> list[str]:
    from cmlib.datasets import emoji

    return list(emoji(split="train").texts)


def pictures(split: str, n: int) -> Pairs:
    return replace(scenes(split, n), texts=None)
