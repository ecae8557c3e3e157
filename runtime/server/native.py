"""What our own client asks: a question answered piece by piece, and what is loaded.

The pieces go out as they are inside, a line of JSON each, so that the client gives back what an engine in its own
process would.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..hosting.asking import Ask, Fault, Piece, Resident
from ..params import SamplingParams
from ..text.answers.thoughts import wished
from .app import json_response
from .asked import naming, sampling
from .endpoint import Endpoint, Refused, Server, invalid, not_loaded
from .known import THINKS_NOT, known_of
from .limits import (
    Alternatives,
    Answers,
    Bias,
    Choices,
    Count,
    Penalty,
    Positive,
    Schema,
    Seed,
    Share,
    Stops,
    Temperature,
    Token,
    TopK,
)
from .own import OWN
from .reading import as_plain
from .streaming import stream

# How people's chat programs sample where nobody says anything of it.
USUAL: Mapping[str, Any] = {"temperature": 0.8, "top_k": 40, "top_p": 0.9}


class Wanted(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Fields of `SamplingParams`."""

    max_tokens: Count | None = None
    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    repetition_penalty: Temperature | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[Token, Bias] | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    logprobs: Alternatives | None = None
    n: Answers | None = None
    ignore_eos: bool | None = None
    schema: Schema | str | None = None
    regex: str | None = None
    choice: Choices | None = None
    grammar: str | None = None


class Spoken(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A message; `tool_calls` are those that the model made, written as OpenAI writes them."""

    role: str
    content: str = ""
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class Question(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Either `text` or `messages`; `text` is a conversation's first words unless it is `raw`.

    `usual`: where neither the question nor the model says how to sample, it is as chat programs do. `tools` are written
    as OpenAI writes them; `tool_choice` is none, auto, required, or a tool's name. `think` is for models that can be
    told whether to, and how hard.
    """

    model: str
    text: str | None = None
    messages: list[Spoken] | None = None
    raw: bool = False
    params: Wanted = msgspec.field(default_factory=Wanted)
    usual: bool = False
    keep_alive: float | None = None
    context: Positive | None = None
    tools: list[dict[str, Any]] = []
    tool_choice: str = "auto"
    parallel_calls: bool = True
    think: bool | Literal["low", "medium", "high"] | None = None


class Counted(msgspec.Struct):
    tokens: int


class About(msgspec.Struct):
    """Which program answers here."""

    program: str
    version: str


class Pin(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    pinned: bool = True


class Pieces:
    """The scribe: pieces as they are."""

    media_type = "application/x-ndjson"

    def write(self, piece: Piece) -> Iterable[bytes]:
        return (msgspec.json.encode(piece) + b"\n",)

    def end(self) -> Iterable[bytes]:
        return ()

    def broke(self, fault: Fault) -> Iterable[bytes]:
        return self.write(Piece(finish_reason="error", fault=fault))


async def about(server: Server, _body: None, _request: Request) -> Response:
    return json_response(About("unillm", server.version))


async def answer(server: Server, body: Question, request: Request) -> Response:
    with naming({}):
        ask = _ask(body)
        if body.think and not (await known_of(server.catalogue, body.model)).thinks:
            raise invalid("think", f"think is not supported with this model: {body.model} {THINKS_NOT}")
        return await stream(server.host, [ask], request, Pieces())


async def count(server: Server, body: Question, _request: Request) -> Response:
    with naming({}):
        return json_response(Counted(await server.host.count(_ask(body))))


async def residents(server: Server, _body: None, _request: Request) -> Response:
    return json_response(await server.host.residents())


async def pin(server: Server, body: Pin, _request: Request) -> Response:
    if not await server.host.pin(body.model, body.pinned):
        raise Refused(not_loaded(body.model))
    return json_response(body)


def _ask(body: Question) -> Ask:
    """What is asked. Raises `Refused` and `InvalidParameter`."""
    if (body.text is None) == (body.messages is None):
        raise invalid("text", "either text or messages must be there, not both")
    said = None if body.messages is None else [{"content": "", **as_plain(one)} for one in body.messages]
    if body.text is not None and not body.raw:
        said = [{"role": "user", "content": body.text}]
    return Ask(
        model=body.model,
        text=body.text,
        messages=said,
        raw=body.raw,
        tools=body.tools,
        tool_choice=body.tool_choice,
        parallel_calls=body.parallel_calls,
        variables=wished(body.think),
        params=_params(body.params),
        keep_alive=body.keep_alive,
        context=body.context,
        usual=dict(USUAL) if body.usual else {},
        usual_together=True,
    )


def _params(wanted: Wanted) -> SamplingParams:
    return sampling(**{name: getattr(wanted, name) for name in wanted.__struct_fields__})


ENDPOINTS = (
    Endpoint("GET", "/about", about, OWN, "Which program answers here", result=About),
    Endpoint("POST", "/answer", answer, OWN, "Answer a question, piece by piece", Question, Piece),
    Endpoint("POST", "/count", count, OWN, "How many tokens a question has", Question, Counted),
    Endpoint("GET", "/residents", residents, OWN, "The models that are loaded", result=list[Resident]),
    Endpoint("POST", "/v1/models/pin", pin, OWN, "Keep a loaded model, or no longer", Pin, Pin),
)
