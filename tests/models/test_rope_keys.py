"""Rotary positions as published files spell them, held against what the reference library makes of the same keys."""

from collections.abc import Mapping
from typing import Any, Final

import pytest
import torch
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from unillm.models.config import Keys
from unillm.models.ops import Rotation
from unillm.models.parts.rope import Rope
from unillm.models.rope_keys import rope_from_gguf, rope_from_hf

SIZES: Final = {"hidden_size": 256, "num_attention_heads": 4, "max_position_embeddings": 4096}
SHORT, LONG = [1.0 + 0.02 * i for i in range(32)], [1.0 + 0.9 * i for i in range(32)]

LLAMA3: Final = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 1024,
}

# Each as config.json files on the Hub have it, in either spelling.
PUBLISHED: Final[Mapping[str, Mapping[str, Any]]] = {
    "nothing": {},
    "null": {"rope_theta": 1e4, "rope_scaling": None},
    "base": {"rope_theta": 5e6},
    "linear": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "linear with base": {"rope_theta": 1e5, "rope_scaling": {"type": "linear", "factor": 4}},
    "dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "llama3": {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
    "both types": {"rope_theta": 5e5, "rope_scaling": {"type": "llama3", "rope_type": "llama3", **LLAMA3}},
    "yarn": {
        "rope_theta": 1e6,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024},
    },
    "yarn of the context": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
    "yarn with scales": {"rope_scaling": {"rope_type": "yarn", "factor": 40.0, "mscale": 0.7, "mscale_all_dim": 1.0}},
    "yarn sharpened": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.5, "beta_fast": 16}},
    "longrope": {
        "rope_scaling": {
            "type": "longrope",
            "short_factor": SHORT,
            "long_factor": LONG,
            "original_max_position_embeddings": 1024,
        }
    },
    "longrope beside": {
        "original_max_position_embeddings": 512,
        "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG},
    },
    "longrope by factor": {
        "rope_scaling": {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG, "factor": 16.0}
    },
    "new, plain": {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    "new, base outside": {"rope_theta": 5e5, "rope_parameters": {"rope_type": "linear", "factor": 2.0}},
    "new, llama3": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}},
}


def ours(keys: Mapping[str, Any], positions: torch.Tensor) -> Rotation:
    config = rope_from_hf(Keys({**SIZES, **keys}), 64)
    rotation: Rotation = Rope(config, torch.device("cpu"))(positions)
    return rotation


def reference(keys: Mapping[str, Any], positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each position by itself, as when a sequence grows token by token."""
    rotary = LlamaRotaryEmbedding(LlamaConfig(**{**SIZES, **keys}))
    rows = [rotary(torch.zeros(1), torch.tensor([[position]])) for position in positions.tolist()]
    return torch.cat([cos[0, :, :32] for cos, _ in rows]), torch.cat([sin[0, :, :32] for _, sin in rows])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_keys_turn_tokens_as_the_reference_does(name: str) -> None:
    """Also beyond the trained length, where some scalings begin."""
    positions = torch.tensor([0, 1, 2, 100, 511, 512, 1023, 1024, 1025, 4095, 4096, 5000])
    rotation = ours(PUBLISHED[name], positions)
    cos, sin = reference(PUBLISHED[name], positions)
    # An angle of thousands keeps three digits less than fp32 has.
    torch.testing.assert_close(rotation.cos, cos, rtol=0, atol=2e-3)
    torch.testing.assert_close(rotation.sin, sin, rtol=0, atol=2e-3)
    assert not rotation.interleaved


def test_an_old_name_of_longrope_means_the_same() -> None:
    section = {"short_factor": SHORT, "long_factor": LONG, "original_max_position_embeddings": 1024}
    positions = torch.arange(2000)
    old, new = (ours({"rope_scaling": {"type": kind, **section}}, positions) for kind in ("su", "longrope"))
    assert torch.equal(old.cos, new.cos)


@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_a_token_turns_the_same_whatever_comes_after_it(name: str) -> None:
    whole = ours(PUBLISHED[name], torch.arange(5000))
    start = ours(PUBLISHED[name], torch.arange(3000))
    assert torch.equal(whole.cos[:3000], start.cos)
    assert torch.equal(whole.sin[:3000], start.sin)


def gguf(keys: Mapping[str, Any]) -> Rotation:
    values = {"llama.context_length": 4096, **{f"llama.{key}": value for key, value in keys.items()}}
    config = rope_from_gguf(Keys(values, "llama."), 64, interleaved=True)
    rotation: Rotation = Rope(config, torch.device("cpu"))(torch.arange(0, 5000, 7))
    return rotation


@pytest.mark.parametrize(
    ("keys", "same"),
    [
        ({}, "nothing"),
        ({"rope.freq_base": 5e6}, "base"),
        ({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}, "nothing"),
        ({"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, "linear"),
        ({"rope.scaling.factor": 4.0, "rope.freq_base": 1e5}, "linear with base"),
        (
            {
                "rope.freq_base": 1e6,
                "rope.scaling.type": "yarn",
                "rope.scaling.factor": 4.0,
                "rope.scaling.original_context_length": 1024,
            },
            "yarn",
        ),
        ({"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}, "yarn of the context"),
    ],
)
def test_gguf_keys_mean_what_their_cousins_in_config_json_do(keys: Mapping[str, Any], same: str) -> None:
    got, wanted = gguf(keys), ours(PUBLISHED[same], torch.arange(0, 5000, 7))
    assert torch.equal(got.cos, wanted.cos)
    assert torch.equal(got.sin, wanted.sin)
    assert got.interleaved


def test_only_the_first_numbers_of_a_head_may_turn() -> None:
    assert gguf({"rope.dimension_count": 16}).cos.shape[1] == 8
