"""From a picture file to RGB pixels, without surprises: what cannot be converted faithfully is refused."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .sniffing import head_of, link_text, what

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")  # PIL would also start Ghostscript for an EPS
MOST_PIXELS = 64_000_000


def read_picture(path: Path) -> Image.Image:
    """The picture as RGB, upright by its EXIF orientation, transparency on white. ValueError: why not, and
    the mend.

    Grey, palette, CMYK and 16-bit colour are converted (PIL keeps the upper byte, which is the right scale).
    16-bit
    *grey* and float pictures are refused: whether 4000 means black or white depends on where they come from
    (a scanner, a depth camera), and PIL's own conversion would clip everything above 255. Animations are
    refused, except the second view in a phone's JPEG.
    """
    try:
        picture = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:
        raise ValueError(_too_large("far")) from None
    except Exception:  # a broken header can raise anything in PIL's readers
        raise ValueError(_no_picture(path)) from None
    with picture:
        return upright(picture, in_place=True)


def upright(picture: Image.Image, in_place: bool = False) -> Image.Image:
    """What `read_picture` makes of a picture that is open already. in_place : or on a copy"""
    if picture.width * picture.height > MOST_PIXELS:  # known from the header, before anything is unpacked
        raise ValueError(_too_large(f"{picture.width} x {picture.height}, so"))
    if not picture.width * picture.height:
        raise ValueError(f"has no pixels ({picture.width} x {picture.height}); give another")
    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"has 16-bit or float grey values (mode {picture.mode}); choose which range is "
                         "black to white and save it as 8-bit")
    try:
        frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
        if frames == 1:
            turned = ImageOps.exif_transpose(picture, in_place=in_place)
            picture.load()
            return on_white(picture if in_place else turned)
    except Exception:
        raise ValueError("is damaged or cut off; copy or save it again") from None
    raise ValueError(f"has {frames} frames or pages; save the one you mean as PNG")


@contextmanager
def quiet():
    """Without PIL's own warnings, of a decompression bomb, which read_picture refuses, and of a damaged EXIF
    block, which changes no pixel; around threads, since filters are global.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="PIL")
        yield


def on_white(picture: Image.Image) -> Image.Image:
    """RGB, with whatever is transparent laid on white."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return white.convert("RGB")


def fit(picture: Image.Image, size: int) -> np.ndarray:
    """uint8 (size, size, 3): the whole picture, neither cut nor stretched, with white bands where it is not
    square.
    """
    if picture.size != (size, size):
        long = max(picture.size)
        if 2 * size * min(picture.size) < long:  # its short side would be rounded to nothing
            sides = (max(1, round(size * side / long)) for side in picture.size)
            picture = picture.resize(tuple(sides), Image.Resampling.LANCZOS)
        picture = ImageOps.pad(picture, (size, size), Image.Resampling.LANCZOS, color="white")
    return np.asarray(picture)


def require_size(size) -> None:
    if isinstance(size, bool) or not isinstance(size, Integral) or not 8 <= size <= 1024:
        raise ValueError(f"size must be a whole number of pixels from 8 to 1024; got {size!r}.")


def _no_picture(path: Path) -> str:
    """What the file is instead, and the mend."""
    try:
        head = head_of(path)
    except OSError:
        return "cannot be opened: check that you may read it"
    kind, target = what(head), link_text(path, head)
    if kind and kind[1]:
        return f"is {kind[0]}, not a picture that can be read; {kind[1]}"
    if target:
        return f"is a text, {target[:60]!r}, where a link was lost in copying; copy the picture itself here"
    return ("is not a picture that can be read (PNG, JPEG, WebP, BMP, GIF, TIFF or AVIF); save it again as "
            "PNG or JPEG")


def _too_large(how: str) -> str:
    return (
        f"is {how} above {MOST_PIXELS // 10**6} million pixels and refused as a decompression bomb; "
        "save it smaller"
    )
