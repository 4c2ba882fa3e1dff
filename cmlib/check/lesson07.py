"""Exercises of lesson 07: real pictures, real words."""

from collections import Counter, defaultdict
from itertools import pairwise

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
    yield case(MAN + "\u200d\u2764\ufe0f\u200d" + MAN, about="a couple, two equal parts with a heart "
                                                             "between them")
    hands = "\u200d\U0001f91d\u200d"
    yield case(WOMAN + SKIN[1] + hands + MAN + SKIN[1], about="a woman and a man holding hands, both with a "
                                                              "tone")
    yield case("\U0001f3c3\u200d\u2640\ufe0f\u200d\u27a1\ufe0f", about="a woman running to the right")
    yield case("\U0001f3fa", about="an amphora, the code point before the skin tones")
    yield case("\U0001f400", about="a rat, the code point after the skin tones")
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


@group_key.mistake("Man and woman become the person U+1F9D1; in your key the person becomes one of them.")
def _(emoji):
    return _key(emoji).replace(PERSON, MAN)


@group_key.mistake("The parts are in another order: glue them as they came.")
def _(emoji):
    return JOINER.join(sorted(_key(emoji).split(JOINER)))


@group_key.mistake("Man and woman are replaced in the first part only: a couple has two, so replace them "
                   "wherever they "
                   "stand.")
def _(emoji):
    first, *rest = emoji.split(JOINER)
    others = _key(JOINER.join(["x", *rest]), same="").split(JOINER)[1:]
    return JOINER.join([_key(first), *others])


@group_key.mistake("One skin tone is taken away, and a couple may have two: all of them have to go.")
def _(emoji):
    first = next((k for k, sign in enumerate(emoji) if sign in SKIN), len(emoji))
    return _key(emoji[:first] + emoji[first + 1:], drop=COLOUR)


@group_key.mistake("The gender sign goes only where it is the last part: one who runs to the right has an "
                   "arrow after it.")
def _(emoji):
    *rest, last = _key(emoji, signs="").split(JOINER)
    return JOINER.join([*rest, last] if not rest or last not in GENDER else rest)


@group_key.mistake("Equal parts are kept once: a couple has two of them, and both stay.")
def _(emoji):
    return JOINER.join(dict.fromkeys(_key(emoji).split(JOINER)))


@group_key.mistake("More than the five skin tones is taken away: they are U+1F3FB to U+1F3FF, both included.")
def _(emoji):
    return _key(emoji, drop=SKIN + COLOUR + "\U0001f3fa\U0001f400")


@group_key.mistake("The sign alone, as an emoji of its own, stays: only a part after a joiner is dropped.")
def _(emoji):
    return JOINER.join(part for part in _key(emoji, signs="").split(JOINER) if part not in GENDER)


@group_key.mistake("The joiners are gone before you cut, so no part is a gender sign of its own: cut "
                   "first, then drop.")
def _(emoji):
    return _key(emoji, signs="").replace(JOINER, "")


@exercise("07.6", "Does the interval keep its promise?", minutes=15, points=3, difficulty=3,
          names=("the coverage of the usual interval", "the coverage of Wilson's"))
def coverage(right, n, p, z=1.96):
    share = right.double() / n
    half = z * (share * (1 - share) / n).sqrt()
    usual = (share - half <= p) & (p <= share + half)
    centre = share + z**2 / (2 * n)
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)).sqrt()
    scale = 1 + z**2 / n
    wilson = ((centre - half) / scale <= p) & (p <= (centre + half) / scale)
    return float(usual.double().mean()), float(wilson.double().mean())


@coverage.cases
def _(draw):
    def test_sets(n, p, z, about):
        right = (draw.uniform(3000, n) < p).sum(1)
        return case(right, n, p, z, about=about)

    ends = ("its ends",)  # of them the last case speaks
    first = (*ends, "z is not squared")
    yield telling(coverage, lambda: test_sets(22, 0.88, 1.6, "22 rows and p = 0.88, z = 1.6"), hides=first)
    yield telling(coverage, lambda: test_sets(40, 0.8, 2.1, "40 rows and p = 0.8, z = 2.1"), hides=ends)
    yield test_sets(12, 0.97, 1.96, "12 rows and p = 0.97")
    yield test_sets(247, 0.5, 1.96, "247 rows and p = 0.5")
    yield case(torch.tensor([12, 12, 11]), 12, 0.95, 1.96, about="three test sets, two of them all right")
    # 2 of 4 rows, z = 1: the usual interval is 0.25 to 0.75, without rounding in any order of the steps
    yield case(torch.tensor([2, 3, 1, 1, 2]), 4, 0.75, 1.0, about="intervals that end exactly at p")


