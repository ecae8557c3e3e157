"""Parameters that are written one by one, each between marks: as text where the tool takes text, else as JSON."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .calls import Free, Malformed, Maybe, Part, parsed


def value(raw: str, key: str, schema: Mapping[str, Any]) -> Any:
    """What was written for the parameter `key`; whatever is no JSON is the text that it is."""
    if takes_text(_property(schema, key)):
        return raw
    try:
        return parsed(raw)
    except Malformed:
        return raw


def parameters(schema: Mapping[str, Any], before: Callable[[str], str], after: str) -> Iterator[Part]:
    """Every parameter in its place, those that are not required as what need not be there."""
    required = schema.get("required") or ()
    properties = schema.get("properties") or {}
    shared = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    for key, inner in properties.items():
        parts: tuple[Part, ...] = (before(key), _text(inner) if takes_text(inner) else {**shared, **inner}, after)
        if key in required:
            yield from parts
        else:
            yield Maybe(parts)


def _text(schema: Mapping[str, Any]) -> Free:
    words = schema.get("enum")
    return Free("|".join(re.escape(word) for word in words) if isinstance(words, list) and words else r"[^<]+")


def takes_text(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    if kind is None and isinstance(schema.get("enum"), list):
        return all(isinstance(one, str) for one in schema["enum"])
    return kind == "string" or (isinstance(kind, list) and "string" in kind and "object" not in kind)


def _property(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    properties = schema.get("properties")
    found = properties.get(key) if isinstance(properties, Mapping) else None
    return found if isinstance(found, Mapping) else {}
