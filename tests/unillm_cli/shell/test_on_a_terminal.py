"""The shell on a terminal, as a person sees it: keys go in, a screen comes out."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals on this system", allow_module_level=True)

from unillm.tests.support.talking import talking_model
from unillm.tests.support.terminal import Terminal

ASK = "Send a message"
EDITS = b"\x1b[?2004h"  # what the line editor begins with: the terminal shall mark what is pasted
Starter = Callable[..., Terminal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """A shell with a fake engine that says these chunks, one every tenth of a second."""
    opened: list[Terminal] = []

    def begin(*chunks: str, flags: tuple[str, ...] = (), columns: int = 80, **more: str) -> Terminal:
        spelled = [chunk.encode("unicode_escape").decode() for chunk in chunks]
        words = ["-m", "unillm.tests.unillm_cli.fakes", *spelled, "--", "shell", "--local", *flags]
        terminal = Terminal(words, {**environ(tmp_path), **more}, columns=columns)
        opened.append(terminal)
        return terminal

    yield begin
    for one in opened:
        one.close()


def environ(folder: Path) -> dict[str, str]:
    return {
        "UNILLM_CONFIG": "/nowhere/config.toml",
        "UNILLM_STATE": str(folder / "state"),
        "UNILLM_HOME": str(folder / "home"),
        "UNILLM_OFFLINE": "1",
        "TERM": "xterm-256color",
        "NO_COLOR": "",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }


def test_a_question_is_answered_and_ctrl_d_leaves(start: Starter) -> None:
    """SH-05, Ctrl-D"""
    shell = start("Gra", "vity ", "pulls.").wait(ASK)
    shell.send("Why?\r")
    shell.wait("Gravity pulls.").wait("13 of 1,000 tokens (1 %)")
    shell.send("\x04")
    assert shell.end() == 0
    assert shell.echoes
    assert b"Traceback" not in shell.raw


def test_ctrl_c_stops_an_answer_and_the_shell_goes_on(start: Starter) -> None:
    """SH-05, while it answers and while somebody types"""
    shell = start(*["word "] * 300).wait(ASK)
    shell.send("Go on\r")
    shell.wait("word word word")
    began = monotonic()
    shell.send("\x03")
    shell.wait("stopped").wait(ASK)
    assert monotonic() - began < 10  # the fake says a word every tenth of a second, three hundred of them
    assert shell.text.count("word") < 100
    shell.send("\x03")
    shell.wait("Ctrl-D or /bye leaves").wait(lambda: shell.raw.count(EDITS) == 3)
    shell.send("forget this\x03")
    shell.wait(lambda: shell.text.count("leaves") == 2).wait(lambda: shell.raw.count(EDITS) == 4)
    shell.send("/bye\r")
    assert shell.end() == 0
    assert shell.echoes


def test_ctrl_c_while_another_model_is_loaded_leaves_that_and_the_shell_stays(start: Starter, tmp_path: Path) -> None:
    """SH-05"""
    model = talking_model(tmp_path / "tiny")
    shell = start("yes", FAKE_LOADING="50").wait(ASK)
    shell.send(f"/load {model}\r")
    shell.wait("it is being loaded").send("\x03")
    shell.wait("interrupted").wait(ASK)
    shell.send("Hi\r")
    shell.wait("yes").wait(ASK)
    shell.send("\x04")
    assert shell.end() == 0
    assert b"Traceback" not in shell.raw


def test_ctrl_c_while_the_first_model_is_loaded_ends_the_command(start: Starter, tmp_path: Path) -> None:
    """SH-05"""
    shell = start("yes", flags=(str(talking_model(tmp_path / "tiny")),), FAKE_LOADING="50")
    shell.wait("it is being loaded").send("\x03")
    assert shell.end() == 130
    assert shell.echoes
    assert b"Traceback" not in shell.raw


@pytest.mark.slow
def test_ctrl_z_gives_the_terminal_back_and_fg_goes_on_where_it_was(tmp_path: Path) -> None:
    """SH-05, while somebody types and while it answers."""
    if not shutil.which("bash"):
        pytest.skip("bash is not here")
    words = ["-c", "import os; os.execvp('bash', ['bash', '--norc', '--noprofile'])"]
    bash = Terminal(words, {**environ(tmp_path), "PS1": "$ ", "HISTFILE": "", "INPUTRC": os.devnull})

    def prompted() -> bool:
        return bash.lines[-1] == "$"

    bash.wait(prompted)
    bash.send(f"{sys.executable} -m unillm.tests.unillm_cli.fakes {'word_ ' * 20} -- shell --local\r")
    bash.wait(ASK)
    bash.send("Hi\x1a")
    bash.wait("Stopped").wait(prompted)
    bash.send("clear; stty -a | tr ' ;' '\\n\\n' | grep -xE -- '-?(icanon|echo)'; fg\r")
    bash.wait("icanon\necho\n").wait(">>> Hi")
    bash.send("\r")
    bash.wait("word_word_")
    bash.send("\x1a")
    bash.wait("Stopped").wait(prompted)
    bash.send("clear; fg\r")
    bash.wait(ASK).send("\x04")
    bash.wait(prompted).send("exit $?\r")
    assert bash.end() == 0
    bash.close()


def test_markdown_is_rendered_and_a_finished_block_is_printed_once(start: Starter) -> None:
    chunks = ["# Ti", "tle\n\n", "Some **bo", "ld** words\n", "on two lines.\n\n", "```py\nx = 1\n", "```\n\nend"]
    shell = start(*chunks).wait(ASK)
    shell.send("Hi\r")
    shell.wait(lambda: "\nend\n" in shell.text and shell.lines[-1].startswith("fake"))
    shown = shell.text
    assert "Title\n\nSome bold words\non two lines.\n\n  x = 1\n\nend\n" in shown
    assert not any(mark in shown for mark in ("#", "**", "```"))
    assert shell.raw.count(b"on two lines") == 1


def test_text_in_three_quotes_has_many_lines(start: Starter, tmp_path: Path) -> None:
    shell = start("yes").wait(ASK)
    shell.send('"""one\r')
    shell.wait("\n...")
    shell.send('two"""\r')
    shell.wait("yes").wait(ASK)
    shell.send("\x04")
    shell.end()
    assert said(tmp_path)[0] == {"role": "user", "content": "one\ntwo"}


