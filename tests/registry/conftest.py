"""What the registry's tests stand on: an empty home, an empty Hugging Face cache, and a hub of their own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from unillm.registry.events import Event, Notice
from unillm.registry.settings import RegistrySettings
from unillm.tests.support.fake_hub import FakeHub


class Heard(list[Event]):
    """A listener that remembers."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def notices(self) -> list[str]:
        return [event.text for event in self if isinstance(event, Notice)]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def settings(tmp_path: Path) -> RegistrySettings:
    """Settings whose hub does not exist, for a machine with plenty of memory."""
    return RegistrySettings(
        home=tmp_path / "home",
        aliases=tmp_path / "aliases.toml",
        cache_dir=tmp_path / "hf" / "hub",
        endpoint="http://127.0.0.1:9",
        memory=64 * 10**9,
        patience=1.0,
        waits=(0.0, 0.0, 0.0),
    )


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub().running() as hub:
        yield hub


@pytest.fixture
def online(settings: RegistrySettings, hub: FakeHub) -> RegistrySettings:
    """The same settings, with the hub of this test."""
    return replace(settings, endpoint=hub.endpoint)
