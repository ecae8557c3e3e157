"""Gemma 4 and FunctionGemma: `call:weather{days:3,place:<|"|>Oslo<|"|>}` between marks; texts have quotes of their own.

<|tool_call>call:weather{days:3,place:<|"|>Oslo<|"|>}<tool_call|>
<start_function_call>call:weather{place:<escape>Oslo<escape>}<end_function_call>
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ...results import ToolCall
from .calls import CallStyle, Free, Layout, Malformed, Part, Schemas, call

_NAME = re.compile(r"\s*call:([^\s{]+)\s*(?=\{)")
_KEY = re.compile(r"\s*([^\s:{}\[\],]+)\s*:")
_PLAIN = re.compile(r"[^,{}\[\]]+")
_WORDS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None, "none": None}
DEEPEST: Final = 64


@dataclass(slots=True)
class _Scan:
    """Reads one value after the other; `place` is where it stands."""

    text: str
    quote: str
    place: int = 0

    def value(self, depth: int = 0) -> Any:
        if depth > DEEPEST:
            raise Malformed
        self._skip()
        if self._takes("{"):
            return self._object(depth)
        if self._takes("["):
            return self._list(depth)
        return self._text() if self._takes(self.quote) else self._plain()

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._ends("}", first=not found):
            key = self._key()
            found[key] = self.value(depth + 1)
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while not self._ends("]", first=not found):
            found.append(self.value(depth + 1))
        return found

    def _ends(self, closing: str, *, first: bool) -> bool:
        self._skip()
        if self._takes(closing):
            return True
        if not first and not self._takes(","):
            raise Malformed
        return False

    def _key(self) -> str:
        self._skip()
        if self._takes(self.quote):
            key = self._text()
            self._skip()
            if not self._takes(":"):
                raise Malformed
            return key
        found = _KEY.match(self.text, self.place)
        if found is None:
            raise Malformed
        self.place = found.end()
        return found[1]

    def _text(self) -> str:
        end = self.text.find(self.quote, self.place)
        if end < 0:
            raise Malformed(unfinished=True)
        found, self.place = self.text[self.place : end], end + len(self.quote)
        return found

    def _plain(self) -> Any:
        found = _PLAIN.match(self.text, self.place)
        if found is None:
            raise Malformed
        self.place = found.end()
        word = found[0].strip()
        if word in _WORDS:
            return _WORDS[word]
        try:
            return int(word)
        except ValueError:
            pass
        try:
            number = float(word)
        except ValueError:
            return word
        return number if abs(number) < float("inf") else word

    def _skip(self) -> None:
        while self.place < len(self.text) and self.text[self.place].isspace():
            self.place += 1

    def _takes(self, mark: str) -> bool:
        if not self.text.startswith(mark, self.place):
            return False
        self.place += len(mark)
        return True


def _read(text: str, _tools: Schemas, *, opening: str, closing: str, quote: str) -> list[ToolCall]:
    body = text.strip().removeprefix(opening)
    found = _NAME.match(body)
    if found is None:
        raise Malformed
    scan = _Scan(body, quote, found.end())
    arguments = scan.value()
    if body[scan.place :].strip() not in ("", closing):
        raise Malformed
    return [call(found[1], arguments)]


def _one(name: str, schema: Mapping[str, Any], *, opening: str, closing: str, quote: str) -> list[Part]:
    """Each parameter in the order of the alphabet, as the templates write them."""
    required = schema.get("required") or ()
    parts: list[Part] = [f"{opening}call:{name}{{"]
    wanted = sorted((schema.get("properties") or {}).items())
    for place, (key, inner) in enumerate([pair for pair in wanted if pair[0] in required]):
        parts += ["," if place else "", f"{key}:", *_value(inner, quote)]
    return [*parts, f"}}{closing}"]


def _value(schema: Mapping[str, Any], quote: str) -> list[Part]:
    kinds: Mapping[str, list[Part]] = {
        "integer": [Free(r"-?[0-9]{1,15}")],
        "number": [Free(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")],
        "boolean": [Free(r"true|false")],
    }
    words = schema.get("enum")
    if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
        return [quote, Free("|".join(re.escape(word) for word in words)), quote]
    return kinds.get(str(schema.get("type")), [quote, Free(r"[^<]*"), quote])


def _style(opening: str, closing: str, quote: str) -> CallStyle:
    return CallStyle(
        shown_by=((opening,),),
        openings=(opening,),
        closing=closing,
        read=partial(_read, opening=opening, closing=closing, quote=quote),
        inner=(quote,),
        layout=Layout(partial(_one, opening=opening, closing=closing, quote=quote)),
        begins=r"call:(?P<name>[^\s{]+)\s*\{",
        writes_json=False,
    )


GEMMA = _style("<|tool_call>", "<tool_call|>", '<|"|>')
FUNCTION_GEMMA = _style("<start_function_call>", "<end_function_call>", "<escape>")
