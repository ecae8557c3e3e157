# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
# pyright: reportArgumentType=false, reportAssignmentType=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
"""What happens to queries, keys and values before attention, in one launch: norm, turn, and store in pages.

The arithmetic is that of `reference.rms_norm`, `reference.rotate` and `reference_attention.quantize`, with its rounding
to the activations' type after the norm and after the turn.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...contract import PagedView
from ..operands import Norm, Rotation
from .later import compiled_later
from .launch import scales_of

_WIDEST_8_BITS: tl.constexpr = tl.constexpr(448.0)  # of e4m3
_NOTHING: tl.constexpr = tl.constexpr(1e-30)
_ROUNDING: tl.constexpr = tl.constexpr(12582912.0)  # 1.5 * 2^23: added and taken away, it rounds half to even


@triton.jit
def _part(x, steps, real, columns, first, stride, size):
    """Numbers [heads, columns] at first + stride * column of each head."""
    return tl.load(
        x + steps[:, None] + (first + stride * columns)[None, :], real[:, None] & (columns < size)[None, :], 0.0
    )


@triton.jit
def _prepared(
    x,
    steps,
    real,
    norm,
    cos,
    sin,
    eps,
    DIM: tl.constexpr,
    PAIRS: tl.constexpr,
    PAIRS_WIDTH: tl.constexpr,
    REST_WIDTH: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    NORMED: tl.constexpr,
    TURNED: tl.constexpr,
):
    """First and second of each pair, and what does not turn: fp32 [heads, ...], rounded as the type of `x` would."""
    pairs, rest = tl.arange(0, PAIRS_WIDTH), tl.arange(0, REST_WIDTH)
    stride: tl.constexpr = 2 if NEIGHBOURS else 1
    second: tl.constexpr = 1 if NEIGHBOURS else PAIRS
    left: tl.constexpr = DIM - 2 * PAIRS
    number = x.dtype.element_ty
    a = _part(x, steps, real, pairs, 0, stride, PAIRS).to(tl.float32)
    b = _part(x, steps, real, pairs, second, stride, PAIRS).to(tl.float32)
    c = _part(x, steps, real, rest, 2 * PAIRS, 1, left).to(tl.float32)
    if NORMED:
        squares = tl.sum(a * a, 1) + tl.sum(b * b, 1) + tl.sum(c * c, 1)
        factor = (1 / tl.sqrt_rn(squares / DIM + eps))[:, None]
        a *= factor * tl.load(norm + stride * pairs, mask=pairs < PAIRS, other=0.0).to(tl.float32)[None, :]
        b *= factor * tl.load(norm + second + stride * pairs, mask=pairs < PAIRS, other=0.0).to(tl.float32)[None, :]
        c *= factor * tl.load(norm + 2 * PAIRS + rest, mask=rest < left, other=0.0).to(tl.float32)[None, :]
        a, b, c = a.to(number).to(tl.float32), b.to(number).to(tl.float32), c.to(number).to(tl.float32)
    if TURNED:
        cosines = tl.load(cos + pairs, mask=pairs < PAIRS, other=0.0)[None, :]
        sines = tl.load(sin + pairs, mask=pairs < PAIRS, other=0.0)[None, :]
        a, b = a * cosines - b * sines, b * cosines + a * sines
        a, b = a.to(number).to(tl.float32), b.to(number).to(tl.float32)
    return a, b, c


@triton.jit
def _kept(numbers, inverse, QUANTIZED: tl.constexpr, FLOAT8: tl.constexpr):
    """As pages hold them: whole steps, or floats that do not overflow."""
    if QUANTIZED:
        steps = (numbers * inverse[:, None] + _ROUNDING) - _ROUNDING
        return tl.where(steps == steps, steps, 0.0)
    if FLOAT8:
        bounded = tl.where(numbers > _WIDEST_8_BITS, _WIDEST_8_BITS, numbers)
        return tl.where(bounded < -_WIDEST_8_BITS, -_WIDEST_8_BITS, bounded)
    return numbers


@triton.jit
def _write(
    where,
    steps,
    real,
    a,
    b,
    c,
    DIM: tl.constexpr,
    PAIRS: tl.constexpr,
    PAIRS_WIDTH: tl.constexpr,
    REST_WIDTH: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
):
    pairs, rest = tl.arange(0, PAIRS_WIDTH), tl.arange(0, REST_WIDTH)
    stride: tl.constexpr = 2 if NEIGHBOURS else 1
    second: tl.constexpr = 1 if NEIGHBOURS else PAIRS
    left: tl.constexpr = DIM - 2 * PAIRS
    number = where.dtype.element_ty
    turning = real[:, None] & (pairs < PAIRS)[None, :]
    tl.store(where + steps[:, None] + (stride * pairs)[None, :], a.to(number), mask=turning)
    tl.store(where + steps[:, None] + (second + stride * pairs)[None, :], b.to(number), mask=turning)
    staying = real[:, None] & (rest < left)[None, :]
    tl.store(where + steps[:, None] + (2 * PAIRS + rest)[None, :], c.to(number), mask=staying)


@triton.jit
def _store(
    pages,
    scales,
    steps,
    scale_steps,
    real,
    a,
    b,
    c,
    DIM: tl.constexpr,
    PAIRS: tl.constexpr,
    PAIRS_WIDTH: tl.constexpr,
    REST_WIDTH: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    QUANTIZED: tl.constexpr,
    FLOAT8: tl.constexpr,
):
    """Into pages, with a scale for each head where they hold whole numbers; one that is none makes the scale so."""
    inverse = tl.zeros_like(steps).to(tl.float32)
    if QUANTIZED:
        largest = tl.maximum(tl.max(tl.abs(a), 1), tl.maximum(tl.max(tl.abs(b), 1), tl.max(tl.abs(c), 1)))
        none = tl.sum(a * 0, 1) + tl.sum(b * 0, 1) + tl.sum(c * 0, 1)
        largest = tl.where(none == none, largest, float("nan"))
        inverse = tl.where(largest > _NOTHING, tl.div_rn(tl.zeros_like(largest) + 127.0, largest), 0.0)
        tl.store(scales + scale_steps, tl.div_rn(largest, tl.zeros_like(largest) + 127.0), mask=real)
    _write(
        pages, steps, real,
        _kept(a, inverse, QUANTIZED, FLOAT8),
        _kept(b, inverse, QUANTIZED, FLOAT8),
        _kept(c, inverse, QUANTIZED, FLOAT8),
        DIM, PAIRS, PAIRS_WIDTH, REST_WIDTH, NEIGHBOURS,
    )  # fmt: skip


@compiled_later
@triton.jit
def _prepare_kernel(
    q,
    k,
    v,
    q_norm,
    k_norm,
    cos,
    sin,
    slots,
    keys,
    values,
    key_scales,
    value_scales,
    q_eps,
    k_eps,
    q_token_step,
    q_head_step,
    k_token_step,
    k_head_step,
    v_token_step,
    v_head_step,
    turn_step,
    key_page_step,
    key_token_step,
    key_head_step,
    value_page_step,
    value_token_step,
    value_head_step,
    scale_page_step,
    scale_token_step,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
    PAGE: tl.constexpr,
    DIM: tl.constexpr,
    PAIRS: tl.constexpr,
    PAIRS_WIDTH: tl.constexpr,
    REST_WIDTH: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    Q_NORMED: tl.constexpr,
    K_NORMED: tl.constexpr,
    TURNED: tl.constexpr,
    QUANTIZED: tl.constexpr,
    FLOAT8: tl.constexpr,
):
    """BLOCK heads of one token: of its queries, in place, or of its keys and values."""
    token = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    asking: tl.constexpr = (HEADS + BLOCK - 1) // BLOCK
    cos += token * turn_step
    sin += token * turn_step
    if block < asking:
        heads = block * BLOCK + tl.arange(0, BLOCK)
        real = heads < HEADS
        steps = token * q_token_step + heads.to(tl.int64) * q_head_step
        a, b, c = _prepared(
            q, steps, real, q_norm, cos, sin, q_eps,
            DIM, PAIRS, PAIRS_WIDTH, REST_WIDTH, NEIGHBOURS, Q_NORMED, TURNED,
        )  # fmt: skip
        _write(q, steps, real, a, b, c, DIM, PAIRS, PAIRS_WIDTH, REST_WIDTH, NEIGHBOURS)
    else:
        heads = (block - asking) * BLOCK + tl.arange(0, BLOCK)
        real = heads < KV_HEADS
        far = heads.to(tl.int64)
        slot = tl.load(slots + token)
        page, place = slot // PAGE, slot % PAGE
        scale_steps = page * scale_page_step + place * scale_token_step + far
        a, b, c = _prepared(
            k, token * k_token_step + far * k_head_step, real, k_norm, cos, sin, k_eps,
            DIM, PAIRS, PAIRS_WIDTH, REST_WIDTH, NEIGHBOURS, K_NORMED, TURNED,
        )  # fmt: skip
        steps = page * key_page_step + place * key_token_step + far * key_head_step
        _store(
            keys, key_scales, steps, scale_steps, real, a, b, c,
            DIM, PAIRS, PAIRS_WIDTH, REST_WIDTH, NEIGHBOURS, QUANTIZED, FLOAT8,
        )  # fmt: skip
        a, b, c = _prepared(
            v, token * v_token_step + far * v_head_step, real, k_norm, cos, sin, k_eps,
            DIM, PAIRS, PAIRS_WIDTH, REST_WIDTH, NEIGHBOURS, False, False,
        )  # fmt: skip
        steps = page * value_page_step + place * value_token_step + far * value_head_step
        _store(
            values, value_scales, steps, scale_steps, real, a, b, c,
            DIM, PAIRS, PAIRS_WIDTH, REST_WIDTH, NEIGHBOURS, QUANTIZED, FLOAT8,
        )  # fmt: skip


def prepare(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm: Norm | None,
    k_norm: Norm | None,
    rotation: Rotation | None,
    cache: PagedView,
) -> None:
    """Norm and turn q [tokens, heads, head_dim] in place, and k; store k and v [tokens, kv_heads, head_dim] at the
    view's slots. The numbers of a head lie together.
    """
    tokens, heads, dim = q.shape
    kv_heads, scales = k.shape[1], scales_of(cache)
    pairs = dim // 2 if rotation is None else rotation.cos.shape[1]
    block = min(8, triton.next_power_of_2(kv_heads))
    cos, sin = (q, q) if rotation is None else (rotation.cos, rotation.sin)
    _prepare_kernel[(tokens, -(-heads // block) + -(-kv_heads // block))](
        q,
        k,
        v,
        q if q_norm is None else q_norm.weight,
        k if k_norm is None else k_norm.weight,
        cos,
        sin,
        cache.slots,
        cache.keys,
        cache.values,
        *scales.tensors,
        0.0 if q_norm is None else q_norm.eps,
        0.0 if k_norm is None else k_norm.eps,
        *q.stride()[:2],
        *k.stride()[:2],
        *v.stride()[:2],
        cos.stride(0),
        *cache.keys.stride()[:3],
        *cache.values.stride()[:3],
        *scales.steps,
        HEADS=heads,
        KV_HEADS=kv_heads,
        BLOCK=block,
        PAGE=cache.keys.shape[1],
        DIM=dim,
        PAIRS=pairs,
        PAIRS_WIDTH=triton.next_power_of_2(pairs),
        REST_WIDTH=triton.next_power_of_2(max(dim - 2 * pairs, 1)),
        NEIGHBOURS=rotation is not None and rotation.interleaved,
        Q_NORMED=q_norm is not None,
        K_NORMED=k_norm is not None,
        TURNED=rotation is not None,
        QUANTIZED=scales.there,
        FLOAT8=cache.keys.dtype is torch.float8_e4m3fn,
        num_warps=4 if block * dim > 512 else 2,
    )
