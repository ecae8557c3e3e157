"""The plain loop: a model's own greedy continuation, and what a forward pass must not do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from unillm.models.contract import Model, Placement, contiguous_cache, one_sequence
from unillm.models.table import find
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import write_gguf
from unillm.tests.models.paged import Pages
from unillm.tests.models.tensors import load, tensors
from unillm.tests.models.zoo import PLACE


@pytest.fixture(scope="module")
def model() -> Model:
    return load(tensors(zoo.BY_NAME["qwen3-window"]))


def test_an_answer_has_as_many_tokens_as_asked_for(model: Model) -> None:
    assert len(model.generate([1, 2, 3], 7)) == 7
    assert model.generate([1, 2, 3], 0) == []


def test_an_answer_ends_with_its_end_token(model: Model) -> None:
    whole = model.generate([1, 2, 3], 20)
    end = whole[5]
    assert model.generate([1, 2, 3], 20, {end}) == whole[: whole.index(end) + 1]


def test_a_longer_answer_begins_with_the_shorter(model: Model) -> None:
    assert model.generate([5, 6], 12)[:5] == model.generate([5, 6], 5)


def test_an_answer_continues_itself(model: Model) -> None:
    answer = model.generate([5, 6], 12)
    assert model.generate([5, 6, *answer[:6]], 6) == answer[6:]


class NoHostReads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses whatever brings a tensor's value, or a size that depends on one, to the host."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal.default", "is_nonzero")

    def __torch_dispatch__(self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        assert not any(name in str(func) for name in self.FORBIDDEN), f"{func} reads a tensor on the host"
        return func(*args, **(kwargs or {}))


def no_host_reads() -> NoHostReads:
    return NoHostReads()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ["llama3.1", "llama-dynamic", "llama-longrope", "mistral0.1", "qwen2", "qwen3"])
def test_a_forward_pass_reads_no_tensor_on_the_host(name: str) -> None:
    pages = Pages(load(tensors(zoo.BY_NAME[name])), around=no_host_reads)
    pages.run({0: [1, 2, 3], 1: [4]})
    pages.run({0: list(range(40)), 1: [5], 2: [6], 3: list(range(20))})


def test_the_watch_over_host_reads_can_fail() -> None:
    with no_host_reads(), pytest.raises(AssertionError, match="host"):
        torch.ones(1).item()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama-bias", "qwen3"])
def test_narrow_activations_give_nearly_the_same_scores_in_fp32(name: str, dtype: torch.dtype) -> None:
    """Whatever type the weights are stored in."""
    row = zoo.BY_NAME[name]
    weights, wanted = tensors(row), zoo.expected(zoo.reference(row), zoo.prompt(row))
    config = load(weights).config
    model = find(weights.metadata.architecture, "safetensors").load(weights, config, Placement(PLACE.device, dtype))
    logits = Pages(model).whole(zoo.prompt(row))
    cache = contiguous_cache(model.cache_spec(), 1, model.place)
    assert model.forward(one_sequence([1], 0, cache, PLACE.device)).dtype == dtype
    assert logits.dtype == torch.float32
    assert zoo.distance(logits, wanted) < 10 * torch.finfo(dtype).eps


@pytest.mark.parametrize("name", ["llama3.1", "llama-dynamic", "llama-longrope", "mistral0.1", "qwen2-window", "qwen3"])
def test_everything_is_made_on_the_models_device(name: str, tmp_path: Path) -> None:
    """Shown on the device without memory, which refuses tensors of any other."""
    elsewhere = Placement(torch.device("meta"), torch.float32)
    row = zoo.BY_NAME[name]
    files = write_gguf(row, tmp_path, "Q4_1").files if row.gguf else zoo.save(zoo.reference(row), tmp_path)
    model = load_model(files, elsewhere)
    cache = contiguous_cache(model.cache_spec(), 64, elsewhere)
    for ids, done in ([1] * 30, 0), ([4], 30), ([5, 6], 31):
        logits = model.logits(model.forward(one_sequence(ids, done, cache, elsewhere.device)))
        assert logits.is_meta
        assert logits.shape == (len(ids), 131)


def test_the_device_without_memory_refuses_others() -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.add(torch.ones(2, device="meta"), torch.ones(2))
