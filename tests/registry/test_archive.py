"""One model in one file: out and in again, and everything that such a file may try."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from unillm.registry.archive import export, import_archive
from unillm.registry.create import create
from unillm.registry.errors import (
    ArchiveUnsound,
    ChecksumMismatch,
    DiskFull,
    FileTaken,
    FormatError,
    InvalidName,
    NameTaken,
    NoWeights,
    RegistryError,
)
from unillm.registry.locate import locate
from unillm.registry.modelfile import parse_modelfile
from unillm.registry.names import ModelRef
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Entry, Shelf
from unillm.tests.support.fake_hub import FakeHub, Repo, sha256
from unillm.tests.support.tiny_models import original, sharded

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def entry(hub: FakeHub, online: RegistrySettings) -> Entry:
    hub.repos["org/repo"] = Repo(sharded())
    recipe = parse_modelfile(Path("Modelfile"), "FROM org/repo\nSYSTEM Arr!\nPARAMETER seed 1\nMESSAGE user Hi")
    return create("mine", recipe, online)


@pytest.fixture
def archive(entry: Entry, tmp_path: Path) -> Path:
    return export(entry, tmp_path / "mine.tar")


@pytest.fixture
def elsewhere(settings: RegistrySettings, tmp_path: Path) -> RegistrySettings:
    """Another machine, without a network."""
    return replace(settings, home=tmp_path / "else" / "home", cache_dir=tmp_path / "else" / "hf", offline=True)


def members(archive: Path) -> list[Member]:
    with tarfile.open(archive) as opened:
        return [(one, opened.extractfile(one).read()) for one in opened]  # type: ignore[union-attr]


def packed(archive: Path, parts: list[Member]) -> Path:
    changed = archive.with_name("changed.tar")
    with tarfile.open(changed, "w", format=tarfile.GNU_FORMAT) as opened:
        for member, data in parts:
            opened.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return changed


def test_a_model_comes_out_of_an_archive_as_it_went_in(
    entry: Entry, archive: Path, elsewhere: RegistrySettings
) -> None:
    there = import_archive(archive, elsewhere)
    files, before = locate("mine", elsewhere), entry.files()
    assert {name: path.read_bytes() for name, path in files.files.items()} == {
        name: path.read_bytes() for name, path in before.files.items()
    }
    assert [path.name for path in files.weights] == [f"sha256-{sha256(one.read_bytes())}" for one in before.weights]
    assert (files.system, files.parameters, files.messages) == (before.system, before.parameters, before.messages)
    assert Shelf(elsewhere).verify(there) == []
    assert str(there.sound.origin) == f"an archive of {entry.sound.origin}"
    assert Shelf(elsewhere).remove(there).left == 0


def test_the_same_model_makes_the_same_archive(
    entry: Entry, archive: Path, elsewhere: RegistrySettings, tmp_path: Path
) -> None:
    assert export(entry, tmp_path / "again.tar").read_bytes() == archive.read_bytes()
    there = import_archive(archive, elsewhere)
    assert export(there, tmp_path / "third.tar").read_bytes() == archive.read_bytes()


def test_an_archive_is_one_that_tar_reads(entry: Entry, archive: Path) -> None:
    (first, data), *others = members(archive)
    assert first.name == "unillm.json"
    assert json.loads(data)["name"] == "mine:latest"
    assert len(others) == len({one.digest for one in entry.sound.files})
    assert all(one.name == f"blobs/sha256-{sha256(content)}" for one, content in others)


def test_nothing_is_overwritten(entry: Entry, archive: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(FileTaken):
        export(entry, archive)
    assert archive.read_bytes() == before


def test_a_damaged_model_makes_no_archive(entry: Entry, tmp_path: Path) -> None:
    weights = entry.files().weights[1].resolve()
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    (tmp_path / "out").mkdir()
    with pytest.raises(ChecksumMismatch, match="mine:latest"):
        export(entry, tmp_path / "out" / "x.tar")
    assert not list((tmp_path / "out").iterdir())


def test_importing_twice_changes_nothing_and_another_model_keeps_its_name(
    hub: FakeHub, archive: Path, elsewhere: RegistrySettings, online: RegistrySettings, tmp_path: Path
) -> None:
    first = import_archive(archive, elsewhere)
    assert import_archive(archive, elsewhere) == first
    hub.repos["org/other"] = Repo(original(fill=9))
    other = export(pull("org/other", online, name="mine2"), tmp_path / "other.tar")
    with pytest.raises(NameTaken):
        import_archive(other, elsewhere, name="mine")
    assert import_archive(other, elsewhere, name="yours").name == "yours:latest"
    assert [one.name for one in Shelf(elsewhere).entries()] == ["mine:latest", "yours:latest"]


def test_importing_again_repairs_what_was_damaged(archive: Path, elsewhere: RegistrySettings) -> None:
    there = import_archive(archive, elsewhere)
    there.files().weights[0].write_bytes(b"x")
    assert Shelf(elsewhere).verify(import_archive(archive, elsewhere)) == []


@pytest.mark.parametrize("name", ["../x", "org/repo", "x.gguf"])
def test_its_name_must_be_one(archive: Path, elsewhere: RegistrySettings, name: str) -> None:
    with pytest.raises(InvalidName):
        import_archive(archive, elsewhere, name=name)


def test_what_has_no_room_is_refused_before_it_is_read(
    archive: Path, elsewhere: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unillm.registry.store.free_space", lambda _: 10)
    with pytest.raises(DiskFull):
        import_archive(archive, elsewhere)


# Archives that are none


def _renamed(number: int, name: str) -> Callable[[list[Member]], None]:
    def change(parts: list[Member]) -> None:
        parts[number][0].name = name

    return change


def _kind(kind: bytes, link: str) -> Callable[[list[Member]], None]:
    def change(parts: list[Member]) -> None:
        member = parts[1][0]
        member.type, member.linkname, member.size = kind, link, 0

    return change


def _manifest(field: str, value: object) -> Callable[[list[Member]], None]:
    def change(parts: list[Member]) -> None:
        content = json.loads(parts[0][1])
        place, *rest = field.split(".")
        if rest:
            content[place][0][rest[0]] = value
        else:
            content[place] = value
        data = json.dumps(content).encode()
        parts[0][0].size = len(data)
        parts[0] = (parts[0][0], data)

    return change


def _flipped(parts: list[Member]) -> None:
    parts[2] = (parts[2][0], bytes([parts[2][1][0] ^ 1]) + parts[2][1][1:])


def _surplus(parts: list[Member]) -> None:
    extra = tarfile.TarInfo("../../escape")
    parts.append((extra, b""))


def _swapped(parts: list[Member]) -> None:
    parts[1], parts[2] = parts[2], parts[1]


def _shorter(parts: list[Member]) -> None:
    parts[1][0].size -= 1
    parts[1] = (parts[1][0], parts[1][1][:-1])


HOSTILE: dict[str, Callable[[list[Member]], object]] = {
    "no manifest": lambda parts: parts.pop(0),
    "no member": lambda parts: parts.pop(),
    "surplus": _surplus,
    "order": _swapped,
    "flip": _flipped,
    "shorter": _shorter,
    "escape": _renamed(1, "../../../escape"),
    "absolute": _renamed(1, "/tmp/escape"),
    "symlink": _kind(tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": _kind(tarfile.LNKTYPE, "/etc/passwd"),
    "pipe": _kind(tarfile.FIFOTYPE, ""),
    "device": _kind(tarfile.CHRTYPE, ""),
    "file name": _manifest("files.name", "../../escape"),
    "digest": _manifest("files.digest", "sha256:../../escape"),
    "git digest": _manifest("files.digest", "git:" + "0" * 40),
    "size": _manifest("files.size", 1 << 62),
    "place": _manifest("origin", {"kind": "place", "folder": "/etc"}),
    "hub": _manifest(
        "origin", {"kind": "hub", "repo": "a/b", "commit": "0" * 40, "endpoint": "x", "cache": "/tmp", "revision": None}
    ),
    "name": _manifest("name", "../../escape"),
    "schema": _manifest("schema", 99),
}


@pytest.mark.parametrize("trouble", HOSTILE)
def test_an_archive_that_lies_is_refused_and_leaves_nothing(
    archive: Path, elsewhere: RegistrySettings, tmp_path: Path, trouble: str
) -> None:
    parts = members(archive)
    HOSTILE[trouble](parts)
    changed = packed(archive, parts)
    before = {path for path in tmp_path.rglob("*") if elsewhere.home not in path.parents}
    with pytest.raises(RegistryError) as caught:
        import_archive(changed, elsewhere)
    assert isinstance(caught.value, ArchiveUnsound | ChecksumMismatch | DiskFull)
    assert Shelf(elsewhere).entries() == []
    after = {path for path in tmp_path.rglob("*") if elsewhere.home not in path.parents}
    assert after - before <= {elsewhere.home, elsewhere.home.parent}
    assert not list((elsewhere.home / "partial").glob("*"))


@pytest.mark.parametrize("share", [0, 100, 512, 600, 0.5, 0.9])
def test_a_part_of_an_archive_is_refused(archive: Path, elsewhere: RegistrySettings, share: float) -> None:
    data = archive.read_bytes()
    archive.write_bytes(data[: int(share if share > 1 else len(data) * share)])
    with pytest.raises((ArchiveUnsound, ChecksumMismatch)):
        import_archive(archive, elsewhere)
    assert Shelf(elsewhere).find(ModelRef.parse("mine:latest")) is None


def test_only_a_regular_file_is_read(elsewhere: RegistrySettings, tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(FormatError):
            import_archive(path, elsewhere)
    with pytest.raises(NoWeights, match="there is no such file"):
        import_archive(tmp_path / "none", elsewhere)
