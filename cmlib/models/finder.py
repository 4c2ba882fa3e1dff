"""Where in a picture is what a phrase names? A score for every cell, and a box that starts from there."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from cmlib.data.batch import ImageBatch
from cmlib.data.device import follow, settle
from cmlib.data.states import States


class FinerMap(nn.Module):
    """An image encoder whose map has the cells of its last stage but one, and what both stages say of them:
    feature_map(ImageBatch) → (batch, hidden_size, h, w). A ResNet's map is half as fine.
    """

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.image_size = encoder, encoder.image_size
        with torch.no_grad():
            side = encoder.image_size
            blank = ImageBatch(torch.zeros(1, 3, side, side, device=encoder.mean.device))
            self.hidden_size = self.feature_map(blank).shape[1]

    def feature_map(self, batch: ImageBatch) -> Tensor:
        grid = self.encoder.normalise(batch)
        for stage in self.encoder.trunk:
            finer, grid = grid, stage(grid)
        grid = interpolate(grid, finer.shape[2:], mode="bilinear")
        return batch.spread(torch.cat([finer, grid], dim=1))


def middles(cells: int, device=None) -> Tensor:
    """The middle of each cell of a square map, (cells, 2): x and y in parts of the picture's side."""
    side = math.isqrt(cells)
    at = (torch.arange(side, device=device) + 0.5) / side
    return torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1).reshape(cells, 2)


def cells_of(boxes: Tensor, cells: int) -> Tensor:
    """The number of the cell in which the middle of each box lies, int64 (…); boxes : (…, 4)."""
    side = math.isqrt(cells)
    column, row = ((boxes[..., :2] + boxes[..., 2:]) / 2 * side).long().clamp(0, side - 1).unbind(-1)
    return row * side + column


class Finder(nn.Module):
    """forward(States) → {"score": logits (batch, phrases, cells), "box": (batch, phrases, cells, 4)}, boxes
    as x0, y0, x1, y1 in parts of the picture's side. For ``cmlib.tasks.find.Find``.

    States : "image" (batch, cells, image_size), a square map such as `FinerMap` gives, and "phrases" (batch,
        phrases, tokens · text_size), zeros where a phrase has ended: ``cmlib.training.scenes`` makes them
    rare   : the share of cells that a phrase names, at which the scores start (Lin et al. 2017)
    looks  : 1: a cell is judged by what is seen there; 2: also by where it lies from the landmark, which is
        the mean place of the cells that fit the landmark's words
    A phrase is read as three means over its tokens with learned weights: target, landmark and relation.
    """

    def __init__(self, image_size: int, text_size: int, hidden_size: int = 64, rare: float = 0.02,
                 looks: int = 2):
        super().__init__()
        if looks not in (1, 2):
            raise ValueError(f"looks={looks!r} is 1 or 2: at what is there, and from where the landmark is.")
        self.text_size, self.looks, d = text_size, looks, hidden_size
        self.even = nn.BatchNorm1d(image_size, affine=False)
        self.cell = nn.Sequential(nn.Conv2d(image_size, d, 3, padding=1), nn.ReLU(), nn.Conv2d(d, d, 1))
        self.norm, self.slots = nn.LayerNorm(text_size), nn.Linear(text_size, 3)
        self.target, self.landmark = nn.Linear(text_size, 2 * d), nn.Linear(text_size, d)
        self.relation, self.said = nn.Linear(text_size, 5 * d), nn.Linear(3 * text_size, d)
        self.joined, self.score, self.box = nn.Linear(d, d), nn.Linear(d, 1), nn.Linear(d, 4)
        nn.init.constant_(self.score.bias, math.log(rare / (1 - rare)))
        settle(self)

    def forward(self, states: States) -> dict[str, Tensor]:
        states = follow(states, self)
        hidden = self.hidden(states)
        place = middles(hidden.shape[2], hidden.device)
        change = self.box(hidden)
        middle = place + 1.5 / math.sqrt(len(place)) * change[..., :2].tanh()
        half = 0.15 * change[..., 2:].clamp(-2, 2).exp()  # sizes from 0.04 to 2.2 sides of the picture
        return {"score": self.score(hidden)[..., 0], "box": torch.cat([middle - half, middle + half], 3)}

    def hidden(self, states: States) -> Tensor:
        """What is known of every phrase in every cell, (batch, phrases, cells, hidden_size)."""
        image = states.states["image"]
        place = middles(image.shape[1], image.device)  # (cells, 2)
        side = math.isqrt(image.shape[1])
        grid = self.even(image.transpose(1, 2)).unflatten(2, (side, side))
        cells = self.cell(grid).flatten(2)  # (batch, d, cells)
        target, landmark, relation = self.read(states.states["phrases"])
        scale, shift = self.target(target).unsqueeze(2).chunk(2, dim=3)  # (batch, phrases, 1, d)
        seen = relu(cells.transpose(1, 2)[:, None] * scale + shift)  # (batch, phrases, cells, d)
        hidden = self.joined(seen) + self.said(torch.cat([target, landmark, relation], 2))[:, :, None]
        if self.looks == 2:
            heat = (self.landmark(landmark) @ cells / cells.shape[1] ** 0.5).softmax(2)
            away = 2 * (place - (heat @ place)[:, :, None])  # (batch, phrases, cells, 2), −2 to 2
            away = torch.cat([away, (6 * away).tanh(), away.square().sum(3, keepdim=True)], 3)
            hidden = hidden + away @ self.relation(relation).unflatten(2, (5, -1))
        return relu(hidden)

    def read(self, phrases: Tensor):
        """Target, landmark, relation, each (batch, phrases, text_size)."""
        words = phrases.unflatten(2, (-1, self.text_size))  # (batch, phrases, tokens, text_size)
        ended = ~words.any(3, keepdim=True)
        words = self.norm(words)
        weights = self.slots(words).masked_fill(ended, torch.finfo(words.dtype).min).softmax(2)
        return (weights.transpose(2, 3) @ words).unbind(2)
