"""Right and wrong answers to lesson 07, as learners write them."""

import math
import re

import torch
from torch.nn.functional import one_hot

TONES = "[\U0001f3fb-\U0001f3ff]"


def key_by_regex(emoji):
    emoji = re.sub(TONES + "|\ufe0f", "", emoji)
    emoji = re.sub("\u200d[\u2640\u2642]", "", emoji)
    return re.sub("[\U0001f468\U0001f469]", "\U0001f9d1", emoji)


def key_by_parts(emoji):
    gone = {0xFE0F, *range(0x1F3FB, 0x1F400)}
    parts = ["".join(c for c in part if ord(c) not in gone) for part in emoji.split("\u200d")]
    kept = [parts[0]] + [part for part in parts[1:] if part not in ("\u2640", "\u2642")]
    return "\u200d".join(kept).replace("\U0001f468", "\U0001f9d1").replace("\U0001f469", "\U0001f9d1")


def key_with_tones(emoji):
    emoji = emoji.replace("\ufe0f", "").replace("\u200d\u2640", "").replace("\u200d\u2642", "")
    return re.sub("[\U0001f468\U0001f469]", "\U0001f9d1", emoji)


def key_first_part(emoji):
    return key_by_parts(emoji).split("\u200d")[0]


def key_without_joiners(emoji):
    return key_by_parts(emoji).replace("\u200d", "")


def key_hanging_joiner(emoji):
    emoji = re.sub(TONES + "|\ufe0f", "", emoji)
    emoji = re.sub("(?<=.)[\u2640\u2642]", "", emoji)
    return re.sub("[\U0001f468\U0001f469]", "\U0001f9d1", emoji)


def key_man_and_woman(emoji):
    return re.sub("\u200d[\u2640\u2642]", "", re.sub(TONES + "|\ufe0f", "", emoji))


def key_with_colour(emoji):
    emoji = re.sub("\u200d[\u2640\u2642]\ufe0f?", "", re.sub(TONES, "", emoji))
    return re.sub("[\U0001f468\U0001f469]", "\U0001f9d1", emoji)


def key_as_codes(emoji):
    return [f"{ord(sign):x}" for sign in key_by_parts(emoji)]


def wilson_by_quadratic(right, n, z=1.96):
    """The two p that solve (p − right/n)² = z² p (1 − p) / n."""
    a, b, c = 1 + z**2 / n, -(2 * right / n + z**2 / n), (right / n) ** 2
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def wilson_by_counts(right, n, z=1.96):
    wrong = n - right
    centre = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(right * wrong / n + z * z / 4)
    return [centre - half, centre + half]


def wald(right, n, z=1.96):
    p = right / n
    half = z * (p * (1 - p) / n) ** 0.5
    return p - half, p + half


def wald_cut(right, n, z=1.96):
    low, high = wald(right, n, z)
    return max(low, 0.0), min(high, 1.0)


def wilson_not_divided(right, n, z=1.96):
    p = right / n
    root = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return p + z**2 / (2 * n) - root, p + z**2 / (2 * n) + root


def wilson_not_moved(right, n, z=1.96):
    p = right / n
    root = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return (p - root) / (1 + z**2 / n), (p + root) / (1 + z**2 / n)


def wilson_short_root(right, n, z=1.96):
    p = right / n
    root = z * math.sqrt(p * (1 - p) / n)
    return (p + z**2 / (2 * n) - root) / (1 + z**2 / n), (p + z**2 / (2 * n) + root) / (1 + z**2 / n)


def torn_by_sets(groups, splits):
    seen = {}
    for group, split in zip(groups, splits, strict=True):
        seen.setdefault(group, set()).add(split)
    return sorted(g for g in seen if len(seen[g]) >= 2)


def torn_by_first_home(groups, splits):
    home, torn = {}, set()
    for group, split in zip(groups, splits, strict=True):
        if home.setdefault(group, split) != split:
            torn.add(group)
    return sorted(torn)


def torn_train_test(groups, splits):
    inside = {
        name: {g for g, s in zip(groups, splits, strict=True) if s == name} for name in ("train", "test")
    }
    return sorted(inside["train"] & inside["test"])


def f1_by_loop(labels, guesses, n_classes):
    scores = []
    for k in range(n_classes):
        tp = ((guesses == k) & (labels == k)).sum().double()
        fp = ((guesses == k) & (labels != k)).sum().double()
        fn = ((guesses != k) & (labels == k)).sum().double()
        if tp + fp + fn > 0:
            scores.append(2 * tp / (2 * tp + fp + fn))
    return torch.stack(scores).mean()


