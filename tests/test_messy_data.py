"""Messy tables and pictures, one a row: it works, or one sentence names the value, the place and the mend."""

import json
import os
import re
import unicodedata
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, features

from cmlib.data import doubts
from cmlib.datasets import SkippedRows, as_pairs, folder, grouped_split, pair

HEAD = "image,text,label\n"
GOOD = HEAD + "a.png,red,cat\nb.png,blue,dog\nc.png,green,cat\nd.png,grey,dog\n"
ROW = "a.png,red,cat\nb.png,blue,dog\n"
WORDS = "\u017eluto\u010d.png"
FILES = {
    "zero.jpg": b"",
    "lfs.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12345\n",
    "page.jpg": b"\n<!DOCTYPE html>\n<html><body>Not found</body></html>",
    "link.jpg": b"../photos/a.jpg",
    "words.jpg": b"these are words and no picture at all\n",
    "photo.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
    "film.jpg": b"\0\0\0\x18ftypisom\0\0\0\0" + bytes(64),
    "draw.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "page.png": b"%PDF-1.7\n",
    "pack.png": b"PK\x03\x04" + bytes(40),
    "array.png": b"\x93NUMPY\x01\0" + bytes(40),
    "shop.png": b"8BPS\0\1" + bytes(40),
    "small.png": b"\x1f\x8b\x08" + bytes(40),
    "kept.png": b"SQLite format 3\0" + bytes(40),
    "vector.png": b"%!PS-Adobe-3.0\n",
}
MEND = re.compile(
    r"did you mean|\b(add|choose|copy|correct|delete|double it|fetch|give|leave|move|must|name|needs a header"
    r"|open|pass|put|read it|rename|run|save|says|say|unpack|write)\b"
)
PLACE = re.compile(r"row \d|line \d|\w\.\w{2,7}\b|DataFrame|\b[a-z_]+=|\bmust be\b|^class_names|^'?sub\b")


