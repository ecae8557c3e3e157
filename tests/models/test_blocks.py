"""Packed blocks as numbers, held against the `gguf` package bit for bit."""

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from unillm.models.blocks import PACKED_KINDS, block_of, dequantize
from unillm.models.errors import WeightsError

KINDS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]
SCALES = {  # where each kind keeps its half-precision scales
    "Q4_0": (0, 2),
    "Q4_1": (0, 4),
    "Q5_0": (0, 2),
    "Q5_1": (0, 4),
    "Q8_0": (0, 2),
    "Q2_K": (80, 84),
    "Q3_K": (108, 110),
    "Q4_K": (0, 4),
    "Q5_K": (0, 4),
    "Q6_K": (208, 210),
    "IQ4_NL": (0, 2),
    "IQ4_XS": (0, 2),
}


def every_bit(kind: str, rows: int, blocks: int, seed: int = 0) -> Tensor:
    """Rows of random bytes (so every field takes every value) with finite scales of both signs."""
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, (rows, blocks, block_of(kind).nbytes), dtype=np.uint8)
    if kind in SCALES:
        start, stop = SCALES[kind]
        scales = random.standard_normal((rows, blocks, (stop - start) // 2)).astype(np.float16)
        data[..., start:stop] = scales.view(np.uint8)
    else:
        data[..., 0] %= 250  # powers of two whose multiples are numbers
    return torch.from_numpy(data.reshape(rows, -1))


def reference(kind: str, data: Tensor) -> Tensor:
    numbers = gguf.quants.dequantize(data.numpy(), gguf.GGMLQuantizationType[kind])
    return torch.from_numpy(numbers)


def bits(numbers: Tensor) -> Tensor:
    return numbers.contiguous().view(torch.int32)


def test_the_kinds_are_those_that_stay_packed() -> None:
    assert sorted(KINDS) == sorted(PACKED_KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_has_the_sizes_of_the_format(kind: str) -> None:
    block = block_of(kind)
    assert (block.elements, block.nbytes) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "blocks"), [(1, 1), (3, 5), (200, 3)])
def test_numbers_are_bit_equal_to_the_reference(kind: str, rows: int, blocks: int) -> None:
    data = every_bit(kind, rows, blocks)
    assert torch.equal(bits(dequantize(kind, data)), bits(reference(kind, data)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_slice_of_columns_reads_as_the_same_columns(kind: str) -> None:
    data, block = every_bit(kind, 4, 6), block_of(kind)
    whole = dequantize(kind, data)
    part = dequantize(kind, data[:, 2 * block.nbytes : 5 * block.nbytes])
    assert torch.equal(part, whole[:, 2 * block.elements : 5 * block.elements])


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_can_be_written_to_memory_of_the_caller(kind: str) -> None:
    data = every_bit(kind, 4, 2)
    out = torch.full((4, 2 * block_of(kind).elements), torch.nan)
    assert dequantize(kind, data, out).data_ptr() == out.data_ptr()
    assert torch.equal(out, reference(kind, data))


@pytest.mark.parametrize("kind", KINDS)
def test_the_packed_bytes_are_never_written_to(kind: str) -> None:
    data = every_bit(kind, 1, 1)
    before = data.clone()
    dequantize(kind, data)
    assert torch.equal(data, before)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_at_an_odd_address_read_the_same(kind: str) -> None:
    data = every_bit(kind, 3, 2)
    shifted = torch.empty(data.numel() + 1, dtype=torch.uint8)[1:].view(data.shape).copy_(data)
    assert torch.equal(dequantize(kind, shifted), dequantize(kind, data))


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_are_no_numbers(kind: str) -> None:
    block = block_of(kind)
    assert dequantize(kind, torch.empty(0, 2 * block.nbytes, dtype=torch.uint8)).shape == (0, 2 * block.elements)


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(WeightsError, match="IQ2_XXS"):
        block_of("IQ2_XXS")
