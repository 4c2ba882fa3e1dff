"""Weights on disk: safetensors only, checked against the hash on their card before they are believed."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

from torch import nn

from cmlib.data.files import sha256

DATA = Path(__file__).parents[2] / "data"


def load_shipped(module: nn.Module, name: str) -> nn.Module:
    """Load ``data/<name>.safetensors`` if its SHA-256 is the one in ``data/weights.json``."""
    path, card = DATA / f"{name}.safetensors", DATA / "weights.json"
    if not path.is_file() or not card.is_file():
        raise FileNotFoundError(f"The shipped weights {path.name} are not in {DATA}: run `make weights`, or "
                                "clone the course whole instead of installing the package alone.")
    expected = json.loads(card.read_text())[path.name]["sha256"]
    if (found := sha256(path)) != expected:
        raise ValueError(
            f"{path} has SHA-256 {found[:12]}… instead of {expected[:12]}…: it is damaged or was changed; "
            f"restore it with `git checkout data/{path.name}` or rebuild it with `make weights`."
        )
    return load(module, path)


def load(module: nn.Module, path: str | Path) -> nn.Module:
    """Copy a safetensors file into a module; names and shapes must agree exactly."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file {path}.")
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file ({error}).") from None
    expected = module.state_dict()
    for name, tensor in expected.items():
        if name not in found:
            raise ValueError(f"{path} belongs to another architecture: it has no tensor {name!r} "
                             f"{tuple(tensor.shape)}.")
        if found[name].shape != tensor.shape:
            raise ValueError(f"{path} belongs to another architecture: {name!r} is "
                             f"{tuple(found[name].shape)} there and {tuple(tensor.shape)} in this model.")
    if extra := [name for name in found if name not in expected]:
        raise ValueError(f"{path} belongs to another architecture: this model has no tensor {extra[0]!r}.")
    module.load_state_dict(found)
    return module


def unknown(kind: str, name: str, known) -> ValueError:
    """The error for a name that nothing answers to, with the nearest one that something does."""
    near = difflib.get_close_matches(str(name), known, 1, 0)
    return ValueError(f"There is no {kind} encoder {name!r}; did you mean {near[0]!r}? Known names: "
                      f"{', '.join(known)}.")
