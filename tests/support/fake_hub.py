"""A hub on 127.0.0.1 for tests: repositories as dictionaries of bytes, and every way of going wrong on request.

It answers the addresses that unillm asks (a search, the listing of a commit, whether a gated repository lets one in,
and the bytes of a file) as huggingface.co does, large files by way of another host, and remembers what it was asked.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import unquote, urlsplit

from unillm.tests.support.hangs import HANGS
from unillm.tests.support.local_server import serving_in_a_thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".gguf", ".bin", ".model")

Trouble = Literal["flip", "cut", "short", "stall", "status", "ignore_range", "shift_range", "endless"]


@dataclass
class Fault:
    """What goes wrong with a file, for the next `times` requests. `at` is a share of its bytes, or a status."""

    trouble: Trouble
    times: int = 1
    at: float = 0.5
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Repo:
    """A repository with one commit, which is that of every branch that it has."""

    files: dict[str, bytes]
    commit: str = COMMIT
    gated: Literal[False, "auto", "manual"] = False
    private: bool = False
    licence: str | None = "apache-2.0"
    admitted: frozenset[str] = frozenset()
    branches: frozenset[str] = frozenset({"main"})
    change: Callable[[dict[str, object]], None] | None = None


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    host: str
    token: str | None
    span: str | None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class FakeHub:
    """The server. `repos`, `faults` and `instead` may be changed while it runs.

    `instead` has the bytes, status line and all, that are sent to who asks for an address with that in it.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.asked: list[Asked] = []
        self.sent = 0
        self.silent = False
        self.ended = threading.Event()
        self.instead: dict[str, Callable[[], Iterable[bytes]]] = {}
        self.searched: object = []
        hub = self

        class Handler(_Handler):
            @property
            def hub(self) -> FakeHub:
                return hub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.endpoint = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator["FakeHub"]:
        with serving_in_a_thread(self._server):
            try:
                yield self
            finally:
                self.ended.set()

    def bodies(self) -> list[str]:
        """The files whose bytes were asked for, in order."""
        return [one.path for one in self.asked if "/resolve/" in one.path]

    def fault(self, name: str) -> Fault | None:
        waiting = [one for one in self.faults.get(name, []) if one.times > 0]
        if not waiting:
            return None
        waiting[0].times -= 1
        return waiting[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves in the middle is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def hub(self) -> FakeHub:
        raise AttributeError

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        return

    def do_HEAD(self) -> None:
        """What the hub's own library asks before each file; and whether anybody is there."""
        self._note()
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", unquote(urlsplit(self.path).path))
        repo = self.hub.repos.get(found[1]) if found else None
        if found and repo:
            data = repo.files[found[3]]
            large = found[3].endswith(LARGE)
            tag = {"X-Linked-Etag": f'"{sha256(data)}"'} if large else {"ETag": f'"{git_id(data)}"'}
            self._say(200, b"", {"X-Repo-Commit": repo.commit, "X-Linked-Size": str(len(data)), **tag})
        else:
            self._say(200, b"")

    def do_GET(self) -> None:
        self._note()
        if self._said_instead():
            return
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/auth-check", path):
            if repo := self._repo(found[1], gate=True):
                self._say(200, b"")
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            if repo := self._repo(found[1]):
                self._list(repo, found[2] or "main")
        elif path == "/api/models":
            self._say(200, json.dumps(self.hub.searched).encode())
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if repo := self._repo(found[1], gate=True):
                self._resolve(repo, found[3])
        elif found := re.fullmatch(r"/elsewhere/([^/]+/[^/]+)/(.+)", path):
            self._send_file(found[2], self.hub.repos[found[1]].files[found[2]])
        else:
            self._refuse(404, "NoSuchPage")

    def _said_instead(self) -> bool:
        """Answer with the very bytes that a test has for this address, and hang up."""
        found = next((say for part, say in self.hub.instead.items() if part in self.path), None)
        if found is None:
            return False
        self.close_connection = True
        for piece in found():
            self.wfile.write(piece)
            self.hub.sent += len(piece)
        return True

    def _note(self) -> None:
        while self.hub.silent:
            time.sleep(0.05)
        get = self.headers.get
        asked = Asked(self.command, self.path, get("Host", ""), get("Authorization"), get("Range"))
        self.hub.asked.append(asked)

    def _repo(self, name: str, *, gate: bool = False) -> Repo | None:
        """The repository, if whoever asks may see it, and enter it where that is asked; else the refusal is said."""
        repo = self.hub.repos.get(name)
        token = self.headers.get("Authorization")
        if token == "Bearer expired":
            self._refuse(401, None)
        elif repo is None or (repo.private and token not in repo.admitted):
            self._refuse(404 if token else 401, "RepoNotFound")
        elif gate and repo.gated and token not in repo.admitted:
            self._refuse(403 if token else 401, "GatedRepo")
        else:
            return repo
        return None

    def _list(self, repo: Repo, revision: str) -> None:
        if fault := self.hub.fault("listing"):
            self._say(int(fault.at), b"", fault.headers)
            return
        if revision not in repo.branches and revision != repo.commit:
            self._refuse(404, "RevisionNotFound")
            return
        listing: dict[str, object] = {
            "sha": repo.commit,
            "gated": repo.gated,
            "tags": [f"license:{repo.licence}"] if repo.licence else [],
            "siblings": [_sibling(name, data) for name, data in repo.files.items()],
        }
        if repo.change:
            repo.change(listing)
        self._say(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})

    def _resolve(self, repo: Repo, name: str) -> None:
        if name not in repo.files:
            self._refuse(404, "EntryNotFound")
        elif name.endswith(LARGE):
            owner = next(key for key, one in self.hub.repos.items() if one is repo)
            self._say(302, b"", {"Location": f"http://localhost:{self.hub.port}/elsewhere/{owner}/{name}"})
        else:
            self._send_file(name, repo.files[name])

    def _send_file(self, name: str, data: bytes) -> None:
        fault = self.hub.fault(name)
        if fault and fault.trouble == "status":
            self._say(int(fault.at), b"", fault.headers)
            return
        start = 0
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if span and not (fault and fault.trouble == "ignore_range"):
            start = int(span[1])
        said = start + (fault is not None and fault.trouble == "shift_range")
        length = len(data) + (1 << 22 if fault and fault.trouble == "endless" else 0)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {said}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(length - start))
        self.end_headers()
        self._send_body(_spoiled(data, fault)[start:], fault, len(data))

    def _send_body(self, body: bytes, fault: Fault | None, size: int) -> None:
        if fault and fault.trouble in ("cut", "short", "stall"):
            body = body[: int(size * fault.at)]
        if fault and fault.trouble == "endless":
            body += bytes(1 << 22)
        self.wfile.write(body)
        self.wfile.flush()
        self.hub.sent += len(body)
        if fault and fault.trouble == "stall":
            self.hub.ended.wait(2 * HANGS)
        if fault and fault.trouble in ("cut", "short", "stall"):
            self.close_connection = True

    def _refuse(self, status: int, code: str | None) -> None:
        self._say(status, b'{"error": "no"}', {"X-Error-Code": code} if code else {})

    def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _sibling(name: str, data: bytes) -> dict[str, object]:
    sibling: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": git_id(data)}
    if name.endswith(LARGE):
        sibling["blobId"] = git_id(b"the pointer to " + name.encode())
        sibling["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
    return sibling


def _spoiled(data: bytes, fault: Fault | None) -> bytes:
    if fault and fault.trouble == "flip" and data:
        place = int(len(data) * fault.at)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    return data
