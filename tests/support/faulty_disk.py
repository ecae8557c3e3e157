# ruff: noqa: PTH100, PTH115, PTH118
"""A disk that fails when it is told to, and remembers what was asked of it.

`FaultyDisk` stands between a process and the files under one folder: each step (a file opened, a piece written, a name
given or taken away, a sync) is announced before it is done, and whoever hears of it may refuse it with an error of the
operating system, or not let the process live on. What was done is kept in a journal, from which `after_power_loss`
tells what a disk would hold on which only what was synced is certain. For forks: nothing is ever put back.
"""

import errno
import io
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

Kind = Literal["open", "read", "list", "write", "cut", "sync", "rename", "unlink", "mkdir", "rmdir", "link"]
Heard: TypeAlias = Callable[[Kind, str], None]
Change: TypeAlias = tuple[str, ...]

_GROWING: frozenset[Kind] = frozenset({"open", "write", "sync", "rename", "mkdir", "link"})
_CHANGING: frozenset[Kind] = frozenset({"open", "cut", "rename", "unlink", "mkdir", "rmdir", "link"})
_READING: frozenset[Kind] = frozenset({"read", "list"})
_ALL: frozenset[Kind] = _GROWING | _CHANGING | _READING
STRUCK_BY: dict[str, frozenset[Kind]] = {
    "ENOSPC": _GROWING,
    "EDQUOT": _GROWING,
    "EIO": _ALL,
    "EACCES": _CHANGING | frozenset[Kind]({"read"}),
    "EROFS": _CHANGING,
    "EMFILE": frozenset({"open", "read", "list"}),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def strike(name: str, at: int, *, lasting: bool) -> tuple[Heard, Callable[[], int]]:
    """A listener that refuses the step `at` of those that the error can strike, and how many it has heard of."""
    steps = 0

    def heard(kind: Kind, path: str) -> None:
        nonlocal steps
        if kind in STRUCK_BY[name]:
            steps += 1
            if steps - 1 == at or (lasting and steps - 1 > at):
                number = getattr(errno, name)
                raise OSError(number, os.strerror(number), path)

    return heard, lambda: steps


class FaultyDisk:
    """The files under `root`; `heard` is told of each step before it is done."""

    def __init__(self, root: Path, heard: Heard) -> None:
        self._root, self.heard = f"{root}{os.sep}", heard
        self.journal: list[Change] = []

    def install(self) -> None:
        """From here on this process reaches those files only through this."""
        self._mkdir, self._open, self._open_file = os.mkdir, os.open, io.open
        opened, mkdir, open_file = self.open, self.mkdir, self.open_file
        os.fsync = self._told_of_sync(os.fsync)  # type: ignore[assignment]
        os.scandir = self._listing(os.scandir)
        os.listdir = self._listing(os.listdir)
        os.rmdir = self._removing("rmdir", os.rmdir)
        os.unlink = os.remove = self._removing("unlink", os.unlink)
        os.rename = os.replace = self._renaming(os.replace)
        os.symlink = self._linking(os.symlink)
        os.mkdir, os.open, io.open = mkdir, opened, open_file  # type: ignore[assignment]

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        place = self._before("mkdir", path, dir_fd)
        self._mkdir(path, mode, dir_fd=dir_fd)
        self._note("mkdir", place)

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = self._before("open" if flags & _WRITING else "read", path, dir_fd)
        new = place is not None and not os.path.lexists(place)
        handle = self._open(path, flags, mode, dir_fd=dir_fd)
        if new and flags & os.O_CREAT:
            self._note("file", place)
        elif flags & os.O_TRUNC:
            self._note("data", place, "")
        return handle

    def open_file(self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **more: Any) -> IO[Any]:
        """`open`; what writes goes through `_Written`, so that every piece is heard of."""
        place = self._place(file, None)
        writes = bool(set(mode) & set("wxa+"))
        if place is None or not writes:
            if place is not None and not isinstance(file, int):
                self.heard("read", place)
            return self._open_file(file, mode, buffering, *args, **more)
        if not isinstance(file, int):
            self.heard("open", place)
        new = not isinstance(file, int) and not os.path.lexists(place)
        raw = _Written(self, place, file, mode.replace("b", "").replace("t", ""))
        if not isinstance(file, int):
            self._note(*(("file", place) if new else ("data", place, self.content(place))))
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *args, **more)

    def content(self, place: str) -> str:
        with self._open_file(place, "rb") as file:
            return bytes(file.read()).hex()

    def _told_of_sync(self, sync: Callable[[Any], None]) -> Callable[[Any], None]:
        def told(handle: Any) -> None:
            place = self._before("sync", handle, None)
            sync(handle)
            self._note("sync", place)

        return told

    def _listing(self, listing: Any) -> Any:
        def told(path: Any = ".") -> Any:
            self._before("list", path, None)
            return listing(path)

        return told

    def _removing(self, kind: Literal["unlink", "rmdir"], remove: Any) -> Any:
        def told(path: Any, *, dir_fd: int | None = None) -> None:
            place = self._before(kind, path, dir_fd)
            remove(path, dir_fd=dir_fd)
            self._note("gone", place)

        return told

    def _renaming(self, rename: Any) -> Any:
        def told(source: Any, target: Any, **more: Any) -> None:
            place = self._before("rename", source, None)
            rename(source, target, **more)
            if place:
                self._note("rename", place, os.fspath(target))

        return told

    def _linking(self, link: Any) -> Any:
        def told(target: Any, path: Any, *folder: Any, **more: Any) -> None:
            place = self._before("link", path, None)
            link(target, path, *folder, **more)
            self._note("link", place, os.fspath(target))

        return told

    def _before(self, kind: Kind, path: Any, dir_fd: int | None) -> str | None:
        place = self._place(path, dir_fd)
        if place is not None:
            self.heard(kind, place)
        return place

    def _place(self, path: Any, dir_fd: int | None) -> str | None:
        """The whole path, if it is one of ours."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        elif dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), os.fspath(path))
        text = os.path.abspath(os.fsdecode(path))
        return text if text.startswith(self._root) or text == self._root.rstrip(os.sep) else None

    def _note(self, what: str, place: str | None, *more: str) -> None:
        if place is not None:
            self.journal.append((what, place, *more))


class _Written(io.FileIO):
    """A file whose every piece is announced before it is written."""

    def __init__(self, disk: FaultyDisk, place: str, file: Any, mode: str) -> None:
        super().__init__(file, mode)
        self._disk, self._place = disk, place

    def write(self, data: Any, /) -> int:
        self._disk.heard("write", self._place)
        count = super().write(data)
        self._disk._note("data", self._place, self._disk.content(self._place))
        return count

    def truncate(self, size: int | None = None, /) -> int:
        self._disk.heard("cut", self._place)
        length = super().truncate(size)
        self._disk._note("data", self._place, self._disk.content(self._place))
        return length


# What is left when the power goes

Outcome = Literal["only what was synced", "every name, half of the data", "some folders"]
OUTCOMES: tuple[Outcome, ...] = ("only what was synced", "every name, half of the data", "some folders")


@dataclass
class _File:
    now: bytes = b""
    kept: bytes = b""
    synced: bool = False


@dataclass
class _Folder:
    now: "dict[str, _Node]" = field(default_factory=dict)
    kept: "dict[str, _Node]" = field(default_factory=dict)


_Node: TypeAlias = _File | _Folder | str  # a text is what a link leads to


class PowerLoss:
    """What the disk `root` held at first, which is what `before` holds, and what was done to it since."""

    def __init__(self, before: Path, root: Path) -> None:
        self._root = root
        self._top = _read(before)

    def play(self, change: Change) -> None:
        what, place, *more = change
        if what == "sync":
            self._sync(self._find(place))
            return
        folder, name = self._folder(Path(place).parent), Path(place).name
        match what:
            case "file":
                folder.now[name] = _File()
            case "data":
                node = folder.now[name]
                assert isinstance(node, _File)
                node.now, node.synced = bytes.fromhex(more[0]), False
            case "mkdir":
                folder.now[name] = _Folder()
            case "link":
                folder.now[name] = more[0]
            case "gone":
                del folder.now[name]
            case "rename":
                target = Path(more[0])
                self._folder(target.parent).now[target.name] = folder.now.pop(name)

    def leave(self, target: Path, outcome: Outcome, seed: int) -> None:
        """Make `target` what is found when the power is back."""
        chance = random.Random(seed)
        target.mkdir()
        _write(self._top, target, outcome, chance)

    def _sync(self, node: _Node) -> None:
        if isinstance(node, _File):
            node.kept, node.synced = node.now, True
        elif isinstance(node, _Folder):
            node.kept = dict(node.now)

    def _folder(self, path: Path) -> _Folder:
        node = self._find(str(path))
        assert isinstance(node, _Folder)
        return node

    def _find(self, place: str) -> _Node:
        node: _Node = self._top
        for part in Path(place).relative_to(self._root).parts:
            assert isinstance(node, _Folder)
            node = node.now[part]
        return node


def _read(folder: Path) -> _Folder:
    """A folder as it lies on the disk, all of it certain."""
    found: dict[str, _Node] = {}
    for path in folder.iterdir():
        if path.is_symlink():
            found[path.name] = str(path.readlink())
        elif path.is_dir():
            found[path.name] = _read(path)
        else:
            found[path.name] = _File(path.read_bytes(), path.read_bytes(), synced=True)
    return _Folder(dict(found), dict(found))


def _write(folder: _Folder, target: Path, outcome: Outcome, chance: random.Random) -> None:
    lost = outcome == "only what was synced" or (outcome == "some folders" and chance.random() < 0.5)
    for name, node in (folder.kept if lost else folder.now).items():
        if isinstance(node, str):
            (target / name).symlink_to(node)
        elif isinstance(node, _Folder):
            (target / name).mkdir()
            _write(node, target / name, outcome, chance)
        else:
            (target / name).write_bytes(_left_of(node, outcome))


def _left_of(file: _File, outcome: Outcome) -> bytes:
    if file.synced or outcome == "only what was synced":
        return file.kept
    return file.now[: len(file.now) // 2]


def states(before: Path, root: Path, journal: list[Change]) -> Iterator[PowerLoss]:
    """The disk `root`, which was as `before` at first, then after each change."""
    disk = PowerLoss(before, root)
    yield disk
    for change in journal:
        disk.play(change)
        yield disk
