"""Which backends attend, by their names: one for prompts and one for single tokens. Knows no torch."""

from typing import Final

from .errors import InvalidParameter

AUTO: Final = "auto"
BACKENDS: Final = ("eager", "sdpa", "triton", "flash-attn", "flashinfer")


def read_backends(text: object) -> tuple[str, str] | None:
    """The names for prompts and for single tokens; None for `auto`, which is what the device has.

    Raises `InvalidParameter`.
    """
    if text == AUTO:
        return None
    names = text.split(",") if isinstance(text, str) else []
    if len(names) not in (1, 2) or not set(names) <= set(BACKENDS):
        allowed = f"{AUTO}, {', '.join(BACKENDS)}, or two of these: for prompts and for single tokens"
        raise InvalidParameter("attention_backend", text, allowed)
    return names[0], names[-1]
