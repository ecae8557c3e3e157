"""A weight of every kind that kernels multiply with, of random numbers, made where it is wanted by torch alone."""

from collections.abc import Mapping

import torch
from torch import Tensor

from unillm.models.arranging import arranged, misfit
from unillm.models.blocks import PACKED_KINDS, block_of
from unillm.models.planes import Form, PlanesTensor
from unillm.models.quantized import INT8, QuantizedTensor

# Where a block keeps scales of 16 bits: random bytes there would be infinities.
_HALVES = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "MXFP4": ()}


def packed_weights(rows: int, columns: int, device: torch.device) -> Mapping[str, PlanesTensor]:
    """By the names of their kinds; rows are whole blocks of all."""
    found = {
        "INT8": QuantizedTensor(
            INT8, (rows, columns), _bytes(rows, columns, device), side={"scale": _scales(rows, 1, device)[:, 0]}
        )
    }
    for kind in sorted(PACKED_KINDS):
        weight = QuantizedTensor(kind, (rows, columns), _blocks(kind, rows, columns, device))
        if misfit(weight) is None:
            found[kind] = weight
    return {kind: arranged(weight) for kind, weight in found.items()} | _published(rows, columns, device)


def _blocks(kind: str, rows: int, columns: int, device: torch.device) -> Tensor:
    block = block_of(kind)
    data = _bytes(rows, columns // block.elements * block.nbytes, device).view(rows, -1, block.nbytes)
    for place in _HALVES.get(kind, (0,)):
        data[..., place : place + 2] = _scales(rows, data.shape[1], device).half()[..., None].view(torch.uint8)
    if kind == "MXFP4":
        data[..., 0] = 110 + data[..., 0] % 16
    return data.view(rows, -1)


def _published(rows: int, columns: int, device: torch.device) -> dict[str, PlanesTensor]:
    """Floats of 8 bits with a scale for all, a row, a block; four bits in groups, and of a table."""
    shape, small = (rows, columns), _bytes(rows, columns // 2, device)
    floats = torch.randn(rows, columns, device=device).to(torch.float8_e4m3fn).view(torch.uint8)
    found = {}
    for name, (height, width) in {
        "FP8 of a tensor": shape,
        "FP8 of rows": (1, columns),
        "FP8 in blocks": (128, 128),
    }.items():
        side = {"scales": _scales(-(-rows // height), -(-columns // width), device)}
        form = Form("floats", "plain", width, height=height, dtype=torch.float8_e4m3fn)
        found[name] = PlanesTensor("FP8", shape, floats, side=side, form=form)
    grouped = {
        "scales": _scales(rows, columns // 128, device).half(),
        "more": _bytes(rows, columns // 128, device) % 16,
    }
    found["int4 in groups"] = PlanesTensor("int4", shape, small, side=grouped, form=Form("nibbles", "zeros", 128))
    chosen = {"scales": _scales(rows, columns // 64, device), "table": torch.linspace(-1, 1, 16, device=device)}
    found["NF4"] = PlanesTensor("NF4", shape, small, side=chosen, form=Form("chosen", "plain", 64))
    return found


def _bytes(rows: int, columns: int, device: torch.device) -> Tensor:
    return torch.randint(0, 256, (rows, columns), dtype=torch.uint8, device=device)


def _scales(rows: int, columns: int, device: torch.device) -> Tensor:
    return 0.01 + 0.01 * torch.rand(rows, columns, device=device)
