"""safetensors files that nobody should believe, each with words of the complaint that it must cause."""

import json
from collections.abc import Iterator
from struct import pack
from typing import Any

Case = tuple[str, bytes, str]

ONE: dict[str, Any] = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def file(header: object, data: bytes = bytes(4), length: int | None = None) -> bytes:
    """A file of this header (text, bytes, or something to write as JSON), whose stated length may lie."""
    raw = header if isinstance(header, bytes) else header.encode() if isinstance(header, str) else _json(header)
    return pack("<Q", len(raw) if length is None else length) + raw + data


def _json(header: object) -> bytes:
    return json.dumps(header).encode()


def one(**changes: object) -> dict[str, dict[str, object]]:
    return {"a": {**ONE, **changes}}


def cases() -> Iterator[Case]:
    yield from lengths()
    yield from texts()
    yield from entries()
    yield from places()


def lengths() -> Iterator[Case]:
    sound = file(one())
    for size in range(1, len(sound)):
        yield f"cut at {size}", sound[:size], "cut short|nothing that unillm knows"
    for length in (2**31, 2**32, 2**62, 2**63, 2**64 - 8, 2**64 - 1, 100_000_001):
        yield f"a header of {length} bytes", file(one(), length=length), "length of the header at byte 0"
    yield "a header of one byte more", file(one(), b"", length=len(_json(one())) + 1), "length of the header"
    yield "a header of one byte less", file(one(), length=len(_json(one())) - 1), "header at byte"
    yield "a header of nothing", file(b""), "nothing that unillm knows"


def texts() -> Iterator[Case]:
    sound = _json(one()).decode()
    yield "an array", file("[]"), "a JSON file|nothing that unillm knows"
    yield "a blank before it", file(" " + sound), "nothing that unillm knows"
    yield "a byte order mark before it", file("\ufeff" + sound), "nothing that unillm knows"
    yield "a NUL behind it", file(sound + "\0"), "something follows its end"
    yield "a second object behind it", file(sound + "{}"), "something follows its end"
    yield "single quotes", file(sound.replace('"', "'")), "a string is wanted here"
    yield "a comma too many", file(sound[:-1] + ",}"), "a string is wanted here"
    yield "a comment", file("{/**/" + sound[1:]), "a string is wanted here"
    yield "not closed", file(sound[:-1]), "',' is wanted here, not the end"
    yield "200 000 brackets", file('{"x":' + "[" * 200_000, b""), "'\\{' is wanted here"
    yield "200 000 braces", file('{"x":' * 200_000, b""), "'x'"
    yield "200 000 brackets in an unknown key", file('{"a":{"x":' + "[" * 200_000, b""), "nested deeper"
    yield "a name that is not UTF-8", file(b'{"\xff":' + _json(ONE) + b"}"), "not UTF-8"
    yield "a name of half a surrogate pair", file('{"\\ud800":' + json.dumps(ONE) + "}"), "not a string of text"
    yield "a name of a broken escape", file('{"\\x41":' + json.dumps(ONE) + "}"), "a string is wanted here"
    yield "a line break in a name", file('{"a\nb":' + json.dumps(ONE) + "}"), "a string is wanted here"
    yield "a name twice", file(f'{{"a":{json.dumps(ONE)},"a":{json.dumps(ONE)}}}'), "'a' is there twice"
    escaped = f'{{"a":{json.dumps(ONE)},"\\u0061":{json.dumps(ONE)}}}'
    yield "a name twice, once escaped", file(escaped), "'a' is there twice"
    yield "metadata twice", file('{"__metadata__":{},"__metadata__":{}}', b""), "is there twice"
    yield "a metadata key twice", file('{"__metadata__":{"x":"1","x":"2"}}', b""), "is there twice"
    yield "metadata of numbers", file({"__metadata__": {"x": 1}, **one()}), "metadata 'x'.*a string is wanted"
    yield "metadata in metadata", file({"__metadata__": {"x": {}}, **one()}), "metadata 'x'.*a string is wanted"
    yield "metadata that is a list", file({"__metadata__": [], **one()}), "metadata.*is wanted here"


