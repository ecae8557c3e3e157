import errno
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from unillm.registry.errors import (
    BrokenManifest,
    ChecksumMismatch,
    FileMissing,
    FormatError,
    InvalidName,
    NameTaken,
    NotInstalled,
    StoreUnreadable,
)
from unillm.registry.names import ModelRef
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Entry, Shelf
from unillm.tests.support.fake_hub import FakeHub, Repo
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.tiny_models import original


@pytest.fixture
def shelf(online: RegistrySettings) -> Shelf:
    return Shelf(online)


@pytest.fixture
def entry(hub: FakeHub, online: RegistrySettings) -> Entry:
    """One model on the shelf."""
    hub.repos["org/repo"] = Repo(original())
    return pull("org/repo", online, name="mine")


def ref(text: str) -> ModelRef:
    return ModelRef.parse(text)


def weights_of(entry: Entry) -> Path:
    return entry.files().weights[0].resolve()


def test_names_are_found_whatever_their_case(shelf: Shelf, entry: Entry) -> None:
    assert shelf.find(ref("MINE:Latest")) == shelf.find(ref("mine:latest")) == entry
    assert shelf.find(ref("other:latest")) is None
    with pytest.raises(NotInstalled, match="on this machine"):
        shelf.need(ref("other:latest"))


def test_revisions_that_differ_in_case_are_two(shelf: Shelf) -> None:
    paths = {shelf.store.manifest(ModelRef.parse(f"org/repo@{name}")) for name in ("v1", "V1", "main")}
    assert len({str(path).lower() for path in paths}) == 3
    assert shelf.store.manifest(ModelRef.parse("Org/Repo@V1")) in paths


def test_a_copy_is_a_second_name_for_the_same_files(shelf: Shelf, entry: Entry) -> None:
    copy = shelf.copy(entry, ref("second:v1"))
    assert copy.files().files == entry.files().files
    assert copy.sound.id == entry.sound.id
    assert [one.name for one in shelf.entries()] == ["mine:latest", "second:v1"]
    with pytest.raises(NameTaken):
        shelf.copy(entry, ref("second:v1"))


@pytest.mark.parametrize("name", ["./dir", "x.gguf", "../x"])
def test_a_path_is_no_name_to_copy_to(shelf: Shelf, entry: Entry, name: str) -> None:
    with pytest.raises(InvalidName):
        shelf.copy(entry, ref(name))


def test_removing_frees_what_nobody_else_needs(shelf: Shelf, entry: Entry, online: RegistrySettings) -> None:
    copy = shelf.copy(entry, ref("second:v1"))
    assert shelf.remove(entry).freed == 0
    assert shelf.verify(copy) == []
    removed = shelf.remove(copy)
    assert (removed.freed, removed.left) == (entry.sound.size, 0)
    assert shelf.entries() == []
    assert not (online.cache_dir / "models--org--repo").exists()


def test_removing_leaves_what_was_in_the_cache_before(hub: FakeHub, online: RegistrySettings, shelf: Shelf) -> None:
    from huggingface_hub import hf_hub_download

    hub.repos["org/repo"] = Repo(original())
    kept = hf_hub_download("org/repo", "model.safetensors", endpoint=hub.endpoint, cache_dir=online.cache_dir)
    removed = shelf.remove(pull("org/repo", online))
    assert Path(kept).read_bytes() == hub.repos["org/repo"].files["model.safetensors"]
    assert removed.left == len(hub.repos["org/repo"].files["model.safetensors"])
    assert removed.freed > 0


def test_removing_one_revision_leaves_the_blobs_that_another_links_to(
    hub: FakeHub, online: RegistrySettings, shelf: Shelf
) -> None:
    hub.repos["org/repo"] = Repo(original())
    first = pull("org/repo", online, name="first")
    hub.repos["org/repo"] = Repo(original() | {"config.json": b"{}"}, commit="f" * 40)
    second = pull("org/repo", online, name="second")
    assert shelf.remove(first).freed < first.sound.size
    assert shelf.verify(second) == []


