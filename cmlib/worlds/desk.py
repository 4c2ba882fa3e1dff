"""The refund desk: a customer's photo of a toy and a message; is it a refund? What can be known is known
exactly.
"""

from __future__ import annotations

import numpy as np
import torch

from cmlib.data.pairs import Pairs
from cmlib.worlds.drawings import COLORS, KINDS
from cmlib.worlds.draws import row_draws, whole
from cmlib.worlds.render import Photographer
from cmlib.worlds.sprites import CRACKS, POSES, sprite
from cmlib.worlds.tables import SIDE
from cmlib.worlds.words import Chooser, message

SITUATIONS = ("R", "I", "T", "S")
R, I, T, S = range(4)
# patch sizes in pixels; a toy fills 80 % of its
_TOY, _PARCEL, _CARTON, _IN_CARTON = (47, 56), (51, 60), 68, 44


class RefundDesk:
    """Tickets (photo, message) with label 0 keep or 1 refund, each in one of four situations.

    R  both tell: the toy is cracked or not, and the message says so   I  only the photo tells: the message is
    neutral T  only the message tells: the parcel is still sealed              S  only both together: the
       colour in the photo against the colour that was ordered, y = [they differ]; both are among the first
       ``n_colors`` of COLORS

    probabilities : the shares of R, I, T, S; they sum to 1
    tricky : from 0 (plain words) to 1: the share of messages where word order decides, both colours are
        named, or another toy is mentioned; the meaning stays exact
    held_out : True keeps every third sentence template (small talk included) for the split "test", and every
        other split does without it: then no test sentence is one that was trained on
    noise : (eI, eT, eS), how often photo, message, comparison of colours point the wrong way, each in [0,
        0.5)
    """

    class_names = ("keep", "refund")

    def __init__(
        self,
        n_colors: int = 2,
        probabilities=(0.25, 0.25, 0.25, 0.25),
        noise=(0.0, 0.0, 0.0),
        seed: int = 0,
        tricky: float = 1.0,
        held_out: bool = False,
    ):
        self.n_colors, self.seed = (
            whole(n_colors, "RefundDesk(n_colors=…)"),
            whole(seed, "RefundDesk(seed=…)"),
        )
        if not 2 <= self.n_colors <= len(COLORS):
            raise ValueError(f"RefundDesk(n_colors={n_colors}): choose 2 to {len(COLORS)} colours.")
        self.probabilities = _numbers(probabilities, 4, "probabilities", "R, I, T, S")
        if min(self.probabilities) < 0 or abs(sum(self.probabilities) - 1) > 1e-6:
            raise ValueError(
                f"RefundDesk(probabilities={tuple(probabilities)}): the shares of R, I, T, S "
                "must "
                f"not be negative and must sum to 1; these sum to {sum(self.probabilities):.6g}."
            )
        self.noise = _numbers(noise, 3, "noise", "photo, message, colours")
        if not all(0 <= e < 0.5 for e in self.noise):
            raise ValueError(f"RefundDesk(noise={tuple(noise)}): every entry must be at least 0 and below "
                             "0.5.")
        if not 0 <= tricky <= 1:
            raise ValueError(f"RefundDesk(tricky={tricky}): choose 0 (plain words) to 1.")
        self.tricky, self.held_out = tricky, held_out

    def sample(self, n: int, split: str = "train", start: int = 0) -> Pairs:
        """Rows start … start + n − 1 of a split: images uint8 (n, 3, 64, 64), messages, labels.

        Every split name is its own endless sequence of tickets (a misspelt "train", "valid" or "test" is
        refused); row i is the same whatever n and start.
        extras, int64 (n,) unless said otherwise: situation (0 … 3 = R, I, T, S), image_symbol and text_symbol
        (the axes of ``joint_table``), kind, color, ordered_color (−1 outside S), cracked (0 or 1; −1 in a
        sealed parcel), size, pose, table, x, y (centre, pixels), box (n, 4) = x0, y0, x1, y1 of the toy, or
        of the parcel in T.
        """
        draws = row_draws("desk", self.seed, n, split, start)
        z = self._latents(draws)
        photos = Photographer(draws)
        z["box"] = _take_photos(photos, z)
        z["table"] = photos.table
        words = draws.uniform("words", 24).tolist()
        side = ("test" if split == "test" else "train") if self.held_out else None
        texts = [message(Chooser(w), b, KINDS[k], self.n_colors, self.tricky, side)
                 for w, b, k in zip(words, z["text_symbol"].tolist(), z["kind"].tolist(), strict=True)]
        labels = torch.from_numpy(z.pop("label"))
        return Pairs(photos.pictures(), texts, labels, self.class_names,
                     {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in z.items()})

    def _latents(self, draws) -> dict[str, np.ndarray]:
        k = self.n_colors
        situation, label = draws.choice("situation", self.probabilities), draws.integers("label", 2)
        flips = (draws.uniform(f"flip {m}") < e for m, e in zip("ITS", self.noise, strict=True))
        flip_image, flip_text, flip_color = flips
        by_colors, sealed = situation == S, situation == T
        first, step = draws.integers("color among K", k), 1 + draws.integers("other color", k - 1)
        color = np.where(by_colors, first, draws.integers("color", len(COLORS)))
        ordered = np.where(label ^ flip_color, (first + step) % k, first)
        cracked, says_broken = label ^ flip_image, label ^ flip_text
        image = np.select([by_colors, sealed], [3 + color, 2], cracked)
        text = np.select([by_colors, situation == I], [3 + ordered, 2], says_broken)
        return {
            "label": label, "situation": situation, "image_symbol": image, "text_symbol": text,
            "kind": draws.integers("kind", len(KINDS)), "color": color,
            "ordered_color": np.where(by_colors, ordered, -1),
            "cracked": np.select([by_colors, sealed], [0, -1], cracked),
            "crack": 1 + draws.integers("crack", CRACKS),
            "size": draws.integers("size", 2), "pose": draws.integers("pose", POSES),
            "place": draws.uniform("place", 2),
        }

    def joint_table(self) -> torch.Tensor:
        """float64 (2, 3 + K, 3 + K): the exact probability of (label, image symbol, text symbol), by
        enumeration.

        Image symbols: 0 intact, 1 cracked, 2 sealed parcel, 3 + c toy of colour c in a carton.
        Text symbols: 0 "fine", 1 "broken", 2 neutral, 3 + d colour d was ordered.
        """
        k, (p_r, p_i, p_t, p_s), (e_i, e_t, e_s) = self.n_colors, self.probabilities, self.noise
        table = torch.zeros(2, 3 + k, 3 + k, dtype=torch.float64)
        for y in (0, 1):
            for a in (0, 1):
                q_a = 0.5 * (1 - e_i if a == y else e_i)
                table[y, a, 2] += p_i * q_a
                for b in (0, 1):
                    table[y, a, b] += p_r * q_a * (1 - e_t if b == y else e_t)
            for b in (0, 1):
                table[y, 2, b] += p_t * 0.5 * (1 - e_t if b == y else e_t)
            for c in range(k):
                for d in range(k):
                    agrees = (c != d) == bool(y)
                    table[y, 3 + c, 3 + d] += (
                        p_s * 0.5 * (1 - e_s if agrees else e_s) / k / (1 if c == d else k - 1)
                    )
        return table

    def ceilings(self) -> dict[str, float]:
        """The best accuracy anyone can reach: from the photo, from the message, from both, and from neither
        (prior).

        The Bayes rule picks the likelier label for every symbol seen: image = Σ_a max_y P(y, a), and so on.
        """
        table = self.joint_table()
        return {"image": float(table.sum(2).amax(0).sum()), "text": float(table.sum(1).amax(0).sum()),
                "both": float(table.amax(0).sum()), "prior": float(table.sum((1, 2)).max())}


