"""What is asked of a model in words, made into token ids that fit: conversations, raw text, text with a hole in it.

This is the part of an answer that needs the tokenizer and the template and nothing else: no tensors, no scores.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ...registry.files import Message as SaidBefore
from ..errors import InvalidParameter, InvalidPrompt, NoChatTemplate, NoTokenizer, NoTools, PromptTooLong
from ..params import SamplingParams
from ..prompts import encode, within
from .answers.forcing import forced
from .answers.hearing import PROMPT_TAIL, Hearing, hearing
from .answers.tools import Tools
from .errors import TemplateFault
from .history import calls_any, with_calls
from .holes import HOLES
from .template import ChatTemplate, chat_text
from .tokenizer import Tokenizer

Message: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Prompting:
    """Makes prompts for one model. `system` and `said` begin every conversation that does not begin otherwise."""

    name: str
    tokenizer: Tokenizer | None
    template: ChatTemplate | None
    context: int
    system: str | None = None
    said: Sequence[SaidBefore] = ()

    def text(self, text: str, *, truncate: bool = False) -> tuple[list[int], int]:
        """The ids of `text`, and how many were left out at its beginning so that it fits."""
        return self.ids(encode(text, self.reader, None if truncate else self.context), truncate=truncate)

    def ids(self, ids: Sequence[int], *, truncate: bool = False) -> tuple[list[int], int]:
        """The same for ids."""
        gone = max(len(ids) - self.context + 1, 0)
        if gone and not truncate:
            raise PromptTooLong(len(ids), self.context)
        return list(ids[gone:]), gone

    def around(self, before: str, after: str) -> list[int]:
        """The ids that ask for what stands between two texts."""
        marks = next((names for names in HOLES if all(name in self.reader.added_tokens for name in names)), None)
        if marks is None:
            raise InvalidParameter("suffix", after, f"left out: {self.name} does not support insert")
        first, second, third = marks
        return self.ids(encode(f"{first}{before}{second}{after}{third}", self.reader, self.context))[0]

    def conversation(
        self,
        messages: Sequence[Message],
        tools: Tools,
        variables: Mapping[str, Any],
        *,
        truncate: bool = False,
    ) -> tuple[list[int], int]:
        """The ids of a conversation, and how many went with its oldest messages so that the rest fits.

        The system's words and the last message stay.
        """
        whole = begun(messages, self.system, self.said)
        ids = self._written(whole, tools, variables, None if truncate else self.context)
        if not truncate or len(ids) < self.context:
            return self.ids(ids)[0], 0
        kept = self._fitting(whole, tools, variables)
        return self.ids(kept)[0], len(ids) - len(kept)

    def hears(self, prompt: Sequence[int], tools: Tools) -> Hearing | None:
        """How answers to a conversation are read, `prompt` being its ids."""
        return None if self.template is None else hearing(self.template.manner, self.reader, prompt, tools)

    def held(self, prompt: Sequence[int], params: SamplingParams, tools: Tools) -> SamplingParams:
        """`params` such that the answer to a conversation calls a tool, where it must."""
        if not tools.must or self.template is None:
            return params
        if params.form is not None:
            raise InvalidParameter("tool_choice", tools.choice, "none or auto where the answer is to have a form")
        tail = self.reader.decode(prompt[-PROMPT_TAIL:], skip_special=False)
        return replace(params, grammar=forced(self.template.manner, self.reader, tools, tail))

    @property
    def reader(self) -> Tokenizer:
        if self.tokenizer is None:
            raise NoTokenizer(self.name)
        return self.tokenizer

    def _fitting(self, whole: Sequence[Message], tools: Tools, variables: Mapping[str, Any]) -> list[int]:
        """The ids of the newest turns that fit; of the last message, where not even that does.

        What must go is found by halving: a conversation of thousands of turns is written a dozen times.
        """
        system = [place for place, message in enumerate(whole[:-1]) if message.get("role") == "system"]

        def since(start: int) -> list[int]:
            kept = [message for place, message in enumerate(whole) if place >= start or place in system]
            return self._written(kept, tools, variables, None)

        turns = [place for place, message in enumerate(whole[:-1]) if message.get("role") == "user"]
        starts = [*turns[1:], len(whole) - 1]
        first = bisect_left(starts, True, key=lambda start: len(since(start)) < self.context)
        return since(starts[min(first, len(starts) - 1)])

    def _written(
        self, messages: Sequence[Message], tools: Tools, variables: Mapping[str, Any], bound: int | None
    ) -> list[int]:
        text = self._text(messages, tools, variables)
        return within(text, self.reader.encode_quoted, bound)

    def _text(self, messages: Sequence[Message], tools: Tools, variables: Mapping[str, Any]) -> str:
        """The conversation as the template writes it; where that wants the arguments of calls as text, so."""
        template, offered = self.template, tools.offered
        if template is None:
            raise NoChatTemplate(self.name)
        if offered and not template.takes_tools:
            raise NoTools(self.name)
        style = template.manner.calls

        def written(*, as_text: bool) -> str:
            whole = with_calls(messages, as_text=as_text)
            prepared = whole if style is None else style.prepare(whole, offered)
            return chat_text(self.reader, template, prepared, tools=offered or None, **variables)

        try:
            return written(as_text=False)
        except TemplateFault:
            if not calls_any(messages):
                raise
            return written(as_text=True)


def begun(messages: Sequence[Message], system: str | None, said: Sequence[SaidBefore]) -> list[Message]:
    """A conversation with what a model's own recipe puts before it; a system message of its own takes that one's place,
    and stays first.
    """
    if not isinstance(messages, Sequence) or not all(isinstance(one, Mapping) for one in messages):
        raise InvalidPrompt("a conversation is a list of messages, each with a role and a content")
    own = [one for one in messages[:1] if one.get("role") == "system"]
    before: list[Message] = [{"role": one.role, "content": one.content} for one in said]
    if system is not None and not any(one.get("role") == "system" for one in [*before, *messages]):
        before.insert(0, {"role": "system", "content": system})
    return [*own, *before, *messages[len(own) :]]
