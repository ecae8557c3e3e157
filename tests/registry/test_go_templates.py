"""Templates in Ollama's language, and the Jinja that says the same."""

import tomllib
from importlib.resources import files
from typing import Any

import pytest

from unillm.registry.go_templates import is_go, known_jinja, wants_bos
from unillm.runtime.text.template import ChatTemplate

ROWS: dict[str, Any] = tomllib.loads(files("unillm.registry").joinpath("go_templates.toml").read_text("utf-8"))
TALK = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "Q"},
    {"role": "assistant", "content": "A"},
    {"role": "user", "content": "R"},
]
WRITTEN = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
    "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n",
    "llama3": "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "Q<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>user<|end_header_id|>"
    "\n\nR<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "zephyr": "<|system|>\nS</s>\n<|user|>\nQ</s>\n<|assistant|>\nA</s>\n<|user|>\nR</s>\n<|assistant|>\n",
    "phi3": "<|system|>\nS<|end|>\n<|user|>\nQ<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nR<|end|>\n<|assistant|>\n",
    "mistral": "[INST] S Q [/INST] A</s>[INST] R [/INST]",
    "llama2": "[INST] <<SYS>>\nS\n<</SYS>>\n\nQ [/INST] A </s>[INST] R [/INST]",
    "gemma": "<start_of_turn>user\nS Q<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
    "<start_of_turn>user\nR<end_of_turn>\n<start_of_turn>model\n",
    "alpaca": "S\n\n### Instruction:\nQ\n\n### Response:\nA\n\n### Instruction:\nR\n\n### Response:\n",
}


@pytest.mark.parametrize("name", ROWS)
def test_the_jinja_of_a_known_template_writes_what_the_family_reads(name: str) -> None:
    for go in ROWS[name]["go"]:
        jinja = known_jinja(go.replace("{{ ", "{{").replace("\n", "\r\n"), bos=False)
        assert jinja is not None
        assert ChatTemplate(jinja, name).render(TALK) == WRITTEN[name]
        begun = known_jinja(go, bos=True)
        assert begun is not None
        assert ChatTemplate(begun, name).render(TALK, bos_token="<s>") == "<s>" + WRITTEN[name]
        assert ChatTemplate(begun, name).render(TALK) == WRITTEN[name]


@pytest.mark.parametrize("name", ROWS)
def test_it_is_told_from_jinja(name: str) -> None:
    assert all(is_go(go) for go in ROWS[name]["go"])
    assert not is_go(ROWS[name]["jinja"])


@pytest.mark.parametrize("text", ["{{ messages }}", "{{ bos_token }}", "{% if a %}{{ .5 }}{% endif %}", "{{- ifs }}"])
def test_jinja_is_not_taken_for_it(text: str) -> None:
    assert not is_go(text)


def test_a_template_that_differs_in_a_word_is_not_known() -> None:
    assert known_jinja(ROWS["chatml"]["go"][0].replace("user", "human"), bos=False) is None


def test_who_wants_a_beginning() -> None:
    assert wants_bos("{{ bos_token }}x", {})
    assert not wants_bos("x", {"tokenizer.ggml.add_bos_token": True})
    assert wants_bos(None, {"tokenizer.ggml.model": "llama"})
    assert not wants_bos(None, {"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_bos_token": False})
    assert not wants_bos(None, {"tokenizer.ggml.model": "gpt2"})