def f1_by_one_hot(labels, guesses, n_classes):
    confusion = one_hot(labels, n_classes).double().T @ one_hot(guesses, n_classes).double()
    return (2 * confusion.diagonal() / (confusion.sum(0) + confusion.sum(1))).nanmean()


def f1_weighted(labels, guesses, n_classes):
    confusion = one_hot(labels, n_classes).double().T @ one_hot(guesses, n_classes).double()
    f1 = (2 * confusion.diagonal() / (confusion.sum(0) + confusion.sum(1))).nan_to_num()
    return (f1 * confusion.sum(1)).sum() / len(labels)


def f1_all_classes(labels, guesses, n_classes):
    confusion = one_hot(labels, n_classes).double().T @ one_hot(guesses, n_classes).double()
    return (2 * confusion.diagonal() / (confusion.sum(0) + confusion.sum(1))).nan_to_num().mean()


def f1_by_parts(labels, guesses, n_classes):
    confusion = one_hot(labels, n_classes).double().T @ one_hot(guesses, n_classes).double()
    precision, recall = confusion.diagonal() / confusion.sum(0), confusion.diagonal() / confusion.sum(1)
    return (2 * precision * recall / (precision + recall)).nanmean()


def mean_recall(labels, guesses, n_classes):
    return torch.stack([(guesses[labels == k] == k).double().mean() for k in labels.unique().tolist()]).mean()


def mean_precision(labels, guesses, n_classes):
    return torch.stack(
        [(labels[guesses == k] == k).double().mean() for k in guesses.unique().tolist()]
    ).mean()


def f1_of_labels(labels, guesses, n_classes):
    return torch.stack(
        [
            2 * ((guesses == k) & (labels == k)).sum() / ((guesses == k).sum() + (labels == k).sum()).double()
            for k in labels.unique().tolist()
        ]
    ).mean()


def f1_of_guesses(labels, guesses, n_classes):
    return torch.stack(
        [
            2 * ((guesses == k) & (labels == k)).sum() / ((guesses == k).sum() + (labels == k).sum()).double()
            for k in guesses.unique().tolist()
        ]
    ).mean()


RIGHT = {"07.1": [key_by_regex, key_by_parts], "07.2": [wilson_by_quadratic, wilson_by_counts],
         "07.3": [torn_by_sets, torn_by_first_home], "07.4": [f1_by_loop, f1_by_one_hot]}
WRONG = {
    "07.1": [
        (key_with_tones, "all five"),
        (key_first_part, "only the first part"),
        (key_without_joiners, "remove every joiner"),
        (key_hanging_joiner, "left hanging"),
        (key_man_and_woman, "two keys"),
        (key_with_colour, "U+FE0F is still there"),
        (key_as_codes, "Return a text"),
        (lambda e: None, "Return a text"),
    ],
    "07.2": [
        (wald, "shrinks to a point"),
        (wald_cut, "shrinks to a point"),
        (wilson_not_divided, "divided by 1 + z²/n"),
        (wilson_not_moved, "centre is not moved"),
        (wilson_short_root, "under the root"),
        (lambda r, n, z: wilson_by_counts(r, n), "z is fixed"),
        (lambda r, n, z: wilson_by_counts(r, n, z)[::-1], "wrong order"),
        (lambda r, n, z: wilson_by_counts(r, n, z)[0], "Return 2 values"),
    ],
    "07.3": [
        (torn_train_test, "only train with test"),
        (lambda g, s: sorted({x for x in g if g.count(x) > 1}), "more than one row"),
        (lambda g, s: sorted(x for x in g if x in torn_by_sets(g, s)), "name it once"),
        (lambda g, s: [i for i, x in enumerate(g) if x in torn_by_sets(g, s)], "numbers of the rows"),
        (lambda g, s: sorted(set(g) - set(torn_by_sets(g, s))), "are whole"),
        (lambda g, s: sorted(torn_by_sets(g, s), key=g.index), "not sorted"),
        (lambda g, s: set(torn_by_sets(g, s)), "as a list"),
        (lambda g, s: len(torn_by_sets(g, s)), "as a list"),
    ],
    "07.4": [
        (lambda y, g, n: (y == g).double().mean(), "accuracy"),
        (mean_recall, "mean recall"),
        (mean_precision, "mean precision"),
        (f1_weighted, "weight each class"),
        (f1_all_classes, "divide by n_classes"),
        (f1_by_parts, "never predicted"),
        (f1_of_labels, "without a true row"),
        (f1_of_guesses, "never predicted"),
    ],
}
