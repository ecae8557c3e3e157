"""/v1/completions: from its body to what is asked, and from the pieces of the answers to its words."""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import UNSET

from ...hosting.asking import Ask, Piece
from ...results import TokenLogprob
from ..asked import seconds
from ..endpoint import invalid
from ..sse import event
from .asking import prompts, sampled
from .results import TextChoice, TextCompletion, TextScores
from .types import CompletionBody
from .wording import DONE, EventScribe, Head, Tally, counted, finish, spoken, value

MOST_TOKENS = 16  # of an answer, where the client says nothing: OpenAI's own default
MOST_ANSWERS = 1024  # of all prompts together


def to_asks(body: CompletionBody) -> list[Ask]:
    """An ask for each prompt. Raises `Refused` and `InvalidParameter`."""
    given = prompts(body.prompt, "prompt")
    _check(body, given)
    params = sampled(
        body,
        max_tokens=MOST_TOKENS if body.max_tokens is None else body.max_tokens,
        n=made(body),
        logprobs=0 if body.logprobs is None and made(body) > shown(body) else body.logprobs,
        prompt_logprobs=body.logprobs if body.echo else None,
    )
    return [
        Ask(
            model=body.model,
            text=prompt if isinstance(prompt, str) else None,
            tokens=None if isinstance(prompt, str) else prompt,
            suffix=body.suffix or None,
            params=params,
            priority=body.priority or 0,
            keep_alive=seconds(body.keep_alive),
            watched=bool(body.stream),
        )
        for prompt in given
    ]


def shown(body: CompletionBody) -> int:
    """How many answers to a prompt are handed out."""
    return body.n or 1


def made(body: CompletionBody) -> int:
    """How many answers to a prompt are made."""
    return shown(body) if body.best_of is None else body.best_of


class Echo:
    """What of the prompts comes back in front of the answers. `firsts` are the prompts' first tokens in text."""

    def __init__(self, texts: Sequence[str] = (), firsts: Sequence[str] = ()) -> None:
        self.texts = texts
        self.firsts = firsts

    def text(self, prompt: int) -> str:
        return self.texts[prompt] if self.texts else ""

    def scores(self, prompt: int, piece: Piece) -> list[TokenLogprob | str]:
        """Those of the prompt's tokens; of the first there is only the text.

        A token that is not in the text is the one that the tokenizer puts in front of all.
        """
        if piece.prompt_logprobs is None:
            return []
        first = self.firsts[prompt]
        begins = [first] if self.texts[prompt].startswith(first) else []
        return [*begins, *piece.prompt_logprobs]


def whole(pieces: Sequence[Piece], body: CompletionBody, echo: Echo, head: Head) -> TextCompletion:
    """The answers, all of them there: of each prompt's the likeliest, as many as were asked for."""
    done = sorted((piece for piece in pieces if piece.finish_reason is not None), key=lambda piece: piece.choice)
    each = made(body)
    kept = [
        (start // each, piece)
        for start in range(0, len(done), each)
        for piece in _likeliest(done[start : start + each], shown(body))
    ]
    return TextCompletion(
        id=f"cmpl-{head.number}",
        created=head.created,
        model=head.model,
        system_fingerprint=head.fingerprint,
        choices=[_choice(index, prompt, piece, body, echo) for index, (prompt, piece) in enumerate(kept)],
        usage=counted(pieces, each),
    )


class TextScribe(EventScribe):
    """The answers in chunks; the echo of a prompt is the first of each of its answers."""

    def __init__(self, head: Head, body: CompletionBody, echo: Echo) -> None:
        self._head = head
        self._body = body
        self._echo = echo
        self._each = made(body)
        self._tally = Tally(self._each)
        self._lengths: dict[int, int] = {}
        self._include_usage = body.stream_options is not None and bool(body.stream_options.include_usage)

    def write(self, piece: Piece) -> Iterator[bytes]:
        self._tally.add(piece)
        if piece.prompt_tokens is not None:
            yield from self._echoes(piece.choice)
            return
        offset = self._lengths.get(piece.choice, 0)
        scored = None if self._body.logprobs is None else text_scores(spoken(piece), offset)
        self._lengths[piece.choice] = offset + sum(len(one.token) for one in piece.logprobs or ())
        if piece.text or piece.finish_reason is not None or (scored is not None and scored.tokens):
            reason = None if piece.finish_reason is None else finish(piece)
            yield self._chunk(TextChoice(piece.choice, piece.text, scored, reason))

    def end(self) -> Iterator[bytes]:
        if self._include_usage:
            yield event(self._told([], usage=self._tally.usage))
        yield DONE

    def _echoes(self, first: int) -> Iterator[bytes]:
        text = self._echo.text(first // self._each)
        for choice in range(first, first + self._each) if text else ():
            self._lengths[choice] = len(text)
            yield self._chunk(TextChoice(choice, text))

    def _chunk(self, choice: TextChoice) -> bytes:
        return event(self._told([choice], usage=None if self._include_usage else UNSET))

    def _told(self, choices: list[TextChoice], usage: Any) -> TextCompletion:
        return TextCompletion(
            id=f"cmpl-{self._head.number}",
            created=self._head.created,
            model=self._head.model,
            system_fingerprint=self._head.fingerprint,
            choices=choices,
            usage=usage,
        )


def text_scores(scored: Sequence[TokenLogprob | str], offset: int = 0) -> TextScores:
    """In lists, an entry a token; text alone is a token of which nothing is known. The first begins at `offset`."""
    told = TextScores([], [], [], [])
    for one in scored:
        text = one if isinstance(one, str) else one.token
        told.tokens.append(text)
        told.text_offset.append(offset)
        told.token_logprobs.append(None if isinstance(one, str) else value(one.logprob))
        told.top_logprobs.append(None if isinstance(one, str) else _alternatives(one))
        offset += len(text)
    return told


def _check(body: CompletionBody, given: Sequence[str | list[int]]) -> None:
    if made(body) < shown(body):
        raise invalid("best_of", f"best_of is {body.best_of}; it must be n, {shown(body)}, or more")
    if body.stream and made(body) > shown(body):
        raise invalid("best_of", "best_of cannot be streamed: which answers are best is known at their end")
    if body.stream and body.echo and body.logprobs is not None:
        raise invalid("echo", "echo cannot be streamed with logprobs")
    if body.suffix and not all(isinstance(prompt, str) for prompt in given):
        raise invalid("suffix", "suffix needs a prompt of text")
    if len(given) * made(body) > MOST_ANSWERS:
        raise invalid("prompt", f"{len(given)} prompts ask for more than {MOST_ANSWERS} answers together")


def _likeliest(pieces: Sequence[Piece], count: int) -> Sequence[Piece]:
    """The `count` answers with the highest probability a token, the best first; all of them as they came."""
    return pieces if count == len(pieces) else sorted(pieces, key=_likelihood, reverse=True)[:count]


def _likelihood(piece: Piece) -> float:
    scored = piece.logprobs or ()
    return sum(one.logprob for one in scored) / max(len(scored), 1)


def _choice(index: int, prompt: int, piece: Piece, body: CompletionBody, echo: Echo) -> TextChoice:
    scored = None
    if body.logprobs is not None:
        scored = text_scores([*echo.scores(prompt, piece), *spoken(piece)])
    return TextChoice(index, echo.text(prompt) + piece.text, scored, finish(piece))


def _alternatives(one: TokenLogprob) -> dict[str, float]:
    return {**{other.token: value(other.logprob) for other in one.top}, one.token: value(one.logprob)}
