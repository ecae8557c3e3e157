"""safetensors headers: what a sound file says, that no other is believed, and that the reference reader agrees."""

import json
import random
import re
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from unillm.registry.errors import FormatError
from unillm.registry.formats.safetensors import DTYPES, SafetensorsHeader, read_safetensors
from unillm.tests.registry.formats import hostile_safetensors
from unillm.tests.registry.formats.hostile_safetensors import file, one


def write(folder: Path, content: bytes) -> Path:
    path = folder / "model.safetensors"
    path.write_bytes(content)
    return path


def test_a_file_of_the_reference_writer_reads_as_it_was_written(tmp_path: Path) -> None:
    tensors = {
        "matrix": torch.arange(12, dtype=torch.float32).reshape(3, 4),
        "half": torch.arange(5).to(torch.bfloat16),
        "scalar": torch.tensor(7),
        "nothing": torch.empty(0, 3),
        "ünïcode.水": torch.tensor([True, False]),
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, {"format": "pt", "note": 'a "quoted"\nline'})

    header = read_safetensors(path)

    assert header.metadata == {"format": "pt", "note": 'a "quoted"\nline'}
    assert header.tensors.keys() == tensors.keys()
    matrix = header.tensors["matrix"]
    assert (matrix.dtype, matrix.shape, matrix.nbytes) == ("F32", (3, 4), 48)
    assert path.read_bytes()[matrix.offset : matrix.offset + 48] == tensors["matrix"].numpy().tobytes()
    assert header.tensors["scalar"].shape == ()
    assert header.tensors["nothing"].nbytes == 0


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"__metadata__": {}},
        {"": {"dtype": "U8", "shape": [], "data_offsets": [0, 1]}},
        {"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}},
        {"a": {"dtype": "F32", "shape": [0, 2**60], "data_offsets": [0, 0]}},
        {
            "a": {
                "dtype": "U8",
                "shape": [1],
                "data_offsets": [0, 1],
                "unknown": [{"x": [1.5e3, None, True, "é"]}, {}, []],
            }
        },
    ],
)
def test_unusual_files_that_the_reference_reads_are_read(
    tmp_path: Path, header: dict[str, dict[str, list[int]]]
) -> None:
    sizes = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    path = write(tmp_path, file(header, bytes(max(sizes, default=0))))
    assert_reads_alike(path)


@pytest.mark.parametrize("ending", ["", " ", "   \n", "\t\r\n "])
def test_blanks_may_follow_the_header(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, file(json.dumps(one()) + ending))
    assert_reads_alike(path)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_has_the_size_that_the_reference_gives_it(tmp_path: Path, dtype: str) -> None:
    header = {"a": {"dtype": dtype, "shape": [8], "data_offsets": [0, DTYPES[dtype]]}}
    assert_reads_alike(write(tmp_path, file(header, bytes(DTYPES[dtype]))))


HOSTILE = list(hostile_safetensors.cases())


@pytest.mark.parametrize(("content", "complaint"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_a_hostile_file_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(FormatError, match=complaint) as caught:
        read_safetensors(path)
    assert caught.value.file == path
    assert caught.value.offset is not None
    assert 0 <= caught.value.offset <= len(content)
    assert len(str(caught.value)) < 1000


STRICTER = "is there twice|nothing that unillm knows|is not a string of text"


def test_whatever_is_changed_both_readers_agree(tmp_path: Path) -> None:
    """1000 files with a few changed bytes: what one reader reads the other does, but where ours is meant stricter."""
    chance = random.Random(7)
    entries = {**one(), "b": {"dtype": "U8", "shape": [2, 2], "data_offsets": [4, 8]}}
    sound = file({"__metadata__": {"format": "pt"}, **entries}, bytes(8))
    agreed, refused = 0, []
    for _ in range(1000):
        changed = bytearray(sound)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(len(changed))] = chance.choice(b'{}[]",:0123456789 \\\x00\xffadefrst_-.')
        path = write(tmp_path, bytes(changed))
        try:
            ours = spoken(read_safetensors(path))
        except FormatError as error:
            refused += [str(error)] if reads(path) else []
        else:
            assert ours == reference(path)
            agreed += 1
    assert agreed > 25
    assert [complaint for complaint in refused if not re.search(STRICTER, complaint)] == []


def reads(path: Path) -> bool:
    try:
        with safe_open(path, "pt"):
            return True
    except SafetensorError:
        return False


def assert_reads_alike(path: Path) -> None:
    assert spoken(read_safetensors(path)) == reference(path)


def spoken(header: SafetensorsHeader) -> dict[str, object]:
    tensors = {name: (view.dtype, list(view.shape)) for name, view in header.tensors.items()}
    return {"metadata": header.metadata, "tensors": tensors}


def reference(path: Path) -> dict[str, object]:
    try:
        with safe_open(path, "pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            tensors = {name: (part.get_dtype(), part.get_shape()) for name, part in slices.items()}
            return {"metadata": opened.metadata() or {}, "tensors": tensors}
    except SafetensorError as error:
        pytest.fail(f"the reference refuses it: {error}")
