"""The prompt is what comes on standard input, then what was typed."""

import os
from io import StringIO
from threading import Timer

import pytest

from unillm.tests.unillm_cli.doors import Stream
from unillm.unillm_cli.errors import UsageError
from unillm.unillm_cli.prompts import read_prompt
from unillm.unillm_cli.session import Session


def session(stdin: str | None, *, terminal: bool = False) -> Session:
    return Session(None if stdin is None else Stream(stdin, terminal=terminal), Stream(), Stream(), {})


@pytest.mark.parametrize(
    ("stdin", "words", "flag", "prompt"),
    [
        ("", ["Tell", "me"], None, "Tell me"),
        ("", [], "Tell me", "Tell me"),
        ("a text\n", [], None, "a text"),
        ("a text\r\n", [], None, "a text"),
        ("a text\n\n", [], None, "a text\n"),
        ("a text\n", ["Sum", "up"], None, "a text\nSum up"),
        ("a text", [], "Sum up", "a text\nSum up"),
        ("a text\n", ["-"], None, "a text"),
        ("a text\n", [], "-", "a text"),
        ("\n", ["Tell me"], None, "Tell me"),
        (None, ["Tell me"], None, "Tell me"),
        ("a\0b", [], None, "a\0b"),
    ],
)
def test_standard_input_comes_before_what_was_typed(
    stdin: str | None, words: list[str], flag: str | None, prompt: str
) -> None:
    assert read_prompt(session(stdin), words, flag, exact=False) == prompt


def test_a_terminal_is_not_waited_for() -> None:
    assert read_prompt(session("never read", terminal=True), ["Tell me"], None, exact=False) == "Tell me"
    assert read_prompt(session("typed until Ctrl-D\n", terminal=True), ["-"], None, exact=False) == "typed until Ctrl-D"


def test_an_exact_prompt_keeps_its_last_newline() -> None:
    assert read_prompt(session("def f():\n"), [], None, exact=True) == "def f():\n"
    assert read_prompt(session("def f():\n"), ["    return"], None, exact=True) == "def f():\n    return"


@pytest.mark.parametrize(
    ("stdin", "words", "flag", "problem"),
    [
        ("", [], None, "no prompt"),
        ("", [""], None, "no prompt"),
        (None, [], None, "no prompt"),
        ("", ["-"], None, "standard input is empty"),
        ("", ["one"], "two", "given twice"),
    ],
)
def test_a_missing_or_doubled_prompt_is_a_usage_error(
    stdin: str | None, words: list[str], flag: str | None, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        read_prompt(session(stdin), words, flag, exact=False)
    assert caught.value.hint


def test_a_closed_standard_input_is_as_good_as_none() -> None:
    closed = StringIO()
    closed.close()
    assert read_prompt(Session(closed, Stream(), Stream(), {}), ["Tell me"], None, exact=False) == "Tell me"


def test_who_forgets_that_it_reads_a_pipe_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unillm.unillm_cli.prompts._PATIENCE", 0.01)
    reader, writer = os.pipe()
    err = Stream()
    Timer(0.1, os.close, [writer]).start()
    with os.fdopen(reader) as stdin:
        assert read_prompt(Session(stdin, Stream(), err, {}), ["Tell me"], None, exact=False) == "Tell me"
    assert "waiting for standard input" in err.getvalue()
