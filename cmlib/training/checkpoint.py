"""Checkpoints: a run that is killed at any moment goes on from its last one as if nothing had happened.

A checkpoint is a folder ``step-00000120`` with tensors.safetensors and manifest.json. It is written under
another name, flushed to the disk, and renamed: a name that can be seen is a checkpoint that is whole. The one
before is deleted only then.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from torch import nn

from cmlib.data.files import sha256

FORMAT = 1


def save(folder: str | Path, step: int, tensors: dict[str, torch.Tensor], facts: dict) -> Path:
    """Write the checkpoint of a step, a new one; OSError, with the older ones untouched, if the disk does not
    take it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = Path(folder)
    final, writing = folder / f"step-{step:08d}", folder / f".writing-{os.getpid()}"
    if final.exists():  # replacing it would leave a moment without either
        raise FileExistsError(
            f"There is a checkpoint of step {step} in {folder} already: use another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".writing-*"):  # of a process that was killed while it wrote
            shutil.rmtree(left)
        writing.mkdir()
        path = writing / "tensors.safetensors"
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path
        )
        manifest = {
            "format": FORMAT,
            "step": step,
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        } | facts
        (writing / "manifest.json").write_text(json.dumps(manifest, indent=1))
        for file in writing.iterdir():
            _flush(file)
        writing.rename(final)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(writing, ignore_errors=True)
        kept = latest(folder)
        raise OSError(f"The checkpoint of step {step} could not be written to {folder} "
                      f"({getattr(error, 'strerror', None) or error}): "
                      f"free some space, or choose another folder; {kept.name if kept else 'no checkpoint'} "
                      "is still there."
                      ) from None
    for old in sorted(folder.glob("step-*")):
        if old != final:
            shutil.rmtree(old)
    return final


def latest(folder: str | Path) -> Path | None:
    """The checkpoint with the most steps, None if there is none."""
    return max((path for path in Path(folder).glob("step-*") if path.is_dir()), default=None)


def load(folder: str | Path, model: nn.Module) -> tuple[dict[str, torch.Tensor], dict] | None:
    """Tensors and facts of the newest checkpoint, None if there is none; ValueError if it is damaged or of
    another model.
    """
    from safetensors.torch import load_file

    path = latest(folder)
    if path is None:
        return None
    mend = "delete this folder to start again, or put back a copy"
    try:
        facts = json.loads((path / "manifest.json").read_text())
        file = path / "tensors.safetensors"
        found, expected, digest = file.stat().st_size, facts["bytes"], facts["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"The checkpoint {path} has no tensors, or no manifest that can be read: {mend}."
        ) from None
    if facts.get("format") != FORMAT:
        raise ValueError(f"The checkpoint {path} has format {facts.get('format')!r}; this version reads "
                         f"{FORMAT}.")
    if found != expected:
        raise ValueError(f"The checkpoint {path} is cut: its tensors have {found:,} of {expected:,} bytes: "
                         f"{mend}.")
    if (real := sha256(file)) != digest:
        raise ValueError(f"The checkpoint {path} is damaged: its tensors have SHA-256 {real[:12]}… instead "
                         f"of {digest[:12]}…: {mend}.")
    tensors = load_file(file)
    if facts["architecture"] != architecture(model):
        raise ValueError(f"The checkpoint {path} belongs to another architecture: "
                         f"{_difference(tensors, model)}; use another folder.")
    return tensors, facts


def architecture(model: nn.Module) -> str:
    """A fingerprint of the names, shapes and formats of everything a model stores."""
    parts = [f"{name} {tuple(t.shape)} {t.dtype}" for name, t in sorted(model.state_dict().items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def put(tensors: dict[str, torch.Tensor], prefix: str, state: dict) -> None:
    """Add the tensors of a state under ``prefix/name``."""
    tensors.update({f"{prefix}/{name}": tensor for name, tensor in state.items()})


def take(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The state that ``put`` has added under that prefix."""
    return {
        name.removeprefix(prefix + "/"): t for name, t in tensors.items() if name.startswith(prefix + "/")
    }


def _difference(tensors, model):
    saved, here = take(tensors, "model"), model.state_dict()
    for name, tensor in here.items():
        if name not in saved:
            return f"it has no tensor {name!r}"
        if (saved[name].shape, saved[name].dtype) != (tensor.shape, tensor.dtype):
            return (f"{name!r} is {saved[name].dtype} {tuple(saved[name].shape)} there and {tensor.dtype} "
                    f"{tuple(tensor.shape)} "
                    "in this model")
    return f"this model has no tensor {next((name for name in saved if name not in here), '?')!r}"


def _flush(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
