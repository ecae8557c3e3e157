"""Random JSON schemas of every kind that is supported, the same ones for the same seed."""

from collections.abc import Callable
from random import Random
from typing import Any

Schema = dict[str, Any]
WORDS = ("name", "size", "kind", "an ä", "a/b", "~", "")
PATTERNS = ("^[a-c]{2,4}$", "^(yes|no)$", "^[0-9]{3}-[0-9]{2}$", "x+y?")
FORMATS = ("date", "ipv4", "uuid")
VALUES: tuple[Any, ...] = (None, True, 0, -7, 1.5, "", 'ä\n"', [1, [2]], {"a": {"b": []}})


def random_schema(seed: int) -> Schema:
    """One whose answers are objects, so that they end."""
    chance = Random(seed)
    schema = _object(chance, 3)
    if chance.random() < 0.3:
        schema["$defs"] = {"node": _node(chance)}
        schema["properties"]["tree"] = {"$ref": "#/$defs/node"}
        schema["required"].append("tree")
    return schema


def _any(chance: Random, depth: int) -> Schema:
    kinds: list[Callable[[Random, int], Schema]] = [_text, _integer, _number, _enum, _plain]
    if depth > 0:
        kinds += [_object, _list, _tuple, _either, _both]
    return chance.choice(kinds)(chance, depth)


def _object(chance: Random, depth: int) -> Schema:
    names = chance.sample(WORDS, chance.randint(1, 3))
    schema: Schema = {"type": "object", "properties": {name: _any(chance, depth - 1) for name in names}}
    schema["required"] = [name for name in names if chance.random() < 0.7]
    schema["additionalProperties"] = chance.choice([False, False, False, {"type": "integer"}])
    return schema


def _list(chance: Random, depth: int) -> Schema:
    least = chance.randint(0, 2)
    return {
        "type": "array",
        "items": _any(chance, depth - 1),
        "minItems": least,
        "maxItems": least + chance.randint(0, 2),
    }


def _tuple(chance: Random, depth: int) -> Schema:
    first = [_any(chance, depth - 1) for _ in range(chance.randint(1, 2))]
    return {"type": "array", "prefixItems": first, "items": False, "minItems": len(first)}


def _either(chance: Random, depth: int) -> Schema:
    return {"anyOf": [_any(chance, depth - 1) for _ in range(2)]}


def _both(chance: Random, _depth: int) -> Schema:
    low = chance.randint(-50, 50)
    return {"allOf": [{"type": "integer", "minimum": low}, {"maximum": low + chance.randint(0, 500)}]}


def _text(chance: Random, _depth: int) -> Schema:
    kind = chance.randint(0, 2)
    if kind == 0:
        return {"type": "string", "pattern": chance.choice(PATTERNS)}
    if kind == 1:
        return {"type": "string", "format": chance.choice(FORMATS)}
    least = chance.randint(0, 4)
    return {"type": "string", "minLength": least, "maxLength": least + chance.randint(0, 6)}


def _integer(chance: Random, _depth: int) -> Schema:
    low = chance.randint(-1000, 1000)
    bounds = {"minimum": low, "exclusiveMaximum": low + chance.randint(1, 100)}
    return chance.choice([{"type": "integer", **bounds}, {"type": "integer", "minimum": 0, "multipleOf": 5}])


def _number(chance: Random, _depth: int) -> Schema:
    low = chance.randint(-10, 10) / 2
    return {"type": "number", "exclusiveMinimum": low, "maximum": low + chance.randint(1, 9)}


def _enum(chance: Random, _depth: int) -> Schema:
    return chance.choice([{"enum": chance.sample(VALUES, 3)}, {"const": chance.choice(VALUES)}])


def _plain(chance: Random, _depth: int) -> Schema:
    return {"type": chance.choice(["boolean", "null", ["boolean", "null"]])}


def _node(chance: Random) -> Schema:
    leaf = {"type": "integer", "minimum": 0, "maximum": chance.randint(1, 9)}
    return {
        "type": "object",
        "properties": {"value": leaf, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        "required": ["value", "next"],
        "additionalProperties": False,
    }