def test_what_is_pasted_is_text_and_never_a_command(start: Starter, tmp_path: Path) -> None:
    """SH-06"""
    shell = start("yes").wait(ASK)
    shell.paste("hello\n/bye\nmore")
    shell.wait("more")
    shell.send("\r")
    shell.wait("yes").wait(ASK)
    shell.send("\x1b[200~two\x1b[201~\r/bye\r/bye\rthree\x00")  # a paste that ends itself
    shell.wait("three")
    shell.send("\r")
    shell.wait(lambda: shell.text.count("yes") == 2)
    shell.send("\x04")
    assert shell.end() == 0
    texts = [one["content"] for one in said(tmp_path)]
    assert texts == ["hello\n/bye\nmore", "yes", "two\n/bye\n/bye\nthree", "yes"]


def test_a_megabyte_may_be_pasted_and_bytes_that_are_no_text(start: Starter, tmp_path: Path) -> None:
    """SH-06"""
    shell = start("yes").wait(ASK)
    shell.send(b"\x1b[200~")
    for _ in range(64):
        shell.send(b"x" * 16384)
        shell.wait(lambda: True)
    shell.send(b"\xff\xfe\x1b[201~")
    shell.wait("[pasted text 1: 1,048,578 letters]")
    shell.send("\r")
    shell.wait("yes")
    shell.wait(ASK).send("\x04")
    assert shell.end() == 0
    text = said(tmp_path)[0]["content"]
    assert len(text) >= 1 << 20
    assert text.startswith("xxx")


def test_a_conversation_goes_on_where_it_was(start: Starter, tmp_path: Path) -> None:
    first = start("one answer").wait(ASK)
    first.send("A question\r")
    first.wait("one answer").wait(ASK)
    first.send("\x04")
    first.end()
    second = start("another", flags=("--continue",)).wait("A question").wait("one answer").wait(ASK)
    second.send("/retry\r")
    second.wait("another").wait(ASK)
    second.send("\x04")
    second.end()
    assert [one["content"] for one in said(tmp_path)] == ["A question", "another"]


@pytest.mark.slow
def test_two_shells_in_one_conversation_do_not_write_over_each_other(start: Starter, tmp_path: Path) -> None:
    first = start("one").wait(ASK)
    first.send("First\r")
    first.wait("one").wait(ASK)
    second = start("two", flags=("--continue",)).wait("is open in another shell").wait(ASK)
    second.send("Second\r")
    second.wait("two").wait(ASK)
    for shell in (first, second):
        shell.send("\x04")
        assert shell.end() == 0
    kept = [json.loads(path.read_text()) for path in (tmp_path / "state" / "conversations").glob("*.json")]
    assert sorted(len(one["messages"]) for one in kept) == [2, 4]


