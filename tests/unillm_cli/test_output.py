"""Answers on standard output, everything else on standard error, nothing that steers a terminal."""

import errno
import json
from collections.abc import Mapping
from io import StringIO
from itertools import count

import pytest

from unillm.tests.unillm_cli.doors import Stream
from unillm.unillm_cli.durations import ago_text
from unillm.unillm_cli.errors import OutputFailed, ReaderLeft
from unillm.unillm_cli.output import Output
from unillm.unillm_cli.progress import LineBars, NoBars, TerminalBars

EVIL = "a\x1b[31mb\u202ec"


class Full(StringIO):
    """A stream that fails to take anything, for the given reason."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str, /) -> int:
        raise OSError(self.number, "it failed")


def outputs(
    *, terminal: bool, quiet: bool = False, environ: Mapping[str, str] | None = None
) -> tuple[Output, Stream, Stream]:
    out, err = Stream(terminal=terminal), Stream(terminal=terminal)
    return Output(out, err, environ or {}, quiet=quiet), out, err


def test_an_answer_is_filtered_on_a_terminal_and_whole_in_a_pipe() -> None:
    for terminal, shown in ((True, "ab\\u202ec\n"), (False, f"{EVIL}\n")):
        output, out, _ = outputs(terminal=terminal)
        output.answer(EVIL)
        assert out.getvalue() == shown


def test_a_streamed_answer_ends_its_line_once() -> None:
    output, out, _ = outputs(terminal=False)
    for text in ("no newline", "a newline\n"):
        stream = output.stream()
        stream.write(text)
        stream.finish()
    assert out.getvalue() == "no newline\na newline\n"


def test_thoughts_are_dim_on_a_terminal_and_no_part_of_an_answer_in_a_pipe() -> None:
    for terminal, environ, shown in (
        (True, {"TERM": "xterm"}, "\x1b[2mHm\x1b[0m\n\nYes\n"),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, "Thinking...\nHm\n...done thinking.\n\nYes\n"),
        (False, {"TERM": "xterm"}, "Yes\n"),
    ):
        output, out, _ = outputs(terminal=terminal, environ=environ)
        stream = output.stream()
        stream.think("Hm")
        stream.think("")
        stream.write("Yes")
        stream.finish()
        assert out.getvalue() == shown


def test_a_word_between_has_a_line_of_its_own_on_a_terminal_only() -> None:
    for terminal, shown in ((True, "half\n an answer\n"), (False, "half an answer\n")):
        output, out, err = outputs(terminal=terminal)
        stream = output.stream()
        stream.write("half")
        stream.aside("5 tokens/s")
        stream.write(" an answer")
        stream.finish()
        assert (out.getvalue(), err.getvalue()) == (shown, "5 tokens/s\n")


def test_an_empty_answer_prints_nothing() -> None:
    output, out, _ = outputs(terminal=False)
    output.stream().finish()
    assert out.getvalue() == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_names_and_messages_are_spelled_out_everywhere(terminal: bool) -> None:
    """SH-02, SH-03"""
    output, out, err = outputs(terminal=terminal, environ={"NO_COLOR": "1"})
    output.line(EVIL)
    output.table(["NAME"], [[EVIL]])
    output.say(EVIL)
    output.warn(EVIL)
    output.fail(EVIL, EVIL)
    assert "\x1b" not in out.getvalue() + err.getvalue()
    assert "\u202e" not in out.getvalue() + err.getvalue()
    assert "\\u001b[31mb\\u202ec" in err.getvalue()


def test_colour_is_only_for_a_terminal_that_wants_it() -> None:
    for terminal, environ, coloured in [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ]:
        output, _, err = outputs(terminal=terminal, environ=environ)
        output.fail("what", "next")
        assert ("\x1b" in err.getvalue()) is coloured, environ


def test_errors_and_hints_have_their_own_lines() -> None:
    output, out, err = outputs(terminal=False)
    output.fail("no model named x", "did you mean y?")
    assert err.getvalue() == "error: no model named x\nhint: did you mean y?\n"
    assert out.getvalue() == ""


def test_quiet_keeps_warnings_and_errors() -> None:
    output, _, err = outputs(terminal=False, quiet=True)
    output.say("a notice")
    output.warn("a warning")
    output.fail("an error")
    assert err.getvalue() == "warning: a warning\nerror: an error\n"
    assert isinstance(output.bars(), NoBars)


def test_columns_stand_under_each_other_wide_letters_too() -> None:
    output, out, _ = outputs(terminal=False)
    output.table(["NAME", "SIZE"], [["日本", "1 GB"], ["abcdef", "2 GB"], ["two\nlines", ""]])
    assert out.getvalue() == "NAME        SIZE\n日本        1 GB\nabcdef      2 GB\ntwo lines\n"


def test_data_is_json_without_steering_letters() -> None:
    output, out, _ = outputs(terminal=True)
    output.data({"name": EVIL, "language": "日本"})
    assert json.loads(out.getvalue()) == {"name": EVIL, "language": "日本"}
    assert "日本" in out.getvalue()
    assert "\u202e" not in out.getvalue()


def test_a_full_disk_and_a_reader_who_left_are_different() -> None:
    with pytest.raises(OutputFailed, match="it failed"):
        Output(Full(errno.ENOSPC), None, {}).line("x")
    with pytest.raises(ReaderLeft):
        Output(Full(errno.EPIPE), None, {}).line("x")


def test_closed_streams_are_told_or_borne() -> None:
    with pytest.raises(OutputFailed, match="closed"):
        Output(None, None, {}).line("x")
    closed = StringIO()
    closed.close()
    with pytest.raises(OutputFailed):
        Output(closed, None, {}).line("x")
    Output(None, closed, {}).say("x")
    Output(None, None, {}).say("x")


def test_plain_progress_says_a_line_now_and_then() -> None:
    told: list[str] = []
    seconds = count(step=1)
    with LineBars(told.append, clock=lambda: float(next(seconds)), every=5) as bars:
        for done in range(0, 101, 10):
            bars.advance("model\x1b.gguf", done * 1_000_000, 100_000_000)
        bars.advance("model\x1b.gguf", 100_000_000, 100_000_000)
    assert told == [f"model\\u001b.gguf: {share} % of 100 MB" for share in (0, 50, 100)]


def test_bars_redraw_on_a_terminal_only_and_escape_names() -> None:
    """SH-02, in a progress bar"""
    output, _, err = outputs(terminal=True)
    with output.bars() as bars:
        assert isinstance(bars, TerminalBars)
        bars.advance("[bold]mo\x07del", 5, 10)
        bars.say("note\x07")
    assert "[bold]mo\\u0007del" in err.getvalue()
    assert "note\\u0007" in err.getvalue()
    assert isinstance(outputs(terminal=True, environ={"TERM": "dumb"})[0].bars(), LineBars)


def test_bars_that_show_nothing_write_no_escape_code() -> None:
    output, _, err = outputs(terminal=True)
    with output.bars() as bars:
        bars.say("everything is here")
    assert err.getvalue() == "everything is here\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "just now"), (60, "1 minute ago"), (7300, "2 hours ago"), (1_900_000, "3 weeks ago")]
)
def test_times_read_as_people_say_them(seconds: float, text: str) -> None:
    assert ago_text(seconds) == text
