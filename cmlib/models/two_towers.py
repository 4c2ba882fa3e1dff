"""Two towers: pictures and texts each pass a net of their own and meet in one space, to be compared."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cmlib.data.device import follow, settle
from cmlib.data.pairs import describe
from cmlib.data.states import States
from cmlib.layers import masked_mean


class Tower(nn.Module):
    """Rows of states to one vector each: forward(states (batch, places, size), mask) → (batch, hidden_size).

    queries : how many learned queries look at the places, each with a softmax of its own (attention pooling,
        Lee et al. 2019, section 3.2); what they read stands side by side. 0: the mean over the places and one
        linear map
    places  : a learned vector for each of so many places is added first, where the order of the places says
        something that the states do not; None where they say it themselves
    """

    def __init__(self, size: int, hidden_size: int, queries: int = 8, places: int | None = None):
        super().__init__()
        self.queries = queries
        if not queries:
            self.out = nn.Linear(size, hidden_size)
            return
        self.norm = nn.LayerNorm(size)
        self.place = None if places is None else nn.Parameter(0.02 * torch.randn(places, size))
        self.score = nn.Linear(size, queries)
        self.value = nn.Sequential(nn.Linear(size, hidden_size), nn.GELU())
        self.out = nn.Sequential(
            nn.Linear(queries * hidden_size, 2 * hidden_size),
            nn.GELU(),
            nn.Linear(2 * hidden_size, hidden_size),
        )

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        if not self.queries:
            return self.out(masked_mean(states, mask))
        states = self.norm(states)
        if self.place is not None:
            states = states + self.place
        scores = self.score(states)  # (batch, places, queries)
        weights = scores.masked_fill(~mask[..., None], torch.finfo(scores.dtype).min).softmax(1)
        read = weights.transpose(1, 2) @ self.value(states)  # (batch, queries, hidden_size)
        return self.out(read.flatten(1))


class TwoTowers(nn.Module):
    """forward(States) → {"image": (batch, hidden_size), "text": (batch, hidden_size), "scale": number}; of
    States with one modality alone only that one.

    image_size, text_size : widths of the states, such as ``encoder.hidden_size``
    queries : of each tower; 0 for the mean over the places and one linear map
    cells   : how many cells a picture has, for a learned vector of each; None: the towers do not know where
        a cell is
    temperature : where 1/scale starts; the scale is learned as its logarithm and stays at most 100 (Radford
        et al. 2021, section 2.5)
    bias : where the bias of a sigmoid loss starts (cmlib.tasks.SigmoidContrast); None: there is none
    Further modalities of the States are read by the text tower: captions that are wrong on purpose, say. The
    towers share no weight. They are made at home, and bring States from another device to where they are.
    """

    def __init__(
        self,
        image_size: int,
        text_size: int,
        hidden_size: int = 128,
        queries: int = 8,
        cells: int | None = None,
        temperature: float = 0.07,
        bias: float | None = None,
    ):
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} must be above 0: cosines are divided by it; "
                             "CLIP starts at 0.07.")
        self.hidden_size = hidden_size
        self.image = Tower(image_size, hidden_size, queries, cells)
        self.text = Tower(text_size, hidden_size, queries)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))
        settle(self)

    def forward(self, states: States) -> dict[str, Tensor]:
        if not isinstance(states, States):
            raise TypeError(f"TwoTowers reads States, as extract_states gives them; got {describe(states)}.")
        states, outputs = follow(states, self), {}
        for name, values in states.states.items():
            tower = self.image if name == "image" else self.text
            outputs[name] = tower(values, states.mask(name))  # (batch, hidden_size)
        numbers = {"scale": self.log_scale.clamp(max=math.log(100)).exp()}
        return outputs | numbers | ({} if self.bias is None else {"bias": self.bias})
