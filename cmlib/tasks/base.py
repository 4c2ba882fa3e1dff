"""Task: all that ``fit`` and ``evaluate`` know about what is learned. A lesson writes one in some fifteen
lines.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from cmlib.data.pairs import describe


class Task:
    """What a model is trained for and how it is scored; only ``objective`` has to be written.

    targets   : names of extras that every batch carries, in ``batch.targets``
    separable : the objective is a mean of terms of one row each. False where rows are compared with one
        another: a batch in parts, or spread over processes, then goes through GradCache and a gather, and
        ``objective`` gets the outputs of all rows beside a batch of their labels and targets alone (no
        pictures, no words)
    lower     : names of scores, beside "loss", that are better when smaller. None: those that end in "loss"
        or "error"
    Outputs of a model are any tree of tensors (cmlib.data.tree), rows first; a number without rows (a
    temperature) is allowed in it.
    """

    targets: tuple[str, ...] = ()
    separable: bool = True
    lower: tuple[str, ...] | None = None

    def forward(self, call: Callable, batch):
        """The outputs for a batch; ``call`` is the model. To be replaced where its input is drawn (noise,
        masks).
        """
        return call(batch)

    def objective(self, outputs, batch) -> Tensor | dict[str, Tensor]:
        """The scalar to be made small, a mean over rows; or {"loss": scalar, …} with parts of it, to be
        written down.
        """
        raise NotImplementedError(f"{type(self).__name__} has no objective.")

    def gradients(
        self, model, call: Callable, batch, share: float, backward: Callable
    ) -> tuple[dict, object]:
        """Add the gradient of ``share`` times the objective of a part of a batch; → (values, outputs).

        ``backward(scalar)`` in the place of ``scalar.backward()``. To be replaced where one backward pass is
        not all (gradients of single rows); model : whose parameters get the gradients.
        """
        outputs = self.forward(call, batch)
        values = self.objective_parts(outputs, batch)
        # a product with 1 is two nodes of the graph for nothing
        backward(values["loss"] if share == 1 else values["loss"] * share)
        return values, outputs

    def adjust(self, model) -> None:
        """Change the gradients of a whole batch, before they are clipped and used (noise, modulation)."""

    def keep(self, outputs, batch):
        """What ``score`` needs of a batch, rows first; never more: it is kept for every row of the data.

        Tensors of one shape a row, a list with one entry a row, or a dict of these. By default the loss.
        """
        return self.objective_parts(outputs, batch)["loss"].float().expand(len(batch))

    def score(self, kept, rows) -> dict[str, float]:
        """{"loss": …, "accuracy": …} over all rows, from what was kept; rows : the data, with labels and
        extras.
        """
        return {"loss": kept.double().mean().item()}

    def check(self, name: str, rows, outputs) -> None:
        """Raise ValueError, in one sentence, for data that do not fit; once, before the first objective.

        name : "train" or "valid", "data" where they are evaluated; rows : those data; outputs : of the first
            batch, as ``objective`` gets them
        """

    def objective_parts(self, outputs, batch) -> dict[str, Tensor]:
        """The objective as a dict with "loss" in it."""
        found = self.objective(outputs, batch)
        if isinstance(found, Tensor):
            found = {"loss": found}
        what = f"The objective of {type(self).__name__} gave"
        if not isinstance(found, dict):
            raise TypeError(f"{what} {describe(found)}: it must give a scalar tensor, or a dict of them.")
        if "loss" not in found:
            raise ValueError(
                f"{what} {', '.join(found) or 'nothing'} and no 'loss': the entry that is to be made small "
                "has that name."
            )
        for name, value in found.items():
            if not isinstance(value, Tensor) or value.ndim:
                raise ValueError(
                    f"{what} {describe(value)} as {name!r}: it must be one number in a tensor, the mean over "
                    "the rows."
                )
        return found

    def falls(self, score: str) -> bool:
        """Whether a score is better when it is smaller."""
        if score == "loss":  # what is made small, whatever else is written down
            return True
        return score.endswith(("loss", "error")) if self.lower is None else score in self.lower
