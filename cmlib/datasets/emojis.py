"""emoji(split): 1,900 real pictures (Noto, 72 px), their real names in words, nine Unicode categories."""

from __future__ import annotations

import io
import json
import textwrap
import unicodedata
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cmlib.data.pairs import Pairs

from .archive import VerifiedZip, load_manifest
from .fetching import fetch
from .pictures import fit, on_white, require_size
from .sources import SOURCES
from .splits import SPLITS, grouped_split

ATTRIBUTION = SOURCES["noto-emoji"].attribution
NAMES, FOLDER = "emoji_15_1.json", "noto-emoji-72x72-color"
_shown = False

_JOINER, _PERSON, _FAMILY = "200d", "1f9d1", "1f46a"
# man, woman, person, and the blond and the bearded one
_ADULTS = {"1f468", "1f469", "1f9d1", "1f471", "1f9d4"}
_CHILDREN = {"1f466", "1f467", "1f9d2"}
# Everything that a sequence adds to turn one emoji into another look of itself: skin, gender, hair, facing
# right.
_MODIFIERS = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff", "2640", "2642", "1f9b0", "1f9b1", "1f9b2", "1f9b3",
              "27a1"}
# kiss, couple with heart, holding hands
_COUPLES = {"1f48b": "1f48f", "2764": "1f491", "1f91d": "1f9d1_1f91d_1f9d1"}
_SAME = {  # variants with a code of their own -> the emoji whose variant they are
    **dict.fromkeys(_CHILDREN, "1f9d2"),
    **dict.fromkeys(("1f46b", "1f46c", "1f46d"), _COUPLES["1f91d"]),
    "1f474": "1f9d3", "1f475": "1f9d3", "1f478": "1f934", "1f57a": "1f483",  # old, princess, man dancing
    "1f936": "1f385", "1f9d1_1f384": "1f385", "1f930": "1fac4", "1fac3": "1fac4",  # Santa and the pregnant
    # Territories that fly another flag: the two pictures are equal, pixel by pixel.
    "1f1ed_1f1f2": "1f1e6_1f1fa", "1f1e7_1f1fb": "1f1f3_1f1f4", "1f1f8_1f1ef": "1f1f3_1f1f4",
    "1f1e8_1f1f5": "1f1eb_1f1f7", "1f1f2_1f1eb": "1f1eb_1f1f7", "1f1e9_1f1ec": "1f1ee_1f1f4",
    "1f1ea_1f1e6": "1f1ea_1f1f8", "1f1fa_1f1f2": "1f1fa_1f1f8",
}


def emoji(split: str = "train", seed: int = 0, size: int = 72, variants: bool = False) -> Pairs:
    """One split ("train", "valid", "test" or "all") of the emoji: 70 / 15 / 15 %, class by class, fixed by
    the seed.

    images (rows, 3, size, size), on white; texts: the English name, lower case, straight quotes; labels: the
    Unicode category; extras, lists of strings: "name" (as published), "codepoints" ("1f469_200d_1f373"),
    "group".

    **Groups.** "man cook" and "woman cook" are one picture drawn twice, and a model that has seen one knows
    the other. Skin tones are left out altogether (they have no name of their own); rows that differ in
    gender, age of man or woman, hair, direction, by what a ZWJ sequence adds ("service dog", "heart on
    fire"), the members of a family, or in nothing but the name (the flags of Norway and Bouvet Island) form
    one group, named after the code points of its plainest member, joiners left out. By default only that
    member is kept, so that rows are independent and confidence intervals hold. ``variants=True`` keeps all of
    them, for experiments on leakage: each still lies in the same split as its group. Pictures that are merely
    alike (24 clock faces) are not a group.

    **What a name gives away.** Some words name the class: "flag: norway", "ok button", "grinning face". That
    is no error, it is how the world names things; it is why text alone does well, and the reason to compare
    with it.

    Source: noto-emoji at a fixed commit, every file checked by SHA-256 when read; two names have no picture
    there (keycaps # and *). The licences are shown once. Errors: those of ``fetch``; ValueError for an
    unknown split or size.
    """
    if split not in (*SPLITS, "all"):
        raise ValueError(f'split must be "train", "valid", "test" or "all"; got {split!r}.')
    require_size(size)
    path, manifest = fetch("noto-emoji"), load_manifest(SOURCES["noto-emoji"].manifest)
    with VerifiedZip(path, manifest) as archive:
        rows = _catalogue(archive)
        class_names = tuple(dict.fromkeys(row["category"] for row in rows))
        plain = [row for row in rows if row["plainest"]]
        parts = grouped_split([row["category"] for row in plain], [row["group"] for row in plain], seed=seed)
        home = {
            plain[i]["group"]: name for name, part in zip(SPLITS, parts, strict=True) for i in part.tolist()
        }
        chosen = [row for row in (rows if variants else plain) if split in ("all", home[row["group"]])]
        images = np.stack(
            [_pixels(archive.read(f"{FOLDER}/emoji_u{row['codepoints']}.png"), size) for row in chosen]
        )
    _show_attribution()
    return Pairs(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        [tidy(row["name"]) for row in chosen],
        torch.tensor([class_names.index(row["category"]) for row in chosen]),
        class_names,
        {key: [row[key] for row in chosen] for key in ("group", "codepoints", "name")},
    )


