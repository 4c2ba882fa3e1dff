"""A value for every row: a price, an angle, a share."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss

from cmlib.data.pairs import describe
from cmlib.tasks.base import Task


class Regress(Task):
    """Outputs: (batch,), (batch, 1) or (batch, values); labels float (rows,) or (rows, values).

    Scores: loss, the mean squared error; error, its root, in the units of the labels; and r2, the share of
    the labels' variance that is explained (1 is all, 0 is what their mean explains).
    """

    def objective(self, outputs: Tensor, batch) -> Tensor:
        return mse_loss(outputs.reshape(batch.labels.shape), batch.labels)

    def keep(self, outputs: Tensor, batch) -> Tensor:
        return outputs.reshape(batch.labels.shape)

    def score(self, kept: Tensor, rows) -> dict[str, float]:
        labels = rows.labels.cpu().double()
        squared = (kept.double() - labels).square().mean()
        variance = (labels - labels.mean(0)).square().mean()
        return {
            "loss": squared.item(),
            "error": squared.sqrt().item(),
            "r2": (1 - squared / variance).item() if variance > 0 else float("nan"),
        }

    def check(self, name: str, rows, outputs) -> None:
        labels = rows.labels
        if labels is None or not labels.is_floating_point():
            found = "none" if labels is None else f"{labels.dtype}".removeprefix("torch.")
            raise ValueError(f"Regress wants the labels of {name} as float values; they are {found}: "
                             "labels.float().")
        finite = labels.isfinite().reshape(len(labels), -1).all(1)  # (rows,)
        if not finite.all():
            raise ValueError(f"The label of row {int((~finite).nonzero()[0])} of {name} is not a finite "
                             "number: mend it or leave the row out.")
        if not isinstance(outputs, Tensor) or not outputs.ndim:
            raise ValueError(f"Regress wants values (batch, n) of the model; it gave {describe(outputs)}.")
        each = labels[0].numel()
        if outputs[0].numel() != each:
            raise ValueError(
                f"The labels of {name} have {each} values a row, but the model gives {outputs[0].numel()}: "
                "build it with as many."
            )
