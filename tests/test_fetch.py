"""fetch: every way in which a download goes wrong, against a real server on this machine."""

import errno
import hashlib
import os
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cmlib.datasets import SOURCES, fetch, fetching, sources
from cmlib.datasets.archive import VerifiedZip

BODY = bytes(range(256)) * 2000  # 512,000 bytes: several blocks
THING = sources.Source(url="", file="thing.bin", bytes=len(BODY), licence="none", attribution="none",
                       sha256=hashlib.sha256(BODY).hexdigest())


class Server(ThreadingHTTPServer):
    """Serves ``body``; ``cut`` = bytes of each successive answer, then all of it; keeps a list of Range
    headers.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.cut, self.ranges, self.knows_ranges, self.status, self.stall = (
            BODY,
            [],
            [],
            True,
            200,
            None,
        )
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/a/thing.bin"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.ranges.append(wanted)
        if server.status != 200:
            return self.send_error(server.status)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.knows_ranges else 0
        if start >= len(server.body):
            return self.send_error(416)
        rest = server.body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        cut = server.cut.pop(0) if server.cut else None
        self.wfile.write(rest[:cut])
        self.wfile.flush()
        if cut is not None and server.stall:
            server.stall.wait(5)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.delenv("CMLIB_MIRROR", raising=False)
    monkeypatch.setenv("CMLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    server = Server()
    monkeypatch.setitem(SOURCES, "thing", replace(THING, url=server.url))
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def mirror():
    """The real files; without them a person may go on, but the project's own run may not."""
    if "CMLIB_MIRROR" not in os.environ:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("CMLIB_MIRROR is not set: no real "
                                                                         "files here.")
    return Path(os.environ["CMLIB_MIRROR"])


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def leftovers(cache):
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def put_part(cache, content):
    cache.mkdir()
    (cache / "thing.bin.part").write_bytes(content)


def one_sentence(caught):
    """The message; no chained library error may be shown under it."""
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


def test_downloads_once_and_then_uses_the_cache(server, cache):
    assert fetch("thing") == cache / "thing.bin"
    assert fetch("thing").read_bytes() == BODY
    assert server.ranges == [None] and leftovers(cache) == ["thing.bin"]


def test_a_link_that_breaks_is_continued_where_it_broke(server, cache):
    server.cut = [200_000, 100_000]
    assert fetch("thing").read_bytes() == BODY
    assert server.ranges == [None, "bytes=200000-", "bytes=300000-"]


def test_many_breaks_are_survived_as_long_as_each_brings_something(server):
    server.cut = [40_000] * 9
    assert fetch("thing").read_bytes() == BODY
    assert len(server.ranges) == 10 > fetching.ATTEMPTS


def test_giving_up_keeps_what_came_and_the_next_call_continues(server, cache):
    server.cut = [1000] + [0] * fetching.ATTEMPTS
    with pytest.raises(ConnectionError, match="call again to continue") as caught:
        fetch("thing")
    one_sentence(caught)
    assert leftovers(cache) == ["thing.bin.part"]
    assert (cache / "thing.bin.part").read_bytes() == BODY[:1000]
    server.ranges.clear()
    assert fetch("thing").read_bytes() == BODY
    assert server.ranges == ["bytes=1000-"]


def test_a_server_that_ignores_range_starts_over(server, cache):
    server.knows_ranges = False
    put_part(cache, b"x" * 1000)
    assert fetch("thing").read_bytes() == BODY
    assert server.ranges == ["bytes=1000-"]


def test_a_first_half_of_another_file_is_noticed_and_fetched_afresh(server, cache):
    put_part(cache, b"x" * 1000)
    assert fetch("thing").read_bytes() == BODY
    assert server.ranges == ["bytes=1000-", None]


def test_a_part_that_was_already_whole(server, cache):
    put_part(cache, BODY)
    assert fetch("thing").read_bytes() == BODY
    assert server.ranges == [f"bytes={len(BODY)}-"]


