"""The operations between the products, against the same in double precision."""

import ctypes

import pytest
import torch
from gguf import GGMLQuantizationType
from torch import Tensor

from unillm.models.ops.cpu.library import Context, Gate, RmsNorm, Rotation
from unillm.tests.models.ops.cpu import machine
from unillm.tests.models.ops.cpu.blocks import KINDS, numbers_of, pack, random_blocks
from unillm.tests.models.ops.cpu.machine import NUMBERS, pointer

TOLERANCES = {torch.float32: 4e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}
SHAPES = ((1, 17), (5, 1024), (33, 896), (300, 100))
dtypes = pytest.mark.parametrize("dtype", list(TOLERANCES), ids=str)


@pytest.fixture
def context(instruction_set: str) -> Context:
    torch.manual_seed(0)
    return machine.open_context(instruction_set)


def close(found: Tensor, right: Tensor, dtype: torch.dtype) -> bool:
    return bool(((found - right).abs() / (right.abs() + 1)).max() < TOLERANCES[dtype])


def norm(x: Tensor, epsilon: float) -> Tensor:
    return x * (x.pow(2).mean(-1, keepdim=True) + epsilon).rsqrt()


@machine.each_set
@dtypes
@pytest.mark.parametrize("residual", [False, True])
def test_a_norm_may_take_a_residual_in(context: Context, dtype: torch.dtype, residual: bool) -> None:
    for rows, columns in SHAPES:
        x, addend, weight = (
            torch.randn(rows, columns).to(dtype),
            torch.randn(rows, columns).to(dtype),
            torch.randn(columns),
        )
        total, out = x.clone(), torch.empty_like(x)
        call = RmsNorm(
            pointer(total),
            pointer(addend) if residual else None,
            pointer(weight),
            pointer(out),
            rows,
            columns,
            *(columns,) * 3,
            NUMBERS[dtype],
            1e-5,
            1.0,
        )
        context.library.unillm_rms_norm(context.handle, ctypes.byref(call))
        assert torch.equal(total, x + addend if residual else x)
        assert close(out, norm(total.double(), 1e-5) * (weight.double() + 1), dtype)


@machine.each_set
@dtypes
@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_a_gate_opens_by_its_activation(context: Context, dtype: torch.dtype, activation: str) -> None:
    for rows, columns in SHAPES:
        gate, up = (4 * torch.randn(rows, columns)).to(dtype), torch.randn(rows, columns).to(dtype)
        out = torch.empty_like(gate)
        silu = activation == "silu"
        call = Gate(
            pointer(gate), pointer(up), pointer(out), rows, columns, *(columns,) * 3, NUMBERS[dtype], 0 if silu else 1
        )
        context.library.unillm_gated(context.handle, ctypes.byref(call))
        functions = torch.nn.functional
        opened = functions.silu(gate.double()) if silu else functions.gelu(gate.double(), approximate="tanh")
        assert close(out, opened * up.double(), dtype)


def turned(x: Tensor, cos: Tensor, sin: Tensor, neighbours: bool, weight: Tensor | None) -> Tensor:
    x = x.double() if weight is None else norm(x.double(), 1e-6) * weight.double()
    pairs, rest = x[..., : 2 * cos.shape[1]], x[..., 2 * cos.shape[1] :]
    pairs = pairs.reshape(*x.shape[:2], -1, 2) if neighbours else pairs.reshape(*x.shape[:2], 2, -1).transpose(-1, -2)
    a, b = pairs.unbind(-1)
    cos, sin = cos.double()[:, None], sin.double()[:, None]
    new = torch.stack((a * cos - b * sin, b * cos + a * sin), -1)
    return torch.cat(((new if neighbours else new.transpose(-1, -2)).flatten(-2), rest), -1)


@machine.each_set
@dtypes
@pytest.mark.parametrize(
    ("heads", "kv_heads", "dims", "rotated", "neighbours", "normed"),
    [
        (4, 2, 64, 64, False, True),
        (3, 1, 80, 32, True, False),
        (16, 8, 128, 128, True, True),
        (2, 2, 40, 20, False, True),
    ],
)
def test_queries_turn_in_place_and_keys_on_their_way_to_the_cache(
    context: Context,
    dtype: torch.dtype,
    heads: int,
    kv_heads: int,
    dims: int,
    rotated: int,
    neighbours: bool,
    normed: bool,
) -> None:
    tokens = 37
    q, k, v = (torch.randn(tokens, count, dims).to(dtype) for count in (heads, kv_heads, kv_heads))
    angles = torch.randn(tokens, rotated // 2)
    cos, sin = angles.cos(), angles.sin()
    norms = (torch.rand(dims), torch.rand(dims)) if normed else (None, None)
    pages = [torch.zeros(9, kv_heads, 16, dims).transpose(1, 2) for _ in range(2)]
    slots = torch.randperm(9 * 16)[:tokens]
    queries = q.clone()
    strides = ctypes.c_int64 * 3
    call = Rotation(
        pointer(queries),
        pointer(k),
        pointer(v),
        *map(pointer, pages),
        pointer(slots),
        pointer(cos),
        pointer(sin),
        *map(pointer, norms),
        tokens,
        q.stride(0),
        k.stride(0),
        v.stride(0),
        strides(*pages[0].stride()[:3]),
        strides(*pages[1].stride()[:3]),
        NUMBERS[dtype],
        NUMBERS[torch.float32],
        16,
        heads,
        kv_heads,
        dims,
        rotated,
        neighbours,
        1e-6,
        0.0,
    )
    context.library.unillm_rotate(context.handle, ctypes.byref(call))
    assert close(queries, turned(q, cos, sin, neighbours, norms[0]), dtype)
    assert close(pages[0][slots // 16, slots % 16], turned(k, cos, sin, neighbours, norms[1]), torch.float32)
    assert torch.equal(pages[1][slots // 16, slots % 16], v.float())


@machine.each_set
@pytest.mark.parametrize("kind", KINDS)
def test_embedding_rows_are_the_blocks_numbers_bit_for_bit(context: Context, kind: str) -> None:
    blocks = random_blocks(kind, 50, 512)
    table, ids = pack(context, kind, blocks, 512), torch.tensor([0, 49, 17, 17, 31])
    out = torch.empty(len(ids), 512)
    context.library.unillm_embed(
        context.handle,
        GGMLQuantizationType[kind].value,
        pointer(table.data),
        512,
        pointer(ids),
        len(ids),
        pointer(out),
        512,
    )
    assert torch.equal(out, numbers_of(kind, blocks)[ids])


@machine.each_set
def test_of_equal_largest_scores_the_first_is_chosen(context: Context) -> None:
    scores = torch.randn(3, 151_937)
    scores[1, [77, 5000]] = 9
    scores[2, -1] = 9
    found = torch.empty(3, dtype=torch.int64)
    context.library.unillm_argmax(context.handle, pointer(scores), scores.stride(0), *scores.shape, pointer(found))
    assert found.tolist() == [int(scores[0].argmax()), 77, 151_936]
