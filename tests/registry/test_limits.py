"""A store that may not grow, may not be written, or is made by somebody careless."""

import ctypes
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from unillm.registry.errors import DiskFull
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.tests.support.fake_hub import FakeHub, Repo
from unillm.tests.support.tiny_models import original
from unillm.unillm_cli.errors import report

linux = pytest.mark.skipif(sys.platform != "linux", reason="takes rights away as Linux does")
MAIN = "import sys; from unillm.unillm_cli.app import main; sys.exit(main(sys.argv[1:]))"
LOAD = (
    "import os; from unillm.registry.locate import locate; from unillm.registry.settings import RegistrySettings;"
    "print(locate('org/repo', RegistrySettings.from_environment(), pull_missing=False).weights[0].stat().st_size)"
)


@pytest.fixture(autouse=True)
def repo(hub: FakeHub) -> Repo:
    hub.repos["org/repo"] = Repo(original(size=4 << 20))
    return hub.repos["org/repo"]


def process(
    settings: RegistrySettings, *words: str, limits: Callable[[], object] | None = None, code: str = MAIN
) -> subprocess.CompletedProcess[str]:
    places = {"UNILLM_HOME": str(settings.home), "HF_HUB_CACHE": str(settings.cache_dir)}
    environ = {**os.environ, **places, "HF_ENDPOINT": settings.endpoint, "UNILLM_CONFIG": "/none.toml"}
    command = [sys.executable, "-c", code, *words]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, preexec_fn=limits)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_model_that_is_too_large_is_refused_before_anything_is_fetched(
    hub: FakeHub, repo: Repo, online: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ST-23: 20 MB, and 8 MB are free."""

    def enlarge(listing: dict[str, object]) -> None:
        siblings = listing["siblings"]
        assert isinstance(siblings, list)
        next(one for one in siblings if one["rfilename"] == "model.safetensors")["lfs"]["size"] = 20_000_000

    repo.change = enlarge
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**9, 0, 8_000_000))
    with pytest.raises(DiskFull, match=r"has 8\.0 MB free, 20\.0 MB are needed") as caught:
        pull("org/repo", online)
    assert report(caught.value).code == 6
    assert hub.bodies() == []


def at_most_a_megabyte() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


@linux
def test_a_file_that_may_not_grow_is_told_and_goes_on_later(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-23: what came before the limit is kept."""
    ran = process(online, "pull", "org/repo", limits=at_most_a_megabyte)
    assert ran.returncode == 1
    assert "model" in ran.stderr or "incomplete" in ran.stderr
    assert "cannot be written: File too large" in ran.stderr
    assert Shelf(online).entries() == []
    hub.sent = 0
    assert Shelf(online).verify(pull("org/repo", online)) == []
    assert hub.sent < 4 << 20


def without_power_over_files() -> None:
    """Even root then may only what the mode of a file lets its owner do."""
    drop_from_bounding_set, override, read_search = 24, 1, 2
    for capability in (override, read_search):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


@pytest.fixture
def read_only(online: RegistrySettings) -> Iterator[RegistrySettings]:
    """A store with a model in which nothing may be written."""
    pull("org/repo", online)
    folders = [online.home, online.cache_dir]
    every = [path for folder in folders for path in (folder, *folder.rglob("*")) if not path.is_symlink()]
    modes = {path: path.stat().st_mode for path in every}
    for path in every:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield online
    for path, mode in modes.items():
        path.chmod(mode)


@linux
def test_a_store_that_is_only_read_serves_what_it_has(hub: FakeHub, read_only: RegistrySettings) -> None:
    """ST-24: listing, telling, verifying and loading work; what would write says why it cannot, at once."""
    hub.repos["org/other"] = Repo(original(fill=7))
    before = len(hub.bodies())
    for words in (["models"], ["show", "org/repo"], ["verify"], ["prune", "--dry-run"]):
        ran = process(read_only, *words, limits=without_power_over_files)
        assert ran.returncode == 0, ran.stderr
    assert process(read_only, limits=without_power_over_files, code=LOAD).stdout.strip().isdigit()
    for words in (["pull", "org/other"], ["rm", "org/repo"], ["cp", "org/repo", "mine"], ["prune"]):
        ran = process(read_only, *words, limits=without_power_over_files)
        assert ran.returncode == 1, words
        assert "cannot be written: Permission denied" in ran.stderr
        assert "UNILLM_HOME" in ran.stderr
    assert len(hub.bodies()) == before


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nothing_of_ours_can_be_written_by_all_the_world(online: RegistrySettings, tmp_path: Path, umask: int) -> None:
    """ST-34: whatever the umask takes away stays away, and writing by others always goes."""
    before = os.umask(umask)
    try:
        entry = pull("org/repo", online)
        Shelf(online).copy(entry, entry.sound.ref.parse("mine:v1"))
    finally:
        os.umask(before)
    places = [path for path in tmp_path.rglob("*") if not path.is_symlink()]
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in places}
    assert modes
    assert [path for path, mode in modes.items() if mode & (umask | 0o002)] == []


@pytest.mark.slow
def test_a_token_is_written_nowhere(online: RegistrySettings, tmp_path: Path) -> None:
    """ST-34: whoever only reads the environment has no file to guard."""
    ran = subprocess.run(
        [sys.executable, "-c", MAIN, "pull", "org/repo", "--json"],
        env={
            **os.environ,
            "UNILLM_HOME": str(online.home),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": online.endpoint,
            "HF_TOKEN": "hf_verysecret",
            "UNILLM_CONFIG": "/none.toml",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(ran.stdout)["models"][0]["name"] == "org/repo"
    assert "hf_verysecret" not in ran.stdout + ran.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"hf_verysecret" in path.read_bytes() for path in files)
