"""Words printed on a card that lies in a free quarter of a scene of toys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from cmlib.data.pairs import Pairs
from cmlib.worlds.draws import Draws, whole

WORDS = ("sale", "sold", "open", "toys", "free", "hold", "stop", "gift")
_LETTERS = {  # seven rows of five bits each, two hexadecimal digits a row
    "a": "0e11111f111111", "d": "1e11111111111e", "e": "1f10101e10101f", "f": "1f10101e101010",
    "g": "0e11101711110f", "h": "1111111f111111", "i": "0e04040404040e", "l": "1010101010101f",
    "n": "11191513111111", "o": "0e11111111110e", "p": "1e11111e101010", "r": "1e11111e141211",
    "s": "0f10100e01011e", "t": "1f040404040404", "y": "11110a04040404",
}
_HEIGHT, _WIDTH = 15, 29  # pixels: four letters and a margin


def with_cards(pairs: Pairs, share: float = 1.0, words=WORDS, seed: int = 0) -> Pairs:
    """The same scenes (of Toys), about a ``share`` of those with a free quarter with a card in it, on which
    one of ``words`` is printed, and a sentence at the end of the text that says so.

    words : of four letters; ValueError names a word that no card can hold, and a share that is none
    Extras "word" int64 (rows,), its place in ``words``, −1 where there is no card, and "card" int64 (rows,),
    the quarter: 0 and 1 above, 2 and 3 below. All other facts are those of the toys.
    """
    if not words or not 0 <= share <= 1:
        raise ValueError(f"with_cards takes a share from 0 to 1 and at least one word; got {share} and "
                         f"{len(words)} of them.")
    faces = [_face(word) for word in words]
    x, y = pairs.extras["x"], pairs.extras["y"]  # (rows, 4), −1 where there is no toy
    taken = ((x >= 32) + 2 * (y >= 32))[..., None] == torch.arange(4)
    free = ~(taken & (x >= 0)[..., None]).any(1).numpy()  # (rows, 4)
    draws = Draws(whole(seed, "with_cards(seed=…)"), "printed cards", range(len(pairs)))
    laid = free.any(1) & (draws.uniform("laid") < share)
    quarter = np.where(laid, (draws.uniform("quarter", 4) * free).argmax(1), -1)
    word = np.where(laid, draws.integers("word", len(words)), -1)
    nudge, tone = draws.integers("nudge", 5, 2) - 2, 0.85 + 0.15 * draws.uniform("tone")
    images, texts = pairs.images.clone(), list(pairs.texts)
    for row in np.flatnonzero(laid).tolist():
        left, top = (4 + 28 * np.array([quarter[row] % 2, quarter[row] // 2]) + nudge[row] + [0, 7]).tolist()
        image = images[row].numpy()
        shadow = image[:, top + 2:top + 2 + _HEIGHT, left + 2:left + 2 + _WIDTH]
        shadow[...] = shadow * 0.6
        image[:, top:top + _HEIGHT, left:left + _WIDTH] = faces[word[row]] * tone[row]
        texts[row] += f" the card says {words[word[row]]} ."
    card = {"word": torch.from_numpy(word), "card": torch.from_numpy(quarter)}
    return replace(pairs, images=images, texts=texts, extras=pairs.extras | card)


def _face(word: str) -> np.ndarray:
    """Ink on cream, float (3, height, width), 0 to 255."""
    if len(word) != 4 or set(word) - set(_LETTERS):
        raise ValueError(f"A card holds four letters out of {' '.join(_LETTERS)}; got {word!r}.")
    ink = np.zeros((_HEIGHT, _WIDTH))
    for place, letter in enumerate(word):
        rows = [f"{byte:05b}" for byte in bytes.fromhex(_LETTERS[letter])]
        ink[4:11, 3 + 6 * place:8 + 6 * place] = [[int(bit) for bit in row] for row in rows]
    return np.array([252.0, 248.0, 236.0])[:, None, None] * (1 - 0.88 * ink)
