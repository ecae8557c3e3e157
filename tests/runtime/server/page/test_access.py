"""The page without a mouse, without sight, on a telephone, in the dark; checked by axe as well."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from unillm.runtime.hosting.asking import Fault
from unillm.tests.runtime.server.page.conftest import MODEL, OTHER
from unillm.tests.runtime.server.page.test_chat import send
from unillm.tests.support.scripted_host import Listening, ScriptedHost

MUCH = """## Of otters

They *float*, see [here](https://example.com).

- one
- [x] two

> said

| a | b |
|---|--:|
| c | 1 |

```python
x = 1  # a comment
s = 'text'
```"""


def breaches(page: Page) -> list[str]:
    found: Any = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:200] for node in one['nodes']]}" for one in found]


@pytest.mark.parametrize(
    ("scheme", "size"),
    [
        ("light", (390, 780)),
        ("dark", (1200, 800)),
        pytest.param("light", (1200, 800), marks=pytest.mark.slow),
        pytest.param("dark", (390, 780), marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing(page: Page, host: ScriptedHost, scheme: Any, size: tuple[int, int]) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    assert breaches(page) == []
    host.says(MUCH)
    send(page, "Of otters")
    expect(page.locator(".stats")).to_contain_text("tokens")
    host.says(refused=Fault("internal", "no"))
    send(page, "More")
    expect(page.locator(".problem").last).to_be_visible()
    assert breaches(page) == []
    for button, name in (("#model", "Models"), ("#open-settings", "Settings of this conversation")):
        page.locator(button).click()
        expect(page.get_by_role("dialog", name=name)).to_be_visible()
        assert breaches(page) == []
        page.keyboard.press("Escape")
    if size[0] < 500:
        page.get_by_role("button", name="Conversations").click()
        expect(page.get_by_role("button", name="Close the list")).to_be_focused()
        assert breaches(page) == []


def test_a_whole_conversation_without_a_mouse(page: Page) -> None:
    field = page.get_by_role("textbox", name="Message")
    expect(field).to_be_focused()
    page.keyboard.type("Hello")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("you")
    expect(field).to_have_value("Hello\nyou")
    page.keyboard.press("Enter")
    expect(page.locator(".answer .text")).to_contain_text("Hello")
    expect(field).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Answer again")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".place")).to_have_text("2/2")
    expect(field).to_be_focused()
    page.locator("#model").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("other")
    page.keyboard.press("Enter")
    expect(page.locator("#model-label")).to_have_text(OTHER)
    expect(field).to_be_focused()


@pytest.mark.slow
def test_tab_goes_through_the_page_in_the_order_that_it_is_read(page: Page) -> None:
    send(page, "Bread")
    expect(page.locator(".stats")).to_contain_text("tokens")
    page.evaluate("() => { document.activeElement.blur(); getSelection().removeAllRanges(); }")
    page.locator(".skip").focus()
    seen: list[str] = []
    for _ in range(19):
        seen.append(page.evaluate(_NAME))
        assert page.evaluate(_OUTLINED), seen[-1]
        page.keyboard.press("Tab")
    assert seen == [
        "Skip to the message field",
        "New conversation",
        "Bread",
        "Rename Bread",
        "Export Bread",
        "Delete Bread",
        "Export all",
        "Import",
        "Colours: as the system",
        f"Model: {MODEL}",
        "Settings of this conversation",
        "Conversation",
        "Copy message",
        "Edit message",
        "Copy answer",
        "Answer again",
        "Message",
        *seen[17:],
    ]


_NAME = """() => {
  const one = document.activeElement;
  return (one.getAttribute("aria-label") ?? one.textContent).trim().replace(/\\s+/g, " ");
}"""
_OUTLINED = """() => {
  const one = document.activeElement;
  const box = one.id === "message" ? one.closest("form") : one;
  const style = getComputedStyle(box);
  return one === document.body || style.outlineStyle !== "none" || style.boxShadow.includes("0px 0px 0px 1px");
}"""


def test_an_answer_is_read_aloud_in_whole_blocks_and_once(page: Page, host: ScriptedHost) -> None:
    script = host.says("One ", "two.\n\n", "Three ", "four.\n\n", "Fi", "ve.", held=True)
    send(page, "Go")
    announcer = page.locator("#announcer p")
    expect(announcer).to_have_text(["Answering", "One two.", "Three four."])
    script.held = False
    expect(announcer).to_have_text(["Answering", "One two.", "Three four.", "Five."])


@pytest.mark.slow
def test_colours_follow_the_system_until_somebody_says_otherwise(page: Page) -> None:
    def paper() -> str:
        return str(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))

    page.emulate_media(color_scheme="light")
    light = paper()
    page.emulate_media(color_scheme="dark")
    dark = paper()
    assert light != dark
    button = page.get_by_role("button", name="Colours")
    button.click()
    expect(button).to_have_text("Colours: light")
    assert paper() == light
    page.reload()
    expect(button).to_have_text("Colours: light")
    assert paper() == light
    button.click()
    assert paper() == dark


@pytest.mark.slow
def test_who_wants_no_motion_sees_none(page: Page, host: ScriptedHost) -> None:
    page.emulate_media(reduced_motion="reduce")
    script = host.says("One ", "two", held=True)
    send(page, "Go")
    expect(page.locator(".pulse")).to_be_visible()
    moving = "() => document.getAnimations().filter((one) => one.playState === 'running').length"
    assert page.evaluate(moving) == 0
    script.held = False


@pytest.mark.slow
def test_on_a_telephone_the_list_slides_over_and_nothing_is_cut_off(browser: Browser, place: Listening) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(place.url)
    expect(page.locator("#model-label")).to_have_text(MODEL)
    field = page.get_by_role("textbox", name="Message")
    field.fill("Bread")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".stats")).to_contain_text("tokens")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Conversations").click()
    listed = page.get_by_role("button", name="Bread", exact=True)
    expect(listed).to_be_visible()
    page.keyboard.press("Escape")
    expect(listed).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(listed).to_be_hidden()
    context.close()


@pytest.mark.slow
def test_the_newest_stays_in_sight_until_somebody_reads_further_up(page: Page, host: ScriptedHost) -> None:
    script = host.says("line\n\n" * 80, "the end", held=True)
    send(page, "Go")
    expect(page.locator(".answer p").nth(79)).to_be_in_viewport()
    page.locator("#talk").hover()
    page.mouse.wheel(0, -2000)
    expect(page.get_by_role("button", name="To the newest")).to_be_visible()
    script.held = False
    expect(page.locator(".stats")).to_contain_text("tokens")
    newest = page.locator(".answer").get_by_text("the end")
    expect(newest).not_to_be_in_viewport()
    page.get_by_role("button", name="To the newest").click()
    expect(newest).to_be_in_viewport()
