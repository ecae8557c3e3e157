"""What is asked of a model in words, made into token ids that fit: conversations, raw text, text with a hole in it.

This is the part of an answer that needs the tokenizer and the template and nothing else: no tensors, no scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...registry.files import Message as SaidBefore
from ..errors import InvalidParameter, InvalidPrompt, NoChatTemplate, NoTokenizer, PromptTooLong
from ..prompts import encode, within
from .template import ChatTemplate, chat_text
from .tokenizer import Tokenizer

Message: TypeAlias = Mapping[str, Any]

# How families mark the text before a hole, after it, and the place to fill it in.
HOLES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("[PREFIX]", "[SUFFIX]", "[MIDDLE]"),
)


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
        tools: Sequence[Any] | None,
        variables: Mapping[str, Any],
        *,
        truncate: bool = False,
    ) -> tuple[list[int], int]:
        """The ids of a conversation, and how many went with its oldest messages so that the rest fits.

        The system's words and the last message stay.
        """
        whole = begun(messages, self.system, self.said)
        bound = None if truncate else self.context
        ids = self._written(whole, tools, variables, bound)
        count, kept = len(ids), list(whole)
        while truncate and len(ids) >= self.context and (oldest := _oldest(kept)) is not None:
            del kept[oldest]
            ids = self._written(kept, tools, variables, bound)
        return self.ids(ids)[0], count - len(ids)

    @property
    def reader(self) -> Tokenizer:
        if self.tokenizer is None:
            raise NoTokenizer(self.name)
        return self.tokenizer

    def _written(
        self,
        messages: Sequence[Message],
        tools: Sequence[Any] | None,
        variables: Mapping[str, Any],
        bound: int | None,
    ) -> list[int]:
        if self.template is None:
            raise NoChatTemplate(self.name)
        text = chat_text(self.reader, self.template, messages, tools=tools, **variables)
        return within(text, self.reader.encode_quoted, bound)


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


def _oldest(messages: Sequence[Message]) -> int | None:
    """Which message may go first: not the system's, not the last."""
    places = [place for place, message in enumerate(messages[:-1]) if message.get("role") != "system"]
    return places[0] if places else None
