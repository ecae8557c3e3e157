"""The plug is pulled in the middle of every operation: what is listed is whole, and nothing is left for ever."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unillm.registry.brought import Brought
from unillm.registry.create import create
from unillm.registry.modelfile import parse_modelfile
from unillm.registry.names import ModelRef
from unillm.registry.prune import prune
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf, cached_files
from unillm.tests.support.fake_hub import FakeHub, Repo
from unillm.tests.support.killing import OPERATIONS, Killer, killer, settings_in
from unillm.tests.support.tiny_models import sharded

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a platform that forks")

Prepare = Callable[[FakeHub, RegistrySettings], None]
OLD = sharded(2, 256)
NEW = OLD | {"config.json": b'{"max_position_embeddings": 1}'}


def nothing(_hub: FakeHub, _settings: RegistrySettings) -> None:
    """An empty machine."""


def older(hub: FakeHub, settings: RegistrySettings) -> None:
    """An older version of the model is here."""
    hub.repos["org/repo"] = Repo(OLD, commit="a" * 40)
    pull("org/repo", settings)


def installed(_hub: FakeHub, settings: RegistrySettings) -> None:
    pull("org/repo", settings)


def remade(_hub: FakeHub, settings: RegistrySettings) -> None:
    """A model of one's own is here, to be made anew."""
    create("mine", parse_modelfile(Path("Modelfile"), "FROM org/repo\nSYSTEM old"), settings)


def littered(_hub: FakeHub, settings: RegistrySettings) -> None:
    """A pull was killed just before its end: everything is here, and nothing is listed."""
    entry = pull("org/repo", settings)
    shelf = Shelf(settings)
    shelf.remove(shelf.copy(entry, ModelRef.parse("other:v1")))
    for file in cached_files(entry.sound):
        Brought(shelf.store.brought, settings.cache_dir).note(file)
    entry.path.unlink()
    (shelf.store.home / "blobs").mkdir()
    for number in range(8):
        (shelf.store.home / "blobs" / f"sha256-{number:064x}").write_bytes(b"left")


STORIES: dict[str, tuple[str, Prepare, int]] = {
    "pull": ("pull", nothing, 200),
    "pull of a newer version": ("pull", older, 200),
    "create": ("create", remade, 50),
    "cp": ("cp", installed, 50),
    "rm": ("rm", installed, 50),
    "prune": ("prune", littered, 50),
}


@pytest.fixture(scope="module")
def killing() -> Iterator[Killer]:
    with killer() as running:
        yield running


class Scene:
    """A machine that can be set back to how it was before the operation."""

    def __init__(self, folder: Path, hub: FakeHub, prepare: Prepare) -> None:
        self.folder, self.before, self.hub = folder / "machine", folder / "before", hub
        self.settings = settings_in(self.folder, hub.endpoint)
        hub.repos["org/repo"] = Repo(NEW)
        self.folder.mkdir()
        prepare(hub, self.settings)
        hub.repos["org/repo"] = Repo(NEW)
        (folder / "precious").write_bytes(b"the user's own")
        shutil.copytree(self.folder, self.before, symlinks=True)
        self.around = set(folder.iterdir())

    def reset(self) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self.before, self.folder, symlinks=True)

    def models(self) -> dict[str, str]:
        """Every model that is listed, each of them whole."""
        shelf = Shelf(self.settings)
        for entry in shelf.entries():
            assert shelf.verify(entry) == []
        return {entry.name: entry.sound.id for entry in shelf.entries()}

    def check_borders(self) -> None:
        """Nothing was written but where our things are."""
        assert set(self.folder.parent.iterdir()) == self.around
        assert {path.name for path in self.folder.iterdir()} <= {"home", "hf"}
        assert {path.name for path in self.settings.cache_dir.glob("*")} <= {".locks", "models--org--repo"}

    def check_nothing_is_lost(self) -> None:
        """Whatever the plug has left, removing all and pruning frees it."""
        shelf = Shelf(self.settings)
        for entry in shelf.entries():
            shelf.remove(entry)
        prune(self.settings, partial=True)
        kept = [path for path in self.folder.rglob("*") if not path.is_dir() and path.suffix != ".lock"]
        assert kept == []


def pull_the_plug(killing: Killer, scene: Scene, operation: str, points: int) -> None:
    old = scene.models()
    steps = killing.run(operation, scene.folder, scene.hub.endpoint).steps
    new = scene.models()
    assert operation == "prune" or new != old
    for number, at in enumerate(sorted({steps * number // points for number in range(points)})):
        scene.reset()
        assert killing.run(operation, scene.folder, scene.hub.endpoint, at).killed
        assert scene.models() in (old, new), f"killed before step {at} of {steps}"
        scene.check_borders()
        if number % 2:
            if scene.models() == old or operation == "pull":
                killing.run(operation, scene.folder, scene.hub.endpoint)
            assert scene.models() == new
        scene.check_nothing_is_lost()


@pytest.mark.parametrize("story", STORIES)
def test_a_kill_leaves_the_old_state_or_the_new_one(tmp_path: Path, hub: FakeHub, killing: Killer, story: str) -> None:
    operation, prepare, _ = STORIES[story]
    assert operation in OPERATIONS
    pull_the_plug(killing, Scene(tmp_path, hub, prepare), operation, 4)


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES)
def test_wherever_it_is_killed(tmp_path: Path, hub: FakeHub, killing: Killer, story: str) -> None:
    operation, prepare, points = STORIES[story]
    pull_the_plug(killing, Scene(tmp_path, hub, prepare), operation, points)
