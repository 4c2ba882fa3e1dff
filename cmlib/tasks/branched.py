"""To classify by the sum of two branches, with what may keep the slower one learning (lesson 09)."""

from __future__ import annotations

import torch

from cmlib.losses.balance import joint_and_single, modulation
from cmlib.tasks.classify import Classify


class Branched(Classify):
    """Outputs {"image": logits, "text": logits}, each (batch, n_classes); the answer is their sum.

    weights : of the joint loss, of image alone, of text alone. (1, 0, 0) is the plain joint model, (0, 1, 0)
        the image-only control
    drop    : modality dropout: the share of rows where one of the two, drawn evenly, says nothing in training
    alpha   : of the brake on the branch that is ahead (OGM, Peng et al. 2022); 0: none. The model then has
        ``branches()`` with "image" and "text"
    noise   : its GE: what is added to a braked model's gradients, as a share of each tensor's own spread
    """

    def __init__(self, weights=(1.0, 0.0, 0.0), drop: float = 0.0, alpha: float = 0.0, noise: float = 0.0):
        super().__init__()
        if not 0 <= drop < 1:
            raise ValueError(f"drop={drop}: the share of rows with one modality is from 0 to below 1.")
        if not alpha >= 0:
            raise ValueError(f"alpha={alpha} must be 0 (no brake) or more.")
        self.weights, self.drop, self.alpha, self.noise = tuple(weights), drop, alpha, noise
        self.seen = []  # of the parts of a batch

    def objective(self, outputs, batch):
        image, text = outputs["image"], outputs["text"]
        if self.alpha:
            self.seen.append((image.detach(), text.detach(), batch.labels))
        if self.drop:
            drawn = torch.rand(len(image), 1, device=image.device)
            image, text = image * (drawn >= self.drop / 2), text * (drawn <= 1 - self.drop / 2)
        return joint_and_single(image, text, batch.labels, self.weights)

    def adjust(self, model):
        if not self.alpha:
            return
        whole = (torch.cat(parts) for parts in zip(*self.seen, strict=True))
        brake, self.seen = modulation(*whole, self.alpha), []
        for name, factor in zip(("image", "text"), brake, strict=True):
            for parameter in model.branches()[name].parameters():
                if parameter.grad is not None:
                    parameter.grad *= factor
                    if self.noise and parameter.numel() > 1:
                        spread = self.noise * parameter.grad.std()
                        parameter.grad += spread * torch.randn_like(parameter.grad)

    def keep(self, outputs, batch):
        return outputs["image"] + outputs["text"]
