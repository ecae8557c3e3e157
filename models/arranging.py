"""Packed weights on their way to a GPU's kernels: the blocks of files, and what tools have published, as planes.

It takes plain torch and the weight's own device, once, while a model is loaded; rows go by stretches, so that little
more than the weight is in memory.
"""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from .blocks import CURVE, block_of
from .planes import Form, PlanesTensor
from .published.bitsandbytes import ChosenTensor
from .published.float8 import Float8Tensor
from .published.grouped import Grouped
from .quantized import FILE, INT8, QuantizedTensor

_STRETCH: Final = 1 << 24  # numbers arranged at a time

_Planes = Mapping[str, Tensor]


def misfit(weight: QuantizedTensor) -> str | None:
    """Why there are no planes for such a weight; None: there are."""
    if isinstance(weight, Float8Tensor):
        return None if _divides(16, weight.tile[1], weight) else f"{weight.kind} in blocks of {weight.tile[1]} columns"
    if isinstance(weight, ChosenTensor):
        return None if _divides(32, weight.group, weight) else f"{weight.kind} in blocks of {weight.group}"
    if isinstance(weight, Grouped):
        return _misfit_of_groups(weight)
    if weight.layout == FILE and (weight.kind == INT8 or weight.kind in _BLOCKS):
        return None
    return f"weights of {weight.kind}"


def arranged(weight: QuantizedTensor) -> PlanesTensor:
    """The same numbers. `misfit` says for what."""
    if isinstance(weight, Float8Tensor):
        width = weight.tile[1] if weight.side["scales"].shape[1] > 1 else weight.shape[1]
        form = Form("floats", "plain", width, height=weight.tile[0], dtype=weight.data.dtype)
        return _made(weight, form, {"data": weight.data.view(torch.uint8), "scales": weight.side["scales"]})
    if isinstance(weight, ChosenTensor):
        turned = weight.data >> 4 | weight.data << 4  # the first of two neighbours in the low bits
        side = {"data": turned, "scales": weight.side["scales"], "table": weight.side["table"]}
        return _made(weight, Form("chosen", "plain", weight.group), side)
    if isinstance(weight, Grouped):
        return _of_groups(weight)
    if weight.kind == INT8:
        form = Form("floats", "plain", weight.shape[-1], dtype=torch.int8)
        return _made(weight, form, {"data": weight.data, "scales": weight.side["scale"][:, None]})
    return _of_blocks(weight)


def _made(weight: QuantizedTensor, form: Form, planes: _Planes) -> PlanesTensor:
    side = {name: plane.contiguous() for name, plane in planes.items() if name != "data"}
    return PlanesTensor(weight.kind, weight.shape, planes["data"].contiguous(), side=side, form=form)


