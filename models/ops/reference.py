"""The operations in plain torch, but for attention: what every fast version is tested against.

A matrix is never converted or unpacked whole. It goes by tiles of rows through one small buffer that stays in cache, so
a mapped weight stays mapped and a packed one packed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contract import Part
from ..quantized import QuantizedTensor
from .operands import Matrices, Norm, Rotation

# Numbers of a tile: about what the second-level caches of a few cores hold as fp32. Other devices hide no launch
# costs behind so little work.
_TILE: Final = 600_000
_TILE_ELSEWHERE: Final = 16_000_000

Product: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # of x [rows, in] and a matrix [out, in]


def _product(x: Tensor, tile: Tensor) -> Tensor:
    return F.linear(x, tile.to(x.dtype))


def dense_linear(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], onto: Tensor | None = None
) -> Tensor:
    """x @ weight.T + bias of each, side by side; a weight of another type than x is converted tile by tile."""
    return _side_by_side([_dense(x, weight, bias) for weight, bias in zip(weights, biases, strict=True)], onto)


def packed_linear(
    x: Tensor,
    weights: Sequence[QuantizedTensor],
    biases: Sequence[Tensor | None],
    onto: Tensor | None = None,
    product: Product = _product,
) -> Tensor:
    """The same with weights whose rows are unpacked tile by tile, to be multiplied by `product`."""
    pairs = zip(weights, biases, strict=True)
    return _side_by_side([_packed(x, weight, bias, product) for weight, bias in pairs], onto)


def added(out: Tensor, onto: Tensor | None) -> Tensor:
    return out if onto is None else onto + out


def _side_by_side(outs: Sequence[Tensor], onto: Tensor | None) -> Tensor:
    return added(outs[0] if len(outs) == 1 else torch.cat(list(outs), -1), onto)


def _dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if weight.dtype == x.dtype:
        return F.linear(x, weight, bias)
    out = x.new_empty(len(x), len(weight))
    buffer: Tensor | None = None
    for start, stop in _tiles(weight.shape, x.device):
        if buffer is None:
            buffer = x.new_empty(stop - start, weight.shape[1])
        tile = buffer[: stop - start].copy_(weight[start:stop])
        out[:, start:stop] = F.linear(x, tile)
    return out if bias is None else out.add_(bias)


def _packed(x: Tensor, weight: QuantizedTensor, bias: Tensor | None, product: Product = _product) -> Tensor:
    out = x.new_empty(len(x), weight.shape[0])
    buffer: Tensor | None = None
    for start, stop in _tiles(weight.shape, x.device):
        if buffer is None:
            buffer = torch.empty(stop - start, weight.shape[1], dtype=torch.float32, device=x.device)
        tile = weight.rows(slice(start, stop), buffer[: stop - start])
        out[:, start:stop] = product(x, tile)
    return out if bias is None else out.add_(bias)


def _tiles(shape: tuple[int, ...], device: torch.device) -> Iterator[tuple[int, int]]:
    """Borders of tiles of rows, each of about the same height."""
    rows, columns = shape
    numbers = _TILE if device.type == "cpu" else _TILE_ELSEWHERE
    count = max(1, -(-rows * columns // numbers))
    height = -(-rows // count)
    return ((start, min(start + height, rows)) for start in range(0, rows, height))


def dense_embedding(ids: Tensor, table: Tensor, dtype: torch.dtype) -> Tensor:
    return F.embedding(ids, table).to(dtype)


def packed_embedding(ids: Tensor, table: QuantizedTensor, dtype: torch.dtype) -> Tensor:
    return table.rows(ids).to(dtype)


def experts(
    x: Tensor, weight: Matrices, chosen: Tensor, product: Callable[[Tensor, int], Tensor] | None = None
) -> Tensor:
    """x [rows, in] times the matrices of `weight` [experts, out, in] that `chosen` [rows, choices] names. One expert
    after another is read, and only if somebody chose it: which, is read on the host. `product` multiplies rows by the
    matrix of an expert; None: in plain torch.
    """
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    count, height = (len(weight), weight[0].shape[0]) if isinstance(weight, tuple) else weight.shape[:2]
    counts = torch.bincount(flat, minlength=count).tolist()
    out = x.new_empty(len(flat), height)
    for expert, choices in enumerate(torch.split(order, counts)):
        if len(choices):
            some = x[choices // chosen.shape[1]]
            out[choices] = product(some, expert) if product else _of_expert(some, weight, expert)
    return out.view(*chosen.shape, -1)


def _of_expert(x: Tensor, weight: Matrices, expert: int) -> Tensor:
    if isinstance(weight, QuantizedTensor):
        stack = weight.part(Part(0, expert, expert + 1))
        return _packed(x, replace(stack, shape=stack.shape[1:]), None)
    one = weight[expert]
    return _dense(x, one, None) if isinstance(one, Tensor) else _packed(x, one, None)


def rms_norm(x: Tensor, norm: Norm, onto: Tensor | None = None) -> Tensor:
    """x / root-mean-square(x) * weight, in fp32, in the type of x; added to `onto`, which stays as it is."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.eps)
    normed = (wide * scale * norm.weight).to(x.dtype)
    return normed if onto is None else onto + normed


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """(x - mean) / deviation * weight + bias, in fp32, in the type of x."""
    return F.layer_norm(x.float(), x.shape[-1:], weight, bias, eps).to(x.dtype)


def silu_mul(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, the two halves of the last dimension."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


def gelu_mul(gate_up: Tensor) -> Tensor:
    """gelu(gate) * up by tanh, the two halves of the last dimension."""
    gate, up = gate_up.chunk(2, -1)
    return F.gelu(gate, approximate="tanh") * up


def turns(positions: Tensor, frequencies: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    angles = positions[:, None].float() * frequencies
    return angles.cos() * factor, angles.sin() * factor


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn the pairs of each head of x [tokens, heads, head_dim]."""
    cos, sin = rotation.cos.unsqueeze(1), rotation.sin.unsqueeze(1)
    turning = 2 * cos.shape[-1]
    if rotation.interleaved:
        first, second = x[..., 0:turning:2], x[..., 1:turning:2]
    else:
        first, second = x[..., :turning].chunk(2, -1)
    pairs = (first * cos - second * sin, second * cos + first * sin)
    turned = torch.stack(pairs, -1).flatten(-2) if rotation.interleaved else torch.cat(pairs, -1)
    turned = turned.to(x.dtype)
    return turned if turning == x.shape[-1] else torch.cat((turned, x[..., turning:]), -1)