def test_a_link_that_hangs_is_dropped_and_tried_again(server, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    server.cut, server.stall = [65_536], threading.Event()
    assert fetch("thing").read_bytes() == BODY
    assert server.ranges == [None, "bytes=65536-"]
    server.stall.set()


def test_wrong_hash_is_deleted_and_said(server, cache):
    server.body = b"<html>please log in</html>" * 10
    with pytest.raises(ValueError) as caught:
        fetch("thing")
    assert one_sentence(caught) == (
        f"What 127.0.0.1 gave for thing.bin was refused and deleted, because it has SHA-256 "
        f"{hashlib.sha256(server.body).hexdigest()[:12]}… instead of {THING.sha256[:12]}…: try again (a "
        "login page of your "
        f"network may have answered instead), or fetch {server.url} by hand into {cache / 'thing.bin'}.")
    assert leftovers(cache) == []


def test_a_file_damaged_in_the_cache_is_replaced(server, cache):
    fetch("thing").write_bytes(BODY[:-1] + b"?")
    assert fetch("thing").read_bytes() == BODY


def test_a_flood_is_stopped(server, cache, monkeypatch):
    server.body = BODY * 5
    sizes, verify = [], sources.Source.verify

    def watched(self, path):
        sizes.append(path.exists() and path.stat().st_size)
        verify(self, path)

    monkeypatch.setattr(sources.Source, "verify", watched)
    with pytest.raises(ValueError, match="refused and deleted"):
        fetch("thing")
    assert 2 * len(BODY) < max(sizes) < 3 * len(BODY) and len(server.ranges) == 1 and leftovers(cache) == []


def test_a_file_cut_short_by_its_sender_is_refused_and_deleted(server, cache):
    server.body = BODY[:-1000]  # whole as far as HTTP can tell
    with pytest.raises(ValueError, match="refused and deleted, because it has SHA-256") as caught:
        fetch("thing")
    one_sentence(caught)
    assert leftovers(cache) == []


def test_missing_on_the_server_is_not_tried_again(server, cache):
    server.status = 404
    with pytest.raises(ConnectionError, match="answered 404") as caught:
        fetch("thing")
    one_sentence(caught)
    assert len(server.ranges) == 1 and leftovers(cache) == []


def test_a_busy_server_is_tried_again(server):
    server.status = 503
    with pytest.raises(ConnectionError, match="answered 503"):
        fetch("thing")
    assert len(server.ranges) == fetching.ATTEMPTS


def test_no_network_says_what_to_do(server, cache, monkeypatch):
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError) as caught:
        fetch("thing")
    message = one_sentence(caught)
    assert leftovers(cache) == []
    for needed in ("CMLIB_MIRROR", server.url, str(cache / "thing.bin"), THING.sha256):
        assert needed in message


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_disk_full_while_writing_leaves_nothing(server, cache, monkeypatch, number):
    real = Path.open

    def full(self, mode="r", *rest):
        handle = real(self, mode, *rest)
        if self.name.endswith(".part"):
            class Full:
                def __enter__(self):
                    return self

                def __exit__(self, *_):
                    handle.close()

                def write(self, data):
                    handle.write(data[:10])
                    raise OSError(number, "full")
            return Full()
        return handle

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(
        OSError, match=r"disk under .* is full: thing.bin needs 0.5 MB; .*CMLIB_CACHE"
    ) as caught:
        fetch("thing")
    one_sentence(caught)
    assert leftovers(cache) == [] and len(server.ranges) == 1


def test_too_little_room_is_seen_before_the_first_byte(server, cache, monkeypatch):
    usage = fetching.shutil.disk_usage("/")
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage._replace(free=len(BODY) - 1))
    with pytest.raises(
        OSError, match="is full: thing.bin needs 0.5 MB; free some space or set CMLIB_CACHE"
    ) as caught:
        fetch("thing")
    one_sentence(caught)
    assert server.ranges == [] and leftovers(cache) == []


def test_a_cache_that_cannot_be_made_is_said(server, cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(PermissionError, match="cannot be written; set CMLIB_CACHE") as caught:
        fetch("thing")
    one_sentence(caught)


def test_interrupting_keeps_what_came(server, cache, monkeypatch):
    server.cut = [100_000]
    monkeypatch.setattr(fetching.time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fetch("thing")
    monkeypatch.undo()
    assert (cache / "thing.bin.part").read_bytes() == BODY[:100_000]


def test_many_at_once_download_once(server, cache):
    server.cut = [100_000]
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch("thing").read_bytes())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (
        found == [BODY] * 6 and server.ranges == [None, "bytes=100000-"] and leftovers(cache) == ["thing.bin"]
    )


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'cifar10-resnet20'"):
        fetch("cifar-resnet20")
    with pytest.raises(ValueError, match="there are noto-emoji, "):
        fetch("zzz")


# ----------------------------------------------------------------------------------------------------------
# mirror


@pytest.fixture
def small_mirror(server, tmp_path, monkeypatch):
    """A mirror folder that holds the thing; the server would notice if it were asked."""
    file = tmp_path / "mirror" / "127.0.0.1" / "a" / "thing.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(BODY)
    monkeypatch.setenv("CMLIB_MIRROR", str(tmp_path / "mirror"))
    return file


def test_the_mirror_is_copied_and_the_network_left_alone(small_mirror, server, cache):
    put_part(cache, b"x" * 10)
    assert fetch("thing").read_bytes() == BODY
    assert server.ranges == [] and leftovers(cache) == ["thing.bin"]


def test_the_mirror_is_checked_too(small_mirror, server, cache):
    small_mirror.write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match="the mirror .* gave for thing.bin was refused and deleted, .*: copy "
                                         "it there again") as caught:
        fetch("thing")
    one_sentence(caught)
    assert leftovers(cache) == [] and server.ranges == []


