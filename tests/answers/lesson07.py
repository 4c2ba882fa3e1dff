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


def coverage_by_loop(right, n, p, z=1.96):
    held = [0, 0]
    for k in right.tolist():
        share = k / n
        half = z * math.sqrt(share * (1 - share) / n)
        held[0] += share - half <= p <= share + half
        root = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
        middle = (k + z * z / 2) / (n + z * z)
        held[1] += middle - root <= p <= middle + root
    return [count / len(right) for count in held]


def coverage_by_distance(right, n, p, z=1.96):
    """p lies in Wilson's interval where the share is within z standard deviations of p."""
    share = right / n
    usual = (share - p).abs() <= z * torch.sqrt(share * (1 - share) / n)
    wilson = (share - p).abs() <= z * math.sqrt(p * (1 - p) / n)
    return usual.float().mean(), wilson.float().mean()


def _cover(usual=lambda s, n, z: (s, z * (s * (1 - s) / n).sqrt()), term=lambda z, n: z * z / (4 * n * n),
           move=lambda z, n: z * z / (2 * n), scale=lambda z, n: 1 + z * z / n,
           inside=lambda low, high, p: (low <= p) & (high >= p)):
    def coverage(right, n, p, z=1.96):
        s = right.double() / n
        middle, half = usual(s, n, z)
        first = inside(middle - half, middle + half, p)
        root = z * (s * (1 - s) / n + term(z, n)).sqrt()
        low, high = (s + move(z, n) - root) / scale(z, n), (s + move(z, n) + root) / scale(z, n)
        return first.double().mean().item(), inside(low, high, p).double().mean().item()
    return coverage


def coverage_of_the_mean(right, n, p, z=1.96):
    return coverage_by_loop(right.double().mean()[None], n, p, z)


def coverage_with_sets_for_rows(right, n, p, z=1.96):
    shares = right / n
    n = len(right)
    return coverage_by_loop(shares * n, n, p, z)


def effective_by_matrix(sizes, rho):
    """The variance of a mean, from the whole covariance matrix of the rows."""
    group = torch.arange(len(sizes)).repeat_interleave(sizes)
    together = (group[:, None] == group).double()
    covariance = rho * together + (1 - rho) * torch.eye(len(group)).double()
    return len(group) ** 2 / covariance.sum()


def effective_by_loop(sizes, rho):
    n = total = 0
    for m in sizes.tolist():
        n += m
        total += m * (1 + (m - 1) * rho)
    return n * n / total


def _effective(form):
    return lambda sizes, rho: form(sizes.double(), float(sizes.sum()), rho)


def f1_of_means(labels, guesses, n_classes):
    precision, recall = mean_precision(labels, guesses, n_classes), mean_recall(labels, guesses, n_classes)
    return 2 * precision * recall / (precision + recall)


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


def torn_in(groups, splits, count):
    """The groups whose rows lie in exactly this many splits."""
    homes = {g: {s for h, s in zip(groups, splits, strict=True) if h == g} for g in groups}
    return sorted(g for g in homes if len(homes[g]) == count)


def torn_neighbours(groups, splits):
    found = {g for k, g in enumerate(groups) if k and groups[k - 1] == g and splits[k - 1] != splits[k]}
    return sorted(found)


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


def f1_of_classes(labels, guesses, n_classes):
    confusion = one_hot(labels, n_classes).double().T @ one_hot(guesses, n_classes).double()
    return 2 * confusion.diagonal() / (confusion.sum(0) + confusion.sum(1))


def f1_plain_mean(labels, guesses, n_classes):
    confusion = one_hot(labels, n_classes).double().T @ one_hot(guesses, n_classes).double()
    precision = (confusion.diagonal() / confusion.sum(0)).nan_to_num()
    recall = (confusion.diagonal() / confusion.sum(1)).nan_to_num()
    return ((precision + recall) / 2)[confusion.sum(0) + confusion.sum(1) > 0].mean()


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


RIGHT = {"07.1": [key_by_regex, key_by_parts], "07.6": [coverage_by_loop, coverage_by_distance],
         "07.3": [torn_by_sets, torn_by_first_home], "07.4": [f1_by_loop, f1_by_one_hot],
         "07.5": [effective_by_matrix, effective_by_loop]}
