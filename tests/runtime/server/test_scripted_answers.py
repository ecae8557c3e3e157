"""Answers of a model that says what it was made to say, in every language: nothing of its marks comes through."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.tests.support.reciting import CALLS, PLAIN, THINKS, reciting_model
from unillm.tests.support.serving import Serving

SCRIPTS = {
    PLAIN: ["To", "kyo"],
    THINKS: ["Ten times fifteen is 150, ", "twice fifteen is 30.", "</thi", "nk>\n\n1", "80"],
    CALLS: [
        "<tool_",
        'call>\n{"name": "get_',
        'weather", "argu',
        'ments": {"location": "Bos',
        'ton"}}\n</tool',
        "_call>",
    ],
}
MARKS = ("<think>", "</think>", "<|channel>", "<tool_call>", "</tool_call>", "<|calls|>")
PARAMETERS = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
FUNCTION = {"name": "get_weather", "description": "The weather in a city", "parameters": PARAMETERS}
BOSTON = {"location": "Boston"}


@pytest.fixture(scope="module")
def model(server: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of such a model on the session's server."""
    home = server.log.parent
    environ = {"UNILLM_HOME": str(home), "HF_HOME": str(home / "hf"), "UNILLM_OFFLINE": "1"}
    folder = reciting_model(tmp_path_factory.mktemp("reciting") / "reciter", SCRIPTS)
    pull(str(folder), RegistrySettings.from_environment(environ), name="reciter")
    yield "reciter"
    with ollama.Client(server.url) as client:
        client.delete("reciter")
    shutil.rmtree(folder)


def told(server: Serving, model: str, **asked: Any) -> tuple[str, str, str]:
    """What was thought, what was said and why it ended, by the lines of a stream and by the whole answer alike."""
    whole = server.post("/api/chat", model=model, stream=False, **asked).json()
    lines = [json.loads(line) for line in server.post("/api/chat", model=model, **asked).text.splitlines()]
    thought, said = ("".join(line["message"].get(key) or "" for line in lines) for key in ("thinking", "content"))
    assert (whole["message"].get("thinking") or "", whole["message"]["content"]) == (thought, said)
    assert not [mark for mark in MARKS if mark in thought + said]
    assert whole["done_reason"] == lines[-1]["done_reason"]
    return thought, said, whole["done_reason"]


def test_a_model_that_is_to_think_does_it_apart_from_its_answer(server: Serving, model: str) -> None:
    """A29"""
    question = {"role": "user", "content": "What is 12 multiplied by 15? Give the final answer."}
    thought, said, reason = told(server, model, messages=[question], think=True)
    assert (thought, said, reason) == ("Ten times fifteen is 150, twice fifteen is 30.", "180", "stop")


def test_a_model_that_is_not_to_think_only_answers(server: Serving, model: str) -> None:
    """A30"""
    question = {"role": "user", "content": "What is the capital of Japan? Answer in one word."}
    assert told(server, model, messages=[question], think=False) == ("", "Tokyo", "stop")


def test_a_tool_is_called_while_the_answer_streams(server: Serving, model: str) -> None:
    """A26"""

    def get_weather(location: str) -> str:
        """The weather in a city.

        Args:
          location: The city
        """
        return location

    question = {"role": "user", "content": "Call get_weather with location set to Boston."}
    with ollama.Client(server.url) as client:
        parts = [part.message for part in client.chat(model, [question], tools=[get_weather], stream=True)]
    (call,) = [one.function for part in parts for one in part.tool_calls or ()]
    assert (call.name, call.arguments) == ("get_weather", BOSTON)
    assert "".join(part.content or "" for part in parts) == ""