def _holds(low, high, p):
    return float(((low <= p) & (p <= high)).double().mean())


def _usual(share, n, z):
    half = z * (share * (1 - share) / n).sqrt()
    return share - half, share + half


def _wilson(share, n, z, inner=1.0, square=2, move=1.0, divide=True):
    half = z * (share * (1 - share) / n + inner * z**2 / (4 * n**square)).sqrt()
    centre, scale = share + move * z**2 / (2 * n), 1 + z**2 / n if divide else 1.0
    return (centre - half) / scale, (centre + half) / scale


def _both(right, n, p, z, usual=_usual, wilson=_wilson):
    share = right.double() / n
    return _holds(*usual(share, n, z), p), _holds(*wilson(share, n, z), p)


for _sentence, _slip in {
    "In Wilson's root n is not squared: it is z²/(4n²).": {
        "wilson": lambda share, n, z: _wilson(share, n, z, square=1)
    },
    "The term z²/(4n²) is missing under Wilson's root.": {
        "wilson": lambda share, n, z: _wilson(share, n, z, inner=0.0)
    },
    "Wilson's ends are not divided by 1 + z²/n.": {
        "wilson": lambda share, n, z: _wilson(share, n, z, divide=False)
    },
    "Wilson's centre is not moved: z²/(2n) is added to the share before you go up and down.": {
        "wilson": lambda share, n, z: _wilson(share, n, z, move=0.0)
    },
    "Both numbers are of the usual interval; the second is Wilson's.": {"wilson": _usual},
    "The usual interval has the root of p̂(1 − p̂)/n; yours has no root.": {
        "usual": lambda share, n, z: (
            share - z * share * (1 - share) / n,
            share + z * share * (1 - share) / n,
        )
    },
    "The usual interval divides by n, not by n − 1: p̂(1 − p̂) is the variance of a row as it stands.": {
        "usual": lambda share, n, z: _usual(share, n - 1, z)
    },
    "The usual interval divides by n under its root: yours is the scatter of one row.": {
        "usual": lambda share, n, z: _usual(share, 1, z)
    },
}.items():
    coverage.mistake(_sentence)(lambda right, n, p, z, slip=_slip: _both(right, n, p, z, **slip))


@coverage.mistake(
    "The true p stands under the root of your usual interval. Nobody knows it: the usual interval puts the "
    "observed share there (and what you have is Wilson's idea)."
)
def _(right, n, p, z):
    right_one = coverage.reference(right, n, p, z)[1]
    return right_one, right_one


@coverage.mistake("z is not squared in Wilson's formula: the quadratic of step 3 has z² in every term.")
def _(right, n, p, z):
    share = right.double() / n
    half = z * (share * (1 - share) / n + z / (4 * n**2)).sqrt()
    centre, scale = share + z / (2 * n), 1 + z / n
    return _holds(*_usual(share, n, z), p), _holds((centre - half) / scale, (centre + half) / scale, p)


@coverage.mistake("You check the lower end only: p must also lie below the upper one.")
def _(right, n, p, z):
    share = right.double() / n
    return tuple(float((ends(share, n, z)[0] <= p).double().mean()) for ends in (_usual, _wilson))


@coverage.mistake("You check the upper end only: p must also lie above the lower one.")
def _(right, n, p, z):
    share = right.double() / n
    return tuple(float((p <= ends(share, n, z)[1]).double().mean()) for ends in (_usual, _wilson))


@coverage.mistake("In the usual interval you check the upper end only: p must also lie above the lower one.")
def _(right, n, p, z):
    share = right.double() / n
    first = float((p <= _usual(share, n, z)[1]).double().mean())
    return first, coverage.reference(right, n, p, z)[1]


@coverage.mistake("In the usual interval you check the lower end only: p must also lie below the upper one.")
def _(right, n, p, z):
    share = right.double() / n
    first = float((_usual(share, n, z)[0] <= p).double().mean())
    return first, coverage.reference(right, n, p, z)[1]


@coverage.mistake("An interval holds p where low ≤ p and p ≤ high; with *or* it always does.")
def _(right, n, p, z):
    return 1.0, 1.0


@coverage.mistake("You make one interval, from the mean of all shares; each test set has one of its own.")
def _(right, n, p, z):
    share = (right.double() / n).mean()[None]
    return _holds(*_usual(share, n, z), p), _holds(*_wilson(share, n, z), p)


@coverage.mistake("n is the rows of one test set; in your roots stands the number of test sets.")
def _(right, n, p, z):
    share, sets = right.double() / n, len(right)
    return _holds(*_usual(share, sets, z), p), _holds(*_wilson(share, sets, z), p)