def test_verifying_finds_one_flipped_bit(shelf: Shelf, entry: Entry) -> None:
    weights = weights_of(entry)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    (fault,) = shelf.verify(entry)
    assert (fault.file, str(fault.want)) == ("model.safetensors", str(entry.sound.files[0].digest))
    assert fault.got
    assert fault.got != fault.want


def test_verifying_finds_a_file_that_is_gone(shelf: Shelf, entry: Entry) -> None:
    weights_of(entry).unlink()
    (fault,) = shelf.verify(entry)
    assert fault.got is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_verifying_does_not_wait_for_a_pipe(shelf: Shelf, entry: Entry) -> None:
    weights = weights_of(entry)
    weights.unlink()
    os.mkfifo(weights)
    (fault,) = shelf.verify(entry)
    assert fault.got is None
    with pytest.raises(FileMissing):
        shelf.ready(entry)


def test_a_model_is_ready_without_reading_it_again(shelf: Shelf, entry: Entry) -> None:
    status = weights_of(entry).stat()
    weights_of(entry).write_bytes(bytes(status.st_size))
    os.utime(weights_of(entry), ns=(status.st_atime_ns, status.st_mtime_ns))
    assert shelf.ready(entry) == entry.files()


def test_a_changed_file_is_read_again_before_it_is_used(shelf: Shelf, entry: Entry) -> None:
    weights = weights_of(entry)
    os.utime(weights, ns=(1, 1))
    assert shelf.ready(entry) == entry.files()
    remembered = shelf.need(entry.sound.ref).sound.files[0]
    assert remembered.modified == 1
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(ChecksumMismatch, match=r"mine:latest: .*model\.safetensors: checksum mismatch") as caught:
        shelf.ready(entry)
    assert caught.value.hint == "fetch it again: unillm pull mine:latest"


def test_a_file_of_another_length_is_told(shelf: Shelf, entry: Entry) -> None:
    weights_of(entry).write_bytes(b"short")
    with pytest.raises(FileMissing, match="has 5 bytes, not"):
        shelf.ready(entry)


BROKEN = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"schema": 1}',
    b'{"schema": "1"}',
    b'{"schema": true}',
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_manifest_is_shown_and_hurts_no_other(shelf: Shelf, entry: Entry, content: bytes) -> None:
    (shelf.store.manifests / "bad=1b.json").write_bytes(content)
    names = {one.name: one.broken for one in shelf.entries()}
    assert isinstance(names["bad:1b"], BrokenManifest)
    assert names["mine:latest"] is None
    with pytest.raises(BrokenManifest):
        shelf.ready(shelf.need(ref("bad:1b")))
    shelf.remove(shelf.need(ref("bad:1b")))
    assert [one.name for one in shelf.entries()] == ["mine:latest"]
    assert shelf.verify(entry) == []


@pytest.mark.parametrize(
    ("field", "value", "trouble"),
    [
        ("schema", 99, "made by a newer unillm"),
        ("name", "../x", "is not a name"),
        ("name", "other:1b", "is that of other:1b"),
        ("format", "exe", "not a format"),
        ("files", [], "no weights"),
        ("files.0.name", "../../escape", "not the name of a file"),
        ("files.0.name", "/etc/passwd", "not the name of a file"),
        ("files.0.digest", "sha256:../../x", "not a sha256"),
        ("files.0.digest", "md5:0", "not a checksum"),
        ("files.0.size", -1, "below zero"),
        ("files.0.size", True, "not of type int"),
        ("origin.commit", "../../x", "not a git"),
        ("origin.repo", "../../x", "is not"),
        ("origin.cache", "relative", "not an absolute path"),
        ("origin.kind", "ftp", "not a kind of source"),
        ("pulled", "yesterday", "Invalid isoformat"),
        ("parameters", 3, "not of type dict"),
        ("parameters", {"stop": [1]}, "neither a number nor text"),
        ("parameters", {"context": "long"}, "not a whole number"),
        ("messages", ["hello"], "not an object"),
        ("messages", [{"role": "root", "content": "x"}], "not a role"),
    ],
)
def test_every_field_of_a_manifest_is_checked(
    shelf: Shelf, entry: Entry, field: str, value: object, trouble: str
) -> None:
    content = json.loads(entry.path.read_text())
    place = content
    *way, last = [int(key) if key.isdigit() else key for key in field.split(".")]
    for key in way:
        place = place[key]
    place[last] = value
    entry.path.write_text(json.dumps(content))
    (found,) = shelf.entries()
    assert found.broken
    assert trouble in str(found.broken)


