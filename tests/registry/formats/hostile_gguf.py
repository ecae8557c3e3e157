"""GGUF files that nobody should believe, each with words of the complaint that it must cause."""

from collections.abc import Iterator
from struct import pack

from unillm.tests.registry.formats.gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I8,
    I32,
    STRING,
    U8,
    U32,
    U64,
    GGUFBytes,
    array_key,
    key,
    number,
    plain,
    string,
    tensor,
    text_key,
)

Case = tuple[str, bytes, str]

ENORMOUS = (2**28, 2**31, 2**32 - 1, 2**32, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1)


def cases() -> Iterator[Case]:
    yield from truncated()
    yield from counts()
    yield from keys()
    yield from alignments()
    yield from shapes()
    yield from places()
    yield from versions()


def truncated() -> Iterator[Case]:
    whole = bytes(plain(keys=[text_key("general.architecture", "llama"), array_key("x", U32, [number(U32, 1)] * 3)]))
    for size in range(1, len(whole)):
        yield f"cut at {size}", whole[:size], "are left|cut short|nothing that unillm knows"


def counts() -> Iterator[Case]:
    for count in ENORMOUS:
        yield f"{count} keys", bytes(GGUFBytes(num_keys=count)), "number of keys"
        yield f"{count} tensors", bytes(GGUFBytes(num_tensors=count)), "number of tensors"
        yield f"key of {count} bytes", bytes(GGUFBytes(keys=[pack("<Q", count) + b"general"])), "length of key 0"
        long_text = key("x", STRING, pack("<Q", count) + b"abc")
        yield f"text of {count} bytes", bytes(GGUFBytes(keys=[long_text])), "length of 'x'|are left"
        long_name = pack("<Q", count) + b"weight"
        yield f"tensor name of {count} bytes", bytes(GGUFBytes(tensors=[long_name])), "length of name of tensor 0"
        for kind in (U8, I8, U32, F32, U64, F64, BOOL, STRING):
            lying = array_key("x", kind, [bytes(8)] * 4, count)
            yield f"array of {count} of type {kind}", bytes(GGUFBytes(keys=[lying])), "'x'"
        long_item = array_key("x", STRING, [string("a"), pack("<Q", count) + b"b"])
        yield f"array item of {count} bytes", bytes(GGUFBytes(keys=[long_item])), "item 1 of 'x'"
    yield "one key too many", bytes(GGUFBytes(num_keys=2)), "are left"
    yield "one tensor too many", bytes(plain(num_tensors=3)), "tensor 2"
    yield "65 537 keys", bytes(GGUFBytes(num_keys=65_537)), "more than 65536"


def keys() -> Iterator[Case]:
    nested = pack("<IQ", ARRAY, 1) * 20_000
    yield "arrays in arrays", bytes(GGUFBytes(keys=[key("x", ARRAY, nested)])), "array of arrays"
    for kind in (13, 99, 2**31, 2**32 - 1):
        yield f"value type {kind}", bytes(GGUFBytes(keys=[key("x", kind, bytes(8))])), "which GGUF does not have"
        yield f"item type {kind}", bytes(GGUFBytes(keys=[array_key("x", kind, [bytes(8)])])), "which GGUF does not have"
    yield "a key twice", bytes(GGUFBytes(keys=[text_key("x", "a"), text_key("x", "b")])), "'x' is there twice"
    yield "a key without name", bytes(GGUFBytes(keys=[text_key("", "a")])), "has no name"
    yield "a key that is not UTF-8", bytes(GGUFBytes(keys=[key(b"\xff\xfe", U8, b"\1")])), "not UTF-8"
    yield "text that is not UTF-8", bytes(GGUFBytes(keys=[key("x", STRING, string(b"ab\xff"))])), "not UTF-8"
    surrogate = array_key("x", STRING, [string("a"), string(b"\xed\xa0\x80")])
    yield "half a surrogate pair", bytes(GGUFBytes(keys=[surrogate])), "item 1 of 'x'.*not UTF-8"
    yield "a truth value of 2", bytes(GGUFBytes(keys=[key("x", BOOL, b"\2")])), "neither true"
    yield "truth values of 255", bytes(GGUFBytes(keys=[array_key("x", BOOL, [b"\1", b"\xff"])])), "neither true"


