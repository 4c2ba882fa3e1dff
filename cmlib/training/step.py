"""One step: the gradient of a whole batch from its parts, on this process and the others, and the use of
it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from cmlib.data.tree import map_tensors
from cmlib.tasks.base import Task
from cmlib.training.accumulate import Part, compared
from cmlib.training.distributed import Team, spread, summing
from cmlib.training.freeze import statistics_at_rest
from cmlib.training.guards import glimpse
from cmlib.training.precision import Precision


class Step:
    """gradients(parts, rows, index) → (what the objective gave, what was seen); then update().

    precision : the format of the products; whole : the model, spread over the team; optimizer : of its
        parameters
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        optimizer,
        precision: Precision,
        team: Team,
        compiled: bool,
        clip: float,
    ):
        self.model = model
        self.task = task
        self.optimizer = optimizer
        self.precision = precision
        self.team = team
        self.clip = clip
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        device = self.parameters[0].device
        self.late = device.type == "cuda"
        self.whole = spread(model, team, device)
        # what is encoded twice must draw the same numbers in a pass that is compiled and in one that is not
        how = {} if task.separable else {"options": {"fallback_random": True}}
        self.net = torch.compile(self.whole, **how) if compiled else self.whole
        self.first = None  # called once, with the outputs of a batch, before anything is made of them

    def call(self, batch, *more):
        """The model in the chosen precision; outputs in float32."""
        with self.precision.autocast():
            outputs = self.net(batch, *more)
        if self.precision.name != "fp32":
            outputs = map_tensors(self.precision.whole, outputs)
        if self.first is not None:
            self._look(outputs)
        return outputs

    def quiet(self, batch, *more):
        """The model alone, neither compiled nor spread over processes: for passes without a backward pass."""
        with self.precision.autocast():
            return map_tensors(self.precision.whole, self.model(batch, *more))

    def gradients(self, parts: Sequence[Part], rows, index: torch.Tensor) -> tuple[dict, list]:
        """Add the gradients of a batch. rows : the data; index : which of them are the whole batch."""
        self.optimizer.zero_grad()
        if not self.task.separable and (len(parts) > 1 or self.team.size > 1):
            found = self._compared(parts, rows, index)
        else:
            found = self._summed(parts)
        return found

    def _summed(self, parts):
        if self.first is not None and type(self.task).forward is not Task.forward:
            # the outputs of the model are only a part of those that the objective gets
            gpus = [self.parameters[0].device] if self.late else []
            with torch.no_grad(), torch.random.fork_rng(gpus), statistics_at_rest(self.model):
                self._look(self.task.forward(self.quiet, parts[0].batch))
        total, seen = {}, []
        for part in parts:
            with summing(self.whole, last=part is parts[-1]):
                values, outputs = self.task.gradients(
                    self.model, self.call, part.batch, part.share, self._backward
                )
            for name, value in values.items():
                share = value.detach() if part.share == 1 else value.detach() * part.share
                total[name] = total[name] + share if name in total else share
            # on a GPU the loss is read one step late: until then only what is small is kept
            seen.append((part.rows, glimpse(outputs) if self.late else outputs))
        return total, seen

    def _look(self, outputs):
        """Show the first outputs to whoever has to say whether data and model fit."""
        if self.first is not None:
            first, self.first = self.first, None
            first(outputs)

    def _compared(self, parts, rows, index):
        answers = rows.answers(index).to(self.parameters[0].device)

        def without_graph(part):
            with statistics_at_rest(self.model):  # the second pass will count these rows
                return self.task.forward(self.quiet, part.batch)

        def objective(outputs):
            self._look(outputs)
            return self.task.objective_parts(outputs, answers)

        values, outputs = compared(
            lambda part: self.task.forward(self.call, part.batch),
            objective,
            parts,
            self.team,
            len(index),
            first=without_graph,
            around=lambda last: summing(self.whole, last),
            backward=lambda loss: self.precision.scaler.scale(loss).backward(),
        )
        seen = [(torch.cat([part.rows for part in parts]), glimpse(outputs))]
        # every process has the value of the whole batch, and what they see is added up
        return {name: value / self.team.size for name, value in values.items()}, seen

    def _backward(self, loss):
        # DistributedDataParallel divides the sum by the size of the team
        scaled = loss * self.team.size if self.team.size > 1 else loss
        self.precision.scaler.scale(scaled).backward()

    def update(self) -> None:
        """Use the gradients: as the task adjusts them, clipped to ``clip``, unscaled; a step that overflows
        is left out.
        """
        scaler = self.precision.scaler
        scaler.unscale_(self.optimizer)
        self.task.adjust(self.model)
        if type(self.task).adjust is not Task.adjust:  # with numbers, or rows, of this process alone
            self.team.agree([p.grad for p in self.parameters if p.grad is not None])
        nn.utils.clip_grad_norm_(self.parameters, self.clip)
        scaler.step(self.optimizer)
        scaler.update()
