"""The first lines that run: Ctrl-C is silent until there is somebody to heed it."""

import os
import pty
import signal
import sys
from types import ModuleType

import pytest

from unillm.unillm_cli.__main__ import main


def test_ctrl_c_is_silent_before_the_program_runs_and_after_it_and_heeded_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[object] = []

    class Late(ModuleType):
        """Stands in for `app`; noting what Ctrl-C does while it is imported, and while it runs."""

        @property
        def main(self) -> object:
            heard.append(signal.getsignal(signal.SIGINT))
            return self.run

        def run(self) -> int:
            heard.append(signal.getsignal(signal.SIGINT))
            return 7

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("unillm.unillm_cli.__main__._leave_in_order", signal.getsignal(signal.SIGTERM))
    monkeypatch.setitem(sys.modules, "unillm.unillm_cli.app", Late("app"))
    try:
        assert main() == 7
        assert heard == [signal.SIG_DFL, before]
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)


BARS = """
import sys, time
from unillm.unillm_cli import __main__ as entry, app
from unillm.unillm_cli.output import Output

def run():
    with Output(None, sys.stderr, {"TERM": "xterm"}).bars() as bars:
        bars.advance("file", 1, 2)
        time.sleep(60)

app.main = run
sys.exit(entry.main())
"""


def test_a_terminal_gets_its_cursor_back_when_the_program_is_told_to_end() -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", BARS])
    shown = b""
    while b"1/2" not in shown:
        shown += os.read(terminal, 1000)
    os.kill(child, signal.SIGTERM)
    assert HIDDEN in shown
    while SHOWN not in shown:
        shown += os.read(terminal, 1000)
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM


HIDDEN, SHOWN = b"\x1b[?25l", b"\x1b[?25h"
