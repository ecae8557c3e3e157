"""Numbers into blocks: as near as the `gguf` package's own quantisers come, and as llama.cpp's where it has none."""

import gguf
import pytest
import torch
from torch import Tensor

from unillm.models.blocks import block_of, dequantize
from unillm.models.encoding import WRITTEN_KINDS, mean_square_error, quantize
from unillm.models.errors import WeightsError

KINDS = sorted(WRITTEN_KINDS)
IN_THE_PACKAGE = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")

# The mean square error of llama-quantize (of llama-cpp-python 0.3.36) for normal numbers, as a share of their square.
LLAMA_CPP = {"Q4_K": 5.09e-3, "Q5_K": 1.30e-3, "Q6_K": 3.11e-4}


def numbers(rows: int = 64, columns: int = 1024, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", IN_THE_PACKAGE)
@pytest.mark.parametrize("outliers", [1.0, 8.0])
def test_blocks_are_no_worse_than_those_of_the_reference(kind: str, outliers: float) -> None:
    x = numbers()
    x[:, ::97] *= outliers
    theirs = torch.from_numpy(gguf.quants.quantize(x.numpy(), gguf.GGMLQuantizationType[kind]))
    ours = quantize(kind, x)
    assert mean_square_error(kind, x, ours) <= mean_square_error(kind, x, theirs)
    errors = [(dequantize(kind, one) - x).view(-1, 32).square().sum(1) for one in (ours, theirs)]
    # A scale is searched before it is rounded to half precision, which now and then costs more than it gained.
    assert float((errors[0] <= errors[1] * 1.001).float().mean()) > (0.5 if kind == "Q8_0" else 0.97)


@pytest.mark.parametrize("kind", sorted(LLAMA_CPP))
def test_kinds_that_the_reference_does_not_write_are_as_good_as_llama_cpps(kind: str) -> None:
    x = numbers(256, 2048)
    assert mean_square_error(kind, x, quantize(kind, x)) <= LLAMA_CPP[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_are_read_as_the_same_numbers_by_the_reference(kind: str) -> None:
    packed = quantize(kind, numbers(5, 512))
    wanted = torch.from_numpy(gguf.quants.dequantize(packed.numpy(), gguf.GGMLQuantizationType[kind]))
    assert torch.equal(dequantize(kind, packed), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_a_block_can_hold_exactly_come_back(kind: str) -> None:
    for value in (0.0, 0.5, -2.0):
        x = torch.full((2, 512), value)
        assert torch.allclose(dequantize(kind, quantize(kind, x)), x, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_the_same_bytes_whatever_is_around_it(kind: str) -> None:
    x = numbers(300, 1024)
    assert torch.equal(quantize(kind, x)[7:9], quantize(kind, x[7:9]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e-2, 1e4])
def test_small_and_large_numbers_keep_their_share_of_error(kind: str, size: float) -> None:
    x = numbers(8, 512)
    plain, scaled = (mean_square_error(kind, one, quantize(kind, one)) for one in (x, size * x))
    assert scaled <= 1.1 * plain


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_is_refused(kind: str) -> None:
    x = numbers(4, 512)
    x[2, 3] = torch.inf
    with pytest.raises(WeightsError, match="not finite"):
        quantize(kind, x)


def test_rows_of_no_whole_blocks_are_refused() -> None:
    with pytest.raises(WeightsError, match="256"):
        quantize("Q4_K", numbers(2, 128))


def test_a_kind_that_is_not_written_is_named() -> None:
    with pytest.raises(WeightsError, match="Q2_K"):
        quantize("Q2_K", numbers(2, 256))


def test_a_block_takes_the_bytes_that_the_format_says() -> None:
    for kind in KINDS:
        block = block_of(kind)
        assert quantize(kind, numbers(3, 512)).shape == (3, 512 // block.elements * block.nbytes)
