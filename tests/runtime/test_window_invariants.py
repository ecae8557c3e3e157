"""What must not change an answer, over layers that see unequally far and contexts many windows long.

Over the fake model every token must be equal, over real ones the scores, within what fp32 leaves.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unillm.models.contract import Batch, CacheSpec, Model, PagedLayer, PagedView, Placement
from unillm.runtime.engine import Engine
from unillm.runtime.kv.pages import Sharing
from unillm.runtime.kv.pool import PageLayout
from unillm.runtime.options import EngineOptions
from unillm.runtime.weights.load import load_model
from unillm.tests.models.zoo import BY_NAME, TOLERANCE, expected, files_in, places, prompt, reference, save
from unillm.tests.runtime.engines import greedy
from unillm.tests.runtime.fakes import BUCKETS, FakeModel, fingerprints

SHARINGS: tuple[Sharing, ...] = ("radix", "hash", "off")


class WindowedFake(FakeModel):
    """Each layer reads the ids it sees, through its own table, and no other: all of them count in the scores."""

    def __init__(self, windows: Sequence[int | None]) -> None:
        super().__init__(layers=len(windows))
        self.windows = windows

    def forward(self, batch: Batch) -> Tensor:
        hidden = torch.stack((batch.ids, batch.ids, batch.positions), 1).float()
        seen = [self._read(view, window, batch) for view, window in zip(batch.cache, self.windows, strict=True)]
        hidden[:, 0] = torch.stack(seen).sum(0) % BUCKETS
        return hidden

    def _read(self, view: PagedView, window: int | None, batch: Batch) -> Tensor:
        size = view.keys.shape[1]
        places = view.slots // size, view.slots % size, 0, 0
        view.keys[places], view.values[places] = batch.ids.float(), batch.positions.float()
        numbers = []
        for row, (count, context) in enumerate(zip(batch.queries, batch.contexts, strict=True)):
            for token in range(context - count, context):
                where = torch.arange(0 if window is None else max(0, token - window + 1), token + 1)
                seen = view.table[row][where // size].long(), where % size, 0, 0
                assert torch.equal(view.values[seen], where.float())
                numbers.append(fingerprints(view.keys[seen].long())[-1])
        return torch.stack(numbers)

    def answer(self, prompt: Sequence[int], count: int, ends: Sequence[int] = ()) -> list[int]:
        tokens = list(prompt)
        for _ in range(count):
            seen = [tokens if window is None else tokens[-window:] for window in self.windows]
            bucket = sum(int(fingerprints(torch.tensor(ids))[-1]) for ids in seen) % BUCKETS
            tokens.append(int(self.scores[bucket].argmax()))
        return tokens[len(prompt) :]

    def cache_spec(self) -> CacheSpec:
        return CacheSpec(tuple(PagedLayer(1, 1, window) for window in self.windows))


def engine_for(model: Model, *, pages: int, page_size: int = 4, **choices: object) -> Engine:
    layout = PageLayout.of(model.cache_spec(), page_size, model.place.dtype)
    options = EngineOptions(kv_memory=pages * layout.page_bytes, page_size=page_size, **choices)  # type: ignore[arg-type]
    return Engine(model, options=options)


def prompts(count: int, longest: int, seed: int = 0) -> list[list[int]]:
    chance = random.Random(seed)
    return [[chance.randrange(300) for _ in range(chance.randint(1, longest))] for _ in range(count)]


WINDOWS = pytest.mark.parametrize("windows", [(6, 6), (None, 6, 6, 11), (9, None)], ids=str)


@WINDOWS
@pytest.mark.parametrize("sharing", SHARINGS)
def test_answers_are_those_without_any_cache_in_chunks_in_company_and_found_again(
    windows: tuple[int | None, ...], sharing: Sharing
) -> None:
    model = WindowedFake(windows)
    shared = prompts(1, 50, seed=3)[0]
    asked = [*prompts(5, 70), *([*shared, *tail] for tail in prompts(4, 20, seed=4))]
    wanted = [model.answer(ids, 30) for ids in asked]
    for budget in (9, 40):
        with engine_for(model, pages=400, batch_tokens=budget, sequences=5, prefix_cache=sharing) as engine:
            for _ in range(2):
                assert [list(one.token_ids) for one in engine.generate(asked, greedy(30))] == wanted
            engine.check()
            stats = engine.stats()
            assert stats.free_pages + stats.cached_pages == stats.pages
            assert (stats.cached_tokens > 0) == (sharing != "off")


@WINDOWS
@pytest.mark.parametrize("sharing", SHARINGS)
def test_what_gave_way_is_what_did_not(windows: tuple[int | None, ...], sharing: Sharing) -> None:
    model = WindowedFake(windows)
    asked = prompts(8, 60, seed=7)
    pages = 8 if None not in windows else 48
    with engine_for(model, pages=pages, batch_tokens=20, sequences=5, prefix_cache=sharing, context=90) as engine:
        for ids, done in zip(asked, engine.generate(asked, greedy(30)), strict=True):
            assert list(done.token_ids) == model.answer(ids, 30)
        assert engine.stats().gave_way > 0
        engine.check()


def test_a_context_of_a_hundred_windows_runs_in_the_memory_of_a_few() -> None:
    model = WindowedFake((5,))
    model.config.context = 4000
    ids = prompts(1, 500, seed=2)[0] * 4
    with engine_for(model, pages=8, batch_tokens=16, sequences=2) as engine:
        assert engine.stats().context == 4000
        assert list(engine.generate(ids, greedy(60)).token_ids) == model.answer(ids, 60)
        assert engine.stats().pages == 8
        engine.check()


MIXED = ("command-r7b", "gpt-neo")
ROWS = [
    "mistral0.1",
    "qwen2-window",
    "qwen2-layer-types",
    *(pytest.param(name, marks=pytest.mark.slow) for name in MIXED),
]


@pytest.fixture(scope="module", params=ROWS)
def row(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def folder(row: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where: Path = tmp_path_factory.mktemp(row)
    save(reference(BY_NAME[row]), where)
    return where


def loaded(folder: Path, place: Placement) -> Model:
    return load_model(files_in(folder, "model.safetensors"), place)


@places
def test_scores_of_a_real_model_are_the_references_over_many_windows(row: str, folder: Path, place: Placement) -> None:
    """200 tokens, windows of 24: whole, in chunks, in steps of a page, and found in the cache."""
    model = loaded(folder, place)
    ids = prompt(BY_NAME[row], 200)
    scores = expected(reference(BY_NAME[row]), ids)
    for budget in (9, 50, 512):
        with engine_for(model, pages=200, page_size=8, batch_tokens=budget, sequences=4) as engine:
            assert close(engine.logits(ids), scores)
            assert close(engine.logits(ids, start=150), scores[150:])
            assert engine.stats().cached_tokens == 144
            engine.check()


@places
def test_a_real_model_in_a_pool_far_smaller_than_its_context(row: str, folder: Path, place: Placement) -> None:
    model = loaded(folder, place)
    asked = [prompt(BY_NAME[row], 120 + 7 * seed, seed) for seed in range(4)]
    pages = 6 if row == "mistral0.1" else 40
    with engine_for(model, pages=pages, page_size=8, batch_tokens=40, sequences=4, context=200) as engine:
        for ids, done in zip(asked, engine.generate(asked, greedy(40)), strict=True):
            assert follows(row, ids, done.token_ids)
        assert engine.stats().evicted_pages > 50
        engine.check()


def follows(row: str, ids: list[int], answer: Sequence[int]) -> bool:
    """Whether each token of `answer` is the reference's, wherever its two best are further apart than the tolerance."""
    scores = expected(reference(BY_NAME[row]), [*ids, *answer])[len(ids) - 1 : -1]
    best = scores.topk(2)
    clear = best.values[:, 0] - best.values[:, 1] > 2 * TOLERANCE * scores.abs().max()
    assert clear.float().mean() > 0.8
    return torch.equal(torch.tensor(answer)[clear], best.indices[clear, 0])


def close(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max())
