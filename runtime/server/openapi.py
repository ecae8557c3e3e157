"""The description of the interface, made of the table of routes and of the types that bodies must have.

What stands there is what is accepted, for both come from the same types.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from .app import json_response
from .endpoint import Dialect, Endpoint, Server

_TEMPLATE = "#/components/schemas/{name}"
_PLACE = re.compile(r"\{(\w+)(?::\w+)?\}")
_REFUSALS = {
    "400": "The request holds what it cannot hold; the message names the field.",
    "401": "An API key is needed.",
    "403": "This host name or origin is not let in.",
    "404": "There is no such model.",
    "408": "The body did not come in time.",
    "413": "The body is too long.",
    "503": "Too many wait, memory is short, or the server shuts down; Retry-After says when to come back.",
    "500": "Something went wrong inside, or a file of the model is broken.",
    "502": "Where the model comes from is out of reach.",
    "507": "The disk is full.",
}


def describing(endpoints: Sequence[Endpoint], dialect: Dialect) -> Endpoint:
    """The endpoint that tells of all these, and of itself."""

    async def answer(server: Server, _body: None, _request: Request) -> Response:
        return json_response(description([*endpoints, own], server.version))

    own = Endpoint("GET", "/openapi.json", answer, dialect, "What there is to ask, for programs")
    return own


def description(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """An OpenAPI document, version 3.1."""
    types = {one for endpoint in endpoints for one in (endpoint.body, endpoint.result) if one is not None}
    ordered = sorted(types, key=_name)
    shapes, components = msgspec.json.schema_components(ordered, ref_template=_TEMPLATE)
    schemas = dict(zip(ordered, shapes, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = _PLACE.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "unillm", "version": version or "0"},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }


def _operation(endpoint: Endpoint, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    places = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PLACE.findall(endpoint.path)
    ]
    told: dict[str, Any] = {"summary": endpoint.summary, "responses": _responses(endpoint, schemas)}
    if places:
        told["parameters"] = places
    if endpoint.body is not None:
        content = {"application/json": {"schema": schemas[endpoint.body]}}
        told["requestBody"] = {"required": True, "content": content}
    elif endpoint.reads_stream:
        told["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    if endpoint.open_to_all:
        told["security"] = []
    return told


def _responses(endpoint: Endpoint, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "What was asked for."}
    if endpoint.result is not None:
        good["content"] = {"application/json": {"schema": schemas[endpoint.result]}}
        if "stream" in getattr(endpoint.body, "__struct_fields__", ()):  # or, when it is set, pieces of it
            good["content"] |= {"text/event-stream": {}, "application/x-ndjson": {}}
    told = {str(status): good for status in endpoint.statuses}
    return {**{status: {"description": text} for status, text in _REFUSALS.items()}, **told}


def _name(kind: Any) -> str:
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__name__', kind)}"
