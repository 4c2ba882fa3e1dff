"""emoji, folder and grouped_split: what comes out, what never leaks, and every bad input answered in a
sentence.
"""

import csv
import io
import os
import struct
import unicodedata
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cmlib.datasets import ATTRIBUTION, emoji, emojis, fetch, folder, grouped_split
from cmlib.datasets.archive import load_manifest
from cmlib.datasets.pictures import fit, read_picture

# ------------------------------------------------------------------------------------------------------------
# splits

rows_of_groups = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=80)


@given(rows_of_groups, st.integers(0, 5))
@settings(deadline=None, max_examples=150)
def test_every_row_in_one_split_and_no_group_in_two(rows, seed):
    labels, groups = zip(*rows, strict=True)
    parts = grouped_split(labels, groups, seed=seed)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(rows)))
    homes = defaultdict(set)
    for name, part in enumerate(parts):
        for row in part.tolist():
            homes[groups[row]].add(name)
    assert all(len(home) == 1 for home in homes.values())


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=1, max_size=40), st.integers(0, 5))
@settings(deadline=None, max_examples=100)
def test_no_class_exceeds_its_share_by_a_whole_group(sizes, seed):
    labels = [label for label, size in sizes for _ in range(size)]
    groups = [group for group, (_, size) in enumerate(sizes) for _ in range(size)]
    fractions = (0.6, 0.3, 0.1)
    parts = grouped_split(labels, groups, fractions, seed)
    for label in set(labels):
        largest = max(size for of, size in sizes if of == label)
        for fraction, part in zip(fractions, parts, strict=True):
            rows = sum(labels[row] == label for row in part.tolist())
            assert rows < fraction * labels.count(label) + largest


@given(rows_of_groups, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=100)
def test_the_order_of_the_rows_changes_nothing(rows, random):
    labels, groups = zip(*rows, strict=True)
    order = random.sample(range(len(rows)), len(rows))
    before = [{groups[row] for row in part.tolist()} for part in grouped_split(labels, groups)]
    after = [{groups[order[row]] for row in part.tolist()}
             for part in grouped_split([labels[i] for i in order], [groups[i] for i in order])]
    assert before == after


def test_single_rows_come_out_in_proportion_and_differ_by_seed():
    labels = torch.arange(4).repeat_interleave(100)
    parts = grouped_split(labels)
    assert [labels[part].bincount().tolist() for part in parts] == [[70] * 4, [15] * 4, [15] * 4]
    assert [part.tolist() for part in parts] == [
        part.tolist() for part in grouped_split(labels.tolist(), np.arange(400))]
    assert parts[2].tolist() != grouped_split(labels, seed=1)[2].tolist()


@pytest.mark.parametrize("arguments, said", [
    (([0, 1], [0]), "got 2 labels and 1 groups"),
    (([],), "no rows"),
    (([0, 1], None, (0.5, 0.4)), "sum to 0.9"),
    (([0, 1], None, (1.5, -0.5)), "at least 0"),
    (([0, 1], None, (float("nan"), 1)), "at least 0"),
])
def test_a_split_that_cannot_be_cut(arguments, said):
    with pytest.raises(ValueError, match=said):
        grouped_split(*arguments)


# Emoji


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The emoji, from the mirror; without it a person may go on, but the project's own run may not."""
    if "CMLIB_MIRROR" not in os.environ:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("CMLIB_MIRROR is not set: no real "
                                                                         "files here.")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield fetch("noto-emoji")


@pytest.fixture(scope="module")
def everything(cache):
    return emoji("all", variants=True)


def test_splits_cover_all_and_share_no_group(cache, everything):
    splits = {name: emoji(name, variants=True) for name in emojis.SPLITS}
    groups = {name: set(pairs.extras["group"]) for name, pairs in splits.items()}
    assert sum(map(len, splits.values())) == len(everything) == 1896
    assert sum(map(len, groups.values())) == len(set(everything.extras["group"])) == 1645
    for name, pairs in splits.items():
        plain = emoji(name)
        assert set(plain.extras["group"]) == groups[name] and len(plain) == len(groups[name])
        assert len(plain.labels.unique()) == len(plain.class_names) == 9
        assert len(pairs) >= len(plain)
    assert [len(emoji(name)) for name in emojis.SPLITS] == [1151, 247, 247]


def test_no_picture_is_in_two_groups(everything):
    owners = defaultdict(set)
    for image, group in zip(everything.images, everything.extras["group"], strict=True):
        owners[image.numpy().tobytes()].add(group)
    assert not [groups for groups in owners.values() if len(groups) > 1]


