"""Modelfiles that ask for what is no model: each ends at once, in words, and nothing is made."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from unillm.registry.create import create
from unillm.registry.errors import FormatError, ModelfileError, NoWeights, RegistryError
from unillm.registry.modelfile import MAX_BYTES, parse_modelfile, read_modelfile
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """What would go on for ever ends after five seconds, with an error."""

    def stop(_number: int, _frame: object) -> None:
        raise AssertionError("it took more than five seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


RECIPES = [
    "FROM /dev/zero",
    "FROM /dev/random",
    "FROM /dev/stdin",
    "FROM /dev/tty",
    "FROM /dev/fd/0",
    "FROM /proc/self/mem",
    "FROM /proc/self/fd",
    "FROM /proc/kcore",
    "FROM /sys",
    "FROM /etc/passwd",
    "FROM /etc/shadow",
    "FROM /root/.ssh/id_rsa",
    "FROM ./Modelfile",
    "FROM .",
    "FROM ..",
    "FROM ./pipe.gguf",
    "FROM ./loop.gguf",
    "FROM ./empty.gguf",
    "FROM ./absent.gguf",
    "FROM ./folder.gguf",
    "FROM -",
    "FROM http://169.254.169.254/latest",
    "FROM file:///etc/passwd",
    "FROM ftp://127.0.0.1/x",
    "FROM hf.co/../../etc",
    "FROM mine",
    "FROM org/repo\nFROM org/other",
    "FROM org/repo\nADAPTER /etc/passwd",
    "FROM org/repo\nTEMPLATE {{",
    'FROM org/repo\nSYSTEM """never closed',
    "FROM a\x00b",
    "FROM " + "x" * 100_000,
    "PARAMETER temperature 1",
    "",
]


@pytest.mark.parametrize("text", RECIPES)
def test_what_is_no_model_is_refused(settings: RegistrySettings, tmp_path: Path, text: str) -> None:
    """ST-30."""
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "loop.gguf").symlink_to("loop.gguf")
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(RegistryError) as caught:
        create("mine", parse_modelfile(tmp_path / "Modelfile", text), settings)
    assert len(str(caught.value)) < 1000
    assert Shelf(settings).entries() == []


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/random", "/dev/stdin", "/proc/self/fd/0", "/proc"])
def test_a_modelfile_is_a_regular_file(device: str) -> None:
    """ST-30: it is read no further than to see what it is."""
    if not Path(device).exists() or Path(device).is_file():
        pytest.skip(f"{device} is not what it is elsewhere")
    with pytest.raises(FormatError, match="not a regular file"):
        read_modelfile(Path(device))


def test_a_modelfile_has_an_end(tmp_path: Path) -> None:
    """ST-30: a file with a gibibyte of nothing."""
    path = tmp_path / "Modelfile"
    path.touch()
    os.truncate(path, 1 << 30)
    with pytest.raises(ModelfileError, match=f"longer than {MAX_BYTES} bytes"):
        read_modelfile(path)


def test_what_is_not_there_and_what_may_not_be_read_are_told_alike(settings: RegistrySettings, tmp_path: Path) -> None:
    """ST-30: whoever may not look into a folder does not learn from us what lies there."""
    told = []
    for source in ("./absent/model.gguf", "./absent"):
        with pytest.raises(NoWeights) as caught:
            create("mine", parse_modelfile(tmp_path / "Modelfile", f"FROM {source}"), settings)
        told.append(str(caught.value))
    assert told[0].endswith("there is no such file")
    assert told[1].endswith("there is no such folder")
