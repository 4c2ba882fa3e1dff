"""Phrases about a scene, and which of its toys each of them names: "the red car", "the car left of the duck".

Left and right, above and below hold of two toys whose centres are more than ``APART`` pixels apart that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cmlib.worlds.captions import _RELATIONS, SIZES
from cmlib.worlds.drawings import COLORS, KINDS
from cmlib.worlds.draws import Draws
from cmlib.worlds.words import SYNONYMS, Chooser

APART = 10  # pixels: two toys of a column, or of a row, are never as far apart along the other axis
_NUMBERS = 12  # uniform numbers that one phrase may use
_LOOKS = {"color": COLORS, "size": SIZES, "cracked": (None, "cracked")}
_HOLDS = {"left": lambda a, b: a[0] < b[0] - APART, "right": lambda a, b: a[0] > b[0] + APART,
          "above": lambda a, b: a[1] < b[1] - APART, "below": lambda a, b: a[1] > b[1] + APART}


class Phrase(NamedTuple):
    """``form``: "kind", "color", "size" or "cracked" for a toy by itself; "relation" where its kind alone
    would do, "needed" where only the relation says which one. ``hits``: the toys that it names, () for none.
    """

    words: str
    form: str
    hits: tuple[int, ...]


def phrases(
    scenes: dict, n: int = 5, absent: float = 0.25, seed: int = 0, split: str = "train", start: int = 0,
    kinds: Sequence[str] = KINDS, thing: str = "toy",
) -> list[list[Phrase]]:
    """n phrases about each of the scenes, of which about the share ``absent`` name nothing in it.

    scenes : the extras of a sample; split, start : as it was drawn, so that the same row gets the same words
    kinds  : what the numbers in scenes["kind"] are called; thing : what everything may be called
    """
    facts = [scenes[name].tolist() for name in ("count", "kind", "color", "size", "cracked", "x", "y")]
    draws = Draws(seed, f"phrases|{split}", np.arange(start, start + len(facts[0])))
    numbers = draws.uniform("words", n * _NUMBERS).reshape(-1, n, _NUMBERS)
    told = []
    for row, (count, *columns) in enumerate(zip(*facts, strict=True)):
        toys = list(zip(*(column[:count] for column in columns), strict=True))
        told.append([_phrase(Chooser(u.tolist()), toys, absent, kinds, thing) for u in numbers[row]])
    return told


def _phrase(choose, toys, absent, kinds, thing) -> Phrase:
    missing, related = choose.chance(absent), choose.chance(0.55)
    found = _related(toys, missing) if related else None
    if found:
        wanted = [one for one in found if one[0] == "needed"]
        form, name, kind, landmark, hits = choose(wanted if wanted and choose.chance(0.6) else found)
        spare = [k for k in range(len(kinds)) if k not in {toy[0] for toy in toys}]
        if missing and spare and choose.chance(0.4):  # one of both is not there at all
            other = choose(spare)
            kind, landmark = (other, landmark) if choose.chance(0.5) else (kind, other)
        head = thing if kind is None else _synonym(choose, kinds[kind])
        words = f"the {head} {choose(_RELATIONS[name])} the {_synonym(choose, kinds[landmark])}"
        return Phrase(words, form, hits)
    return _alone(choose, toys, missing, kinds)


def _related(toys, missing):
    """(form, relation, kind or None for any, kind of the landmark, hits) of all phrases that may be said."""
    have, found = [toy[0] for toy in toys], []
    for b, landmark in enumerate(toys):
        if have.count(landmark[0]) > 1:
            continue
        for name, holds in _HOLDS.items():
            near = [a for a, toy in enumerate(toys) if holds(toy[4:], landmark[4:])]
            for kind in (*sorted({*have} - {landmark[0]}), None):  # in an order: no two runs hash None alike
                hits = tuple(a for a in near if kind is None or have[a] == kind)
                several = (len(toys) - 1 if kind is None else have.count(kind)) > 1
                if len(hits) == (not missing) and len(toys) > 1:
                    found.append(("needed" if several else "relation", name, kind, landmark[0], hits))
    return found


def _alone(choose, toys, missing, kinds):
    """A phrase about one kind, with or without a word about its looks."""
    found = []
    for kind in range(len(kinds)):
        same = [a for a, toy in enumerate(toys) if toy[0] == kind]
        said = [("kind", "", same)]
        if same:
            for place, (form, words) in enumerate(_LOOKS.items(), start=1):
                values = [(word, value) for value, word in enumerate(words) if word]
                said += [(form, word, [a for a in same if toys[a][place] == value]) for word, value in values]
        found += [(form, word, kind, tuple(hits)) for form, word, hits in said if bool(hits) != missing]
    form = choose(sorted({form for form, *_ in found}))
    _, word, kind, hits = choose([one for one in found if one[0] == form])
    return Phrase(" ".join(["the", *(_synonym(choose, w) for w in (word, kinds[kind]) if w)]), form, hits)


def _synonym(choose, word):
    return choose(SYNONYMS.get(word, (word,)))
