"""A linear probe: what a layer of its own can read off features that do not learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class Probe(nn.Module):
    """Multinomial logistic regression, trained to the end by L-BFGS (Alain and Bengio 2016).

    features : float (rows, size), standardised by their own mean and spread; labels : int64 (rows,)
    n_classes : number of logits, also where some class has no row; l2 : weight of half the squared weights,
        the larger the fewer rows there are; weights : float (rows,), how much each row counts
    forward : (rows, size) → logits (rows, n_classes)
    """

    def __init__(self, features: Tensor, labels: Tensor, n_classes: int, l2: float = 0.03,
                 weights: Tensor | None = None):
        super().__init__()
        if len(features) != len(labels) or not len(labels):
            raise ValueError(f"A probe needs a label for each row; got {len(features)} rows and "
                             f"{len(labels)} labels.")
        weights = torch.ones(len(labels)) if weights is None else weights
        self.mean, self.scale = features.mean(0), features.std(0, correction=0) + 1e-4
        self.linear = nn.Linear(features.shape[1], n_classes).to(features.device)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        inputs = (features - self.mean) / self.scale
        weights = weights.to(features) / weights.sum()
        descent = torch.optim.LBFGS(self.linear.parameters(), max_iter=60, line_search_fn="strong_wolfe")

        def loss():
            descent.zero_grad()
            each = cross_entropy(self.linear(inputs), labels, reduction="none")
            value = (each * weights).sum() + l2 / 2 * self.linear.weight.square().sum()
            value.backward()
            return value

        with torch.enable_grad():
            descent.step(loss)
        self.requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear((features - self.mean) / self.scale)
