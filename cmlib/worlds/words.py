"""What customers write: synonyms, negation, sentences in which only word order decides, and talk about other
toys.
"""

from __future__ import annotations

from cmlib.worlds.drawings import COLORS, KINDS

SYNONYMS = {
    "ball": ("ball", "sphere"), "block": ("block", "cube"), "star": ("star",),
    "car": ("car", "automobile"), "boat": ("boat", "ship"), "duck": ("duck", "duckling"),
    "house": ("house", "cottage"), "robot": ("robot", "android"),
    "red": ("red", "red", "crimson", "scarlet"), "blue": ("blue", "blue", "azure", "navy"),
    "yellow": ("yellow", "yellow", "golden"), "green": ("green", "green", "emerald"),
    "purple": ("purple", "purple", "violet"), "orange": ("orange", "orange", "tangerine"),
    "small": ("small", "little", "tiny"), "large": ("large", "big", "huge"),
    "cracked": ("cracked", "broken", "damaged"),
}
GREETINGS = ("hello .", "dear team ,", "good morning .", "hi there ,", "to whom it may concern ,")
CHATTER = (
    "thanks for your help .", "the photo was taken this morning .", "we had sunny weather .",
    "please reply soon .", "my daughter loves toys .",
    "the delivery man was friendly .", "it was meant for a birthday .",
    "greetings from the coast .", "the cat slept in the packing paper .", "this is my second letter .",
    "sorry for my handwriting .", "my tea is getting cold .",
)
OTHERS = (  # other toys and other colours: true, kind, and of no use
    "my neighbour has {a} {c} {k} .", "my neighbour has {a} {c} one .", "my son already owns {a} {c} {k} .",
    "last week i gave a friend {a} {c} {k} .", "your shop window showed {a} {c} {k} .",
    "my sister collects every {c} {k} .",
    "one day i would like {a} {c} {k} too .", "in the advert there was {a} {c} {k} .",
)
FINE = (
    "it works perfectly .", "everything arrived in one piece .", "the {k} is in perfect shape .",
    "we are very happy with the {k} .", "there is not a single scratch .",
    "it is not broken at all .", "the {k} is not damaged .", "i cannot find any crack .",
    "no crack , no scratch , no damage .", "it came without any damage .",
    "it looks as good as new .", "nothing is broken .",
)
BROKEN = (
    "it arrived broken .",
    "it came with a big crack .",
    "the {k} is badly damaged .",
    "it is not in one piece .",
    "sadly the {k} is cracked .",
    "it is not intact .",
    "it does not work any more .",
    "we are not happy with the {k} .",
    "the {k} fell apart in my hands .",
    "it is anything but perfect .",
    "it is in two pieces .",
    "i can see a crack .",
)
TWINS = (  # (fine, broken): the same words in another order, so a bag of words cannot tell them apart
    ("it is not broken , it is fine .", "it is not fine , it is broken ."),
    ("the box is damaged but the {k} is fine .", "the {k} is damaged but the box is fine ."),
    ("it looked broken at first but it is intact .", "it looked intact at first but it is broken ."),
    ("the old one was cracked , the new one is whole .", "the old one was whole , the new one is cracked ."),
    ("i feared it was damaged , it is perfect .", "i feared it was perfect , it is damaged ."),
    ("no , it is not damaged , all is well .", "no , all is not well , it is damaged ."),
)
NEUTRAL = (
    "please have a look at the photo .",
    "i want to ask about my {k} .",
    "see the picture for my question .",
    "here is the {k} .",
    "what do you say to this ?",
    "the photo says more than words .",
    "i took a picture of the {k} for you .",
    "is this how the {k} should look ?",
    "please check the {k} in the photo .",
    "can you tell me what to do now ?",
)
ORDERED = (
    "i ordered {a} {c} {k} .",
    "my order says {c} {k} .",
    "the invoice lists one {c} {k} .",
    "i had asked for the {c} {k} .",
    "i paid for {a} {c} {k} .",
    "on the order form i ticked {c} for the {k} .",
    "is this the {c} {k} that i ordered ?",
)
ORDERED_NOT = (  # {c} was ordered, {o} was not: both colours are named, the order of the words decides
    "i ordered the {c} {k} , not the {o} one .",
    "i did not order the {o} {k} , i ordered the {c} one .",
    "not the {o} {k} but the {c} one is on my order .",
    "i ordered the {c} {k} and my brother ordered the {o} one .",
    "my brother ordered the {o} {k} and i ordered the {c} one .",
    "the invoice lists the {c} {k} , not the {o} one .",
)


def side_of(templates, side: str | None):
    """All templates (None), or every third, kept for the test split ("test"), or the others ("train")."""
    if side is None:
        return templates
    return [one for place, one in enumerate(templates) if (place % 3 == 2) == (side == "test")]


class Chooser:
    """Turns the uniform numbers of one row into choices: the same numbers, the same sentence."""

    def __init__(self, numbers):
        self._next = iter(numbers).__next__

    def __call__(self, options):
        return options[int(self._next() * len(options))]

    def chance(self, probability: float) -> bool:
        return self._next() < probability

    def synonym(self, word: str) -> str:
        return self(SYNONYMS[word])


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def fill(template: str, choose: Chooser, kind: str, color: str, other: str) -> str:
    """Put the toy's kind {k}, a colour {c} with its article {a}, and a second colour {o} into a sentence."""
    c = choose.synonym(color)
    return template.format(k=choose.synonym(kind), c=c, a=article(c), o=choose.synonym(other))


def message(
    choose: Chooser, symbol: int, kind: str, n_colors: int, tricky: float = 1.0, side: str | None = None
) -> str:
    """A customer's message whose meaning is ``symbol``: 0 fine, 1 broken, 2 neutral, 3 + c the colour c was
    ordered.

    tricky : from 0 (plain words) to 1: how often word order decides, both colours are named, or another toy
        is mentioned.
    side : whose templates may be used, see ``side_of``
    """
    def one_of(templates):
        return choose(side_of(templates, side))

    color = COLORS[max(symbol - 3, 0)]
    other = choose([c for c in COLORS[:n_colors] if c != color])
    if symbol >= 3:
        core = one_of(ORDERED_NOT if choose.chance(0.4 * tricky) else ORDERED)
    elif symbol == 2:
        core = one_of(NEUTRAL)
    elif choose.chance(0.3 * tricky):
        core = one_of(TWINS)[symbol]
    else:
        core = one_of((FINE, BROKEN)[symbol])
    sentences = [fill(core, choose, kind, color, other)]
    if choose.chance(0.4 * tricky):
        sentences.append(fill(one_of(OTHERS), choose, choose(KINDS), choose(COLORS), other))
    if choose.chance(0.4):
        sentences.append(one_of(CHATTER))
    if choose.chance(0.5):
        sentences.reverse()
    if choose.chance(0.25):
        sentences.insert(0, one_of(GREETINGS))
    return " ".join(sentences)