@pytest.fixture
def at(tmp_path, monkeypatch):
    """A folder with four pictures of four colours, a file of each awkward kind, and nothing said before."""
    (tmp_path / "sub").mkdir()
    for name, size in (("dot", (1, 1)), ("strip", (600, 1)), ("my photo", (9, 9)), ("sub/e", (9, 9))):
        Image.new("RGB", size, "red").save(tmp_path / f"{name}.png")
    Image.new("RGB", (9, 9), "blue").save(tmp_path / "lies.jpg", format="PNG")
    Image.new("RGB", (4000, 1), "red").save(tmp_path / "thread.png")
    (tmp_path / "circle.png").symlink_to("circle.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "dot.png")
    for i, name in enumerate("abcd"):
        Image.new("RGB", (20, 20), (60 * i, 0, 0)).save(tmp_path / f"{name}.png")
    Image.new("RGB", (20, 20), "blue").save(tmp_path / "up.JPG")
    Image.new("RGB", (20, 20), "pink").save(tmp_path / unicodedata.normalize("NFD", WORDS))
    if features.check("avif"):
        Image.new("RGB", (20, 20), "red").save(tmp_path / "new.avif")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(doubts, "_said", set())
    return tmp_path


def said(table, **how):
    """The one sentence that refuses a table."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        folder(table, **how)
    message = str(caught.value)
    assert type(caught.value) in (ValueError, FileNotFoundError)
    assert message[-1] in ".?" and ".." not in message.replace("../", "") and len(message) < 1200, message
    assert PLACE.search(message) and MEND.search(message), message  # the value is among the parts
    assert caught.value.__cause__ is None
    return message


def image(value):
    return HEAD + f"{value},red,cat\nb.png,blue,dog\n"


REFUSED = {  # table, settings, parts of the sentence: value, place, mend
    "url": (image("https://a.b/c.png"), {}, ["row 2", '"image"', "an address: fetch the picture into"]),
    "bucket": (image("s3://bucket/a.png"), {}, ["'s3://bucket/a.png', an address"]),
    "other address": (image("hf://datasets/a.png"), {}, ["'hf://datasets/a.png', an address: fetch"]),
    "picture as text": (image("data:image/png;base64;AAAA"), {}, ["a picture written as text: save it"]),
    "link in circles": (image("circle.png"), {}, ["a link to 'circle.png'", "copy the picture itself"]),
    "pipe": (image("pipe.png"), {}, ["'pipe.png', but that is a pipe or a device: give the path"]),
    "drive": (image(r"C:\Users\me\a.png"), {}, ["outside the folder", "root="]),
    "home": (image("~/pictures/a.png"), {}, ["'~/pictures/a.png', outside the folder", "root="]),
    "case of the name": (image("up.jpg"), {}, ["no such file", "did you mean 'up.JPG'?"]),
    "no extension": (image("a"), {}, ["did you mean 'a.png'?"]),
    "other extension": (image("a.jpeg"), {}, ["did you mean 'a.png'?"]),
    "folder": (image("."), {}, ["that is a folder"]),
    "broken link": (image("broken.jpg"), {}, ["a link to", "which is not there: copy the picture itself"]),
    "empty file": (image("zero.jpg"), {}, ["is empty (0 bytes)", "copy or fetch it again"]),
    "lfs": (image("lfs.jpg"), {}, ["a Git LFS pointer", "git lfs pull"]),
    "html": (image("page.jpg"), {}, ["a web page (HTML)", "save the file"]),
    "lost link": (image("link.jpg"), {}, ["'../photos/a.jpg'", "a link was lost"]),
    "words": (image("words.jpg"), {}, ["not a picture that can be read", "save it again as PNG or JPEG"]),
    "heic": (image("photo.jpg"), {}, ["a HEIC picture", "save it as JPEG or PNG"]),
    "film": (image("film.jpg"), {}, ["a video", "one frame"]),
    "svg": (image("draw.png"), {}, ["a drawing (SVG)", "save it as PNG"]),
    "pdf": (image("page.png"), {}, ["a PDF", "save the page as PNG"]),
    "zip": (image("pack.png"), {}, ["a zip archive", "unpack it"]),
    "npy": (image("array.png"), {}, ["a NumPy array", "save it as PNG"]),
    "nul in a name": (image("a\0.png"), {}, ["no file name"]),
    "nul in a text": (HEAD + "a.png,r\0d,cat\nb.png,b,dog\n", {}, ["row 2", '"text"', "NUL", "delete it"]),
    "nothing visible": (HEAD + "a.png,\u200b\u200d,cat\nb.png,b,dog\n", {}, ["signs that cannot be seen"]),
    "long value": (image("x" * 3000 + ".png"), {}, ["3,006 characters"]),
    "thousand classes": (
        HEAD + "".join(f"a.png,t{i},{c}\n" for i, c in enumerate(["k5x", "k1"])),
        {"class_names": [f"k{i}" for i in range(1000)]},
        ["'k5x', not a class", "(1,000 in all)", "did you mean 'k5'?"],
    ),
    "no near class": (
        HEAD + "a.png,t,zebra\n" + ROW,
        {"class_names": ("cat", "dog")},
        ["add it to class_names"],
    ),
    "class_names text": (GOOD, {"class_names": "cat"}, ["class_names must be different names", "'cat'"]),
    "class_names floats": (GOOD, {"class_names": [0.5, 1.5]}, ["class_names must be different names"]),
    "class_names none": (GOOD, {"class_names": ()}, ["class_names must be different names"]),
    "class_names with spaces": (GOOD, {"class_names": ("cat ", "dog")}, ["class_names has 'cat '", "write"]),
    "class_names with nothing": (
        HEAD + "a.png,x,\nb.png,y,cat\n",
        {"class_names": ("", "cat")},
        ["class_names has ''", "an empty one is no class"],
    ),
    "class_names of values": (GOOD, {"kind": "values", "class_names": ("a", "b")}, ["leave them out"]),
    "kind": (GOOD, {"kind": "tag"}, ["kind must be", "did you mean 'tags'?"]),
    "two columns of class": (GOOD, {"label": ("text", "label")}, ['kind="tags"']),
    "nothing to read": (GOOD, {"image": None, "text": None}, ["leave nothing to read"]),
    "overlap": (GOOD, {"overlap": "ignore"}, ['overlap must be "refuse" or "warn"']),
    "on_error": (GOOD, {"on_error": "ignore"}, ['on_error must be "raise" or "skip"']),
    "split": (GOOD, {"split": 3}, ['split must be "train", "valid", "test"', "got 3"]),
    "quotes": (HEAD + 'a.png,"red,cat\nb.png,b,dog\n', {}, ["row 2", "never closed"]),
    "bars": (HEAD.replace(",", "|") + "a.png|a|b\n", {}, ["bars", "save it again with commas"]),
    "not a value": (HEAD + "a.png,r,1.5\nb.png,b,cheap\n", {"kind": "values"}, ["'cheap'", "write a number"]),
    "infinite": (
        HEAD + "a.png,r,1.5\nb.png,b,inf\n",
        {"kind": "values"},
        ["row 3", "'inf'", "write a number"],
    ),
    "missing value": (HEAD + "a.png,r,1.5\nb.png,b,\n", {"kind": "values"}, ["is empty: write a number"]),
    "comma": (HEAD + 'a.png,r,"1,5"\nb.png,b,2\n', {"kind": "values"}, ["'1,5'", "decimal sign as a point"]),
    "not yes or no": (
        "image,text,x,y\na.png,r,1,0\nb.png,b,2,1\n",
        {"label": ("x", "y"), "kind": "tags"},
        ["row 3", "column \"x\" is '2'", "1 for yes or 0 for no"],
    ),
    "unknown tag": (
        HEAD + "a.png,r,rde|round\nb.png,b,red\n",
        {"kind": "tags", "class_names": ("red", "round")},
        ["'rde', not a class", "did you mean 'red'?"],
    ),
    "no column of the tags": (GOOD, {"label": ("x", "y"), "kind": "tags"}, ["no column 'x'"]),
    "no name of a column": (GOOD, {"image": 0}, ["image must be the name of one column", "got 0"]),
    "names of columns": (GOOD, {"text": ["text", "label"]}, ["text must be the name", "['text', 'label']"]),
    "groups of columns": (GOOD, {"group": ("text",)}, ["group must be the name of one column", "('text',)"]),
    "number of a column": (GOOD, {"split_column": 3}, ["split_column must be the name", "got 3"]),
    "label by number": (GOOD, {"label": 2}, ["label must be the name of a column", "got 2"]),
    "labels by number": (GOOD, {"label": [1, 2], "kind": "tags"}, ["label must be the name", "[1, 2]"]),
    "no label at all": (GOOD, {"label": ()}, ["label=()", "one column"]),
    "misspelt label": (GOOD, {"label": "lable"}, ["no column 'lable'", "did you mean 'label'?"]),
    "no column of groups": (GOOD, {"group": "who"}, ["no column 'who'", "name the right one"]),
    "fractions in words": (GOOD, {"fractions": ("a", "b", "c")}, ["three numbers", "('a', 'b', 'c')"]),
    "one fraction": (GOOD, {"fractions": 0.7}, ["fractions must be three numbers", "got 0.7"]),
    "two fractions": (GOOD, {"fractions": (0.5, 0.5)}, ["fractions must be three numbers", "(0.5, 0.5)"]),
    "fractions of more": (GOOD, {"split": "train", "fractions": (0.5,) * 3}, ["sum to 1", "sum to 1.5"]),
    "less than nothing": (GOOD, {"split": "train", "fractions": (1.5, -0.5, 0)}, ["at least 0", "-0.5"]),
    "class_names set": (GOOD, {"class_names": {"cat"}}, ["different names in their order", "{'cat'}"]),
    "class_names dict": (GOOD, {"class_names": {"cat": 1}}, ["names in their order", "{'cat': 1}"]),
    "class_names twice": (GOOD, {"class_names": ("cat", "cat")}, ["must be different", "('cat', 'cat')"]),
    "class_names missing": (GOOD, {"class_names": ["cat", None]}, ["must be different", "['cat', None]"]),
    "class_names drawn": (GOOD, {"class_names": iter(("cat",))}, ["names in their order", "iterator"]),
    "size": (GOOD, {"size": 4.0}, ["size must be a whole number of pixels", "4.0"]),
    "huge size": (GOOD, {"size": 100_000}, ["from 8 to 1024", "100000"]),
    "root": (GOOD, {"root": "nowhere"}, ["root='nowhere'", "no such folder"]),
    "root is a file": (GOOD, {"root": __file__}, ["no such folder", "count from"]),
    "words above the header": ("# by hand\n" + GOOD, {}, ["no column 'image', but its row 2 has", "delete"]),
    "no header": (ROW, {}, ["no column 'image', only 'a.png'", "name the right one"]),
    "percent signs": (image("my%20photo.png"), {}, ["'my%20photo.png'", "did you mean 'my photo.png'?"]),
    "quotes in quotes": (image("'a.png'"), {}, ["no such file", "did you mean 'a.png'?"]),
    "above the folder": (image("../a.png"), {}, ["'../a.png', outside the folder", "root="]),
    "in no folder": (image("sup/e.png"), {}, ["'sup/e.png'", "no such file", "root="]),
    "in a folder": (image("sub/f.png"), {}, ["'sub/f.png'", "did you mean 'e.png'?"]),
    "photoshop": (image("shop.png"), {}, ["'shop.png'", "a Photoshop file", "save it as PNG"]),
    "gzip": (image("small.png"), {}, ["'small.png'", "compressed with gzip", "gunzip"]),
    "sqlite": (image("kept.png"), {}, ["'kept.png'", "an SQLite database", "save it"]),
    "postscript": (image("vector.png"), {}, ["'vector.png'", "PostScript", "save it as PNG"]),
    "spaces": (HEAD + "a.png,   ,cat\nb.png,y,dog\n", {}, ['row 2, column "text" is empty', "write a text"]),
    "no class": (HEAD + "a.png,x,\nb.png,y,dog\n", {}, ['row 2, column "label" is empty', "name a class"]),
    "no tag anywhere": (HEAD + "a.png,x,\n", {"kind": "tags"}, ["row 2", "as in every row", "write tags"]),
    "nan": (HEAD + "a.png,x,nan\nb.png,y,2\n", {"kind": "values"}, ["row 2", "'nan'", "write a number"]),
    "thousands": (HEAD + 'a.png,x,"1,000.5"\n', {"kind": "values"}, ["'1,000.5'", "none between thousands"]),
    "one row": (HEAD + "a.png,x,cat\n", {}, ["t.csv has only the class 'cat'", "add rows"]),
    "another class": (
        HEAD + "a.png,x,Cat\nb.png,y,dog\n",
        {"class_names": ("cat", "dog")},
        ["row 2", "'Cat', not a class", "did you mean 'cat'?"],
    ),
    "nobody's split": (
        "image,text,label,part\na.png,x,cat,train\nb.png,y,dog,train\n",
        {"split_column": "part", "split": "test"},
        ["The 'test' split of t.csv has no rows", "the column 'part'", "write it there"],
    ),
    "misspelt split": (
        "image,text,label,part\na.png,x,cat,trian\nb.png,y,dog,test\n",
        {"split_column": "part"},
        ["row 2", "'trian'", "did you mean 'train'?"],
    ),
    "thousand columns": (
        ",".join(f"c{i}" for i in range(1000)) + "\n",
        {},
        ["no column 'image'", "1,000 in all"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_sentence(at, name):
    table, how, parts = REFUSED[name]
    (at / "t.csv").write_text(table, encoding="utf-8", newline="")
    message = said(at / "t.csv", **how)
    assert all(part in message for part in parts), message


TABLES = {
    "t.parquet": (b"PAR1" + bytes(40), ["a parquet file", "read it with pandas and pass the DataFrame"]),
    "t.xlsx": (b"PK\x03\x04" + bytes(40), ["an Excel workbook", "save it as CSV"]),
    "t.xls": (b"\xd0\xcf\x11\xe0" + bytes(40), ["an old Excel workbook"]),
    "t.csv.gz": (b"\x1f\x8b\x08" + bytes(40), ["compressed with gzip", "gunzip"]),
    "t.db": (b"SQLite format 3\0" + bytes(40), ["an SQLite database"]),
    "t.csv": (b"<html><body>log in</body></html>", ["a web page (HTML)", "save the file"]),
    "u.csv": (b"version https://git-lfs.github.com/spec/v1\n", ["a Git LFS pointer", "git lfs pull"]),
    "v.csv": (b"\xff\xd8\xff\xe0", ["a JPEG picture and no table of text"]),
    "w.jsonl": (b'{"image": "a.png"\n', ["w.jsonl, line 1", "no JSON", "one object a line"]),
    "x.jsonl": (b'{"image": "a.png"}\n[1, 2]\n', ["row 2", "[1, 2] and no object"]),
    "y.json": (b'{"a": {"image": "a.png"},\n "b": 2}', ["line 1", "one object a line"]),
    "t.bz2": (b"BZh9" + bytes(40), ["compressed with bzip2", "unpack it"]),
    "t.xz": (b"\xfd7zXZ\0" + bytes(40), ["compressed with xz", "unpack it"]),
    "t.h5": (b"\x89HDF\r\n" + bytes(40), ["an HDF5 file", "save it as CSV"]),
    "t.arrow": (b"ARROW1\0\0" + bytes(40), ["an Arrow file", "pass the DataFrame"]),
    "t.npy": (b"\x93NUMPY\1\0" + bytes(40), ["a NumPy array"]),
    "t.pdf": (b"%PDF-1.7\n", ["a PDF and no table of text"]),
    "a.csv": (b"", ["a.csv is empty: it needs a header (image,text,label)"]),
    "b.csv": (HEAD.encode(), ["a header but no rows", "add a row"]),
    "c.csv": (GOOD.encode("utf-16-le"), ["in UTF-16", "save it again as \"CSV UTF-8\""]),
    "d.csv": (GOOD.encode("utf-16"), ["in UTF-16", "save it again as \"CSV UTF-8\""]),
    "e.csv": (bytes(400), ["no text at all", "save it again as \"CSV UTF-8\""]),
    "f.csv": (HEAD.encode() + b"a.png,caf\xe9,cat\n", ["line 2", "0xe9", "is not UTF-8; save"]),
    "a.json": (b"[]", ["a.json is empty: it needs a header"]),
    "b.json": (b"[1, 2]", ["row 1, is 1 and no object", "write one object a line"]),
    "c.jsonl": (b'{"image": "a.png", "text": null, "label": 1}', ['row 1, column "text" is empty', "write"]),
    "z.jsonl": (b'{"image": "a.png", "label": "x"}\n', ["no column 'text'"]),
    "d.jsonl": (
        b'{"image": "a.png", "text": "x", "label": {"name": "cat"}}',
        ['row 1, column "label" is "{\'name\': \'cat\'}"', "no single value: write one"],
    ),
    "e.jsonl": (
        b'{"image": "a.png", "text": {"en": "x"}, "label": 1}',
        ['column "text" is "{\'en\': \'x\'}"', "no single value"],
    ),
    "f.jsonl": (
        b'{"image": {"path": "a.png", "bytes": null}, "text": "x", "label": 1}',
        ['column "image" is "{\'path\': \'a.png\', \'bytes\': None}"', "no single value"],
    ),
    "g.jsonl": (
        b'{"image": "a.png", "text": ["x", "y"], "label": 1}',
        ["column \"text\" is 'x|y', a list of values: write one"],
    ),
    "h.jsonl": (
        b'{"image": "a.png", "text": "x", "label": ["red", "round"]}',
        ["column \"label\" is 'red|round', a list of values", 'kind="tags"'],
    ),
    "i.jsonl": (
        b'{"image": "a.png", "text": "x", "label": 1, "label": 2}',
        ["line 1: an object has the key 'label' twice: delete one"],
    ),
    "j.jsonl": (
        b'{"image": "a.png", "text": "\\ud83d", "label": 1}',
        ["column \"text\" is '\\ud83d', with half of a sign in it", "delete it"],
    ),
    "k.json": (b"[" * 200_000, ["line 1: this is JSON that is nested too deeply"]),
    "l.jsonl": (b'{"a": ' * 200_000, ["line 1: this is JSON that is nested too deeply"]),
    "big.json": (
        json.dumps({f"k{i}": i for i in range(9000)}).encode(),
        ["no column 'image'", "9,000 in all"],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_another_format_is_named(at, name):
    data, parts = TABLES[name]
    (at / name).write_bytes(data)
    message = said(at / name)
    assert all(part in message for part in (name, *parts)), message


def rows(pairs):
    return list(zip(pairs.texts, (pairs.class_names[i] for i in pairs.labels), strict=True))


WORKS = {  # table, settings, what comes out
    "excel's first line": (
        "sep=,\n" + GOOD,
        {},
        lambda p: len(p) == 4 and p.extras["row"].tolist() == [3, 4, 5, 6],
    ),
    "a newline in quotes": (
        HEAD + 'a.png,"red\nround",x\nb.png,b,y\n', {}, lambda p: p.texts == ["red\nround", "b"]
    ),
    "quotes in quotes": (
        HEAD + 'a.png,"a ""red"" one, big",x\nb.png,b,y\n', {}, lambda p: p.texts[0] == 'a "red" one, big'
    ),
    "commas at the ends": (
        "image,text,label,\na.png,p,x,\nb.png,q,y,\n", {}, lambda p: p.texts == ["p", "q"]
    ),
    "spaces around names": (" image , text,label \n" + ROW, {}, lambda p: p.texts == ["red", "blue"]),
    "a column more": ("id,image,text,label\n1,a.png,p,x\n2,b.png,q,y\n", {}, lambda p: "id" not in p.extras),
    "another order": ("label,text,image\nx,p,a.png\ny,q,b.png\n", {}, lambda p: p.texts == ["p", "q"]),
    "blank rows": (
        HEAD + "\na.png,p,x\n , ,\nb.png,q,y\n\n", {}, lambda p: p.extras["row"].tolist() == [3, 5]
    ),
    "line ends of two systems": (GOOD.replace("\n", "\r\n", 2), {}, lambda p: len(p) == 4),
    "a mark in front": ("\ufeff" + GOOD, {}, lambda p: len(p) == 4),
    "other scripts": (
        HEAD + "a.png,\u0645\u0631\u062d\u0628\u0627,\u732b\nb.png,\u5927\u304d\u3044,\u72ac\n",
        {},
        lambda p: set(p.class_names) == {"\u732b", "\u72ac"},
    ),
    "numbers with noughts": (
        HEAD + "a.png,p,007\nb.png,q,07\n" * 2, {}, lambda p: p.class_names == ("007", "07")
    ),
    "numbers without end": (
        HEAD + f"a.png,p,{'9' * 6000}\nb.png,q,7\n", {}, lambda p: len(p.class_names[1]) == 6000
    ),
    "brackets in the header": (
        "[id],image,text,label\n1,a.png,p,x\n2,b.png,q,y\n", {}, lambda p: len(p) == 2
    ),
    "a thread": (image("thread.png"), {}, lambda p: (p.images[0, 1] == 0).sum() == 64),
    "numpy's size": (GOOD, {"size": np.int64(32)}, lambda p: p.images.shape[-1] == 32),
    "a list of numpy's numbers": (
        HEAD + "a.png,p,1\nb.png,q,0\n",
        {"class_names": list(np.arange(2))},
        lambda p: p.labels.tolist() == [1, 0],
    ),
    "JSON lists of one": (
        '{"image":"a.png","text":"p","label":["x"]}\n{"image":"b.png","text":"q","label":["y"]}',
        {},
        lambda p: p.class_names == ("x", "y"),
    ),
    "numbers below nought": (
        HEAD + "a.png,p,-1\nb.png,q,1\nc.png,r,0\n" * 3, {}, lambda p: p.class_names == ("-1", "0", "1")
    ),
    "a space in a name": (image("my photo.png"), {}, lambda p: p.extras["image"][0] == "my photo.png"),
    "dots in a path": (image("./sub/../a.png"), {}, lambda p: p.images[0].max() == 0),
    "another folder": (image(r"sub\e.png"), {}, lambda p: p.images[0, 0].min() == 255),
    "a large ending": (image("up.JPG"), {}, lambda p: p.images[0, 2].float().mean() > 250),
    "an ending that lies": (image("lies.jpg"), {}, lambda p: p.images[0, 2].min() == 255),
    "one pixel": (image("dot.png"), {}, lambda p: p.images[0, 0].min() == 255),
    "a strip": (image("strip.png"), {"size": 600}, lambda p: (p.images[0, 1] == 0).sum() == 600),
    "a link": (image("link.png"), {}, lambda p: p.images[0, 0].min() == 255),
    "spaces between tags": (
        HEAD + "a.png,p, red | round |red\nb.png,q,\n",
        {"kind": "tags"},
        lambda p: p.labels.tolist() == [[1, 1], [0, 0]],
    ),
    "signs of values": (
        HEAD + "a.png,p,+3\nb.png,q,-0\nc.png,r,1e3\n",
        {"kind": "values"},
        lambda p: p.labels.tolist() == [3, 0, 1000],
    ),
    "numpy's class_names": (
        HEAD + "a.png,p,1\nb.png,q,0\n", {"class_names": np.arange(2)}, lambda p: p.labels.tolist() == [1, 0]
    ),
    "splits without labels": (
        "image,text\n" + "".join(f"{name}.png,{name}\n" for name in "abcd"),
        {"label": None, "split": ("train", "test"), "fractions": (0.5, 0, 0.5)},
        lambda parts: [len(part) for part in parts] == [2, 2],
    ),
    "groups": (
        "image,text,label,who\na.png,p,x,7\nb.png,q,y,8\nc.png,r,x,7\n",
        {"group": "who"},
        lambda p: p.extras["group"].tolist() == [0, 1, 0],
    ),
    "a row twice": (
        HEAD + "a.png,p,x\na.png,p,x\nb.png,q,y\n", {}, lambda p: len(p) == 3 and len(p.images) == 2
    ),
    "yes and no of JSON": (
        '{"image":"a.png","text":"p","label":true}\n{"image":"b.png","text":"q","label":false}',
        {},
        lambda p: p.class_names == ("False", "True"),
    ),
    "JSON with more": (
        '[{"image":"a.png","text":"p","label":1,"box":{"x":1}},{"image":"b.png","text":"q","label":2}]',
        {},
        lambda p: p.class_names == ("1", "2"),
    ),
    "accents of a mac": (HEAD + f"{WORDS},a,x\na.png,b,y\n", {}, lambda p: len(p.images) == 2),
    "long text": (HEAD + f"a.png,{'word ' * 40_000},x\nb.png,b,y\n", {}, lambda p: len(p.texts[0]) > 131_072),
    "numbers in order": (
        HEAD + "".join(f"a.png,t{i},{i}\n" for i in (10, 2, 0, 1)) * 2,
        {},
        lambda p: p.class_names == ("0", "1", "2", "10"),
    ),
    "class_names of numbers": (
        HEAD + "a.png,x,1\nb.png,y,0\n",
        {"class_names": [0, 1, 2]},
        lambda p: p.labels.tolist() == [1, 0] and p.class_names == ("0", "1", "2"),
    ),
    "one class, named": (
        HEAD + "a.png,x,cat\nb.png,y,cat\n",
        {"class_names": ("cat", "dog")},
        lambda p: p.labels.tolist() == [0, 0],
    ),
    "unlabelled": (
        "image,text\na.png,x\nb.png,y\n",
        {"label": None},
        lambda p: p.labels is None and len(p) == 2,
    ),
    "texts alone": (
        "text,label\nx,cat\ny,dog\n",
        {"image": None},
        lambda p: p.images is None and "image" not in p.extras,
    ),
    "pictures alone": ("image,label\na.png,cat\nb.png,dog\n", {"text": None}, lambda p: p.texts is None),
    "a shared picture": (
        HEAD + "b.png,p,x\na.png,q,y\nb.png,r,x\n",
        {},
        lambda p: p.picture.tolist() == [0, 1, 0] and len(p.images) == 2 and p[2:].images[0, 0, 0, 0] == 60,
    ),
    "tags": (
        HEAD + "a.png,x,round|red\nb.png,y,\nc.png,z,red\n",
        {"kind": "tags"},
        lambda p: p.class_names == ("red", "round") and p.labels.tolist() == [[1, 1], [0, 0], [1, 0]],
    ),
    "columns of yes and no": (
        "image,text,old,wet\na.png,x,1,no\nb.png,y,FALSE,Yes\n",
        {"label": ("old", "wet"), "kind": "tags"},
        lambda p: p.class_names == ("old", "wet") and p.labels.tolist() == [[1, 0], [0, 1]],
    ),
    "values": (
        HEAD + "a.png,x,1.5\nb.png,y,-2e3\n",
        {"kind": "values"},
        lambda p: p.labels.tolist() == [1.5, -2000] and p.class_names == (),
    ),
    "columns of values": (
        "image,text,w,h\na.png,x,1,2\nb.png,y,3,4.5\n",
        {"label": ["w", "h"], "kind": "values"},
        lambda p: p.labels.tolist() == [[1, 2], [3, 4.5]] and p.class_names == ("w", "h"),
    ),
    "names of splits": (
        "image,text,label,part\na.png,p,x,Training\nb.png,q,y,TRAIN\nc.png,r,x,val\nd.png,s,y,dev\n",
        {"split_column": "part", "split": "validation"},
        lambda p: p.texts == ["r", "s"],
    ),
}


@pytest.mark.parametrize("name", WORKS)
def test_it_works(at, name):
    table, how, right = WORKS[name]
    (at / "t.csv").write_text(table, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = folder(at / "t.csv", **how)
    assert right(found), found


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_avif_is_read(at):
    (at / "t.csv").write_text(image("new.avif"))
    assert folder(at / "t.csv").images[0, :, 0, 0].tolist()[0] > 245


def test_json_lines_and_a_list_give_the_rows_of_the_csv(at):
    (at / "t.csv").write_text(GOOD)
    items = [dict(zip(("image", "text", "label"), line.split(","), strict=True)) for line in GOOD.split()[1:]]
    (at / "t.jsonl").write_text("\n".join(map(json.dumps, items)) + "\n")
    (at / "t.json").write_text(json.dumps(items, indent=1))
    for name in ("t.jsonl", "t.json"):
        found = folder(at / name)
        assert rows(found) == rows(folder(at / "t.csv")) and found.extras["row"].tolist() == [1, 2, 3, 4]
    tags = [
        {"image": "a.png", "text": "x", "label": ["red", "round"]},
        {"image": "b.png", "text": "y", "label": None},
    ]
    (at / "u.jsonl").write_text("\n".join(map(json.dumps, tags)))
    assert folder(at / "u.jsonl", kind="tags").labels.tolist() == [[1, 1], [0, 0]]


class Column(list):
    def tolist(self):
        return list(self)


class Frame:
    """What of a pandas DataFrame is used: pandas itself is no dependency of the course."""

    def __init__(self, columns):
        self.columns, self._values, self.iloc = list(columns), list(columns.values()), self

    def __getitem__(self, place):
        return Column(self._values[place[1]])

    def to_dict(self):
        raise AssertionError("not needed")


@pytest.mark.parametrize("real", [False, True])
def test_a_dataframe(at, real):
    make = pytest.importorskip("pandas").DataFrame if real else Frame
    frame = make({"image": ["a.png", "b.png"], "text": ["x", float("nan")], "label": [1, 0]})
    assert 'The DataFrame, row 3, column "text" is empty' in said(frame, root=at)
    found = folder(frame, text=None, root=at)
    assert found.class_names == ("0", "1") and found.labels.tolist() == [1, 0]


DOUBTS = {
    "case": ("a.png,x,Cat\nb.png,y,cat\n", "look alike are different classes here ('Cat' and 'cat')"),
    "one number in two ways": ("a.png,x,1\nb.png,y,1.0\nc.png,z,2\n" * 3, "('1' and '1.0')"),
    "booleans": ("a.png,x,True\nb.png,y,TRUE\n", "('True' and 'TRUE')"),
    "hard space": ("a.png,x,big cat\nb.png,y,big\u00a0cat\n", r"'big\xa0cat'"),
    "accents": ("a.png,x,caf\u00e9\nb.png,y,cafe\u0301\n", r"('caf\xe9' and 'cafe\u0301')"),
    "numbers": ("a.png,x,1.5\nb.png,y,2.5\nc.png,z,7\n", 'kind="values"'),
    "a class a row": ("a.png,x,k\nb.png,y,l\nc.png,z,m\nd.png,w,n\n", "has a class of its own"),
    "bars": ("a.png,x,red|round\nb.png,y,red\n", 'kind="tags"'),
    "nan as class": (
        "a.png,x,nan\nb.png,y,dog\n",
        "the class 'nan' (row 2), which looks like a missing value",
    ),
    "null as text": ("a.png,x,cat\nb.png,NULL,dog\n", "the text 'NULL' (row 3)"),
    "two labels": ("a.png,x,cat\na.png,x,dog\n", "same picture and text with two classes (rows 2 and 3"),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_a_doubt_is_said_once(at, name):
    body, part = DOUBTS[name]
    (at / "t.csv").write_text(HEAD + body, encoding="utf-8")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        folder(at / "t.csv")
        folder(at / "t.csv")
    assert len(heard) == 1 and part in str(heard[0].message), [str(one.message) for one in heard]
    assert str(heard[0].message).startswith("t.csv was read, but look at it again: ")


def test_groups_that_look_alike_and_texts_of_two_splits_are_doubted(at):
    head = "text,label,who,part\n"
    rows = ["p,x,Ann,train", "q,y,Bob,train", "r,x,ann,train", "P ,x,Cid,test", "s,y,Dan,test"]
    (at / "t.csv").write_text(head + "\n".join(rows))
    how = {"image": None, "group": "who", "split_column": "part", "split": ("train", "test")}
    with pytest.warns(UserWarning, match="look at it again") as heard:
        folder(at / "t.csv", **how)
    assert len(heard) == 1
    assert "groups that look alike are different groups here ('Ann' and 'ann')" in str(heard[0].message)
    said = "1 × a text that stands in two splits (row 5 in 'test' and row 2 in 'train'): put such rows"
    assert said in str(heard[0].message)


# ------------------------------------------------------------------------------------------------------------
# splits and leaks


@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.8, 0.1, 0.1), (0.5, 0.3, 0.2)])
@pytest.mark.parametrize("each", [1, 2, 3, 5])
def test_many_small_classes_starve_no_split(each, fractions):
    labels = torch.arange(500).repeat_interleave(each)
    parts = grouped_split(labels, None, fractions)
    assert all(abs(len(part) - f * len(labels)) <= 3 for part, f in zip(parts, fractions, strict=True))


def test_an_empty_split_names_its_cause(at):
    (at / "t.csv").write_text("image,text,label,who\na.png,p,x,1\nb.png,q,y,1\nc.png,r,x,1\nd.png,s,y,1\n")
    message = said(at / "t.csv", split="test", group="who")
    assert "The 'test' split of t.csv has no rows, cut from 4 rows in 1 groups that stay together" in message


LEAK = "image,text,label,part\na.png,p,x,train\nb.png,q,y,train\na.png,r,x,test\n./b.png,s,y,test\n"


def test_a_leak_is_told_before_anything_is_decoded(at, decoded):
    (at / "t.csv").write_text(LEAK)
    message = said(at / "t.csv", split="test", split_column="part")
    assert "t.csv has 2 leaks in its 4 rows: row 4 is in 'test'" in message and "row 5" in message
    assert 'overlap="warn"' in message and not decoded


def test_a_published_split_is_loaded_with_a_warning(at):
    (at / "t.csv").write_text(LEAK)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        parts = folder(at / "t.csv", split=("train", "test"), split_column="part", overlap="warn")
        again = folder(at / "t.csv", split="test", split_column="part", overlap="warn")
    assert [part.texts for part in parts] == [["p", "q"], ["r", "s"]] and again.texts == ["r", "s"]
    assert len(heard) == 1 and "2 leaks in its 4 rows" in str(heard[0].message)


def test_equal_pixels_under_other_names_are_a_leak_too(at):
    Image.open(at / "a.png").save(at / "copy.bmp")
    (at / "t.csv").write_text(LEAK.replace("a.png,r", "copy.bmp,r").replace("./b", "d"))
    assert "a leak in its 4 rows: row 4 is in 'test'" in said(at / "t.csv", split="test", split_column="part")


def test_three_splits_decode_once(at, decoded):
    (at / "t.csv").write_text("image,text,label,part\n" + "".join(
        f"{name}.png,{name},{label},{part}\n"
        for name, label, part in zip("abcd", "xyxy", ("train", "train", "test", "test"), strict=True)))
    one = [folder(at / "t.csv", split=split, split_column="part") for split in ("train", "test")]
    assert sorted(decoded) == ["a.png", "b.png", "c.png", "d.png"]
    one[0].images[:] = 9  # its own memory: the next call sees the pictures
    both = folder(at / "t.csv", split=("train", "test"), split_column="part")
    assert (
        len(decoded) == 4 and both[0].images[0, 0, 0, 0] == 0 and torch.equal(both[1].images, one[1].images)
    )
    Image.new("RGB", (20, 20), "white").save(at / "a.png")
    assert (
        folder(at / "t.csv", split="train", split_column="part").images[0].min() == 255 and len(decoded) == 5
    )


# ------------------------------------------------------------------------------------------------------------
# rows left out, one new row


@pytest.mark.parametrize("cached", [False, True])
def test_bad_rows_are_left_out_with_a_report(at, cached):
    (at / "t.csv").write_text(GOOD + "gone.png,x,cat\nzero.jpg,y,cat\na.png,,dog\na.png,z,cow\n")
    how = {"class_names": ("cat", "dog"), "on_error": "skip"} | ({"cache": at / "kept"} if cached else {})
    for _ in range(2):
        with pytest.warns(SkippedRows) as heard:
            found = folder(at / "t.csv", **how)
        report = heard[0].message
        assert rows(found) == [("red", "cat"), ("blue", "dog"), ("green", "cat"), ("grey", "dog")]
        assert found.images[:, 0, 0, 0].tolist() == [0, 60, 120, 180]
        assert len(report.problems) == 4 and "row 7" in report.problems[-1]
        assert '4 of the 8 rows of t.csv were left out (2 × column "image", ' in str(report)


def test_if_every_row_is_bad_they_are_named(at):
    (at / "t.csv").write_text(HEAD + "gone.png,x,cat\n")
    assert "no such file" in said(at / "t.csv", on_error="skip")


def test_a_pair_is_read_as_a_row_is(at):
    (at / "t.csv").write_text(GOOD)
    row = folder(at / "t.csv", size=32)[1]
    with Image.open(at / "b.png") as opened:
        pixels = torch.from_numpy(np.asarray(opened).copy()).permute(2, 0, 1)
        for picture in (at / "b.png", str(at / "b.png"), opened, pixels):
            found = pair(picture, "blue", size=32)
            assert torch.equal(found.images, row.images) and found.texts == row.texts and found.labels is None
    assert pair(text="blue").images is None and pair(at / "a.png").texts is None


def test_an_open_picture_is_read_as_its_file_is(at):
    turned = Image.Exif()
    turned[274] = 6  # "turn me by a quarter"
    Image.new("RGB", (40, 20), "red").save(at / "turned.png", exif=turned)
    with Image.open(at / "turned.png") as opened:
        assert torch.equal(pair(opened, "x").images, pair(at / "turned.png", "x").images)
        assert opened.size == (40, 20)
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(at / "deep.png")
    frames = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]
    frames[0].save(at / "moves.gif", save_all=True, append_images=frames[1:])
    (at / "half.png").write_bytes((at / "thread.png").read_bytes()[:-30])
    wrong = {"deep.png": "16-bit or float grey", "moves.gif": "has 2 frames", "half.png": "cut off"}
    for name, part in wrong.items():
        with Image.open(at / name) as opened, pytest.raises(ValueError, match="The picture .*" + part):
            pair(opened, "x")
        with pytest.raises(ValueError, match=f"The picture .*{name}.*{part}"):
            pair(at / name, "x")


def test_a_damaged_exif_block_is_no_matter(at):
    Image.new("RGB", (20, 20), "red").save(at / "t.jpg")
    whole = (at / "t.jpg").read_bytes()
    (at / "u.jpg").write_bytes(whole[:2] + b"\xff\xe1\x00\x10Exif\0\0II*\0\xff\xff\xff\xff" + whole[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(pair(at / "u.jpg", "x").images, pair(at / "t.jpg", "x").images)


def test_what_predict_is_given_may_lack_a_column(at, monkeypatch):
    monkeypatch.chdir(at)
    for name, table in {"t": "text\nx\ny\n", "i": "image\na.png\n", "b": "image,text,n\na.png,x,1\n"}.items():
        (at / f"{name}.csv").write_text(table)
    assert as_pairs("t.csv").images is None and as_pairs("t.csv").texts == ["x", "y"]
    assert as_pairs("i.csv").texts is None and len(as_pairs("i.csv").images) == 1
    assert as_pairs("b.csv").texts == ["x"] and as_pairs("b.csv").labels is None
    assert as_pairs(Frame({"text": ["x"]})).images is None
    (at / "n.csv").write_text("words\nx\n")
    with pytest.raises(ValueError, match="n.csv has no column 'image', only 'words'"):
        as_pairs("n.csv")
    with pytest.raises(TypeError, match=r"\(picture, text\), two values; got 3"):
        as_pairs(("a.png", "x", "cat"))


def test_a_row_with_an_object_in_it_is_left_out_too(at):
    items = [dict(zip(("image", "text", "label"), line.split(","), strict=True)) for line in GOOD.split()[1:]]
    items.append({"image": "a.png", "text": {"en": "x"}, "label": "cat"})
    (at / "t.jsonl").write_text("\n".join(map(json.dumps, items)))
    with pytest.warns(SkippedRows, match=r"1 of the 5 rows of t.jsonl were left out \(1 × column \"text\"\)"):
        assert len(folder(at / "t.jsonl", on_error="skip")) == 4
    frame = Frame({"image": [Image.new("RGB", (9, 9))], "text": ["x"], "label": ["cat"]})
    assert "which is no single value: write one value there" in said(frame, root=at)


SOURCES = {
    "nothing": (None, "folder reads the path of a table or a DataFrame, and got None: give it one."),
    "a number": (3, "and got 3: give"),
    "rows": ([{"image": "a.png"}], "folder reads the path of a table"),
    "an address": ("https://a.b/c.csv", "'https://a.b/c.csv' is an address: fetch the file"),
    "a folder": ("sub", "sub is a folder: give the path of the CSV file in it."),
    "a file that is not there": ("gone.csv", "There is no file gone.csv"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_no_table(at, monkeypatch, name):
    monkeypatch.chdir(at)
    source, part = SOURCES[name]
    assert part in said(source)


PAIRS = [
    (("zero.jpg", "x"), ValueError, "The picture zero.jpg is empty (0 bytes), not a picture"),
    (("up.jpg", "x"), ValueError, "did you mean 'up.JPG'?"),
    (("no/a.png", "x"), ValueError, "'a.png', but there is no such file in no: give its path, seen from the"),
    (("", "x"), ValueError, "The picture is '', no path of a file: save the picture and give its path"),
    (("https://a.b/c.png", "x"), ValueError, "'https://a.b/c.png', no path of a file"),
    ((np.zeros((3, 0, 0), np.uint8), "x"), ValueError, "The picture has no pixels, (3, 0, 0)"),
    ((Image.new("RGB", (0, 5)), "x"), ValueError, "The picture has no pixels (0 x 5)"),
    (("a.png", "\ud83d"), ValueError, "The text is '\\ud83d', with half of a sign in it"),
    ((3, "x"), TypeError, "a path, a PIL image or a uint8 tensor; got int"),
    ((torch.zeros(3, 4, 4), "x"), TypeError, "uint8 (3, height, width)"),
    (("a.png", ["x"]), TypeError, "one string; got list"),
    (("a.png", " \u200b"), ValueError, "in which there is nothing to read: write one, or give None"),
    ((None, None), TypeError, "Pairs need pictures, texts or both"),
]


def test_there_are_no_fewer_inputs_than_the_review_tried():
    assert sum(map(len, (REFUSED, TABLES, WORKS, DOUBTS, SOURCES, PAIRS))) >= 141


@pytest.mark.parametrize("call, error, part", PAIRS)
def test_a_pair_that_cannot_be_read(at, monkeypatch, call, error, part):
    monkeypatch.chdir(at)
    with pytest.raises(error) as caught:
        pair(*call)
    assert part in str(caught.value)
