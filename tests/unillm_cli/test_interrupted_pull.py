"""Ctrl-C in the middle of a pull: at once, with the code that says so, the terminal as it was, and a beginning kept."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.tests.support.fake_hub import FakeHub, Fault, Repo
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.tiny_models import original

COMMAND = [sys.executable, "-m", "unillm.unillm_cli", "pull", "org/repo"]
HIDDEN, SHOWN = b"\x1b[?25l", b"\x1b[?25h"


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_a_pull_at_once_and_keeps_its_beginning(tmp_path: Path, times: int) -> None:
    """ST-33, pressed once and twice."""
    settings = RegistrySettings(home=tmp_path / "home", aliases=tmp_path / "none", cache_dir=tmp_path / "hub")
    with FakeHub().running() as hub:
        hub.repos["org/repo"] = Repo(original(size=8 << 20))
        hub.faults = {"model.safetensors": [Fault("stall", at=0.75)]}
        code, shown, seconds = interrupted(settings, hub.endpoint, times)
        assert code == 130 or (times > 1 and code == -signal.SIGINT)  # a shell calls both 130
        assert seconds < HANGS
        assert b"Traceback" not in shown
        assert shown.rfind(SHOWN) > shown.rfind(HIDDEN)
        assert Shelf(settings).entries() == []
        hub.faults, hub.sent = {}, 0
        online = RegistrySettings(settings.home, settings.aliases, settings.cache_dir, hub.endpoint, memory=10**10)
        assert Shelf(online).verify(pull("org/repo", online)) == []
        assert hub.sent < 5 << 20


def interrupted(settings: RegistrySettings, endpoint: str, times: int) -> tuple[int, bytes, float]:
    """How the pull ended, what its terminal showed, and how many seconds after the first Ctrl-C."""
    environ = {
        **os.environ,
        "UNILLM_HOME": str(settings.home),
        "HF_HUB_CACHE": str(settings.cache_dir),
        "HF_ENDPOINT": endpoint,
        "UNILLM_CONFIG": "/none.toml",
        "TERM": "xterm",
    }
    terminal, theirs = pty.openpty()
    with subprocess.Popen(COMMAND, stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as child:
        os.close(theirs)
        wait_for_bytes(settings.cache_dir, 4 << 20)
        pressed = time.monotonic()
        for _ in range(times):
            child.send_signal(signal.SIGINT)
            time.sleep(0.05)
        shown = b"".join(iter(lambda: read(terminal), b""))
        code = child.wait(timeout=20)
        seconds = time.monotonic() - pressed
    os.close(terminal)
    return code, shown, seconds


def wait_for_bytes(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if any(path.stat().st_size >= count for path in folder.rglob("*.incomplete")):
            return
        time.sleep(0.02)
    raise AssertionError("the pull did not begin")


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux: the other side is closed
        return b""
