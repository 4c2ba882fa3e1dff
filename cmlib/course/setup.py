"""Where a lesson runs: small on a CPU, full on a GPU; decided once, with the reason printed."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

SCALES = {
    "small": "64-pixel pictures and the course's own mini encoders",
    "full": "bert-base-uncased and resnet50",
}


@dataclass(frozen=True)
class Scale:
    """What ``setup`` chose.

    name : "small" or "full"; device : "cpu", "cuda", "cuda:1" or "mps", where every model of cmlib is made
    precision : "fp32", "bf16" or "fp16", as ``fit`` takes it
    text_encoder, image_encoder : names that fit ``text_encoder`` and ``image_encoder``
    """

    name: str
    device: str
    precision: str
    seed: int
    text_encoder: str
    image_encoder: str

    def claim(self, words: str, holds) -> None:
        """Print a claim and whether it holds; AssertionError where it does not, at small scale: with encoders
        that the lesson was not written with, a false claim is a finding.
        """
        print(f"{words}: {bool(holds)}")
        assert holds or self.name == "full", words

    @property
    def dtype(self) -> str:
        """``precision`` under the name of version 0.1."""
        return self.precision


def setup(
    lesson: str,
    scale: str | None = None,
    seed: int = 0,
    device: str | None = None,
    full: str | None = None,
) -> Scale:
    """Seed everything; choose scale, device and precision, print the choice with its reason, and make the
    device the home of all models (``cmlib.data.device``).

    lesson : its number, "02"
    scale : "small", "full", or None: ``CMLIB_SCALE``, else full exactly where there is a GPU; a lesson
        without a full part stays small and on the CPU
    device : "cpu", "cuda", "cuda:1", "mps", or None: the GPU at full scale if there is one. ValueError if it
        is not there.
    full : what the full scale changes in this lesson, one clause for the reader; None: it has no full part
    Under torchrun each process gets the GPU of its own number (LOCAL_RANK), and only the first one prints.
    """
    import torch

    from cmlib.course import plots
    from cmlib.data.device import set_home
    from cmlib.training.precision import choose

    gpu = torch.cuda.is_available() if device is None else _is_gpu(torch, device)
    more = full is not None or device is not None or "LOCAL_RANK" in os.environ
    wanted = _scale(scale, gpu, more)
    device = device or ("cuda" if gpu and wanted == "full" else "cpu")
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = _own_gpu(torch, int(os.environ["LOCAL_RANK"]))
    precision = choose("auto", device)
    set_home(device)
    torch.manual_seed(seed)
    if device == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    plots.style()
    if os.environ.get("RANK", "0") == "0":
        versions = f"Python {platform.python_version()}, torch {torch.__version__}"
        print(f"lesson {lesson}: {versions}; seed {seed}")
        print(f"scale {wanted}: {SCALES[wanted]}")
        print(_about_full(wanted, full))
        print(f"device {device}, {precision.name}: {precision.because}")
    names = ("mini", "mini") if wanted == "small" else ("bert-base-uncased", "resnet50")
    return Scale(wanted, device, precision.name, seed, *names)


def _scale(said: str | None, gpu: bool, more: bool) -> str:
    """What the call says; else what the environment or the machine says, where there is more than small."""
    of_machine = os.environ.get("CMLIB_SCALE") or ("full" if gpu else "small")
    wanted = said or of_machine
    if wanted not in SCALES:
        raise ValueError(f'The scale is "small" or "full"; got {wanted!r} (from '
                         f'{"setup" if said else "CMLIB_SCALE"}).')
    return wanted if said or more else "small"


def _about_full(wanted: str, full: str | None) -> str:
    if full is not None:
        return f"full changes here: {full}" if wanted == "full" else f"full, on a GPU, changes: {full}"
    if wanted == "full":
        return "this lesson has no full part: none of its cells was tried at this scale"
    return "this lesson has no full part: small models need no GPU"


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
                         'device="cpu", or (in Colab) choose a GPU in Runtime → Change runtime type.')
    return kind != "cpu"


def _own_gpu(torch, local: int) -> str:
    """The GPU of a process under torchrun, and from now on what "cuda" means in it."""
    if local >= (there := torch.cuda.device_count()):
        raise ValueError(f"torchrun has started a process number {local} on this machine, which has {there} "
                         "GPUs, and each process "
                         f'needs its own: torchrun --nproc-per-node {there}, or device="cpu".')
    torch.cuda.set_device(local)
    return f"cuda:{local}"
