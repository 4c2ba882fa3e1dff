"""Right and wrong answers to the warm-up."""

import itertools

import torch
from torch.nn.functional import one_hot


def by_loop(logits, labels):
    right = sum(float(row.argmax() == label) for row, label in zip(logits, labels, strict=True))
    return torch.tensor(right / len(labels), dtype=torch.float64)


def by_gather(logits, labels):
    return (logits.gather(1, labels[:, None])[:, 0] == logits.amax(1)).to(torch.float64).mean()


def balanced(logits, labels):
    right = (logits.argmax(1) == labels).double()
    return torch.stack([right[labels == k].mean() for k in labels.unique()]).mean()


def crashes(logits, labels):
    return (logits.argmax(0) == labels).double().mean()


def by_enumeration(shares, noise):
    """Every ticket with its probability; the judge picks the likelier label of all that looks alike."""
    tables = [{}, {}, {}]
    for k, share in enumerate(shares.tolist()):
        for label in (0, 1):
            for slips in itertools.product((0, 1), repeat=3):
                p = share / 2
                for slip, e in zip(slips, noise.tolist(), strict=True):
                    p *= e if slip else 1 - e
                photo = ("toy", label ^ slips[0]) if k in (0, 1) else ("parcel",) if k == 2 else ("carton",)
                words = ("says", label ^ slips[1]) if k in (0, 2) else ("neutral",) if k == 1 else ("order",)
                both = (photo, words, label ^ slips[2]) if k == 3 else (photo, words)
                for table, seen in zip(tables, (photo, words, both), strict=True):
                    table.setdefault(seen, [0.0, 0.0])[label] += p
    return tuple(torch.tensor(sum(map(max, table.values())), dtype=torch.float64) for table in tables)


def by_dot_products(shares, noise):
    half, (a, b, c) = torch.tensor(0.5).double(), 1 - noise
    photo = shares @ torch.stack([a, a, half, half])
    message = shares @ torch.stack([b, half, b, half])
    return photo, message, shares @ torch.stack([torch.maximum(a, b), a, b, c])


def ceilings_if_either_is_right(shares, noise):
    photo, message, _ = by_dot_products(shares, noise)
    a, b, c = 1 - noise
    in_r = 1 - noise[0] * noise[1]
    return photo, message, shares @ torch.stack([in_r, a, b, c])


def ceilings_without_guesses(shares, noise):
    (r, i, t, _), (a, b, _) = shares, 1 - noise
    return r * a + i * a, r * b + t * b, by_dot_products(shares, noise)[2]


def ceilings_message_without_guesses(shares, noise):
    photo, _, both = by_dot_products(shares, noise)
    return photo, (shares[0] + shares[2]) * (1 - noise[1]), both


def ceilings_noisy_guesses(shares, noise):
    _, message, both = by_dot_products(shares, noise)
    return (shares[:2].sum() + shares[2:].sum() / 2) * (1 - noise[0]), message, both


def ceilings_worse_witness(shares, noise):
    (r, i, t, s), (a, b, c) = shares, 1 - noise
    photo, message, _ = by_dot_products(shares, noise)
    return photo, message, r * torch.minimum(a, b) + i * a + t * b + s * c


def ceilings_both_right(shares, noise):
    (r, i, t, s), (a, b, c) = shares, 1 - noise
    photo, message, _ = by_dot_products(shares, noise)
    return photo, message, r * a * b + i * a + t * b + s * c


RIGHT = {"00.1": [by_loop, by_gather], "00.5": [by_enumeration, by_dot_products]}
WRONG = {"00.1": [
    (lambda logits, labels: by_gather(logits, labels) * len(labels), "how many answers"),
    (lambda logits, labels: 100 * by_gather(logits, labels), "percentage"),
    (lambda logits, labels: 1 - by_gather(logits, labels), "share of wrong"),
    (lambda logits, labels: (logits.argmin(1) == labels).double().mean(), "smallest logit"),
    (lambda logits, labels: by_gather(logits, labels).item(), "Return a tensor"),
    (crashes, "raises RuntimeError"),
    (lambda logits, labels: (logits.argmax(1) == labels).sum(), "how many answers"),
    (lambda logits, labels: sum(logits.argmax(1) == labels), "how many answers"),
    (lambda logits, labels: (logits.argmax(1) == labels).sum().item(), "how many answers"),
    (lambda logits, labels: (logits.max(1).values == labels).double().mean(), "its place, argmax"),
    (lambda logits, labels: (logits.argmax() == labels).double().mean(), "names no dimension"),
    (lambda logits, labels: (one_hot(logits.argmax(1), logits.shape[1]) == one_hot(
        labels, logits.shape[1])).double().mean(), "entry by entry"),
    (lambda logits, labels: by_gather(logits, labels) * len(labels) / logits.size(1), "number of classes"),
    (lambda logits, labels: (logits.argmax(1) == labels[:, None]).double().mean(), "with every label"),
    (lambda logits, labels: (logits.argmax(1, keepdim=True) == labels).double().mean(), "with every label"),
    (lambda logits, labels: ((logits[:, 1] > 0) == labels).double().mean(), "the logit of class 1"),
    (lambda logits, labels: ((logits.softmax(1) > 0.5).long().argmax(1) == labels).double().mean(),
     "above one half"),
    (balanced, "accuracies of the classes"),
], "00.5": [
    (ceilings_if_either_is_right, "where they disagree"),
    (ceilings_without_guesses, "half of its guesses"),
    (ceilings_worse_witness, "the weaker witness"),
    (ceilings_both_right, "both witnesses are right"),
    (lambda shares, noise: by_dot_products(shares, 0 * noise), "noise has no effect"),
    (lambda shares, noise: by_dot_products(shares, noise[[1, 0, 2]]), "order photo, message, colours"),
    (lambda shares, noise: torch.stack(by_dot_products(shares, noise)[:2]), "3 "),
    (ceilings_message_without_guesses, "The message alone"),
    (ceilings_noisy_guesses, "A guess needs no witness"),
    (lambda shares, noise: by_dot_products(shares[[0, 2, 1, 3]], noise), "I and T are exchanged"),
    (lambda shares, noise: (*by_dot_products(shares, noise)[:2],
                            by_dot_products(shares, noise)[2] + shares[3] * noise[2]), "errs as well"),
]}
