"""A hub on this machine: as much of the Hugging Face hub's protocol as a download of a model speaks, and ways
to break it.
"""

import contextlib
import hashlib
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repo:
    """commits : {hash: {path: bytes}}; refs : {branch or tag: hash}; answers : {status, X-Error-Code} instead
    of everything.
    """

    commits: dict
    refs: dict
    refuses: tuple = ()
    # how many bytes of each successive body of weights; then all of it
    cut: list = field(default_factory=list)
    swap: dict = field(default_factory=dict)  # path: what is sent in place of the announced content

    def files(self, revision):
        return self.commits.get(self.refs.get(revision, revision))


class Hub(ThreadingHTTPServer):
    """Large files are stored apart, as there: ``resolve`` announces size and SHA-256 and redirects to another
    address.
    """

    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.repos, self.asked, self.plain, self.silent = {}, [], {}, 0
        self.connections = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def get_request(self):
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def close(self):
        """Also the connections that a client keeps alive: their threads would go on answering."""
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):  # closed by the other side, or long ago
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.asked.append((self.command, path, self.headers.get("Range")))
        time.sleep(self.server.silent)
        if path in self.server.plain:
            return self.body(*self.server.plain[path])
        api = path.startswith("api/models/")
        group, model, *rest = path.removeprefix("api/models/").split("/")
        repo = self.server.repos.get(f"{group}/{model}")
        if repo is None:
            # to those who are not logged in the hub says 401, not 404
            return self.refuse(401, "RepoNotFound")
        if repo.refuses and (rest[0] != "cdn"):
            return self.refuse(*repo.refuses)
        kind, revision, file = rest[0], "/".join(rest[1:]) if api else rest[1], "/".join(rest[2:])
        files = repo.files(revision)
        if files is None:
            return self.refuse(404, "RevisionNotFound")
        commit = repo.refs.get(revision, revision)
        if api:
            made = {"revision": self.info, "tree": self.tree}[kind](f"{group}/{model}", commit, files)
            return self.body(json.dumps(made).encode(), {"Content-Type": "application/json"})
        if file not in files:
            return self.refuse(404, "EntryNotFound")
        content, large = files[file], file.endswith((".safetensors", ".bin"))
        if kind == "resolve" and large:
            return self.answer(
                302,
                {
                    "Location": f"{self.server.url}/{group}/{model}/cdn/{commit}/{file}",
                    "X-Repo-Commit": commit,
                    "X-Linked-Size": len(content),
                    "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                },
            )
        self.body(repo.swap.get(file, content), {"X-Repo-Commit": commit, "ETag": f'"{git_sha1(content)}"'},
                  repo.cut.pop(0) if large and repo.cut and self.command == "GET" else None)

    @staticmethod
    def info(name, commit, files):
        return {"_id": "0", "id": name, "modelId": name, "sha": commit, "private": False, "tags": [],
                "siblings": [{"rfilename": path} for path in files]}

    @staticmethod
    def tree(name, commit, files):
        return [
            {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
            | (
                {
                    "lfs": {
                        "oid": hashlib.sha256(content).hexdigest(),
                        "size": len(content),
                        "pointerSize": 134,
                    }
                }
                if path.endswith((".safetensors", ".bin"))
                else {}
            )
            for path, content in files.items()
        ]

    def refuse(self, status, code):
        self.answer(status, {"X-Error-Code": code, "X-Error-Message": "No."})

    def body(self, content, headers=None, cut=None):
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        part = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self.answer(
            206 if start else 200, {**(headers or {}), **part, "Accept-Ranges": "bytes"}, content[start:], cut
        )

    def answer(self, status, headers, content=b"", cut=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *_):
        pass
