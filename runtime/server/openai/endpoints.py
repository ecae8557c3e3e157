"""OpenAI's endpoints: each hands its body on as an ask, and the pieces back in its own words."""

import asyncio
from collections.abc import Sequence
from time import time

from starlette.requests import Request
from starlette.responses import Response

from ...hosting.asking import Ask
from ..app import json_response
from ..asked import naming, seconds
from ..endpoint import Endpoint, Server
from ..streaming import gather, stream
from . import chat, completions, responses
from .asking import check_effort
from .embeddings import embeddings, inputs
from .models import models, named
from .response_events import ResponseScribe
from .response_items import whole
from .results import ChatCompletion, Embeddings, Model, Models, TextCompletion
from .types import ChatBody, CompletionBody, EmbeddingBody, ResponseBody
from .wording import OPENAI, Head


async def chat_completions(server: Server, body: ChatBody, request: Request) -> Response:
    with naming(chat.names(body)):
        await check_effort(server, body.model, body.reasoning_effort, "reasoning_effort")
        ask, head = chat.to_ask(body), _head(server, request, body.model)
        if body.stream:
            usage = body.stream_options is not None and bool(body.stream_options.include_usage)
            scribe = chat.ChatScribe(head, ask.params.n, include_usage=usage)
            return await stream(server.host, [ask], request, scribe)
        return json_response(chat.whole(await gather(server.host, [ask], request), head))


async def text_completions(server: Server, body: CompletionBody, request: Request) -> Response:
    with naming({}):
        asks, head = completions.to_asks(body), _head(server, request, body.model)
        texts = await _texts(server, asks) if body.echo else []
        if body.stream:
            scribe = completions.TextScribe(head, body, completions.Echo(texts))
            return await stream(server.host, asks, request, scribe)
        pieces = await gather(server.host, asks, request)
        firsts = [piece.prompt_tokens[:1] for piece in pieces if piece.prompt_tokens is not None]
        names = await _decoded(server, body.model, firsts) if body.echo and body.logprobs is not None else []
        return json_response(completions.whole(pieces, body, completions.Echo(texts, names), head))


async def make_response(server: Server, body: ResponseBody, request: Request) -> Response:
    with naming(responses.names(body)):
        await check_effort(server, body.model, responses.effort(body), "reasoning.effort")
        ask, head = responses.to_ask(body), _head(server, request, body.model)
        if body.stream:
            return await stream(server.host, [ask], request, ResponseScribe(body, head))
        return json_response(whole(await gather(server.host, [ask], request), body, head))


async def embed(server: Server, body: EmbeddingBody, _request: Request) -> Response:
    with naming({"prompt": "input"}):
        given, keep_alive = inputs(body), seconds(body.keep_alive)
        made = await server.host.embed(body.model, given, truncate=False, keep_alive=keep_alive)
        return json_response(await asyncio.to_thread(embeddings, body, made))


async def list_models(server: Server, _body: None, _request: Request) -> Response:
    return json_response(await _known(server))


async def show_model(server: Server, _body: None, request: Request) -> Response:
    return json_response(named(await _known(server), request.path_params["model"]))


def _head(server: Server, request: Request, model: str) -> Head:
    number: str = request.state.id.removeprefix("req_")
    return Head(number, int(time()), model, f"unillm-{server.version}")


async def _texts(server: Server, asks: Sequence[Ask]) -> list[str]:
    """The prompts as text."""
    tokens = await _decoded(server, asks[0].model, [ask.tokens or [] for ask in asks if ask.tokens is not None])
    decoded = iter(tokens)
    return [next(decoded) if ask.text is None else ask.text for ask in asks]


async def _decoded(server: Server, model: str, several: Sequence[Sequence[int]]) -> list[str]:
    return [await server.host.decode(model, tokens) for tokens in several]


async def _known(server: Server) -> Models:
    return await asyncio.to_thread(models, server.catalogue, await server.host.residents())


ENDPOINTS = (
    Endpoint(
        "POST", "/v1/chat/completions", chat_completions, OPENAI, "Continue a conversation", ChatBody, ChatCompletion
    ),
    Endpoint("POST", "/v1/completions", text_completions, OPENAI, "Continue text", CompletionBody, TextCompletion),
    Endpoint("POST", "/v1/responses", make_response, OPENAI, "Respond to a conversation", ResponseBody),
    Endpoint("POST", "/v1/embeddings", embed, OPENAI, "Text to vectors", EmbeddingBody, Embeddings),
    Endpoint("GET", "/v1/models", list_models, OPENAI, "The models that there are", result=Models),
    Endpoint("GET", "/v1/models/{model:path}", show_model, OPENAI, "One of the models", result=Model),
)
