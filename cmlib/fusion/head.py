"""What all heads of the zoo share: which modalities they read, and how rows of states become one vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cmlib.data.batch import row_list
from cmlib.data.device import follow, settle
from cmlib.data.pairs import describe
from cmlib.data.states import States
from cmlib.layers import masked_mean


class Head(nn.Module):
    """States of any number of modalities → logits (batch, n_classes). Each head of the zoo is two methods:
    ``build`` makes its weights, ``forward`` uses them.

    sizes    : {"image": 128, "text": 128, "sound": 40}: the modalities it reads, in this order, and the width
        of their states; others in the States are not looked at
    queries  : 0: a modality is pooled to the mean of its states; q: to q vectors side by side, each the mean
        weighted by how well a state answers a learned query
    settings : of ``build``, such as hidden_size
    Each modality is normalised by itself (LayerNorm), so that none shouts the others down. The head is made
    at home, and brings States from another device to where it is.
    """

    fewest = 1

    def __init__(self, sizes: Mapping[str, int], n_classes: int, queries: int = 0, **settings):
        super().__init__()
        if n_classes < 2:
            raise ValueError(f"n_classes={n_classes}: a classifier needs at least 2 classes.")
        if len(sizes) < self.fewest:
            raise ValueError(f"{type(self).__name__} joins at least {self.fewest} modalities; sizes names "
                             f"{', '.join(sizes) or 'none'}.")
        self.sizes, self.n_classes, self.queries = dict(sizes), n_classes, queries
        self.norm = nn.ModuleDict({name: nn.LayerNorm(size) for name, size in sizes.items()})
        self.query = nn.ParameterDict({name: nn.Parameter(torch.randn(queries, size) * size**-0.5)
                                       for name, size in sizes.items() if queries})
        self.widths = [max(queries, 1) * size for size in sizes.values()]  # of what is pooled
        self.build(**settings)
        settle(self)

    def build(self) -> None:
        raise NotImplementedError

    def read(self, states: States) -> list[tuple[Tensor, Tensor]]:
        """(states (batch, n, size), mask bool (batch, n)) of each modality of the head, as they come."""
        if not isinstance(states, States):
            raise TypeError(f"{type(self).__name__} reads States; got {describe(states)}. "
                            "extract_states(model, pairs) makes them.")
        states, found = follow(states, self), []
        for name, size in self.sizes.items():
            rows = states.states.get(name)
            if rows is None or rows.shape[2] != size:
                got = f"these hold {', '.join(states.states)}" if rows is None else f"got {describe(rows)}"
                raise ValueError(f"{type(self).__name__} reads States[{name!r}] of shape (batch, n, {size}); "
                                 f"{got}.")
            mask = states.mask(name)
            if mask.device.type == "cpu" and not mask.any(1).all():  # on a GPU looking would mean to wait
                empty = row_list((~mask.any(1)).nonzero()[:, 0].tolist())
                raise ValueError(f"{empty} has no {name!r} that may be read: its mask is False everywhere. "
                                 "Leave the row out, or give it a state that says so.")
            found.append((rows, mask))
        return found

    def pooled(self, states: States) -> list[Tensor]:
        """One vector of each modality: (batch, size), or (batch, queries · size)."""
        vectors = []
        for (name, norm), (x, mask) in zip(self.norm.items(), self.read(states), strict=True):
            if self.queries:
                x = norm(x)  # (batch, n, size)
                scores = (x @ self.query[name].T).masked_fill(~mask[..., None], -torch.inf)
                vectors.append((scores.softmax(1).transpose(1, 2) @ x).flatten(1))
            else:
                vectors.append(norm(masked_mean(x, mask)))
        return vectors
