"""Anthropic's endpoints: each hands its body on as an ask, and the pieces back in its own words."""

from starlette.requests import Request
from starlette.responses import Response

from ...hosting.asking import HostError
from ..app import json_response
from ..asked import naming
from ..endpoint import Endpoint, Server
from ..streaming import gather, stream
from .events import MessageScribe
from .messages import ANTHROPIC, NAMES, to_ask, to_count, whole
from .results import Counted, Message
from .types import CountBody, MessagesBody


async def messages(server: Server, body: MessagesBody, request: Request) -> Response:
    number: str = request.state.id.removeprefix("req_")
    with naming(NAMES):
        ask = to_ask(body)
        if body.stream:
            return await stream(server.host, [ask], request, MessageScribe(body, number))
        return json_response(whole(await gather(server.host, [ask], request), body, number))


async def count_tokens(server: Server, body: CountBody, _request: Request) -> Response:
    """A prompt that no context holds has a count all the same."""
    with naming(NAMES):
        try:
            count = await server.host.count(to_count(body))
        except HostError as error:
            if error.fault.kind != "too_long":
                raise
            count = int(error.fault.numbers["tokens"])
        return json_response(Counted(count))


ENDPOINTS = (
    Endpoint("POST", "/v1/messages", messages, ANTHROPIC, "Continue a conversation", MessagesBody, Message),
    Endpoint("POST", "/v1/messages/count_tokens", count_tokens, ANTHROPIC, "Count tokens", CountBody, Counted),
)
