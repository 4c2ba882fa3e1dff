"""Exercises of lesson 07: real pictures, real words."""

import math
from collections import Counter, defaultdict

import torch

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling

JOINER, COLOUR = "\u200d", "\ufe0f"
SKIN, GENDER = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff", "\u2640\u2642"
MAN, WOMAN, PERSON = "\U0001f468", "\U0001f469", "\U0001f9d1"


def _key(emoji, drop=SKIN + COLOUR, signs=GENDER, same=MAN + WOMAN, join=JOINER):
    parts = [
        "".join(PERSON if sign in same else sign for sign in part if sign not in drop)
        for part in emoji.split(JOINER)
    ]
    return join.join(part for part in parts if part and (part not in signs or part is parts[0]))


@exercise("07.1", "One key for every variant", minutes=10, points=2, difficulty=2)
def group_key(emoji):
    return _key(emoji)


@group_key.cases
def _(draw):
    yield case("\U0001f525", about="fire, which has no variants")
    yield case("\U0001f44b\U0001f3fd", about="a waving hand with a skin tone")
    yield case("\u2764\ufe0f", about="a red heart with U+FE0F")
    yield case("\U0001f3c3\U0001f3fe" + "\u200d\u2640\ufe0f", about="a woman running, with a skin tone")
    yield case("\U0001f3c3\u200d\u2642\ufe0f", about="a man running")
    yield case("\U0001f469\U0001f3fc\u200d\U0001f680", about="a woman astronaut with a skin tone")
    yield case("\U0001f468\u200d\U0001f373", about="a man cook")
    yield case("\u2764\ufe0f\u200d\U0001f525", about="a heart on fire, whose joiner stays")
    yield case("\u2640\ufe0f", about="the female sign itself, which is no ending here")
    # twelve that have skin tones
    hands = [chr(c) for c in range(0x1F442, 0x1F450) if c not in (0x1F444, 0x1F445)]
    jobs = (
        "\U0001f692\U0001f3a8\U0001f52c\U0001f33e\U0001f373\U0001f393"
        "\U0001f3a4\U0001f3eb\U0001f3ed\U0001f4bb\U0001f4bc\U0001f527"
    )
    sports = (
        "\U0001f3c3\U0001f3c4\U0001f3ca\U0001f6a3\U0001f6b4\U0001f6b5"
        "\U0001f6b6\U0001f645\U0001f646\U0001f647\U0001f64b\U0001f926"
    )
    for _ in range(4):
        hand, job, sport, tone, woman = (
            int(draw.integers(high)) for high in (len(hands), len(jobs), len(sports), 5, 2)
        )
        yield case(hands[hand] + SKIN[tone], about="a hand with a random skin tone")
        yield case((MAN, WOMAN)[woman] + SKIN[tone] + JOINER + jobs[job], about="a random profession")
        yield case(
            sports[sport] + SKIN[tone] + JOINER + GENDER[woman] + COLOUR,
            about="a woman or a man in a random posture",
        )


@group_key.mistake("The skin tones U+1F3FB to U+1F3FF are still there: all five have to go.")
def _(emoji):
    return _key(emoji, drop=COLOUR)


@group_key.mistake("U+FE0F is still there; it only asks for a coloured picture.")
def _(emoji):
    return "".join(_key(emoji, drop=SKIN, signs=("\u2640\ufe0f", "\u2642\ufe0f", *GENDER)))


@group_key.mistake("A joiner is left hanging at the end: where a gender sign goes, the joiner before it goes "
                   "too.")
def _(emoji):
    left = "".join(PERSON if s in MAN + WOMAN else s for s in emoji if s not in SKIN + COLOUR)
    return left if len(left) == 1 else "".join(s for s in left if s not in GENDER)


@group_key.mistake("The gender sign is still there: drop it where it is a part of its own after a joiner.")
def _(emoji):
    return _key(emoji, signs="")


@group_key.mistake("You remove every joiner; between two parts that stay, it has to stay too.")
def _(emoji):
    return _key(emoji, join="")


@group_key.mistake("You keep only the first part, so an astronaut and a cook become one group: drop a part "
                   "only if it is a gender sign.")
def _(emoji):
    return _key(emoji).split(JOINER)[0]


@group_key.mistake("Man and woman are still two keys: replace U+1F468 and U+1F469 by the person U+1F9D1.")
def _(emoji):
    return _key(emoji, same="")


