"""What is on a machine before something goes wrong, and what must be true of it afterwards."""

import shutil
from collections.abc import Callable
from pathlib import Path

from unillm.registry.brought import Brought
from unillm.registry.create import create
from unillm.registry.modelfile import parse_modelfile
from unillm.registry.names import ModelRef
from unillm.registry.prune import prune
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf, cached_files
from unillm.tests.support.fake_hub import FakeHub, Repo
from unillm.tests.support.killing import settings_in, whole_models
from unillm.tests.support.tiny_models import sharded

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
    "create": ("create", remade, 100),
    "cp": ("cp", installed, 100),
    "rm": ("rm", installed, 100),
    "prune": ("prune", littered, 100),
}


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
        return whole_models(self.settings)

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
        assert kept == [], kept
