"""What differs between an answer and the reference, in words that name the likely slip."""

from __future__ import annotations

import torch


def difference(got, want, rtol, atol) -> str | None:
    """None where ``got`` equals ``want``, else what is wrong; a capital first letter marks a sentence that
    stands alone.
    """
    if isinstance(want, dict):
        if not isinstance(got, dict):
            return f"Return a dict with the keys {', '.join(map(str, want))}; you return a {kind_of(got)}."
        if set(got) != set(want):
            keys, yours = (", ".join(map(str, entries)) for entries in (want, got))
            return f"Return a dict with the keys {keys}; yours has {yours}."
        pairs = [(f"entry {key!r}", got[key], want[key]) for key in want]
    elif isinstance(want, (tuple, list)):
        if not isinstance(got, (tuple, list)):
            return f"Return {len(want)} values as a {type(want).__name__}; you return a {kind_of(got)}."
        if len(got) != len(want):
            return f"it has {len(got)} parts where {len(want)} are wanted."
        pairs = [(f"part {i}", g, w) for i, (g, w) in enumerate(zip(got, want, strict=True))]
    else:
        return _leaf_difference(got, want, rtol, atol)
    for name, g, w in pairs:
        if problem := difference(g, w, rtol, atol):
            return problem if problem[0].isupper() else f"{name}: {problem}"
    return None


def _leaf_difference(got, want, rtol, atol):
    if isinstance(want, str) or want is None or isinstance(want, bool):
        if not isinstance(got, type(want)):
            return f"Return a {kind_of(want)}; you return a {kind_of(got)}."
        return None if got == want else f"{got!r} is not right."
    if isinstance(want, torch.Tensor) and not isinstance(got, torch.Tensor):
        return f"Return a tensor of shape {tuple(want.shape)}; you return a {kind_of(got)}."
    try:
        g, w = torch.as_tensor(got), torch.as_tensor(want)
    except (TypeError, ValueError, RuntimeError):
        return f"Return a {kind_of(want)}; you return a {kind_of(got)}."
    # as a double it would lose its imaginary part
    if g.is_complex() and not isinstance(want, (torch.Tensor, complex)):
        return f"Return a {kind_of(want)}; you return a {kind_of(got)}."
    if g.shape != w.shape:
        if (
            g.ndim == 2
            and g.T.shape == w.shape
            and torch.allclose(g.T.double(), w.double(), rtol=rtol, atol=atol)
        ):
            return f"This is the transpose: your shape is {tuple(g.shape)}, and {tuple(w.shape)} is wanted."
        return f"The shape is wrong: yours is {tuple(g.shape)}, and {tuple(w.shape)} is wanted."
    if isinstance(want, torch.Tensor) and g.dtype != w.dtype:
        return f"The dtype is wrong: yours is {_name(g.dtype)}, and {_name(w.dtype)} is wanted."
    g, w = g.detach().double(), w.detach().double()
    if torch.allclose(g, w, rtol=rtol, atol=atol, equal_nan=True):
        return None
    if not g.isfinite().all() and w.isfinite().all():
        return f"{'nan' if g.isnan().any() else 'inf'} appears in the result."
    return _likely_slip(g, w, rtol, atol)


def _likely_slip(g, w, rtol, atol):
    def same(a, b):
        return torch.allclose(a, b, rtol=rtol, atol=atol)
    if g.ndim == 2 and g.shape[0] == g.shape[1] and same(g.T, w):
        return "This is the transpose of the right result."
    if same(-g, w):
        return "The sign is wrong: every value is the negative of the right one."
    big = w.abs() > 1e-8
    if big.any() and w.isfinite().all() and g.isfinite().all():
        ratio = (g[big] / w[big]).mean()
        if (
            (g.numel() > 1 or _round(ratio) or _round(1 / ratio))
            and ratio.abs() > 1e-6
            and same(g, w * ratio)
        ):
            return f"Every value is {ratio:.4g} times what it should be."
        if g.numel() > 1 and same(g - (g - w).mean(), w):
            return "Every value is off by the same constant."
    return f"it is off by up to {(g - w).abs().max():.3g}."


def _round(ratio) -> bool:
    """One number is always some multiple of another: only a whole one says anything."""
    return bool((ratio - ratio.round()).abs() < 1e-6 * ratio.abs())


def _name(dtype):
    return str(dtype).removeprefix("torch.")


def kind_of(value) -> str:
    if isinstance(value, torch.Tensor):
        return f"{_name(value.dtype)} tensor of shape {tuple(value.shape)}"
    return {"str": "text", "NoneType": "None", "bool": "True or False"}.get(
        type(value).__name__, type(value).__name__
    )
