"""GGUF headers: what a sound file says, and that no other is believed."""

import time
from array import array
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from unillm.registry.errors import FormatError
from unillm.registry.formats.ggml_types import GGML_TYPES
from unillm.registry.formats.gguf import read_gguf, read_gguf_shard
from unillm.tests.registry.formats import hostile_gguf
from unillm.tests.registry.formats.gguf_bytes import (
    BOOL,
    F32,
    I8,
    I16,
    I64,
    STRING,
    U8,
    U16,
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

Writer = Callable[[bytes | GGUFBytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def writer(content: bytes | GGUFBytes) -> Path:
        path = tmp_path / "model.gguf"
        path.write_bytes(bytes(content))
        return path

    return writer


def test_the_types_are_those_of_the_gguf_package() -> None:
    """But for those that another release of the package has or lacks."""
    theirs = {int(kind): (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}
    ours = {number: tuple(kind) for number, kind in GGML_TYPES.items()}
    shared = ours.keys() & theirs.keys()
    assert len(shared) >= 30
    assert {number: ours[number] for number in shared} == {number: theirs[number] for number in shared}


def test_a_file_of_the_gguf_package_reads_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(7)
    writer.add_rope_freq_base(5e5)
    writer.add_token_list(["a", "é", "水"])
    writer.add_token_types([1, 1, 3])
    writer.add_add_bos_token(True)
    writer.add_tensor("weight", matrix)
    writer.add_tensor("half", matrix.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    header = read_gguf(path)

    assert header.version == 3
    assert header.metadata["llama.block_count"] == 7
    assert header.metadata["llama.rope.freq_base"] == 5e5
    assert header.metadata["tokenizer.ggml.tokens"] == ["a", "é", "水"]
    assert header.metadata["tokenizer.ggml.token_type"] == array("i", [1, 1, 3])
    assert header.metadata["tokenizer.ggml.add_bos_token"] is True
    weight = header.tensors["weight"]
    assert (weight.dtype, weight.shape, weight.file) == ("F32", (3, 4), path)
    assert path.read_bytes()[weight.offset : weight.offset + weight.nbytes] == matrix.tobytes()
    half = header.tensors["half"]
    assert path.read_bytes()[half.offset : half.offset + half.nbytes] == matrix.astype(np.float16).tobytes()


def test_every_kind_of_value_reads(write: Writer) -> None:
    keys = [
        key("u8", U8, number(U8, 255)),
        key("i8", I8, number(I8, -128)),
        key("u16", U16, number(U16, 65535)),
        key("i16", I16, number(I16, -32768)),
        key("u64", U64, number(U64, 2**64 - 1)),
        key("i64", I64, number(I64, -(2**63))),
        key("f32", F32, number(F32, 0.5)),
        key("no", BOOL, b"\0"),
        text_key("empty", ""),
        array_key("floats", F32, [number(F32, 0.25), number(F32, -2)]),
        array_key("longs", U64, [number(U64, 2**64 - 1)]),
        array_key("truths", BOOL, [b"\0", b"\1"]),
        array_key("none", STRING, []),
        array_key("words", STRING, [string(""), string("水")]),
    ]
    metadata = read_gguf(write(GGUFBytes(keys=keys))).metadata
    assert metadata == {
        "u8": 255,
        "i8": -128,
        "u16": 65535,
        "i16": -32768,
        "u64": 2**64 - 1,
        "i64": -(2**63),
        "f32": 0.5,
        "no": False,
        "empty": "",
        "floats": array("f", [0.25, -2]),
        "longs": array("Q", [2**64 - 1]),
        "truths": [False, True],
        "none": [],
        "words": ["", "水"],
    }


def test_the_vocabulary_can_be_left_out(write: Writer) -> None:
    keys = [
        array_key("tokenizer.ggml.tokens", STRING, [string("a"), string("b")]),
        array_key("tokenizer.ggml.scores", F32, [number(F32, 1)] * 2),
        array_key("tokenizer.ggml.truths", BOOL, [b"\1"]),
        text_key("tokenizer.ggml.model", "llama"),
        array_key("general.languages", STRING, [string("en")]),
    ]
    header = read_gguf(write(plain(keys=keys)), vocabulary=False)
    assert header.metadata == {"tokenizer.ggml.model": "llama", "general.languages": ["en"]}
    assert header.tensors["b"].dtype == "Q4_0"


@pytest.mark.parametrize("kind", [U8, U64, F32, BOOL, STRING])
@pytest.mark.parametrize("count", [5, *hostile_gguf.ENORMOUS])
def test_a_vocabulary_that_is_left_out_must_be_there_too(write: Writer, kind: int, count: int) -> None:
    lying = array_key("tokenizer.x", kind, [bytes(8)] * 4 if kind in (U64, STRING) else [bytes(4)], count)
    with pytest.raises(FormatError, match=r"tokenizer\.x"):
        read_gguf(write(GGUFBytes(keys=[lying])), vocabulary=False)


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_read(write: Writer, version: int) -> None:
    header = read_gguf(write(plain(version=version)))
    assert header.version == version
    assert header.tensors["a"].shape == (2, 4)
    assert header.tensors["b"].dtype == "Q4_0"


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_another_alignment_counts(write: Writer, alignment: int) -> None:
    stated = key("general.alignment", U32, number(U32, alignment))
    entries = [tensor("a", [1], 0, 0), tensor("b", [2], 0, alignment)]
    data = b"aaaa".ljust(alignment, b"-") + b"bbbbbbbb"
    path = write(plain(keys=[stated], tensors=entries, data=data, alignment=alignment))
    view = read_gguf(path).tensors["b"]
    assert path.read_bytes()[view.offset : view.offset + view.nbytes] == b"bbbbbbbb"


def test_a_vocabulary_of_150_000_tokens_reads_in_half_a_second(write: Writer) -> None:
    tokens = [string(f"token {index}") for index in range(150_000)]
    merges = [string(f"to ken{index}") for index in range(150_000)]
    types = [number(U32, 1)] * 150_000
    path = write(
        GGUFBytes(
            keys=[
                array_key("tokens", STRING, tokens),
                array_key("types", U32, types),
                array_key("merges", STRING, merges),
            ]
        )
    )
    best = min(_seconds(path) for _ in range(3))
    assert best < 0.5


def _seconds(path: Path) -> float:
    """Of the processor, whatever else runs."""
    start = time.process_time()
    read_gguf(path)
    return time.process_time() - start


def test_shards_read_as_one_model(tmp_path: Path) -> None:
    paths = _shards(tmp_path, ["a", "b", "c"])
    header = read_gguf(paths)
    assert [(name, view.file.name) for name, view in header.tensors.items()] == [
        ("a", "0.gguf"),
        ("b", "1.gguf"),
        ("c", "2.gguf"),
    ]
    assert header.metadata["general.architecture"] == "llama"
    assert list(read_gguf_shard(paths[1]).tensors) == ["b"]


def test_a_missing_shard_is_noticed(tmp_path: Path) -> None:
    paths = _shards(tmp_path, ["a", "b", "c"])
    with pytest.raises(FormatError, match=r"split\.count.*3 files; 2 are given"):
        read_gguf(paths[:2])
    with pytest.raises(FormatError, match=r"split\.count.*3 files; 1 are given"):
        read_gguf(paths[0])


def test_shards_in_the_wrong_order_are_noticed(tmp_path: Path) -> None:
    first, second = _shards(tmp_path, ["a", "b"])
    with pytest.raises(FormatError, match=r"split\.no.*not file 1 of 2"):
        read_gguf([second, first])


def test_a_tensor_in_two_shards_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"tensor 'a'.*is in 0\.gguf already"):
        read_gguf(_shards(tmp_path, ["a", "a"]))


def test_a_tensor_that_no_shard_has_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"split\.tensors\.count.*is 5; the files hold 2"):
        read_gguf(_shards(tmp_path, ["a", "b"], total=5))


def _shards(folder: Path, names: list[str], total: int | None = None) -> list[Path]:
    paths = []
    for index, name in enumerate(names):
        keys = [
            text_key("general.architecture", "llama"),
            key("split.no", U16, number(U16, index)),
            key("split.count", U16, number(U16, len(names))),
            key("split.tensors.count", U32, number(U32, len(names) if total is None else total)),
        ]
        paths.append(folder / f"{index}.gguf")
        paths[-1].write_bytes(bytes(GGUFBytes(keys=keys, tensors=[tensor(name, [2], 0, 0)], data=bytes(8))))
    return paths


HOSTILE = list(hostile_gguf.cases())


@pytest.mark.parametrize(("content", "complaint"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_a_hostile_file_is_refused(write: Writer, content: bytes, complaint: str) -> None:
    path = write(content)
    with pytest.raises(FormatError, match=complaint) as caught:
        read_gguf(path)
    assert caught.value.file == path
    assert caught.value.offset is not None
    assert 0 <= caught.value.offset <= len(content)
