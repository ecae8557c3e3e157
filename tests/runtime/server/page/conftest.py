"""A browser, a server whose model says what a test tells it to, and a page of it that nobody has used yet."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from unillm.registry.names import ModelRef
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.tests.support.browser import browsing
from unillm.tests.support.fake_ollama_registry import FakeOllamaRegistry
from unillm.tests.support.scripted_host import Listening, ScriptedHost, listening, resident
from unillm.tests.support.tiny_models import gguf_file

MODEL, OTHER, THINKER = "tiny:latest", "other:latest", "thinker:latest"

expect.set_options(timeout=20_000)  # the machine may be busy


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def registry() -> Iterator[FakeOllamaRegistry]:
    with FakeOllamaRegistry().running() as registry:
        yield registry


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, registry: FakeOllamaRegistry) -> RegistrySettings:
    """Three models of a few bytes are installed; one of them has a template that thinks."""
    folder = tmp_path_factory.mktemp("page")
    settings = RegistrySettings(
        home=folder / "home",
        aliases=folder / "aliases.toml",
        cache_dir=folder / "hub",
        endpoint="http://127.0.0.1:9",
        ollama_registry=registry.endpoint,
        patience=1.0,
        waits=(0.0,),
    )
    for name in (THINKER, OTHER, MODEL):
        _install(folder / f"{name.partition(':')[0]}.gguf", name, settings)
    shelf = Shelf(settings)
    entry = next(one for one in shelf.entries() if one.name == THINKER)
    shelf.add(replace(entry.sound, template="{{ messages[0].content }}<think>"))
    return settings


def _install(path: Path, name: str, settings: RegistrySettings) -> None:
    path.write_bytes(gguf_file(path.parent))
    pull(str(path), settings, name=str(ModelRef.parse(name)))


@pytest.fixture(scope="module")
def place(settings: RegistrySettings) -> Iterator[Listening]:
    with listening(settings) as place:
        yield place


@pytest.fixture
def host(place: Listening) -> ScriptedHost:
    """The same for all tests of a module; what one has told it the next does not hear of."""
    place.host.scripts.clear()
    place.host.asked.clear()
    place.host.loaded = [resident(MODEL)]
    return place.host


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1100, "height": 760})
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, place: Listening, host: ScriptedHost) -> Iterator[Page]:
    """The page, opened; nothing may go wrong in it that it does not show."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(place.url)
    expect(page.locator("#model-label")).to_have_text(host.loaded[0].name)
    yield page
    assert wrong == []
