"""On a GPU: products with packed weights and with experts against plain torch, and how fast weights are read."""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from unillm.models.ops import gpu_products
from unillm.models.ops.triton.weights import Matrix, multiply, multiply_chosen
from unillm.models.planes import PlanesTensor
from unillm.tests.gpu.weights import packed_weights

_OUTPUTS, _COLUMNS = 1056, 1280
_ALLOWED = 1e-2  # of the largest: weights and results are rounded to bf16


def product_checks(device: torch.device) -> Iterator[tuple[str, float, float]]:
    """How far the kernels are from the exact numbers in fp32, as a share of the largest result."""
    for kind, weight in packed_weights(_OUTPUTS, _COLUMNS, device).items():
        numbers = weight.dequantize()
        for rows in (1, 3, 16, 200):
            x, onto = torch.randn(2, rows, _COLUMNS, device=device).bfloat16()
            bias, onto = torch.randn(_OUTPUTS, device=device), onto[:, :_OUTPUTS]
            got = gpu_products.linear(x, [weight], [bias], onto)
            yield f"{rows} rows times {kind}", _apart(got, x.float() @ numbers.T + bias + onto.float()), _ALLOWED
        ids = torch.randint(0, _OUTPUTS, (9,), device=device)
        yield f"rows of {kind}", _apart(gpu_products.embedding(ids, weight, torch.float32), numbers[ids]), 1e-5
    yield from _expert_checks(device)


def _expert_checks(device: torch.device) -> Iterator[tuple[str, float, float]]:
    stack = _stacked(packed_weights(8 * 640, 512, device)["Q4_K"], 8)
    plain = torch.randn(8, 640, 512, device=device, dtype=torch.bfloat16)
    for name, weight, numbers in (("plain", plain, plain.float()), ("Q4_K", stack, stack.dequantize())):
        for rows in (1, 40, 700):
            x = torch.randn(rows, 512, device=device).bfloat16()
            chosen = torch.rand(rows, 8, device=device).topk(2, -1).indices
            each = torch.einsum("ri,eoi->reo", x.float(), numbers)
            wanted = each.gather(1, chosen[..., None].expand(-1, -1, 640))
            yield f"{name} experts of {rows} rows", _apart(gpu_products.experts(x, weight, chosen), wanted), _ALLOWED


def product_speeds(
    device: torch.device, seconds: Callable[[Callable[[], object]], float]
) -> Iterator[tuple[str, float]]:
    """Bytes of weights a second. All are several times what the GPU's own cache holds."""
    outputs, columns = 16384, 16384
    for kind, weight in packed_weights(outputs, columns, device).items():
        matrix = Matrix.of(weight)
        for rows in (1, 4, 16, 64):
            x = torch.randn(rows, columns, device=device).bfloat16()
            out = torch.empty(rows, outputs, device=device, dtype=torch.bfloat16)
            yield f"{rows} rows times {kind}", weight.nbytes / seconds(partial(multiply, x, matrix, out, None, None))
    experts = torch.randn(64, 2048, 4096, device=device, dtype=torch.bfloat16)
    for rows in (1, 4):
        x, chosen = torch.randn(rows, 4096, device=device).bfloat16(), torch.arange(8 * rows, device=device).view(-1, 8)
        out = torch.empty(8 * rows, 2048, device=device, dtype=torch.bfloat16)
        took = seconds(partial(multiply_chosen, x, Matrix.of(experts), chosen, out))
        yield f"{rows} rows times 8 plain experts each", 8 * rows * experts[0].nbytes / took


def product_rates(
    device: torch.device, seconds: Callable[[Callable[[], object]], float]
) -> Iterator[tuple[str, float]]:
    """Operations a second of a long prompt, after those of the library's product of plain numbers."""
    x = torch.randn(4096, 8192, device=device).bfloat16()
    plain, out = torch.randn(8192, 8192, device=device).bfloat16(), torch.empty(4096, 8192, device=device).bfloat16()
    work = 2 * 4096 * 8192 * 8192
    yield "plain, by the library", work / seconds(partial(torch.mm, x, plain.T, out=out))
    for kind, weight in packed_weights(8192, 8192, device).items():
        yield kind, work / seconds(partial(multiply, x, Matrix.of(weight), out, None, None))


def _stacked(weight: PlanesTensor, experts: int) -> PlanesTensor:
    rows, columns = weight.shape
    return PlanesTensor(
        weight.kind, (experts, rows // experts, columns), weight.data, side=weight.side, form=weight.form
    )


def _apart(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got.float() - wanted).abs().max() / wanted.abs().max())
