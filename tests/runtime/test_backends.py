"""Attention backends by name: what is told of those that cannot be had, and the same answers by those that can."""

import pytest
import torch

from unillm.models.contract import Model, Placement
from unillm.models.ops.backends import BACKENDS
from unillm.models.ops.cpu.kernels import Kernels
from unillm.runtime import backends
from unillm.runtime.attention import read_backends
from unillm.runtime.backends import with_fitting_pages
from unillm.runtime.engine import Engine
from unillm.runtime.errors import BackendRefused, InvalidParameter
from unillm.runtime.kv.pool import PageLayout
from unillm.runtime.options import EngineOptions
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.runtime.engines import greedy

ROW = zoo.BY_NAME["llama3"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    place = Placement(torch.device("cpu"), torch.float32, kernels=Kernels.open(1, exact=True))
    return load_model(zoo.save(zoo.reference(ROW), tmp_path_factory.mktemp("attending")), place)


def engine_with(model: Model, names: str) -> Engine:
    layout = PageLayout.of(model.cache_spec(), 16, torch.float32)
    return Engine(model, options=EngineOptions(kv_memory=40 * layout.page_bytes, attention_backend=names))


def test_names_are_for_both_phases_or_for_one_each() -> None:
    assert read_backends("auto") is None
    assert read_backends("sdpa") == ("sdpa", "sdpa")
    assert read_backends("flashinfer,triton") == ("flashinfer", "triton")
    for wrong in ("", "flash", "sdpa,", "sdpa,eager,triton", "auto,sdpa", 3):
        with pytest.raises(InvalidParameter, match=r"attention_backend is .* it must be auto, eager, sdpa, triton"):
            EngineOptions(attention_backend=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("names", ["eager", "sdpa,eager", pytest.param("sdpa", marks=pytest.mark.slow)])
def test_whoever_attends_the_answers_are_the_same(model: Model, names: str) -> None:
    asked = [zoo.prompt(ROW, count, seed) for seed, count in enumerate((5, 40, 17))]
    with engine_with(model, "auto") as engine:
        wanted = [one.token_ids for one in engine.generate(asked, greedy(12))]
    with engine_with(model, names) as engine:
        assert [one.token_ids for one in engine.generate(asked, greedy(12))] == wanted


def test_our_kernels_for_gpus_are_refused_on_a_cpu(model: Model) -> None:
    with pytest.raises(
        BackendRefused, match="triton cannot attend single tokens: its kernels do not run on cpu"
    ) as told:
        engine_with(model, "sdpa,triton")
    assert told.value.hint == "choose another, or auto"


def test_what_is_not_installed_is_told_with_what_to_install(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "missing", lambda name: name)
    with pytest.raises(BackendRefused, match="flashinfer cannot attend prompts: it is not installed") as told:
        engine_with(model, "flashinfer,eager")
    assert told.value.hint == "pip install flashinfer-python"


def test_what_does_not_load_is_told_with_its_reason(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ImportError("libcudart.so.13 is not there")

    monkeypatch.setattr(backends, "missing", lambda _: None)
    monkeypatch.setattr(backends, "BACKENDS", {**BACKENDS, "flash-attn": broken})
    with pytest.raises(BackendRefused, match=r"flash-attn cannot attend prompts: .* libcudart.so.13 is not there"):
        backends.open_backends("flash-attn", model, torch.bfloat16)


def test_pages_become_what_a_backend_can_read() -> None:
    sizes = {"auto": 16, "sdpa": 16, "flash-attn": 256, "triton,flash-attn": 256}
    for names, size in sizes.items():
        assert with_fitting_pages(EngineOptions(attention_backend=names)).page_size == size
    assert with_fitting_pages(EngineOptions(attention_backend="flash-attn", page_size=300)).page_size == 512