def test_a_broken_manifest_keeps_the_files_that_it_mentions(shelf: Shelf, entry: Entry) -> None:
    copy = shelf.copy(entry, ref("second:v1"))
    copy.path.write_text(copy.path.read_text() + "}")
    assert shelf.remove(entry).freed == 0
    assert weights_of(entry).exists()


def test_a_manifest_that_cannot_be_read_for_now_is_not_taken_for_a_broken_one(
    shelf: Shelf, entry: Entry, online: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.add(replace(entry.sound, system="my own"))
    files = {path: path.stat().st_mtime_ns for path in entry.files().files.values()}

    def refuse(path: Path, **_: bool) -> int:
        raise FormatError(path, "file", "Too many open files") from OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as disk:
        disk.setattr("unillm.registry.shelf.open_regular", refuse)
        for act in (lambda: shelf.remove(entry), lambda: pull("org/repo", online, name="mine")):
            with pytest.raises(StoreUnreadable, match=r"cannot be read: Too many open files"):
                act()
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert shelf.need(ref("mine:latest")).sound.system == "my own"


def test_a_removed_model_can_be_anything_but_a_path(shelf: Shelf) -> None:
    with pytest.raises(InvalidName):
        shelf.find(ref("/etc/passwd"))


def test_the_users_additions_are_kept(shelf: Shelf, entry: Entry) -> None:
    own = replace(entry.sound, ref=ref("own:v1"), system="Be brief.", template="{{ x }}", parameters={"top_k": 3})
    shelf.add(own)
    again = shelf.need(ref("own:v1"))
    assert again.sound == own
    assert (again.files().system, again.files().template, again.files().parameters) == (
        "Be brief.",
        "{{ x }}",
        {"top_k": 3},
    )
    assert again.sound.id != entry.sound.id


def test_the_users_additions_outlive_a_pull(shelf: Shelf, entry: Entry, online: RegistrySettings) -> None:
    shelf.add(replace(entry.sound, system="Be brief."))
    assert pull("org/repo", online, name="mine").sound.system == "Be brief."


def test_a_manifest_of_another_cache_deletes_nothing_there(
    shelf: Shelf, entry: Entry, online: RegistrySettings, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    online.cache_dir.rename(elsewhere)
    entry.path.write_text(entry.path.read_text().replace(str(online.cache_dir), str(elsewhere)))
    assert shelf.remove(shelf.need(ref("mine:latest"))).freed == 0
    assert (elsewhere / "models--org--repo").exists()


def test_a_model_whose_files_are_gone_cannot_be_added(shelf: Shelf, entry: Entry) -> None:
    weights_of(entry).unlink()
    with pytest.raises(FileMissing):
        shelf.copy(entry, ref("second:v1"))
    assert [one.name for one in shelf.entries()] == ["mine:latest"]


def test_a_thousand_models_are_listed_quickly(shelf: Shelf, entry: Entry) -> None:
    text = entry.path.read_text()
    for number in range(1000):
        name = f"model{number}:1b"
        shelf.store.manifest(ref(name)).write_text(text.replace('"mine:latest"', f'"{name}"'))
    started = time.monotonic()
    assert len(shelf.entries()) == 1001
    assert time.monotonic() - started < HANGS
