import os
import subprocess
from pathlib import Path

import pytest

from unillm.registry.digests import Digest, hash_file
from unillm.registry.errors import FormatError


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:xyz", "sha256:" + "A" * 64, "git:" + "0" * 64, "md5:" + "0" * 32]
)
def test_what_is_no_checksum_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="checksum"):
        Digest.parse(text)


@pytest.mark.parametrize("data", [b"", b"hello\n", b"\0" * 3_000_000])
def test_checksums_are_those_of_git_and_sha256sum(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    hasher = hash_file(path)
    sha256 = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    git = subprocess.run(["git", "hash-object", path], capture_output=True, text=True, check=True).stdout.strip()
    assert str(hasher.sha256) == f"sha256:{sha256}"
    assert str(hasher.like(Digest("git", git))) == f"git:{git}"


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 2_500_000)
    told: list[tuple[int, int]] = []
    hash_file(path, lambda done, total: told.append((done, total)))
    assert told[-1] == (2_500_000, 2_500_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="not a regular file"):
        hash_file(tmp_path / "pipe")
