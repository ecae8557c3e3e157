"""Who may ask at all: keys, hosts and origins, looked at before any route is.

It reads the raw headers and the raw path alone. With a key set everything is refused that does not bring it. A server
that only this machine can reach answers to no foreign host name: a page in somebody's browser could otherwise reach it
under a name of its own.
"""

import hmac
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = frozenset({"/health"})
_LOCAL_NAMES = ("localhost",)
_LOCAL_ENDINGS = (".localhost", ".local", ".internal")
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]+))(?::(\d{1,5}))?")
_METHODS = b"GET, HEAD, POST, DELETE, OPTIONS"
_HEADERS = b"authorization, content-type, x-api-key, anthropic-version, anthropic-beta"


@dataclass(frozen=True, slots=True)
class Rules:
    """`keys` that are let in, none: everybody. `local`: the server listens on this machine alone, so that only local
    host names are meant. `origins` are pages that may call from a browser, besides those of this machine.
    """

    keys: tuple[str, ...] = ()
    local: bool = True
    origins: tuple[str, ...] = ()


class Guard:
    """Lets a request through to `app`, or answers it."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = scope["headers"]
        origin = _only(headers, b"origin")
        refusal = self._refusal(scope, headers, origin)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        if origin is not None and scope["method"] == "OPTIONS":
            await _preflight(send, origin)
            return
        await self._app(scope, receive, send if origin is None else _allowing(send, origin))

    def _refusal(
        self, scope: Scope, headers: Iterable[tuple[bytes, bytes]], origin: str | None
    ) -> tuple[int, str] | None:
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or (host := _host(hosts[0])) is None:
            return 400, "the Host header is not a host"
        if self._rules.local and not _is_local(host):
            return 403, "this server answers to local names only"
        if origin is not None and not self._may_call(origin):
            return 403, "this origin may not call this server"
        if scope["method"] == "OPTIONS" and origin is not None:
            return None
        if self._rules.keys and scope["path"] not in OPEN_PATHS and not self._has_key(headers):
            return 401, "an API key is needed: Authorization: Bearer KEY"
        return None

    def _may_call(self, origin: str) -> bool:
        if "*" in self._rules.origins or origin in self._rules.origins:
            return True
        scheme, _, rest = origin.partition("://")
        if scheme in ("app", "file", "tauri") or scheme.startswith("vscode-"):
            return True
        host = _host(rest.encode("latin-1", "replace"))
        return scheme in ("http", "https") and host is not None and (host == "localhost" or _is_loopback(host))

    def _has_key(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        told = [value for name, value in headers if name == b"x-api-key"]
        bearer = [value for name, value in headers if name == b"authorization"]
        told += [value[7:].strip() for value in bearer if value[:7].lower() == b"bearer "]
        # Every key is compared, whether one fits or not: how long it takes tells nothing.
        fits = [hmac.compare_digest(one, key.encode()) for one in told for key in self._rules.keys]
        return any(fits)


def _only(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key == name), None)


def _host(text: bytes) -> str | None:
    """The name or address in a Host header; None where it holds anything else."""
    found = _HOST.fullmatch(text.decode("latin-1"))
    return None if found is None else (found[1] or found[2]).lower()


def _is_local(host: str) -> bool:
    if host in _LOCAL_NAMES or host.endswith(_LOCAL_ENDINGS):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


async def _answer(send: Send, status: int, message: str) -> None:
    body = msgspec.json.encode({"error": {"message": message, "type": "invalid_request_error"}})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _crossing(origin: str) -> list[tuple[bytes, bytes]]:
    return [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]


async def _preflight(send: Send, origin: str) -> None:
    headers = [
        *_crossing(origin),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _HEADERS),
        (b"access-control-max-age", b"600"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _allowing(send: Send, origin: str) -> Send:
    async def with_headers(message: dict) -> None:  # type: ignore[type-arg]
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_crossing(origin)]
        await send(message)

    return with_headers  # type: ignore[return-value]
