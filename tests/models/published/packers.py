"""Matrices as other tools pack them, by the formats' descriptions alone, and the numbers that they then stand for.

A packer takes a matrix [out, in] and gives its tensors by the ends of their names, and the numbers, fp32.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

Numbers: TypeAlias = NDArray[Any]
Packed: TypeAlias = tuple[dict[str, Tensor], Tensor]
Packer: TypeAlias = Callable[[Tensor], Packed]

GOLDEN: Final = Path(__file__).parents[1] / "fixtures" / "published" / "matrices.safetensors"
_GROUP: Final = 32
_TILE: Final = 32
_AWQ_ORDER: Final = (0, 2, 4, 6, 1, 3, 5, 7)


def golden() -> dict[str, dict[str, Tensor]]:
    """Cases that the tools themselves have packed and unpacked; `meta.json` beside them says which versions."""
    cases: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(GOLDEN).items():
        case, end = name.split("/")
        cases.setdefault(case, {})[end] = tensor
    return cases


def words(numbers: Numbers, bits: int) -> Tensor:
    """Rows of numbers as one stream of bits, the lowest first."""
    each = numbers[..., None] >> np.arange(bits) & 1
    stream = np.packbits(each.reshape(len(numbers), -1).astype(np.uint8), axis=1, bitorder="little")
    return torch.from_numpy(stream.copy().view(np.int32))


def _grouped(weight: Tensor, bits: int, zeros: bool, groups: Numbers) -> tuple[Numbers, Numbers, Numbers, Tensor]:
    """Numbers, zeros and scales in half precision, where column i is of group `groups[i]`; and what they mean."""
    most, numbers = 2**bits - 1, weight.numpy()
    sets = [numbers[:, groups == group] for group in range(groups.max() + 1)]
    low, high = (np.stack([getattr(one, end)(1) for one in sets], 1) for end in ("min", "max"))
    if zeros:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        scale = ((high - low) / most).astype(np.float16)
        zero = np.clip(np.rint(-low / scale), 1, most).astype(np.int64)
    else:
        scale = (np.maximum(-low, high) * 2 / most).astype(np.float16)
        zero = np.full(scale.shape, 2 ** (bits - 1))
    wide = scale.astype(np.float32)[:, groups]
    chosen = np.clip(np.rint(numbers / wide) + zero[:, groups], 0, most).astype(np.int64)
    meant = (chosen - zero[:, groups]).astype(np.float32) * wide
    return chosen, zero, scale, torch.from_numpy(meant)


def gptq(weight: Tensor, *, bits: int = 4, zeros: bool = False, order: bool = False, shift: int = 1) -> Packed:
    groups = np.arange(weight.shape[1]) // _GROUP
    if order:
        groups = np.random.default_rng(5).permutation(groups)
    chosen, zero, scale, meant = _grouped(weight, bits, zeros, groups)
    tensors = {
        "qweight": words(chosen, bits).T.contiguous(),
        "qzeros": words((zero - shift).T, bits),
        "scales": torch.from_numpy(scale.T.copy()),
        "g_idx": torch.from_numpy(groups.astype(np.int32)),
    }
    return tensors, meant


def awq(weight: Tensor) -> Packed:
    chosen, zero, scale, meant = _grouped(weight, 4, True, np.arange(weight.shape[1]) // _GROUP)

    def interleaved(numbers: Numbers) -> Tensor:
        turned = numbers.T
        return words(turned.reshape(len(turned), -1, 8)[..., _AWQ_ORDER].reshape(turned.shape), 4)

    return {
        "qweight": interleaved(chosen),
        "qzeros": interleaved(zero),
        "scales": torch.from_numpy(scale.T.copy()),
    }, meant


def int4(weight: Tensor, *, zeros: bool = False) -> Packed:
    chosen, zero, scale, meant = _grouped(weight, 4, zeros, np.arange(weight.shape[1]) // _GROUP)
    tensors = {
        "weight_packed": words(chosen, 4),
        "weight_shape": torch.tensor(weight.shape),
        "weight_scale": torch.from_numpy(scale),
    }
    if zeros:
        tensors["weight_zero_point"] = words(zero.T, 4).T.contiguous()
    return tensors, meant


def int8(weight: Tensor) -> Packed:
    scale = (weight.abs().amax(1, keepdim=True) / 127).bfloat16()
    numbers = (weight / scale.float()).round().clamp(-128, 127).to(torch.int8)
    return {"weight": numbers, "weight_scale": scale}, numbers.float() * scale.float()


def int8_of_bitsandbytes(weight: Tensor) -> Packed:
    largest = weight.abs().amax(1)
    numbers = (weight * 127 / largest[:, None]).round().to(torch.int8)
    tensors = {"weight": numbers, "SCB": largest, "weight_format": torch.zeros((), dtype=torch.uint8)}
    return tensors, numbers.float() * largest[:, None] / 127


def nf4(weight: Tensor) -> Packed:
    table = golden()["nf4"]["weight.quant_map"]
    blocks = weight.reshape(-1, 64)
    largest = blocks.abs().amax(1)
    chosen = (blocks[..., None] / largest[:, None, None] - table).abs().argmin(-1)
    first, second = chosen.reshape(-1, 2).to(torch.uint8).unbind(1)
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": list(weight.shape)}
    tensors = {
        "weight": (first << 4 | second)[:, None],
        "weight.absmax": largest,
        "weight.quant_map": table,
        "weight.quant_state.bitsandbytes__nf4": torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8),
    }
    return tensors, (table[chosen] * largest[:, None]).view(weight.shape)


def float8(weight: Tensor, *, tile: tuple[int, int], end: str = "weight_scale_inv") -> Packed:
    rows, columns = weight.shape
    height, width = (min(edge, size) for edge, size in zip(tile, weight.shape, strict=True))
    blocks = weight.view(rows // height, height, columns // width, width)
    scale = blocks.abs().amax((1, 3), keepdim=True) / 448
    numbers = (blocks / scale).to(torch.float8_e4m3fn)
    flat = scale[:, 0, :, 0]
    return {"weight": numbers.view(rows, columns), end: flat if flat.numel() > 1 else flat.view(())}, (
        numbers.float() * scale
    ).view(rows, columns)


def nvfp4(weight: Tensor, *, optimized: bool = False) -> Packed:
    """`optimized`: as Model Optimizer has it."""
    floats = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    groups = weight.view(len(weight), -1, 16)
    over = (448 * 6 / weight.abs().max()).reshape(1)
    scale = (groups.abs().amax(-1, keepdim=True) / 6 * over).to(torch.float8_e4m3fn)
    step = scale.float() / over
    chosen = ((groups / step).abs()[..., None] - floats).abs().argmin(-1)
    bits = (chosen | (groups < 0) << 3).view(weight.shape).to(torch.uint8)
    packed = bits[:, 0::2] | bits[:, 1::2] << 4
    if optimized:
        times = (1 / over).reshape(())
        step = scale.float() * times
        tensors = {"weight": packed, "weight_scale": scale[..., 0], "weight_scale_2": times, "input_scale": over}
    else:
        tensors = {"weight_packed": packed, "weight_scale": scale[..., 0], "weight_global_scale": over}
    return tensors, (floats[chosen] * torch.where(groups < 0, -1, 1) * step).view(weight.shape)


def _section(method: str, **keys: Any) -> Mapping[str, Any]:
    return {"quant_method": method, **keys}


def _compressed(kind: str, **weights: Any) -> Mapping[str, Any]:
    group = {"targets": ["Linear"], "weights": weights}
    return _section("compressed-tensors", format=kind, config_groups={"group_0": group}, ignore=["lm_head"])


# What config.json says, and the packer.
FORMATS: Final[Mapping[str, tuple[Mapping[str, Any], Packer]]] = {
    "gptq": (_section("gptq", bits=4, group_size=_GROUP, desc_act=False, sym=True), gptq),
    "gptq-order": (
        _section("gptq", bits=4, group_size=_GROUP, desc_act=True, checkpoint_format="gptq_v2"),
        lambda weight: gptq(weight, zeros=True, order=True, shift=0),
    ),
    "gptq-3-bits": (_section("gptq", bits=3, group_size=_GROUP), lambda weight: gptq(weight, bits=3, zeros=True)),
    "awq": (_section("awq", bits=4, group_size=_GROUP, zero_point=True, version="gemm"), awq),
    "fp8-blocks": (
        _section("fp8", weight_block_size=[_TILE, _TILE], activation_scheme="dynamic"),
        lambda weight: float8(weight, tile=(_TILE, _TILE)),
    ),
    "fp8-small-blocks": (
        _section("fp8", weight_block_size=[8, 8], activation_scheme="dynamic"),
        lambda weight: float8(weight, tile=(8, 8)),
    ),
    "fp8-whole": (
        _section("fp8", activation_scheme="static"),
        lambda weight: float8(weight, tile=(1 << 20, 1 << 20), end="weight_scale"),
    ),
    "nf4": (_section("bitsandbytes", load_in_4bit=True, bnb_4bit_quant_type="nf4"), nf4),
    "llm-int8": (_section("bitsandbytes", load_in_8bit=True), int8_of_bitsandbytes),
    "int4": (_compressed("pack-quantized", num_bits=4, type="int", strategy="group", group_size=_GROUP), int4),
    "int4-zeros": (
        _compressed("pack-quantized", num_bits=4, type="int", strategy="group", symmetric=False),
        lambda weight: int4(weight, zeros=True),
    ),
    "int8": (_compressed("int-quantized", num_bits=8, type="int", strategy="channel"), int8),
    "nvfp4": (_compressed("nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group"), nvfp4),
    "nvfp4-optimizer": (
        _section("modelopt", quant_algo="NVFP4", group_size=16, kv_cache_quant_algo="FP8", ignore=["lm_head"]),
        lambda weight: nvfp4(weight, optimized=True),
    ),
    "fp8-optimizer": (
        _section("modelopt", quant_algo="FP8", kv_cache_quant_algo=None, exclude_modules=["lm_head"]),
        lambda weight: float8(weight, tile=(1 << 20, 1 << 20), end="weight_scale"),
    ),
    "fp8-rows": (
        _compressed("float-quantized", num_bits=8, type="float", strategy="channel"),
        lambda weight: float8(weight, tile=(1, 1 << 20), end="weight_scale"),
    ),
}
