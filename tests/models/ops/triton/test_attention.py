"""Attention kernels against plain attention in fp64, for everything that a spec can ask, in any company."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from triton.runtime import interpreter

from unillm.models.contract import AttentionSpec
from unillm.models.ops.triton import decode, prefill, tuning
from unillm.tests.models.ops.test_attention import (
    DIM,
    HEADS,
    SPECS,
    Case,
    expected_of_stored,
    narrow,
    plain_attention,
)

# Single tokens at and beside the borders of pages, tiles and runs; prompts, and chunks behind a cached beginning.
TOKENS = ((1, 1), (1, 15), (1, 16), (1, 17), (1, 128), (1, 300))
CHUNKS = ((70, 70), (1, 9), (5, 40), (33, 90), (2, 2))


@pytest.fixture
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """So short that a sequence has several, as long ones have on a device."""
    for module in (decode, tuning):
        monkeypatch.setattr(module, "RUN", 128)


def run(case: Case, spec: AttentionSpec, q: Tensor | None = None) -> Tensor:
    """What both kernels write between them; each token is stored as reference attention stores it."""
    stored = case.run(spec)
    q = case._new()[0] if q is None else q
    out = torch.full_like(stored, torch.nan, dtype=q.dtype)
    batch = case._batch()
    decode.attend_tokens(q, out, spec, case.view, batch)
    prefill.attend_chunks(q, out, spec, case.view, batch)
    return out


@pytest.mark.usefixtures("_short_runs")
@pytest.mark.parametrize("name", ["plain", "everything", pytest.param("sinks", marks=pytest.mark.slow)])
def test_single_tokens_equal_plain_attention(name: str) -> None:
    case = Case(TOKENS)
    torch.testing.assert_close(run(case, SPECS[name]).double(), case.expected(SPECS[name]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["plain", "window", "everything", "both ways", pytest.param("alibi", marks=pytest.mark.slow)]
)
def test_prompts_and_chunks_in_company_equal_plain_attention(name: str) -> None:
    case = Case(CHUNKS)
    torch.testing.assert_close(run(case, SPECS[name]).double(), case.expected(SPECS[name]), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("heads", [(6, 6), (6, 1), (5, 5), (21, 3), (16, 1)], ids=str)
@pytest.mark.parametrize("name", SPECS)
def test_any_spec_and_any_grouping_of_heads(name: str, heads: tuple[int, int]) -> None:
    spec = SPECS[name]
    spec = replace(
        spec,
        sinks=None if spec.sinks is None else torch.linspace(-1, 3, heads[0]),
        alibi=None if spec.alibi is None else torch.linspace(0.01, 0.3, heads[0]),
    )
    case = Case((*TOKENS, *CHUNKS), heads)
    torch.testing.assert_close(run(case, spec).double(), case.expected(spec), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8], ids=str)
def test_every_dtype_of_pages_is_computed_with_as_it_is_stored(dtype: torch.dtype) -> None:
    case = Case(((1, 37), (5, 40), (1, 130)))
    narrow(case, dtype)
    got = run(case, SPECS["plain"])
    torch.testing.assert_close(got.double(), expected_of_stored(case, SPECS["plain"]), rtol=1e-5, atol=1e-5)


def test_floats_of_eight_bits_are_computed_with_as_they_are_stored() -> None:
    case = Case(((1, 37), (5, 40)))
    case.run(SPECS["plain"])
    full = case.view
    narrow(case, torch.float8_e4m3fn)
    q, out, batch = case._new()[0], torch.zeros(6, HEADS, DIM), case._batch()
    decode.attend_tokens(q, out, SPECS["plain"], case.view, batch)
    prefill.attend_chunks(q, out, SPECS["plain"], case.view, batch)
    case.view = replace(full, keys=case.view.keys.float(), values=case.view.values.float())
    torch.testing.assert_close(out.double(), expected_of_stored(case, SPECS["plain"]), rtol=1e-5, atol=1e-5)


def test_queries_of_halves_are_summed_in_fp32() -> None:
    case = Case(((1, 300), (40, 90)))
    narrow(case, torch.float16)
    case.tokens = [tokens.half().float() for tokens in case.tokens]
    got = run(case, SPECS["plain"], case._new()[0].half())
    torch.testing.assert_close(got.double(), expected_of_stored(case, SPECS["plain"]), rtol=2e-3, atol=1e-3)


@pytest.mark.usefixtures("_short_runs")
def test_a_sequence_comes_out_the_same_bit_for_bit_whatever_runs_beside_it() -> None:
    spec, together = SPECS["softcap"], Case(TOKENS)
    wanted = run(together, spec)
    for i in (3, 5):
        alone = Case(TOKENS[i : i + 1])
        alone.tokens = together.tokens[i : i + 1]
        alone._fill(alone.view.table)
        assert torch.equal(run(alone, spec)[0], wanted[i])


@pytest.mark.parametrize("name", ["plain", "window", pytest.param("everything", marks=pytest.mark.slow)])
def test_a_prompt_comes_out_the_same_in_chunks_bit_for_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a row of a product does not depend on its place among the rows, as on a GPU. Products of numpy's do: their
    library adds up the last rows of a block otherwise than the first.
    """
    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", dot_by_rows)
    spec, whole = SPECS[name], Case(((90, 90),))
    wanted = run(whole, spec)
    for fresh in (40, 3):
        chunk = Case(((fresh, 90),))
        chunk.tokens = whole.tokens
        chunk._fill(chunk.view.table)
        assert torch.equal(run(chunk, spec), wanted[-fresh:])


def dot_by_rows(_builder: Any, a: Any, b: Any, total: Any, *_: Any) -> Any:
    rows = [np.matmul(row[None], b.data, dtype=total.data.dtype) for row in a.data]
    return interpreter.TensorHandle(np.concatenate(rows) + total.data, total.dtype.scalar)


def test_tokens_of_a_chunk_see_no_other_chunk() -> None:
    """Of positions, not of prompts: as Llama 4 attends."""
    spec, case = AttentionSpec(0.3, chunk=32), Case(((1, 70), (50, 75), (1, 64)))
    got, rows = run(case, spec), []
    for (fresh, context), tokens in zip(case.sizes, case.tokens, strict=True):
        q, k, v = case._parts(tokens.double())
        pieces = [slice(first, first + 32) for first in range(0, context, 32)]
        whole = torch.cat([plain_attention(q[one], k[one], v[one], AttentionSpec(0.3)) for one in pieces])
        rows.append(whole[context - fresh :])
    torch.testing.assert_close(got.double(), torch.cat(rows), rtol=1e-5, atol=1e-5)


def test_what_left_the_window_is_not_read() -> None:
    spec, case = AttentionSpec(0.3, window=10), Case(((1, 60), (5, 50)))
    wanted = run(case, spec)
    for row, lowest in ((0, 50), (1, 36)):
        dead = case._slots(case.view.table[row], 0, lowest)
        case.view.keys.flatten(0, 1)[dead] = torch.nan
        case.view.values.flatten(0, 1)[dead] = torch.nan
    assert torch.equal(run(case, spec), wanted)


def test_a_number_that_is_none_is_not_hidden_and_stays_in_its_sequence() -> None:
    case = Case(((1, 40), (1, 41)))
    case.view.keys.flatten(0, 1)[case._slots(case.view.table[0], 7, 8), 0, 5] = torch.nan
    got = run(case, SPECS["plain"])
    assert got[0, : HEADS // 2].isnan().all()
    assert got[1].isfinite().all()
