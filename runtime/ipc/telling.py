"""One request in a text process: tokens come from the engine, pieces of text go to the front.

It reads as the engine's own requests do: whole characters, cut exactly at stop strings. It knows no connection.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from msgspec import structs

from ..hosting.asking import Ask, Piece
from ..results import FinishReason, TokenLogprob
from ..text.answers.hearing import Hearing
from ..text.answers.said import Said, whole
from ..text.narration import Narration
from ..text.tokenizer import Tokenizer
from .messages import Logprob, Tokens


@dataclass(slots=True, eq=False)
class _Answer:
    """One of a request's answers, so far. `said`, `tokens` and `logprobs` are what was not handed out yet."""

    narration: Narration
    said: list[Said] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    count: int = 0
    is_cut: bool = False  # it is over as it stands; what the engine still sends is not of it


class Telling:
    """Makes pieces of what the engine sends for `ask`."""

    def __init__(self, ask: Ask, tokenizer: Tokenizer, prompt: Sequence[int], hearing: Hearing | None = None) -> None:
        stops = ask.params.stop_strings
        self._tokenizer = tokenizer
        self._watched = ask.watched
        self._wants_logprobs = ask.params.logprobs is not None
        self._answers = [_Answer(Narration(tokenizer, prompt, stops, hearing)) for _ in range(ask.params.n)]
        self._open = len(self._answers)

    @property
    def is_over(self) -> bool:
        return not self._open

    def take(self, fresh: Tokens) -> tuple[list[Piece], bool]:
        """What to hand out now, and whether the engine should leave this answer, which is over before it thinks so."""
        answer = self._answers[fresh.choice]
        cut_now = False
        if not answer.is_cut:
            cut_now = self._read(answer, fresh)
        if fresh.finish_reason is not None:
            return self._last(answer, fresh), False
        if not self._watched or not (answer.said or answer.tokens):
            return [], cut_now
        return self._handed(answer, fresh.choice), cut_now

    def _read(self, answer: _Answer, fresh: Tokens) -> bool:
        """Note what came. True when the answer is over with it, though the model would go on."""
        answer.count += len(fresh.tokens)
        answer.tokens += fresh.tokens
        answer.logprobs += self._spelled(fresh.logprobs)
        spoken = fresh.tokens[:-1] if fresh.finish_reason == "stop" and not fresh.formed else fresh.tokens
        reason = fresh.finish_reason
        answer.said += answer.narration.push(spoken, to_end=reason not in (None, "error"), cut=reason == "length")
        answer.is_cut = answer.narration.stopped
        return answer.is_cut and fresh.finish_reason is None

    def _handed(self, answer: _Answer, choice: int) -> list[Piece]:
        """What was not handed out yet, in as many pieces as its order wants; the tokens are with the last."""
        *before, last = answer.said if self._watched and answer.said else [whole(answer.said)]
        pieces = [
            Piece(choice=choice, text=run.text, thought=run.thought, part=run.part, calls=run.calls) for run in before
        ]
        pieces.append(
            Piece(
                choice=choice,
                text=last.text,
                thought=last.thought,
                part=last.part,
                calls=last.calls,
                token_ids=answer.tokens,
                logprobs=answer.logprobs if self._wants_logprobs else None,
            )
        )
        answer.said, answer.tokens, answer.logprobs = [], [], []
        return pieces

    def _last(self, answer: _Answer, fresh: Tokens) -> list[Piece]:
        self._open -= 1
        reason: FinishReason | None = "stop" if answer.is_cut else fresh.finish_reason
        usage = None if fresh.usage is None else replace(fresh.usage, completion_tokens=answer.count)
        read = None if fresh.prompt_logprobs is None else self._spelled(fresh.prompt_logprobs)
        *before, last = self._handed(answer, fresh.choice)
        ended = structs.replace(
            last,
            prompt_logprobs=read,
            finish_reason=reason,
            stop=answer.narration.stop,
            usage=usage,
            timings=fresh.timings,
            fault=fresh.fault,
        )
        return [*before, ended]

    def _spelled(self, logprobs: Sequence[Logprob] | None) -> list[TokenLogprob]:
        return [
            self._named(one.token, one.logprob, tuple(self._named(token, value) for token, value in one.top))
            for one in logprobs or ()
        ]

    def _named(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        return TokenLogprob(token, self._tokenizer.token(token), logprob, top, self._tokenizer.data(token))
