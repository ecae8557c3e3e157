"""The Modelfile language: what it says, and what is wrong with one."""

import os
from pathlib import Path

import pytest

from unillm.registry.errors import FormatError, ModelfileError
from unillm.registry.files import Message
from unillm.registry.modelfile import MAX_BYTES, parse_modelfile, read_modelfile

HERE = Path("Modelfile")

WHOLE = '''
# a pirate
from llama3:8b
PARAMETER temperature 0.3
parameter num_ctx 4096
PARAMETER repeat_penalty 1.1
PARAMETER stop "<|end|>"
Parameter stop User:
SYSTEM """You are a pirate.
  You say "Arr!".
"""
TEMPLATE "{{ messages }}"
MESSAGE user Where is the treasure?
MESSAGE assistant """Here:
X"""
LICENSE MIT
LICENSE """And
another"""
'''


def test_everything_that_it_can_say_is_read() -> None:
    read = parse_modelfile(HERE, WHOLE)
    assert read.source == "llama3:8b"
    assert read.parameters == {
        "temperature": 0.3,
        "context": 4096,
        "repetition_penalty": 1.1,
        "stop": ["<|end|>", "User:"],
    }
    assert read.system == 'You are a pirate.\n  You say "Arr!".\n'
    assert read.template == "{{ messages }}"
    assert read.messages == (Message("user", "Where is the treasure?"), Message("assistant", "Here:\nX"))
    assert read.licence == "MIT\n\nAnd\nanother"
    assert read.notices == []


def test_lines_of_other_systems_and_other_encodings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "Modelfile"
    for data in (
        b"\xef\xbb\xbfFROM x\r\nSYSTEM hi\r\n",
        "FROM x\nSYSTEM hi".encode("utf-16"),
        b"FROM\tx\n\n  SYSTEM   hi  \n",
    ):
        path.write_bytes(data)
        assert (read_modelfile(path).source, read_modelfile(path).system) == ("x", "hi")


def test_no_limit_is_no_parameter_and_any_seed_is_none() -> None:
    assert parse_modelfile(HERE, "FROM x\nPARAMETER num_predict -1\nPARAMETER seed -1").parameters == {}


def test_what_only_another_program_understands_is_left_out_aloud() -> None:
    read = parse_modelfile(HERE, "FROM x\nPARAMETER num_gpu 99\nRENDERER qwen3\nREQUIRES 0.9")
    assert read.parameters == {}
    assert read.notices == [
        "Modelfile: line 2: num_gpu has no effect here and is left out",
        "Modelfile: line 3: RENDERER means nothing here and is left out",
        "Modelfile: line 4: REQUIRES means nothing here and is left out",
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "there is no FROM"),
        ("# FROM x", None, "there is no FROM"),
        ("FROM x\nFROM y", 2, "two FROMs"),
        ("FROM", 1, "FROM says nothing"),
        ("FROM x\nSYSTM hi", 2, "did you mean SYSTEM?"),
        ("FROM x\n\x1b[31mred hi", 2, "is not an instruction"),
        ("FROM x\nADAPTER ./lora", 2, "adapters cannot be put on a model yet"),
        ("FROM x\nDRAFT ./small", 2, "draft models"),
        ("FROM x\nPARAMETER temperature", 2, "temperature has no value"),
        ("FROM x\nPARAMETER temperature hot", 2, "temperature is 'hot', not a number"),
        ("FROM x\nPARAMETER top_k 1.5", 2, "not a whole number"),
        ("FROM x\nPARAMETER temprature 1", 2, "did you mean temperature?"),
        ("FROM x\nMESSAGE user", 2, "a message has a role"),
        ("FROM x\nMESSAGE robot hello", 2, "a message has a role"),
        ('FROM x\n\nSYSTEM """hello\nworld', 3, "is never closed"),
        ('FROM x\nSYSTEM """hello""" world', 2, "after the closing"),
    ],
)
def test_what_is_wrong_names_its_line(text: str, line: int | None, words: str) -> None:
    with pytest.raises(ModelfileError) as caught:
        parse_modelfile(HERE, text)
    assert words in str(caught.value)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"Modelfile: line {line}: " if line else "Modelfile: ")


def test_only_a_text_file_of_reasonable_length_is_read(tmp_path: Path) -> None:
    path = tmp_path / "Modelfile"
    path.write_bytes(b"FROM x\n#" + b"x" * MAX_BYTES)
    with pytest.raises(ModelfileError, match="longer than"):
        read_modelfile(path)
    path.write_bytes(b"FROM \xff")
    with pytest.raises(ModelfileError, match="not text"):
        read_modelfile(path)
    with pytest.raises(ModelfileError, match="no such file"):
        read_modelfile(tmp_path / "none")
    for other in (tmp_path, Path("/dev/zero")):
        with pytest.raises(FormatError):
            read_modelfile(other)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="not a regular file"):
        read_modelfile(tmp_path / "pipe")
