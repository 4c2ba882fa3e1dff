"""Right and wrong answers to lesson 06, as learners write them."""

import torch
from torch import nn
from torch.nn import functional as F


def joint_by_loop(feature_map, token_states, attention_mask):
    rows = []
    for image, states, mask in zip(feature_map, token_states, attention_mask, strict=True):
        rows.append(torch.cat([image.flatten(1).mean(1), states[mask.bool()].mean(0)]))
    return torch.stack(rows)


def joint_by_einsum(feature_map, token_states, attention_mask):
    weight = attention_mask / attention_mask.sum(1, keepdim=True)
    words = torch.einsum("bt,bth->bh", weight.to(token_states), token_states)
    return torch.cat((F.adaptive_avg_pool2d(feature_map, 1).flatten(1), words), dim=-1)


def joint_unmasked(feature_map, token_states, attention_mask):
    return torch.cat([feature_map.mean((-1, -2)), token_states.mean(dim=1)], 1)


def joint_padded_length(feature_map, token_states, attention_mask):
    words = (token_states * attention_mask.unsqueeze(-1)).mean(1)
    return torch.cat([feature_map.mean((2, 3)), words], dim=1)


def joint_swapped(feature_map, token_states, attention_mask):
    half = feature_map.shape[1]
    both = joint_by_einsum(feature_map, token_states, attention_mask)
    return torch.cat([both[:, half:], both[:, :half]], 1)


def joint_max(feature_map, token_states, attention_mask):
    both = joint_by_einsum(feature_map, token_states, attention_mask)
    return torch.cat([feature_map.flatten(2).max(2).values, both[:, feature_map.shape[1]:]], 1)


def joint_published(feature_map, token_states, attention_mask):
    return torch.cat([feature_map.mean((2, 3)), token_states], dim=1)


def ceilings_by_loop(table):
    labels, pictures, words = table.shape
    image = sum(max(table[y, a, :].sum() for y in range(labels)) for a in range(pictures))
    text = sum(max(table[y, :, b].sum() for y in range(labels)) for b in range(words))
    both = sum(max(table[y, a, b] for y in range(labels)) for a in range(pictures) for b in range(words))
    return image, text, both


def ceilings_by_einsum(table):
    marginals = torch.einsum("yab->ya", table), torch.einsum("yab->yb", table), table.flatten(1)
    return [m.max(dim=0).values.sum() for m in marginals]


def head_by_layers(image, text, W1, b1, W2, b2):
    f = torch.cat([F.layer_norm(image, (image.shape[1],)), F.layer_norm(text, (text.shape[1],))], dim=1)
    return F.linear(F.gelu(F.linear(f, W1, b1)), W2, b2)


def head_by_hand(image, text, W1, b1, W2, b2):
    def unit(x):
        return (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    hidden = torch.hstack([unit(image), unit(text)]) @ W1.t() + b1
    return nn.GELU()(hidden) @ W2.t() + b2


def head_raw(image, text, W1, b1, W2, b2):
    return F.linear(F.gelu(F.linear(torch.cat([image, text], 1), W1, b1)), W2, b2)


def head_late_norm(image, text, W1, b1, W2, b2):
    f = torch.cat([image, text], 1)
    return F.linear(F.gelu(F.linear(F.layer_norm(f, (f.shape[1],)), W1, b1)), W2, b2)


def head_linear(image, text, W1, b1, W2, b2):
    f = torch.cat([F.layer_norm(x, (x.shape[1],)) for x in (image, text)], 1)
    return F.linear(F.linear(f, W1, b1), W2, b2)


def head_relu(image, text, W1, b1, W2, b2):
    f = torch.cat([F.layer_norm(x, (x.shape[1],)) for x in (image, text)], 1)
    return F.linear(F.relu(F.linear(f, W1, b1)), W2, b2)


def groups_by_loop(right, group, n_groups):
    return torch.stack([right[group == k].double().mean() for k in range(n_groups)])


def groups_by_one_hot(right, group, n_groups):
    members = F.one_hot(group, n_groups).double()
    return (members * right.double()[:, None]).sum(0) / members.sum(0)


RIGHT = {"06.1": [joint_by_loop, joint_by_einsum], "06.2": [ceilings_by_loop, ceilings_by_einsum],
         "06.3": [head_by_layers, head_by_hand], "06.4": [groups_by_loop, groups_by_one_hot]}
WRONG = {
    "06.1": [
        (joint_unmasked, "not masked"),
        (joint_padded_length, "padded length"),
        (joint_swapped, "wrong order"),
        (joint_max, "largest value"),
        (joint_published, "raises RuntimeError"),
    ],
    "06.2": [
        (lambda t: (t.sum(1).amax(0).sum(), t.sum(2).amax(0).sum(), t.amax(0).sum()), "order is wrong"),
        (lambda t: (t.amax((0, 2)).sum(), t.amax((0, 1)).sum(), t.amax(0).sum()), "before summing out"),
        (
            lambda t: tuple(
                x / n
                for x, n in zip(ceilings_by_loop(t), (t.shape[1], t.shape[2], t[0].numel()), strict=True)
            ),
            "average over",
        ),
        (lambda t: t.sum(2).amax(0).sum(), "Return 3 values"),
    ],
    "06.3": [
        (head_raw, "not normalised"),
        (head_late_norm, "after concatenating"),
        (head_linear, "non-linearity"),
        (head_relu, "ReLU"),
        (
            lambda image, text, W1, b1, W2, b2: head_by_layers(image.detach(), text, W1, b1, W2, b2),
            "gradient with respect to image",
        ),
    ],
    "06.4": [
        (lambda r, g, n: groups_by_loop(r, g, n).nan_to_num(), "empty group"),
        (lambda r, g, n: torch.bincount(g, r.double(), n), "count the right"),
        (lambda r, g, n: torch.bincount(g, r.double(), n) / len(r), "all rows"),
        (lambda r, g, n: torch.bincount(g, r.double(), n) / r.sum(), "share of the right"),
    ],
}
