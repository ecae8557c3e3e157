"""Where an answer must be a call its grammar lets nothing else through: whatever is written by it is read as a call."""

import random
from functools import cache
from typing import Any

import numpy as np
import pytest

from unillm.runtime.errors import InvalidParameter
from unillm.runtime.grammar.compiler import Grammars
from unillm.runtime.grammar.forms import Form
from unillm.runtime.text.answers.calls import CallStyle
from unillm.runtime.text.answers.forcing import forced
from unillm.runtime.text.answers.manner import STYLES, Manner
from unillm.runtime.text.answers.said import whole
from unillm.runtime.text.answers.tools import Tools
from unillm.runtime.text.tokenizer import Tokenizer
from unillm.tests.runtime.text.tiny import byte_level_json, byte_level_keys, from_keys

PROPERTIES: dict[str, Any] = {
    "place": {"type": "string", "enum": ["Oslo", "Rome"]},
    "days": {"type": "integer", "minimum": 0, "maximum": 99},
    "warm": {"type": "boolean"},
}
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": PROPERTIES, "required": ["place", "days"]}}
MOST = 2000  # tokens of an answer
TOOLS: list[Any] = [{"type": "function", "function": WEATHER}, {"type": "function", "function": {"name": "now"}}]


@cache
def tokenizer() -> Tokenizer:
    """Its `<tool_call>` is a token, and `<s>` one that is no text."""
    return from_keys(byte_level_keys(byte_level_json()))


@cache
def grammars() -> Grammars:
    return Grammars("tiny", tokenizer(), tokenizer().vocab_size)


def written(lark: str, seed: int) -> str:
    """Any text that the grammar lets through, of single letters where there is a choice."""
    made = tokenizer()
    assert made.pieces is not None
    size, luck, ids = made.vocab_size, random.Random(seed), list[int]()
    guide = grammars().guide(Form("grammar", lark), ())
    while not guide.is_complete and len(ids) < MOST:
        bits = np.unpackbits(np.frombuffer(guide.matcher.compute_bitmask(), np.uint8), bitorder="little")
        may = [int(token) for token in np.flatnonzero(bits[:size])]
        if not may or (bits[size] and luck.random() < 0.5):
            break
        short = [token for token in may if len(made.pieces.of[token]) <= 1 and made.pieces.of[token].isascii()]
        ids.append(luck.choice(short or may))
        guide.saw(ids[-1])
        assert guide.failure is None
    return made.decode(ids, skip_special=False)


@pytest.mark.parametrize(("choice", "parallel"), [("weather", True), ("required", False), ("required", True)])
@pytest.mark.parametrize("place", range(len(STYLES)))
def test_what_the_grammar_lets_through_is_a_call(place: int, choice: str, parallel: bool) -> None:
    style: CallStyle = STYLES[place]
    manner, tools = Manner(style), Tools(TOOLS, choice, parallel)
    text = written(forced(manner, tokenizer(), tools, ""), seed=place)
    if text.startswith("<|channel|>analysis"):
        return  # gpt-oss may think first, and letters by chance end no thought
    reader = manner.reader("", TOOLS, one_call=not parallel)
    read = whole(reader.push(text) + reader.finish())
    assert read.calls, text
    assert (read.text, read.thought) == ("", "")
    for call in read.calls:
        assert call.name in tools.allowed
        if call.name == "weather":
            assert call.values["place"] in PROPERTIES["place"]["enum"]
            assert isinstance(call.values["days"], int)
    if choice == "weather" or not parallel:
        assert len(read.calls) == 1


def test_a_thought_that_the_prompt_began_must_end_before_the_call() -> None:
    manner = Manner.shown_by('<think></think><tool_call>{"name": "f", "arguments": {}}')
    lark = forced(manner, tokenizer(), Tools(TOOLS, "now"), "x<think>\n")
    guide = grammars().guide(Form("grammar", lark), ())
    text = 'Hm.\n</think>\n\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    for token in tokenizer().encode(text, bos=False):
        guide.saw(token)
    assert guide.failure is None
    reader = manner.reader("x<think>\n", TOOLS)
    read = whole(reader.push(text) + reader.finish())
    assert (read.thought, [call.name for call in read.calls]) == ("Hm.", ["now"])


@pytest.mark.parametrize("key", ["$ref", "anyOf", "allOf"])
def test_parameters_that_are_told_of_elsewhere_can_be_forced(key: str) -> None:
    """As programs write them that make schemas of types."""
    place = {"type": "object", "properties": {"place": {"const": "Oslo"}}, "required": ["place"]}
    told = {"$ref": "#/$defs/place", "$defs": {"place": place}} if key == "$ref" else {key: [place]}
    manner = Manner.shown_by('<tool_call>{"name": "f", "arguments": {}}')
    tools = Tools([{"type": "function", "function": {"name": "go", "parameters": told}}], "go")
    tools.check()
    guide = grammars().guide(Form("grammar", forced(manner, tokenizer(), tools, "")), ())
    text = '<tool_call>\n{"name": "go", "arguments": {"place": "Oslo"}}\n</tool_call>'
    for token in tokenizer().encode(text, bos=False):
        guide.saw(token)
    assert guide.failure is None


@pytest.mark.parametrize("function", [{"name": "none"}, {"name": "f", "parameters": {"type": "string"}}])
def test_a_tool_that_could_not_be_called_is_refused(function: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter, match="tools"):
        Tools([{"type": "function", "function": function}]).check()
