"""Every layout against the tool that writes it: the same bits once rounded to the type that the tool computes in."""

from typing import Final

import pytest
import torch
from torch import Tensor

from unillm.models.blocks import TABLES
from unillm.models.contract import Part
from unillm.models.errors import WeightsError
from unillm.models.ops import linear
from unillm.models.ops.cpu.kernels import Kernels
from unillm.models.parts.moe import together
from unillm.models.published.awq import Awq
from unillm.models.published.bitsandbytes import BitsAndBytes
from unillm.models.published.compressed import Compressed
from unillm.models.published.float8 import Float8
from unillm.models.published.gptq import Gptq
from unillm.models.published.methods import Method
from unillm.models.published.modelopt import ModelOptimizer
from unillm.models.published.stored import Stored
from unillm.models.quantized import FILE, QuantizedTensor
from unillm.tests.models import zoo
from unillm.tests.models.published.packers import golden

CASES: Final = golden()
_METHODS: Final[dict[str, Method]] = {
    "gptq": Gptq(32, shifted=True),
    "awq": Awq(),
    "ct": Compressed((16, 32)),
    "fp8": Float8((32, 32)),
    "nf4": BitsAndBytes(),
    "fp4": BitsAndBytes(),
    "llm": BitsAndBytes(),
    "mo": ModelOptimizer(),
}
# What the kernels get of each, where they can have the same numbers.
_BLOCKS: Final = {
    "gptq2-zeros": "Q4_0",
    "gptq3-zeros": "Q4_0",
    "gptq4": "Q4_0",
    "gptq4-zeros": "Q5_0",
    "gptq4-order": "Q4_0",
    "gptq8": "Q8_0",
    "awq": "Q5_0",
    "ct-int4-group": "Q4_0",
    "ct-int4-zeros": "Q5_0",
    "ct-int4-order": "Q4_0",
    "ct-int4-tensor": "Q4_0",
    "ct-int8-words": "Q8_0",
    "ct-int8-group": "Q8_0",
    "ct-int8-channel": "INT8",
    "ct-int8-tensor": "INT8",
    "llm-int8": "INT8",
    "ct-mxfp4": "MXFP4",
    "ct-fp8-channel": "E4M3",
    "ct-fp8-tensor": "E4M3",
}

cases: Final = pytest.mark.parametrize("case", CASES)


def method(case: str) -> Method:
    return next(method for start, method in _METHODS.items() if case.startswith(start))


def placed(weight: QuantizedTensor) -> tuple[QuantizedTensor, Kernels | None]:
    """As a model that computes with kernels has it."""
    kernels, blocks = zoo.EXACT.kernels, weight.in_blocks()
    return (kernels.pack(blocks) if kernels is not None and kernels.packs(blocks) else blocks), kernels


def read(case: str, **instead: Tensor) -> QuantizedTensor:
    tensors = {end: one for end, one in (CASES[case] | instead).items() if end != "expected"}
    return method(case).read(Stored("layer.proj", tensors))


@cases
def test_the_numbers_are_those_of_the_tool(case: str) -> None:
    wanted, weight = CASES[case]["expected"], read(case)
    assert weight.shape == tuple(wanted.shape)
    got = weight.dequantize(wanted.dtype)
    if case == "llm-int8":  # which divides by 127 last, where the scale is divided once for all here
        torch.testing.assert_close(got, wanted, rtol=2e-7, atol=0.0)
    else:
        assert torch.equal(got, wanted)


@cases
def test_a_matrix_takes_what_it_takes_in_the_file(case: str) -> None:
    stored = sum(one.nbytes for end, one in CASES[case].items() if end != "expected")
    nested = read(case).side["scales"].nbytes if "nested" in case else 0
    assert read(case).nbytes <= 1.05 * stored + nested


