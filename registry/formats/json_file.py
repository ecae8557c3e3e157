"""A small JSON file that somebody else wrote (config.json and the like), read within bounds."""

import json
from pathlib import Path
from typing import Any

from ..errors import FormatError
from .limits import MAX_CONFIG
from .reader import BoundedReader


def read_json_object(path: Path, most: int = MAX_CONFIG) -> dict[str, Any]:
    """The object that fills the file. What is not JSON, not an object, too large or too deep is a `FormatError`."""
    with BoundedReader(path) as reader:
        if reader.size > most:
            raise reader.error("file", f"has {reader.size} bytes, more than {most}", 0)
        raw = reader.take(reader.size, "file")
    try:
        found = json.loads(raw.decode("utf-8-sig"))
    except RecursionError as error:
        raise FormatError(path, "file", "is nested too deep") from error
    except ValueError as error:
        raise FormatError(path, "file", f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise FormatError(path, "file", "is not a JSON object")
    return found
