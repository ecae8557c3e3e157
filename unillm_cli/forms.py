"""What the answer must look like, from flags: a schema or a grammar out of a file, a pattern, texts to choose from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import UsageError


def read_forms(
    schema: Path | None, regex: str | None, choice: Sequence[str] | None, grammar: Path | None
) -> dict[str, Any]:
    """The fields of `SamplingParams` that the flags give."""
    given = {
        "schema": None if schema is None else _text("--schema", schema),
        "regex": regex,
        "choice": tuple(choice or ()) or None,
        "grammar": None if grammar is None else _text("--grammar", grammar),
    }
    return {name: value for name, value in given.items() if value is not None}


def _text(flag: str, path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{flag} {path}: {reason}", f"{flag} takes the path of a file") from None
