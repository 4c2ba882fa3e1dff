"""Answers beside those of people: of somebody who never looks, and of ten who do."""

from __future__ import annotations

import torch
from torch import Tensor

from cmlib.data.pairs import describe


def best_guess(question: Tensor, answer: Tensor, asked: Tensor) -> Tensor:
    """What is most often right without looking: of each question ``asked`` the answer that it most often had,
    of several the smallest; of a question that was never asked the most frequent of all, int64 (n,).

    question, answer : int64 (rows,), of training rows; asked : int64 (n,)
    """
    if not len(answer) or question.shape != answer.shape or answer.ndim != 1:
        raise ValueError("best_guess takes questions and answers (rows,), a row at least; got "
                         f"{describe(question)} and {describe(answer)}.")
    known, place = question.unique(return_inverse=True)
    counts = torch.zeros(len(known), int(answer.max()) + 1, dtype=torch.int64)
    counts.index_put_((place, answer), torch.ones_like(answer), accumulate=True)
    same = asked[:, None] == known  # (n, known)
    return torch.where(same.any(1), counts.argmax(1)[same.int().argmax(1)], counts.sum(0).argmax())


def vqa_accuracy(answer: Tensor, given: Tensor) -> Tensor:
    """Of each question min(n/3, 1), where n of the others gave this answer, the mean over each of the people
    left out once (Antol et al. 2015), float64 (rows,).

    answer : int64 (rows,); given : int64 (rows, people); a negative one has no number, and agrees with none
    """
    if given.ndim != 2 or answer.shape != given.shape[:1] or given.shape[1] < 2:
        raise ValueError("vqa_accuracy takes answers (rows,) and those of people (rows, people), two people "
                         f"at least; got {describe(answer)} and {describe(given)}.")
    agree = (given == answer[:, None]) & (given >= 0)
    others = agree.sum(1, keepdim=True) - agree.long()  # (rows, people), without the one left out
    return (others.double() / 3).clamp(max=1).mean(1)
