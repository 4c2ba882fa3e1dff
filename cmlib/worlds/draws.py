"""Random numbers that belong to a row, not to a call: row i is the same whatever is drawn beside it."""

from __future__ import annotations

import operator
from difflib import get_close_matches
from hashlib import blake2b

import numpy as np

SPLITS = ("train", "valid", "test")
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number
    generators").
    """
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Draws:
    """Counter-based draws: every number is a hash of (seed, stream, draw name, row, column).

    rows : int64 (n,), the row numbers asked for. Python's hash() is salted per process, hence blake2b for the
        names.
    """

    def __init__(self, seed: int, stream: str, rows):
        self.seed, self.stream, self.rows = seed, stream, np.asarray(rows, dtype=np.uint64)

    def uniform(self, name: str, columns: int | None = None) -> np.ndarray:
        """float64 (n,) or (n, columns), uniform in [0, 1)."""
        digest = blake2b(f"{self.seed}|{self.stream}|{name}".encode(), digest_size=8).digest()
        z = _mix(_mix(np.uint64(int.from_bytes(digest, "little")) + self.rows * _GOLDEN))
        if columns is not None:
            z = _mix(z[:, None] + np.arange(1, columns + 1, dtype=np.uint64) * _GOLDEN)
        return (z >> np.uint64(11)) * 2.0**-53

    def integers(self, name: str, count, columns: int | None = None) -> np.ndarray:
        """int64, uniform in 0 … count − 1; ``count`` may be an array, one entry per row."""
        return (self.uniform(name, columns) * count).astype(np.int64)

    def choice(self, name: str, probabilities) -> np.ndarray:
        """int64 (n,), option j with probability ``probabilities[j]``."""
        p = np.asarray(probabilities, dtype=np.float64)
        picked = np.searchsorted(np.cumsum(p), self.uniform(name), side="right")
        return np.minimum(picked, np.flatnonzero(p)[-1])  # cumsum may end a rounding error below 1

    def order(self, name: str, columns: int) -> np.ndarray:
        """int64 (n, columns), a random permutation of 0 … columns − 1 per row."""
        return np.argsort(self.uniform(name, columns), axis=1, kind="stable")

    def normal(self, name: str, columns: int | None = None) -> np.ndarray:
        """Standard normal by Box and Muller, so that pixels do not depend on the numpy version."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(name + "/radius", columns)))
        return radius * np.cos(2 * np.pi * self.uniform(name + "/angle", columns))


def row_draws(world: str, seed: int, n: int, split: str, start: int) -> Draws:
    """The draws of rows start … start + n − 1 of a split, after checking what the caller asked for."""
    if not isinstance(split, str) or not split:
        raise TypeError(f'sample(split=…) must be a name such as "train" or "test"; got {split!r}.')
    # Any name is a sequence of its own, so a slip of the pen would quietly draw other rows than the split
    # that was meant.
    word = split.strip().lower()
    if split not in SPLITS and word.isalpha() and (near := get_close_matches(word, SPLITS, 1)):
        raise ValueError(f'sample(split={split!r}) looks like a misspelt "{near[0]}": write that, or, for a '
                         'sequence of its '
                         f'own, a name less like it, such as "{near[0]} 2".')
    n, start = whole(n, "sample(n=…)"), whole(start, "sample(start=…)")
    if n < 0 or start < 0:
        raise ValueError(f"sample(n=…, start=…) must not be negative; got n={n}, start={start}.")
    return Draws(seed, f"{world}|{split}", np.arange(start, start + n))


def whole(value, name: str) -> int:
    """``value`` as an int, or one sentence that says which argument must be a whole number."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number; got {value!r}.") from None
