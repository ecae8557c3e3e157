"""Small JSON files of others: an object within bounds, or a complaint that names the file."""

from pathlib import Path

import pytest

from unillm.registry.errors import FormatError
from unillm.registry.formats.json_file import read_json_object


def test_an_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes('\ufeff{"a": [1, 2.5, null], "é": "水"}'.encode())
    assert read_json_object(path) == {"a": [1, 2.5, None], "é": "水"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"[]", "is not a JSON object"),
        (b"{", "is not JSON"),
        (b"\xff\xfe{\0}\0", "is not JSON"),
        (b'{"a": "\xff"}', "is not JSON"),
        (b"[" * 1_000_000, "is nested too deep"),
        (b'{"a":' * 500_000, "is nested too deep"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "is not JSON"),
        (b'{"a": "' + b"x" * 4_000_000 + b'"}', "more than 4000000"),
    ],
)
def test_a_hostile_file_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=complaint) as caught:
        read_json_object(path)
    assert caught.value.file == path
