"""Right and wrong answers to lesson 03, as learners write them."""

import math
import random

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence


def wordpiece_shrinking(word, vocab):
    out = []
    rest, mark = word, ""
    while rest:
        size = len(rest)
        while size and mark + rest[:size] not in vocab:
            size -= 1
        if size == 0:
            return ["[UNK]"]
        out.append(mark + rest[:size])
        rest, mark = rest[size:], "##"
    return out


def wordpiece_recursive(word, vocab, mark=""):
    if not word:
        return []
    fits = [n for n in range(1, len(word) + 1) if mark + word[:n] in vocab]
    if not fits:
        return ["[UNK]"]
    tail = wordpiece_recursive(word[max(fits):], vocab, "##")
    return ["[UNK]"] if tail == ["[UNK]"] else [mark + word[:max(fits)], *tail]


def wordpiece_shortest(word, vocab):
    out, start = [], 0
    while start < len(word):
        end = start + 1
        while end <= len(word) and ("##" if start else "") + word[start:end] not in vocab:
            end += 1
        if end > len(word):
            return ["[UNK]"]
        out.append(("##" if start else "") + word[start:end])
        start = end
    return out


def wordpiece_partial_unknown(word, vocab):
    out, start = [], 0
    while start < len(word):
        end = len(word)
        while end > start and ("##" if start else "") + word[start:end] not in vocab:
            end -= 1
        if end == start:
            out.append("[UNK]")
            break
        out.append(("##" if start else "") + word[start:end])
        start = end
    return out


def wordpiece_no_marks(word, vocab):
    out, start = [], 0
    while start < len(word):
        end = len(word)
        while end > start and word[start:end] not in vocab:
            end -= 1
        if end == start:
            return ["[UNK]"]
        out.append(word[start:end])
        start = end
    return out


def wordpiece_marks_forgotten_in_lookup(word, vocab):
    plain = wordpiece_no_marks(word, vocab)
    return plain[:1] + ["##" + piece for piece in plain[1:]]


def wordpiece_backtracks(word, vocab, mark=""):
    for n in range(len(word), 0, -1):
        if mark + word[:n] in vocab:
            if n == len(word):
                return [mark + word]
            tail = wordpiece_backtracks(word[n:], vocab, "##")
            if "[UNK]" not in tail:
                return [mark + word[:n], *tail]
    return ["[UNK]"]


def wordpiece_strips_marks(word, vocab):
    return [piece.replace("##", "") for piece in wordpiece_shrinking(word, vocab)]


def wordpiece_drops_the_rest(word, vocab):
    return [piece for piece in wordpiece_partial_unknown(word, vocab) if piece != "[UNK]"]


def pad_by_slices(token_ids, pad_id):
    ids = torch.full((len(token_ids), max(map(len, token_ids))), pad_id)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(token_ids):
        ids[i, :len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[i, :len(row)] = 1
    return ids, mask


def pad_by_lengths(token_ids, pad_id):
    rows = [torch.tensor(row, dtype=torch.int64) for row in token_ids]
    ids = pad_sequence(rows, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(ids.shape[1])[None] < lengths[:, None]).to(torch.int64)


def pad_left(token_ids, pad_id):
    longest = max(map(len, token_ids))
    ids = [[pad_id] * (longest - len(row)) + row for row in token_ids]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in token_ids]
    return torch.tensor(ids), torch.tensor(mask)


def pad_mask_from_ids(token_ids, pad_id):
    ids, _ = pad_by_lengths(token_ids, pad_id)
    return ids, (ids != pad_id).to(torch.int64)


def pad_inverted(token_ids, pad_id):
    ids, mask = pad_by_slices(token_ids, pad_id)
    return ids, (mask == 0).long()


def pad_with_zero(token_ids, pad_id):
    return pad_by_slices(token_ids, 0)


def pad_bool(token_ids, pad_id):
    ids, mask = pad_by_slices(token_ids, pad_id)
    return ids, mask == 1


def pad_float(token_ids, pad_id):
    ids, mask = pad_by_slices(token_ids, pad_id)
    return ids, mask.float()


def pad_ids_only(token_ids, pad_id):
    return pad_by_slices(token_ids, pad_id)[0]


def pad_cut(token_ids, pad_id):
    ids = torch.stack([torch.tensor(row[:min(map(len, token_ids))]) for row in token_ids]).long()
    return ids, torch.ones_like(ids)


