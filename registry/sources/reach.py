"""Whether the hub answers at all, found out within seconds: its own library would try for half a minute."""

import re
from dataclasses import dataclass
from functools import lru_cache
from threading import Thread
from time import monotonic

_KEPT_SECONDS = 60.0


@dataclass(slots=True)
class _Verdict:
    """What was found out of one hub, and when."""

    reason: str | None = None
    when: float = -_KEPT_SECONDS


def why_unreachable(endpoint: str, seconds: float) -> str | None:
    """Why no answer comes from `endpoint` within that time, or None. The verdict is kept for a minute."""
    verdict = _verdict_on(endpoint)
    if monotonic() - verdict.when >= _KEPT_SECONDS:
        verdict.reason = _asked(endpoint, seconds)
        verdict.when = monotonic()
    return verdict.reason


def note_unreachable(endpoint: str, reason: str) -> None:
    """Keep the verdict of somebody who has waited for `endpoint` in vain."""
    verdict = _verdict_on(endpoint)
    verdict.reason, verdict.when = reason, monotonic()


@lru_cache(maxsize=8)
def _verdict_on(_endpoint: str) -> _Verdict:
    return _Verdict()


def _asked(endpoint: str, seconds: float) -> str | None:
    """A thread of its own asks: no other way bounds the time that looking up a host's name takes."""
    verdict: list[str | None] = []
    thread = Thread(target=lambda: verdict.append(_ask(endpoint, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)
    return verdict[0] if verdict else f"no answer within {seconds:g} seconds"


def _ask(endpoint: str, seconds: float) -> str | None:
    from huggingface_hub import get_session  # late: nobody who only lists models should wait for it

    try:
        get_session().head(endpoint, timeout=seconds, follow_redirects=False)
    except (http_error(), OSError) as error:
        return told(error)
    return None


def told(error: Exception) -> str:
    """Why a connection failed, without the number that the system has for it."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__


def http_error() -> type[Exception]:
    """The base of what the hub library's HTTP client raises; which client that is depends on the library's version."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError" and issubclass(kind, Exception))
