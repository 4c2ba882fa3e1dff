"""The picture cache: the same bits as without it, decoded once, and never wrong pixels in silence."""

import csv
import errno
import json
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cmlib.data.rows import Rows
from cmlib.datasets import cache, decoding, folder
from cmlib.encoders import text_encoder


@pytest.fixture
def own(tmp_path):
    """Twelve pictures of several shapes and formats in thirteen rows; the last two show the same one."""
    draw, rows = np.random.default_rng(0), []
    for i in range(12):
        name = f"{i}.{('png', 'jpg', 'webp')[i % 3]}"
        noise = Image.fromarray(
            draw.integers(0, 256, (30 + 5 * i, 60 - 3 * i, 4 if i % 3 == 0 else 3), dtype=np.uint8)
        )
        exif = Image.Exif()
        exif[0x0112] = 1 + i % 8
        noise.save(tmp_path / name, **({} if i % 3 == 0 else {"exif": exif}))
        rows.append([name, f"text {i}", "cat" if i % 2 else "dog", f"p{i // 3}"])
    rows.append(["11.webp", "again", "dog", "p3"])

    def write(extra=()):
        with open(tmp_path / "own.csv", "w", newline="") as file:
            csv.writer(file).writerows([["image", "text", "label", "patient"], *rows, *extra])
        return tmp_path / "own.csv"

    write.at, write.cache = tmp_path, tmp_path / "cache"
    return write


def same(a, b):
    assert torch.equal(a.images, b.images) and a.images.dtype == b.images.dtype and a.images.is_contiguous()
    assert (a.texts, a.class_names, a.extras["image"]) == (b.texts, b.class_names, b.extras["image"])
    assert all(
        torch.equal(x, y)
        for x, y in ((a.labels, b.labels), *((a.extras[k], b.extras[k]) for k in ("row", "group")))
    )


@pytest.mark.parametrize("size", [16, 64])
def test_the_same_bits_with_and_without_and_only_the_first_call_decodes(own, decoded, size):
    for how in (
        {},
        {"split": "train"},
        {"split": "train", "group": "patient", "seed": 3, "fractions": (0.5, 0, 0.5)},
    ):
        plain = folder(own(), size=size, **how)
        del decoded[:]
        same(folder(own(), size=size, cache=own.cache, **how), plain)
        assert sorted(decoded) == (
            [] if how else sorted({f"{i}.{('png', 'jpg', 'webp')[i % 3]}" for i in range(12)})
        )


def test_all_rows_are_the_map_itself_and_writing_to_it_stays_in_this_process(own):
    plain = folder(own())
    mapped = folder(own(), cache=str(own.cache))
    pixels, = own.cache.glob("*.pixels")
    assert len(mapped.images) == 12 and mapped.picture.tolist() == [*range(12), 11]  # one picture, two rows
    own.at.joinpath("own.csv").write_text(
        "".join(own.at.joinpath("own.csv").read_text().splitlines(True)[:-1])
    )
    mapped, before = folder(own.at / "own.csv", cache=own.cache), pixels.read_bytes()
    if Path("/proc/self/maps").exists():
        assert str(pixels) in Path("/proc/self/maps").read_text()
    mapped.images[3] = 7
    assert pixels.read_bytes() == before and torch.equal(
        folder(own.at / "own.csv", cache=own.cache).images, plain.images[:12]
    )
    rows = Rows(mapped, text_encoder("bag").tokenizer)
    assert (rows[torch.tensor([3, 5])].image.pixels[0] == 7).all() and torch.equal(
        rows.to("cpu").images[5], plain.images[5]
    )


def test_a_changed_or_added_picture_alone_is_decoded_again(own, decoded):
    folder(own(), cache=own.cache)
    path = own.at / "3.png"
    was, raw = path.stat(), Image.new("RGB", (20, 20), "red")
    raw.save(path)
    # the same size, and the same time of writing
    path.write_bytes(path.read_bytes().ljust(was.st_size, b"\0"))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    raw.save(own.at / "new.png")
    del decoded[:]
    found = folder(own([["new.png", "red", "cat", "p9"]]), cache=own.cache)
    assert sorted(decoded) == ["3.png", "new.png"]
    same(found, folder(own.at / "own.csv"))
    assert len(list(own.cache.glob("*.pixels"))) == 1  # the old pixels are gone


def test_a_picture_that_changes_while_it_is_decoded_is_decoded_again(own, monkeypatch):
    read = decoding.read_picture

    def slow(path):
        picture = read(path)
        if path.name == "0.png":
            Image.new("RGB", (20, 20), "red").save(path)
        return picture

    monkeypatch.setattr(decoding, "read_picture", slow)
    folder(own(), cache=own.cache)
    monkeypatch.undo()
    same(folder(own(), cache=own.cache), folder(own()))


def manifest(change):
    def damage(at):
        path, = at.glob("*.json")
        path.write_text(change(path.read_text()))
    return damage


def pixels(change):
    def damage(at):
        path, = at.glob("*.pixels")
        path.write_bytes(change(path.read_bytes()))
    return damage


def fact(**facts):
    return manifest(lambda text: json.dumps(json.loads(text) | facts))


