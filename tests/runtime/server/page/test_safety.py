"""What a model, a name or another site says stays text, and another site gets nothing through the page."""

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from playwright.sync_api import APIResponse, Browser, Page, expect

from unillm.registry.settings import RegistrySettings
from unillm.runtime.server.guard import Rules
from unillm.runtime.server.page.endpoints import STATIC
from unillm.tests.runtime.server.page.conftest import MODEL
from unillm.tests.runtime.server.page.test_chat import send
from unillm.tests.support.scripted_host import Listening, ScriptedHost, listening, resident

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
ATTACKS = [
    "<script>window.struck = 1</script>",
    "<img src=x onerror='window.struck = 1'>",
    "<svg onload=window.struck=1>",
    "<iframe srcdoc='<script>parent.struck=1</script>'></iframe>",
    "[a](javascript:window.struck=1)",
    "[a](JaVaScRiPt:window.struck=1)",
    "[a](data:text/html,<script>struck=1</script>)",
    "[a](vbscript:x) <javascript:window.struck=1>",
    "[a](https://user:word@example.com/)",
    "![a](https://example.com/seen.png)",
    "![a](x' onerror='window.struck=1)",
    "```<img src=x onerror=window.struck=1>\n<img src=x onerror=window.struck=1>\n```",
    "| <img src=x onerror=window.struck=1> |\n|---|\n| <b onclick=x>b</b> |",
    "<a href='javascript:window.struck=1' style='position:fixed;inset:0'>x</a>",
    "`<img src=x onerror=window.struck=1>`",
    "# <img src=x onerror=window.struck=1>",
    '[<img src=x onerror=window.struck=1>](https://example.com "<img src=x onerror=window.struck=1>")',
]


def test_what_a_model_says_never_becomes_more_than_text_and_links(page: Page, host: ScriptedHost) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for attack in ATTACKS:
        host.says(*attack[:-1].split("|||"), attack[-1])
        send(page, attack)
        expect(page.locator(".stats").last).to_contain_text("tokens")
    assert page.evaluate("() => window.struck") is None
    found = page.evaluate(
        """() => {
          const said = [...document.querySelectorAll("#turns *")];
          return {
            tags: [...new Set(said.map((one) => one.localName))],
            handlers: said.flatMap((one) => one.getAttributeNames()).filter((name) => /^(on|style|src)/.test(name)),
            targets: [...document.querySelectorAll("#turns a")].map((one) => [one.protocol, one.rel, one.target]),
          };
        }"""
    )
    assert not {"script", "img", "iframe", "style", "object", "embed", "form"} & set(found["tags"])
    assert found["handlers"] == []
    assert {tuple(one) for one in found["targets"]} == {("https:", "noopener noreferrer nofollow", "_blank")}
    assert [url for url in asked if "example.com" in url or url.endswith("/x")] == []


@pytest.mark.slow
def test_a_link_shows_where_it_leads(page: Page, host: ScriptedHost) -> None:
    host.says("[https://bank.example](https://evil.example/bank.example)")
    send(page, "Go")
    expect(page.locator(".answer a")).to_have_text("https://bank.example (evil.example)")


def test_names_are_text_too(browser: Browser, settings: RegistrySettings) -> None:
    """A folder that is served may be called anything."""
    name = "<img src=x onerror=window.struck=1>\u202egnp.exe"
    host = ScriptedHost(loaded=[resident(name)])
    with listening(settings, host=host) as place, _fresh(browser) as page:
        page.route("**/models", lambda route: route.fulfill(json=_renamed(place, name)))
        page.goto(place.url)
        expect(page.locator("#model-label")).to_contain_text("<img src=x onerror=window.struck=1>\ufffdgnp.exe")
        page.locator("#model").click()
        expect(page.get_by_role("option", name="<img src=x")).to_be_visible()
        page.keyboard.press("Escape")
        host.says("Hello.")
        send(page, "<img src=x onerror=window.struck=1>")
        expect(page.get_by_role("navigation").get_by_text("<img src=x onerror")).to_be_visible()
        assert page.evaluate("() => [window.struck, document.querySelectorAll('img').length]") == [None, 1]


def _renamed(place: Listening, name: str) -> object:
    told = httpx.get(f"{place.url}/models", timeout=30).json()
    return {**told, "models": [{**told["models"][0], "name": name}]}


class _fresh:  # noqa: N801 - used as a word
    """A page of its own context, until the block ends."""

    def __init__(self, browser: Browser) -> None:
        self._context = browser.new_context()
        self._context.set_default_timeout(60_000)

    def __enter__(self) -> Page:
        return self._context.new_page()

    def __exit__(self, *_: object) -> None:
        self._context.close()


def test_the_page_is_for_browsers_and_other_clients_hear_ollamas_words(place: Listening) -> None:
    with httpx.Client(base_url=place.url) as client:
        page = client.get("/", headers=HTML)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["vary"] == "Accept"
        for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
            assert client.get("/", headers=accept).text == "Ollama is running"
        assert client.head("/").status_code == 200


def test_nothing_foreign_and_nothing_inline_may_run(place: Listening) -> None:
    headers = httpx.get(place.url, headers=HTML).headers
    policy = {part.split()[0]: part.split()[1:] for part in headers["content-security-policy"].split(";")}
    assert policy["default-src"] == ["'none'"]
    assert all(policy[name] == ["'self'"] for name in ("script-src", "style-src", "img-src", "connect-src"))
    assert all(policy[name] == ["'none'"] for name in ("base-uri", "form-action", "frame-ancestors"))
    assert policy["trusted-types"] == ["'none'"]
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert httpx.get(f"{place.url}/health").headers["x-content-type-options"] == "nosniff"