def pad_mask_of_padding(token_ids, pad_id):
    ids, mask = pad_by_slices(token_ids, pad_id)
    return ids, mask + (1 - mask) * pad_id


def pad_sorted(token_ids, pad_id):
    return pad_by_slices(sorted(token_ids, key=len, reverse=True), pad_id)


def mean_by_rows(states, attention_mask):
    out = []
    for state, mask in zip(states, attention_mask, strict=True):
        kept = state[mask == 1]
        out.append(kept.mean(0) if len(kept) else 0 * state.sum(0))
    return torch.stack(out)


def mean_by_einsum(states, attention_mask):
    weight = attention_mask.double() / attention_mask.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("bt,bth->bh", weight, states)


def mean_unmasked(states, attention_mask):
    return states.sum(1) / states.shape[1]


def mean_padding_counted(states, attention_mask):
    return states.masked_fill(attention_mask[..., None] == 0, 0).mean(1)


def mean_nan_row(states, attention_mask):
    return states.masked_fill(attention_mask[..., None] == 0, 0).sum(1) / attention_mask.sum(1)[:, None]


def mean_detached(states, attention_mask):
    return mean_by_einsum(states.detach(), attention_mask)


def mean_inverted(states, attention_mask):
    return mean_by_einsum(states, 1 - attention_mask)


def mean_batch_count(states, attention_mask):
    return (states * attention_mask.unsqueeze(2)).sum(1) / attention_mask.sum()


def mean_plus_one(states, attention_mask):
    return (states * attention_mask.unsqueeze(2)).sum(1) / (1 + attention_mask.sum(1, keepdim=True))


def mean_over_hidden(states, attention_mask):
    return (states * attention_mask.unsqueeze(2)).sum(2) / states.shape[2]


def split_numpy(groups, test_share, seed):
    names = np.unique(groups.numpy())
    np.random.default_rng(seed).shuffle(names)
    held_out = set(names[:max(1, round(test_share * len(names)))].tolist())
    rows = [(i, int(g) in held_out) for i, g in enumerate(groups)]
    return (torch.tensor([i for i, held in rows if not held], dtype=torch.int64),
            torch.tensor([i for i, held in rows if held], dtype=torch.int64))


def split_inverse(groups, test_share, seed):
    torch.manual_seed(seed)
    names, member = groups.unique(return_inverse=True)
    place = torch.randperm(len(names))[member]
    test = place < max(1, round(test_share * len(names)))
    return torch.where(~test)[0], torch.where(test)[0]


def split_rows(groups, test_share, seed):
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    n = max(1, round(test_share * len(groups)))
    return order[n:], order[:n]


def split_assumes_numbers(groups, test_share, seed):
    count = len(groups.unique())
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    n = max(1, round(test_share * count))
    return torch.isin(groups, order[n:]).nonzero()[:, 0], torch.isin(groups, order[:n]).nonzero()[:, 0]


def split_masks(groups, test_share, seed):
    _, test = split_inverse(groups, test_share, seed)
    mask = torch.zeros(len(groups), dtype=torch.bool)
    mask[test] = True
    return ~mask, mask


def split_lists(groups, test_share, seed):
    train, test = split_inverse(groups, test_share, seed)
    return train.tolist(), test.tolist()


def split_swapped(groups, test_share, seed):
    train, test = split_inverse(groups, test_share, seed)
    return test, train


def split_no_shuffle(groups, test_share, seed):
    names = groups.unique()
    test = torch.isin(groups, names[:max(1, round(test_share * len(names)))])
    return torch.where(~test)[0], torch.where(test)[0]


def split_unseeded(groups, test_share, seed):
    return split_inverse(groups, test_share, random.SystemRandom().randrange(2**40))


def split_rounds_down(groups, test_share, seed):
    names = groups.unique()
    chosen = names[
        torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))[
            : int(test_share * len(names))
        ]
    ]
    test = torch.isin(groups, chosen)
    return torch.where(~test)[0], torch.where(test)[0]


def split_by_rows_of_groups(groups, test_share, seed):
    """Fills the test part with groups until it has its share of the rows."""
    names = groups.unique()[
        torch.randperm(len(groups.unique()), generator=torch.Generator().manual_seed(seed))
    ]
    test = torch.zeros(len(groups), dtype=torch.bool)
    for name in names:
        if test.sum() < test_share * len(groups):
            test |= groups == name
    return torch.where(~test)[0], torch.where(test)[0]


