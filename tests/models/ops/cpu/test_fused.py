"""The operations between the products, against the same in double precision."""

import ctypes

import pytest
import torch
from torch import Tensor

from unillm.models.ops.cpu.library import Choice, Context, Gate, RmsNorm, Rotation, Rows, Turning
from unillm.models.ops.reference_attention import quantize
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
@pytest.mark.parametrize("stored", [torch.float32, torch.int8], ids=str)
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
    stored: torch.dtype,
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
    pages = [torch.zeros(9, kv_heads, 16, dims, dtype=stored).transpose(1, 2) for _ in range(2)]
    scales = [torch.ones(9, kv_heads, 16).transpose(1, 2) for _ in range(2)]
    slots = torch.randperm(9 * 16)[:tokens]
    queries = q.clone()
    strides = ctypes.c_int64 * 3
    call = Rotation(
        pointer(queries),
        pointer(k),
        pointer(v),
        *map(pointer, pages),
        *map(pointer, scales),
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
        strides(*scales[0].stride()),
        NUMBERS[dtype],
        NUMBERS[pages[0].dtype],
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
    keys, values = (pages[i][slots // 16, slots % 16] * scales[i][slots // 16, slots % 16][..., None] for i in range(2))
    if stored is torch.int8:
        wanted = turned(k, cos, sin, neighbours, norms[1])
        assert ((keys - wanted).abs() <= wanted.abs().amax(-1, keepdim=True) * 0.0041).all()  # half of a 127th
        numbers, steps = quantize(v)
        assert torch.equal(values, numbers * steps[..., None])
    else:
        assert close(keys, turned(k, cos, sin, neighbours, norms[1]), torch.float32)
        assert torch.equal(values, v.float())


@machine.each_set
@pytest.mark.parametrize("kind", KINDS)
def test_embedding_rows_are_the_blocks_numbers_bit_for_bit(context: Context, kind: str) -> None:
    blocks = random_blocks(kind, 50, 512)
    table, ids = pack(context, kind, blocks, 512), torch.tensor([0, 49, 17, 17, 31])
    out = torch.empty(len(ids), 512)
    call = Rows(pointer(table.data), pointer(ids), pointer(out), 512, len(ids), 512, table.kind)
    context.library.unillm_embed(context.handle, ctypes.byref(call))
    assert torch.equal(out, numbers_of(kind, blocks)[ids])


@machine.each_set
def test_of_equal_largest_scores_the_first_is_chosen(context: Context) -> None:
    scores = torch.randn(3, 151_937)
    scores[1, [77, 5000]] = 9
    scores[2, -1] = 9
    found, largest = choose(context, scores)
    assert found == [int(scores[0].argmax()), 77, 151_936]
    assert torch.equal(largest, scores.amax(-1))


@machine.each_set
@pytest.mark.parametrize("columns", [1, 5, 16, 17, 40])
def test_what_is_not_a_number_is_never_overlooked(context: Context, columns: int) -> None:
    scores = -torch.rand(columns, columns) - 1
    assert choose(context, scores)[0] == scores.argmax(-1).tolist()
    scores.diagonal().fill_(torch.nan)
    assert choose(context, scores)[1].isnan().all()
    scores.diagonal().fill_(-torch.inf)
    assert choose(context, scores)[0] == scores.argmax(-1).tolist()


@machine.each_set
@pytest.mark.parametrize("neighbours", [1, 40], ids=["one set", "a set a token"])
def test_turns_are_cosines_and_sines_of_positions(context: Context, neighbours: int) -> None:
    positions, frequencies = torch.randint(0, 100_000, (40,)), torch.rand(neighbours, 33)
    cosines, sines = torch.full((2, 40, 33), torch.nan)
    stride = 33 if neighbours > 1 else 0
    call = Turning(*(pointer(x) for x in (positions, frequencies, cosines, sines)), *(40, 33, stride), 1.5)
    context.library.unillm_turns(context.handle, ctypes.byref(call))
    angles = (positions[:, None].float() * frequencies).double()
    assert (cosines - 1.5 * angles.cos()).abs().max() < 3e-7
    assert (sines - 1.5 * angles.sin()).abs().max() < 3e-7


def choose(context: Context, scores: Tensor) -> tuple[list[int], Tensor]:
    found, largest = torch.empty(len(scores), dtype=torch.int64), torch.empty(len(scores))
    call = Choice(pointer(scores), pointer(found), pointer(largest), scores.stride(0), *scores.shape)
    context.library.unillm_argmax(context.handle, ctypes.byref(call))
    return found.tolist(), largest