@exercise("07.2", "Wilson's interval", minutes=12, points=2, difficulty=3)
def wilson(right, n, z=1.96):
    p, z2 = right / n, z * z
    root = z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return (p + z2 / (2 * n) - root) / (1 + z2 / n), (p + z2 / (2 * n) + root) / (1 + z2 / n)


@wilson.cases
def _(draw):
    for _ in range(3):
        n = int(draw.integers(400, low=20))
        yield case(int(draw.integers(n, low=1)), n, 1.96, about="a random count")
    yield case(7, 10, 1.96, about="7 of 10")
    yield case(0, 12, 1.96, about="0 of 12, where the interval must not be a point")
    yield case(12, 12, 1.96, about="12 of 12, where the interval must not be a point")
    yield case(1, 1, 1.0, about="a single row and z = 1")
    yield case(30, 80, 2.576, about="z = 2.576")


@wilson.mistake("This is p ± z·√(p(1−p)/n), which shrinks to a point at 0 of n and n of n; the terms with z² "
                "are missing.")
def _(right, n, z):
    p = right / n
    half = z * math.sqrt(p * (1 - p) / n)
    return p - half, p + half


@wilson.mistake("The centre is not moved: z²/(2n) has to be added to p before you go up and down.")
def _(right, n, z):
    low, high = wilson.reference(right, n, z)
    shift = z * z / (2 * n) / (1 + z * z / n)
    return low - shift, high - shift


@wilson.mistake("Everything has to be divided by 1 + z²/n at the end.")
def _(right, n, z):
    return tuple((1 + z * z / n) * end for end in wilson.reference(right, n, z))


@wilson.mistake("The term z²/(4n²) is missing under the root.")
def _(right, n, z):
    p = right / n
    half = z * math.sqrt(p * (1 - p) / n)
    return (p + z * z / (2 * n) - half) / (1 + z * z / n), (p + z * z / (2 * n) + half) / (1 + z * z / n)


@wilson.mistake("z is fixed in your code; use the argument.")
def _(right, n, z):
    return wilson.reference(right, n, 1.96)


@wilson.mistake("The ends are in the wrong order: first the lower, then the upper one.")
def _(right, n, z):
    return wilson.reference(right, n, z)[::-1]


def _homes(groups, splits):
    homes = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        homes[group].add(split)
    return homes


@exercise("07.3", "A leak detector", minutes=8, points=2, difficulty=2)
def torn_groups(groups, splits):
    return sorted(group for group, home in _homes(groups, splits).items() if len(home) > 1)


@torn_groups.cases
def _(draw):
    yield case(
        ["cat", "dog", "cat", "owl", "dog", "dog"],
        ["train", "train", "test", "test", "train", "train"],
        about="one torn and one whole group of several rows",
    )
    yield case(
        ["b", "a", "b", "a", "c"],
        ["train", "valid", "valid", "train", "test"],
        about="groups torn between train and valid",
    )
    yield case(["b", "a", "a", "b"], ["test", "train", "test", "valid"], about="groups torn in different "
                                                                               "ways, unsorted")
    yield case(["a", "b", "a"], ["train", "test", "train"], about="a clean split, where nothing is torn")
    yield case(["a", "a", "a", "b"], ["train", "valid", "test", "test"], about="a group in all three splits")
    names, parts = "abcdefghijkl", ("train", "valid", "test")
    for _ in range(2):
        yield telling(
            torn_groups,
            lambda: case(
                [names[i] for i in draw.integers(12, 40).tolist()],
                [parts[i] for i in draw.integers(3, 40).tolist()],
                about="random groups in random splits",
            ),
        )


@torn_groups.mistake("You compare only train with test; a group can also be torn between valid and another "
                     "split.")
def _(groups, splits):
    return sorted(g for g, home in _homes(groups, splits).items() if {"train", "test"} <= home)


@torn_groups.mistake("These are the groups with more than one row; a group is torn only if its rows lie in "
                     "different splits.")
def _(groups, splits):
    return sorted(g for g, count in Counter(groups).items() if count > 1)


@torn_groups.mistake("A torn group appears several times in your list; name it once.")
def _(groups, splits):
    torn = torn_groups.reference(groups, splits)
    return sorted(g for g in groups if g in torn)


