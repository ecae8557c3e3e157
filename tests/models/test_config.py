"""What a config must not say: each is refused by the name of its key, before any weight is touched."""

import json
import math
import resource
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from unillm.models.config import Keys, ModelConfig
from unillm.models.errors import ConfigError
from unillm.models.table import find
from unillm.models.text.llama import LlamaConfig
from unillm.tests.models import zoo
from unillm.tests.support.hangs import HANGS

HUGE = 10**12
NOT_COUNTS: tuple[Any, ...] = (None, 0, -1, HUGE, 10**400, 1.5, math.nan, math.inf, True, "64", [64], {"a": 1})
NOT_NUMBERS: tuple[Any, ...] = (-1.0, math.nan, math.inf, -math.inf, True, "1e-5", [1e-5], 10**400)
NOT_SCALES: tuple[Any, ...] = (0, -2, math.nan, math.inf, True, "two", {})
NOT_FLAGS: tuple[Any, ...] = (1, 0, "false", [], 0.5)

HF_COUNTS = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
HF_OPTIONAL = ("num_key_value_heads", "head_dim", "max_position_embeddings")
GGUF_COUNTS = (
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
)
GGUF_OPTIONAL = ("vocab_size", "attention.head_count_kv", "attention.key_length", "rope.dimension_count")

GGUF: Mapping[str, Any] = {
    "general.architecture": "llama",
    "llama.vocab_size": 131,
    "llama.context_length": 256,
    "llama.embedding_length": 64,
    "llama.block_count": 3,
    "llama.feed_forward_length": 96,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.key_length": 16,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.dimension_count": 16,
    "llama.rope.freq_base": 1e4,
}

FAMILIES = ("llama2", "mistral0.1", "qwen2", "qwen3")


def read_hf(keys: Mapping[str, Any]) -> ModelConfig:
    return find(keys["architectures"][0], "safetensors").Config.from_hf(keys)


def read_gguf(keys: Mapping[str, Any]) -> ModelConfig:
    return find(keys["general.architecture"], "gguf").Config.from_gguf(keys)


def shown(value: object) -> str:
    return "10**400" if value == 10**400 else repr(value)


def wrong_hf() -> Iterator[tuple[str, str, Any]]:
    for family in FAMILIES:
        yield from ((family, key, value) for key in HF_COUNTS for value in NOT_COUNTS)
        yield from ((family, key, value) for key in HF_OPTIONAL for value in NOT_COUNTS[1:])
        yield from ((family, "rms_norm_eps", value) for value in (None, *NOT_NUMBERS))
        yield from ((family, "tie_word_embeddings", value) for value in NOT_FLAGS)
    yield from (("llama2", key, value) for key in ("attention_bias", "mlp_bias") for value in NOT_FLAGS)
    yield from (("mistral0.1", "sliding_window", value) for value in NOT_COUNTS[1:])
    yield from (("qwen2-window", "sliding_window", value) for value in NOT_COUNTS[1:])
    yield from (("qwen2-window", "use_sliding_window", value) for value in NOT_FLAGS)
    yield from (("llama2", "hidden_act", value) for value in ("gelu", 1, True, ["silu"]))
    yield ("llama2", "num_key_value_heads", 3)
    yield ("llama2", "head_dim", 15)
    yield ("llama2", "num_attention_heads", 6)
    yield ("llama2", "quantization_config", {"quant_method": "gptq"})


@pytest.mark.parametrize(("family", "key", "value"), list(wrong_hf()), ids=shown)
def test_a_wrong_value_in_config_json_is_refused_by_its_key(family: str, key: str, value: Any) -> None:
    keys = zoo.keys_of(zoo.BY_NAME[family])
    for derived in ("layer_types", "head_dim"):
        keys.pop(derived, None)
    with pytest.raises(ConfigError) as caught:
        read_hf({**keys, "max_window_layers": 1, key: value})
    assert caught.value.key == key


def wrong_gguf() -> Iterator[tuple[str, Any]]:
    yield from ((key, value) for key in GGUF_COUNTS for value in NOT_COUNTS)
    yield from ((key, value) for key in GGUF_OPTIONAL for value in NOT_COUNTS[1:])
    yield from (("attention.layer_norm_rms_epsilon", value) for value in (None, *NOT_NUMBERS))
    yield from (("rope.freq_base", value) for value in (0.0, 1.0, *NOT_NUMBERS))
    yield from (("rope.scaling.type", value) for value in ("ntk", 3, True))
    yield from (("attention.head_count_kv", value) for value in ([2, 2, 1], [2, 2], [], [0, 0, 0], [True] * 3, 3))
    yield from (("expert_count", value) for value in (-1, True))
    yield ("attention.value_length", 32)
    yield ("rope.dimension_count", 15)
    yield ("rope.dimension_count", 18)


