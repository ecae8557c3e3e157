"""A row of the table of routes: where it is, what it takes, who answers, and how its dialect words what goes wrong."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..hosting.asking import Fault, FaultKind, Host
from ..hosting.faults import UNKNOWN
from .catalogue import Catalogue

STATUS: Mapping[FaultKind, int] = {
    "invalid": 400,
    "too_long": 400,
    "not_found": 404,
    "forbidden": 403,
    "busy": 503,
    "no_memory": 503,
    "no_disk": 507,
    "unavailable": 503,
    "unreachable": 502,
    "broken": 500,
    "cancelled": 499,
    "internal": 500,
}


class Dialect(Protocol):
    """How a family of clients expects errors."""

    def error(self, fault: Fault, status: int, request_id: str) -> dict[str, Any]:
        """The body of an error."""
        ...


@dataclass(frozen=True, slots=True)
class Server:
    """What endpoints have to work with."""

    host: Host
    catalogue: Catalogue
    version: str
    quantizes: Lock = field(default_factory=Lock, compare=False, repr=False)  # held while a model is quantised


Answer = Callable[[Server, Any, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`body` is the type that the request's JSON must have; None where there is none to be read."""

    method: Literal["GET", "HEAD", "POST", "DELETE"]
    path: str
    answer: Answer
    dialect: Dialect
    summary: str
    body: type[msgspec.Struct] | None = None
    result: Any = None  # the type of what is answered, for the description of the interface
    reads_stream: bool = False  # the body is no JSON: `answer` reads it itself
    open_to_all: bool = False  # answered without a key too
    statuses: tuple[int, ...] = field(default=(200,))


class Refused(Exception):
    """What an endpoint raises to refuse a request. `status` where its dialect has another one than `STATUS` says."""

    def __init__(self, fault: Fault, status: int | None = None) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.status = status or STATUS[fault.kind]


def invalid(field_name: str | None, message: str, hint: str | None = None) -> Refused:
    """What a field has that it cannot have."""
    return Refused(Fault("invalid", message, hint, field=field_name))


def not_loaded(model: str) -> Fault:
    return Fault("not_found", f"{model} is not loaded", "unillm ps lists what is", field="model")


INTERNAL = Fault("internal", UNKNOWN)
