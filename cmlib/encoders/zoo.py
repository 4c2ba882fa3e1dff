"""torchvision's published weights by the names of its enums: fetched once, checked by hash, read without
running code.
"""

from __future__ import annotations

import http.client
import pickle
import socket
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import nn

from cmlib.data.files import disk_is_full, sha256

TIMEOUT = 30.0  # seconds without one byte


def entry(name: str, weights):
    """The member of torchvision's enum for the model ``name``: "IMAGENET1K_V2",
    "ResNet50_Weights.IMAGENET1K_V2" or itself.
    """
    from torchvision import models

    enum = models.get_model_weights(name)
    member = enum.__members__.get(str(weights).removeprefix(f"{enum.__name__}."))
    if member is None:
        raise ValueError(f"torchvision has no weights {str(weights)!r} for {name!r}; it has "
                         f"{', '.join(enum.__members__)}, and pretrained=False gives fresh ones.")
    return member


def load(model: nn.Module, name: str, member) -> nn.Module:
    """Copy the weights of an enum's member into the model; from torchvision's cache if they are there, else
    from its server.

    The file's name ends in the first digits of its SHA-256, which are compared each time. Only tensors are
    unpickled (``weights_only=True``; torchvision itself would run whatever a .pth file tells it to).
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(member.url).path).name
    cached = path.exists()
    try:
        if cached and not sha256(path).startswith(path.stem.rpartition("-")[2]):
            raise RuntimeError("invalid hash value")
        with _patience(TIMEOUT):
            tensors = member.get_state_dict(check_hash=True, weights_only=True, map_location="cpu")
        model.load_state_dict(tensors)
    except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, AttributeError) as error:
        if not cached and "invalid hash" in str(error):
            raise ValueError(f"What {urlsplit(member.url).hostname} gave as the weights of {name!r} is torn "
                             "or was changed on its way, and was not kept: call again (a login page of your "
                             "network may have answered instead).") from None
        raise ValueError(f"The weights of {name!r} in {path} are damaged or belong to another architecture: "
                         "delete that file, if it is there, and call again.") from None
    except (OSError, http.client.HTTPException) as error:  # urllib's URLError and HTTPError are OSErrors
        if disk_is_full(error):
            raise OSError(f"The disk under {torch.hub.get_dir()} is full: free some space for the weights of "
                          f"{name!r}, or set TORCH_HOME to a folder on another disk.") from None
        raise ConnectionError(f"The weights of {name!r} are not on this computer and cannot be fetched: "
                              "connect once, use "
                              "pretrained=False, or 'mini', which is shipped with the course.") from None
    return model


@contextmanager
def _patience(seconds: float):
    """torch.hub waits for ever on a server that has stopped sending; Python's default for new connections is
    the only handle.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
