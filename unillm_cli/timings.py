"""How long an answer took: lines while it is under way, a block when it is done. It words numbers and measures none."""

from collections.abc import Callable
from time import monotonic

from ..runtime.results import Completion
from .durations import seconds_text


class Pace:
    """Says now and then how fast tokens come."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = monotonic, every: float = 5.0) -> None:
        self._tell, self._clock, self._every = tell, clock, every
        self._tokens = self._tokens_told = 0
        self._told = clock()

    def count(self, tokens: int) -> None:
        self._tokens += tokens
        now = self._clock()
        if now - self._told >= self._every:
            speed = (self._tokens - self._tokens_told) / (now - self._told)
            self._tell(f"{self._tokens} tokens, {speed:.1f} tokens/s")
            self._told, self._tokens_told = now, self._tokens


def block(completion: Completion, load_seconds: float) -> list[str]:
    """The lines of `--verbose`, in the form that Ollama's users know."""
    usage, timings = completion.usage, completion.timings
    computed = usage.prompt_tokens - usage.cached_tokens
    answering = timings.total - timings.first_token
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    rows = [
        ("total duration", seconds_text(load_seconds + timings.total)),
        ("load duration", seconds_text(load_seconds)),
        ("prompt eval count", f"{computed} token(s){cached}"),
        ("prompt eval duration", seconds_text(timings.first_token - timings.queued)),
        ("prompt eval rate", f"{timings.prompt_tokens_per_second:.2f} tokens/s"),
        ("eval count", f"{usage.completion_tokens} token(s)"),
        ("eval duration", seconds_text(answering)),
        ("eval rate", f"{timings.tokens_per_second:.2f} tokens/s"),
    ]
    if timings.proposed:
        rows.append(("guessed ahead", f"{timings.accepted} of {timings.proposed} token(s) were right"))
    return [f"{name + ':':<22}{value}" for name, value in rows]


def as_data(completion: Completion, model: str, load_seconds: float) -> dict[str, object]:
    """The answer as JSON, under the names that Ollama's clients know; durations in nanoseconds."""
    usage, timings = completion.usage, completion.timings
    return {
        "model": model,
        "response": completion.text,
        **({"thinking": completion.thought} if completion.thought else {}),
        "done": True,
        "done_reason": completion.finish_reason,
        "total_duration": _nanoseconds(load_seconds + timings.total),
        "load_duration": _nanoseconds(load_seconds),
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_cached": usage.cached_tokens,
        "prompt_eval_duration": _nanoseconds(timings.first_token - timings.queued),
        "eval_count": usage.completion_tokens,
        "eval_proposed": timings.proposed,
        "eval_accepted": timings.accepted,
        "eval_duration": _nanoseconds(timings.total - timings.first_token),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
