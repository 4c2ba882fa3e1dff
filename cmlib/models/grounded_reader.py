"""Questions about a picture, answered by looking: every word finds its cells, and what stands there is
read.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from cmlib.data.device import follow, settle
from cmlib.data.states import States


def late_interaction(cells: Tensor, words: Tensor, weights: Tensor) -> Tensor:
    """How well each text fits each picture, (texts, pictures): of every word the most similar cell, and of
    these the weighted mean (FILIP, Yao et al. 2022, with weights that are learned).

    cells : (pictures, cells, size), words : (texts, tokens, size), both of length 1; weights : (texts,
        tokens), 0 on padding, of sum 1
    """
    similarity = torch.einsum("tws,pcs->twpc", words, cells)
    return torch.einsum("twp,tw->tp", similarity.amax(3), weights)


class Aligner(nn.Module):
    """forward(States) → {"cells": (batch, cells, size), "words": (batch, tokens, size), "weights": (batch,
    tokens), "scale": number}: words and cells in one space, to be compared by ``late_interaction``.
    """

    def __init__(self, image_size: int, text_size: int, size: int = 64):
        super().__init__()
        self.cells = nn.Sequential(nn.LayerNorm(image_size), nn.Linear(image_size, size))
        self.words = nn.Sequential(nn.LayerNorm(text_size), nn.Linear(text_size, size))
        self.gate = nn.Sequential(nn.LayerNorm(text_size), nn.Linear(text_size, 1))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        settle(self)

    def forward(self, states: States) -> dict[str, Tensor]:
        states = follow(states, self)
        image, text = states.states["image"], states.states["text"]
        gate = _hide(self.gate(text), states.mask("text"))[..., 0]
        vectors = {"cells": normalize(self.cells(image), dim=2), "words": normalize(self.words(text), dim=2)}
        return vectors | {"weights": gate.softmax(1), "scale": self.log_scale.clamp(max=math.log(60)).exp()}


class GroundedReader(nn.Module):
    """forward(States) → logits (batch, n_answers).

    Every word looks at the cells through the aligner. ``slots`` softmaxes over the words choose whose
    look counts, and three things are read from it: how sure it is, where it goes (the expected place), and
    what stands there. A second look starts from the place of the first slot, and goes where the words of the
    question send it.

    aligner : of words and cells, perhaps trained on captions; it learns on
    places  : (cells, 2), x and y of each cell, from −1 to 1
    steps   : 2, or 1 for a reader without the second look
    longest : that many tokens of a question have a say of their own in who is chosen; all behind share one
    """

    def __init__(self, aligner: Aligner, image_size: int, text_size: int, n_answers: int, places: Tensor,
                 slots: int = 2, steps: int = 2, longest: int = 32, value_size: int = 64,
                 hidden_size: int = 192):
        super().__init__()
        self.steps = steps
        self.image_norm, self.text_norm = nn.LayerNorm(image_size), nn.LayerNorm(text_size)
        self.value = nn.Linear(image_size, value_size)
        self.choose = nn.Linear(text_size, slots + 1)  # whose look each slot takes, and what is asked
        self.order = nn.Parameter(torch.zeros(longest, slots + 1))  # the first noun, the second
        self.direction = nn.Linear(text_size, 5)
        self.thing = nn.Linear(image_size, 1)
        self.log_sharp = nn.Parameter(torch.tensor(math.log(12.0)))
        self.register_buffer("places", places.float())
        width = slots * (3 + value_size) + steps * value_size + text_size
        self.out = nn.Sequential(
            nn.Linear(width, hidden_size), nn.GELU(), nn.Linear(hidden_size, hidden_size), nn.GELU(),
            nn.Linear(hidden_size, n_answers))
        settle(self)
        self.aligner = aligner

    def forward(self, states: States) -> Tensor:
        found = self.looks(states)
        parts = [found["read"].flatten(1), found["asked"], found["values"].mean(1)]
        if self.steps == 2:
            parts.append((found["second"][:, None] @ found["values"])[:, 0])
        return self.out(torch.cat(parts, 1))

    def looks(self, states: States) -> dict[str, Tensor]:
        """Softmaxes over the cells, "first" (batch, slots, cells) and "second" (batch, cells); "read" (batch,
        slots, 3 + value_size), of each slot sure, x, y and the value; "asked" (batch, text_size), the words;
        "values" (batch, cells, value_size).
        """
        states = follow(states, self)
        cells, words = self.image_norm(states.states["image"]), self.text_norm(states.states["text"])
        values, aligned = self.value(cells), self.aligner(states)
        similarity = aligned["words"] @ aligned["cells"].mT  # (batch, tokens, cells)
        turn = torch.arange(words.shape[1], device=words.device).clamp(max=len(self.order) - 1)
        chosen = _hide(self.choose(words) + self.order[turn], states.mask("text")).softmax(1).mT
        slots, asked = chosen[:, :-1], (chosen[:, -1:] @ words)[:, 0]  # (batch, slots, tokens)
        first = slots @ (similarity * self.log_sharp.exp()).softmax(2)
        sure, place = slots @ similarity.amax(2, keepdim=True), first @ self.places
        read = torch.cat([4 * sure, 3 * place, first @ values], 2)  # all about as large as the values
        x, y = (self.places - place[:, :1]).unbind(2)  # (batch, cells), seen from the first slot
        ways = torch.stack([x, y, x * x, y * y, self.thing(cells)[..., 0]], 2)
        second = (ways @ self.direction(asked)[..., None])[..., 0].softmax(1)
        return {"first": first, "second": second, "read": read, "asked": asked, "values": values}


def _hide(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores (batch, tokens, n) that a softmax over the tokens gives no weight where the mask is False."""
    return scores.masked_fill(~mask[..., None], torch.finfo(scores.dtype).min)
