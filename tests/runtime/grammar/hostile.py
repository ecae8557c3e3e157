"""Schemas, patterns and grammars that were made to be slow, deep, endless, or nonsense."""

import json
from collections.abc import Callable, Iterator
from typing import Any


def nested(levels: int, inner: str = '{"type":"string"}') -> str:
    return '{"type":"object","properties":{"a":' * levels + inner + "}}" * levels


def chain(levels: int, link: Callable[[Any], Any]) -> str:
    """A schema in which each part leads to the next one."""
    parts = {f"a{i}": link({"$ref": f"#/$defs/a{i + 1}"}) for i in range(levels)}
    return json.dumps({"$defs": {**parts, f"a{levels}": {"type": "string"}}, "$ref": "#/$defs/a0"})


def integers(count: int) -> dict[str, Any]:
    return {f"p{i}": {"type": "integer"} for i in range(count)}


def _schemas() -> Iterator[tuple[str, str]]:
    texts = {
        "no JSON": "{",
        "a list": "[]",
        "a number": "1",
        "not a number": '{"const": NaN}',
        "an unknown type": '{"type": "foo"}',
        "a type that is a number": '{"type": 1}',
        "properties that are a list": '{"properties": []}',
        "required that is text": '{"type": "object", "required": "a"}',
        "an empty enum": '{"enum": []}',
        "deep": nested(100_000),
        "a bit deep": nested(300),
        "deep lists": "[" * 100_000 + "]" * 100_000,
        "refers to itself": '{"$ref": "#"}',
        "refers in a circle": '{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}',
        "refers to nothing": '{"$ref": "#/$defs/none"}',
        "refers to the network": '{"$ref": "http://127.0.0.1:9/schema.json"}',
        "refers to a file": '{"$ref": "file:///etc/passwd"}',
        "refers to its own language": '{"$ref": "https://json-schema.org/draft/2020-12/schema"}',
        "a tree": '{"type":"object","properties":{"left":{"$ref":"#"},"right":{"$ref":"#"}},"required":["left"]}',
        "a chain": chain(1000, lambda next_: next_),
        "a long chain of objects": chain(4000, lambda next_: {"type": "object", "properties": {"x": next_}}),
        "a chain of lists": chain(2000, lambda next_: {"items": next_}),
        "a chain of conditions": chain(1500, lambda next_: {"allOf": [next_, {"minLength": 1}]}),
        "a chain of alternatives": chain(1500, lambda next_: {"anyOf": [next_, {"type": "integer"}]}),
        "twice as much at each step": chain(40, lambda next_: {"anyOf": [next_, {"items": next_}]}),
        "never": '{"not": {}}',
        "false": "false",
    }
    values: dict[str, Any] = {
        "many texts": {"enum": [str(i) * 3 for i in range(10_000)]},
        "many properties": {"type": "object", "properties": integers(4000)},
        "many required": {"type": "object", "properties": integers(2000), "required": [f"p{i}" for i in range(2000)]},
        "one of many": {"oneOf": [{"type": "object", "properties": {f"a{i}": {}}} for i in range(200)]},
        "endless lists": {"type": "array", "items": {"type": "string"}, "minItems": 10**6, "maxItems": 2 * 10**9},
        "lists of lists": {"maxItems": 1000, "items": {"maxItems": 1000, "items": {"maxItems": 1000}}},
        "endless text": {"type": "string", "minLength": 10**6, "maxLength": 2 * 10**9},
        "a length below nothing": {"type": "string", "minLength": -1},
        "more than at most": {"type": "string", "minLength": 5, "maxLength": 2},
        "a slow pattern": {"type": "string", "pattern": "^(a+)+$"},
        "a large pattern": {"type": "string", "pattern": "((((a{100}){100}){100}){100}){100}"},
        "no pattern": {"type": "string", "pattern": "("},
        "patterns at once": {
            "allOf": [{"type": "string", "pattern": f"{c}.*{c}.*x{{9}}"} for c in "abcdefghijklmnopqrst"]
        },
        "alternatives at once": {
            "allOf": [
                {"anyOf": [{"properties": {f"a{i}{j}": {"type": "integer"}}} for j in range(4)]} for i in range(12)
            ]
        },
        "a tiny divisor": {"type": "integer", "multipleOf": 1e-300},
        "a wide range": {"type": "number", "minimum": -1e300, "maximum": 1e300, "multipleOf": 1e-7},
        "numbers too large": {"type": "integer", "minimum": -(10**40), "maximum": 10**40},
        "a format nobody knows": {"type": "string", "format": "made-up"},
        "a key of many letters": {"type": "object", "properties": {"k" * 100_000: {}}, "required": ["k" * 100_000]},
    }
    yield from texts.items()
    yield from ((name, json.dumps(value)) for name, value in values.items())


SCHEMAS = dict(_schemas())

REGEXES = {
    "many brackets": "(" * 30_000 + "a" + ")" * 30_000,
    "some brackets": "(" * 200 + "a" + ")" * 200,
    "an open bracket": "(a",
    "counted and counted": "((((a{100}){100}){100}){100}){100}",
    "exponential states": "(a|b)*a(a|b){40}",
    "many wildcards": "(.*a){30}.{50}",
    "every letter": r"\p{L}{1,1000}",
    "a reference backwards": r"(a)\1",
    "a look ahead": "(?=a)b",
    "nothing at all": r"[^\s\S]",
    "long": "ab" * 8000,
    "too long": "a" * 20_000,
}

GRAMMARS = {
    "empty": " ",
    "no grammar": "hello",
    "an unknown name": "start: nothing",
    "no start": "begin: /a/",
    "itself": "start: start",
    "left recursion": 'start: start "a" | "b"',
    "nothing over and over": 'start: a\na: b | ""\nb: a',
    "ambiguous": 'start: s\ns: s s s | s s | "a"',
    "many brackets": "start: " + "(" * 30_000 + '"a"' + ")" * 30_000,
    "many square brackets": "start: " + "[" * 30_000 + '"a"' + "]" * 30_000,
    "a chain of rules": "start: r0\n" + "\n".join(f'r{i}: "x" r{i + 1} | "y"' for i in range(9000)) + '\nr9000: "z"',
    "a chain of patterns": "start: R0\n" + "\n".join(f'R{i}: "x" R{i + 1}' for i in range(9000)) + '\nR9000: "z"',
    "a chain of options": "start: r0\n" + "\n".join(f"r{i}: r{i + 1}?" for i in range(9000)) + '\nr9000: "z"',
    "a chain of denials": "start: R0\n" + "\n".join(f"R{i}: ~R{i + 1} & /.*/" for i in range(3000)) + '\nR3000: "z"',
    "repeated": 'start: ("a" "b"){1000000}',
    "repeated repeatedly": 'start: a{1000}\na: b{1000}\nb: c{1000}\nc: "x" | "y" c',
    "a file": "%import ..secret\nstart: secret",
    "a schema that is none": 'start: %json {"type": "foo"}',
    "GBNF without a root": 'foo ::= "a"',
    "GBNF in brackets": "root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000,
    "a null byte": 'start: "\x00"',
}
