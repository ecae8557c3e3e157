"""From Ollama's bodies to what is asked. Pure: nothing of a model is looked up but what `Known` says of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ....registry.go_templates import is_go, known_jinja
from ...hosting.asking import Ask
from ...params import SamplingParams
from ...text.answers.thoughts import wished
from ..asked import ANY_OBJECT, sampling, seconds
from ..endpoint import invalid
from ..known import Known
from .options import USUAL, read_options
from .tools import in_history, offered
from .types import Asked, ChatBody, ChatMessage, GenerateBody, Think

MOST_ALTERNATIVES = 20


def generate_ask(body: GenerateBody, known: Known) -> Ask:
    """What `body` asks, its prompt being the user's words in a conversation unless it is `raw` or has a suffix."""
    check_generate(body)
    prompt = body.prompt or ""
    common = _common(body, known)
    if body.raw or body.suffix:
        return Ask(**common, text=prompt, suffix=body.suffix or None, raw=bool(body.raw), before=body.context or [])
    messages = [{"role": "user", "content": prompt}]
    if body.system:
        messages.insert(0, {"role": "system", "content": body.system})
    plain = "\n\n".join(text for text in (body.system, prompt) if text)
    template = _template(body.template, known)
    return Ask(**common, messages=messages, text=plain, template=template, before=body.context or [])


def chat_ask(body: ChatBody, known: Known) -> Ask:
    messages = [_message(body, one) for one in body.messages or ()]
    return Ask(**_common(body, known), messages=messages, tools=offered(body.tools))


def check_generate(body: GenerateBody) -> None:
    """Raises `Refused` for what no model could do."""
    if body.raw and (body.template or body.system or body.context):
        raise invalid("raw", "raw mode does not support template, system, or context")
    if body.suffix and (body.template or body.system):
        raise invalid("suffix", "suffix does not support template or system: the text around a hole is all there is")
    if body.images:
        raise invalid("images", f'"{body.model}" does not support images')
    check_asked(body)


def check_asked(body: Asked) -> None:
    if isinstance(body.format, str) and body.format not in ("", "json"):
        raise invalid("format", f'invalid format: "{body.format[:60]}"; expected "json" or a valid JSON Schema object')
    if body.top_logprobs is not None and not 0 <= body.top_logprobs <= MOST_ALTERNATIVES:
        raise invalid("top_logprobs", f"top_logprobs must be between 0 and {MOST_ALTERNATIVES}")


def _common(body: Asked, known: Known) -> dict[str, Any]:
    """The fields of an `Ask` that do not depend on the kind of prompt."""
    options = read_options(body.options)
    return {
        "model": body.model,
        "params": _params(options.sampling, body),
        "variables": _variables(body.think, known, body.model),
        "truncate": body.truncate is not False,
        "fit": True,
        "keep_alive": seconds(body.keep_alive),
        "context": options.context,
        "usual": dict(USUAL),
        "watched": body.stream is not False,
    }


def _params(wanted: Mapping[str, Any], body: Asked) -> SamplingParams:
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    schema = ANY_OBJECT if body.format == "json" else None if body.format == "" else body.format
    return sampling(**wanted, logprobs=logprobs, schema=schema)


def _variables(think: Think | None, known: Known, model: str) -> dict[str, Any]:
    """By which templates know whether to have the model think, and how hard."""
    if think not in (None, False) and not known.thinks:
        raise invalid("think", f'"{model}" does not support thinking')
    return wished(think)


def _template(wanted: str | None, known: Known) -> str | None:
    """The Jinja of a template that a request brings: the model's own, or one of Ollama's that is known."""
    if not wanted or wanted == known.template:
        return None
    if not is_go(wanted):
        raise invalid("template", "template is neither the model's own nor in the language of Ollama")
    jinja = known_jinja(wanted, bos="bos_token" in (known.template or ""))
    if jinja is None:
        raise invalid("template", "template is written for Ollama in a way that is not known here")
    return jinja


def _message(body: ChatBody, message: ChatMessage) -> dict[str, Any]:
    role = message.role.lower()
    if message.images:
        raise invalid("messages.images", f'"{body.model}" does not support images')
    said = {"role": role, "content": message.content or "", **in_history(message)}
    return {**said, "thinking": message.thinking} if message.thinking else said


def embed_inputs(given: str | Sequence[str] | None) -> list[str]:
    """The texts of an embedding request; none where it only wants the model loaded."""
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given)
