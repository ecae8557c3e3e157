"""Nothing that steers a terminal gets through, however it is cut."""

import json
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unillm.unillm_cli.escapes import TerminalText, visible

HOSTILE = [
    ("colour", "a\x1b[31mred\x1b[0mb", "aredb"),
    ("clear screen", "a\x1b[2J\x1b[Hb", "ab"),
    ("private mode", "a\x1b[?1049hb", "ab"),
    ("window title", "a\x1b]0;owned\x07b", "ab"),
    ("link", "a\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\b", "atextb"),
    ("clipboard", "a\x1b]52;c;cm0gLXJm\x07b", "ab"),
    ("device control", "a\x1bP1$r0m\x1b\\b", "ab"),
    ("C1 CSI", "a\x9b31mb", "ab"),
    ("C1 OSC, C1 end", "a\x9d52;c;cm0=\x9cb", "ab"),
    ("character set", "a\x1b(0b", "ab"),
    ("reset", "a\x1bcb", "ab"),
    ("carriage return", "good\rbad", "good\\u000dbad"),
    ("windows newline", "a\r\nb", "a\nb"),
    ("backspace", "a\bb", "a\\u0008b"),
    ("bell", "a\x07b", "a\\u0007b"),
    ("delete", "a\x7fb", "a\\u007fb"),
    ("right to left override", "a\u202eb", "a\\u202eb"),
    ("isolate", "a\u2066b\u2069", "a\\u2066b\\u2069"),
    ("line separator", "a\u2028b", "a\\u2028b"),
    ("tag", "a\U000e0041b", "a\\udb40\\udc41b"),
    ("lone surrogate", "a\ud800b", "a\\ud800b"),
    ("escape at the end", "a\x1b", "a"),
    ("sequence without an end", "a\x1b]0;never ends", "a"),
    ("sequence cut by a newline", "a\x1b]0;title\nb", "a\nb"),
]
HARMLESS = ["plain\n\ttext", "naïve café", "日本語", "שלום", "مرحبا", "👩\u200d👧", "नमस्ते", "x\u00a0y", "🇫🇷", "\ue0b0"]


def steers(text: str) -> bool:
    return any(category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c not in "\n\t\u200c\u200d" for c in text)


def through(chunks: list[str]) -> str:
    text = TerminalText()
    return "".join(map(text.push, chunks)) + text.finish()


@pytest.mark.parametrize(("name", "text", "shown"), HOSTILE, ids=[name for name, *_ in HOSTILE])
def test_a_models_text_loses_what_steers_wherever_it_is_cut(name: str, text: str, shown: str) -> None:
    """SH-01"""
    assert through([text]) == shown, name
    assert through(list(text)) == shown, name
    for cut in range(len(text)):
        assert through([text[:cut], text[cut:]]) == shown, (name, cut)


@pytest.mark.parametrize("text", HARMLESS)
def test_text_of_any_language_passes_unchanged(text: str) -> None:
    assert visible(text) == text
    assert through(list(text)) == text


@pytest.mark.parametrize(("name", "text", "_shown"), HOSTILE, ids=[name for name, *_ in HOSTILE])
def test_names_and_messages_show_what_would_steer(name: str, text: str, _shown: str) -> None:
    """SH-02, SH-03"""
    assert not steers(visible(text)), name
    assert "a" in visible(text) or "good" in visible(text)


@given(st.lists(st.text(st.sampled_from("a\x1b[]P0;m\x07\\\x9b\x9c\x9d\r\n\u202e?")), max_size=8))
def test_no_mixture_of_pieces_steers_and_cuts_do_not_matter(chunks: list[str]) -> None:
    assert not steers(through(chunks))
    assert through(chunks) == through(["".join(chunks)])


def test_a_sequence_that_never_ends_holds_back_no_more_than_a_page() -> None:
    text = TerminalText()
    shown = "".join(text.push(chunk) for chunk in ["\x1b]0;", *["x" * 100] * 100, "\nvisible again"])
    assert shown.endswith("visible again")


def test_text_is_shown_as_it_comes() -> None:
    text = TerminalText()
    assert [text.push(chunk) for chunk in ["Hel", "lo", "\n"]] == ["Hel", "lo", "\n"]


def test_what_is_spelled_out_reads_back_as_json() -> None:
    for _, text, _shown in HOSTILE:
        if "\ud800" not in text:
            assert json.loads(visible(json.dumps(text, ensure_ascii=False))) == text
