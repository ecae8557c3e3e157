"""The page's files, a row each, and the front door that browsers and other clients share.

The files hold nothing of anybody's and are sent without a key; what the page asks needs it like everything else.
"""

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ..endpoint import Answer, Endpoint, Refused, Server
from ..guard import KEY_NEEDED
from ..ollama.library import running
from ..ollama.wording import OLLAMA
from ..own import OWN
from .choices import Choices, choices

STATIC = Path(__file__).with_name("static")
# By hand: what a system's own table says of .js may be wrong, and a browser told not to sniff would run nothing.
_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing from elsewhere, nothing inline, no text that becomes HTML, and no other site's frame around it.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}


async def front(server: Server, body: None, request: Request) -> Response:
    """The page for browsers; others hear what tells Ollama's clients that they are right here."""
    if "text/html" in request.headers.get("accept", ""):
        response = await _sent("index.html", request)
    elif request.state.has_key:
        response = await running(server, body, request)
    else:
        raise Refused(KEY_NEEDED, 401)
    response.headers["Vary"] = "Accept"
    return response


def _file(name: str) -> Answer:
    async def answer(_server: Server, _body: None, request: Request) -> Response:
        return await _sent(name, request)

    return answer


async def _sent(name: str, request: Request) -> Response:
    path = STATIC / name
    content = await asyncio.to_thread(path.read_bytes)
    tag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[path.suffix])


ENDPOINTS = (
    Endpoint("GET", "/", front, OLLAMA, "The chat page for browsers; whether the server runs", open_to_all=True),
    Endpoint("GET", "/models", choices, OWN, "What can be chosen, with sizes and what fits", result=Choices),
)
FILES = tuple(
    Endpoint("GET", f"/page/{path.name}", _file(path.name), OWN, "A file of the page", open_to_all=True)
    for path in sorted(STATIC.iterdir())
)