def wordpiece_never_the_rest(word, vocab):
    out, start = [], 0
    while start < len(word):
        end = len(word) - 1
        while end > start and ("##" if start else "") + word[start:end] not in vocab:
            end -= 1
        if end <= start:
            return ["[UNK]"]
        out.append(("##" if start else "") + word[start:end])
        start = end
    return out


def wordpiece_lengthening(word, vocab):
    out, start = [], 0
    while start < len(word):
        end, mark = start + 1, "##" if start else ""
        while end <= len(word) and mark + word[start:end] in vocab:
            end += 1
        if end == start + 1:
            return ["[UNK]"]
        out.append(mark + word[start:end - 1])
        start = end - 1
    return out


def wordpiece_always_marked(word, vocab):
    out, rest = [], word
    while rest:
        fits = [rest[:end] for end in range(len(rest), 0, -1) if "##" + rest[:end] in vocab]
        if not fits:
            return ["[UNK]"]
        out.append("##" + fits[0])
        rest = rest[len(fits[0]):]
    return out


def pad_mask_too_long(token_ids, pad_id):
    ids, mask = pad_by_lengths(token_ids, pad_id)
    return ids, (torch.arange(ids.shape[1]) <= mask.sum(1)[:, None]).long()


def split_from_zero(groups, test_share, seed):
    order = torch.randperm(int(groups.max()) + 1, generator=torch.Generator().manual_seed(seed))
    test = torch.isin(groups, order[:max(1, round(test_share * len(order)))])
    return torch.where(~test)[0], torch.where(test)[0]


def split_positions(groups, test_share, seed):
    names = groups.unique()
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    test = torch.isin(groups, order[:max(1, round(test_share * len(names)))])
    return torch.where(~test)[0], torch.where(test)[0]


def wordpiece_from_the_right(word, vocab):
    out, end = [], len(word)
    while end > 0:
        start = 0
        while start < end and ("##" if start else "") + word[start:end] not in vocab:
            start += 1
        if start == end:
            return ["[UNK]"]
        out = [("##" if start else "") + word[start:end], *out]
        end = start
    return out


def pad_in_the_caller_s_lists(token_ids, pad_id):
    longest = max(map(len, token_ids))
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in token_ids]
    for row in token_ids:
        row.extend([pad_id] * (longest - len(row)))
    return torch.tensor(token_ids, dtype=torch.int64), torch.tensor(mask)


def split_rounds_up(groups, test_share, seed):
    names = groups.unique()
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    test = torch.isin(groups, names[order[: math.ceil(test_share * len(names))]])
    return torch.where(~test)[0], torch.where(test)[0]


def split_by_a_set(groups, test_share, seed):
    names = list(set(groups))
    random.Random(seed).shuffle(names)
    test = torch.isin(groups, torch.stack(names[: max(1, round(test_share * len(names)))]))
    return torch.where(~test)[0], torch.where(test)[0]


def split_some(groups, seed, how_many):
    names = groups.unique()
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    chosen = torch.isin(groups, names[order[:how_many]])
    return torch.where(~chosen)[0], torch.where(chosen)[0]


def split_without_a_floor(groups, test_share, seed):
    return split_some(groups, seed, round(test_share * len(groups.unique())))


def split_a_share_of_the_rows(groups, test_share, seed):
    return split_some(groups, seed, max(1, round(test_share * len(groups))))


def leak_by_binomials(sizes, test_rows):
    n, t = int(sizes.sum()), test_rows
    clean = sum(s * math.comb(n - s, t - s) for s in sizes.tolist() if s <= t)
    return torch.tensor(1 - clean / (n * math.comb(n - 1, t - 1)), dtype=torch.float64)


def leak_by_rows(sizes, test_rows):
    n = int(sizes.sum())
    chances = []
    for size in sizes.tolist():
        stay = 1.0
        for k in range(1, size):
            stay *= max(test_rows - k, 0) / (n - k)
        chances += [1 - stay] * size
    return torch.tensor(chances, dtype=torch.float64).mean()


def leak_with(mates):
    """A wrong leak: ``mates(s, n, t)`` is the chance that no mate is in training."""
    def wrong(sizes, test_rows):
        n = int(sizes.sum())
        total = sum(s * (1 - mates(s, n, test_rows)) for s in sizes.tolist())
        return torch.tensor(total / n, dtype=torch.float64)
    return wrong