def test_a_gap_in_the_mirror_is_said(small_mirror, server, cache):
    small_mirror.unlink()
    with pytest.raises(
        FileNotFoundError, match="CMLIB_MIRROR has no 127.0.0.1/a/thing.bin; put the file"
    ) as caught:
        fetch("thing")
    one_sentence(caught)
    assert leftovers(cache) == [] and server.ranges == []


# ---------------------------------------------------------------------------------------------------------
# archives


@pytest.fixture
def archive(server, monkeypatch, tmp_path):
    """A zip on the server whose files, and not whose bytes, are known."""
    contents = {"names.json": b"[1]", "pictures/a.png": b"picture" * 99}
    monkeypatch.setattr(sources, "load_manifest",
                        lambda _: {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})
    monkeypatch.setitem(SOURCES, "thing", replace(SOURCES["thing"], sha256=None, manifest="any"))

    def pack(files, **how):
        with zipfile.ZipFile(tmp_path / "made.zip", "w", **how) as made:
            for name, data in files.items():
                made.writestr(f"repository-1234/{name}", data)
        server.body = (tmp_path / "made.zip").read_bytes()

    return contents, pack


@pytest.mark.parametrize(
    "how", [{}, {"compression": zipfile.ZIP_DEFLATED}, {"compression": zipfile.ZIP_LZMA}]
)
def test_a_zip_packed_another_way_is_the_same_archive(archive, how):
    contents, pack = archive
    pack({"unlisted.txt": b"whatever", **contents}, **how)
    with VerifiedZip(fetch("thing"), sources.load_manifest("any")) as opened:
        assert {name: opened.read(name) for name in contents} == contents


@pytest.mark.parametrize("change, said", [
    ({"pictures/a.png": b"Picture" * 99}, "pictures/a.png .* is not the file the course was built on"),
    ({"pictures/a.png": None}, "pictures/a.png is missing"),
    ({"pictures/a.png": b"0" * 5_000_000}, "claims 5000000 bytes"),
])
def test_a_changed_file_in_the_zip_is_refused(archive, cache, change, said):
    contents, pack = archive
    pack({name: data for name, data in {**contents, **change}.items() if data is not None},
         compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=said) as caught:
        fetch("thing")
    one_sentence(caught)
    assert leftovers(cache) == []


def test_a_zip_that_is_none_or_is_cut_is_refused(archive, server, cache):
    contents, pack = archive
    pack(contents)
    server.body = server.body[:-30]
    with pytest.raises(ValueError, match="not a whole zip archive"):
        fetch("thing")
    assert leftovers(cache) == []


def test_a_zip_damaged_inside_is_refused(archive, server, cache):
    contents, pack = archive
    pack(contents, compression=zipfile.ZIP_DEFLATED)
    at = server.body.index(b"pictures/a.png") + 16
    server.body = server.body[:at] + b"\xff" * 4 + server.body[at + 4:]
    with pytest.raises(ValueError, match="cannot be unpacked|is not the file"):
        fetch("thing")
    assert leftovers(cache) == []


# ---------------------------------------------------------------------------------------------------------
# registry


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_source_is_https_at_a_fixed_place_with_a_proof_and_an_owner(name):
    source = SOURCES[name]
    assert source.url.startswith("https://") and source.licence and source.attribution and source.bytes > 0
    assert bool(source.sha256) != bool(source.manifest)
    assert source.sha256 is None or len(source.sha256) == 64


def test_the_real_files_arrive_from_the_mirror(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("CMLIB_CACHE", str(tmp_path))
    for name, source in SOURCES.items():
        path = fetch(name)
        assert path == tmp_path / source.file and path.stat().st_size == source.bytes
