"""Sound files with a few bytes changed: each is read or refused, and nothing else ever happens."""

import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from unillm.registry.errors import FormatError
from unillm.registry.formats.gguf import read_gguf
from unillm.registry.formats.index import read_index
from unillm.registry.formats.pytorch import check_pytorch
from unillm.registry.formats.safetensors import read_safetensors
from unillm.tests.registry.formats.gguf_bytes import (
    BOOL,
    F32,
    STRING,
    U32,
    array_key,
    key,
    number,
    plain,
    string,
    text_key,
)
from unillm.tests.registry.formats.hostile_safetensors import file, one

CHANGED_FILES = 600

STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "b": torch.ones(4, dtype=torch.bfloat16),
    "c": torch.tensor([True]),
}
TELLING = b'\x00\x01\x02\x07\x20\x7f\x80\xff\x93.(}]tRQcqbuPK"{}[],:0123456789'


def gguf_file() -> bytes:
    keys = [
        text_key("general.architecture", "llama"),
        key("general.alignment", U32, number(U32, 32)),
        array_key("words", STRING, [string("a"), string("水")]),
        array_key("numbers", F32, [number(F32, 1.5)] * 3),
        key("yes", BOOL, b"\1"),
    ]
    return bytes(plain(keys=keys))


def checkpoint(*, new: bool) -> bytes:
    saved = io.BytesIO()
    torch.save(STATE, saved, _use_new_zipfile_serialization=new)
    return saved.getvalue()


def index_file() -> bytes:
    return json.dumps({"metadata": {"total_size": 3}, "weight_map": {"a": "file", "b": "file"}}).encode()


def changed(sound: bytes, seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for _ in range(CHANGED_FILES):
        content = bytearray(sound)
        for _ in range(chance.randint(1, 4)):
            where = chance.randrange(len(content))
            match chance.randrange(5):
                case 0:
                    content[where : where + chance.randint(1, 8)] = b""
                case 1:
                    content[where:where] = chance.randbytes(chance.randint(1, 8))
                case 2:
                    content[where] ^= 1 << chance.randrange(8)
                case _:
                    content[where] = chance.choice(TELLING)
            content = content or bytearray(b"\0")
        yield bytes(content)


@pytest.mark.parametrize(
    ("sound", "read"),
    [
        (gguf_file(), read_gguf),
        (file({"__metadata__": {"format": "pt"}, **one()}), read_safetensors),
        (checkpoint(new=True), check_pytorch),
        (checkpoint(new=False), check_pytorch),
        (index_file(), read_index),
    ],
    ids=["GGUF", "safetensors", "zip checkpoint", "legacy checkpoint", "index"],
)
def test_a_changed_file_is_read_or_refused(tmp_path: Path, sound: bytes, read: Callable[[Path], object]) -> None:
    path = tmp_path / "file"
    path.write_bytes(sound)
    read(path)
    for content in changed(sound, seed=11):
        path.write_bytes(content)
        assert refused_or_read(path, read)


def refused_or_read(path: Path, read: Callable[[Path], object]) -> bool:
    try:
        read(path)
    except FormatError as error:
        return error.file == path and len(str(error)) < 2000
    return True