@pytest.mark.parametrize(
    "damage",
    [
        pixels(lambda b: b[: len(b) // 2]),
        pixels(lambda b: b[:-1] + bytes([b[-1] ^ 1])),
        pixels(lambda b: bytes(len(b))),
        pixels(lambda b: b + b"x"),
        lambda at: next(at.glob("*.pixels")).unlink(),
        lambda at: next(at.glob("*.json")).unlink(),
        manifest(lambda text: text[:-9]),
        manifest(lambda text: ""),
        manifest(lambda text: "[1]"),
        manifest(lambda text: "\0"),
        fact(sha256=[]),
        fact(keys=[]),
        fact(keys=3),
        fact(fingerprints=["xy"]),
        fact(about={"format": 0, "size": 64, "pillow": "1.0"}),
    ],
)
def test_what_is_damaged_or_from_elsewhere_is_made_again(own, decoded, damage):
    folder(own(), cache=own.cache)
    plain = folder(own())
    damage(own.cache)
    del decoded[:]
    same(folder(own(), cache=own.cache), plain)
    assert len(decoded) == 12
    del decoded[:]
    same(folder(own(), cache=own.cache), plain)
    assert not decoded


def test_csvs_of_one_name_and_other_sizes_share_a_folder(own, tmp_path, decoded):
    other = tmp_path / "other"
    other.mkdir()
    for i in (0, 3):
        Image.new("RGB", (9, 9), "red").save(other / f"{i}.png")
    (other / "own.csv").write_text("image,text,label\n0.png,a,x\n3.png,b,y\n")
    calls = [(own(), {}), (own(), {"size": 32}), (other / "own.csv", {}), (own(), {"root": own.at / "."})]
    first = [folder(path, cache=own.cache, **how) for path, how in calls]
    del decoded[:]
    for (path, how), before in zip(calls, first, strict=True):
        same(folder(path, cache=own.cache, **how), before)
    assert not decoded


def test_a_disk_that_does_not_take_it_leaves_nothing_half_written(own, decoded):
    """A real failing write: the limit on the size of a file cuts the pixels, as a full disk would."""
    plain = folder(own(), size=16, cache=own.cache)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                folder(own(), cache=own.cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert str(caught.value).startswith(f"The picture cache could not be written to {own.cache} after 0.0 MB "
                                        "(File too large): free some")
    assert caught.value.__suppress_context__ and "\n" not in str(caught.value)
    assert [path.name.split(".")[-1] for path in sorted(own.cache.glob("*-64-*"))] == ["lock"]
    del decoded[:]
    same(folder(own(), size=16, cache=own.cache), plain)
    assert not decoded


def test_a_full_disk_and_a_folder_that_cannot_be_are_named(own, monkeypatch):
    with pytest.raises(OSError, match=r"could not be written to .*own\.csv .*: free some space, choose "
                                      r"another folder, or leave cache out"):
        folder(own(), cache=own.at / "own.csv")
    monkeypatch.setattr(
        cache, "_flush", lambda _file: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    )
    with pytest.raises(OSError, match=r"\(No space left on device\)"):
        folder(own(), cache=own.cache)
    assert [path.suffix for path in own.cache.iterdir()] == [".lock"]


def test_bad_rows_are_told_before_anything_is_decoded_and_leave_no_cache(own, decoded):
    with pytest.raises(ValueError, match='row 15, column "image" is \'no.png\', but there is no such file'):
        folder(own([["no.png", "a", "cat", "p"]]), cache=own.cache)
    with pytest.raises(ValueError, match='row 15, column "text" is empty'):
        folder(own([["0.png", "", "cat", "p"]]), cache=own.cache)
    assert not decoded and not own.cache.exists()
    (own.at / "bad.png").write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        folder(own([["bad.png", "a", "cat", "p"]]), cache=own.cache)
    assert [path.suffix for path in own.cache.iterdir()] == [".lock"]


def test_a_thousand_missing_pictures_are_not_all_looked_for(own, monkeypatch):
    looked, near = [], decoding.meant
    monkeypatch.setattr(decoding, "meant", lambda *call: looked.append(len(call[1])) or near(*call))
    with pytest.raises(ValueError, match="its first 5 of 1,000 problems"):
        folder(own([[f"no{i}.png", "a", "cat", "p"] for i in range(1000)]), cache=own.cache)
    assert 0 < sum(among > 0 for among in looked) <= 5


def child(path, at, counter, pause):
    read = decoding.read_picture

    def slow(file):
        with open(counter, "ab") as log:
            log.write(b".")
        time.sleep(pause)
        return read(file)

    decoding.read_picture = slow
    found = folder(path, cache=at)
    assert torch.equal(found.images, folder(path).images)


def start(count, *arguments):
    processes = [
        multiprocessing.get_context("fork").Process(target=child, args=arguments) for _ in range(count)
    ]
    for process in processes:
        process.start()
    return processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_three_processes_at_once_decode_once_and_see_the_same(own):
    counter = own.at / "counter"
    processes = start(3, own(), own.cache, counter, 0.02)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    # once into the cache, and once in each process without it, to compare
    assert counter.stat().st_size == 12 + 3 * 12
    assert len(list(own.cache.glob("*.pixels"))) == 1 and not list(own.cache.glob("*.part"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_kill_9_while_it_is_written_leaves_nothing_that_counts(own, decoded):
    counter, kills = own.at / "counter", 0
    for after in (1, 5, 9):
        counter.unlink(missing_ok=True)
        process, = start(1, own(), own.cache, counter, 0.1)
        while process.is_alive() and (not counter.exists() or counter.stat().st_size < after):
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert not list(own.cache.glob("*.pixels"))
    assert kills == 3
    same(folder(own(), cache=own.cache), folder(own()))
    assert not list(own.cache.glob("*.part"))