@coverage.mistake("An interval holds its ends, too: ≤, not <.")
def _(right, n, p, z):
    share = right.double() / n
    inside = ((low < p) & (p < high) for low, high in (_usual(share, n, z), _wilson(share, n, z)))
    return tuple(float(held.double().mean()) for held in inside)


@coverage.mistake("z is fixed in your code; use the argument.")
def _(right, n, p, z):
    return coverage.reference(right, n, p, 1.96 if z != 1.96 else z)


@coverage.mistake("These are the shares of test sets whose interval misses p; coverage is how many hold it.")
def _(right, n, p, z):
    return tuple(1 - share for share in coverage.reference(right, n, p, z))


@coverage.mistake("Coverage is a share, between 0 and 1; yours is a hundred times that.")
def _(right, n, p, z):
    return tuple(100 * share for share in coverage.reference(right, n, p, z))


@coverage.mistake("The two are in the wrong order: first the usual interval, then Wilson's.")
def _(right, n, p, z):
    return coverage.reference(right, n, p, z)[::-1]


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
    yield case(["a", "B", "a", "B"], ["train", "train", "test", "valid"], about="a capital letter, which "
                                                                                "stands "
                                                                                "before the small ones")
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


@torn_groups.mistake("You compare only train with valid; a group can also be torn between test and "
                     "another split.")
def _(groups, splits):
    return sorted(g for g, home in _homes(groups, splits).items() if {"train", "valid"} <= home)


@torn_groups.mistake("You look only at groups with a row in train; valid and test can tear a group, too.")
def _(groups, splits):
    return sorted(g for g, home in _homes(groups, splits).items() if "train" in home and len(home) > 1)


@torn_groups.mistake("You look only at groups with a row in test; train and valid can tear a group, too.")
def _(groups, splits):
    return sorted(g for g, home in _homes(groups, splits).items() if "test" in home and len(home) > 1)


@torn_groups.mistake("You compare a group's first row with its last; a row between them may lie elsewhere.")
def _(groups, splits):
    last = dict(zip(groups, splits, strict=True))
    first = dict(zip(groups[::-1], splits[::-1], strict=True))
    return sorted(g for g in last if first[g] != last[g])


@torn_groups.mistake("Your list is always empty: does every group keep the splits of its earlier rows?")
def _(groups, splits):
    return []


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
    return sorted(g for g, home in _homes(groups, splits).items() if len(home) == 3)


@torn_groups.mistake("A group in all three splits is torn, too: more than one, not exactly two.")
def _(groups, splits):
    return sorted(g for g, home in _homes(groups, splits).items() if len(home) == 2)


@torn_groups.mistake("You compare only rows that follow each other; the rows of a group may lie far apart.")
def _(groups, splits):
    rows = pairwise(zip(groups, splits, strict=True))
    return sorted({g for (g, split), (h, other) in rows if g == h and split != other})


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


@macro_f1.worked
def _(labels, guesses, n_classes):
    found = []
    for k in range(n_classes):
        hits = ((labels == k) & (guesses == k)).sum().double()
        alarms = ((labels != k) & (guesses == k)).sum().double()
        misses = ((labels == k) & (guesses != k)).sum().double()
        if hits + alarms + misses > 0:
            found.append(2 * hits / (2 * hits + alarms + misses))
    return torch.stack(found).mean()


@macro_f1.cases
def _(draw):
    def mostly_right(classes):
        labels = draw.integers(classes, 60)
        guesses = torch.where(draw.uniform(60) < 0.6, labels, draw.integers(classes, 60))
        return case(labels, guesses, classes, about="random guesses, mostly right")
    # of these the next cases speak
    rare = ("never predicted", "without a true row", "whose F1 is 0", "divide by n_classes", "0/0", "as 1")
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


@macro_f1.mistake("Your F1 is hits over hits, false alarms and misses together (the Jaccard index); F1 "
                  "counts the hits twice, "
                  "above and below.")
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    union = guessed + true - hits
    return (hits / union)[union > 0].mean()


@macro_f1.mistake("The hits stand twice above and once below: F1 counts them twice in both places.")
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    union = guessed + true - hits
    return (2 * hits / union)[union > 0].mean()


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


@macro_f1.mistake("0/0 is nan: leave a class that neither occurs nor is predicted out of the mean.")
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    return (2 * hits / (guessed + true)).mean()


@macro_f1.mistake("A class that is neither true nor predicted counts as 1 in your mean; leave it out.")
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    return (2 * hits / (guessed + true)).nan_to_num(1.0).mean()


