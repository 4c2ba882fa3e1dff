"""Words about a scene of toys: captions, one canonical caption, tags, questions with answers."""

from __future__ import annotations

from typing import NamedTuple

from cmlib.worlds.drawings import COLORS, KINDS
from cmlib.worlds.words import CHATTER, Chooser, article

SIZES = ("small", "large")
NUMBERS = ("no", "one", "two", "three", "four")
ANSWERS = (*NUMBERS[1:], "yes", "no", *COLORS)  # everything a question can be answered by
_RELATIONS = {"left": ("left of", "to the left of"), "right": ("right of", "to the right of"),
              "above": ("above", "behind"), "below": ("below", "in front of")}


class Toy(NamedTuple):
    """One toy of a scene; x, y is its centre in pixels, y points down."""

    kind: str
    color: str
    size: str
    cracked: bool
    x: int
    y: int


def caption(choose: Chooser, toys: list[Toy]) -> str:
    """A free caption that starts with the first toy; sometimes it also says what is not there, or something
    else.
    """
    first, *others = (phrase(choose, toy) for toy in toys)
    if not others:
        frame = choose(
            ("{} .", "there is {} .", "this is {} .", "the picture shows {} .", "you can see {} .")
        )
        text = frame.format(first)
    else:
        text = f"{first} {choose(_RELATIONS[relation(*toys[:2])])} {others[0]}"
        text += (
            "".join(link + other for link, other in zip((" and ", " , with "), others[1:], strict=False))
            + " ."
        )
    if choose.chance(0.2):
        absent = choose([k for k in KINDS if k not in {toy.kind for toy in toys}])
        denial = choose(("there is no {} .", "no {} can be seen .", "it does not show any {} ."))
        text += " " + denial.format(choose.synonym(absent))
    if choose.chance(0.2):
        text = f"{text} {choose(CHATTER)}" if choose.chance(0.5) else f"{choose(CHATTER)} {text}"
    return text


def phrase(choose: Chooser, toy: Toy) -> str:
    """Such as "a little broken crimson car": size and synonyms vary, a crack is always mentioned."""
    words = [toy.size] * choose.chance(0.7) + ["cracked"] * toy.cracked + [toy.color, toy.kind]
    words = [choose.synonym(w) for w in words]
    return " ".join([article(words[0]), *words])


def relation(a: Toy, b: Toy) -> str:
    """Where a is, seen from b, along the axis in which they are further apart."""
    dx, dy = a.x - b.x, a.y - b.y
    return ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("below" if dy > 0 else "above")


def canonical(toys: list[Toy]) -> str:
    """The one caption that can be compared word for word: every toy from left to right, no synonyms."""
    row = sorted(toys, key=lambda t: (t.x, t.y))
    return " and ".join(f"a {t.size} {'cracked ' * t.cracked}{t.color} {t.kind}" for t in row)


def tags(toys: list[Toy]) -> tuple[str, ...]:
    """What a search should find the picture by: kinds, colours, "color kind", and "cracked"; sorted, each
    once.
    """
    found = {word for t in toys for word in (t.kind, t.color, f"{t.color} {t.kind}")}
    return tuple(sorted(found | ({"cracked"} if any(t.cracked for t in toys) else set())))


def questions(choose: Chooser, toys: list[Toy]) -> list[tuple[str, str]]:
    """Three to five (question, answer): how many, is there, which colour, is it cracked, left of."""
    kinds = [t.kind for t in toys]
    unique = [t for t in toys if kinds.count(t.kind) == 1]
    asked = [(choose(("how many toys are there ?", "how many toys can you see ?")), NUMBERS[len(toys)])]
    present = choose.chance(0.5)
    wanted = choose.synonym(choose(kinds if present else [k for k in KINDS if k not in kinds]))
    asked.append((f"is there {article(wanted)} {wanted} ?", _yes(present)))
    asked.append(
        (choose(("is any toy cracked ?", "is something broken ?")), _yes(any(t.cracked for t in toys)))
    )
    if unique:
        toy = choose(unique)
        asked.append((f"what color is the {choose.synonym(toy.kind)} ?", toy.color))
    apart = [(a, b) for a in unique for b in unique if abs(a.x - b.x) > 6]
    if apart:
        a, b = choose(apart)
        asked.append(
            (f"is the {choose.synonym(a.kind)} left of the {choose.synonym(b.kind)} ?", _yes(a.x < b.x))
        )
    return asked


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"
