"""Whatever dies, whoever waited hears of it, and what died comes back; nothing is left of it."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import psutil
import pytest

from unillm.runtime.engine import Engine
from unillm.runtime.hosting.asking import Ask, HostError
from unillm.runtime.params import SamplingParams
from unillm.tests.support.hosts import Hosted, asked, hosting, said, until
from unillm.tests.support.talking import talking_model

ENDLESS = SamplingParams(temperature=0, max_tokens=50_000, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking_model(tmp_path_factory.mktemp("model") / "talker", context=65536)


@pytest.fixture(scope="module")
def hosted(folder: Path) -> Iterator[Hosted]:
    with hosting({"m": folder, "n": folder}, keep_alive=-1) as hosted:
        hosted.do(hosted.host.load("m"))
        yield hosted


@pytest.fixture(autouse=True)
def is_well(hosted: Hosted) -> None:
    until(lambda: "m" in hosted.names())


def engine_of(hosted: Hosted) -> int:
    return hosted.host.pids[-1]


def text_of(hosted: Hosted) -> int:
    return hosted.host.pids[0]


async def _broken(hosted: Hosted, pid: int) -> tuple[str, float]:
    """What a running request hears when the process is killed under it, and after how many seconds."""
    killed = 0.0
    async for piece in hosted.host.ask(Ask(model="m", text="Once", params=ENDLESS)):
        if piece.fault is not None:
            return piece.fault.kind, monotonic() - killed
        if piece.text and not killed:
            killed = monotonic()
            os.kill(pid, signal.SIGKILL)
    return "ended", 0.0


def test_an_engine_that_is_killed_breaks_off_what_it_did_and_is_started_anew(hosted: Hosted) -> None:
    """SV-24: within two seconds the request hears of it, health says so, and then the model answers again."""
    before, pid = hosted.text(asked("m")), engine_of(hosted)
    kind, took = hosted.do(_broken(hosted, pid))
    assert (kind, took < 2) == ("unavailable", True)
    until(lambda: hosted.do(hosted.host.health()).state == "loading", 2)
    until(lambda: hosted.do(hosted.host.health()).state == "ready")
    assert hosted.text(asked("m")) == before
    assert engine_of(hosted) != pid
    assert not psutil.pid_exists(pid)


def test_a_text_process_that_is_killed_breaks_off_what_it_told_and_is_replaced(hosted: Hosted) -> None:
    before, pid = hosted.text(asked("m")), text_of(hosted)
    kind, took = hosted.do(_broken(hosted, pid))
    assert (kind, took < 2) == ("unavailable", True)
    assert hosted.text(asked("m")) == before  # it waits for the other one
    assert text_of(hosted) != pid
    assert not psutil.pid_exists(pid)


def test_who_leaves_ends_its_request_and_its_pages_are_free_again(hosted: Hosted) -> None:
    """SV-18"""

    async def leave() -> None:
        pieces = hosted.host.ask(Ask(model="m", text="Once", params=ENDLESS))
        async for piece in pieces:
            if piece.text:
                break
        await pieces.aclose()  # type: ignore[attr-defined]

    async def leave_all() -> None:
        await asyncio.gather(*(leave() for _ in range(8)))

    hosted.do(leave_all())

    def is_quiet() -> bool:
        now = hosted.do(hosted.host.metrics())["m"]
        return (now["running"], now["waiting"], now["sequence_pages"]) == (0, 0, 0)

    until(is_quiet, 10)


@pytest.mark.parametrize("count", [16, pytest.param(64, marks=pytest.mark.slow)])
def test_streams_at_once_say_what_an_engine_alone_says(hosted: Hosted, folder: Path, count: int) -> None:
    """SV-17"""
    prompts = [f"{'word ' * place}number {place}" for place in range(count)]

    async def all_of_them() -> list[str]:
        return list(await asyncio.gather(*(_text(hosted, prompt) for prompt in prompts)))

    told = hosted.do(all_of_them())
    with Engine.load(folder) as engine:
        alone = [engine.generate(prompt, SamplingParams(temperature=0, max_tokens=24)).text for prompt in prompts]
    assert told == alone


def test_a_prompt_of_megabytes_holds_up_no_other_request(hosted: Hosted) -> None:
    async def both() -> tuple[bool, object]:
        long = asyncio.ensure_future(_text(hosted, "word " * 800_000))
        await asyncio.sleep(0.05)
        began = monotonic()
        await _text(hosted, "short")
        held_up = long.done() and monotonic() - began > 1
        return held_up, (await asyncio.gather(long, return_exceptions=True))[0]

    held_up, outcome = hosted.do(both())
    assert not held_up
    assert isinstance(outcome, HostError)
    assert outcome.fault.kind == "too_long"


def test_an_engine_that_stands_still_is_said_to_and_goes_on(folder: Path) -> None:
    """SV-25: work that makes no progress is told of, and told of no more when it goes on."""
    with hosting({"m": folder}, keep_alive=-1, stalled_after=0.5) as stalling:
        stalling.do(stalling.host.load("m"))
        stalling.host.open()
        until(lambda: stalling.do(stalling.host.health()).state == "ready")
        os.kill(engine_of(stalling), signal.SIGSTOP)
        until(lambda: stalling.do(stalling.host.health()).state == "stalled", 20)
        os.kill(engine_of(stalling), signal.SIGCONT)
        until(lambda: stalling.do(stalling.host.health()).state == "ready", 20)
        assert stalling.text(asked("m"))


def test_no_process_but_the_engine_has_loaded_torch(hosted: Hosted) -> None:
    assert "libtorch" in Path(f"/proc/{engine_of(hosted)}/maps").read_text()
    assert "libtorch" not in Path(f"/proc/{text_of(hosted)}/maps").read_text()


def test_a_ctrl_c_is_not_for_the_children(hosted: Hosted) -> None:
    pids = hosted.host.pids
    for pid in pids:
        assert os.getpgid(pid) != os.getpgid(0)
        os.kill(pid, signal.SIGINT)
    assert hosted.text(asked("m"))
    assert hosted.host.pids == pids


@pytest.mark.slow
def test_an_engine_that_dies_all_the_time_is_left_alone(folder: Path) -> None:
    """A48"""
    with hosting({"m": folder}) as hosted:
        hosted.do(hosted.host.load("m"))
        for _ in range(3):
            until(lambda: "m" in hosted.names())
            os.kill(engine_of(hosted), signal.SIGKILL)
            until(lambda: "m" not in hosted.names())
        with pytest.raises(HostError) as caught:
            hosted.text(asked("m"))
        assert caught.value.fault.retry_after
        health = hosted.do(hosted.host.health())
        assert (health.state, [one.state for one in health.models]) == ("failed", ["failed"])


def test_a_host_that_drains_lets_end_what_runs_and_refuses_what_is_new(folder: Path) -> None:
    """SV-23, and nothing is left: no process, no thread, no folder."""
    threads = threading.active_count()
    hosted = hosting({"m": folder})
    with hosted as there:
        there.do(there.host.load("m"))
        pids, place = there.host.pids, Path(there.host._addresses.new().path).parent

        async def drained() -> tuple[str, str]:
            pieces = there.host.ask(asked("m", max_tokens=300))
            first = await anext(pieces)
            draining = asyncio.ensure_future(there.host.drain(30))
            await asyncio.sleep(0)
            try:
                await _text(there, "late")
                refused = "nothing"
            except HostError as error:
                refused = error.fault.kind
            rest = [piece async for piece in pieces]
            await draining
            return said([first, *rest]), refused

        text, refused = there.do(drained())
        assert (len(text) > 20, refused) == (True, "unavailable")
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert not place.exists()
    until(lambda: threading.active_count() <= threads, 5)


async def _text(hosted: Hosted, prompt: str) -> str:
    return said([piece async for piece in hosted.host.ask(asked("m", prompt, max_tokens=24))])