def test_a_group_is_named_after_its_plainest_member(everything):
    members = defaultdict(set)
    for group, codepoints in zip(everything.extras["group"], everything.extras["codepoints"], strict=True):
        members[group].add(codepoints.replace("_200d", ""))
    assert all(group in codes for group, codes in members.items())


@pytest.mark.parametrize(
    "variant, base",
    [
        ("woman cook", "cook"),
        ("man: red hair", "person"),
        ("girl", "child"),
        ("old man", "older person"),
        ("woman running facing right", "person running"),
        ("family: man, girl", "family"),
        ("kiss: man, man", "kiss"),
        ("men holding hands", "people holding hands"),
        ("service dog", "dog"),
        ("pirate flag", "black flag"),
        ("heart on fire", "red heart"),
        ("flag: Bouvet Island", "flag: Norway"),
        ("flag: Clipperton Island", "flag: France"),
    ],
)
def test_variants_share_the_group_of_their_base(everything, variant, base):
    group = dict(zip(everything.extras["name"], everything.extras["group"], strict=True))
    assert group[variant] == group[base]


def test_words_that_only_look_alike_are_not_grouped(everything):
    group = dict(zip(everything.extras["name"], everything.extras["group"], strict=True))
    for one, other in [("cat", "cat face"), ("cook", "teacher"), ("flag: England", "black flag"),
                       ("keycap: 1", "keycap: 2")]:
        assert group[one] != group[other]


def test_skin_tones_belong_to_their_base():
    assert emojis.group_of("1f44b_1f3fd") == emojis.group_of("1f44b") == "1f44b"
    assert emojis.group_of("1f469_1f3ff_200d_1f373") == "1f9d1_1f373"
    assert emojis.group_of("1f9d1_1f3fb_200d_1f91d_200d_1f9d1_1f3ff") == emojis.group_of("1f46d")


def test_texts_are_tidy_and_labels_are_unicode_categories(everything):
    assert everything.class_names == (
        "Smileys & Emotion",
        "People & Body",
        "Animals & Nature",
        "Food & Drink",
        "Travel & Places",
        "Activities",
        "Objects",
        "Symbols",
        "Flags",
    )
    texts = dict(zip(everything.extras["name"], everything.texts, strict=True))
    assert texts["Japanese “free of charge” button"] == 'japanese "free of charge" button'
    assert texts["flag: Côte d’Ivoire"] == "flag: côte d'ivoire"
    for text in everything.texts:
        assert text == text.lower() == unicodedata.normalize("NFKC", text) == " ".join(text.split()) != ""
        assert not set(text) & set("‘’“”–—")
    of = dict(zip(everything.texts, everything.labels.tolist(), strict=True))
    assert everything.class_names[of["otter"]] == "Animals & Nature"


def test_pictures_are_what_an_independent_decoder_makes_of_them(cache, everything):
    import zipfile

    with zipfile.ZipFile(cache) as archive:
        members = {Path(name).stem: name for name in archive.namelist() if "/noto-emoji-72x72-color/" in name}
        for row in range(0, len(everything), 97):
            member = members["emoji_u" + everything.extras["codepoints"][row]]
            with Image.open(io.BytesIO(archive.read(member))) as picture:
                rgba = np.asarray(picture.convert("RGBA")).astype(float)
            alpha = rgba[..., 3:] / 255
            expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
            found = everything.images[row].permute(1, 2, 0).numpy()
            assert np.abs(found - expected).max() <= 1


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(cache):
    one, again, other = emoji("test", size=16), emoji("test", size=16), emoji("test", seed=1, size=16)
    assert one.texts == again.texts != other.texts and torch.equal(one.images, again.images)
    assert one.images.shape[1:] == (3, 16, 16) and Counter(one.labels.tolist()) == Counter(
        other.labels.tolist()
    )


def test_loading_shows_the_licence_once(cache, capsys, monkeypatch):
    monkeypatch.setattr(emojis, "_shown", False)
    emoji("train")
    emoji("test")
    assert (
        "".join(capsys.readouterr().out.split()) == "".join(ATTRIBUTION.split())
        and "Open Font License" in ATTRIBUTION
        and "MIT" in ATTRIBUTION
    )


def test_the_shipped_manifest_is_what_the_archive_gives(cache):
    flat = {f"{where}/{file}".lstrip("/"): sha for where, inside in emojis.build_manifest(cache).items()
            for file, sha in inside.items()}
    assert flat == load_manifest("noto_emoji_sha256.json")


