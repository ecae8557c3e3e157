"""Answers with marks in them: what is thought, said and called, and what only looked like it."""

import json
from typing import Any

import pytest

from unillm.runtime.text.answers.manner import STYLES, Manner
from unillm.runtime.text.answers.said import whole
from unillm.runtime.text.answers.thoughts import PAIRS, ThoughtMarks
from unillm.tests.runtime.text.answers.splitting import in_every_way, read, wants

TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "f", "parameters": {"properties": {"text": {"type": "string"}}}}}
]
HERMES = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
SHOWN = '<think></think><tool_call>{"name": "f", "arguments": {}}'
LLAMA = '<|python_tag|> {"name": function name, "parameters": {}}'
HARMONY = "<|channel|>analysis<|message|>"


def told(template: str, text: str, prompt: str = "", *, tools: bool = True) -> tuple[str, str, list[Any]]:
    """Thought, words and calls."""
    manner = Manner.shown_by(template)
    said = in_every_way(lambda: manner.reader(prompt, TOOLS if tools else ()), text)
    return said.thought, said.text, wants(said.calls)


THOUGHTS = {
    "<think>\nWhat is 2+2? Four.\n</think>\n\nIt is 4.": ("What is 2+2? Four.", "It is 4."),
    "\n<think>a < b</think>so": ("a < b", "so"),
    "No thought <think>here</think>": ("", "No thought <think>here</think>"),
    "  indented": ("", "  indented"),
    "<think></think>said": ("", "said"),
    "<thin": ("", "<thin"),
    "<think>never ended </thi": ("never ended </thi", ""),
    "": ("", ""),
}


@pytest.mark.parametrize("text", THOUGHTS)
def test_a_thought_comes_apart_from_what_is_said(text: str) -> None:
    assert told(SHOWN, text, tools=False) == (*THOUGHTS[text], [])


@pytest.mark.parametrize("pair", PAIRS, ids=[pair[1] for pair in PAIRS])
def test_a_thought_that_the_prompt_opened_has_only_an_end(pair: tuple[str, str]) -> None:
    opening, closing = pair
    assert told(f"{opening}{closing}", f"\nHm.\n{closing}\n\nYes.", f"x{opening}\n", tools=False) == ("Hm.", "Yes.", [])


def test_a_prompt_that_closed_the_thought_leaves_only_words() -> None:
    assert told(SHOWN, "Yes.", "x<think>\n\n</think>\n\n", tools=False) == ("", "Yes.", [])


def test_a_template_with_the_switch_alone_means_the_usual_marks() -> None:
    assert ThoughtMarks.shown_by("{% if enable_thinking %}").pairs == (("<think>", "</think>"),)


def test_granites_frame_around_its_words_is_no_words() -> None:
    text = "<think>Hm.</think>\n<response>\nYes.\n</response>"
    assert told("<think></think><response></response>", text, tools=False) == ("Hm.", "Yes.", [])


def test_words_stand_around_calls_without_the_blanks_between() -> None:
    text = f"<think>\nHm.\n</think>\n\nLet me see.\n{HERMES}\n{HERMES}\n"
    assert told(SHOWN, text) == ("Hm.", "Let me see.", [("f", {"x": 1})] * 2)


def test_without_tools_a_call_is_words() -> None:
    assert told(SHOWN, HERMES, tools=False) == ("", HERMES, [])