@pytest.mark.parametrize(("key", "value"), list(wrong_gguf()), ids=shown)
def test_a_wrong_value_in_a_gguf_is_refused_by_its_key(key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read_gguf({**GGUF, f"llama.{key}": value})
    assert caught.value.key == f"llama.{key}"


def test_a_gguf_may_state_counts_a_layer_at_a_time() -> None:
    lists = {"llama.attention.head_count_kv": [2, 2, 2], "llama.feed_forward_length": [96, 96, 96]}
    assert read_gguf({**GGUF, **lists}) == read_gguf(GGUF)


SCALINGS: Mapping[str, Mapping[str, Any]] = {
    row.name: row.settings["rope_parameters"] for row in zoo.ROWS if row.scaled and row.family == "Llama"
}


def wrong_rope() -> Iterator[tuple[str, str, Any]]:
    for name, section in SCALINGS.items():
        yield from ((name, "rope_theta", value) for value in (0, 1, -1e4, math.nan, math.inf, True, "1e4", HUGE * 10))
        yield from ((name, "rope_type", value) for value in ("ntk", 7, True, ["yarn"]))
        for key in sorted(section.keys() - {"rope_theta", "rope_type", "truncate"}):
            yield from ((name, key, value) for value in NOT_SCALES)
    yield from (("llama-linear", "factor", value) for value in (None, HUGE))
    yield from (("llama3.1", key, None) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    yield ("llama3.1", "high_freq_factor", 1.0)
    yield ("llama-yarn", "truncate", 1)
    for key in ("short_factor", "long_factor"):
        yield from (("llama-longrope", key, value) for value in (None, [1.0] * 7, [1.0] * 9, [0.0] * 8, ["1"] * 8))


@pytest.mark.parametrize("spelling", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize(("name", "key", "value"), list(wrong_rope()), ids=shown)
def test_a_wrong_value_of_a_scaling_is_refused_by_its_key(name: str, key: str, value: Any, spelling: str) -> None:
    keys = zoo.keys_of(zoo.BY_NAME[name])
    keys[spelling] = {**keys.pop("rope_parameters"), key: value}
    with pytest.raises(ConfigError) as caught:
        read_hf(keys)
    assert caught.value.key in (f"{spelling}.{key}", *((key,) if value is None else ()))


@pytest.mark.parametrize("value", [7, "linear", [2.0], True])
@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling", "quantization_config"])
def test_a_section_that_is_none_is_refused_by_its_key(key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read_hf({**zoo.keys_of(zoo.BY_NAME["llama2"]), key: value})
    assert caught.value.key == key


@pytest.mark.parametrize(
    "value", [[], ["full_attention"] * 2, ["full_attention"] * 2 + ["global"], [1, 2, 3], "full_attention", 3]
)
def test_layer_types_must_name_each_layer(value: Any) -> None:
    with pytest.raises(ConfigError, match="layer_types"):
        read_hf({**zoo.keys_of(zoo.BY_NAME["qwen2-layer-types"]), "layer_types": value})


def test_sliding_layers_without_a_window_are_refused() -> None:
    with pytest.raises(ConfigError, match="layer_types"):
        read_hf({**zoo.keys_of(zoo.BY_NAME["qwen2-layer-types"]), "use_sliding_window": False})


@pytest.mark.parametrize("name", ["mistral0.1", "qwen2-window"])
def test_a_window_may_be_null_and_is_4096_where_nothing_is_said(name: str) -> None:
    keys = {**zoo.keys_of(zoo.BY_NAME[name]), "layer_types": None, "max_window_layers": 0}
    assert window_of(read_hf(keys)) == 24
    assert window_of(read_hf({**keys, "sliding_window": None})) is None
    del keys["sliding_window"]
    assert window_of(read_hf(keys)) == 4096


def window_of(config: ModelConfig) -> int | None:
    assert isinstance(config, LlamaConfig)
    return config.window(0)


def test_impossible_sizes_cost_neither_time_nor_memory() -> None:
    """200 MB are allowed; layers and heads by the billion would take far more if anyone made them."""
    keys = zoo.keys_of(zoo.BY_NAME["llama2"])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    for key in (*HF_COUNTS, *HF_OPTIONAL):
        with pytest.raises(ConfigError):
            read_hf({**keys, key: 10**9 + (10**12 if key == "max_position_embeddings" else 0)})
    assert time.perf_counter() - start < HANGS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


@pytest.mark.parametrize(
    "value", [10**400, "x" * 10**6, [1] * 10**6, {"a" * 10**5: 1}], ids=["int", "str", "list", "map"]
)
def test_a_message_stays_short_whatever_the_value(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Keys({"hidden_size": value}).count("hidden_size", most=64)
    assert len(str(caught.value)) < 200


def test_keys_that_nobody_reads_do_not_matter() -> None:
    keys = zoo.keys_of(zoo.BY_NAME["llama2"])
    assert read_hf({**keys, "initializer_range": math.nan, "use_cache": "perhaps"}) == read_hf(keys)


def test_json_numbers_beyond_floats_are_refused() -> None:
    keys = {**zoo.keys_of(zoo.BY_NAME["llama2"]), **json.loads('{"hidden_size": 1e400}')}
    with pytest.raises(ConfigError, match="hidden_size"):
        read_hf(keys)


def test_a_gguf_needs_no_vocabulary_size() -> None:
    assert read_gguf({**GGUF, "llama.vocab_size": None}).vocabulary is None
