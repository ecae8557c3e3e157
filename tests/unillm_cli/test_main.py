"""The first lines that run: Ctrl-C is silent until there is somebody to heed it."""

import signal
import sys
from types import ModuleType

import pytest

from unillm.unillm_cli.__main__ import main


def test_ctrl_c_is_silent_while_the_program_is_imported_and_heeded_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setitem(sys.modules, "unillm.unillm_cli.app", Late("app"))
    assert main() == 7
    assert heard == [signal.SIG_DFL, before]
    assert signal.getsignal(signal.SIGINT) == before
