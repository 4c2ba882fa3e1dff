"""Questions about scenes of toys, with exact answers: as many of each type as are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import torch

from cmlib.data.pairs import Pairs
from cmlib.worlds.captions import ANSWERS, SIZES, Toy, questions
from cmlib.worlds.drawings import COLORS, KINDS
from cmlib.worlds.draws import Draws, whole
from cmlib.worlds.printed import WORDS
from cmlib.worlds.words import Chooser

TYPES = ("count", "exists", "cracked", "color", "left of", "two steps")
CANNOT_TELL = "cannot tell"
MIDDLE = 32  # pixels: a toy stands in one of four quarters, and no other toy beside it there


def ask(pairs: Pairs, each: Mapping[str, int] | None = None, seed: int = 0) -> Pairs:
    """Questions about the scenes of ``pairs`` (of Toys): texts, labels, and ``picture``, the scene of each.

    each : how many of each type a scene is asked at most, fewer where they cannot be asked; by default one of
        each of TYPES. Further types: "absent", the colour of a toy that is not there, answered by "cannot
        tell"; in scenes of ``with_cards``, with its own words, "word", what the card says, and "card place",
        left of with a card
    class_names are the answers; extras "type": the type of each row. ValueError names an unknown type, and
    says when no scene can be asked.
    """
    each = dict.fromkeys(TYPES, 1) if each is None else each
    if unknown := [name for name in each if name not in _ASKED]:
        raise ValueError(f"There is no type of question {unknown[0]!r}; there are {', '.join(_ASKED)}.")
    answers, draws = (*ANSWERS, CANNOT_TELL, *WORDS), Draws(whole(seed, "seed"), "asked", range(len(pairs)))
    none = torch.full((len(pairs),), -1)
    cards = zip(*(pairs.extras.get(name, none).tolist() for name in ("word", "card")), strict=True)
    rows, stage = [], list(zip(scenes(pairs), cards, strict=True))
    for name, most in each.items():
        numbers = draws.uniform(name, 16 * most).tolist()
        for row, (toys, card) in enumerate(stage):
            choose = Chooser(numbers[row])
            found = dict.fromkeys(_ASKED[name](choose, toys, card) for _ in range(most))
            rows += [(*asked, name, row) for asked in found if asked]
    if not rows:
        raise ValueError(f"None of these {len(pairs):,} scenes can be asked: {dict(each)} asks for nothing, "
                         "or for what they do not show, such as a word without cards.")
    texts, said, types, picture = map(list, zip(*rows, strict=True))
    labels = torch.tensor([answers.index(answer) for answer in said])
    return Pairs(pairs.images, texts, labels, answers, {"type": types}, torch.tensor(picture))


def scenes(pairs: Pairs) -> list[list[Toy]]:
    """The toys of each row, as far as the words about them go."""
    facts = [pairs.extras[name].tolist() for name in ("kind", "color", "size", "cracked", "x", "y")]
    return [[Toy(KINDS[k], COLORS[c], SIZES[s], bool(b), x, y) for k, c, s, b, x, y in zip(*row, strict=True)
             if k >= 0] for row in zip(*facts, strict=True)]


def _as_captions_ask(start: tuple[str, ...]):
    """Of the questions that the world asks itself, the one that begins so."""
    def asked(choose, toys, _):
        return next((pair for pair in questions(choose, toys) if pair[0].startswith(start)), None)
    return asked


def _two_steps(choose, toys, _):
    """The colour of the toy in the same row, or straight above or below, where three toys or more stand."""
    found, kinds = [], [toy.kind for toy in toys]
    for toy, other in permutations(toys if len(toys) > 2 else (), 2):
        row, column = (toy.y < MIDDLE) == (other.y < MIDDLE), (toy.x < MIDDLE) == (other.x < MIDDLE)
        if row != column and kinds.count(toy.kind) == 1:  # "the duck" names one of them
            found.append(("next to" if row else "above" if other.y < toy.y else "below", toy, other))
    side, toy, other = choose(found or [(None, None, None)])
    return toy and (f"what color is the toy {side} the {choose.synonym(toy.kind)} ?", other.color)


def _absent(choose, toys, _):
    kind = choose([kind for kind in KINDS if kind not in {toy.kind for toy in toys}])
    return f"what color is the {choose.synonym(kind)} ?", CANNOT_TELL


def _word(choose, toys, card):
    asked = choose(("what does the card say ?", "what is printed on the card ?"))
    return (asked, WORDS[card[0]]) if card[0] >= 0 else None


def _card_place(choose, toys, card):
    """Left of, with the card in the place of one toy; of toys in the other column."""
    kinds = [toy.kind for toy in toys]
    found = [toy for toy in toys if kinds.count(toy.kind) == 1 and (toy.x < MIDDLE) == card[1] % 2]
    toy, first = choose(found or [None]), choose.chance(0.5)
    if toy is None or card[1] < 0:
        return None
    names = [f"the {choose.synonym(toy.kind)}", "the card"]
    a, b = names[::-1] if first else names
    return f"is {a} left of {b} ?", "yes" if first == (card[1] % 2 == 0) else "no"


_ASKED = {  # each gives (question, answer), or None where this scene cannot be asked
    "count": _as_captions_ask(("how many",)), "exists": _as_captions_ask(("is there",)),
    "cracked": _as_captions_ask(("is any", "is something")), "color": _as_captions_ask(("what color",)),
    "left of": _as_captions_ask(("is the ",)), "two steps": _two_steps, "absent": _absent, "word": _word,
    "card place": _card_place,
}
