"""Paged attention against a plain one in fp64, number by number, for everything that a spec can ask."""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unillm.models import ops
from unillm.models.contract import AttentionSpec, Batch, PagedView
from unillm.models.ops.cpu.kernels import Kernels
from unillm.models.ops.reference_attention import quantize

HEADS, KV_HEADS, DIM, PAGE = 6, 2, 16, 16

# New tokens and all tokens of each sequence: prompts, chunks and single tokens, longer than a tile of queries.
MIXED = ((1, 1), (1, 37), (1, 300), (600, 600), (5, 40), (1, 9), (300, 700), (1, 16), (1, 17))

SPECS = {
    "plain": AttentionSpec(DIM**-0.5),
    "window": AttentionSpec(0.3, window=24),
    "wide window": AttentionSpec(0.3, window=300),
    "softcap": AttentionSpec(0.5, softcap=2.0),
    "sinks": AttentionSpec(0.5, sinks=torch.linspace(-1, 3, HEADS)),
    "alibi": AttentionSpec(0.5, alibi=torch.linspace(0.01, 0.3, HEADS)),
    "everything": AttentionSpec(0.5, 40, 1.5, torch.linspace(-1, 2, HEADS), torch.linspace(0.01, 0.2, HEADS)),
    "both ways": AttentionSpec(0.5, causal=False),
    "both ways, softcap": AttentionSpec(0.5, softcap=2.0, causal=False),
}


