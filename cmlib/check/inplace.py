"""Whether an answer changed what it was given. It runs inside the box of a grader too."""

from __future__ import annotations

import copy

import torch


def remembered(value):
    """A copy that what happens to ``value`` does not reach; None of what cannot be copied."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, (list, tuple)):
        return [remembered(part) for part in value]
    if isinstance(value, dict):
        return {key: remembered(part) for key, part in value.items()}
    return copy.copy(value) if isinstance(value, set) else value


def is_changed(before, after) -> bool:
    """``before`` : what `remembered` gave. Numbers and texts cannot change; other objects are not looked
    into.
    """
    if isinstance(before, torch.Tensor):
        if not isinstance(after, torch.Tensor):
            return True
        now = after.detach()
        return before.shape != now.shape or not torch.equal(_without_nan(before), _without_nan(now))
    if isinstance(before, (list, dict)) and not hasattr(after, "__len__"):
        return True
    if isinstance(before, list):
        return len(before) != len(after) or any(map(is_changed, before, after))
    if isinstance(before, dict):
        if not isinstance(after, dict) or list(before) != list(after):
            return True
        return any(is_changed(before[key], after[key]) for key in before)
    return before != after if isinstance(before, (set, str, int)) else type(before) is not type(after)


def _without_nan(x):
    return x.nan_to_num() if x.is_floating_point() else x


def spoil(value) -> None:
    """Change a value that can be changed: elsewhere an answer did, and the judge is to see it."""
    if isinstance(value, torch.Tensor):
        with torch.no_grad():
            value.copy_(value == 0)
    elif isinstance(value, list):
        value.append(None)
    elif isinstance(value, (dict, set)):
        value.clear() if value else value.update({None: None} if isinstance(value, dict) else {None})