def _take_photos(photos: Photographer, z) -> np.ndarray:
    """One picture per row; returns the boxes, int64 (n, 4). Replaces z's places by the centres x, y in
    pixels.
    """
    n = len(z["label"])
    boxes, centres, places = np.zeros((n, 4), np.int64), np.zeros((n, 2), np.int64), z.pop("place").tolist()
    names = ("situation", "kind", "color", "cracked", "size", "pose", "crack")
    rows = zip(*(z[name].tolist() for name in names), strict=True)
    del z["crack"]
    for i, (situation, kind, color, cracked, size, pose, crack) in enumerate(rows):
        photos.begin(i)
        if situation == S:
            carton, toy = sprite("carton", _CARTON), sprite(KINDS[kind], _IN_CARTON, pose)
            x, y = (int(u * 9) - 6 for u in places[i])
            photos.paste(i, carton, x, y, color)
            x, y = x + (_CARTON - _IN_CARTON) // 2, y + (_CARTON - _IN_CARTON) // 2
        else:
            toy = (sprite("parcel", _PARCEL[size], pose // 2 * 2) if situation == T
                   else sprite(KINDS[kind], _TOY[size], pose, crack if cracked else 0))
            x, y = (int(u * (SIDE - toy.size + 11)) - 5 for u in places[i])
        photos.paste(i, toy, x, y, color)
        photos.finish(i)
        boxes[i] = np.clip(np.array(toy.box) + (x, y, x, y), 0, SIDE)
        centres[i] = x + toy.size // 2, y + toy.size // 2
    z["x"], z["y"] = centres.T
    return boxes


def _numbers(values, count: int, name: str, meaning: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"RefundDesk({name}={values!r}): give {count} numbers, for {meaning}.")
    return numbers