class Case:
    """Random sequences in scattered pages; what was never written is NaN."""

    def __init__(self, sizes: tuple[tuple[int, int], ...], heads: tuple[int, int] = (HEADS, KV_HEADS)) -> None:
        torch.manual_seed(1)
        self.sizes = sizes
        self.tokens = [torch.randn(context, heads[0] + 2 * heads[1], DIM) for _, context in sizes]
        self.heads = heads
        tables = self._tables()
        self.view = PagedView(
            keys=torch.full((400, PAGE, heads[1], DIM), torch.nan),
            values=torch.full((400, PAGE, heads[1], DIM), torch.nan),
            table=tables,
            slots=torch.cat([self._slots(tables[i], done, all_) for i, (done, all_) in enumerate(self._spans())]),
        )
        self._fill(tables)

    def run(self, spec: AttentionSpec, rotation: ops.Rotation | None = None, kernels: Kernels | None = None) -> Tensor:
        q, k, v = self._new()
        return ops.attention(
            q, k, v, spec=spec, cache=self.view, batch=self._batch(), rotation=rotation, kernels=kernels
        )

    def expected(self, spec: AttentionSpec) -> Tensor:
        rows = []
        for (fresh, context), tokens in zip(self.sizes, self.tokens, strict=True):
            q, k, v = self._parts(tokens.double())
            rows.append(plain_attention(q, k, v, spec)[context - fresh :])
        return torch.cat(rows)

    def _spans(self) -> list[tuple[int, int]]:
        return [(context - fresh, context) for fresh, context in self.sizes]

    def _tables(self) -> Tensor:
        counts = [-(-context // PAGE) for _, context in self.sizes]
        pages = random.Random(2).sample(range(400), sum(counts))
        table = torch.full((len(counts), max(counts)), 1 << 30, dtype=torch.int32)
        for row, count in enumerate(counts):
            table[row, :count] = torch.tensor([pages.pop() for _ in range(count)])
        return table

    def _slots(self, table: Tensor, start: int, stop: int) -> Tensor:
        positions = torch.arange(start, stop)
        return table.long()[positions // PAGE] * PAGE + positions % PAGE

    def _fill(self, tables: Tensor) -> None:
        for table, tokens, (done, _) in zip(tables, self.tokens, self._spans(), strict=True):
            _, k, v = self._parts(tokens)
            slots = self._slots(table, 0, done)
            self.view.keys.flatten(0, 1)[slots], self.view.values.flatten(0, 1)[slots] = k[:done], v[:done]

    def _new(self) -> tuple[Tensor, Tensor, Tensor]:
        fresh = torch.cat([tokens[done:] for tokens, (done, _) in zip(self.tokens, self._spans(), strict=True)])
        return self._parts(fresh)

    def _parts(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys = self.heads
        return tokens[:, :queries], tokens[:, queries : queries + keys], tokens[:, queries + keys :]

    def _batch(self) -> Batch:
        queries, contexts = tuple(fresh for fresh, _ in self.sizes), tuple(context for _, context in self.sizes)
        return Batch(
            ids=torch.zeros(sum(queries), dtype=torch.int64),
            positions=torch.cat([torch.arange(done, context) for done, context in self._spans()]),
            rows=torch.arange(0),
            queries=queries,
            contexts=contexts,
            starts=torch.tensor([0, *queries]).cumsum(0).int(),
            lengths=torch.tensor(contexts, dtype=torch.int32),
            cache=[self.view],
        )


def narrow(case: Case, dtype: torch.dtype) -> None:
    """Let the case's pages be of `dtype`, what was never written still not a number."""
    view = case.view
    if dtype is not torch.int8:
        case.view = replace(view, keys=view.keys.to(dtype), values=view.values.to(dtype))
        return
    (keys, key_scales), (values, value_scales) = quantize(view.keys), quantize(view.values)
    case.view = replace(
        view, keys=keys.to(dtype), values=values.to(dtype), key_scales=key_scales, value_scales=value_scales
    )


def expected_of_stored(case: Case, spec: AttentionSpec) -> Tensor:
    """Plain attention over what the pages hold once they are written."""
    view, rows = case.view, []
    keys, values = view.keys.double(), view.values.double()
    if view.key_scales is not None and view.value_scales is not None:
        keys, values = keys * view.key_scales[..., None], values * view.value_scales[..., None]
    for table, (fresh, context), tokens in zip(view.table, case.sizes, case.tokens, strict=True):
        slots = case._slots(table, 0, context)
        q, _, _ = case._parts(tokens.double())
        stored = (keys.flatten(0, 1)[slots], values.flatten(0, 1)[slots])
        rows.append(plain_attention(q, *stored, spec)[context - fresh :])
    return torch.cat(rows)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, spec: AttentionSpec) -> Tensor:
    """One whole sequence, a head at a time: softmax(q k / scale) v with every option spelled out."""
    length, heads, _ = q.shape
    query, key = torch.arange(length)[:, None], torch.arange(length)[None]
    outs = []
    for head in range(heads):
        group = head // (heads // k.shape[1])
        scores = q[:, head] @ k[:, group].T * spec.scale
        if spec.softcap is not None:
            scores = spec.softcap * torch.tanh(scores / spec.softcap)
        if spec.alibi is not None:
            scores = scores + float(spec.alibi[head]) * (key - query)
        if spec.causal:
            scores[key > query] = -torch.inf
        if spec.window is not None:
            scores[query - key >= spec.window] = -torch.inf
        weights = scores.exp()
        total = weights.sum(1, keepdim=True)
        if spec.sinks is not None:
            total = total + spec.sinks[head].double().exp()
        outs.append(weights / total @ v[:, group])
    return torch.stack(outs, 1)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_mixed_batch_equals_plain_attention(spec: AttentionSpec) -> None:
    case = Case(MIXED)
    torch.testing.assert_close(case.run(spec).double(), case.expected(spec), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [(6, 6), (6, 1), (5, 5)], ids=["as many", "one for all", "odd"])
@pytest.mark.parametrize("name", ["plain", "window", "everything"])
def test_any_grouping_of_heads(heads: tuple[int, int], name: str) -> None:
    spec = SPECS[name]
    if heads[0] != HEADS and spec.sinks is not None:
        spec = replace(spec, sinks=torch.zeros(heads[0]), alibi=None)
    case = Case(((1, 50), (30, 60), (40, 40)), heads)
    torch.testing.assert_close(case.run(spec).double(), case.expected(spec), rtol=1e-5, atol=1e-5)


def test_a_window_as_long_as_the_sequence_changes_nothing() -> None:
    case = Case(((64, 64), (1, 30)))
    whole = case.run(SPECS["plain"])
    torch.testing.assert_close(case.run(replace(SPECS["plain"], window=64)), whole, rtol=0, atol=1e-6)


def test_what_left_the_window_is_not_read() -> None:
    """Its pages may be another sequence's by then."""
    spec = AttentionSpec(0.3, window=10)
    case = Case(((1, 60), (5, 50)))
    wanted = case.run(spec)
    for row, lowest in ((0, 50), (1, 36)):
        dead = case._slots(case.view.table[row], 0, lowest)
        case.view.keys.flatten(0, 1)[dead] = torch.nan
        case.view.values.flatten(0, 1)[dead] = torch.nan
    assert torch.equal(case.run(spec), wanted)


def test_new_keys_and_values_are_stored_rotated_at_their_slots() -> None:
    case = Case(((3, 20), (1, 5)))
    angles = torch.rand(4, DIM // 2)
    case.run(SPECS["plain"], ops.Rotation(angles.cos(), angles.sin()))
    _, k, v = case._new()
    first, second = k.chunk(2, -1)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
    torch.testing.assert_close(case.view.keys.flatten(0, 1)[case.view.slots], rotated)
    assert torch.equal(case.view.values.flatten(0, 1)[case.view.slots], v)


def test_a_narrow_cache_is_computed_with_as_it_is_stored() -> None:
    """A chunk reads back what was rounded, so that a sequence comes out the same however it is cut."""
    case = Case(((40, 40),))
    rounded = replace(case.view, keys=case.view.keys.bfloat16(), values=case.view.values.bfloat16())
    case.view = rounded
    got = case.run(SPECS["plain"])
    q, k, v = case._new()
    wanted = plain_attention(q.double(), k.bfloat16().double(), v.bfloat16().double(), SPECS["plain"])
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


def opened_kernels() -> Kernels:
    kernels = Kernels.open(2, exact=True)
    if kernels is None:
        pytest.skip("the CPU kernels are not built here")
    return kernels


@pytest.mark.parametrize("compiled", [False, True], ids=["plain torch", "kernels"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_every_dtype_of_pages_is_computed_with_as_it_is_stored(
    spec: AttentionSpec, dtype: torch.dtype, compiled: bool
) -> None:
    case = Case(((1, 1), (1, 37), (60, 60), (5, 40), (30, 90), (1, 17)))
    narrow(case, dtype)
    got = case.run(spec, kernels=opened_kernels() if compiled else None)
    torch.testing.assert_close(got.double(), expected_of_stored(case, spec), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True], ids=["plain torch", "kernels"])
def test_integers_are_within_half_a_step_of_what_was_stored(compiled: bool) -> None:
    case = Case(((40, 40), (1, 9)))
    narrow(case, torch.int8)
    case.run(SPECS["plain"], kernels=opened_kernels() if compiled else None)
    _, k, v = case._new()
    slots = case.view.slots
    view = case.view
    for new, pages, scales in ((k, view.keys, view.key_scales), (v, view.values, view.value_scales)):
        assert scales is not None
        steps = scales.flatten(0, 1)[slots]
        torch.testing.assert_close(steps, new.abs().amax(-1) / 127)
        assert ((pages.flatten(0, 1)[slots] * steps[..., None] - new).abs() <= steps[..., None] * 0.5001).all()


def test_floats_of_eight_bits_are_within_half_a_step_and_never_overflow() -> None:
    case = Case(((40, 40), (1, 9)))
    narrow(case, torch.float8_e4m3fn)
    case.tokens[1][:, HEADS:] *= 1e4
    case.run(SPECS["plain"])
    _, k, v = case._new()
    slots = case.view.slots
    for new, pages in ((k, case.view.keys), (v, case.view.values)):
        kept, wanted = pages.flatten(0, 1)[slots].float(), new.clamp(-448, 448)
        assert ((kept - wanted).abs() <= wanted.abs() / 16 + 2.0**-10).all()  # three bits behind the first


@pytest.mark.parametrize("compiled", [False, True], ids=["plain torch", "kernels"])
@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_none_is_not_hidden_by_integers(broken: float, compiled: bool) -> None:
    case = Case(((4, 4), (1, 9)))
    narrow(case, torch.int8)
    case.tokens[0][1, -1, 5] = broken
    got = case.run(SPECS["plain"], kernels=opened_kernels() if compiled else None)
    assert got[1:4, 3:].isnan().all()
    assert got[4].isfinite().all()


@pytest.mark.parametrize("compiled", [False, True], ids=["plain torch", "kernels"])
def test_keys_of_nothing_are_stored_as_nothing(compiled: bool) -> None:
    case = Case(((4, 4),))
    narrow(case, torch.int8)
    case.tokens[0][:2, HEADS:] *= 1e-37
    got = case.run(SPECS["plain"], kernels=opened_kernels() if compiled else None)
    assert not got[0].any()
    assert got.isfinite().all()
