"""A grammar in the language of Lark holds free text, tokens that are no text, and JSON schemas in one answer."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from unillm.runtime.engine import Engine
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.text.tokenizer import load_tokenizer
from unillm.tests.runtime.fakes import FakeModel
from unillm.tests.runtime.text.tiny import byte_level_json, folder

SUM = {
    "type": "object",
    "properties": {
        "name": {"const": "add"},
        "arguments": {
            "type": "object",
            "properties": {"left": {"type": "integer", "maximum": 99}, "right": {"enum": [1, 2]}},
            "required": ["left", "right"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "arguments"],
    "additionalProperties": False,
}

# What a model says, and then a call between texts: `lazy` ends the free text with the first `<tool_call>` in it.
BETWEEN_TEXTS = rf"""
start: opening call "</tool_call>"
opening[lazy]: /[a-z \n]*<tool_call>/
call: %json {json.dumps(SUM)}
"""

# The same, where the call begins with a token that is no text, so that free text cannot hold it.
AFTER_A_TOKEN = rf"""
start: /[a-z \n]{{0,20}}/ <|im_start|> call
call: %json {json.dumps(SUM)}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder_of_it: Path = tmp_path_factory.mktemp("tiny")
    tokenizer = load_tokenizer(folder(folder_of_it, byte_level_json()))
    assert tokenizer is not None
    model = FakeModel(vocabulary=tokenizer.vocab_size)
    with Engine(model, tokenizer, options=EngineOptions(kv_memory=1 << 22, page_size=4)) as engine:
        yield engine


@pytest.mark.parametrize("seed", range(2, 7))  # blanks in JSON are without bounds here, and few seeds want hundreds
def test_a_call_between_texts_follows_free_text(engine: Engine, seed: int) -> None:
    answer = engine.generate("call it", SamplingParams(grammar=BETWEEN_TEXTS, seed=seed, max_tokens=400))
    assert answer.finish_reason == "stop"
    assert answer.text.endswith("</tool_call>")
    called = json.loads(answer.text.split("<tool_call>", 1)[1].removesuffix("</tool_call>"))
    assert called["name"] == "add"
    assert called["arguments"]["right"] in (1, 2)


@pytest.mark.parametrize("seed", range(5))
def test_a_call_after_a_token_follows_free_text(engine: Engine, seed: int) -> None:
    answer = engine.generate("call it", SamplingParams(grammar=AFTER_A_TOKEN, seed=seed, max_tokens=400))
    assert answer.finish_reason == "stop"
    assert engine.tokenizer is not None
    marker = engine.tokenizer.added_tokens["<|im_start|>"]
    assert answer.token_ids.count(marker) == 1
    called = json.loads(engine.tokenizer.decode(answer.token_ids[answer.token_ids.index(marker) + 1 :]))
    assert called["arguments"]["left"] <= 99
