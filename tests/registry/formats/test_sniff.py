"""What a file is: its content says so, whatever its name."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unillm.registry.errors import FormatError
from unillm.registry.formats.gguf import read_gguf
from unillm.registry.formats.pytorch import check_pytorch
from unillm.registry.formats.safetensors import read_safetensors
from unillm.registry.formats.sniff import identify
from unillm.tests.registry.formats.checkpoint_bytes import Archive, members
from unillm.tests.registry.formats.gguf_bytes import plain
from unillm.tests.registry.formats.hostile_pytorch import SOUND
from unillm.tests.registry.formats.hostile_safetensors import file

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 4976698672\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Login</title></head></html>"
READERS: dict[str, Callable[[Path], object]] = {
    "safetensors": read_safetensors,
    "gguf": read_gguf,
    "pytorch": check_pytorch,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def test_each_format_is_known_by_its_content(path: Path) -> None:
    save_file({"a": torch.ones(1)}, path)
    assert identify(path) == "safetensors"
    path.write_bytes(bytes(plain()))
    assert identify(path) == "gguf"
    path.write_bytes(bytes(Archive(members(SOUND))))
    assert identify(path) == "pytorch"
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)
    assert identify(path) == "pytorch"


def test_a_header_of_any_length_is_one_of_safetensors(path: Path) -> None:
    """Its length is the first thing in the file, and may look like the beginning of something else."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}})
    for length in (*range(len(header), 2500), 0x7B20, 0x5B20, 0x8B1F, 0x5A4D):
        path.write_bytes(file(header.ljust(length), b"x"))
        assert identify(path) == "safetensors", length
        assert list(read_safetensors(path).tensors) == ["a"]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("content", "called"),
    [
        (POINTER, "this is a git-lfs pointer"),
        (PAGE, "this is a web page"),
        (b"  \n<html>", "this is a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "this is a web page"),
        (b'{"error":"Repository not found"}', "this is a JSON file"),
        (b"tjgg" + bytes(20), "this is a GGML file of before GGUF"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "this is an HDF5 file"),
        (b"\x93NUMPY\x01\x00" + bytes(20), "this is a NumPy array"),
        (b"\x7fELF" + bytes(20), "this is a program"),
        (bytes(4096), "empty at its beginning"),
        (b"just some words", "nothing that unillm knows"),
        (b"GG", "nothing that unillm knows"),
        (b"", "is empty"),
    ],
)
def test_other_files_are_called_by_their_right_names(path: Path, reader: str, content: bytes, called: str) -> None:
    path.write_bytes(content)
    for read in (READERS[reader], identify):
        with pytest.raises(FormatError, match=called) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))


def test_one_format_under_the_name_of_another_is_called_by_its_right_name(path: Path) -> None:
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(FormatError, match="this is a safetensors file, not a GGUF file"):
        read_gguf(path)
    path.write_bytes(bytes(plain()))
    with pytest.raises(FormatError, match="this is a GGUF file, not a safetensors file"):
        read_safetensors(path)
    path.write_bytes(bytes(Archive(members(SOUND))))
    with pytest.raises(FormatError, match="this is a PyTorch checkpoint, not a safetensors file"):
        read_safetensors(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_refused_without_waiting_for_it(path: Path, reader: str) -> None:
    os.mkfifo(path)
    with pytest.raises(FormatError, match="is not a regular file"):
        READERS[reader](path)


def test_a_folder_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"(?i)is not a regular file|directory|denied"):
        identify(tmp_path)
    with pytest.raises(FormatError, match="No such file"):
        identify(tmp_path / "nowhere")
    with pytest.raises(FormatError):
        identify(tmp_path / "a\0b")