@cases
def test_rows_and_columns_come_apart_at_blocks(case: str) -> None:
    weight = read(case)
    whole, (rows, columns) = weight.dequantize(), weight.shape
    assert torch.equal(weight.rows(slice(5, 29)), whole[5:29])
    assert torch.equal(weight.rows(torch.tensor([7, 0, 7])), whole[[7, 0, 7]])
    assert torch.equal(weight.part(Part(0, 8, rows - 16)).dequantize(), whole[8 : rows - 16])
    if weight.block < columns:
        start = weight.block * max(1, columns // weight.block // 2)
        assert torch.equal(weight.part(Part(1, 0, start)).dequantize(), whole[:, :start])
        stop = columns // weight.block * weight.block
        assert torch.equal(weight.part(Part(1, start, stop)).dequantize(), whole[:, start:stop])
        assert torch.equal(weight.part(Part(1, start, stop)).part(Part(0, 8, 24)).dequantize(), whole[8:24, start:stop])
    if weight.block > 1:
        with pytest.raises(ValueError, match="do not fall on blocks"):
            weight.part(Part(1, 0, weight.block - 1))


@cases
def test_the_kernels_get_blocks_only_where_these_hold_the_same_numbers(case: str) -> None:
    weight = read(case)
    blocks = weight.in_blocks()
    assert blocks.kind == _BLOCKS.get(case, weight.kind)
    assert torch.equal(blocks.dequantize(), weight.dequantize())


def test_blocks_of_sorted_columns_are_cut_at_rows_alone_and_stacked_with_none() -> None:
    blocks = read("gptq4-order").in_blocks()
    assert "columns" in blocks.side
    assert torch.equal(blocks.part(Part(0, 8, 24)).dequantize(), blocks.dequantize()[8:24])
    with pytest.raises(ValueError, match="do not fall on blocks"):
        blocks.part(Part(1, 0, blocks.shape[1] // 2))
    assert together([blocks, blocks]) == (blocks, blocks)


@cases
@pytest.mark.skipif(zoo.EXACT.kernels is None, reason="no CPU kernels here")
def test_products_with_kernels_are_those_without(case: str) -> None:
    weight = read(case)
    x = torch.randn(5, weight.shape[1], generator=torch.Generator().manual_seed(2))
    onto = torch.ones(5, 2 * weight.shape[0])
    wanted = x @ weight.dequantize().T
    for each, kernels in ((weight, None), placed(weight)):
        torch.testing.assert_close(linear(x, (each,), (None,), kernels), wanted)
        both = linear(x, (each, each), (None, None), kernels, onto.clone())
        torch.testing.assert_close(both, torch.cat((wanted, wanted), 1) + 1)
    tiled, kernels = placed(weight)
    company, alone = (linear(rows, (tiled,), (None,), kernels) for rows in (x, x[1:2]))
    assert torch.equal(company[1:2], alone)


def wide() -> dict[str, tuple[QuantizedTensor, str]]:
    """Of what the golden ones are too narrow for, with the kind that kernels get; numbers are as these are read."""
    torch.manual_seed(4)
    eight = torch.randn(40, 512) * 30
    scales, choices = torch.rand(40, 8) * 0.02, torch.randint(0, 256, (40 * 256, 1), dtype=torch.uint8)
    made: dict[str, tuple[QuantizedTensor, str]] = {}
    for dtype, kind in ((torch.float8_e4m3fn, "E4M3"), (torch.float8_e5m2, "E5M2")):
        numbers = eight.to(dtype)
        for name, along in (("tile", scales[:2, :4]), ("row", scales[:, :1]), ("one", scales[0, 0])):
            tensors = {"weight": numbers, "weight_scale": along.contiguous()}
            made[f"{kind} {name}"] = Float8((32, 128)).read(Stored("x", tensors)), kind
    for kind in ("nf4", "fp4"):
        state = torch.tensor(list(b'{"shape": [40, 512], "blocksize": 64}'), dtype=torch.uint8)
        tensors = {
            "weight": choices,
            "weight.absmax": scales.flatten(),
            "weight.quant_map": torch.tensor(TABLES[kind.upper()]),
            f"weight.quant_state.bitsandbytes__{kind}": state,
        }
        made[kind] = BitsAndBytes().read(Stored("x", tensors)), kind.upper()
    return made


@pytest.mark.parametrize("name", wide())
def test_wide_rows_of_floats_are_kept_in_blocks_that_kernels_read(name: str) -> None:
    weight, kind = wide()[name]
    blocks = weight.in_blocks()
    assert (blocks.kind, blocks.layout) == (kind, FILE)
    assert torch.equal(blocks.dequantize(), weight.dequantize())


@pytest.mark.parametrize("odd", [torch.nan, torch.inf])
def test_what_is_no_number_stays_as_it_is(odd: float) -> None:
    numbers = torch.full((2, 128), odd).to(torch.float8_e5m2)
    weight = Float8().read(Stored("x", {"weight": numbers, "weight_scale": torch.ones(())}))
    assert weight.in_blocks() is weight


def test_zeros_of_the_second_version_are_as_stored() -> None:
    tensors = {end: one for end, one in CASES["gptq4-zeros"].items() if end != "expected"}
    second = Gptq(32, shifted=False).read(Stored("layer.proj", tensors))
    scales = tensors["scales"].float()[tensors["g_idx"].long()].T
    torch.testing.assert_close(
        second.dequantize(), CASES["gptq4-zeros"]["expected"].float() + scales, rtol=1e-3, atol=1e-6
    )


def test_by_hand() -> None:
    """Numbers 0 to 7 in a word whose lowest bits come first, zero 8 stored as 7, times a half."""
    words = torch.tensor([[0x76543210]] * 4, dtype=torch.int32).expand(4, 8).contiguous()
    zeros, scales = torch.full((1, 1), 0x77777777, dtype=torch.int32), torch.full((1, 8), 0.5, dtype=torch.float16)
    weight = Gptq(None, shifted=True).read(Stored("x", {"qweight": words, "qzeros": zeros, "scales": scales}))
    assert weight.dequantize()[0, :8].tolist() == [-4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5]


def test_awq_by_hand() -> None:
    """Bits of a word, from the lowest: outputs 0, 2, 4, 6, 1, 3, 5, 7."""
    words, scales = torch.tensor([[0x75316420]], dtype=torch.int32), torch.full((1, 8), 2.0, dtype=torch.float16)
    zeros = torch.tensor([[0x11111111]], dtype=torch.int32)
    weight = Awq().read(Stored("x", {"qweight": words, "qzeros": zeros, "scales": scales}))
    assert weight.dequantize()[:, 0].tolist() == [2.0 * (output - 1) for output in range(8)]


@pytest.mark.parametrize(
    ("case", "end"),
    [
        ("gptq4", "qzeros"),
        ("gptq4", "scales"),
        ("awq", "qzeros"),
        ("awq", "scales"),
        ("fp8-block", "weight_scale_inv"),
        ("ct-int4-group", "weight_shape"),
        ("ct-int4-group", "weight_scale"),
        ("ct-int4-zeros", "weight_zero_point"),
        ("ct-fp8-block", "weight_scale"),
        ("ct-nvfp4", "weight_scale"),
        ("ct-nvfp4", "weight_global_scale"),
        ("nf4", "weight.absmax"),
        ("nf4", "weight.quant_state.bitsandbytes__nf4"),
        ("nf4-nested", "weight.nested_absmax"),
        ("llm-int8", "SCB"),
    ],
)
def test_what_is_cut_short_is_refused_by_name(case: str, end: str) -> None:
    with pytest.raises(WeightsError, match=r"layer\.proj"):
        read(case, **{end: CASES[case][end][:-1]})


def test_an_input_of_no_group_is_refused() -> None:
    order = CASES["gptq4-order"]["g_idx"].clone()
    order[3] = 4
    with pytest.raises(WeightsError, match="g_idx does not name one of 4 groups"):
        read("gptq4-order", g_idx=order)


def test_what_is_missing_is_named() -> None:
    tensors = {end: one for end, one in CASES["awq"].items() if end not in ("expected", "qzeros")}
    with pytest.raises(WeightsError, match=r"layer\.proj\.qzeros is missing"):
        Awq().read(Stored("layer.proj", tensors))