def test_every_file_is_sent_as_what_it_is_and_not_twice(place: Listening) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    with httpx.Client(base_url=place.url) as client:
        for path in STATIC.iterdir():
            sent = client.get(f"/page/{path.name}")
            assert (sent.status_code, sent.content) == (200, path.read_bytes())
            assert sent.headers["content-type"].startswith(types[path.suffix])
            again = client.get(f"/page/{path.name}", headers={"If-None-Match": sent.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        for nowhere in ("/page/", "/page/../guard.py", "/page/%2e%2e/guard.py", "/page/nosuch.js"):
            assert client.get(nowhere).status_code == 404


def test_no_file_reads_html_or_asks_for_anything_elsewhere() -> None:
    wrong = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser")
    for path in STATIC.glob("*.js"):
        text = path.read_text("utf-8")
        assert [word for word in wrong if word in text] == [], path.name
    for path in (*STATIC.glob("*.html"), *STATIC.glob("*.css")):
        text = path.read_text("utf-8")
        assert "http://" not in text.replace("http://www.w3.org/", "")
        assert "https://" not in text
        assert not [word for word in ("onclick", "style=", "@import", "url(") if word in text], path.name


@pytest.fixture(scope="module")
def keyed(settings: RegistrySettings) -> Iterator[Listening]:
    with listening(settings, Rules(keys=("right",)), ScriptedHost(loaded=[resident(MODEL)])) as place:
        yield place


def test_the_key_is_asked_for_once_and_kept_in_the_tab(browser: Browser, keyed: Listening) -> None:
    with _fresh(browser) as page:
        page.goto(keyed.url)
        page.get_by_label("Key", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert").filter(has_text="The key before was wrong.")).to_be_visible()
        page.get_by_label("Key", exact=True).fill("right")
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#model-label")).to_have_text(MODEL)
        send(page, "Hello")
        expect(page.locator(".answer .text")).to_have_text("You said: Hello")
        page.reload()
        expect(page.locator("#model-label")).to_have_text(MODEL)
        expect(page.get_by_role("dialog")).to_have_count(0)
        kept = page.evaluate("() => [JSON.stringify({...localStorage}), document.cookie]")
        assert "right" not in "".join(kept)


def test_without_a_key_the_files_are_all_that_is_told(keyed: Listening) -> None:
    with httpx.Client(base_url=keyed.url) as client:
        assert client.get("/", headers=HTML).status_code == 200
        assert client.get("/page/app.js").status_code == 200
        for path in ("/", "/models", "/api/tags", "/page/nosuch.js"):
            refused = client.get(path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


FOREIGN = """<!doctype html><title>elsewhere</title><iframe src="{url}/"></iframe><script>
const tried = (path, how) => fetch("{url}" + path, how).then((r) => r.text(), () => "refused");
const json = {{method: "POST", body: '{{"model": "tiny", "messages": [{{"role": "user", "content": "x"}}]}}'}};
Promise.all([
  tried("/models"), tried("/api/chat", json), tried("/api/chat", {{...json, mode: "no-cors"}}),
  tried("/api/delete", {{method: "DELETE"}}), tried("/api/pull", {{...json, mode: "no-cors"}}),
]).then((all) => {{ document.title = JSON.stringify([all, frames.length]); }});
</script>"""


@pytest.fixture
def elsewhere(place: Listening) -> Iterator[str]:
    """Another site, whose page does what it can."""
    body = FOREIGN.format(url=place.url).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            return

    site = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://evil.example:{site.server_port}/"
    site.shutdown()
    site.server_close()
    thread.join()


def test_a_foreign_site_gets_nothing_and_does_nothing(browser: Browser, host: ScriptedHost, elsewhere: str) -> None:
    """SV-05, with a real browser: neither by asking nor by a frame."""
    port = elsewhere.rpartition(":")[2].strip("/")
    with _fresh(browser) as page:
        page.route("http://evil.example:*/**", lambda route: route.fulfill(response=_from(page, port)))
        page.goto(elsewhere)
        expect(page).to_have_title(re.compile(r'^\[\[("(refused)?",?){5}\],1\]$'))
        framed = page.frames[1]
        assert framed.evaluate("() => document.querySelectorAll('#message').length") == 0
    assert host.asked == []


def _from(page: Page, port: str) -> APIResponse:
    return page.request.get(f"http://127.0.0.1:{port}/")


OWN_PLACE = [
    ((), "127.0.0.1:8080", "http://127.0.0.1:8080", True),
    ((), "192.168.1.5:8080", "http://192.168.1.5:8080", True),
    ((), "8.8.8.8", "https://8.8.8.8", True),
    ((), "box.local:8080", "http://box.local:8080", True),
    ((), "192.168.1.5:8080", "http://192.168.1.6:8080", False),
    ((), "192.168.1.5:8080", "http://192.168.1.5:9090", False),
    ((), "evil.example:8080", "http://evil.example:8080", False),
    ((), "192.168.1.5", "null", False),
    (("right",), "chat.example", "https://chat.example", True),
    (("right",), "chat.example", "https://evil.example", False),
]


@pytest.mark.parametrize("keys", [(), ("right",)])
def test_a_page_may_call_the_server_that_it_came_from(settings: RegistrySettings, keys: tuple[str, ...]) -> None:
    """A name that anybody can have mean this machine is believed only where a key is needed."""
    with listening(settings, Rules(keys=keys, local=False)) as place:
        for host, origin, is_let_in in (row[1:] for row in OWN_PLACE if row[0] == keys):
            headers = {"Host": host, "Origin": origin, "Authorization": "Bearer right"}
            answer = httpx.post(f"{place.url}/tokenize", json={"model": MODEL, "text": "x"}, headers=headers)
            assert (host, origin, answer.status_code) == (host, origin, 200 if is_let_in else 403)
