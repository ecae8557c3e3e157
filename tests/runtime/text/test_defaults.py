"""What a model's files want of sampling, and where its answers end."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest

from unillm.registry.files import ModelFiles
from unillm.runtime.params import SamplingParams
from unillm.runtime.text.defaults import end_token_ids, generation_defaults, turn_end
from unillm.runtime.text.errors import SettingsFault
from unillm.runtime.text.template import ChatTemplate
from unillm.runtime.text.tokenizer import load_tokenizer
from unillm.tests.runtime.text.tiny import byte_level_json, byte_level_keys, folder, from_keys

CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "sampling": (
        {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1},
        {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1},
    ),
    "greedy": ({"do_sample": False, "temperature": 0.7}, {"temperature": 0.0}),
    "unsaid": ({"temperature": 0.7}, {"temperature": 0.7}),
    "nulls": ({"temperature": None, "top_k": None}, {}),
    "length": ({"max_new_tokens": 512}, {"max_tokens": 512}),
    "others": ({"bos_token_id": 1, "transformers_version": "5", "num_beams": 4}, {}),
}


@pytest.mark.parametrize(("config", "wanted"), CONFIGS.values(), ids=CONFIGS.keys())
def test_generation_config_fills_in_what_a_caller_left_open(
    config: dict[str, Any], wanted: dict[str, Any], tmp_path: Path
) -> None:
    found = generation_defaults(folder(tmp_path, generation_config=config))
    assert found == wanted
    assert SamplingParams(top_k=5).over(found).top_k == 5


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"temperature": -1}, "temperature: is -1; it must be a number, 0 or more"),
        ({"temperature": "warm"}, "temperature: is 'warm'"),
        ({"top_p": 2}, "top_p: is 2; it must be between 0 and 1"),
        ({"top_k": 1.5}, r"top_k: is 1\.5"),
        ({"repetition_penalty": 0}, "repetition_penalty: is 0; it must be above 0"),
        ({"max_new_tokens": True}, "max_tokens: is True"),
    ],
)
def test_an_impossible_value_names_its_file(config: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsFault, match=rf"generation_config\.json: {reason}"):
        generation_defaults(folder(tmp_path, generation_config=config))


def test_a_users_own_parameters_come_first(tmp_path: Path) -> None:
    files = folder(tmp_path, generation_config={"temperature": 0.7, "top_k": 20})
    mine = replace(files, parameters={"temperature": 0.1, "num_ctx": 4096})
    assert generation_defaults(mine) == {"temperature": 0.1, "top_k": 20}


def test_a_gguf_says_it_in_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_float32("general.sampling.temp", 0.5)
    writer.add_int32("general.sampling.top_k", 7)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert generation_defaults(ModelFiles("tiny", "gguf", (path,))) == {"temperature": 0.5, "top_k": 7}


CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
TURNS = {
    "a token": (CHATML, "<|im_end|>"),
    "a token of the tokenizer's": ("{% for m in messages %}{{ m.content }} {{ eos_token }}{% endfor %}", "</s>"),
    "words": ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}", None),
    "nothing it would write": ("{{ raise_exception('no') }}", None),
    "nothing of the assistant": ("{{ messages[0].content }}</s>", None),
}


@pytest.mark.parametrize(("source", "end"), TURNS.values(), ids=TURNS.keys())
def test_the_token_that_ends_a_turn_is_found(source: str, end: str | None) -> None:
    tokenizer = from_keys(byte_level_keys(byte_level_json()))
    found = turn_end(tokenizer, ChatTemplate(source, "tiny"))
    assert (None if found is None else tokenizer.token(found)) == end


def test_every_end_counts(tmp_path: Path) -> None:
    files = folder(
        tmp_path, byte_level_json(), tokenizer_config={"eos_token": "</s>"}, generation_config={"eos_token_id": [1, 5]}
    )
    tokenizer, template = load_tokenizer(files), ChatTemplate(CHATML, "tiny")
    assert end_token_ids(files, tokenizer, template) == {1, 3, 5}
    assert end_token_ids(files, tokenizer, None) == {1, 5}
    assert end_token_ids(files, None, None) == {1, 5}
