"""One request as its asker sees it: text, updates, and in the end a whole result.

It knows neither scheduler nor model. Text is handed out in whole characters, and never beyond a place where a stop
string might begin. Where nobody watches and no stop string could end it, tokens are turned into text once, at the end.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol

from torch import Tensor

from .grammar.guide import Guide
from .params import SamplingParams
from .results import Completion, FinishReason, Timings, TokenLogprob, Update, Usage
from .sampler import Chooser, Sample
from .sequence import Sequence
from .text.answers.hearing import Hearing
from .text.answers.said import Said, whole
from .text.narration import Narration
from .text.tokenizer import Tokenizer
from .wheel import Outcome


class Asker(Protocol):
    """Whoever wants what comes of a sequence."""

    @property
    def sequence(self) -> Sequence: ...
    @property
    def is_done(self) -> bool: ...
    @property
    def wants_tokens(self) -> bool:
        """Whether there is anything to compute at all."""
        ...

    def take(self, outcome: Outcome) -> bool:
        """Note what one turn did. False: the sequence need not go on, whatever the turn thought of it."""
        ...

    def end(self, reason: FinishReason, error: Exception | None = None) -> None:
        """Be done, from outside."""
        ...


@dataclass(slots=True)
class Clock:
    """When a request came, first ran, had its first token and its last."""

    came: float = field(default_factory=perf_counter)
    ran: float | None = None
    first: float | None = None
    last: float | None = None

    def started(self, when: float) -> None:
        if self.ran is None:
            self.ran = when

    def token(self) -> None:
        self.last = perf_counter()
        if self.first is None:
            self.first = self.last

    def timings(self, computed: int, completed: int, sequence: Sequence) -> Timings:
        """`computed` prompt tokens were not in the cache, `completed` tokens were chosen."""
        now = perf_counter()
        ran = now if self.ran is None else self.ran
        first = now if self.first is None else self.first
        last = now if self.last is None else self.last
        return Timings(
            queued=ran - self.came,
            first_token=first - self.came,
            total=now - self.came,
            prompt_tokens_per_second=_rate(computed if self.first is not None else 0, first - ran),
            tokens_per_second=_rate(completed - 1, last - first),
            proposed=sequence.proposed,
            accepted=sequence.accepted,
        )


class Request:
    """A generation. `watched`: somebody wants updates, not only the completion."""

    def __init__(
        self,
        id: str,  # noqa: A002 - the name that results give it
        sequence: Sequence,
        params: SamplingParams,
        tokenizer: Tokenizer | None,
        *,
        index: int = 0,
        choice: int = 0,
        watched: bool = False,
        guide: Guide | None = None,
        hearing: Hearing | None = None,
    ) -> None:
        self.id = id
        self.sequence = sequence
        self.index = index
        self.choice = choice
        self.chooser = Chooser(params, sequence.tokens, choice, guide)
        self.updates: deque[Update] = deque()
        self.completion: Completion | None = None
        self._watched = watched
        self._tokenizer = tokenizer
        self._narration = Narration(tokenizer, sequence.tokens, params.stop_strings, hearing)
        self._wants_logprobs = params.logprobs is not None
        self._prompt_logprobs: list[TokenLogprob] | None = None if params.prompt_logprobs is None else []
        self._clock = Clock()
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._unread: list[int] = []
        self._formed = False
        self._said: list[Said] = []

    @property
    def is_done(self) -> bool:
        return self.completion is not None

    @property
    def wants_tokens(self) -> bool:
        return self.sequence.limit > self.sequence.num_prompt or self._prompt_logprobs is not None

    def take(self, outcome: Outcome) -> bool:
        self._clock.started(outcome.began)
        if outcome.error is not None:
            self.end("error", outcome.error)
        if self._prompt_logprobs is not None:
            self._prompt_logprobs += map(self._logprob, outcome.result.read)
        chosen = outcome.result.sample
        if chosen is None and outcome.finished is not None:
            self.end(outcome.finished)
        if chosen is None or self.is_done:
            return not self.is_done
        self._clock.token()
        self._note(chosen)
        reason, said = outcome.finished, list[Said]()
        self._formed = reason == "stop" and chosen.token not in self.sequence.ends
        if reason != "stop" or self._formed:
            self._unread.append(chosen.token)
        if self._watched or self._narration.watches or reason is not None:
            said = self._read(to_end=reason is not None, cut=reason == "length")
            reason = "stop" if self._narration.stopped else reason
        self._hand_out(said, 1, reason)
        return reason is None

    def end(self, reason: FinishReason, error: Exception | None = None) -> None:
        """Be done. What was held back is handed out, except after an error, which may come of that very text."""
        if self.is_done:
            return
        said = self._read(to_end=True) if error is None and self._token_ids else []  # else it would be the prompt's
        self._hand_out(said, 0, reason, error)

    def _note(self, sample: Sample) -> None:
        self._token_ids.append(sample.token)
        if self._wants_logprobs:
            self._logprobs.append(self._logprob(sample))

    def _logprob(self, sample: Sample) -> TokenLogprob:
        top = tuple(self._named(token, value) for token, value in sample.top)
        return self._named(sample.token, sample.logprob or 0.0, top)

    def _named(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        if self._tokenizer is None:
            return TokenLogprob(token, "", logprob, top)
        return TokenLogprob(token, self._tokenizer.token(token), logprob, top, self._tokenizer.data(token))

    def _read(self, *, to_end: bool, cut: bool = False) -> list[Said]:
        """What is unread, as far as it may be handed out."""
        unread, self._unread = self._unread, []
        return self._narration.push(unread, to_end=to_end, cut=cut)

    def _hand_out(
        self, said: list[Said], tokens: int, reason: FinishReason | None, error: Exception | None = None
    ) -> None:
        self._said += said
        if reason is not None:
            self.completion = self._complete(reason, error)
        if self._watched:
            fresh = tuple(self._token_ids[len(self._token_ids) - tokens :])
            logprobs = tuple(self._logprobs[len(self._logprobs) - tokens :]) if self._wants_logprobs else None
            *before, last = said or [Said()]
            self.updates += [self._update(run) for run in before]
            self.updates.append(self._update(last, fresh, logprobs, reason))

    def _update(
        self,
        said: Said,
        tokens: tuple[int, ...] = (),
        logprobs: tuple[TokenLogprob, ...] | None = None,
        reason: FinishReason | None = None,
    ) -> Update:
        completion = None if reason is None else self.completion
        update = Update(self.id, self.index, said.text, tokens, logprobs, reason, completion, self.choice)
        return replace(update, thought=said.thought, tool_calls=said.calls) if said.thought or said.calls else update

    def _complete(self, reason: FinishReason, error: Exception | None) -> Completion:
        sequence, said = self.sequence, whole(self._said)
        usage = Usage(sequence.num_prompt, len(self._token_ids), sequence.cached or 0)
        return Completion(
            id=self.id,
            text=said.text,
            thought=said.thought,
            tool_calls=said.calls,
            token_ids=tuple(self._token_ids),
            finish_reason=reason,
            logprobs=tuple(self._logprobs) if self._wants_logprobs else None,
            usage=usage,
            timings=self._clock.timings(usage.prompt_tokens - usage.cached_tokens, usage.completion_tokens, sequence),
            prompt_logprobs=None if self._prompt_logprobs is None else tuple(self._prompt_logprobs),
            error=error,
            formed=self._formed,
        )


class Scoring:
    """A request for the scores of tokens that are all given."""

    wants_tokens = True

    def __init__(self, sequence: Sequence) -> None:
        self.sequence = sequence
        self.reason: FinishReason | None = None
        self.error: Exception | None = None
        self.pieces: list[Tensor] = []

    @property
    def is_done(self) -> bool:
        return self.reason is not None

    def take(self, outcome: Outcome) -> bool:
        if outcome.result.scores is not None:
            self.pieces.append(outcome.result.scores)
        if outcome.finished is not None:
            self.end(outcome.finished, outcome.error)
        return not self.is_done

    def end(self, reason: FinishReason, error: Exception | None = None) -> None:
        self.reason, self.error = reason, error


def _rate(count: int, seconds: float) -> float:
    return count / seconds if count > 0 and seconds > 0 else 0.0