def alignments() -> Iterator[Case]:
    for value in (0, 1, 3, 4, 31, 33, 48, 8192, 2**31, 2**32 - 1):
        stated = key("general.alignment", U32, number(U32, value))
        yield f"alignment {value}", bytes(plain(keys=[stated])), "'general.alignment'.*power of two"
    for kind, name in ((I32, "a signed"), (U64, "a long"), (F32, "a broken"), (U8, "a short")):
        stated = key("general.alignment", kind, number(kind, 32))
        yield f"{name} alignment", bytes(plain(keys=[stated])), "not an unsigned 32-bit number"
    yield "an alignment in words", bytes(plain(keys=[text_key("general.alignment", "32")])), "unsigned 32-bit number"


def shapes() -> Iterator[Case]:
    for size in ENORMOUS:
        yield f"{size} numbers", bytes(plain(tensors=[tensor("a", [size], 0, 0)])), "tensor 'a'"
        yield f"{size} rows", bytes(plain(tensors=[tensor("a", [32, size], 2, 0)])), "tensor 'a'"
        wrapping = [2**32, 2**32, size]
        yield f"{wrapping} numbers", bytes(plain(tensors=[tensor("a", wrapping, 0, 0)])), "tensor 'a'"
    for count in (5, 64, 2**31, 2**32 - 1):
        yield (
            f"{count} dimensions",
            bytes(plain(tensors=[tensor("a", [1] * min(count, 64), 0, 0, count)])),
            "dimensions",
        )
    yield "a dimension of zero", bytes(plain(tensors=[tensor("a", [4, 0], 0, 0)])), "dimension of zero"
    yield "rows that are no blocks", bytes(plain(tensors=[tensor("a", [33, 2], 2, 0)])), "packs 32 at a time"
    yield "a scalar of a packed type", bytes(plain(tensors=[tensor("a", [], 2, 0)])), "packs 32 at a time"
    for kind in (4, 5, 31, 36, 42, 100, 2**31, 2**32 - 1):
        yield f"GGML type {kind}", bytes(plain(tensors=[tensor("a", [32], kind, 0)])), f"GGML type {kind}"


def places() -> Iterator[Case]:
    for offset in (64, 2**31, 2**32, 2**63, 2**64 - 32):
        yield f"offset {offset}", bytes(plain(tensors=[tensor("a", [8], 0, offset)])), "cut short"
    for offset in (1, 4, 16, 31):
        yield f"unaligned offset {offset}", bytes(plain(tensors=[tensor("a", [4], 0, offset)])), "not a multiple of 32"
    yield "the last number missing", bytes(plain(data=bytes(32 + 17))), "tensor 'b'.*cut short"
    overlapping = [tensor("a", [9], 0, 0), tensor("b", [4], 0, 32)]
    yield "one tensor on another", bytes(plain(tensors=overlapping, data=bytes(64))), "'b'.*overlaps tensor 'a'"
    same = [tensor("a", [4], 0, 0), tensor("b", [4], 0, 0)]
    yield "two tensors in one place", bytes(plain(tensors=same, data=bytes(64))), "overlaps"
    twice = [tensor("a", [4], 0, 0), tensor("a", [4], 0, 32)]
    yield "a tensor twice", bytes(plain(tensors=twice, data=bytes(64))), "is there twice"
    yield "a tensor without name", bytes(plain(tensors=[tensor("", [4], 0, 0)])), "has no name"
    yield "a tensor name not UTF-8", bytes(plain(tensors=[tensor(b"\xff", [4], 0, 0)])), "not UTF-8"


def versions() -> Iterator[Case]:
    for version in (0, 1, 4, 255, 2**32 - 1):
        yield f"version {version}", bytes(plain(version=version)), f"is {version}"
    for version in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        yield f"big-endian version {version}", bytes(plain(version=swapped)), "big-endian"
