"""Answers on their way to a reader: thoughts apart from words, and plain wherever codes would not be understood."""

import pytest

from unillm.tests.unillm_cli.doors import Stream
from unillm.unillm_cli.output import AnswerStream
from unillm.unillm_cli.session import Session
from unillm.unillm_cli.shell.views import Painted, view


def session(out: Stream, **environ: str) -> Session:
    return Session(Stream(), out, Stream(), {"TERM": "xterm-256color", **environ})


def test_thoughts_are_dim_on_a_terminal_and_stand_before_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = Stream(terminal=True)
    shown = view(session(out), markdown=True)
    for thought in ("Let me ", "\x1b]0;x\x07see"):
        shown.think(thought)
        shown.write("")
    shown.write("**Yes**")
    shown.finish()
    written = out.getvalue()
    assert written.startswith("\x1b[2mLet me \x1b[0m\x1b[2msee\x1b[0m\n\n")
    assert "\x1b[1mYes\x1b[0m" in written


@pytest.mark.parametrize(
    ("terminal", "written"), [(True, "Thinking...\nhm\n...done thinking.\n\n**Yes**\n"), (False, "**Yes**\n")]
)
def test_without_colours_thoughts_stand_between_words_that_say_so_and_a_pipe_has_none(
    terminal: bool, written: str
) -> None:
    out = Stream(terminal=terminal)
    shown = view(session(out, NO_COLOR="1"), markdown=True)
    shown.think("hm")
    shown.write("")
    shown.write("**Yes**")
    shown.finish()
    assert out.getvalue() == written


def test_who_can_show_markdown_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal, pipe = Stream(terminal=True), Stream()
    assert isinstance(view(session(terminal), markdown=True), Painted)
    assert isinstance(view(session(pipe), markdown=True), AnswerStream)
    assert isinstance(view(session(terminal), markdown=False), AnswerStream)
    assert isinstance(view(session(terminal, NO_COLOR="1"), markdown=True), AnswerStream)
    assert isinstance(view(session(terminal, TERM="dumb"), markdown=True), AnswerStream)
    monkeypatch.setenv("COLUMNS", "10")
    assert isinstance(view(session(terminal), markdown=True), AnswerStream)


def test_a_pipe_gets_every_byte_as_the_model_said_it() -> None:
    out = Stream()
    shown = view(session(out), markdown=True)
    shown.write("red \x1b[31m **x** \r\u202e")
    shown.finish()
    assert out.getvalue() == "red \x1b[31m **x** \r\u202e\n"
