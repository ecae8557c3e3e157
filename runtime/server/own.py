"""What is ours alone: how the server is, its numbers, tokens of text and text of tokens, models loaded and let go."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..hosting.asking import Fault, Health
from .app import json_response
from .endpoint import Endpoint, Refused, Server, not_loaded
from .exposition import exposed
from .limits import Positive, Token


class Own:
    """Errors with a hint."""

    def error(self, fault: Fault, status: int, request_id: str) -> dict[str, Any]:
        told = {"message": fault.message, "type": fault.kind, "param": fault.field, "hint": fault.hint}
        return {"error": {name: value for name, value in told.items() if value is not None}, "request_id": request_id}


class Tokenize(msgspec.Struct, forbid_unknown_fields=True):
    """`special`: names of special tokens in the text are meant as such."""

    model: str
    text: str
    special: bool = False


class Tokenized(msgspec.Struct):
    tokens: list[int]
    count: int


class Detokenize(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    tokens: list[Token]


class Detokenized(msgspec.Struct):
    text: str


class Load(msgspec.Struct, forbid_unknown_fields=True):
    """`keep_alive` in seconds, negative for ever."""

    model: str
    keep_alive: float | None = None
    context: Positive | None = None
    pin: bool = False


class Unload(msgspec.Struct, forbid_unknown_fields=True):
    model: str


async def health(server: Server, _body: None, request: Request) -> Response:
    """Whoever has no key hears how it is, not what is loaded."""
    now: Health = await server.host.health()
    if not request.state.has_key:
        now = msgspec.structs.replace(now, models=[])
    return json_response(now, 200 if now.state == "ready" else 503)


async def metrics(server: Server, _body: None, _request: Request) -> Response:
    text = exposed(await server.host.metrics(), server.host.measures())
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def tokenize(server: Server, body: Tokenize, _request: Request) -> Response:
    tokens = await server.host.encode(body.model, body.text, special=body.special)
    return json_response(Tokenized(tokens, len(tokens)))


async def detokenize(server: Server, body: Detokenize, _request: Request) -> Response:
    return json_response(Detokenized(await server.host.decode(body.model, body.tokens)))


async def load(server: Server, body: Load, _request: Request) -> Response:
    resident = await server.host.load(body.model, keep_alive=body.keep_alive, context=body.context)
    if body.pin:
        await server.host.pin(body.model, pinned=True)
    return json_response(resident)


async def unload(server: Server, body: Unload, _request: Request) -> Response:
    if not await server.host.unload(body.model):
        raise Refused(not_loaded(body.model))
    return json_response({"model": body.model, "state": "leaving"})


OWN = Own()
ENDPOINTS = (
    Endpoint("GET", "/health", health, OWN, "How the server is", result=Health, open_to_all=True, statuses=(200, 503)),
    Endpoint("GET", "/metrics", metrics, OWN, "Numbers for Prometheus"),
    Endpoint("POST", "/tokenize", tokenize, OWN, "Text to tokens", Tokenize, Tokenized),
    Endpoint("POST", "/detokenize", detokenize, OWN, "Tokens to text", Detokenize, Detokenized),
    Endpoint("POST", "/v1/models/load", load, OWN, "Load a model", Load),
    Endpoint("POST", "/v1/models/unload", unload, OWN, "Let a model go", Unload),
)
