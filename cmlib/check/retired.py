"""Exercises that other ones have replaced: an id is never used again for another question."""

RETIRED = {  # the old id: the exercise that took its place
    "01.3": "01.6",
    "04.1": "04.6",
    "06.1": "06.7",
    "06.2": "06.6",
    "07.2": "07.6",
    "13.1": "13.7",
    "13.3": "13.8",
    "13.4": "13.6",
}


class Retired(ValueError):
    """The text is one sentence that says where the exercise went."""


def sentence(id: str, title: str = "") -> str:
    """What is said of the retired exercise ``id``; ``title`` : of the one that replaced it."""
    name = f"{RETIRED[id]}, {title}" if title else RETIRED[id]
    return f"Exercise {id} was replaced by {name}: answer that one, in the lesson as it is today."


def before(id: str) -> list[str]:
    """The retired ids whose place ``id`` took."""
    return [old for old, new in RETIRED.items() if new == id]
