"""Scores of written captions: BLEU, CIDEr-D, and the F1 of the phrases that a caption is made of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

LENGTHS, SIGMA = range(1, 5), 6.0  # of the n-grams of CIDEr-D; how fast it falls where lengths differ

def n_grams(words: Sequence[str], n: int) -> Counter:
    """How often each run of n neighbouring words stands there."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]], most: int = 4) -> float:
    """BLEU of a whole corpus (Papineni et al. 2002), with words between spaces, unsmoothed.

    references : of each candidate one text or more; the length of the nearest counts, the shorter of two
    """
    _check(candidates, references)
    hits, runs, length, wanted = [0] * most, [0] * most, 0, 0
    for candidate, several in zip(candidates, references, strict=True):
        words, others = candidate.split(), [text.split() for text in several]
        length += len(words)
        wanted += min((abs(len(other) - len(words)), len(other)) for other in others)[1]
        for n in range(1, most + 1):
            there = Counter()
            for other in others:
                there |= n_grams(other, n)  # the most that one reference has
            found = n_grams(words, n)
            hits[n - 1] += (found & there).total()
            runs[n - 1] += found.total()
    if 0 in hits:
        return 0.0
    precision = sum(math.log(hit / run) for hit, run in zip(hits, runs, strict=True)) / most
    return math.exp(min(0.0, 1 - wanted / length) + precision)


class CiderD:
    """CIDEr-D (Vedantam et al. 2015, with counts as term frequencies like the authors' program): n-grams
    weighed by how rare they are, compared by a clipped cosine; 10 at most.

    references : of each picture one text or more; how rare an n-gram is, is counted over these pictures
    """

    def __init__(self, references: Sequence[Sequence[str]]):
        _check(references, references)
        self.pictures, self.seen = math.log(len(references)), Counter()
        for several in references:
            self.seen.update({gram for text in several for n in LENGTHS for gram in n_grams(text.split(), n)})

    def __call__(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        """The mean over rows; references as above, of other rows perhaps."""
        _check(candidates, references)
        rows = zip(candidates, references, strict=True)
        return sum(sum(self._one(candidate, text) for text in several) / len(several)
                   for candidate, several in rows) / len(candidates)

    def _one(self, candidate: str, reference: str) -> float:
        mine, its = candidate.split(), reference.split()
        total = 0.0
        for n in LENGTHS:
            a, b = self._weighed(mine, n), self._weighed(its, n)
            norms = math.hypot(*a.values()) * math.hypot(*b.values())
            if norms:
                total += sum(min(a[gram], b[gram]) * b[gram] for gram in a.keys() & b.keys()) / norms
        return 10 / len(LENGTHS) * total * math.exp(-((len(mine) - len(its)) ** 2) / (2 * SIGMA**2))

    def _weighed(self, words, n) -> dict:
        return {gram: count * (self.pictures - math.log(max(1, self.seen[gram])))
                for gram, count in n_grams(words, n).items()}


def phrase_f1(candidates: Sequence[str], references: Sequence[str], link: str = " and ") -> list[float]:
    """Of each row, the F1 of the phrases between ``link``, in whatever order they stand: "a red car and a
    blue duck" has two. link=" " compares single words.
    """
    _check(candidates, references, one=True)
    found = []
    for candidate, reference in zip(candidates, references, strict=True):
        a, b = (Counter(filter(None, text.split(link))) for text in (candidate, reference))
        found.append(2 * (a & b).total() / (a.total() + b.total()))
    return found


def _check(candidates, references, one=False) -> None:
    """Raise TypeError or ValueError, in one sentence, for what cannot be compared: one reference a row, or a
    list of them.
    """
    if isinstance(candidates, str) or isinstance(references, str):
        raise TypeError("Captions are compared row by row: give lists of texts; got one text, "
                        f"{(candidates if isinstance(candidates, str) else references)[:40]!r}.")
    if len(candidates) != len(references) or not len(candidates):
        raise ValueError(f"{len(candidates)} captions and references of {len(references)} rows: there must "
                         "be as many of both, and one at least.")
    for row, reference in enumerate(references):
        if isinstance(reference, str) != one:
            raise TypeError(f"Row {row} has the reference {reference!r}: it needs "
                            + ("one text, no list." if one else "a list of texts, though it be of one."))
        several = [reference] if one else reference
        if not several or not all(text.split() for text in several):
            raise ValueError(f"Row {row} has an empty reference, {reference!r}: there is nothing to compare "
                             "a caption with; leave the row out.")
