"""Lock files: which models, to the byte, and the same ones again elsewhere."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unillm.registry.create import create
from unillm.registry.errors import (
    ChecksumMismatch,
    FormatError,
    LockFileError,
    NotLockable,
    OfflineMode,
    RegistryError,
)
from unillm.registry.lockfile import lock, read_lock, sync
from unillm.registry.manifest import HubOrigin
from unillm.registry.modelfile import parse_modelfile
from unillm.registry.names import ModelRef
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Entry, Shelf
from unillm.tests.registry.conftest import Heard
from unillm.tests.support.fake_hub import COMMIT, FakeHub, Repo, sha256
from unillm.tests.support.tiny_models import original


@pytest.fixture
def entry(hub: FakeHub, online: RegistrySettings) -> Entry:
    hub.repos["org/repo"] = Repo(original())
    recipe = parse_modelfile(Path("Modelfile"), "FROM org/repo\nSYSTEM Arr!\nPARAMETER seed 1\nLICENSE MIT")
    return create("mine", recipe, online)


@pytest.fixture
def file(entry: Entry, tmp_path: Path) -> Path:
    lock([entry], tmp_path / "unillm.lock")
    return tmp_path / "unillm.lock"


@pytest.fixture
def elsewhere(online: RegistrySettings, tmp_path: Path) -> RegistrySettings:
    return replace(online, home=tmp_path / "else" / "home", cache_dir=tmp_path / "else" / "hf")


def restored(file: Path, settings: RegistrySettings, heard: Heard | None = None) -> Entry:
    (one,) = read_lock(file, settings)
    return sync(one, settings, heard if heard is not None else Heard())


def test_a_lock_file_has_the_commit_and_every_checksum_and_nothing_of_this_machine(
    hub: FakeHub, file: Path, tmp_path: Path
) -> None:
    (model,) = json.loads(file.read_text())["models"]
    assert model["origin"] == {"kind": "hub", "repo": "org/repo", "commit": COMMIT, "revision": None}
    files = hub.repos["org/repo"].files
    assert {one["name"]: one["sha256"] for one in model["files"]} == {
        one["name"]: sha256(files[one["name"]]) for one in model["files"]
    }
    assert str(tmp_path) not in file.read_text()
    assert hub.endpoint not in file.read_text()


def test_the_same_models_make_the_same_lock_file(entry: Entry, file: Path) -> None:
    before = file.read_bytes()
    lock([entry], file)
    assert file.read_bytes() == before


def test_another_machine_has_exactly_that_model_then(
    hub: FakeHub, entry: Entry, file: Path, elsewhere: RegistrySettings
) -> None:
    hub.repos["org/repo"].branches = frozenset()
    hub.asked.clear()
    there = restored(file, elsewhere)
    assert there.sound.id == entry.sound.id
    assert (there.sound.system, there.sound.parameters, there.sound.terms) == ("Arr!", {"seed": 1}, "MIT")
    assert there.sound.origin == HubOrigin("org/repo", COMMIT, hub.endpoint, elsewhere.cache_dir)
    assert Shelf(elsewhere).verify(there) == []
    assert not [one for one in hub.asked if one.path.startswith("/api/")]
    assert all(f"/resolve/{COMMIT}/" in one or "/elsewhere/" in one for one in hub.bodies())


def test_what_is_here_already_is_not_fetched(hub: FakeHub, entry: Entry, file: Path, online: RegistrySettings) -> None:
    hub.asked.clear()
    heard = Heard()
    assert restored(file, online, heard) == entry
    assert heard.notices() == ["mine:latest is here already"]
    assert hub.asked == []


def test_another_model_of_that_name_gives_way_and_others_stay(
    hub: FakeHub, entry: Entry, file: Path, online: RegistrySettings
) -> None:
    hub.repos["org/repo"] = Repo(original(fill=5), commit="f" * 40)
    newer = pull("org/repo", online)
    create("mine", parse_modelfile(Path("Modelfile"), "FROM org/repo\nSYSTEM other"), online)
    hub.repos["org/repo"] = Repo(original())
    assert restored(file, online).sound.id == entry.sound.id
    assert Shelf(online).need(ModelRef.parse("org/repo")).sound.id == newer.sound.id


def test_a_missing_file_is_fetched_again(entry: Entry, file: Path, online: RegistrySettings) -> None:
    entry.files().weights[0].resolve().unlink()
    assert Shelf(online).verify(restored(file, online)) == []


def test_offline_only_what_is_here_can_be_restored(
    file: Path, online: RegistrySettings, elsewhere: RegistrySettings
) -> None:
    restored(file, replace(online, offline=True))
    with pytest.raises(OfflineMode):
        restored(file, replace(elsewhere, offline=True))


def test_a_hub_that_has_changed_the_bytes_is_refused(hub: FakeHub, file: Path, elsewhere: RegistrySettings) -> None:
    hub.repos["org/repo"].files["model.safetensors"] = original(fill=3)["model.safetensors"]
    with pytest.raises(ChecksumMismatch):
        restored(file, elsewhere)
    assert Shelf(elsewhere).entries() == []


def test_what_only_this_machine_has_cannot_be_locked(settings: RegistrySettings, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    for name, data in original().items():
        (tmp_path / "weights" / name).write_bytes(data)
    entry = pull(f"{tmp_path}/weights/", settings, name="mine")
    with pytest.raises(NotLockable, match="mine:latest"):
        lock([entry], tmp_path / "x.lock")
    assert not (tmp_path / "x.lock").exists()


def test_a_damaged_model_is_not_locked(entry: Entry, tmp_path: Path) -> None:
    path = entry.files().files["config.json"].resolve()
    path.write_bytes(path.read_bytes().replace(b"4096", b"4097"))
    with pytest.raises(ChecksumMismatch):
        lock([entry], tmp_path / "x.lock")


def _set(place: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *way, last = place.split(".")
        inner: Any = content
        for step in way:
            inner = inner[int(step) if step.isdigit() else step]
        inner[last] = value

    return change


@pytest.mark.parametrize(
    ("place", "value", "error"),
    [
        ("schema", 99, LockFileError),
        ("schema", "1", LockFileError),
        ("models", {}, LockFileError),
        ("models", ["x"], LockFileError),
        ("models.0.name", "../../x", LockFileError),
        ("models.0.origin.commit", "../../x", LockFileError),
        ("models.0.origin.repo", "../../x", LockFileError),
        ("models.0.origin", {"kind": "place", "folder": "/etc"}, LockFileError),
        ("models.0.files.0.name", "../../escape", LockFileError),
        ("models.0.files.0.digest", "sha256:../x", LockFileError),
        ("models.0.files.0.sha256", "x", LockFileError),
        ("models.0.files.0.sha256", "0" * 64, ChecksumMismatch),
        ("models.0.files.1.sha256", "0" * 64, ChecksumMismatch),
    ],
)
def test_a_lock_file_that_lies_installs_nothing(
    file: Path, elsewhere: RegistrySettings, place: str, value: object, error: type[RegistryError]
) -> None:
    content = json.loads(file.read_text())
    _set(place, value)(content)
    file.write_text(json.dumps(content))
    with pytest.raises(error):
        restored(file, elsewhere)
    assert Shelf(elsewhere).entries() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"schema": 1}'])
def test_what_is_no_lock_file_is_called_so(settings: RegistrySettings, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.lock").write_text(text)
    with pytest.raises(LockFileError):
        read_lock(tmp_path / "x.lock", settings)
    with pytest.raises(LockFileError, match="there is no such file"):
        read_lock(tmp_path / "none", settings)
    with pytest.raises(FormatError):
        read_lock(tmp_path, settings)
