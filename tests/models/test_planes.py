"""Planes hold the numbers of what they were made of, take no more room, and are cut at rows."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unillm.models.arranging import arranged, misfit
from unillm.models.contract import Part
from unillm.models.published.grouped import Grouped
from unillm.models.quantized import INT8, QuantizedTensor
from unillm.tests.models.ops.cpu.blocks import random_blocks
from unillm.tests.models.published.test_matrices import CASES, read

BLOCKS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4")
APART = {
    "ct-int4-channel": "INT4 in words in groups of 100 of 100 columns",
    "gptq2-zeros": "numbers of 2 bits",
    "gptq3-zeros": "numbers of 3 bits",
    "ct-nvfp4": "weights of NVFP4",
    "mo-nvfp4": "weights of NVFP4",
}


def blocks(kind: str, *shape: int) -> QuantizedTensor:
    rows = shape[0] if len(shape) == 2 else shape[0] * shape[1]
    return QuantizedTensor(kind, shape, random_blocks(kind, rows, shape[-1]))


def same(got: Tensor, wanted: Tensor) -> None:
    """But for a product and a sum that are rounded twice, or once."""
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))


def held(weight: QuantizedTensor) -> None:
    planes, wanted = arranged(weight), weight.dequantize()
    same(planes.dequantize(), wanted)
    rows, flat = torch.tensor([3, 0, 3]), wanted.flatten(0, -2)
    same(planes.rows(rows, torch.empty(3, flat.shape[1])), flat[rows])
    part = planes.part(Part(0, 1, 3))
    same(part.dequantize(), wanted[1:3])
    assert part.nbytes <= planes.nbytes
    assert planes.nbytes <= weight.nbytes * (1.02 if weight.kind == "IQ4_XS" else 1) + 64


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_of_files_are_arranged(kind: str) -> None:
    held(blocks(kind, 5, 512))
    held(blocks(kind, 3, 2, 256))


def test_stretches_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unillm.models.arranging._STRETCH", 600)
    held(blocks("Q4_K", 5, 256))
    held(read("awq"))


def test_bytes_with_a_scale_a_row_stay_as_they_are() -> None:
    numbers = torch.randint(0, 256, (5, 37), dtype=torch.uint8)
    weight = QuantizedTensor(INT8, (5, 37), numbers, side={"scale": torch.rand(5)})
    held(weight)
    assert arranged(weight).data is numbers


@pytest.mark.parametrize("case", CASES)
def test_what_tools_have_published_is_arranged_or_named(case: str) -> None:
    weight = read(case)
    assert misfit(weight) == APART.get(case)
    if case in APART:
        return
    planes, wanted = arranged(weight), weight.dequantize()
    same(planes.dequantize(), wanted)
    same(planes.part(Part(0, 8, 16)).dequantize(), wanted[8:16])


def test_kinds_and_groups_without_planes_are_named() -> None:
    assert misfit(blocks("Q2_K", 2, 256)) == "weights of Q2_K"
    grouped = read("ct-int4-group")
    assert isinstance(grouped, Grouped)
    assert misfit(replace(grouped, group=24)) == f"{grouped.kind} in groups of 24 of {grouped.shape[1]} columns"


def test_planes_are_not_cut_at_columns() -> None:
    with pytest.raises(ValueError, match="by rows alone"):
        arranged(blocks("Q4_0", 2, 64)).part(Part(1, 0, 32))
