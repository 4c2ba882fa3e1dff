"""Augmentation: every picture of a batch is cropped, turned over and lit a little differently, all in one
call on the device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn.functional import affine_grid, grid_sample

from cmlib.data.batch import Batch, ImageBatch
from cmlib.data.pairs import describe


@dataclass(frozen=True)
class Augment:
    """``fit(…, augment=Augment())``: augment(Batch) → Batch with other pixels of the same shape and dtype;
    words and labels stay.

    area       : smallest and largest share of the picture that a crop keeps; it is resized to the whole size
        again
    ratio      : narrowest and widest crop, width ÷ height, drawn on a logarithmic scale (Szegedy et al. 2015;
        torchvision's RandomResizedCrop has area (0.08, 1), made for one object in the middle: a text that
        names the rest needs more of it)
    flip       : mirror every second picture, by chance. **Wrong wherever left or right is in the words or
        decides the label**: "the ball left of the box", the side of a lung, a digit
    brightness : the picture is multiplied by a factor in 1 ± brightness; contrast : distances from its mean,
        by 1 ± contrast
    Every picture has its own draws, torch's on its device: seeded by fit, saved with checkpoints, never
    waited for.
    """

    area: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    brightness: float = 0.2
    contrast: float = 0.2

    def __post_init__(self):
        for name, most in (("area", 1.0), ("ratio", float("inf"))):
            if not 0 < getattr(self, name)[0] <= getattr(self, name)[1] <= most:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} must be two numbers above 0, the smaller one "
                    f"first{', at most 1: shares of the picture' if name == 'area' else ': width ÷ height'}."
                )
        for name in ("brightness", "contrast"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must lie from 0, which is off, to below 1.")

    def __call__(self, batch: Batch) -> Batch:
        if not isinstance(batch, Batch):
            raise TypeError(f"Augment changes pictures; got {describe(batch)}: train on Pairs, not on their "
                            "features.")
        pixels = batch.image.pixels
        draws = torch.rand(len(pixels), 7, device=pixels.device)
        x = pixels if pixels.is_floating_point() else pixels.float()
        if self.area != (1, 1) or self.ratio != (1, 1):
            # (batch, height, width, 2)
            grid = affine_grid(self.crops(draws[:, :4]), list(x.shape), align_corners=False)
            x = grid_sample(x, grid.to(x.dtype), padding_mode="border", align_corners=False)
        light, sharp, side = draws[:, 4:, None, None, None].to(x.dtype).unbind(1)  # each (batch, 1, 1, 1)
        if self.flip:
            x = torch.where(side < 0.5, x.flip(3), x)
        if self.brightness or self.contrast:
            x = x * (1 + self.brightness * (2 * light - 1))
            mean = x.mean((1, 2, 3), keepdim=True)
            x = (x - mean) * (1 + self.contrast * (2 * sharp - 1)) + mean
        x = x.clamp(0, 255)
        changed = x if pixels.is_floating_point() else x.round().to(pixels.dtype)
        return replace(batch, image=ImageBatch(changed, batch.image.rows))

    def crops(self, draws: torch.Tensor) -> torch.Tensor:
        """draws (batch, 4) in 0 … 1 → affine maps (batch, 2, 3) from places in the new picture to places in
        the old, −1 … 1.
        """
        area, ratio, left, top = draws.unbind(1)
        area = self.area[0] + (self.area[1] - self.area[0]) * area
        ratio = self.ratio[0] * (self.ratio[1] / self.ratio[0]) ** ratio
        width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        zero = torch.zeros_like(width)
        return torch.stack(
            [width, zero, (2 * left - 1) * (1 - width), zero, height, (2 * top - 1) * (1 - height)], 1
        ).view(-1, 2, 3)
