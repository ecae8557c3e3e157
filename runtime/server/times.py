"""Spans of time as clients write them: seconds, or "5m", "1h30m", "300ms"; negative ones mean for ever."""

import math
import re

from ..errors import InvalidParameter

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
FOREVER = -1.0


def read_seconds(text: str | float, name: str = "keep_alive") -> float:
    """Seconds; -1 for ever. Raises `InvalidParameter` called `name`."""
    seconds = float(text) if isinstance(text, int | float) else _read(text.strip(), name)
    if not math.isfinite(seconds):
        raise InvalidParameter(name, text, "a number of seconds, or a span such as 5m")
    return FOREVER if seconds < 0 else seconds


def _read(text: str, name: str) -> float:
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text)
    if re.fullmatch(r"\d+(\.\d+)?", rest):
        return sign * float(rest)
    spans = _SPAN.findall(rest)
    if not spans or "".join(number + unit for number, unit in spans) != rest:
        raise InvalidParameter(name, text, "a number of seconds, or a span such as 5m")
    return sign * sum(float(number) * _SECONDS[unit] for number, unit in spans)
