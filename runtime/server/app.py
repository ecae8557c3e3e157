"""The HTTP application: a table of routes, and one door around each where errors become answers.

What stands before the routes (keys, hosts, origins) is `guard`'s business.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ..hosting.asking import Fault, HostError
from .endpoint import INTERNAL, STATUS, Endpoint, Refused, Server
from .reading import read_json

_LOG = logging.getLogger(__name__)


def application(server: Server, endpoints: Sequence[Endpoint]) -> Starlette:
    """Every endpoint behind its door."""
    paths: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, []).append(endpoint)
    routes = [
        Route(path, _chosen(server, several), methods=[one.method for one in several])
        for path, several in paths.items()
    ]
    return Starlette(routes=routes)


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as JSON."""
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def _chosen(server: Server, endpoints: Sequence[Endpoint]) -> Callable[[Request], Awaitable[Response]]:
    by_method = {one.method: one for one in endpoints}

    async def handle(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" and "HEAD" not in by_method else request.method
        return await _answered(server, by_method[method], request)  # type: ignore[index]

    return handle


async def _answered(server: Server, endpoint: Endpoint, request: Request) -> Response:
    request_id = request.state.id = f"req_{secrets.token_hex(12)}"
    try:
        body = None if endpoint.body is None else await read_json(request, endpoint.body)
        response = await endpoint.answer(server, body, request)
    except Refused as refused:
        return _refusal(endpoint, refused.fault, refused.status, request_id)
    except HostError as error:
        return _refusal(endpoint, error.fault, STATUS[error.fault.kind], request_id)
    except ClientDisconnect:
        return Response(status_code=STATUS["cancelled"])
    except Exception:  # the door: nothing of what went wrong inside goes out
        _LOG.exception("request %s failed", request_id)
        return _refusal(endpoint, INTERNAL, 500, request_id)
    for name, value in _named(request_id).items():
        response.headers.setdefault(name, value)
    return response


def _refusal(endpoint: Endpoint, fault: Fault, status: int, request_id: str) -> Response:
    headers = _named(request_id)
    if fault.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(fault.retry_after)))
    return json_response(endpoint.dialect.error(fault, status, request_id), status, headers)


def _named(request_id: str) -> dict[str, str]:
    """By both names that clients know it by."""
    return {"X-Request-Id": request_id, "Request-Id": request_id}
