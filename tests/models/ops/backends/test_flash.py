"""flash-attn through a stand-in that checks what it is given, as the package documents it, and computes it plainly."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from unillm.models.contract import AttentionSpec
from unillm.models.ops.backends import Phases, flash
from unillm.tests.models.ops import test_attention
from unillm.tests.models.ops.backends.test_backends import SIZES, attend
from unillm.tests.models.ops.test_attention import HEADS, SPECS, Case, plain_attention

CUDA, BF16 = torch.device("cuda:0"), torch.bfloat16


def flash_attn_with_kvcache(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    *,
    cache_seqlens: Tensor,
    block_table: Tensor,
    softmax_scale: float,
    causal: bool,
    window_size: tuple[int, int],
    softcap: float,
    alibi_slopes: Tensor | None,
) -> Tensor:
    """q (batch, seqlen, heads, dim), the last tokens of each; caches (blocks, block size, kv heads, dim)."""
    assert q.dim() == 4
    assert q.shape[0] == len(cache_seqlens) == len(block_table)
    assert k_cache.shape[1] % 256 == 0
    assert k_cache.stride(-1) == v_cache.stride(-1) == block_table.stride(-1) == q.stride(-1) == 1
    assert cache_seqlens.dtype == block_table.dtype == torch.int32
    assert alibi_slopes is None or (alibi_slopes.dtype, tuple(alibi_slopes.shape)) == (torch.float32, (q.shape[2],))
    window = window_size[0] + 1 if window_size[0] >= 0 else None
    spec = AttentionSpec(softmax_scale, window, softcap or None, alibi=alibi_slopes, causal=causal)
    outs = []
    for one, length, table in zip(q.double(), cache_seqlens.tolist(), block_table, strict=True):
        pages = table[: -(-length // k_cache.shape[1])].long()
        k, v = (cache[pages].flatten(0, 1)[:length].double() for cache in (k_cache, v_cache))
        before = one.new_zeros(length - len(one), *one.shape[1:])
        outs.append(plain_attention(torch.cat((before, one)), k, v, spec)[-len(one) :])
    return torch.stack(outs).to(q.dtype)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> flash.FlashAttention:
    module = SimpleNamespace(flash_attn_with_kvcache=flash_attn_with_kvcache)
    monkeypatch.setattr(flash, "import_module", lambda _: module)
    return flash.FlashAttention()


@pytest.mark.parametrize("name", ["plain", "window", "softcap", "alibi", "both ways"])
def test_what_it_is_asked_for_is_plain_attention(
    name: str, backend: flash.FlashAttention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_attention, "PAGE", backend.page_grain)
    case = Case(SIZES)
    got = attend(case, SPECS[name], Phases(backend, backend))
    torch.testing.assert_close(got.double(), case.expected(SPECS[name]), rtol=1e-5, atol=1e-5)


def test_what_it_cannot_do_is_refused_in_words(backend: flash.FlashAttention) -> None:
    plain = AttentionSpec(1.0)
    assert backend.refuses(plain, 128, BF16, CUDA) is None
    assert backend.refuses(plain, 128, BF16, torch.device("cpu")) == "it does not run on cpu"
    assert backend.refuses(plain, 128, torch.int8, CUDA) == "it reads pages of fp16 and bf16 alone"
    assert "heads of up to 256 numbers" in (backend.refuses(plain, 576, BF16, CUDA) or "")
    assert "neither sinks" in (backend.refuses(AttentionSpec(1.0, sinks=torch.ones(HEADS)), 64, BF16, CUDA) or "")
