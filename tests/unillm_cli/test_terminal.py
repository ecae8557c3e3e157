"""On a real terminal, and at the ends of real pipes: Ctrl-C, escape codes, readers who leave, disks that are full."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FAKE = [sys.executable, "-m", "unillm.tests.unillm_cli.fakes"]
ENVIRON = {**os.environ, "UNILLM_CONFIG": "/nowhere/config.toml", "PYTHONDONTWRITEBYTECODE": "1"}

TALK = ["run", "fake:1b", "Hi", "--local"]


def on_terminal(*words: str, until: bytes = b"", then: Callable[[int, int], None] | None = None) -> tuple[int, bytes]:
    """Run `unillm` on a terminal of its own; once `until` appears, do `then(child, terminal)`."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [*FAKE, *words], ENVIRON)
    shown = b""
    while chunk := _read(terminal):
        shown += chunk
        if then and until in shown:
            then(child, terminal)
            then = None
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1000)
    except OSError:  # Linux: the other side is closed
        return b""


def test_ctrl_c_ends_at_once_with_130_and_what_was_said_stays() -> None:
    def press(_child: int, terminal: int) -> None:
        os.write(terminal, b"\x03")

    code, shown = on_terminal(*["word "] * 100, "--", "generate", "-p", "Hi", until=b"word word", then=press)
    assert code == 130
    assert shown.startswith(b"word word")
    assert shown.count(b"word") < 100
    assert shown.endswith(b"\r\n")
    assert b"Traceback" not in shown


def test_ctrl_c_twice_is_as_good_as_once() -> None:
    """SH-05"""

    def press(child: int, _terminal: int) -> None:
        os.kill(child, signal.SIGINT)
        os.kill(child, signal.SIGINT)

    code, shown = on_terminal(*["word "] * 100, "--", "generate", "-p", "Hi", until=b"word", then=press)
    assert code in (130, -signal.SIGINT)
    assert b"Traceback" not in shown


def test_no_escape_code_of_a_model_reaches_a_terminal() -> None:
    """SH-01"""
    chunks = ["red \\x1b[31m", "\\x1b", "]0;title", "\\x07", "\\x9b2J", "\\r", "\\u202e", "end"]
    code, shown = on_terminal(*chunks, "--", "generate", "-p", "Hi")
    assert code == 0
    assert shown.decode() == "red \\u000d\\u202eend\r\n"


@pytest.mark.parametrize(
    "args", [["--help"], ["generate", "--help"], ["generate", "Hi"], ["generate", "Hi", "--json"], TALK]
)
def test_a_full_disk_is_an_error_of_one_line(args: list[str]) -> None:
    """SH-04"""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:  # noqa: PTH123 (a device)
        ran = subprocess.run([*FAKE, "x", "--", *args], stdout=full, stderr=subprocess.PIPE, env=ENVIRON, text=True)
    assert ran.returncode == 1
    assert ran.stderr == "error: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("args", [["generate", "Hi"], ["--help"], TALK])
def test_a_reader_who_leaves_is_not_complained_of(args: list[str]) -> None:
    """SH-04"""
    command, pipe = [*FAKE, *["word\\n"] * 30, "--", *args], subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=ENVIRON, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 141


def test_closed_streams_end_in_a_code_and_not_in_a_traceback() -> None:
    """SH-04"""
    script = 'exec "$0" -m unillm.tests.unillm_cli.fakes x -- generate Hi'
    for redirection, code, err in (
        ("<&-", 0, ""),
        (">&-", 1, "error: cannot write to standard output: it is closed\n"),
        ("2>&-", 0, ""),
    ):
        command = ["sh", "-c", f"{script} {redirection}", sys.executable]
        ran = subprocess.run(command, capture_output=True, text=True, env=ENVIRON, stdin=subprocess.DEVNULL)
        assert (ran.returncode, ran.stderr) == (code, err), redirection


@pytest.mark.parametrize("more", [{"HOME": ""}, {"HOME": "/proc"}, {"LC_ALL": "C", "TERM": ""}, {"NO_COLOR": "1"}])
def test_the_shell_needs_little_of_its_surroundings(more: dict[str, str], tmp_path: Path) -> None:
    """SH-08"""
    environ = {**ENVIRON, "XDG_STATE_HOME": "" if "HOME" in more else str(tmp_path), **more}
    command = [*FAKE, "yes", "--", "shell", "--local"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environ, input="Hi\n")
    assert (ran.returncode, ran.stdout) == (0, "yes\n")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("words", [["models"], ["config"], ["generate", "Hi"]], ids=lambda words: words[0])
def test_nothing_of_ones_surroundings_is_needed(words: list[str], tmp_path: Path) -> None:
    """SH-08, all at once: no home, no folder, no letters, no colours."""
    (gone := tmp_path / "gone").mkdir()
    bare = {"LANG": "C", "TERM": "dumb", "NO_COLOR": "1", "UNILLM_HOME": str(tmp_path / "home")}
    command = ["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(gone), *FAKE, "caf\\xe9", "--", *words]
    ran = subprocess.run(command, capture_output=True, env=bare, stdin=subprocess.DEVNULL)
    assert ran.returncode == 0, ran
    assert ran.stdout
    assert not any(word in ran.stdout + ran.stderr for word in (b"Traceback", b"\x1b"))


def test_an_ascii_locale_shows_other_letters_as_numbers() -> None:
    """SH-08"""
    environ = {**ENVIRON, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "TERM": "dumb"}
    command = [*FAKE, "caf\\xe9", "--", "generate", "Hi"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environ, stdin=subprocess.DEVNULL)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "caf\\xe9\n", "")