@pytest.mark.parametrize("columns", [3, pytest.param(24, marks=pytest.mark.slow), 79])
def test_any_width_will_do_and_wide_letters(start: Starter, columns: int) -> None:
    """SH-05"""
    shell = start("漢字仮名" * 12, " 🙂 ", "a" * 90, columns=columns)
    shell.wait(lambda: ">>>" in shell.text)
    shell.send("Hi\r")
    shell.wait(lambda: b"aaa" in shell.raw)
    shell.wait(lambda: shell.raw.rstrip().endswith((b">>>", b"%)", b"\x1b[?25h")))
    shell.send("\x04")
    assert shell.end() == 0


@pytest.mark.slow
def test_the_terminal_may_change_its_size_while_an_answer_comes(start: Starter) -> None:
    """SH-05"""
    shell = start(*["word "] * 30, "\n\nlast line").wait(ASK)
    shell.send("Hi\r")
    shell.wait("word word")
    shell.resize(40, 12)
    shell.wait("last line").wait(ASK)
    shell.send("/tokens\r")
    shell.wait("the conversation has")
    shell.send("\x04")
    assert shell.end() == 0


@pytest.mark.parametrize("busy", [False, True], ids=["while it waits", "while it answers"])
def test_who_is_told_to_end_leaves_the_terminal_as_it_was(start: Starter, busy: bool) -> None:
    """SH-05"""
    shell = start(*["word "] * 300).wait(ASK)
    if busy:
        shell.send("Hi\r")
        shell.wait("word")
    shell.signal(signal.SIGTERM)
    assert shell.end() == 128 + signal.SIGTERM
    assert shell.echoes


def test_escape_codes_of_a_model_steer_nothing(start: Starter) -> None:
    """SH-01, SH-03"""
    chunks = ["red \x1b[31m", "\x1b", "]0;title\x07", "\x1b]52;c;eA==\x07", "\x9b2J", "\x08\r", "\u202e", "end"]
    shell = start(*chunks, "[x](http://e.x)").wait(ASK)
    shell.send("Hi\r")
    shell.wait("(http://e.x)").wait(ASK)
    shell.send("\x04")
    shell.end()
    for code in (b"\x1b[31m", b"\x1b]0;", b"\x1b]52", b"\x1b]8;", b"\xc2\x9b", b"\x07", "\u202e".encode()):
        assert code not in shell.raw


def test_commands_and_names_are_completed(start: Starter) -> None:
    shell = start("yes").wait(ASK)
    for typed, whole in (
        ("/sho", "/show"),
        (" par", "/show parameters"),
        ("\x15/load smollm2:1", "/load smollm2:1.7b"),
    ):
        shell.send(typed)
        offered = whole.split()[-1]
        shell.wait(lambda: any(offered in line for line in shell.lines[1:]))  # noqa: B023 (waited for at once)
        shell.send("\t")
        shell.wait(f">>> {whole}")
    shell.send("\x15/bye\r")
    assert shell.end() == 0


def test_where_the_terminal_knows_little_it_is_plain(start: Starter) -> None:
    shell = start("Some **bold** words", TERM="dumb").wait(">>>")
    shell.send("Hi\r")
    shell.wait("Some **bold** words")
    assert b"\x1b" not in shell.raw
    shell.send("\x04")
    assert shell.end() == 0


def test_a_real_model_talks(tmp_path: Path) -> None:
    model = talking_model(tmp_path / "tiny", context=4096)
    words = ["-m", "unillm.unillm_cli", "run", str(model), "--local", "-n", "4000", "-t", "0"]
    shell = Terminal(words, environ(tmp_path)).wait(ASK)
    shell.send("Hi\r")
    shell.wait("OOOOO")
    shell.send("\x03")
    shell.wait("stopped").wait(ASK)
    shell.send("/set parameter num_predict 4\r")
    shell.wait("num_predict is 4")
    shell.send("And?\r")
    shell.wait(lambda: shell.raw.count(EDITS) >= 4)
    shell.send("/tokens\r")
    shell.wait("4 tokens at")
    shell.send("/load nowhere/at/all\r")
    shell.wait("error: ")
    shell.send("\x04")
    assert shell.end() == 0
    assert shell.echoes
    shell.close()
    assert len(said(tmp_path)) == 4


def said(folder: Path) -> list[dict[str, str]]:
    """The messages of the one conversation that was kept."""
    kept = list((folder / "state" / "conversations").glob("*.json"))
    assert len(kept) == 1
    assert kept[0].stat().st_mode & 0o777 == 0o600
    messages: list[dict[str, str]] = json.loads(kept[0].read_text())["messages"]
    return messages
