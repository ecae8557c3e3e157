"""Processes of our own: nothing of the folder they are started from runs in them, and they end with their parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from unillm.runtime.ipc.channel import Addresses
from unillm.runtime.ipc.child import Child
from unillm.runtime.ipc.messages import TextSetup
from unillm.tests.support.hosts import until

TEXTS = "unillm.runtime.ipc.text_process"


@pytest.mark.parametrize("name", ["json.py", "torch.py"])
def test_nothing_is_imported_from_where_the_user_stands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SC-04"""
    (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    addresses = Addresses()
    address = addresses.new()
    child = Child(TEXTS, TextSetup(address), threads=1)
    until(Path(address.path).exists, 30)
    child.stop()
    addresses.close()
    assert not (tmp_path / "ran").exists()


def test_a_child_ends_with_its_parent_and_takes_its_address_along(tmp_path: Path) -> None:
    script = (
        "import time; from unillm.runtime.ipc.child import Child; from unillm.runtime.ipc.channel import Addresses\n"
        "from unillm.runtime.ipc.messages import TextSetup\n"
        f"address = Addresses().new(); child = Child({TEXTS!r}, TextSetup(address))\n"
        "print(child.pid, address.path, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    pid, path = parent.stdout.readline().split()
    until(Path(path).exists, 30)
    child = psutil.Process(int(pid))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)
    until(lambda: not list(tmp_path.iterdir()), 10)
