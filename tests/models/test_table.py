"""Architectures are found by their names, and near misses are named."""

import pytest

from unillm.models.contract import Model
from unillm.models.errors import UnknownArchitecture
from unillm.models.table import GGUF, HF, find


@pytest.mark.parametrize("name", HF)
def test_every_line_leads_to_a_model(name: str) -> None:
    assert issubclass(find(name, "safetensors"), Model)
    assert find(name, "safetensors") is find(name, "pytorch")


@pytest.mark.parametrize("name", GGUF)
def test_every_line_for_gguf_leads_to_a_model(name: str) -> None:
    assert issubclass(find(name, "gguf"), Model)


def test_an_unknown_architecture_is_refused_with_near_ones() -> None:
    with pytest.raises(UnknownArchitecture) as caught:
        find("Llama2ForCausalLM", "safetensors")
    assert "LlamaForCausalLM" in caught.value.near
    assert "Llama2ForCausalLM" in str(caught.value)


def test_names_of_one_format_are_not_those_of_another() -> None:
    with pytest.raises(UnknownArchitecture):
        find("llama", "safetensors")


def test_an_architecture_like_no_other_has_no_near_ones() -> None:
    with pytest.raises(UnknownArchitecture) as caught:
        find("\x1b[31m", "gguf")
    assert caught.value.near == []
    assert caught.value.hint is None
