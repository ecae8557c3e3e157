"""Markdown as the page shows it, held against an implementation that is not ours; and text that is made to be hard."""

from collections.abc import Iterator
from html.parser import HTMLParser
from time import monotonic
from typing import Any

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Browser, Page, expect

from unillm.tests.support.scripted_host import Listening

SAMPLES = [
    "One\ntwo\n\nthree",
    "# One\n\n### Three ###\n\n###### Six\ntext",
    "*a* **b** ***c*** _d_ __e__ ~~f~~ `g`",
    "a*b*c snake_case_name 2 * 3 * 4 5*6",
    "**bold *both* bold** *it **both** it*",
    "*open **open `open",
    "a \\* b \\_ c \\` d \\\\ e",
    "`` a ` b `` and ` `` ` and `a\nb`",
    "- a\n- b\n  - c\n    - d\n- e",
    "- a\n\n- b\n\n  more\n- c",
    "* a\n+ b\n- c",
    "1. a\n2. b\n   - c\n\n3. d",
    "7. a\n8. b",
    "1) a\n2) b",
    "- a\nlazy\n- b",
    "text\n- a\n- b",
    "in\n1984. He",
    "> a\n> b\n>\n> - c\n\nd",
    "> > a",
    "```python\nx = 1\n\n  y\n```\nafter",
    "~~~\n```\n~~~",
    "```make\nall:\n\tgcc x.c\n```\nend",
    "````\n```\n````",
    "```\nno end\n",
    "- a\n\n  ```js\n  x\n  ```\n- b",
    "1. a\n   ```\n   x\n   ```\n2. b",
    "---\n\n***\n\n- - -",
    "| a | b |\n|---|:-:|\n| 1 | 2 |\n| `x` | *y* |\n\nend",
    "a | b\n--|--\n1 | 2\n3",
    "| a \\| b |\n|---|\n| c |",
    '[a](https://example.com/x) [b *c*](<https://example.com/y z> "t") [d](https://example.com/(e))',
    "[not] (a link) and [nor](this",
    "<https://example.com/a> <b>no</b> &amp; < >",
    'a&b < c > d "e"',
    "  indented\n   three",
    "a  \nb\\\nc",
    "**Name:** text\n**Other:** text",
    'Hello, *world*! (**yes**) "*no*"',
    "1. **One**: a\n\n   b\n\n2. **Two**: c",
]
NAMES = {**dict.fromkeys((f"h{level}" for level in range(1, 7)), "h"), "s": "del"}
LEFT_OUT = {"div", "span", "tbody", "thead", "button", "svg", "use"}


class Outline(HTMLParser):
    """Tags without most attributes, and text: what both must have in common."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._hidden, self._in_code = 0, False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self._in_code |= tag == "code"
        if told.get("class") in ("code-head", "host") or self._hidden:
            self._hidden += tag not in ("input", "br", "hr")
        elif tag not in LEFT_OUT:
            kept = [str(told[name]) for name in ("href", "start") if told.get(name)]
            self.found.append(" ".join([self._name(tag), *kept]))

    def handle_endtag(self, tag: str) -> None:
        self._in_code &= tag != "code"
        if tag == "code" and self.found:
            self.found[-1] = self.found[-1].rstrip("\n")
        if self._hidden:
            self._hidden -= 1
        elif tag not in (*LEFT_OUT, "br", "hr"):
            self.found.append(f"/{self._name(tag)}")

    def handle_data(self, data: str) -> None:
        text = data if self._in_code else " ".join(data.split())
        if self._hidden or not (text if self._in_code else text.strip()):
            return
        if self.found and self.found[-1].startswith("="):
            self.found[-1] += text if self._in_code else f" {text}"
        else:
            self.found.append(f"={text}")

    def _name(self, tag: str) -> str:
        return NAMES.get(tag, tag)


@pytest.fixture(scope="module")
def blank(browser: Browser, place: Listening) -> Iterator[Page]:
    page = browser.new_page()
    page.goto(place.url)
    expect(page.locator("#model-label")).not_to_have_text("…")
    yield page
    page.close()


SHOWN = """async (texts) => {
  const { show } = await import("/page/prose.js");
  return texts.map((text) => {
    const place = document.createElement("div");
    show(place, text);
    return place.innerHTML;
  });
}"""


def test_it_reads_as_others_do(blank: Page) -> None:
    reference = MarkdownIt("commonmark", {"breaks": True, "html": False}).enable(["table", "strikethrough"])
    shown = blank.evaluate(SHOWN, SAMPLES)
    for sample, html in zip(SAMPLES, shown, strict=True):
        expected = Outline(reference.render(sample)).found
        assert (sample, Outline(html).found) == (sample, expected)


def test_a_text_that_grows_ends_as_it_would_have_come_at_once(blank: Page) -> None:
    text = "\n\n".join(SAMPLES)
    grown = """async (text) => {
      const { show } = await import("/page/prose.js");
      const [grown, whole] = [document.createElement("div"), document.createElement("div")];
      for (let end = 0; end <= text.length; end += 7) show(grown, text.slice(0, end));
      show(grown, text);
      show(whole, text);
      return grown.innerHTML === whole.innerHTML;
    }"""
    assert blank.evaluate(grown, text)


def test_what_is_shown_already_stays_as_it_is(blank: Page) -> None:
    kept = """async () => {
      const { show } = await import("/page/prose.js");
      const place = document.createElement("div");
      show(place, "One.\\n\\nTw");
      const first = place.firstChild;
      show(place, "One.\\n\\nTwo.\\n\\nThree.");
      return [place.firstChild === first, place.textContent];
    }"""
    assert blank.evaluate(kept) == [True, "One.Two.Three."]


HARD: dict[str, str] = {
    "quotes": "> " * 20_000,
    "lists": "\n".join("  " * depth + "- a" for depth in range(400)),
    "bullets": "- " * 10_000,
    "stars": "*a " * 20_000,
    "pairs": "**a *b " * 10_000,
    "ticks": " ".join("`" * (count % 50 + 1) for count in range(4000)),
    "brackets": "[" * 50_000,
    "links": "[a](" * 20_000,
    "pictures": "![" * 20_000 + "](x)" * 20_000,
    "angles": "<https://" * 10_000,
    "addresses": "https://a" * 10_000,
    "table": "|" * 20_000 + "\n" + "|-" * 20_000,
    "fences": "```\n" * 20_000,
    "a long line": "word " * 40_000,
    "marks": "\u202e\u2066" * 10_000,
    "underscores": "_" * 50_000,
    "tildes": "~~" * 20_000,
    "backslashes": "\\" * 50_000,
}


def test_text_that_is_made_to_be_hard_is_read_all_the_same(blank: Page) -> None:
    timed = """async (text) => {
      const { show } = await import("/page/prose.js");
      const place = document.createElement("div");
      show(place, text);
      return place.childElementCount;
    }"""
    for name, text in HARD.items():
        began = monotonic()
        count: Any = blank.evaluate(timed, text)
        assert count > 0, name
        assert monotonic() - began < 20, name


def test_marks_that_turn_text_round_are_seen_in_code_and_names(blank: Page) -> None:
    (html,) = blank.evaluate(SHOWN, ["`a\u202eb` and\n```\nx\u2066y\n```\n[z](https://example.com/\u202e)"])
    assert "\u202e" not in html
    assert "\u2066" not in html
