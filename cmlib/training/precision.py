"""In which number format to multiply, and why: bfloat16, float16 with a loss scale, or float32."""

from __future__ import annotations

import difflib
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

NAMES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """name : "fp32", "bf16" or "fp16"; device : "cpu", "cuda" or "mps"; because : the reason, one clause.

    Weights, gradients and optimiser stay float32; only products are computed in the short format
    (Micikevicius et al. 2018).
    scaler : multiplies the loss before the backward pass, so that small float16 gradients do not become 0; a
        step whose gradients overflow is skipped and the scale halved. It does nothing for the other two
        formats.
    """

    name: str
    device: str
    because: str
    scaler: torch.amp.GradScaler = field(default=None, repr=False)

    def __post_init__(self):
        if self.scaler is None:
            object.__setattr__(self, "scaler", torch.amp.GradScaler(self.device, enabled=self.name == "fp16"))

    @property
    def dtype(self) -> torch.dtype:
        return NAMES[self.name]

    def autocast(self):
        """Context manager for the forward pass (never for the backward pass: that follows the forward's
        formats).
        """
        if self.name != "fp32":
            return torch.autocast(self.device, self.dtype)
        # An autocast that somebody has put around us is not meant for this. Entering one for nothing costs 3
        # µs a step.
        around = torch.is_autocast_enabled(self.device)
        return torch.autocast(self.device, enabled=False) if around else nullcontext()

    def whole(self, logits: torch.Tensor) -> torch.Tensor:
        """Half-precision logits as float32: a logarithm of probabilities needs the digits. Others
        unchanged.
        """
        return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits

    def __str__(self):
        return f"{self.name} on {self.device}: {self.because}"


def choose(name: str | Precision = "auto", device: torch.device | str = "cpu") -> Precision:
    """The precision of that name on that device; "auto" is bf16 on Ampere and later, fp16 on older GPUs, fp32
    elsewhere.
    """
    if isinstance(name, Precision):
        return name
    kind = torch.device(device).type
    if name not in ("auto", *NAMES):
        near = difflib.get_close_matches(str(name), ("auto", *NAMES), 1, 0)[0]
        raise ValueError(f"There is no precision {name!r}; did you mean {near!r}? Known: auto, "
                         f"{', '.join(NAMES)}.")
    if kind == "cuda" and name in ("auto", "bf16"):
        major, minor = torch.cuda.get_device_capability(device)
        if major >= 8:
            return Precision("bf16", kind, "this GPU has bfloat16, whose range is float32's: no loss scale "
                                           "needed")
        if name == "bf16":
            raise ValueError(f"This GPU (compute capability {major}.{minor}) has no bfloat16: use "
                             "precision='fp16'.")
        return Precision("fp16", kind, "this GPU has no bfloat16; float16 needs a loss scale, or small "
                                       "gradients become 0")
    if name == "auto":
        return Precision("fp32", kind, "without CUDA small models gain little from short formats; ask for "
                                       "bf16 if it pays")
    return Precision(name, kind, "asked for")
