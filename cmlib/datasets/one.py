"""pair(picture, text): one new row, as a model is asked about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cmlib.data.pairs import Pairs, describe

from .decoding import FROM_CSV, locate
from .folders import folder
from .pictures import fit, on_white, quiet, read_picture, require_size
from .table import TEXTS, is_frame
from .wording import plain, sentence


def pair(picture=None, text: str | None = None, *, size: int = 64) -> Pairs:
    """Pairs of one unlabelled row. picture : a path, a PIL image, or uint8 (3, height, width); or None.

    Read as ``folder`` reads them: upright, on white, whole. Errors: ValueError or TypeError, one sentence.
    """
    require_size(size)
    if text is not None and not isinstance(text, str):
        raise TypeError(f"The text must be one string; got {describe(text)}. Are picture and text swapped?")
    if text is not None and not plain(text):
        raise ValueError(f"The text is {text!r}, in which there is nothing to read: write one, or give None.")
    images = None if picture is None else torch.from_numpy(_pixels(picture, size)[None].copy())
    return Pairs(images, None if text is None else [text])


def as_pairs(data, size: int = 64):
    """What ``predict`` is given, as data: (picture, text) and the path of a table or a DataFrame without
    labels become Pairs; everything else stays itself.
    """
    if isinstance(data, tuple):
        return pair(*data, size=size)
    if is_frame(data):
        return folder(data, label=None, size=size, root=".")
    if isinstance(data, str | Path):
        if Path(data).suffix.lower() not in TEXTS:
            raise ValueError(f"predict reads the path of a table (CSV, JSON lines); {str(data)[:60]!r} is "
                             "none: one picture and its text are predict(model, (picture, text)).")
        return folder(data, label=None, size=size)
    return data


def _pixels(picture, size: int) -> np.ndarray:
    if isinstance(picture, torch.Tensor | np.ndarray):
        pixels = torch.as_tensor(picture)
        if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3:
            raise TypeError(f"A picture must be uint8 (3, height, width); got {describe(pixels)}.")
        picture = Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
    elif isinstance(picture, Image.Image):
        picture = on_white(picture)
    elif isinstance(picture, str | Path):
        path = Path(picture).expanduser()
        try:
            with quiet():
                picture = read_picture(locate(path.parent, path.name))
        except ValueError as error:
            said = str(error).replace(FROM_CSV, ": give its path, seen from the folder this notebook runs in")
            raise ValueError(sentence(f"The picture {path} {said}")) from None
    else:
        raise TypeError(f"A picture must be a path, a PIL image or a uint8 tensor; got {describe(picture)}.")
    return fit(picture, size).transpose(2, 0, 1)
