"""/v1/chat/completions: from its body to what is asked, and from the pieces of the answer to its words."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from msgspec import UNSET

from ...hosting.asking import Ask, Piece
from ...results import ToolCall
from ..asked import Names, seconds, variables
from ..endpoint import invalid
from ..sse import event
from . import tools
from .asking import sampled, schema_of, thinking
from .results import Answer, ChatCompletion, Choice, Chunk, ChunkChoice, Delta
from .tools import CallDelta, Called, Function, FunctionDelta
from .types import ChatBody, Message
from .wording import DONE, EventScribe, Head, Tally, counted, finish, scores

FORMAT = "response_format"


def to_ask(body: ChatBody) -> Ask:
    """What `body` asks. Raises `Refused` and `InvalidParameter`."""
    params = sampled(
        body,
        max_tokens=_most_tokens(body),
        n=body.n,
        logprobs=_alternatives(body),
        schema=schema_of(body.response_format),
    )
    return Ask(
        model=body.model,
        messages=[plain(message, place) for place, message in enumerate(body.messages)],
        variables={**thinking(body.reasoning_effort), **variables(body.chat_template_kwargs)},
        tools=tools.offered(body.tools),
        tool_choice=tools.choice(body.tool_choice),
        parallel_calls=body.parallel_tool_calls is not False,
        calls_in_parts=bool(body.stream),
        params=params,
        priority=body.priority or 0,
        keep_alive=seconds(body.keep_alive),
        watched=bool(body.stream),
    )


def names(body: ChatBody) -> Names:
    """What the fields are called here."""
    formed = {} if body.response_format is None else {"schema": FORMAT}
    called = {} if body.tools is None or body.grammar is not None else {"grammar": "tools"}
    return {"prompt": "messages", **formed, **called}


def plain(message: Message, place: int) -> dict[str, Any]:
    """A message as templates know them."""
    content = message.content if message.content is not None else message.refusal
    if content is None and message.role != "assistant":
        raise invalid(f"messages[{place}].content", f"messages[{place}].content is missing")
    if message.role == "tool" and message.tool_call_id is None:
        raise invalid(f"messages[{place}].tool_call_id", f"messages[{place}].tool_call_id is missing")
    role = "system" if message.role == "developer" else message.role
    said = {"role": role, "content": content if isinstance(content, str) else "\n".join(p.text for p in content or ())}
    reasoning = message.reasoning_content if message.reasoning_content is not None else message.reasoning
    more = {"name": message.name, "reasoning_content": reasoning, "tool_call_id": message.tool_call_id}
    calls = {"tool_calls": tools.in_history(message.tool_calls)} if message.tool_calls else {}
    return {**said, **{name: text for name, text in more.items() if text is not None}, **calls}


def whole(pieces: Sequence[Piece], head: Head) -> ChatCompletion:
    """The answer, all of it there."""
    choices = sorted((piece for piece in pieces if piece.finish_reason is not None), key=lambda piece: piece.choice)
    return ChatCompletion(
        id=f"chatcmpl-{head.number}",
        created=head.created,
        model=head.model,
        system_fingerprint=head.fingerprint,
        choices=[Choice(one.choice, _answer(one), finish(one, called=bool(one.calls)), scores(one)) for one in choices],
        usage=counted(pieces, len(choices)),
    )


def _answer(piece: Piece) -> Answer:
    calls = [Called(id=one.id, function=Function(one.name, one.arguments)) for one in piece.calls]
    thought = piece.thought or UNSET
    return Answer(piece.text if piece.text or not calls else None, "assistant", None, thought, thought, calls or UNSET)


class ChatScribe(EventScribe):
    """The answer in chunks: the role, what is thought, said and called, the reason it ended, and where it was asked for
    the tokens.
    """

    def __init__(self, head: Head, answers: int, *, include_usage: bool) -> None:
        self._head = head
        self._answers = answers
        self._include_usage = include_usage
        self._tally = Tally(answers)
        self._calls: Counter[int] = Counter()  # begun so far, of each choice
        self._open: set[int] = set()  # choices whose last call is told in part

    def write(self, piece: Piece) -> Iterator[bytes]:
        self._tally.add(piece)
        if piece.prompt_tokens is not None:
            for choice in range(self._answers):
                yield self._chunk(ChunkChoice(choice, Delta("assistant", "")))
            return
        if piece.thought:
            thought = Delta(reasoning=piece.thought, reasoning_content=piece.thought)
            yield self._chunk(ChunkChoice(piece.choice, thought))
        scored = scores(piece)
        if piece.text or (scored is not None and scored.content):
            yield self._chunk(ChunkChoice(piece.choice, Delta(content=piece.text), scored))
        for delta in self._called(piece):
            yield self._chunk(ChunkChoice(piece.choice, Delta(tool_calls=[delta])))
        if piece.finish_reason is not None:
            ended = finish(piece, called=self._calls[piece.choice] > 0)
            yield self._chunk(ChunkChoice(piece.choice, Delta(), finish_reason=ended))

    def _called(self, piece: Piece) -> Iterator[CallDelta]:
        choice, part = piece.choice, piece.part
        if part is not None:
            if choice not in self._open:
                self._open.add(choice)
                yield self._begun(choice, replace(part, arguments=""))
            yield CallDelta(index=self._calls[choice] - 1, function=FunctionDelta(part.arguments))
        for call in piece.calls:
            if choice in self._open:  # all of it was told
                self._open.remove(choice)
            else:
                yield self._begun(choice, call)

    def _begun(self, choice: int, call: ToolCall) -> CallDelta:
        place = self._calls[choice]
        self._calls[choice] += 1
        return CallDelta(index=place, id=call.id, type="function", function=FunctionDelta(call.arguments, call.name))

    def end(self) -> Iterator[bytes]:
        if self._include_usage:
            yield event(self._told([], usage=self._tally.usage))
        yield DONE

    def _chunk(self, choice: ChunkChoice) -> bytes:
        return event(self._told([choice], usage=None if self._include_usage else UNSET))

    def _told(self, choices: list[ChunkChoice], usage: Any) -> Chunk:
        return Chunk(
            id=f"chatcmpl-{self._head.number}",
            created=self._head.created,
            model=self._head.model,
            system_fingerprint=self._head.fingerprint,
            choices=choices,
            usage=usage,
        )


def _most_tokens(body: ChatBody) -> int | None:
    old, new = body.max_tokens, body.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise invalid("max_tokens", f"max_tokens is {old} and max_completion_tokens {new}; give one of them")
    return new if new is not None else old


def _alternatives(body: ChatBody) -> int | None:
    if body.top_logprobs is not None and not body.logprobs:
        raise invalid("top_logprobs", "top_logprobs needs logprobs to be true")
    return (body.top_logprobs or 0) if body.logprobs else None
