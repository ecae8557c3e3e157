"""Paged attention against a plain softmax in double precision: grouped heads, windows, chunks, caps, sinks, slopes,
every kind of cache; and the same bits for a token in a prompt, in a chunk, and alone.
"""

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from unillm.models.ops.cpu.library import Attention, Context
from unillm.models.ops.reference_attention import quantize
from unillm.tests.models.ops.cpu import machine
from unillm.tests.models.ops.cpu.machine import NUMBERS, pointer

SEQUENCES = ((1, 1), (5, 5), (1, 77), (40, 100), (70, 70), (3, 64))  # new tokens, all tokens
HEADS = ((4, 2, 64), (3, 1, 80), (16, 8, 128), (8, 8, 40), (71, 1, 64), (130, 1, 16), (4, 1, 256), (2, 2, 72))
NOBODY = 1 << 30


@dataclass(frozen=True)
class Case:
    """A batch over scattered pages; what no token may read is not a number."""

    q: Tensor
    keys: Tensor
    values: Tensor
    table: Tensor
    starts: Tensor
    lengths: Tensor
    options: dict[str, Any]
    key_scales: Tensor | None = None
    value_scales: Tensor | None = None

    def token(self, sequence: int, index: int) -> "Case":
        """One of a sequence's new tokens, as a batch of its own."""
        begin, end = int(self.starts[sequence]), int(self.starts[sequence + 1])
        length = int(self.lengths[sequence]) - (end - begin) + index + 1
        return replace(
            self,
            q=self.q[begin + index : begin + index + 1],
            table=self.table[sequence : sequence + 1],
            starts=torch.tensor([0, 1], dtype=torch.int32),
            lengths=torch.tensor([length], dtype=torch.int32),
        )


def make(heads: tuple[int, int, int], dtype: torch.dtype, page: int, head_major: bool, **options: Any) -> Case:
    torch.manual_seed(0)
    count, kv_heads, dims = heads
    used = [math.ceil(length / page) for _, length in SEQUENCES]
    order = torch.randperm(sum(used) + 3).int()
    table = torch.full((len(used), max(used)), NOBODY, dtype=torch.int32)
    for row, pages in enumerate(torch.split(order[: sum(used)], used)):
        table[row, : len(pages)] = pages
    keys, values = (pages_of(table, used, len(order), kv_heads, page, dims, dtype, head_major) for _ in range(2))
    starts = torch.tensor([0, *torch.tensor([new for new, _ in SEQUENCES]).cumsum(0)], dtype=torch.int32)
    lengths = torch.tensor([length for _, length in SEQUENCES], dtype=torch.int32)
    q = torch.randn(int(starts[-1]), count, dims)
    return Case(q, keys, values, table, starts, lengths, {"scale": 2 * dims**-0.5, **options})


def make_of_integers(heads: tuple[int, int, int], page: int, head_major: bool, **options: Any) -> Case:
    """The scales are what is not a number where no token may read; 8-bit integers always are one."""
    case = make(heads, torch.float32, page, head_major, **options)
    (keys, key_scales), (values, value_scales) = quantize(case.keys), quantize(case.values)
    return replace(
        case, keys=keys.to(torch.int8), values=values.to(torch.int8), key_scales=key_scales, value_scales=value_scales
    )


def pages_of(
    table: Tensor,
    used: Sequence[int],
    pages: int,
    kv_heads: int,
    page: int,
    dims: int,
    dtype: torch.dtype,
    head_major: bool,
) -> Tensor:
    shape = (pages, kv_heads, page, dims) if head_major else (pages, page, kv_heads, dims)
    cache = torch.full(shape, torch.nan, dtype=dtype)
    cache = cache.transpose(1, 2) if head_major else cache
    for row, (_, length) in enumerate(SEQUENCES):
        for place in range(used[row]):
            here = min(page, length - place * page)
            cache[table[row, place], :here] = torch.randn(here, kv_heads, dims).to(dtype)
    return cache


def attend(context: Context, case: Case, exact: bool = True) -> Tensor:
    out = torch.full(case.q.shape, torch.nan)
    options = case.options
    strides = ctypes.c_int64 * 3
    call = Attention(
        pointer(case.q),
        pointer(out),
        pointer(case.keys),
        pointer(case.values),
        pointer(case.table),
        pointer(case.starts),
        pointer(case.lengths),
        pointer(options.get("sinks")),
        pointer(options.get("alibi")),
        pointer(case.key_scales),
        pointer(case.value_scales),
        case.q.stride(0),
        out.stride(0),
        strides(*case.keys.stride()[:3]),
        strides(*case.values.stride()[:3]),
        strides() if case.key_scales is None else strides(*case.key_scales.stride()),
        case.table.stride(0),
        options.get("window", 0),
        options.get("chunk", 0),
        NUMBERS[case.q.dtype],
        NUMBERS[out.dtype],
        NUMBERS[case.keys.dtype],
        len(case.lengths),
        case.keys.shape[1],
        case.q.shape[1],
        case.keys.shape[2],
        case.q.shape[2],
        options.get("causal", 1),
        exact,
        options["scale"],
        options.get("softcap", 0.0),
    )
    context.library.unillm_attend(context.handle, ctypes.byref(call))
    return out


