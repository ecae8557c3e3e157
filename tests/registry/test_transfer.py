"""One file over a network that fails in every way."""

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from unillm.registry.errors import ChecksumMismatch, RegistryError, SourceUnreachable, StoreUnwritable
from unillm.registry.names import ModelRef
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.tests.support.fake_hub import FakeHub, Fault, Repo, sha256
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.tiny_models import original

NAME = "model.safetensors"
SIZE = 4 << 20


@pytest.fixture
def data(hub: FakeHub) -> bytes:
    hub.repos["org/repo"] = Repo(original(size=SIZE))
    return hub.repos["org/repo"].files[NAME]


def spans(hub: FakeHub) -> list[int]:
    """Where each request for the weights began."""
    asked = [one for one in hub.asked if "/elsewhere/" in one.path]
    return [int(re.sub(r"\D", "", one.span)) if one.span else 0 for one in asked]


def pulled(online: RegistrySettings) -> bytes:
    return pull("org/repo", online).files().weights[0].read_bytes()


@pytest.mark.parametrize("trouble", ["cut", "short"])
def test_what_broke_off_goes_on_where_it_ended(
    hub: FakeHub, data: bytes, online: RegistrySettings, trouble: str
) -> None:
    """ST-02, ST-03, A44."""
    hub.faults = {NAME: [Fault("cut" if trouble == "cut" else "short", times=2, at=0.4)]}
    assert pulled(online) == data
    assert spans(hub)[0] == 0
    assert spans(hub)[1] > 0
    assert hub.sent < 2 * len(data)


def test_a_stalled_download_is_tried_again(hub: FakeHub, data: bytes, online: RegistrySettings) -> None:
    """ST-03, A44."""
    hub.faults = {NAME: [Fault("stall", times=1, at=0.5)]}
    started = time.monotonic()
    assert pulled(replace(online, patience=0.1)) == data
    assert time.monotonic() - started < HANGS


@pytest.mark.parametrize("trouble", ["ignore_range", "shift_range"])
def test_a_server_that_misunderstands_ranges_splices_nothing(
    hub: FakeHub, data: bytes, online: RegistrySettings, trouble: str
) -> None:
    """ST-06."""
    second = Fault("ignore_range") if trouble == "ignore_range" else Fault("shift_range")
    hub.faults = {NAME: [Fault("cut", at=0.5), second]}
    assert pulled(online) == data


def test_a_range_that_is_refused_begins_anew(hub: FakeHub, data: bytes, online: RegistrySettings) -> None:
    """ST-06."""
    hub.faults = {NAME: [Fault("cut", at=0.5), Fault("status", at=416)]}
    assert pulled(online) == data
    assert spans(hub)[-1] == 0


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_hub_that_is_busy_is_asked_again(hub: FakeHub, data: bytes, online: RegistrySettings, status: int) -> None:
    """ST-07."""
    hub.faults = {NAME: [Fault("status", times=2, at=status)]}
    assert pulled(online) == data


def test_a_hub_says_how_long_to_wait(hub: FakeHub, data: bytes, online: RegistrySettings) -> None:
    """ST-07."""
    hub.faults = {NAME: [Fault("status", at=429, headers={"Retry-After": "1"})]}
    started = time.monotonic()
    assert pulled(online) == data
    assert time.monotonic() - started >= 1


def test_a_hub_that_stays_busy_is_given_up(hub: FakeHub, data: bytes, online: RegistrySettings) -> None:
    """ST-08."""
    hub.faults = {NAME: [Fault("status", times=99, at=503)]}
    with pytest.raises(
        SourceUnreachable, match=f"{NAME}: 0 of {len(data)} bytes came, then: it answers with status 503"
    ):
        pulled(online)


def test_no_more_is_written_than_was_announced(hub: FakeHub, data: bytes, online: RegistrySettings) -> None:
    """ST-15."""
    hub.faults = {NAME: [Fault("endless", times=99)]}
    with pytest.raises(SourceUnreachable, match="more than the"):
        pulled(online)
    blobs = online.cache_dir / "models--org--repo" / "blobs"
    assert all(path.stat().st_size <= len(data) for path in blobs.iterdir())


def test_a_spliced_file_is_found_by_its_checksum(hub: FakeHub, data: bytes, online: RegistrySettings) -> None:
    """ST-04, ST-06, A44."""
    partial = online.cache_dir / "models--org--repo" / "blobs" / f"{sha256(data)}.unillm.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"something else")
    assert pulled(online) == data
    hub.faults = {NAME: [Fault("flip", times=99)]}
    Shelf(online).remove(Shelf(online).need(ModelRef.parse("org/repo")))
    with pytest.raises(ChecksumMismatch):
        pulled(online)
    assert not partial.exists()


def test_a_link_in_the_place_of_a_draft_is_not_followed(data: bytes, online: RegistrySettings, tmp_path: Path) -> None:
    """ST-28."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    partial = online.cache_dir / "models--org--repo" / "blobs" / f"{sha256(data)}.unillm.incomplete"
    partial.parent.mkdir(parents=True)
    partial.symlink_to(victim)
    with pytest.raises((StoreUnwritable, RegistryError)):
        pulled(online)
    assert victim.read_text() == "mine"