@macro_f1.mistake("You add precision and recall and halve the sum; F1 is their harmonic mean.")
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    precision, recall = (hits / guessed).nan_to_num(), (hits / true).nan_to_num()
    return ((precision + recall) / 2)[guessed + true > 0].mean()


@macro_f1.mistake(
    "This is the F1 of the mean precision and the mean recall; macro F1 is the mean of the classes' own F1."
)
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    precision, recall = (hits / guessed)[guessed > 0].mean(), (hits / true)[true > 0].mean()
    return 2 * precision * recall / (precision + recall)


@macro_f1.mistake("You weight each class by its rows; in the macro mean every class counts the same.")
def _(labels, guesses, n_classes):
    hits, guessed, true = _counts(labels, guesses, n_classes)
    return (2 * hits / (guessed + true).clamp(min=1) * true).sum() / true.sum()


@exercise("07.5", "What a group is worth", minutes=25, points=4, difficulty=4, rtol=1e-5)
def effective_rows(sizes, rho):
    sizes = sizes.double()
    n = sizes.sum()
    pairs = sizes * (sizes - 1)
    inflation = (sizes + rho * pairs).sum() / n
    return float(n / inflation)


@effective_rows.cases
def _(draw):
    for groups, rho, about in (
        (6, 0.3, "six groups and ρ = 0.3"),
        (20, 0.2, "twenty groups and ρ = 0.2"),
        (9, 0.9, "nine groups and ρ = 0.9"),
    ):
        yield telling(
            effective_rows,
            lambda groups=groups, rho=rho, about=about: case(
                1 + draw.integers(9, groups), rho, about=about
            ),
        )
    sizes = 1 + draw.integers(9, 7)
    yield case(sizes, 0.0, about="ρ = 0, where every row counts in full")
    yield case(sizes, 1.0, about="ρ = 1, where a group is one row that was copied")


def _of_sizes(find):
    def answer(sizes, rho):
        sizes = sizes.double()
        return float(find(sizes, sizes.sum(), rho))
    return answer


for _sentence, _slip in {
    "This is the number of rows: it would be right for ρ = 0 only.": lambda m, n, rho: n,
    "This is the number of groups: it would be right for ρ = 1 and equal sizes only.": (
        lambda m, n, rho: len(m)
    ),
    "You use the mean size of a group: large groups weigh more than that, so add up m(m − 1) group by "
    "group.": (
        lambda m, n, rho: n / (1 + rho * (m.mean() - 1))
    ),
    "You use the largest group for all of them.": lambda m, n, rho: n / (1 + rho * (m.max() - 1)),
    "This is how many times larger the variance is; how many independent rows would have that variance?": (
        lambda m, n, rho: (m + rho * m * (m - 1)).sum() / n
    ),
    "You count every pair once: in the variance of a sum each covariance stands twice, for (i, j) and "
    "(j, i).": (
        lambda m, n, rho: n**2 / (m + rho * m * (m - 1) / 2).sum()
    ),
    "You correlate every row with every other; only rows of one group are correlated: add up m(m − 1) "
    "group by "
    "group.": (
        lambda m, n, rho: n**2 / (n + rho * n * (n - 1))
    ),
    "The number of groups stands where the number of rows is wanted: n is the sum of the sizes.": (
        lambda m, n, rho: len(m) ** 2 / (m + rho * m * (m - 1)).sum()
    ),
    "A row makes no pair with itself: m(m − 1) pairs, not m².": (
        lambda m, n, rho: n**2 / (m + rho * m**2).sum()
    ),
    "You divide n by a root: the effective rows are n over the factor itself.": (
        lambda m, n, rho: n / ((m + rho * m * (m - 1)).sum() / n) ** 0.5
    ),
    "ρ is squared in your formula: a covariance is ρ times the variance.": (
        lambda m, n, rho: n**2 / (m + rho**2 * m * (m - 1)).sum()
    ),
    "n is not squared: the variance of the mean is that of the sum divided by n².": (
        lambda m, n, rho: n / (m + rho * m * (m - 1)).sum()
    ),
    "You mix the answers for ρ = 0 and ρ = 1; the variances mix, and n over a mix is no mix.": (
        lambda m, n, rho: (1 - rho) * n + rho * len(m)
    ),
    "This is the answer for ρ = 1, whatever ρ is.": lambda m, n, rho: n**2 / (m * m).sum(),
    "You add up the groups' own effective rows, m/(1 + (m − 1)ρ); in the plain mean a large group weighs "
    "more than that.": lambda m, n, rho: (m / (1 + rho * (m - 1))).sum(),
}.items():
    effective_rows.mistake(_sentence)(_of_sizes(_slip))
