"""Files and folders of the store that are not what they should be: damaged, replaced, planted, half removed."""

import json
import mmap
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from unillm.registry.errors import (
    BrokenManifest,
    ChecksumMismatch,
    FileChanged,
    FileMissing,
    NotInstalled,
    RegistryError,
    StoreUnwritable,
)
from unillm.registry.locate import locate
from unillm.registry.names import ModelRef
from unillm.registry.prune import find_unused, prune
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Entry, Shelf
from unillm.tests.support.fake_hub import COMMIT, FakeHub, Repo, sha256
from unillm.tests.support.tiny_models import original
from unillm.tests.unillm_cli.doors import Ran, run

MODEL = ModelRef.parse("org/repo")


@pytest.fixture
def entry(hub: FakeHub, online: RegistrySettings) -> Entry:
    hub.repos["org/repo"] = Repo(original())
    return pull("org/repo", online)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """What blocks for ever ends in an error instead."""

    def stop(_number: int, _frame: object) -> None:
        raise AssertionError(f"it took more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def unillm(settings: RegistrySettings, *words: str, terminal: bool = False) -> Ran:
    places = {"UNILLM_HOME": str(settings.home), "HF_HUB_CACHE": str(settings.cache_dir)}
    ran = run(*words, terminal=terminal, environ={**places, "HF_ENDPOINT": settings.endpoint})
    assert "Traceback" not in ran.err
    assert "bug" not in ran.err
    return ran


# Blobs


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_unseen(path: Path) -> None:
    """As a disk does it: the time stamp is what it was."""
    status = path.stat()
    flip(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flip": flip,
    "truncate": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zero": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "gone": Path.unlink,
    "flip unseen": flip_unseen,
}


@pytest.mark.parametrize("file", ["model.safetensors", pytest.param("config.json", marks=pytest.mark.slow)])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_refused_and_repaired(
    online: RegistrySettings, entry: Entry, file: str, damage: str
) -> None:
    """ST-26: `verify` and a run name it, `pull` brings it anew, and nobody speaks of success before."""
    place = entry.files().files[file].resolve()
    DAMAGE[damage](place)
    told = unillm(online, "verify")
    assert told.code == 1
    assert f"org/repo: {entry.files().files[file]} should be " in told.out
    with pytest.raises((ChecksumMismatch, FileMissing), match=rf"org/repo: .*{file}"):
        locate("org/repo", online, pull_missing=False)
    assert unillm(online, "models").code == 0
    assert unillm(online, "show", "org/repo").code in (0, 1, 3)
    assert unillm(online, "pull", "org/repo").code == 0
    assert unillm(online, "verify").code == 0
    assert locate("org/repo", online, pull_missing=False).files == entry.files().files


def test_damage_is_repaired_under_every_name_of_a_model(online: RegistrySettings, entry: Entry) -> None:
    """ST-26: two names, one file; what `verify` has found wrong under one of them is trusted under neither."""
    copy = Shelf(online).copy(entry, ModelRef.parse("second:v1"))
    flip_unseen(entry.files().weights[0].resolve())
    assert Shelf(online).verify(copy) != []
    pull("org/repo", online)
    assert Shelf(online).verify(copy) == []
    assert Shelf(online).ready(Shelf(online).need(copy.sound.ref))


def test_a_run_does_not_read_for_ever_what_was_repaired(online: RegistrySettings, entry: Entry) -> None:
    place = entry.files().weights[0].resolve()
    flip_unseen(place)
    Shelf(online).verify(entry)
    flip_unseen(place)
    assert Shelf(online).ready(Shelf(online).need(MODEL))
    assert Shelf(online).need(MODEL).sound.files == entry.sound.files


def test_nothing_is_repaired_into_a_success_without_a_hub(online: RegistrySettings, entry: Entry) -> None:
    """ST-26: with the hub out of reach, a damaged model does not "stay as it is"."""
    flip(entry.files().weights[0].resolve())
    with pytest.raises(RegistryError):
        pull("org/repo", replace(online, endpoint="http://127.0.0.1:9"))


# While it is loaded


def test_what_is_put_in_the_place_of_a_verified_file_is_refused(online: RegistrySettings, entry: Entry) -> None:
    """ST-29: whoever loads asks once more at the end, and hears that he may have read something else."""
    files = Shelf(online).ready(entry)
    files.check_unchanged()
    place = files.weights[0].resolve()
    other = place.with_name("other")
    shutil.copy2(place, other)
    other.replace(place)  # the same bytes, length and time stamp; another file all the same
    with pytest.raises(FileChanged, match=r"org/repo: .*model\.safetensors changed while it was loaded"):
        files.check_unchanged()
    place.unlink()
    with pytest.raises(FileChanged):
        files.check_unchanged()


def test_what_changes_between_its_checksum_and_its_use_is_refused(online: RegistrySettings, entry: Entry) -> None:
    """ST-29: a file that is swapped just after it was hashed."""
    place = entry.files().weights[0].resolve()
    os.utime(place, ns=(1, 1))

    def swap(_event: object) -> None:
        other = place.with_name("other")
        other.write_bytes(bytes(place.stat().st_size))
        other.replace(place)

    with pytest.raises((FileChanged, ChecksumMismatch)):
        Shelf(online).ready(Shelf(online).need(MODEL), swap)


def test_nothing_of_ours_cuts_a_file_that_is_in_use(hub: FakeHub, online: RegistrySettings, entry: Entry) -> None:
    """FP-19: a mapped file that gets shorter kills whoever reads it (SIGBUS), and no check before a read can help.

    So nothing of ours ever shortens or rewrites a file that has its name: a pull of a newer version, a repair, a
    removal and a prune put another in its place, or take the name away. What others do to the file is theirs.
    """
    place = entry.files().weights[0].resolve()
    data = place.read_bytes()
    with place.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        hub.repos["org/repo"] = Repo(original(fill=2), commit="f" * 40)
        pull("org/repo", online)
        assert mapped[:] == data
        hub.repos["org/repo"] = Repo(original())
        pull("org/repo", online)
        Shelf(online).remove(Shelf(online).need(MODEL))
        prune(online, partial=True)
        assert not place.exists()
        assert mapped[:] == data


def test_a_repair_leaves_the_file_that_is_in_use_as_it_is(online: RegistrySettings, entry: Entry) -> None:
    """FP-19: even where it is the wrong one."""
    place = entry.files().weights[0].resolve()
    flip(place)
    wrong = place.read_bytes()
    with place.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        pull("org/repo", online)
        assert mapped[:] == wrong
        assert place.read_bytes() != wrong


# Manifests


def spoil(entry: Entry, change: Callable[[dict[str, Any]], object]) -> bytes:
    content = json.loads(entry.path.read_text())
    change(content)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: b"", "is not JSON"),
        (lambda _: b"\x00" * 100, "is not JSON"),
        (lambda _: b"x" * (17 << 20), "is larger than"),
        (lambda _: b'{"schema": 1, "schemaVersion": 2, "layers": []}', "name is missing"),
        (lambda entry: spoil(entry, lambda it: it.update(schema=2)), "made by a newer unillm"),
        (lambda entry: spoil(entry, lambda it: it.update(schema=10**4000)), "."),
        (lambda entry: spoil(entry, lambda it: it["origin"].update(commit="../../x")), "is not a git"),
        (lambda entry: spoil(entry, lambda it: it["files"][0].update(digest="sha256:../x")), "is not a sha256"),
        (lambda entry: spoil(entry, lambda it: it["files"][0].update(size=10**400)), "beyond all files"),
        (lambda entry: spoil(entry, lambda it: it["details"].update(parameters=10**400)), "beyond all counting"),
        (lambda entry: spoil(entry, lambda it: it.update(pulled="0001-01-01T00:00:00+14:00")), "out of range"),
        (lambda entry: spoil(entry, lambda it: it.update(pulled="9999-12-31T23:59:59-14:00")), "out of range"),
    ],
)
def test_one_manifest_that_is_none_is_told_and_the_others_work(
    online: RegistrySettings, entry: Entry, change: Callable[[Entry], bytes], words: str
) -> None:
    """ST-27: listed as broken, with a warning; to run, show or verify it fails in words; it can be removed."""
    Shelf(online).copy(entry, ModelRef.parse("good:v1"))
    entry.path.write_bytes(change(entry))
    listed = unillm(online, "models")
    assert (listed.code, "broken" in listed.out, "good:v1" in listed.out) == (0, True, True)
    assert "warning: org/repo is broken" in listed.err
    with pytest.raises(BrokenManifest, match=words):
        locate("org/repo", online, pull_missing=False)
    assert unillm(online, "show", "org/repo").code == 1
    assert unillm(online, "verify").code == 1
    assert locate("good:v1", online, pull_missing=False)
    assert unillm(online, "rm", "org/repo").code == 0
    assert unillm(online, "verify").code == 0