MALFORMED = {
    "no JSON": "<tool_call>\nf(1)\n</tool_call>",
    "no name": '<tool_call>{"arguments": {}}</tool_call>',
    "no object": '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
    "a number that JSON has not": '<tool_call>{"name": "f", "arguments": {"x": NaN}}</tool_call>',
    "cut in a text": '<tool_call>{"name": "f", "arguments": {"x": "abc',
    "cut in the mark": "Well. <tool_ca",
    "nothing": "<tool_call></tool_call>",
    "too deep": "<tool_call>" + "[" * 5000 + "</tool_call>",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_call_after_all_is_words(text: str) -> None:
    manner = Manner.shown_by(SHOWN)
    pieces = [text] if len(text) > 1000 else list(text)
    assert whole(read(manner.reader("", TOOLS), pieces)).text == text
    assert whole(read(manner.reader("", TOOLS), [text])).calls == ()


def test_a_call_behind_a_malformed_one_is_read() -> None:
    assert told(SHOWN, f"<tool_call>oh {HERMES}") == ("", "<tool_call>oh", [("f", {"x": 1})])


def test_the_mark_that_ends_a_call_may_stand_in_one_of_its_texts() -> None:
    arguments = {"text": "a </tool_call> b"}
    text = f"<tool_call>{json.dumps({'name': 'f', 'arguments': arguments})}</tool_call>"
    assert told(SHOWN, text) == ("", "", [("f", arguments)])


def test_a_call_needs_no_mark_at_the_end_where_it_is_whole() -> None:
    assert told(SHOWN, '<tool_call>{"name": "f", "arguments": {}}') == ("", "", [("f", {})])


def test_arguments_may_be_text_that_is_json() -> None:
    assert told(SHOWN, '<tool_call>{"name": "f", "arguments": "{\\"x\\": 1}"}</tool_call>')[2] == [("f", {"x": 1})]


def test_halves_of_characters_in_arguments_do_no_harm() -> None:
    said = in_every_way(
        lambda: Manner.shown_by(SHOWN).reader("", TOOLS),
        '<tool_call>{"name": "f", "arguments": {"x": "\\ud800"}}</tool_call>',
    )
    assert said.calls[0].arguments.encode() == b'{"x": "\\ud800"}'


def test_where_one_call_is_wanted_the_answer_is_over_with_it() -> None:
    reader = Manner.shown_by(SHOWN).reader("", TOOLS, one_call=True)
    runs = read(reader, [f"{HERMES}\n{HERMES} and more"])
    assert reader.over
    assert (len(whole(runs).calls), whole(runs).text) == (1, "")


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('{"name": "f", "parameters": {"x": 1}}', [("f", {"x": 1})]),
        ('\n{ "name" : "f", "parameters": {}}; {"name": "f", "parameters": {"x": 2}}', [("f", {}), ("f", {"x": 2})]),
        ('<|python_tag|>{"name": "f", "parameters": {}}', [("f", {})]),
        ('<|python_tag|>search.call(query="a, b", n=2)', [("search", {"query": "a, b", "n": 2})]),
        ('{"type": "function", "function": {"name": "f", "parameters": {}}}', [("f", {})]),
    ],
)
def test_llama_calls_with_its_first_letter_or_behind_its_tag(text: str, calls: list[Any]) -> None:
    assert told(LLAMA, text) == ("", "", calls)


@pytest.mark.parametrize(
    "text",
    ['{"answer": 42}', '{"name": "Bob"}', 'So: {"name": "f", "parameters": {}}', "<|python_tag|>print(1)", "{", "{}"],
)
def test_llamas_other_json_and_code_are_words(text: str) -> None:
    assert told(LLAMA, text) == ("", text, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
            ("Hm.", "Yes.", []),
        ),
        ("<|channel|>final<|message|>Yes.<|return|>", ("", "Yes.", [])),
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
            '<|constrain|>json<|message|>{"x": 1}<|call|>',
            ("Hm.", "", [("f", {"x": 1})]),
        ),
        (' to=functions.f<|channel|>commentary json<|message|>{"x": 1}', ("", "", [("f", {"x": 1})])),
        ("<|channel|>commentary<|message|>I look.<|end|>", ("", "I look.", [])),
        (
            "<|channel|>commentary to=functions.f<|message|>no json",
            ("", "<|channel|>commentary to=functions.f<|message|>no json", []),
        ),
        ("No channel at all.", ("", "No channel at all.", [])),
        ("<|channel|>final", ("", "<|channel|>final", [])),
    ],
)
def test_harmony_has_a_channel_for_each(text: str, expected: tuple[str, str, list[Any]]) -> None:
    assert told(HARMONY, text) == expected


@pytest.mark.parametrize(
    ("shown", "text", "values"),
    [
        ("<|tool_call|>", '<|tool_call|>[{"name": "f", "arguments": {"x": 1}}]', {"x": 1}),
        ("<|tool|>", '<|tool_call|>[{"name": "f", "arguments": {"x": 1}}]<|/tool_call|>', {"x": 1}),
        (
            "<start_function_call>",
            "<start_function_call>call:f{x:[1,{y:true}]}<end_function_call>",
            {"x": [1, {"y": True}]},
        ),
        (
            "<｜tool▁calls▁begin｜>```json",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n"
            '{"x": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
            {"x": 1},
        ),
    ],
)
def test_families_whose_templates_write_no_calls_are_read_too(shown: str, text: str, values: dict[str, Any]) -> None:
    assert told(shown, text) == ("", "", [("f", values)])


def test_a_parameter_is_text_where_the_tool_takes_text() -> None:
    given = "<parameter=text>\n12\n</parameter>\n<parameter=n>\n12\n</parameter>"
    text = f"<tool_call>\n<function=f>\n{given}\n</function>\n</tool_call>"
    assert told("<tool_call><function=", text)[2] == [("f", {"text": "12", "n": 12})]


@pytest.mark.parametrize("style", STYLES)
def test_no_mark_of_a_family_begins_another(style: Any) -> None:
    """Else it would depend on how the text is cut which of the two is found."""
    marks = {*style.openings, *(pair[0] for pair in PAIRS)}
    assert not [(one, other) for one in marks for other in marks if one != other and other.startswith(one)]
