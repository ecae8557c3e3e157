"""The HTTP application: a table of routes, and one door around each where errors become answers.

What stands before the routes (keys, hosts, origins) is `guard`'s business.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ..hosting.asking import Fault, HostError
from .endpoint import INTERNAL, STATUS, Dialect, Endpoint, Refused, Server
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
    app = Starlette(routes=routes, exception_handlers={HTTPException: _nothing_there(endpoints)})
    app.router.redirect_slashes = False  # a redirect would repeat whatever stands in the Host header
    return app


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as JSON."""
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def dialect_at(endpoints: Sequence[Endpoint], path: str) -> Dialect:
    """Which dialect a path means: that of what is there, else most likely that of most endpoints that begin alike."""
    there = [one for one in endpoints if one.path == path] or [one for one in endpoints if _fits(one.path, path)]
    if there:
        return there[0].dialect
    likeness = {place: _alike(endpoint.path, path) for place, endpoint in enumerate(endpoints)}
    most = max(likeness.values(), default=0)
    if not most:
        return endpoints[0].dialect
    names = Counter(id(endpoints[place].dialect) for place, alike in likeness.items() if alike == most)
    (known, _) = names.most_common(1)[0]
    return next(endpoint.dialect for endpoint in endpoints if id(endpoint.dialect) == known)


def new_id() -> str:
    return f"req_{secrets.token_hex(12)}"


def _alike(path: str, other: str) -> int:
    """How many of their first parts are the same."""
    count = 0
    for one, another in zip(path.split("/")[1:], other.split("/")[1:], strict=False):
        if not one or one != another:
            break
        count += 1
    return count


def _chosen(server: Server, endpoints: Sequence[Endpoint]) -> Callable[[Request], Awaitable[Response]]:
    by_method = {str(one.method): one for one in endpoints}

    async def handle(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" and "HEAD" not in by_method else request.method
        return await _answered(server, by_method[method], request)

    return handle


async def _answered(server: Server, endpoint: Endpoint, request: Request) -> Response:
    request_id: str = request.state.id
    try:
        body = None if endpoint.body is None else await read_json(request, endpoint.body)
        return await endpoint.answer(server, body, request)
    except Refused as refused:
        return refusal(endpoint.dialect, refused.fault, refused.status, request_id)
    except HostError as error:
        return refusal(endpoint.dialect, error.fault, STATUS[error.fault.kind], request_id)
    except ClientDisconnect:
        return Response(status_code=STATUS["cancelled"])
    except Exception:  # the door: nothing of what went wrong inside goes out
        _LOG.exception("request %s failed", request_id)
        return refusal(endpoint.dialect, INTERNAL, 500, request_id)


def refusal(dialect: Dialect, fault: Fault, status: int, request_id: str) -> Response:
    """`fault` in the words of a dialect, with what its clients go by."""
    headers: dict[str, str] = {"X-Error-Kind": fault.kind}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(fault.retry_after)))
    if fault.kind == "busy" and "waiting" in fault.numbers:
        headers["X-Queue-Position"] = str(int(fault.numbers["waiting"]))
    if status in (408, 413):  # what is left of the body is not wanted
        headers["Connection"] = "close"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return json_response(dialect.error(fault, status, request_id), status, headers)


def _nothing_there(endpoints: Sequence[Endpoint]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        if status == 405:
            allowed = ", ".join(sorted(one.method for one in endpoints if _fits(one.path, request.scope["path"])))
            headers["Allow"] = allowed or headers.get("Allow", "")
            fault = Fault("invalid", f"this path does not take {request.method}", f"it takes {headers['Allow']}")
        else:
            fault = Fault("not_found", "there is nothing at this path", "see /openapi.json for what there is")
        response = refusal(dialect_at(endpoints, request.scope["path"]), fault, status, request.state.id)
        response.headers.update(headers)
        return response

    return handle


def _fits(path: str, asked: str) -> bool:
    return Route(path, endpoint=_fits).path_regex.match(asked) is not None
