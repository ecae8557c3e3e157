"""Packed weights for tests: random blocks of a file, their numbers by the `gguf` package, and the product with them.

Of our own kinds the numbers are by `models.blocks`, which other tests hold against that package.
"""

import ctypes
from dataclasses import dataclass

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants
from torch import Tensor

from unillm.models.blocks import block_of, dequantize
from unillm.models.ops.cpu.library import Context, Multiplication, Product
from unillm.tests.models.ops.cpu.machine import NUMBERS

I8 = 24
FLOATS = {"E4M3": 1101, "E5M2": 1102, "NF4": 1103, "FP4": 1104, "NVFP4": 1105}
GRIDS = {"GRID1": 1001, "GRID2": 1002, "GRID3_XXS": 1003, "GRID3_S": 1004}
FILES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4")
KINDS = (*FILES, *GRIDS, "NVFP4")  # whose numbers are whole, times a scale
OWN = GRIDS | FLOATS

# Where a block keeps its 16-bit scales: random bytes there would be infinities.
_SCALES = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_NL": (0,),
    "IQ4_XS": (0,),
    **dict.fromkeys(GRIDS, (0,)),
}


def random_blocks(kind: str, rows: int, columns: int, seed: int = 0) -> Tensor:
    """[rows, bytes of a row] uint8, as a file has them."""
    random = np.random.default_rng(seed)
    if kind in FLOATS:
        return _random_floats(kind, rows, columns, seed)
    elements, nbytes = (256, 138) if kind in GRIDS else GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    blocks = random.integers(0, 256, (rows, columns // elements, nbytes), dtype=np.uint8)
    for offset in _SCALES.get(kind, ()):
        scales = (random.standard_normal(blocks.shape[:2]) * 0.02).astype(np.float16)
        blocks[:, :, offset : offset + 2] = scales[..., None].view(np.uint8)
    if kind == "MXFP4":
        blocks[:, :, 0] = random.integers(100, 140, blocks.shape[:2])
        blocks[0, 0, 0] = 1  # an exponent below that of every normal number
    if kind in ("GRID1", "GRID2"):  # six numbers to choose among
        low, high = random.integers(0, 6, (2, *blocks.shape[:2], 128), dtype=np.uint8)
        blocks[:, :, 10:] = low | high << 4
    return torch.from_numpy(blocks.reshape(rows, -1))


def _random_floats(kind: str, rows: int, columns: int, seed: int) -> Tensor:
    """Scales, then bytes; of those of 8 bits none stands for what is no number."""
    random = np.random.default_rng(seed)
    block = block_of(kind)
    scales = 2 if kind == "NVFP4" else 1
    blocks = random.integers(0, 256, (rows, columns // block.elements, block.nbytes), dtype=np.uint8)
    if block.elements == 128:
        blocks[blocks & 0x7F > (0x7E if kind == "E4M3" else 0x7B)] = 1
    numbers = (random.standard_normal((*blocks.shape[:2], scales)) * 0.02).astype(np.float32)
    blocks[:, :, : 4 * scales] = numbers.view(np.uint8)
    return torch.from_numpy(blocks.reshape(rows, -1))


def numbers_of(kind: str, blocks: Tensor) -> Tensor:
    if kind in OWN:
        return dequantize(kind, blocks)
    return torch.from_numpy(quants.dequantize(blocks.numpy(), GGMLQuantizationType[kind]))


@dataclass
class Packed:
    """A weight in the kernels' tiles."""

    context: Context
    kind: int
    rows: int
    columns: int
    data: Tensor

    def times(self, x: Tensor, *, exact: bool = False, onto: Tensor | None = None) -> Tensor:
        y = torch.full((len(x), self.rows), torch.nan) if onto is None else onto
        product = Product(self.data.data_ptr(), self.kind, onto is not None, self.rows, y.data_ptr(), y.stride(0))
        call = Multiplication(
            ctypes.pointer(product), x.data_ptr(), x.stride(0), len(x), self.columns, 1, NUMBERS[x.dtype], exact
        )
        self.context.library.unillm_matmul(self.context.handle, ctypes.byref(call))
        return y


def pack(context: Context, kind: str, blocks: Tensor, columns: int) -> Packed:
    number = OWN[kind] if kind in OWN else GGMLQuantizationType[kind].value
    return _pack(context, number, blocks, columns, None)


def pack_int8(context: Context, quantized: Tensor, scales: Tensor) -> Packed:
    return _pack(context, I8, quantized, quantized.shape[1], scales)


def _pack(context: Context, kind: int, blocks: Tensor, columns: int, scales: Tensor | None) -> Packed:
    rows = len(blocks)
    data = torch.empty(context.library.unillm_packed_bytes(kind, rows, columns), dtype=torch.uint8)
    context.library.unillm_pack(
        context.handle,
        kind,
        blocks.data_ptr(),
        blocks.stride(0),
        None if scales is None else scales.data_ptr(),
        rows,
        columns,
        data.data_ptr(),
    )
    return Packed(context, kind, rows, columns, data)


def in_int8(x: Tensor) -> Tensor:
    """Activations as the kernels round them: int8 in blocks of 32, a scale each; in fp32, so that ties fall alike."""
    blocks = torch.nn.functional.pad(x.float(), (0, -x.shape[1] % 32)).reshape(len(x), -1, 32)
    largest = blocks.abs().amax(-1, keepdim=True)
    most = torch.tensor(127.0)  # as a tensor: torch divides a plain number by multiplying with a reciprocal
    quants = torch.where(largest > 0, (blocks * (most / largest)).round(), 0.0)
    return (quants.double() * (largest / 127).double()).flatten(1)[:, : x.shape[1]]
