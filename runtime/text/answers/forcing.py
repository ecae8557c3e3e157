"""The grammar of an answer that must be a call: a thought, where the model thinks, and calls as its family writes them.

It is text in the language of Lark, as the engine's grammars are.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ...errors import InvalidParameter
from ..tokenizer import Tokenizer
from .calls import CallStyle, Free, Maybe, Part
from .harmony import END, HARMONY, NEXT, THOUGHT
from .manner import Manner
from .tools import REQUIRED, Tools

MOST_CALLS: Final = 16  # in one answer, where nobody bounds them
_ANYTHING: Final = r"(.|\n)*"
_BLANKS: Final = r"[ \n]{0,4}"
_WRITTEN: Final = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def forced(manner: Manner, tokenizer: Tokenizer, tools: Tools, prompt: str) -> str:
    """`prompt` may be its end alone: it tells whether the model has begun to think. The tools have been checked."""
    style = manner.calls
    if style is None:
        raise InvalidParameter("tool_choice", tools.choice, "none or auto for this model")
    lark = _Lark(tokenizer)
    calls = [lark.sequence(style.layout.one(name, _closed(schema))) for name, schema in tools.allowed.items()]
    thought = _thought(manner, lark, prompt)
    before, after = lark.sequence([style.layout.before]), lark.sequence([style.layout.after])
    rules = [f"start: {thought} {before} call {_others(style, tools, lark)} {after}", f"call: {' | '.join(calls)}"]
    return "\n".join([*rules, *lark.rules]) + "\n"


def _others(style: CallStyle, tools: Tools, lark: "_Lark") -> str:
    """The calls behind the first."""
    if not tools.parallel or tools.choice != REQUIRED or not style.layout.several:
        return ""
    return f"({lark.sequence([style.layout.between])} call){{0,{MOST_CALLS - 1}}}"


def _thought(manner: Manner, lark: "_Lark", prompt: str) -> str:
    """What may come before the calls."""
    if manner.calls is HARMONY:
        return f"({lark.sequence([THOUGHT])} {lark.until(END)} {lark.sequence([NEXT])})?"
    ends = manner.thoughts.open_at_end(prompt)
    if ends is not None:
        return f"{lark.until(ends)} {lark.regex(_BLANKS)}"
    every = [f"{lark.sequence([opening])} {lark.until(closing)}" for opening, closing in manner.thoughts.pairs]
    return f"(({' | '.join(every)}) {lark.regex(_BLANKS)})?" if every else ""


class _Lark:
    """Writes expressions. Tokens that steer are no text to the library: each is written by its id."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.rules: list[str] = []
        self._ids = {name: token for name, token in tokenizer.added_tokens.items() if token in tokenizer.steering}

    def sequence(self, parts: Sequence[Part]) -> str:
        return " ".join(self._part(part) for part in parts if part != "")

    def regex(self, pattern: str) -> str:
        return "/" + pattern.replace("/", r"\/") + "/"

    def until(self, mark: str) -> str:
        """Any text, and the mark that ends it."""
        if mark in self._ids:
            return f"{self.regex(_ANYTHING)} <[{self._ids[mark]}]>"
        name = f"until_{len(self.rules)}"
        self.rules.append(f"{name}[suffix={json.dumps(mark)}]: {self.regex(_ANYTHING)}")
        return name

    def _part(self, part: Part) -> str:
        if isinstance(part, str):
            return " ".join(self._literals(part))
        if isinstance(part, Free):
            return self.regex(part.pattern)
        if isinstance(part, Maybe):
            return f"({self.sequence(part.parts)})?"
        return f"%json {json.dumps({**part, 'x-guidance': _WRITTEN}, ensure_ascii=False)}"

    def _literals(self, text: str) -> Iterator[str]:
        inside = sorted((name for name in self._ids if name and name in text), key=len, reverse=True)
        if not inside:
            yield json.dumps(text, ensure_ascii=False)
            return
        for one in re.split(f"({'|'.join(map(re.escape, inside))})", text):
            if one in self._ids:
                yield f"<[{self._ids[one]}]>"
            elif one:
                yield json.dumps(one, ensure_ascii=False)


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as an object that has no others: who calls a function with more than it takes fails."""
    found = {"type": "object", **schema}
    properties = {key: _ANY.get(one, one) if isinstance(one, bool) else one for key, one in _properties(schema)}
    found |= {"properties": properties} if properties else {}
    return found if _OPEN & found.keys() else {**found, **_NO_OTHERS}


def _properties(schema: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return (schema.get("properties") or {}).items()


_ANY: Final[Mapping[bool, Mapping[str, Any]]] = {True: {}, False: {"not": {}}}  # as objects, which may be asked
_NO_OTHERS: Final = {"additionalProperties": False}
_OPEN: Final = frozenset(  # properties may be told of there, too
    ("additionalProperties", "patternProperties", "$ref", "anyOf", "oneOf", "allOf")
)