def _stretches(weight: QuantizedTensor, planes_of: Callable[[slice], _Planes]) -> _Planes:
    rows, height = len(weight.data), max(1, _STRETCH // weight.shape[-1])
    if isinstance(weight, Grouped):
        rows, height = weight.shape[0], -(-height // 8) * 8  # some share words with their neighbours
    planes: dict[str, Tensor] = {}
    for first in range(0, rows, height):
        some = slice(first, min(first + height, rows))
        for name, part in planes_of(some).items():
            if name not in planes:
                planes[name] = part.new_empty(rows, *part.shape[1:])
            planes[name][some] = part
    return planes


def _of_blocks(weight: QuantizedTensor) -> PlanesTensor:
    form, planes_of = _BLOCKS[weight.kind]
    size = block_of(weight.kind).nbytes

    def some(rows: slice) -> _Planes:
        blocks = weight.data[rows].reshape(-1, weight.data.shape[1] // size, size)
        return {name: plane.flatten(1) for name, plane in planes_of(blocks).items()}

    planes = _stretches(weight, some)
    table = (
        {"table": torch.tensor(CURVE, dtype=torch.float32, device=weight.device)} if form.numbers == "chosen" else {}
    )
    return _made(weight, form, {**planes, **table})


def _divides(span: int, group: int, weight: QuantizedTensor) -> bool:
    return group % span == 0 or group >= weight.shape[-1]


def _misfit_of_groups(weight: Grouped) -> str | None:
    if weight.bits not in (4, 8):
        return f"numbers of {weight.bits} bits"
    span = 32 if weight.bits == 4 else 16
    if not _divides(span, weight.group, weight) or (weight.bits == 4 and weight.shape[1] % span):
        return f"{weight.kind} in groups of {weight.group} of {weight.shape[1]} columns"
    if "order" in weight.side and weight.sorted_columns() is None:
        return f"{weight.kind} in groups that are not of one size"
    return None


def _of_groups(weight: Grouped) -> PlanesTensor:
    columns = weight.sorted_columns()
    whole = weight.bits == 8

    def some(rows: slice) -> _Planes:
        codes = weight.numbers(rows)
        codes = codes if columns is None else codes[:, columns]
        return {"data": codes ^ weight.middle if whole else _stream(codes, 4)}

    side = {"scales": weight.side["scales"]} | ({} if columns is None else {"columns": columns})
    zeros, dtype = weight.side.get("zeros"), torch.int8 if whole else torch.int32
    if zeros is None:
        form = Form("floats" if whole else "nibbles", "plain", weight.group, 0 if whole else weight.middle, dtype=dtype)
    else:
        form = Form("floats" if whole else "nibbles", "zeros", weight.group, dtype=dtype)
        side["more"] = (zeros ^ weight.middle).view(torch.int8) if whole else zeros
    return _made(weight, form, {**_stretches(weight, some), **side})


def _codes(packed: Tensor, bits: int, run: int) -> Tensor:
    """The numbers of bytes, in their order: the lowest bits of `run` bytes are the first, their next bits follow."""
    runs = packed.reshape(*packed.shape[:-1], -1, run)
    return torch.stack([runs >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)], -2).flatten(-3)


def _stream(codes: Tensor, bits: int) -> Tensor:
    """Numbers of so many bits, one behind the other, the first in the lowest bits."""
    each = codes.reshape(*codes.shape[:-1], -1, 8 // bits)
    found: Tensor = each[..., 0].clone()
    for place in range(1, 8 // bits):
        found |= each[..., place] << bits * place
    return found


def _halves(blocks: Tensor, start: int, stop: int) -> Tensor:
    return blocks[..., start:stop].contiguous().view(torch.float16)


def _half_bytes(start: int, run: int = 16) -> Callable[[Tensor], Tensor]:
    """Of a block: all from `start`."""
    return lambda blocks: _stream(_codes(blocks[..., start:], 4, run), 4)


def _q4_0(blocks: Tensor) -> _Planes:
    return {"data": _half_bytes(2)(blocks), "scales": _halves(blocks, 0, 2)}


def _q4_1(blocks: Tensor) -> _Planes:
    return {"data": _half_bytes(4)(blocks), "scales": _halves(blocks, 0, 2), "more": _halves(blocks, 2, 4)}


def _q5_0(blocks: Tensor) -> _Planes:
    return {"data": _half_bytes(6)(blocks), "high": blocks[..., 2:6], "scales": _halves(blocks, 0, 2)}


def _q5_1(blocks: Tensor) -> _Planes:
    minima = {"scales": _halves(blocks, 0, 2), "more": _halves(blocks, 2, 4)}
    return {"data": _half_bytes(8)(blocks), "high": blocks[..., 4:8], **minima}


def _q8_0(blocks: Tensor) -> _Planes:
    return {"data": blocks[..., 2:], "scales": _halves(blocks, 0, 2)}


def _q4_k(blocks: Tensor) -> _Planes:
    return {"data": _half_bytes(16, 32)(blocks), **_k_scales(blocks)}


def _q5_k(blocks: Tensor) -> _Planes:
    high = _stream(_codes(blocks[..., 16:48], 1, 32), 1)
    return {"data": _half_bytes(48, 32)(blocks), "high": high, **_k_scales(blocks)}


def _k_scales(blocks: Tensor) -> _Planes:
    """Six bits each, as `planes` has them instead of as the blocks do."""
    scales, minima, rest = blocks[..., 4:8], blocks[..., 8:12], blocks[..., 12:16]
    scale = torch.cat((scales & 63, rest & 15 | scales >> 6 << 4), -1)
    minimum = torch.cat((minima & 63, rest >> 4 | minima >> 6 << 4), -1)
    low, high = scale & 15 | minimum << 4, _stream(scale >> 4 | minimum >> 4 << 2, 4)
    return {"scales": _halves(blocks, 0, 4), "more": torch.cat((low.flatten(1), high.flatten(1)), 1)[:, None]}


def _q6_k(blocks: Tensor) -> _Planes:
    words = _half_bytes(0, 64)(blocks[..., :128]).view(len(blocks), -1, 2, 4)  # two for each scale
    return {
        "data": words.transpose(1, 2).flatten(1)[:, None],
        "high": _stream(_codes(blocks[..., 128:192], 2, 32), 2),
        "more": blocks[..., 192:208].view(torch.int8),
        "scales": _halves(blocks, 208, 210),
    }


def _mxfp4(blocks: Tensor) -> _Planes:
    return {"data": _half_bytes(1)(blocks), "scales": blocks[..., :1]}


def _iq4_xs(blocks: Tensor) -> _Planes:
    """Scales of six bits in a byte each: two bytes of 136 more."""
    small = _codes(blocks[..., 4:8], 4, 1) | _codes(blocks[..., 2:4], 2, 1) << 4
    more = small.view(torch.int8) - 32
    return {"data": _half_bytes(8)(blocks), "scales": _halves(blocks, 0, 2), "more": more}


_BLOCKS: Final[Mapping[str, tuple[Form, Callable[[Tensor], _Planes]]]] = {
    "Q4_0": (Form("nibbles", "plain", 32, 8), _q4_0),
    "Q4_1": (Form("nibbles", "minima", 32), _q4_1),
    "Q5_0": (Form("fives", "plain", 32, 16), _q5_0),
    "Q5_1": (Form("fives", "minima", 32), _q5_1),
    "Q8_0": (Form("floats", "plain", 32, dtype=torch.int8), _q8_0),
    "Q4_K": (Form("nibbles", "pairs", 32), _q4_k),
    "Q5_K": (Form("fives", "pairs", 32), _q5_k),
    "Q6_K": (Form("sixes", "small", 16, 32), _q6_k),
    "MXFP4": (Form("doubled", "powers", 32), _mxfp4),
    "IQ4_NL": (Form("chosen", "plain", 32), _q4_0),
    "IQ4_XS": (Form("chosen", "small", 32), _iq4_xs),
}
