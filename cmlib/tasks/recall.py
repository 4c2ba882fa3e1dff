"""Recall at k of a search, with ties and duplicates counted as what they are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from cmlib.data.pairs import describe

AT_ONCE = 2**20  # entries of the similarity that are looked at together: 8 MB of float64


def recall_at(similarity: Tensor, k: int = 1, relevant: Tensor | None = None) -> float:
    """The share of queries that find one of their relevant rows among the first k of the gallery.

    similarity : float (queries, gallery), larger is nearer; relevant : bool (queries, gallery), by default
        the diagonal: query i is looking for row i of the gallery
    Rows that tie stand in random order, and a query counts with the probability that one of its relevant
    rows comes among the first k. Of ``above`` rows that are strictly better than its best relevant row and
    ``tied`` that are equal to it, ``mates`` of them relevant, k − above places are left, and it misses with
    probability C(tied − mates, left) / C(tied, left). Nothing is sorted: for each query one pass over the
    gallery (benchmarks/recall.py).
    """
    _check(similarity, k, relevant)
    queries, gallery = similarity.shape
    own, found = torch.arange(gallery, device=similarity.device), []
    for rows in torch.arange(queries, device=similarity.device).split(max(1, AT_ONCE // gallery)):
        wanted = rows[:, None] == own if relevant is None else relevant[rows]  # (rows, gallery)
        found.append(_found(similarity[rows], k, wanted))
    return torch.cat(found).mean().item()


def _found(similarity, k, relevant) -> Tensor:
    """The probability that each of these queries finds a relevant row, float64 (queries,)."""
    best = similarity.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)  # (queries, 1)
    ties = similarity == best
    above, tied, mates = (similarity > best).sum(1), ties.sum(1).double(), (ties & relevant).sum(1)
    left = (k - above).clamp(min=0).double().minimum(tied)  # of the k places, for those that tie
    others = tied - mates
    missed = torch.exp(_log_choose(others, left) - _log_choose(tied, left))
    return torch.where(left > others, 1.0, 1 - missed)


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    """log C(n, k); of no meaning where k > n."""
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma((n - k).clamp(min=0) + 1)


def equal_rows(texts: Sequence[Hashable] | Tensor) -> Tensor:
    """Which rows say the same, bool (n, n), the diagonal included: ``relevant`` where a gallery has
    duplicates.

    texts : one text a row, compared letter by letter, or int64 (n,) identities
    """
    if isinstance(texts, str):
        raise TypeError(f"equal_rows compares a list of texts; got one text, {texts[:40]!r}.")
    if not isinstance(texts, Tensor):
        number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        texts = torch.tensor([number[text] for text in texts], dtype=torch.int64)
    return texts[:, None] == texts


def _check(similarity, k, relevant) -> None:
    """Raise TypeError or ValueError, in one sentence, for what recall cannot be of."""
    if not (isinstance(similarity, Tensor) and similarity.ndim == 2 and similarity.is_floating_point()):
        raise TypeError(f"recall_at takes the similarity as float (queries, gallery); got "
                        f"{describe(similarity)}.")
    queries, gallery = similarity.shape
    if not queries or not gallery:
        raise ValueError(f"The similarity is of {queries} queries and a gallery of {gallery} rows: there is "
                         "nothing to find.")
    if not 1 <= k <= gallery:
        raise ValueError(f"k={k} of a gallery of {gallery} rows: choose k from 1 to {gallery}.")
    lost = similarity.isnan().any(1).nonzero()[:, 0]
    if len(lost):
        raise ValueError(f"The similarity of query {int(lost[0])} has nan in it: a row that is not a number "
                         "can be neither near nor far.")
    if relevant is None:
        if queries != gallery:
            raise ValueError(f"With {queries} queries and a gallery of {gallery} rows the partner of a query "
                             "is not its own row: give relevant, bool (queries, gallery).")
        return
    if not (isinstance(relevant, Tensor) and relevant.dtype == torch.bool
            and relevant.shape == similarity.shape):
        raise TypeError(f"relevant must be bool {tuple(similarity.shape)} like the similarity; got "
                        f"{describe(relevant)}.")
    idle = (~relevant.any(1)).nonzero()[:, 0]
    if len(idle):
        raise ValueError(f"Query {int(idle[0])} has no relevant row in the gallery, and can find none: leave "
                         "it out.")