def test_names_that_steer_a_terminal_are_spelled_out(online: RegistrySettings, entry: Entry) -> None:
    """SH-02, SH-03: a file that somebody put among the manifests cannot speak to the terminal."""
    for name in ("x\x1b[45mviolet\x1b]0;title\x07", "evil\u202egnp", "two\nlines", "c1\x9b2J", "\udcff"):
        (entry.path.parent / f"{name}=1b.json").write_text("{")
    for words in (["models"], ["models", "--json"], ["verify"], ["show", "no-such"], ["prune"]):
        ran = unillm(online, *words, terminal=True)
        shown = ran.out + ran.err
        assert not {"\x07", "\u202e", "\x9b", "\udcff"} & set(shown)
        assert "\x1b[45m" not in shown
        assert "\x1b]" not in shown
    assert "evil\\u202egnp" in unillm(online, "models").out


def test_a_manifest_that_vanishes_while_it_is_listed_is_not_broken(
    online: RegistrySettings, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ST-25: somebody removes a model between the look into the folder and the look into the file."""
    shelf, gone = Shelf(online), entry.path.with_name("gone=1b.json")
    monkeypatch.setattr(type(shelf.store), "manifest_files", lambda _: iter([entry.path, gone]))
    assert [one.name for one in shelf.entries()] == ["org/repo"]


def test_a_removal_of_what_is_gone_already_says_so(online: RegistrySettings, entry: Entry) -> None:
    """ST-25: two at once, and one of them is late."""
    shelf = Shelf(online)
    shelf.remove(entry)
    with pytest.raises(NotInstalled, match="org/repo"):
        shelf.remove(entry)


# What somebody has planted


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """Something of the user's, which must be the same afterwards."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "file").write_text("mine")
    yield folder
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"file": "mine"}


