"""Where a lesson runs: small on a CPU, full on a GPU; decided once, with the reason printed."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """name : "small" or "full"; device : "cpu", "cuda" or "mps"; the encoders' names fit
    ``text_encoder``/``image_encoder``.
    """

    name: str
    device: str
    dtype: str
    seed: int
    text_encoder: str
    image_encoder: str


def setup(lesson: str, scale: str | None = None, seed: int = 0, device: str | None = None) -> Scale:
    """Seed everything, choose device, precision and encoders, and print the choice with its reason.

    lesson : its number, "02"; scale : "small", "full" or None (``CMLIB_SCALE``, else full exactly when there
        is a GPU).
    device : "cpu", "cuda", "cuda:1", "mps", or None: the GPU at full scale if there is one. ValueError if it
        is not there.
    Under torchrun each process gets the GPU of its own number (LOCAL_RANK), and only the first one prints.
    """
    import torch

    from cmlib.course import plots

    gpu = torch.cuda.is_available() if device is None else _is_gpu(torch, device)
    wanted = scale or os.environ.get("CMLIB_SCALE") or ("full" if gpu else "small")
    if wanted not in ("small", "full"):
        raise ValueError(f'The scale is "small" or "full"; got {wanted!r} (from '
                         f'{"setup" if scale else "CMLIB_SCALE"}).')
    device = device or ("cuda" if gpu and wanted == "full" else "cpu")
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = _own_gpu(torch, int(os.environ["LOCAL_RANK"]))
    dtype, because = _precision(torch, device)
    torch.manual_seed(seed)
    if device == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    plots.style()
    if os.environ.get("RANK", "0") == "0":
        print(f"lesson {lesson}: Python {platform.python_version()}, torch {torch.__version__}")
        print(
            f"scale {wanted}: "
            + (
                "64-pixel pictures and the course's own mini encoders"
                if wanted == "small"
                else "bert-base-uncased and resnet50"
            )
        )
        print(f"device {device}, {dtype}: {because}; seed {seed}")
    mini = wanted == "small"
    return Scale(
        wanted, device, dtype, seed, "mini" if mini else "bert-base-uncased", "mini" if mini else "resnet50"
    )


def _is_gpu(torch, device: str) -> bool:
    """Whether the device that was asked for is a GPU; an error if it is not in this computer, never another
    in its place.
    """
    kind, _, number = str(device).partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ValueError(f'The device is "cpu", "cuda", "cuda:1" (the second GPU) or "mps"; got {device!r}.')
    found = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(number or 0) >= found:
        there = (
            f"the {found} GPUs here begin at cuda:0"
            if found
            else "this PyTorch was built without CUDA"
            if kind == "cuda" and torch.version.cuda is None
            else "PyTorch finds no such GPU here"
        )
        raise ValueError(f'The device {device!r} was asked for and {there}: leave device out, say '
                         'device="cpu", or (in Colab) choose a '
                         "GPU in Runtime → Change runtime type.")
    return kind != "cpu"


def _own_gpu(torch, local: int) -> str:
    """The GPU of a process under torchrun, and from now on what "cuda" means in it."""
    if local >= (there := torch.cuda.device_count()):
        raise ValueError(f"torchrun has started a process number {local} on this machine, which has {there} "
                         "GPUs, and each process "
                         f'needs its own: torchrun --nproc-per-node {there}, or device="cpu".')
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def _precision(torch, device: str) -> tuple[str, str]:
    if device == "cpu":
        return "float32", "a CPU trains small models fastest in float32"
    if device == "mps":
        return "float32", "every operation exists in float32 on an Apple GPU"
    if torch.cuda.get_device_capability(device)[0] >= 8:
        return "bfloat16", "this GPU has bfloat16, whose range is float32's: no loss scaling needed"
    return "float16", "this GPU has no bfloat16; float16 needs a gradient scaler"
