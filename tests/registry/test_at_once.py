"""Several at once in one store: each byte is fetched once, nobody waits for the dead, nobody breaks another's model."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from unillm.registry.digests import Digest
from unillm.registry.errors import FileMissing, NotInstalled, RegistryError, StoreBusy
from unillm.registry.hub_cache import CachedRepo
from unillm.registry.names import ModelRef
from unillm.registry.prune import prune
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.tests.support.fake_hub import FakeHub, Fault, Repo, sha256
from unillm.tests.support.tiny_models import original

MAIN = "import sys; from unillm.unillm_cli.app import main; sys.exit(main(sys.argv[1:]))"
HOLD = """
import sys, time
from contextlib import ExitStack
from pathlib import Path
from unillm.registry.store import held
with ExitStack() as stack:
    for lock in sys.argv[1:]:
        stack.enter_context(held(Path(lock)))
    print("held", flush=True)
    time.sleep(60)
"""


def whole(hub: FakeHub) -> int:
    return sum(len(data) for data in hub.repos["org/repo"].files.values())


@pytest.fixture(autouse=True)
def repo(hub: FakeHub) -> Repo:
    hub.repos["org/repo"] = Repo(original(size=2 << 20))
    return hub.repos["org/repo"]


def test_two_processes_fetch_each_byte_once(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-25."""
    environ = {
        **os.environ,
        "UNILLM_HOME": str(online.home),
        "HF_HUB_CACHE": str(online.cache_dir),
        "HF_ENDPOINT": hub.endpoint,
        "UNILLM_CONFIG": "/none.toml",
    }
    command = [sys.executable, "-c", MAIN, "pull", "org/repo"]
    pulls = [subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(one.communicate(timeout=60)[1], one.returncode) for one in pulls]
    assert [code for _, code in ended] == [0, 0], ended
    assert hub.sent < 1.1 * whole(hub)
    assert Shelf(online).verify(Shelf(online).entries()[0]) == []


def test_eight_models_of_the_same_files_fetch_them_once(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-25."""
    with ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(lambda number: pull("org/repo", online, name=f"name{number}"), range(8)))
    assert hub.sent < 1.1 * whole(hub)
    assert len({entry.sound.id for entry in entries}) == 1
    assert len(Shelf(online).entries()) == 8


def in_turns(work: Callable[[], object], *, against: Callable[[], object], for_seconds: float) -> set[str]:
    """Both again and again; what each said, of what may be said."""
    said: set[str] = set()
    until = time.monotonic() + for_seconds

    def keep_at(one: Callable[[], object]) -> None:
        while time.monotonic() < until:
            try:
                one()
            except (StoreBusy, NotInstalled, FileMissing) as error:
                said.add(type(error).__name__)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(keep_at, work), pool.submit(keep_at, against)]:
            done.result(timeout=60)
    return said


def remove(settings: RegistrySettings) -> None:
    shelf = Shelf(settings)
    shelf.remove(shelf.need(ModelRef.parse("org/repo")))


AGAINST: dict[str, Callable[[RegistrySettings], object]] = {
    "rm": remove,
    "prune": lambda settings: prune(settings, partial=True),
    "another pull": lambda settings: pull("org/repo", settings),
}


@pytest.mark.parametrize("against", AGAINST)
def test_a_pull_and_whatever_else_end_well(hub: FakeHub, online: RegistrySettings, repo: Repo, against: str) -> None:
    """ST-25: each succeeds, or says that the store is busy or the model not there; what is left is whole."""
    repo.files.update(original(size=4096))
    pull("org/repo", online)
    said = in_turns(lambda: pull("org/repo", online), against=lambda: AGAINST[against](online), for_seconds=0.5)
    assert said <= {"StoreBusy", "NotInstalled", "FileMissing"}
    shelf = Shelf(online)
    assert all(shelf.verify(entry) == [] for entry in shelf.entries())
    assert Shelf(online).verify(pull("org/repo", online)) == []
    assert hub.sent > 0


def test_a_prune_takes_nothing_from_who_runs(online: RegistrySettings, repo: Repo) -> None:
    """ST-25: a model is made ready again and again while everything unused goes."""
    repo.files.update(original(size=4096))
    entry = pull("org/repo", online)
    said = in_turns(lambda: Shelf(online).ready(entry), against=lambda: prune(online, partial=True), for_seconds=0.3)
    assert said == set()


def test_nobody_waits_for_the_dead(online: RegistrySettings, repo: Repo) -> None:
    """ST-25: who is killed while he holds the locks of the store and of a file holds nothing any more."""
    digest = Digest("sha256", sha256(repo.files["model.safetensors"]))
    locks = [CachedRepo(online.cache_dir, "org/repo").lock(digest), online.home / "locks" / "store.lock"]
    command = [sys.executable, "-c", HOLD, *map(str, locks), str(online.home / "locks" / "working-0.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder, ThreadPoolExecutor(1) as pool:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        pulled = pool.submit(pull, "org/repo", online)
        time.sleep(0.2)
        assert not pulled.done()
        os.kill(holder.pid, signal.SIGKILL)
        assert Shelf(online).verify(pulled.result(timeout=10)) == []
    prune(online)


def test_a_failed_pull_leaves_no_lock(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-25."""
    hub.faults = {"model.safetensors": [Fault("flip", times=9)]}
    with pytest.raises(RegistryError):
        pull("org/repo", online)
    hub.faults = {}
    assert pull("org/repo", online)
    assert not list(Path(online.home / "locks").glob("working-*"))
