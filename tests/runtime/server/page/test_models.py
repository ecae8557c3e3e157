"""Models on the page: which there are, what fits, choosing one, and getting one with its progress in sight."""

import os
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from unillm.runtime.hosting.room import Need
from unillm.tests.runtime.server.page.conftest import MODEL, OTHER
from unillm.tests.support.fake_ollama_registry import FakeOllamaRegistry, Fault, digest_of
from unillm.tests.support.scripted_host import GIB, Listening
from unillm.tests.support.tiny_models import gguf_file


def opened(page: Page) -> None:
    page.locator("#model").click()
    expect(page.get_by_role("dialog", name="Models")).to_be_visible()


def test_what_is_here_is_listed_with_its_size_and_whether_it_fits(page: Page) -> None:
    opened(page)
    here = page.get_by_role("group", name="On this machine")
    expect(here.get_by_role("option")).to_have_count(3)
    expect(here.get_by_role("option", name=MODEL)).to_contain_text("loaded")
    expect(here.get_by_role("option", name=MODEL)).to_have_attribute("aria-selected", "true")
    expect(here.get_by_role("option", name=OTHER)).to_contain_text("fits in memory")
    expect(page.locator("#memory-text")).to_have_text("1.1 GB of 8.6 GB set aside for models")
    others = page.get_by_role("group", name="To get")
    expect(others.get_by_role("option", name="llama3:8b")).to_contain_text("4.7 GB")
    expect(others.get_by_role("option", name="llama3:70b")).to_contain_text("too large for this machine")


def test_what_fits_is_what_the_host_would_load(place: Listening) -> None:
    told = httpx.get(f"{place.url}/models", timeout=30).json()
    assert (told["memory"], told["free"]) == (8 * GIB, 7 * GIB)
    for one in told["others"]:
        least = Need(one["size"]).least
        wanted = "now" if least <= 7 * GIB else "alone" if least <= 8 * GIB else "never"
        assert (one["needs"], one["fits"]) == (least, wanted)
    assert {"now", "alone", "never"} >= {one["fits"] for one in told["others"]}
    assert [one["size"] for one in told["others"]] == sorted(one["size"] for one in told["others"])
    assert not [one["name"] for one in told["others"] if "embed" in one["name"]]


@pytest.mark.slow
def test_a_few_letters_and_enter_choose_a_model(page: Page) -> None:
    opened(page)
    page.keyboard.type("oth")
    expect(page.get_by_role("group", name="On this machine").get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#model-label")).to_have_text(OTHER)
    expect(page.get_by_role("textbox", name="Message")).to_be_focused()
    page.reload()
    expect(page.locator("#model-label")).to_have_text(OTHER)


@pytest.mark.slow
def test_arrows_go_through_the_list_and_escape_leaves_it(page: Page) -> None:
    opened(page)
    field = page.get_by_role("combobox")
    first = field.get_attribute("aria-activedescendant")
    page.keyboard.press("ArrowDown")
    second = field.get_attribute("aria-activedescendant")
    assert first
    assert first != second
    expect(page.locator(f"#{second}")).to_have_attribute("data-active", "")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Models")).to_be_hidden()
    expect(page.locator("#model")).to_be_focused()
    expect(page.locator("#model-label")).to_have_text(MODEL)


@pytest.fixture
def slow(registry: FakeOllamaRegistry, tmp_path: Path) -> str:
    """A model in the registry, of which the first file breaks off once."""
    weights = gguf_file(tmp_path, elements=1 << 20, fill=float(int.from_bytes(os.urandom(2))))
    registry.model("library/far:1b", ("model", weights))
    registry.faults[digest_of(weights)] = [Fault("cut")]
    return "ollama.com/library/far:1b"


def get(page: Page, name: str) -> None:
    opened(page)
    page.keyboard.type(name)
    page.get_by_role("option", name=re.compile("Get a model of this name")).click()


def test_a_model_is_fetched_in_sight_and_chosen(page: Page, slow: str) -> None:
    seen = page.evaluate_handle(
        """() => {
          const seen = [];
          new MutationObserver(() => seen.push(document.querySelector("#fetching").textContent))
            .observe(document.querySelector("#fetching"), { childList: true, subtree: true, characterData: true });
          return seen;
        }"""
    )
    get(page, slow)
    expect(page.locator(".toast")).to_contain_text("is here")
    expect(page.locator("#model-label")).to_have_text(slow)
    expect(page.locator(".strip")).to_have_count(0)
    told: list[str] = seen.json_value()
    assert any("of 4.2 MB" in one for one in told), told
    assert told[-1] == ""


@pytest.mark.slow
def test_a_model_that_is_nowhere_says_so_and_can_be_tried_again(page: Page) -> None:
    get(page, "ollama.com/library/nowhere:1b")
    strip = page.locator(".strip")
    expect(strip).to_have_attribute("role", "alert")
    expect(strip).to_contain_text("could not be fetched")
    strip.get_by_role("button", name="Try again").click()
    expect(page.locator(".strip[data-failed]")).to_be_visible()
    page.locator(".strip").get_by_role("button", name="Close").click()
    expect(page.locator(".strip")).to_have_count(0)
