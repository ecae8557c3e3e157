"""Calls that are told as they are written: what was told of each, joined, is the call that the whole answer gives."""

import json
from typing import Any

import pytest

from unillm.runtime.text.answers.calls import CallStyle
from unillm.runtime.text.answers.forcing import forced
from unillm.runtime.text.answers.harmony import HARMONY
from unillm.runtime.text.answers.manner import STYLES, Manner
from unillm.runtime.text.answers.said import whole
from unillm.runtime.text.answers.tools import Tools
from unillm.tests.runtime.text.answers.splitting import heard, in_every_way, in_parts_in_every_way, read, wants
from unillm.tests.runtime.text.answers.test_cut import cut_at
from unillm.tests.runtime.text.answers.test_forcing import TOOLS, tokenizer, written

ARGUMENTS: dict[str, Any] = {"place": 'Oslo "x" \\ </tool_call> [', "days": [{"n": -1.5e3}, True, None, "{"]}
SHOWN = '<tool_call>{"name": "f", "arguments": {}}'
LLAMA = '<|python_tag|> {"name": function name, "parameters": {}}'


def laid_out(style: CallStyle, *arguments: str) -> str:
    """Calls of `weather` as its family writes them, with these arguments as JSON."""
    parts = style.layout.one("weather", {})
    made = ["".join(part if isinstance(part, str) else one for part in parts) for one in arguments]
    return f"{style.layout.before}{style.layout.between.join(made)}{style.layout.after}"


IN_JSON = [style for style in STYLES if {} in style.layout.one("weather", {})]


@pytest.mark.parametrize("place", range(len(STYLES)))
def test_a_forced_call_of_any_family_is_the_same_in_parts(place: int) -> None:
    manner = Manner(STYLES[place])
    text = written(forced(manner, tokenizer(), Tools(TOOLS, "weather"), ""), seed=place)
    if manner.calls is HARMONY:
        text = laid_out(HARMONY, json.dumps({"place": "Oslo"}))  # letters by chance end no thought
    said = in_parts_in_every_way(lambda parts: manner.reader("", TOOLS, must=True, in_parts=parts), text)
    assert [call.name for call in said.calls] == ["weather"]


@pytest.mark.parametrize("style", IN_JSON)
def test_arguments_that_are_json_come_as_they_are_written(style: CallStyle) -> None:
    assert style.writes_json
    made = [json.dumps(ARGUMENTS), '{\n  "place":"Rome"}', "{}"][: 3 if style.layout.several else 1]
    text = laid_out(style, *made)
    manner = Manner(style)
    said = in_parts_in_every_way(lambda parts: manner.reader("", TOOLS, in_parts=parts), text)
    assert wants(said.calls) == [("weather", json.loads(one)) for one in made]
    reader, begun = manner.reader("", TOOLS, in_parts=True), list[str]()
    for letter in text[: text.index(made[0]) + len(made[0]) - 1]:
        begun += [run.part.arguments for run in reader.push(letter) if run.part is not None]
    assert "".join(begun) == made[0][:-1]
    assert max(map(len, begun)) <= len("</tool_call>")  # at once: what may become a mark waits


def test_only_ways_that_write_json_are_told_in_parts() -> None:
    assert {style for style in STYLES if style.writes_json} == set(IN_JSON)


@pytest.mark.parametrize("style", IN_JSON)
def test_a_call_that_is_cut_is_the_same_in_parts(style: CallStyle) -> None:
    text = laid_out(style, '{"place": "Oslo", "days": 3}')
    for end in range(len(text)):
        plain = cut_at(Manner(style), text, end, step=7)
        parts = cut_at(Manner(style), text, end, step=7, in_parts=True)
        assert heard([parts]) == heard([plain])


MALFORMED = {
    "a number that JSON has not": ('{"x": NaN}}</tool_call>', '{"x": NaN}}', ""),
    "no end": ('{"x": "abc', '{"x": "abc', ""),
    "words": ('{"x": 1, then\n</tool_call> I wait', '{"x": 1, then\n', "I wait"),
    "a bracket": ('{"x": [}}</tool_call>', '{"x": [}}', ""),
    "no key": ('{"x": ]}}</tool_call>', '{"x": ]', ""),
    "no closing brace": ('{"x": 1}</tool_call>', '{"x": 1}', ""),
    "no closing mark": ('{"x": 1}}\n\nI wait.', '{"x": 1}', "I wait."),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_was_told_of_a_malformed_call_ends_as_one_that_was_cut(name: str) -> None:
    written, arguments, said = MALFORMED[name]
    text = f'<tool_call>\n{{"name": "now", "arguments": {written}'
    manner = Manner.shown_by(SHOWN)
    assert whole(read(manner.reader("", TOOLS), list(text))).text == text
    told = in_every_way(lambda: manner.reader("", TOOLS, in_parts=True), text)
    assert [(call.name, call.arguments) for call in told.calls] == [("now", arguments)]
    assert told.text == said


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "nobody", "arguments": {"x": 1}}',
        '{"name": "now", "arguments": "{\\"x\\": 1}"}',
        '{"arguments": {"x": 1}, "name": "now"}',
        '[{"name": "now", "arguments": {"x": 1}}, {"name": "nobody", "arguments": {}}, {"name": "f", "arguments": {}}]',
        '{"name": "now", "arguments": [1]}',
        '{"name": "now"}',
    ],
)
def test_what_cannot_be_told_in_parts_comes_whole(text: str) -> None:
    manner = Manner.shown_by(SHOWN)
    around = f"Wait.\n<tool_call>{text}</tool_call>\n<tool_call>{text}</tool_call> So."
    in_parts_in_every_way(lambda parts: manner.reader("", TOOLS, in_parts=parts), around)


def test_llamas_call_is_told_from_its_first_letter_on_and_other_json_is_words() -> None:
    manner = Manner.shown_by(LLAMA)
    for text in ('\n{ "name" : "now", "parameters": {"x": [2]}}; {"name": "now", "parameters": {}}', '{"name": "Bob"}'):
        in_parts_in_every_way(lambda parts: manner.reader("", TOOLS, in_parts=parts), text)


def test_where_one_call_is_wanted_no_other_is_begun() -> None:
    manner = Manner.shown_by("[TOOL_CALLS]")
    text = laid_out(manner.calls or HARMONY, '{"x": 1}', '{"x": 2}')
    said = in_parts_in_every_way(lambda parts: manner.reader("", TOOLS, one_call=True, in_parts=parts), text)
    assert wants(said.calls) == [("weather", {"x": 1})]


def test_a_mark_that_begins_as_json_does_ends_what_is_told() -> None:
    manner = Manner.shown_by("[TOOL_CALLS]")
    text = '[TOOL_CALLS][{"name": "now", "arguments": {"x": [1, [TOOL_CALLS][{"name": "now", "arguments": {}}]'
    said = in_every_way(lambda: manner.reader("", TOOLS, in_parts=True), text)
    assert [call.arguments for call in said.calls] == ['{"x": [1, ', "{}"]


def test_an_id_that_the_model_gives_is_the_calls() -> None:
    reader = Manner.shown_by("[TOOL_CALLS][ARGS]").reader("", TOOLS, in_parts=True)
    (run,) = reader.push('[TOOL_CALLS]now[CALL_ID]abcdefgh1[ARGS]{"x')
    assert run.part is not None
    assert (run.part.id, run.part.arguments) == ("abcdefgh1", '{"x')
