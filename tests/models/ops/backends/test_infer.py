"""flashinfer through a stand-in that checks what it is given, as the package documents it, and computes it plainly."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from unillm.models.contract import AttentionSpec
from unillm.models.ops.backends import Phases, infer
from unillm.tests.models.ops.backends.test_backends import SIZES, attend
from unillm.tests.models.ops.test_attention import DIM, HEADS, KV_HEADS, PAGE, SPECS, Case, plain_attention

CUDA, BF16 = torch.device("cuda:0"), torch.bfloat16


class Wrapper:
    """What both wrappers have in common; `plans` counts the plans of all."""

    plans = 0

    def __init__(self, workspace: Tensor, kv_layout: str, *, use_tensor_cores: bool = False) -> None:
        assert (workspace.dtype, kv_layout, use_tensor_cores) == (torch.uint8, "HND", False)

    def planned(
        self,
        queries: Tensor,
        indptr: Tensor,
        indices: Tensor,
        last_page_len: Tensor,
        heads: tuple[int, ...],
        causal: bool,
        how: dict[str, Any],
    ) -> None:
        assert all(one.dtype == torch.int32 for one in (queries, indptr, indices, last_page_len))
        assert len(queries) == len(indptr) == len(last_page_len) + 1
        assert heads == (HEADS, KV_HEADS, DIM, PAGE)
        assert how.keys() == {"sm_scale", "window_left", "logits_soft_cap", "q_data_type", "kv_data_type"}
        self.queries, self.indptr, self.indices, self.last = queries, indptr, indices, last_page_len
        window = how["window_left"] + 1 if how["window_left"] >= 0 else None
        self.spec = AttentionSpec(how["sm_scale"], window, how["logits_soft_cap"], causal=causal)
        Wrapper.plans += 1

    def run(self, q: Tensor, cache: tuple[Tensor, Tensor]) -> Tensor:
        assert all(tuple(pages.shape[1:]) == (KV_HEADS, PAGE, DIM) and pages.stride(-1) == 1 for pages in cache)
        outs = []
        for i, last in enumerate(self.last.tolist()):
            pages = self.indices[self.indptr[i] : self.indptr[i + 1]].long()
            length = (len(pages) - 1) * PAGE + last
            k, v = (each[pages].transpose(1, 2).flatten(0, 1)[:length].double() for each in cache)
            one = q[self.queries[i] : self.queries[i + 1]].double()
            before = one.new_zeros(length - len(one), *one.shape[1:])
            outs.append(plain_attention(torch.cat((before, one)), k, v, self.spec)[len(before) :])
        return torch.cat(outs).to(q.dtype)


class Decode(Wrapper):
    def plan(self, indptr: Tensor, indices: Tensor, last: Tensor, *heads: int, **how: Any) -> None:
        self.planned(torch.arange(len(indptr)).int(), indptr, indices, last, heads, True, how)


class Prefill(Wrapper):
    def plan(
        self, queries: Tensor, indptr: Tensor, indices: Tensor, last: Tensor, *heads: int, causal: bool, **how: Any
    ) -> None:
        self.planned(queries, indptr, indices, last, heads, causal, how)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> infer.FlashInfer:
    module = SimpleNamespace(BatchDecodeWithPagedKVCacheWrapper=Decode, BatchPrefillWithPagedKVCacheWrapper=Prefill)
    monkeypatch.setattr(infer, "import_module", lambda _: module)
    monkeypatch.setattr(infer, "_WORKSPACE", 16)
    monkeypatch.setattr(Wrapper, "plans", 0)
    return infer.FlashInfer()


@pytest.mark.parametrize("name", ["plain", "window", "softcap", "both ways"])
def test_what_it_is_asked_for_is_plain_attention(name: str, backend: infer.FlashInfer) -> None:
    for sizes in (SIZES, ((1, 9), (1, 33))):
        case = Case(sizes)
        got = attend(case, SPECS[name], Phases(backend, backend))
        torch.testing.assert_close(got.double(), case.expected(SPECS[name]), rtol=1e-5, atol=1e-5)


def test_layers_that_attend_alike_share_a_plan_until_the_next_batch(backend: infer.FlashInfer) -> None:
    case, phases = Case(SIZES), Phases(backend, backend)
    for step in range(1, 3):
        batch, q = replace(case._batch(), attention=phases), case._new()[0]
        for spec in (SPECS["plain"], SPECS["window"], SPECS["plain"], SPECS["window"]):
            backend.attend(q, spec, case.view, batch)
        assert Wrapper.plans == 2 * step
    assert len(backend._wrappers) == 2


def test_what_it_cannot_do_is_refused_in_words(backend: infer.FlashInfer) -> None:
    plain = AttentionSpec(1.0)
    assert backend.refuses(plain, 128, BF16, CUDA) is None
    assert backend.refuses(plain, 128, torch.float8_e4m3fn, CUDA) is None
    assert backend.refuses(plain, 128, BF16, torch.device("cpu")) == "it does not run on cpu"
    assert backend.refuses(plain, 128, torch.int8, CUDA) == "it reads pages of fp16, bf16 and fp8 alone"
    assert "heads of 64, 128, 256 numbers" in (backend.refuses(plain, 80, BF16, CUDA) or "")
    assert "slopes" in (backend.refuses(AttentionSpec(1.0, alibi=torch.ones(HEADS)), 64, BF16, CUDA) or "")
