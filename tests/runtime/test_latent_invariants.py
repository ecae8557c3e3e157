"""Latents in the cache: half the memory of keys and values, and nothing that scheduling does changes an answer."""

from dataclasses import replace

import pytest
import torch

from unillm.models.contract import CacheSpec, LatentLayer, Model, PagedLayer
from unillm.runtime.engine import Engine
from unillm.runtime.kv.pages import Sharing
from unillm.runtime.kv.pool import KVPool, PageLayout
from unillm.runtime.options import EngineOptions
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.runtime.engines import greedy

ROW = zoo.BY_NAME["deepseek-v3"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(zoo.save(zoo.reference(ROW), tmp_path_factory.mktemp("latent")), zoo.PLACE)


def engine_for(model: Model, pages: int, **choices: object) -> Engine:
    layout = PageLayout.of(model.cache_spec(), 4, torch.float32)
    options = EngineOptions(kv_memory=pages * layout.page_bytes, page_size=4, **choices)  # type: ignore[arg-type]
    return Engine(model, options=options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_a_latent_is_kept_once(dtype: torch.dtype) -> None:
    latent, both = (
        PageLayout.of(CacheSpec((layer,) * 3), 8, dtype) for layer in (LatentLayer(1, 48), PagedLayer(1, 48))
    )
    assert 2 * latent.page_bytes == both.page_bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_keys_and_values_of_a_latent_are_the_same_memory_and_nobody_elses(dtype: torch.dtype) -> None:
    """Beside a layer of keys and values."""
    spec = CacheSpec((LatentLayer(1, 24), PagedLayer(2, 8)))
    pool = KVPool(PageLayout.of(spec, 4, dtype), 3, torch.device("cpu"))
    pool.commit(range(3))
    assert pool.keys[0].data_ptr() == pool.values[0].data_ptr()
    pool.bytes.zero_()
    pool.keys[0][1].fill_(1)
    assert pool.values[0][1].eq(1).all()
    assert not pool.keys[1].any()
    assert not pool.values[1].any()


@pytest.mark.parametrize("sharing", ["radix", "off"])
def test_answers_in_chunks_in_company_found_again_and_after_giving_way_are_the_plain_loops(
    model: Model, sharing: Sharing
) -> None:
    shared = zoo.prompt(ROW, 24, seed=11)
    asked = [[*shared, *zoo.prompt(ROW, length, seed=length)] for length in (3, 9, 17, 30)]
    wanted = [model.generate(ids, 20) for ids in asked]
    with engine_for(model, pages=200, batch_tokens=9, sequences=4, prefix_cache=sharing) as engine:
        for _ in range(2):
            assert [list(one.token_ids) for one in engine.generate(asked, greedy(20))] == wanted
        assert (engine.stats().cached_tokens > 0) == (sharing != "off")
    with engine_for(model, pages=36, batch_tokens=9, sequences=4, prefix_cache=sharing, context=100) as engine:
        assert [list(one.token_ids) for one in engine.generate(asked, greedy(20))] == wanted
        assert engine.stats().gave_way > 0
        engine.check()


@pytest.mark.parametrize(("kv_dtype", "near"), [("int8", 0.05), ("fp8", 0.5)])
def test_latents_in_eight_bits_answer_nearly_the_same(model: Model, kv_dtype: str, near: float) -> None:
    ids = zoo.prompt(ROW, 40)
    with engine_for(model, pages=100) as exact, engine_for(model, pages=100, kv_dtype=kv_dtype) as rounded:
        assert 0 < zoo.distance(rounded.logits(ids), exact.logits(ids)) < near


def test_a_model_keeps_one_vector_a_token_whatever_its_heads(model: Model) -> None:
    spec = model.cache_spec()
    assert spec.paged == (LatentLayer(1, 24 + 8),) * 3
    assert replace(spec.paged[0], head_dim=1) == LatentLayer(1, 1)