@torn_groups.mistake("These are the numbers of the rows; return the names of the groups.")
def _(groups, splits):
    torn = torn_groups.reference(groups, splits)
    return [row for row, g in enumerate(groups) if g in torn]


@torn_groups.mistake("These groups are whole, each in a single split; the torn ones are wanted.")
def _(groups, splits):
    return sorted(g for g, home in _homes(groups, splits).items() if len(home) == 1)


@torn_groups.mistake("The groups are right but not sorted.")
def _(groups, splits):
    return [g for g, home in _homes(groups, splits).items() if len(home) > 1]


@torn_groups.mistake("Only groups in all three splits are in your list; two are enough for a leak.")
def _(groups, splits):
    return sorted(g for g, home in _homes(groups, splits).items() if len(home) == len(set(splits)))


def _counts(labels, guesses, n_classes):
    """(hits, how often guessed, how often true), float64 (n_classes,) each."""
    hits = torch.bincount(labels[labels == guesses], minlength=n_classes)
    return tuple(
        x.double()
        for x in (
            hits,
            torch.bincount(guesses, minlength=n_classes),
            torch.bincount(labels, minlength=n_classes),
        )
    )


@exercise("07.4", "Macro F1", minutes=12, points=3, difficulty=3)
def macro_f1(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    occurs = guessed + true > 0
    return (2 * hits[occurs] / (guessed + true)[occurs]).mean()


@macro_f1.cases
def _(draw):
    def mostly_right(classes):
        labels = draw.integers(classes, 60)
        guesses = torch.where(draw.uniform(60) < 0.6, labels, draw.integers(classes, 60))
        return case(labels, guesses, classes, about="random guesses, mostly right")
    # of these the next cases speak
    rare = ("never predicted", "without a true row", "whose F1 is 0", "divide by n_classes")
    yield telling(macro_f1, lambda: mostly_right(4), hides=rare)
    yield telling(macro_f1, lambda: mostly_right(3), hides=rare)
    yield case(
        torch.tensor([0, 0, 0, 1, 1, 2]),
        torch.tensor([0, 0, 1, 1, 1, 1]),
        3,
        about="a class that is never predicted",
    )
    yield case(
        torch.tensor([0, 0, 1, 1, 1]),
        torch.tensor([0, 2, 1, 1, 2]),
        3,
        about="a class that is predicted but never true",
    )
    yield case(
        torch.tensor([0, 3, 3, 0, 0]),
        torch.tensor([0, 3, 0, 0, 3]),
        5,
        about="classes that are neither true nor predicted",
    )
    yield case(torch.tensor([1, 0, 2]), torch.tensor([0, 2, 1]), 3, about="no right answer at all")
    yield case(torch.tensor([1, 1]), torch.tensor([1, 1]), 2, about="a single class, all right")


@macro_f1.mistake("This is the accuracy: with one answer per row, counting over all rows gives micro F1, and "
                  "that is the same.")
def _(labels, guesses, n_classes):
    return (labels == guesses).double().mean()


@macro_f1.mistake("This is the mean recall; F1 also pays for false alarms.")
def _(labels, guesses, n_classes):
    hits, _, true = _counts(labels, guesses, n_classes)
    return (hits / true)[true > 0].mean()


@macro_f1.mistake("This is the mean precision; F1 also pays for what was missed.")
def _(labels, guesses, n_classes):
    hits, guessed, _ = _counts(labels, guesses, n_classes)
    return (hits / guessed)[guessed > 0].mean()


@macro_f1.mistake("You leave out the classes that were never predicted; if such a class occurs, its F1 is 0 "
                  "and it counts.")
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    return (2 * hits / (guessed + true))[guessed > 0].mean()


@macro_f1.mistake("You leave out the classes without a true row; a class that is predicted for nothing has "
                  "F1 = 0 and counts.")
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    return (2 * hits / (guessed + true))[true > 0].mean()


@macro_f1.mistake(
    "You leave out the classes whose F1 is 0; they are the ones that macro F1 is there to show."
)
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    return (2 * hits / (guessed + true))[hits > 0].mean()


@macro_f1.mistake("You divide by n_classes; a class that is neither true nor predicted has no F1 and does "
                  "not count.")
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    return (2 * hits / (guessed + true).clamp(min=1)).sum() / n_classes


@macro_f1.mistake("You weight each class by its rows; in the macro mean every class counts the same.")
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    return (2 * hits / (guessed + true).clamp(min=1) * true).sum() / true.sum()
