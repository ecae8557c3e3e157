from pathlib import Path

import pytest

from unillm.registry.memory import Room, room_for_a_model


def test_weights_need_room_beside_them() -> None:
    room = Room(10 * 10**9, "here")
    assert room.fits(8 * 10**9)
    assert not room.fits(9 * 10**9)


def test_what_is_told_is_believed() -> None:
    assert room_for_a_model(5 * 10**9).size == 5 * 10**9


def test_a_machine_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    room = room_for_a_model()
    assert 10**8 < room.size < 10**14
    assert room.where == "this machine"


def test_the_largest_gpu_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 24564\necho 143771\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    room = room_for_a_model()
    assert (room.where, room.size) == ("the GPU", int((143771 << 20) * 0.9))


def test_a_driver_that_fails_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho no devices were found\nexit 6\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert room_for_a_model().where == "this machine"
