"""What config.json says of how weights were packed, and what of it is refused."""

from typing import Any

import pytest

from unillm.models.errors import ConfigError
from unillm.models.published.compressed import Compressed
from unillm.models.published.float8 import Float8
from unillm.models.published.gptq import Gptq
from unillm.models.published.methods import read_method, without_method
from unillm.models.published.modelopt import ModelOptimizer
from unillm.tests.models.published.packers import FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_published_sections_are_read(name: str) -> None:
    assert read_method({"quantization_config": FORMATS[name][0]}) is not None


def test_a_config_that_speaks_of_none_has_none() -> None:
    assert read_method({}) is None
    assert read_method({"quantization_config": None}) is None


def test_of_a_model_that_sees_too_the_text_models_own_section_counts() -> None:
    section = {"quant_method": "fp8", "weight_block_size": [128, 64]}
    config = {"text_config": {"hidden_size": 8, "quantization_config": section}, "vision_config": {}}
    assert read_method(config) == Float8((128, 64))
    assert without_method(config) == {"text_config": {"hidden_size": 8}, "vision_config": {}}


def test_what_the_tensors_do_not_say_is_taken_from_it() -> None:
    def method(**section: Any) -> object:
        return read_method({"quantization_config": section})

    assert method(quant_method="gptq", bits=4, group_size=128) == Gptq(128, shifted=True)
    assert method(quant_method="gptq", bits=8, group_size=-1, checkpoint_format="gptq_v2") == Gptq(None, shifted=False)
    assert method(quant_method="auto-round", bits=4, group_size=128) == Gptq(128, shifted=True)
    assert method(quant_method="fp8", weight_block_size=[128, 64]) == Float8((128, 64))
    assert method(quant_method="fbgemm_fp8") == Float8()
    assert method(quant_method="modelopt", quant_algo="FP8") == ModelOptimizer()
    blocks = {"weights": {"type": "float", "num_bits": 8, "strategy": "block", "block_structure": [128, 128]}}
    found = method(quant_method="compressed-tensors", format="float-quantized", config_groups={"group_0": blocks})
    assert found == Compressed((128, 128))


@pytest.mark.parametrize(
    ("section", "key", "reason"),
    [
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {str(n): {"weights": {"num_bits": 8, "block_structure": [n, n]}} for n in (64, 128)},
            },
            "config_groups",
            "blocks of several sizes",
        ),
        ({"quant_method": "aqlm"}, "quant_method", "'aqlm' is not one of gptq, awq, .*compressed-tensors"),
        ({}, "quant_method", "missing"),
        ({"quant_method": "gptq", "bits": 5}, "bits", "numbers of 5 bits are not read, only of 2, 3, 4, 8"),
        ({"quant_method": "gptq", "bits": "4"}, "bits", "not a whole number"),
        ({"quant_method": "gptq", "bits": 4, "group_size": -7}, "group_size", "not in"),
        ({"quant_method": "gptq", "bits": 4, "is_marlin_format": True}, "is_marlin_format", "Marlin"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "checkpoint_format", "'marlin'"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "version", "'gemv'"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, "quant_algo", "'W4A8_AWQ'"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "weight_block_size", "1 entries where 2"),
        ({"quant_method": "compressed-tensors", "format": "marlin-24"}, "format", "'marlin-24'"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 3}}}},
            "config_groups.a.weights.num_bits",
            "numbers of 3 bits",
        ),
    ],
)
def test_what_is_not_read_is_refused_by_its_key(section: dict[str, Any], key: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        read_method({"quantization_config": section})
    assert caught.value.key == f"quantization_config.{key}"