def expected(case: Case) -> Tensor:
    return torch.cat([expected_sequence(case, row) for row in range(len(case.lengths))])


def expected_sequence(case: Case, row: int) -> Tensor:
    length, options = int(case.lengths[row]), case.options
    pages = case.table[row, : math.ceil(length / case.keys.shape[1])].long()
    keys, values = (
        (cache[pages].double() * (1 if scales is None else scales[pages][..., None])).flatten(0, 1)[:length]
        for cache, scales in ((case.keys, case.key_scales), (case.values, case.value_scales))
    )
    q = case.q[int(case.starts[row]) : int(case.starts[row + 1])].double()
    group = q.shape[1] // keys.shape[1]
    scores = torch.einsum("thd,shd->hts", q, keys.repeat_interleave(group, 1)) * options["scale"]
    distance = torch.arange(length)[None] - torch.arange(length - len(q), length)[:, None]
    if "softcap" in options:
        scores = options["softcap"] * torch.tanh(scores / options["softcap"])
    if "alibi" in options:
        scores = scores + options["alibi"].double()[:, None, None] * distance
    seen = distance <= 0 if options.get("causal", 1) else torch.ones_like(distance, dtype=torch.bool)
    if "window" in options:
        seen &= distance > -options["window"]
    if "chunk" in options:
        seen &= distance >= -(torch.arange(length - len(q), length) % options["chunk"])[:, None]
    scores = scores.masked_fill(~seen, -math.inf)
    if "sinks" in options:
        scores = torch.cat((scores, options["sinks"].double()[:, None, None].expand(-1, len(q), 1)), -1)
    weights = scores.softmax(-1)[..., :length]
    return torch.einsum("hts,shd->thd", weights, values.repeat_interleave(group, 1))


def options_for(heads: int) -> tuple[dict[str, Any], ...]:
    torch.manual_seed(1)
    return (
        {},
        {"window": 37},
        {"chunk": 37},
        {"softcap": 20.0},
        {"sinks": torch.randn(heads)},
        {"alibi": -torch.rand(heads)},
        {"causal": 0},
    )


@machine.each_set
@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_paged_attention_is_a_softmax_over_what_each_token_sees(
    instruction_set: str, heads: tuple[int, int, int], dtype: torch.dtype
) -> None:
    context = machine.open_context(instruction_set)
    for page, head_major in ((16, True), (24, False)):
        for options in options_for(heads[0]):
            case = make(heads, dtype, page, head_major, **options)
            assert (attend(context, case) - expected(case)).abs().max() < 3e-5


@machine.each_set
@pytest.mark.parametrize("heads", HEADS, ids=str)
def test_paged_attention_reads_integers_with_their_scales(instruction_set: str, heads: tuple[int, int, int]) -> None:
    context = machine.open_context(instruction_set)
    for page, head_major in ((16, True), (24, False)):
        for options in options_for(heads[0]):
            case = make_of_integers(heads, page, head_major, **options)
            assert (attend(context, case) - expected(case)).abs().max() < 3e-5
            assert torch.equal(attend(context, case, exact=False), attend(context, case))


@machine.each_set
def test_a_bfloat16_cache_may_be_computed_in_its_own_precision(instruction_set: str) -> None:
    context = machine.open_context(instruction_set)
    case = make((16, 8, 128), torch.bfloat16, 16, True)
    assert (attend(context, case, exact=False) - expected(case)).abs().max() < 0.05


@machine.each_set
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8], ids=str)
def test_a_token_has_the_same_bits_in_a_prompt_and_alone(instruction_set: str, dtype: torch.dtype, exact: bool) -> None:
    context = machine.open_context(instruction_set)
    for options in options_for(16)[:-1]:
        if dtype is torch.int8:
            case = make_of_integers((16, 8, 128), 16, True, **options)
        else:
            case = make((16, 8, 128), dtype, 16, True, **options)
        together = attend(context, case, exact)
        for sequence, index in ((3, 0), (3, 17), (3, 39), (4, 69), (5, 1)):
            alone = attend(context, case.token(sequence, index), exact)
            assert torch.equal(alone[0], together[int(case.starts[sequence]) + index])
