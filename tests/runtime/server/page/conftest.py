"""A browser, a server whose model says what a test tells it to, and a page of it that nobody has used yet."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from unillm.registry.names import ModelRef
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.tests.support.browser import browsing
from unillm.tests.support.fake_ollama_registry import FakeOllamaRegistry
from unillm.tests.support.scripted_host import Listening, ScriptedHost, listening, resident
from unillm.tests.support.tiny_models import gguf_file

MODEL, OTHER, THINKER = "tiny:latest", "other:latest", "thinker:latest"

BROWSER = pytest.StashKey["Opened"]()
SIZE: ViewportSize = {"width": 1100, "height": 760}

expect.set_options(timeout=20_000)  # the machine may be busy


@dataclass
class Opened:
    """The browser of this folder's tests, and what closes it."""

    browser: Browser
    end: ExitStack


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Browser:
    """The same for every module here."""
    stash = request.session.stash
    if BROWSER not in stash:
        with ExitStack() as opening:
            stash[BROWSER] = Opened(opening.enter_context(browsing()), opening.pop_all())
    return stash[BROWSER].browser


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The browser goes with the last test of this folder: other tests have event loops of their own."""
    stash = item.session.stash
    if BROWSER in stash and (nextitem is None or Path(__file__).parent not in nextitem.path.parents):
        stash[BROWSER].end.close()
        del stash[BROWSER]


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


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Page]:
    """One tab for all tests of a module: a new one takes as long to open as most of them take."""
    context = browser.new_context(viewport=SIZE)
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def context(window: Page, place: Listening) -> Iterator[BrowserContext]:
    """Of a browser that has never been here."""
    yield window.context
    for other in window.context.pages:
        if other is not window:
            other.close()
    window.goto("about:blank")
    window.emulate_media(color_scheme="null", reduced_motion="null")
    window.set_viewport_size(SIZE)
    window.context.clear_permissions()
    session = window.context.new_cdp_session(window)
    session.send("Storage.clearDataForOrigin", {"origin": place.url, "storageTypes": "all"})
    session.detach()


@pytest.fixture
def page(context: BrowserContext, place: Listening, host: ScriptedHost) -> Iterator[Page]:
    """The page, opened; nothing may go wrong in it that it does not show."""
    (window,) = context.pages
    wrong: list[str] = []

    def heard(error: object) -> None:
        wrong.append(str(error))

    window.on("pageerror", heard)
    window.goto(place.url)
    expect(window.locator("#model-label")).to_have_text(host.loaded[0].name)
    yield window
    window.remove_listener("pageerror", heard)
    assert wrong == []
