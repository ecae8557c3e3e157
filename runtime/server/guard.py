"""Who may ask at all: keys, hosts and origins, looked at before any route is.

It reads the raw headers and the raw path alone. With a key set everything is refused that does not bring it. A server
that only this machine can reach answers to no foreign host name: a page in somebody's browser could otherwise reach it
under a name of its own.
"""

import hmac
import ipaddress
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..hosting.asking import Fault

KEY_NEEDED = Fault("forbidden", "an API key is needed: Authorization: Bearer KEY")

_LOG = logging.getLogger(__name__)
_LONGEST_PATH = 200  # characters that the log shows
_LOCAL_NAMES = ("localhost",)
_LOCAL_ENDINGS = (".localhost", ".local", ".internal")
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]+))(?::(\d{1,5}))?")
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "authorization, content-type, x-api-key, anthropic-version, anthropic-beta, "
    "anthropic-dangerous-direct-browser-access, user-agent, x-stainless-arch, x-stainless-lang, x-stainless-os, "
    "x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, x-stainless-runtime-version, "
    "x-stainless-timeout",
    "Access-Control-Max-Age": "600",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """`keys` that are let in, none: everybody; `open_paths` answer without one. `local`: the server listens on this
    machine alone, so that only local host names are meant. `origins` are pages that may call from a browser, besides
    those of this machine.
    """

    keys: tuple[str, ...] = ()
    open_paths: frozenset[str] = frozenset()
    local: bool = True
    origins: tuple[str, ...] = ()


Refusal = Callable[[str, Fault, int, str], Response]  # of a path, why, with which status, to which request


class Guard:
    """Lets a request through to `app`, or has it refused; gives each its number, and a line in the log."""

    def __init__(self, app: ASGIApp, rules: Rules, refusal: Refusal, new_id: Callable[[], str]) -> None:
        self._app = app
        self._rules = rules
        self._refusal = refusal
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began, request_id = monotonic(), self._new_id()
        scope.setdefault("state", {})["id"] = request_id
        headers = scope["headers"]
        origin = _only(headers, b"origin")
        answer = _Answer(send, request_id)
        try:
            if (refused := self._refused(scope, headers, origin)) is not None:
                await self._refusal(scope["path"], *refused, request_id)(scope, receive, answer)
            elif origin is not None and scope["method"] == "OPTIONS":
                answer.origin = origin
                await Response(status_code=204, headers=_PREFLIGHT)(scope, receive, answer)
            else:
                answer.origin = origin
                await self._app(scope, receive, answer)
        finally:
            path = scope.get("raw_path", b"").decode("latin-1")[:_LONGEST_PATH]
            took = monotonic() - began
            _LOG.info("%s %s %s %.3fs %s", scope["method"], path, answer.status or "-", took, request_id)

    def _refused(
        self, scope: Scope, headers: Iterable[tuple[bytes, bytes]], origin: str | None
    ) -> tuple[Fault, int] | None:
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or (host := _host(hosts[0])) is None:
            return Fault("invalid", "the Host header is not a host"), 400
        if self._rules.local and not _is_local(host):
            return Fault("forbidden", "this server answers to local names only"), 403
        if origin is not None and not self._may_call(origin) and not self._is_own(origin, hosts[0], host):
            return Fault("forbidden", "this origin may not call this server"), 403
        if scope["method"] == "OPTIONS" and origin is not None:
            return None
        has_key = not self._rules.keys or self._has_key(headers)
        scope["state"]["has_key"] = has_key
        if not has_key and scope["path"] not in self._rules.open_paths:
            return KEY_NEEDED, 401
        return None

    def _may_call(self, origin: str) -> bool:
        if "*" in self._rules.origins or origin in self._rules.origins:
            return True
        scheme, _, rest = origin.partition("://")
        if scheme in ("app", "file", "tauri") or scheme.startswith("vscode-"):
            return True
        host = _host(rest.encode("latin-1", "replace"))
        return scheme in ("http", "https") and host is not None and (host == "localhost" or _is_loopback(host))

    def _is_own(self, origin: str, said: bytes, host: str) -> bool:
        """Whether it is a page of this server itself, opened under the very host that `said` it.

        Whoever owns a name can have it mean this machine: such a name is believed only where a key is needed, which a
        page of theirs does not have.
        """
        scheme, _, rest = origin.partition("://")
        if scheme not in ("http", "https") or rest.lower() != said.decode("latin-1").lower():
            return False
        return bool(self._rules.keys) or _is_local(host) or _is_address(host)

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


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class _Answer:
    """Sends an answer on with its number, and who may read it; remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status: int | None = None
        self.origin: str | None = None
        self._send = send
        self._request_id = request_id

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), *self._more()]
        await self._send(message)

    def _more(self) -> Iterable[tuple[bytes, bytes]]:
        yield b"x-request-id", self._request_id.encode()
        yield b"request-id", self._request_id.encode()  # as Anthropic's clients know it
        yield b"x-content-type-options", b"nosniff"  # the page shares this origin: no answer becomes a document or code
        if self.origin is not None:
            yield b"access-control-allow-origin", self.origin.encode("latin-1")
            yield b"access-control-expose-headers", b"x-request-id, request-id, x-queue-position, retry-after"
            yield b"vary", b"Origin"
