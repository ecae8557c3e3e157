"""A registry such as Ollama's on 127.0.0.1 for tests: models as layers of bytes, and ways of going wrong on request.

Blobs are sent by way of another host, as there. It remembers what it was asked.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from unillm.tests.support.local_server import serving_in_a_thread

Trouble = Literal["flip", "cut", "longer", "status"]


@dataclass
class Fault:
    """What goes wrong with the next `times` answers of a blob; `status` is said instead of it."""

    trouble: Trouble
    times: int = 1
    status: int = 503


@dataclass(frozen=True)
class Asked:
    path: str
    host: str
    token: str | None
    span: str | None


@dataclass
class Served:
    """One model: `manifest` may be changed, or be bytes that are none."""

    manifest: dict[str, Any] | bytes
    private: bool = False


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class FakeOllamaRegistry:
    """`models` by "namespace/model:tag". All of it may be changed while it runs."""

    models: dict[str, Served] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    sent: int = 0

    def __post_init__(self) -> None:
        registry = self

        class Handler(_Handler):
            @property
            def registry(self) -> FakeOllamaRegistry:
                return registry

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.endpoint = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator["FakeOllamaRegistry"]:
        with serving_in_a_thread(self._server):
            yield self

    def model(self, name: str, *layers: tuple[str, object]) -> Served:
        """Serve a model of these (kind, content)."""
        listed: list[dict[str, Any]] = []
        for kind, content in layers:
            data = content if isinstance(content, bytes) else _text(content).encode()
            self.blobs[digest_of(data)] = data
            kind_name = f"application/vnd.ollama.image.{kind}"
            listed.append({"mediaType": kind_name, "digest": digest_of(data), "size": len(data)})
        served = Served({"schemaVersion": 2, "layers": listed})
        self.models[name] = served
        return served

    def fault(self, digest: str) -> Fault | None:
        waiting = [one for one in self.faults.get(digest, []) if one.times > 0]
        if not waiting:
            return None
        waiting[0].times -= 1
        return waiting[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def registry(self) -> FakeOllamaRegistry:
        raise AttributeError

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        return

    def do_HEAD(self) -> None:
        self._note()
        self._say(200, b"")

    def do_GET(self) -> None:
        self._note()
        if found := re.fullmatch(r"/v2/([^/]+/[^/]+)/manifests/([^/]+)", self.path):
            self._manifest(f"{found[1]}:{found[2]}")
        elif found := re.fullmatch(r"/v2/[^/]+/[^/]+/blobs/(sha256:[0-9a-f]+)", self.path):
            self._say(307, b"", {"Location": f"http://localhost:{self.registry.port}/elsewhere/{found[1]}"})
        elif found := re.fullmatch(r"/elsewhere/(sha256:[0-9a-f]+)", self.path):
            self._blob(found[1])
        else:
            self._say(404, b"")

    def _note(self) -> None:
        get = self.headers.get
        self.registry.asked.append(Asked(self.path, get("Host", ""), get("Authorization"), get("Range")))

    def _manifest(self, name: str) -> None:
        served = self.registry.models.get(name)
        if served is None:
            self._say(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        elif served.private:
            self._say(401, b"", {"WWW-Authenticate": 'Bearer realm="http://elsewhere.example/token"'})
        else:
            body = served.manifest
            self._say(200, body if isinstance(body, bytes) else json.dumps(body).encode())

    def _blob(self, digest: str) -> None:
        if digest not in self.registry.blobs:
            self._say(404, b"")
            return
        data, fault = self.registry.blobs[digest], self.registry.fault(digest)
        if fault and fault.trouble == "status":
            self._say(fault.status, b"")
            return
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(span[1]) if span else 0
        body = _spoiled(data, fault)[start:]
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault and fault.trouble == "cut":
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)
        self.registry.sent += len(body)

    def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _spoiled(data: bytes, fault: Fault | None) -> bytes:
    if fault and fault.trouble == "flip":
        return bytes([data[0] ^ 1]) + data[1:]
    return data + b"more" if fault and fault.trouble == "longer" else data


def _text(content: object) -> str:
    return content if isinstance(content, str) else json.dumps(content)
