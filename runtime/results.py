"""What a generation gives back: values, complete in themselves, that any door may word in its own dialect."""

import json
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, TypeAlias

FinishReason: TypeAlias = Literal["stop", "length", "abort", "error"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted. `cached_tokens` of the prompt were not computed again: the prefix cache had them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds since the request came, and the two speeds people ask for (0 where there is nothing to measure).

    `queued` ends when its first token of work was scheduled, `first_token` when the first token was there.
    `accepted` of `proposed` tokens were guessed ahead and then chosen.
    """

    queued: float
    first_token: float
    total: float
    prompt_tokens_per_second: float
    tokens_per_second: float
    proposed: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and its logarithmic probability in the model's own distribution, before temperature and filters.

    `top` holds the likeliest alternatives, best first, as many as were asked for. `data` are the token's bytes, which
    may be part of a character; None where the tokenizer does not tell.
    """

    token_id: int
    token: str
    logprob: float
    top: tuple["TokenLogprob", ...] = ()
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants called. `arguments` are the JSON of an object.

    Where the answer was cut in the midst of its last call, they are as much of that as there is: no whole JSON.
    """

    id: str
    name: str
    arguments: str

    @property
    def values(self) -> dict[str, Any]:
        """The arguments by their names. Raises `ValueError` where they break off."""
        values: dict[str, Any] = json.loads(self.arguments)
        return values

    @property
    def is_whole(self) -> bool:
        """Whether it may be called: its arguments do not break off."""
        try:
            return isinstance(json.loads(self.arguments), dict)
        except (ValueError, RecursionError):
            return False


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished generation. `error` is set where `finish_reason` is "error", and says why.

    `token_ids` are all that the model chose, the one that ended it included; `text` leaves out end tokens and whatever
    follows a stop string, that string included. `prompt_logprobs` has an entry for each token of the prompt but the
    first, which nothing comes before. `alternatives` are the other answers to the same prompt, where `n` asked for
    several.

    Of a conversation `thought` is what the model thought before it spoke, and `tool_calls` are the tools that it wants
    called; neither is in `text`.

    It is `formed` where it ended because what it had to look like was complete: then its last token is text, too.
    """

    id: str
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] | None
    usage: Usage
    timings: Timings
    error: Exception | None = None
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None
    alternatives: tuple["Completion", ...] = ()
    thought: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    formed: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """What is new of one generation: whole characters and the tokens behind them.

    `index` is the prompt's place where several were given, `choice` that of the answer where `n` asked for several.
    The last update of an answer carries its `finish_reason` and the whole `completion`.
    """

    id: str
    index: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] | None = None
    finish_reason: FinishReason | None = None
    completion: Completion | None = None
    choice: int = 0
    thought: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """Whether requests wait or run, and since when (`time.monotonic`) nothing has come of it.

    `since` is the end of the last turn, or when work came to an engine that had none.
    """

    works: bool
    since: float

    @property
    def stalled(self) -> float:
        """For how many seconds work has been waiting for a turn to end; 0 where there is none."""
        return max(monotonic() - self.since, 0.0) if self.works else 0.0


@dataclass(frozen=True, slots=True)
class Stats:
    """The engine at this moment, and what it has done since it was made.

    `cached_tokens` of `prompt_tokens` were found in the prefix cache; `evicted_pages` were taken from it for others;
    `gave_way` counts how often a sequence had to leave its pages to others and come back. Of `proposed` tokens, which
    were guessed ahead, `accepted` were those that the model then chose; `guessing_failed` says why nothing is
    guessed any more, where something went wrong with it.

    Pages are of `kv_dtype`. They come in `slabs`, which take `kv_bytes` of the `kv_budget`, which engines may share.
    `swapped_out` sequences had their pages saved when they gave way, `swapped_in` got them back; `swap_bytes` are saved
    now.

    Pages are free, in the prefix tree (`cached`; some of them in use by running sequences too), or owned by a sequence;
    the three add up to `pages`.
    """

    waiting: int
    running: int
    context: int
    page_size: int
    pages: int
    free_pages: int
    cached_pages: int
    sequence_pages: int
    steps: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    gave_way: int
    evicted_pages: int
    proposed: int = 0
    accepted: int = 0
    guessing_failed: str | None = None
    kv_dtype: str = ""
    kv_bytes: int = 0
    kv_budget: int = 0
    slabs: int = 0
    swapped_out: int = 0
    swapped_in: int = 0
    swap_bytes: int = 0
