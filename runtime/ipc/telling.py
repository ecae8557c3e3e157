"""One request in a text process: tokens come from the engine, pieces of text go to the front.

It reads as the engine's own requests do: whole characters, cut exactly at stop strings. It knows no connection.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..hosting.asking import Ask, Piece
from ..results import FinishReason, TokenLogprob
from ..text.narration import Narration
from ..text.tokenizer import Tokenizer
from .messages import Logprob, Tokens


@dataclass(slots=True, eq=False)
class _Answer:
    """One of a request's answers, so far. `text`, `tokens` and `logprobs` are what was not handed out yet."""

    narration: Narration
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    count: int = 0
    is_cut: bool = False  # a stop string came; what the engine still sends is not of it


class Telling:
    """Makes pieces of what the engine sends for `ask`."""

    def __init__(self, ask: Ask, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        stops = ask.params.stop_strings
        self._tokenizer = tokenizer
        self._watched = ask.watched
        self._wants_logprobs = ask.params.logprobs is not None
        self._answers = [_Answer(Narration(tokenizer, prompt, stops)) for _ in range(ask.params.n)]
        self._open = len(self._answers)

    @property
    def is_over(self) -> bool:
        return not self._open

    def take(self, fresh: Tokens) -> tuple[Piece | None, bool]:
        """What to hand out now, and whether the engine should leave this answer: a stop string has ended it."""
        answer = self._answers[fresh.choice]
        cut_now = False
        if not answer.is_cut:
            cut_now = self._read(answer, fresh)
        if fresh.finish_reason is not None:
            return self._last(answer, fresh), False
        if not self._watched or not (answer.text or answer.tokens):
            return None, cut_now
        return self._handed(answer, fresh.choice), cut_now

    def _read(self, answer: _Answer, fresh: Tokens) -> bool:
        """Note what came. True when a stop string ended the answer with it."""
        answer.count += len(fresh.tokens)
        answer.tokens += fresh.tokens
        answer.logprobs += self._spelled(fresh.logprobs)
        said = fresh.tokens[:-1] if fresh.finish_reason == "stop" else fresh.tokens
        answer.text += answer.narration.push(said, to_end=fresh.finish_reason not in (None, "error"))
        answer.is_cut = answer.narration.stopped
        return answer.is_cut and fresh.finish_reason is None

    def _handed(self, answer: _Answer, choice: int) -> Piece:
        piece = Piece(
            choice=choice,
            text=answer.text,
            token_ids=answer.tokens,
            logprobs=answer.logprobs if self._wants_logprobs else None,
        )
        answer.text, answer.tokens, answer.logprobs = "", [], []
        return piece

    def _last(self, answer: _Answer, fresh: Tokens) -> Piece:
        self._open -= 1
        reason: FinishReason | None = "stop" if answer.is_cut else fresh.finish_reason
        usage = None if fresh.usage is None else replace(fresh.usage, completion_tokens=answer.count)
        read = None if fresh.prompt_logprobs is None else self._spelled(fresh.prompt_logprobs)
        handed = self._handed(answer, fresh.choice)
        return Piece(
            choice=handed.choice,
            text=handed.text,
            token_ids=handed.token_ids,
            logprobs=handed.logprobs,
            prompt_logprobs=read,
            finish_reason=reason,
            stop=answer.narration.stop,
            usage=usage,
            timings=fresh.timings,
            fault=fresh.fault,
        )

    def _spelled(self, logprobs: Sequence[Logprob] | None) -> list[TokenLogprob]:
        return [
            self._named(one.token, one.logprob, tuple(self._named(token, value) for token, value in one.top))
            for one in logprobs or ()
        ]

    def _named(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        return TokenLogprob(token, self._tokenizer.token(token), logprob, top, self._tokenizer.data(token))
