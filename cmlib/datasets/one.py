"""pair(picture, text): one new row, as a model is asked about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cmlib.data.pairs import Pairs, describe

from .checking import HALF
from .decoding import ADDRESS, FROM_CSV, locate
from .folders import folder
from .pictures import fit, quiet, read_picture, require_size, upright
from .table import TEXTS, columns_in, is_frame
from .wording import plain, sentence, short


def pair(picture=None, text: str | None = None, *, size: int = 64) -> Pairs:
    """Pairs of one unlabelled row. picture : a path, a PIL image, or uint8 (3, height, width); or None.

    Read as ``folder`` reads them: upright, on white, whole. Errors: ValueError or TypeError, one sentence.
    """
    require_size(size)
    if text is not None and not isinstance(text, str):
        raise TypeError(f"The text must be one string; got {describe(text)}. Are picture and text swapped?")
    if text is not None and (not plain(text) or HALF.search(text)):
        why = "with half of a sign in it" if plain(text) else "in which there is nothing to read"
        raise ValueError(f"The text is {short(text)}, {why}: write one, or give None.")
    images = None if picture is None else torch.from_numpy(_pixels(picture, size)[None].copy())
    return Pairs(images, None if text is None else [text])


def as_pairs(data, size: int = 64):
    """What ``predict`` is given, as data: (picture, text) and the path of a table or a DataFrame without
    labels become Pairs; everything else stays itself. A table without a column "text" or "image" has pictures
    or texts alone.
    """
    if isinstance(data, tuple):
        if len(data) != 2:
            raise TypeError(f"predict reads (picture, text), two values; got {len(data)}: give None for what "
                            "there is not.")
        return pair(*data, size=size)
    if is_frame(data):
        return folder(data, label=None, size=size, root=".", **_columns(data))
    if isinstance(data, str | Path):
        if Path(data).suffix.lower() not in TEXTS:
            raise ValueError(f"predict reads the path of a table (CSV, JSON lines); {str(data)[:60]!r} is "
                             "none: one picture and its text are predict(model, (picture, text)).")
        return folder(data, label=None, size=size, **_columns(data))
    return data


def _columns(source) -> dict[str, None]:
    """The column that is not there, where the other one is."""
    there = {"image", "text"} & set(columns_in(source))
    return {name: None for name in ("image", "text") if there and name not in there}


def _pixels(picture, size: int) -> np.ndarray:
    if isinstance(picture, torch.Tensor | np.ndarray):
        pixels = torch.as_tensor(picture)
        if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3:
            raise TypeError(f"A picture must be uint8 (3, height, width); got {describe(pixels)}.")
        if not pixels.numel():
            raise ValueError(f"The picture has no pixels, {tuple(pixels.shape)}: give another.")
        picture = Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
    elif isinstance(picture, Image.Image):
        try:
            picture = upright(picture)
        except ValueError as error:
            raise ValueError(sentence(f"The picture {error}")) from None
    elif isinstance(picture, str | Path):
        picture = _read(str(picture))
    else:
        raise TypeError(f"A picture must be a path, a PIL image or a uint8 tensor; got {describe(picture)}.")
    return fit(picture, size).transpose(2, 0, 1)


def _read(name: str) -> Image.Image:
    path = Path(name).expanduser()
    if not name.strip() or ADDRESS.match(name) or name.startswith("data:"):
        raise ValueError(f"The picture is {short(name)}, no path of a file: save the picture and give its "
                         "path.")
    try:
        with quiet():
            return read_picture(locate(path.parent, path.name))
    except ValueError as error:
        said = str(error).replace(FROM_CSV, ": give its path, seen from the folder this notebook runs in")
        raise ValueError(sentence(f"The picture {path} {said}")) from None
