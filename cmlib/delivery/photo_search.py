"""A gallery that is asked with words, with photos that somebody liked, or with both; and a page to ask it on.

    search = PhotoSearch(photos, read, known)
    page = SearchPage(search, images)
    print(page.address)
    page.close()
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

MOST = 300  # letters of a query
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Photo search</title>
<style>body{font:16px sans-serif;margin:2em}img{width:96px;margin:4px}.liked{outline:3px solid}</style>
<form><label>Words <input id="words" size="40" autofocus></label> <button>Search</button></form>
<p>Click a photo that is like what you look for; click it again to take that back.</p>
<p id="said" role="status"></p><p id="warning" role="alert"></p><div id="hits"></div><script>
const at = id => document.getElementById(id), liked = new Set(); let last = 0
function shown(row) {
  const photo = new Image(); photo.src = `photo/${row}.png`; photo.alt = `photo ${row}`
  photo.className = liked.has(row) ? "liked" : ""
  photo.onclick = () => { liked.delete(row) || liked.add(row); search() }
  return photo }
async function search() {
  const mine = ++last, asked = new URLSearchParams({words: at("words").value, liked: [...liked].join()})
  const answer = await fetch("search?" + asked), found = await answer.json()
  if (mine != last) return  // a later question has been asked
  at("said").textContent = found.error || `${found.rows.length} photos`
  at("warning").textContent = found.warning || ""
  at("hits").replaceChildren(...[...liked, ...(found.rows || [])].map(shown)) }
document.forms[0].onsubmit = event => { event.preventDefault(); search() }
</script></html>"""


class PhotoSearch:
    """search(words, liked=(), k=12) → {"rows": the nearest photos, best first, "scores": theirs, "warning":
    "" or a sentence}; ValueError for an empty query, and for a photo that is not there.

    photos : (rows, size), brought to length 1 here; two rows at least
    read   : texts → vectors (texts, size) in the same space
    known  : words that the towers have learned from; a query with others gets a warning, in whatever language
        it is
    The query is the direction of its words plus the mean of the photos liked; those are not shown again.
    """

    def __init__(self, photos: Tensor, read: Callable[[list[str]], Tensor], known: Collection[str]):
        if len(photos) < 2:
            raise ValueError(f"In a gallery of {len(photos)} every query finds the same photo, and every "
                             "score of it is perfect: give two photos or more.")
        self.photos, self.read, self.known = normalize(photos, dim=1), read, frozenset(known)

    def __call__(self, words: str, liked: Sequence[int] = (), k: int = 12) -> dict:
        words, liked, n = " ".join(re.findall(r"\w+|[^\w\s]", words.lower())), list(liked), len(self.photos)
        if len(words) > MOST:
            raise ValueError(f"The query has {len(words)} letters, and {MOST} are read: say it shorter.")
        if not (liked or re.search(r"\w", words)):
            raise ValueError("The query is empty: write some words, or choose a photo that is like it.")
        if k < 1:
            raise ValueError(f"k={k} photos cannot be shown: 1 or more.")
        for row in liked:
            if not 0 <= row < n:
                raise ValueError(f"There is no photo {row}: the gallery has photos 0 to {n - 1}.")
        query = self.photos[liked].mean(0) if liked else 0
        if words:
            query = query + normalize(self.read([words])[0], dim=0)
        scores = self.photos @ query
        scores[liked] = -torch.inf
        best = scores.topk(min(k, n - len(set(liked))))
        strange = [word for word in dict.fromkeys(re.findall(r"\w+", words)) if word not in self.known]
        warning = (f"The towers have never read {', '.join(strange)}: in another language, or about other "
                   "things, the nearest photos mean little.") if strange else ""
        return {"rows": best.indices.tolist(), "scores": best.values.tolist(), "warning": warning}


class SearchPage:
    """Serves ``search`` at ``address``, on this machine alone, until ``close()`` or the end of the block.

    images : uint8 (rows, 3, height, width) of the gallery; port : 0 for one that is free
    """

    def __init__(self, search: PhotoSearch, images: Tensor, port: int = 0):
        if len(images) != len(search.photos):
            raise ValueError(f"{len(images)} images of a gallery of {len(search.photos)} photos: one each.")
        handler = type("Handler", (_Handler,), {"search": search, "images": images, "one": threading.Lock()})
        self.server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path, query = urlsplit(self.path)[2:4]
        photo = re.fullmatch(r"/photo/(\d{1,9})\.png", path)
        if path == "/":
            self._send(200, "text/html; charset=utf-8", PAGE.encode())
        elif path == "/search":
            self._answer({name: values[0] for name, values in parse_qs(query).items()})
        elif photo and int(photo[1]) < len(self.images):
            pixels, file = self.images[int(photo[1])].permute(1, 2, 0), io.BytesIO()
            Image.fromarray(pixels.numpy()).save(file, "png")
            self._send(200, "image/png", file.getvalue())
        else:
            self.send_error(404)

    def _answer(self, asked):
        status, liked = 200, asked.get("liked", "")
        try:
            if not re.fullmatch(r"(\d{1,9}(,\d{1,9})*)?", liked):
                raise ValueError("liked is the numbers of photos, such as 3,17.")
            with self.one:  # a model answers one at a time
                found = self.search(asked.get("words", ""), [int(row) for row in liked.split(",") if row])
        except ValueError as error:
            status, found = 400, {"error": str(error)}
        self._send(status, "application/json", json.dumps(found).encode())

    def _send(self, status, kind, content):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(ConnectionError):  # the browser has gone
            self.wfile.write(content)

    def log_message(self, *_):
        """Nothing: a lesson's output is no access log."""
