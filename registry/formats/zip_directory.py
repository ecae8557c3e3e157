"""The members of a zip archive as torch.save writes it, and only as such.

Everything in it must be said once and in one way, so that no two readers see two archives: stored members one behind
the other from the first byte on, each with the same name and way of storing in its own header and in the directory,
then the directory, then the end. Knows nothing of what the members hold, and never extracts one.
"""

import re
import zlib
from dataclasses import dataclass
from struct import Struct

from .limits import MAX_MEMBERS
from .reader import BoundedReader

_LOCAL = Struct("<4sHHHHHIIIHH")
_ENTRY = Struct("<4sHHHHHHIIIHHHHHII")
_END = Struct("<4sHHHHIIH")
_END_64 = Struct("<4sQHHIIQQQQ")
_LOCATOR_64 = Struct("<4sIQI")
_U64 = Struct("<Q")

_LARGE = 0xFFFFFFFF  # the number stands in an extra field, with 64 bits
_DESCRIBED, _UTF8 = 0x0008, 0x0800  # the flags that are harmless: sizes repeated behind the data, names in UTF-8
_LONGEST_DESCRIPTION = 24
_NAME = re.compile(r"[^/\\:\x00-\x1f\x7f]+(?:/[^/\\:\x00-\x1f\x7f]+)*")


@dataclass(frozen=True, slots=True)
class Member:
    """`size` bytes at `offset` of the file."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the directory."""

    name: str
    flags: int
    crc: int
    size: int
    header: int
    at: int


def read_zip(reader: BoundedReader) -> dict[str, Member]:
    """Every member by its name, its checksum compared."""
    members: dict[str, Member] = {}
    count, start, stop = _directory(reader)
    position = 0
    for entry in sorted(_entries(reader, count, start, stop), key=lambda entry: entry.header):
        field = f"member {entry.name!r}"
        if entry.name in members:
            raise reader.error(field, "is there twice", entry.at)
        if not position <= entry.header <= position + _LONGEST_DESCRIPTION * bool(position):
            raise reader.error(field, f"does not follow the one before it, which ends at byte {position}", entry.header)
        member = _member(reader, entry, field)
        position = member.offset + member.size
        if position > start:
            raise reader.error(field, "reaches into the directory", entry.at)
        _check_sum(reader, entry, member, field)
        members[entry.name] = member
    if not position <= start <= position + _LONGEST_DESCRIPTION:
        raise reader.error("directory", f"does not follow the last member, which ends at byte {position}", start)
    return members


def _directory(reader: BoundedReader) -> tuple[int, int, int]:
    """How many members there are, and from where to where the directory goes."""
    at = reader.size - _END.size
    if at < 0 or reader.bytes[at : at + 4] != b"PK\5\6":
        raise reader.error("end", "no zip archive ends here: it is cut short, or something follows it", max(at, 0))
    _, *disks, here, count, size, start, _ = _END.unpack_from(reader.bytes, at)
    stop = at
    if reader.bytes[max(at - _LOCATOR_64.size, 0) : at].startswith(b"PK\6\7"):
        stop = at - _LOCATOR_64.size - _END_64.size
        if stop < 0 or reader.bytes[stop : stop + 4] != b"PK\6\6":
            raise reader.error("end", "is not where the archive says", at)
        _, _, _, _, *disks, here, count, size, start = _END_64.unpack_from(reader.bytes, stop)
    if any(disks) or here != count or start + size != stop:
        raise reader.error("end", f"the directory of {size} bytes at {start} does not end where the end begins", stop)
    if count > MAX_MEMBERS or count * _ENTRY.size > size:
        raise reader.error("end", f"{count} members in a directory of {size} bytes cannot be", stop)
    return count, start, stop


def _entries(reader: BoundedReader, count: int, start: int, stop: int) -> list[_Entry]:
    reader.position, reader.stop = start, stop
    entries = [_entry(reader, index) for index in range(count)]
    if reader.position != stop:
        raise reader.error("directory", "something follows its last entry")
    reader.stop = reader.size
    return entries


def _entry(reader: BoundedReader, index: int) -> _Entry:
    at, field = reader.position, f"entry {index} of the directory"
    fields = _ENTRY.unpack(reader.take(_ENTRY.size, field))
    (
        mark,
        _,
        _,
        flags,
        method,
        _,
        _,
        crc,
        packed,
        size,
        name_length,
        extra_length,
        comment_length,
        disk,
        _,
        _,
        header,
    ) = fields
    name = reader.decode(reader.take(name_length, field), field, at + _ENTRY.size)
    extra = reader.take(extra_length, field)
    if mark != b"PK\1\2" or comment_length or disk:
        raise reader.error(field, "is not one that torch.save writes", at)
    if not _NAME.fullmatch(name) or ".." in name.split("/"):
        raise reader.error(field, f"has the name {name!r}, which leaves its folder or is none", at)
    if method or flags & ~(_DESCRIBED | _UTF8):
        raise reader.error(
            f"member {name!r}", "is compressed or encrypted; torch.save stores its members as they are", at
        )
    size, packed, header = _large(reader, [size, packed, header], extra, name, at)
    if packed != size:
        raise reader.error(f"member {name!r}", f"has {size} bytes, stored in {packed}", at)
    return _Entry(name, flags, crc, size, header, at)


def _large(reader: BoundedReader, numbers: list[int], extra: bytes, name: str, at: int) -> list[int]:
    """The numbers, those of 64 bits taken from the extra field, where they stand in the same order."""
    if _LARGE not in numbers:
        return numbers
    large = _extra_64(extra)
    if len(large) < numbers.count(_LARGE):
        raise reader.error(f"member {name!r}", "lacks its 64-bit sizes", at)
    return [large.pop(0) if number == _LARGE else number for number in numbers]


def _extra_64(extra: bytes) -> list[int]:
    while len(extra) >= 4:
        kind, length = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        if kind == 1:
            body = extra[4 : 4 + length]
            return [number for (number,) in _U64.iter_unpack(body[: len(body) // 8 * 8])]
        extra = extra[4 + length :]
    return []


def _member(reader: BoundedReader, entry: _Entry, field: str) -> Member:
    reader.position = entry.header
    fields = _LOCAL.unpack(reader.take(_LOCAL.size, field))
    mark, _, flags, method, _, _, _, _, size, name_length, extra_length = fields
    name = reader.take(name_length, field)
    if mark != b"PK\3\4" or name != entry.name.encode() or flags != entry.flags or method:
        raise reader.error(field, "says something else in its own header than in the directory", entry.header)
    if size not in (entry.size, _LARGE) and not (size == 0 and flags & _DESCRIBED):
        raise reader.error(field, f"has {size} bytes by its own header, {entry.size} by the directory", entry.header)
    reader.take(extra_length, field)
    reader.require(entry.size, field)
    return Member(entry.name, reader.position, entry.size)


def _check_sum(reader: BoundedReader, entry: _Entry, member: Member, field: str) -> None:
    with memoryview(reader.bytes) as whole, whole[member.offset : member.offset + member.size] as data:
        found = zlib.crc32(data)
    if found != entry.crc:
        raise reader.error(
            field, f"is damaged: its checksum is {found:08x}, the archive says {entry.crc:08x}", member.offset
        )
