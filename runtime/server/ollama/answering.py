"""/api/generate, /api/chat and the embeddings: what is asked goes to the host, what comes back into Ollama's words."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...hosting.asking import Ask, Fault, Host, HostError
from ..app import json_response
from ..asked import naming, seconds
from ..endpoint import Refused, Server, invalid
from ..known import known_of
from ..streaming import gather, stream
from .asking import chat_ask, check_asked, check_generate, embed_inputs, generate_ask
from .options import NAMES, read_options
from .results import DebugReply, EmbeddingsReply, EmbedReply, Rendered
from .types import Asked, ChatBody, EmbedBody, EmbeddingsBody, GenerateBody
from .wording import Lines, Wording, empty, moment, nanoseconds

_GENERATE = {"prompt": "prompt", **NAMES}


async def generate(server: Server, body: GenerateBody, request: Request) -> Response:
    with naming(_GENERATE), about(body.model):
        check_generate(body)
        if not body.prompt and not body.suffix:
            return await _loaded(server.host, body, is_chat=False)
        known = await known_of(server.catalogue, body.model)
        return await _answered(server, generate_ask(body, known), body, request)


async def chat(server: Server, body: ChatBody, request: Request) -> Response:
    if not body.model:
        raise invalid("model", "model is required")
    with naming({**_GENERATE, "prompt": "messages"}), about(body.model):
        check_asked(body)
        if not body.messages:
            return await _loaded(server.host, body, is_chat=True)
        known = await known_of(server.catalogue, body.model)
        return await _answered(server, chat_ask(body, known), body, request)


@contextmanager
def about(model: str) -> Iterator[None]:
    """What is refused within is said of the model by the name that the client has for it."""
    try:
        yield
    except (HostError, Refused) as error:
        fault = error.fault
        if fault.kind == "not_found" or not model:
            raise Refused(Fault("not_found", f"model '{model}' not found", fault.hint, field="model")) from None
        if fault.field == "suffix" and "does not support insert" in fault.message:
            raise Refused(msgspec.structs.replace(fault, message=f'"{model}" does not support insert')) from None
        if fault.field == "tools" and "does not support tools" in fault.message:
            raise Refused(msgspec.structs.replace(fault, message=f'"{model}" does not support tools')) from None
        raise


async def _answered(server: Server, ask: Ask, body: Asked, request: Request) -> Response:
    is_chat = isinstance(body, ChatBody)
    if body.render_only:
        prompt = await server.host.render(ask)
        return json_response(
            DebugReply(model=body.model, created_at=moment(), debug_info=Rendered(rendered_template=prompt))
        )
    wording = Wording(
        model=body.model,
        is_chat=is_chat,
        keeps=not is_chat and not ask.raw,
        tells_thoughts=body.think is not False,
    )
    if body.stream is False:
        return json_response(wording.whole(await gather(server.host, [ask], request)))
    return await stream(server.host, [ask], request, Lines(wording))


async def _loaded(host: Host, body: Asked, *, is_chat: bool) -> Response:
    """A request without a prompt: the model is loaded, or let go where it is to stay for no time."""
    reply = empty(body.model, is_chat=is_chat)
    reply.done = True
    keep_alive = seconds(body.keep_alive)
    if keep_alive == 0:
        await host.unload(body.model)
        reply.done_reason = "unload"
    else:
        await host.load(body.model, keep_alive=keep_alive, context=read_options(body.options).context)
        reply.done_reason = "load"
    return json_response(reply)


async def embed(server: Server, body: EmbedBody, _request: Request) -> Response:
    began = monotonic()
    texts = embed_inputs(body.input)
    with naming({"prompt": "input", **NAMES}), about(body.model):
        keep_alive = seconds(body.keep_alive)
        await server.host.load(body.model, keep_alive=None if texts else keep_alive)
        loaded = monotonic()
        context = read_options(body.options).context
        inputs = await _bounded(server.host, body, texts, context)
        made = (
            await server.host.embed(body.model, inputs, truncate=body.truncate is not False, keep_alive=keep_alive)
            if inputs
            else []
        )
    return json_response(
        EmbedReply(
            model=body.model,
            embeddings=[unit(vector[: body.dimensions]) for vector, _ in made],
            total_duration=nanoseconds(monotonic() - began),
            load_duration=nanoseconds(loaded - began),
            prompt_eval_count=sum(count for _, count in made),
        )
    )


async def embeddings(server: Server, body: EmbeddingsBody, _request: Request) -> Response:
    with naming(_GENERATE), about(body.model):
        keep_alive = seconds(body.keep_alive)
        if not body.prompt:
            await server.host.load(body.model, keep_alive=keep_alive)
            return json_response(EmbeddingsReply([]))
        made = await server.host.embed(body.model, [body.prompt], truncate=True, keep_alive=keep_alive)
    return json_response(EmbeddingsReply(made[0][0]))


async def _bounded(host: Host, body: EmbedBody, texts: list[str], context: int | None) -> list[str | list[int]]:
    """The inputs, cut to the context that the request wants."""
    if context is None:
        return list(texts)
    ids = [await host.encode(body.model, text) for text in texts]
    longest = max(map(len, ids), default=0)
    if longest > context and body.truncate is False:
        numbers = {"tokens": longest, "context": context}
        raise Refused(Fault("too_long", f"{longest} tokens, where {context} fit", field="input", numbers=numbers))
    return [one[:context] for one in ids]


def unit(vector: list[float]) -> list[float]:
    """The vector at length one."""
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector] if length else vector
