"""Looking for models: in the catalogue without asking anybody, on the hub with whatever it says."""

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from unillm.registry.errors import MalformedAnswer, OfflineMode, SourceUnreachable
from unillm.registry.search import Candidate, joined, search_catalogue, search_hub
from unillm.registry.settings import RegistrySettings
from unillm.tests.support.fake_hub import FakeHub

QWEN = {
    "id": "Qwen/Qwen3-0.6B",
    "downloads": 12_345_678,
    "gated": False,
    "tags": ["transformers", "safetensors", "qwen3", "license:apache-2.0"],
    "config": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"},
    "safetensors": {"parameters": {"BF16": 751_632_384}, "total": 751_632_384},
}
QUANTISED = {
    "id": "org/Some-GGUF",
    "downloads": 7,
    "gated": "manual",
    "tags": ["gguf"],
    "gguf": {"total": 135_000_000, "architecture": "llama", "context_length": 2048},
}


def names(found: list[Candidate]) -> list[str]:
    return [one.name for one in found]


def test_every_word_must_occur_in_the_catalogue(settings: RegistrySettings) -> None:
    assert names(search_catalogue("SmolLM2 135m", settings)) == ["smollm2:135m"]
    assert "tinyllama:1.1b" in names(search_catalogue("llama", settings))
    assert search_catalogue("no-such-model", settings) == []


def test_every_row_of_the_catalogue_says_its_architecture(settings: RegistrySettings) -> None:
    assert [one.name for one in search_catalogue("", settings) if one.architecture is None] == []


def test_what_the_hub_says_becomes_numbers(hub: FakeHub, online: RegistrySettings) -> None:
    hub.searched = [QWEN, QUANTISED]
    original, quantised = search_hub("qwen", online, 5)
    assert (original.name, original.format, original.architecture) == (
        "Qwen/Qwen3-0.6B",
        "safetensors",
        "Qwen3ForCausalLM",
    )
    assert (original.parameters, original.size) == (751_632_384, 2 * 751_632_384)
    assert (original.downloads, original.licence, original.gated) == (12_345_678, "apache-2.0", "no")
    assert (quantised.format, quantised.architecture, quantised.parameters) == ("gguf", "llama", 135_000_000)
    assert quantised.gated == "manual"


def test_the_hub_is_asked_for_the_words_and_no_more(hub: FakeHub, online: RegistrySettings) -> None:
    search_hub("a&limit=9 b", replace(online, token="hf_secret"), 5)
    asked = parse_qs(urlsplit(hub.asked[-1].path).query)
    assert (asked["search"], asked["limit"], asked["sort"]) == (["a&limit=9 b"], ["5"], ["downloads"])
    assert hub.asked[-1].token == "Bearer hf_secret"


@pytest.mark.parametrize(
    "said",
    [
        {"id": "org/repo"},
        {"id": "org/repo", "downloads": "many", "tags": 5, "config": [], "safetensors": {"parameters": {"F32": -1}}},
        {"id": "org/repo", "config": {"architectures": []}, "gguf": None, "safetensors": None, "downloads": True},
    ],
)
def test_what_is_not_said_or_is_nonsense_stays_open(hub: FakeHub, online: RegistrySettings, said: object) -> None:
    hub.searched = [said]
    assert search_hub("x", online, 5) == [Candidate("org/repo", "hub", "org/repo")]


@pytest.mark.parametrize("name", ["../../x", "llama", "org/repo:Q4", "a b/c", 7, None, "/etc/passwd", "x" * 500])
def test_a_name_that_is_none_is_left_out(hub: FakeHub, online: RegistrySettings, name: object) -> None:
    hub.searched = [{"id": name}]
    assert search_hub("x", online, 5) == []


@pytest.mark.parametrize("answer", [{"error": "no"}, "text", [1, 2]])
def test_an_answer_that_is_no_list_of_models_is_refused(hub: FakeHub, online: RegistrySettings, answer: object) -> None:
    hub.searched = answer
    with pytest.raises(MalformedAnswer):
        search_hub("x", online, 5)


def test_a_hub_out_of_reach_is_an_error(settings: RegistrySettings) -> None:
    with pytest.raises(SourceUnreachable):
        search_hub("x", settings, 5)
    with pytest.raises(OfflineMode):
        search_hub("x", replace(settings, offline=True), 5)


def test_a_repository_with_a_short_name_is_told_of_once(
    hub: FakeHub, online: RegistrySettings, settings: RegistrySettings
) -> None:
    hub.searched = [QWEN, QUANTISED]
    both = joined(search_catalogue("qwen3:0.6b", settings), search_hub("qwen3", online, 5))
    assert names(both) == ["qwen3:0.6b", "org/Some-GGUF"]
    assert both[0].downloads == 12_345_678
