"""The page before the server as people start it, with a model that computes what it says."""

import pytest
from playwright.sync_api import Browser, expect

from unillm.tests.runtime.server.page.test_chat import send
from unillm.tests.support.serving import Serving


@pytest.mark.slow
def test_a_real_server_answers_and_is_stopped(browser: Browser, server: Serving) -> None:
    context = browser.new_context()
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(server.url)
    expect(page.locator("#model-label")).to_have_text(server.model)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Longest answer").fill("12")
    page.get_by_label("Temperature").fill("0")
    page.get_by_role("button", name="Done").click()
    send(page, "Once")
    expect(page.locator(".stats")).to_contain_text("12 tokens")
    expect(page.locator(".stats")).to_contain_text("ended at the longest length")
    messages = [{"role": "user", "content": "Once"}]
    options = {"temperature": 0, "num_predict": 12}
    said = server.post("/api/chat", messages=messages, options=options, stream=False).json()["message"]["content"]
    kept = page.evaluate("() => document.querySelector('.answer .text').shownBlocks.map((one) => one.source).join('')")
    assert "".join(kept.split()) == "".join(said.split())
    expect(page.locator("#context-text")).to_contain_text("of 512 tokens")
    context.close()
