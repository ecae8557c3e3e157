"""A trained model that calls tools, through the clients that people use: what it is told of, it asks for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from ollama import Client as Ollama
from openai import OpenAI

from unillm.registry.create import create
from unillm.registry.modelfile import parse_modelfile
from unillm.registry.settings import RegistrySettings
from unillm.tests.support.packages import smollm2_gguf
from unillm.tests.support.serving import Serving, serving

pytestmark = pytest.mark.weights

# The model was trained on these turns; that tools are called between tags is told to it here.
HERMES = (
    "{% if tools %}<|im_start|>system\nTools:\n{% for tool in tools %}{{ tool|tojson }}\n{% endfor %}"
    'Answer <tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n'
    "{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n{{ call.function|tojson }}\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
WEATHER: dict[str, Any] = {"name": "weather", "description": "The weather in a city", "parameters": PARAMETERS}
USER: dict[str, Any] = {"role": "user", "content": "What is the weather like in Rome?"}
TOLD = "Sunny, 31 degrees"


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    home = tmp_path_factory.mktemp("tools")
    settings = RegistrySettings.from_environment({"UNILLM_HOME": str(home), "HF_HOME": str(home / "hf")})
    recipe = f'FROM {smollm2_gguf()}\nTEMPLATE """{HERMES}"""\n'
    create("caller", parse_modelfile(home / "Modelfile", recipe), settings)
    with serving(Path("caller"), home) as served:
        yield served


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_openais_client_goes_round_with_a_tool(caller: Serving, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "caller", "tools": [{"type": "function", "function": WEATHER}], "temperature": 0}
    client: Any
    with OpenAI(base_url=f"{caller.url}/v1", api_key="none", max_retries=0) as client:
        answer: Any = client.chat.completions.create(
            messages=[USER], tool_choice="required", parallel_tool_calls=False, max_tokens=80, stream=stream, **asked
        )
        said = [chunk.choices[0].delta for chunk in answer] if stream else [answer.choices[0].message]
        call, *more = [one for part in said for one in part.tool_calls or ()]
        call.function.arguments += "".join(one.function.arguments for one in more)
        assert (call.function.name, "rome" in json.loads(call.function.arguments)["city"].lower()) == ("weather", True)
        history: list[Any] = [
            USER,
            {
                "role": "assistant",
                "tool_calls": [{"id": call.id, "type": "function", "function": dict(call.function)}],
            },
            {"role": "tool", "tool_call_id": call.id, "content": TOLD},
        ]
        last: Any = client.chat.completions.create(messages=history, tool_choice="none", max_tokens=40, **asked)
    assert "31" in last.choices[0].message.content or "sunny" in last.choices[0].message.content.lower()


def test_anthropics_client_goes_round_with_a_tool(caller: Serving) -> None:
    tools: Any = [{"name": "weather", "description": "The weather in a city", "input_schema": PARAMETERS}]
    asked: dict[str, Any] = {"model": "caller", "tools": tools, "max_tokens": 80, "extra_body": {"temperature": 0}}
    client: Any
    with Anthropic(base_url=caller.url, api_key="none", max_retries=0) as client:
        first: Any = client.messages.create(
            messages=[USER], tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True}, **asked
        )
        (call,) = first.content
        assert (first.stop_reason, "rome" in call.input["city"].lower()) == ("tool_use", True)
        given = {"type": "tool_result", "tool_use_id": call.id, "content": TOLD}
        history: Any = [USER, {"role": "assistant", "content": first.content}, {"role": "user", "content": [given]}]
        last: Any = client.messages.create(messages=history, tool_choice={"type": "none"}, **asked)
    assert "31" in last.content[0].text or "sunny" in last.content[0].text.lower()


def told_before(city: str) -> list[dict[str, Any]]:
    """What shows so small a model that it may call."""
    return [
        {"role": "user", "content": f"What is the weather like in {city}?"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": city}}}]},
        {"role": "tool", "content": "Rain, 12 degrees"},
        {"role": "assistant", "content": f"Rain, 12 degrees in {city}."},
    ]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_ollamas_client_goes_round_with_a_tool_that_the_model_chose_to_call(caller: Serving, stream: bool) -> None:
    """A26"""
    asked: dict[str, Any] = {"model": "caller", "tools": [{"type": "function", "function": WEATHER}]}
    options = {"temperature": 0, "num_predict": 80}
    before = [message for city in ("Paris", "Oslo") for message in told_before(city)]
    with Ollama(caller.url) as client:
        answer: Any = client.chat(messages=[*before, USER], stream=stream, options=options, **asked)
        said = [part.message for part in (answer if stream else [answer])]
        (call,) = [one.function for part in said for one in part.tool_calls or ()]
        assert (call.name, "rome" in call.arguments["city"].lower()) == ("weather", True)
        given = {"role": "tool", "tool_name": "weather", "content": TOLD}
        last = client.chat(messages=[*before, USER, *said, given], options=options, **asked).message
    assert "31" in (last.content or "") or "sunny" in (last.content or "").lower()