# One conversation in the words of each language: what was called before, what that gave, and another question.
SYSTEM, FIRST, GIVEN, NEXT = "You tell the weather.", "How is it in Oslo?", "Rain", "And in Boston?"
OSLO = {"location": "Oslo"}
OFFERED = [{"type": "function", "function": FUNCTION}]
CACHED = {"type": "ephemeral"}
CHAT = [
    {"role": "developer", "content": SYSTEM},
    {"role": "user", "content": [{"type": "text", "text": FIRST}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": json.dumps(OSLO)}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": GIVEN}]},
    {"role": "user", "content": NEXT},
]
OLLAMA = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": FIRST},
    {"role": "assistant", "tool_calls": [{"function": {"name": "get_weather", "arguments": OSLO}}]},
    {"role": "tool", "tool_name": "get_weather", "content": GIVEN},
    {"role": "user", "content": NEXT},
]
ITEMS = [
    {"role": "developer", "content": [{"type": "input_text", "text": SYSTEM}]},
    {"role": "user", "content": FIRST},
    {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": json.dumps(OSLO)},
    {"type": "function_call_output", "call_id": "call_1", "output": GIVEN},
    {"role": "user", "content": NEXT},
]
BLOCKS = [
    {"role": "user", "content": [{"type": "text", "text": FIRST, "cache_control": CACHED}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "get_weather", "input": OSLO}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": GIVEN}]},
    {"role": "user", "content": NEXT},
]
ANTHROPICS = {"name": "get_weather", "description": FUNCTION["description"], "input_schema": PARAMETERS}


def events(server: Serving, path: str, **asked: Any) -> list[dict[str, Any]]:
    """What a stream tells, [DONE] left out."""
    lines = server.post(path, stream=True, **asked).text.splitlines()
    told = [line.removeprefix("data: ") for line in lines if line.startswith(("data: ", "{"))]
    return [json.loads(line) for line in told if line != "[DONE]"]


def test_one_conversation_in_four_languages_is_one_prompt_and_one_call(server: Serving, model: str) -> None:
    """A27"""
    chat = events(server, "/api/chat", model=model, messages=OLLAMA, tools=OFFERED)
    completion = events(
        server,
        "/v1/chat/completions",
        model=model,
        messages=CHAT,
        tools=OFFERED,
        stream_options={"include_usage": True},
    )
    flat = [{"type": "function", **FUNCTION}]
    response = events(server, "/v1/responses", model=model, input=ITEMS, tools=flat)
    system = [{"type": "text", "text": SYSTEM, "cache_control": CACHED}]
    asked = {"model": model, "messages": BLOCKS, "system": system, "tools": [ANTHROPICS], "max_tokens": 99}
    message = events(server, "/v1/messages", **asked)

    (by_chat,) = [call["function"] for part in chat for call in part["message"].get("tool_calls", ())]
    deltas = [choice["delta"] for part in completion for choice in part["choices"]]
    by_completion, *more = [call["function"] for delta in deltas for call in delta.get("tool_calls") or ()]
    written = by_completion["arguments"] + "".join(part["arguments"] for part in more)
    by_response = [one["item"] for one in response if one["type"] == "response.output_item.done"][-1]
    (by_message,) = [one["content_block"] for one in message if one["type"] == "content_block_start"]
    given = "".join(one["delta"]["partial_json"] for one in message if one["type"] == "content_block_delta")
    called = {
        (by_chat["name"], json.dumps(by_chat["arguments"])),
        (by_completion["name"], written),
        (by_response["name"], by_response["arguments"]),
        (by_message["name"], given),
    }
    assert called == {("get_weather", json.dumps(BOSTON))}
    words = [part["message"]["content"] for part in chat] + [delta.get("content") or "" for delta in deltas]
    assert "".join(words) == ""
    assert not [one for one in response if one["type"] == "response.output_text.delta"]
    usage = message[0]["message"]["usage"]
    prompts = {
        chat[-1]["prompt_eval_count"],
        completion[-1]["usage"]["prompt_tokens"],
        response[-1]["response"]["usage"]["input_tokens"],
        usage["input_tokens"] + usage["cache_read_input_tokens"],
    }
    assert len(prompts) == 1


def test_the_system_may_speak_in_the_midst_of_anthropics_messages(server: Serving, model: str) -> None:
    """A27"""
    asked = {"model": model, "tools": [ANTHROPICS], "max_tokens": 99}
    blocks = [*BLOCKS[:-1], {"role": "system", "content": "Be brief."}, BLOCKS[-1]]
    (call,) = server.post("/v1/messages", messages=blocks, **asked).json()["content"]
    assert (call["type"], call["name"], call["input"]) == ("tool_use", "get_weather", BOSTON)


def test_of_many_tools_the_right_one_is_called_at_every_turn(server: Serving, model: str) -> None:
    """A28: as agents ask; which tool it is, the request says, for this model cannot choose."""
    places = {"type": "object", "properties": {"place": {"enum": ["here", "there"]}}, "required": ["place"]}
    tools = [
        {"type": "function", "function": {"name": f"tool_{number}", "description": "word " * 8, "parameters": places}}
        for number in range(32)
    ]
    said: list[dict[str, Any]] = [{"role": "user", "content": "Begin."}]
    cached = []
    for number in (7, 7, 31, 0):
        named = {"type": "function", "function": {"name": f"tool_{number}"}}
        asked = {"model": model, "messages": said, "tools": tools, "tool_choice": named, "max_tokens": 200}
        answer = server.post("/v1/chat/completions", **asked).json()
        (call,) = answer["choices"][0]["message"]["tool_calls"]
        assert call["function"]["name"] == f"tool_{number}"
        assert json.loads(call["function"]["arguments"])["place"] in ("here", "there")
        cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
        if len(cached) > 1:
            said += [answer["choices"][0]["message"], {"role": "tool", "tool_call_id": call["id"], "content": "Done"}]
    assert cached[0] < 100 < 4000 < min(cached[1:])


def test_a_call_that_cannot_be_read_ends_as_a_cut_one_and_the_next_request_is_answered(
    server: Serving, model: str
) -> None:
    """A41: whoever streams hears the end of it, and nobody after that waits. Asked whole, it is words."""
    broken = '<tool_call>\n{"name": "get_weather", "arguments": {"location": Bos}}\n</tool_call>'
    asked = {"model": model, "messages": [{"role": "user", "content": "x"}], "tools": OFFERED}
    forced = {"regex": broken.replace("{", r"\{").replace("}", r"\}"), "max_tokens": 200}
    for _ in range(2):
        choices = [one["choices"][0] for one in events(server, "/v1/chat/completions", **asked, **forced)]
        calls = [call["function"] for choice in choices for call in choice["delta"].get("tool_calls") or ()]
        assert calls[0]["name"] == "get_weather"
        assert "".join(call["arguments"] for call in calls).startswith('{"location": ')
        assert choices[-1]["finish_reason"] == "tool_calls"
        whole = server.post("/v1/chat/completions", **asked, **forced).json()["choices"][0]
        assert (whole["message"]["content"], whole["finish_reason"]) == (broken, "stop")
        (call,) = server.post("/api/chat", stream=False, **asked).json()["message"]["tool_calls"]
        assert call["function"]["arguments"] == BOSTON
