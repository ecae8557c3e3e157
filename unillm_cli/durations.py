"""Spans of time as people say them."""


def ago_text(seconds: float) -> str:
    """How long ago, as people say it: 3 weeks ago."""
    spans = [
        ("year", 31_536_000),
        ("month", 2_592_000),
        ("week", 604_800),
        ("day", 86_400),
        ("hour", 3_600),
        ("minute", 60),
    ]
    for name, length in spans:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now" if seconds > -60 else "in the future"


def seconds_text(seconds: float) -> str:
    """A duration as people read it: 130ms, 4.2s, 3m05s."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.2f}s" if seconds < 60 else f"{int(seconds // 60)}m{seconds % 60:02.0f}s"
