"""Right and wrong answers to the warm-up."""

import torch


def by_loop(logits, labels):
    right = sum(float(row.argmax() == label) for row, label in zip(logits, labels, strict=True))
    return torch.tensor(right / len(labels), dtype=torch.float64)


def by_gather(logits, labels):
    return (logits.gather(1, labels[:, None])[:, 0] == logits.amax(1)).to(torch.float64).mean()


def crashes(logits, labels):
    return (logits.argmax(0) == labels).double().mean()


RIGHT = {"00.1": [by_loop, by_gather]}
WRONG = {"00.1": [
    (lambda logits, labels: by_gather(logits, labels) * len(labels), "how many answers"),
    (lambda logits, labels: 100 * by_gather(logits, labels), "percentage"),
    (lambda logits, labels: 1 - by_gather(logits, labels), "share of wrong"),
    (lambda logits, labels: (logits.argmin(1) == labels).double().mean(), "smallest logit"),
    (lambda logits, labels: by_gather(logits, labels).item(), "Return a tensor"),
    (crashes, "raises RuntimeError"),
]}