def tidy(name: str) -> str:
    """Lower case, compatibility forms composed (NFKC), straight quotes, single spaces; accents stay."""
    name = unicodedata.normalize("NFKC", name).translate(str.maketrans("‘’“”–—", "''\"\"--"))
    return " ".join(name.lower().split())


def group_of(codepoints: str) -> str:
    """The emoji this one is a variant of, often itself: "1f469_200d_1f373" (woman cook) -> "1f9d1_1f373"
    (cook).
    """
    first, *rest = [code for code in codepoints.split("_") if code != _JOINER]
    codes = [first] + [code for code in rest if code not in _MODIFIERS]
    if sum(code in _ADULTS | _CHILDREN for code in codes) > 1:
        return next((couple for sign, couple in _COUPLES.items() if sign in codes), _FAMILY)
    if first in _ADULTS:
        codes[0] = _PERSON
    elif _JOINER in codepoints.split("_"):  # a service dog is a dog
        codes = [first]
    return _SAME.get("_".join(codes), "_".join(codes))


def _catalogue(archive: VerifiedZip) -> list[dict]:
    """Every named emoji that has a picture, in Unicode's order."""
    rows = []
    for entry in json.loads(archive.read(NAMES)):
        codepoints = _codepoints(entry["emoji"])
        if f"{FOLDER}/emoji_u{codepoints}.png" in archive.manifest:
            group = group_of(codepoints)
            rows.append({
                "name": entry["description"],
                "category": entry["category"],
                "codepoints": codepoints,
                "group": group,
                "plainest": codepoints.replace(f"_{_JOINER}", "") == group,
            })
    return rows


def _codepoints(emoji: str) -> str:
    # fe0f says "in colour, please"; the file names leave it out.
    return "_".join(f"{ord(sign):04x}" for sign in emoji if sign != "\ufe0f")


def _pixels(png: bytes, size: int) -> np.ndarray:
    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        return fit(on_white(picture), size)


def _show_attribution() -> None:
    global _shown
    if not _shown:
        print(textwrap.fill(ATTRIBUTION, 88))
        _shown = True


def build_manifest(zip_path: Path) -> dict:
    """What noto_emoji_sha256.json holds: {folder: {file: SHA-256}} of the names and of every named
    picture.
    """
    import hashlib
    import zipfile

    with zipfile.ZipFile(zip_path) as archive:
        content = {info.filename.partition("/")[2]: archive.read(info) for info in archive.infolist()}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    wanted = sorted(f"emoji_u{_codepoints(entry['emoji'])}.png" for entry in json.loads(content[NAMES]))
    return {"": {NAMES: hashes[NAMES]},
            FOLDER: {name: hashes[f"{FOLDER}/{name}"] for name in wanted if f"{FOLDER}/{name}" in hashes}}