@pytest.mark.parametrize("wrong", [{"split": "validation"}, {"size": 4}, {"size": 64.0}, {"size": True}])
def test_emoji_refuses_unknown_arguments_before_fetching(wrong, monkeypatch):
    monkeypatch.setattr(emojis, "fetch", lambda _: pytest.fail("fetched"))
    with pytest.raises(ValueError, match="must be"):
        emoji(**wrong)


# ------------------------------------------------------------------------------------------------------------
# folder


def png(path, color, size=(20, 20), mode="RGB"):
    Image.new(mode, size, color).save(path)


@pytest.fixture
def own(tmp_path):
    """Twelve good rows, six of each class, each with its own picture; ``own(changes)`` writes the CSV."""
    for i in range(12):
        png(tmp_path / f"{i}.png", (i * 20, 0, 0))
    good = [
        {
            "image": f"{i}.png",
            "text": f"number {i}",
            "label": ("cat", "dog")[i % 2],
            "patient": f"p{i // 4}",
            "part": ("train", "train", "valid", "valid", "test", "test")[i // 2],
        }
        for i in range(12)
    ]

    def write(changes=None, **how):
        rows = [row | (changes or {}).get(i, {}) for i, row in enumerate(good)]
        with open(tmp_path / "own.csv", "w", newline="", encoding=how.pop("encoding", "utf-8")) as file:
            writer = csv.DictWriter(file, list(good[0]), **how)
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / "own.csv"

    write.at = tmp_path
    return write


def refused(path, *said, error=ValueError, **how):
    """The message of the refusal: it holds all of ``said``, shows no other library's error, and ends as a
    sentence.
    """
    with pytest.raises(error) as caught:
        folder(path, **how)
    message = str(caught.value)
    for part in said:
        assert part in message, message
    with pytest.raises(error) as again:
        folder(path, cache=path.parent / "cache", **how)
    assert str(again.value) == message  # the cache changes no sentence
    assert caught.value.__cause__ is None and (
        caught.value.__suppress_context__ or caught.value.__context__ is None
    )
    assert (
        message[-1] in ".?"
        and not message.endswith(("..", "?.", ".?"))
        and ("\n" not in message or "problems" in message)
    ), message
    return message


def test_good_rows_come_back_whole(own):
    pairs = folder(own())
    assert pairs.images.shape == (12, 3, 64, 64) and pairs.class_names == ("cat", "dog")
    assert pairs.texts == [f"number {i}" for i in range(12)] and pairs.labels.tolist() == [0, 1] * 6
    assert pairs.images[5].float().mean((1, 2)).tolist() == [100, 0, 0]
    assert pairs.extras["row"].tolist() == list(range(2, 14)) and pairs.extras["image"][3] == "3.png"


@pytest.mark.parametrize(
    "how",
    [
        {"encoding": "utf-8-sig"},
        {"lineterminator": "\r\n"},
        {"lineterminator": "\r"},
        {"quoting": csv.QUOTE_ALL},
    ],
)
def test_marks_and_line_ends_of_other_systems_are_read(own, how):
    assert folder(own({0: {"text": "größer, 大"}}, **how)).texts[:2] == ["größer, 大", "number 1"]


def test_columns_of_other_names_and_windows_paths(own):
    (own.at / "sub").mkdir()
    png(own.at / "sub" / "a.png", "blue")
    (own.at / "other.csv").write_text("bild,wort,art\n sub\\a.png ,blau,x\n\n0.png,rot,y\n")
    pairs = folder(own.at / "other.csv", "bild", "wort", "art")
    assert pairs.texts == ["blau", "rot"] and pairs.extras["row"].tolist() == [2, 4]


def test_class_names_fix_the_order_and_refuse_others(own):
    assert folder(own(), class_names=("dog", "cat", "cow")).labels.tolist() == [1, 0] * 6
    refused(own({3: {"label": "Dog"}}), 'row 5, column "label"', "'Dog'", "did you mean 'dog'?",
            class_names=("dog", "cat"))


def test_three_splits_keep_patients_and_equal_pictures_together(own):
    path = own({1: {"image": "8.png"}})  # links patient p0 with patient p2
    whole = folder(path, group="patient")
    assert whole.extras["group"].tolist() == [0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0]
    halves = {
        name: folder(path, group="patient", split=name, fractions=(0.6, 0.0, 0.4))
        for name in ("train", "test")
    }
    assert sorted(row for half in halves.values() for row in half.extras["row"].tolist()) == list(
        range(2, 14)
    )
    assert not set(halves["train"].extras["group"].tolist()) & set(halves["test"].extras["group"].tolist())


def test_the_learners_own_split_is_used(own):
    parts = {
        name: folder(own(), split=name, split_column="part").extras["row"].tolist() for name in emojis.SPLITS
    }
    assert parts == {"train": [2, 3, 4, 5], "valid": [6, 7, 8, 9], "test": [10, 11, 12, 13]}


def test_a_leak_between_the_learners_own_splits_is_reported(own):
    Image.open(own.at / "0.png").save(own.at / "copy.bmp")  # another file, the same pixels
    refused(
        own({11: {"image": "copy.bmp"}}),
        "row 13 is in 'test' but shares its picture or group with row 2",
        "leak",
        split_column="part",
        split="test",
    )
    refused(own({11: {"patient": "p0"}}), "row 13 is in 'test'", split_column="part", group="patient")


CSVS = {
    "empty": (b"", ["own.csv is empty", "image,text,label"]),
    "blank": (b"\n\n , \n", ["own.csv is empty"]),
    "header only": (b"image,text,label\n", ["header but no rows"]),
    "missing column": (
        b"image,txet,label\n0.png,a,b\n",
        ["no column 'text', only 'image', 'txet', 'label'; did you mean 'txet'?"],
    ),
    "other case": (b"Image,text,label\n0.png,a,b\n", ["no column 'image'", "did you mean 'Image'"]),
    "no such column": (b"image,text,zzz\n0.png,a,b\n", ["no column 'label'", "only 'image', 'text', 'zzz'"]),
    "twice": (b"image,text,label,text\n0.png,a,b,c\n", ["2 columns named 'text'"]),
    "semicolons": (
        b"image;text;label\n0.png;a;b\n",
        ["because its values are separated by semicolons: save it again with commas."],
    ),
    "tabs": (b"image\ttext\tlabel\n0.png\ta\tb\n", ["tabs"]),
    "latin-1": (
        "image,text,label\n0.png,ok,b\n1.png,größer,b\n".encode("latin-1"),
        ["line 3", "0xf6", "UTF-8"],
    ),
    "utf-16": ("image,text,label\n0.png,a,b\n".encode("utf-16"), ["UTF-16", "UTF-8"]),
    "too many": (b"image,text,label\n0.png,red, and big,b\n", ["row 2", "4 values for 3 columns", "quotes"]),
    "too few": (b"image,text,label\n0.png,a\n", ["row 2", "2 values for 3 columns"]),
    "open quote": (b'image,text,label\n0.png,"a,b\n1.png,b,c\n', ["row 2", "opened and never closed"]),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00", ["is a PNG picture and no table of text"]),
}


@pytest.mark.parametrize("name", CSVS)
def test_a_bad_file_is_answered_in_one_sentence(own, name):
    data, said = CSVS[name]
    (own.at / "own.csv").write_bytes(data)
    assert "\n" not in refused(own.at / "own.csv", "own.csv", *said)


def test_a_missing_file_suggests_the_nearest(own):
    own()
    refused(own.at / "onw.csv", "onw.csv", "did you mean 'own.csv'?", error=FileNotFoundError)
    refused(own.at / "no" / "x.csv", "give the path", error=FileNotFoundError)
    refused(own.at, error=FileNotFoundError)


ROWS = {
    "empty text": ({"text": "  "}, ['row 4, column "text" is empty', "write a text"]),
    "empty label": ({"label": ""}, ['row 4, column "label" is empty']),
    "empty image": ({"image": ""}, ['row 4, column "image" is empty']),
    "missing image": ({"image": "zzzzzz.jpg"}, ['row 4, column "image"', "'zzzzzz.jpg'", "no such file"]),
    "misspelt image": ({"image": "10.pgn"}, ["did you mean '10.png'?"]),
    "a folder": ({"image": "."}, ["no such file"]),
    "outside": ({"image": "../../etc/a.png"}, ["outside the folder", "root="]),
    "absolute": ({"image": "/etc/hostname"}, ["outside the folder"]),
    "not a name": ({"image": "a\0b.png"}, ["no file name"]),
    "too long": ({"image": "a" * 5000}, ["no file name"]),
    "bad split": ({"part": "held out"}, ['column "part"', "'held out'", '"valid"']),
    "empty group": ({"patient": ""}, ['column "patient" is empty']),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_is_named_with_its_mend(own, name):
    change, said = ROWS[name]
    refused(own({2: change}), "own.csv", *said, group="patient", split_column="part")


def test_the_first_five_problems_come_in_one_message(own):
    message = refused(
        own({i: {"text": ""} for i in range(1, 9)} | {2: {"text": "", "image": "no.png"}}), "not loaded"
    )
    assert message.count("\n") == 5 and all(f"row {row}, " in message for row in (3, 4, 5, 6))
    assert "row 7," not in message


def test_a_link_that_leads_out_is_refused_and_a_root_lets_it_in(own, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    png(elsewhere / "x.png", "red")
    (own.at / "link.png").symlink_to(elsewhere / "x.png")
    refused(own({0: {"image": "link.png"}}), "outside the folder")
    (own.at / "other.csv").write_text(f"image,text,label\n{elsewhere / 'x.png'},a,x\nx.png,b,y\n")
    assert len(folder(own.at / "other.csv", root=elsewhere)) == 2


def test_one_class_is_refused(own):
    message = refused(own({i: {"label": "cat"} for i in range(12)}))
    assert message == ("own.csv has only the class 'cat' (12 rows), and with one class there is nothing to "
                       "tell apart: add rows of another class, or name all classes with class_names=.")
    assert folder(own.at / "own.csv", class_names=("cat", "dog")).labels.tolist() == [0] * 12
    refused(own({i: {"label": "cat"} for i in (8, 9, 10, 11)}), "The 'test' split of own.csv has only the "
                                                                "class 'cat'",
            split="test", split_column="part")
    refused(own(), "The 'test' split of own.csv has no rows", split="test", fractions=(0.5, 0.5, 0.0))


def test_wrong_arguments(own):
    refused(own(), 'split must be "train"', split="held out")
    refused(own(), "size must be", size=0)
    refused(own(), "fractions must be three numbers", split="test", fractions=(0.5, 0.5))
    refused(own(), "class_names must be different names", "got 'cat'", class_names="cat")
    refused(own(), "class_names must be different names", class_names=("cat", "dog", "cat"))


# ----------------------------------------------------------------------------------------------------------
# pictures


def save_png(path, width, height, depth, color_type, raw):
    """A PNG written by hand, for the kinds that PIL cannot write."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    head = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def make_good(at, kind):
    """(path, expected RGB of the top left pixel)"""
    path = at / f"{kind}.png"
    if kind == "grey":
        png(path, 77, mode="L")
        return path, (77, 77, 77)
    if kind == "one bit":
        png(path, 1, mode="1")
        return path, (255, 255, 255)
    if kind == "alpha":
        png(path, (255, 0, 0, 0), mode="RGBA")
        return path, (255, 255, 255)
    if kind == "half alpha":
        png(path, (255, 0, 0, 128), mode="RGBA")
        return path, (255, 127, 127)
    if kind == "grey alpha":
        png(path, (0, 0), mode="LA")
        return path, (255, 255, 255)
    if kind == "palette":
        Image.new("RGB", (20, 20), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE).save(path)
        return path, (10, 200, 30)
    if kind == "transparent palette":
        picture = Image.new("RGB", (20, 20), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
        picture.save(path, transparency=0)
        return path, (255, 255, 255)
    if kind == "transparent colour":
        png(path, (9, 9, 9))
        with Image.open(path) as picture:
            picture.save(path, transparency=(9, 9, 9))
        return path, (255, 255, 255)
    if kind == "cmyk":
        path = at / "cmyk.jpg"
        Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(path, quality=100)
        return path, (254, 0, 0)
    if kind == "16-bit colour":
        save_png(path, 2, 1, 16, 2, b"\0" + struct.pack(">6H", 0x80FF, 0xFFFF, 0, 0, 0, 0))
        return path, (128, 255, 0)
    if kind == "exif":
        path, picture = at / "exif.jpg", Image.new("RGB", (40, 20), "white")
        picture.paste("black", (0, 0, 20, 20))
        exif = Image.Exif()
        exif[0x0112] = 6  # turn right to stand upright
        picture.save(path, exif=exif, quality=100)
        return path, (0, 0, 0)
    if kind == "phone":
        path = at / "phone.mpo"
        png(at / "first.png", "black")
        with Image.open(at / "first.png") as first:
            first.save(path, save_all=True, append_images=[Image.new("RGB", (20, 20), "red")], format="MPO")
        return path, (0, 0, 0)
    raise AssertionError(kind)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "gif", "tif"])
def test_every_format_is_read(tmp_path, ending):
    Image.new("RGB", (20, 20), (200, 100, 0)).save(tmp_path / f"a.{ending}")
    found = np.asarray(read_picture(tmp_path / f"a.{ending}"), int)
    assert np.abs(found - (200, 100, 0)).max() <= 3


@pytest.mark.parametrize(
    "kind",
    [
        "grey",
        "one bit",
        "alpha",
        "half alpha",
        "grey alpha",
        "palette",
        "transparent palette",
        "transparent colour",
        "cmyk",
        "16-bit colour",
        "exif",
        "phone",
    ],
)
def test_pictures_of_every_kind_become_rgb_on_white(own, kind):
    path, expected = make_good(own.at, kind)
    picture = read_picture(path)
    assert picture.mode == "RGB" and np.abs(np.subtract(picture.getpixel((0, 0)), expected)).max() <= 1
    assert len(folder(own({0: {"image": path.name}}))) == 12


def test_exif_turns_the_picture_upright(own):
    path, _ = make_good(own.at, "exif")
    picture = read_picture(path)
    assert picture.size == (20, 40)
    assert picture.getpixel((10, 5)) < (9, 9, 9) and picture.getpixel((10, 35)) > (246, 246, 246)


def test_a_wide_picture_is_neither_cut_nor_stretched():
    found = fit(Image.new("RGB", (80, 40), "black"), 32)
    assert found.shape == (32, 32, 3)
    assert (found[:8] == 255).all() and (found[8:24] == 0).all() and (found[24:] == 255).all()


def make_bad(at, kind):
    path = at / f"{kind}.png"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no picture")
    elif kind == "cut png":
        noise.save(path)
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "cut jpeg":
        path = at / "cut.jpg"
        noise.save(path)
        path.write_bytes(path.read_bytes()[:1500])
    elif kind == "flipped":
        noise.save(path)
        data = bytearray(path.read_bytes())
        data[200:220] = bytes(20)
        path.write_bytes(data)
    elif kind == "16-bit grey":
        Image.fromarray(np.full((9, 9), 4000, np.uint16)).save(path)
    elif kind == "float":
        path = at / "float.tif"
        Image.fromarray(np.full((9, 9), 0.5, np.float32)).save(path)
    elif kind == "animated":
        path = at / "animated.gif"
        noise.save(path, save_all=True, append_images=[noise.rotate(90), noise.rotate(180)])
    elif kind in ("animated png", "animated webp"):
        path = at / f"animated.{kind.split()[1]}"
        noise.save(path, save_all=True, append_images=[noise.rotate(90)])
    elif kind == "two pages":
        path = at / "pages.tif"
        noise.save(path, save_all=True, append_images=[noise.rotate(90)])
    elif kind == "32-bit grey":
        path = at / "depth.tif"
        Image.fromarray(np.full((9, 9), 4000, np.int32)).save(path)
    elif kind == "bomb":
        save_png(path, 60_000, 60_000, 8, 0, b"\0")
    elif kind == "smaller bomb":
        save_png(path, 10_000, 10_000, 8, 0, b"\0")
    elif kind == "postscript":
        path = at / "run.eps"
        path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    return path


@pytest.mark.parametrize(
    "kind, said",
    [
        ("empty", "is empty (0 bytes), not a picture that can be read; copy or fetch it again"),
        ("text", "is not a picture that can be read"),
        ("postscript", "is PostScript, not a picture that can be read; save it as PNG"),
        ("cut png", "is damaged or cut off"),
        ("cut jpeg", "is damaged or cut off"),
        ("flipped", "is damaged or cut off"),
        ("16-bit grey", "16-bit or float grey values (mode I;16)"),
        ("float", "16-bit or float grey values (mode F)"),
        (
            "32-bit grey",
            "16-bit or float grey values (mode I); choose which range is black to white and save it as 8-bit",
        ),
        ("animated png", "has 2 frames or pages; save the one you mean"),
        ("two pages", "has 2 frames"),
        ("animated webp", "has 2 frames or pages"),
        ("animated", "has 3 frames or pages; save the one you mean"),
        ("bomb", "decompression bomb"),
        ("smaller bomb", "10000 x 10000, so above 64 million pixels"),
    ],
)
def test_pictures_that_are_refused(own, kind, said):
    path = make_bad(own.at, kind)
    refused(own({7: {"image": path.name}}), 'own.csv, row 9, column "image"', path.name, said)
