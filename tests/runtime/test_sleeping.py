"""Engines that sleep: nothing is kept of their weights, and who asks next finds them as they were."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import Condition, Event, Thread

import pytest
import torch

from unillm.models.contract import Model
from unillm.registry.errors import RegistryError
from unillm.runtime.engine import Engine
from unillm.runtime.errors import CannotSleep, EngineClosed
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.tests.models.zoo import BY_NAME, prompt, reference, save
from unillm.tests.runtime.ahead.late import recorded_engine
from unillm.tests.runtime.ahead.models import DeviceModel
from unillm.tests.runtime.engines import engine_over, greedy
from unillm.tests.runtime.fakes import FakeModel

ROW = BY_NAME["llama3.2"]
ASKED = [prompt(ROW, 20 + 3 * seed, seed) for seed in range(3)]
PATIENCE = 30.0  # seconds; a test that waits so long has hung
HOW = [greedy(12), SamplingParams(seed=1, max_tokens=12), greedy(5, logprobs=2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("checkpoint")
    save(reference(ROW), made)
    return made


def said(engine: Engine) -> list[object]:
    return [(one.token_ids, one.logprobs) for one in engine.generate(ASKED, HOW)]


@pytest.fixture
def small_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unillm.runtime.kv.pool.SLAB_BYTES", 1 << 16)


@pytest.mark.usefixtures("small_slabs")
@pytest.mark.parametrize("choices", [{"dtype": "fp32"}, {"quantize": "q8_0"}, {"exact": True, "prefix_cache": "hash"}])
def test_weights_and_cache_go_and_answers_stay_the_same(folder: Path, choices: dict[str, object]) -> None:
    with Engine.load(folder, options=EngineOptions(device="cpu", kv_memory=1 << 22, **choices)) as engine:  # type: ignore[arg-type]
        expected = said(engine)
        held, gone = engine.stats().kv_bytes, weakref.ref(engine.model)
        engine.sleep()
        engine.sleep()
        assert engine.is_asleep
        assert gone() is None
        stats = engine.stats()
        assert 0 < stats.kv_bytes < held
        assert stats.steps > 0
        engine.check()
        assert engine.is_asleep
        assert said(engine) == expected
        assert not engine.is_asleep
        assert engine.stats().steps > stats.steps


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.wake(),
        lambda engine: engine.logits(ASKED[0]),
        lambda engine: engine.embed([ASKED[0]]),
        lambda engine: engine.submit(ASKED[0], greedy(1)),
        lambda engine: engine.model,
    ],
    ids=["wake", "logits", "embed", "submit", "model"],
)
def test_whoever_asks_wakes_it(folder: Path, ask: Callable[[Engine], object]) -> None:
    with Engine.load(folder, device="cpu", kv_memory=1 << 22) as engine:
        engine.sleep()
        ask(engine)
        assert not engine.is_asleep


def test_what_was_asked_for_is_answered_before(folder: Path) -> None:
    with Engine.load(folder, device="cpu", kv_memory=1 << 22) as engine:
        expected = engine.generate(ASKED, greedy(12))
        ids = [engine.submit(one, greedy(12)) for one in ASKED]
        engine.step()
        engine.sleep()
        assert engine.is_asleep
        answers = [[token for update in engine.follow(one) for token in update.token_ids] for one in ids]
        assert answers == [list(one.token_ids) for one in expected]
        assert engine.is_asleep


def test_a_draft_sleeps_with_its_model(folder: Path) -> None:
    with Engine.load(folder, device="cpu", kv_memory=1 << 22, draft=folder) as engine:
        expected = said(engine)
        gone = weakref.ref(engine.model)
        engine.sleep()
        gc.collect()
        assert gone() is None
        assert said(engine) == expected
        assert engine.stats().guessing_failed is None
        assert engine.stats().accepted > 0


def test_what_was_not_loaded_from_files_cannot_sleep() -> None:
    with engine_over(FakeModel()) as engine:
        with pytest.raises(CannotSleep, match="the model cannot sleep"):
            engine.sleep()
        assert not engine.is_asleep
        assert engine.generate([1, 2], greedy(3)).token_ids


def test_who_cannot_be_woken_says_why_and_sleeps_on(tmp_path: Path) -> None:
    save(reference(ROW), tmp_path)
    weights = tmp_path / "model.safetensors"
    kept = weights.read_bytes()
    with Engine.load(tmp_path, device="cpu", kv_memory=1 << 22) as engine:
        expected = said(engine)
        engine.sleep()
        weights.write_bytes(kept[:1000])
        for _ in range(2):
            with pytest.raises(RegistryError):
                said(engine)
            assert engine.is_asleep
        weights.write_bytes(kept)
        assert said(engine) == expected


def test_a_closed_engine_neither_sleeps_nor_wakes(folder: Path) -> None:
    engine = Engine.load(folder, device="cpu", kv_memory=1 << 22)
    engine.sleep()
    engine.close()
    for ask in (engine.sleep, engine.wake, lambda: engine.is_asleep):
        with pytest.raises(EngineClosed):
            ask()


class Gate(Condition):
    """Has `meanwhile` happen as somebody waits for the first time."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self._meanwhile = [meanwhile]

    def wait(self, timeout: float | None = None) -> bool:
        while self._meanwhile:
            self._meanwhile.pop()()
        return super().wait(timeout)


def test_who_hands_in_while_the_last_turn_ends_is_answered_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine.load(folder, device="cpu", kv_memory=1 << 22) as engine:
        expected = engine.generate(ASKED[1], greedy(5))
        desk, late = engine._desk(), list[str]()
        turned, goes_on = Event(), Event()

        def hand_in() -> None:
            late.append(engine.submit(ASKED[1], greedy(5)))
            goes_on.set()

        def held_turn(turn: Callable[[], None] = desk._turn) -> None:
            turn()
            turned.set()
            assert goes_on.wait(PATIENCE)

        monkeypatch.setattr(desk, "_gate", Gate(hand_in))
        monkeypatch.setattr(desk, "_turn", held_turn)
        engine.submit(ASKED[0], greedy(1))
        turner = Thread(target=engine.step)
        turner.start()
        assert turned.wait(PATIENCE)
        engine.sleep()
        turner.join(PATIENCE)
        assert engine.is_asleep
        assert [token for update in engine.follow(late[0]) for token in update.token_ids] == list(expected.token_ids)


class Recorded(DeviceModel):
    """Read from files that are there for ever."""

    read = 0

    def again(self) -> Model:
        self.read += 1
        fresh = Recorded()
        fresh.scores = self.scores.clone()
        return fresh


def test_recorded_steps_are_recorded_anew_over_the_new_weights() -> None:
    model = Recorded()
    options = EngineOptions(kv_memory=256 * 64, page_size=4, batch_tokens=32, sequences=8)
    with Engine(model, options=options, again=[model.again]) as engine:
        decodes = recorded_engine(engine)
        for times in range(1, 3):
            assert list(engine.generate([1, 2, 3], greedy(30)).token_ids) == model.answer([1, 2, 3], 30)
            assert decodes.recorded == times
            assert decodes.replayed > 10 * times
            engine.sleep()
            model.scores[:] = torch.roll(model.scores, times, 0)  # so that old weights would be noticed


def test_from_any_thread(folder: Path) -> None:
    with Engine.load(folder, device="cpu", kv_memory=1 << 22) as engine:
        expected = said(engine)
        found: list[list[object]] = []

        def ask() -> None:
            found.extend(said(engine) for _ in range(3))

        threads = [Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            engine.sleep()
        assert found == [expected] * 6
