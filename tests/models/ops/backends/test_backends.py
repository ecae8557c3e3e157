"""Attention by a backend for prompts and one for single tokens: each pair is plain attention."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unillm.models import ops
from unillm.models.contract import AttentionSpec
from unillm.models.ops.backends import BACKENDS, Backend, Phases
from unillm.models.ops.backends.ours import Eager, Sdpa
from unillm.runtime.attention import BACKENDS as NAMES
from unillm.tests.models.ops.test_attention import DIM, SPECS, Case, expected_of_stored, narrow

SIZES = ((1, 1), (1, 37), (60, 60), (5, 40), (1, 9), (30, 90), (1, 17))
PAIRS = {
    "eager": (Eager, Eager),
    "sdpa": (Sdpa, Sdpa),
    "eager, sdpa": (Eager, Sdpa),
    "sdpa, eager": (Sdpa, Eager),
}


def attend(case: Case, spec: AttentionSpec, phases: Phases) -> Tensor:
    q, k, v = case._new()
    return ops.attention(q, k, v, spec=spec, cache=case.view, batch=replace(case._batch(), attention=phases))


def test_the_names_are_those_that_a_user_may_say() -> None:
    assert tuple(BACKENDS) == NAMES


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_any_pair_is_plain_attention(spec: AttentionSpec, pair: tuple[type[Backend], type[Backend]]) -> None:
    case, phases = Case(SIZES), Phases(pair[0](), pair[1]())
    for _ in range(2):  # as two layers of a step
        torch.testing.assert_close(attend(case, spec, phases).double(), case.expected(spec), rtol=1e-5, atol=1e-5)


def test_one_alike_phase_after_the_other() -> None:
    for sizes in (((1, 9), (1, 20)), ((9, 9), (4, 20))):
        case = Case(sizes)
        got = attend(case, SPECS["plain"], Phases(Eager(), Sdpa()))
        torch.testing.assert_close(got.double(), case.expected(SPECS["plain"]), rtol=1e-5, atol=1e-5)


def test_norms_turns_and_pages_are_the_same_whoever_attends() -> None:
    angles, norm = torch.rand(sum(fresh for fresh, _ in SIZES), DIM // 2), ops.Norm(torch.rand(DIM), 1e-6)
    told = {"rotation": ops.Rotation(angles.cos(), angles.sin()), "q_norm": norm, "k_norm": norm}
    plain, chosen = Case(SIZES), Case(SIZES)
    batch = replace(chosen._batch(), attention=Phases(Eager(), Sdpa()))
    wanted = ops.attention(*plain._new(), spec=SPECS["plain"], cache=plain.view, batch=plain._batch(), **told)  # type: ignore[arg-type]
    got = ops.attention(*chosen._new(), spec=SPECS["plain"], cache=chosen.view, batch=batch, **told)  # type: ignore[arg-type]
    torch.testing.assert_close(got, wanted)
    for one, other in ((plain.view.keys, chosen.view.keys), (plain.view.values, chosen.view.values)):
        torch.testing.assert_close(one, other, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn], ids=str)
def test_pages_of_eight_bits_are_read_as_they_are_stored(dtype: torch.dtype) -> None:
    case = Case(SIZES)
    narrow(case, dtype)
    got = attend(case, SPECS["everything"], Phases(Eager(), Sdpa()))
    wanted = expected_of_stored(case, SPECS["everything"])
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)
