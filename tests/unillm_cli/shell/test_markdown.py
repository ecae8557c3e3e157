"""Markdown for a terminal: what it means is shown, and not a letter of the model's vanishes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unillm.unillm_cli.shell.markdown import Page

PAGE = Page("standard")
CODES = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str, width: int = 60) -> str:
    return CODES.sub("", "\n".join(line.rstrip() for line in PAGE.lines(text, width)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# Title", "Title"),
        ("some **bold** and `code`", "some bold and code"),
        ("roses are red\nviolets are blue", "roses are red\nviolets are blue"),
        ("- one\n- two\n  - three", " • one\n • two\n    • three"),
        ("3. three\n4. four", " 3 three\n 4 four"),
        ("```python\nprint(1)\n```", "  print(1)"),
        ("```\nnot yet closed", "  not yet closed"),
        ("[text](http://e.x)", "text (http://e.x)"),
    ],
)
def test_it_is_shown_as_it_is_meant(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "<div>not HTML</div>",
        "a <b>bold</b> word",
        r"\( x^2 \) and \[ y \]",
        "&amp; &lt; &nbsp;",
        "[1]: http://e.x",
        "![a picture](http://e.x/a.png)"[1:],
        "<http://e.x>",
        "5 * 3 * 2, a_b_c, 2 < 3",
        "[bold red]rich's own marks[/] :smile:",
    ],
)
def test_what_other_programs_would_hide_stays(text: str) -> None:
    letters = re.sub(r"[\s()\[\]]", "", text)
    assert re.sub(r"[\s()\[\]]", "", plain(text)) == letters


def test_there_is_nothing_to_click() -> None:
    assert "\x1b]8" not in "".join(PAGE.lines("[x](http://e.x) <http://e.x> ![y](http://e.x)", 60))


@pytest.mark.parametrize("width", [8, 19, 60])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    text = (
        "# "
        + "漢字" * 20
        + "\n\n- "
        + "word " * 20
        + "\n\n```\n"
        + "x" * 90
        + "\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    )
    from rich.cells import cell_len

    assert max(cell_len(CODES.sub("", line)) for line in PAGE.lines(text, width)) <= width


BLOCKS = [
    "# Title",
    "words\nmore",
    "- a\n- b",
    "- a\n\n- b",
    "1. a\n2. b",
    "```\ncode\n\ncode\n```",
    "> said",
    "---",
    "a|b\n-|-\n1|2",
]


@given(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=5), st.integers(0, 200))
def test_what_is_finished_no_further_text_changes(blocks: list[str], cut: int) -> None:
    whole = "\n\n".join(blocks)
    done = PAGE.finished(whole[:cut])
    assert whole[:cut].startswith(whole[:done])
    if done:
        apart = f"{plain(whole[:done])}\n\n{plain(whole[done:])}"
        assert squeezed(apart) == squeezed(plain(whole))


def squeezed(text: str) -> str:
    """Blank lines and where list items stand do not count: a list that goes on may have been cut."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())