@pytest.mark.parametrize("name", ["manifests", "blobs", "partial", "brought", "locks"])
@pytest.mark.parametrize(
    "words",
    [
        ("pull", "org/repo"),
        *(pytest.param(one, marks=pytest.mark.slow) for one in (("models",), ("rm", "org/repo"), ("prune",))),
    ],
)
def test_no_folder_of_the_store_may_be_a_link(
    online: RegistrySettings, entry: Entry, precious: Path, name: str, words: tuple[str, ...]
) -> None:
    """ST-28: nothing is read, written or removed where it leads."""
    assert entry.path.exists()
    folder = online.home / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.symlink_to(precious)
    ran = unillm(online, *words)
    assert ran.code == 1
    assert f"{folder} cannot be written: it is a link" in ran.err


def test_the_home_itself_may_be_a_link(online: RegistrySettings, entry: Entry, tmp_path: Path) -> None:
    """ST-28: that is how people use another disk."""
    (tmp_path / "elsewhere").symlink_to(online.home)
    assert Shelf(replace(online, home=tmp_path / "elsewhere")).entries()[0].sound == entry.sound


@pytest.mark.usefixtures("entry")
def test_a_planted_link_is_not_followed(online: RegistrySettings, precious: Path) -> None:
    """ST-28: a manifest, a blob, a note, a draft and a lock that are links to something of the user's."""
    victim = precious / "file"
    home, cache = online.home, online.cache_dir / "models--org--repo"
    (home / "manifests" / "evil=1b.json").symlink_to(victim)
    (home / "blobs").mkdir()
    (home / "blobs" / f"sha256-{'0' * 64}").symlink_to(victim)
    (home / "partial").mkdir()
    (home / "partial" / f"sha256-{'1' * 64}").symlink_to(precious)
    note = home / "brought" / "org" / "repo" / COMMIT / "evil.json"
    note.parent.mkdir(parents=True)
    note.symlink_to(victim)
    blob = cache / "blobs" / sha256(original()["model.safetensors"])
    blob.unlink()
    blob.symlink_to(victim)
    names = {one.name: one.broken for one in Shelf(online).entries()}
    assert "is a link" in str(names["evil:1b"])
    pull("org/repo", online)
    assert not blob.is_symlink()
    prune(online, partial=True)
    unillm(online, "rm", "evil:1b")
    unillm(online, "rm", "org/repo")
    assert not (home / "manifests" / "evil=1b.json").is_symlink()


