"""What a file is by its first bytes, whatever its name says: the sentence for what is no table or picture."""

from __future__ import annotations

from pathlib import Path

HEAD = 1024
_PICTURE = "save it as PNG or JPEG"
_TABLE = "save it as CSV, or read it with pandas and pass the DataFrame with root="
KINDS = (  # what a file starts with, what that is, the mend
    (b"version https://git-lfs", "a Git LFS pointer instead of the file itself", "run `git lfs pull`"),
    (b"PAR1", "a parquet file", _TABLE),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)", _TABLE),
    (b"PK\x03\x04", "a zip archive (an Excel workbook is one too)", f"unpack it; of a workbook, {_TABLE}"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it (gunzip)"),
    (b"BZh", "compressed with bzip2", "unpack it (bunzip2)"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it (unxz)"),
    (b"SQLite format 3", "an SQLite database", _TABLE),
    (b"\x89HDF", "an HDF5 file", _TABLE),
    (b"ARROW1", "an Arrow file", _TABLE),
    (b"\x93NUMPY", "a NumPy array", _PICTURE),
    (b"%PDF", "a PDF", "save the page as PNG"),
    (b"%!PS", "PostScript", _PICTURE),
    (b"8BPS", "a Photoshop file", _PICTURE),
    (b"\x89PNG", "a PNG picture", ""),
    (b"\xff\xd8\xff", "a JPEG picture", ""),
    (b"GIF8", "a GIF picture", ""),
)
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF", b"avif": "AVIF"}


def head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def what(head: bytes) -> tuple[str, str] | None:
    """(what it is, the mend) of a file that starts so; None: nothing known."""
    if not head:
        return "empty (0 bytes)", "copy or fetch it again"
    for start, name, mend in KINDS:
        if head.startswith(start):
            return name, mend
    if head[4:8] == b"ftyp":
        brand = _BRANDS.get(head[8:12])
        if brand:
            return f"a {brand} picture", "save it as JPEG or PNG"
        return "a video (MP4)", "save one frame of it as PNG"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML) instead of the file", "open its address in a browser and save the file"
    if b"<svg" in start:
        return "a drawing (SVG)", "save it as PNG"
    return None


def link_text(path: Path, head: bytes) -> str | None:
    """The path that a text file holds where a link should be (git on Windows, a zip that lost its links)."""
    if len(head) > 255 or b"\n" in head.strip() or b"\0" in head:
        return None
    try:
        target = head.decode().strip()
    except UnicodeDecodeError:
        return None
    looks = "/" in target or Path(target).suffix.lower() == path.suffix.lower()
    return target if target and " " not in target and looks else None
