"""What a file is, by its first bytes: so that the wrong kind is called by its right name."""

import re
from pathlib import Path
from typing import Literal, TypeAlias

from ..errors import FormatError
from .reader import BoundedReader

Format: TypeAlias = Literal["safetensors", "gguf", "pytorch"]

LEGACY_PYTORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number that opens torch's older container
_FIRST_BYTES = 512

_FORMATS: dict[Format, str] = {
    "safetensors": "a safetensors file",
    "gguf": "a GGUF file",
    "pytorch": "a PyTorch checkpoint",
}

# What people have under a weight file's name, in the order of asking.
_OTHERS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (
        re.compile(rb"version https://git-lfs\.github\.com/spec/"),
        "a git-lfs pointer (fetch what it points to with `git lfs pull` or `unillm pull`)",
    ),
    (
        re.compile(rb"\s*(?:<!doctype html|<html|<head|<\?xml)", re.IGNORECASE),
        "a web page saved in the place of a file",
    ),
    (re.compile(rb"(?:tjgg|fmgg|lmgg|algg)"), "a GGML file of before GGUF (llama.cpp's tools convert it)"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7z archive"),
    (re.compile(rb"\x1f\x8b"), "a gzip archive"),
    (re.compile(rb"Rar!"), "a RAR archive"),
    (re.compile(rb"(?s:.{257})ustar"), "a tar archive"),
    (re.compile(rb"\x89HDF"), "an HDF5 file (Keras or TensorFlow)"),
    (re.compile(rb"\x93NUMPY"), "a NumPy array"),
    (re.compile(rb"\x80[\x02-\x05]"), "a bare pickle, not a PyTorch checkpoint"),
    (re.compile(rb"\x7fELF|MZ"), "a program"),
    (re.compile(rb"\s*[{\[]"), "a JSON file"),
    (re.compile(rb"\0{16}"), "empty at its beginning, as a download that was not finished"),
)


def identify(path: Path) -> Format:
    """Which format a weight file has, whatever its name says; `FormatError` says what it is instead."""
    with BoundedReader(path) as reader:
        found = _format(reader.bytes[:_FIRST_BYTES], reader.size)
        if found is None:
            raise reader.error("file", f"this is {_other(reader.bytes[:_FIRST_BYTES])}; weights are {_all()}", 0)
        return found


def expect(reader: BoundedReader, wanted: Format) -> None:
    """See that a file is at least plausibly of this format."""
    start = reader.bytes[:_FIRST_BYTES]
    found = _format(start, reader.size)
    if found != wanted:
        kind = _FORMATS[found] if found else _other(start)
        raise FormatError(reader.path, "file", f"this is {kind}, not {_FORMATS[wanted]}", 0)


def _format(start: bytes, size: int) -> Format | None:
    if start.startswith(b"GGUF"):
        return "gguf"
    if start.startswith((b"PK\x03\x04", LEGACY_PYTORCH)):
        return "pytorch"
    if size > 8 and start[8:9] == b"{" and (_length_fits(start, size) or not any(p.match(start) for p, _ in _OTHERS)):
        return "safetensors"
    return None


def _length_fits(start: bytes, size: int) -> bool:
    """Whether the first eight bytes can be a header's length; these may look like the mark of any other kind."""
    return int.from_bytes(start[:8], "little") <= size - 8


def _other(start: bytes) -> str:
    for pattern, name in _OTHERS:
        if pattern.match(start):
            return name
    return f"nothing that unillm knows (it begins with {start[:8]!r})"


def _all() -> str:
    return ", ".join(_FORMATS.values())
