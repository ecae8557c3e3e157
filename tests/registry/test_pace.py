"""`--limit-rate`: bytes come no faster than that, all files of the process together, and evenly."""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from unillm.registry.amounts import read_rate
from unillm.registry.errors import SettingRefused
from unillm.registry.events import Event, Progress
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.sources import limited_pip
from unillm.registry.sources.pace import Pace, pace_of
from unillm.tests.support.fake_hub import FakeHub, Repo
from unillm.tests.support.tiny_models import original

SIZE = 1 << 20
RATE = 2_000_000


def seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def test_a_pull_takes_as_long_as_its_rate_says(hub: FakeHub, online: RegistrySettings) -> None:
    hub.repos["org/repo"] = Repo(original(size=SIZE))
    assert seconds(lambda: pull("org/repo", replace(online, limit_rate=RATE))) >= 0.95 * SIZE / RATE


def test_bytes_come_evenly(hub: FakeHub, online: RegistrySettings) -> None:
    hub.repos["org/repo"] = Repo(original(size=SIZE))
    done: list[int] = []

    def listener(event: Event) -> None:
        if isinstance(event, Progress) and event.file == "model.safetensors":
            done.append(event.done)

    pull("org/repo", replace(online, limit_rate=RATE), listener)
    assert max(after - before for before, after in pairwise(done)) <= RATE // 20


def test_two_pulls_at_once_share_the_rate(hub: FakeHub, online: RegistrySettings) -> None:
    names = ["org/one", "org/two"]
    for number, name in enumerate(names):
        hub.repos[name] = Repo(original(fill=number + 1, size=SIZE // 2))
    limited = replace(online, limit_rate=RATE + 1)  # a rate of this test's own

    def both() -> None:
        with ThreadPoolExecutor(2) as threads:
            assert len(list(threads.map(lambda name: pull(name, limited), names))) == 2

    assert seconds(both) >= 0.95 * SIZE / RATE


def test_the_process_has_one_pace_of_a_rate() -> None:
    assert pace_of(12345) is pace_of(12345)


def test_what_was_not_used_is_not_saved_up() -> None:
    pace = Pace(1_000_000)
    pace.take(1000)
    time.sleep(0.2)
    assert seconds(lambda: pace.take(100_000)) >= 0.09


def test_even_the_slowest_pace_takes_a_byte_at_once() -> None:
    assert Pace(1).portion == 1


@pytest.mark.parametrize(("text", "rate"), [("5M", 5_000_000), ("500 kB", 500_000), ("1.5MB", 1_500_000), ("9", 9)])
def test_a_rate_is_read_as_any_amount(text: str, rate: int) -> None:
    assert read_rate(text) == rate
    assert RegistrySettings.from_environment({"UNILLM_LIMIT_RATE": text, "HOME": "/"}).limit_rate == rate


@pytest.mark.parametrize("text", ["0", "fast", "-5M", "5M/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(SettingRefused, match="UNILLM_LIMIT_RATE"):
        RegistrySettings.from_environment({"UNILLM_LIMIT_RATE": text})


RECEIVER = """
import runpy, sys, time
limit = runpy.run_path(sys.argv[1])["limit"]
limit(int(sys.argv[2]))
import urllib.request
started = time.monotonic()
print(len(urllib.request.urlopen(sys.argv[3]).read()), time.monotonic() - started)
"""


def test_a_limited_pip_receives_no_faster(hub: FakeHub) -> None:
    hub.repos["org/repo"] = Repo({"README.md": bytes(SIZE)})
    address = f"{hub.endpoint}/org/repo/resolve/main/README.md"
    words = [sys.executable, "-c", RECEIVER, str(Path(limited_pip.__file__)), str(RATE), address]
    size, took = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert int(size) == SIZE
    assert float(took) >= 0.95 * SIZE / RATE


def test_a_limited_pip_is_still_pip() -> None:
    words = [sys.executable, "-P", str(Path(limited_pip.__file__)), "1000000", "--version"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.startswith("pip ")
