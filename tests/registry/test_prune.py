"""Removing what no model needs, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from unillm.registry.brought import Brought
from unillm.registry.digests import Digest
from unillm.registry.errors import SourceUnreachable, StoreBusy
from unillm.registry.events import Event, Progress
from unillm.registry.hub_cache import CachedFile, CachedRepo
from unillm.registry.making import workplace
from unillm.registry.names import ModelRef
from unillm.registry.prune import find_unused, prune
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.registry.store import Store
from unillm.tests.support.fake_hub import COMMIT, FakeHub, Fault, Repo, sha256
from unillm.tests.support.tiny_models import original


def weights_in(settings: RegistrySettings) -> CachedFile:
    digest = Digest("sha256", sha256(original()["model.safetensors"]))
    return CachedFile(CachedRepo(settings.cache_dir, "org/repo"), COMMIT, "model.safetensors", digest)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_a_file_that_no_manifest_names_goes(settings: RegistrySettings) -> None:
    blob = Store(settings.home).blob(Digest("sha256", sha256(b"left")))
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"left")
    (blob.parent / "notes.txt").write_text("the user's own")
    assert find_unused(settings).files == (blob,)
    assert prune(settings).size == 4
    assert [path.name for path in blob.parent.iterdir()] == ["notes.txt"]


def test_nothing_of_an_installed_model_goes(hub: FakeHub, online: RegistrySettings) -> None:
    hub.repos["org/repo"] = Repo(original())
    entry = pull("org/repo", online)
    before = everything(online.cache_dir)
    assert prune(online, partial=True).files == ()
    assert everything(online.cache_dir) == before
    assert Shelf(online).verify(entry) == []


def test_what_a_broken_off_pull_has_brought_goes_and_what_other_tools_brought_stays(
    hub: FakeHub, online: RegistrySettings
) -> None:
    from huggingface_hub import hf_hub_download

    hub.repos["org/repo"] = Repo(original())
    kept = Path(hf_hub_download("org/repo", "config.json", endpoint=hub.endpoint, cache_dir=online.cache_dir))
    entry = pull("org/repo", online)
    brought = Brought(Store(online.home).brought, online.cache_dir)
    for one in entry.sound.files:
        if one.fetched:
            brought.note(CachedFile(CachedRepo(online.cache_dir, "org/repo"), COMMIT, one.name, one.digest))
    entry.path.unlink()
    found = find_unused(online)
    assert found.size == entry.sound.size - kept.stat().st_size
    assert prune(online).size == found.size
    assert list((online.cache_dir / "models--org--repo" / "snapshots").rglob("*.*")) == [kept]
    assert find_unused(online).files == ()


def test_a_pull_after_a_broken_off_one_knows_what_is_its_own(hub: FakeHub, online: RegistrySettings) -> None:
    hub.repos["org/repo"] = Repo(original())
    entry = pull("org/repo", online)
    Brought(Store(online.home).brought, online.cache_dir).note(weights_in(online))
    entry.path.unlink()
    assert [one.name for one in pull("org/repo", online).sound.files if one.fetched] == ["model.safetensors"]
    assert not list(Store(online.home).brought.rglob("*.*"))


def test_a_note_about_another_cache_removes_nothing(hub: FakeHub, online: RegistrySettings, tmp_path: Path) -> None:
    hub.repos["org/repo"] = Repo(original())
    entry = pull("org/repo", online)
    other = Brought(Store(online.home).brought, tmp_path / "other")
    other.note(replace(weights_in(online), repo=CachedRepo(tmp_path / "other", "org/repo")))
    entry.path.unlink()
    assert prune(online).files == ()


@pytest.mark.parametrize("text", ["", "sha256:0\n/x\n", "x" * 10000, "sha256:" + "0" * 64])
def test_a_note_that_is_none_removes_nothing(settings: RegistrySettings, text: str) -> None:
    note = Store(settings.home).brought / "org" / "repo" / COMMIT / "model.safetensors"
    note.parent.mkdir(parents=True)
    note.write_text(text)
    (note.parents[3] / "stray").write_text(text)
    assert prune(settings).files == ()


def test_unfinished_downloads_go_only_when_asked(hub: FakeHub, online: RegistrySettings) -> None:
    hub.repos["org/repo"] = Repo(original(size=4 << 20))
    hub.faults["model.safetensors"] = [Fault("cut"), Fault("status", times=99, at=503)]
    with pytest.raises(SourceUnreachable, match="bytes came, then"):
        pull("org/repo", online)
    (partial,) = online.cache_dir.rglob("*.incomplete")
    assert prune(online).files == ()
    assert find_unused(online, partial=True).size == partial.stat().st_size > 0
    prune(online, partial=True)
    assert not partial.exists()


@pytest.mark.parametrize("dry_run", [True, False])
def test_nothing_is_pruned_while_a_model_is_fetched(settings: RegistrySettings, dry_run: bool) -> None:
    store = Store(settings.home)
    with store.working(), pytest.raises(StoreBusy, match="is being fetched"):
        prune(settings, dry_run=dry_run)
    assert prune(settings, dry_run=dry_run).files == ()


def test_a_prune_amid_a_pull_of_the_same_model_leaves_it_what_it_has_fetched(
    hub: FakeHub, online: RegistrySettings
) -> None:
    hub.repos["org/repo"] = Repo(original(size=1 << 20))
    refused = list[StoreBusy]()

    def prune_once_half_is_here(event: Event) -> None:
        if not refused and isinstance(event, Progress) and event.done:
            with pytest.raises(StoreBusy) as caught:
                prune(online, partial=True)
            refused.append(caught.value)

    entry = pull("org/repo", online, prune_once_half_is_here)
    assert refused
    assert hub.sent < 1.1 * entry.sound.size
    assert Shelf(online).verify(entry) == []


def test_what_a_workplace_holds_stays_until_its_work_is_done(settings: RegistrySettings) -> None:
    with workplace(settings) as folder:
        (folder / "half.gguf").write_bytes(b"half")
        with pytest.raises(StoreBusy):
            prune(settings, partial=True)
        assert (folder / "half.gguf").read_bytes() == b"half"
    assert not folder.exists()


def test_looking_for_what_could_go_is_not_upset_by_what_goes_meanwhile(
    settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = settings.home / "partial" / "upload-1"
    monkeypatch.setattr("unillm.registry.prune._drafts", lambda *_: [gone])
    assert find_unused(settings, partial=True).size == 0


def test_who_only_looks_leaves_the_lock_of_who_is_about_to_fetch(settings: RegistrySettings) -> None:
    lock = settings.home / "locks" / "working-1.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    prune(settings, dry_run=True)
    assert lock.exists()
    prune(settings)
    assert not lock.exists()


def test_whoever_died_while_fetching_holds_up_nobody(settings: RegistrySettings) -> None:
    stale = settings.home / "locks" / "working-0.lock"
    stale.parent.mkdir(parents=True)
    stale.touch()
    prune(settings)
    assert not stale.exists()


def test_a_removal_is_foretold_to_the_byte(hub: FakeHub, online: RegistrySettings) -> None:
    hub.repos["org/repo"] = Repo(original())
    shelf = Shelf(online)
    first = pull("org/repo", online, name="first")
    second = shelf.copy(first, ModelRef.parse("second:v1"))
    hub.repos["org/repo"] = Repo(original() | {"config.json": b"{}"}, commit="f" * 40)
    third = pull("org/repo", online, name="third")
    before = everything(online.home) | everything(online.cache_dir)
    foretold = shelf.foretell([first, second, third])
    assert everything(online.home) | everything(online.cache_dir) == before
    assert [shelf.remove(one) for one in (first, second, third)] == foretold
    assert not list(online.cache_dir.rglob("blobs/*"))
