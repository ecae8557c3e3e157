"""Server-sent events: how OpenAI and Anthropic stream."""

import msgspec

MEDIA_TYPE = "text/event-stream"


def event(value: object, name: str | None = None) -> bytes:
    """One event, whole: JSON holds no bare line break."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + msgspec.json.encode(value) + b"\n\n"
