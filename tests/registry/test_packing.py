"""What config.json says of packed weights, in words, and the numbers that their tensors hold."""

from pathlib import Path
from typing import Any

import pytest

from unillm.registry.formats.view import TensorView
from unillm.registry.packing import read_packing


@pytest.mark.parametrize(
    ("section", "label"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "GPTQ, 4 bits, groups of 128"),
        ({"quant_method": "awq", "bits": 4, "group_size": -1}, "AWQ, 4 bits"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "FP8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes, nf4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes, int8"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 8}}}},
            "compressed-tensors, 8 bits",
        ),
        ({"quant_method": "hqq", "bits": "four"}, "hqq"),
        ({"quant_method": 7}, "packed in an unnamed way"),
    ],
)
def test_packing_is_told_in_words(section: dict[str, Any], label: str) -> None:
    packing = read_packing({"quantization_config": section})
    assert packing is not None
    assert packing.label == label


def test_a_plain_model_has_none() -> None:
    assert read_packing({}) is None
    assert read_packing({"quantization_config": []}) is None


@pytest.mark.parametrize(
    ("section", "tensors", "numbers"),
    [
        (
            {"quant_method": "gptq", "bits": 4},
            [
                ("x.qweight", "I32", (16, 64)),
                ("x.qzeros", "I32", (4, 8)),
                ("x.scales", "F16", (4, 64)),
                ("norm.weight", "F16", (9,)),
            ],
            128 * 64 + 9,
        ),
        (
            {"quant_method": "bitsandbytes"},
            [("x.weight", "U8", (4096, 1)), ("x.weight.absmax", "F32", (128,)), ("x.weight.quant_map", "F32", (16,))],
            8192,
        ),
        ({"quant_method": "fp8"}, [("x.weight", "F8_E4M3", (64, 64)), ("x.weight_scale_inv", "F32", (1, 1))], 4096),
        (
            {"quant_method": "mxfp4"},
            [("e.down_proj_blocks", "U8", (2, 8, 3, 16)), ("e.down_proj_scales", "U8", (2, 8, 3))],
            1536,
        ),
    ],
)
def test_numbers_are_counted_as_what_they_stand_for(
    section: dict[str, Any], tensors: list[tuple[str, str, tuple[int, ...]]], numbers: int
) -> None:
    packing = read_packing({"quantization_config": section})
    assert packing is not None
    sizes = {"I32": 4, "F32": 4, "F16": 2, "U8": 1, "F8_E4M3": 1}
    views = []
    for name, dtype, shape in tensors:
        view = TensorView(name, dtype, shape, Path("x"), 0, 0)
        views.append(TensorView(name, dtype, shape, Path("x"), 0, view.num_elements * sizes[dtype]))
    assert packing.parameters(views) == numbers