def leak_by_groups(sizes, test_rows):
    n = int(sizes.sum())
    each = [1 - math.prod(max(test_rows - k, 0) / (n - k) for k in range(1, s)) for s in sizes.tolist()]
    return torch.tensor(sum(each) / len(each), dtype=torch.float64)


RIGHT = {
    "03.1": [wordpiece_shrinking, wordpiece_recursive],
    "03.2": [pad_by_slices, pad_by_lengths],
    "03.3": [mean_by_rows, mean_by_einsum],
    "03.4": [split_numpy, split_inverse],
    "03.5": [leak_by_binomials, leak_by_rows],
}
WRONG = {
    "03.1": [
        (wordpiece_shortest, "shortest piece"),
        (wordpiece_partial_unknown, "keep the pieces found before"),
        (wordpiece_no_marks, "looked up, and written, without their ##"),
        (wordpiece_marks_forgotten_in_lookup, "two different entries"),
        (wordpiece_backtracks, "never goes back"),
        (wordpiece_strips_marks, "with ## in front"),
        (wordpiece_drops_the_rest, "only the pieces found before"),
        (wordpiece_from_the_right, "from the right end"),
        (wordpiece_never_the_rest, "never tried"),
        (wordpiece_lengthening, "Shorten from the right"),
        (lambda word, vocab: [word] if word in vocab else ["[UNK]"], "before it is given up"),
        (wordpiece_always_marked, "yours begins with it"),
        (lambda word, vocab: sorted(wordpiece_recursive(word, vocab), key=len), "in the wrong order"),
    ],
    "03.2": [
        (pad_left, "on the left"),
        (pad_mask_from_ids, "read off the ids"),
        (pad_inverted, "inverted"),
        (pad_with_zero, "use pad_id"),
        (pad_bool, "True and False"),
        (pad_float, "dtype is wrong"),
        (pad_ids_only, "Return 2 values"),
        (pad_cut, "cut to the shortest"),
        (pad_in_the_caller_s_lists, "in place"),
        (pad_mask_too_long, "one too long"),
        (pad_mask_of_padding, "holds pad_id"),
        (pad_sorted, "wrong order"),
    ],
    "03.3": [
        (mean_unmasked, "not masked"),
        (mean_padding_counted, "still counted"),
        (mean_nan_row, "divides 0 by 0"),
        (mean_detached, "no gradient"),
        (mean_inverted, "upside down"),
        (mean_batch_count, "whole batch"),
        (mean_plus_one, "One is added"),
        (lambda states, mask: mean_by_einsum(states[:, 1:], mask[:, 1:]), "first token is left out"),
        (mean_over_hidden, "shape is wrong"),
    ],
    "03.4": [
        (split_rows, "both sides"),
        (split_assumes_numbers, "do not assume"),
        (split_masks, "two int64 tensors"),
        (split_lists, "two int64 tensors"),
        (split_swapped, "wrong order"),
        (split_no_shuffle, "seed changes nothing"),
        (split_unseeded, "different splits"),
        (split_rounds_down, "round the number of test groups down"),
        (split_rounds_up, "round the number of test groups up"),
        (split_without_a_floor, "test part is empty"),
        (split_a_share_of_the_rows, "share of the rows, counted in groups"),
        (split_by_a_set, "set(groups)"),
        (split_from_zero, "hangs on the seed"),
        (split_positions, "or is 0"),
        (split_by_rows_of_groups, "number of groups in the test part"),
    ],
    "03.5": [
        (leak_with(lambda s, n, t: (t / n) ** (s - 1)), "with replacement"),
        (leak_with(lambda s, n, t: math.prod((t - k) / (n - k) for k in range(s - 1))), "a place already"),
        (leak_with(lambda s, n, t: 1 - math.prod((t - k) / (n - k) for k in range(1, s))),
         "does not leak"),
        (leak_with(lambda s, n, t: ((t - 1) / (n - 1)) ** (s - 1)), "each further one has one less"),
        (leak_with(lambda s, n, t: (t - 1) / (n - 1) if s > 1 else 1), "a single mate"),
        (leak_by_groups, "Every group counts alike"),
        (lambda sizes, t: leak_by_rows(sizes, t) * t, "not their number"),
        (lambda sizes, t: leak_by_rows(sizes, t).item(), "tensor"),
    ],
}
