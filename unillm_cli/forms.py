"""What the answer must look like, read from where the user has it: in a file, or as the text itself."""

from pathlib import Path

from .errors import UsageError


def read_schema(asker: str, text: str) -> str:
    """The schema that `text` is, or that lies in the file of that name. `asker` is the flag or command that asks."""
    return text if text.lstrip().startswith("{") else read_file(asker, Path(text))


def read_file(asker: str, path: Path) -> str:
    try:
        return path.expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{asker} {path}: {reason}", f"{asker} takes the path of a file") from None
