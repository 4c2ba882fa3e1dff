"""SimCLR: what two augmented views of a picture have in common is kept, the rest is declared irrelevant."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from cmlib.data.batch import Batch
from cmlib.losses.views import nt_xent
from cmlib.tasks.base import Task


class TwoViews(Task):
    """Chen et al. 2020. augment(Batch) → Batch makes a view, twice; outputs of the model: (batch, hidden)."""

    separable = False

    def __init__(self, augment: Callable, temperature: float = 0.2):
        self.augment, self.temperature = augment, temperature

    def forward(self, call: Callable, batch: Batch) -> dict[str, Tensor]:
        return {"first": call(self.augment(batch)), "second": call(self.augment(batch))}

    def objective(self, outputs: dict[str, Tensor], batch) -> Tensor:
        return nt_xent(outputs["first"], outputs["second"], self.temperature)