WRONG = {
    "07.1": [
        (key_with_tones, "all five"),
        (key_first_part, "only the first part"),
        (key_without_joiners, "remove every joiner"),
        (key_hanging_joiner, "left hanging"),
        (key_man_and_woman, "two keys"),
        (key_with_colour, "U+FE0F is still there"),
        (key_as_codes, "Return a text"),
        (lambda e: key_by_parts(e).replace("\U0001f9d1", "\U0001f468"), "becomes one of them"),
        (lambda e: "\u200d".join(sorted(key_by_parts(e).split("\u200d"))), "in another order"),
        (lambda e: key_by_parts(e.replace("\u200d", "")), "before you cut"),
        (lambda e: None, "Return a text"),
    ],
    "07.6": [
        (_cover(term=lambda z, n: z * z / (4 * n)), "n is not squared"),
        (_cover(term=lambda z, n: 0), "is missing under Wilson's root"),
        (_cover(scale=lambda z, n: 1), "not divided"),
        (_cover(move=lambda z, n: 0), "centre is not moved"),
        (_cover(usual=lambda s, n, z: (s, z * s * (1 - s) / n)), "has no root"),
        (_cover(usual=lambda s, n, z: (s, z * (s * (1 - s)).sqrt())), "one row"),
        (_cover(usual=lambda s, n, z: (s, z * (s * (1 - s) / (n - 1)).sqrt())), "not by n − 1"),
        (_cover(inside=lambda low, high, p: low <= p), "lower end only"),
        (_cover(inside=lambda low, high, p: high >= p), "upper end only"),
        (_cover(inside=lambda low, high, p: (low > p) | (high < p)), "misses p"),
        (_cover(inside=lambda low, high, p: (low < p) & (p < high)), "its ends"),
        (_cover(inside=lambda low, high, p: (low <= p) | (p <= high)), "with *or*"),
        (lambda r, n, p, z: (_cover(inside=lambda low, high, p: p <= high)(r, n, p, z)[0],
                             coverage_by_loop(r, n, p, z)[1]), "usual interval you check the upper end only"),
        (lambda r, n, p, z: (_cover(inside=lambda low, high, p: low <= p)(r, n, p, z)[0],
                             coverage_by_loop(r, n, p, z)[1]), "usual interval you check the lower end only"),
        (coverage_of_the_mean, "make one interval"),
        (coverage_with_sets_for_rows, "number of test sets"),
        (lambda r, n, p, z: coverage_by_loop(r, n, p), "z is fixed"),
        (lambda r, n, p, z: coverage_by_loop(r, n, p, z)[::-1], "wrong order"),
        (lambda r, n, p, z: 2 * coverage_by_loop(r, n, p, z)[1:], "true p stands under"),
    ],
    "07.3": [
        (torn_train_test, "only train with test"),
        (lambda g, s: sorted({x for x in g if g.count(x) > 1}), "more than one row"),
        (lambda g, s: torn_in(g, s, 3), "two are enough"),
        (lambda g, s: torn_in(g, s, 2), "not exactly two"),
        (torn_neighbours, "follow each other"),
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
        (f1_by_parts, "whose F1 is 0"),
        (f1_of_labels, "without a true row"),
        (f1_of_guesses, "never predicted"),
        (f1_of_means, "of the mean precision"),
        (lambda y, g, n: f1_of_classes(y, g, n).mean(), "0/0"),
        (lambda y, g, n: f1_of_classes(y, g, n).nan_to_num(1.0).mean(), "counts as 1"),
        (f1_plain_mean, "harmonic mean"),
    ],
    "07.5": [
        (_effective(lambda m, n, rho: n), "number of rows"),
        (_effective(lambda m, n, rho: len(m)), "number of groups"),
        (_effective(lambda m, n, rho: n / (1 + (n / len(m) - 1) * rho)), "mean size"),
        (_effective(lambda m, n, rho: n / (1 + (m.max() - 1) * rho)), "largest group"),
        (_effective(lambda m, n, rho: (m * (1 + (m - 1) * rho)).sum() / n), "times larger"),
        (_effective(lambda m, n, rho: n * n / (m + rho * m * (m - 1) / 2).sum()), "every pair once"),
        (_effective(lambda m, n, rho: n * n / (m + rho * m * m).sum()), "with itself"),
        (_effective(lambda m, n, rho: n * n / (m**2).sum()), "for ρ = 1"),
        (_effective(lambda m, n, rho: n * n / (m + rho**2 * m * (m - 1)).sum()), "ρ is squared"),
        (_effective(lambda m, n, rho: n / (m + rho * m * (m - 1)).sum()), "n is not squared"),
        (_effective(lambda m, n, rho: (1 - rho) * n + rho * len(m)), "You mix"),
        (_effective(lambda m, n, rho: (m / (1 + (m - 1) * rho)).sum()), "own effective rows"),
    ],
}
