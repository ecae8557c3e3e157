"""Models come when they are asked for, stay a while, make room for others, and are refused with numbers."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import psutil
import pytest

from unillm.registry.files import ModelFiles
from unillm.registry.names import ModelRef
from unillm.registry.sources.local import files_in_place
from unillm.runtime.hosting.asking import Ask, HostError
from unillm.runtime.hosting.room import need_of
from unillm.tests.support.hosts import Hosted, asked, hosting, said, together, until
from unillm.tests.support.talking import talking_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    return {name: talking_model(place / name, seed=seed) for seed, name in enumerate("abc")}


@pytest.fixture(scope="module")
def two(folders: dict[str, Path]) -> Iterator[Hosted]:
    """A host with room for two of these models at a time, whose engines compute two requests at once."""
    one = need_of(_files(folders["a"])).least
    with hosting(folders, memory=int(one * 2.2), max_queue=3, engine={"sequences": 2}) as hosted:
        yield hosted


def _files(folder: Path) -> ModelFiles:
    return files_in_place(ModelRef.parse(str(folder)))


@pytest.fixture(autouse=True)
def nothing_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "two" in request.fixturenames:
        hosted: Hosted = request.getfixturevalue("two")
        for name in list(hosted.names()):
            hosted.do(hosted.host.unload(name))


@pytest.mark.slow
def test_several_requests_for_a_model_that_is_not_there_share_one_loading(two: Hosted) -> None:
    """A48"""
    before = two.do(two.host.metrics())[""]["loads"]

    answers = two.do(together(*(_text(two, "a") for _ in range(4))))
    assert answers == [two.text(asked("a"))] * 4
    assert two.do(two.host.metrics())[""]["loads"] == before + 1


@pytest.mark.slow
def test_the_first_piece_tells_how_long_loading_took_and_later_ones_that_it_took_nothing(two: Hosted) -> None:
    """A48"""
    cold, warm = two.pieces(asked("a")), two.pieces(asked("a"))
    assert cold[0].load_seconds > 0.2 > warm[0].load_seconds
    assert cold[0].prompt_tokens
    assert warm[-1].usage is not None


@pytest.mark.slow
def test_a_model_stays_as_long_as_its_request_wished(two: Hosted) -> None:
    """A48"""
    two.text(Ask(model="a", text="x", params=asked("a").params, keep_alive=0.3))
    assert two.names() == {"a"}
    until(lambda: not two.names(), 10)


@pytest.mark.slow
def test_keep_alive_0_lets_it_go_at_once_and_a_negative_one_keeps_it_for_ever(two: Hosted) -> None:
    two.text(Ask(model="a", text="x", params=asked("a").params, keep_alive=0))
    until(lambda: not two.names(), 5)
    two.do(two.host.load("a", keep_alive=-1))
    (resident,) = two.do(two.host.residents())
    assert resident.expires is None


def test_who_leaves_while_a_model_is_loaded_ends_no_loading(two: Hosted) -> None:
    """A48: the next one finds it."""
    before = two.do(two.host.metrics())[""]["loads"]

    async def leave() -> bool:
        import asyncio

        asking = asyncio.ensure_future(_text(two, "a"))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return asking.cancelled()

    assert two.do(leave())
    assert two.text(asked("a"))
    assert two.do(two.host.metrics())[""]["loads"] == before + 1


def test_who_comes_as_a_model_goes_has_it_loaded_anew(two: Hosted) -> None:
    """Nobody is given a model that is on its way out, and nobody waits for more than a loading."""

    async def one_after_another() -> list[str]:
        question = Ask(model="a", text="x", params=asked("a").params, keep_alive=0)
        return [said([piece async for piece in two.host.ask(question)]) for _ in range(3)]

    assert len(set(two.do(one_after_another(), timeout=60))) == 1


@pytest.mark.slow
def test_models_that_come_and_go_all_the_time_are_always_there_for_who_asks(two: Hosted) -> None:
    """A19: three models where two find room, asked in every order; nobody waits for more than some loadings."""
    expected = {name: two.text(asked(name)) for name in "abc"}
    waits = list[float]()

    async def client(seed: int) -> list[object]:
        import asyncio

        random, wrong = Random(seed), list[object]()
        for _ in range(12):
            name, began = random.choice("abc"), monotonic()
            question = Ask(model=name, text="Once", params=asked(name).params, keep_alive=random.choice((0, 0, 0.1, 5)))
            try:
                text = said([piece async for piece in two.host.ask(question)])
                await two.host.residents()
            except HostError as error:
                wrong.append(error.fault)
            else:
                wrong += [] if text == expected[name] else [text]
            waits.append(monotonic() - began)
            await asyncio.sleep(random.choice((0, 0, 0.2)))
        return wrong

    assert two.do(together(*(client(seed) for seed in range(3))), timeout=400) == [[], [], []]
    assert max(waits) < 60


def test_the_idle_one_with_the_shortest_life_makes_room(two: Hosted) -> None:
    """A48"""
    two.do(two.host.load("a", keep_alive=500))
    two.do(two.host.load("b", keep_alive=5))
    two.do(two.host.load("c"))
    assert two.names() == {"a", "c"}


@pytest.mark.slow
def test_a_pinned_model_makes_no_room_until_it_is_let_off(two: Hosted) -> None:
    for name in "ab":
        two.do(two.host.load(name))
        assert two.do(two.host.pin(name, pinned=True))
    with pytest.raises(HostError) as caught:
        two.do(two.host.load("c"))
    fault = caught.value.fault
    assert fault.kind == "no_memory"
    assert fault.numbers["needed"] > fault.numbers["available"]
    two.do(two.host.pin("a", pinned=False))
    two.do(two.host.load("c"))
    assert two.names() == {"b", "c"}
    two.do(two.host.pin("b", pinned=False))


@pytest.mark.slow
def test_who_finds_all_busy_waits_until_one_is_not(two: Hosted) -> None:
    async def crowded() -> list[object]:
        import asyncio

        busy = [asyncio.ensure_future(_text(two, name, max_tokens=400)) for name in "ab"]
        await asyncio.sleep(0)
        return await together(*busy, _text(two, "c"))

    assert all(isinstance(answer, str) for answer in two.do(crowded()))
    assert "c" in two.names()


@pytest.mark.slow
def test_a_model_that_could_never_fit_is_refused_with_numbers(folders: dict[str, Path]) -> None:
    with hosting(folders, memory=1 << 20) as hosted, pytest.raises(HostError) as caught:
        hosted.text(asked("a"))
    assert caught.value.fault.kind == "no_memory"
    assert caught.value.fault.numbers["available"] == 1 << 20


def test_a_longer_context_than_the_model_has_loads_it_anew(two: Hosted) -> None:
    """A48"""
    assert two.do(two.host.load("a", context=64)).context == 64
    assert two.do(two.host.load("a", context=32)).context == 64
    assert two.do(two.host.load("a", context=256)).context == 256


def test_a_context_beyond_what_the_model_was_trained_for_is_refused_and_the_model_stays(two: Hosted) -> None:
    """A48"""
    two.do(two.host.load("a"))
    pid = two.host.pids[-1]
    with pytest.raises(HostError) as caught:
        two.do(two.host.load("a", context=100_000))
    assert (caught.value.fault.kind, caught.value.fault.field) == ("invalid", "context")
    assert pid in two.host.pids


def test_who_finds_no_place_in_line_is_told_at_once_when_to_come_back(two: Hosted) -> None:
    """SV-20: two are computed, three wait, the rest is refused, before the model is even loaded."""
    answers = two.do(together(*(_text(two, "a", max_tokens=60) for _ in range(20))))
    refused = [one.fault for one in answers if isinstance(one, HostError)]
    assert (len(refused), len(answers) - len(refused)) == (15, 5)
    assert {fault.kind for fault in refused} == {"busy"}
    assert all(fault.retry_after for fault in refused)


@pytest.mark.slow
def test_who_stands_in_line_is_told_where(two: Hosted) -> None:
    two.do(two.host.load("a"))

    async def three() -> list[list[object]]:
        return await together(*(_pieces(two, "a", max_tokens=100) for _ in range(4)))

    assert [pieces[0].queued for pieces in two.do(three())] == [0, 0, 0, 1]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_loaded_model_answers_while_another_one_is_loaded(two: Hosted) -> None:
    two.do(two.host.load("a"))

    async def both() -> tuple[bool, object]:
        import asyncio

        loading = asyncio.ensure_future(two.host.load("b"))
        await asyncio.sleep(0.05)
        await _text(two, "a")
        return loading.done(), await loading

    loaded_already, _ = two.do(both())
    assert not loaded_already


def test_a_name_that_is_none_is_a_fault(two: Hosted) -> None:
    with pytest.raises(HostError) as caught:
        two.text(asked("nobody"))
    assert caught.value.fault.kind == "not_found"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("config.json", "{}", marks=pytest.mark.slow),
        ("model.safetensors", "xxxxxxxx" * 4),
        pytest.param("tokenizer.json", "[", marks=pytest.mark.slow),
    ],
)
def test_a_model_that_cannot_be_loaded_is_named_and_leaves_nothing(
    two: Hosted, tmp_path: Path, name: str, content: str
) -> None:
    folder = talking_model(tmp_path / "broken one")
    (folder / name).write_text(content)
    two.folders["broken"] = folder
    with pytest.raises(HostError) as caught:
        two.text(asked("broken"))
    told = f"{caught.value.fault.message} {caught.value.fault.hint}"
    assert "broken" in caught.value.fault.message
    assert str(tmp_path) not in told
    assert "/" not in told
    assert not [one for one in two.do(two.host.residents()) if one.name == "broken"]
    assert two.do(two.host.metrics())[""]["models"] == len(two.names())


@pytest.mark.slow
def test_a_model_that_only_embeds_is_refused_by_its_class(two: Hosted, tmp_path: Path) -> None:
    """A22: there are none here."""
    folder = talking_model(tmp_path / "embedder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"], "model_type": "bert"}))
    two.folders["embedder"] = folder
    with pytest.raises(HostError, match="BertModel") as caught:
        two.do(two.host.embed("embedder", ["cat", "kitten", "dog"], truncate=True, keep_alive=None))
    assert caught.value.fault.field == "model"


@pytest.mark.slow
def test_what_is_reserved_for_a_model_covers_what_its_process_holds(two: Hosted) -> None:
    two.do(two.host.load("a"))
    two.text(asked("a", max_tokens=200))
    reserved = two.do(two.host.metrics())[""]["memory_reserved_bytes"]
    held = psutil.Process(two.host.pids[-1]).memory_full_info().uss
    assert held < reserved


async def _pieces(hosted: Hosted, model: str, **changes: Any) -> list[object]:
    return [piece async for piece in hosted.host.ask(asked(model, **changes))]


async def _text(hosted: Hosted, model: str, **changes: Any) -> str:
    return said(await _pieces(hosted, model, **changes))  # type: ignore[arg-type]
