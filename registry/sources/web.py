"""One request, through the session of `huggingface_hub`: its proxies and certificates are the user's.

What goes wrong on the way is a `SourceUnreachable`. What a refusal means is for the source to say.
"""

import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ..digests import CHUNK
from ..errors import MalformedAnswer, OfflineMode, RedirectRefused, SourceUnreachable
from .reach import http_error, told
from .redirects import MOST, STATUSES, redirected, without_secrets

_GZIP_OR_DEFLATE = zlib.MAX_WBITS | 32


class Response(Protocol):
    """What we need of an HTTP response, whichever library it comes from."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]: ...


@contextmanager
def stream(name: str, place: str, address: str, headers: Mapping[str, str], seconds: float) -> Iterator[Response]:
    """The answer of `place` to who asks for `address`, its body still to be read; `seconds` may pass without a byte.

    Other hosts that it sends us to are followed, as far as `redirects` lets us.
    """
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        with ExitStack() as stack:
            yield _Answer(place, _followed(place, address, headers, seconds, stack))
    except OfflineModeIsEnabled as error:
        raise OfflineMode(name) from error
    except http_error() as error:
        raise SourceUnreachable(place, told(error)) from error


def _followed(place: str, address: str, headers: Mapping[str, str], seconds: float, stack: ExitStack) -> Any:
    """The first answer that is no redirect; the stack closes it."""
    from huggingface_hub import get_session  # late: nobody who only lists models should wait for it

    for _ in range(MOST + 1):
        asked = get_session().stream("GET", address, headers=dict(headers), timeout=seconds, follow_redirects=False)
        response = stack.enter_context(asked)
        if response.status_code not in STATUSES:
            return response
        onward = redirected(place, address, response.headers.get("Location"))
        headers = without_secrets(headers, address, onward)
        stack.close()
        address = onward
    raise RedirectRefused(place, address, f"it was the redirect number {MOST + 1} of one request")


@dataclass(frozen=True, slots=True)
class _Answer:
    """A response whose body is never unpacked into more than a chunk at a time, whatever its server made of it."""

    place: str
    response: Any

    @property
    def status_code(self) -> int:
        return int(self.response.status_code)

    @property
    def headers(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.response.headers
        return found

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """The body. It was asked for unpacked; a server that packs it all the same may use gzip or deflate."""
        raw: Iterator[bytes] = self.response.iter_raw(chunk_size)
        match self.headers.get("Content-Encoding", "identity").strip().lower():
            case "identity" | "":
                return raw
            case "gzip" | "x-gzip" | "deflate":
                return self._unpacked(raw)
            case other:
                raise MalformedAnswer(self.place, "content encoding", other)

    def _unpacked(self, raw: Iterator[bytes]) -> Iterator[bytes]:
        unpacker = zlib.decompressobj(_GZIP_OR_DEFLATE)
        try:
            for packed in raw:
                while packed:
                    yield unpacker.decompress(packed, CHUNK)
                    packed = unpacker.unconsumed_tail
            yield unpacker.flush()
        except zlib.error as error:
            raise MalformedAnswer(self.place, "content encoding", str(error)) from error
