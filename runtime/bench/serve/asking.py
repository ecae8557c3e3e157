"""One request of a load: a prompt of random words goes out, the times at which the answer comes are noted.

It speaks what all servers of OpenAI's language understand. That answers go on past an end is a field of ours, of vLLM's
and of llama.cpp's; a server that refuses it is asked without.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from string import ascii_lowercase
from time import perf_counter
from typing import Any, Final

import httpx
import msgspec

from ...errors import ServerRefused, ServerUnreachable

_TRIES: Final = 4  # to find how many words make a prompt
_MOST_SAID: Final = 200


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    text: str | None = None
    delta: _Delta | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_DECODER: Final = msgspec.json.Decoder(_Event)


@dataclass(frozen=True, slots=True)
class Answered:
    """Seconds from the request to the first text, to the last, and to the end, and how many tokens there were."""

    first: float
    last: float
    whole: float
    prompt_tokens: int
    answer_tokens: int
    fault: str | None = None

    @property
    def per_token(self) -> float | None:
        """Seconds between tokens; None of an answer of one."""
        return (self.last - self.first) / (self.answer_tokens - 1) if self.answer_tokens > 1 else None


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks `model` by `http`, whose base is the server's. `words` make a prompt; `endless`: no answer ends early."""

    http: httpx.Client
    model: str
    answer_tokens: int
    words: int
    chat: bool = False
    endless: bool = True
    run: str = field(default_factory=lambda: secrets.token_hex(8))

    def ask(self, number: int) -> Answered:
        """What came of prompt `number`; whatever goes wrong stands in it."""
        try:
            return self._streamed(number)
        except (httpx.HTTPError, msgspec.MsgspecError, ServerRefused) as error:
            return Answered(0, 0, 0, 0, 0, f"{type(error).__name__}: {error}"[:_MOST_SAID])

    def _streamed(self, number: int) -> Answered:
        began = perf_counter()
        first = last = 0.0
        pieces, usage = 0, None
        with self.http.stream("POST", self._path, json=self._body(number, streamed=True)) as response:
            _refuse(response)
            for event in _events(response):
                if event.error is not None:
                    raise ServerRefused("internal", str(event.error))
                usage = event.usage or usage
                if any(map(_says_something, event.choices)):
                    last = perf_counter() - began
                    first, pieces = first or last, pieces + 1
        told = usage or _Usage(0, pieces)  # who tells no numbers sends a token at a time, most likely
        return Answered(first, last, perf_counter() - began, told.prompt_tokens, told.completion_tokens)

    def fitted(self, prompt_tokens: int) -> "Asker":
        """The same, with prompts of about so many tokens. Raises `ServerRefused` and `ServerUnreachable`."""
        asker = replace(self, answer_tokens=2, words=max(prompt_tokens // 2, 1))
        for attempt in range(_TRIES):
            took = asker._counted(-1 - attempt)
            if took is None:
                asker = replace(asker, endless=False)
                continue
            words = max(1, round(asker.words * prompt_tokens / took)) if took else asker.words
            asker = replace(asker, words=words)
            if words == asker.words and took == prompt_tokens:
                break
        return replace(asker, answer_tokens=self.answer_tokens)

    def _counted(self, number: int) -> int | None:
        """The tokens of a prompt, as the server counts them; None where it does not know one of our fields."""
        try:
            response = self.http.post(self._path, json=self._body(number, streamed=False))
        except httpx.HTTPError as error:
            raise ServerUnreachable(str(self.http.base_url), str(error) or type(error).__name__) from error
        if response.status_code == 400 and self.endless and "ignore_eos" in response.text:
            return None
        _refuse(response)
        usage = msgspec.json.decode(response.content, type=_Event).usage
        return 0 if usage is None else usage.prompt_tokens

    @property
    def _path(self) -> str:
        return "chat/completions" if self.chat else "completions"

    def _body(self, number: int, *, streamed: bool) -> dict[str, Any]:
        text = "".join(_words(self.run, number, self.words))
        body: dict[str, Any] = {"model": self.model, "max_tokens": self.answer_tokens, "temperature": 0}
        body |= {"messages": [{"role": "user", "content": text}]} if self.chat else {"prompt": text}
        if streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body | {"ignore_eos": True} if self.endless else body


def _words(run: str, number: int, count: int) -> Iterator[str]:
    """Others for each number and in each run, so that no prompt is found in a cache of prefixes."""
    random = Random(f"{run} {number}")
    for _ in range(count):
        yield " " + "".join(random.choices(ascii_lowercase, k=3))


def _refuse(response: httpx.Response) -> None:
    if response.status_code != 200:
        text = response.read().decode("utf-8", "replace")
        raise ServerRefused(
            "internal", f"status {response.status_code}: {text[:_MOST_SAID]}", None, response.status_code
        )


def _events(response: httpx.Response) -> Iterator[_Event]:
    for line in response.iter_lines():
        if line.startswith("data:") and (data := line[5:].strip()) != "[DONE]":
            yield _DECODER.decode(data)


def _says_something(choice: _Choice) -> bool:
    delta = choice.delta
    return bool(choice.text or (delta is not None and (delta.content or delta.reasoning_content)))
