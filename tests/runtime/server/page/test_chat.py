"""Conversations on the page, in a real browser: asked, streamed, stopped, asked again, kept."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from unillm.runtime.hosting.asking import Fault
from unillm.runtime.hosting.faults import ENGINE_GONE
from unillm.runtime.results import Usage
from unillm.tests.runtime.server.page.conftest import MODEL, OTHER, THINKER
from unillm.tests.support.hosts import until
from unillm.tests.support.scripted_host import Listening, ScriptedHost


def send(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message").fill(text)
    page.keyboard.press("Enter")


def choose(page: Page, name: str) -> None:
    page.locator("#model").click()
    page.get_by_role("option", name=name).click()


def test_an_answer_comes_piece_by_piece(page: Page, host: ScriptedHost) -> None:
    script = host.says("It **was** ", "a dark night.", held=True)
    send(page, "Tell me")
    expect(page.locator(".bubble")).to_have_text("Tell me")
    expect(page.locator(".answer strong")).to_have_text("was")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.locator(".answer .text")).not_to_contain_text("night")
    script.held = False
    expect(page.locator(".answer .text")).to_have_text("It was a dark night.")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.locator(".stats")).to_contain_text("14 tokens/s")
    expect(page.locator(".stats")).to_contain_text("8 tokens")
    expect(page.locator("#context-text")).to_have_text("20 of 2,048 tokens")


def test_what_is_asked_is_the_conversation_and_its_settings(page: Page, host: ScriptedHost) -> None:
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Be brief")
    page.get_by_label("Temperature").fill("0.3")
    page.get_by_label("Longest answer").fill("99")
    page.get_by_label("Seed").fill("7")
    page.get_by_role("button", name="Done").click()
    host.says("Hello.")
    send(page, "Hi")
    expect(page.locator(".answer .text")).to_have_text("Hello.")
    send(page, "More")
    expect(page.locator(".answer .text").nth(1)).to_have_text("You said: More")
    asked = host.asked[-1]
    assert [(one["role"], one["content"]) for one in asked.messages or ()] == [
        ("system", "Be brief"),
        ("user", "Hi"),
        ("assistant", "Hello."),
        ("user", "More"),
    ]
    assert (asked.params.temperature, asked.params.max_tokens, asked.params.seed) == (0.3, 99, 7)
    assert (asked.model, asked.truncate) == (MODEL, False)


def test_an_answer_is_stopped_and_what_came_is_kept(page: Page, host: ScriptedHost) -> None:
    script = host.says("Once ", "upon", held=True)
    send(page, "Go")
    expect(page.locator(".answer .text")).to_have_text("Once")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".stats")).to_have_text("stopped")
    expect(page.locator(".answer .text")).to_have_text("Once")
    expect(page.get_by_role("textbox", name="Message")).to_be_focused()
    until(lambda: script.aborted)


@pytest.mark.slow
def test_escape_stops_too(page: Page, host: ScriptedHost) -> None:
    host.says("Once ", "upon", held=True)
    send(page, "Go")
    expect(page.locator(".answer .text")).to_have_text("Once")
    page.keyboard.press("Escape")
    expect(page.locator(".stats")).to_have_text("stopped")


def test_another_answer_stands_beside_the_first(page: Page, host: ScriptedHost) -> None:
    host.says("First.")
    send(page, "Go")
    expect(page.locator(".answer .text")).to_have_text("First.")
    host.says("Second.")
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".answer .text")).to_have_text("Second.")
    page.get_by_role("button", name="Answer before").click()
    expect(page.locator(".answer .text")).to_have_text("First.")
    send(page, "On")
    expect(page.locator(".answer .text").nth(1)).to_contain_text("On")
    assert [one["content"] for one in host.asked[-1].messages or ()] == ["Go", "First.", "On"]


def test_answers_messages_and_code_are_copied_as_they_were_written(
    page: Page, context: BrowserContext, host: ScriptedHost
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer = "Do **so**:\n\n```python\nx = '<b>'\n\ny = 2\n```\n"
    host.says(answer)
    send(page, "How *then*?")
    expect(page.locator(".stats")).to_contain_text("tokens")
    for name, text in (("Copy code", "x = '<b>'\n\ny = 2"), ("Copy answer", answer), ("Copy message", "How *then*?")):
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("button", name=name.replace("Copy ", "").capitalize() + " copied")).to_be_visible()
        assert page.evaluate("() => navigator.clipboard.readText()") == text


@pytest.mark.slow
def test_a_message_is_edited_and_what_was_cut_comes_back(page: Page) -> None:
    send(page, "One")
    expect(page.locator(".answer .text")).to_contain_text("One")
    send(page, "Two")
    expect(page.locator(".answer .text").nth(1)).to_contain_text("Two")
    page.locator(".said").first.hover()
    page.get_by_role("button", name="Edit message").first.click()
    expect(page.get_by_role("textbox", name="Message")).to_have_value("One")
    expect(page.locator(".turn")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".turn")).to_have_count(2)


def test_the_model_is_switched_within_a_conversation(page: Page, host: ScriptedHost) -> None:
    send(page, "One")
    expect(page.locator(".who")).to_have_text(MODEL)
    choose(page, OTHER)
    expect(page.locator("#model-label")).to_have_text(OTHER)
    send(page, "Two")
    expect(page.locator(".answer .text").nth(1)).to_contain_text("Two")
    expect(page.locator(".who").nth(1)).to_have_text(OTHER)
    assert [one.model for one in host.asked] == [MODEL, OTHER]


def test_thoughts_fold_away(page: Page, host: ScriptedHost) -> None:
    choose(page, THINKER)
    script = host.says("It is so.", thoughts=["Let me see. ", "Yes."], held=True)
    send(page, "Is it?")
    expect(page.locator(".thoughts summary")).to_have_text("Thinking…")
    script.held = False
    expect(page.locator(".thoughts summary")).to_contain_text("Thought for")
    expect(page.locator(".answer .text")).to_have_text("It is so.")
    expect(page.locator(".thoughts-text")).to_be_hidden()
    page.locator(".thoughts summary").click()
    expect(page.locator(".thoughts-text")).to_have_text("Let me see. Yes.")
    page.reload()
    expect(page.locator(".thoughts summary")).to_be_visible()


def test_conversations_are_there_after_a_reload(page: Page) -> None:
    send(page, "Remember **me**")
    expect(page.locator(".answer strong")).to_have_text("me")
    page.reload()
    expect(page.locator(".answer strong")).to_have_text("me")
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    page.reload()
    expect(page.locator(".turn")).to_have_count(0)
    page.get_by_role("navigation").get_by_role("button", name="Remember **me**", exact=True).click()
    expect(page.locator(".answer strong")).to_have_text("me")


@pytest.mark.slow
def test_an_answer_that_a_reload_broke_off_says_so(page: Page, host: ScriptedHost) -> None:
    script = host.says("Half of ", "it", held=True)
    send(page, "Go")
    expect(page.locator(".answer .text")).to_have_text("Half of")
    page.reload()
    expect(page.locator(".problem")).to_contain_text("The page was closed in the middle of this answer.")
    expect(page.locator(".answer .text")).to_have_text("Half of")
    until(lambda: script.aborted)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".answer .text")).to_have_text("You said: Go")


@pytest.mark.slow
def test_what_is_being_written_outlives_a_reload(page: Page) -> None:
    page.get_by_role("textbox", name="Message").fill("half a thou")
    page.reload()
    expect(page.get_by_role("textbox", name="Message")).to_have_value("half a thou")


@pytest.mark.slow
def test_conversations_are_renamed_deleted_and_brought_back(page: Page) -> None:
    send(page, "Bread")
    expect(page.locator(".stats")).to_contain_text("8 tokens")
    page.get_by_role("navigation").get_by_text("Bread").hover()
    page.get_by_role("button", name="Rename Bread").click()
    page.get_by_label("Name of the conversation").fill("Of bread")
    page.keyboard.press("Enter")
    listed = page.get_by_role("navigation")
    expect(listed.get_by_role("button", name="Of bread", exact=True)).to_be_focused()
    page.reload()
    expect(listed.get_by_role("button", name="Of bread", exact=True)).to_be_visible()
    listed.get_by_text("Of bread").hover()
    page.get_by_role("button", name="Delete Of bread").click()
    expect(listed.get_by_role("listitem")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".bubble")).to_have_text("Bread")
    listed.get_by_text("Of bread").hover()
    page.get_by_role("button", name="Delete Of bread").click()
    page.reload()
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    expect(listed.get_by_role("listitem")).to_have_count(0)


@pytest.mark.slow
def test_conversations_are_exported(page: Page, tmp_path: Path) -> None:
    send(page, "Bread")
    expect(page.locator(".stats")).to_contain_text("8 tokens")
    page.get_by_role("navigation").get_by_text("Bread").hover()
    with page.expect_download() as one:
        page.get_by_role("button", name="Export Bread").click()
    assert one.value.suggested_filename == "Bread.md"
    one.value.save_as(tmp_path / "one.md")
    assert (tmp_path / "one.md").read_text() == f"# Bread\n\n**You**\n\nBread\n\n**{MODEL}**\n\nYou said: Bread\n"
    with page.expect_download() as everything:
        page.get_by_role("button", name="Export all").click()
    everything.value.save_as(tmp_path / "all.json")
    (kept,) = json.loads((tmp_path / "all.json").read_text())
    assert kept["turns"][0]["answers"][0]["text"] == "You said: Bread"


def kept(id: str, text: str, **more: object) -> dict[str, object]:  # noqa: A002 (as the page calls it)
    """A conversation as the page exports it."""
    answer = {"model": MODEL, "text": f"Of {text}", "thinking": "", "state": "done", "problem": None, "stats": None}
    turn = {"text": text, "answers": [answer], "shown": 0}
    times = {"made": 1_700_000_000_000, "changed": 1_700_000_000_000}
    return {"id": id, "title": "", **times, "model": MODEL, "settings": {"seed": 7}, "turns": [turn], **more}


def test_what_was_exported_comes_in_again_and_nothing_else(page: Page, host: ScriptedHost, tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    strange = [{"id": "c"}, 5, kept("d", "Odd", turns=[{"text": 1}]), kept("e", "No date", changed=1e99)]
    file.write_text(json.dumps([kept("a", "Bread"), kept("b", "Otters", changed=1_700_000_000_001), *strange]))
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name="Import").click()
    choosing.value.set_files(file)
    expect(page.locator(".toast")).to_contain_text("2 of 6 conversations came in; 4 cannot be read.")
    listed = page.get_by_role("navigation")
    listed.get_by_role("button", name="Bread", exact=True).click()
    expect(page.locator(".answer .text")).to_have_text("Of Bread")
    send(page, "And rolls?")
    expect(page.locator(".answer .text").nth(1)).to_have_text("You said: And rolls?")
    assert (host.asked[-1].params.seed, len(host.asked[-1].messages or ())) == (7, 3)
    page.locator("#take-file").set_input_files(file)
    expect(page.locator(".toast")).to_contain_text("0 of 6 conversations came in; 2 were here already")
    expect(page.locator(".answer .text")).to_have_count(2)
    page.reload()
    expect(listed.get_by_role("listitem")).to_have_count(2)
    file.write_text("<script>")
    page.locator("#take-file").set_input_files(file)
    expect(page.locator(".toast")).to_contain_text("all.json holds no conversations: it is not JSON.")


@pytest.mark.slow
def test_a_conversation_of_another_tab_comes_in(page: Page, context: BrowserContext, place: Listening) -> None:
    other = context.new_page()
    other.goto(place.url)
    expect(other.locator("#model-label")).to_have_text(MODEL)
    send(other, "From over there")
    listed = page.get_by_role("navigation").get_by_role("button", name="From over there", exact=True)
    expect(listed).to_be_visible()


REFUSALS = [
    (Fault("not_found", "no"), f"{MODEL} is not here. Choose another model", "Choose a model"),
    (Fault("busy", "full", retry_after=5.0), "the line is full. Try again in about 5 seconds.", "Try again"),
    (Fault("no_memory", "x needs 9 GB of memory"), "no room for this model in memory. X needs 9 GB", "Choose a model"),
    (ENGINE_GONE, "The model's engine has ended. Try again", "Try again"),
    (Fault("invalid", "temperature is wrong"), "did not accept this. Temperature is wrong.", "Settings"),
    (Fault("internal", "something went wrong inside"), "Something went wrong in the server.", "Try again"),
]


def test_what_the_server_refuses_is_told_with_the_next_step(page: Page, host: ScriptedHost) -> None:
    for place, (fault, told, step) in enumerate(REFUSALS):
        host.says(refused=fault)
        send(page, f"Hello {place}")
        problem = page.locator(".problem").nth(place)
        expect(problem).to_be_visible()
        expect(problem.get_by_role("button", name=step)).to_be_visible()
        assert told.replace(" ", "") in (problem.text_content() or "").replace(" ", "")
        expect(page.locator(".bubble").last).to_have_text(f"Hello {place}")
        expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_an_answer_that_breaks_off_keeps_what_came(page: Page, host: ScriptedHost) -> None:
    host.says("So far", fault=ENGINE_GONE)
    send(page, "Hello")
    expect(page.locator(".problem")).to_contain_text("The answer broke off.")
    expect(page.locator(".answer .text")).to_have_text("So far")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".answer .text")).to_have_text("You said: Hello")


def test_a_conversation_too_long_goes_on_without_its_oldest(page: Page, host: ScriptedHost) -> None:
    host.says(refused=Fault("too_long", "3000 tokens, where 2048 fit"))
    send(page, "Hello")
    expect(page.locator(".problem")).to_contain_text("longer than the model can read at once")
    page.get_by_role("button", name="Leave out the oldest").click()
    expect(page.locator(".answer .text")).to_have_text("You said: Hello")
    assert [one.truncate for one in host.asked] == [False, True]


@pytest.mark.slow
def test_a_question_without_an_answer_is_a_part_of_the_next(page: Page, host: ScriptedHost) -> None:
    host.says(refused=Fault("internal", "no"))
    send(page, "First")
    expect(page.locator(".problem")).to_be_visible()
    send(page, "Second")
    expect(page.locator(".answer .text").nth(1)).to_contain_text("Second")
    assert [one["content"] for one in host.asked[-1].messages or ()] == ["First\n\nSecond"]


@pytest.mark.slow
def test_a_server_that_goes_away_and_comes_back(page: Page, host: ScriptedHost, place: Listening) -> None:
    script = host.says("So ", "far", held=True)
    send(page, "Hello")
    expect(page.locator(".answer .text")).to_have_text("So")
    place.stop()
    try:
        expect(page.locator(".problem")).to_contain_text("The connection broke in the middle of the answer.")
        expect(page.locator(".answer .text")).to_have_text("So")
        send(page, "Still there?")
        expect(page.locator("#notice")).to_contain_text("does not answer. Start it with unillm serve")
        expect(page.locator(".bubble").nth(1)).to_have_text("Still there?")
    finally:
        script.held = False
        place.start()
    expect(page.locator("#notice")).to_be_hidden()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".answer .text").nth(1)).to_contain_text("Still there?")


@pytest.mark.slow
def test_an_answer_goes_on_while_another_conversation_is_open(page: Page, host: ScriptedHost) -> None:
    script = host.says("Slow ", "one.", held=True)
    send(page, "Slow")
    expect(page.locator(".answer .text")).to_have_text("Slow")
    page.get_by_role("button", name="New conversation").click()
    send(page, "Quick")
    expect(page.locator(".answer .text")).to_have_text("You said: Quick")
    script.held = False
    page.get_by_role("navigation").get_by_role("button", name="Slow", exact=True).click()
    expect(page.locator(".answer .text")).to_have_text("Slow one.")


@pytest.mark.slow
def test_how_full_the_context_is_is_shown(page: Page, host: ScriptedHost) -> None:
    host.says("Much.", usage=Usage(1900, 100, 0))
    send(page, "Much")
    expect(page.get_by_role("meter", name="Context in use")).to_have_attribute(
        "aria-valuetext", "2,000 of 2,048 tokens"
    )
    expect(page.locator("#context .bar")).to_have_attribute("data-level", "high")
