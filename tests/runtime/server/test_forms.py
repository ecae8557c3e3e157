"""A server holds answers to a form in every dialect, and refuses what is none by the dialect's own name for it."""

import json
from time import monotonic
from typing import Any

import httpx
import jsonschema
import pytest

from unillm.tests.runtime.grammar.hostile import GRAMMARS, REGEXES, SCHEMAS
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.serving import Serving

SCHEMA = {
    "type": "object",
    "properties": {"size": {"type": "integer", "minimum": 0, "maximum": 9}, "kind": {"enum": ["cat", "dog"]}},
    "required": ["size", "kind"],
    "additionalProperties": False,
}
NOTHING = {"type": "nothing"}
SAID = [{"role": "user", "content": "Describe it"}]
OPTIONS = {"num_predict": 200, "temperature": 1}


def chat(schema: Any) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema, "strict": True}}
    return {"messages": SAID, "max_tokens": 200, "response_format": form}


def response(schema: Any) -> dict[str, Any]:
    form = {"type": "json_schema", "name": "animal", "schema": schema, "strict": True}
    return {"input": "Describe it", "max_output_tokens": 200, "text": {"format": form}}


def message(schema: Any) -> dict[str, Any]:
    form = {"type": "json_schema", "schema": schema}
    return {"messages": SAID, "max_tokens": 200, "output_config": {"format": form}}


# Of each dialect: the path, the body for a schema, where the text of the answer lies, and the name of the field.
DIALECTS: list[tuple[str, Any, tuple[Any, ...], str]] = [
    ("/v1/chat/completions", chat, ("choices", 0, "message", "content"), "response_format"),
    ("/v1/responses", response, ("output", 0, "content", 0, "text"), "text.format"),
    ("/v1/completions", lambda s: {"prompt": "It", "max_tokens": 200, "schema": s}, ("choices", 0, "text"), "schema"),
    ("/v1/messages", message, ("content", 0, "text"), "output_config.format"),
    (
        "/api/chat",
        lambda s: {"messages": SAID, "stream": False, "format": s, "options": OPTIONS},
        ("message", "content"),
        "format",
    ),
    (
        "/api/generate",
        lambda s: {"prompt": "It", "stream": False, "format": s, "options": OPTIONS},
        ("response",),
        "format",
    ),
]
PATHS = [path for path, *_ in DIALECTS]


def text_of(answer: httpx.Response, where: tuple[Any, ...]) -> str:
    assert answer.status_code == 200, answer.text
    found = answer.json()
    for step in where:
        found = found[step]
    return str(found)


@pytest.mark.parametrize(("path", "body", "where", "_field"), DIALECTS, ids=PATHS)
def test_an_answer_has_the_form_that_was_asked_for(
    server: Serving, path: str, body: Any, where: tuple[Any, ...], _field: str
) -> None:
    answer = json.loads(text_of(server.post(path, **body(SCHEMA)), where))
    jsonschema.validate(answer, SCHEMA)


@pytest.mark.parametrize(("path", "body", "_where", "field"), DIALECTS, ids=PATHS)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_form_is_refused_by_its_name(
    server: Serving, path: str, body: Any, _where: tuple[Any, ...], field: str, stream: bool
) -> None:
    answer = server.post(path, **{**body(NOTHING), "stream": stream})
    assert answer.status_code == 400
    assert field.split(".")[0] in answer.text


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"response_format": {"type": "json_object"}}),
        ("/api/chat", {"format": "json", "stream": False, "options": OPTIONS}),
    ],
)
def test_json_without_a_schema_is_an_object(server: Serving, path: str, asked: dict[str, Any]) -> None:
    answer = server.post(path, messages=SAID, max_tokens=300, **asked) if path.startswith("/v1") else None
    answer = answer or server.post(path, messages=SAID, **asked)
    told = answer.json()
    text = told["choices"][0]["message"]["content"] if "choices" in told else told["message"]["content"]
    ended = told["choices"][0]["finish_reason"] if "choices" in told else told["done_reason"]
    assert text.startswith("{")
    assert ended == "length" or isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({"regex": "[a-c]{3}-[0-9]{2}"}, lambda text: len(text) == 6 and text[3] == "-"),
        ({"choice": ["yes", "no", "perhaps not"]}, lambda text: text in ("yes", "no", "perhaps not")),
        ({"grammar": 'start: "<" /[a-z]{1,5}/ ">"'}, lambda text: text[0] == "<" and text[-1] == ">"),
        ({"grammar": 'root ::= "<" [a-z] ">"'}, lambda text: len(text) == 3),
    ],
)
def test_the_other_forms_are_fields_of_ours(server: Serving, asked: dict[str, Any], fits: Any) -> None:
    answer = server.post("/v1/chat/completions", messages=SAID, max_tokens=100, n=2, **asked)
    for choice in answer.json()["choices"]:
        assert choice["finish_reason"] == "stop"
        assert fits(choice["message"]["content"])


def test_a_form_that_is_cut_short_ends_for_its_length(server: Serving) -> None:
    answer = server.post("/v1/chat/completions", **{**chat(SCHEMA), "max_tokens": 3})
    assert answer.json()["choices"][0]["finish_reason"] == "length"


def test_two_forms_at_once_are_refused(server: Serving) -> None:
    answer = server.post("/v1/chat/completions", messages=SAID, regex="a", choice=["a"])
    assert answer.status_code == 400
    assert "alone" in answer.text


@pytest.mark.parametrize(
    "asked",
    [
        {"schema": SCHEMAS["deep"]},
        {"schema": SCHEMAS["a long chain of objects"]},
        {"regex": REGEXES["many brackets"]},
        {"grammar": GRAMMARS["a chain of rules"]},
        {"grammar": GRAMMARS["many brackets"]},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_hostile_forms_leave_the_server_as_it_was(server: Serving, asked: dict[str, Any]) -> None:
    began = monotonic()
    answer = server.post("/v1/chat/completions", messages=SAID, max_tokens=4, **asked)
    assert answer.status_code in (200, 400), answer.text
    assert monotonic() - began < HANGS
    assert server.post("/v1/chat/completions", messages=SAID, max_tokens=1).status_code == 200


def test_a_schema_nested_beyond_all_reason_is_refused(server: Serving) -> None:
    form = f'{{"type":"json_schema","json_schema":{{"name":"x","schema":{SCHEMAS["deep"]}}}}}'
    body = f'{{"model":"{server.model}","messages":[{{"role":"user","content":"x"}}],"response_format":{form}}}'
    answer = httpx.post(f"{server.url}/v1/chat/completions", content=body, timeout=HANGS)
    assert answer.status_code == 400
