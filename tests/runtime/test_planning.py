"""Where the cache's growing ends: at a budget, at what was asked for, at half, or at what steps need on a GPU."""

from dataclasses import replace

import pytest
import torch

from unillm.models.contract import Model, Placement
from unillm.models.quantized import QuantizedTensor
from unillm.runtime import planning
from unillm.runtime.device import available_memory
from unillm.runtime.kv.budget import MemoryBudget
from unillm.runtime.options import EngineOptions
from unillm.runtime.planning import cache_memory, step_memory, swap_memory
from unillm.tests.runtime.fakes import FakeModel

FREE = 8 << 30
OPTIONS = EngineOptions(batch_tokens=512, sequences=128)


@pytest.fixture(autouse=True)
def _eight_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "available_memory", lambda _: FREE)


@pytest.fixture
def mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's driver that maps memory bit by bit."""
    monkeypatch.setattr(planning, "grows", lambda device: device.type != "mps")


def model_on(device: str) -> FakeModel:
    model = FakeModel()
    model.place = Placement(torch.device(device), torch.bfloat16)
    return model


def test_half_of_what_is_left_where_weights_are_still_to_come_or_memory_is_taken_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_on("cpu")
    assert cache_memory(model, OPTIONS) == (FREE - model.scores.nbytes) // 2
    assert cache_memory(model_on("mps"), OPTIONS) == FREE // 2
    monkeypatch.setattr(planning, "grows", lambda _: False)
    assert cache_memory(model_on("cuda"), OPTIONS) == FREE // 2


@pytest.mark.usefixtures("mapping")
def test_on_a_gpu_all_that_steps_do_not_need() -> None:
    model = model_on("cuda")
    left = cache_memory(model, OPTIONS)
    assert FREE - (2 << 30) < left == FREE - FREE // 16 - step_memory(model, OPTIONS)
    assert cache_memory(model, replace(OPTIONS, graphs=False)) > left
    assert cache_memory(model, replace(OPTIONS, sequences=256, batch_tokens=2048)) < left
    model.config.vocabulary = 10_000_000
    assert cache_memory(model, OPTIONS) == 0


def test_a_step_needs_room_for_scores_and_for_the_widest_matrix_unpacked() -> None:
    class Packed(FakeModel):
        def weights(self):  # type: ignore[no-untyped-def]
            yield torch.empty(3000, 8)
            yield QuantizedTensor("Q8_0", (4, 5000, 64), torch.empty(0, dtype=torch.uint8))

    model = Packed(vocabulary=9000)
    plain = replace(OPTIONS, graphs=False)
    assert step_memory(model, plain) == 512 * 5000 * 4 * 8 + 128 * 9000 * 32 + 5000 * 64 * 4


@pytest.mark.usefixtures("mapping")
@pytest.mark.parametrize(("device", "expected"), [("cuda", 1000), ("cpu", 1000), ("mps", 400)])
def test_of_a_shared_budget_all_where_memory_comes_bit_by_bit_else_what_is_left(device: str, expected: int) -> None:
    class Holder:
        held = 600

        def give_back(self, size: int) -> int:
            return 0

    budget, holder = MemoryBudget(1000), Holder()
    budget.join(holder)
    model: Model = model_on(device)
    assert cache_memory(model, replace(OPTIONS, budget=budget)) == expected
    assert cache_memory(model, replace(OPTIONS, budget=budget, kv_memory=300)) == 300
    assert cache_memory(model, replace(OPTIONS, kv_memory=5000)) == 5000


def test_pages_of_who_gave_way_take_a_quarter_of_the_cache_and_of_the_hosts_memory_for_a_gpus() -> None:
    assert swap_memory(torch.device("cpu"), 100 << 30) == 25 << 30
    assert swap_memory(torch.device("cuda"), 4 << 30) == 1 << 30
    assert swap_memory(torch.device("cuda"), 100 << 30) == FREE // 4


def test_what_torch_keeps_for_later_is_free_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("mem_get_info", (1000, 9000)), ("memory_reserved", 700), ("memory_allocated", 500)):
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert available_memory(torch.device("cuda:0")) == 1200
