"""Indexes of sharded models: every file they name lies beside them and is there."""

import json
import os
from pathlib import Path

import pytest

from unillm.registry.errors import FormatError
from unillm.registry.formats.index import read_index

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for shard in SHARDS:
        (folder / shard).write_bytes(bytes(100))
    return folder


def index(folder: Path, weight_map: object, **more: object) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 180}, "weight_map": weight_map, **more}))
    return path


def test_each_tensor_is_found_in_its_file(folder: Path) -> None:
    path = index(folder, {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[0]})
    assert read_index(path) == {"a": folder / SHARDS[0], "b": folder / SHARDS[1], "c": folder / SHARDS[0]}


def test_files_may_lie_elsewhere_and_must_lie_somewhere(tmp_path: Path, folder: Path) -> None:
    path = index(tmp_path, {"a": SHARDS[0], "b": SHARDS[1]})
    places = {shard: folder / shard for shard in SHARDS}
    assert read_index(path, places) == {"a": folder / SHARDS[0], "b": folder / SHARDS[1]}
    with pytest.raises(FormatError, match=r"file 'model-00001-of-00002\.safetensors': .*No such file"):
        read_index(path)


@pytest.mark.parametrize("total", [0, 180.0, 7 * 180])
def test_sizes_as_people_write_them_are_read(folder: Path, total: float) -> None:
    """Some count other dtypes than the files have."""
    metadata = {"total_size": total, "note": [None, {"x": True}], "total_parameters": 7}
    assert read_index(index(folder, {"a": SHARDS[0]}, metadata=metadata))


def test_shards_may_be_links_as_in_the_hub_cache(folder: Path) -> None:
    blob = folder.parent / "blob"
    (folder / SHARDS[0]).rename(blob)
    (folder / SHARDS[0]).symlink_to(blob)
    assert read_index(index(folder, {"a": SHARDS[0]})) == {"a": folder / SHARDS[0]}


@pytest.mark.parametrize(
    "name",
    [
        "../model-00001-of-00002.safetensors",
        "../../../../etc/passwd",
        "/etc/passwd",
        "/proc/self/mem",
        "/dev/zero",
        "./model-00001-of-00002.safetensors",
        "sub/model.safetensors",
        "..\\model.safetensors",
        "C:\\model.safetensors",
        "C:model.safetensors",
        "\\\\server\\share\\model.safetensors",
        "file:///etc/passwd",
        "https://example.com/model.safetensors",
        "model\0.safetensors",
        "model\n.safetensors",
        "\x1b]0;title\x07",
        "..",
        ".",
        "",
        "m" * 300,
    ],
)
def test_a_name_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    path = index(folder, {"a": SHARDS[0], "b.weight": name})
    for places in (None, {SHARDS[0]: folder / SHARDS[0], name: folder / SHARDS[1]}):
        with pytest.raises(FormatError, match=r"tensor 'b\.weight'.*not the name of a file beside it") as caught:
            read_index(path, places)
        assert caught.value.file == path


def test_a_file_that_is_no_file_is_refused_by_name(folder: Path) -> None:
    (folder / "sub").mkdir()
    with pytest.raises(FormatError, match=r"file 'sub'.*is not a regular file"):
        read_index(index(folder, {"a": "sub"}))
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(FormatError, match="file 'loop'"):
        read_index(index(folder, {"a": "loop"}))
    (folder / "dangling").symlink_to(folder / "nowhere")
    with pytest.raises(FormatError, match=r"file 'dangling'.*No such file"):
        read_index(index(folder, {"a": "dangling"}))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_a_pipe_is_refused_without_waiting_for_it(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(FormatError, match=r"file 'pipe'.*is not a regular file"):
        read_index(index(folder, {"a": "pipe"}))
    os.mkfifo(folder / "index")
    with pytest.raises(FormatError, match="is not a regular file"):
        read_index(folder / "index")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ("[]", "'{' is wanted here"),
        ("{}", "'weight_map'.*names no tensors"),
        ('{"weight_map": {}}', "names no tensors"),
        ('{"weight_map": []}', "'weight_map'.*is wanted here"),
        ('{"weight_map": {"a": 1}}', "file of tensor 'a'.*a string is wanted here"),
        ('{"weight_map": {"a": ["model-00001-of-00002.safetensors"]}}', "a string is wanted here"),
        ('{"weight_map": {"a": null}}', "a string is wanted here"),
        ('{"weight_map": {"a": "b", "a": "c"}}', "'a' is there twice"),
        ('{"weight_map": {"a": "b"}, "weight_map": {"a": "c"}}', "'weight_map' is there twice"),
        ('{"weight_map": {"a": "b"}} x', "something follows its end"),
        ('{"metadata": ' + "[" * 200_000, "'metadata'.*is wanted here"),
        ('{"x": ' + "[" * 200_000, "nested deeper"),
        ('{"metadata": {"total_size": -1}}', "'total_size'"),
        ('{"metadata": {"total_size": 1e30}}', "'total_size'.*is not a number of bytes"),
        ('{"metadata": {"total_size": 1e999999}}', "'total_size'.*is not a number of bytes"),
        ('{"metadata": {"total_size": ' + "9" * 100_000 + "}}", "'total_size'"),
        ('{"metadata": {"total_size": NaN}}', "'total_size'.*a number is wanted"),
        ('{"metadata": {"total_size": "180"}}', "'total_size'.*a number is wanted"),
        (
            '{"metadata": {"total_size": 9000}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}',
            "is 9000; the files",
        ),
    ],
)
def test_a_hostile_index_is_refused(folder: Path, content: str, complaint: str) -> None:
    path = folder / "model.safetensors.index.json"
    path.write_text(content)
    with pytest.raises(FormatError, match=complaint) as caught:
        read_index(path)
    assert caught.value.file == path
