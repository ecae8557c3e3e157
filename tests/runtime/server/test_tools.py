"""Tools and thoughts through the clients that people use: what is offered is called, what comes of it goes back.

The model's weights are random. That it calls, and what, is made certain by the grammar of a forced call, or by the form
of the answer, since a call of this model is JSON and nothing else.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest
from anthropic import Anthropic
from openai import OpenAI

from unillm.runtime.client.sync import Client
from unillm.runtime.engine import Engine
from unillm.runtime.errors import InvalidParameter, NoTools
from unillm.runtime.params import SamplingParams
from unillm.tests.support.serving import Serving, serving
from unillm.tests.support.talking import CALLING, talking_model

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "place": {"type": "string", "enum": ["Oslo", "Rome"]},
        "days": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["place", "days"],
}
FUNCTION: dict[str, Any] = {"name": "weather", "description": "Tells the weather", "parameters": PARAMETERS}
OTHER: dict[str, Any] = {"name": "now", "description": "Tells the time", "parameters": {"properties": {}}}
TEXT: dict[str, Any] = {"type": "string", "pattern": "^[a-z]{120}$"}
WRITES: dict[str, Any] = {"name": "write", "parameters": {"properties": {"text": TEXT}, "required": ["text"]}}
TOOLS: list[Any] = [{"type": "function", "function": FUNCTION}, {"type": "function", "function": OTHER}]
USER: Any = {"role": "user", "content": "How is it there?"}
A_CALL = {
    "type": "object",
    "properties": {"name": {"const": "weather"}, "parameters": {**PARAMETERS, "additionalProperties": False}},
    "required": ["name", "parameters"],
    "additionalProperties": False,
}
THINKS = {"chat_template_kwargs": {"enable_thinking": True}, "regex": "[a-z]{3}</think>[a-z]{4}"}


@pytest.fixture(scope="module")
def calling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("models") / "calling"
    talking_model(folder, context=2048, template=CALLING)
    with serving(folder, tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture
def openai(calling: Serving) -> Iterator[Any]:
    with OpenAI(base_url=f"{calling.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic(calling: Serving) -> Iterator[Any]:
    with Anthropic(base_url=calling.url, api_key="none", max_retries=0) as client:
        yield client


def is_weather(values: Any) -> bool:
    return set(values) == {"place", "days"} and values["place"] in ("Oslo", "Rome") and isinstance(values["days"], int)


def is_written(values: Any) -> bool:
    return set(values) == {"text"} and len(values["text"]) == 120


def weather(place: str, days: int) -> str:
    """The tool."""
    return f"{place}: rain for {days} days"


def test_openai_calls_a_tool_and_reads_what_it_gave(openai: Any, calling: Serving) -> None:
    asked = {"model": calling.model, "tools": TOOLS, "temperature": 0, "max_tokens": 200}
    named = {"type": "function", "function": {"name": "weather"}}
    first = openai.chat.completions.create(messages=[USER], tool_choice=named, **asked)
    said = first.choices[0].message
    assert (first.choices[0].finish_reason, said.content) == ("tool_calls", None)
    (call,) = said.tool_calls
    values = json.loads(call.function.arguments)
    assert (call.type, call.function.name, is_weather(values)) == ("function", "weather", True)
    given = {"role": "tool", "tool_call_id": call.id, "content": weather(**values)}
    asked["max_tokens"] = 8
    second = openai.chat.completions.create(messages=[USER, said, given], tool_choice="none", **asked)
    assert second.choices[0].message.tool_calls is None
    assert second.choices[0].finish_reason in ("length", "stop")
    assert second.usage.prompt_tokens > len(weather(**values))


def test_openais_stream_tells_the_same_call(openai: Any, calling: Serving) -> None:
    asked = {"model": calling.model, "tools": TOOLS, "temperature": 0, "tool_choice": "required", "max_tokens": 200}
    whole = openai.chat.completions.create(messages=[USER], parallel_tool_calls=False, **asked).choices[0].message
    stream = openai.chat.completions.create(messages=[USER], parallel_tool_calls=False, stream=True, **asked)
    chunks = [chunk.choices[0] for chunk in stream]
    deltas = [call for chunk in chunks for call in chunk.delta.tool_calls or ()]
    (call,) = whole.tool_calls
    first, *more = deltas
    assert (first.type, first.function.name, first.function.arguments) == ("function", call.function.name, "")
    assert first.id
    assert {(one.index, one.id, one.type, one.function.name) for one in more} == {(0, None, None, None)}
    assert (first.index, "".join(one.function.arguments for one in more)) == (0, call.function.arguments)
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["tool_calls"]
    assert "".join(chunk.delta.content or "" for chunk in chunks) == ""


def test_openais_thoughts_are_apart_from_the_answer_in_both_names(openai: Any, calling: Serving) -> None:
    asked = {"model": calling.model, "messages": [USER], "max_tokens": 40, "extra_body": THINKS}
    said = openai.chat.completions.create(**asked).choices[0].message
    assert (len(said.reasoning_content), said.reasoning, len(said.content)) == (3, said.reasoning_content, 4)
    deltas = [chunk.choices[0].delta for chunk in openai.chat.completions.create(**asked, stream=True)]
    assert len("".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)) == 3
    assert len("".join(delta.content or "" for delta in deltas)) == 4


def test_a_response_calls_and_goes_on(openai: Any, calling: Serving) -> None:
    tools = [{"type": "function", **FUNCTION}]
    asked = {"model": calling.model, "tools": tools, "temperature": 0, "max_output_tokens": 200}
    first = openai.responses.create(input="How is it?", tool_choice="required", **asked)
    (call,) = first.output
    assert (call.type, call.name, is_weather(json.loads(call.arguments))) == ("function_call", "weather", True)
    given = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    history = [{"role": "user", "content": "How is it?"}, *first.output, given]
    second = openai.responses.create(input=history, tool_choice="none", **{**asked, "max_output_tokens": 8})
    assert [item.type for item in second.output] == ["message"]
    with openai.responses.stream(input="How is it?", tool_choice={"type": "function", "name": "weather"}, **asked) as s:
        kinds = [event.type for event in s]
        last = s.get_final_response()
    assert [item.arguments for item in last.output] == [call.arguments]
    assert kinds.count("response.function_call_arguments.done") == 1


def test_a_responses_thoughts_are_an_item_of_their_own(openai: Any, calling: Serving) -> None:
    asked = {"model": calling.model, "input": "How?", "max_output_tokens": 40, "extra_body": THINKS}
    thought, said = openai.responses.create(**asked).output
    assert (len(thought.summary[0].text), len(said.content[0].text)) == (3, 4)
    with openai.responses.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        last = stream.get_final_response()
    assert [item.type for item in last.output] == ["reasoning", "message"]
    done = [kind for kind in kinds if kind.endswith(("output_item.done", "summary_text.done"))]
    assert done == ["response.reasoning_summary_text.done", "response.output_item.done", "response.output_item.done"]
    again = openai.responses.create(
        model=calling.model,
        input=[{"role": "user", "content": "How?"}, *last.output, {"role": "user", "content": "And?"}],
        max_output_tokens=4,
    )
    assert again.usage.input_tokens > 10


def test_anthropic_calls_a_tool_and_reads_what_it_gave(anthropic: Any, calling: Serving) -> None:
    tools = [{"name": "weather", "description": "Tells the weather", "input_schema": PARAMETERS}]
    choice = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    asked = {"model": calling.model, "max_tokens": 200, "tools": tools, "extra_body": {"temperature": 0}}
    first = anthropic.messages.create(messages=[USER], tool_choice=choice, **asked)
    (call,) = first.content
    assert (first.stop_reason, call.type, call.name, is_weather(call.input)) == (
        "tool_use",
        "tool_use",
        "weather",
        True,
    )
    given = {"type": "tool_result", "tool_use_id": call.id, "content": weather(**call.input)}
    messages = [USER, {"role": "assistant", "content": first.content}, {"role": "user", "content": [given]}]
    second = anthropic.messages.create(messages=messages, tool_choice={"type": "none"}, **{**asked, "max_tokens": 8})
    assert [block.type for block in second.content] == ["text"]
    counted = anthropic.messages.count_tokens(model=calling.model, messages=messages, tools=tools)
    assert counted.input_tokens > second.usage.input_tokens + (second.usage.cache_read_input_tokens or 0)
    with anthropic.messages.stream(messages=[USER], tool_choice={"type": "any"}, **asked) as stream:
        kinds = [event.type for event in stream]
        last = stream.get_final_message()
    assert (last.stop_reason, [is_weather(block.input) for block in last.content]) == ("tool_use", [True])
    assert "input_json" in kinds


def test_openai_and_anthropic_are_told_arguments_as_they_are_written(
    openai: Any, anthropic: Any, calling: Serving
) -> None:
    """In how many parts is a matter of pace: what comes within some milliseconds comes together."""
    tools: Any = [{"type": "function", "function": WRITES}]
    asked: Any = {"model": calling.model, "messages": [USER], "tools": tools, "temperature": 0}
    chunks = openai.chat.completions.create(**asked, tool_choice="required", parallel_tool_calls=False, stream=True)
    first, *more = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert (first.index, first.type, first.function.name, first.function.arguments) == (0, "function", "write", "")
    assert {(one.index, one.id, one.function.name) for one in more} == {(0, None, None)}
    assert is_written(json.loads("".join(one.function.arguments for one in more)))

    tools, asked = [{"type": "function", **WRITES}], {"model": calling.model, "parallel_tool_calls": False}
    with openai.responses.stream(input="Hi", tool_choice="required", tools=tools, temperature=0, **asked) as stream:
        events = list(stream)
        (item,) = stream.get_final_response().output
    kinds = [event.type for event in events]
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert [kinds.count(f"response.output_item.{kind}") for kind in ("added", "done")] == [1, 1]
    assert ("".join(deltas), is_written(json.loads(item.arguments))) == (item.arguments, True)

    tools = [{"name": "write", "input_schema": WRITES["parameters"]}]
    choice = {"type": "any", "disable_parallel_tool_use": True}
    asked = {"model": calling.model, "max_tokens": 500, "messages": [USER], "extra_body": {"temperature": 0}}
    with anthropic.messages.stream(tools=tools, tool_choice=choice, **asked) as stream:
        kinds = [event.type for event in stream]
        (block,) = stream.get_final_message().content
    assert [kinds.count(f"content_block_{kind}") for kind in ("start", "stop")] == [1, 1]
    assert ("input_json" in kinds, is_written(block.input)) == (True, True)


def test_ollama_calls_a_tool_and_reads_what_it_gave(calling: Serving) -> None:
    asked: dict[str, Any] = {"model": calling.model, "tools": TOOLS, "options": {"num_predict": 200}}
    with ollama.Client(calling.url) as client:
        first = client.chat(messages=[USER], format=A_CALL, **asked).message
        assert first.tool_calls
        call = first.tool_calls[0].function
        assert (first.content, call.name, is_weather(call.arguments)) == ("", "weather", True)
        given = {"role": "tool", "tool_name": "weather", "content": weather(**call.arguments)}
        second = client.chat(messages=[USER, first, given], **{**asked, "options": {"num_predict": 4}})
        assert second.prompt_eval_count or len(given["content"]) < 0
        parts = [part.message for part in client.chat(messages=[USER], format=A_CALL, stream=True, **asked)]
    calls = [one.function for part in parts for one in part.tool_calls or ()]
    assert [(one.name, is_weather(one.arguments)) for one in calls] == [("weather", True)]
    assert "".join(part.content or "" for part in parts) == ""


def test_ollama_is_told_what_the_model_can(calling: Serving) -> None:
    told = calling.post("/api/show").json()
    assert told["capabilities"] == ["completion", "tools", "thinking"]


def test_our_own_client_and_the_engine_give_calls_and_thoughts(calling: Serving) -> None:
    params = SamplingParams(temperature=0, max_tokens=200)
    thinks = SamplingParams(max_tokens=40, regex="[a-z]{3}</think>[a-z]{4}")
    with Client(calling.url) as client, Engine.load(calling.folder) as engine:
        there = client.chat([USER], params, model=calling.model, tools=TOOLS, tool_choice="weather")
        here = engine.chat([USER], params, tools=TOOLS, tool_choice="weather")
        for told in (there, here):
            assert (told.text, [is_weather(call.values) for call in told.tool_calls]) == ("", [True])
        assert there.tool_calls[0].arguments == here.tool_calls[0].arguments
        thought = client.chat([USER], thinks, model=calling.model, think=True)
        assert (len(thought.thought), len(thought.text)) == (3, 4)
        updates = list(engine.chat([USER], thinks, stream=True, enable_thinking=True))
        assert len("".join(update.thought for update in updates)) == 3
        assert len("".join(update.text for update in updates)) == 4


def test_what_cannot_be_called_is_refused(calling: Serving) -> None:
    asked: dict[str, Any] = {"messages": [USER], "max_tokens": 4}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nobody"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools"),
        ({"tools": TOOLS, "tool_choice": "required", "response_format": {"type": "json_object"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
    ]
    for more, field in wrong:
        answer = calling.post("/v1/chat/completions", **asked, **more)
        assert answer.status_code == 400, more
        assert field in answer.json()["error"]["message"]


def test_a_model_whose_template_knows_no_tools_is_offered_none(tmp_path: Path) -> None:
    with Engine.load(talking_model(tmp_path)) as engine:
        with pytest.raises(NoTools, match="does not support tools"):
            engine.chat([USER], tools=TOOLS)
        assert engine.chat([USER], SamplingParams(max_tokens=2), tools=TOOLS, tool_choice="none").tool_calls == ()
        with pytest.raises(InvalidParameter):
            engine.chat([USER], tools=[{"type": "function"}])


NAMED = {"type": "function", "function": {"name": "weather"}}
BAD: dict[str, Any] = {"name": "bad", "parameters": {"properties": {"place": {"type": "nonsense"}}}}


def refused(server: Serving, path: str, body: dict[str, Any]) -> str:
    answer = server.post(path, **{"model": server.model, **body})
    assert answer.status_code == 400, answer.text
    return answer.text


def test_a_tool_that_no_call_can_be_held_to_is_named_in_the_words_of_who_asks(calling: Serving) -> None:
    tools = [*TOOLS, {"type": "function", "function": BAD}]
    flat = [{"type": "function", "name": one["function"]["name"], **one["function"]} for one in tools]
    theirs = [{"name": one["function"]["name"], "input_schema": one["function"]["parameters"]} for one in tools]
    chat: dict[str, Any] = {"messages": [USER], "tools": tools, "tool_choice": "required"}
    error = json.loads(refused(calling, "/v1/chat/completions", chat))["error"]
    assert error["param"] == "tools[2].function.parameters"
    assert error["message"].startswith("tools[2].function.parameters is ")
    assert "nonsense" in error["message"]
    assert "grammar" not in error["message"]
    response: dict[str, Any] = {"input": "Hi", "tools": flat, "tool_choice": "required"}
    assert json.loads(refused(calling, "/v1/responses", response))["error"]["param"] == "tools[2].parameters"
    asked: dict[str, Any] = {"messages": [USER], "max_tokens": 9, "tools": theirs}
    assert "tools[2].input_schema is " in refused(calling, "/v1/messages", {**asked, "tool_choice": {"type": "any"}})
    shapes = [({"type": "string"}, "of an object"), ({"properties": 5}, "no object"), ({"required": "x"}, "names")]
    for schema, why in shapes:
        tools[2] = {"type": "function", "function": {"name": "bad", "parameters": schema}}
        assert why in refused(calling, "/v1/chat/completions", chat)


def test_a_tool_that_need_not_be_called_may_have_any_schema_in_it(calling: Serving, openai: Any) -> None:
    tools = [*TOOLS, {"type": "function", "function": BAD}]
    asked = {"model": calling.model, "messages": [USER], "tools": tools, "temperature": 0, "max_tokens": 400}
    (choice,) = openai.chat.completions.create(**asked, tool_choice=NAMED).choices
    assert [call.function.name for call in choice.message.tool_calls] == ["weather"]


@pytest.mark.parametrize("most", range(1, 40, 6))
def test_a_forced_call_that_is_cut_is_no_text(calling: Serving, most: int, openai: Any, anthropic: Any) -> None:
    asked = {"model": calling.model, "messages": [USER], "tools": TOOLS, "tool_choice": NAMED, "temperature": 0}
    whole = openai.chat.completions.create(**asked, max_tokens=400).choices[0].message.tool_calls[0].function.arguments
    (choice,) = openai.chat.completions.create(**asked, max_tokens=most).choices
    assert (choice.finish_reason, choice.message.content or "") == ("length", "")
    told = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    assert len(told) <= 1
    assert all(name == "weather" and whole.replace(" ", "").startswith(part.replace(" ", "")) for name, part in told)
    chunks = openai.chat.completions.create(**asked, max_tokens=most, stream=True)
    deltas = [chunk.choices[0] for chunk in chunks]
    streamed = [call.function for delta in deltas for call in delta.delta.tool_calls or ()]
    assert [one.name for one in streamed if one.name] == [name for name, _ in told]
    assert "".join(one.arguments for one in streamed) == "".join(arguments for _, arguments in told)
    assert deltas[-1].finish_reason == "length"
    response = openai.responses.create(
        model=calling.model,
        input="Hi",
        tools=[{"type": "function", **FUNCTION}],
        tool_choice="required",
        max_output_tokens=most,
        temperature=0,
    )
    assert response.status == "incomplete"
    assert response.output_text == ""
    message = anthropic.messages.create(
        model=calling.model,
        max_tokens=most,
        messages=[USER],
        tools=[{"name": "weather", "input_schema": PARAMETERS}],
        tool_choice={"type": "any"},
        extra_body={"temperature": 0},
    )
    assert message.stop_reason == "max_tokens"
    assert [block.text for block in message.content if block.type == "text"] in ([], [""])
    assert all(
        is_weather({"days": 1, "place": "Rome", **block.input}) for block in message.content if block.type == "tool_use"
    )
