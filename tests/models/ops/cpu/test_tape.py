"""A recorded step does again what it did, on what lies in its inputs then; what cannot be recorded is refused."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unillm.models import ops
from unillm.models.ops.cpu.kernels import Kernels
from unillm.models.ops.cpu.tape import NotRecordable, Recorder, Tape
from unillm.models.ops.cpu.workspace import Workspace


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    opened = Kernels.open(2)
    if opened is None:
        pytest.skip("the CPU kernels are not built here")
    return opened


def record(kernels: Kernels, step: Callable[[], Tensor], workspace: Workspace) -> tuple[Tape, Tensor]:
    tape = Tape()
    with torch.inference_mode(), kernels.recording(tape), Recorder(tape, workspace):
        out = step()
    tape.close()
    return tape, workspace.lent(out)


def test_kernels_and_torch_take_turns_on_new_inputs(kernels: Kernels) -> None:
    x, weight, norm = torch.randn(3, 64), torch.randn(128, 64), ops.Norm(torch.rand(64), 1e-5)

    def step() -> Tensor:
        gate_up = ops.linear(ops.rms_norm(x, norm, kernels), [weight], [torch.ones(128)], kernels)
        gated = ops.silu_mul(gate_up, kernels)
        gated.mul_(2.0)
        return torch.cat((gated.tanh(), gated), -1) @ weight

    tape, out = record(kernels, step, Workspace())
    assert torch.equal(out, step())
    for _ in range(3):
        x.copy_(torch.randn(3, 64))
        tape.replay(kernels.replay)
        assert torch.equal(out, step())
    assert {"aten::mul_.Tensor", "aten::cat"} <= set(tape.torch_calls)


def test_what_torch_calls_a_view_is_computed_again_where_it_copies(kernels: Kernels) -> None:
    x = torch.randn(4, 64, dtype=torch.bfloat16)

    def step() -> Tensor:
        wide = x.to(torch.float32)
        turned = wide.t().reshape(4, 64).contiguous()
        return ops.silu_mul(turned, kernels)

    tape, out = record(kernels, step, Workspace())
    others = [torch.full((4, 64), 7.0) for _ in range(64)]  # what has been freed is somebody else's by now
    for _ in range(3):
        x.copy_(torch.randn(4, 64))
        tape.replay(kernels.replay)
        assert torch.equal(out, step())
    assert all(bool((one == 7).all()) for one in others)
    assert "aten::to.dtype" in tape.torch_calls


def test_what_a_step_took_is_told_by_kernel(kernels: Kernels) -> None:
    x = torch.randn(4, 64)
    tape, _ = record(kernels, lambda: ops.silu_mul(ops.silu_mul(x, kernels), kernels), Workspace())
    tape.replay(kernels.replay)
    assert tape.take_times() == {"unillm_gated": 0}
    tape.replay(kernels.replay, timed=True)
    assert tape.take_times()["unillm_gated"] > 0
    assert tape.take_times() == {"unillm_gated": 0}


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x * x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x + torch.tensor([1.0]),
        lambda x: torch.rand_like(x),
    ],
    ids=["a number read", "a mask", "places", "a number of the host", "chance"],
)
def test_what_may_differ_the_next_time_is_not_recorded(kernels: Kernels, step: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(NotRecordable):
        record(kernels, lambda: step(torch.randn(4, 4)), Workspace())


def test_memory_is_used_again_and_never_twice_at_once() -> None:
    workspace = Workspace()
    held = [workspace.like(torch.empty(size, device="meta")) for size in (100, 7, 3000, 1)]
    for number in range(4):
        held[number].fill_(number)
    assert all(bool((tensor == number).all()) for number, tensor in enumerate(held))
    places = {tensor.data_ptr() for tensor in held}
    assert all(place % 64 == 0 for place in places)
    held.clear()
    whole = workspace.like(torch.empty((1 << 18) - 16, device="meta"))
    assert whole.data_ptr() == min(places)
    assert workspace.nbytes == 1 << 20


def test_recordings_share_their_memory(kernels: Kernels) -> None:
    workspace, x = Workspace(), torch.randn(2, 64)
    (first, one), (second, two) = (
        record(kernels, lambda: ops.silu_mul(x, kernels) + 0, workspace),
        record(kernels, lambda: ops.silu_mul(x, kernels) + 0, workspace),
    )
    for tape, out in ((first, one), (second, two), (first, one)):
        x.copy_(torch.randn(2, 64))
        tape.replay(kernels.replay)
        assert torch.equal(out, ops.silu_mul(x, kernels))
    assert workspace.nbytes == 1 << 20


def test_recording_does_not_load_the_compiler() -> None:
    """Which would make whoever asks first wait for seconds between the first token and the second."""
    program = """
import sys, torch
from unillm.models.ops.cpu.tape import Recorder, Tape
from unillm.models.ops.cpu.workspace import Workspace
with torch.inference_mode(), Recorder(Tape(), Workspace()):
    torch.empty(2).float() + 1
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
