"""What is found of the store, the memory and the network, and the next step for what is wrong."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from unillm.registry import health, memory
from unillm.registry.health import Finding, memory_findings, network_findings, store_findings
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.tests.support.fake_hub import FakeHub, Repo
from unillm.tests.support.tiny_models import gguf_file, original


def of_store(settings: RegistrySettings) -> dict[str, Finding]:
    return {one.name: one for one in store_findings(settings)}


def test_an_empty_store_is_sound_and_nothing_is_made(settings: RegistrySettings, tmp_path: Path) -> None:
    found = of_store(settings)
    assert {one.state for name, one in found.items() if name != "disk"} == {"ok"}
    assert found["models"].next_step == "unillm pull smollm2:135m"
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_would_not_run_is_named_with_the_cure(hub: FakeHub, online: RegistrySettings) -> None:
    hub.repos["org/repo"] = Repo(original())
    hub.repos["org/other"] = Repo(original(fill=7))
    pull("org/other", online)
    pull("org/repo", online).files().weights[0].unlink()
    (online.home / "manifests" / "bad=1b.json").write_text("{")
    found = of_store(online)
    assert found["org/repo"].state == "fail"
    assert "unillm pull org/repo" in (found["org/repo"].next_step or "")
    assert found["bad:1b"].state == "fail"
    assert found["models"].told == "1 of them is whole"


def test_leftovers_are_told_of(settings: RegistrySettings) -> None:
    blobs = settings.home / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"sha256-{'a' * 64}").write_bytes(bytes(1000))
    found = of_store(settings)["leftovers"]
    assert (found.state, "1 files, 1.0 kB" in found.told) == ("warn", True)
    assert "unillm prune --partial" in (found.next_step or "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_failure(settings: RegistrySettings) -> None:
    settings.home.mkdir(mode=0o500)
    assert of_store(settings)["store"].state == "fail"


def test_a_store_that_is_a_file_is_a_failure(settings: RegistrySettings) -> None:
    settings.home.write_text("not a folder")
    found = of_store(settings)["store"]
    assert (found.state, found.next_step) == ("fail", "choose another folder with UNILLM_HOME")


def test_a_broken_file_of_aliases_is_a_failure(settings: RegistrySettings) -> None:
    settings.aliases.write_text("= nonsense")
    assert of_store(settings)["aliases"].state == "fail"


def test_little_disk_is_a_warning(settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "free_space", lambda _folder: 5 * 10**9)
    found = of_store(settings)["disk"]
    assert (found.state, found.told.startswith("5.0 GB free")) == ("warn", True)


def test_memory_and_swap_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": "MemAvailable: 500000 kB\nSwapTotal: 1000 kB\nSwapFree: 100 kB\n",
        "/sys/fs/cgroup/memory.max": "2000000000",
    }
    monkeypatch.setattr(memory, "_read", lambda path: files.get(str(path)))
    short, swap = memory_findings()
    assert (short.state, short.told) == ("warn", "512 MB of 2.0 GB that the container may have are free")
    assert (swap.state, swap.told.startswith("922 kB of 1.0 MB of swap")) == ("warn", True)


def test_the_network_is_asked_and_never_when_offline(
    hub: FakeHub, online: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_INDEX", "http://127.0.0.1:9/")
    answers, away = network_findings(online)
    assert (answers.name, answers.state) == ("hub", "ok")
    assert (away.name, away.state) == ("package index", "warn")
    asked = len(hub.asked)
    (only,) = network_findings(replace(online, offline=True))
    assert (only.state, len(hub.asked)) == ("ok", asked)


def test_a_whole_model_in_place_is_counted(settings: RegistrySettings, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf_file(tmp_path))
    pull(str(path), settings, name="tiny")
    assert of_store(settings)["models"].told == "1 of them is whole"
