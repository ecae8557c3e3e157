"""`make gpu-check`: the kernels against plain torch on this GPU, and how near to its memory's speed decoding comes.

It needs torch, triton, numpy and the tree, and takes a few minutes, most of which is the compiler's. Ends with 1 where
a number is wrong; speeds are told, not judged.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from unillm.models.contract import AttentionSpec, Batch, PagedView
from unillm.models.ops import gpu, reference, reference_attention
from unillm.models.ops.compiling import at_once
from unillm.models.ops.operands import Norm, Rotation
from unillm.models.ops.triton import decode, prefill, rows
from unillm.tests.gpu.choosing import backend_checks, choosing_checks, choosing_work, scan_checks
from unillm.tests.gpu.memory import compiling_checks, copying_checks, memory_checks
from unillm.tests.gpu.pages import paged
from unillm.tests.gpu.products import product_checks, product_rates, product_speeds

HEADS, KV_HEADS = 16, 8
_REPEATS = 20
_COPIED = 4 << 30  # bytes


class Difference(NamedTuple):
    """Between a kernel and plain torch, at most; and how large it may be."""

    name: str
    worst: float
    allowed: float


def specs(device: torch.device) -> dict[str, AttentionSpec]:
    sinks, slopes = torch.linspace(-1, 3, HEADS, device=device), torch.linspace(0.01, 0.2, HEADS, device=device)
    return {
        "plain": AttentionSpec(0.09),
        "window": AttentionSpec(0.09, window=300),
        "chunk": AttentionSpec(0.09, chunk=256),
        "all": AttentionSpec(0.09, 700, 20.0, sinks, slopes),
        "both ways": AttentionSpec(0.09, causal=False),
    }


def attention_checks(device: torch.device) -> Iterator[Difference]:
    """How far the kernels are from plain torch in fp32 over the same pages, of each case."""
    queries, contexts = [1, 1, 700, 1, 33, 1], [1, 513, 700, 2048, 1100, 77]
    dtypes = (torch.bfloat16, torch.float16, torch.float32, torch.int8, torch.float8_e4m3fn)
    for (name, spec), dim, dtype in product(specs(device).items(), (64, 80, 128, 256), dtypes):
        if (dim, name) != (128, "plain") and dtype is not torch.bfloat16:
            continue
        view, batch = paged(contexts, KV_HEADS, dim, dtype, queries, device)
        number = dtype if dtype in gpu.NUMBERS else torch.bfloat16
        q, k, v = (
            torch.randn(sum(queries), HEADS + 2 * KV_HEADS, dim, device=device)
            .to(number)
            .split_with_sizes((HEADS, KV_HEADS, KV_HEADS), 1)
        )
        angles = torch.rand(sum(queries), dim // 2, device=device)
        rotation, norm = Rotation(angles.cos(), angles.sin()), Norm(torch.rand(dim, device=device), 1e-6)
        turned = reference.rotate(reference.rms_norm(q, norm), rotation).float()
        got = gpu.attention(q, k, v, norm, norm, rotation, spec, view, batch)
        again = _of_stored(turned, spec, view, batch)
        yield Difference(
            f"attention {name}, {dim} numbers a head, {_short(dtype)}", _worst(got, again), _allowed(number)
        )


def _of_stored(q: Tensor, spec: AttentionSpec, view: PagedView, batch: Batch) -> Tensor:
    """Plain attention over what the kernels have stored, stored once more."""
    wide = [pages.float() for pages in (view.keys, view.values)]
    if view.key_scales is not None and view.value_scales is not None:
        wide = [
            pages * scales[..., None] for pages, scales in zip(wide, (view.key_scales, view.value_scales), strict=True)
        ]
    full = replace(view, keys=wide[0], values=wide[1], key_scales=None, value_scales=None)
    k, v = (pages.flatten(0, 1)[view.slots] for pages in wide)
    return reference_attention.attention(q, k, v, None, None, None, spec, full, batch)


def row_checks(device: torch.device) -> Iterator[Difference]:
    for columns, dtype in product((64, 1024, 5000, 8192), gpu.NUMBERS):
        x, addend = torch.randn(2, 37, columns, device=device).to(dtype)
        norm = Norm(torch.rand(columns, device=device), 1e-6)
        wanted = reference.rms_norm(x, norm, addend)
        yield Difference(
            f"norm of {columns}, {_short(dtype)}",
            _worst(rows.rms_norm(x.clone(), norm, addend), wanted),
            _allowed(dtype),
        )
        both = torch.randn(37, 2 * columns, device=device).to(dtype)
        yield Difference(
            f"gate of {columns}, {_short(dtype)}", _worst(rows.gated(both), reference.silu_mul(both)), _allowed(dtype)
        )


def company_checks(device: torch.device) -> Iterator[Difference]:
    """A sequence alone against itself among others, the end of a prompt against all of it: bit for bit."""
    spec, contexts = AttentionSpec(0.09), [3000, 40, 700, 2048] * 64
    view, batch = paged(contexts, KV_HEADS, 128, torch.bfloat16, [1] * len(contexts), device)
    q = torch.randn(len(contexts), HEADS, 128, device=device, dtype=torch.bfloat16)
    together, alone = torch.empty_like(q), torch.empty_like(q[:1])
    decode.attend_tokens(q, together, spec, view, batch)
    one = replace(batch, queries=(1,), contexts=(3000,), starts=batch.starts[:2], lengths=batch.lengths[:1])
    decode.attend_tokens(q[:1], alone, spec, replace(view, table=view.table[:1]), one)
    yield Difference("a sequence alone and among 256", _worst(alone, together[:1]), 0.0)
    view, batch = paged([900], KV_HEADS, 128, torch.bfloat16, [900], device)
    q = torch.randn(900, HEADS, 128, device=device, dtype=torch.bfloat16)
    whole, end = torch.empty_like(q), torch.empty_like(q[-333:])
    prefill.attend_chunks(q, whole, spec, view, batch)
    last = replace(batch, queries=(333,), starts=torch.tensor([0, 333], dtype=torch.int32, device=device))
    prefill.attend_chunks(q[-333:], end, spec, view, last)
    yield Difference("a prompt whole and in chunks", _worst(end, whole[-333:]), 0.0)


def _worst(got: Tensor, wanted: Tensor) -> float:
    return float((got.float() - wanted.float()).abs().max())


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _allowed(dtype: torch.dtype) -> float:
    """bf16 has 8 bits; sums of fp32 in another order differ in their last ones."""
    return 1e-4 if dtype is torch.float32 else 4e-2


def seconds(call: Callable[[], object]) -> float:
    """The median of several, between events on the device."""
    call()
    times: list[float] = []
    for _ in range(_REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call, unused-ignore]
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return sorted(times)[_REPEATS // 2]


def copy_speed(device: torch.device) -> float:
    """Bytes a second, read and written."""
    source = torch.empty(_COPIED // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return _COPIED / seconds(lambda: target.copy_(source))


def decoding_speeds(device: torch.device) -> Iterator[tuple[str, float]]:
    """Bytes of keys and values a second, of decoding attention."""
    for batch_size, context, dtype in product((64, 256), (512, 1024, 4096), (torch.bfloat16, torch.float8_e4m3fn)):
        view, batch = paged([context] * batch_size, KV_HEADS, 128, dtype, [1] * batch_size, device)
        q = torch.randn(batch_size, HEADS, 128, device=device, dtype=torch.bfloat16)
        out, spec = torch.empty_like(q), AttentionSpec(0.09)
        read = 2 * batch_size * context * KV_HEADS * 128 * dtype.itemsize
        took = seconds(partial(decode.attend_tokens, q, out, spec, view, batch))
        yield f"{batch_size} sequences of {context}, {_short(dtype)}", read / took


def told(differences: Iterable[tuple[str, float, float]]) -> int:
    """How many are larger than they may be."""
    wrong = 0
    for name, difference, allowed in differences:
        fine = difference <= allowed
        wrong += not fine
        print(f"{'ok' if fine else 'WRONG':6}{difference:10.2e}  {name}", flush=True)
    return wrong


def main() -> int:
    if not torch.cuda.is_available():
        print("there is no GPU here")
        return 1
    device = torch.device("cuda:0")
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}")
    torch.manual_seed(0)
    with torch.inference_mode():
        wrong = sum(told(check(device)) for check in (compiling_checks, memory_checks, copying_checks))
    with torch.inference_mode(), at_once():
        kernels = (row_checks, attention_checks, company_checks, backend_checks, choosing_checks, scan_checks)
        checks = (*kernels, product_checks)
        wrong += sum(told(check(device)) for check in checks)
        copied = copy_speed(device)
        print(f"copy: {copied / 1e9:.0f} GB/s")
        for name, speed in decoding_speeds(device):
            print(f"decoding attention, {name}: {speed / 1e9:.0f} GB/s, {100 * speed / copied:.0f} % of copying")
        for name, speed in product_speeds(device, seconds):
            print(f"{name}: {speed / 1e9:.0f} GB/s, {100 * speed / copied:.0f} % of copying", flush=True)
        for name, rate in product_rates(device, seconds):
            print(f"4096 rows times {name}: {rate / 1e12:.0f} TFLOP/s", flush=True)
        chosen, best = torch.zeros(256, dtype=torch.int64, device=device), torch.zeros(256, device=device)
        for name, scores, how in choosing_work(device):
            took = seconds(partial(gpu.choose, scores, how, chosen, best))
            print(f"choosing 256 tokens of {scores.shape[1]}, {name}: {took * 1e6:.0f} us")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
