"""A call that has to be, and is cut anywhere: never text, always the right tool, as much of its arguments as came."""

import json
import tracemalloc
from itertools import pairwise

import pytest

from unillm.runtime.results import ToolCall
from unillm.runtime.text.answers.cut import whole_members
from unillm.runtime.text.answers.forcing import forced
from unillm.runtime.text.answers.harmony import HARMONY
from unillm.runtime.text.answers.manner import STYLES, Manner
from unillm.runtime.text.answers.said import Said, whole
from unillm.runtime.text.answers.tools import Tools
from unillm.tests.runtime.text.answers.test_forcing import TOOLS, tokenizer, written

ARGUMENTS = {"place": "Oslo", "days": 3}


def cut_at(manner: Manner, text: str, place: int, *, step: int, must: bool = True, in_parts: bool = False) -> Said:
    """What is heard of the first letters, `step` at once."""
    reader = manner.reader("", TOOLS, must=must, in_parts=in_parts)
    pieces = [text[start : min(start + step, place)] for start in range(0, place, step)]
    return whole([run for piece in pieces for run in reader.push(piece)] + reader.finish(cut=True))


def calls(said: Said) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in said.calls]


@pytest.mark.parametrize("place", range(len(STYLES)))
def test_a_call_that_is_cut_is_a_call_in_part(place: int) -> None:
    manner, tools = Manner(STYLES[place]), Tools(TOOLS, "weather")
    text = written(forced(manner, tokenizer(), tools, ""), seed=place)
    if manner.calls is HARMONY:
        text = f"{HARMONY.layout.one('weather', {})[0]}{json.dumps(ARGUMENTS)}"  # letters by chance end no thought
    reader = manner.reader("", TOOLS, must=True)
    values = whole(reader.push(text) + reader.finish()).calls[0].values
    told = list[ToolCall]()
    for end in range(len(text)):
        said = cut_at(manner, text, end, step=7)
        assert (said.text, said.thought) == ("", "")
        assert len(said.calls) <= 1
        assert calls(said) == calls(cut_at(manner, text, end, step=len(text)))
        told += said.calls
    assert told
    assert {call.name for call in told} == {"weather"}
    for before, after in pairwise(told):
        assert before.is_whole or after.arguments.startswith(before.arguments) or after.is_whole
    for call in told:
        assert json.loads(whole_members(call.arguments)).items() <= values.items()


def test_calls_before_the_one_that_is_cut_are_whole() -> None:
    for style in STYLES:
        made = [style.layout.one(name, {}) for name in ("first", "second")]
        if not style.layout.several or {} not in made[0]:  # it writes no JSON
            continue
        first, second = ("".join(part if isinstance(part, str) else '{"a": [1]}' for part in parts) for parts in made)
        text = f"{style.layout.before}{first}{style.layout.between}{second}"
        end = text.rindex('{"a": [1') + len('{"a": [1')
        said = cut_at(Manner(style), text, end, step=5)
        assert calls(said) == [("first", '{"a": [1]}'), ("second", '{"a": [1')], style.openings


@pytest.mark.parametrize("text", ['<tool_call>\n{"na', "Look: <tool_call> is a mark", '{"name": "x", "arg'])
def test_what_need_not_be_a_call_and_is_none_is_text(text: str) -> None:
    manner = Manner.shown_by('<tool_call>{"name": "f", "arguments": {}}')
    assert whole([cut_at(manner, text, len(text), step=3, must=False)]).text == text


def test_what_need_not_be_a_call_and_is_one_in_part_is_a_call() -> None:
    manner = Manner.shown_by('<tool_call>{"name": "f", "arguments": {}}')
    text = 'Wait.\n<tool_call>\n{"name": "now", "arguments": {"of": "O'
    said = cut_at(manner, text, len(text), step=4, must=False)
    assert (said.text, calls(said)) == ("Wait.", [("now", '{"of": "O')])


@pytest.mark.parametrize(
    ("broken", "left"),
    [
        ("", {}),
        ('{"a', {}),
        ('{"a": 1', {}),
        ('{"a": 1, "b": "x\\', {"a": 1}),
        ('{"a": [1, 2, {"c": "}"', {"a": [1, 2, {}]}),
        ('{"a": "{[,", "b": {"c": 1}, "d": tr', {"a": "{[,", "b": {"c": 1}}),
        ('{"a": 1}', {"a": 1}),
        ("[1", {}),
    ],
)
def test_of_an_object_that_breaks_off_the_whole_members_are_left(broken: str, left: object) -> None:
    assert json.loads(whole_members(broken)) == left


def test_arguments_may_be_nested_as_deep_as_an_answer_is_long() -> None:
    """In memory that grows as they do: each place where they may be closed once took a text as long as its depth."""
    broken = '{"a": 1, "b": ' + "[" * 20_000
    tracemalloc.start()
    try:
        assert json.loads(whole_members(broken)) == {}
        assert tracemalloc.get_traced_memory()[1] < 1000 * len(broken)
    finally:
        tracemalloc.stop()