def entries() -> Iterator[Case]:
    for missing in ONE:
        entry = {key: value for key, value in ONE.items() if key != missing}
        yield f"no {missing}", file({"a": entry}), "does not have a dtype, a shape and two data_offsets"
    others: list[object] = [None, 1, "a", [], True]
    for value in others:
        yield f"a tensor that is {value}", file({"a": value}), "tensor 'a'.*is wanted here"
    for dtype in ("", "F99", "f32", "float32", "I4", "F32 "):
        yield f"dtype {dtype!r}", file(one(dtype=dtype)), "tensor 'a'.*has dtype"
    yield "dtype twice", file('{"a":{"dtype":"F32","dtype":"F32"}}'), "'dtype' is there twice"
    shapes: list[object] = [[-1], [1.0], [True], ["1"], [None], [[1]], "1", 1, None, {}]
    for shape in shapes:
        yield f"shape {shape}", file(one(shape=shape)), "shape of tensor 'a'"
    for digits in ("1e0", "1E5", "0x1", "01", "+1", "-0", "1_0", "NaN", "Infinity", "9" * 20, "9" * 5000, "1" * 10**6):
        text = f'{{"a":{{"dtype":"F32","shape":[{digits}],"data_offsets":[0,4]}}}}'
        yield f"shape in digits {digits[:20]} ({len(digits)})", file(text), "shape of tensor 'a'"
    for size in (0, 2, 2**31, 2**32, 2**59, 10**17):
        yield f"{size} numbers in 4 bytes", file(one(shape=[size])), "takes \\d+ bits; its data_offsets hold 32"
    yield "a wrapping product", file(one(shape=[2**32, 2**32])), "shape of more than"
    yield (
        "a wrapping product with zero",
        file(one(shape=[2**40, 2**40, 0], data_offsets=[0, 0]), b""),
        "shape of more than",
    )
    yield "19 digits", file(one(shape=[10**19 - 1])), "shape of more than"
    yield "65 dimensions", file(one(shape=[1] * 65)), "more than 64 numbers"
    yield "a million dimensions", file(one(shape=[1] * 10**6)), "more than 64 numbers"
    yield "half a byte", file(one(dtype="F4", shape=[7])), "takes 28 bits"


def places() -> Iterator[Case]:
    places: list[object] = [[], [0], [0, 4, 8], [0, -4], [0.0, 4], ["0", 4], [None, None], 4, {}]
    for offsets in places:
        yield f"offsets {offsets}", file(one(data_offsets=offsets)), "data_offsets|does not have a dtype"
    for start, stop in ((4, 0), (4, 8), (1, 5), (2**60, 2**60 + 4)):
        yield f"offsets {start} to {stop}", file(one(data_offsets=[start, stop])), "tensor 'a'"
    second = {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}
    yield "a number after the last tensor", file(one(), bytes(5)), "something follows the last tensor"
    yield (
        "an archive after the last tensor",
        file(one(), bytes(4) + b"PK\5\6" + bytes(18)),
        "something follows the last",
    )
    yield "the last number missing", file(one(), bytes(3)), "cut short"
    yield "no data", file(one(), b""), "cut short"
    yield "data and no tensors", file({}, bytes(4)), "something follows"
    yield "one tensor on another", file({"a": ONE, "b": ONE}), "tensor 'b'.*overlaps"
    crossing = {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}
    yield "one tensor across another", file({"a": ONE, "b": crossing}, bytes(6)), "tensor 'b'.*overlaps"
    yield "a gap", file({"a": ONE, "b": {**second, "data_offsets": [8, 12]}}, bytes(12)), "tensor 'b'.*leaves a gap"
    yield "a gap at the beginning", file({"b": second}, bytes(8)), "tensor 'b'.*leaves a gap"