@pytest.mark.parametrize("lock", ["locks/store.lock", "hub lock"])
def test_a_lock_that_is_a_link_empties_nothing(
    hub: FakeHub, online: RegistrySettings, precious: Path, lock: str
) -> None:
    """ST-28."""
    hub.repos["org/repo"] = Repo(original())
    digest = sha256(original()["model.safetensors"])
    hub_lock = online.cache_dir / ".locks" / "models--org--repo" / f"{digest}.lock"
    place = hub_lock if lock == "hub lock" else online.home / lock
    place.parent.mkdir(parents=True)
    place.symlink_to(precious / "file")
    with pytest.raises(StoreUnwritable):
        pull("org/repo", online)


def test_a_hard_link_is_never_written_through(online: RegistrySettings, entry: Entry, precious: Path) -> None:
    """ST-28: what has its name already is replaced, not rewritten: other names of the same bytes keep them."""
    victim = precious / "file"
    entry.path.unlink()
    os.link(victim, entry.path)
    blob = entry.files().weights[0].resolve()
    blob.unlink()
    os.link(victim, blob)
    pull("org/repo", online)
    assert Shelf(online).verify(Shelf(online).need(MODEL)) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_holds_nobody_up(online: RegistrySettings, entry: Entry) -> None:
    """ST-28: as a blob, a manifest, a draft or a note."""
    blob = entry.files().weights[0].resolve()
    blob.unlink()
    os.mkfifo(blob)
    os.mkfifo(entry.path.with_name("pipe=1b.json"))
    (online.home / "blobs").mkdir()
    os.mkfifo(online.home / "blobs" / f"sha256-{'0' * 64}")
    os.mkfifo(blob.with_name(f"{blob.name}.unillm.incomplete"))
    note = online.home / "brought" / "org" / "repo" / COMMIT / "pipe.json"
    note.parent.mkdir(parents=True)
    os.mkfifo(note)
    with within(5):
        assert "pipe:1b is broken" in unillm(online, "models").err
        assert unillm(online, "verify").code == 1
        with pytest.raises(FileMissing):
            locate("org/repo", online, pull_missing=False)
        find_unused(online, partial=True)
        with pytest.raises(StoreUnwritable, match="not a regular file"):
            pull("org/repo", online)
        prune(online, partial=True)
        pull("org/repo", online)
        assert unillm(online, "rm", "pipe:1b", "org/repo").code == 0


# Clocks


@pytest.mark.parametrize("when", ["1970-01-01T00:00:00+00:00", "2199-12-31T00:00:00+00:00", "2026-01-01T00:00:00"])
def test_a_clock_that_was_wrong_changes_an_age_and_nothing_else(
    online: RegistrySettings, entry: Entry, when: str
) -> None:
    """ST-31: no time decides what is newer; ages are told sanely."""
    entry.path.write_bytes(spoil(entry, lambda it: it.update(pulled=when)))
    listed = unillm(online, "models")
    assert listed.code == 0
    assert ("in the future" in listed.out) == when.startswith("2199")
    assert unillm(online, "show", "org/repo").code == 0
    assert pull("org/repo", online).sound.files == entry.sound.files


@pytest.mark.parametrize("seconds", [-(10**9), 0, 2**33, 10**10])
def test_a_time_stamp_of_another_age_is_only_looked_at_again(
    hub: FakeHub, online: RegistrySettings, entry: Entry, seconds: int
) -> None:
    """ST-31: a file from long ago, or from years ahead, is hashed once more and is the same; nothing is fetched."""
    for path in {path.resolve() for path in entry.files().files.values()}:
        os.utime(path, (seconds, seconds))
    before = len(hub.bodies())
    assert Shelf(online).ready(entry) == entry.files()
    assert pull("org/repo", online).sound.id == entry.sound.id
    assert len(hub.bodies()) == before
    assert datetime.now(UTC) >= Shelf(online).need(MODEL).sound.pulled
